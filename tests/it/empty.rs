//! Responses of a gateway without an agent runtime to methods that only an agent can answer.

use serde_json::{json, Value};

use super::client::{Device, Session, Who};
use super::gateway::{Gateway, TOKEN};

/// `protocols scope method keys`: the top-level keys of the response; `[]` is a list, `null` is
/// itself.
pub const READS: &str = "
34 read sessions.list ts path count defaults sessions
34 read sessions.preview ts previews
4 read sessions.usage updatedAt startDate endDate sessions totals aggregates
4 read sessions.describe session
4 read sessions.resolve ok
4 read sessions.subscribe subscribed
4 read sessions.messages.subscribe key subscribed
4 read sessions.viewers.set sessionKeys
4 read sessions.observer.visibility ok
4 read sessions.groups.list groups sectionOrder
4 write sessions.groups.defaults defaults
4 read sessions.catalog.list catalogs
4 read sessions.branches.list branches
4 read sessions.companion.state exchanges
4 read session.discussion.info state
34 read agents.list defaultId mainKey scope agents
34 read agent.identity.get agentId name
34 read models.list models
4 read models.authStatus ts providers providerCapabilities
34 read channels.status ts channelOrder channelLabels channelDetailLabels channelSystemImages channelMeta channels channelAccounts channelDefaultAccountId
34 read cron.status enabled storePath jobs nextWakeAtMs
3 read cron.list jobs
3 read cron.runs entries
4 read cron.list jobs snapshotRevision total offset limit hasMore nextOffset
4 read cron.runs entries total offset limit hasMore nextOffset
3 read skills.status workspaceDir managedSkillsDir skills
4 read skills.status agentId workspaceDir managedSkillsDir skills
3 read chat.history sessionKey messages thinkingLevel
4 read chat.history sessionKey messages pendingInputs hasMore totalMessages
4 read chat.startup sessionKey messages pendingInputs hasMore totalMessages
4 read chat.metadata models commands
34 read usage.status updatedAt providers
34 read usage.cost updatedAt days daily totals
34 read tts.status enabled auto provider fallbackProvider fallbackProviders prefsPath hasOpenAIKey hasElevenLabsKey edgeEnabled
34 read tts.providers providers active
4 read tts.personas active personas
4 read talk.catalog modes transports brains speech transcription realtime
34 read last-heartbeat null
3 admin exec.approvals.get path exists hash file
4 admin exec.approvals.get path exists hash file resolvedDefaults
4 approvals exec.approval.grants.list grants
4 approvals plugin.approval.list []
4 approvals openclaw.approval.list []
4 approvals approval.history items
4 questions question.list questions
4 read commands.list commands
4 read tools.catalog agentId profiles groups
4 read tools.effective agentId profile groups
4 read tasks.list tasks
4 read taskSuggestions.list suggestions
4 read worktrees.list worktrees
4 read projects.list projects recents
4 read portal.list portals
4 read artifacts.list artifacts
4 read audit.list events
4 read audit.activity.list events
4 read plugins.list plugins diagnostics mutationAllowed
4 read plugins.uiDescriptors ok descriptors
4 read board.get sessionKey revision tabs widgets
4 read progressCard.get card
4 admin terminal.list sessions
4 admin secrets.store.list entries
4 admin conversations.list conversations
4 admin update.status sentinel updateAvailable
4 read sessions.search results
4 read sessions.messages.unsubscribe key subscribed
4 read skills.search results
4 read transcripts.list sessions nextCursor
4 read mentions.list gatewayInstanceId revision items
4 read plugins.controlUi.list revision plugins diagnostics
4 read users.prefs.get status entries
4 read diagnostics.lanes ts lanes dynamic
4 read diagnostics.stability capacity count dropped events summary
4 read controlUi.sessionPullRequests.subscribe subscribed
4 pairing channels.pairing.list accounts requests commandOwnerConfigured limits
4 admin openclaw.chat.history turns
4 admin openclaw.chat sessionId reply action
4 read skills.library.list entries multipleProfiles defaultTarget canManageWorkspace defaultSelectionLimit
4 read skills.proposals.list schema updatedAt proposals installedSkills
4 read plugins.catalog.browse items
4 read themes.list current theme themes
4 read webSearch.status agentId enabled provider model providers route
";

const ACTIONS: [(u32, &str, &str); 14] = [
    (3, "write", "chat.send agent agent.wait send wake chat.abort talk.mode tts.convert browser.request"),
    (
        3,
        "admin",
        "cron.add cron.update cron.remove cron.run skills.install skills.update sessions.patch sessions.reset",
    ),
    (
        3,
        "admin",
        "sessions.delete sessions.compact sessions.resolve exec.approvals.set web.login.start wizard.start poll",
    ),
    (3, "admin", "update.run chat.inject channels.logout"),
    (4, "write", "chat.send agent agent.wait send wake chat.abort poll tts.convert tts.speak tasks.cancel"),
    (
        4,
        "write",
        "sessions.create sessions.patch sessions.send message.action tools.invoke worktrees.create portal.open",
    ),
    (4, "admin", "cron.add cron.update cron.remove cron.run skills.install skills.update agents.create agents.delete"),
    (
        4,
        "admin",
        "sessions.delete sessions.reset sessions.compact exec.approvals.set web.login.start wizard.start update.run",
    ),
    (4, "admin", "channels.start channels.stop channels.logout plugins.install terminal.open"),
    (4, "talk", "talk.mode talk.speak"),
    (4, "read", "sessions.get cron.get tasks.get agents.files.list agents.files.get skills.detail chat.message.get"),
    (4, "read", "doctor.memory.status memory.search sessions.diff plugins.catalog.get"),
    (4, "write", "sessions.abort sessions.steer sessions.fork tts.enable tts.disable tts.setProvider board.update"),
    (3, "write", "tts.enable tts.disable tts.setProvider"),
];

