//! Prepares a configuration file's text for display to clients, and applies their changes to it.

use super::edit::{self, Merged};
use super::print::{self, HIDDEN};
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

/// Applies a change to the text `old` and restores redacted secrets from it.
///
/// With `patch`, `new` is a JSON merge patch (RFC 7396). Otherwise `new` is the complete new
/// configuration. If it is `plain` JSON, it comes from a form without comments and layout: only the
/// values that differ are replaced in `old`. Otherwise, and if `plain` text replaces an invalid
/// file, `new` is used as written.
pub fn change(old: &str, new: &str, patch: bool, plain: bool) -> Result<Changed, String> {
    let (mark, old) = split_mark(old);
    let new = redact::restore(split_mark(new).1, old).map_err(|path| {
        ["Sentinel value \"", HIDDEN, "\" in key ", &path, " is not valid as real data"].concat()
    })?;
    let root = match tree::read_narrow(&new) {
        Ok(Some(root)) => root,
        Ok(None) => return Err("raw is empty".to_string()),
        Err(mistake) => return Err(["raw is not JSON5: ", &mistake.what].concat()),
    };
    if patch && !matches!(root.value, tree::JsonValue::Object(_)) {
        return Err("config.patch raw must be an object".to_string());
    }
    let merged = if patch || plain { edit::merge(old, &root, !patch).ok().flatten() } else { None };
    // A form would delete what it was not shown, so a valid file is never replaced as a whole.
    let sound = || matches!(tree::read(old), Ok(Some(root)) if matches!(root.value, tree::JsonValue::Object(_)));
    match merged {
        Some(Merged { text, paths, lost }) => {
            Ok(Changed { text: [mark, &text].concat(), paths, lost })
        }
        None if (patch || plain) && sound() => {
            Err("too many entries side by side: change the file by hand".to_string())
        }
        None if patch => Err("invalid config; fix before patching".to_string()),
        None => Ok(Changed { text: new, paths: Vec::new(), lost: Vec::new() }),
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
        let changed = change(OLD, &form, false, true).unwrap();
        assert_eq!(changed.text, OLD.replace("port: 1", "port: 2"));
    }

    #[test]
    fn text_with_comments_is_written_verbatim() {
        let raw = shown(OLD).raw.unwrap().replace("// mine", "// ours");
        let changed = change(OLD, &raw, false, false).unwrap();
        assert_eq!(changed.text, OLD.replace("// mine", "// ours")[3..]);
    }

    #[test]
    fn valid_file_too_wide_to_compare_is_not_replaced_by_a_form() {
        let wide: String = (0..limits::CONFIG_MEMBERS + 1).map(|at| format!("k{at}: 1,")).collect();
        let old = format!("{{ {wide} gateway: {{ auth: {{ token: 'secret-of-mine' }} }} }}");
        assert!(tree::read(&old).is_ok() && tree::read_narrow(&old).is_err());
        assert!(change(&old, "{}", false, true).is_err());
        assert_eq!(change(&old, "{/* mine */}", false, false).unwrap().text, "{/* mine */}");
        assert_eq!(
            change("{", "{\"a\":1}", false, true).unwrap().text,
            "{\"a\":1}",
            "what is broken may be"
        );
    }

    #[test]
    fn invalid_changes_are_rejected_with_a_reason() {
        let why = |new: &str, patch| change(OLD, new, patch, false).err().unwrap();
        assert_eq!(why("[1]", true), "config.patch raw must be an object");
        assert_eq!(why("{", false), "raw is not JSON5: what opens here is never closed");
        assert_eq!(why("// nothing", false), "raw is empty");
        let hidden = "{gateway: {auth: {password: '__OPENCLAW_REDACTED__'}}}";
        let text = "Sentinel value \"__OPENCLAW_REDACTED__\" in key gateway.auth.password is not valid as real data";
        assert_eq!(why(hidden, true), text);
        assert_eq!(
            change("[", "{}", true, false).err().unwrap(),
            "invalid config; fix before patching"
        );
    }
}
