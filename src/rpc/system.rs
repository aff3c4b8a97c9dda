//! `health`, `status`, `system-presence`: how the gateway is, in the shapes that the clients of both protocols read.
//!
//! There is no agent runtime here, so its parts are honestly empty.

use super::{Call, Failure, Reply};
use crate::gate::facts::Dialect;
use crate::gate::ids::WallMs;
use crate::wire::json::{self, Writer};
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
            o.obj("plugins", |plugins| {
                plugins.strs("loaded", []);
                plugins.strs("errors", []);
                plugins.strs("unavailable", []);
            });
        }
        o.obj("channels", nothing);
        o.strs("channelOrder", []);
        o.obj("channelLabels", nothing);
        o.u64("heartbeatSeconds", 0);
        o.str("defaultAgentId", "main");
        o.strs("agents", []);
        o.obj("sessions", |sessions| {
            sessions.str("path", "");
            sessions.u64("count", 0);
            sessions.strs("recent", []);
        });
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
        o.obj("heartbeat", |heartbeat| {
            heartbeat.str("defaultAgentId", "main");
            heartbeat.strs("agents", []);
        });
        o.strs("channelSummary", []);
        o.strs("queuedSystemEvents", []);
        if v4 {
            o.obj("tasks", tasks);
        }
        o.obj("sessions", |sessions| {
            sessions.strs("paths", []);
            sessions.u64("count", 0);
            sessions.obj("defaults", |defaults| {
                defaults.null("model");
                defaults.null("contextTokens");
            });
            sessions.strs("recent", []);
            sessions.strs("byAgent", []);
        });
    })))
}

/// `config.get {}`: the gateway section in force, without secrets; `raw` and `hash` come with `config.set`.
pub fn config(call: &mut Call<'_>, params: Params<'_>) -> Result<Reply, Failure> {
    params.finish()?;
    let gateway = call.status;
    let section = json::object(|o| {
        o.obj("gateway", |section| {
            section.str("mode", "local");
            section.u64("port", u64::from(gateway.port));
            section.str("bind", gateway.bind);
            section.obj("auth", |auth| auth.str("mode", gateway.auth_mode));
            section.obj("pairing", |pairing| pairing.str("mode", gateway.pairing_mode));
        });
    });
    Ok(Reply::of(json::object(|o| {
        o.str("path", &gateway.config_path);
        o.bool("exists", gateway.config_exists);
        o.raw("parsed", &section);
        o.bool("valid", true);
        o.raw("config", &section);
        o.strs("issues", []);
        o.strs("warnings", []);
        o.strs("legacyIssues", []);
    })))
}

/// `system-presence {}`
pub fn presence(call: &mut Call<'_>, _params: Params<'_>) -> Result<Reply, Failure> {
    Ok(Reply::of(call.presence.list(call.caller.dialect())))
}

fn nothing(_: &mut Writer<'_>) {}

fn tasks(tasks: &mut Writer<'_>) {
    for name in ["total", "active", "terminal", "failures"] {
        tasks.u64(name, 0);
    }
    tasks.obj("byStatus", |by| {
        for name in ["queued", "running", "succeeded", "failed", "timed_out", "cancelled", "lost"] {
            by.u64(name, 0);
        }
    });
    tasks.obj("byRuntime", |by| {
        for name in ["subagent", "acp", "cli", "cron"] {
            by.u64(name, 0);
        }
    });
}