/// Returns parameters that satisfy every method under test.
fn params() -> Value {
    json!({ "sessionKey": "agent:main:main", "key": "agent:main:main", "sessionId": "s", "keys": ["agent:main:main"],
            "startDate": "2026-09-01", "endDate": "2026-09-30" })
}

fn operator(gateway: &Gateway, protocol: u32, scope: &str) -> Session {
    gateway.connect(&Who::of(protocol).token(TOKEN).scopes(&[scope])).unwrap()
}

/// Calls a method without the scope, which must be rejected naming it, and then with it.
fn with_and_without(
    gateway: &Gateway,
    protocol: u32,
    scope: &str,
    method: &str,
) -> Result<Value, super::client::Failed> {
    let other = if scope == "approvals" { "pairing" } else { "approvals" };
    let failed = operator(gateway, protocol, other).call(method, params()).unwrap_err();
    assert_eq!(
        failed.message(),
        format!("missing scope: operator.{scope}"),
        "{method} in protocol {protocol}"
    );
    operator(gateway, protocol, scope).call(method, params())
}

#[test]
fn agent_read_methods_return_empty_results_in_each_protocol() {
    let gateway = Gateway::new();
    let mut asked = 0;
    for line in READS.lines().filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        let (protocols, scope, method) =
            (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let mut wanted: Vec<_> = words.collect();
        wanted.sort_unstable();
        for protocol in
            [3, 4].into_iter().filter(|protocol| protocols.contains(&protocol.to_string()))
        {
            let answer = with_and_without(&gateway, protocol, scope, method)
                .unwrap_or_else(|failed| panic!("{method} in protocol {protocol}: {}", failed.0));
            let keys: Vec<&str> = match &answer {
                Value::Object(fields) => fields.keys().map(String::as_str).collect(),
                Value::Array(list) if list.is_empty() => vec!["[]"],
                other => vec![if other.is_null() { "null" } else { "something else" }],
            };
            let mut keys = keys;
            keys.sort_unstable();
            assert_eq!(keys, wanted, "{method} in protocol {protocol}");
            asked += 1;
        }
    }
    assert_eq!(asked, 94);
}

#[test]
fn agent_action_methods_return_unavailable_with_a_reason() {
    let gateway = Gateway::new();
    for (protocol, scope, methods) in ACTIONS {
        for method in methods.split(' ') {
            let failed = with_and_without(&gateway, protocol, scope, method).unwrap_err();
            assert_eq!(
                failed.code(),
                "UNAVAILABLE",
                "{method} in protocol {protocol}: {}",
                failed.0
            );
            let why = format!("{method} needs an agent runtime, and gatelet has none: ");
            let hint = failed
                .message()
                .strip_prefix(&why)
                .unwrap_or_else(|| panic!("{}", failed.message()));
            assert_eq!(failed.0["details"], json!({ "code": "NO_AGENT_RUNTIME", "hint": hint }));
        }
    }
}

#[test]
fn hello_lists_answered_methods_but_no_agent_actions() {
    let gateway = Gateway::new();
    for (protocol, there, not_there) in
        [(3, "cron.list", "tasks.list"), (4, "tasks.list", "chat.send")]
    {
        let mut admin = operator(&gateway, protocol, "admin");
        let methods = admin.hello["features"]["methods"].as_array().unwrap().clone();
        let named = |name: &str| methods.iter().filter(|method| *method == name).count();
        assert_eq!(
            (named(there), named(not_there), named("health")),
            (1, 0, 1),
            "protocol {protocol}"
        );
        assert!(methods.iter().all(|method| named(method.as_str().unwrap()) == 1), "{methods:?}");
        for method in &methods {
            // these would wait for a decision, or are for nodes
            let other = [
                "exec.approval.request",
                "skills.bins",
                "node.invoke.",
                "node.event",
                "node.pending.",
                "node.plugin",
                "node.skills",
                "node.runner",
            ];
            if other.iter().any(|start| method.as_str().unwrap().starts_with(start)) {
                continue;
            }
            if let Err(failed) = admin.call(method.as_str().unwrap(), json!({})) {
                assert_eq!(failed.code(), "INVALID_REQUEST", "{method}: {}", failed.0);
                assert!(!failed.message().starts_with("unknown method"), "{method}: {}", failed.0);
            }
        }
    }
}

#[test]
fn agent_methods_are_rejected_for_nodes_and_for_the_other_protocol() {
    let gateway = Gateway::new();
    let failed = operator(&gateway, 3, "admin").call("tasks.list", json!({})).unwrap_err();
    assert_eq!(
        (failed.code(), failed.message()),
        ("INVALID_REQUEST", "unknown method: tasks.list")
    );
    let failed = operator(&gateway, 4, "admin").call("browser.request", json!({})).unwrap_err();
    assert_eq!(failed.message(), "unknown method: browser.request");
    let failed = operator(&gateway, 4, "read").call("chat.history", json!({})).unwrap_err();
    assert_eq!(
        failed.message(),
        "invalid chat.history params: must have required property 'sessionKey'"
    );
    let mut node = gateway.connect(&Who::v4().node().token(TOKEN).device(&Device::new())).unwrap();
    for method in ["agents.list", "chat.send", "no.such.method"] {
        assert_eq!(node.call(method, json!({})).unwrap_err().message(), "unauthorized role: node");
    }
}
