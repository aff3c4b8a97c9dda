//! Classification of the Host and Origin headers of a request: the name by which the client reached
//! the gateway, and whether the page may connect.

use core::fmt::{self, Write};
use core::net::{IpAddr, Ipv6Addr};

use super::facts::{Host, Origin};
use super::{limits, net};

/// Names and addresses of this gateway.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a, T> {
    /// `gateway.controlUi.allowedOrigins`.
    pub allowed: &'a [T],
    /// `gateway.publicOrigin`.
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
    let here = host.and_then(Authority::web);
    let named = match here {
        Some(authority) => name(authority.name(), names),
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
    let page = PageOrigin::parse(origin);
    let listed = |entry: &str| match entry {
        "*" => origin.contains("://"),
        entry => page.is_some() && PageOrigin::parse(entry) == page,
    };
    if names.public.is_some_and(listed) || names.allowed.iter().any(|entry| listed(entry.as_ref()))
    {
        return Origin::Listed;
    }
    let Some(page) = page else {
        return Origin::Opaque;
    };
    let Some(here) = here.filter(|_| page.is_web()) else {
        return Origin::Foreign;
    };
    let there = page.authority;
    if here.name().eq_ignore_ascii_case(there.name())
        && here.port.or(default_port(page.scheme)) == page.port()
    {
        Origin::Same
    } else if host == Host::Loopback && is_loopback_name(there.name()) {
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
                .and_then(PageOrigin::parse)
                .is_some_and(|public| public.authority.name().eq_ignore_ascii_case(host));
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
    match ipv6(host) {
        Some(address) => Some(net::fold(IpAddr::V6(address))),
        None => host.parse().ok().filter(IpAddr::is_ipv4),
    }
}

/// Returns whether the host ends with `suffix` and has a non-empty name before it.
fn ends_with(host: &str, suffix: &str) -> bool {
    let at = host.len().saturating_sub(suffix.len());
    at > 0 && host.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

/// Origin of a page or an app that can be listed: `scheme://host[:port]`.
///
/// Displays the form in which browsers send it: lower case, without the default port of the scheme.
#[derive(Clone, Copy, Debug)]
pub struct PageOrigin<'a> {
    scheme: &'a str,
    authority: Authority<'a>,
}

/// Schemes whose pages have no origin of their own, or of which no page has an origin.
const NO_ORIGIN: [&str; 4] = ["file", "ftp", "ws", "wss"];

impl<'a> PageOrigin<'a> {
    /// Parses an origin.
    ///
    /// Returns `None` for `null`, `file://`, origins with a path or user information, and other
    /// text that is no origin.
    pub fn parse(text: &'a str) -> Option<PageOrigin<'a>> {
        let (scheme, rest) = text.split_once("://").filter(|_| text.len() <= limits::ORIGIN_LEN)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let valid = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(plain)
            && !NO_ORIGIN.iter().any(|other| scheme.eq_ignore_ascii_case(other));
        let authority = match is_web(scheme) {
            true => Authority::web(rest)?,
            false => Authority::parse(rest)?,
        };
        valid.then_some(PageOrigin { scheme, authority })
    }

    /// Returns whether the scheme is http or https.
    pub fn is_web(&self) -> bool {
        is_web(self.scheme)
    }

    fn port(&self) -> Option<u16> {
        self.authority.port.or(default_port(self.scheme))
    }
}

impl PartialEq for PageOrigin<'_> {
    fn eq(&self, other: &PageOrigin<'_>) -> bool {
        let (host, others) = (self.authority.host, other.authority.host);
        self.scheme.eq_ignore_ascii_case(other.scheme)
            && self.port() == other.port()
            && match (ipv6(host), ipv6(others)) {
                (None, None) => host.eq_ignore_ascii_case(others),
                (host, others) => host == others,
            }
    }
}

impl fmt::Display for PageOrigin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Authority { host, port } = self.authority;
        let mut lower_case =
            |text: &str| text.chars().try_for_each(|char| f.write_char(char.to_ascii_lowercase()));
        lower_case(self.scheme)?;
        lower_case("://")?;
        match ipv6(host) {
            Some(address) => write!(f, "[{address}]")?,
            None => lower_case(host)?,
        }
        match port.filter(|port| default_port(self.scheme) != Some(*port)) {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Host, in brackets if it is an IPv6 address, and optional port.
#[derive(Clone, Copy, Debug)]
pub struct Authority<'a> {
    host: &'a str,
    /// Port, if one is given.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Parses the authority of an http, https or WebSocket URL.
    pub fn web(text: &'a str) -> Option<Authority<'a>> {
        let authority = Authority::parse(text)?;
        let valid = !authority.name().is_empty() && !authority.host.starts_with(['.', '-']);
        valid.then_some(authority)
    }

    /// Parses the authority of any scheme. The host of an app can be `.` or `-`.
    fn parse(text: &'a str) -> Option<Authority<'a>> {
        let after_bracket = text.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match text[after_bracket..].rfind(':') {
            Some(colon) => {
                let at = after_bracket + colon;
                (&text[..at], Some(parse_port(&text[at + 1..])?))
            }
            None => (text, None),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let named = !host.is_empty() && host.len() <= limits::HOST_LEN && host.bytes().all(plain);
        (named || ipv6(host).is_some()).then_some(Authority { host, port })
    }

    /// Returns the host without the final dot of a full domain name.
    fn name(&self) -> &'a str {
        self.host.strip_suffix('.').unwrap_or(self.host)
    }
}

/// Parses a port from 1 to 65535; only digits are accepted.
pub fn parse_port(digits: &str) -> Option<u16> {
    let plain =
        !digits.is_empty() && digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?.filter(|port| *port != 0)
}

/// Parses an IPv6 address in brackets.
fn ipv6(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

fn is_web(scheme: &str) -> bool {
    default_port(scheme).is_some()
}

/// Returns the default port of http and https; other schemes have none.
fn default_port(scheme: &str) -> Option<u16> {
    if scheme.eq_ignore_ascii_case("https") {
        Some(443)
    } else if scheme.eq_ignore_ascii_case("http") {
        Some(80)
    } else {
        None
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
    fn null_origin_is_opaque_even_if_all_are_allowed() {
        let all = Names { allowed: &["*"], ..NAMES };
        assert_eq!(classify(Some("10.0.0.1"), Some("https://any.example"), &all).1, Origin::Listed);
        for page in ["null", "", "NULL", "localhost", "//localhost"] {
            assert_eq!(classify(Some("localhost"), Some(page), &all).1, Origin::Opaque, "{page}");
        }
    }

    #[test]
    fn malformed_origins_are_opaque() {
        for page in [
            "http://localhost:18789/",
            "http://localhost:18789/x",
            "http://user@localhost:18789",
            "http://user:x@localhost:18789",
            "http://localhost:18789#x",
            "http://localhost:",
            "http://localhost:0",
            "http://",
            "http://.",
            "http://-a",
            "http:localhost",
            "://localhost",
            "1app://localhost",
            "a b://localhost",
            "app://",
            "app://localhost/",
            "app://local host",
            "app://a\"]",
            "ws://localhost:18789",
            "file://",
            "FILE://localhost",
            "http://localhost:18789 http://evil.example",
            "http://[::1",
            "http://[::1]x",
            "http://localhost:99999",
        ] {
            assert_eq!(origin("localhost:18789", page), Origin::Opaque, "{page}");
        }
        let long = format!("app://{}", "a".repeat(limits::HOST_LEN + 1));
        assert_eq!(origin("localhost:18789", &long), Origin::Opaque);
    }

    #[test]
    fn origins_of_apps_match_only_themselves() {
        let apps = [
            "tauri://localhost",
            "capacitor://localhost",
            "ionic://localhost",
            "electron://altair",
            "app://.",
            "app://-",
            "app://obsidian.md",
            "app://localhost:80",
            "app://localhost:3000",
            "chrome-extension://fmkadmapgofadopljbjfkapdkoienihi",
            "moz-extension://7b3f1c1e-0d4a-4a58-a1e5-8e2b3a1f0c9d",
            "safari-web-extension://7B3F1C1E-0D4A-4A58-A1E5-8E2B3A1F0C9D",
            "vscode-webview://0rh3mvnj2k9f5d6c8b1a4s7p0q2w5e8r1t4y7u0i3o6p",
            "vscode-file://vscode-app",
            "web+gate://localhost",
            "http://tauri.localhost",
        ];
        for page in apps {
            for listed in apps {
                let names = Names { allowed: &[listed], ..NAMES };
                let relation = classify(Some("localhost:18789"), Some(page), &names).1;
                let expected = if page == listed { Origin::Listed } else { Origin::Foreign };
                assert_eq!(relation, expected, "{page}, listed: {listed}");
            }
        }
    }

    #[test]
    fn listed_origins_match_in_every_way_to_write_them() {
        for (listed, page) in [
            ("https://ui.example", "https://ui.example:443"),
            ("http://ui.example:80", "http://ui.example"),
            ("http://[::1]:80", "http://[0:0:0:0:0:0:0:1]"),
            ("TAURI://LocalHost", "tauri://localhost"),
        ] {
            let names = Names { allowed: &[listed], ..NAMES };
            assert_eq!(classify(Some("10.0.0.1"), Some(page), &names).1, Origin::Listed, "{page}");
        }
    }
}
