//! WebSockets that are opened and end without a connect request: log, counter and `gatelet explain
//! --last`.

use std::io::Write;

use serde_json::{json, Value};
use support::client::{Dial, Socket, Who};
use support::gateway::Gateway;
use support::runner::{patience, wait_for};

use super::metrics::Scrape;

/// A way in which a WebSocket ends before its connect request.
struct Row {
    name: &'static str,
    cause: &'static str,
    end: fn(Dial),
}

const ROWS: &[Row] = &[
    Row { name: "closed", cause: "left", end: |dial| closed(greeted(&dial)) },
    Row {
        name: "closed at once",
        cause: "left",
        end: |dial| dial.tcp().write_all(dial.upgrade().as_bytes()).unwrap(),
    },
    Row { name: "connection lost", cause: "left", end: |dial| drop(greeted(&dial)) },
    Row {
        name: "pinged and lost",
        cause: "left",
        end: |dial| sends(&mut greeted(&dial), &[0x89, 0x80, 0, 0, 0, 0]),
    },
    Row { name: "silent", cause: "timeout", end: |dial| ends(greeted(&dial), 1008) },
    Row {
        name: "too large",
        cause: "invalid message",
        end: |dial| {
            let mut socket = greeted(&dial);
            socket.text(&"x".repeat(70_000));
            ends(socket, 1009);
        },
    },
    Row {
        name: "not masked",
        cause: "invalid message",
        end: |dial| {
            let mut socket = greeted(&dial);
            sends(&mut socket, &[0x81, 0x01, b'x']);
            ends(socket, 1002);
        },
    },
];

fn greeted(dial: &Dial) -> Socket {
    let mut socket = dial.open();
    socket.challenge();
    socket
}

fn sends(socket: &mut Socket, bytes: &[u8]) {
    socket.ws.get_mut().write_all(bytes).unwrap();
}

/// Closes the WebSocket and waits until the gateway has closed it, too.
fn closed(mut socket: Socket) {
    let _ = socket.ws.close(None);
    socket.closed();
}

fn ends(mut socket: Socket, code: u16) {
    assert_eq!(socket.closed().0, code);
}

fn count(gateway: &Gateway, cause: &str) -> f64 {
    Scrape::of(gateway)
        .find("gatelet_handshakes_without_connect_total", "cause", cause)
        .expect("the cause is counted")
}

fn counted(gateway: &Gateway, cause: &str, wanted: f64) {
    let is_there = || (count(gateway, cause) == wanted).then_some(());
    wait_for(patience(), is_there, || format!("{cause} {wanted}: {}", gateway.log()));
}

fn explained(gateway: &Gateway) -> Vec<Value> {
    let mut admin = gateway.admin();
    let told = admin.call("gatelet.refusals", json!({})).unwrap();
    told["refusals"].as_array().unwrap().clone()
}

#[test]
fn websockets_without_connect_are_logged_counted_and_explained() {
    let gateway = Gateway::new();
    for Row { name, cause, end } in ROWS {
        let before = count(&gateway, cause);
        end(gateway.dial());
        counted(&gateway, cause, before + 1.0);
        let entry = &explained(&gateway)[0];
        assert_eq!(entry["code"], "NO_CONNECT_REQUEST", "{name}: {entry}");
        assert!(entry["hint"].as_str().unwrap().starts_with("check "), "{name}: {entry}");
        let message = entry["message"].as_str().unwrap();
        gateway.logged(&[&format!("warn {cause} conn="), "peer=127.0.0.1", message]);
    }
    let text = gateway.plan.good(&["explain", "--last"]);
    for part in ["NO_CONNECT_REQUEST", "no connect request came", "hint  check "] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn websockets_without_connect_are_logged_once_per_peer_and_kept_once() {
    let gateway = Gateway::new();
    gateway.dial().connect(&Who::v4().token("wrong")).unwrap_err();
    for _ in 0..100 {
        closed(greeted(&gateway.dial()));
    }
    counted(&gateway, "left", 100.0);
    assert_eq!(gateway.log().matches("the client left before").count(), 1, "{}", gateway.log());
    assert_eq!(explained(&gateway).len(), 2);
}

/// Ends by the gateway, and those of clients that sent a connect request, are not counted.
#[test]
fn other_ends_are_not_taken_for_missing_requests() {
    let gateway = Gateway::new();
    let open = greeted(&gateway.dial());
    for who in [Who::v3().token("wrong"), Who::v4().token("wrong")] {
        gateway.dial().connect(&who).unwrap_err();
    }
    gateway.admin().leave();
    greeted(&gateway.dial()).text("{}");
    let total =
        || ["timeout", "left", "invalid message"].iter().map(|cause| count(&gateway, cause));
    assert_eq!(total().sum::<f64>(), 0.0, "{}", gateway.log());
    gateway.terminate();
    assert_eq!({ open }.closed().0, 1012);
    assert!(!gateway.log().contains("within an hour"), "{}", gateway.log());
}
