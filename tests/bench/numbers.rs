//! Measures gatelet against the numbers of the design and prints a table; see `tests/bench/run.sh`.
//!
//! The server has one core and the clients another. Where others use the machine too, trust the ratios and the processor
//! times first: both sides of a ratio are measured in turns, and medians are shown. Linux only, for `/proc` and `taskset`.

mod accepted;
mod client;
mod decision;
mod echo;
mod gateway;
mod instructions;
mod profile;
mod relay;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use client::{bare, get, Client, Device, Failed, Place};
use ed25519_compact::{KeyPair, Noise, Seed};
use gatelet::gate::limits;
use gateway::{fresh, on_core, own_cpu_ns, pin, Gateway, CLIENT_CORE, SERVER_CORE};
use relay::trips;
use table::{bytes, count, median, ns, rate, times, Goal, Table};

const KIB: f64 = 1024.0;
const CONNECTIONS: usize = 1_000;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(700);
/// How long a process is left alone before its memory is read.
const SETTLE: Duration = Duration::from_millis(1_500);

fn main() -> Result<(), Failed> {
    let binary = PathBuf::from(std::env::var_os("GATELET_BIN").ok_or("GATELET_BIN names the binary to measure")?);
    let root = PathBuf::from(std::env::var_os("BENCH_DIR").unwrap_or("target/bench".into()));
    pin(CLIENT_CORE);
    let mut table = Table::default();
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {}
        ["instructions"] => {
            let grown = instructions::rows(&mut table, &binary, &root)?;
            table.print();
            return fail_if(grown > 0);
        }
        ["profile", ref names @ ..] => return profiles(&binary, &root, names),
        _ => return Err(format!("unknown: {words:?}; there are instructions, profile [OPERATION...]").into()),
    }
    size(&mut table, &binary)?;
    decision::rows(&mut table);
    starts(&mut table, &binary, &root)?;
    let gateway = Gateway::start(&binary, &fresh(&root, "main")?)?;
    idle(&mut table, &gateway)?;
    reconnects(&mut table, &gateway)?;
    handshakes(&mut table, &gateway)?;
    round_trips(&mut table, &gateway)?;
    relay::rows(&mut table, &Gateway::start(&binary, &fresh(&root, "relay")?)?)?;
    page(&mut table, &gateway)?;
    silent(&mut table, &Gateway::start(&binary, &fresh(&root, "silent")?)?)?;
    drop(gateway);
    openclaw(&mut table, &binary, &root)?;
    let grown = instructions::rows(&mut table, &binary, &root)?;
    let missed = table.print();
    println!("\n{missed} targets are missed");
    fail_if(grown > 0 || missed > 0 && std::env::var_os("BENCH_STRICT").is_some())
}

fn fail_if(failed: bool) -> Result<(), Failed> {
    if failed {
        std::process::exit(1);
    }
    Ok(())
}

/// Where the instructions of these operations go, or of all.
fn profiles(binary: &Path, root: &Path, names: &[&str]) -> Result<(), Failed> {
    for operation in instructions::OPERATIONS.iter().filter(|one| names.is_empty() || names.contains(&one.name)) {
        operation.cost(binary, root)?.print(operation.name);
    }
    Ok(())
}

fn size(table: &mut Table, binary: &Path) -> Result<(), Failed> {
    let size = fs::metadata(binary)?.len() as f64;
    table.row("binary of this machine, stripped", Goal::AtMost(640.0 * KIB), size, bytes, "");
    Ok(())
}

fn starts(table: &mut Table, binary: &Path, root: &Path) -> Result<(), Failed> {
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let dir = fresh(root, "start")?;
        first.push(Gateway::start(binary, &dir)?.started_in.as_nanos() as f64);
        later.push(Gateway::start(binary, &dir)?.started_in.as_nanos() as f64);
    }
    let fastest = |figures: &[f64]| format!("best {}", ns(figures.iter().copied().fold(f64::INFINITY, f64::min)));
    let note = format!("{}; makes and syncs the table", fastest(&first));
    table.row("first start to /readyz", Goal::None, median(&mut first), ns, &note);
    let note = fastest(&later);
    table.row("later start to /readyz", Goal::AtMost(5e6), median(&mut later), ns, &note);
    Ok(())
}

