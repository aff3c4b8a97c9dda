//! Setup codes: eight characters that pair one new device, once, within ten minutes.
//!
//! A code is created at the request of the owner and removed by [`SetupCodes::take`] when a client
//! is admitted with it. Failed attempts do not end a code: a failed attempt cannot be attributed to
//! one code, and ending codes would let an unauthenticated client destroy a code that was just
//! created. Instead, [`super::rate_limit::AttemptQueue`] limits all attempts together to a fixed
//! rate. An attacker who tries for the whole life of a code finds it with a probability below one
//! in 70 million, and one of [`limits::SETUP_CODES`] codes with a probability below one in 5
//! million.
//!
//! A client that creates more codes than its share ends its own oldest, never one of others.

use subtle::ConstantTimeEq;

use super::budget::{has_share, Budget, Holder};
use super::facts::{Code, Grant};
use super::ids::{Millis, RequestId};
use super::limits;

/// Alphabet of setup codes: letters and digits without the easily confused 0, O, 1 and I.
pub const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// Number of characters in a code.
pub const CODE_LEN: usize = 8;

/// Characters of one setup code. Secret until the code is used or expires.
#[derive(Clone, Copy)]
pub struct CodeText(pub [u8; CODE_LEN]);

impl CodeText {
    /// Makes a code from random bytes; uses five bits of each, 40 bits in all.
    pub fn from_random(bytes: [u8; CODE_LEN]) -> CodeText {
        CodeText(bytes.map(|byte| ALPHABET[(byte & 31) as usize]))
    }

    /// Parses a code as typed: case, spaces and dashes are ignored.
    ///
    /// Returns `None` if the text cannot be a code.
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

    /// Returns the eight characters.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or("")
    }
}

#[derive(Clone, Copy)]
struct CodeEntry {
    id: RequestId,
    /// Client that created the code.
    holder: Holder,
    text: CodeText,
    grant: Grant,
    made: Millis,
}

/// A used code. [`SetupCodes::restore`] restores it if the admission fails.
pub struct UsedCode(CodeEntry);

impl UsedCode {
    /// Returns the id the code was created with.
    pub fn id(&self) -> RequestId {
        self.0.id
    }
}

/// State of a setup code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeState {
    /// Valid for this many more milliseconds.
    Alive(u64),
    /// Used, evicted, expired or unknown.
    Gone,
}

/// Setup codes that are valid, at most [`limits::SETUP_CODES`].
pub struct SetupCodes {
    entries: heapless::Vec<CodeEntry, { limits::SETUP_CODES }>,
    used: Budget,
}

impl Default for SetupCodes {
    fn default() -> SetupCodes {
        SetupCodes::new()
    }
}

impl SetupCodes {
    /// Creates an empty set of codes.
    pub const fn new() -> SetupCodes {
        SetupCodes { entries: heapless::Vec::new(), used: Budget::new(limits::SETUP_CODES) }
    }

    /// Returns the use of the set, counted in codes.
    pub fn budget(&mut self, now: Millis) -> Budget {
        self.expire(now);
        self.used.with_used(self.entries.len())
    }

    /// Adds a code that is valid from `now` for [`limits::SETUP_CODE_MS`]. If the share of its
    /// holder is used up, it replaces the holder's oldest.
    ///
    /// Fails if the holder has none and the set is full. Returns the milliseconds until a code
    /// expires then.
    pub fn add(
        &mut self,
        id: RequestId,
        holder: Holder,
        text: CodeText,
        grant: Grant,
        now: Millis,
    ) -> Result<(), u64> {
        self.expire(now);
        let own = self.entries.iter().filter(|entry| entry.holder == holder).count();
        let (used, max) = (self.entries.len(), limits::SETUP_CODES_OF_ONE);
        if !has_share(own, used, limits::SETUP_CODES, max) {
            let oldest = self.entries.iter().position(|entry| entry.holder == holder);
            self.entries.remove(oldest.ok_or_else(|| self.next_expiry(now))?);
        }
        let _ = self.entries.push(CodeEntry { id, holder, text, grant, made: now });
        self.used.record(self.entries.len());
        Ok(())
    }

    fn next_expiry(&self, now: Millis) -> u64 {
        let left = |entry: &CodeEntry| entry.made.plus(limits::SETUP_CODE_MS).since(now);
        self.entries.iter().map(left).min().unwrap_or(0)
    }

    /// Compares `presented` with every valid code; each comparison takes constant time.
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

    /// Removes and returns the code that matches `presented`.
    ///
    /// Returns `None` if no valid code matches; the caller must not admit the client by a code
    /// then.
    pub fn take(&mut self, presented: &str, now: Millis) -> Option<UsedCode> {
        self.expire(now);
        let text = CodeText::parse(presented)?;
        let at = self.entries.iter().position(|entry| bool::from(entry.text.0.ct_eq(&text.0)))?;
        Some(UsedCode(self.entries.remove(at)))
    }

    /// Restores a used code whose admission failed. It still expires at its original time. It is
    /// lost if its holder has meanwhile created as many as it may have, or the set is full.
    pub fn restore(&mut self, UsedCode(code): UsedCode) {
        let own = self.entries.iter().filter(|entry| entry.holder == code.holder).count();
        if own < limits::SETUP_CODES_OF_ONE {
            let _ = self.entries.push(code);
        }
    }

