//! `GET /metrics`: a strict parser of the text format, counters compared with real events, access
//! rights, and the Grafana dashboard compared with the served metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use serde_json::{json, Value};
use support::client::{Device, Dial, Session, Sign, Who};
use support::gateway::{Gateway, Plan, TOKEN};
use support::runner::{patience, wait_for};

use crate::nodes::invoke::{answer, approve, invoke, node, operator};
use crate::nodes::load::{narrow, nothing_waits, KIB};

/// Result of one scrape: every value by `name{labels}` as written, and the type of every metric.
pub(super) struct Scrape {
    values: BTreeMap<String, f64>,
    kinds: BTreeMap<String, String>,
}

impl Scrape {
    pub(super) fn of(gateway: &Gateway) -> Scrape {
        Scrape::read(body(&gateway.dial().get("/metrics"), 200))
    }

    /// Parses text format 0.0.4 without its optional freedoms: each metric once, with HELP, TYPE
    /// and its values in a row, nothing else.
    fn read(text: &str) -> Scrape {
        let (mut values, mut kinds) = (BTreeMap::new(), BTreeMap::new());
        let (mut open, mut help) = (String::new(), String::new());
        assert!(text.ends_with('\n') && !text.contains('\r') && text.is_ascii());
        for line in text.lines() {
            if let Some(about) = line.strip_prefix("# HELP ") {
                let (name, words) = about.split_once(' ').unwrap();
                assert!(!words.is_empty() && !words.contains('\\'), "{line}");
                help = name.to_string();
            } else if let Some(about) = line.strip_prefix("# TYPE ") {
                let (name, kind) = about.split_once(' ').unwrap();
                assert_eq!(name, help, "HELP stands before TYPE");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(
                    kinds.insert(name.to_string(), kind.to_string()).is_none(),
                    "twice: {line}"
                );
                open = name.to_string();
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let name = series.split('{').next().unwrap();
                let ends: &[&str] = if kinds[&open] == "histogram" {
                    &["_bucket", "_sum", "_count"]
                } else {
                    &[""]
                };
                assert!(
                    ends.iter().any(|end| name == [&open, *end].concat()),
                    "{line} below {open}"
                );
                assert!(
                    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                    "{line}"
                );
                if let Some(labels) = series.strip_prefix(name).filter(|labels| !labels.is_empty())
                {
                    let inside =
                        labels.strip_prefix('{').and_then(|rest| rest.strip_suffix("\"}")).unwrap();
                    let (label, word) = inside.split_once("=\"").unwrap();
                    assert!(label.bytes().all(|byte| byte.is_ascii_lowercase()), "{line}");
                    assert!(!word.is_empty() && !word.contains(['"', '\\']), "{line}");
                }
                let value: f64 = value.parse().unwrap();
                assert!(value.is_finite() && value >= 0.0, "{line}");
                assert!(values.insert(series.to_string(), value).is_none(), "twice: {line}");
            }
        }
        let empty = kinds
            .keys()
            .find(|name| !values.keys().any(|series| series.starts_with(name.as_str())));
        assert_eq!(empty, None, "every metric has a value");
        let scrape = Scrape { values, kinds };
        scrape.histograms_add_up(text);
        scrape
    }

