//! The order to stop: signals, a console, the service control manager of Windows.

#[cfg(unix)]
use async_signal::{Signal, Signals};
#[cfg(windows)]
use smol::channel::{bounded, Receiver};
#[cfg(unix)]
use smol::stream::StreamExt;

/// Gets the order to stop. Listens from the moment it is made, so before any client knows of the gateway.
#[cfg(unix)]
pub struct Stop(Signals);

#[cfg(unix)]
impl Stop {
    /// SIGINT (Ctrl-C) and SIGTERM.
    pub fn listen() -> std::io::Result<Stop> {
        Signals::new([Signal::Int, Signal::Term]).map(Stop)
    }

    /// Waits until one of them comes; gives the words for the log.
    pub async fn asked(mut self) -> std::io::Result<&'static str> {
        match self.0.next().await.transpose()? {
            Some(Signal::Int) => Ok("interrupted"),
            _ => Ok("asked to"),
        }
    }
}

/// Gets the order to stop. Listens from the moment it is made, so before any client knows of the gateway.
#[cfg(windows)]
pub struct Stop(Receiver<()>, &'static str);

#[cfg(windows)]
impl Stop {
    /// The service control manager; without it Ctrl-C and Ctrl-Break. A closed console and a logoff are orders too, but Windows may
    /// end the process before the clients had their close frames. `ctrlc` and not `async-signal`, which knows Ctrl-C only.
    pub fn listen() -> std::io::Result<Stop> {
        if let Some(asked) = super::service::stop_asked() {
            return Ok(Stop(asked, "the service control manager asked to"));
        }
        let (ask, asked) = bounded(1);
        let handler = move || _ = ask.try_send(());
        ctrlc::set_handler(handler).map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(Stop(asked, "interrupted"))
    }

    /// Waits until one of them asks; gives the words for the log.
    pub async fn asked(self) -> std::io::Result<&'static str> {
        self.0.recv().await.map_err(std::io::Error::other)?;
        Ok(self.1)
    }
}
