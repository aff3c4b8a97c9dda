//! Setup codes as people and clients pass them: typed, in a link, as base64 bytes; and the address
//! and code on a node's command line.

use gatelet::gate::budget::Holder;
use gatelet::gate::facts::{Code, Grant};
use gatelet::gate::ids::{DeviceId, Millis, RequestId, Role, Roles};
use gatelet::gate::limits;
use gatelet::gate::scopes::Scopes;
use gatelet::gate::setup_codes::{CodeState, CodeText, SetupCodes, ALPHABET, CODE_LEN};
use gatelet::qr;
use gatelet::wire::base64;

use crate::{bounded, Seeds};

/// Dominated by the picture of a link: 16 KiB of text and its intermediate data.
fn bound(len: usize) -> usize {
    192 * 1024 + 8 * len
}

/// Any bytes: a script for the list of codes, and the same bytes as text wherever text is parsed.
pub fn run(data: &[u8]) {
    bounded(bound(data.len()), || {
        let text = String::from_utf8_lossy(data);
        typed(&text);
        encoded(data, &text);
        list(data);
    });
    command_line(&String::from_utf8_lossy(data));
}

fn typed(text: &str) {
    if let Some(code) = CodeText::parse(text) {
        assert!(
            code.as_str().len() == CODE_LEN
                && code.as_str().bytes().all(|byte| ALPHABET.contains(&byte))
        );
        assert!(
            CodeText::parse(code.as_str()).is_some_and(|again| again.as_str() == code.as_str()),
            "read again it is another"
        );
        let kept: String = text.chars().filter(|char| !matches!(char, ' ' | '-')).collect();
        assert!(kept.eq_ignore_ascii_case(code.as_str()));
    }
}

fn encoded(data: &[u8], text: &str) {
    if let Some(bytes) = base64::decode::<32>(text) {
        assert!(base64::decode::<32>(&base64::encode_url(&bytes)) == Some(bytes));
        assert!(base64::decode::<32>(&base64::encode(&bytes)) == Some(bytes));
        let plain = |text: &str| text.trim_end_matches('=').replace('+', "-").replace('/', "_");
        assert_eq!(plain(text), base64::encode_url(&bytes), "two texts of one value");
    }
    let _ = (base64::decode::<64>(text), base64::public_key(text));
    let link = ["oc-pair://", &base64::encode_url(data)].concat();
    // drawing takes a thousand times as long as everything else
    if link.len() <= 200 && data.first().is_some_and(|first| first % 32 == 17) {
        assert!(
            qr::data_url(&link).is_some_and(|url| url.len() < 16 * 1024),
            "protocol 4 allows 16384"
        );
        assert!(qr::lines(&link, false).is_some());
    }
}

/// Compares the list with a model: codes with their age and holder.
fn list(data: &[u8]) {
    let grant = Grant { roles: Roles::of(Role::Node), scopes: Scopes::NONE };
    let (mut setup_codes, mut model, mut now) = (SetupCodes::new(), Model::default(), 0u64);
    for (at, step) in data.chunks(10).take(64).enumerate() {
        let (kind, rest) = (step[0], &step[1..]);
        let mut bytes = [0; CODE_LEN];
        bytes.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        // few different codes, so that collisions occur
        let code = CodeText::from_random(bytes.map(|byte| byte & 1));
        let (id, time) = (RequestId::from_random([at as u8; 16]), Millis(now));
        model.expire(now);
        match kind % 6 {
            0 => {
                let by = kind / 6 % 5;
                let holder = match by {
                    0 => Holder::Keyless,
                    _ => Holder::Device(DeviceId([by; 32])),
                };
                let added = setup_codes.add(id, holder, code, grant, time);
                assert_eq!(added.is_ok(), model.make(code.as_str(), by, now), "place or not");
            }
            1 => {
                let right = matches!(setup_codes.check(code.as_str(), time), Code::Right(_));
                assert_eq!(right, model.check(code.as_str()), "right or wrong");
            }
            2 => {
                let taken = setup_codes.take(code.as_str(), time);
                assert_eq!(taken.is_some(), model.take(code.as_str()).is_some(), "there or not");
            }
            3 => {
                // consumed in vain, and given back
                if let (Some(taken), Some(back)) =
                    (setup_codes.take(code.as_str(), time), model.take(code.as_str()))
                {
                    assert!(setup_codes.state(taken.id(), time) == CodeState::Gone);
                    setup_codes.restore(taken);
                    // its place cannot have been taken meanwhile
                    model.0.push(back);
                }
            }
            4 => now = now.saturating_add(u64::from(rest.first().copied().unwrap_or(0)) * 5000),
            _ => {
                let typed = String::from_utf8_lossy(rest);
                let right = matches!(setup_codes.check(&typed, time), Code::Right(_));
                let read = CodeText::parse(&typed);
                assert_eq!(right, read.is_some_and(|code| model.check(code.as_str())));
            }
        }
        assert!(model.0.len() <= limits::SETUP_CODES);
    }
}

