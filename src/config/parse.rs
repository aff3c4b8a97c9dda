//! Parses the configuration text into values of known keys: JSON5 syntax, `${VAR}` expansion,
//! types, unknown keys.
//!
//! Reports all problems instead of stopping at the first one (a syntax error ends the parse).
//! Messages never contain a secret. The nesting depth is limited by [`tree::read`].

use super::schema::{self, Key, Kind};
use super::text::{expand, variable_len, whole_number, Lines};
use super::tree::{self, JsonValue, Member};
use super::values::trimmed;
use super::{print, Env, Problems};
use crate::gate::limits;
use crate::gate::text::{clip, Text};

/// Values of the schema's keys found in the file.
#[derive(Default)]
pub(super) struct FileValues {
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
    /// A blank string: counts as not set.
    Blank,
    /// An invalid value that was already reported.
    Invalid,
}

/// An entry of a list.
pub(super) struct ListItem {
    pub text: String,
    pub line: u32,
}

impl FileValues {
    /// Returns the line of the key if it is in the file, even with an invalid value.
    pub fn line(&self, path: &str) -> Option<u32> {
        self.entry(path).map(|entry| entry.line)
    }

    /// Returns whether the key has an invalid value that was already reported.
    pub fn is_invalid(&self, path: &str) -> bool {
        self.entry(path).is_some_and(|entry| matches!(entry.value, TypedValue::Invalid))
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
            (_, Some(Kind::Number { default, .. })) => default,
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

    /// Adds a setting of a running gateway, unless it has the schema's default. `None` if the key
    /// is not known or the value has another type.
    pub fn insert(&mut self, path: &str, value: &str, list: Vec<String>) -> Option<()> {
        let key = schema::find(path)?;
        let value = match key.kind {
            Kind::Flag(default) => match value.parse().ok()? {
                flag if flag == default => return Some(()),
                flag => TypedValue::Flag(flag),
            },
            Kind::Number { .. } => TypedValue::Number(value.parse().ok()?),
            Kind::List if list.is_empty() != value.is_empty() => return None,
            Kind::List => {
                TypedValue::List(list.into_iter().map(|text| ListItem { text, line: 0 }).collect())
            }
            _ if value.is_empty() => return Some(()),
            Kind::Secret => TypedValue::Text("a secret that is not shown".to_string()),
            Kind::Text | Kind::Word(_) => TypedValue::Text(value.to_string()),
            Kind::Section | Kind::NotUsed => return None,
        };
        self.entries.push(ParsedEntry { path: key.path, line: 0, value });
        Some(())
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
pub(super) fn parse(text: &str, env: &dyn Env, problems: &mut Problems) -> FileValues {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = Lines::of(text);
    let mut reader =
        Reader { lines, env, problems, file_values: FileValues::default(), seen: Vec::new() };
    match tree::read(text) {
        Ok(root) => reader.root(root.as_ref().map(|root| &root.value)),
        Err(error) => {
            let message = format!("the configuration is not JSON5: {}", error.message);
            reader.error(reader.lines.at(error.at), "", message, "");
        }
    }
    reader.file_values
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
    file_values: FileValues,
    /// Known keys read so far, with their lines.
    seen: Vec<(&'static str, u32)>,
}

impl Reader<'_> {
    fn root(&mut self, value: Option<&JsonValue<'_>>) {
        let Some(JsonValue::Object(root)) = value else {
            let hint = "write {} for an empty configuration";
            return self.error(1, "", "the configuration is not an object", hint);
        };
        let mut first_line = None;
        for property in root {
            let line = self.lines.at(property.at);
            match (&*property.name, first_line) {
                ("$include", _) => self.include(line, "$include"),
                ("gateway", Some(first_line)) => self.duplicate(line, "gateway", first_line),
                ("gateway", None) => {
                    first_line = Some(line);
                    match &property.value {
                        JsonValue::Object(gateway) => self.section(gateway, ""),
                        other => self.wrong_type(line, "gateway", "an object", other),
                    }
                }
                (name, _) if name.starts_with("gateway.") => self.dotted(line, name),
                _ => {}
            }
        }
    }

    /// Reports a key such as `"gateway.port"`, which messages use for `port` in `gateway`.
    fn dotted(&mut self, line: u32, name: &str) {
        let shown = quote(name);
        let message = format!("{shown} is one key, which has no effect");
        let name: Text<{ limits::WORD_LEN }> = clip(name);
        let hint = format!("write it as nested objects: {}: ...", name.replace('.', ": { "));
        self.error(line, "gateway", message, hint);
    }

    fn section(&mut self, properties: &[Member<'_>], section: &str) {
        for property in properties {
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
            return self.duplicate(line, &format!("gateway.{path}"), *first);
        }
        self.seen.push((key.path, line));
        match (&key.kind, &property.value) {
            (Kind::NotUsed, _) => self.file_values.not_used.push(format!("gateway.{path}")),
            (Kind::Section, JsonValue::Object(inner)) => self.section(inner, key.path),
            (_, value) => self.value(key, line, value),
        }
    }

    fn value(&mut self, key: &Key, line: u32, value: &JsonValue<'_>) {
        let path = format!("gateway.{}", key.path);
        let value = match (key.kind, value) {
            (Kind::Flag(_), JsonValue::Flag(flag)) => TypedValue::Flag(*flag),
            (Kind::Number { min, max, .. }, JsonValue::Number(number)) => {
                match whole_number(number).filter(|number| (min..=max).contains(number)) {
                    Some(number) => TypedValue::Number(number),
                    None => self.wrong_number(line, &path, number, key.kind),
                }
            }
            (Kind::Text, JsonValue::Text(text)) => self.text(line, &path, text),
            (Kind::Word(words), JsonValue::Text(text)) => self.word(line, &path, text, words),
            (Kind::Secret, JsonValue::Text(text)) => {
                self.file_values.literal_secret |=
                    !text.contains("${") && !trimmed(text).is_empty();
                self.text(line, &path, text)
            }
            (Kind::Secret, JsonValue::Object(_)) => self.reference(line, &path, value),
            (Kind::List, JsonValue::List(list)) => self.list(&path, list),
            (kind, other) => {
                self.wrong_type(line, &path, &expected(kind), other);
                TypedValue::Invalid
            }
        };
        if matches!(value, TypedValue::Blank) {
            if let Kind::Secret = key.kind {
                self.problems.blank(line, &path);
            }
            return;
        }
        self.file_values.entries.push(ParsedEntry { path: key.path, line, value });
    }

    fn wrong_number(&mut self, line: u32, path: &str, digits: &str, kind: Kind) -> TypedValue {
        let shown: Text<{ limits::WORD_LEN }> = clip(digits);
        let message = format!("{path} must be {}, not {shown}", expected(kind));
        self.error(line, path, message, "");
        TypedValue::Invalid
    }

    /// Reads a string that is the value of a key.
    fn text(&mut self, line: u32, path: &str, raw: &str) -> TypedValue {
        match self.expanded(line, path, raw, print::is_variable(raw)) {
            None => TypedValue::Invalid,
            Some(raw) => {
                self.problems.value(line, path, &raw).map_or(TypedValue::Blank, TypedValue::Text)
            }
        }
    }

    /// Expands the variables in a string. Only a secret key may use a variable that is named like a
    /// secret, because all other values are displayed. An unset variable is an error, and so is a
    /// blank one, unless it is the whole value of a key, which is then not set.
    fn expanded(&mut self, line: u32, path: &str, raw: &str, may_be_blank: bool) -> Option<String> {
        let is_secret = secret_keys().any(|key| path.strip_prefix("gateway.") == Some(key));
        let env = self.env;
        let problems = &mut *self.problems;
        let expanded = expand(raw, &mut |name: &str| {
            let raw = env.var(name).filter(|_| is_secret || !print::is_secret_key(name))?;
            match problems.value(line, &format!("{path} uses the variable {name}, which"), &raw) {
                None if may_be_blank => Some(String::new()),
                text => text,
            }
        });
        let name = match expanded {
            Ok(text) => return Some(text),
            Err(name) => name,
        };
        if !is_secret && print::is_secret_key(&name) && env.var(&name).is_some() {
            let keys: Vec<_> = secret_keys().map(|key| format!("gateway.{key}")).collect();
            let hint =
                format!("only {} can use a variable that is named like a secret", keys.join(", "));
            let message = format!("{path} is displayed, so it cannot use the variable {name}");
            self.error(line, path, message, hint);
        } else {
            let hint = format!("set {name}, or write $${{{name}}} for the literal text");
            let message =
                format!("{path} uses the environment variable {name}, which is unset or empty");
            self.error(line, path, message, hint);
        }
        None
    }

    fn word(&mut self, line: u32, path: &str, raw: &str, words: &[&'static str]) -> TypedValue {
        let word = match self.text(line, path, raw) {
            TypedValue::Text(word) => word,
            other => return other,
        };
        if words.contains(&word.as_str()) {
            return TypedValue::Text(word);
        }
        self.error(line, path, format!("{path} cannot be {}", quote(&word)), suggest(&word, words));
        TypedValue::Invalid
    }

    /// Reads a secret reference object (OpenClaw 2026.9.6). Only the source `env` is supported.
    fn reference(&mut self, line: u32, path: &str, object: &JsonValue<'_>) -> TypedValue {
        match (object.text("source"), object.text("id")) {
            (Some("env"), Some(id)) if variable_len(id) == Some(id.len()) => {
                self.text(line, path, &format!("${{{id}}}"))
            }
            _ => {
                let hint = "use { source: \"env\", id: \"NAME\" }, a string, or GATELET_TOKEN_FILE";
                let message = format!("{path} is a secret reference of an unsupported kind");
                self.error(line, path, message, hint);
                TypedValue::Invalid
            }
        }
    }

    fn list(&mut self, path: &str, list: &[Member<'_>]) -> TypedValue {
        let mut items = Vec::new();
        for element in list {
            let line = self.lines.at(element.at);
            match &element.value {
                JsonValue::Text(text) => {
                    // A blank entry stays in the list: without it the list may permit more.
                    if let Some(raw) = self.expanded(line, path, text, false) {
                        let text = self.problems.value(line, path, &raw).unwrap_or_default();
                        items.push(ListItem { text, line });
                    }
                }
                other => self.wrong_type(line, path, "a list of strings", other),
            }
        }
        TypedValue::List(items)
    }

    fn unknown(&mut self, line: u32, path: &str, has_dot: bool) {
        let hint = match schema::nearest_key(path).filter(|_| !self.problems.is_full()) {
            _ if has_dot => {
                "a dot does not separate keys: write { auth: { mode: ... } }".to_string()
            }
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

    fn duplicate(&mut self, line: u32, path: &str, first: u32) {
        let hint = format!("it is already set in line {first}");
        self.error(line, path, format!("duplicate key {path}"), hint);
    }

    fn wrong_type(&mut self, line: u32, path: &str, expected: &str, value: &JsonValue<'_>) {
        self.error(line, path, format!("{path} must be {expected}, not {}", type_name(value)), "");
    }

    fn error(
        &mut self,
        line: u32,
        path: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.problems.error(line, path, message, hint);
    }
}

/// Returns a hint that names the nearest of `words`, or all of them if none is near.
pub(super) fn suggest(word: &str, words: &[&'static str]) -> String {
    match schema::nearest(word, words.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("use \"{}\"", words.join("\", \"")),
    }
}

/// Returns the keys below `gateway` that hold secrets.
fn secret_keys() -> impl Iterator<Item = &'static str> {
    schema::KEYS.iter().filter(|key| matches!(key.kind, Kind::Secret)).map(|key| key.path)
}

fn expected(kind: Kind) -> String {
    match kind {
        Kind::Section => "an object".to_string(),
        Kind::Flag(_) => "true or false".to_string(),
        Kind::Number { min, max, .. } => format!("a whole number from {min} to {max}"),
        Kind::List => "a list of strings".to_string(),
        Kind::Text | Kind::Word(_) | Kind::Secret | Kind::NotUsed => "a string".to_string(),
    }
}

fn type_name(value: &JsonValue<'_>) -> &'static str {
    match value {
        JsonValue::Text(_) => "a string",
        JsonValue::Number(_) => "a number",
        JsonValue::Flag(_) => "true or false",
        JsonValue::Object(_) => "an object",
        JsonValue::List(_) => "a list",
        JsonValue::Null => "null",
    }
}
