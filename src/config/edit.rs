//! Edits a configuration's text in place. Everything that a change does not affect stays byte for
//! byte: comments, layout, other sections, the notation of numbers.

use std::ops::Range;

use super::print::{compact, laid_out, quoted, STEP};
use super::redact::{beneath, replaced};
use super::tree::{self, JsonValue, Member, Mistake};
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

/// Merges `new` into `text`: as a JSON merge patch (RFC 7396), or, if `whole` is set, as the
/// complete new value, where only the differences are written.
///
/// An empty text counts as an empty object. Returns `None` if `text` or `new` is not an object.
pub(super) fn merge(text: &str, new: &Member<'_>, whole: bool) -> Result<Option<Merged>, Mistake> {
    let Some(old) = tree::read_narrow(text)? else {
        return merge(&[text, "{}\n"].concat(), new, whole);
    };
    if !matches!((&old.value, &new.value), (JsonValue::Object(_), JsonValue::Object(_))) {
        return Ok(None);
    }
    let mut editor =
        Editor { text, whole, pieces: Vec::new(), paths: Vec::new(), lost: Vec::new() };
    editor.value(&old, new, "");
    let Editor { pieces, paths, lost, .. } = editor;
    Ok(Some(Merged { text: replaced(text, pieces), paths, lost }))
}

struct Editor<'t> {
    text: &'t str,
    /// Remove members that are absent from the new value.
    whole: bool,
    pieces: Vec<(Range<usize>, String)>,
    paths: Vec<String>,
    lost: Vec<String>,
}

