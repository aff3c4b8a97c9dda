//! Reads values as text, the same way from every source, and parses those with their own syntax:
//! addresses, ports, origins, URLs, paths, keys, header names.

use std::net::IpAddr;

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

use super::{AuthorizedKey, Env, Problems, Source, Sourced};
use crate::gate::ids::DeviceId;
use crate::gate::origin::{parse_port, Authority, PageOrigin};

/// Returns the text without byte order marks, line ends and blanks at its ends.
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(|char: char| char.is_whitespace() || char == '\u{feff}')
}

/// Returns the variable's value, trimmed. `None` if it is unset or blank.
pub(super) fn variable(env: &dyn Env, name: &str) -> Option<String> {
    env.var(name).map(|raw| trimmed(&raw).to_string()).filter(|text| !text.is_empty())
}

impl Problems {
    /// Returns the value `raw` of `name`, trimmed, and warns if that changed it. `None` if it is
    /// blank, which counts as not set.
    pub fn value(&mut self, line: u32, name: &str, raw: &str) -> Option<String> {
        let text = trimmed(raw);
        if text.is_empty() {
            return None;
        }
        if text.len() != raw.len() {
            let message =
                format!("{name} begins or ends with a blank, a line end or a byte order mark");
            self.warning(line, name, message, "that part is ignored");
        }
        Some(text.to_string())
    }

    /// Warns that the secret `name` is blank.
    pub fn blank(&mut self, line: u32, name: &str) {
        self.warning(line, name, format!("{name} is empty and treated as unset"), "");
    }

