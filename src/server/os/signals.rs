//! Requests to stop: signals, a console, the service control manager of Windows.

#[cfg(unix)]
use async_signal::{Signal, Signals};
#[cfg(windows)]
use smol::channel::{bounded, Receiver};
#[cfg(unix)]
use smol::stream::StreamExt;

/// Receives requests to stop. Listens from its creation on, which is before any client connects.
#[cfg(unix)]
pub struct Stop(Signals);

#[cfg(unix)]
impl Stop {
    /// Listens for SIGINT (Ctrl-C) and SIGTERM.
    pub fn listen() -> std::io::Result<Stop> {
        Signals::new([Signal::Int, Signal::Term]).map(Stop)
    }

    /// Waits for one of them. Returns the text for the log.
    pub async fn asked(mut self) -> std::io::Result<&'static str> {
        match self.0.next().await.transpose()? {
            Some(Signal::Int) => Ok("interrupted"),
            _ => Ok("asked to"),
        }
    }
}

/// Receives requests to stop. Listens from its creation on, which is before any client connects.
#[cfg(windows)]
pub struct Stop(Receiver<()>, &'static str);

#[cfg(windows)]
impl Stop {
    /// Listens for the service control manager or, without it, for Ctrl-C and Ctrl-Break. A closed
    /// console and a logoff are requests too, but Windows may end the process before clients have
    /// received close frames. Uses `ctrlc`, because `async-signal` supports only Ctrl-C.
    pub fn listen() -> std::io::Result<Stop> {
        if let Some(asked) = super::service_manager::stop_requests() {
            return Ok(Stop(asked, "the service control manager asked to"));
        }
        let (ask, asked) = bounded(1);
        let handler = move || _ = ask.try_send(());
        ctrlc::set_handler(handler).map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(Stop(asked, "interrupted"))
    }

    /// Waits for a request. Returns the text for the log.
    pub async fn asked(self) -> std::io::Result<&'static str> {
        self.0.recv().await.map_err(std::io::Error::other)?;
        Ok(self.1)
    }
}
