//! Requests in large messages, and the size that a client may send.
//!
//! Reading a large message takes up to a second, so it is done on another thread: the check of the
//! whole text, the envelope, and the parameters that are relayed. The gateway state then handles
//! the request like any other, without another pass over the message.
//!
//! Rights are checked before the parameters are read, and again when the request is handled.

use super::nodes::{PreparedInvoke, PreparedResult};
use super::{check_rights, Callers, Method, METHODS};
use crate::gate::ids::Role;
use crate::gate::limits;
use crate::gate::session::Admitted;
use crate::wire::frames::{BadFrame, Request};
use crate::wire::json::{Checked, Place};
use crate::wire::message::Params;

/// Returns the maximum size of a frame of this client: that of its largest request.
pub fn frame_limit(client: &Admitted) -> usize {
    let larger = METHODS.iter().filter(|method| method.size.bytes > limits::FRAME_ORDINARY);
    let allowed = larger.filter(|method| {
        let is_for = match client.role() {
            Role::Node => method.callers != Callers::Operators,
            Role::Operator => {
                method.callers != Callers::Nodes && client.may(method.scope_in(client.protocol()))
            }
        };
        is_for && method.is_in(client.protocol())
    });
    allowed.map(|method| method.size.bytes).max().unwrap_or(limits::FRAME_ORDINARY)
}

/// Request in a large message.
pub struct LargeRequest<T> {
    text: Checked<T>,
    bytes: usize,
    id: String,
    method: String,
    params: Option<Place>,
    prepared: Prepared,
}

/// Parameters of a large request that were read on another thread, or the reason why they are not
/// valid.
pub enum Prepared {
    /// The parameters are read when the request is handled.
    None,
    Invoke(Result<Box<PreparedInvoke>, String>),
    Result(Result<Box<PreparedResult>, String>),
}

impl<T: AsRef<str>> LargeRequest<T> {
    /// Reads a message of this client.
    pub fn parse(text: T, caller: &Admitted) -> Result<LargeRequest<T>, BadFrame> {
        let bytes = text.as_ref().len();
        let text = Checked::parse(text, limits::JSON_DEPTH).map_err(BadFrame::Json)?;
        let root = text.value();
        let request = Request::read(root, bytes, text.values())?;
        let prepared = prepare(caller, &request);
        let (id, method) = (request.id.into_owned(), request.method.into_owned());
        let params = request.params.map(|params| root.place_of(&params));
        Ok(LargeRequest { bytes, id, method, params, prepared, text })
    }

    /// Returns the request.
    pub fn request(&self) -> Request<'_> {
        Request {
            id: self.id.as_str().into(),
            method: self.method.as_str().into(),
            params: self.params.map(|place| self.text.value().at_place(place)),
            bytes: self.bytes,
            values: self.text.values(),
        }
    }

    /// Returns the parameters that were read.
    pub fn prepared(&self) -> &Prepared {
        &self.prepared
    }
}

/// Reads the parameters if the caller may make the request and they are relayed.
fn prepare(caller: &Admitted, request: &Request<'_>) -> Prepared {
    let method = Method::find(caller.protocol(), &request.method);
    let Some(method) = method.filter(|one| check_rights(caller, Some(one), None).is_ok()) else {
        return Prepared::None;
    };
    let params = Params::new(method.name, request.params);
    match method.name {
        "node.invoke" => Prepared::Invoke(PreparedInvoke::read(params).map(Box::new)),
        "node.invoke.result" => Prepared::Result(PreparedResult::read(params).map(Box::new)),
        _ => Prepared::None,
    }
}
