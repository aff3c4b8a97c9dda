//! `gatelet node ...`: runs this machine as a node, and manages its allowlist.

use std::path::PathBuf;

use super::args::{action, Args, Command};
use super::context::Context;
use super::output::{emit, CommandError, CommandResult, Output};
use crate::node::{allow_list, NodeHost, NodeOptions};
use crate::wire::json;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "node",
        usage: "COMMAND",
        summary: "run this machine as a node, and manage the programs it may run",
        details: "
  gatelet pair --role node                on the gateway: prints a code for a node
  gatelet node run --host 192.168.1.5 --code ABCD2345

A node lets operators of the gateway query the state of this machine and run the programs that you
allow.
",
        ..Command::BASE
    },
    Command {
        name: "node run",
        usage: "[--host ADDRESS] [--code CODE] [--display-name NAME]",
        options: &["host", "code", "display-name"],
        summary: "print what is exposed, connect, serve requests, and reconnect when needed",
        details: "
  gatelet node run                        the known gateway, else the one on this machine
  gatelet node run --host 192.168.1.5:18789 --code ABCD2345
  gatelet node run --token TOKEN          or GATELET_TOKEN, instead of a code

After the first connection neither --host nor --code is needed. ADDRESS is an IP address, with or
without a port; host names are not supported. The node's key and allowlist are in node/ in the
state directory. Ends with exit code 3 when the gateway rejects the node permanently, for example
after a revocation.
",
        parse: |args| action(options(args), run),
        ..Command::BASE
    },
    Command {
        name: "node show",
        usage: "[--host ADDRESS] [--display-name NAME]",
        options: &["host", "code", "display-name"],
        summary: "print the gateway, key and commands of `node run` without connecting",
        details: "\n  gatelet node show\n  gatelet node show --json\n",
        parse: |args| action(options(args), show),
        ..Command::BASE
    },
    Command {
        name: "node allow",
        usage: "PROGRAM [ARGUMENT...] [$]",
        min_arguments: 1,
        max_arguments: usize::MAX,
        summary: "let operators run a program here; by default they cannot run any",
        details: "
  gatelet node allow uptime               with any arguments
  gatelet node allow /usr/bin/git status  only with this first argument; more may follow
  gatelet node allow -- systemctl restart printer '$'        exactly this

No shell is used: arguments are passed to the program unchanged. Without `$`, a shell, an
interpreter, `env` or `sudo` permits running anything. A running node applies the change when it
next connects.
",
        parse: |args| action(args.arguments.clone(), allow),
        ..Command::BASE
    },
    Command {
        name: "node disallow",
        usage: "PROGRAM [ARGUMENT...] [$]",
        min_arguments: 1,
        max_arguments: usize::MAX,
        summary: "undo `node allow`",
        details: "\n  gatelet node disallow /usr/bin/git status\n",
        parse: |args| action(args.arguments.clone(), disallow),
        ..Command::BASE
    },
    Command {
        name: "node allowed",
        summary: "list the programs that operators can run here",
        details: "\n  gatelet node allowed\n",
        parse: |_| action((), |context, ()| allowed(context)),
        ..Command::BASE
    },
];

fn options(args: &Args) -> NodeOptions {
    NodeOptions {
        host: args.owned("host"),
        name: args.owned("display-name"),
        code: args.owned("code"),
    }
}

fn run(context: &Context, options: NodeOptions) -> CommandResult {
    match open(context, options)?.run(|text| _ = emit(text))? {}
}

fn show(context: &Context, options: NodeOptions) -> CommandResult {
    let host = open(context, options)?;
    if context.json {
        return Output::json(&host.description_json()?);
    }
    Output::ok(host.description()?)
}

fn allow(context: &Context, argv: Vec<String>) -> CommandResult {
    let line = allow_list::allow(&dir(context)?, argv)?;
    Output::ok(format!("allowed: {line}\n{APPLIED}"))
}

fn disallow(context: &Context, argv: Vec<String>) -> CommandResult {
    let line = allow_list::disallow(&dir(context)?, argv)?;
    Output::ok(format!("no longer allowed: {line}\n{APPLIED}"))
}

const APPLIED: &str = "a running node applies the change when it next connects\n";

fn allowed(context: &Context) -> CommandResult {
    let entries = allow_list::read(&dir(context)?)?;
    let lines: Vec<String> = entries.iter().map(|entry| entry.line()).collect();
    if context.json {
        return Output::json(&json::object(|o| o.strings("allowed", &lines)));
    }
    match lines.is_empty() {
        true => Output::ok("none: system.run is off\n"),
        false => Output::ok(lines.join("\n") + "\n"),
    }
}

fn open(context: &Context, options: NodeOptions) -> Result<NodeHost, CommandError> {
    let local_gateway = || context.address().ok().flatten();
    Ok(NodeHost::open(&dir(context)?, options, context.config()?, local_gateway)?)
}

/// Returns the directory of the node.
fn dir(context: &Context) -> Result<PathBuf, CommandError> {
    Ok(context.state_dir()?.join("node"))
}
