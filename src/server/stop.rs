//! What tells the gateway to stop: signals, a console, the service control manager of Windows.

#[cfg(unix)]
use async_signal::{Signal, Signals};
#[cfg(unix)]
use smol::stream::StreamExt;

#[cfg(windows)]
use super::flag::Flag;

/// Who says that it is time to stop. Listens from the moment it is made, so before anybody is told of the gateway.
#[cfg(unix)]
pub struct Stop(Signals);

#[cfg(unix)]
impl Stop {
    /// SIGINT (Ctrl-C) and SIGTERM.
    pub fn listen() -> std::io::Result<Stop> {
        Signals::new([Signal::Int, Signal::Term]).map(Stop)
    }

    /// Waits until one of them comes; how it is told in the log.
    pub async fn asked(mut self) -> &'static str {
        match self.0.next().await {
            Some(Ok(Signal::Int)) => "interrupted",
            _ => "asked to",
        }
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
    pub async fn asked(self) -> &'static str {
        self.0.wait().await;
        self.1
    }
}
