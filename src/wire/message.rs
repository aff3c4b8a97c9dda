//! Typed messages: an object from outside is checked against its declaration, and nanoserde reads
//! the members that are declared and valid.
//!
//! `message!` declares a struct once: the names of its members, their types and their bounds. It
//! expands to the struct with nanoserde's derive and to the [`ObjectShape`] against which every
//! object is checked first. Only declared members that passed the check reach nanoserde, whole
//! numbers in plain digits, and never text that is not JSON. Members that are only relayed (spans)
//! stay the bytes that were received.
//!
//! ```text
//! message! {
//!     pub struct Example<'a> {
//!         // `Option<Value>`; without `or null`, `null` counts as absent
//!         spans { params or null, payload }
//!         // 1 to FIELD_LEN bytes, required
//!         pub node_id as "nodeId": String,
//!         pub label: Option<String> in ValueKind::Text(0, limits::NAME_LEN),
//!         // absent and `null` are an empty list
//!         pub caps: List or default,
//!         // accepted, checked and not read
//!         ignored { "sessionKey", "wake" in ValueKind::Bool }
//!     }
//! }
//! ```

use std::collections::BTreeMap;

use nanoserde::DeJson;

use super::json::Value;
use super::schema::{Members, ObjectShape, SchemaProblems, ValueKind};
use crate::gate::limits;

/// List of strings.
pub type List = Vec<String>;

/// Names with a value of `true` or `false` each.
pub type Flags = BTreeMap<String, bool>;

/// Returns the kind of a list of up to `max` strings of 1 to [`limits::WORD_LEN`] bytes.
pub const fn names(max: usize) -> ValueKind {
    ValueKind::Texts { min: 0, max, len: limits::WORD_LEN }
}

/// Returns the kind of a string that must be one of `words`.
pub const fn word(words: &'static [&'static str]) -> ValueKind {
    ValueKind::Word(words, "must be equal to one of the allowed values")
}

/// Struct that `message!` declares.
pub trait Message<'a>: DeJson + Default {
    const SHAPE: ObjectShape;
    /// Stores the members that are declared as spans.
    fn keep(&mut self, members: &Members<'a>);
}

/// Reads an object and returns it with its problems. A member that is not valid counts as absent,
/// and as empty where it is required. With `more`, the names of further members, all other members
/// are problems; without it, they are ignored.
pub fn read<'a, T: Message<'a>>(value: Value<'a>, more: Option<&[&str]>) -> (T, SchemaProblems) {
    let (mut members, mut problems) = (Members::new(), SchemaProblems::default());
    let text = T::SHAPE.select(value, more, &mut members, &mut problems);
    let mut message = T::deserialize_json(&text).unwrap_or_else(|_| {
        // Does not happen: nanoserde reads all that passes the check, as a test of each message
        // asserts.
        problems.add(&[], "cannot be read");
        T::default()
    });
    message.keep(&members);
    (message, problems)
}

/// Parameters of a call, not read yet.
#[derive(Clone, Copy)]
pub struct Params<'a> {
    method: &'static str,
    value: Option<Value<'a>>,
}

impl<'a> Params<'a> {
    /// Creates the parameters of a call of `method`.
    pub fn new(method: &'static str, value: Option<Value<'a>>) -> Params<'a> {
        Params { method, value }
    }

    /// Returns the JSON as received; absent parameters and `null` give an object without members.
    pub fn value(&self) -> Value<'a> {
        self.value.filter(|value| !value.is_null()).unwrap_or(Value::EMPTY)
    }

    /// Reads a closed object. The error is the text `invalid <method> params: ...` of an
    /// INVALID_REQUEST (protocol 3 and 4).
    pub fn read<T: Message<'a>>(&self) -> Result<T, String> {
        self.read_with(&[])
    }

    /// Reads a closed object that may also have the members in `more`.
    pub fn read_with<T: Message<'a>>(&self, more: &[&str]) -> Result<T, String> {
        let (message, problems) = read(self.value(), Some(more));
        match problems.text() {
            None => Ok(message),
            Some(text) => Err(format!("invalid {} params: {text}", self.method)),
        }
    }

    /// Reads an object, ignoring undeclared members and values that are not valid.
    pub fn read_sound<T: Message<'a>>(&self) -> T {
        read(self.value(), None).0
    }
}

