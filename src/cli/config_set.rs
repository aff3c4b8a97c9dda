//! `gatelet config set`: changes one key of the configuration file.

use super::args::{action, Args, Command};
use super::context::Context;
use super::format::texts;
use super::output::{parse_answer, CommandError, CommandResult, Output};
use crate::client::GatewayClient;
use crate::config::{self, ChangeKind, Severity, SystemEnv};
use crate::gate::limits;
use crate::store;
use crate::wire::json;

pub const COMMANDS: &[Command] = &[Command {
    name: "config set",
    usage: "KEY VALUE",
    min_arguments: 2,
    max_arguments: 2,
    summary: "change one key of the configuration file",
    details: "
  gatelet config set gateway.bind lan
  gatelet config set gateway.publicOrigin https://gate.example
  gatelet config set gateway.publicOrigin null

VALUE is JSON, or a text; null removes the key. The rest of the file stays as it is, and a change
with which the gateway would not start is not written. A running gateway applies the change at once,
or names the key that takes effect at the next start.
",
    parse: |args| action(patch(args)?, set),
    ..Command::BASE
}];

/// A change of one key.
#[derive(Debug)]
struct Patch {
    key: String,
    /// JSON merge patch.
    raw: String,
}

fn patch(args: &Args) -> Result<Patch, CommandError> {
    let (key, value) = (args.argument(0), args.argument(1));
    if key.split('.').any(str::is_empty) {
        return Err(args.error("KEY is a path such as gateway.bind"));
    }
    let mut names = key.rsplit('.');
    let last = names.next().unwrap_or_default();
    let is_json = json::parse(value.as_bytes(), limits::JSON_DEPTH).is_ok();
    let patch = json::object(|o| match is_json {
        true => o.raw(last, value.as_bytes()),
        false => o.str(last, &value),
    });
    let patch = names.fold(patch, |inner, name| json::object(|o| o.raw(name, &inner)));
    let raw = String::from_utf8_lossy(&patch).into_owned();
    Ok(Patch { key, raw })
}

/// Changes the key through the running gateway, or in the file if none is running.
fn set(context: &Context, patch: Patch) -> CommandResult {
    let text = match context.gateway()? {
        Some(client) => through_gateway(client, &patch)?,
        None => in_file(context, &patch)?,
    };
    Output::ok(text)
}

fn through_gateway(mut client: GatewayClient, patch: &Patch) -> Result<String, CommandError> {
    let current = client.call("config.get", "{}")?;
    let hash = parse_answer(&current)?.at("hash").as_str().map(|hash| hash.to_string());
    let params = json::object(|o| {
        o.str("raw", &patch.raw);
        o.opt_str("baseHash", hash.as_deref());
        o.strs("replacePaths", [patch.key.as_str()]);
    });
    let answer = client.call("config.patch", &String::from_utf8_lossy(&params))?;
    let later = texts(&parse_answer(&answer)?, "restartRequired");
    Ok(match later.is_empty() {
        true => format!("{} was changed\n", patch.key),
        false => format!("{} was changed; it takes effect at the next start\n", patch.key),
    })
}

fn in_file(context: &Context, patch: &Patch) -> Result<String, CommandError> {
    let path = &context.paths()?.config.value;
    let old = context.loaded.text.as_ref().map_or("", |text| text.expose());
    let changed =
        config::change(old, &patch.raw, ChangeKind::Patch).map_err(CommandError::failed)?;
    let loaded = config::load_text(&context.loaded.args, &SystemEnv, Some(&changed.text));
    if loaded.config.is_none() {
        let errors = loaded.problems.iter().filter(|one| one.severity == Severity::Error);
        let errors: Vec<String> = errors.map(|problem| problem.to_string()).collect();
        return Err(CommandError::failed(format!("not changed: {}", errors.join("\n  "))));
    }
    store::replace(path, changed.text.as_bytes()).map_err(|error| {
        CommandError::failed(format!(
            "cannot write {}: {error}; it was not changed",
            path.display()
        ))
    })?;
    Ok(format!("{} was changed in {}\n", patch.key, path.display()))
}
