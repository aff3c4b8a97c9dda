//! `gatelet token show|rotate`: the shared token.
//!
//! Rotation replaces only the token file that gatelet created. A running gateway reads that file at
//! start and when its configuration changes, and uses the old token until then.

#![expect(clippy::disallowed_methods, reason = "makes a token when no gateway runs")]

use super::args::{action, Command};
use super::context::Context;
use super::format::shown_text;
use super::output::{parse_answer, CommandError, CommandResult, Exit, Output};
use crate::client::{ClientError, GatewayClient};
use crate::config::{self, AuthMode, Config, Secret, Source, Sourced, SystemEnv};
use crate::store;
use crate::wire::base64;
use crate::wire::json;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "token",
        usage: "COMMAND",
        summary: "show or rotate the token of the gateway",
        details: "\n  gatelet token show\n  gatelet token rotate\n",
        ..Command::BASE
    },
    Command {
        name: "token show",
        summary: "print the token in force, and nothing else",
        details: "
  gatelet token show
  TOKEN=$(gatelet token show)

Fails if the running gateway uses a token that this command cannot read, such as one of a variable
that only the gateway has.
",
        parse: |_| action((), |context, ()| show(context)),
        ..Command::BASE
    },
    Command {
        name: "token rotate",
        summary: "create a new token; paired devices stay paired",
        details: "
  gatelet token rotate

Works only for the token that gatelet created. A token that is set by a variable or the
configuration is changed there; the error message names the place. A running gateway uses the new
token after its next start or the next change of its configuration.
",
        parse: |_| action((), |context, ()| rotate(context)),
        ..Command::BASE
    },
];

/// Prints the token in force.
fn show(context: &Context) -> CommandResult {
    let running = Running::ask(context)?;
    let token = match &running {
        Some(running) => running.token(context)?,
        None => configured(context)?,
    };
    if context.json {
        return Output::json(&json::object(|o| {
            o.str("token", token.value.expose());
            o.shown("source", &token.source);
            o.str("fingerprint", &token.value.fingerprint());
            o.bool("running", running.is_some());
        }));
    }
    let note = match &running {
        Some(_) if !context.terminal => String::new(),
        Some(running) => format!("in force in the running gateway, from {}", running.source),
        None => {
            format!("no gateway is running: the token of the next start, from {}", token.source)
        }
    };
    Ok(Output { text: format!("{}\n", token.value.expose()), note, exit: Exit::Ok })
}

/// Writes a new token into the state directory.
fn rotate(context: &Context) -> CommandResult {
    let config = context.config()?;
    only_token(config)?;
    if let Some(Sourced { source, .. }) = &config.auth.secret {
        if !matches!(source, Source::StateFile(_)) {
            return Err(CommandError::failed(format!(
                "the token comes from {}; change it there and restart the gateway",
                location(source)
            )));
        }
    }
    let path = context.paths()?.token_file();
    let running = Running::ask(context)?;
    if let Some(running) = running.as_ref().filter(|running| !running.is_created()) {
        return Err(CommandError::failed(format!(
            "the token of the running gateway comes from {}; change it there and restart the gateway",
            running.source()
        )));
    }
    let running = running.is_some();
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|_| CommandError::failed("the system provides no random bytes"))?;
    let token = Secret::new(base64::encode_url(&bytes));
    let write = store::replace_private(&path, token.expose().as_bytes());
    write.map_err(|error| {
        CommandError::failed(format!("cannot write {}: {error}", path.display()))
    })?;
    if context.json {
        return Output::json(&json::object(|o| {
            o.str("fingerprint", &token.fingerprint());
            o.bool("restartNeeded", running);
        }));
    }
    let then = if running {
        "; the running gateway uses it after its next start or the next change of its configuration"
    } else {
        ""
    };
    Output::ok(format!(
        "new token {} in {}{then}\npaired devices stay paired; `gatelet token show` prints the token\n",
        token.fingerprint(),
        path.display()
    ))
}

