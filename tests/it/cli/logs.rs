//! Readers of the log: `logs.tail` in both protocols, `gatelet logs`, the log file, `gatelet
//! events`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{json, Value};
use support::client::{Device, Session, Who};
use support::gateway::{Gateway, Plan, TOKEN};
use support::program::Program;
use support::runner;

/// Number of lines below a warning that are kept.
const LINES: usize = gatelet::gate::limits::LOG_LINES - gatelet::gate::limits::LOG_WARNINGS;

/// Makes the gateway log this many lines.
fn chatter(session: &mut Session, lines: usize) {
    for at in 0..lines {
        session.socket.text("no JSON");
        // a response from time to time keeps the gateway's send queue and ours small
        if at % 500 == 0 {
            session.call("health", json!({})).unwrap();
        }
    }
    session.call("health", json!({})).unwrap();
}

fn tail(session: &mut Session, params: Value) -> Value {
    session.call("logs.tail", params).unwrap()
}

fn lines(tail: &Value) -> Vec<Value> {
    let lines = tail["lines"].as_array().unwrap();
    lines
        .iter()
        .map(|line| {
            serde_json::from_str(line.as_str().unwrap()).expect("a line is JSON of its own")
        })
        .collect()
}

fn said(tail: &Value, part: &str) -> bool {
    lines(tail).iter().any(|line| line["1"].as_str().unwrap().contains(part))
}

