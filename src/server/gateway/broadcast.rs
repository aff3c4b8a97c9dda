//! Events to many clients. The text of an event is written once for all its recipients of a
//! protocol. Events that carry a state are sent at a limited pace: the first change at once, the
//! last one always.

use std::rc::Rc;

use super::Gateway;
use crate::gate::facts::Protocol;
use crate::gate::ids::{ConnId, Millis, Now};
use crate::gate::limits;
use crate::gate::scopes::Scope;
use crate::rpc::{self, Audience};
use crate::server::net::send_queue::{EventFrame, EventKind, Queued};
use crate::wire::json;

/// An event to be sent.
#[derive(Clone, Copy)]
pub(super) struct Announcement {
    name: &'static str,
    kind: EventKind,
    /// Versions of presence and health.
    versions: Option<(u64, u64)>,
    to: Audience,
}

impl Announcement {
    /// Creates an event of this name, which is replaceable if it carries a state.
    pub fn of(name: &'static str, to: Audience) -> Announcement {
        let kind = rpc::state_event(name).map_or(EventKind::Droppable, EventKind::State);
        Announcement { name, kind, versions: None, to }
    }

    /// Makes this the last event of each client.
    pub fn last(self) -> Announcement {
        Announcement { kind: EventKind::Final, ..self }
    }

    fn about_node(self, conn: ConnId) -> Announcement {
        Announcement { kind: EventKind::StateOfNode(conn), ..self }
    }

    /// Adds the versions of presence and health.
    pub fn versioned(self, presence: u64) -> Announcement {
        Announcement { versions: Some((presence, 1)), ..self }
    }
}

/// Text of an event for protocols 3 and 4; `None` if no client of the protocol receives it.
type EventFrames = [Option<Rc<EventFrame>>; 2];

impl Gateway {
    /// Sends an event with the same payload in both protocols to all clients that may see it.
    pub(super) fn broadcast(&mut self, event: Announcement, payload: &[u8]) {
        let frame = self.event_frame(event, payload);
        self.deliver(event, &[Some(frame.clone()), Some(frame)]);
    }

    /// Sends an event with a payload for each protocol to all clients that may see it. Returns the
    /// number of bytes that are queued.
    pub(super) fn broadcast_each(
        &mut self,
        event: Announcement,
        payload: impl Fn(&Gateway, Protocol) -> Vec<u8>,
    ) -> usize {
        let frames = [Protocol::V3, Protocol::V4].map(|protocol| {
            let is_spoken = self
                .connections
                .clients()
                .any(|client| client.protocol() == protocol && event.to.includes(client));
            is_spoken.then(|| self.event_frame(event, &payload(self, protocol)))
        });
        self.deliver(event, &frames)
    }

    fn event_frame(&self, event: Announcement, payload: &[u8]) -> Rc<EventFrame> {
        self.make_room(0, payload.len());
        EventFrame::new(&self.send_pool, event.name, payload, event.versions, event.kind)
    }

    fn deliver(&mut self, event: Announcement, frames: &EventFrames) -> usize {
        let (mut bytes, mut too_large) = (0, 0_u32);
        for open in self.connections.iter() {
            let Some(client) = open.admitted.as_ref().filter(|client| event.to.includes(client))
            else {
                continue;
            };
            let Some(frame) = &frames[(client.protocol() == Protocol::V4) as usize] else {
                continue;
            };
            match open.send_queue.send_event(frame) {
                Queued::Queued | Queued::Replaced => bytes += frame.size(),
                Queued::TooLarge => too_large += 1,
                Queued::Dropped | Queued::Slow | Queued::Closed => {}
            }
        }
        if too_large > 0 {
            let name = event.name;
            log::warn!("event {name} was not sent to {too_large} clients: too large for a frame");
        }
        bytes
    }

    /// Records that the presence list has changed, and sends it if it is due.
    pub(super) fn presence_changed(&mut self, now: Now) {
        self.presence_pace.change();
        self.send_presence(now);
    }

    /// Sends the presence list if it has changed and is due. The next one follows after an interval
    /// in which this one is a fair load for the network.
    fn send_presence(&mut self, now: Now) {
        if !self.presence_pace.take(now.at) {
            return;
        }
        let event = Announcement::of("presence", Audience::OperatorsAndV3(Scope::Read))
            .versioned(self.presence.version());
        let bytes = self.broadcast_each(event, |gateway, protocol| {
            let list = gateway.presence.list(protocol);
            json::object(|o| o.raw("presence", &list))
        });
        let ms = bytes as u64 * 1000 / limits::PRESENCE_BYTES_PER_S as u64;
        self.presence_pace.rest(now.at, ms.max(limits::PRESENCE_MS));
    }

    /// Records that the wake words have changed, and sends them if they are due.
    pub(super) fn wake_words_changed(&mut self, now: Now) {
        self.wake_words_pace.change();
        self.send_wake_words(now);
    }

    fn send_wake_words(&mut self, now: Now) {
        if self.wake_words_pace.take(now.at) {
            self.wake_words_pace.rest(now.at, limits::NODE_STATE_MS);
            let to = Audience::OperatorsNodesAndV3(Scope::Read);
            let words = self.nodes.triggers.json();
            self.broadcast(Announcement::of("voicewake.changed", to), &words);
        }
    }

    /// Sends the statistics of nodes that are due.
    pub(super) fn send_host_stats(&mut self, now: Now) {
        let event = Announcement::of("node.hostStats", Audience::OperatorsOfV4(Scope::Read));
        for (conn, payload) in self.nodes.registry.take_due_stats(now.at) {
            self.broadcast(event.about_node(conn), &payload);
        }
    }

    /// Sends all states that are due.
    pub(super) fn send_due_states(&mut self, now: Now) {
        self.send_presence(now);
        self.send_wake_words(now);
        self.send_host_stats(now);
    }

    /// Returns the next time at which a changed state is due.
    pub(super) fn next_state(&self) -> Option<Millis> {
        let paces = [self.presence_pace.deadline(), self.wake_words_pace.deadline()];
        paces.into_iter().chain([self.nodes.registry.stats_due()]).flatten().min()
    }
}
