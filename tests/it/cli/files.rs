//! Commands that work on files alone, with no gateway running: the built binary in its own
//! directories.

use std::fs;
use std::process::Output;

use gatelet::gate::ids::DeviceId;
use gatelet::wire::base64;
use sha2::{Digest, Sha256};
use support::runner;
use support::temp_dir::TempDir;

/// A state directory, removed on drop.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(TempDir::new())
    }

    /// Returns a state directory whose table holds `count` devices. The binary creates the table: a
    /// lock taken in this process could leak briefly into child processes of other tests.
    fn with_devices(count: u8) -> Place {
        let place = Place::new();
        let records: Vec<String> = (1..=count).map(record).collect();
        fs::write(place.0.path().join("paired.json"), format!("{{{}}}", records.join(",")))
            .unwrap();
        place.good(&["table", "import", &place.file("paired.json")]);
        place
    }

    fn run(&self, args: &[&str]) -> Output {
        runner::command(&[], args)
            .env("GATELET_STATE_DIR", runner::path(self.0.path()))
            .output()
            .unwrap()
    }

    /// Returns the path of the file `name` in this directory, as the binary writes it.
    fn file(&self, name: &str) -> String {
        runner::path(&self.0.path().join(name)).into_string().unwrap()
    }

    fn good(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command and returns its exit code and standard error.
    fn bad(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}

fn id(n: u8) -> String {
    DeviceId(Sha256::digest([n; 32]).into()).to_string()
}

fn record(n: u8) -> String {
    let (id, key) = (id(n), base64::encode_url(&[n; 32]));
    format!(
        r#""{id}":{{"deviceId":"{id}","publicKey":"{key}","displayName":"Phone {n}","role":"operator","roles":["operator"],
        "scopes":["operator.read"],"tokens":{{"operator":{{"token":"0123456789abcdef"}}}},"createdAtMs":1,"approvedAtMs":2}}"#
    )
}

#[test]
fn commands_without_a_table_report_it_and_create_nothing() {
    let place = Place::new();
    for args in [
        &["devices"][..],
        &["table", "check"],
        &["table", "dump"],
        &["table", "export"],
        &["table", "repair"],
    ] {
        let (code, words) = place.bad(args);
        assert_eq!(code, 1, "{args:?}");
        assert!(words.contains("`gatelet run` creates it"), "{words}");
    }
    fs::write(place.0.path().join("p.json"), format!("{{{}}}", record(1))).unwrap();
    assert!(place
        .good(&["table", "import", "--dry-run", &place.file("p.json")])
        .contains("1 imported"));
    assert_eq!(fs::read_dir(place.0.path()).unwrap().count(), 1);
}

#[test]
fn commands_that_need_the_gateway_explain_how_to_start_it() {
    let place = Place::with_devices(1);
    for args in [
        &["pair"][..],
        &["call", "health"],
        &["explain", "--last"],
        &["devices", "approve", "--latest"],
        &["devices", "reject", "x"],
    ] {
        let (code, words) = place.bad(args);
        assert_eq!(code, 4, "{args:?}: {words}");
        assert!(
            words.contains("no gateway is running on this state directory")
                && words.contains("`gatelet run`"),
            "{words}"
        );
    }
    assert_eq!(place.run(&["status"]).status.code(), Some(4));
    assert_eq!(place.run(&["health", "--port", "1"]).status.code(), Some(1));
}

