//! Frames: the JSON object that each WebSocket message carries (protocol 3 and 4).
//!
//! Reading parses the envelope only; parameters and payloads stay the bytes that were received.
//! Writing keeps the field order of the protocol. Unknown properties are ignored: protocol 4 adds
//! some to requests that have no meaning here.
//!
//! A frame of a gateway must not have more than [`limits::FRAME_AFTER_HELLO`] bytes. Relayed data
//! may grow (JSON inside a string, one payload in two forms), so it is measured before it is
//! written; [`too_large`] is the last check.

use std::borrow::Cow;

use super::json::{self, Malformed, Value, Writer};
use super::message::{self, message, word};
use super::schema::{find, members, Field, Members, SchemaProblems, ValueKind};
use crate::gate::facts::Protocol;
use crate::gate::limits;
use crate::gate::refusal::ErrorCode;

/// Request of a client.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Id chosen by the client and echoed in the response; at most [`limits::ID_LEN`] bytes.
    pub id: Cow<'a, str>,
    /// Name of the method; at most [`limits::METHOD_LEN`] bytes.
    pub method: Cow<'a, str>,
    /// Any JSON; `null` stays `null`.
    pub params: Option<Value<'a>>,
    /// Size of the message in bytes.
    pub bytes: usize,
    /// Number of JSON values in the message.
    pub values: usize,
}

/// Error if a message is not a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BadFrame {
    /// Not JSON. Before hello the protocol closes with 1000; afterwards it ignores the message.
    Json(Malformed),
    /// JSON that is not a request. Before hello the protocol closes with 1008 `invalid request
    /// frame`; afterwards it sends an error response.
    Request {
        /// Id for the error response: the frame's own if it can be echoed, else `invalid`.
        id: String,
        /// Problems of the frame, for `invalid request frame: ...`.
        problems: String,
    },
}

/// Members of a request.
const REQUEST: [Field; 3] = [
    Field::required("type", ValueKind::Word(&["req"], "must be equal to constant")),
    Field::required("id", ValueKind::Text(1, limits::ID_LEN)),
    Field::required("method", ValueKind::Text(1, limits::METHOD_LEN)),
];

impl<'a> Request<'a> {
    /// Reads one message of a client.
    pub fn parse(message: &'a [u8]) -> Result<Request<'a>, BadFrame> {
        let (value, values) =
            json::parse_counted(message, limits::JSON_DEPTH).map_err(BadFrame::Json)?;
        Request::read(value, message.len(), values)
    }

    /// Reads a checked message of this size.
    pub fn read(value: Value<'a>, bytes: usize, values: usize) -> Result<Request<'a>, BadFrame> {
        let (mut found, mut problems) = (Members::new(), SchemaProblems::default());
        if !members(value, &mut found) {
            problems.add(&[], "must be object");
        } else if found.len() > limits::JSON_KEYS {
            problems.add(&[], &format!("must NOT have more than {} properties", limits::JSON_KEYS));
        }
        if let Some(text) = problems.text() {
            return Err(BadFrame::Request { id: "invalid".to_owned(), problems: text.to_owned() });
        }
        let [_, id, method] = REQUEST.each_ref().map(|field| field.of(&found, "", &mut problems));
        let [id, method] = [id, method].map(|text| text.and_then(|text| text.as_str()));
        match (problems.text(), id, method) {
            (None, Some(id), Some(method)) => {
                Ok(Request { id, method, params: find(&found, "params"), bytes, values })
            }
            (_, id, _) => {
                let id = id.map_or_else(|| "invalid".to_owned(), Cow::into_owned);
                Err(BadFrame::Request {
                    id,
                    problems: problems.text().unwrap_or_default().to_owned(),
                })
            }
        }
    }
}

/// Message of a gateway as its clients read it (the `gatelet` commands, and the upstream
/// connection).
#[derive(Clone, Debug)]
pub enum FromGateway<'a> {
    /// Response to a request.
    Response { id: String, answer: Result<Option<Value<'a>>, ErrorResponse<'a>> },
    /// Event.
    Event { name: String, payload: Option<Value<'a>>, seq: Option<u64> },
}

message! {
    /// Members of a message of a gateway.
    pub struct GatewayMessage<'a> {
        spans { payload or null, error }
        pub kind as "type": String in word(&["event", "res"]),
        pub id: Option<String> in ValueKind::Text(1, limits::ID_LEN),
        pub ok: Option<bool>,
        pub event: Option<String> in ValueKind::Text(1, limits::METHOD_LEN),
        pub seq: Option<u64>,
    }
}

message! {
    /// Error of a received response; members that are not valid count as absent.
    #[derive(Clone, Debug)]
    pub struct ErrorResponse<'a> {
        spans { details or null }
        pub code: String or default in ValueKind::Text(0, limits::FRAME_AFTER_HELLO),
        pub message: String or default in ValueKind::Text(0, limits::FRAME_AFTER_HELLO),
        pub retryable: Option<bool>,
        pub retry_after_ms as "retryAfterMs": Option<u64>,
    }
}

