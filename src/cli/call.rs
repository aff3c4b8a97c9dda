//! `gatelet call`: calls a method of the running gateway with JSON parameters.

use super::context::Context;
use super::{pretty, CommandError, Done, Exit, Output};
use crate::client::RpcError;
use crate::gate::limits;
use crate::wire::json;

/// Calls `method` with `params` and prints the payload.
pub fn run(context: &Context, method: &str, params: &str) -> Done {
    let value = json::parse(params.as_bytes(), limits::JSON_DEPTH).map_err(|bad| {
        CommandError::new(Exit::Usage, format!("the parameters are not JSON: {bad}"))
    })?;
    let answer = context.running()?.call(method, value.raw()).map_err(refused)?;
    Output::json(answer.as_bytes())
}

/// Returns the failure of a call, with code, message and details of the error.
pub(super) fn refused(error: Box<RpcError>) -> CommandError {
    let details =
        error.details.as_deref().map(|details| pretty(details.as_bytes())).unwrap_or_default();
    let message = format!("{}: {}\n{details}", error.code, error.message);
    let mut failure = CommandError::from(error);
    failure.0.message = message.trim_end().to_string();
    failure
}
