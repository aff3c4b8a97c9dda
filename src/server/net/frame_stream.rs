//! The TCP stream below a WebSocket, as async-tungstenite reads and writes it.
//!
//! Received bytes pass through a `FrameMeter`, so that the library gets one frame at a time. Text
//! frames are sent directly from their buffer: the library would copy them into its write buffer,
//! which keeps the size of the largest one for as long as the connection lives. While a text frame
//! is being sent, writes of the library are pending. A text frame begins only when the library has
//! nothing to write ([`FrameStream::begin`]), so parts of two frames are never mixed.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{ready, Context, Poll};

use smol::io::{AsyncRead, AsyncWrite};

use super::frame_budget::FrameShare;
use super::frame_meter::{FrameMeter, TooLarge};
use super::send_queue::OutgoingFrame;
use crate::gate::limits;

/// Byte stream: TCP, or a substitute in tests. Clones refer to the same stream.
pub trait Transport: AsyncRead + AsyncWrite + Clone + Unpin {}

impl<T: AsyncRead + AsyncWrite + Clone + Unpin> Transport for T {}

/// Byte stream of one WebSocket.
pub struct FrameStream<T> {
    transport: T,
    meter: FrameMeter,
    /// Reservation for large messages; absent until the client is admitted.
    share: Option<FrameShare>,
    /// Bytes that were read beyond the end of the current frame.
    read_ahead: Vec<u8>,
    /// Number of reads left before other connections get a turn.
    reads: u32,
    /// Number of bytes that can be written before other connections get a turn.
    room: usize,
    sending: Option<Sending>,
    /// Whether bytes were received, or accepted of a frame that had to wait, since the last call of
    /// [`FrameStream::has_progressed`].
    progressed: bool,
}

/// A text frame that is being sent.
struct Sending {
    head: [u8; HEAD],
    frame: OutgoingFrame,
    /// Number of bytes sent of head and frame. The unused bytes of `head` count as sent.
    sent: usize,
    /// Whether the system has not accepted all of it at once.
    waited: bool,
}

impl Sending {
    /// Returns what is not sent of the head and the two parts of the frame, at most `max` bytes.
    fn unsent(&self, max: usize) -> [&[u8]; 3] {
        let [body, end] = self.frame.parts();
        let (mut sent, mut room) = (self.sent, max);
        [&self.head[..], body, end].map(|part| {
            let unsent = part.get(sent..).unwrap_or_default();
            let unsent = &unsent[..unsent.len().min(room)];
            sent = sent.saturating_sub(part.len());
            room -= unsent.len();
            unsent
        })
    }
}

impl<T: Transport> FrameStream<T> {
    /// Creates a stream at the start of a frame, with the frame limit of an unauthenticated
    /// connection. `read_ahead` are bytes that were already read.
    pub fn new(transport: T, read_ahead: Vec<u8>) -> FrameStream<T> {
        let meter = FrameMeter::new(limits::FRAME_BEFORE_HELLO);
        FrameStream {
            transport,
            meter,
            share: None,
            read_ahead,
            reads: limits::READS_PER_TURN,
            room: limits::WRITTEN_PER_TURN,
            sending: None,
            progressed: false,
        }
    }

    /// Raises the frame limit to that of an admitted client. From then on large messages are read
    /// only if `share` has room for them.
    pub fn admit(&mut self, limit: usize, share: FrameShare) {
        self.meter.set_limit(limit);
        self.share = Some(share);
    }

    /// Releases what was reserved for the last message.
    pub fn release(&mut self) {
        if let Some(share) = &mut self.share {
            share.release();
        }
    }

    /// Number of bytes received of a message that is not complete; `None` if there is none, or if
    /// it waits for room as a whole.
    pub fn unfinished(&self) -> Option<u64> {
        let is_begun = !self.meter.is_between_messages() || !self.read_ahead.is_empty();
        let is_waiting = self.share.as_ref().is_some_and(FrameShare::is_first_waiting);
        (is_begun && !is_waiting).then(|| self.received())
    }

    /// Number of bytes received of the last message, about.
    pub fn received(&self) -> u64 {
        self.meter.received()
    }

    /// Returns whether a message waits for room in the budget of unfinished frames.
    fn is_waiting(&self) -> bool {
        self.share.as_ref().is_some_and(FrameShare::is_waiting)
    }

    /// Moves the state into a new value. `self` must not be used afterwards.
    pub fn take(&mut self) -> FrameStream<T> {
        FrameStream {
            transport: self.transport.clone(),
            meter: self.meter,
            share: self.share.take(),
            read_ahead: std::mem::take(&mut self.read_ahead),
            reads: self.reads,
            room: self.room,
            sending: self.sending.take(),
            progressed: self.progressed,
        }
    }

