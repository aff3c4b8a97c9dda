//! Head of an HTTP request, the values read from it, and the response.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gatelet::gate::facts::{Host, Identity, Origin};
use gatelet::gate::limits;
use gatelet::gate::net::{self, Cidr, Via};
use gatelet::server::gateway::parse;
use gatelet::wire::http::{Head, ResponseHead};

use crate::samples::{self, config};
use crate::{bounded, Seeds};

/// A head of 16 KiB is joined (X-Forwarded-For), copied once (the Location of a redirect) and shown
/// (whoami), never more.
const BOUND: usize = 64 * 1024;

/// Any bytes as a request.
pub fn run(data: &[u8]) {
    config::setups();
    bounded(BOUND, || read(data));
}

fn read(data: &[u8]) {
    let head = match Head::parse(data) {
        Ok(Some(head)) => head,
        Ok(None) => {
            return assert!(
                data.len() < limits::HEAD_LEN,
                "more is waited for than a head may have"
            )
        }
        Err(bad) => {
            let answer = ResponseHead::refusal(bad);
            assert!((400..500).contains(&bad.status()));
            return whole(&answer);
        }
    };
    assert!(head.len <= limits::HEAD_LEN && head.len <= data.len());
    assert!(head.path.starts_with('/') && !head.path.contains(['?', '#', ' ', '\r', '\n']));
    prefix(data, &head);
    for name in ["Host", "Origin", "Authorization", "Content-Length", "X-Real-IP"] {
        assert!(head
            .header(name)
            .is_none_or(|value| value.len() < limits::HEAD_LEN && !value.contains(['\r', '\n'])));
    }
    if head.is_read() {
        assert!(!head.has_body());
    }
    let _ = (head.bearer(), head.accepts("br"), head.accepts("gzip"));
    seen(&head);
    if let Ok(accept) = head.accept_websocket() {
        assert!(head.wants_websocket() && head.method == "GET");
        whole(&accept);
    }
    let extra = [("Location", head.path), ("X-Query", head.query.unwrap_or(""))];
    whole(&ResponseHead { extra: &extra, ..ResponseHead::TEXT.status(302) }.whole(b"", &head));
}

/// Asserts that a part of a head does not parse, and that more bytes after it do not change the
/// result.
fn prefix(data: &[u8], head: &Head<'_>) {
    for len in [head.len - 1, head.len / 2] {
        assert!(!matches!(Head::parse(&data[..len]), Ok(Some(_))), "a part of a head is a head");
    }
    let alone =
        Head::parse(&data[..head.len]).ok().flatten().map(|head| (head.len, head.path.to_string()));
    assert_eq!(alone, Some((head.len, head.path.to_string())), "what follows a head changes it");
}

fn seen(head: &Head<'_>) {
    let peers = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V4(Ipv4Addr::new(172, 18, 0, 1)),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)),
    ];
    for setup in config::setups() {
        for peer in peers {
            let seen = parse::client_info(head, peer, Some(peer), &setup);
            assert!(
                seen.host_text.len() <= limits::ORIGIN_LEN
                    && seen.origin_text.len() <= limits::ORIGIN_LEN
            );
            assert!(
                !seen.host_text.contains(char::is_control)
                    && !seen.origin_text.contains(char::is_control)
            );
            assert_eq!(seen.local, net::is_loopback(peer) && !head.proxied());
            assert!(head.host().is_some() || seen.host == Host::Absent);
            assert!(head.origin().is_some() == (seen.origin != Origin::Absent));
            let trusted = setup
                .web
                .trusted_proxies
                .iter()
                .any(|range: &Cidr| range.contains(net::fold(peer)));
            if !trusted {
                assert_eq!(
                    seen.client,
                    net::fold(peer),
                    "only a trusted proxy says who the client is"
                );
                assert!(seen.identity != Identity::Right, "only a trusted proxy vouches");
                assert!(!head.proxied() || seen.via == Via::UntrustedProxy);
            }
        }
    }
}

/// Asserts that a response has one head and no smuggled header line.
fn whole(answer: &[u8]) {
    let text = String::from_utf8_lossy(answer);
    let (head, _) = text.split_once("\r\n\r\n").expect("an answer has a head");
    assert!(head.starts_with("HTTP/1.1 "));
    for line in head.split("\r\n").skip(1) {
        let (name, value) = line.split_once(": ").expect("a line has a name and a value");
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{name}");
        assert!(!value.contains(|char: char| char.is_ascii_control()));
    }
    assert_eq!(
        head.matches("HTTP/1.1 ").count(),
        1 + head.lines().skip(1).filter(|line| line.contains("HTTP/1.1 ")).count()
    );
}

/// Requests as browsers, programs, proxies and attackers send them.
pub fn seeds() -> Seeds {
    samples::heads()
        .into_iter()
        .enumerate()
        .map(|(at, head)| (format!("head-{at:03}"), head))
        .collect()
}
