//! Name, measurements and `gatelet` command of the machine.

use std::path::Path;

use crate::rpc::Machine;

/// Returns the machine's host name; empty if it cannot be determined.
pub fn machine_name() -> String {
    let name = kernel("/proc/sys/kernel/hostname");
    let name = name
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .or_else(|| std::env::var("HOSTNAME").ok());
    name.map(|name| name.trim().to_string()).unwrap_or_default()
}

/// Reads a file of the kernel, such as in `/proc`; `None` if it does not exist.
pub fn kernel(path: &str) -> Option<String> {
    // on Windows the path would be below the root of a drive
    if cfg!(windows) {
        None
    } else {
        std::fs::read_to_string(path).ok()
    }
}

/// Returns the name of the operating system as the protocol names device families.
pub fn family() -> &'static str {
    match std::env::consts::OS {
        "linux" => "Linux",
        "windows" => "Windows",
        "macos" => "Mac",
        other => other,
    }
}

/// Measures the machine. Reads some files of the kernel, which do not wait for a disk. Values that
/// are not available are zero or empty, and the number of processors is then 1.
pub fn measure() -> Machine {
    let text = |path: &str| kernel(path).unwrap_or_default();
    // `0-3`, or `0` for a single processor
    let last = text("/sys/devices/system/cpu/present");
    let (memory_total, memory_free) = memory(&text("/proc/meminfo")).unwrap_or_default();
    Machine {
        family: family(),
        release: text("/proc/sys/kernel/osrelease").trim().to_string(),
        processors: last
            .trim()
            .rsplit(['-', ','])
            .next()
            .and_then(number)
            .map_or(1, |last| last.saturating_add(1)),
        load: load_average(&text("/proc/loadavg")),
        memory_total,
        memory_free,
    }
}

/// Returns the load averages of 1, 5 and 15 minutes as a JSON array, from the text of
/// `/proc/loadavg`.
pub fn load_average(text: &str) -> Option<String> {
    let mut words = text.split(' ').take_while(|word| is_decimal(word));
    let (one, five, fifteen) = (words.next()?, words.next()?, words.next()?);
    Some(format!("[{one},{five},{fifteen}]"))
}

/// Returns total and available memory in bytes, from the text of `/proc/meminfo`.
pub fn memory(text: &str) -> Option<(u64, u64)> {
    Some((bytes(text, "MemTotal:")?, bytes(text, "MemAvailable:")?))
}

/// Returns, in bytes, the value in KiB of the line that begins with `name`.
pub fn bytes(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| number(line.strip_prefix(name)?))
        .map(|kib| kib.saturating_mul(1024))
}

/// Returns the whole number at the start of the text, after blanks.
pub fn number(text: &str) -> Option<u64> {
    let text = text.trim_start();
    text[..text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len())].parse().ok()
}

/// Returns whether the word is a decimal number with digits on both sides of the point, as the
/// kernel writes it. Such a number is valid JSON.
fn is_decimal(word: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    word.split_once('.').is_some_and(|(whole, rest)| digits(whole) && digits(rest))
}

/// Returns the command with which a person runs `gatelet` against this gateway.
#[cfg(windows)]
pub fn command() -> String {
    // PowerShell runs a program in the current directory only with a path
    let folder = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
    let here = folder.is_some() && folder == std::env::current_dir().ok();
    if here { ".\\gatelet.exe" } else { "gatelet" }.to_string()
}

/// Returns the command with which a person runs `gatelet` against this gateway.
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

/// Returns the first 12 digits of this container's id, which the engine accepts as a name even if
/// the host name was set or is that of the host. It is taken from the paths of files that the
/// engine mounts (Docker: `containers/ID/hostname`, Podman:
/// `overlay-containers/ID/userdata/hostname`).
#[cfg(any(not(windows), test))]
fn container_id(mounts: &str) -> Option<&str> {
    let ids = mounts.split("containers/").skip(1).filter_map(|rest| rest.split_once('/'));
    let mut ids =
        ids.filter(|(id, _)| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    ids.next().map(|(id, _)| &id[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_id_is_read_from_the_mounts() {
        let id = "0123456789ab".to_string() + &"cd".repeat(26);
        let docker = format!(
            "602 551 0:45 / / rw - overlay overlay rw,upperdir=/var/lib/docker/overlay2/{0}/diff\n\
             609 602 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n",
            "ef".repeat(32)
        );
        assert_eq!(container_id(&docker), Some(&id[..12]));
        let podman = format!(
            "9 2 0:4 /user/containers/overlay-containers/{id}/userdata/hostname /etc/hostname rw\n"
        );
        assert_eq!(container_id(&podman), Some(&id[..12]));
        assert_eq!(container_id("9 2 8:1 /srv/containers/web/data /data rw\n"), None);
        assert_eq!(container_id(""), None);
    }
}
