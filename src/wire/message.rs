//! Typed messages: an object from outside is checked against its declaration, and what is declared and sound is read by nanoserde.
//!
//! `message!` declares a struct once: the names of its members, their types and their bounds. It expands to the struct with
//! nanoserde's derive and to the [`Shape`] against which every object is checked first. Only declared members that passed the
//! check reach nanoserde, whole numbers in plain digits, and never text that is not JSON. Members that are only relayed stay
//! the bytes that came.
//!
//! ```ignore
//! message! {
//!     pub struct Example<'a> {
//!         spans { params or null, payload }                     // `Option<Value>`; without `or null`, `null` counts as absent
//!         pub node_id as "nodeId": String,                      // 1 to FIELD_LEN bytes, required
//!         pub label: Option<String> in text(0, limits::NAME_LEN),
//!         pub caps: List or default,                            // absent and `null` are an empty list
//!         ignored { "sessionKey", "wake" in Kind::Bool }        // accepted, checked and not read
//!     }
//! }
//! ```

use nanoserde::{DeJson, DeJsonErr, DeJsonState};

use super::json::Value;
use super::schema::{self, Kind, Members, Problems, Shape};
use crate::gate::limits;

/// A list of strings.
pub type List = Vec<String>;

/// The type of a declared member: what it takes unless the declaration says otherwise.
pub trait Member {
    const REQUIRED: bool = true;
    const KIND: Kind;
}

impl Member for String {
    const KIND: Kind = text(1, limits::FIELD_LEN);
}

impl Member for u32 {
    const KIND: Kind = Kind::Whole(0, u32::MAX as u64);
}

impl Member for u64 {
    const KIND: Kind = Kind::Whole(0, u64::MAX);
}

impl Member for bool {
    const KIND: Kind = Kind::Bool;
}

impl Member for List {
    const KIND: Kind = names(limits::SCOPES_SENT);
}

impl Member for Flags {
    const KIND: Kind = Kind::Flags(limits::NAMES_SENT);
}

impl<T: Member> Member for Option<T> {
    const REQUIRED: bool = false;
    const KIND: Kind = T::KIND;
}

/// A string of `min..=max` bytes.
pub const fn text(min: usize, max: usize) -> Kind {
    Kind::Text { min, max }
}

/// A list of up to `max` strings of 1 to [`limits::WORD_LEN`] bytes.
pub const fn names(max: usize) -> Kind {
    Kind::Texts { min: 0, max, len: limits::WORD_LEN }
}

/// Names that are `true` or `false`, in the order sent.
#[derive(Clone, Default)]
pub struct Flags(pub Vec<(String, bool)>);

impl DeJson for Flags {
    fn de_json(state: &mut DeJsonState, input: &mut std::str::Chars) -> Result<Flags, DeJsonErr> {
        let mut flags = Vec::new();
        state.curly_open(input)?;
        while state.next_str().is_some() {
            let name = String::de_json(state, input)?;
            state.colon(input)?;
            flags.push((name, bool::de_json(state, input)?));
            state.eat_comma_curly(input)?;
        }
        state.curly_close(input)?;
        Ok(Flags(flags))
    }
}

/// The table of a struct that `message!` declares.
pub trait Declared {
    const SHAPE: Shape;
}

/// A struct that `message!` declares.
pub trait Message<'a>: Declared + DeJson + Default {
    /// Takes the members that stay spans.
    fn keep(&mut self, members: &Members<'a>);
}

/// Reads an object with its problems. A member that is not sound counts as absent, and as empty where it is required. With
/// `more`, the names of further members, all others are problems; without, they are passed over.
pub fn read<'a, T: Message<'a>>(value: Value<'a>, more: Option<&[&str]>) -> (T, Problems) {
    let (mut text, mut problems) = (String::new(), Problems::default());
    let members = project(&T::SHAPE, value, more, &mut text, &mut problems);
    let mut message = T::deserialize_json(&text).unwrap_or_else(|_| {
        // What passed the check is read: tests hold that for made input.
        problems.add("", "cannot be read");
        T::default()
    });
    message.keep(&members);
    (message, problems)
}

/// The part of [`read`] that is the same for all messages.
fn project<'a>(
    shape: &Shape,
    value: Value<'a>,
    more: Option<&[&str]>,
    text: &mut String,
    problems: &mut Problems,
) -> Members<'a> {
    let Some(members) = schema::members(value) else {
        problems.add(shape.path, "must be object");
        text.push_str("{}");
        return Members::new();
    };
    text.reserve(value.raw().len().min(limits::FIELD_LEN));
    shape.write(&members, text, problems);
    if let Some(more) = more {
        shape.close(&members, more, problems);
    }
    members
}

/// The parameters of a call, not read yet.
#[derive(Clone, Copy)]
pub struct Params<'a> {
    method: &'static str,
    value: Option<Value<'a>>,
}

