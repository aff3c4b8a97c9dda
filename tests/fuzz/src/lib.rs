//! Any input from unauthenticated clients, disks and people: one module per fuzz target. README.md
//! describes the coverage of each.

mod bound;
pub mod codes;
pub mod config;
pub mod connect;
pub mod frame;
pub mod head;
mod line;
mod mem;
pub mod samples;
mod script;
pub mod session;
pub mod table;
mod wire;

pub use bound::{bounded, raise, Counting};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Seeds of a target: name and bytes.
pub type Seeds = Vec<(String, Vec<u8>)>;

/// Defines a fuzz target that calls `run` of a module on every input. With `GATELET_FUZZ_CORPUS` it
/// writes its seeds into that directory instead.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        libfuzzer_sys::fuzz_target!(init: $crate::corpus(gatelet_fuzz::$name::seeds), |data: &[u8]| {
            gatelet_fuzz::$name::run(data)
        });
    };
}

/// Writes the seeds if the environment variable is set, and then exits.
pub fn corpus(seeds: fn() -> Seeds) {
    bound::none_for_panics();
    let Some(dir) = std::env::var_os("GATELET_FUZZ_CORPUS") else { return };
    let dir = std::path::PathBuf::from(dir);
    std::fs::create_dir_all(&dir).unwrap();
    let seeds = seeds();
    for (name, bytes) in &seeds {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
    println!("{} seeds", seeds.len());
    std::process::exit(0);
}
