//! `gatelet explain`: evaluates the gate's rules for a described connection, and prints the last
//! refusals of the running gateway.
//!
//! The description is read by `server::gateway::parse` and decided by `gate::policy`, with the
//! configuration in force. Credentials are described (`right`, `wrong`) and never passed.

use std::net::{IpAddr, Ipv4Addr};

use super::args::{action, Action, Args, Command};
use super::config::InForce;
use super::context::Context;
use super::explanation::Explanation;
use super::format::{ago, clean, number, shown_text};
use super::output::{parse_answer, pretty, CommandError, CommandResult, Exit, Output};
use super::{import, pair, select};
use crate::config::{self, Config};
use crate::gate::device::{Device, Provenance};
use crate::gate::facts::{Code, DeviceProof, DeviceToken, Facts, Grant, Phase, SecretCheck};
use crate::gate::ids::{DeviceId, PublicKey, Role, Roles, Slot, TableAge, WallMs};
use crate::gate::policy::{self, PolicyOutcome};
use crate::gate::scopes::{Scope, Scopes};
use crate::rpc::Devices;
use crate::server;
use crate::server::gateway::attempt::ClientInfo;
use crate::server::gateway::parse;
use crate::server::runtime_config::RuntimeConfig;
use crate::wire::http::Head;
use crate::wire::json::{self, Value};

pub const COMMANDS: &[Command] = &[Command {
    name: "explain",
    usage: "[--last [N]] [--peer IP] [--token right|wrong|none] [--device DEVICE] ...",
    max_arguments: 1,
    options: &[
        "last",
        "peer",
        "host",
        "origin",
        "xff",
        "real-ip",
        "token",
        "password",
        "device-token",
        "code",
        "device",
        "role",
        "client",
        "user",
        "scopes",
        "protocol",
    ],
    summary: "show why a connection was or would be rejected, rule by rule",
    details: "
  gatelet explain --last                  the last rejections of the running gateway
  gatelet explain --peer 172.18.0.1 --token right --device new
  gatelet explain --host gate.example --origin https://gate.example --token right

Without --last, the command evaluates the gateway's rules for a connection that you describe, with
the configuration of the running gateway. If none is running, or options such as --config or --port
are given, it uses the configuration of a start with them; the first line says which one it used.
It opens no such connection. The exit code is 3 if the connection would be rejected.

  --peer IP              address of the peer (default 127.0.0.1)
  --host HOST            Host header (default 127.0.0.1:PORT)
  --origin ORIGIN        Origin header; without it the client is not a browser
  --xff LIST             X-Forwarded-For header; --real-ip IP: X-Real-IP header
  --token, --password    shared secret: right, wrong or none (default)
  --device-token, --code device token, setup code: right, wrong or none (default)
  --device DEVICE        new (default), known, revoked, none, or a device of the table
  --role, --client, --scopes, --protocol, --user     as sent by the client
",
    parse,
    ..Command::BASE
}];

fn parse(args: &Args) -> Result<Box<dyn Action>, CommandError> {
    match (args.has("last"), args.arguments.first()) {
        (true, None) => action(DEFAULT_REJECTIONS, last),
        (true, Some(number)) => action(args.positive("last", number)?, last),
        (false, Some(_)) => Err(args.error("a number is accepted only with `--last`")),
        (false, None) => action(ExplainOptions::parse(args)?, explain),
    }
}

/// Default number of rejections shown by `--last`.
const DEFAULT_REJECTIONS: u64 = 10;

/// `explain ...`: description of a connection.
#[derive(Debug)]
struct ExplainOptions {
    peer: Option<String>,
    host: Option<String>,
    origin: Option<String>,
    xff: Option<String>,
    real_ip: Option<String>,
    /// The shared token or password.
    secret: CredentialState,
    device_token: CredentialState,
    code: CredentialState,
    /// `new`, `known`, `revoked`, `none`, or a device in the table.
    device: Option<String>,
    role: Option<String>,
    client: Option<String>,
    user: Option<String>,
    scopes: Vec<String>,
    protocol: Option<u32>,
}

/// Validity of a described credential.
#[derive(Clone, Copy, Debug)]
enum CredentialState {
    Right,
    Wrong,
    None,
}

impl ExplainOptions {
    fn parse(args: &Args) -> Result<ExplainOptions, CommandError> {
        let secret = if args.has("token") { "token" } else { "password" };
        let protocol = args.get("protocol").map(|text| {
            text.parse()
                .ok()
                .filter(|number| (3..=4).contains(number))
                .ok_or_else(|| args.error(format!("`--protocol {text}`: expected 3 or 4")))
        });
        Ok(ExplainOptions {
            peer: args.owned("peer"),
            host: args.owned("host"),
            origin: args.owned("origin"),
            xff: args.owned("xff"),
            real_ip: args.owned("real-ip"),
            secret: CredentialState::parse(args, secret)?,
            device_token: CredentialState::parse(args, "device-token")?,
            code: CredentialState::parse(args, "code")?,
            device: args.owned("device"),
            role: args.owned("role"),
            client: args.owned("client"),
            user: args.owned("user"),
            scopes: args.list("scopes"),
            protocol: protocol.transpose()?,
        })
    }
}

