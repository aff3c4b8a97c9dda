//! The declared form of JSON objects from outside, and the check of an object against it.
//!
//! A [`Field`] names a member, its [`Kind`] and its bounds. The same table serves the check, the words of a refusal and what
//! [`message`](super::message) hands to the typed reader. The words are those of the validators that OpenClaw uses (protocol
//! 3 and 4), because clients and people search for them: `at /client/id: must be string`. All problems are collected, up to
//! [`limits::PROBLEMS_LEN`] bytes of text. `null` counts as absent where a field is optional. Lengths are bytes.

use std::fmt::Write;

use super::json::{self, Value};
use crate::gate::limits;
use crate::gate::text::cut;

/// Problems of a document, in one line.
#[derive(Default, Debug)]
pub struct Problems {
    text: String,
}

impl Problems {
    /// Adds `what` about the value at `path`, a JSON pointer that is empty for the root.
    pub fn add(&mut self, path: &str, what: &str) {
        self.member(path, "", what);
    }

    /// The problems joined by `; `, if there are any.
    pub fn text(&self) -> Option<&str> {
        (!self.text.is_empty()).then_some(&self.text)
    }

    /// The same text, empty if there are none.
    pub fn into_text(self) -> String {
        self.text
    }

    /// Adds `what` about the member `name`, which may be a path, of the object at `path`; an empty name is the object itself.
    fn member(&mut self, path: &str, name: &str, what: &str) {
        let slash = if name.is_empty() { "" } else { "/" };
        match path.is_empty() && name.is_empty() {
            true => self.push(&[what]),
            false => self.push(&["at ", path, slash, name, ": ", what]),
        }
    }

    fn push(&mut self, parts: &[&str]) {
        if self.text.len() + parts.iter().map(|part| part.len()).sum::<usize>() + 2 > limits::PROBLEMS_LEN {
            return;
        }
        if !self.text.is_empty() {
            self.text.push_str("; ");
        }
        parts.iter().for_each(|part| self.text.push_str(part));
    }
}

/// The value that a member may have.
pub enum Kind {
    /// A string of so many bytes.
    Text { min: usize, max: usize },
    /// One of these strings.
    Word(&'static [&'static str]),
    /// The same, with a refusal that lists them.
    Listed(&'static [&'static str]),
    /// Exactly this string.
    Const(&'static str),
    /// A whole number, at least and at most this.
    Whole(u64, u64),
    /// The same, with one refusal that names both bounds.
    Within(u64, u64),
    /// A whole number of at least the first; what is above the second is read as the second.
    Clamped(u64, u64),
    /// `true` or `false`.
    Bool,
    /// A list of `min..=max` strings of 1 to `len` bytes each.
    Texts { min: usize, max: usize, len: usize },
    /// An object of at most so many members that are `true` or `false`.
    Flags(usize),
    /// An object with declared fields; others are passed over.
    Object(&'static Shape),
    /// A long text, of 1 byte to 1 MiB; its absence is refused in the same words.
    Document,
    /// Any JSON.
    Any,
}

/// One declared member of an object.
pub struct Field {
    pub name: &'static str,
    pub required: bool,
    /// It stays the bytes that came, and is not written for the typed reader.
    pub span: bool,
    pub kind: Kind,
}

/// An object: the JSON pointer at which it stands, and its fields in the order in which they are checked.
pub struct Shape {
    pub path: &'static str,
    pub fields: &'static [Field],
}

/// The members of one object, keys and values.
pub type Members<'a> = heapless::Vec<(Value<'a>, Value<'a>), MEMBERS>;

/// One more than the keys that are watched, so that an object that has too many is noticed.
const MEMBERS: usize = limits::JSON_KEYS + 1;

/// The first [`limits::JSON_KEYS`] and one members of an object, found in one pass; `None` for anything else.
pub fn members(value: Value<'_>) -> Option<Members<'_>> {
    if value.kind() != json::Kind::Object {
        return None;
    }
    let mut members = Members::new();
    for member in value.members() {
        if members.push(member).is_err() {
            break;
        }
    }
    Some(members)
}

/// The value of the member of that name, `null` included.
pub fn find<'a>(members: &Members<'a>, name: &str) -> Option<Value<'a>> {
    members.iter().find(|(key, _)| key.is_str(name)).map(|(_, value)| *value)
}

/// The same without `null`, if it is of that kind.
pub fn span<'a>(members: &Members<'a>, name: &'static str, kind: Kind) -> Option<Value<'a>> {
    Field::span(name, kind).of(members, "", &mut Problems::default())
}

impl Field {
    /// A member that must be there.
    pub const fn required(name: &'static str, kind: Kind) -> Field {
        Field { name, required: true, span: false, kind }
    }

    /// A member that may be absent or `null`.
    pub const fn optional(name: &'static str, kind: Kind) -> Field {
        Field { required: false, ..Field::required(name, kind) }
    }

    /// A member that may be absent or `null`, and stays the bytes that came.
    pub const fn span(name: &'static str, kind: Kind) -> Field {
        Field { span: true, ..Field::optional(name, kind) }
    }

    /// The value of this member, if it is there and sound. Of an object only the kind is looked at.
    pub fn of<'a>(&self, members: &Members<'a>, path: &str, problems: &mut Problems) -> Option<Value<'a>> {
        let found = find(members, self.name);
        let value = match found.filter(|value| self.required || !value.is_null()) {
            Some(value) => value,
            None if matches!(self.kind, Kind::Document) => Value::EMPTY,
            None if self.required => {
                problems.member(path, "", &["must have required property '", self.name, "'"].concat());
                return None;
            }
            None => return None,
        };
        match self.kind.check(value) {
            Ok(()) => Some(value),
            Err(wrong) => {
                wrong.iter().for_each(|(inside, what)| problems.member(path, &[self.name, inside].concat(), what));
                None
            }
        }
    }
}

