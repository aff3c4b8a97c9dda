//! `gatelet node run`: the binary as a node, of a fake gateway and of the real one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::{json, Value};
use sha2::{Digest, Sha256};
use support::client::{Patient, Session};
use support::gateway::{Gateway, Plan};
use support::program::Program;
use support::runner::{patience, until};
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

/// Fake gateway of protocol 4, driven by the test.
struct Fake(TcpListener);

/// Node connected to the fake gateway.
struct Guest {
    ws: WebSocket<Patient>,
    /// Parameters of its `connect`.
    params: Value,
    request: String,
    calls: u32,
}

impl Fake {
    fn new() -> Fake {
        Fake(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Accepts the next node, sends the challenge and verifies its proof.
    fn guest(&self) -> Guest {
        let mut stream = self.0.accept().unwrap().0;
        stream.set_read_timeout(Some(patience())).unwrap();
        upgrade(&mut stream);
        let mut ws = WebSocket::from_raw_socket(Patient(stream), Role::Server, None);
        let nonce = format!("{:032x}", std::process::id());
        let challenge = json!({ "type": "event", "event": "connect.challenge", "payload": { "nonce": nonce, "ts": 1 } });
        ws.send(Message::text(challenge.to_string())).unwrap();
        let mut guest = Guest { ws, params: Value::Null, request: String::new(), calls: 0 };
        let request = guest.next();
        assert_eq!(request["method"], "connect");
        guest.params = request["params"].clone();
        guest.request = request["id"].as_str().unwrap().to_string();
        guest.check_proof(&nonce);
        guest
    }

    /// Accepts and admits the next node.
    fn welcome(&self) -> Guest {
        let mut guest = self.guest();
        guest.hello("the-device-token", 30_000);
        guest
    }
}

fn upgrade(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").unwrap();
}

impl Guest {
    fn next(&mut self) -> Value {
        loop {
            match self.ws.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(frame) => panic!("it closed: {frame:?}"),
                _ => {}
            }
        }
    }

    fn send(&mut self, frame: Value) {
        self.ws.send(Message::text(frame.to_string())).unwrap();
    }

    fn check_proof(&self, nonce: &str) {
        let device = &self.params["device"];
        let text = |name: &str| device[name].as_str().unwrap();
        let mut bytes = [0; 64];
        let key = Base64UrlUnpadded::decode(text("publicKey"), &mut bytes).unwrap().to_vec();
        let id: String = Sha256::digest(&key).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text("id"), id);
        let auth = &self.params["auth"];
        let token =
            ["token", "deviceToken", "bootstrapToken"].iter().find_map(|name| auth[*name].as_str());
        let (signed_at, token) = (device["signedAt"].as_u64().unwrap(), token.unwrap_or(""));
        let payload =
            format!("v3|{id}|node-host|node|node||{signed_at}|{token}|{nonce}|linux|linux");
        let mut bytes = [0; 64];
        let signature = Base64UrlUnpadded::decode(text("signature"), &mut bytes).unwrap();
        let key = VerifyingKey::try_from(&key[..]).unwrap();
        key.verify_strict(payload.as_bytes(), &Signature::from_slice(signature).unwrap())
            .expect("it signed version 3 of the proof");
    }

    fn hello(&mut self, token: &str, tick: u64) {
        let payload = json!({ "type": "hello-ok", "protocol": 4, "policy": { "tickIntervalMs": tick },
            "auth": { "method": "token", "role": "node", "scopes": [], "deviceToken": token } });
        let id = self.request.clone();
        self.send(json!({ "type": "res", "id": id, "ok": true, "payload": payload }));
    }

    fn refuse(self, code: &str, hint: &str, retryable: bool) {
        self.refuse_for("", code, hint, retryable);
    }

    fn refuse_for(mut self, reason: &str, code: &str, hint: &str, retryable: bool) {
        let error = json!({ "code": "INVALID_REQUEST", "message": format!("no: {code}"), "retryable": retryable,
            "details": { "code": code, "hint": hint, "reason": reason } });
        let id = self.request.clone();
        self.send(json!({ "type": "res", "id": id, "ok": false, "error": error }));
        let _ = self.ws.close(None);
        while self.ws.read().is_ok() {}
    }

