//! RPC methods: the table of methods, the scopes that they need, and their handlers.
//!
//! A handler gets the gateway state in a [`Call`], returns a payload, and lists effects; it does no
//! I/O and sends nothing itself. An answer with a [`Change`] is sent, and its effects are applied,
//! only after the change is durable. The rights of the caller are an argument ([`Admitted`]), so
//! that no method can be called without them.

mod answers;
pub mod config;
mod config_schema;
pub mod device_json;
mod devices;
mod gatelet;
mod logs;
pub mod nodes;
#[allow(clippy::question_mark)] // in code that the derive generates
mod params;
mod presence;
mod setup_codes;
mod stubs;
mod system;
mod system_event;

use std::ops::Deref;

use nanoserde::SerJson;

use crate::gate::device::Device;
use crate::gate::facts::Protocol;
use crate::gate::ids::{ConnId, DeviceId, Now, RequestId, Role, Roles, Slot};
use crate::gate::pairing_requests::PairingRequests;
use crate::gate::refusal::{Close, ErrorCode};
use crate::gate::scopes::{Scope, Scopes};
use crate::gate::session::Admitted;
use crate::gate::setup_codes::SetupCodes;
use crate::gate::table::{Cell, Table};
use crate::store::tokens::TableKey;
use crate::wire::json::Value;
use crate::wire::message::Params;

pub use devices::{changed as devices_changed, requested as pair_requested};
pub use gatelet::{Machine, Refused, Status};
pub use logs::Log;
pub use nodes::{Declared, Relay};
pub use presence::{Presence, PresenceEntry};
pub use system::health_json;

/// Pairing table in memory.
pub type Devices = Table<Box<[Cell]>>;

/// Content of `gateway.nodes.commands`, together with the older `allowCommands` and `denyCommands`.
#[derive(Default)]
pub struct Commands {
    /// Commands that nodes may have in addition to those of their platform.
    pub allow: Vec<String>,
    /// Commands that are never invoked on a node.
    pub deny: Vec<String>,
}

/// Input of a handler: the request and the gateway state.
pub struct Call<'a> {
    pub caller: &'a Admitted,
    /// Name that the caller's client gave itself.
    pub name: &'a str,
    /// Id of the request, for answers that are sent later.
    pub id: &'a str,
    pub now: Now,
    pub devices: &'a Devices,
    pub pairing_requests: &'a mut PairingRequests,
    pub setup_codes: &'a mut SetupCodes,
    pub key: &'a TableKey,
    pub relay: &'a mut Relay,
    pub commands: &'a Commands,
    pub presence: &'a mut Presence,
    pub status: &'a Status,
    /// Number of other connected clients that may approve commands; only counted for
    /// `exec.approval.request`.
    pub approvers: usize,
    /// Last rejections, the newest first.
    pub refused: &'a [Refused],
    /// Last lines of the log.
    pub log: &'a Log,
    /// Fills a buffer with random bytes.
    pub random: &'a mut dyn FnMut(&mut [u8]),
}

impl Call<'_> {
    /// Returns a new random id.
    fn fresh_id(&mut self) -> RequestId {
        let mut bytes = [0; 16];
        (self.random)(&mut bytes);
        RequestId::from_random(bytes)
    }
}

/// Further effect of a call, besides its answer.
#[derive(Debug)]
pub enum Effect {
    /// Sends an event to all clients that may see it.
    Event { name: &'static str, payload: Vec<u8>, to: Audience },
    /// Closes the connections of the device in these roles.
    Close { device: DeviceId, roles: Roles, why: Close },
    /// Sends a frame to the connection.
    Frame { conn: ConnId, frame: Vec<u8> },
    /// Fails a request of the connection that was to be answered later.
    Fail { conn: ConnId, id: String, failure: Failure },
    /// Sends the call with this number to its node. If the node reads too slowly, the call is
    /// returned through [`nodes::PendingInvokes::unsent`].
    Invoke { id: RequestId, conn: ConnId, frame: Vec<u8> },
    /// Sends the presence list to all clients that may see it.
    Presence,
    /// Removes a pending request.
    Decided(RequestId),
    /// Creates a request for approval of what the device offers as a node. Follows the approval of
    /// the device alone.
    LetIn(DeviceId),
}

/// Recipients of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// Every admitted client.
    All,
    /// Operators with this scope. With `v3_all` also every client of protocol 3, in which only a
    /// few events had scopes.
    Scope { scope: Scope, v3_all: bool },
    /// Clients of protocol 4 with this scope.
    V4 { scope: Scope },
    /// Nodes, operators with this scope, and every client of protocol 3.
    Nodes { scope: Scope },
}

