//! The check that comes before everything else: is this text one JSON value, as RFC 8259 has it, and no key twice?
//!
//! One pass, no recursion, no allocation: open arrays and objects and the keys of open objects stand in tables of fixed
//! size. The state machine stops at the first byte that is wrong.

use core::ops::Range;

use super::json::{plain, Malformed, Unescaped};
use crate::gate::limits;

/// Where the value stands in `text`. `max_depth` is at most [`limits::JSON_DEPTH`].
pub fn check(text: &str, max_depth: usize) -> Result<Range<usize>, Malformed> {
    Check::new(text, max_depth).run()
}

/// The first halves of surrogate pairs.
pub const HIGH_SURROGATES: Range<u32> = 0xd800..0xdc00;
/// The second halves.
const LOW_SURROGATES: Range<u32> = 0xdc00..0xe000;

/// A key of an object that is still open: its hash, and where its text begins and ends.
type Key = (u32, u32, u32);

/// In [`Check::levels`]: this level is an array. Any other number is where the keys of the object begin.
const ARRAY: u16 = u16::MAX;

struct Check<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    max_depth: usize,
    levels: [u16; limits::JSON_DEPTH],
    keys: [Key; limits::JSON_KEYS_OPEN],
    keys_open: usize,
    /// Keys that were not the same, although their hashes were.
    clashes: u32,
}

