//! Content negotiation of the built-in page: request heads and the answers to them.

use std::io::Read;

use flate2::read::GzDecoder;
use support::gateway::{Gateway, Plan};

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

/// Head and body of an answer.
fn get(gateway: &Gateway, path: &str, lines: &str) -> (String, Vec<u8>) {
    let dial = gateway.dial();
    let answer = dial.raw(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", dial.host));
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    (String::from_utf8_lossy(&answer[..end]).into_owned(), answer[end..].to_vec())
}

/// Returns the texts that follow `before`, up to the next double quote.
fn quoted<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next())
}

/// Returns the paths of the files that the page consists of, found as a browser finds them.
fn files(gateway: &Gateway) -> Vec<String> {
    let text = |path: &str| String::from_utf8(get(gateway, path, "").1).unwrap();
    let index = text("/");
    let named = quoted(&index, "href=\"").chain(quoted(&index, "src=\""));
    let mut paths: Vec<String> =
        named.filter(|path| path.starts_with("assets/")).map(|path| format!("/{path}")).collect();
    for at in 0.. {
        let Some(path) = paths.get(at).cloned() else { break };
        let (folder, _) = path.rsplit_once('/').unwrap();
        for import in quoted(&text(&path), "from \"./") {
            let import = format!("{folder}/{import}");
            if !paths.contains(&import) {
                paths.push(import);
            }
        }
    }
    paths
}

#[test]
fn every_file_of_the_page_is_sent_in_the_coding_that_the_head_accepts() {
    let gateway = Plan::new().start();
    let mut paths = files(&gateway);
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 13, "{paths:?}");
    for path in paths.iter().map(String::as_str).chain(["/", "/index.html"]) {
        let (packed_head, packed) = get(&gateway, path, "Accept-Encoding: gzip\r\n");
        let mut unpacked = Vec::new();
        GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
        for lines in ["", "Accept-Encoding: identity\r\n", "Accept-Encoding: br, gzip;q=0\r\n"] {
            let (head, plain) = get(&gateway, path, lines);
            assert!(plain == unpacked && !plain.is_empty(), "{path} {lines}{head}");
            assert!(!head.contains("Content-Encoding"), "{path} {head}");
            let length = format!("Content-Length: {}\r\n", plain.len());
            let expected = packed_head
                .replace("Content-Encoding: gzip\r\n", "")
                .replace(&format!("Content-Length: {}\r\n", packed.len()), &length);
            assert_eq!(head, expected, "{path}");
            assert!(head.contains("\r\nVary: Accept-Encoding, Accept\r\n"), "{path} {head}");
        }
    }
}

#[test]
fn the_page_is_sent_in_the_form_that_the_head_accepts() {
    let gateway = Plan::new().start();
    let mut wrong = Vec::new();
    for (lines, form) in ANSWERS {
        let (head, body) = get(&gateway, "/", lines);
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
