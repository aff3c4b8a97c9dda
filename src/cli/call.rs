//! `gatelet call`: calls a method of the running gateway with JSON parameters.

use super::args::{action, Command};
use super::context::Context;
use super::output::{parse_params, CommandError, CommandResult, Output};

pub const COMMANDS: &[Command] = &[Command {
    name: "call",
    usage: "METHOD [PARAMS-JSON]",
    min_arguments: 1,
    max_arguments: 2,
    summary: "call a method of the running gateway and print the response",
    details: "
  gatelet call health
  gatelet call device.pair.list
  gatelet call device.pair.rename '{\"deviceId\":\"...\",\"label\":\"Desk\"}'
",
    parse: |args| action((args.argument(0), args.params(1)), call),
    ..Command::BASE
}];

/// Calls the method and prints the payload of the response.
fn call(context: &Context, (method, params): (String, String)) -> CommandResult {
    let params = parse_params(&params)?;
    let answer = context.running()?.call(&method, params.raw()).map_err(CommandError::of_call)?;
    Output::json(answer.as_bytes())
}