    fn declared(&self) -> Vec<&str> {
        self.params["commands"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap())
            .collect()
    }

    /// Sends an invoke without waiting and returns its id.
    fn ask(&mut self, command: &str, params: Value) -> String {
        self.calls += 1;
        let id = format!("invoke-{}", self.calls);
        let payload = json!({ "id": id, "nodeId": self.params["device"]["id"], "command": command,
            "paramsJSON": params.to_string(), "timeoutMs": 20_000, "idempotencyKey": "k" });
        self.send(json!({ "type": "event", "event": "node.invoke.request", "payload": payload }));
        id
    }

    /// Returns the parameters of the next result.
    fn result(&mut self) -> Value {
        let request = self.next();
        assert_eq!(request["method"], "node.invoke.result", "{request}");
        self.send(
            json!({ "type": "res", "id": request["id"], "ok": true, "payload": { "ok": true } }),
        );
        let params = request["params"].clone();
        assert_eq!(params["nodeId"], self.params["device"]["id"]);
        params
    }

    /// Sends an invoke and returns the payload of its result.
    fn good(&mut self, command: &str, params: Value) -> Value {
        let id = self.ask(command, params);
        let result = self.result();
        assert_eq!((&result["ok"], &result["id"]), (&true.into(), &id.into()), "{result}");
        serde_json::from_str(result["payloadJSON"].as_str().unwrap()).unwrap()
    }

    /// Sends an invoke and returns the error of its result.
    fn bad(&mut self, command: &str, params: Value) -> (String, String) {
        self.ask(command, params);
        let result = self.result();
        assert_eq!(result["ok"], false, "{result}");
        let text = |name: &str| result["error"][name].as_str().unwrap().to_string();
        (text("code"), text("message"))
    }

    /// Runs a script with the shell that the test allowed.
    fn script(&mut self, script: &str) -> Value {
        self.good("system.run", json!({ "command": ["/bin/sh", "-c", script] }))
    }
}

/// Starts the binary as a node.
fn start_node(plan: &Plan, args: &[&str]) -> Program {
    Program::start(plan.command(&[&["node", "run"], args].concat()))
}

/// Starts a node for this fake gateway, allowed to run these commands.
fn start_node_of(fake: &Fake, allowed: &[&[&str]]) -> (Plan, Program) {
    let plan = Plan::new();
    for words in allowed {
        plan.good(&[&["node", "allow", "--"], *words].concat());
    }
    let node = start_node(&plan, &["--host", &fake.address().to_string(), "--code", "ABCD2345"]);
    (plan, node)
}

fn alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

const SHELL: &[&str] = &["/bin/sh"];

#[test]
fn node_prints_and_declares_the_commands_it_exposes() {
    let fake = Fake::new();
    let (plan, node) = start_node_of(&fake, &[]);
    let mut guest = fake.guest();
    let address = fake.address().to_string();
    for words in [&address, "device.status", "system.which", "system.run is off"] {
        // printed before the node is admitted; the output arrives through a pipe
        until(
            || node.said().contains(words),
            || format!("it did not say {words:?}: {}", node.said()),
        );
    }
    assert!(!node.said().contains("ABCD2345"), "no secret is shown");
    assert_eq!(guest.declared(), ["device.info", "device.status", "system.which"]);
    let client = &guest.params["client"];
    assert_eq!(
        (&client["id"], &client["mode"], &client["platform"]),
        (&json!("node-host"), &json!("node"), &json!("linux"))
    );
    assert_eq!((&client["deviceFamily"], &guest.params["role"]), (&json!("Linux"), &json!("node")));
    assert_eq!(guest.params["auth"], json!({ "bootstrapToken": "ABCD2345" }));
    guest.hello("t1", 30_000);
    node.says("connected to ");
    let shown: Value = serde_json::from_str(&plan.good(&["node", "show", "--json"])).unwrap();
    assert_eq!(shown["nodeId"], guest.params["device"]["id"]);
    assert_eq!(shown["publicKey"], guest.params["device"]["publicKey"]);
    assert_eq!(shown["commands"], guest.params["commands"]);
    assert_eq!(shown["gateway"], address, "the gateway is remembered");
    for (name, mode) in [("", 0o700), ("node.key", 0o600), ("node.token", 0o600)] {
        let path = plan.dir().join("node").join(name);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, mode, "{name}");
    }
    let (code, said) = plan.run(&["node", "run"]);
    assert!(code == 1 && said.contains("another `gatelet node run` uses"), "{said}");
}

