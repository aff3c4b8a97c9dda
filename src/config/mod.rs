//! Configuration: reads text, environment and flags, and returns either a valid [`Config`] or all
//! problems at once.
//!
//! Reads the `gateway` section of an `openclaw.json` unchanged, and computes the text after a
//! change. Never writes a file, never logs, and reads files and environment only through [`Env`].
//!
//! Invariants:
//!
//! - There is a `Config` exactly when no problem is an error.
//! - Only [`Secret::expose`] reveals a secret.
//! - A secret source that is set but unusable is an error; later sources are not tried.
//! - Every source is read by `Problems::value`: a blank value is not set, at every bind, and the
//!   next source is used.

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

pub use change::{change, shown, ChangeKind, Changed, Shown};
pub use env::{Env, SystemEnv};
pub use paths::{home_path, in_container, service_dir, Paths, Published};
pub use schema::{nearest, Key, Kind, KEYS};
pub use secrets::Secret;
pub use values::{address, trimmed};

/// Values given on the command line. They take precedence over every other source.
#[derive(Clone, Default, Debug)]
pub struct Overrides {
    /// `--config`
    pub config: Option<String>,
    /// `--state-dir`
    pub state_dir: Option<String>,
    /// `--log-file`
    pub log_file: Option<String>,
    /// `--port`. Only here is 0 valid; it selects a free port.
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

/// Result of loading the configuration.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration to run with; `None` exactly if a problem is an error.
    pub config: Option<Config>,
    /// Problems in the order of their lines.
    pub problems: Vec<Problem>,
    /// File and directory paths; `None` if there is no location for the state directory.
    pub paths: Option<Paths>,
    /// Keys in the file that OpenClaw knows and this gateway ignores, such as `gateway.http`.
    pub accepted_not_used: Vec<String>,
    /// All settings with value and source, for `gatelet config print`.
    pub settings: Vec<Setting>,
    /// Contents of the configuration file, if it exists.
    pub text: Option<Secret>,
    /// The command line values that were passed in.
    pub args: Overrides,
}

/// Loads the configuration that `args` and `env` select.
pub fn load(args: &Overrides, env: &dyn Env) -> Loaded {
    load_text(args, env, None)
}

/// Like [`load`], but uses `given` as the contents of the configuration file if it is `Some`.
pub fn load_text(args: &Overrides, env: &dyn Env, given: Option<&str>) -> Loaded {
    let mut problems = Problems::default();
    let paths = paths::find(args, env, &mut problems);
    let text = match given {
        Some(text) => Some(text.to_string()),
        None => paths.as_ref().and_then(|paths| paths::read_config(paths, env, &mut problems)),
    };
    let file_values =
        text.as_ref().map(|text| parse::parse(text, env, &mut problems)).unwrap_or_default();
    if let Some(paths) = &paths {
        paths::check_permissions(paths, &file_values, env, &mut problems);
    }
    let (config, settings) = build::build(args, env, paths.as_ref(), &file_values, &mut problems);
    Loaded {
        config: config.filter(|_| problems.errors == 0),
        problems: problems.sorted(),
        paths,
        accepted_not_used: file_values.not_used,
        settings,
        text: text.map(Secret::new),
        args: args.clone(),
    }
}

/// An error or warning about the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Line in the configuration file, from 1; 0 if the problem has no line.
    pub line: u32,
    /// The key (such as `gateway.auth.mode`), flag or variable concerned; may be empty.
    pub path: String,
    /// Description of the problem.
    pub message: String,
    /// Suggested fix, such as the nearest known key; may be empty.
    pub hint: String,
    pub severity: Severity,
}

/// Severity of a problem. An error prevents the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    Error,
    Warning,
}

impl fmt::Display for Problem {
    /// Formats the problem as `message (line 6): hint`.
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

/// Problems found so far. The first [`limits::CONFIG_PROBLEMS`] are kept, the others only counted.
#[derive(Default)]
struct Problems {
    listed: Vec<Problem>,
    unlisted: usize,
    errors: usize,
}

impl Problems {
    fn error(
        &mut self,
        line: u32,
        path: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.errors += 1;
        self.add(Severity::Error, line, path, message.into(), hint.into());
    }

