//! Wording and width of comments, messages, scripts and documents, and subjects of commits.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::rust_source::{is_word, tokens, Token};

use super::{files, has_extension, report, root, shown};

/// Phrasings that are not used, and the words to use instead.
const BANNED: [(&str, &str); 45] = [
    ("he", "the client, the device"),
    ("him", "the client, the device"),
    ("his", "its"),
    ("nobody", "no client"),
    ("anybody", "any client"),
    ("everybody", "all clients"),
    ("somebody", "a client, a person"),
    ("whoever", "a client that"),
    ("a word", "a message, a password"),
    ("at the door", "before hello, unauthenticated"),
    ("come in", "connect, arrive"),
    ("comes in", "connects, arrives"),
    ("came in", "connected, arrived"),
    ("coming in", "connecting, arriving"),
    ("let in", "admitted"),
    ("lets in", "admits"),
    ("is told", "receives"),
    ("are told", "receive"),
    ("was told", "received"),
    ("be told", "receive"),
    ("turned away", "rejected"),
    ("turns away", "rejects"),
    ("sent away", "rejected"),
    ("give way", "be evicted"),
    ("gives way", "is evicted"),
    ("gave way", "was evicted"),
    ("stranger", "unauthenticated connection"),
    ("strangers", "unauthenticated connections"),
    ("guess", "failed attempt"),
    ("guesses", "failed attempts"),
    ("guessed", "tried"),
    ("guessing", "trying"),
    ("lobby", "unauthenticated connections"),
    ("outbox", "send queue"),
    ("throttle", "rate limiter"),
    ("under way", "in flight, in progress"),
    ("who is in", "admitted clients"),
    ("who is there", "connected clients"),
    ("is heard", "is processed"),
    ("was heard", "was captured, was processed"),
    ("mended", "fixed, repaired"),
    ("as it was typed", "invalid usage"),
    ("in the way", "blocks"),
    ("of ours", "of this project, of gatelet"),
    ("mend", "fix, repair"),
];

/// First words of doc comments that ask instead of naming what the item is or returns.
const QUESTIONS: [&str; 11] =
    ["What", "Who", "Whose", "Is", "Are", "Does", "Do", "Has", "Would", "How many", "How much"];

/// Files that contain the phrasings as examples or as data, and the reason.
const EXCEPT: [(&str, &str); 2] =
    [("tests/words.rs", "this list"), (".github/CONTRIBUTING.md", "shows phrasings to avoid")];

/// Texts in which a phrase is fixed by the protocol or has its plain meaning.
const ALLOWED: [(&str, &str); 6] = [
    ("came in time", "reason of a close frame, which clients match on"),
    ("a word with", "a word of a command line, a word on the screen"),
    ("a word that is not json", "text in JSON"),
    ("guesses::", "name of a test module"),
    ("strangers openclaw", "name of a benchmark"),
    ("be told apart", "plain meaning"),
];

/// Greatest number of columns in a line, outside of tables and long strings.
const COLUMNS: usize = 100;

/// Greatest number of characters in the subject of a commit.
const SUBJECT: usize = 72;

#[test]
fn prose_has_no_banned_phrasing() {
    let mut wrong = Vec::new();
    for (path, text) in texts() {
        let prose = Prose::read(&path, &text);
        let lower = prose.text.to_lowercase();
        for (phrase, instead) in BANNED {
            for (place, _) in
                lower.match_indices(phrase).filter(|(at, _)| stands_alone(&lower, *at, phrase))
            {
                if !ALLOWED.iter().any(|(allowed, _)| lower[place..].starts_with(allowed)) {
                    let line = prose.line(place);
                    wrong.push(format!("{path}:{line}: \"{phrase}\": write {instead}"));
                }
            }
        }
    }
    report(wrong);
}

#[test]
fn doc_comments_begin_with_a_noun_or_a_verb() {
    let mut wrong = Vec::new();
    for (path, text) in texts().filter(|(path, _)| path.ends_with(".rs")) {
        let mut previous = "";
        for (at, line) in (1..).zip(text.lines().map(str::trim_start)) {
            let first = doc(line).filter(|_| doc(previous).is_none_or(str::is_empty));
            let asks = |first: &str| {
                !first.starts_with("Does nothing")
                    && QUESTIONS.iter().any(|word| {
                        first.strip_prefix(word).is_some_and(|rest| rest.starts_with(' '))
                    })
            };
            if first.is_some_and(asks) {
                wrong.push(format!("{path}:{at}: begin with a noun or a verb: {line}"));
            }
            previous = line;
        }
    }
    report(wrong);
}