impl Audience {
    /// Returns whether the client receives the event.
    pub fn includes(self, client: &Admitted) -> bool {
        match self {
            Audience::All => true,
            Audience::Scope { scope, v3_all } => {
                client.may(scope) || v3_all && client.protocol() == Protocol::V3
            }
            Audience::V4 { scope } => client.may(scope) && client.protocol() == Protocol::V4,
            Audience::Nodes { scope } => {
                client.may(scope)
                    || client.role() == Role::Node
                    || client.protocol() == Protocol::V3
            }
        }
    }
}

/// Change of a record of the table: `device` becomes the record of the slot; `None` frees the slot.
#[derive(Debug)]
pub struct Change {
    pub slot: Slot,
    pub device: Option<Device>,
}

/// Result of a call that succeeded.
#[derive(Debug)]
pub struct Reply {
    /// Payload of the answer, one JSON value.
    pub payload: Vec<u8>,
    /// Change that must be durable before the answer is sent and the effects are applied.
    pub change: Option<Change>,
    /// Request for the configuration file, the result of which is the answer.
    pub file: Option<Box<config::FileRequest>>,
    /// Effects, in the order in which they follow the answer.
    pub effects: Vec<Effect>,
    /// Whether the answer is one of the effects, of this call or of a later one.
    pub later: bool,
}

impl Reply {
    /// Creates an answer without a change.
    pub fn of(payload: Vec<u8>) -> Reply {
        Reply { payload, change: None, file: None, effects: Vec::new(), later: false }
    }

    /// Creates an answer of fixed shape without a change.
    fn json(answer: &impl SerJson) -> Reply {
        Reply::of(json(answer))
    }

    /// Creates a reply without an answer, which is sent later as the effect of something else.
    fn later(effects: Vec<Effect>) -> Reply {
        Reply { effects, later: true, ..Reply::of(Vec::new()) }
    }

    /// Sets the effects of the reply.
    fn with(self, effects: Vec<Effect>) -> Reply {
        Reply { effects, ..self }
    }

    /// Sets the change on which the reply depends.
    fn changing(self, slot: Slot, device: Option<Device>) -> Reply {
        Reply { change: Some(Change { slot, device }), ..self }
    }
}

/// Serializes one of the [`answers`] as JSON.
fn json(answer: &impl SerJson) -> Vec<u8> {
    answer.serialize_json().into_bytes()
}

/// Failure of a call. It is one pointer, because failures are rare and many functions pass them on.
#[derive(Debug)]
pub struct Failure(Box<ErrorBody>);

/// Content of a [`Failure`].
#[derive(Debug)]
pub struct ErrorBody {
    pub code: ErrorCode,
    pub message: String,
    /// Value of `error.details`, one JSON value.
    pub details: Option<Vec<u8>>,
    /// Whether the failure counts towards [`Close::Unauthorized`].
    pub unauthorized: bool,
    /// Whether a later attempt may succeed.
    pub retryable: bool,
}

impl Failure {
    /// Creates an `INVALID_REQUEST` with this message.
    pub fn invalid(message: impl Into<String>) -> Failure {
        let (code, message) = (ErrorCode::InvalidRequest, message.into());
        Failure(Box::new(ErrorBody {
            code,
            message,
            details: None,
            unauthorized: false,
            retryable: false,
        }))
    }

    /// Creates an `UNAVAILABLE` with this message.
    pub fn unavailable(message: impl Into<String>) -> Failure {
        Failure::invalid(message).coded(ErrorCode::Unavailable)
    }

    /// Sets `error.details`, one JSON value.
    pub fn detailed(mut self, details: Vec<u8>) -> Failure {
        self.0.details = Some(details);
        self
    }

    fn coded(mut self, code: ErrorCode) -> Failure {
        self.0.code = code;
        self
    }

    fn retryable(mut self) -> Failure {
        self.0.retryable = true;
        self
    }

    fn role(role: Role) -> Failure {
        let mut failure = Failure::invalid(["unauthorized role: ", role.name()].concat());
        failure.0.unauthorized = true;
        failure
    }

    fn scope(scope: Scope) -> Failure {
        Failure::scopes(scope, Scopes::of(scope))
    }

    /// Creates the error that the caller lacks `scope`, one of the `required` ones.
    fn scopes(scope: Scope, required: Scopes) -> Failure {
        let details =
            json(&answers::MissingScope { code: "MISSING_SCOPE", missing: scope.name(), required });
        let message = ["missing scope: ", scope.name()].concat();
        Failure::invalid(message).coded(ErrorCode::Forbidden).detailed(details)
    }
}

