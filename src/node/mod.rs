//! Node host: runs this machine as a node of a gatelet or of another gateway of protocol 4.
//!
//! The node describes what it exposes before it connects, declares exactly these commands and
//! rejects all others. It reconnects after a delay that doubles and is randomized, until the
//! gateway rejects it with an error that a retry cannot resolve. It listens on no port. TLS is not
//! supported.

pub mod address;
pub mod allow_list;
mod commands;
mod error;
mod exec;
mod host_info;
mod identity;
mod session;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use address::GatewayAddress;
use allow_list::AllowedCommand;
use commands::OfferedCommands;
use identity::NodeIdentity;
use session::{Credential, Session};

pub use error::NodeError;

use crate::client::clean;
use crate::config::{AuthMode, Config, Source};
use crate::store;
use crate::wire::json;

/// Connection parameters given by the user.
#[derive(Debug, Default)]
pub struct NodeOptions {
    /// Address of the gateway, see [`GatewayAddress::parse`].
    pub host: Option<String>,
    pub name: Option<String>,
    /// A setup code.
    pub code: Option<String>,
}

/// Prints a text for the user.
pub type Report = fn(&str);

/// A node: its identity, its gateway and its credentials.
pub struct NodeHost {
    identity: NodeIdentity,
    dir: PathBuf,
    name: String,
    address: GatewayAddress,
    /// Tried in this order.
    credentials: Vec<Credential>,
}

impl NodeHost {
    /// Opens the node in the directory. Without a given or known gateway it connects to the one on
    /// this machine, whose address `local_gateway` returns.
    pub fn open(
        dir: &Path,
        options: NodeOptions,
        config: &Config,
        local_gateway: impl FnOnce() -> Option<SocketAddr>,
    ) -> Result<NodeHost, NodeError> {
        let identity = NodeIdentity::open(dir)?;
        let known = identity.gateway();
        let is_local = options.host.is_none() && known.is_none();
        let address = match (&options.host, &known) {
            (Some(host), _) => GatewayAddress::parse(host, config.port)?,
            (None, Some(known)) => known.address.clone(),
            (None, None) => GatewayAddress::Ip(
                local_gateway().unwrap_or(SocketAddr::from(([127, 0, 0, 1], config.port))),
            ),
        };
        let known = known.filter(|known| known.address == address);
        let known_name = known.as_ref().map(|known| known.name.clone());
        let name = options.name.or(known_name).filter(|name| !name.is_empty());
        let mut credentials = Vec::new();
        if let Some(code) = options.code {
            credentials.push(("bootstrapToken", code));
        }
        if let Some(known) = known.filter(|known| !known.token.is_empty()) {
            credentials.push(("deviceToken", known.token));
        }
        // The secret of the gateway on this machine must not be sent to another gateway.
        let is_given =
            |source: &Source| !matches!(source, Source::Config(_) | Source::StateFile(_));
        let secret = config.auth.secret.as_ref();
        if let Some(secret) = secret.filter(|secret| is_local || is_given(&secret.source)) {
            let field = if config.auth.mode == AuthMode::Password { "password" } else { "token" };
            credentials.push((field, secret.value.expose().to_string()));
        }
        let name = name.unwrap_or_else(host_info::name);
        Ok(NodeHost { identity, dir: dir.to_path_buf(), name, address, credentials })
    }

    /// Returns the commands offered now; reads the allowlist again.
    fn offer(&self) -> Result<OfferedCommands, NodeError> {
        Ok(OfferedCommands {
            name: self.name.clone(),
            dir: self.dir.clone(),
            allowed: allow_list::read(&self.dir)?,
        })
    }

    /// Returns the gateway, the identity and the exposed commands as JSON.
    pub fn description_json(&self) -> Result<Vec<u8>, NodeError> {
        let offer = self.offer()?;
        let allowed: Vec<String> = offer.allowed.iter().map(AllowedCommand::line).collect();
        Ok(json::object(|o| {
            o.shown("gateway", &self.address);
            o.str("displayName", &self.name);
            o.shown("nodeId", &self.identity.id);
            o.str("publicKey", &self.identity.public_key());
            o.strs("commands", offer.commands().map(|(name, _)| name));
            o.strings("allowed", &allowed);
        }))
    }

    /// Returns the gateway, the identity and the exposed commands as text.
    pub fn description(&self) -> Result<String, NodeError> {
        let offer = self.offer()?;
        let mut out = format!(
            "gateway  {}\nname     {}\nid       {}\nkey      {}\n\n\
             exposes to clients that the gateway permits\n",
            self.address,
            clean(&self.name),
            self.identity.id,
            self.identity.public_key()
        );
        for (name, about) in offer.commands() {
            out.push_str(&format!("  {name:<15}{about}\n"));
        }
        for entry in &offer.allowed {
            out.push_str(&format!("    {}\n", clean(&entry.line())));
        }
        if offer.allowed.is_empty() {
            out.push_str("system.run is off; `gatelet node allow PROGRAM` enables it\n");
        }
        Ok(out)
    }

    /// Connects and serves requests; returns only on an error that a retry cannot resolve.
    pub fn run(self, report: Report) -> Result<Infallible, NodeError> {
        let path = self.dir.join("node.lock");
        let lock = store::lock(&path).map_err(|error| NodeError::cannot_write(&path, &error))?;
        let Some(_lock) = lock else {
            let dir = self.dir.display();
            return Err(NodeError::Failed(format!("another `gatelet node run` uses {dir}")));
        };
        report(&self.description()?);
        Session::new(self, report)?.keep_connected()
    }
}
