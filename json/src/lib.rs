//! JSON as the gateway reads it: the whole text is checked first, then read in place.
//!
//! [`parse`] accepts RFC 8259 in UTF-8 and nothing else: no text after the value, no lone surrogate, no array or object nested
//! deeper than the caller allows. It neither recurses nor allocates. A [`Value`] is a piece of the checked text. Reading from it
//! scans the text and cannot fail, so a value that is only relayed stays the bytes that were received ([`Value::raw`]).
//!
//! An object that has a key twice is rejected, because two readers could take different values from it. [`KEYS`] keys of an
//! object are checked for that. After those, [`Value::get`] takes the first, and the readers of frames and of closed parameters
//! reject such objects themselves.
//!
//! Numbers are never read as floating point. Lenient forms (comments, trailing commas, bare words, a byte order mark) are rejected.
//!
//! This is a package of its own so that it is compiled for speed, unlike most of the gateway: it reads each byte of a message.

#![forbid(unsafe_code)]

mod check;
mod write;

use std::borrow::Cow;
use std::fmt;

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

/// Why a text is not JSON that this gateway reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// Offset in bytes of the first thing that is wrong.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

/// Checks all of `text` and gives its one value. Arrays and objects may nest `max_depth` deep, never deeper than
/// [`DEPTH`].
pub fn parse(text: &[u8], max_depth: usize) -> Result<Value<'_>, Malformed> {
    if text.len() > u32::MAX as usize {
        return Err(Malformed { at: u32::MAX as usize, what: "text too long" });
    }
    match core::str::from_utf8(text) {
        Ok(text) => check::check(text, max_depth.min(DEPTH)).map(|place| Value(&text[place])),
        Err(error) => Err(Malformed { at: error.valid_up_to(), what: "not UTF-8" }),
    }
}

/// One checked JSON value inside the text it came from, without the space around it.
#[derive(Clone, Copy)]
pub struct Value<'a>(&'a str);

/// The six kinds of JSON value.
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
    /// The object without fields: in place of what is not there, it has no fields and no elements.
    pub const EMPTY: Value<'static> = Value("{}");

    /// What it is.
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

    /// The text as it came, to be relayed.
    pub fn raw(&self) -> &'a str {
        self.0
    }

    /// The field of that name of an object, the first one should there be several; `None` from anything else.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.members().find(|(name, _)| name.is_str(key)).map(|(_, value)| value)
    }

    /// The same, or [`Value::EMPTY`].
    pub fn at(&self, key: &str) -> Value<'a> {
        self.get(key).unwrap_or_default()
    }

    /// The fields of an object in their order; none of anything else.
    pub fn fields(&self) -> impl Iterator<Item = (Cow<'a, str>, Value<'a>)> {
        self.members().map(|(name, value)| (name.text(), value))
    }

    /// The elements of an array in their order; none of anything else.
    pub fn items(&self) -> Items<'a> {
        Items { rest: self.0.strip_prefix('[').unwrap_or("") }
    }

    /// The text of a string; borrowed unless it holds an escape.
    pub fn as_str(&self) -> Option<Cow<'a, str>> {
        (self.kind() == Kind::String).then(|| self.text())
    }

    /// Is it this string?
    pub fn is_str(&self, text: &str) -> bool {
        let raw = self.0.as_bytes();
        // an escape is longer than what it stands for, at most six bytes for one
        if raw.len() < text.len() + 2 || raw.len() > 6 * text.len() + 2 || raw[0] != b'"' {
            return false;
        }
        if raw.len() == text.len() + 2 {
            return &raw[1..=text.len()] == text.as_bytes() && !text.contains('\\');
        }
        self.inner().is_some_and(|inner| Unescaped(inner.chars()).eq(text.chars()))
    }

    /// The length in bytes of the text of a string.
    pub fn text_len(&self) -> Option<usize> {
        self.inner().map(|inner| match inner.contains('\\') {
            true => Unescaped(inner.chars()).map(char::len_utf8).sum(),
            false => inner.len(),
        })
    }

    /// A whole number that fits, also when written with a fraction of zeros (`1.0`); never rounded, never wrapped.
    pub fn as_u64(&self) -> Option<u64> {
        self.whole()?.parse().ok()
    }

    /// As [`Value::as_u64`], with a sign.
    pub fn as_i64(&self) -> Option<i64> {
        self.whole()?.parse().ok()
    }

    /// `true` or `false`.
    pub fn as_bool(&self) -> Option<bool> {
        self.0.parse().ok()
    }

    /// Is it `null`?
    pub fn is_null(&self) -> bool {
        self.kind() == Kind::Null
    }

    /// Keys and values of an object in their order, as they came; none of anything else.
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

/// [`Value::EMPTY`]
impl Default for Value<'_> {
    fn default() -> Self {
        Value::EMPTY
    }
}

/// Says the kind and the length only: values may hold secrets, and what can be printed ends up in a log.
impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} bytes", self.kind(), self.0.len())
    }
}

/// The elements of an array.
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

/// The members of an object, each with its key, a string, and its value.
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

/// Skips what stands between values of text that is known to be sound.
fn skip_between(rest: &mut &str) {
    let between = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':');
    *rest = &rest[rest.as_bytes().iter().take_while(|byte| between(byte)).count()..];
}

fn take_value<'a>(rest: &mut &'a str) -> Option<Value<'a>> {
    let (value, behind) = rest.split_at(value_len(rest.as_bytes()));
    *rest = behind;
    (!value.is_empty()).then_some(Value(value))
}

/// The length of the value that checked text begins with; zero in front of a closing bracket or the end.
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

/// The length of the string, quotes included, that checked text begins with.
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

/// Number of bytes at the front that are neither a quote nor a backslash nor a control character. Looks at eight bytes at a time,
/// because reading a large message is mostly this.
pub fn plain(text: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (eights, rest) = text.as_chunks::<8>();
    for (at, eight) in eights.iter().enumerate() {
        let word = u64::from_le_bytes(*eight);
        // The high bit of a byte is set if it is less than the number. Behind such a byte it may be set by mistake.
        let less = |word: u64, number: u64| word.wrapping_sub(ONES * number) & !word;
        let found = (less(word ^ (ONES * 0x22), 1) | less(word ^ (ONES * 0x5c), 1) | less(word, 0x20)) & (ONES << 7);
        if found != 0 {
            return 8 * at + found.trailing_zeros() as usize / 8;
        }
    }
    text.len() - rest.len() + rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f)).count()
}

/// The characters that the inside of a checked string stands for.
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
