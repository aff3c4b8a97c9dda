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
pub mod large;
mod logs;
pub mod nodes;
#[allow(clippy::question_mark)] // in code that the derive generates
mod params;
mod presence;
pub mod setup_codes;
mod stubs;
mod system;
mod system_event;

use std::ops::Deref;

use nanoserde::SerJson;

use crate::gate::device::Device;
use crate::gate::facts::Protocol;
use crate::gate::ids::{ConnId, DeviceId, Now, RequestId, Role, Roles, Slot};
use crate::gate::limits;
use crate::gate::pairing_requests::PairingRequests;
use crate::gate::refusal::{Close, ErrorCode};
use crate::gate::scopes::{Scope, Scopes};
use crate::gate::session::Admitted;
use crate::gate::setup_codes::SetupCodes;
use crate::gate::table::{Cell, Table};
use crate::store::tokens::TableKey;
use crate::wire::frames::Request;
use crate::wire::json::{self, Writer};
use crate::wire::message::Params;

use stubs::Stub;

pub use devices::{changed as devices_changed, requested as pair_requested};
pub use gatelet::{BudgetUse, Machine, RejectionRecord, Status};
pub use large::{frame_limit, LargeRequest, Prepared};
pub use logs::Log;
pub use nodes::{Declared, Nodes};
pub use presence::{Presence, PresenceEntry};
pub use system::health_json;

/// Pairing table in memory.
pub type Devices = Table<Vec<Cell>>;

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
    /// Parameters of a large request that were read before.
    pub prepared: &'a Prepared,
    pub now: Now,
    pub devices: &'a Devices,
    pub pairing_requests: &'a mut PairingRequests,
    pub setup_codes: &'a mut SetupCodes,
    pub key: &'a TableKey,
    pub nodes: &'a mut Nodes,
    pub commands: &'a Commands,
    pub presence: &'a mut Presence,
    pub status: &'a Status,
    /// Number of other connected clients that may approve commands; only counted for
    /// `exec.approval.request`.
    pub approvers: usize,
    /// Last rejections, the newest first.
    pub rejections: &'a [RejectionRecord],
    /// Last lines of the log.
    pub log: &'a Log,
    /// Fills a buffer with random bytes.
    pub random: &'a mut dyn FnMut(&mut [u8]),
}

impl Call<'_> {
    /// Returns whether the caller speaks protocol 4.
    fn is_v4(&self) -> bool {
        self.caller.protocol() == Protocol::V4
    }

    /// Returns a new random id.
    fn new_id(&mut self) -> RequestId {
        let mut bytes = [0; 16];
        (self.random)(&mut bytes);
        RequestId::from_random(bytes)
    }

    /// Returns a copy of the record of a device, and its slot.
    fn device(&self, id: &DeviceId) -> Option<(Slot, Device)> {
        self.devices.find(id).map(|(slot, device)| (slot, device.clone()))
    }

    /// Returns the record of the device with this id, if it is a paired node.
    fn paired_node(&self, named: &str) -> Option<&Device> {
        let id = DeviceId::parse(named.trim())?;
        let (_, device) = self.devices.find(&id)?;
        device.roles.contains(Role::Node).then_some(device)
    }
}

/// Returns whether the caller may see and manage the device: some callers manage only their own.
fn may_manage(caller: &Admitted, device: &DeviceId) -> bool {
    !caller.governs_only_itself() || caller.device() == Some(*device)
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
    /// returned through [`nodes::PendingInvokes::send_failed`].
    Invoke { id: RequestId, conn: ConnId, frame: Vec<u8> },
    /// Sends the presence list, which has changed, to all clients that may see it.
    Presence,
    /// Sends the statistics of nodes that have changed and are due.
    HostStats,
    /// Removes a pending request.
    RemoveRequest(RequestId),
    /// Creates a request for approval of what the device offers as a node. Follows the approval of
    /// the device alone.
    RequestSurface(DeviceId),
    /// Sets the wake words, and notifies all clients that may see them.
    SetWakeWords(nodes::Triggers),
}

