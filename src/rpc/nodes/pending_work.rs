//! Pending work of nodes (protocol 4): actions that a phone in the background could not do
//! (`node.pending.pull`, `node.pending.ack`), and items that another client queued
//! (`node.pending.enqueue`, `node.pending.drain`).
//!
//! In memory only and bounded. Entries expire. Without space an item evicts the oldest item; an
//! action evicts the oldest of the same node, and is not queued if the whole list is full.

use super::list::unknown_node;
use super::registry::{calling_node, ConnectedNode};
use crate::gate::facts::Protocol;
use crate::gate::ids::{DeviceId, Millis, Now, RequestId, Role, WallMs};
use crate::gate::limits;
use crate::rpc::params::{Nothing, PendingAck, PendingDrain, PendingEnqueue};
use crate::rpc::{answers, Call, Failure, Reply};
use crate::wire::json::{self, Writer};

/// Command to run when its node returns to the foreground.
#[derive(Clone)]
pub struct Action {
    id: RequestId,
    node: DeviceId,
    command: String,
    /// Parameters as JSON.
    params: Option<String>,
    /// Idempotency key of the caller; actions with the same key are queued once.
    key: String,
    since: Now,
}

impl Action {
    /// Returns the action that a call of this node would become. Returns `None` where the call
    /// cannot be queued, for example for a node that cannot fetch it.
    pub fn of(
        node: &ConnectedNode,
        id: RequestId,
        command: &str,
        params: Option<&str>,
        key: &str,
    ) -> Option<Action> {
        let platform = node.about.platform.to_ascii_lowercase();
        let phone = node.protocol == Protocol::V4
            && (platform.starts_with("ios") || platform.starts_with("ipados"));
        let family = ["canvas.", "camera.", "screen.", "talk."]
            .iter()
            .any(|family| command.starts_with(family));
        let small = params.is_none_or(|params| params.len() <= limits::ACTION_LEN);
        (phone && family && small).then(|| Action {
            id,
            node: node.device,
            command: command.to_string(),
            params: params.map(str::to_string),
            key: key.to_string(),
            since: Now::default(),
        })
    }
}

/// Returns whether the error says that the node is in the background.
pub fn is_background(code: &str, message: &str) -> bool {
    code.eq_ignore_ascii_case("NODE_BACKGROUND_UNAVAILABLE")
        || message.to_ascii_uppercase().contains("BACKGROUND_UNAVAILABLE")
}

/// Item that was queued for a node.
struct WorkItem {
    id: RequestId,
    node: DeviceId,
    kind: &'static str,
    high: bool,
    created: WallMs,
    expires: (Millis, WallMs),
}

/// All pending work.
#[derive(Default)]
pub struct PendingWork {
    actions: Vec<Action>,
    items: Vec<WorkItem>,
    /// Number of changes of the items.
    revision: u64,
}

/// Kinds of items.
pub const WORK_KINDS: [&str; 2] = ["status.request", "location.request"];

impl PendingWork {
    /// Queues an action and returns its id, or that of an older action with the same key. Returns
    /// `None` if there is no space.
    pub fn keep(&mut self, action: Action, now: Now) -> Option<RequestId> {
        self.expire(now.at);
        let own = |one: &&Action| one.node == action.node;
        if let Some(same) = self.actions.iter().filter(own).find(|one| one.key == action.key) {
            return Some(same.id);
        }
        if self.actions.len() >= limits::ACTIONS {
            return None;
        }
        if self.actions.iter().filter(own).count() >= limits::ACTIONS_OF_ONE {
            let oldest = self.actions.iter().position(|one| one.node == action.node);
            oldest.map(|at| self.actions.remove(at));
        }
        let id = action.id;
        self.actions.push(Action { since: now, ..action });
        Some(id)
    }

    fn expire(&mut self, now: Millis) {
        self.actions.retain(|action| now.since(action.since.at) < limits::ACTION_MS);
        let before = self.items.len();
        self.items.retain(|item| item.expires.0 > now);
        self.revision += u64::from(self.items.len() < before);
    }
}

/// Handles `node.pending.pull {}` of a node: returns its pending actions.
pub fn pull(call: &mut Call<'_>, _: Nothing) -> Result<Reply, Failure> {
    let own = calling_node(call)?;
    call.nodes.work.expire(call.now.at);
    let nodes = &*call.nodes;
    let node = nodes.registry.get(&own);
    let approved = node.map(|node| node.approved(call.devices));
    let may = |action: &&Action| {
        let (Some(node), Some(approved)) = (node, approved) else { return false };
        let rules = node.rules(call.commands, approved);
        action.node == own
            && rules.invoke(&action.command, &|name| approved.has_command(name)).is_ok()
    };
    Ok(Reply::of(json::object(|o| {
        o.shown("nodeId", &own);
        o.arr("actions", |list| {
            for action in nodes.work.actions.iter().filter(may) {
                list.item_obj(|o| {
                    o.shown("id", &action.id);
                    o.str("command", &action.command);
                    match &action.params {
                        Some(params) => o.str("paramsJSON", params),
                        None => o.null("paramsJSON"),
                    }
                    o.u64("enqueuedAtMs", action.since.wall.0);
                });
            }
        });
    })))
}

