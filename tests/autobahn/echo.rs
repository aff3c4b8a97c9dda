//! Echo server tested by `run.sh`: sends back each message through the gateway's own socket, with
//! the limits of an admitted client and the close procedure of the gateway. No gateway is involved.
//!
//! Prints its address and runs until it is killed.

use std::future::poll_fn;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;

use async_net::{TcpListener, TcpStream};
use async_tungstenite::tungstenite::Message;
use gatelet::gate::budget::Holder;
use gatelet::gate::ids::ConnId;
use gatelet::gate::limits;
use gatelet::server::net::frame_budget::FrameShare;
use gatelet::server::net::send_queue::Frame;
use gatelet::server::net::websocket::{close_for_error, CloseMode, Socket};
use gatelet::server::runtime::{run, spawn};
use gatelet::wire::http::Head;
use smol::io::{AsyncReadExt, AsyncWriteExt};

fn main() -> io::Result<()> {
    run(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            spawn(async move { serve(stream).await.unwrap_or_default() }).detach();
        }
    })
}

async fn serve(mut stream: TcpStream) -> Option<()> {
    let mut socket = open(&mut stream).await?;
    let share = FrameShare::new(Rc::default(), ConnId(1), Holder::Keyless);
    socket.admit(limits::FRAME_AFTER_HELLO, share);
    let (code, reason, mode) = converse(&mut stream, &mut socket).await?;
    socket.close(code, reason, mode).await;
    Some(())
}

async fn open(stream: &mut TcpStream) -> Option<Socket<TcpStream>> {
    let (mut bytes, mut part) = (Vec::new(), [0; 1024]);
    loop {
        let count = stream.read(&mut part).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&part[..count]);
        if let Some(head) = Head::parse(&bytes).ok()? {
            stream.write_all(&head.accept_websocket().ok()?).await.ok()?;
            return Some(Socket::new(stream.clone(), bytes[head.len..].to_vec()).await);
        }
    }
}

/// Runs until the connection ends. Returns how to close it, if the peer is still connected.
async fn converse(
    stream: &mut TcpStream,
    socket: &mut Socket<TcpStream>,
) -> Option<(u16, &'static str, CloseMode)> {
    loop {
        match poll_fn(|context| socket.poll_read(context)).await {
            Ok(Message::Text(text)) => socket.send(Frame::from(text).into()),
            Ok(Message::Binary(bytes)) => {
                poll_fn(|context| socket.poll_sent(context)).await.ok()?;
                send_binary(stream, &bytes).await?;
            }
            Ok(Message::Close(_)) => return Some((1000, "", CloseMode::AwaitAnswer)),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            Err(error) => {
                return close_for_error(&error)
                    .map(|(code, reason)| (code, reason, CloseMode::Discard))
            }
        }
        poll_fn(|context| socket.poll_sent(context)).await.ok()?;
    }
}

/// Sends a binary message, which the socket of the gateway cannot do because the gateway sends text
/// only. No other frame may be partly written.
async fn send_binary(stream: &mut TcpStream, bytes: &Frame) -> Option<()> {
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
    stream.write_all(&frame).await.ok()
}
