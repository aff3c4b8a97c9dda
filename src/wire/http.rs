//! HTTP/1.1 as far as a gateway needs it: the head of one request, and the heads of responses.
//!
//! A connection carries one request, without a body on GET or HEAD. A request that two parsers
//! could interpret differently is rejected: folded lines, two Host or Origin lines, a length next
//! to a transfer coding, targets that are not a path. A header value that is not UTF-8 reads as
//! U+FFFD, which matches no host, no origin and no address.

use std::borrow::Cow;
use std::fmt;

use sha1::{Digest, Sha1};

use super::base64;
use crate::gate::limits;

/// Head of one request.
pub struct Head<'a> {
    /// Length of the head in bytes, the empty line included.
    pub len: usize,
    pub method: &'a str,
    /// Path as sent, from the first `/` to the query; nothing is decoded.
    pub path: &'a str,
    pub query: Option<&'a str>,
    /// Minor version: 1 for HTTP/1.1, 0 for HTTP/1.0.
    pub minor_version: u8,
    lines: heapless::Vec<(&'a str, &'a str), { limits::HEAD_LINES }>,
}

/// Reason why a request is rejected. The connection is closed after the response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bad {
    /// Not HTTP/1.
    Malformed,
    /// The start of a TLS connection.
    Tls,
    /// The start of an HTTP/2 connection.
    Http2,
    /// A PROXY protocol header in front of the request.
    ProxyProtocol,
    /// More than [`limits::HEAD_LEN`] bytes or [`limits::HEAD_LINES`] lines.
    TooLarge,
    /// A header that may occur only once occurs twice.
    Twice(&'static str),
    /// A request target that is not a path.
    Target,
    /// A body on GET or HEAD, or a length next to a transfer coding.
    Body,
    /// A WebSocket handshake by another method than GET.
    WebSocketMethod,
    /// A WebSocket handshake over HTTP/1.0, or without Upgrade or Connection: Upgrade.
    NotUpgraded,
    /// A WebSocket handshake of another version than 13.
    WebSocketVersion,
    /// A WebSocket handshake without a key of 16 bytes.
    WebSocketKey,
}

impl Bad {
    /// Causes as `/metrics` names them.
    pub const CAUSES: [&'static str; 8] =
        ["upgrade", "version", "key", "method", "head", "TLS", "HTTP/2", "PROXY protocol"];

    /// Returns the index of the cause in [`Bad::CAUSES`].
    pub const fn cause(self) -> usize {
        match self {
            Bad::NotUpgraded => 0,
            Bad::WebSocketVersion => 1,
            Bad::WebSocketKey => 2,
            Bad::WebSocketMethod => 3,
            Bad::Malformed | Bad::TooLarge | Bad::Twice(_) | Bad::Target | Bad::Body => 4,
            Bad::Tls => 5,
            Bad::Http2 => 6,
            Bad::ProxyProtocol => 7,
        }
    }

    /// Returns the HTTP status of the response as it is shown.
    pub const fn status_text(self) -> &'static str {
        match self.status() {
            426 => "HTTP 426",
            431 => "HTTP 431",
            _ => "HTTP 400",
        }
    }

    /// Returns the HTTP status of the response.
    pub const fn status(self) -> u16 {
        match self {
            Bad::TooLarge => 431,
            Bad::NotUpgraded | Bad::WebSocketVersion => 426,
            _ => 400,
        }
    }

