//! Baseline for round trips: a minimal WebSocket server. One blocking thread serves one connection
//! after another and sends each text message back.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use crate::websocket::{Side, WebSocket};

/// Response to the only key that clients of the bench send (RFC 6455, section 1.3).
const ACCEPTED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Starts the echo server on a new thread, which calls `first` before anything else and runs until
/// the process ends. Returns its address and the path of the thread below `/proc`.
pub fn start(first: fn()) -> io::Result<(SocketAddr, PathBuf)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let (ready, begun) = mpsc::channel();
    std::thread::spawn(move || {
        first();
        let _ = ready.send(fs::read_link("/proc/thread-self").unwrap_or_default());
        loop {
            match listener.accept() {
                // An error of a client ends only its connection.
                Ok((stream, _)) => _ = serve(stream),
                Err(error) => return eprintln!("bench: the echo ended: {error}"),
            }
        }
    });
    let thread = begun.recv().map_err(io::Error::other)?;
    Ok((address, Path::new("/proc").join(thread)))
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut some = [0; 1024];
        match stream.read(&mut some)? {
            0 => return Ok(()),
            count => head.extend_from_slice(&some[..count]),
        }
    }
    stream.write_all(ACCEPTED)?;
    let mut socket = WebSocket::new(stream, Side::Server, Vec::new());
    loop {
        let text = socket.read()?;
        socket.send(&[text.as_bytes()])?;
    }
}
