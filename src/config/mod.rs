//! Configuration: text, environment and flags in; a [`Config`] that cannot be wrong, or every problem at once, out.
//!
//! It reads the `gateway` section of an `openclaw.json` as it is, and says how its text would be after a change. It never writes a
//! file, never logs, and reads files and environment only through [`Env`]. Invariants: there is a `Config` exactly when no problem is an error; a secret is
//! shown by nothing but [`Secret::expose`]; a source of a secret that fails is a problem, never a reason to try the next.

mod auth;
mod build;
mod change;
mod edit;
mod env;
mod listen;
mod parse;
mod paths;
mod print;
mod redact;
mod schema;
mod secrets;
mod text;
mod tree;
mod values;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

pub use crate::gate::facts::{AuthMode, PairingMode};
use crate::gate::ids::DeviceId;
use crate::gate::limits;
use crate::gate::net::{self, Cidr};

pub use change::{change, shown, Changed, Shown};
pub use env::{Env, SystemEnv};
pub use paths::{in_container, service_dir, Paths};
pub use schema::{nearest_word, Key, Kind, KEYS};
pub use secrets::Secret;

/// What the command line says; it goes before everything else.
#[derive(Clone, Default, Debug)]
pub struct Overrides {
    /// `--config`
    pub config: Option<String>,
    /// `--state-dir`
    pub state_dir: Option<String>,
    /// `--log-file`
    pub log_file: Option<String>,
    /// `--port`; here alone 0 is good and means any free port.
    pub port: Option<String>,
    /// `--bind`
    pub bind: Option<String>,
    /// `--auth`
    pub auth: Option<String>,
    /// `--token`
    pub token: Option<Secret>,
    /// `--password`
    pub password: Option<Secret>,
}

/// All that was found out.
#[derive(Debug)]
pub struct Loaded {
    /// What to run with; `None` exactly if a problem is an error.
    pub config: Option<Config>,
    /// In the order of their lines.
    pub problems: Vec<Problem>,
    /// Where things are, if that could be said.
    pub paths: Option<Paths>,
    /// Known keys of OpenClaw that stand in the file and have no meaning here, such as `gateway.http`.
    pub accepted_not_used: Vec<String>,
    /// Every setting with its value and where it came from, for `gatelet config print`.
    pub settings: Vec<Setting>,
    /// What the file says, if there is one.
    pub text: Option<Secret>,
    /// What was asked for.
    pub args: Overrides,
}

/// Reads the configuration that `args` and `env` name.
pub fn load(args: &Overrides, env: &dyn Env) -> Loaded {
    load_text(args, env, None)
}

/// As [`load`], with this text as the file's where one is given.
pub fn load_text(args: &Overrides, env: &dyn Env, given: Option<&str>) -> Loaded {
    let mut problems = Problems::default();
    let paths = paths::find(args, env, &mut problems);
    let text = match given {
        Some(text) => Some(text.to_string()),
        None => paths.as_ref().and_then(|paths| paths::read_config(paths, env, &mut problems)),
    };
    let found = text.as_ref().map(|text| parse::parse(text, env, &mut problems)).unwrap_or_default();
    let places = paths.as_ref();
    if let Some(paths) = places {
        paths::check_permissions(paths, &found, env, &mut problems);
    }
    let (config, settings) = build::build(args, env, places, &found, &mut problems);
    let fine = problems.errors == 0;
    Loaded {
        config: config.filter(|_| fine),
        problems: problems.sorted(),
        paths,
        accepted_not_used: found.not_used,
        settings,
        text: text.map(Secret::new),
        args: args.clone(),
    }
}

/// Something wrong with the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Line of the configuration file, from 1; 0 if it is not about a line of it.
    pub line: u32,
    /// The key (`gateway.auth.mode`), flag or variable it is about; empty if none.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do, such as the nearest known key; may be empty.
    pub hint: String,
    pub severity: Severity,
}

/// Does it stop the start?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    Error,
    Warning,
}

impl fmt::Display for Problem {
    /// `message (line 6): hint`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.line > 0 {
            write!(f, " (line {})", self.line)?;
        }
        if !self.hint.is_empty() {
            write!(f, ": {}", self.hint)?;
        }
        Ok(())
    }
}

/// The problems so far, the first [`limits::CONFIG_PROBLEMS`] of them in words.
#[derive(Default)]
struct Problems {
    listed: Vec<Problem>,
    more: usize,
    errors: usize,
}

impl Problems {
    fn error(&mut self, line: u32, path: &str, message: String, hint: impl Into<String>) {
        self.errors += 1;
        self.add(Severity::Error, line, path, message, hint.into());
    }

    fn warning(&mut self, line: u32, path: &str, message: String, hint: impl Into<String>) {
        self.add(Severity::Warning, line, path, message, hint.into());
    }

    fn add(&mut self, severity: Severity, line: u32, path: &str, message: String, hint: String) {
        if self.is_full() {
            self.more += 1;
        } else {
            self.listed.push(Problem { line, path: path.to_string(), message, hint, severity });
        }
    }

    fn is_full(&self) -> bool {
        self.listed.len() >= limits::CONFIG_PROBLEMS
    }

    fn sorted(mut self) -> Vec<Problem> {
        self.listed.sort_by_key(|problem| problem.line);
        if self.more > 0 {
            let message = format!("{} more problems are not listed", self.more);
            let severity = if self.errors > 0 { Severity::Error } else { Severity::Warning };
            self.listed.push(Problem { line: 0, path: String::new(), message, hint: String::new(), severity });
        }
        self.listed
    }
}