/// Declares a message; see [`wire::message`](self).
macro_rules! message {
    (
        $(#[$($doc:tt)*])* pub struct $name:ident $(<$life:tt>)? $(at $path:literal)? {
            $(spans { $($span:ident $(as $span_wire:tt)? $(or $null:ident)? $(in $span_kind:expr)?),* $(,)? })?
            $(
                $(#[$($field_doc:tt)*])*
                pub $field:ident $(as $wire:tt)?: $type:ident $(<$inner:ident>)? $(or $default:ident)? $(in $kind:expr)?,
            )*
            $(ignored { $($ignored:literal $(in $ignored_kind:expr)?),* $(,)? })?
        }
    ) => {
        $(#[$($doc)*])*
        #[derive(Default, nanoserde::DeJson)]
        #[nserde(default)]
        pub struct $name $(<$life>)? {
            $($(#[nserde(skip)] pub $span: Option<$crate::wire::json::Value<$life>>,)*)?
            $($(#[$($field_doc)*])* $(#[nserde(rename = $wire)])? pub $field: $type $(<$inner>)?,)*
        }

        impl<$($life,)? 'm $(: $life)?> $crate::wire::message::Message<'m> for $name $(<$life>)? {
            const SHAPE: $crate::wire::schema::ObjectShape = {
                #[allow(unused_imports)]
                use $crate::wire::{message::message, schema::Field};
                let fields: &[Field] = &[
                    $($(Field::span(message!(@name $span $($span_wire)?), message!(@any $($span_kind)?)),)*)?
                    $(Field {
                        required: message!(@required $($inner)? $($default)?),
                        ..Field::optional(message!(@name $field $($wire)?), message!(@kind $($kind,)? $type $($inner)?))
                    },)*
                    $($(Field::span($ignored, message!(@any $($ignored_kind)?)),)*)?
                ];
                assert!(fields.len() <= $crate::gate::limits::PARAMS, "a closed object is watched as a whole");
                $crate::wire::schema::ObjectShape { path: concat!($($path)?), fields }
            };

            fn keep(&mut self, _members: &$crate::wire::schema::Members<'m>) {
                $($({
                    #[allow(unused_imports)]
                    use $crate::wire::{message::message, schema::Field};
                    let field = Field::span(message!(@name $span $($span_wire)?), message!(@any $($span_kind)?));
                    self.$span = message!(@span field _members $($null)?);
                })*)?
            }
        }

        #[cfg(test)]
        #[test]
        #[allow(non_snake_case)]
        fn $name() {
            $crate::wire::testing::hold::<$name>();
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $wire:tt) => { $wire };
    (@required) => { true };
    (@required $optional:ident) => { false };
    (@any) => { $crate::wire::schema::ValueKind::Any };
    (@any $kind:expr) => { $kind };
    (@kind $kind:expr, $($type:ident)+) => { $kind };
    (@kind Option $of:ident) => { $crate::wire::message::message!(@kind $of) };
    (@kind String) => { $crate::wire::schema::ValueKind::Text(1, $crate::gate::limits::FIELD_LEN) };
    (@kind List) => { $crate::wire::message::names($crate::gate::limits::SCOPES_SENT) };
    (@kind Flags) => { $crate::wire::schema::ValueKind::Flags($crate::gate::limits::NAMES_SENT) };
    (@kind u32) => { $crate::wire::schema::ValueKind::Version };
    (@kind u64) => { $crate::wire::schema::ValueKind::Whole(0, u64::MAX, "") };
    (@kind bool) => { $crate::wire::schema::ValueKind::Bool };
    (@kind $inside:ident) => { $crate::wire::schema::ValueKind::Object(&<$inside as $crate::wire::message::Message<'static>>::SHAPE) };
    (@span $field:ident $members:ident) => { $field.of($members, "", &mut $crate::wire::schema::SchemaProblems::default()) };
    (@span $field:ident $members:ident null) => { $crate::wire::schema::find($members, $field.name) };
}

pub(crate) use message;

#[cfg(test)]
#[allow(clippy::question_mark)]
mod tests {
    use super::*;
    use crate::wire::json::parse;
    use crate::wire::testing::Random;

    message! {
        pub struct Rename {
            pub device_id as "deviceId": String,
            pub label: Option<String> in ValueKind::Text(0, 5),
        }
    }

    message! {
        pub struct Several<'a> {
            spans { any, all or null }
            pub n: Option<u64>,
            pub b: Option<bool>,
            pub l: Option<List> in names(3),
            pub none: Option<String>,
            pub at: u64 or default in ValueKind::Whole(2, 9, "must be >= 2 and <= 9"),
            pub inside: Inside or default,
            ignored { "x" in ValueKind::Bool }
        }
    }

    message! {
        pub struct Inside at "/inside" {
            pub flags: Flags or default,
            pub most: u32 or default,
            pub word: Option<String> in word(&["a\"", "b"]),
        }
    }

    fn value(text: &str) -> Option<Value<'_>> {
        Some(parse(text.as_bytes(), limits::JSON_DEPTH).expect(text))
    }

    fn label(text: &str) -> Result<(String, Option<String>), String> {
        let params: Rename = Params::new("device.pair.rename", value(text)).read()?;
        Ok((params.device_id, params.label))
    }

    fn several(text: &str) -> Several<'_> {
        Params::new("m", value(text)).read().expect(text)
    }

    #[test]
    fn declared_fields_are_read() {
        assert_eq!(label(r#"{"deviceId":"d","label":""}"#), Ok(("d".into(), Some(String::new()))));
        assert_eq!(label(r#"{"deviceId":"d","label":null}"#), Ok(("d".into(), None)));
        let text = r#"{"n":5,"b":true,"l":["x"],"any":{"k":1},"all":null,"x":false,
            "inside":{"flags":{"a":true},"most":99999999999,"word":"a\u0022","more":1e999}}"#;
        let read = several(text);
        assert_eq!((read.n, read.b, read.none, read.at), (Some(5), Some(true), None, 0));
        assert_eq!(
            (read.l.unwrap(), read.any.unwrap().raw()),
            (vec!["x".to_string()], "{\"k\":1}")
        );
        assert!(
            read.all.is_some_and(|all| all.is_null()) && several(r#"{"any":null}"#).any.is_none()
        );
        assert_eq!(
            (read.inside.flags, read.inside.most),
            (Flags::from([("a".to_string(), true)]), u32::MAX)
        );
        assert_eq!(read.inside.word.as_deref(), Some("a\""));
        assert_eq!(several(r#"{"n":1700000000000.0}"#).n, Some(1_700_000_000_000));
        assert!(Params::new("m", None).read::<Several<'_>>().is_ok());
        assert!(Params::new("m", value("null")).read::<Several<'_>>().is_ok());
    }

    #[test]
    fn problems_are_collected_in_protocol_text() {
        let bad = |text: &str| {
            label(text)
                .unwrap_err()
                .strip_prefix("invalid device.pair.rename params: ")
                .unwrap()
                .to_owned()
        };
        assert_eq!(bad("{}"), "must have required property 'deviceId'");
        assert_eq!(bad("[1]"), "must be object");
        assert_eq!(
            bad(r#"{"deviceId":"","label":"123456"}"#),
            "at /deviceId: must NOT have fewer than 1 characters; at /label: must NOT have more than 5 characters"
        );
        assert_eq!(
            bad(r#"{"deviceId":null,"x":1}"#),
            "at /deviceId: must be string; at root: unexpected property 'x'"
        );
        let long = format!(r#"{{"deviceId":"d","{}":1}}"#, "x".repeat(9999));
        assert_eq!(
            bad(&long),
            format!("at root: unexpected property '{}'", "x".repeat(limits::WORD_LEN))
        );
        let bad =
            |text: &str| Params::new("m", value(text)).read::<Several<'_>>().err().expect(text);
        assert_eq!(
            bad(r#"{"at":1,"n":-1,"l":["a","b","c","d"],"x":0,"inside":{"most":0.5,"word":"c"}}"#),
            "invalid m params: at /n: must be >= 0; at /l: must NOT have more than 3 items; at /at: must be >= 2 and <= 9; \
            at /inside/most: must be integer; at /inside/word: must be equal to one of the allowed values; at /x: must be boolean"
        );
    }

    #[test]
    fn read_sound_ignores_invalid_values() {
        let text = r#"{"n":-1,"b":true,"l":[1],"inside":{"most":0,"flags":{"a":1}},"other":1}"#;
        let read: Several<'_> = Params::new("m", value(text)).read_sound();
        assert_eq!((read.n, read.b, read.l, read.inside.most), (None, Some(true), None, 0));
    }

    #[test]
    fn duplicate_field_after_many_members_is_rejected() {
        let filling: String = (0..limits::JSON_KEYS).map(|at| format!("\"f{at}\":0,")).collect();
        assert!(label(&format!(r#"{{{filling}"deviceId":"a","deviceId":"b"}}"#)).is_err());
    }

    #[test]
    fn reading_never_panics_and_agrees_with_the_check() {
        let mut random = Random::new(29);
        let sample = br#"{"n":1.0,"b":true,"l":["x","\u00e9"],"any":[1],"none":"\ud83d\ude00","at":3,"inside":{"flags":{"a":true,"b\n":false},"most":7,"word":"b"}}"#;
        let mut read = 0;
        for _ in 0..40_000 {
            let text = random.damaged(sample);
            let Ok(value) = parse(&text, limits::JSON_DEPTH) else { continue };
            match Params::new("m", Some(value)).read::<Several<'_>>() {
                Err(text) => {
                    assert!(
                        !text.ends_with("cannot be read")
                            && text.len() <= limits::PROBLEMS_LEN + 32,
                        "{text}"
                    )
                }
                Ok(several) => {
                    read += 1;
                    // Compares with what reading the values directly gives.
                    assert_eq!(several.n, value.at("n").as_u64());
                    assert_eq!(several.none.as_deref(), value.at("none").as_str().as_deref());
                    let list = several.l.unwrap_or_default();
                    assert!(value
                        .at("l")
                        .items()
                        .map(|item| item.as_str().unwrap().into_owned())
                        .eq(list));
                    let flags = value.at("inside").at("flags").fields();
                    let flags =
                        flags.map(|(name, flag)| (name.into_owned(), flag.as_bool().unwrap()));
                    assert_eq!(several.inside.flags, flags.collect());
                }
            }
        }
        assert!(read > 1_000, "only {read} were read");
    }
}