impl<'a> FromGateway<'a> {
    /// Reads one message of a gateway. The error text says why the message is invalid.
    pub fn parse(message: &'a [u8]) -> Result<FromGateway<'a>, String> {
        let value =
            json::parse(message, limits::JSON_DEPTH).map_err(|bad| format!("not JSON: {bad}"))?;
        let (sent, problems) = message::read::<GatewayMessage<'_>>(value, None);
        match (problems.text(), &*sent.kind, sent.id, sent.event) {
            (Some(text), ..) => Err(text.to_owned()),
            (None, "event", _, Some(name)) => {
                Ok(FromGateway::Event { name, payload: sent.payload, seq: sent.seq })
            }
            (None, "res", Some(id), _) => {
                let refusal = || message::read(sent.error.unwrap_or_default(), None).0;
                let answer = if sent.ok == Some(true) { Ok(sent.payload) } else { Err(refusal()) };
                Ok(FromGateway::Response { id, answer })
            }
            _ => Err("must have required property 'id' or 'event'".to_owned()),
        }
    }
}

/// Error of a response that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct ErrorShape<'a> {
    /// Error code; not empty.
    pub code: &'a str,
    /// Error message; not empty.
    pub message: &'a str,
    /// Error details, one JSON value.
    pub details: Option<&'a [u8]>,
    pub retryable: Option<bool>,
    pub retry_after_ms: Option<u64>,
}

impl<'a> ErrorShape<'a> {
    /// Creates an error that has a code and a message only.
    pub const fn new(code: &'a str, message: &'a str) -> ErrorShape<'a> {
        ErrorShape { code, message, details: None, retryable: None, retry_after_ms: None }
    }
}

/// Writes a request; `params` is one JSON value.
pub fn request(id: &str, method: &str, params: &[u8]) -> Vec<u8> {
    frame("req", params.len(), |frame| {
        frame.str("id", id);
        frame.str("method", method);
        frame.raw("params", params);
    })
}

/// Writes a success response; `payload` is one JSON value.
pub fn response_ok(id: &str, payload: &[u8]) -> Vec<u8> {
    response_with(id, payload.len(), &mut |frame| frame.raw("payload", payload))
}

