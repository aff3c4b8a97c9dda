//! Builds a checked [`Config`] from keys, flags and environment variables, and lists the settings
//! in force.

use std::path::PathBuf;

use super::parse::{quote, Found, ListItem};
use super::schema::{self, Kind};
use super::secrets::{Search, Secret};
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
    found: &Found,
    problems: &mut Problems,
) -> (Option<Config>, Vec<Setting>) {
    let mut builder = Builder { args, env, paths, found, problems, in_force: Vec::new() };
    let config = builder.config();
    let settings = builder.settings();
    (config, settings)
}

pub(super) struct Builder<'a> {
    pub args: &'a Overrides,
    pub env: &'a dyn Env,
    pub paths: Option<&'a Paths>,
    pub found: &'a Found,
    pub problems: &'a mut Problems,
    /// Settings whose value or source differs from the file and the schema's default, such as one
    /// set by a flag.
    pub in_force: Vec<(&'static str, String, Source)>,
}

impl<'a> Builder<'a> {
    fn config(&mut self) -> Option<Config> {
        self.refuse_remote();
        self.refuse_tls();
        let port = self.port();
        let bind = self.bind();
        let trusted_proxies = self.ranges("trustedProxies");
        self.warn_of_everybody(&trusted_proxies);
        let tailscale = self.tailscale(bind);
        let auth = self.auth(bind, &trusted_proxies, tailscale.mode);
        let pairing = self.pairing();
        let control_ui = self.control_ui();
        self.check_pages(auth.as_ref(), &control_ui);
        let nodes = self.nodes();
        let upstream = self.upstream();
        Some(Config {
            port: port?,
            bind: bind?,
            public_origin: self.public_origin(),
            trusted_proxies,
            allow_real_ip_fallback: self.found.flag("allowRealIpFallback"),
            auth: auth?,
            pairing,
            control_ui,
            nodes,
            tailscale,
            upstream,
        })
    }

    fn refuse_remote(&mut self) {
        if let Some(("remote", line)) = self.found.text("mode") {
            let hint =
                "set gateway.mode to \"local\"; a client reaches a gateway elsewhere by its URL";
            self.error(
                line,
                "mode",
                "gateway.mode \"remote\" is for clients, and this is a gateway".to_string(),
                hint,
            );
        }
    }

    fn refuse_tls(&mut self) {
        if self.found.flag("tls.enabled") {
            let line = self.line("tls.enabled");
            let hint =
                "put a TLS proxy or Tailscale Serve in front, and set gateway.tls.enabled to false";
            self.error(
                line,
                "tls.enabled",
                "gateway.tls.enabled cannot be true: this build has no TLS".to_string(),
                hint,
            );
        }
    }

    fn ranges(&mut self, key: &'static str) -> Vec<Cidr> {
        let hint = "write an address or a range such as 172.18.0.0/16";
        self.entries(key, hint, Cidr::parse)
    }

    /// Returns the entries of a list that `read` accepts, and reports each other entry as an error
    /// that quotes it.
    pub fn entries<T>(
        &mut self,
        key: &'static str,
        hint: &str,
        read: fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let mut good = Vec::new();
        for ListItem { text, line } in self.found.list(key) {
            match read(text) {
                Some(entry) => good.push(entry),
                None => self.error(
                    *line,
                    key,
                    format!("gateway.{key} has the bad entry {}", quote(text)),
                    hint,
                ),
            }
        }
        good
    }

    fn warn_of_everybody(&mut self, trusted: &[Cidr]) {
        if trusted.iter().any(|range| range.prefix() == 0) {
            let message =
                "gateway.trustedProxies holds every address, so everybody can claim to be anybody"
                    .to_string();
            self.warning(
                self.line("trustedProxies"),
                "trustedProxies",
                message,
                "write the addresses of your proxies",
            );
        }
    }

    fn public_origin(&mut self) -> Option<String> {
        let (text, line) = self.found.text("publicOrigin")?;
        let origin = values::origin(text);
        if origin.is_none() {
            let message = format!("gateway.publicOrigin cannot be {}", quote(text));
            self.error(
                line,
                "publicOrigin",
                message,
                "write it like https://gate.example or http://gate.example:18789",
            );
        }
        origin
    }

