//! Responses to plain HTTP requests: the page, the probes, `/metrics` and `/whoami`. Other paths
//! get 404.

pub(super) mod bearer;
pub(super) mod metrics;
pub(super) mod static_files;

use std::path::Path;

use self::static_files::Fetch;
use super::gateway::attempt::ClientInfo;
use super::gateway::log_line::via_name;
use super::shared::Shared;
use crate::dashboard;
use crate::gate::facts::{AuthMode, Host, Origin};
use crate::wire::http::{Head, ResponseHead};
use crate::wire::json;

/// Returns the complete response to a request, or the file to send.
pub fn answer(head: &Head<'_>, seen: &ClientInfo, shared: &Shared) -> Result<Vec<u8>, Fetch> {
    let web = &shared.setup().web;
    let inside = head.path.strip_prefix(&web.base_path).and_then(|path| path.strip_prefix('/'));
    match (&web.root, inside) {
        (Some(root), Some(path)) if web.page && head.is_read() && !is_ours(path) => {
            directory(head, seen, shared, (root, path))
        }
        _ => Ok(own(head, seen, shared)),
    }
}

/// Returns whether this path is never a file or route of a page in a directory.
fn is_ours(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or("");
    OURS.split(' ').any(|name| name == first)
}

const OURS: &str = "healthz health readyz ready startupz startup whoami metrics gatelet";
/// First path components that belong to a gateway with an agent runtime; no page has a route there.
const RESERVED: &str = "api v1 j ui hooks tools __openclaw__ __openclaw";

