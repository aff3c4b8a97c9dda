//! `gatelet pair`: prints a setup code as eight characters, as a link and as a QR code. All three
//! carry the same secret.

use super::args::{action, Args, Command};
use super::context::Context;
use super::format::{clean, number, shown_text, texts};
use super::output::{parse_answer, CommandError, CommandResult, Exit, Output};
use super::url::for_others;
use crate::config::nearest;
use crate::gate::ids::Role;
use crate::gate::scopes::Scope;
use crate::qr;
use crate::rpc::setup_codes;
use crate::wire::json::{self, Value};

pub const COMMANDS: &[Command] = &[Command {
    name: "pair",
    usage: "[--role ROLE] [--scopes LIST] [--qr]",
    options: &["role", "scopes", "qr"],
    summary: "print a code, link and QR code that pair one new device, valid for ten minutes",
    details: "
  gatelet pair                            for a phone or another computer
  gatelet pair --role node                for a node without a screen
  gatelet pair --scopes read              an operator that can read, but not change anything

ROLE is operator (default) or node. LIST contains some of admin, read, write, approvals, pairing,
questions, talk, talk.secrets, sessions.read, sessions.write; the default is all of them. The QR
code opens the page in a phone's browser; for an app, paste the line `app`. It is printed on a
terminal; --qr prints it in any case. Needs the running gateway.
",
    parse: |args| action(PairOptions::parse(args)?, pair),
    ..Command::BASE
}];

/// `pair ...`
#[derive(Debug)]
struct PairOptions {
    role: Role,
    /// Names of scopes, with or without the prefix `operator.`; empty means all scopes.
    scopes: Vec<String>,
    /// Print a QR code even if standard output is not a terminal.
    qr: bool,
}

impl PairOptions {
    fn parse(args: &Args) -> Result<PairOptions, CommandError> {
        let role = args.role()?.unwrap_or(Role::Operator);
        let scopes = args.list("scopes");
        if role == Role::Node && !scopes.is_empty() {
            return Err(args.error("a node has no scopes: omit `--scopes`"));
        }
        Ok(PairOptions { role, scopes, qr: args.has("qr") })
    }
}

/// Requests a setup code from the running gateway and prints it.
fn pair(context: &Context, options: PairOptions) -> CommandResult {
    let scopes = options.scopes.iter().map(|name| scope(name)).collect::<Result<Vec<_>, _>>()?;
    let params = json::object(|o| {
        o.str("bootstrapProfile", if options.role == Role::Node { "node" } else { "full" });
        o.bool("includeQr", false);
        if !scopes.is_empty() {
            o.strs("scopes", scopes.iter().map(|scope| scope.name()));
        }
    });
    let mut client = context.running()?;
    let status = client.call("gatelet.status", "{}")?;
    let text = client.call("device.pair.setupCode", &String::from_utf8_lossy(&params))?;
    if context.json {
        return Output::json(text.as_bytes());
    }
    let value = parse_answer(&text)?;
    let mut out = summary(context, options.role, &value);
    let (link, page) = (shown_text(&value, "link"), shown_text(&value, "pageLink"));
    // A phone's camera opens the page; an app takes its own link, also by copy and paste.
    let in_picture = if page.is_empty() { &link } else { &page };
    let drawn = (options.qr || context.terminal)
        .then(|| qr::lines(in_picture, context.style.colour))
        .flatten();
    if let Some(drawn) = drawn {
        out.push('\n');
        out.push_str(&drawn);
    }
    Ok(Output { text: out, note: note(&parse_answer(&status)?, &value), exit: Exit::Ok })
}

fn summary(context: &Context, role: Role, value: &Value<'_>) -> String {
    let code = shown_text(value, "code");
    let shown = match code.split_at_checked(4) {
        Some((front, back)) if !back.is_empty() => format!("{front}-{back}"),
        _ => code,
    };
    let expires = number(value, "expiresAtMs");
    let minutes = (expires.saturating_sub(context.now.0) + 30_000) / 60_000;
    let page = shown_text(value, "pageLink");
    let page = if page.is_empty() { page } else { format!("page     {page}\n") };
    format!(
        "code     {}\n{page}app      {}\ngateway  {}\n\npairs one {}, valid for {minutes} minutes\n",
        context.style.bold(&shown),
        shown_text(value, "link"),
        gateways(value).join(", "),
        role.name()
    )
}

/// Returns the addresses for other devices, or the one for this machine if there is no other.
fn gateways(value: &Value<'_>) -> Vec<String> {
    let mut urls = texts(value, "gatewayUrls");
    if urls.iter().any(|url| !setup_codes::is_near(url)) {
        urls.retain(|url| !setup_codes::is_near(url));
    }
    urls
}

/// Returns a warning if no other device can use the code of a gateway with this status.
fn note(status: &Value<'_>, value: &Value<'_>) -> String {
    if gateways(value).iter().any(|url| !setup_codes::is_near(url)) {
        return String::new();
    }
    let listening = texts(status, "listening");
    let is_loopback =
        |address: &String| ["127.", "[::1]"].iter().any(|one| address.starts_with(one));
    for_others(!listening.iter().all(is_loopback)).to_string()
}

/// Parses the name of a scope, with or without the prefix `operator.`.
pub fn scope(name: &str) -> Result<Scope, CommandError> {
    let bare = name.strip_prefix("operator.").unwrap_or(name);
    let names =
        Scope::ALL.map(|scope| scope.name().strip_prefix("operator.").unwrap_or(scope.name()));
    let found = Scope::ALL.into_iter().zip(names).find(|(_, known)| *known == bare);
    found.map(|(scope, _)| scope).ok_or_else(|| {
        let hint = match nearest(bare, names.into_iter()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the scopes are {}", names.join(", ")),
        };
        CommandError::usage(format!("there is no scope `{}`; {hint}", clean(name)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_accepted_by_long_and_short_name() {
        assert_eq!(scope("read").unwrap(), Scope::Read);
        assert_eq!(scope("operator.talk.secrets").unwrap(), Scope::TalkSecrets);
        assert!(scope("raed").unwrap_err().message.contains("did you mean `read`"));
        assert!(scope("zzz").unwrap_err().message.contains("the scopes are admin, read"));
    }
}