impl CredentialState {
    fn parse(args: &Args, option: &str) -> Result<CredentialState, CommandError> {
        match args.get(option) {
            Some("right") => Ok(CredentialState::Right),
            Some("wrong") => Ok(CredentialState::Wrong),
            Some("none") | None => Ok(CredentialState::None),
            Some(_) => Err(args.error(format!(
                "`--{option}` describes a credential here: expected right, wrong or none (never \
                 the real one)"
            ))),
        }
    }
}

/// Prints the decision about the described connection, rule by rule. Exit code 3 if it is not
/// admitted.
fn explain(context: &Context, options: ExplainOptions) -> CommandResult {
    let in_force = InForce::of(context)?;
    let config = &in_force.config;
    let runtime = RuntimeConfig::of(config, server::machine_name(), context.command());
    let request = request(config, &options)?;
    let head = head(&request)?;
    let peer = address(options.peer.as_deref())?;
    let client = parse::client_info(&head, peer, None, &runtime);
    let subject = subject(context, &options)?;
    let facts = facts(&options, &client, &subject, &runtime)?;
    let mut table = Devices::new(1, 0, TableAge(0));
    if let Some(device) = subject.device.filter(|_| subject.stored) {
        table.put(Slot(0), device);
    }
    let verdict = policy::decide(&facts, &runtime.policy, &table);
    let exit = match verdict.outcome {
        PolicyOutcome::Admit(_) => Exit::Ok,
        PolicyOutcome::Pend(_) | PolicyOutcome::Refuse(_) => Exit::Refused,
    };
    let explanation = Explanation {
        verdict,
        facts: &facts,
        client: &client,
        runtime: &runtime,
        in_force: &in_force,
    };
    let text = match context.json {
        true => pretty(&explanation.json()),
        false => explanation.text(context.style),
    };
    Output::with(text, exit)
}

/// Prints the last rejections of the running gateway, newest first.
fn last(context: &Context, limit: u64) -> CommandResult {
    let params = json::object(|o| o.u64("limit", limit));
    let text = context.running()?.call("gatelet.refusals", &String::from_utf8_lossy(&params))?;
    if context.json {
        return Output::json(text.as_bytes());
    }
    let value = parse_answer(&text)?;
    let entries: Vec<Value<'_>> = value.at("refusals").items().collect();
    if entries.is_empty() {
        return Output::ok("no connection was rejected since the gateway started\n");
    }
    let shown: Vec<String> = entries.iter().map(|entry| rejection(entry, context)).collect();
    Output::ok(shown.join("\n"))
}

fn rejection(entry: &Value<'_>, context: &Context) -> String {
    let text = |key: &str| shown_text(entry, key);
    let when = ago(number(entry, "ts"), context.now);
    let style = context.style;
    let mut out = format!(
        "{}  {} ({}), rule {}\n",
        style.dim(&when),
        style.bad(&text("message")),
        text("code"),
        text("rule")
    );
    let mut from = vec![format!("{} ({})", text("client"), text("via"))];
    if text("client") != text("peer") {
        from.push(format!("peer {}", text("peer")));
    }
    for (key, name) in [
        ("host", "Host"),
        ("origin", "Origin"),
        ("clientId", "client"),
        ("device", "device"),
        ("requestId", "request"),
    ] {
        if !text(key).is_empty() {
            from.push(format!("{name} {}", text(key)));
        }
    }
    out.push_str(&format!("  from  {}\n", from.join(", ")));
    if !text("hint").is_empty() {
        out.push_str(&format!("  hint  {}\n", text("hint")));
    }
    out
}

// --- description of the connection ---

