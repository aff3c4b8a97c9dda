//! Send queues while others cause many events: states are sent at a limited pace and the last one
//! always, answers precede events, and the memory of all queues stays within one budget.

use std::time::{Duration, Instant};

use serde_json::{json, Value};
use support::client::{Device, Got, Session, Who};
use support::gateway::{Gateway, TOKEN};
use support::runner;

use crate::nodes::invoke::{answer, approve, invoke, node, operator};
use crate::nodes::load::{narrow, nothing_waits, MIB};
use crate::owner::owner;

/// Returns how often this event is received until the client is asked something else, and the last
/// payload.
fn received(session: &mut Session, name: &str) -> (usize, Value) {
    session.call("node.list", json!({})).unwrap();
    let mut of_name: Vec<Value> =
        session.kept().filter(|frame| frame["event"] == name).cloned().collect();
    let numbers: Vec<u64> = session.kept().filter_map(|frame| frame["seq"].as_u64()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "a gap in {numbers:?}");
    (of_name.len(), of_name.pop().map_or(Value::Null, |frame| frame["payload"].clone()))
}

/// Connects an app, which the presence list shows.
fn app(gateway: &Gateway, protocol: u32, name: &str) -> Session {
    let who = Who { client: ("openclaw-macos", "ui"), ..Who::of(protocol) };
    gateway.connect(&who.token(TOKEN).device(&Device::new()).name(name)).unwrap()
}

/// Number of events that a pace of one in `ms` allows in this time, with the first and the last.
fn allowed(begun: Instant, ms: u64) -> usize {
    begun.elapsed().as_millis() as usize / ms as usize + 2
}

#[test]
fn presence_is_sent_four_times_a_second_at_most_and_the_last_list_is_complete() {
    let gateway = Gateway::new();
    let mut watchers = [3, 4].map(|protocol| operator(&gateway, protocol, &["read"]));
    watchers.iter_mut().for_each(|one| {
        received(one, "presence");
    });
    std::thread::sleep(Duration::from_millis(600));
    watchers.iter_mut().for_each(|one| {
        received(one, "presence");
        one.forget();
    });
    let begun = Instant::now();
    let mut last = None;
    for count in 0..60 {
        last = Some(app(&gateway, 3 + count % 2, &format!("client {count}")));
    }
    std::thread::sleep(Duration::from_millis(600));
    for watcher in &mut watchers {
        let (count, list) = received(watcher, "presence");
        assert!((2..=allowed(begun, 250)).contains(&count), "{count} in {:?}", begun.elapsed());
        let hosts: Vec<&str> = list["presence"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["host"].as_str().unwrap())
            .collect();
        assert_eq!(hosts.iter().filter(|host| host.starts_with("client")).count(), 1, "{hosts:?}");
        assert!(hosts.contains(&"client 59"), "{hosts:?}");
    }
    drop(last);
}

#[test]
fn first_change_of_presence_is_sent_at_once() {
    let gateway = Gateway::new();
    let mut watcher = operator(&gateway, 4, &["read"]);
    std::thread::sleep(Duration::from_millis(600));
    watcher.call("node.list", json!({})).unwrap();
    watcher.forget();
    let begun = Instant::now();
    let _one = app(&gateway, 3, "one");
    watcher.event("presence");
    assert!(begun.elapsed() < runner::at_most(Duration::from_millis(200)), "{:?}", begun.elapsed());
}

