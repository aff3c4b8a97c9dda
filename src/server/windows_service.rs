//! Runs gatelet as a Windows service: state reports to the service control manager, and its
//! requests.
//!
//! A process has one service, so its state is in statics: the manager calls without a context. The
//! handler captures nothing on purpose: `windows-service` frees the captures at the first stop, but
//! a query of the state may still follow. This module does not install or remove the service
//! (`targets/windows/install.ps1` does).

use std::ffi::OsString;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use smol::channel::{bounded, Receiver, Sender};
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{
    register, ServiceControlHandlerResult, ServiceStatusHandle,
};
use windows_service::{define_windows_service, service_dispatcher, Error};

use super::os::logger;
use super::{lock, run, StartError};
use crate::config::Loaded;
use crate::gate::limits;

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

/// Reports to the manager that the gateway listens. Does nothing if the process is not a service.
pub fn ready() {
    report(ServiceState::Running, ServiceExitCode::NO_ERROR);
}

/// Returns the channel that receives a message when the manager requests a stop; `None` if the
/// process is not a service.
pub fn stop_asked() -> Option<Receiver<()>> {
    SERVICE.get().map(|service| service.stop_asked.1.clone())
}

/// Windows error code `ERROR_FAILED_SERVICE_CONTROLLER_CONNECT`.
const NOT_STARTED_BY_MANAGER: i32 = 1063;

/// Values for the service, passed from the thread that connects to the manager to the thread that
/// the manager library starts for the service.
static START: Mutex<Option<(Loaded, ExplainError)>> = Mutex::new(None);

static SERVICE: OnceLock<Service> = OnceLock::new();

struct Service {
    status: ServiceStatusHandle,
    /// Channel with a capacity of one.
    stop_asked: (Sender<()>, Receiver<()>),
}

define_windows_service!(service_main, serve);

/// Runs the service from its start to the final state report.
fn serve(_arguments: Vec<OsString>) {
    let Some((loaded, explain)) = lock(&START).take() else { return };
    let Ok(status) = register("gatelet", control) else { return };
    if SERVICE.set(Service { status, stop_asked: bounded(1) }).is_err() {
        return;
    }
    report(ServiceState::StartPending, ServiceExitCode::NO_ERROR);
    if let Some(paths) = &loaded.paths {
        logger::start_file(&paths.state_dir.value);
    }
    if loaded.config.is_none() {
        loaded.problems.iter().for_each(|problem| log::error!("{problem}"));
    }
    let exit = match run(loaded, &mut |_| {}) {
        Ok(()) => ServiceExitCode::NO_ERROR,
        Err(error) => {
            let (code, message) = explain(error);
            log::error!("not started: {message}");
            ServiceExitCode::ServiceSpecific(code)
        }
    };
    report(ServiceState::Stopped, exit);
}

/// Handles a request of the manager. Runs on the manager's thread.
fn control(control: ServiceControl) -> ServiceControlHandlerResult {
    match control {
        ServiceControl::Stop | ServiceControl::Shutdown => {
            report(ServiceState::StopPending, ServiceExitCode::NO_ERROR);
            if let Some(service) = SERVICE.get() {
                let _ = service.stop_asked.0.try_send(());
            }
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    }
}

fn report(state: ServiceState, exit_code: ServiceExitCode) {
    let Some(service) = SERVICE.get() else { return };
    let (controls_accepted, wait_ms) = match state {
        ServiceState::Running => (ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN, 0),
        ServiceState::Stopped => (ServiceControlAccept::empty(), 0),
        _ => (ServiceControlAccept::empty(), limits::SERVICE_PENDING_MS),
    };
    let told = service.status.set_service_status(ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted,
        exit_code,
        checkpoint: u32::from(wait_ms > 0),
        wait_hint: Duration::from_millis(wait_ms),
        process_id: None,
    });
    if let Err(Error::Winapi(error)) = told {
        log::warn!("cannot tell the service control manager how it goes: {error}");
    }
}
