//! The TCP stream below a WebSocket, as async-tungstenite reads and writes it.
//!
//! Towards the peer's bytes it is a [`FrameMeter`]: the library gets one frame at a time. Towards ours it sends text frames straight
//! from where they are: the library would copy them into its write buffer, which would keep the size of the largest for as
//! long as the connection lives. While a frame of ours is under way, the library is told that the stream takes nothing; one begins only when
//! the library has nothing to write ([`FrameStream::begin`]), so parts of two frames never follow each other.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{ready, Context, Poll};

use smol::io::{AsyncRead, AsyncWrite};

use super::frame_meter::{FrameMeter, TooLarge};
use super::outbox::Frame;
use crate::gate::limits;

/// What carries the bytes: a TCP stream, and in tests what stands for one. Clones are the same.
pub trait Transport: AsyncRead + AsyncWrite + Clone + Unpin {}

impl<T: AsyncRead + AsyncWrite + Clone + Unpin> Transport for T {}

/// The stream of one WebSocket.
pub struct FrameStream<T> {
    transport: T,
    meter: FrameMeter,
    /// Bytes that were read and are behind the end of the current frame.
    held: Vec<u8>,
    /// Reads that are left in this turn.
    reads: u32,
    sending: Option<Sending>,
    moved: bool,
}

/// A frame of ours under way.
struct Sending {
    head: [u8; HEAD],
    frame: Frame,
    /// Bytes of both that are sent; those of `head` that are not used count as sent.
    sent: usize,
    /// The system has refused to take all of it at once.
    waited: bool,
}

impl<T: Transport> FrameStream<T> {
    /// The stream at the start of a frame; `held` was read from it already. Frames of an unauthenticated connection are passed on.
    pub fn new(transport: T, held: Vec<u8>) -> FrameStream<T> {
        let meter = FrameMeter::new(limits::FRAME_BEFORE_HELLO);
        FrameStream { transport, meter, held, reads: limits::READS_PER_TURN, sending: None, moved: false }
    }

    /// Lets frames of an admitted client in.
    pub fn admit(&mut self) {
        self.meter.set_limit(limits::FRAME_AFTER_HELLO);
    }

    /// Moves everything into a new value. What is left is of no use.
    pub fn take(&mut self) -> FrameStream<T> {
        FrameStream {
            transport: self.transport.clone(),
            meter: self.meter,
            held: std::mem::take(&mut self.held),
            reads: self.reads,
            sending: self.sending.take(),
            moved: self.moved,
        }
    }

    /// What is below.
    pub fn transport(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Whether the library has been given whole messages only, and so has nothing in its buffers if it was asked for all of them.
    pub fn is_between_messages(&self) -> bool {
        self.meter.is_between_messages()
    }

    /// Whether a text frame is under way.
    pub fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    /// Whether bytes came since this was asked last, or some were taken of a frame that had to wait.
    pub fn moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Begins to send a text frame. The one before must be out, and the library must have nothing to write.
    pub fn begin(&mut self, frame: Frame) {
        let (head, sent) = head(frame.len());
        self.sending = Some(Sending { head, frame, sent, waited: false });
    }

    /// Begins to send `answer` and a text frame behind it in one piece.
    pub fn begin_with(&mut self, answer: &[u8], frame: &[u8]) {
        let (head, unused) = head(frame.len());
        let frame = [answer, &head[unused..], frame].concat().into();
        self.sending = Some(Sending { head, frame, sent: HEAD, waited: false });
    }

    /// Whether the frame under way is out.
    pub fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(sending) = &mut self.sending else { return Poll::Ready(Ok(())) };
        while sending.sent < HEAD + sending.frame.len() {
            let head = sending.head.get(sending.sent..).unwrap_or_default();
            let body = sending.frame.get(sending.sent.saturating_sub(HEAD)..).unwrap_or_default();
            let parts = [IoSlice::new(head), IoSlice::new(body)];
            match Pin::new(&mut self.transport).poll_write_vectored(context, &parts) {
                Poll::Pending => {
                    sending.waited = true;
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    sending.sent += count;
                    self.moved |= sending.waited;
                }
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        self.sending = None;
        Poll::Ready(Ok(()))
    }

    /// Reads from below, [`limits::READS_PER_TURN`] times before the other connections have their turn.
    fn poll_transport(&mut self, context: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        let Some(left) = self.reads.checked_sub(1) else {
            self.reads = limits::READS_PER_TURN;
            context.waker().wake_by_ref();
            return Poll::Pending;
        };
        loop {
            match Pin::new(&mut self.transport).poll_read(context, bytes) {
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(read) => {
                    self.reads = left;
                    self.moved |= read.as_ref().is_ok_and(|count| *count > 0);
                    return Poll::Ready(read);
                }
                Poll::Pending => {
                    self.reads = limits::READS_PER_TURN;
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<T: Transport> AsyncRead for FrameStream<T> {
    /// Reads of one frame. A frame that is too large is the error [`io::ErrorKind::FileTooLarge`].
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            if self.held.is_empty() {
                let most =
                    if self.meter.is_between_frames() { bytes.len() } else { self.meter.within_frame(bytes.len()) };
                let came = ready!(self.poll_transport(context, &mut bytes[..most]))?;
                let count = self.meter.pass(&bytes[..came], came)?;
                self.held.extend_from_slice(&bytes[count..came]);
                if count > 0 || came == 0 {
                    return Poll::Ready(Ok(count));
                }
            } else {
                let this = &mut *self;
                let count = this.meter.pass(&this.held, bytes.len())?;
                if count > 0 {
                    bytes[..count].copy_from_slice(&this.held[..count]);
                    this.held.drain(..count);
                    if this.held.is_empty() {
                        this.held = Vec::new();
                    }
                    return Poll::Ready(Ok(count));
                }
                // the beginning of a head
                let mut more = [0; limits::READ_BUFFER];
                let came = ready!(this.poll_transport(context, &mut more))?;
                if came == 0 {
                    return Poll::Ready(Ok(0));
                }
                this.held.extend_from_slice(&more[..came]);
            }
        }
    }
}

impl<T: Transport> AsyncWrite for FrameStream<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.sending.is_some() {
            // `poll_sent` wakes the task; its caller comes back to the library then
            return Poll::Pending;
        }
        Pin::new(&mut self.transport).poll_write(context, bytes)
    }

    /// Nothing is kept here.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_close(context)
    }
}

impl From<TooLarge> for io::Error {
    fn from(_: TooLarge) -> io::Error {
        io::ErrorKind::FileTooLarge.into()
    }
}

/// The longest head of a frame that is not masked.
const HEAD: usize = 10;

/// The head of a text frame of that many bytes, and how many bytes in front of it are not used.
fn head(len: usize) -> ([u8; HEAD], usize) {
    let mut head = [0; HEAD];
    head[2..].copy_from_slice(&(len as u64).to_be_bytes());
    let (form, unused) = match len {
        0..126 => (head[9], 8),
        126..0x1_0000 => (126, 6),
        _ => (127, 0),
    };
    (head[unused], head[unused + 1]) = (TEXT, form);
    (head, unused)
}

/// The first byte of a text frame that is a whole message.
const TEXT: u8 = 0x81;
