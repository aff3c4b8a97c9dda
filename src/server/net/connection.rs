//! One connection from accept to close: HTTP head, then a response, or a WebSocket with challenge,
//! connect and frames in both directions.
//!
//! This module only translates: received messages become events of the gateway state, and frames in
//! the send queue are written. While the gateway state decides on connect, no further message is
//! read.

use std::future::{poll_fn, Future};
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use async_tungstenite::tungstenite::{Error, Message};
use smol::future;
use smol::io::{AsyncReadExt, AsyncWriteExt};

use super::frame_stream::Transport;
use super::send_queue::{Frame, Next, SendQueue};
use super::websocket::{blame, drain, Socket};
use crate::gate::ids::{ConnId, Millis, Nonce};
use crate::gate::limits;
use crate::gate::net::Via;
use crate::gate::refusal::{Close, Refusal};
use crate::server::gateway::attempt::ClientInfo;
use crate::server::gateway::verify;
use crate::server::gateway::{Event, InvalidFirstFrame};
use crate::server::http;
use crate::server::http::static_files::Fetch;
use crate::server::runtime::{sleep, within};
use crate::server::shared::Shared;
use crate::wire::connect::Connect;
use crate::wire::frames::{self, Request};
use crate::wire::http::{Head, ResponseHead};
use crate::wire::json;

/// Serves one accepted stream until it ends. `peer` is the remote address, `reached` the local one.
pub fn serve(
    shared: Rc<Shared>,
    conn: ConnId,
    stream: impl Transport,
    peer: IpAddr,
    reached: Option<IpAddr>,
) -> impl Future<Output = ()> {
    // boxed, like other rare steps, so that the future of an idle connection stays small
    let begin = Box::pin(begin(ConnectionGuard { shared, conn }, stream, peer, reached));
    async {
        if let Some((talk, begun)) = begin.await {
            talk.go_on(begun).await;
        }
    }
}

/// Reads a request and answers it, or starts a WebSocket. Returns the WebSocket with the result of
/// [`ClientSession::greet`], or with `None` after a timeout.
async fn begin<T: Transport>(
    here: ConnectionGuard,
    stream: T,
    peer: IpAddr,
    reached: Option<IpAddr>,
) -> Option<(Box<ClientSession<T>>, Option<Option<SocketEvent>>)> {
    let (mut talk, mut request) = (None, None);
    let begin = async {
        match here.open(stream, peer, reached).await {
            Some(FirstRequest::Socket(stream, read, seen, accept)) => {
                let socket = Socket::new(stream, read).await;
                talk.insert(Box::new(ClientSession::new(here, socket, seen))).greet(&accept).await
            }
            Some(FirstRequest::Request(stream, answer)) => {
                request = Some(here.send(stream, answer));
                None
            }
            None => Some(SocketEvent::Gone),
        }
    };
    let begun = within(limits::HANDSHAKE_MS, begin).await;
    if let Some(answering) = request {
        answering.await;
    }
    talk.map(|talk| (talk, begun))
}

/// Result of reading a request.
enum FirstRequest<T> {
    /// Upgrade to a WebSocket, with the bytes received after the request and the response to it.
    Socket(T, Vec<u8>, ClientInfo, Vec<u8>),
    /// Plain request, with its response.
    Request(T, Result<Vec<u8>, Fetch>),
}

/// Registration of a connection. Dropping it removes the connection from the gateway, however the
/// connection ended.
struct ConnectionGuard {
    shared: Rc<Shared>,
    conn: ConnId,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.shared.lobby.leave(self.conn);
        self.shared.happen(Event::Closed { conn: self.conn });
    }
}

impl ConnectionGuard {
    /// Reads a request. Returns `None` if the connection ended or the request was invalid.
    async fn open<T: Transport>(
        &self,
        mut stream: T,
        peer: IpAddr,
        reached: Option<IpAddr>,
    ) -> Option<FirstRequest<T>> {
        let mut bytes = Vec::with_capacity(limits::READ_BUFFER);
        let (accept, len, seen) = loop {
            let before = bytes.len();
            bytes.extend_from_slice(&[0; limits::READ_BUFFER]);
            let count = stream.read(&mut bytes[before..]).await.ok().filter(|count| *count > 0)?;
            bytes.truncate(before + count);
            let head = match Head::parse(&bytes) {
                Ok(Some(head)) => head,
                Ok(None) => continue,
                Err(bad) => {
                    log::debug!(
                        "conn={} peer={peer} sent a request that is refused: {bad}",
                        self.conn
                    );
                    Box::pin(finish(&mut stream, &ResponseHead::refusal(bad))).await;
                    return None;
                }
            };
            let seen = verify::seen(&head, peer, reached, &self.shared.setup());
            if !head.wants_websocket() {
                let answer = http::answer(&head, &seen, &self.shared);
                return Some(FirstRequest::Request(stream, answer));
            }
            match head.accept_websocket() {
                Ok(accept) => break (accept, head.len, seen),
                Err(bad) => {
                    Box::pin(finish(&mut stream, &ResponseHead::refusal(bad))).await;
                    return None;
                }
            }
        };
        if seen.via == Via::UntrustedProxy {
            self.shared.warn_of_proxy(seen.peer);
        }
        Some(FirstRequest::Socket(stream, bytes.split_off(len), seen, accept))
    }

