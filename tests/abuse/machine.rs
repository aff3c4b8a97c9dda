//! One process with 128 MiB of memory and 512 descriptors: all attacks in a row, then together. It
//! never ends, and at every moment its owner revokes a device and the probe is answered.
//!
//! The memory is limited by a control group (version 2 or 1), where a process of root may make one
//! below its own; otherwise it is read every 10 ms.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use support::attacks::{Attack, ATTACKS};
use support::gateway::Plan;
use support::SetOnDrop;

use super::site::Site;
use super::{is_long, time_of_one, MEMORY};

const DESCRIPTORS: &str = "--nofile=512:512";

/// Control group with [`MEMORY`]; removed when dropped.
struct MemoryGroup {
    dir: PathBuf,
    version: &'static str,
}

impl MemoryGroup {
    /// Creates a group below the one of this process; `None` where that is not possible.
    fn new() -> Option<MemoryGroup> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = |mark: &str| own.lines().find_map(|line| line.split_once(mark)).map(|of| of.1);
        let name = format!("gatelet-abuse-{}", std::process::id());
        let kinds = [
            ("version 2", "/sys/fs/cgroup", path("0::"), "memory.max"),
            ("version 1", "/sys/fs/cgroup/memory", path(":memory:"), "memory.limit_in_bytes"),
        ];
        kinds.iter().find_map(|&(version, root, own, limit)| {
            let dir = Path::new(root).join(own?.trim_start_matches('/')).join(&name);
            fs::create_dir(&dir).ok()?;
            let group = MemoryGroup { dir, version };
            // the file exists already, if the group has a controller of memory
            group.dir.join(limit).exists().then_some(())?;
            fs::write(group.dir.join(limit), MEMORY.to_string()).ok()?;
            let _ = fs::write(group.dir.join("memory.swap.max"), "0");
            Some(group)
        })
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.dir);
    }
}

/// Starts a gateway within the limits.
fn small(group: Option<&MemoryGroup>) -> Site {
    let limited = ["prlimit", DESCRIPTORS, "--"];
    let Some(group) = group else { return Site::start(Plan::new().prefix(&limited)) };
    let enter = format!("echo $$ >{}/cgroup.procs && exec \"$0\" \"$@\"", group.dir.display());
    Site::start(Plan::new().prefix(&[&["sh", "-c", &enter][..], &limited[..]].concat()))
}

/// Runs attacks; the gateway survives them within its memory.
fn survives(site: &Site, name: &str, attacks: &[Attack], time: Duration) {
    println!("{name}: {}", site.under(attacks, time));
    site.holds_memory(name);
}

/// Fails as soon as the process has more memory than [`MEMORY`].
fn watched(site: &Site, work: impl FnOnce()) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = SetOnDrop(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) && site.is_alive() {
                let now = site.gateway.memory("VmRSS");
                assert!(now <= MEMORY, "{now} B of memory");
                thread::sleep(Duration::from_millis(10));
            }
        });
        work();
    });
}

#[test]
fn a_small_machine_survives_all_attacks_in_a_row_and_together() {
    let group = MemoryGroup::new();
    let kind = group.as_ref().map_or("none: memory is read every 10 ms", |group| group.version);
    println!("control group: {kind}");
    let site = small(group.as_ref());
    let time = time_of_one(2 * ATTACKS.len());
    let time = if is_long() { time } else { time / 2 };
    watched(&site, || {
        ATTACKS.iter().for_each(|(name, attack)| survives(&site, name, &[*attack], time));
        let all = ATTACKS.map(|(_, attack)| attack);
        survives(&site, "all together", &all, time.max(time * ATTACKS.len() as u32 / 4));
    });
    site.gives_back("all attacks");
}
