//! Prepares a configuration file's text for display to clients, and applies their changes to it.

use super::edit::{self, MergeMode};
use super::print::{self, HIDDEN};
use super::tree::JsonValue;
use super::{redact, tree};

/// Text of a configuration without its secrets.
#[derive(Default)]
pub struct Shown {
    /// The text as written; `None` if a secret may remain in it, see `redact::hide`.
    pub raw: Option<String>,
    /// The value as JSON; `None` if the text cannot be parsed.
    pub json: Option<String>,
}

/// Returns the text and its value with secrets redacted.
pub fn shown(text: &str) -> Shown {
    let text = split_mark(text).1;
    let json = match tree::read_narrow(text) {
        Ok(Some(root)) => Some(print::shown(&root.value)),
        _ => None,
    };
    Shown { raw: redact::hide(text), json }
}

/// Result of a change.
pub struct Changed {
    pub text: String,
    /// Paths of the changed values; empty if the text is unchanged or `new` is used as written.
    pub paths: Vec<String>,
    /// Paths of the lists that lose entries; empty if `new` is used as written.
    pub lost: Vec<String>,
}

/// Form of a change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// A JSON merge patch (RFC 7396).
    Patch,
    /// The complete new configuration as plain JSON, as a form sends it: without comments and
    /// layout. Only the values that differ are replaced in the old text.
    Value,
    /// The complete new text.
    Text,
}

/// Applies a change to the text `old` and restores redacted secrets from it.
///
/// A `Value` that replaces an invalid file is used as written.
pub fn change(old: &str, new: &str, kind: ChangeKind) -> Result<Changed, String> {
    let (mark, old) = split_mark(old);
    let new = redact::restore(split_mark(new).1, old).map_err(|path| {
        format!("Sentinel value \"{HIDDEN}\" in key {path} is not valid as real data")
    })?;
    let root = match tree::read_narrow(&new) {
        Ok(Some(root)) => root,
        Ok(None) => return Err("raw is empty".to_string()),
        Err(error) => return Err(format!("raw is not JSON5: {}", error.message)),
    };
    let mode = match kind {
        ChangeKind::Patch if !matches!(root.value, JsonValue::Object(_)) => {
            return Err("config.patch raw must be an object".to_string())
        }
        ChangeKind::Patch => MergeMode::Patch,
        ChangeKind::Value => MergeMode::Replace,
        ChangeKind::Text => return Ok(Changed { text: new, paths: Vec::new(), lost: Vec::new() }),
    };
    if let Some(merged) = edit::merge(old, &root, mode).ok().flatten() {
        let text = format!("{mark}{}", merged.text);
        return Ok(Changed { text, paths: merged.paths, lost: merged.lost });
    }
    // A form would delete what it was not shown, so a valid file is never replaced as a whole.
    let is_valid =
        matches!(tree::read(old), Ok(Some(root)) if matches!(root.value, JsonValue::Object(_)));
    match kind {
        _ if is_valid => {
            Err("too many entries in one list or object: edit the file by hand".to_string())
        }
        ChangeKind::Patch => Err("invalid config; fix before patching".to_string()),
        _ => Ok(Changed { text: new, paths: Vec::new(), lost: Vec::new() }),
    }
}

/// Splits the text after its byte order mark, if it has one.
fn split_mark(text: &str) -> (&str, &str) {
    text.split_at(if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::limits;

    const OLD: &str =
        "\u{feff}{\n  // mine\n  gateway: { port: 1, auth: { token: 'secret-of-mine' } },\n}\n";

    #[test]
    fn form_changes_only_edited_values() {
        let form = shown(OLD).json.unwrap().replace("\"port\":1", "\"port\":2");
        let changed = change(OLD, &form, ChangeKind::Value).unwrap();
        assert_eq!(changed.text, OLD.replace("port: 1", "port: 2"));
    }

    #[test]
    fn text_with_comments_is_written_verbatim() {
        let raw = shown(OLD).raw.unwrap().replace("// mine", "// ours");
        let changed = change(OLD, &raw, ChangeKind::Text).unwrap();
        assert_eq!(changed.text, OLD.replace("// mine", "// ours")[3..]);
    }

    #[test]
    fn valid_file_too_wide_to_compare_is_not_replaced_by_a_form() {
        let wide: String = (0..limits::CONFIG_MEMBERS + 1).map(|at| format!("k{at}: 1,")).collect();
        let old = format!("{{ {wide} gateway: {{ auth: {{ token: 'secret-of-mine' }} }} }}");
        assert!(tree::read(&old).is_ok() && tree::read_narrow(&old).is_err());
        assert!(change(&old, "{}", ChangeKind::Value).is_err());
        assert_eq!(change(&old, "{/* mine */}", ChangeKind::Text).unwrap().text, "{/* mine */}");
        assert_eq!(
            change("{", "{\"a\":1}", ChangeKind::Value).unwrap().text,
            "{\"a\":1}",
            "an invalid file can be replaced"
        );
    }

    #[test]
    fn invalid_changes_are_rejected_with_a_reason() {
        let why = |new: &str, kind| change(OLD, new, kind).err().unwrap();
        assert_eq!(why("[1]", ChangeKind::Patch), "config.patch raw must be an object");
        assert_eq!(why("{", ChangeKind::Text), "raw is not JSON5: unterminated object");
        assert_eq!(why("// nothing", ChangeKind::Text), "raw is empty");
        let hidden = "{gateway: {auth: {password: '__OPENCLAW_REDACTED__'}}}";
        let text = "Sentinel value \"__OPENCLAW_REDACTED__\" in key gateway.auth.password is not valid as real data";
        assert_eq!(why(hidden, ChangeKind::Patch), text);
        assert_eq!(
            change("[", "{}", ChangeKind::Patch).err().unwrap(),
            "invalid config; fix before patching"
        );
    }
}
