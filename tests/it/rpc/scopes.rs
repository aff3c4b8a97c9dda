//! Required scopes: every method that has an answer, checked against the table of the protocol's
//! documents repeated here.

use std::collections::BTreeMap;

use gatelet::gate::facts::{AuthMethod, Protocol, Unremembered};
use gatelet::gate::ids::{ConnId, DeviceId, Millis, Now, Role, TableAge, WallMs};
use gatelet::gate::limits;
use gatelet::gate::pairing_requests::PairingRequests;
use gatelet::gate::policy::{Admission, Registration};
use gatelet::gate::scopes::{Scope, Scopes};
use gatelet::gate::session::Admitted;
use gatelet::gate::setup_codes::SetupCodes;
use gatelet::rpc::{
    self, Call, Commands, Devices, Failure, Log, Nodes, Prepared, Presence, Reply, Status,
};
use gatelet::store::tokens::TableKey;
use gatelet::wire::frames::Request;
use gatelet::wire::json;
use serde_json::{json, Value};

/// `protocol scope methods`, as in OpenClaw 2026.1.29 and 2026.9.6: `node` is for nodes only,
/// `both` for nodes and operators with `read`; after `|` follows a narrower scope that suffices
/// too. Methods listed here without an implementation are skipped.
const TABLE: &str = "
3 node node.invoke.result node.event skills.bins
3 both health
3 approvals exec.approval.request exec.approval.resolve
3 pairing node.pair.request node.pair.list node.pair.approve node.pair.reject node.pair.verify node.rename
3 pairing device.pair.list device.pair.approve device.pair.reject device.token.rotate device.token.revoke
3 read logs.tail channels.status status usage.status usage.cost tts.status tts.providers models.list agents.list
3 read agent.identity.get skills.status voicewake.get sessions.list sessions.preview cron.list cron.status cron.runs
3 read system-presence last-heartbeat node.list node.describe chat.history
3 write send agent agent.wait wake talk.mode tts.enable tts.disable tts.convert tts.setProvider voicewake.set node.invoke
3 write chat.send chat.abort browser.request
3 admin channels.logout config.get config.set config.apply config.patch config.schema exec.approvals.get exec.approvals.set
3 admin exec.approvals.node.get exec.approvals.node.set wizard.start wizard.next wizard.cancel wizard.status skills.install
3 admin skills.update update.run sessions.patch sessions.reset sessions.delete sessions.compact set-heartbeats cron.add
3 admin cron.update cron.remove cron.run system-event poll sessions.resolve web.login.start web.login.wait chat.inject

4 node skills.bins node.pluginSurface.refresh node.pluginTools.update node.skills.update node.runnerInventory.update
4 node node.pending.drain node.pending.pull node.pending.ack node.invoke.progress node.invoke.result node.event
4 both health
4 read status logs.tail channels.status usage.status usage.cost tts.status tts.providers tts.personas talk.catalog
4 read config.get config.schema config.schema.lookup commands.list models.list models.authStatus tools.catalog
4 read tools.effective agents.list agents.files.list agents.files.get agent.identity.get skills.status skills.search
4 read skills.detail voicewake.get last-heartbeat node.list node.describe cron.get cron.list cron.status cron.runs
4 read gateway.identity.get system-presence system.info tasks.list tasks.get taskSuggestions.list environments.list
4 read worktrees.list projects.list portal.list artifacts.list plugins.list plugins.uiDescriptors plugins.controlUi.list
4 read audit.list audit.activity.list transcripts.list memory.search diagnostics.stability diagnostics.lanes
4 read doctor.memory.status board.get progressCard.get mentions.list users.prefs.get
4 read themes.list webSearch.status skills.library.list skills.proposals.list plugins.catalog.browse plugins.catalog.get
4 read sessions.usage sessions.diff sessions.observer.visibility sessions.groups.list sessions.catalog.list
4 read sessions.companion.state session.discussion.info controlUi.sessionPullRequests.subscribe
4 read|sessions.read sessions.list sessions.subscribe sessions.messages.subscribe sessions.messages.unsubscribe
4 read|sessions.read sessions.viewers.set sessions.preview sessions.describe sessions.branches.list sessions.get
4 read|sessions.read sessions.resolve sessions.search chat.history chat.startup chat.metadata chat.message.get
4 write send poll message.action agent agent.wait wake node.invoke node.pending.enqueue voicewake.set
4 write tts.enable tts.disable tts.convert tts.setProvider tts.speak tools.invoke tasks.cancel tasks.retry
4 write worktrees.create board.update portal.open portal.close sessions.groups.defaults
4 write|sessions.write chat.send chat.abort sessions.create sessions.patch sessions.send sessions.abort sessions.steer
4 write|sessions.write sessions.fork sessions.recover
4 admin channels.start channels.stop channels.logout config.set config.apply config.patch exec.approvals.get
4 admin exec.approvals.set exec.approvals.node.get exec.approvals.node.set wizard.start wizard.next wizard.cancel
4 admin wizard.status agents.create agents.update agents.delete agents.files.set skills.install skills.update update.run
4 admin update.status sessions.delete sessions.reset sessions.compact sessions.cleanup sessions.rewind set-heartbeats
4 admin device.pair.setupCode device.pair.setupStatus cron.add cron.update cron.remove cron.run system-event
4 admin terminal.list terminal.open web.login.start web.login.wait chat.inject plugins.install plugins.setEnabled
4 admin plugins.uninstall models.probe openclaw.chat openclaw.chat.history openclaw.setup.detect secrets.store.list
4 admin conversations.list
4 approvals exec.approval.get exec.approval.list exec.approval.request exec.approval.waitDecision exec.approval.resolve
4 approvals exec.approval.grants.list exec.approval.grants.revoke plugin.approval.list openclaw.approval.list
4 approvals approval.history
4 pairing node.pair.list node.pair.approve node.pair.reject node.pair.remove device.pair.list device.pair.approve
4 pairing device.pair.reject device.pair.remove device.pair.rename device.token.rotate device.token.revoke node.rename
4 pairing channels.pairing.list
4 questions|sessions.write question.list
4 talk talk.mode talk.speak talk.session.create talk.client.create
";

