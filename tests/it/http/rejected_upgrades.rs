//! Requests that were meant to open a WebSocket and did not: response, log, counter and `gatelet
//! explain --last`.

use std::io::{Read, Write};

use serde_json::{json, Value};
use support::client::Who;
use support::gateway::Gateway;

use super::metrics::Scrape;

const NGINX: &[&str] = &[
    "proxy_http_version 1.1;",
    "proxy_set_header Upgrade $http_upgrade;",
    "proxy_set_header Connection \"upgrade\";",
];

/// A rejected request: status of the response, cause in `/metrics`, texts of the response.
struct Row {
    name: &'static str,
    bytes: Vec<u8>,
    status: u16,
    cause: &'static str,
    advice: &'static [&'static str],
}

/// Returns the valid upgrade, damaged in each way that a proxy or client damages it.
fn rows(upgrade: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |name, bytes: &[u8], status, cause, advice| {
        rows.push(Row { name, bytes: bytes.to_vec(), status, cause, advice });
    };
    // the string to replace, and the replacement
    let damaged = [
        ("Upgrade dropped", "Upgrade: websocket\r\n", "", 426, "upgrade", NGINX),
        (
            "Upgrade and Connection dropped",
            "Upgrade: websocket\r\nConnection: Upgrade\r\n",
            "",
            426,
            "upgrade",
            NGINX,
        ),
        (
            "nginx without its lines",
            "/ HTTP/1.1\r\n",
            "/ HTTP/1.0\r\nConnection: close\r\n",
            426,
            "upgrade",
            NGINX,
        ),
        ("Connection: close", "Connection: Upgrade", "Connection: close", 426, "upgrade", NGINX),
        ("Connection dropped", "Connection: Upgrade\r\n", "", 426, "upgrade", NGINX),
        ("HTTP/1.0", "HTTP/1.1", "HTTP/1.0", 426, "upgrade", NGINX),
        ("Upgrade: h2c", "Upgrade: websocket", "Upgrade: h2c", 426, "upgrade", NGINX),
        ("version 8", "Version: 13", "Version: 8", 426, "version", &["Sec-WebSocket-Version: 13"]),
        (
            "no version",
            "Sec-WebSocket-Version: 13\r\n",
            "",
            426,
            "version",
            &["Sec-WebSocket-Version: 13"],
        ),
        (
            "no key",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            "",
            400,
            "key",
            &["send a Sec-WebSocket-Key"],
        ),
        (
            "short key",
            "dGhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZQ==",
            400,
            "key",
            &["send a Sec-WebSocket-Key"],
        ),
        ("POST", "GET ", "POST ", 400, "method", &["send GET"]),
        ("HEAD", "GET ", "HEAD ", 400, "method", &["send GET"]),
        (
            "POST with a body",
            "GET / HTTP/1.1\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 2\r\n",
            400,
            "method",
            &["send GET"],
        ),
        (
            "GET with a body",
            "GET / HTTP/1.1\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 2\r\n",
            400,
            "head",
            &["send GET without a body"],
        ),
        (
            "two lengths",
            "GET / HTTP/1.1\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n",
            400,
            "head",
            &["send GET without a body"],
        ),
        ("another path", "GET / ", "GET /healthz ", 426, "upgrade", NGINX),
        ("absolute target", "GET / ", "GET ws://a/ ", 400, "head", &["begins with /"]),
        ("folded line", "Host: ", "X: a\r\n b\r\nHost: ", 400, "head", &["check which program"]),
        (
            "two keys",
            "Upgrade: websocket",
            "Sec-WebSocket-Key: a\r\nUpgrade: websocket",
            400,
            "head",
            &["two Sec-WebSocket-Key headers", "send one"],
        ),
    ];
    for (name, from, to, status, cause, advice) in damaged {
        let mut text = upgrade.replacen(from, to, 1);
        assert_ne!(text, upgrade, "{name}");
        if name == "another path" {
            text = text.replace("Upgrade: websocket\r\n", "");
        }
        add(name, text.as_bytes(), status, cause, advice);
    }
    let many = upgrade.replace("\r\n\r\n", &("\r\n".to_owned() + &"A: b\r\n".repeat(80) + "\r\n"));
    add("too many lines", many.as_bytes(), 431, "head", &["fewer or shorter headers"]);
    let proxied = |header: &[u8]| [header, upgrade.as_bytes()].concat();
    let off = &["turn the PROXY protocol", "proxy_protocol"];
    let header = proxied(b"PROXY TCP4 10.0.0.1 10.0.0.2 4000 80\r\n");
    add("PROXY protocol 1", &header, 400, "PROXY protocol", off);
    let header = proxied(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    add("PROXY protocol 2", &header, 400, "PROXY protocol", off);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    add("HTTP/2", preface, 400, "HTTP/2", &["HTTP/1.1"]);
    let hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03";
    add("TLS", hello, 400, "TLS", &["ws://", "certificate"]);
    rows
}

fn exchange(gateway: &Gateway, bytes: &[u8]) -> String {
    let mut stream = gateway.dial().tcp();
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn newest(gateway: &Gateway) -> Value {
    let mut admin = gateway.admin();
    admin.call("gatelet.refusals", json!({ "limit": 1 })).unwrap()["refusals"][0].clone()
}

#[test]
fn rejected_upgrades_are_answered_logged_counted_and_explained() {
    let gateway = Gateway::new();
    let mut wrong = Vec::new();
    for Row { name, bytes, status, cause, advice } in rows(&gateway.dial().upgrade()) {
        let count = || Scrape::of(&gateway).find("gatelet_upgrades_rejected_total", "cause", cause);
        let before = count();
        let answer = exchange(&gateway, &bytes);
        let entry = newest(&gateway);
        let texts = |text: &str| advice.iter().all(|part| text.contains(part));
        let offer = answer.contains("\r\nSec-WebSocket-Version: 13\r\n")
            && answer.contains("\r\nUpgrade: websocket\r\n");
        for (what, holds) in [
            ("status", answer.starts_with(&format!("HTTP/1.1 {status} "))),
            ("advice", texts(&answer)),
            ("offer", offer == (status == 426)),
            ("count", before.is_some_and(|before| count() == Some(before + 1.0))),
            ("code", entry["code"] == format!("HTTP {status}")),
            ("entry", texts(&format!("{} {}", entry["message"], entry["hint"]).replace('\\', ""))),
            ("log", texts(&gateway.log().replace('\\', ""))),
        ] {
            if !holds {
                wrong.push(format!("{name}: {what}: {answer:.400} {entry}"));
            }
        }
    }
    let failed: std::collections::BTreeSet<_> =
        wrong.iter().filter_map(|line| line.split(": ").next()).collect();
    assert!(wrong.is_empty(), "{} rows: {failed:?}\n{}", failed.len(), wrong.join("\n"));
}

#[test]
fn rejected_upgrades_are_logged_once_per_peer_and_kept_once() {
    let gateway = Gateway::new();
    let dropped = gateway.dial().upgrade().replace("Upgrade: websocket\r\n", "");
    gateway.dial().connect(&Who::v4().token("wrong")).unwrap_err();
    for _ in 0..100 {
        exchange(&gateway, dropped.as_bytes());
    }
    let lines = |text: &str| gateway.log().lines().filter(|line| line.contains(text)).count();
    assert_eq!(lines("cannot open a WebSocket"), 1, "{}", gateway.log());
    let mut admin = gateway.admin();
    let kept = admin.call("gatelet.refusals", json!({})).unwrap()["refusals"].clone();
    assert_eq!(kept.as_array().unwrap().len(), 2, "{kept}");
    assert_eq!(
        Scrape::of(&gateway).find("gatelet_upgrades_rejected_total", "cause", "upgrade"),
        Some(100.0)
    );
    // another cause is another fault, and its line is not suppressed
    exchange(&gateway, dropped.replace("GET", "POST").as_bytes());
    assert_eq!(lines("cannot open a WebSocket"), 2, "{}", gateway.log());
}

#[test]
#[cfg(target_os = "linux")]
fn rejected_upgrades_from_many_peers_write_a_bounded_log() {
    let gateway = Gateway::new();
    let dropped = gateway.dial().upgrade().replace("Upgrade: websocket\r\n", "");
    for host in 1..=100 {
        gateway.dial().from(&format!("127.0.1.{host}")).http(&dropped);
    }
    let log = gateway.log();
    let logged = log.lines().filter(|line| line.contains("cannot open a WebSocket")).count();
    assert_eq!(logged, 32, "{log}");
    assert_eq!(
        Scrape::of(&gateway).find("gatelet_upgrades_rejected_total", "cause", "upgrade"),
        Some(100.0)
    );
}

#[test]
fn explain_prints_rejected_upgrades() {
    let gateway = Gateway::new();
    let dropped = gateway.dial().upgrade().replace("Upgrade: websocket\r\n", "");
    exchange(&gateway, dropped.as_bytes());
    let text = gateway.plan.good(&["explain", "--last"]);
    for part in
        ["HTTP 426", "rule 0 request", "from  127.0.0.1 (local)", NGINX[0], NGINX[1], NGINX[2]]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn other_requests_are_not_taken_for_upgrades() {
    let gateway = Gateway::new();
    let host = gateway.address();
    for (request, status) in [
        (format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), 200),
        (format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n"), 200),
        (format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"), 200),
        (format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\n{{}}"), 405),
        (format!("GET / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\n{{}}"), 400),
        (format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "a".repeat(17_000)), 431),
        ("SSH-2.0-client\r\n".into(), 400),
    ] {
        let answer = exchange(&gateway, request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.90}: {answer:.300}");
    }
    assert_eq!(newest(&gateway), Value::Null);
    assert!(!gateway.log().contains("within an hour"), "{}", gateway.log());
}
