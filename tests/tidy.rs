//! The style of the house, held by a test: who imports whom, how long things are, what must not be written, and the tables of
//! README in step with the code. `UPDATE=1 cargo test --test tidy` rewrites the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use gatelet::gate::facts::Dialect;
use gatelet::gate::refusal::{Fill, Hint, Refusal, Rule};

/// Which room may import which; everything may import itself.
const ARROWS: [(&str, &[&str]); 8] = [
    ("gate", &[]),
    ("dashboard", &[]),
    ("store", &["gate"]),
    ("wire", &["gate"]),
    ("config", &["gate"]),
    ("rpc", &["gate", "store", "wire", "config"]),
    ("server", &["gate", "store", "wire", "config", "rpc", "dashboard"]),
    ("cli", &["gate", "store", "wire", "config", "rpc", "server", "dashboard"]),
];

/// Lines of code in a file and in a function, without blank lines, comments and inline tests.
const FILE_BUDGET: usize = 400;
const FUNCTION_BUDGET: usize = 60;

/// What may be longer, how long, and why.
const LONGER: [(&str, usize, &str); 2] = [
    ("src/gate/refusal.rs", 560, "the words of all refusals stand in one place"),
    ("src/gate/refusal.rs: words", 240, "a table of words is no control flow"),
];

/// Packages in Cargo.lock: a new one is a decision, and this number is where it is made.
const PACKAGES: usize = 82;

/// Where time and randomness may be taken from the system: the ports, and what has no gateway around it.
const CLOCKS: [(&str, &str); 5] = [
    ("src/cli/client.rs", "a command is a client of its own, with its own deadlines and key"),
    ("src/cli/token.rs", "makes a token when no gateway runs"),
    ("src/server/logger.rs", "log lines carry the time of day; nothing is decided by it"),
    ("src/server/ports.rs", "the ports of the running gateway"),
    ("src/store/", "files that are made before a gateway runs"),
];

const FORBIDDEN: [(&str, &[&str], &str); 8] = [
    ("todo!", &[], "finish it, or leave it out"),
    ("unimplemented!", &[], "finish it, or leave it out"),
    ("dbg!", &[], "log what an operator needs, drop the rest"),
    ("println!", &["src/cli/", "src/main.rs"], "return a value and let cli print it, or use log"),
    ("eprintln!", &["src/cli/", "src/main.rs"], "return an error and let cli print it, or use log"),
    ("print!", &["src/cli/", "src/main.rs"], "return a value and let cli print it, or use log"),
    ("eprint!", &["src/cli/", "src/main.rs"], "return an error and let cli print it, or use log"),
    ("extern crate", &[], "core, heapless and subtle are all that the gate may use; elsewhere the edition does it"),
];

#[test]
fn rooms_import_only_what_their_arrow_allows() {
    let mut wrong = Vec::new();
    let mut imports = 0;
    for file in sources() {
        let Some(room) = file.room() else { continue };
        let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == room) else {
            wrong.push(format!("{}: {room} is no room of design.md; give it an arrow here", file.name));
            continue;
        };
        for (line, target) in file.rooms_named() {
            imports += 1;
            if target != room && is_room(&target) && !allowed.contains(&target.as_str()) {
                wrong.push(format!(
                    "{}:{line}: {room} imports {target}; it may import {allowed:?}, so move the thing down or pass it in",
                    file.name
                ));
            }
        }
    }
    assert!(imports > 100, "only {imports} imports were seen");
    report(wrong);
}

#[test]
fn files_and_functions_keep_their_budgets() {
    let (mut wrong, mut functions) = (Vec::new(), Vec::new());
    for file in sources() {
        let lines = file.code().filter(|(_, line)| is_code(line)).count();
        if lines > budget(&file.name, FILE_BUDGET) {
            wrong.push(format!("{}: {lines} lines of code; split it by what changes together", file.name));
        }
        for (line, name, length) in file.functions() {
            let item = format!("{}: {name}", file.name);
            if length > budget(&item, FUNCTION_BUDGET) {
                wrong.push(format!("{}:{line}: {name} has {length} lines; name its parts", file.name));
            }
            functions.push(length);
        }
    }
    functions.sort_unstable();
    let count = functions.len();
    assert!(count > 400 && functions[count / 2] > 1, "only {count} functions were seen");
    let ninth = functions[count * 9 / 10];
    if ninth > 25 {
        wrong.push(format!("nine of ten functions should have at most 25 lines, it is {ninth}"));
    }
    report(wrong);
}