/// Methods that only this gateway has, and methods of protocol 4 that it offers in protocol 3 too.
const OWN: &str = "
3 pairing device.pair.remove device.pair.rename node.pair.remove gatelet.refusals
3 admin device.pair.setupCode device.pair.setupStatus
3 read gatelet.status gatelet.config
4 read gatelet.status gatelet.config
4 pairing gatelet.refusals
";

/// `protocol scope implied-scopes`; admin implies all.
const GIVES: &str = "
3 write read
4 write read talk sessions.read sessions.write
4 read sessions.read
4 sessions.write sessions.read
";

const PROTOCOLS: [(&str, Protocol); 2] = [("3", Protocol::V3), ("4", Protocol::V4)];

/// Returns the scopes of each method of this protocol.
fn table(number: &str) -> BTreeMap<&'static str, &'static str> {
    let mut methods = BTreeMap::new();
    for line in TABLE.lines().chain(OWN.lines()).filter(|line| line.starts_with(number)) {
        let mut words = line.split(' ').skip(1);
        let scope = words.next().unwrap();
        words
            .for_each(|name| assert!(methods.insert(name, scope).is_none(), "{name} stands twice"));
    }
    methods
}

/// Returns whether `held` implies one of the scopes in `wanted`.
fn gives(number: &str, held: &str, wanted: &str) -> bool {
    let begins = format!("{number} {held} ");
    let also = |scope: &str| {
        GIVES.lines().any(|line| {
            line.strip_prefix(&begins).is_some_and(|rest| rest.split(' ').any(|one| one == scope))
        })
    };
    wanted.split('|').any(|scope| held == "admin" || held == scope || also(scope))
}

fn ask(
    protocol: Protocol,
    role: Role,
    scopes: Scopes,
    method: &str,
    params: Value,
) -> Result<Reply, Failure> {
    let admission = Admission {
        protocol,
        role,
        scopes,
        method: AuthMethod::Token,
        registration: Registration::None(Unremembered::NoDevice),
        pending_scopes: Scopes::NONE,
    };
    let device = (role == Role::Node).then_some(DeviceId([7; 32]));
    let text = params.to_string();
    let mut call = Call {
        caller: &Admitted::by(&admission, ConnId(1), device),
        name: "test",
        id: "1",
        prepared: &Prepared::None,
        now: Now { at: Millis(1), wall: WallMs(1) },
        devices: &Devices::new(2, 1, TableAge(0)),
        pairing_requests: &mut PairingRequests::new(),
        setup_codes: &mut SetupCodes::new(),
        key: &TableKey::new([0; 32]),
        presence: &mut Presence::new("host".into(), WallMs(0)),
        nodes: &mut Nodes::default(),
        commands: &Commands::default(),
        status: &Status::default(),
        approvers: 0,
        rejections: &[],
        log: &Log::EMPTY,
        random: &mut |bytes| bytes.fill(1),
    };
    let params = json::parse(text.as_bytes(), limits::JSON_DEPTH).ok();
    let (bytes, values) = (text.len(), 1);
    let request = Request { id: "1".into(), method: method.into(), params, bytes, values };
    rpc::dispatch(&mut call, &request)
}

/// Returns the failure if it is about a missing scope or role.
fn missing(outcome: Result<Reply, Failure>) -> Option<Failure> {
    let failure = outcome.err()?;
    let right = failure.message.starts_with("missing scope: ")
        || failure.message.starts_with("unauthorized role: ");
    right.then_some(failure)
}

