//! Actions that wait until a write is durable.

use super::attempt::Attempt;
use super::change_limiter::ChangeNumber;
use crate::gate::ids::{ConnId, DeviceId, PublicKey};
use crate::gate::policy::Admission;
use crate::gate::refusal::Rule;
use crate::gate::setup_codes::UsedCode;
use crate::rpc::Reply;

/// Continuation after a commit.
pub(super) enum Continuation {
    /// Decides on the attempt, after the conflicting write of its device.
    Connect { conn: ConnId, attempt: Box<Attempt> },
    /// Admits the client, or rejects it if the pairing could not be stored and the client did not
    /// present the shared secret.
    Admit(Box<PendingAdmission>),
    /// Answers the call and applies its effects.
    Answer { conn: ConnId, id: String, reply: Box<Reply> },
    /// Answers the call with the result of the operation on the configuration file.
    File { conn: ConnId, id: String, counted: Option<ChangeNumber> },
}

/// An admission whose hello response is not sent yet.
pub(crate) struct PendingAdmission {
    pub conn: ConnId,
    pub rule: Rule,
    pub admission: Admission,
    pub device: Option<(DeviceId, PublicKey)>,
    pub attempt: Attempt,
    /// Setup code that the admission used up. It is given back if the pairing cannot be stored.
    pub code: Option<UsedCode>,
    /// Whether the client presented the shared secret. It is then admitted even if the pairing
    /// cannot be stored.
    pub has_secret: bool,
    /// Whether this is the command line of this machine.
    pub is_command: bool,
}
