//! One connection: invalid frames, limits, scopes, order of events, close, and plain HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use support::client::{Device, Got, Patient, Refused, Session, Socket, Who};
use support::gateway::{in_a_namespace, Gateway, Plan, TOKEN};
use support::runner::{at_most, until};
use tungstenite::Message;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Returns a frame as sent over the wire, masked with zeros.
fn raw(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ ..=125 => frame.push(0x80 | len as u8),
        len @ ..=65535 => frame.extend([0xfe, (len >> 8) as u8, len as u8]),
        len => {
            frame.push(0xff);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}

fn challenged(gateway: &Gateway) -> (Socket, String) {
    let mut socket = gateway.dial().open();
    let nonce = socket.challenge();
    (socket, nonce)
}

/// Sends a first message and returns how it is rejected.
fn turned_away(gateway: &Gateway, first: &str) -> Refused {
    let (mut socket, _) = challenged(gateway);
    socket.text(first);
    socket.greeted().unwrap_err()
}

#[test]
fn first_message_other_than_connect_is_rejected_and_closed() {
    let gateway = Gateway::new();
    let long = format!("[{}", "[".repeat(40_000));
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    for text in [
        "",
        "hello",
        "{",
        "null",
        "[]",
        "{}",
        r#"{"type":"req"}"#,
        r#"{"type":"event","event":"x"}"#,
        &long,
        &deep,
    ] {
        let refused = turned_away(&gateway, text);
        assert_eq!(
            (refused.close, refused.reason.as_str()),
            (1008, "invalid request frame"),
            "{text:.40}"
        );
        assert_eq!(refused.error, Value::Null, "there is no request to answer");
    }
    let other = turned_away(&gateway, r#"{"type":"req","id":"7","method":"health","params":{}}"#);
    assert_eq!(
        (other.close, other.reason.as_str()),
        (1008, "invalid handshake: first request must be connect")
    );
    assert_eq!((other.code(), &other.error["message"]), ("CONNECT_REQUIRED", &json!(other.reason)));
    gateway.admin();
}

#[test]
fn invalid_connect_parameters_are_reported_with_the_protocol_texts() {
    let gateway = Gateway::new();
    let good = Who::v4().token(TOKEN);
    for (patch, text) in [
        (json!({ "minProtocol": null }), "must have required property 'minProtocol'"),
        (json!({ "minProtocol": 0 }), "at /minProtocol: must be >= 1"),
        (json!({ "maxProtocol": "4" }), "at /maxProtocol: must be integer"),
        (json!({ "maxProtocol": 4.5 }), "at /maxProtocol: must be integer"),
        (json!({ "client": null }), "must have required property 'client'"),
        (json!({ "client": { "id": null } }), "at /client: must have required property 'id'"),
        (
            json!({ "client": { "id": "toaster" } }),
            "at /client/id: must be equal to one of the allowed values",
        ),
        (
            json!({ "client": { "mode": 1 } }),
            "at /client/mode: must be equal to one of the allowed values",
        ),
        (
            json!({ "client": { "version": "" } }),
            "at /client/version: must NOT have fewer than 1 characters",
        ),
        (json!({ "client": { "platform": {} } }), "at /client/platform: must be string"),
        (json!({ "scopes": "all" }), "at /scopes: must be array"),
        (json!({ "scopes": [1] }), "at /scopes/0: must be string"),
        (json!({ "auth": [] }), "at /auth: must be object"),
        (json!({ "auth": { "token": 5 } }), "at /auth/token: must be string"),
        (json!({ "device": {} }), "at /device: must have required property 'id'"),
    ] {
        let refused = gateway.connect(&good.clone().patch(patch)).unwrap_err();
        assert_eq!(
            (refused.code(), refused.rule(), refused.close),
            ("INVALID_CONNECT_PARAMS", "1", 1008)
        );
        let message = refused.error["message"].as_str().unwrap();
        assert!(
            message.starts_with(&format!("invalid connect params: {text}")),
            "{message} for {text}"
        );
        assert!(
            refused.reason.len() <= 120 && message.starts_with(&refused.reason),
            "{}",
            refused.reason
        );
    }
    let many = json!({ "minProtocol": null, "client": { "id": 1, "mode": null, "version": null, "platform": null } });
    let refused = gateway.connect(&good.clone().patch(many)).unwrap_err();
    assert!(
        refused.error["message"].as_str().unwrap().matches("; ").count() >= 4,
        "all at once: {}",
        refused.error
    );
    assert_eq!(refused.reason.len(), 120, "{}", refused.reason);
    let extra = json!({ "futureField": { "a": [1] }, "client": { "more": 1 }, "auth": { "bootstrapToken": null, "approval": 1 } });
    gateway.connect(&good.patch(extra)).expect("unknown members are ignored");
}

#[test]
fn frame_limit_is_64_kib_before_hello_and_25_mib_after_it() {
    let gateway = Gateway::new();
    let padded = |pad: usize, nonce: &str| {
        let mut params = Who::v4().token(TOKEN).params(nonce);
        params["userAgent"] = "".into();
        params["pad"] = "".into();
        let request = |params: &Value| {
            json!({ "type": "req", "id": "connect-1", "method": "connect", "params": params })
                .to_string()
        };
        let bare = request(&params).len();
        params["pad"] = "x".repeat(pad - bare).into();
        request(&params)
    };
    let (mut socket, nonce) = challenged(&gateway);
    socket.text(&padded(64 * KIB, &nonce));
    socket.greeted().expect("exactly 64 KiB");
    for pieces in [1, 4] {
        let (mut socket, nonce) = challenged(&gateway);
        let text = padded(64 * KIB + 1, &nonce);
        for (at, part) in text.as_bytes().chunks(text.len().div_ceil(pieces)).enumerate() {
            let opcode = if at == 0 { 1 } else { 0 };
            let fin = if at + 1 == pieces { 0x80 } else { 0 };
            let _ = socket.ws.get_mut().write_all(&raw(fin | opcode, part));
        }
        assert_eq!(
            socket.closed(),
            (1009, "payload too large".into()),
            "one byte more, in {pieces} pieces"
        );
    }

    let mut session = gateway.admin();
    let big = |len: usize| {
        format!(
            "{{\"type\":\"req\",\"id\":\"big\",\"method\":\"health\",\"params\":{{\"pad\":\"{}\"}}}}",
            "x".repeat(len - 64)
        )
    };
    let exact = big(25 * MIB + 64 - big(64).len());
    assert_eq!(exact.len(), 25 * MIB);
    session.socket.text(&exact);
    let answer = loop {
        match session.socket.frame() {
            frame if frame["type"] == "res" => break frame,
            _ => {}
        }
    };
    // A frame of the limit is read, but `health` takes no such parameters.
    assert_eq!((&answer["id"], &answer["ok"]), (&json!("big"), &json!(false)));
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("health takes at most 524288 bytes"), "{message}");
    session.socket.text(&(exact + " "));
    assert_eq!(session.closed(), (1009, "payload too large".into()));
    gateway.admin();
}

#[test]
fn binary_and_fragmented_frames_are_accepted_and_invalid_frames_close() {
    let gateway = Gateway::new();
    let request = |nonce: &str| {
        json!({ "type": "req", "id": "connect-1", "method": "connect", "params": Who::v4().token(TOKEN).params(nonce) })
            .to_string()
    };
    let (mut socket, nonce) = challenged(&gateway);
    socket.ws.send(Message::binary(request(&nonce))).unwrap();
    let mut session = socket.greeted().expect("binary");
    let call = br#"{"type":"req","id":"b","method":"health"}"#;
    session.socket.ws.send(Message::binary(call.to_vec())).unwrap();
    assert_eq!(session.socket.frame()["id"], "b");

    let (mut socket, nonce) = challenged(&gateway);
    let text = request(&nonce);
    let (first, rest) = text.as_bytes().split_at(50);
    for part in [raw(0x01, first), raw(0x89, b"between"), raw(0x80, rest)] {
        socket.ws.get_mut().write_all(&part).unwrap();
    }
    socket.greeted().expect("in two pieces with a ping between");

    for (frame, code) in [
        (raw(0x81, b"{\"a\":\"\xff\xfe\"}"), 1007),
        (raw(0x81, b"\xed\xa0\x80"), 1007),
        (raw(0x83, b"x"), 1002),
        (raw(0xc1, b"{}"), 1002),
        (raw(0x80, b"{}"), 1002),
        (vec![0x81, 0x02, b'{', b'}'], 1002),
    ] {
        let (mut socket, _) = challenged(&gateway);
        socket.ws.get_mut().write_all(&frame).unwrap();
        assert_eq!(socket.closed().0, code, "{frame:?} before hello");
        let mut session = gateway.admin();
        session.socket.ws.get_mut().write_all(&frame).unwrap();
        assert_eq!(session.closed().0, code, "{frame:?} after hello");
    }
    let (mut socket, _) = challenged(&gateway);
    socket.ws.get_mut().write_all(&raw(0x82, b"\xff")).unwrap();
    assert_eq!(socket.closed(), (1008, "invalid request frame".into()), "binary that is no text");
}

#[test]
fn invalid_requests_after_hello_keep_the_connection_open() {
    let gateway = Gateway::new();
    let mut session = gateway.admin();
    let mut answer = |text: &str| {
        session.socket.text(text);
        session.socket.frame()
    };
    let frame = answer(r#"{"type":"req","id":"x","method":""}"#);
    assert_eq!((&frame["id"], &frame["error"]["code"]), (&json!("x"), &json!("INVALID_REQUEST")));
    assert_eq!(
        frame["error"]["message"],
        "invalid request frame: at /method: must NOT have fewer than 1 characters"
    );
    let frame = answer(r#"{"type":"res"}"#);
    assert_eq!(frame["id"], "invalid");
    let message = "invalid request frame: at /type: must be equal to constant; must have required property 'id'; \
                   must have required property 'method'";
    assert_eq!(frame["error"]["message"], message);
    for rubbish in ["", "{", "nonsense", "[1"] {
        session.socket.text(rubbish);
    }
    let failed = session.call("connect", json!({})).unwrap_err();
    assert_eq!(
        (failed.code(), failed.message()),
        ("INVALID_REQUEST", "connect is only valid as the first request")
    );
    let failed = session.call("no.such.method", json!({})).unwrap_err();
    assert_eq!(
        (failed.code(), failed.message()),
        ("INVALID_REQUEST", "unknown method: no.such.method")
    );
    let failed = session.call("device.pair.approve", json!({ "id": 1 })).unwrap_err();
    let text = "invalid device.pair.approve params: must have required property 'requestId'; at root: unexpected property 'id'";
    assert_eq!((failed.code(), failed.message()), ("INVALID_REQUEST", text));
    let failed = session.call("device.pair.list", json!([])).unwrap_err();
    assert_eq!(failed.message(), "invalid device.pair.list params: must be object");
    session.call("health", Value::Null).expect("null is no parameters");
}

#[test]
fn missing_scope_is_named_in_the_error() {
    let gateway = Gateway::new();
    for (protocol, code) in [(3, "INVALID_REQUEST"), (4, "FORBIDDEN")] {
        let mut reader = gateway.operator(protocol, &["read"]);
        reader.call("status", json!({})).unwrap();
        for (method, scope) in
            [("device.pair.list", "operator.pairing"), ("no.such.method", "operator.admin")]
        {
            let failed = reader.call(method, json!({})).unwrap_err();
            assert_eq!(
                (failed.code(), failed.message()),
                (code, format!("missing scope: {scope}").as_str())
            );
            assert_eq!(
                failed.0["details"],
                json!({ "code": "MISSING_SCOPE", "missingScope": scope, "requiredScopes": [scope] })
            );
        }
        for _ in 0..30 {
            reader.call("device.pair.list", json!({})).unwrap_err();
        }
        let mut writer = gateway.operator(protocol, &["write"]);
        writer.call("status", json!({})).expect("write covers read");
    }
    let mut unscoped = gateway.operator(4, &[]);
    assert_eq!(
        unscoped.call("status", json!({})).unwrap_err().message(),
        "missing scope: operator.read"
    );
    let mut all = gateway.operator(3, &[]);
    all.call("device.pair.list", json!({})).expect("protocol 3 means admin when it names none");
}

#[test]
fn client_admitted_by_its_device_manages_only_itself_without_admin() {
    let gateway = Gateway::new();
    let (one, two) = (Device::new(), Device::new());
    let who = Who::v4().scopes(&["read", "pairing"]);
    gateway.connect(&who.clone().token(TOKEN).device(&two)).unwrap();
    let code = gateway.narrow_code("read,pairing");
    // Once by the code that pairs its key, then by the key alone.
    for auth in [json!({ "bootstrapToken": code }), Value::Null] {
        only_itself(
            gateway.connect(&Who { auth, ..who.clone().device(&one) }).unwrap(),
            &one,
            &two,
        );
    }
}

fn only_itself(mut own: Session, one: &Device, two: &Device) {
    let list = own.call("device.pair.list", json!({})).unwrap();
    let ids: Vec<_> = list["paired"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| device["deviceId"].clone())
        .collect();
    assert_eq!(ids, [json!(one.id)]);
    for (method, params) in [
        ("device.pair.remove", json!({ "deviceId": two.id })),
        ("device.pair.rename", json!({ "deviceId": two.id, "label": "x" })),
        ("device.token.rotate", json!({ "deviceId": two.id, "role": "operator" })),
        ("device.token.revoke", json!({ "deviceId": two.id, "role": "operator" })),
        ("device.pair.approve", json!({ "requestId": two.id })),
    ] {
        let failed = own.call(method, params).unwrap_err();
        assert!(failed.message().ends_with("denied"), "{method}: {failed:?}");
    }
    own.call("device.pair.rename", json!({ "deviceId": one.id, "label": "mine" })).unwrap();
    let wider = json!({ "deviceId": one.id, "role": "operator", "scopes": ["operator.admin"] });
    own.call("device.token.rotate", wider).unwrap_err();
}

#[test]
fn node_is_closed_after_repeated_unauthorized_calls() {
    let gateway = Gateway::new();
    for protocol in [3, 4] {
        let mut node =
            gateway.connect(&Who::of(protocol).node().token(TOKEN).device(&Device::new())).unwrap();
        node.call("health", json!({})).unwrap();
        for _ in 0..11 {
            let failed = node.call("device.pair.list", json!({})).unwrap_err();
            assert_eq!(
                (failed.code(), failed.message()),
                ("INVALID_REQUEST", "unauthorized role: node")
            );
        }
        assert_eq!(node.closed(), (1008, "repeated unauthorized calls".into()));
    }
}

#[test]
fn unknown_roles_and_protocol_versions_are_rejected() {
    let gateway = Gateway::new();
    let refused =
        gateway.connect(&Who { role: Some("emperor"), ..Who::v4().token(TOKEN) }).unwrap_err();
    assert_eq!(
        (refused.code(), refused.rule(), refused.reason.as_str()),
        ("INVALID_ROLE", "3", "invalid role")
    );
    for range in [(1, 2), (5, 9), (4, 3)] {
        let refused =
            gateway.connect(&Who { protocol: range, ..Who::v4().token(TOKEN) }).unwrap_err();
        assert_eq!(
            (refused.code(), refused.close, refused.reason.as_str()),
            ("PROTOCOL_MISMATCH", 1002, "protocol mismatch")
        );
        assert_eq!(refused.error["details"]["expectedProtocol"], 4);
    }
    for (range, spoken) in [((1, 3), 3), ((3, 4), 4), ((3, 99), 4), ((1, u32::MAX), 4)] {
        let session = gateway.connect(&Who { protocol: range, ..Who::v4().token(TOKEN) }).unwrap();
        assert_eq!(session.hello["protocol"], spoken, "{range:?}");
    }
    let no_role = Who { role: None, ..Who::v4().token(TOKEN).device(&Device::new()) };
    gateway.connect(&no_role).expect("no role is operator, in the signature too");
}

#[test]
fn pings_are_answered_at_every_stage() {
    let gateway = Gateway::new();
    let pong = |socket: &mut Socket, payload: &'static [u8]| {
        socket.ws.send(Message::Ping(payload.into())).unwrap();
        loop {
            match socket.ws.read().unwrap() {
                Message::Pong(bytes) => break assert_eq!(&bytes[..], payload),
                Message::Text(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let (mut socket, _) = challenged(&gateway);
    pong(&mut socket, b"before hello");
    let mut session = gateway.admin();
    pong(&mut session.socket, b"");
    pong(&mut session.socket, &[7; 125]);
    session.call("health", json!({})).unwrap();
}

#[test]
fn stop_sends_shutdown_and_closes_all_connections_with_1012() {
    let gateway = Gateway::new();
    let mut sessions: Vec<_> =
        [3, 4].map(|protocol| gateway.connect(&Who::of(protocol).token(TOKEN)).unwrap()).into();
    sessions.push(gateway.connect(&Who::v4().node().token(TOKEN).device(&Device::new())).unwrap());
    let (mut waiting, _) = challenged(&gateway);
    let mut silent = gateway.dial().tcp();
    let not_reading = gateway.admin();
    let begun = Instant::now();
    gateway.terminate();
    for session in &mut sessions {
        let event = session.event("shutdown");
        assert_eq!(
            (&event["reason"], &event["restartExpectedMs"]),
            (&json!("gateway stopping"), &Value::Null)
        );
        assert_eq!(session.closed(), (1012, "service restart".into()));
    }
    assert_eq!(waiting.closed(), (1012, "service restart".into()));
    gateway.stop();
    assert!(
        begun.elapsed() < at_most(Duration::from_secs(3)),
        "a silent client does not delay the stop: {:?}",
        begun.elapsed()
    );
    assert_eq!(silent.read(&mut [0; 16]).unwrap_or(0), 0);
    drop(not_reading);
}

#[test]
fn presence_has_the_format_of_each_protocol_and_events_are_numbered_per_client() {
    let gateway = Gateway::new();
    let mut sessions =
        [3, 4].map(|protocol| gateway.connect(&Who::of(protocol).token(TOKEN)).unwrap());
    let device = Device::new();
    let page = Who::v4()
        .page()
        .token(TOKEN)
        .device(&device)
        .name("Kitchen")
        .patch(json!({ "client": { "instanceId": "i-1" } }));
    for round in 0..20 {
        let joined = gateway.dial().page("127.0.0.1:8080").connect(&page).unwrap();
        for (session, protocol) in sessions.iter_mut().zip([3, 4]) {
            let list = session.event("presence")["presence"].clone();
            let [own, entry] = &list.as_array().unwrap()[..] else { panic!("{list}") };
            assert_eq!((&own["mode"], &own["reason"]), (&json!("gateway"), &json!("self")));
            let mut wanted = json!({
                "host": "Kitchen", "mode": "webchat", "reason": "connect", "platform": "linux", "version": "1.2.3", "deviceId": device.id,
                "roles": ["operator"], "scopes": ["operator.admin"], "instanceId": "i-1",
                "text": "Node: Kitchen \u{b7} app 1.2.3 \u{b7} mode webchat \u{b7} reason connect", "ts": entry["ts"],
            });
            if protocol == 4 {
                wanted["clientId"] = "openclaw-control-ui".into();
                wanted["onlineSince"] = entry["ts"].clone();
            }
            assert_eq!(entry, &wanted);
            assert_eq!(session.call("system-presence", json!({})).unwrap(), list);
        }
        joined.leave();
        for session in &mut sessions {
            assert_eq!(
                session.event("presence")["presence"].as_array().unwrap().len(),
                1,
                "disconnected again in round {round}"
            );
        }
    }
    let mut scopeless = gateway.operator(4, &[]);
    gateway.dial().page("127.0.0.1").connect(&page).unwrap().leave();
    scopeless.call("status", json!({})).unwrap_err();
    assert_eq!(scopeless.kept().count(), 0, "protocol 4 shows presence to those who may read");
}

#[test]
fn slow_consumer_is_closed_without_delaying_others() {
    let gateway = Gateway::new();
    let origin = format!("http://{}.example", "x".repeat(100));
    for _ in 0..64 {
        gateway.dial().origin(&origin).connect(&Who::v4().page()).unwrap_err();
    }
    let mut watcher = gateway.admin();
    let mut slow = gateway.admin();
    assert_eq!(watcher.status()["connections"], 2);
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut open = 2;
    // each response is some 30 KiB, and none of them is read
    for _ in 0..200 {
        for _ in 0..20 {
            slow.start("gatelet.refusals", json!({}));
        }
        let asked = Instant::now();
        open = watcher.status()["connections"].as_u64().unwrap();
        slowest = slowest.max(asked.elapsed());
        if open == 1 {
            break;
        }
    }
    while open != 1 {
        assert!(
            begun.elapsed() < at_most(Duration::from_secs(15)),
            "the slow consumer is still connected"
        );
        open = watcher.status()["connections"].as_u64().unwrap();
        thread::sleep(Duration::from_millis(20));
    }
    assert!(slowest < at_most(Duration::from_secs(5)), "others waited {slowest:?}");
    assert!(
        matches!(slow.closed().0, 1008 | 1006),
        "it receives what the system buffered, then the close"
    );
}

/// Returns a TCP connection that sent `bytes` and then stays silent.
fn silent(gateway: &Gateway, bytes: &str) -> TcpStream {
    let mut stream = gateway.dial().tcp();
    stream.write_all(bytes.as_bytes()).unwrap();
    stream
}

fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    loop {
        match stream.read(&mut [0; 512]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn silent_sockets_are_evicted_oldest_first_without_blocking_valid_clients() {
    let gateway = Gateway::new();
    let mut session = gateway.admin();
    let upgrade = gateway.dial().upgrade();
    let half = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgr";
    for bytes in ["", half, upgrade.as_str()] {
        let mut crowd: Vec<_> = (0..300).map(|_| silent(&gateway, bytes)).collect();
        let valid = gateway
            .connect(&Who::v4().token(TOKEN).device(&Device::new()))
            .expect("a valid client among them is admitted");
        assert!(gateway.dial().is_ready());
        let begun = Instant::now();
        while !is_closed(&mut crowd[43]) && begun.elapsed() < at_most(Duration::from_secs(5)) {
            thread::sleep(Duration::from_millis(5));
        }
        let closed: Vec<bool> = crowd.iter_mut().map(is_closed).collect();
        let oldest = closed.iter().take_while(|closed| **closed).count();
        let all = closed.iter().filter(|closed| **closed).count();
        assert_eq!(oldest, all, "only the oldest were evicted");
        assert!((44..=48).contains(&all), "{all} of 300 were evicted");
        drop(crowd);
        valid.leave();
        session.call("health", json!({})).expect("admitted clients stay connected");
    }
}

#[test]
fn one_address_cannot_crowd_out_the_others() {
    let name = "handshake::session::one_address_cannot_crowd_out_the_others";
    if !in_a_namespace(name, "sixty four of one hundred are left") {
        return;
    }
    let gateway = Plan::with(json!({ "bind": "lan" })).start();
    let dial = |from: &str| gateway.dial().from(from);
    let other = dial("192.168.1.20").tcp();
    let mut crowd: Vec<_> = (0..100).map(|_| dial("172.18.0.1").tcp()).collect();
    dial("172.18.0.1")
        .connect(&Who::v4().token(TOKEN))
        .expect("a valid client at the same address is admitted");
    let mut left = || crowd.iter_mut().map(is_closed).filter(|closed| !closed).count();
    until(|| left() <= 64, || "more than sixty four connections are left".into());
    assert!(left() >= 62, "{} of one hundred are left", left());
    let mut other = other;
    assert!(!is_closed(&mut other), "connections of the other address stay open");
    println!("sixty four of one hundred are left");
}

/// Returns whether at least `millis` have passed since before the gateway was started, and at most
/// 5 seconds more since it was ready.
fn around(millis: u64, (before, begun): (Instant, Instant)) -> bool {
    let late = Duration::from_millis(millis) + at_most(Duration::from_secs(5));
    before.elapsed() >= Duration::from_millis(millis) && begun.elapsed() < late
}

#[test]
fn silent_connections_time_out_and_admitted_ones_get_ticks() {
    let before = Instant::now();
    let gateway = Gateway::new();
    let begun = Instant::now();
    let clocks = (before, begun);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut socket, _) = challenged(&gateway);
            let reason = "handshake timeout: no connect request came in time";
            assert_eq!(socket.closed(), (1008, reason.into()));
            assert!(around(15_000, clocks), "{:?}", begun.elapsed());
        });
        for bytes in ["", "GET / HTTP/1.1\r\nHost: x\r\n"] {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut stream = silent(gateway, bytes);
                assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0, "no head, no answer");
                assert!(around(15_000, clocks), "{:?}", begun.elapsed());
            });
        }
        scope.spawn(|| {
            let mut stream = gateway.dial().tcp();
            while begun.elapsed() < at_most(Duration::from_secs(18))
                && stream.write_all(b"x").is_ok()
            {
                thread::sleep(Duration::from_millis(300));
            }
            assert!(
                begun.elapsed() < Duration::from_secs(15) + at_most(Duration::from_secs(2)),
                "sending byte by byte does not extend the timeout: {:?}",
                begun.elapsed()
            );
        });
        for protocol in [3, 4] {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut session = gateway
                    .connect(&Who::of(protocol).node().token(TOKEN).device(&Device::new()))
                    .unwrap();
                let tick = session.event("tick");
                assert!(
                    tick["ts"].as_u64().unwrap() > 1_600_000_000_000
                        && tick.as_object().unwrap().len() == 1,
                    "{tick}"
                );
                assert!(around(30_000, clocks), "{:?}", begun.elapsed());
            });
        }
        scope.spawn(|| {
            // a connected client that answers no ping: silent at 25 s, closed at 50 s; this test
            // checks only that it is pinged
            let session = gateway.admin();
            let mut stream = Patient(session.socket.ws.get_ref().0.try_clone().unwrap());
            let mut seen = Vec::new();
            while !seen.windows(2).any(|two| two == [0x89, 0x00]) {
                let mut part = [0; 512];
                let count = stream.read(&mut part).unwrap();
                assert!(count > 0);
                seen.extend_from_slice(&part[..count]);
            }
            assert!(around(25_000, clocks), "{:?}", begun.elapsed());
        });
    });
    let (mut socket, _) = challenged(&gateway);
    assert!(
        matches!(
            {
                socket.text("x");
                socket.receive()
            },
            Got::Closed(1008, _)
        ),
        "and the gateway goes on"
    );
}

