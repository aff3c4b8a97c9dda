//! Pending requests: what the owner reads is what it approves, and it stays while it is read.

use serde_json::{json, Value};
use support::client::{Device, Session, Who};
use support::gateway::{pending, Plan, TOKEN};

use super::site::Site;

/// Requests that fill the list twice.
const REQUESTS: usize = 128;

fn strict() -> Site {
    Site::start(Plan::with(json!({ "pairing": { "mode": "strict" } })))
}

/// Asks for these scopes with this name; returns the id of the pending request.
fn ask(site: &Site, protocol: u32, device: &Device, scopes: &[&str], name: &str) -> String {
    let who = Who::of(protocol).scopes(scopes).token(TOKEN).device(device).name(name);
    match site.gateway.connect(&who) {
        Err(refused) => refused.request_id().to_string(),
        // a paired device is admitted with the scopes that it has
        Ok(_) => {
            let request = pending(&mut site.gateway.admin(), &device.id);
            request.map_or_else(String::new, |one| one["requestId"].as_str().unwrap().to_string())
        }
    }
}

#[test]
fn a_request_that_the_owner_has_read_is_not_pushed_out() {
    let site = strict();
    let mut admin = site.gateway.admin();
    for protocol in [3, 4] {
        let device = Device::new();
        let id = ask(&site, protocol, &device, &["read"], "Phone");
        assert_eq!(pending(&mut admin, &device.id).expect("listed")["requestId"], id.as_str());
        for number in 0..REQUESTS {
            ask(&site, 3 + number as u32 % 2, &Device::new(), &["admin"], "Other");
        }
        admin.forget();
        admin.call("device.pair.approve", json!({ "requestId": id })).expect("what was read");
        let who = Who::of(protocol).scopes(&["read"]).device(&device);
        site.gateway.connect(&who).expect("approved");
    }
}

#[test]
fn another_name_is_another_request() {
    let site = strict();
    for protocol in [3, 4] {
        let device = Device::new();
        let first = ask(&site, protocol, &device, &["read"], "Phone");
        assert_eq!(ask(&site, protocol, &device, &["read"], "Phone"), first);
        let second = ask(&site, protocol, &device, &["read"], "Tablet of the owner");
        assert!(!second.is_empty() && second != first, "the name changed under {first}");
    }
}

/// Returns the pending requests as the owner sees them.
fn listed(site: &Site) -> String {
    site.owner().good(&["devices", "list"])
}

#[test]
fn a_paired_device_that_asks_for_more_is_shown_as_paired() {
    let site = strict();
    for protocol in [3, 4] {
        let device = Device::new();
        let id = ask(&site, protocol, &device, &["read"], "Phone");
        let mut admin: Session = site.gateway.admin();
        admin.call("device.pair.approve", json!({ "requestId": id })).unwrap();
        admin
            .call("device.pair.rename", json!({ "deviceId": device.id, "label": "Guest" }))
            .unwrap();
        let id = ask(&site, protocol, &device, &["admin"], "Phone of the owner");
        let seen = listed(&site);
        assert!(seen.contains("already paired"), "{seen}");
        let label = seen.find("Guest").unwrap_or_else(|| panic!("no label of the owner: {seen}"));
        assert!(seen.find("of the owner").is_none_or(|name| label < name), "{seen}");
        admin.call("device.pair.reject", json!({ "requestId": id })).unwrap();
        admin.call("device.pair.remove", json!({ "deviceId": device.id })).unwrap();
    }
}

#[test]
fn names_have_no_invisible_characters_and_imitations_are_marked() {
    let site = strict();
    let mut admin = site.gateway.admin();
    let phone = Device::new();
    let id = ask(&site, 4, &phone, &["read"], "Phone");
    admin.call("device.pair.approve", json!({ "requestId": id })).unwrap();
    let other = Device::new();
    ask(&site, 3, &other, &["read"], "Ph\u{ad}o\u{61c}n\u{3164}\u{e0041}e");
    let shown: Value = pending(&mut admin, &other.id).unwrap()["displayName"].clone();
    let text = shown.as_str().unwrap_or_default();
    let hidden = ['\u{ad}', '\u{61c}', '\u{3164}', '\u{e0041}'];
    assert!(!text.contains(hidden), "{text:?}");
    let third = Device::new();
    ask(&site, 4, &third, &["read"], "Phone");
    assert!(listed(&site).contains("looks like"), "{}", listed(&site));
}
