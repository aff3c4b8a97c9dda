//! `gatelet explain`: evaluates the gate's rules for a described connection, and prints the last
//! refusals of the running gateway.
//!
//! The description is read by `server::gateway::verify` and decided by `gate::policy`, with the
//! configuration in force. Credentials are described (`right`, `wrong`) and never passed.

use std::net::{IpAddr, Ipv4Addr};

use super::args::{CredentialState, ExplainCommand};
use super::context::{Context, Way};
use super::devices::{parse, Owner};
use super::format::{ago, clean, number, word, Style};
use super::{import, pair, select, CommandError, Done, Exit, Output};
use crate::config::Config;
use crate::gate::device::{Device, Provenance};
use crate::gate::facts::{
    Code, DeviceProof, DeviceToken, Facts, Grant, Phase, Protocol, SecretCheck, Unremembered,
};
use crate::gate::ids::{DeviceId, PublicKey, Role, Roles, Slot, TableAge, WallMs};
use crate::gate::net::Via;
use crate::gate::policy::{self, Admission, PolicyOutcome, Registration, Verdict};
use crate::gate::refusal::{Hint, Refusal, Rule};
use crate::gate::scopes::{Scope, Scopes};
use crate::gate::table::{Cell, Table};
use crate::server;
use crate::server::gateway::attempt::ClientInfo;
use crate::server::gateway::verify;
use crate::server::runtime_config::RuntimeConfig;
use crate::wire::http::Head;
use crate::wire::json::{self, Value};

/// Prints the decision about the described connection, rule by rule. Exit code 3 if it is not
/// admitted.
pub fn run(context: &Context, what: &ExplainCommand) -> Done {
    let config = context.config()?;
    let setup = RuntimeConfig::of(config, server::machine_name(), server::command());
    let request = request(config, what)?;
    let head = head(&request)?;
    let peer = address(what.peer.as_deref())?;
    let seen = verify::seen(&head, peer, None, &setup);
    let subject = subject(context, what)?;
    let facts = facts(what, &seen, &subject, &setup)?;
    let mut table = Table::new(vec![Cell::FREE].into_boxed_slice(), 0, TableAge(0));
    if let Some(device) = subject.device.filter(|_| subject.stored) {
        table.put(Slot(0), device);
    }
    let verdict = policy::decide(&facts, &setup.policy, &table);
    let told = Explanation { verdict, facts: &facts, seen: &seen, setup: &setup };
    let exit = if matches!(told.verdict.outcome, PolicyOutcome::Admit(_)) {
        Exit::Ok
    } else {
        Exit::Refused
    };
    let text = if context.json { super::pretty(&told.json()) } else { told.text(context.style) };
    Output::with(text, exit)
}

/// Prints the last refusals of the running gateway, newest first.
pub fn last(context: &Context, limit: u64) -> Done {
    let params = json::object(|o| o.u64("limit", limit));
    let text = context.running()?.call("gatelet.refusals", &String::from_utf8_lossy(&params))?;
    if context.json {
        return Output::json(text.as_bytes());
    }
    let value = parse(&text)?;
    let entries: Vec<Value<'_>> = value.at("refusals").items().collect();
    if entries.is_empty() {
        return Output::ok("nobody was refused since the gateway started\n");
    }
    let shown: Vec<String> = entries.iter().map(|entry| refused(entry, context)).collect();
    Output::ok(shown.join("\n"))
}

fn refused(entry: &Value<'_>, context: &Context) -> String {
    let word = |key: &str| word(entry, key);
    let when = ago(number(entry, "ts"), context.now);
    let style = context.style;
    let mut out = format!(
        "{}  {} ({}), rule {}\n",
        style.dim(&when),
        style.bad(&word("message")),
        word("code"),
        word("rule")
    );
    let mut from = vec![format!("{} ({})", word("client"), word("via"))];
    if word("client") != word("peer") {
        from.push(format!("peer {}", word("peer")));
    }
    for (key, name) in [
        ("host", "Host"),
        ("origin", "Origin"),
        ("clientId", "client"),
        ("device", "device"),
        ("requestId", "request"),
    ] {
        if !word(key).is_empty() {
            from.push(format!("{name} {}", word(key)));
        }
    }
    out.push_str(&format!("  from  {}\n", from.join(", ")));
    if !word("hint").is_empty() {
        out.push_str(&format!("  do    {}\n", word("hint")));
    }
    out
}

