//! Authenticates plain HTTP requests by `Authorization: Bearer`, which carries a token, a password
//! or a device token.

use crate::gate::facts::{AuthMode, Host, Identity};
use crate::gate::ids::{DeviceId, Now, Role};
use crate::gate::rate_limit::{AttemptKey, CredentialKind};
use crate::server::gateway::attempt::ClientInfo;
use crate::server::gateway::Gateway;
use crate::store::tokens;

/// Device part of the rate-limit key of HTTP requests. Failed HTTP attempts are counted apart from
/// those of WebSockets, so that a page cannot lock out a person who types a password.
const HTTP: DeviceId = DeviceId([0xff; 32]);

impl Gateway {
    /// Returns whether the request may read data for authenticated clients. True for a bearer with
    /// the shared secret or a device token, for a user asserted by a trusted proxy and, in mode
    /// `none`, for a local request to a loopback name.
    ///
    /// A device token is valid only while its device is connected as an operator, so an attempt
    /// costs one comparison for each connected operator at most.
    pub(crate) fn may_read(&mut self, bearer: Option<&str>, seen: &ClientInfo, now: Now) -> bool {
        let auth = self.setup.policy.auth;
        if seen.identity == Identity::Right
            || auth == AuthMode::None && seen.local && seen.host == Host::Loopback
        {
            return true;
        }
        let Some(bearer) = bearer.filter(|bearer| !bearer.is_empty()) else { return false };
        if self.is_device_token(bearer) {
            return true;
        }
        if auth != AuthMode::Password {
            return self.setup.is_secret(bearer);
        }
        let pair = AttemptKey::of(seen.client, &HTTP);
        if self.rate_limiter.locked_for(pair, now.at) > 0
            || self.rate_limiter.queue(CredentialKind::Password).reserve(seen.client, now.at)
                != Some(0)
        {
            return false;
        }
        let right = self.setup.is_secret(bearer);
        if right {
            self.rate_limiter.record_success(pair);
            self.rate_limiter.queue(CredentialKind::Password).refund();
        } else {
            self.rate_limiter.record_failure(pair, now.at);
        }
        right
    }

    fn is_device_token(&self, bearer: &str) -> bool {
        let operators = self.conns.iter().filter_map(|conn| conn.admitted.as_ref());
        let mut slots = operators
            .filter(|client| client.role() == Role::Operator)
            .filter_map(|client| self.slot_of(client));
        slots.any(|slot| {
            let device = self.devices.get(slot);
            device.is_some_and(|device| {
                tokens::check(&self.setup.key, device, Role::Operator, bearer).is_some()
            })
        })
    }
}
