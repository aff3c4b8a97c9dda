//! Facts about this machine: `device.info` and `device.status`.
//!
//! Read from kernel files (Linux) at each request. A value that cannot be read is omitted; on other
//! systems that is everything except name, system, version and architecture. Field names are those
//! of the phone clients of protocol 4 where they exist there.

use std::path::Path;

use crate::config::{Env, SystemEnv};
use crate::gate::limits;
use crate::server;
use crate::wire::json::{self, Writer};

/// Returns the result of `device.info`. `root` is `/` except in tests.
pub fn info(root: &Path, name: &str) -> Vec<u8> {
    json::object(|o| {
        o.str("deviceName", name);
        o.opt_str("modelIdentifier", model(root).as_deref());
        o.str("systemName", server::family());
        o.opt_str("systemVersion", system_version(root).as_deref());
        o.str("appVersion", env!("CARGO_PKG_VERSION"));
        o.str("architecture", std::env::consts::ARCH);
    })
}

/// Returns the result of `device.status`, with the storage of the file system of `dir`.
pub fn status(root: &Path, dir: &Path) -> Vec<u8> {
    json::object(|o| {
        o.opt_u64("uptimeSeconds", server::number(&text(root, "proc/uptime")));
        load(o, &text(root, "proc/loadavg"));
        memory(o, &text(root, "proc/meminfo"));
        storage(o, dir);
        thermal(o, root);
    })
}

/// Returns the model name of the machine: from the device tree on a Raspberry Pi and similar
/// boards, from the firmware on a PC.
pub fn model(root: &Path) -> Option<String> {
    ["proc/device-tree/model", "sys/class/dmi/id/product_name"].into_iter().find_map(|path| {
        let text = text(root, path);
        let name = text.trim_matches(|char: char| char == '\0' || char.is_whitespace());
        (!name.is_empty()).then(|| crate::gate::text::cut(name, limits::NAME_LEN).to_string())
    })
}

/// Returns the host name, or a default if it is empty.
pub fn name() -> String {
    let name = server::machine_name();
    if name.is_empty() {
        "gatelet node".to_string()
    } else {
        name
    }
}

fn system_version(root: &Path) -> Option<String> {
    let release = text(root, "etc/os-release");
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches(['"', '\'']).to_string())
}

/// Writes the load averages over 1, 5 and 15 minutes.
fn load(o: &mut Writer<'_>, text: &str) {
    if let Some(load) = server::load_average(text) {
        o.raw("loadAverage", load.as_bytes());
    }
}

fn memory(o: &mut Writer<'_>, text: &str) {
    if let Some((total, free)) = server::memory(text) {
        space(o, "memory", total, free);
    }
}

#[cfg(unix)]
fn storage(o: &mut Writer<'_>, dir: &Path) {
    if let Ok(disk) = rustix::fs::statvfs(dir) {
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        space(o, "storage", bytes(disk.f_blocks), bytes(disk.f_bavail));
    }
}

/// Not reported: the standard library has no function for it, and the system call needs unsafe
/// code.
#[cfg(not(unix))]
fn storage(_: &mut Writer<'_>, _: &Path) {}

/// Writes the size of a memory or file system and its free part.
fn space(o: &mut Writer<'_>, name: &str, total: u64, free: u64) {
    o.obj(name, |space| {
        space.u64("totalBytes", total);
        space.u64("freeBytes", free);
        space.u64("usedBytes", total.saturating_sub(free));
    });
}

/// Writes name and temperature of each thermal zone of the kernel.
fn thermal(o: &mut Writer<'_>, root: &Path) {
    let mut zones = Vec::new();
    for number in 0..limits::NODE_ZONES {
        let zone = format!("sys/class/thermal/thermal_zone{number}");
        if let Some(celsius) = celsius(text(root, &format!("{zone}/temp")).trim()) {
            zones.push((text(root, &format!("{zone}/type")), celsius));
        }
    }
    if zones.is_empty() {
        return;
    }
    o.obj("thermal", |thermal| {
        thermal.arr("zones", |list| {
            for (name, celsius) in &zones {
                list.item_obj(|zone| {
                    zone.str("name", name.trim());
                    zone.raw("celsius", celsius.as_bytes());
                });
            }
        });
    });
}

/// Converts millidegrees to degrees with one decimal place, as JSON.
fn celsius(thousandths: &str) -> Option<String> {
    let (sign, digits) =
        thousandths.strip_prefix('-').map_or(("", thousandths), |digits| ("-", digits));
    let value: u32 = digits.parse().ok()?;
    Some(format!("{sign}{}.{}", value / 1000, value % 1000 / 100))
}

/// Returns the content of a small file; empty if it cannot be read.
fn text(root: &Path, path: &str) -> String {
    let bytes = SystemEnv.read(&root.join(path), limits::NODE_ALLOW_LEN).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Creates a file system root with these files.
    fn machine(name: &str, files: &[(&str, &str)]) -> std::path::PathBuf {
        let root =
            std::env::temp_dir().join(format!("gatelet-facts-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn json(bytes: Vec<u8>) -> serde_json::Value {
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn facts_are_read_from_kernel_files() {
        let root = machine(
            "pi",
            &[
                ("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0"),
                ("etc/os-release", "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
                ("proc/uptime", "350735.47 234388.90\n"),
                ("proc/loadavg", "0.20 0.18 1.12 1/80 11206\n"),
                (
                    "proc/meminfo",
                    "MemTotal:        3884360 kB\nMemFree: 1 kB\nMemAvailable:    3141004 kB\n",
                ),
                ("sys/class/thermal/thermal_zone0/temp", "54321\n"),
                ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
                ("sys/class/thermal/thermal_zone3/temp", "-1250\n"),
                ("sys/class/thermal/thermal_zone4/temp", "no\n"),
            ],
        );
        let info = json(info(&root, "kitchen"));
        assert_eq!(info["modelIdentifier"], "Raspberry Pi 4 Model B Rev 1.4");
        assert_eq!(info["systemVersion"], "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(
            (&info["deviceName"], &info["appVersion"]),
            (&"kitchen".into(), &env!("CARGO_PKG_VERSION").into())
        );
        let status = json(status(&root, &root));
        assert_eq!(status["uptimeSeconds"], 350_735);
        assert_eq!(status["loadAverage"], serde_json::json!([0.20, 0.18, 1.12]));
        let memory = serde_json::json!({ "totalBytes": 3_977_584_640_u64, "freeBytes": 3_216_388_096_u64, "usedBytes": 761_196_544 });
        assert_eq!(status["memory"], memory);
        let zones = serde_json::json!([{ "name": "cpu-thermal", "celsius": 54.3 }, { "name": "", "celsius": -1.2 }]);
        assert_eq!(status["thermal"]["zones"], zones);
        #[cfg(unix)]
        assert!(
            status["storage"]["totalBytes"].as_u64().unwrap()
                >= status["storage"]["freeBytes"].as_u64().unwrap()
        );
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn unavailable_facts_are_omitted() {
        let root = machine(
            "bare",
            &[("proc/loadavg", "a b c"), ("proc/meminfo", "MemTotal: 5 kB\n"), ("proc/uptime", "")],
        );
        let status = json(status(&root, Path::new("/no/such/place")));
        for absent in ["uptimeSeconds", "loadAverage", "memory", "thermal", "storage"] {
            assert!(status.get(absent).is_none(), "{absent}: {status}");
        }
        let info = json(info(&root, "x"));
        assert!(
            info.get("modelIdentifier").is_none() && info.get("systemVersion").is_none(),
            "{info}"
        );
        fs::remove_dir_all(root).unwrap();
    }
}
