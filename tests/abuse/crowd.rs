//! The honest crowd: many clients that connect and leave together, and large answers. No client
//! that reads is closed, and no call is lost.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use support::attacks::{request, Field, Line};
use support::client::{Device, Session, Who};
use support::gateway::{Plan, TOKEN};

use super::site::Site;
use super::{is_long, ANSWERED};

const BROWSERS: u32 = 150;
const CALLS: u64 = 5;
/// Threads that connect clients.
const THREADS: usize = 16;
const PHOTO: usize = 20_000_000;

/// Connects all clients at the same time; those that are connected read meanwhile.
fn together(field: &Field, clients: &[Who]) -> Vec<Line> {
    let calls: Arc<[u8]> = request("health", "{}").repeat(CALLS as usize).into();
    let connect = |part: &[Who]| {
        let mut lines: Vec<Line> = Vec::new();
        for who in part {
            let socket = field.insist(who).expect("a client of the crowd");
            lines.push(Line::new(socket, calls.clone()));
            lines.iter_mut().for_each(|line| _ = line.drain());
        }
        lines
    };
    thread::scope(|scope| {
        let parts = clients.chunks(clients.len().div_ceil(THREADS));
        let threads: Vec<_> = parts.map(|part| scope.spawn(|| connect(part))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no client panics")).collect()
    })
}

/// Lets all clients call at the same time, and asserts that all calls are answered.
fn all_are_answered(lines: &mut [Line], what: &str) {
    let begun = Instant::now();
    let calls = request("health", "{}").len() * CALLS as usize;
    lines.iter_mut().for_each(|line| line.answers = 0);
    while lines.iter().any(|line| line.is_open && line.answers < CALLS)
        && begun.elapsed() < ANSWERED
    {
        for line in lines.iter_mut() {
            line.write_to(calls);
            line.drain();
        }
        thread::sleep(Duration::from_millis(1));
    }
    let closed = lines.iter().filter(|line| !line.is_open).count();
    let answers: u64 = lines.iter().map(|line| line.answers).sum();
    println!("{what}: {answers} of {} calls answered, {closed} closed", lines.len() as u64 * CALLS);
    assert_eq!((answers, closed), (lines.len() as u64 * CALLS, 0), "{what}: answers and closed");
}

#[test]
fn browsers_connect_and_leave_together() {
    let site = Site::new();
    site.beside(&[], |field| {
        let pair = |number| field.pair(Who::of(3 + number % 2).page().scopes(&["read"])).unwrap();
        let clients: Vec<Who> = (0..BROWSERS).map(pair).collect();
        for round in 0..3 {
            let mut lines = together(field, &clients);
            all_are_answered(&mut lines, &format!("browsers, round {round}"));
        }
    });
    site.holds_memory("browsers");
    site.gives_back("browsers");
}

#[test]
fn devices_return_together_after_their_network_was_lost() {
    let many = if is_long() { 2000 } else { 500 };
    let site = Site::start(Plan::with(json!({ "pairing": { "capacity": 4096 } })));
    site.beside(&[], |field| {
        let who = |number: u32| match number % 4 {
            0 => Who::of(3 + number / 4 % 2).node(),
            _ => Who::of(3 + number % 2).page().scopes(&["read"]),
        };
        let clients: Vec<Who> =
            (0..many).map(|number| who(number).device(&Device::new())).collect();
        let paired: Vec<Who> = clients.iter().map(|who| who.clone().token(TOKEN)).collect();
        let first = together(field, &paired);
        drop(first);
        let mut lines = together(field, &clients);
        all_are_answered(&mut lines, "devices");
    });
    site.holds_memory("devices");
}

/// Answers `count` calls with a text of this size.
fn answer(mut node: Session, device: &Device, count: usize, size: usize) {
    for _ in 0..count {
        let asked = node.event("node.invoke.request");
        let text = json!({ "photo": "x".repeat(size) }).to_string();
        let result =
            json!({ "id": asked["id"], "nodeId": device.id, "ok": true, "payloadJSON": text });
        node.call("node.invoke.result", result).expect("the answer of a node");
    }
}

#[test]
fn photos_of_a_node_lose_no_call_of_others() {
    let site = Site::new();
    let photos = if is_long() { 60 } else { 3 };
    for protocol in [3, 4] {
        let (device, node) = super::pools::node(&site, protocol);
        let invoke = |caller: &mut Session| -> Value {
            let params = json!({ "nodeId": device.id, "command": "system.which", "params": {}, "idempotencyKey": "k" });
            caller.call("node.invoke", params).expect("a photo")
        };
        let mut caller = site.gateway.operator(7 - protocol, &["read", "write"]);
        let mut other = site.gateway.operator(protocol, &["read"]);
        thread::scope(|scope| {
            let serving = scope.spawn(|| answer(node, &device, photos, PHOTO));
            let watching = scope.spawn(|| {
                for _ in 0..photos {
                    let begun = Instant::now();
                    assert!(invoke(&mut caller).to_string().len() > PHOTO);
                    thread::sleep(Duration::from_secs(1).saturating_sub(begun.elapsed()));
                }
            });
            while !watching.is_finished() {
                other.call("health", json!({})).expect("a call of another client");
                thread::sleep(Duration::from_millis(10));
            }
            serving.join().expect("the node");
        });
    }
}
