//! Code style, enforced by a test: imports between the modules of the crate, sizes, tables in
//! documents that match the code, and links that resolve. `tests/words.rs` checks the wording.
//! `clippy.toml` has what clippy can check, `deny.toml` the rules for dependencies.
//! `UPDATE=1 cargo test --test tidy` rewrites the tables.

mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use gatelet::config::{Kind, KEYS};
use gatelet::gate::facts::Protocol;
use gatelet::gate::limits;
use gatelet::gate::refusal::{Fill, Hint, Refusal, Rule};
use support::rust_source::is_word;

/// Allowed imports between top-level modules; every module may import itself.
const ARROWS: [(&str, &[&str]); 11] = [
    ("gate", &[]),
    ("dashboard", &[]),
    ("qr", &["wire"]),
    ("store", &["gate"]),
    ("wire", &["gate"]),
    ("config", &["gate"]),
    ("rpc", &["gate", "store", "wire", "config", "qr"]),
    ("server", &["gate", "store", "wire", "config", "rpc", "dashboard"]),
    ("client", &["gate", "wire"]),
    ("node", &["gate", "store", "wire", "config", "client", "server"]),
    ("cli", &["gate", "store", "wire", "config", "rpc", "server", "client", "node", "qr"]),
];

/// Greatest number of lines of code in a file, without blank lines, comments and inline tests.
const FILE_LINES: usize = 470;

/// Files with a greater limit, and the reason.
const LONGER_FILES: [(&str, usize, &str); 1] =
    [("src/gate/refusal.rs", 570, "the texts of all refusals are in one place")];

/// Greatest number of lines of code in nine of ten functions. `clippy.toml` limits each.
const FUNCTION_LINES: usize = 25;

/// Packages in Cargo.lock: adding one is a decision, recorded by changing this number.
const PACKAGES: usize = 115;

/// Methods that panic when a heapless collection is full.
const PANIC_WHEN_FULL: [&str; 4] = [".extend(", ".collect(", ".collect::<", "from_iter("];

/// Uses of these methods in files that name heapless types, for collections on the heap.
const ON_THE_HEAP: [(&str, &str); 2] =
    [("src/gate/table.rs", "self.cells.extend("), ("src/wire/http.rs", "out.extend(")];

/// Greatest number of lines in the README.
const README_LINES: usize = 130;

#[test]
fn modules_import_only_allowed_modules() {
    let (mut wrong, mut imports) = (Vec::new(), 0);
    for file in sources() {
        let Some(room) = file.room() else { continue };
        let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == room) else {
            wrong.push(format!("{}: {room} is not in ARROWS; add it with its imports", file.name));
            continue;
        };
        for (at, target) in file.rooms_named() {
            imports += 1;
            if target.is_empty() {
                wrong.push(format!("{}:{at}: write `crate::room::`, not a group", file.name));
            } else if target != room && is_room(target) && !allowed.contains(&target) {
                wrong.push(format!(
                    "{}:{at}: {room} imports {target}; it may import {allowed:?}",
                    file.name
                ));
            }
        }
    }
    assert!(imports > 100, "only {imports} imports were seen");
    report(wrong);
}

#[test]
fn files_and_functions_keep_their_size_limits() {
    let (mut wrong, mut functions) = (Vec::new(), Vec::new());
    for file in sources() {
        let longer = LONGER_FILES.iter().find(|(name, ..)| *name == file.name);
        let limit = longer.map_or(FILE_LINES, |(_, lines, _)| *lines);
        let lines = file.code().count();
        if lines > limit {
            wrong.push(format!("{}: {lines} lines of code; the limit is {limit}", file.name));
        }
        functions.extend(file.functions());
    }
    functions.sort_unstable();
    let count = functions.len();
    assert!(count > 400 && functions[count / 2] > 1, "only {count} functions were seen");
    let ninth = functions[count * 9 / 10];
    if ninth > FUNCTION_LINES {
        wrong.push(format!("one of ten functions has {ninth} or more lines, not {FUNCTION_LINES}"));
    }
    report(wrong);
}

