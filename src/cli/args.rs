//! Parses command line arguments into a [`Command`]. Pure: no environment, no files, no output.
//!
//! Options are listed in [`super::options`], commands in [`topics`]. Anything else is an error that
//! names the nearest match. Options may stand anywhere, `--` ends them, and `--name=value` equals
//! `--name value`.

use std::ffi::OsString;

use log::Level;

use super::options::{about, usage, Given, UsageError, GLOBAL};
use super::topics::{self, Topic};
use crate::config::{nearest_word, Overrides, Secret};
use crate::gate::ids::Role;

/// A parsed command line.
#[derive(Debug)]
pub struct Invocation {
    pub command: Command,
    /// Options that take precedence over every other source of configuration.
    pub overrides: Overrides,
    /// Print JSON (`--json`).
    pub json: bool,
}

/// A command with its arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    Run,
    /// Run the gateway under the Windows service control manager.
    #[cfg(windows)]
    Service,
    Url,
    Status,
    Health,
    Devices(DevicesCommand),
    Nodes(NodesCommand),
    Pair(PairCommand),
    Explain(Box<ExplainCommand>),
    /// The last refusals of the running gateway, with their maximum number.
    ExplainLast(u64),
    TokenShow,
    TokenRotate,
    ConfigCheck,
    ConfigPrint,
    TableCheck,
    TableDump,
    TableRepair,
    TableExport,
    TableImport(Import),
    Logs(Logs),
    /// Prefixes of the event names to print; empty prints all events.
    Events(Vec<String>),
    /// A method and its parameters as JSON.
    Call {
        method: String,
        params: String,
    },
    Node(NodeCommand),
    /// Help for one command, or the overview.
    Help(Option<&'static Topic>),
    Version,
}

/// `devices ...`. A device is given as the user typed it, see [`super::select`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DevicesCommand {
    List,
    /// A request or device; `None` for the latest request.
    Approve(Option<String>),
    Reject(Option<String>),
    Remove(String),
    Rename {
        device: String,
        name: String,
    },
    Rotate {
        device: String,
        role: Option<Role>,
    },
    Revoke {
        device: String,
        role: Option<Role>,
    },
}

/// `nodes ...`. A node is given as the user typed it, see [`super::select`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodesCommand {
    List,
    Pending,
    Describe(String),
    Invoke {
        node: String,
        command: String,
        params: String,
        /// Timeout in seconds.
        timeout: Option<u64>,
    },
    /// A request or node; `None` for the latest request.
    Approve(Option<String>),
    Reject(Option<String>),
    Remove(String),
    Rename {
        node: String,
        name: String,
    },
}

/// `logs ...`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Logs {
    pub follow: bool,
    /// Least severe level that is printed.
    pub level: Level,
    /// Maximum number of existing lines to print.
    pub limit: usize,
}

/// `pair ...`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PairCommand {
    pub role: Role,
    /// Names of scopes, with or without the prefix `operator.`; empty means all scopes.
    pub scopes: Vec<String>,
    /// Print a QR code even if standard output is not a terminal.
    pub qr: bool,
}

/// `node ...`
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeCommand {
    Run(NodeTo),
    Show(NodeTo),
    /// A program and its leading arguments.
    Allow(Vec<String>),
    Disallow(Vec<String>),
    Allowed,
}

/// Connection parameters of a node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeTo {
    pub host: Option<String>,
    pub name: Option<String>,
    /// A setup code.
    pub code: Option<String>,
}

/// `explain ...`: description of a connection.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ExplainCommand {
    pub peer: Option<String>,
    pub host: Option<String>,
    pub origin: Option<String>,
    pub xff: Option<String>,
    pub real_ip: Option<String>,
    /// The shared token or password.
    pub secret: CredentialState,
    pub device_token: CredentialState,
    pub code: CredentialState,
    /// `new`, `known`, `revoked`, `none`, or a device in the table.
    pub device: Option<String>,
    pub role: Option<String>,
    pub client: Option<String>,
    pub user: Option<String>,
    pub scopes: Vec<String>,
    pub protocol: Option<u32>,
}

/// Validity of a described credential.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CredentialState {
    Right,
    Wrong,
    #[default]
    None,
}

/// `table import ...`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Import {
    pub files: Vec<String>,
    pub dry_run: bool,
    pub overwrite: bool,
}

