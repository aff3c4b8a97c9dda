//! JSON reader of the gateway: the whole text is checked first, then read in place.
//!
//! [`parse`] accepts RFC 8259 in UTF-8 and nothing else: no text after the value, no lone
//! surrogate, no array or object nested deeper than the caller allows. It neither recurses nor
//! allocates. A [`Value`] is a piece of the checked text. Reading from it scans the text and cannot
//! fail, so a value that is only relayed stays the bytes that were received ([`Value::raw`]).
//!
//! An object that has a key twice is rejected, because two readers could take different values from
//! it. The first [`KEYS`] keys of an object are checked for that. After those, [`Value::get`] takes
//! the first, and the readers of frames and of closed parameters reject such objects themselves.
//!
//! Numbers are never read as floating point. Lenient forms (comments, trailing commas, unquoted
//! strings, a byte order mark) are rejected.
//!
//! This is a package of its own so that it is compiled for speed, unlike most of the gateway: it
//! reads each byte of a message.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod check;
mod write;

use alloc::borrow::Cow;
use core::fmt;
use core::ops::Range;

use check::HIGH_SURROGATES;

pub use write::{escape, write_comma, write_key, write_string};

/// Maximum nesting depth of arrays and objects.
pub const DEPTH: usize = 64;
/// Number of keys of one object that are checked for duplicates; keys after those are not.
pub const KEYS: usize = 64;
/// Total number of keys checked for duplicates in an object and all objects that enclose it.
pub const KEYS_OPEN: usize = 8 * KEYS;
/// Maximum number of pairs of different keys with equal hashes in one text.
pub const CLASHES: u32 = 64;

/// Reason why a text is rejected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// Offset in bytes of the first error.
    pub at: usize,
    /// Description of the error.
    pub what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

/// Checks all of `text` and returns its value. Arrays and objects may be nested `max_depth` deep,
/// and never deeper than [`DEPTH`].
///
/// Fails if the text is longer than 4 GiB, is not UTF-8, or is not JSON as described [above](self).
pub fn parse(text: &[u8], max_depth: usize) -> Result<Value<'_>, Malformed> {
    parse_counted(text, max_depth).map(|(value, _)| value)
}

/// Like [`parse`], and returns the number of values in the text: all elements, all members, and
/// the arrays and objects themselves.
pub fn parse_counted(text: &[u8], max_depth: usize) -> Result<(Value<'_>, usize), Malformed> {
    match core::str::from_utf8(text) {
        Ok(text) => {
            let (place, values) = check(text, max_depth)?;
            Ok((Value(&text[place]), values))
        }
        Err(error) => Err(Malformed { at: error.valid_up_to(), what: "not UTF-8" }),
    }
}

fn check(text: &str, max_depth: usize) -> Result<(Range<usize>, usize), Malformed> {
    if text.len() > u32::MAX as usize {
        return Err(Malformed { at: u32::MAX as usize, what: "text too long" });
    }
    check::check(text, max_depth.min(DEPTH))
}

/// Checked text that is owned, so that one thread can check it and another one read it.
pub struct Checked<T> {
    text: T,
    place: Range<usize>,
    values: usize,
}

impl<T: AsRef<str>> Checked<T> {
    /// Checks all of `text`, as [`parse`] does.
    pub fn parse(text: T, max_depth: usize) -> Result<Checked<T>, Malformed> {
        let (place, values) = check(text.as_ref(), max_depth)?;
        Ok(Checked { text, place, values })
    }

    /// Returns the value of the text.
    pub fn value(&self) -> Value<'_> {
        Value(&self.text.as_ref()[self.place.clone()])
    }

    /// Returns the number of values in the text.
    pub fn values(&self) -> usize {
        self.values
    }
}

/// Place of a value inside another one.
#[derive(Clone, Copy)]
pub struct Place {
    start: usize,
    len: usize,
}

/// Checked JSON value inside its text, without the space around it.
#[derive(Clone, Copy)]
pub struct Value<'a>(&'a str);

