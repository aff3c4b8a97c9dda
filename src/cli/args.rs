//! Commands, and the parsing of command line arguments. Pure: no environment, no files, no output.
//!
//! Each command is a [`Command`] in its own file; [`OPTIONS`] lists all options. Anything else is
//! an error that names the nearest match. Options may stand anywhere, `--` ends them, and
//! `--name=value` equals `--name value`. The blanks at the ends of a value are ignored.

use std::ffi::OsString;
use std::fmt::{self, Debug};

use lexopt::{Arg, Parser};

use super::context::Context;
use super::output::{CommandError, CommandResult};
use crate::config::{self, nearest, Overrides, Secret};
use crate::gate::ids::Role;

/// A command, or a family of commands: its help text and its parser.
#[derive(Clone, Copy)]
pub struct Command {
    /// Name as typed, such as `devices approve`.
    pub name: &'static str,
    /// Syntax of its arguments.
    pub usage: &'static str,
    pub min_arguments: usize,
    pub max_arguments: usize,
    /// Accepted options in addition to the global ones. A global option in this list has a meaning
    /// of its own here and is not passed to the configuration.
    pub options: &'static [&'static str],
    /// Summary in one line.
    pub summary: &'static str,
    /// Help text: examples, then details. Begins with an empty line.
    pub details: &'static str,
    pub parse: fn(&Args) -> Result<Box<dyn Action>, CommandError>,
}

impl Command {
    /// A command without arguments and options. As a parser it accepts only members of its family.
    pub const BASE: Command = Command {
        name: "",
        usage: "",
        min_arguments: 0,
        max_arguments: 0,
        options: &[],
        summary: "",
        details: "",
        parse: |args| Err(args.needs_member()),
    };

    /// Returns an error that refers to the help of this command.
    fn error(&self, message: impl fmt::Display) -> CommandError {
        CommandError::usage(format!("{message}\nsee `gatelet help {}`", self.name))
    }
}

/// A parsed command.
pub trait Action: Debug {
    fn run(self: Box<Self>, context: Context) -> CommandResult;
}

/// Arguments of a command, and the function that executes it.
struct Call<A> {
    arguments: A,
    run: fn(&Context, A) -> CommandResult,
}

/// Returns the action that calls `run` with these arguments.
pub fn action<A: Debug + 'static>(
    arguments: A,
    run: fn(&Context, A) -> CommandResult,
) -> Result<Box<dyn Action>, CommandError> {
    Ok(Box::new(Call { arguments, run }))
}

impl<A: Debug> Action for Call<A> {
    fn run(self: Box<Self>, context: Context) -> CommandResult {
        (self.run)(&context, self.arguments)
    }
}

impl<A: Debug> Debug for Call<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.arguments.fmt(f)
    }
}

/// Commands under one heading of the help text, one list per source file.
pub struct Group {
    pub title: &'static str,
    pub commands: &'static [&'static [Command]],
}

/// All commands.
#[derive(Clone, Copy)]
pub struct Commands(pub &'static [Group]);

impl Commands {
    pub fn all(self) -> impl Iterator<Item = &'static Command> {
        self.0.iter().flat_map(|group| group.commands.iter().copied().flatten())
    }

    /// Returns the command with that name.
    pub fn get(self, name: &str) -> Option<&'static Command> {
        self.all().find(|command| command.name == name)
    }

    /// Returns the commands of a family, with their names in the family.
    pub fn members(
        self,
        family: &'static str,
    ) -> impl Iterator<Item = (&'static str, &'static Command)> {
        self.all().filter_map(move |command| {
            Some((command.name.strip_prefix(family)?.strip_prefix(' ')?, command))
        })
    }

    /// Returns the command named by the leading words, and the remaining words. Without words it is
    /// `run`.
    pub fn find(self, words: &[String]) -> Result<(&'static Command, &[String]), CommandError> {
        let first = words.first().map_or("run", String::as_str);
        if let Some(second) = words.get(1) {
            if let Some(command) = self.get(&format!("{first} {second}")) {
                return Ok((command, &words[2..]));
            }
        }
        let Some(command) = self.get(first) else { return Err(self.unknown(first)) };
        match (self.members(command.name).next(), words.get(1)) {
            (Some(_), Some(second)) => Err(self.unknown_member(command, second)),
            _ => Ok((command, words.get(1..).unwrap_or_default())),
        }
    }

    fn unknown(self, word: &str) -> CommandError {
        let names = self.all().map(|command| command.name).filter(|name| !name.contains(' '));
        let hint = nearest(word, names)
            .map(|near| format!("; did you mean `gatelet {near}`?"))
            .unwrap_or_default();
        usage(format!("there is no command `{word}`{hint}"))
    }

    /// Returns the error that the family has no such command.
    pub fn unknown_member(self, family: &'static Command, word: &str) -> CommandError {
        let name = family.name;
        let hint = match nearest(word, self.members(name).map(|(member, _)| member)) {
            Some(near) => format!("; did you mean `gatelet {name} {near}`?"),
            None => format!("; it has {}", self.member_names(name)),
        };
        family.error(format!("`gatelet {name}` has no command `{word}`{hint}"))
    }

    fn member_names(self, family: &'static str) -> String {
        self.members(family).map(|(member, _)| member).collect::<Vec<_>>().join(", ")
    }
}

