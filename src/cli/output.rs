//! Result of a command: text for standard output or an error, and an exit code.

use std::io::{self, Write};

use crate::client::RpcError;
use crate::gate::limits;
use crate::node::NodeError;
use crate::wire::json::{self, Value};

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
            Exit::Ok => "success",
            Exit::Failed => "failure; the message gives the reason",
            Exit::Usage => "invalid usage",
            Exit::Refused => "rejected by the gateway; with `explain`: it would be rejected",
            Exit::NotRunning => "no gateway is running on this state directory",
            Exit::Damaged => "the pairing table or its key is damaged",
        }
    }
}

/// Output of a command that was executed.
#[derive(Debug)]
pub struct Output {
    pub text: String,
    /// Additional text for standard error; may be empty.
    pub note: String,
    pub exit: Exit,
}

impl Output {
    pub fn ok(text: impl Into<String>) -> CommandResult {
        Output::with(text, Exit::Ok)
    }

    pub fn with(text: impl Into<String>, exit: Exit) -> CommandResult {
        Ok(Output { text: text.into(), note: String::new(), exit })
    }

    /// Returns indented JSON.
    pub fn json(bytes: &[u8]) -> CommandResult {
        Output::ok(pretty(bytes))
    }
}

/// Error of a command.
#[derive(Debug)]
pub struct CommandError {
    pub exit: Exit,
    pub message: String,
}

pub type CommandResult = Result<Output, CommandError>;

impl CommandError {
    pub fn new(exit: Exit, message: impl Into<String>) -> CommandError {
        CommandError { exit, message: message.into() }
    }

    pub fn failed(message: impl Into<String>) -> CommandError {
        CommandError::new(Exit::Failed, message)
    }

    pub fn usage(message: impl Into<String>) -> CommandError {
        CommandError::new(Exit::Usage, message)
    }

    /// Converts the error of a call; the message includes code and details of the error.
    pub fn of_call(error: Box<RpcError>) -> CommandError {
        let details = error.details.as_deref().unwrap_or_default();
        let message = format!("{}: {}\n{}", error.code, error.message, pretty(details.as_bytes()));
        CommandError { message: message.trim_end().to_string(), ..CommandError::from(error) }
    }
}

impl From<Box<RpcError>> for CommandError {
    fn from(error: Box<RpcError>) -> CommandError {
        let exit = if error.is_lost() { Exit::Failed } else { Exit::Refused };
        CommandError::new(exit, error.message)
    }
}

impl From<NodeError> for CommandError {
    fn from(error: NodeError) -> CommandError {
        match error {
            NodeError::InvalidArgument(message) => CommandError::usage(message),
            NodeError::Failed(message) => CommandError::failed(message),
            NodeError::Rejected(message) => CommandError::new(Exit::Refused, message),
        }
    }
}

/// Formats JSON with indentation and a final line end. Other text is returned unchanged.
pub fn pretty(bytes: &[u8]) -> String {
    match json::parse(bytes, limits::JSON_DEPTH) {
        Ok(value) => json::pretty(&value) + "\n",
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Parses the payload of a response of the gateway.
pub fn parse_answer(text: &str) -> Result<Value<'_>, CommandError> {
    json::parse(text.as_bytes(), limits::JSON_DEPTH).map_err(|error| {
        CommandError::failed(format!("the response of the gateway is not JSON: {error}"))
    })
}

/// Parses parameters that were given as JSON.
pub fn parse_params(text: &str) -> Result<Value<'_>, CommandError> {
    json::parse(text.as_bytes(), limits::JSON_DEPTH)
        .map_err(|error| CommandError::usage(format!("the parameters are not JSON: {error}")))
}

/// Prints and flushes a text. Returns `false` if standard output is closed.
pub fn emit(text: &str) -> bool {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_ok()
}

/// Prints a message on standard error.
pub fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "gatelet: {message}");
}