/// Kind of a JSON value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl<'a> Value<'a> {
    /// Object without members; used in place of an absent value.
    pub const EMPTY: Value<'static> = Value("{}");

    /// Returns the kind of the value.
    pub fn kind(&self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            _ => Kind::Null,
        }
    }

    /// Returns the text of the value as it was received.
    pub fn raw(&self) -> &'a str {
        self.0
    }

    /// Returns the place of a value that was read from this one.
    pub fn place_of(&self, inner: &Value<'_>) -> Place {
        let start = (inner.0.as_ptr() as usize).wrapping_sub(self.0.as_ptr() as usize);
        Place { start, len: inner.0.len() }
    }

    /// Returns the value at this place. The place must be of this value.
    pub fn at_place(&self, place: Place) -> Value<'a> {
        let behind = self.0.get(place.start..).unwrap_or_default();
        behind.get(..place.len).map_or(Value::EMPTY, Value)
    }

    /// Returns the value of the first member of an object that has this key. Returns `None` for a
    /// value of another kind.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.members().find(|(name, _)| name.is_str(key)).map(|(_, value)| value)
    }

    /// Like [`Value::get`], but returns [`Value::EMPTY`] if there is no such member.
    pub fn at(&self, key: &str) -> Value<'a> {
        self.get(key).unwrap_or_default()
    }

    /// Returns the members of an object in their order, with their keys as text. A value of another
    /// kind has none.
    pub fn fields(&self) -> impl Iterator<Item = (Cow<'a, str>, Value<'a>)> {
        self.members().map(|(name, value)| (name.text(), value))
    }

    /// Returns the elements of an array in their order. A value of another kind has none.
    pub fn items(&self) -> Items<'a> {
        Items { rest: self.0.strip_prefix('[').unwrap_or("") }
    }

    /// Returns the text of a string, or `None` for a value of another kind. It is borrowed unless
    /// the string has an escape.
    pub fn as_str(&self) -> Option<Cow<'a, str>> {
        (self.kind() == Kind::String).then(|| self.text())
    }

    /// Returns whether the value is a string with this text.
    pub fn is_str(&self, text: &str) -> bool {
        let raw = self.0.as_bytes();
        // An escape is longer than its character, and has at most six bytes for each byte of it.
        if raw.len() < text.len() + 2 || raw.len() > 6 * text.len() + 2 || raw[0] != b'"' {
            return false;
        }
        if raw.len() == text.len() + 2 {
            return &raw[1..=text.len()] == text.as_bytes() && !text.contains('\\');
        }
        self.inner().is_some_and(|inner| Unescaped(inner.chars()).eq(text.chars()))
    }

    /// Returns the length in bytes of the text of a string, or `None` for a value of another kind.
    pub fn text_len(&self) -> Option<usize> {
        self.inner().map(|inner| match inner.contains('\\') {
            true => Unescaped(inner.chars()).map(char::len_utf8).sum(),
            false => inner.len(),
        })
    }

    /// Returns a whole number that fits, also if it has a fraction of zeros (`1.0`). It is never
    /// rounded and never wrapped.
    pub fn as_u64(&self) -> Option<u64> {
        self.whole()?.parse().ok()
    }

    /// Like [`Value::as_u64`], for numbers with a sign.
    pub fn as_i64(&self) -> Option<i64> {
        self.whole()?.parse().ok()
    }

    /// Returns the value of `true` or `false`, or `None` for a value of another kind.
    pub fn as_bool(&self) -> Option<bool> {
        self.0.parse().ok()
    }

    /// Returns whether the value is `null`.
    pub fn is_null(&self) -> bool {
        self.kind() == Kind::Null
    }

    /// Returns keys and values of an object in their order, as they were received. A value of
    /// another kind has none.
    pub fn members(&self) -> Members<'a> {
        Members { rest: self.0.strip_prefix('{').unwrap_or("") }
    }

    fn inner(&self) -> Option<&'a str> {
        self.0.strip_prefix('"')?.strip_suffix('"')
    }

    fn text(&self) -> Cow<'a, str> {
        match self.inner() {
            Some(inner) if inner.contains('\\') => Cow::Owned(Unescaped(inner.chars()).collect()),
            inner => Cow::Borrowed(inner.unwrap_or("")),
        }
    }

    fn whole(&self) -> Option<&'a str> {
        match self.0.split_once('.') {
            Some((front, zeros)) => zeros.bytes().all(|digit| digit == b'0').then_some(front),
            None => Some(self.0),
        }
    }
}