/// Writes a success response whose payload goes straight into the frame, so that a large one is not
/// copied. `inside` is the approximate number of bytes of the payload; `payload` writes the field
/// of that name.
pub fn response_with(id: &str, inside: usize, payload: &mut dyn FnMut(&mut Writer<'_>)) -> Vec<u8> {
    frame("res", inside, |frame| {
        frame.str("id", id);
        frame.bool("ok", true);
        payload(frame);
    })
}

/// Writes an error response.
pub fn response_err(id: &str, error: &ErrorShape<'_>) -> Vec<u8> {
    error_frame(error, |frame| frame.str("id", id))
}

/// Writes an error response; `id` writes the id.
fn error_frame(error: &ErrorShape<'_>, id: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    frame("res", error.details.map_or(0, <[u8]>::len), |frame| {
        id(frame);
        frame.bool("ok", false);
        frame.obj("error", |fields| {
            fields.str("code", error.code);
            fields.str("message", error.message);
            fields.opt_raw("details", error.details);
            fields.opt_bool("retryable", error.retryable);
            fields.opt_u64("retryAfterMs", error.retry_after_ms);
        });
    })
}

/// Writes an event without `seq`. `payload` is one JSON value.
pub fn event(name: &str, payload: &[u8]) -> Vec<u8> {
    event_with(name, payload.len(), &mut |frame| frame.raw("payload", payload))
}

/// Writes the part of an event that is the same for all recipients; [`event_end`] follows.
pub fn event_start(name: &str, payload: &[u8]) -> Vec<u8> {
    let mut start = event(name, payload);
    start.pop();
    start
}

/// Writes the rest of an event: its number for one recipient, and the versions of presence and
/// health.
pub fn event_end(seq: u64, state_version: Option<(u64, u64)>) -> Vec<u8> {
    let mut end = Vec::with_capacity(EVENT_END);
    json::obj(&mut end, |frame| {
        frame.u64("seq", seq);
        if let Some((presence, health)) = state_version {
            frame.obj("stateVersion", |version| {
                version.u64("presence", presence);
                version.u64("health", health);
            });
        }
    });
    end[0] = b',';
    end
}

/// Maximum length of [`event_end`].
pub const EVENT_END: usize = 112;

