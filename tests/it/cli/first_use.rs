//! Basic use of each released binary on its platform, from the outside. `tests/cross.sh` runs these
//! tests with every binary on every processor; here they run with the others on the binary built by
//! cargo.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{json, Value};
use support::client::{Device, Dial, Sign, Who};
use support::gateway::{Gateway, Plan, TOKEN};

#[test]
fn device_pairs_reconnects_after_stop_and_kill_and_is_rejected_when_revoked() {
    let mut gateway = Gateway::new();
    let plan = gateway.plan.clone();
    let mut devices = Vec::new();
    for protocol in [3, 4] {
        let (by_token, by_code) = (Device::new(), Device::new());
        let who = Who::of(protocol).name(&format!("walker-{protocol}"));
        let first = gateway
            .connect(&who.clone().token(TOKEN).device(&by_token))
            .expect("paired by the token");
        assert_eq!(first.hello["protocol"], protocol);
        let pair: Value = serde_json::from_str(&output_of(&plan, &["pair", "--json"])).unwrap();
        let code = pair["code"].as_str().unwrap();
        let second = gateway
            .connect(&who.clone().code(code).device(&by_code))
            .expect("paired by a setup code");
        gateway
            .connect(&who.clone().code(code).device(&Device::new()))
            .expect_err("a code is good once");
        for (device, session) in [(by_token, first), (by_code, second)] {
            devices.push((who.clone(), device, session.token()));
        }
    }
    assert_eq!(listed(&plan), sorted(devices.iter().map(|(_, device, _)| device.id.clone())));
    assert!(output_of(&plan, &["devices", "list"]).contains("walker-3"));

    for end in [Gateway::stop as fn(Gateway) -> Plan, Gateway::kill, Gateway::stop] {
        end(gateway);
        let check = plan.good(&["table", "check"]);
        assert!(check.contains("intact: 4 of 256"), "{check}");
        gateway = plan.clone().start();
        for (who, device, token) in &devices {
            let back = gateway
                .connect(&who.clone().device(device).device_token(token))
                .expect("by its token alone");
            assert_eq!(&back.token(), token);
            gateway.connect(&who.clone().device(device)).expect("by its key alone").leave();
        }
    }

    let (who, device, token) = devices.remove(0);
    let mut open = gateway.connect(&who.clone().device(&device)).unwrap();
    output_of(&plan, &["devices", "revoke", &device.id]);
    assert_eq!(open.closed(), (4001, "client invalidated: device revoked".into()));
    for end in [Gateway::kill as fn(Gateway) -> Plan, Gateway::stop] {
        end(gateway);
        gateway = plan.clone().start();
        for tries in [who.clone().device_token(&token), who.clone().token(TOKEN), who.clone()] {
            let refused = gateway.connect(&tries.device(&device)).expect_err("it is revoked");
            assert_eq!((refused.code(), refused.rule()), ("PAIRING_REQUIRED", "7.7"));
        }
        let (who, device, token) = &devices[0];
        gateway
            .connect(&who.clone().device(device).device_token(token))
            .expect("the other devices stay connected")
            .leave();
    }
    output_of(&plan, &["devices", "approve", &device.id]);
    gateway.connect(&who.device(&device)).expect("the owner approved it again").leave();
    gateway.stop();
}

#[test]
fn wrong_signature_and_wrong_token_are_rejected_with_hints() {
    let gateway = Gateway::new();
    let plan = &gateway.plan;
    assert!(output_of(plan, &["explain", "--last"]).contains("no connection was rejected"));
    for protocol in [3, 4] {
        let who = Who::of(protocol).device(&Device::new());
        let wrongs = [
            (who.clone().token(TOKEN).sign(Sign::Stolen), "DEVICE_AUTH_SIGNATURE_INVALID", "5"),
            (who.clone().token(TOKEN).sign(Sign::OldNonce), "DEVICE_AUTH_NONCE_MISMATCH", "5"),
            (who.clone().token(TOKEN).sign(Sign::WrongId), "DEVICE_AUTH_DEVICE_ID_MISMATCH", "5"),
            (who.clone().token("a-wrong-token-of-a-client"), "AUTH_TOKEN_MISMATCH", "6"),
            (who.clone(), "AUTH_TOKEN_MISSING", "6"),
        ];
        for (wrong, code, rule) in wrongs {
            let refused = gateway.connect(&wrong).expect_err("it proves nothing");
            assert_eq!((refused.code(), refused.rule(), refused.close), (code, rule, 1008));
            let explained = output_of(plan, &["explain", "--last"]);
            assert!(explained.contains(code), "explain --last shows {code}: {explained}");
        }
        gateway
            .connect(&who.token(TOKEN))
            .expect("the same device with a right signature and the right token");
    }
    assert_eq!(listed(plan).len(), 2, "no other device was stored");
    assert!(!gateway.log().contains("a-wrong-token-of-a-client"), "a secret in the log");
    gateway.stop();
}