    /// Sends a response, in pieces if it is a file, and ends the connection. The timeout of a
    /// handshake applies to each piece, because a large file takes longer on a slow network.
    async fn send(self, mut stream: impl Transport, answer: Result<Vec<u8>, Fetch>) -> Option<()> {
        let mut rest = answer;
        while let Err(fetch) = rest {
            let piece = async {
                let Some((fetch, piece)) = self.shared.read(fetch).await else {
                    return Some(Ok(Vec::new()));
                };
                stream.write_all(&piece).await.ok()?;
                Some(Err(fetch))
            };
            rest = within(limits::HANDSHAKE_MS, piece).await.flatten()?;
        }
        within(limits::HANDSHAKE_MS, finish(&mut stream, &rest.unwrap_or_default())).await
    }
}

/// State of a WebSocket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The challenge is sent; connect is awaited.
    Greeting,
    /// The gateway state decides on connect.
    Deciding,
    /// The client is admitted.
    Admitted,
}

/// Last event of a WebSocket.
enum SocketEvent {
    Message(Frame),
    Admitted,
    /// The socket can release memory.
    Shrink,
    Failed(Error),
    Closing(u16, String),
    Gone,
}

struct ClientSession<T> {
    here: ConnectionGuard,
    socket: Socket<T>,
    seen: ClientInfo,
    outbox: Rc<SendQueue>,
    challenge: Option<(Nonce, Millis)>,
    stage: Stage,
}

impl<T: Transport> ClientSession<T> {
    fn new(here: ConnectionGuard, socket: Socket<T>, seen: ClientInfo) -> ClientSession<T> {
        ClientSession {
            here,
            socket,
            seen,
            outbox: Rc::default(),
            challenge: None,
            stage: Stage::Greeting,
        }
    }

    /// Continues after the handshake, which ended the connection, admitted the client
    /// (`Some(None)`) or timed out (`None`).
    async fn go_on(mut self: Box<Self>, begun: Option<Option<SocketEvent>>) {
        let last = match begun {
            Some(Some(end)) => end,
            Some(None) => self.converse().await,
            None => {
                self.log_timeout();
                let (code, reason) = Close::HandshakeTimeout.words();
                SocketEvent::Closing(code, reason.to_string())
            }
        };
        match last {
            SocketEvent::Closing(code, reason) => {
                if self.outbox.is_aborted() {
                    log::warn!(
                        "conn={} peer={} is closed: {reason}",
                        self.here.conn,
                        self.seen.peer
                    );
                }
                Box::pin(self.socket.end(code, &reason, false)).await;
            }
            SocketEvent::Failed(error) => {
                if let Some((code, reason)) = blame(&error) {
                    log::debug!("conn={} peer={}: {error}", self.here.conn, self.seen.peer);
                    Box::pin(self.socket.end(code, reason, true)).await;
                }
            }
            SocketEvent::Message(_)
            | SocketEvent::Admitted
            | SocketEvent::Shrink
            | SocketEvent::Gone => {}
        }
    }

    fn challenge(&mut self) -> Vec<u8> {
        let now = self.here.shared.now();
        let nonce = Nonce(self.here.shared.ask(|gateway| gateway.entropy.bytes()));
        let payload = json::object(|o| {
            o.shown("nonce", &nonce);
            o.u64("ts", now.wall.0);
            o.raw("capabilities", b"[]");
        });
        self.challenge = Some((nonce, now.at));
        frames::event("connect.challenge", &payload, None, None)
    }

    /// Sends the response to the upgrade and the challenge. Then handles messages until the client
    /// is admitted (`None`) or the connection ends.
    async fn greet(&mut self, accept: &[u8]) -> Option<SocketEvent> {
        self.here
            .shared
            .happen(Event::Opened { conn: self.here.conn, outbox: self.outbox.clone() });
        let challenge = self.challenge();
        self.socket.open(accept, &challenge);
        loop {
            match self.step().await {
                SocketEvent::Message(frame) => self.connect(&frame).await,
                SocketEvent::Admitted => return None,
                SocketEvent::Shrink => Box::pin(self.socket.shrink()).await,
                end => return Some(end),
            }
        }
    }

    /// Handles messages until the connection ends.
    async fn converse(&mut self) -> SocketEvent {
        loop {
            match self.step().await {
                SocketEvent::Message(frame) => {
                    self.here.shared.happen(Event::Frame { conn: self.here.conn, message: frame })
                }
                SocketEvent::Admitted => {}
                SocketEvent::Shrink => Box::pin(self.socket.shrink()).await,
                end => return end,
            }
            // sends what the message caused first, and lets other connections run
            future::yield_now().await;
        }
    }

