#!/usr/bin/env bash
# After a pause, each message makes the two threads of a smol program exchange roles.
#
# Behaviour (async-io 2.6.0 under smol 2.0.2, Linux): async-io starts a thread in addition to the
# thread that calls smol::block_on. One of the two waits for events, the other waits for the first.
# After about 20 ms without events, the next event moves the waiting from one to the other. A
# message every 30 ms then costs 3 to 7 voluntary context switches; a program with one thread needs
# 1. With smol::future::block_on (futures-lite), which never waits for events itself, the thread of
# async-io always does, and a message costs about 2. Without a pause between messages, all three
# cost nearly the same.
# Measured in three runs: smol::block_on 3.0 to 3.8 switches per message after a pause,
# smol::future::block_on 2.0.
# The script fails if smol::block_on needs less than 1.3 times as many switches as
# smol::future::block_on.
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
smol = "=2.0.2"
async-io = "=2.6.0"
[workspace]
END
cat >"$dir/src/main.rs" <<'END'
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use smol::io::{AsyncReadExt, AsyncWriteExt};

const MESSAGES: u64 = 100;

/// Accepts one connection and sends back what arrives.
async fn serve() {
    let listener = smol::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = [0; 64];
    loop {
        let count = stream.read(&mut bytes).await.unwrap();
        if count == 0 {
            return;
        }
        stream.write_all(&bytes[..count]).await.unwrap();
    }
}

/// The voluntary context switches of all threads of a process.
fn switches(process: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    tasks
        .map(|task| {
            let text = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let line = text.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        })
        .sum()
}

fn measure(way: &str) -> f64 {
    let program = std::env::current_exe().unwrap();
    let mut server = Command::new(program).arg(way).stdout(Stdio::piped()).spawn().unwrap();
    let mut address = String::new();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
    let mut stream = std::net::TcpStream::connect(address.trim()).unwrap();
    let mut message = || {
        std::thread::sleep(Duration::from_millis(30));
        stream.write_all(b"hello").unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
    };
    (0..10).for_each(|_| message());
    let before = switches(server.id());
    (0..MESSAGES).for_each(|_| message());
    let count = switches(server.id()) - before;
    drop(stream);
    server.wait().unwrap();
    count as f64 / MESSAGES as f64
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("smol") => smol::block_on(serve()),
        Some("futures-lite") => smol::future::block_on(serve()),
        _ => {
            let (smol, lite) = (measure("smol"), measure("futures-lite"));
            println!("switches per message after a pause: smol::block_on {smol:.1}, smol::future::block_on {lite:.1}");
            if smol < 1.3 * lite {
                eprintln!("both cost about the same now");
                std::process::exit(1);
            }
        }
    }
}
END
cd "$dir" && CARGO_TARGET_DIR=$dir/target cargo run --release --quiet