#[test]
fn nothing_unfinished_and_no_chatter_is_left() {
    let mut wrong = Vec::new();
    for file in sources() {
        for (at, line) in file.code() {
            for (word, allowed, advice) in FORBIDDEN {
                if names(line, word) && !allowed.iter().any(|prefix| file.name.starts_with(prefix)) {
                    wrong.push(format!("{}:{at}: `{word}`: {advice}", file.name));
                }
            }
        }
    }
    report(wrong);
}

#[test]
fn time_and_randomness_enter_through_the_ports_only() {
    let (mut wrong, mut used) = (Vec::new(), BTreeSet::new());
    for file in sources() {
        let port = CLOCKS.iter().find(|(prefix, _)| file.name.starts_with(prefix));
        for (at, line) in file.code().filter(|(_, line)| is_code(line)) {
            for source in ["Instant::now", "SystemTime::now", "getrandom::", ".elapsed()"] {
                match port {
                    _ if !line.contains(source) => {}
                    Some((prefix, _)) => _ = used.insert(*prefix),
                    None => {
                        wrong.push(format!("{}:{at}: `{source}`: take it as an argument or from a port", file.name))
                    }
                }
            }
        }
    }
    for (prefix, why) in CLOCKS {
        if !used.contains(prefix) {
            wrong.push(format!("{prefix} needs no permission any more ({why}); strike it from CLOCKS"));
        }
    }
    report(wrong);
}

#[test]
fn unsafe_is_forbidden_in_both_crates_and_source_is_ascii() {
    let mut wrong = Vec::new();
    for name in ["src/lib.rs", "src/main.rs"] {
        if !read(name).lines().any(|line| line == "#![forbid(unsafe_code)]") {
            wrong.push(format!("{name}: write #![forbid(unsafe_code)] at its top"));
        }
    }
    let mut looked = 0;
    for path in files(&root().join("src")).into_iter().chain(files(&root().join("tests"))) {
        let is_source = path.extension().is_some_and(|end| ["rs", "js", "css", "html"].iter().any(|one| end == *one));
        let foreign = path.components().any(|part| part.as_os_str() == "node_modules" || part.as_os_str() == "target");
        if !is_source || foreign {
            continue;
        }
        looked += 1;
        let text = fs::read(&path).expect("a source file can be read");
        if let Some(at) = text.iter().position(|byte| !byte.is_ascii()) {
            let line = text[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
            wrong.push(format!("{}:{line}: not ASCII; write it as an escape", shown(&path)));
        }
    }
    assert!(looked > 60, "only {looked} files were seen");
    report(wrong);
}

#[test]
fn every_source_file_is_compiled() {
    let mut wrong = Vec::new();
    let mut reached = 0;
    let main = &["main.rs"][..];
    for (folder, tops) in [("src", &["lib.rs", "main.rs"][..]), ("tests/it", main), ("tests/faults", main)] {
        let base = root().join(folder);
        let tops: Vec<PathBuf> = tops.iter().map(|top| base.join(top)).collect();
        for path in files(&base).into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs")) {
            if tops.contains(&path) {
                continue;
            }
            let (module, parents) = parents(&path, &tops);
            let declared = |parent: &PathBuf| {
                let text = fs::read_to_string(parent).unwrap_or_default();
                text.lines().any(|line| {
                    let line = line.trim().trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
                    line.trim_start_matches("pub ") == format!("mod {module};")
                })
            };
            if parents.iter().any(declared) {
                reached += 1;
            } else {
                wrong.push(format!("{}: no `mod {module};` names it; declare it or delete it", shown(&path)));
            }
        }
    }
    assert!(reached > 40, "only {reached} files were seen");
    report(wrong);
}

#[test]
fn the_refusals_of_the_readme_are_those_of_the_gate() {
    let mut table = String::from("| `details.code` | message | close | what to do |\n|---|---|---|---|\n");
    for refusal in Refusal::ALL {
        let words = refusal.words();
        let hint = Hint::new(words.hint, Fill::default()).to_string();
        let message = match (refusal.message(Dialect::V3), refusal.message(Dialect::V4)) {
            (v3, v4) if v3 == v4 => v4.to_string(),
            (v3, v4) => format!("{v4} (protocol 3: {v3})"),
        };
        writeln!(table, "| `{}` | {} | {} | {} |", words.code, cell(&message), words.close, cell(&hint)).unwrap();
    }
    hold_section("refusals", &table);
}

#[test]
fn the_rules_of_the_readme_are_those_of_the_gate() {
    let mut table = String::from("| rule | asks about |\n|---|---|\n");
    for rule in Rule::ALL {
        writeln!(table, "| {} | {} |", rule.number(), cell(rule.title()[rule.number().len()..].trim())).unwrap();
    }
    hold_section("rules", &table);
}