// --- description of the connection ---

/// Returns the HTTP request head that the described client would send.
fn request(config: &Config, what: &ExplainCommand) -> Result<Vec<u8>, CommandError> {
    let default_host = format!("127.0.0.1:{}", config.port);
    let host = what.host.as_deref().unwrap_or(&default_host);
    let user = config.auth.trusted_proxy.as_ref().map(|proxy| proxy.user_header.as_str());
    if what.user.is_some() && user.is_none() {
        return Err(usage("`--user` needs gateway.auth.mode \"trusted-proxy\""));
    }
    let lines = [
        ("Host", Some(host).filter(|host| *host != "none")),
        ("Origin", what.origin.as_deref().filter(|origin| *origin != "none")),
        ("X-Forwarded-For", what.xff.as_deref()),
        ("X-Real-IP", what.real_ip.as_deref()),
        (user.unwrap_or_default(), what.user.as_deref()),
    ];
    let mut text = String::from("GET / HTTP/1.1\r\n");
    for (name, value) in lines {
        let Some(value) = value else { continue };
        if value.contains(|char: char| char.is_control()) {
            return Err(usage("a header has no control characters"));
        }
        text.push_str(&[name, ": ", value, "\r\n"].concat());
    }
    text.push_str("\r\n");
    Ok(text.into_bytes())
}

fn head(request: &[u8]) -> Result<Head<'_>, CommandError> {
    match Head::parse(request) {
        Ok(Some(head)) => Ok(head),
        Ok(None) => Err(usage("the described headers are too long")),
        Err(bad) => Err(usage(&bad.to_string())),
    }
}

fn address(text: Option<&str>) -> Result<IpAddr, CommandError> {
    let Some(text) = text else { return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)) };
    text.parse().map_err(|_| usage(&format!("`--peer {}` is no IP address", clean(text))))
}

/// The device that the client presents.
struct Subject {
    device: Option<Device>,
    /// The device is in the table.
    stored: bool,
}

