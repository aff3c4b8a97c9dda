//! What the machine is called, how it is, and how a person runs `gatelet` on it.

use std::path::Path;

use crate::rpc::Machine;

/// The machine's host name; empty if it cannot be found out.
pub fn machine_name() -> String {
    let name = kernel("/proc/sys/kernel/hostname");
    let name = name.or_else(|| std::env::var("COMPUTERNAME").ok()).or_else(|| std::env::var("HOSTNAME").ok());
    name.map(|name| name.trim().to_string()).unwrap_or_default()
}

/// What a file of the kernel's says, if there is one.
pub fn kernel(path: &str) -> Option<String> {
    // on Windows that path would be below the root of some drive
    if cfg!(windows) {
        None
    } else {
        std::fs::read_to_string(path).ok()
    }
}

/// The system as the protocol calls families of devices.
pub fn family() -> &'static str {
    match std::env::consts::OS {
        "linux" => "Linux",
        "windows" => "Windows",
        "macos" => "Mac",
        other => other,
    }
}

/// How the machine is now. Reads some files of the kernel's, which wait for no disk; what they do not say is zero or empty.
pub fn measure() -> Machine {
    let text = |path: &str| kernel(path).unwrap_or_default();
    // `0-3`, or `0` alone
    let last = text("/sys/devices/system/cpu/present");
    Machine {
        family: family(),
        release: text("/proc/sys/kernel/osrelease").trim().to_string(),
        processors: last.trim().rsplit(['-', ',']).next().and_then(number).map_or(1, |last| last.saturating_add(1)),
        load: load_average(&text("/proc/loadavg")),
        memory: memory(&text("/proc/meminfo")).unwrap_or_default(),
    }
}

/// Of 1, 5 and 15 minutes, as a JSON array.
pub fn load_average(text: &str) -> Option<String> {
    let mut words = text.split(' ').take_while(|word| is_decimal(word));
    let (one, five, fifteen) = (words.next()?, words.next()?, words.next()?);
    Some(["[", one, ",", five, ",", fifteen, "]"].concat())
}

/// All and free, in bytes.
pub fn memory(text: &str) -> Option<(u64, u64)> {
    Some((bytes(text, "MemTotal:")?, bytes(text, "MemAvailable:")?))
}

/// The bytes of a line that begins with that name and tells KiB.
pub fn bytes(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| number(line.strip_prefix(name)?)).map(|kib| kib.saturating_mul(1024))
}

/// The whole number that the text begins with, behind blanks.
pub fn number(text: &str) -> Option<u64> {
    let text = text.trim_start();
    text[..text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len())].parse().ok()
}

/// Digits, a point, digits: a JSON number as the kernel writes it.
fn is_decimal(word: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    word.split_once('.').is_some_and(|(whole, rest)| digits(whole) && digits(rest))
}

/// How a person runs `gatelet` against this gateway.
#[cfg(windows)]
pub fn command() -> String {
    // PowerShell runs nothing from the folder it is in unless told so
    let folder = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
    let here = folder.is_some() && folder == std::env::current_dir().ok();
    if here { ".\\gatelet.exe" } else { "gatelet" }.to_string()
}

/// How a person runs `gatelet` against this gateway.
#[cfg(not(windows))]
pub fn command() -> String {
    let engine = [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")];
    match engine.into_iter().find(|(mark, _)| Path::new(mark).exists()) {
        Some((_, engine)) => {
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            let name = container_id(&mounts).map_or_else(machine_name, str::to_string);
            format!("{engine} exec {name} /gatelet")
        }
        None => "gatelet".to_string(),
    }
}

/// The start of this container's id, which the engine takes where the host name was chosen or is the host's: from the files of
/// its own that the engine mounts here (Docker: `containers/ID/hostname`, Podman: `overlay-containers/ID/userdata/hostname`).
#[cfg(any(not(windows), test))]
fn container_id(mounts: &str) -> Option<&str> {
    let ids = mounts.split("containers/").skip(1).filter_map(|rest| rest.split_once('/'));
    let mut ids = ids.filter(|(id, _)| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    ids.next().map(|(id, _)| &id[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_knows_its_id_from_what_the_engine_mounts() {
        let id = "0123456789ab".to_string() + &"cd".repeat(26);
        let docker = format!(
            "602 551 0:45 / / rw - overlay overlay rw,upperdir=/var/lib/docker/overlay2/{0}/diff\n\
             609 602 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n",
            "ef".repeat(32)
        );
        assert_eq!(container_id(&docker), Some(&id[..12]));
        let podman = format!("9 2 0:4 /user/containers/overlay-containers/{id}/userdata/hostname /etc/hostname rw\n");
        assert_eq!(container_id(&podman), Some(&id[..12]));
        assert_eq!(container_id("9 2 8:1 /srv/containers/web/data /data rw\n"), None);
        assert_eq!(container_id(""), None);
    }
}
