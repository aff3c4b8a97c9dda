//! Parses the configuration text into values of known keys: JSON5 syntax, `${VAR}` expansion,
//! types, unknown keys.
//!
//! Reports all problems instead of stopping at the first one (a syntax error ends the parse).
//! Messages never contain a secret. The nesting depth is limited by [`tree::read`].

use super::schema::{self, Key, Kind};
use super::text::{expand, variable, whole, Lines};
use super::tree::{self, JsonValue as Tree, Member};
use super::{print, Env, Problems};
use crate::gate::limits;
use crate::gate::text::{clip, Text};

/// Values of the schema's keys found in the file.
#[derive(Default)]
pub(super) struct Found {
    entries: Vec<ParsedEntry>,
    /// Known keys that have no effect here, with the prefix `gateway.`.
    pub not_used: Vec<String>,
    /// The file contains a secret as plain text.
    pub literal_secret: bool,
}

struct ParsedEntry {
    path: &'static str,
    line: u32,
    value: TypedValue,
}

/// A value of the type that the schema requires.
enum TypedValue {
    Flag(bool),
    Number(u32),
    Text(String),
    List(Vec<ListItem>),
    /// An invalid value that was already reported.
    Bad,
}

/// An entry of a list.
pub(super) struct ListItem {
    pub text: String,
    pub line: u32,
}

impl Found {
    /// Returns the line of the key if it is in the file, even with an invalid value.
    pub fn line(&self, path: &str) -> Option<u32> {
        self.entry(path).map(|entry| entry.line)
    }

    /// Returns whether the key has an invalid value that was already reported.
    pub fn is_bad(&self, path: &str) -> bool {
        self.entry(path).is_some_and(|entry| matches!(entry.value, TypedValue::Bad))
    }

    /// Returns the flag, or the schema's default.
    pub fn flag(&self, path: &str) -> bool {
        match (self.entry(path).map(|entry| &entry.value), kind(path)) {
            (Some(TypedValue::Flag(value)), _) => *value,
            (_, Some(Kind::Flag(default))) => default,
            _ => false,
        }
    }

    /// Returns the number, or the schema's default.
    pub fn number(&self, path: &str) -> u32 {
        match (self.entry(path).map(|entry| &entry.value), kind(path)) {
            (Some(TypedValue::Number(value)), _) => *value,
            (_, Some(Kind::Number(_, _, default))) => default,
            _ => 0,
        }
    }

    /// Returns the string and its line, if the key is set.
    pub fn text(&self, path: &str) -> Option<(&str, u32)> {
        match self.entry(path)? {
            ParsedEntry { value: TypedValue::Text(text), line, .. } => Some((text, *line)),
            _ => None,
        }
    }

    /// Returns the list, empty if the key is not set.
    pub fn list(&self, path: &str) -> &[ListItem] {
        match self.entry(path).map(|entry| &entry.value) {
            Some(TypedValue::List(items)) => items,
            _ => &[],
        }
    }

    fn entry(&self, path: &str) -> Option<&ParsedEntry> {
        debug_assert!(kind(path).is_some(), "{path} is not in the schema");
        self.entries.iter().find(|entry| entry.path == path)
    }
}

fn kind(path: &str) -> Option<Kind> {
    schema::find(path).map(|key| key.kind)
}

/// Parses the `gateway` section of `text`.
pub(super) fn parse(text: &str, env: &dyn Env, problems: &mut Problems) -> Found {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = Lines::of(text);
    let mut reader = Reader { lines, env, problems, found: Found::default(), seen: Vec::new() };
    match tree::read(text) {
        Ok(root) => reader.root(root.as_ref().map(|root| &root.value)),
        Err(mistake) => {
            let line = reader.lines.at(mistake.at);
            reader.error(line, "", format!("the configuration is not JSON5: {}", mistake.what), "");
        }
    }
    reader.found
}

/// Quotes a text for a message: shortened, on one line, without URL credentials.
pub(super) fn quote(text: &str) -> String {
    let shown: Text<{ limits::WORD_LEN }> = clip(print::without_login(text));
    format!("\"{shown}\"")
}

struct Reader<'a> {
    lines: Lines,
    env: &'a dyn Env,
    problems: &'a mut Problems,
    found: Found,
    /// Known keys read so far, with their lines.
    seen: Vec<(&'static str, u32)>,
}

