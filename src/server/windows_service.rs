//! Runs gatelet as a Windows service. `targets/windows/install.ps1` installs and removes the
//! service.

use std::ffi::OsString;
use std::sync::Mutex;

use windows_service::service::ServiceExitCode;
use windows_service::{define_windows_service, service_dispatcher, Error};

use super::error::StartError;
use super::os::{logger, service_manager};
use super::run::run;
use super::runtime::lock;
use crate::config::Loaded;

/// Runs a gateway under the service control manager until the manager stops it. The log goes to
/// `gatelet.log` in the state directory. If the gateway cannot start, `explain` gives the exit code
/// that the manager shows (from 1) and the text for the log. Error, as a text for the user, if the
/// manager did not start this process or cannot be reached.
pub fn run_service(loaded: Loaded, explain: ExplainError) -> Result<(), String> {
    *lock(&START) = Some((loaded, explain));
    match service_dispatcher::start("gatelet", service_main) {
        Ok(()) => Ok(()),
        Err(Error::Winapi(error)) if error.raw_os_error() != Some(NOT_STARTED_BY_MANAGER) => {
            Err(format!("cannot reach the service control manager: {error}"))
        }
        Err(_) => {
            Err("`gatelet service` is for the Windows service control manager, which did not start this; to run the \
             gateway here: `gatelet run`; to make it a service: install.ps1, then `Start-Service gatelet`"
                .to_string())
        }
    }
}

type ExplainError = fn(StartError) -> (u32, String);

/// Windows error code `ERROR_FAILED_SERVICE_CONTROLLER_CONNECT`.
const NOT_STARTED_BY_MANAGER: i32 = 1063;

/// Values for the service, passed from the thread that connects to the manager to the thread that
/// the manager library starts for the service.
static START: Mutex<Option<(Loaded, ExplainError)>> = Mutex::new(None);

define_windows_service!(service_main, serve);

/// Runs the service from its start to the final state report.
fn serve(_arguments: Vec<OsString>) {
    let Some((loaded, explain)) = lock(&START).take() else { return };
    if !service_manager::start("gatelet") {
        return;
    }
    if let Some(paths) = &loaded.paths {
        logger::start_file(&paths.state_dir.value);
    }
    if loaded.config.is_none() {
        for problem in &loaded.problems {
            log::error!("{problem}");
        }
    }
    let exit = match run(loaded, &mut |_| {}) {
        Ok(()) => ServiceExitCode::NO_ERROR,
        Err(error) => {
            let (code, message) = explain(error);
            log::error!("not started: {message}");
            ServiceExitCode::ServiceSpecific(code)
        }
    };
    service_manager::report_stopped(exit);
}
