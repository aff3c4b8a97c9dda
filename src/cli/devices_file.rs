//! Device operations on the table file, while no gateway is running. They have the same effects as
//! those of `rpc::devices`.

use super::devices::{needs_gateway, Owner};
use super::CommandError;
use crate::gate::device::Device;
use crate::gate::ids::{DeviceId, Role, Slot, WallMs};
use crate::gate::scopes::Scopes;
use crate::gate::text::clip;
use crate::rpc::device_json;
use crate::server::os::clock::{Clock, SystemClock};
use crate::store::Opened;
use crate::wire::json;

impl Owner for Opened {
    fn list(&mut self) -> Result<String, CommandError> {
        Ok(self.listed(false))
    }

    fn list_all(&mut self) -> Result<String, CommandError> {
        Ok(self.listed(true))
    }

    fn approve(&mut self, named: &str) -> Result<(), CommandError> {
        let now = wall();
        self.change(named, |device| {
            for role in device.revoked.iter() {
                device.approve(role, Scopes::NONE, now);
            }
        })
    }

    fn reject(&mut self, _request: &str) -> Result<(), CommandError> {
        Err(needs_gateway())
    }

    fn remove(&mut self, named: &str) -> Result<(), CommandError> {
        let (slot, _) = self.find(named)?;
        self.commit(slot, None)
    }

    fn rename(&mut self, named: &str, label: &str) -> Result<(), CommandError> {
        let label = clip(label);
        if label.is_empty() {
            return Err(CommandError::failed("label required"));
        }
        self.change(named, |device| device.label = label)
    }

    fn rotate(&mut self, named: &str, role: &str) -> Result<(), CommandError> {
        let role = role_of(role)?;
        self.change(named, |device| device.tokens[role as usize].rotate())
    }

    fn revoke(&mut self, named: &str, role: &str) -> Result<(), CommandError> {
        let role = role_of(role)?;
        self.change(named, |device| device.revoke(role))
    }

    fn no_request(&self) -> Option<CommandError> {
        Some(needs_gateway())
    }
}

impl Opened {
    fn listed(&self, surfaces: bool) -> String {
        let paired = self.loaded.contents.devices.iter().map(|(_, device)| device).collect();
        let text = json::object(|o| device_json::list(o, Vec::new(), paired, |_| false, surfaces));
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Removes the node role from a device, and the device if it has no other role.
    pub(super) fn remove_node(&mut self, named: &str) -> Result<(), CommandError> {
        let (slot, mut device) = self.find(named)?;
        let kept = device.remove_node();
        self.commit(slot, kept.then_some(device))
    }

    fn find(&self, named: &str) -> Result<(Slot, Device), CommandError> {
        let id = DeviceId::parse(named);
        let found = self.loaded.contents.devices.iter().find(|(_, device)| Some(device.id) == id);
        found
            .cloned()
            .ok_or_else(|| CommandError::failed("there is no such device; see `gatelet devices`"))
    }

    fn change(
        &mut self,
        named: &str,
        change: impl FnOnce(&mut Device),
    ) -> Result<(), CommandError> {
        let (slot, mut device) = self.find(named)?;
        change(&mut device);
        self.commit(slot, Some(device))
    }

    fn commit(&mut self, slot: Slot, device: Option<Device>) -> Result<(), CommandError> {
        let written = self.file.commit(slot, device.as_ref());
        written.map_err(|error| {
            CommandError::failed(format!(
                "cannot write the pairing table: {error}; nothing is certain until it works"
            ))
        })?;
        let devices = &mut self.loaded.contents.devices;
        devices.retain(|(at, _)| *at != slot);
        devices.extend(device.map(|device| (slot, device)));
        Ok(())
    }
}

fn role_of(name: &str) -> Result<Role, CommandError> {
    Role::parse(name).ok_or_else(|| CommandError::failed(format!("there is no role `{name}`")))
}

fn wall() -> WallMs {
    SystemClock::start().now().wall
}
