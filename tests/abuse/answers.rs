//! Answers of a client that reads slowly, and turns of a client beside a device with many requests.

use std::io::Read;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::attacks::{node_events, pictures, request, tails, Attack, Line};
use support::client::Session;

use super::site::Site;
use super::{time_of_one, ANSWERED};

/// Calls of the slow reader, and its line.
const CALLS: usize = 39;
const BYTES_A_STEP: usize = 5_000;
const STEP: Duration = Duration::from_millis(50);

/// Answers of an attack for one answer of a client with one connection. Without turns it is the
/// number of its connections, 50.
const OF_OTHERS: u64 = 10;

/// Reads 100 kB/s while it calls; returns the number of answers.
fn slow(mut session: Session, time: Duration) -> usize {
    let mut stream = session.socket.ws.get_ref().0.try_clone().unwrap();
    let narrow = 128 * 1024;
    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, narrow).unwrap();
    stream.set_read_timeout(Some(STEP)).unwrap();
    let (mut seen, mut some, begun) = (Vec::new(), [0; BYTES_A_STEP], Instant::now());
    let answers = |seen: &[u8]| {
        let text = String::from_utf8_lossy(seen).into_owned();
        (1..=CALLS).filter(|at| text.contains(&format!("\"call-{at}\""))).count()
    };
    let mut calls = 0;
    while begun.elapsed() < time + ANSWERED && answers(&seen) < CALLS {
        let due = (begun.elapsed().as_secs_f64() / time.as_secs_f64() * CALLS as f64) as usize;
        while calls < due.min(CALLS) {
            session.start("health", Value::Null);
            calls += 1;
        }
        let count = stream.read(&mut some).unwrap_or(0);
        seen.extend_from_slice(&some[..count]);
        thread::sleep(STEP);
    }
    answers(&seen)
}

#[test]
fn a_slow_reader_beside_a_flooding_node_gets_all_answers() {
    let site = Site::new();
    let time = Duration::from_secs(4).max(time_of_one(1));
    site.beside(&[node_events], |_| {
        thread::sleep(Duration::from_millis(500));
        thread::scope(|scope| {
            let readers = [3, 4].map(|protocol| {
                let session = site.gateway.operator(protocol, &["read"]);
                (protocol, scope.spawn(move || slow(session, time)))
            });
            for (protocol, reader) in readers {
                let answered = reader.join().expect("a slow reader");
                println!("protocol {protocol}: {answered} of {CALLS} calls answered");
                assert_eq!(answered, CALLS, "protocol {protocol}: answers of a slow reader");
            }
        });
    });
    site.holds_memory("events of a node");
}

/// Asserts that one client with one connection gets its turns: both sides always have requests
/// waiting, so that the numbers of answers do not depend on the load of the machine.
fn leaves_turns(name: &str, attack: Attack, protocol: u32) {
    let site = Site::new();
    let health: Arc<[u8]> = request("health", "{}").repeat(64).into();
    let (mine, others) = site.beside(&[attack], |field| {
        // until all connections of the attack are open
        thread::sleep(Duration::from_millis(1500));
        let socket = field.insist(&site.pair(protocol)).expect("a client");
        let mut line = Line::new(socket, health);
        let (begun, before) = (Instant::now(), field.answers.load(Ordering::Relaxed));
        while begun.elapsed() < time_of_one(1) {
            if line.repeat() + line.drain() == 0 {
                thread::sleep(Duration::from_micros(200));
            }
        }
        assert!(line.is_open, "{name}: the client is closed");
        (line.answers, field.answers.load(Ordering::Relaxed) - before)
    });
    println!("{name}: {mine} answers of one client, {others} of the attack");
    site.holds_memory(name);
    assert!(others <= OF_OTHERS * mine, "{name}: {others} answers of the attack, {mine} others");
}

#[test]
fn reads_of_the_log_leave_turns() {
    leaves_turns("logs.tail", tails, 3);
}

#[test]
fn pictures_leave_turns() {
    leaves_turns("setup codes", pictures, 4);
}
