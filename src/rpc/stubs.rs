//! Methods that need an agent runtime, which this gateway does not have. Lists are empty, in the
//! shape that the clients of both protocols read; actions fail with `UNAVAILABLE` and a hint where
//! they would work.
//!
//! The tables are text, a line per method, because text is the smallest form in the binary: nothing
//! is built, and a lookup scans some kilobytes. A line is used only if the gateway has no handler
//! of that name. Rights are checked first, as for all methods. Nothing here changes state or
//! promises a later action.

use super::Failure;
use crate::gate::facts::Protocol;
use crate::gate::ids::WallMs;
use crate::gate::limits;
use crate::gate::scopes::Scope;
use crate::wire::json::{self, Value, Writer};
use crate::wire::schema::{self, Field, Members, SchemaProblems, ValueKind};

/// Methods that read, one per line: `protocols scope method parameters answer`. hello does not list
/// a method whose protocols end with `!`. If the scope ends with `+`, the corresponding scope for
/// sessions is sufficient in protocol 4.
///
/// Parameters are separated by `,`: `!x` is required and repeated in the answer, `?x` is required,
/// `~x=d` is repeated or is `d`, `~x` is repeated if it is present, `@x` is not a parameter but the
/// time, and `keys` stands for sessions, all of which are reported missing. The answer is the
/// fields of an object without its braces, or a whole value.
const READS: &str = r#"
34 read+ sessions.list @ts "path":"","count":0,"defaults":{"modelProvider":null,"model":null,"contextTokens":null},"sessions":[]
34 read+ sessions.preview @ts,keys
4! read sessions.usage @updatedAt,~startDate,~endDate "sessions":[],"totals":{"input":0,"output":0,"cacheRead":0,"cacheWrite":0,"totalTokens":0,"totalCost":0,"inputCost":0,"outputCost":0,"cacheReadCost":0,"cacheWriteCost":0,"missingCostEntries":0},"aggregates":{"messages":{"total":0,"user":0,"assistant":0,"toolCalls":0,"toolResults":0,"errors":0},"tools":{"totalCalls":0,"uniqueTools":0,"tools":[]},"byModel":[],"byProvider":[],"byAgent":[],"byChannel":[],"daily":[]}
4 read+ sessions.describe ?key "session":null
4! read+ sessions.resolve - "ok":false
4 read+ sessions.search - "results":[]
4 read+ sessions.subscribe - "subscribed":true
4 read+ sessions.messages.subscribe !key "subscribed":true
4 read+ sessions.messages.unsubscribe !key "subscribed":false
4 read+ sessions.viewers.set - "sessionKeys":[]
4 read sessions.observer.visibility - "ok":true
4 read sessions.groups.list - "groups":[],"sectionOrder":[]
4 write sessions.groups.defaults - "defaults":[]
4 read sessions.catalog.list - "catalogs":[]
4 read+ sessions.branches.list - "branches":[]
4 read sessions.companion.state - "exchanges":[]
4 read session.discussion.info - "state":"none"
34 read agents.list - "defaultId":"main","mainKey":"main","scope":"per-sender","agents":[]
34 read agent.identity.get ~agentId=main "name":"gatelet"
34 read models.list - "models":[]
4 read models.authStatus @ts "providers":[],"providerCapabilities":[]
34 read channels.status @ts "channelOrder":[],"channelLabels":{},"channelDetailLabels":{},"channelSystemImages":{},"channelMeta":[],"channels":{},"channelAccounts":{},"channelDefaultAccountId":{}
34 read cron.status - "enabled":false,"storePath":"","jobs":0,"nextWakeAtMs":null
3 read cron.list - "jobs":[]
3 read cron.runs - "entries":[]
4 read cron.list ~limit=50 "jobs":[],"snapshotRevision":"0","total":0,"offset":0,"hasMore":false,"nextOffset":null
4 read cron.runs ~limit=50 "entries":[],"total":0,"offset":0,"hasMore":false,"nextOffset":null
3 read skills.status - "workspaceDir":"","managedSkillsDir":"","skills":[]
4 read skills.status ~agentId=main "workspaceDir":"","managedSkillsDir":"","skills":[]
4 read skills.search - "results":[]
4! read skills.library.list - "entries":[],"multipleProfiles":false,"defaultTarget":"workspace","canManageWorkspace":false,"defaultSelectionLimit":0
4! read skills.proposals.list - "schema":"openclaw.skill-workshop.proposals-manifest.v1","updatedAt":"1970-01-01T00:00:00.000Z","proposals":[],"installedSkills":[]
3 read chat.history !sessionKey "messages":[],"thinkingLevel":"off"
4 read+ chat.history !sessionKey "messages":[],"pendingInputs":{"items":[],"total":0},"hasMore":false,"totalMessages":0
4 read+ chat.startup !sessionKey "messages":[],"pendingInputs":{"items":[],"total":0},"hasMore":false,"totalMessages":0
4 read+ chat.metadata - "models":[],"commands":[]
34 read usage.status @updatedAt "providers":[]
34 read usage.cost @updatedAt,~days=30 "daily":[],"totals":{"input":0,"output":0,"cacheRead":0,"cacheWrite":0,"totalTokens":0,"totalCost":0,"inputCost":0,"outputCost":0,"cacheReadCost":0,"cacheWriteCost":0,"missingCostEntries":0}
34 read tts.status - "enabled":false,"auto":"off","provider":null,"fallbackProvider":null,"fallbackProviders":[],"prefsPath":"","hasOpenAIKey":false,"hasElevenLabsKey":false,"edgeEnabled":false
34 read tts.providers - "providers":[],"active":null
4 read tts.personas - "active":null,"personas":[]
4 read talk.catalog - "modes":[],"transports":[],"brains":[],"speech":{"providers":[]},"transcription":{"providers":[]},"realtime":{"providers":[]}
34 read last-heartbeat - null
3 admin exec.approvals.get - "path":"none","exists":false,"hash":"none","file":{"version":1,"defaults":{"security":"deny","ask":"off","askFallback":"deny"},"agents":{}}
4 admin exec.approvals.get - "path":"none","exists":false,"hash":"none","file":{"version":1,"defaults":{"security":"deny","ask":"off","askFallback":"deny"},"agents":{}},"resolvedDefaults":{"security":"deny","ask":"off","askFallback":"deny","autoAllowSkills":false}
4 approvals exec.approval.grants.list - "grants":[]
4 approvals plugin.approval.list - []
4 approvals openclaw.approval.list - []
4 approvals approval.history - "items":[]
4 questions+ question.list - "questions":[]
4 read commands.list - "commands":[]
4 read tools.catalog ~agentId=main "profiles":[],"groups":[]
4 read tools.effective ?sessionKey,~agentId=main "profile":"none","groups":[]
4 read tasks.list - "tasks":[]
4 read taskSuggestions.list - "suggestions":[]
4 read worktrees.list - "worktrees":[]
4 read projects.list - "projects":[],"recents":[]
4 read portal.list - "portals":[]
4 read artifacts.list - "artifacts":[]
4 read audit.list - "events":[]
4 read audit.activity.list - "events":[]
4 read plugins.list - "plugins":[],"diagnostics":[],"mutationAllowed":false
4! read plugins.catalog.browse - "items":[]
4 read plugins.uiDescriptors - "ok":true,"descriptors":[]
4 read board.get !sessionKey "revision":0,"tabs":[],"widgets":[]
4 read progressCard.get - "card":null
4 read transcripts.list - "sessions":[],"nextCursor":null
4 read mentions.list - "gatewayInstanceId":"gatelet","revision":0,"items":[]
4 read plugins.controlUi.list - "revision":"0","plugins":[],"diagnostics":[]
4 read users.prefs.get - "status":"ok","entries":{}
4! read themes.list - "current":{"id":"claw","mode":"system"},"theme":{"id":"claw","name":"Claw","source":"builtin"},"themes":[]
4! read webSearch.status ~agentId=main "enabled":false,"provider":null,"model":{"provider":"none","id":"none","runtimeLabel":"no agent runtime"},"providers":[],"route":{"kind":"disabled","label":"Web search","testable":false,"reason":"gatelet has no agent runtime"}
4 read diagnostics.lanes @ts "lanes":[],"dynamic":null
4 read diagnostics.stability - "capacity":0,"count":0,"dropped":0,"events":[],"summary":{"byType":{}}
4 read controlUi.sessionPullRequests.subscribe - "subscribed":true
4 pairing channels.pairing.list - "accounts":[],"requests":[],"commandOwnerConfigured":false,"limits":{"pendingPerAccount":0,"ttlMs":0}
4 admin openclaw.chat !sessionId "reply":"gatelet has no agent runtime: ask the gateway that runs the agent. This one connects operators and nodes.","action":"none"
4 admin openclaw.chat.history - "turns":[]
4 admin terminal.list - "sessions":[]
4 admin secrets.store.list - "entries":[]
4 admin conversations.list - "conversations":[]
4 admin update.status - "sentinel":null,"updateAvailable":null
"#;

