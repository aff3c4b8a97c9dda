//! Parameters of the methods, each object declared once; see
//! [`wire::message`](crate::wire::message).
//!
//! Some are not declared here. `exec.approval.request` passes on some twenty members that differ
//! between the protocols: they are listed in its own module, and only those that the gateway itself
//! reads are declared. `set-heartbeats` and `voicewake.set` report any error with one fixed
//! sentence, and read their only member directly.

use super::nodes::WORK_KINDS;
use crate::gate::limits;
use crate::wire::message::{message, names, word, List};
use crate::wire::schema::ValueKind;

/// Text of any length, of which a handler takes the beginning.
const LONG: ValueKind = ValueKind::Text(0, limits::FRAME_AFTER_HELLO);
/// Short text.
const FIELD: ValueKind = ValueKind::Text(1, limits::FIELD_LEN);
/// List of names from a node.
const NAMES: ValueKind = names(limits::NAMES_SENT);
/// Profile of a setup code.
const PROFILE: ValueKind = ValueKind::Word(
    &["full", "limited", "node", "voice-node"],
    "must be one of full, limited, node, voice-node",
);
/// Scopes or roles in a report.
const SHORT_LIST: ValueKind = names(limits::SCOPES_SENT);

message! { pub struct Nothing {} }
message! { pub struct ByRequest { pub request_id as "requestId": String, } }
message! { pub struct ByDevice { pub device_id as "deviceId": String, } }
message! { pub struct ByNode { pub node_id as "nodeId": String, } }
message! { pub struct BySetup { pub setup_id as "setupId": String, } }
message! { pub struct ById { pub id: String, } }
message! { pub struct MaybeById { pub id: Option<String>, } }

message! { pub struct DeviceList { pub surfaces: Option<bool>, } }
message! { pub struct DeviceRename { pub device_id as "deviceId": String, pub label: String, } }
message! { pub struct TokenRotate { pub device_id as "deviceId": String, pub role: String, pub scopes: Option<List>, } }
message! { pub struct TokenRevoke { pub device_id as "deviceId": String, pub role: String, } }
message! {
    pub struct SetupCode {
        pub profile as "bootstrapProfile": Option<String> in PROFILE,
        pub public_url as "publicUrl": Option<String>,
        pub include_qr as "includeQr": Option<bool>,
        pub scopes: Option<List>,
        ignored { "preferRemoteUrl", "joinUrl" }
    }
}

message! { pub struct Refusals { pub limit: Option<u64>, } }
message! { pub struct SchemaLookup { pub path: String, } }
message! {
    pub struct LogsTail {
        pub cursor: Option<u64>,
        pub limit: Option<u64> in ValueKind::Whole(1, 5_000, ""),
        pub max_bytes as "maxBytes": Option<u64> in ValueKind::Whole(1, 1_000_000, ""),
    }
}
message! {
    pub struct ConfigSet<'a> {
        spans { raw in ValueKind::Document }
        pub base_hash as "baseHash": Option<String>,
    }
}
message! {
    /// Parameters of `config.patch`. The ignored members are passed to an agent after a restart in
    /// protocol 3 and 4.
    pub struct ConfigPatch<'a> {
        spans { raw in ValueKind::Document, replace_paths as "replacePaths" }
        pub base_hash as "baseHash": Option<String>,
        ignored { "sessionKey", "note", "restartDelayMs", "deliveryContext" }
    }
}
message! {
    pub struct ConfigApply<'a> {
        spans { raw in ValueKind::Document }
        pub base_hash as "baseHash": Option<String>,
        ignored { "sessionKey", "note", "restartDelayMs", "deliveryContext" }
    }
}
message! {
    pub struct SystemEvent<'a> {
        spans {
            host in LONG, ip in LONG, version in LONG, platform in LONG, device_family as "deviceFamily" in LONG,
            model_identifier as "modelIdentifier" in LONG, mode in LONG, reason in LONG, device_id as "deviceId" in LONG,
            instance_id as "instanceId" in LONG, text in LONG,
            last_input as "lastInputSeconds", roles in SHORT_LIST, scopes in SHORT_LIST,
        }
        pub wake: Option<bool>,
        ignored { "idempotencyKey", "sessionKey", "tags" }
    }
}

