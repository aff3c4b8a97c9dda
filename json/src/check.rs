//! Check of a whole text: one JSON value of RFC 8259, in which no object has a key twice.
//!
//! It makes one pass and neither recurses nor allocates: open arrays and objects, and the keys of
//! open objects, are kept in tables of fixed size. It stops at the first error.

use core::ops::Range;

use crate::{plain, Malformed, Unescaped, CLASHES, DEPTH, KEYS, KEYS_OPEN};

/// Checks `text` and returns the range of its value, and the number of values in it, itself
/// included. `max_depth` is at most [`DEPTH`].
pub fn check(text: &str, max_depth: usize) -> Result<(Range<usize>, usize), Malformed> {
    let mut check = Check {
        text,
        at: 0,
        depth: 0,
        max_depth,
        levels: [ARRAY; DEPTH],
        keys: heapless::Vec::new(),
        clashes: 0,
        values: 0,
    };
    let place = check.run()?;
    Ok((place, check.values))
}

/// First halves of surrogate pairs.
pub const HIGH_SURROGATES: Range<u32> = 0xd800..0xdc00;
/// Second halves of surrogate pairs.
const LOW_SURROGATES: Range<u32> = 0xdc00..0xe000;

/// Key of an open object: its hash, and the byte offsets of its start and end.
type Key = (u32, u32, u32);

/// Entry of [`Check::levels`] for an array. The entry of an object is the index of its first key in
/// [`Check::keys`].
const ARRAY: u16 = u16::MAX;

struct Check<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    max_depth: usize,
    levels: [u16; DEPTH],
    /// Keys of all open objects. Not an array, which would have to be initialized for each message.
    keys: heapless::Vec<Key, KEYS_OPEN>,
    /// Number of comparisons in which different keys had equal hashes.
    clashes: u32,
    /// Number of values that were begun.
    values: usize,
}

impl Check<'_> {
    fn run(&mut self) -> Result<Range<usize>, Malformed> {
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

    /// Reads one value. Returns `false` if an array or object was opened, whose first value comes
    /// next.
    fn value(&mut self) -> Result<bool, Malformed> {
        self.values += 1;
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

    /// Continues after a value inside an array or object. Returns `true` if that ended as well.
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
        self.levels[self.depth] = if bracket == b'{' { self.keys.len() as u16 } else { ARRAY };
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
            self.keys.truncate(usize::from(self.levels[self.depth]));
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
        for alike in self.keys[first..].iter().filter(|one| one.0 == hash) {
            if Unescaped(self.text[alike.1 as usize..alike.2 as usize].chars()).eq(key.clone()) {
                return Err(Malformed { at: start, what: "a key given twice" });
            }
            self.clashes += 1;
        }
        // Each clash costs a comparison of two keys. Ordinary keys clash less than once in many
        // frames.
        if self.clashes > CLASHES {
            return Err(Malformed { at: start, what: "keys that were made to look alike" });
        }
        if self.keys.len() - first < KEYS {
            // A key for which there is no space is not checked for duplicates.
            let _ = self.keys.push((hash, start as u32 + 1, self.at as u32 - 1));
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

    /// Returns the code unit of the `\u` escape at the current position.
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

/// Returns the FNV-1a hash of the characters of a key after unescaping, so that every spelling of
/// the same key has the same hash.
fn hash(key: Unescaped<'_>) -> u32 {
    key.fold(0x811c_9dc5, |hash, char| (hash ^ u32::from(char)).wrapping_mul(0x0100_0193))
}
