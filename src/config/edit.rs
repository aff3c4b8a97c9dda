//! Edits a configuration's text in place. Everything that a change does not affect stays byte for
//! byte: comments, layout, other sections, the notation of numbers.

use std::ops::Range;

use super::print::{compact, indented, quoted, Nulls, INDENT};
use super::redact::{join_path, replace_ranges};
use super::tree::{self, JsonValue, Member, SyntaxError};
use crate::gate::limits;

/// Result of a merge.
#[derive(Debug)]
pub(super) struct Merged {
    pub text: String,
    /// Paths of the changed values: the first [`limits::CONFIG_PATHS`], with `...` for the others.
    /// Empty if the text is unchanged.
    pub paths: Vec<String>,
    /// Paths of the lists that lose entries.
    pub lost: Vec<String>,
}

/// Meaning of the new value in a merge.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MergeMode {
    /// A JSON merge patch (RFC 7396): absent members stay, null removes.
    Patch,
    /// The complete new value: absent members are removed, null is a value.
    Replace,
}

/// Merges `new` into `text` and writes only the differences.
///
/// An empty text counts as an empty object. Returns `None` if `text` or `new` is not an object.
pub(super) fn merge(
    text: &str,
    new: &Member<'_>,
    mode: MergeMode,
) -> Result<Option<Merged>, SyntaxError> {
    let Some(old) = tree::read_narrow(text)? else {
        return merge(&format!("{text}{{}}\n"), new, mode);
    };
    if !matches!((&old.value, &new.value), (JsonValue::Object(_), JsonValue::Object(_))) {
        return Ok(None);
    }
    let mut editor = Editor::new(text, mode);
    editor.value(&old, new, "");
    let Editor { edits, paths, lost, .. } = editor;
    Ok(Some(Merged { text: replace_ranges(text, edits), paths, lost }))
}

struct Editor<'t> {
    text: &'t str,
    mode: MergeMode,
    /// Byte ranges to replace, with their new text.
    edits: Vec<(Range<usize>, String)>,
    paths: Vec<String>,
    lost: Vec<String>,
}

