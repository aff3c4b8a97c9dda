//! The testee of `run.sh`: what a client says comes back, over the gateway's own socket, with the limits of an admitted client
//! and the gateway's own way to end a connection. No gateway is behind it.
//!
//! It prints its address and runs until it is killed.

use std::future::poll_fn;
use std::io;
use std::net::Ipv4Addr;

use gatelet::server::outbox::Frame;
use gatelet::server::reactor::{block_on, spawn, Source};
use gatelet::server::socket::{blame, Socket, Stream};
use gatelet::wire::http::Head;
use mio::net::TcpListener;
use tungstenite::Message;

fn main() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into())?;
    println!("{}", listener.local_addr()?);
    block_on(async {
        let listener = Source::new(listener)?;
        loop {
            let (stream, _) = listener.reading(|listener| listener.accept()).await?;
            let stream = Stream::new(stream)?;
            spawn(async move { serve(stream).await.unwrap_or_default() })?.detach();
        }
    })?
}

async fn serve(stream: Stream) -> Option<()> {
    let mut socket = open(stream.clone()).await?;
    socket.admit();
    let (code, reason, failed) = converse(&stream, &mut socket).await?;
    socket.end(code, reason, failed).await;
    Some(())
}

async fn open(stream: Stream) -> Option<Socket> {
    let mut bytes = Vec::new();
    loop {
        stream.read_some(&mut bytes).await.filter(|count| *count > 0)?;
        if let Some(head) = Head::parse(&bytes).ok()? {
            stream.write_all(&head.accept_websocket().ok()?).await?;
            return Some(Socket::new(stream, bytes[head.len..].to_vec()));
        }
    }
}

/// Until the connection ends; with what it is to be closed, if the other side is still there, and whether that failed.
async fn converse(stream: &Stream, socket: &mut Socket) -> Option<(u16, &'static str, bool)> {
    loop {
        match poll_fn(|context| socket.poll_read(context)).await {
            Ok(Message::Text(text)) => socket.send(text.into()).ok()?,
            Ok(Message::Binary(bytes)) => {
                poll_fn(|context| socket.poll_sent(context)).await.ok()?;
                send_binary(stream, &bytes).await?;
            }
            Ok(Message::Close(_)) => return Some((1000, "", false)),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            Err(error) => return blame(&error).map(|(code, reason)| (code, reason, true)),
        }
        poll_fn(|context| socket.poll_sent(context)).await.ok()?;
    }
}

/// The gateway sends text only, so its socket cannot do this. Nothing else may be under way.
async fn send_binary(stream: &Stream, bytes: &Frame) -> Option<()> {
    let mut frame = vec![0x82];
    match bytes.len() {
        len @ 0..126 => frame.push(len as u8),
        len @ 126..0x1_0000 => {
            frame.push(126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(bytes);
    stream.write_all(&frame).await
}
