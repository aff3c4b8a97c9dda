//! Life cycle of a device over real sockets and restarts: paired, known, rotated, revoked,
//! restored, removed, rejected.

use std::thread;

use serde_json::{json, Value};
use support::client::{Device, Session, Sign, Who};
use support::gateway::{code, paired, pending, Gateway, Plan, TOKEN};

/// Returns the rule by which a session was admitted.
fn rule(gateway: &Gateway, session: &Session) -> String {
    let line = gateway.logged(&[" admit ", &format!("conn={} ", session.conn())]);
    line.split("rule=\"").nth(1).unwrap().split(' ').next().unwrap().to_string()
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect()
}

#[test]
fn known_devices_reconnect_after_stop_and_kill() {
    let mut gateway = Plan::new().talkative().start();
    let mut devices = Vec::new();
    for who in [Who::v3(), Who::v4(), Who::v3().node(), Who::v4().node()] {
        let (device, session) = gateway.join(&who);
        devices.push((who, device, session.token()));
    }
    for end in [Gateway::stop as fn(Gateway) -> Plan, Gateway::kill, Gateway::stop] {
        gateway = end(gateway).start();
        for (who, device, token) in &devices {
            let by_token =
                gateway.connect(&who.clone().device(device).device_token(token)).unwrap();
            assert_eq!(rule(&gateway, &by_token), "7.1");
            assert_eq!(&by_token.token(), token, "the token stays the same");
            let by_key = gateway.connect(&who.clone().device(device)).unwrap();
            assert_eq!(rule(&gateway, &by_key), "7.1");
        }
    }
}

#[test]
fn old_token_is_valid_until_the_new_one_is_used() {
    let mut gateway = Plan::new().talkative().start();
    let (device, mut own) = gateway.join(&Who::v4());
    let old = own.token();
    let rotated = own
        .call("device.token.rotate", json!({ "deviceId": device.id, "role": "operator" }))
        .unwrap();
    assert_eq!(rotated["tokenDelivery"], "in-band");
    let new = rotated["token"].as_str().unwrap().to_string();
    assert_ne!(new, old);
    gateway = gateway.kill().start();

    let with = |gateway: &Gateway, token: &str| {
        let session = gateway.connect(&Who::v4().device(&device).device_token(token)).unwrap();
        let rule = rule(gateway, &session);
        (rule, session.token())
    };
    assert_eq!(
        with(&gateway, &old),
        ("7.1".into(), new.clone()),
        "the old token is valid and hello returns the new one"
    );
    gateway = gateway.stop().start();
    assert_eq!(with(&gateway, &old).0, "7.1", "using the old token does not end the new one");
    assert_eq!(with(&gateway, &new).0, "7.1");
    assert_eq!(
        with(&gateway, &old),
        ("7.2".into(), new.clone()),
        "a stale token with the right key: a fresh token, no rejection"
    );
    gateway = gateway.stop().start();
    assert_eq!(with(&gateway, &old).0, "7.2", "the old token stays invalid");

    let thief = gateway.connect(&Who::v4().device(&Device::new()).device_token(&new)).unwrap_err();
    assert_eq!(
        (thief.code(), thief.rule()),
        ("AUTH_DEVICE_TOKEN_MISMATCH", "6"),
        "a token is invalid without its key"
    );
}

#[test]
fn rotating_another_device_does_not_return_its_token_in_protocol_4() {
    let gateway = Plan::new().talkative().start();
    let (device, _own) = gateway.join(&Who::v4());
    let rotate = json!({ "deviceId": device.id, "role": "operator" });
    let withheld = gateway.admin().call("device.token.rotate", rotate.clone()).unwrap();
    assert_eq!(
        (&withheld["tokenDelivery"], &withheld["token"]),
        (&json!("withheld-cross-device"), &Value::Null)
    );
    let shown = gateway
        .connect(&Who::v3().token(TOKEN))
        .unwrap()
        .call("device.token.rotate", rotate)
        .unwrap();
    assert_eq!(shown["token"].as_str().unwrap().len(), 43, "protocol 3 shows it: {shown}");
}

