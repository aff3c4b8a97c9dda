//! Admission matrix: address, Host and Origin, proxy headers, credential, device.
//!
//! `matrix.tsv` has one line and one verdict for each of the 1800 cells; `UPDATE=1` writes it from
//! [`verdict`]. A test checks every line over real sockets, in both protocols, from real addresses:
//! it runs itself again inside a network namespace whose loopback interface has all of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{json, Value};
use support::client::{Device, Dial, Session, Sign, Who};
use support::gateway::{code, in_a_namespace, Gateway, Plan, TOKEN};

use crate::owner::owner;

/// Address of the client; `mapped` is an IPv4 client of an IPv6 listener.
const PEERS: [&str; 5] = ["loopback", "172.18.0.1", "192.168.1.20", "100.64.1.2", "mapped"];
/// Kind of Host and Origin. `none` is a program without Origin; `foreign` is tested twice: a page
/// of another site, and a page of the gateway under a rebound name.
const HOSTS: [&str; 5] = ["loopback", "ip", "local", "foreign", "none"];
/// Proxy headers, and whether the peer that sends them is in `trustedProxies`.
const PROXIES: [&str; 3] = ["none", "trusted", "untrusted"];
/// Credential presented. `none` proves nothing: a device is named, and signed for with another key.
/// `key` is only the device's own signature; `device-token` is the token of the known device (for
/// the revoked one, its old token).
const CREDENTIALS: [&str; 6] = ["right", "wrong", "none", "device-token", "key", "code"];
/// State of the device in the table.
const DEVICES: [&str; 4] = ["none", "new", "known", "revoked"];

type Cell = [&'static str; 5];

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for peer in PEERS {
        for host in HOSTS {
            for proxy in PROXIES {
                for credential in CREDENTIALS {
                    cells.extend(DEVICES.map(|device| [peer, host, proxy, credential, device]));
                }
            }
        }
    }
    cells
}

/// Returns the verdict of a cell: `admit` with its rule, or the refusal's code with its rule. Peer
/// and proxy are never used: the address decides nothing.
fn verdict([_, host, _, credential, device]: Cell) -> &'static str {
    let page = host != "none";
    match (host, credential, device) {
        // 4: a page of another site, or under a foreign name, is rejected with any credential
        ("foreign", _, _) => "CONTROL_UI_ORIGIN_NOT_ALLOWED 4",

        // 7.8: the token alone admits a program; a page needs a device, and so does a client
        // without the secret
        (_, "right", "none") if !page => "admit 7.8",
        (_, "wrong", "none") => "AUTH_TOKEN_MISMATCH 6",
        (_, _, "none") if page => "CONTROL_UI_DEVICE_IDENTITY_REQUIRED 7.8",
        (_, _, "none") => "DEVICE_IDENTITY_REQUIRED 7.8",

        // 5: a device is proven by its signature, not by its name
        (_, "none", _) => "DEVICE_AUTH_SIGNATURE_INVALID 5",

        // 7.3, 7.4: a new device is paired by the token or by a code only
        (_, "right", "new") => "admit 7.3",
        (_, "code", "new") => "admit 7.4",
        (_, "wrong", "new") => "AUTH_TOKEN_MISMATCH 6",
        (_, "device-token", "new") => "AUTH_DEVICE_TOKEN_MISMATCH 6",
        (_, _, "new") => "AUTH_TOKEN_MISSING 6",

        // 7.1: a known device is admitted by its key, with any other credential
        (_, _, "known") => "admit 7.1",

        // 7.7: a revoked device is rejected with or without the token, until the owner restores it,
        // for example with a new code
        (_, "code", _) => "admit 7.4",
        (_, _, _) => "PAIRING_REQUIRED 7.7",
    }
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/handshake/matrix.tsv")
}

fn written() -> String {
    let mut text = String::from("peer\thost\tproxy\tcredential\tdevice\tverdict\trule\n");
    for cell in cells() {
        let (word, rule) = verdict(cell).split_once(' ').unwrap();
        text.push_str(&format!("{}\t{word}\t{rule}\n", cell.join("\t")));
    }
    text
}

/// Returns the lines of the file in the repository.
fn table() -> BTreeMap<Vec<String>, String> {
    let text =
        std::fs::read_to_string(file()).expect("tests/it/handshake/matrix.tsv; UPDATE=1 writes it");
    let lines =
        text.lines().skip(1).map(|line| line.split('\t').map(str::to_string).collect::<Vec<_>>());
    lines.map(|words| (words[..5].to_vec(), words[5..].join(" "))).collect()
}

