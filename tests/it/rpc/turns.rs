//! Turns of the event loop: a device with many connections and requests does not delay others.

use std::io::Read;

use serde_json::{json, Value};
use support::client::{Device, Session, Who};
use support::gateway::{Gateway, TOKEN};
use tungstenite::Message;

/// Connections of the device that floods, and requests on each.
const CONNECTIONS: usize = 30;
const FLOOD: usize = 600;
/// Requests of the other client.
const OWN: usize = 400;

/// Sends requests at once, without reading.
fn send_many(session: &mut Session, count: usize) {
    let request = json!({ "type": "req", "id": "many", "method": "health", "params": {} });
    for _ in 0..count {
        session.socket.ws.write(Message::text(request.to_string())).unwrap();
    }
    session.socket.ws.flush().unwrap();
}

/// Returns how many responses have arrived and were not counted yet.
fn arrived(sessions: &[Session]) -> usize {
    let mut bytes = vec![0; 1 << 16];
    let mut count = 0;
    for session in sessions {
        let mut stream = &session.socket.ws.get_ref().0;
        stream.set_nonblocking(true).unwrap();
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..read]);
            count += text.matches(r#""id":"many""#).count();
        }
        stream.set_nonblocking(false).unwrap();
    }
    count
}

#[test]
fn a_client_gets_as_many_turns_as_a_device_with_thirty_connections() {
    let gateway = Gateway::new();
    for (protocol, other) in [(3, Who::v4()), (4, Who::v3()), (4, Who::v4().node())] {
        let mut single = gateway.connect(&other.token(TOKEN).device(&Device::new())).unwrap();
        let device = Device::new();
        let who = Who::of(protocol).token(TOKEN).device(&device);
        let mut flood: Vec<Session> =
            (0..CONNECTIONS).map(|_| gateway.connect(&who).unwrap()).collect();
        flood.iter_mut().for_each(|session| send_many(session, FLOOD));
        send_many(&mut single, OWN);
        let before = arrived(&flood);
        let mut left = OWN;
        while left > 0 {
            let frame: Value = single.socket.frame();
            left -= usize::from(frame["id"] == "many");
        }
        let others = arrived(&flood);
        // about as many as its own; 30 times as many if all connections had turns in order
        assert!(others < OWN * CONNECTIONS / 2, "{others} responses to others, {before} before");
    }
}