impl Deref for Failure {
    type Target = ErrorBody;

    fn deref(&self) -> &ErrorBody {
        &self.0
    }
}

impl From<String> for Failure {
    /// Creates an `INVALID_REQUEST` with the error text of [`Params::read`].
    fn from(problems: String) -> Failure {
        Failure::invalid(problems)
    }
}

type Handler = fn(&mut Call<'_>, Params<'_>) -> Result<Reply, Failure>;

/// Wraps a handler that takes its parameters as they were declared.
macro_rules! typed {
    ($handler:path) => {
        |call, params| $handler(call, params.read()?)
    };
}

/// Roles that may call a method.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    Operators,
    Nodes,
    Both,
}

/// One method: its name, the scope that an operator needs (in protocol 3 and in protocol 4), the
/// roles that may call it, the protocol that has it if only one does, whether hello lists it, and
/// its handler.
struct Method {
    name: &'static str,
    scope_v3: Scope,
    scope: Scope,
    whose: For,
    only: Option<Protocol>,
    advertised: bool,
    handler: Handler,
}

const fn method(name: &'static str, scope: Scope, handler: Handler) -> Method {
    Method {
        name,
        scope_v3: scope,
        scope,
        whose: For::Operators,
        only: None,
        advertised: true,
        handler,
    }
}

/// Declares a method for nodes.
const fn of_node(name: &'static str, handler: Handler) -> Method {
    Method { whose: For::Nodes, ..method(name, Scope::Admin, handler) }
}

/// Restricts a method to protocol 4.
const fn v4(method: Method) -> Method {
    Method { only: Some(Protocol::V4), ..method }
}

/// Methods that this gateway serves itself.
const METHODS: &[Method] = &[
    Method { whose: For::Both, ..method("health", Scope::Read, system::health) },
    method("status", Scope::Read, system::status),
    method("system-presence", Scope::Read, system::presence),
    v4(method("system.info", Scope::Read, typed!(system::info))),
    v4(method("gateway.identity.get", Scope::Read, typed!(system::identity))),
    method("system-event", Scope::Admin, system_event::event),
    method("set-heartbeats", Scope::Admin, system::set_heartbeats),
    method("logs.tail", Scope::Read, typed!(logs::tail)),
    Method { scope_v3: Scope::Admin, ..method("config.get", Scope::Read, typed!(config::get)) },
    method("config.set", Scope::Admin, typed!(config::set)),
    method("config.patch", Scope::Admin, typed!(config::patch)),
    method("config.apply", Scope::Admin, typed!(config::apply)),
    Method {
        scope_v3: Scope::Admin,
        ..method("config.schema", Scope::Read, typed!(config_schema::schema))
    },
    v4(method("config.schema.lookup", Scope::Read, typed!(config_schema::lookup))),
    method("device.pair.list", Scope::Pairing, typed!(devices::list)),
    method("device.pair.approve", Scope::Pairing, typed!(devices::approve)),
    method("device.pair.reject", Scope::Pairing, typed!(devices::reject)),
    method("device.pair.remove", Scope::Pairing, typed!(devices::remove)),
    method("device.pair.rename", Scope::Pairing, typed!(devices::rename)),
    method("device.token.rotate", Scope::Pairing, typed!(devices::rotate)),
    method("device.token.revoke", Scope::Pairing, typed!(devices::revoke)),
    method("node.list", Scope::Read, typed!(nodes::list)),
    method("node.describe", Scope::Read, typed!(nodes::describe)),
    method("node.rename", Scope::Pairing, typed!(nodes::rename)),
    v4(method("environments.list", Scope::Read, nodes::environments)),
    method("node.invoke", Scope::Write, nodes::invoke),
    method("node.pair.list", Scope::Pairing, typed!(nodes::pair_list)),
    method("node.pair.approve", Scope::Pairing, typed!(nodes::approve)),
    method("node.pair.reject", Scope::Pairing, typed!(nodes::reject)),
    method("node.pair.remove", Scope::Pairing, typed!(nodes::remove)),
    Method {
        only: Some(Protocol::V3),
        ..method("node.pair.request", Scope::Pairing, typed!(nodes::request))
    },
    Method {
        only: Some(Protocol::V3),
        ..method("node.pair.verify", Scope::Pairing, typed!(nodes::verify))
    },
    v4(method("node.pending.enqueue", Scope::Write, typed!(nodes::enqueue))),
    of_node("node.invoke.result", typed!(nodes::result)),
    of_node("node.event", typed!(nodes::event)),
    of_node("skills.bins", nodes::skills_bins),
    v4(of_node("node.invoke.progress", typed!(nodes::progress))),
    v4(of_node("node.pending.pull", typed!(nodes::pull))),
    v4(of_node("node.pending.ack", typed!(nodes::ack))),
    v4(of_node("node.pending.drain", typed!(nodes::drain))),
    v4(of_node("node.pluginSurface.refresh", nodes::plugin_surface)),
    v4(of_node("node.pluginTools.update", nodes::plugin_tools)),
    v4(of_node("node.skills.update", nodes::skills)),
    v4(of_node("node.runnerInventory.update", nodes::runner_inventory)),
    method("exec.approval.request", Scope::Approvals, nodes::approval_request),
    method("exec.approval.resolve", Scope::Approvals, typed!(nodes::approval_resolve)),
    v4(method("exec.approval.waitDecision", Scope::Approvals, nodes::approval_wait)),
    v4(method("exec.approval.list", Scope::Approvals, nodes::approval_list)),
    v4(method("exec.approval.get", Scope::Approvals, typed!(nodes::approval_get))),
    method("exec.approvals.node.get", Scope::Admin, typed!(nodes::node_approvals_get)),
    method("exec.approvals.node.set", Scope::Admin, typed!(nodes::node_approvals_set)),
    method("voicewake.get", Scope::Read, nodes::voicewake_get),
    method("voicewake.set", Scope::Write, nodes::voicewake_set),
    Method {
        advertised: false,
        ..method("device.pair.setupCode", Scope::Admin, typed!(setup_codes::code))
    },
    Method {
        advertised: false,
        ..method("device.pair.setupStatus", Scope::Admin, typed!(setup_codes::status))
    },
    Method { advertised: false, ..method("gatelet.status", Scope::Read, typed!(gatelet::status)) },
    Method { advertised: false, ..method("gatelet.config", Scope::Read, typed!(config::explain)) },
    Method {
        advertised: false,
        ..method("gatelet.refusals", Scope::Pairing, typed!(gatelet::refusals))
    },
];