    /// Returns what to do about it.
    pub const fn hint(self) -> &'static str {
        match self {
            Bad::Malformed => "check which program connects to this port",
            Bad::Tls => {
                "connect with ws:// or http://, or to a proxy that has a certificate and forwards to this port"
            }
            Bad::Http2 => "connect, or let the proxy connect, with HTTP/1.1",
            Bad::ProxyProtocol => {
                "turn the PROXY protocol to this port off in the proxy (HAProxy: send-proxy, nginx: proxy_protocol)"
            }
            Bad::TooLarge => "send fewer or shorter headers",
            Bad::Twice(_) => "send one",
            Bad::Target => "send one that begins with /",
            Bad::Body => "send GET without a body",
            Bad::WebSocketMethod => "send GET",
            Bad::NotUpgraded => {
                "if a proxy is in between, it must pass WebSockets on. nginx needs in its location: \
                proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\";"
            }
            Bad::WebSocketVersion => "send Sec-WebSocket-Version: 13",
            Bad::WebSocketKey => "send a Sec-WebSocket-Key of 16 bytes in base64; a proxy must pass it on",
        }
    }

    /// Returns whether the sender of `bytes`, which were rejected, meant to connect to the gateway:
    /// they name a WebSocket, or they are of a proxy or client that is set up for another protocol.
    pub fn is_meant_to_connect(self, bytes: &[u8]) -> bool {
        let name = SEC_WEBSOCKET.as_bytes();
        let within = &bytes[..bytes.len().min(limits::HEAD_LEN)];
        matches!(self, Bad::Tls | Bad::Http2 | Bad::ProxyProtocol)
            || within.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Bad {
    /// Writes the reason without the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bad::Malformed => "cannot read the request: not HTTP/1.1",
            Bad::Tls => "cannot read the request: it is TLS, which this port has not",
            Bad::Http2 => "cannot read the request: it is HTTP/2, which this port has not",
            Bad::ProxyProtocol => "cannot read the request: it begins with the PROXY protocol",
            Bad::TooLarge => "cannot read the request: its head is too large",
            Bad::Twice(name) => return write!(f, "cannot accept the request: two {name} headers"),
            Bad::Target => "cannot accept the request: its target is not a path",
            Bad::Body => "cannot accept the request: it has a body",
            Bad::WebSocketMethod => "cannot open a WebSocket: the method is not GET",
            Bad::NotUpgraded => {
                "cannot open a WebSocket: the request is not HTTP/1.1 with Upgrade: websocket and Connection: Upgrade"
            }
            Bad::WebSocketVersion => "cannot open a WebSocket: unknown version",
            Bad::WebSocketKey => "cannot open a WebSocket: no valid key",
        })
    }
}

/// Start of the names of a WebSocket handshake's headers. Proxies that drop Upgrade pass them on.
const SEC_WEBSOCKET: &str = "Sec-WebSocket-";

/// Returns the reason why bytes that are not HTTP/1 are rejected.
fn other_protocol(bytes: &[u8]) -> Bad {
    let is = |start: &[u8]| bytes.starts_with(start);
    if is(b"\x16\x03") {
        Bad::Tls
    } else if is(b"PRI * HTTP/2") {
        Bad::Http2
    } else if is(b"PROXY ") || is(b"\r\n\r\n\0\r\nQUIT\n") {
        Bad::ProxyProtocol
    } else {
        Bad::Malformed
    }
}

/// Headers that may occur only once.
const SINGLE: [&str; 9] = [
    "Host",
    "Origin",
    "Authorization",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Content-Length",
    "Transfer-Encoding",
    "X-Real-IP",
    "If-None-Match",
];

