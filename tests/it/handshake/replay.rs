//! Replay: messages captured on the wire or on this machine, and sent again by another client.

use serde_json::{json, Value};
use support::client::{Device, Got, Sign, Who};
use support::gateway::{paired, Gateway, Plan, TOKEN};

/// Returns a gateway for each authentication mode, and the credential that a client presents to it.
fn gateways() -> Vec<(&'static str, Gateway, Value)> {
    let proxied = json!({ "userHeader": "X-User", "allowLoopback": true });
    let plans = [
        ("token", json!({ "mode": "token", "token": TOKEN }), json!({ "token": TOKEN })),
        (
            "password",
            json!({ "mode": "password", "password": "pass-word-pass" }),
            json!({ "password": "pass-word-pass" }),
        ),
        ("none", json!({ "mode": "none" }), Value::Null),
        ("trusted-proxy", json!({ "mode": "trusted-proxy", "trustedProxy": proxied }), Value::Null),
    ];
    let start = |(mode, auth, shown): (&'static str, Value, Value)| {
        (mode, Plan::with(json!({ "auth": auth, "trustedProxies": ["127.0.0.1"] })).start(), shown)
    };
    let mut gateways: Vec<_> = plans.into_iter().map(start).collect();
    let strict = json!({ "pairing": { "mode": "strict" } });
    gateways.push(("strict", Plan::with(strict).start(), json!({ "token": TOKEN })));
    gateways
}

#[test]
fn captured_connect_is_rejected_on_another_connection_in_every_mode() {
    for (mode, gateway, shown) in gateways() {
        let dial = match mode {
            "trusted-proxy" => {
                gateway.dial().header("X-Forwarded-For", "203.0.113.9").header("X-User", "ann")
            }
            _ => gateway.dial(),
        };
        for protocol in [3, 4] {
            for sign in [Sign::V2, Sign::V3] {
                let who = Who {
                    auth: shown.clone(),
                    ..Who::of(protocol).device(&Device::new()).sign(sign)
                };
                // captured before it arrived, or after it was answered
                for used in [false, true] {
                    let mut first = dial.open();
                    let params = who.params(&first.challenge());
                    if used {
                        let _ = first.connect(params.clone());
                    }
                    let mut second = dial.open();
                    second.challenge();
                    let refused = second.connect(params).unwrap_err();
                    let what = format!("{mode}, protocol {protocol}, {sign:?}, used: {used}");
                    assert_eq!(
                        (refused.code(), refused.rule()),
                        ("DEVICE_AUTH_NONCE_MISMATCH", "5"),
                        "{what}"
                    );
                }
            }
        }
    }
}

#[test]
fn connect_is_accepted_once_per_connection() {
    let gateway = Gateway::new();
    for protocol in [3, 4] {
        let device = Device::new();
        let mut socket = gateway.dial().open();
        let params = Who::of(protocol).token(TOKEN).device(&device).params(&socket.challenge());
        let again = json!({ "type": "req", "id": "again", "method": "connect", "params": params });
        // both are sent before the first is answered
        socket.send(
            &json!({ "type": "req", "id": "connect-1", "method": "connect", "params": params }),
        );
        socket.send(&again);
        let mut session = socket.greeted().unwrap();
        let failed = session.answer("again").unwrap_err();
        assert_eq!(failed.message(), "connect is only valid as the first request");
        let admitted = format!("device={} role=", &device.id[..8]);
        gateway.logged(&[&admitted]);
        session.leave();

        let mut socket = gateway.dial().open();
        let params =
            Who::of(protocol).token("wrong").device(&Device::new()).params(&socket.challenge());
        let mut right = params.clone();
        right["auth"]["token"] = TOKEN.into();
        socket.send(&json!({ "type": "req", "id": "1", "method": "connect", "params": params }));
        socket.send(&json!({ "type": "req", "id": "2", "method": "connect", "params": right }));
        let answer = socket.frame();
        assert_eq!((&answer["id"], &answer["ok"]), (&json!("1"), &json!(false)));
        assert!(
            matches!(socket.receive(), Got::Closed(1008, _)),
            "a second connect on one connection is not read"
        );
        // the log is ordered: whatever happened to this attempt is logged by now
        gateway.logged(&["AUTH_TOKEN_MISMATCH"]);
        assert_eq!(gateway.log().matches(&admitted).count(), 1, "one admission");
    }
}