/// Returns the text of a line of a doc comment.
fn doc(line: &str) -> Option<&str> {
    ["/// ", "//! ", "///", "//!"].iter().find_map(|mark| line.strip_prefix(mark))
}

#[test]
fn lines_have_at_most_100_columns() {
    let mut wrong = Vec::new();
    for (path, text) in texts() {
        let kind = path.rsplit('.').next().unwrap_or("");
        let strings = if kind == "rs" { lines_with_strings(&text) } else { BTreeSet::new() };
        for (at, line) in (1..).zip(text.lines()) {
            let start = line.trim_start();
            let limited = match kind {
                // rustfmt does not break the patterns of macros
                "rs" => start.starts_with("//") || !strings.contains(&at) && !line.contains('$'),
                "md" => !start.starts_with('|'),
                "js" | "mjs" => start.starts_with("//"),
                _ => start.starts_with('#') && !start.starts_with("#!"),
            };
            let columns = line.chars().count();
            if limited && columns > COLUMNS {
                wrong.push(format!("{path}:{at}: {columns} columns; the limit is {COLUMNS}"));
            }
        }
    }
    report(wrong);
}

/// Returns the lines that contain a part of a string, which rustfmt does not break.
fn lines_with_strings(text: &str) -> BTreeSet<usize> {
    let line = |place: usize| text[..place].matches('\n').count() + 1;
    let strings = tokens(text).into_iter().filter(|(token, _)| *token == Token::Text);
    strings.flat_map(|(_, range)| line(range.start)..=line(range.end)).collect()
}

/// Checks commits after the one that added this file, as far as the clone has them.
#[test]
fn subjects_of_commits_are_short_and_imperative() {
    let Some(added) = git(&["log", "--diff-filter=A", "--format=%H", "--", "tests/words.rs"])
    else {
        return; // an exported tree has no commits
    };
    let Some(added) = added.lines().next() else { return };
    let range = format!("{added}..HEAD");
    let subjects = git(&["log", "--no-merges", "--format=%h %s", &range]).unwrap_or_default();
    let faults = subjects.lines().filter_map(|line| {
        let (hash, subject) = line.split_once(' ')?;
        Some(format!("{hash}: {}: {subject}", subject_fault(subject)?))
    });
    report(faults.collect());
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).current_dir(root()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns what is wrong with the subject of a commit.
fn subject_fault(subject: &str) -> Option<&'static str> {
    if subject.chars().count() > SUBJECT {
        return Some("longer than 72 characters");
    }
    let Some((area, what)) = subject.split_once(": ") else {
        return Some("not `area: imperative`");
    };
    let verb = what.split(' ').next().unwrap_or("");
    let imperative = !["ing", "ed"].iter().any(|end| verb.len() > 4 && verb.ends_with(end))
        && (!verb.ends_with('s') || verb.ends_with("ss"));
    if area.is_empty() || area.split(' ').count() > 6 {
        Some("not `area: imperative`")
    } else if !verb.starts_with(|char: char| char.is_ascii_lowercase()) || !imperative {
        Some("the area is not followed by an imperative")
    } else if subject.ends_with('.') {
        Some("ends with a full stop")
    } else {
        None
    }
}

#[test]
fn the_checks_of_this_file_find_what_they_look_for() {
    for (subject, good) in [
        ("server: request node approval after the commit", true),
        ("tests, cli: shorten comment lines", true),
        ("node: process a frame", true),
        ("what a change brought is asked for", false),
        ("server: requests node approval", false),
        ("server: added node approval", false),
        ("server: Request node approval", false),
        ("server: request node approval.", false),
        ("server: use a subject that is longer than the seventy-two characters allowed", false),
    ] {
        assert_eq!(subject_fault(subject).is_none(), good, "{subject}");
    }
    let rust = r##"
        /// At the
        /// `not` door.
        let he = "a \" b
        c"; // d
        let x = r#"e " f"#; 'g'; '"'; "h"
        #[test]
        fn k_l() {}
#[cfg(test)]
mod tests { "i" } // j"##;
    assert_eq!(
        Prose::read("src/a.rs", rust).text,
        "k l() {}; At the door. a \\\" b c d e \" f h j "
    );
    assert_eq!(Prose::read("tests/a.rs", rust).text, "k l() {}; At the door. d j ");
    let markdown = "a `b` c\n    d\n```\ne\n```\nf";
    assert_eq!(Prose::read("a.md", markdown).text, "a   c f ");
    assert!(stands_alone("at he door", 3, "he") && !stands_alone("at the door", 4, "he"));
}