/// One setting as it is in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// `gateway.auth.mode`
    pub path: String,
    /// As text; a secret as its fingerprint.
    pub value: String,
    pub source: Source,
}

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Nothing says otherwise.
    Default,
    /// This command line flag.
    Flag(&'static str),
    /// This environment variable.
    Env(&'static str),
    /// The file that this environment variable names.
    EnvFile(&'static str, PathBuf),
    /// This line of the configuration file.
    Config(u32),
    /// This file in the state directory.
    StateFile(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::Flag(name) | Source::Env(name) => f.write_str(name),
            Source::EnvFile(name, path) => write!(f, "{name} {}", path.display()),
            Source::Config(line) => write!(f, "config line {line}"),
            Source::StateFile(path) => write!(f, "state file {}", path.display()),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sourced<T> {
    pub value: T,
    pub source: Source,
}

/// The `gateway` section, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// TCP port; 0 is any free one and comes only from `--port`.
    pub port: u16,
    pub bind: Bind,
    /// The origin under which browsers reach the gateway, normalised: `https://gate.example`.
    pub public_origin: Option<String>,
    pub trusted_proxies: Vec<Cidr>,
    /// Believe X-Real-IP of a trusted proxy that sends no X-Forwarded-For.
    pub allow_real_ip_fallback: bool,
    pub auth: Auth,
    pub pairing: Pairing,
    pub control_ui: ControlUi,
    pub nodes: Nodes,
    pub tailscale: Tailscale,
    /// The full OpenClaw gateway behind this one, if there is one.
    pub upstream: Option<Upstream>,
}

/// Where the gateway listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bind {
    /// 127.0.0.1 and `[::1]`.
    Loopback,
    /// Every address of the machine.
    Lan,
    /// The Tailscale address.
    Tailnet,
    /// The best there is; may be every address.
    Auto,
    /// This address.
    Custom(IpAddr),
}

impl Bind {
    /// Can only this machine connect?
    pub fn is_loopback(self) -> bool {
        match self {
            Bind::Loopback => true,
            Bind::Custom(address) => net::is_loopback(address),
            Bind::Lan | Bind::Tailnet | Bind::Auto => false,
        }
    }

    /// The word of the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Bind::Loopback => "loopback",
            Bind::Lan => "lan",
            Bind::Tailnet => "tailnet",
            Bind::Auto => "auto",
            Bind::Custom(_) => "custom",
        }
    }
}

/// `gateway.auth`
#[derive(Clone, Debug)]
pub struct Auth {
    pub mode: AuthMode,
    /// The shared token or password, by mode. Mode `Password` always has one. Mode `Token` has none if nothing names one:
    /// the caller then makes it, in [`Paths::token_file`]. The other modes have none.
    pub secret: Option<Sourced<Secret>>,
    pub allow_tailscale: bool,
    /// Hold `signedAt` to the protocol's window.
    pub strict_clock: bool,
    pub rate_limit: RateLimit,
    /// There in mode `TrustedProxy` only.
    pub trusted_proxy: Option<TrustedProxy>,
}

/// `gateway.auth.rateLimit`: guesses at a password.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// Wrong ones, 1 to 1000, before the next is refused unread.
    pub max_attempts: u32,
    /// Time in which they count, milliseconds.
    pub window_ms: u32,
    /// Time of refusal after that, milliseconds.
    pub lockout_ms: u32,
}

/// `gateway.auth.trustedProxy`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustedProxy {
    /// Name of the header with the user's name, lower case.
    pub user_header: String,
    /// Headers without which nobody is vouched for, lower case.
    pub required_headers: Vec<String>,
    /// Users that may come in; everybody if empty.
    pub allow_users: Vec<String>,
    /// Does a proxy on loopback count?
    pub allow_loopback: bool,
}

/// `gateway.pairing`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pairing {
    pub mode: PairingMode,
    /// Devices that are let in by their key alone.
    pub authorized: Vec<AuthorizedKey>,
    /// Devices the table holds, 1 to [`crate::gate::limits::CAPACITY_MAX`]; fixed when the table is created.
    pub capacity: u16,
}

/// One entry of `gateway.pairing.authorizedKeys`, given as a public key or as a device id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthorizedKey {
    pub id: DeviceId,
    /// What stands behind the first space.
    pub comment: String,
}

/// `gateway.controlUi`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControlUi {
    pub enabled: bool,
    /// Empty, or `/like/this`: a slash in front and none at the end.
    pub base_path: String,
    /// Serve this directory instead of the built-in page.
    pub root: Option<PathBuf>,
    /// Normalised like [`Config::public_origin`]; `*` is every origin.
    pub allowed_origins: Vec<String>,
    pub allow_insecure_auth: bool,
    pub dangerously_disable_device_auth: bool,
    pub dangerously_allow_host_header_origin_fallback: bool,
}

/// `gateway.nodes`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nodes {
    pub auto_approve_local: bool,
    pub auto_approve_cidrs: Vec<Cidr>,
    pub allow_commands: Vec<String>,
    pub deny_commands: Vec<String>,
}

/// `gateway.tailscale`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tailscale {
    pub mode: TailscaleMode,
    pub reset_on_exit: bool,
}

/// What Tailscale publishes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TailscaleMode {
    Off,
    /// To the tailnet.
    Serve,
    /// To the internet; mode `Password` only.
    Funnel,
}

/// `gateway.upstream`
#[derive(Clone, Debug)]
pub struct Upstream {
    /// `ws://host[:port][/path]`
    pub url: String,
    pub token: Option<Secret>,
}