    fn histograms_add_up(&self, text: &str) {
        for name in self.kinds.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name)
        {
            let start = format!("{name}_bucket{{le=\"");
            let buckets: Vec<(f64, f64)> = text
                .lines()
                .filter_map(|line| line.strip_prefix(&start)?.split_once("\"} "))
                .map(|(bound, count)| (bound.parse().unwrap(), count.parse().unwrap()))
                .collect();
            assert!(
                buckets.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1),
                "{buckets:?}"
            );
            assert_eq!(
                *buckets.last().unwrap(),
                (f64::INFINITY, self.get(&format!("{name}_count")))
            );
            assert!(self.values.contains_key(&format!("{name}_sum")));
        }
    }

    fn get(&self, series: &str) -> f64 {
        *self
            .values
            .get(series)
            .unwrap_or_else(|| panic!("no {series} in {:?}", self.values.keys()))
    }

    fn of_label(&self, name: &str, label: &str, word: &str) -> f64 {
        self.get(&format!("{name}{{{label}=\"{word}\"}}"))
    }

    /// Returns the value of a series, if it exists.
    pub(super) fn find(&self, name: &str, label: &str, word: &str) -> Option<f64> {
        self.values.get(&format!("{name}{{{label}=\"{word}\"}}")).copied()
    }

    fn sum(&self, name: &str) -> f64 {
        let start = [name, "{"].concat();
        self.values
            .iter()
            .filter(|(series, _)| series.starts_with(&start))
            .map(|(_, value)| value)
            .sum()
    }

    fn results(&self) -> BTreeMap<&str, f64> {
        let start = "gatelet_invokes_total{result=\"";
        let ended =
            self.values.iter().filter_map(|(series, n)| Some((series.strip_prefix(start)?, *n)));
        ended.filter(|(_, n)| *n > 0.0).map(|(word, n)| (word.trim_end_matches("\"}"), n)).collect()
    }
}

/// Returns the body of a response with this status.
fn body(answer: &str, status: u16) -> &str {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1
}

/// Scrapes until the condition holds.
fn until(gateway: &Gateway, what: impl Fn(&Scrape) -> bool) -> Scrape {
    let why = || format!("{:?}", Scrape::of(gateway).values);
    wait_for(patience(), || Some(Scrape::of(gateway)).filter(&what), why)
}

