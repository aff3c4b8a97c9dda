//! Disks that are full, read-only or broken, and a state directory that disappears under the
//! running gateway.
//!
//! Each test mounts its disks in a mount namespace of its own, so nothing remains afterwards. That
//! takes root and, for the broken disk, loop devices.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{json, Value};
use support::client::{Device, Dial, Refused, Session, Who};
use support::gateway::{paired, Gateway, Plan, TOKEN};
use support::program::Program;
use support::runner::until;

const INSIDE: &str = "GATELET_TEST_MOUNTS";

/// Returns whether this test runs inside a mount namespace of its own. If not, runs it again in one
/// and asserts that it passed.
fn in_own_mounts(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    // the parent of the tests' directories is new too, so that no directory remains below a mount
    let script = "mount -t tmpfs tmpfs /dev/shm && exec \"$0\" --exact \"$1\" --nocapture";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--", "sh", "-c", script]);
    let output = command.arg(std::env::current_exe().unwrap()).arg(test).env(INSIDE, "1").output();
    let output = output
        .unwrap_or_else(|error| panic!("cannot run unshare: {error}; install Debian's util-linux"));
    let told = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    let passed = output.status.success() && told.contains("1 passed");
    assert!(passed, "{test}, which needs root to mount disks of its own:\n{told}");
    false
}

fn run(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {}: {error}", words[0]));
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Returns a plan with a small table, and a disk of `kib` KiB for its state directory.
fn on_a_small_disk(kib: usize) -> Plan {
    let plan = Plan::with(json!({ "pairing": { "capacity": 32 } }));
    mount_memory(&plan.dir(), kib);
    plan
}

fn mount_memory(dir: &Path, kib: usize) {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).unwrap();
    run(&["mount", "-t", "tmpfs", "-o", &format!("size={kib}k,mode=700"), "tmpfs", text(dir)]);
}

/// Fills all free space below `dir`; frees it when dropped.
struct Ballast(PathBuf);

