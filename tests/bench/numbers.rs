//! Measures gatelet against the numbers of the design and prints tables; see `tests/bench/run.sh`.
//!
//! The server has one core and the clients another. Where others use the machine too, trust the counts, the ratios and the
//! processor times first: both sides of a ratio are measured in turns, and medians are shown. Linux only, for `/proc` and
//! `taskset`.

mod accepted;
mod broadcast;
mod client;
mod decision;
mod echo;
mod gateway;
mod handshakes;
mod instructions;
mod openclaw;
mod page;
mod profile;
mod relay;
mod rest;
mod strangers;
mod table;

use std::path::{Path, PathBuf};
use std::{env, fs};

use client::Failed;
use gateway::{fresh, pin, Gateway, CLIENT_CORE};
use table::Table;

fn main() -> Result<(), Failed> {
    let binary = PathBuf::from(env::var_os("GATELET_BIN").ok_or("GATELET_BIN names the binary to measure")?);
    let root = PathBuf::from(env::var_os("BENCH_DIR").unwrap_or("target/bench-state".into()));
    let words: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let ["verify", times] = words[..] {
        let verify = handshakes::verification();
        (0..times.parse()?).for_each(|_: usize| verify());
        return Ok(());
    }
    pin(CLIENT_CORE);
    let mut table = Table::default();
    let grown = match words[..] {
        ["profile", ref names @ ..] => return profiles(&binary, &root, names),
        ["instructions"] => instructions::rows(&mut table, &binary, &root)?,
        ["idle"] => rest::idle(&mut table, &Gateway::start(&binary, &fresh(&root, "idle")?)?).map(|()| 0)?,
        ["strangers"] => {
            strangers::rows(&mut table, &Gateway::start(&binary, &fresh(&root, "strangers")?)?).map(|()| 0)?
        }
        ["openclaw"] => {
            openclaw::rows(&mut table, &binary, &root);
            0
        }
        [] => all(&mut table, &binary, &root)?,
        _ => {
            return Err(
                format!("{words:?}: there are instructions, idle, strangers, openclaw, profile [OPERATION...]").into()
            )
        }
    };
    let missed = table.missed();
    let text = format!("{}{}\n{missed} targets are missed\n", machine(), table.text());
    print!("{text}");
    if let Some(file) = env::var_os("BENCH_TABLE").filter(|_| words.is_empty()) {
        fs::write(file, &text)?;
    }
    if grown > 0 {
        return Err(format!("{grown} operations need more instructions than accepted; UPDATE=1 accepts them").into());
    }
    if table.broken() > 0 {
        return Err("counts that no load moves are beyond their targets".into());
    }
    if missed > 0 && env::var_os("BENCH_STRICT").is_some() {
        return Err("targets are missed".into());
    }
    Ok(())
}

/// Everything; gives how many operations need more instructions than accepted.
fn all(table: &mut Table, binary: &Path, root: &Path) -> Result<usize, Failed> {
    let started = |name| Gateway::start(binary, &fresh(root, name)?);
    let grown = instructions::rows(table, binary, root)?;
    decision::rows(table);
    rest::starts(table, binary, root)?;
    let gateway = started("main")?;
    handshakes::rows(table, &gateway)?;
    relay::rows(table, &started("relay")?)?;
    broadcast::rows(table, &started("broadcast")?)?;
    strangers::rows(table, &started("strangers")?)?;
    page::rows(table, &gateway)?;
    rest::reconnects(table, &gateway)?;
    drop(gateway);
    rest::idle(table, &started("idle")?)?;
    rest::sizes(table, binary)?;
    openclaw::rows(table, binary, root);
    Ok(grown)
}

/// Where the instructions of these operations go, or of all.
fn profiles(binary: &Path, root: &Path, names: &[&str]) -> Result<(), Failed> {
    for operation in instructions::OPERATIONS.iter().filter(|one| names.is_empty() || names.contains(&one.name)) {
        operation.cost(binary, root)?.print(operation.name);
    }
    Ok(())
}

/// What it was measured on.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo");
    let mut models = processor.lines().filter(|line| line.starts_with("model name") || line.starts_with("CPU part"));
    let model = models.next().and_then(|line| line.split_once(": ")).map_or("?", |(_, name)| name).to_string();
    let cores = processor.lines().filter(|line| line.starts_with("processor")).count();
    let (kernel, load) = (read("/proc/sys/kernel/osrelease"), read("/proc/loadavg"));
    let load = load.split(' ').next().unwrap_or("?");
    format!("{cores} cores ({model}, {}), Linux {}, load {load} at the end\n", env::consts::ARCH, kernel.trim())
}
