//! Responses to plain HTTP requests: the page, the probes, `/metrics` and `/whoami`. Other paths
//! get 404.

pub(super) mod bearer;
mod inflate;
pub(super) mod metrics;
pub(super) mod static_files;

use std::path::Path;
use std::rc::Rc;

use self::static_files::FileResponse;
use super::gateway::attempt::ClientInfo;
use super::runtime_config::RuntimeConfig;
use super::shared::Shared;
use crate::dashboard::{self, Asset};
use crate::gate::facts::{AuthMode, Host, Origin};
use crate::gate::net::Via;
use crate::wire::http::{Head, ResponseHead};
use crate::wire::json;

/// Response to a plain HTTP request.
pub enum HttpResponse {
    /// Head and body.
    Complete(Vec<u8>),
    /// File that is read in pieces.
    File(Box<FileResponse>),
}

/// Returns the response to a request.
pub fn respond(head: &Head<'_>, client_info: &ClientInfo, shared: &Shared) -> HttpResponse {
    let request = PlainRequest { head, client_info, shared, config: shared.runtime_config() };
    let web = &request.config.web;
    let path = head.path.strip_prefix(&web.base_path).and_then(|path| path.strip_prefix('/'));
    match (&web.root, path) {
        (Some(root), Some(path)) if web.page && head.is_read() && !is_builtin(path) => {
            request.respond_from_directory(root, path)
        }
        _ => HttpResponse::Complete(request.respond_builtin()),
    }
}

/// Returns whether the gateway itself answers this path, even if a directory is served.
fn is_builtin(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or("");
    BUILTIN.contains(&first)
}

const BUILTIN: [&str; 9] =
    ["healthz", "health", "readyz", "ready", "startupz", "startup", "whoami", "metrics", "gatelet"];
/// First path components that belong to a gateway with an agent runtime; no page has a route there.
const RESERVED: [&str; 8] =
    ["api", "v1", "j", "ui", "hooks", "tools", "__openclaw__", "__openclaw"];

const VARY: (&str, &str) = ("Vary", "Accept-Encoding, Accept");

/// The page for programs such as curl, which accept neither HTML by name nor a content coding.
const FOR_TERMINALS: &[u8] = b"This is gatelet. Open this address in a browser: `gatelet url` prints the link with the token.\n\
Probes: /healthz and /readyz. Clients connect to this address with a WebSocket.\n";

/// A plain HTTP request, with the state that its response depends on.
struct PlainRequest<'a> {
    head: &'a Head<'a>,
    client_info: &'a ClientInfo,
    shared: &'a Shared,
    config: Rc<RuntimeConfig>,
}