impl<'a> Check<'a> {
    fn new(text: &'a str, max_depth: usize) -> Check<'a> {
        Check {
            text,
            at: 0,
            depth: 0,
            max_depth,
            levels: [ARRAY; limits::JSON_DEPTH],
            keys: [(0, 0, 0); limits::JSON_KEYS_OPEN],
            keys_open: 0,
            clashes: 0,
        }
    }

    fn run(mut self) -> Result<Range<usize>, Malformed> {
        self.space();
        let start = self.at;
        loop {
            let mut ended = self.value()?;
            while ended && self.depth > 0 {
                ended = self.after_value()?;
            }
            if ended {
                break;
            }
        }
        let place = start..self.at;
        self.space();
        if self.at < self.text.len() {
            return self.bad("text after the value");
        }
        Ok(place)
    }

    /// Reads one value. False: an array or object began, and its first value comes next.
    fn value(&mut self) -> Result<bool, Malformed> {
        match self.peek() {
            Some(bracket @ (b'{' | b'[')) => return self.open(bracket),
            Some(b'"') => self.string()?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true")?,
            Some(b'f') => self.word("false")?,
            Some(b'n') => self.word("null")?,
            _ => return self.bad("no value"),
        }
        Ok(true)
    }

    /// Goes on behind a value inside an array or object. True: that ended as well.
    fn after_value(&mut self) -> Result<bool, Malformed> {
        self.space();
        let in_array = self.levels[self.depth - 1] == ARRAY;
        match (self.peek(), in_array) {
            (Some(b','), _) => {
                self.at += 1;
                self.space();
                if !in_array {
                    self.key()?;
                }
                Ok(false)
            }
            (Some(b']'), true) | (Some(b'}'), false) => Ok(self.close()),
            (_, true) => self.bad("no comma and no end in an array"),
            (_, false) => self.bad("no comma and no end in an object"),
        }
    }

    fn open(&mut self, bracket: u8) -> Result<bool, Malformed> {
        if self.depth == self.max_depth {
            return self.bad("nested too deep");
        }
        self.levels[self.depth] = if bracket == b'{' { self.keys_open as u16 } else { ARRAY };
        self.depth += 1;
        self.at += 1;
        self.space();
        match (bracket, self.peek()) {
            (b'{', Some(b'}')) | (b'[', Some(b']')) => Ok(self.close()),
            (b'{', _) => self.key().map(|()| false),
            _ => Ok(false),
        }
    }

    fn close(&mut self) -> bool {
        self.at += 1;
        self.depth -= 1;
        if self.levels[self.depth] != ARRAY {
            self.keys_open = usize::from(self.levels[self.depth]);
        }
        true
    }

    fn key(&mut self) -> Result<(), Malformed> {
        if self.peek() != Some(b'"') {
            return self.bad("no key");
        }
        let start = self.at;
        self.string()?;
        self.remember(start)?;
        self.space();
        if self.peek() != Some(b':') {
            return self.bad("no colon after a key");
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    fn remember(&mut self, start: usize) -> Result<(), Malformed> {
        let key = Unescaped(self.text[start + 1..self.at - 1].chars());
        let hash = hash(key.clone());
        let first = usize::from(self.levels[self.depth - 1]);
        for alike in self.keys[first..self.keys_open].iter().filter(|one| one.0 == hash) {
            if Unescaped(self.text[alike.1 as usize..alike.2 as usize].chars()).eq(key.clone()) {
                return Err(Malformed { at: start, what: "a key given twice" });
            }
            self.clashes += 1;
        }
        // each costs a comparison, and by chance there is not one in many frames
        if self.clashes > limits::JSON_CLASHES {
            return Err(Malformed { at: start, what: "keys that were made to look alike" });
        }
        if self.keys_open < self.keys.len() && self.keys_open - first < limits::JSON_KEYS {
            self.keys[self.keys_open] = (hash, start as u32 + 1, self.at as u32 - 1);
            self.keys_open += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        loop {
            self.at += plain(&self.text.as_bytes()[self.at..]);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(_) => return self.bad("a control character in a string"),
                None => return self.bad("a string without end"),
            }
        }
        self.at += 1;
        Ok(())
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        match self.text.as_bytes().get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                return Ok(());
            }
            Some(b'u') => {}
            _ => return self.bad("an unknown escape"),
        }
        let Some(unit) = self.unit() else { return self.bad("an unknown escape") };
        let pair = HIGH_SURROGATES.contains(&unit);
        if LOW_SURROGATES.contains(&unit) {
            return self.bad("half a surrogate pair");
        }
        self.at += 6;
        if pair && !self.unit().is_some_and(|low| LOW_SURROGATES.contains(&low)) {
            return self.bad("half a surrogate pair");
        }
        self.at += if pair { 6 } else { 0 };
        Ok(())
    }

    /// The number behind `\u` here.
    fn unit(&self) -> Option<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | (*digit as char).to_digit(16)?))
    }

    fn number(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let zero = self.peek() == Some(b'0');
        let mut sound = match self.digits() {
            0 => false,
            count => count == 1 || !zero,
        };
        if self.peek() == Some(b'.') {
            self.at += 1;
            sound &= self.digits() > 0;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            sound &= self.digits() > 0;
        }
        if sound {
            Ok(())
        } else {
            Err(Malformed { at: start, what: "not a number" })
        }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    fn word(&mut self, word: &str) -> Result<(), Malformed> {
        if !self.text[self.at..].starts_with(word) {
            return self.bad("no value");
        }
        self.at += word.len();
        Ok(())
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn bad<T>(&self, what: &'static str) -> Result<T, Malformed> {
        Err(Malformed { at: self.at, what })
    }
}

/// FNV-1a over the characters a key stands for, however they are written.
fn hash(key: Unescaped<'_>) -> u32 {
    key.fold(0x811c_9dc5, |hash, char| (hash ^ u32::from(char)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn keys_that_were_made_to_look_alike_do_not_cost_a_comparison_each() {
        let mut seen = HashMap::new();
        let hash_of = |key: &str| hash(Unescaped(key.chars()));
        let pair = (0..).find_map(|number: u32| {
            let key = number.to_string();
            seen.insert(hash_of(&key), key.clone()).map(|other| (key, other))
        });
        let (one, two) = pair.unwrap();
        assert!(one != two && hash_of(&one) == hash_of(&two));
        let object = format!(r#"{{"{one}":1,"{two}":2}}"#);
        let many = |count: u32| ["[", &vec![object.as_str(); count as usize].join(","), "]"].concat();
        assert!(check(&many(limits::JSON_CLASHES), 8).is_ok(), "some may be chance");
        let malformed = check(&many(limits::JSON_CLASHES + 1), 8).unwrap_err();
        assert_eq!(malformed.what, "keys that were made to look alike");
    }

    #[test]
    fn keys_that_look_like_a_long_one_do_not_cost_its_length_each() {
        let long = "\\\\".repeat(2 * 1024 * 1024);
        let wanted = hash(Unescaped(long.chars()));
        // the last character can make up for all that is before it; of those that are none another beginning is tried
        let alike = (0..).filter_map(|number: u32| {
            let front = format!("{number}-");
            let last = hash(Unescaped(front.chars())) ^ wanted.wrapping_mul(INVERSE);
            let last = char::from_u32(last).filter(|char| !char.is_control() && !"\"\\".contains(*char))?;
            Some(format!("\"{front}{last}\":1"))
        });
        let alike: Vec<String> = alike.take(limits::JSON_CLASHES as usize).collect();
        let object = |keys: &[String]| format!("{{\"{long}\":1,{}}}", keys.join(","));
        let time = |text: &str| {
            let begun = std::time::Instant::now();
            assert!(check(text, 8).is_ok());
            begun.elapsed()
        };
        let filling: Vec<String> = (0..limits::JSON_KEYS - 1).map(|number| format!("\"f{number}\":1")).collect();
        let (plain, made) = (object(&filling), object(&[filling.as_slice(), alike.as_slice()].concat()));
        let [plain, made] = [plain, made].map(|text| (0..5).map(|_| time(&text)).min().unwrap());
        assert!(made < 3 * plain, "{made:?} for what takes {plain:?} without them");
    }

    /// Of the prime by which a hash is multiplied.
    const INVERSE: u32 = 0x359c_449b;
}