#[test]
fn page_probes_and_commands_work_after_a_first_start() {
    let gateway = Plan::with(json!({ "auth": { "mode": "token" } })).start();
    let (plan, dial) = (&gateway.plan, gateway.dial());
    for path in ["/healthz", "/readyz"] {
        assert!(dial.get(path).starts_with("HTTP/1.1 200 "), "{path}");
    }
    let page = unpacked(&dial, "/");
    assert!(page.contains("<title>"), "{page}");
    let parts: Vec<&str> = page.split('"').filter(|text| text.starts_with("assets/")).collect();
    assert!(parts.len() >= 2, "a style and a script at least: {page}");
    parts
        .iter()
        .for_each(|part| assert!(!unpacked(&dial, &format!("/{part}")).is_empty(), "{part}"));
    let token = output_of(plan, &["token", "show"]);
    assert_eq!(token.trim().len(), 43, "256 bits in base64url");
    gateway
        .connect(&Who::v4().token(token.trim()).device(&Device::new()))
        .expect("the token it made")
        .leave();
    assert!(output_of(plan, &["url"]).contains(&format!(
        "http://127.0.0.1:{}/#token={}",
        gateway.port,
        token.trim()
    )));
    assert!(output_of(plan, &["pair"]).contains("oc-pair://"));
    assert!(output_of(plan, &["status"]).contains("127.0.0.1"));
    output_of(plan, &["health"]);
    output_of(plan, &["config", "check"]);
    assert!(output_of(plan, &["--version"]).contains(env!("CARGO_PKG_VERSION")));
    assert_eq!(plan.run(&["devcies"]).0, 2, "a wrong command line");
    let (code, second) = plan.run(&["run", "--port", "0"]);
    assert!(code != 0 && second.contains("another gatelet process"), "{code}: {second}");
    let plan = gateway.stop();
    assert_eq!(plan.run(&["status"]).0, 4, "no gateway runs");
    assert!(plan.good(&["table", "check"]).contains("intact: 1 of 256"));
}

/// Returns a file of the page, decompressed by an independent program.
fn unpacked(dial: &Dial, path: &str) -> String {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAccept-Encoding: gzip\r\n\r\n", dial.host);
    let answer = dial.raw(&request);
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    assert!(
        head.starts_with("HTTP/1.1 200 ")
            && head.contains("Content-Security-Policy: default-src 'none'"),
        "{head}"
    );
    assert!(head.contains("Content-Encoding: gzip"), "{head}");
    let mut gzip = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    gzip.stdin.take().unwrap().write_all(&answer[end + 4..]).unwrap();
    let output = gzip.wait_with_output().unwrap();
    assert!(output.status.success(), "{path} is no gzip file");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command on the running gateway and returns its standard output.
fn output_of(plan: &Plan, args: &[&str]) -> String {
    let output = plan.command(args).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "gatelet {args:?}: {words}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the ids of the paired devices, from the command line.
fn listed(plan: &Plan) -> Vec<String> {
    let list: Value =
        serde_json::from_str(&output_of(plan, &["devices", "list", "--json"])).unwrap();
    let ids = list["paired"].as_array().unwrap().iter();
    sorted(ids.map(|device| device["deviceId"].as_str().unwrap().to_string()))
}

fn sorted(ids: impl Iterator<Item = String>) -> Vec<String> {
    let mut ids: Vec<String> = ids.collect();
    ids.sort();
    ids
}
