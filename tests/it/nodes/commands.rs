//! Commands that a node may run, checked against a second table by platform, taken from the
//! protocol's documents.

use gatelet::gate::commands::{
    approval_scopes, invoke_scope, platform, Denial, InvokeRejection, Lists, NodeDescription, Rules,
};
use gatelet::gate::commands_known::{find, CommandSet, Platform, KNOWN};
use gatelet::gate::protocol::Protocol;
use gatelet::gate::scopes::{Scope, Scopes};

const V3_CANVAS: &str =
    "canvas.present canvas.hide canvas.navigate canvas.eval canvas.snapshot canvas.a2ui.push \
                         canvas.a2ui.pushJSONL canvas.a2ui.reset";
const V3_MEDIA: &str = "camera.list camera.snap camera.clip screen.record location.get";
const V3_SYSTEM: &str =
    "system.run system.which system.notify system.execApprovals.get system.execApprovals.set browser.proxy";

const V4_IOS: &str =
    "camera.list location.get device.info device.status contacts.search calendar.events \
                      reminders.list photos.latest motion.activity motion.pedometer system.notify";
const V4_WATCH_RELAY: &str = "watch.status watch.notify";
const V4_WATCHOS: &str = "device.info device.status system.notify";
const V4_ANDROID: &str =
    "notifications.list notifications.actions device.permissions device.health device.apps \
                          callLog.search mobile.ui.observe mobile.ui.act";
const V4_MACOS: &str = "camera.ptz.status device.apps canvas.present canvas.hide canvas.navigate";
const V4_HOST: &str = "system.run.prepare system.run system.which system.execApprovals.get system.execApprovals.set \
                       fs.listDir terminal.upload browser.proxy browser.proxy.upload.v1 mcp.tools.call.v1 \
                       agent.cli.claude.run.v1 screen.snapshot desktop.stream";
const V4_DESKTOP: &str =
    "system.notify computer.act ollama.models ollama.chat anthropic.claude.sessions.list.v1 \
                          anthropic.claude.sessions.read.v1";
const V4_LINUX: &str = "camera.list location.get";
/// Commands that our own node supports on Linux and that OpenClaw's allowlist for Linux lacks: the
/// only row that differs.
const OURS_LINUX: &str = "device.info device.status";
const V4_WINDOWS: &str = "camera.list location.get device.info device.status";
const V4_UNKNOWN: &str = "camera.list location.get system.notify";
const V4_TALK: &str = "talk.ptt.start talk.ptt.stop talk.ptt.cancel talk.ptt.once";
const V4_DANGEROUS: &str =
    "camera.snap camera.clip camera.ptz.control screen.record contacts.add calendar.add \
                            reminders.add sms.send sms.search health.summary";
const APPROVED_BY_ADMIN: &str = "system.run.prepare system.run system.which system.execApprovals.get \
                                 system.execApprovals.set browser.proxy browser.proxy.upload.v1 fs.listDir \
                                 terminal.upload";
const INVOKED_BY_ADMIN: &str = "browser.proxy browser.proxy.upload.v1 fs.listDir terminal.upload";

/// Numbers of commands in files: the position in this list. Append only; a failure here means that
/// existing files are misread.
const NUMBERED: &str = "canvas.present canvas.hide canvas.navigate canvas.eval canvas.snapshot canvas.a2ui.push \
    canvas.a2ui.pushJSONL canvas.a2ui.reset camera.list camera.snap camera.clip screen.record location.get sms.send \
    system.run system.which system.notify system.execApprovals.get system.execApprovals.set browser.proxy \
    system.run.prepare fs.listDir terminal.upload browser.proxy.upload.v1 mcp.tools.call.v1 agent.cli.claude.run.v1 \
    screen.snapshot desktop.stream computer.act camera.ptz.status camera.ptz.control device.info device.status \
    device.apps device.permissions device.health contacts.search contacts.add calendar.events calendar.add \
    reminders.list reminders.add photos.latest motion.activity motion.pedometer callLog.search notifications.list \
    notifications.actions mobile.ui.observe mobile.ui.act sms.search health.summary talk.ptt.start talk.ptt.stop \
    talk.ptt.cancel talk.ptt.once watch.status watch.notify ollama.models ollama.chat \
    anthropic.claude.sessions.list.v1 anthropic.claude.sessions.read.v1 anthropic.claude.terminal.resume.v1 \
    anthropic.claude.terminal.start.v1 file.fetch file.stat file.write file.create dir.list dir.fetch \
    workspace.memory workspace.skills openclaw.sessions.list.v1 openclaw.sessions.read.v1 logbook.snapshot";

