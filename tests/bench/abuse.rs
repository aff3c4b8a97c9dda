//! Attacks by admitted clients (`tests/support/attacks.rs`): delay of others, memory, and bytes,
//! each beside the old build.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::attacks::{node_events, reconnects, Attack, Field, ATTACKS};
use support::client::Dial;
use support::SetOnDrop;

use crate::builds::{Age, Builds};
use crate::client::{Client, ClientRole, Device, Failed};
use crate::gateway::{fresh, Gateway, SETTLE};
use crate::table::{bytes, count, median, quantile, times, Goal, Section, Table};

const MIB: f64 = 1024.0 * 1024.0;
/// Time until an attack has all its connections, and time of the measurement.
const BEGUN: Duration = Duration::from_millis(2500);
const MEASURED: Duration = Duration::from_millis(2000);
/// Time after an attack within which memory is given back.
const GIVEN_BACK: Duration = Duration::from_secs(5);
const HANDSHAKES: usize = 10;
const OPERATORS: u32 = 300;
/// Bytes of the pages that one client may change on the disk in a minute: 50 kB of records of 1
/// KiB, each of which changes a page of 4 KiB.
const PAGES: f64 = 4.0 * 50_000.0;
/// Bytes of pages that new devices with the shared token may change once, at any rate: both
/// replicas of each record of the table.
const TABLE: f64 = 2.0 * 4096.0 * gatelet::gate::limits::CAPACITY_DEFAULT as f64;

