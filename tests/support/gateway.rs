//! A gateway under test: the binary (chosen by runner.rs) as a separate process with its own state
//! directory and any free port.

use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::client::{retry, Device, Dial, Refused, Session, Who};
use crate::runner::{self, at_most, patience, wait_for};
use crate::temp_dir::TempDir;

/// Token of every gateway under test.
pub const TOKEN: &str = "the-right-token-of-the-gateway-under-test";

/// Configuration and command line with which to start a gateway.
#[derive(Clone)]
pub struct Plan {
    /// The `gateway` section of the configuration.
    pub config: Value,
    pub args: Vec<String>,
    /// Command that runs the binary, before the runner of the environment.
    pub prefix: Vec<String>,
    dir: Arc<TempDir>,
}

/// Running gateway; killed when dropped.
pub struct Gateway {
    pub plan: Plan,
    child: Child,
    pub port: u16,
    log: Arc<Mutex<String>>,
    readers: Vec<thread::JoinHandle<()>>,
}

impl Plan {
    /// Token mode, on loopback.
    pub fn new() -> Plan {
        Plan::with(json!({}))
    }

    /// Returns a plan with this section, and with [`TOKEN`] unless it contains `auth`.
    pub fn with(mut config: Value) -> Plan {
        if config.get("auth").is_none() {
            config["auth"] = json!({ "mode": "token", "token": TOKEN });
        }
        Plan { config, args: Vec::new(), prefix: Vec::new(), dir: Arc::new(TempDir::new()) }
    }

    /// Places the files on this machine's disk, where a sync takes time.
    pub fn on_disk(self) -> Plan {
        Plan { dir: Arc::new(TempDir::on_disk()), ..self }
    }

    pub fn prefix(mut self, words: &[&str]) -> Plan {
        self.prefix = words.iter().map(|word| word.to_string()).collect();
        self
    }

    /// Makes the gateway log each admission, and everything else at the level `debug`.
    pub fn talkative(self) -> Plan {
        self.prefix(&["env", "GATELET_LOG=debug"])
    }

    /// Returns the state directory.
    pub fn dir(&self) -> PathBuf {
        self.dir.0.join("state")
    }

    /// Returns the token of the command line of this machine, whose changes are not limited. The
    /// gateway must have been started once.
    pub fn control_token(&self) -> String {
        let key = gatelet::store::key_at(&self.dir()).expect("the key of the table");
        gatelet::store::tokens::control_token(&key).as_str().to_string()
    }

    /// Returns a command that runs a subcommand on this plan's directories, in a clean environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let config = self.dir.0.join("gatelet.json");
        std::fs::write(&config, json!({ "gateway": self.config }).to_string()).unwrap();
        std::fs::set_permissions(&config, PermissionsExt::from_mode(0o600)).unwrap();
        let mut command = runner::command(&self.prefix, args);
        command.env("HOME", &self.dir.0);
        command
            .env("GATELET_STATE_DIR", runner::path(&self.dir()))
            .env("GATELET_CONFIG", runner::path(&config));
        // the test machine may be a container, where the default bind is every interface
        if self.config.get("bind").is_none() {
            command.env("GATELET_BIND", "loopback");
        }
        command
    }

    /// Runs a subcommand; returns its exit code, negative after a signal, and its output.
    pub fn run(&self, args: &[&str]) -> (i32, String) {
        let output =
            self.command(args).output().unwrap_or_else(|error| panic!("{args:?}: {error}"));
        let said = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .concat();
        (output.status.code().unwrap_or(-1), said)
    }

    /// Runs a subcommand that must succeed and returns its output.
    pub fn good(&self, args: &[&str]) -> String {
        let (code, said) = self.run(args);
        assert_eq!(code, 0, "gatelet {args:?}: {said}");
        said
    }

    /// Starts the gateway and waits until it is ready.
    pub fn start(self) -> Gateway {
        match self.try_start() {
            Ok(gateway) => gateway,
            Err((status, log)) => panic!("the gateway did not start ({status}):\n{log}"),
        }
    }

    /// Starts the gateway; error with exit status and output if it exits before it is ready.
    pub fn try_start(self) -> Result<Gateway, (ExitStatus, String)> {
        let address = self.dir().join("gateway.addr");
        let _ = std::fs::remove_file(&address);
        let extra = self.args.clone();
        let mut args = vec!["run", "--port", "0"];
        args.extend(extra.iter().map(String::as_str));
        let mut child = self.command(&args).spawn().expect("spawn the gateway");
        let log = Arc::new(Mutex::new(String::new()));
        let readers = vec![
            collect(child.stdout.take().unwrap(), &log),
            collect(child.stderr.take().unwrap(), &log),
        ];
        let mut gateway = Gateway { plan: self, child, port: 0, log, readers };
        let begun = Instant::now();
        loop {
            if let Some(status) = gateway.child.try_wait().unwrap() {
                gateway.readers.drain(..).for_each(|reader| reader.join().unwrap());
                return Err((status, gateway.log()));
            }
            gateway.port = port_of(&address).unwrap_or(0);
            if gateway.port != 0 && gateway.dial().is_ready() {
                return Ok(gateway);
            }
            assert!(
                begun.elapsed() < patience(),
                "not ready in {:?}:\n{}",
                patience(),
                gateway.log()
            );
            thread::sleep(Duration::from_millis(3));
        }
    }
}