#[test]
fn devices_are_listed_renamed_revoked_approved_and_removed_in_the_file() {
    let place = Place::with_devices(2);
    let prefix = &id(1)[..8];
    place.good(&["devices", "rename", prefix, "Kitchen"]);
    assert!(place.good(&["devices"]).contains("Kitchen"));
    place.good(&["devices", "revoke", "kitchen"]);
    assert!(place.good(&["devices"]).contains("operator (revoked)"));
    assert!(place.good(&["devices", "list", "--json"]).contains(r#""revokedRoles": ["#));
    place.good(&["devices", "approve", prefix]);
    assert!(!place.good(&["devices"]).contains("revoked"));
    place.good(&["devices", "rotate", prefix]);
    place.good(&["devices", "remove", prefix]);
    let list = place.good(&["devices", "list", "--json"]);
    assert!(!list.contains(&id(1)) && list.contains(&id(2)), "{list}");
    assert!(place.bad(&["devices", "remove", prefix]).1.contains("there is no device"));
    assert!(place.good(&["table", "check"]).contains("intact: 1 of 256"));
}

#[test]
fn exports_can_be_imported_and_contain_no_token() {
    let place = Place::with_devices(3);
    place.good(&["devices", "revoke", &id(3)]);
    let export = place.good(&["table", "export"]);
    assert!(!export.contains("token") && export.contains(&id(1)), "{export}");
    let other = Place::with_devices(1);
    fs::write(other.0.path().join("export.json"), &export).unwrap();
    let file = other.file("export.json");
    let words = other.good(&["table", "import", "--dry-run", &file]);
    assert!(words.contains("2 imported, 1 skipped (dry run"), "{words}");
    assert!(!other.good(&["devices", "--json"]).contains(&id(2)));
    let words = other.good(&["table", "import", &file]);
    assert!(words.contains("2 imported, 1 skipped"), "{words}");
    assert!(
        other.good(&["devices"]).contains("operator (revoked)"),
        "the revocation is exported and imported"
    );
}

#[test]
fn approved_node_commands_survive_openclaw_import_and_export() {
    let place = Place::new();
    let (id, key) = (id(1), base64::encode_url(&[1; 32]));
    let device = format!(
        r#"{{"{id}":{{"publicKey":"{key}","roles":["node"],"createdAtMs":1,"approvedAtMs":2}}}}"#
    );
    let node = format!(
        r#"{{"{id}":{{"nodeId":"{id}","token":"x","caps":["voice"],"commands":["robot.walk","system.run"],
        "permissions":{{"camera":false,"microphone":true}},"createdAtMs":1,"approvedAtMs":3}}}}"#
    );
    fs::write(place.0.path().join("devices.json"), device).unwrap();
    fs::write(place.0.path().join("nodes.json"), node).unwrap();
    let (devices, nodes) = (place.file("devices.json"), place.file("nodes.json"));
    let words = place.good(&["table", "import", &devices, &nodes]);
    assert!(words.contains("approved") && words.contains("2 imported"), "{words}");
    let shown = concat!(
        r#""caps":["voice"],"commands":["robot.walk","system.run"],"#,
        r#""permissions":{"microphone":true},"surfaceApprovedAtMs":3"#
    );
    let packed = |text: &str| text.replace([' ', '\n'], "");
    assert!(packed(&place.good(&["table", "dump", "--json"])).contains(shown));
    assert!(!place.good(&["devices", "--json"]).contains("robot.walk"), "clients know this list");
    let export = place.good(&["table", "export"]);
    assert!(packed(&export).contains(shown), "{export}");

    let other = Place::new();
    fs::write(other.0.path().join("export.json"), &export).unwrap();
    other.good(&["table", "import", &other.file("export.json")]);
    let again = other.good(&["table", "export"]);
    assert_eq!(again.replace(r#""import""#, ""), export.replace(r#""import""#, ""));
    assert!(other.good(&["table", "check"]).contains("intact: 1 of 256"));
}

#[test]
fn damaged_tables_are_reported_repaired_and_never_read_as_empty() {
    let place = Place::with_devices(2);
    let table = place.0.path().join("pairing.table");
    let mut bytes = fs::read(&table).unwrap();
    let half = bytes.len() / 2;
    for at in [1024 + 100, half + 1024 + 100] {
        bytes[at] ^= 1;
    }
    fs::write(&table, &bytes).unwrap();
    let check = place.run(&["table", "check"]);
    assert_eq!(check.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&check.stdout).contains("damaged"));
    assert_eq!(place.bad(&["devices"]).0, 5);
    assert_eq!(fs::read(&table).unwrap(), bytes, "checking changes nothing");
    let words = place.good(&["table", "repair"]);
    assert!(words.contains("lost records: 0") && words.contains("devices: 1"), "{words}");
    assert!(place.good(&["devices", "--json"]).contains(&id(2)));
}