#[test]
fn node_answers_status_and_which_and_rejects_unknown_commands() {
    let fake = Fake::new();
    let (_plan, _node) = start_node_of(&fake, &[]);
    let mut guest = fake.welcome();
    let info = guest.good("device.info", json!({}));
    assert_eq!(info["systemName"], "Linux");
    // the architecture of the program, which differs under an emulator
    let own = std::env::consts::ARCH;
    let emulated = std::env::var_os("GATELET_RUNNER").is_some_and(|runner| !runner.is_empty());
    let known = if emulated { &["aarch64", "arm", "x86_64"][..] } else { &[own][..] };
    assert!(known.iter().any(|one| info["architecture"] == *one), "{info}");
    let status = guest.good("device.status", Value::Null);
    assert!(status["uptimeSeconds"].as_u64().unwrap() > 0, "{status}");
    let memory = &status["memory"];
    assert!(
        memory["totalBytes"].as_u64() >= memory["freeBytes"].as_u64()
            && memory["totalBytes"].is_u64(),
        "{status}"
    );
    assert!(status["storage"]["totalBytes"].as_u64().unwrap() > 0, "{status}");
    let which = guest.good(
        "system.which",
        json!({ "bins": ["sh", " sh", "no-such-program", "../sh", "/bin/sh", " cat "] }),
    );
    let mut found: Vec<&String> = which["bins"].as_object().unwrap().keys().collect();
    found.sort();
    assert_eq!(found, ["cat", "sh"]);
    assert!(which["bins"]["sh"].as_str().unwrap().starts_with('/'));
    let required = ("INVALID_REQUEST".to_string(), "bins required".to_string());
    assert_eq!(guest.bad("system.which", json!({ "bins": "sh" })), required);
    assert_eq!(guest.bad("system.which", json!({ "bins": vec!["sh"; 65] })), required);
    assert_eq!(guest.bad("camera.snap", json!({})).1, "command not supported");
    let denied =
        guest.bad("system.run", json!({ "command": ["/bin/sh", "-c", "true"], "approved": true }));
    assert!(
        denied.0 == "UNAVAILABLE" && denied.1.starts_with("SYSTEM_RUN_DENIED: allowlist miss"),
        "{denied:?}"
    );
}

#[test]
fn commands_run_without_a_shell_and_only_if_allowed() {
    let fake = Fake::new();
    let (plan, _node) = start_node_of(&fake, &[&["/bin/echo", "hello"], SHELL]);
    assert_eq!(plan.good(&["node", "allowed"]), "/bin/echo hello\n/bin/sh\n");
    let mut guest = fake.welcome();
    assert_eq!(guest.declared(), ["device.info", "device.status", "system.which", "system.run"]);
    let said = guest.good(
        "system.run",
        json!({ "command": ["echo", "hello", "$HOME;", "*"], "rawCommand": "rm -rf /" }),
    );
    let expected = json!({ "exitCode": 0, "timedOut": false, "success": true, "stdout": "hello $HOME; *\n", "stderr": "", "error": null });
    assert_eq!(said, expected);
    for refused in [
        json!(["/bin/echo", "bye"]),
        json!(["/bin/cat", "/etc/passwd"]),
        json!(["./echo", "hello"]),
    ] {
        let (_, message) = guest.bad("system.run", json!({ "command": refused }));
        assert!(message.starts_with("SYSTEM_RUN_DENIED"), "{message}");
    }
    for wrong in
        [json!([]), json!("echo"), json!(["echo", 5]), Value::Null, json!(vec!["echo"; 257])]
    {
        assert_eq!(guest.bad("system.run", json!({ "command": wrong })).1, "command required");
    }
    let said = guest.script("cat; echo out; echo err >&2; exit 7");
    assert_eq!((&said["exitCode"], &said["success"]), (&json!(7), &json!(false)));
    assert_eq!((&said["stdout"], &said["stderr"]), (&json!("out\n"), &json!("err\n")));
    let killed = guest.script("kill -9 $$");
    assert!(killed.get("exitCode").is_none() && killed["success"] == false, "{killed}");
    let moved = guest.good("system.run", json!({ "command": ["sh", "-c", "pwd"], "cwd": "/usr" }));
    assert_eq!(moved["stdout"], "/usr\n");
    for cwd in ["usr", "/no/such/place", "/etc/passwd"] {
        let (_, message) = guest.bad("system.run", json!({ "command": ["sh"], "cwd": cwd }));
        assert!(message.starts_with("cwd is no directory"), "{message}");
    }
    let screen =
        guest.bad("system.run", json!({ "command": ["sh"], "needsScreenRecording": true }));
    assert_eq!(screen.1, "PERMISSION_MISSING: screenRecording");
    plan.good(&["node", "disallow", "/bin/sh"]);
    assert_eq!(plan.good(&["node", "allowed"]), "/bin/echo hello\n");
}