fn port_of(address: &Path) -> Option<u16> {
    let text = std::fs::read_to_string(address).ok()?;
    text.trim_end().rsplit(':').next()?.parse().ok().filter(|_| text.ends_with('\n'))
}

/// Returns the first line that contains all these parts.
pub fn line_with(text: &str, parts: &[&str]) -> Option<String> {
    text.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_string)
}

/// Reads the stream to its end, into `log`.
pub fn collect(
    mut stream: impl Read + Send + 'static,
    log: &Arc<Mutex<String>>,
) -> thread::JoinHandle<()> {
    let log = log.clone();
    thread::spawn(move || {
        let mut part = [0; 4096];
        while let Ok(count @ 1..) = retry(|| stream.read(&mut part)) {
            log.lock().unwrap().push_str(&String::from_utf8_lossy(&part[..count]));
        }
    })
}

impl Gateway {
    /// Token mode, on loopback.
    pub fn new() -> Gateway {
        Plan::new().start()
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub fn dial(&self) -> Dial {
        Dial::to(self.address())
    }

    pub fn connect(&self, who: &Who) -> Result<Session, Refused> {
        self.dial().connect(who)
    }

    /// Connects as an administrator without a device.
    pub fn admin(&self) -> Session {
        self.connect(&Who::v4().token(TOKEN)).unwrap()
    }

    /// Returns a new setup code of this profile.
    pub fn code(&self, profile: &str) -> String {
        code(&mut self.admin(), profile)
    }

    /// Returns a new setup code for an operator with these scopes, made by the command line.
    pub fn narrow_code(&self, scopes: &str) -> String {
        let made: Value =
            serde_json::from_str(&self.plan.good(&["pair", "--scopes", scopes, "--json"])).unwrap();
        made["code"].as_str().unwrap().to_string()
    }

    /// Connects an operator without a device.
    pub fn operator(&self, protocol: u32, scopes: &[&str]) -> Session {
        self.connect(&Who::of(protocol).token(TOKEN).scopes(scopes)).unwrap()
    }

    /// Pairs a new device with the token.
    pub fn join(&self, who: &Who) -> (Device, Session) {
        let device = Device::new();
        let session = self.connect(&who.clone().token(TOKEN).device(&device)).unwrap();
        (device, session)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns a memory figure of `/proc/PID/status`, such as `VmRSS`, in bytes.
    pub fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let line = line.unwrap_or_else(|| panic!("no {field} in {status}"));
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Returns the number of open file descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Returns the log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a line of the log that contains all these parts.
    pub fn logged(&self, parts: &[&str]) -> String {
        let limit = at_most(Duration::from_secs(5));
        let why = || format!("no line with {parts:?} in:\n{}", self.log());
        wait_for(limit, || line_with(&self.log(), parts), why)
    }

    /// Requests a stop without waiting: with SIGTERM as systemd does, or under wine with SIGINT,
    /// which becomes Ctrl-C.
    pub fn terminate(&self) {
        self.signal(if runner::windows() { "INT" } else { "TERM" });
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let words = ["-c", "kill -\"$0\" \"$1\"", name, &self.pid().to_string()];
        assert!(Command::new("sh").args(words).status().unwrap().success());
    }

    /// Stops the gateway, waits for its exit, and returns its plan.
    pub fn stop(mut self) -> Plan {
        self.terminate();
        let log = self.log.clone();
        let why = || format!("it does not stop:\n{}", log.lock().unwrap());
        let status = wait_for(patience(), || self.child.try_wait().unwrap(), why);
        if runner::windows() && status.signal() == Some(11) {
            // about one in some hundred interrupted programs crashes inside wine after its own
            // exit, before the thread of the interrupt
            self.logged(&["info stopped"]);
        } else {
            assert!(status.success(), "stopped with {status}:\n{}", self.log());
        }
        assert!(!self.plan.dir().join("gateway.addr").exists(), "the address file is gone");
        self.plan.clone()
    }

    /// Kills the process and returns its plan.
    pub fn kill(mut self) -> Plan {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9));
        self.plan.clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- log of the gateway on port {}\n{}---", self.port, self.log());
        }
    }
}

