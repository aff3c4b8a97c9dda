//! Session of the command line of the gateway's machine, whose changes are not limited.

use support::client::{Session, Who};
use support::gateway::Gateway;

/// Connects as the gateway's own commands do.
pub fn owner(gateway: &Gateway) -> Session {
    gateway.connect(&Who::v4().token(&gateway.plan.control_token())).unwrap()
}