/// Methods that act: `protocols scope methods`.
const ACTIONS: &str = "
3 write send agent agent.wait wake talk.mode tts.enable tts.disable tts.convert tts.setProvider chat.send \
    chat.abort browser.request
3 admin poll sessions.resolve sessions.patch sessions.reset sessions.delete sessions.compact chat.inject channels.logout \
    cron.add cron.update cron.remove cron.run skills.install skills.update exec.approvals.set web.login.start \
    web.login.wait wizard.start wizard.next wizard.cancel wizard.status update.run
4 read+ sessions.get chat.message.get
4 read cron.get tasks.get agents.files.list agents.files.get skills.detail doctor.memory.status memory.search sessions.diff plugins.catalog.get
4 write+ chat.send chat.abort sessions.create sessions.patch sessions.send sessions.abort sessions.steer sessions.fork \
    sessions.recover
4 write send poll message.action agent agent.wait wake tts.enable tts.disable tts.convert tts.setProvider tts.speak tools.invoke tasks.cancel tasks.retry worktrees.create board.update portal.open portal.close
4 admin sessions.delete sessions.reset sessions.compact sessions.cleanup sessions.rewind chat.inject channels.start \
    channels.stop channels.logout agents.create agents.update agents.delete agents.files.set cron.add cron.update \
    cron.remove cron.run skills.install skills.update plugins.install plugins.setEnabled plugins.uninstall models.probe \
    exec.approvals.set web.login.start web.login.wait wizard.start wizard.next wizard.cancel wizard.status update.run \
    openclaw.setup.detect terminal.open
