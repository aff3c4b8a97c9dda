//! Hints, followed to the letter: each command is run in a new shell and each configuration line is
//! added to the file, and then the client that was refused is admitted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use gatelet::gate::limits;
use gatelet::gate::refusal::Refusal;
use serde_json::{json, Value};
use support::client::{Device, Dial, Refused, Who};
use support::gateway::{Gateway, Plan, TOKEN};
use support::runner;
use support::temp_dir::TempDir;

/// Origins that a configuration can list.
const LISTABLE: [&str; 18] = [
    "https://evil.example",
    "http://evil.example:8080",
    "https://evil.example:443",
    "http://tauri.localhost",
    "http://[2001:db8:0:0:0:0:0:1]:3000",
    "tauri://localhost",
    "capacitor://localhost",
    "ionic://localhost",
    "electron://altair",
    "app://.",
    "app://-",
    "app://obsidian.md",
    "app://localhost:80",
    "chrome-extension://fmkadmapgofadopljbjfkapdkoienihi",
    "moz-extension://7b3f1c1e-0d4a-4a58-a1e5-8e2b3a1f0c9d",
    "safari-web-extension://7B3F1C1E-0D4A-4A58-A1E5-8E2B3A1F0C9D",
    "vscode-webview://0rh3mvnj2k9f5d6c8b1a4s7p0q2w5e8r1t4y7u0i3o6p",
    "web+gate://localhost",
];

/// Origins that no configuration can list.
const OPAQUE: [&str; 6] =
    ["null", "file://", "file:///home/ann/page.html", "localhost", "ws://localhost", "app://"];

/// Returns the configuration lines in a hint: key and value.
fn settings(hint: &str) -> Vec<(String, Value)> {
    let lines = hint.match_indices("gateway.").filter_map(|(at, _)| {
        let (key, rest) = hint[at..].split_once(": ").filter(|(key, _)| !key.contains(' '))?;
        let value = serde_json::Deserializer::from_str(rest).into_iter().next()?.ok()?;
        Some((key.to_string(), value))
    });
    lines.collect()
}

/// Returns the commands that a hint quotes.
fn commands(hint: &str) -> Vec<String> {
    hint.split('`').skip(1).step_by(2).map(str::to_string).collect()
}

/// Stops the gateway, adds a configuration line, and starts it again.
fn with_setting(gateway: Gateway, (key, value): &(String, Value)) -> Gateway {
    let mut plan = gateway.stop();
    let mut at = &mut plan.config;
    for name in key.split('.').skip(1) {
        at = &mut at[name];
    }
    *at = value.clone();
    plan.good(&["config", "check"]);
    plan.start()
}

/// A shell without variables of the gateway, in which `gatelet` is the binary under test.
struct Shell(TempDir);

impl Shell {
    fn new() -> Shell {
        let shell = Shell(TempDir::new());
        let command = runner::command(&[], &[]);
        let words: Vec<String> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| format!("'{}'", word.to_str().unwrap()))
            .collect();
        let file = shell.0.path().join("gatelet");
        fs::write(&file, format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" "))).unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        shell
    }

    /// Runs a command that must succeed and returns its output.
    fn run(&self, command: &str) -> String {
        let dir = self.0.path().to_str().unwrap();
        let output = Command::new("sh")
            .args(["-c", command])
            .env_clear()
            .env("PATH", format!("{dir}:/usr/local/bin:/usr/bin:/bin"))
            .env("HOME", dir)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "`{command}`: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command of a hint and returns the client with the credential that it printed.
    fn follow(&self, command: &str, who: &Who) -> Who {
        let words: Vec<&str> = command.split(' ').collect();
        if words.ends_with(&["url"]) {
            let link = self.run(command);
            let (address, token) = link.lines().next().unwrap().split_once("/#token=").unwrap();
            let host = address.strip_prefix("http://").unwrap();
            let page = Dial::to(host.parse().unwrap()).page(host);
            assert!(page.get("/").starts_with("HTTP/1.1 200 "), "{address}");
            page.connect(&Who::v4().page().token(token).device(&Device::new())).unwrap();
            who.clone().token(token)
        } else if words.ends_with(&["token", "show"]) {
            who.clone().token(self.run(command).trim())
        } else if words.contains(&"pair") {
            let made: Value =
                serde_json::from_str(&self.run(&format!("{command} --json"))).unwrap();
            who.clone().code(made["code"].as_str().unwrap())
        } else {
            self.run(command);
            who.clone()
        }
    }
}

