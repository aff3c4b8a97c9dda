//! JSON frames: the validator, views of values, requests, frames of a gateway, and responses that
//! echo parts of them.

use gatelet::gate::limits;
use gatelet::wire::connect::Connect;
use gatelet::wire::frames::{self, BadFrame, ErrorShape, FromGateway, Request};
use gatelet::wire::json::{self, Kind, Value};
use gatelet::wire::message::Params;
use serde_json::Value as Other;

use crate::{bounded, samples, Seeds};

/// Parsing uses tables of fixed size. Views of strings with escapes, the problems of a frame and
/// responses take a small multiple of the input.
fn bound(len: usize) -> usize {
    64 * 1024 + 16 * len
}

/// Any bytes as a frame.
pub fn run(data: &[u8]) {
    let read = bounded(16, || json::parse(data, limits::JSON_DEPTH));
    let other = serde_json::from_slice::<Other>(data);
    match read {
        Ok(value) => {
            let other = other.unwrap_or_else(|error| match error.to_string() {
                // a number without a type in serde_json is still JSON
                text if text.contains("number out of range") => Other::Null,
                text => panic!("read, and is no JSON: {text}"),
            });
            bounded(bound(data.len()), || look(&value, 0));
            if other != Other::Null {
                same(&value, &other);
            }
            let pretty = json::pretty(&value);
            if let Ok(again) = serde_json::from_str::<Other>(&pretty) {
                assert!(other == Other::Null || again == other, "printed it is another value");
            }
        }
        Err(bad) => {
            assert!(bad.at <= data.len());
            assert!(other.is_err() || ours_alone(bad.what), "no JSON to us alone: {bad}");
        }
    }
    bounded(bound(data.len()), || frames(data));
}

/// Returns whether only our parser rejects a text for this reason.
fn ours_alone(what: &str) -> bool {
    what.contains("deep") || what.contains("twice") || what.contains("keys") || what.contains("key")
}

/// Calls every view of every value; they must not fail and must agree.
fn look(value: &Value<'_>, depth: usize) {
    let kind = value.kind();
    assert_eq!(value.as_str().is_some(), kind == Kind::String);
    assert_eq!(value.as_bool().is_some(), kind == Kind::Bool);
    assert_eq!(value.is_null(), kind == Kind::Null);
    assert!(kind == Kind::Number || value.as_u64().is_none() && value.as_i64().is_none());
    if let Some(text) = value.as_str() {
        assert!(value.is_str(&text) && text.len() <= value.raw().len());
    }
    let _ = (value.get("id"), value.at("params").get("nodeId"));
    if depth < limits::JSON_DEPTH {
        value.items().for_each(|item| look(&item, depth + 1));
        value.fields().for_each(|(_, field)| look(&field, depth + 1));
    }
}

/// Asserts that both parsers see the same value.
fn same(ours: &Value<'_>, other: &Other) {
    match other {
        Other::Null => assert!(ours.is_null()),
        Other::Bool(truth) => assert_eq!(ours.as_bool(), Some(*truth)),
        Other::String(text) => assert_eq!(ours.as_str().as_deref(), Some(text.as_str())),
        Other::Number(number) => {
            assert_eq!(ours.kind(), Kind::Number);
            // a number with an exponent or a fraction of zeros is an integer for one of the two
            // parsers only
            if !ours.raw().contains(['.', 'e', 'E']) && ours.raw() != "-0" {
                assert_eq!(
                    (ours.as_u64(), ours.as_i64()),
                    (number.as_u64(), number.as_i64()),
                    "{}",
                    ours.raw()
                );
            }
        }
        Other::Array(list) => {
            assert_eq!(ours.items().count(), list.len());
            ours.items().zip(list).for_each(|(ours, other)| same(&ours, other));
        }
        Other::Object(map) => {
            assert_eq!(ours.kind(), Kind::Object);
            // beyond the number of keys checked for duplicates, the two parsers may see different
            // documents
            if ours.fields().count() == map.len() {
                ours.fields().for_each(|(name, value)| same(&value, &map[&*name]));
                map.keys().for_each(|name| assert!(ours.get(name).is_some()));
            }
        }
    }
}

fn frames(data: &[u8]) {
    match Request::parse(data) {
        Ok(request) => {
            assert!((1..=limits::ID_LEN).contains(&request.id.len()));
            assert!((1..=limits::METHOD_LEN).contains(&request.method.len()));
            let params = request.params.map_or("null", |params| params.raw());
            again(&request, params);
            answers(&request.id, &request.method, params);
            parameters(&request);
        }
        Err(BadFrame::Json(_)) => {}
        Err(BadFrame::Request { id, problems }) => {
            assert!(
                id.len() <= limits::ID_LEN
                    && !problems.is_empty()
                    && problems.len() <= limits::PROBLEMS_LEN
            );
            answers(&id, &problems, "{}");
        }
    }
    if let Ok(FromGateway::Response { id, answer: Err(refusal) }) = FromGateway::parse(data) {
        answers(&id, &refusal.message, refusal.details.map_or("null", |details| details.raw()));
    }
}

/// Asserts that a request written and parsed again is unchanged.
fn again(request: &Request<'_>, params: &str) {
    let written = frames::request(&request.id, &request.method, params.as_bytes());
    let again = Request::parse(&written)
        .unwrap_or_else(|bad| panic!("what we write we cannot read: {bad:?}"));
    assert_eq!((&again.id, &again.method), (&request.id, &request.method));
    assert_eq!(again.params.map(|params| params.raw()), Some(params));
}

/// Asserts that a response is one JSON value with the intended content, whatever it echoes.
fn answers(id: &str, echo: &str, json: &str) {
    let error = ErrorShape {
        details: Some(json.as_bytes()),
        retryable: Some(true),
        ..ErrorShape::new("CODE", echo)
    };
    for answer in [
        frames::response_ok(id, json.as_bytes()),
        frames::response_err(id, &error),
        [frames::event_start(echo, json.as_bytes()), frames::event_end(1, Some((1, 1)))].concat(),
        frames::event(echo, json.as_bytes()),
    ] {
        // a value inside a response is nested slightly deeper than alone
        let depth = |text: &[u8]| {
            json::parse(text, limits::JSON_DEPTH).err().is_some_and(|bad| bad.what.contains("deep"))
        };
        match FromGateway::parse(&answer) {
            Ok(FromGateway::Response { id: told, .. }) => assert_eq!(told, id),
            Ok(FromGateway::Event { .. }) => {}
            Err(what) => {
                assert!(
                    depth(&answer)
                        || echo.len() > limits::METHOD_LEN
                        || echo.is_empty()
                        || id.is_empty(),
                    "{what}"
                )
            }
        }
    }
}

/// Reads parameters as a method does: the largest message as a closed object, then its valid
/// members.
fn parameters(request: &Request<'_>) {
    let params = Params::new("any.method", request.params);
    if let Err(text) = params.read::<Connect>() {
        assert!(text.len() <= limits::PROBLEMS_LEN + 64);
        assert!(!text.ends_with("cannot be read"), "the check and the reader disagree: {text}");
    }
    let sound: Connect = params.read_sound();
    assert!(sound.client.version.len() <= limits::FIELD_LEN);
}

/// Frames of the transcripts, and JSON that is hard to parse.
pub fn seeds() -> Seeds {
    samples::frames()
        .into_iter()
        .enumerate()
        .map(|(at, frame)| (format!("frame-{at:03}"), frame))
        .collect()
}