/// Returns [`Value::EMPTY`].
impl Default for Value<'_> {
    fn default() -> Self {
        Value::EMPTY
    }
}

/// Prints the kind and the length only, because a value may be a secret and a log may print it.
impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} bytes", self.kind(), self.0.len())
    }
}

/// Iterator over the elements of an array.
#[derive(Clone)]
pub struct Items<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        skip_between(&mut self.rest);
        take_value(&mut self.rest)
    }
}

/// Iterator over the members of an object, as pairs of key and value.
#[derive(Clone)]
pub struct Members<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Members<'a> {
    type Item = (Value<'a>, Value<'a>);

    fn next(&mut self) -> Option<(Value<'a>, Value<'a>)> {
        skip_between(&mut self.rest);
        let name = take_value(&mut self.rest)?;
        skip_between(&mut self.rest);
        take_value(&mut self.rest).map(|value| (name, value))
    }
}

/// Skips space, commas and colons between the values of checked text.
fn skip_between(rest: &mut &str) {
    let between = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':');
    *rest = &rest[rest.as_bytes().iter().take_while(|byte| between(byte)).count()..];
}

fn take_value<'a>(rest: &mut &'a str) -> Option<Value<'a>> {
    let (value, behind) = rest.split_at(value_len(rest.as_bytes()));
    *rest = behind;
    (!value.is_empty()).then_some(Value(value))
}

/// Returns the length in bytes of the value at the start of checked text. Zero before a closing
/// bracket and at the end.
fn value_len(text: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0usize);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at += string_len(&text[at..]),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
                continue;
            }
            b'}' | b']' if depth > 0 => {
                depth -= 1;
                at += 1;
            }
            b'}' | b']' => return at,
            b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' if depth == 0 => return at,
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

/// Returns the length in bytes of the string at the start of checked text, with its quotes.
pub fn string_len(text: &[u8]) -> usize {
    let mut at = 1;
    loop {
        at += plain(text.get(at..).unwrap_or_default());
        match text.get(at) {
            Some(b'\\') => at += 2,
            Some(_) => return at + 1,
            None => return text.len(),
        }
    }
}

/// Returns the number of bytes at the front that are neither a quote nor a backslash nor a control
/// character. Reads eight bytes at a time, because most of the time for a large message is spent
/// here.
pub fn plain(text: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (eights, rest) = text.as_chunks::<8>();
    for (at, eight) in eights.iter().enumerate() {
        let word = u64::from_le_bytes(*eight);
        // Sets the high bit of each byte that is less than `number`. Bytes after the first such
        // byte may be set wrongly, which does no harm because only the first one is used.
        let less = |word: u64, number: u64| word.wrapping_sub(ONES * number) & !word;
        let found =
            (less(word ^ (ONES * 0x22), 1) | less(word ^ (ONES * 0x5c), 1) | less(word, 0x20))
                & (ONES << 7);
        if found != 0 {
            return 8 * at + found.trailing_zeros() as usize / 8;
        }
    }
    text.len() - rest.len()
        + rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f)).count()
}

/// Iterator over the characters of a checked string, read from its text between the quotes.
#[derive(Clone)]
pub struct Unescaped<'a>(pub core::str::Chars<'a>);

impl Iterator for Unescaped<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self.0.next()? {
            '\\' => self.escape(),
            char => Some(char),
        }
    }
}

impl Unescaped<'_> {
    fn escape(&mut self) -> Option<char> {
        Some(match self.0.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return self.code_point(),
            char => char,
        })
    }

    fn code_point(&mut self) -> Option<char> {
        let unit = self.unit()?;
        if !HIGH_SURROGATES.contains(&unit) {
            return char::from_u32(unit);
        }
        let low = self.0.nth(1).and_then(|_| self.unit())?;
        char::from_u32(0x10000 + ((unit & 0x3ff) << 10 | low & 0x3ff))
    }

    fn unit(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |unit, _| Some(unit << 4 | self.0.next()?.to_digit(16)?))
    }
}