#[test]
fn revoked_device_is_rejected_until_the_owner_restores_it() {
    let mut gateway = Plan::new().talkative().start();
    let mut admin = gateway.admin();
    let (device, mut operator) = gateway.join(&Who::v4());
    let mut node = gateway.connect(&Who::v4().node().token(TOKEN).device(&device)).unwrap();
    let token = operator.token();
    let revoked = admin
        .call("device.token.revoke", json!({ "deviceId": device.id, "role": "operator" }))
        .unwrap();
    assert_eq!(revoked["role"], "operator");
    assert_eq!(operator.closed(), (4001, "client invalidated: device revoked".into()));
    node.call("health", json!({})).expect("the other role stays connected");

    gateway = gateway.kill().start();
    for protocol in [3, 4] {
        let who = Who::of(protocol).device(&device);
        for who in [who.clone(), who.clone().token(TOKEN), who.clone().device_token(&token)] {
            let refused = gateway.connect(&who).unwrap_err();
            assert_eq!(
                (refused.code(), refused.rule(), refused.close),
                ("PAIRING_REQUIRED", "7.7", 1008)
            );
            // the reference client of protocol 4 stops only without these two
            let details = &refused.error["details"];
            assert_eq!(
                (&details["pauseReconnect"], &details["reason"]),
                (&json!(true), &json!("device-revoked"))
            );
            assert_ne!(details["recommendedNextStep"], "wait_then_retry");
            assert_eq!(refused.error["code"], "NOT_PAIRED");
            assert!(
                refused.hint().contains(&format!("devices approve {}", device.id)),
                "{}",
                refused.hint()
            );
        }
    }
    gateway.connect(&Who::v4().node().device(&device)).expect("the other role can still connect");

    let mut admin = gateway.admin();
    assert_eq!(strings(&paired(&mut admin, &device.id).unwrap()["revokedRoles"]), ["operator"]);
    admin.call("device.pair.approve", json!({ "requestId": device.id })).unwrap();
    let back = gateway.connect(&Who::v4().device(&device)).unwrap();
    assert_eq!(rule(&gateway, &back), "7.1");
    assert_ne!(back.token(), token, "the token from before the revocation stays invalid");
    let stale = gateway.connect(&Who::v4().device(&device).device_token(&token)).unwrap();
    assert_eq!(rule(&gateway, &stale), "7.2");
    let again = admin.call("device.pair.approve", json!({ "requestId": device.id })).unwrap_err();
    assert_eq!(again.message(), "unknown requestId");
}

#[test]
fn removed_device_is_closed_and_unknown_afterwards() {
    let gateway = Plan::new().talkative().start();
    let mut admin = gateway.admin();
    let (device, mut own) = gateway.join(&Who::v4());
    let token = own.token();
    admin.call("device.pair.remove", json!({ "deviceId": device.id })).unwrap();
    assert_eq!(own.closed(), (4001, "device removed".into()));
    let gateway = gateway.kill().start();
    let by_key = gateway.connect(&Who::v4().device(&device)).unwrap_err();
    assert_eq!(by_key.code(), "AUTH_TOKEN_MISSING");
    let by_token = gateway.connect(&Who::v4().device(&device).device_token(&token)).unwrap_err();
    assert_eq!(by_token.code(), "AUTH_DEVICE_TOKEN_MISMATCH");
    let session = gateway.connect(&Who::v4().device(&device).token(TOKEN)).unwrap();
    assert_eq!(rule(&gateway, &session), "7.3", "it pairs like any other device");
    let unknown = gateway
        .admin()
        .call("device.pair.remove", json!({ "deviceId": "ab".repeat(32) }))
        .unwrap_err();
    assert_eq!((unknown.code(), unknown.message()), ("INVALID_REQUEST", "unknown deviceId"));
}