/// The problems of one value: where inside it, empty for all of it, and the words.
type Wrong = Vec<(String, String)>;

impl Kind {
    fn check(&self, value: Value<'_>) -> Result<(), Wrong> {
        let of_kind = |kind, what| if value.kind() == kind { Ok(()) } else { fail(what) };
        match *self {
            Kind::Text { min, max } => text(value, min, max).map_err(|what| vec![(String::new(), what)]),
            Kind::Word(words) if words.iter().any(|word| value.is_str(word)) => Ok(()),
            Kind::Word(_) => fail("must be equal to one of the allowed values"),
            Kind::Listed(words) if words.iter().any(|word| value.is_str(word)) => Ok(()),
            Kind::Listed(words) => fail(["must be one of ", &words.join(", ")].concat()),
            Kind::Const(word) if value.is_str(word) => Ok(()),
            Kind::Const(_) => fail("must be equal to constant"),
            Kind::Whole(min, max) => whole(value, min, max, &|| {
                let low = value.as_u64().is_none_or(|number| number < min);
                if low { format!("must be >= {min}") } else { format!("must be <= {max}") }
            }),
            Kind::Within(min, max) => whole(value, min, max, &|| format!("must be >= {min} and <= {max}")),
            Kind::Clamped(min, _) => whole(value, min, u64::MAX, &|| format!("must be >= {min}")),
            Kind::Bool => of_kind(json::Kind::Bool, "must be boolean"),
            Kind::Texts { min, max, len } => of_kind(json::Kind::Array, "must be array").and_then(|()| texts(value, min, max, len)),
            Kind::Flags(max) => of_kind(json::Kind::Object, "must be object").and_then(|()| flags(value, max)),
            Kind::Object(_) => of_kind(json::Kind::Object, "must be object"),
            Kind::Document if text(value, 1, limits::CONFIG_LEN as usize).is_ok() => Ok(()),
            Kind::Document => fail("must be a string of 1 character to 1 MiB"),
            Kind::Any => Ok(()),
        }
    }

    /// Appends a value that was checked, as the typed reader takes it.
    fn write(&self, value: Value<'_>, out: &mut String, problems: &mut Problems) {
        match self {
            Kind::Object(shape) => shape.write(&members(value).unwrap_or_default(), out, problems),
            Kind::Whole(_, max) | Kind::Within(_, max) | Kind::Clamped(_, max) => {
                // appending to a string cannot fail
                let _ = write!(out, "{}", value.as_u64().map_or(*max, |number| number.min(*max)));
            }
            _ => out.push_str(value.raw()),
        }
    }
}

fn fail(what: impl Into<String>) -> Result<(), Wrong> {
    Err(vec![(String::new(), what.into())])
}

fn text(value: Value<'_>, min: usize, max: usize) -> Result<(), String> {
    match value.text_len() {
        Some(len) if len > max => Err(format!("must NOT have more than {max} characters")),
        Some(len) if len < min => Err(format!("must NOT have fewer than {min} characters")),
        Some(_) => Ok(()),
        None => Err("must be string".to_owned()),
    }
}

fn whole(value: Value<'_>, min: u64, max: u64, outside: &dyn Fn() -> String) -> Result<(), Wrong> {
    match value.as_u64() {
        Some(number) if (min..=max).contains(&number) => Ok(()),
        None if value.as_i64().is_none() => fail("must be integer"),
        _ => fail(outside()),
    }
}

fn texts(list: Value<'_>, min: usize, max: usize, len: usize) -> Result<(), Wrong> {
    if list.items().nth(max).is_some() {
        return fail(format!("must NOT have more than {max} items"));
    }
    if list.items().count() < min {
        return fail(format!("must NOT have fewer than {min} items"));
    }
    let item = |(at, item)| text(item, 1, len).map_err(|what| vec![(format!("/{at}"), what)]);
    list.items().enumerate().try_for_each(item)
}

fn flags(map: Value<'_>, max: usize) -> Result<(), Wrong> {
    let mut wrong = Wrong::new();
    if map.fields().nth(max).is_some() {
        wrong.push((String::new(), format!("must NOT have more than {max} properties")));
    }
    for (name, _) in map.fields().filter(|(_, value)| value.as_bool().is_none()).take(max) {
        wrong.push((["/", cut(&name, limits::WORD_LEN)].concat(), "must be boolean".to_owned()));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

impl Shape {
    /// Checks all fields and appends those that are there and sound, but for spans, to `out` as one object.
    pub fn write(&self, members: &Members<'_>, out: &mut String, problems: &mut Problems) {
        out.push('{');
        let empty = out.len();
        for field in self.fields {
            let Some(value) = field.of(members, self.path, problems) else { continue };
            if field.span {
                continue;
            }
            let comma = if out.len() == empty { "\"" } else { ",\"" };
            [comma, field.name, "\":"].iter().for_each(|part| out.push_str(part));
            field.kind.write(value, out, problems);
        }
        out.push('}');
    }

    /// Adds the members that are neither declared nor one of `more` to the problems, for an object that takes no others.
    pub fn close(&self, members: &Members<'_>, more: &[&str], problems: &mut Problems) {
        // A key given twice comes after `limits::JSON_KEYS` others, and some of those are not declared.
        for (name, _) in members {
            let declared = self.fields.iter().map(|field| field.name);
            if !declared.chain(more.iter().copied()).any(|known| name.is_str(known)) {
                let name = name.as_str().unwrap_or_default();
                let what = ["unexpected property '", cut(&name, limits::WORD_LEN), "'"].concat();
                problems.add(if self.path.is_empty() { "root" } else { self.path }, &what);
            }
        }
    }
}
