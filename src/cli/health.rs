//! `gatelet health`: checks that the gateway responds.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::args::{action, Command};
use super::context::Context;
use super::output::{CommandError, CommandResult, Output};
use crate::client::get_status;
use crate::config::Bind;

pub const COMMANDS: &[Command] = &[Command {
    name: "health",
    summary: "exit code 0 if the gateway responds, else 1 (for HEALTHCHECK)",
    details: "
  HEALTHCHECK CMD [\"/gatelet\", \"health\"]

Requests GET /healthz on this machine, at the address that the running gateway has written to the
state directory, else at the configured port. Needs no token.
",
    parse: |_| action((), |context, ()| health(context)),
    ..Command::BASE
}];

fn health(context: &Context) -> CommandResult {
    let address = match context.address() {
        Ok(Some(address)) => address,
        // Without access to the state directory, try the configured port.
        Ok(None) | Err(_) => configured(context)?,
    };
    match get_status(address, "/healthz") {
        Ok(200) if context.json => Output::json(b"{\"ok\":true}"),
        Ok(200) => Output::ok("ok\n"),
        Ok(status) => Err(CommandError::failed(format!(
            "the gateway at {address} responds with status {status}"
        ))),
        Err(error) => {
            Err(CommandError::failed(format!("no gateway responds at {address}: {error}")))
        }
    }
}

fn configured(context: &Context) -> Result<SocketAddr, CommandError> {
    let config = context.config()?;
    let host = match config.bind {
        Bind::Custom(address) if !address.is_unspecified() => address,
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    Ok(SocketAddr::new(host, config.port))
}
