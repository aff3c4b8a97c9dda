//! Commands of the node: handles `node.invoke.request` and sends the results. `system.run` is
//! answered from a separate thread.

use std::path::{Path, PathBuf};

use super::allow_list::{self, AllowedCommand};
use super::error::InvokeError;
use super::exec::{self, Running};
use super::host_info;
use crate::client::Sender;
use crate::gate::limits;
use crate::server::start_thread;
use crate::wire::json::{self, Value};

/// Commands offered on one connection, and the state they use.
pub struct OfferedCommands {
    /// Display name of the machine.
    pub name: String,
    /// The node's directory.
    pub dir: PathBuf,
    /// Allowlist of `system.run`, which is not declared if the list is empty.
    pub allowed: Vec<AllowedCommand>,
}

/// Request as sent by the gateway.
struct InvokeRequest<'a> {
    id: String,
    node: String,
    command: String,
    params: Value<'a>,
    wait_ms: Option<u64>,
}

impl OfferedCommands {
    /// Returns the declared commands with a description each.
    pub fn commands(&self) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
        COMMANDS.into_iter().filter(|(name, _)| *name != RUN || !self.allowed.is_empty())
    }

    /// Handles a `node.invoke.request`: sends the result, or starts a thread that does.
    pub fn answer(&self, payload: &Value<'_>, sender: &Sender, running: &Running) {
        let text = |name: &str| {
            payload.get(name).and_then(|text| text.as_str()).unwrap_or_default().into_owned()
        };
        let sent = text("paramsJSON");
        let params = json::parse(sent.as_bytes(), limits::JSON_DEPTH).unwrap_or(Value::EMPTY);
        let wait_ms = payload.get("timeoutMs").and_then(|time| time.as_u64());
        let invoke = InvokeRequest {
            id: text("id"),
            node: text("nodeId"),
            command: text("command"),
            params,
            wait_ms,
        };
        let result = match invoke.command.as_str() {
            "device.info" => Ok(host_info::info(Path::new("/"), &self.name)),
            "device.status" => Ok(host_info::status(Path::new("/"), &self.dir)),
            "system.which" => which(&invoke.params),
            RUN => match self.start(&invoke, sender, running) {
                Ok(()) => return,
                Err(error) => Err(error),
            },
            _ => Err(InvokeError::new("UNAVAILABLE", "command not supported")),
        };
        send(sender, &invoke.id, &invoke.node, &result);
    }

    /// Starts a program; a thread sends the result when the program has ended.
    fn start(
        &self,
        invoke: &InvokeRequest<'_>,
        sender: &Sender,
        running: &Running,
    ) -> Result<(), InvokeError> {
        let argv = strings(&invoke.params, "command", limits::NODE_WORDS)
            .filter(|argv| !argv.is_empty())
            .ok_or_else(|| InvokeError::new("INVALID_REQUEST", "command required"))?;
        let Some(program) = allow_list::allowed(&self.allowed, &argv) else {
            let message = "SYSTEM_RUN_DENIED: allowlist miss; on that machine `gatelet node allow PROGRAM` allows one";
            return Err(InvokeError::new("UNAVAILABLE", message));
        };
        let order = exec::order(program, &invoke.params, &argv, invoke.wait_ms)?;
        if !running.begin(&invoke.id) {
            return Err(InvokeError::new(
                "UNAVAILABLE",
                "too many commands run on this node; try again later",
            ));
        }
        let (id, node) = (invoke.id.clone(), invoke.node.clone());
        let (sender, in_thread) = (sender.clone(), running.clone());
        let work = move || {
            let outcome = order.run(&id, &in_thread);
            in_thread.done(&id);
            send(&sender, &id, &node, &Ok(outcome));
        };
        start_thread("run", work).map_err(|error| {
            running.done(&invoke.id);
            InvokeError::new("UNAVAILABLE", error.to_string())
        })
    }
}

/// Returns the paths of the given programs.
fn which(params: &Value<'_>) -> Result<Vec<u8>, InvokeError> {
    let bins = strings(params, "bins", limits::NODE_BINS)
        .ok_or_else(|| InvokeError::new("INVALID_REQUEST", "bins required"))?;
    Ok(json::object(|o| {
        o.obj("bins", |found| {
            for (at, name) in bins.iter().enumerate() {
                let name = name.trim();
                // Names are keys of the result, so each is written once.
                let first = !bins[..at].iter().any(|one| one.trim() == name);
                let counts = first && !Path::new(name).is_absolute();
                if let Some(path) = allow_list::find(name).filter(|_| counts) {
                    found.str(name, &path.to_string_lossy());
                }
            }
        });
    }))
}

/// Returns a member that is an array of at most `most` strings; `None` for anything else.
fn strings(params: &Value<'_>, name: &str, most: usize) -> Option<Vec<String>> {
    let list = params.get(name).filter(|list| list.kind() == json::Kind::Array)?;
    let mut strings = Vec::new();
    for item in list.items() {
        strings.push(item.as_str().filter(|_| strings.len() < most)?.into_owned());
    }
    Some(strings)
}

/// Sends the result of a request: the payload as JSON text, or an error.
fn send(sender: &Sender, id: &str, node: &str, result: &Result<Vec<u8>, InvokeError>) {
    let params = json::object(|o| {
        o.str("id", id);
        o.str("nodeId", node);
        o.bool("ok", result.is_ok());
        match result {
            Ok(json) => o.str("payloadJSON", &String::from_utf8_lossy(json)),
            Err(InvokeError { code, message }) => o.obj("error", |error| {
                error.str("code", code);
                error.str("message", message);
            }),
        }
    });
    // A lost connection needs no result: the gateway has ended its calls.
    let _ = sender.send(id, "node.invoke.result", &params);
}

const RUN: &str = "system.run";

const COMMANDS: [(&str, &str); 4] = [
    ("device.info", "name, model, system and version"),
    ("device.status", "temperature, memory, disk, load, uptime"),
    ("system.which", "paths of programs"),
    (RUN, "runs these programs, without a shell:"),
];
