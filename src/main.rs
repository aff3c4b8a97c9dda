//! The program: its arguments to [`gatelet::cli`].

#![forbid(unsafe_code)]

/// musl's own is slow, and the one that zig brings grows without end where one thread takes and another gives back.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> std::process::ExitCode {
    gatelet::cli::main(std::env::args_os().skip(1))
}
