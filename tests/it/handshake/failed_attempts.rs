//! Attempts at passwords and setup codes, from one address and from many, and their effect on
//! clients with valid credentials.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use gatelet::gate::limits;
use serde_json::json;
use support::client::{Device, Dial, Session, Who};
use support::gateway::{code, Gateway, Plan, TOKEN};
use support::runner::{at_most, patience, until};
use support::SetOnDrop;

const PASSWORD: &str = "correct horse battery staple";

/// Responses to failed attempts.
#[derive(Default)]
struct Responses {
    /// Attempts that were checked and rejected as wrong.
    wrong: AtomicU64,
    /// Attempts rejected with a request to try again later.
    later: AtomicU64,
}

/// More clients than one address has places in a queue of attempts.
const ATTACKERS: usize = limits::ATTEMPTS_WAITING / 2 + 6;

/// Runs `meanwhile` while clients at one address make attempts as fast as they can and fill the
/// queue. Returns their responses, and asserts the rate in total.
fn during_attempts(
    from: &Dial,
    attempt: impl Fn(u64) -> Who + Sync,
    (wrong, every_ms): (&str, u64),
    meanwhile: impl FnOnce(),
) {
    let (over, responses, count) =
        (AtomicBool::new(false), Responses::default(), AtomicU64::new(0));
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..ATTACKERS {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let refused =
                        from.connect(&attempt(count.fetch_add(1, Ordering::Relaxed))).unwrap_err();
                    let counter = match refused.code() {
                        // a client of protocol 4 stops for good at AUTH_RATE_LIMITED
                        "TOO_MANY_ATTEMPTS" => {
                            let reason = &refused.error["details"]["reason"];
                            assert_eq!(
                                (refused.close, reason.as_str()),
                                (1013, Some("startup-sidecars"))
                            );
                            &responses.later
                        }
                        code if code == wrong => &responses.wrong,
                        other => panic!("an attempt was rejected with {other}"),
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let ends = SetOnDrop(&over);
        until(
            || responses.later.load(Ordering::Relaxed) > 0,
            || "the attempt queue was never full".into(),
        );
        meanwhile();
        drop(ends);
    });
    let spent = begun.elapsed().as_millis() as u64;
    let checked = responses.wrong.load(Ordering::Relaxed);
    let most = limits::ATTEMPTS_AT_ONCE + limits::ATTEMPTS_WAITING as u64 + spent / every_ms;
    assert!(
        (limits::ATTEMPTS_AT_ONCE..=most).contains(&checked),
        "{checked} attempts checked in {spent} ms"
    );
    let later = responses.later.load(Ordering::Relaxed);
    println!("{spent} ms: {checked} attempts checked, {later} not; at most {most}");
}

/// Returns the longest wait for an attempt, plus time for the handshake.
fn longest_wait() -> Duration {
    at_most(Duration::from_millis(
        limits::ATTEMPTS_WAITING as u64 * limits::PASSWORD_EVERY_MS + 2_000,
    ))
}

/// Connects and asserts that the first attempt succeeds within this time.
fn admitted_within(what: &str, dial: &Dial, who: &Who, within: Duration) -> Session {
    let begun = Instant::now();
    let session = dial.connect(who).unwrap_or_else(|refused| panic!("{what}: {refused:?}"));
    let took = begun.elapsed();
    println!("{what}: admitted after {took:?}");
    assert!(took < within, "{what}: {took:?}");
    session
}

