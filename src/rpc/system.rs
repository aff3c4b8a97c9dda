//! State of the gateway, in the shapes that the clients of both protocols read: `health`, `status`,
//! `system-presence`, `system.info`.
//!
//! There is no agent runtime here, so its parts are empty.

use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha256};

use super::params::Nothing;
use super::{answers, Call, Failure, Reply};
use crate::gate::facts::Protocol;
use crate::gate::ids::{DeviceId, WallMs};
use crate::store::tokens;
use crate::wire::base64;
use crate::wire::json;
use crate::wire::message::Params;

/// Handles `health {probe?}`.
pub fn health(call: &mut Call<'_>, _: Params<'_>) -> Result<Reply, Failure> {
    Ok(Reply::of(health_json(call.caller.protocol(), call.now.wall)))
}

/// Writes the health snapshot, which is also a part of hello.
pub fn health_json(protocol: Protocol, now: WallMs) -> Vec<u8> {
    json::object(|o| {
        o.bool("ok", true);
        o.u64("ts", now.0);
        o.u64("durationMs", 0);
        if protocol == Protocol::V4 {
            o.fields(r#""plugins":{"loaded":[],"errors":[],"unavailable":[]}"#);
        }
        o.fields(
            r#""channels":{},"channelOrder":[],"channelLabels":{},"heartbeatSeconds":0,"defaultAgentId":"main","agents":[]"#,
        );
        o.fields(r#""sessions":{"path":"","count":0,"recent":[]}"#);
    })
}

/// Handles `status {includeChannelSummary?}`.
pub fn status(call: &mut Call<'_>, _: Params<'_>) -> Result<Reply, Failure> {
    let v4 = call.caller.protocol() == Protocol::V4;
    let gateway = call.status;
    Ok(Reply::of(json::object(|o| {
        if v4 {
            o.str("runtimeVersion", gateway.version);
        }
        o.fields(r#""heartbeat":{"defaultAgentId":"main","agents":[]},"channelSummary":[],"queuedSystemEvents":[]"#);
        if v4 {
            o.fields(NO_TASKS);
        }
        o.fields(
            r#""sessions":{"paths":[],"count":0,"defaults":{"model":null,"contextTokens":null},"recent":[],"byAgent":[]}"#,
        );
    })))
}

/// Handles `system-presence {}`.
pub fn presence(call: &mut Call<'_>, _: Params<'_>) -> Result<Reply, Failure> {
    Ok(Reply::of(call.presence.list(call.caller.protocol())))
}

/// Handles `system.info {}`: describes the machine, in a form made for a gateway on Node.js.
pub fn info(call: &mut Call<'_>, _: Nothing) -> Result<Reply, Failure> {
    let (status, machine) = (call.status, &call.status.machine);
    let node = |names: &[(&str, &'static str)], own: &'static str| {
        names.iter().find(|name| name.0 == own).map_or(own, |name| name.1)
    };
    Ok(Reply::json(&answers::SystemInfo {
        name: &status.host,
        host: &status.host,
        platform: node(&[("windows", "win32"), ("macos", "darwin")], std::env::consts::OS),
        release: &machine.release,
        arch: node(&[("x86_64", "x64"), ("aarch64", "arm64")], std::env::consts::ARCH),
        label: machine.family,
        node: "none",
        pid: status.pid,
        uptime: call.now.at.0,
        cpus: machine.processors,
        load: machine.load.clone().map(answers::Raw),
        memory: machine.memory.0,
        memory_free: machine.memory.1,
    }))
}

/// Handles `gateway.identity.get {}`: returns a public key that is derived from the table key, and
/// so stays the same as long as the table does.
pub fn identity(call: &mut Call<'_>, _: Nothing) -> Result<Reply, Failure> {
    let key = SigningKey::from_bytes(&tokens::identity_seed(call.key)).verifying_key().to_bytes();
    let device_id = DeviceId(Sha256::digest(key).into());
    Ok(Reply::json(&answers::GatewayIdentity { device_id, key: &base64::encode_url(&key) }))
}

/// Handles `set-heartbeats {enabled}`. Only an agent has heartbeats, so there is nothing to switch.
pub fn set_heartbeats(_call: &mut Call<'_>, params: Params<'_>) -> Result<Reply, Failure> {
    let Some(enabled) = params.value().at("enabled").as_bool() else {
        return Err(Failure::invalid("invalid set-heartbeats params: enabled (boolean) required"));
    };
    Ok(Reply::json(&answers::Heartbeats { ok: true, enabled }))
}

/// Counters of tasks in protocol 4.
const NO_TASKS: &str = concat!(
    r#""tasks":{"total":0,"active":0,"terminal":0,"failures":0,"#,
    r#""byStatus":{"queued":0,"running":0,"succeeded":0,"failed":0,"timed_out":0,"cancelled":0,"lost":0},"#,
    r#""byRuntime":{"subagent":0,"acp":0,"cli":0,"cron":0}}"#
);
