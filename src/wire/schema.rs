//! Reading the fields of an object that should have a certain form, with the protocol's words for what is wrong.
//!
//! The words are those of the validators that OpenClaw uses (protocol 3 and 4), because clients and people search for
//! them: `at /client/id: must be string`. All problems are collected, up to [`limits::PROBLEMS_LEN`] bytes of text.
//! `null` counts as absent where a field is optional. Lengths are bytes.

use std::borrow::Cow;

use super::json::{Kind, Value};
use crate::gate::limits;
use crate::gate::text::cut;

/// What is wrong with a document, in one line.
#[derive(Default, Debug)]
pub struct Problems {
    text: String,
}

impl Problems {
    /// Says that what stands at `path` (a JSON pointer, empty for the root) is wrong.
    pub fn add(&mut self, path: &str, what: &str) {
        let at = if path.is_empty() { "" } else { "at " };
        let colon = if path.is_empty() { "" } else { ": " };
        self.push(&[at, path, colon, what]);
    }

    /// Says that a required property is not there.
    pub fn missing(&mut self, path: &str, name: &str) {
        self.add(path, &["must have required property '", name, "'"].concat());
    }

    /// Says that a property has no place in a closed object.
    pub fn unexpected(&mut self, path: &str, name: &str) {
        let path = if path.is_empty() { "root" } else { path };
        self.push(&["at ", path, ": unexpected property '", cut(name, limits::WORD_LEN), "'"]);
    }

    /// The problems joined by `; `, if there are any.
    pub fn text(&self) -> Option<&str> {
        (!self.text.is_empty()).then_some(&self.text)
    }

    /// The same text, empty if there are none.
    pub fn into_text(self) -> String {
        self.text
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

/// The fields of an object, read in one pass: a large one is looked through once and not once a field.
pub type Members<'a> = heapless::Vec<(Value<'a>, Value<'a>), MEMBERS>;

/// One more than the keys that are watched, so that who has too many is noticed.
const MEMBERS: usize = limits::JSON_KEYS + 1;

/// The first fields of the object at `path`, which is empty for the root; of anything else than an object that is noted, and
/// none.
pub fn members<'a>(value: &Value<'a>, path: &str, problems: &mut Problems) -> Members<'a> {
    if value.kind() != Kind::Object {
        problems.add(path, "must be object");
    }
    value.members().take(MEMBERS).collect()
}

/// One object, and where it stands in the document.
pub struct Object<'a, 'p> {
    value: Value<'a>,
    members: Cow<'p, [(Value<'a>, Value<'a>)]>,
    path: &'static str,
    problems: &'p mut Problems,
}

impl<'a, 'p> Object<'a, 'p> {
    /// The object at `path`, which is empty for the root; of anything else than an object that is noted, and nothing found.
    pub fn new(value: Value<'a>, path: &'static str, problems: &'p mut Problems) -> Object<'a, 'p> {
        let members = members(&value, path, problems).to_vec().into();
        Object { value, members, path, problems }
    }

    /// The object at the root whose kind was looked at before, with its fields.
    pub fn read(value: Value<'a>, members: &'p [(Value<'a>, Value<'a>)], problems: &'p mut Problems) -> Object<'a, 'p> {
        Object { value, members: members.into(), path: "", problems }
    }

    /// An object inside this one, found before; `path` is the whole way from the root.
    pub fn child(&mut self, value: Value<'a>, path: &'static str) -> Object<'a, '_> {
        Object::new(value, path, self.problems)
    }

