//! Open WebSockets by id, as a sorted list. There are at most some hundred, and a tree would add 5
//! kB to the program.

use std::rc::Rc;

use crate::gate::ids::ConnId;
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
}

impl OpenConnection {
    /// Returns whether this connection is not `other` and may approve commands.
    pub fn may_approve(&self, other: ConnId) -> bool {
        self.id != other
            && self.admitted.as_ref().is_some_and(|client| client.may(Scope::Approvals))
    }
}

/// Open WebSockets, sorted by id.
#[derive(Default)]
pub struct Connections(Vec<OpenConnection>);

impl Connections {
    /// Adds a WebSocket.
    pub fn open(&mut self, id: ConnId, send_queue: Rc<SendQueue>) {
        let connection =
            OpenConnection { id, send_queue, admitted: None, name: Rc::from(""), unauthorized: 0 };
        match self.0.binary_search_by_key(&id, |open| open.id) {
            Ok(index) => self.0[index] = connection,
            Err(index) => self.0.insert(index, connection),
        }
    }

    /// Removes a WebSocket and returns it, if it was open.
    pub fn close(&mut self, id: ConnId) -> Option<OpenConnection> {
        self.index(id).map(|index| self.0.remove(index))
    }

    /// Returns the WebSocket with this id, if it is open.
    pub fn get(&self, id: ConnId) -> Option<&OpenConnection> {
        self.index(id).map(|index| &self.0[index])
    }

    /// Mutable variant of [`Connections::get`].
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut OpenConnection> {
        self.index(id).map(|index| &mut self.0[index])
    }

    /// Iterates over all WebSockets by ascending id.
    pub fn iter(&self) -> std::slice::Iter<'_, OpenConnection> {
        self.0.iter()
    }

    /// Iterates over the admitted clients.
    pub fn clients(&self) -> impl Iterator<Item = &Admitted> {
        self.0.iter().filter_map(|open| open.admitted.as_ref())
    }

    /// Number of open WebSockets.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn index(&self, id: ConnId) -> Option<usize> {
        self.0.binary_search_by_key(&id, |open| open.id).ok()
    }
}
