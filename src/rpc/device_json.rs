//! Devices as JSON: the shape of `device.pair.list` (protocol 3 and 4), the same from a running
//! gateway and from the table file.
//!
//! Device tokens are never written, nor are approved scopes apart from `scopes`. Unknown or empty
//! values are left out. The approved surface of a node is part of `node.pair.list`; it is added to
//! the other fields only where a table is exported.

use std::cmp::Reverse;
use std::net::IpAddr;

use crate::gate::device::{Device, Provenance};
use crate::gate::ids::{DeviceId, PublicKey, Role, Roles, WallMs};
use crate::gate::lookalikes::skeleton;
use crate::gate::pairing_requests::{About, PairingRequest};
use crate::gate::scopes::Scopes;
use crate::gate::surface::Surface;
use crate::wire::base64;
use crate::wire::json::Writer;

/// Writes `pending` and `paired` into an open object, the latest first. `connected` returns whether
/// a device has an open connection; `surfaces` adds [`approved_surface`] to the fields of the
/// protocol.
pub fn list(
    o: &mut Writer<'_>,
    mut pending: Vec<&PairingRequest>,
    mut paired: Vec<&Device>,
    connected: impl Fn(&DeviceId) -> bool,
    surfaces: bool,
) {
    pending.sort_by_key(|request| Reverse(request.asked));
    paired.sort_by_key(|device| Reverse(device.approved));
    let names = if pending.is_empty() { Names::default() } else { Names::of(&paired) };
    o.arr("pending", |list| {
        for request in pending {
            list.item_obj(|o| {
                pending_fields(o, request);
                names.write_resembled(o, request);
            });
        }
    });
    o.arr("paired", |list| {
        for device in paired {
            list.item_obj(|o| {
                device_fields(o, device, connected(&device.id));
                if surfaces {
                    approved_surface(o, device);
                }
            });
        }
    });
}

/// Names of paired devices, as they look.
#[derive(Default)]
pub struct Names<'a>(Vec<(String, &'a Device)>);

impl<'a> Names<'a> {
    /// Collects the labels and names of these devices.
    pub fn of(devices: &[&'a Device]) -> Names<'a> {
        let names = |device: &&'a Device| {
            let device = *device;
            [&device.label, &device.name].map(|name| (skeleton(name).collect::<String>(), device))
        };
        Names(devices.iter().flat_map(names).filter(|(name, _)| !name.is_empty()).collect())
    }

    /// Writes the paired device whose name looks like that of another device that asks, as the
    /// field `resembles`, a name of gatelet's own. Writes nothing if there is none.
    pub fn write_resembled(&self, o: &mut Writer<'_>, request: &PairingRequest) {
        let name: String = skeleton(&request.about.name).collect();
        let found = self.0.iter().find(|(one, device)| *one == name && device.id != request.device);
        if let Some((_, device)) = found {
            o.obj("resembles", |o| {
                o.shown("deviceId", &device.id);
                o.str("name", device.shown_name());
            });
        }
    }
}

/// Writes a paired device as fields of an open object.
pub fn device_fields(o: &mut Writer<'_>, device: &Device, connected: bool) {
    identity(o, &device.id, &device.key);
    about(o, &device.about());
    opt_text(o, "label", &device.label);
    let shown = if device.roles.is_empty() { device.revoked } else { device.roles };
    roles(o, shown, device.scopes);
    o.roles("revokedRoles", device.revoked);
    o.str("approvedVia", approved_via(device.provenance));
    o.str("provenance", device.provenance.name());
    o.u64("createdAtMs", device.created.0);
    o.u64("approvedAtMs", device.approved.0);
    o.opt_u64("lastSeenAtMs", known_time(device.seen));
    o.arr("tokens", |list| tokens(list, device));
    o.bool("connected", connected);
}

/// Writes the approved surface of a node and the time of the approval, as fields of an open object.
/// Writes nothing if nothing was ever approved.
pub fn approved_surface(o: &mut Writer<'_>, device: &Device) {
    let approved = known_time(device.surface_approved);
    if approved.is_some() || !device.surface.is_empty() {
        surface_fields(o, &device.surface);
        o.opt_u64("surfaceApprovedAtMs", approved);
    }
}

/// Writes a surface as fields of an open object, each list sorted; no `permissions` if it has none.
pub fn surface_fields(o: &mut Writer<'_>, surface: &Surface) {
    let mut commands: Vec<&str> = surface.commands().collect();
    commands.sort_unstable();
    o.strs("caps", surface.caps());
    o.strs("commands", commands);
    let mut permissions = surface.permissions().peekable();
    if permissions.peek().is_some() {
        o.obj("permissions", |o| permissions.for_each(|name| o.bool(name, true)));
    }
}

/// Writes a pending request as fields of an open object.
pub fn pending_fields(o: &mut Writer<'_>, request: &PairingRequest) {
    o.shown("requestId", &request.id);
    identity(o, &request.device, &request.key);
    about(o, &request.about);
    roles(o, request.roles, request.scopes);
    o.bool("isRepair", request.known);
    o.u64("ts", request.asked.0);
}

/// Returns protocol 4's name for the way in which a device was approved.
pub const fn approved_via(provenance: Provenance) -> &'static str {
    match provenance {
        Provenance::Owner | Provenance::Config | Provenance::Import => "owner",
        Provenance::Token | Provenance::Local => "silent",
        Provenance::Code => "bootstrap",
        Provenance::Cidr => "trusted-cidr",
        Provenance::Identity => "trusted-proxy",
    }
}

