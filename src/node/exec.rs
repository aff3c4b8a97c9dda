//! `system.run`: runs one program without a shell until it ends, times out or is cancelled.
//!
//! `allow_list` decides which program may run. Standard input is empty. The environment is that of
//! the node without its secrets; the caller may set only the variables of [`HARMLESS`] (language,
//! time zone, terminal). Of each output the last bytes are kept. On Unix each command has its own
//! process group, which is killed when the command ends.

use std::io::{self, PipeReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::allow_list::is_remote;
use super::error::InvokeError;
use crate::gate::ids::Millis;
use crate::gate::limits;
use crate::server::os::clock::{Clock, SystemClock};
use crate::server::{lock, start_thread};
use crate::wire::json::{self, Value};

/// Commands in progress. Clones share the list.
#[derive(Clone, Default)]
pub struct Running(Arc<Mutex<Vec<Run>>>);

struct Run {
    /// Id of the invoke.
    id: String,
    /// Process id, once the program is started.
    process: Option<u32>,
}

impl Running {
    /// Adds an invoke; returns `false` if the limit is reached or the id is in use.
    pub fn begin(&self, id: &str) -> bool {
        let mut runs = lock(&self.0);
        let free = runs.len() < limits::NODE_RUNS && !runs.iter().any(|run| run.id == id);
        if free {
            runs.push(Run { id: id.to_string(), process: None });
        }
        free
    }

    /// Removes an invoke after its result is determined.
    pub fn done(&self, id: &str) {
        lock(&self.0).retain(|run| run.id != id);
    }

    /// Forgets the process id of an invoke before the child is reaped, because the system may then
    /// reuse the id.
    fn ended(&self, id: &str) {
        lock(&self.0).iter_mut().filter(|run| run.id == id).for_each(|run| run.process = None);
    }

    /// Cancels an invoke: kills its process group and removes it.
    pub fn cancel(&self, id: &str) {
        self.end(&|run| run.id == id);
    }

    /// Cancels all invokes.
    pub fn cancel_all(&self) {
        self.end(&|_| true);
    }

    fn end(&self, which: &dyn Fn(&Run) -> bool) {
        lock(&self.0).retain(|run| {
            let ends = which(run);
            if let Some(process) = run.process.filter(|_| ends) {
                kill_group(process);
            }
            !ends
        });
    }

    /// Returns whether the invoke was not cancelled; if so, records its process id.
    fn set_process(&self, id: &str, process: u32) -> bool {
        let mut runs = lock(&self.0);
        let run = runs.iter_mut().find(|run| run.id == id);
        run.map(|run| run.process = Some(process)).is_some()
    }
}

/// Command to run, and its timeout.
pub struct Order {
    command: Command,
    timeout_ms: u64,
}

/// Reads the parameters of `system.run`. `program` is the path to start, `wait_ms` the timeout of
/// the gateway.
pub fn order(
    program: &Path,
    params: &Value<'_>,
    argv: &[String],
    wait_ms: Option<u64>,
) -> Result<Order, InvokeError> {
    if params.get("needsScreenRecording").and_then(|needs| needs.as_bool()) == Some(true) {
        return Err(InvokeError::new("UNAVAILABLE", "PERMISSION_MISSING: screenRecording"));
    }
    let mut command = Command::new(program);
    command.args(&argv[1..]).stdin(Stdio::null());
    command.env_clear();
    for (name, value) in std::env::vars_os() {
        // Names of variables are case-insensitive on Windows.
        let shown = name.to_string_lossy().to_ascii_uppercase();
        if !SECRETS.iter().any(|start| shown.starts_with(start)) {
            command.env(&name, &value);
        }
    }
    for (name, value) in params.at("env").fields() {
        let Some(value) =
            value.as_str().filter(|value| is_harmless(&name) && !value.contains('\0'))
        else {
            let text = format!("env {name} is not taken: a caller may set {HARMLESS}");
            return Err(InvokeError::new("INVALID_REQUEST", &text));
        };
        command.env(&*name, &*value);
    }
    if let Some(dir) =
        params.get("cwd").and_then(|dir| dir.as_str()).filter(|dir| !dir.trim().is_empty())
    {
        let dir = Path::new(dir.trim());
        if !dir.is_absolute() || is_remote(dir) || !dir.is_dir() {
            return Err(InvokeError::new(
                "INVALID_REQUEST",
                "cwd is no directory here, named by its whole path",
            ));
        }
        command.current_dir(dir);
    }
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    #[cfg(windows)]
    std::os::windows::process::CommandExt::creation_flags(&mut command, NO_WINDOW);
    let timeout_ms =
        params.get("timeoutMs").and_then(|time| time.as_u64()).or(wait_ms).filter(|time| *time > 0);
    Ok(Order {
        command,
        timeout_ms: timeout_ms.unwrap_or(limits::NODE_RUN_MS).min(limits::NODE_RUN_MAX_MS),
    })
}

impl Order {
    /// Runs the command. The invoke must be in `running` already.
    pub fn run(self, id: &str, running: &Running) -> Vec<u8> {
        let timeout_ms = self.timeout_ms;
        let (mut child, outputs) = match self.start() {
            Ok(started) => started,
            Err(error) => {
                return RunOutcome { error: Some(error.to_string()), ..RunOutcome::default() }
                    .json()
            }
        };
        let (status, timed_out) = wait(&mut child, id, running, timeout_ms);
        let clock = SystemClock::start();
        while !outputs.iter().all(CollectedOutput::is_complete)
            && clock.now().at < Millis(limits::NODE_REST_MS)
        {
            thread::sleep(Duration::from_millis(2));
        }
        let [stdout, stderr] = outputs.map(|output| lock(&output.0).text());
        RunOutcome {
            exit: status.and_then(|status| status.code()),
            timed_out,
            stdout,
            stderr,
            error: None,
        }
        .json()
    }

    /// Starts the child and the readers of its two outputs. The command is dropped here, which
    /// closes the writing ends of the pipes in this process.
    fn start(mut self) -> io::Result<(Child, [CollectedOutput; 2])> {
        let ((stdout, child_stdout), (stderr, child_stderr)) = (io::pipe()?, io::pipe()?);
        // Started before the child: if a thread cannot be started, no child is left running.
        let outputs = [CollectedOutput::collect(stdout)?, CollectedOutput::collect(stderr)?];
        Ok((self.command.stdout(child_stdout).stderr(child_stderr).spawn()?, outputs))
    }
}

/// Waits for the child; kills it on timeout or when the invoke is cancelled. The polling interval
/// grows up to [`limits::NODE_LOOK_MS`].
fn wait(
    child: &mut Child,
    id: &str,
    running: &Running,
    timeout_ms: u64,
) -> (Option<ExitStatus>, bool) {
    let (clock, mut pause) = (SystemClock::start(), 1);
    loop {
        let ended = has_ended(child);
        let timed_out = !ended && clock.now().at >= Millis(timeout_ms);
        if ended || timed_out || !running.set_process(id, child.id()) {
            running.ended(id);
            kill_group(child.id());
            let _ = child.kill();
            return (child.wait().ok(), timed_out);
        }
        thread::sleep(Duration::from_millis(pause));
        pause = (pause * 2).min(limits::NODE_LOOK_MS);
    }
}

/// Returns whether the child has ended. On Unix it is not reaped, so that the system does not reuse
/// its process id before the group is killed.
#[cfg(unix)]
fn has_ended(child: &mut Child) -> bool {
    use rustix::process::{waitid, Pid, WaitId, WaitIdOptions};
    let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    process.is_none_or(|process| !matches!(waitid(WaitId::Pid(process), how), Ok(None)))
}

#[cfg(not(unix))]
fn has_ended(child: &mut Child) -> bool {
    matches!(child.try_wait(), Ok(Some(_)))
}

/// Kills the process group that was created for this process.
#[cfg(unix)]
fn kill_group(process: u32) {
    let group = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// Without effect: other processes started by the child can only be ended with a job object, which
/// needs unsafe code.
#[cfg(not(unix))]
fn kill_group(_: u32) {}

/// Output of a command, collected by a thread.
struct CollectedOutput(Arc<Mutex<Tail>>);

#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    cut: bool,
}

impl CollectedOutput {
    fn collect(mut pipe: PipeReader) -> io::Result<CollectedOutput> {
        let tail = Arc::new(Mutex::new(Tail::default()));
        let shared = tail.clone();
        start_thread("output", move || {
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut part) {
                lock(&shared).add(&part[..count]);
            }
        })?;
        Ok(CollectedOutput(tail))
    }

    /// Returns whether the thread has read all output.
    fn is_complete(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl Tail {
    fn add(&mut self, part: &[u8]) {
        self.bytes.extend_from_slice(part);
        if self.bytes.len() >= 2 * limits::NODE_OUTPUT {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        let over = self.bytes.len().saturating_sub(limits::NODE_OUTPUT);
        self.bytes.drain(..over);
        self.cut |= over > 0;
    }

    fn text(&mut self) -> String {
        self.shorten();
        let mut kept = self.bytes.as_slice();
        while let (true, Some((0x80..=0xbf, rest))) = (self.cut, kept.split_first()) {
            kept = rest;
        }
        let mark = if self.cut { "... (truncated) " } else { "" };
        format!("{mark}{}", String::from_utf8_lossy(kept))
    }
}

/// Outcome of a command.
#[derive(Default)]
struct RunOutcome {
    exit: Option<i32>,
    timed_out: bool,
    stdout: String,
    stderr: String,
    error: Option<String>,
}

impl RunOutcome {
    fn json(&self) -> Vec<u8> {
        json::object(|o| {
            if let Some(code) = self.exit {
                o.raw("exitCode", code.to_string().as_bytes());
            }
            o.bool("timedOut", self.timed_out);
            o.bool("success", self.exit == Some(0) && !self.timed_out);
            o.str("stdout", &self.stdout);
            o.str("stderr", &self.stderr);
            match &self.error {
                Some(error) => o.str("error", error),
                None => o.null("error"),
            }
        })
    }
}

/// Prefixes of variables that are not passed to commands: they may hold secrets of this process.
const SECRETS: [&str; 4] = ["GATELET_", "OPENCLAW_", "NOTIFY_", "CREDENTIALS_"];

/// Variables that a caller may set; `*` at the end matches any suffix. An allowlist, because a list
/// of dangerous variables is never complete.
const HARMLESS: &str = "LANG, LC_*, TZ, TERM, NO_COLOR, COLUMNS, LINES";

fn is_harmless(name: &str) -> bool {
    let mut known = HARMLESS.split(", ");
    let known = known.any(|one| {
        one == name || one.strip_suffix('*').is_some_and(|start| name.starts_with(start))
    });
    known && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

#[cfg(windows)]
const NO_WINDOW: u32 = 0x0800_0000;
