//! Which binary is under test, and on what it runs.
//!
//! `GATELET_BIN` names another binary than the one cargo built; `GATELET_RUNNER` what runs it (`qemu-aarch64-static -cpu max`, or
//! the starter that `tests/wine/setup.sh` writes); `GATELET_PATIENCE` how many times slower than this machine that may be.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before the test fails.
pub fn patience() -> Duration {
    at_most(Duration::from_secs(35))
}

/// Waits until that is done, at most [`patience`]; `why` says what is not.
pub fn until(mut done: impl FnMut() -> bool, why: impl Fn() -> String) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < patience(), "{}", why());
        thread::sleep(Duration::from_millis(2));
    }
}

/// A limit of time as it is held where the binary runs; the same on this machine, more where another is emulated.
pub fn at_most(limit: Duration) -> Duration {
    let default = if native() { 1 } else { 4 };
    let factor = std::env::var("GATELET_PATIENCE").map(|text| text.parse().expect("GATELET_PATIENCE is a number"));
    limit * factor.unwrap_or(default)
}

/// Is it the binary for Windows?
pub fn windows() -> bool {
    bin().extension().is_some_and(|extension| extension == "exe")
}

/// That path as the binary names it.
pub fn path(path: &Path) -> OsString {
    if !windows() {
        return path.into();
    }
    // wine shows this system's files as drive Z
    format!("Z:{}", path.to_str().expect("paths of tests are text").replace('/', "\\")).into()
}

/// The binary with these arguments, run by `prefix` and the runner of the environment, with nothing in its own environment
/// that would change what it does.
pub fn command(prefix: &[String], args: &[&str]) -> Command {
    let (bin, runner) = (bin(), runner());
    let words = prefix.iter().map(String::as_str).chain(runner.split_whitespace()).chain([bin.to_str().unwrap()]);
    let words: Vec<&str> = words.chain(args.iter().copied()).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let ours = ["GATELET_", "OPENCLAW", "CLAWDBOT", "NOTIFY_", "XDG_", "JOURNAL_"];
        if ours.iter().any(|one| name.starts_with(one)) {
            command.env_remove(&*name);
        }
    }
    command.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn bin() -> PathBuf {
    std::env::var_os("GATELET_BIN").map_or_else(|| env!("CARGO_BIN_EXE_gatelet").into(), PathBuf::from)
}

/// Does the binary run as the process that is seen here, so that its memory can be measured?
pub fn native() -> bool {
    runner().is_empty()
}

fn runner() -> String {
    std::env::var("GATELET_RUNNER").unwrap_or_default()
}
