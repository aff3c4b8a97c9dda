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
use super::values::{self, trimmed, variable};
use super::{Env, Overrides, Problems, Source, Sourced};
use crate::gate::limits;
use crate::gate::origin::parse_port;

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
    /// This process runs in gatelet's image, which sets `GATELET_IMAGE`.
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
    let marked = variable(env, IMAGE).is_some()
        || ["/.dockerenv", "/run/.containerenv"].iter().any(|path| env.exists(Path::new(path)));
    let named =
        ["container", "KUBERNETES_SERVICE_HOST"].iter().any(|name| variable(env, name).is_some());
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
    let Some(state_dir) = state_dir(args, env, in_container, problems) else {
        let message = "no location for the state directory: there is no home directory";
        problems.error(0, "--state-dir", message, "pass --state-dir DIR or set GATELET_STATE_DIR");
        return None;
    };
    let config = config_file(args, env, &state_dir.value, problems);
    let log_file =
        problems.first(env, ("--log-file", args.log_file.as_ref()), ["GATELET_LOG_FILE"]);
    let log_file = log_file.map(|path| home_path(&path.value, env));
    let in_image = variable(env, IMAGE).is_some();
    let published = if in_container { published(env, problems) } else { Published::default() };
    Some(Paths { state_dir, config, log_file, in_container, in_image, published })
}

/// Reads the address and the port at which the host publishes a container's port.
fn published(env: &dyn Env, problems: &mut Problems) -> Published {
    let mut read = |name: &'static str, hint: &str, is_valid: fn(&str) -> bool| {
        let text = problems.value(0, name, &env.var(name)?)?;
        if is_valid(&text) {
            return Some(text);
        }
        problems.warning(0, name, format!("{name} cannot be {}", quote(&text)), hint);
        None
    };
    let address = read("GATELET_PUBLISH_ADDRESS", "use an IP address of the host", |text| {
        values::address(text).is_some()
    });
    let port =
        read("GATELET_PUBLISH", "use a port from 1 to 65535", |text| parse_port(text).is_some());
    Published {
        address: address.and_then(|text| values::address(&text)),
        port: port.and_then(|text| parse_port(&text)),
    }
}

fn state_dir(
    args: &Overrides,
    env: &dyn Env,
    in_container: bool,
    problems: &mut Problems,
) -> Option<Sourced<PathBuf>> {
    let variables = ["GATELET_STATE_DIR", "OPENCLAW_STATE_DIR", "STATE_DIRECTORY"];
    let variables =
        variables.into_iter().filter(|name| *name != "STATE_DIRECTORY" || !env.windows());
    let flag = ("--state-dir", args.state_dir.as_ref());
    if let Some(Sourced { value, source }) = problems.first(env, flag, variables) {
        let dir = match source {
            Source::Env("OPENCLAW_STATE_DIR") => home_path(&value, env).join("gatelet"),
            Source::Env("STATE_DIRECTORY") => {
                PathBuf::from(value.split(':').next().unwrap_or_default())
            }
            _ => home_path(&value, env),
        };
        return Some(Sourced::new(dir, source));
    }
    let own = if env.windows() { windows_dir(env) } else { unix_dir(env, in_container) };
    let has_own = own.as_ref().is_some_and(|dir| env.exists(dir));
    let service = service_dir(env).filter(|dir| !has_own && env.readable(&dir.join(TABLE)));
    service.or(own).map(|dir| Sourced::new(dir, Source::Default))
}

/// Returns the state directory of an installed service; it need not exist.
pub fn service_dir(env: &dyn Env) -> Option<PathBuf> {
    let parent =
        if env.windows() { variable(env, "ProgramData") } else { Some("/var/lib".to_string()) };
    parent.map(|parent| Path::new(&parent).join("gatelet"))
}

/// File name of the pairing table in `store`. The search for the service's state opens this file,
/// because the directory may be accessible although the table is not.
const TABLE: &str = "pairing.table";

fn windows_dir(env: &dyn Env) -> Option<PathBuf> {
    let local = variable(env, "LOCALAPPDATA").map(PathBuf::from);
    local
        .or_else(|| home(env).map(|home| home.join("AppData").join("Local")))
        .map(|dir| dir.join("gatelet"))
}

fn unix_dir(env: &dyn Env, in_container: bool) -> Option<PathBuf> {
    let xdg = variable(env, "XDG_STATE_HOME").map(PathBuf::from).filter(|dir| dir.has_root());
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

fn config_file(
    args: &Overrides,
    env: &dyn Env,
    state_dir: &Path,
    problems: &mut Problems,
) -> Sourced<PathBuf> {
    let flag = ("--config", args.config.as_ref());
    match problems.first(env, flag, ["GATELET_CONFIG", "OPENCLAW_CONFIG_PATH"]) {
        Some(path) => Sourced::new(home_path(&path.value, env), path.source),
        None => Sourced::new(state_dir.join("gatelet.json"), Source::Default),
    }
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
    match utf8(bytes) {
        Ok(text) => Some(text),
        Err((line, what)) => {
            let message = format!("the configuration {shown} {what}");
            problems.error(line, "", message, "save it as UTF-8");
            None
        }
    }
}

/// Converts the contents of a file to text. The error is the line, 0 for the whole file, and the
/// reason.
pub(super) fn utf8(bytes: Vec<u8>) -> Result<String, (u32, &'static str)> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err((0, "is UTF-16"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        (u32::try_from(line).unwrap_or(u32::MAX), "is not UTF-8")
    })
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

/// Reads a path: trims it, and replaces `~` or a leading `~/` (on Windows also `~\`) by the home
/// directory.
pub fn home_path(text: &str, env: &dyn Env) -> PathBuf {
    let text = trimmed(text);
    let rest = match text.strip_prefix('~') {
        Some("") => Some(""),
        Some(rest) => {
            rest.strip_prefix('/').or_else(|| rest.strip_prefix('\\').filter(|_| env.windows()))
        }
        None => None,
    };
    match (rest, home(env)) {
        (Some(""), Some(home)) => home,
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(text),
    }
}

/// Returns the home directory. `/` does not count: it is the value in a container without users.
fn home(env: &dyn Env) -> Option<PathBuf> {
    let name = if env.windows() { "USERPROFILE" } else { "HOME" };
    variable(env, name).map(PathBuf::from).filter(|home| home.has_root() && home.parent().is_some())
}
