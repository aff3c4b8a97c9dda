//! Builds a checked [`Config`] from keys, flags and environment variables, and lists the settings
//! in force.

use std::path::PathBuf;

use super::parse::{quote, FileValues, ListItem};
use super::schema::{self, Kind};
use super::secrets::{Secret, SecretSearch};
use super::{paths, print, values, Env, Overrides, Paths, Problems, Setting, Source};
use super::{
    Bind, Config, ControlUi, NodesConfig, PairingConfig, PairingMode, Tailscale, TailscaleMode,
    Upstream,
};
use crate::gate::net::Cidr;

/// Checks all settings and reports every problem.
///
/// The configuration is `None` if port, bind or auth cannot be determined. It can be `Some`
/// although errors were reported; [`super::load`] discards it then.
pub(super) fn build(
    args: &Overrides,
    env: &dyn Env,
    paths: Option<&Paths>,
    file_values: &FileValues,
    problems: &mut Problems,
) -> (Option<Config>, Vec<Setting>) {
    let mut builder = Builder { args, env, paths, file_values, problems, in_force: Vec::new() };
    let config = builder.config();
    let settings = builder.settings();
    (config, settings)
}

pub(super) struct Builder<'a> {
    pub args: &'a Overrides,
    pub env: &'a dyn Env,
    pub paths: Option<&'a Paths>,
    pub file_values: &'a FileValues,
    pub problems: &'a mut Problems,
    /// Settings whose value or source differs from the file and the schema's default, such as one
    /// set by a flag.
    pub in_force: Vec<(&'static str, String, Source)>,
}

impl<'a> Builder<'a> {
    fn config(&mut self) -> Option<Config> {
        self.reject_remote();
        self.reject_tls();
        let port = self.port();
        let bind = self.bind();
        let trusted_proxies = self.ranges("trustedProxies");
        self.check_trusted_proxies(&trusted_proxies);
        let tailscale = self.tailscale(bind);
        let auth = self.auth(bind, &trusted_proxies, tailscale.mode);
        let pairing = self.pairing();
        let control_ui = self.control_ui();
        self.check_origins(auth.as_ref(), &control_ui);
        let nodes = self.nodes();
        let upstream = self.upstream();
        Some(Config {
            port: port?,
            bind: bind?,
            public_origin: self.public_origin(),
            trusted_proxies,
            allow_real_ip_fallback: self.file_values.flag("allowRealIpFallback"),
            auth: auth?,
            pairing,
            control_ui,
            nodes,
            tailscale,
            upstream,
        })
    }

    fn reject_remote(&mut self) {
        if let Some(("remote", _)) = self.file_values.text("mode") {
            let hint = "set gateway.mode to \"local\"";
            self.error("mode", "gateway.mode \"remote\" is only for clients", hint);
        }
    }

    fn reject_tls(&mut self) {
        if self.file_values.flag("tls.enabled") {
            let message = "gateway.tls.enabled cannot be true: this build has no TLS";
            let hint =
                "put a TLS proxy or Tailscale Serve in front, and set gateway.tls.enabled to false";
            self.error("tls.enabled", message, hint);
        }
    }

    fn ranges(&mut self, key: &'static str) -> Vec<Cidr> {
        let hint = "write an address or a range such as 172.18.0.0/16";
        self.entries(key, hint, Cidr::parse)
    }

    /// Returns the entries of a list that `parse` accepts, and reports each other entry as an error
    /// that quotes it.
    pub fn entries<T>(
        &mut self,
        key: &'static str,
        hint: &str,
        parse: fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let mut entries = Vec::new();
        for ListItem { text, line } in self.file_values.list(key) {
            match parse(text) {
                Some(entry) => entries.push(entry),
                None => {
                    let message =
                        format!("gateway.{key} contains the invalid entry {}", quote(text));
                    self.error_at(*line, key, message, hint);
                }
            }
        }
        entries
    }

