//! The gate builds without the standard library and without an allocator.

use std::path::Path;
use std::process::Command;

#[test]
fn the_gate_compiles_under_no_std_without_alloc() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/no_std");
    let check = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--locked", "--quiet", "--manifest-path"])
        .arg(folder.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_std"))
        .env_remove("CARGO_BUILD_TARGET")
        .output()
        .expect("cargo starts");
    let said = String::from_utf8_lossy(&check.stderr);
    assert!(
        check.status.success(),
        "src/gate uses something beyond core, heapless and subtle; keep it in store, wire or server:\n{said}"
    );
}