/// Starts a gateway with its token in the state directory.
fn start(mut config: Value) -> Gateway {
    if config.get("auth").is_none() {
        config["auth"] = json!({ "mode": "token" });
    }
    Plan::with(config).start()
}

fn token(gateway: &Gateway) -> String {
    fs::read_to_string(gateway.plan.dir().join("token")).unwrap()
}

/// Asserts that the client is refused for this reason.
fn refused(dial: &Dial, who: &Who, refusal: Refusal) -> Refused {
    let refused = dial.connect(who).unwrap_err();
    assert_eq!(refused.code(), refusal.words().code, "{refused:?}");
    refused
}

#[test]
fn every_origin_is_admitted_after_the_line_of_its_hint_is_added() {
    let mut failed = Vec::new();
    for origin in LISTABLE {
        let gateway = Gateway::new();
        let who = Who::v4().page().token(TOKEN).device(&Device::new());
        let hint = refused(&gateway.dial().origin(origin), &who, Refusal::OriginForeign);
        let hint = hint.hint().to_string();
        let (code, said) = gateway.plan.run(&["explain", "--origin", origin, "--token", "right"]);
        assert!(code == 3 && said.contains(&hint), "{origin}: {said}");
        let lines = settings(&hint);
        let [line] = lines.as_slice() else { panic!("{origin}: {hint}") };
        let mut plan = gateway.stop();
        plan.config["controlUi"] = json!({ "allowedOrigins": line.1 });
        assert_eq!(line.0, "gateway.controlUi.allowedOrigins");
        let Ok(gateway) = plan.try_start() else {
            failed.push(origin);
            continue;
        };
        let admitted = gateway.dial().origin(origin).connect(&who).is_ok();
        let other = gateway.dial().origin(&format!("{origin}0")).connect(&who);
        if !admitted || other.is_ok() {
            failed.push(origin);
        }
    }
    assert!(failed.is_empty(), "{} of {}: {failed:?}", failed.len(), LISTABLE.len());
}

#[test]
fn origins_that_cannot_be_listed_get_another_way() {
    let shell = Shell::new();
    let mut failed = Vec::new();
    for origin in OPAQUE {
        let gateway = start(json!({}));
        let who = Who::v4().page().token(&token(&gateway)).device(&Device::new());
        let refused = gateway.dial().origin(origin).connect(&who).unwrap_err();
        let hint = refused.hint();
        let commands = commands(hint);
        if !settings(hint).is_empty() || commands.is_empty() {
            failed.push(origin);
            continue;
        }
        assert!(hint.contains("set gateway.controlUi.root to its directory"), "{hint}");
        if !runner::windows() {
            commands.iter().for_each(|command| drop(shell.follow(command, &who)));
        }
        let page = TempDir::new();
        fs::write(page.path().join("index.html"), "<p>the page itself").unwrap();
        let root = runner::path(page.path()).into_string().unwrap();
        let root = ("gateway.controlUi.root".to_string(), root.into());
        let gateway = with_setting(gateway, &root);
        let dial = gateway.dial().page(&gateway.address().to_string());
        assert!(dial.get("/").contains("the page itself"));
        dial.connect(&who).unwrap();
    }
    assert!(failed.is_empty(), "{} of {}: {failed:?}", failed.len(), OPAQUE.len());
}

/// Refusals whose hint has a configuration line.
const BY_SETTING: [Refusal; 5] = [
    Refusal::OriginForeign,
    Refusal::HostForeign,
    Refusal::HostNotLoopback,
    Refusal::AuthNoneNotLocal,
    Refusal::ControlUiDeviceRequired,
];