impl<'a> Params<'a> {
    /// The parameters of a call of `method`.
    pub fn new(method: &'static str, value: Option<Value<'a>>) -> Params<'a> {
        Params { method, value }
    }

    /// The JSON as it came; none, and `null`, are an object without members.
    pub fn value(&self) -> Value<'a> {
        self.value.filter(|value| !value.is_null()).unwrap_or(Value::EMPTY)
    }

    /// Reads a closed object. The error is the text `invalid <method> params: ...` of an INVALID_REQUEST (protocol 3 and 4).
    pub fn read<T: Message<'a>>(&self) -> Result<T, String> {
        self.read_with(&[])
    }

    /// The same for an object that may have these other members too.
    pub fn read_with<T: Message<'a>>(&self, more: &[&str]) -> Result<T, String> {
        let (message, problems) = read(self.value(), Some(more));
        problems.text().map_or(Ok(message), |text| Err(["invalid ", self.method, " params: ", text].concat()))
    }

    /// The same for an object of which everything else is passed over, and what is not sound with it.
    pub fn read_sound<T: Message<'a>>(&self) -> T {
        read(self.value(), None).0
    }
}

/// Declares a message, see [`wire::message`](self).
macro_rules! message {
    (
        $(#[$($doc:tt)*])* pub struct $name:ident $(<$life:tt>)? $(at $path:literal)? {
            $(spans { $($span:ident $(as $span_wire:tt)? $(or $null:ident)? $(in $span_kind:expr)?),* $(,)? })?
            $($(#[$($field_doc:tt)*])* pub $field:ident $(as $wire:tt)?: $type:ident $(<$inner:ident>)? $(or $default:ident)? $(in $kind:expr)?,)*
            $(ignored { $($ignored:literal $(in $ignored_kind:expr)?),* $(,)? })?
        }
    ) => {
        $(#[$($doc)*])*
        #[derive(Default, nanoserde::DeJson)]
        #[nserde(default)]
        pub struct $name $(<$life>)? {
            $($(#[$($field_doc)*])* $(#[nserde(rename = $wire)])? pub $field: $type $(<$inner>)?,)*
            $($(#[nserde(skip)] pub $span: Option<$crate::wire::json::Value<$life>>,)*)?
        }

        impl $(<$life>)? $crate::wire::message::Declared for $name $(<$life>)? {
            const SHAPE: $crate::wire::schema::Shape = $crate::wire::schema::Shape {
                path: concat!($($path)?),
                fields: &[
                    $($($crate::wire::schema::Field::span(
                        $crate::wire::message::message!(@name $span $($span_wire)?),
                        $crate::wire::message::message!(@any $($span_kind)?),
                    ),)*)?
                    $($crate::wire::schema::Field {
                        name: $crate::wire::message::message!(@name $field $($wire)?),
                        span: false,
                        required: $crate::wire::message::message!(@required [$type $(<$inner>)?] $($default)?),
                        kind: $crate::wire::message::message!(@kind [$type $(<$inner>)?] $($kind)?),
                    },)*
                    $($($crate::wire::schema::Field::span($ignored, $crate::wire::message::message!(@any $($ignored_kind)?)),)*)?
                ],
            };
        }

        impl<$($life,)? 'm $(: $life)?> $crate::wire::message::Message<'m> for $name $(<$life>)? {
            fn keep(&mut self, _members: &$crate::wire::schema::Members<'m>) {
                $($(
                    let name = $crate::wire::message::message!(@name $span $($span_wire)?);
                    self.$span = $crate::wire::message::message!(@span _members, name $(, or $null)? $(, in $span_kind)?);
                )*)?
            }
        }

        $(impl $crate::wire::message::Member for $name {
            const KIND: $crate::wire::schema::Kind = {
                let _: &str = $path;
                $crate::wire::schema::Kind::Object(&<$name as $crate::wire::message::Declared>::SHAPE)
            };
        })?
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $wire:tt) => { $wire };
    (@required [$type:ty]) => { <$type as $crate::wire::message::Member>::REQUIRED };
    (@required [$type:ty] default) => { false };
    (@any) => { $crate::wire::schema::Kind::Any };
    (@any $kind:expr) => { $kind };
    (@kind [$type:ty]) => { <$type as $crate::wire::message::Member>::KIND };
    (@kind [$type:ty] $kind:expr) => { $kind };
    (@span $members:ident, $name:ident) => { $crate::wire::schema::span($members, $name, $crate::wire::schema::Kind::Any) };
    (@span $members:ident, $name:ident, in $kind:expr) => { $crate::wire::schema::span($members, $name, $kind) };
    (@span $members:ident, $name:ident, or null) => { $crate::wire::schema::find($members, $name) };
}

pub(crate) use message;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::parse;
    use crate::wire::testing::Random;

    message! {
        pub struct Rename {
            pub device_id as "deviceId": String,
            pub label: Option<String> in text(0, 5),
        }
    }

    message! {
        pub struct Several<'a> {
            spans { any, all or null }
            pub n: Option<u64>,
            pub b: Option<bool>,
            pub l: Option<List> in names(3),
            pub none: Option<String>,
            pub at: u64 or default in Kind::Within(2, 9),
            pub inside: Inside or default,
            ignored { "x" in Kind::Bool }
        }
    }

    message! {
        pub struct Inside at "/inside" {
            pub flags: Flags or default,
            pub most: u32 or default in Kind::Clamped(1, 5),
            pub word: Option<String> in Kind::Word(&["a\"", "b"]),
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
    fn the_fields_of_a_method_are_read() {
        assert_eq!(label(r#"{"deviceId":"d","label":""}"#), Ok(("d".into(), Some(String::new()))));
        assert_eq!(label(r#"{"deviceId":"d","label":null}"#), Ok(("d".into(), None)));
        let text = r#"{"n":5,"b":true,"l":["x"],"any":{"k":1},"all":null,"x":false,
            "inside":{"flags":{"a":true},"most":99999999999,"word":"a\u0022","more":1e999}}"#;
        let read = several(text);
        assert_eq!((read.n, read.b, read.none, read.at), (Some(5), Some(true), None, 0));
        assert_eq!((read.l.unwrap(), read.any.unwrap().raw()), (vec!["x".to_string()], "{\"k\":1}"));
        assert!(read.all.is_some_and(|all| all.is_null()) && several(r#"{"any":null}"#).any.is_none());
        assert_eq!((read.inside.flags.0, read.inside.most), (vec![("a".to_string(), true)], 5));
        assert_eq!(read.inside.word.as_deref(), Some("a\""));
        assert_eq!(several(r#"{"n":1700000000000.0}"#).n, Some(1_700_000_000_000));
        assert!(Params::new("m", None).read::<Several<'_>>().is_ok());
        assert!(Params::new("m", value("null")).read::<Several<'_>>().is_ok());
    }

    #[test]
    fn problems_are_told_in_the_words_of_the_protocol_all_at_once() {
        let bad = |text: &str| {
            label(text).unwrap_err().strip_prefix("invalid device.pair.rename params: ").unwrap().to_owned()
        };
        assert_eq!(bad("{}"), "must have required property 'deviceId'");
        assert_eq!(bad("[1]"), "must be object");
        assert_eq!(
            bad(r#"{"deviceId":"","label":"123456"}"#),
            "at /deviceId: must NOT have fewer than 1 characters; at /label: must NOT have more than 5 characters"
        );
        assert_eq!(bad(r#"{"deviceId":null,"x":1}"#), "at /deviceId: must be string; at root: unexpected property 'x'");
        let long = format!(r#"{{"deviceId":"d","{}":1}}"#, "x".repeat(9999));
        assert_eq!(bad(&long), format!("at root: unexpected property '{}'", "x".repeat(limits::WORD_LEN)));
        let bad = |text: &str| Params::new("m", value(text)).read::<Several<'_>>().err().expect(text);
        assert_eq!(
            bad(r#"{"at":1,"n":-1,"l":["a","b","c","d"],"x":0,"inside":{"most":0.5,"word":"c"}}"#),
            "invalid m params: at /n: must be >= 0; at /l: must NOT have more than 3 items; at /at: must be >= 2 and <= 9; \
            at /inside/most: must be integer; at /inside/word: must be equal to one of the allowed values; at /x: must be boolean"
        );
    }

    #[test]
    fn what_is_not_sound_can_be_passed_over() {
        let text = r#"{"n":-1,"b":true,"l":[1],"inside":{"most":0,"flags":{"a":1}},"other":1}"#;
        let read: Several<'_> = Params::new("m", value(text)).read_sound();
        assert_eq!((read.n, read.b, read.l, read.inside.most), (None, Some(true), None, 0));
    }

    #[test]
    fn a_field_cannot_be_given_twice_behind_filling() {
        let filling: String = (0..limits::JSON_KEYS).map(|at| format!("\"f{at}\":0,")).collect();
        assert!(label(&format!(r#"{{{filling}"deviceId":"a","deviceId":"b"}}"#)).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic_and_what_passes_the_check_is_read() {
        let mut random = Random::new(29);
        let sample = br#"{"n":1.0,"b":true,"l":["x","\u00e9"],"any":[1],"none":"\ud83d\ude00","at":3,"inside":{"flags":{"a":true,"b\n":false},"most":7,"word":"b"}}"#;
        let mut read = 0;
        for _ in 0..40_000 {
            let text = random.damaged(sample);
            let Ok(value) = parse(&text, limits::JSON_DEPTH) else { continue };
            match Params::new("m", Some(value)).read::<Several<'_>>() {
                Err(text) => assert!(!text.contains("cannot be read") && text.len() <= limits::PROBLEMS_LEN + 32, "{text}"),
                Ok(several) => {
                    read += 1;
                    // the same as the views see
                    assert_eq!(several.n, value.at("n").as_u64());
                    assert_eq!(several.none.as_deref(), value.at("none").as_str().as_deref());
                    let list = several.l.unwrap_or_default();
                    assert!(value.at("l").items().map(|item| item.as_str().unwrap().into_owned()).eq(list));
                    let flags = value.at("inside").at("flags").fields();
                    assert!(flags.map(|(name, flag)| (name.into_owned(), flag.as_bool().unwrap())).eq(several.inside.flags.0));
                }
            }
        }
        assert!(read > 1_000, "only {read} were read");
    }
}
