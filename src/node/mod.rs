//! `gatelet node ...`: runs this machine as a node of a gatelet or of another gateway of protocol
//! 4.
//!
//! The node prints what it exposes before it connects, declares exactly these commands and rejects
//! all others. It reconnects after a delay that doubles and is randomized, until the gateway
//! rejects it with an error that a retry cannot resolve. It listens on no port. TLS and name
//! resolution are not supported: the gateway is given by IP address.

mod allow_list;
mod commands;
mod exec;
mod host_info;
mod identity;
mod session;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use commands::OfferedCommands;
use identity::{unwritable, NodeIdentity};
use session::Session;

use crate::cli::args::{NodeCommand, NodeTo};
use crate::cli::context::Context;
use crate::cli::format::clean;
use crate::cli::{emit, CommandError, Done, Exit, Output};
use crate::config::{AuthMode, Source};
use crate::store;
use crate::wire::json;

/// Field name of a credential in the protocol, and its secret.
type Credential = (&'static str, String);

/// Runs a `gatelet node` command.
pub(crate) fn run(context: &Context, what: NodeCommand) -> Done {
    let dir = context.state_dir()?.join("node");
    match what {
        NodeCommand::Run(to) => NodeHost::new(context, &dir, to)?.run(),
        NodeCommand::Show(to) => NodeHost::new(context, &dir, to)?.show(context.json),
        NodeCommand::Allow(words) => allow_list::change(&dir, words, true),
        NodeCommand::Disallow(words) => allow_list::change(&dir, words, false),
        NodeCommand::Allowed => allow_list::list(&dir, context.json),
    }
}

/// Configuration of the node: identity, gateway and credentials.
struct NodeHost {
    identity: NodeIdentity,
    dir: PathBuf,
    name: String,
    address: SocketAddr,
    /// Tried in this order.
    credentials: Vec<Credential>,
}

impl NodeHost {
    fn new(context: &Context, dir: &Path, to: NodeTo) -> Result<NodeHost, CommandError> {
        let identity = NodeIdentity::open(dir)?;
        let config = context.config()?;
        let known = identity.gateway();
        let (address, local) = match (&to.host, &known) {
            (Some(host), _) => (address(host, config.port)?, false),
            (None, Some(known)) => (known.address, false),
            (None, None) => {
                let port = config.port;
                (
                    context
                        .address()
                        .ok()
                        .flatten()
                        .unwrap_or(SocketAddr::from(([127, 0, 0, 1], port))),
                    true,
                )
            }
        };
        let mut credentials = Vec::new();
        credentials.extend(to.code.map(|code| ("bootstrapToken", code)));
        let known = known.filter(|known| known.address == address);
        let name = to
            .name
            .or(known.as_ref().map(|known| known.name.clone()))
            .filter(|name| !name.is_empty());
        let kept = known.filter(|known| !known.token.is_empty());
        credentials.extend(kept.map(|known| ("deviceToken", known.token)));
        // The secret of the gateway on this machine must not be sent to another gateway.
        let given = |source: &Source| !matches!(source, Source::Config(_) | Source::StateFile(_));
        let secret = config.auth.secret.as_ref().filter(|secret| local || given(&secret.source));
        let field = if config.auth.mode == AuthMode::Password { "password" } else { "token" };
        credentials.extend(secret.map(|secret| (field, secret.value.expose().to_string())));
        let name = name.unwrap_or_else(host_info::name);
        Ok(NodeHost { identity, dir: dir.to_path_buf(), name, address, credentials })
    }

    /// Returns the commands offered now; reads the allowlist again.
    fn offer(&self) -> Result<OfferedCommands, CommandError> {
        Ok(OfferedCommands {
            name: self.name.clone(),
            dir: self.dir.clone(),
            allowed: allow_list::read(&self.dir)?,
        })
    }

    /// Implements `gatelet node show`.
    fn show(&self, as_json: bool) -> Done {
        let offer = self.offer()?;
        if as_json {
            return Output::json(&json::object(|o| self.write(o, &offer)));
        }
        Output::ok(self.words(&offer))
    }

    fn write(&self, o: &mut json::Writer<'_>, offer: &OfferedCommands) {
        o.shown("gateway", &self.address);
        o.str("displayName", &self.name);
        o.shown("nodeId", &self.identity.id);
        o.str("publicKey", &self.identity.public());
        o.strs("commands", offer.commands().map(|(name, _)| name));
        o.strings(
            "allowed",
            &offer.allowed.iter().map(allow_list::AllowedCommand::line).collect::<Vec<_>>(),
        );
    }

    fn words(&self, offer: &OfferedCommands) -> String {
        let (address, id) = (self.address.to_string(), self.identity.id.to_string());
        let name = clean(&self.name);
        let mut out = [
            "gateway  ",
            &address,
            "\nname     ",
            &name,
            "\nid       ",
            &id,
            "\nkey      ",
            &self.identity.public(),
        ]
        .concat();
        out.push_str("\n\nexposes to whom the gateway lets call it\n");
        for (name, about) in offer.commands() {
            out.push_str(&["  ", name, &BLANKS[name.len()..], about, "\n"].concat());
        }
        for entry in &offer.allowed {
            out.push_str(&["    ", &clean(&entry.line()), "\n"].concat());
        }
        if offer.allowed.is_empty() {
            out.push_str("system.run is off; `gatelet node allow PROGRAM` allows one\n");
        }
        out
    }

    /// Implements `gatelet node run`; returns only on an error that a retry cannot resolve.
    fn run(self) -> Done {
        let lock = self.dir.join("node.lock");
        let _alone =
            store::lock(&lock).map_err(|error| unwritable(&lock, &error))?.ok_or_else(|| {
                CommandError::failed(format!(
                    "another `gatelet node run` uses {}",
                    self.dir.display()
                ))
            })?;
        emit(&self.words(&self.offer()?));
        Session::new(self)?.keep_up()
    }
}

/// Parses the address of a gateway: `IP`, `IP:PORT`, `localhost`, or one of these in a URL.
pub(crate) fn address(host: &str, port: u16) -> Result<SocketAddr, CommandError> {
    if host.starts_with("wss:") || host.starts_with("https:") {
        let message =
            "this node speaks no TLS; give it the gateway's own address, on a network you trust or in a tunnel";
        return Err(CommandError::new(Exit::Usage, message));
    }
    let bare = host.strip_prefix("ws://").or_else(|| host.strip_prefix("http://")).unwrap_or(host);
    let bare = bare.split('/').next().unwrap_or_default();
    let local =
        bare.strip_prefix("localhost").filter(|rest| rest.is_empty() || rest.starts_with(':'));
    let text = local.map_or_else(|| bare.to_string(), |rest| ["127.0.0.1", rest].concat());
    let ip = text
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>()
        .map(|ip| SocketAddr::new(ip, port));
    text.parse().or(ip).map_err(|_| {
        let shown = clean(bare);
        let message = format!(
            "`{shown}` is no address: names are not looked up, give the IP address of the gateway"
        );
        CommandError::new(Exit::Usage, message)
    })
}

/// Padding of the column of command names.
const BLANKS: &str = "               ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_accepts_ip_port_localhost_and_url() {
        for (host, expected) in [
            ("192.168.1.5", "192.168.1.5:7"),
            ("192.168.1.5:80", "192.168.1.5:80"),
            ("ws://10.0.0.1:80/", "10.0.0.1:80"),
            ("http://10.0.0.1:80/#token=x", "10.0.0.1:80"),
            ("localhost", "127.0.0.1:7"),
            ("ws://localhost:99", "127.0.0.1:99"),
            ("::1", "[::1]:7"),
            ("[::1]", "[::1]:7"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(address(host, 7).unwrap().to_string(), expected, "{host}");
        }
        for (host, words) in [
            ("wss://10.0.0.1", "no TLS"),
            ("https://10.0.0.1", "no TLS"),
            ("raspberrypi.local", "`raspberrypi.local` is no address"),
            ("localhoster", "is no address"),
            ("", "is no address"),
        ] {
            let Err(refused) = address(host, 7) else { panic!("{host}") };
            assert!(refused.message.contains(words), "{host}: {}", refused.message);
        }
    }
}