4 talk talk.mode talk.speak talk.session.create talk.client.create
";

/// Method that is answered although this gateway has no handler for it.
#[derive(Clone, Copy)]
pub struct Empty {
    name: &'static str,
    /// Scope that an operator needs.
    pub scope: Scope,
    /// Narrower scope that is also sufficient (protocol 4).
    pub narrower: Option<Scope>,
    advertised: bool,
    answer: StubAnswer,
}

#[derive(Clone, Copy)]
enum StubAnswer {
    Read { params: &'static str, body: &'static str },
    Unavailable,
}

/// Returns the method with this name in this protocol.
pub fn find(protocol: Protocol, name: &str) -> Option<Empty> {
    let read = reads(protocol).find(|read| read.name == name);
    read.or_else(|| actions(protocol).find(|action| action.name == name))
}

/// Returns the names of the methods that hello lists in this protocol. Actions are not among them,
/// because they do not work.
pub fn names(protocol: Protocol) -> impl Iterator<Item = &'static str> {
    reads(protocol).filter(|read| read.advertised).map(|read| read.name)
}

/// Returns the names of all methods of this protocol that are answered here.
pub fn all(protocol: Protocol) -> impl Iterator<Item = &'static str> {
    reads(protocol).chain(actions(protocol)).map(|one| one.name)
}

