//! The yardstick for round trips: a WebSocket echo on the gateway's own stack (its loop, tungstenite, no adapter), and nothing else.

use std::fs;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::task::{Context, Poll};

use gatelet::gate::limits;
use gatelet::server::reactor::{block_on, spawn, Source};
use gatelet::server::socket::Stream;
use gatelet::wire::http::Head;
use mio::net::TcpListener;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

/// Starts the echo on a thread of its own, which does `first` before anything else; it runs until the process ends. Gives where it is,
/// and its thread below `/proc` (empty where there is no such thing).
pub fn start(first: fn()) -> io::Result<(SocketAddr, PathBuf)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let address = listener.local_addr()?;
    let (ready, begun) = mpsc::channel();
    std::thread::spawn(move || {
        first();
        let _ = ready.send(fs::read_link("/proc/thread-self").unwrap_or_default());
        let result = block_on(accept(listener));
        eprintln!("the echo ended: {result:?}");
    });
    let thread = begun.recv().map_err(io::Error::other)?;
    Ok((address, Path::new("/proc").join(thread)))
}

async fn accept(listener: TcpListener) -> io::Result<()> {
    let listener = Source::new(listener)?;
    loop {
        let (stream, _) = listener.reading(|listener| listener.accept()).await?;
        stream.set_nodelay(true)?;
        let stream = Stream::new(stream)?;
        spawn(async move { serve(stream).await.unwrap_or_default() })?.detach();
    }
}

async fn serve(stream: Stream) -> Option<()> {
    let mut head = Vec::new();
    let accepted = loop {
        stream.read_some(&mut head).await?;
        if let Some(whole) = Head::parse(&head).ok()? {
            break whole.accept_websocket().ok()?;
        }
    };
    stream.write_all(&accepted).await?;
    let config = WebSocketConfig::default().read_buffer_size(limits::READ_BUFFER).write_buffer_size(0);
    let mut socket = WebSocket::from_raw_socket(stream.clone(), Role::Server, Some(config));
    loop {
        let message = poll_fn(|context| poll(&stream, context, true, || socket.read())).await.ok()?;
        if matches!(message, Message::Text(_)) {
            socket.write(message).ok()?;
            poll_fn(|context| poll(&stream, context, false, || socket.flush())).await.ok()?;
        }
    }
}

fn poll<T>(
    stream: &Stream,
    context: &mut Context<'_>,
    reading: bool,
    mut work: impl FnMut() -> Result<T, Error>,
) -> Poll<Result<T, Error>> {
    match work() {
        Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
            match reading {
                true => stream.0.wait_to_read(context),
                false => stream.0.wait_to_write(context),
            }
            Poll::Pending
        }
        done => Poll::Ready(done),
    }
}
