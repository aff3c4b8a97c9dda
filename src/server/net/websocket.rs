//! One WebSocket on one TCP stream: async-tungstenite over a [`FrameStream`]. Makes no decisions.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{ready, Context, Poll};

use async_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use async_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use async_tungstenite::tungstenite::{Error, Message};
use async_tungstenite::WebSocketStream;
use futures_sink::Sink;
use smol::future::yield_now;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::stream::Stream;

use super::frame_stream::{FrameStream, Transport};
use super::send_queue::Frame;
use crate::gate::limits;
use crate::gate::refusal::Close;
use crate::gate::text::cut;
use crate::server::runtime::within;

/// WebSocket to a client.
pub struct Socket<T> {
    protocol: WebSocketStream<FrameStream<T>>,
    /// Text frames queued behind the one that is being sent.
    queue: VecDeque<Frame>,
    /// Whether the protocol may have a pong, a ping or a close that is not written.
    unsent: bool,
    /// Number of pings received since everything was sent.
    pings: u32,
    /// Whether a message of more than [`limits::BUFFER_KEPT`] bytes was received and the protocol's
    /// buffer still has its size.
    is_large: bool,
}

impl<T: Transport> Socket<T> {
    /// Creates a socket. The response to the upgrade is still to be sent, by [`Socket::open`] or by
    /// the caller. `read` are bytes that were received after the request.
    pub async fn new(stream: T, read: Vec<u8>) -> Socket<T> {
        let protocol = protocol(FrameStream::new(stream, read)).await;
        Socket { protocol, queue: VecDeque::new(), unsent: false, pings: 0, is_large: false }
    }

    /// Raises the frame limit to that of an admitted client.
    pub fn admit(&mut self) {
        self.protocol.get_mut().admit();
    }

    /// Queues the response to the upgrade and the first frame; see [`Socket::poll_sent`]. Nothing
    /// may be sent before it.
    pub fn open(&mut self, accept: &[u8], frame: &[u8]) {
        self.protocol.get_mut().begin_with(accept, frame);
    }

    /// Queues a text frame; see [`Socket::poll_sent`].
    pub fn send(&mut self, frame: Frame) {
        self.queue.push_back(frame);
    }

    /// Queues a ping.
    pub fn ping(&mut self) -> Result<(), Error> {
        self.write(Message::Ping(Frame::new()))
    }

    fn write(&mut self, message: Message) -> Result<(), Error> {
        self.unsent = true;
        Pin::new(&mut self.protocol).start_send(message)
    }

    /// Sends everything that is queued. Ready when the system has accepted all of it.
    ///
    /// A text frame begins only when the protocol has written all it has, so that no part of a pong
    /// is inside a text frame.
    pub fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            ready!(self.poll_frame(context))?;
            if self.unsent {
                ready!(Pin::new(&mut self.protocol).poll_flush(context))?;
                (self.unsent, self.pings) = (false, 0);
            }
            match self.queue.pop_front() {
                Some(frame) => self.protocol.get_mut().begin(frame),
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Sends the current text frame. Ready when it is sent completely.
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.protocol.get_mut().poll_sent(context).map_err(Error::Io)
    }

    /// Returns whether the peer has sent anything since the last call, or accepted more of a frame
    /// that had to wait. A frame that the system accepts at once does not count: it may still be in
    /// the system's buffers.
    pub fn has_progressed(&mut self) -> bool {
        self.protocol.get_mut().has_progressed()
    }

