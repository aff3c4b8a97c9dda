//! One connection from accept to close: HTTP head, then a response, or a WebSocket with challenge,
//! connect and frames in both directions.
//!
//! This module only translates: received messages become events of the gateway state, and frames in
//! the send queue are written. While the gateway state decides on connect, no further message is
//! read.

use std::future::{poll_fn, Future};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{ready, Context, Poll};

use async_tungstenite::tungstenite::{Error, Message};
use smol::future;
use smol::io::{AsyncReadExt, AsyncWriteExt};

use super::frame_stream::Transport;
use super::send_queue::{Frame, Next, SendQueue};
use super::websocket::{close_for_error, drain, is_lost, CloseMode, Socket};
use crate::gate::ids::{ConnId, Millis, Nonce};
use crate::gate::limits;
use crate::gate::net::Via;
use crate::gate::no_connect::NoConnect;
use crate::gate::refusal::{Close, Refusal};
use crate::server::gateway::attempt::ClientInfo;
use crate::server::gateway::parse;
use crate::server::gateway::{Event, InvalidFirstFrame, InvalidRequest};
use crate::server::http::static_files::FileResponse;
use crate::server::http::{self, HttpResponse};
use crate::server::runtime::{sleep, within, Offload};
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
    let guard = ConnectionGuard { shared, conn };
    // boxed, like other rare steps, so that the future of an idle connection stays small
    let opening = Box::pin(open(guard, stream, peer, reached));
    async {
        if let Some((session, outcome)) = opening.await {
            session.run(outcome).await;
        }
    }
}

/// Reads a request and answers it, or performs the handshake of a WebSocket.
async fn open<T: Transport>(
    guard: ConnectionGuard,
    stream: T,
    peer: IpAddr,
    reached: Option<IpAddr>,
) -> Option<(Box<ClientSession<T>>, HandshakeOutcome)> {
    let (mut session, mut response) = (None, None);
    let handshake = async {
        match guard.read_request(stream, peer, reached).await {
            Some(FirstRequest::Upgrade { stream, read_ahead, client_info, accept }) => {
                let socket = Socket::new(stream, read_ahead).await;
                let session = session.insert(ClientSession::new(guard, socket, client_info));
                session.handshake(&accept).await
            }
            Some(FirstRequest::Plain(stream, answer)) => {
                response = Some(guard.send_response(stream, answer));
                HandshakeOutcome::Ended(SocketEvent::Gone)
            }
            None => HandshakeOutcome::Ended(SocketEvent::Gone),
        }
    };
    let outcome = within(limits::HANDSHAKE_MS, handshake).await;
    if let Some(sending) = response {
        if let Err(error) = sending.await {
            log::debug!("peer={peer} the response was not sent completely: {error}");
        }
    }
    session.map(|session| (session, outcome.unwrap_or(HandshakeOutcome::TimedOut)))
}

/// First request on a connection.
enum FirstRequest<T> {
    /// Upgrade to a WebSocket.
    Upgrade {
        stream: T,
        /// Bytes that were received after the request.
        read_ahead: Vec<u8>,
        client_info: ClientInfo,
        /// Response to the upgrade.
        accept: Vec<u8>,
    },
    /// Plain request, with its response.
    Plain(T, HttpResponse),
}

/// Result of the handshake of a WebSocket.
enum HandshakeOutcome {
    Admitted,
    Ended(SocketEvent),
    TimedOut,
}

/// Registration of a connection. Dropping it removes the connection from the gateway, however the
/// connection ended.
struct ConnectionGuard {
    shared: Rc<Shared>,
    conn: ConnId,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.shared.pre_auth.remove(self.conn);
        self.shared.dispatch(Event::Closed { conn: self.conn });
    }
}

