//! Configuration methods: read without secrets, changed under a hash, written atomically, applied
//! at once.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{json, Value};
use support::client::{Device, Session, Who};
use support::gateway::{Gateway, Plan, TOKEN};

const HIDDEN: &str = "__OPENCLAW_REDACTED__";

/// Configuration file as a person writes it, with comments.
const FILE: &str = "// my gateway\n{\n  gateway: {\n    bind: 'loopback', // only here\n    auth: { mode: 'token', token: 'the-right-token-of-the-gateway-under-test' },\n    \
    controlUi: {\n      allowedOrigins: [\n        'https://a.example', // the tablet\n      ],\n    },\n  },\n  agents: { list: [ {id: 'main', \
    apiKey: 'sk-of-another-service'} ] }, /* not gatelet's */\n}\n";

fn file(gateway: &Gateway) -> PathBuf {
    gateway.plan.dir().parent().unwrap().join("gatelet.json")
}

fn text(gateway: &Gateway) -> String {
    std::fs::read_to_string(file(gateway)).unwrap()
}

/// Returns a gateway that runs with [`FILE`].
fn started() -> Gateway {
    let gateway = Plan::with(json!({ "bind": "loopback" })).start();
    std::fs::write(file(&gateway), FILE).unwrap();
    gateway
}

fn admin(gateway: &Gateway, protocol: u32) -> Session {
    gateway.connect(&Who::of(protocol).token(TOKEN)).unwrap()
}

fn get(session: &mut Session) -> Value {
    session.call("config.get", json!({})).unwrap()
}

fn change(session: &mut Session, method: &str, raw: &str) -> Result<Value, String> {
    let hash = get(session)["hash"].clone();
    session
        .call(method, json!({ "raw": raw, "baseHash": hash }))
        .map_err(|failed| failed.message().to_string())
}

#[test]
fn secrets_are_redacted_on_read_and_restored_on_write() {
    let gateway = started();
    for protocol in [3, 4] {
        let mut session = admin(&gateway, protocol);
        let seen = get(&mut session);
        let all = seen.to_string();
        assert!(!all.contains(TOKEN) && !all.contains("sk-of-another-service"), "{all}");
        assert_eq!(seen["config"]["gateway"]["auth"], json!({ "mode": "token", "token": HIDDEN }));
        assert_eq!(seen["parsed"]["agents"]["list"][0]["apiKey"], HIDDEN);
        assert_eq!(
            (&seen["exists"], &seen["valid"], &seen["issues"]),
            (&json!(true), &json!(true), &json!([]))
        );
        let raw = seen["raw"].as_str().unwrap().replace("// my gateway", "// our gateway");
        let set = change(&mut session, "config.set", &raw).unwrap();
        assert_eq!((&set["ok"], &set["restartRequired"]), (&json!(true), &json!([])));
        assert!(!set.to_string().contains(TOKEN), "{set}");
        assert_eq!(text(&gateway), FILE.replace("my gateway", "our gateway"));
        std::fs::write(file(&gateway), FILE).unwrap();
        // as the forms of both pages send it
        let mut form = seen["config"].clone();
        form["gateway"]["controlUi"]["allowedOrigins"]
            .as_array_mut()
            .unwrap()
            .push("https://b.example".into());
        change(&mut session, "config.apply", &format!("{form:#}\n")).unwrap();
        let wanted = FILE.replace("the tablet\n", "the tablet\n        \"https://b.example\",\n");
        assert_eq!(text(&gateway), wanted);
        std::fs::write(file(&gateway), FILE).unwrap();
    }
    assert!(!gateway.log().contains(TOKEN));
}

