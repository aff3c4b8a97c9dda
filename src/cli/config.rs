//! `gatelet config check|print`: problems of the configuration, and the settings in force.

use std::borrow::Cow;

use super::args::{action, Command};
use super::context::Context;
use super::format::{clean, shown_text, texts, Grid};
use super::output::{parse_answer, pretty, CommandError, CommandResult, Exit, Output};
use crate::config::{self, Config, Problem, Severity};
use crate::rpc;
use crate::wire::json;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "config",
        usage: "COMMAND",
        summary: "check, print or change the configuration",
        details: "\n  gatelet config check\n  gatelet config print\n  gatelet config set gateway.bind lan\n",
        ..Command::BASE
    },
    Command {
        name: "config check",
        summary: "list all problems of the configuration, with line and remedy",
        details: "\n  gatelet config check\n  gatelet config check --config ./openclaw.json\n",
        parse: |_| action((), |context, ()| check(context)),
        ..Command::BASE
    },
    Command {
        name: "config print",
        summary: "list all settings in force and their sources",
        details: "
  gatelet config print
  gatelet config print --json

Prints the settings of the running gateway. If none is running, or options such as --config or
--port are given, prints the settings that a start would use.
",
        parse: |_| action((), |context, ()| print(context)),
        ..Command::BASE
    },
];

/// Prints all problems. Exit code 1 if one of them is an error.
fn check(context: &Context) -> CommandResult {
    let loaded = &context.loaded;
    let text = if context.json {
        pretty(&json::object(|o| {
            o.bool("ok", loaded.config.is_some());
            if let Some(paths) = &loaded.paths {
                o.shown("file", &paths.config.value.display());
                o.bool("exists", exists(context));
            }
            o.arr("problems", |list| {
                loaded.problems.iter().for_each(|problem| list.item_obj(|o| fields(o, problem)))
            });
            o.strings("acceptedNotUsed", &loaded.accepted_not_used);
        }))
    } else {
        report(context)
    };
    Output::with(text, exit(context))
}

/// Values to print or to evaluate, and whose they are.
enum Values {
    /// Answer of the running gateway.
    Running(String),
    /// Values from the options, variables and file of this command; the text names the start for
    /// which they are valid.
    Configured(&'static str),
}

/// Asks the running gateway, unless options are given that change the configuration.
fn values(context: &Context) -> Result<Values, CommandError> {
    if context.has_overrides() {
        return Ok(Values::Configured("of the next start with these options"));
    }
    Ok(match context.gateway()? {
        Some(mut client) => Values::Running(client.call("gatelet.config", "{}")?),
        None => Values::Configured("of the next start; no gateway is running"),
    })
}

/// The configuration by which a connection is decided.
pub struct InForce<'a> {
    pub config: Cow<'a, Config>,
    pub running: bool,
    /// Owner of the configuration, in words.
    pub what: &'static str,
}

impl InForce<'_> {
    /// Returns the configuration of the running gateway, or of the next start if none is running
    /// or options change it.
    pub fn of(context: &Context) -> Result<InForce<'_>, CommandError> {
        let answer = match values(context)? {
            Values::Running(answer) => answer,
            Values::Configured(what) => {
                let config = Cow::Borrowed(context.config()?);
                return Ok(InForce { config, running: false, what });
            }
        };
        let value = parse_answer(&answer)?;
        let settings: Vec<_> = value
            .get("inForce")
            .ok_or_else(another_version)?
            .items()
            .map(|one| (shown_text(&one, "key"), shown_text(&one, "value"), texts(&one, "list")))
            .collect();
        let settings = settings.iter().map(|(key, value, list)| (&**key, &**value, list.clone()));
        let config = config::in_force(settings).ok_or_else(another_version)?;
        Ok(InForce { config: Cow::Owned(config), running: true, what: RUNNING })
    }
}

const RUNNING: &str = "of the running gateway";

fn another_version() -> CommandError {
    CommandError::failed("the running gateway is of another version")
}

/// Prints all settings in force with their sources, of the running gateway if there is one.
fn print(context: &Context) -> CommandResult {
    match values(context)? {
        Values::Running(answer) => print_running(context, &answer),
        Values::Configured(what) => print_configured(context, what),
    }
}

