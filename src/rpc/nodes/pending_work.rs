//! Pending work of nodes (protocol 4): actions that a phone in the background could not do
//! (`node.pending.pull`, `node.pending.ack`), and items that another client queued
//! (`node.pending.enqueue`, `node.pending.drain`).
//!
//! In memory only and bounded. Entries expire. Each client that asks has a share of both lists. An
//! action beyond the places of its node replaces the oldest of the client that has the most there;
//! nothing else is evicted.

use super::list::unknown_node;
use super::registry::{calling_node, ConnectedNode};
use crate::gate::budget::{has_share, oldest_of_largest, Budget, Holder};
use crate::gate::facts::Protocol;
use crate::gate::ids::{DeviceId, Millis, Now, RequestId, WallMs};
use crate::gate::limits;
use crate::rpc::params::{Nothing, PendingAck, PendingDrain, PendingEnqueue};
use crate::rpc::{answers, Call, Failure, Reply};
use crate::wire::json::{self, Writer};

/// Command to run when its node returns to the foreground.
#[derive(Clone)]
pub struct Action {
    id: RequestId,
    node: DeviceId,
    /// Client that asked.
    holder: Holder,
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
        holder: Holder,
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
        let small = params.map_or(0, str::len) + key.len() <= limits::ACTION_LEN;
        (phone && family && small).then(|| Action {
            id,
            node: node.device,
            holder,
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
    /// Client that queued the item.
    holder: Holder,
    kind: &'static str,
    high_priority: bool,
    created: WallMs,
    expires: Millis,
    expires_wall: WallMs,
}

/// All pending work.
pub struct PendingWork {
    /// Actions, the oldest first.
    actions: Vec<Action>,
    actions_used: Budget,
    items: Vec<WorkItem>,
    items_used: Budget,
    /// Number of changes of the items.
    revision: u64,
}

/// Kinds of items.
pub const WORK_KINDS: [&str; 2] = [STATUS_REQUEST, "location.request"];
const STATUS_REQUEST: &str = "status.request";

impl Default for PendingWork {
    /// Creates empty lists.
    fn default() -> PendingWork {
        PendingWork {
            actions: Vec::new(),
            actions_used: Budget::new(limits::ACTIONS),
            items: Vec::new(),
            items_used: Budget::new(limits::WORK),
            revision: 0,
        }
    }
}

impl PendingWork {
    /// Returns the use of the queue of actions, counted in actions.
    pub fn actions_budget(&self) -> Budget {
        self.actions_used.with_used(self.actions.len())
    }

    /// Returns the use of the list of items, counted in items.
    pub fn items_budget(&self) -> Budget {
        self.items_used.with_used(self.items.len())
    }

    /// Queues an action and returns its id, or that of an older action with the same key. Returns
    /// `None` if there is no space.
    pub fn queue(&mut self, action: Action, now: Now) -> Option<RequestId> {
        self.expire(now.at);
        let own = |one: &&Action| one.node == action.node;
        if let Some(same) = self.actions.iter().filter(own).find(|one| one.key == action.key) {
            return Some(same.id);
        }
        if self.actions.iter().filter(own).count() >= limits::ACTIONS_OF_ONE {
            self.evict_action(action.node);
        }
        let held = self.actions.iter().filter(|one| one.holder == action.holder).count();
        if !has_share(held, self.actions.len(), limits::ACTIONS, limits::ACTIONS_OF_ONE) {
            let own = |one: &Action| one.node == action.node && one.holder == action.holder;
            let oldest = self.actions.iter().position(own)?;
            self.actions.remove(oldest);
        }
        let id = action.id;
        self.actions.push(Action { since: now, ..action });
        self.actions_used.record(self.actions.len());
        Some(id)
    }

    /// Removes the oldest action of the client that has the most actions of this node.
    fn evict_action(&mut self, node: DeviceId) {
        let actions = self.actions.iter().enumerate();
        let of_node: Vec<usize> =
            actions.filter(|(_, action)| action.node == node).map(|(at, _)| at).collect();
        let holders = of_node.iter().map(|at| self.actions[*at].holder);
        if let Some((oldest, _)) = oldest_of_largest(holders) {
            self.actions.remove(of_node[oldest]);
        }
    }

    /// Checks that the client may queue another item.
    fn check_share(&self, holder: Holder, now: Millis) -> Result<(), Failure> {
        let own = || self.items.iter().filter(|item| item.holder == holder);
        if has_share(own().count(), self.items.len(), limits::WORK, limits::WORK_OF_ONE) {
            return Ok(());
        }
        let message = format!(
            "{} items that this client queued wait for nodes, which is its share; \
             retry when nodes have fetched them",
            own().count()
        );
        let next = self.items.iter().map(|item| item.expires.since(now)).min();
        Err(Failure::share(message, next))
    }

    /// Adds an item and returns its index.
    fn insert(&mut self, item: WorkItem) -> usize {
        self.items.push(item);
        self.items_used.record(self.items.len());
        self.revision += 1;
        self.items.len() - 1
    }

    fn expire(&mut self, now: Millis) {
        self.actions.retain(|action| now.since(action.since.at) < limits::ACTION_MS);
        let before = self.items.len();
        self.items.retain(|item| item.expires > now);
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
    Ok(Reply::object(|o| {
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
    }))
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
    let node = call.paired_node(&params.node_id).ok_or_else(unknown_node)?.id;
    let kind = WORK_KINDS.into_iter().find(|kind| *kind == params.kind).unwrap_or(STATUS_REQUEST);
    let (id, holder) = (call.new_id(), call.caller.holder());
    let (work, now) = (&mut call.nodes.work, call.now);
    work.expire(now.at);
    let queued = work.items.iter().position(|item| item.node == node && item.kind == kind);
    if queued.is_none() {
        work.check_share(holder, now.at)?;
    }
    let at = queued.unwrap_or_else(|| {
        let ms = params.expires_in_ms.unwrap_or(limits::WORK_MS);
        work.insert(WorkItem {
            id,
            node,
            holder,
            kind,
            high_priority: params.priority.as_deref() == Some("high"),
            created: now.wall,
            expires: now.at.plus(ms),
            expires_wall: WallMs(now.wall.0.saturating_add(ms)),
        })
    });
    let (item, revision) = (&work.items[at], work.revision);
    Ok(Reply::object(|o| {
        o.shown("nodeId", &node);
        o.u64("revision", revision);
        o.obj("queued", |o| item.render(o));
        o.bool("wakeTriggered", false);
    }))
}

/// Handles `node.pending.drain {maxItems?}` of a node: returns and removes its items. If no status
/// request is among them and there is room, the answer has an additional one.
pub fn drain(call: &mut Call<'_>, params: PendingDrain) -> Result<Reply, Failure> {
    let max = params.max_items.unwrap_or(limits::WORK_FETCHED);
    let own = calling_node(call)?;
    let (work, now) = (&mut call.nodes.work, call.now);
    work.expire(now.at);
    let mut waiting: Vec<usize> =
        (0..work.items.len()).filter(|at| work.items[*at].node == own).collect();
    // The sort is stable, so the oldest comes first among those of the same priority.
    waiting.sort_by_key(|at| !work.items[*at].high_priority);
    let has_status = waiting.iter().any(|at| work.items[*at].kind == STATUS_REQUEST);
    let taken = waiting.len().min(max as usize);
    let has_room = taken < max as usize;
    let payload = json::object(|o| {
        o.shown("nodeId", &own);
        o.u64("revision", work.revision + u64::from(taken > 0));
        o.arr("items", |list| {
            waiting[..taken].iter().for_each(|at| list.item_obj(|o| work.items[*at].render(o)));
            if !has_status && has_room {
                list.item_obj(|o| {
                    o.fields(
                        r#""id":"baseline-status","type":"status.request","priority":"default""#,
                    );
                    o.u64("createdAtMs", now.wall.0);
                    o.null("expiresAtMs");
                });
            }
        });
        o.bool("hasMore", waiting.len() > taken || !has_status && !has_room);
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
        o.str("priority", if self.high_priority { "high" } else { "normal" });
        o.u64("createdAtMs", self.created.0);
        o.u64("expiresAtMs", self.expires_wall.0);
    }
}

#[cfg(test)]
impl Action {
    /// Creates an action with an id made of the key.
    pub fn test(key: &str, node: DeviceId, holder: Holder) -> Action {
        let mut id = [0; 16];
        id.iter_mut().zip(key.bytes()).for_each(|(to, from)| *to = from);
        let (id, command, key) = (RequestId(id), String::new(), key.to_string());
        Action { id, node, holder, command, params: None, key, since: Now::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(n: u8) -> Holder {
        Holder::Device(DeviceId([n; 32]))
    }

    fn count(work: &PendingWork, of: impl Fn(&Action) -> bool) -> usize {
        work.actions.iter().filter(|action| of(action)).count()
    }

    #[test]
    fn one_client_leaves_actions_of_others_queued() {
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut work = PendingWork::default();
            let phone = |n: u8| DeviceId([100 + n; 32]);
            for n in 0..3 {
                let key = format!("mine {n}");
                assert!(work
                    .queue(Action::test(&key, phone(n), holder(0)), Now::default())
                    .is_some());
            }
            for n in 0..2000 {
                let (by, at) = (holder(random.u8(1..4)), phone(random.u8(0..12)));
                work.queue(Action::test(&format!("{n}"), at, by), Now::default());
                assert!(work.actions.len() <= limits::ACTIONS);
                for n in 1..4 {
                    let held = count(&work, |action| action.holder == holder(n));
                    assert!(held <= limits::ACTIONS_OF_ONE, "seed {seed}: {held}");
                }
            }
            assert_eq!(count(&work, |action| action.holder == holder(0)), 3, "seed {seed}");
            let action = Action::test("another", phone(0), holder(0));
            assert!(work.queue(action, Now::default()).is_some(), "seed {seed}");
        }
    }

    #[test]
    fn full_node_gives_up_the_oldest_action_of_the_client_with_the_most() {
        let (mut work, node) = (PendingWork::default(), DeviceId([9; 32]));
        for n in 0..limits::ACTIONS_OF_ONE {
            let by = holder(u8::from(n % 4 == 0));
            work.queue(Action::test(&format!("{n:02}"), node, by), Now::default());
        }
        assert!(work.queue(Action::test("new", node, holder(2)), Now::default()).is_some());
        assert_eq!(work.actions.len(), limits::ACTIONS_OF_ONE);
        assert!(work.actions[0].key == "00" && work.actions[1].key == "02", "01 was the oldest");
    }

    #[test]
    fn one_client_leaves_items_to_others() {
        let mut work = PendingWork::default();
        let mut node = 0u16;
        let mut fill = |work: &mut PendingWork, by| {
            let mut taken = 0;
            while work.check_share(by, Millis(0)).is_ok() {
                (node, taken) = (node + 1, taken + 1);
                let mut id = [0; 32];
                id[..2].copy_from_slice(&node.to_le_bytes());
                work.insert(WorkItem {
                    id: RequestId([0; 16]),
                    node: DeviceId(id),
                    holder: by,
                    kind: STATUS_REQUEST,
                    high_priority: false,
                    created: WallMs(0),
                    expires: Millis(5),
                    expires_wall: WallMs(0),
                });
            }
            taken
        };
        let taken: Vec<usize> = (1..9).map(|n| fill(&mut work, holder(n))).collect();
        assert_eq!(taken, [128, 128, 128, 64, 32, 16, 8, 4]);
        let refused = work.check_share(holder(1), Millis(1)).unwrap_err();
        assert_eq!((refused.retryable, refused.retry_after_ms), (true, Some(4)));
    }
}
