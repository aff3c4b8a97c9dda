//! Start and stop, as seen by a person and by systemd.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Device, Who};
use crate::gateway::{Gateway, Plan, TempDir, TOKEN};
use crate::runner::{self, at_most};

#[test]
fn systemd_is_told_that_it_is_ready_and_that_it_stops() {
    let dir = TempDir::new();
    let path = dir.0.join("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(at_most(Duration::from_secs(10)))).unwrap();
    let set = format!("NOTIFY_SOCKET={}", path.display());
    let gateway = Plan::new().prefix(&["env", &set]).start();
    let told = |socket: &UnixDatagram| {
        let mut bytes = [0; 64];
        let len = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    };
    assert_eq!(told(&socket), "READY=1");
    gateway.stop();
    assert_eq!(told(&socket), "STOPPING=1");
}

#[test]
fn a_busy_port_is_refused_with_the_name_of_who_has_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = Plan::new().command(&["run", "--port", &port]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    // not available on Windows
    let who = if runner::windows() { String::new() } else { format!("(pid {}) has it", std::process::id()) };
    assert!(said.contains("the port is in use") && said.contains(&who) && said.contains("--port"), "{said}");
}

#[test]
fn a_second_gateway_on_the_same_state_is_refused_and_the_first_goes_on() {
    let first = Gateway::new();
    let output = first.plan.command(&["run", "--port", "0"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("another gatelet process uses"), "{said}");
    let status = first.plan.command(&["status"]).output().unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    assert!(first.dial().get("/readyz").starts_with("HTTP/1.1 200 "));
}

#[test]
fn every_problem_of_the_configuration_is_listed_before_it_refuses_to_start() {
    let config = json!({ "bind": "everywhere", "prot": 1, "trustedProxies": ["10.0.0.0/33"], "auth": { "mode": "token", "token": TOKEN } });
    let (status, said) = Plan::with(config).try_start().err().expect("it starts");
    assert_eq!(status.code(), Some(1), "{said}");
    for part in ["gateway.bind", "gateway.prot", "did you mean gateway.port", "10.0.0.0/33"] {
        assert!(said.contains(part), "no {part} in {said}");
    }
}

#[test]
fn the_token_it_makes_is_made_once_and_is_in_no_log() {
    let plan = Plan::with(json!({ "auth": { "mode": "token" } }));
    let gateway = plan.start();
    let file = gateway.plan.dir().join("token");
    let token = std::fs::read_to_string(&file).unwrap();
    assert!(token.len() == 43, "256 bits in base64url");
    let device = Device::new();
    let paired = gateway.connect(&Who::v4().token(&token).device(&device)).unwrap();
    let device_token = paired.token();
    paired.leave();
    let wrong = "a-wrong-token-that-somebody-typed";
    assert_eq!(
        gateway.connect(&Who::v4().token(wrong).device(&Device::new())).unwrap_err().code(),
        "AUTH_TOKEN_MISMATCH"
    );
    let line = gateway.logged(&["AUTH_TOKEN_MISMATCH"]);
    assert!(line.contains("presented=") && line.contains("expected="), "which of several tokens it was: {line}");
    let log = gateway.log();
    for secret in [token.as_str(), device_token.as_str(), wrong] {
        assert!(!log.contains(secret), "a secret in the log:\n{log}");
    }
    let gateway = gateway.stop().start();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), token);
    gateway.connect(&Who::v4().device(&device)).unwrap();
}

#[test]
fn what_openclaw_had_paired_comes_back_by_its_key_alone() {
    let (plan, device) = (
        Plan::with(json!({ "pairing": { "mode": "strict" }, "auth": { "mode": "token", "token": TOKEN } })),
        Device::new(),
    );
    let file = plan.dir().with_file_name("paired.json");
    let who = Who::v3().device(&device).scopes(&["operator.read"]);
    let shown = who.params("00000000000000000000000000000000");
    let id = shown["device"]["id"].as_str().unwrap().to_string();
    let record = json!({ id.clone(): {
        "deviceId": id, "publicKey": shown["device"]["publicKey"], "displayName": "old phone", "role": "operator", "roles": ["operator"],
        "scopes": ["operator.read", "operator.write"], "createdAtMs": 1_700_000_000_000u64, "approvedAtMs": 1_700_000_000_000u64,
        "tokens": { "operator": { "token": "0123456789abcdef0123456789abcdef", "role": "operator", "scopes": ["operator.read"], "createdAtMs": 1 } },
    }});
    std::fs::write(&file, record.to_string()).unwrap();
    plan.good(&["table", "import", runner::path(&file).to_str().unwrap()]);
    let gateway = plan.start();
    let session = gateway.connect(&who).unwrap();
    assert_eq!(session.scopes(), ["read", "write"], "what the token is good for");
}

#[test]
fn a_killed_gateway_leaves_nothing_that_the_next_one_or_the_command_line_trips_over() {
    let plan = Gateway::new().kill();
    assert!(plan.dir().join("gateway.addr").exists(), "nobody was there to remove it");
    let status = plan.command(&["status"]).output().unwrap();
    assert_eq!(status.status.code(), Some(4), "no gateway runs: {}", String::from_utf8_lossy(&status.stderr));
    let begun = Instant::now();
    plan.start();
    assert!(begun.elapsed() < at_most(Duration::from_secs(5)));
}

#[test]
fn an_interrupt_is_a_clean_stop_too() {
    let gateway = Gateway::new();
    let mut session = gateway.connect(&Who::v4().token(TOKEN).device(&Device::new())).unwrap();
    gateway.signal("INT");
    assert_eq!(session.event("shutdown")["reason"], "gateway stopping");
    assert_eq!(session.closed(), (1012, "service restart".to_string()));
}
