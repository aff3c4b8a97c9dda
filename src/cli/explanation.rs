//! Output of `gatelet explain`: the evaluated rules and the decision, as text or JSON.

use super::config::InForce;
use super::format::{clean, Style};
use crate::gate::facts::{
    Code, DeviceProof, DeviceToken, Facts, Protocol, SecretCheck, Unremembered,
};
use crate::gate::ids::Role;
use crate::gate::net::Via;
use crate::gate::policy::{Admission, PolicyOutcome, Registration, Verdict};
use crate::gate::refusal::{Hint, Refusal, Rule};
use crate::gate::scopes::Scopes;
use crate::server::gateway::attempt::ClientInfo;
use crate::server::runtime_config::RuntimeConfig;
use crate::wire::json;

/// A decision with everything that its explanation needs.
pub struct Explanation<'a> {
    pub verdict: Verdict,
    pub facts: &'a Facts,
    pub client: &'a ClientInfo,
    pub runtime: &'a RuntimeConfig,
    pub in_force: &'a InForce<'a>,
}

/// Rules that apply to every connection, in order of evaluation.
const COMMON: [Rule; 6] =
    [Rule::Frame, Rule::Protocol, Rule::Role, Rule::Origin, Rule::Proof, Rule::Credential];

impl Explanation<'_> {
    /// Returns the evaluated rules as text.
    pub fn text(&self, style: Style) -> String {
        let mut out = format!("configuration {}\n{}\n\n", self.in_force.what, self.source());
        for rule in COMMON.into_iter().take_while(|rule| *rule < self.verdict.rule) {
            out.push_str(&row(rule.title(), &outcome("ok"), &self.about(rule)));
        }
        let title = self.verdict.rule.title();
        match self.verdict.outcome {
            PolicyOutcome::Admit(admission) => {
                out.push_str(&row(title, &style.good(&outcome("admitted")), &admitted(&admission)));
                if !admission.pending_scopes.is_empty() {
                    out.push_str(&row(
                        "",
                        &outcome(""),
                        &format!("a pending request asks for {}", scopes(admission.pending_scopes)),
                    ));
                }
            }
            PolicyOutcome::Pend(refusal) => {
                out.push_str(&self.rejected(style, title, "pending", refusal))
            }
            PolicyOutcome::Refuse(refusal) => {
                out.push_str(&self.rejected(style, title, "rejected", refusal))
            }
        }
        out
    }

    fn rejected(&self, style: Style, title: &str, mark: &str, refusal: Refusal) -> String {
        let words = refusal.words();
        let shown = row(
            title,
            &style.bad(&outcome(mark)),
            &format!("{} ({}, close {})", words.v4, words.code, words.close),
        );
        format!("{shown}\nhint: {}\n", self.hint(refusal))
    }

    fn hint(&self, refusal: Refusal) -> String {
        let list = if self.facts.role == Some(Role::Node) { "nodes" } else { "" };
        let fill = self.runtime.fill(list, "", "", &self.client.origin_text);
        Hint::new(refusal.words().hint, fill).to_string()
    }

    fn source(&self) -> String {
        let client = self.client;
        let via = match client.via {
            Via::Direct => "directly",
            Via::TrustedProxy => "through a trusted proxy",
            Via::UntrustedProxy => "with untrusted proxy headers",
        };
        let local = if client.local { ", local" } else { "" };
        format!("client {} from peer {} {via}{local}", client.client, client.peer)
    }

    fn about(&self, rule: Rule) -> String {
        let facts = self.facts;
        match rule {
            Rule::Frame => "assumed to be a valid connect request".to_string(),
            Rule::Protocol => {
                let protocol = Protocol::negotiate(facts.min_protocol, facts.max_protocol)
                    .map_or(0, Protocol::number);
                format!("protocol {protocol}")
            }
            Rule::Role => facts.role.map_or("none", Role::name).to_string(),
            Rule::Origin => {
                let origin = if self.client.origin_text.is_empty() {
                    "none"
                } else {
                    &self.client.origin_text
                };
                format!(
                    "Host {} ({:?}), Origin {} ({:?})",
                    clean(&self.client.host_text),
                    facts.host,
                    clean(origin),
                    facts.origin
                )
            }
            Rule::Proof => match facts.device_proof {
                DeviceProof::Valid { .. } => {
                    "the signature of the device is assumed to be valid".to_string()
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
            (facts.authorized_key, "its key is listed in authorizedKeys"),
        ];
        let given: Vec<&str> = shown.iter().filter(|(is, _)| *is).map(|(_, text)| *text).collect();
        match (given.is_empty(), facts.device_proof) {
            (false, _) => given.join(", "),
            (true, DeviceProof::Valid { .. }) => "only the key of the device".to_string(),
            (true, _) => "none".to_string(),
        }
    }

    pub fn json(&self) -> Vec<u8> {
        json::object(|o| {
            o.bool("running", self.in_force.running);
            o.str("rule", self.verdict.rule.number());
            o.str("title", self.verdict.rule.title());
            let (decision, refusal) = match self.verdict.outcome {
                PolicyOutcome::Admit(admission) => {
                    o.str("role", admission.role.name());
                    o.scopes("scopes", admission.scopes);
                    o.str("method", admission.method.name());
                    ("admit", None)
                }
                PolicyOutcome::Pend(refusal) => ("pend", Some(refusal)),
                PolicyOutcome::Refuse(refusal) => ("refuse", Some(refusal)),
            };
            o.str("verdict", decision);
            if let Some(refusal) = refusal {
                o.str("code", refusal.words().code);
                o.str("message", refusal.words().v4);
                o.str("hint", &self.hint(refusal));
            }
            o.shown("peer", &self.client.peer);
            o.shown("client", &self.client.client);
            o.bool("local", self.client.local);
        })
    }
}

/// Formats one rule with its outcome, which is padded by [`outcome`].
fn row(title: &str, outcome: &str, about: &str) -> String {
    format!("  {title:<34}{outcome}  {about}\n")
}

fn outcome(text: &str) -> String {
    format!("{text:<8}")
}

fn admitted(admission: &Admission) -> String {
    let stored = match admission.registration {
        Registration::Insert { pairing, .. } => {
            format!("paired, provenance {}", pairing.provenance.name())
        }
        Registration::Extend { .. } => "known device, with additional rights".to_string(),
        Registration::Existing(_) => "known device".to_string(),
        Registration::None(Unremembered::NoDevice) => {
            "not stored: the client has no device".to_string()
        }
        Registration::None(Unremembered::AuthNone) => "not stored: auth.mode is none".to_string(),
        Registration::None(Unremembered::TableFull) => "not stored: the table is full".to_string(),
    };
    match admission.role {
        Role::Operator => format!("as operator with {}; {stored}", scopes(admission.scopes)),
        Role::Node => format!("as node; {stored}"),
    }
}

fn scopes(scopes: Scopes) -> String {
    let names: Vec<&str> = scopes
        .iter()
        .map(|scope| scope.name().strip_prefix("operator.").unwrap_or(scope.name()))
        .collect();
    if names.is_empty() {
        "no scopes".to_string()
    } else {
        names.join(", ")
    }
}