#[test]
fn raw_text_is_hidden_from_clients_without_admin() {
    let gateway = started();
    let mut reader = gateway.operator(4, &["read"]);
    let seen = get(&mut reader);
    assert_eq!(
        (&seen["raw"], &seen["config"]["gateway"]["bind"]),
        (&Value::Null, &json!("loopback"))
    );
    for method in ["config.set", "config.patch", "config.apply"] {
        let failed = reader.call(method, json!({ "raw": "{}" })).unwrap_err();
        assert_eq!(
            (failed.code(), failed.message()),
            ("FORBIDDEN", "missing scope: operator.admin")
        );
    }
    let mut old = gateway.operator(3, &["read", "write"]);
    for method in ["config.get", "config.schema"] {
        assert_eq!(
            old.call(method, json!({})).unwrap_err().message(),
            "missing scope: operator.admin"
        );
    }
}

#[test]
fn patch_of_a_file_that_is_a_mount_names_the_cause_and_the_way_out() {
    let mounted = "mount --bind \"$GATELET_CONFIG\" \"$GATELET_CONFIG\" && exec \"$0\" \"$@\"";
    let read_only = "d=$(dirname \"$GATELET_CONFIG\") && mount --bind \"$d\" \"$d\" && \
         mount --bind \"$GATELET_STATE_DIR\" \"$GATELET_STATE_DIR\" && \
         mount -o remount,bind,ro \"$d\" && exec \"$0\" \"$@\"";
    let patch = json!({ "gateway": { "pairing": { "mode": "strict" } } }).to_string();
    for (script, words) in [
        (mounted, "mount its directory instead; it was not changed"),
        (read_only, "which must be writable"),
    ] {
        let plan = Plan::new();
        std::fs::create_dir_all(plan.dir()).unwrap();
        let gateway = plan.prefix(&["unshare", "-rm", "--", "sh", "-c", script]).start();
        let mut session = gateway.admin();
        let failed = change(&mut session, "config.patch", &patch).unwrap_err();
        assert!(failed.contains(words), "{failed}");
    }
}

#[test]
fn patch_changes_only_the_named_keys() {
    let gateway = started();
    let mut session = admin(&gateway, 4);
    let patch =
        json!({ "gateway": { "pairing": { "mode": "strict" }, "auth": { "token": HIDDEN } } })
            .to_string();
    let patched = change(&mut session, "config.patch", &patch).unwrap();
    assert_eq!(patched["changedPaths"], json!(["gateway.pairing.mode"]));
    let wanted = FILE.replace(
        "      ],\n    },\n",
        "      ],\n    },\n    \"pairing\": {\n      \"mode\": \"strict\"\n    },\n",
    );
    assert_eq!(text(&gateway), wanted);
    let event = session.event("config.changed");
    assert_eq!((&event["hash"], &event["path"]), (&patched["hash"], &patched["path"]));
    assert_eq!(get(&mut session)["hash"], patched["hash"]);
    let again = change(&mut session, "config.patch", &patch).unwrap();
    assert_eq!((&again["noop"], &again["changedPaths"]), (&json!(true), &json!([])));
    change(&mut session, "config.patch", "{gateway: {pairing: null}}").unwrap();
    assert_eq!(text(&gateway), FILE);
}

#[test]
fn patch_removes_list_entries_only_when_requested() {
    let gateway = started();
    let patch = r#"{"gateway":{"controlUi":{"allowedOrigins":["https://b.example"]}}}"#;
    let mut session = admin(&gateway, 4);
    let refused = change(&mut session, "config.patch", patch).unwrap_err();
    assert!(
        refused.contains("array path(s): gateway.controlUi.allowedOrigins. Pass replacePaths"),
        "{refused}"
    );
    assert_eq!(text(&gateway), FILE);
    let params = json!({ "raw": patch, "baseHash": get(&mut session)["hash"], "replacePaths": ["gateway.controlUi.allowedOrigins"] });
    session.call("config.patch", params).unwrap();
    assert_eq!(text(&gateway), FILE.replace("'https://a.example'", "\"https://b.example\""));
    std::fs::write(file(&gateway), FILE).unwrap();
    change(&mut admin(&gateway, 3), "config.patch", patch).unwrap();
    assert_eq!(text(&gateway), FILE.replace("'https://a.example'", "\"https://b.example\""));
}