impl Reader<'_> {
    fn root(&mut self, value: Option<&Tree<'_>>) {
        let Some(Tree::Object(root)) = value else {
            let hint = "write {} if there is nothing to say";
            return self.error(1, "", "the configuration is no object".to_string(), hint);
        };
        let mut first = None;
        for property in root {
            let line = self.lines.at(property.at);
            match (&*property.name, &property.value) {
                ("$include", _) => self.include(line, "$include"),
                ("gateway", _) if first.is_some() => {
                    self.twice(line, "gateway", first.unwrap_or(0))
                }
                ("gateway", Tree::Object(gateway)) => {
                    first = Some(line);
                    self.section(gateway, "");
                }
                ("gateway", other) => {
                    first = Some(line);
                    self.wrong(line, "gateway", "an object", other);
                }
                _ => {}
            }
        }
    }

    fn section(&mut self, object: &[Member<'_>], section: &str) {
        for property in object {
            self.property(property, section);
        }
    }

    fn property(&mut self, property: &Member<'_>, section: &str) {
        let line = self.lines.at(property.at);
        let name = &*property.name;
        let shown: Text<{ limits::WORD_LEN }> = clip(name);
        let path =
            if section.is_empty() { shown.to_string() } else { format!("{section}.{shown}") };
        if name == "$include" {
            return self.include(line, &format!("gateway.{path}"));
        }
        let known = schema::find(&path).filter(|_| !name.contains('.') && shown.as_str() == name);
        let Some(key) = known else {
            return self.unknown(line, &path, name.contains('.'));
        };
        if let Some((_, first)) = self.seen.iter().find(|(path, _)| *path == key.path) {
            return self.twice(line, &format!("gateway.{path}"), *first);
        }
        self.seen.push((key.path, line));
        match (&key.kind, &property.value) {
            (Kind::NotUsed, _) => self.found.not_used.push(format!("gateway.{path}")),
            (Kind::Section, Tree::Object(inner)) => self.section(inner, key.path),
            (_, value) => self.value(key, line, value),
        }
    }

    fn value(&mut self, key: &Key, line: u32, node: &Tree<'_>) {
        let path = format!("gateway.{}", key.path);
        let value = match (key.kind, node) {
            (Kind::Flag(_), Tree::Flag(flag)) => TypedValue::Flag(*flag),
            (Kind::Number(least, greatest, _), Tree::Number(number)) => {
                self.number(line, &path, number, least, greatest)
            }
            (Kind::Text, Tree::Text(text)) => self.text(line, &path, text),
            (Kind::Word(words), Tree::Text(text)) => self.word(line, &path, text, words),
            (Kind::Secret, Tree::Text(text)) => {
                self.found.literal_secret |= !text.contains("${") && !text.trim().is_empty();
                self.text(line, &path, text)
            }
            (Kind::Secret, Tree::Object(_)) => self.reference(line, &path, node),
            (Kind::List, Tree::List(list)) => self.list(&path, list),
            (kind, other) => {
                self.wrong(line, &path, &expected(kind), other);
                TypedValue::Bad
            }
        };
        self.found.entries.push(ParsedEntry { path: key.path, line, value });
    }

    fn number(
        &mut self,
        line: u32,
        path: &str,
        digits: &str,
        least: u32,
        greatest: u32,
    ) -> TypedValue {
        match whole(digits) {
            Some(number) if (least..=greatest).contains(&number) => TypedValue::Number(number),
            _ => {
                let expected = expected(Kind::Number(least, greatest, least));
                let shown: Text<{ limits::WORD_LEN }> = clip(digits);
                self.error(line, path, format!("{path} must be {expected}, not {shown}"), "");
                TypedValue::Bad
            }
        }
    }

    /// Expands the variables in a string. Only a secret key may use a variable that is named like a
    /// secret, because all other values are displayed.
    fn text(&mut self, line: u32, path: &str, raw: &str) -> TypedValue {
        let var = |name: &str| {
            self.env.var(name).filter(|_| print::is_secret_key(path) || !print::is_secret_key(name))
        };
        match expand(raw, &var) {
            Ok(text) => TypedValue::Text(text),
            Err(name) if print::is_secret_key(&name) && self.env.var(&name).is_some() => {
                let hint =
                    "only auth.token and auth.password take a variable that is named like a secret";
                self.error(
                    line,
                    path,
                    format!("{path} is shown, so it cannot be made of the variable {name}"),
                    hint,
                );
                TypedValue::Bad
            }
            Err(name) => {
                let hint = format!("set {name}, or write $${{{name}}} for the text itself");
                let message = format!(
                    "{path} needs the environment variable {name}, which is not set or empty"
                );
                self.error(line, path, message, hint);
                TypedValue::Bad
            }
        }
    }

    fn word(&mut self, line: u32, path: &str, raw: &str, words: &[&'static str]) -> TypedValue {
        let TypedValue::Text(word) = self.text(line, path, raw) else {
            return TypedValue::Bad;
        };
        if words.contains(&word.as_str()) {
            return TypedValue::Text(word);
        }
        self.error(line, path, format!("{path} cannot be {}", quote(&word)), suggest(&word, words));
        TypedValue::Bad
    }

    /// Reads a secret reference object (OpenClaw 2026.9.6). Only the source `env` is supported.
    fn reference(&mut self, line: u32, path: &str, object: &Tree<'_>) -> TypedValue {
        match (object.text("source"), object.text("id")) {
            (Some("env"), Some(id)) if variable(id) == Some(id.len()) => {
                self.text(line, path, &format!("${{{id}}}"))
            }
            _ => {
                let hint = "use { source: \"env\", id: \"NAME\" }, a string, or GATELET_TOKEN_FILE";
                self.error(
                    line,
                    path,
                    format!("{path} is a secret reference that this gateway cannot follow"),
                    hint,
                );
                TypedValue::Bad
            }
        }
    }

    fn list(&mut self, path: &str, list: &[Member<'_>]) -> TypedValue {
        let mut items = Vec::new();
        for element in list {
            let line = self.lines.at(element.at);
            match &element.value {
                Tree::Text(text) => {
                    if let TypedValue::Text(text) = self.text(line, path, text) {
                        items.push(ListItem { text, line });
                    }
                }
                other => self.wrong(line, path, "a list of strings", other),
            }
        }
        TypedValue::List(items)
    }

    fn unknown(&mut self, line: u32, path: &str, dotted: bool) {
        let hint = match schema::nearest(path).filter(|_| !self.problems.is_full()) {
            _ if dotted => "a dot does not nest: write { auth: { mode: ... } }".to_string(),
            Some(known) => format!("did you mean gateway.{known}?"),
            None => "remove it; `gatelet config print` lists the keys".to_string(),
        };
        let path = format!("gateway.{path}");
        self.error(line, &path, format!("unknown key {path}"), hint);
    }

    fn include(&mut self, line: u32, path: &str) {
        let hint = "write the gateway section into this file";
        self.error(line, path, format!("{path} is not supported"), hint);
    }

    fn twice(&mut self, line: u32, path: &str, first: u32) {
        self.error(
            line,
            path,
            format!("{path} is said twice"),
            format!("it already stands on line {first}"),
        );
    }

    fn wrong(&mut self, line: u32, path: &str, expected: &str, found: &Tree<'_>) {
        self.error(line, path, format!("{path} must be {expected}, not {}", name(found)), "");
    }

    fn error(&mut self, line: u32, path: &str, message: String, hint: impl Into<String>) {
        self.problems.error(line, path, message, hint);
    }
}

/// Returns a hint that names the nearest of `words`, or all of them if none is near.
pub(super) fn suggest(word: &str, words: &[&'static str]) -> String {
    match schema::nearest_word(word, words) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("use \"{}\"", words.join("\", \"")),
    }
}

fn expected(kind: Kind) -> String {
    match kind {
        Kind::Section => "an object".to_string(),
        Kind::Flag(_) => "true or false".to_string(),
        Kind::Number(least, greatest, _) => format!("a whole number from {least} to {greatest}"),
        Kind::List => "a list of strings".to_string(),
        Kind::Text | Kind::Word(_) | Kind::Secret | Kind::NotUsed => "a string".to_string(),
    }
}

fn name(node: &Tree<'_>) -> &'static str {
    match node {
        Tree::Text(_) => "a string",
        Tree::Number(_) => "a number",
        Tree::Flag(_) => "true or false",
        Tree::Object(_) => "an object",
        Tree::List(_) => "a list",
        Tree::Null => "null",
    }
}
