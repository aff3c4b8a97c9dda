//! Events of a world: clients that connect, call, answer and disconnect without a close; time;
//! faults. All drawn from the seed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ed25519_dalek::Signer;
use gatelet::config::AuthMode;
use gatelet::gate::limits;
use serde_json::{json, Value};
use support::once_in;

use crate::model::{self, Ask, Page, Proof, Truth, Who};
use crate::world::{base64, keys, Sent, Signed, Stage, World, COMMANDS, SCOPES};

/// Devices that reconnect often; the other keys of the pool connect in crowds.
const REGULARS: usize = 10;
const CONNS: usize = 14;
/// First of the sixty proof styles whose signature time is out of range.
const EDGES_FROM: usize = 57;
const DAY: u64 = 24 * 3_600_000;

/// Route of a client: peer, Host, further headers, and how the gateway must classify it.
struct Way {
    peer: &'static str,
    host: &'static str,
    more: &'static str,
    from: Page,
    local: bool,
    cidr: bool,
    identity: bool,
}

const LOCAL: Way = Way {
    peer: "127.0.0.1",
    host: "127.0.0.1:18789",
    more: "",
    from: Page::None,
    local: true,
    cidr: false,
    identity: false,
};
const FAR: Way = Way { peer: "10.2.0.7", host: "10.2.0.1:18789", local: false, ..LOCAL };
/// Through a trusted proxy that vouches for its user.
const VOUCHED: Way = Way {
    peer: "10.9.0.1",
    more: "X-Forwarded-For: 10.2.0.9\r\nX-User: ann\r\n",
    identity: true,
    ..FAR
};
const WAYS: [Way; 9] = [
    LOCAL,
    FAR,
    Way { peer: "10.1.0.5", host: "10.1.0.1:18789", cidr: true, ..FAR },
    Way { more: "Origin: http://127.0.0.1:18789\r\n", from: Page::Own, ..LOCAL },
    Way { more: "Origin: http://evil.example\r\n", from: Page::Foreign, ..LOCAL },
    Way {
        host: "evil.example",
        more: "Origin: http://evil.example\r\n",
        from: Page::Foreign,
        ..FAR
    },
    Way { more: "Origin: http://10.2.0.1:18789\r\n", from: Page::Own, ..FAR },
    VOUCHED,
    // an untrusted proxy that sends the same headers
    Way { more: "X-Forwarded-For: 10.1.0.9\r\nX-User: ann\r\n", local: false, ..LOCAL },
];

impl World {
    fn below(&mut self, end: usize) -> usize {
        self.random.usize(..end)
    }

    fn once_in(&mut self, times: usize) -> bool {
        once_in(&mut self.random, times)
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() {
            return None;
        }
        let at = self.below(from.len());
        Some(from[at].clone())
    }

    /// Performs one event.
    pub fn step(&mut self) {
        if self.disk_is_due() && !self.once_in(4) {
            self.run_disk();
        }
        self.tick();
        let cuts = self.weather.cuts;
        if self.once_in(cuts) {
            match self.below(5) {
                0 => self.kill(),
                1 => self.stop(),
                _ => self.power_cut(),
            }
            return;
        }
        match self.below(100) {
            0..5 => self.come(),
            5..48 => self.turns(),
            48..60 => self.read_some(),
            60..82 => self.call(),
            82..92 => self.pass(),
            92 => self.vanish(),
            94 if self.once_in(3) => self.deafen(),
            95 => self.noise(),
            96 => self.answer_oddly(),
            97 => self.look(),
            98 if self.once_in(40) => self.crowd(),
            99 if self.once_in(8) && self.model.rules.auth == AuthMode::Password => {
                self.try_passwords()
            }
            _ => self.turns(),
        }
    }

    /// Polls some connections.
    fn turns(&mut self) {
        for _ in 0..3 {
            if let Some(id) = self.pick(&self.ids()) {
                self.poll(id);
                if self.once_in(2) {
                    self.poll(id);
                }
            }
        }
    }