impl ConnectionGuard {
    /// Reads a request. Returns `None` if the connection ended or the request was invalid.
    async fn read_request<T: Transport>(
        &self,
        mut stream: T,
        peer: IpAddr,
        reached: Option<IpAddr>,
    ) -> Option<FirstRequest<T>> {
        let mut bytes = Vec::with_capacity(limits::READ_BUFFER);
        let (reason, client_info) = loop {
            let before = bytes.len();
            bytes.extend_from_slice(&[0; limits::READ_BUFFER]);
            let count = stream.read(&mut bytes[before..]).await.ok().filter(|count| *count > 0)?;
            bytes.truncate(before + count);
            let head = match Head::parse(&bytes) {
                Ok(Some(head)) => head,
                Ok(None) => continue,
                Err(bad) => break (bad, None),
            };
            let client_info =
                parse::client_info(&head, peer, reached, &self.shared.runtime_config());
            if !head.wants_websocket() {
                let response = http::respond(&head, &client_info, &self.shared);
                return Some(FirstRequest::Plain(stream, response));
            }
            let accept = match head.accept_websocket() {
                Ok(accept) => accept,
                Err(bad) => break (bad, Some(client_info)),
            };
            if client_info.via == Via::UntrustedProxy {
                self.shared.warn_of_proxy(client_info.peer);
            }
            let read_ahead = bytes[head.len..].to_vec();
            return Some(FirstRequest::Upgrade { stream, read_ahead, client_info, accept });
        };
        let conn = self.conn;
        if client_info.is_some() || reason.is_meant_to_connect(&bytes) {
            let request = Box::new(InvalidRequest { reason, peer, client_info });
            self.shared.dispatch(Event::InvalidRequest { conn, request });
        } else {
            log::debug!("conn={conn} peer={peer} sent an invalid request: {reason}");
        }
        let _ = Box::pin(finish(&mut stream, &ResponseHead::refusal(reason))).await;
        None
    }

