//! `gatelet call`: any method of the running gateway, as it is.

use super::context::Context;
use super::{pretty, Done, Exit, Failure, Output};
use crate::gate::limits;
use crate::wire::json;

/// Calls `method` with `params` and prints the payload.
pub fn run(context: &Context, method: &str, params: &str) -> Done {
    let value = json::parse(params.as_bytes(), limits::JSON_DEPTH)
        .map_err(|bad| Failure::new(Exit::Usage, format!("the parameters are not JSON: {bad}")))?;
    let answer = context.running()?.call(method, value.raw()).map_err(|error| {
        let details = error.details.as_deref().map(|details| pretty(details.as_bytes())).unwrap_or_default();
        Failure::new(Exit::Refused, format!("{}: {}\n{details}", error.code, error.message).trim_end())
    })?;
    Output::json(answer.as_bytes())
}