#[test]
fn strict_mode_new_device_waits_for_approval_which_survives_a_kill() {
    for config in [
        json!({ "pairing": { "mode": "strict" } }),
        json!({ "auth": { "token": TOKEN, "skipPairingForTokenAuth": false } }),
    ] {
        let mut gateway = Plan::with(config).talkative().start();
        let mut admin = gateway.admin();
        let device = Device::new();
        let who = Who::v4().token(TOKEN).device(&device).name("Kitchen");
        let refused = gateway.connect(&who).unwrap_err();
        assert_eq!(
            (refused.code(), refused.rule(), refused.close),
            ("PAIRING_REQUIRED", "7.3", 1008)
        );
        assert_eq!(refused.error["code"], "NOT_PAIRED");
        let id = refused.request_id().to_string();
        assert_eq!(
            refused.reason,
            format!("pairing required: device is not approved yet (requestId: {id})")
        );
        assert!(refused.hint().contains(&format!("devices approve {id}")), "{}", refused.hint());
        let event = admin.event("device.pair.requested");
        assert_eq!(
            (&event["requestId"], &event["deviceId"], &event["displayName"]),
            (&json!(id), &json!(device.id), &json!("Kitchen"))
        );
        let v3 =
            gateway.connect(&Who { protocol: (3, 3), sign: Sign::V2, ..who.clone() }).unwrap_err();
        assert_eq!(
            (v3.request_id(), v3.reason.as_str()),
            (id.as_str(), "pairing required"),
            "asking again keeps the id"
        );
        assert_eq!(pending(&mut admin, &device.id).unwrap()["requestId"], id.as_str());

        let approved = admin.call("device.pair.approve", json!({ "requestId": id })).unwrap();
        assert_eq!(approved["device"]["provenance"], "owner");
        let resolved = admin.event("device.pair.resolved");
        assert_eq!(
            (&resolved["requestId"], &resolved["decision"]),
            (&json!(id), &json!("approved"))
        );
        assert!(pending(&mut admin, &device.id).is_none());
        gateway = gateway.kill().start();
        let session = gateway.connect(&Who::v4().device(&device)).unwrap();
        assert_eq!((rule(&gateway, &session).as_str(), session.method()), ("7.1", "device-token"));
        assert_eq!(session.scopes(), ["admin"]);
    }
}

#[test]
fn rejected_device_can_create_another_request() {
    let gateway = Plan::with(json!({ "pairing": { "mode": "strict" } })).talkative().start();
    let mut admin = gateway.admin();
    let device = Device::new();
    let who = Who::v4().token(TOKEN).device(&device);
    let first = gateway.connect(&who).unwrap_err().request_id().to_string();
    admin.call("device.pair.reject", json!({ "requestId": first })).unwrap();
    assert_eq!(admin.event("device.pair.resolved")["decision"], "rejected");
    let gone = admin.call("device.pair.approve", json!({ "requestId": first })).unwrap_err();
    assert_eq!((gone.code(), gone.message()), ("INVALID_REQUEST", "unknown requestId"));
    let second = gateway.connect(&who).unwrap_err();
    assert_eq!(second.code(), "PAIRING_REQUIRED");
    assert_ne!(second.request_id(), first);
    assert!(paired(&mut admin, &device.id).is_none());
}

#[test]
fn requesting_more_scopes_keeps_those_of_the_device() {
    let gateway = Plan::new().talkative().start();
    let mut admin = gateway.admin();
    let device = Device::new();
    let reader = Who::v4().device(&device).scopes(&["read"]);
    gateway.connect(&reader.clone().token(TOKEN)).unwrap();
    let more = Who::v4().device(&device).scopes(&["read", "write", "pairing"]);
    let mut session = gateway.connect(&more).unwrap();
    assert_eq!(session.scopes(), ["read"]);
    let request = admin.event("device.pair.requested");
    assert_eq!(strings(&request["scopes"]), ["operator.write", "operator.pairing"]);
    assert_eq!(request["isRepair"], true);
    session.call("status", json!({})).expect("the connection stays open");
    assert_eq!(session.call("device.pair.list", json!({})).unwrap_err().code(), "FORBIDDEN");

    admin.call("device.pair.approve", json!({ "requestId": request["requestId"] })).unwrap();
    assert_eq!(gateway.connect(&more).unwrap().scopes(), ["pairing", "read", "write"]);
    let all = Who::v4().device(&device).scopes(&["admin"]);
    assert_eq!(
        gateway.connect(&all.clone().token(TOKEN)).unwrap().scopes(),
        ["admin"],
        "the secret grants it at once"
    );
    let gateway = gateway.kill().start();
    assert_eq!(gateway.connect(&all).unwrap().scopes(), ["admin"], "and the grant is durable");
}

#[test]
fn strict_mode_secret_grants_no_more_than_the_owner_approved() {
    let gateway = Plan::with(json!({ "pairing": { "mode": "strict" } })).talkative().start();
    let mut admin = gateway.admin();
    let device = Device::new();
    let reader = Who::v4().token(TOKEN).device(&device).scopes(&["read"]);
    let id = gateway.connect(&reader).unwrap_err().request_id().to_string();
    admin.call("device.pair.approve", json!({ "requestId": id })).unwrap();
    let session = gateway.connect(&Who::v4().token(TOKEN).device(&device)).unwrap();
    assert_eq!(session.scopes(), ["read"], "it asked for admin only, which means all that it has");
    let both = gateway
        .connect(&Who::v4().token(TOKEN).device(&device).scopes(&["read", "admin"]))
        .unwrap();
    assert_eq!(both.scopes(), ["read"]);
    assert_eq!(strings(&pending(&mut admin, &device.id).unwrap()["scopes"]), ["operator.admin"]);
}

