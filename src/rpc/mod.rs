//! The methods: who may call which, and what they do.
//!
//! A handler gets the state of the gateway in a [`Call`], answers with a payload, and names effects; it does no I/O and sends
//! nothing itself. An answer with a [`Change`] is sent, and its effects happen, only when the change is durable. Authority is
//! an argument ([`Admitted`]), so there is no way to call without it.

mod devices;
mod empty;
mod own;
mod presence;
pub mod render;
mod setup;
mod system;

use crate::gate::codes::Codes;
use crate::gate::device::Device;
use crate::gate::facts::Dialect;
use crate::gate::ids::{DeviceId, Now, Role, Roles, Slot};
use crate::gate::pending::Pending;
use crate::gate::refusal::{Close, ErrorCode};
use crate::gate::scopes::Scope;
use crate::gate::session::Admitted;
use crate::gate::table::{Cell, Table};
use crate::store::tokens::TableKey;
use crate::wire::json::{self, Value};
use crate::wire::params::Params;

pub use devices::{changed as devices_changed, requested as pair_requested};
pub use own::{Refused, Status};
pub use presence::{Entry, Presence};
pub use system::health_json;

/// The table as the gateway holds it.
pub type Devices = Table<Box<[Cell]>>;

/// What a handler works with.
pub struct Call<'a> {
    pub caller: &'a Admitted,
    pub now: Now,
    pub devices: &'a Devices,
    pub pending: &'a mut Pending,
    pub codes: &'a mut Codes,
    pub key: &'a TableKey,
    pub presence: &'a Presence,
    pub status: &'a Status,
    /// The last refusals, the newest first.
    pub refused: &'a [Refused],
    /// Fills with random bytes.
    pub random: &'a mut dyn FnMut(&mut [u8]),
}

/// What else a call does.
#[derive(Debug)]
pub enum Effect {
    /// Everybody who may see it gets this event.
    Event { name: &'static str, payload: Vec<u8>, to: Audience },
    /// Connections of that device in these roles are closed.
    Close { device: DeviceId, roles: Roles, why: Close },
}

/// Who gets an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// Every admitted client.
    All,
    /// Operators with this scope, and in protocol 3, where events had no scopes but for a few, everybody if `v3_all`.
    Scope { scope: Scope, v3_all: bool },
    /// Protocol 4 clients with this scope.
    V4 { scope: Scope },
}

impl Audience {
    /// Does the client get it?
    pub fn includes(self, client: &Admitted) -> bool {
        match self {
            Audience::All => true,
            Audience::Scope { scope, v3_all } => client.may(scope) || v3_all && client.dialect() == Dialect::V3,
            Audience::V4 { scope } => client.may(scope) && client.dialect() == Dialect::V4,
        }
    }
}

/// The record of a slot becomes this, or free.
#[derive(Debug)]
pub struct Change {
    pub slot: Slot,
    pub device: Option<Device>,
}

/// A call that went well.
#[derive(Debug)]
pub struct Reply {
    /// One JSON value.
    pub payload: Vec<u8>,
    /// What must be durable before anything else happens.
    pub change: Option<Change>,
    /// In this order, after the answer.
    pub effects: Vec<Effect>,
}

impl Reply {
    /// An answer that changes nothing.
    pub fn of(payload: Vec<u8>) -> Reply {
        Reply { payload, change: None, effects: Vec::new() }
    }

    /// The same, with these effects.
    fn with(self, effects: Vec<Effect>) -> Reply {
        Reply { effects, ..self }
    }

    /// The same, once that slot holds that.
    fn changing(self, slot: Slot, device: Option<Device>) -> Reply {
        Reply { change: Some(Change { slot, device }), ..self }
    }
}

/// A call that did not.
#[derive(Debug)]
pub struct Failure {
    pub code: ErrorCode,
    pub message: String,
    /// One JSON value.
    pub details: Option<Vec<u8>>,
    /// It counts towards [`Close::Unauthorized`].
    pub unauthorized: bool,
}

impl Failure {
    /// `INVALID_REQUEST` with that message.
    pub fn invalid(message: impl Into<String>) -> Failure {
        Failure { code: ErrorCode::InvalidRequest, message: message.into(), details: None, unauthorized: false }
    }

    /// `UNAVAILABLE` with that message.
    pub fn unavailable(message: impl Into<String>) -> Failure {
        Failure { code: ErrorCode::Unavailable, ..Failure::invalid(message) }
    }