#[test]
fn command_environment_has_no_secrets_and_no_dangerous_variables() {
    let fake = Fake::new();
    let plan = Plan::new();
    plan.good(&["node", "allow", "/bin/sh"]);
    let mut command = plan.command(&["node", "run", "--host", &fake.address().to_string()]);
    command.env("GATELET_TOKEN", "a-secret-for-the-gateway").env("PLAIN", "stays");
    let node = Program::start(command);
    let mut guest = fake.welcome();
    assert_eq!(guest.params["auth"], json!({ "token": "a-secret-for-the-gateway" }));
    let env = guest.good(
        "system.run",
        json!({ "command": ["sh", "-c", "env"], "env": { "LANG": "xx", "LC_ALL": "yy" } }),
    );
    let env = env["stdout"].as_str().unwrap();
    for line in ["PLAIN=stays\n", "LANG=xx\n", "LC_ALL=yy\n"] {
        assert!(env.contains(line), "{line}: {env}");
    }
    assert!(!env.contains("GATELET") && !env.contains("a-secret"), "{env}");
    for name in ["PATH", "LD_PRELOAD", "BASH_ENV", "GIT_SSH_COMMAND", "LC_\u{e9}", "lang"] {
        let (_, message) =
            guest.bad("system.run", json!({ "command": ["sh"], "env": { name: "x" } }));
        assert!(message.contains("is not taken"), "{name}: {message}");
    }
    assert!(!node.said().contains("a-secret"), "{}", node.said());
}

#[test]
fn command_output_and_time_are_limited_and_child_processes_are_killed() {
    let fake = Fake::new();
    let (_plan, _node) = start_node_of(&fake, &[SHELL]);
    let mut guest = fake.welcome();
    let long =
        guest.script("i=0; while [ $i -lt 30000 ]; do echo \"line $i of many\"; i=$((i+1)); done; echo the end >&2");
    let stdout = long["stdout"].as_str().unwrap();
    assert!(
        stdout.starts_with("... (truncated) ") && stdout.ends_with("line 29999 of many\n"),
        "the end of the output is kept"
    );
    assert_eq!(stdout.len(), 200_000 + "... (truncated) ".len());
    assert_eq!(long["stderr"], "the end\n");
    let wide = guest.script("i=0; while [ $i -lt 3000 ]; do echo '\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}'; i=$((i+1)); done");
    assert!(!wide["stdout"].as_str().unwrap().contains('\u{fffd}'), "cut between characters");

    let begun = Instant::now();
    let params = json!({ "command": ["sh", "-c", "sleep 1000 & echo $!; wait"], "timeoutMs": 300 });
    let late = guest.good("system.run", params);
    assert_eq!((&late["timedOut"], &late["success"]), (&json!(true), &json!(false)));
    assert!(begun.elapsed() < patience());
    let sleeper = late["stdout"].as_str().unwrap().trim().to_string();
    until(|| !alive(&sleeper), || format!("{sleeper} outlives the command that started it"));

    let left = guest.script("sleep 1000 & echo $!");
    let sleeper = left["stdout"].as_str().unwrap().trim().to_string();
    assert_eq!(left["exitCode"], 0, "answered although a child still holds the output open");
    until(|| !alive(&sleeper), || format!("{sleeper} outlives the command that started it"));

    let quiet = guest.script("sleep 1000 >/dev/null 2>&1 & echo $!");
    let sleeper = quiet["stdout"].as_str().unwrap().trim().to_string();
    until(
        || !alive(&sleeper),
        || format!("{sleeper}, which holds no output, outlives the command that started it"),
    );
}

