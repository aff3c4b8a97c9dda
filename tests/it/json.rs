//! Compares our JSON parser with a second one, on valid, damaged and random documents.
//!
//! `GATELET_JSON_ROUNDS` sets the number of documents (default 50 000), `GATELET_JSON_SEED` the
//! first seed.

use fastrand::Rng;
use gatelet::gate::limits;
use gatelet::wire::json::{parse, pretty, Kind, Value};
use serde_json::Value as Other;
use support::number;

#[test]
fn parser_agrees_with_serde_json() {
    let mut random = Random(Rng::with_seed(number("GATELET_JSON_SEED").unwrap_or(1)));
    let mut seen = Seen::default();
    for round in 0..number("GATELET_JSON_ROUNDS").unwrap_or(50_000) {
        let mut text = Vec::new();
        random.space(&mut text);
        random.document(&mut text, 0);
        random.space(&mut text);
        match round % 4 {
            0 => {}
            3 => text = random.soup(),
            _ => random.damage(&mut text),
        }
        compare(&text, &mut seen);
    }
    assert!(
        seen.accepted > 1_000 && seen.refused > 1_000 && seen.twice > 10,
        "too one-sided to mean anything: {seen:?}"
    );
}

#[derive(Default, Debug)]
struct Seen {
    accepted: u64,
    refused: u64,
    /// Rejected for a duplicate key: the only valid documents that our parser rejects.
    twice: u64,
}

fn compare(text: &[u8], seen: &mut Seen) {
    let shown = String::from_utf8_lossy(text);
    match (parse(text, limits::JSON_DEPTH), serde_json::from_slice::<Other>(text)) {
        (Ok(ours), Ok(other)) => {
            assert_same(ours, &other, &shown);
            let pretty = pretty(&ours);
            let again = parse(pretty.as_bytes(), limits::JSON_DEPTH).expect(&shown);
            assert_same(again, &other, &shown);
            seen.accepted += 1;
        }
        (Err(_), Err(_)) => seen.refused += 1,
        (Err(bad), Ok(_)) => {
            assert_eq!(bad.what, "a key given twice", "{shown}");
            seen.twice += 1;
        }
        // the other parser converts every number to floating point; ours keeps the text
        (Ok(_), Err(error)) => {
            assert!(error.to_string().starts_with("number out of range"), "{error}: {shown}")
        }
    }
}

fn assert_same(ours: Value<'_>, other: &Other, shown: &str) {
    match (ours.kind(), other) {
        (Kind::Null, Other::Null) => assert!(ours.is_null()),
        (Kind::Bool, Other::Bool(truth)) => assert_eq!(ours.as_bool(), Some(*truth), "{shown}"),
        (Kind::String, Other::String(text)) => {
            assert_eq!(ours.as_str().as_deref(), Some(text.as_str()), "{shown}");
            assert!(ours.is_str(text), "{shown}");
        }
        (Kind::Number, Other::Number(number)) => {
            if number.is_u64() || number.is_i64() {
                assert_eq!(
                    (ours.as_u64(), ours.as_i64()),
                    (number.as_u64(), number.as_i64()),
                    "{shown}"
                );
            }
            let (one, two) = (ours.raw().parse::<f64>().unwrap(), number.as_f64().unwrap());
            assert!((one - two).abs() <= one.abs() * 1e-15, "{one} {two} {shown}");
        }
        (Kind::Array, Other::Array(items)) => {
            assert_eq!(ours.items().count(), items.len(), "{shown}");
            ours.items().zip(items).for_each(|(ours, other)| assert_same(ours, other, shown));
        }
        (Kind::Object, Other::Object(fields)) => {
            assert_eq!(ours.fields().count(), fields.len(), "{shown}");
            for (name, value) in ours.fields() {
                assert_eq!(ours.get(&name).map(|found| found.raw()), Some(value.raw()), "{shown}");
                assert_same(value, &fields[&*name], shown);
            }
        }
        (kind, other) => panic!("{kind:?} is not {other}: {shown}"),
    }
}

