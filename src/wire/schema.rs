//! Declared form of JSON objects from outside, and the check of an object against it.
//!
//! A [`Field`] names a member, its [`ValueKind`] and its bounds. One table serves the check, the
//! error text and the text that [`message`](super::message) passes to the typed reader. The error
//! texts are those of the validators that OpenClaw uses (protocol 3 and 4), because clients and
//! people search for them: `at /client/id: must be string`. All problems are collected, up to
//! [`limits::PROBLEMS_LEN`] bytes of text. `null` counts as absent where a field is optional.
//! Lengths are in bytes.

use super::json::{self, Value};
use crate::gate::limits;
use crate::gate::text::cut;

/// Problems of a document, in one line.
#[derive(Default, Debug)]
pub struct SchemaProblems {
    text: String,
}

impl SchemaProblems {
    /// Adds the problem `what` of the value at `path`: the pieces of a JSON pointer, empty for the
    /// root.
    pub fn add(&mut self, path: &[&str], what: &str) {
        let mut place = path.concat();
        if !place.is_empty() {
            place = format!("at {place}: ");
        }
        if self.text.len() + place.len() + what.len() + 2 <= limits::PROBLEMS_LEN {
            let joint = if self.text.is_empty() { "" } else { "; " };
            self.text.push_str(&format!("{joint}{place}{what}"));
        }
    }

    /// Returns the problems joined by `; `, if there are any.
    pub fn text(&self) -> Option<&str> {
        (!self.text.is_empty()).then_some(&self.text)
    }
}

/// Kind of value that a member may have.
pub enum ValueKind {
    /// A string; its minimum and maximum length in bytes.
    Text(usize, usize),
    /// One of these strings; the error text for any other value.
    Word(&'static [&'static str], &'static str),
    /// A whole number; its minimum and maximum, and the error text for numbers outside of them. An
    /// empty text stands for that of the protocol.
    Whole(u64, u64, &'static str),
    /// A whole number from 1; values above `u32::MAX` are read as `u32::MAX`.
    Version,
    /// `true` or `false`.
    Bool,
    /// An array of `min..=max` strings of 1 to `len` bytes each.
    Texts { min: usize, max: usize, len: usize },
    /// An object whose members are `true` or `false`; its maximum number of members.
    Flags(usize),
    /// An object with declared fields; other members are ignored.
    Object(&'static ObjectShape),
    /// A text of 1 to [`limits::CONFIG_LEN`] bytes; its absence has the same error text.
    Document,
    /// Any JSON.
    Any,
}

/// Declared member of an object.
pub struct Field {
    pub name: &'static str,
    pub required: bool,
    /// Whether the value stays the bytes that were received, and is not passed to the typed reader.
    pub span: bool,
    pub kind: ValueKind,
}

/// Declared object: the JSON pointer to it, and its fields in the order in which they are checked.
pub struct ObjectShape {
    pub path: &'static str,
    pub fields: &'static [Field],
}

/// Members of one object, as pairs of key and value.
pub type Members<'a> = heapless::Vec<(Value<'a>, Value<'a>), MEMBERS>;

/// One more than the number of keys checked for duplicates, so that too many members are detected.
const MEMBERS: usize = limits::JSON_KEYS + 1;

/// Adds the first [`limits::JSON_KEYS`] + 1 members of an object to `members`, in one pass. Returns
/// `false` if the value is not an object. The list belongs to the caller, because moving it costs
/// more than filling it.
pub fn members<'a>(value: Value<'a>, members: &mut Members<'a>) -> bool {
    // A member for which there is no space is one too many already.
    let _ = value.members().try_for_each(|member| members.push(member));
    value.kind() == json::Kind::Object
}

/// Returns the value of the member with this name, `null` included.
pub fn find<'a>(members: &Members<'a>, name: &str) -> Option<Value<'a>> {
    members.iter().find(|(key, _)| key.is_str(name)).map(|(_, value)| *value)
}

impl Field {
    /// Declares a member that must be present.
    pub const fn required(name: &'static str, kind: ValueKind) -> Field {
        Field { name, required: true, span: false, kind }
    }

    /// Declares a member that may be absent or `null`.
    pub const fn optional(name: &'static str, kind: ValueKind) -> Field {
        Field { required: false, ..Field::required(name, kind) }
    }

    /// Declares a member that may be absent or `null`, and stays the bytes that were received.
    pub const fn span(name: &'static str, kind: ValueKind) -> Field {
        Field { span: true, ..Field::optional(name, kind) }
    }

    /// Returns the value of this member of the object at `path`, if it is present and valid. Of a
    /// declared object only the kind is checked.
    pub fn of<'a>(
        &self,
        members: &Members<'a>,
        path: &str,
        problems: &mut SchemaProblems,
    ) -> Option<Value<'a>> {
        let found = find(members, self.name).filter(|value| self.required || !value.is_null());
        let value = match (found, &self.kind) {
            (Some(value), _) => value,
            (None, ValueKind::Document) => Value::EMPTY,
            (None, _) => {
                if self.required {
                    let problem = format!("must have required property '{}'", self.name);
                    problems.add(&[path], &problem);
                }
                return None;
            }
        };
        let mut sound = true;
        self.kind.check(value, &mut |inside, what| {
            sound = false;
            problems.add(&[path, "/", self.name, inside], what);
        });
        sound.then_some(value)
    }
}