    /// Returns the next message. Pings are answered; a close is answered and then returned.
    ///
    /// While the answers to [`limits::PINGS_WAITING`] pings cannot be sent, nothing more is read,
    /// because the protocol keeps them all. The caller must also call [`Socket::poll_sent`] after
    /// each ping, which wakes it when they can be sent.
    pub fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        if self.pings >= limits::PINGS_WAITING {
            return Poll::Pending;
        }
        let message = ready!(Pin::new(&mut self.protocol).poll_next(context))
            .unwrap_or(Err(Error::ConnectionClosed));
        match &message {
            Ok(Message::Ping(_)) => (self.unsent, self.pings) = (true, self.pings + 1),
            Ok(Message::Close(_)) => self.unsent = true,
            Ok(data) => self.is_large |= data.len() > limits::BUFFER_KEPT,
            Err(_) => {}
        }
        Poll::Ready(message)
    }

    /// Returns whether [`Socket::shrink`] would release memory and is possible: everything is sent,
    /// and no message is partly received.
    pub fn can_shrink(&self) -> bool {
        let stream = self.protocol.get_ref();
        let has_unsent = self.unsent || !self.queue.is_empty() || stream.is_sending();
        self.is_large && !has_unsent && stream.is_between_messages()
    }

    /// Releases the memory that a large message took, by starting the protocol anew with small
    /// buffers. Requires [`Socket::can_shrink`]: otherwise data would be lost that the protocol has
    /// read and not returned, or not written.
    pub async fn shrink(&mut self) {
        let stream = self.protocol.get_mut().take();
        self.protocol = protocol(stream).await;
        self.is_large = false;
    }

    /// Closes with this code and reason, which is cut to [`limits::CLOSE_REASON`] bytes. Sending
    /// what is queued, the close frame and the peer's answer have [`limits::CLOSE_GRACE_MS`] in
    /// total.
    pub async fn close(&mut self, code: u16, reason: &str, mode: CloseMode) {
        let frame =
            CloseFrame { code: code.into(), reason: cut(reason, limits::CLOSE_REASON).into() };
        let mut close = Some(Message::Close(Some(frame)));
        let closing = async {
            match mode {
                CloseMode::AwaitAnswer => {
                    poll_fn(|context| self.poll_answered(context, &mut close)).await;
                }
                CloseMode::Discard => {
                    if poll_fn(|context| self.poll_closed(context, &mut close)).await.is_ok() {
                        let _ = drain(self.protocol.get_mut().transport()).await;
                    }
                }
            }
        };
        let _ = within(limits::CLOSE_GRACE_MS, closing).await;
    }

    /// Sends everything that is queued, then the close frame. Ready when all of it is sent.
    fn poll_closed(
        &mut self,
        context: &mut Context<'_>,
        close: &mut Option<Message>,
    ) -> Poll<Result<(), Error>> {
        ready!(self.poll_sent(context))?;
        if let Some(close) = close.take() {
            self.write(close)?;
        }
        self.poll_sent(context)
    }

    /// Waits until the peer has answered the close frame or is gone. Messages before that are
    /// dropped.
    fn poll_answered(
        &mut self,
        context: &mut Context<'_>,
        close: &mut Option<Message>,
    ) -> Poll<()> {
        loop {
            if let Poll::Ready(Err(_)) = self.poll_closed(context, close) {
                return Poll::Ready(());
            }
            if ready!(self.poll_read(context)).is_err() {
                return Poll::Ready(());
            }
        }
    }
}

/// Treatment of received data while a WebSocket is closed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum CloseMode {
    /// Waits for the peer's close frame.
    AwaitAnswer,
    /// Discards received bytes: the peer has broken the protocol, so they cannot be parsed.
    Discard,
}

/// Ends the sending side, and discards received bytes until the peer ends too. If they were left
/// unread, the system would reset the connection, and the last data sent would be lost.
pub async fn drain(stream: &mut impl Transport) -> io::Result<()> {
    stream.close().await?;
    let mut part = vec![0; limits::READ_BUFFER];
    while stream.read(&mut part).await? > 0 {
        // a peer that sends without end must not block other connections
        yield_now().await;
    }
    Ok(())
}

/// Returns whether the connection was lost, and did not break the protocol.
pub fn is_lost(error: &Error) -> bool {
    let is_reset = matches!(error, Error::Protocol(ProtocolError::ResetWithoutClosingHandshake));
    is_reset || close_for_error(error).is_none()
}

/// Returns the close code and reason for a connection that broke the protocol; `None` if the
/// connection was lost.
pub fn close_for_error(error: &Error) -> Option<(u16, &'static str)> {
    match error {
        Error::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Some(Close::TooLarge.words())
        }
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(Close::TooLarge.words()),
        Error::Utf8(_) => Some(Close::NotUtf8.words()),
        Error::Protocol(_) => Some((1002, "protocol error")),
        _ => None,
    }
}