fn idle(table: &mut Table, gateway: &Gateway) -> Result<(), Failed> {
    std::thread::sleep(SETTLE);
    let before = gateway.rss();
    table.row("RSS idle", Goal::AtMost(1.5 * KIB * KIB), before, bytes, &format!("peak {}", bytes(gateway.peak())));
    drop(Client::connect(&gateway.place, &Device::new(1))?);
    let each = |clients: Vec<Client>| {
        std::thread::sleep(SETTLE);
        let (grown, peak) = (gateway.rss() - before, gateway.peak() - before);
        (grown / clients.len() as f64, peak / clients.len() as f64)
    };
    let device = Device::new(1);
    let clients = (0..CONNECTIONS).map(|_| Client::connect(&gateway.place, &device)).collect::<Result<Vec<_>, _>>()?;
    let (grown, peak) = each(clients);
    let note = format!("peak {}; {CONNECTIONS} of one device", bytes(peak));
    table.row("RSS per idle admitted connection", Goal::AtMost(8.0 * KIB), grown, bytes, &note);
    std::thread::sleep(SETTLE);
    table.row("RSS after they left", Goal::None, gateway.rss(), bytes, "");
    Ok(())
}

fn reconnects(table: &mut Table, gateway: &Gateway) -> Result<(), Failed> {
    let began = gateway.written();
    drop(Client::connect(&gateway.place, &Device::new(2))?);
    std::thread::sleep(SETTLE);
    let (pairing, files) = (gateway.written() - began, state(&gateway.dir)?);
    for _ in 0..200 {
        drop(Client::connect(&gateway.place, &Device::new(2))?);
    }
    std::thread::sleep(SETTLE);
    let written = gateway.written() - began - pairing;
    let changed = state(&gateway.dir)?.iter().filter(|(path, file)| files.get(*path) != Some(file)).count();
    let note = match pairing > 0.0 {
        true => format!("{changed} files changed; the pairing itself {}", bytes(pairing)),
        false => format!("{changed} files changed; this file system does not count writes"),
    };
    let worst = written.max(changed as f64);
    table.row("bytes written by 200 reconnects of a known device", Goal::AtMost(0.0), worst, bytes, &note);
    Ok(())
}

/// Every file of the state directory, with its time and content.
fn state(dir: &Path) -> Result<BTreeMap<PathBuf, (SystemTime, Vec<u8>)>, Failed> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_file() {
            files.insert(path.clone(), (fs::metadata(&path)?.modified()?, fs::read(&path)?));
        }
    }
    Ok(files)
}

/// What one kind of work costs, measured in rounds.
#[derive(Default)]
struct Cost {
    rates: Vec<f64>,
    cpu: Vec<f64>,
    took: Vec<f64>,
}

fn handshakes(table: &mut Table, gateway: &Gateway) -> Result<(), Failed> {
    let mut costs: [Cost; 3] = Default::default();
    let mut bare = Cost::default();
    for _ in 0..ROUNDS {
        on_core(SERVER_CORE, || verifications(&mut bare));
        for (cost, at_once) in costs.iter_mut().zip([1, 8, 32]) {
            handshake_round(gateway, at_once, cost)?;
        }
    }
    let (verify, verify_cpu) = (median(&mut bare.rates), median(&mut bare.cpu));
    table.row("Ed25519 verifications alone, one core", Goal::None, verify, rate, &ns(verify_cpu));
    for (cost, at_once) in costs.iter_mut().zip([1, 8, 32]) {
        let (rate_of, cpu) = (median(&mut cost.rates), median(&mut cost.cpu));
        let note = format!("p50 {}, server {} each", ns(median(&mut cost.took)), ns(cpu));
        table.row(&format!("handshakes of a known device, {at_once} at once"), Goal::None, rate_of, rate, &note);
        let note = format!("rate {:.2} of the verifications'", rate_of / verify);
        let what = format!("processor time of a handshake to its verification, {at_once} at once");
        table.row(&what, Goal::AtMost(2.0), cpu / verify_cpu, times, &note);
    }
    Ok(())
}