#[test]
fn password_attempts_have_a_fixed_total_rate_without_blocking_valid_clients() {
    let (known, listed, new, behind) = (Device::new(), Device::new(), Device::new(), Device::new());
    let gateway = Plan::with(json!({
        "auth": { "mode": "password", "password": PASSWORD }, "pairing": { "authorizedKeys": [listed.public] },
    }))
    .start();
    let right = || Who::v4().password(PASSWORD);
    let mut admin = gateway.connect(&right()).unwrap();
    gateway.connect(&right().device(&known).scopes(&["read"])).unwrap().leave();
    let setup = code(&mut admin, "full");
    // each attempt with a new key, or without one
    let attempt = |n: u64| match n % 2 {
        0 => Who::v4().password(&format!("guess {n}")),
        _ => Who::v4().password(&format!("guess {n}")).device(&Device::new()),
    };
    let here = gateway.dial();
    let rate = ("AUTH_PASSWORD_MISMATCH", limits::PASSWORD_EVERY_MS);
    during_attempts(&here, attempt, rate, || {
        let (at_once, longest_wait) = (at_most(Duration::from_secs(5)), longest_wait());
        let less =
            admitted_within("a known key, same address", &here, &Who::v4().device(&known), at_once);
        assert_eq!(less.scopes(), ["read"], "a known device keeps its scopes");
        let more = admitted_within(
            "a known key and the password",
            &here,
            &right().device(&known),
            at_once,
        );
        assert!(
            more.scopes().contains(&"admin".to_string()),
            "its password is checked: {:?}",
            more.scopes()
        );
        admitted_within(
            "a listed key and an old password",
            &here,
            &Who::v4().password("old").device(&listed),
            at_once,
        );
        admitted_within(
            "a code, same address",
            &here,
            &Who::v4().code(&setup).device(&Device::new()),
            at_once,
        );
        let list = gateway.plan.good(&["devices", "list"]);
        assert!(list.contains(&known.id[..8]), "the owner's own command line: {list}");
        let there = |last: u8| here.clone().from(&format!("127.0.0.{last}"));
        thread::scope(|scope| {
            scope.spawn(|| {
                drop(admitted_within(
                    "a new key, another address",
                    &there(2),
                    &right().device(&new),
                    longest_wait,
                ))
            });
            scope.spawn(|| {
                drop(admitted_within("no key, another address", &there(3), &right(), longest_wait))
            });
            // behind the same NAT, retrying as often as the attacker
            let begun = Instant::now();
            let admitted = || here.connect(&right().device(&behind)).is_ok();
            let tries = (1..).find(|_| admitted() || begun.elapsed() > 2 * patience());
            println!(
                "a new key, same address: admitted after {:?} and {tries:?} tries",
                begun.elapsed()
            );
            assert!(begun.elapsed() < 2 * patience(), "{:?}", begun.elapsed());
        });
    });
    admitted_within("a new key afterwards", &here, &right().device(&Device::new()), longest_wait());
    admin.call("health", json!({})).unwrap();
}

#[test]
fn password_attempts_of_a_paired_key_are_limited_across_addresses_and_credentials() {
    let gateway =
        Plan::with(json!({ "auth": { "mode": "password", "password": PASSWORD } })).start();
    let mut admin = gateway.connect(&Who::v4().password(PASSWORD)).unwrap();
    let mut limited = || code(&mut admin, "limited");
    // with a valid code that grants nothing new; the password in its own field or in the token
    // field
    for way in 0..4 {
        let device = Device::new();
        let who = Who::v4().scopes(&["read"]).device(&device);
        let token = gateway.connect(&who.clone().code(&limited())).unwrap().token();
        let code = limited();
        let with = |wrong: &str| match way {
            0 => json!({ "password": wrong }),
            1 => json!({ "token": wrong }),
            2 => json!({ "deviceToken": token, "token": wrong }),
            _ => json!({ "bootstrapToken": code, "password": wrong }),
        };
        // each from another address: its key admits it every time, and its passwords are no longer
        // checked after the limit
        for n in 0..2 * limits::RATE_LIMIT_TRIES {
            let from = gateway.dial().from(&format!("127.0.{}.{}", 1 + way, 1 + n));
            from.connect(&Who { auth: with(&format!("guess {n}")), ..who.clone() })
                .unwrap()
                .leave();
        }
        let greedy = Who { auth: with(PASSWORD), ..who.clone() }.scopes(&["read", "admin"]);
        let scopes = gateway.connect(&greedy).unwrap().scopes();
        assert!(
            !scopes.contains(&"admin".to_string()),
            "{way}: the right password is not checked after the limit: {scopes:?}"
        );
        let other = gateway.connect(&Who::v4().password(PASSWORD).device(&Device::new())).unwrap();
        assert_eq!(other.scopes(), ["admin"], "other clients are not delayed");
    }
}

