//! `gatelet token show|rotate`: the shared token.
//!
//! Rotation replaces only the token file that gatelet created. A running gateway reads that file at
//! start and when its configuration changes, and uses the old token until then.

#![expect(clippy::disallowed_methods, reason = "makes a token when no gateway runs")]

use super::args::{action, Command};
use super::context::Context;
use super::output::{CommandError, CommandResult, Output};
use crate::config::{AuthMode, Config, Secret, Source, Sourced};
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
        details: "\n  gatelet token show\n  TOKEN=$(gatelet token show)\n",
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
    let token = in_force(context)?;
    if context.json {
        return Output::json(&json::object(|o| {
            o.str("token", token.value.expose());
            o.shown("source", &token.source);
            o.str("fingerprint", &token.value.fingerprint());
        }));
    }
    Output::ok(format!("{}\n", token.value.expose()))
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
    let running = context.address()?.is_some();
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

/// Returns the token in force. Error with a hint if there is none.
pub fn in_force(context: &Context) -> Result<&Sourced<Secret>, CommandError> {
    let config = context.config()?;
    only_token(config)?;
    let missing = || {
        CommandError::failed("there is no token yet; `gatelet run` creates one at its first start")
    };
    config.auth.secret.as_ref().ok_or_else(missing)
}

fn only_token(config: &Config) -> Result<(), CommandError> {
    match config.auth.mode {
        AuthMode::Token => Ok(()),
        mode => Err(CommandError::failed(format!(
            "there is no token: gateway.auth.mode is \"{}\"",
            mode.name()
        ))),
    }
}

fn location(source: &Source) -> String {
    match source {
        Source::Config(line) => format!("the configuration (gateway.auth.token, line {line})"),
        Source::EnvFile(name, path) => format!("the file {} that {name} names", path.display()),
        Source::Env(name) => format!("the variable {name}"),
        other => other.to_string(),
    }
}