/// Answers a request that the page in a directory may answer.
fn directory(
    head: &Head<'_>,
    seen: &ClientInfo,
    shared: &Shared,
    (root, path): (&Path, &str),
) -> Result<Vec<u8>, Fetch> {
    let base = &shared.setup().web.base_path;
    let first = path.split('/').next().unwrap_or("");
    match path {
        "control-ui-config.json"
        | "__openclaw/control-ui-config.json"
        | "__openclaw__/control-ui-config.json" => Ok(bootstrap(head, seen, shared, base)),
        _ if first == "avatar" && head.query == Some("meta=1") => {
            Ok(json_answer(head, 200, br#"{"avatarUrl":null}"#))
        }
        _ if first == "avatar" || RESERVED.split(' ').any(|name| name == first) => {
            Ok(not_found(head))
        }
        _ => Err(Fetch::new(head, root, base, path)),
    }
}

/// Answers the protocol 4 page's request for information on its gateway.
fn bootstrap(head: &Head<'_>, seen: &ClientInfo, shared: &Shared, base: &str) -> Vec<u8> {
    let now = shared.now();
    if !shared.ask(|gateway| gateway.may_read(head.bearer(), seen, now)) {
        let extra = &[("WWW-Authenticate", "Bearer")];
        return ResponseHead { extra, ..ResponseHead::JSON.status(401) }
            .whole(br#"{"error":{"message":"Unauthorized","type":"unauthorized"}}"#, head);
    }
    let body = json::object(|o| {
        o.str("basePath", base);
        o.str("serverVersion", env!("CARGO_PKG_VERSION"));
        o.fields(r#""assistantName":"gatelet","assistantAvatar":"","assistantAgentId":"main","embedSandbox":"strict""#);
        o.fields(r#""allowExternalEmbedUrls":false,"automaticallyFetchFavicons":false,"communityInvite":false"#);
        o.fields(
            r#""terminalEnabled":false,"cliAgentsEnabled":false,"pluginAssetsRequireAuth":true"#,
        );
    });
    json_answer(head, 200, &body)
}

/// Answers a request that no directory serves.
fn own(head: &Head<'_>, seen: &ClientInfo, shared: &Shared) -> Vec<u8> {
    if !head.is_read() {
        return ResponseHead { extra: &[("Allow", "GET, HEAD")], ..ResponseHead::TEXT.status(405) }
            .whole(b"Method Not Allowed", head);
    }
    match head.path {
        "/healthz" | "/health" => json_answer(head, 200, br#"{"ok":true,"status":"live"}"#),
        "/readyz" | "/ready" | "/startupz" | "/startup" => ready(head, shared),
        "/metrics" => metrics::answer(head, seen, shared),
        "/whoami" => json_answer(head, 200, &whoami(head, seen, shared)),
        path => page(head, path, seen, shared),
    }
}

fn json_answer(head: &Head<'_>, status: u16, body: &[u8]) -> Vec<u8> {
    ResponseHead::JSON.status(status).whole(body, head)
}

fn ready(head: &Head<'_>, shared: &Shared) -> Vec<u8> {
    if shared.ask(|gateway| gateway.is_ready()) {
        json_answer(head, 200, br#"{"ready":true}"#)
    } else {
        json_answer(head, 503, br#"{"ready":false,"failing":["pairing-table"]}"#)
    }
}

fn not_found(head: &Head<'_>) -> Vec<u8> {
    ResponseHead::TEXT.status(404).whole(b"Not Found", head)
}

fn page(head: &Head<'_>, path: &str, seen: &ClientInfo, shared: &Shared) -> Vec<u8> {
    let setup = shared.setup();
    let web = &setup.web;
    if !web.page {
        return not_found(head);
    }
    let base = web.base_path.as_str();
    let own = if web.root.is_some() { "/gatelet" } else { "" };
    let page = [base, own].concat();
    let mark = if head.query.is_some() { "?" } else { "" };
    if !page.is_empty() && (path == page || path == base || path == "/") {
        let to =
            [if path == page { &page } else { base }, "/", mark, head.query.unwrap_or("")].concat();
        return ResponseHead { extra: &[("Location", &to)], ..ResponseHead::TEXT.status(302) }
            .whole(b"", head);
    }
    let inside = path.strip_prefix(page.as_str()).filter(|rest| rest.starts_with('/'));
    if inside == Some("/sw.js") && web.root.is_none() {
        return ResponseHead { content_type: "text/javascript", ..ResponseHead::TEXT }
            .whole(dashboard::NO_WORKER, head);
    }
    // the page requests it relative to itself, because a proxy may put the page below any path
    if inside == Some("/whoami") {
        return json_answer(head, 200, &whoami(head, seen, shared));
    }
    let Some(asset) = inside.and_then(|path| dashboard::asset(path.trim_start_matches('/'))) else {
        return not_found(head);
    };
    let cache = if asset.immutable { "public, max-age=31536000, immutable" } else { "no-store" };
    let extra = [("Content-Encoding", dashboard::ENCODING)];
    let policy = dashboard::CSP;
    ResponseHead {
        content_type: asset.content_type,
        cache,
        policy,
        extra: &extra,
        ..ResponseHead::TEXT
    }
    .whole(asset.body, head)
}

/// Returns the facts about the caller, with the classes of host and origin that rule 4 uses. Reads
/// no secret.
fn whoami(head: &Head<'_>, seen: &ClientInfo, shared: &Shared) -> Vec<u8> {
    let named = |host: &Host| match host {
        Host::Absent => "absent",
        Host::Loopback => "loopback",
        Host::Served => "ours",
        Host::Foreign => "foreign",
    };
    let stands = |origin: &Origin| match origin {
        Origin::Absent => "absent",
        Origin::Listed => "listed",
        Origin::Same => "same",
        Origin::LoopbackPair => "loopback",
        Origin::Foreign => "foreign",
    };
    json::object(|o| {
        o.shown("peer", &seen.peer);
        o.shown("client", &seen.client);
        o.str("via", via_name(seen));
        o.bool("local", seen.local);
        o.str("host", &seen.host_text);
        o.str("hostIs", named(&seen.host));
        o.str("origin", &seen.origin_text);
        o.str("originIs", stands(&seen.origin));
        o.bool("proxied", head.proxied());
        o.str("advice", advice(head, seen, shared));
    })
}

fn advice(head: &Head<'_>, seen: &ClientInfo, shared: &Shared) -> &'static str {
    let setup = shared.setup();
    let policy = &setup.policy;
    if policy.auth == AuthMode::None && seen.host != Host::Loopback {
        "with gateway.auth.mode \"none\" only http://127.0.0.1 and http://localhost work"
    } else if seen.host == Host::Foreign && !policy.host_origin_fallback {
        "a page under this name is refused; if the name is yours, set gateway.publicOrigin or gateway.controlUi.allowedOrigins"
    } else if head.proxied() && via_name(seen) == "untrusted-proxy" {
        "your proxy is not in gateway.trustedProxies, so your own address is not known; you can connect all the same"
    } else {
        "you can connect from here with the token, a setup code or a paired device; your address does not matter"
    }
}
