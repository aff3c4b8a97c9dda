//! Calls of operators that nodes answer: how long they take, how many pass, what a large one costs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gatelet::wire::json;

use crate::client::{bare, Client, Device, Failed, COMMAND};
use crate::echo;
use crate::gateway::{pin, Gateway, SERVER_CORE};
use crate::table::{bytes, median, ns, quantile, rate, times, Goal, Section, Table};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(700);
const AT_ONCE: usize = 8;
/// Of a payload that just fits into a frame.
const LARGE: usize = 25 * 1024 * 1024 - 1024;

/// What a node answers, as the text that `payloadJSON` is.
pub const SMALL: &[u8] = br#""{\"bins\":{\"sh\":\"/bin/sh\"}}""#;

/// All rows about the relay.
pub fn rows(table: &mut Table, gateway: &Gateway) -> Result<(), Failed> {
    let (small, large) = (Device::new(11), Device::new(12));
    Client::serve(&gateway.place, &small, SMALL.to_vec())?;
    round_trips(table, gateway, &small)?;
    health(table, gateway)?;
    many(table, gateway, &small)?;
    let text = [br#""{\"text\":\""#, "x".repeat(LARGE).as_bytes(), br#"\"}""#].concat();
    Client::serve(&gateway.place, &large, text)?;
    one_large(table, gateway, &large)
}

pub fn call(node: &Device) -> Vec<u8> {
    json::object(|o| {
        o.str("nodeId", &node.id);
        o.str("command", COMMAND);
        o.raw("params", br#"{"bins":["sh"]}"#);
        o.str("idempotencyKey", "0f3c2b1a");
    })
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
    beside_echo(table, gateway, "health to a bare echo", request, || client.call("health", b"{}").map(drop))
}

/// p50 and p99 of ours, in turns with an echo of that text.
fn beside_echo(
    table: &mut Table,
    gateway: &Gateway,
    what: &str,
    text: &str,
    mut work: impl FnMut() -> Result<(), Failed>,
) -> Result<(), Failed> {
    let mut echo = bare(echo::start(|| pin(SERVER_CORE))?.0)?;
    let (mut ours, mut theirs) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let cpu = gateway.cpu_ns();
    for _ in 0..ROUNDS {
        let p = trips(TRIPS, &mut work)?;
        (0..2).for_each(|at| ours[at].push(p[at]));
        let p = trips(TRIPS, || echo.echo(text).map(drop))?;
        (0..2).for_each(|at| theirs[at].push(p[at]));
    }
    let note = format!("server {} each", ns((gateway.cpu_ns() - cpu) / (ROUNDS * TRIPS) as f64));
    for (at, (name, goal)) in [("p50", Goal::None), ("p99", Goal::AtMost(2.0))].into_iter().enumerate() {
        let figures = [median(&mut ours[at]), median(&mut theirs[at])];
        table.ratio(Section::Anywhere, &format!("{what}, {name}"), goal, figures, ns, &note);
    }
    Ok(())
}

const TRIPS: usize = 2_000;

/// p50 and p99 of that many times.
pub fn trips(count: usize, mut work: impl FnMut() -> Result<(), Failed>) -> Result<[f64; 2], Failed> {
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
    let (cpu, began) = (gateway.cpu_ns(), Instant::now());
    std::thread::scope(|scope| {
        let threads: Vec<_> = operators.into_iter().map(|operator| scope.spawn(move || work(operator))).collect();
        std::thread::sleep(2 * ROUND);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().try_for_each(|thread| thread.join().expect("no client panics"))
    })?;
    let (done, took) = (done.into_inner() as f64, began.elapsed().as_secs_f64());
    let note = format!("server {} each; all clients share a core", ns((gateway.cpu_ns() - cpu) / done));
    table.row(
        Section::Here,
        &format!("node.invoke, {AT_ONCE} operators at once"),
        Goal::None,
        done / took,
        rate,
        &note,
    );
    Ok(())
}

fn one_large(table: &mut Table, gateway: &Gateway, node: &Device) -> Result<(), Failed> {
    let mut operator = Client::connect(&gateway.place, &Device::new(1))?;
    let (call, before, cpu) = (call(node), gateway.rss(), gateway.cpu_ns());
    let began = Instant::now();
    let length = operator.call("node.invoke", &call)?.len() as f64;
    let took = began.elapsed().as_nanos() as f64;
    let note = format!("{} for the operator; server {}", bytes(length), ns(gateway.cpu_ns() - cpu));
    table.row(Section::Here, "a payload of 25 MiB, from the call to its answer", Goal::None, took, ns, &note);
    let peak = gateway.peak() - before;
    let note = format!("peak {}, {} kept while both are connected", bytes(peak), bytes(gateway.rss() - before));
    table.row(
        Section::Anywhere,
        "memory for a payload of 25 MiB on its way, in payloads",
        Goal::AtMost(3.0),
        peak / LARGE as f64,
        times,
        &note,
    );
    drop(operator);
    Ok(())
}
