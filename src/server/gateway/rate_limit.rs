//! Limits for credentials that could be found by trial or replayed: passwords, setup codes and
//! signatures.
//!
//! [`crate::gate::rate_limit`] decides which attempts wait and for how long; the connection does
//! the waiting.

use std::net::{IpAddr, Ipv4Addr};

use super::attempt::Attempt;
use super::Gateway;
use crate::gate::facts::{AuthMode, Code, DeviceProof, Facts, SecretCheck};
use crate::gate::ids::{Millis, Now};
use crate::gate::limits;
use crate::gate::rate_limit::{AttemptKey, CredentialKind};
use crate::gate::setup_codes::CodeText;

/// Placeholder in rate-limit keys that do not depend on the address.
const ANYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

impl Gateway {
    /// Reserves a place for the attempt in the rate limiter. Returns the delay in milliseconds
    /// before the attempt may be checked. If there is no place, sets `unread` and returns 0.
    pub fn turn(&mut self, attempt: &mut Attempt, now: Millis) -> u64 {
        let known = self.is_known(attempt);
        attempt.presented.guess = self.guess(attempt, known);
        let Some(guess) = attempt.presented.guess else { return 0 };
        let wait = self.rate_limiter.queue(guess).reserve(attempt.seen.client, now);
        // a known key does not wait: it is admitted without the other credential
        let wait = wait.filter(|wait| *wait == 0 || !known);
        attempt.presented.unread = wait.is_none();
        wait.unwrap_or(0)
    }

    /// Returns the kind of the presented credential if it could be found by trial. Passwords of a
    /// paired key are not delayed, because they have a counter of their own.
    fn guess(&self, attempt: &Attempt, known: bool) -> Option<CredentialKind> {
        let auth = self.setup.policy.auth;
        let guess = if auth == AuthMode::Password && !known && sent(attempt).next().is_some() {
            CredentialKind::Password
        } else {
            code_of(attempt, auth, SecretCheck::Wrong)
                .filter(|text| CodeText::parse(text).is_some())?;
            CredentialKind::Code
        };
        // last, because it hashes the presented texts
        let right = |text: &String| {
            self.setup.control.matches(text)
                || auth == AuthMode::Token && self.setup.is_secret(text)
        };
        (!sent(attempt).any(right)).then_some(guess)
    }

    /// Returns whether the device key alone is sufficient for admission.
    fn is_known(&self, attempt: &Attempt) -> bool {
        let (DeviceProof::Valid { id, .. }, Some(role)) = (attempt.device_proof, attempt.role)
        else {
            return false;
        };
        let paired = self.devices.find(&id).is_some_and(|(_, device)| device.roles.contains(role));
        paired || self.setup.authorized.contains(&id)
    }

    /// Checks the presented shared secret.
    pub(crate) fn secret(&self, attempt: &Attempt, now: Now) -> SecretCheck {
        if attempt.presented.unread {
            return SecretCheck::RateLimited;
        }
        if sent(attempt).next().is_none() {
            return SecretCheck::Absent;
        }
        let waits = self
            .pair_of(attempt)
            .is_some_and(|pair| self.rate_limiter.locked_for(pair, now.at) > 0);
        if waits && !sent(attempt).any(|text| self.setup.control.matches(text)) {
            SecretCheck::RateLimited
        } else if sent(attempt).any(|text| self.setup.is_secret(text)) {
            SecretCheck::Right
        } else {
            SecretCheck::Wrong
        }
    }

    pub(crate) fn count_guess(&mut self, attempt: &Attempt, facts: &Facts, now: Now) {
        match (facts.secret, self.pair_of(attempt)) {
            (SecretCheck::Wrong, Some(pair)) => self.rate_limiter.record_failure(pair, now.at),
            (SecretCheck::Right, Some(pair)) => self.rate_limiter.record_success(pair),
            _ => {}
        }
        // only the attempted kind: holding a setup code must not give free password attempts
        let right = |guess: &CredentialKind| match guess {
            CredentialKind::Password => facts.secret == SecretCheck::Right,
            CredentialKind::Code => matches!(facts.code, Code::Right(_)),
        };
        if let Some(guess) = attempt.presented.guess.filter(right) {
            self.rate_limiter.queue(guess).refund();
        }
    }

    /// Returns the key under which wrong passwords are counted: a proven device key, at any
    /// address, since no other client can prove it. Without one, clients at an address cannot be
    /// told apart, so none is locked out (`None`).
    fn pair_of(&self, attempt: &Attempt) -> Option<AttemptKey> {
        match &attempt.device_proof {
            DeviceProof::Valid { id, .. } if self.setup.policy.auth == AuthMode::Password => {
                Some(AttemptKey::of(ANYWHERE, id))
            }
            _ => None,
        }
    }

    /// Returns whether this signature was accepted before, and records it. A signature
    /// over a nonce of the gateway is valid for one connection only. One without a nonce is valid
    /// for some time, but only once. Records do not expire with time, because the clock may jump
    /// back.
    pub(crate) fn is_replayed(&mut self, attempt: &Attempt) -> bool {
        let (DeviceProof::Valid { id, .. }, Some(signed_at)) =
            (attempt.device_proof, attempt.presented.signed_alone)
        else {
            return false;
        };
        let known = self.signatures.contains(&(id, signed_at));
        // a rejected replay must not push out other records
        if !known {
            self.signatures.truncate(limits::SIGNATURES - 1);
            self.signatures.push_front((id, signed_at));
        }
        known
    }
}

/// Iterates over the token and the password that were sent and are not empty.
fn sent(attempt: &Attempt) -> impl Iterator<Item = &String> {
    let presented = &attempt.presented;
    [&presented.token, &presented.password].into_iter().flatten().filter(|text| !text.is_empty())
}

/// Returns the text that may be a setup code: the bootstrap token or, in token mode, a token that
/// is not the shared secret and has the form of a code. In the other modes such a text may be a
/// typed password.
pub(crate) fn code_of(attempt: &Attempt, auth: AuthMode, secret: SecretCheck) -> Option<&str> {
    let typed = attempt
        .presented
        .token
        .as_deref()
        .filter(|_| auth == AuthMode::Token && secret != SecretCheck::Right);
    let typed = typed.filter(|text| CodeText::parse(text).is_some());
    attempt.presented.bootstrap_token.as_deref().or(typed)
}
