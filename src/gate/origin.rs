//! Classification of the Host and Origin headers of a request: the name by which the client reached
//! the gateway, and whether the page may connect.

use core::net::IpAddr;

use super::facts::{Host, Origin};
use super::net;

/// Names and addresses of this gateway.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a, T> {
    /// `gateway.controlUi.allowedOrigins`, normalized: lower case, scheme, host, and the port
    /// unless it is the default of the scheme.
    pub allowed: &'a [T],
    /// `gateway.publicOrigin`, normalized likewise.
    pub public: Option<&'a str>,
    /// Host name of the machine; empty if unknown.
    pub machine: &'a str,
    /// Local address the client connected to.
    pub reached: Option<IpAddr>,
}

/// Classifies the Host and Origin headers, given as received.
pub fn classify<T: AsRef<str>>(
    host: Option<&str>,
    origin: Option<&str>,
    names: &Names<'_, T>,
) -> (Host, Origin) {
    let here = host.and_then(authority);
    let named = match here {
        Some(authority) => name(authority.host, names),
        None if host.is_none() => Host::Absent,
        None => Host::Foreign,
    };
    (named, relation(origin, here, named, names))
}

fn relation<T: AsRef<str>>(
    origin: Option<&str>,
    here: Option<Authority<'_>>,
    host: Host,
    names: &Names<'_, T>,
) -> Origin {
    let Some(origin) = origin else {
        return Origin::Absent;
    };
    let listed = |entry: &str| entry == "*" || entry.eq_ignore_ascii_case(origin);
    let named = origin.contains("://");
    if named
        && (names.public.is_some_and(listed)
            || names.allowed.iter().any(|entry| listed(entry.as_ref())))
    {
        return Origin::Listed;
    }
    let (Some((scheme, there)), Some(here)) = (split(origin), here) else {
        return Origin::Foreign;
    };
    let port_here = here.port.unwrap_or(default_port(scheme));
    if here.host.eq_ignore_ascii_case(there.host)
        && port_here == there.port.unwrap_or(default_port(scheme))
    {
        Origin::Same
    } else if host == Host::Loopback && is_loopback_name(there.host) {
        Origin::LoopbackPair
    } else {
        Origin::Foreign
    }
}

fn name<T>(host: &str, names: &Names<'_, T>) -> Host {
    if is_loopback_name(host) {
        return Host::Loopback;
    }
    let served = match literal(host) {
        Some(ip) => {
            net::is_private(ip) || net::is_cgnat(ip) || names.reached.map(net::fold) == Some(ip)
        }
        None => {
            let public = names
                .public
                .and_then(split)
                .is_some_and(|(_, public)| public.host.eq_ignore_ascii_case(host));
            public
                || ends_with(host, ".local")
                || ends_with(host, ".ts.net")
                || is_machine(host, names.machine)
        }
    };
    if served {
        Host::Served
    } else {
        Host::Foreign
    }
}

/// Returns whether the host equals the machine's name; `machine.evil.example` does not match.
fn is_machine(host: &str, machine: &str) -> bool {
    !machine.is_empty() && host.eq_ignore_ascii_case(machine)
}

fn is_loopback_name(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || literal(host).is_some_and(net::is_loopback)
}

fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bare {
        Some(bare) => bare.parse().ok().filter(IpAddr::is_ipv6).map(net::fold),
        None => host.parse().ok().filter(IpAddr::is_ipv4),
    }
}

/// Returns whether the host ends with `suffix` and has a non-empty name before it.
fn ends_with(host: &str, suffix: &str) -> bool {
    let at = host.len().saturating_sub(suffix.len());
    at > 0 && host.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

#[derive(Clone, Copy)]
struct Authority<'a> {
    host: &'a str,
    port: Option<u16>,
}

/// Splits an origin into scheme and authority.
///
/// Returns `None` for `null`, schemes other than http and https, origins with a path or user
/// information, and malformed text.
fn split(origin: &str) -> Option<(&str, Authority<'_>)> {
    let (scheme, rest) = origin.split_once("://")?;
    let known = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    known.then_some(())?;
    authority(rest).map(|authority| (scheme, authority))
}

