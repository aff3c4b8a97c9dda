//! Settings of a running gateway: the configuration in the form that decisions and comparisons
//! need.

use std::net::IpAddr;
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::{self, Bind, Config};
use crate::gate::facts::{Identity, Policy};
use crate::gate::ids::DeviceId;
use crate::gate::net::{self, Cidr};
use crate::gate::origin::Names;
use crate::gate::rate_limit::Rate;
use crate::gate::refusal::Fill;
use crate::rpc::Commands;
use crate::store::tokens::TableKey;
use crate::wire::http::Head;

/// SHA-256 of a secret, so that the time of a comparison does not depend on the values. Has no
/// `Debug`.
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// Computes the digest of a secret.
    pub fn of(secret: &str) -> SecretDigest {
        SecretDigest(Sha256::digest(secret.as_bytes()).into())
    }

    /// Returns whether `presented` is the same secret.
    pub fn matches(&self, presented: &str) -> bool {
        self.is(&SecretDigest::of(presented))
    }

    /// Returns whether both are digests of the same secret.
    pub fn is(&self, other: &SecretDigest) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// Settings in force. Replaced when the configuration changes.
pub struct RuntimeConfig {
    pub policy: Policy,
    pub rate: Rate,
    /// Shared token or password; absent if the mode has none.
    pub secret: Option<SecretDigest>,
    /// Control token, which the command line of this machine presents; see
    /// `store::tokens::control_token`.
    pub control: SecretDigest,
    pub key: TableKey,
    pub authorized: Vec<DeviceId>,
    pub strict_clock: bool,
    /// The machine's host name; empty if unknown.
    pub machine: String,
    /// Command that runs `gatelet` here, for hints: `gatelet`, or `docker exec NAME /gatelet`.
    pub command: String,
    /// The same without the path of the state directory, for hints to clients on other machines:
    /// it would reveal names of this one.
    pub program: String,
    pub config_path: String,
    pub state_dir: String,
    /// Random id, different in each run.
    pub boot_id: String,
    /// Id of this gateway, the same in each run.
    pub gateway_id: String,
    pub web: Web,
    pub commands: Commands,
    pub fixed: Fixed,
}

/// Settings whose changes take effect only at the next start.
#[derive(Clone, Copy)]
pub struct Fixed {
    pub port: u16,
    pub bind: Bind,
}

impl Fixed {
    /// Returns the keys whose values differ.
    pub fn differs(&self, other: &Fixed) -> Vec<&'static str> {
        let keys =
            [(self.port != other.port, "gateway.port"), (self.bind != other.bind, "gateway.bind")];
        keys.into_iter().filter(|(differs, _)| *differs).map(|(_, key)| key).collect()
    }
}

/// Settings for HTTP.
pub struct Web {
    pub allowed_origins: Vec<String>,
    pub public_origin: Option<String>,
    pub trusted_proxies: Vec<Cidr>,
    pub allow_real_ip: bool,
    pub proxy: Option<config::TrustedProxy>,
    pub auto_approve_cidrs: Vec<Cidr>,
    /// Empty, or of the form `/like/this`.
    pub base_path: String,
    pub page: bool,
    /// Directory whose page is served in place of the built-in one.
    pub root: Option<PathBuf>,
}

impl RuntimeConfig {
    /// Builds the settings of a configuration, for a machine of this name on which `gatelet` is run
    /// by this command. Secrets and paths are left empty, which is sufficient for explaining
    /// decisions; a running gateway fills them in.
    pub fn of(config: &Config, machine: String, command: String) -> RuntimeConfig {
        RuntimeConfig {
            policy: RuntimeConfig::policy(config),
            rate: RuntimeConfig::rate(config),
            secret: None,
            control: SecretDigest::of(""),
            key: TableKey::new([0; 32]),
            authorized: config.pairing.authorized.iter().map(|entry| entry.id).collect(),
            strict_clock: config.auth.strict_clock,
            machine,
            program: command.clone(),
            command,
            config_path: String::new(),
            state_dir: String::new(),
            boot_id: String::new(),
            gateway_id: String::new(),
            web: Web::of(config),
            commands: Commands {
                allow: config.nodes.allow_commands.clone(),
                deny: config.nodes.deny_commands.clone(),
            },
            fixed: Fixed { port: config.port, bind: config.bind },
        }
    }

