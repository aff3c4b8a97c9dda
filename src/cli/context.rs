//! Access of a command to the configuration, the running gateway, the table file and the terminal.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::Path;

use super::device_access::DeviceAccess;
use super::format::Style;
use super::output::{CommandError, Exit};
use crate::client::{ClientError, GatewayClient};
use crate::config::{self, Config, Env, Loaded, Overrides, Paths, Severity, Source, SystemEnv};
use crate::gate::ids::WallMs;
use crate::gate::limits;
use crate::server;
use crate::server::os::clock::{Clock, SystemClock};
use crate::store::{self, tokens, OpenError, Opened, StoreError, ADDRESS_FILE};

/// State shared by all commands.
pub struct Context {
    pub loaded: Loaded,
    /// `--json`
    pub json: bool,
    /// Standard output is a terminal.
    pub terminal: bool,
    pub style: Style,
    pub now: WallMs,
}

impl Context {
    /// Loads the configuration and inspects the environment. Problems are not reported here.
    pub fn new(overrides: &Overrides, json: bool) -> Context {
        let env = SystemEnv;
        let terminal = io::stdout().is_terminal();
        let unwanted = env.var("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env.var("TERM").as_deref() == Some("dumb");
        // The Windows console prints escape sequences unless they are enabled; these variables mark
        // terminals that interpret them.
        let unsupported =
            cfg!(windows) && env.var("WT_SESSION").or_else(|| env.var("TERM_PROGRAM")).is_none();
        Context {
            loaded: config::load(overrides, &env),
            json,
            terminal,
            style: Style { colour: terminal && !unwanted && !unsupported },
            now: SystemClock::start().now().wall,
        }
    }

    /// Returns the configuration, or a failure that lists its errors.
    pub fn config(&self) -> Result<&Config, CommandError> {
        self.loaded.config.as_ref().ok_or_else(|| {
            let problems = self.loaded.problems.iter();
            let errors: Vec<String> = problems
                .filter(|problem| problem.severity == Severity::Error)
                .map(|problem| problem.to_string())
                .collect();
            let errors = errors.join("\n  ");
            CommandError::failed(format!("the configuration has errors\n  {errors}"))
        })
    }

    /// Returns the paths. Error if there is no location for the state directory.
    pub fn paths(&self) -> Result<&Paths, CommandError> {
        let missing = || {
            CommandError::failed(
                "no location for the state directory; pass --state-dir DIR or set GATELET_STATE_DIR",
            )
        };
        self.loaded.paths.as_ref().ok_or_else(missing)
    }

    pub fn state_dir(&self) -> Result<&Path, CommandError> {
        Ok(&self.paths()?.state_dir.value)
    }

    /// Returns the command that runs `gatelet` on this state directory, for hints.
    pub fn command(&self) -> String {
        match &self.loaded.paths {
            Some(paths) => server::command(paths, &SystemEnv, server::Shell::Same),
            None => "gatelet".to_string(),
        }
    }

    /// Returns the local address of the running gateway, `None` if none is running.
    ///
    /// Checks the table's lock first: another process may use the address that a killed gateway
    /// left in its file.
    pub fn address(&self) -> Result<Option<SocketAddr>, CommandError> {
        let dir = self.state_dir()?;
        if !dir.join(ADDRESS_FILE).exists() || !store::in_use(dir).map_err(store_error)? {
            return Ok(None);
        }
        let text = SystemEnv.read(&dir.join(ADDRESS_FILE), limits::SECRET_FILE_LEN);
        let text = text.map_err(|error| unreadable(&dir.join(ADDRESS_FILE), &error))?;
        Ok(String::from_utf8_lossy(&text).trim().parse().ok())
    }

    /// Returns whether options are given that change the configuration, other than the location of
    /// the state directory.
    pub fn has_overrides(&self) -> bool {
        let args = &self.loaded.args;
        [&args.config, &args.port, &args.bind, &args.auth].iter().any(|given| given.is_some())
            || args.token.is_some()
            || args.password.is_some()
    }

    /// Connects to the running gateway. Returns `None` if none is running.
    pub fn gateway(&self) -> Result<Option<GatewayClient>, CommandError> {
        let Some(address) = self.address()? else { return Ok(None) };
        let key = store::key_at(self.state_dir()?).map_err(store_error)?;
        match GatewayClient::connect(address, tokens::control_token(&key).as_str()) {
            Ok(client) => Ok(Some(client)),
            Err(error @ ClientError::Refused(_)) => {
                Err(CommandError::new(Exit::Refused, at(address, &error)))
            }
            Err(error) => Err(CommandError::failed(at(address, &error))),
        }
    }

    /// Connects to the running gateway. Error if none is running.
    pub fn running(&self) -> Result<GatewayClient, CommandError> {
        self.gateway()?.ok_or_else(|| self.not_running())
    }

    /// Returns the error that no gateway is running.
    pub fn not_running(&self) -> CommandError {
        let dir = self.state_dir().map(|dir| dir.display().to_string()).unwrap_or_default();
        let message = format!(
            "no gateway is running on this state directory ({dir}); start it with `gatelet run`{}",
            self.service_hint()
        );
        CommandError::new(Exit::NotRunning, message)
    }

    /// Connects to the running gateway, or opens the table file if none is running. Creates no
    /// files.
    pub fn device_access(&self) -> Result<DeviceAccess, CommandError> {
        match self.gateway()? {
            Some(client) => Ok(DeviceAccess::Gateway(Box::new(client))),
            None => self.table().map(DeviceAccess::File),
        }
    }

    /// Opens the table file exclusively. Error if it does not exist or another process uses it.
    fn table(&self) -> Result<Box<Opened>, CommandError> {
        match store::check_at(self.state_dir()?) {
            Err(error @ StoreError::Absent { .. }) => {
                let mut error = store_error(error);
                error.message += self.service_hint();
                Err(error)
            }
            Err(error @ StoreError::Busy { .. }) => Err(store_error(error)),
            _ => self.open_or_create_table(),
        }
    }

    /// Opens the table file exclusively; creates a missing table.
    pub fn open_or_create_table(&self) -> Result<Box<Opened>, CommandError> {
        store::open_at(self.state_dir()?, self.capacity()).map(Box::new).map_err(store_error)
    }

    /// Returns whether there is no table yet.
    pub fn has_no_table(&self) -> Result<bool, CommandError> {
        Ok(matches!(store::check_at(self.state_dir()?), Err(StoreError::Absent { .. })))
    }

    /// Returns a hint to append to an error if the user's own state directory was searched although
    /// a service is installed: the user cannot read the service's state.
    fn service_hint(&self) -> &'static str {
        let own = self.paths().ok().filter(|paths| paths.state_dir.source == Source::Default);
        let service = config::service_dir(&SystemEnv)
            .filter(|dir| own.is_some_and(|own| own.state_dir.value != *dir));
        // This succeeds without permission to read the directory or the target of a link.
        let there = service.is_some_and(|dir| dir.symlink_metadata().is_ok());
        match there {
            true if cfg!(windows) => {
                "; a gatelet service is installed: to manage it, use a terminal as administrator"
            }
            true => "; a gatelet service is installed: to manage it, use sudo",
            false => "",
        }
    }

