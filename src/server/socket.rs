//! One WebSocket over one TCP stream: tungstenite's protocol, driven by readiness.
//!
//! The adapter crate would be in the way here: the frame limit must rise when a client is admitted, and one small future a
//! connection keeps an idle client cheap. Nothing is decided here.
//!
//! Frames of ours go past tungstenite's buffer, which would copy them, and would stay as large as the largest of them for as long
//! as the connection lives. While one is under way, tungstenite is told that the stream takes nothing.

use std::cell::Cell;
use std::future::{poll_fn, Future};
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_lite::future::{self, FutureExt};
use mio::net::TcpStream;
use tungstenite::error::CapacityError;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::outbox::Frame;
use super::reactor::{sleep, Source};
use crate::gate::limits;
use crate::gate::refusal::Close;
use crate::gate::text::cut;

/// A TCP stream that never blocks.
#[derive(Clone)]
pub struct Stream(pub Rc<Source<TcpStream>>);

impl Stream {
    /// A stream that does not block. Only inside [`super::reactor::block_on`].
    pub fn new(stream: TcpStream) -> io::Result<Stream> {
        Ok(Stream(Rc::new(Source::new(stream)?)))
    }

    /// Adds to `bytes` what came, up to 1 KiB, and says how much that was: 0 at the end. None if the connection is broken.
    pub async fn read_some(&self, bytes: &mut Vec<u8>) -> Option<usize> {
        let mut part = [0; 1024];
        let count = self.0.reading(|_| self.clone().read(&mut part)).await.ok()?;
        bytes.extend_from_slice(&part[..count]);
        Some(count)
    }

