//! Code style, enforced by a test: imports between the modules of the crate, sizes, forbidden text,
//! tables in documents that match the code, and documents that are short and narrow and whose links
//! resolve. `UPDATE=1 cargo test --test tidy` rewrites the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use gatelet::config::{Kind, KEYS};
use gatelet::gate::facts::Protocol;
use gatelet::gate::refusal::{Fill, Hint, Refusal, Rule};

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

/// Lines of code (at 100 columns) in a file and in a function, without blank lines, comments and
/// inline tests.
const FILE_BUDGET: usize = 470;
const FUNCTION_BUDGET: usize = 65;

/// Exceptions from the limits, with the new limit and the reason.
const LONGER: [(&str, usize, &str); 2] = [
    ("src/gate/refusal.rs", 560, "the words of all refusals stand in one place"),
    ("src/gate/refusal.rs: words", 240, "a table of words is no control flow"),
];

/// Packages in Cargo.lock: adding one is a decision, recorded by changing this number.
const PACKAGES: usize = 110;

/// Files that may take time and randomness from the system: the ports, and code that runs outside
/// of a gateway.
const CLOCKS: [(&str, &str); 5] = [
    ("src/client.rs", "a command is a client of its own, with its own deadlines and key"),
    ("src/cli/token.rs", "makes a token when no gateway runs"),
    ("src/server/os/logger.rs", "log lines carry the time of day; nothing is decided by it"),
    ("src/server/os/clock.rs", "the ports of the running gateway"),
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
    (
        "extern crate",
        &[],
        "core, heapless and subtle are all that the gate may use; elsewhere the edition does it",
    ),
];

/// Greatest number of lines in the README.
const README_LINES: usize = 130;

/// Greatest number of columns in a line of a document, outside of tables.
const DOCUMENT_COLUMNS: usize = 100;

/// Documents with wider lines. To be removed from this list when the document is next rewritten.
const WIDE_DOCUMENTS: [&str; 2] = ["src/ARCHITECTURE.md", "targets/README.md"];