/// Name of a figure, its bound, its value of an [`Outcome`], and its format.
type Figure = (&'static str, Goal, fn(&Outcome) -> f64, fn(f64) -> String);

const FIGURES: [Figure; 6] = [
    ("health of another client, p50, to before", Goal::time(5.0), |of| of.p50, times),
    ("health of another client, p99, to before", Goal::time(10.0), |of| of.p99, times),
    ("a handshake of the owner, to before", Goal::time(10.0), |of| of.handshake, times),
    ("peak RSS", Goal::count(128.0 * MIB), |of| of.peak, bytes),
    ("RSS within 5 s after, above twice idle", Goal::count(2.0 * MIB), |of| of.kept, bytes),
    ("bytes of changed pages, in a minute", Goal::count(PAGES + TABLE), |of| of.written, bytes),
];

/// Effect of one attack.
#[derive(Clone)]
struct Outcome {
    p50: f64,
    p99: f64,
    handshake: f64,
    peak: f64,
    kept: f64,
    written: f64,
}

/// Adds the rows of all attacks, and of the worst outcome.
pub fn rows(table: &mut Table, builds: &mut Builds, root: &Path) -> Result<(), Failed> {
    let all = ATTACKS.map(|(_, attack)| attack);
    let single = ATTACKS.iter().map(|(name, attack)| (*name, std::slice::from_ref(attack)));
    let mut outcomes = [Vec::new(), Vec::new()];
    for (name, attacks) in single.chain([("all attacks together", &all[..])]) {
        let (new, old) = builds.each(|age, binary| outcome(binary, root, age, attacks))?;
        let p50 = (new.p50, old.as_ref().map(|old| old.p50));
        let what = format!("{name}: p50 of another client, to before");
        let note = format!(
            "{}{}",
            new.note(),
            old.as_ref().map_or(String::new(), |old| format!("; old build: {}", old.note()))
        );
        table.pair(Section::Builds, &what, Goal::NONE, p50, times, &note);
        outcomes[0].push(new);
        outcomes[1].extend(old);
    }
    for (what, goal, of, show) in FIGURES {
        let worst = |all: &[Outcome]| all.iter().map(of).reduce(f64::max);
        let figures = (worst(&outcomes[0]).unwrap_or(f64::NAN), worst(&outcomes[1]));
        table.pair(
            Section::Builds,
            &format!("worst of all attacks: {what}"),
            goal,
            figures,
            show,
            "",
        );
    }
    for (name, attack) in [("reconnects", reconnects as Attack), ("events of a node", node_events)]
    {
        let (new, old) =
            builds.each(|age, binary| amplified(&start(binary, root, age)?, attack))?;
        let what = format!("{name}: bytes to {OPERATORS} operators for each byte");
        table.pair(Section::Builds, &what, Goal::count(400.0), (new, old), count, "");
    }
    Ok(())
}

fn start(binary: &Path, root: &Path, age: Age) -> Result<Gateway, Failed> {
    Gateway::start(binary, &fresh(root, if age == Age::New { "abuse-new" } else { "abuse-old" })?)
}

impl Outcome {
    fn note(&self) -> String {
        let Outcome { p99, handshake, peak, written, .. } = self;
        format!(
            "p99 {p99:.1} x, handshake {handshake:.1} x, peak {}, written {}",
            bytes(*peak),
            bytes(*written)
        )
    }
}

/// Runs `work` while the attacks run, with a lower priority on the same core.
fn beside<T>(gateway: &Gateway, attacks: &[Attack], work: impl FnOnce(&Field) -> T) -> T {
    let (over, sent, answers) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let (dial, token) = (Dial::to(gateway.place.address), gateway.place.token.as_str());
    let field = &Field { dial, token, over: &over, sent: &sent, answers: &answers };
    thread::scope(|scope| {
        let _stop = SetOnDrop(&over);
        for attack in attacks {
            scope.spawn(move || {
                // of this thread only
                let _ = rustix::process::nice(19);
                attack(field)
            });
        }
        work(field)
    })
}

/// Measures one attack on a new gateway.
fn outcome(binary: &Path, root: &Path, age: Age, attacks: &[Attack]) -> Result<Outcome, Failed> {
    let gateway = start(binary, root, age)?;
    let mut client = Client::connect(&gateway.place, &Device::new(1))?;
    thread::sleep(SETTLE);
    let idle = gateway.rss();
    let quiet = (trips(&mut client)?, handshake(&gateway)?);
    gateway.reset_peak()?;
    let written = gateway.written();
    let (loud, shake) = beside(&gateway, attacks, |_| -> Result<_, Failed> {
        thread::sleep(BEGUN);
        Ok((trips(&mut client)?, handshake(&gateway)?))
    })?;
    let (peak, written) = (gateway.peak(), gateway.written() - written);
    let (begun, bound) = (Instant::now(), 2.0 * idle);
    while gateway.rss() > bound + 2.0 * MIB && begun.elapsed() < GIVEN_BACK {
        thread::sleep(Duration::from_millis(100));
    }
    let kept = gateway.rss() - bound;
    let ratio = |at: usize| loud[at] / quiet.0[at];
    let handshake = shake / quiet.1;
    Ok(Outcome { p50: ratio(0), p99: ratio(1), handshake, peak, kept, written })
}

/// Returns p50 and p99 of calls during [`MEASURED`].
fn trips(client: &mut Client) -> Result<[f64; 2], Failed> {
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < MEASURED {
        let asked = Instant::now();
        client.call("health", b"{}")?;
        took.push(asked.elapsed().as_nanos() as f64);
    }
    Ok([median(&mut took), quantile(&mut took, 0.99)])
}

/// Returns the median of some handshakes of the owner.
fn handshake(gateway: &Gateway) -> Result<f64, Failed> {
    let begun = Instant::now();
    let mut took = Vec::new();
    while took.len() < HANDSHAKES && (took.is_empty() || begun.elapsed() < MEASURED) {
        let asked = Instant::now();
        Client::connect_as(&gateway.place, &Device::new(99), ClientRole::Owner)?;
        took.push(asked.elapsed().as_nanos() as f64);
    }
    Ok(median(&mut took))
}

/// Returns the bytes that operators receive for each byte of the attack.
fn amplified(gateway: &Gateway, attack: Attack) -> Result<f64, Failed> {
    let mut lines = beside(gateway, &[], |field| field.operators(OPERATORS))?;
    thread::sleep(SETTLE);
    lines.iter_mut().for_each(|line| _ = line.drain());
    let before: u64 = lines.iter().map(|line| line.received).sum();
    let sent = beside(gateway, &[attack], |field| {
        let begun = Instant::now();
        while begun.elapsed() < BEGUN + MEASURED {
            lines.iter_mut().for_each(|line| _ = line.drain());
            thread::sleep(Duration::from_millis(1));
        }
        field.sent.load(Ordering::Relaxed)
    });
    let received = lines.iter().map(|line| line.received).sum::<u64>() - before;
    Ok(received as f64 / sent.max(1) as f64)
}