impl Ballast {
    fn fill(dir: &Path) -> Ballast {
        let ballast = Ballast(dir.join("ballast"));
        let mut file = File::create(&ballast.0).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        let error = file.write(&[1]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
        ballast
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Starts a gateway that may fail to become ready or to write its address file; returns it and its
/// address from the log.
fn started(plan: &Plan) -> (Program, Dial) {
    let program = Program::start(plan.command(&["run", "--port", "0"]));
    let line = program.complained(&[" listening on 127.0.0.1:"]);
    let port: u16 =
        line.split("127.0.0.1:").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    (program, Dial::to(([127, 0, 0, 1], port).into()))
}

/// Returns name and contents of all files below `dir`, except for the ballast.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().unwrap().is_file());
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    named
        .filter(|(name, _)| name != "ballast")
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect()
}

#[test]
fn full_disk_does_not_stop_pairing_because_the_table_is_preallocated() {
    if !in_own_mounts("disks::full_disk_does_not_stop_pairing_because_the_table_is_preallocated") {
        return;
    }
    let gateway = on_a_small_disk(256).start();
    let mut devices = vec![gateway.join(&Who::v4()).0];
    let _full = Ballast::fill(&gateway.plan.dir());
    let made = gateway.code("full");
    devices.push(gateway.join(&Who::v4()).0);
    devices.push(Device::new());
    gateway.connect(&Who::v4().code(&made).device(&devices[2])).expect("by a code");
    assert!(gateway.dial().is_ready());
    // killed, and stopped: then not even the space of the address file is reserved
    let plan = gateway.kill();
    for plan in [plan.clone(), plan.start().stop()] {
        let _fuller = fs::File::create(plan.dir().join("ballast2"))
            .and_then(|mut file| file.write_all(&[1; 1 << 20]));
        let (program, dial) = started(&plan);
        for device in &devices {
            dial.connect(&Who::v4().device(device)).expect("a known device").leave();
        }
        program.complained(&["warn", "gateway.addr", "which commands need", "No space left"]);
        devices.push(Device::new());
        dial.connect(&Who::v4().token(TOKEN).device(devices.last().unwrap())).unwrap().token();
        fs::remove_file(plan.dir().join("ballast2")).unwrap();
    }
}

#[test]
fn first_start_on_a_full_disk_fails_and_leaves_no_files() {
    if !in_own_mounts("disks::first_start_on_a_full_disk_fails_and_leaves_no_files") {
        return;
    }
    // no space at all, space for a part of the table, for the table and nothing else
    for kib in [0, 40, 72] {
        let plan = on_a_small_disk(256);
        let full = Ballast::fill(&plan.dir());
        let size = fs::metadata(&full.0).unwrap().len();
        File::options().write(true).open(&full.0).unwrap().set_len(size - kib * 1024).unwrap();
        let (status, said) =
            plan.clone().try_start().err().unwrap_or_else(|| panic!("it starts in {kib} KiB"));
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(
            said.contains("No space left on device") && said.contains(text(&plan.dir())),
            "{said}"
        );
        drop(full);
        plan.start().join(&Who::v4());
    }
}

#[test]
fn full_disk_keeps_the_configuration_intact_and_the_log_resumes() {
    if !in_own_mounts("disks::full_disk_keeps_the_configuration_intact_and_the_log_resumes") {
        return;
    }
    let mut plan = on_a_small_disk(256);
    let (config, log) = (plan.dir().join("gatelet.json"), plan.dir().join("gateway.log"));
    let old = json!({ "gateway": { "auth": { "mode": "token", "token": TOKEN }, "pairing": { "capacity": 32 } } });
    fs::write(&config, old.to_string()).unwrap();
    run(&["chmod", "600", text(&config)]);
    plan.args = ["--config", text(&config), "--log-file", text(&log)].map(String::from).into();
    let gateway = plan.start();
    let mut admin = gateway.admin();
    let full = Ballast::fill(&gateway.plan.dir());
    let before = files(&gateway.plan.dir());
    for method in ["config.set", "config.patch", "config.apply"] {
        let failed = change(&mut admin, method).unwrap_err();
        assert!(
            failed.contains("No space left") && failed.contains("it was not changed"),
            "{method}: {failed}"
        );
    }
    for _ in 0..200 {
        gateway.connect(&Who::v4().token("wrong")).unwrap_err();
    }
    let mut after = files(&gateway.plan.dir());
    let logged = after.insert("gateway.log".into(), before["gateway.log"].clone()).unwrap();
    assert!(after == before, "{:?}", after.keys());
    assert!(logged.len() < 64 * 1024, "the log file cannot grow: {}", logged.len());
    drop(full);
    change(&mut admin, "config.patch").unwrap();
    assert!(fs::read_to_string(&config).unwrap().contains("https://a.example"));
    gateway.join(&Who::v4());
    until(
        || fs::read_to_string(&log).unwrap().contains("rule=\"7.3"),
        || "the log stays as it was".into(),
    );
}

fn change(admin: &mut Session, method: &str) -> Result<Value, String> {
    let seen = admin.call("config.get", json!({})).unwrap();
    let raw = match method {
        "config.patch" => {
            r#"{"gateway":{"controlUi":{"allowedOrigins":["https://a.example"]}}}"#.to_string()
        }
        _ => {
            let with = r#""controlUi":{"allowedOrigins":["https://a.example"]},"pairing":"#;
            seen["raw"].as_str().unwrap().replace("\"pairing\":", with)
        }
    };
    let params = json!({ "raw": raw, "baseHash": seen["hash"] });
    admin.call(method, params).map_err(|failed| failed.message().to_string())
}

#[test]
fn read_only_disk_is_reported_at_start_and_unchanged() {
    if !in_own_mounts("disks::read_only_disk_is_reported_at_start_and_unchanged") {
        return;
    }
    let gateway = on_a_small_disk(256).start();
    let device = gateway.join(&Who::v4()).0;
    let plan = gateway.stop();
    let before = files(&plan.dir());
    run(&["mount", "-o", "remount,ro", text(&plan.dir())]);
    let (status, said) = plan.clone().try_start().err().expect("it starts");
    assert!(status.code() == Some(1) && said.contains("Read-only file system"), "{said}");
    assert!(said.contains(text(&plan.dir())), "{said}");
    assert!(files(&plan.dir()) == before);
    run(&["mount", "-o", "remount,rw", text(&plan.dir())]);
    plan.start().connect(&Who::v4().device(&device)).unwrap();
}

/// Disk that fails: a file system on a loop device, over a sparse file larger than the free space
/// below it.
struct Thin {
    below: PathBuf,
    image: PathBuf,
}

/// Size of that file in bytes.
const IMAGE: usize = 16 << 20;

impl Thin {
    fn mount(dir: &Path, kind: &[&str], options: &str) -> Thin {
        let below = dir.parent().unwrap().join("below");
        mount_memory(&below, 8 * 1024);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).unwrap();
        let image = below.join("image");
        File::create(&image).unwrap().set_len(IMAGE as u64).unwrap();
        run(&[&["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard"], kind, &[text(&image)]]
            .concat());
        run(&["mount", "-o", &format!("loop,{options}"), text(&image), text(dir)]);
        Thin { below, image }
    }

    /// Makes writes to this file fail from now on: frees its blocks below and fills the space.
    fn fail(&self, file: &Path) -> Ballast {
        run(&["sync", "-f", text(file)]);
        let (bytes, image) = (fs::read(file).unwrap(), fs::read(&self.image).unwrap());
        let at = (0..image.len()).step_by(1024).find(|at| image[*at..].starts_with(&bytes));
        self.fail_at(at.expect("the file is contiguous on the disk"), bytes.len())
    }

    fn fail_at(&self, offset: usize, len: usize) -> Ballast {
        let (offset, len) = (offset.to_string(), len.to_string());
        run(&[
            "fallocate",
            "--punch-hole",
            "--offset",
            &offset,
            "--length",
            &len,
            text(&self.image),
        ]);
        Ballast::fill(&self.below)
    }
}

fn unavailable(refused: &Refused) {
    assert_eq!(
        (refused.code(), refused.rule(), refused.close),
        ("TABLE_UNAVAILABLE", "8", 1013),
        "{refused:?}"
    );
    assert_eq!(
        (&refused.error["retryable"], &refused.error["retryAfterMs"]),
        (&json!(true), &json!(5000))
    );
    assert!(refused.hint().contains("disk"), "{}", refused.hint());
}

/// Checks the answers of a gateway whose table cannot be written: it acknowledges nothing and
/// closes no connection. `known` is a paired device.
fn promises_nothing(gateway: &Gateway, known: &Device) -> String {
    let made = gateway.code("full");
    unavailable(&gateway.connect(&Who::v4().code(&made).device(&Device::new())).unwrap_err());
    let by_token = Device::new();
    let session =
        gateway.connect(&Who::v4().token(TOKEN).device(&by_token)).expect("for this connection");
    assert!(session.hello["auth"].get("deviceToken").is_none(), "{}", session.hello["auth"]);
    let mut admin = gateway.admin();
    let failed = admin.call("device.pair.remove", json!({ "deviceId": known.id })).unwrap_err();
    assert_eq!(failed.code(), "UNAVAILABLE", "{failed:?}");
    assert!(paired(&mut admin, &known.id).is_some() && paired(&mut admin, &by_token.id).is_none());
    gateway.connect(&Who::v4().device(known)).expect("a known device").leave();
    assert!(gateway
        .dial()
        .get("/readyz")
        .contains(r#"{"ready":false,"failing":["pairing-table"]}"#));
    assert!(gateway.dial().get("/healthz").starts_with("HTTP/1.1 200 "));
    made
}

#[test]
fn failed_writeback_is_not_acknowledged_and_recovers_without_a_restart() {
    if !in_own_mounts("disks::failed_writeback_is_not_acknowledged_and_recovers_without_a_restart")
    {
        return;
    }
    let plan = Plan::with(json!({ "pairing": { "capacity": 32 } }));
    let disk = Thin::mount(&plan.dir(), &["-O", "^has_journal"], "errors=continue");
    let gateway = plan.start();
    let known = gateway.join(&Who::v4()).0;
    let broken = disk.fail(&gateway.plan.dir().join("pairing.table"));
    let made = promises_nothing(&gateway, &known);
    gateway.logged(&["error", "pairing table", "(os error "]);
    drop(broken);
    let (by_code, by_token) = (Device::new(), gateway.join(&Who::v4()).0);
    gateway
        .connect(&Who::v4().code(&made).device(&by_code))
        .expect("the code was not used up")
        .token();
    assert!(gateway.dial().is_ready());
    let gateway = gateway.kill().start();
    for device in [&known, &by_code, &by_token] {
        gateway.connect(&Who::v4().device(device)).expect("it is durable");
    }
    drop(gateway);
}

#[test]
fn writes_to_a_disk_remounted_read_only_are_not_acknowledged() {
    if !in_own_mounts("disks::writes_to_a_disk_remounted_read_only_are_not_acknowledged") {
        return;
    }
    let plan = Plan::with(json!({ "pairing": { "capacity": 32 } }));
    let disk = Thin::mount(&plan.dir(), &[], "errors=remount-ro");
    let gateway = plan.start();
    let known = gateway.join(&Who::v4()).0;
    // the kernel itself remounts read-only when the journal fails; it refuses to while files are
    // open for writing
    run(&["sync", "-f", text(&gateway.plan.dir())]);
    let _broken = disk.fail_at(0, IMAGE);
    let _ = File::create(gateway.plan.dir().join("anything")).map(|file| file.sync_all());
    let read_only =
        || File::create(gateway.plan.dir().join("more")).err().map(|error| error.kind());
    until(
        || read_only() == Some(std::io::ErrorKind::ReadOnlyFilesystem),
        || format!("{:?}", read_only()),
    );
    promises_nothing(&gateway, &known);
    gateway.logged(&["error", "pairing table", "(os error "]);
}

#[test]
fn writes_without_the_state_directory_are_not_acknowledged() {
    for replaced in [false, true] {
        let gateway = Plan::with(json!({ "pairing": { "capacity": 32 } })).start();
        let (known, dir) = (gateway.join(&Who::v4()).0, gateway.plan.dir());
        let kept = dir.with_extension("kept");
        run(&["cp", "-a", text(&dir), text(&kept)]);
        fs::remove_dir_all(&dir).unwrap();
        if replaced {
            run(&["cp", "-a", text(&kept), text(&dir)]);
        }
        promises_nothing(&gateway, &known);
        gateway.logged(&["error", "pairing table", "the file was removed", "restart"]);
        let plan = gateway.kill();
        let _ = fs::remove_dir_all(&dir);
        fs::rename(&kept, &dir).unwrap();
        let gateway = plan.start();
        gateway.connect(&Who::v4().device(&known)).unwrap();
        gateway.join(&Who::v4());
    }
}
