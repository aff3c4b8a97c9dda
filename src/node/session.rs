//! Connection of the node to its gateway: handshake, serving requests, reconnecting.

use super::commands::OfferedCommands;
use super::exec::Running;
use super::identity::{KnownGateway, CLIENT, NODE};
use super::{host_info, Credential, NodeHost};
use crate::cli::format::clean;
use crate::cli::{emit, CommandError, Done, Exit};
use crate::client::{GatewayClient, RpcError};
use crate::gate::limits;
use crate::server::os::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::server::{start_thread, Stop};
use crate::wire::frames::FromGateway;
use crate::wire::json::{self, Value, Writer};

/// State of a running node.
pub(super) struct Session {
    host: NodeHost,
    running: Running,
    clock: SystemClock,
    /// Last connection error that was printed.
    said: String,
}

/// Outcome of a handshake or of a connection.
enum SessionEnd {
    /// A retry can succeed; the text says what happened.
    Later(String),
    /// This credential was rejected; another one may be accepted.
    Wrong(String),
    /// A retry cannot succeed.
    Never(String),
}

impl Session {
    pub fn new(host: NodeHost) -> Result<Session, CommandError> {
        let running = Running::default();
        let theirs = running.clone();
        let stop = Stop::listen().map_err(|error| CommandError::failed(error.to_string()))?;
        let stopping = move || {
            let _ = smol::block_on(stop.asked());
            theirs.cancel_all();
            // Threads that wait for a child notice the cancellation within `NODE_LOOK_MS`.
            std::thread::sleep(std::time::Duration::from_millis(2 * limits::NODE_LOOK_MS));
            // Commands that were started during the wait.
            theirs.cancel_all();
            std::process::exit(Exit::Ok as i32);
        };
        start_thread("stop", stopping).map_err(|error| CommandError::failed(error.to_string()))?;
        Ok(Session { host, running, clock: SystemClock::start(), said: String::new() })
    }

    /// Reconnects until a retry cannot succeed.
    pub fn keep_up(mut self) -> Done {
        let mut wait_ms = limits::NODE_RETRY_MS;
        loop {
            let begun = self.clock.now().at;
            let end = self.round()?;
            self.running.cancel_all();
            if self.clock.now().at.since(begun) >= limits::NODE_RETRY_MAX_MS {
                wait_ms = limits::NODE_RETRY_MS;
            }
            let pause = jittered(wait_ms);
            wait_ms = (wait_ms * 2).min(limits::NODE_RETRY_MAX_MS);
            self.tell(&end);
            std::thread::sleep(std::time::Duration::from_millis(pause));
        }
    }

    /// Tries each credential, and then the device key alone. Returns the reason for a retry.
    fn round(&mut self) -> Result<String, CommandError> {
        let offer = match self.host.offer() {
            Ok(offer) => offer,
            // The allowlist was valid at the start and may be corrected while the node runs.
            Err(failure) => return Ok(failure.message.clone()),
        };
        let mut first_wrong = None;
        let mut tries: Vec<Option<Credential>> =
            self.host.credentials.iter().cloned().map(Some).collect();
        tries.push(None);
        for credential in tries {
            match self.connect(&offer, credential.as_ref()) {
                SessionEnd::Later(why) => return Ok(why),
                SessionEnd::Wrong(why) => _ = first_wrong.get_or_insert(why),
                SessionEnd::Never(why) => return Err(CommandError::new(Exit::Refused, why)),
            }
        }
        let why = first_wrong.unwrap_or_default();
        let hint = if self.host.credentials.is_empty() { NO_CREDENTIAL } else { "" };
        Err(CommandError::new(Exit::Refused, [&why, hint].concat()))
    }

    /// Connects and serves requests until the connection ends.
    fn connect(&mut self, offer: &OfferedCommands, credential: Option<&Credential>) -> SessionEnd {
        let mut client = match GatewayClient::open(self.host.address) {
            Ok(client) => client,
            Err(error) => {
                return SessionEnd::Later(
                    [
                        "the gateway at ",
                        &self.host.address.to_string(),
                        ": ",
                        &clean(&error.to_string()),
                    ]
                    .concat(),
                )
            }
        };
        let hello = challenge(&mut client)
            .and_then(|nonce| client.call("connect", &self.params(offer, credential, &nonce)));
        match hello {
            Ok(hello) => self.serve(&mut client, offer, &hello),
            Err(error) => sorted(&error),
        }
    }

    fn serve(
        &mut self,
        client: &mut GatewayClient,
        offer: &OfferedCommands,
        hello: &str,
    ) -> SessionEnd {
        let hello = json::parse(hello.as_bytes(), limits::JSON_DEPTH).unwrap_or(Value::EMPTY);
        // The node is admitted and can serve this connection without the stored token.
        if let Err(failure) = self.welcomed(&hello) {
            emit(&[&failure.message, "\nnot kept for the next start\n"].concat());
        }
        let tick = hello.get("policy").and_then(|policy| policy.get("tickIntervalMs")?.as_u64());
        let silence = tick.filter(|tick| *tick > 0).unwrap_or(limits::TICK_MS).saturating_mul(2);
        let sender = client.sender();
        loop {
            let message = match client.hear(silence) {
                Ok(message) => message,
                Err(error) => return SessionEnd::Later(clean(&error.message)),
            };
            let Ok(FromGateway::Event { name, payload: Some(payload), .. }) =
                FromGateway::parse(message.as_bytes())
            else {
                continue;
            };
            match &*name {
                "node.invoke.request" => offer.answer(&payload, &sender, &self.running),
                "node.invoke.cancel" => {
                    let id = payload.get("invokeId").and_then(|id| id.as_str());
                    id.iter().for_each(|id| self.running.cancel(id));
                }
                _ => {}
            }
        }
    }