#[test]
fn counters_match_the_log_for_each_rule() {
    let gateway = Gateway::new();
    let fresh = Scrape::of(&gateway);
    for name in
        ["gatelet_admissions_total", "gatelet_refusals_total", "gatelet_refusals_by_code_total"]
    {
        assert_eq!(fresh.sum(name), 0.0, "{name} is present and starts at zero");
    }
    assert_eq!(fresh.of_label("gatelet_build_info", "version", env!("CARGO_PKG_VERSION")), 1.0);
    let device = Device::new();
    let mut admin = gateway.admin();
    gateway.connect(&Who::v4().token(TOKEN).device(&device)).unwrap().leave();
    let known = gateway.connect(&Who::v3().token(TOKEN).device(&device)).unwrap();
    let shed = node(&gateway, 4, &Device::new());
    let refused = [
        Who::v4().token("wrong").device(&Device::new()),
        Who::v3().token("wrong"),
        Who::v4().device(&Device::new()),
        Who::v4().token(TOKEN).device(&Device::new()).sign(Sign::Stolen),
        Who::v4().token(TOKEN).patch(json!({ "role": "spectator" })),
        Who::v4().patch(json!({ "client": null })),
        Who::v4().token(TOKEN).patch(json!({ "minProtocol": 9, "maxProtocol": 9 })),
    ];
    let codes: Vec<String> =
        refused.iter().map(|who| gateway.connect(who).err().unwrap().code().to_string()).collect();
    gateway.logged(&["code=PROTOCOL_MISMATCH"]);
    let log = gateway.log();
    let lines = |parts: [&str; 2]| {
        log.lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    };
    let scrape = until(&gateway, |scrape| {
        scrape.of_label("gatelet_connections", "state", "unauthenticated") == 0.0
    });
    for rule in gatelet::gate::refusal::Rule::ALL.map(|rule| rule.title()) {
        let named = format!("rule=\"{rule}\"");
        for (word, name) in
            [(" admit ", "gatelet_admissions_total"), (" refuse ", "gatelet_refusals_total")]
        {
            assert_eq!(
                scrape.of_label(name, "rule", rule),
                lines([word, &named]) as f64,
                "{word}{rule}"
            );
        }
    }
    for code in &codes {
        let expected = codes.iter().filter(|one| *one == code).count() as f64;
        assert_eq!(scrape.of_label("gatelet_refusals_by_code_total", "code", code), expected);
    }
    assert_eq!(scrape.sum("gatelet_admissions_total"), 4.0);
    // commands of this machine have a label of their own, and no line in the log
    let before = gateway.log().matches(" admit ").count();
    gateway.plan.good(&["status"]);
    gateway.plan.good(&["devices", "list"]);
    let after = Scrape::of(&gateway);
    let commands = after.of_label("gatelet_admissions_total", "rule", "gatelet command");
    assert_eq!((commands, after.sum("gatelet_admissions_total")), (2.0, 6.0));
    assert_eq!(gateway.log().matches(" admit ").count(), before);
    assert_eq!(scrape.sum("gatelet_refusals_total"), refused.len() as f64);
    assert_eq!(scrape.sum("gatelet_refusals_by_code_total"), refused.len() as f64);
    // consistent with gatelet.status and the list of devices
    let status = admin.status();
    for (name, field) in [("gatelet_table_devices", "used"), ("gatelet_table_capacity", "capacity")]
    {
        assert_eq!(json!(scrape.get(name) as u64), status["table"][field]);
    }
    for (state, field) in [("operator", "operators"), ("node", "nodes")] {
        assert_eq!(
            json!(scrape.of_label("gatelet_connections", "state", state) as u64),
            status[field]
        );
    }
    let budgets = status["budgets"].as_array().unwrap();
    for budget in budgets {
        let kind = budget["kind"].as_str().unwrap();
        let of = |what: &str| scrape.of_label(&format!("gatelet_budget_{what}"), "kind", kind);
        assert_eq!(json!(of("limit") as u64), budget["limit"]);
        assert!(of("used") <= of("peak") && of("peak") <= of("limit"), "{budget}");
    }
    let connected = status["operators"].as_u64().unwrap() + status["nodes"].as_u64().unwrap();
    assert_eq!(
        (&budgets[0]["kind"], &budgets[0]["used"]),
        (&json!("connections"), &json!(connected))
    );
    assert_eq!((scrape.get("gatelet_nodes"), scrape.get("gatelet_ready")), (1.0, 1.0));
    let list =
        admin.call("device.pair.list", json!({})).unwrap()["pending"].as_array().unwrap().len();
    let nodes =
        admin.call("node.pair.list", json!({})).unwrap()["pending"].as_array().unwrap().len();
    assert!(list + nodes > 0);
    assert_eq!(scrape.get("gatelet_pending_requests"), (list + nodes) as f64);
    assert!(scrape
        .values
        .get("process_resident_memory_bytes")
        .is_none_or(|bytes| *bytes > 100_000.0));
    known.leave();
    shed.leave();
    let left = until(&gateway, |scrape| scrape.sum("gatelet_connections") == 1.0);
    assert_eq!((left.get("gatelet_nodes"), left.sum("gatelet_admissions_total")), (0.0, 6.0));
}

