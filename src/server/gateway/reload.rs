//! Applies a changed configuration to the running gateway.
//!
//! The runtime configuration is replaced at once. If the authentication mode or the shared secret
//! changed, clients that were admitted without a device are closed; other connections stay open.

use std::rc::Rc;

use super::Gateway;
use crate::gate::facts::AuthMethod;
use crate::gate::ids::{ConnId, Now};
use crate::gate::rate_limit::RateLimiter;
use crate::gate::refusal::Close;
use crate::gate::scopes::Scope;
use crate::rpc::config::{answer, FileContext, FileRequest};
use crate::rpc::{Audience, Effect, Reply, Status};
use crate::server::config_file::{FileResult, FileWork};
use crate::server::runtime_config::RuntimeConfig;
use crate::wire::json;

impl Gateway {
    /// Completes a call about the configuration file: applies the new configuration and answers.
    pub(super) fn complete_file_work(&mut self, conn: ConnId, id: &str, work: FileWork, now: Now) {
        let FileResult { state, new, len, .. } = match work.result {
            Some(Ok(result)) => result,
            Some(Err(failure)) => return self.send_error(conn, id, &failure),
            None => return,
        };
        self.config_len = len;
        let is_changed = new.is_some();
        let is_auth_changed = new.is_some_and(|new| self.apply(*new));
        if is_changed {
            self.log_applied(conn, &work.request);
            if self.restart_keys.is_empty() {
                self.applied_hash.clone_from(&state.hash);
            }
        }
        let path = &self.runtime_config.config_path;
        let context =
            FileContext { path, applied: &self.applied_hash, restart: &self.restart_keys };
        let mut reply = Reply::of(answer(&work.request, &state, &context));
        if is_changed {
            let payload = json::object(|o| {
                o.str("path", path);
                o.str("hash", &state.hash);
                o.u64("ts", now.wall.0);
            });
            reply.effects.push(Effect::Event {
                name: "config.changed",
                payload,
                to: Audience::OperatorsOfV4(Scope::Read),
            });
        }
        self.send_reply(conn, id, reply, now);
        if is_auth_changed {
            self.close_secret_holders();
        }
    }

    /// Replaces runtime configuration and status. Returns whether the authentication mode or the
    /// shared secret changed.
    fn apply(&mut self, (runtime_config, status): (RuntimeConfig, Status)) -> bool {
        let old = self.runtime_config.clone();
        self.restart_keys = old.fixed.differs(&runtime_config.fixed);
        let is_same_secret = match (&old.secret, &runtime_config.secret) {
            (Some(old), Some(new)) => old.is(new),
            (old, new) => old.is_none() && new.is_none(),
        };
        let auth_changed = old.policy.auth != runtime_config.policy.auth || !is_same_secret;
        if old.rate != runtime_config.rate {
            *self.rate_limiter = RateLimiter::new(runtime_config.rate);
        }
        self.runtime_config = Rc::new(RuntimeConfig { fixed: old.fixed, ..runtime_config });
        let known = std::mem::replace(&mut self.status, status).warnings;
        for warning in self.status.warnings.iter().filter(|warning| !known.contains(warning)) {
            log::warn!("{warning}");
        }
        auth_changed
    }

    fn log_applied(&self, conn: ConnId, request: &FileRequest) {
        log::info!("the configuration was changed by conn={conn} ({request:?})");
        if !self.restart_keys.is_empty() {
            log::warn!("{}: in force at the next start", self.restart_keys.join(", "));
        }
    }

    /// Closes clients that were admitted without a device. Devices have their own credentials and
    /// stay connected.
    fn close_secret_holders(&self) {
        for open in self.connections.iter() {
            let Some(client) = &open.admitted else { continue };
            let by_device = matches!(client.method(), AuthMethod::Device | AuthMethod::SetupCode);
            if client.slot().is_none() && !by_device {
                open.send_queue.close_for(Close::AuthChanged);
            }
        }
    }
}