    fn warning(
        &mut self,
        line: u32,
        path: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(Severity::Warning, line, path, message.into(), hint.into());
    }

    fn add(&mut self, severity: Severity, line: u32, path: &str, message: String, hint: String) {
        if self.is_full() {
            self.unlisted += 1;
        } else {
            self.listed.push(Problem { line, path: path.to_string(), message, hint, severity });
        }
    }

    fn is_full(&self) -> bool {
        self.listed.len() >= limits::CONFIG_PROBLEMS
    }

    fn sorted(mut self) -> Vec<Problem> {
        self.listed.sort_by_key(|problem| problem.line);
        if self.unlisted > 0 {
            let message = format!("{} more problems are not listed", self.unlisted);
            let severity = if self.errors > 0 { Severity::Error } else { Severity::Warning };
            let (path, hint) = (String::new(), String::new());
            self.listed.push(Problem { line: 0, path, message, hint, severity });
        }
        self.listed
    }
}

/// A setting in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// Full key, such as `gateway.auth.mode`.
    pub path: String,
    /// The value as text; a secret as its fingerprint.
    pub value: String,
    /// The entries, if the value is a list.
    pub list: Vec<String>,
    pub source: Source,
}

/// Origin of a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Built-in default; no source sets the value.
    Default,
    /// Command line flag.
    Flag(&'static str),
    /// Environment variable.
    Env(&'static str),
    /// File named by an environment variable.
    EnvFile(&'static str, PathBuf),
    /// Line of the configuration file.
    Config(u32),
    /// File in the state directory.
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

/// Returns the configuration of a running gateway, from its settings in force: key, value and list
/// of each. Secrets are replaced, paths are not resolved, and `upstream`, whose URL may be hidden,
/// is left out. `None` if it is not valid here.
pub fn in_force<'a>(
    settings: impl Iterator<Item = (&'a str, &'a str, Vec<String>)>,
) -> Option<Config> {
    let mut file_values = parse::FileValues::default();
    for (path, value, list) in settings {
        match path.strip_prefix("gateway.")? {
            path if path.starts_with("upstream.") => {}
            path => file_values.insert(path, value, list)?,
        }
    }
    let (args, mut problems) = (Overrides::default(), Problems::default());
    let (config, _) = build::build(&args, &env::Empty, None, &file_values, &mut problems);
    config.filter(|_| problems.errors == 0)
}

/// Returns the token that an earlier start created, if it is valid.
pub fn created_token(paths: &Paths, env: &dyn Env) -> Option<Sourced<Secret>> {
    let (file_values, problems) = (&parse::FileValues::default(), &mut Problems::default());
    let mut search = secrets::SecretSearch { env, file_values, problems, exposed: false };
    search.read_state_file(paths.token_file())
}

/// Returns the secret's fingerprint as the value of a [`Setting`].
pub fn shown_secret(secret: &Secret) -> String {
    build::fingerprint(secret)
}

/// A value with its origin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sourced<T> {
    pub value: T,
    pub source: Source,
}

impl<T> Sourced<T> {
    fn new(value: T, source: Source) -> Sourced<T> {
        Sourced { value, source }
    }
}

/// The checked `gateway` section.
#[derive(Clone, Debug)]
pub struct Config {
    /// TCP port. 0 selects a free port and is possible only with `--port`.
    pub port: u16,
    pub bind: Bind,
    /// Normalised origin at which browsers reach the gateway, such as `https://gate.example`.
    pub public_origin: Option<String>,
    pub trusted_proxies: Vec<Cidr>,
    /// Use X-Real-IP from a trusted proxy that sends no X-Forwarded-For.
    pub allow_real_ip_fallback: bool,
    pub auth: AuthConfig,
    pub pairing: PairingConfig,
    pub control_ui: ControlUi,
    pub nodes: NodesConfig,
    pub tailscale: Tailscale,
    /// Settings of the OpenClaw gateway to relay to, if configured.
    pub upstream: Option<Upstream>,
}

/// Addresses to listen on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bind {
    /// 127.0.0.1 and `[::1]`.
    Loopback,
    /// All addresses of the machine.
    Lan,
    /// The machine's Tailscale address, and loopback.
    Tailnet,
    /// 127.0.0.1 and `[::1]`; in the image all addresses.
    Auto,
    /// The given address, and loopback unless it is the unspecified address.
    Custom(IpAddr),
}