fn subject(context: &Context, what: &ExplainCommand) -> Result<Subject, CommandError> {
    let made_up = || {
        let mut device =
            Device::new(DeviceId([0xff; 32]), PublicKey([0xff; 32]), Provenance::Owner);
        let role = what.role.as_deref().and_then(Role::parse).unwrap_or(Role::Operator);
        device.approve(role, Scopes::ALL, WallMs(0));
        (device, role)
    };
    Ok(match what.device.as_deref().unwrap_or("new") {
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
    let text = match context.way()? {
        Way::Gateway(mut client) => client.list()?,
        Way::File(mut opened) => opened.list()?,
    };
    let list = parse(&text)?;
    let entries = select::entries(&list, "paired");
    let id = &select::one(&entries, typed, "device")?.device;
    let is = |record: &Value<'_>| record.get("deviceId").is_some_and(|text| text.is_str(id));
    let record = list.at("paired").items().find(is);
    let device = record.and_then(|record| import::device(id, &record).ok());
    device.ok_or_else(|| CommandError::failed(format!("cannot read the record of {id}")))
}

fn facts(
    what: &ExplainCommand,
    seen: &ClientInfo,
    subject: &Subject,
    setup: &RuntimeConfig,
) -> Result<Facts, CommandError> {
    let role = what.role.as_deref().map_or(Some(Role::Operator), Role::parse);
    let scopes = what.scopes.iter().map(|name| pair::scope(name)).collect::<Result<Scopes, _>>()?;
    let requested = if scopes.is_empty() { Scopes::of(Scope::Admin) } else { scopes };
    let (min_protocol, max_protocol) = what.protocol.map_or((3, 4), |number| (number, number));
    let browser = if what.origin.is_some() { "openclaw-control-ui" } else { "cli" };
    let grant = Grant { roles: Roles::of(role.unwrap_or(Role::Operator)), scopes: Scopes::ALL };
    Ok(Facts {
        phase: Phase::Running,
        room: true,
        min_protocol,
        max_protocol,
        role,
        control_ui: what.client.as_deref().unwrap_or(browser) == "openclaw-control-ui",
        local: seen.local,
        host: seen.host,
        origin: seen.origin,
        proof: subject.device.as_ref().map_or(DeviceProof::Absent, |device| DeviceProof::Valid {
            id: device.id,
            key: device.key,
        }),
        secret: match what.secret {
            CredentialState::Right => SecretCheck::Right,
            CredentialState::Wrong => SecretCheck::Wrong,
            CredentialState::None => SecretCheck::Absent,
        },
        device_token: match what.device_token {
            CredentialState::Right => DeviceToken::Right(1),
            CredentialState::Wrong => DeviceToken::Wrong,
            CredentialState::None => DeviceToken::Absent,
        },
        code: match what.code {
            CredentialState::Right => Code::Right(grant),
            CredentialState::Wrong => Code::Wrong,
            CredentialState::None => Code::Absent,
        },
        identity: seen.identity,
        authorized_key: subject
            .device
            .as_ref()
            .is_some_and(|device| setup.authorized.contains(&device.id)),
        cidr: seen.cidr,
        requested,
    })
}

fn usage(message: &str) -> CommandError {
    CommandError::new(Exit::Usage, message)
}

// --- output ---

struct Explanation<'a> {
    verdict: Verdict,
    facts: &'a Facts,
    seen: &'a ClientInfo,
    setup: &'a RuntimeConfig,
}

/// Rules that apply to every connection, in order of evaluation.
const COMMON: [Rule; 6] =
    [Rule::Frame, Rule::Protocol, Rule::Role, Rule::Origin, Rule::Proof, Rule::Credential];

impl Explanation<'_> {
    fn text(&self, style: Style) -> String {
        let mut out = format!("{}\n\n", self.where_from());
        for rule in COMMON.into_iter().take_while(|rule| *rule < self.verdict.rule) {
            out.push_str(&row(rule.title(), "ok", &self.about(rule)));
        }
        let title = self.verdict.rule.title();
        match self.verdict.outcome {
            PolicyOutcome::Admit(admission) => {
                out.push_str(&row(title, &style.good("admitted"), &admitted(&admission)));
                if !admission.ask.is_empty() {
                    out.push_str(&row(
                        "",
                        "",
                        &format!("asks the owner for {}", scopes(admission.ask)),
                    ));
                }
            }
            PolicyOutcome::Pend(refusal) => out.push_str(&self.no(style, title, "waits", refusal)),
            PolicyOutcome::Refuse(refusal) => {
                out.push_str(&self.no(style, title, "refused", refusal))
            }
        }
        out
    }

    fn no(&self, style: Style, title: &str, word: &str, refusal: Refusal) -> String {
        let words = refusal.words();
        let shown = row(
            title,
            &style.bad(word),
            &format!("{} ({}, close {})", words.v4, words.code, words.close),
        );
        format!("{shown}\ndo: {}\n", self.hint(refusal))
    }

    fn hint(&self, refusal: Refusal) -> String {
        let origin = if self.seen.origin_text.is_empty() {
            &self.seen.host_text
        } else {
            &self.seen.origin_text
        };
        Hint::new(refusal.words().hint, self.setup.fill("", "", "", origin)).to_string()
    }

    fn where_from(&self) -> String {
        let seen = self.seen;
        let via = match seen.via {
            Via::Direct => "directly",
            Via::TrustedProxy => "through a trusted proxy",
            Via::UntrustedProxy => "with proxy headers that are not trusted",
        };
        let local = if seen.local { ", local" } else { "" };
        format!("client {} from peer {} {via}{local}", seen.client, seen.peer)
    }

    fn about(&self, rule: Rule) -> String {
        let facts = self.facts;
        match rule {
            Rule::Frame => "taken to be a sound connect request".to_string(),
            Rule::Protocol => {
                let dialect = Protocol::negotiate(facts.min_protocol, facts.max_protocol)
                    .map_or(0, Protocol::number);
                format!("speaks {dialect}")
            }
            Rule::Role => facts.role.map_or("none", Role::name).to_string(),
            Rule::Origin => {
                let origin =
                    if self.seen.origin_text.is_empty() { "none" } else { &self.seen.origin_text };
                format!(
                    "Host {} ({:?}), Origin {} ({:?})",
                    clean(&self.seen.host_text),
                    facts.host,
                    clean(origin),
                    facts.origin
                )
            }
            Rule::Proof => match facts.proof {
                DeviceProof::Valid { .. } => {
                    "the device's signature is taken to be good".to_string()
                }
                DeviceProof::Absent | DeviceProof::Invalid(_) => "no device".to_string(),
            },
            _ => self.credentials(),
        }
    }

    fn credentials(&self) -> String {
        let facts = self.facts;
        let shown = [
            (facts.secret == SecretCheck::Right, "shared secret right"),
            (facts.secret == SecretCheck::Wrong, "shared secret wrong"),
            (matches!(facts.device_token, DeviceToken::Right(_)), "device token right"),
            (facts.device_token == DeviceToken::Wrong, "device token wrong"),
            (matches!(facts.code, Code::Right(_)), "setup code right"),
            (facts.code == Code::Wrong, "setup code wrong"),
            (facts.authorized_key, "its key stands in authorizedKeys"),
        ];
        let said: Vec<&str> = shown.iter().filter(|(is, _)| *is).map(|(_, text)| *text).collect();
        match (said.is_empty(), facts.proof) {
            (false, _) => said.join(", "),
            (true, DeviceProof::Valid { .. }) => "nothing but the device's key".to_string(),
            (true, _) => "nothing".to_string(),
        }
    }

    fn json(&self) -> Vec<u8> {
        json::object(|o| {
            o.str("rule", self.verdict.rule.number());
            o.str("title", self.verdict.rule.title());
            let (word, refusal) = match self.verdict.outcome {
                PolicyOutcome::Admit(admission) => {
                    o.str("role", admission.role.name());
                    o.scopes("scopes", admission.scopes);
                    o.str("method", admission.method.name());
                    ("admit", None)
                }
                PolicyOutcome::Pend(refusal) => ("pend", Some(refusal)),
                PolicyOutcome::Refuse(refusal) => ("refuse", Some(refusal)),
            };
            o.str("verdict", word);
            if let Some(refusal) = refusal {
                o.str("code", refusal.words().code);
                o.str("message", refusal.words().v4);
                o.str("hint", &self.hint(refusal));
            }
            o.shown("peer", &self.seen.peer);
            o.shown("client", &self.seen.client);
            o.bool("local", self.seen.local);
        })
    }
}

