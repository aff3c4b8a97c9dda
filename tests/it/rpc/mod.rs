//! Methods: scopes, parameters, and answers of families that need an agent.

pub mod agent_stubs;
mod changes;
mod numbers;
mod scopes;
mod system_event;
mod turns;
