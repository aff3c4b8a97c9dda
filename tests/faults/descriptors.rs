//! No file descriptor left, because the limit was lowered after the start: admitted clients
//! continue, no processor time is wasted, and new clients connect as soon as a descriptor is free.

use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use support::client::{Device, Session, Who};
use support::gateway::{Gateway, TOKEN};
use support::runner::until;

/// Limit of descriptors for the gateway (`ulimit -n`).
const DESCRIPTORS: usize = 64;

/// Starts a gateway and then lowers its limit: with the limit at its start it would have kept
/// descriptors free.
fn poor() -> Gateway {
    let gateway = Gateway::new();
    let limit = format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}");
    let mut command = Command::new("prlimit");
    command.args(["--pid", &gateway.pid().to_string(), &limit]);
    assert!(command.status().unwrap().success());
    gateway
}

/// Counts descriptors below the limit: the test runner may have passed one above it.
fn open_descriptors(gateway: &Gateway) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap();
    let numbers = open
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().parse::<usize>().unwrap());
    numbers.filter(|number| *number < DESCRIPTORS).count()
}

fn used_up(gateway: &Gateway) {
    let open = || open_descriptors(gateway);
    until(
        || open() == DESCRIPTORS,
        || format!("{} of {DESCRIPTORS} descriptors are in use", open()),
    );
}

/// Returns the processor time of the gateway so far.
fn processor(gateway: &Gateway) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).unwrap();
    // after the name, which ends with the last bracket: state, ten numbers, then utime and stime in
    // ticks of 10 ms
    let ticks = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
    Duration::from_millis(10 * ticks.map(|text| text.parse::<u64>().unwrap()).sum::<u64>())
}

/// Opens silent connections, more than the gateway has descriptors; the system completes those that
/// are not accepted.
fn crowd(gateway: &Gateway) -> Vec<TcpStream> {
    (0..2 * DESCRIPTORS).map(|_| gateway.dial().tcp()).collect()
}

#[test]
fn exhausted_descriptors_do_not_stop_admitted_clients_or_use_cpu() {
    let gateway = poor();
    let device = Device::new();
    let mut known = gateway.connect(&Who::v4().token(TOKEN).device(&device)).unwrap();
    let begun = Instant::now();
    let silent = crowd(&gateway);
    used_up(&gateway);
    let before = processor(&gateway);
    // one second without any event
    thread::sleep(Duration::from_secs(1));
    let spent = processor(&gateway) - before;
    assert!(
        spent <= Duration::from_millis(100),
        "{spent:?} of processor time in a second without work"
    );
    for _ in 0..50 {
        known.call("status", json!({})).unwrap();
    }
    let label = json!({ "deviceId": device.id, "label": "still written" });
    known.call("device.pair.rename", label).expect("renaming needs no new descriptor");
    assert!(begun.elapsed() < Duration::from_secs(14), "the silent connections are still open");
    drop(silent);
    gateway.connect(&Who::v4().device(&device)).expect("a known device").leave();
    gateway.connect(&Who::v4().token(TOKEN).device(&Device::new())).expect("a new one").leave();
    assert!(gateway.dial().is_ready());
}

#[test]
fn admitted_clients_may_use_all_descriptors_and_free_them_on_disconnect() {
    let gateway = poor();
    let who = Who::v4().token(TOKEN);
    let mut admitted: Vec<Session> = Vec::new();
    loop {
        while open_descriptors(&gateway) < DESCRIPTORS {
            admitted.push(gateway.connect(&who).unwrap());
        }
        // the descriptor of the start's own request may be freed in between
        for session in &mut admitted {
            session.call("status", json!({})).unwrap();
        }
        if open_descriptors(&gateway) == DESCRIPTORS {
            break;
        }
    }
    assert!(admitted.len() > DESCRIPTORS / 2, "{} admitted", admitted.len());
    let (dial, next) = (gateway.dial(), who.clone());
    // the system has accepted its connection, the gateway has not
    let waits = thread::spawn(move || dial.connect(&next).unwrap());
    for session in &mut admitted {
        session.call("status", json!({})).unwrap();
    }
    assert!(!waits.is_finished(), "a connection was accepted beyond the descriptor limit");
    admitted.pop().unwrap().leave();
    let mut came = waits.join().unwrap();
    came.call("status", json!({})).unwrap();
    let config = came.call("config.get", json!({}));
    assert_eq!(config.unwrap_err().code(), "UNAVAILABLE", "no descriptor is free to read the file");
    came.leave();
    until(|| open_descriptors(&gateway) < DESCRIPTORS, || "no client disconnected".into());
    admitted[0].call("config.get", json!({})).expect("a descriptor is free again");
}
