//! The command line: parses arguments into a command and executes it.
//!
//! A command works through the running gateway, or on the table file if none is running, never on
//! both: the table has a single writer, which holds its lock. Commands return `Output` and only
//! [`main`] prints it, except `run`, `logs`, `events` and `node run`, which print continuously.
//! Only `url`, `token show`, `pair` and the first line of `run` print secrets.
//!
//! Each command is one file with its help, its parser and its code. `COMMANDS` lists them.

mod args;
mod call;
mod config;
mod config_set;
mod context;
mod device_access;
mod devices;
mod events;
mod explain;
mod explanation;
mod format;
mod health;
mod help;
mod import;
mod logs;
mod node;
mod nodes;
mod output;
mod pair;
mod run;
mod select;
mod status;
mod table;
mod token;
mod url;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use args::{Commands, Group, Invocation};
use context::Context;
use output::{complain, CommandError, CommandResult, Output};

/// All commands, in the order of the help text.
const COMMANDS: Commands = Commands(&[
    Group {
        title: "Gateway",
        commands: &[
            run::COMMANDS,
            url::COMMANDS,
            status::COMMANDS,
            logs::COMMANDS,
            events::COMMANDS,
            health::COMMANDS,
        ],
    },
    Group {
        title: "Access",
        commands: &[pair::COMMANDS, devices::COMMANDS, nodes::COMMANDS, explain::COMMANDS],
    },
    Group {
        title: "Configuration and data",
        commands: &[
            config::COMMANDS,
            config_set::COMMANDS,
            token::COMMANDS,
            table::COMMANDS,
            import::COMMANDS,
        ],
    },
    Group { title: "This machine as a node", commands: &[node::COMMANDS] },
    Group { title: "Other", commands: &[call::COMMANDS, help::COMMANDS] },
]);

/// Parses arguments, and the address of a gateway. Entry point for tests/fuzz, which cannot access
/// the private modules. Returns the arguments of the command in their `Debug` form, and the
/// address.
#[cfg(fuzzing)]
pub fn typed(args: &[&str], host: &str) -> (Result<String, String>, Result<String, String>) {
    let parsed = args::parse(COMMANDS, args)
        .map(|invocation| format!("{:?}", invocation.action))
        .map_err(|error| error.message);
    let address = crate::node::address::GatewayAddress::parse(host, 1)
        .map(|address| address.to_string())
        .map_err(|error| output::CommandError::from(error).message);
    (parsed, address)
}

/// Executes the command given by the arguments that follow the program's name.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let exit = match args::parse(COMMANDS, args).and_then(execute) {
        Ok(output) => {
            if !output.note.is_empty() {
                complain(&output.note);
            }
            let mut stdout = io::stdout().lock();
            // The reader may close the pipe early (`| head`); that is not an error.
            let _ = stdout.write_all(output.text.as_bytes()).and_then(|()| stdout.flush());
            output.exit
        }
        Err(error) => {
            complain(&error.message);
            error.exit
        }
    };
    ExitCode::from(exit as u8)
}

fn execute(invocation: Invocation) -> CommandResult {
    let Invocation { action, overrides, json } = invocation;
    let context = Context::new(&overrides, json);
    let command = context.command();
    match action.run(context) {
        Ok(output) if json => Ok(output),
        Ok(Output { text, note, exit }) => {
            Ok(Output { text: in_hints(text, &command), note: in_hints(note, &command), exit })
        }
        Err(CommandError { exit, message }) => {
            Err(CommandError { exit, message: in_hints(message, &command) })
        }
    }
}