/// The gate has no heap, so each collection there is heapless. `push` and `try_from` return an
/// error when a collection is full. Clippy cannot tell these methods from those of `Vec`.
#[test]
fn heapless_collections_are_never_filled_by_a_method_that_panics() {
    let mut wrong = Vec::new();
    for file in sources() {
        let all = file.room() == Some("gate") || file.code().any(|(_, line)| is_heapless(line));
        for (at, line) in file.code() {
            let fills = PANIC_WHEN_FULL.iter().any(|method| line.contains(method));
            let heapless = is_heapless(line) || line.contains("Text<") || line.contains("Members<");
            let on_heap = line.contains("Vec<")
                || ON_THE_HEAP.iter().any(|(name, text)| file.name == *name && line.contains(text));
            if fills && (heapless || all && !on_heap) {
                wrong.push(format!("{}:{at}: panics when full; use push or try_from", file.name));
            }
        }
    }
    report(wrong);
}

#[test]
fn unsafe_is_forbidden_in_three_crates_and_source_is_ascii() {
    let mut wrong = Vec::new();
    for name in ["src/lib.rs", "src/main.rs", "json/src/lib.rs"] {
        if !read(name).lines().any(|line| line == "#![forbid(unsafe_code)]") {
            wrong.push(format!("{name}: write #![forbid(unsafe_code)] at its top"));
        }
    }
    // without std, the package has neither clock nor output
    if !read("json/src/lib.rs").lines().any(|line| line == "#![no_std]") {
        wrong.push("json/src/lib.rs: write #![no_std] at its top".to_string());
    }
    let all = ["src", "json", "tests"].into_iter().flat_map(|folder| files(&root().join(folder)));
    let source: Vec<PathBuf> = all
        .filter(|path| ["rs", "js", "css", "html"].iter().any(|end| has_extension(path, end)))
        .collect();
    assert!(source.len() > 60, "only {} files were seen", source.len());
    for path in source {
        let text = fs::read_to_string(&path).expect("a source file is text");
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.is_ascii());
        wrong.extend(lines.map(|(at, _)| format!("{}:{at}: not ASCII; escape it", shown(&path))));
    }
    report(wrong);
}

/// Clippy does not check the package in `json` and the code for other systems.
#[test]
fn source_has_no_unfinished_parts_and_no_other_crates() {
    let mut wrong = Vec::new();
    for file in sources() {
        for (at, line) in file.code() {
            let unfinished =
                ["todo!", "unimplemented!", "dbg!"].iter().any(|word| line.contains(word));
            let is_crate = line.contains("extern crate") && file.name != "json/src/lib.rs";
            if unfinished || is_crate {
                wrong.push(format!("{}:{at}: finish it or leave it out: {line}", file.name));
            }
        }
    }
    report(wrong);
}

#[test]
fn every_source_file_is_compiled() {
    let mut wrong = Vec::new();
    for folder in ["src", "json/src", "tests/it", "tests/faults", "tests/sim", "tests/support"] {
        let all = files(&root().join(folder));
        let declared: BTreeSet<String> = all.iter().flat_map(|path| modules(path)).collect();
        assert!(declared.len() > 1, "{folder}: no modules were seen");
        for path in all.iter().filter(|path| has_extension(path, "rs")) {
            let path = path.with_extension("");
            let module = if path.ends_with("mod") { path.parent().unwrap() } else { &path };
            let is_root = ["lib", "main"].iter().any(|root| module.ends_with(root));
            if !is_root && !declared.contains(&shown(module)) {
                wrong.push(format!("{}: no `mod` declares it", shown(module)));
            }
        }
    }
    report(wrong);
}

