//! `gatelet config check|print`: problems of the configuration, and the settings in force.

use super::args::{action, Command};
use super::context::Context;
use super::format::{clean, Grid};
use super::output::{pretty, CommandResult, Exit, Output};
use crate::config::{Problem, Severity};
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
        details: "\n  gatelet config print\n  gatelet config print --json\n",
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

/// Prints all settings in force with their sources. If there are errors, prints all problems first;
/// the exit code is then 1.
fn print(context: &Context) -> CommandResult {
    let settings = &context.loaded.settings;
    let exit = exit(context);
    if context.json {
        return Output::with(pretty(&json::object(|o| rpc::config::settings(o, settings))), exit);
    }
    let mut grid = Grid::new(&["SETTING", "VALUE", "SOURCE"]);
    for setting in settings {
        grid.row(vec![setting.path.clone(), setting.value.clone(), setting.source.to_string()]);
    }
    let mut text = String::new();
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
    let file = loaded
        .paths
        .as_ref()
        .map(|paths| paths.config.value.display().to_string())
        .unwrap_or_default();
    match (errors, loaded.problems.len()) {
        (0, 0) => text.push_str(&format!("{file}: no problems\n")),
        (0, count) => text.push_str(&format!("{file}: valid; warnings: {count}\n")),
        (count, _) => text
            .push_str(&format!("{file}: invalid, the gateway would not start; errors: {count}\n")),
    }
    text
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