    /// Returns the policy of a configuration.
    fn policy(config: &Config) -> Policy {
        Policy {
            auth: config.auth.mode,
            pairing: config.pairing.mode,
            auto_approve_local: config.nodes.auto_approve_local,
            allow_insecure_auth: config.control_ui.allow_insecure_auth,
            disable_device_auth: config.control_ui.dangerously_disable_device_auth,
            host_origin_fallback: config.control_ui.dangerously_allow_host_header_origin_fallback,
        }
    }

    /// Returns the limit of a configuration for wrong passwords.
    fn rate(config: &Config) -> Rate {
        let limit = config.auth.rate_limit;
        Rate {
            tries: limit.max_attempts,
            window_ms: limit.window_ms.into(),
            lock_ms: limit.lockout_ms.into(),
        }
    }

    /// Returns whether this is the shared secret or the control token of the command line.
    pub fn is_secret(&self, presented: &str) -> bool {
        let presented = SecretDigest::of(presented);
        let shared = self.secret.as_ref().is_some_and(|secret| secret.is(&presented));
        self.control.is(&presented) | shared
    }

    /// Returns the command for a hint to a client on this machine or on another one.
    pub fn command_for(&self, is_local: bool) -> &str {
        if is_local {
            &self.command
        } else {
            &self.program
        }
    }

    /// Returns the values for the placeholders in hints.
    pub fn fill<'a>(
        &'a self,
        list: &'a str,
        request: &'a str,
        device: &'a str,
        origin: &'a str,
    ) -> Fill<'a> {
        Fill { gatelet: &self.command, list, request, device, origin }
    }
}

impl Web {
    /// Builds the HTTP settings of a configuration.
    fn of(config: &Config) -> Web {
        Web {
            allowed_origins: config.control_ui.allowed_origins.clone(),
            public_origin: config.public_origin.clone(),
            trusted_proxies: config.trusted_proxies.clone(),
            allow_real_ip: config.allow_real_ip_fallback,
            proxy: config.auth.trusted_proxy.clone(),
            auto_approve_cidrs: config.nodes.auto_approve_cidrs.clone(),
            base_path: config.control_ui.base_path.clone(),
            page: config.control_ui.enabled,
            root: config.control_ui.root.clone(),
        }
    }

    /// Returns the names of this gateway, for a request that reached this address.
    pub fn names<'a>(&'a self, machine: &'a str, reached: Option<IpAddr>) -> Names<'a, String> {
        Names {
            allowed: &self.allowed_origins,
            public: self.public_origin.as_deref(),
            machine,
            reached,
        }
    }

    /// Checks whether a trusted proxy asserts the identity of a user.
    pub fn identity(&self, peer: IpAddr, head: &Head<'_>) -> Identity {
        let Some(proxy) = &self.proxy else { return Identity::Absent };
        let peer = net::fold(peer);
        let trusted = self.trusted_proxies.iter().any(|range| range.contains(peer));
        if !trusted || net::is_loopback(peer) && !proxy.allow_loopback {
            return Identity::Absent;
        }
        let given = |name: &String| head.header(name).is_some_and(|value| !value.trim().is_empty());
        let Some(user) =
            head.header(&proxy.user_header).map(str::trim).filter(|user| !user.is_empty())
        else {
            return Identity::Absent;
        };
        let allowed =
            proxy.allow_users.is_empty() || proxy.allow_users.iter().any(|name| name == user);
        // with two values it is unknown which one is the proxy's
        let once = !head.is_twice(&proxy.user_header);
        if once && allowed && proxy.required_headers.iter().all(given) {
            Identity::Right
        } else {
            Identity::Refused
        }
    }

    /// Returns whether a node at this address may be approved automatically.
    pub fn approves(&self, client: IpAddr) -> bool {
        self.auto_approve_cidrs.iter().any(|range| range.contains(client))
    }
}