/// Returns the paths, without extension, of the modules that a file declares.
fn modules(path: &Path) -> Vec<String> {
    let stem = path.with_extension("");
    let is_top = ["lib", "main", "mod"].iter().any(|top| stem.ends_with(top));
    let folder = if is_top { stem.parent().expect("a file is in a folder") } else { &stem };
    let text = fs::read_to_string(path).unwrap_or_default();
    let declared = text.lines().filter_map(|line| {
        let (before, name) = line.strip_suffix(';')?.rsplit_once("mod ")?;
        let visible = before.is_empty() || before.starts_with("pub");
        visible.then(|| shown(&folder.join(name)))
    });
    declared.collect()
}

#[test]
fn refusals_table_matches_the_gate() {
    let mut table =
        String::from("| `details.code` | message | close | what to do |\n|---|---|---|---|\n");
    for refusal in Refusal::ALL {
        let words = refusal.words();
        let hint = Hint::new(words.hint, Fill::default()).to_string();
        let message = match (refusal.message(Protocol::V3), refusal.message(Protocol::V4)) {
            (v3, v4) if v3 == v4 => v4.to_string(),
            (v3, v4) => format!("{v4} (protocol 3: {v3})"),
        };
        writeln!(
            table,
            "| `{}` | {} | {} | {} |",
            words.code,
            cell(&message),
            words.close,
            cell(&hint)
        )
        .unwrap();
    }
    hold_section("targets/REFUSALS.md", "refusals", &table);
}

#[test]
fn rules_table_matches_the_gate() {
    let mut table = String::from("| rule | asks about |\n|---|---|\n");
    for rule in Rule::ALL {
        writeln!(
            table,
            "| {} | {} |",
            rule.number(),
            cell(rule.title()[rule.number().len()..].trim())
        )
        .unwrap();
    }
    hold_section("targets/REFUSALS.md", "rules", &table);
}

#[test]
fn dashboard_rule_names_match_the_gate() {
    let page = read("src/dashboard/sign-in.js");
    for rule in Rule::ALL {
        let name = rule.title()[rule.number().len()..].split(" (").next().unwrap().trim();
        let entry = format!("{}: \"{name}\"", rule.number());
        assert!(page.contains(&entry), "sign-in.js has no {entry}");
    }
}

#[test]
fn each_dependency_has_a_reason() {
    let manifest = read("Cargo.toml");
    let mut depends = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]"
                || line.starts_with("[target.") && line.ends_with(".dependencies]");
        } else if let (true, Some((name, _))) = (inside, line.split_once('=')) {
            depends.insert(name.trim().to_string());
        }
    }
    assert!(depends.len() > 10, "only {} dependencies were seen", depends.len());
    let file = "src/DEPENDENCIES.md";
    let text = read(file);
    let table = text
        .lines()
        .skip_while(|line| !line.starts_with("| crate |"))
        .take_while(|line| line.starts_with('|'));
    let mut reasons = BTreeMap::new();
    for line in table.filter(|line| line.starts_with("| `")) {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let (name, why) = (cells.next().unwrap_or(""), cells.next().unwrap_or(""));
        reasons.insert(name.trim_matches('`').to_string(), why.to_string());
    }
    let named: BTreeSet<String> = reasons.keys().cloned().collect();
    let mut wrong = Vec::new();
    wrong.extend(
        depends
            .difference(&named)
            .map(|name| format!("{file}: add a row that says why {name} is there")),
    );
    wrong.extend(
        named.difference(&depends).map(|name| format!("{file}: {name} is no dependency any more")),
    );
    let silent = reasons.iter().filter(|(_, why)| why.len() < 10);
    wrong.extend(silent.map(|(name, _)| format!("{file}: say why {name} is there")));
    report(wrong);
}

#[test]
fn service_has_the_memory_and_descriptors_of_the_limits() {
    let unit = read("targets/linux/systemd/gatelet.service");
    let value = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    assert_eq!(value("MemoryMax="), format!("{}M", limits::MEMORY >> 20));
    assert_eq!(value("LimitNOFILE="), limits::DESCRIPTORS.to_string());
}