impl Editor<'_> {
    fn value(&mut self, old: &Member<'_>, new: &Member<'_>, path: &str) {
        match (&old.value, &new.value) {
            (JsonValue::Object(olds), JsonValue::Object(news)) => {
                self.object(old, olds, news, path)
            }
            (JsonValue::List(olds), JsonValue::List(news)) => self.list(old, olds, new, news, path),
            (one, other) if compact(one) == compact(other) => {}
            _ => self.replace(old, new, path),
        }
    }

    fn replace(&mut self, old: &Member<'_>, new: &Member<'_>, path: &str) {
        self.note(old, path, true);
        self.note(new, path, false);
        let value = laid_out(&new.value, self.indent_of_line(old.at), !self.whole);
        self.pieces.push((old.span.clone(), value));
    }

    fn object(
        &mut self,
        holder: &Member<'_>,
        olds: &[Member<'_>],
        news: &[Member<'_>],
        path: &str,
    ) {
        let mut gone = vec![false; olds.len()];
        let mut added = Vec::new();
        let indent = self.indent_inside(holder, olds);
        for (old, gone) in olds.iter().zip(&mut gone) {
            let new = news.iter().rfind(|new| new.name == old.name);
            *gone =
                new.map_or(self.whole, |new| !self.whole && matches!(new.value, JsonValue::Null));
            if *gone {
                self.note(old, &beneath(path, &old.name), true);
            }
        }
        for (at, new) in news.iter().enumerate() {
            let path = beneath(path, &new.name);
            let again = news[at + 1..].iter().any(|later| later.name == new.name);
            let removes = !self.whole && matches!(new.value, JsonValue::Null);
            match olds.iter().rfind(|old| old.name == new.name) {
                _ if again || removes => {}
                Some(old) => self.value(old, new, &path),
                None => {
                    let value = laid_out(&new.value, &indent, !self.whole);
                    added.push([&quoted(&new.name), ": ", &value].concat());
                    self.note(new, &path, false);
                }
            }
        }
        self.reshape(holder, olds, &gone, &added);
    }

    /// Edits a list. With equal lengths, entries are compared by index. Otherwise entries are
    /// removed and appended in place, which keeps the comments between them; if a new entry
    /// precedes one that stays, the whole list is replaced.
    fn list(
        &mut self,
        holder: &Member<'_>,
        olds: &[Member<'_>],
        new: &Member<'_>,
        news: &[Member<'_>],
        path: &str,
    ) {
        let old_texts: Vec<String> = olds.iter().map(|old| compact(&old.value)).collect();
        let new_texts: Vec<String> = news.iter().map(|new| compact(&new.value)).collect();
        if old_texts == new_texts {
            return;
        }
        if old_texts.iter().any(|old| !new_texts.contains(old)) {
            self.lost.push(path.to_string());
        }
        self.note_path(path);
        if olds.len() == news.len() {
            let noted =
                (self.paths.len(), self.lost.len(), std::mem::replace(&mut self.whole, true));
            olds.iter().zip(news).for_each(|(old, new)| self.value(old, new, path));
            self.paths.truncate(noted.0);
            self.lost.truncate(noted.1);
            self.whole = noted.2;
            return;
        }
        let indent = self.indent_inside(holder, olds);
        let (mut gone, mut added, mut next) = (vec![true; olds.len()], Vec::new(), 0);
        for (item, text) in news.iter().zip(&new_texts) {
            match old_texts[next..].iter().position(|old| old == text) {
                Some(at) if added.is_empty() => {
                    next += at + 1;
                    gone[next - 1] = false;
                }
                Some(_) => {
                    let value = laid_out(&new.value, self.indent_of_line(holder.at), false);
                    return self.pieces.push((holder.span.clone(), value));
                }
                None => added.push(laid_out(&item.value, &indent, false)),
            }
        }
        self.reshape(holder, olds, &gone, &added);
    }

    /// Records the paths of all values in `member` as changed; `gone` means that they are removed.
    fn note(&mut self, member: &Member<'_>, path: &str, gone: bool) {
        match &member.value {
            JsonValue::Object(members) if !members.is_empty() => {
                members
                    .iter()
                    .for_each(|member| self.note(member, &beneath(path, &member.name), gone));
            }
            value => {
                self.note_path(path);
                if gone && matches!(value, JsonValue::List(items) if !items.is_empty()) {
                    self.lost.push(path.to_string());
                }
            }
        }
    }

    fn note_path(&mut self, path: &str) {
        let fits = self.paths.len() < limits::CONFIG_PATHS && path.len() <= limits::FIELD_LEN;
        let path = if fits { path } else { "..." };
        if self.paths.last().is_none_or(|last| last != path) {
            self.paths.push(path.to_string());
        }
    }

    // --- text edits ---

    /// Removes the members marked in `gone` and inserts `added` after the last remaining member.
    fn reshape(
        &mut self,
        holder: &Member<'_>,
        members: &[Member<'_>],
        gone: &[bool],
        added: &[String],
    ) {
        let cut: Vec<&Member<'_>> =
            members.iter().zip(gone).filter(|(_, gone)| **gone).map(|(member, _)| member).collect();
        cut.into_iter().for_each(|member| self.cut(member));
        let kept = members.iter().zip(gone).rfind(|(_, gone)| !**gone).map(|(member, _)| member);
        let trailing = members.last().is_some_and(|last| last.comma.is_some());
        match kept {
            // This member becomes the last one, and the file has no trailing comma here.
            Some(Member { comma: Some(comma), .. }) if added.is_empty() && !trailing => {
                self.pieces.push((*comma..comma + 1, String::new()));
            }
            Some(Member { comma: None, span, .. }) if !added.is_empty() => {
                self.insert(span.end, ",")
            }
            _ => {}
        }
        if !added.is_empty() {
            self.add(holder, members, kept, added, trailing);
        }
    }

    fn add(
        &mut self,
        holder: &Member<'_>,
        members: &[Member<'_>],
        kept: Option<&Member<'_>>,
        added: &[String],
        trailing: bool,
    ) {
        let behind = match kept {
            Some(Member { comma: Some(comma), .. }) => comma + 1,
            Some(member) => member.span.end,
            None => holder.span.start + 1,
        };
        let place = self.behind_line_comment(behind);
        let empty_object = members.is_empty() && matches!(holder.value, JsonValue::Object(_));
        let lines = place != behind
            || empty_object
            || members.first().is_some_and(|first| self.own_line(first.at).is_some());
        let before = match (lines, kept) {
            (true, _) => ["\n", &self.indent_inside(holder, members)].concat(),
            (false, Some(_)) => " ".to_string(),
            (false, None) => String::new(),
        };
        let between = if lines { [",", &before].concat() } else { ", ".to_string() };
        let mut text =
            [before.as_str(), &added.join(&between), if trailing { "," } else { "" }].concat();
        if lines && !self.text[place..holder.span.end].contains('\n') {
            text.push('\n');
            text.push_str(self.indent_of_line(holder.at));
        }
        self.insert(place, &text);
    }

    /// Removes a member and its comma, and the line if nothing else is on it. Comments outside the
    /// value stay.
    fn cut(&mut self, member: &Member<'_>) {
        let text = self.text;
        let end = member.comma.map_or(member.span.end, |comma| comma + 1);
        let bare = text[member.span.end..end]
            .trim_matches(|char: char| char.is_whitespace() || char == ',')
            .is_empty();
        let rest = &text[end..];
        let line = rest.find('\n').map_or(rest, |at| &rest[..at + 1]);
        if let Some(indent) = self
            .own_line(member.at)
            .filter(|_| bare && line.trim().is_empty() && line.ends_with('\n'))
        {
            return self.pieces.push((member.at - indent.len()..end + line.len(), String::new()));
        }
        let spaces = |text: &str| text.len() - text.trim_start_matches(' ').len();
        if let Some(comma) = member.comma {
            self.pieces.push((comma..end + spaces(rest), String::new()));
            return self.pieces.push((member.at..member.span.end, String::new()));
        }
        let piece = match self.own_line(member.at) {
            Some(_) => member.at..end + spaces(rest),
            None => text[..member.at].trim_end_matches(' ').len()..end,
        };
        self.pieces.push((piece, String::new()));
    }

    fn insert(&mut self, at: usize, text: &str) {
        self.pieces.push((at..at, text.to_string()));
    }

    /// Returns the end of the line if only a `//` comment follows `at`, else `at`.
    fn behind_line_comment(&self, at: usize) -> usize {
        let line = self.text[at..].split('\n').next().unwrap_or_default();
        if line.trim_start().starts_with("//") {
            at + line.len()
        } else {
            at
        }
    }

    /// Returns the white space before byte `at` if the line holds nothing else before it. `None` on
    /// the first line of the text.
    fn own_line(&self, at: usize) -> Option<&str> {
        let start = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        Some(&self.text[start..at]).filter(|space| start > 0 && space.trim().is_empty())
    }

    /// Returns the indentation of the line that contains byte `at`.
    fn indent_of_line(&self, at: usize) -> &str {
        let start = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line = &self.text[start..at];
        &line[..line.len() - line.trim_start().len()]
    }

    /// Returns the indentation for members of the list or object `holder`.
    fn indent_inside(&self, holder: &Member<'_>, members: &[Member<'_>]) -> String {
        let own = members.iter().rev().find_map(|member| self.own_line(member.at));
        own.map_or_else(|| [self.indent_of_line(holder.at), STEP].concat(), str::to_string)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, Map, Value as Json};

    use super::*;

    fn merged(text: &str, new: &str, whole: bool) -> Merged {
        let new = tree::read(new).ok().flatten().unwrap();
        merge(text, &new, whole).ok().flatten().unwrap()
    }

    fn patched(text: &str, patch: &str) -> String {
        merged(text, patch, false).text
    }

    const FILE: &str = "// my gateway\n{\n  gateway: {\n    port: 18789, // the usual one\n    /* who may come */\n    \
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
        let same = merged(FILE, whole, true);
        assert_eq!((same.text.as_str(), same.paths.len(), same.lost.len()), (FILE, 0, 0));
    }

    #[test]
    fn changed_paths_are_returned() {
        let patch = "{gateway: {port: 2, auth: {token: null}, trustedProxies: ['10.0.0.2'], y: {z: 1}}, agents: {list: null}, no: null}";
        let merged = merged(FILE, patch, false);
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
        assert!(merge("[1]", &list, false).ok().unwrap().is_none());
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
            let whole = round % 2 == 0;
            let merged = merged(&text, &new_text, whole);
            let wanted = if whole { new.clone() } else { model(&old, &new) };
            assert_eq!(
                json5(&merged.text),
                wanted,
                "{text}\n+ {new_text} ({whole})\n= {}",
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