/// Parses the arguments that follow the program's name.
pub fn parse<I>(args: I) -> Result<Invocation, UsageError>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let given = Given::read(args.into_iter().map(Into::into).collect())?;
    if given.has("version") {
        return Ok(given.invocation(Command::Version));
    }
    let (topic, words) = find_topic(&given.words)?;
    if given.has("help") {
        let about = (!given.words.is_empty()).then_some(topic);
        return Ok(given.invocation(Command::Help(about)));
    }
    given.check(topic, words)?;
    let command = build(&given, topic, words)?;
    Ok(given.invocation(command))
}

impl Given {
    fn check(&self, topic: &'static Topic, words: &[String]) -> Result<(), UsageError> {
        for (name, _) in &self.options {
            if !GLOBAL.contains(name) && !topic.options.contains(name) {
                return Err(about(
                    topic,
                    format!("`gatelet {}` has no option `--{name}`", topic.name),
                ));
            }
        }
        if words.len() < topic.least || words.len() > topic.most {
            return Err(about(
                topic,
                format!("usage: gatelet {} {}", topic.name, topic.usage).trim_end().to_string(),
            ));
        }
        Ok(())
    }

    fn invocation(&self, command: Command) -> Invocation {
        // With `explain`, `--token` and `--password` describe credentials and carry none.
        let secret = |name| match command {
            Command::Explain(_) => None,
            _ => self.get(name).map(Secret::new),
        };
        let overrides = Overrides {
            config: self.owned("config"),
            state_dir: self.owned("state-dir"),
            log_file: self.owned("log-file"),
            port: self.owned("port"),
            bind: self.owned("bind"),
            auth: self.owned("auth"),
            token: secret("token"),
            password: secret("password"),
        };
        Invocation { command, overrides, json: self.has("json") }
    }
}

/// Returns the topic named by the leading words, and the remaining words. Without words it is
/// `run`.
fn find_topic(words: &[String]) -> Result<(&'static Topic, &[String]), UsageError> {
    let Some(first) = words.first() else {
        return topics::topic("run").map(|run| (run, words)).ok_or_else(|| usage(String::new()));
    };
    if let Some(second) = words.get(1) {
        let both = format!("{first} {second}");
        if let Some(topic) = topics::topic(&both) {
            return Ok((topic, &words[2..]));
        }
    }
    if let Some(topic) = topics::topic(first) {
        return match (topics::members(first).next(), words.get(1)) {
            (Some(_), Some(second)) => Err(unknown_member(topic, second)),
            _ => Ok((topic, &words[1..])),
        };
    }
    let names: Vec<&'static str> =
        topics::all().map(|topic| topic.name).filter(|name| !name.contains(' ')).collect();
    let hint = nearest_word(first, &names).map(|near| format!("; did you mean `gatelet {near}`?"));
    Err(usage(format!("there is no command `{first}`{}", hint.unwrap_or_default())))
}

fn unknown_member(family: &'static Topic, word: &str) -> UsageError {
    let names: Vec<&'static str> = topics::members(family.name).collect();
    let hint = match nearest_word(word, &names) {
        Some(near) => format!("; did you mean `gatelet {} {near}`?", family.name),
        None => format!("; it has {}", names.join(", ")),
    };
    about(family, format!("`gatelet {}` has no command `{word}`{hint}", family.name))
}

