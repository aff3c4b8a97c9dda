//! Methods that need an agent runtime, which this gateway does not have. Lists are empty, in the
//! shape that the clients of both protocols read; actions fail with `UNAVAILABLE` and a hint where
//! they would work.
//!
//! The methods are listed in `stubs.json`. Rights are checked first, as for all methods. No method
//! changes state or promises a later action. An entry of the list has these members:
//!
//! | member | meaning |
//! |---|---|
//! | `methods`, `protocols` | names of the methods, and the protocols that have them |
//! | `scope` | scope that an operator needs |
//! | `sessionScope` | narrower scope that is also sufficient in protocol 4 |
//! | `hidden` | whether hello leaves the methods out |
//! | `answer` | answer; without it the methods are actions, which fail and are not in hello |
//! | `required` | name of a text parameter that must be present |
//! | `time` | name under which an answer that is an object has the current time |
//! | `repeated` | parameters that such an answer repeats, with their defaults; `null` for none |
//! | `missingSessions` | whether the sessions in the parameter `keys` are reported missing |

use std::sync::LazyLock;

use super::{answers, Failure};
use crate::gate::facts::Protocol;
use crate::gate::ids::WallMs;
use crate::gate::limits;
use crate::gate::scopes::Scope;
use crate::wire::json::{self, Kind, Value, Writer};
use crate::wire::schema::{self, Field, Members, SchemaProblems, ValueKind};

/// Entries of `stubs.json`, read at the first use. A test checks them all.
static TABLE: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let table = json::parse(include_bytes!("stubs.json"), limits::JSON_DEPTH).unwrap_or_default();
    table.items().map(Entry::read).collect()
});

/// Entry of the list: methods with the same answer.
struct Entry {
    methods: Vec<&'static str>,
    protocols: Vec<Protocol>,
    scope: Scope,
    session_scope: Option<Scope>,
    hidden: bool,
    answer: Option<Value<'static>>,
    required: Option<&'static str>,
    time: Option<&'static str>,
    repeated: Value<'static>,
    missing_sessions: bool,
}

impl Entry {
    fn read(entry: Value<'static>) -> Entry {
        let text = |member| entry.get(member).map(plain);
        let scope = |member| text(member).and_then(Scope::parse);
        let numbers = entry.at("protocols");
        let has = |protocol: &Protocol| {
            numbers.items().any(|one| one.as_u64() == Some(u64::from(protocol.number())))
        };
        Entry {
            methods: entry.at("methods").items().map(plain).collect(),
            protocols: [Protocol::V3, Protocol::V4].into_iter().filter(has).collect(),
            scope: scope("scope").unwrap_or(Scope::Admin),
            session_scope: scope("sessionScope"),
            hidden: entry.get("hidden").is_some(),
            answer: entry.get("answer"),
            required: text("required"),
            time: text("time"),
            repeated: entry.at("repeated"),
            missing_sessions: entry.get("missingSessions").is_some(),
        }
    }
}

/// Returns the content of a string of the table, in which no string has an escape.
fn plain(text: Value<'static>) -> &'static str {
    text.raw().trim_matches('"')
}

/// Method that is answered although this gateway has no handler for it.
#[derive(Clone, Copy)]
pub struct Stub {
    name: &'static str,
    entry: &'static Entry,
}

/// Returns the method with this name in this protocol.
pub fn find(protocol: Protocol, name: &str) -> Option<Stub> {
    stubs(protocol).find(|stub| stub.name == name)
}

/// Returns the names of the methods that hello lists in this protocol. Actions are not among them,
/// because they do not work.
pub fn advertised(protocol: Protocol) -> impl Iterator<Item = &'static str> {
    let listed = |stub: &Stub| stub.entry.answer.is_some() && !stub.entry.hidden;
    stubs(protocol).filter(listed).map(|stub| stub.name)
}