    /// Returns the first value that is set: of the flag, then of the variables.
    pub fn first(
        &mut self,
        env: &dyn Env,
        (flag, given): (&'static str, Option<&String>),
        variables: impl IntoIterator<Item = &'static str>,
    ) -> Option<Sourced<String>> {
        if let Some(text) = given.and_then(|raw| self.value(0, flag, raw)) {
            return Some(Sourced::new(text, Source::Flag(flag)));
        }
        variables.into_iter().find_map(|name| {
            let text = self.value(0, name, &env.var(name)?)?;
            Some(Sourced::new(text, Source::Env(name)))
        })
    }
}

/// Parses an IP address; an IPv6 address may be in brackets.
pub fn address(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// Normalizes the origin of a page or an app to the form that browsers send:
/// `scheme://host[:port]` in lower case, without the default port of http and https.
pub(super) fn origin(text: &str) -> Option<String> {
    let text = text.trim();
    PageOrigin::parse(text.strip_suffix('/').unwrap_or(text)).map(|origin| origin.to_string())
}

/// Normalizes an origin like [`origin`]; only http and https are accepted.
pub(super) fn web_origin(text: &str) -> Option<String> {
    origin(text).filter(|origin| PageOrigin::parse(origin).is_some_and(|origin| origin.is_web()))
}

/// Checks an upstream URL: `ws://host[:port][/path]`. Other schemes are rejected: this build has no
/// TLS.
pub(super) fn websocket_url(text: &str) -> Option<String> {
    let rest = text.strip_prefix("ws://")?;
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    Authority::web(host)?;
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    plain.then(|| text.to_string())
}

/// Parses a port, alone or after a host and a colon, as in port mappings of container engines.
/// Returns the host, which is not empty, and the port.
pub(super) fn port_with_host(text: &str) -> Option<(Option<&str>, u16)> {
    match text.rsplit_once(':') {
        Some((host, _)) => Authority::web(text)?.port.map(|port| (Some(host), port)),
        None => parse_port(text).map(|port| (None, port)),
    }
}
/// Normalises a base path to a leading and no trailing slash; empty for the root.
pub(super) fn base_path(text: &str) -> Option<String> {
    let inner = text.trim_matches('/');
    if inner.is_empty() {
        return Some(String::new());
    }
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let good =
        |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain);
    inner.split('/').all(good).then(|| format!("/{inner}"))
}

/// Parses a public key in base64url or a device id of 64 hexadecimal digits, followed by an
/// optional comment after white space.
pub(super) fn authorized_key(text: &str) -> Option<AuthorizedKey> {
    let (key, comment) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let id = match key.len() {
        64 => DeviceId::parse(&key.to_ascii_lowercase())?,
        _ => DeviceId(Sha256::digest(public_key(key)?).into()),
    };
    Some(AuthorizedKey { id, comment: comment.trim().to_string() })
}

fn public_key(text: &str) -> Option<[u8; 32]> {
    let url = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    let mut bytes = [0; 32];
    match Base64UrlUnpadded::decode(&url, &mut bytes) {
        Ok(decoded) if decoded.len() == 32 => Some(bytes),
        _ => None,
    }
}

/// Parses a header name and converts it to lower case.
pub(super) fn header(text: &str) -> Option<String> {
    let name = text.to_ascii_lowercase();
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (!name.is_empty() && name.bytes().all(token)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_normalized_as_browsers_send_them() {
        for (given, normal) in [
            ("http://127.0.0.1:18789", "http://127.0.0.1:18789"),
            ("HTTPS://Gate.Example/", "https://gate.example"),
            ("https://gate.example:443", "https://gate.example"),
            ("https://gate.example:80", "https://gate.example:80"),
            ("http://gate.example:80", "http://gate.example"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://[0:0:0:0:0:0:0:1]", "http://[::1]"),
            ("Tauri://localhost", "tauri://localhost"),
            ("app://.", "app://."),
            ("app://localhost:80", "app://localhost:80"),
        ] {
            assert_eq!(origin(given).as_deref(), Some(normal), "{given}");
        }
    }

    #[test]
    fn invalid_origins_are_rejected() {
        for bad in [
            "",
            "null",
            "*",
            "gate.example",
            "http://",
            "http://a/b",
            "http://a:0",
            "http://a:65536",
            "http://a:",
            "ftp://a",
            "wss://a",
            "file://",
            "file://a",
            "app://",
            "app://a/b",
            "a b://a",
            "http://u@a",
            "http://a b",
            "http://[::1",
            "http://[x]",
            "http://[::1]80",
            "http://-a",
            "http://a:+80",
            "http://*.a",
        ] {
            assert_eq!(origin(bad), None, "{bad}");
        }
    }

    #[test]
    fn upstream_must_be_a_plain_websocket_url() {
        for good in ["ws://10.0.0.2:18789", "ws://gate/path?x=1", "ws://[::1]:80/"] {
            assert_eq!(websocket_url(good).as_deref(), Some(good));
        }
        for bad in [
            "wss://a",
            "http://a",
            "ws://",
            "ws:///x",
            "ws://u:p@a",
            "ws://a/ b",
            "ws://a/#t",
            "ws://a:99999",
        ] {
            assert_eq!(websocket_url(bad), None, "{bad}");
        }
    }

    #[test]
    fn base_path_is_normalized_to_a_leading_slash() {
        for (given, normal) in
            [("", ""), ("/", ""), ("ui", "/ui"), ("/ui/", "/ui"), ("/a/b", "/a/b")]
        {
            assert_eq!(base_path(given).as_deref(), Some(normal), "{given}");
        }
        for bad in ["/a//b", "/../b", "/a?b", "/a#b", "/a b", "/./a", "/%2e"] {
            assert_eq!(base_path(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_key_and_its_device_id_are_the_same_entry() {
        let key = "A".repeat(43);
        let id = "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925";
        let by_key = authorized_key(&format!("{key} my phone")).unwrap();
        assert_eq!(by_key.id, DeviceId::parse(id).unwrap());
        assert_eq!(by_key.comment, "my phone");
        assert_eq!(authorized_key(&id.to_uppercase()).unwrap().id, by_key.id);
        assert_eq!(authorized_key(&format!("{key}=")).unwrap().id, by_key.id);
        for bad in [
            "",
            "abc",
            &"A".repeat(42),
            &"A".repeat(44),
            &"g".repeat(64),
            &"!".repeat(43),
            "ssh-ed25519 AAAA",
        ] {
            assert_eq!(authorized_key(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_header_name_is_a_token() {
        assert_eq!(header("X-Forwarded-User").as_deref(), Some("x-forwarded-user"));
        for bad in ["", "a b", "a:", "a\nb"] {
            assert_eq!(header(bad), None, "{bad}");
        }
    }
}
