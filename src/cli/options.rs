//! Splits the arguments into words and options, without interpreting them. Pure.
//!
//! [`OPTIONS`] lists all options; [`super::topics`] lists those of each command.

use std::ffi::OsString;
use std::fmt;

use lexopt::{Arg, Parser};

use super::topics::Topic;
use crate::config::nearest_word;

/// Invalid usage. The message may name the nearest valid spelling.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageError {
    pub message: String,
    /// Topic of the help to refer to.
    pub topic: Option<&'static str>,
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (space, topic) = self.topic.map_or(("", ""), |topic| (" ", topic));
        write!(f, "{}\nsee `gatelet help{space}{topic}`", self.message)
    }
}

/// Syntax of an option. `value` is the name of its value in the help text, empty for a flag.
pub(super) struct OptionSpec {
    pub name: &'static str,
    short: Option<char>,
    value: &'static str,
}

const fn flag(name: &'static str) -> OptionSpec {
    OptionSpec { name, short: None, value: "" }
}

const fn valued(name: &'static str, value: &'static str) -> OptionSpec {
    OptionSpec { name, short: None, value }
}

/// Options that every command accepts.
pub(super) const GLOBAL: &[&str] = &[
    "state-dir",
    "config",
    "port",
    "bind",
    "auth",
    "token",
    "password",
    "json",
    "help",
    "version",
];

pub(super) const OPTIONS: &[OptionSpec] = &[
    valued("state-dir", "DIR"),
    valued("config", "FILE"),
    valued("port", "PORT"),
    valued("bind", "BIND"),
    valued("auth", "MODE"),
    valued("token", "TOKEN"),
    valued("password", "PASSWORD"),
    flag("json"),
    OptionSpec { short: Some('h'), ..flag("help") },
    OptionSpec { short: Some('V'), ..flag("version") },
    valued("log-file", "FILE"),
    OptionSpec { short: Some('f'), ..flag("follow") },
    valued("level", "LEVEL"),
    valued("limit", "NUMBER"),
    valued("filter", "LIST"),
    valued("timeout", "SECONDS"),
    flag("latest"),
    flag("last"),
    flag("qr"),
    flag("dry-run"),
    flag("overwrite"),
    valued("role", "ROLE"),
    valued("scopes", "LIST"),
    valued("peer", "IP"),
    valued("host", "HOST"),
    valued("origin", "ORIGIN"),
    valued("xff", "LIST"),
    valued("real-ip", "IP"),
    valued("device-token", "WORD"),
    valued("code", "CODE"),
    valued("display-name", "NAME"),
    valued("device", "WORD"),
    valued("client", "ID"),
    valued("user", "NAME"),
    valued("protocol", "NUMBER"),
];

/// Words and options in the given order.
pub(super) struct Given {
    pub words: Vec<String>,
    pub options: Vec<(&'static str, String)>,
}

impl Given {
    pub fn read(args: Vec<OsString>) -> Result<Given, UsageError> {
        let mut given = Given { words: Vec::new(), options: Vec::new() };
        let mut parser = Parser::from_args(args);
        while let Some(arg) = parser.next().map_err(|error| usage(error.to_string()))? {
            let spec = match arg {
                Arg::Value(word) => {
                    given.words.push(text(word)?);
                    continue;
                }
                Arg::Long(name) => OPTIONS
                    .iter()
                    .find(|spec| spec.name == name)
                    .ok_or_else(|| unknown_option(name))?,
                Arg::Short(letter) => OPTIONS
                    .iter()
                    .find(|spec| spec.short == Some(letter))
                    .ok_or_else(|| usage(format!("unknown option `-{letter}`")))?,
            };
            let value = match spec.value {
                "" => String::new(),
                name => {
                    let missing = |_| {
                        usage(format!("`--{}` needs a value: --{} {name}", spec.name, spec.name))
                    };
                    text(parser.value().map_err(missing)?)?
                }
            };
            given.options.push((spec.name, value));
        }
        Ok(given)
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns the last value of the option.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    pub fn owned(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_string)
    }

    /// Returns the entries of a comma-separated list.
    pub fn list(&self, name: &str) -> Vec<String> {
        let entries = self.get(name).unwrap_or_default().split(',').map(str::trim);
        entries.filter(|entry| !entry.is_empty()).map(str::to_string).collect()
    }
}

fn text(word: OsString) -> Result<String, UsageError> {
    word.into_string().map_err(|word| usage(format!("`{}` is not UTF-8", word.to_string_lossy())))
}

fn unknown_option(name: &str) -> UsageError {
    let names: Vec<&'static str> = OPTIONS.iter().map(|spec| spec.name).collect();
    let hint = nearest_word(name, &names).map(|near| format!("; did you mean `--{near}`?"));
    usage(format!("there is no option `--{name}`{}", hint.unwrap_or_default()))
}

/// Returns an error that refers to the general help.
pub(super) fn usage(message: String) -> UsageError {
    UsageError { message, topic: None }
}

/// Returns an error that refers to the help of a command.
pub(super) fn about(topic: &'static Topic, message: String) -> UsageError {
    UsageError { message, topic: Some(topic.name) }
}