/// Platform and device family as nodes of both protocols may send them.
const DEVICES: [(Platform, &str, &str); 7] = [
    (Platform::Ios, "iOS 18.1", "iPad"),
    (Platform::Watchos, "watchOS 11.0", "Apple Watch"),
    (Platform::Android, "android", "Android"),
    (Platform::Macos, "macos", "Mac"),
    (Platform::Linux, "linux", "Linux"),
    (Platform::Windows, "windows", "Windows"),
    (Platform::Unknown, "plan9", ""),
];

fn open(protocol: Protocol, platform: Platform) -> Vec<&'static [&'static str]> {
    use Platform::*;
    const SCREEN: &[&str] = &[V3_CANVAS, V3_MEDIA];
    vec![match (protocol, platform) {
        (Protocol::V3, Ios) => SCREEN,
        (Protocol::V3, Android) => &[V3_CANVAS, V3_MEDIA, "sms.send"],
        (Protocol::V3, Macos) => &[V3_CANVAS, V3_MEDIA, V3_SYSTEM],
        (Protocol::V3, Linux | Windows) => &[V3_SYSTEM],
        (Protocol::V3, Watchos | Unknown) => &[V3_CANVAS, V3_MEDIA, "sms.send", V3_SYSTEM],
        (Protocol::V4, Ios) => &[V4_IOS],
        (Protocol::V4, Watchos) => &[V4_WATCHOS],
        (Protocol::V4, Android) => &[V4_IOS, V4_ANDROID],
        (Protocol::V4, Macos) => &[V4_IOS, V4_MACOS, V4_HOST, V4_DESKTOP],
        (Protocol::V4, Linux) => &[V4_LINUX, OURS_LINUX, V4_HOST, V4_DESKTOP],
        (Protocol::V4, Windows) => &[V4_WINDOWS, V4_HOST, V4_DESKTOP],
        (Protocol::V4, Unknown) => &[V4_UNKNOWN],
    }]
}

fn has(groups: &[&str], command: &str) -> bool {
    groups
        .iter()
        .any(|group| group.split(' ').filter(|word| !word.is_empty()).any(|word| word == command))
}

fn node<'a>(
    protocol: Protocol,
    platform: &'a str,
    family: &'a str,
    declared: &'a [&'a str],
) -> NodeDescription<'a, &'a str> {
    NodeDescription { protocol, platform, family, is_host: false, talk: false, declared }
}

fn rules<'a>(
    node: NodeDescription<'a, &'a str>,
    allow: &'a [&'a str],
    deny: &'a [&'a str],
) -> Rules<'a, &'a str, &'a str> {
    Rules::new(node, Lists { allow, deny })
}

fn all(_: &str) -> bool {
    true
}

fn none(_: &str) -> bool {
    false
}

