//! Text of `gatelet help`, built from [`super::topics`]. Lines have at most 100 columns.

use super::topics::{all, members, topic, Topic};
use super::Exit;

/// Returns the help for one command, or the overview.
pub fn text(about: Option<&'static Topic>) -> String {
    let Some(topic) = about else { return overview() };
    let mut out = format!("gatelet {}: {}\n\n", topic.name, topic.about);
    out.push_str("usage: gatelet ");
    out.push_str(topic.name);
    if !topic.usage.is_empty() {
        out.push(' ');
        out.push_str(topic.usage);
    }
    out.push('\n');
    if !topic.body.is_empty() {
        out.push('\n');
        out.push_str(topic.body);
    }
    let width = members(topic.name).map(str::len).max().unwrap_or(0);
    if width > 0 {
        out.push('\n');
    }
    for member in members(topic.name) {
        let about = all().find(|one| {
            one.name.strip_prefix(topic.name).is_some_and(|rest| rest.trim_start() == member)
        });
        line(&mut out, member, width, about.map_or("", |one| one.about));
    }
    out.push_str("\nGlobal options and exit codes: `gatelet help`\n");
    out
}

fn overview() -> String {
    let mut out = String::from(HEAD);
    for (title, names) in GROUPS {
        out.push('\n');
        out.push_str(title);
        out.push('\n');
        for name in *names {
            line(&mut out, name, COMMAND_WIDTH, topic(name).map_or("", |topic| topic.about));
        }
    }
    out.push_str(GLOBAL_OPTIONS);
    out.push_str("\nExit codes\n");
    for exit in Exit::ALL {
        let code = (exit as u8).to_string();
        line(&mut out, &code, COMMAND_WIDTH, exit.meaning());
    }
    out
}

fn line(out: &mut String, name: &str, width: usize, about: &str) {
    out.push_str("  ");
    out.push_str(name);
    (name.len()..width + 2).for_each(|_| out.push(' '));
    out.push_str(about);
    out.push('\n');
}

const COMMAND_WIDTH: usize = 16;

const HEAD: &str = "\
gatelet: a gateway that lets in who proves itself, from whatever address.

  gatelet                        start it; prints the link to open in a browser
  gatelet url                    print that link again
  gatelet pair                   let a phone or another machine in, by code or QR
  gatelet devices                who waits, who is paired
  gatelet explain --last         why was somebody refused?
";

const GROUPS: &[(&str, &[&str])] = &[
    #[cfg(not(windows))]
    ("The gateway", &["run", "url", "status", "logs", "events", "health"]),
    #[cfg(windows)]
    ("The gateway", &["run", "service", "url", "status", "logs", "events", "health"]),
    ("Who may come in", &["pair", "devices", "nodes", "explain"]),
    ("What it is made of", &["config", "token", "table"]),
    ("This machine as a node", &["node"]),
    ("Anything else", &["call", "help", "version"]),
];

const GLOBAL_OPTIONS: &str = "
Options of every command
  --state-dir DIR   where the table, its key and the token are; if not said: yours, or the
                    service's while you have none and may read it
  --config FILE     the configuration (JSON5; OpenClaw's openclaw.json works as it is)
  --port PORT, --bind BIND, --auth MODE, --token TOKEN, --password PASSWORD
                    as if the configuration said so
  --json            for programs
  -h, --help        all about the command it is given with
  -V, --version
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_fits_a_terminal_without_trailing_blanks() {
        for about in all().map(Some).chain([None]) {
            let text = text(about);
            for line in text.lines() {
                assert!(line.len() <= 100, "{} columns: {line}", line.len());
                assert_eq!(line, line.trim_end());
            }
            assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{text}");
        }
    }

    #[test]
    fn the_overview_names_every_command_and_every_exit_code() {
        let text = text(None);
        for topic in all().filter(|topic| !topic.name.contains(' ')) {
            assert!(text.contains(&format!("\n  {} ", topic.name)), "{}", topic.name);
        }
        for exit in Exit::ALL {
            assert!(text.contains(exit.meaning()));
        }
    }

    #[test]
    fn the_help_of_a_family_lists_its_commands() {
        let text = text(topic("table"));
        for member in ["check", "dump", "repair", "export", "import"] {
            assert!(text.contains(&format!("\n  {member} ")), "{member}");
        }
    }
}