#[test]
fn signed_fields_cannot_be_changed_and_unsigned_fields_decide_nothing() {
    let gateway = Gateway::new();
    let mut admin = gateway.admin();
    let victim = Device::new();
    gateway.connect(&Who::v4().token(TOKEN).device(&victim).scopes(&["read"])).unwrap().leave();
    let other = Device::new();
    let changes = [
        (json!({ "role": "node" }), "SIGNATURE_INVALID"),
        (json!({ "role": null, "scopes": ["operator.admin"] }), "SIGNATURE_INVALID"),
        (json!({ "scopes": ["operator.admin"] }), "SIGNATURE_INVALID"),
        (json!({ "scopes": ["operator.read", "operator.read"] }), "SIGNATURE_INVALID"),
        (json!({ "scopes": ["operator.read|"] }), "SIGNATURE_INVALID"),
        (json!({ "client": { "id": "gateway-client" } }), "SIGNATURE_INVALID"),
        (json!({ "client": { "mode": "backend" } }), "SIGNATURE_INVALID"),
        (json!({ "auth": { "token": TOKEN } }), "SIGNATURE_INVALID"),
        (json!({ "device": { "signedAt": 1 } }), "SIGNATURE_INVALID"),
        (json!({ "device": { "id": other.id } }), "DEVICE_ID_MISMATCH"),
        (json!({ "device": { "publicKey": other.public } }), "DEVICE_ID_MISMATCH"),
        (json!({ "device": { "id": other.id, "publicKey": other.public } }), "SIGNATURE_INVALID"),
        // a downgrade to a payload without a nonce, which old programs on this machine may sign
        (json!({ "device": { "nonce": null } }), "SIGNATURE_INVALID"),
        (json!({ "device": { "nonce": "" } }), "SIGNATURE_INVALID"),
        (
            json!({ "device": { "nonce": "00000000-0000-4000-8000-000000000000" } }),
            "NONCE_MISMATCH",
        ),
    ];
    for protocol in [3, 4] {
        for sign in [Sign::V2, Sign::V3] {
            let who = Who::of(protocol).device(&victim).sign(sign).scopes(&["read"]);
            for (change, code) in &changes {
                let mut socket = gateway.dial().open();
                let mut params = who.params(&socket.challenge());
                lay_over(&mut params, change);
                let refused = socket.connect(params).unwrap_err();
                let what = format!("{change}, protocol {protocol}, {sign:?}");
                assert_eq!(
                    (refused.code(), refused.rule()),
                    (format!("DEVICE_AUTH_{code}").as_str(), "5"),
                    "{what}"
                );
            }
            // platform and family are signed in version 3 only, and decide no admission
            let mut socket = gateway.dial().open();
            let mut params = who.params(&socket.challenge());
            lay_over(&mut params, &json!({ "client": { "platform": "ios" } }));
            let came = socket.connect(params);
            assert_eq!(came.is_ok(), sign == Sign::V2, "protocol {protocol}, {sign:?}");
        }
    }
    let shown = paired(&mut admin, &victim.id).unwrap();
    assert_eq!(shown["scopes"], json!(["operator.read"]), "{shown}");
    assert!(paired(&mut admin, &other.id).is_none());
}

fn lay_over(params: &mut Value, change: &Value) {
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => drop(params.as_object_mut().unwrap().remove(name)),
            Value::Object(_) if params[name].is_object() => lay_over(&mut params[name], value),
            _ => params[name] = value.clone(),
        }
    }
}

#[test]
fn signature_without_a_nonce_is_accepted_once_within_two_minutes() {
    let gateway = Plan::with(json!({ "trustedProxies": ["127.0.0.1"] })).start();
    let device = Device::new();
    let who = |clock: i64| Who { clock, ..Who::v3().device(&device).sign(Sign::V1) };
    gateway.connect(&Who::v3().token(TOKEN).device(&device)).unwrap().leave();
    let say = |params: &Value| {
        let mut socket = gateway.dial().open();
        socket.challenge();
        socket.connect(params.clone()).map(drop).map_err(|refused| refused.code().to_string())
    };
    let captured = who(0).params("");
    assert_eq!(say(&captured), Ok(()));
    for _ in 0..2 {
        assert_eq!(
            say(&captured),
            Err("DEVICE_AUTH_SIGNATURE_EXPIRED".into()),
            "a captured connect, replayed"
        );
    }
    assert_eq!(say(&who(-1000).params("")), Ok(()), "the next one of its own");
    for clock in [-130_000, 130_000] {
        assert_eq!(
            say(&who(clock).params("")),
            Err("DEVICE_AUTH_SIGNATURE_EXPIRED".into()),
            "{clock}"
        );
    }
    // a signature over a nonce does not depend on the clock
    gateway.connect(&Who { clock: -130_000, ..Who::v3().device(&device) }).unwrap();
    let far = gateway.dial().header("X-Forwarded-For", "203.0.113.9");
    assert_eq!(far.connect(&who(-130_000)).unwrap_err().code(), "DEVICE_AUTH_NONCE_REQUIRED");
}
