//! Operations on devices, through the running gateway or on the table file. On the file they have
//! the same effects as those of `rpc::devices`.

use super::output::{CommandError, Exit};
use crate::client::GatewayClient;
use crate::gate::device::Device;
use crate::gate::ids::{DeviceId, Role, Slot};
use crate::gate::scopes::Scopes;
use crate::gate::text::clip;
use crate::rpc::device_json;
use crate::server::os::clock::{Clock, SystemClock};
use crate::store::Opened;
use crate::wire::json;

/// Access path to the pairing table.
pub enum DeviceAccess {
    /// Through the running gateway.
    Gateway(Box<GatewayClient>),
    /// The table file itself, locked until this value is dropped.
    File(Box<Opened>),
}

impl DeviceAccess {
    pub fn operations(&mut self) -> &mut dyn DeviceOperations {
        match self {
            DeviceAccess::Gateway(client) => client.as_mut(),
            DeviceAccess::File(opened) => opened.as_mut(),
        }
    }

    /// Returns the gateway; error if none is running, because the operation concerns pending
    /// requests.
    pub fn gateway_with_requests(self) -> Result<Box<GatewayClient>, CommandError> {
        match self {
            DeviceAccess::Gateway(client) => Ok(client),
            DeviceAccess::File(_) => Err(needs_gateway()),
        }
    }
}

/// Operations on devices. Device ids and request ids are complete, not abbreviated.
pub trait DeviceOperations {
    /// Returns `{pending, paired}` as `device.pair.list` does.
    fn list(&mut self) -> Result<String, CommandError>;
    /// Like [`DeviceOperations::list`], including the approved commands of nodes.
    fn list_all(&mut self) -> Result<String, CommandError>;
    /// Approves a pending request, or restores a revoked device given by its id.
    fn approve(&mut self, request_or_device: &str) -> Result<(), CommandError>;
    fn reject(&mut self, request: &str) -> Result<(), CommandError>;
    fn remove(&mut self, device: &str) -> Result<(), CommandError>;
    fn rename(&mut self, device: &str, label: &str) -> Result<(), CommandError>;
    fn rotate(&mut self, device: &str, role: Role) -> Result<(), CommandError>;
    fn revoke(&mut self, device: &str, role: Role) -> Result<(), CommandError>;
    /// Returns the reason why no request can be found here; `None` if requests are available.
    fn no_requests(&self) -> Option<CommandError>;
}

impl DeviceOperations for GatewayClient {
    fn list(&mut self) -> Result<String, CommandError> {
        Ok(self.call("device.pair.list", "{}")?)
    }