    /// Sends all of it. None if the connection is broken.
    pub async fn write_all(&self, mut bytes: &[u8]) -> Option<()> {
        while !bytes.is_empty() {
            let count = self.0.writing(|_| self.clone().write(bytes)).await.ok().filter(|count| *count > 0)?;
            bytes = &bytes[count..];
        }
        Some(())
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| (&self.0.io).read(bytes))
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        uninterrupted(|| (&self.0.io).write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tries again for as long as a signal gets in the way.
fn uninterrupted(mut work: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// The stream as tungstenite has it.
struct Shared {
    stream: Stream,
    state: Rc<State>,
}

/// What tungstenite is to be kept from.
struct State {
    /// A frame is under way of which it knows nothing.
    busy: Cell<bool>,
    /// Reads that are left in this turn.
    reads: Cell<u32>,
    /// Bytes came, or of a frame that had to wait some were taken, since this was asked last.
    moved: Cell<bool>,
}

impl Read for Shared {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let Some(left) = self.state.reads.get().checked_sub(1) else { return Err(io::ErrorKind::WouldBlock.into()) };
        self.state.reads.set(left);
        let count = self.stream.read(bytes)?;
        self.state.moved.set(true);
        Ok(count)
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.state.busy.get() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A WebSocket of ours.
pub struct Socket {
    stream: Stream,
    protocol: WebSocket<Shared>,
    /// The frame under way, its header, and how much of the two is sent; what is in front of the header counts as sent.
    frame: Frame,
    head: [u8; HEAD],
    sent: usize,
    state: Rc<State>,
    /// Pings that came in since everything was sent.
    pings: u32,
    unsent: bool,
}

impl Socket {
    /// A socket on which the upgrade was answered; `read` is what had already come in behind the request head.
    pub fn new(stream: Stream, read: Vec<u8>) -> Socket {
        let reads = Cell::new(limits::READS_PER_TURN);
        let state = Rc::new(State { busy: Cell::new(false), reads, moved: Cell::new(false) });
        let shared = Shared { stream: stream.clone(), state: state.clone() };
        let protocol = WebSocket::from_partially_read(shared, read, Role::Server, Some(config()));
        Socket { stream, protocol, head: [0; HEAD], frame: Frame::new(), sent: 0, state, pings: 0, unsent: false }
    }

    /// Lets frames of an admitted client in.
    pub fn admit(&mut self) {
        self.protocol.set_config(|config| {
            config.max_message_size = Some(limits::FRAME_AFTER_HELLO);
            config.max_frame_size = Some(limits::FRAME_AFTER_HELLO);
        });
    }

    /// Hands a text frame over to be sent; see [`Socket::poll_sent`].
    pub fn send(&mut self, frame: Frame) -> Result<(), Error> {
        if self.unsent {
            let text = frame.try_into().map_err(|_| Error::AttackAttempt)?;
            return self.write(Message::Text(text));
        }
        let (head, skipped) = head(frame.len());
        self.head = head;
        self.begin(frame, skipped)
    }

    /// Sends the answer to the request that opened this WebSocket, and the first frame with it.
    pub fn open(&mut self, accept: &[u8], frame: &[u8]) -> Result<(), Error> {
        let (head, skipped) = head(frame.len());
        self.begin([accept, &head[skipped..], frame].concat().into(), HEAD)
    }

    /// Sends `frame`, and of its head what is behind `skipped`.
    fn begin(&mut self, frame: Frame, skipped: usize) -> Result<(), Error> {
        (self.frame, self.sent) = (frame, skipped);
        self.state.busy.set(true);
        self.unsent = true;
        match self.push() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            done => Ok(done?),
        }
    }

    /// Sends what it can of the frame under way.
    fn push(&mut self) -> io::Result<()> {
        while self.state.busy.get() {
            let head = self.head.get(self.sent..).unwrap_or_default();
            let body = self.frame.get(self.sent.saturating_sub(HEAD)..).unwrap_or_default();
            let slices = [IoSlice::new(head), IoSlice::new(body)];
            match uninterrupted(|| (&self.stream.0.io).write_vectored(&slices))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => self.sent += count,
            }
            if self.sent == HEAD + self.frame.len() {
                self.frame = Frame::new();
                self.state.busy.set(false);
            }
        }
        Ok(())
    }

    /// Hands a ping over to be sent.
    pub fn ping(&mut self) -> Result<(), Error> {
        self.write(Message::Ping(Frame::new()))
    }

    /// Hands a close frame over to be sent; the reason is cut to [`limits::CLOSE_REASON`] bytes.
    pub fn close(&mut self, code: u16, reason: &str) -> Result<(), Error> {
        let frame = CloseFrame { code: code.into(), reason: cut(reason, limits::CLOSE_REASON).into() };
        self.write(Message::Close(Some(frame)))
    }

    fn write(&mut self, message: Message) -> Result<(), Error> {
        self.unsent = true;
        match self.protocol.write(message) {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            done => done,
        }
    }

    /// Is everything that was handed over on its way?
    pub fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while self.unsent {
            let sent = self.sent;
            let pushed = self.push();
            self.state.moved.set(self.state.moved.get() || self.sent > sent);
            match pushed.map_err(Error::Io).and_then(|()| self.protocol.flush()) {
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.0.wait_to_write(context);
                    return Poll::Pending;
                }
                Err(error) => return Poll::Ready(Err(error)),
                Ok(()) => (self.unsent, self.pings) = (false, 0),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Has the other side sent anything since this was asked last, or taken more of a frame for which it had no room? What goes out
    /// at once may just lie in the system's buffers.
    pub fn moved(&self) -> bool {
        self.state.moved.take()
    }

    /// The next message. Pings are answered on the way; a close is answered and then reported.
    ///
    /// After [`limits::READS_PER_TURN`] reads the others have their turn: frames that are no messages come without end if the
    /// other side wants it so, and much of tungstenite's work on them is done before it returns. And while the answers to
    /// [`limits::PINGS_WAITING`] pings cannot be sent nothing more is read: tungstenite keeps them all. The caller asks
    /// [`Socket::poll_sent`] too, after each ping, and so comes back when they can.
    pub fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        if self.pings >= limits::PINGS_WAITING {
            return Poll::Pending;
        }
        match self.protocol.read() {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                match self.state.reads.replace(limits::READS_PER_TURN) {
                    0 => context.waker().wake_by_ref(),
                    _ => self.stream.0.wait_to_read(context),
                }
                Poll::Pending
            }
            result => {
                // a pong or a close may now wait to be sent
                self.unsent = true;
                self.pings += u32::from(matches!(result, Ok(Message::Ping(_))) && self.protocol.can_write());
                Poll::Ready(result)
            }
        }
    }

    /// Says goodbye, gives what is under way and the other side's answer a moment, and lets go.
    ///
    /// Of one that `failed`, having broken the protocol, nothing is understood any more, and no answer is waited for.
    pub async fn end(&mut self, code: u16, reason: &str, failed: bool) {
        let _ = self.close(code, reason);
        let farewell = async {
            if failed {
                poll_fn(|context| self.poll_sent(context)).await.ok()?;
                return drain(&self.stream).await;
            }
            poll_fn(|context| self.poll_farewell(context)).await
        };
        // boxed, so that an idle connection does not keep the room for its end
        within(limits::CLOSE_GRACE_MS, Box::pin(farewell)).await;
    }

    /// Until the other side has answered our close, or is gone.
    fn poll_farewell(&mut self, context: &mut Context<'_>) -> Poll<Option<()>> {
        if let Poll::Ready(Err(_)) = self.poll_sent(context) {
            return Poll::Ready(None);
        }
        loop {
            match self.poll_read(context) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Says that nothing more comes, and drops what does, until the other side is done: bytes that nobody read would make the
/// system reset the connection, and what was said last would be lost with it.
pub async fn drain(stream: &Stream) -> Option<()> {
    stream.0.io.shutdown(Shutdown::Write).ok()?;
    let mut part = [0; limits::READ_BUFFER];
    while stream.0.reading(|_| stream.clone().read(&mut part)).await.ok()? > 0 {
        // who sends without end keeps nobody from their turn
        future::yield_now().await;
    }
    None
}

/// The future's result, if it comes in time.
pub async fn within<T>(ms: u64, work: impl Future<Output = T>) -> Option<T> {
    let late = async {
        sleep(ms).await;
        None
    };
    async { Some(work.await) }.or(late).await
}

/// With which words a connection ends that broke the protocol; `None` if it is simply gone.
pub fn blame(error: &Error) -> Option<(u16, &'static str)> {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(Close::TooLarge.words()),
        Error::Utf8(_) => Some(Close::NotUtf8.words()),
        Error::Protocol(_) => Some((1002, "protocol error")),
        _ => None,
    }
}

/// The longest header of a frame that is not masked.
const HEAD: usize = 10;

/// The head of a text frame of that many bytes, and how many bytes in front of it are not used. The largest frame has less than
/// 4 GiB, and the longest form of a length is eight bytes.
fn head(len: usize) -> ([u8; HEAD], usize) {
    let mut head = [0; HEAD];
    head[2..].copy_from_slice(&(len as u64).to_be_bytes());
    let (form, skipped) = match len {
        0..126 => (head[9], 8),
        126..0x1_0000 => (126, 6),
        _ => (127, 0),
    };
    (head[skipped], head[skipped + 1]) = (TEXT, form);
    (head, skipped)
}

/// The first byte of a text frame that is whole.
const TEXT: u8 = 0x81;

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(limits::READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(usize::MAX)
        .max_message_size(Some(limits::FRAME_BEFORE_HELLO))
        .max_frame_size(Some(limits::FRAME_BEFORE_HELLO))
}
