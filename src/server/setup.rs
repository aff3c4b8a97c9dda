//! What a running gateway goes by: the configuration, turned into what decides and what is compared.

use std::net::IpAddr;
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::{self, Bind, Config};
use crate::gate::facts::{Identity, Policy};
use crate::gate::ids::DeviceId;
use crate::gate::net::{self, Cidr};
use crate::gate::origin::Names;
use crate::gate::refusal::Fill;
use crate::gate::throttle::Rate;
use crate::rpc::Commands;
use crate::store::tokens::TableKey;
use crate::wire::http::Head;

/// The SHA-256 of a secret, so that comparing takes the same time whatever is compared. Has no `Debug`.
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// The digest of that secret.
    pub fn of(secret: &str) -> SecretDigest {
        SecretDigest(Sha256::digest(secret.as_bytes()).into())
    }

    /// Is it the same secret?
    pub fn matches(&self, presented: &str) -> bool {
        self.is(&SecretDigest::of(presented))
    }

    /// Are they digests of the same secret?
    pub fn is(&self, other: &SecretDigest) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// What a gateway goes by. Another one takes its place when the configuration changes.
pub struct Setup {
    pub policy: Policy,
    pub rate: Rate,
    /// The shared token or password; none where the mode has none.
    pub secret: Option<SecretDigest>,
    /// What the command line shows that runs beside the gateway, see `store::tokens::control_token`.
    pub control: SecretDigest,
    pub key: TableKey,
    pub authorized: Vec<DeviceId>,
    pub strict_clock: bool,
    /// The machine's host name; empty if unknown.
    pub machine: String,
    /// How `gatelet` is run here, for hints: `gatelet`, or `docker exec NAME /gatelet`.
    pub command: String,
    pub config_path: String,
    pub state_dir: String,
    /// Another one in every run.
    pub boot_id: String,
    pub web: Web,
    pub commands: Commands,
    pub fixed: Fixed,
}

/// What a change of the configuration brings only at the next start.
#[derive(Clone, Copy)]
pub struct Fixed {
    pub port: u16,
    pub bind: Bind,
}

impl Fixed {
    /// The keys in which the other one differs.
    pub fn differs(&self, other: &Fixed) -> Vec<&'static str> {
        let keys = [(self.port != other.port, "gateway.port"), (self.bind != other.bind, "gateway.bind")];
        keys.into_iter().filter(|(differs, _)| *differs).map(|(_, key)| key).collect()
    }
}

/// The part that the HTTP side needs.
pub struct Web {
    pub allowed_origins: Vec<String>,
    pub public_origin: Option<String>,
    pub trusted_proxies: Vec<Cidr>,
    pub allow_real_ip: bool,
    pub proxy: Option<config::TrustedProxy>,
    pub auto_approve_cidrs: Vec<Cidr>,
    /// Empty, or `/like/this`.
    pub base_path: String,
    pub page: bool,
    /// A directory whose page stands in front of ours.
    pub root: Option<PathBuf>,
}

impl Setup {
    /// What a configuration says to go by, on a machine of that name where `gatelet` is run by that command. Without secrets and
    /// places: it is good for explaining, and whoever runs a gateway fills them in.
    pub fn of(config: &Config, machine: String, command: String) -> Setup {
        Setup {
            policy: Setup::policy(config),
            rate: Setup::rate(config),
            secret: None,
            control: SecretDigest::of(""),
            key: TableKey::new([0; 32]),
            authorized: config.pairing.authorized.iter().map(|entry| entry.id).collect(),
            strict_clock: config.auth.strict_clock,
            machine,
            command,
            config_path: String::new(),
            state_dir: String::new(),
            boot_id: String::new(),
            web: Web::of(config),
            commands: Commands { allow: config.nodes.allow_commands.clone(), deny: config.nodes.deny_commands.clone() },
            fixed: Fixed { port: config.port, bind: config.bind },
        }
    }

    /// The decisions of a configuration.
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

    /// How many wrong passwords a configuration allows.
    fn rate(config: &Config) -> Rate {
        let limit = config.auth.rate_limit;
        Rate { tries: limit.max_attempts, window_ms: limit.window_ms.into(), lock_ms: limit.lockout_ms.into() }
    }

    /// Is this the shared secret, or the command line's own?
    pub fn is_secret(&self, presented: &str) -> bool {
        let presented = SecretDigest::of(presented);
        let shared = self.secret.as_ref().is_some_and(|secret| secret.is(&presented));
        self.control.is(&presented) | shared
    }

    /// What fills the hints of this gateway.
    pub fn fill<'a>(&'a self, list: &'a str, request: &'a str, device: &'a str, origin: &'a str) -> Fill<'a> {
        Fill { gatelet: &self.command, list, request, device, origin }
    }
}

impl Web {
    /// The HTTP side of a configuration.
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

    /// The names that are ours, for a request that reached this address.
    pub fn names<'a>(&'a self, machine: &'a str, reached: Option<IpAddr>) -> Names<'a, String> {
        Names { allowed: &self.allowed_origins, public: self.public_origin.as_deref(), machine, reached }
    }

    /// Does a trusted proxy vouch for a user?
    pub fn identity(&self, peer: IpAddr, head: &Head<'_>) -> Identity {
        let Some(proxy) = &self.proxy else { return Identity::Absent };
        let peer = net::fold(peer);
        let trusted = self.trusted_proxies.iter().any(|range| range.contains(peer));
        if !trusted || net::is_loopback(peer) && !proxy.allow_loopback {
            return Identity::Absent;
        }
        let given = |name: &String| head.header(name).is_some_and(|value| !value.trim().is_empty());
        let Some(user) = head.header(&proxy.user_header).map(str::trim).filter(|user| !user.is_empty()) else {
            return Identity::Absent;
        };
        let allowed = proxy.allow_users.is_empty() || proxy.allow_users.iter().any(|name| name == user);
        // which of two is the proxy's, and which its client's?
        let once = !head.is_twice(&proxy.user_header);
        if once && allowed && proxy.required_headers.iter().all(given) {
            Identity::Right
        } else {
            Identity::Refused
        }
    }

    /// May a node from this address be approved without a person?
    pub fn approves(&self, client: IpAddr) -> bool {
        self.auto_approve_cidrs.iter().any(|range| range.contains(client))
    }
}
