//! What plain HTTP gets: the page, the probes, `/whoami`. Everything else is a WebSocket or a 404.

use super::attempt::Seen;
use super::refuse::via_name;
use super::shared::Shared;
use crate::dashboard;
use crate::gate::facts::{AuthMode, Host, Origin};
use crate::wire::http::{Answer, Head};
use crate::wire::json;

/// The whole answer to one request.
pub fn answer(head: &Head<'_>, seen: &Seen, shared: &Shared) -> Vec<u8> {
    if !head.is_read() {
        return Answer { extra: &[("Allow", "GET, HEAD")], ..Answer::TEXT.status(405) }
            .whole(b"Method Not Allowed", head);
    }
    match head.path {
        "/healthz" | "/health" => json_answer(head, 200, br#"{"ok":true,"status":"live"}"#),
        "/readyz" | "/ready" | "/startupz" | "/startup" => ready(head, shared),
        "/whoami" => json_answer(head, 200, &whoami(head, seen, shared)),
        path => page(head, path, shared),
    }
}

fn json_answer(head: &Head<'_>, status: u16, body: &[u8]) -> Vec<u8> {
    Answer::JSON.status(status).whole(body, head)
}

fn ready(head: &Head<'_>, shared: &Shared) -> Vec<u8> {
    if shared.ask(|gateway| gateway.is_ready()) {
        json_answer(head, 200, br#"{"ready":true}"#)
    } else {
        json_answer(head, 503, br#"{"ready":false,"failing":["pairing-table"]}"#)
    }
}

fn page(head: &Head<'_>, path: &str, shared: &Shared) -> Vec<u8> {
    let setup = shared.setup();
    let web = &setup.web;
    let not_found = || Answer::TEXT.status(404).whole(b"Not Found", head);
    if !web.page {
        return not_found();
    }
    let base = web.base_path.as_str();
    if !base.is_empty() && (path == base || path == "/") {
        let to = [base, "/"].concat();
        return Answer { extra: &[("Location", &to)], ..Answer::TEXT.status(302) }.whole(b"", head);
    }
    let inside = path.strip_prefix(base).filter(|rest| rest.starts_with('/'));
    let Some(asset) = inside.and_then(|path| dashboard::asset(path.trim_start_matches('/'))) else {
        return not_found();
    };
    let cache = if asset.immutable { "public, max-age=31536000, immutable" } else { "no-store" };
    let extra = [("Content-Encoding", dashboard::ENCODING)];
    let policy = dashboard::CSP;
    Answer { content_type: asset.content_type, cache, policy, extra: &extra, ..Answer::TEXT }.whole(asset.body, head)
}

/// What the gateway sees of the caller, and what rule 4 says of it. No secret is looked at.
fn whoami(head: &Head<'_>, seen: &Seen, shared: &Shared) -> Vec<u8> {
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

fn advice(head: &Head<'_>, seen: &Seen, shared: &Shared) -> &'static str {
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