    /// Returns the underlying stream.
    pub fn transport(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Returns whether the library was given complete messages only. If it was also read until it
    /// had no more messages, its buffers are empty.
    pub fn is_between_messages(&self) -> bool {
        self.meter.is_between_messages()
    }

    /// Returns the length of the text frame that is being sent.
    pub fn sending_len(&self) -> Option<usize> {
        self.sending.as_ref().map(|sending| sending.frame.size())
    }

    /// Returns whether bytes were received since the last call, or some were accepted of a frame
    /// that had to wait. While a message waits for room, the client cannot show that it is alive.
    pub fn has_progressed(&mut self) -> bool {
        std::mem::take(&mut self.progressed) || self.is_waiting()
    }

    /// Begins to send a text frame. The previous one must be sent, and the library must have
    /// nothing to write.
    pub fn begin(&mut self, frame: OutgoingFrame) {
        let (head, sent) = head(frame.size());
        self.sending = Some(Sending { head, frame, sent, waited: false });
    }

    /// Begins to send `answer`, followed by a text frame, in one piece.
    pub fn begin_with(&mut self, answer: &[u8], frame: &[u8]) {
        let (head, unused) = head(frame.len());
        let frame = OutgoingFrame::from([answer, &head[unused..], frame].concat());
        self.sending = Some(Sending { head, frame, sent: HEAD, waited: false });
    }

    /// Sends the current text frame. Ready when it is sent completely. After
    /// [`limits::WRITTEN_PER_TURN`] bytes it is pending once, so that other connections get a turn.
    pub fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(sending) = &mut self.sending else { return Poll::Ready(Ok(())) };
        while sending.sent < HEAD + sending.frame.size() {
            if self.room == 0 {
                self.room = limits::WRITTEN_PER_TURN;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let parts = sending.unsent(self.room).map(IoSlice::new);
            match Pin::new(&mut self.transport).poll_write_vectored(context, &parts) {
                Poll::Pending => {
                    (self.room, sending.waited) = (limits::WRITTEN_PER_TURN, true);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    sending.sent += count;
                    self.room = self.room.saturating_sub(count.max(limits::WRITE_COST));
                    self.progressed |= sending.waited;
                }
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        self.sending = None;
        Poll::Ready(Ok(()))
    }

    /// Reserves room for the message whose frame is at the start of `bytes`.
    fn poll_reserve(&mut self, reservation: usize, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.share {
            Some(share) => share.poll_reserve(reservation, context),
            None => Poll::Ready(()),
        }
    }

    /// Reads from the underlying stream. After [`limits::READS_PER_TURN`] reads in a row it is
    /// pending once, so that other connections get a turn.
    fn poll_transport(
        &mut self,
        context: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
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
                    self.progressed |= read.as_ref().is_ok_and(|count| *count > 0);
                    return Poll::Ready(read);
                }
                Poll::Pending => {
                    self.reads = limits::READS_PER_TURN;
                    self.room = limits::WRITTEN_PER_TURN;
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<T: Transport> AsyncRead for FrameStream<T> {
    /// Reads bytes of one frame. A frame that is too large is an error of kind
    /// [`io::ErrorKind::FileTooLarge`].
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.read_ahead.is_empty() {
                let max = if self.meter.is_between_frames() {
                    bytes.len()
                } else {
                    self.meter.within_frame(bytes.len())
                };
                let received = ready!(self.poll_transport(context, &mut bytes[..max]))?;
                if self.meter.reservation(&bytes[..received])? > 0 {
                    self.read_ahead.extend_from_slice(&bytes[..received]);
                    continue;
                }
                let count = self.meter.pass(&bytes[..received], received)?;
                self.read_ahead.extend_from_slice(&bytes[count..received]);
                if count > 0 || received == 0 {
                    return Poll::Ready(Ok(count));
                }
            } else {
                let this = &mut *self;
                let reservation = this.meter.reservation(&this.read_ahead)?;
                ready!(this.poll_reserve(reservation, context));
                let count = this.meter.pass(&this.read_ahead, bytes.len())?;
                if count > 0 {
                    bytes[..count].copy_from_slice(&this.read_ahead[..count]);
                    this.read_ahead.drain(..count);
                    if this.read_ahead.is_empty() {
                        this.read_ahead = Vec::new();
                    }
                    return Poll::Ready(Ok(count));
                }
                // an incomplete head
                let mut more = [0; limits::READ_BUFFER];
                let received = ready!(this.poll_transport(context, &mut more))?;
                if received == 0 {
                    return Poll::Ready(Ok(0));
                }
                this.read_ahead.extend_from_slice(&more[..received]);
            }
        }
    }
}

impl<T: Transport> AsyncWrite for FrameStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.sending.is_some() {
            // `poll_sent` registers the waker; its caller then polls the library again
            return Poll::Pending;
        }
        Pin::new(&mut self.transport).poll_write(context, bytes)
    }

    /// Does nothing, because nothing is buffered here.
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

/// Length of the longest head of an unmasked frame.
const HEAD: usize = 10;

/// Returns the head of a text frame of `len` bytes, at the end of the array, and the number of
/// unused bytes before it.
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

/// First byte of a text frame that is a complete message.
const TEXT: u8 = 0x81;