#[test]
fn plain_http_serves_the_page_and_probes_and_rejects_other_requests() {
    let gateway = Gateway::new();
    let dial = gateway.dial();
    let status = |answer: &str| answer.split(' ').nth(1).unwrap_or("").to_string();
    let body = |answer: &str| {
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_string()).unwrap_or_default()
    };
    for path in ["/healthz", "/health"] {
        assert_eq!(body(&dial.get(path)), r#"{"ok":true,"status":"live"}"#);
    }
    for path in ["/readyz", "/ready", "/startupz", "/startup", "/readyz?x=1"] {
        assert_eq!(body(&dial.get(path)), r#"{"ready":true}"#);
    }
    let page = dial.get("/");
    assert_eq!(status(&page), "200");
    for header in [
        "Content-Security-Policy: default-src 'none'",
        "X-Content-Type-Options: nosniff",
        "X-Frame-Options: DENY",
    ] {
        assert!(page.contains(header), "{header}: {page:.800}");
    }
    let whoami: Value = serde_json::from_str(&body(
        &dial.clone().header("X-Forwarded-For", "1.2.3.4").get("/whoami"),
    ))
    .unwrap();
    assert_eq!(
        (&whoami["peer"], &whoami["via"], &whoami["hostIs"]),
        (&json!("127.0.0.1"), &json!("untrusted-proxy"), &json!("loopback"))
    );
    for path in ["/nothing", "/../etc/passwd", "/%2e%2e/", "/index.html/x"] {
        assert_eq!(status(&dial.get(path)), "404", "{path}");
    }
    let head = dial.http("HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(
        head.starts_with("HTTP/1.1 200 ")
            && head.contains("Content-Length: 27\r\n")
            && body(&head).is_empty(),
        "{head}"
    );
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = dial.http(&format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(
            answer.starts_with("HTTP/1.1 405 ") && answer.contains("Allow: GET, HEAD\r\n"),
            "{answer}"
        );
    }
    let lines: String = (0..70).map(|at| format!("X-{at}: y\r\n")).collect();
    for (request, code) in [
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(17 * KIB)), "431"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n"), "431"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(), "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\nOrigin: http://b\r\n\r\n".into(), "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".into(), "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), "400"),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), "400"),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".into(), "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n".into(), "400"),
        (dial.upgrade().replace("13\r\n", "8\r\n"), "426"),
        (dial.upgrade().replace("dGhl", "x"), "400"),
        (dial.upgrade().replace("GET", "POST"), "405"),
    ] {
        let answer = dial.http(&request);
        assert!(
            status(&answer) == code || code == "405" && status(&answer) == "400",
            "{code}: {request:.60} -> {answer:.60}"
        );
    }
    gateway.admin();
}

#[test]
fn base_path_moves_only_the_page() {
    let gateway = Plan::with(json!({ "controlUi": { "basePath": "/gate/" } })).start();
    let dial = gateway.dial();
    for path in ["/", "/gate"] {
        let answer = dial.get(path);
        assert!(
            answer.starts_with("HTTP/1.1 302 ") && answer.contains("Location: /gate/\r\n"),
            "{path}: {answer:.200}"
        );
    }
    assert!(dial.get("/gate/").starts_with("HTTP/1.1 200 "));
    assert!(dial.get("/gatepost").starts_with("HTTP/1.1 404 "));
    for path in ["/healthz", "/whoami", "/gate/whoami"] {
        assert!(dial.get(path).starts_with("HTTP/1.1 200 "), "{path}");
    }
    gateway.admin();
    let off = Plan::with(json!({ "controlUi": { "enabled": false } })).start();
    assert!(off.dial().get("/").starts_with("HTTP/1.1 404 "));
    off.admin();
}
