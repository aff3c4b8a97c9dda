//! The WebSocket of one client: challenge, connect, and then messages in both directions.
//!
//! This module only translates: received messages become events of the gateway state, and frames in
//! the send queue are written. While the gateway state decides on connect, no further message is
//! read.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{ready, Context, Poll};

use async_tungstenite::tungstenite::{Error, Message};
use smol::future;

use super::frame_budget::{FrameClock, FrameShare};
use super::frame_stream::Transport;
use super::send_queue::{Frame, Next, SendQueue};
use super::websocket::{close_for_error, is_lost, CloseMode, Socket};
use crate::gate::ids::{ConnId, Millis, Nonce};
use crate::gate::limits;
use crate::gate::no_connect::NoConnect;
use crate::gate::refusal::{Close, Refusal};
use crate::rpc;
use crate::server::gateway::attempt::ClientInfo;
use crate::server::gateway::dispatch::read_large;
use crate::server::gateway::parse;
use crate::server::gateway::{Event, InvalidFirstFrame};
use crate::server::runtime::{self, sleep};
use crate::server::shared::Shared;
use crate::server::turns::TurnHolder;
use crate::wire::connect::Connect;
use crate::wire::frames::{self, Request};
use crate::wire::json;

/// Result of the handshake of a WebSocket.
pub enum HandshakeOutcome {
    Admitted,
    Ended(SocketEvent),
    TimedOut,
}

/// Registration of a connection. Dropping it removes the connection from the gateway, however the
/// connection ended.
pub struct ConnectionGuard {
    pub shared: Rc<Shared>,
    pub conn: ConnId,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.shared.pre_auth.remove(self.conn);
        self.shared.dispatch(Event::Closed { conn: self.conn });
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
pub enum SocketEvent {
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

/// WebSocket of a client, from the upgrade to its end.
pub struct ClientSession<T> {
    guard: ConnectionGuard,
    socket: Socket<T>,
    client_info: ClientInfo,
    send_queue: Rc<SendQueue>,
    challenge: Option<(Nonce, Millis)>,
    stage: Stage,
    frame_clock: FrameClock,
}

impl<T: Transport> ClientSession<T> {
    /// Creates the state of a WebSocket whose handshake follows.
    pub fn new(guard: ConnectionGuard, socket: Socket<T>, client_info: ClientInfo) -> Box<Self> {
        Box::new(ClientSession {
            guard,
            socket,
            client_info,
            send_queue: Rc::default(),
            challenge: None,
            stage: Stage::Greeting,
            frame_clock: FrameClock::default(),
        })
    }

    /// Continues after the handshake until the connection ends.
    pub async fn run(mut self: Box<Self>, outcome: HandshakeOutcome) {
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
        let send_queue = self.send_queue.clone();
        send_queue.close(1000, "");
        let evicted = poll_fn(|context| {
            send_queue.register_waker(context);
            if send_queue.is_evicted() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        future::or(Box::pin(self.close(last)), evicted).await;
    }

    /// Closes the socket after its last event.
    async fn close(&mut self, last: SocketEvent) {
        let (conn, peer) = (self.guard.conn, self.client_info.peer);
        match last {
            SocketEvent::Closing(code, reason) if self.send_queue.is_evicted() => {
                self.socket.close(code, &reason, CloseMode::AtOnce).await;
            }
            SocketEvent::Closing(code, reason) => {
                if self.send_queue.is_aborted() {
                    self.guard.shared.warn_of_close(conn, peer, &reason);
                    // the memory of a large frame is needed by other clients, so it is not
                    // completed, and the close frame cannot be sent
                    if self.socket.is_sending_large() {
                        return;
                    }
                }
                self.socket.close(code, &reason, CloseMode::AwaitAnswer).await;
            }
            SocketEvent::Failed(error) => {
                if let Some((code, reason)) = close_for_error(&error) {
                    log::debug!("conn={conn} peer={peer}: {error}");
                    self.socket.close(code, reason, CloseMode::Discard).await;
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
        frames::event("connect.challenge", &payload)
    }

    /// Sends the response to the upgrade and the challenge. Then handles messages until the client
    /// is admitted or the connection ends.
    pub async fn handshake(&mut self, accept: &[u8]) -> HandshakeOutcome {
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
                SocketEvent::Message(message) if message.len() > limits::FRAME_AT_ONCE => {
                    Box::pin(self.handle_large(message)).await
                }
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

    /// Reads a large message on another thread, and handles it unless the connection is closed
    /// meanwhile. Other connections go on; later messages of this one wait.
    async fn handle_large(&self, message: Frame) {
        let (shared, conn) = (&self.guard.shared, self.guard.conn);
        let Some(caller) = shared.with_gateway(|gateway| gateway.admitted(conn)) else { return };
        let read = move || read_large(message, &caller);
        let read = Box::new(shared.frame_offload.run_in_turn(read).await);
        if !self.send_queue.is_closed() {
            shared.dispatch(Event::LargeFrame { conn, read });
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
            shared.pre_auth.delay(conn);
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
                    if self.socket.can_shrink() {
                        return Poll::Ready(Progress::CanShrink);
                    }
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
                    self.admit();
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
            // the next message is read after the memory of this one is released
            Stage::Admitted if self.socket.is_large() => {
                self.check_frame_time().map(Progress::Event)
            }
            Stage::Greeting | Stage::Admitted => {
                let event = match self.poll_message(context) {
                    Poll::Pending => self.check_frame_time(),
                    event => {
                        self.frame_clock = FrameClock::default();
                        event
                    }
                };
                event.map(Progress::Event)
            }
        }
    }

    /// Raises the frame limit to that of the admitted client, and counts the time of the connection
    /// for it from now on.
    fn admit(&mut self) {
        let (shared, conn) = (&self.guard.shared, self.guard.conn);
        if let Some(client) = shared.with_gateway(|gateway| gateway.admitted(conn)) {
            let share = FrameShare::new(shared.frame_budget.clone(), conn, client.holder());
            self.socket.admit(rpc::frame_limit(&client), share);
            runtime::continue_for(TurnHolder::Client(client.holder()));
        }
        self.stage = Stage::Admitted;
    }

    /// Checks how long the current frame takes, until its memory is released. It is called at each
    /// ping at least.
    fn check_frame_time(&mut self) -> Poll<SocketEvent> {
        let shared = &self.guard.shared;
        let unfinished = self.socket.unfinished().filter(|_| self.stage == Stage::Admitted);
        if !self.frame_clock.is_overdue(unfinished, || shared.now().at) {
            return Poll::Pending;
        }
        let (code, reason) = Close::FrameTimeout.words();
        Poll::Ready(SocketEvent::Closing(code, reason.to_string()))
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