#[test]
fn every_invoke_result_is_counted_once_with_a_duration_histogram() {
    let gateway = Gateway::new();
    let device = Device::new();
    let mut shed = node(&gateway, 4, &device);
    approve(&gateway, &device);
    let mut admin = gateway.admin();
    let mut caller = operator(&gateway, 4, &["write"]);
    let which = || invoke(&device, "system.which", json!({}));
    let call = caller.start("node.invoke", which());
    until(&gateway, |scrape| scrape.get("gatelet_invokes_waiting") == 1.0);
    // a lower bound of the measured time, on any machine
    thread::sleep(Duration::from_millis(30));
    answer(&mut shed, &device, "{}");
    caller.answer(&call).unwrap();
    let scrape = Scrape::of(&gateway);
    assert_eq!(scrape.results(), BTreeMap::from([("ok", 1.0)]));
    let took = "gatelet_invoke_duration_seconds";
    assert_eq!(scrape.get(&format!("{took}_count")), 1.0);
    let seconds = scrape.get(&format!("{took}_sum"));
    assert!((0.03..600.0).contains(&seconds), "{seconds}");
    for (bound, seconds_of) in [("0.025", 0.025), ("0.1", 0.1), ("30", 30.0)] {
        let within = scrape.of_label(&format!("{took}_bucket"), "le", bound);
        assert_eq!(within == 1.0, seconds <= seconds_of, "{bound}: {within}, took {seconds}");
    }

    let call = caller.start("node.invoke", which());
    let asked = shed.event("node.invoke.request");
    let failed = json!({ "id": asked["id"], "nodeId": device.id, "ok": false, "error": { "code": "NO", "message": "no" } });
    shed.call("node.invoke.result", failed).unwrap();
    caller.answer(&call).unwrap_err();
    caller.call("node.invoke", invoke(&device, "camera.snap", json!({}))).unwrap_err();
    caller.call("node.invoke", invoke(&Device::new(), "system.which", json!({}))).unwrap_err();
    let mut short = which();
    short["timeoutMs"] = json!(20);
    caller.call("node.invoke", short).unwrap_err();
    let leaving = operator(&gateway, 4, &["write"]);
    abandon(leaving, which());
    nothing_waits(&mut admin);
    let call = caller.start("node.invoke", which());
    until(&gateway, |scrape| scrape.get("gatelet_invokes_waiting") == 1.0);
    shed.leave();
    caller.answer(&call).unwrap_err();
    let scrape = Scrape::of(&gateway);
    let expected = [
        ("ok", 1.0),
        ("error", 1.0),
        ("refused", 2.0),
        ("timeout", 1.0),
        ("abandoned", 1.0),
        ("disconnected", 1.0),
    ];
    assert_eq!(scrape.results(), BTreeMap::from(expected));
    assert_eq!(
        (scrape.get(&format!("{took}_count")), scrape.get("gatelet_invokes_waiting")),
        (2.0, 0.0)
    );
}

/// Starts an invoke and disconnects.
fn abandon(mut caller: Session, params: Value) {
    caller.start("node.invoke", params);
    caller.call("health", json!({})).unwrap();
    caller.leave();
}

#[test]
fn slow_consumers_and_their_dropped_frames_are_counted() {
    let gateway = Gateway::new();
    let mut admin = gateway.admin();
    let devices = [Device::new(), Device::new()];
    let [mut shed, not_reading] = [0, 1].map(|at| node(&gateway, 4, &devices[at]));
    devices.iter().for_each(|device| approve(&gateway, device));
    narrow(&not_reading);
    let mut caller = operator(&gateway, 4, &["write"]);
    let large = || json!({ "text": "x".repeat((256 * KIB) as usize) });
    // 16 MiB for a node that does not read: some frames are dropped, and their callers get an error
    for _ in 0..64 {
        caller.start("node.invoke", invoke(&devices[1], "system.which", large()));
    }
    caller.call("health", json!({})).unwrap();
    let scrape = Scrape::of(&gateway);
    let busy = scrape.results()["busy"];
    assert!(busy >= 1.0 && busy + scrape.get("gatelet_invokes_waiting") == 64.0, "{busy}");
    // the node may have missed a tick too
    let dropped = scrape.get("gatelet_outbox_dropped_total");
    assert!((busy..busy + 5.0).contains(&dropped), "{dropped}, {busy}");
    not_reading.leave();
    let after = until(&gateway, |scrape| scrape.get("gatelet_nodes") == 1.0);
    assert!(
        after.get("gatelet_outbox_dropped_total") >= busy,
        "counters keep disconnected clients"
    );

    let mut mute = operator(&gateway, 4, &["write"]);
    narrow(&mute);
    (0..64).for_each(|_| {
        drop(mute.start("node.invoke", invoke(&devices[0], "system.which", json!({}))))
    });
    // all requests must be read first: the gateway stops reading a client that does not drain its
    // responses
    until(&gateway, |scrape| scrape.get("gatelet_invokes_waiting") == 64.0);
    for _ in 0..64 {
        let asked = shed.event("node.invoke.request");
        let text = format!("\"{}\"", "x".repeat((512 * KIB) as usize));
        let result =
            json!({ "id": asked["id"], "nodeId": devices[0].id, "ok": true, "payloadJSON": text });
        shed.call("node.invoke.result", result).unwrap();
    }
    let slow = |scrape: &Scrape| {
        scrape.of_label("gatelet_connections_dropped_total", "reason", "slow consumer")
    };
    let scrape = until(&gateway, |scrape| slow(scrape) == 1.0);
    gateway.logged(&["is closed: slow consumer"]);
    assert_eq!(scrape.of_label("gatelet_connections_dropped_total", "reason", "no pong"), 0.0);
    drop(mute);
    nothing_waits(&mut admin);
    until(&gateway, |scrape| {
        slow(scrape) == 1.0 && scrape.of_label("gatelet_connections", "state", "operator") == 2.0
    });
}

