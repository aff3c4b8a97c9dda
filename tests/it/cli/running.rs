//! Commands while a gateway runs: they print its values, not those that they would use themselves.

use std::fs;
use std::process::Output;

use serde_json::{json, Value};
use support::gateway::{Gateway, Plan};

const OWN: &str = "own-token-of-the-gateway-0123456789abcdef";
const STALE: &str = "stale-token-in-a-file-0123456789abcdef012";

/// Starts a gateway with a token that only its process has, beside a stale token file.
fn with_own_token() -> Gateway {
    let plan = Plan::with(json!({ "auth": { "mode": "token" } }));
    fs::create_dir_all(plan.dir()).unwrap();
    fs::write(plan.dir().join("token"), STALE).unwrap();
    let mut gateway = plan.prefix(&["env", &format!("OPENCLAW_GATEWAY_TOKEN={OWN}")]).start();
    gateway.plan.prefix.clear();
    gateway
}

fn run(gateway: &Gateway, args: &[&str]) -> Output {
    gateway.plan.command(args).output().unwrap()
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn printed(gateway: &Gateway, args: &[&str]) -> Value {
    let output = run(gateway, args);
    let (text, problem) = texts(&output);
    assert!(output.status.success(), "{args:?}: {text}{problem}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn token_that_only_the_gateway_has_is_named_and_no_other_is_printed() {
    let gateway = with_own_token();
    let page = format!("http://127.0.0.1:{}/", gateway.port);
    for (args, code, out, problem) in [
        (&["token", "show"][..], 1, "", "OPENCLAW_GATEWAY_TOKEN"),
        (&["token", "rotate"], 1, "", "OPENCLAW_GATEWAY_TOKEN"),
        (&["url"], 0, &*format!("{page}\n"), "the link has no token"),
        (&["status"], 0, "from OPENCLAW_GATEWAY_TOKEN", ""),
        (&["status"], 0, "less than half was used of each", ""),
        (&["config", "print"], 0, "OPENCLAW_GATEWAY_TOKEN", ""),
        (&["pair"], 0, "oc-pair://", ""),
    ] {
        let output = run(&gateway, args);
        let (text, complaint) = texts(&output);
        let all = format!("{args:?}: {text}{complaint}");
        assert_eq!(output.status.code(), Some(code), "{all}");
        assert!(text.contains(out) && complaint.contains(problem), "{all}");
        assert!(!all.contains(STALE) && !all.contains(OWN), "{all}");
    }
    let told = printed(&gateway, &["url", "--json"]);
    assert_eq!((&told["url"], &told["running"]), (&json!(page), &json!(true)));
    let with_token = ["token", "show", "--token", OWN];
    assert_eq!(texts(&run(&gateway, &with_token)).0.trim(), OWN, "the command has it, too");
    let plan = gateway.stop();
    assert_eq!(plan.good(&["token", "show", "--json"]).matches(STALE).count(), 1);
}

#[test]
fn addresses_and_settings_are_those_of_the_running_gateway() {
    let gateway = Plan::with(json!({ "port": 4321, "auth": { "mode": "token" } })).start();
    let page = format!("http://127.0.0.1:{}/#token=", gateway.port);
    let told = printed(&gateway, &["url", "--json"]);
    assert!(told["url"].as_str().unwrap().starts_with(&page), "{told}");
    let status = printed(&gateway, &["status", "--json"]);
    assert_eq!(status["pages"].as_array().unwrap().len(), told["urls"].as_array().unwrap().len());
    let setting = |args: &[&str], key: &str| {
        let told = printed(&gateway, args);
        let all = told["settings"].as_array().unwrap().clone();
        let found = all.into_iter().find(|one| one["key"] == format!("gateway.{key}")).unwrap();
        (told["running"].clone(), found["value"].clone(), found["source"].clone())
    };
    let print = ["config", "print", "--json"];
    assert_eq!(
        setting(&print, "port"),
        (json!(true), json!(gateway.port.to_string()), json!("--port"))
    );
    let (_, value, source) = setting(&print, "auth.token");
    assert!(value.as_str().unwrap().starts_with("sha256:"), "{value}");
    assert!(source.as_str().unwrap().starts_with("state file "), "{source}");
    assert_eq!(
        setting(&["config", "print", "--json", "--bind", "lan"], "port"),
        (json!(false), json!("4321"), json!("config line 1"))
    );
    let mut other = gateway.plan.command(&["token", "show"]);
    let shown = other.env("GATELET_TOKEN", STALE).output().unwrap();
    let created = fs::read_to_string(gateway.plan.dir().join("token")).unwrap();
    assert_eq!(texts(&shown).0.trim(), created, "a variable of the command does not count");
    gateway.plan.good(&["token", "rotate"]);
    let rotated = texts(&run(&gateway, &["token", "show"]));
    assert!(rotated.0.is_empty() && rotated.1.contains("restart the gateway"), "{rotated:?}");
    gateway.plan.good(&["token", "rotate"]);
    let capacity = setting(&print, "pairing.capacity").1;
    let mut gateway = gateway;
    gateway.plan.config["pairing"] = json!({ "capacity": 7 });
    let edited = gateway.plan.good(&["config", "print"]);
    assert!(edited.contains("the file was changed since"), "{edited}");
    let line = edited.lines().find(|line| line.contains("pairing.capacity")).unwrap();
    assert!(line.contains(capacity.as_str().unwrap()), "{line}");
    let plan = gateway.stop();
    let stopped = plan.good(&["config", "print"]);
    assert!(stopped.contains("no gateway is running") && stopped.contains("4321"), "{stopped}");
    let url = plan.good(&["url"]);
    assert!(url.contains(":4321/#token=") && url.contains("no gateway is running"), "{url}");
}

#[test]
fn explain_decides_as_the_running_gateway_does_and_says_so() {
    let mut gateway = Plan::with(json!({ "pairing": { "mode": "strict" } })).start();
    let args = ["explain", "--token", "right"];
    let strict = "configuration of the running gateway\n";
    for edited in [json!({ "pairing": { "mode": "token" } }), json!({ "prot": 1 })] {
        gateway.plan.config = edited;
        let (code, text) = gateway.plan.run(&args);
        assert!(code == 3 && text.starts_with(strict), "{code} {text}");
        assert!(text.contains("PAIRING_REQUIRED"), "{text}");
        let host = format!("Host 127.0.0.1:{} ", gateway.port);
        assert!(text.contains(&host), "{text}");
        let (_, told) = gateway.plan.run(&["explain", "--token", "right", "--json"]);
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!((&told["running"], &told["verdict"]), (&json!(true), &json!("pend")));
    }
    gateway.plan.config = json!({ "pairing": { "mode": "token" } });
    let with_option = gateway.plan.good(&["explain", "--token", "right", "--bind", "lan"]);
    assert!(with_option.starts_with("configuration of the next start with these options\n"));
    let plan = gateway.stop();
    let stopped = plan.good(&args);
    assert!(
        stopped.starts_with("configuration of the next start; no gateway is running\n"),
        "{stopped}"
    );
    assert!(stopped.contains("paired, provenance token"), "{stopped}");
}

#[test]
fn a_missing_configuration_file_is_not_called_valid() {
    let plan = Plan::with(json!({}));
    let mut command = plan.command(&["config", "check"]);
    let output = command.env_remove("GATELET_CONFIG").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("gatelet.json does not exist"), "{text}");
    let mut command = plan.command(&["config", "check", "--json"]);
    let output = command.env_remove("GATELET_CONFIG").output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["ok"], &told["exists"]), (&json!(true), &json!(false)));
    assert!(plan.good(&["config", "check", "--json"]).contains("\"exists\": true"));
}

#[test]
fn blank_options_are_unset_or_errors_but_never_grant_rights() {
    let plan = Plan::with(json!({}));
    for (args, code) in [
        (&["explain", "--protocol", "7"][..], 2),
        (&["explain", "--protocol", " 4 "], 3),
        (&["explain", "--peer", "[::1]"], 3),
        (&["pair", "--scopes", ""], 2),
        (&["pair", "--role", " "], 2),
        (&["config", "check", "--port", "", "--bind", " ", "--auth", "\n"], 0),
    ] {
        let (found, said) = plan.run(args);
        assert_eq!(found, code, "{args:?}: {said}");
    }
}