/// Returns the names of all methods of this protocol that are answered here.
pub fn names(protocol: Protocol) -> impl Iterator<Item = &'static str> {
    stubs(protocol).map(|stub| stub.name)
}

fn stubs(protocol: Protocol) -> impl Iterator<Item = Stub> {
    let entries = TABLE.iter().filter(move |entry| entry.protocols.contains(&protocol));
    entries.flat_map(|entry| entry.methods.iter().map(move |name| Stub { name, entry }))
}

impl Stub {
    /// Returns the scope that an operator needs.
    pub fn scope(&self) -> Scope {
        self.entry.scope
    }

    /// Returns the narrower scope that is also sufficient in protocol 4.
    pub fn session_scope(&self) -> Option<Scope> {
        self.entry.session_scope
    }

    /// Returns whether the method fails whatever its parameters are.
    pub fn is_action(&self) -> bool {
        self.entry.answer.is_none()
    }

    /// Returns the answer at the given time, one JSON value.
    pub fn answer(&self, params: Option<Value<'_>>, now: WallMs) -> Result<Vec<u8>, Failure> {
        let Some(answer) = self.entry.answer else { return Err(unavailable(self.name)) };
        if answer.kind() != Kind::Object {
            return Ok(answer.raw().into());
        }
        let object = self.object(answer, params.unwrap_or_default(), now);
        let name = self.name;
        object.map_err(|problem| Failure::invalid(format!("invalid {name} params: {problem}")))
    }

    /// Returns the answer as an object, or the problem with the parameters.
    fn object(&self, answer: Value<'_>, params: Value<'_>, now: WallMs) -> Result<Vec<u8>, String> {
        let required = match self.entry.required {
            Some(name) => Some((name, required_text(params, name)?)),
            None => None,
        };
        let sessions = if self.entry.missing_sessions { session_keys(params)? } else { None };
        Ok(json::object(|o| {
            if let Some(name) = self.entry.time {
                o.u64(name, now.0);
            }
            for (name, default) in self.entry.repeated.fields() {
                match &required {
                    Some((required, text)) if *required == name => o.str(&name, text),
                    _ => repeat(o, params, &name, default),
                }
            }
            if let Some(keys) = sessions {
                missing_sessions(o, keys);
            }
            answer.fields().for_each(|(name, value)| o.raw(&name, value.raw().as_bytes()));
        }))
    }
}

/// Returns the text of a parameter, or the problem with it.
fn required_text(params: Value<'_>, name: &'static str) -> Result<String, String> {
    let (mut members, mut problems) = (Members::new(), SchemaProblems::default());
    schema::members(params, &mut members);
    let field = Field::required(name, ValueKind::Text(1, limits::FIELD_LEN));
    let text = field.of(&members, "", &mut problems).and_then(|text| text.as_str());
    let text = text.map(|text| text.into_owned());
    text.ok_or_else(|| problems.text().unwrap_or_default().to_owned())
}

/// Writes a parameter if it has the kind of its default and is short, otherwise the default. The
/// default `null` stands for a text that is left out.
fn repeat(o: &mut Writer<'_>, params: Value<'_>, name: &str, default: Value<'_>) {
    let kind = if default.is_null() { Kind::String } else { default.kind() };
    let short = |value: &Value<'_>| value.kind() == kind && value.raw().len() <= limits::FIELD_LEN;
    let default = Some(default).filter(|default| !default.is_null());
    let value = params.get(name).filter(short).or(default);
    o.opt_raw(name, value.map(|value| value.raw().as_bytes()));
}

/// Returns the list of requested sessions, or the problem with it.
fn session_keys(params: Value<'_>) -> Result<Option<Value<'_>>, &'static str> {
    let keys = params.get("keys").ok_or("must have required property 'keys'")?;
    if keys.kind() != Kind::Array {
        return Err("at /keys: must be array");
    }
    Ok(Some(keys))
}

