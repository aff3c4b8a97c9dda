//! Dependencies: known advisories, and a record of all packages with their uses of `unsafe`
//! (`tests/supply.txt`). `UPDATE=1 cargo test --test supply` rewrites the record. `cargo deny`
//! (`tests/run.sh lint`) checks sources, licenses, bans and build scripts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::rust_source::count_keyword;

/// Advisories on our packages, and the first fixed version: all those in a copy of RustSec's list
/// of 2026-07-13. CI cannot reach the list; `cargo deny check advisories` can, where there is a
/// network, and finds newer ones.
const ADVISED: [(&str, &str, &str); 18] = [
    ("RUSTSEC-2019-0029", "chacha20", "0.2.3"),
    ("RUSTSEC-2019-0035", "rand_core", "0.4.2"),
    ("RUSTSEC-2020-0145", "heapless", "0.6.1"),
    ("RUSTSEC-2020-0059", "futures-util", "0.3.7"),
    ("RUSTSEC-2020-0060", "futures-task", "0.3.6"),
    ("RUSTSEC-2020-0061", "futures-task", "0.3.5"),
    ("RUSTSEC-2020-0062", "futures-util", "0.3.2"),
    ("RUSTSEC-2021-0023", "rand_core", "0.6.2"),
    ("RUSTSEC-2021-0100", "sha2", "0.9.8"),
    ("RUSTSEC-2021-0119", "nix", "0.23.0"),
    ("RUSTSEC-2022-0041", "crossbeam-utils", "0.8.7"),
    ("RUSTSEC-2023-0065", "tungstenite", "0.20.1"),
    ("RUSTSEC-2025-0047", "slab", "0.4.11"),
    ("RUSTSEC-2022-0093", "ed25519-dalek", "2.0.0"),
    ("RUSTSEC-2024-0344", "curve25519-dalek", "4.1.3"),
    ("RUSTSEC-2026-0003", "cmov", "0.4.4"),
    ("RUSTSEC-2026-0007", "bytes", "1.11.1"),
    ("RUSTSEC-2026-0097", "rand", "0.10.1"),
];

/// Packages in the largest shipped file, apart from gatelet itself.
const PACKAGES_IN_A_FILE: usize = 77;

#[test]
fn no_known_advisory_applies() {
    let mut wrong = Vec::new();
    for (id, name, fixed) in ADVISED {
        let packages = locked();
        let Some(package) = packages.iter().find(|package| package["name"] == name) else {
            wrong.push(format!("{name} is no dependency any more; remove {id} from ADVISED"));
            continue;
        };
        if number(&package["version"]) < number(fixed) {
            wrong.push(format!("{name} {}: {id} was fixed in {fixed}", package["version"]));
        }
    }
    report(wrong);
}

#[test]
fn record_of_packages_and_unsafe_is_up_to_date() {
    let trees = TARGETS.map(Tree::read);
    let (mut all, mut unsafes): (BTreeMap<String, &Package>, BTreeMap<String, usize>) =
        Default::default();
    for package in trees
        .iter()
        .flat_map(|tree| tree.packages.values())
        .filter(|package| package.name != "gatelet")
    {
        unsafes.entry(package.name.clone()).or_insert_with(|| unsafe_below(&package.sources));
        all.insert(package.name.clone(), package);
    }
    assert!(unsafes["linux-raw-sys"] > 10 && unsafes["lexopt"] == 0, "the counter is broken");
    let mut text = String::from(HEAD);
    for tree in &trees {
        let sum: usize = tree.shipped.iter().map(|name| unsafes[name]).sum();
        assert!(
            tree.shipped.len() <= PACKAGES_IN_A_FILE,
            "{}: {} packages",
            tree.target,
            tree.shipped.len()
        );
        writeln!(text, "# {:<30} {} packages, {sum} unsafe", tree.target, tree.shipped.len())
            .unwrap();
    }
    for (name, package) in &all {
        let place = |system: &str, mark| {
            let is = trees
                .iter()
                .any(|tree| tree.target.contains(system) && tree.shipped.contains(name));
            if is {
                mark
            } else {
                '-'
            }
        };
        let builds = if package.kinds.is_empty() { '-' } else { 'b' };
        let (linux, windows) = (place("linux", 'l'), place("windows", 'w'));
        let line = format!(
            "{name:<24} {:<9} {:>6} {linux}{windows}{builds} {}",
            package.version, unsafes[name], package.licence
        );
        writeln!(text, "{}", line.trim_end()).unwrap();
    }
    hold_record(&text);
}

#[test]
fn parsers_of_this_test_work() {
    let text = "unsafe { } // unsafe\n/* unsafe /* unsafe */ unsafe */ \"unsafe \\\" unsafe\" r#\"unsafe \" unsafe\"# '\"' '\\'' unsafe_code 'a: \
        b\"unsafe\" unsafe fn f<'unsafe_>(x: &'a str) -> char { 'u' } impl r#unsafe";
    assert_eq!(count_keyword(text, "unsafe"), 2);
    assert!(number("0.10.1") > number("0.9.8") && number("5.4.2") == number("5.4.2+x"));
}