#[test]
fn metrics_are_served_to_local_clients_and_with_the_secret() {
    let gateway = Gateway::new();
    let at = |host: &str| gateway.dial().host(host);
    let bearer = |dial: Dial, token: &str| dial.header("Authorization", &format!("Bearer {token}"));
    let own = gateway.address().to_string();
    let local = format!("localhost:{}", gateway.port);
    let open = [
        at(&own),
        at(&local),
        at("[::1]"),
        at(&own).header("Origin", &format!("http://{own}")),
        bearer(at("10.1.2.3:18789"), TOKEN),
        bearer(at(&own).header("X-Forwarded-For", "203.0.113.9"), TOKEN),
    ];
    let closed = [
        at("10.1.2.3:18789"),
        // a foreign name that resolves to this gateway
        at("rebound.example"),
        at(&own).header("Origin", "http://evil.example"),
        at(&own).header("Origin", "http://localhost:3000"),
        at(&own).header("Origin", "null"),
        at(&own).header("X-Forwarded-For", "127.0.0.1"),
        at(&own).header("Via", "1.1 proxy"),
        bearer(at("10.1.2.3:18789"), "wrong"),
        bearer(at("10.1.2.3:18789"), ""),
        at("10.1.2.3:18789").header("Authorization", &format!("Basic {TOKEN}")),
    ];
    for dial in &open {
        let answer = dial.get("/metrics");
        Scrape::read(body(&answer, 200));
        assert!(
            answer.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
            "{answer}"
        );
        assert!(
            answer.contains("\r\nCache-Control: no-store\r\n")
                && !answer.contains("Access-Control-"),
            "{answer}"
        );
    }
    for dial in &closed {
        let answer = dial.get("/metrics");
        let text = body(&answer, 401);
        assert!(answer.contains("\r\nWWW-Authenticate: Bearer\r\n"), "{answer}");
        assert!(
            text.contains("Authorization: Bearer TOKEN") && !text.contains("gatelet_"),
            "{text}"
        );
    }
    let head = gateway.dial().http(&format!("HEAD /metrics HTTP/1.1\r\nHost: {own}\r\n\r\n"));
    assert!(body(&head, 200).is_empty() && !head.contains("Content-Length: 0\r\n"), "{head}");
    body(&gateway.dial().http(&format!("POST /metrics HTTP/1.1\r\nHost: {own}\r\n\r\n")), 405);
}