impl Empty {
    /// Returns the answer at the given time, one JSON value.
    pub fn answer(&self, params: Option<Value<'_>>, now: WallMs) -> Result<Vec<u8>, Failure> {
        let StubAnswer::Read { params: wanted, body } = self.answer else {
            return Err(unavailable(self.name));
        };
        if !body.is_empty() && !body.starts_with('"') {
            return Ok(body.into());
        }
        let given = params.unwrap_or(Value::EMPTY);
        let mut wrong = None;
        let object = json::object(|o| {
            wrong = wanted.split(',').filter_map(|one| field(o, one, given, now).err()).next();
            if !body.is_empty() {
                o.fields(body);
            }
        });
        match wrong {
            None => Ok(object),
            Some(what) => {
                Err(Failure::invalid(["invalid ", self.name, " params: ", &what].concat()))
            }
        }
    }
}

/// Writes the part of the answer that comes from one parameter. The error is the problem with it.
fn field(
    o: &mut Writer<'_>,
    wanted: &'static str,
    given: Value<'_>,
    now: WallMs,
) -> Result<(), String> {
    let (kind, rest) = wanted.split_at(1);
    match kind {
        "@" => o.u64(rest, now.0),
        "!" => o.str(rest, &required(given, rest)?),
        "?" => _ = required(given, rest)?,
        "~" => {
            let (name, default) = rest.split_once('=').unwrap_or((rest, ""));
            let number = default.parse().ok();
            let kind = if number.is_some() { json::Kind::Number } else { json::Kind::String };
            match given
                .get(name)
                .filter(|value| value.kind() == kind && value.raw().len() <= limits::FIELD_LEN)
            {
                Some(value) => o.raw(name, value.raw().as_bytes()),
                None if number.is_some() => o.opt_u64(name, number),
                None => o.opt_str(name, Some(default).filter(|default| !default.is_empty())),
            }
        }
        "k" => missing_sessions(o, given)?,
        _ => {}
    }
    Ok(())
}

fn required(given: Value<'_>, name: &'static str) -> Result<String, String> {
    let (mut members, mut problems) = (Members::new(), SchemaProblems::default());
    schema::members(given, &mut members);
    let found = Field::required(name, ValueKind::Text(1, limits::FIELD_LEN)).of(
        &members,
        "",
        &mut problems,
    );
    let text = found.and_then(|text| text.as_str()).map(|text| text.into_owned());
    text.ok_or_else(|| problems.text().unwrap_or_default().to_owned())
}

