//! `gatelet events`: prints the running gateway's events, one per line, until the gateway stops or
//! standard output is closed.

use super::context::Context;
use super::format::clean;
use super::{emit, CommandError, Done, Exit, Output};
use crate::client::in_ms;
use crate::gate::limits;
use crate::gate::text::cut;
use crate::server;
use crate::wire::frames::FromGateway;
use crate::wire::json::{self, Value};

/// Prints the events whose names begin with one of the prefixes, or all events if there are none.
pub fn run(context: &Context, filter: &[String]) -> Done {
    let mut client = context.running()?;
    loop {
        let gone = |why: &str| {
            CommandError::new(Exit::NotRunning, ["the gateway is gone: ", why].concat())
        };
        let message =
            client.next(in_ms(limits::CLI_SILENCE_MS)).map_err(|error| gone(&error.message))?;
        let message = message.ok_or_else(|| gone("it says nothing any more"))?;
        let Ok(FromGateway::Event { name, payload, .. }) = FromGateway::parse(message.as_bytes())
        else {
            continue;
        };
        let wanted = filter.is_empty() || filter.iter().any(|word| name.starts_with(word.as_str()));
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
    [style.dim(&time).as_str(), " ", &style.bold(&clean(name)), " ", &short(payload.raw()), "\n"]
        .concat()
}

/// Shortens the payload to [`SHOWN`] bytes.
fn short(payload: &str) -> String {
    let shown = cut(payload, SHOWN);
    let more = if shown.len() < payload.len() { " ..." } else { "" };
    clean(shown) + more
}

const SHOWN: usize = 200;
