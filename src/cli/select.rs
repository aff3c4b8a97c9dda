//! What a user types to mean a device: an id, the beginning of one, or a name. Pure.

use super::show::{clean, items, short, text, texts};
use super::Failure;
use crate::wire::json::Value;

/// A device of `device.pair.list` or a node of `node.list` or `node.pair.list`, paired or waiting.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Entry {
    /// Empty for a paired device.
    pub request: String,
    pub device: String,
    /// The owner's name for it, else its own; may be empty.
    pub name: String,
    pub own_name: String,
    pub roles: Vec<String>,
    pub revoked: Vec<String>,
    pub scopes: Vec<String>,
    /// What a node may do, or wants to.
    pub commands: Vec<String>,
}

impl Entry {
    fn read(value: &Value<'_>) -> Entry {
        let (label, own_name) = (text(value, "label"), text(value, "displayName"));
        let (device, node) = (text(value, "deviceId"), text(value, "nodeId"));
        Entry {
            request: text(value, "requestId"),
            device: if device.is_empty() { node } else { device },
            name: if label.is_empty() { own_name.clone() } else { label },
            own_name,
            roles: texts(value, "roles"),
            revoked: texts(value, "revokedRoles"),
            scopes: texts(value, "scopes"),
            commands: texts(value, "commands"),
        }
    }

    /// `Kitchen (9b1c55e0d2aa)`, or the id alone.
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

/// The entries of `pending`, `paired` or `nodes`.
pub(super) fn entries(list: &Value<'_>, key: &str) -> Vec<Entry> {
    items(list, key).map(|value| Entry::read(&value)).collect()
}

/// The one entry that was meant; `None` if nothing fits. More than one is an error that lists them.
pub(super) fn find<'a>(entries: &'a [Entry], typed: &str) -> Result<Option<&'a Entry>, Failure> {
    let typed = typed.trim();
    let exact = entries.iter().find(|entry| !typed.is_empty() && (entry.device == typed || entry.request == typed));
    if exact.is_some() {
        return Ok(exact);
    }
    let found: Vec<&Entry> = entries.iter().filter(|entry| entry.matches(typed)).collect();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => {
            let lines: Vec<String> = several.iter().map(|entry| candidate(entry)).collect();
            Err(Failure::failed(format!(
                "`{}` fits {}; say which one:\n  {}",
                clean(typed),
                several.len(),
                lines.join("\n  ")
            )))
        }
    }
}

/// The one entry that was meant, a `device` or a `node`, or an error that says how to find it.
pub(super) fn one<'a>(entries: &'a [Entry], typed: &str, what: &str) -> Result<&'a Entry, Failure> {
    find(entries, typed)?.ok_or_else(|| nothing(entries, typed, what))
}

/// The error that nothing fits what was typed.
pub(super) fn nothing(entries: &[Entry], typed: &str, what: &str) -> Failure {
    let hex = !typed.is_empty() && typed.bytes().all(|byte| byte.is_ascii_hexdigit());
    let cut = hex && typed.len() < DEVICE_DIGITS && entries.iter().any(|entry| entry.device.starts_with(typed));
    if cut {
        return Failure::failed(format!(
            "`{typed}` is too short: give {DEVICE_DIGITS} digits of the {what}'s id or more"
        ));
    }
    Failure::failed(format!("there is no {what} `{}`; see `gatelet {what}s`", clean(typed)))
}

fn candidate(entry: &Entry) -> String {
    let id = if entry.request.is_empty() { &entry.device } else { &entry.request };
    format!("{id}  {}", clean(&entry.name)).trim_end().to_string()
}

/// Digits of a device id that must be given.
const DEVICE_DIGITS: usize = 6;
/// Digits of a request id that must be given.
const REQUEST_DIGITS: usize = 4;

fn begins(id: &str, typed: &str, least: usize) -> bool {
    typed.len() >= least && id.starts_with(&typed.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(device: &str, request: &str, name: &str) -> Entry {
        let text = |text: &str| text.to_string();
        Entry { device: text(device), request: text(request), name: text(name), ..Entry::default() }
    }

    fn some() -> Vec<Entry> {
        vec![entry("aaaaaa11", "", "Phone"), entry("aaaaaa22", "", "phone"), entry("bbbbbb33", "", "Desk")]
    }

    #[test]
    fn an_id_its_beginning_and_a_name_mean_the_device() {
        for typed in ["bbbbbb33", "bbbbbb", "BBBBBB3", "desk", " Desk "] {
            assert_eq!(find(&some(), typed).unwrap().unwrap().device, "bbbbbb33", "{typed}");
        }
        let waiting = [entry("cccccc", "1234-5", "")];
        assert_eq!(find(&waiting, "1234").unwrap().unwrap().request, "1234-5");
    }

    #[test]
    fn what_fits_several_lists_them() {
        for typed in ["aaaaaa", "PHONE"] {
            let message = find(&some(), typed).unwrap_err().message.clone();
            assert!(
                message.contains("fits 2") && message.contains("aaaaaa11  Phone") && message.contains("aaaaaa22"),
                "{message}"
            );
        }
    }

    #[test]
    fn an_exact_id_wins_over_one_that_begins_with_it() {
        let both = [entry("aaaaaa", "", ""), entry("aaaaaa11", "", "")];
        assert_eq!(find(&both, "aaaaaa").unwrap().unwrap().device, "aaaaaa");
    }

    #[test]
    fn too_few_digits_and_nothing_at_all_fit_nothing() {
        for typed in ["bbbbb", "", " ", "b", "nobody"] {
            assert_eq!(find(&some(), typed).unwrap(), None, "{typed}");
        }
        assert!(nothing(&some(), "bbbbb", "device").message.contains("too short"));
        assert!(nothing(&some(), "nobody", "node").message.contains("no node `nobody`; see `gatelet nodes`"));
    }

    #[test]
    fn a_device_without_names_is_not_meant_by_the_empty_name() {
        assert_eq!(find(&[entry("dddddd", "", "")], "").unwrap(), None);
    }
}