#[test]
fn slow_commands_run_concurrently_up_to_a_limit() {
    let fake = Fake::new();
    let (_plan, _node) = start_node_of(&fake, &[SHELL]);
    let mut guest = fake.welcome();
    let slow: Vec<String> = (0..4)
        .map(|_| {
            guest.ask("system.run", json!({ "command": ["sh", "-c", "echo $$; exec sleep 1000"] }))
        })
        .collect();
    assert_eq!(guest.good("device.info", json!({}))["systemName"], "Linux");
    let (_, message) = guest.bad("system.run", json!({ "command": ["sh", "-c", "true"] }));
    assert!(message.starts_with("too many commands run"), "{message}");
    for id in &slow[..2] {
        let payload = json!({ "invokeId": id, "nodeId": guest.params["device"]["id"] });
        guest.send(json!({ "type": "event", "event": "node.invoke.cancel", "payload": payload }));
    }
    for _ in 0..2 {
        let ended = guest.result();
        assert!(slow[..2].contains(&ended["id"].as_str().unwrap().to_string()), "{ended}");
    }
    assert_eq!(guest.script("echo again")["stdout"], "again\n");
}

#[test]
fn running_commands_are_killed_on_disconnect_and_exit() {
    let fake = Fake::new();
    let (plan, mut node) = start_node_of(&fake, &[SHELL]);
    let file = plan.dir().join("pid");
    let script = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", file.display());
    for round in 0..2 {
        let mut guest = fake.welcome();
        let _ = std::fs::remove_file(&file);
        guest.ask("system.run", json!({ "command": ["sh", "-c", script] }));
        until(|| file.exists(), || "the command does not start".to_string());
        let pid = std::fs::read_to_string(&file).unwrap().trim().to_string();
        assert!(alive(&pid));
        if round == 0 {
            drop(guest);
        } else {
            let status =
                std::process::Command::new("kill").arg(node.pid().to_string()).status().unwrap();
            assert!(status.success());
            assert_eq!(node.ended(), 0, "SIGTERM ends it with success");
        }
        until(|| !alive(&pid), || format!("{pid} still runs, round {round}"));
    }
}

#[test]
fn node_reconnects_with_its_device_token_sent_to_no_other_gateway() {
    let fake = Fake::new();
    let (plan, mut node) = start_node_of(&fake, &[]);
    let mut guest = fake.guest();
    guest.hello("first-token", 30_000);
    node.says("connected to ");
    drop(guest);
    let mut guest = fake.guest();
    assert_eq!(
        guest.params["auth"],
        json!({ "deviceToken": "first-token" }),
        "the code is not sent again"
    );
    guest.hello("second-token", 30_000);
    until(
        || {
            std::fs::read_to_string(plan.dir().join("node/node.token"))
                .is_ok_and(|text| text.contains("second-token"))
        },
        || "the new token is not kept".to_string(),
    );
    node.kill();
    let again = start_node(&plan, &[]);
    let guest = fake.guest();
    assert_eq!(
        guest.params["auth"],
        json!({ "deviceToken": "second-token" }),
        "address and token are remembered"
    );
    let shown: Value = serde_json::from_str(&plan.good(&["node", "show", "--json"])).unwrap();
    assert_eq!(shown["displayName"], guest.params["client"]["displayName"]);
    drop((guest, again));
    let other = Fake::new();
    let _node = start_node(&plan, &["--host", &other.address().to_string()]);
    assert!(
        other.guest().params.get("auth").is_none(),
        "another gateway gets neither that token nor the local one's"
    );
}