impl Bind {
    /// Returns whether only this machine can connect.
    pub fn is_loopback(self) -> bool {
        match self {
            Bind::Loopback => true,
            Bind::Custom(address) => net::is_loopback(address),
            Bind::Lan | Bind::Tailnet | Bind::Auto => false,
        }
    }

    /// Returns the value used in the configuration.
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
pub struct AuthConfig {
    pub mode: AuthMode,
    /// The shared token or password. Always present in mode `Password`. Absent in mode `Token` if
    /// no source sets a token: the caller then creates one at [`Paths::token_file`]. Absent in the
    /// other modes.
    pub secret: Option<Sourced<Secret>>,
    pub allow_tailscale: bool,
    /// Enforce the protocol's time window for `signedAt`.
    pub strict_clock: bool,
    pub rate_limit: RateLimit,
    /// Present only in mode `TrustedProxy`.
    pub trusted_proxy: Option<TrustedProxy>,
}

/// `gateway.auth.rateLimit`: limits on failed password attempts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// Failed attempts, 1 to 1000, after which further attempts are rejected unchecked.
    pub max_attempts: u32,
    /// Period in which failed attempts are counted, in milliseconds.
    pub window_ms: u32,
    /// Duration of the rejection, in milliseconds.
    pub lockout_ms: u32,
}

/// `gateway.auth.trustedProxy`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustedProxy {
    /// Name of the header that carries the user's name, in lower case.
    pub user_header: String,
    /// Names of headers that must be present and not blank, in lower case.
    pub required_headers: Vec<String>,
    /// Names of the permitted users; empty permits every user.
    pub allow_users: Vec<String>,
    /// Accept identity headers from a proxy on loopback.
    pub allow_loopback: bool,
}

/// `gateway.pairing`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PairingConfig {
    pub mode: PairingMode,
    /// Devices admitted by their key alone.
    pub authorized: Vec<AuthorizedKey>,
    /// Maximum number of devices, 1 to [`crate::gate::limits::CAPACITY_MAX`]. Used only when the
    /// table is created.
    pub capacity: u16,
}

/// An entry of `gateway.pairing.authorizedKeys`, given as a public key or a device id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthorizedKey {
    pub id: DeviceId,
    /// Text after the first white space of the entry.
    pub comment: String,
}

/// `gateway.controlUi`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControlUi {
    pub enabled: bool,
    /// Empty, or a path with a leading and without a trailing slash.
    pub base_path: String,
    /// Directory to serve instead of the built-in page.
    pub root: Option<PathBuf>,
    /// Origins normalised like [`Config::public_origin`]; `*` allows every origin.
    pub allowed_origins: Vec<String>,
    pub allow_insecure_auth: bool,
    pub dangerously_disable_device_auth: bool,
    pub dangerously_allow_host_header_origin_fallback: bool,
}

/// `gateway.nodes`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodesConfig {
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

/// Exposure through Tailscale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TailscaleMode {
    Off,
    /// Reachable from the tailnet.
    Serve,
    /// Reachable from the internet; requires auth mode `Password`.
    Funnel,
}

/// `gateway.upstream`
#[derive(Clone, Debug)]
pub struct Upstream {
    /// URL of the form `ws://host[:port][/path]`.
    pub url: String,
    pub token: Option<Secret>,
}