    fn tailscale(&mut self, bind: Option<Bind>) -> Tailscale {
        let mode = match self.found.text("tailscale.mode") {
            Some(("serve", _)) => TailscaleMode::Serve,
            Some(("funnel", _)) => TailscaleMode::Funnel,
            _ => TailscaleMode::Off,
        };
        if let Some(bind) = bind.filter(|bind| mode != TailscaleMode::Off && !bind.is_loopback()) {
            let message = format!(
                "gateway.tailscale.mode needs a loopback bind, and the bind is \"{}\"",
                bind.name()
            );
            let hint = "set gateway.bind to \"loopback\", or gateway.tailscale.mode to \"off\"";
            self.error(self.line("tailscale.mode"), "tailscale.mode", message, hint);
        }
        Tailscale { mode, reset_on_exit: self.found.flag("tailscale.resetOnExit") }
    }

    fn pairing(&mut self) -> PairingConfig {
        let skip = self
            .found
            .line("auth.skipPairingForTokenAuth")
            .filter(|_| !self.found.is_bad("auth.skipPairingForTokenAuth"));
        let skips = self.found.flag("auth.skipPairingForTokenAuth");
        let said = self.found.text("pairing.mode").map(|(word, line)| (word == "token", line));
        if let (Some(skip_line), Some((token, line))) = (skip, said) {
            if token != skips {
                let word = if token { "token" } else { "strict" };
                let message = format!(
                    "gateway.pairing.mode \"{word}\" contradicts gateway.auth.skipPairingForTokenAuth {skips} of line {skip_line}"
                );
                self.error(line, "pairing.mode", message, "remove one of them");
            }
        }
        let (token, line) = said
            .or(skip.map(|line| (skips, line)))
            .map_or((true, None), |(token, line)| (token, Some(line)));
        let mode = if token { PairingMode::Token } else { PairingMode::Strict };
        let source = line.map_or(Source::Default, Source::Config);
        self.in_force.push((
            "pairing.mode",
            if token { "token" } else { "strict" }.to_string(),
            source.clone(),
        ));
        self.in_force.push(("auth.skipPairingForTokenAuth", token.to_string(), source));
        let hint = "write a public key in base64url or a device id of 64 hexadecimal digits, then perhaps a comment";
        PairingConfig {
            mode,
            authorized: self.entries("pairing.authorizedKeys", hint, values::authorized_key),
            capacity: u16::try_from(self.found.number("pairing.capacity")).unwrap_or(u16::MAX),
        }
    }

    fn control_ui(&mut self) -> ControlUi {
        let any = |text: &str| {
            (text.trim() == "*").then(|| "*".to_string()).or_else(|| values::origin(text))
        };
        let hint = "write scheme://host[:port], such as https://gate.example, or *";
        ControlUi {
            enabled: self.found.flag("controlUi.enabled"),
            base_path: self.base_path(),
            root: self.ui_root(),
            allowed_origins: self.entries("controlUi.allowedOrigins", hint, any),
            allow_insecure_auth: self.found.flag("controlUi.allowInsecureAuth"),
            dangerously_disable_device_auth: self
                .found
                .flag("controlUi.dangerouslyDisableDeviceAuth"),
            dangerously_allow_host_header_origin_fallback: self
                .found
                .flag("controlUi.dangerouslyAllowHostHeaderOriginFallback"),
        }
    }

    fn base_path(&mut self) -> String {
        let Some((text, line)) = self.found.text("controlUi.basePath") else {
            return String::new();
        };
        values::base_path(text).unwrap_or_else(|| {
            let message = format!("gateway.controlUi.basePath cannot be {}", quote(text));
            self.error(line, "controlUi.basePath", message, "write a path such as /gateway");
            String::new()
        })
    }

    fn ui_root(&mut self) -> Option<PathBuf> {
        let (text, line) =
            self.found.text("controlUi.root").filter(|(text, _)| !text.is_empty())?;
        let root = self.beside_config(text);
        if !self.env.exists(&root.join("index.html")) {
            let message =
                format!("gateway.controlUi.root names {}, where no index.html is", root.display());
            self.warning(
                line,
                "controlUi.root",
                message,
                "give the directory of a built Control UI, or leave it out",
            );
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
            auto_approve_local: self.found.flag("nodes.pairing.autoApproveLocal"),
            auto_approve_cidrs: self.ranges("nodes.pairing.autoApproveCidrs"),
            allow_commands: self.commands("nodes.commands.allow", "nodes.allowCommands"),
            deny_commands: self.commands("nodes.commands.deny", "nodes.denyCommands"),
        }
    }