impl Method {
    fn is_of(&self, protocol: Protocol) -> bool {
        self.only.is_none_or(|only| only == protocol)
    }
}

/// Returns the methods that hello lists.
pub fn advertised(protocol: Protocol) -> impl Iterator<Item = &'static str> {
    let own = METHODS
        .iter()
        .filter(move |method| method.advertised && method.is_of(protocol))
        .map(|method| method.name);
    own.chain(stubs::names(protocol))
}

/// Returns all methods that are answered in this protocol, including those that hello does not
/// list.
pub fn served(protocol: Protocol) -> impl Iterator<Item = &'static str> {
    let own = METHODS.iter().filter(move |method| method.is_of(protocol)).map(|method| method.name);
    own.chain(stubs::all(protocol))
}

/// Events that this gateway sends, except `node.invoke.cancel`, which only nodes of protocol 4
/// know.
pub const EVENTS: [&str; 16] = [
    "connect.challenge",
    "presence",
    "tick",
    "health",
    "shutdown",
    "device.pair.requested",
    "device.pair.resolved",
    "device.pair.changed",
    "node.pair.requested",
    "node.pair.resolved",
    "node.invoke.request",
    "node.hostStats",
    "voicewake.changed",
    "exec.approval.requested",
    "exec.approval.resolved",
    "config.changed",
];

/// Answers one request of an admitted client.
///
/// Rights are checked before anything else: only a caller with admin can distinguish a method that
/// does not exist from one that is not allowed (protocol 3 and 4).
pub fn dispatch(
    call: &mut Call<'_>,
    name: &str,
    params: Option<Value<'_>>,
) -> Result<Reply, Failure> {
    let protocol = call.caller.protocol();
    let found = METHODS.iter().find(|method| method.name == name && method.is_of(protocol));
    let empty = if found.is_none() { stubs::find(protocol, name) } else { None };
    let whose = found.map_or(For::Operators, |method| method.whose);
    match call.caller.role() {
        Role::Node if whose == For::Operators => return Err(Failure::role(Role::Node)),
        Role::Operator if whose == For::Nodes => return Err(Failure::role(Role::Operator)),
        Role::Node => {}
        Role::Operator => {
            let needed = match (found, &empty, protocol) {
                (Some(method), _, Protocol::V3) => method.scope_v3,
                (Some(method), _, Protocol::V4) => method.scope,
                (None, Some(empty), _) => empty.scope,
                (None, None, _) => Scope::Admin,
            };
            let narrower =
                empty.and_then(|empty| empty.narrower).filter(|_| protocol == Protocol::V4);
            if !call.caller.may(needed) && !narrower.is_some_and(|scope| call.caller.may(scope)) {
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
