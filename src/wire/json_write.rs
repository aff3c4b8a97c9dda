//! JSON writer: appends to bytes, field by field, without a tree in between.
//!
//! The output is valid as long as the pieces given as raw are: commas, colons, brackets and escapes
//! are written here. Nothing is sorted or left out implicitly; an optional field that is absent is
//! not written.

use std::fmt::{self, Display, Write as _};

use gatelet_json::escape;

use super::json::{self, Value};
use crate::gate::ids::{Role, Roles};
use crate::gate::limits;
use crate::gate::scopes::{Scope, Scopes};

/// Appends one object to `out`.
pub fn obj(out: &mut Vec<u8>, fields: impl FnOnce(&mut Writer<'_>)) {
    Writer { out }.nested(b'{', fields);
}

/// Appends one array to `out`.
pub fn arr(out: &mut Vec<u8>, items: impl FnOnce(&mut Writer<'_>)) {
    Writer { out }.nested(b'[', items);
}

/// Returns one object as bytes of its own.
pub fn object(fields: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    obj(&mut out, fields);
    out
}

/// Writer inside one object or array. The methods with a key are for objects, those named `item`
/// for arrays.
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

impl Writer<'_> {
    /// Returns the number of bytes written so far, those around this object or array included.
    pub fn written(&self) -> usize {
        self.out.len()
    }

    /// Writes a string.
    pub fn str(&mut self, key: &str, text: &str) {
        self.key(key);
        self.quoted(text);
    }

    /// Writes a string, if there is one.
    pub fn opt_str(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.str(key, text);
        }
    }

    /// Writes the printed form of `shown` as a string.
    pub fn shown(&mut self, key: &str, shown: &dyn Display) {
        self.key(key);
        self.out.push(b'"');
        // Fails only if `shown` itself does. The text that it printed before that is kept.
        let _ = write!(Escape(self.out), "{shown}");
        self.out.push(b'"');
    }

    /// Writes a whole number.
    pub fn u64(&mut self, key: &str, number: u64) {
        self.key(key);
        self.number(number);
    }

    /// Writes a whole number, if there is one.
    pub fn opt_u64(&mut self, key: &str, number: Option<u64>) {
        if let Some(number) = number {
            self.u64(key, number);
        }
    }

    /// Writes `true` or `false`.
    pub fn bool(&mut self, key: &str, value: bool) {
        self.raw(key, if value { b"true" } else { b"false" });
    }

    /// Writes `true` or `false`, if there is a value.
    pub fn opt_bool(&mut self, key: &str, value: Option<bool>) {
        if let Some(value) = value {
            self.bool(key, value);
        }
    }

    /// Writes `null`.
    pub fn null(&mut self, key: &str) {
        self.raw(key, b"null");
    }

    /// Writes bytes that already are one JSON value.
    pub fn raw(&mut self, key: &str, json: &[u8]) {
        self.key(key);
        self.out.extend_from_slice(json);
    }

    /// Writes bytes that already are one JSON value, if there are any.
    pub fn opt_raw(&mut self, key: &str, json: Option<&[u8]>) {
        if let Some(json) = json {
            self.raw(key, json);
        }
    }

    /// Writes the JSON that the string `text` contains, after checking it. Returns `false` and
    /// writes nothing if the string does not contain JSON or the JSON is nested too deep.
    pub fn held(&mut self, key: &str, text: &Value<'_>) -> bool {
        let before = self.out.len();
        self.key(key);
        let start = self.out.len();
        self.out.reserve(text.raw().len());
        unescape(self.out, text);
        if json::parse(&self.out[start..], HELD_DEPTH).is_err() {
            self.out.truncate(before);
            return false;
        }
        true
    }

    /// Writes fields that already are JSON, with commas between them and no braces around.
    pub fn fields(&mut self, json: &str) {
        self.comma();
        self.out.extend_from_slice(json.as_bytes());
    }

    /// Writes an object.
    pub fn obj(&mut self, key: &str, fields: impl FnOnce(&mut Writer<'_>)) {
        self.key(key);
        self.nested(b'{', fields);
    }

    /// Writes an array.
    pub fn arr(&mut self, key: &str, items: impl FnOnce(&mut Writer<'_>)) {
        self.key(key);
        self.nested(b'[', items);
    }

    /// Writes an array of strings.
    pub fn strs<'s>(&mut self, key: &str, texts: impl IntoIterator<Item = &'s str>) {
        self.arr(key, |list| texts.into_iter().for_each(|text| list.item_str(text)));
    }

    /// Writes an array of owned strings.
    pub fn strings(&mut self, key: &str, texts: &[String]) {
        self.strs(key, texts.iter().map(String::as_str));
    }

    /// Writes the names of scopes as an array.
    pub fn scopes(&mut self, key: &str, scopes: Scopes) {
        self.strs(key, scopes.iter().map(Scope::name));
    }

    /// Writes the names of roles as an array.
    pub fn roles(&mut self, key: &str, roles: Roles) {
        self.strs(key, roles.iter().map(Role::name));
    }

    /// Writes a string in an array.
    pub fn item_str(&mut self, text: &str) {
        self.comma();
        self.quoted(text);
    }

    /// Writes a whole number in an array.
    pub fn item_u64(&mut self, number: u64) {
        self.comma();
        self.number(number);
    }

    /// Writes, in an array, bytes that already are one JSON value.
    pub fn item_raw(&mut self, json: &[u8]) {
        self.comma();
        self.out.extend_from_slice(json);
    }

    /// Writes an object in an array.
    pub fn item_obj(&mut self, fields: impl FnOnce(&mut Writer<'_>)) {
        self.comma();
        self.nested(b'{', fields);
    }

    fn key(&mut self, key: &str) {
        gatelet_json::write_key(self.out, key);
    }

    fn comma(&mut self) {
        gatelet_json::write_comma(self.out);
    }

    fn quoted(&mut self, text: &str) {
        gatelet_json::write_string(self.out, text);
    }

    fn number(&mut self, number: u64) {
        // Appending to memory cannot fail.
        let _ = write!(Escape(self.out), "{number}");
    }

    fn nested(&mut self, bracket: u8, inside: impl FnOnce(&mut Writer<'_>)) {
        self.put(bracket);
        inside(&mut Writer { out: self.out });
        // In ASCII the closing brackets come two after the opening ones.
        self.put(bracket + 2);
    }

    /// Appends one byte. Not inlined, because both ends of every object call it.
    #[inline(never)]
    fn put(&mut self, byte: u8) {
        self.out.push(byte);
    }
}

struct Escape<'o>(&'o mut Vec<u8>);

impl fmt::Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

/// Returns the length in bytes of `text` as the inside of a JSON string, without the quotes: the
/// size of what [`Writer::str`] writes, computed without writing it. Text that is JSON grows to at
/// most twice its length, any other text to at most six times.
pub fn escaped_len(text: &str) -> usize {
    let (mut len, mut rest) = (text.len(), text.as_bytes());
    while let Some((byte, behind)) = rest[json::plain(rest)..].split_first() {
        len += match byte {
            b'"' | b'\\' | 0x08 | b'\t' | b'\n' | 0x0c | b'\r' => 1,
            _ => 5,
        };
        rest = behind;
    }
    len
}

/// Appends the text of the string; pieces without an escape are copied as a whole.
fn unescape(out: &mut Vec<u8>, text: &Value<'_>) {
    let mut rest = text.raw();
    rest = rest.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or("");
    // In a checked string only a backslash is not plain.
    loop {
        let (plain, odd) = rest.split_at(json::plain(rest.as_bytes()));
        out.extend_from_slice(plain.as_bytes());
        if odd.is_empty() {
            return;
        }
        let mut chars = json::Unescaped(odd.chars());
        let char = chars.next().unwrap_or('\u{fffd}');
        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        rest = chars.0.as_str();
    }
}

/// Returns the JSON that the string `text` contains, after checking it as [`Writer::held`] does.
pub fn held(text: &Value<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.raw().len());
    unescape(&mut out, text);
    json::parse(&out, HELD_DEPTH).is_ok().then_some(out)
}

/// Maximum nesting depth of JSON inside a string. It is lower than that of a frame because a frame
/// nests the value a few levels deeper.
const HELD_DEPTH: usize = limits::JSON_DEPTH - 4;

/// Formats the value over several lines, two spaces per level, for people to read. Characters that
/// control a terminal are written as escapes.
pub fn pretty(value: &Value<'_>) -> String {
    let mut out = String::with_capacity(2 * value.raw().len());
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    let mut chars =
        value.raw().chars().filter(|char| !matches!(char, '\t' | '\n' | '\r')).peekable();
    while let Some(char) = chars.next() {
        if in_string {
            in_string = char != '"' || escaped;
            escaped = char == '\\' && !escaped;
            visible(&mut out, char);
            continue;
        }
        match char {
            ' ' => {}
            '{' | '[' => {
                out.push(char);
                while chars.next_if_eq(&' ').is_some() {}
                if let Some(end) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth -= 1;
                new_line(&mut out, depth);
                out.push(char);
            }
            ',' => {
                out.push(char);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => {
                in_string = char == '"';
                out.push(char);
            }
        }
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    (0..depth).for_each(|_| out.push_str("  "));
}

fn visible(out: &mut String, char: char) {
    let steers = matches!(
        char,
        '\u{7f}'..='\u{9f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    );
    if steers {
        let _ = write!(out, "\\u{:04x}", u32::from(char));
    } else {
        out.push(char);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::parse;
    use crate::wire::testing::Random;

    #[test]
    fn objects_and_arrays_are_valid_and_in_order() {
        let out = object(|o| {
            o.str("text", "a\"b\\c\nd\u{1}\u{1f}\u{7f}\u{e9}");
            o.opt_str("absent", None);
            o.u64("most", u64::MAX);
            o.bool("yes", true);
            o.null("nothing");
            o.raw("raw", b"[1]");
            o.obj("empty", |_| {});
            o.arr("list", |list| {
                list.item_str("x");
                list.item_u64(0);
                list.item_obj(|o| o.opt_bool("no", Some(false)));
                list.item_raw(b"[null]");
            });
            o.strs("words", ["a", "b"]);
            o.shown("shown", &format_args!("{}{}", 1, '"'));
        });
        let expected = concat!(
            r#"{"text":"a\"b\\c\nd\u0001\u001f"#,
            "\u{7f}\u{e9}",
            r#"","most":18446744073709551615,"yes":true,"nothing":null,"raw":[1],"empty":{},"#,
            r#""list":["x",0,{"no":false},[null]],"words":["a","b"],"shown":"1\""}"#
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn written_strings_are_appended_and_read_back() {
        let mut random = Random::new(3);
        for _ in 0..3_000 {
            let text: String = (0..random.below(20))
                .filter_map(|_| char::from_u32(random.below(0x300) as u32))
                .collect();
            let mut out = b"before".to_vec();
            arr(&mut out, |list| list.item_obj(|o| o.str(&text, &text)));
            let value = parse(&out[6..], limits::JSON_DEPTH).unwrap();
            let item = value.items().next().unwrap();
            assert_eq!(item.get(&text).unwrap().as_str().unwrap(), text);
        }
    }

    #[test]
    fn escaped_len_matches_the_written_length() {
        let mut random = Random::new(29);
        let odd = "\u{0}\u{1}\u{8}\t\n\u{b}\u{c}\r\u{1f} \"\\/\u{7f}\u{e9}\u{2028}\u{1f600}plain";
        let odd: Vec<char> = odd.chars().collect();
        for _ in 0..3_000 {
            let text: String =
                (0..random.below(40)).map(|_| odd[random.below(odd.len())]).collect();
            let mut out = Vec::new();
            escape(&mut out, &text);
            assert_eq!(escaped_len(&text), out.len(), "{text:?}");
            // JSON has no control characters except white space, so text that is JSON at most
            // doubles.
            let inside = String::from_utf8(out).unwrap();
            assert!(escaped_len(&inside) <= 2 * inside.len(), "{text:?}");
        }
        assert_eq!((escaped_len("\"\\"), escaped_len("\u{1}")), (4, 6));
    }

    #[test]
    fn rewritten_string_is_not_longer_than_received() {
        for text in [r#""\b\f\n\r\t\"\\\/""#, r#""\u0001\u001f\u0008""#, r#""\u00e9\ud83d\ude00""#]
        {
            let value = parse(text.as_bytes(), 8).unwrap();
            let mut out = Vec::new();
            Writer { out: &mut out }.item_str(&value.as_str().unwrap());
            assert!(out.len() <= text.len(), "{text}");
        }
    }

    #[test]
    fn held_json_is_written_as_a_value_or_left_out() {
        let held = |text: &str| {
            let mut kept = false;
            let out = object(|o| {
                o.u64("a", 1);
                kept = o.held("b", &parse(text.as_bytes(), 8).unwrap());
                o.u64("c", 2);
            });
            (kept, String::from_utf8(out).unwrap())
        };
        let text = r#""{\"x\":[\"\\n\u00e9\ud83d\ude00\"] , \"y\":\"\\u00e9\"}""#;
        let expected =
            "{\"a\":1,\"b\":{\"x\":[\"\\n\u{e9}\u{1f600}\"] , \"y\":\"\\u00e9\"},\"c\":2}";
        assert_eq!(held(text), (true, expected.to_string()));
        let deep = format!("\"{}{}\"", "[".repeat(61), "]".repeat(61));
        for text in
            ["\"\"", "\"no json\"", "\"{} {}\"", "\"{\\\"a\\\":1,\\\"a\\\":2}\"", "1", &deep]
        {
            assert_eq!(held(text), (false, r#"{"a":1,"c":2}"#.to_string()), "{text}");
        }
    }

    #[test]
    fn pretty_text_is_indented_and_equivalent() {
        let text = r#" { "a" : [ 1 , { } , [ ] , "x , [ \" ] : " ] ,"b":{"c":"\\"}, "d" : "" } "#;
        let value = parse(text.as_bytes(), 8).unwrap();
        let shown = pretty(&value);
        let lines = [
            "{",
            "  \"a\": [",
            "    1,",
            "    {},",
            "    [],",
            r#"    "x , [ \" ] : ""#,
            "  ],",
            "  \"b\": {",
            r#"    "c": "\\""#,
            "  },",
            "  \"d\": \"\"",
            "}",
        ];
        assert_eq!(shown, lines.join("\n"));
        assert_eq!(pretty(&parse(shown.as_bytes(), 8).unwrap()), shown);
    }

    #[test]
    fn pretty_text_escapes_terminal_controls() {
        let text = "\"\u{9b}31m\u{202e}\u{7f}\"";
        assert_eq!(pretty(&parse(text.as_bytes(), 1).unwrap()), r#""\u009b31m\u202e\u007f""#);
    }
}
