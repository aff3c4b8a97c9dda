//! Redacts the secrets in a configuration's text, and restores them in a text that a client sends
//! back.

use std::ops::Range;

use super::print::{is_secret, is_secret_key, quoted, secret_inside, HIDDEN};
use super::tree::{self, JsonValue, Member};

/// Replaces all secrets in the text by [`HIDDEN`].
///
/// Returns `None` if a secret could remain: the text cannot be parsed, or a secret also occurs
/// elsewhere, such as in a comment.
pub(super) fn hide(text: &str) -> Option<String> {
    let root = tree::read_narrow(text).ok()??;
    let mut secrets = Vec::new();
    collect_secrets(&root, false, &mut secrets);
    let edits = secrets.iter().map(|(span, _)| (span.clone(), quoted(HIDDEN))).collect();
    let hidden = replace_ranges(text, edits);
    (!secrets.iter().any(|(_, secret)| hidden.contains(secret))).then_some(hidden)
}

/// Appends the byte range and text of each secret in `member`.
fn collect_secrets(
    member: &Member<'_>,
    below_secret: bool,
    secrets: &mut Vec<(Range<usize>, String)>,
) {
    let below_secret = below_secret || is_secret_key(&member.name);
    match &member.value {
        value if is_secret(value, below_secret) => {
            let secret = match value {
                JsonValue::Text(text) => text.trim().to_string(),
                JsonValue::Number(number) => number.to_string(),
                _ => String::new(),
            };
            secrets.push((member.span.clone(), secret));
        }
        value @ (JsonValue::List(members) | JsonValue::Object(members)) => {
            let below_secret = secret_inside(value, below_secret);
            for member in members {
                collect_secrets(member, below_secret, secrets);
            }
        }
        _ => {}
    }
}

/// Replaces each [`HIDDEN`] in `new` by the value at the same path in `old`. The error is the path
/// of one that has no value in `old`.
pub(super) fn restore(new: &str, old: &str) -> Result<String, String> {
    let Ok(Some(new_root)) = tree::read_narrow(new) else { return Ok(new.to_string()) };
    let old_root = tree::read_narrow(old).ok().flatten();
    let mut restorer = Restorer { old, edits: Vec::new() };
    restorer.walk(&new_root, old_root.as_ref(), "")?;
    Ok(replace_ranges(new, restorer.edits))
}

struct Restorer<'o> {
    old: &'o str,
    /// Byte ranges of redacted values in the new text, with their old text.
    edits: Vec<(Range<usize>, String)>,
}