    fn list_all(&mut self) -> Result<String, CommandError> {
        Ok(self.call("device.pair.list", r#"{"surfaces":true}"#)?)
    }

    fn approve(&mut self, request: &str) -> Result<(), CommandError> {
        call(self, "device.pair.approve", &[("requestId", request)]).map(drop)
    }

    fn reject(&mut self, request: &str) -> Result<(), CommandError> {
        call(self, "device.pair.reject", &[("requestId", request)]).map(drop)
    }

    fn remove(&mut self, device: &str) -> Result<(), CommandError> {
        call(self, "device.pair.remove", &[("deviceId", device)]).map(drop)
    }

    fn rename(&mut self, device: &str, label: &str) -> Result<(), CommandError> {
        call(self, "device.pair.rename", &[("deviceId", device), ("label", label)]).map(drop)
    }

    fn rotate(&mut self, device: &str, role: Role) -> Result<(), CommandError> {
        let params = [("deviceId", device), ("role", role.name())];
        call(self, "device.token.rotate", &params).map(drop)
    }

    fn revoke(&mut self, device: &str, role: Role) -> Result<(), CommandError> {
        let params = [("deviceId", device), ("role", role.name())];
        call(self, "device.token.revoke", &params).map(drop)
    }

    fn no_requests(&self) -> Option<CommandError> {
        None
    }
}

/// Calls a method whose parameters are all strings.
pub fn call(
    client: &mut GatewayClient,
    method: &str,
    params: &[(&str, &str)],
) -> Result<String, CommandError> {
    let params = json::object(|o| params.iter().for_each(|(key, value)| o.str(key, value)));
    Ok(client.call(method, &String::from_utf8_lossy(&params))?)
}

impl DeviceOperations for Opened {
    fn list(&mut self) -> Result<String, CommandError> {
        Ok(listed(self, false))
    }

    fn list_all(&mut self) -> Result<String, CommandError> {
        Ok(listed(self, true))
    }

    fn approve(&mut self, device: &str) -> Result<(), CommandError> {
        let now = SystemClock::start().now().wall;
        change(self, device, |device| {
            for role in device.revoked.iter() {
                device.approve(role, Scopes::NONE, now);
            }
        })
    }

    fn reject(&mut self, _request: &str) -> Result<(), CommandError> {
        Err(needs_gateway())
    }

    fn remove(&mut self, device: &str) -> Result<(), CommandError> {
        let (slot, _) = find(self, device)?;
        commit(self, slot, None)
    }

    fn rename(&mut self, device: &str, label: &str) -> Result<(), CommandError> {
        let label = clip(label);
        if label.is_empty() {
            return Err(CommandError::failed("label required"));
        }
        change(self, device, |device| device.label = label)
    }

    fn rotate(&mut self, device: &str, role: Role) -> Result<(), CommandError> {
        change(self, device, |device| device.tokens[role as usize].rotate())
    }

    fn revoke(&mut self, device: &str, role: Role) -> Result<(), CommandError> {
        change(self, device, |device| device.revoke(role))
    }

    fn no_requests(&self) -> Option<CommandError> {
        Some(needs_gateway())
    }
}

fn listed(opened: &Opened, with_surfaces: bool) -> String {
    let paired = opened.loaded.contents.devices.iter().map(|(_, device)| device).collect();
    let text = json::object(|o| device_json::list(o, Vec::new(), paired, |_| false, with_surfaces));
    String::from_utf8_lossy(&text).into_owned()
}

/// Removes the node role from a device, and the device if it has no other role.
pub fn remove_node(opened: &mut Opened, device: &str) -> Result<(), CommandError> {
    let (slot, mut device) = find(opened, device)?;
    let kept = device.remove_node();
    commit(opened, slot, kept.then_some(device))
}

fn find(opened: &Opened, device: &str) -> Result<(Slot, Device), CommandError> {
    let id = DeviceId::parse(device);
    let found = opened.loaded.contents.devices.iter().find(|(_, device)| Some(device.id) == id);
    found
        .cloned()
        .ok_or_else(|| CommandError::failed("there is no such device; see `gatelet devices`"))
}

fn change(
    opened: &mut Opened,
    device: &str,
    change: impl FnOnce(&mut Device),
) -> Result<(), CommandError> {
    let (slot, mut device) = find(opened, device)?;
    change(&mut device);
    commit(opened, slot, Some(device))
}

fn commit(opened: &mut Opened, slot: Slot, device: Option<Device>) -> Result<(), CommandError> {
    opened.file.commit(slot, device.as_ref()).map_err(|error| {
        CommandError::failed(format!(
            "cannot write the pairing table: {error}; run the command again, because the change \
             may be lost"
        ))
    })?;
    let devices = &mut opened.loaded.contents.devices;
    devices.retain(|(at, _)| *at != slot);
    devices.extend(device.map(|device| (slot, device)));
    Ok(())
}

/// Returns the error of an operation on pending requests while no gateway is running.
fn needs_gateway() -> CommandError {
    let message = "only a running gateway has pending requests, and no gateway is running on this \
                   state directory; start it with `gatelet run`";
    CommandError::new(Exit::NotRunning, message)
}