    fn role(role: Role) -> Failure {
        Failure { unauthorized: true, ..Failure::invalid(["unauthorized role: ", role.name()].concat()) }
    }

    fn scope(scope: Scope) -> Failure {
        let details = json::object(|o| {
            o.str("code", "MISSING_SCOPE");
            o.str("missingScope", scope.name());
            o.strs("requiredScopes", [scope.name()]);
        });
        let message = ["missing scope: ", scope.name()].concat();
        Failure { code: ErrorCode::Forbidden, details: Some(details), ..Failure::invalid(message) }
    }
}

impl From<String> for Failure {
    /// What [`Params::finish`] says.
    fn from(problems: String) -> Failure {
        Failure::invalid(problems)
    }
}

type Handler = fn(&mut Call<'_>, Params<'_>) -> Result<Reply, Failure>;

/// One method: its name, the scope an operator needs (in protocol 3 and in protocol 4), whether a node may call it, whether
/// hello names it, its handler.
struct Method {
    name: &'static str,
    scope_v3: Scope,
    scope: Scope,
    node: bool,
    advertised: bool,
    handler: Handler,
}

const fn method(name: &'static str, scope: Scope, handler: Handler) -> Method {
    Method { name, scope_v3: scope, scope, node: false, advertised: true, handler }
}

/// Every method that this gateway serves itself.
const METHODS: &[Method] = &[
    Method { node: true, ..method("health", Scope::Read, system::health) },
    method("status", Scope::Read, system::status),
    method("system-presence", Scope::Read, system::presence),
    Method { scope_v3: Scope::Admin, ..method("config.get", Scope::Read, system::config) },
    method("device.pair.list", Scope::Pairing, devices::list),
    method("device.pair.approve", Scope::Pairing, devices::approve),
    method("device.pair.reject", Scope::Pairing, devices::reject),
    method("device.pair.remove", Scope::Pairing, devices::remove),
    method("device.pair.rename", Scope::Pairing, devices::rename),
    method("device.token.rotate", Scope::Pairing, devices::rotate),
    method("device.token.revoke", Scope::Pairing, devices::revoke),
    Method { advertised: false, ..method("device.pair.setupCode", Scope::Admin, setup::code) },
    Method { advertised: false, ..method("device.pair.setupStatus", Scope::Admin, setup::status) },
    Method { advertised: false, ..method("gatelet.status", Scope::Read, own::status) },
    Method { advertised: false, ..method("gatelet.refusals", Scope::Pairing, own::refusals) },
];

/// The methods that hello names.
pub fn advertised(dialect: Dialect) -> impl Iterator<Item = &'static str> {
    let own = METHODS.iter().filter(|method| method.advertised).map(|method| method.name);
    own.chain(empty::names(dialect))
}

/// The events that this gateway sends.
pub const EVENTS: [&str; 7] = [
    "connect.challenge",
    "presence",
    "tick",
    "shutdown",
    "device.pair.requested",
    "device.pair.resolved",
    "device.pair.changed",
];

/// Answers one request of an admitted client.
///
/// Rights come before everything else: a method that does not exist is only told from one that is not allowed to a caller with
/// admin (protocol 3 and 4).
pub fn dispatch(call: &mut Call<'_>, name: &str, params: Option<Value<'_>>) -> Result<Reply, Failure> {
    let dialect = call.caller.dialect();
    let found = METHODS.iter().find(|method| method.name == name);
    let empty = if found.is_none() { empty::find(dialect, name) } else { None };
    match call.caller.role() {
        Role::Node if !found.is_some_and(|method| method.node) => return Err(Failure::role(Role::Node)),
        Role::Node => {}
        Role::Operator => {
            let needed = match (found, &empty, dialect) {
                (Some(method), _, Dialect::V3) => method.scope_v3,
                (Some(method), _, Dialect::V4) => method.scope,
                (None, Some(empty), _) => empty.scope,
                (None, None, _) => Scope::Admin,
            };
            if !call.caller.may(needed) {
                return Err(Failure::scope(needed));
            }
        }
    }
    if name == "connect" {
        return Err(Failure::invalid("connect is only valid as the first request"));
    }
    match (found, empty) {
        (Some(method), _) => (method.handler)(call, Params::new(method.name, params)),
        (None, Some(empty)) => empty.answer(params, call.now.wall).map(Reply::of),
        (None, None) => Err(Failure::invalid(["unknown method: ", name].concat())),
    }
}
