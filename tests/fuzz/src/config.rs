//! Configuration: text to a `Config` or to every problem; its redacted form; the text after a
//! change.

use gatelet::config::{change, load_text, shown, ChangeKind, Loaded, Overrides, Severity};
use gatelet::gate::limits;
use serde_json::Value;

use crate::mem::Home;
use crate::{bounded, samples, Seeds};

/// A tree of the text, one of the change, both printed, and the path of each change: the nested
/// members of an 8 KiB text have paths of a few kilobytes except in the worst case.
fn bound(len: usize) -> usize {
    1024 * 1024 + 256 * len
}

/// Separator between a text and a change of it.
const BETWEEN: &[u8] = b"\n%%\n";
const HIDDEN: &str = "__OPENCLAW_REDACTED__";

/// A text, optionally followed by a change.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (old, new) = text.split_once("\n%%\n").unwrap_or((text, "{}"));
    bounded(bound(data.len()), || {
        let loaded = load(old);
        show(old);
        let good = loaded.config.is_some();
        drop(loaded);
        if good {
            back(old);
        }
        for kind in [ChangeKind::Patch, ChangeKind::Value, ChangeKind::Text] {
            changed(old, new, kind);
        }
    });
}

fn load(text: &str) -> Loaded {
    let loaded = load_text(&Overrides::default(), &Home, Some(text));
    let errors =
        loaded.problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    assert_eq!(loaded.config.is_some(), errors == 0, "a configuration beside an error, or neither");
    assert!(loaded.problems.len() <= limits::CONFIG_PROBLEMS + 1);
    let lines = u32::try_from(text.lines().count()).unwrap() + 1;
    assert!(loaded
        .problems
        .iter()
        .all(|problem| problem.line <= lines && !problem.message.is_empty()));
    if let Some(config) = &loaded.config {
        assert!((1..=limits::CAPACITY_MAX).contains(&config.pairing.capacity));
        assert!((1..=1000).contains(&config.auth.rate_limit.max_attempts));
        let base = &config.control_ui.base_path;
        assert!(base.is_empty() || base.starts_with('/') && !base.ends_with('/'));
    }
    loaded
}

/// The redacted form is JSON, and redacting it again changes nothing.
fn show(text: &str) {
    let first = shown(text);
    if let Some(json) = &first.json {
        if let Err(error) = serde_json::from_str::<Value>(json) {
            let theirs = ["out of range", "recursion"];
            assert!(
                theirs.iter().any(|limit| error.to_string().contains(limit)),
                "{error}: {json}"
            );
        }
        if let Some(raw) = &first.raw {
            assert_eq!(shown(raw).json.as_ref(), Some(json), "hidden it says something else");
        }
    }
}

/// The redacted form of a valid text, restored without changes, is the text.
fn back(text: &str) {
    let (Some(raw), false) = (shown(text).raw, text.contains(HIDDEN)) else { return };
    // Of a duplicate key in a section of others the last value counts, and is restored. An entry
    // whose id itself is hidden, because it looks like a login, cannot be matched: the change is
    // rejected, and nothing is lost.
    let hidden = |text: &str| text.matches(HIDDEN).count();
    let nameless = format!("\"id\":\"{HIDDEN}\"");
    if shown(text)
        .json
        .is_some_and(|json| hidden(&json) != hidden(&raw) || json.contains(&nameless))
    {
        return;
    }
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
    let changed = change(text, &raw, ChangeKind::Text)
        .unwrap_or_else(|why| panic!("what was shown is refused: {why}"));
    assert_eq!(changed.text, bare, "a secret came back as another");
    if let Some(json) = shown(text).json {
        let changed = change(text, &json, ChangeKind::Value)
            .unwrap_or_else(|why| panic!("what a form was shown is refused: {why}"));
        assert_eq!(changed.text, text, "a form that changed nothing");
    }
}

fn changed(old: &str, new: &str, kind: ChangeKind) {
    let Ok(changed) = change(old, new, kind) else { return };
    // one more entry may say that there are more
    assert!(changed.paths.len() <= limits::CONFIG_PATHS + 1);
    let after = shown(&changed.text).json.expect("a changed text can be read");
    if kind != ChangeKind::Patch || old.contains(HIDDEN) || new.contains(HIDDEN) {
        return;
    }
    let (Some(before), Some(wanted)) = (shown(old).json, shown(new).json) else { return };
    // a number beyond the range of JSON is shown as null, and must not remove a key
    let nulls = |text: &str| text.matches("null").count();
    if nulls(new) != nulls(&wanted) {
        return;
    }
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
    if let (Some(mut before), Some(wanted), Some(after)) =
        (parse(&before), parse(&wanted), parse(&after))
    {
        merge(&mut before, &wanted);
        assert_eq!(after, before, "no merge patch of RFC 7396");
    }
}

/// JSON merge patch, a direct implementation of RFC 7396.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else { return into.clone_from(patch) };
    if !into.is_object() {
        *into = Value::Object(Default::default());
    }
    let object = into.as_object_mut().expect("it is one");
    for (name, value) in fields {
        if value.is_null() {
            object.remove(name);
        } else {
            merge(object.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// The samples of tests/it, alone and with changes.
pub fn seeds() -> Seeds {
    let changes: [&[u8]; 9] = [
        b"{}",
        br#"{"gateway":{"port":1234}}"#,
        br#"{"gateway":{"auth":null}}"#,
        br#"{"gateway":{"auth":{"token":"__OPENCLAW_REDACTED__"}}}"#,
        br#"{"gateway":{"trustedProxies":["10.0.0.0/8","::1"],"nodes":{"allowCommands":["a","b"]}}}"#,
        b"{gateway: {port: 0x10, /* why */ bind: 'lan'}}",
        br#"{"x":{"y":[{"id":"a","token":"__OPENCLAW_REDACTED__"},{"id":"b","z":null}]}}"#,
        br#"[1]"#,
        b"// nothing",
    ];
    let mut seeds = Seeds::new();
    for (folder, step) in [("good", 1), ("bad", 2)] {
        for (at, (name, text)) in samples::files(&format!("config/samples/{folder}"))
            .into_iter()
            .step_by(step)
            .enumerate()
        {
            let change = changes[at % changes.len()];
            seeds.push((format!("{folder}-{name}-changed"), [&text, BETWEEN, change].concat()));
            seeds.push((format!("{folder}-{name}"), text));
        }
    }
    seeds
}