#[test]
fn node_reconnects_when_the_gateway_is_silent() {
    let fake = Fake::new();
    let (_plan, node) = start_node_of(&fake, &[]);
    let mut guest = fake.guest();
    guest.hello("t", 50);
    let _silent = guest;
    let _back = fake.guest();
    node.says("no message within the time limit");
}

#[test]
fn node_waits_for_approval_and_exits_on_permanent_errors() {
    let fake = Fake::new();
    let (_plan, mut node) = start_node_of(&fake, &[]);
    for _ in 0..2 {
        fake.guest().refuse(
            "PAIRING_REQUIRED",
            "run `gatelet devices approve 12` on the gateway",
            true,
        );
    }
    let revoked = "the owner revoked this device";
    fake.guest().refuse_for("device-revoked", "PAIRING_REQUIRED", revoked, false);
    assert_eq!(node.ended(), 3);
    node.says("no: PAIRING_REQUIRED\nthe owner revoked this device");
    assert_eq!(
        node.said().matches("gatelet devices approve 12").count(),
        1,
        "said once: {}",
        node.said()
    );
}

#[test]
fn used_setup_code_does_not_prevent_login_by_a_known_key() {
    let fake = Fake::new();
    let (_plan, mut node) = start_node_of(&fake, &[]);
    fake.guest().refuse("AUTH_BOOTSTRAP_TOKEN_INVALID", "codes work once", false);
    let mut guest = fake.guest();
    assert!(guest.params.get("auth").is_none(), "the key alone");
    guest.hello("t", 30_000);
    node.says("connected to ");
    drop(guest);
    fake.guest().refuse("AUTH_DEVICE_TOKEN_MISMATCH", "unknown device", false);
    fake.guest().refuse("AUTH_TOKEN_MISSING", "", false);
    assert_eq!(node.ended(), 3);
    node.says("no: AUTH_DEVICE_TOKEN_MISMATCH\nunknown device");
}

/// Runs `$0` with a table of hosts of its own, in a new mount namespace.
const WITH_HOSTS: &str =
    "printf '127.0.0.9 gate.test\\n127.0.0.1 gate.test\\n' >\"$HOME/hosts\" && \
     mount --bind \"$HOME/hosts\" /etc/hosts && exec \"$0\" \"$@\"";

#[test]
fn node_resolves_a_name_and_tries_each_address() {
    let fake = Fake::new();
    let port = fake.address().port();
    let plan = Plan::new().prefix(&["unshare", "-rm", "--", "sh", "-c", WITH_HOSTS]);
    let host = format!("gate.test:{port}");
    let node = start_node(&plan, &["--host", &host, "--code", "ABCD2345"]);
    let guest = fake.welcome();
    node.says(&format!("connected to {host} as "));
    drop((guest, node));
    // the name is stored, and not one of its addresses
    let node = start_node(&plan, &[]);
    let guest = fake.guest();
    assert_eq!(guest.params["auth"]["deviceToken"], "the-device-token");
    drop((guest, node));
    let node = start_node(&plan, &["--host", "no-such-host.test", "--code", "ABCD2345"]);
    node.says("the gateway at no-such-host.test:");
    node.says("cannot resolve the name");
}

#[test]
fn invalid_hosts_and_tls_links_are_rejected_with_a_hint() {
    let plan = Plan::new();
    for (host, words) in
        [("192.168.1", "neither an IP address nor"), ("wss://10.0.0.1", "does not support TLS")]
    {
        let (code, said) = plan.run(&["node", "run", "--host", host]);
        assert!(code == 2 && said.contains(words), "{said}");
    }
    plan.good(&["node", "allow", "/bin/sh"]);
    let file = plan.dir().join("node/allow");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).unwrap();
    let (code, said) = plan.run(&["node", "run"]);
    assert!(code == 1 && said.contains("chmod go-w"), "{said}");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&file, "uptime\n").unwrap();
    let (code, said) = plan.run(&["node", "show"]);
    assert!(
        code == 1 && said.contains("line 1: a program must be given by its absolute path"),
        "{said}"
    );
}

