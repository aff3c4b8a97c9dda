//! `gatelet config check|print`: problems of the configuration, and the settings in force.

use super::context::Context;
use super::format::{clean, Grid};
use super::{Done, Exit, Output};
use crate::config::{Problem, Severity};
use crate::rpc;
use crate::wire::json;

/// Prints all problems. Exit code 1 if one of them is an error.
pub fn check(context: &Context) -> Done {
    let loaded = &context.loaded;
    let text = if context.json {
        super::pretty(&json::object(|o| {
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
pub fn print(context: &Context) -> Done {
    let settings = &context.loaded.settings;
    let exit = exit(context);
    if context.json {
        return Output::with(
            super::pretty(&json::object(|o| rpc::config::settings(o, settings))),
            exit,
        );
    }
    let mut grid = Grid::new(&["SETTING", "VALUE", "FROM"]);
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
        _ => text.insert_str(0, &[&report(context), "\n"].concat()),
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
        let word = match problem.severity {
            Severity::Error => context.style.bad("error"),
            Severity::Warning => context.style.warn("warning"),
        };
        text.push_str(&format!("{word}: {}\n", clean(&problem.to_string())));
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
        (0, 0) => text.push_str(&format!("{file}: fine\n")),
        (0, count) => text.push_str(&format!("{file}: good to run; warnings: {count}\n")),
        (count, _) => {
            text.push_str(&format!("{file}: the gateway would not start; errors: {count}\n"))
        }
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

fn fields(o: &mut json::Writer<'_>, problem: &Problem) {
    let word = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    o.str("severity", word);
    o.u64("line", u64::from(problem.line));
    o.str("key", &problem.path);
    o.str("message", &problem.message);
    o.str("hint", &problem.hint);
}
