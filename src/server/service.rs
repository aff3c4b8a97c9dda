//! gatelet as a Windows service: what the service control manager is told, and what it may ask for.
//!
//! One service in one process, so what is known of it lies in statics: the manager calls without any context of ours. The
//! handler captures nothing, on purpose: `windows-service` frees the captures at the first stop, and a question about the
//! state may still come after it. It never installs or removes the service (`targets/windows/install.ps1` does).

use std::ffi::OsString;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use smol::channel::{bounded, Receiver, Sender};
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{register, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::{define_windows_service, service_dispatcher, Error};

use super::{lock, logger, run, StartError};
use crate::config::Loaded;
use crate::gate::limits;

/// Runs a gateway under the service control manager until that stops it; the log goes to `gatelet.log` in the state directory.
/// If the gateway cannot start, `explain` gives the exit code that the manager shows (from 1) and the words for the log. An
/// error, for a person, if it was not the manager that started this process.
pub fn run_service(loaded: Loaded, explain: Explain) -> Result<(), String> {
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

type Explain = fn(StartError) -> (u32, String);

/// Tells the manager that the gateway listens; does nothing if this is no service.
pub fn ready() {
    report(ServiceState::Running, ServiceExitCode::NO_ERROR);
}

/// Gets something when the manager wants the gateway to stop; `None` if this is no service.
pub fn stop_asked() -> Option<Receiver<()>> {
    SERVICE.get().map(|service| service.stop_asked.1.clone())
}

/// ERROR_FAILED_SERVICE_CONTROLLER_CONNECT
const NOT_STARTED_BY_MANAGER: i32 = 1063;

/// What to start, from the thread that talks to the manager to the one that it makes for the service.
static START: Mutex<Option<(Loaded, Explain)>> = Mutex::new(None);

static SERVICE: OnceLock<Service> = OnceLock::new();

struct Service {
    status: ServiceStatusHandle,
    /// A channel of one place.
    stop_asked: (Sender<()>, Receiver<()>),
}

define_windows_service!(service_main, serve);

/// Everything between the manager's start and the last word to it.
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

/// What the manager asks. Runs on its thread.
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
