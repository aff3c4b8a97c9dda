//! The command line: parses arguments into a command, and runs the command, which returns text and
//! an exit code.
//!
//! A command works through the running gateway, or on the table file if none is running, never on
//! both: the table has a single writer, which holds its lock. Commands return `Output` and only
//! [`main`] prints it, except `logs` and `events`, which print continuously. Only `url`, `token
//! show` and `pair` print secrets.

pub(crate) mod args;
mod call;
mod config;
pub(crate) mod context;
mod devices;
mod devices_file;
mod events;
mod explain;
pub(crate) mod format;
mod help;
mod import;
mod logs;
mod nodes;
mod options;
mod pair;
mod select;
mod status;
mod table;
mod token;
mod topics;
mod topics_devices;
mod topics_node;
mod url;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::ops::Deref;
use std::process::ExitCode;

use args::Command;
use context::Context;

use crate::server::{Page, StartError};

/// Exit code of the process. The numbers never change their meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    Ok = 0,
    Failed = 1,
    Usage = 2,
    Refused = 3,
    NotRunning = 4,
    Damaged = 5,
}

impl Exit {
    /// All exit codes in ascending order.
    pub const ALL: [Exit; 6] =
        [Exit::Ok, Exit::Failed, Exit::Usage, Exit::Refused, Exit::NotRunning, Exit::Damaged];

    /// Returns the description for the help text.
    pub const fn meaning(self) -> &'static str {
        match self {
            Exit::Ok => "done",
            Exit::Failed => "it did not work; the message says why",
            Exit::Usage => "the command makes no sense as it was typed",
            Exit::Refused => "the gateway refused it, or (explain) would refuse it",
            Exit::NotRunning => "no gateway runs on this state directory",
            Exit::Damaged => "the pairing table or its key is damaged",
        }
    }
}

/// Result of a command.
pub(crate) struct Output {
    text: String,
    /// Additional text for standard error; may be empty.
    note: String,
    pub(crate) exit: Exit,
}

/// Error of a command. Boxed to keep `Result` small, because errors are rare and passed through
/// many functions.
#[derive(Debug)]
pub(crate) struct CommandError(Box<ErrorKind>);

#[derive(Debug)]
pub(crate) struct ErrorKind {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

pub(crate) type Done = Result<Output, CommandError>;

impl Output {
    pub(crate) fn ok(text: impl Into<String>) -> Done {
        Output::with(text, Exit::Ok)
    }

    fn with(text: impl Into<String>, exit: Exit) -> Done {
        Ok(Output { text: text.into(), note: String::new(), exit })
    }

    /// Returns indented JSON.
    pub(crate) fn json(bytes: &[u8]) -> Done {
        Output::ok(pretty(bytes))
    }
}

impl CommandError {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> CommandError {
        CommandError(Box::new(ErrorKind { exit, message: message.into() }))
    }

    pub(crate) fn failed(message: impl Into<String>) -> CommandError {
        CommandError::new(Exit::Failed, message)
    }
}

impl Deref for CommandError {
    type Target = ErrorKind;