    /// Returns the number of devices for a table that is created now.
    pub fn capacity(&self) -> u16 {
        self.loaded
            .config
            .as_ref()
            .map_or(limits::CAPACITY_DEFAULT, |config| config.pairing.capacity)
    }
}

fn at(address: SocketAddr, error: &ClientError) -> String {
    format!("the gateway at {address}: {error}")
}

/// Converts an error of the store.
pub fn store_error(error: StoreError) -> CommandError {
    let exit = match &error {
        StoreError::Table { error: OpenError::Length { .. } | OpenError::Damaged(_), .. }
        | StoreError::KeyMissing { .. }
        | StoreError::KeyDamaged { .. }
        | StoreError::Lost { .. } => Exit::Damaged,
        _ => Exit::Failed,
    };
    let hint = match &error {
        StoreError::Io { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
            OWNER_HINT
        }
        _ => "",
    };
    CommandError::new(exit, format!("{error}{hint}"))
}

/// Returns the error that a file cannot be read, with a hint if permission is missing.
pub fn unreadable(path: &Path, error: &io::Error) -> CommandError {
    let hint = if error.kind() == io::ErrorKind::PermissionDenied { OWNER_HINT } else { "" };
    CommandError::failed(format!("cannot read {}: {error}{hint}", path.display()))
}

const OWNER_HINT: &str =
    "; run this as the gateway's user, or in its container (docker exec CONTAINER /gatelet ...)";
