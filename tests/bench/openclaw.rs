//! The same operations on both versions of OpenClaw, which `tests/e2e/install.sh` installs. All
//! gateways run on the core of the server; the same clients measure one after another in each
//! round, while the others are idle.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::broadcast::Crowd;
use crate::client::{Client, Device, Failed, Protocol};
use crate::gateway::{fresh, Gateway, SETTLE};
use crate::handshakes::{self, Cost};
use crate::relay::{self, trips};
use crate::table::{bytes, median, ns, rate, Goal, Section, Show, Table};

const VERSIONS: [(&str, &str, Protocol); 2] =
    [("2026.1.29", "a", Protocol::V3), ("2026.9.6", "b", Protocol::V4)];
const ROUNDS: usize = 3;
const TRIPS: usize = 300;
const EVENTS: usize = 10;
const OPERATORS: usize = 1_000;
/// Time after which a program on Node has finished the work that follows its start.
const WARM: Duration = Duration::from_secs(15);

const ROWS: [(&str, Goal, Show); 12] = [
    ("start on a used directory", Goal::NONE, ns),
    ("RSS idle", Goal::NONE, bytes),
    ("handshakes of a known device, 1 at once", Goal::NONE, rate),
    ("handshakes of a known device, 8 at once", Goal::NONE, rate),
    ("handshakes of a known device, 32 at once", Goal::NONE, rate),
    ("the same of a core that does nothing else, 8 at once", Goal::rate_ratio(20.0), rate),
    ("health, p50", Goal::NONE, ns),
    ("node.invoke, p50", Goal::NONE, ns),
    ("node.invoke, processor time of the server", Goal::NONE, ns),
    ("RSS of each of 1000 idle operators, after many calls", Goal::NONE, bytes),
    ("an event until the last of 1000 operators has it", Goal::NONE, ns),
    ("an event, processor time of the server for each", Goal::NONE, ns),
];

/// Adds the rows, if a version is installed. `BENCH_OPENCLAW=0` leaves them out. A failure of
/// OpenClaw does not fail the bench.
pub fn rows(table: &mut Table, binary: &Path, root: &Path) {
    if std::env::var("BENCH_OPENCLAW").is_ok_and(|word| word == "0") {
        return;
    }
    if let Err(failed) = compare(table, binary, root) {
        table.absent(Section::OpenClaw, "beside OpenClaw", &failed.to_string());
    }
}

fn compare(table: &mut Table, binary: &Path, root: &Path) -> Result<(), Failed> {
    let mut theirs: [Option<Side>; 2] = [None, None];
    for (side, (version, dir, protocol)) in theirs.iter_mut().zip(VERSIONS) {
        match installed(dir) {
            Some([node, script]) => {
                let start = |dir: &Path| Gateway::start_openclaw(&node, &script, dir, protocol);
                *side = Some(Side::new(start, &fresh(root, dir)?)?);
            }
            None => table.absent(
                Section::OpenClaw,
                &format!("OpenClaw {version}"),
                "not installed, so not compared: tests/e2e/install.sh",
            ),
        }
    }
    if theirs.iter().all(Option::is_none) {
        return Ok(());
    }
    let mut ours = Side::new(|dir| Gateway::start(binary, dir), &fresh(root, "gatelet")?)?;
    let mut sides: Vec<&mut Side> =
        std::iter::once(&mut ours).chain(theirs.iter_mut().flatten()).collect();
    std::thread::sleep(WARM);
    measure(&mut sides)?;
    for (at, (what, goal, show)) in ROWS.into_iter().enumerate() {
        for (side, (version, _, protocol)) in theirs.iter_mut().zip(VERSIONS) {
            let Some(side) = side else { continue };
            let figures = (median(&mut ours.figures[at]), Some(median(&mut side.figures[at])));
            let goal = if protocol == Protocol::V3 { goal } else { Goal::NONE };
            table.pair(
                Section::OpenClaw,
                &format!("{what}, to {version}"),
                goal,
                figures,
                show,
                "",
            );
        }
    }
    ours.gateway.end()?;
    theirs.into_iter().flatten().try_for_each(|side| side.gateway.end())
}