fn authority(text: &str) -> Option<Authority<'_>> {
    let after_bracket = text.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match text[after_bracket..].rfind(':') {
        Some(colon) => {
            let at = after_bracket + colon;
            let digits = Some(&text[at + 1..])
                .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))?;
            (&text[..at], Some(digits.parse().ok()?))
        }
        None => (text, None),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'[' | b']' | b':')
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let valid = !host.is_empty()
        && host.bytes().all(plain)
        && (bracketed || !host.contains([':', '[', ']']));
    valid.then_some(Authority { host, port })
}

fn default_port(scheme: &str) -> u16 {
    if scheme.eq_ignore_ascii_case("https") {
        443
    } else {
        80
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names<'_, &str> = Names {
        allowed: &["https://ui.example", "http://10.0.0.5:3000", "tauri://localhost"],
        public: Some("https://gate.example:8443"),
        machine: "raspi",
        reached: Some(IpAddr::V4(core::net::Ipv4Addr::new(203, 0, 113, 9))),
    };

    fn host(host: &str) -> Host {
        classify(Some(host), None, &NAMES).0
    }

    fn origin(host: &str, origin: &str) -> Origin {
        classify(Some(host), Some(origin), &NAMES).1
    }

    #[test]
    fn loopback_names_are_all_of_127_and_no_lookalikes() {
        for name in [
            "localhost",
            "LocalHost:18789",
            "localhost.",
            "127.0.0.1",
            "127.0.0.1.:8080",
            "127.9.8.7:1",
            "[::1]",
            "[::1]:18789",
        ] {
            assert_eq!(host(name), Host::Loopback, "{name}");
        }
        for name in ["[::ffff:127.0.0.1]:80", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]"] {
            assert_eq!(host(name), Host::Loopback, "{name}");
        }
        for name in [
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "localhost.localdomain",
            "evil-localhost",
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "0177.0.0.1",
            "127.1",
            "127.0.0.01",
            "0.0.0.0",
            "[::]",
            "::1",
            "[127.0.0.1]",
            "[::1",
            "::1]",
            "[[::1]]",
            "[::1]x",
            "[::1%25lo]",
        ] {
            assert_eq!(host(name), Host::Foreign, "{name}");
        }
    }

    #[test]
    fn served_names_are_private_addresses_own_address_and_own_names() {
        for name in [
            "10.1.2.3:18789",
            "172.18.0.1",
            "192.168.1.20:8080",
            "169.254.1.1",
            "100.64.0.1",
            "100.127.255.254:443",
            "203.0.113.9:18789",
            "[fd00::1]:18789",
            "[fe80::1]",
            "[::ffff:192.168.1.2]",
            "[::ffff:203.0.113.9]",
            "pi.local",
            "Pi.LOCAL.:80",
            "a.b.local",
            "pi.tail1234.ts.net",
            "raspi",
            "RASPI:18789",
            "raspi.",
            "gate.example",
            "gate.example:18789",
            "GATE.example",
        ] {
            assert_eq!(host(name), Host::Served, "{name}");
        }
    }

    #[test]
    fn other_names_are_foreign() {
        for name in [
            "203.0.113.10",
            "172.32.0.1",
            "100.128.0.1",
            "11.0.0.1",
            "[2001:db8::1]",
            ".local",
            "local",
            ".ts.net",
            "ts.net",
            "evillocal",
            "evil-ts.net",
            "pi.local.evil.example",
            "pi.ts.net.evil.example",
            "10.0.0.1.evil.example",
            "raspi.evil.example",
            "evil.raspi",
            "x.gate.example",
            "gate.example.evil.example",
            "",
            ".",
            ":80",
            "localhost:",
            "localhost:+80",
            "localhost:65536",
            "localhost:80:80",
            "localhost:8o",
            "user@localhost",
            "localhost@evil.example",
            "localhost/path",
            "localhost?x",
            "localhost#x",
            "local host",
            " localhost",
            "localhost\u{0}",
            "l\u{f6}calhost",
            "http://localhost",
            "localhost,evil.example",
        ] {
            assert_eq!(host(name), Host::Foreign, "{name}");
        }
        assert_eq!(classify(None, None, &NAMES), (Host::Absent, Origin::Absent));
    }

    #[test]
    fn empty_machine_name_matches_no_host() {
        let nameless = Names { machine: "", reached: None, public: None, ..NAMES };
        for name in ["", ".", "raspi", "203.0.113.9", "gate.example"] {
            assert_eq!(classify(Some(name), None, &nameless).0, Host::Foreign, "{name}");
        }
    }

    #[test]
    fn same_origin_compares_host_and_port_with_any_published_port() {
        for (host, page) in [
            ("127.0.0.1:18789", "http://127.0.0.1:18789"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("PI.local:8080", "http://pi.LOCAL:8080"),
            ("pi.local", "http://pi.local"),
            ("pi.local:80", "http://pi.local"),
            ("pi.local", "http://pi.local:80"),
            ("pi.local", "https://pi.local"),
            ("pi.local:443", "https://pi.local"),
            ("pi.local.", "http://pi.local"),
            ("[::1]:18789", "http://[::1]:18789"),
            ("[fd00::1]", "https://[fd00::1]:443"),
            ("evil.example", "http://evil.example"),
        ] {
            assert_eq!(origin(host, page), Origin::Same, "{page} at {host}");
        }
        assert_eq!(
            host("evil.example"),
            Host::Foreign,
            "a rebound name agrees with itself and is still not ours"
        );
    }

    #[test]
    fn loopback_origin_and_loopback_host_match_on_any_port() {
        for (host, page) in [
            ("localhost:18789", "http://127.0.0.1:18789"),
            ("127.0.0.1:18789", "http://localhost:5173"),
            ("127.0.0.1:18789", "https://localhost"),
            ("[::1]:18789", "http://127.0.0.1:18789"),
            ("127.0.0.1:18789", "http://[::ffff:127.0.0.1]:1"),
        ] {
            assert_eq!(origin(host, page), Origin::LoopbackPair, "{page} at {host}");
        }
        for (host, page) in [
            ("192.168.1.2:18789", "http://127.0.0.1:18789"),
            ("pi.local:18789", "http://localhost:18789"),
            ("127.0.0.1:18789", "http://192.168.1.2:18789"),
            ("127.0.0.1:18789", "http://127.0.0.1.evil.example:18789"),
            ("127.0.0.1:18789", "http://localhost.evil.example"),
            ("127.0.0.1:18789", "http://2130706433"),
        ] {
            assert_eq!(origin(host, page), Origin::Foreign, "{page} at {host}");
        }
    }

    #[test]
    fn listed_origins_match_exactly_for_any_host() {
        for page in [
            "https://ui.example",
            "HTTPS://UI.example",
            "http://10.0.0.5:3000",
            "https://gate.example:8443",
            "tauri://localhost",
        ] {
            for host in ["127.0.0.1:18789", "evil.example", ""] {
                assert_eq!(origin(host, page), Origin::Listed, "{page} at {host}");
            }
            assert_eq!(classify(None, Some(page), &NAMES), (Host::Absent, Origin::Listed));
        }
        for page in [
            "http://ui.example",
            "https://ui.example:444",
            "https://ui.example.",
            "https://x.ui.example",
            "https://gate.example",
        ] {
            assert_eq!(origin("10.0.0.1", page), Origin::Foreign, "{page}");
        }
    }

    #[test]
    fn null_origin_is_foreign_even_if_all_are_allowed() {
        let all = Names { allowed: &["*"], ..NAMES };
        assert_eq!(classify(Some("10.0.0.1"), Some("https://any.example"), &all).1, Origin::Listed);
        for page in ["null", "", "NULL", "localhost", "//localhost"] {
            assert_eq!(classify(Some("localhost"), Some(page), &all).1, Origin::Foreign, "{page}");
        }
    }

    #[test]
    fn malformed_origins_are_foreign() {
        for page in [
            "http://localhost:18789/",
            "http://localhost:18789/x",
            "http://user@localhost:18789",
            "http://user:x@localhost:18789",
            "http://localhost:18789#x",
            "http://localhost:",
            "http://",
            "http:localhost",
            "ws://localhost:18789",
            "file://",
            "file://localhost",
            "http://localhost:18789 http://evil.example",
            "http://[::1",
            "http://localhost:99999",
        ] {
            assert_eq!(origin("localhost:18789", page), Origin::Foreign, "{page}");
        }
    }
}
