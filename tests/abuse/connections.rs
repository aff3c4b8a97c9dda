//! Connections and descriptors: one device has few, and the owner always gets one.

use std::thread;
use std::time::{Duration, Instant};

use support::attacks::connections;
use support::client::{Device, Session, Who};
use support::gateway::{Plan, TOKEN};

use super::site::{counted, Site};
use super::{time_of_one, CONNECTIONS_OF_A_NODE, CONNECTIONS_OF_ONE};

/// Returns how many of these connections of a device stay open, as `gatelet.status` counts them.
fn stay_open(site: &Site, who: &Who, count: u64, name: &str) -> u64 {
    let mut admin = site.gateway.admin();
    let before = counted(&mut admin, name);
    let dial = site.gateway.dial();
    let held: Vec<Session> = (0..count).filter_map(|_| dial.connect(who).ok()).collect();
    thread::sleep(Duration::from_millis(200));
    let open = counted(&mut admin, name) - before;
    drop(held);
    open
}

#[test]
fn a_device_has_a_limited_number_of_connections() {
    for protocol in [3, 4] {
        // one gateway for each count, so that no connection of another one is still being closed
        let (site, device) = (Site::new(), Device::new());
        let operator = Who::of(protocol).scopes(&["read"]).token(TOKEN).device(&device);
        let open = stay_open(&site, &operator, 2 * CONNECTIONS_OF_ONE, "operators");
        assert!((1..=CONNECTIONS_OF_ONE).contains(&open), "{open} connections of one device");
        drop(site);
        let node = Who::of(protocol).node().token(TOKEN).device(&Device::new());
        let open = stay_open(&Site::new(), &node, 8, "connections");
        assert!((1..=CONNECTIONS_OF_A_NODE).contains(&open), "{open} connections of one node");
    }
}

#[test]
fn the_owner_and_new_devices_connect_while_one_device_opens_all_it_can() {
    let site = Site::start(Plan::new().prefix(&["prlimit", "--nofile=512:512", "--"]));
    site.beside(&[connections], |_| {
        // as many as the device gets
        thread::sleep(Duration::from_millis(1500));
        let begun = Instant::now();
        while begun.elapsed() < time_of_one(1) {
            site.is_healthy();
            [3, 4].into_iter().for_each(|protocol| site.revoke(&site.pair(protocol)));
        }
    });
    site.holds_memory("connections");
}
