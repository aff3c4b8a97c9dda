//! Answers, events and error details of fixed shape, each declared once. Lists, and answers that
//! relay JSON of others, are written in place with [`Writer`](crate::wire::json::Writer).

use nanoserde::{SerJson, SerJsonState};

use super::gatelet::BudgetUse;
use crate::gate::ids::{DeviceId, RequestId};
use crate::gate::scopes::Scopes;

/// Declares answers: structs with nanoserde's derive, whose fields may have another name `as` on
/// the wire. `None` is left out. A list is a `Vec`, never a slice, because the derive writes an
/// empty slice incorrectly.
macro_rules! answers {
    ($(
        $(#[$($doc:tt)*])* struct $name:ident $(<$life:tt>)? {
            $($field:ident $(as $wire:tt)?: $(& $ref:tt)? $type:ident $(<$(& $inner_ref:tt)? $inner:ident>)?),* $(,)?
        }
    )*) => {
        $($(#[$($doc)*])*
        #[derive(nanoserde::SerJson)]
        pub struct $name $(<$life>)? {
            $($(#[nserde(rename = $wire)])? pub $field: $(& $ref)? $type $(<$(& $inner_ref)? $inner>)?,)*
        })*
    };
}

answers! {
    struct DeviceAnswer { device_id as "deviceId": DeviceId }
    struct DeviceRejected<'a> { request_id as "requestId": &'a str, device_id as "deviceId": DeviceId }
    struct DeviceRenamed<'a> { device_id as "deviceId": DeviceId, label: &'a str }
    struct DeviceResolved<'a> { request_id as "requestId": RequestId, device_id as "deviceId": DeviceId, decision: &'a str, ts: u64 }
    struct TokenRotated<'a> {
        device_id as "deviceId": DeviceId, role: &'a str, token: Option<&'a str>, scopes: Scopes,
        at as "rotatedAtMs": u64, delivery as "tokenDelivery": Option<&'a str>,
    }
    struct TokenRevoked<'a> { device_id as "deviceId": DeviceId, role: &'a str, at as "revokedAtMs": u64 }

    struct NodeAnswer { node_id as "nodeId": DeviceId }
    struct NodeRejected<'a> { request_id as "requestId": &'a str, node_id as "nodeId": DeviceId }
    struct NodeRenamed<'a> { node_id as "nodeId": DeviceId, display_name as "displayName": &'a str }
    struct NodeResolved<'a> { request_id as "requestId": &'a str, node_id as "nodeId": DeviceId, decision: &'a str, ts: u64 }
    struct NodeEventAnswer<'a> { ok: bool, event: &'a str, handled: bool, reason: &'a str }
    struct HostStats {
        cpus as "cpuCount": Option<u64>, memory as "memoryTotalBytes": Option<u64>, memory_free as "memoryFreeBytes": Option<u64>,
        disk as "diskTotalBytes": Option<u64>, disk_free as "diskAvailableBytes": Option<u64>,
        load as "loadAverage": Option<Raw>, at as "updatedAtMs": u64,
    }
    struct PendingAcked { node_id as "nodeId": DeviceId, ids as "ackedIds": Vec<String>, left as "remainingCount": u64 }

    /// Link of a setup code, read by the client that opens it.
    struct SetupLink<'a> {
        url: &'a str, urls: &'a Vec<String>, token as "bootstrapToken": &'a str, expires as "expiresAtMs": u64,
    }
    struct NewSetupCode<'a> {
        setup_id as "setupId": RequestId, expires as "expiresAtMs": u64, setup_code as "setupCode": &'a str, code: &'a str,
        link: &'a str, picture as "qrDataUrl": Option<String>, page as "pageLink": Option<String>,
        page_picture as "pageQrDataUrl": Option<String>, url as "gatewayUrl": &'a str, urls as "gatewayUrls": &'a Vec<String>,
        auth: &'a str, source as "urlSource": &'a str, access: &'a str,
    }
    struct SetupState { left as "remainingMs": Option<u64>, gone: Option<bool> }

    struct Heartbeats { ok: bool, enabled: bool }
    struct GatewayIdentity<'a> { device_id as "deviceId": DeviceId, key as "publicKey": &'a str }
    struct SystemInfo<'a> {
        name as "machineName": &'a str, host as "hostname": &'a str, platform: &'a str,
        release: &'a str, arch: &'a str, label as "osLabel": &'a str,
        node as "nodeVersion": &'a str, pid: u32, uptime as "uptimeMs": u64,
        cpus as "cpuCount": u64, load as "loadAverage": Option<Raw>,
        memory as "memoryTotalBytes": u64, memory_free as "memoryFreeBytes": u64,
    }
    /// Line of the log in the form that the programs of both protocols read. The message is the
    /// second argument, because those programs also show the first one as the name of the source.
    struct LogLine<'a> { message as "1": &'a str, meta as "_meta": LogMeta, time: &'a str }
    struct LogMeta { name: String, level as "logLevelName": String }

    struct StatusAnswer<'a> {
        version: &'a str, pid: u32, uptime as "uptimeMs": u64, listening: &'a Vec<String>, url: &'a str,
        urls: &'a Vec<String>, pages: &'a Vec<String>,
        auth as "authMode": &'a str, pairing as "pairingMode": &'a str, source as "secretSource": &'a str,
        fingerprint as "secretFingerprint": &'a str, table: TableState, connections: usize, unauthenticated: usize,
        operators: usize, nodes: usize, invokes: usize, approvals: usize,
        budgets: &'a Vec<BudgetUse>, warnings: &'a Vec<String>,
    }
    struct TableState { capacity: usize, used: usize, age as "ageHours": u32 }

    struct MissingScope<'a> { code: &'a str, missing as "missingScope": &'a str, required as "requiredScopes": Scopes }
    struct NoAgent<'a> { code: &'a str, hint: &'a str }
    struct ReasonAnswer<'a> { reason: &'a str }
}

/// JSON that is written into an answer as it was received.
pub struct Raw(pub String);

impl SerJson for Raw {
    fn ser_json(&self, _: usize, state: &mut SerJsonState) {
        state.out.push_str(&self.0);
    }
}

impl SerJson for DeviceId {
    fn ser_json(&self, depth: usize, state: &mut SerJsonState) {
        self.to_string().ser_json(depth, state);
    }
}

impl SerJson for RequestId {
    fn ser_json(&self, depth: usize, state: &mut SerJsonState) {
        self.to_string().ser_json(depth, state);
    }
}

impl SerJson for Scopes {
    fn ser_json(&self, depth: usize, state: &mut SerJsonState) {
        let names: Vec<String> = self.iter().map(|scope| scope.name().to_owned()).collect();
        names.ser_json(depth, state);
    }
}