#[test]
fn number_of_locked_packages_is_within_the_limit() {
    let packages = read("Cargo.lock").lines().filter(|line| *line == "[[package]]").count();
    assert!(packages > 20, "only {packages} packages were seen");
    assert!(
        packages <= PACKAGES,
        "{packages} packages in Cargo.lock, {PACKAGES} were agreed; is the new one worth it?"
    );
}

#[test]
fn every_key_and_variable_of_the_configuration_is_documented() {
    let file = "targets/CONFIGURATION.md";
    let text = read(file);
    let mut wrong = Vec::new();
    for key in KEYS {
        let default = match key.kind {
            Kind::Section | Kind::NotUsed => continue,
            Kind::Flag(default) => format!("`{default}`"),
            Kind::Number { default, .. } => default.to_string(),
            _ => String::new(),
        };
        let section = key.path.split_once('.').map_or(key.path, |(section, _)| section);
        let row = text.lines().find(|line| line.starts_with(&format!("| `{}`", key.path)));
        let values = row.map_or("", |row| row.split(" | ").nth(1).unwrap_or(""));
        let named = [format!("`{}`", key.path), format!("`{section}.*`")]
            .iter()
            .any(|name| text.contains(name));
        if !named {
            wrong.push(format!("{file}: {} is not described", key.path));
        } else if row.is_some() && !values.starts_with(&default) {
            wrong.push(format!(
                "{file}: the row of {} must begin with its default, {default}",
                key.path
            ));
        }
    }
    let mut variables = BTreeSet::new();
    for source in
        sources().iter().filter(|source| matches!(source.room(), Some("config" | "server")))
    {
        for word in source.code().flat_map(|(_, line)| line.split('"').skip(1)) {
            if (word.starts_with("GATELET_") || word.starts_with("OPENCLAW_"))
                && !word.contains(' ')
            {
                variables.insert(word.trim_end_matches("_FILE").to_string());
            }
        }
    }
    let unnamed = variables.iter().filter(|name| !text.contains(&format!("`{name}`")));
    wrong.extend(unnamed.map(|name| format!("{file}: the variable {name} is not described")));
    assert!(
        KEYS.len() > 50 && variables.len() > 10,
        "only {} variables were seen",
        variables.len()
    );
    report(wrong);
}

#[test]
fn the_readme_is_short() {
    let lines = read("README.md").lines().count();
    assert!(lines <= README_LINES, "README.md: {lines} lines, {README_LINES} are allowed");
}

#[test]
fn links_in_documents_resolve() {
    let (mut wrong, mut links) = (Vec::new(), 0);
    for document in documents() {
        for (at, target) in document.links() {
            let (path, heading) = target.split_once('#').unwrap_or((&target, ""));
            let linked =
                if path.is_empty() { document.name.clone() } else { document.beside(path) };
            links += 1;
            if !root().join(&linked).exists() {
                wrong.push(format!("{}:{at}: there is no {linked}", document.name));
            } else if !heading.is_empty() && !headings(&read(&linked)).any(|one| one == heading) {
                wrong.push(format!("{}:{at}: {linked} has no heading #{heading}", document.name));
            }
        }
    }
    assert!(links > 40, "only {links} links were seen");
    report(wrong);
}

#[test]
fn each_promise_names_tests_that_exist() {
    check_held_by("tests/README.md", "| promise |");
}

#[test]
fn each_invariant_is_short_and_names_tests_that_exist() {
    check_held_by("src/ARCHITECTURE.md", "| invariant |");
    let text = read("src/ARCHITECTURE.md");
    let rows = text.lines().skip_while(|line| !line.starts_with("| invariant |"));
    let long =
        rows.filter(|row| row.split('|').nth(1).unwrap_or("").split_whitespace().count() > 15);
    report(long.map(|row| format!("src/ARCHITECTURE.md: more than 15 words: {row}")).collect());
}