    /// Merges the commands of the current key with those of its protocol 3 name.
    fn commands(&mut self, key: &'static str, old_key: &'static str) -> Vec<String> {
        let word = |text: &str| {
            Some(text.trim().to_string())
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
        let Some((text, line)) = self.found.text("upstream.url") else {
            let orphan =
                self.found.line("upstream.token").or(self.found.line("upstream.tokenFile"));
            if let Some(line) = orphan.filter(|_| !self.found.is_bad("upstream.url")) {
                let message = "gateway.upstream has a token and no URL".to_string();
                self.error(line, "upstream.url", message, "set gateway.upstream.url");
            }
            return None;
        };
        let Some(url) = values::websocket_url(text) else {
            let hint = "write ws://host:port; this build has no TLS";
            self.error(
                line,
                "upstream.url",
                "gateway.upstream.url is not a WebSocket URL".to_string(),
                hint,
            );
            return None;
        };
        Some(Upstream { url, token })
    }

    fn upstream_token(&mut self) -> Option<Secret> {
        let file = self.found.text("upstream.tokenFile");
        let token = self.found.text("upstream.token").filter(|(text, _)| !text.is_empty());
        match (token, file) {
            (Some(_), Some((_, line))) => {
                let message = "gateway.upstream.token and gateway.upstream.tokenFile are both set"
                    .to_string();
                self.error(line, "upstream.tokenFile", message, "remove one of them");
                None
            }
            (Some((text, _)), None) => Some(Secret::new(text)),
            (None, Some((text, line))) => {
                let path = self.beside_config(text);
                self.search(false).config_file("gateway.upstream.tokenFile", line, &path)
            }
            (None, None) => None,
        }
    }

    /// Returns a search for secrets. `exposed` means that other machines can connect.
    pub fn search(&mut self, exposed: bool) -> Search<'_> {
        Search { env: self.env, found: self.found, problems: self.problems, exposed }
    }

    /// Returns the key's line in the file, 0 if the key is absent.
    pub fn line(&self, key: &str) -> u32 {
        self.found.line(key).unwrap_or(0)
    }

    /// Reports an error about `gateway.{key}`.
    pub fn error(&mut self, line: u32, key: &str, message: String, hint: &str) {
        self.problems.error(line, &format!("gateway.{key}"), message, hint);
    }

    pub fn warning(&mut self, line: u32, key: &str, message: String, hint: &str) {
        self.problems.warning(line, &format!("gateway.{key}"), message, hint);
    }

    fn settings(&self) -> Vec<Setting> {
        let used =
            schema::KEYS.iter().filter(|key| !matches!(key.kind, Kind::Section | Kind::NotUsed));
        used.map(|key| {
            let path = format!("gateway.{}", key.path);
            match self.in_force.iter().find(|(path, ..)| *path == key.path) {
                Some((_, value, source)) => {
                    Setting { path, value: value.clone(), source: source.clone() }
                }
                None => {
                    let source = self.found.line(key.path).map_or(Source::Default, Source::Config);
                    Setting { path, value: shown(self.found, key.path, key.kind), source }
                }
            }
        })
        .collect()
    }
}

/// Formats the key's value for display, with secrets as fingerprints and without URL credentials.
fn shown(found: &Found, path: &str, kind: Kind) -> String {
    let text = || found.text(path).map(|(text, _)| text);
    match kind {
        Kind::Flag(_) => found.flag(path).to_string(),
        Kind::Number(..) => found.number(path).to_string(),
        Kind::Text => print::without_login(text().unwrap_or_default()).to_string(),
        Kind::Word(words) => {
            text().unwrap_or(words.first().copied().unwrap_or_default()).to_string()
        }
        Kind::Secret => text().map(|text| fingerprint(&Secret::new(text))).unwrap_or_default(),
        Kind::List => found
            .list(path)
            .iter()
            .map(|item| print::without_login(&item.text))
            .collect::<Vec<_>>()
            .join(", "),
        Kind::Section | Kind::NotUsed => String::new(),
    }
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