#[test]
fn the_page_names_the_rules_as_the_gate_does() {
    let door = read("src/dashboard/door.js");
    for rule in Rule::ALL {
        let name = rule.title()[rule.number().len()..].split(" (").next().unwrap().trim();
        let entry = format!("{}: \"{name}\"", rule.number());
        assert!(door.contains(&entry), "door.js has no {entry}");
    }
}

#[test]
fn each_dependency_has_its_reason_in_the_readme() {
    let manifest = read("Cargo.toml");
    let mut depends = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]" || line.starts_with("[target.") && line.ends_with(".dependencies]");
        } else if let (true, Some((name, _))) = (inside, line.split_once('=')) {
            depends.insert(name.trim().to_string());
        }
    }
    assert!(depends.len() > 10, "only {} dependencies were seen", depends.len());
    let readme = read("README.md");
    let section = readme.split("\n## ").find(|section| section.starts_with("Dependencies")).unwrap_or("");
    let mut reasons = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let (name, why) = (cells.next().unwrap_or(""), cells.next().unwrap_or(""));
        reasons.insert(name.trim_matches('`').to_string(), why.to_string());
    }
    let named: BTreeSet<String> = reasons.keys().cloned().collect();
    let mut wrong = Vec::new();
    wrong.extend(depends.difference(&named).map(|name| format!("README.md: say in Dependencies why {name} is there")));
    wrong.extend(named.difference(&depends).map(|name| format!("README.md: {name} is no dependency any more")));
    let silent = reasons.iter().filter(|(_, why)| why.len() < 10);
    wrong.extend(silent.map(|(name, _)| format!("README.md: say why {name} is there")));
    report(wrong);
}

#[test]
fn no_package_comes_in_unnoticed() {
    let packages = read("Cargo.lock").lines().filter(|line| *line == "[[package]]").count();
    assert!(packages > 20, "only {packages} packages were seen");
    assert!(
        packages <= PACKAGES,
        "{packages} packages in Cargo.lock, {PACKAGES} were agreed; is the new one worth it?"
    );
}

// --- reading the source -----------------------------------------------------------------------------------------------

struct Source {
    /// As in `src/gate/ids.rs`.
    name: String,
    text: String,
    /// The whole file is for tests.
    is_test: bool,
}

impl Source {
    /// The folder under `src`, if it is in one.
    fn room(&self) -> Option<&str> {
        self.name.strip_prefix("src/")?.split_once('/').map(|(room, _)| room)
    }

    /// Lines before the inline tests, numbered from 1.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.text.find("\n#[cfg(test)]\nmod ").map_or(self.text.len(), |at| at + 1);
        let end = if self.is_test { 0 } else { tests };
        (1..).zip(self.text[..end].lines())
    }

    /// First parts of the paths that start at the crate, with the line they stand on.
    fn rooms_named(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let depth = self.depth();
        let code: Vec<(usize, &str)> = self.code().filter(|(_, line)| is_code(line)).collect();
        for (index, (at, line)) in code.iter().enumerate() {
            let from_crate = ["crate::".to_string(), "super::".repeat(depth)];
            for start in from_crate.iter().filter(|start| !start.is_empty()) {
                for (place, _) in line.match_indices(start.as_str()) {
                    let before = line[..place].chars().next_back().unwrap_or(' ');
                    if before.is_alphanumeric() || before == '_' || before == ':' || before == '$' {
                        continue;
                    }
                    let rest: String = code[index..].iter().map(|(_, line)| *line).collect::<Vec<_>>().join(" ");
                    found.extend(firsts(&rest[place + start.len()..]).into_iter().map(|name| (*at, name)));
                }
            }
        }
        found
    }

    /// How many `super::` lead to the crate.
    fn depth(&self) -> usize {
        let path = self.name.trim_start_matches("src/").trim_end_matches(".rs");
        path.trim_end_matches("/mod").split('/').count()
    }

    /// Line, name and lines of code of each function. Trusts rustfmt: a body ends at a brace under its `fn`.
    fn functions(&self) -> Vec<(usize, String, usize)> {
        let lines: Vec<(usize, &str)> = self.code().collect();
        let mut found = Vec::new();
        for (index, (at, line)) in lines.iter().enumerate() {
            let Some(name) = function_name(line) else { continue };
            let indent = line.len() - line.trim_start().len();
            let ends = |line: &str| {
                let same_indent = line.len() - line.trim_start().len() == indent;
                same_indent && (line.trim_start().starts_with('}') || line.trim_end().ends_with(';'))
            };
            let one_line = line.trim_end().ends_with(['}', ';']);
            let body = lines[index + 1..].iter().take_while(|(_, line)| !one_line && !ends(line));
            let length = 1 + body.filter(|(_, line)| is_code(line)).count() + usize::from(!one_line);
            found.push((*at, name, length));
        }
        found
    }
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut test_files = BTreeSet::new();
    for path in files(&root().join("src")) {
        if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).expect("a source file is text");
            for (at, _) in text.match_indices("#[cfg(test)]\nmod ") {
                let name = text[at + "#[cfg(test)]\nmod ".len()..].split([';', ' ']).next().unwrap_or("");
                let folder = path.with_extension("");
                let folder = if folder.ends_with("mod") { path.parent().map(PathBuf::from) } else { Some(folder) };
                test_files.extend(folder.map(|folder| shown(&folder.join(format!("{name}.rs")))));
            }
            found.push(Source { name: shown(&path), text, is_test: false });
        }
    }
    for source in &mut found {
        source.is_test = test_files.contains(&source.name);
    }
    assert!(found.len() > 40, "only {} files were seen", found.len());
    found
}