/// Writes an event to one client, without `seq`. The payload goes straight into the frame, as in
/// [`response_with`].
pub fn event_with(name: &str, inside: usize, payload: &mut dyn FnMut(&mut Writer<'_>)) -> Vec<u8> {
    frame("event", inside, |frame| {
        frame.str("event", name);
        payload(frame);
    })
}

/// Returns the error response that replaces a response of more than [`limits::FRAME_AFTER_HELLO`]
/// bytes written by this module. Returns `None` if `frame` is not a response, because no request
/// waits for an event.
pub fn too_large(frame: &[u8]) -> Option<Vec<u8>> {
    let message = too_large_message("the answer", frame.len());
    let details = json::object(|details| too_large_details(details, frame.len()));
    let code = ErrorCode::Unavailable.name(Protocol::V4);
    replace(frame, &ErrorShape { details: Some(&details), ..ErrorShape::new(code, &message) })
}

/// Returns the error response that replaces a response for which the send queues of all clients
/// together have no room. Returns `None` if `frame` is not a response.
pub fn no_room(frame: &[u8]) -> Option<Vec<u8>> {
    let message = format!(
        "the answer has {} bytes, and large answers that other clients are still reading use up \
         the send queues' share for them; ask again in a second",
        frame.len()
    );
    let code = ErrorCode::Unavailable.name(Protocol::V4);
    let error = ErrorShape {
        retryable: Some(true),
        retry_after_ms: Some(1000),
        ..ErrorShape::new(code, &message)
    };
    replace(frame, &error)
}

/// Returns the error response with the id of a response written by this module; `None` if `frame`
/// is not one.
fn replace(frame: &[u8], error: &ErrorShape<'_>) -> Option<Vec<u8>> {
    let id = frame.strip_prefix(br#"{"type":"res","id":"#)?;
    let id = id.get(..json::string_len(id))?;
    Some(error_frame(error, |frame| frame.raw("id", id)))
}

/// Returns the message that `subject` would be a frame of `bytes` bytes, more than a client
/// accepts.
pub fn too_large_message(subject: &str, bytes: usize) -> String {
    format!(
        "{subject} would be a frame of {bytes} bytes; a client takes at most {} bytes",
        limits::FRAME_AFTER_HELLO
    )
}

/// Writes the `error.details` for that message: `code`, and both sizes in bytes.
pub fn too_large_details(details: &mut Writer<'_>, bytes: usize) {
    details.str("code", TOO_LARGE);
    details.u64("bytes", bytes as u64);
    details.u64("maxBytes", limits::FRAME_AFTER_HELLO as u64);
}

/// Code in the error details for a frame larger than [`limits::FRAME_AFTER_HELLO`].
pub const TOO_LARGE: &str = "FRAME_TOO_LARGE";

fn frame(kind: &str, inside: usize, fields: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(inside + 192);
    json::obj(&mut out, |frame| {
        frame.str("type", kind);
        fields(frame);
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::Random;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    fn refused(message: &str) -> (String, String) {
        match Request::parse(message.as_bytes()) {
            Err(BadFrame::Request { id, problems }) => (id, problems),
            other => panic!("{message}: {other:?}"),
        }
    }

    #[test]
    fn request_parameters_stay_as_received() {
        let message = br#"{"type":"req","id":"7","method":"node.list","params": { "a" : [1] },"traceparent":"x"}"#;
        let request = Request::parse(message).unwrap();
        assert_eq!(
            (&*request.id, &*request.method, request.params.unwrap().raw()),
            ("7", "node.list", "{ \"a\" : [1] }")
        );
        assert!(Request::parse(br#"{"id":"1","method":"x","type":"req"}"#)
            .unwrap()
            .params
            .is_none());
        assert!(Request::parse(br#"{"id":"1","method":"x","type":"req","params":null}"#)
            .unwrap()
            .params
            .unwrap()
            .is_null());
    }

    #[test]
    fn invalid_requests_are_rejected_in_protocol_text() {
        let expected = "must have required property 'type'; must have required property 'id'; must have required property 'method'";
        assert_eq!(refused("{}"), ("invalid".into(), expected.into()));
        assert_eq!(refused("[]"), ("invalid".into(), "must be object".into()));
        let twisted = refused(r#"{"type":"res","id":"9","method":5}"#);
        assert_eq!(
            twisted,
            ("9".into(), "at /type: must be equal to constant; at /method: must be string".into())
        );
        let blank = refused(r#"{"type":"req","id":"","method":""}"#).1;
        assert_eq!(
            blank,
            "at /id: must NOT have fewer than 1 characters; at /method: must NOT have fewer than 1 characters"
        );
        let long =
            format!(r#"{{"type":"req","id":"{}","method":"m"}}"#, "i".repeat(limits::ID_LEN + 1));
        assert_eq!(
            refused(&long),
            ("invalid".into(), "at /id: must NOT have more than 256 characters".into())
        );
        assert!(matches!(Request::parse(b"{\"type\":"), Err(BadFrame::Json(_))));
    }

    #[test]
    fn duplicate_method_after_many_members_is_rejected() {
        let filling: String = (0..limits::JSON_KEYS).map(|at| format!("\"f{at}\":0,")).collect();
        let message = format!(
            r#"{{{filling}"type":"req","id":"1","method":"health","method":"config.set"}}"#
        );
        assert_eq!(refused(&message).1, "must NOT have more than 64 properties");
    }

    #[test]
    fn frames_are_written_in_the_field_order_of_the_protocol() {
        let ok = text(response_ok("a\"", b"{\"x\":1}"));
        assert_eq!(ok, r#"{"type":"res","id":"a\"","ok":true,"payload":{"x":1}}"#);
        let error = ErrorShape {
            details: Some(b"{}"),
            retryable: Some(true),
            retry_after_ms: Some(500),
            ..ErrorShape::new("C", "m")
        };
        let full = r#"{"type":"res","id":"1","ok":false,"error":{"code":"C","message":"m","details":{},"retryable":true,"retryAfterMs":500}}"#;
        assert_eq!(text(response_err("1", &error)), full);
        let short = text(response_err("1", &ErrorShape::new("C", "m")));
        assert_eq!(
            short,
            r#"{"type":"res","id":"1","ok":false,"error":{"code":"C","message":"m"}}"#
        );
        let full = r#"{"type":"event","event":"presence","payload":{},"seq":4,"stateVersion":{"presence":2,"health":1}}"#;
        let parts = [event_start("presence", b"{}"), event_end(4, Some((2, 1)))];
        assert_eq!(text(parts.concat()), full);
        assert_eq!(
            text([event_start("tick", b"{}"), event_end(1, None)].concat()),
            r#"{"type":"event","event":"tick","payload":{},"seq":1}"#
        );
        assert!(event_end(u64::MAX, Some((u64::MAX, u64::MAX))).len() <= EVENT_END);
        assert_eq!(
            text(event("tick", b"{\"ts\":1}")),
            r#"{"type":"event","event":"tick","payload":{"ts":1}}"#
        );
        assert_eq!(
            text(request("1", "health", b"{}")),
            r#"{"type":"req","id":"1","method":"health","params":{}}"#
        );
    }

    #[test]
    fn gateway_messages_read_back() {
        let error = ErrorShape {
            details: Some(b"[2]"),
            retry_after_ms: Some(5),
            ..ErrorShape::new("C", "m")
        };
        let message = response_err("1", &error);
        let Ok(FromGateway::Response { id, answer: Err(refusal) }) = FromGateway::parse(&message)
        else {
            panic!()
        };
        assert_eq!(
            (&*id, &*refusal.code, refusal.details.unwrap().raw(), refusal.retry_after_ms),
            ("1", "C", "[2]", Some(5))
        );
        let message = response_ok("1", b"3");
        let Ok(FromGateway::Response { answer: Ok(Some(payload)), .. }) =
            FromGateway::parse(&message)
        else {
            panic!()
        };
        assert_eq!(payload.as_u64(), Some(3));
        let message = [event_start("tick", b"{}"), event_end(9, None)].concat();
        assert!(matches!(
            FromGateway::parse(&message),
            Ok(FromGateway::Event { seq: Some(9), .. })
        ));
        assert!(FromGateway::parse(br#"{"type":"req","id":"1","method":"x"}"#).is_err());
    }

    #[test]
    fn oversized_response_becomes_an_error_with_both_sizes() {
        let id = "a\"\\\u{1}";
        let response = response_ok(id, b"[1,2,3]");
        let bytes = response.len();
        let error = text(too_large(&response).unwrap());
        let expected = concat!(
            r#"{"type":"res","id":"a\"\\\u0001","ok":false,"error":{"code":"UNAVAILABLE","#,
            r#""message":"the answer would be a frame of BYTES bytes; a client takes at most 26214400 bytes","#,
            r#""details":{"code":"FRAME_TOO_LARGE","bytes":BYTES,"maxBytes":26214400}}}"#
        );
        assert_eq!(error, expected.replace("BYTES", &bytes.to_string()));
        assert!(too_large(&response_err(id, &ErrorShape::new("C", "m"))).is_some());
        assert!(too_large(&event("tick", b"{}")).is_none());
        assert!(too_large(&request("1", "health", b"{}")).is_none());
    }

    #[test]
    fn parsing_never_panics() {
        let mut random = Random::new(11);
        let sample =
            br#"{"type":"req","id":"1","method":"connect","params":{"a":[1,"\u00e9"]},"ok":true,"event":"x","seq":1}"#;
        for _ in 0..20_000 {
            let message = random.damaged(sample);
            if let Err(BadFrame::Request { problems, .. }) = Request::parse(&message) {
                assert!(!problems.is_empty() && problems.len() <= limits::PROBLEMS_LEN);
            }
            let _ = FromGateway::parse(&message);
        }
    }
}