fn build(given: &Given, topic: &'static Topic, words: &[String]) -> Result<Command, UsageError> {
    let word = |at: usize| words.get(at).cloned().unwrap_or_default();
    Ok(match topic.name {
        "run" => Command::Run,
        #[cfg(windows)]
        "service" => Command::Service,
        "url" => Command::Url,
        "status" => Command::Status,
        "health" => Command::Health,
        "pair" => Command::Pair(pair(given, topic)?),
        "explain" if given.has("last") => Command::ExplainLast(last(words, topic)?),
        "explain" if !words.is_empty() => {
            return Err(about(topic, "a number goes with `--last`".to_string()))
        }
        "explain" => Command::Explain(Box::new(explain(given, topic)?)),
        "token show" => Command::TokenShow,
        "token rotate" => Command::TokenRotate,
        "config check" => Command::ConfigCheck,
        "config print" => Command::ConfigPrint,
        "table check" => Command::TableCheck,
        "table dump" => Command::TableDump,
        "table repair" => Command::TableRepair,
        "table export" => Command::TableExport,
        "table import" => Command::TableImport(Import {
            files: words.to_vec(),
            dry_run: given.has("dry-run"),
            overwrite: given.has("overwrite"),
        }),
        "logs" => Command::Logs(logs(given, topic)?),
        "events" => Command::Events(given.list("filter")),
        "call" => Command::Call { method: word(0), params: json(words.get(1)) },
        "node run" => Command::Node(NodeCommand::Run(node_to(given))),
        "node show" => Command::Node(NodeCommand::Show(node_to(given))),
        "node allow" => Command::Node(NodeCommand::Allow(words.to_vec())),
        "node disallow" => Command::Node(NodeCommand::Disallow(words.to_vec())),
        "node allowed" => Command::Node(NodeCommand::Allowed),
        "help" => help_about(words)?,
        "version" => Command::Version,
        "token" | "config" | "table" | "node" => return Err(needs_member(topic)),
        name if name.starts_with("nodes") => Command::Nodes(nodes(given, topic, words)?),
        _ => Command::Devices(devices(given, topic, words)?),
    })
}

/// Returns the parameters as JSON, by default an empty object.
fn json(word: Option<&String>) -> String {
    word.map_or("{}", |word| word).to_string()
}

fn needs_member(family: &'static Topic) -> UsageError {
    let names: Vec<&'static str> = topics::members(family.name).collect();
    about(family, format!("`gatelet {}` needs one of: {}", family.name, names.join(", ")))
}

fn devices(
    given: &Given,
    topic: &'static Topic,
    words: &[String],
) -> Result<DevicesCommand, UsageError> {
    let device = words.first().cloned().unwrap_or_default();
    Ok(match topic.name {
        "devices approve" => DevicesCommand::Approve(one_or_latest(given, topic, words)?),
        "devices reject" => DevicesCommand::Reject(one_or_latest(given, topic, words)?),
        "devices remove" => DevicesCommand::Remove(device),
        "devices rename" => {
            DevicesCommand::Rename { device, name: words.get(1).cloned().unwrap_or_default() }
        }
        "devices rotate" => DevicesCommand::Rotate { device, role: role(given, topic)? },
        "devices revoke" => DevicesCommand::Revoke { device, role: role(given, topic)? },
        _ => DevicesCommand::List,
    })
}

fn nodes(
    given: &Given,
    topic: &'static Topic,
    words: &[String],
) -> Result<NodesCommand, UsageError> {
    let word = |at: usize| words.get(at).cloned().unwrap_or_default();
    Ok(match topic.name {
        "nodes pending" => NodesCommand::Pending,
        "nodes describe" => NodesCommand::Describe(word(0)),
        "nodes invoke" => NodesCommand::Invoke {
            node: word(0),
            command: word(1),
            params: json(words.get(2)),
            timeout: number(given, topic, "timeout")?.map(|seconds| seconds as u64),
        },
        "nodes approve" => NodesCommand::Approve(one_or_latest(given, topic, words)?),
        "nodes reject" => NodesCommand::Reject(one_or_latest(given, topic, words)?),
        "nodes remove" => NodesCommand::Remove(word(0)),
        "nodes rename" => NodesCommand::Rename { node: word(0), name: word(1) },
        _ => NodesCommand::List,
    })
}

fn one_or_latest(
    given: &Given,
    topic: &'static Topic,
    words: &[String],
) -> Result<Option<String>, UsageError> {
    match (words.first(), given.has("latest")) {
        (Some(word), false) => Ok(Some(word.clone())),
        (None, true) => Ok(None),
        (Some(_), true) => Err(about(topic, "say either which one or `--latest`".to_string())),
        (None, false) => {
            Err(about(topic, format!("usage: gatelet {} {}", topic.name, topic.usage)))
        }
    }
}

fn role(given: &Given, topic: &'static Topic) -> Result<Option<Role>, UsageError> {
    let Some(word) = given.get("role") else { return Ok(None) };
    Role::parse(word)
        .map(Some)
        .ok_or_else(|| about(topic, format!("`--role` is operator or node, not `{word}`")))
}

