//! Choice of the binary under test and of its runner.
//!
//! `GATELET_BIN` names another binary than the one built by cargo; `GATELET_RUNNER` the command
//! that runs it (`qemu-aarch64-static -cpu max`, or the launcher written by `tests/wine/setup.sh`);
//! `GATELET_PATIENCE` the factor by which it may be slower than this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Returns the time limit of a single step, after which a test fails.
pub fn patience() -> Duration {
    at_most(Duration::from_secs(35))
}

/// Waits until `done` returns true, at most [`patience`]; panics with `why`.
pub fn until(mut done: impl FnMut() -> bool, why: impl Fn() -> String) {
    wait_for(patience(), || done().then_some(()), why);
}

/// Waits until `find` returns a value, at most `limit`; panics with `why`.
pub fn wait_for<T>(
    limit: Duration,
    mut find: impl FnMut() -> Option<T>,
    why: impl Fn() -> String,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(begun.elapsed() < limit, "{}", why());
        thread::sleep(Duration::from_millis(2));
    }
}

/// Returns a time limit for the platform under test: unchanged on this machine, longer under an
/// emulator.
pub fn at_most(limit: Duration) -> Duration {
    let default = if native() { 1 } else { 4 };
    let factor = std::env::var("GATELET_PATIENCE")
        .map(|text| text.parse().expect("GATELET_PATIENCE is a number"));
    limit * factor.unwrap_or(default)
}

/// Returns whether the binary is the one for Windows.
pub fn windows() -> bool {
    bin().extension().is_some_and(|extension| extension == "exe")
}

/// Returns the path as the binary names it.
pub fn path(path: &Path) -> OsString {
    if !windows() {
        return path.into();
    }
    // wine maps the host's files to drive Z
    format!("Z:{}", path.to_str().expect("paths of tests are text").replace('/', "\\")).into()
}

/// Returns a command that runs the binary with these arguments through `prefix` and the runner of
/// the environment, without environment variables that would change its behaviour.
pub fn command(prefix: &[String], args: &[&str]) -> Command {
    let (bin, runner) = (bin(), runner());
    let words = prefix
        .iter()
        .map(String::as_str)
        .chain(runner.split_whitespace())
        .chain([bin.to_str().unwrap()]);
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
    let built = || std::env::var_os("CARGO_BIN_EXE_gatelet");
    let bin = std::env::var_os("GATELET_BIN").or_else(built);
    bin.expect("cargo runs the tests, or GATELET_BIN names the binary").into()
}

/// Returns whether the binary runs directly as the child process, so that its memory can be
/// measured.
pub fn native() -> bool {
    runner().is_empty()
}

fn runner() -> String {
    std::env::var("GATELET_RUNNER").unwrap_or_default()
}