/// Starts the protocol with empty buffers. Its limits are those of an admitted client from the
/// start; [`FrameStream`] enforces the lower limit before admission.
async fn protocol<T: Transport>(stream: FrameStream<T>) -> WebSocketStream<FrameStream<T>> {
    let config = WebSocketConfig::default()
        .read_buffer_size(limits::READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(limits::FRAME_AFTER_HELLO))
        .max_frame_size(Some(limits::FRAME_AFTER_HELLO));
    WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::task::Waker;

    use smol::io::{AsyncRead, AsyncWrite};

    use super::*;
    use crate::server::runtime::run;

    /// The client's side of a stream, which accepts and provides as many bytes as a test sets.
    #[derive(Clone, Default)]
    struct Wire(Rc<RefCell<WireState>>);

    #[derive(Default)]
    struct WireState {
        received: VecDeque<u8>,
        sent: Vec<u8>,
        /// Number of bytes that can be written until there is room again.
        room: usize,
        /// If not 0, each write accepts that many bytes, but every second write is pending.
        each: usize,
        refuses: bool,
    }

    impl AsyncRead for Wire {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            let mut wire = self.0.borrow_mut();
            let count = wire.received.len().min(bytes.len());
            for (to, from) in bytes.iter_mut().zip(wire.received.drain(..count)) {
                *to = from;
            }
            if count == 0 {
                return Poll::Pending;
            }
            Poll::Ready(Ok(count))
        }
    }

    impl AsyncWrite for Wire {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let mut wire = self.0.borrow_mut();
            wire.refuses = !wire.refuses;
            if wire.each > 0 {
                wire.room = if wire.refuses { 0 } else { wire.each };
            }
            let count = wire.room.min(bytes.len());
            wire.room -= count;
            wire.sent.extend_from_slice(&bytes[..count]);
            if count == 0 {
                return Poll::Pending;
            }
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl Wire {
        fn receive(&self, bytes: &[u8]) {
            self.0.borrow_mut().received.extend(bytes);
        }

        fn set_room(&self, room: usize) {
            self.0.borrow_mut().room = room;
        }

        /// Returns the complete frames that were sent: first byte and payload.
        fn sent_frames(&self) -> Vec<(u8, Vec<u8>)> {
            let wire = self.0.borrow();
            let (mut bytes, mut frames) = (wire.sent.as_slice(), Vec::new());
            while let [first, form, rest @ ..] = bytes {
                let (len, rest) = match form {
                    126 if rest.len() >= 2 => {
                        (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..])
                    }
                    126 => break,
                    len => (usize::from(*len), rest),
                };
                let Some((payload, rest)) = rest.split_at_checked(len) else { break };
                frames.push((*first, payload.to_vec()));
                bytes = rest;
            }
            frames
        }
    }

    /// Returns a socket of an admitted client, and the client's side.
    fn pair() -> (Socket<Wire>, Wire) {
        let wire = Wire::default();
        let mut socket = run(Socket::new(wire.clone(), Vec::new()));
        socket.admit();
        (socket, wire)
    }

    /// Returns a frame that is masked with zeros.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let head = match payload.len() {
            len @ ..126 => vec![first, 0x80 | len as u8],
            len @ ..65_536 => [&[first, 0xfe][..], &(len as u16).to_be_bytes()].concat(),
            len => [&[first, 0xff][..], &(len as u64).to_be_bytes()].concat(),
        };
        [&head, &[0; 4][..], payload].concat()
    }

    /// Returns the next message if there is one. Keeps sending meanwhile, as a connection does.
    fn next(socket: &mut Socket<Wire>) -> Option<Message> {
        let mut context = Context::from_waker(Waker::noop());
        // a read is pending once after each turn of reads
        for _ in 0..100 {
            let _ = socket.poll_sent(&mut context).map(|sent| sent.unwrap());
            if let Poll::Ready(message) = socket.poll_read(&mut context) {
                return Some(message.unwrap());
            }
        }
        None
    }

    fn is_sent(socket: &mut Socket<Wire>) -> bool {
        socket
            .poll_sent(&mut Context::from_waker(Waker::noop()))
            .map(|sent| sent.unwrap())
            .is_ready()
    }

    #[test]
    fn frames_are_never_mixed_whatever_the_size_of_writes() {
        const COUNT: usize = 60;
        let payload = |number: usize, len: usize| format!("{number:0len$}").into_bytes();
        for each in [1, 2, 3, 7, 50, 126, 127, 128, 129, 300, 831, 5000] {
            let (mut socket, wire) = pair();
            wire.0.borrow_mut().each = each;
            let (mut pings, mut texts, mut turns) = (0, 0, 0);
            while pings < COUNT || !is_sent(&mut socket) {
                // pings keep arriving while data is only partly sent
                if turns < COUNT {
                    wire.receive(&masked(0x89, &payload(turns, 125)));
                }
                if let Some(message) = next(&mut socket) {
                    assert_eq!(message, Message::Ping(payload(pings, 125).into()));
                    pings += 1;
                    if pings % 2 == 0 {
                        socket.send(payload(texts, 700).into());
                        texts += 1;
                    }
                }
                turns += 1;
                assert!(turns < 1_000_000, "stuck with {each} bytes a write");
            }
            let (pongs, sent): (Vec<_>, Vec<_>) =
                wire.sent_frames().into_iter().partition(|(first, _)| *first == 0x8a);
            let wanted = |first: u8, count, len| {
                (0..count).map(|at| (first, payload(at, len))).collect::<Vec<_>>()
            };
            assert_eq!(pongs, wanted(0x8a, COUNT, 125), "{each} bytes a write");
            assert_eq!(sent, wanted(0x81, texts, 700), "{each} bytes a write");
        }
    }

    #[test]
    fn unanswered_pings_are_bounded() {
        let (mut socket, wire) = pair();
        wire.receive(&masked(0x89, b"ping").repeat(1000));
        let read = std::iter::from_fn(|| next(&mut socket)).count();
        assert_eq!(read, limits::PINGS_WAITING as usize);
        wire.set_room(usize::MAX);
        assert_eq!(std::iter::from_fn(|| next(&mut socket)).count(), 1000 - read);
        assert!(is_sent(&mut socket));
        assert_eq!(wire.sent_frames(), vec![(0x8a, b"ping".to_vec()); 1000]);
    }

    #[test]
    fn progress_of_a_delayed_frame_is_a_sign_of_life() {
        let (mut socket, wire) = pair();
        wire.set_room(10);
        socket.send(Frame::from(vec![b'x'; 100]));
        assert!(
            !is_sent(&mut socket) && !socket.has_progressed(),
            "a frame that is accepted at once does not count"
        );
        assert!(!is_sent(&mut socket) && !socket.has_progressed());
        wire.set_room(10);
        assert!(!is_sent(&mut socket) && socket.has_progressed());
        assert!(!socket.has_progressed(), "no progress since the last call");
        wire.receive(b"\x81");
        assert!(next(&mut socket).is_none() && socket.has_progressed(), "a byte was received");
    }

    #[test]
    fn shrinking_between_messages_loses_nothing() {
        let (mut socket, wire) = pair();
        wire.set_room(usize::MAX);
        let large = "x".repeat(4 * limits::BUFFER_KEPT);
        // the last frame of the second large message arrives together with the next message
        let (start, end) = large.as_bytes().split_at(large.len() - 3);
        let round = [
            masked(0x81, large.as_bytes()),
            masked(0x81, b"behind"),
            masked(0x89, b"?"),
            masked(0x01, start),
            masked(0x89, b"!"),
            masked(0x80, end),
            masked(0x81, b"last"),
        ];
        let text = |text: &str| Message::text(text.to_string());
        let messages = [
            text(&large),
            text("behind"),
            Message::Ping(Frame::from_static(b"?")),
            Message::Ping(Frame::from_static(b"!")),
            text(&large),
            text("last"),
        ];
        let sent = round.concat().repeat(20);
        let mut pieces = sent.chunks(1021);
        let mut shrunk = 0;
        for message in messages.iter().cycle().take(20 * messages.len()) {
            let came = std::iter::from_fn(|| {
                let came = next(&mut socket);
                if came.is_none() {
                    wire.receive(pieces.next()?);
                }
                Some(came)
            });
            assert_eq!(came.flatten().next().as_ref(), Some(message));
            if socket.can_shrink() {
                run(socket.shrink());
                assert!(!socket.can_shrink(), "already released");
                shrunk += 1;
            }
        }
        assert!(shrunk >= 20, "{shrunk}");
        assert!(is_sent(&mut socket));
        assert_eq!(wire.sent_frames().len(), 40, "a pong for each ping");
    }

    #[test]
    fn a_socket_does_not_shrink_with_unsent_data_or_a_partial_message() {
        let (mut socket, wire) = pair();
        let large = vec![b'x'; limits::BUFFER_KEPT + 1];
        wire.receive(&masked(0x81, &large[1..]));
        assert!(
            next(&mut socket).is_some() && !socket.can_shrink(),
            "a buffer of that size is kept"
        );
        wire.receive(&masked(0x81, &large));
        assert!(next(&mut socket).is_some() && socket.can_shrink());
        socket.send(Frame::from_static(b"x"));
        assert!(!socket.can_shrink(), "a frame is queued");
        assert!(!is_sent(&mut socket) && !socket.can_shrink(), "a frame is being sent");
        wire.set_room(usize::MAX);
        assert!(is_sent(&mut socket) && socket.can_shrink());
        wire.receive(&[masked(0x89, b""), masked(0x01, b"a")].concat());
        assert_eq!(next(&mut socket), Some(Message::Ping(Frame::new())));
        assert!(!socket.can_shrink(), "a pong is not sent");
        assert!(is_sent(&mut socket) && socket.can_shrink());
        assert!(
            next(&mut socket).is_none() && !socket.can_shrink(),
            "a message is partly received"
        );
        wire.receive(&masked(0x80, b"b"));
        assert_eq!(next(&mut socket), Some(Message::text("ab")));
        assert!(socket.can_shrink());
    }
}