fn pair(given: &Given, topic: &'static Topic) -> Result<PairCommand, UsageError> {
    let role = role(given, topic)?.unwrap_or(Role::Operator);
    let scopes = given.list("scopes");
    if role == Role::Node && !scopes.is_empty() {
        return Err(about(topic, "a node has no scopes: leave out `--scopes`".to_string()));
    }
    Ok(PairCommand { role, scopes, qr: given.has("qr") })
}

fn logs(given: &Given, topic: &'static Topic) -> Result<Logs, UsageError> {
    let level = given.get("level").unwrap_or("trace");
    let level = level.parse().map_err(|_| {
        about(topic, format!("`--level {level}`: it is error, warn, info, debug or trace"))
    })?;
    Ok(Logs {
        follow: given.has("follow"),
        level,
        limit: number(given, topic, "limit")?.unwrap_or(LOGS_DEFAULT),
    })
}

/// Default of `logs --limit`.
const LOGS_DEFAULT: usize = 200;

/// Parses the value of an option as a number of at least 1.
fn number(given: &Given, topic: &'static Topic, name: &str) -> Result<Option<usize>, UsageError> {
    let Some(word) = given.get(name) else { return Ok(None) };
    let number = word.parse().ok().filter(|number| *number > 0);
    number.map(Some).ok_or_else(|| about(topic, format!("`--{name} {word}`: give a number from 1")))
}

fn node_to(given: &Given) -> NodeTo {
    NodeTo {
        host: given.owned("host"),
        name: given.owned("display-name"),
        code: given.owned("code"),
    }
}

fn last(words: &[String], topic: &'static Topic) -> Result<u64, UsageError> {
    let Some(number) = words.first() else { return Ok(LAST_DEFAULT) };
    let count = number.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| about(topic, format!("`--last {number}`: give a number from 1")))
}

/// Default number of refusals shown by `explain --last`.
const LAST_DEFAULT: u64 = 10;

fn explain(given: &Given, topic: &'static Topic) -> Result<ExplainCommand, UsageError> {
    let secret = if given.has("token") { "token" } else { "password" };
    let protocol = match given.get("protocol") {
        None => None,
        Some(word) => Some(
            word.parse().map_err(|_| about(topic, format!("`--protocol {word}`: give 3 or 4")))?,
        ),
    };
    Ok(ExplainCommand {
        peer: given.owned("peer"),
        host: given.owned("host"),
        origin: given.owned("origin"),
        xff: given.owned("xff"),
        real_ip: given.owned("real-ip"),
        secret: guess(given, topic, secret)?,
        device_token: guess(given, topic, "device-token")?,
        code: guess(given, topic, "code")?,
        device: given.owned("device"),
        role: given.owned("role"),
        client: given.owned("client"),
        user: given.owned("user"),
        scopes: given.list("scopes"),
        protocol,
    })
}

fn guess(given: &Given, topic: &'static Topic, name: &str) -> Result<CredentialState, UsageError> {
    match given.get(name) {
        Some("right") => Ok(CredentialState::Right),
        Some("wrong") => Ok(CredentialState::Wrong),
        Some("none") | None => Ok(CredentialState::None),
        Some(_) => Err(about(
            topic,
            format!("`--{name}` describes it here: right, wrong or none (never the real one)"),
        )),
    }
}