impl Effect {
    /// Returns whether the effect is a change that the client asked for, in memory only.
    pub fn is_change(&self) -> bool {
        matches!(self, Effect::RemoveRequest(_) | Effect::SetWakeWords(_))
    }
}

/// Recipients of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// Every admitted client.
    All,
    /// Operators with this scope.
    Operators(Scope),
    /// Operators with this scope, and every client of protocol 3, in which only a few events had
    /// scopes.
    OperatorsAndV3(Scope),
    /// Operators of protocol 4 with this scope.
    OperatorsOfV4(Scope),
    /// Operators with this scope, nodes, and every client of protocol 3.
    OperatorsNodesAndV3(Scope),
}

impl Audience {
    /// Returns whether the client receives the event.
    pub fn includes(self, client: &Admitted) -> bool {
        let v3 = client.protocol() == Protocol::V3;
        match self {
            Audience::All => true,
            Audience::Operators(scope) => client.may(scope),
            Audience::OperatorsAndV3(scope) => client.may(scope) || v3,
            Audience::OperatorsOfV4(scope) => client.may(scope) && !v3,
            Audience::OperatorsNodesAndV3(scope) => {
                client.may(scope) || client.role() == Role::Node || v3
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
    /// Payload of the answer, one JSON value. `None` if the answer is the result of `file`, or one
    /// of the effects of this call or of a later one.
    pub payload: Option<Vec<u8>>,
    /// Change that must be durable before the answer is sent and the effects are applied.
    pub change: Option<Change>,
    /// Request for the configuration file, the result of which is the answer.
    pub file: Option<Box<config::FileRequest>>,
    /// Effects, in the order in which they follow the answer.
    pub effects: Vec<Effect>,
}

impl Reply {
    /// Creates an answer without a change.
    pub fn of(payload: Vec<u8>) -> Reply {
        Reply { payload: Some(payload), ..Reply::later(Vec::new()) }
    }

    /// Creates the answer `{"ok":true}`.
    fn ok() -> Reply {
        Reply::of(br#"{"ok":true}"#.to_vec())
    }

    /// Creates an answer that is an object.
    fn object(fields: impl FnOnce(&mut Writer<'_>)) -> Reply {
        Reply::of(json::object(fields))
    }

    /// Creates an answer of fixed shape without a change.
    fn json(answer: &impl SerJson) -> Reply {
        Reply::of(json(answer))
    }

    /// Creates a reply without an answer, which is sent later as the effect of something else.
    fn later(effects: Vec<Effect>) -> Reply {
        Reply { payload: None, change: None, file: None, effects }
    }

    /// Creates a reply whose answer is the result of the request for the configuration file.
    fn from_file(request: config::FileRequest) -> Reply {
        Reply { file: Some(Box::new(request)), ..Reply::later(Vec::new()) }
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
    /// Milliseconds after which a later attempt may succeed, if known.
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    /// Creates an `INVALID_REQUEST` with this message.
    pub fn invalid(message: impl Into<String>) -> Failure {
        Failure(Box::new(ErrorBody {
            code: ErrorCode::InvalidRequest,
            message: message.into(),
            details: None,
            unauthorized: false,
            retryable: false,
            retry_after_ms: None,
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

    /// Creates the refusal of a call for which the caller's share of a pool is used up. `message`
    /// names the share and what to do; `retry_after_ms` is when a place becomes free, if known.
    pub fn share(message: impl Into<String>, retry_after_ms: Option<u64>) -> Failure {
        let mut failure = Failure::unavailable(message).retryable();
        failure.0.retry_after_ms = retry_after_ms;
        failure
    }

    fn role(role: Role) -> Failure {
        let mut failure = Failure::invalid(format!("unauthorized role: {}", role.name()));
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
        let message = format!("missing scope: {}", scope.name());
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

/// Wraps a handler whose parameters are a declared message: they are read before it is called.
macro_rules! parsed {
    ($handler:path) => {
        |call, params| $handler(call, params.read()?)
    };
}

/// Roles that may call a method.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Callers {
    Operators,
    Nodes,
    Both,
}

/// Method that the gateway serves itself.
struct Method {
    name: &'static str,
    /// Scope that an operator needs.
    scope: Scope,
    /// The same in protocol 3.
    scope_v3: Scope,
    callers: Callers,
    /// Protocol that has the method, if only one does.
    only: Option<Protocol>,
    /// Whether hello lists the method.
    advertised: bool,
    /// Maximum size of a request.
    size: RequestSize,
    handler: Handler,
}

/// Maximum size of a request of a method.
#[derive(Clone, Copy)]
struct RequestSize {
    bytes: usize,
    /// Number of JSON values.
    values: usize,
}

impl RequestSize {
    /// Size of a request whose parameters are read here.
    const ORDINARY: RequestSize =
        RequestSize { bytes: limits::FRAME_ORDINARY, values: limits::FRAME_VALUES };
    /// Size of a request that has a whole configuration.
    const CONFIG: RequestSize =
        RequestSize { bytes: limits::FRAME_CONFIG, values: limits::FRAME_VALUES };
    /// Size of a request whose parameters are relayed as the bytes that were received.
    const RELAYED: RequestSize =
        RequestSize { bytes: limits::FRAME_AFTER_HELLO, values: usize::MAX };

    fn check(&self, request: &Request<'_>) -> Result<(), Failure> {
        if request.bytes <= self.bytes && request.values <= self.values {
            return Ok(());
        }
        Err(Failure::invalid(format!(
            "the request has {} bytes and {} JSON values; {} takes at most {} bytes and {} values",
            request.bytes, request.values, request.method, self.bytes, self.values
        )))
    }
}

/// Declares a method for operators in both protocols.
const fn operator(name: &'static str, scope: Scope, handler: Handler) -> Method {
    let (callers, only, advertised) = (Callers::Operators, None, true);
    let size = RequestSize::ORDINARY;
    Method { name, scope, scope_v3: scope, callers, only, advertised, size, handler }
}

/// Declares a method for nodes in both protocols.
const fn node(name: &'static str, handler: Handler) -> Method {
    Method { callers: Callers::Nodes, ..operator(name, Scope::Admin, handler) }
}

impl Method {
    /// Returns the method of this name in this protocol.
    fn find(protocol: Protocol, name: &str) -> Option<&'static Method> {
        METHODS.iter().find(|method| method.name == name && method.is_in(protocol))
    }

    const fn also_for_nodes(self) -> Method {
        Method { callers: Callers::Both, ..self }
    }

    const fn admin_in_v3(self) -> Method {
        Method { scope_v3: Scope::Admin, ..self }
    }

    const fn v3_only(self) -> Method {
        Method { only: Some(Protocol::V3), ..self }
    }

    const fn v4_only(self) -> Method {
        Method { only: Some(Protocol::V4), ..self }
    }

    const fn hidden(self) -> Method {
        Method { advertised: false, ..self }
    }

    const fn of_size(self, size: RequestSize) -> Method {
        Method { size, ..self }
    }

    /// Returns the scope that an operator needs in this protocol.
    fn scope_in(&self, protocol: Protocol) -> Scope {
        match protocol {
            Protocol::V3 => self.scope_v3,
            Protocol::V4 => self.scope,
        }
    }

    fn is_in(&self, protocol: Protocol) -> bool {
        self.only.is_none_or(|only| only == protocol)
    }
}

/// Methods that this gateway serves itself.
const METHODS: &[Method] = &[
    operator("health", Scope::Read, system::health).also_for_nodes(),
    operator("status", Scope::Read, system::status),
    operator("system-presence", Scope::Read, system::presence),
    operator("system.info", Scope::Read, parsed!(system::info)).v4_only(),
    operator("gateway.identity.get", Scope::Read, parsed!(system::identity)).v4_only(),
    operator("system-event", Scope::Admin, system_event::event),
    operator("set-heartbeats", Scope::Admin, system::set_heartbeats),
    operator("logs.tail", Scope::Read, parsed!(logs::tail)),
    operator("config.get", Scope::Read, parsed!(config::get)).admin_in_v3(),
    operator("config.set", Scope::Admin, parsed!(config::set)).of_size(RequestSize::CONFIG),
    operator("config.patch", Scope::Admin, parsed!(config::patch)).of_size(RequestSize::CONFIG),
    operator("config.apply", Scope::Admin, parsed!(config::apply)).of_size(RequestSize::CONFIG),
    operator("config.schema", Scope::Read, parsed!(config_schema::schema)).admin_in_v3(),
    operator("config.schema.lookup", Scope::Read, parsed!(config_schema::lookup)).v4_only(),
    operator("device.pair.list", Scope::Pairing, parsed!(devices::list)),
    operator("device.pair.approve", Scope::Pairing, parsed!(devices::approve)),
    operator("device.pair.reject", Scope::Pairing, parsed!(devices::reject)),
    operator("device.pair.remove", Scope::Pairing, parsed!(devices::remove)),
    operator("device.pair.rename", Scope::Pairing, parsed!(devices::rename)),
    operator("device.token.rotate", Scope::Pairing, parsed!(devices::rotate)),
    operator("device.token.revoke", Scope::Pairing, parsed!(devices::revoke)),
    operator("node.list", Scope::Read, parsed!(nodes::list)),
    operator("node.describe", Scope::Read, parsed!(nodes::describe)),
    operator("node.rename", Scope::Pairing, parsed!(nodes::rename)),
    operator("environments.list", Scope::Read, nodes::environments).v4_only(),
    operator("node.invoke", Scope::Write, nodes::invoke).of_size(RequestSize::RELAYED),
    operator("node.pair.list", Scope::Pairing, parsed!(nodes::pair_list)),
    operator("node.pair.approve", Scope::Pairing, parsed!(nodes::approve)),
    operator("node.pair.reject", Scope::Pairing, parsed!(nodes::reject)),
    operator("node.pair.remove", Scope::Pairing, parsed!(nodes::remove)),
    operator("node.pair.request", Scope::Pairing, parsed!(nodes::request)).v3_only(),
    operator("node.pair.verify", Scope::Pairing, parsed!(nodes::verify)).v3_only(),
    operator("node.pending.enqueue", Scope::Write, parsed!(nodes::enqueue)).v4_only(),
    node("node.invoke.result", nodes::result).of_size(RequestSize::RELAYED),
    node("node.event", parsed!(nodes::event)),
    node("skills.bins", nodes::skills_bins),
    node("node.invoke.progress", parsed!(nodes::progress)).v4_only(),
    node("node.pending.pull", parsed!(nodes::pull)).v4_only(),
    node("node.pending.ack", parsed!(nodes::ack)).v4_only(),
    node("node.pending.drain", parsed!(nodes::drain)).v4_only(),
    node("node.pluginSurface.refresh", nodes::plugin_surface).v4_only(),
    node("node.pluginTools.update", nodes::plugin_tools).v4_only(),
    node("node.skills.update", nodes::skills).v4_only(),
    node("node.runnerInventory.update", nodes::runner_inventory).v4_only(),
    operator("exec.approval.request", Scope::Approvals, nodes::approval_request),
    operator("exec.approval.resolve", Scope::Approvals, parsed!(nodes::approval_resolve)),
    operator("exec.approval.waitDecision", Scope::Approvals, nodes::approval_wait).v4_only(),
    operator("exec.approval.list", Scope::Approvals, nodes::approval_list).v4_only(),
    operator("exec.approval.get", Scope::Approvals, parsed!(nodes::approval_get)).v4_only(),
    operator("exec.approvals.node.get", Scope::Admin, parsed!(nodes::node_approvals_get)),
    operator("exec.approvals.node.set", Scope::Admin, parsed!(nodes::node_approvals_set))
        .of_size(RequestSize::RELAYED),
    operator("voicewake.get", Scope::Read, nodes::voicewake_get),
    operator("voicewake.set", Scope::Write, nodes::voicewake_set),
    operator("device.pair.setupCode", Scope::Admin, parsed!(setup_codes::code)).hidden(),
    operator("device.pair.setupStatus", Scope::Admin, parsed!(setup_codes::status)).hidden(),
    operator("gatelet.status", Scope::Read, parsed!(gatelet::status)).hidden(),
    operator("gatelet.config", Scope::Read, parsed!(config::explain)).hidden(),
    operator("gatelet.refusals", Scope::Pairing, parsed!(gatelet::refusals)).hidden(),
];

/// Returns the name of a method that this gateway serves itself.
pub fn method_name(name: &str) -> Option<&'static str> {
    METHODS.iter().map(|method| method.name).find(|known| *known == name)
}

/// Returns the methods that hello lists.
pub fn advertised(protocol: Protocol) -> impl Iterator<Item = &'static str> {
    let listed = move |method: &&Method| method.advertised && method.is_in(protocol);
    METHODS.iter().filter(listed).map(|method| method.name).chain(stubs::advertised(protocol))
}

/// Returns all methods that are answered in this protocol, including those that hello does not
/// list.
pub fn served(protocol: Protocol) -> impl Iterator<Item = &'static str> {
    let own = METHODS.iter().filter(move |method| method.is_in(protocol));
    own.map(|method| method.name).chain(stubs::names(protocol))
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

/// Returns a number for an event that carries a state of the gateway, or that only says that the
/// state has changed. A newer event of that name makes an older one useless.
pub fn state_event(name: &str) -> Option<usize> {
    STATE_EVENTS.iter().position(|state| *state == name)
}

const STATE_EVENTS: [&str; 6] =
    ["presence", "tick", "health", "voicewake.changed", "device.pair.changed", "config.changed"];

/// Answers one request of an admitted client.
///
/// Rights are checked before anything else: only a caller with admin can distinguish a method that
/// does not exist from one that is not allowed (protocol 3 and 4).
pub fn dispatch(call: &mut Call<'_>, request: &Request<'_>) -> Result<Reply, Failure> {
    let (name, params) = (&*request.method, request.params);
    let protocol = call.caller.protocol();
    let method = Method::find(protocol, name);
    let stub = if method.is_none() { stubs::find(protocol, name) } else { None };
    check_rights(call.caller, method, stub.as_ref())?;
    if name == "connect" {
        return Err(Failure::invalid("connect is only valid as the first request"));
    }
    match (method, stub) {
        (Some(method), _) => {
            method.size.check(request)?;
            (method.handler)(call, Params::new(method.name, params))
        }
        (None, Some(stub)) => {
            if !stub.is_action() {
                RequestSize::ORDINARY.check(request)?;
            }
            stub.answer(params, call.now.wall).map(Reply::of)
        }
        (None, None) => Err(Failure::invalid(format!("unknown method: {name}"))),
    }
}

/// Checks that the caller may call the method or stub. A method that does not exist needs admin.
fn check_rights(
    caller: &Admitted,
    method: Option<&Method>,
    stub: Option<&Stub>,
) -> Result<(), Failure> {
    match (caller.role(), method.map_or(Callers::Operators, |method| method.callers)) {
        (Role::Node, Callers::Operators) | (Role::Operator, Callers::Nodes) => {
            return Err(Failure::role(caller.role()));
        }
        (Role::Node, _) => return Ok(()),
        (Role::Operator, _) => {}
    }
    let v4 = caller.protocol() == Protocol::V4;
    let (scope, narrower) = match (method, stub) {
        (Some(method), _) => (method.scope_in(caller.protocol()), None),
        (None, Some(stub)) => (stub.scope(), stub.session_scope().filter(|_| v4)),
        (None, None) => (Scope::Admin, None),
    };
    if caller.may(scope) || narrower.is_some_and(|scope| caller.may(scope)) {
        return Ok(());
    }
    Err(Failure::scope(scope))
}
