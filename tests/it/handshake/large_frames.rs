//! Large and unfinished frames of admitted clients: the limit of each client, the budget of all
//! together, the time that a frame may take, and that no other client waits for a large one.

use std::io::Write;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use support::client::{Device, Who};
use support::gateway::{Gateway, TOKEN};
use support::runner;

use super::admission::{frame, head, Raw};
use crate::nodes::invoke as nodes;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const ORDINARY: usize = 512 * KIB;
const LARGE: usize = 25 * MIB;
const PROTOCOLS: [u32; 2] = [3, 4];

/// Client of a new device with these scopes; a node without any.
fn who(protocol: u32, scopes: &[&str]) -> Who {
    let who = Who::of(protocol).token(TOKEN).device(&Device::new());
    match scopes {
        ["node"] => who.node(),
        scopes => who.scopes(scopes),
    }
}

/// Returns a request of exactly `len` bytes.
fn request(method: &str, len: usize) -> String {
    let text = |pad: usize| {
        let pad = "x".repeat(pad);
        format!(r#"{{"type":"req","id":"r","method":"{method}","params":{{"pad":"{pad}"}}}}"#)
    };
    text(len - text(0).len())
}

/// Returns a call with these parameters to a node that is not connected.
fn call(params: &str) -> String {
    let node = "0".repeat(64);
    format!(
        r#"{{"type":"req","id":"r","method":"node.invoke","params":{{"nodeId":"{node}","command":"c","params":{params},"idempotencyKey":"k"}}}}"#
    )
}

/// Returns a call of exactly `len` bytes.
fn invoke(len: usize) -> String {
    call(&format!("\"{}\"", "x".repeat(len - call("\"\"").len())))
}

/// Sends a request and returns its answer, however long the gateway does not read.
fn send(raw: &mut Raw, text: &str) -> Value {
    raw.stream.set_write_timeout(None).unwrap();
    raw.stream.write_all(&frame(0x81, text.as_bytes())).unwrap();
    raw.response()
}

#[test]
fn frame_limit_is_that_of_the_largest_method_a_client_may_call() {
    let gateway = Gateway::new();
    for protocol in PROTOCOLS {
        for (scopes, limit) in [
            (&["read"][..], ORDINARY),
            (&["read", "pairing", "approvals"], ORDINARY),
            (&["write"], LARGE),
            (&["admin"], LARGE),
            (&["node"], LARGE),
        ] {
            let (mut raw, hello) = Raw::connected(&gateway, &who(protocol, scopes));
            assert_eq!(hello["policy"]["maxPayload"], limit, "{protocol} {scopes:?}");
            raw.stream.write_all(&head(0x81, limit as u64 + 1)).unwrap();
            assert_eq!(raw.close_frame(), (1009, "payload too large".into()), "{scopes:?}");
            // in fragments too
            let (mut raw, _) = Raw::connected(&gateway, &who(protocol, scopes));
            let part = [frame(0x01, b"{"), head(0x80, limit as u64)].concat();
            raw.stream.write_all(&part).unwrap();
            assert_eq!(raw.closed(), 1009, "{scopes:?}");
        }
        let (mut reader, _) = Raw::connected(&gateway, &who(protocol, &["read"]));
        assert_eq!(send(&mut reader, &request("health", ORDINARY))["ok"], true);
        let invoked = send(&mut reader, &invoke(ORDINARY));
        assert_eq!(invoked["error"]["message"], "missing scope: operator.write", "{invoked}");
    }
}

#[test]
fn a_method_that_relays_nothing_takes_a_bounded_request() {
    let gateway = Gateway::new();
    for protocol in PROTOCOLS {
        let (mut writer, _) = Raw::connected(&gateway, &who(protocol, &["write"]));
        let message = |answer: Value| answer["error"]["message"].as_str().map(str::to_string);
        for len in [ORDINARY + 1, 20 * MIB] {
            let message = message(send(&mut writer, &request("health", len))).unwrap();
            assert!(message.contains(&format!("has {len} bytes")), "{message}");
            assert!(message.contains("health takes at most 524288 bytes"), "{message}");
        }
        let listed = |count: usize| {
            let list = numbers(count);
            format!(r#"{{"type":"req","id":"r","method":"health","params":{list}}}"#)
        };
        // with type, id, method, list and the frame itself
        assert_eq!(send(&mut writer, &listed(49_995))["ok"], true);
        let message = message(send(&mut writer, &listed(49_996))).unwrap();
        assert!(message.contains("50001 JSON values"), "{message}");
        // rights come first, and a method that does not exist is not told from one
        for method in ["config.set", "no.such.method"] {
            let answer = send(&mut writer, &request(method, 20 * MIB));
            assert_eq!(answer["error"]["message"], "missing scope: operator.admin", "{answer}");
        }
        let answer = send(&mut writer, &invoke(20 * MIB));
        assert_eq!(answer["error"]["message"], "node not connected", "{answer}");
        // not JSON, in its last byte: ignored as in a small message
        let bad = request("health", MIB).replace("}}", "}]");
        writer.stream.write_all(&frame(0x81, bad.as_bytes())).unwrap();
        assert_eq!(send(&mut writer, &request("health", 100))["ok"], true);
    }
}

/// Connections of some devices that each send a large call, all at once. The first ones keep back
/// the last byte until they are released.
#[test]
fn unfinished_frames_share_a_budget_and_no_client_is_closed() {
    const CALLS: usize = 12;
    let gateway = Gateway::new();
    let mut admin = gateway.admin();
    let whole = frame(0x81, invoke(LARGE).as_bytes());
    let part = [&head(0x01, 0)[..], &frame(0x80, invoke(LARGE).as_bytes())].concat();
    let (release, released) = mpsc::channel::<()>();
    let mut released = Some(released);
    let mut calls = Vec::new();
    for at in 0..CALLS {
        let protocol = PROTOCOLS[at % 2];
        let (mut raw, _) = Raw::connected(&gateway, &who(protocol, &["write"]));
        let bytes = if at % 3 == 0 { part.clone() } else { whole.clone() };
        let released = released.take();
        calls.push(thread::spawn(move || {
            let (most, last) = bytes.split_at(bytes.len() - 1);
            raw.stream.set_write_timeout(None).unwrap();
            raw.stream.write_all(most).unwrap();
            if let Some(released) = released {
                let _ = released.recv();
            }
            raw.stream.write_all(last).unwrap();
            raw.response()
        }));
    }
    // small and ordinary requests of others go on meanwhile
    for at in 0..40 {
        let pad = "x".repeat(if at % 2 == 0 { 10 } else { 300 * KIB });
        admin.call("health", json!({ "pad": pad })).unwrap();
        thread::sleep(Duration::from_millis(10));
    }
    release.send(()).unwrap();
    for call in calls {
        let answer = call.join().unwrap();
        assert_eq!(answer["error"]["message"], "node not connected", "{answer}");
    }
    if runner::windows() || !runner::native() {
        return;
    }
    let peak = gateway.memory("VmHWM") as usize / MIB;
    println!("{CALLS} unfinished frames of 25 MiB: {peak} MiB at most");
    assert!(peak < 140, "{peak} MiB");
}

#[test]
fn frame_that_takes_too_long_is_closed_and_one_that_waits_is_not() {
    let gateway = Gateway::new();
    let begun = Instant::now();
    // Two devices have most of the budget, at the least rate and for a while.
    let mut slow: Vec<Raw> = PROTOCOLS
        .iter()
        .map(|protocol| {
            let (mut raw, _) = Raw::connected(&gateway, &who(*protocol, &["write"]));
            let bytes = frame(0x81, invoke(LARGE).as_bytes());
            raw.stream.write_all(&bytes[..6 * MIB]).unwrap();
            raw
        })
        .collect();
    let (mut waiting, _) = Raw::connected(&gateway, &who(4, &["write"]));
    let waits = thread::spawn(move || send(&mut waiting, &invoke(20 * MIB)));
    // One sends a byte now and then, of a frame that needs no room.
    let mut trickles: Vec<Raw> = [("read", 3), ("read", 4), ("node", 3), ("node", 4)]
        .iter()
        .map(|(scope, protocol)| {
            let (mut raw, _) = Raw::connected(&gateway, &who(*protocol, &[*scope]));
            raw.stream.write_all(&head(0x81, 200)).unwrap();
            raw
        })
        .collect();
    while begun.elapsed() < Duration::from_secs(58) {
        thread::sleep(Duration::from_secs(2));
        trickles.iter_mut().for_each(|raw| raw.stream.write_all(b" ").unwrap());
        slow.iter_mut().for_each(|raw| raw.stream.write_all(b"x").unwrap());
    }
    assert!(!waits.is_finished());
    for raw in &mut trickles {
        let (code, reason) = raw.close_frame();
        assert_eq!(code, 1008);
        assert!(reason.starts_with("frame timeout"), "{reason}");
        assert!(begun.elapsed() > Duration::from_secs(60));
    }
    // 6 MiB are enough for 96 seconds
    assert!(!waits.is_finished() || begun.elapsed() > Duration::from_secs(96));
    drop(slow);
    let answer = waits.join().unwrap();
    assert_eq!(answer["error"]["message"], "node not connected", "{answer}");
}

/// Returns a list of this many numbers, as JSON.
fn numbers(count: usize) -> String {
    ["[", &vec!["0"; count].join(","), "]"].concat()
}

/// Returns the longest time that a small request takes until the work of the thread is done.
fn longest_call(gateway: &Gateway, work: &thread::JoinHandle<Duration>) -> Duration {
    let mut admin = gateway.admin();
    let mut longest = Duration::ZERO;
    while !work.is_finished() {
        let begun = Instant::now();
        admin.call("health", json!({})).unwrap();
        longest = longest.max(begun.elapsed());
    }
    longest
}

/// Asserts that other clients did not wait for most of the work, unless it took little time.
fn assert_concurrent(what: &str, took: Duration, longest: Duration) {
    println!("{what} took {took:?}, others at most {longest:?}");
    assert!(
        longest < (took / 2).max(Duration::from_millis(200)),
        "{what}: {longest:?} of {took:?}"
    );
}

/// The check of millions of values takes up to a second.
#[test]
fn large_request_holds_up_no_other_client() {
    let gateway = Gateway::new();
    let list = numbers(12 * MIB);
    let health = format!(r#"{{"type":"req","id":"r","method":"health","params":{list}}}"#);
    for (what, text) in [("health", health), ("node.invoke", call(&list))] {
        let (mut raw, _) = Raw::connected(&gateway, &who(4, &["write"]));
        raw.stream.set_write_timeout(None).unwrap();
        let asks = thread::spawn(move || {
            raw.stream.write_all(&frame(0x81, text.as_bytes())).unwrap();
            let begun = Instant::now();
            assert_eq!(raw.response()["ok"], false);
            begun.elapsed()
        });
        let longest = longest_call(&gateway, &asks);
        assert_concurrent(what, asks.join().unwrap(), longest);
    }
}

/// Parameters are escaped on their way to a node, and answers are unescaped on their way back.
#[test]
fn large_relayed_call_holds_up_no_other_client() {
    let gateway = Gateway::new();
    let device = Device::new();
    let mut node = nodes::node(&gateway, 4, &device);
    nodes::approve(&gateway, &device);
    let mut operator = nodes::operator(&gateway, 4, &["write"]);
    let quotes = ["[", &vec![r#""""#; 4 * MIB].join(","), "]"].concat();
    let ask =
        call(&quotes).replace(&"0".repeat(64), &device.id).replace("\"c\"", "\"system.which\"");
    let work = thread::spawn(move || {
        let begun = Instant::now();
        operator.socket.text(&ask);
        let asked = node.event("node.invoke.request");
        assert_eq!(asked["paramsJSON"].as_str().map(str::len), Some(quotes.len()));
        let answer =
            json!({ "id": asked["id"], "nodeId": device.id, "ok": true, "payloadJSON": quotes });
        node.call("node.invoke.result", answer).unwrap();
        let payload = operator.answer("r").unwrap();
        assert_eq!(payload["payload"].as_array().map(Vec::len), Some(4 * MIB));
        begun.elapsed()
    });
    let longest = longest_call(&gateway, &work);
    assert_concurrent("a relayed call", work.join().unwrap(), longest);
}