/// Returns the paths of Node and of the script of that version.
fn installed(dir: &str) -> Option<[PathBuf; 2]> {
    let there = PathBuf::from(std::env::var_os("GATELET_E2E_DIR").unwrap_or("target/e2e".into()));
    let script = there.join(dir).join("node_modules/openclaw/openclaw.mjs");
    Some([fs::canonicalize(there.join("bin/node")).ok()?, fs::canonicalize(script).ok()?])
}

fn measure(sides: &mut [&mut Side]) -> Result<(), Failed> {
    sides.iter_mut().for_each(|side| side.put(1, side.gateway.rss()));
    for round in 0..ROUNDS {
        sides.iter_mut().try_for_each(|side| side.handshakes())?;
        sides.iter_mut().try_for_each(|side| side.calls(round))?;
    }
    for side in sides.iter_mut() {
        side.crowd()?;
    }
    Ok(())
}

/// Gateway and its figures, in the order of [`ROWS`].
struct Side {
    gateway: Gateway,
    figures: [Vec<f64>; ROWS.len()],
}

impl Side {
    /// Starts the gateway twice, because the first start fills caches.
    fn new(start: impl Fn(&Path) -> Result<Gateway, Failed>, dir: &Path) -> Result<Side, Failed> {
        start(dir)?.end()?;
        let gateway = start(dir)?;
        drop(Client::connect(&gateway.place, &Device::new(1))?);
        let mut side = Side { gateway, figures: Default::default() };
        side.put(0, side.gateway.started_in.as_nanos() as f64);
        Ok(side)
    }

    fn put(&mut self, row: usize, figure: f64) {
        self.figures[row].push(figure);
    }

    fn handshakes(&mut self) -> Result<(), Failed> {
        for (row, at_once) in [(2, 1), (3, 8), (4, 32)] {
            let mut cost = Cost::default();
            handshakes::round(&self.gateway, at_once, &mut cost)?;
            self.put(row, cost.rates[0]);
            if at_once == 8 {
                // Derived from the processor time: other processes may use the core, and the
                // clients may be the bottleneck.
                self.put(5, 1e9 / cost.cpu[0]);
            }
        }
        Ok(())
    }

    fn calls(&mut self, round: usize) -> Result<(), Failed> {
        let place = &self.gateway.place;
        let node = Device::new(11);
        if round == 0 {
            Client::serve(place, &node, relay::SMALL.to_vec())?;
        }
        let (mut client, call) = (Client::connect(place, &Device::new(1))?, relay::call(&node));
        let health = trips(TRIPS, || client.call("health", b"{}").map(drop))?[0];
        let cpu = self.gateway.usage();
        let invoke = trips(TRIPS, || client.call("node.invoke", &call).map(drop))?[0];
        let cpu = self.gateway.cpu_since(&cpu) / TRIPS as f64;
        self.put(6, health);
        self.put(7, invoke);
        self.put(8, cpu);
        Ok(())
    }

    /// Measures many operators that receive events.
    fn crowd(&mut self) -> Result<(), Failed> {
        std::thread::sleep(SETTLE);
        let before = self.gateway.rss();
        let mut crowd = Crowd::new(&self.gateway.place, OPERATORS)?;
        std::thread::sleep(SETTLE);
        self.put(9, (self.gateway.rss() - before) / OPERATORS as f64);
        crowd.event()?;
        let cpu = self.gateway.usage();
        let took = median(&mut crowd.events(EVENTS)?);
        self.put(10, took);
        self.put(11, self.gateway.cpu_since(&cpu) / (EVENTS * OPERATORS) as f64);
        Ok(())
    }
}