/// Codes with their holders and creation times.
#[derive(Default)]
struct Model(Vec<(String, u8, u64)>);

impl Model {
    fn expire(&mut self, now: u64) {
        self.0.retain(|(_, _, made)| now - made < limits::SETUP_CODE_MS);
    }

    /// Adds a code. Returns whether there was a place.
    fn make(&mut self, code: &str, by: u8, now: u64) -> bool {
        let own: Vec<usize> = (0..self.0.len()).filter(|at| self.0[*at].1 == by).collect();
        if own.len() >= limits::SETUP_CODES_OF_ONE.min(limits::SETUP_CODES - self.0.len()) {
            let Some(oldest) = own.first() else { return false };
            self.0.remove(*oldest);
        }
        self.0.push((code.to_string(), by, now));
        true
    }

    /// Wrong attempts end no code.
    fn check(&self, code: &str) -> bool {
        self.0.iter().any(|(one, ..)| one == code)
    }

    fn take(&mut self, code: &str) -> Option<(String, u8, u64)> {
        let at = self.0.iter().position(|(one, ..)| one == code)?;
        Some(self.0.remove(at))
    }
}

/// `gatelet node run --host TEXT --code TEXT`, and the bytes as words of a command line.
fn command_line(text: &str) {
    let words: Vec<&str> = text.split([' ', '\n']).collect();
    let (read, address) = gatelet::cli::typed(&words, text);
    let _ = read;
    if let Ok(address) = address {
        assert!(!text.starts_with("wss://") && !text.starts_with("https://"), "no TLS is spoken");
        let again = gatelet::cli::typed(&[], &address.to_string()).1;
        assert_eq!(again.as_ref(), Ok(&address), "an address that reads as another");
    }
    // a blank value counts as not set
    let blank = gatelet::config::trimmed(text).is_empty();
    let option = ["node", "run", "--code", text];
    let read = gatelet::cli::typed(&option, text).0;
    assert!(read.is_ok() || blank || text.starts_with('-'));
}

/// Codes, links, addresses, command lines, and scripts for the list.
pub fn seeds() -> Seeds {
    let texts = [
        "ABCD2345", "abcd-2345", " abcd 2345 ", "ABCD2340", "127.0.0.1:18789", "ws://10.0.0.1:80/", "http://[::1]:7/#token=x", "localhost:99",
        "wss://gate.example", "[fe80::1]:80", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "__________________________________________8",
        "//////////////////////////////////////////8=", "pair --role node --qr", "qr", "1234", "node run --host 10.0.0.1 --code ABCD2345 --display-name shed",
        "explain --peer 10.0.0.1 --host x --origin http://x --xff 1.1.1.1,2.2.2.2 --code right --user ann --protocol 3", "config check --json",
        "devices approve --latest", "table import file.json --dry-run --overwrite", "logs --follow --level debug --limit 5 --filter x,y",
        "run --port 0 --bind lan --auth token --token 0123456789abcdef --state-dir /x --config=/y", "nodes invoke shed system.which {} --timeout 5",
        "call health {}", "help pair", "-h", "-V", "events --filter node",
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n-----END PUBLIC KEY-----\n",
        "{\"url\":\"ws://127.0.0.1:18789\",\"urls\":[],\"bootstrapToken\":\"ABCD2345\",\"expiresAtMs\":1700000000000}",
    ];
    let scripts: [&[u8]; 4] = [
        b"\x00\x01\x00\x01\x00\x01\x00\x01\x00\x00\x01\x01\x00\x01\x00\x01\x00\x01\x00\x00\x02\x01\x00\x01\x00\x01\x00\x01\x00\x00",
        b"\x00\x01\x01\x01\x01\x01\x01\x01\x01\x00\x03\x01\x01\x01\x01\x01\x01\x01\x01\x00\x02\x01\x01\x01\x01\x01\x01\x01\x01\x00",
        b"\x00\x01\x01\x01\x01\x01\x01\x01\x01\x00\x04\x7f\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01\x01\x01\x01\x01\x01\x01\x01\x00",
        b"\x00\x01\x01\x01\x01\x01\x01\x01\x01\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05ABCD2345 \x05 22222222",
    ];
    let texts = texts.iter().map(|text| text.as_bytes().to_vec());
    let all = texts.chain(scripts.iter().map(|script| script.to_vec()));
    all.enumerate().map(|(at, bytes)| (format!("codes-{at:03}"), bytes)).collect()
}