impl PlainRequest<'_> {
    /// Answers a request that the page in a directory may answer.
    fn respond_from_directory(&self, root: &Path, path: &str) -> HttpResponse {
        let base = &self.config.web.base_path;
        let first = path.split('/').next().unwrap_or("");
        HttpResponse::Complete(match path {
            "control-ui-config.json"
            | "__openclaw/control-ui-config.json"
            | "__openclaw__/control-ui-config.json" => self.control_ui_config(base),
            _ if first == "avatar" && self.head.query == Some("meta=1") => {
                self.json(200, br#"{"avatarUrl":null}"#)
            }
            _ if first == "avatar" || RESERVED.contains(&first) => self.not_found(),
            _ => {
                let file = FileResponse::new(self.head, root, base, path);
                return HttpResponse::File(Box::new(file));
            }
        })
    }

    /// Answers the request of a protocol 4 page for information about its gateway.
    fn control_ui_config(&self, base: &str) -> Vec<u8> {
        let (bearer, now) = (self.head.bearer(), self.shared.now());
        if !self.shared.with_gateway(|gateway| gateway.may_read(bearer, self.client_info, now)) {
            let extra = &[("WWW-Authenticate", "Bearer")];
            return ResponseHead { extra, ..ResponseHead::JSON.status(401) }.whole(
                br#"{"error":{"message":"Unauthorized","type":"unauthorized"}}"#,
                self.head,
            );
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
        self.json(200, &body)
    }

    /// Answers a request that no directory serves.
    fn respond_builtin(&self) -> Vec<u8> {
        if !self.head.is_read() {
            let extra = &[("Allow", "GET, HEAD")];
            return ResponseHead { extra, ..ResponseHead::TEXT.status(405) }
                .whole(b"Method Not Allowed", self.head);
        }
        match self.head.path {
            "/healthz" | "/health" => self.json(200, br#"{"ok":true,"status":"live"}"#),
            "/readyz" | "/ready" | "/startupz" | "/startup" => self.readiness(),
            "/metrics" => metrics::answer(self.head, self.client_info, self.shared),
            "/whoami" => self.json(200, &self.whoami()),
            path => self.page(path),
        }
    }

    fn json(&self, status: u16, body: &[u8]) -> Vec<u8> {
        ResponseHead::JSON.status(status).whole(body, self.head)
    }

    fn readiness(&self) -> Vec<u8> {
        if self.shared.with_gateway(|gateway| gateway.is_ready()) {
            self.json(200, br#"{"ready":true}"#)
        } else {
            self.json(503, br#"{"ready":false,"failing":["pairing-table"]}"#)
        }
    }

    fn not_found(&self) -> Vec<u8> {
        ResponseHead::TEXT.status(404).whole(b"Not Found", self.head)
    }

    /// Answers a request for a file of the embedded page.
    fn page(&self, path: &str) -> Vec<u8> {
        let web = &self.config.web;
        if !web.page {
            return self.not_found();
        }
        let base = web.base_path.as_str();
        let page = format!("{base}{}", if web.root.is_some() { "/gatelet" } else { "" });
        if !page.is_empty() && (path == page || path == base || path == "/") {
            return self.redirect(if path == page { &page } else { base });
        }
        let inside = path.strip_prefix(page.as_str()).filter(|rest| rest.starts_with('/'));
        if inside == Some("/sw.js") && web.root.is_none() {
            return ResponseHead { content_type: "text/javascript", ..ResponseHead::TEXT }
                .whole(dashboard::NO_WORKER, self.head);
        }
        // the page requests it relative to itself, because a proxy may put the page below any path
        if inside == Some("/whoami") {
            return self.json(200, &self.whoami());
        }
        let asset = inside.and_then(|path| dashboard::asset(path.trim_start_matches('/')));
        let Some(asset) = asset else { return self.not_found() };
        self.asset(asset)
    }

    /// Answers a request for a file of the embedded page in the coding that the client accepts.
    fn asset(&self, asset: Asset) -> Vec<u8> {
        let packed = self.head.accepts(dashboard::ENCODING);
        let reads_html = self.head.header("Accept").is_none_or(|types| types.contains("html"));
        if !packed && !reads_html && asset.content_type.starts_with("text/html") {
            return ResponseHead { extra: &[VARY], ..ResponseHead::TEXT }
                .whole(FOR_TERMINALS, self.head);
        }
        let coding = ("Content-Encoding", dashboard::ENCODING);
        let answer = ResponseHead {
            content_type: asset.content_type,
            cache: if asset.immutable { "public, max-age=31536000, immutable" } else { "no-store" },
            policy: dashboard::CSP,
            extra: if packed { &[VARY, coding] } else { &[VARY] },
            ..ResponseHead::TEXT
        };
        if packed {
            return answer.whole(asset.body, self.head);
        }
        // rare: every browser accepts the packed form
        let plain = inflate::inflate(asset.deflated()).unwrap_or_default();
        answer.whole(&plain, self.head)
    }

    /// Redirects to a directory, with the query of the request.
    fn redirect(&self, directory: &str) -> Vec<u8> {
        let location = match self.head.query {
            Some(query) => format!("{directory}/?{query}"),
            None => format!("{directory}/"),
        };
        ResponseHead { extra: &[("Location", &location)], ..ResponseHead::TEXT.status(302) }
            .whole(b"", self.head)
    }

    /// Returns the facts about the caller, with the classes of host and origin that rule 4 uses.
    /// Reads no secret.
    fn whoami(&self) -> Vec<u8> {
        let client_info = self.client_info;
        let host_class = match client_info.host {
            Host::Absent => "absent",
            Host::Loopback => "loopback",
            Host::Served => "ours",
            Host::Foreign => "foreign",
        };
        let origin_class = match client_info.origin {
            Origin::Absent => "absent",
            Origin::Listed => "listed",
            Origin::Same => "same",
            Origin::LoopbackPair => "loopback",
            Origin::Foreign => "foreign",
            Origin::Opaque => "opaque",
        };
        json::object(|o| {
            o.shown("peer", &client_info.peer);
            o.shown("client", &client_info.client);
            o.str("via", client_info.via_name());
            o.bool("local", client_info.local);
            o.str("host", &client_info.host_text);
            o.str("hostIs", host_class);
            o.str("origin", &client_info.origin_text);
            o.str("originIs", origin_class);
            o.bool("proxied", self.head.proxied());
            o.str("advice", self.advice());
        })
    }

    fn advice(&self) -> &'static str {
        let (client_info, policy) = (self.client_info, &self.config.policy);
        if policy.auth == AuthMode::None && client_info.host != Host::Loopback {
            "with gateway.auth.mode \"none\" only http://127.0.0.1 and http://localhost work"
        } else if client_info.host == Host::Foreign && !policy.host_origin_fallback {
            "a page under this name is refused; if the name is yours, set gateway.publicOrigin or gateway.controlUi.allowedOrigins"
        } else if self.head.proxied()
            && !client_info.local
            && client_info.via == Via::UntrustedProxy
        {
            "your proxy is not in gateway.trustedProxies, so your own address is not known; you can still connect"
        } else {
            "you can connect from here with the token, a setup code or a paired device; your address does not matter"
        }
    }
}
