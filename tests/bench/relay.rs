//! Calls of operators that nodes answer: latency, throughput, and the cost of large payloads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::echo;

use crate::client::{bare, Client, Device, Failed, COMMAND};
use crate::gateway::{pin, Gateway, SERVER_CORE};
use crate::table::{bytes, median, ns, quantile, rate, Goal, Section, Table};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(700);
const AT_ONCE: usize = 8;
/// Size of a payload that just fits into a frame, in bytes.
pub const LARGEST: usize = 25 * 1024 * 1024 - 1024;

/// Response of a node, as the JSON string `payloadJSON`.
pub const SMALL: &[u8] = br#""{\"bins\":{\"sh\":\"/bin/sh\"}}""#;

/// Adds the rows of the relay.
pub fn rows(table: &mut Table, gateway: &Gateway) -> Result<(), Failed> {
    let (small, large) = (Device::new(11), Device::new(12));
    Client::serve(&gateway.place, &small, SMALL.to_vec())?;
    round_trips(table, gateway, &small)?;
    health(table, gateway)?;
    many(table, gateway, &small)?;
    Client::serve(&gateway.place, &large, text(LARGEST))?;
    one_large(table, gateway, &large)
}

/// Returns an object with a text of `size` bytes, as the JSON string `payloadJSON`.
pub fn text(size: usize) -> Vec<u8> {
    [br#""{\"text\":\""#, "x".repeat(size).as_bytes(), br#"\"}""#].concat()
}

/// Returns the parameters of a `node.invoke` with few parameters for the node.
pub fn call(node: &Device) -> Vec<u8> {
    call_with(node, br#"{"bins":["sh"]}"#)
}

/// Returns the parameters of a `node.invoke` with the given JSON parameters for the node.
pub fn call_with(node: &Device, params: &[u8]) -> Vec<u8> {
    let head = format!(r#"{{"nodeId":"{}","command":"{COMMAND}","params":"#, node.id);
    [head.as_bytes(), params, br#","idempotencyKey":"0f3c2b1a"}"#].concat()
}

fn round_trips(table: &mut Table, gateway: &Gateway, node: &Device) -> Result<(), Failed> {
    let mut operator = Client::connect(&gateway.place, &Device::new(1))?;
    let call = call(node);
    let text = String::from_utf8(call.clone())?;
    let what = "node.invoke, there and back, to a bare echo";
    beside_echo(table, gateway, what, &text, || operator.call("node.invoke", &call).map(drop))
}

fn health(table: &mut Table, gateway: &Gateway) -> Result<(), Failed> {
    let mut client = Client::connect(&gateway.place, &Device::new(1))?;
    let request = r#"{"type":"req","id":"1234","method":"health","params":{}}"#;
    beside_echo(table, gateway, "health to a bare echo", request, || {
        client.call("health", b"{}").map(drop)
    })
}

/// Adds p50 and p99 of an operation, measured alternately with the echo of a text.
fn beside_echo(
    table: &mut Table,
    gateway: &Gateway,
    what: &str,
    text: &str,
    mut work: impl FnMut() -> Result<(), Failed>,
) -> Result<(), Failed> {
    let mut echo = bare(echo::start(|| pin(SERVER_CORE))?.0)?;
    let (mut ours, mut theirs) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let cpu = gateway.usage();
    for _ in 0..ROUNDS {
        let p = trips(TRIPS, &mut work)?;
        (0..2).for_each(|at| ours[at].push(p[at]));
        let p = trips(TRIPS, || echo.echo(text).map(drop))?;
        (0..2).for_each(|at| theirs[at].push(p[at]));
    }
    let note = format!("server {} each", ns(gateway.cpu_since(&cpu) / (ROUNDS * TRIPS) as f64));
    for (at, (name, goal)) in
        [("p50", Goal::NONE), ("p99", Goal::time_ratio(2.0))].into_iter().enumerate()
    {
        let figures = (median(&mut ours[at]), Some(median(&mut theirs[at])));
        table.pair(Section::Ratios, &format!("{what}, {name}"), goal, figures, ns, &note);
    }
    Ok(())
}

const TRIPS: usize = 2_000;

/// Repeats `work` `count` times; returns p50 and p99 in nanoseconds.
pub fn trips(
    count: usize,
    mut work: impl FnMut() -> Result<(), Failed>,
) -> Result<[f64; 2], Failed> {
    let mut took = Vec::new();
    for _ in 0..count {
        let began = Instant::now();
        work()?;
        took.push(began.elapsed().as_nanos() as f64);
    }
    Ok([median(&mut took), quantile(&mut took, 0.99)])
}

fn many(table: &mut Table, gateway: &Gateway, node: &Device) -> Result<(), Failed> {
    let (call, stop, done) = (call(node), AtomicBool::new(false), AtomicU64::new(0));
    let work = |mut operator: Client| -> Result<(), Failed> {
        while !stop.load(Ordering::Relaxed) {
            operator.call("node.invoke", &call)?;
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let operators = (0..AT_ONCE).map(|_| Client::connect(&gateway.place, &Device::new(1)));
    let operators = operators.collect::<Result<Vec<_>, _>>()?;
    let (cpu, began) = (gateway.usage(), Instant::now());
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            operators.into_iter().map(|operator| scope.spawn(move || work(operator))).collect();
        std::thread::sleep(2 * ROUND);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().try_for_each(|thread| thread.join().expect("no client panics"))
    })?;
    let (done, took) = (done.into_inner() as f64, began.elapsed().as_secs_f64());
    let note =
        format!("server {} each; all clients share a core", ns(gateway.cpu_since(&cpu) / done));
    table.row(
        Section::Times,
        &format!("node.invoke, {AT_ONCE} operators at once"),
        Goal::NONE,
        done / took,
        rate,
        &note,
    );
    Ok(())
}

fn one_large(table: &mut Table, gateway: &Gateway, node: &Device) -> Result<(), Failed> {
    let mut operator = Client::connect(&gateway.place, &Device::new(1))?;
    let (call, cpu) = (call(node), gateway.usage());
    let began = Instant::now();
    let length = operator.call("node.invoke", &call)?.len() as f64;
    let took = began.elapsed().as_nanos() as f64;
    let note =
        format!("{} for the operator; server {}", bytes(length), ns(gateway.cpu_since(&cpu)));
    table.row(
        Section::Times,
        "a payload of 25 MiB, from the call to its answer",
        Goal::NONE,
        took,
        ns,
        &note,
    );
    Ok(())
}