impl<'a> Head<'a> {
    /// Reads the head at the beginning of `bytes`. Returns `None` if it is not complete yet.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Head<'a>>, Bad> {
        let mut room = [httparse::EMPTY_HEADER; limits::HEAD_LINES];
        let mut request = httparse::Request::new(&mut room);
        let within = &bytes[..bytes.len().min(limits::HEAD_LEN)];
        let len = match request.parse(within) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) if bytes.len() < limits::HEAD_LEN => return Ok(None),
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Err(Bad::TooLarge)
            }
            Err(_) => return Err(other_protocol(within)),
        };
        let (Some(method), Some(target), Some(minor_version)) =
            (request.method, request.path, request.version)
        else {
            return Err(Bad::Malformed);
        };
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        if !target.starts_with('/') || target.contains('#') {
            return Err(Bad::Target);
        }
        let value =
            |line: &httparse::Header<'a>| core::str::from_utf8(line.value).unwrap_or("\u{fffd}");
        let mut lines = heapless::Vec::new();
        for line in request.headers.iter() {
            lines.push((line.name, value(line).trim_ascii())).map_err(|_| Bad::TooLarge)?;
        }
        let head = Head { len, method, path, query, minor_version, lines };
        head.check()?;
        Ok(Some(head))
    }

    /// Returns the value of the header, of the first line if there are several.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.values(name).next()
    }

    /// Returns whether the header occurs in more than one line.
    pub fn is_twice(&self, name: &str) -> bool {
        self.values(name).nth(1).is_some()
    }

    /// Returns the value of Host as sent. It is not checked.
    pub fn host(&self) -> Option<&'a str> {
        self.header("Host")
    }

    /// Returns the value of Origin as sent.
    pub fn origin(&self) -> Option<&'a str> {
        self.header("Origin")
    }

    /// Returns the values of all X-Forwarded-For lines, joined by commas.
    pub fn forwarded_for(&self) -> Option<Cow<'a, str>> {
        let mut lines = self.values("X-Forwarded-For");
        let mut joined = Cow::Borrowed(lines.next()?);
        for line in lines {
            let joined = joined.to_mut();
            joined.push(',');
            joined.push_str(line);
        }
        Some(joined)
    }

    /// Returns whether any header of a proxy is present: Forwarded, Via, X-Real-IP, X-Forwarded-*,
    /// Tailscale-*.
    pub fn proxied(&self) -> bool {
        let whole = ["Forwarded", "Via", "X-Real-IP"];
        let begin = ["X-Forwarded-", "Tailscale-"];
        self.lines.iter().any(|(name, _)| {
            whole.iter().any(|one| name.eq_ignore_ascii_case(one))
                || begin.iter().any(|one| starts_with(name, one))
        })
    }

    /// Returns the credential of `Authorization: Bearer`.
    pub fn bearer(&self) -> Option<&'a str> {
        let (scheme, token) = self.header("Authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
    }

    /// Returns whether the client accepts the content coding and likes it at least as much as none
    /// (RFC 9110, section 12.5.3). A client that sends no `Accept-Encoding` gets none: it may be a
    /// program that shows the body as it is.
    pub fn accepts(&self, coding: &str) -> bool {
        let any = self.weight("*");
        let weight = self.weight(coding).or(any).unwrap_or(0);
        // no coding is acceptable unless it is excluded, but the last choice unless it is listed
        weight > 0 && weight >= self.weight("identity").or(any).unwrap_or(1)
    }

    /// Returns the weight of an entry of `Accept-Encoding` in thousandths; `None` without one.
    fn weight(&self, coding: &str) -> Option<u16> {
        self.values("Accept-Encoding").flat_map(|line| line.split(',')).find_map(|one| {
            let (name, parameter) = one.split_once(';').unwrap_or((one, "q=1"));
            let name = name.trim();
            // two names of one coding (section 8.4.1.3)
            let name = if name.eq_ignore_ascii_case("x-gzip") { "gzip" } else { name };
            name.eq_ignore_ascii_case(coding).then(|| thousandths(parameter))
        })
    }

    /// Returns whether the method is GET or HEAD.
    pub fn is_read(&self) -> bool {
        matches!(self.method, "GET" | "HEAD")
    }

    /// Returns whether a body follows.
    pub fn has_body(&self) -> bool {
        self.header("Transfer-Encoding").is_some()
            || self.header("Content-Length").is_some_and(|length| length != "0")
    }

    /// Returns whether the request is meant to open a WebSocket: it asks for one, or it has headers
    /// of a WebSocket handshake, from which a proxy may have dropped Upgrade.
    pub fn wants_websocket(&self) -> bool {
        self.names("Upgrade", "websocket")
            || self.lines.iter().any(|(name, _)| starts_with(name, SEC_WEBSOCKET))
    }

    /// Returns the 101 response to the WebSocket handshake (RFC 6455). No subprotocol or extension
    /// is ever agreed on.
    pub fn accept_websocket(&self) -> Result<Vec<u8>, Bad> {
        if self.method != "GET" {
            return Err(Bad::WebSocketMethod);
        }
        if self.minor_version == 0
            || !self.names("Upgrade", "websocket")
            || !self.names("Connection", "upgrade")
        {
            return Err(Bad::NotUpgraded);
        }
        if self.header("Sec-WebSocket-Version") != Some("13") {
            return Err(Bad::WebSocketVersion);
        }
        let key = self.header("Sec-WebSocket-Key").unwrap_or("");
        if key.len() != 24 || base64::decode::<16>(key).is_none() {
            return Err(Bad::WebSocketKey);
        }
        let digest = Sha1::new()
            .chain_update(key)
            .chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
            .finalize();
        let accept = base64::encode(&digest);
        let lines = [
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
            &accept,
            "\r\n\r\n",
        ];
        Ok(lines.concat().into_bytes())
    }

    /// Rejects a head that two parsers could interpret differently.
    fn check(&self) -> Result<(), Bad> {
        if let Some(name) = SINGLE.iter().find(|name| self.is_twice(name)) {
            return Err(Bad::Twice(name));
        }
        let both =
            self.header("Transfer-Encoding").is_some() && self.header("Content-Length").is_some();
        if both || (self.is_read() && self.has_body()) {
            return Err(Bad::Body);
        }
        Ok(())
    }

    fn values<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'a str> + 'h {
        self.lines.iter().filter(move |line| line.0.eq_ignore_ascii_case(name)).map(|line| line.1)
    }

    fn names(&self, list: &str, token: &str) -> bool {
        self.values(list)
            .flat_map(|line| line.split(','))
            .any(|one| one.trim().eq_ignore_ascii_case(token))
    }
}

