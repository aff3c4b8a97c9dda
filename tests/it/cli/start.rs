//! Start and stop, as seen by a person and by systemd.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use serde_json::json;
use support::client::{Device, Who};
use support::gateway::{Gateway, Plan, TOKEN};
use support::runner::{self, at_most};
use support::temp_dir::TempDir;

#[test]
fn systemd_is_notified_of_ready_and_stopping() {
    let dir = TempDir::new();
    let path = dir.0.join("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(at_most(Duration::from_secs(10)))).unwrap();
    let set = format!("NOTIFY_SOCKET={}", path.display());
    let gateway = Plan::new().prefix(&["env", &set]).start();
    let notification = |socket: &UnixDatagram| {
        let mut bytes = [0; 64];
        let len = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    };
    assert_eq!(notification(&socket), "READY=1");
    gateway.stop();
    assert_eq!(notification(&socket), "STOPPING=1");
}

#[test]
fn busy_port_error_names_the_process_that_uses_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = Plan::new().command(&["run", "--port", &port]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    // not available on Windows
    let who =
        if runner::windows() { String::new() } else { format!("(pid {});", std::process::id()) };
    assert!(
        stderr.contains("the port is in use") && stderr.contains(&who) && stderr.contains("--port"),
        "{stderr}"
    );
}

#[test]
fn second_gateway_on_the_same_state_fails_and_the_first_continues() {
    let first = Gateway::new();
    let output = first.plan.command(&["run", "--port", "0"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && stderr.contains("another gatelet process uses"),
        "{stderr}"
    );
    let status = first.plan.command(&["status"]).output().unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    assert!(first.dial().is_ready());
}

#[test]
fn all_configuration_problems_are_listed_at_a_failed_start() {
    let config = json!({ "bind": "everywhere", "prot": 1, "trustedProxies": ["10.0.0.0/33"], "auth": { "mode": "token", "token": TOKEN } });
    let (status, output) = Plan::with(config).try_start().err().expect("it starts");
    assert_eq!(status.code(), Some(1), "{output}");
    for part in ["gateway.bind", "gateway.prot", "did you mean gateway.port", "10.0.0.0/33"] {
        assert!(output.contains(part), "no {part} in {output}");
    }
}

#[test]
fn generated_token_is_created_once_and_never_logged() {
    let plan = Plan::with(json!({ "auth": { "mode": "token" } }));
    let gateway = plan.start();
    let file = gateway.plan.dir().join("token");
    let token = std::fs::read_to_string(&file).unwrap();
    assert!(token.len() == 43, "256 bits in base64url");
    let device = Device::new();
    let paired = gateway.connect(&Who::v4().token(&token).device(&device)).unwrap();
    let device_token = paired.token();
    paired.leave();
    let wrong = "a-wrong-token-typed-by-hand";
    assert_eq!(
        gateway.connect(&Who::v4().token(wrong).device(&Device::new())).unwrap_err().code(),
        "AUTH_TOKEN_MISMATCH"
    );
    let line = gateway.logged(&["AUTH_TOKEN_MISMATCH"]);
    assert!(
        line.contains("presented=") && line.contains("expected="),
        "which of several tokens it was: {line}"
    );
    let log = gateway.log();
    for secret in [token.as_str(), device_token.as_str(), wrong] {
        assert!(!log.contains(secret), "a secret in the log:\n{log}");
    }
    let gateway = gateway.stop().start();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), token);
    gateway.connect(&Who::v4().device(&device)).unwrap();
}

#[test]
fn devices_imported_from_openclaw_reconnect_by_key() {
    let (plan, device) = (
        Plan::with(
            json!({ "pairing": { "mode": "strict" }, "auth": { "mode": "token", "token": TOKEN } }),
        ),
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
fn killed_gateway_leaves_no_files_that_disturb_later_runs() {
    let plan = Gateway::new().kill();
    assert!(plan.dir().join("gateway.addr").exists(), "the killed gateway left its address file");
    let status = plan.command(&["status"]).output().unwrap();
    assert_eq!(
        status.status.code(),
        Some(4),
        "no gateway runs: {}",
        String::from_utf8_lossy(&status.stderr)
    );
    let begun = Instant::now();
    plan.start();
    assert!(begun.elapsed() < at_most(Duration::from_secs(5)));
}

#[test]
fn interrupt_stops_cleanly() {
    let gateway = Gateway::new();
    let mut session = gateway.connect(&Who::v4().token(TOKEN).device(&Device::new())).unwrap();
    gateway.signal("INT");
    assert_eq!(session.event("shutdown")["reason"], "gateway stopping");
    assert_eq!(session.closed(), (1012, "service restart".to_string()));
}