    /// Sends a response, in pieces if it is a file, and ends the connection. The timeout of a
    /// handshake applies to each piece, because a large file takes longer on a slow network.
    async fn send_response(
        self,
        mut stream: impl Transport,
        response: HttpResponse,
    ) -> io::Result<()> {
        let bytes = match response {
            HttpResponse::Complete(bytes) => bytes,
            HttpResponse::File(file) => {
                send_file(&mut stream, file, &self.shared.file_offload).await?;
                Vec::new()
            }
        };
        let finished = within(limits::HANDSHAKE_MS, finish(&mut stream, &bytes)).await;
        finished.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Sends a file in pieces, until its end or until too many other reads wait.
async fn send_file(
    stream: &mut impl Transport,
    mut file: Box<FileResponse>,
    offload: &Offload,
) -> io::Result<()> {
    loop {
        let send_piece = async {
            let Some((rest, piece)) = file.read(offload).await else { return Ok(None) };
            stream.write_all(&piece).await?;
            Ok(Some(rest))
        };
        let sent: Option<io::Result<_>> = within(limits::HANDSHAKE_MS, send_piece).await;
        match sent.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))? {
            Some(rest) => file = rest,
            None => return Ok(()),
        }
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

/// Event of a WebSocket. All but the first two are the last one.
enum SocketEvent {
    Message(Frame),
    Admitted,
    Failed(Error),
    Closing(u16, String),
    Gone,
}

/// Result of polling a WebSocket.
enum Progress {
    Event(SocketEvent),
    /// Nothing is to be done, and the socket can release the memory of a large message.
    CanShrink,
}

impl From<SocketEvent> for Progress {
    fn from(event: SocketEvent) -> Progress {
        Progress::Event(event)
    }
}

struct ClientSession<T> {
    guard: ConnectionGuard,
    socket: Socket<T>,
    client_info: ClientInfo,
    send_queue: Rc<SendQueue>,
    challenge: Option<(Nonce, Millis)>,
    stage: Stage,
}

impl<T: Transport> ClientSession<T> {
    fn new(guard: ConnectionGuard, socket: Socket<T>, client_info: ClientInfo) -> Box<Self> {
        Box::new(ClientSession {
            guard,
            socket,
            client_info,
            send_queue: Rc::default(),
            challenge: None,
            stage: Stage::Greeting,
        })
    }

    /// Continues after the handshake until the connection ends.
    async fn run(mut self: Box<Self>, outcome: HandshakeOutcome) {
        self.report_no_connect(&outcome);
        let last = match outcome {
            HandshakeOutcome::Ended(event) => event,
            HandshakeOutcome::Admitted => self.handle_messages().await,
            HandshakeOutcome::TimedOut => {
                if self.stage == Stage::Deciding {
                    self.log_timeout();
                }
                let (code, reason) = Close::HandshakeTimeout.words();
                SocketEvent::Closing(code, reason.to_string())
            }
        };
        let (conn, peer) = (self.guard.conn, self.client_info.peer);
        match last {
            SocketEvent::Closing(code, reason) => {
                if self.send_queue.is_aborted() {
                    log::warn!("conn={conn} peer={peer} is closed: {reason}");
                }
                Box::pin(self.socket.close(code, &reason, CloseMode::AwaitAnswer)).await;
            }
            SocketEvent::Failed(error) => {
                if let Some((code, reason)) = close_for_error(&error) {
                    log::debug!("conn={conn} peer={peer}: {error}");
                    Box::pin(self.socket.close(code, reason, CloseMode::Discard)).await;
                }
            }
            SocketEvent::Message(_) | SocketEvent::Admitted | SocketEvent::Gone => {}
        }
    }

    fn challenge(&mut self) -> Vec<u8> {
        let now = self.guard.shared.now();
        let nonce = Nonce(self.guard.shared.with_gateway(|gateway| gateway.entropy.bytes()));
        let payload = json::object(|o| {
            o.shown("nonce", &nonce);
            o.u64("ts", now.wall.0);
            o.raw("capabilities", b"[]");
        });
        self.challenge = Some((nonce, now.at));
        frames::event("connect.challenge", &payload, None, None)
    }

    /// Sends the response to the upgrade and the challenge. Then handles messages until the client
    /// is admitted or the connection ends.
    async fn handshake(&mut self, accept: &[u8]) -> HandshakeOutcome {
        let (conn, send_queue) = (self.guard.conn, self.send_queue.clone());
        self.guard.shared.dispatch(Event::Opened { conn, send_queue });
        let challenge = self.challenge();
        self.socket.open(accept, &challenge);
        loop {
            match self.next_event().await {
                SocketEvent::Message(frame) => self.connect(&frame).await,
                SocketEvent::Admitted => return HandshakeOutcome::Admitted,
                last => return HandshakeOutcome::Ended(last),
            }
        }
    }

    /// Handles the messages of an admitted client. Returns the last event.
    async fn handle_messages(&mut self) -> SocketEvent {
        loop {
            match self.next_event().await {
                SocketEvent::Message(message) => {
                    self.guard.shared.dispatch(Event::Frame { conn: self.guard.conn, message })
                }
                SocketEvent::Admitted => {}
                last => return last,
            }
            // sends what the message caused first, and lets other connections run
            future::yield_now().await;
        }
    }

    /// Handles the first message, which must be connect. It is handled only once.
    async fn connect(&mut self, frame: &[u8]) {
        self.stage = Stage::Deciding;
        let (shared, conn) = (&self.guard.shared, self.guard.conn);
        let (request, connect) = match self.parse_connect(frame) {
            Ok(parsed) => parsed,
            Err(frame) => return shared.dispatch(Event::InvalidFirstFrame { conn, frame }),
        };
        let Some((nonce, challenged)) = self.challenge.take() else { return };
        let now = shared.now();
        let (attempt, check) = parse::attempt(
            &request.id,
            &connect,
            &self.client_info,
            (nonce, now.at.since(challenged)),
            &shared.runtime_config(),
            now,
        );
        let mut attempt = Box::new(attempt);
        if let Some(check) = check {
            attempt.device_proof = shared.verify_signature(check).await;
        }
        let delay =
            shared.with_gateway(|gateway| gateway.reserve_attempt(&mut attempt, shared.now().at));
        if delay > 0 {
            // the rate limiter bounds delayed attempts, so this one is not evicted in favor of
            // others
            shared.pre_auth.remove(conn);
            sleep(delay).await;
        }
        shared.dispatch(Event::Connect { conn, attempt });
    }

    /// Parses the first message.
    fn parse_connect<'a>(
        &self,
        frame: &'a [u8],
    ) -> Result<(Request<'a>, Connect), Box<InvalidFirstFrame>> {
        let invalid = |refusal, request: Option<&Request<'_>>, problems| {
            Box::new(InvalidFirstFrame {
                client_info: self.client_info.clone(),
                refusal,
                request: request.map(|request| request.id.to_string()),
                problems,
            })
        };
        let request =
            Request::parse(frame).map_err(|_| invalid(Refusal::InvalidFrame, None, None))?;
        if request.method != "connect" {
            return Err(invalid(Refusal::NotConnect, Some(&request), None));
        }
        match Connect::parse(request.params) {
            Ok(connect) => Ok((request, connect)),
            Err(problems) => Err(invalid(Refusal::InvalidConnect, Some(&request), Some(problems))),
        }
    }