#[test]
fn modules_import_only_allowed_modules() {
    let mut wrong = Vec::new();
    let mut imports = 0;
    for file in sources() {
        let Some(room) = file.room() else { continue };
        let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == room) else {
            wrong.push(format!(
                "{}: {room} is no room of design.md; give it an arrow here",
                file.name
            ));
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
fn files_and_functions_keep_their_size_limits() {
    let (mut wrong, mut functions) = (Vec::new(), Vec::new());
    for file in sources() {
        let lines = file.code().filter(|(_, line)| is_code(line)).count();
        if lines > budget(&file.name, FILE_BUDGET) {
            wrong.push(format!(
                "{}: {lines} lines of code; split it by what changes together",
                file.name
            ));
        }
        for (line, name, length) in file.functions() {
            let item = format!("{}: {name}", file.name);
            if length > budget(&item, FUNCTION_BUDGET) {
                wrong.push(format!(
                    "{}:{line}: {name} has {length} lines; name its parts",
                    file.name
                ));
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
fn source_has_no_todo_markers_and_no_debug_output() {
    let mut wrong = Vec::new();
    for file in sources() {
        for (at, line) in file.code() {
            for (word, allowed, advice) in FORBIDDEN {
                if names(line, word) && !allowed.iter().any(|prefix| file.name.starts_with(prefix))
                {
                    wrong.push(format!("{}:{at}: `{word}`: {advice}", file.name));
                }
            }
        }
    }
    report(wrong);
}

/// `extend`, `collect` and `from_iter` panic when a heapless collection is full; `push` and
/// `try_from` say so. The names of methods are the same for `Vec`, so a lint of the compiler cannot
/// tell them apart.
#[test]
fn heapless_collections_are_never_filled_by_what_panics() {
    let aliases = heapless_aliases(&sources());
    assert!(aliases.len() >= 2, "only {aliases:?} were seen");
    let planted = [
        ("let names: heapless::Vec<u8, 4> = bytes.iter().copied().collect();", 1),
        ("let names = bytes.iter().collect::<heapless::Vec<_, 4>>();", 1),
        ("struct A { names: heapless::Vec<u8, 4> }\nself.names.extend(bytes);", 1),
        ("let mut text = heapless::String::<8>::new();\ntext.extend(chars);", 1),
        ("fn read(bytes: &[u8]) -> Option<heapless::Vec<u8, 4>> {\n    Some(bytes.iter().collect())\n}", 1),
        ("let text = Text::<4>::from_iter(chars);", 1),
        ("fn fill(text: &mut Text<4>) {\n    text.extend(chars);\n}", 1),
        ("struct A { text: Text<4> }\nlet a = A { text: chars.collect() };", 1),
        ("let names: Vec<u8> = bytes.collect();\nnames.extend(more);\nlet text: Text<4> = clip(name);", 0),
        ("struct A { names: heapless::Vec<u8, 4> }\nself.names.extend_from_slice(bytes)?;", 0),
    ];
    for (code, expected) in planted {
        let lines: Vec<&str> = code.lines().collect();
        assert_eq!(filled_at_once(&lines, &aliases).len(), expected, "{code}");
    }
    let mut wrong = Vec::new();
    for file in sources() {
        let lines: Vec<&str> = file.code().map(|(_, line)| line).collect();
        for at in filled_at_once(&lines, &aliases) {
            wrong.push(format!(
                "{}:{at}: panics when it is full; push one by one, or try_from",
                file.name
            ));
        }
    }
    report(wrong);
}

#[test]
fn time_and_randomness_are_read_only_in_listed_files() {
    let (mut wrong, mut used) = (Vec::new(), BTreeSet::new());
    for file in sources() {
        let port = CLOCKS.iter().find(|(prefix, _)| file.name.starts_with(prefix));
        for (at, line) in file.code().filter(|(_, line)| is_code(line)) {
            for source in ["Instant::now", "SystemTime::now", "getrandom::", ".elapsed()"] {
                match port {
                    _ if !line.contains(source) => {}
                    Some((prefix, _)) => _ = used.insert(*prefix),
                    None => wrong.push(format!(
                        "{}:{at}: `{source}`: take it as an argument or from a port",
                        file.name
                    )),
                }
            }
        }
    }
    for (prefix, why) in CLOCKS {
        if !used.contains(prefix) {
            wrong.push(format!(
                "{prefix} needs no permission any more ({why}); strike it from CLOCKS"
            ));
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
    let mut looked = 0;
    for path in ["src", "json", "tests"].iter().flat_map(|folder| files(&root().join(folder))) {
        let is_source = path
            .extension()
            .is_some_and(|end| ["rs", "js", "css", "html"].iter().any(|one| end == *one));
        let foreign = path
            .components()
            .any(|part| part.as_os_str() == "node_modules" || part.as_os_str() == "target");
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
    let lib = &["lib.rs"][..];
    let crates = [
        ("src", &["lib.rs", "main.rs"][..]),
        ("json/src", lib),
        ("tests/it", main),
        ("tests/faults", main),
    ];
    for (folder, tops) in crates {
        let base = root().join(folder);
        let tops: Vec<PathBuf> = tops.iter().map(|top| base.join(top)).collect();
        for path in
            files(&base).into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"))
        {
            if tops.contains(&path) {
                continue;
            }
            let (module, parents) = parents(&path, &tops);
            let declared = |parent: &PathBuf| {
                let text = fs::read_to_string(parent).unwrap_or_default();
                text.lines().any(|line| {
                    let line = line
                        .trim()
                        .trim_start_matches("pub(crate) ")
                        .trim_start_matches("pub(super) ");
                    line.trim_start_matches("pub ") == format!("mod {module};")
                })
            };
            if parents.iter().any(declared) {
                reached += 1;
            } else {
                wrong.push(format!(
                    "{}: no `mod {module};` names it; declare it or delete it",
                    shown(&path)
                ));
            }
        }
    }
    assert!(reached > 40, "only {reached} files were seen");
    report(wrong);
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
    let door = read("src/dashboard/door.js");
    for rule in Rule::ALL {
        let name = rule.title()[rule.number().len()..].split(" (").next().unwrap().trim();
        let entry = format!("{}: \"{name}\"", rule.number());
        assert!(door.contains(&entry), "door.js has no {entry}");
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
            Kind::Number(_, _, default) => default.to_string(),
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
        for word in source
            .code()
            .filter(|(_, line)| is_code(line))
            .flat_map(|(_, line)| line.split('"').skip(1))
        {
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
fn documents_are_narrow_and_the_readme_is_short() {
    let mut wrong = Vec::new();
    let lines = read("README.md").lines().count();
    if lines > README_LINES {
        wrong.push(format!("README.md: {lines} lines, {README_LINES} are allowed; move details to a page it links to"));
    }
    for Document { name, text } in
        documents().iter().filter(|one| !WIDE_DOCUMENTS.contains(&one.name.as_str()))
    {
        for (at, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with('|')) {
            let columns = line.chars().count();
            if columns > DOCUMENT_COLUMNS {
                wrong.push(format!(
                    "{name}:{at}: {columns} columns; break the line at {DOCUMENT_COLUMNS}"
                ));
            }
        }
    }
    report(wrong);
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
    let file = "tests/README.md";
    let text = read(file);
    let rows = text.lines().skip_while(|line| !line.starts_with("| promise |")).skip(2);
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
    /// Line and target of each link to a file or heading of this repository.
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

    /// Path from the root of the repository for a path relative to this document.
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

/// Every Markdown file of the repository.
fn documents() -> Vec<Document> {
    let here = fs::read_dir(root())
        .expect("the repository can be listed")
        .flatten()
        .map(|entry| entry.path());
    let folders = [".github", "findings", "src", "targets", "tests"].into_iter();
    let below = folders.flat_map(|folder| files(&root().join(folder)));
    let all = here.filter(|path| path.is_file()).chain(below);
    let markdown = all.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let read = |path: PathBuf| Document { name: shown(&path), text: read(&shown(&path)) };
    let found: Vec<Document> = markdown.map(read).collect();
    assert!(found.len() > 20, "only {} documents were seen", found.len());
    found
}

/// The anchors of the headings: lower case, blanks as hyphens, punctuation removed.
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
        let path = self.name.strip_prefix("src/")?;
        let room = path.split_once('/').map_or(path.trim_end_matches(".rs"), |(room, _)| room);
        Some(room).filter(|room| !["lib", "main"].contains(room))
    }

    /// Returns the lines before the inline tests, numbered from 1.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.text.find("\n#[cfg(test)]\nmod ").map_or(self.text.len(), |at| at + 1);
        let end = if self.is_test { 0 } else { tests };
        (1..).zip(self.text[..end].lines())
    }

    /// Returns the first segments of paths that start at the crate, with their line numbers.
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
                    let rest: String =
                        code[index..].iter().map(|(_, line)| *line).collect::<Vec<_>>().join(" ");
                    found.extend(
                        firsts(&rest[place + start.len()..]).into_iter().map(|name| (*at, name)),
                    );
                }
            }
        }
        found
    }

    /// Returns the number of `super::` from this file to the crate root.
    fn depth(&self) -> usize {
        let path = self.name.trim_start_matches("src/").trim_end_matches(".rs");
        path.trim_end_matches("/mod").split('/').count()
    }

    /// Returns line, name and lines of code of each function. Relies on rustfmt: a body ends at a
    /// brace in the column of its `fn`.
    fn functions(&self) -> Vec<(usize, String, usize)> {
        let lines: Vec<(usize, &str)> = self.code().collect();
        let mut found = Vec::new();
        for (index, (at, line)) in lines.iter().enumerate() {
            let Some(name) = function_name(line) else { continue };
            let indent = line.len() - line.trim_start().len();
            let ends = |line: &str| {
                let same_indent = line.len() - line.trim_start().len() == indent;
                same_indent
                    && (line.trim_start().starts_with('}') || line.trim_end().ends_with(';'))
            };
            let one_line = line.trim_end().ends_with(['}', ';']);
            let body = lines[index + 1..].iter().take_while(|(_, line)| !one_line && !ends(line));
            let length =
                1 + body.filter(|(_, line)| is_code(line)).count() + usize::from(!one_line);
            found.push((*at, name, length));
        }
        found
    }
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut test_files = BTreeSet::new();
    for path in ["src", "json/src"].iter().flat_map(|folder| files(&root().join(folder))) {
        if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).expect("a source file is text");
            for (at, _) in text.match_indices("#[cfg(test)]\nmod ") {
                let name =
                    text[at + "#[cfg(test)]\nmod ".len()..].split([';', ' ']).next().unwrap_or("");
                let folder = path.with_extension("");
                let folder = if folder.ends_with("mod") {
                    path.parent().map(PathBuf::from)
                } else {
                    Some(folder)
                };
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

/// The types that stand for a heapless collection, with what their names are followed by.
fn heapless_aliases(sources: &[Source]) -> Vec<String> {
    let mut aliases = vec!["heapless::".to_string()];
    for line in sources.iter().flat_map(|source| source.code()).map(|(_, line)| line.trim()) {
        let declared = line
            .trim_start_matches("pub ")
            .strip_prefix("type ")
            .and_then(|rest| rest.split_once('='));
        if let Some((name, _)) = declared.filter(|(_, of)| of.trim().starts_with("heapless::")) {
            let name = name.trim().split(['<', ' ']).next().unwrap_or("");
            aliases.extend([format!("{name}<"), format!("{name}::")]);
        }
    }
    aliases
}

/// Lines, numbered from 1, in which a heapless collection is filled by a method that panics.
/// Statements that name such a type, bodies of functions that return one, and variables and fields
/// that were declared with one are looked at.
fn filled_at_once(lines: &[&str], aliases: &[String]) -> Vec<usize> {
    let heapless = |code: &str| aliases.iter().any(|alias| names(code, alias));
    let bare = |line: &str| line.split("//").next().unwrap_or("").trim().to_string();
    let mut declared = BTreeSet::new();
    for line in lines.iter().map(|line| bare(line)).filter(|line| heapless(line)) {
        for (at, _) in line.match_indices(": ").chain(line.match_indices(" = ")) {
            let name = line[..at]
                .rsplit(|char: char| !char.is_alphanumeric() && char != '_')
                .next()
                .unwrap_or("");
            if heapless(&line[at..]) && !name.is_empty() {
                declared.insert(name.to_string());
            }
        }
    }
    let (mut found, mut statement, mut returns) = (Vec::new(), String::new(), None);
    for (index, line) in lines.iter().enumerate() {
        let code = bare(line);
        let indent = line.len() - line.trim_start().len();
        if function_name(line).is_some() {
            returns = code.split_once("->").filter(|(_, kind)| heapless(kind)).map(|_| indent);
        }
        statement.push_str(&code);
        let fills =
            [".collect(", ".collect::<", "from_iter("].iter().any(|method| code.contains(method));
        let extends = declared.iter().any(|name| names(&code, &format!("{name}.extend(")));
        let assigned = declared.iter().any(|name| names(&code, &format!("{name}: ")));
        if extends || fills && (heapless(&statement) || assigned || returns.is_some()) {
            found.push(index + 1);
        }
        if code.ends_with([';', '{', '}']) {
            statement.clear();
        }
        if returns == Some(indent) && code.starts_with('}') {
            returns = None;
        }
    }
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

/// Returns whether the word occurs in the line as a whole word outside of a comment.
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
    let name: String = rest
        .strip_prefix("fn ")?
        .chars()
        .take_while(|char| char.is_alphanumeric() || *char == '_')
        .collect();
    (!name.is_empty()).then_some(name)
}

/// Returns the first segments of a path's parts: of `a::b` only `a`, of `{a::b, c}` both.
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

/// Returns the module name of a file, and the files of which one must declare it.
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

/// Returns all files below `folder`, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()))
    {
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
