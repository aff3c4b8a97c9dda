//! `gatelet run` and `gatelet service`: run the gateway.

use std::io::{self, IsTerminal, Write};

use super::args::{Action, Command};
use super::context::{store_error, Context};
use super::output::{CommandError, CommandResult, Output};
use crate::server::{self, Page, StartError};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "run",
        usage: "[--port PORT] [--bind BIND] [--auth MODE] [--log-file FILE]",
        options: &["log-file"],
        summary: "start the gateway (also without any command)",
        details: "
  gatelet                          on 127.0.0.1:18789; prints the link to open
  gatelet run --bind lan           accept connections from other machines
  gatelet run --port 8080

BIND is loopback (the default), lan (the default in gatelet's image), tailnet, auto or custom.
MODE is token, password, trusted-proxy or none.
If no token is configured, one is created and kept in the state directory.
The log goes to standard error, and also to FILE if one is given (or named by GATELET_LOG_FILE).
At 1 MiB the file is renamed to FILE.1. GATELET_LOG sets the level: error, warn, info (the default)
or debug.
",
        parse: |_| Ok(Box::new(Serve)),
        ..Command::BASE
    },
    #[cfg(windows)]
    Command {
        name: "service",
        usage: "[--state-dir DIR] [--config FILE] [--port PORT] [--bind BIND]",
        summary: "run as a Windows service; install.ps1 installs the service",
        details: "
The service control manager starts this command. To run the gateway by hand: `gatelet run`.
The log is gatelet.log in the state directory. Stop and start the service with
Stop-Service gatelet and Start-Service gatelet.
",
        parse: |_| Ok(Box::new(Service)),
        ..Command::BASE
    },
];

#[derive(Debug)]
struct Serve;

impl Action for Serve {
    fn run(self: Box<Self>, context: Context) -> CommandResult {
        context.config()?;
        server::run(context.loaded, &mut show_link).map_err(start_error)?;
        Output::ok("")
    }
}

#[cfg(windows)]
#[derive(Debug)]
struct Service;

/// Problems of the configuration go to the log, because a service has no visible output.
#[cfg(windows)]
impl Action for Service {
    fn run(self: Box<Self>, context: Context) -> CommandResult {
        let explain = |error| {
            let error = start_error(error);
            (error.exit as u32, error.message)
        };
        server::run_service(context.loaded, explain).map_err(CommandError::failed)?;
        Output::ok("")
    }
}

/// Prints the URL of the page. Contains the token only if standard output is a terminal.
fn show_link(page: &Page) {
    let url = &page.url;
    let mut line = match &page.token {
        Some(token) if io::stdout().is_terminal() => {
            format!("\n  open  {url}#token={}\n\n", token.expose())
        }
        Some(_) => {
            format!("open {url} with the token; `{} url` prints the link\n", page.command)
        }
        None => format!("open {url}\n"),
    };
    for other in page.others.iter().filter(|other| !url.starts_with(other.as_str())) {
        line.push_str(&format!("on other devices {other}/\n"));
    }
    let _ = io::stdout().write_all(line.as_bytes());
}

fn start_error(error: StartError) -> CommandError {
    match error {
        StartError::Store(error) => store_error(error),
        error => CommandError::failed(error.to_string()),
    }
}