fn is_room(name: &str) -> bool {
    ARROWS.iter().any(|(room, _)| *room == name)
}

fn budget(item: &str, usual: usize) -> usize {
    LONGER.iter().find(|(longer, ..)| *longer == item).map_or(usual, |(_, lines, _why)| *lines)
}

fn is_code(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

/// The word stands in the line as a whole, and not in a comment.
fn names(line: &str, word: &str) -> bool {
    let line = line.split("//").next().unwrap_or("");
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().unwrap_or(' ');
        !before.is_alphanumeric() && before != '_'
    })
}

fn function_name(line: &str) -> Option<String> {
    let mut rest = line.trim_start();
    for word in ["pub ", "pub(crate) ", "pub(super) ", "const ", "async ", "unsafe "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let name: String =
        rest.strip_prefix("fn ")?.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The names with which the parts of a path begin: of `a::b` only `a`, of `{a::b, c}` both.
fn firsts(path: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim().chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![word(path)];
    };
    let (mut depth, mut part, mut parts) = (0, String::new(), Vec::new());
    for char in group.chars() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => parts.push(std::mem::take(&mut part)),
            _ => {}
        }
        if char != ',' || depth > 0 {
            part.push(char);
        }
    }
    parts.push(part);
    parts.iter().map(|part| word(part)).filter(|name| !name.is_empty()).collect()
}

/// The module that a file is, and the files one of which must declare it.
fn parents(path: &Path, tops: &[PathBuf]) -> (String, Vec<PathBuf>) {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("").to_string();
    let folder = path.parent().expect("a file is in a folder");
    let (module, folder) = if stem == "mod" {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or("");
        (name.to_string(), folder.parent().expect("a module is in a folder"))
    } else {
        (stem, folder)
    };
    if tops.iter().any(|top| top.parent() == Some(folder)) {
        (module, tops.to_vec())
    } else {
        (module, vec![folder.join("mod.rs"), folder.with_extension("rs")])
    }
}

// --- files, README, and the report --------------------------------------------------------------------------------------

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shown(path: &Path) -> String {
    let inside = path.strip_prefix(root()).unwrap_or(path);
    inside.to_string_lossy().replace('\\', "/")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("cannot read {name}: {error}"))
}

/// All files below, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display())) {
        let path = entry.expect("a folder can be listed").path();
        let skipped = path.ends_with("node_modules") || path.ends_with("target");
        if path.is_dir() && !skipped {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The part of README between the section's two marks is this; with `UPDATE=1` it is made so.
fn hold_section(mark: &str, expected: &str) {
    let readme = read("README.md");
    let (open, close) = (format!("<!-- {mark} -->\n"), format!("<!-- /{mark} -->"));
    let parts = readme.split_once(&open).and_then(|(before, rest)| Some((before, rest.split_once(&close)?)));
    let Some((before, (is, after))) = parts else {
        panic!("README.md: the marks `{}` and `{close}` must enclose a table", open.trim());
    };
    if is == expected {
        return;
    }
    if std::env::var_os("UPDATE").is_none() {
        let first = is.lines().zip(expected.lines()).find(|(is, shall)| is != shall);
        panic!("README.md: the table of {mark} is out of step; run UPDATE=1 cargo test --test tidy\nfirst: {first:#?}");
    }
    let text = format!("{before}{open}{expected}{close}{after}");
    fs::write(root().join("README.md"), text).expect("README.md can be written");
}

fn report(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