fn reason(answer: Result<(), Denial<'_>>) -> Option<&'static str> {
    answer.err().map(|denial| denial.reason.word())
}

fn text(answer: Result<(), Denial<'_>>) -> String {
    answer.expect_err("it is refused").to_string()
}

#[test]
fn known_commands_by_platform_and_protocol_match_the_documents() {
    let mut asked = 0;
    for protocol in [Protocol::V3, Protocol::V4] {
        for (kind, system, family) in DEVICES {
            for known in &KNOWN {
                let name = known.name;
                let open = open(protocol, kind).iter().any(|groups| has(groups, name));
                let declared = [name, "other.command"];
                let rules =
                    rules(node(protocol, system, family, &declared), &["other.command"], &[]);
                // a command of the talk family itself marks its node as such
                let open = open || (protocol == Protocol::V4 && has(&[V4_TALK], name));
                let case = format!("{name} on {system} in {protocol:?}");
                let expected =
                    if open { vec![name, "other.command"] } else { vec!["other.command"] };
                assert_eq!(rules.offered().collect::<Vec<_>>(), expected, "{case}");
                let not_listed = Some("command not allowlisted");
                assert_eq!(
                    reason(rules.invoke(name, &all)),
                    if open { None } else { not_listed },
                    "{case}"
                );
                // not approved: host commands are not even listed, others are not declared
                let host = protocol == Protocol::V4 && has(&[V4_HOST, V4_TALK], name);
                let waits =
                    if open && !host { Some("command not declared by node") } else { not_listed };
                assert_eq!(reason(rules.invoke(name, &|one| one != name)), waits, "{case}");
                asked += 1;
            }
        }
    }
    assert_eq!(asked, 2 * 7 * 75);
}

#[test]
fn command_numbers_names_and_traits_are_stable() {
    let names: Vec<&str> = NUMBERED.split_whitespace().collect();
    assert_eq!(KNOWN.map(|known| known.name).to_vec(), names);
    for (number, known) in (0..).zip(&KNOWN) {
        let name = known.name;
        assert_eq!(find(name), Some((number, known)), "each name once");
        assert_eq!(known.is_dangerous(), has(&[V4_DANGEROUS], name), "{name}");
        assert_eq!(known.is_host(), has(&[V4_HOST], name), "{name}");
        assert_eq!(known.needs_talk(), has(&[V4_TALK], name), "{name}");
        assert_eq!(known.needs_iphone(), has(&[V4_WATCH_RELAY], name), "{name}");
        let scope = if has(&[INVOKED_BY_ADMIN], name) { Scope::Admin } else { Scope::Write };
        assert_eq!(invoke_scope(name), scope, "{name}");
        let needed = if has(&[APPROVED_BY_ADMIN], name) { Scope::Admin } else { Scope::Write };
        assert_eq!(
            approval_scopes([name]),
            [Scope::Pairing, needed].into_iter().collect(),
            "{name}"
        );
    }
    assert_eq!(find("canvas.Present"), None);
}

#[test]
fn approval_scopes_depend_on_the_kinds_of_commands() {
    let scopes = |list: &[Scope]| list.iter().copied().collect::<Scopes>();
    assert_eq!(approval_scopes([]), scopes(&[Scope::Pairing]));
    assert_eq!(approval_scopes(["a.plugin.command"]), scopes(&[Scope::Pairing, Scope::Write]));
    let mixed = ["camera.list", "system.run", "camera.clip"];
    assert_eq!(approval_scopes(mixed), scopes(&[Scope::Pairing, Scope::Admin]));
    assert_eq!((invoke_scope(" fs.listDir "), invoke_scope("x")), (Scope::Admin, Scope::Write));
}

#[test]
fn platform_is_inferred_in_protocol_3_and_checked_in_protocol_4() {
    use Platform::*;
    for (system, family, v3, v4) in [
        ("ios", "", Ios, Ios),
        ("ios", "iPad", Ios, Ios),
        ("ios", "Mac", Ios, Unknown),
        (" IOS ", " iPhone ", Ios, Ios),
        ("iOS 18.1", "iPhone", Ios, Ios),
        ("iOS 18.1.2", "iPhone", Ios, Ios),
        ("iOS 18.1.2.3", "iPhone", Ios, Unknown),
        ("iOS 18.", "iPhone", Ios, Unknown),
        ("iOS  18", "iPhone", Ios, Unknown),
        ("iOS 18.1", "", Ios, Unknown),
        ("iPadOS 18.1", "iPad", Ios, Ios),
        ("iPadOS", "iPad", Ios, Unknown),
        ("watchos", "", Unknown, Unknown),
        ("watchos", "watchos", Unknown, Watchos),
        ("watchOS 11", "Apple Watch", Unknown, Watchos),
        ("", "Apple Watch Series 9", Unknown, Watchos),
        ("android", "", Android, Android),
        ("Android 14", "Android", Android, Android),
        ("android 14 (SDK 34)", "Android", Android, Android),
        ("android 14 (sdk )", "Android", Android, Unknown),
        ("android 14 (sdk 34", "Android", Android, Unknown),
        ("android 14.1", "Android", Android, Unknown),
        ("android 14", "", Android, Unknown),
        ("macos", "Mac", Macos, Macos),
        ("macos", "", Macos, Unknown),
        ("macOS 15.1", "Mac", Macos, Macos),
        ("darwin", "Mac", Macos, Unknown),
        ("linux", "Linux", Linux, Linux),
        ("linux", "", Linux, Unknown),
        ("linux 6.1", "Linux", Linux, Unknown),
        ("windows", "Windows", Windows, Windows),
        ("windows", "linux", Windows, Unknown),
        ("windows 11", "Windows", Windows, Unknown),
        ("win32", "Windows", Windows, Unknown),
        ("", "my Linux box", Linux, Linux),
        ("  ", "MacBook", Macos, Macos),
        ("", "Windows", Windows, Windows),
        ("", "an android", Android, Android),
        ("", "", Unknown, Unknown),
        ("freebsd", "Linux", Linux, Unknown),
        ("\u{131}os", "", Unknown, Unknown),
        ("io", "", Unknown, Unknown),
        ("\u{e9}\u{e9}", "\u{e9}", Unknown, Unknown),
        ("android \u{e9}(sdk 3)", "Android", Android, Unknown),
        ("android 1 (sdk\u{e9}3)", "Android", Android, Unknown),
    ] {
        assert_eq!(
            platform(Protocol::V3, system, family),
            v3,
            "{system:?} {family:?} in protocol 3"
        );
        assert_eq!(
            platform(Protocol::V4, system, family),
            v4,
            "{system:?} {family:?} in protocol 4"
        );
    }
}

#[test]
fn node_hosts_of_protocol_4_name_their_system_as_node_and_python_do() {
    let (linux, mac, windows, other) =
        (("linux", "Linux"), ("macos", "Mac"), ("windows", "Windows"), ("plan9", ""));
    let names: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
    for (system, family, read_as) in [
        ("linux", "", linux),
        (" Linux ", "Linux", linux),
        ("linux", " linux ", linux),
        ("darwin", "", mac),
        ("darwin", "Mac", mac),
        ("macos", "", mac),
        ("macos", "mac", mac),
        ("win32", "", windows),
        ("win32", "Windows", windows),
        ("windows", "", windows),
        ("windows", "windows", windows),
        // a family that does not fit, or a system that is none of these
        ("linux", "Windows", other),
        ("darwin", "iPhone", other),
        ("win32", "my Windows box", other),
        ("linux 6.1", "Linux", other),
        ("darwin 24", "", other),
        ("freebsd", "", other),
        ("linux2", "", other),
    ] {
        let offered = |protocol, is_host, (system, family)| {
            let node = NodeDescription { is_host, ..node(protocol, system, family, &names) };
            rules(node, &[], &[]).offered().map(str::to_string).collect::<Vec<_>>()
        };
        let (sent, v4) = ((system, family), Protocol::V4);
        assert_eq!(offered(v4, true, sent), offered(v4, false, read_as), "{sent:?}");
        // other clients, and protocol 3, keep their rules
        let plain = if platform(v4, system, family).is_desktop() { read_as } else { other };
        assert_eq!(offered(v4, false, sent), offered(v4, false, plain), "{sent:?}");
        let v3 = Protocol::V3;
        assert_eq!(offered(v3, true, sent), offered(v3, false, sent), "{sent:?}");
    }
}

#[test]
fn allow_and_deny_lists_change_the_offered_commands() {
    let declared = ["camera.snap", "own.thing", "system.run", "worker.launch.v1", "canvas.eval"];
    for protocol in [Protocol::V3, Protocol::V4] {
        let node = node(protocol, "linux", "Linux", &declared);
        let plain = rules(node, &[], &[]);
        assert_eq!(plain.offered().collect::<Vec<_>>(), ["system.run"]);
        let wide = rules(node, &[" camera.snap ", "own.thing"], &[]);
        assert_eq!(wide.offered().collect::<Vec<_>>(), ["camera.snap", "own.thing", "system.run"]);
        assert_eq!(wide.invoke("own.thing", &all), Ok(()));
        assert_eq!(
            reason(wide.invoke("Own.Thing", &all)),
            Some("command not allowlisted"),
            "names are exact"
        );
        let both = rules(node, &["camera.snap", "system.run"], &["camera.snap", " system.run "]);
        assert_eq!(both.offered().count(), 0, "deny takes precedence");
        assert_eq!(
            text(both.invoke("camera.snap", &all)),
            "\"camera.snap\" is blocked by gateway.nodes.commands.deny"
        );
        let worker = rules(node, &["worker.launch.v1"], &[]);
        let opened = worker.offered().any(|name| name == "worker.launch.v1");
        assert_eq!(opened, protocol == Protocol::V3, "private in protocol 4, unknown in 3");
    }
}

#[test]
fn allowed_host_commands_still_need_approval() {
    let declared = ["system.run", "system.notify"];
    let node = node(Protocol::V4, "linux", "Linux", &declared);
    let rules = rules(node, &["system.run"], &[]);
    assert_eq!(reason(rules.invoke("system.run", &none)), Some("node did not declare commands"));
    assert_eq!(
        reason(rules.invoke("system.run", &|one| one != "system.run")),
        Some("command not declared by node")
    );
    assert_eq!(rules.invoke("system.run", &all), Ok(()));
}

#[test]
fn a_command_that_the_node_did_not_declare_is_not_blamed_on_the_platform() {
    for (system, family, command) in [
        ("linux", "Linux", "system.run"),
        ("windows", "Windows", "system.run"),
        ("macos", "Mac", "screen.snapshot"),
        ("linux", "Linux", "system.which"),
    ] {
        let rules = rules(node(Protocol::V4, system, family, &["system.notify"]), &[], &[]);
        for approved in [&all as &dyn Fn(&str) -> bool, &none] {
            let denied = rules.invoke(command, approved);
            assert_eq!(reason(denied), Some("command not allowlisted"), "the reason of OpenClaw");
            let expected = format!("the node (platform: {system}) does not support \"{command}\"");
            assert_eq!(text(denied), expected);
        }
    }
    let phone = rules(node(Protocol::V4, "ios", "", &["system.notify"]), &[], &[]);
    let denied = text(phone.invoke("system.run", &all));
    assert_eq!(denied, "\"system.run\" is not in the allowlist for platform \"ios\"");
}

#[test]
fn declared_commands_are_trimmed_deduplicated_and_kept_in_order() {
    let declared = [" system.which", "", "system.run", "system.which ", "  ", "system.run"];
    let rules = rules(node(Protocol::V4, "linux", "Linux", &declared), &[""], &[]);
    assert_eq!(rules.offered().collect::<Vec<_>>(), ["system.which", "system.run"]);
    assert_eq!(rules.invoke(" system.which ", &all), Ok(()));
}

#[test]
fn first_matching_denial_reason_is_returned() {
    for protocol in [Protocol::V3, Protocol::V4] {
        let some = ["computer.act", "system.notify"];
        let of = |declared| {
            rules(node(protocol, "linux", "Linux", declared), &["extra"], &["system.which"])
        };
        for command in ["", "  \t"] {
            assert_eq!(reason(of(&[]).invoke(command, &all)), Some("command required"));
        }
        assert_eq!(
            reason(of(&[]).invoke("system.which", &all)),
            Some("command not allowlisted"),
            "nor declared"
        );
        assert_eq!(reason(of(&[]).invoke("sms.send", &none)), Some("command not allowlisted"));
        assert_eq!(reason(of(&some).invoke("extra", &all)), Some("command not declared by node"));
        assert_eq!(reason(of(&[]).invoke("extra", &all)), Some("node did not declare commands"));
        assert_eq!(
            reason(of(&["canvas.eval"]).invoke("extra", &all)),
            Some("node did not declare commands")
        );
        assert_eq!(
            reason(of(&some).invoke("system.notify", &none)),
            Some("node did not declare commands")
        );
        assert_eq!(of(&some).invoke("system.notify", &all), Ok(()));
    }
    let words = [
        InvokeRejection::Required,
        InvokeRejection::NotAllowlisted,
        InvokeRejection::NotDeclared,
        InvokeRejection::NothingDeclared,
    ];
    assert_eq!(words.map(|one| one.word().len()), [16, 23, 28, 29]);
}

#[test]
fn protocol_4_denial_messages_state_the_remedy() {
    let declared = ["system.run", "computer.act"];
    let rules =
        rules(node(Protocol::V4, "linux", "Linux", &declared), &["extra"], &["talk.x", "denied"]);
    let waits =
        "waits for approval; run `gatelet nodes pending`, then `gatelet nodes approve <requestId>`";
    for (command, approved, said) in [
        ("", all as fn(&str) -> bool, "command required".to_string()),
        (
            "sms.send",
            all,
            "\"sms.send\" requires explicit gateway.nodes.commands.allow opt-in".to_string(),
        ),
        (
            "canvas.eval",
            all,
            "\"canvas.eval\" is not in the allowlist for platform \"linux\"".to_string(),
        ),
        ("extra", all, "the node (platform: linux) does not support \"extra\"".to_string()),
        ("extra", none, "the node did not declare any supported commands".to_string()),
        ("denied", all, "\"denied\" is blocked by gateway.nodes.commands.deny".to_string()),
        ("talk.x", all, "\"talk.x\" requires a trusted Talk-capable node".to_string()),
        ("system.run", none, format!("\"system.run\" {waits}")),
        ("computer.act", none, format!("\"computer.act\" {waits}")),
        ("computer.act", |one| one == "system.run", format!("\"computer.act\" {waits}")),
    ] {
        assert_eq!(text(rules.invoke(command, &approved)), said);
    }
}

#[test]
fn talk_commands_need_a_talk_node_and_watch_commands_an_iphone() {
    let of = |talk, declared| {
        rules(NodeDescription { talk, ..node(Protocol::V4, "plan9", "", declared) }, &[], &[])
    };
    const WORD: &str = "talk.ptt.once";
    assert_eq!(
        reason(of(false, &["camera.list"]).invoke(WORD, &all)),
        Some("command not allowlisted")
    );
    assert_eq!(
        reason(of(true, &["camera.list"]).invoke(WORD, &all)),
        Some("command not declared by node")
    );
    assert_eq!(of(true, &[WORD]).invoke(WORD, &all), Ok(()));
    assert_eq!(of(false, &["Talk.other", WORD]).offered().collect::<Vec<_>>(), [WORD]);
    let both = ["talk.ptt.start", WORD];
    assert_eq!(
        reason(of(false, &both).invoke(WORD, &|one| one != WORD)),
        Some("command not declared by node")
    );
    let old =
        rules(NodeDescription { talk: true, ..node(Protocol::V3, "plan9", "", &both) }, &[], &[]);
    assert_eq!(old.offered().count(), 0, "protocol 3 has no such commands");

    let relay = ["watch.status", "watch.notify"];
    for (system, family, offered) in
        [("iOS 18", " IPHONE ", 2), ("ios", "iPad", 0), ("ios", "", 0), ("", "iphone", 2)]
    {
        let rules = rules(node(Protocol::V4, system, family, &relay), &[], &[]);
        assert_eq!(rules.offered().count(), offered, "{system} {family}");
    }
}

#[test]
fn only_offered_commands_widen_the_approved_ones() {
    let mut approved = CommandSet::default();
    assert!(approved.insert("system.which") && approved.insert("browser.proxy"));
    assert!(!approved.insert("own.thing"), "has no number");
    let old = |name: &str| approved.contains(name);
    let of = |declared| rules(node(Protocol::V4, "linux", "Linux", declared), &["own.thing"], &[]);
    for (declared, wider) in [
        (&[][..], false),
        (&["system.which"], false),
        (&["system.which", "browser.proxy"], false),
        (&["system.which", "sms.send"], false),
        (&["system.which", "system.run"], true),
        (&["own.thing"], true),
    ] {
        assert_eq!(of(declared).widens(&old), wider, "{declared:?}");
    }
    let wider = of(&["system.which", "system.run"]);
    assert_eq!(wider.invoke("system.which", &old), Ok(()), "while another approval is pending");
    assert_eq!(reason(wider.invoke("system.run", &old)), Some("command not allowlisted"));
}

#[test]
fn command_set_round_trips_including_unknown_bits() {
    for (number, known) in KNOWN.iter().enumerate() {
        let mut set = CommandSet::default();
        assert!(set.insert(known.name));
        let mut bytes = [0; CommandSet::LEN];
        bytes[number / 8] = 1 << (number % 8);
        assert_eq!((set.bytes(), set), (&bytes, CommandSet::from_bytes(bytes)));
        assert_eq!(set.names().collect::<Vec<_>>(), [known.name]);
        assert!(KNOWN.iter().all(|one| set.contains(one.name) == (one.name == known.name)));
    }
    let full = CommandSet::from_bytes([255; CommandSet::LEN]);
    assert_eq!((full.names().count(), full.bytes()), (KNOWN.len(), &[255; CommandSet::LEN]));
    assert!(!full.contains("own.thing"));
}