#[test]
fn concurrent_changes_of_the_file_are_not_overwritten() {
    let gateway = started();
    let changed = "config changed since last load; re-run config.get and retry";
    let required = "config base hash required; re-run config.get and retry";
    for (protocol, method) in [3, 4].into_iter().flat_map(|protocol| {
        ["config.set", "config.patch", "config.apply"].map(|method| (protocol, method))
    }) {
        let mut session = admin(&gateway, protocol);
        let hash = get(&mut session)["hash"].clone();
        let raw = r#"{"gateway":{"auth":{"token":"another-token-altogether"}}}"#;
        let mut why =
            |params: Value| session.call(method, params).unwrap_err().message().to_string();
        assert_eq!(why(json!({ "raw": raw })), required);
        assert_eq!(why(json!({ "raw": raw, "baseHash": " " })), required);
        assert_eq!(why(json!({ "raw": raw, "baseHash": "0123" })), changed);
        let edited = FILE.replace("only here", "by hand");
        std::fs::write(file(&gateway), &edited).unwrap();
        assert_eq!(why(json!({ "raw": raw, "baseHash": hash })), changed);
        assert_eq!(text(&gateway), edited);
        std::fs::write(file(&gateway), FILE).unwrap();
        let invalid = why(json!({ "raw": "" }));
        assert!(invalid.starts_with(&format!("invalid {method} params: ")), "{invalid}");
    }
    let mut page = admin(&gateway, 4);
    page.call("config.patch", json!({ "raw": "{ui: {prefs: {theme: 'dark'}}}" })).unwrap();
    assert!(
        text(&gateway).contains("\"theme\": \"dark\"") && text(&gateway).contains("// the tablet")
    );
}

#[test]
fn invalid_configuration_is_not_written_and_all_problems_are_returned() {
    let gateway = started();
    for protocol in [3, 4] {
        let mut session = admin(&gateway, protocol);
        let hash = get(&mut session)["hash"].clone();
        let raw =
            "{gateway: {prot: 1, bind: 'nowhere', auth: {mode: 'token', token: 'change-me-now'}}}";
        let failed =
            session.call("config.set", json!({ "raw": raw, "baseHash": hash })).unwrap_err();
        let issues = failed.0["details"]["issues"].as_array().unwrap();
        let paths: Vec<&str> = issues.iter().map(|issue| issue["path"].as_str().unwrap()).collect();
        assert_eq!(paths, ["gateway.prot", "gateway.bind", "gateway.auth.token"]);
        assert!(
            issues[0]["message"].as_str().unwrap().contains("did you mean gateway.port?"),
            "{issues:?}"
        );
        match protocol {
            3 => assert_eq!(failed.message(), "invalid config"),
            _ => assert!(
                failed.message().starts_with("invalid config: unknown key gateway.prot"),
                "{failed:?}"
            ),
        }
        let why = |failed: Result<Value, String>| failed.unwrap_err();
        assert_eq!(
            why(change(&mut session, "config.set", "{")),
            "raw is not JSON5: unterminated object"
        );
        assert_eq!(
            why(change(&mut session, "config.patch", "[]")),
            "config.patch raw must be an object"
        );
        let sentinel = format!("{{gateway: {{auth: {{password: '{HIDDEN}'}}}}}}");
        assert!(why(change(&mut session, "config.patch", &sentinel))
            .contains("in key gateway.auth.password"));
        assert_eq!(text(&gateway), FILE);
        std::fs::write(file(&gateway), "{gateway: {port: 0}}").unwrap();
        let seen = get(&mut session);
        assert_eq!(
            (&seen["valid"], &seen["issues"][0]["path"]),
            (&json!(false), &json!("gateway.port"))
        );
        assert_eq!(
            why(change(&mut session, "config.patch", "{}")),
            "invalid config; fix before patching"
        );
        std::fs::write(file(&gateway), FILE).unwrap();
    }
}