fn handshake_round(gateway: &Gateway, at_once: usize, cost: &mut Cost) -> Result<(), Failed> {
    let (stop, done, took) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(Vec::new()));
    let work = || -> Result<(), Failed> {
        let device = Device::new(1);
        let mut own = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            drop(Client::connect(&gateway.place, &device)?);
            own.push(began.elapsed().as_nanos() as f64);
            done.fetch_add(1, Ordering::Relaxed);
        }
        took.lock().expect("no client panics").append(&mut own);
        Ok(())
    };
    let (cpu, began) = (gateway.cpu_ns(), Instant::now());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        std::thread::sleep(ROUND);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().try_for_each(|thread| thread.join().expect("no client panics"))
    })?;
    let done = done.into_inner() as f64;
    cost.rates.push(done / began.elapsed().as_secs_f64());
    cost.cpu.push((gateway.cpu_ns() - cpu) / done);
    cost.took.append(&mut took.into_inner().expect("no client panics"));
    Ok(())
}

fn verifications(cost: &mut Cost) {
    let keys = KeyPair::from_seed(Seed::new([1; 32]));
    let text = [b'x'; 300];
    let signature = keys.sk.sign(text, None::<Noise>);
    let (cpu, began, mut done) = (own_cpu_ns(), Instant::now(), 0.0);
    while began.elapsed() < ROUND {
        black_box(keys.pk.verify(black_box(text), &signature)).expect("a right signature");
        done += 1.0;
    }
    cost.rates.push(done / began.elapsed().as_secs_f64());
    cost.cpu.push((own_cpu_ns() - cpu) / done);
}

fn round_trips(table: &mut Table, gateway: &Gateway) -> Result<(), Failed> {
    let mut echo = bare(echo::start(|| pin(SERVER_CORE))?)?;
    let mut client = Client::connect(&gateway.place, &Device::new(1))?;
    let request = r#"{"type":"req","id":"1234","method":"health","params":{}}"#;
    let (mut ours, mut theirs) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..ROUNDS {
        let p = trips(|| client.call("health", b"{}").map(drop))?;
        (0..2).for_each(|at| ours[at].push(p[at]));
        let p = trips(|| echo.echo(request).map(drop))?;
        (0..2).for_each(|at| theirs[at].push(p[at]));
    }
    for (at, (name, goal)) in [("p50", Goal::None), ("p99", Goal::AtMost(2.0))].into_iter().enumerate() {
        let (own, bare) = (median(&mut ours[at]), median(&mut theirs[at]));
        let note = format!("{} to {}", ns(own), ns(bare));
        table.row(&format!("health to a bare echo, {name}"), goal, own / bare, times, &note);
    }
    Ok(())
}

fn page(table: &mut Table, gateway: &Gateway) -> Result<(), Failed> {
    let address = gateway.place.address;
    let files = page_files(&body(&get(address, "/")?)?)?;
    let mut size = 0.0;
    for path in &files {
        size += body(&get(address, path)?)?.len() as f64;
    }
    let note = format!("{} files, as they are sent", files.len());
    table.row("whole page, compressed", Goal::AtMost(40.0 * KIB), size, bytes, &note);
    let [p50, p99] = trips(|| Ok(get(address, "/").map(drop)?))?;
    let note = format!("p99 {}", ns(p99));
    table.row("/ alone, p50", Goal::None, p50, ns, &note);
    let [p50, p99] = trips(|| files.iter().try_for_each(|path| Ok(get(address, path).map(drop)?)))?;
    let note = format!("p99 {}; {} files one after another, a connection each", ns(p99), files.len());
    table.row("first page, / and all its files, p50", Goal::AtMost(30e6), p50, ns, &note);
    Ok(())
}

/// `/` and what it names.
fn page_files(index: &[u8]) -> Result<Vec<String>, Failed> {
    let index = miniz_oxide::inflate::decompress_to_vec(&index[GZIP_HEAD..]).map_err(|_| "the page is not packed")?;
    let text = String::from_utf8(index)?;
    let named = text.split("=\"assets/").skip(1).filter_map(|rest| rest.split('"').next());
    let files: Vec<String> =
        std::iter::once("/".to_string()).chain(named.map(|name| ["/assets/", name].concat())).collect();
    match files.len() {
        3.. => Ok(files),
        _ => Err("the page names no files".into()),
    }
}

/// What stands before the packed bytes of a file: no name, no time (`build.rs`).
const GZIP_HEAD: usize = 10;

