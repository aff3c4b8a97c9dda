//! What the machine is called, and how a person runs `gatelet` on it.

use std::path::Path;

/// The machine's host name; empty if it cannot be found out.
pub fn machine_name() -> String {
    // on Windows that path would be below the root of some drive
    let name = if cfg!(windows) { None } else { std::fs::read_to_string("/proc/sys/kernel/hostname").ok() };
    let name = name.or_else(|| std::env::var("COMPUTERNAME").ok()).or_else(|| std::env::var("HOSTNAME").ok());
    name.map(|name| name.trim().to_string()).unwrap_or_default()
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