/// Checks that the last column of each row of a table names files that exist.
fn check_held_by(file: &str, head: &str) {
    let text = read(file);
    let rows = text.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let (mut wrong, mut promises) = (Vec::new(), 0);
    for row in rows.take_while(|line| line.starts_with('|')) {
        promises += 1;
        let held_by = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap_or("");
        let paths: Vec<&str> =
            held_by.split('`').skip(1).step_by(2).filter(|path| path.contains('/')).collect();
        let missing = paths.iter().filter(|path| !root().join(path).exists());
        wrong.extend(missing.map(|path| format!("{file}: there is no {path}: {row}")));
        if paths.is_empty() {
            wrong.push(format!("{file}: name the test that holds this: {row}"));
        }
    }
    assert!(promises > 20, "only {promises} promises were seen");
    report(wrong);
}

// --- reading the documents

struct Document {
    /// Path from the root of the repository.
    name: String,
    text: String,
}

impl Document {
    /// Returns the line and target of each link to a file or heading of this repository.
    fn links(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (at, line) in (1..).zip(self.text.lines()).filter(|(_, line)| !line.starts_with("    "))
        {
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            let local = targets.map(|(target, _)| target).filter(|target| !target.contains("://"));
            found.extend(local.map(|target| (at, target.to_string())));
        }
        found
    }

    /// Returns the path from the root of the repository for a path relative to this document.
    fn beside(&self, path: &str) -> String {
        let mut parts: Vec<&str> = self.name.split('/').collect();
        parts.pop();
        for part in path.split('/') {
            match part {
                ".." => _ = parts.pop(),
                part => parts.push(part),
            }
        }
        parts.join("/")
    }
}

/// Returns every Markdown file of the repository.
fn documents() -> Vec<Document> {
    let paths = files(root()).into_iter().filter(|path| has_extension(path, "md"));
    let read = |path: PathBuf| Document { name: shown(&path), text: read(&shown(&path)) };
    let found: Vec<Document> = paths.map(read).collect();
    assert!(found.len() > 20, "only {} documents were seen", found.len());
    found
}

/// Returns the anchors of the headings: lower case, blanks as hyphens, punctuation removed.
fn headings(text: &str) -> impl Iterator<Item = String> + '_ {
    let titles = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim());
    titles.map(|title| {
        let kept =
            title.chars().filter(|char| char.is_alphanumeric() || [' ', '-', '_'].contains(char));
        kept.map(|char| if char == ' ' { '-' } else { char.to_ascii_lowercase() }).collect()
    })
}

// --- reading the source

struct Source {
    /// Path such as `src/gate/ids.rs`.
    name: String,
    text: String,
    /// The whole file is test code.
    is_test: bool,
}

impl Source {
    /// Returns the top-level module that the file belongs to.
    fn room(&self) -> Option<&str> {
        let path = self.name.strip_prefix("src/")?.trim_end_matches(".rs");
        let room = path.split('/').next().unwrap_or(path);
        (!["lib", "main"].contains(&room)).then_some(room)
    }

    /// Returns the lines of code before the inline tests, numbered from 1.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.text.find("\n#[cfg(test)]\nmod ").map_or(self.text.len(), |at| at + 1);
        let end = if self.is_test { 0 } else { tests };
        (1..).zip(self.text[..end].lines()).filter(|(_, line)| is_code(line))
    }

    /// Returns the first segments of paths that start at the crate, with their line numbers. It is
    /// empty if the path continues with a group.
    fn rooms_named(&self) -> Vec<(usize, &str)> {
        let path = self.name.trim_start_matches("src/").trim_end_matches(".rs");
        let depth = path.trim_end_matches("/mod").split('/').count();
        let mut found = Vec::new();
        for start in ["crate::".to_string(), "super::".repeat(depth)] {
            for (at, line) in self.code() {
                let starts = line.match_indices(&start).filter(|(place, _)| {
                    !line[..*place].ends_with(|char: char| is_word(char) || ":$".contains(char))
                });
                let rests = starts.map(|(place, _)| &line[place + start.len()..]);
                found.extend(rests.map(|rest| (at, rest.split(|c| !is_word(c)).next().unwrap())));
            }
        }
        found
    }

    /// Returns the number of lines of each function. Relies on rustfmt: a body ends at a brace in
    /// the column of its `fn`.
    fn functions(&self) -> Vec<usize> {
        let lines: Vec<&str> = self.code().map(|(_, line)| line).collect();
        let indent = |line: &str| line.len() - line.trim_start().len();
        let mut found = Vec::new();
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| is_function(line)) {
            let is_end =
                |rest: &&str| indent(rest) <= indent(line) && rest.trim_end().ends_with(['}', ';']);
            let rest = lines[index..].iter().copied();
            found.push(rest.clone().position(|line| is_end(&line)).map_or(1, |at| at + 1));
        }
        found
    }
}

