//! Before anything happens: sizes of the files, times to start, memory of those who are just there, and what a return writes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use crate::client::{Client, Device, Failed, PATIENCE};
use crate::gateway::{fresh, room, Gateway, SETTLE};
use crate::table::{bytes, median, ns, Goal, Section, Table};

const KIB: f64 = 1024.0;
/// What the design gives a file for ARM64.
const SIZE: f64 = 640.0 * KIB;
const CONNECTIONS: [usize; 2] = [1_000, 10_000];

/// Every file below `targets/`, and the one that is measured.
pub fn sizes(table: &mut Table, binary: &Path) -> Result<(), Failed> {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets");
    let bounds = fs::read_to_string(targets.join("build.sh"))?;
    let mut triples: Vec<_> = fs::read_dir(&targets)?.flatten().map(|entry| entry.path()).collect();
    triples.sort();
    for file in triples.iter().flat_map(|dir| ["gatelet", "gatelet.exe"].map(|name| dir.join(name))) {
        let Ok(size) = fs::metadata(&file).map(|found| found.len() as f64) else { continue };
        let triple = file.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let goal = if triple.starts_with("aarch64") { Goal::AtMost(SIZE) } else { Goal::None };
        let note = bound(&bounds, &triple).map(|most| format!("build.sh stops at {}", bytes(most))).unwrap_or_default();
        table.row(Section::Anywhere, &format!("file for {triple}"), goal, size, bytes, &note);
    }
    let size = fs::metadata(binary)?.len() as f64;
    table.row(Section::Anywhere, "the file that is measured", Goal::None, size, bytes, "");
    Ok(())
}

/// What `bytes_max` of build.sh says of that triple: its lines are `PATTERN) echo NUMBER ;;`.
fn bound(script: &str, triple: &str) -> Option<f64> {
    let lines = script.lines().filter_map(|line| line.trim().split_once(") echo "));
    let mut fitting = lines.filter(|(pattern, _)| pattern.split('*').all(|part| triple.contains(part)));
    fitting.next()?.1.trim_end_matches(" ;;").parse().ok()
}

/// From the start of the process to the first 200.
pub fn starts(table: &mut Table, binary: &Path, root: &Path) -> Result<(), Failed> {
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let dir = fresh(root, "start")?;
        first.push(Gateway::start(binary, &dir)?.started_in.as_nanos() as f64);
        later.push(Gateway::start(binary, &dir)?.started_in.as_nanos() as f64);
    }
    let fastest = |figures: &[f64]| format!("best {}", ns(figures.iter().copied().fold(f64::INFINITY, f64::min)));
    let note = format!("{}; makes and syncs the table", fastest(&first));
    table.row(Section::Here, "first start to /readyz", Goal::None, median(&mut first), ns, &note);
    let note = fastest(&later);
    table.row(Section::Here, "later start to /readyz", Goal::AtMost(5e6), median(&mut later), ns, &note);
    Ok(())
}

/// Memory with nobody, and of each who is there and silent.
pub fn idle(table: &mut Table, gateway: &Gateway) -> Result<(), Failed> {
    std::thread::sleep(SETTLE);
    let (before, few) = (gateway.rss(), gateway.descriptors());
    let note = format!("peak {}", bytes(gateway.peak()));
    table.row(Section::Anywhere, "RSS idle", Goal::Never(1.5 * KIB * KIB), before, bytes, &note);
    drop(Client::connect(&gateway.place, &Device::new(1))?);
    let mut clients = Vec::new();
    for wanted in CONNECTIONS {
        let wanted = wanted.min(room());
        Client::gather(&gateway.place, &mut clients, wanted)?;
        std::thread::sleep(SETTLE);
        let held = gateway.descriptors();
        if held < wanted {
            return Err(format!("of {wanted} connections only {held} descriptors are left").into());
        }
        let [grown, peak] = [gateway.rss() - before, gateway.peak() - before].map(|more| more / wanted as f64);
        let note = format!("peak {}; of one device", bytes(peak));
        let what = format!("RSS per idle admitted connection, {wanted} of them");
        table.row(Section::Anywhere, &what, Goal::Never(8.0 * KIB), grown, bytes, &note);
    }
    drop(clients);
    let left = Instant::now();
    while gateway.descriptors() > few && left.elapsed() < PATIENCE {
        std::thread::sleep(SETTLE);
    }
    let (after, note) = (gateway.rss(), format!("{} descriptors", gateway.descriptors()));
    table.row(Section::Anywhere, "RSS after they left", Goal::None, after, bytes, &note);
    let mut clients = Vec::new();
    Client::gather(&gateway.place, &mut clients, CONNECTIONS[0])?;
    std::thread::sleep(SETTLE);
    let what = format!("RSS when {} came again, to that", clients.len());
    table.ratio(Section::Anywhere, &what, Goal::AtMost(1.02), [gateway.rss(), after], bytes, "");
    Ok(())
}

/// What the return of a known device writes.
pub fn reconnects(table: &mut Table, gateway: &Gateway) -> Result<(), Failed> {
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
    table.row(
        Section::Anywhere,
        "bytes written by 200 reconnects of a known device",
        Goal::Never(0.0),
        worst,
        bytes,
        &note,
    );
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
