//! Authority as a value: what an admitted connection may do, made only of an admission.

use super::facts::{Dialect, Method};
use super::ids::{ConnId, DeviceId, Role, Slot};
use super::policy::{Admission, Place};
use super::scopes::{Scope, Scopes};

/// An admitted connection. There is no other way to get one than [`Admitted::by`], so a call without it does not compile.
#[derive(Clone, Debug)]
pub struct Admitted {
    conn: ConnId,
    dialect: Dialect,
    role: Role,
    scopes: Scopes,
    method: Method,
    device: Option<(DeviceId, Option<Slot>)>,
}

impl Admitted {
    /// The authority that the admission gives to this connection; `device` is the one that proved itself.
    pub fn by(admission: &Admission, conn: ConnId, device: Option<DeviceId>) -> Admitted {
        let slot = match admission.place {
            Place::Nowhere(_) => None,
            Place::Known(slot) | Place::Grows { slot, .. } | Place::New { slot, .. } => Some(slot),
        };
        Admitted {
            conn,
            dialect: admission.dialect,
            role: admission.role,
            scopes: admission.scopes,
            method: admission.method,
            device: device.map(|id| (id, slot)),
        }
    }

    /// The connection it belongs to.
    pub fn conn(&self) -> ConnId {
        self.conn
    }

    /// The protocol it speaks.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The role it connected as.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The scopes it was given.
    pub fn scopes(&self) -> Scopes {
        self.scopes
    }

    /// How it proved itself.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The device that proved itself, remembered or not.
    pub fn device(&self) -> Option<DeviceId> {
        self.device.map(|(id, _)| id)
    }

    /// Where its device stands in the table, if it is remembered.
    pub fn slot(&self) -> Option<Slot> {
        self.device.and_then(|(_, slot)| slot)
    }

    /// An operator that has the scope, by implication too.
    pub fn may(&self, scope: Scope) -> bool {
        self.role == Role::Operator && self.scopes.allows(scope)
    }

    /// Signed in by its device alone, or by a code that made it one, and without admin: protocol 4 lets such a client govern only
    /// itself.
    pub fn governs_only_itself(&self) -> bool {
        matches!(self.method, Method::Device | Method::SetupCode) && !self.may(Scope::Admin)
    }
}