message! { pub struct NodeRename { pub node_id as "nodeId": String, pub display_name as "displayName": String, } }
message! { pub struct NodeVerify { pub node_id as "nodeId": String, pub token: String, } }
message! {
    /// Parameters of `node.pair.request`. Only the id is read, because the connection of a paired
    /// node gives the rest.
    pub struct NodeRequest {
        pub node_id as "nodeId": String,
        ignored {
            "displayName" in FIELD, "platform" in FIELD, "version" in FIELD, "coreVersion" in FIELD, "uiVersion" in FIELD,
            "deviceFamily" in FIELD, "modelIdentifier" in FIELD, "remoteIp" in FIELD,
            "caps" in NAMES, "commands" in NAMES, "silent" in ValueKind::Bool,
        }
    }
}
message! {
    /// Parameters of `node.invoke`. The ignored members describe the turn of an agent (protocol 4)
    /// and are not sent to the node.
    pub struct Invoke<'a> {
        spans { params or null }
        pub node_id as "nodeId": String,
        pub command: String,
        pub timeout_ms as "timeoutMs": Option<u64>,
        pub idempotency_key as "idempotencyKey": String,
        ignored { "sessionKey", "turnSourceChannel", "turnSourceTo", "turnSourceAccountId", "turnSourceThreadId" }
    }
}
message! {
    pub struct InvokeResult<'a> {
        spans { payload, payload_json as "payloadJSON", error }
        pub id: String,
        pub node_id as "nodeId": String,
        pub ok: bool,
    }
}
message! {
    pub struct InvokeProgress {
        pub node_id as "nodeId": String,
        pub invoke_id as "invokeId": String,
        ignored { "seq" in ValueKind::Whole(0, u64::MAX, ""), "chunk" in ValueKind::Text(0, limits::PROGRESS_LEN) }
    }
}
message! {
    pub struct NodeApprovalsSet<'a> {
        spans { file, native, base_hash as "baseHash" }
        pub node_id as "nodeId": String,
    }
}
message! {
    pub struct NodeEvent<'a> {
        spans { payload, payload_json as "payloadJSON" }
        pub event: String,
    }
}
message! { pub struct PluginSurface { pub surface: Option<String>, } }
message! {
    pub struct PendingAck {
        pub ids: List in ValueKind::Texts { min: 1, max: limits::IDS_ACKED, len: limits::WORD_LEN },
    }
}
message! {
    pub struct PendingEnqueue {
        pub node_id as "nodeId": String,
        pub kind as "type": String in word(&WORK_KINDS),
        pub priority: Option<String> in word(&["normal", "high"]),
        pub expires_in_ms as "expiresInMs": Option<u64> in ValueKind::Whole(1_000, limits::WORK_MS, "must be >= 1000 and <= 86400000"),
        ignored { "wake" in ValueKind::Bool }
    }
}
message! {
    pub struct PendingDrain {
        pub max_items as "maxItems": Option<u64> in ValueKind::Whole(1, limits::WORK_FETCHED_MAX, "must be >= 1 and <= 10"),
    }
}
message! {
    /// Members of an approval request that the gateway reads; those that are passed on are listed
    /// in `nodes/exec_approvals.rs`.
    pub struct ApprovalRequest {
        pub id: Option<String>,
        pub timeout_ms as "timeoutMs": Option<u64>,
        pub two_phase as "twoPhase": Option<bool>,
        pub require_route as "requireDeliveryRoute": Option<bool>,
        ignored { "command", "env", "suppressDelivery" in ValueKind::Bool, "deliverToApprovalClientsOnly" in ValueKind::Bool }
    }
}
message! {
    pub struct ApprovalResolve {
        pub id: String,
        pub decision: String,
        ignored { "reviewer", "grantExpiresInDays" }
    }
}