#[test]
fn node_pairs_reconnects_after_a_restart_and_exits_when_revoked() {
    let mut gateway = Gateway::new();
    let plan = Plan::new();
    let address = gateway.address().to_string();
    let (code, said) = plan.run(&["node", "run", "--host", &address]);
    assert!(
        code == 3 && said.contains("gatelet pair --role node") && said.contains("--code CODE"),
        "{said}"
    );
    let code = gateway.code("node");
    let mut node =
        start_node(&plan, &["--host", &address, "--code", &code, "--display-name", "shed"]);
    node.says("connected to ");
    let shown: Value = serde_json::from_str(&plan.good(&["node", "show", "--json"])).unwrap();
    let id = shown["nodeId"].as_str().unwrap().to_string();
    let device = support::gateway::paired(&mut gateway.admin(), &id).expect("it is paired");
    assert_eq!(device["displayName"], "shed");
    let mut admin = gateway.admin();
    let (code, message) =
        invoke_fails(&mut admin, &id, "system.run", json!({ "command": ["sh", "-c", "true"] }));
    assert_eq!(
        (code.as_str(), message.starts_with("node command not allowed")),
        ("INVALID_REQUEST", true),
        "{message}"
    );
    let status = invoke(&mut admin, &id, "device.status", json!({}));
    assert!(status["uptimeSeconds"].is_u64(), "{status}");
    assert!(invoke(&mut admin, &id, "system.which", json!({ "bins": ["sh"] }))["bins"]["sh"]
        .is_string());

    plan.good(&["node", "allow", "/bin/sh"]);
    let port = gateway.port.to_string();
    drop(admin);
    let mut again = gateway.stop();
    again.args = vec!["--port".into(), port];
    gateway = again.start();
    until(
        || node.said().matches("connected to ").count() == 2,
        || format!("it does not come back: {}", node.said()),
    );
    let mut admin = gateway.admin();
    let script = json!({ "command": ["sh", "-c", "echo out; echo err >&2; exit 3"] });
    let (_, message) = invoke_fails(&mut admin, &id, "system.run", script.clone());
    assert!(message.contains("node command not allowed"), "new commands need approval: {message}");
    let waiting = admin.call("node.pair.list", json!({})).unwrap();
    let request = waiting["pending"][0]["requestId"]
        .as_str()
        .unwrap_or_else(|| panic!("{waiting}"))
        .to_string();
    admin.call("node.pair.approve", json!({ "requestId": request })).unwrap();
    let ran = invoke(&mut admin, &id, "system.run", script);
    assert_eq!(
        (&ran["exitCode"], &ran["stdout"], &ran["stderr"]),
        (&json!(3), &json!("out\n"), &json!("err\n"))
    );
    let (code, message) =
        invoke_fails(&mut admin, &id, "system.run", json!({ "command": ["cat", "/etc/passwd"] }));
    assert!(code == "UNAVAILABLE" && message.contains("SYSTEM_RUN_DENIED"), "{code} {message}");
    let late = json!({ "command": ["sh", "-c", "sleep 100"], "timeoutMs": 200 });
    assert_eq!(invoke(&mut admin, &id, "system.run", late)["timedOut"], true);
    let long = json!({ "command": ["sh", "-c", "yes | head -c 1000000"] });
    let long = invoke(&mut admin, &id, "system.run", long)["stdout"].as_str().unwrap().len();
    assert_eq!(long, 200_000 + "... (truncated) ".len());

    gateway.plan.good(&["devices", "revoke", &id]);
    assert_eq!(node.ended(), 3);
    node.says(" devices approve ");
    let local = start_node(&gateway.plan, &[]);
    local.says("connected to ");
}

fn invoke(admin: &mut Session, node: &str, command: &str, params: Value) -> Value {
    let asked =
        json!({ "nodeId": node, "command": command, "params": params, "idempotencyKey": "k" });
    let answer =
        admin.call("node.invoke", asked).unwrap_or_else(|error| panic!("{command}: {error:?}"));
    answer["payload"].clone()
}

fn invoke_fails(admin: &mut Session, node: &str, command: &str, params: Value) -> (String, String) {
    let asked =
        json!({ "nodeId": node, "command": command, "params": params, "idempotencyKey": "k" });
    let failed = admin.call("node.invoke", asked).expect_err("it is refused");
    (failed.code().to_string(), failed.message().to_string())
}