/// Returns whether the name begins with `start`, in any case.
fn starts_with(name: &str, start: &str) -> bool {
    name.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
}

/// Reads `q=0.5` as 500. An invalid weight counts as 0.
fn thousandths(parameter: &str) -> u16 {
    let Some((name, value)) = parameter.split_once('=') else { return 0 };
    let (whole, part) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    let digits = part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    match whole {
        _ if !digits || !name.trim().eq_ignore_ascii_case("q") => 0,
        "1" => 1000,
        "0" => format!("{part:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

/// Head of a response. Every response closes the connection and forbids framing, content sniffing
/// and referrers.
#[derive(Clone, Copy)]
pub struct ResponseHead<'a> {
    pub status: u16,
    pub content_type: &'a str,
    /// Value of Cache-Control.
    pub cache: &'a str,
    /// Value of Content-Security-Policy.
    pub policy: &'a str,
    /// Further headers. Control characters in them are left out.
    pub extra: &'a [(&'a str, &'a str)],
}

/// Content security policy of gatelet's own pages: own files only, no inline code, no framing.
pub const POLICY_OWN: &str =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Content security policy of a Control UI that is served from a directory: allows what the pages
/// of both protocols load without an agent runtime. It ends with the script sources, so that hashes
/// can be appended.
pub const POLICY_CONTROL_UI: &str = "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; \
    frame-src 'self'; style-src 'self' 'unsafe-inline' https://fonts.googleapis.com; \
    img-src 'self' data: blob: https:; media-src 'self' data: blob:; font-src 'self' https://fonts.gstatic.com; worker-src 'self'; \
    connect-src 'self' ws: wss: data: https://tweakcn.com; script-src 'self'";

impl<'a> ResponseHead<'a> {
    /// Head of a JSON response that must not be stored.
    pub const JSON: ResponseHead<'static> = ResponseHead {
        status: 200,
        content_type: "application/json; charset=utf-8",
        cache: "no-store",
        policy: POLICY_OWN,
        extra: &[],
    };

    /// Head of a plain text response that must not be stored.
    pub const TEXT: ResponseHead<'static> =
        ResponseHead { content_type: "text/plain; charset=utf-8", ..ResponseHead::JSON };

    /// Returns the same head with another status.
    pub const fn status(mut self, status: u16) -> ResponseHead<'a> {
        self.status = status;
        self
    }

    /// Returns the bytes of the head, for a body of `len` bytes.
    pub fn head(&self, len: u64) -> Vec<u8> {
        let mut out = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status)).into_bytes();
        if self.status != 304 {
            line(&mut out, "Content-Type", self.content_type);
            line(&mut out, "Content-Length", &len.to_string());
        }
        line(&mut out, "Cache-Control", self.cache);
        line(&mut out, "Content-Security-Policy", self.policy);
        self.extra.iter().for_each(|(name, value)| line(&mut out, name, value));
        out.extend_from_slice(FIXED);
        out
    }

    /// Returns the whole response. The body is left out for HEAD and for status 304.
    pub fn whole(&self, body: &[u8], to: &Head<'_>) -> Vec<u8> {
        let mut out = self.head(body.len() as u64);
        if to.method != "HEAD" && self.status != 304 {
            out.extend_from_slice(body);
        }
        out
    }

    /// Returns the response to a head that was rejected.
    pub fn refusal(bad: Bad) -> Vec<u8> {
        let body = format!("{bad}; {}\n", bad.hint());
        let version = [("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")];
        let extra: &[_] = if bad.status() == 426 { &version } else { &[] };
        let mut out = ResponseHead { status: bad.status(), extra, ..ResponseHead::TEXT }
            .head(body.len() as u64);
        out.extend_from_slice(body.as_bytes());
        out
    }
}

