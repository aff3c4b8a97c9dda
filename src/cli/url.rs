//! `gatelet url`: prints the page's URL with the token in its fragment, which a browser does not
//! send to any server.

use super::args::{action, Command};
use super::context::Context;
use super::format::shown_text;
use super::output::{parse_answer, CommandError, CommandResult, Exit, Output};
use super::token;
use crate::client::{ClientError, GatewayClient};
use crate::config::{AuthMode, Config, Paths, Secret};
use crate::server;
use crate::wire::json;

pub const COMMANDS: &[Command] = &[Command {
    name: "url",
    summary: "print the link to open in a browser, including the token",
    details: "
  gatelet url
  docker exec CONTAINER /gatelet url

The token follows `#`; browsers do not send this part to any server. Keep the link secret: it
grants access.
",
    parse: |_| action((), |context, ()| url(context)),
    ..Command::BASE
}];

/// Prints the URLs for this machine and for other machines.
fn url(context: &Context) -> CommandResult {
    let config = context.config()?;
    let fragment = match config.auth.mode {
        AuthMode::Token => {
            let token = token::in_force(context)?;
            check_token(context, &token.value, &token.source.to_string())?;
            format!("#token={}", encoded(token.value.expose()))
        }
        _ => String::new(),
    };
    let port = context.address().ok().flatten().map_or(config.port, |address| address.port());
    if port == 0 {
        return Err(CommandError::failed(
            "no gateway is running, and the configured port is 0: the port is chosen at the start",
        ));
    }
    let paths = context.paths()?;
    let addresses =
        server::Addresses::of(config, (config.bind, port), paths, &server::machine_name());
    let note = note(config, port, paths, &addresses);
    let links: Vec<String> =
        addresses.all(config).iter().map(|origin| format!("{origin}/{fragment}")).collect();
    if context.json {
        return Output::json(&json::object(|o| {
            o.opt_str("url", links.first().map(String::as_str));
            o.strings("urls", &links);
        }));
    }
    Ok(Output { text: links.join("\n") + "\n", note, exit: Exit::Ok })
}

/// Error if the running gateway uses another token than this command: the URL would be rejected.
fn check_token(context: &Context, token: &Secret, source: &str) -> Result<(), CommandError> {
    let (Ok(Some(address)), Ok(Some(mut client))) = (context.address(), context.gateway()) else {
        return Ok(());
    };
    let Ok(status) = client.call("gatelet.status", "{}") else { return Ok(()) };
    let value = parse_answer(&status)?;
    let (theirs, from) =
        (shown_text(&value, "secretFingerprint"), shown_text(&value, "secretSource"));
    let fingerprint = token.fingerprint();
    // A short token has no fingerprint to compare, so try it.
    let is_rejected =
        || matches!(GatewayClient::connect(address, token.expose()), Err(ClientError::Refused(_)));
    if theirs.is_empty() || theirs == fingerprint && (token.has_fingerprint() || !is_rejected()) {
        return Ok(());
    }
    Err(CommandError::failed(format!(
        "the running gateway uses another token ({theirs}, from {from}) than this command ({fingerprint}, \
         from {source}); run this command with the same variables and options, or restart the gateway"
    )))
}

/// Returns what the links do not say: that the password is missing, or that no other device can
/// open them.
fn note(config: &Config, port: u16, paths: &Paths, addresses: &server::Addresses) -> String {
    if config.auth.mode == AuthMode::Password {
        return "sign in with the password; the link does not contain it".to_string();
    }
    match paths.published.port {
        None if paths.in_container => format!(
            "in a container: if port {port} is published as another port, replace it in the link, or pass the port \
             in GATELET_PUBLISH"
        ),
        _ if addresses.far.is_empty() => for_others(addresses.listens_far).to_string(),
        _ => String::new(),
    }
}

/// Returns what to set so that other devices can connect, or, if the gateway listens for them, so
/// that it knows the address at which they do.
pub fn for_others(listens_far: bool) -> &'static str {
    if listens_far {
        "no address for other devices is known; open the page by this machine's address in the network, or set \
         gateway.publicOrigin (or GATELET_PUBLISH_ADDRESS for a container)"
    } else {
        "only this machine can connect; for other devices: `gatelet config set gateway.bind lan`, then start the \
         gateway again"
    }
}

/// Percent-encodes the token for a URL fragment.
fn encoded(token: &str) -> String {
    let mut out = String::with_capacity(token.len());
    for byte in token.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_in_a_link_is_escaped_only_where_needed() {
        assert_eq!(encoded("aZ0-._~"), "aZ0-._~");
        assert_eq!(encoded("a b&c#d%+\u{e9}"), "a%20b%26c%23d%25%2B%C3%A9");
    }
}