fn help_about(words: &[String]) -> Result<Command, UsageError> {
    if words.is_empty() {
        return Ok(Command::Help(None));
    }
    let (topic, rest) = find_topic(words)?;
    match rest.first() {
        None => Ok(Command::Help(Some(topic))),
        Some(word) => Err(unknown_member(topic, word)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::options::OPTIONS;

    fn command(args: &[&str]) -> Command {
        parse(args.iter().copied()).unwrap_or_else(|error| panic!("{args:?}: {error}")).command
    }

    fn error(args: &[&str]) -> String {
        match parse(args.iter().copied()) {
            Ok(invocation) => panic!("{args:?} is {:?}", invocation.command),
            Err(error) => error.to_string(),
        }
    }

    fn text(word: &str) -> String {
        word.to_string()
    }

    #[test]
    fn every_command_is_parsed() {
        let approve =
            |word: Option<&str>| Command::Devices(DevicesCommand::Approve(word.map(text)));
        let table: &[(&[&str], Command)] = &[
            (&[], Command::Run),
            (&["--port", "1"], Command::Run),
            (&["run"], Command::Run),
            (&["url"], Command::Url),
            (&["status", "--json"], Command::Status),
            (&["health"], Command::Health),
            (&["devices"], Command::Devices(DevicesCommand::List)),
            (&["devices", "list"], Command::Devices(DevicesCommand::List)),
            (
                &["node", "run", "--host", "10.0.0.1", "--code", "C", "--display-name", "n"],
                Command::Node(NodeCommand::Run(NodeTo {
                    host: Some(text("10.0.0.1")),
                    name: Some(text("n")),
                    code: Some(text("C")),
                })),
            ),
            (&["node", "show"], Command::Node(NodeCommand::Show(NodeTo::default()))),
            (
                &["node", "allow", "/bin/df", "--", "-h"],
                Command::Node(NodeCommand::Allow(vec![text("/bin/df"), text("-h")])),
            ),
            (
                &["node", "disallow", "/bin/df"],
                Command::Node(NodeCommand::Disallow(vec![text("/bin/df")])),
            ),
            (&["node", "allowed"], Command::Node(NodeCommand::Allowed)),
            (&["devices", "approve", "abc"], approve(Some("abc"))),
            (&["devices", "approve", "--latest"], approve(None)),
            (&["--latest", "devices", "reject"], Command::Devices(DevicesCommand::Reject(None))),
            (&["devices", "remove", "x"], Command::Devices(DevicesCommand::Remove(text("x")))),
            (
                &["devices", "rename", "x", "a b"],
                Command::Devices(DevicesCommand::Rename { device: text("x"), name: text("a b") }),
            ),
            (
                &["devices", "rename", "x", "--", "--json"],
                Command::Devices(DevicesCommand::Rename {
                    device: text("x"),
                    name: text("--json"),
                }),
            ),
            (
                &["devices", "rotate", "x"],
                Command::Devices(DevicesCommand::Rotate { device: text("x"), role: None }),
            ),
            (
                &["devices", "revoke", "x", "--role=node"],
                Command::Devices(DevicesCommand::Revoke {
                    device: text("x"),
                    role: Some(Role::Node),
                }),
            ),
            (&["nodes"], Command::Nodes(NodesCommand::List)),
            (&["nodes", "list"], Command::Nodes(NodesCommand::List)),
            (&["nodes", "pending"], Command::Nodes(NodesCommand::Pending)),
            (&["nodes", "describe", "n"], Command::Nodes(NodesCommand::Describe(text("n")))),
            (
                &["nodes", "invoke", "n", "c", "--timeout", "5"],
                Command::Nodes(NodesCommand::Invoke {
                    node: text("n"),
                    command: text("c"),
                    params: text("{}"),
                    timeout: Some(5),
                }),
            ),
            (&["nodes", "approve", "--latest"], Command::Nodes(NodesCommand::Approve(None))),
            (&["nodes", "reject", "r"], Command::Nodes(NodesCommand::Reject(Some(text("r"))))),
            (&["nodes", "remove", "n"], Command::Nodes(NodesCommand::Remove(text("n")))),
            (
                &["nodes", "rename", "n", "a b"],
                Command::Nodes(NodesCommand::Rename { node: text("n"), name: text("a b") }),
            ),
            (
                &["pair"],
                Command::Pair(PairCommand { role: Role::Operator, scopes: vec![], qr: false }),
            ),
            (
                &["pair", "--scopes", "read, pairing", "--qr"],
                Command::Pair(PairCommand {
                    role: Role::Operator,
                    scopes: vec![text("read"), text("pairing")],
                    qr: true,
                }),
            ),
            (&["explain", "--last"], Command::ExplainLast(10)),
            (&["explain", "--last", "3"], Command::ExplainLast(3)),
            (&["logs"], Command::Logs(Logs { follow: false, level: Level::Trace, limit: 200 })),
            (
                &["logs", "-f", "--level", "Warn", "--limit", "5"],
                Command::Logs(Logs { follow: true, level: Level::Warn, limit: 5 }),
            ),
            (&["events"], Command::Events(vec![])),
            (
                &["events", "--filter", "node., tick"],
                Command::Events(vec![text("node."), text("tick")]),
            ),
            (&["token", "show"], Command::TokenShow),
            (&["token", "rotate"], Command::TokenRotate),
            (&["config", "check"], Command::ConfigCheck),
            (&["config", "print"], Command::ConfigPrint),
            (&["table", "check"], Command::TableCheck),
            (&["table", "dump"], Command::TableDump),
            (&["table", "repair"], Command::TableRepair),
            (&["table", "export"], Command::TableExport),
            (
                &["table", "import", "a", "b", "--dry-run"],
                Command::TableImport(Import {
                    files: vec![text("a"), text("b")],
                    dry_run: true,
                    overwrite: false,
                }),
            ),
            (&["call", "health"], Command::Call { method: text("health"), params: text("{}") }),
            (
                &["call", "x", "{\"a\":1}"],
                Command::Call { method: text("x"), params: text("{\"a\":1}") },
            ),
            (&["help"], Command::Help(None)),
            (&["-h"], Command::Help(None)),
            (&["help", "devices", "approve"], Command::Help(topics::topic("devices approve"))),
            (&["devices", "approve", "--help"], Command::Help(topics::topic("devices approve"))),
            (&["token", "--help"], Command::Help(topics::topic("token"))),
            (&["version"], Command::Version),
            (&["-V"], Command::Version),
        ];
        for (args, expected) in table {
            assert_eq!(command(args), *expected, "{args:?}");
        }
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
            (&["pair", "--role", "admin"], "`--role` is operator or node, not `admin`\nsee `gatelet help pair`"),
            (&["explain", "--token", "s3cret"], "`--token` describes it here: right, wrong or none (never the real one)\nsee `gatelet help explain`"),
            (&["explain", "--last", "0"], "`--last 0`: give a number from 1\nsee `gatelet help explain`"),
            (&["nodes", "approve"], "usage: gatelet nodes approve REQUEST|NODE|--latest\nsee `gatelet help nodes approve`"),
            (&["nodes", "invoke", "n"], "usage: gatelet nodes invoke NODE COMMAND [PARAMS-JSON] [--timeout SECONDS]\nsee `gatelet help nodes invoke`"),
            (&["logs", "--level", "loud"], "`--level loud`: it is error, warn, info, debug or trace\nsee `gatelet help logs`"),
            (&["logs", "--limit", "0"], "`--limit 0`: give a number from 1\nsee `gatelet help logs`"),
            (&["logs", "--log-file", "x"], "`gatelet logs` has no option `--log-file`\nsee `gatelet help logs`"),
            (&["help", "devices", "aprove"], "`gatelet devices` has no command `aprove`; did you mean `gatelet devices approve`?\nsee `gatelet help devices`"),
        ];
        for (args, expected) in table {
            assert_eq!(error(args), *expected, "{args:?}");
        }
    }

    #[test]
    fn global_options_are_applied_and_explain_keeps_its_own_token_option() {
        let given = parse([
            "status",
            "--token=t",
            "--state-dir",
            "/s",
            "--json",
            "--bind",
            "lan",
            "--auth",
            "token",
        ])
        .unwrap();
        assert_eq!(given.overrides.token.unwrap().expose(), "t");
        assert_eq!(given.overrides.state_dir.as_deref(), Some("/s"));
        assert_eq!(given.overrides.bind.as_deref(), Some("lan"));
        assert!(given.json);
        let given = parse(["explain", "--token", "right", "--peer", "1.2.3.4"]).unwrap();
        assert!(given.overrides.token.is_none());
        let Command::Explain(explain) = given.command else { panic!("{:?}", given.command) };
        assert_eq!(
            (explain.secret, explain.peer.as_deref()),
            (CredentialState::Right, Some("1.2.3.4"))
        );
    }

    #[test]
    fn every_topic_has_a_command_and_its_options_exist() {
        for topic in topics::all() {
            let words: Vec<&str> =
                topic.name.split(' ').chain(std::iter::repeat_n("1", topic.least)).collect();
            let family = topics::members(topic.name).next().is_some()
                && !["devices", "nodes"].contains(&topic.name);
            let latest = topic.options.contains(&"latest");
            assert_eq!(
                parse(words.iter().copied().chain(latest.then_some("--latest"))).is_err(),
                family,
                "{words:?}"
            );
            for name in topic.options {
                assert!(OPTIONS.iter().any(|spec| spec.name == *name), "{name}");
            }
        }
    }
}