#[test]
fn statistics_of_a_node_and_wake_words_are_sent_once_a_second_and_the_last_arrives() {
    let gateway = Gateway::new();
    let mut watcher = operator(&gateway, 4, &["read"]);
    let mut v3 = operator(&gateway, 3, &["read"]);
    let mut writer = owner(&gateway);
    let mut nodes = [3, 4].map(|protocol| node(&gateway, protocol, &Device::new()));
    let begun = Instant::now();
    for count in 0..300 {
        let host = json!({ "cpuCount": count, "memoryTotalBytes": 2, "memoryFreeBytes": 1 });
        let event = json!({ "event": "node.host.stats", "payload": host });
        nodes[1].call("node.event", event).unwrap();
        writer.call("voicewake.set", json!({ "triggers": [format!("word {count}")] })).unwrap();
    }
    std::thread::sleep(Duration::from_millis(1_200));
    let (count, stats) = received(&mut watcher, "node.hostStats");
    assert!((1..=allowed(begun, 1_000)).contains(&count), "{count} events of statistics");
    assert_eq!(stats["hostStats"]["cpuCount"], 299);
    for session in [&mut watcher, &mut v3] {
        let (count, words) = received(session, "voicewake.changed");
        assert!((1..=allowed(begun, 1_000)).contains(&count), "{count} events of wake words");
        assert_eq!(words, json!({ "triggers": ["word 299"] }));
    }
    for node in &mut nodes {
        node.call("node.event", json!({ "event": "nothing" })).unwrap();
        let words = node.kept().filter(|frame| frame["event"] == "voicewake.changed");
        let words: Vec<Value> = words.map(|frame| frame["payload"].clone()).collect();
        // the first are those of its hello
        assert!((2..=1 + allowed(begun, 1_000)).contains(&words.len()), "{words:?}");
        assert_eq!(words.last(), Some(&json!({ "triggers": ["word 299"] })));
    }
}

#[test]
fn client_that_reads_late_gets_all_answers_and_the_newest_states() {
    for protocol in [3, 4] {
        let gateway = Gateway::new();
        let mut late = operator(&gateway, protocol, &["read"]);
        narrow(&late);
        let mut admin = gateway.admin();
        for count in 0..400 {
            let (id, text) = (format!("machine {}", count % 150), "x".repeat(150));
            let report = json!({
                "text": format!("Node: {count} {text}"), "host": text, "mode": text, "platform": text,
                "instanceId": id, "deviceId": id,
            });
            admin.call("system-event", report).unwrap();
            admin.forget();
        }
        std::thread::sleep(Duration::from_millis(600));
        let calls: Vec<String> = (0..39).map(|_| late.start("health", json!({}))).collect();
        for id in &calls {
            late.answer(id).unwrap_or_else(|failed| panic!("{id}: {}", failed.message()));
        }
        let begun = Instant::now();
        while !late.event("presence").to_string().contains("Node: 399") {
            assert!(begun.elapsed() < runner::patience(), "the last list never arrives");
        }
    }
}

#[test]
fn large_answers_of_slow_clients_share_one_budget_and_readers_are_served() {
    let gateway = Gateway::new();
    let device = Device::new();
    let mut shed = node(&gateway, 4, &device);
    approve(&gateway, &device);
    let mut admin = gateway.admin();
    // ten clients that ask for 12 MB each and read nothing
    let payload = format!("\"{}\"", "x".repeat(6 * MIB as usize));
    let mut silent: Vec<Session> = Vec::new();
    for _ in 0..10 {
        let mut one = operator(&gateway, 4, &["write"]);
        narrow(&one);
        one.start("node.invoke", invoke(&device, "system.which", json!({})));
        answer(&mut shed, &device, &payload);
        silent.push(one);
        admin.call("health", json!({})).unwrap();
    }
    nothing_waits(&mut admin);
    if runner::native() {
        let peak = gateway.memory("VmHWM");
        assert!(peak < 100 * MIB, "{} MiB at the peak", peak / MIB);
    }
    // a client that reads gets as large an answer, after a while if the others began just now
    let mut reader = operator(&gateway, 3, &["write"]);
    let begun = Instant::now();
    let got = loop {
        let call = reader.start("node.invoke", invoke(&device, "system.which", json!({})));
        answer(&mut shed, &device, &payload);
        match reader.answer(&call) {
            Ok(got) => break got,
            Err(failed) => {
                assert_eq!(failed.code(), "UNAVAILABLE", "{}", failed.message());
                assert!(begun.elapsed() < Duration::from_secs(30), "never");
                std::thread::sleep(Duration::from_millis(500));
            }
        }
    };
    assert_eq!(got["payloadJSON"].as_str().unwrap().len(), payload.len());
    gateway.logged(&["slow consumer"]);
    // those whose answer was refused are still connected and have the error
    let mut refused = 0;
    for mut one in silent {
        while let Got::Frame(frame) = one.socket.receive() {
            if frame["type"] == "res" {
                if frame["ok"] == false {
                    assert_eq!(frame["error"]["retryable"], true, "{}", frame["error"]);
                    assert_eq!(frame["error"]["retryAfterMs"], 1000);
                    refused += 1;
                }
                break;
            }
        }
    }
    println!("{refused} answers were refused");
    assert!(refused > 0);
}