#[test]
fn matrix_file_has_1800_lines_with_the_verdicts_of_the_rules() {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(file(), written()).unwrap();
    }
    assert_eq!(table().len(), 1800);
    assert_eq!(std::fs::read_to_string(file()).unwrap(), written(), "UPDATE=1 rewrites it");
}

#[test]
fn address_and_proxy_headers_do_not_matter_and_foreign_pages_are_rejected() {
    let table = table();
    let of = |cell: Cell| table[&cell.map(str::to_string).to_vec()].as_str();
    for cell @ [peer, host, proxy, credential, device] in cells() {
        let here = of(["loopback", host, "none", credential, device]);
        assert_eq!(of(cell), here, "{peer} and {proxy} change the verdict of {cell:?}");
        let admitted = of(cell).starts_with("admit");
        assert!(!(host == "foreign" && admitted), "{cell:?}");
        assert!(!(credential == "wrong" && device != "known" && admitted), "{cell:?}");
        assert!(!(credential == "none" && admitted), "{cell:?}");
        assert!(!(device == "revoked" && credential != "code" && admitted), "{cell:?}");
        if credential == "wrong" && device == "new" && host != "foreign" {
            assert_eq!(of(cell), "AUTH_TOKEN_MISMATCH 6", "{cell:?}");
        }
        if credential == "right" && device == "new" && host != "foreign" {
            assert_eq!(of(cell), "admit 7.3", "the case of the report: {cell:?}");
        }
    }
}

// --- the walk over real sockets ------------------------------------------------------------------

#[test]
fn every_matrix_cell_holds_over_real_sockets() {
    let name = "handshake::matrix::every_matrix_cell_holds_over_real_sockets";
    if !in_a_namespace(name, "walked 1800 cells") {
        return;
    }
    let table = table();
    let mut gateways: BTreeMap<(bool, bool), Target> = BTreeMap::new();
    let mut walked = 0;
    for cell in cells() {
        let key = (cell[0] == "mapped", cell[2] == "trusted");
        let target = gateways.entry(key).or_insert_with(|| Target::new(key.0, key.1));
        let wanted = &table[&cell.map(str::to_string).to_vec()];
        for protocol in [4, 3] {
            for host in dials(cell) {
                let got = target.walk(cell, &host, protocol);
                assert_eq!(&got, wanted, "{cell:?}, protocol {protocol}, {host:?}");
            }
        }
        walked += 1;
    }
    assert_eq!((walked, gateways.len()), (1800, 4));
    println!("walked {walked} cells");
}

/// Returns Host and Origin for a cell.
fn dials([_, host, ..]: Cell) -> Vec<(&'static str, Option<&'static str>)> {
    // the published port differs from the gateway's
    match host {
        "loopback" => vec![("127.0.0.1:8080", Some("http://127.0.0.1:8080"))],
        "ip" => vec![("192.168.1.5:8080", Some("http://192.168.1.5:8080"))],
        "local" => vec![("pi.local", Some("http://pi.local"))],
        "foreign" => {
            vec![
                ("127.0.0.1:8080", Some("https://evil.example")),
                ("evil.example:8080", Some("http://evil.example:8080")),
            ]
        }
        _ => vec![("127.0.0.1:8080", None)],
    }
}

/// One gateway, its administrator, and the two devices in its table.
struct Target {
    gateway: Gateway,
    admin: Session,
    known: (Device, String),
    revoked: (Device, String),
    code: Option<String>,
}

impl Target {
    fn new(mapped: bool, trusting: bool) -> Target {
        let mut config = if mapped {
            json!({ "bind": "custom", "customBindHost": "::" })
        } else {
            json!({ "bind": "lan" })
        };
        if trusting {
            config["trustedProxies"] =
                json!(["127.0.0.1", "172.18.0.0/16", "192.168.1.20", "100.64.0.0/10"]);
        }
        let gateway = Plan::with(config).talkative().start();
        let mut admin = owner(&gateway);
        let join = |name: &str| {
            let device = Device::new();
            let session =
                gateway.connect(&Who::v4().token(TOKEN).device(&device).name(name)).unwrap();
            (device, session.token())
        };
        let (known, revoked) = (join("known"), join("revoked"));
        admin
            .call("device.token.revoke", json!({ "deviceId": revoked.0.id, "role": "operator" }))
            .unwrap();
        Target { gateway, admin, known, revoked, code: None }
    }

