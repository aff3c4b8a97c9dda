//! Errors of the node host.

use std::io;
use std::path::Path;

/// Error of the node host, with a message for the user.
#[derive(Debug)]
pub enum NodeError {
    /// An argument is invalid.
    InvalidArgument(String),
    /// An operation on this machine failed.
    Failed(String),
    /// The gateway rejected the node, and a retry cannot succeed.
    Rejected(String),
}

impl NodeError {
    pub fn message(&self) -> &str {
        match self {
            NodeError::InvalidArgument(text)
            | NodeError::Failed(text)
            | NodeError::Rejected(text) => text,
        }
    }

    pub fn cannot_read(path: &Path, error: &io::Error) -> NodeError {
        NodeError::Failed(format!("cannot read {}: {error}", path.display()))
    }

    pub fn cannot_write(path: &Path, error: &io::Error) -> NodeError {
        NodeError::Failed(format!("cannot write {}: {error}", path.display()))
    }
}

/// Error response to an invoke of the gateway.
pub struct InvokeError {
    pub code: &'static str,
    pub message: String,
}

impl InvokeError {
    pub fn new(code: &'static str, message: impl Into<String>) -> InvokeError {
        InvokeError { code, message: message.into() }
    }
}
