//! Packs the dashboard at build time: strips the comments from each file and compresses it. The
//! program stores only the compressed files.
//!
//! In `index.html`, `{version}` becomes the version of the package and `{digest}` the FNV-1a hash
//! of all other files (eight hexadecimal digits).

use std::io::Write;
use std::path::Path;
use std::{env, fs};

use flate2::write::GzEncoder;
use flate2::Compression;

#[path = "src/dashboard/strip.rs"]
mod strip;

/// Page that refers to the other files. Packed last, because it contains their digest.
const PAGE: &str = "index.html";
const ASSETS: [&str; 13] = [
    "style.css",
    "app.js",
    "dom.js",
    "gateway.js",
    "identity.js",
    "ed25519.js",
    "sign-in.js",
    "devices.js",
    "nodes.js",
    "activity.js",
    "logs.js",
    "invite.js",
    "config.js",
];

fn main() {
    let from = Path::new("src/dashboard");
    let to = env::var("OUT_DIR").expect("cargo names the directory");
    let mut digest = 0x811c_9dc5_u32;
    for name in ASSETS {
        let file = strip::strip(&read(&from.join(name)));
        digest = file
            .bytes()
            .fold(digest, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        write(&to, name, file.as_bytes());
    }
    let digest = format!("{digest:08x}");
    let page = strip::strip(&read(&from.join(PAGE)));
    let version = env::var("CARGO_PKG_VERSION").expect("cargo names the version");
    let page = page.replace("{version}", &version).replace("{digest}", &digest);
    write(&to, PAGE, page.as_bytes());
    println!("cargo:rustc-env=GATELET_PAGE_DIGEST={digest}");
    println!("cargo:rerun-if-changed=src/dashboard");
}

fn read(path: &Path) -> String {
    fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

fn write(to: &str, name: &str, file: &[u8]) {
    let path = Path::new(to).join(format!("{name}.gz"));
    fs::write(&path, gzip(file))
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}

/// Compresses `file` in the format of RFC 1952. The header has no name and no time, so that equal
/// input gives equal output.
fn gzip(file: &[u8]) -> Vec<u8> {
    // The greatest level of `miniz_oxide`.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(10));
    encoder.write_all(file).expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail")
}
