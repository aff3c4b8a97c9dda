//! Notifies systemd, or the service control manager of Windows, that the gateway is ready.

/// Sends `state` (`READY=1`, `STOPPING=1`) to NOTIFY_SOCKET. Does nothing if that is not set.
#[cfg(unix)]
pub fn notify(state: &str) {
    if let Some(name) = std::env::var_os("NOTIFY_SOCKET") {
        if let Err(error) = send(&name, state) {
            log::warn!("cannot send {state} to {}: {error}", name.to_string_lossy());
        }
    }
}

#[cfg(unix)]
fn send(name: &std::ffi::OsStr, state: &str) -> std::io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let address = match name.as_bytes().split_first() {
        #[cfg(target_os = "linux")]
        Some((b'@', rest)) => {
            <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(rest)?
        }
        _ => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

/// Reports `READY=1` to the service control manager. A stop needs no report here: the manager's
/// request for it was answered.
#[cfg(windows)]
pub fn notify(state: &str) {
    if state == "READY=1" {
        super::service_manager::report_ready();
    }
}