/// Reports each requested session as missing; at most 64, as in the protocol.
fn missing_sessions(o: &mut Writer<'_>, keys: Value<'_>) {
    o.arr("previews", |list| {
        for key in keys.items().filter(|key| key.kind() == Kind::String).take(64) {
            list.item_obj(|preview| {
                preview.raw("key", key.raw().as_bytes());
                preview.fields(r#""status":"missing","items":[]"#);
            });
        }
    });
}

/// Creates the error of a method that needs an agent runtime.
pub(crate) fn unavailable(name: &str) -> Failure {
    let hint = "send it to the gateway that runs the agent; this one connects operators and nodes";
    let details = super::json(&answers::NoAgent { code: "NO_AGENT_RUNTIME", hint });
    let message = format!("{name} needs an agent runtime, and gatelet has none: {hint}");
    Failure::unavailable(message).detailed(details)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::refusal::ErrorCode;
    use std::collections::BTreeSet;

    const BOTH: [Protocol; 2] = [Protocol::V3, Protocol::V4];

    fn ask(protocol: Protocol, name: &str, params: &str) -> Result<String, Failure> {
        let params = json::parse(params.as_bytes(), limits::JSON_DEPTH).unwrap();
        let found = find(protocol, name).expect(name);
        found.answer(Some(params), WallMs(7)).map(|json| String::from_utf8(json).unwrap())
    }

    #[test]
    fn every_entry_is_valid_and_method_names_are_unique() {
        let table = json::parse(include_bytes!("stubs.json"), limits::JSON_DEPTH).unwrap();
        for entry in table.items() {
            let members = [
                "methods",
                "protocols",
                "scope",
                "sessionScope",
                "hidden",
                "answer",
                "required",
                "time",
                "repeated",
                "missingSessions",
            ];
            assert!(entry.fields().all(|(name, _)| members.contains(&&*name)), "{}", entry.raw());
            let protocols = entry.at("protocols");
            assert!(["[3]", "[4]", "[3,4]"].contains(&protocols.raw()), "{}", entry.raw());
            for scope in [entry.get("scope"), entry.get("sessionScope").or(entry.get("scope"))] {
                assert!(Scope::parse(plain(scope.unwrap())).is_some(), "{}", entry.raw());
            }
            assert!(!entry.raw().contains('\\'), "escapes are not read: {}", entry.raw());
        }
        for protocol in BOTH {
            let all: Vec<_> = names(protocol).collect();
            let different: BTreeSet<_> = all.iter().collect();
            assert!(all.len() > 50 && different.len() == all.len(), "{all:?}");
        }
    }

    #[test]
    fn every_answer_is_json_without_duplicate_keys() {
        for protocol in BOTH {
            for name in
                stubs(protocol).filter(|stub| stub.entry.answer.is_some()).map(|stub| stub.name)
            {
                let text = ask(
                    protocol,
                    name,
                    r#"{"sessionKey":"s","key":"k","keys":["a"],"agentId":"x","sessionId":"s"}"#,
                )
                .expect(name);
                let value = json::parse(text.as_bytes(), limits::JSON_DEPTH).expect(name);
                assert!(
                    matches!(
                        value.kind(),
                        json::Kind::Object | json::Kind::Array | json::Kind::Null
                    ),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn answers_contain_the_time_and_repeated_parameters() {
        assert_eq!(
            ask(Protocol::V3, "chat.history", r#"{"sessionKey":"a\"b"}"#).unwrap(),
            r#"{"sessionKey":"a\"b","messages":[],"thinkingLevel":"off"}"#
        );
        let usage = |params| ask(Protocol::V3, "usage.cost", params).unwrap()[..27].to_owned();
        assert_eq!(usage("{}"), r#"{"updatedAt":7,"days":30,"d"#);
        assert_eq!(usage(r#"{"days":99}"#), r#"{"updatedAt":7,"days":99,"d"#);
        assert_eq!(usage(r#"{"days":"9"}"#), r#"{"updatedAt":7,"days":30,"d"#);
        let dates =
            ask(Protocol::V4, "sessions.usage", r#"{"startDate":"a","endDate":1}"#).unwrap();
        assert!(dates.starts_with(r#"{"updatedAt":7,"startDate":"a","sessions":[]"#), "{dates}");
        let identity = |params| ask(Protocol::V4, "agent.identity.get", params).unwrap();
        assert_eq!(identity("{}"), r#"{"agentId":"main","name":"gatelet"}"#);
        assert_eq!(identity(r#"{"agentId":"x"}"#), r#"{"agentId":"x","name":"gatelet"}"#);
        assert_eq!(
            ask(Protocol::V4, "sessions.preview", r#"{"keys":["a",1]}"#).unwrap(),
            r#"{"ts":7,"previews":[{"key":"a","status":"missing","items":[]}]}"#
        );
        assert_eq!(ask(Protocol::V4, "last-heartbeat", "{}").unwrap(), "null");
    }

    #[test]
    fn missing_parameters_are_reported_in_protocol_text() {
        let said =
            |name: &str, params: &str| ask(Protocol::V4, name, params).unwrap_err().message.clone();
        assert_eq!(
            said("chat.history", "{}"),
            "invalid chat.history params: must have required property 'sessionKey'"
        );
        assert_eq!(
            said("chat.history", "[]"),
            "invalid chat.history params: must have required property 'sessionKey'"
        );
        let at = |rest: &str| format!("invalid chat.history params: at /sessionKey: {rest}");
        assert_eq!(said("chat.history", r#"{"sessionKey":1}"#), at("must be string"));
        assert_eq!(
            said("chat.history", r#"{"sessionKey":""}"#),
            at("must NOT have fewer than 1 characters")
        );
        let long = format!(r#"{{"sessionKey":"{}"}}"#, "x".repeat(limits::FIELD_LEN + 1));
        assert_eq!(
            said("chat.history", &long),
            at(&format!("must NOT have more than {} characters", limits::FIELD_LEN))
        );
        assert_eq!(
            said("tools.effective", "{}"),
            "invalid tools.effective params: must have required property 'sessionKey'"
        );
        assert_eq!(
            said("sessions.preview", "{}"),
            "invalid sessions.preview params: must have required property 'keys'"
        );
        assert_eq!(
            said("sessions.preview", r#"{"keys":1}"#),
            "invalid sessions.preview params: at /keys: must be array"
        );
    }

    #[test]
    fn actions_are_unavailable_with_a_hint() {
        let failed = ask(Protocol::V3, "chat.send", "{}").unwrap_err();
        assert_eq!((failed.code, failed.unauthorized), (ErrorCode::Unavailable, false));
        assert!(
            failed.message.starts_with("chat.send needs an agent runtime, and gatelet has none: "),
            "{}",
            failed.message
        );
        assert!(String::from_utf8(failed.details.clone().unwrap())
            .unwrap()
            .contains(r#""code":"NO_AGENT_RUNTIME","hint":"#));
    }

    #[test]
    fn methods_with_a_handler_are_not_in_the_table() {
        let twice = |method: &&super::super::Method| {
            BOTH.iter().any(|protocol| find(*protocol, method.name).is_some())
        };
        let names: Vec<_> =
            super::super::METHODS.iter().filter(twice).map(|method| method.name).collect();
        assert!(names.is_empty(), "strike them from the table: {names:?}");
    }

    #[test]
    fn a_method_of_one_protocol_is_unknown_in_the_other() {
        assert!(
            find(Protocol::V3, "tasks.list").is_none()
                && find(Protocol::V4, "tasks.list").is_some()
        );
        assert!(
            find(Protocol::V4, "browser.request").is_none()
                && find(Protocol::V3, "browser.request").is_some()
        );
        assert!(BOTH.into_iter().all(|protocol| ["", "no.such.method", "-"]
            .iter()
            .all(|name| find(protocol, name).is_none())));
    }
}
