//! JSON as this gateway reads it: the whole text is checked first, then looked at in place.
//!
//! [`parse`] accepts exactly RFC 8259 in UTF-8, no deeper than asked, with nothing after the value and no lone surrogate;
//! what it refuses, no other part ever sees. It neither recurses nor allocates. A [`Value`] is a piece of that checked text:
//! looking into it costs a scan and cannot fail, so what is only relayed stays the bytes that came ([`Value::raw`]).
//!
//! A key given twice in one object is refused ([`limits::JSON_KEYS`] says how far that is watched), because who reads the
//! first and who reads the last would see two different documents. Beyond that bound [`Value::get`] takes the first, and
//! the readers of frames and of closed parameters refuse such objects on their own.
//!
//! Never done here: numbers as floating point, lenient forms (comments, trailing commas, bare words, a byte order mark).

use std::borrow::Cow;
use std::fmt;

use super::json_check::{self, HIGH_SURROGATES};
use crate::gate::limits;

pub use super::json_write::{arr, escaped_len, obj, object, pretty, Writer};

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
/// [`limits::JSON_DEPTH`].
pub fn parse(text: &[u8], max_depth: usize) -> Result<Value<'_>, Malformed> {
    if text.len() > u32::MAX as usize {
        return Err(Malformed { at: u32::MAX as usize, what: "text too long" });
    }
    match core::str::from_utf8(text) {
        Ok(text) => json_check::check(text, max_depth.min(limits::JSON_DEPTH)).map(|place| Value(&text[place])),
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
        self.inner().is_some_and(|inner| inner.contains('\\') && Unescaped(inner.chars()).eq(text.chars()))
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
    pub(super) fn members(&self) -> Members<'a> {
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

pub(super) struct Members<'a> {
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
pub(super) fn string_len(text: &[u8]) -> usize {
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

/// How many bytes at the front are neither a quote nor a backslash nor a control character. Eight at a time: with large payloads
/// this is where the time goes.
pub(super) fn plain(text: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut at = 0;
    for eight in text.as_chunks::<8>().0 {
        let word = u64::from_le_bytes(*eight);
        // the high bit of a byte is set where it is less than the number; above such a byte it may be set by mistake
        let less = |word: u64, number: u64| word.wrapping_sub(ONES * number) & !word;
        let found = less(word ^ (ONES * 0x22), 1) | less(word ^ (ONES * 0x5c), 1) | less(word, 0x20);
        if found & (ONES << 7) != 0 {
            break;
        }
        at += 8;
    }
    at + text[at..].iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f)).count()
}

