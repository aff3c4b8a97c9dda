//! Cost of a message and of a handshake after a pause and without pauses: voluntary context
//! switches, processor time, median latency of the client, system calls. The values of all threads
//! of the gateway are summed, and both builds are measured alternately.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::builds::Builds;
use crate::client::{Client, Device, Failed, Place};
use crate::gateway::{fresh, Gateway, SETTLE};
use crate::table::{median, ns, tenths, Goal, Section, Show, Table};

/// Longer than the threads of the gateway poll for work before they sleep.
const PAUSE: Duration = Duration::from_millis(30);
const ROUNDS: usize = 3;

/// Kind of traffic.
struct Traffic {
    name: &'static str,
    handshakes: bool,
    pause: Duration,
    /// Repetitions in one round, and in a run that counts system calls.
    times: usize,
    traced: usize,
}

const TRAFFIC: [Traffic; 4] = [
    Traffic { name: "health each 30 ms", handshakes: false, pause: PAUSE, times: 60, traced: 20 },
    Traffic {
        name: "health in a stream",
        handshakes: false,
        pause: Duration::ZERO,
        times: 2_000,
        traced: 500,
    },
    Traffic { name: "handshake each 30 ms", handshakes: true, pause: PAUSE, times: 40, traced: 20 },
    Traffic {
        name: "handshakes in a stream",
        handshakes: true,
        pause: Duration::ZERO,
        times: 300,
        traced: 100,
    },
];

/// Figures measured for each kind of traffic.
const FIGURES: [(&str, Show); 3] =
    [("voluntary context switches", tenths), ("processor time", ns), ("p50", ns)];

/// Figures by kind of traffic and figure, one value per round.
type Rounds = [[Vec<f64>; FIGURES.len()]; TRAFFIC.len()];

/// Adds the rows of messages.
pub fn rows(table: &mut Table, builds: &Builds, root: &Path) -> Result<(), Failed> {
    let mut sides = Vec::new();
    for (number, (_, binary)) in builds.all().enumerate() {
        let gateway = Gateway::start(binary, &fresh(root, &format!("messages-{number}"))?)?;
        // Pairs the device and warms up the code paths.
        round(&gateway.place, &TRAFFIC[1], 100, &mut Vec::new())?;
        sides.push((gateway, Rounds::default()));
    }
    std::thread::sleep(SETTLE);
    for _ in 0..ROUNDS {
        for (at, traffic) in TRAFFIC.iter().enumerate() {
            for (gateway, rounds) in &mut sides {
                let figures = measure(gateway, traffic)?;
                rounds[at].iter_mut().zip(figures).for_each(|(round, figure)| round.push(figure));
            }
        }
    }
    for (at, traffic) in TRAFFIC.iter().enumerate() {
        for (which, (what, show)) in FIGURES.into_iter().enumerate() {
            let mut middles = sides.iter_mut().map(|(_, rounds)| median(&mut rounds[at][which]));
            let figures = (middles.next().unwrap_or(f64::NAN), middles.next());
            table.pair(
                Section::Builds,
                &format!("{}: {what}", traffic.name),
                Goal::NONE,
                figures,
                show,
                "",
            );
        }
        system_calls(table, builds, root, traffic)?;
    }
    Ok(())
}

/// Measures one round; returns the figures in the order of [`FIGURES`].
fn measure(gateway: &Gateway, traffic: &Traffic) -> Result<[f64; FIGURES.len()], Failed> {
    let mut took = Vec::new();
    let before = gateway.usage();
    round(&gateway.place, traffic, traffic.times, &mut took)?;
    let spent = gateway.usage().since(&before);
    let each = traffic.times as f64;
    Ok([spent.voluntary / each, spent.cpu_ns / each, median(&mut took)])
}

/// Sends `times` messages; appends the duration of each to `took`, in nanoseconds.
fn round(
    place: &Place,
    traffic: &Traffic,
    times: usize,
    took: &mut Vec<f64>,
) -> Result<(), Failed> {
    let device = Device::new(1);
    let mut client = Client::connect(place, &device)?;
    for _ in 0..times {
        std::thread::sleep(traffic.pause);
        let began = Instant::now();
        if traffic.handshakes {
            drop(Client::connect(place, &device)?);
        } else {
            client.call("health", b"{}")?;
        }
        took.push(began.elapsed().as_nanos() as f64);
    }
    Ok(())
}

/// Adds the row of system calls, counted by strace: the difference of two runs, without start and
/// end.
fn system_calls(
    table: &mut Table,
    builds: &Builds,
    root: &Path,
    traffic: &Traffic,
) -> Result<(), Failed> {
    let what = format!("{}: system calls", traffic.name);
    if !Gateway::can_trace() {
        table.absent(Section::Builds, &what, "not counted: there is no strace that may trace");
        return Ok(());
    }
    let figures = builds.each(|_, binary| {
        let counted = |times| traced(binary, root, traffic, times);
        Ok((counted(2 * traffic.traced)? - counted(traffic.traced)?) / traffic.traced as f64)
    })?;
    table.pair(Section::Builds, &what, Goal::NONE, figures, tenths, "");
    Ok(())
}

/// Returns the system calls of a gateway from its start to its end, with `times` messages in
/// between.
fn traced(binary: &Path, root: &Path, traffic: &Traffic, times: usize) -> Result<f64, Failed> {
    let out: PathBuf = root.join("strace.txt");
    let _ = std::fs::remove_file(&out);
    let gateway = Gateway::start_traced(binary, &fresh(root, "traced")?, &out)?;
    round(&gateway.place, traffic, times, &mut Vec::new())?;
    gateway.end()?;
    Gateway::traced_calls(&out)
}