#[test]
fn every_configuration_line_of_a_hint_admits_the_client() {
    for refusal in BY_SETTING {
        let config = || match refusal {
            Refusal::HostNotLoopback | Refusal::AuthNoneNotLocal => {
                json!({ "auth": { "mode": "none" } })
            }
            _ => json!({}),
        };
        let device = Device::new();
        let page = Who::v4().page();
        let connect = |gateway: &Gateway| {
            let with_token = match gateway.plan.config["auth"]["mode"] == "none" {
                true => page.clone(),
                false => page.clone().token(&token(gateway)),
            };
            match refusal {
                Refusal::ControlUiDeviceRequired => (gateway.dial(), with_token),
                Refusal::OriginForeign => {
                    (gateway.dial().origin("tauri://localhost"), with_token.device(&device))
                }
                Refusal::HostForeign => {
                    (gateway.dial().page("gate.example:8443"), with_token.device(&device))
                }
                Refusal::HostNotLoopback => {
                    (gateway.dial().page("pi.local"), with_token.device(&device))
                }
                _ => {
                    let far = gateway.dial().header("X-Forwarded-For", "203.0.113.9");
                    (far, with_token.device(&device))
                }
            }
        };
        let gateway = start(config());
        let (dial, who) = connect(&gateway);
        let lines = settings(refused(&dial, &who, refusal).hint());
        drop(gateway);
        assert!(!lines.is_empty(), "{refusal:?}");
        for line in lines {
            let gateway = with_setting(start(config()), &line);
            let (dial, who) = connect(&gateway);
            dial.connect(&who).unwrap_or_else(|error| panic!("{refusal:?} {line:?}: {error:?}"));
        }
    }
    for refusal in Refusal::ALL {
        assert!(
            settings(refusal.words().hint).is_empty() || BY_SETTING.contains(&refusal),
            "a row is missing for {refusal:?}"
        );
    }
}

/// Refusals whose hint has a command, except [`Refusal::OriginOpaque`].
const BY_COMMAND: [Refusal; 10] = [
    Refusal::TokenMissing,
    Refusal::TokenMismatch,
    Refusal::DeviceTokenMismatch,
    Refusal::SetupCodeInvalid,
    Refusal::SetupCodeRole,
    Refusal::PairingRequired,
    Refusal::RoleUpgrade,
    Refusal::DeviceRevoked,
    Refusal::TableFull,
    Refusal::TooManyRequests,
];

#[test]
fn every_command_of_a_hint_runs_in_a_new_shell_and_admits_the_client() {
    if runner::windows() {
        return;
    }
    let shell = Shell::new();
    let strict = json!({ "pairing": { "mode": "strict" } });
    for refusal in BY_COMMAND {
        for node in [false, true] {
            let gateway = match refusal {
                Refusal::PairingRequired | Refusal::RoleUpgrade | Refusal::TooManyRequests => {
                    start(strict.clone())
                }
                Refusal::TableFull => start(json!({ "pairing": { "capacity": 1 } })),
                _ => start(json!({})),
            };
            let device = Device::new();
            let (base, other) = match node {
                true => (Who::v4().node(), Who::v4()),
                false => (Who::v4(), Who::v4().node()),
            };
            let (base, other) = (base.device(&device), other.device(&device));
            let token = token(&gateway);
            let code = |role: &str| {
                let made = gateway.plan.good(&["pair", "--role", role, "--json"]);
                let made: Value = serde_json::from_str(&made).unwrap();
                made["code"].as_str().unwrap().to_string()
            };
            let (role, other_role) = if node { ("node", "operator") } else { ("operator", "node") };
            let mut stored = device.id.clone();
            let who = match refusal {
                Refusal::TokenMissing => base,
                Refusal::TokenMismatch => base.token("wrong"),
                Refusal::DeviceTokenMismatch => base.device_token("wrong"),
                Refusal::SetupCodeInvalid => base.code("ABCD2345"),
                Refusal::SetupCodeRole => base.code(&code(other_role)),
                Refusal::PairingRequired => base.token(&token),
                Refusal::RoleUpgrade => {
                    gateway.connect(&other.code(&code(other_role))).unwrap();
                    base.token(&token)
                }
                Refusal::TooManyRequests => {
                    let _operator = gateway.connect(&Who::v4().token(&token)).unwrap();
                    for _ in 0..limits::PENDING_OF_ONE {
                        let waits = Who::v4().token(&token).device(&Device::new());
                        gateway.connect(&waits).unwrap_err();
                    }
                    base.token(&token)
                }
                Refusal::DeviceRevoked => {
                    gateway.connect(&base.clone().token(&token)).unwrap();
                    gateway.plan.good(&["devices", "revoke", &device.id]);
                    base.token(&token)
                }
                _ => {
                    let first = Device::new();
                    stored = first.id.clone();
                    gateway.connect(&Who::v4().device(&first).code(&code("operator"))).unwrap();
                    base.code(&code(role))
                }
            };
            let hint = refused(&gateway.dial(), &who, refusal);
            let hint = hint.hint();
            let commands = commands(hint);
            assert!(!commands.is_empty(), "{refusal:?}: {hint}");
            for command in commands {
                // the hint has one command for each role
                if refusal == Refusal::SetupCodeRole && command.ends_with("--role node") != node {
                    continue;
                }
                let mut who = shell.follow(&command.replace("DEVICE", &stored), &who);
                match refusal {
                    Refusal::TableFull => who = who.code(&code(role)),
                    // a code without a role is for an operator
                    _ if node && command.ends_with("pair") => continue,
                    _ => {}
                }
                gateway
                    .connect(&who)
                    .unwrap_or_else(|error| panic!("{refusal:?} `{command}`: {error:?}"));
            }
        }
    }
    for refusal in Refusal::ALL {
        assert!(
            commands(refusal.words().hint).is_empty()
                || refusal == Refusal::OriginOpaque
                || BY_COMMAND.contains(&refusal),
            "a row is missing for {refusal:?}"
        );
    }
}

