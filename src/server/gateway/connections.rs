//! Open WebSockets by id, as a sorted list, and the admitted ones by the client that holds them. A
//! tree would add 5 kB to the program.

use std::rc::Rc;

use crate::gate::budget::Holder;
use crate::gate::ids::{ConnId, Millis};
use crate::gate::refusal::Close;
use crate::gate::scopes::Scope;
use crate::gate::session::Admitted;
use crate::server::net::send_queue::SendQueue;

/// An open WebSocket.
pub struct OpenConnection {
    pub id: ConnId,
    pub send_queue: Rc<SendQueue>,
    /// Absent until the client is admitted.
    pub admitted: Option<Admitted>,
    /// Display name of the client, or its client id.
    pub name: Rc<str>,
    /// Number of calls rejected as unauthorized.
    pub unauthorized: u32,
    /// Time of the last request, or of the admission.
    pub last_active: Millis,
}

impl OpenConnection {
    /// Returns whether this connection is not `other` and may approve commands.
    pub fn may_approve(&self, other: ConnId) -> bool {
        self.id != other
            && self.admitted.as_ref().is_some_and(|client| client.may(Scope::Approvals))
    }
}

/// Open WebSockets.
#[derive(Default)]
pub struct Connections {
    /// Sorted by id.
    open: Vec<OpenConnection>,
    /// Admitted connections that are not evicted, sorted by [`holder_key`] and id.
    held: Vec<(u64, ConnId)>,
}

/// Returns the key by which the connections of a holder are found. Few holders have equal keys.
fn holder_key(holder: Holder) -> u64 {
    match holder {
        Holder::Keyless => 0,
        Holder::Local => 1,
        Holder::Device(id) => {
            let [a, b, c, d, e, f, g, h, ..] = id.0;
            u64::from_be_bytes([a, b, c, d, e, f, g, h])
        }
    }
}

impl Connections {
    /// Adds a WebSocket.
    pub fn open(&mut self, id: ConnId, send_queue: Rc<SendQueue>) {
        self.close(id);
        let connection = OpenConnection {
            id,
            send_queue,
            admitted: None,
            name: Rc::from(""),
            unauthorized: 0,
            last_active: Millis(0),
        };
        let index = self.open.partition_point(|open| open.id < id);
        self.open.insert(index, connection);
    }

    /// Records that the client of a WebSocket is admitted.
    pub fn admit(&mut self, client: &Admitted, name: &str, now: Millis) {
        let Some(open) = self.get_mut(client.conn()) else { return };
        (open.name, open.last_active) = (name.into(), now);
        open.admitted = Some(client.clone());
        let entry = (holder_key(client.holder()), client.conn());
        if let Err(index) = self.held.binary_search(&entry) {
            self.held.insert(index, entry);
        }
    }

    /// Closes an admitted connection at once. It does not count as held any more.
    pub fn evict(&mut self, id: ConnId, reason: Close) {
        let Some(open) = self.get(id) else { return };
        open.send_queue.evict(reason);
        self.release(id);
    }

    /// Removes a WebSocket and returns it, if it was open.
    pub fn close(&mut self, id: ConnId) -> Option<OpenConnection> {
        let index = self.index(id)?;
        self.release(id);
        let closed = self.open.remove(index);
        shrink(&mut self.open);
        shrink(&mut self.held);
        Some(closed)
    }

    /// Removes a connection from the list of those held.
    fn release(&mut self, id: ConnId) {
        let Some(client) = self.get(id).and_then(|open| open.admitted.as_ref()) else { return };
        if let Ok(index) = self.held.binary_search(&(holder_key(client.holder()), id)) {
            self.held.remove(index);
        }
    }

    /// Returns the WebSocket with this id, if it is open.
    pub fn get(&self, id: ConnId) -> Option<&OpenConnection> {
        self.index(id).map(|index| &self.open[index])
    }

    /// Mutable variant of [`Connections::get`].
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut OpenConnection> {
        self.index(id).map(|index| &mut self.open[index])
    }

    /// Iterates over all WebSockets by ascending id.
    pub fn iter(&self) -> std::slice::Iter<'_, OpenConnection> {
        self.open.iter()
    }

    /// Iterates over the admitted clients.
    pub fn clients(&self) -> impl Iterator<Item = &Admitted> {
        self.open.iter().filter_map(|open| open.admitted.as_ref())
    }

    /// Number of open WebSockets.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    fn index(&self, id: ConnId) -> Option<usize> {
        self.open.binary_search_by_key(&id, |open| open.id).ok()
    }

    // --- by holder -------------------------------------------------------------------------------

    /// Number of admitted connections that are not evicted.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Iterates over the held connections of a holder by ascending id.
    pub fn held_by(&self, holder: Holder) -> impl Iterator<Item = &OpenConnection> {
        let key = holder_key(holder);
        let start = self.held.partition_point(|(other, _)| *other < key);
        let entries = self.held[start..].iter().take_while(move |(other, _)| *other == key);
        entries
            .filter_map(|(_, id)| self.get(*id))
            .filter(move |open| open.admitted.as_ref().is_some_and(|one| one.holder() == holder))
    }

    /// Returns the holder with the most held connections, and their number, among those for which
    /// `may_lose` returns whether a holder with so many may lose one. Takes time for each
    /// connection.
    pub fn largest_holder(
        &self,
        may_lose: impl Fn(Holder, usize) -> bool,
    ) -> Option<(Holder, usize)> {
        let by_holder = self.held.chunk_by(|one, other| one.0 == other.0).filter_map(|entries| {
            let open = self.get(entries.first()?.1)?;
            Some((open.admitted.as_ref()?.holder(), entries.len()))
        });
        by_holder
            .filter(|(holder, count)| may_lose(*holder, *count))
            .max_by_key(|(_, count)| *count)
    }
}

/// Gives memory back when most connections of a crowd are closed.
fn shrink<T>(list: &mut Vec<T>) {
    if list.capacity() > 64 && list.len() < list.capacity() / 4 {
        list.shrink_to(list.capacity() / 2);
    }
}
