//! What nodes tell on their own: `node.event` and the updates of protocol 4.
//!
//! Most of it is meant for an agent, and there is none here: that is taken and said to have led to nothing. How the node's machine
//! is goes into the list of nodes and to those who watch.

use nanoserde::SerJson;

use super::live::{own, Node};
use crate::gate::facts::Dialect;
use crate::gate::limits;
use crate::gate::scopes::Scope;
use crate::rpc::params::{NodeEvent, PluginSurface};
use crate::rpc::{self, answers, Audience, Call, Effect, Failure, Reply};
use crate::wire::json::{self, Kind, Value};
use crate::wire::message::Params;

/// `node.event {event, payload?, payloadJSON?}`
pub fn event(call: &mut Call<'_>, params: NodeEvent<'_>) -> Result<Reply, Failure> {
    let name = params.event;
    let text = params.payload_json.and_then(|held| held.as_str());
    let inner = text.as_deref().and_then(|text| json::parse(text.as_bytes(), limits::JSON_DEPTH).ok());
    let payload = inner.or(params.payload).unwrap_or(Value::EMPTY);
    let mut effects = Vec::new();
    let (handled, reason) = match &*name {
        "node.host.stats" => match stats(call, payload) {
            Some(effect) => {
                effects.push(effect);
                (true, "updated")
            }
            None => (false, "invalid_payload"),
        },
        // that it is here is known and kept without being told
        "node.presence.alive" => (true, "throttled"),
        "exec.started" | "exec.finished" | "exec.denied" => (false, "unmatched_exec_event"),
        _ => (false, "unsupported_event"),
    };
    log::debug!("conn={} node event {name:?}: {reason}", call.caller.conn());
    let v4 = call.caller.dialect() == Dialect::V4;
    let (event, handled, reason) = (v4.then_some(&*name), v4.then_some(handled), v4.then_some(reason));
    Ok(Reply::json(&answers::NodeEventTaken { ok: true, event, handled, reason }).with(effects))
}

/// Takes the numbers that are known of a node's machine.
fn stats(call: &mut Call<'_>, payload: Value<'_>) -> Option<Effect> {
    let now = call.now.wall;
    let node: &mut Node = call.relay.nodes.on(call.caller.conn())?;
    let whole = |name: &str| payload.get(name).and_then(|value| value.as_u64());
    let load =
        payload.get("loadAverage").filter(|load| load.kind() == Kind::Array && load.raw().len() <= limits::WORD_LEN);
    let load = load.filter(|load| load.items().count() == 3 && load.items().all(|one| one.kind() == Kind::Number));
    whole("cpuCount").filter(|_| whole("memoryTotalBytes").is_some() && whole("memoryFreeBytes").is_some())?;
    let stats = answers::HostStats {
        cpus: whole("cpuCount"),
        memory: whole("memoryTotalBytes"),
        memory_free: whole("memoryFreeBytes"),
        disk: whole("diskTotalBytes"),
        disk_free: whole("diskAvailableBytes"),
        load: load.map(|load| answers::Raw(load.raw().to_string())),
        at: now.0,
    };
    let stats = stats.serialize_json();
    let event = rpc::json(&answers::HostStatsEvent { node_id: node.device, stats: answers::Raw(stats.clone()) });
    node.stats = Some(stats.into_bytes());
    let to = Audience::V4 { scope: Scope::Read };
    Some(Effect::Event { name: "node.hostStats", payload: event, to })
}

/// `node.pluginTools.update {tools}` (protocol 4): they are for an agent, so none is taken.
pub fn plugin_tools(call: &mut Call<'_>, _: Params<'_>) -> Result<Reply, Failure> {
    taken(call, Some("tools"))
}

/// `node.skills.update {skills}` (protocol 4): they are for an agent, so none is taken.
pub fn skills(call: &mut Call<'_>, _: Params<'_>) -> Result<Reply, Failure> {
    taken(call, Some("skills"))
}

/// `node.runnerInventory.update {...}` (protocol 4): nothing is run on it from here.
pub fn runner_inventory(call: &mut Call<'_>, _: Params<'_>) -> Result<Reply, Failure> {
    taken(call, None)
}

/// A node host repeats these every few seconds until it is answered.
fn taken(call: &mut Call<'_>, list: Option<&str>) -> Result<Reply, Failure> {
    let own = own(call)?;
    Ok(Reply::of(json::object(|o| {
        o.shown("nodeId", &own);
        if let Some(list) = list {
            o.strs(list, []);
        }
    })))
}

/// `node.pluginSurface.refresh {surface}` (protocol 4): there are no plugins.
pub fn plugin_surface(_call: &mut Call<'_>, params: Params<'_>) -> Result<Reply, Failure> {
    match params.read_sound::<PluginSurface>().surface {
        Some(surface) => Err(Failure::unavailable([&*surface, " plugin surface unavailable"].concat())),
        None => Err(Failure::invalid("surface required")),
    }
}

/// `skills.bins {}` of a node: which programs its skills need; there are no skills.
pub fn skills_bins(_call: &mut Call<'_>, _: Params<'_>) -> Result<Reply, Failure> {
    Ok(Reply::of(br#"{"bins":[]}"#.to_vec()))
}