impl<'t> Editor<'t> {
    fn new(text: &'t str, mode: MergeMode) -> Editor<'t> {
        Editor { text, mode, edits: Vec::new(), paths: Vec::new(), lost: Vec::new() }
    }

    fn value(&mut self, old: &Member<'_>, new: &Member<'_>, path: &str) {
        match (&old.value, &new.value) {
            (JsonValue::Object(old_members), JsonValue::Object(new_members)) => {
                self.object(old, old_members, new_members, path)
            }
            (JsonValue::List(old_items), JsonValue::List(new_items)) => {
                self.list(old, old_items, new, new_items, path)
            }
            (old_value, new_value) if compact(old_value) == compact(new_value) => {}
            _ => self.replace(old, new, path),
        }
    }

    fn replace(&mut self, old: &Member<'_>, new: &Member<'_>, path: &str) {
        self.record_removed(old, path);
        self.record_added(new, path);
        let value = self.formatted(&new.value, self.indent_of_line(old.at));
        self.edits.push((old.span.clone(), value));
    }

    /// Returns whether the new value of a member removes it.
    fn removes(&self, new: Option<&Member<'_>>) -> bool {
        match self.mode {
            MergeMode::Patch => new.is_some_and(|new| matches!(new.value, JsonValue::Null)),
            MergeMode::Replace => new.is_none(),
        }
    }

    fn object(
        &mut self,
        container: &Member<'_>,
        old_members: &[Member<'_>],
        new_members: &[Member<'_>],
        path: &str,
    ) {
        let mut removed = Vec::new();
        for old in old_members {
            let new = new_members.iter().rfind(|new| new.name == old.name);
            removed.push(self.removes(new));
            if self.removes(new) {
                self.record_removed(old, &join_path(path, &old.name));
            }
        }
        let indent = self.indent_inside(container, old_members);
        let mut added = Vec::new();
        for (index, new) in new_members.iter().enumerate() {
            let is_overridden = new_members[index + 1..].iter().any(|later| later.name == new.name);
            if is_overridden || self.removes(Some(new)) {
                continue;
            }
            let path = join_path(path, &new.name);
            match old_members.iter().rfind(|old| old.name == new.name) {
                Some(old) => self.value(old, new, &path),
                None => {
                    let value = self.formatted(&new.value, &indent);
                    added.push(format!("{}: {value}", quoted(&new.name)));
                    self.record_added(new, &path);
                }
            }
        }
        self.reshape(container, old_members, &removed, &added);
    }

    /// Edits a list. With equal lengths, entries are compared by index. Otherwise entries are
    /// removed and appended in place, which keeps the comments between them; if a new entry
    /// precedes one that stays, the whole list is replaced.
    fn list(
        &mut self,
        container: &Member<'_>,
        old_items: &[Member<'_>],
        new: &Member<'_>,
        new_items: &[Member<'_>],
        path: &str,
    ) {
        let old_texts: Vec<String> = old_items.iter().map(|old| compact(&old.value)).collect();
        let new_texts: Vec<String> = new_items.iter().map(|new| compact(&new.value)).collect();
        if old_texts == new_texts {
            return;
        }
        if old_texts.iter().any(|old| !new_texts.contains(old)) {
            self.lost.push(path.to_string());
        }
        self.record_path(path);
        if old_items.len() == new_items.len() {
            return self.list_of_equal_length(old_items, new_items);
        }
        let indent = self.indent_inside(container, old_items);
        let (mut removed, mut added, mut next) = (vec![true; old_items.len()], Vec::new(), 0);
        for (item, text) in new_items.iter().zip(&new_texts) {
            match old_texts[next..].iter().position(|old| old == text) {
                Some(offset) if added.is_empty() => {
                    next += offset + 1;
                    removed[next - 1] = false;
                }
                Some(_) => {
                    let indent = self.indent_of_line(container.at);
                    let value = indented(&new.value, indent, Nulls::Keep);
                    return self.edits.push((container.span.clone(), value));
                }
                None => added.push(indented(&item.value, &indent, Nulls::Keep)),
            }
        }
        self.reshape(container, old_items, &removed, &added);
    }

    /// Edits each entry on its own. A merge patch does not look into lists, so the entries are
    /// complete values, and their paths are not recorded: a path has no index.
    fn list_of_equal_length(&mut self, old_items: &[Member<'_>], new_items: &[Member<'_>]) {
        let mut editor = Editor::new(self.text, MergeMode::Replace);
        for (old, new) in old_items.iter().zip(new_items) {
            editor.value(old, new, "");
        }
        self.edits.append(&mut editor.edits);
    }

    fn formatted(&self, value: &JsonValue<'_>, indent: &str) -> String {
        match self.mode {
            MergeMode::Patch => indented(value, indent, Nulls::Omit),
            MergeMode::Replace => indented(value, indent, Nulls::Keep),
        }
    }

    // --- changed paths ---

    /// Records the paths of all values in `member` as changed.
    fn record_added(&mut self, member: &Member<'_>, path: &str) {
        for_each_leaf(member, path, &mut |_, path| self.record_path(path));
    }

    /// Like [`Editor::record_added`], and records lists with entries as lost.
    fn record_removed(&mut self, member: &Member<'_>, path: &str) {
        for_each_leaf(member, path, &mut |value, path| {
            self.record_path(path);
            if matches!(value, JsonValue::List(items) if !items.is_empty()) {
                self.lost.push(path.to_string());
            }
        });
    }

    fn record_path(&mut self, path: &str) {
        let fits = self.paths.len() < limits::CONFIG_PATHS && path.len() <= limits::FIELD_LEN;
        let path = if fits { path } else { "..." };
        if self.paths.last().is_none_or(|last| last != path) {
            self.paths.push(path.to_string());
        }
    }

    // --- text edits ---

    /// Removes the members marked in `removed` and inserts `added` after the last remaining member.
    fn reshape(
        &mut self,
        container: &Member<'_>,
        members: &[Member<'_>],
        removed: &[bool],
        added: &[String],
    ) {
        let mut last_kept = None;
        for (member, removed) in members.iter().zip(removed) {
            match removed {
                true => self.remove(member),
                false => last_kept = Some(member),
            }
        }
        let has_trailing_comma = members.last().is_some_and(|last| last.comma.is_some());
        match last_kept {
            // This member becomes the last one, and the file has no trailing comma here.
            Some(Member { comma: Some(comma), .. }) if added.is_empty() && !has_trailing_comma => {
                self.edits.push((*comma..comma + 1, String::new()));
            }
            Some(Member { comma: None, span, .. }) if !added.is_empty() => {
                self.insert(span.end, ",")
            }
            _ => {}
        }
        if !added.is_empty() {
            self.append(container, members, last_kept, added);
        }
    }

    /// Inserts `added` after `last_kept`, each on its own line if the members are on lines of their
    /// own.
    fn append(
        &mut self,
        container: &Member<'_>,
        members: &[Member<'_>],
        last_kept: Option<&Member<'_>>,
        added: &[String],
    ) {
        let end = match last_kept {
            Some(Member { comma: Some(comma), .. }) => comma + 1,
            Some(member) => member.span.end,
            None => container.span.start + 1,
        };
        let place = self.after_line_comment(end);
        let is_empty_object = members.is_empty() && matches!(container.value, JsonValue::Object(_));
        let on_lines = place != end
            || is_empty_object
            || members.first().is_some_and(|first| self.own_line(first.at).is_some());
        let before = match (on_lines, last_kept) {
            (true, _) => format!("\n{}", self.indent_inside(container, members)),
            (false, Some(_)) => " ".to_string(),
            (false, None) => String::new(),
        };
        let between = if on_lines { format!(",{before}") } else { ", ".to_string() };
        let mut text = format!("{before}{}", added.join(&between));
        if members.last().is_some_and(|last| last.comma.is_some()) {
            text.push(',');
        }
        if on_lines && !self.text[place..container.span.end].contains('\n') {
            text.push('\n');
            text.push_str(self.indent_of_line(container.at));
        }
        self.insert(place, &text);
    }

    /// Removes a member and its comma, and the line if nothing else is on it. Comments outside the
    /// value stay.
    fn remove(&mut self, member: &Member<'_>) {
        let text = self.text;
        let end = member.comma.map_or(member.span.end, |comma| comma + 1);
        let comma_is_adjacent = text[member.span.end..end]
            .trim_matches(|char: char| char.is_whitespace() || char == ',')
            .is_empty();
        let rest = &text[end..];
        let line = rest.split_inclusive('\n').next().unwrap_or_default();
        let indent = self.own_line(member.at);
        if let Some(indent) = indent {
            if comma_is_adjacent && line.trim().is_empty() && line.ends_with('\n') {
                let range = member.at - indent.len()..end + line.len();
                return self.edits.push((range, String::new()));
            }
        }
        let spaces = rest.len() - rest.trim_start_matches(' ').len();
        if let Some(comma) = member.comma {
            self.edits.push((comma..end + spaces, String::new()));
            return self.edits.push((member.at..member.span.end, String::new()));
        }
        let range = match indent {
            Some(_) => member.at..end + spaces,
            None => text[..member.at].trim_end_matches(' ').len()..end,
        };
        self.edits.push((range, String::new()));
    }

    fn insert(&mut self, at: usize, text: &str) {
        self.edits.push((at..at, text.to_string()));
    }

    /// Returns the end of the line if only a `//` comment follows `at`, else `at`.
    fn after_line_comment(&self, at: usize) -> usize {
        let line = self.text[at..].split('\n').next().unwrap_or_default();
        if line.trim_start().starts_with("//") {
            at + line.len()
        } else {
            at
        }
    }

    /// Returns the white space before byte `at` if the line holds nothing else before it. `None` on
    /// the first line of the text.
    fn own_line(&self, at: usize) -> Option<&'t str> {
        let (_, line) = self.text[..at].rsplit_once('\n')?;
        Some(line).filter(|space| space.trim().is_empty())
    }

    /// Returns the indentation of the line that contains byte `at`.
    fn indent_of_line(&self, at: usize) -> &'t str {
        let line = self.text[..at].rsplit('\n').next().unwrap_or_default();
        &line[..line.len() - line.trim_start().len()]
    }

    /// Returns the indentation for members of a list or object.
    fn indent_inside(&self, container: &Member<'_>, members: &[Member<'_>]) -> String {
        match members.iter().rev().find_map(|member| self.own_line(member.at)) {
            Some(indent) => indent.to_string(),
            None => format!("{}{INDENT}", self.indent_of_line(container.at)),
        }
    }
}

/// Calls `visit` with each value in `member` that is not an object with members, and its path.
fn for_each_leaf(member: &Member<'_>, path: &str, visit: &mut dyn FnMut(&JsonValue<'_>, &str)) {
    match &member.value {
        JsonValue::Object(members) if !members.is_empty() => {
            for member in members {
                for_each_leaf(member, &join_path(path, &member.name), visit);
            }
        }
        value => visit(value, path),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, Map, Value as Json};

    use super::*;

    fn merged(text: &str, new: &str, mode: MergeMode) -> Merged {
        let new = tree::read(new).ok().flatten().unwrap();
        merge(text, &new, mode).ok().flatten().unwrap()
    }

    fn patched(text: &str, patch: &str) -> String {
        merged(text, patch, MergeMode::Patch).text
    }

    const FILE: &str = "// my gateway\n{\n  gateway: {\n    port: 18789, // the usual one\n    /* who may connect */\n    \
        auth: { mode: 'token', token: \"t\" },\n    trustedProxies: [\n      '10.0.0.1', // nginx\n      '10.0.0.2' // haproxy\n    ]\n  \
        },\n  'agents' : {list:[ {id:1} ]}, // not ours\n}\n";

    #[test]
    fn merge_changes_only_the_edited_text() {
        for (patch, old, new) in [
            ("{gateway: {port: 1}}", "18789,", "1,"),
            (
                "{gateway: {port: null}}",
                "    port: 18789, // the usual one\n",
                "    // the usual one\n",
            ),
            ("{gateway: {auth: {token: null}}}", ", token: \"t\" }", " }"),
            ("{gateway: {auth: {mode: null}}}", "mode: 'token', ", ""),
            ("{gateway: {auth: {x: 1}}}", "\"t\" }", "\"t\", \"x\": 1 }"),
            ("{gateway: {trustedProxies: ['10.0.0.1']}}", "',", "'"),
            (
                "{gateway: {bind: 'lan'}}",
                "haproxy\n    ]",
                "haproxy\n    ],\n    \"bind\": \"lan\"",
            ),
            (
                "{ui: {a: {b: null}}}",
                "// not ours\n",
                "// not ours\n  \"ui\": {\n    \"a\": {}\n  },\n",
            ),
        ] {
            let text = patched(FILE, patch);
            if patch.contains("trustedProxies") {
                assert_eq!(
                    text,
                    FILE.replace("'10.0.0.1',", "'10.0.0.1'").replace("'10.0.0.2' ", ""),
                    "{patch}"
                );
            } else {
                assert_eq!(text, FILE.replacen(old, new, 1), "{patch}");
            }
        }
        let more =
            patched(FILE, "{gateway: {trustedProxies: ['10.0.0.1', '10.0.0.2', '10.0.0.3']}}");
        assert_eq!(
            more,
            FILE.replace("'10.0.0.2' // haproxy\n", "'10.0.0.2', // haproxy\n      \"10.0.0.3\"\n")
        );
    }

    #[test]
    fn equal_values_keep_their_text() {
        let whole = r#"{"gateway":{"port":18789,"auth":{"token":"t","mode":"token"},"trustedProxies":["10.0.0.1","10.0.0.2"]},"agents":{"list":[{"id":1}]}}"#;
        let same = merged(FILE, whole, MergeMode::Replace);
        assert_eq!((same.text.as_str(), same.paths.len(), same.lost.len()), (FILE, 0, 0));
    }

    #[test]
    fn changed_paths_are_returned() {
        let patch = "{gateway: {port: 2, auth: {token: null}, trustedProxies: ['10.0.0.2'], y: {z: 1}}, agents: {list: null}, no: null}";
        let merged = merged(FILE, patch, MergeMode::Patch);
        let paths = [
            "agents.list",
            "gateway.auth.token",
            "gateway.port",
            "gateway.trustedProxies",
            "gateway.y.z",
        ];
        let mut found = merged.paths.clone();
        found.sort();
        assert_eq!(found, paths);
        assert_eq!(merged.lost, ["gateway.trustedProxies", "agents.list"]);
    }

    #[test]
    fn empty_files_accept_a_merge() {
        for empty in ["", "// soon\n", "{}", "{ }\n"] {
            let text = patched(empty, "{gateway: {port: 1}}");
            assert!(text.starts_with(empty.split('{').next().unwrap()), "{text}");
            assert_eq!(json5(&text), json!({ "gateway": { "port": 1 } }), "{text}");
        }
        let list = tree::read("{}").ok().flatten().unwrap();
        assert!(merge("[1]", &list, MergeMode::Patch).ok().unwrap().is_none());
    }

    fn json5(text: &str) -> Json {
        let root = tree::read(text).unwrap_or_else(|_| panic!("{text}")).unwrap();
        serde_json::from_str(&compact(&root.value)).unwrap()
    }

    /// Reference implementation of RFC 7396, section 2.
    fn model(target: &Json, patch: &Json) -> Json {
        let Json::Object(patch) = patch else { return patch.clone() };
        let mut target = target.as_object().cloned().unwrap_or_default();
        for (name, value) in patch {
            if value.is_null() {
                target.remove(name);
            } else {
                let merged = model(target.get(name).unwrap_or(&Json::Null), value);
                target.insert(name.clone(), merged);
            }
        }
        target.into()
    }

    struct Dice(u64);

    impl Dice {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % bound
        }

        fn value(&mut self, depth: u64) -> Json {
            match self.below(4 + depth.min(4)) {
                0 => Json::Null,
                1 => self.below(9).into(),
                2 => true.into(),
                3 => ["a", "b//c", "d,}", "/*e*/"][self.below(4) as usize].into(),
                4 | 5 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
                _ => self.object(depth - 1),
            }
        }

        fn object(&mut self, depth: u64) -> Json {
            let names = ["a", "b", "c", "d"];
            let mut object = Map::new();
            (0..self.below(5)).for_each(|_| {
                let name = names[self.below(4) as usize];
                let value = self.value(depth);
                object.insert(name.to_string(), value);
            });
            object.into()
        }

        /// Writes the value as JSON5 with random white space, comments and trailing commas.
        fn write(&mut self, value: &Json, comments: &mut u32, lines: bool) -> String {
            let (open, close, members): (_, _, Vec<String>) = match value {
                Json::Object(object) => {
                    let member = |(name, value): (&String, &Json)| {
                        format!("{name}:{}", self.write(value, comments, lines))
                    };
                    ('{', '}', object.iter().map(member).collect())
                }
                Json::Array(list) => (
                    '[',
                    ']',
                    list.iter().map(|value| self.write(value, comments, lines)).collect(),
                ),
                scalar => return scalar.to_string(),
            };
            let mut text = String::from(open);
            let count = members.len();
            for (at, member) in members.into_iter().enumerate() {
                let space = self.space(comments, lines);
                let tail = self.space(comments, false);
                let last = at + 1 == count && self.below(2) == 0;
                text.push_str(
                    &[space.as_str(), &member, &tail, if last { "" } else { "," }].concat(),
                );
            }
            text.push_str(&self.space(comments, lines));
            text.push(close);
            text
        }

        fn space(&mut self, comments: &mut u32, lines: bool) -> String {
            *comments += 1;
            match self.below(6) {
                0 => format!(" /*#{comments}#*/ "),
                1 => format!(" //#{comments}#\n  "),
                2 => " ".to_string(),
                _ if lines => "\n  ".to_string(),
                _ => String::new(),
            }
        }
    }

    /// Returns the contents of the numbered comments in a text.
    fn comments(text: &str) -> Vec<&str> {
        text.split('#').skip(1).step_by(2).collect()
    }

    #[test]
    fn random_merges_match_the_model_and_keep_comments_in_order() {
        let mut dice = Dice(7);
        for round in 0..20_000 {
            let (old, new) = (dice.object(4), dice.object(4));
            let (mut count, lines) = (0, dice.below(2) == 0);
            let text = format!("//#first#\n{}//#last#", dice.write(&old, &mut count, lines));
            let new_text = serde_json::to_string(&new).unwrap();
            let (mode, wanted) = match round % 2 {
                0 => (MergeMode::Replace, new.clone()),
                _ => (MergeMode::Patch, model(&old, &new)),
            };
            let merged = merged(&text, &new_text, mode);
            assert_eq!(
                json5(&merged.text),
                wanted,
                "{text}\n+ {new_text} (round {round})\n= {}",
                merged.text
            );
            assert_eq!(merged.paths.is_empty(), wanted == old, "{text}\n+ {new_text}");
            assert!(wanted != old || merged.text == text);
            let (before, after) = (comments(&text), comments(&merged.text));
            let mut rest = before.iter();
            assert!(
                after.iter().all(|comment| rest.any(|one| one == comment)),
                "{text}\n= {}",
                merged.text
            );
            assert!(
                after.first() == Some(&"first") && after.last() == Some(&"last"),
                "{}",
                merged.text
            );
            let plain = |value: &Json| {
                value
                    .as_object()
                    .unwrap()
                    .values()
                    .all(|value| !value.is_object() && !value.is_array())
            };
            assert!(!plain(&old) || before == after, "{text}\n+ {new_text}\n= {}", merged.text);
        }
    }
}
