#!/usr/bin/env bash
# A WebSocket message in two frames takes twice the memory of the same message in one frame.
#
# Behaviour (tungstenite 0.30.0): the payload of a frame is collected in the read buffer and then
# passed on without a copy. The payload of a message in several frames is copied to a second buffer
# when each frame is complete, so the last frame exists twice: in the read buffer and in the
# message. The read buffer also reserves the whole announced length when the head of a frame is
# read, before any of its bytes. `max_message_size` therefore bounds half of what a peer that sends
# its message in two frames can make a server take.
# Seen: 8 MiB in one frame: 8.1 MiB at the peak. In an empty first frame and one that continues it:
# 16.0 MiB. After the head of a frame of 8 MiB, without its payload: 8.1 MiB are reserved.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat >"$dir/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"
[dependencies]
tungstenite = { version = "=0.30.0", default-features = false }
[workspace]
TOML
cat >"$dir/src/main.rs" <<'RUST'
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        System.alloc(layout)
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        System.dealloc(block, layout)
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A peer that sends these heads, each followed by that many zero bytes.
struct Peer(Vec<(Vec<u8>, usize)>);

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((head, zeros)) = self.0.first_mut() else { return Err(io::ErrorKind::WouldBlock.into()) };
        let count = if head.is_empty() { buffer.len().min(*zeros) } else { buffer.len().min(head.len()) };
        if head.is_empty() {
            buffer[..count].fill(0);
            *zeros -= count;
        } else {
            buffer[..count].copy_from_slice(&head[..count]);
            head.drain(..count);
        }
        if head.is_empty() && *zeros == 0 {
            self.0.remove(0);
        }
        Ok(count)
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const LEN: usize = 8 << 20;

/// Returns the head of an unmasked frame of `len` bytes.
fn head(first: u8, len: usize) -> Vec<u8> {
    [&[first, 127][..], &(len as u64).to_be_bytes()].concat()
}

/// Reads until the message is complete or the peer has sent all. Returns the MiB at the peak.
fn peak(frames: Vec<(Vec<u8>, usize)>) -> f64 {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let mut socket = WebSocket::from_raw_socket(Peer(frames), Role::Client, Some(WebSocketConfig::default()));
    match socket.read() {
        Ok(message) => assert_eq!(message.len(), LEN),
        Err(error) => assert!(matches!(error, tungstenite::Error::Io(_)), "{error}"),
    }
    (PEAK.load(Relaxed) - before) as f64 / f64::from(1 << 20)
}

fn main() {
    let one = peak(vec![(head(0x82, LEN), LEN)]);
    let two = peak(vec![(head(0x02, 0), 0), (head(0x80, LEN), LEN)]);
    let announced = peak(vec![(head(0x82, LEN), 0)]);
    println!("one frame: {one:.1} MiB; two frames: {two:.1} MiB; only the head: {announced:.1} MiB");
    let is_as_seen = one < 10.0 && two > 15.0 && announced > 7.0;
    std::process::exit(i32::from(!is_as_seen));
}
RUST
cd "$dir"
CARGO_TARGET_DIR=$dir/target cargo run --quiet --release