#[test]
fn new_role_of_a_known_device_needs_approval_or_the_secret() {
    let gateway = Plan::new().talkative().start();
    let mut admin = gateway.admin();
    let (device, _operator) = gateway.join(&Who::v4());
    let refused = gateway.connect(&Who::v4().node().device(&device)).unwrap_err();
    assert_eq!((refused.code(), refused.rule()), ("PAIRING_REQUIRED", "7.1"));
    assert_eq!(refused.error["details"]["reason"], "role-upgrade");
    assert_eq!(refused.error["details"]["requestedRole"], "node");
    admin.call("device.pair.approve", json!({ "requestId": refused.request_id() })).unwrap();
    gateway.connect(&Who::v4().node().device(&device)).unwrap();
    let (other, _) = gateway.join(&Who::v4().node());
    let session = gateway.connect(&Who::v4().token(TOKEN).device(&other)).unwrap();
    assert_eq!(session.scopes(), ["admin"]);
    assert_eq!(strings(&paired(&mut admin, &other.id).unwrap()["roles"]), ["operator", "node"]);
}

#[test]
fn setup_code_admits_one_of_twenty_clients() {
    let gateway = Plan::new().talkative().start();
    let code = gateway.code("full");
    let address = gateway.dial();
    let tries: Vec<_> = (0..20)
        .map(|_| {
            let (dial, code) = (address.clone(), code.clone());
            thread::spawn(move || {
                dial.connect(&Who::v4().code(&code).device(&Device::new()))
                    .map(|one| one.method().to_string())
            })
        })
        .collect();
    let results: Vec<_> = tries.into_iter().map(|one| one.join().unwrap()).collect();
    let (admitted, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(admitted, [Ok("bootstrap-token".to_string())]);
    for refused in refused {
        assert_eq!(refused.unwrap_err().code(), "AUTH_BOOTSTRAP_TOKEN_INVALID");
    }
    let list = gateway.admin().call("device.pair.list", json!({})).unwrap();
    assert_eq!(list["paired"].as_array().unwrap().len(), 1);
    assert_eq!(list["paired"][0]["provenance"], "code");
}

#[test]
fn wrong_attempts_do_not_end_a_setup_code() {
    let gateway = Plan::new().talkative().start();
    let code = gateway.code("full");
    for at in 0..20 {
        let wrong = format!("WRNG23{:02}", 22 + at).replace('0', "A").replace('1', "B");
        let refused = gateway.connect(&Who::v4().code(&wrong).device(&Device::new())).unwrap_err();
        assert_eq!((refused.code(), refused.rule()), ("AUTH_BOOTSTRAP_TOKEN_INVALID", "6"));
    }
    let typed = format!(" {}-{} ", code[..4].to_lowercase(), &code[4..]);
    gateway.connect(&Who::v4().code(&typed).device(&Device::new())).expect("as a person types it");
}

#[test]
fn setup_code_grants_its_profile_and_works_in_the_token_field() {
    let gateway = Plan::new().talkative().start();
    let mut admin = gateway.admin();
    let limited = code(&mut admin, "limited");
    let device = Device::new();
    let session = gateway.connect(&Who::v3().token(&limited).device(&device)).unwrap();
    assert_eq!(rule(&gateway, &session), "7.4");
    let shown = paired(&mut admin, &device.id).unwrap();
    assert!(!strings(&shown["scopes"]).contains(&"operator.admin"), "{shown}");
    assert!(
        pending(&mut admin, &device.id).is_none(),
        "scopes that the code does not grant are not granted"
    );
    gateway.connect(&Who::v3().device(&device)).expect("by its key");
    let asked = pending(&mut admin, &device.id).expect("requesting admin leaves a pending request");
    assert_eq!(strings(&asked["scopes"]), ["operator.admin"]);

    let node = code(&mut admin, "node");
    let wrong_role = gateway.connect(&Who::v4().code(&node).device(&Device::new())).unwrap_err();
    assert_eq!((wrong_role.code(), wrong_role.rule()), ("AUTH_SCOPE_MISMATCH", "7.4"));
    let status = admin
        .call(
            "device.pair.setupStatus",
            json!({ "setupId": "00000000-0000-4000-8000-000000000000" }),
        )
        .unwrap();
    assert_eq!(status["gone"], true);
    gateway
        .connect(&Who::v4().node().code(&node).device(&Device::new()))
        .expect("an attempt in the wrong role does not use up the code");
}

#[test]
fn setup_code_response_contains_a_qr_code_unless_declined() {
    let gateway = Plan::new().talkative().start();
    let mut admin = gateway.admin();
    let mut make = |params: Value| admin.call("device.pair.setupCode", params).unwrap();
    for params in [json!({}), json!({ "includeQr": true })] {
        let drawn = make(params);
        let link = drawn["link"].as_str().unwrap();
        assert!(link.starts_with("oc-pair://"));
        assert_eq!(drawn["qrDataUrl"].as_str().unwrap(), gatelet::qr::data_url(link).unwrap());
    }
    assert!(make(json!({ "includeQr": false })).get("qrDataUrl").is_none());
    assert!(admin.call("device.pair.setupCode", json!({ "includeQr": "yes" })).is_err());
}

#[test]
fn nodes_need_a_device_and_operators_with_the_token_do_not() {
    let gateway = Plan::new().talkative().start();
    for protocol in [3, 4] {
        let refused = gateway.connect(&Who::of(protocol).node().token(TOKEN)).unwrap_err();
        assert_eq!((refused.code(), refused.rule()), ("DEVICE_IDENTITY_REQUIRED", "7.8"));
        assert_eq!((&refused.error["code"], refused.close), (&json!("NOT_PAIRED"), 1008));
        let session = gateway.connect(&Who::of(protocol).token(TOKEN)).unwrap();
        assert_eq!(rule(&gateway, &session), "7.8");
        assert!(session.hello["auth"].get("deviceToken").is_none());
    }
    let list = gateway.admin().call("device.pair.list", json!({})).unwrap();
    assert_eq!(list["paired"].as_array().unwrap().len(), 0, "no device is stored");
}

#[test]
fn full_table_still_admits_clients_with_the_token() {
    let gateway = Plan::with(json!({ "pairing": { "capacity": 2 } })).talkative().start();
    let mut admin = gateway.admin();
    let (first, _) = gateway.join(&Who::v4());
    gateway.join(&Who::v4());
    let third = Device::new();
    let session = gateway.connect(&Who::v4().token(TOKEN).device(&third)).unwrap();
    assert_eq!(
        (rule(&gateway, &session).as_str(), session.scopes()),
        ("8", vec!["admin".to_string()])
    );
    assert!(session.hello["auth"].get("deviceToken").is_none(), "{}", session.hello["auth"]);
    gateway.logged(&[" admit ", &format!("conn={} ", session.conn()), "the table is full"]);
    assert!(paired(&mut admin, &third.id).is_none());

    let code = code(&mut admin, "full");
    let refused = gateway.connect(&Who::v4().code(&code).device(&third)).unwrap_err();
    assert_eq!((refused.code(), refused.rule(), refused.close), ("TABLE_FULL", "8", 1008));
    assert_eq!(refused.error["code"], "UNAVAILABLE");
    admin.call("device.pair.remove", json!({ "deviceId": first.id })).unwrap();
    let session =
        gateway.connect(&Who::v4().code(&code).device(&third)).expect("the code was not used up");
    assert_eq!(rule(&gateway, &session), "7.4");
}

#[test]
fn auth_none_admits_local_clients_only_and_pairs_no_device() {
    let gateway = Plan::with(json!({ "auth": { "mode": "none" } })).talkative().start();
    let device = Device::new();
    for who in [Who::v4(), Who::v3(), Who::v4().device(&device), Who::v4().node().device(&device)] {
        let session = gateway.connect(&who).unwrap();
        assert_eq!(rule(&gateway, &session), "7.9");
    }
    assert_eq!(gateway.connect(&Who::v4()).unwrap().method(), "none");
    let page = gateway.dial().page("localhost:8080").connect(&Who::v4().page()).unwrap();
    assert_eq!(page.method(), "none");
    let mut admin = gateway.connect(&Who::v4()).unwrap();
    assert!(paired(&mut admin, &device.id).is_none());
    let proxied =
        gateway.dial().header("X-Forwarded-For", "203.0.113.9").connect(&Who::v4()).unwrap_err();
    assert_eq!((proxied.code(), proxied.rule()), ("AUTH_REQUIRED", "6"));
    for host in ["pi.local", "192.168.1.5:18789", "evil.example"] {
        let refused = gateway.dial().host(host).connect(&Who::v4()).unwrap_err();
        assert_eq!(
            (refused.code(), refused.rule()),
            ("CONTROL_UI_ORIGIN_NOT_ALLOWED", "4"),
            "{host}"
        );
    }
}

#[test]
fn wrong_passwords_lock_only_their_own_address_and_device() {
    let password = "correct horse battery staple";
    let gateway = Plan::with(json!({ "auth": { "mode": "password", "password": password } }))
        .talkative()
        .start();
    let (guesser, known) = (Device::new(), Device::new());
    gateway.connect(&Who::v4().password(password).device(&known)).unwrap();
    for who in [Who::v4().device(&guesser), Who::v4()] {
        for _ in 0..10 {
            let refused = gateway.connect(&who.clone().password("wrong")).unwrap_err();
            assert_eq!((refused.code(), refused.rule()), ("AUTH_PASSWORD_MISMATCH", "6"));
        }
    }
    let locked = gateway.connect(&Who::v4().device(&guesser).password(password)).unwrap_err();
    assert_eq!(locked.code(), "AUTH_RATE_LIMITED", "even the right password is not checked");
    assert_eq!(
        (&locked.error["retryable"], &locked.error["retryAfterMs"]),
        (&json!(true), &json!(300_000))
    );
    gateway
        .connect(&Who::v4().password(password).device(&Device::new()))
        .expect("the right one from another device");
    gateway.connect(&Who::v4().device(&known)).expect("a known device by its key");
    for _ in 0..11 {
        gateway
            .connect(&Who::v4().password("wrong").device(&known))
            .expect("its key is enough, whatever else it sends");
    }
    gateway.connect(&Who::v4().device(&known)).expect("the key still suffices");
    let missing = gateway.connect(&Who::v4().device(&Device::new())).unwrap_err();
    assert_eq!(missing.code(), "AUTH_PASSWORD_MISSING");
    gateway.connect(&Who::v4().token(password)).expect("without a key there is no pair to lock");
}

#[test]
fn password_works_in_both_fields_and_a_code_admits_a_locked_device() {
    let gateway =
        Plan::with(json!({ "auth": { "mode": "password", "password": "pass-word-pass" } }))
            .talkative()
            .start();
    let session = gateway.connect(&Who::v4().token("pass-word-pass")).unwrap();
    assert_eq!(session.method(), "password");
    let mut admin = gateway.connect(&Who::v4().password("pass-word-pass")).unwrap();
    let device = Device::new();
    for _ in 0..10 {
        gateway.connect(&Who::v4().password("wrong").device(&device)).unwrap_err();
    }
    let made = code(&mut admin, "full");
    let session = gateway.connect(&Who::v4().code(&made).device(&device)).unwrap();
    assert_eq!(rule(&gateway, &session), "7.4");
}

#[test]
fn page_without_a_device_needs_allow_insecure_auth_and_the_secret() {
    let page =
        |gateway: &Gateway, who: Who| gateway.dial().page("192.168.1.5:8080").connect(&who.page());
    let closed = Plan::new().talkative().start();
    let refused = page(&closed, Who::v4().token(TOKEN)).unwrap_err();
    assert_eq!((refused.code(), refused.rule()), ("CONTROL_UI_DEVICE_IDENTITY_REQUIRED", "7.8"));
    assert!(refused.hint().contains("allowInsecureAuth"), "{}", refused.hint());
    let open =
        Plan::with(json!({ "controlUi": { "allowInsecureAuth": true } })).talkative().start();
    let session = page(&open, Who::v4().token(TOKEN)).unwrap();
    assert_eq!((rule(&open, &session).as_str(), session.method()), ("7.8", "token"));
    assert_eq!(
        page(&open, Who::v4().token("another-gateways-token")).unwrap_err().code(),
        "AUTH_TOKEN_MISMATCH"
    );
    assert_eq!(page(&open, Who::v4()).unwrap_err().code(), "AUTH_TOKEN_MISSING");
    let foreign = open
        .dial()
        .origin("https://evil.example")
        .connect(&Who::v4().page().token(TOKEN))
        .unwrap_err();
    assert_eq!(foreign.code(), "CONTROL_UI_ORIGIN_NOT_ALLOWED");
}

#[test]
fn device_auth_can_be_disabled_for_the_control_ui_only() {
    let gateway = Plan::with(json!({ "controlUi": { "dangerouslyDisableDeviceAuth": true } }))
        .talkative()
        .start();
    let device = Device::new();
    for sign in [Sign::V3, Sign::Stolen, Sign::WrongId] {
        let who = Who::v4().page().token(TOKEN).device(&device).sign(sign);
        let session = gateway.dial().page("127.0.0.1").connect(&who).unwrap();
        assert_eq!(rule(&gateway, &session), "7.8", "{sign:?}");
        assert!(session.hello["auth"].get("deviceToken").is_none());
    }
    assert!(paired(&mut gateway.admin(), &device.id).is_none());
    assert_eq!(
        gateway
            .dial()
            .page("127.0.0.1")
            .connect(&Who::v4().page().device(&device))
            .unwrap_err()
            .rule(),
        "6"
    );
    let other =
        gateway.connect(&Who::v4().token(TOKEN).device(&device).sign(Sign::Stolen)).unwrap_err();
    assert_eq!(other.code(), "DEVICE_AUTH_SIGNATURE_INVALID");
}

#[test]
fn trusted_proxy_users_are_accepted_from_the_proxy_only() {
    let plan = Plan::with(json!({
        "trustedProxies": ["127.0.0.1"],
        "auth": { "mode": "trusted-proxy", "trustedProxy": {
            "userHeader": "X-Forwarded-User", "requiredHeaders": ["X-Forwarded-Proto"], "allowUsers": ["ann"], "allowLoopback": true,
        } },
    }));
    let gateway = plan.start();
    let through = |user: &str| {
        gateway
            .dial()
            .header("X-Forwarded-For", "203.0.113.9")
            .header("X-Forwarded-Proto", "https")
            .header("X-Forwarded-User", user)
    };
    let session = through("ann").connect(&Who::v4()).unwrap();
    assert_eq!((rule(&gateway, &session).as_str(), session.method()), ("7.9", "trusted-proxy"));
    let device = Device::new();
    let session = through("ann").connect(&Who::v4().device(&device)).unwrap();
    let mut admin = through("ann").connect(&Who::v4()).unwrap();
    let shown = paired(&mut admin, &device.id).unwrap();
    assert_eq!(
        (&shown["provenance"], &shown["approvedVia"]),
        (&json!("identity"), &json!("trusted-proxy"))
    );
    assert_eq!(shown["remoteIp"], "203.0.113.9");
    let known = gateway.connect(&Who::v4().device(&device).device_token(&session.token())).unwrap();
    assert_eq!(
        rule(&gateway, &known),
        "7.1",
        "a device paired through the proxy can connect without it"
    );

    let bob = through("bob").connect(&Who::v4()).unwrap_err();
    assert_eq!(
        (bob.code(), &bob.error["details"]["authReason"]),
        ("AUTH_UNAUTHORIZED", &json!("trusted_proxy_user_not_allowed"))
    );
    let bare = gateway.dial().header("X-Forwarded-User", "ann").connect(&Who::v4()).unwrap_err();
    assert_eq!(
        bare.error["details"]["authReason"], "trusted_proxy_user_not_allowed",
        "a required header is missing"
    );
    let no_user = gateway.connect(&Who::v4()).unwrap_err();
    assert_eq!(no_user.error["details"]["authReason"], "trusted_proxy_user_missing");
    let elsewhere = gateway
        .dial()
        .from("127.0.0.9")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-User", "ann");
    assert_eq!(
        elsewhere.connect(&Who::v4()).unwrap_err().error["details"]["authReason"],
        "trusted_proxy_user_missing"
    );
}

#[test]
fn authorized_keys_are_paired_in_strict_mode_without_a_secret() {
    let (by_key, by_id) = (Device::new(), Device::new());
    let keys = json!([format!("{} laptop", by_key.public), format!("{} phone", by_id.id)]);
    let gateway = Plan::with(json!({ "pairing": { "mode": "strict", "authorizedKeys": keys } }))
        .talkative()
        .start();
    for device in [&by_key, &by_id] {
        let session = gateway.connect(&Who::v4().device(device)).unwrap();
        assert_eq!(rule(&gateway, &session), "7.5");
        assert_eq!(paired(&mut gateway.admin(), &device.id).unwrap()["provenance"], "config");
    }
    let refused = gateway.connect(&Who::v4().device(&by_key).sign(Sign::Stolen)).unwrap_err();
    assert_eq!(refused.code(), "DEVICE_AUTH_SIGNATURE_INVALID");
}

#[test]
fn strict_mode_can_auto_approve_nodes_by_range_and_local_clients() {
    let strict = |nodes: Value| {
        Plan::with(json!({ "pairing": { "mode": "strict" }, "nodes": { "pairing": nodes } }))
            .start()
    };
    let ranged = strict(json!({ "autoApproveCidrs": ["127.0.0.0/8"] }));
    let node = Device::new();
    let session = ranged.connect(&Who::v4().node().token(TOKEN).device(&node)).unwrap();
    assert_eq!(rule(&ranged, &session), "7.6");
    assert_eq!(paired(&mut ranged.admin(), &node.id).unwrap()["provenance"], "cidr");
    assert_eq!(
        ranged.connect(&Who::v4().token(TOKEN).device(&Device::new())).unwrap_err().code(),
        "PAIRING_REQUIRED"
    );
    assert_eq!(
        ranged.connect(&Who::v4().node().device(&Device::new())).unwrap_err().code(),
        "AUTH_TOKEN_MISSING"
    );
    let hidden = ranged
        .dial()
        .header("X-Forwarded-For", "127.0.0.1")
        .connect(&Who::v4().node().token(TOKEN).device(&Device::new()));
    assert_eq!(
        hidden.unwrap_err().code(),
        "PAIRING_REQUIRED",
        "a client behind an untrusted proxy does not match the range"
    );

    let local = strict(json!({ "autoApproveLocal": true }));
    let device = Device::new();
    let session = local.connect(&Who::v4().token(TOKEN).device(&device)).unwrap();
    assert_eq!(rule(&local, &session), "7.6");
    assert_eq!(paired(&mut local.admin(), &device.id).unwrap()["provenance"], "local");
    let proxied = local
        .dial()
        .header("Via", "1.1 proxy")
        .connect(&Who::v4().token(TOKEN).device(&Device::new()))
        .unwrap_err();
    assert_eq!(proxied.code(), "PAIRING_REQUIRED");
}

#[test]
fn valid_signature_versions_are_accepted_and_invalid_proofs_rejected() {
    let gateway = Plan::with(json!({ "trustedProxies": ["127.0.0.1"] })).talkative().start();
    let connect = |protocol: u32, sign: Sign| {
        gateway
            .connect(&Who::of(protocol).token(TOKEN).device(&Device::new()).sign(sign))
            .map(drop)
            .map_err(|refused| refused.code().to_string())
    };
    for protocol in [3, 4] {
        for sign in [Sign::V1, Sign::V2, Sign::V3] {
            assert_eq!(connect(protocol, sign), Ok(()), "{protocol} {sign:?}");
        }
        for (sign, code) in [
            (Sign::Stolen, "SIGNATURE_INVALID"),
            (Sign::NoNonce, "SIGNATURE_INVALID"),
            (Sign::OldNonce, "NONCE_MISMATCH"),
            (Sign::WrongId, "DEVICE_ID_MISMATCH"),
            (Sign::NoKey, "PUBLIC_KEY_INVALID"),
        ] {
            assert_eq!(
                connect(protocol, sign),
                Err(format!("DEVICE_AUTH_{code}")),
                "{protocol} {sign:?}"
            );
        }
    }
    let far = gateway.dial().header("X-Forwarded-For", "203.0.113.9");
    for sign in [Sign::V1, Sign::NoNonce] {
        let refused =
            far.connect(&Who::v4().token(TOKEN).device(&Device::new()).sign(sign)).unwrap_err();
        assert_eq!(refused.code(), "DEVICE_AUTH_NONCE_REQUIRED", "{sign:?}");
    }
}

#[test]
fn device_clock_matters_only_with_strict_clock() {
    let day = 24 * 3_600_000;
    let easy = Plan::new().talkative().start();
    for clock in [-400 * day, 400 * day] {
        let session =
            easy.connect(&Who { clock, ..Who::v4().token(TOKEN).device(&Device::new()) }).unwrap();
        easy.logged(&[&format!("conn={} device clock is off", session.conn())]);
    }
    let strict =
        Plan::with(json!({ "auth": { "token": TOKEN, "strictClock": true } })).talkative().start();
    let late = strict
        .connect(&Who { clock: -130_000, ..Who::v4().token(TOKEN).device(&Device::new()) })
        .unwrap_err();
    assert_eq!((late.code(), late.rule()), ("DEVICE_AUTH_SIGNATURE_EXPIRED", "5"));
    strict
        .connect(&Who { clock: -100_000, ..Who::v4().token(TOKEN).device(&Device::new()) })
        .unwrap();
}