/// Bytes inserted as damage.
const BYTES: &[u8] = b"{}[]\",:\\u0123456789-+.eE \n\0\x0b\x1f\x7f\x80\xc3\xff/dtfn";

/// Source of random documents.
struct Random(Rng);

impl Random {
    fn one_of<'t>(&mut self, list: &[&'t str]) -> &'t str {
        list[self.0.usize(..list.len())]
    }

    fn document(&mut self, out: &mut Vec<u8>, depth: usize) {
        match self.0.usize(..if depth < 6 { 9 } else { 6 }) {
            0 => out.extend(self.one_of(&["null", "true", "false"]).bytes()),
            1 | 2 => self.number(out),
            3..=5 => self.string(out),
            6 => self.list(out, b"[]", &mut |random, out| random.document(out, depth + 1)),
            _ => self.list(out, b"{}", &mut |random, out| {
                random.string(out);
                random.space(out);
                out.push(b':');
                random.space(out);
                random.document(out, depth + 1);
            }),
        }
    }

    fn list(
        &mut self,
        out: &mut Vec<u8>,
        brackets: &[u8; 2],
        item: &mut dyn FnMut(&mut Random, &mut Vec<u8>),
    ) {
        out.push(brackets[0]);
        self.space(out);
        for at in 0..self.0.usize(..5) {
            if at > 0 {
                out.push(b',');
                self.space(out);
            }
            item(self, out);
            self.space(out);
        }
        out.push(brackets[1]);
    }

    fn number(&mut self, out: &mut Vec<u8>) {
        let whole = [
            "0",
            "7",
            "42",
            "9007199254740993",
            "9223372036854775807",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
        ];
        let parts = [
            self.one_of(&["", "-"]),
            self.one_of(&whole),
            self.one_of(&["", "", ".0", ".25"]),
            self.one_of(&["", "", "e3", "E-2", "e+1", "e400"]),
        ];
        out.extend(parts.concat().bytes());
    }

    fn string(&mut self, out: &mut Vec<u8>) {
        let parts = [
            "a",
            "b",
            "\\u0061",
            "\\n",
            "\\\\",
            "\\\"",
            "\\/",
            "\u{e9}",
            "\u{1f600}",
            "\\ud83d\\ude00",
            "\\u00E9",
            "]",
            "}",
            ",",
            ":",
            " ",
            "\u{7f}",
            "\\ud800",
            "\\udc00",
        ];
        out.push(b'"');
        for _ in 0..self.0.usize(..4) {
            // the two surrogate halves are last and rare: alone, each makes the document invalid
            let rare = if self.0.usize(..60) == 0 { 0 } else { 2 };
            out.extend(self.one_of(&parts[..parts.len() - rare]).bytes());
        }
        out.push(b'"');
    }

    fn space(&mut self, out: &mut Vec<u8>) {
        out.extend(self.one_of(&["", "", "", " ", "\n\t", "\r\n "]).bytes());
    }

    fn damage(&mut self, text: &mut Vec<u8>) {
        for _ in 0..=self.0.usize(..2) {
            let at = self.0.usize(..text.len() + 1);
            let byte = BYTES[self.0.usize(..BYTES.len())];
            match self.0.usize(..4) {
                0 => text.insert(at, byte),
                1 => text.truncate(at),
                2 if at < text.len() => text[at] = byte,
                _ if at < text.len() => drop(text.remove(at)),
                _ => {}
            }
        }
    }

    fn soup(&mut self) -> Vec<u8> {
        let parts = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"b\"",
            "\"\\u0061\"",
            "1",
            "-",
            "0",
            ".5",
            "e1",
            "null",
            "tru",
            "e",
            " ",
            "\"",
            "\\",
            "\u{feff}",
        ];
        (0..self.0.usize(..9)).flat_map(|_| self.one_of(&parts).bytes()).collect()
    }
}