/// Syntax of an option. `value` is the name of its value in messages, empty for a flag.
pub struct OptionSpec {
    pub name: &'static str,
    short: Option<char>,
    value: &'static str,
}

const fn flag(name: &'static str) -> OptionSpec {
    OptionSpec { name, short: None, value: "" }
}

const fn short_flag(short: char, name: &'static str) -> OptionSpec {
    OptionSpec { name, short: Some(short), value: "" }
}

const fn valued(name: &'static str, value: &'static str) -> OptionSpec {
    OptionSpec { name, short: None, value }
}

/// Number of options at the beginning of [`OPTIONS`] that every command accepts.
const GLOBAL: usize = 10;

pub const OPTIONS: &[OptionSpec] = &[
    valued("state-dir", "DIR"),
    valued("config", "FILE"),
    valued("port", "PORT"),
    valued("bind", "BIND"),
    valued("auth", "MODE"),
    valued("token", "TOKEN"),
    valued("password", "PASSWORD"),
    flag("json"),
    short_flag('h', "help"),
    short_flag('V', "version"),
    valued("log-file", "FILE"),
    short_flag('f', "follow"),
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
    valued("device-token", "STATE"),
    valued("code", "CODE"),
    valued("display-name", "NAME"),
    valued("device", "DEVICE"),
    valued("client", "ID"),
    valued("user", "NAME"),
    valued("protocol", "NUMBER"),
];

/// A parsed command line.
#[derive(Debug)]
pub struct Invocation {
    pub action: Box<dyn Action>,
    /// Options that take precedence over every other source of configuration.
    pub overrides: Overrides,
    /// Print JSON (`--json`).
    pub json: bool,
}

/// Parses the arguments that follow the program's name.
pub fn parse(
    commands: Commands,
    args: impl IntoIterator<Item = impl Into<OsString>>,
) -> Result<Invocation, CommandError> {
    let (words, options) = lex(args.into_iter().map(Into::into).collect())?;
    let has = |name| options.iter().any(|(given, _)| *given == name);
    let (command, rest) = match ["version", "help"].into_iter().find(|name| has(*name)) {
        Some(flag) => (commands.find(&[flag.to_string()])?.0, &words[..]),
        None => commands.find(&words)?,
    };
    let args = Args { commands, command, arguments: rest.to_vec(), options };
    args.check()?;
    let action = (command.parse)(&args)?;
    Ok(Invocation { action, overrides: args.overrides(), json: args.has("json") })
}

/// Arguments and options of a command.
pub struct Args {
    pub commands: Commands,
    pub command: &'static Command,
    pub arguments: Vec<String>,
    options: Vec<(&'static str, String)>,
}

impl Args {
    /// Checks the number of arguments and the names of options, unless only help is requested.
    fn check(&self) -> Result<(), CommandError> {
        if self.has("version") || self.has("help") {
            return Ok(());
        }
        let global = |name: &str| OPTIONS[..GLOBAL].iter().any(|spec| spec.name == name);
        for (name, _) in &self.options {
            if !global(name) && !self.command.options.contains(name) {
                let command = self.command.name;
                return Err(self.error(format!("`gatelet {command}` has no option `--{name}`")));
            }
            // A blank option of the configuration is not set; one that grants rights is an error.
            let is_blank = self.get(name).is_some_and(str::is_empty) && takes_value(name);
            if is_blank && self.command.options.contains(name) && *name != "log-file" {
                return Err(self.error(format!("`--{name}` is blank")));
            }
        }
        if (self.command.min_arguments..=self.command.max_arguments).contains(&self.arguments.len())
        {
            return Ok(());
        }
        Err(self.usage())
    }

    fn overrides(&self) -> Overrides {
        let raw = |name| {
            let mut given = self.options.iter().rev();
            given.find(|(given, _)| *given == name).map(|(_, value)| value.clone())
        };
        let global = |name| raw(name).filter(|_| !self.command.options.contains(&name));
        Overrides {
            config: global("config"),
            state_dir: global("state-dir"),
            log_file: raw("log-file"),
            port: global("port"),
            bind: global("bind"),
            auth: global("auth"),
            token: global("token").as_deref().map(Secret::new),
            password: global("password").as_deref().map(Secret::new),
        }
    }

