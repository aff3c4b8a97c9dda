//! Gateway process to measure: started on its own core, observed through `/proc`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{getrlimit, kill_process, Pid, Resource, Signal};

use crate::client::{until_ready, Failed, Place, Protocol};

/// Core of the measured servers and of the servers that they are compared with.
pub const SERVER_CORE: usize = 0;
/// Core of the clients.
pub const CLIENT_CORE: usize = 1;

/// Idle time before the memory of a process is read.
pub const SETTLE: Duration = Duration::from_millis(1_500);

/// Timeout for the end of a process.
const END: Duration = Duration::from_secs(30);

const VALGRIND: &str = "valgrind";
const STRACE: &str = "strace";
const TOKEN: &str = "a-token-for-measurements-only";

/// Running gateway; killed on drop.
pub struct Gateway {
    child: Child,
    pub place: Place,
    pub dir: PathBuf,
    /// Time from the start of the process to the first response with status 200.
    pub started_in: Duration,
}

impl Gateway {
    /// Starts the gatelet at `binary` on that state directory and waits until it is ready.
    pub fn start(binary: &Path, dir: &Path) -> Result<Gateway, Failed> {
        let place = prepare(dir, "gatelet.json", Protocol::V4)?;
        let mut command = Command::new(binary);
        command.args(["run", "--state-dir"]).arg(dir);
        Gateway::launch(command, place, dir, "/readyz")
    }

    /// Starts the OpenClaw gateway whose script is at `script`, and waits until it is ready.
    pub fn start_openclaw(
        node: &Path,
        script: &Path,
        dir: &Path,
        protocol: Protocol,
    ) -> Result<Gateway, Failed> {
        let place = prepare(dir, "openclaw.json", protocol)?;
        let mut command = Command::new(node);
        command.arg(script).args(["gateway", "run"]);
        for variable in [
            "OPENCLAW_NO_RESPAWN",
            "OPENCLAW_DISABLE_BONJOUR",
            "OPENCLAW_SKIP_CHANNELS",
            "NO_COLOR",
        ] {
            command.env(variable, "1");
        }
        command
            .env("OPENCLAW_STATE_DIR", dir.join("state"))
            .env("OPENCLAW_CONFIG_PATH", dir.join("openclaw.json"));
        Gateway::launch(command, place, dir, if protocol == Protocol::V3 { "/" } else { "/readyz" })
    }

    /// Starts the gatelet at `binary` under callgrind, which writes the instruction counts to `out`
    /// when the process ends.
    pub fn start_counted(
        binary: &Path,
        dir: &Path,
        out: &Path,
        protocol: Protocol,
    ) -> Result<Gateway, Failed> {
        let place = prepare(dir, "gatelet.json", protocol)?;
        let mut command = counting(out);
        command.arg(binary).args(["run", "--state-dir"]).arg(dir);
        Gateway::launch(command, place, dir, "/readyz")
    }