const FIXED: &[u8] = b"X-Content-Type-Options: nosniff\r\n\
    Referrer-Policy: no-referrer\r\n\
    X-Frame-Options: DENY\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\n\
    Connection: close\r\n\r\n";

fn line(out: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, ": ", value] {
        out.extend(part.bytes().filter(|byte| !byte.is_ascii_control()));
    }
    out.extend_from_slice(b"\r\n");
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::Random;

    const UPGRADE: &str =
        "GET /chat?x=1 HTTP/1.1\r\nHost: a:1\r\nupgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: http://a:1\r\n\r\n";

    fn read(text: &str) -> Result<Head<'_>, Bad> {
        Head::parse(text.as_bytes()).map(|head| head.expect(text))
    }

    fn get(lines: &str) -> String {
        format!("GET / HTTP/1.1\r\n{lines}\r\n")
    }

    #[test]
    fn the_head_of_a_websocket_handshake_is_read_and_accepted() {
        let text = UPGRADE.to_owned() + "frame";
        let head = read(&text).unwrap();
        assert_eq!(
            (head.len, head.method, head.path, head.query),
            (UPGRADE.len(), "GET", "/chat", Some("x=1"))
        );
        assert_eq!(
            (head.host(), head.origin(), head.proxied()),
            (Some("a:1"), Some("http://a:1"), false)
        );
        let answer = String::from_utf8(head.accept_websocket().unwrap()).unwrap();
        // The example of RFC 6455, section 1.3.
        assert!(
            answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"),
            "{answer}"
        );
    }

    #[test]
    fn invalid_websocket_handshakes_are_rejected() {
        let bad = |from: &str, to: &str| {
            read(&UPGRADE.replace(from, to)).unwrap().accept_websocket().unwrap_err()
        };
        assert_eq!(bad(": 13", ": 8"), Bad::WebSocketVersion);
        assert_eq!(bad("GET", "POST"), Bad::WebSocketMethod);
        assert_eq!(bad("HTTP/1.1", "HTTP/1.0"), Bad::NotUpgraded);
        assert_eq!(bad(", Upgrade", ""), Bad::NotUpgraded);
        assert_eq!(bad("upgrade: WebSocket\r\n", ""), Bad::NotUpgraded);
        assert_eq!(bad("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ"), Bad::WebSocketKey);
        assert_eq!(bad("Sec-WebSocket-Key", "X-Key"), Bad::WebSocketKey);
        assert!(!read(&get("Upgrade: h2c\r\n")).unwrap().wants_websocket());
        assert_eq!(Bad::WebSocketVersion.status(), 426);
    }

    #[test]
    fn incomplete_head_gives_none() {
        for end in 0..UPGRADE.len() {
            assert!(Head::parse(&UPGRADE.as_bytes()[..end]).unwrap().is_none(), "{end}");
        }
    }

    #[test]
    fn ambiguous_heads_are_rejected() {
        let refused = [
            (get("Host: a\r\nhost: b\r\n"), Bad::Twice("Host")),
            (get("Origin: a\r\nOrigin: a\r\n"), Bad::Twice("Origin")),
            (
                get("Sec-WebSocket-Key: a\r\nSec-WebSocket-Key: b\r\n"),
                Bad::Twice("Sec-WebSocket-Key"),
            ),
            (get("Content-Length: 5\r\n"), Bad::Body),
            (get("Content-Length: +0\r\n"), Bad::Body),
            (get("Transfer-Encoding: chunked\r\n"), Bad::Body),
            (get("Content-Length: 0\r\nContent-Length: 0\r\n"), Bad::Twice("Content-Length")),
            (
                "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: x\r\n\r\n".into(),
                Bad::Body,
            ),
            (get("A: b\r\n folded\r\n"), Bad::Malformed),
            (get("Host : a\r\n"), Bad::Malformed),
            (get(" Host: a\r\n"), Bad::Malformed),
            (get("Host: a\0\r\n"), Bad::Malformed),
            ("GET http://a/ HTTP/1.1\r\n\r\n".into(), Bad::Target),
            ("OPTIONS * HTTP/1.1\r\n\r\n".into(), Bad::Target),
            ("CONNECT a:1 HTTP/1.1\r\n\r\n".into(), Bad::Target),
            ("GET  / HTTP/1.1\r\n\r\n".into(), Bad::Malformed),
            ("GET / HTTP/2.0\r\n\r\n".into(), Bad::Malformed),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), Bad::Http2),
            ("\x16\x03\x01\x02".into(), Bad::Tls),
            ("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET / HTTP/1.1\r\n".into(), Bad::ProxyProtocol),
            ("\r\n\r\n\0\r\nQUIT\n!".into(), Bad::ProxyProtocol),
        ];
        for (text, bad) in refused {
            assert_eq!(read(&text).err(), Some(bad), "{text:?}");
        }
        assert!(read(&get("Content-Length: 0\r\n")).is_ok());
    }

    #[test]
    fn heads_are_bounded_in_bytes_and_lines() {
        let lines = |count: usize| get(&"A: b\r\n".repeat(count));
        assert!(read(&lines(limits::HEAD_LINES)).is_ok());
        assert_eq!(read(&lines(limits::HEAD_LINES + 1)).err(), Some(Bad::TooLarge));
        let long = format!("GET /{} HTTP/1.1", "a".repeat(limits::HEAD_LEN));
        assert_eq!(read(&long).err(), Some(Bad::TooLarge));
        assert!(Head::parse(&long.as_bytes()[..limits::HEAD_LEN - 1]).unwrap().is_none());
        assert_eq!(Head::parse(&long.as_bytes()[..limits::HEAD_LEN]).err(), Some(Bad::TooLarge));
    }

    #[test]
    fn proxy_headers_are_detected() {
        let text = get("X-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nA: b\r\nx-forwarded-for: 3.3.3.3\r\n");
        assert_eq!(
            read(&text).unwrap().forwarded_for().as_deref(),
            Some("1.1.1.1, 2.2.2.2,3.3.3.3")
        );
        for name in [
            "x-forwarded-for",
            "X-Forwarded-Anything",
            "Forwarded",
            "x-real-ip",
            "TAILSCALE-USER-LOGIN",
            "Via",
        ] {
            assert!(read(&get(&format!("{name}: x\r\n"))).unwrap().proxied(), "{name}");
        }
        assert!(!read(&get("X-Forwarded: x\r\nViable: x\r\n")).unwrap().proxied());
        assert!(read(&get("A: b\r\n")).unwrap().forwarded_for().is_none());
    }

    #[test]
    fn bearer_tokens_and_content_codings_are_read() {
        assert_eq!(read(&get("authorization: bearer  t0k \r\n")).unwrap().bearer(), Some("t0k"));
        assert_eq!(read(&get("Authorization: Basic eA==\r\n")).unwrap().bearer(), None);
        let text = get("Accept-Encoding: GZIP, br;q=0.5,zstd;q=0.0\r\n");
        let head = read(&text).unwrap();
        assert!(
            head.accepts("br")
                && head.accepts("gzip")
                && !head.accepts("zstd")
                && !head.accepts("deflate")
        );
    }

    #[test]
    fn content_codings_are_negotiated() {
        for (lines, gzip, br) in [
            ("", false, false),
            ("Accept-Encoding:\r\n", false, false),
            ("Accept-Encoding: identity\r\n", false, false),
            ("Accept-Encoding: gzip\r\n", true, false),
            ("Accept-Encoding: x-GZIP\r\n", true, false),
            ("Accept-Encoding: gzip;q=0\r\n", false, false),
            ("Accept-Encoding: gzip; Q = 0.001\r\n", true, false),
            ("Accept-Encoding: gzip;q=0.0000\r\n", false, false),
            ("Accept-Encoding: gzip;q=2\r\n", false, false),
            ("Accept-Encoding: gzip;level=9\r\n", false, false),
            ("Accept-Encoding: *\r\n", true, true),
            ("Accept-Encoding: *;q=0\r\n", false, false),
            ("Accept-Encoding: br, *;q=0\r\n", false, true),
            ("Accept-Encoding: gzip;q=0, *\r\n", false, true),
            ("Accept-Encoding: identity;q=1, gzip;q=0.5\r\n", false, false),
            ("Accept-Encoding: identity;q=0.5, gzip;q=1.0\r\n", true, false),
            ("Accept-Encoding: identity;q=0, gzip;q=0.1\r\n", true, false),
            ("Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n", true, true),
        ] {
            let text = get(lines);
            let head = read(&text).unwrap();
            assert_eq!((head.accepts("gzip"), head.accepts("br")), (gzip, br), "{lines:?}");
        }
    }

    #[test]
    fn non_utf8_value_reads_as_replacement_character() {
        let head = Head::parse(b"GET / HTTP/1.1\r\nHost: loc\xe4lhost\r\nCookie: \xff\r\n\r\n")
            .unwrap()
            .unwrap();
        assert_eq!(head.host(), Some("\u{fffd}"));
    }

    #[test]
    fn responses_have_fixed_headers_and_no_injected_lines() {
        let head_request = "HEAD / HTTP/1.1\r\n\r\n";
        let answer = ResponseHead {
            extra: &[("Location", "/x\r\nSet-Cookie: a")],
            ..ResponseHead::JSON.status(302)
        };
        let text = String::from_utf8(answer.whole(b"{}", &read(head_request).unwrap())).unwrap();
        assert!(text.starts_with(
            "HTTP/1.1 302 Found\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 2\r\n"
        ));
        assert!(
            text.contains("Location: /xSet-Cookie: a\r\n")
                && text.ends_with("Connection: close\r\n\r\n")
        );
        for line in [
            "X-Content-Type-Options: nosniff",
            "Referrer-Policy: no-referrer",
            "Content-Security-Policy: default-src 'none'",
        ] {
            assert!(text.contains(line), "{line}");
        }
        assert!(ResponseHead::TEXT
            .whole(b"body", &read(&get("")).unwrap())
            .ends_with(b"\r\n\r\nbody"));
        let refusal = String::from_utf8(ResponseHead::refusal(Bad::WebSocketVersion)).unwrap();
        assert!(
            refusal.starts_with("HTTP/1.1 426 ")
                && refusal.contains("\r\nSec-WebSocket-Version: 13\r\n")
        );
    }

    #[test]
    fn parsing_never_panics() {
        let mut random = Random::new(23);
        for round in 0..20_000 {
            let bytes = match round % 2 {
                0 => random.damaged(UPGRADE.as_bytes()),
                _ => random.bytes_of(b"GET / HTTP/1.1\r\n\r\n: \xff\0HostX-Forwarded-", 60),
            };
            let read = Head::parse(&bytes);
            if let Ok(Some(head)) = read {
                let _ = (
                    head.accept_websocket(),
                    head.bearer(),
                    head.forwarded_for(),
                    head.proxied(),
                    head.accepts("gzip"),
                );
                assert!(head.len <= bytes.len() && head.path.starts_with('/'));
            }
        }
    }
}