impl Restorer<'_> {
    fn walk(
        &mut self,
        new: &Member<'_>,
        old: Option<&Member<'_>>,
        path: &str,
    ) -> Result<(), String> {
        match &new.value {
            JsonValue::Text(text) if text == HIDDEN => {
                let old = old.ok_or_else(|| path.to_string())?;
                self.edits.push((new.span.clone(), self.old[old.span.clone()].to_string()));
            }
            JsonValue::Object(members) => {
                for member in members {
                    let old = old.and_then(|old| old.value.member(&member.name));
                    self.walk(member, old, &join_path(path, &member.name))?;
                }
            }
            JsonValue::List(items) => {
                for index in 0..items.len() {
                    let old = old.and_then(|old| matching_item(&old.value, items, index));
                    self.walk(&items[index], old, path)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Finds the entry of the old list that corresponds to entry `index` of the new list.
///
/// Entries correspond if their ids are equal or, without an id, if they are equal except for
/// redacted values. The entry must be unique, or at the same index in a list of unchanged length.
/// An entry without an id that matches none corresponds to the one at its index, if the length is
/// unchanged and no other new entry matches that one. Returns `None` if the entry cannot be
/// determined.
fn matching_item<'o, 't>(
    old: &'o JsonValue<'t>,
    new: &[Member<'_>],
    index: usize,
) -> Option<&'o Member<'t>> {
    let JsonValue::List(old) = old else { return None };
    let matches = |new: &Member<'_>, old: &Member<'_>| match new.value.text("id") {
        Some(id) => old.value.text("id") == Some(id),
        None => equal_if_visible(&new.value, &old.value),
    };
    let new_item = new.get(index)?;
    let at_index = old.get(index).filter(|_| old.len() == new.len());
    if let Some(at_index) = at_index.filter(|old| matches(new_item, old)) {
        return Some(at_index);
    }
    let mut matching = old.iter().filter(|old| matches(new_item, old));
    match (matching.next(), matching.next()) {
        (Some(only), None) => Some(only),
        (None, _) if new_item.value.text("id").is_none() => at_index.filter(|old| {
            old.value.text("id").is_none() && !new.iter().any(|other| matches(other, old))
        }),
        _ => None,
    }
}

/// Returns whether the values are equal, ignoring what is redacted in the new one.
fn equal_if_visible(new: &JsonValue<'_>, old: &JsonValue<'_>) -> bool {
    match (new, old) {
        (JsonValue::Text(new), _) if new == HIDDEN => true,
        (JsonValue::Text(new), JsonValue::Text(old)) => new == old,
        (JsonValue::Number(new), JsonValue::Number(old)) => new == old,
        (JsonValue::Flag(new), JsonValue::Flag(old)) => new == old,
        (JsonValue::Null, JsonValue::Null) => true,
        (JsonValue::List(news), JsonValue::List(olds)) => {
            news.len() == olds.len()
                && news.iter().zip(olds).all(|(new, old)| equal_if_visible(&new.value, &old.value))
        }
        (JsonValue::Object(news), JsonValue::Object(olds)) => {
            let in_old = |new: &Member<'_>| {
                old.member(&new.name).is_some_and(|old| equal_if_visible(&new.value, &old.value))
            };
            news.len() == olds.len() && news.iter().all(in_old)
        }
        _ => false,
    }
}

/// Joins a path and a key as `path.key`.
pub(super) fn join_path(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_string()
    } else {
        format!("{path}.{key}")
    }
}

/// Replaces the given byte ranges of the text. The ranges may overlap; the bytes of all of them are
/// removed.
pub(super) fn replace_ranges(text: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(span, _)| span.start);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (span, new) in edits {
        out.push_str(&text[done..span.start.max(done)]);
        out.push_str(&new);
        done = done.max(span.end);
    }
    out.push_str(&text[done..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "{\n  // mine\n  gateway: { auth: { token: 'very-secret', mode: \"token\" } }, // end\n  l: [{id: 'a', token: 's-a'}, {id: 'b', token: 's-b'}],\n}\n";

    #[test]
    fn redacted_values_are_restored_in_place() {
        let hidden = hide(OLD).unwrap();
        assert!(
            !hidden.contains("secret")
                && hidden.contains("// mine")
                && hidden.contains("mode: \"token\""),
            "{hidden}"
        );
        assert_eq!(restore(&hidden, OLD).unwrap(), OLD);
    }

    #[test]
    fn moved_entry_keeps_its_secret() {
        let moved = format!(
            r#"{{"l":[{{"id":"b","token":"{HIDDEN}"}},{{"id":"c","token":"new"}},{{"id":"a","token":"{HIDDEN}"}}]}}"#
        );
        let back = restore(&moved, OLD).unwrap();
        assert_eq!(
            back,
            r#"{"l":[{"id":"b","token":'s-b'},{"id":"c","token":"new"},{"id":"a","token":'s-a'}]}"#
        );
    }

    #[test]
    fn entries_with_the_same_id_keep_their_secrets_by_position() {
        let old = "{l: [{id: 'a', token: 's-one'}, {id: 'a', token: 's-two'}]}";
        assert_eq!(restore(&hide(old).unwrap(), old).unwrap(), old);
    }

    #[test]
    fn entry_without_an_id_is_matched_by_its_visible_values() {
        let hidden = |urls: &[&str]| {
            let items = urls
                .iter()
                .map(|url| format!(r#"{{"url":"{url}","secret":"{HIDDEN}"}}"#))
                .collect::<Vec<_>>();
            format!("{{\"hooks\":[{}]}}", items.join(","))
        };
        let full = |of: &[(&str, &str)]| {
            let items = of
                .iter()
                .map(|(url, secret)| format!(r#"{{"url":"{url}","secret":"s-{secret}"}}"#));
            format!("{{\"hooks\":[{}]}}", items.collect::<Vec<_>>().join(","))
        };
        let old = full(&[("a", "a"), ("b", "b"), ("c", "c")]);
        for (urls, back) in [
            (&["a", "b", "c"] as &[&str], &[("a", "a"), ("b", "b"), ("c", "c")] as &[(&str, &str)]),
            (&["c", "a", "b"], &[("c", "c"), ("a", "a"), ("b", "b")]),
            (&["b"], &[("b", "b")]),
            (&["c", "b"], &[("c", "c"), ("b", "b")]),
            // the second entry was edited in place
            (&["a", "new", "c"], &[("a", "a"), ("new", "b"), ("c", "c")]),
        ] {
            assert_eq!(
                restore(&hidden(urls), &old).as_deref(),
                Ok(full(back).as_str()),
                "{urls:?}"
            );
        }
        // edited and moved: the old entry cannot be determined
        for urls in [&["new"] as &[&str], &["a", "b", "c", "new"], &["b", "new", "c"]] {
            assert_eq!(restore(&hidden(urls), &old).unwrap_err(), "hooks.secret", "{urls:?}");
        }
        let bare = |items: &[&str]| {
            format!(
                "[{}]",
                items.iter().map(|item| format!("'{item}'")).collect::<Vec<_>>().join(",")
            )
        };
        let keys = |items: &[&str]| format!("{{apiKeys: {}}}", bare(items));
        let three = keys(&["k-1", "k-2", "k-3"]);
        assert_eq!(
            restore(&keys(&[HIDDEN, "new", HIDDEN]), &three).unwrap(),
            keys(&["k-1", "new", "k-3"])
        );
        assert_eq!(
            restore(&keys(&[HIDDEN, HIDDEN]), &three).unwrap_err(),
            "apiKeys",
            "the removed entry is unknown"
        );
    }

    #[test]
    fn redacted_value_without_an_old_value_is_rejected() {
        let password = format!("{{gateway: {{auth: {{password: '{HIDDEN}'}}}}}}");
        let token = format!("{{l: [{{id: 'z', token: '{HIDDEN}'}}]}}");
        assert_eq!(restore(&password, OLD).unwrap_err(), "gateway.auth.password");
        assert_eq!(restore(&token, OLD).unwrap_err(), "l.token");
        for old in ["", "{gateway: {auth: {password: 'mine'}}", "[]"] {
            assert_eq!(restore(&password, old).unwrap_err(), "gateway.auth.password", "{old}");
        }
    }

    #[test]
    fn text_with_a_secret_in_a_comment_is_not_shown() {
        assert_eq!(hide("{auth: {token: 'abc-def'}} // abc-def"), None);
        assert_eq!(hide("{auth: {token: 'abc'"), None);
        assert_eq!(hide(""), None);
    }
}
