//! Session of the command line of the gateway's machine, whose changes are not limited.

use gatelet::store::{key_at, tokens::control_token};
use support::client::{Session, Who};
use support::gateway::Gateway;

/// Connects as the gateway's own commands do.
pub fn owner(gateway: &Gateway) -> Session {
    let key = key_at(&gateway.plan.dir()).expect("the key of the table");
    gateway.connect(&Who::v4().token(control_token(&key).as_str())).unwrap()
}