#[test]
fn logs_tail_has_the_format_of_each_protocol() {
    let gateway = Gateway::new();
    for who in [Who::v3(), Who::v4()] {
        let mut session = gateway.connect(&who.token(TOKEN).scopes(&["read"])).unwrap();
        assert!(session.hello["features"]["methods"]
            .as_array()
            .unwrap()
            .contains(&json!("logs.tail")));
        let all = tail(&mut session, json!({}));
        assert_eq!((&all["reset"], &all["truncated"]), (&json!(false), &json!(false)), "{all}");
        assert!(all["file"].as_str().is_some_and(|file| !file.is_empty()));
        let line = lines(&all)
            .into_iter()
            .find(|line| line["1"].as_str().unwrap().contains(" listening on "))
            .unwrap();
        assert_eq!(line["_meta"]["logLevelName"], "INFO");
        assert_eq!(line["_meta"]["name"], r#"{"subsystem":"gateway"}"#);
        let time = line["time"].as_str().unwrap();
        assert!(time.len() == 20 && time.starts_with("20") && time.ends_with('Z'), "{time}");
        assert!(!all.to_string().contains(TOKEN));
    }
}

#[test]
fn cursor_returns_only_new_lines() {
    let gateway = Gateway::new();
    let mut session = gateway.admin();
    let first = tail(&mut session, json!({}));
    let nothing = tail(&mut session, json!({ "cursor": first["cursor"] }));
    assert_eq!((lines(&nothing).len(), &nothing["cursor"]), (0, &first["cursor"]));
    let wrong = gateway.connect(&Who::v4().token("wrong").device(&Device::new())).unwrap_err();
    assert_eq!(wrong.code(), "AUTH_TOKEN_MISMATCH");
    let next = tail(&mut session, json!({ "cursor": first["cursor"] }));
    assert!(said(&next, "AUTH_TOKEN_MISMATCH") && !said(&next, " listening on "), "{next}");
    assert_eq!((&next["reset"], &next["truncated"]), (&json!(false), &json!(false)));
    let last = tail(&mut session, json!({ "limit": 1 }));
    assert_eq!((lines(&last).len(), &last["truncated"]), (1, &json!(true)));
    assert_eq!(lines(&last)[0], *lines(&next).last().unwrap());
    assert_eq!(lines(&tail(&mut session, json!({ "maxBytes": 1 }))).len(), 1);
}

#[test]
fn outdated_cursor_restarts_with_reset_set() {
    let mut gateway = Plan::new().talkative().start();
    let mut session = gateway.admin();
    let old = tail(&mut session, json!({}))["cursor"].clone();
    chatter(&mut session, 2 * LINES);
    let full = tail(&mut session, json!({ "cursor": old, "limit": 5000, "maxBytes": 1_000_000 }));
    assert_eq!((&full["reset"], &full["truncated"]), (&json!(true), &json!(true)));
    assert_eq!(lines(&full).len(), LINES);
    assert!(full["size"].as_u64().unwrap() <= gatelet::gate::limits::LOG_BYTES as u64);
    gateway = gateway.stop().start();
    let again = tail(&mut gateway.admin(), json!({ "cursor": full["cursor"] }));
    assert_eq!((&again["reset"], &again["truncated"]), (&json!(true), &json!(false)));
    assert!(said(&again, " listening on "), "{again}");
}

#[test]
fn logs_tail_checks_limits_and_scopes() {
    let gateway = Gateway::new();
    let mut session = gateway.admin();
    for (params, problem) in [
        (json!({ "limit": 0 }), "at /limit: must be >= 1"),
        (json!({ "limit": 5001 }), "at /limit: must be <= 5000"),
        (json!({ "maxBytes": 1_000_001 }), "at /maxBytes: must be <= 1000000"),
        (json!({ "cursor": -1 }), "at /cursor: "),
        (json!({ "file": "/etc/passwd" }), "at root: unexpected property 'file'"),
    ] {
        let failed = session.call("logs.tail", params.clone()).unwrap_err();
        let expected = format!("invalid logs.tail params: {problem}");
        assert!(failed.message().starts_with(&expected), "{params}: {}", failed.message());
    }
    let mut pairing = gateway.operator(4, &["pairing"]);
    assert_eq!(
        pairing.call("logs.tail", json!({})).unwrap_err().message(),
        "missing scope: operator.read"
    );
    let mut node = gateway.connect(&Who::v4().node().token(TOKEN).device(&Device::new())).unwrap();
    assert_eq!(node.call("logs.tail", json!({})).unwrap_err().message(), "unauthorized role: node");
}

#[test]
fn logs_command_follows_the_log_through_a_restart() {
    let mut gateway = Gateway::new();
    let plan = gateway.plan.clone();
    let all = plan.good(&["logs"]);
    let line =
        all.lines().find(|line| line.contains(" info gatelet ")).unwrap_or_else(|| panic!("{all}"));
    assert!(
        line.contains("Z info gatelet ") && line.contains(" listening on 127.0.0.1:"),
        "{line}"
    );
    assert_eq!(plan.good(&["logs", "--limit", "1"]).lines().count(), 1);
    let json: Value =
        serde_json::from_str(plan.good(&["logs", "--limit", "1", "--json"]).trim()).unwrap();
    assert!(
        json["level"] == "info" && json["time"].is_string() && json["message"].is_string(),
        "{json}"
    );
    assert!(!plan.good(&["logs", "--level", "warn"]).contains(" info "));

    let follow = Program::start(plan.command(&["logs", "--follow"]));
    let warnings = Program::start(plan.command(&["logs", "-f", "--level=warn"]));
    follow.printed(&[" listening on "]);
    gateway.connect(&Who::v4().token("wrong").device(&Device::new())).unwrap_err();
    follow.printed(&[" warn ", "AUTH_TOKEN_MISMATCH"]);
    warnings.printed(&[" warn ", "AUTH_TOKEN_MISMATCH"]);
    let stopped = gateway.stop();
    follow.complained(&["the connection to the gateway is lost; waiting for the gateway"]);
    gateway = stopped.start();
    follow.complained(&["connected to the gateway again"]);
    follow.printed(&[&format!(" listening on 127.0.0.1:{}", gateway.port)]);
    assert_eq!(
        follow.output().matches("AUTH_TOKEN_MISMATCH").count(),
        1,
        "nothing is printed twice"
    );
    assert!(!warnings.output().contains(" info "));

    gateway.stop();
    let (code, said) = plan.run(&["logs"]);
    assert_eq!(
        (code, said.contains("no gateway is running on this state directory")),
        (4, true),
        "{said}"
    );
}

#[test]
fn following_commands_exit_with_0_when_their_output_is_closed() {
    let gateway = Gateway::new();
    let mut logs = Program::start_for_one_line(gateway.plan.command(&["logs", "--follow"]));
    let mut events = Program::start_for_one_line({
        let command = gateway.plan.command(&["events"]);
        let who = Who::v4().page().token(TOKEN).device(&Device::new());
        let address = gateway.dial().page(&format!("127.0.0.1:{}", gateway.port));
        std::thread::spawn(move || {
            // another client connects and leaves until the command listens
            for _ in 0..1000 {
                let Ok(session) = address.connect(&who) else { return };
                std::thread::sleep(std::time::Duration::from_millis(20));
                drop(session);
            }
        });
        command
    });
    assert_eq!((logs.ended(), events.ended()), (0, 0));
    let said = gateway.plan.good(&["logs", "--level", "error"]);
    assert_eq!(said, "");
}

#[test]
fn events_command_prints_events_until_the_gateway_ends() {
    let gateway = Gateway::new();
    let plan = gateway.plan.clone();
    let mut pairings = Program::start(plan.command(&["events", "--filter", "device.pair"]));
    let mut all = Program::start(plan.command(&["events", "--json"]));
    let begun = std::time::Instant::now();
    // connected once their hello was sent
    while plan.good(&["status", "--json"]).matches("\"operators\": 3").count() == 0 {
        assert!(begun.elapsed() < runner::patience(), "{}", plan.good(&["status", "--json"]));
    }
    let mut admin = gateway.admin();
    let device = Device::new();
    let session = gateway.connect(&Who::v4().page().token(TOKEN).device(&device)).unwrap();
    admin.call("device.pair.remove", json!({ "deviceId": device.id })).unwrap();
    let line = pairings.printed(&["device.pair.changed"]);
    assert!(line.starts_with("20") && line.contains("Z device.pair.changed {"), "{line}");
    let line = all.printed(&["\"presence\""]);
    let event: Value = serde_json::from_str(&line).unwrap();
    assert!(event["event"] == "presence" && event["payload"]["presence"].is_array(), "{event}");
    drop(session);
    gateway.stop();
    assert_eq!(all.ended(), 4);
    all.printed(&["\"shutdown\""]);
    all.complained(&["the connection to the gateway is lost: "]);
    assert_eq!(pairings.ended(), 4);
    assert!(
        pairings.output().lines().all(|line| line.contains(" device.pair.")),
        "{}",
        pairings.output()
    );
    assert!(!all.output().contains(TOKEN));
}

#[test]
fn log_file_is_optional_and_bounded() {
    let mut plan = Plan::new().talkative();
    let file = plan.dir().parent().unwrap().join("gatelet.log");
    let path = runner::path(&file).into_string().unwrap();
    let gateway = plan.clone().start();
    plan = gateway.stop();
    let state: Vec<_> =
        fs::read_dir(plan.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        !file.exists() && state.iter().all(|name| !name.to_string_lossy().contains("log")),
        "{state:?}"
    );

    plan.args = vec!["--log-file".into(), path.clone()];
    let gateway = plan.start();
    let mut session = gateway.admin();
    assert_eq!(tail(&mut session, json!({}))["file"], path.as_str());
    let most = gatelet::gate::limits::LOG_LEN;
    chatter(&mut session, most as usize / 40);
    let last = lines(&tail(&mut session, json!({ "limit": 1 })));
    let text = fs::read_to_string(&file).unwrap();
    let end = text.lines().last().unwrap();
    assert!(
        end.ends_with(last[0]["1"].as_str().unwrap()) && end.contains("Z debug "),
        "{end} is not {last:?}"
    );
    let old = file.with_extension("log.1");
    for file in [&file, &old] {
        let about = fs::metadata(file).unwrap();
        assert!(about.len() <= most, "{} bytes", about.len());
        assert!(runner::windows() || about.permissions().mode() & 0o777 == 0o600);
    }
    assert!(fs::read_to_string(&old).unwrap().lines().next().unwrap().contains("Z info "));

    let mut plan = gateway.stop();
    plan.args.clear();
    plan.prefix = vec!["env".into(), format!("GATELET_LOG_FILE={path}")];
    let gateway = plan.start();
    gateway.admin();
    assert!(fs::read_to_string(&file)
        .unwrap()
        .contains(&format!(" listening on 127.0.0.1:{}", gateway.port)));
    let mut plan = gateway.stop();
    plan.prefix = vec!["env".into(), format!("GATELET_LOG_FILE={path}/no/such/directory")];
    let gateway = plan.start();
    gateway.logged(&[" warn cannot write the log to ", "no/such/directory"]);
    assert_eq!(tail(&mut gateway.admin(), json!({}))["file"], "the gateway's memory");
}

#[test]
fn repeated_admissions_are_counted_and_do_not_displace_refusals() {
    let gateway = Gateway::new();
    let mut admin = gateway.admin();
    gateway.connect(&Who::v4().token("wrong").device(&Device::new())).unwrap_err();
    let (device, session) = gateway.join(&Who::v4());
    session.leave();
    for protocol in [3, 4] {
        for _ in 0..LINES / 2 {
            gateway.connect(&Who::of(protocol).device(&device)).unwrap().leave();
        }
    }
    let log = gateway.log();
    let lines = log.lines().filter(|line| line.contains(&device.id[..8])).count();
    assert!(lines <= 4, "one line for the pairing, one for the known device, one a minute: {log}");
    let all = tail(&mut admin, json!({}));
    assert!(said(&all, "AUTH_TOKEN_MISMATCH") && said(&all, " listening on "), "{all}");
}

#[test]
fn debug_lines_do_not_displace_refusals() {
    let gateway = Plan::new().talkative().start();
    let mut session = gateway.admin();
    gateway.connect(&Who::v4().token("wrong").device(&Device::new())).unwrap_err();
    let cursor = tail(&mut session, json!({}))["cursor"].clone();
    chatter(&mut session, 2 * LINES);
    let all = tail(&mut session, json!({ "limit": 5000, "maxBytes": 1_000_000 }));
    assert!(said(&all, "AUTH_TOKEN_MISMATCH") && !said(&all, " listening on "), "{all}");
    let new = tail(&mut session, json!({ "cursor": cursor, "limit": 5000, "maxBytes": 1_000_000 }));
    assert_eq!((&new["reset"], &new["truncated"]), (&json!(true), &json!(true)));
}
