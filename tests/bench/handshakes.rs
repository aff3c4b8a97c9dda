//! Signed handshakes of a known device, compared with the verification of a signature alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use support::echo;

use crate::client::{bare, Client, Device, Failed};
use crate::gateway::{on_core, own_cpu_ns, pin, task_ns, Gateway, SERVER_CORE};
use crate::keys::verification;
use crate::table::{median, ns, rate, Goal, Section, Table};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(700);
const AT_ONCE: [usize; 3] = [1, 8, 32];

/// Cost of one kind of work, one value per round.
#[derive(Default)]
pub struct Cost {
    pub rates: Vec<f64>,
    pub cpu: Vec<f64>,
    took: Vec<f64>,
}

/// Adds rate and processor time of handshakes, of the verification alone, and of a connection
/// without a handshake.
pub fn rows(table: &mut Table, gateway: &Gateway) -> Result<(), Failed> {
    let echo = echo::start(|| pin(SERVER_CORE))?;
    let mut costs: [[Cost; 2]; 3] = Default::default();
    let mut verify = Cost::default();
    for _ in 0..ROUNDS {
        on_core(SERVER_CORE, || verifications(&mut verify));
        for ([ours, bare], at_once) in costs.iter_mut().zip(AT_ONCE) {
            round(gateway, at_once, ours)?;
            bare_round(&echo, at_once, bare)?;
        }
    }
    let verify = verify.medians();
    for ([ours, bare], at_once) in costs.iter_mut().zip(AT_ONCE) {
        let (own, bare, p50) = (ours.medians(), bare.medians(), ns(median(&mut ours.took)));
        let what = format!(
            "a handshake to its Ed25519 verification alone, processor time, {at_once} at once"
        );
        table.pair(Section::Ratios, &what, Goal::NONE, (own.cpu, Some(verify.cpu)), ns, "");
        let what =
            format!("a handshake to a bare echo's upgrade and the verification, {at_once} at once");
        let note = format!("TCP, upgrade and one frame of the echo: {}", ns(bare.cpu));
        table.pair(
            Section::Ratios,
            &what,
            Goal::NONE,
            (own.cpu, Some(verify.cpu + bare.cpu)),
            ns,
            &note,
        );
        let note = format!("p50 {p50}; compared with verifications alone, one core");
        let what = format!("handshakes of a known device, {at_once} at once");
        table.pair(Section::Times, &what, Goal::NONE, (own.rate, Some(verify.rate)), rate, &note);
    }
    Ok(())
}

/// Measures clients of a known device that connect and disconnect during one round.
pub fn round(gateway: &Gateway, at_once: usize, cost: &mut Cost) -> Result<(), Failed> {
    let device = Device::new(1);
    let work = || Client::connect(&gateway.place, &device).map(drop);
    let begin = || {
        let before = gateway.usage();
        move || gateway.cpu_since(&before)
    };
    cost.round(at_once, begin, work)
}

/// Measures clients that connect to an echo server and send one message, during one round.
fn bare_round(
    (address, thread): &(SocketAddr, PathBuf),
    at_once: usize,
    cost: &mut Cost,
) -> Result<(), Failed> {
    let begin = || {
        let before = task_ns(thread);
        move || task_ns(thread) - before
    };
    cost.round(at_once, begin, || bare(*address)?.echo("here").map(drop))
}

/// Medians of the rounds.
struct Medians {
    rate: f64,
    cpu: f64,
}

impl Cost {
    fn medians(&mut self) -> Medians {
        Medians { rate: median(&mut self.rates), cpu: median(&mut self.cpu) }
    }

    /// Repeats `work` on `at_once` threads for a fixed time. `begin` is called before that; the
    /// function that it returns is called afterwards and returns the processor time of the server
    /// in between, in nanoseconds.
    fn round<Spent: FnOnce() -> f64>(
        &mut self,
        at_once: usize,
        begin: impl FnOnce() -> Spent,
        work: impl Fn() -> Result<(), Failed> + Sync,
    ) -> Result<(), Failed> {
        let (stop, took) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        let thread = || -> Result<(), Failed> {
            let mut own = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                work()?;
                own.push(began.elapsed().as_nanos() as f64);
            }
            took.lock().expect("no client panics").append(&mut own);
            Ok(())
        };
        let (spent, began) = (begin(), Instant::now());
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(thread)).collect();
            std::thread::sleep(ROUND);
            stop.store(true, Ordering::Relaxed);
            threads.into_iter().try_for_each(|thread| thread.join().expect("no client panics"))
        })?;
        let mut took = took.into_inner().expect("no client panics");
        self.rates.push(took.len() as f64 / began.elapsed().as_secs_f64());
        self.cpu.push(spent() / took.len() as f64);
        self.took.append(&mut took);
        Ok(())
    }
}

fn verifications(cost: &mut Cost) {
    let verify = verification();
    let (cpu, began, mut done) = (own_cpu_ns(), Instant::now(), 0.0);
    while began.elapsed() < ROUND {
        verify();
        done += 1.0;
    }
    cost.rates.push(done / began.elapsed().as_secs_f64());
    cost.cpu.push((own_cpu_ns() - cpu) / done);
}
