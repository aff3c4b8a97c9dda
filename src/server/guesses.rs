//! What a stranger could find by trying - passwords, setup codes, signatures of others - and how often it may try.
//!
//! Which guesses wait, and for how long, is [`crate::gate::throttle`]'s; the waiting is done by the connection.

use std::net::{IpAddr, Ipv4Addr};

use super::attempt::Attempt;
use super::gateway::Gateway;
use crate::gate::codes::CodeText;
use crate::gate::facts::{AuthMode, Code, Facts, Proof, Secret};
use crate::gate::ids::{Millis, Now};
use crate::gate::limits;
use crate::gate::throttle::{Guess, Pair};

/// In place of an address.
const ANYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

impl Gateway {
    /// How many milliseconds the attempt has to wait until its guess is looked at. If it never is, the attempt says so afterwards.
    pub fn turn(&mut self, attempt: &mut Attempt, now: Millis) -> u64 {
        let known = self.is_known(attempt);
        attempt.presented.guess = self.guess(attempt, known);
        let Some(guess) = attempt.presented.guess else { return 0 };
        let wait = self.throttle.line(guess).enter(attempt.seen.client, now);
        // a known key does not wait: it is let in without its guess
        let wait = wait.filter(|wait| *wait == 0 || !known);
        attempt.presented.unread = wait.is_none();
        wait.unwrap_or(0)
    }

    /// What can be found by trying, if anything of that is shown. A paired key is one of few, and has a count of its own for passwords.
    fn guess(&self, attempt: &Attempt, known: bool) -> Option<Guess> {
        let auth = self.setup.policy.auth;
        let guess = if auth == AuthMode::Password && !known && sent(attempt).next().is_some() {
            Guess::Password
        } else {
            code_of(attempt, auth, Secret::Wrong).filter(|text| CodeText::parse(text).is_some())?;
            Guess::Code
        };
        // hashes what was sent, so it is asked last
        let right =
            |text: &String| self.setup.control.matches(text) || auth == AuthMode::Token && self.setup.is_secret(text);
        (!sent(attempt).any(right)).then_some(guess)
    }

    /// Is it let in by its key, whatever else it shows?
    fn is_known(&self, attempt: &Attempt) -> bool {
        let (Proof::Valid { id, .. }, Some(role)) = (attempt.proof, attempt.role) else { return false };
        let paired = self.devices.find(&id).is_some_and(|(_, device)| device.roles.contains(role));
        paired || self.setup.authorized.contains(&id)
    }

    /// What the shared secret that was sent is worth.
    pub(super) fn secret(&self, attempt: &Attempt, now: Now) -> Secret {
        if attempt.presented.unread {
            return Secret::Throttled;
        }
        if sent(attempt).next().is_none() {
            return Secret::Absent;
        }
        let waits = self.pair_of(attempt).is_some_and(|pair| self.throttle.wait(pair, now.at) > 0);
        if waits && !sent(attempt).any(|text| self.setup.control.matches(text)) {
            Secret::Throttled
        } else if sent(attempt).any(|text| self.setup.is_secret(text)) {
            Secret::Right
        } else {
            Secret::Wrong
        }
    }

    pub(super) fn count_guess(&mut self, attempt: &Attempt, facts: &Facts, now: Now) {
        match (facts.secret, self.pair_of(attempt)) {
            (Secret::Wrong, Some(pair)) => self.throttle.wrong(pair, now.at),
            (Secret::Right, Some(pair)) => self.throttle.right(pair),
            _ => {}
        }
        // only what was guessed: who has a code may not try passwords beside it for nothing
        let right = |guess: &Guess| match guess {
            Guess::Password => facts.secret == Secret::Right,
            Guess::Code => matches!(facts.code, Code::Right(_)),
        };
        if let Some(guess) = attempt.presented.guess.filter(right) {
            self.throttle.line(guess).right();
        }
    }

    /// Whose wrong passwords are counted together: those of one key, wherever it comes from, since nobody else can show it. Without a
    /// key nobody can be told from others at its address, so nobody is locked out then.
    fn pair_of(&self, attempt: &Attempt) -> Option<Pair> {
        match &attempt.proof {
            Proof::Valid { id, .. } if self.setup.policy.auth == AuthMode::Password => Some(Pair::of(ANYWHERE, id)),
            _ => None,
        }
    }

    /// Has this signature let somebody in before? One over a nonce of ours is good for one connection anyway; one without is
    /// good for a time, but once. None is forgotten by the clock, which may jump back.
    pub(super) fn is_replayed(&mut self, attempt: &Attempt) -> bool {
        let (Proof::Valid { id, .. }, Some(signed_at)) = (attempt.proof, attempt.presented.signed_alone) else {
            return false;
        };
        let known = self.signatures.contains(&(id, signed_at));
        // one that is turned away for that pushes nothing else out
        if !known {
            self.signatures.truncate(limits::SIGNATURES - 1);
            self.signatures.push_front((id, signed_at));
        }
        known
    }
}

/// The secrets of people in either field.
fn sent(attempt: &Attempt) -> impl Iterator<Item = &String> {
    let presented = &attempt.presented;
    [&presented.token, &presented.password].into_iter().flatten().filter(|text| !text.is_empty())
}

/// What may be a setup code: the field made for it, or a token that is not the secret and looks like a code, where tokens are
/// not typed by people.
pub(super) fn code_of(attempt: &Attempt, auth: AuthMode, secret: Secret) -> Option<&str> {
    let typed = attempt.presented.token.as_deref().filter(|_| auth == AuthMode::Token && secret != Secret::Right);
    let typed = typed.filter(|text| CodeText::parse(text).is_some());
    attempt.presented.bootstrap_token.as_deref().or(typed)
}