    /// Stores the device token, which together with the key is enough for later connections.
    fn welcomed(&mut self, hello: &Value<'_>) -> Result<(), CommandError> {
        let token = hello.get("auth").and_then(|auth| auth.get("deviceToken")?.as_str());
        let token = token
            .filter(|token| token.len() <= limits::SECRET_LEN && !token.contains(char::is_control));
        let token = token.unwrap_or_default();
        let host = &mut self.host;
        let known = host.identity.gateway().filter(|known| known.address == host.address);
        let first = known.is_none();
        let token = match known {
            Some(known) if token.is_empty() => known.token,
            _ => token.into_owned(),
        };
        host.credentials.retain(|(field, _)| *field != "bootstrapToken" && *field != "deviceToken");
        if !token.is_empty() {
            host.credentials.insert(0, ("deviceToken", token.clone()));
        }
        let kept = host.identity.keep(&KnownGateway {
            address: host.address,
            token,
            name: clean(&host.name),
        });
        let (address, id) = (host.address.to_string(), host.identity.id.short().to_string());
        let note = if first { FIRST } else { "" };
        emit(
            &["connected to ", &address, " as ", &clean(&host.name), " (", &id, ")\n", note]
                .concat(),
        );
        self.said.clear();
        kept
    }

    /// Returns the parameters of `connect`.
    fn params(
        &self,
        offer: &OfferedCommands,
        credential: Option<&Credential>,
        nonce: &str,
    ) -> String {
        let host = &self.host;
        let family = crate::server::family();
        // The signature never covers a password.
        let signed =
            credential.filter(|(field, _)| *field != "password").map_or("", |(_, secret)| secret);
        let params = json::object(|o| {
            o.u64("minProtocol", 4);
            o.u64("maxProtocol", 4);
            o.obj("client", |client| client_of(client, &host.name, family));
            o.str("role", NODE);
            o.strs("scopes", []);
            o.strs("caps", ["system", "device"]);
            o.strs("commands", offer.commands().map(|(name, _)| name));
            if let Some((field, secret)) = credential {
                o.obj("auth", |auth| auth.str(field, secret));
            }
            o.raw("device", &host.identity.proof(nonce, signed, family));
        });
        String::from_utf8(params).unwrap_or_default()
    }

    /// Prints why there is no connection, unless it was the last error printed.
    fn tell(&mut self, why: &str) {
        if self.said != why {
            emit(&[why, "\ntrying again\n"].concat());
            self.said = why.to_string();
        }
    }
}

fn client_of(client: &mut Writer<'_>, name: &str, family: &str) {
    client.str("id", CLIENT);
    client.str("mode", NODE);
    client.str("version", env!("CARGO_PKG_VERSION"));
    client.str("platform", std::env::consts::OS);
    client.str("deviceFamily", family);
    client.opt_str("modelIdentifier", host_info::model(std::path::Path::new("/")).as_deref());
    client.str("displayName", name);
}

/// Returns the nonce of the first event of the gateway.
fn challenge(client: &mut GatewayClient) -> Result<String, Box<RpcError>> {
    loop {
        let message = client.hear(limits::CLI_CALL_MS)?;
        let Ok(FromGateway::Event { name, payload: Some(payload), .. }) =
            FromGateway::parse(message.as_bytes())
        else {
            continue;
        };
        if let ("connect.challenge", Some(nonce)) =
            (&*name, payload.get("nonce").and_then(|nonce| nonce.as_str()))
        {
            return Ok(nonce.into_owned());
        }
    }
}

/// Classifies a rejection; the text is the message of the gateway with its hint.
fn sorted(error: &RpcError) -> SessionEnd {
    let details = error.details.as_deref().unwrap_or("{}");
    let details = json::parse(details.as_bytes(), limits::JSON_DEPTH).unwrap_or(Value::EMPTY);
    let text = |name: &str| details.get(name).and_then(|text| text.as_str()).unwrap_or_default();
    let (code, hint) = (text("code"), text("hint"));
    let why = clean(&error.message) + if hint.is_empty() { "" } else { "\n" } + &clean(&hint);
    if error.retryable || code == "PAIRING_REQUIRED" {
        SessionEnd::Later(why)
    } else if code.starts_with("AUTH_") {
        SessionEnd::Wrong(why)
    } else {
        SessionEnd::Never(why)
    }
}

/// Returns a random delay between half of `wait_ms` and `wait_ms`, so that nodes that lost the same
/// gateway do not reconnect at the same time.
fn jittered(wait_ms: u64) -> u64 {
    let entropy: &mut dyn Entropy = &mut SystemEntropy;
    wait_ms / 2
        + u64::from(u16::from_le_bytes(entropy.bytes())) * (wait_ms / 2) / u64::from(u16::MAX)
}

const NO_CREDENTIAL: &str = "
this node was never paired there: run `gatelet pair --role node` on the gateway, then here
`gatelet node run --host ADDRESS --code CODE`; or give it the gateway's token with --token";

const FIRST: &str =
    "if its commands wait for the owner: `gatelet nodes pending` on the gateway shows them\n";
