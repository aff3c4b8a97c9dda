//! `gatelet help` and `gatelet version`. Lines of the help have at most 100 columns.

use super::args::{action, Args, Command, Commands};
use super::output::{CommandError, Exit, Output};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "help",
        usage: "[COMMAND]",
        max_arguments: 2,
        summary: "show this overview, or the help for a command",
        details: "\n  gatelet help devices\n",
        parse: |args| action(page(args)?, |_, text| Output::ok(text)),
        ..Command::BASE
    },
    Command {
        name: "version",
        summary: "print the version",
        parse: |_| action((), |_, ()| Output::ok(VERSION)),
        ..Command::BASE
    },
];

const VERSION: &str = concat!("gatelet ", env!("CARGO_PKG_VERSION"), "\n");

fn page(args: &Args) -> Result<String, CommandError> {
    if args.arguments.is_empty() {
        return Ok(overview(args.commands));
    }
    let (command, rest) = args.commands.find(&args.arguments)?;
    match rest.first() {
        // With the option `--help` these are arguments of the command.
        Some(word) if !args.has("help") => Err(args.commands.unknown_member(command, word)),
        _ => Ok(about(args.commands, command)),
    }
}

/// Returns the help for one command.
fn about(commands: Commands, command: &Command) -> String {
    let Command { name, usage, summary, details, .. } = command;
    let usage = format!("usage: gatelet {name} {usage}");
    let mut out = format!("gatelet {name}: {summary}\n\n{}\n{details}", usage.trim_end());
    let members: Vec<_> = commands.members(command.name).collect();
    let width = members.iter().map(|(member, _)| member.len()).max().unwrap_or(0);
    if width > 0 {
        out.push('\n');
    }
    for (member, command) in members {
        out.push_str(&line(member, width, command.summary));
    }
    out.push_str("\nGlobal options and exit codes: `gatelet help`\n");
    out
}

fn overview(commands: Commands) -> String {
    let mut out = String::from(HEAD);
    for group in commands.0 {
        out.push_str(&format!("\n{}\n", group.title));
        let all = group.commands.iter().copied().flatten();
        for command in all.filter(|command| !command.name.contains(' ')) {
            out.push_str(&line(command.name, COMMAND_WIDTH, command.summary));
        }
    }
    out.push_str(GLOBAL_OPTIONS);
    out.push_str("\nExit codes\n");
    for exit in Exit::ALL {
        out.push_str(&line(&(exit as u8).to_string(), COMMAND_WIDTH, exit.meaning()));
    }
    out
}

fn line(name: &str, width: usize, summary: &str) -> String {
    format!("  {name:<width$}  {summary}\n")
}

const COMMAND_WIDTH: usize = 16;

const HEAD: &str = "\
gatelet: a gateway that admits clients by proof, not by address.

  gatelet                        start the gateway; prints the link to open in a browser
  gatelet url                    print that link again
  gatelet pair                   pair a phone or another machine, by code or QR code
  gatelet devices                list pending requests and paired devices
  gatelet explain --last         show why connections were rejected
";

const GLOBAL_OPTIONS: &str = "
Options of every command
  --state-dir DIR   directory of the pairing table, its key and the token; by default your own, or
                    that of the installed service if you have none and can read it
  --config FILE     configuration file (JSON5; OpenClaw's openclaw.json works unchanged)
  --port PORT, --bind BIND, --auth MODE, --token TOKEN, --password PASSWORD
                    override the configuration
  --json            print JSON
  -h, --help        show the help for the command
  -V, --version     print the version
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::COMMANDS;

    #[test]
    fn help_fits_a_terminal_without_trailing_blanks() {
        let pages = COMMANDS.all().map(|command| about(COMMANDS, command));
        for text in pages.chain([overview(COMMANDS)]) {
            for line in text.lines() {
                assert!(line.len() <= 100, "{} columns: {line}", line.len());
                assert_eq!(line, line.trim_end());
            }
            assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{text}");
        }
    }

    #[test]
    fn the_overview_names_every_command_and_every_exit_code() {
        let text = overview(COMMANDS);
        for command in COMMANDS.all().filter(|command| !command.name.contains(' ')) {
            assert!(text.contains(&format!("\n  {} ", command.name)), "{}", command.name);
        }
        for exit in Exit::ALL {
            assert!(text.contains(exit.meaning()));
        }
    }

    #[test]
    fn the_help_of_a_family_lists_its_commands() {
        let text = about(COMMANDS, COMMANDS.get("table").unwrap());
        for member in ["check", "dump", "repair", "export", "import"] {
            assert!(text.contains(&format!("\n  {member} ")), "{member}");
        }
    }
}
