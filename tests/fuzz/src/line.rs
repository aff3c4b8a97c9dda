//! A connection in memory: the gateway's end is an asynchronous stream, the client's end never
//! waits. Nothing watches it, so that one input is the same in every run.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use smol::io::{AsyncRead, AsyncWrite};

/// Bytes that wait in each direction, as many as a system keeps at least.
const ROOM: usize = 64 * 1024;

/// One direction.
#[derive(Default)]
struct Way {
    bytes: RefCell<VecDeque<u8>>,
    /// No more is written.
    ended: Cell<bool>,
    /// The reader is gone.
    unread: Cell<bool>,
    /// The gateway's task that waits for bytes or for room.
    waiting: Cell<Option<Waker>>,
}

#[derive(Default)]
struct Ways {
    to_gateway: Way,
    to_client: Way,
}

/// The gateway's end. Clones are the same; it is closed when the last is dropped.
#[derive(Clone)]
pub struct Line(Rc<GatewayEnd>);

struct GatewayEnd(Rc<Ways>);

/// The client's end; closed when it is dropped.
pub struct ClientEnd(Rc<Ways>);

/// Both ends of a new connection.
pub fn pair() -> (ClientEnd, Line) {
    let ways = Rc::<Ways>::default();
    (ClientEnd(ways.clone()), Line(Rc::new(GatewayEnd(ways))))
}

impl Way {
    fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut waiting = self.bytes.borrow_mut();
        let count = waiting.len().min(bytes.len());
        for (to, from) in bytes.iter_mut().zip(waiting.drain(..count)) {
            *to = from;
        }
        if count == 0 && !self.ended.get() {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(count)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.ended.get() || self.unread.get() {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let mut waiting = self.bytes.borrow_mut();
        let count = bytes.len().min(ROOM - waiting.len());
        waiting.extend(&bytes[..count]);
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(count)
    }

    fn wake(&self) {
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    fn poll(&self, context: &mut Context<'_>, done: io::Result<usize>) -> Poll<io::Result<usize>> {
        match done {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.waiting.set(Some(context.waker().clone()));
                Poll::Pending
            }
            done => Poll::Ready(done),
        }
    }
}

impl ClientEnd {
    pub fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.0.to_client.read(bytes);
        self.0.to_client.wake();
        read
    }

    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.to_gateway.write(bytes);
        self.0.to_gateway.wake();
        written
    }

    /// Says that no more comes.
    pub fn end(&self) {
        self.0.to_gateway.ended.set(true);
        self.0.to_gateway.wake();
    }
}

impl Drop for ClientEnd {
    fn drop(&mut self) {
        self.end();
        self.0.to_client.unread.set(true);
        self.0.to_client.wake();
    }
}

impl Drop for GatewayEnd {
    fn drop(&mut self) {
        self.0.to_client.ended.set(true);
        self.0.to_gateway.unread.set(true);
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let way = &self.0 .0.to_gateway;
        way.poll(context, way.read(bytes))
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let way = &self.0 .0.to_client;
        way.poll(context, way.write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0 .0.to_client.ended.set(true);
        Poll::Ready(Ok(()))
    }
}
