//! `gatelet logs`: prints the last lines of the running gateway's log, and new lines with
//! `--follow`.
//!
//! With `--follow` it polls once a second with its cursor, and reconnects after a restart of the
//! gateway. It ends when standard output is closed.

use std::thread::sleep;
use std::time::Duration;

use log::Level;

use super::args::{action, Args, Command};
use super::context::Context;
use super::format::clean;
use super::format::truth;
use super::output::{complain, emit, parse_answer, CommandError, CommandResult, Exit, Output};
use crate::client::GatewayClient;
use crate::gate::limits;
use crate::wire::json::{self, Value};

pub const COMMANDS: &[Command] = &[Command {
    name: "logs",
    usage: "[--follow] [--level LEVEL] [--limit NUMBER]",
    options: &["follow", "level", "limit"],
    summary: "print the log of the running gateway",
    details: "
  gatelet logs                            the last 200 lines
  gatelet logs --follow --level warn      warnings and errors, as they are logged

The gateway keeps its last 512 lines in memory; no file is needed. LEVEL is error, warn, info, debug
or trace. Which levels are logged at all is set by GATELET_LOG at the start of the gateway. With
--follow (-f) the command waits for a gateway that is restarted.
",
    parse: |args| action(LogsOptions::parse(args)?, logs),
    ..Command::BASE
}];

/// `logs ...`
#[derive(Debug)]
struct LogsOptions {
    follow: bool,
    /// Least severe level that is printed.
    level: Level,
    /// Maximum number of existing lines to print.
    limit: usize,
}

impl LogsOptions {
    fn parse(args: &Args) -> Result<LogsOptions, CommandError> {
        let level = args.get("level").unwrap_or("trace");
        let level = level.parse().map_err(|_| {
            args.error(format!("`--level {level}`: expected error, warn, info, debug or trace"))
        })?;
        let limit = args.number("limit")?.map_or(DEFAULT_LIMIT, |limit| limit as usize);
        Ok(LogsOptions { follow: args.has("follow"), level, limit })
    }
}

/// Default of `--limit`.
const DEFAULT_LIMIT: usize = 200;

fn logs(context: &Context, options: LogsOptions) -> CommandResult {
    let mut client = context.running()?;
    let mut cursor = None;
    loop {
        let text = match client.call("logs.tail", &params(cursor)) {
            Ok(text) => text,
            Err(error) if options.follow && error.is_lost() => {
                client = reconnect(context)?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let tail = parse_answer(&text)?;
        if truth(&tail, "truncated") && cursor.is_some() {
            complain("some lines are missing here: the gateway did not keep them all");
        }
        let lines = lines(context, options.level, &tail);
        let skipped = if cursor.is_none() { lines.len().saturating_sub(options.limit) } else { 0 };
        cursor = tail.get("cursor").and_then(|cursor| cursor.as_u64());
        if !lines[skipped..].iter().all(|line| emit(line)) || !options.follow {
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
fn reconnect(context: &Context) -> Result<GatewayClient, CommandError> {
    complain("the connection to the gateway is lost; waiting for the gateway");
    loop {
        sleep(Duration::from_millis(limits::CLI_POLL_MS));
        match context.gateway() {
            Ok(Some(client)) => {
                complain("connected to the gateway again");
                return Ok(client);
            }
            Err(failure) if failure.exit == Exit::Refused => return Err(failure),
            // The gateway is not running yet or is starting.
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
    let severity = level.parse::<Level>().ok()?;
    if severity > least {
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
    let level = match severity {
        Level::Error => style.bad(&level),
        Level::Warn => style.warn(&level),
        _ => style.dim(&level),
    };
    Some(format!("{} {level} {message}\n", style.dim(&time)))
}
