//! Applies a changed configuration to the running gateway.
//!
//! The setup is replaced at once. If the authentication mode or the shared secret changed, clients
//! that were admitted without a device are closed; other connections stay open.

use std::rc::Rc;

use super::Gateway;
use crate::gate::facts::AuthMethod;
use crate::gate::ids::{ConnId, Now};
use crate::gate::rate_limit::RateLimiter;
use crate::gate::refusal::Close;
use crate::gate::scopes::Scope;
use crate::rpc::config::{answer, Around, FileRequest};
use crate::rpc::{Audience, Effect, Reply, Status};
use crate::server::config_file::{FileResult, FileWork};
use crate::server::runtime_config::RuntimeConfig;
use crate::wire::json;

impl Gateway {
    /// Completes a call about the configuration file: applies the new configuration and answers.
    pub(crate) fn file_done(&mut self, conn: ConnId, id: &str, work: FileWork, now: Now) {
        let FileResult { seen, new } = match work.done {
            Some(Ok(done)) => done,
            Some(Err(failure)) => return self.fail(conn, id, &failure),
            None => return,
        };
        let changed = new.is_some();
        let auth_changed = new.is_some_and(|new| self.apply(*new));
        if changed {
            self.log_applied(conn, &work.ask);
            if self.restart.is_empty() {
                self.applied.clone_from(&seen.hash);
            }
        }
        let path = &self.setup.config_path;
        let payload = answer(
            &work.ask,
            &seen,
            &Around { path, applied: &self.applied, restart: &self.restart },
        );
        let mut reply = Reply::of(payload);
        if changed {
            let payload = json::object(|o| {
                o.str("path", path);
                o.str("hash", &seen.hash);
                o.u64("ts", now.wall.0);
            });
            reply.effects.push(Effect::Event {
                name: "config.changed",
                payload,
                to: Audience::V4 { scope: Scope::Read },
            });
        }
        self.answered(conn, id, reply, now);
        if auth_changed {
            self.close_secret_holders();
        }
    }

    /// Replaces setup and status. Returns whether the authentication mode or the shared secret
    /// changed.
    fn apply(&mut self, (setup, status): (RuntimeConfig, Status)) -> bool {
        let old = self.setup.clone();
        self.restart = old.fixed.differs(&setup.fixed);
        let same = match (&old.secret, &setup.secret) {
            (Some(old), Some(new)) => old.is(new),
            (old, new) => old.is_none() && new.is_none(),
        };
        let auth_changed = old.policy.auth != setup.policy.auth || !same;
        if old.rate != setup.rate {
            *self.rate_limiter = RateLimiter::new(setup.rate);
        }
        self.setup = Rc::new(RuntimeConfig { fixed: old.fixed, ..setup });
        let known = std::mem::replace(&mut self.status, status).warnings;
        let new = self.status.warnings.iter().filter(|warning| !known.contains(warning));
        new.for_each(|warning| log::warn!("{warning}"));
        auth_changed
    }

    fn log_applied(&self, conn: ConnId, ask: &FileRequest) {
        log::info!("the configuration was changed by conn={conn} ({ask:?})");
        if !self.restart.is_empty() {
            log::warn!("{}: in force at the next start", self.restart.join(", "));
        }
    }

    /// Closes clients that were admitted without a device. Devices have their own credentials and
    /// stay connected.
    fn close_secret_holders(&self) {
        let (code, reason) = Close::AuthChanged.words();
        for conn in self.conns.iter() {
            let Some(client) = &conn.admitted else { continue };
            let by_device = matches!(client.method(), AuthMethod::Device | AuthMethod::SetupCode);
            if client.slot().is_none() && !by_device {
                conn.outbox.close(code, reason);
            }
        }
    }
}
