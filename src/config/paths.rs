//! Locates the state directory, the configuration file and the log file, and detects containers.
//!
//! State directory, the first that is set:
//!
//! - `--state-dir`, `GATELET_STATE_DIR`, `OPENCLAW_STATE_DIR`/gatelet (never OpenClaw's own
//!   directory), `STATE_DIRECTORY` (systemd)
//! - the service's directory, if its table is readable and the user has no own directory:
//!   /var/lib/gatelet, `%ProgramData%\gatelet` on Windows. So `sudo gatelet devices list` finds the
//!   service, and other users their own gateway.
//! - the user's own directory: `XDG_STATE_HOME`/gatelet or ~/.local/state/gatelet;
//!   `%LOCALAPPDATA%\gatelet` on Windows; in a container without a home directory /data if it
//!   exists, else /var/lib/gatelet
//!
//! Configuration file: `--config`, `GATELET_CONFIG`, `OPENCLAW_CONFIG_PATH`, else gatelet.json in
//! the state directory. Log file: `--log-file`, `GATELET_LOG_FILE`, else none.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::parse::{quote, FileValues};
use super::{values, Env, Overrides, Problems, Source, Sourced};
use crate::gate::limits;

/// Locations of files and directories.
#[derive(Clone, Debug)]
pub struct Paths {
    pub state_dir: Sourced<PathBuf>,
    /// The configuration file. With source `Default` it need not exist.
    pub config: Sourced<PathBuf>,
    /// File that receives the log in addition to standard error.
    pub log_file: Option<PathBuf>,
    /// This process runs in a container.
    pub in_container: bool,
    /// This process runs in gatelet's image, which sets [`IMAGE`].
    pub in_image: bool,
    /// Address and port of the host at which the container's port is published, if known.
    pub published: Published,
}

/// Address at which a container's port is published on its host. A container cannot see it, so
/// `compose.yaml` passes it in variables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// `GATELET_PUBLISH_ADDRESS`
    pub address: Option<IpAddr>,
    /// `GATELET_PUBLISH`
    pub port: Option<u16>,
}

/// Variable that gatelet's image sets.
pub const IMAGE: &str = "GATELET_IMAGE";

impl Paths {
    /// Returns the path of the token file, used if no token is configured.
    pub fn token_file(&self) -> PathBuf {
        self.state_dir.value.join("token")
    }
}

/// Returns whether this process runs in a container.
pub fn in_container(env: &dyn Env) -> bool {
    if env.windows() {
        return false;
    }
    let marked = non_empty_var(env, IMAGE).is_some()
        || ["/.dockerenv", "/run/.containerenv"].iter().any(|path| env.exists(Path::new(path)));
    let named = ["container", "KUBERNETES_SERVICE_HOST"]
        .iter()
        .any(|name| non_empty_var(env, name).is_some());
    marked || named || first_process_is_contained(env)
}

fn first_process_is_contained(env: &dyn Env) -> bool {
    let groups = env.read(Path::new("/proc/1/cgroup"), limits::CONFIG_LEN).unwrap_or_default();
    let groups = String::from_utf8_lossy(&groups);
    ["docker", "kubepods", "containerd", "libpod", "lxc"].iter().any(|word| groups.contains(word))
}

/// Determines the paths. Reports an error and returns `None` if there is no location for the state.
pub(super) fn find(args: &Overrides, env: &dyn Env, problems: &mut Problems) -> Option<Paths> {
    let in_container = in_container(env);
    let Some(state_dir) = state_dir(args, env, in_container) else {
        let message = "no location for the state directory: there is no home directory";
        problems.error(0, "--state-dir", message, "pass --state-dir DIR or set GATELET_STATE_DIR");
        return None;
    };
    let config = config_file(args, env, &state_dir.value);
    let log_file = args.log_file.clone().or_else(|| non_empty_var(env, "GATELET_LOG_FILE"));
    let log_file = log_file.map(|path| home_path(&path, env));
    let in_image = non_empty_var(env, IMAGE).is_some();
    let published = if in_container { published(env, problems) } else { Published::default() };
    Some(Paths { state_dir, config, log_file, in_container, in_image, published })
}

fn published(env: &dyn Env, problems: &mut Problems) -> Published {
    let mut read = |name: &'static str, hint: &str, is_valid: fn(&str) -> bool| {
        let text = non_empty_var(env, name)?.trim().to_string();
        if is_valid(&text) {
            return Some(text);
        }
        problems.warning(0, name, format!("{name} cannot be {}", quote(&text)), hint);
        None
    };
    let address = read("GATELET_PUBLISH_ADDRESS", "use an IP address of the host", |text| {
        text.parse::<IpAddr>().is_ok()
    });
    let port =
        read("GATELET_PUBLISH", "use a port from 1 to 65535", |text| values::port(text).is_some());
    Published {
        address: address.and_then(|text| text.parse().ok()),
        port: port.and_then(|text| values::port(&text)),
    }
}

