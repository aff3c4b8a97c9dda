//! The yardstick for round trips: a WebSocket echo on smol, async-net and async-tungstenite as they are, and nothing else.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use async_net::TcpStream;
use async_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use async_tungstenite::tungstenite::Message;
use async_tungstenite::WebSocketStream;
use gatelet::gate::limits;
use gatelet::server::runtime::{run, spawn};
use gatelet::wire::http::Head;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::stream::StreamExt;

/// Starts the echo on a thread of its own, which does `first` before anything else; it runs until the process ends. Gives where it is,
/// and its thread below `/proc` (empty where there is no such thing).
pub fn start(first: fn()) -> io::Result<(SocketAddr, PathBuf)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let (ready, begun) = mpsc::channel();
    std::thread::spawn(move || {
        first();
        let _ = ready.send(fs::read_link("/proc/thread-self").unwrap_or_default());
        let result = run(accept(listener));
        eprintln!("the echo ended: {result:?}");
    });
    let thread = begun.recv().map_err(io::Error::other)?;
    Ok((address, Path::new("/proc").join(thread)))
}

async fn accept(listener: TcpListener) -> io::Result<()> {
    let listener = async_net::TcpListener::try_from(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        spawn(async move { serve(stream).await.unwrap_or_default() }).detach();
    }
}

async fn serve(mut stream: TcpStream) -> Option<()> {
    let (mut head, mut part) = (Vec::new(), [0; 1024]);
    let accepted = loop {
        let count = stream.read(&mut part).await.ok().filter(|count| *count > 0)?;
        head.extend_from_slice(&part[..count]);
        if let Some(whole) = Head::parse(&head).ok()? {
            break whole.accept_websocket().ok()?;
        }
    };
    stream.write_all(&accepted).await.ok()?;
    let config = WebSocketConfig::default().read_buffer_size(limits::READ_BUFFER).write_buffer_size(0);
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    loop {
        let message = socket.next().await?.ok()?;
        if matches!(message, Message::Text(_)) {
            socket.send(message).await.ok()?;
        }
    }
}