    fn pass(&mut self) {
        let ms = match self.below(40) {
            0..22 => self.below(60) as u64,
            22..30 => self.below(5_000) as u64,
            30 | 31 => self.below(40_000) as u64,
            33 | 34 if self.disk_is_busy() => self.disk_due().saturating_sub(self.at),
            35 | 36 => self.deadline().saturating_sub(self.at),
            37 if self.once_in(8) => 3_600_000 + self.below(7_200_000) as u64,
            38 if self.once_in(20) => 31 * 24 * 3_600_000,
            39 => {
                self.set_wall();
                0
            }
            _ => 1,
        };
        self.later_by(ms);
    }

    fn later_by(&mut self, ms: u64) {
        self.at += ms;
        self.true_wall += ms;
        // a suspended machine: the wall clock advances, the monotonic clock does not
        let asleep = if self.once_in(50) { 8 * 3_600_000 } else { 0 };
        self.true_wall += asleep;
        self.wall = self.wall.saturating_add(ms + asleep);
    }

    /// Sets the clock, or resets it as on a machine without a battery.
    fn set_wall(&mut self) {
        let year = 365 * 24 * 3_600_000u64;
        self.wall = match self.below(5) {
            0 => 0,
            1 => self.below(100_000) as u64,
            2 => self.wall.saturating_sub(self.below(10) as u64 * year),
            3 => self.wall.saturating_add(self.below(100) as u64 * year),
            _ => self.true_wall,
        };
        self.note("clock set");
    }

    // --- connect and disconnect ------------------------------------------------------------------

    fn come(&mut self) {
        if self.conns.len() >= CONNS {
            return self.vanish();
        }
        let at = self.below(WAYS.len() + 24);
        let way = &WAYS[if at < WAYS.len() { at } else { at % 3 }];
        let way = match (self.model.rules.auth, self.once_in(3)) {
            (AuthMode::TrustedProxy, false) => &VOUCHED,
            (AuthMode::None, false) => &LOCAL,
            _ => way,
        };
        let who = if self.once_in(8) { None } else { Some(self.below(REGULARS)) };
        self.come_by(way, who);
    }

