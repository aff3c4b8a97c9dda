//! What strangers, disks and people can hand to gatelet, tried with anything: one module for each fuzz target. README.md says
//! what each of them covers.

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

/// The seeds of a target: name and bytes.
pub type Seeds = Vec<(String, Vec<u8>)>;

/// A fuzz target: `run` of that module on every input. With `GATELET_FUZZ_CORPUS` it writes its seeds into that directory instead.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        libfuzzer_sys::fuzz_target!(init: $crate::corpus(gatelet_fuzz::$name::seeds), |data: &[u8]| {
            gatelet_fuzz::$name::run(data)
        });
    };
}

/// Writes the seeds where the environment says, and ends the process if it does.
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