#[test]
fn password_attempts_next_to_a_valid_code_are_rate_limited() {
    let gateway =
        Plan::with(json!({ "auth": { "mode": "password", "password": PASSWORD } })).start();
    let code = code(&mut gateway.connect(&Who::v4().password(PASSWORD)).unwrap(), "full");
    let checked = AtomicU64::new(0);
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while begun.elapsed() < at_most(Duration::from_secs(4)) {
                    // without a device the code is not consumed
                    let both = Who {
                        auth: json!({ "password": "guess", "bootstrapToken": code }),
                        ..Who::v4()
                    };
                    let refused = gateway.connect(&both).unwrap_err();
                    checked.fetch_add(
                        u64::from(refused.code() != "TOO_MANY_ATTEMPTS"),
                        Ordering::Relaxed,
                    );
                }
            });
        }
    });
    let spent = u64::try_from(begun.elapsed().as_millis()).unwrap();
    let most = limits::ATTEMPTS_AT_ONCE
        + limits::ATTEMPTS_WAITING as u64
        + spent / limits::PASSWORD_EVERY_MS;
    let checked = checked.into_inner();
    assert!((1..=most).contains(&checked), "{checked} in {spent} ms, at most {most}");
}

#[test]
fn setup_code_attempts_have_a_fixed_rate_and_do_not_end_the_code() {
    let gateway = Gateway::new();
    let mut admin = gateway.admin();
    let [first, second] = [0, 1].map(|_| code(&mut admin, "full"));
    let known = Device::new();
    gateway.connect(&Who::v4().token(TOKEN).device(&known)).unwrap().leave();
    let alphabet = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
    let attempt = |n: u64| {
        let typed: String =
            (0..8).map(|at| alphabet[(n >> (5 * at)) as usize & 31] as char).collect();
        match n % 2 {
            0 => Who::v4().code(&typed).device(&Device::new()),
            _ => Who::v3().token(&typed),
        }
    };
    let here = gateway.dial();
    let rate = ("AUTH_BOOTSTRAP_TOKEN_INVALID", limits::CODE_EVERY_MS);
    during_attempts(&here, attempt, rate, || {
        let at_once = at_most(Duration::from_secs(5));
        admitted_within(
            "the token and a new key",
            &here,
            &Who::v4().token(TOKEN).device(&Device::new()),
            at_once,
        );
        admitted_within(
            "a known key and a used code",
            &here,
            &Who::v4().code("ABCD2345").device(&known),
            at_once,
        );
        let there = here.clone().from("127.0.0.2");
        admitted_within(
            "the code, another address",
            &there,
            &Who::v4().code(&first).device(&Device::new()),
            longest_wait(),
        );
    });
    admitted_within(
        "the code afterwards",
        &here,
        &Who::v4().code(&second).device(&Device::new()),
        longest_wait(),
    );
}

#[test]
fn one_setup_code_admits_one_of_a_hundred_concurrent_clients() {
    for pairing in ["token", "strict"] {
        let gateway = Plan::with(json!({
            "auth": { "mode": "token", "token": TOKEN }, "pairing": { "mode": pairing },
        }))
        .start();
        let mut admin = gateway.admin();
        let code = code(&mut admin, "full");
        let (dial, start) = (gateway.dial(), Barrier::new(100));
        let admitted = AtomicU64::new(0);
        thread::scope(|scope| {
            for n in 0..100 {
                let (dial, code, start, admitted) = (&dial, &code, &start, &admitted);
                scope.spawn(move || {
                    // a page, an old program, a node: all with the same code, typed as people do
                    let device = Device::new();
                    let who = match n % 3 {
                        0 => Who::v4().code(code),
                        1 => Who::v3().token(&code.to_lowercase()),
                        _ => Who::v4().code(&format!("{}-{}", &code[..4], &code[4..])),
                    };
                    let mut socket = dial.open();
                    let params = who.device(&device).params(&socket.challenge());
                    start.wait();
                    match socket.connect(params) {
                        Ok(session) => {
                            assert!(!session.token().is_empty());
                            admitted.fetch_add(1, Ordering::Relaxed);
                        }
                        // the queue of attempts may be full: a race of a hundred counts as one
                        Err(refused) => assert!(
                            ["AUTH_BOOTSTRAP_TOKEN_INVALID", "TOO_MANY_ATTEMPTS"]
                                .contains(&refused.code()),
                            "{refused:?}"
                        ),
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 1, "{pairing}");
        let list = admin.call("device.pair.list", json!({})).unwrap();
        assert_eq!(list["paired"].as_array().unwrap().len(), 1, "{pairing}: {list}");
        assert_eq!(list["pending"].as_array().unwrap().len(), 0, "{pairing}: {list}");
        drop(admin);
        let gateway = gateway.kill().start();
        let list = gateway.admin().call("device.pair.list", json!({})).unwrap();
        assert_eq!(
            list["paired"].as_array().unwrap().len(),
            1,
            "{pairing}, after a power cut: {list}"
        );
    }
}