    /// Sends queued frames until an event occurs. Releases the memory of a large message when
    /// nothing else is to be done.
    async fn next_event(&mut self) -> SocketEvent {
        loop {
            let progress = poll_fn(|context| {
                let progress = self.poll_progress(context);
                if self.socket.has_progressed() {
                    self.send_queue.mark_alive();
                }
                progress
            });
            match progress.await {
                Progress::Event(event) => return event,
                Progress::CanShrink => Box::pin(self.socket.shrink()).await,
            }
        }
    }

    fn poll_progress(&mut self, context: &mut Context<'_>) -> Poll<Progress> {
        loop {
            match self.socket.poll_sent(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(SocketEvent::Gone.into()),
                // a closed connection is not read any more; `Socket::close` bounds the time for
                // what is unsent
                Poll::Pending if self.send_queue.is_closed() => {}
                Poll::Pending => {
                    self.send_queue.register_waker(context);
                    break;
                }
            }
            match self.send_queue.poll_next(context) {
                Poll::Ready(Next::Frame(frame)) => self.socket.send(frame),
                Poll::Ready(Next::Ping) => {
                    if let Err(error) = self.socket.ping() {
                        return Poll::Ready(SocketEvent::Failed(error).into());
                    }
                }
                Poll::Ready(Next::Close(code, reason)) => {
                    return Poll::Ready(SocketEvent::Closing(code, reason).into())
                }
                Poll::Ready(Next::Admitted) => {
                    self.socket.admit();
                    self.stage = Stage::Admitted;
                    self.guard.shared.pre_auth.remove(self.guard.conn);
                    return Poll::Ready(SocketEvent::Admitted.into());
                }
                Poll::Pending if self.socket.can_shrink() => {
                    return Poll::Ready(Progress::CanShrink)
                }
                Poll::Pending => break,
            }
        }
        match self.stage {
            Stage::Deciding => Poll::Pending,
            Stage::Greeting | Stage::Admitted => self.poll_message(context).map(Progress::Event),
        }
    }

    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<SocketEvent> {
        loop {
            let event = match ready!(self.socket.poll_read(context)) {
                Ok(Message::Text(text)) => SocketEvent::Message(text.into()),
                Ok(Message::Binary(bytes)) => SocketEvent::Message(bytes),
                Ok(Message::Close(_)) => SocketEvent::Closing(1000, String::new()),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {
                    match self.socket.poll_sent(context) {
                        Poll::Ready(Err(_)) => SocketEvent::Gone,
                        _ => continue,
                    }
                }
                Err(error) => SocketEvent::Failed(error),
            };
            return Poll::Ready(event);
        }
    }

    /// Reports a WebSocket that ended without a connect request, unless the gateway ended it.
    fn report_no_connect(&self, outcome: &HandshakeOutcome) {
        let cause = match outcome {
            _ if self.stage != Stage::Greeting || self.send_queue.is_closed() => return,
            HandshakeOutcome::Admitted => return,
            HandshakeOutcome::TimedOut => NoConnect::Timeout,
            HandshakeOutcome::Ended(SocketEvent::Failed(error)) if !is_lost(error) => {
                NoConnect::InvalidMessage
            }
            HandshakeOutcome::Ended(_) => NoConnect::Left,
        };
        let (conn, client_info) = (self.guard.conn, Box::new(self.client_info.clone()));
        self.guard.shared.dispatch(Event::NoConnect { conn, cause, client_info });
    }

    fn log_timeout(&self) {
        let cause = "no decision in time, or the pairing was not stored in time";
        let (shared, conn) = (&self.guard.shared, self.guard.conn);
        let ClientInfo { peer, host_text, .. } = &self.client_info;
        let line = format_args!("timeout conn={conn} peer={peer} host={host_text:?}: {cause}");
        shared.with_gateway(|gateway| gateway.refusal_log.warn(line, shared.now().at));
    }
}

/// Sends a complete response, and gives the client [`limits::CLOSE_GRACE_MS`] to read it before the
/// connection is closed.
async fn finish(stream: &mut impl Transport, response: &[u8]) -> io::Result<()> {
    stream.write_all(response).await?;
    let _ = within(limits::CLOSE_GRACE_MS, drain(stream)).await;
    Ok(())
}