fn state_dir(args: &Overrides, env: &dyn Env, in_container: bool) -> Option<Sourced<PathBuf>> {
    if let Some(dir) = &args.state_dir {
        return Some(Sourced::new(home_path(dir, env), Source::Flag("--state-dir")));
    }
    for name in ["GATELET_STATE_DIR", "OPENCLAW_STATE_DIR", "STATE_DIRECTORY"] {
        let Some(text) = non_empty_var(env, name) else { continue };
        let dir = match name {
            "OPENCLAW_STATE_DIR" => home_path(&text, env).join("gatelet"),
            "STATE_DIRECTORY" if env.windows() => continue,
            "STATE_DIRECTORY" => PathBuf::from(text.split(':').next().unwrap_or_default()),
            _ => home_path(&text, env),
        };
        return Some(Sourced::new(dir, Source::Env(name)));
    }
    let own = if env.windows() { windows_dir(env) } else { unix_dir(env, in_container) };
    let has_own = own.as_ref().is_some_and(|dir| env.exists(dir));
    let service = service_dir(env).filter(|dir| !has_own && env.readable(&dir.join(TABLE)));
    service.or(own).map(|dir| Sourced::new(dir, Source::Default))
}

/// Returns the state directory of an installed service; it need not exist.
pub fn service_dir(env: &dyn Env) -> Option<PathBuf> {
    let parent = if env.windows() {
        non_empty_var(env, "ProgramData")
    } else {
        Some("/var/lib".to_string())
    };
    parent.map(|parent| Path::new(&parent).join("gatelet"))
}

/// File name of the pairing table in `store`. The search for the service's state opens this file,
/// because the directory may be accessible although the table is not.
const TABLE: &str = "pairing.table";

fn windows_dir(env: &dyn Env) -> Option<PathBuf> {
    let local = non_empty_var(env, "LOCALAPPDATA").map(PathBuf::from);
    local
        .or_else(|| home(env).map(|home| home.join("AppData").join("Local")))
        .map(|dir| dir.join("gatelet"))
}

fn unix_dir(env: &dyn Env, in_container: bool) -> Option<PathBuf> {
    let xdg = non_empty_var(env, "XDG_STATE_HOME").map(PathBuf::from).filter(|dir| dir.has_root());
    if let Some(dir) = xdg.or_else(|| home(env).map(|home| home.join(".local/state"))) {
        return Some(dir.join("gatelet"));
    }
    let volume = Path::new("/data");
    match in_container {
        true if env.exists(volume) => Some(volume.to_path_buf()),
        true => Some(PathBuf::from("/var/lib/gatelet")),
        false => None,
    }
}

fn config_file(args: &Overrides, env: &dyn Env, state_dir: &Path) -> Sourced<PathBuf> {
    if let Some(path) = &args.config {
        return Sourced::new(home_path(path, env), Source::Flag("--config"));
    }
    for name in ["GATELET_CONFIG", "OPENCLAW_CONFIG_PATH"] {
        if let Some(path) = non_empty_var(env, name) {
            return Sourced::new(home_path(&path, env), Source::Env(name));
        }
    }
    Sourced::new(state_dir.join("gatelet.json"), Source::Default)
}

/// Reads the configuration file. Returns `None` if the default file is missing, or after reporting
/// an error if the file cannot be read.
pub(super) fn read_config(paths: &Paths, env: &dyn Env, problems: &mut Problems) -> Option<String> {
    let Sourced { value: path, source } = &paths.config;
    if *source == Source::Default && !env.exists(path) {
        return None;
    }
    let shown = path.display();
    let bytes = match env.read(path, limits::CONFIG_LEN) {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = format!("cannot read the configuration {shown} (from {source}): {error}");
            problems.error(0, "", message, "specify a readable file");
            return None;
        }
    };
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        problems.error(0, "", format!("the configuration {shown} is UTF-16"), "save it as UTF-8");
        return None;
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            let line = u32::try_from(line).unwrap_or(u32::MAX);
            let message = format!("the configuration {shown} is not UTF-8");
            problems.error(line, "", message, "save it as UTF-8");
            None
        }
    }
}

/// Warns if other users can change the configuration, or read a secret in it.
pub(super) fn check_permissions(
    paths: &Paths,
    file_values: &FileValues,
    env: &dyn Env,
    problems: &mut Problems,
) {
    let path = &paths.config.value;
    let Some(mode) = env.mode(path) else {
        return;
    };
    let shown = path.display();
    if mode & 0o002 != 0 {
        let message = format!("any user of this machine can change the configuration {shown}");
        problems.warning(0, "", message, format!("run chmod o-w {shown}"));
    }
    if mode & 0o004 != 0 && file_values.literal_secret {
        let message = format!("any user of this machine can read the secret in {shown}");
        problems.warning(0, "", message, format!("run chmod 600 {shown}"));
    }
}

/// Returns the variable's value unless it is unset or empty.
pub(super) fn non_empty_var(env: &dyn Env, name: &str) -> Option<String> {
    env.var(name).filter(|value| !value.is_empty())
}

/// Replaces a leading `~/` (on Windows also `~\`) by the home directory.
pub(super) fn home_path(text: &str, env: &dyn Env) -> PathBuf {
    let rest =
        text.strip_prefix("~/").or_else(|| text.strip_prefix("~\\").filter(|_| env.windows()));
    match (rest, home(env)) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(text),
    }
}

/// Returns the home directory. `/` does not count: it is the value in a container without users.
fn home(env: &dyn Env) -> Option<PathBuf> {
    let name = if env.windows() { "USERPROFILE" } else { "HOME" };
    non_empty_var(env, name)
        .map(PathBuf::from)
        .filter(|home| home.has_root() && home.parent().is_some())
}
