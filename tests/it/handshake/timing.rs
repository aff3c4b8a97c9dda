//! Comparisons with a secret take the same time wherever the input differs.

use gatelet::config::Secret;
use gatelet::gate::setup_codes::CodeText;
use gatelet::server::gateway::attempt::PresentedCredentials;
use gatelet::server::runtime_config::SecretDigest;
use gatelet::store::tokens::{TableKey, Token};

/// Implements `it` for types without `==`. For a type with `==` the call is ambiguous, and this
/// file does not compile.
trait NotCompared<Why> {
    fn it() {}
}

impl<T> NotCompared<()> for T {}

impl<T: PartialEq> NotCompared<u8> for T {}

#[test]
fn secret_types_do_not_implement_equality() {
    <SecretDigest as NotCompared<_>>::it();
    <CodeText as NotCompared<_>>::it();
    <Token as NotCompared<_>>::it();
    <TableKey as NotCompared<_>>::it();
    <PresentedCredentials as NotCompared<_>>::it();
    <Secret as NotCompared<_>>::it();
}

#[cfg(target_os = "linux")]
mod counted {
    use std::process::Command;

    use gatelet::gate::budget::Holder;
    use gatelet::gate::device::{Device, Provenance};
    use gatelet::gate::facts::Grant;
    use gatelet::gate::ids::{DeviceId, Millis, PublicKey, RequestId, Role, Roles, WallMs};
    use gatelet::gate::scopes::Scopes;
    use gatelet::gate::setup_codes::{CodeText, SetupCodes};
    use gatelet::server::runtime_config::SecretDigest;
    use gatelet::store::tokens::{check, device_token, TableKey};

    const SECRET: &str = "0123456789abcdefghijklmnopqrstuvwxyz0123456";
    const INPUT: &str = "GATELET_TEST_INPUT";

    /// Returns the input of a comparison: as long as the right one, and of the same character set.
    fn input(right: &str, kind: &str) -> String {
        let mut text = right.as_bytes().to_vec();
        let last = text.len() - 1;
        match kind {
            "last" => text.swap(last, last - 1),
            "first" => text.swap(0, 1),
            "all" => text.reverse(),
            _ => {}
        }
        String::from_utf8(text).unwrap()
    }

    #[inline(never)]
    fn counted_secret(right: &SecretDigest, input: &str) -> bool {
        right.matches(input)
    }

    #[inline(never)]
    fn counted_token(key: &TableKey, device: &Device, input: &str) -> bool {
        check(key, device, Role::Operator, input).is_some()
    }

    #[inline(never)]
    fn counted_code(setup_codes: &mut SetupCodes, input: &str) -> bool {
        setup_codes.take(input, Millis(1)).is_some()
    }

    /// Runs one comparison of each type, inside valgrind.
    fn compare(kind: &str) {
        let is_right = kind == "right";
        assert_eq!(counted_secret(&SecretDigest::of(SECRET), &input(SECRET, kind)), is_right);
        let key = TableKey::new([7; 32]);
        let mut device = Device::new(DeviceId([1; 32]), PublicKey([2; 32]), Provenance::Token);
        device.approve(Role::Operator, Scopes::ALL, WallMs(1));
        let token = device_token(
            &key,
            &device.id,
            Role::Operator,
            device.tokens[Role::Operator as usize].current,
        );
        assert_eq!(counted_token(&key, &device, &input(token.as_str(), kind)), is_right);
        let mut setup_codes = SetupCodes::new();
        let grant = Grant { roles: Roles::of(Role::Operator), scopes: Scopes::ALL };
        let text = CodeText::parse("ABCDEFGH").unwrap();
        let id = RequestId([1; 16]);
        setup_codes.add(id, Holder::Keyless, text, grant, Millis(0)).unwrap();
        assert_eq!(counted_code(&mut setup_codes, &input("ABCDEFGH", kind)), is_right);
    }

    /// Returns the instructions of a comparison, counted by callgrind.
    fn instructions(name: &str, kind: &str) -> u64 {
        let toggle = format!("--toggle-collect=*counted_{name}*");
        let mut command = Command::new("valgrind");
        command.args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--collect-atstart=no",
            &toggle,
        ]);
        let test =
            "handshake::timing::counted::comparison_of_a_wrong_secret_takes_constant_instructions";
        command.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--test-threads=1"]);
        let output = command
            .env(INPUT, kind)
            .output()
            .expect("valgrind is installed (tests/run.sh does it)");
        let report = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{report}{}", String::from_utf8_lossy(&output.stdout));
        let line =
            report.lines().find_map(|line| line.split_once("Collected : ")).expect("a count");
        line.1.trim().parse().unwrap()
    }

    #[test]
    fn comparison_of_a_wrong_secret_takes_constant_instructions() {
        if let Ok(kind) = std::env::var(INPUT) {
            return compare(&kind);
        }
        for name in ["secret", "token", "code"] {
            let counts = ["last", "first", "all"].map(|kind| instructions(name, kind));
            println!("{name}: {counts:?} instructions; right: {}", instructions(name, "right"));
            assert!(
                counts[0] > 20 && counts.iter().all(|count| *count == counts[0]),
                "{name}: {counts:?}"
            );
        }
    }
}
