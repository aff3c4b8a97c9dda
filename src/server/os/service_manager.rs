//! Connection to the service control manager of Windows: state reports, and requests to stop.
//!
//! A process has one service, so its state is in a static: the manager calls without a context. The
//! handler captures nothing on purpose: `windows-service` frees the captures at the first stop, but
//! a query of the state may still follow.

use std::sync::OnceLock;
use std::time::Duration;

use smol::channel::{bounded, Receiver, Sender};
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{
    register, ServiceControlHandlerResult, ServiceStatusHandle,
};
use windows_service::Error;

use crate::gate::limits;

static SERVICE: OnceLock<Service> = OnceLock::new();

struct Service {
    status: ServiceStatusHandle,
    /// Channel with a capacity of one.
    stop_requests: (Sender<()>, Receiver<()>),
}

/// Registers this process as the service `name`. Returns whether that succeeded.
pub fn start(name: &str) -> bool {
    let Ok(status) = register(name, handle_control) else { return false };
    let is_first = SERVICE.set(Service { status, stop_requests: bounded(1) }).is_ok();
    report(ServiceState::StartPending, ServiceExitCode::NO_ERROR);
    is_first
}

/// Reports that the gateway listens. Does nothing if the process is not a service.
pub fn report_ready() {
    report(ServiceState::Running, ServiceExitCode::NO_ERROR);
}

/// Reports that the service has ended.
pub fn report_stopped(exit_code: ServiceExitCode) {
    report(ServiceState::Stopped, exit_code);
}

/// Returns the channel that receives a message when the manager requests a stop; `None` if the
/// process is not a service.
pub fn stop_requests() -> Option<Receiver<()>> {
    SERVICE.get().map(|service| service.stop_requests.1.clone())
}

/// Handles a request of the manager. Runs on the manager's thread.
fn handle_control(control: ServiceControl) -> ServiceControlHandlerResult {
    match control {
        ServiceControl::Stop | ServiceControl::Shutdown => {
            report(ServiceState::StopPending, ServiceExitCode::NO_ERROR);
            if let Some(service) = SERVICE.get() {
                let _ = service.stop_requests.0.try_send(());
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
    let result = service.status.set_service_status(ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted,
        exit_code,
        checkpoint: u32::from(wait_ms > 0),
        wait_hint: Duration::from_millis(wait_ms),
        process_id: None,
    });
    if let Err(Error::Winapi(error)) = result {
        log::warn!("cannot report the state to the service control manager: {error}");
    }
}
