//! Reads `gateway.auth`: selects the mode and its secret, and rejects insecure combinations.

use super::build::{fingerprint, name_of, Builder};
use super::parse::suggest;
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
            AuthMode::Token => secret = token.or_else(|| self.created_token(exposed)),
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
                "gateway.tailscale.mode \"funnel\" requires a password, but the auth mode is \"{}\"",
                mode.name()
            );
            let hint =
                "set gateway.auth.mode to \"password\", or gateway.tailscale.mode to \"serve\"";
            self.error("tailscale.mode", message, hint);
        }
        self.in_force.push(("auth.mode", mode.name().to_string(), source));
        Some(AuthConfig {
            mode,
            secret,
            allow_tailscale: self.allow_tailscale(mode, tailscale),
            strict_clock: self.file_values.flag("auth.strictClock"),
            rate_limit: self.rate_limit(),
            trusted_proxy: proxy.filter(|_| mode == AuthMode::TrustedProxy),
        })
    }

    fn mode(
        &mut self,
        token: Option<&Sourced<Secret>>,
        password: Option<&Sourced<Secret>>,
    ) -> Option<Sourced<AuthMode>> {
        let flag = self.problems.first(self.env, ("--auth", self.args.auth.as_ref()), []);
        let (word, source) = match (&flag, self.file_values.text("auth.mode")) {
            (Some(word), _) => (word.value.as_str(), word.source.clone()),
            (None, Some((word, line))) => (word, Source::Config(line)),
            (None, None) if self.file_values.is_invalid("auth.mode") => return None,
            (None, None) => return self.mode_by_secret(token, password),
        };
        let value = match word {
            "none" => AuthMode::None,
            "token" => AuthMode::Token,
            "password" => AuthMode::Password,
            "trusted-proxy" => AuthMode::TrustedProxy,
            other => {
                self.invalid_word("auth.mode", other, &source, suggest(other, AUTH_MODES));
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
                let (token, token_line) = name_of(TOKEN.key, &token.source);
                let (password, password_line) = name_of(PASSWORD.key, &password.source);
                let message = format!(
                    "a token ({token}) and a password ({password}) are set, but no gateway.auth.mode"
                );
                let hint = "set gateway.auth.mode to \"token\" or \"password\"";
                self.error_at(token_line.max(password_line), "auth.mode", message, hint);
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
        let message = format!(
            "{name} \"none\" requires a loopback bind, but the bind is \"{}\"",
            bind.name()
        );
        let hint = "set gateway.auth.mode to \"token\", or gateway.bind to \"loopback\"";
        self.problems.error(line, &name, message, hint);
    }

    /// Reports `*` in `controlUi.allowedOrigins` with auth mode `none`. Without a secret, the
    /// Origin check is the only protection against a foreign web page in a browser on this machine.
    pub fn check_origins(&mut self, auth: Option<&AuthConfig>, ui: &ControlUi) {
        if auth.is_some_and(|auth| auth.mode == AuthMode::None)
            && ui.allowed_origins.iter().any(|origin| origin == "*")
        {
            let message =
                "gateway.controlUi.allowedOrigins contains *, and the auth mode is \"none\": \
                any web page in a browser on this machine would have full access";
            let hint = "list the allowed origins, or set gateway.auth.mode to \"token\"";
            self.error("controlUi.allowedOrigins", message, hint);
        }
    }

    fn check_password(&mut self, is_set: bool, source: &Source) {
        if is_set || self.file_values.is_invalid(PASSWORD.key) {
            return;
        }
        let (name, line) = name_of("auth.mode", source);
        let message = format!("{name} is \"password\" but no password is set");
        let hint = "set gateway.auth.password or GATELET_PASSWORD_FILE";
        self.problems.error(line, &name, message, hint);
    }

    fn check_proxy(&mut self, has_header: bool, trusted: &[Cidr], secret: Option<Sourced<Secret>>) {
        let line = self.line("auth.mode");
        let header = "auth.trustedProxy.userHeader";
        if !has_header && !self.file_values.is_invalid(header) {
            let message =
                "gateway.auth.mode \"trusted-proxy\" requires gateway.auth.trustedProxy.userHeader";
            let hint = "set it to the header in which the proxy sends the user name";
            self.error_at(line, header, message, hint);
        }
        if trusted.is_empty() {
            let message = "gateway.auth.mode \"trusted-proxy\" requires gateway.trustedProxies";
            self.error_at(line, "trustedProxies", message, "list the addresses of the proxy");
        }
        if let Some(secret) = secret {
            let (name, line) = name_of("auth.token or gateway.auth.password", &secret.source);
            let message = format!("{name} is set, and gateway.auth.mode is \"trusted-proxy\"");
            let hint = "remove the secret, or set the mode to \"token\" or \"password\"";
            self.error_at(line, "auth.mode", message, hint);
        }
    }

    fn created_token(&mut self, exposed: bool) -> Option<Sourced<Secret>> {
        let file = self.paths.map(Paths::token_file)?;
        let made = self.search(exposed).read_state_file(file);
        self.note_secret(TOKEN.key, made.as_ref());
        made
    }

    fn note_secret(&mut self, key: &'static str, secret: Option<&Sourced<Secret>>) {
        if let Some(secret) = secret {
            self.in_force.push((key, fingerprint(&secret.value), secret.source.clone()));
        }
    }

    fn trusted_proxy(&mut self) -> Option<TrustedProxy> {
        let hint = "use the name of a header, such as x-forwarded-user";
        let user = |text: &str| Some(text.to_string()).filter(|user| !user.is_empty());
        let required_headers =
            self.entries("auth.trustedProxy.requiredHeaders", hint, values::header);
        let allow_users =
            self.entries("auth.trustedProxy.allowUsers", "write the name of a user", user);
        let allow_loopback = self.file_values.flag("auth.trustedProxy.allowLoopback");
        let user_header = self.parsed("auth.trustedProxy.userHeader", hint, values::header)?;
        Some(TrustedProxy { user_header, required_headers, allow_users, allow_loopback })
    }

    fn rate_limit(&self) -> RateLimit {
        RateLimit {
            max_attempts: self.file_values.number("auth.rateLimit.maxAttempts"),
            window_ms: self.file_values.number("auth.rateLimit.windowMs"),
            lockout_ms: self.file_values.number("auth.rateLimit.lockoutMs"),
        }
    }

    /// Returns `gateway.auth.allowTailscale`. The default is true with Tailscale mode `serve`,
    /// except in auth mode `password` (OpenClaw protocols 3 and 4).
    fn allow_tailscale(&mut self, mode: AuthMode, tailscale: TailscaleMode) -> bool {
        if self.file_values.line("auth.allowTailscale").is_some() {
            return self.file_values.flag("auth.allowTailscale");
        }
        let allowed = tailscale == TailscaleMode::Serve && mode != AuthMode::Password;
        self.in_force.push(("auth.allowTailscale", allowed.to_string(), Source::Default));
        allowed
    }
}
