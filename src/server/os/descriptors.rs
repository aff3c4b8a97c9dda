//! Number of descriptors that the process may open.

/// Raises the limit of open descriptors to `wanted`, or as far as the system allows. Returns the
/// limit in force.
#[cfg(unix)]
pub fn allow(wanted: usize) -> usize {
    use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = limit.maximum.map_or(wanted as u64, |maximum| maximum.min(wanted as u64));
    if limit.current.is_some_and(|current| current < raised) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), ..limit });
    }
    let current = getrlimit(Resource::Nofile).current;
    current.map_or(usize::MAX, |current| usize::try_from(current).unwrap_or(usize::MAX))
}

/// Returns `usize::MAX`: the system has no such limit.
#[cfg(not(unix))]
pub fn allow(_wanted: usize) -> usize {
    usize::MAX
}
