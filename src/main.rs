//! Entry point of the program: passes the arguments to [`gatelet::cli`].

#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
use gatelet_alloc::LargeApart;

/// Allocator that returns large blocks to the system as soon as they are freed.
#[cfg(all(target_os = "linux", not(target_env = "musl")))]
#[global_allocator]
static ALLOCATOR: LargeApart<std::alloc::System> = LargeApart(std::alloc::System);

/// Allocator as above, with `dlmalloc` for small blocks: the allocator of musl is slow, and that of
/// zig grows without limit if one thread allocates and another frees.
#[cfg(all(target_os = "linux", target_env = "musl"))]
#[global_allocator]
static ALLOCATOR: LargeApart<dlmalloc::GlobalDlmalloc> = LargeApart(dlmalloc::GlobalDlmalloc);

fn main() -> std::process::ExitCode {
    gatelet::cli::main(std::env::args_os().skip(1))
}
