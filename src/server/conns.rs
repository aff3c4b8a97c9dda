//! The open WebSockets, by their ids: a sorted list. There are some hundred at most, and a tree would be 5 kB of program.

use std::rc::Rc;

use super::outbox::Outbox;
use crate::gate::ids::ConnId;
use crate::gate::scopes::Scope;
use crate::gate::session::Admitted;

/// One open WebSocket.
pub struct Conn {
    pub id: ConnId,
    pub outbox: Rc<Outbox>,
    /// Absent until it was let in.
    pub admitted: Option<Admitted>,
    /// Of the last event that it was sent.
    pub seq: u64,
    /// What its client calls itself.
    pub name: Rc<str>,
    /// Calls that it may not make, and made.
    pub unauthorized: u32,
}

impl Conn {
    /// Is it another one than that, and may approve commands?
    pub fn may_approve(&self, than: ConnId) -> bool {
        self.id != than && self.admitted.as_ref().is_some_and(|client| client.may(Scope::Approvals))
    }
}

/// The open WebSockets.
#[derive(Default)]
pub struct Conns(Vec<Conn>);

impl Conns {
    /// A WebSocket was opened.
    pub fn open(&mut self, id: ConnId, outbox: Rc<Outbox>) {
        let conn = Conn { id, outbox, admitted: None, seq: 0, name: Rc::from(""), unauthorized: 0 };
        match self.0.binary_search_by_key(&id, |conn| conn.id) {
            Ok(place) => self.0[place] = conn,
            Err(place) => self.0.insert(place, conn),
        }
    }

    /// It is gone.
    pub fn close(&mut self, id: ConnId) -> Option<Conn> {
        self.place(id).map(|place| self.0.remove(place))
    }

    /// The WebSocket of that id, if it is still open.
    pub fn get(&self, id: ConnId) -> Option<&Conn> {
        self.place(id).map(|place| &self.0[place])
    }

    /// As [`Conns::get`], to be changed.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.place(id).map(|place| &mut self.0[place])
    }

    /// All of them, by their ids.
    pub fn iter(&self) -> std::slice::Iter<'_, Conn> {
        self.0.iter()
    }

    /// As [`Conns::iter`], to be changed.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Conn> {
        self.0.iter_mut()
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn place(&self, id: ConnId) -> Option<usize> {
        self.0.binary_search_by_key(&id, |conn| conn.id).ok()
    }
}
