//! Measures gatelet against the numbers of the design and prints a table; see `tests/bench/run.sh`.
//!
//! Server and clients run on one core each. On a machine with other load the counts are the most
//! reliable figures, then ratios and processor times: both sides of a ratio are measured
//! alternately, and medians are shown. Linux only (`/proc`, `taskset`).

mod abuse;
mod broadcast;
mod builds;
mod client;
mod decision;
mod gateway;
mod handshakes;
mod instructions;
mod keys;
mod memory;
mod messages;
mod openclaw;
mod page;
mod profile;
mod relay;
mod rest;

mod table;
mod unauthenticated;

use std::path::{Path, PathBuf};
use std::{env, fs};

use builds::Builds;
use client::Failed;
use gateway::{fresh, pin, Gateway, CLIENT_CORE};
use table::{count, Goal, Section, Table};

/// Measures one part and adds its rows.
type Part = fn(&mut Table, &mut Builds, &Path) -> Result<(), Failed>;

/// All parts, in the order of measurement.
const PARTS: [(&str, Part); 14] = [
    ("instructions", instructions::rows),
    ("decision", |table, _, _| {
        decision::rows(table);
        Ok(())
    }),
    ("start", |table, builds, root| rest::starts(table, builds, root)),
    ("messages", |table, builds, root| messages::rows(table, builds, root)),
    ("memory", memory::rows),
    ("idle", rest::idle),
    ("reconnects", |table, builds, root| rest::reconnects(table, builds, root)),
    ("sizes", |table, builds, _| rest::sizes(table, builds)),
    ("handshakes", |table, builds, root| {
        let gateway = started(builds, root, "main")?;
        handshakes::rows(table, &gateway)?;
        page::rows(table, &gateway)
    }),
    ("relay", |table, builds, root| relay::rows(table, &started(builds, root, "relay")?)),
    ("broadcast", |table, builds, root| {
        broadcast::rows(table, &started(builds, root, "broadcast")?)
    }),
    ("unauthenticated", |table, builds, root| {
        unauthenticated::rows(table, &started(builds, root, "unauthenticated")?)
    }),
    ("abuse", abuse::rows),
    ("openclaw", |table, builds, root| {
        openclaw::rows(table, &builds.new, root);
        Ok(())
    }),
];

fn main() -> Result<(), Failed> {
    let words: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let ["verify", times] = words[..] {
        let verify = keys::verification();
        (0..times.parse()?).for_each(|_: usize| verify());
        return Ok(());
    }
    let mut builds = Builds::from_env()?;
    let root = PathBuf::from(env::var_os("BENCH_DIR").unwrap_or("target/bench-state".into()));
    pin(CLIENT_CORE);
    if let ["profile", ref names @ ..] = words[..] {
        return profiles(&builds.new, &root, names);
    }
    if let Some(word) = words.iter().find(|word| !PARTS.iter().any(|(name, _)| name == *word)) {
        let names = PARTS.map(|(name, _)| name).join(", ");
        return Err(format!(
            "there is no part {word:?}; there are {names}, and profile [OPERATION...]"
        )
        .into());
    }
    let mut table = Table::default();
    for (name, part) in PARTS.iter().filter(|(name, _)| words.is_empty() || words.contains(name)) {
        eprintln!("{name}:");
        if let Err(failed) = part(&mut table, &mut builds, &root) {
            // A part that cannot be measured does not stop the others, but fails the bench.
            let what = format!("errors that ended the part {name}");
            table.row(Section::Builds, &what, Goal::count(0.0), 1.0, count, &failed.to_string());
        }
    }
    if let Some(file) = builds.update()? {
        eprintln!("{file} is rewritten");
    }
    report(&table, words.is_empty())
}

/// Prints the table; error if figures beyond their bounds fail the bench.
fn report(table: &Table, is_whole: bool) -> Result<(), Failed> {
    let (missed, failed) = (table.missed(), table.failed());
    let text = format!("{}\n{}\n{missed} bounds are missed\n", machine(), table.text());
    print!("{text}");
    if let Some(file) = env::var_os("BENCH_TABLE").filter(|_| is_whole) {
        fs::write(file, &text)?;
    }
    if !failed.is_empty() {
        return Err(format!("beyond their bounds: {}", failed.join("; ")).into());
    }
    if missed > 0 && env::var_os("BENCH_STRICT").is_some() {
        return Err("bounds are missed".into());
    }
    Ok(())
}

/// Starts a gateway of the new build on an empty directory.
fn started(builds: &Builds, root: &Path, name: &str) -> Result<Gateway, Failed> {
    Gateway::start(&builds.new, &fresh(root, name)?)
}

/// Prints the profiles of the named operations, or of all if `names` is empty.
fn profiles(binary: &Path, root: &Path, names: &[&str]) -> Result<(), Failed> {
    for operation in
        instructions::OPERATIONS.iter().filter(|one| names.is_empty() || names.contains(&one.name))
    {
        operation.cost(binary, root)?.print(operation.name);
    }
    Ok(())
}

/// Describes the machine.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo");
    let mut models = processor
        .lines()
        .filter(|line| line.starts_with("model name") || line.starts_with("CPU part"));
    let model = models
        .next()
        .and_then(|line| line.split_once(": "))
        .map_or("?", |(_, name)| name)
        .to_string();
    let cores = processor.lines().filter(|line| line.starts_with("processor")).count();
    let (kernel, load) = (read("/proc/sys/kernel/osrelease"), read("/proc/loadavg"));
    let load = load.split(' ').next().unwrap_or("?");
    format!(
        "{cores} cores ({model}, {}), Linux {}, load {load} at the end\n",
        env::consts::ARCH,
        kernel.trim()
    )
}
