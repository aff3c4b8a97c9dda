#!/usr/bin/env bash
# WebSocketStream::into_inner discards frames that have already arrived.
#
# Behaviour (async-tungstenite 0.35.0, tungstenite 0.30.0): the library reads from its stream in
# blocks and keeps what follows the frame that it returns. `into_inner` returns the stream without
# these bytes, and no function returns them, although `from_partially_read` would take them. A
# program that takes the stream out between two frames, for example to wrap it again with another
# frame limit (async-tungstenite has no `set_config`), loses the frames that a peer sent together
# with the last one. Whether it happens depends on how TCP divided the data, so a test with separate
# writes passes.
# Seen: two frames in one write: the second is lost. Two frames, the second one written after the
# first was read: both arrive.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat >"$dir/Cargo.toml" <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"
[dependencies]
async-tungstenite = { version = "=0.35.0", default-features = false, features = ["handshake"] }
tungstenite = { version = "=0.30.0", default-features = false }
smol = "=2.0.2"
futures-util = { version = "=0.3.31", default-features = false, features = ["std"] }
[workspace]
END
cat >"$dir/src/main.rs" <<'END'
use async_tungstenite::WebSocketStream;
use futures_util::StreamExt;
use smol::io::AsyncWriteExt;
use smol::net::{TcpListener, TcpStream};
use std::time::Duration;
use tungstenite::protocol::Role;

/// Two unmasked text frames, `one` and `two`.
const FRAMES: [&[u8]; 2] = [b"\x81\x03one", b"\x81\x03two"];

/// Sends the frames, takes the stream out after the first, and returns whether the second arrives.
async fn second_arrives(together: bool) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut server = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (client, _) = listener.accept().await.unwrap();
    server.set_nodelay(true).unwrap();
    if together {
        server.write_all(&FRAMES.concat()).await.unwrap();
    } else {
        server.write_all(FRAMES[0]).await.unwrap();
    }
    smol::Timer::after(Duration::from_millis(100)).await;
    let mut socket = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap(), "one");
    let stream = socket.into_inner();
    if !together {
        server.write_all(FRAMES[1]).await.unwrap();
    }
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    let next = async { Some(socket.next().await?.ok()?.into_text().ok()? == "two") };
    let wait = async {
        smol::Timer::after(Duration::from_secs(1)).await;
        None
    };
    smol::future::or(next, wait).await.unwrap_or(false)
}

fn main() {
    let (together, apart) = smol::block_on(async { (second_arrives(true).await, second_arrives(false).await) });
    println!("two frames in one write: the second arrives: {together}");
    println!("two writes: the second arrives: {apart}");
    std::process::exit(i32::from(together || !apart));
}
END
cd "$dir"
CARGO_TARGET_DIR=$dir/target cargo run --quiet