fn print_running(context: &Context, answer: &str) -> CommandResult {
    let value = parse_answer(answer)?;
    let settings = value.get("inForce").ok_or_else(another_version)?;
    if context.json {
        return Output::ok(pretty(&json::object(|o| {
            o.bool("running", true);
            o.raw("settings", settings.raw().as_bytes());
        })));
    }
    let mut grid = Grid::new(&["SETTING", "VALUE", "SOURCE"]);
    for setting in settings.items() {
        grid.row(["key", "value", "source"].map(|key| shown_text(&setting, key)).into());
    }
    let mut text = format!(
        "values           {RUNNING}\nstate directory  {}\nconfiguration    {}\n\n{}",
        context.state_dir()?.display(),
        shown_text(&value, "path"),
        grid.text(context.style)
    );
    if shown_text(&value, "hash") != shown_text(&value, "appliedConfigHash") {
        text.push_str(
            "\nthe file was changed since; that takes effect at the next start: see `gatelet config check`\n",
        );
    }
    Output::ok(text)
}

/// Prints the settings that a start would use. If there are errors, prints all problems first; the
/// exit code is then 1.
fn print_configured(context: &Context, what: &str) -> CommandResult {
    let settings = &context.loaded.settings;
    let exit = exit(context);
    if context.json {
        let text = pretty(&json::object(|o| {
            o.bool("running", false);
            rpc::config::settings(o, "settings", settings);
        }));
        return Output::with(text, exit);
    }
    let mut grid = Grid::new(&["SETTING", "VALUE", "SOURCE"]);
    for setting in settings {
        grid.row(vec![setting.path.clone(), setting.value.clone(), setting.source.to_string()]);
    }
    let mut text = format!("values           {what}\n");
    if let Some(paths) = &context.loaded.paths {
        text.push_str(&format!(
            "state directory  {}  ({})\n",
            paths.state_dir.value.display(),
            paths.state_dir.source
        ));
        text.push_str(&format!(
            "configuration    {}  ({})\n\n",
            paths.config.value.display(),
            paths.config.source
        ));
    }
    text.push_str(&grid.text(context.style));
    match exit {
        Exit::Ok => text.push_str(&not_used(context)),
        _ => text = format!("{}\n{text}", report(context)),
    }
    Output::with(text, exit)
}

fn exit(context: &Context) -> Exit {
    if context.loaded.config.is_some() {
        Exit::Ok
    } else {
        Exit::Failed
    }
}

fn report(context: &Context) -> String {
    let loaded = &context.loaded;
    let mut text = String::new();
    for problem in &loaded.problems {
        let severity = severity(problem);
        let severity = match problem.severity {
            Severity::Error => context.style.bad(severity),
            Severity::Warning => context.style.warn(severity),
        };
        text.push_str(&format!("{severity}: {}\n", clean(&problem.to_string())));
    }
    text.push_str(&not_used(context));
    let errors =
        loaded.problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let mut file = loaded
        .paths
        .as_ref()
        .map(|paths| paths.config.value.display().to_string())
        .unwrap_or_default();
    if loaded.paths.is_some() && !exists(context) {
        file.push_str(" does not exist; flags, variables and defaults");
    }
    match (errors, loaded.problems.len()) {
        (0, 0) => text.push_str(&format!("{file}: no problems\n")),
        (0, count) => text.push_str(&format!("{file}: valid; warnings: {count}\n")),
        (count, _) => text
            .push_str(&format!("{file}: invalid, the gateway would not start; errors: {count}\n")),
    }
    text
}

/// Returns whether the configuration file exists.
fn exists(context: &Context) -> bool {
    context.loaded.paths.as_ref().is_some_and(|paths| paths.config.value.exists())
}

fn not_used(context: &Context) -> String {
    let keys = &context.loaded.accepted_not_used;
    if keys.is_empty() {
        return String::new();
    }
    format!("accepted, not used: {}\n", clean(&keys.join(", ")))
}

fn severity(problem: &Problem) -> &'static str {
    match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn fields(o: &mut json::Writer<'_>, problem: &Problem) {
    o.str("severity", severity(problem));
    o.u64("line", u64::from(problem.line));
    o.str("key", &problem.path);
    o.str("message", &problem.message);
    o.str("hint", &problem.hint);
}
