//! `gatelet status`: state of the running gateway.

use super::args::{action, Command};
use super::context::{store_error, Context};
use super::format::{clean, items, number, shown_text, span, texts};
use super::output::{parse_answer, pretty, CommandResult, Exit, Output};
use crate::store;
use crate::wire::json::{self, Value};

pub const COMMANDS: &[Command] = &[Command {
    name: "status",
    summary: "show the state of the gateway, its addresses and its connections",
    details: "\n  gatelet status\n  gatelet status --json\n",
    parse: |_| action((), |context, ()| status(context)),
    ..Command::BASE
}];

/// Prints the state of the running gateway. Exit code 4 if none is running.
fn status(context: &Context) -> CommandResult {
    let Some(mut client) = context.gateway()? else { return stopped(context) };
    let text = client.call("gatelet.status", "{}")?;
    if context.json {
        return Output::json(text.as_bytes());
    }
    let value = parse_answer(&text)?;
    let table = value.get("table").unwrap_or(Value::EMPTY);
    let lines = [
        (
            "gateway",
            format!(
                "{} version {}, pid {}, up {}",
                context.style.good("running"),
                shown_text(&value, "version"),
                number(&value, "pid"),
                span(number(&value, "uptimeMs"))
            ),
        ),
        ("open", format!("{}  (with the token: `gatelet url`)", shown_text(&value, "url"))),
        ("elsewhere", elsewhere(&value)),
        ("listening", clean(&texts(&value, "listening").join(", "))),
        (
            "auth",
            format!(
                "{}, pairing {}",
                shown_text(&value, "authMode"),
                shown_text(&value, "pairingMode")
            ),
        ),
        ("secret", secret(&value)),
        (
            "connected",
            format!(
                "{} operators (including this command), {} nodes, {} unauthenticated",
                number(&value, "operators"),
                number(&value, "nodes"),
                number(&value, "unauthenticated")
            ),
        ),
        ("devices", format!("{} of {}", number(&table, "used"), number(&table, "capacity"))),
        ("limits", budgets(&value)),
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

/// Reports that no gateway is running, with the state directory and a hint.
fn stopped(context: &Context) -> CommandResult {
    let dir = context.state_dir()?;
    let in_use = store::in_use(dir).map_err(store_error)?;
    let state = if in_use { "starting or busy" } else { "not running" };
    let exit = Exit::NotRunning;
    if context.json {
        let text = pretty(&json::object(|o| {
            o.bool("running", false);
            o.str("state", state);
            o.shown("stateDir", &dir.display());
        }));
        return Output::with(text, exit);
    }
    let hint = match (in_use, &context.loaded.config) {
        (true, _) => "another gatelet process uses the table",
        (false, Some(_)) => "start it with `gatelet run`",
        (false, None) => "the configuration is invalid: see `gatelet config check`",
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

/// Returns the addresses for other devices.
fn elsewhere(value: &Value<'_>) -> String {
    let urls = texts(value, "urls");
    match urls.is_empty() {
        true => "no address for other devices is known; `gatelet url` says what to set".to_string(),
        false => clean(&urls.join(", ")),
    }
}

/// Returns the limits of which at least half was used at a time.
fn budgets(value: &Value<'_>) -> String {
    let near = |budget: &Value<'_>| 2 * number(budget, "peak") >= number(budget, "limit");
    let shown: Vec<String> = items(value, "budgets")
        .filter(near)
        .map(|budget| {
            let [used, peak, limit] = ["used", "peak", "limit"].map(|name| number(&budget, name));
            let kind = shown_text(&budget, "kind");
            format!("{kind}: {used} of {limit}, at most {peak}")
        })
        .collect();
    match shown.is_empty() {
        true => "less than half was used of each".to_string(),
        false => shown.join("; "),
    }
}

fn secret(value: &Value<'_>) -> String {
    let source = shown_text(value, "secretSource");
    if source.is_empty() {
        return "none".to_string();
    }
    format!("from {source}, fingerprint {}", shown_text(value, "secretFingerprint"))
}
