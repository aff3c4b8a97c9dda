//! `gatelet status` and `gatelet health`: state of the running gateway.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::context::{failure, Context};
use super::devices::parse;
use super::format::{clean, number, span, texts, word};
use super::{CommandError, Done, Exit, Output};
use crate::client::get_status;
use crate::config::Bind;
use crate::store;
use crate::wire::json::{self, Value};

/// Prints the state of the running gateway. Exit code 4 if none is running.
pub fn status(context: &Context) -> Done {
    let Some(mut client) = context.gateway()? else { return stopped(context) };
    let text = client.call("gatelet.status", "{}")?;
    if context.json {
        return Output::json(text.as_bytes());
    }
    let value = parse(&text)?;
    let table = value.get("table").unwrap_or(Value::EMPTY);
    let lines = [
        (
            "gateway",
            format!(
                "{} version {}, pid {}, for {}",
                context.style.good("running"),
                word(&value, "version"),
                number(&value, "pid"),
                span(number(&value, "uptimeMs"))
            ),
        ),
        ("open", format!("{}  (with the token: `gatelet url`)", word(&value, "url"))),
        ("listening", clean(&texts(&value, "listening").join(", "))),
        (
            "signing in",
            format!("{}, pairing {}", word(&value, "authMode"), word(&value, "pairingMode")),
        ),
        ("secret", secret(&value)),
        (
            "connected",
            format!(
                "{} operators (this command is one), {} nodes, {} not signed in",
                number(&value, "operators"),
                number(&value, "nodes"),
                number(&value, "unauthenticated")
            ),
        ),
        ("devices", format!("{} of {}", number(&table, "used"), number(&table, "capacity"))),
    ];
    let mut out = String::new();
    for (name, text) in lines {
        out.push_str(&format!("{name:<12}{text}\n"));
    }
    for warning in texts(&value, "warnings") {
        out.push_str(&format!("{:<12}{}\n", context.style.warn("warning"), clean(&warning)));
    }
    Output::ok(out)
}

/// Exit code 0 if `GET /healthz` is answered with 200 on this machine, else 1.
pub fn health(context: &Context) -> Done {
    let address = match context.address() {
        Ok(Some(address)) => address,
        // Without access to the state directory, try the configured port.
        Ok(None) | Err(_) => configured(context)?,
    };
    match get_status(address, "/healthz") {
        Ok(200) if context.json => Output::json(b"{\"ok\":true}"),
        Ok(200) => Output::ok("ok\n"),
        Ok(status) => {
            Err(CommandError::failed(format!("the gateway at {address} answers {status}")))
        }
        Err(error) => {
            Err(CommandError::failed(format!("no gateway answers at {address}: {error}")))
        }
    }
}

fn configured(context: &Context) -> Result<SocketAddr, CommandError> {
    let config = context.config()?;
    let host = match config.bind {
        Bind::Custom(address) if !address.is_unspecified() => address,
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    Ok(SocketAddr::new(host, config.port))
}

/// Reports that no gateway is running, with the state directory and a hint.
fn stopped(context: &Context) -> Done {
    let dir = context.state_dir()?;
    let held = store::in_use(dir).map_err(failure)?;
    let state = if held { "starting or busy" } else { "not running" };
    let exit = Exit::NotRunning;
    if context.json {
        let text = super::pretty(&json::object(|o| {
            o.bool("running", false);
            o.str("state", state);
            o.shown("stateDir", &dir.display());
        }));
        return Output::with(text, exit);
    }
    let hint = match (held, &context.loaded.config) {
        (true, _) => "another gatelet process has the table",
        (false, Some(_)) => "start it with `gatelet run`",
        (false, None) => "it would not start: see `gatelet config check`",
    };
    let text = format!(
        "{:<12}{}; {hint}\n{:<12}{}\n",
        "gateway",
        context.style.bad(state),
        "state",
        dir.display()
    );
    Output::with(text, exit)
}

fn secret(value: &Value<'_>) -> String {
    let source = word(value, "secretSource");
    if source.is_empty() {
        return "none".to_string();
    }
    format!("from {source}, fingerprint {}", word(value, "secretFingerprint"))
}
