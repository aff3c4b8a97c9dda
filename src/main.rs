//! The program: its arguments to [`gatelet::cli`].

#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
use gatelet_alloc::LargeApart;

/// Memory of a large message goes back to the system when the message is done.
#[cfg(all(target_os = "linux", not(target_env = "musl")))]
#[global_allocator]
static ALLOCATOR: LargeApart<std::alloc::System> = LargeApart(std::alloc::System);

/// The small blocks are those of `dlmalloc`: musl's own allocator is slow, and zig's grows without limit where one thread allocates
/// and another frees.
#[cfg(all(target_os = "linux", target_env = "musl"))]
#[global_allocator]
static ALLOCATOR: LargeApart<dlmalloc::GlobalDlmalloc> = LargeApart(dlmalloc::GlobalDlmalloc);

fn main() -> std::process::ExitCode {
    gatelet::cli::main(std::env::args_os().skip(1))
}