#[test]
fn failed_write_leaves_the_file_unchanged() {
    let gateway = started();
    let mut session = admin(&gateway, 4);
    let raw = "{gateway: {pairing: {mode: 'strict'}}}";
    std::fs::set_permissions(file(&gateway), PermissionsExt::from_mode(0o400)).unwrap();
    let failed = change(&mut session, "config.patch", raw).unwrap_err();
    assert!(failed.contains("cannot write") && failed.contains("it was not changed"), "{failed}");
    assert_eq!(text(&gateway), FILE);
    std::fs::set_permissions(file(&gateway), PermissionsExt::from_mode(0o640)).unwrap();
    change(&mut session, "config.patch", raw).unwrap();
    let mode = std::fs::metadata(file(&gateway)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640, "the file mode set by the owner is kept");
    let leftovers = std::fs::read_dir(file(&gateway).parent().unwrap()).unwrap().count();
    assert_eq!(leftovers, 2, "the file and the state directory");
    let limited = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh", "prlimit", "--fsize=1024", "--"];
    let gateway = Plan::with(json!({ "bind": "loopback" })).start().stop().prefix(&limited).start();
    let before = text(&gateway);
    let long = format!("{{ui: {{prefs: {{note: '{}'}}}}}}", "x".repeat(2000));
    let failed = change(&mut admin(&gateway, 4), "config.patch", &long).unwrap_err();
    assert!(failed.contains("cannot write"), "{failed}");
    assert_eq!(text(&gateway), before);
    assert!(gateway.dial().is_ready(), "the pairing table is still writable");
}