    fn come_by(&mut self, way: &Way, who: Option<Who>) -> u64 {
        let head = format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n",
            way.host, way.more
        );
        let id = self.open(&head, way.peer.parse::<IpAddr>().unwrap());
        let sent = match self.below(40) {
            0 => Some(Sent::Noise(self.garbage())),
            1 => None,
            2 => self.replay(way),
            _ => Some(self.connect_of(id, way, who)),
        };
        let conn = self.conns.get_mut(&id).unwrap();
        conn.inbox.extend(sent);
        if self.once_in(20) {
            self.conns.get_mut(&id).unwrap().gone = true;
        }
        id
    }

    /// Replays a captured `connect` of another client.
    fn replay(&mut self, way: &Way) -> Option<Sent> {
        let captured: Vec<_> =
            self.conns.values().filter_map(|conn| conn.overheard.clone()).collect();
        let (bytes, truth, signed) = self.pick(&captured)?;
        if truth.who.is_none() || !String::from_utf8_lossy(&bytes).contains("\"nonce\"") {
            return None;
        }
        self.note("replayed");
        let proof = Proof::Invalid;
        let truth = Truth { proof, ..on_way(truth, way) };
        Some(Sent::Connect { bytes, truth: Box::new(truth), signed })
    }

    fn connect_of(&mut self, id: u64, way: &Way, who: Option<Who>) -> Sent {
        let protocol = [(4, 4), (3, 3), (3, 4), (4, 9), (1, 3), (5, 6)];
        let range =
            protocol[[0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 4, 5][self.below(18)]];
        let v4 = match range {
            (low, high) if low <= 4 && 4 <= high => Some(true),
            (_, 3) => Some(false),
            _ => None,
        };
        let role = if who.is_some_and(|who| who % 2 == 1) && !self.once_in(6) {
            1
        } else {
            self.below(8) / 7
        };
        let scopes = self.some_scopes();
        let (client, mode) = match role {
            model::NODE => ("node-host", "node"),
            _ => [("cli", "cli"), ("gateway-client", "ui"), ("openclaw-control-ui", "webchat")]
                [self.below(3)],
        };
        let mut commands = BTreeSet::new();
        if role == model::NODE {
            let some = if self.once_in(2) { 7 } else { self.below(8) };
            commands.extend(
                COMMANDS
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| some & 1 << at != 0)
                    .map(|(_, name)| name.to_string()),
            );
        }
        let mut truth = Truth {
            v4,
            role: Some(role),
            who,
            scopes: if role == model::NODE { 0 } else { scopes },
            control_ui: client == "openclaw-control-ui",
            commands,
            client,
            ..Truth::default()
        };
        truth = on_way(truth, way);
        self.choose_secrets(&mut truth);
        let names: Vec<String> = (0..10)
            .filter(|bit| truth.scopes & 1 << bit != 0)
            .map(|bit| format!("operator.{}", SCOPES[bit]))
            .collect();
        let mut auth = serde_json::Map::new();
        let fields = [
            ("token", &truth.token),
            ("password", &truth.password),
            ("deviceToken", &truth.device_token),
            ("bootstrapToken", &truth.code),
        ];
        for (name, text) in fields {
            if let Some(text) = text {
                auth.insert(name.into(), text.as_str().into());
            }
        }
        let odd_role = self.once_in(40);
        if odd_role {
            truth.role = None;
        }
        let role_name = if odd_role { "wizard" } else { ["operator", "node"][role] };
        let mut params = json!({
            "minProtocol": range.0, "maxProtocol": range.1, "role": role_name, "scopes": names,
            "client": { "id": client, "version": "1.0", "platform": "linux", "mode": mode, "displayName": format!("d{who:?}") },
            "caps": [], "commands": truth.commands, "auth": auth,
        });
        let mut signed = Signed { real: self.once_in(16), right: true, at: self.true_wall };
        if let Some(who) = who {
            params["device"] = self.claim(
                id,
                who,
                &mut truth,
                &mut signed,
                (client, mode, role_name, &names.join(",")),
            );
        }
        let bytes = json!({ "type": "req", "id": "hello", "method": "connect", "params": params })
            .to_string();
        Sent::Connect { bytes: bytes.into_bytes(), truth: Box::new(truth), signed }
    }

    /// Makes the device's proof, or an invalid one. The time it names must not matter.
    fn claim(
        &mut self,
        id: u64,
        who: Who,
        truth: &mut Truth,
        signed: &mut Signed,
        (client, mode, role, scopes): (&str, &str, &str, &str),
    ) -> Value {
        let style = self.below(60);
        let own = self.conns[&id].nonce.to_string();
        let nonce = if style == 0 { "ab".repeat(16) } else { own };
        let first = truth.token.as_deref();
        let token = match truth.v4 {
            Some(false) => first,
            _ => first.or(truth.device_token.as_deref()).or(truth.code.as_deref()),
        };
        let key = &keys()[who];
        if style >= EDGES_FROM {
            signed.at = [1 << 63, (1 << 63) + self.true_wall, u64::MAX][style - EDGES_FROM];
        }
        let fields =
            [&key.id, client, mode, role, scopes, &signed.at.to_string(), token.unwrap_or("")]
                .join("|");
        let payload = match style {
            1 => format!("v1|{fields}"),
            _ if self.once_in(2) => format!("v2|{fields}|{nonce}"),
            _ => format!("v3|{fields}|{nonce}|linux|"),
        };
        let signer = if style == 2 { &keys()[(who + 1) % REGULARS] } else { key };
        let signature = match signed.real {
            true => base64(&signer.pair.sign(payload.as_bytes()).to_bytes()),
            false => base64(&[0; 64]),
        };
        signed.right = style != 2;
        truth.alone = (style == 1).then_some(signed.at);
        truth.proof = match style {
            0 | 2 | 3 => Proof::Invalid,
            1 if !truth.local => Proof::Invalid,
            _ => Proof::Valid,
        };
        let claimed =
            if style == 3 { keys()[(who + 1) % REGULARS].id.as_str() } else { key.id.as_str() };
        let mut claim = json!({
            "id": claimed, "publicKey": key.public, "signature": signature, "signedAt": signed.at, "nonce": nonce,
        });
        if style == 1 {
            claim.as_object_mut().unwrap().remove("nonce");
        }
        claim
    }

    fn choose_secrets(&mut self, truth: &mut Truth) {
        if self.typed.is_some() {
            truth.password = self.typed.clone();
            return;
        }
        let rules = self.model.rules.clone();
        let right = match self.below(24) {
            0 => "wrong".to_string(),
            1 => "correct-horse-battery-staple-1".to_string(),
            2 => "correct-horse-battery-staple-2".to_string(),
            3 => rules.control.clone(),
            _ => rules.secret.clone(),
        };
        match self.below(26) {
            0..14 if rules.auth == AuthMode::Password => truth.password = Some(right),
            0..14 => truth.token = Some(right),
            14..18 => {
                let own: Vec<_> = self
                    .tokens
                    .iter()
                    .filter(|(who, ..)| Some(*who) == truth.who)
                    .cloned()
                    .collect();
                let any: Vec<_> =
                    if self.once_in(5) { self.tokens.iter().cloned().collect() } else { own };
                let token = self.pick(&any).map(|(_, _, token)| token);
                if truth.v4 == Some(true) {
                    truth.device_token = token;
                } else {
                    truth.token = token;
                }
            }
            18..21 => {
                let codes = self.codes.clone();
                let last = codes.len().saturating_sub(3);
                let code = if self.once_in(8) {
                    Some("ABCDEFGH".to_string())
                } else {
                    self.pick(&codes[last..])
                };
                if self.once_in(3) {
                    truth.token = code;
                } else {
                    truth.code = code;
                }
            }
            21 => {
                truth.token = Some("wrong".into());
                truth.code = self.pick(&self.codes.clone());
            }
            _ => {}
        }
    }

    fn some_scopes(&mut self) -> u16 {
        match self.below(8) {
            0 => 0,
            1 => model::READ,
            2 => model::PAIRING | model::READ,
            3 => model::WRITE | model::APPROVALS,
            4 => self.below(0x400) as u16,
            _ => model::ADMIN,
        }
    }

    fn vanish(&mut self) {
        if let Some(id) = self.pick(&self.ids()) {
            let abrupt = self.once_in(3);
            let conn = self.conns.get_mut(&id).unwrap();
            conn.gone = true;
            if abrupt {
                conn.inbox.clear();
                if conn.stage != Stage::Deciding {
                    self.close(id);
                }
            }
        }
    }

    /// Makes a client stop reading, or start again.
    fn deafen(&mut self) {
        if let Some(id) = self.pick(&self.ids()) {
            let conn = self.conns.get_mut(&id).unwrap();
            conn.reads = !conn.reads;
            if self.once_in(6) {
                // and sends calls without end all the same
                let reads = self.conns[&id].reads;
                if !reads && self.conns[&id].hello {
                    for _ in 0..1200 {
                        self.push(id, "x", "status", json!({}), Ask::Other);
                    }
                    for _ in 0..1200 {
                        self.poll(id);
                    }
                    self.note("flooded");
                }
            }
        }
    }

    /// Many unauthenticated clients at once, with the same credential.
    fn crowd(&mut self) {
        self.note("many connections");
        let one =
            if self.disk_is_busy() && self.once_in(2) { Some(self.below(REGULARS)) } else { None };
        let count = if one.is_some() { 300 } else { 5 + self.below(70) };
        let way = if self.once_in(2) { &LOCAL } else { &FAR };
        if self.model.rules.auth == AuthMode::Password && self.once_in(2) {
            self.typed = Some("wrong".to_string());
        }
        let rounds = 1 + self.below(4);
        for who in (0..rounds).flat_map(|_| 0..count) {
            let id = self.come_by(way, one.or(Some(REGULARS + who)));
            self.poll(id);
            self.poll(id);
            if one.is_some() {
                self.close(id);
            }
        }
        let ids = self.ids();
        for id in ids {
            self.poll(id);
            self.poll(id);
            if self.conns.get(&id).is_some_and(|conn| {
                !conn.hello || conn.connected_with.is_some_and(|(who, _)| who >= Some(REGULARS))
            }) {
                self.conns.get_mut(&id).unwrap().gone = true;
            }
        }
    }

    /// Attempts with several passwords and one key, and eventually the right one.
    fn try_passwords(&mut self) {
        self.note("failed attempts");
        let who = self.below(2 * REGULARS);
        let right = self.model.rules.secret.clone();
        for _ in 0..9 {
            self.typed = Some(if self.once_in(4) { right.clone() } else { "wrong".to_string() });
            let id = self.come_by(&FAR, Some(who));
            self.poll(id);
            self.poll(id);
            self.conns.get_mut(&id).into_iter().for_each(|conn| conn.gone = true);
        }
        self.typed = None;
    }

    // --- calls of admitted clients ---------------------------------------------------------------

    fn members(&self, role: usize) -> Vec<u64> {
        let of = |id: &u64| {
            self.conns[id].hello && self.model.members.get(id).is_some_and(|one| one.role == role)
        };
        self.conns.keys().copied().filter(of).filter(|id| self.conns[id].inbox.len() < 8).collect()
    }

    fn push(&mut self, id: u64, kind: &str, method: &str, params: Value, ask: Ask) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| !conn.gone) else { return };
        conn.calls += 1;
        let request = format!("{kind}{}", conn.calls);
        let bytes = json!({ "type": "req", "id": request, "method": method, "params": params })
            .to_string()
            .into_bytes();
        conn.inbox.push_back(Sent::Call { bytes, id: request, ask });
    }

    fn call(&mut self) {
        if self.once_in(3) {
            return self.node_call();
        }
        let operators = self.members(model::OPERATOR);
        let admins: Vec<u64> = operators
            .iter()
            .copied()
            .filter(|id| self.model.members[id].may(model::ADMIN))
            .collect();
        let callers = if admins.is_empty() || self.once_in(3) { operators } else { admins };
        let Some(id) = self.pick(&callers) else { return self.turns() };
        let who = self.below(REGULARS);
        let device = keys()[who].id.clone();
        let role = usize::from(who % 2 == 1 && !self.once_in(4));
        let role_name = ["operator", "node"][role];
        let last = self.requests.len().saturating_sub(6);
        let waiting: Vec<String> = self.model.pending.iter().map(|pend| pend.id.clone()).collect();
        let known = if self.once_in(4) { self.requests[last..].to_vec() } else { waiting };
        let request = self.pick(&known).unwrap_or_else(|| model::uuid([7; 16]));
        let (kind, method, params, ask) = match self.below(46) {
            0..5 => {
                ("x", "device.pair.approve", json!({ "requestId": request }), Ask::Approve(request))
            }
            5 | 6 => {
                ("x", "device.pair.approve", json!({ "requestId": device }), Ask::GiveBack(who))
            }
            7 => ("x", "device.pair.reject", json!({ "requestId": request }), Ask::Reject(request)),
            8 | 9 => ("x", "device.pair.remove", json!({ "deviceId": device }), Ask::Remove(who)),
            10 | 11 => {
                let label = format!("label {}", self.below(5));
                (
                    "x",
                    "device.pair.rename",
                    json!({ "deviceId": device, "label": label }),
                    Ask::Rename(who, label),
                )
            }
            12..15 => {
                let scopes = if self.once_in(4) { Some(self.some_scopes()) } else { None };
                let mut params = json!({ "deviceId": device, "role": role_name });
                if let Some(scopes) = scopes {
                    let names = (0..10).filter(|bit| scopes & 1 << bit != 0);
                    params["scopes"] =
                        names.map(|bit| format!("operator.{}", SCOPES[bit])).collect();
                }
                ("Rotate", "device.token.rotate", params, Ask::Rotate(who, role, scopes))
            }
            15..17 => {
                let params = json!({ "deviceId": device, "role": role_name });
                ("x", "device.token.revoke", params, Ask::Revoke(who, role))
            }
            17..20 => (
                "x",
                "node.pair.approve",
                json!({ "requestId": request }),
                Ask::NodeApprove(request),
            ),
            20 => {
                ("x", "node.pair.reject", json!({ "requestId": request }), Ask::NodeReject(request))
            }
            21 => ("x", "node.pair.remove", json!({ "nodeId": device }), Ask::NodeRemove(who)),
            22 => {
                let tokens: Vec<_> =
                    self.tokens.iter().filter(|(one, ..)| *one == who).cloned().collect();
                let token = self.pick(&tokens).map_or("none".into(), |(_, _, token)| token);
                let params = json!({ "nodeId": device, "token": token });
                ("x", "node.pair.verify", params, Ask::Verify(who, token))
            }
            23..25 => {
                let profile = self.below(3);
                let name = ["full", "limited", "node"][profile];
                let params = json!({ "bootstrapProfile": name, "includeQr": false });
                ("x", "device.pair.setupCode", params, Ask::SetupCode(profile as u8))
            }
            25..31 | 40..46 => {
                let nodes: Vec<Who> = self.model.nodes.iter().map(|(_, who)| *who).collect();
                let who = if self.once_in(8) { who } else { self.pick(&nodes).unwrap_or(who) };
                let approved =
                    self.model.dev(who).map(|dev| dev.commands.iter().cloned().collect::<Vec<_>>());
                let command =
                    if self.once_in(5) { None } else { self.pick(&approved.unwrap_or_default()) };
                let command = command.unwrap_or_else(|| COMMANDS[who % COMMANDS.len()].to_string());
                let mark = self.next_mark;
                self.next_mark += 1;
                let timeout = [0, 900, 20_000, 60_000, DAY, DAY][self.below(6)];
                let params = json!({
                    "nodeId": keys()[who].id, "command": command, "params": mark, "timeoutMs": timeout,
                    "idempotencyKey": format!("k{mark}"),
                });
                ("x", "node.invoke", params, Ask::Invoke(who, command.clone(), mark))
            }
            31 | 32 => {
                let two = self.once_in(2);
                let params = json!({
                    "id": format!("a{}", self.below(6)), "command": "rm", "timeoutMs": 1 + self.below(60_000), "twoPhase": two,
                    "requireDeliveryRoute": self.once_in(2),
                });
                ("x", "exec.approval.request", params, Ask::Other)
            }
            33 => {
                let decision = ["allow-once", "deny", "maybe"][self.below(3)];
                let params = json!({ "id": format!("a{}", self.below(6)), "decision": decision });
                ("x", "exec.approval.resolve", params, Ask::Other)
            }
            34 => (
                "x",
                "exec.approval.waitDecision",
                json!({ "id": format!("a{}", self.below(6)) }),
                Ask::Other,
            ),
            35 if self.once_in(3) => {
                let at = self.below(self.texts.len());
                let raw = self.texts[at].0.clone();
                let writes = Some(raw.len());
                (
                    "file",
                    "config.set",
                    json!({ "raw": raw, "baseHash": self.config_hash() }),
                    Ask::File { writes },
                )
            }
            35 => ("file", "config.get", json!({}), Ask::File { writes: None }),
            36 => ("x", "device.pair.list", json!({ "surfaces": true }), Ask::List),
            _ => {
                let method = [
                    "system-presence",
                    "node.list",
                    "node.pair.list",
                    "exec.approval.list",
                    "gatelet.refusals",
                    "voicewake.get",
                    "no.such.method",
                    "connect",
                    "health",
                    "status",
                    "gatelet.status",
                ][self.below(11)];
                let is_list = method == "node.pair.list";
                ("x", method, json!({}), if is_list { Ask::NodeList } else { Ask::Other })
            }
        };
        self.push(id, kind, method, params, ask);
    }

    fn node_call(&mut self) {
        let Some(id) = self.pick(&self.members(model::NODE)) else { return };
        let asked = self.conns[&id].asked.clone();
        if let (Some((invoke, mark)), false) = (self.pick(&asked), self.once_in(4)) {
            if !self.once_in(6) {
                // a node sometimes answers twice
                self.conns.get_mut(&id).unwrap().asked.retain(|(known, _)| *known != invoke);
            }
            let who = self.model.members[&id].who.unwrap();
            let params = if self.once_in(5) {
                json!({ "id": invoke, "nodeId": keys()[who].id, "ok": false, "error": { "code": "NO", "message": "no" } })
            } else {
                json!({ "id": invoke, "nodeId": keys()[who].id, "ok": true, "payload": { "mark": mark } })
            };
            return self.push(id, "x", "node.invoke.result", params, Ask::Other);
        }
        let (method, params) = match self.below(5) {
            0 => ("health", json!({})),
            1 => ("device.pair.list", json!({})),
            2 => ("node.pending.pull", json!({})),
            3 => ("skills.bins", json!({})),
            _ => ("node.event", json!({ "event": "node.presence.alive" })),
        };
        self.push(id, "x", method, params, Ask::Other);
    }

    /// Sends a node's result for a request that it or another node never received.
    fn answer_oddly(&mut self) {
        let Some(id) = self.pick(&self.members(model::NODE)) else { return };
        let others: Vec<_> = self
            .conns
            .iter()
            .filter(|(of, _)| **of != id)
            .flat_map(|(_, conn)| conn.asked.clone())
            .collect();
        let (invoke, mark) = self.pick(&others).unwrap_or((model::uuid([5; 16]), 0));
        let who = self.model.members[&id].who.unwrap();
        // the same device on an older connection may answer for itself
        let own = self.conns.iter().any(|(_, conn)| {
            conn.connected_with.is_some_and(|(one, _)| one == Some(who))
                && conn.asked.iter().any(|(one, _)| *one == invoke)
        });
        let mark = if own { mark } else { 0 };
        let params = json!({ "id": invoke, "nodeId": keys()[who].id, "ok": true, "payload": { "mark": mark } });
        self.push(id, "x", "node.invoke.result", params, Ask::Other);
    }

    fn garbage(&mut self) -> Vec<u8> {
        let deep = "[".repeat(200);
        let all: [&[u8]; 9] = [
            b"",
            b"{",
            b"null",
            b"{\"type\":\"res\",\"id\":\"bad\",\"ok\":true}",
            b"\xff\xfe",
            deep.as_bytes(),
            b"{\"type\":\"req\",\"id\":\"bad\",\"method\":5}",
            b"{\"type\":\"req\",\"id\":\"bad\"}",
            b"{\"type\":\"event\",\"event\":\"tick\"}",
        ];
        all[self.below(all.len())].to_vec()
    }

    fn noise(&mut self) {
        let garbage = self.garbage();
        if let Some(id) = self.pick(&self.ids()) {
            let conn = self.conns.get_mut(&id).unwrap();
            if conn.inbox.len() < 8 {
                conn.inbox.push_back(Sent::Noise(garbage));
            }
        }
    }

    fn read_some(&mut self) {
        for _ in 0..4 {
            let Some(id) = self.pick(&self.ids()) else { return };
            for _ in 0..6 {
                self.read(id);
            }
        }
    }

    fn read(&mut self, id: u64) {
        if !self.conns.get(&id).is_some_and(|conn| conn.reads && !conn.gone) {
            return;
        }
        let Some(value) = self.take(id) else { return };
        if value["event"] == "node.invoke.request" {
            let mark = value["payload"]["paramsJSON"].as_str().unwrap().parse().unwrap();
            let invoke = value["payload"]["id"].as_str().unwrap().to_string();
            self.conns.get_mut(&id).unwrap().asked.push((invoke, mark));
        }
    }

    /// Reads everything as the owner's command line does.
    fn look(&mut self) {
        let operators = self.members(model::OPERATOR);
        let admins: Vec<u64> =
            operators.into_iter().filter(|id| self.model.members[id].may(model::PAIRING)).collect();
        if let Some(id) = self.pick(&admins) {
            self.push(id, "x", "device.pair.list", json!({ "surfaces": true }), Ask::List);
        }
        self.check_file();
    }

    // --- the end ---------------------------------------------------------------------------------

    fn settle(&mut self) {
        for _ in 0..400 {
            for id in self.ids() {
                self.poll(id);
                while self.conns.get(&id).is_some_and(|conn| conn.reads && !conn.wire.is_empty()) {
                    self.read(id);
                    if self.conns[&id].gone {
                        break;
                    }
                }
            }
            if self.disk_is_busy() {
                self.at = self.at.max(self.disk_due());
                self.run_disk();
            }
            let busy = |id: u64| {
                let conn = &self.conns[&id];
                let unread = !conn.wire.is_empty() || conn.send_queue.bytes() > 0;
                !conn.inbox.is_empty() || conn.reads && unread && !conn.gone
            };
            if !self.disk_is_busy() && !self.ids().into_iter().any(busy) {
                return;
            }
        }
    }

    /// Removes all faults, lets all clients answer, and disconnects them.
    pub fn end(&mut self) {
        self.weather.disk_fails = usize::MAX;
        self.weather.disk_ms = 5;
        for id in self.ids() {
            self.conns.get_mut(&id).unwrap().reads = true;
        }
        for _ in 0..8 {
            self.settle();
            self.later_by(20_000);
            self.tick();
        }
        self.settle();
        // calls to a node that disconnects fail at once, whatever their timeout
        for id in self.members(model::NODE) {
            self.close(id);
        }
        self.settle();
        for ((conn, id), due) in &self.model.due {
            let Some(one) = self.conns.get(conn) else { continue };
            let is_open = !one.send_queue.is_closed() && !one.gone;
            assert!(!is_open, "{id} of {conn} was never answered: {due:?}");
        }
        for id in self.ids() {
            self.close(id);
        }
        self.later_by(limits::EXEC_APPROVAL_MS_V4);
        self.tick();
        self.settle();
        self.nothing_is_left();
        self.check_file();
        self.stop();
        self.check_file();
    }

    fn nothing_is_left(&mut self) {
        let gateway = self.gateway.as_ref().unwrap();
        assert_eq!((gateway.connections(), gateway.unauthenticated()), (0, 0));
        assert_eq!(gateway.send_budget().used(), 0, "memory of closed connections is counted");
        assert_eq!((self.model.waits().0, self.model.nodes.len()), (0, 0));
        let status = self.status();
        let Some(status) = status else { return };
        let count = |name: &str| status[name].as_u64().unwrap();
        assert_eq!(
            (count("connections"), count("operators"), count("unauthenticated")),
            (1, 1, 0),
            "{status}"
        );
        assert_eq!((count("nodes"), count("invokes"), count("approvals")), (0, 0, 0), "{status}");
        assert_eq!(status["table"]["used"].as_u64().unwrap(), self.model.used() as u64);
        self.note("all disconnected");
    }

    /// Returns the status for the command line; `None` where its token does not authenticate
    /// (`auth.mode` none and trusted-proxy).
    fn status(&mut self) -> Option<Value> {
        let truth = Truth {
            v4: Some(true),
            role: Some(model::OPERATOR),
            scopes: model::ADMIN,
            token: Some(self.model.rules.control.clone()),
            client: "cli",
            ..Truth::default()
        };
        let truth = on_way(truth, &LOCAL);
        let id = self
            .open("GET / HTTP/1.1\r\nHost: 127.0.0.1:18789\r\n\r\n", "127.0.0.1".parse().unwrap());
        let params = json!({
            "minProtocol": 4, "maxProtocol": 4, "role": "operator", "scopes": ["operator.admin"],
            "client": { "id": "cli", "version": "1.0", "platform": "linux", "mode": "cli" },
            "auth": { "token": truth.token },
        });
        let bytes = json!({ "type": "req", "id": "hello", "method": "connect", "params": params })
            .to_string();
        let signed = Signed { real: false, right: true, at: 0 };
        let sent = Sent::Connect { bytes: bytes.into_bytes(), truth: Box::new(truth), signed };
        self.conns.get_mut(&id).unwrap().inbox.push_back(sent);
        (0..3).for_each(|_| self.poll(id));
        assert!(self.conns[&id].hello, "the command line gets in");
        self.push(id, "x", "device.pair.list", json!({ "surfaces": true }), Ask::List);
        self.push(id, "x", "gatelet.status", json!({}), Ask::Other);
        (0..4).for_each(|_| self.poll(id));
        let mut last = None;
        while let Some(value) = self.take(id) {
            last = Some(value);
        }
        self.close(id);
        last.map(|value| value["payload"].clone())
    }
}

fn on_way(truth: Truth, way: &Way) -> Truth {
    Truth {
        from: way.from,
        host_loopback: way.host.starts_with("127."),
        local: way.local,
        cidr: way.cidr,
        identity: way.identity,
        ..truth
    }
}
