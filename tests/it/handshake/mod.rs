//! Authentication and admission of clients, and the connection around it.

mod admission;
mod approvals;
mod connection_shares;
mod failed_attempts;
mod floods;
mod hints;
mod large_frames;
mod lifecycle;
mod matrix;
mod policy;
mod policy_spec;
mod replay;
mod session;
mod timing;
pub mod transcripts;
mod unauthenticated;
