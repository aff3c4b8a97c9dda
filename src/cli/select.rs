//! Finds the device or node that a user typed: by id, by the beginning of an id, or by name. Pure.

use super::format::{clean, items, short, text, texts};
use super::output::CommandError;
use crate::gate::ids::Role;
use crate::wire::json::Value;

/// A paired or pending entry of `device.pair.list`, `node.list` or `node.pair.list`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listed {
    /// Request id; empty for a paired device.
    pub request: String,
    pub device: String,
    /// Name given by the owner, else the device's own name; may be empty.
    pub name: String,
    pub own_name: String,
    pub roles: Vec<Role>,
    pub revoked: Vec<Role>,
    /// Commands that a node may execute or has requested.
    pub commands: Vec<String>,
}

impl Listed {
    fn read(value: &Value<'_>) -> Listed {
        let (label, own_name) = (text(value, "label"), text(value, "displayName"));
        let (device, node) = (text(value, "deviceId"), text(value, "nodeId"));
        Listed {
            request: text(value, "requestId"),
            device: if device.is_empty() { node } else { device },
            name: if label.is_empty() { own_name.clone() } else { label },
            own_name,
            roles: roles(value, "roles"),
            revoked: roles(value, "revokedRoles"),
            commands: texts(value, "commands"),
        }
    }

    /// Returns the name with a short id, `Kitchen (9b1c55e0d2aa)`, or the short id alone.
    pub fn shown(&self) -> String {
        let id = short(&self.device);
        if self.name.is_empty() {
            id.to_string()
        } else {
            format!("{} ({id})", clean(&self.name))
        }
    }

    fn matches(&self, typed: &str) -> bool {
        let named = |name: &str| !name.is_empty() && name.eq_ignore_ascii_case(typed);
        begins(&self.device, typed, DEVICE_DIGITS)
            || begins(&self.request, typed, REQUEST_DIGITS)
            || named(&self.name)
            || named(&self.own_name)
    }
}

fn roles(value: &Value<'_>, key: &str) -> Vec<Role> {
    texts(value, key).iter().filter_map(|name| Role::parse(name)).collect()
}

/// Reads the entries of the list `pending`, `paired` or `nodes`.
pub fn entries(list: &Value<'_>, key: &str) -> Vec<Listed> {
    items(list, key).map(|value| Listed::read(&value)).collect()
}

/// Returns the entry that `typed` selects; `None` if nothing matches. Several matches are an error
/// that lists them.
pub fn find<'a>(entries: &'a [Listed], typed: &str) -> Result<Option<&'a Listed>, CommandError> {
    let typed = typed.trim();
    let exact = entries
        .iter()
        .find(|entry| !typed.is_empty() && (entry.device == typed || entry.request == typed));
    if exact.is_some() {
        return Ok(exact);
    }
    let found: Vec<&Listed> = entries.iter().filter(|entry| entry.matches(typed)).collect();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => {
            let lines: Vec<String> = several.iter().map(|entry| candidate(entry)).collect();
            Err(CommandError::failed(format!(
                "`{}` matches {}; select one of them:\n  {}",
                clean(typed),
                several.len(),
                lines.join("\n  ")
            )))
        }
    }
}

/// Like [`find`], but an error if nothing matches. `what` is `device` or `node`.
pub fn one<'a>(entries: &'a [Listed], typed: &str, what: &str) -> Result<&'a Listed, CommandError> {
    find(entries, typed)?.ok_or_else(|| CommandError::failed(not_found(entries, typed, what)))
}

/// Returns the message that nothing matches.
pub fn not_found(entries: &[Listed], typed: &str, what: &str) -> String {
    let hex = !typed.is_empty() && typed.bytes().all(|byte| byte.is_ascii_hexdigit());
    let too_short = hex
        && typed.len() < DEVICE_DIGITS
        && entries.iter().any(|entry| entry.device.starts_with(typed));
    if too_short {
        return format!(
            "`{typed}` is too short: give at least {DEVICE_DIGITS} digits of the {what}'s id"
        );
    }
    format!("there is no {what} `{}`; see `gatelet {what}s`", clean(typed))
}

fn candidate(entry: &Listed) -> String {
    let id = if entry.request.is_empty() { &entry.device } else { &entry.request };
    format!("{id}  {}", clean(&entry.name)).trim_end().to_string()
}

/// Minimum length of an abbreviated device id.
const DEVICE_DIGITS: usize = 6;
/// Minimum length of an abbreviated request id.
const REQUEST_DIGITS: usize = 4;

fn begins(id: &str, typed: &str, least: usize) -> bool {
    typed.len() >= least && id.starts_with(&typed.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(device: &str, request: &str, name: &str) -> Listed {
        let text = |text: &str| text.to_string();
        Listed {
            device: text(device),
            request: text(request),
            name: text(name),
            ..Listed::default()
        }
    }

    fn some() -> Vec<Listed> {
        vec![
            entry("aaaaaa11", "", "Phone"),
            entry("aaaaaa22", "", "phone"),
            entry("bbbbbb33", "", "Desk"),
        ]
    }

    #[test]
    fn device_is_selected_by_id_prefix_or_name() {
        for typed in ["bbbbbb33", "bbbbbb", "BBBBBB3", "desk", " Desk "] {
            assert_eq!(find(&some(), typed).unwrap().unwrap().device, "bbbbbb33", "{typed}");
        }
        let waiting = [entry("cccccc", "1234-5", "")];
        assert_eq!(find(&waiting, "1234").unwrap().unwrap().request, "1234-5");
    }

    #[test]
    fn ambiguous_selection_lists_the_matches() {
        for typed in ["aaaaaa", "PHONE"] {
            let message = find(&some(), typed).unwrap_err().message.clone();
            assert!(
                message.contains("matches 2")
                    && message.contains("aaaaaa11  Phone")
                    && message.contains("aaaaaa22"),
                "{message}"
            );
        }
    }

    #[test]
    fn exact_id_wins_over_a_longer_match() {
        let both = [entry("aaaaaa", "", ""), entry("aaaaaa11", "", "")];
        assert_eq!(find(&both, "aaaaaa").unwrap().unwrap().device, "aaaaaa");
    }

    #[test]
    fn short_prefixes_and_empty_text_match_nothing() {
        for typed in ["bbbbb", "", " ", "b", "garage"] {
            assert_eq!(find(&some(), typed).unwrap(), None, "{typed}");
        }
        assert!(not_found(&some(), "bbbbb", "device").contains("too short"));
        assert!(
            not_found(&some(), "garage", "node").contains("no node `garage`; see `gatelet nodes`")
        );
    }

    #[test]
    fn empty_text_does_not_match_a_device_without_a_name() {
        assert_eq!(find(&[entry("dddddd", "", "")], "").unwrap(), None);
    }
}