    pub fn has(&self, option: &str) -> bool {
        self.get(option).is_some()
    }

    /// Returns the last value of the option.
    pub fn get(&self, option: &str) -> Option<&str> {
        let mut given = self.options.iter().rev();
        given.find(|(name, _)| *name == option).map(|(_, value)| config::trimmed(value))
    }

    pub fn owned(&self, option: &str) -> Option<String> {
        self.get(option).map(str::to_string)
    }

    /// Returns the entries of a comma-separated list.
    pub fn list(&self, option: &str) -> Vec<String> {
        let entries = self.get(option).unwrap_or_default().split(',').map(str::trim);
        entries.filter(|entry| !entry.is_empty()).map(str::to_string).collect()
    }

    /// Returns the value of an option that is a number of at least 1.
    pub fn number(&self, option: &str) -> Result<Option<u64>, CommandError> {
        self.get(option).map(|text| self.positive(option, text)).transpose()
    }

    /// Parses a number of at least 1 that was given for the option.
    pub fn positive(&self, option: &str, text: &str) -> Result<u64, CommandError> {
        let number = text.parse().ok().filter(|number| *number > 0);
        number.ok_or_else(|| self.error(format!("`--{option} {text}`: expected a number from 1")))
    }

    pub fn role(&self) -> Result<Option<Role>, CommandError> {
        let Some(text) = self.get("role") else { return Ok(None) };
        let error = || self.error(format!("`--role {text}`: expected operator or node"));
        Role::parse(text).map(Some).ok_or_else(error)
    }

    /// Returns the argument at this position; an empty text if there is none.
    pub fn argument(&self, at: usize) -> String {
        self.arguments.get(at).cloned().unwrap_or_default()
    }

    /// Returns parameters as JSON text, by default an empty object.
    pub fn params(&self, at: usize) -> String {
        self.arguments.get(at).map_or("{}", |text| text).to_string()
    }

    /// Returns the single argument, or `None` if `--latest` is given instead.
    pub fn one_or_latest(&self) -> Result<Option<String>, CommandError> {
        match (self.arguments.first(), self.has("latest")) {
            (Some(argument), false) => Ok(Some(argument.clone())),
            (None, true) => Ok(None),
            (Some(_), true) => Err(self.error("give either one argument or `--latest`, not both")),
            (None, false) => Err(self.usage()),
        }
    }

    /// Returns an error that refers to the help of the command.
    pub fn error(&self, message: impl fmt::Display) -> CommandError {
        self.command.error(message)
    }

    /// Returns the error for a wrong number of arguments.
    fn usage(&self) -> CommandError {
        let Command { name, usage, .. } = self.command;
        self.error(format!("usage: gatelet {name} {usage}").trim_end())
    }

    fn needs_member(&self) -> CommandError {
        let name = self.command.name;
        self.error(format!("`gatelet {name}` needs one of: {}", self.commands.member_names(name)))
    }
}

fn takes_value(option: &str) -> bool {
    OPTIONS.iter().any(|spec| spec.name == option && !spec.value.is_empty())
}

type Options = Vec<(&'static str, String)>;

/// Splits the arguments into words and options.
fn lex(args: Vec<OsString>) -> Result<(Vec<String>, Options), CommandError> {
    let (mut words, mut options) = (Vec::new(), Vec::new());
    let mut parser = Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(usage)? {
        let spec = match arg {
            Arg::Value(word) => {
                words.push(text(word)?);
                continue;
            }
            Arg::Long(name) => {
                OPTIONS.iter().find(|spec| spec.name == name).ok_or_else(|| unknown_option(name))?
            }
            Arg::Short(letter) => OPTIONS
                .iter()
                .find(|spec| spec.short == Some(letter))
                .ok_or_else(|| usage(format!("unknown option `-{letter}`")))?,
        };
        let value = match spec.value {
            "" => String::new(),
            value => {
                let name = spec.name;
                let missing = |_| usage(format!("`--{name}` needs a value: --{name} {value}"));
                text(parser.value().map_err(missing)?)?
            }
        };
        options.push((spec.name, value));
    }
    Ok((words, options))
}

fn text(word: OsString) -> Result<String, CommandError> {
    word.into_string().map_err(|word| usage(format!("`{}` is not UTF-8", word.to_string_lossy())))
}

fn unknown_option(name: &str) -> CommandError {
    let hint = nearest(name, OPTIONS.iter().map(|spec| spec.name))
        .map(|near| format!("; did you mean `--{near}`?"))
        .unwrap_or_default();
    usage(format!("there is no option `--{name}`{hint}"))
}

/// Returns an error that refers to the general help.
fn usage(message: impl fmt::Display) -> CommandError {
    CommandError::usage(format!("{message}\nsee `gatelet help`"))
}