#[test]
fn missing_file_is_created_with_owner_only_permissions() {
    let mut plan = Plan::new();
    let path = plan.dir().join("gatelet.json");
    plan.args = ["--config", path.to_str().unwrap(), "--token", TOKEN].map(str::to_string).to_vec();
    std::fs::create_dir_all(plan.dir()).unwrap();
    std::fs::set_permissions(plan.dir(), PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::write(&path, "{}").unwrap();
    let gateway = plan.start();
    std::fs::remove_file(&path).unwrap();
    let mut session = admin(&gateway, 4);
    let seen = get(&mut session);
    assert_eq!(
        (&seen["exists"], &seen["raw"], &seen["config"]),
        (&json!(false), &Value::Null, &json!({}))
    );
    session
        .call("config.set", json!({ "raw": "{gateway: {pairing: {mode: 'strict'}}} // mine" }))
        .unwrap();
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "{gateway: {pairing: {mode: 'strict'}}} // mine"
    );
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn changes_apply_at_once_without_closing_connections() {
    let gateway = started();
    let mut session = admin(&gateway, 4);
    let page = || Who::v4().page().token(TOKEN).device(&Device::new());
    let from = |origin: &str| gateway.dial().host("127.0.0.1").origin(origin).connect(&page());
    assert_eq!(from("https://b.example").unwrap_err().code(), "CONTROL_UI_ORIGIN_NOT_ALLOWED");
    change(
        &mut session,
        "config.patch",
        "{gateway: {controlUi: {allowedOrigins: ['https://a.example', 'https://b.example']}}}",
    )
    .unwrap();
    let mut paired = from("https://b.example").unwrap();
    let patched =
        change(&mut session, "config.patch", "{gateway: {pairing: {mode: 'strict'}}}").unwrap();
    assert_eq!(patched["restartRequired"], json!([]));
    assert_eq!(from("https://b.example").unwrap_err().code(), "PAIRING_REQUIRED");
    assert_eq!(session.status()["pairingMode"], "strict");
    paired.call("health", json!({})).unwrap();
    let seen = get(&mut session);
    assert_eq!(seen["configRevisionHash"], seen["appliedConfigHash"]);
    std::fs::write(file(&gateway), FILE).unwrap();
    let seen = get(&mut session);
    assert_ne!(
        seen["configRevisionHash"], seen["appliedConfigHash"],
        "an edit by hand is reported as not applied"
    );
}

#[test]
fn every_setting_is_listed_with_its_source_and_without_secrets() {
    let gateway = started();
    let text =
        FILE.replace("auth:", "upstream: { url: 'ws://me:my-password@10.0.0.2' }, http: {}, auth:");
    std::fs::write(
        file(&gateway),
        text.replace("https://a.example", "https://me:my-password@a.example"),
    )
    .unwrap();
    let mut session = admin(&gateway, 4);
    let report = session.call("gatelet.config", json!({})).unwrap();
    let (seen, all) = (get(&mut session), report.to_string());
    assert!(!all.contains(TOKEN) && !all.contains("my-password@"), "{all}");
    for same in ["hash", "path", "issues", "config", "raw", "restartRequired"] {
        assert_eq!(report[same], seen[same], "{same}");
    }
    let settings = report["settings"].as_array().unwrap();
    let of = |key: &str| {
        settings.iter().find(|one| one["key"] == format!("gateway.{key}")).unwrap().clone()
    };
    assert_eq!(of("port")["source"], "--port");
    assert_eq!(
        of("bind"),
        json!({ "key": "gateway.bind", "value": "loopback", "source": "config line 4" })
    );
    assert_eq!(
        (&of("pairing.mode")["value"], &of("pairing.mode")["source"]),
        (&json!("token"), &json!("default"))
    );
    assert_eq!(
        (&of("controlUi.allowedOrigins")["value"], &of("upstream.url")["value"]),
        (&json!(HIDDEN), &json!(HIDDEN))
    );
    assert!(of("auth.token")["value"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(report["acceptedNotUsed"], json!(["gateway.http"]));
    assert!(seen.get("settings").is_none(), "the protocol's own answer stays what it is");
}

#[test]
fn newly_denied_commands_are_rejected_at_once() {
    let gateway = started();
    let device = Device::new();
    let who = Who::v4().offering(("linux", "Linux"), &["system.run", "system.which"], &["system"]);
    let _node = gateway.connect(&who.token(TOKEN).device(&device)).unwrap();
    let mut session = admin(&gateway, 4);
    let waits = session.call("node.pair.list", json!({})).unwrap();
    session
        .call("node.pair.approve", json!({ "requestId": waits["pending"][0]["requestId"] }))
        .unwrap();
    let commands = |session: &mut Session| {
        session.call("node.describe", json!({ "nodeId": device.id })).unwrap()["commands"]
            .to_string()
    };
    assert!(commands(&mut session).contains("system.which"));
    change(
        &mut session,
        "config.patch",
        "{gateway: {nodes: {commands: {deny: ['system.which']}}}}",
    )
    .unwrap();
    assert!(!commands(&mut session).contains("system.which"));
    let call = json!({ "nodeId": device.id, "command": "system.which", "params": {}, "idempotencyKey": "1" });
    let refused = session.call("node.invoke", call).unwrap_err();
    assert!(
        refused.message().contains("not allow") || refused.message().contains("denied"),
        "{refused:?}"
    );
}

#[test]
fn settings_that_need_a_restart_are_reported_and_logged() {
    let gateway = started();
    let mut session = admin(&gateway, 4);
    let applied = get(&mut session)["appliedConfigHash"].clone();
    let raw = "{gateway: {bind: 'auto', pairing: {capacity: 9}}}";
    let patched = change(&mut session, "config.patch", raw).unwrap();
    assert_eq!(
        patched["restartRequired"],
        json!(["gateway.bind"]),
        "the capacity of a table is fixed"
    );
    gateway.logged(&["gateway.bind", "at the next start"]);
    let seen = get(&mut session);
    assert_eq!(
        (&seen["appliedConfigHash"], &seen["restartRequired"]),
        (&applied, &patched["restartRequired"])
    );
    let back = change(&mut session, "config.patch", "{gateway: {bind: 'loopback', pairing: null}}")
        .unwrap();
    assert_eq!(back["restartRequired"], json!([]), "the value from the start");
}

#[test]
fn new_token_closes_connections_of_the_old_token_but_keeps_devices() {
    let gateway = started();
    let mut device = gateway.connect(&Who::v4().token(TOKEN).device(&Device::new())).unwrap();
    let mut holder = admin(&gateway, 3);
    let mut session = admin(&gateway, 4);
    let token = "a-new-token-for-the-gateway-under-test";
    let raw = format!("{{gateway: {{auth: {{token: '{token}'}}}}}}");
    change(&mut session, "config.patch", &raw).unwrap();
    assert_eq!(session.closed(), (4001, "gateway auth changed".to_string()));
    assert_eq!(holder.closed(), (4001, "gateway auth changed".to_string()));
    device.call("health", json!({})).unwrap();
    assert_eq!(gateway.connect(&Who::v4().token(TOKEN)).unwrap_err().code(), "AUTH_TOKEN_MISMATCH");
    let mut session = gateway.connect(&Who::v4().token(token)).unwrap();
    let removed = change(&mut session, "config.patch", "{gateway: {auth: {token: null}}}").unwrap();
    assert_eq!(removed["config"]["gateway"]["auth"], json!({ "mode": "token" }));
    let made = std::fs::read_to_string(gateway.plan.dir().join("token")).unwrap();
    gateway.connect(&Who::v4().token(&made)).unwrap();
    assert!(!gateway.log().contains(token) && !gateway.log().contains(&made));
}

#[test]
fn returned_schema_matches_the_file() {
    let gateway = Gateway::new();
    let mut session = gateway.admin();
    let schema = session.call("config.schema", json!({})).unwrap();
    let section = &schema["schema"]["properties"]["gateway"]["properties"];
    assert_eq!(
        section["port"],
        json!({ "type": "integer", "minimum": 1, "maximum": 65535, "default": 18789 })
    );
    assert_eq!(section["pairing"]["properties"]["mode"]["enum"], json!(["token", "strict"]));
    assert_eq!(
        section["trustedProxies"],
        json!({ "type": "array", "items": { "type": "string" } })
    );
    assert_eq!(schema["uiHints"]["gateway.auth.token"]["sensitive"], true);
    let mut look = |path: &str| session.call("config.schema.lookup", json!({ "path": path }));
    assert_eq!(look(".").unwrap()["children"][0]["path"], "gateway");
    let port = look("gateway.port").unwrap();
    assert_eq!(
        (&port["schema"]["type"], &port["reloadKind"], &port["children"]),
        (&json!("integer"), &json!("restart"), &json!([]))
    );
    let auth = look("gateway.auth").unwrap();
    let keys: Vec<&str> = auth["children"]
        .as_array()
        .unwrap()
        .iter()
        .map(|child| child["key"].as_str().unwrap())
        .collect();
    assert!(keys.starts_with(&["mode", "token", "password"]), "{keys:?}");
    assert_eq!(auth["children"][1]["hint"]["sensitive"], true);
    assert_eq!(look("gateway.trustedProxies[]").unwrap()["schema"]["type"], "string");
    assert_eq!(look("gateway.nothing").unwrap_err().message(), "config schema path not found");
    assert_eq!(look("gateway[port]").unwrap()["schema"]["type"], "integer");
    for path in ["gatewayport", "gatewaytrustedProxies[]", "gatewayfoo"] {
        assert_eq!(look(path).unwrap_err().message(), "config schema path not found", "{path}");
    }
    assert_eq!(look("agents").unwrap_err().message(), "config schema path not found");
}
