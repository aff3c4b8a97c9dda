//! Signed handshakes of a known device, beside the verification of a signature alone.

use std::hint::black_box;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

use crate::client::{bare, Client, Device, Failed};
use crate::echo;
use crate::gateway::{on_core, own_cpu_ns, pin, task_ns, Gateway, SERVER_CORE};
use crate::table::{median, ns, rate, Goal, Section, Table};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(700);
const AT_ONCE: [usize; 3] = [1, 8, 32];

/// What one kind of work costs, measured in rounds.
#[derive(Default)]
pub struct Cost {
    pub rates: Vec<f64>,
    pub cpu: Vec<f64>,
    took: Vec<f64>,
}

/// Rate and processor time: of ours, of the verification alone, and of a connection that proves nothing.
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
        let what = format!("a handshake to its Ed25519 verification alone, processor time, {at_once} at once");
        table.ratio(Section::Anywhere, &what, Goal::AtMost(2.0), [own.cpu, verify.cpu], ns, "");
        let what = format!("the same to a bare echo's upgrade and the verification, {at_once} at once");
        let note = format!("TCP, upgrade and one frame: {}", ns(bare.cpu));
        table.ratio(Section::Anywhere, &what, Goal::None, [own.cpu, verify.cpu + bare.cpu], ns, &note);
        let note = format!("p50 {p50}; beside verifications alone, one core");
        let what = format!("handshakes of a known device, {at_once} at once");
        table.ratio(Section::Here, &what, Goal::None, [own.rate, verify.rate], rate, &note);
    }
    Ok(())
}

/// Clients of a known device that come and go for a while.
pub fn round(gateway: &Gateway, at_once: usize, cost: &mut Cost) -> Result<(), Failed> {
    let device = Device::new(1);
    let work = || Client::connect(&gateway.place, &device).map(drop);
    cost.round(at_once, || gateway.cpu_ns(), work)
}

/// The same of clients that say one word to an echo.
fn bare_round((address, thread): &(SocketAddr, PathBuf), at_once: usize, cost: &mut Cost) -> Result<(), Failed> {
    cost.round(at_once, || task_ns(thread), || bare(*address)?.echo("here").map(drop))
}

/// The middle of the rounds.
struct Medians {
    rate: f64,
    cpu: f64,
}

impl Cost {
    fn medians(&mut self) -> Medians {
        Medians { rate: median(&mut self.rates), cpu: median(&mut self.cpu) }
    }

    /// Does the work on so many threads for a while.
    fn round(
        &mut self,
        at_once: usize,
        cpu_ns: impl Fn() -> f64,
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
        let (cpu, began) = (cpu_ns(), Instant::now());
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(thread)).collect();
            std::thread::sleep(ROUND);
            stop.store(true, Ordering::Relaxed);
            threads.into_iter().try_for_each(|thread| thread.join().expect("no client panics"))
        })?;
        let mut took = took.into_inner().expect("no client panics");
        self.rates.push(took.len() as f64 / began.elapsed().as_secs_f64());
        self.cpu.push((cpu_ns() - cpu) / took.len() as f64);
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

/// Checks a signature as a handshake has to, each time it is called.
pub fn verification() -> impl Fn() {
    let keys = SigningKey::from_bytes(&[1; 32]);
    let text = [b'x'; 300];
    let signature = keys.sign(&text);
    let key = keys.verifying_key();
    move || {
        let key = VerifyingKey::from_bytes(black_box(key.as_bytes())).expect("a right key");
        key.verify_strict(black_box(&text), &signature).expect("a right signature");
    }
}