impl ValueKind {
    /// Calls `wrong` for each problem, with the path inside the value.
    fn check(&self, value: Value<'_>, wrong: &mut dyn FnMut(&str, &str)) {
        let of_kind = |kind| value.kind() == kind;
        match *self {
            ValueKind::Text(min, max) => {
                text(value, min, max).iter().for_each(|what| wrong("", what))
            }
            ValueKind::Word(words, what) if !words.iter().any(|word| value.is_str(word)) => {
                wrong("", what)
            }
            ValueKind::Whole(min, max, what) => whole(value, min, max, what, wrong),
            ValueKind::Version => whole(value, 1, u64::MAX, "", wrong),
            ValueKind::Bool if !of_kind(json::Kind::Bool) => wrong("", "must be boolean"),
            ValueKind::Texts { .. } if !of_kind(json::Kind::Array) => wrong("", "must be array"),
            ValueKind::Texts { max, .. } if value.items().nth(max).is_some() => {
                wrong("", &format!("must NOT have more than {max} items"));
            }
            ValueKind::Texts { min, .. } if value.items().take(min).count() < min => {
                wrong("", &format!("must NOT have fewer than {min} items"));
            }
            ValueKind::Texts { len, .. } => {
                let mut items = value.items().enumerate();
                let first = items.find_map(|(at, item)| Some((at, text(item, 1, len)?)));
                first.iter().for_each(|(at, what)| wrong(&format!("/{at}"), what));
            }
            ValueKind::Flags(_) | ValueKind::Object(_) if !of_kind(json::Kind::Object) => {
                wrong("", "must be object")
            }
            ValueKind::Flags(max) => {
                if value.members().nth(max).is_some() {
                    wrong("", &format!("must NOT have more than {max} properties"));
                }
                for (name, _) in
                    value.fields().filter(|(_, flag)| flag.as_bool().is_none()).take(max)
                {
                    wrong(&["/", cut(&name, limits::WORD_LEN)].concat(), "must be boolean");
                }
            }
            ValueKind::Document if text(value, 1, limits::CONFIG_LEN as usize).is_some() => {
                wrong("", "must be a string of 1 character to 1 MiB");
            }
            _ => {}
        }
    }

    /// Appends a checked value in the form that the typed reader accepts: whole numbers in plain
    /// digits, objects without undeclared members, lists without space.
    fn write(&self, value: Value<'_>, out: &mut String, problems: &mut SchemaProblems) {
        match self {
            ValueKind::Object(shape) => {
                let mut inside = Members::new();
                members(value, &mut inside);
                shape.write(&inside, out, problems);
            }
            // Leaves out the space between the items, of which there may be megabytes.
            ValueKind::Texts { .. } => {
                let items: Vec<&str> = value.items().map(|item| item.raw()).collect();
                ["[", &items.join(","), "]"].iter().for_each(|part| out.push_str(part));
            }
            ValueKind::Whole(..) => out.push_str(&value.as_u64().unwrap_or_default().to_string()),
            ValueKind::Version => {
                out.push_str(&value.as_u64().unwrap_or_default().min(u32::MAX.into()).to_string())
            }
            _ => out.push_str(value.raw()),
        }
    }
}

/// Returns the error text for a value that is not a valid string.
fn text(value: Value<'_>, min: usize, max: usize) -> Option<String> {
    match value.text_len() {
        Some(len) if len > max => Some(format!("must NOT have more than {max} characters")),
        Some(len) if len < min => Some(format!("must NOT have fewer than {min} characters")),
        Some(_) => None,
        None => Some("must be string".to_owned()),
    }
}

fn whole(value: Value<'_>, min: u64, max: u64, outside: &str, wrong: &mut dyn FnMut(&str, &str)) {
    match value.as_u64() {
        Some(number) if (min..=max).contains(&number) => {}
        None if value.as_i64().is_none() => wrong("", "must be integer"),
        _ if !outside.is_empty() => wrong("", outside),
        Some(number) if number > max => wrong("", &format!("must be <= {max}")),
        _ => wrong("", &format!("must be >= {min}")),
    }
}

impl ObjectShape {
    /// Returns the text for the typed reader: the members of the object that are declared and
    /// valid. With `more`, the names of further members, all other members are problems.
    pub fn select<'a>(
        &self,
        value: Value<'a>,
        more: Option<&[&str]>,
        found: &mut Members<'a>,
        problems: &mut SchemaProblems,
    ) -> String {
        if !members(value, found) {
            problems.add(&[], "must be object");
            return "{}".to_owned();
        }
        let mut text = String::with_capacity(value.raw().len().min(limits::FIELD_LEN));
        self.write(found, &mut text, problems);
        if let Some(more) = more {
            self.close(found, more, problems);
        }
        text
    }

    /// Checks all fields and appends those that are present and valid, except spans, to `out` as
    /// one object.
    fn write(&self, members: &Members<'_>, out: &mut String, problems: &mut SchemaProblems) {
        let begun = out.len();
        for field in self.fields {
            let found = field.of(members, self.path, problems);
            if let Some(value) = found.filter(|_| !field.span) {
                let joint = if out.len() == begun { "{\"" } else { ",\"" };
                [joint, field.name, "\":"].iter().for_each(|part| out.push_str(part));
                field.kind.write(value, out, problems);
            }
        }
        out.push_str(if out.len() == begun { "{}" } else { "}" });
    }

    /// Adds a problem for each member that is neither declared nor in `more`, for an object that
    /// allows no others.
    fn close(&self, members: &Members<'_>, more: &[&str], problems: &mut SchemaProblems) {
        // A duplicate key comes after `limits::JSON_KEYS` others, and some of those are not
        // declared.
        for (name, _) in members {
            let declared = self.fields.iter().map(|field| field.name);
            if !declared.chain(more.iter().copied()).any(|known| name.is_str(known)) {
                let name = name.as_str().unwrap_or_default();
                let name = cut(&name, limits::WORD_LEN);
                problems.add(&["root"], &format!("unexpected property '{name}'"));
            }
        }
    }
}