fn sources() -> Vec<Source> {
    let all = ["src", "json/src"].into_iter().flat_map(|folder| files(&root().join(folder)));
    let paths: Vec<PathBuf> = all.filter(|path| has_extension(path, "rs")).collect();
    let tests: BTreeSet<String> = paths.iter().flat_map(|path| test_modules(path)).collect();
    let read = |path: &PathBuf| Source {
        name: shown(path),
        text: read(&shown(path)),
        is_test: tests.contains(&shown(&path.with_extension(""))),
    };
    assert!(paths.len() > 40, "only {} files were seen", paths.len());
    paths.iter().map(read).collect()
}

/// Returns the paths, without extension, of the modules that are declared for tests only.
fn test_modules(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("a source file is text");
    let declared = text.split("#[cfg(test)]\nmod ").skip(1);
    let names: Vec<&str> =
        declared.filter_map(|rest| rest.lines().next()?.strip_suffix(';')).collect();
    let is_test = |module: &String| names.iter().any(|name| Path::new(module).ends_with(name));
    modules(path).into_iter().filter(is_test).collect()
}

fn is_room(name: &str) -> bool {
    ARROWS.iter().any(|(room, _)| *room == name)
}

fn is_code(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

fn is_heapless(line: &str) -> bool {
    line.contains("heapless::")
}

fn is_function(line: &str) -> bool {
    let before = line.split("fn ").next().unwrap_or("");
    let words = ["pub", "pub(crate)", "pub(super)", "const", "async"];
    before.len() < line.len() && before.split_whitespace().all(|word| words.contains(&word))
}

// --- files, tables, and the report

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shown(path: &Path) -> String {
    let inside = path.strip_prefix(root()).unwrap_or(path);
    inside.to_string_lossy().replace('\\', "/")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name))
        .unwrap_or_else(|error| panic!("cannot read {name}: {error}"))
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|end| end == extension)
}

/// Returns all files below `folder`, in order, except those of tools and builds.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()))
    {
        let path = entry.expect("a folder can be listed").path();
        let skipped = [".git", "node_modules", "target"].iter().any(|name| path.ends_with(name));
        if path.is_dir() && !skipped {
            found.extend(files(&path));
        } else if path.is_file() && !skipped {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Checks that the part of the document between the section's two marks is `expected`; with
/// `UPDATE=1` writes it.
fn hold_section(file: &str, mark: &str, expected: &str) {
    let document = read(file);
    let (open, close) = (format!("<!-- {mark} -->\n"), format!("<!-- /{mark} -->"));
    let parts = document
        .split_once(&open)
        .and_then(|(before, rest)| Some((before, rest.split_once(&close)?)));
    let Some((before, (is, after))) = parts else {
        panic!("{file}: the marks `{}` and `{close}` must enclose a table", open.trim());
    };
    if is == expected {
        return;
    }
    if std::env::var_os("UPDATE").is_none() {
        let first = is.lines().zip(expected.lines()).find(|(is, shall)| is != shall);
        panic!("{file}: the table of {mark} is out of step; run UPDATE=1 cargo test --test tidy\nfirst: {first:#?}");
    }
    let text = format!("{before}{open}{expected}{close}{after}");
    fs::write(root().join(file), text)
        .unwrap_or_else(|error| panic!("cannot write {file}: {error}"));
}

fn report(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
