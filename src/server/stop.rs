//! What tells the gateway to stop: signals, a console, the service control manager of Windows.

#[cfg(unix)]
use std::io::Read;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(unix)]
use std::sync::Arc;

#[cfg(unix)]
use signal_hook::consts::{SIGINT, SIGTERM};
#[cfg(unix)]
use signal_hook::{flag, low_level::pipe};

#[cfg(unix)]
use super::reactor::Source;

#[cfg(windows)]
use super::flag::Flag;

/// Who says that it is time to stop. Listens from the moment it is made, so before anybody is told of the gateway.
#[cfg(unix)]
pub struct Stop {
    /// Each signal is a byte in here.
    signals: UnixStream,
    interrupted: Arc<AtomicBool>,
}

#[cfg(unix)]
impl Stop {
    /// SIGINT (Ctrl-C) and SIGTERM.
    pub fn listen() -> std::io::Result<Stop> {
        let (signals, writer) = UnixStream::pair()?;
        let interrupted = Arc::<AtomicBool>::default();
        flag::register(SIGINT, interrupted.clone())?;
        pipe::register(SIGINT, writer.try_clone()?)?;
        pipe::register(SIGTERM, writer)?;
        signals.set_nonblocking(true)?;
        Ok(Stop { signals, interrupted })
    }

    /// Waits until one of them comes; how it is told in the log.
    pub async fn asked(self) -> std::io::Result<&'static str> {
        let signals = Source::new(mio::net::UnixStream::from_std(self.signals))?;
        signals.reading(|mut signals| signals.read(&mut [0])).await?;
        Ok(if self.interrupted.load(Ordering::SeqCst) { "interrupted" } else { "asked to" })
    }
}

/// Who says that it is time to stop. Listens from the moment it is made, so before anybody is told of the gateway.
#[cfg(windows)]
pub struct Stop(Flag, &'static str);

#[cfg(windows)]
impl Stop {
    /// The service control manager; without it Ctrl-C and Ctrl-Break. Of a closed console and a logoff we hear too, but Windows may
    /// end the process before the clients had their goodbye.
    pub fn listen() -> std::io::Result<Stop> {
        if let Some(asked) = super::service::stop_asked() {
            return Ok(Stop(asked, "the service control manager asked to"));
        }
        let asked = Flag::default();
        let theirs = asked.clone();
        ctrlc::set_handler(move || theirs.raise()).map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(Stop(asked, "interrupted"))
    }

    /// Waits until one of them speaks; how it is told in the log.
    pub async fn asked(self) -> std::io::Result<&'static str> {
        self.0.wait().await;
        Ok(self.1)
    }
}