/// Authentication of the running gateway, as far as it shows it.
pub struct Running {
    /// Answer of `gatelet.status`.
    pub status: String,
    /// Name of the authentication mode.
    pub mode: String,
    /// Source of the secret; empty if there is none.
    pub source: String,
    fingerprint: String,
}

impl Running {
    /// Asks the running gateway. Returns `None` if none is running.
    pub fn ask(context: &Context) -> Result<Option<Running>, CommandError> {
        let Some(mut client) = context.gateway()? else { return Ok(None) };
        let status = client.call("gatelet.status", "{}")?;
        let value = parse_answer(&status)?;
        let text = |key| shown_text(&value, key);
        let (mode, source) = (text("authMode"), text("secretSource"));
        let fingerprint = text("secretFingerprint");
        Ok(Some(Running { status, mode, source, fingerprint }))
    }

    /// Returns the token in force. Error if there is none, or this command cannot read it: a
    /// gateway never sends its token.
    pub fn token(&self, context: &Context) -> Result<Sourced<Secret>, CommandError> {
        if self.mode != AuthMode::Token.name() {
            return Err(no_token(&self.mode));
        }
        let own = context.loaded.config.as_ref().and_then(|config| config.auth.secret.clone());
        let created = config::created_token(context.paths()?, &SystemEnv);
        let mut readable = own.clone().into_iter().chain(created);
        readable.find(|own| self.uses(context, &own.value)).ok_or_else(|| {
            if self.is_created() {
                return CommandError::failed(format!(
                    "the token in {} was changed since the gateway read it; restart the gateway",
                    self.source
                ));
            }
            let own = own.map_or("no token".to_string(), |own| {
                format!("another one ({}, from {})", own.value.fingerprint(), own.source)
            });
            CommandError::failed(format!(
                "the token of the running gateway ({}, from {}) cannot be read here; this command has {own}; \
                 run it with the same variables and options as the gateway, or use `gatelet pair`",
                self.fingerprint,
                self.source()
            ))
        })
    }

    /// Returns whether the token is the one in the state directory, which this command shares.
    fn is_created(&self) -> bool {
        self.source.starts_with("state file ")
    }

    /// Returns whether the gateway uses this token. A short token has no fingerprint to compare, so
    /// it is tried.
    fn uses(&self, context: &Context, token: &Secret) -> bool {
        let is_rejected = || {
            let address = context.address().ok().flatten();
            let tried = address.map(|at| GatewayClient::connect(at, token.expose()));
            matches!(tried, Some(Err(ClientError::Refused(_))))
        };
        self.fingerprint == token.fingerprint() && (token.has_fingerprint() || !is_rejected())
    }

    fn source(&self) -> String {
        match self.source.as_str() {
            "" => "no source".to_string(),
            source if source.contains([' ', '-']) => source.to_string(),
            variable => format!("the variable {variable} of the gateway"),
        }
    }
}

/// Returns the token of the next start. Error with a hint if there is none.
pub fn configured(context: &Context) -> Result<Sourced<Secret>, CommandError> {
    let config = context.config()?;
    only_token(config)?;
    let missing = || {
        CommandError::failed("there is no token yet; `gatelet run` creates one at its first start")
    };
    config.auth.secret.clone().ok_or_else(missing)
}

fn only_token(config: &Config) -> Result<(), CommandError> {
    match config.auth.mode {
        AuthMode::Token => Ok(()),
        mode => Err(no_token(mode.name())),
    }
}

fn no_token(mode: &str) -> CommandError {
    CommandError::failed(format!("there is no token: gateway.auth.mode is \"{mode}\""))
}

fn location(source: &Source) -> String {
    match source {
        Source::Config(line) => format!("the configuration (gateway.auth.token, line {line})"),
        Source::EnvFile(name, path) => format!("the file {} that {name} names", path.display()),
        Source::Env(name) => format!("the variable {name}"),
        other => other.to_string(),
    }
}
