//! `gatelet events`: prints the running gateway's events, one per line, until the gateway stops or
//! standard output is closed.

use super::args::{action, Command};
use super::context::Context;
use super::format::clean;
use super::output::{emit, CommandError, CommandResult, Exit, Output};
use crate::client::in_ms;
use crate::gate::limits;
use crate::gate::text::cut;
use crate::server;
use crate::wire::frames::FromGateway;
use crate::wire::json::{self, Value};

pub const COMMANDS: &[Command] = &[Command {
    name: "events",
    usage: "[--filter LIST]",
    options: &["filter"],
    summary: "print events of the running gateway as they occur",
    details: "
  gatelet events
  gatelet events --filter node.,device.pair
  gatelet events --json | jq .payload

LIST contains names of events or their first characters. Ends with exit code 4 when the gateway
stops.
",
    parse: |args| action(args.list("filter"), events),
    ..Command::BASE
}];

/// Prints the events whose names begin with one of the prefixes, or all events if there are none.
fn events(context: &Context, filter: Vec<String>) -> CommandResult {
    let mut client = context.running()?;
    loop {
        let lost = |reason: &str| {
            let message = format!("the connection to the gateway is lost: {reason}");
            CommandError::new(Exit::NotRunning, message)
        };
        let message =
            client.next(in_ms(limits::CLI_SILENCE_MS)).map_err(|error| lost(&error.message))?;
        let message = message.ok_or_else(|| lost("no message within the time limit"))?;
        let Ok(FromGateway::Event { name, payload, .. }) = FromGateway::parse(message.as_bytes())
        else {
            continue;
        };
        let wanted =
            filter.is_empty() || filter.iter().any(|prefix| name.starts_with(prefix.as_str()));
        if wanted && !emit(&line(context, &name, payload.unwrap_or(Value::EMPTY))) {
            return Output::ok("");
        }
    }
}

fn line(context: &Context, name: &str, payload: Value<'_>) -> String {
    let time = server::timestamp();
    if context.json {
        let object = json::object(|o| {
            o.str("time", &time);
            o.str("event", name);
            o.raw("payload", payload.raw().as_bytes());
        });
        return String::from_utf8_lossy(&object).into_owned() + "\n";
    }
    let style = context.style;
    let name = style.bold(&clean(name));
    format!("{} {name} {}\n", style.dim(&time), short(payload.raw()))
}

/// Shortens the payload to [`SHOWN`] bytes.
fn short(payload: &str) -> String {
    let shown = cut(payload, SHOWN);
    let more = if shown.len() < payload.len() { " ..." } else { "" };
    clean(shown) + more
}

const SHOWN: usize = 200;