/// Returns the HTTP request head that the described client would send.
fn request(config: &Config, options: &ExplainOptions) -> Result<Vec<u8>, CommandError> {
    let default_host = format!("127.0.0.1:{}", config.port);
    let host = options.host.as_deref().unwrap_or(&default_host);
    let user = config.auth.trusted_proxy.as_ref().map(|proxy| proxy.user_header.as_str());
    if options.user.is_some() && user.is_none() {
        return Err(CommandError::usage("`--user` needs gateway.auth.mode \"trusted-proxy\""));
    }
    let lines = [
        ("Host", Some(host).filter(|host| *host != "none")),
        ("Origin", options.origin.as_deref().filter(|origin| *origin != "none")),
        ("X-Forwarded-For", options.xff.as_deref()),
        ("X-Real-IP", options.real_ip.as_deref()),
        (user.unwrap_or_default(), options.user.as_deref()),
    ];
    let mut text = String::from("GET / HTTP/1.1\r\n");
    for (name, value) in lines {
        let Some(value) = value else { continue };
        if value.contains(|char: char| char.is_control()) {
            return Err(CommandError::usage("a header cannot contain control characters"));
        }
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    Ok(text.into_bytes())
}

fn head(request: &[u8]) -> Result<Head<'_>, CommandError> {
    match Head::parse(request) {
        Ok(Some(head)) => Ok(head),
        Ok(None) => Err(CommandError::usage("the described headers are too long")),
        Err(bad) => Err(CommandError::usage(bad.to_string())),
    }
}

fn address(text: Option<&str>) -> Result<IpAddr, CommandError> {
    let Some(text) = text else { return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)) };
    config::address(text).ok_or_else(|| {
        CommandError::usage(format!("`--peer {}` is not an IP address", clean(text)))
    })
}

/// The device that the client presents.
struct Subject {
    device: Option<Device>,
    /// The device is in the table.
    stored: bool,
}

fn subject(context: &Context, options: &ExplainOptions) -> Result<Subject, CommandError> {
    let made_up = || {
        let mut device =
            Device::new(DeviceId([0xff; 32]), PublicKey([0xff; 32]), Provenance::Owner);
        let role = options.role.as_deref().and_then(Role::parse).unwrap_or(Role::Operator);
        device.approve(role, Scopes::ALL, WallMs(0));
        (device, role)
    };
    Ok(match options.device.as_deref().unwrap_or("new") {
        "none" => Subject { device: None, stored: false },
        "new" => Subject { device: Some(made_up().0), stored: false },
        "known" => Subject { device: Some(made_up().0), stored: true },
        "revoked" => {
            let (mut device, role) = made_up();
            device.revoke(role);
            Subject { device: Some(device), stored: true }
        }
        typed => Subject { device: Some(stored(context, typed)?), stored: true },
    })
}

/// Reads a device of the table, through the running gateway or from the file.
fn stored(context: &Context, typed: &str) -> Result<Device, CommandError> {
    let text = context.device_access()?.operations().list()?;
    let list = parse_answer(&text)?;
    let entries = select::entries(&list, "paired");
    let id = &select::one(&entries, typed, "device")?.device;
    let is = |record: &Value<'_>| record.get("deviceId").is_some_and(|text| text.is_str(id));
    let record = list.at("paired").items().find(is);
    let device = record.and_then(|record| import::device(id, &record).ok());
    device.ok_or_else(|| CommandError::failed(format!("cannot read the record of {id}")))
}

fn facts(
    options: &ExplainOptions,
    client: &ClientInfo,
    subject: &Subject,
    runtime: &RuntimeConfig,
) -> Result<Facts, CommandError> {
    let role = options.role.as_deref().map_or(Some(Role::Operator), Role::parse);
    let scopes =
        options.scopes.iter().map(|name| pair::scope(name)).collect::<Result<Scopes, _>>()?;
    let requested = if scopes.is_empty() { Scopes::of(Scope::Admin) } else { scopes };
    let (min_protocol, max_protocol) = options.protocol.map_or((3, 4), |number| (number, number));
    let browser = if options.origin.is_some() { "openclaw-control-ui" } else { "cli" };
    let grant = Grant { roles: Roles::of(role.unwrap_or(Role::Operator)), scopes: Scopes::ALL };
    Ok(Facts {
        phase: Phase::Running,
        has_capacity: true,
        min_protocol,
        max_protocol,
        role,
        control_ui: options.client.as_deref().unwrap_or(browser) == "openclaw-control-ui",
        local: client.local,
        host: client.host,
        origin: client.origin,
        device_proof: subject.device.as_ref().map_or(DeviceProof::Absent, |device| {
            DeviceProof::Valid { id: device.id, key: device.key }
        }),
        secret: match options.secret {
            CredentialState::Right => SecretCheck::Right,
            CredentialState::Wrong => SecretCheck::Wrong,
            CredentialState::None => SecretCheck::Absent,
        },
        device_token: match options.device_token {
            CredentialState::Right => DeviceToken::Right(1),
            CredentialState::Wrong => DeviceToken::Wrong,
            CredentialState::None => DeviceToken::Absent,
        },
        code: match options.code {
            CredentialState::Right => Code::Right(grant),
            CredentialState::Wrong => Code::Wrong,
            CredentialState::None => Code::Absent,
        },
        identity: client.identity,
        authorized_key: subject
            .device
            .as_ref()
            .is_some_and(|device| runtime.authorized.contains(&device.id)),
        cidr: client.cidr,
        requested,
    })
}
