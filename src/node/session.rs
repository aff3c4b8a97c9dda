//! Connection of the node to its gateway: handshake, serving requests, reconnecting.

use std::convert::Infallible;
use std::thread::sleep;
use std::time::Duration;

use super::address::GatewayAddress;
use super::commands::OfferedCommands;
use super::exec::Running;
use super::identity::{KnownGateway, CLIENT, NODE};
use super::{host_info, NodeError, NodeHost, Report};
use crate::client::{clean, ClientError, GatewayClient, RpcError};
use crate::gate::limits;
use crate::gate::refusal::DEVICE_REVOKED;
use crate::server::os::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::server::{start_thread, Stop};
use crate::wire::frames::FromGateway;
use crate::wire::json::{self, Value, Writer};

/// Field name of a credential in the protocol, and its secret.
pub type Credential = (&'static str, String);

/// State of a running node.
pub struct Session {
    host: NodeHost,
    report: Report,
    running: Running,
    clock: SystemClock,
    /// Last connection error that was reported.
    reported: String,
}

/// Outcome of a handshake or of a connection.
enum SessionEnd {
    /// The connection failed or ended; a retry can succeed.
    Retry(String),
    /// This credential was rejected; another one may be accepted.
    WrongCredential(String),
    /// The node was rejected; a retry cannot succeed.
    Rejected(String),
}

impl Session {
    /// Prepares a session; a signal to stop ends the process.
    pub fn new(host: NodeHost, report: Report) -> Result<Session, NodeError> {
        let running = Running::default();
        let failed = |error: std::io::Error| NodeError::Failed(error.to_string());
        let stop = Stop::listen().map_err(failed)?;
        let to_cancel = running.clone();
        start_thread("stop", move || exit_on(stop, &to_cancel)).map_err(failed)?;
        Ok(Session { host, report, running, clock: SystemClock::start(), reported: String::new() })
    }

    /// Reconnects until a retry cannot succeed.
    pub fn keep_connected(mut self) -> Result<Infallible, NodeError> {
        let mut wait_ms = limits::NODE_RETRY_MS;
        loop {
            let begun = self.clock.now().at;
            let reason = self.try_credentials()?;
            self.running.cancel_all();
            if self.clock.now().at.since(begun) >= limits::NODE_RETRY_MAX_MS {
                wait_ms = limits::NODE_RETRY_MS;
            }
            let pause = jittered(wait_ms);
            wait_ms = (wait_ms * 2).min(limits::NODE_RETRY_MAX_MS);
            self.report_retry(&reason);
            sleep(Duration::from_millis(pause));
        }
    }

    /// Tries each credential, and then the device key alone. Returns the reason for a retry.
    fn try_credentials(&mut self) -> Result<String, NodeError> {
        let offer = match self.host.offer() {
            Ok(offer) => offer,
            // The allowlist was valid at the start and may be corrected while the node runs.
            Err(error) => return Ok(error.message().to_string()),
        };
        let mut first_rejection = None;
        let credentials: Vec<Credential> = self.host.credentials.clone();
        for credential in credentials.iter().map(Some).chain([None]) {
            match self.connect(&offer, credential) {
                SessionEnd::Retry(reason) => return Ok(reason),
                SessionEnd::WrongCredential(reason) => {
                    first_rejection.get_or_insert(reason);
                }
                SessionEnd::Rejected(reason) => return Err(NodeError::Rejected(reason)),
            }
        }
        let hint = if self.host.credentials.is_empty() { NO_CREDENTIAL } else { "" };
        Err(NodeError::Rejected(first_rejection.unwrap_or_default() + hint))
    }

    /// Connects and serves requests until the connection ends.
    fn connect(&mut self, offer: &OfferedCommands, credential: Option<&Credential>) -> SessionEnd {
        let mut client = match open(&self.host.address) {
            Ok(client) => client,
            Err(error) => {
                let (address, error) = (&self.host.address, clean(&error.to_string()));
                return SessionEnd::Retry(format!("the gateway at {address}: {error}"));
            }
        };
        let hello = challenge(&mut client).and_then(|nonce| {
            client.call("connect", &self.connect_params(offer, credential, &nonce))
        });
        match hello {
            Ok(hello) => self.serve(&mut client, offer, &hello),
            Err(error) => classify(&error),
        }
    }

    /// Serves requests until the connection ends.
    fn serve(
        &mut self,
        client: &mut GatewayClient,
        offer: &OfferedCommands,
        hello: &str,
    ) -> SessionEnd {
        let hello = json::parse(hello.as_bytes(), limits::JSON_DEPTH).unwrap_or(Value::EMPTY);
        // The node is admitted and can serve this connection without the stored token.
        if let Err(error) = self.admitted(&hello) {
            let message = error.message();
            (self.report)(&format!("{message}\nthe gateway is not stored for the next start\n"));
        }
        let tick = hello.get("policy").and_then(|policy| policy.get("tickIntervalMs")?.as_u64());
        let silence = tick.filter(|tick| *tick > 0).unwrap_or(limits::TICK_MS).saturating_mul(2);
        let sender = client.sender();
        loop {
            let message = match client.next_within(silence) {
                Ok(message) => message,
                Err(error) => return SessionEnd::Retry(clean(&error.message)),
            };
            let Ok(FromGateway::Event { name, payload: Some(payload), .. }) =
                FromGateway::parse(message.as_bytes())
            else {
                continue;
            };
            match &*name {
                "node.invoke.request" => offer.answer(&payload, &sender, &self.running),
                "node.invoke.cancel" => {
                    if let Some(id) = payload.get("invokeId").and_then(|id| id.as_str()) {
                        self.running.cancel(&id);
                    }
                }
                _ => {}
            }
        }
    }

    /// Stores the device token, which together with the key is enough for later connections, and
    /// reports the connection.
    fn admitted(&mut self, hello: &Value<'_>) -> Result<(), NodeError> {
        let issued = hello
            .get("auth")
            .and_then(|auth| auth.get("deviceToken")?.as_str())
            .filter(|token| token.len() <= limits::SECRET_LEN && !token.contains(char::is_control))
            .unwrap_or_default();
        let host = &mut self.host;
        let known = host.identity.gateway().filter(|known| known.address == host.address);
        let hint = if known.is_none() { FIRST_CONNECTION } else { "" };
        let token = match known {
            Some(known) if issued.is_empty() => known.token,
            _ => issued.into_owned(),
        };
        host.credentials.retain(|(field, _)| *field != "bootstrapToken" && *field != "deviceToken");
        if !token.is_empty() {
            host.credentials.insert(0, ("deviceToken", token.clone()));
        }
        let (address, name) = (host.address.clone(), clean(&host.name));
        let connected = format!("connected to {address} as {name} ({})", host.identity.id.short());
        let stored = host.identity.remember(&KnownGateway { address, token, name });
        (self.report)(&format!("{connected}\n{hint}"));
        self.reported.clear();
        stored
    }

    /// Returns the parameters of `connect`.
    fn connect_params(
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
            o.obj("client", |client| write_client(client, &host.name, family));
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

    /// Reports why there is no connection, unless it was the last error reported.
    fn report_retry(&mut self, reason: &str) {
        if self.reported != reason {
            (self.report)(&format!("{reason}\nretrying\n"));
            self.reported = reason.to_string();
        }
    }
}

/// Cancels all commands and ends the process when a signal requests it.
fn exit_on(stop: Stop, running: &Running) {
    let _ = smol::block_on(stop.asked());
    running.cancel_all();
    // Threads that wait for a child notice the cancellation within `NODE_LOOK_MS`.
    sleep(Duration::from_millis(2 * limits::NODE_LOOK_MS));
    // Commands that were started during the wait.
    running.cancel_all();
    std::process::exit(0);
}

fn write_client(client: &mut Writer<'_>, name: &str, family: &str) {
    client.str("id", CLIENT);
    client.str("mode", NODE);
    client.str("version", env!("CARGO_PKG_VERSION"));
    client.str("platform", std::env::consts::OS);
    client.str("deviceFamily", family);
    client.opt_str("modelIdentifier", host_info::model(std::path::Path::new("/")).as_deref());
    client.str("displayName", name);
}

/// Connects to the first address that can be reached.
fn open(address: &GatewayAddress) -> Result<GatewayClient, ClientError> {
    let host = address.to_string();
    let mut result = Err(ClientError::Unreachable(std::io::ErrorKind::NotFound.into()));
    for address in address.resolve().map_err(ClientError::Unreachable)? {
        result = GatewayClient::open_as(address, &host);
        if !matches!(result, Err(ClientError::Unreachable(_))) {
            break;
        }
    }
    result
}

/// Returns the nonce of the first event of the gateway.
fn challenge(client: &mut GatewayClient) -> Result<String, Box<RpcError>> {
    loop {
        let message = client.next_within(limits::CLI_CALL_MS)?;
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
fn classify(error: &RpcError) -> SessionEnd {
    let details = error.details.as_deref().unwrap_or("{}");
    let details = json::parse(details.as_bytes(), limits::JSON_DEPTH).unwrap_or(Value::EMPTY);
    let text = |name: &str| details.get(name).and_then(|text| text.as_str()).unwrap_or_default();
    let (code, hint) = (text("code"), text("hint"));
    let reason = format!("{}\n{}", clean(&error.message), clean(&hint)).trim_end().to_string();
    let is_pending = code == "PAIRING_REQUIRED" && text("reason") != DEVICE_REVOKED;
    if error.retryable || is_pending {
        SessionEnd::Retry(reason)
    } else if code.starts_with("AUTH_") {
        SessionEnd::WrongCredential(reason)
    } else {
        SessionEnd::Rejected(reason)
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
this node is not paired with that gateway: run `gatelet pair --role node` on the gateway, then
`gatelet node run --host ADDRESS --code CODE` here; or pass the gateway's token with --token";

const FIRST_CONNECTION: &str =
    "if its commands wait for approval: `gatelet nodes pending` on the gateway lists them\n";