fn identity(o: &mut Writer<'_>, id: &DeviceId, key: &PublicKey) {
    o.shown("deviceId", id);
    o.str("publicKey", &base64::encode_url(&key.0));
}

/// Writes the description that a client gave of itself.
pub fn about(o: &mut Writer<'_>, about: &About) {
    opt_text(o, "displayName", &about.name);
    opt_text(o, "platform", &about.platform);
    opt_text(o, "deviceFamily", &about.family);
    opt_text(o, "clientId", &about.client_id);
    opt_text(o, "clientMode", &about.client_mode);
    opt_ip(o, "remoteIp", about.remote);
}

/// Writes an address, if there is one.
pub fn opt_ip(o: &mut Writer<'_>, key: &str, address: Option<IpAddr>) {
    if let Some(address) = address {
        o.shown(key, &address);
    }
}

fn roles(o: &mut Writer<'_>, roles: Roles, scopes: Scopes) {
    o.opt_str("role", roles.iter().next().map(Role::name));
    o.roles("roles", roles);
    o.scopes("scopes", scopes);
}

/// Writes the roles that have a valid token, as the protocol lists them; the tokens themselves are
/// derived and never written. `generation`, a name of gatelet's own, increases with each rotation.
fn tokens(list: &mut Writer<'_>, device: &Device) {
    for role in device.roles.iter().filter(|role| device.tokens[*role as usize].current > 0) {
        list.item_obj(|o| {
            let scopes = if role == Role::Operator { device.scopes } else { Scopes::NONE };
            o.str("role", role.name());
            o.scopes("scopes", scopes);
            o.u64("createdAtMs", device.approved.0);
            o.u64("generation", u64::from(device.tokens[role as usize].current));
        });
    }
}

/// Writes a text, unless it is empty.
pub fn opt_text(o: &mut Writer<'_>, key: &str, text: &str) {
    o.opt_str(key, Some(text).filter(|text| !text.is_empty()));
}

/// Returns a time in milliseconds, if it is known.
pub fn known_time(time: WallMs) -> Option<u64> {
    (time.0 > 0).then_some(time.0)
}