/// Formats one rule. `mark` is a word with or without colour, padded to the longest one.
fn row(title: &str, mark: &str, about: &str) -> String {
    let bare = mark
        .trim_start_matches("\x1b[32m")
        .trim_start_matches("\x1b[31m")
        .trim_end_matches("\x1b[0m");
    let blanks = " ".repeat("admitted".len().saturating_sub(bare.len()));
    format!("  {title:<34}{mark}{blanks}  {about}\n")
}

fn admitted(admission: &Admission) -> String {
    let kept = match admission.place {
        Registration::New { pairing, .. } => {
            format!("paired, provenance {}", pairing.provenance.name())
        }
        Registration::Grows { .. } => "known, and gains what it asks for".to_string(),
        Registration::Known(_) => "known".to_string(),
        Registration::Nowhere(Unremembered::NoDevice) => {
            "for this connection only: it has no device".to_string()
        }
        Registration::Nowhere(Unremembered::AuthNone) => {
            "for this connection only: auth.mode is none".to_string()
        }
        Registration::Nowhere(Unremembered::TableFull) => {
            "for this connection only: the table is full".to_string()
        }
    };
    match admission.role {
        Role::Operator => format!("as operator with {}; {kept}", scopes(admission.scopes)),
        Role::Node => format!("as node; {kept}"),
    }
}

fn scopes(scopes: Scopes) -> String {
    let names: Vec<&str> = scopes
        .iter()
        .map(|scope| scope.name().strip_prefix("operator.").unwrap_or(scope.name()))
        .collect();
    if names.is_empty() {
        "no scope".to_string()
    } else {
        names.join(", ")
    }
}
