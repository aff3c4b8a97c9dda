//! Events that nodes send: `node.event` and the updates of protocol 4.
//!
//! Most of them are for an agent, and there is none here: they are acknowledged as not handled. The
//! statistics of a node's machine go into the node list and to operators.

use super::registry::{calling_node, ConnectedNode};
use crate::gate::facts::Protocol;
use crate::gate::limits;
use crate::rpc::params::{NodeEvent, PluginSurface};
use crate::rpc::{self, answers, Call, Effect, Failure, Reply};
use crate::wire::json::{self, Kind, Value};
use crate::wire::message::Params;

/// Handles `node.event {event, payload?, payloadJSON?}`.
pub fn event(call: &mut Call<'_>, params: NodeEvent<'_>) -> Result<Reply, Failure> {
    let name = params.event;
    let text = params.payload_json.and_then(|held| held.as_str());
    let inner =
        text.as_deref().and_then(|text| json::parse(text.as_bytes(), limits::JSON_DEPTH).ok());
    let payload = inner.or(params.payload).unwrap_or(Value::EMPTY);
    let mut effects = Vec::new();
    let (handled, reason) = match &*name {
        "node.host.stats" => match store_stats(call, payload) {
            Some(effect) => {
                effects.push(effect);
                (true, "updated")
            }
            None => (false, "invalid_payload"),
        },
        // The connection already shows that the node is alive.
        "node.presence.alive" => (true, "throttled"),
        "exec.started" | "exec.finished" | "exec.denied" => (false, "unmatched_exec_event"),
        _ => (false, "unsupported_event"),
    };
    log::debug!("conn={} node event {name:?}: {reason}", call.caller.conn());
    let answer = match call.caller.protocol() {
        Protocol::V3 => Reply::ok(),
        Protocol::V4 => {
            Reply::json(&answers::NodeEventAnswer { ok: true, event: &name, handled, reason })
        }
    };
    Ok(answer.with(effects))
}

/// Stores the statistics of a node's machine that are known. Returns `None` if they are not valid.
fn store_stats(call: &mut Call<'_>, payload: Value<'_>) -> Option<Effect> {
    let now = call.now.wall;
    let node: &mut ConnectedNode = call.nodes.registry.on_connection(call.caller.conn())?;
    let whole = |name: &str| payload.get(name).and_then(|value| value.as_u64());
    let load = payload
        .get("loadAverage")
        .filter(|load| load.kind() == Kind::Array && load.raw().len() <= limits::WORD_LEN);
    let load = load.filter(|load| {
        load.items().count() == 3 && load.items().all(|one| one.kind() == Kind::Number)
    });
    whole("cpuCount")
        .filter(|_| whole("memoryTotalBytes").is_some() && whole("memoryFreeBytes").is_some())?;
    let stats = answers::HostStats {
        cpus: whole("cpuCount"),
        memory: whole("memoryTotalBytes"),
        memory_free: whole("memoryFreeBytes"),
        disk: whole("diskTotalBytes"),
        disk_free: whole("diskAvailableBytes"),
        load: load.map(|load| answers::Raw(load.raw().to_string())),
        at: now.0,
    };
    node.stats = Some(rpc::json(&stats));
    call.nodes.registry.stats_changed(call.caller.conn());
    Some(Effect::HostStats)
}

/// Handles `node.pluginTools.update {tools}` (protocol 4). Tools are for an agent, so none is
/// accepted.
pub fn plugin_tools(call: &mut Call<'_>, _: Params<'_>) -> Result<Reply, Failure> {
    acknowledge(call, Some("tools"))
}

/// Handles `node.skills.update {skills}` (protocol 4). Skills are for an agent, so none is
/// accepted.
pub fn skills(call: &mut Call<'_>, _: Params<'_>) -> Result<Reply, Failure> {
    acknowledge(call, Some("skills"))
}

/// Handles `node.runnerInventory.update {...}` (protocol 4). This gateway runs nothing on the node.
pub fn runner_inventory(call: &mut Call<'_>, _: Params<'_>) -> Result<Reply, Failure> {
    acknowledge(call, None)
}

/// Acknowledges an update, which a node host repeats every few seconds until it is answered.
fn acknowledge(call: &mut Call<'_>, list: Option<&str>) -> Result<Reply, Failure> {
    let node = calling_node(call)?;
    Ok(Reply::object(|o| {
        o.shown("nodeId", &node);
        if let Some(list) = list {
            o.strs(list, []);
        }
    }))
}

/// Handles `node.pluginSurface.refresh {surface}` (protocol 4). There are no plugins.
pub fn plugin_surface(_call: &mut Call<'_>, params: Params<'_>) -> Result<Reply, Failure> {
    match params.read_sound::<PluginSurface>().surface {
        Some(surface) => Err(Failure::unavailable(format!("{surface} plugin surface unavailable"))),
        None => Err(Failure::invalid("surface required")),
    }
}

/// Handles `skills.bins {}` of a node: the programs that its skills need. There are no skills.
pub fn skills_bins(_call: &mut Call<'_>, _: Params<'_>) -> Result<Reply, Failure> {
    Ok(Reply::of(br#"{"bins":[]}"#.to_vec()))
}
