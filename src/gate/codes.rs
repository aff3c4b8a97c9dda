//! Setup codes: eight characters that let one new device in, once, within ten minutes.
//!
//! A code is made for the owner and shown to a person. It is used up in the moment of admission. Wrong tries end none: nobody can
//! tell which one a wrong try was meant for, and a stranger could end what the owner just made. They are looked at at a fixed
//! rate in all instead ([`super::throttle::Line`]), so that whoever tries for as long as a code lives finds it with a chance of
//! one in 70 million.

use subtle::ConstantTimeEq;

use super::facts::{Code, Grant};
use super::ids::{Millis, RequestId};
use super::limits;

/// Letters and digits that nobody confuses: no 0, O, 1, I.
pub const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// Characters of a code.
pub const CODE_LEN: usize = 8;

/// A code's characters. Secret while it lives.
#[derive(Clone, Copy)]
pub struct CodeText(pub [u8; CODE_LEN]);

impl CodeText {
    /// Makes a code of random bytes, 40 bits of them.
    pub fn from_random(bytes: [u8; CODE_LEN]) -> CodeText {
        CodeText(bytes.map(|byte| ALPHABET[(byte & 31) as usize]))
    }

    /// Reads what a person typed: any case, with or without spaces and dashes. `None` if it cannot be a code.
    pub fn parse(typed: &str) -> Option<CodeText> {
        let mut text = [0; CODE_LEN];
        let mut len = 0;
        for byte in typed.bytes().filter(|byte| !matches!(byte, b' ' | b'-')) {
            let upper = byte.to_ascii_uppercase();
            if !ALPHABET.contains(&upper) {
                return None;
            }
            *text.get_mut(len)? = upper;
            len += 1;
        }
        (len == CODE_LEN).then_some(CodeText(text))
    }

    /// The eight characters.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or("")
    }
}

#[derive(Clone, Copy)]
struct Entry {
    id: RequestId,
    text: CodeText,
    grant: Grant,
    made: Millis,
}

/// A code that was used up; it can be given back if nothing came of it.
pub struct Taken(Entry);

impl Taken {
    /// The id it was made with.
    pub fn id(&self) -> RequestId {
        self.0.id
    }
}

/// What became of a code that was asked after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeState {
    /// It waits; this many milliseconds are left.
    Alive(u64),
    /// It was used, ended or forgotten.
    Gone,
}

/// The codes that are alive.
#[derive(Default)]
pub struct Codes {
    entries: heapless::Vec<Entry, { limits::SETUP_CODES }>,
}

impl Codes {
    /// No code.
    pub const fn new() -> Codes {
        Codes { entries: heapless::Vec::new() }
    }

    /// A code begins to live. The oldest one ends when there are too many.
    pub fn make(&mut self, id: RequestId, text: CodeText, grant: Grant, now: Millis) {
        self.expire(now);
        if self.entries.is_full() {
            self.entries.remove(0);
        }
        let _ = self.entries.push(Entry { id, text, grant, made: now });
    }

    /// Looks at what was presented, in constant time for each code.
    pub fn check(&mut self, presented: &str, now: Millis) -> Code {
        self.expire(now);
        let Some(text) = CodeText::parse(presented) else {
            return Code::Wrong;
        };
        let mut found = None;
        for entry in &self.entries {
            if bool::from(entry.text.0.ct_eq(&text.0)) {
                found = Some(entry.grant);
            }
        }
        found.map_or(Code::Wrong, Code::Right)
    }

    /// Uses the code up. `None` if it is not alive any more: then nobody may be let in by it.
    pub fn take(&mut self, presented: &str, now: Millis) -> Option<Taken> {
        self.expire(now);
        let text = CodeText::parse(presented)?;
        let at = self.entries.iter().position(|entry| bool::from(entry.text.0.ct_eq(&text.0)))?;
        Some(Taken(self.entries.remove(at)))
    }

    /// The code was used up for nothing: it goes on living, as long as it would have.
    pub fn give_back(&mut self, taken: Taken) {
        if self.entries.is_full() {
            self.entries.remove(0);
        }
        let _ = self.entries.push(taken.0);
    }

    /// What became of the code of that id.
    pub fn state(&mut self, id: RequestId, now: Millis) -> CodeState {
        self.expire(now);
        let entry = self.entries.iter().find(|entry| entry.id == id);
        entry.map_or(CodeState::Gone, |entry| CodeState::Alive(entry.made.plus(limits::SETUP_CODE_MS).since(now)))
    }

    fn expire(&mut self, now: Millis) {
        self.entries.retain(|entry| now.since(entry.made) < limits::SETUP_CODE_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::super::ids::{Role, Roles};
    use super::super::scopes::Scopes;
    use super::*;

    const GRANT: Grant = Grant { roles: Roles::of(Role::Operator), scopes: Scopes::ALL };

    fn with(code: &str) -> (Codes, CodeText) {
        let (mut codes, text) = (Codes::new(), CodeText::parse(code).unwrap());
        codes.make(RequestId([1; 16]), text, GRANT, Millis(0));
        (codes, text)
    }

    #[test]
    fn code_works_once_in_every_spelling() {
        let (mut codes, _) = with("ABCD2345");
        assert_eq!(codes.check(" abcd-2345 ", Millis(1)), Code::Right(GRANT));
        let taken = codes.take("abcd 2345", Millis(1)).unwrap();
        assert_eq!(taken.id(), RequestId([1; 16]));
        assert!(codes.take("ABCD2345", Millis(1)).is_none());
        codes.give_back(taken);
        assert_eq!(codes.check("ABCD2345", Millis(limits::SETUP_CODE_MS - 1)), Code::Right(GRANT));
        assert!(codes.take("ABCD2345", Millis(1)).is_some(), "nothing came of the first use");
        assert_eq!(codes.check("ABCD2345", Millis(1)), Code::Wrong);
    }

    #[test]
    fn code_expires_after_ten_minutes_and_not_by_wrong_attempts() {
        let (mut codes, _) = with("ABCD2345");
        assert_eq!(codes.check("ABCD2345", Millis(limits::SETUP_CODE_MS - 1)), Code::Right(GRANT));
        assert_eq!(codes.check("ABCD2345", Millis(limits::SETUP_CODE_MS)), Code::Wrong);
        let (mut codes, _) = with("ABCD2345");
        for _ in 0..100 {
            assert_eq!(codes.check("ABCD2346", Millis(1)), Code::Wrong);
        }
        assert_eq!(codes.check("ABCD2345", Millis(1)), Code::Right(GRANT));
    }

    #[test]
    fn malformed_codes_are_wrong() {
        let (mut codes, _) = with("ABCD2345");
        for rubbish in ["", "ABCD234", "ABCD23456", "ABCD2340", "a-long-gateway-token-that-is-no-code", "\u{e4}BCD2345"]
        {
            assert_eq!(codes.check(rubbish, Millis(1)), Code::Wrong);
        }
        assert_eq!(codes.check("ABCD2345", Millis(1)), Code::Right(GRANT));
    }

    #[test]
    fn number_of_active_codes_is_limited() {
        let mut codes = Codes::new();
        for n in 0..20u8 {
            codes.make(RequestId([n; 16]), CodeText::from_random([n; CODE_LEN]), GRANT, Millis(u64::from(n)));
        }
        assert_eq!(codes.entries.len(), limits::SETUP_CODES);
        assert_eq!(codes.state(RequestId([0; 16]), Millis(20)), CodeState::Gone);
        assert_eq!(codes.state(RequestId([19; 16]), Millis(20)), CodeState::Alive(limits::SETUP_CODE_MS - 1));
    }
}