    fn check_trusted_proxies(&mut self, trusted: &[Cidr]) {
        if trusted.iter().any(|range| range.prefix() == 0) {
            let message =
                "gateway.trustedProxies contains every address: any client can spoof its address";
            self.warning("trustedProxies", message, "list only the addresses of your proxies");
        }
    }

    fn public_origin(&mut self) -> Option<String> {
        let hint = "write it like https://gate.example or http://gate.example:18789";
        self.parsed("publicOrigin", hint, values::web_origin)
    }

    /// Returns the value of a key that holds a string, or `None` if the key is absent or, after
    /// reporting an error that quotes it, if `parse` rejects it.
    pub fn parsed<T>(
        &mut self,
        key: &'static str,
        hint: &str,
        parse: fn(&str) -> Option<T>,
    ) -> Option<T> {
        let (text, _) = self.file_values.text(key)?;
        let value = parse(text);
        if value.is_none() {
            self.error(key, format!("gateway.{key} cannot be {}", quote(text)), hint);
        }
        value
    }

    fn tailscale(&mut self, bind: Option<Bind>) -> Tailscale {
        let mode = match self.file_values.text("tailscale.mode") {
            Some(("serve", _)) => TailscaleMode::Serve,
            Some(("funnel", _)) => TailscaleMode::Funnel,
            _ => TailscaleMode::Off,
        };
        if let Some(bind) = bind.filter(|bind| mode != TailscaleMode::Off && !bind.is_loopback()) {
            let message = format!(
                "gateway.tailscale.mode requires a loopback bind, but the bind is \"{}\"",
                bind.name()
            );
            let hint = "set gateway.bind to \"loopback\", or gateway.tailscale.mode to \"off\"";
            self.error("tailscale.mode", message, hint);
        }
        Tailscale { mode, reset_on_exit: self.file_values.flag("tailscale.resetOnExit") }
    }

    fn pairing(&mut self) -> PairingConfig {
        let mode = self.pairing_mode();
        let hint = "write a public key in base64url or a device id of 64 hexadecimal digits, then an optional comment";
        PairingConfig {
            mode,
            authorized: self.entries("pairing.authorizedKeys", hint, values::authorized_key),
            capacity: u16::try_from(self.file_values.number("pairing.capacity"))
                .unwrap_or(u16::MAX),
        }
    }

    /// Returns the pairing mode, which two keys can set: `pairing.mode` and OpenClaw's
    /// `auth.skipPairingForTokenAuth`.
    fn pairing_mode(&mut self) -> PairingMode {
        let skip_key = "auth.skipPairingForTokenAuth";
        let skips = self.file_values.flag(skip_key);
        let skip_line =
            self.file_values.line(skip_key).filter(|_| !self.file_values.is_invalid(skip_key));
        let mode = self.file_values.text("pairing.mode");
        if let (Some(skip_line), Some((word, _))) = (skip_line, mode) {
            if (word == "token") != skips {
                let message = format!(
                    "gateway.pairing.mode \"{word}\" contradicts gateway.{skip_key} {skips} in line {skip_line}"
                );
                self.error("pairing.mode", message, "remove one of them");
            }
        }
        let (by_token, source) = match (mode, skip_line) {
            (Some((word, line)), _) => (word == "token", Source::Config(line)),
            (None, Some(line)) => (skips, Source::Config(line)),
            (None, None) => (true, Source::Default),
        };
        let (mode, word) = match by_token {
            true => (PairingMode::Token, "token"),
            false => (PairingMode::Strict, "strict"),
        };
        self.in_force.push(("pairing.mode", word.to_string(), source.clone()));
        self.in_force.push((skip_key, by_token.to_string(), source));
        mode
    }