/// Reports each requested session as missing; at most 64, as in the protocol.
fn missing_sessions(o: &mut Writer<'_>, given: Value<'_>) -> Result<(), String> {
    let keys = given.get("keys").ok_or("must have required property 'keys'")?;
    if keys.kind() != json::Kind::Array {
        return Err("at /keys: must be array".into());
    }
    o.arr("previews", |list| {
        for key in keys.items().filter(|key| key.kind() == json::Kind::String).take(64) {
            list.item_obj(|preview| {
                preview.raw("key", key.raw().as_bytes());
                preview.fields(r#""status":"missing","items":[]"#);
            });
        }
    });
    Ok(())
}

/// Creates the error of a method that needs an agent runtime.
pub(crate) fn unavailable(name: &str) -> Failure {
    let hint = "send it to the gateway that runs the agent; this one connects operators and nodes";
    let details = super::json(&super::answers::NoAgent { code: "NO_AGENT_RUNTIME", hint });
    let message = [name, " needs an agent runtime, and gatelet has none: ", hint].concat();
    Failure::unavailable(message).detailed(details)
}

fn reads(protocol: Protocol) -> impl Iterator<Item = Empty> {
    lines(READS, protocol).filter_map(|(line, rest)| {
        let (name, rest) = rest.split_once(' ')?;
        let (params, body) = rest.split_once(' ').unwrap_or((rest, ""));
        Some(Empty { name, answer: StubAnswer::Read { params, body }, ..line })
    })
}

fn actions(protocol: Protocol) -> impl Iterator<Item = Empty> {
    lines(ACTIONS, protocol).flat_map(|(line, names)| {
        names.split(' ').map(move |name| Empty { name, advertised: false, ..line })
    })
}

/// Returns the lines for this protocol: the values at the start of each, and the rest of its text.
fn lines(text: &'static str, protocol: Protocol) -> impl Iterator<Item = (Empty, &'static str)> {
    let digit = if protocol == Protocol::V3 { '3' } else { '4' };
    text.lines().filter_map(move |line| {
        let (protocols, rest) = line.split_once(' ')?;
        let (word, rest) = rest.split_once(' ')?;
        let scope = scope_of(word.trim_end_matches('+'));
        let sessions =
            if scope == Scope::Read { Scope::SessionsRead } else { Scope::SessionsWrite };
        let narrower = word.ends_with('+').then_some(sessions);
        let advertised = !protocols.ends_with('!');
        Some((
            Empty { name: "", scope, narrower, advertised, answer: StubAnswer::Unavailable },
            rest,
        ))
        .filter(|_| protocols.contains(digit))
    })
}

/// Returns the scope with this name. An unknown name requires admin.
fn scope_of(word: &str) -> Scope {
    match word {
        "read" => Scope::Read,
        "write" => Scope::Write,
        "approvals" => Scope::Approvals,
        "pairing" => Scope::Pairing,
        "questions" => Scope::Questions,
        "talk" => Scope::Talk,
        _ => Scope::Admin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::refusal::ErrorCode;
    use std::collections::BTreeSet;

    const BOTH: [Protocol; 2] = [Protocol::V3, Protocol::V4];

    fn ask(protocol: Protocol, name: &str, params: &str) -> Result<String, Failure> {
        let params = json::parse(params.as_bytes(), limits::JSON_DEPTH).unwrap();
        let found = find(protocol, name).expect(name);
        found.answer(Some(params), WallMs(7)).map(|json| String::from_utf8(json).unwrap())
    }

    #[test]
    fn every_table_line_parses_and_method_names_are_unique() {
        for text in [READS, ACTIONS] {
            for line in text.lines().filter(|line| !line.is_empty()) {
                let words: Vec<_> = line.split(' ').collect();
                assert!(matches!(words[0], "3" | "4" | "4!" | "34"), "{line}");
                let word = words[1].trim_end_matches('+');
                assert_eq!(scope_of(word).name().strip_prefix("operator."), Some(word), "{line}");
                assert!(!words.contains(&""), "two spaces: {line}");
            }
        }
        for protocol in BOTH {
            let all: Vec<_> =
                reads(protocol).chain(actions(protocol)).map(|method| method.name).collect();
            let different: BTreeSet<_> = all.iter().collect();
            assert!(all.len() > 50 && different.len() == all.len(), "{all:?}");
        }
    }

    #[test]
    fn every_answer_is_json_without_duplicate_keys() {
        for protocol in BOTH {
            for name in reads(protocol).map(|read| read.name) {
                let text = ask(
                    protocol,
                    name,
                    r#"{"sessionKey":"s","key":"k","keys":["a"],"agentId":"x","sessionId":"s"}"#,
                )
                .expect(name);
                let value = json::parse(text.as_bytes(), limits::JSON_DEPTH).expect(name);
                assert!(
                    matches!(
                        value.kind(),
                        json::Kind::Object | json::Kind::Array | json::Kind::Null
                    ),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn answers_contain_the_time_and_repeated_parameters() {
        assert_eq!(
            ask(Protocol::V3, "chat.history", r#"{"sessionKey":"a\"b"}"#).unwrap(),
            r#"{"sessionKey":"a\"b","messages":[],"thinkingLevel":"off"}"#
        );
        let usage = |params| ask(Protocol::V3, "usage.cost", params).unwrap()[..27].to_owned();
        assert_eq!(usage("{}"), r#"{"updatedAt":7,"days":30,"d"#);
        assert_eq!(usage(r#"{"days":99}"#), r#"{"updatedAt":7,"days":99,"d"#);
        assert_eq!(usage(r#"{"days":"9"}"#), r#"{"updatedAt":7,"days":30,"d"#);
        let dates =
            ask(Protocol::V4, "sessions.usage", r#"{"startDate":"a","endDate":1}"#).unwrap();
        assert!(dates.starts_with(r#"{"updatedAt":7,"startDate":"a","sessions":[]"#), "{dates}");
        let identity = |params| ask(Protocol::V4, "agent.identity.get", params).unwrap();
        assert_eq!(identity("{}"), r#"{"agentId":"main","name":"gatelet"}"#);
        assert_eq!(identity(r#"{"agentId":"x"}"#), r#"{"agentId":"x","name":"gatelet"}"#);
        assert_eq!(
            ask(Protocol::V4, "sessions.preview", r#"{"keys":["a",1]}"#).unwrap(),
            r#"{"ts":7,"previews":[{"key":"a","status":"missing","items":[]}]}"#
        );
        assert_eq!(ask(Protocol::V4, "last-heartbeat", "{}").unwrap(), "null");
    }

    #[test]
    fn missing_parameters_are_reported_in_protocol_text() {
        let said =
            |name: &str, params: &str| ask(Protocol::V4, name, params).unwrap_err().message.clone();
        assert_eq!(
            said("chat.history", "{}"),
            "invalid chat.history params: must have required property 'sessionKey'"
        );
        assert_eq!(
            said("chat.history", "[]"),
            "invalid chat.history params: must have required property 'sessionKey'"
        );
        let at = |rest: &str| format!("invalid chat.history params: at /sessionKey: {rest}");
        assert_eq!(said("chat.history", r#"{"sessionKey":1}"#), at("must be string"));
        assert_eq!(
            said("chat.history", r#"{"sessionKey":""}"#),
            at("must NOT have fewer than 1 characters")
        );
        let long = format!(r#"{{"sessionKey":"{}"}}"#, "x".repeat(limits::FIELD_LEN + 1));
        assert_eq!(
            said("chat.history", &long),
            at(&format!("must NOT have more than {} characters", limits::FIELD_LEN))
        );
        assert_eq!(
            said("tools.effective", "{}"),
            "invalid tools.effective params: must have required property 'sessionKey'"
        );
        assert_eq!(
            said("sessions.preview", "{}"),
            "invalid sessions.preview params: must have required property 'keys'"
        );
        assert_eq!(
            said("sessions.preview", r#"{"keys":1}"#),
            "invalid sessions.preview params: at /keys: must be array"
        );
    }

    #[test]
    fn actions_are_unavailable_with_a_hint() {
        let failed = ask(Protocol::V3, "chat.send", "{}").unwrap_err();
        assert_eq!((failed.code, failed.unauthorized), (ErrorCode::Unavailable, false));
        assert!(
            failed.message.starts_with("chat.send needs an agent runtime, and gatelet has none: "),
            "{}",
            failed.message
        );
        assert!(String::from_utf8(failed.details.clone().unwrap())
            .unwrap()
            .contains(r#""code":"NO_AGENT_RUNTIME","hint":"#));
    }

    #[test]
    fn methods_with_a_handler_are_not_in_the_table() {
        let twice = |method: &&super::super::Method| {
            BOTH.iter().any(|protocol| find(*protocol, method.name).is_some())
        };
        let names: Vec<_> =
            super::super::METHODS.iter().filter(twice).map(|method| method.name).collect();
        assert!(names.is_empty(), "strike them from the table: {names:?}");
    }

    #[test]
    fn a_method_of_one_protocol_is_unknown_in_the_other() {
        assert!(
            find(Protocol::V3, "tasks.list").is_none()
                && find(Protocol::V4, "tasks.list").is_some()
        );
        assert!(
            find(Protocol::V4, "browser.request").is_none()
                && find(Protocol::V3, "browser.request").is_some()
        );
        assert!(BOTH.into_iter().all(|protocol| ["", "no.such.method", "-"]
            .iter()
            .all(|name| find(protocol, name).is_none())));
    }
}
