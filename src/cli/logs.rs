//! `gatelet logs`: prints the last lines of the running gateway's log, and new lines with
//! `--follow`.
//!
//! With `--follow` it polls once a second with its cursor, and reconnects after a restart of the
//! gateway. It ends when standard output is closed.

use std::thread::sleep;
use std::time::Duration;

use log::Level;

use super::args::Logs;
use super::context::Context;
use super::devices::parse;
use super::format::clean;
use super::{complain, emit, CommandError, Done, Exit, Output};
use crate::client::GatewayClient;
use crate::gate::limits;
use crate::wire::json::{self, Value};

pub fn run(context: &Context, what: &Logs) -> Done {
    let mut client = context.running()?;
    let mut cursor = None;
    loop {
        let text = match client.call("logs.tail", &params(cursor)) {
            Ok(text) => text,
            Err(error) if what.follow && error.is_lost() => {
                client = back(context)?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let tail = parse(&text)?;
        let missing = tail.get("truncated").and_then(|truth| truth.as_bool()) == Some(true);
        if missing && cursor.is_some() {
            complain("lines are missing here: there were more than the gateway keeps");
        }
        let lines = lines(context, what.level, &tail);
        let skipped = if cursor.is_none() { lines.len().saturating_sub(what.limit) } else { 0 };
        cursor = tail.get("cursor").and_then(|cursor| cursor.as_u64());
        if !lines[skipped..].iter().all(|line| emit(line)) || !what.follow {
            return Output::ok("");
        }
        sleep(Duration::from_millis(limits::CLI_POLL_MS));
    }
}

fn params(cursor: Option<u64>) -> String {
    let params = json::object(|o| {
        o.opt_u64("cursor", cursor);
        o.u64("limit", limits::LOG_LINES as u64);
        o.u64("maxBytes", limits::LOG_BYTES as u64);
    });
    String::from_utf8(params).unwrap_or_default()
}

/// Reconnects to a gateway that was lost.
fn back(context: &Context) -> Result<GatewayClient, CommandError> {
    complain("the gateway is gone; waiting until it is back");
    loop {
        sleep(Duration::from_millis(limits::CLI_POLL_MS));
        match context.gateway() {
            Ok(Some(client)) => {
                complain("the gateway is back");
                return Ok(client);
            }
            Err(failure) if failure.exit == Exit::Refused => return Err(failure),
            // not started yet, or just starting
            Ok(None) | Err(_) => {}
        }
    }
}

/// Formats the lines of the answer that are severe enough.
fn lines(context: &Context, level: Level, tail: &Value<'_>) -> Vec<String> {
    let lines = tail.at("lines").items();
    lines.filter_map(|line| shown(context, level, &line.as_str()?)).collect()
}

fn shown(context: &Context, least: Level, line: &str) -> Option<String> {
    let value = json::parse(line.as_bytes(), limits::JSON_DEPTH).ok()?;
    let text =
        |value: Option<Value<'_>>| clean(&value.and_then(|text| text.as_str()).unwrap_or_default());
    let level = text(value.get("_meta")?.get("logLevelName")).to_ascii_lowercase();
    let (time, message) = (text(value.get("time")), text(value.get("1")));
    let grave = level.parse::<Level>().ok()?;
    if grave > least {
        return None;
    }
    if context.json {
        let object = json::object(|o| {
            o.str("time", &time);
            o.str("level", &level);
            o.str("message", &message);
        });
        return Some(String::from_utf8_lossy(&object).into_owned() + "\n");
    }
    let style = context.style;
    let level = match grave {
        Level::Error => style.bad(&level),
        Level::Warn => style.warn(&level),
        _ => style.dim(&level),
    };
    Some([style.dim(&time).as_str(), " ", &level, " ", &message, "\n"].concat())
}
