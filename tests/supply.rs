//! Dependencies: the lists of `deny.toml`, checked without network, known advisories, and a record
//! of all packages with their uses of `unsafe` (`tests/supply.txt`). `UPDATE=1 cargo test --test
//! supply` rewrites the record.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

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
const PACKAGES_IN_A_FILE: usize = 76;

/// Packages of this repository, which have no checksum.
const OURS: [&str; 3] = ["gatelet", "gatelet-alloc", "gatelet-json"];

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn packages_are_unique_and_from_crates_io_with_checksums() {
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    for package in locked() {
        let name = &package["name"];
        if !seen.insert(name.clone()) {
            wrong.push(format!("{name} comes in two versions: bring what asks for them to one"));
        }
        let sum = package.get("checksum").map_or(0, |sum| sum.len());
        if !OURS.contains(&name.as_str())
            && (package.get("source").is_none_or(|source| source != CRATES_IO) || sum != 64)
        {
            wrong.push(format!("{name} is not from crates.io, or has no checksum"));
        }
    }
    assert!(seen.len() > 20, "only {} packages were seen", seen.len());
    report(wrong);
}

#[test]
fn banned_packages_are_absent() {
    let trees = TARGETS.map(Tree::read);
    let mut wrong = Vec::new();
    let bans = deny_list("[bans]", "deny");
    assert!(bans.len() > 10, "only {} bans were seen", bans.len());
    for ban in bans {
        let (ban, why) = ban.split_once("reason = ").expect("a ban has its reason");
        let (name, users, why) = (quoted(ban)[0], &quoted(ban)[1..], quoted(why)[0]);
        if users.is_empty() && locked().iter().any(|package| package["name"] == name) {
            wrong.push(format!("{name} is banned: {why}"));
        }
        let others =
            trees.iter().flat_map(|tree| tree.users(name)).filter(|user| !users.contains(user));
        wrong.extend(others.map(|user| format!("{user} uses {name}: {why}")));
    }
    report(wrong);
}

#[test]
fn licences_and_build_scripts_are_on_their_lists() {
    let allowed = deny_list("[licenses]", "allow").concat();
    let builders = deny_list("[bans.build]", "allow-build-scripts").concat();
    let mut wrong = BTreeSet::new();
    for tree in TARGETS.map(Tree::read) {
        for package in tree.packages.values() {
            if !permits(&package.licence, &quoted(&allowed)) {
                wrong.insert(format!("{}: its licence is `{}`", package.name, package.licence));
            }
            if package.kinds.contains("custom-build")
                && !quoted(&builders).contains(&package.name.as_str())
            {
                wrong.insert(format!(
                    "{} runs a program when gatelet is built: read it, then name it in deny.toml",
                    package.name
                ));
            }
        }
    }
    report(wrong.into_iter().collect());
}