#[test]
fn the_line_of_the_proxy_warning_makes_the_proxy_trusted() {
    let gateway = start(json!({}));
    let seen =
        |gateway: &Gateway| gateway.dial().header("X-Forwarded-For", "203.0.113.9").get("/whoami");
    assert!(!seen(&gateway).contains("\"client\":\"203.0.113.9\""));
    gateway
        .dial()
        .header("X-Forwarded-For", "203.0.113.9")
        .connect(&Who::v4().token(&token(&gateway)))
        .unwrap();
    let warning = gateway.logged(&["proxy headers from 127.0.0.1"]);
    let lines = settings(&warning);
    let [line] = lines.as_slice() else { panic!("{warning}") };
    let gateway = with_setting(gateway, line);
    assert!(seen(&gateway).contains("\"client\":\"203.0.113.9\""), "{}", seen(&gateway));
}

#[test]
fn commands_print_hints_for_the_state_directory_they_were_given() {
    if runner::windows() {
        return;
    }
    let (shell, dir) = (Shell::new(), TempDir::new());
    let state = dir.path().join("a state's directory");
    let mut plan = Plan::with(json!({ "pairing": { "mode": "strict" } }));
    plan.args = vec!["--state-dir".into(), state.to_str().unwrap().into()];
    let given = format!("gatelet --state-dir '{}'", state.to_str().unwrap().replace('\'', r"'\''"));
    let said = shell.run(&format!("{given} status 2>&1 || true"));
    let start = commands(&said);
    assert_eq!(start, [format!("{given} run")], "{said}");
    fs::create_dir(&state).unwrap();
    let program = support::program::Program::start({
        let mut command = plan.command(&["run", "--port", "0"]);
        command.args(&plan.args);
        command
    });
    let address = state.join("gateway.addr");
    runner::until(|| address.exists(), || program.said());
    let to = fs::read_to_string(&address).unwrap();
    let dial = Dial::to(to.trim().parse().unwrap());
    let who = Who::v4().token(TOKEN).device(&Device::new());
    refused(&dial, &who, Refusal::PairingRequired);
    let said = shell.run(&format!("{given} devices"));
    let approve = &commands(&said)[0];
    let hint = refused(&dial, &who, Refusal::PairingRequired);
    assert_eq!(*approve, format!("{given} devices approve REQUEST"));
    let is_shown = |refused: &Refused| refused.hint().contains("--state-dir");
    assert!(is_shown(&hint), "{hint:?}");
    let remote = dial.clone().header("X-Forwarded-For", "203.0.113.9");
    let elsewhere = refused(&remote, &who, Refusal::PairingRequired);
    assert!(elsewhere.hint().contains("`gatelet devices approve "), "{elsewhere:?}");
    assert!(!is_shown(&elsewhere), "a client elsewhere reads a path of this machine");
    shell.run(&approve.replace("REQUEST", hint.request_id()));
    dial.connect(&who).unwrap();
}