/// The body of a good answer.
fn body(answer: &[u8]) -> Result<Vec<u8>, Failed> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    match end {
        Some(end) if answer.starts_with(b"HTTP/1.1 200 ") => Ok(answer[end + 4..].to_vec()),
        _ => Err(format!("not a file of the page: {}", String::from_utf8_lossy(answer)).into()),
    }
}

fn silent(table: &mut Table, gateway: &Gateway) -> Result<(), Failed> {
    let mut admitted = Client::connect(&gateway.place, &Device::new(1))?;
    std::thread::sleep(SETTLE);
    let quiet = trips(|| admitted.call("health", b"{}").map(drop))?;
    let (before, descriptors) = (gateway.rss(), gateway.descriptors());
    let connect = |_| TcpStream::connect(gateway.place.address);
    let mut sockets = (0..CONNECTIONS).map(connect).collect::<Result<Vec<_>, _>>()?;
    std::thread::sleep(SETTLE);
    let held = gateway.descriptors() - descriptors;
    let loud = trips(|| admitted.call("health", b"{}").map(drop))?;
    let note = format!("{} for all of them", bytes(gateway.rss() - before));
    let most = limits::UNAUTHENTICATED as f64;
    table.row("descriptors of 1000 sockets that say nothing", Goal::AtMost(most), held as f64, count, &note);
    let note = format!("{} to {}", ns(loud[1]), ns(quiet[1]));
    table.row("p99 of an admitted client meanwhile, to before", Goal::AtMost(2.0), loud[1] / quiet[1], times, &note);
    let first = sockets.first_mut().ok_or("there are sockets")?;
    first.set_read_timeout(Some(SETTLE))?;
    let ended = first.read(&mut [0]).is_ok_and(|count| count == 0);
    if !ended {
        return Err("the oldest silent socket was not closed".into());
    }
    Ok(())
}

/// Side by side with OpenClaw 2026.1.29, if asked for and there (`tests/e2e/install.sh`).
fn openclaw(table: &mut Table, binary: &Path, root: &Path) -> Result<(), Failed> {
    if std::env::var_os("BENCH_OPENCLAW").is_none() {
        return Ok(());
    }
    let there = PathBuf::from(std::env::var_os("GATELET_E2E_DIR").unwrap_or("target/e2e".into()));
    let (node, script) = (there.join("bin/node"), there.join("a/node_modules/openclaw/openclaw.mjs"));
    let (Ok(node), Ok(script)) = (fs::canonicalize(node), fs::canonicalize(script)) else {
        table.absent("OpenClaw 2026.1.29", "not installed: run tests/e2e/install.sh");
        return Ok(());
    };
    let ours = Gateway::start(binary, &fresh(root, "beside")?)?;
    let dir = fresh(root, "openclaw")?;
    drop(Gateway::start_openclaw(&node, &script, &dir)?);
    let theirs = Gateway::start_openclaw(&node, &script, &dir)?;
    let (own, their) = (ours.started_in.as_nanos() as f64, theirs.started_in.as_nanos() as f64);
    table.row("start, OpenClaw 2026.1.29 to ours", Goal::None, their / own, times, &ns(their));
    std::thread::sleep(20 * SETTLE);
    table.row("RSS idle, OpenClaw to ours", Goal::None, theirs.rss() / ours.rss(), times, &bytes(theirs.rss()));
    for at_once in [1, 8, 32] {
        let (mut own, mut their) = (Cost::default(), Cost::default());
        first_pairing(&ours.place)?;
        first_pairing(&theirs.place)?;
        for _ in 0..ROUNDS {
            handshake_round(&ours, at_once, &mut own)?;
            handshake_round(&theirs, at_once, &mut their)?;
        }
        let (own, their) = (median(&mut own.rates), median(&mut their.rates));
        let note = format!("{} to {}, a core each", rate(own), rate(their));
        let what = format!("handshakes, ours to OpenClaw's, {at_once} at once");
        table.row(&what, Goal::AtLeast(20.0), own / their, times, &note);
    }
    Ok(())
}

fn first_pairing(place: &Place) -> Result<(), Failed> {
    drop(Client::connect(place, &Device::new(1))?);
    Ok(())
}