#[test]
fn metrics_limit_wrong_passwords_and_are_local_only_with_auth_none() {
    let rate = json!({ "maxAttempts": 3, "windowMs": 60_000, "lockoutMs": 60_000 });
    let gateway = Plan::with(
        json!({ "auth": { "mode": "password", "password": "hunter2", "rateLimit": rate } }),
    )
    .start();
    let far = |password: &str| {
        let dial =
            gateway.dial().host("10.1.2.3").header("Authorization", &format!("Bearer {password}"));
        dial.get("/metrics")
    };
    body(&far("hunter2"), 200);
    (0..3).for_each(|_| _ = body(&far("hunter3"), 401));
    body(&far("hunter2"), 401);
    gateway
        .connect(&Who::v4().password("hunter2"))
        .expect("attempts over HTTP do not lock WebSocket clients");
    body(&gateway.dial().get("/metrics"), 200);
    drop(gateway);

    let gateway = Plan::with(json!({ "auth": { "mode": "none" } })).start();
    body(&gateway.dial().get("/metrics"), 200);
    body(
        &gateway.dial().host("10.1.2.3").header("Authorization", "Bearer anything").get("/metrics"),
        401,
    );
    body(&gateway.dial().header("X-Forwarded-For", "203.0.113.9").get("/metrics"), 401);
    body(&gateway.dial().header("Origin", "http://evil.example").get("/metrics"), 401);
}

#[test]
fn metrics_are_served_to_trusted_proxy_users() {
    let vouches =
        json!({ "userHeader": "X-Forwarded-User", "allowUsers": ["ann"], "allowLoopback": true });
    let auth = json!({ "mode": "trusted-proxy", "trustedProxy": vouches });
    let gateway = Plan::with(json!({ "trustedProxies": ["127.0.0.1"], "auth": auth })).start();
    let through = || gateway.dial().header("X-Forwarded-For", "203.0.113.9");
    let ann = || through().header("X-Forwarded-User", "ann");
    body(&ann().get("/metrics"), 200);
    body(&through().get("/metrics"), 401);
    body(&through().header("X-Forwarded-User", "eve").get("/metrics"), 401);
    body(&ann().header("Origin", "http://evil.example").get("/metrics"), 401);
}

#[test]
fn the_grafana_dashboard_shows_every_metric_and_no_other() {
    let served = Scrape::of(&Gateway::new());
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/targets/grafana/gatelet.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(
        (&dashboard["uid"], dashboard["schemaVersion"].as_u64().unwrap() >= 39),
        (&json!("gatelet"), true)
    );
    assert_eq!(dashboard["templating"]["list"][0]["type"], "datasource");
    let (mut used, mut ids, mut places) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert!(!panel["title"].as_str().unwrap().is_empty());
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|name| panel["gridPos"][name].as_u64().unwrap());
        assert!(w > 0 && h > 0 && x + w <= 24, "{panel}");
        places.push((x, y, w, h));
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(
            panel["datasource"],
            json!({ "type": "prometheus", "uid": "${datasource}" }),
            "{panel}"
        );
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"], panel["datasource"]);
            let words = target["expr"].as_str().unwrap();
            let names = words.split(|one: char| !(one.is_ascii_lowercase() || one == '_'));
            used.extend(
                names
                    .filter(|name| name.starts_with("gatelet_") || name.starts_with("process_"))
                    .map(str::to_string),
            );
        }
    }
    for (at, (x, y, w, h)) in places.iter().enumerate() {
        let over = |(a, b, c, d): &(u64, u64, u64, u64)| {
            x < &(a + c) && a < &(x + w) && y < &(b + d) && b < &(y + h)
        };
        assert!(!places[at + 1..].iter().any(over), "panels overlap");
    }
    let base = |name: &str| {
        ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .map(str::to_string)
    };
    let shown: BTreeSet<String> =
        used.into_iter().map(|name| base(&name).unwrap_or(name)).collect();
    assert_eq!(shown, served.kinds.keys().cloned().collect());
    let page = std::fs::read_to_string(file.replace("grafana/gatelet.json", "METRICS.md")).unwrap();
    let unnamed = shown.iter().find(|name| !page.contains(&format!("`{name}`")));
    assert_eq!(unnamed, None, "targets/METRICS.md lists every metric");
}
