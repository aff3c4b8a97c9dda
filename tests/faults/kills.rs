//! `kill -9` at random moments while devices are paired and the owner changes them: acknowledged
//! changes are present at the next start, in-flight changes are done or not done, and every start
//! opens the table without repair.
//!
//! A killed process loses nothing that it handed to the system, synced or not. So this finds
//! changes torn between two writes, answers sent before their write, starts that cannot handle a
//! half-done change, and files left behind; it cannot find a missing sync.

use std::collections::BTreeMap;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{json, Value};
use support::client::{Device, Dial, Session, Who};
use support::gateway::{code, Gateway, Plan, TOKEN};

use super::{number, random};

/// Concurrent clients.
const CLIENTS: u64 = 4;
/// Number of devices of one client above which it removes more than it pairs.
const MANY: usize = 20;

/// Known state of a device.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    paired: bool,
    revoked: bool,
    label: String,
    /// The newest token received; empty if unknown.
    token: String,
    /// A token that has ended for good.
    ended: String,
}

impl State {
    fn revoke(&mut self) {
        self.revoked = true;
        if !self.token.is_empty() {
            self.ended = std::mem::take(&mut self.token);
        }
    }

    /// Adds the tokens that only the device receives.
    fn told(self, token: &str, ended: &str) -> State {
        State { token: token.into(), ended: ended.into(), ..self }
    }
}

/// Device of one client: its certain state, and the changes requested without an answer.
struct Known {
    device: Device,
    who: Who,
    state: State,
    asked: Option<State>,
}

/// One client, with devices that no other client uses.
struct Client {
    random: Rng,
    devices: Vec<Known>,
    /// Number of acknowledged changes.
    done: u64,
}

impl Client {
    fn new(number: u64) -> Client {
        Client { random: random(number), devices: Vec::new(), done: 0 }
    }

    /// Makes changes until the gateway is gone. `token` is that of the command line, whose changes
    /// are not limited.
    fn act(&mut self, dial: &Dial, token: &str, over: &AtomicBool) {
        let acts = AssertUnwindSafe(|| {
            let mut admin = dial.connect(&Who::v3().token(token)).unwrap();
            while !over.load(Ordering::Relaxed) {
                self.step(dial, &mut admin);
                admin.forget();
            }
        });
        // the test client panics when its connection ends; that is an error only while the gateway
        // should be running
        if let Err(why) = catch_unwind(acts) {
            if !over.load(Ordering::Relaxed) {
                let text = why.downcast_ref::<String>().map_or("", |text| text.as_str());
                eprintln!("a client while the gateway lived: {text}");
                resume_unwind(why);
            }
        }
    }

    fn step(&mut self, dial: &Dial, admin: &mut Session) {
        let paired: Vec<usize> =
            (0..self.devices.len()).filter(|at| self.devices[*at].state.paired).collect();
        let choice = self.random.usize(..if paired.len() > MANY { 10 } else { 14 });
        if paired.is_empty() || choice >= 8 && paired.len() < MANY {
            return self.pair(dial, admin, choice);
        }
        let at = paired[self.random.usize(..paired.len())];
        match choice {
            0..=2 => self.change(at, admin, "device.pair.remove", json!({}), |state| {
                *state = State::default()
            }),
            3 | 4 if self.devices[at].state.revoked => {
                let id = self.devices[at].device.id.clone();
                self.change(
                    at,
                    admin,
                    "device.pair.approve",
                    json!({ "requestId": id }),
                    |state| state.revoked = false,
                );
            }
            3 | 4 => {
                self.change(at, admin, "device.token.revoke", json!({ "role": "" }), State::revoke)
            }
            5 | 6 if !self.devices[at].state.revoked => {
                self.change(at, admin, "device.token.rotate", json!({ "role": "" }), |state| {
                    state.token.clear()
                });
            }
            _ => {
                let label = format!("label {}", self.random.usize(..1000));
                let params = json!({ "label": label });
                self.change(at, admin, "device.pair.rename", params, |state| {
                    state.label = label.clone()
                });
            }
        }
    }

    /// Changes a paired device, as the owner.
    fn change(
        &mut self,
        at: usize,
        admin: &mut Session,
        method: &str,
        mut params: Value,
        change: impl FnOnce(&mut State),
    ) {
        let known = &mut self.devices[at];
        if params.get("requestId").is_none() {
            params["deviceId"] = known.device.id.as_str().into();
        }
        if params.get("role").is_some() {
            params["role"] = known.who.role.into();
        }
        let mut new = known.state.clone();
        change(&mut new);
        known.asked = Some(new.clone());
        let answer = admin.call(method, params).unwrap();
        if let Some(token) = answer["token"].as_str() {
            new.token = token.into();
        }
        (known.state, known.asked) = (new, None);
        self.done += 1;
    }

    /// Pairs a new device by the token, by a code, or by the owner's approval after a rejection.
    fn pair(&mut self, dial: &Dial, admin: &mut Session, choice: usize) {
        let who = [Who::v4(), Who::v3(), Who::v4().node()][choice % 3].clone();
        let (device, state) = (Device::new(), State { paired: true, ..State::default() });
        let by_code = self.random.bool();
        let with = match by_code {
            true => who
                .clone()
                .code(&code(admin, if who.role == Some("node") { "node" } else { "full" })),
            false => who.clone().token(TOKEN),
        };
        self.devices.push(Known {
            device,
            who,
            state: State::default(),
            asked: Some(state.clone()),
        });
        let known = self.devices.last_mut().unwrap();
        match dial.connect(&with.device(&known.device)) {
            Ok(session) => known.state = State { token: session.token(), ..state },
            Err(refused) if refused.code() == "PAIRING_REQUIRED" => {
                admin
                    .call("device.pair.approve", json!({ "requestId": refused.request_id() }))
                    .unwrap();
                known.state = state;
            }
            Err(refused) => panic!("{refused:?}"),
        }
        known.asked = None;
        self.done += 1;
    }