    /// Whatever stands under that name.
    pub fn any(&self, name: &str) -> Option<Value<'a>> {
        self.get(name).filter(|value| !value.is_null())
    }

    /// The same, `null` included.
    pub fn get(&self, name: &str) -> Option<Value<'a>> {
        self.members.iter().find(|(key, _)| key.is_str(name)).map(|(_, value)| *value)
    }

    /// A string of 1 to `max` bytes that must be there; empty if it is not.
    pub fn required_str(&mut self, name: &str, max: usize) -> Cow<'a, str> {
        self.required(name).and_then(|value| self.checked_str(name, value, 1, max)).unwrap_or_default()
    }

    /// A string of 1 to `max` bytes that may be there.
    pub fn opt_str(&mut self, name: &str, max: usize) -> Option<Cow<'a, str>> {
        self.any(name).and_then(|value| self.checked_str(name, value, 1, max))
    }

    /// A string of up to `max` bytes that may be there, and may be empty.
    pub fn opt_text(&mut self, name: &str, max: usize) -> Option<Cow<'a, str>> {
        self.any(name).and_then(|value| self.checked_str(name, value, 0, max))
    }

    /// One of `words` that must be there; the first one if it is not.
    pub fn required_word(&mut self, name: &str, words: &[&'static str]) -> &'static str {
        let Some(value) = self.required(name) else { return words[0] };
        match words.iter().find(|word| value.is_str(word)) {
            Some(word) => word,
            None => {
                self.wrong(name, "must be equal to one of the allowed values");
                words[0]
            }
        }
    }

    /// Exactly this string.
    pub fn required_const(&mut self, name: &str, word: &str) {
        if self.required(name).is_some_and(|value| !value.is_str(word)) {
            self.wrong(name, "must be equal to constant");
        }
    }

    /// A whole number from `least` that must be there; `least` if it is not.
    pub fn required_u64(&mut self, name: &str, least: u64) -> u64 {
        self.required(name).and_then(|value| self.checked_u64(name, value, least)).unwrap_or(least)
    }

    /// A whole number that may be there.
    pub fn opt_u64(&mut self, name: &str) -> Option<u64> {
        self.any(name).and_then(|value| self.checked_u64(name, value, 0))
    }

    /// `true` or `false` that may be there.
    pub fn opt_bool(&mut self, name: &str) -> Option<bool> {
        let truth = self.any(name)?.as_bool();
        if truth.is_none() {
            self.wrong(name, "must be boolean");
        }
        truth
    }

    /// `true` or `false` that must be there; `false` if it is not.
    pub fn required_bool(&mut self, name: &str) -> bool {
        self.required(name).is_some() && self.opt_bool(name) == Some(true)
    }

    /// An object that may be there.
    pub fn opt_obj(&mut self, name: &str) -> Option<Value<'a>> {
        self.any(name).and_then(|value| self.of_kind(name, value, Kind::Object, "must be object"))
    }

    /// An object that must be there; one without fields if it is not.
    pub fn required_obj(&mut self, name: &str) -> Option<Value<'a>> {
        self.required(name).and_then(|value| self.of_kind(name, value, Kind::Object, "must be object"))
    }

    /// A list of up to `most` strings of 1 to `max` bytes each that may be there; all of them are looked at here.
    pub fn opt_list(&mut self, name: &str, most: usize, max: usize) -> Option<Value<'a>> {
        let list = self.any(name).and_then(|value| self.of_kind(name, value, Kind::Array, "must be array"))?;
        if list.items().nth(most).is_some() {
            self.wrong(name, &format!("must NOT have more than {most} items"));
            return None;
        }
        for (at, item) in list.items().enumerate() {
            if let Err(what) = str_of(item, 1, max) {
                self.wrong(&format!("{name}/{at}"), &what);
                return None;
            }
        }
        Some(list)
    }

    /// Notes that what stands under that name is wrong.
    pub fn wrong(&mut self, name: &str, what: &str) {
        self.problems.add(&[self.path, "/", name].concat(), what);
    }

    fn required(&mut self, name: &str) -> Option<Value<'a>> {
        let found = self.get(name);
        if found.is_none() && self.value.kind() == Kind::Object {
            self.problems.missing(self.path, name);
        }
        found
    }

    fn of_kind(&mut self, name: &str, value: Value<'a>, kind: Kind, what: &str) -> Option<Value<'a>> {
        if value.kind() == kind {
            return Some(value);
        }
        self.wrong(name, what);
        None
    }

    fn checked_str(&mut self, name: &str, value: Value<'a>, min: usize, max: usize) -> Option<Cow<'a, str>> {
        str_of(value, min, max).map_err(|what| self.wrong(name, &what)).ok()
    }

    fn checked_u64(&mut self, name: &str, value: Value<'a>, least: u64) -> Option<u64> {
        let number = value.as_u64();
        match number {
            Some(enough) if enough >= least => return number,
            Some(_) => self.wrong(name, &format!("must be >= {least}")),
            None if value.as_i64().is_some() => self.wrong(name, &format!("must be >= {least}")),
            None => self.wrong(name, "must be integer"),
        }
        None
    }
}

fn str_of(value: Value<'_>, min: usize, max: usize) -> Result<Cow<'_, str>, String> {
    // An escape takes at most six bytes for one, so what is longer than this need not be decoded to be refused.
    if value.kind() == Kind::String && value.raw().len() > max.saturating_mul(6).saturating_add(2) {
        return Err(format!("must NOT have more than {max} characters"));
    }
    match value.as_str() {
        Some(text) if text.len() > max => Err(format!("must NOT have more than {max} characters")),
        Some(text) if text.len() < min => Err(format!("must NOT have fewer than {min} characters")),
        Some(text) => Ok(text),
        None => Err("must be string".to_owned()),
    }
}