    /// Handles the first message, which must be connect. It is handled only once.
    async fn connect(&mut self, frame: &[u8]) {
        let away = |refusal, request: Option<&str>, problems: Option<String>| {
            let (seen, request) = (self.seen.clone(), request.map(str::to_string));
            Event::TurnedAway {
                conn: self.here.conn,
                away: Box::new(InvalidFirstFrame { seen, refusal, request, problems }),
            }
        };
        let shared = &self.here.shared;
        self.stage = Stage::Deciding;
        let request = match Request::parse(frame) {
            Ok(request) if request.method == "connect" => request,
            Ok(request) => {
                return shared.happen(away(Refusal::NotConnect, Some(&request.id), None))
            }
            Err(_) => return shared.happen(away(Refusal::InvalidFrame, None, None)),
        };
        let connect = match Connect::parse(request.params) {
            Ok(connect) => connect,
            Err(problems) => {
                return shared.happen(away(
                    Refusal::InvalidConnect,
                    Some(&request.id),
                    Some(problems),
                ))
            }
        };
        let Some((nonce, challenged)) = self.challenge.take() else { return };
        let now = shared.now();
        let challenge = (nonce, now.at.since(challenged));
        let (attempt, check) =
            verify::attempt(&request.id, &connect, &self.seen, challenge, &shared.setup(), now);
        let mut attempt = Box::new(attempt);
        if let Some(check) = check {
            attempt.device_proof = shared.verify(check).await;
        }
        let wait = shared.ask(|gateway| gateway.turn(&mut attempt, shared.now().at));
        if wait > 0 {
            // the rate limiter bounds delayed attempts, so this one is not evicted in favor of
            // others
            shared.lobby.leave(self.here.conn);
            sleep(wait).await;
        }
        shared.happen(Event::Connect { conn: self.here.conn, attempt });
    }

    /// Sends queued frames until an event occurs.
    async fn step(&mut self) -> SocketEvent {
        poll_fn(|context| {
            let step = self.poll_step(context);
            if self.socket.moved() {
                self.outbox.heard();
            }
            step
        })
        .await
    }

    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<SocketEvent> {
        loop {
            match self.socket.poll_sent(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(SocketEvent::Gone),
                // a closed connection is not read any more; `Socket::end` bounds the time for what
                // is unsent
                Poll::Pending if self.outbox.is_closed() => {}
                Poll::Pending => {
                    self.outbox.listen(context);
                    break;
                }
            }
            match self.outbox.poll_next(context) {
                Poll::Ready(Next::Frame(frame)) => self.socket.send(frame),
                Poll::Ready(Next::Ping) => {
                    if let Err(error) = self.socket.ping() {
                        return Poll::Ready(SocketEvent::Failed(error));
                    }
                }
                Poll::Ready(Next::Close(code, reason)) => {
                    return Poll::Ready(SocketEvent::Closing(code, reason))
                }
                Poll::Ready(Next::Admitted) => {
                    self.socket.admit();
                    self.stage = Stage::Admitted;
                    self.here.shared.lobby.leave(self.here.conn);
                    return Poll::Ready(SocketEvent::Admitted);
                }
                Poll::Pending if self.socket.can_shrink() => {
                    return Poll::Ready(SocketEvent::Shrink)
                }
                Poll::Pending => break,
            }
        }
        match self.stage {
            Stage::Deciding => Poll::Pending,
            Stage::Greeting | Stage::Admitted => self.poll_message(context),
        }
    }

    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<SocketEvent> {
        loop {
            let message = match self.socket.poll_read(context) {
                Poll::Ready(Ok(message)) => message,
                Poll::Ready(Err(error)) => return Poll::Ready(SocketEvent::Failed(error)),
                Poll::Pending => return Poll::Pending,
            };
            match message {
                Message::Text(text) => return Poll::Ready(SocketEvent::Message(text.into())),
                Message::Binary(bytes) => return Poll::Ready(SocketEvent::Message(bytes)),
                Message::Close(_) => return Poll::Ready(SocketEvent::Closing(1000, String::new())),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                    if let Poll::Ready(Err(_)) = self.socket.poll_sent(context) {
                        return Poll::Ready(SocketEvent::Gone);
                    }
                }
            }
        }
    }

    fn log_timeout(&self) {
        let what = if self.stage == Stage::Deciding {
            "it could not be decided in time, or the pairing not saved"
        } else {
            "no connect request came"
        };
        let (shared, conn, seen) = (&self.here.shared, self.here.conn, &self.seen);
        let line = format_args!(
            "timeout conn={conn} peer={} host={:?}: {what}",
            seen.peer, seen.host_text
        );
        shared.ask(|gateway| gateway.log_refusal(line, shared.now()));
    }
}

/// Sends a complete response, and gives the client [`limits::CLOSE_GRACE_MS`] to read it before the
/// connection is closed.
async fn finish(stream: &mut impl Transport, answer: &[u8]) {
    if stream.write_all(answer).await.is_ok() {
        within(limits::CLOSE_GRACE_MS, drain(stream)).await;
    }
}