#[test]
fn no_known_advisory_applies() {
    let mut wrong = Vec::new();
    for (id, name, fixed) in ADVISED {
        let packages = locked();
        let Some(package) = packages.iter().find(|package| package["name"] == name) else {
            wrong.push(format!("{name} is no dependency any more; strike {id} from ADVISED"));
            continue;
        };
        if number(&package["version"]) < number(fixed) {
            wrong.push(format!("{name} {}: {id} was mended in {fixed}", package["version"]));
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
        let sum: usize = tree.shipped.keys().map(|name| unsafes[name]).sum();
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
                .any(|tree| tree.target.contains(system) && tree.shipped.contains_key(name));
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
    assert_eq!(count_unsafe(text), 2);
    let allowed = ["MIT", "Unicode-3.0", "Apache-2.0"];
    for (expression, permitted) in [
        ("MIT", true),
        ("MIT/GPL-3.0", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND Unicode-3.0", true),
        ("(MIT OR GPL-3.0) AND BSL-1.0", false),
        ("Apache-2.0 WITH LLVM-exception", false),
        ("", false),
    ] {
        assert_eq!(permits(expression, &allowed), permitted, "{expression}");
    }
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
    /// Packages whose code is in the file, each with its dependencies there.
    shipped: BTreeMap<String, BTreeSet<String>>,
}

impl Tree {
    fn read(target: &'static str) -> Tree {
        let json = cargo(&["metadata", "--format-version=1", "--filter-platform", target]);
        let json: Value = serde_json::from_str(&json).expect("cargo writes JSON");
        let packages = list(&json["packages"]).iter().map(Package::read);
        let packages = packages.map(|package| (package.name.clone(), package)).collect();
        // the dependency edges of `metadata` cover all platforms, whatever its options
        let edges = ["--edges", "normal,no-proc-macro", "--prefix", "depth", "--target", target];
        Tree { target, packages, shipped: shipped(&cargo(&[&["tree"][..], &edges].concat())) }
    }

    fn users(&self, name: &str) -> Vec<&str> {
        let uses = self.shipped.iter().filter(|(_, uses)| uses.contains(name));
        uses.map(|(user, _)| user.as_str()).collect()
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

/// Parses lines such as `2errno v0.3.15`; a package follows its user, which is one level higher.
fn shipped(tree: &str) -> BTreeMap<String, BTreeSet<String>> {
    let (mut shipped, mut above) =
        (BTreeMap::<String, BTreeSet<String>>::new(), Vec::<String>::new());
    for line in tree.lines() {
        let name = line.trim_start_matches(|char: char| char.is_ascii_digit());
        let depth: usize =
            line[..line.len() - name.len()].parse().expect("a line begins with its depth");
        let name = name.split(' ').next().unwrap_or("");
        above.truncate(depth);
        if let Some(user) = above.last() {
            shipped.get_mut(user).expect("each parent has a line").insert(name.to_string());
        }
        shipped.entry(name.to_string()).or_default();
        above.push(name.to_string());
    }
    shipped.remove("gatelet").expect("the root of the tree is gatelet");
    shipped
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

// --- Cargo.lock, deny.toml, licences, versions ---------------------------------------------------

/// Returns the single-line keys of each package in Cargo.lock.
fn locked() -> Vec<BTreeMap<String, String>> {
    let pairs = |part: &str| {
        let lines = part.lines().filter_map(|line| line.split_once(" = "));
        lines.map(|(key, value)| (key.to_string(), value.trim_matches('"').to_string())).collect()
    };
    read("Cargo.lock").split("[[package]]").skip(1).map(pairs).collect()
}

/// Returns the lines of a list in deny.toml.
fn deny_list(section: &str, key: &str) -> Vec<String> {
    let (text, start) = (read("deny.toml"), format!("{key} = ["));
    let inside = text
        .lines()
        .skip_while(|line| *line != section)
        .skip(1)
        .take_while(|line| !line.starts_with('['));
    let mut lines = inside.skip_while(|line| !line.starts_with(&start));
    let first = lines.next().unwrap_or_else(|| panic!("deny.toml: no {key} in {section}"));
    let rest = lines.take_while(|line| !first.ends_with(']') && *line != "]");
    let list = std::iter::once(first)
        .chain(rest)
        .filter(|line| line.contains('"') && !line.trim().starts_with('#'));
    list.map(str::to_string).collect()
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the texts between quotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('"').skip(1).step_by(2).collect()
}

/// Returns whether a licence expression (SPDX, or the old form with `/`) can be met with the
/// allowed ones.
fn permits(expression: &str, allowed: &[&str]) -> bool {
    let expression = expression.trim();
    for (word, all) in [(" AND ", true), (" OR ", false), ("/", false)] {
        // only a split outside of brackets counts
        for (at, _) in expression.match_indices(word) {
            let (left, right) = (&expression[..at], &expression[at + word.len()..]);
            if left.matches('(').count() == left.matches(')').count() {
                let (left, right) = (permits(left, allowed), permits(right, allowed));
                return if all { left && right } else { left || right };
            }
        }
    }
    match expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => permits(inner, allowed),
        None => allowed.contains(&expression),
    }
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
            count += count_unsafe(&fs::read_to_string(&path).unwrap());
        }
    }
    count
}

/// Counts the word in code: not in comments, strings and longer words.
fn count_unsafe(text: &str) -> usize {
    let (mut rest, mut count) = (text, 0);
    while let Some(first) = rest.chars().next() {
        let length = if first.is_alphanumeric() || first == '_' {
            let word = rest
                .find(|char: char| !char.is_alphanumeric() && char != '_')
                .unwrap_or(rest.len());
            let raw = ["r", "br", "cr"].contains(&&rest[..word]);
            count += usize::from(&rest[..word] == "unsafe");
            word + if raw { raw_text(&rest[word..]) } else { 0 }
        } else {
            match first {
                '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
                '/' if rest.starts_with("/*") => comment(rest),
                '"' => 1 + quoted_by('"', &rest[1..]),
                '\'' if rest[1..].starts_with('\\') || rest[1..].chars().nth(1) == Some('\'') => {
                    1 + quoted_by('\'', &rest[1..])
                }
                _ => first.len_utf8(),
            }
        };
        rest = &rest[length..];
    }
    count
}

/// Returns the number of bytes up to and including the closing mark.
fn quoted_by(mark: char, text: &str) -> usize {
    let mut escaped = false;
    for (at, char) in text.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if char == mark => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Returns the length of a raw string after its `r`; of `r#name` only the mark and the name.
fn raw_text(text: &str) -> usize {
    let marks = text.bytes().take_while(|byte| *byte == b'#').count();
    let Some(inner) = text[marks..].strip_prefix('"') else {
        let word = text[marks..]
            .find(|char: char| !char.is_alphanumeric() && char != '_')
            .unwrap_or(text.len() - marks);
        return marks + if marks > 0 { word } else { 0 };
    };
    let end = format!("\"{}", "#".repeat(marks));
    inner.find(&end).map_or(text.len(), |at| marks + 1 + at + end.len())
}

/// Returns the length of a block comment, which may be nested.
fn comment(text: &str) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < text.len() {
        let step = match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (2, 1),
            [b'*', b'/', ..] => (2, -1),
            _ => (1, 0),
        };
        (at, depth) = (at + step.0, depth + step.1);
        if depth == 0 {
            break;
        }
    }
    at
}

// --- the record ----------------------------------------------------------------------------------

const HEAD: &str = "\
# Every package that is built for the five files, and how often `unsafe` stands in the code of its library (as written, for whichever
# machine). l: its code goes into the Linux files; w: into those for Windows; b: it runs at the build, as a build script or a macro;
# none of l and w: for builds and tests only. `UPDATE=1 cargo test --test supply` writes this; look at what grew before you keep it.
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
        wrong
            .push("tests/supply.txt: look at the code that is new, then UPDATE=1 cargo test --test supply".to_string());
    }
    report(wrong);
}

fn report(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
