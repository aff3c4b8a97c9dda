//! Limits for credentials that could be found by trial or replayed: passwords, setup codes and
//! signatures.
//!
//! [`crate::gate::rate_limit`] decides which attempts wait and for how long; the connection does
//! the waiting.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use super::attempt::Attempt;
use super::Gateway;
use crate::gate::facts::{AuthMode, Code, DeviceProof, Facts, SecretCheck};
use crate::gate::ids::{DeviceId, Millis, Now};
use crate::gate::limits;
use crate::gate::rate_limit::{AttemptKey, CredentialKind};
use crate::gate::setup_codes::CodeText;

/// Placeholder in rate-limit keys that do not depend on the address.
const ANYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

impl Gateway {
    /// Reserves a place for the attempt in the rate limiter. Returns the delay in milliseconds
    /// before the attempt may be checked. If there is no place, marks the attempt as rate limited
    /// and returns 0.
    pub fn reserve_attempt(&mut self, attempt: &mut Attempt, now: Millis) -> u64 {
        let is_known = self.is_known(attempt);
        attempt.presented.credential_kind = self.limited_kind(attempt, is_known);
        let Some(kind) = attempt.presented.credential_kind else { return 0 };
        let delay = self.rate_limiter.queue(kind).reserve(attempt.client_info.client, now);
        // a known key does not wait: it is admitted without the other credential
        let delay = delay.filter(|delay| *delay == 0 || !is_known);
        attempt.presented.is_rate_limited = delay.is_none();
        delay.unwrap_or(0)
    }

    /// Returns the kind of the presented credential if it could be found by trial. Passwords of a
    /// paired key are not delayed, because they have a counter of their own.
    fn limited_kind(&self, attempt: &Attempt, is_known: bool) -> Option<CredentialKind> {
        let (config, presented) = (&self.runtime_config, &attempt.presented);
        let auth = config.policy.auth;
        let has_secret = presented.secrets().next().is_some();
        let kind = if auth == AuthMode::Password && !is_known && has_secret {
            CredentialKind::Password
        } else {
            CodeText::parse(presented.setup_code(auth, SecretCheck::Wrong)?)?;
            CredentialKind::Code
        };
        // last, because it hashes the presented texts
        let is_right = |text: &String| {
            config.control.matches(text) || auth == AuthMode::Token && config.is_secret(text)
        };
        (!presented.secrets().any(is_right)).then_some(kind)
    }

    /// Returns whether the device key alone is sufficient for admission.
    fn is_known(&self, attempt: &Attempt) -> bool {
        let (DeviceProof::Valid { id, .. }, Some(role)) = (attempt.device_proof, attempt.role)
        else {
            return false;
        };
        let is_paired =
            self.devices.find(&id).is_some_and(|(_, device)| device.roles.contains(role));
        is_paired || self.is_authorized(&attempt.device_proof)
    }

    /// Returns whether the configuration authorizes the proven device key.
    pub(super) fn is_authorized(&self, device_proof: &DeviceProof) -> bool {
        let authorized = &self.runtime_config.authorized;
        matches!(device_proof, DeviceProof::Valid { id, .. } if authorized.contains(id))
    }

    /// Checks the presented shared secret.
    pub(super) fn check_secret(&self, attempt: &Attempt, now: Now) -> SecretCheck {
        let presented = &attempt.presented;
        let is_locked = self
            .attempt_key(attempt)
            .is_some_and(|key| self.rate_limiter.locked_for(key, now.at) > 0);
        if presented.is_rate_limited {
            return if is_locked { SecretCheck::RateLimited } else { SecretCheck::QueueFull };
        }
        if presented.secrets().next().is_none() {
            return SecretCheck::Absent;
        }
        if is_locked && !presented.secrets().any(|text| self.runtime_config.control.matches(text)) {
            SecretCheck::RateLimited
        } else if presented.secrets().any(|text| self.runtime_config.is_secret(text)) {
            SecretCheck::Right
        } else {
            SecretCheck::Wrong
        }
    }

    /// Records a failed or successful attempt in the rate limiter.
    pub(super) fn record_attempt(&mut self, attempt: &Attempt, facts: &Facts, now: Now) {
        match (facts.secret, self.attempt_key(attempt)) {
            (SecretCheck::Wrong, Some(key)) => self.rate_limiter.record_failure(key, now.at),
            (SecretCheck::Right, Some(key)) => self.rate_limiter.record_success(key),
            _ => {}
        }
        // only the attempted kind: holding a setup code must not give free password attempts
        let is_right = |kind: &CredentialKind| match kind {
            CredentialKind::Password => facts.secret == SecretCheck::Right,
            CredentialKind::Code => matches!(facts.code, Code::Right(_)),
        };
        if let Some(kind) = attempt.presented.credential_kind.filter(is_right) {
            self.rate_limiter.queue(kind).refund();
        }
    }

    /// Returns the key under which wrong passwords are counted: a proven device key, at any
    /// address, since no other client can prove it. Without one, clients at an address cannot be
    /// told apart, so none is locked out (`None`).
    fn attempt_key(&self, attempt: &Attempt) -> Option<AttemptKey> {
        match &attempt.device_proof {
            DeviceProof::Valid { id, .. }
                if self.runtime_config.policy.auth == AuthMode::Password =>
            {
                Some(AttemptKey::of(ANYWHERE, id))
            }
            _ => None,
        }
    }

    /// Returns whether this signature was accepted before, and records it. A signature
    /// over a nonce of the gateway is valid for one connection only. One without a nonce is valid
    /// for some time, but only once. Records do not expire with time, because the clock may jump
    /// back. A device beyond its share loses its own oldest record, not one of others.
    pub(super) fn is_replayed(&mut self, attempt: &Attempt) -> bool {
        let (DeviceProof::Valid { id, .. }, Some(signed_at)) =
            (attempt.device_proof, attempt.presented.signed_without_nonce)
        else {
            return false;
        };
        let known = self.accepted_signatures.contains(&(id, signed_at));
        // a rejected replay must not push out other records
        if !known {
            remember_signature(&mut self.accepted_signatures, (id, signed_at));
        }
        known
    }
}

/// Adds the record of a signature to those accepted before, which are sorted from new to old.
fn remember_signature(accepted: &mut VecDeque<(DeviceId, u64)>, new: (DeviceId, u64)) {
    let mut own = (0..accepted.len()).filter(|at| accepted[*at].0 == new.0);
    if let Some(oldest) = own.nth(limits::SIGNATURES_OF_ONE - 1) {
        accepted.remove(oldest);
    }
    accepted.truncate(limits::SIGNATURES - 1);
    accepted.push_front(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_of_one_device_evict_only_its_own_oldest() {
        let device = |n: u8| DeviceId([n; 32]);
        let mut accepted = VecDeque::new();
        remember_signature(&mut accepted, (device(0), 7));
        for at in 0..1000 {
            remember_signature(&mut accepted, (device(1), at));
        }
        let kept = limits::SIGNATURES_OF_ONE as u64;
        let expected = (1000 - kept..1000).rev().map(|at| (device(1), at));
        assert!(accepted.iter().copied().eq(expected.chain([(device(0), 7)])));
        for n in 2..200 {
            (0..2).for_each(|at| remember_signature(&mut accepted, (device(n), at)));
        }
        assert_eq!(accepted.len(), limits::SIGNATURES);
    }
}
