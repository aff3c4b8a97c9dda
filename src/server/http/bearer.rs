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
    pub(crate) fn may_read(
        &mut self,
        bearer: Option<&str>,
        client_info: &ClientInfo,
        now: Now,
    ) -> bool {
        let auth = self.runtime_config.policy.auth;
        if client_info.identity == Identity::Right
            || auth == AuthMode::None && client_info.local && client_info.host == Host::Loopback
        {
            return true;
        }
        let Some(bearer) = bearer.filter(|bearer| !bearer.is_empty()) else { return false };
        if self.is_device_token(bearer) {
            return true;
        }
        if auth != AuthMode::Password {
            return self.runtime_config.is_secret(bearer);
        }
        let key = AttemptKey::of(client_info.client, &HTTP);
        if self.rate_limiter.locked_for(key, now.at) > 0
            || self.rate_limiter.queue(CredentialKind::Password).reserve(client_info.client, now.at)
                != Some(0)
        {
            return false;
        }
        let is_right = self.runtime_config.is_secret(bearer);
        if is_right {
            self.rate_limiter.record_success(key);
            self.rate_limiter.queue(CredentialKind::Password).refund();
        } else {
            self.rate_limiter.record_failure(key, now.at);
        }
        is_right
    }

    /// Returns whether this is a device token of a connected operator.
    fn is_device_token(&self, bearer: &str) -> bool {
        let operators = self.connections.clients().filter(|client| client.role() == Role::Operator);
        let mut devices = operators.filter_map(|client| self.devices.get(self.slot_of(client)?));
        let key = &self.runtime_config.key;
        devices.any(|device| tokens::check(key, device, Role::Operator, bearer).is_some())
    }
}
