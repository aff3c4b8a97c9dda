//! Pairing of a new device with a short code: `device.pair.setupCode` and `device.pair.setupStatus`
//! (protocol 4).
//!
//! The eight characters that a person types are the same secret that the link and the QR code
//! contain.

use super::params::{BySetup, SetupCode};
use super::{answers, json, Call, Failure, Reply, Status};
use crate::gate::facts::Grant;
use crate::gate::ids::{RequestId, Role, Roles};
use crate::gate::limits;
use crate::gate::net;
use crate::gate::scopes::{Scope, Scopes};
use crate::gate::setup_codes::{CodeState, CodeText, CODE_LEN};
use crate::qr;
use crate::wire::base64;

/// Returns the rights that the profile of a code grants: `full` (default), `limited` (no admin, no
/// pairing), `node`.
fn profile(name: &str) -> Option<Grant> {
    let limited =
        [Scope::Read, Scope::Write, Scope::Approvals, Scope::Questions].into_iter().collect();
    let operator = Roles::of(Role::Operator);
    match name {
        "full" => Some(Grant { roles: operator, scopes: Scopes::ALL }),
        "limited" => Some(Grant { roles: operator, scopes: limited }),
        "node" | "voice-node" => Some(Grant { roles: Roles::of(Role::Node), scopes: Scopes::NONE }),
        _ => None,
    }
}

/// Handles `device.pair.setupCode {bootstrapProfile?, publicUrl?, preferRemoteUrl?, includeQr?,
/// joinUrl?, scopes?}`. `scopes`, which the protocol does not have, narrows the scopes that an
/// operator's code grants. `qrDataUrl` in the answer is the link as a picture, unless `includeQr`
/// is false (protocol 4). `pageLink` opens the page with the code, and `pageQrDataUrl` is its
/// picture for a phone's camera; both are left out if no other device can open the page.
pub fn code(call: &mut Call<'_>, params: SetupCode) -> Result<Reply, Failure> {
    let (name, public) = (params.profile.as_deref().unwrap_or("full"), params.public_url);
    let mut grant = profile(name).ok_or_else(|| Failure::invalid("unknown bootstrapProfile"))?;
    if let Some(list) = params.scopes {
        let named: Scopes = list.iter().filter_map(|name| Scope::parse(name)).collect();
        grant.scopes = grant.scopes.and(named);
    }
    let (id, mut text) = (call.new_id(), [0; CODE_LEN]);
    (call.random)(&mut text);
    let text = CodeText::from_random(text);
    call.setup_codes.add(id, text, grant, call.now.at);
    let expires = call.now.wall.0.saturating_add(limits::SETUP_CODE_MS);
    let page = page_link(call.status, public.as_deref(), text.as_str());
    let page = page.filter(|_| grant.roles.contains(Role::Operator));
    let Status { urls, near_url, .. } = call.status;
    let near = Some(near_url).filter(|near| !urls.contains(near));
    let urls: Vec<String> = urls.iter().chain(near).map(|url| websocket(url)).collect();
    let url = &public.as_deref().map_or_else(|| urls[0].clone(), websocket);
    let link = json(&answers::SetupLink { url, urls: &urls, token: text.as_str(), expires });
    let setup_code = base64::encode_url(&link);
    let link = format!("oc-pair://{setup_code}");
    let wants_picture = params.include_qr.unwrap_or(true);
    let picture = wants_picture.then(|| qr::data_url(&link)).flatten();
    let page_picture = page.as_ref().filter(|_| wants_picture).and_then(|link| qr::data_url(link));
    Ok(Reply::json(&answers::NewSetupCode {
        setup_id: id,
        expires,
        setup_code: &setup_code,
        code: text.as_str(),
        link: &link,
        picture,
        page,
        page_picture,
        url,
        urls: &urls,
        auth: call.status.auth_mode,
        source: if public.is_some() { "publicUrl" } else { "gateway" },
        access: if grant.roles.contains(Role::Node) { "node" } else { access(name) },
    }))
}

/// Handles `device.pair.setupStatus {setupId}`: returns `remainingMs` while the code is valid, and
/// `gone: true` when it was used or has expired.
pub fn status(call: &mut Call<'_>, params: BySetup) -> Result<Reply, Failure> {
    let state = RequestId::parse(&params.setup_id)
        .map_or(CodeState::Gone, |id| call.setup_codes.state(id, call.now.at));
    Ok(Reply::json(&match state {
        CodeState::Alive(left) => answers::SetupState { left: Some(left), gone: None },
        CodeState::Gone => answers::SetupState { left: None, gone: Some(true) },
    }))
}

fn access(profile: &str) -> &'static str {
    if profile == "limited" {
        "limited"
    } else {
        "full"
    }
}

/// Returns the link that opens the page of another device's browser with the code: at the URL that
/// the caller named, else at the best one known. `None` if that URL is only for this machine.
fn page_link(status: &Status, public: Option<&str>, code: &str) -> Option<String> {
    let path = status.page?;
    let url = public.filter(|url| !is_near(url)).or(status.urls.first().map(String::as_str))?;
    let url = match url.strip_prefix("ws") {
        Some(rest) => format!("http{rest}"),
        None => url.to_string(),
    };
    let url = url.trim_end_matches('/');
    // the page names its own directory
    let path = if url.ends_with(path.trim_end_matches('/')) { "/" } else { path };
    Some(format!("{url}{path}#code={code}"))
}

/// Returns whether a URL leads to the machine on which it is opened.
pub fn is_near(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or("");
    let name = match host.strip_prefix('[') {
        Some(literal) => literal.split(']').next().unwrap_or(""),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name
            .parse()
            .is_ok_and(|address| net::is_loopback(address) || net::fold(address).is_unspecified())
}

/// Returns the WebSocket URL of an origin.
fn websocket(origin: &str) -> String {
    match origin.strip_prefix("http") {
        Some(rest) => format!("ws{rest}"),
        None => origin.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_for_a_camera_is_one_that_another_device_can_open() {
        let far = "http://192.168.1.20:18789";
        for (urls, public, page, expected) in [
            (&[][..], None, "/", None),
            (&[], Some("http://127.0.0.1:1"), "/", None),
            (&[], Some("http://localhost:1/a"), "/", None),
            (&[], Some("http://[::1]:1"), "/", None),
            (&[], Some("http://0.0.0.0:1"), "/", None),
            (&[], Some("http://pi.local:1/a/"), "/", Some("http://pi.local:1/a/#code=X")),
            (&[], Some("wss://gate.example"), "/", Some("https://gate.example/#code=X")),
            (&[far], None, "/", Some("http://192.168.1.20:18789/#code=X")),
            (&[far], Some("http://127.0.0.1:1"), "/", Some("http://192.168.1.20:18789/#code=X")),
            (&[far], None, "/gatelet/", Some("http://192.168.1.20:18789/gatelet/#code=X")),
            (&[], Some("http://a:1/gatelet"), "/gatelet/", Some("http://a:1/gatelet/#code=X")),
        ] {
            let urls = urls.iter().map(|url: &&str| url.to_string()).collect();
            let status = Status { urls, page: Some(page), ..Status::default() };
            assert_eq!(page_link(&status, public, "X").as_deref(), expected, "{public:?}");
            assert_eq!(page_link(&Status { page: None, ..status }, public, "X"), None);
        }
    }
}
