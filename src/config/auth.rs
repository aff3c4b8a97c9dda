//! Reads `gateway.auth`: selects the mode and its secret, and rejects insecure combinations.

use super::build::{fingerprint, name_of, Builder};
use super::parse::{quote, suggest};
use super::schema::AUTH_MODES;
use super::secrets::{Secret, PASSWORD, TOKEN};
use super::{
    values, AuthConfig, AuthMode, Bind, ControlUi, Paths, RateLimit, Source, Sourced,
    TailscaleMode, TrustedProxy,
};
use crate::gate::net::Cidr;

impl Builder<'_> {
    /// Returns the authentication settings, or `None` after reporting an error if the mode cannot
    /// be determined.
    pub fn auth(
        &mut self,
        bind: Option<Bind>,
        trusted: &[Cidr],
        tailscale: TailscaleMode,
    ) -> Option<AuthConfig> {
        let exposed = bind.is_some_and(|bind| !bind.is_loopback());
        let args = self.args;
        let token = self.search(exposed).find(&TOKEN, args.token.as_ref());
        let password = self.search(exposed).find(&PASSWORD, args.password.as_ref());
        self.note_secret(TOKEN.key, token.as_ref());
        self.note_secret(PASSWORD.key, password.as_ref());
        let proxy = self.trusted_proxy();
        let Sourced { value: mode, source } = self.mode(token.as_ref(), password.as_ref())?;
        let mut secret = None;
        match mode {
            AuthMode::None => self.check_none(bind, &source),
            AuthMode::Token => secret = token.or_else(|| self.made_token(exposed)),
            AuthMode::Password => {
                self.check_password(password.is_some(), &source);
                secret = password;
            }
            AuthMode::TrustedProxy => {
                self.check_proxy(proxy.is_some(), trusted, token.or(password))
            }
        }
        if tailscale == TailscaleMode::Funnel && mode != AuthMode::Password {
            let message = format!(
                "gateway.tailscale.mode \"funnel\" needs a password, and the auth mode is \"{}\"",
                mode.name()
            );
            let hint =
                "set gateway.auth.mode to \"password\", or gateway.tailscale.mode to \"serve\"";
            self.error(self.line("tailscale.mode"), "tailscale.mode", message, hint);
        }
        self.in_force.push(("auth.mode", mode.name().to_string(), source));
        Some(AuthConfig {
            mode,
            secret,
            allow_tailscale: self.allow_tailscale(mode, tailscale),
            strict_clock: self.found.flag("auth.strictClock"),
            rate_limit: self.rate_limit(),
            trusted_proxy: proxy.filter(|_| mode == AuthMode::TrustedProxy),
        })
    }

    fn mode(
        &mut self,
        token: Option<&Sourced<Secret>>,
        password: Option<&Sourced<Secret>>,
    ) -> Option<Sourced<AuthMode>> {
        let (word, source) = match (&self.args.auth, self.found.text("auth.mode")) {
            (Some(word), _) => (word.as_str(), Source::Flag("--auth")),
            (None, Some((word, line))) => (word, Source::Config(line)),
            (None, None) if self.found.is_bad("auth.mode") => return None,
            (None, None) => return self.mode_by_secret(token, password),
        };
        let value = match word {
            "none" => AuthMode::None,
            "token" => AuthMode::Token,
            "password" => AuthMode::Password,
            "trusted-proxy" => AuthMode::TrustedProxy,
            other => {
                let (name, line) = name_of("auth.mode", &source);
                self.problems.error(
                    line,
                    &name,
                    format!("{name} cannot be {}", quote(other)),
                    suggest(other, AUTH_MODES),
                );
                return None;
            }
        };
        Some(Sourced { value, source })
    }

    fn mode_by_secret(
        &mut self,
        token: Option<&Sourced<Secret>>,
        password: Option<&Sourced<Secret>>,
    ) -> Option<Sourced<AuthMode>> {
        let value = match (token, password) {
            (Some(token), Some(password)) => {
                let (token, password) = (
                    name_of("auth.token", &token.source),
                    name_of("auth.password", &password.source),
                );
                let message = format!(
                    "there are a token ({}) and a password ({}), and no gateway.auth.mode",
                    token.0, password.0
                );
                let hint = "set gateway.auth.mode to \"token\" or \"password\"";
                self.error(token.1.max(password.1), "auth.mode", message, hint);
                return None;
            }
            (None, Some(_)) => AuthMode::Password,
            _ => AuthMode::Token,
        };
        Some(Sourced { value, source: Source::Default })
    }

    fn check_none(&mut self, bind: Option<Bind>, source: &Source) {
        let Some(bind) = bind.filter(|bind| !bind.is_loopback()) else {
            return;
        };
        let (name, line) = name_of("auth.mode", source);
        let message =
            format!("{name} \"none\" needs a loopback bind, and the bind is \"{}\"", bind.name());
        let hint = "set gateway.auth.mode to \"token\", or gateway.bind to \"loopback\"";
        self.problems.error(line, &name, message, hint);
    }

    /// Reports `*` in `controlUi.allowedOrigins` with auth mode `none`. Without a secret, the
    /// Origin check is the only protection against a foreign web page in a browser on this machine.
    pub fn check_pages(&mut self, auth: Option<&AuthConfig>, ui: &ControlUi) {
        if auth.is_some_and(|auth| auth.mode == AuthMode::None)
            && ui.allowed_origins.iter().any(|one| one == "*")
        {
            let message =
                "gateway.controlUi.allowedOrigins has *, and the auth mode is \"none\": any page that a browser on \
                           this machine shows could do everything"
                    .to_string();
            let hint = "name the origins that you mean, or set gateway.auth.mode to \"token\"";
            self.error(
                self.line("controlUi.allowedOrigins"),
                "controlUi.allowedOrigins",
                message,
                hint,
            );
        }
    }

    fn check_password(&mut self, is_set: bool, source: &Source) {
        if is_set || self.found.is_bad(PASSWORD.key) {
            return;
        }
        let (name, line) = name_of("auth.mode", source);
        let message = format!("{name} is \"password\" and there is no password");
        self.problems.error(
            line,
            &name,
            message,
            "set gateway.auth.password or GATELET_PASSWORD_FILE",
        );
    }

    fn check_proxy(&mut self, has_header: bool, trusted: &[Cidr], secret: Option<Sourced<Secret>>) {
        let line = self.line("auth.mode");
        if !has_header && !self.found.is_bad("auth.trustedProxy.userHeader") {
            let message =
                "gateway.auth.mode \"trusted-proxy\" needs gateway.auth.trustedProxy.userHeader"
                    .to_string();
            self.error(
                line,
                "auth.trustedProxy.userHeader",
                message,
                "name the header in which the proxy puts the user",
            );
        }
        if trusted.is_empty() {
            let message =
                "gateway.auth.mode \"trusted-proxy\" needs gateway.trustedProxies".to_string();
            self.error(line, "trustedProxies", message, "list the addresses of the proxy");
        }
        if let Some(secret) = secret {
            let (name, line) = name_of("auth.token or gateway.auth.password", &secret.source);
            let message = format!("{name} is set, and gateway.auth.mode is \"trusted-proxy\"");
            self.error(
                line,
                "auth.mode",
                message,
                "remove the secret, or set the mode to \"token\" or \"password\"",
            );
        }
    }

    fn made_token(&mut self, exposed: bool) -> Option<Sourced<Secret>> {
        let file = self.paths.map(Paths::token_file)?;
        let made = self.search(exposed).state_file(file);
        self.note_secret(TOKEN.key, made.as_ref());
        made
    }

    fn note_secret(&mut self, key: &'static str, secret: Option<&Sourced<Secret>>) {
        if let Some(secret) = secret {
            self.in_force.push((key, fingerprint(&secret.value), secret.source.clone()));
        }
    }

    fn trusted_proxy(&mut self) -> Option<TrustedProxy> {
        let hint = "write the name of a header, such as x-forwarded-user";
        let required_headers =
            self.entries("auth.trustedProxy.requiredHeaders", hint, values::header);
        let user = |text: &str| Some(text.trim().to_string()).filter(|user| !user.is_empty());
        let allow_users =
            self.entries("auth.trustedProxy.allowUsers", "write the name of a user", user);
        let (text, line) = self.found.text("auth.trustedProxy.userHeader")?;
        let Some(user_header) = values::header(text) else {
            let message = format!("gateway.auth.trustedProxy.userHeader cannot be {}", quote(text));
            self.error(line, "auth.trustedProxy.userHeader", message, hint);
            return None;
        };
        let allow_loopback = self.found.flag("auth.trustedProxy.allowLoopback");
        Some(TrustedProxy { user_header, required_headers, allow_users, allow_loopback })
    }

    fn rate_limit(&self) -> RateLimit {
        RateLimit {
            max_attempts: self.found.number("auth.rateLimit.maxAttempts"),
            window_ms: self.found.number("auth.rateLimit.windowMs"),
            lockout_ms: self.found.number("auth.rateLimit.lockoutMs"),
        }
    }

    /// Returns `gateway.auth.allowTailscale`. The default is true with Tailscale mode `serve`,
    /// except in auth mode `password` (OpenClaw protocols 3 and 4).
    fn allow_tailscale(&mut self, mode: AuthMode, tailscale: TailscaleMode) -> bool {
        if self.found.line("auth.allowTailscale").is_some() {
            return self.found.flag("auth.allowTailscale");
        }
        let allowed = tailscale == TailscaleMode::Serve && mode != AuthMode::Password;
        self.in_force.push(("auth.allowTailscale", allowed.to_string(), Source::Default));
        allowed
    }
}
