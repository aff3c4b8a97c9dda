//! One WebSocket over one TCP stream: async-tungstenite over a [`FrameStream`]. Nothing is decided here.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{ready, Context, Poll};

use async_net::TcpStream;
use async_tungstenite::tungstenite::error::CapacityError;
use async_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use async_tungstenite::tungstenite::{Error, Message};
use async_tungstenite::WebSocketStream;
use futures_sink::Sink;
use smol::future::yield_now;
use smol::io::AsyncReadExt;
use smol::stream::Stream;

use super::frame_stream::FrameStream;
use super::outbox::Frame;
use super::runtime::within;
use crate::gate::limits;
use crate::gate::refusal::Close;
use crate::gate::text::cut;

/// A WebSocket of ours.
pub struct Socket {
    protocol: WebSocketStream<FrameStream>,
    /// Text frames that wait for the one under way.
    queue: VecDeque<Frame>,
    /// The protocol may have a pong, a ping or a close that is not written.
    unsent: bool,
    /// Pings that came since everything was sent.
    pings: u32,
    /// A message of more than [`limits::BUFFER_KEPT`] bytes came, and the protocol's buffer still has its size.
    is_large: bool,
}

impl Socket {
    /// A socket on which the upgrade is not answered yet ([`Socket::open`]), or by others; `read` is what came behind the request.
    pub async fn new(stream: TcpStream, read: Vec<u8>) -> Socket {
        let protocol = protocol(FrameStream::new(stream, read)).await;
        Socket { protocol, queue: VecDeque::new(), unsent: false, pings: 0, is_large: false }
    }

    /// Lets frames of an admitted client in.
    pub fn admit(&mut self) {
        self.protocol.get_mut().admit();
    }

    /// Sends the answer to the request that opened this WebSocket, and the first frame with it; see [`Socket::poll_sent`]. Nothing
    /// may have been sent before.
    pub fn open(&mut self, accept: &[u8], frame: &[u8]) {
        self.protocol.get_mut().begin_with(accept, frame);
    }

    /// Hands a text frame over to be sent; see [`Socket::poll_sent`].
    pub fn send(&mut self, frame: Frame) {
        self.queue.push_back(frame);
    }

    /// Hands a ping over to be sent.
    pub fn ping(&mut self) -> Result<(), Error> {
        self.write(Message::Ping(Frame::new()))
    }

    fn write(&mut self, message: Message) -> Result<(), Error> {
        self.unsent = true;
        Pin::new(&mut self.protocol).start_send(message)
    }

    /// Whether everything that was handed over is on its way.
    ///
    /// A text frame begins only when the protocol has written all it has, so that no part of a pong stands in a text frame.
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

    /// Whether the text frame under way is out.
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.protocol.get_mut().poll_sent(context).map_err(Error::Io)
    }

    /// Whether the other side has sent anything since this was asked last, or taken more of a frame for which it had no room. What goes out
    /// at once may just lie in the system's buffers.
    pub fn moved(&mut self) -> bool {
        self.protocol.get_mut().moved()
    }

    /// The next message. Pings are answered on the way; a close is answered and then reported.
    ///
    /// While the answers to [`limits::PINGS_WAITING`] pings cannot be sent nothing more is read: the protocol keeps them all. The
    /// caller asks [`Socket::poll_sent`] too, after each ping, and so comes back when they can.
    pub fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        if self.pings >= limits::PINGS_WAITING {
            return Poll::Pending;
        }
        let message = ready!(Pin::new(&mut self.protocol).poll_next(context)).unwrap_or(Err(Error::ConnectionClosed));
        match &message {
            Ok(Message::Ping(_)) => (self.unsent, self.pings) = (true, self.pings + 1),
            Ok(Message::Close(_)) => self.unsent = true,
            Ok(data) => self.is_large |= data.len() > limits::BUFFER_KEPT,
            Err(_) => {}
        }
        Poll::Ready(message)
    }

    /// Whether [`Socket::shrink`] would give memory back, and can: everything is sent, and no message is begun.
    pub fn can_shrink(&self) -> bool {
        let owes = self.unsent || !self.queue.is_empty();
        self.is_large && !owes && self.protocol.get_ref().is_between_messages()
    }

    /// Gives the memory back that a large message took: begins anew with small buffers. Only if [`Socket::can_shrink`]: what the protocol
    /// has read and not reported, or not written, would be lost.
    pub async fn shrink(&mut self) {
        let stream = self.protocol.get_mut().take();
        self.protocol = protocol(stream).await;
        self.is_large = false;
    }

    /// Closes with that code and reason, which is cut to [`limits::CLOSE_REASON`] bytes: gives what waits to be sent, the close frame
    /// and the other side's answer [`limits::CLOSE_GRACE_MS`] in all, and lets go.
    ///
    /// Of a connection that `failed`, having broken the protocol, nothing is understood any more, and no answer is waited for.
    pub async fn end(&mut self, code: u16, reason: &str, failed: bool) {
        let frame = CloseFrame { code: code.into(), reason: cut(reason, limits::CLOSE_REASON).into() };
        let mut close = Some(Message::Close(Some(frame)));
        let farewell = async {
            if failed {
                poll_fn(|context| self.poll_close(context, &mut close)).await.ok()?;
                return drain(self.protocol.get_mut().tcp()).await;
            }
            poll_fn(|context| self.poll_farewell(context, &mut close)).await
        };
        within(limits::CLOSE_GRACE_MS, farewell).await;
    }

    /// Whether everything is sent, and the close frame behind it.
    fn poll_close(&mut self, context: &mut Context<'_>, close: &mut Option<Message>) -> Poll<Result<(), Error>> {
        ready!(self.poll_sent(context))?;
        if let Some(close) = close.take() {
            self.write(close)?;
        }
        self.poll_sent(context)
    }

    /// Until the other side has answered our close, or is gone. What it sends before that is dropped.
    fn poll_farewell(&mut self, context: &mut Context<'_>, close: &mut Option<Message>) -> Poll<Option<()>> {
        loop {
            if let Poll::Ready(Err(_)) = self.poll_close(context, close) {
                return Poll::Ready(None);
            }
            if ready!(self.poll_read(context)).is_err() {
                return Poll::Ready(None);
            }
        }
    }
}

/// Says that nothing more comes, and drops what does, until the other side is done: bytes that nobody read would make the
/// system reset the connection, and what was said last would be lost with it.
pub async fn drain(stream: &mut TcpStream) -> Option<()> {
    stream.shutdown(Shutdown::Write).ok()?;
    let mut part = [0; limits::READ_BUFFER];
    while stream.read(&mut part).await.ok()? > 0 {
        // a peer that sends without end keeps no other connection from its turn
        yield_now().await;
    }
    None
}

/// The code and reason with which a connection ends that broke the protocol; `None` if it is simply gone.
pub fn blame(error: &Error) -> Option<(u16, &'static str)> {
    match error {
        Error::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => Some(Close::TooLarge.words()),
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(Close::TooLarge.words()),
        Error::Utf8(_) => Some(Close::NotUtf8.words()),
        Error::Protocol(_) => Some((1002, "protocol error")),
        _ => None,
    }
}

/// The protocol with empty buffers. The limit of an admitted client is its own from the start; [`FrameStream`] has the limit before that.
async fn protocol(stream: FrameStream) -> WebSocketStream<FrameStream> {
    let config = WebSocketConfig::default()
        .read_buffer_size(limits::READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(limits::FRAME_AFTER_HELLO))
        .max_frame_size(Some(limits::FRAME_AFTER_HELLO));
    WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await
}