/// Returns a new setup code of this profile.
pub fn code(admin: &mut Session, profile: &str) -> String {
    let made = admin.call("device.pair.setupCode", json!({ "bootstrapProfile": profile })).unwrap();
    made["code"].as_str().unwrap().to_string()
}

/// Returns the device's record in `device.pair.list`.
pub fn paired(admin: &mut Session, id: &str) -> Option<Value> {
    let list = admin.call("device.pair.list", json!({})).unwrap();
    list["paired"].as_array().unwrap().iter().find(|device| device["deviceId"] == id).cloned()
}

/// Returns the device's pending request in `device.pair.list`.
pub fn pending(admin: &mut Session, id: &str) -> Option<Value> {
    let list = admin.call("device.pair.list", json!({})).unwrap();
    list["pending"].as_array().unwrap().iter().find(|device| device["deviceId"] == id).cloned()
}

/// Addresses of `lo` in a test's own network namespace, for clients and for the gateway.
const ADDRESSES: [&str; 6] =
    ["172.18.0.1", "172.18.0.2", "192.168.1.20", "192.168.1.5", "100.64.1.2", "100.64.1.1"];
const INSIDE: &str = "GATELET_TEST_NAMESPACE";

/// Returns whether this test runs inside the network namespace it needs. If not, runs it again
/// there, where `lo` has [`ADDRESSES`] and no other network is reachable, and asserts that it
/// passed and printed `said`. Fails where namespaces are not available, and under wine, whose
/// server creates the sockets and stays outside.
pub fn in_a_namespace(test: &str, said: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let add: String =
        ADDRESSES.iter().map(|address| format!("ip addr add {address}/32 dev lo && ")).collect();
    let script = format!("ip link set lo up && {add} exec \"$0\" --exact {test} --nocapture");
    let as_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    let mut command = Command::new("unshare");
    command.arg(if as_root { "-n" } else { "-rn" }).args(["--", "sh", "-c", &script]);
    command.arg(std::env::current_exe().unwrap()).env(INSIDE, "1");
    let run = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run unshare: {error}; install Debian's util-linux"));
    let output =
        [run.stdout, run.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(
        run.status.success() && output.contains(said),
        "{test} needs `unshare` (Debian: util-linux), `ip` (Debian: iproute2) and the right to make a network namespace:\n{output}"
    );
    print!("{output}");
    false
}