/// Returns path and text of each file with prose.
fn texts() -> impl Iterator<Item = (String, String)> {
    let kinds =
        ["rs", "md", "js", "mjs", "css", "html", "sh", "ps1", "py", "toml", "service", "yaml"];
    let is_prose = |path: &PathBuf| {
        kinds.iter().any(|kind| has_extension(path, kind)) || path.ends_with("Dockerfile")
    };
    let read = |path: PathBuf| Some((shown(&path), fs::read_to_string(path).ok()?));
    let found: Vec<_> = files(root()).into_iter().filter(is_prose).filter_map(read).collect();
    assert!(found.len() > 200, "only {} files were seen", found.len());
    found.into_iter().filter(|(path, _)| !EXCEPT.iter().any(|(except, _)| path == except))
}

/// Returns whether the phrase at this place is not part of a longer word.
fn stands_alone(text: &str, at: usize, phrase: &str) -> bool {
    !text[..at].ends_with(is_word) && !text[at + phrase.len()..].starts_with(is_word)
}

/// Text of a file that is written for people. Line ends are blanks, so that a phrase is found
/// across two lines.
struct Prose {
    text: String,
    /// Where each piece begins in `text`, and its line in the file.
    pieces: Vec<(usize, usize)>,
}

impl Prose {
    fn read(path: &str, text: &str) -> Prose {
        let mut prose = Prose { text: String::new(), pieces: Vec::new() };
        match Path::new(path).extension().and_then(|end| end.to_str()) {
            Some("rs") => prose.add_rust(text, path.starts_with("src/")),
            Some("md") => prose.add_markdown(text),
            Some("mjs") => {
                let comments = (1..)
                    .zip(text.lines())
                    .filter_map(|(at, line)| Some((at, line.split_once("//")?.1)));
                comments.for_each(|(at, comment)| prose.add(at, comment));
            }
            _ => (1..).zip(text.lines()).for_each(|(at, line)| prose.add(at, line)),
        }
        prose
    }

    fn add(&mut self, line: usize, piece: &str) {
        let piece = piece.trim_matches(['/', '!', '#', ' ', '*']);
        if !piece.is_empty() {
            self.pieces.push((self.text.len(), line));
            self.text.push_str(piece);
            self.text.push(' ');
        }
    }

    /// Returns the line of the file for a place in the text.
    fn line(&self, place: usize) -> usize {
        self.pieces.iter().take_while(|(at, _)| *at <= place).last().map_or(0, |(_, line)| *line)
    }

    /// Adds all but code.
    fn add_markdown(&mut self, text: &str) {
        let mut fenced = false;
        for (at, line) in (1..).zip(text.lines()) {
            fenced ^= line.starts_with("```");
            if !fenced && !line.starts_with("    ") && !line.starts_with("```") {
                self.add(at, &outside_of_code(line));
            }
        }
    }

    /// Adds comments without their code spans, strings that are not in tests, and names of tests.
    fn add_rust(&mut self, text: &str, strings: bool) {
        let mut is_test = false;
        for (at, line) in (1..).zip(text.lines()) {
            if let (true, Some((_, name))) = (is_test, line.split_once("fn ")) {
                self.add(at, &format!("{};", name.replace('_', " ")));
            }
            is_test = line.trim() == "#[test]";
        }
        let tests = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
        for (token, range) in tokens(text) {
            let line = text[..range.start].matches('\n').count() + 1;
            match token {
                Token::Comment => self.add(line, &outside_of_code(&text[range])),
                Token::Text if strings && range.start < tests => {
                    let lines = (line..).zip(text[range].lines());
                    lines.for_each(|(at, piece)| self.add(at, piece));
                }
                Token::Text => {}
            }
        }
    }
}

/// Returns the line without what is between backticks.
fn outside_of_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}
