//! `health`, `status`, `system-presence`: how the gateway is, in the shapes that the clients of both protocols read.
//!
//! There is no agent runtime here, so its parts are honestly empty.

use super::{Call, Failure, Reply};
use crate::gate::facts::Dialect;
use crate::gate::ids::WallMs;
use crate::wire::json;
use crate::wire::params::Params;

/// `health {probe?}`
pub fn health(call: &mut Call<'_>, mut params: Params<'_>) -> Result<Reply, Failure> {
    params.opt_bool("probe");
    params.opt_any("timeoutMs");
    Ok(Reply::of(health_json(call.caller.dialect(), call.now.wall)))
}

/// The health snapshot, also a part of hello.
pub fn health_json(dialect: Dialect, now: WallMs) -> Vec<u8> {
    json::object(|o| {
        o.bool("ok", true);
        o.u64("ts", now.0);
        o.u64("durationMs", 0);
        if dialect == Dialect::V4 {
            o.fields(r#""plugins":{"loaded":[],"errors":[],"unavailable":[]}"#);
        }
        o.fields(
            r#""channels":{},"channelOrder":[],"channelLabels":{},"heartbeatSeconds":0,"defaultAgentId":"main","agents":[]"#,
        );
        o.fields(r#""sessions":{"path":"","count":0,"recent":[]}"#);
    })
}

/// `status {includeChannelSummary?}`
pub fn status(call: &mut Call<'_>, mut params: Params<'_>) -> Result<Reply, Failure> {
    params.opt_bool("includeChannelSummary");
    let v4 = call.caller.dialect() == Dialect::V4;
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

/// `system-presence {}`
pub fn presence(call: &mut Call<'_>, _params: Params<'_>) -> Result<Reply, Failure> {
    Ok(Reply::of(call.presence.list(call.caller.dialect())))
}

/// `set-heartbeats {enabled}`: only an agent has heartbeats, so there is nothing to switch.
pub fn set_heartbeats(_call: &mut Call<'_>, mut params: Params<'_>) -> Result<Reply, Failure> {
    let Some(enabled) = params.opt_any("enabled").and_then(|enabled| enabled.as_bool()) else {
        return Err(Failure::invalid("invalid set-heartbeats params: enabled (boolean) required"));
    };
    Ok(Reply::of(json::object(|o| {
        o.bool("ok", true);
        o.bool("enabled", enabled);
    })))
}

/// What protocol 4 counts of tasks.
const NO_TASKS: &str = concat!(
    r#""tasks":{"total":0,"active":0,"terminal":0,"failures":0,"#,
    r#""byStatus":{"queued":0,"running":0,"succeeded":0,"failed":0,"timed_out":0,"cancelled":0,"lost":0},"#,
    r#""byRuntime":{"subagent":0,"acp":0,"cli":0,"cron":0}}"#
);