    fn control_ui(&mut self) -> ControlUi {
        let any =
            |text: &str| (text == "*").then(|| "*".to_string()).or_else(|| values::origin(text));
        let hint = "write scheme://host[:port], such as https://gate.example, or *";
        ControlUi {
            enabled: self.file_values.flag("controlUi.enabled"),
            base_path: self
                .parsed("controlUi.basePath", "write a path such as /gateway", values::base_path)
                .unwrap_or_default(),
            root: self.ui_root(),
            allowed_origins: self.entries("controlUi.allowedOrigins", hint, any),
            allow_insecure_auth: self.file_values.flag("controlUi.allowInsecureAuth"),
            dangerously_disable_device_auth: self
                .file_values
                .flag("controlUi.dangerouslyDisableDeviceAuth"),
            dangerously_allow_host_header_origin_fallback: self
                .file_values
                .flag("controlUi.dangerouslyAllowHostHeaderOriginFallback"),
        }
    }

    fn ui_root(&mut self) -> Option<PathBuf> {
        let (text, _) = self.file_values.text("controlUi.root")?;
        let root = self.beside_config(text);
        if !self.env.exists(&root.join("index.html")) {
            let message =
                format!("gateway.controlUi.root {} contains no index.html", root.display());
            let hint = "set it to the directory of a built Control UI, or remove it";
            self.warning("controlUi.root", message, hint);
        }
        Some(root)
    }

    /// Resolves a path from the configuration against the directory of the configuration file.
    fn beside_config(&self, text: &str) -> PathBuf {
        let path = paths::home_path(text, self.env);
        match self.paths.and_then(|paths| paths.config.value.parent()) {
            Some(directory) => directory.join(path),
            None => path,
        }
    }

    fn nodes(&mut self) -> NodesConfig {
        NodesConfig {
            auto_approve_local: self.file_values.flag("nodes.pairing.autoApproveLocal"),
            auto_approve_cidrs: self.ranges("nodes.pairing.autoApproveCidrs"),
            allow_commands: self.commands("nodes.commands.allow", "nodes.allowCommands"),
            deny_commands: self.commands("nodes.commands.deny", "nodes.denyCommands"),
        }
    }

    /// Merges the commands of the current key with those of its protocol 3 name.
    fn commands(&mut self, key: &'static str, old_key: &'static str) -> Vec<String> {
        let word = |text: &str| {
            Some(text.to_string())
                .filter(|text| !text.is_empty() && !text.contains(char::is_whitespace))
        };
        let hint = "write the name of a command, such as camera.snap";
        let mut commands = self.entries(key, hint, word);
        for command in self.entries(old_key, hint, word) {
            if !commands.contains(&command) {
                commands.push(command);
            }
        }
        commands
    }

    fn upstream(&mut self) -> Option<Upstream> {
        let token = self.upstream_token();
        let Some((text, _)) = self.file_values.text("upstream.url") else {
            let token_line = self
                .file_values
                .line("upstream.token")
                .or(self.file_values.line("upstream.tokenFile"));
            if let Some(line) = token_line.filter(|_| !self.file_values.is_invalid("upstream.url"))
            {
                let message = "gateway.upstream has a token but no URL";
                self.error_at(line, "upstream.url", message, "set gateway.upstream.url");
            }
            return None;
        };
        // The text is not quoted: it may contain credentials in any place.
        let Some(url) = values::websocket_url(text) else {
            let message = "gateway.upstream.url is not a WebSocket URL";
            self.error("upstream.url", message, "write ws://host:port; this build has no TLS");
            return None;
        };
        Some(Upstream { url, token })
    }

    fn upstream_token(&mut self) -> Option<Secret> {
        let file = self.file_values.text("upstream.tokenFile");
        let token = self.file_values.text("upstream.token");
        match (token, file) {
            (Some(_), Some(_)) => {
                let message = "gateway.upstream.token and gateway.upstream.tokenFile are both set";
                self.error("upstream.tokenFile", message, "remove one of them");
                None
            }
            (Some((text, line)), None) => {
                self.search(false).check("gateway.upstream.token", line, text.to_string())
            }
            (None, Some((text, line))) => {
                let path = self.beside_config(text);
                self.search(false).read_config_file("gateway.upstream.tokenFile", line, &path)
            }
            (None, None) => None,
        }
    }