    /// Returns whether instructions can be counted, that is, whether valgrind is installed.
    pub fn can_count() -> bool {
        let mut command = Command::new(VALGRIND);
        command.arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// Starts the gatelet at `binary` under strace, which writes a summary of the system calls to
    /// `out` when the process ends. The child process is the gateway itself, not strace (`-D`).
    pub fn start_traced(binary: &Path, dir: &Path, out: &Path) -> Result<Gateway, Failed> {
        let place = prepare(dir, "gatelet.json", Protocol::V4)?;
        let mut command = Command::new(STRACE);
        command
            .args(["-D", "-f", "-c", "-o"])
            .arg(out)
            .arg(binary)
            .args(["run", "--state-dir"])
            .arg(dir);
        Gateway::launch(command, place, dir, "/readyz")
    }

    /// Returns whether system calls can be counted: strace is installed and permitted to trace.
    pub fn can_trace() -> bool {
        let mut command = Command::new(STRACE);
        command.args(["-f", "-c", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// Returns the number of system calls in a summary of strace, which is written shortly after
    /// the process has ended.
    pub fn traced_calls(out: &Path) -> Result<f64, Failed> {
        let began = Instant::now();
        loop {
            let text = fs::read_to_string(out).unwrap_or_default();
            // Columns: % time, seconds, usecs/call, calls, errors (if any), name.
            if let Some(total) = text.lines().find(|line| line.ends_with(" total")) {
                let calls = total.split_whitespace().nth(3).and_then(|calls| calls.parse().ok());
                return calls.ok_or_else(|| format!("not a summary of strace: {total}").into());
            }
            if began.elapsed() > END {
                return Err("strace wrote no summary".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Terminates the process with SIGTERM and waits until it has ended.
    pub fn end(mut self) -> Result<(), Failed> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let asked = Instant::now();
        while self.child.try_wait()?.is_none() {
            if asked.elapsed() > END {
                return Err(format!("{} does not end", self.dir.display()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn launch(
        mut command: Command,
        place: Place,
        dir: &Path,
        path: &str,
    ) -> Result<Gateway, Failed> {
        // A log file would count as written bytes.
        command
            .env("HOME", dir)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("GATELET_") || name.starts_with("XDG_") || name == "NOTIFY_SOCKET" {
                command.env_remove(name);
            }
        }
        let (child, began) = on_core(SERVER_CORE, move || {
            let began = Instant::now();
            (command.spawn(), began)
        });
        let mut gateway =
            Gateway { child: child?, place, dir: dir.to_path_buf(), started_in: Duration::ZERO };
        gateway.started_in = until_ready(gateway.place.address, path, began, &mut gateway.child)?;
        Ok(gateway)
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the memory in use, in bytes.
    pub fn rss(&self) -> f64 {
        let exact =
            fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid())).unwrap_or_default();
        field(&exact, "Rss:").or_else(|| self.status("VmRSS:")).unwrap_or(f64::NAN) * 1024.0
    }

    /// Returns the peak memory since the start or since [`Gateway::reset_peak`], in bytes.
    pub fn peak(&self) -> f64 {
        self.status("VmHWM:").unwrap_or(f64::NAN) * 1024.0
    }

    /// Resets [`Gateway::peak`] to the memory in use.
    pub fn reset_peak(&self) -> io::Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.pid()), "5")
    }

    /// Returns the number of open descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }

    /// Returns the resources that each thread has used since it began.
    pub fn usage(&self) -> Usage {
        let tasks =
            fs::read_dir(format!("/proc/{}/task", self.pid())).into_iter().flatten().flatten();
        let spent = |task: &Path| {
            let status = fs::read_to_string(task.join("status")).unwrap_or_default();
            let voluntary = field(&status, "voluntary_ctxt_switches:").unwrap_or(f64::NAN);
            Spent { cpu_ns: task_ns(task), voluntary }
        };
        let tasks = tasks.map(|task| (task.file_name(), spent(&task.path())));
        // Threads that ended meanwhile have no figures.
        Usage(
            tasks
                .filter(|(_, spent)| !spent.cpu_ns.is_nan() && !spent.voluntary.is_nan())
                .collect(),
        )
    }

    /// Returns the processor time of all threads since `before`, in nanoseconds.
    pub fn cpu_since(&self, before: &Usage) -> f64 {
        self.usage().since(before).cpu_ns
    }

    /// Returns the bytes that the process caused to be written to storage.
    pub fn written(&self) -> f64 {
        let io = fs::read_to_string(format!("/proc/{}/io", self.pid())).unwrap_or_default();
        field(&io, "write_bytes:").unwrap_or(f64::NAN)
    }

    fn status(&self, name: &str) -> Option<f64> {
        field(&fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?, name)
    }
}

/// Resources used by threads.
#[derive(Clone, Copy, Default)]
pub struct Spent {
    /// Processor time in nanoseconds.
    pub cpu_ns: f64,
    /// Number of voluntary context switches.
    pub voluntary: f64,
}

/// Resources that each thread of a process has used since it began.
pub struct Usage(BTreeMap<OsString, Spent>);

impl Usage {
    /// Returns the resources that all threads have used since `before`. A thread that ended in
    /// between is not counted, because its figures are gone; threads end only after a period
    /// without work.
    pub fn since(&self, before: &Usage) -> Spent {
        let mut sum = Spent::default();
        for (task, now) in &self.0 {
            let then = before.0.get(task).copied().unwrap_or_default();
            sum.cpu_ns += now.cpu_ns - then.cpu_ns;
            sum.voluntary += now.voluntary - then.voluntary;
        }
        sum
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a command that runs under callgrind, which writes to `out`; the program and its
/// arguments are to be added.
pub fn counting(out: &Path) -> Command {
    let mut command = Command::new(VALGRIND);
    command
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()));
    command
}

/// Returns the number of connections that this process, and a gateway that it starts, can each hold
/// under the limit of descriptors.
pub fn room() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    limit.min(1 << 20).saturating_sub(200) as usize
}

/// Creates an empty directory below `root`.
pub fn fresh(root: &Path, name: &str) -> io::Result<PathBuf> {
    let dir = root.join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    fs::canonicalize(dir)
}

/// Runs `work` on a thread pinned to that core; threads that it spawns inherit this.
pub fn on_core<T: Send>(core: usize, work: impl FnOnce() -> T + Send) -> T {
    let run = || {
        pin(core);
        work()
    };
    std::thread::scope(|scope| scope.spawn(run).join().expect("the measurement does not panic"))
}

/// Pins this thread, and the threads that it starts, to one core. Without effect on a machine with
/// one core.
pub fn pin(core: usize) {
    let Ok(thread) = fs::read_link("/proc/thread-self") else { return };
    let id = thread.file_name().unwrap_or_default().to_os_string();
    let done = Command::new("taskset")
        .arg("-pc")
        .arg(core.to_string())
        .arg(id)
        .stdout(Stdio::null())
        .status();
    if !done.is_ok_and(|status| status.success()) {
        eprintln!("bench: cannot keep to core {core}; the figures are rougher");
    }
}

/// Returns the processor time of this thread, in nanoseconds.
pub fn own_cpu_ns() -> f64 {
    task_ns(Path::new("/proc/thread-self"))
}

/// Returns the processor time of the thread at this path below `/proc`, in nanoseconds.
pub fn task_ns(task: &Path) -> f64 {
    let text = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(f64::NAN)
}

fn field(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

fn prepare(dir: &Path, config: &str, protocol: Protocol) -> Result<Place, Failed> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let text = format!(
        r#"{{"gateway":{{"mode":"local","port":{port},"bind":"loopback","auth":{{"mode":"token","token":"{TOKEN}"}}}},
        "discovery":{{"mdns":{{"mode":"off"}}}},"update":{{"checkOnStart":false}}}}"#
    );
    fs::write(dir.join(config), text)?;
    Ok(Place {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        token: TOKEN.to_string(),
        protocol,
    })
}