#[test]
fn generated_token_is_shown_and_rotated_but_not_one_from_an_option() {
    let place = Place::new();
    assert!(place.bad(&["token", "show"]).1.contains("there is no token yet"));
    place.good(&["token", "rotate"]);
    let first = place.good(&["token", "show"]);
    assert_eq!(first.trim().len(), 43);
    assert!(!place.good(&["token", "rotate"]).contains(first.trim()));
    assert_ne!(place.good(&["token", "show"]), first);
    assert!(place.good(&["url"]).starts_with("http://127.0.0.1:18789/#token="));
    let (code, words) = place.bad(&["token", "rotate", "--token", "from-a-flag-long-enough"]);
    assert!(code == 1 && words.contains("the token comes from --token"), "{words}");
    // wine maps file permissions from this process's umask
    if !runner::windows() {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            fs::metadata(place.0.path().join("token")).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}

#[test]
fn explain_evaluates_a_described_connection_with_the_current_configuration() {
    let place = Place::with_devices(1);
    let nat = ["explain", "--peer", "172.18.0.1", "--origin", "http://127.0.0.1:18789", "--token"];
    let with = |token| nat.iter().copied().chain([token]).collect::<Vec<_>>();
    assert!(place.good(&with("right")).contains("paired, provenance token"));
    let refused = place.run(&with("wrong"));
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stdout).contains("AUTH_TOKEN_MISMATCH"));
    fs::write(place.0.path().join("gatelet.json"), "{gateway: {pairing: {mode: \"strict\"}}}")
        .unwrap();
    let waits = place.run(&with("right"));
    assert_eq!(waits.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&waits.stdout).contains("PAIRING_REQUIRED"));
    assert!(place
        .good(&["explain", "--device", &id(1)[..8], "--scopes", "read"])
        .contains("7.1 known device"));
    assert_eq!(place.run(&["explain", "--peer", "nowhere"]).status.code(), Some(2));
}

#[test]
fn all_configuration_problems_are_listed_with_exit_code_1() {
    let place = Place::new();
    fs::write(place.0.path().join("gatelet.json"), "{gateway: {prot: 1, bind: \"everywhere\"}}")
        .unwrap();
    let check = place.run(&["config", "check"]);
    assert_eq!(check.status.code(), Some(1));
    let words = String::from_utf8(check.stdout).unwrap();
    assert!(
        words.contains("prot") && words.contains("everywhere") && words.contains("errors: 2"),
        "{words}"
    );
    let (code, words) = place.bad(&["run"]);
    assert!(code == 1 && words.contains("prot"), "{words}");
    let print = place.run(&["config", "print"]);
    let words = String::from_utf8(print.stdout).unwrap();
    assert!(
        words.contains("everywhere") && words.contains("gateway.auth.mode"),
        "the problems are printed first: {words}"
    );
    assert_eq!(print.status.code(), Some(1), "no gateway starts with that");
    let print = place.run(&["config", "print", "--json"]);
    assert_eq!(print.status.code(), Some(1), "the JSON output reports it too");
    assert!(String::from_utf8(print.stdout).unwrap().contains("gateway.auth.mode"));
}

#[test]
fn invalid_usage_exits_with_2_and_help_with_0() {
    let place = Place::new();
    assert_eq!(place.bad(&["devcies"]).0, 2);
    assert!(place.good(&["--help"]).contains("Exit codes"));
    assert!(place
        .good(&["devices", "revoke", "-h"])
        .contains("usage: gatelet devices revoke DEVICE"));
    assert!(place.good(&["--version"]).starts_with("gatelet "));
}
