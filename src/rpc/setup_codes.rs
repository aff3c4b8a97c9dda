//! Pairing of a new device with a short code: `device.pair.setupCode` and `device.pair.setupStatus`
//! (protocol 4).
//!
//! The eight characters that a person types are the same secret that the link and the QR code
//! contain.

use super::params::{BySetup, SetupCode};
use super::{answers, json, Call, Failure, Reply};
use crate::gate::facts::Grant;
use crate::gate::ids::{RequestId, Role, Roles};
use crate::gate::limits;
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
/// is false (protocol 4).
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
    let urls: Vec<String> = call.status.urls.iter().map(|url| websocket(url)).collect();
    let url = &websocket(public.as_deref().unwrap_or(&call.status.url));
    let link = json(&answers::SetupLink { url, urls: &urls, token: text.as_str(), expires });
    let setup_code = base64::encode_url(&link);
    let link = ["oc-pair://", &setup_code].concat();
    let picture = params.include_qr.unwrap_or(true).then(|| qr::data_url(&link)).flatten();
    Ok(Reply::json(&answers::NewSetupCode {
        setup_id: id,
        expires,
        setup_code: &setup_code,
        code: text.as_str(),
        link: &link,
        picture,
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

/// Returns the WebSocket URL of an origin.
fn websocket(origin: &str) -> String {
    match origin.strip_prefix("http") {
        Some(rest) => ["ws", rest].concat(),
        None => origin.to_string(),
    }
}