    fn deref(&self) -> &ErrorKind {
        &self.0
    }
}

/// Formats JSON with indentation and a final line end. Other text is returned unchanged.
fn pretty(bytes: &[u8]) -> String {
    match crate::wire::json::parse(bytes, crate::gate::limits::JSON_DEPTH) {
        Ok(value) => crate::wire::json::pretty(&value) + "\n",
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Parses arguments, and the address of a gateway. Entry point for tests/fuzz, which cannot access
/// the private modules. Returns the command in its `Debug` form, and the address.
#[cfg(fuzzing)]
pub fn typed(
    args: &[&str],
    host: &str,
) -> (Result<String, String>, Result<std::net::SocketAddr, String>) {
    let read = args::parse(args)
        .map(|read| format!("{:?}", read.command))
        .map_err(|error| error.to_string());
    (read, crate::node::address(host, 1).map_err(|failure| failure.message.clone()))
}

/// Runs the command given by the arguments that follow the program's name.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let exit = match args::parse(args) {
        Ok(invocation) => run(invocation),
        Err(error) => {
            complain(&error.to_string());
            Exit::Usage
        }
    };
    ExitCode::from(exit as u8)
}

fn run(invocation: args::Invocation) -> Exit {
    match perform(invocation) {
        Ok(output) => {
            if !output.note.is_empty() {
                complain(&output.note);
            }
            let mut stdout = io::stdout().lock();
            // The reader may close the pipe early (`| head`); that is not an error.
            let _ = stdout.write_all(output.text.as_bytes()).and_then(|()| stdout.flush());
            output.exit
        }
        Err(failure) => {
            complain(&failure.message);
            failure.exit
        }
    }
}

fn perform(invocation: args::Invocation) -> Done {
    let args::Invocation { command, overrides, json } = invocation;
    match &command {
        Command::Help(about) => return Output::ok(help::text(*about)),
        Command::Version => {
            return Output::ok(concat!("gatelet ", env!("CARGO_PKG_VERSION"), "\n"))
        }
        _ => {}
    }
    let context = Context::new(&overrides, json);
    match command {
        Command::Run | Command::Help(_) | Command::Version => serve(context),
        #[cfg(windows)]
        Command::Service => service(context),
        Command::Url => url::url(&context),
        Command::Status => status::status(&context),
        Command::Health => status::health(&context),
        Command::Devices(what) => devices::run(&context, what),
        Command::Nodes(what) => nodes::run(&context, &what),
        Command::Pair(what) => pair::run(&context, &what),
        Command::Explain(what) => explain::run(&context, &what),
        Command::ExplainLast(limit) => explain::last(&context, limit),
        Command::TokenShow => token::show(&context),
        Command::TokenRotate => token::rotate(&context),
        Command::ConfigCheck => config::check(&context),
        Command::ConfigPrint => config::print(&context),
        Command::TableCheck => table::check(&context),
        Command::TableDump => table::dump(&context),
        Command::TableRepair => table::repair(&context),
        Command::TableExport => table::export(&context),
        Command::TableImport(what) => import::run(&context, &what),
        Command::Logs(what) => logs::run(&context, &what),
        Command::Events(filter) => events::run(&context, &filter),
        Command::Node(what) => crate::node::run(&context, what),
        Command::Call { method, params } => call::run(&context, &method, &params),
    }
}

/// `gatelet run`
fn serve(context: Context) -> Done {
    context.config()?;
    crate::server::run(context.loaded, &mut show).map_err(refused_start)?;
    Output::ok("")
}

/// `gatelet service`. Problems of the configuration go to the log, because a service has no visible
/// output.
#[cfg(windows)]
fn service(context: Context) -> Done {
    let explain = |error| {
        let failure = refused_start(error);
        (failure.exit as u32, failure.message.clone())
    };
    crate::server::run_service(context.loaded, explain).map_err(CommandError::failed)?;
    Output::ok("")
}

/// Prints the URL of the page. Contains the token only if standard output is a terminal.
fn show(page: &Page) {
    let line = match &page.token {
        Some(token) if io::stdout().is_terminal() => {
            format!("\n  open  {}#token={}\n\n", page.url, token.expose())
        }
        Some(_) => {
            format!(
                "open {} with the token; `{} url` prints the whole line\n",
                page.url,
                crate::server::command()
            )
        }
        None => format!("open {}\n", page.url),
    };
    let _ = io::stdout().write_all(line.as_bytes());
}

fn refused_start(error: StartError) -> CommandError {
    match error {
        StartError::Store(error) => context::failure(error),
        error => CommandError::failed(error.to_string()),
    }
}

/// Prints and flushes a line. Returns `false` if standard output is closed.
pub(crate) fn emit(line: &str) -> bool {
    let mut stdout = io::stdout().lock();
    stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()).is_ok()
}

/// Prints a message on standard error.
fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "gatelet: {message}");
}
