//! Hints of configuration problems, followed to the letter: each alternative that a hint offers is
//! applied to the file, and so are the hints of what is then reported, until the gateway starts.

use std::collections::BTreeSet;

use gatelet::config::{change, shown, ChangeKind, Problem, Severity};
use serde_json::{json, Value};

use super::load::{sample_world, samples, World, TOKEN};

/// Hints that leave the value to the reader, with values of the kind that they ask for.
const GIVEN: &[(&str, &str)] = &[
    ("use a long random text, for example from openssl rand -hex 32", r#"{"auth": {"token": "7c1f0f2f5ad1e3a84a1c2f6c1c3d3e8f"}}"#),
    ("write ws://host:port; this build has no TLS", r#"{"upstream": {"url": "ws://host:18789"}}"#),
    ("set gateway.upstream.url", r#"{"upstream": {"url": "ws://host:18789"}}"#),
    ("write a public key in base64url or a device id of 64 hexadecimal digits, then an optional comment",
     r#"{"pairing": {"authorizedKeys": ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA me"]}}"#),
    ("use an IP address of this machine", r#"{"customBindHost": "192.168.1.5"}"#),
    ("set it to an IP address of this machine", r#"{"customBindHost": "192.168.1.5"}"#),
    ("list the addresses of the proxy", r#"{"trustedProxies": ["172.18.0.2"]}"#),
    ("list only the addresses of your proxies", r#"{"trustedProxies": ["172.18.0.2"]}"#),
    ("set it to the header in which the proxy sends the user name", r#"{"auth": {"trustedProxy": {"userHeader": "x-user"}}}"#),
    ("set gateway.auth.password or GATELET_PASSWORD_FILE", r#"{"auth": {"password": "correct horse battery staple"}}"#),
    ("write the name of a user", r#"{"auth": {"trustedProxy": {"allowUsers": ["ann"]}}}"#),
    ("it must be one line of UTF-8 text", r#"{"auth": {"token": "one line of UTF-8 text"}}"#),
    ("use 16 characters or more", r#"{"auth": {"token": "16 characters or more"}}"#),
];

/// Texts whose hints no sample has.
const MORE: &[&str] = &[
    r#"{gateway: {auth: {mode: "none", trustedProxy: {allowUsers: [" "]}}}}"#,
    r#"{gateway: {auth: {token: "a\nb"}}}"#,
    r#"{gateway: {nodes: {commands: {deny: [""]}}}}"#,
    r#"{gateway: {mode: "remot"}}"#,
    r#"{gateway: {tailscale: {mode: "funnel"}, bind: "lan"}}"#,
    r#"{gateway: {auth: {mode: "passwd"}, bind: "loopbak", prot: 8080}}"#,
    r#"{gateway: {controlui: {basepath: "/a", allowedOrigin: ["https://a.example"]}}}"#,
];

/// Returns a merge patch that sets `gateway.PATH`.
fn set(path: &str, value: Value) -> String {
    let path = path.strip_prefix("gateway").unwrap_or_else(|| panic!("{path} is not a key"));
    let keys: Vec<&str> = path.split('.').filter(|key| !key.is_empty()).collect();
    let nested = keys.iter().rev().fold(value, |inner, key| json!({ *key: inner }));
    json!({ "gateway": nested }).to_string()
}

/// Returns the value of `gateway.PATH` in the text; of a secret, another one.
fn get(text: &str, path: &str) -> Value {
    let tree: Value = serde_json::from_str(&shown(text).json.unwrap()).unwrap();
    let value = tree.pointer(&format!("/{}", path.replace('.', "/"))).cloned();
    value.map_or(Value::Null, |value| match value == "__OPENCLAW_REDACTED__" {
        true => json!(TOKEN),
        false => value,
    })
}

/// Returns the texts between double quotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('"').skip(1).step_by(2).collect()
}

/// Returns the keys that a text names: words that begin with `gateway.`.
fn keys(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split([' ', ',', '(', ')', '?', ':']);
    words.filter(|word| word.starts_with("gateway.")).map(|word| word.trim_end_matches('.'))
}

/// Returns a merge patch for each alternative that the hint offers, or that the message has if
/// there is no hint.
fn alternatives(problem: &Problem, text: &str) -> Vec<String> {
    let (path, hint) = (problem.path.as_str(), problem.hint.as_str());
    let words = |all: Vec<&str>| all.into_iter().map(|word| set(path, json!(word))).collect();
    if let Some((_, patch)) = GIVEN.iter().find(|(given, _)| *given == hint) {
        return vec![format!("{{\"gateway\": {patch}}}")];
    }
    if let Some(rest) = hint.strip_prefix("did you mean \"custom\" with ") {
        let host = json!(quoted(rest)[0]);
        let both = json!({ "gateway": { "bind": "custom", "customBindHost": host } });
        return vec![both.to_string()];
    }
    if let Some(key) = hint.strip_prefix("did you mean gateway.") {
        let mut moved: Value = serde_json::from_str(&set(
            &format!("gateway.{}", &key[..key.len() - 1]),
            get(text, path),
        ))
        .unwrap();
        json_patch(&mut moved, set(path, Value::Null));
        return vec![moved.to_string()];
    }
    if hint.starts_with("did you mean \"") || hint.starts_with("use \"") {
        return words(quoted(hint));
    }
    if let Some((_, example)) = hint.split_once("such as ").or(hint.split_once("write it like ")) {
        let examples = example.split([',', ' ']).filter(|word| !matches!(*word, "" | "or"));
        return examples.map(|example| set(path, replaced(text, problem, example))).collect();
    }
    if hint.starts_with("remove it;") || hint.ends_with("or remove it") {
        return vec![set(path, Value::Null)];
    }
    if hint == "remove one of them" {
        return keys(&problem.message).map(|key| set(key, Value::Null)).collect();
    }
    if let Some((_, word)) = hint.split_once("it has an effect only with gateway.bind ") {
        return vec![set("gateway.bind", json!(quoted(word)[0]))];
    }
    if hint.starts_with("remove the secret, or set the mode to ") {
        let mode = |word: &&str| set("gateway.auth.mode", json!(word));
        let modes = quoted(hint).iter().map(mode).collect::<Vec<_>>();
        let secret = json!({ "gateway": { "auth": { "token": null, "password": null } } });
        return [vec![secret.to_string()], modes].concat();
    }
    let settings: Vec<&str> = hint.split("gateway.").skip(1).collect();
    if hint.contains("set gateway.") {
        let each = settings.iter().flat_map(|setting| {
            let (key, values) = setting.split_once(" to ").unwrap_or_else(|| panic!("{hint}"));
            let values = match values.starts_with("false") {
                true => vec![json!(false)],
                false => quoted(values).into_iter().map(|word| json!(word)).collect(),
            };
            values.into_iter().map(move |value| set(&format!("gateway.{key}"), value))
        });
        return each.collect();
    }
    assert_eq!(hint, "", "a hint that this test cannot follow: {problem}");
    let message = &problem.message;
    if let Some((_, range)) = message.split_once("must be a whole number from ") {
        let range = range.split(',').next().unwrap().split_once(" to ").unwrap();
        let number = |text: &str| set(path, json!(text.parse::<u32>().unwrap()));
        return vec![number(range.0), number(range.1)];
    }
    let typed = [
        ("must be true or false", json!(true)),
        ("must be a list of strings", json!([])),
        ("must be an object", json!({})),
        ("must be a string", Value::Null),
        ("is empty and treated as unset", Value::Null),
    ];
    let value = typed.into_iter().find(|(words, _)| message.contains(words));
    vec![set(path, value.unwrap_or_else(|| panic!("neither hint nor type: {problem}")).1)]
}

/// Applies the second merge patch to the first one.
fn json_patch(into: &mut Value, patch: String) {
    fn merge(into: &mut Value, from: Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (key, value) in from {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from,
        }
    }
    merge(into, serde_json::from_str(&patch).unwrap());
}

/// Returns the value of the problem's key with the invalid entry or value replaced.
fn replaced(text: &str, problem: &Problem, example: &str) -> Value {
    match get(text, &problem.path) {
        Value::Array(items) => {
            let invalid = quoted(&problem.message)[0];
            items
                .into_iter()
                .map(|item| if item == invalid { json!(example) } else { item })
                .collect()
        }
        _ => json!(example),
    }
}

/// Problems that an edit of the text itself solves, not a value.
fn of_the_text(problem: &Problem) -> bool {
    let hints = [
        "it is already set in line",
        "a dot does not separate keys",
        "write the gateway section into this file",
        "write {} for an empty configuration",
        "make the file readable for this user",
    ];
    hints.iter().any(|hint| problem.hint.starts_with(hint))
        || problem.message.contains("uses the environment variable")
        || problem.message.contains("is not JSON5")
        || problem.message.contains("secret reference")
}

fn problems(text: &str) -> Vec<Problem> {
    sample_world(text).load().problems
}

/// Follows the hint of the first error until there is none.
fn starts(mut text: String) -> Result<(), String> {
    for _ in 0..12 {
        let Some(problem) = problems(&text).into_iter().find(|one| one.severity == Severity::Error)
        else {
            return Ok(());
        };
        if of_the_text(&problem) {
            return Ok(());
        }
        let patch = alternatives(&problem, &text).swap_remove(0);
        text = change(&text, &patch, ChangeKind::Patch)
            .map_err(|error| format!("{error}: {text}"))?
            .text;
    }
    Err(format!("the hints lead nowhere: {:?}\n{text}", problems(&text)))
}

/// Applies one alternative of a hint: the problem is gone, and further hints lead to a start.
fn follow(text: &str, problem: &Problem, patch: &str) -> Result<(), String> {
    let context = |error| format!("{problem}\n{patch}\n{error}");
    let changed = change(text, patch, ChangeKind::Patch).map_err(context)?.text;
    match problems(&changed).iter().find(|one| one.message == problem.message) {
        Some(_) => Err(context(format!("it is still there: {changed}"))),
        None => starts(changed).map_err(context),
    }
}

#[test]
fn followed_hints_lead_to_a_configuration_that_starts() {
    let bad = samples("bad").into_iter().chain(samples("good"));
    let more = MORE.iter().enumerate().map(|(at, text)| (format!("more {at}"), text.to_string()));
    let (mut followed, mut given, mut wrong) = (0, BTreeSet::new(), Vec::new());
    for (name, text) in bad.chain(more) {
        for problem in problems(&text).iter().filter(|problem| !of_the_text(problem)) {
            given.extend(GIVEN.iter().map(|(hint, _)| *hint).filter(|hint| *hint == problem.hint));
            for patch in alternatives(problem, &text) {
                wrong.extend(
                    follow(&text, problem, &patch).err().map(|error| (name.clone(), error)),
                );
                followed += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let unused: Vec<_> = GIVEN.iter().filter(|(hint, _)| !given.contains(hint)).collect();
    assert!(unused.is_empty(), "{unused:?}");
    assert!(followed > 90, "{followed}");
}

/// Hints about the text itself, variables and files: before, hint, after.
#[test]
fn followed_hints_about_text_variables_and_files_solve_the_problem() {
    let file = "/run/token";
    let text = |text: &str| World::with(text);
    let variable = |name: &str, value: &str| World::with("{}").var(name, value);
    let secret =
        |content: &str| World::with("{}").var("GATELET_TOKEN_FILE", file).file(file, content);
    for (before, hint, after) in [
        (text("[]"), "write {} for an empty configuration", text("{}")),
        (
            text("{gateway: {bind: \"lan\",\nbind: \"lan\"}}"),
            "it is already set in line 1",
            text("{gateway: {bind: \"lan\"}}"),
        ),
        (
            text("{gateway: {\"auth.mode\": \"token\"}}"),
            "a dot does not separate keys: write { auth: { mode: ... } }",
            text("{gateway: { auth: { mode: \"token\" } }}"),
        ),
        (
            text("{\"gateway.port\": 1}"),
            "write it as nested objects: gateway: { port: ...",
            text("{gateway: { port: 1 }}"),
        ),
        (
            text("{$include: \"x\"}"),
            "write the gateway section into this file",
            text("{gateway: {}}"),
        ),
        (
            text("{gateway: {publicOrigin: \"https://${NAME}\"}}"),
            "set NAME, or write $${NAME} for the literal text",
            text("{gateway: {publicOrigin: \"https://${NAME}\"}}").var("NAME", "gate"),
        ),
        (
            text("{gateway: {controlUi: {root: \"/${NAME}\"}}}"),
            "set NAME, or write $${NAME} for the literal text",
            text("{gateway: {controlUi: {root: \"/$${NAME}\"}}}").file("/${NAME}/index.html", ""),
        ),
        (
            text("{gateway: {auth: {token: {source: \"file\", id: \"x\"}}}}"),
            "use { source: \"env\", id: \"NAME\" }, a string, or GATELET_TOKEN_FILE",
            text("{gateway: {auth: {token: { source: \"env\", id: \"NAME\" }}}}")
                .var("NAME", TOKEN),
        ),
        (
            variable("GATELET_PORT", "http"),
            "use a port from 1 to 65535",
            variable("GATELET_PORT", "65535"),
        ),
        (
            variable("GATELET_BIND", "localhost"),
            "did you mean \"loopback\"?",
            variable("GATELET_BIND", "loopback"),
        ),
        (
            variable("GATELET_PUBLISH", "x").var("GATELET_IMAGE", "x").file("/.dockerenv", ""),
            "use a port from 1 to 65535",
            variable("GATELET_PUBLISH", "1").var("GATELET_IMAGE", "x").file("/.dockerenv", ""),
        ),
        (
            variable("GATELET_TOKEN", TOKEN).var("GATELET_TOKEN_FILE", file).file(file, TOKEN),
            "unset one of them",
            variable("GATELET_TOKEN", TOKEN),
        ),
        (
            variable("GATELET_TOKEN", TOKEN).var("GATELET_TOKEN_FILE", file).file(file, TOKEN),
            "unset one of them",
            secret(TOKEN),
        ),
        (
            variable("GATELET_TOKEN_FILE", file),
            "make the file readable for this user, or use another source",
            secret(TOKEN),
        ),
        (secret("\u{0}"), "it must be one line of UTF-8 text", secret("one line")),
        (
            World::with("{}").var("GATELET_TOKEN_FILE", file).file(file, b"\xff\xfe"),
            "save it as UTF-8",
            secret(TOKEN),
        ),
        (
            World::with("{}").var("GATELET_CONFIG", "/none/x.json"),
            "specify a readable file",
            text("{}"),
        ),
    ] {
        let found = before.load().problems;
        assert!(found.iter().any(|problem| problem.hint == hint), "{hint}: {found:?}");
        assert_eq!(after.load().problems, [], "{hint}");
    }
}