fn refused(protocol: Protocol, failure: &Failure, scope: &str) {
    let name = format!("operator.{scope}");
    assert_eq!(failure.message, format!("missing scope: {name}"));
    assert_eq!(
        failure.code.name(protocol),
        if protocol == Protocol::V3 { "INVALID_REQUEST" } else { "FORBIDDEN" }
    );
    let details: Value = serde_json::from_slice(failure.details.as_deref().unwrap()).unwrap();
    assert_eq!(
        details,
        json!({ "code": "MISSING_SCOPE", "missingScope": name, "requiredScopes": [name] })
    );
    assert!(!failure.unauthorized, "a missing scope does not count as an unauthorized call");
}

#[test]
fn every_method_requires_exactly_its_documented_scope() {
    let mut asked = [0; 2];
    for ((number, protocol), asked) in PROTOCOLS.into_iter().zip(&mut asked) {
        let table = table(number);
        let served: Vec<&str> = rpc::served(protocol).collect();
        assert!(
            rpc::advertised(protocol).all(|name| served.contains(&name)),
            "hello names what there is"
        );
        let unknown: Vec<_> = served.iter().filter(|name| !table.contains_key(*name)).collect();
        assert!(unknown.is_empty(), "protocol {number} has a scope for {unknown:?}; write it down");
        for name in served {
            *asked += 1;
            let wanted = table[name];
            let node = missing(ask(protocol, Role::Node, Scopes::NONE, name, json!({})));
            assert_eq!(
                node.is_none(),
                ["node", "both"].contains(&wanted),
                "{name} of a node in protocol {number}"
            );
            if let Some(failure) = node {
                assert_eq!(
                    (&*failure.message, failure.unauthorized),
                    ("unauthorized role: node", true),
                    "{name}"
                );
                assert_eq!(failure.code.name(protocol), "INVALID_REQUEST");
            }
            let scope = if wanted == "both" { "read" } else { wanted };
            for held in Scope::ALL {
                let held_name = held.name().trim_start_matches("operator.");
                let outcome =
                    missing(ask(protocol, Role::Operator, Scopes::of(held), name, json!({})));
                let message = outcome.as_ref().map(|failure| failure.message.as_str());
                if wanted == "node" {
                    assert_eq!(
                        message,
                        Some("unauthorized role: operator"),
                        "{name} with {held_name}"
                    );
                    continue;
                }
                let may = gives(number, held_name, scope);
                assert_eq!(
                    message.is_none(),
                    may,
                    "{name} with {held_name} in protocol {number}: {message:?}"
                );
                if let Some(failure) = outcome {
                    refused(protocol, &failure, scope.split('|').next().unwrap());
                }
            }
            if wanted != "node" {
                let failure = missing(ask(protocol, Role::Operator, Scopes::NONE, name, json!({})));
                refused(protocol, &failure.expect(name), scope.split('|').next().unwrap());
            }
        }
    }
    assert!(asked[0] >= 85 && asked[1] >= 190, "{asked:?} methods");
}

#[test]
fn unknown_methods_are_reported_to_administrators_only() {
    for (number, protocol) in PROTOCOLS {
        for held in Scope::ALL {
            let failure =
                ask(protocol, Role::Operator, Scopes::of(held), "no.such.method", json!({}))
                    .unwrap_err();
            match held {
                Scope::Admin => assert_eq!(
                    failure.message, "unknown method: no.such.method",
                    "protocol {number}"
                ),
                _ => refused(protocol, &failure, "admin"),
            }
        }
        let failure =
            ask(protocol, Role::Node, Scopes::NONE, "no.such.method", json!({})).unwrap_err();
        assert_eq!((&*failure.message, failure.unauthorized), ("unauthorized role: node", true));
        let failure = ask(protocol, Role::Operator, Scopes::ALL, "connect", json!({})).unwrap_err();
        assert_eq!(failure.message, "connect is only valid as the first request");
    }
}

#[test]
fn some_node_commands_require_admin() {
    for (_, protocol) in PROTOCOLS {
        for (command, scope) in [
            ("system.which", "write"),
            ("camera.list", "write"),
            ("browser.proxy", "admin"),
            ("fs.listDir", "admin"),
            ("terminal.upload", "admin"),
        ] {
            let params = json!({ "nodeId": "x", "command": command, "idempotencyKey": "k" });
            let outcome = ask(
                protocol,
                Role::Operator,
                Scopes::of(Scope::Write),
                "node.invoke",
                params.clone(),
            );
            match missing(outcome) {
                Some(failure) => refused(protocol, &failure, scope),
                None => assert_eq!(scope, "write", "{command}"),
            }
            assert!(missing(ask(
                protocol,
                Role::Operator,
                Scopes::of(Scope::Admin),
                "node.invoke",
                params
            ))
            .is_none());
        }
    }
}
