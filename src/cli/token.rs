//! `gatelet token show|rotate`: the shared token.
//!
//! Rotation replaces only the token file that gatelet created. A running gateway reads that file at
//! start and when its configuration changes, and uses the old token until then.

#![expect(clippy::disallowed_methods, reason = "makes a token when no gateway runs")]

use super::context::Context;
use super::{CommandError, Done, Output};
use crate::config::{AuthMode, Config, Secret, Source, Sourced};
use crate::store;
use crate::wire::base64;
use crate::wire::json;

/// Prints the token in force.
pub fn show(context: &Context) -> Done {
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
pub fn rotate(context: &Context) -> Done {
    let config = context.config()?;
    only_token(config)?;
    if let Some(Sourced { source, .. }) = &config.auth.secret {
        if !matches!(source, Source::StateFile(_)) {
            return Err(CommandError::failed(format!(
                "the token comes from {}; change it there and restart the gateway",
                place(source)
            )));
        }
    }
    let path = context.paths()?.token_file();
    let running = context.address()?.is_some();
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|_| CommandError::failed("the system gives no random bytes"))?;
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
        "; the running gateway uses it from its next start, or the next change of its configuration"
    } else {
        ""
    };
    Output::ok(format!(
        "new token {} in {}{then}\npaired devices stay paired; see it with `gatelet token show`\n",
        token.fingerprint(),
        path.display()
    ))
}

/// Returns the token in force. Error with a hint if there is none.
pub(super) fn in_force(context: &Context) -> Result<&Sourced<Secret>, CommandError> {
    let config = context.config()?;
    only_token(config)?;
    let missing = || {
        CommandError::failed("there is no token yet; `gatelet run` makes one at its first start")
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

fn place(source: &Source) -> String {
    match source {
        Source::Config(line) => format!("the configuration (gateway.auth.token, line {line})"),
        Source::EnvFile(name, path) => format!("the file {} that {name} names", path.display()),
        Source::Env(name) => format!("the variable {name}"),
        other => other.to_string(),
    }
}
