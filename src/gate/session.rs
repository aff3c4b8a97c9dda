//! Permissions of an admitted connection, constructed only from an [`Admission`].

use super::budget::Holder;
use super::facts::{AuthMethod, Protocol};
use super::ids::{ConnId, DeviceId, Role, Slot};
use super::policy::{Admission, Registration};
use super::scopes::{Scope, Scopes};

/// An admitted connection. [`Admitted::by`] is the only constructor, so a function that takes this
/// type can be called only for an admitted connection.
#[derive(Clone, Debug)]
pub struct Admitted {
    conn: ConnId,
    protocol: Protocol,
    role: Role,
    scopes: Scopes,
    method: AuthMethod,
    device: Option<(DeviceId, Option<Slot>)>,
    is_command: bool,
}

impl Admitted {
    /// Makes the permissions that `admission` grants to this connection. `device` is the device
    /// that proved its key.
    pub fn by(admission: &Admission, conn: ConnId, device: Option<DeviceId>) -> Admitted {
        let slot = match admission.registration {
            Registration::None(_) => None,
            Registration::Existing(slot)
            | Registration::Extend { slot, .. }
            | Registration::Insert { slot, .. } => Some(slot),
        };
        Admitted {
            conn,
            protocol: admission.protocol,
            role: admission.role,
            scopes: admission.scopes,
            method: admission.method,
            device: device.map(|id| (id, slot)),
            is_command: false,
        }
    }

    /// Marks a connection of the command line of this machine, which presented the control token.
    pub fn as_command(self) -> Admitted {
        Admitted { is_command: true, ..self }
    }

    /// Returns the id of the connection.
    pub fn conn(&self) -> ConnId {
        self.conn
    }

    /// Returns the protocol version of the connection.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Returns the role of the connection.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns the granted scopes.
    pub fn scopes(&self) -> Scopes {
        self.scopes
    }

    /// Returns the authentication method.
    pub fn method(&self) -> AuthMethod {
        self.method
    }

    /// Returns the device that proved its key, whether or not it is stored in the table.
    pub fn device(&self) -> Option<DeviceId> {
        self.device.map(|(id, _)| id)
    }

    /// Returns the client in whose name the connection uses shared resources.
    pub fn holder(&self) -> Holder {
        match self.device() {
            Some(id) => Holder::Device(id),
            None if self.is_command => Holder::Local,
            None => Holder::Keyless,
        }
    }

    /// Returns the table slot of the device, if it is stored.
    pub fn slot(&self) -> Option<Slot> {
        self.device.and_then(|(_, slot)| slot)
    }

    /// Returns whether this is an operator whose scopes contain or imply `scope`.
    pub fn may(&self, scope: Scope) -> bool {
        self.role == Role::Operator && self.scopes.allows(scope)
    }

    /// Returns whether the connection was authenticated by its device alone or by a setup code, and
    /// lacks admin. Protocol 4 restricts such a client to managing its own device.
    pub fn governs_only_itself(&self) -> bool {
        matches!(self.method, AuthMethod::Device | AuthMethod::SetupCode) && !self.may(Scope::Admin)
    }
}