    /// Returns a search for secrets. `exposed` means that other machines can connect.
    pub fn search(&mut self, exposed: bool) -> SecretSearch<'_> {
        SecretSearch {
            env: self.env,
            file_values: self.file_values,
            problems: self.problems,
            exposed,
        }
    }

    /// Reports an error about `gateway.{key}` in the line of the key.
    pub fn error(&mut self, key: &str, message: impl Into<String>, hint: &str) {
        self.error_at(self.line(key), key, message, hint);
    }

    /// Reports an error about `gateway.{key}` in another line.
    pub fn error_at(&mut self, line: u32, key: &str, message: impl Into<String>, hint: &str) {
        self.problems.error(line, &format!("gateway.{key}"), message, hint);
    }

    /// Reports a warning about `gateway.{key}` in the line of the key.
    pub fn warning(&mut self, key: &str, message: impl Into<String>, hint: &str) {
        self.problems.warning(self.line(key), &format!("gateway.{key}"), message, hint);
    }

    /// Reports that the word `text` from `source` is not a value of `key`.
    pub fn invalid_word(&mut self, key: &str, text: &str, source: &Source, hint: String) {
        let (name, line) = name_of(key, source);
        self.problems.error(line, &name, format!("{name} cannot be {}", quote(text)), hint);
    }

    /// Returns the key's line in the file, 0 if the key is absent.
    pub fn line(&self, key: &str) -> u32 {
        self.file_values.line(key).unwrap_or(0)
    }

    fn settings(&self) -> Vec<Setting> {
        let used =
            schema::KEYS.iter().filter(|key| !matches!(key.kind, Kind::Section | Kind::NotUsed));
        used.map(|key| {
            let path = format!("gateway.{}", key.path);
            match self.in_force.iter().find(|(path, ..)| *path == key.path) {
                Some((_, value, source)) => {
                    let list = Vec::new();
                    Setting { path, value: value.clone(), list, source: source.clone() }
                }
                None => {
                    let source =
                        self.file_values.line(key.path).map_or(Source::Default, Source::Config);
                    let list = shown_list(self.file_values, key);
                    let value = match key.kind {
                        Kind::List => list.join(", "),
                        kind => shown(self.file_values, key.path, kind),
                    };
                    Setting { path, value, list, source }
                }
            }
        })
        .collect()
    }
}

/// Formats the key's value for display, with secrets as fingerprints and without URL credentials.
fn shown(file_values: &FileValues, path: &str, kind: Kind) -> String {
    let text = || file_values.text(path).map(|(text, _)| text);
    match kind {
        Kind::Flag(_) => file_values.flag(path).to_string(),
        Kind::Number { .. } => file_values.number(path).to_string(),
        Kind::Text => print::without_login(text().unwrap_or_default()).to_string(),
        Kind::Word(words) => {
            text().unwrap_or(words.first().copied().unwrap_or_default()).to_string()
        }
        Kind::Secret => text().map(|text| fingerprint(&Secret::new(text))).unwrap_or_default(),
        Kind::List | Kind::Section | Kind::NotUsed => String::new(),
    }
}

/// Returns the entries of a list for display, without URL credentials; empty for other keys.
fn shown_list(file_values: &FileValues, key: &schema::Key) -> Vec<String> {
    if !matches!(key.kind, Kind::List) {
        return Vec::new();
    }
    let items = file_values.list(key.path).iter();
    items.map(|item| print::without_login(&item.text).to_string()).collect()
}

/// Formats the secret's fingerprint for display: `sha256:<8 digits>...`, or `hidden`.
pub(super) fn fingerprint(secret: &Secret) -> String {
    match secret.fingerprint() {
        none if none == super::secrets::NO_FINGERPRINT => none,
        digits => format!("sha256:{digits}..."),
    }
}

/// Returns the name and line of a setting for messages: the key with its line in the file, or the
/// flag or variable that overrides it with line 0.
pub(super) fn name_of(key: &str, source: &Source) -> (String, u32) {
    match source {
        Source::Config(line) => (format!("gateway.{key}"), *line),
        Source::Default => (format!("gateway.{key}"), 0),
        other => (other.to_string(), 0),
    }
}
