//! The program: its arguments to [`gatelet::cli`].

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    gatelet::cli::main(std::env::args_os().skip(1))
}
