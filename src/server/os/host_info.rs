//! Name, measurements and `gatelet` command of the machine.

use std::path::Path;

use crate::config::{self, Env, Paths, Source, Sourced};
use crate::gate::limits;
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

/// Place in which a command of a hint is typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shell {
    /// The shell that started this process, with the same variables.
    Same,
    /// Any shell of this machine.
    Any,
}

/// Returns the command that runs `gatelet` on this state directory, for hints.
pub fn command(paths: &Paths, env: &dyn Env, shell: Shell) -> String {
    let Sourced { value: dir, source } = &paths.state_dir;
    let is_found = match source {
        Source::Default => true,
        // `exec` passes the variables of the container
        Source::Env(_) if paths.in_image || shell == Shell::Same => true,
        _ => config::service_dir(env).as_ref() == Some(dir),
    };
    let program = program(paths, env);
    if is_found {
        return program;
    }
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
    format!("{program} --state-dir {}", quoted(&dir.display().to_string(), env.windows()))
}

/// Returns the command that runs `gatelet`, without the state directory.
pub fn program(paths: &Paths, env: &dyn Env) -> String {
    if paths.in_image {
        image_program(env)
    } else {
        local_program().to_string()
    }
}

/// Returns the command that runs the program of the image: through the engine if it is known, else
/// the program alone, to be run in the container.
fn image_program(env: &dyn Env) -> String {
    let engines = [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")];
    match engines.into_iter().find(|(mark, _)| env.exists(Path::new(mark))) {
        Some((_, engine)) => {
            let mounts = env.read(Path::new("/proc/self/mountinfo"), limits::CONFIG_LEN);
            let mounts = mounts.unwrap_or_default();
            let mounts = String::from_utf8_lossy(&mounts);
            let name = container_id(&mounts).map_or_else(machine_name, str::to_string);
            format!("{engine} exec {name} /gatelet")
        }
        None => "/gatelet".to_string(),
    }
}

#[cfg(windows)]
fn local_program() -> &'static str {
    // PowerShell runs a program in the current directory only with a path
    let folder = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
    let here = folder.is_some() && folder == std::env::current_dir().ok();
    if here {
        ".\\gatelet.exe"
    } else {
        "gatelet"
    }
}

#[cfg(not(windows))]
fn local_program() -> &'static str {
    "gatelet"
}

/// Quotes a path for the shell if necessary: `sh`, or PowerShell on Windows.
fn quoted(path: &str, windows: bool) -> String {
    let plain = |char: char| {
        char.is_ascii_alphanumeric() || "/._-+:@%".contains(char) || windows && char == '\\'
    };
    match path {
        path if !path.is_empty() && path.chars().all(plain) => path.to_string(),
        path if windows => format!("'{}'", path.replace('\'', "''")),
        path => format!("'{}'", path.replace('\'', r"'\''")),
    }
}

/// Returns the first 12 digits of this container's id, which the engine accepts as a name even if
/// the host name was set or is that of the host. It is taken from the paths of files that the
/// engine mounts (Docker: `containers/ID/hostname`, Podman:
/// `overlay-containers/ID/userdata/hostname`).
fn container_id(mounts: &str) -> Option<&str> {
    let ids = mounts.split("containers/").skip(1).filter_map(|rest| rest.split_once('/'));
    let mut ids =
        ids.filter(|(id, _)| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    ids.next().map(|(id, _)| &id[..12])
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::config::Overrides;

    /// An environment with these variables and existing files.
    struct Machine(Vec<(&'static str, &'static str)>, &'static [&'static str]);

    impl Env for Machine {
        fn var(&self, name: &str) -> Option<String> {
            let Machine(vars, _) = self;
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
        }

        fn read(&self, _path: &Path, _max: u64) -> io::Result<Vec<u8>> {
            Err(io::ErrorKind::NotFound.into())
        }

        fn mode(&self, _path: &Path) -> Option<u32> {
            None
        }

        fn exists(&self, path: &Path) -> bool {
            self.1.iter().any(|known| Path::new(known) == path)
        }

        fn readable(&self, _path: &Path) -> bool {
            false
        }

        fn windows(&self) -> bool {
            false
        }
    }

    /// Returns the command for a state directory from a flag, a variable or by default.
    fn command_on(
        vars: &[(&'static str, &'static str)],
        files: &'static [&'static str],
        flag: Option<&str>,
        shell: Shell,
    ) -> String {
        let machine = Machine([vars, &[("HOME", "/home/ann")]].concat(), files);
        let args = Overrides { state_dir: flag.map(str::to_string), ..Overrides::default() };
        command(&config::load(&args, &machine).paths.unwrap(), &machine, shell)
    }

    #[test]
    fn command_has_the_state_directory_unless_it_is_found_and_a_container_only_in_the_image() {
        if cfg!(windows) {
            return; // absolute paths of Unix get a drive there
        }
        const DOCKER: &[&str] = &["/.dockerenv"];
        const PODMAN: &[&str] = &["/run/.containerenv"];
        const DATA: (&str, &str) = ("GATELET_STATE_DIR", "/data");
        const SERVICE: (&str, &str) = ("STATE_DIRECTORY", "/var/lib/gatelet");
        let name = machine_name();
        let docker = format!("docker exec {name} /gatelet");
        let podman = format!("podman exec {name} /gatelet");
        let flagged = format!("{docker} --state-dir /srv/g");
        let (any, same) = (Shell::Any, Shell::Same);
        let in_data = "gatelet --state-dir /data";
        type Row<'a> = (
            &'a [(&'static str, &'static str)],
            &'static [&'static str],
            Option<&'a str>,
            Shell,
            &'a str,
        );
        let rows: &[Row<'_>] = &[
            (&[], &[], None, any, "gatelet"),
            (&[], &[], Some("/srv/g"), any, "gatelet --state-dir /srv/g"),
            (&[], &[], Some("/srv/g"), same, "gatelet --state-dir /srv/g"),
            (&[], &[], Some("~/g"), same, "gatelet --state-dir /home/ann/g"),
            (&[], &[], Some("/srv/a b's"), any, r"gatelet --state-dir '/srv/a b'\''s'"),
            (&[DATA], &[], None, any, in_data),
            (&[DATA], &[], None, same, "gatelet"),
            (&[DATA], &[], Some("/srv/g"), same, "gatelet --state-dir /srv/g"),
            (&[SERVICE], &[], None, any, "gatelet"),
            // containers for development, CI
            (&[], DOCKER, None, any, "gatelet"),
            (&[DATA], DOCKER, None, any, in_data),
            (&[("GATELET_IMAGE", " ")], DOCKER, None, any, "gatelet"),
            (&[("GATELET_IMAGE", "1"), DATA], DOCKER, None, any, &docker),
            (&[("GATELET_IMAGE", "1"), DATA], DOCKER, Some("/srv/g"), any, &flagged),
            (&[("GATELET_IMAGE", "1"), DATA], PODMAN, None, any, &podman),
            (&[("GATELET_IMAGE", "1"), DATA], &[], None, any, "/gatelet"),
        ];
        for (vars, files, flag, shell, expected) in rows {
            assert_eq!(command_on(vars, files, *flag, *shell), *expected, "{vars:?} {flag:?}");
        }
    }

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
