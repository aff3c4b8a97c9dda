//! Presence and other events: coalesced, written once, and never kept for a client that reads none.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use support::attacks::{node_events, reconnects, unread_presence, Attack};
use support::client::Got;

use super::site::Site;
use super::time_of_one;

const OPERATORS: u32 = 300;
/// Presence events of one client in a second.
const A_SECOND: u32 = 4;
/// Bytes of events for all operators together, for each byte that causes them.
const AMPLIFIED: u64 = 400;

#[test]
fn clients_that_read_no_presence_cost_bounded_memory_which_is_given_back() {
    let site = Site::new();
    println!("unread presence: {}", site.under(&[unread_presence], time_of_one(1)));
    site.holds_memory("unread presence");
    site.gives_back("unread presence");
}

#[test]
fn presence_is_coalesced_to_four_events_a_second() {
    let site = Site::new();
    let time = time_of_one(1);
    for protocol in [3, 4] {
        let mut reader = site.gateway.operator(protocol, &["read"]);
        let (events, took) = site.beside(&[reconnects], |_| {
            let begun = Instant::now();
            let mut events = 0;
            while begun.elapsed() < time {
                match reader.socket.receive() {
                    Got::Frame(frame) => events += u32::from(frame["event"] == "presence"),
                    Got::Closed(code, reason) => panic!("a client that reads: {code} {reason}"),
                }
            }
            (events, begun.elapsed())
        });
        println!("presence, protocol {protocol}: {events} events in {took:?}");
        let most = A_SECOND * (took.as_secs_f64().ceil() as u32) + 2;
        assert!((1..=most).contains(&events), "{events} presence events in {took:?}");
    }
}

#[test]
fn an_event_for_300_operators_is_no_lever() {
    let site = Site::new();
    let attacks: [(&str, Attack); 2] = [("reconnects", reconnects), ("node events", node_events)];
    let mut lines = site.beside(&[], |field| field.operators(OPERATORS)).expect("operators");
    // more than the greatest interval between two events for so many
    let time = Duration::from_secs(4).max(time_of_one(2));
    for (name, attack) in attacks {
        thread::sleep(Duration::from_millis(500));
        lines.iter_mut().for_each(|line| _ = line.drain());
        let before: u64 = lines.iter().map(|line| line.received).sum();
        let sent = site.beside(&[attack], |field| {
            let begun = Instant::now();
            while begun.elapsed() < time {
                lines.iter_mut().for_each(|line| _ = line.drain());
                thread::sleep(Duration::from_millis(1));
            }
            field.sent.load(Ordering::Relaxed)
        });
        let received = lines.iter().map(|line| line.received).sum::<u64>() - before;
        println!("{name}: {received} B to {OPERATORS} operators for {sent} B");
        assert!(lines.iter().all(|line| line.is_open), "{name}: an operator that reads is closed");
        assert!(received <= AMPLIFIED * sent, "{name}: {} B for each byte", received / sent.max(1));
    }
}