/// Handles `node.pending.ack {ids}` of a node: removes the actions that it has done.
pub fn ack(call: &mut Call<'_>, params: PendingAck) -> Result<Reply, Failure> {
    let own = calling_node(call)?;
    let ids = params.ids;
    let work = &mut call.nodes.work;
    work.expire(call.now.at);
    work.actions.retain(|action| action.node != own || !ids.contains(&action.id.to_string()));
    let left = work.actions.iter().filter(|action| action.node == own).count();
    Ok(Reply::json(&answers::PendingAcked { node_id: own, ids, left: left as u64 }))
}

/// Handles `node.pending.enqueue {nodeId, type, priority?, expiresInMs?, wake?}`: queues one item
/// of a kind. This gateway does not wake nodes.
pub fn enqueue(call: &mut Call<'_>, params: PendingEnqueue) -> Result<Reply, Failure> {
    let expires = params.expires_in_ms.unwrap_or(limits::WORK_MS);
    let kind = WORK_KINDS.into_iter().find(|one| *one == params.kind);
    let known = DeviceId::parse(params.node_id.trim()).filter(|id| {
        call.devices.find(id).is_some_and(|(_, device)| device.roles.contains(Role::Node))
    });
    let node = known.ok_or_else(unknown_node)?;
    let fresh = call.new_id();
    let (work, now) = (&mut call.nodes.work, call.now);
    work.expire(now.at);
    let same = work.items.iter().position(|item| item.node == node && Some(item.kind) == kind);
    let at = same.unwrap_or_else(|| {
        if work.items.len() >= limits::WORK {
            work.items.remove(0);
        }
        let expires = (now.at.plus(expires), WallMs(now.wall.0.saturating_add(expires)));
        let (id, kind) = (fresh, kind.unwrap_or(WORK_KINDS[0]));
        let high = params.priority.as_deref() == Some("high");
        work.items.push(WorkItem { id, node, kind, high, created: now.wall, expires });
        work.revision += 1;
        work.items.len() - 1
    });
    let (item, revision) = (&work.items[at], work.revision);
    Ok(Reply::of(json::object(|o| {
        o.shown("nodeId", &node);
        o.u64("revision", revision);
        o.obj("queued", |o| item.render(o));
        o.bool("wakeTriggered", false);
    })))
}

/// Handles `node.pending.drain {maxItems?}` of a node: returns and removes its items. If no status
/// request is among them and there is room, the answer has an additional one.
pub fn drain(call: &mut Call<'_>, params: PendingDrain) -> Result<Reply, Failure> {
    let most = params.max_items.unwrap_or(limits::WORK_FETCHED);
    let own = calling_node(call)?;
    let (work, now) = (&mut call.nodes.work, call.now);
    work.expire(now.at);
    let mut waiting: Vec<usize> =
        (0..work.items.len()).filter(|at| work.items[*at].node == own).collect();
    // The sort is stable, so the oldest comes first among those of the same priority.
    waiting.sort_by_key(|at| !work.items[*at].high);
    let asked = waiting.iter().any(|at| work.items[*at].kind == WORK_KINDS[0]);
    let taken = waiting.len().min(most as usize);
    let room = taken < most as usize;
    let payload = json::object(|o| {
        o.shown("nodeId", &own);
        o.u64("revision", work.revision + u64::from(taken > 0));
        o.arr("items", |list| {
            waiting[..taken].iter().for_each(|at| list.item_obj(|o| work.items[*at].render(o)));
            if !asked && room {
                list.item_obj(|o| {
                    o.fields(
                        r#""id":"baseline-status","type":"status.request","priority":"default""#,
                    );
                    o.u64("createdAtMs", now.wall.0);
                    o.null("expiresAtMs");
                });
            }
        });
        o.bool("hasMore", waiting.len() > taken || !asked && !room);
    });
    let gone: Vec<RequestId> = waiting[..taken].iter().map(|at| work.items[*at].id).collect();
    work.items.retain(|item| !gone.contains(&item.id));
    work.revision += u64::from(taken > 0);
    Ok(Reply::of(payload))
}

impl WorkItem {
    fn render(&self, o: &mut Writer<'_>) {
        o.shown("id", &self.id);
        o.str("type", self.kind);
        o.str("priority", if self.high { "high" } else { "normal" });
        o.u64("createdAtMs", self.created.0);
        o.u64("expiresAtMs", self.expires.1 .0);
    }
}