    /// Returns the state of the code with this id.
    pub fn state(&mut self, id: RequestId, now: Millis) -> CodeState {
        self.expire(now);
        let entry = self.entries.iter().find(|entry| entry.id == id);
        entry.map_or(CodeState::Gone, |entry| {
            CodeState::Alive(entry.made.plus(limits::SETUP_CODE_MS).since(now))
        })
    }

    fn expire(&mut self, now: Millis) {
        self.entries.retain(|entry| now.since(entry.made) < limits::SETUP_CODE_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::super::ids::{DeviceId, Role, Roles};
    use super::super::scopes::Scopes;
    use super::*;

    const GRANT: Grant = Grant { roles: Roles::of(Role::Operator), scopes: Scopes::ALL };

    fn with(code: &str) -> (SetupCodes, CodeText) {
        let (mut setup_codes, text) = (SetupCodes::new(), CodeText::parse(code).unwrap());
        setup_codes.add(RequestId([1; 16]), Holder::Keyless, text, GRANT, Millis(0)).unwrap();
        (setup_codes, text)
    }

    #[test]
    fn code_works_once_in_every_spelling() {
        let (mut setup_codes, _) = with("ABCD2345");
        assert_eq!(setup_codes.check(" abcd-2345 ", Millis(1)), Code::Right(GRANT));
        let taken = setup_codes.take("abcd 2345", Millis(1)).unwrap();
        assert_eq!(taken.id(), RequestId([1; 16]));
        assert!(setup_codes.take("ABCD2345", Millis(1)).is_none());
        setup_codes.restore(taken);
        assert_eq!(
            setup_codes.check("ABCD2345", Millis(limits::SETUP_CODE_MS - 1)),
            Code::Right(GRANT)
        );
        assert!(setup_codes.take("ABCD2345", Millis(1)).is_some(), "the first use was undone");
        assert_eq!(setup_codes.check("ABCD2345", Millis(1)), Code::Wrong);
    }

    #[test]
    fn code_expires_after_ten_minutes_and_not_by_wrong_attempts() {
        let (mut setup_codes, _) = with("ABCD2345");
        assert_eq!(
            setup_codes.check("ABCD2345", Millis(limits::SETUP_CODE_MS - 1)),
            Code::Right(GRANT)
        );
        assert_eq!(setup_codes.check("ABCD2345", Millis(limits::SETUP_CODE_MS)), Code::Wrong);
        let (mut setup_codes, _) = with("ABCD2345");
        for _ in 0..100 {
            assert_eq!(setup_codes.check("ABCD2346", Millis(1)), Code::Wrong);
        }
        assert_eq!(setup_codes.check("ABCD2345", Millis(1)), Code::Right(GRANT));
    }

    #[test]
    fn malformed_codes_are_wrong() {
        let (mut setup_codes, _) = with("ABCD2345");
        for rubbish in [
            "",
            "ABCD234",
            "ABCD23456",
            "ABCD2340",
            "a-long-gateway-token-that-is-no-code",
            "\u{e4}BCD2345",
        ] {
            assert_eq!(setup_codes.check(rubbish, Millis(1)), Code::Wrong);
        }
        assert_eq!(setup_codes.check("ABCD2345", Millis(1)), Code::Right(GRANT));
    }

    fn add(setup_codes: &mut SetupCodes, n: u8, holder: Holder, at: u64) -> Result<(), u64> {
        let text = CodeText::from_random([n; CODE_LEN]);
        setup_codes.add(RequestId([n; 16]), holder, text, GRANT, Millis(at))
    }

    #[test]
    fn further_codes_end_the_oldest_of_their_own_client_only() {
        let device = |n: u8| Holder::Device(DeviceId([n; 32]));
        let mut setup_codes = SetupCodes::new();
        add(&mut setup_codes, 100, Holder::Keyless, 0).unwrap();
        for n in 0..20 {
            add(&mut setup_codes, n, device(1), u64::from(n)).unwrap();
        }
        let mut state = |n: u8| setup_codes.state(RequestId([n; 16]), Millis(20));
        assert_eq!(state(100), CodeState::Alive(limits::SETUP_CODE_MS - 20));
        assert_eq!((state(0), state(11)), (CodeState::Gone, CodeState::Gone));
        assert_eq!(state(12), CodeState::Alive(limits::SETUP_CODE_MS - 8));
        assert_eq!(state(19), CodeState::Alive(limits::SETUP_CODE_MS - 1));
        let budget = setup_codes.budget(Millis(20));
        assert_eq!((budget.used(), budget.peak()), (9, 9));
        for n in 2..20 {
            let added = (0..9).filter(|_| add(&mut setup_codes, 50 + n, device(n), 30).is_ok());
            assert_eq!(added.count(), if n < 5 { 9 } else { 0 }, "4, 2 and 1 places, then none");
            assert_eq!(setup_codes.entries[0].id, RequestId([100; 16]), "after the codes of {n}");
        }
        assert_eq!(setup_codes.entries.len(), limits::SETUP_CODES);
        assert_eq!(add(&mut setup_codes, 99, device(99), 40), Err(limits::SETUP_CODE_MS - 40));
        add(&mut setup_codes, 101, Holder::Keyless, 40).unwrap();
    }
}