// --- data from cargo -----------------------------------------------------------------------------

const TARGETS: [&str; 5] = [
    "aarch64-unknown-linux-musl",
    "aarch64-pc-windows-gnullvm",
    "armv7-unknown-linux-musleabihf",
    "x86_64-unknown-linux-musl",
    "x86_64-pc-windows-gnullvm",
];

struct Package {
    name: String,
    version: String,
    licence: String,
    /// The kinds `custom-build` and `proc-macro`, which run at build time, that the package has.
    kinds: BTreeSet<String>,
    /// The folder of its library.
    sources: String,
}

/// All packages built for one target, including those for tests and build scripts.
struct Tree {
    target: &'static str,
    packages: BTreeMap<String, Package>,
    /// Packages whose code is in the file.
    shipped: BTreeSet<String>,
}

impl Tree {
    fn read(target: &'static str) -> Tree {
        let json = cargo(&["metadata", "--format-version=1", "--filter-platform", target]);
        let json: Value = serde_json::from_str(&json).expect("cargo writes JSON");
        let packages = list(&json["packages"]).iter().map(Package::read);
        let packages = packages.map(|package| (package.name.clone(), package)).collect();
        // the dependency edges of `metadata` cover all platforms, whatever its options
        let edges = ["--edges", "normal,no-proc-macro", "--prefix", "none", "--target", target];
        Tree { target, packages, shipped: shipped(&cargo(&[&["tree"][..], &edges].concat())) }
    }
}

fn cargo(words: &[&str]) -> String {
    let command = &mut Command::new(env!("CARGO"));
    let output = command
        .args(words)
        .arg("--locked")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo {words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("cargo writes text")
}

/// Returns the names in lines such as `errno v0.3.15`, except the root's.
fn shipped(tree: &str) -> BTreeSet<String> {
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    names.filter(|name| *name != "gatelet").map(str::to_string).collect()
}

impl Package {
    fn read(json: &Value) -> Package {
        let targets = list(&json["targets"]);
        let library = targets.iter().find(|target| {
            target["src_path"].as_str().is_some_and(|path| !path.ends_with("build.rs"))
        });
        let kinds = targets.iter().flat_map(|target| list(&target["kind"])).map(text);
        let folder = Path::new(library.expect("a package has code")["src_path"].as_str().unwrap())
            .parent()
            .unwrap();
        Package {
            name: text(&json["name"]),
            version: text(&json["version"]),
            licence: text(&json["license"]),
            kinds: kinds.filter(|kind| kind == "custom-build" || kind == "proc-macro").collect(),
            sources: folder.to_str().expect("a path is text").to_string(),
        }
    }
}

fn list(json: &Value) -> &[Value] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn text(json: &Value) -> String {
    json.as_str().unwrap_or("").to_string()
}

// --- Cargo.lock, versions ------------------------------------------------------------------------

/// Returns the single-line keys of each package in Cargo.lock.
fn locked() -> Vec<BTreeMap<String, String>> {
    let pairs = |part: &str| {
        let lines = part.lines().filter_map(|line| line.split_once(" = "));
        lines.map(|(key, value)| (key.to_string(), value.trim_matches('"').to_string())).collect()
    };
    read("Cargo.lock").split("[[package]]").skip(1).map(pairs).collect()
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn number(version: &str) -> Vec<u64> {
    let bare = version.split(['+', '-']).next().unwrap_or("");
    bare.split('.').map(|part| part.parse().expect("a version has numbers")).collect()
}

// --- unsafe --------------------------------------------------------------------------------------

fn unsafe_below(folder: &str) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder}: {error}")) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            count += unsafe_below(path.to_str().unwrap());
        } else if path.extension().is_some_and(|end| end == "rs") {
            count += count_keyword(&fs::read_to_string(&path).unwrap(), "unsafe");
        }
    }
    count
}

// --- the record ----------------------------------------------------------------------------------

const HEAD: &str = "\
# Each package built for the five shipped files, with the number of times `unsafe` occurs in the
# source of its library, for all platforms. l: part of the Linux files; w: part of the Windows files;
# b: runs during the build, as a build script or a macro; neither l nor w: only for builds and tests.
# `UPDATE=1 cargo test --test supply` writes this file. Read the new code before you commit it.
";

fn hold_record(text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/supply.txt");
    let was = fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    if std::env::var_os("UPDATE").is_some() {
        return fs::write(path, text).expect("the record can be written");
    }
    let (is, was): (BTreeSet<&str>, BTreeSet<&str>) =
        (text.lines().collect(), was.lines().collect());
    let gone = was.difference(&is).map(|line| format!("was {line}"));
    let new = is.difference(&was).map(|line| format!("is  {line}"));
    let mut wrong: Vec<String> = gone.chain(new).collect();
    wrong.sort_by_key(|line| line[4..].to_string());
    if !wrong.is_empty() {
        wrong.push(
            "tests/supply.txt: read the new code, then run UPDATE=1 cargo test --test supply"
                .to_string(),
        );
    }
    report(wrong);
}

fn report(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