/// The characters that the inside of a checked string stands for.
#[derive(Clone)]
pub(super) struct Unescaped<'a>(pub(super) core::str::Chars<'a>);

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::Random;

    #[test]
    fn plain_text_ends_where_a_look_at_each_byte_says() {
        let mut random = Random::new(5);
        for _ in 0..20_000 {
            let text = random.damaged(b"0123456789 abcdefgh\x7f\x80\xff!#[]ijklmnop");
            let odd = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
            assert_eq!(plain(&text), text.iter().position(odd).unwrap_or(text.len()), "{text:?}");
        }
        for byte in 0..=255 {
            for at in 0..17 {
                let mut text = [b'a'; 17];
                text[at] = byte;
                let odd = matches!(byte, b'"' | b'\\' | 0..=0x1f);
                assert_eq!(plain(&text), if odd { at } else { 17 }, "{byte} at {at}");
            }
        }
    }

    fn read(text: &str) -> Result<Value<'_>, Malformed> {
        parse(text.as_bytes(), limits::JSON_DEPTH)
    }

    fn value(text: &str) -> Value<'_> {
        read(text).expect(text)
    }

    #[test]
    fn sound_texts_are_accepted_whole() {
        let sound = [
            "null",
            "true",
            "false",
            "0",
            "-0",
            "10",
            "-1.5e+10",
            "1E5",
            "1e-5",
            "0.0",
            r#""""#,
            r#""a""#,
            "[]",
            "{}",
            " [ ] ",
            "\t{\n}\r",
            "[1,2]",
            "[ 1 , [ ] , { } ]",
            r#"{"a":1}"#,
            r#"{ "a" : { "b" : [ null ] } , "c" : "" }"#,
            r#""\"\\\/\b\f\n\r\t\u00e9""#,
            r#""\ud83d\uDE00""#,
            "\"\u{7f}\u{2028}\u{10ffff}\"",
            r#"{"":0}"#,
            r#"{"a":{"a":1},"b":{"a":1}}"#,
            "[{},{},[[]]]",
            "1e400",
        ];
        for text in sound {
            assert_eq!(value(text).raw(), text.trim(), "{text}");
        }
    }

    #[test]
    fn hostile_texts_are_refused_at_the_byte_that_is_wrong() {
        let hostile: [(&str, usize); 62] = [
            ("", 0),
            (" ", 1),
            ("nul", 0),
            ("nulll", 4),
            ("True", 0),
            ("+1", 0),
            ("-", 0),
            ("--1", 0),
            ("01", 0),
            ("-01", 0),
            ("1.", 0),
            (".5", 0),
            ("1e", 0),
            ("1e+", 0),
            ("1.e1", 0),
            ("0x10", 1),
            ("NaN", 0),
            ("Infinity", 0),
            ("1 2", 2),
            ("[1 2]", 3),
            ("[", 1),
            ("[1", 2),
            ("[1,", 3),
            ("[1,]", 3),
            ("[,1]", 1),
            ("[,]", 1),
            ("]", 0),
            ("[}", 1),
            ("[1}", 2),
            ("{]", 1),
            ("{", 1),
            ("{,}", 1),
            ("{\"a\"", 4),
            ("{\"a\"}", 4),
            ("{\"a\":", 5),
            ("{\"a\":}", 5),
            ("{\"a\":,", 5),
            ("{\"a\"::1}", 5),
            ("{\"a\":]}", 5),
            ("{\"a\":1,}", 7),
            ("{\"a\":1 \"b\":2}", 7),
            ("{\"a\":[", 6),
            ("{\"a\":{\"b\":1", 11),
            ("{\"a\":[}}", 6),
            ("{a:1}", 1),
            ("{'a':1}", 1),
            ("{1:1}", 1),
            ("{}{}", 2),
            ("{}]]]", 2),
            ("[] x", 3),
            ("\"a", 2),
            ("\"a\\", 2),
            ("\"\\x\"", 1),
            ("\"\\u12\"", 1),
            ("\"\\u123g\"", 1),
            ("\"\n\"", 1),
            ("\"\0\"", 1),
            ("// no\n1", 0),
            ("/**/1", 0),
            ("\u{feff}1", 0),
            ("\u{a0}1", 0),
            ("null\0", 4),
        ];
        for (text, at) in hostile {
            assert_eq!(read(text).map(|_| ()).map_err(|bad| bad.at), Err(at), "{text:?}");
        }
    }

    #[test]
    fn half_surrogate_pairs_and_broken_utf_8_are_refused() {
        for text in [
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\ud800\ud800""#,
            r#""\ud800x""#,
            r#""\ud800\n""#,
            r#""\ud800\u0041""#,
            r#""\udc00\ud800""#,
        ] {
            assert_eq!(read(text).map(|_| ()).map_err(|bad| bad.what), Err("half a surrogate pair"), "{text}");
        }
        for text in [&b"\"\xff\""[..], b"\"\xc0\x80\"", b"\"\xed\xa0\x80\"", b"\xef\xbb", b"\"\xf4\x90\x80\x80\""] {
            assert_eq!(parse(text, 8).map(|_| ()).map_err(|bad| bad.what), Err("not UTF-8"), "{text:?}");
        }
    }

    #[test]
    fn depth_is_bounded_without_recursion() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(read(&nested(limits::JSON_DEPTH)).is_ok());
        for depth in [limits::JSON_DEPTH + 1, 1_000_000] {
            assert_eq!(
                read(&nested(depth)).unwrap_err(),
                Malformed { at: limits::JSON_DEPTH, what: "nested too deep" }
            );
        }
        assert!(
            parse(b"[[]]", 2).is_ok()
                && parse(b"[[[]]]", 2).is_err()
                && parse(b"1", 0).is_ok()
                && parse(b"[]", 0).is_err()
        );
        assert!(parse(nested(99).as_bytes(), usize::MAX).is_err(), "the limit holds whatever the caller asks");
    }

    #[test]
    fn a_key_given_twice_is_refused_however_it_is_written() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":{},"\u0061":1}"#,
            r#"[{"x":{"a":1,"c":{"a":1},"a":2}}]"#,
            r#"{"\n":1,"\u000a":1}"#,
        ] {
            assert_eq!(read(text).map(|_| ()).map_err(|bad| bad.what), Err("a key given twice"), "{text}");
        }
        assert_eq!(read(r#"{"a":{"b":1},"b":{"a":1}}"#).map(|_| ()), Ok(()));
    }

    #[test]
    fn keys_are_watched_up_to_the_limit_and_the_first_is_taken_beyond_it() {
        let many = |count: usize| (0..count).map(|at| format!("\"k{at}\":{at},")).collect::<String>();
        let within = format!("{{{}\"k0\":9}}", many(limits::JSON_KEYS));
        assert_eq!(read(&within).unwrap_err().what, "a key given twice");
        let last_watched = limits::JSON_KEYS - 1;
        let edge = format!("{{{}\"k{last_watched}\":9}}", many(limits::JSON_KEYS));
        assert_eq!(read(&edge).unwrap_err().what, "a key given twice");
        let last = limits::JSON_KEYS;
        let beyond = format!("{{{}\"k{last}\":9}}", many(limits::JSON_KEYS + 1));
        assert_eq!(value(&beyond).get(&format!("k{last}")).and_then(|first| first.as_u64()), Some(last as u64));
    }

    #[test]
    fn fields_and_items_are_found_in_their_order() {
        let text = r#" { "a" : [ 1 , "," , { "x" : "]}" } , [ ] , -2.5e3 ] , "\u0062" : "}" , "c":null,"d":{"a":0} } "#;
        let found = value(text);
        let raws: Vec<_> = found.fields().map(|(name, value)| (name.into_owned(), value.raw())).collect();
        assert_eq!(raws[1..], [("b".into(), "\"}\""), ("c".into(), "null"), ("d".into(), "{\"a\":0}")]);
        let items: Vec<_> = found.get("a").unwrap().items().map(|item| item.raw()).collect();
        assert_eq!(items, ["1", "\",\"", r#"{ "x" : "]}" }"#, "[ ]", "-2.5e3"]);
        assert_eq!(found.get("b").unwrap().as_str().as_deref(), Some("}"));
        assert!(found.get("x").is_none() && found.get("c").unwrap().is_null());
        assert_eq!((value("[1]").fields().count(), value("{\"a\":1}").items().count()), (0, 0));
        assert_eq!(
            (value("\"[1]\"").items().count(), value("{}").fields().count(), value("[ ]").items().count()),
            (0, 0, 0)
        );
    }

    #[test]
    fn strings_are_borrowed_unless_they_hold_escapes() {
        assert!(matches!(value("\"caf\u{e9}\"").as_str(), Some(Cow::Borrowed("caf\u{e9}"))));
        assert_eq!(
            value(r#""\"\\\/\b\f\n\r\t\u0041\ud83d\ude00x""#).as_str().as_deref(),
            Some("\"\\/\u{8}\u{c}\n\r\tA\u{1f600}x")
        );
        assert!(!value(r#""\n""#).is_str("\\n") && value(r#""\\n""#).is_str("\\n") && value("\"\"").is_str(""));
        assert!(value(r#""a\u0062c""#).is_str("abc") && !value(r#""abc""#).is_str("ab") && !value("1").is_str("1"));
        assert_eq!((value("1").as_str(), value("[\"a\"]").as_str()), (None, None));
    }

    #[test]
    fn whole_numbers_are_exact_or_nothing() {
        assert_eq!(value("18446744073709551615").as_u64(), Some(u64::MAX));
        assert_eq!(value("18446744073709551616").as_u64(), None, "nothing wraps");
        assert_eq!(value("1700000000000.0").as_u64(), Some(1_700_000_000_000));
        assert_eq!(
            (value("-9223372036854775808").as_i64(), value("9223372036854775808").as_i64()),
            (Some(i64::MIN), None)
        );
        for text in ["-1", "1.5", "1e3", "1.0e5", "\"1\"", "true", "null", "[1]", "0.10"] {
            assert_eq!(value(text).as_u64(), None, "{text}");
        }
        assert_eq!(
            (value("true").as_bool(), value("false").as_bool(), value("0").as_bool()),
            (Some(true), Some(false), None)
        );
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", value("\"s3cret\"")), "String of 8 bytes");
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut random = Random::new(7);
        for _ in 0..20_000 {
            let text = random.bytes_of(b"{}[]\":,\\ \n0123456789eE+-.truefalsn\"ud8c\xc3\xa9\xff\0", 40);
            if let Ok(value) = parse(&text, 5) {
                let _ = (value.kind(), value.as_str(), value.as_u64(), value.as_i64(), value.as_bool(), pretty(&value));
                value.fields().for_each(|(name, field)| assert!(value.get(&name).is_some() && !field.raw().is_empty()));
                value.items().for_each(|item| assert!(parse(item.raw().as_bytes(), 5).is_ok()));
            }
        }
    }
}