    /// Returns the verdict of one cell and restores the previous state.
    fn walk(&mut self, cell: Cell, host: &(&str, Option<&str>), protocol: u32) -> String {
        let [peer, _, proxy, credential, state] = cell;
        let fresh = Device::new();
        let device = match state {
            "none" => None,
            "new" => Some(&fresh),
            "known" => Some(&self.known.0),
            _ => Some(&self.revoked.0),
        };
        let mut who = Who { device: device.cloned(), ..Who::of(protocol) };
        if host.1.is_some() {
            who = who.page();
        }
        who.auth = match credential {
            "right" => json!({ "token": TOKEN }),
            "wrong" => json!({ "token": "the-token-of-some-other-gateway-altogether" }),
            "device-token" if state == "revoked" => json!({ "deviceToken": self.revoked.1 }),
            "device-token" => json!({ "deviceToken": self.known.1 }),
            "code" => json!({ "bootstrapToken": self.code() }),
            _ => Value::Null,
        };
        if credential == "none" {
            who.sign = Sign::Stolen;
        }
        let verdict = match self.dial(peer, proxy, host).connect(&who) {
            Ok(session) => self.admitted(cell, session),
            Err(refused) => {
                self.check_refusal(cell);
                format!("{} {}", refused.code(), refused.rule())
            }
        };
        self.tidy_up(&verdict, &fresh, state);
        verdict
    }

    fn dial(&self, peer: &str, proxy: &str, (host, origin): &(&str, Option<&str>)) -> Dial {
        let (from, to) = match peer {
            "172.18.0.1" | "mapped" => ("172.18.0.1", "172.18.0.2"),
            "192.168.1.20" => ("192.168.1.20", "192.168.1.5"),
            "100.64.1.2" => ("100.64.1.2", "100.64.1.1"),
            _ => ("127.0.0.1", "127.0.0.1"),
        };
        let mut dial =
            Dial::to((to.parse::<std::net::IpAddr>().unwrap(), self.gateway.port).into())
                .from(from)
                .host(host);
        dial.origin = origin.map(str::to_string);
        if proxy == "none" {
            return dial;
        }
        dial.header("X-Forwarded-For", "203.0.113.7")
    }

    /// Returns the rule of an admission from the log, and checks the address logged for the client.
    fn admitted(&mut self, cell: Cell, session: Session) -> String {
        let line = self.gateway.logged(&[" admit ", &format!("conn={} ", session.conn())]);
        let (peer, client, via) = seen(cell);
        for part in [format!("peer={peer} "), format!("client={client} "), format!("via={via} ")] {
            assert!(line.contains(&part), "{part}is not in: {line}");
        }
        let rule = line.split("rule=\"").nth(1).unwrap().split(' ').next().unwrap();
        session.leave();
        format!("admit {rule}")
    }

    fn check_refusal(&mut self, cell: Cell) {
        let refusals = self.admin.call("gatelet.refusals", json!({ "limit": 1 })).unwrap();
        let last = &refusals["refusals"][0];
        let said = ["peer", "client", "via"].map(|field| last[field].as_str().unwrap().to_string());
        assert_eq!(said, <[String; 3]>::from(seen(cell)), "{cell:?}: {last}");
    }

    fn code(&mut self) -> String {
        if self.code.is_none() {
            self.code = Some(code(&mut self.admin, "full"));
        }
        self.code.clone().unwrap()
    }

    fn tidy_up(&mut self, verdict: &str, fresh: &Device, state: &str) {
        if verdict == "admit 7.4" {
            self.code = None;
        }
        match (verdict, state) {
            ("admit 7.3" | "admit 7.4", "new") => {
                self.admin.call("device.pair.remove", json!({ "deviceId": fresh.id })).unwrap();
            }
            ("admit 7.4", "revoked") => {
                let revoke = json!({ "deviceId": self.revoked.0.id, "role": "operator" });
                self.admin.call("device.token.revoke", revoke).unwrap();
            }
            _ => {}
        }
        self.admin.forget();
    }
}

/// Returns peer, client and route as the gateway must see them: IPv4-mapped addresses folded, proxy
/// headers used only from a trusted proxy.
fn seen([peer, _, proxy, ..]: Cell) -> (String, String, String) {
    let peer = match peer {
        "loopback" => "127.0.0.1",
        "mapped" => "172.18.0.1",
        other => other,
    };
    let (client, via) = match (proxy, peer) {
        ("trusted", _) => ("203.0.113.7", "proxy"),
        ("untrusted", _) => (peer, "untrusted-proxy"),
        (_, "127.0.0.1") => (peer, "local"),
        _ => (peer, "direct"),
    };
    (peer.into(), client.into(), via.into())
}
