//! Content negotiation of the built-in page: request heads and the answers to them.

use support::gateway::Plan;

/// Lines of a head, and the form of the answer: `gzip`, `html` or `text`.
const ANSWERS: [(&str, &str); 14] = [
    ("", "html"),
    ("Accept: text/html,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n", "gzip"),
    ("Accept: text/html\r\nAccept-Encoding: identity\r\n", "html"),
    ("Accept: text/html\r\nAccept-Encoding:\r\n", "html"),
    ("Accept: text/html\r\nAccept-Encoding: br\r\n", "html"),
    ("Accept: text/html\r\nAccept-Encoding: gzip;q=0, *\r\n", "html"),
    ("Accept: text/html\r\nAccept-Encoding: identity, gzip;q=0.5\r\n", "html"),
    ("Accept-Encoding: *\r\n", "gzip"),
    ("Accept-Encoding: x-gzip\r\n", "gzip"),
    ("Accept-Encoding: *;q=0\r\n", "html"),
    // curl, curl --compressed, wget
    ("Accept: */*\r\n", "text"),
    ("Accept: */*\r\nAccept-Encoding: deflate, gzip\r\n", "gzip"),
    ("Accept: */*\r\nAccept-Encoding: identity\r\n", "text"),
    ("Accept: text/html\r\n", "html"),
];

#[test]
fn the_page_is_sent_in_the_form_that_the_head_accepts() {
    let gateway = Plan::new().start();
    let dial = gateway.dial();
    let mut wrong = Vec::new();
    for (lines, form) in ANSWERS {
        let answer = dial.raw(&format!("GET / HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", dial.host));
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let body = &answer[end..];
        let found = match head.contains("Content-Encoding: gzip\r\n") {
            true if body.starts_with(b"\x1f\x8b") => "gzip",
            false if body.starts_with(b"<!doctype html>") => "html",
            false if body.starts_with(b"This is gatelet.") => "text",
            _ => "neither",
        };
        let varies = head.contains("\r\nVary: Accept-Encoding, Accept\r\n");
        if found != form || !varies || !head.starts_with("HTTP/1.1 200 ") {
            wrong.push((lines, found, head));
        }
    }
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), ANSWERS.len());
}
