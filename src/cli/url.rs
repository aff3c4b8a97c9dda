//! `gatelet url`: prints the page's URL with the token in its fragment, which a browser does not
//! send to any server.

use super::args::{action, Command};
use super::context::Context;
use super::format::texts;
use super::output::{parse_answer, CommandError, CommandResult, Exit, Output};
use super::token::{self, Running};
use crate::config::{AuthMode, Config, Secret};
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

/// Links to print, and remarks about them.
struct Links {
    pages: Vec<String>,
    /// Follows each page.
    fragment: String,
    notes: Vec<String>,
    running: bool,
}

/// Prints the URLs for this machine and for other machines.
fn url(context: &Context) -> CommandResult {
    let mut links = match Running::ask(context)? {
        Some(running) => in_force(context, &running)?,
        None => configured(context)?,
    };
    let paths = context.paths()?;
    if paths.in_container && paths.published.port.is_none() {
        let note = "in a container: if the port is published as another port, replace it in the link, or pass \
                    the port in GATELET_PUBLISH";
        links.notes.push(note.to_string());
    }
    let urls: Vec<String> =
        links.pages.iter().map(|page| format!("{page}{}", links.fragment)).collect();
    if context.json {
        return Output::json(&json::object(|o| {
            o.opt_str("url", urls.first().map(String::as_str));
            o.strings("urls", &urls);
            o.bool("running", links.running);
        }));
    }
    Ok(Output { text: urls.join("\n") + "\n", note: links.notes.join("\n"), exit: Exit::Ok })
}

/// Returns the links to the running gateway. They have no token if this command cannot read it.
fn in_force(context: &Context, running: &Running) -> Result<Links, CommandError> {
    let pages = texts(&parse_answer(&running.status)?, "pages");
    let mut links = Links { pages, fragment: String::new(), notes: Vec::new(), running: true };
    if running.mode == AuthMode::Token.name() {
        match running.token(context) {
            Ok(token) => links.fragment = fragment(&token.value),
            Err(error) => links.notes.push(format!("the link has no token: {}", error.message)),
        }
    } else if running.mode == AuthMode::Password.name() {
        links.notes.push(PASSWORD.to_string());
    }
    Ok(links)
}

/// Returns the links to a gateway that is started with this configuration.
fn configured(context: &Context) -> Result<Links, CommandError> {
    let config: &Config = context.config()?;
    let fragment = match config.auth.mode {
        AuthMode::Token => fragment(&token::configured(context)?.value),
        _ => String::new(),
    };
    if config.port == 0 {
        return Err(CommandError::failed(
            "no gateway is running, and the configured port is 0: the port is chosen at the start",
        ));
    }
    let (paths, machine) = (context.paths()?, server::machine_name());
    let addresses = server::Addresses::of(config, (config.bind, config.port), paths, &machine);
    let mut notes = vec!["no gateway is running: the link works after the next start".to_string()];
    if config.auth.mode == AuthMode::Password {
        notes.push(PASSWORD.to_string());
    }
    if addresses.far.is_empty() && !paths.in_container {
        notes.push(for_others(addresses.listens_far).to_string());
    }
    Ok(Links { pages: addresses.pages(config), fragment, notes, running: false })
}

const PASSWORD: &str = "sign in with the password; the link does not contain it";

fn fragment(token: &Secret) -> String {
    format!("#token={}", encoded(token.expose()))
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
