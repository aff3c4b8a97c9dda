//! Endless frames: the sender delays no other client, uses bounded memory, and still receives the
//! reason why it is closed.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use support::client::retry;
use support::gateway::Gateway;
use support::runner::{at_most, patience};

/// Returns the TCP stream of an unauthenticated WebSocket connection.
fn unauthenticated(gateway: &Gateway) -> TcpStream {
    let mut socket = gateway.dial().open();
    socket.challenge();
    socket.ws.get_ref().0.try_clone().unwrap()
}

/// Returns an empty frame with this first byte, masked with zeros.
const fn empty(first: u8) -> [u8; 6] {
    [first, 0x80, 0, 0, 0, 0]
}

#[test]
fn endless_frames_do_not_delay_other_clients() {
    let gateway = Gateway::new();
    for (begin, again, what) in
        [(None, 0x8a, "pongs"), (Some(0x01), 0x00, "empty fragments of a text message")]
    {
        let mut stream = unauthenticated(&gateway);
        if let Some(first) = begin {
            stream.write_all(&empty(first)).unwrap();
        }
        let over = AtomicBool::new(false);
        let (under_way, begun) = mpsc::channel();
        thread::scope(|scope| {
            let over = &over;
            let flood = scope.spawn(move || {
                let (begun, block) = (Instant::now(), empty(again).repeat(20_000));
                for count in 0.. {
                    if over.load(Ordering::Relaxed)
                        || begun.elapsed() > at_most(Duration::from_secs(10))
                    {
                        break;
                    }
                    stream.write_all(&block).unwrap();
                    // Roughly the amount that the system buffers for a reader.
                    if count == 40 {
                        under_way.send(()).unwrap();
                    }
                }
            });
            begun.recv().unwrap();
            gateway.admin();
            assert!(!flood.is_finished(), "no client was admitted during the flood of {what}");
            over.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn log_lines_of_silent_unauthenticated_connections_are_limited() {
    let gateway = Gateway::new();
    let mut silent: Vec<_> = (0..100).map(|_| gateway.dial().open()).collect();
    for socket in &mut silent {
        socket.challenge();
        let (code, reason) = socket.closed();
        assert!(code == 1008 && reason.starts_with("handshake timeout"), "{code} {reason}");
    }
    gateway.logged(&["timeout conn=", "no connect request came"]);
    let lines = gateway.log().matches("timeout conn=").count();
    assert!((1..=60).contains(&lines), "{lines} lines for a hundred silent connections");
}

#[test]
fn pings_are_not_read_while_their_pongs_are_not() {
    let gateway = Gateway::new();
    let mut stream = unauthenticated(&gateway);
    // A smaller system buffer, so that an emulated gateway processes it before the handshake
    // timeout.
    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 32 << 10).unwrap();
    let block = [&[0x89, 0xfd, 0, 0, 0, 0][..], &[b'x'; 125]].concat().repeat(1000);
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut sent = 0;
    loop {
        assert!(sent < 64 << 20, "all pings were read");
        match retry(|| stream.write(&block[sent % block.len()..])) {
            Ok(count) => sent += count,
            Err(error) => {
                assert!(
                    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                    "{error}"
                );
                break;
            }
        }
    }
    gateway.admin();
    // once the pongs are read, the remaining pings are answered too
    let mut writer = stream.try_clone().unwrap();
    writer.set_write_timeout(Some(patience())).unwrap();
    let rest = [&block[sent % block.len()..], &[0x89, 0x84, 0, 0, 0, 0], b"last"].concat();
    let rest = thread::spawn(move || writer.write_all(&rest).unwrap());
    let (mut tail, mut part) = (Vec::new(), vec![0; 1 << 16]);
    while !tail.ends_with(b"\x8a\x04last") {
        let count = retry(|| stream.read(&mut part)).unwrap();
        assert!(count > 0, "closed");
        tail.extend_from_slice(&part[..count]);
        tail.drain(..tail.len().saturating_sub(6));
    }
    rest.join().unwrap();
}

#[test]
fn close_reason_is_delivered_to_a_client_that_keeps_sending() {
    let gateway = Gateway::new();
    for (frame, code) in [
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff][..], 1007_u16),
        (&empty(0x83), 1002),
        (&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0], 1009),
    ] {
        let mut stream = unauthenticated(&gateway);
        stream.write_all(&[frame, &[0; 1 << 20]].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap_or_else(|error| panic!("{code}: {error}"));
        assert_eq!((answer[0], &answer[2..4]), (0x88, &code.to_be_bytes()[..]));
        assert_eq!(answer.len(), 2 + usize::from(answer[1]), "one frame");
    }
}