    /// Compares the state after a kill with the acknowledged and the last requested one, and stores
    /// it as certain.
    fn check(&mut self, gateway: &Gateway, list: &BTreeMap<String, State>, all: bool) {
        for known in &mut self.devices {
            let found = list.get(&known.device.id).cloned().unwrap_or_default();
            let same = |state: &State| state.clone().told("", "") == found;
            let asked = known.asked.take();
            let (before, after) = (same(&known.state), asked.as_ref().is_some_and(same));
            assert!(
                before || after,
                "{}: {:?} and {asked:?} became {found:?}",
                known.device.id,
                known.state
            );
            let now = if after { asked.as_ref().unwrap_or(&known.state) } else { &known.state };
            known.state = found.told(&now.token, &now.ended);
            if asked.is_some() || all || self.random.u8(..20) == 0 {
                come_back(gateway, known);
            }
        }
        self.devices.retain(|known| known.state.paired || self.random.u8(..4) > 0);
    }
}

/// Asserts that a paired device is admitted by its key and receives its token, and that others are
/// rejected.
fn come_back(gateway: &Gateway, known: &mut Known) {
    let came = gateway.connect(&known.who.clone().device(&known.device));
    match came {
        Ok(session) => {
            assert!(
                known.state.paired && !known.state.revoked,
                "{} is admitted: {:?}",
                known.device.id,
                known.state
            );
            let told = std::mem::replace(&mut known.state.token, session.token());
            assert!(
                told.is_empty() || told == known.state.token,
                "{}: a token was lost",
                known.device.id
            );
            assert!(
                known.state.token != known.state.ended,
                "{}: an ended token is valid again",
                known.device.id
            );
        }
        Err(refused) => {
            assert!(
                !known.state.paired || known.state.revoked,
                "{}: {:?}, {refused:?}",
                known.device.id,
                known.state
            );
            assert!(refused.close == 1008, "{refused:?}");
        }
    }
}

fn listed(gateway: &Gateway) -> BTreeMap<String, State> {
    let list = gateway.admin().call("device.pair.list", json!({})).unwrap();
    let state = |device: &Value| State {
        paired: true,
        revoked: device["revokedRoles"].as_array().unwrap().len() == 1,
        label: device["label"].as_str().unwrap_or("").into(),
        ..State::default()
    };
    let devices = list["paired"].as_array().unwrap().iter();
    devices
        .map(|device| (device["deviceId"].as_str().unwrap().to_string(), state(device)))
        .collect()
}

/// Suppresses panic output of clients: [`Client::act`] evaluates it, and each backtrace costs time.
fn quiet_clients() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if thread::current().name() != Some(CLIENT) {
            hook(info);
        }
    }));
}

const CLIENT: &str = "client";

/// Runs one gateway until a kill. Returns its plan and whether it found that the previous one was
/// killed within a change.
fn live(plan: Plan, clients: &mut [Client], after: Duration) -> (Plan, bool) {
    let gateway = plan.start();
    let mended = gateway.log().contains("damaged replicas were repaired");
    let list = listed(&gateway);
    clients.iter_mut().for_each(|client| client.check(&gateway, &list, false));
    let ours: usize = clients
        .iter()
        .map(|client| client.devices.iter().filter(|known| known.state.paired).count())
        .sum();
    assert_eq!(list.len(), ours, "an unknown device in the list");
    let (dial, over) = (gateway.dial(), AtomicBool::new(false));
    let token = gateway.plan.control_token();
    let plan = thread::scope(|scope| {
        let (dial, token, over) = (&dial, &token, &over);
        for client in clients.iter_mut() {
            let named = thread::Builder::new().name(CLIENT.into());
            named.spawn_scoped(scope, move || client.act(dial, token, over)).unwrap();
        }
        thread::sleep(after);
        over.store(true, Ordering::Relaxed);
        gateway.kill()
    });
    let (status, said) = plan.run(&["table", "check"]);
    assert_eq!(status, 0, "after a kill: {said}");
    (plan, mended)
}

#[test]
fn acknowledged_changes_survive_repeated_kills() {
    let rounds = number("FAULTS_ROUNDS").unwrap_or(150);
    quiet_clients();
    let mut clients: Vec<Client> = (1..=CLIENTS).map(Client::new).collect();
    let mut plan = Plan::with(json!({ "pairing": { "capacity": 128 } })).on_disk();
    let (mut random, mut mended) = (random(0), 0);
    for round in 0..rounds {
        plan.config["pairing"]["mode"] = if round % 4 == 3 { "strict" } else { "token" }.into();
        // from the first moments of the clients to some dozen changes
        let after = Duration::from_micros(500 + random.u64(..150_000));
        let within;
        (plan, within) = live(plan, &mut clients, after);
        mended += u64::from(within);
    }
    let gateway = plan.start();
    let list = listed(&gateway);
    clients.iter_mut().for_each(|client| client.check(&gateway, &list, true));
    let done: u64 = clients.iter().map(|client| client.done).sum();
    println!(
        "{rounds} kills, {done} answered changes, {} devices; {mended} kills within a change",
        list.len()
    );
    // many times more, except where syncs are slow
    assert!(
        done > rounds && mended > 0,
        "only {done} changes in {rounds} rounds, {mended} kills within one"
    );
}