impl Device {
    /// Returns the description that its client gave when it was last connected.
    pub fn about(&self) -> About {
        About {
            name: self.name.clone(),
            platform: self.platform.clone(),
            family: self.family.clone(),
            client_id: self.client_id.clone(),
            client_mode: self.client_mode.clone(),
            remote: self.remote,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::device::TokenWindow;
    use crate::gate::limits;
    use crate::gate::scopes::Scope;
    use crate::wire::json;

    fn device() -> Device {
        let mut device = Device::new(DeviceId([0xab; 32]), PublicKey([1; 32]), Provenance::Token);
        device.approve(Role::Operator, Scopes::of(Scope::Read), WallMs(2000));
        device.created = WallMs(1000);
        device.name.push_str("Browser").unwrap();
        device
    }

    fn rendered(device: &Device) -> String {
        String::from_utf8(json::object(|o| device_fields(o, device, true))).unwrap()
    }

    #[test]
    fn device_has_protocol_fields_and_no_empty_ones() {
        let expected = format!(
            concat!(
                r#"{{"deviceId":"{}","publicKey":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE","displayName":"Browser","#,
                r#""role":"operator","roles":["operator"],"scopes":["operator.read"],"revokedRoles":[],"#,
                r#""approvedVia":"silent","provenance":"token","createdAtMs":1000,"approvedAtMs":2000,"#,
                r#""tokens":[{{"role":"operator","scopes":["operator.read"],"createdAtMs":2000,"generation":1}}],"connected":true}}"#
            ),
            "ab".repeat(32)
        );
        assert_eq!(rendered(&device()), expected);
    }

    #[test]
    fn revoked_device_lists_its_former_roles_and_no_token() {
        let mut device = device();
        device.revoke(Role::Operator);
        let text = rendered(&device);
        assert!(
            text.contains(
                r#""roles":["operator"],"scopes":["operator.read"],"revokedRoles":["operator"]"#
            ),
            "{text}"
        );
        assert!(text.contains(r#""tokens":[]"#), "{text}");
    }

    #[test]
    fn role_without_a_token_lists_none() {
        let mut device = device();
        device.tokens = [TokenWindow::default(); 2];
        assert!(rendered(&device).contains(r#""tokens":[]"#));
    }

    #[test]
    fn surface_is_listed_only_on_request() {
        let mut node = device();
        let mut surface = Surface::NONE;
        ["system.run", "robot.walk"].iter().try_for_each(|name| surface.add_command(name)).unwrap();
        let shown = |surface: &Surface| {
            String::from_utf8(json::object(|o| surface_fields(o, surface))).unwrap()
        };
        assert_eq!(shown(&surface), r#"{"caps":[],"commands":["robot.walk","system.run"]}"#);
        ["voice", "say \"hi\""].iter().try_for_each(|name| surface.add_permission(name)).unwrap();
        let expected = r#""caps":[],"commands":["robot.walk","system.run"],"permissions":{"say \"hi\"":true,"voice":true}"#;
        assert_eq!(shown(&surface), format!("{{{expected}}}"));
        assert_eq!(shown(&Surface::NONE), r#"{"caps":[],"commands":[]}"#);

        let all = |node: &Device, surfaces| {
            json::object(|o| list(o, Vec::new(), vec![node], |_| true, surfaces))
        };
        let without = String::from_utf8(all(&node, false)).unwrap();
        assert_eq!(all(&node, true), without.as_bytes(), "nothing was ever approved");
        node.approve_surface(&surface, WallMs(3000)).unwrap();
        assert_eq!(all(&node, false), without.as_bytes());
        let with =
            without.replace("}]}", &format!(r#",{expected},"surfaceApprovedAtMs":3000}}]}}"#));
        assert_eq!(String::from_utf8(all(&node, true)).unwrap(), with);
    }

    #[test]
    fn a_full_table_fits_one_frame() {
        let mut device = device();
        let long = |len| "\u{1}".repeat(len);
        device.name = long(limits::NAME_LEN).parse().unwrap();
        device.label = device.name.clone();
        device.platform = long(limits::PLATFORM_LEN).parse().unwrap();
        device.family = device.platform.clone();
        device.client_id = long(limits::CLIENT_ID_LEN).parse().unwrap();
        device.client_mode = long(limits::CLIENT_MODE_LEN).parse().unwrap();
        device.remote = Some("1234:1234:1234:1234:1234:1234:1234:1234".parse().unwrap());
        device.approve(Role::Operator, Scopes::ALL, WallMs(1 << 50));
        device.approve(Role::Node, Scopes::NONE, WallMs(1 << 50));
        device.seen = WallMs(1 << 50);
        let longest = rendered(&device).len();
        assert!(longest > 6 * (2 * limits::NAME_LEN + 2 * limits::PLATFORM_LEN), "{longest}");
        let waiting = limits::PENDING * 2 * longest;
        let all = usize::from(limits::CAPACITY_MAX) * (longest + 1) + waiting + 1024;
        assert!(all <= limits::FRAME_AFTER_HELLO, "{all} bytes, {longest} for one device");
    }

    #[test]
    fn devices_are_listed_latest_first() {
        let (old, mut new) = (device(), device());
        new.id = DeviceId([1; 32]);
        new.approved = WallMs(3000);
        let text =
            json::object(|o| list(o, Vec::new(), vec![&old, &new], |id| id.0[0] == 1, false));
        let value = json::parse(&text, 8).unwrap();
        let connected: Vec<_> = value
            .get("paired")
            .unwrap()
            .items()
            .map(|one| one.get("connected").unwrap().as_bool())
            .collect();
        assert_eq!(connected, [Some(true), Some(false)]);
    }
}
