//! Error of a start.

use std::fmt;

use crate::store::StoreError;

/// Error that prevents the start. Its text says what to do.
#[derive(Debug)]
pub enum StartError {
    /// The configuration has errors, which were printed.
    Config,
    /// The pairing table cannot be used.
    Store(StoreError),
    /// Any other error.
    Other(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Config => {
                f.write_str("the configuration has errors; run `gatelet config check`")
            }
            StartError::Store(error) => error.fmt(f),
            StartError::Other(what) => f.write_str(what),
        }
    }
}

impl From<String> for StartError {
    fn from(what: String) -> StartError {
        StartError::Other(what)
    }
}