/// Replaces `gatelet` in the commands that a text quotes by the command of this deployment.
/// Commands with an option before their name are complete: they are hints of the gateway.
fn in_hints(text: String, command: &str) -> String {
    const START: &str = "`gatelet ";
    if command == "gatelet" {
        return text;
    }
    let mut parts = text.split(START);
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        match part.starts_with(|first: char| first.is_ascii_lowercase()) {
            true => out.push_str(&format!("`{command} ")),
            false => out.push_str(START),
        }
        out.push_str(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::args::{parse, OPTIONS};
    use super::output::Exit;
    use super::*;

    fn parsed(args: &[&str]) -> String {
        let invocation =
            parse(COMMANDS, args).unwrap_or_else(|error| panic!("{args:?}: {}", error.message));
        format!("{:?}", invocation.action)
    }

    fn error(args: &[&str]) -> String {
        match parse(COMMANDS, args) {
            Ok(invocation) => panic!("{args:?} is {:?}", invocation.action),
            Err(error) => {
                assert_eq!(error.exit, Exit::Usage);
                error.message
            }
        }
    }

    /// Returns the name of the command and the arguments that remain.
    fn found(words: &[&str]) -> (&'static str, Vec<String>) {
        let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
        let (command, rest) = COMMANDS.find(&words).unwrap();
        (command.name, rest.to_vec())
    }

    #[test]
    fn every_command_is_found() {
        assert_eq!(found(&[]), ("run", vec![]));
        for command in COMMANDS.all() {
            let words: Vec<&str> = command.name.split(' ').collect();
            assert_eq!(found(&words), (command.name, vec![]));
        }
        assert_eq!(found(&["devices", "rename", "x"]), ("devices rename", vec!["x".to_string()]));
        assert_eq!(found(&["call", "health"]), ("call", vec!["health".to_string()]));
    }

    #[test]
    fn arguments_of_every_command_are_parsed() {
        let table: &[(&[&str], &str)] = &[
            (&[], "Serve"),
            (&["--port", "1"], "Serve"),
            (&["run"], "Serve"),
            (&["url"], "()"),
            (&["status", "--json"], "()"),
            (&["health"], "()"),
            (&["devices"], "()"),
            (&["devices", "list"], "()"),
            (
                &["node", "run", "--host", "10.0.0.1", "--code", "C", "--display-name", "n"],
                r#"NodeOptions { host: Some("10.0.0.1"), name: Some("n"), code: Some("C") }"#,
            ),
            (&["node", "show"], "NodeOptions { host: None, name: None, code: None }"),
            (&["node", "allow", "/bin/df", "--", "-h"], r#"["/bin/df", "-h"]"#),
            (&["node", "disallow", "/bin/df"], r#"["/bin/df"]"#),
            (&["node", "allowed"], "()"),
            (&["devices", "approve", "abc"], r#"Some("abc")"#),
            (&["devices", "approve", "--latest"], "None"),
            (&["--latest", "devices", "reject"], "None"),
            (&["devices", "remove", "x"], r#""x""#),
            (&["devices", "rename", "x", "a b"], r#"("x", "a b")"#),
            (&["devices", "rename", "x", "--", "--json"], r#"("x", "--json")"#),
            (&["devices", "rotate", "x"], r#"("x", None)"#),
            (&["devices", "revoke", "x", "--role=node"], r#"("x", Some(Node))"#),
            (&["nodes"], "()"),
            (&["nodes", "list"], "()"),
            (&["nodes", "pending"], "()"),
            (&["nodes", "describe", "n"], r#""n""#),
            (
                &["nodes", "invoke", "n", "c", "--timeout", "5"],
                r#"InvokeOptions { node: "n", command: "c", params: "{}", timeout_s: Some(5) }"#,
            ),
            (&["nodes", "approve", "--latest"], "None"),
            (&["nodes", "reject", "r"], r#"Some("r")"#),
            (&["nodes", "remove", "n"], r#""n""#),
            (&["nodes", "rename", "n", "a b"], r#"("n", "a b")"#),
            (&["pair"], "PairOptions { role: Operator, scopes: [], qr: false }"),
            (
                &["pair", "--scopes", "read, pairing", "--qr"],
                r#"PairOptions { role: Operator, scopes: ["read", "pairing"], qr: true }"#,
            ),
            (&["explain", "--last"], "10"),
            (&["explain", "--last", "3"], "3"),
            (&["logs"], "LogsOptions { follow: false, level: Trace, limit: 200 }"),
            (
                &["logs", "-f", "--level", "Warn", "--limit", "5"],
                "LogsOptions { follow: true, level: Warn, limit: 5 }",
            ),
            (&["events"], "[]"),
            (&["events", "--filter", "node., tick"], r#"["node.", "tick"]"#),
            (&["token", "show"], "()"),
            (&["token", "rotate"], "()"),
            (&["config", "check"], "()"),
            (&["config", "print"], "()"),
            (&["table", "check"], "()"),
            (&["table", "dump"], "()"),
            (&["table", "repair"], "()"),
            (&["table", "export"], "()"),
            (
                &["table", "import", "a", "b", "--dry-run"],
                r#"ImportOptions { files: ["a", "b"], dry_run: true, overwrite: false }"#,
            ),
            (&["call", "health"], r#"("health", "{}")"#),
            (&["call", "x", "{\"a\":1}"], r#"("x", "{\"a\":1}")"#),
            (&["version"], "()"),
            (&["-V"], "()"),
        ];
        for (args, expected) in table {
            assert_eq!(parsed(args), *expected, "{args:?}");
        }
    }

    #[test]
    fn help_is_shown_for_a_command_or_in_general() {
        let general = parsed(&["help"]);
        assert!(general.contains("Exit codes"));
        assert_eq!(parsed(&["-h"]), general);
        let approve = parsed(&["help", "devices", "approve"]);
        assert!(approve.contains("usage: gatelet devices approve REQUEST|DEVICE|--latest"));
        assert_eq!(parsed(&["devices", "approve", "--help"]), approve);
        assert_eq!(parsed(&["devices", "approve", "x", "--latest", "--help"]), approve);
        assert!(parsed(&["token", "--help"]).contains("usage: gatelet token COMMAND"));
    }

    #[test]
    fn typos_suggest_the_intended_name() {
        let table: &[(&[&str], &str)] = &[
            (&["devcies"], "there is no command `devcies`; did you mean `gatelet devices`?\nsee `gatelet help`"),
            (&["zzz"], "there is no command `zzz`\nsee `gatelet help`"),
            (&["devices", "aprove"], "`gatelet devices` has no command `aprove`; did you mean `gatelet devices approve`?\nsee `gatelet help devices`"),
            (&["token", "x"], "`gatelet token` has no command `x`; it has show, rotate\nsee `gatelet help token`"),
            (&["token"], "`gatelet token` needs one of: show, rotate\nsee `gatelet help token`"),
            (&["--prot", "1"], "there is no option `--prot`; did you mean `--port`?\nsee `gatelet help`"),
            (&["-x"], "unknown option `-x`\nsee `gatelet help`"),
            (&["--port"], "`--port` needs a value: --port PORT\nsee `gatelet help`"),
            (&["url", "--latest"], "`gatelet url` has no option `--latest`\nsee `gatelet help url`"),
            (&["devices", "remove"], "usage: gatelet devices remove DEVICE\nsee `gatelet help devices remove`"),
            (&["devices", "remove", "a", "b"], "usage: gatelet devices remove DEVICE\nsee `gatelet help devices remove`"),
            (&["devices", "approve"], "usage: gatelet devices approve REQUEST|DEVICE|--latest\nsee `gatelet help devices approve`"),
            (&["url", "now"], "usage: gatelet url\nsee `gatelet help url`"),
            (&["pair", "--role", "admin"], "`--role admin`: expected operator or node\nsee `gatelet help pair`"),
            (&["explain", "--token", "s3cret"], "`--token` describes a credential here: expected right, wrong or none (never the real one)\nsee `gatelet help explain`"),
            (&["explain", "--last", "0"], "`--last 0`: expected a number from 1\nsee `gatelet help explain`"),
            (&["nodes", "approve"], "usage: gatelet nodes approve REQUEST|NODE|--latest\nsee `gatelet help nodes approve`"),
            (&["nodes", "invoke", "n"], "usage: gatelet nodes invoke NODE COMMAND [PARAMS-JSON] [--timeout SECONDS]\nsee `gatelet help nodes invoke`"),
            (&["logs", "--level", "loud"], "`--level loud`: expected error, warn, info, debug or trace\nsee `gatelet help logs`"),
            (&["logs", "--limit", "0"], "`--limit 0`: expected a number from 1\nsee `gatelet help logs`"),
            (&["logs", "--log-file", "x"], "`gatelet logs` has no option `--log-file`\nsee `gatelet help logs`"),
            (&["help", "devices", "aprove"], "`gatelet devices` has no command `aprove`; did you mean `gatelet devices approve`?\nsee `gatelet help devices`"),
        ];
        for (args, expected) in table {
            assert_eq!(error(args), *expected, "{args:?}");
        }
    }

    #[test]
    fn global_options_are_applied_and_explain_keeps_its_own_token_option() {
        let given = parse(
            COMMANDS,
            [
                "status",
                "--token=t",
                "--state-dir",
                "/s",
                "--json",
                "--bind",
                "lan",
                "--auth",
                "token",
            ],
        )
        .unwrap();
        assert_eq!(given.overrides.token.unwrap().expose(), "t");
        assert_eq!(given.overrides.state_dir.as_deref(), Some("/s"));
        assert_eq!(given.overrides.bind.as_deref(), Some("lan"));
        assert!(given.json);
        let given = parse(COMMANDS, ["run", "--log-file", "/l"]).unwrap();
        assert_eq!(given.overrides.log_file.as_deref(), Some("/l"));
        let given = parse(COMMANDS, ["explain", "--token", "right", "--peer", "1.2.3.4"]).unwrap();
        assert!(given.overrides.token.is_none());
        let shown = format!("{:?}", given.action);
        assert!(shown.contains("secret: Right") && shown.contains(r#"peer: Some("1.2.3.4")"#));
    }

    #[test]
    fn commands_can_be_called_with_their_least_arguments_and_their_options_exist() {
        for command in COMMANDS.all() {
            let words: Vec<&str> = command
                .name
                .split(' ')
                .chain(std::iter::repeat_n("1", command.min_arguments))
                .collect();
            let family = COMMANDS.members(command.name).next().is_some()
                && !["devices", "nodes"].contains(&command.name);
            let latest = command.options.contains(&"latest");
            let args = words.iter().copied().chain(latest.then_some("--latest"));
            assert_eq!(parse(COMMANDS, args).is_err(), family, "{words:?}");
            for name in command.options {
                assert!(OPTIONS.iter().any(|spec| spec.name == *name), "{name}");
            }
        }
    }
}
