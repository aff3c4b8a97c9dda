//! Test of each declared message: nanoserde reads every object that passes the check of its table.

use super::json::parse;
use super::message::{read, Message};
use super::schema::{Field, ObjectShape, ValueKind};
use super::testing::Random;
use crate::gate::limits;

/// Generates objects, most of them valid, and asserts that nanoserde reads each that passes the
/// check.
pub fn hold<T: Message<'static>>() {
    let mut random = Random::new(41);
    let mut sound = 0;
    for _ in 0..300 {
        let text: &'static str = object(&T::SHAPE, &mut random).leak();
        let value = parse(text.as_bytes(), limits::JSON_DEPTH).expect(text);
        let (_, problems) = read::<T>(value, None);
        let problems = problems.text().unwrap_or_default();
        assert!(!problems.ends_with("cannot be read"), "{problems}: {text}");
        sound += usize::from(problems.is_empty());
    }
    assert!(sound >= 10, "only {sound} were sound");
}

fn object(shape: &ObjectShape, random: &mut Random) -> String {
    let mut members: Vec<String> = vec![format!("\"other\":{}", odd(random))];
    for Field { name, kind, .. } in shape.fields {
        match random.below(99) {
            0 => {}
            1 => members.push(format!("\"{name}\" : {}", odd(random))),
            _ => members.push(format!("\"{name}\":{}", of_kind(kind, random))),
        }
    }
    let first = random.below(members.len());
    members.rotate_left(first);
    format!("{{{}}}", members.join(" ,"))
}

fn odd(random: &mut Random) -> &'static str {
    let odd = [
        "null",
        "-1",
        "1.5",
        "1e400",
        "1e+5",
        "18446744073709551616",
        "-0",
        "\"\"",
        "\"\\u0000\"",
        "[]",
        "{}",
        "[[1]]",
        "false",
    ];
    odd[random.below(odd.len())]
}

fn of_kind(kind: &ValueKind, random: &mut Random) -> String {
    match kind {
        ValueKind::Text(min, max) => string(*min, *max, random),
        ValueKind::Document => string(1, 99, random),
        ValueKind::Word(words, _) => {
            format!("\"{}\"", words[random.below(words.len())].replace('"', "\\\""))
        }
        ValueKind::Whole(min, max, _) => {
            [format!("{min}"), format!("{max}.0")][random.below(2)].clone()
        }
        ValueKind::Version => {
            ["1", "4294967296", "18446744073709551615"][random.below(3)].to_owned()
        }
        ValueKind::Bool => ["true", "false"][random.below(2)].to_owned(),
        ValueKind::Texts { min, max, len } => {
            let count = *max.min(&(min + random.below(5)));
            let items: Vec<String> = (0..count).map(|_| string(1, *len, random)).collect();
            format!("[ {} ]", items.join(",\n"))
        }
        ValueKind::Flags(max) => {
            let flag = |at| format!("\"{at}\\n\":{}", at % 3 == 0);
            let flags: Vec<String> = (0..random.below(*max.min(&9))).map(flag).collect();
            format!("{{{}}}", flags.join(", "))
        }
        ValueKind::Object(shape) => object(shape, random),
        ValueKind::Any => odd(random).to_owned(),
    }
}

/// Returns a JSON string whose length is within the bounds, sometimes the maximum.
fn string(min: usize, max: usize, random: &mut Random) -> String {
    let pieces = [
        "a", "\\n", "\\\"", "\\/", "\\\\", "\\u0000", "\\u001f", "\u{7f}", " ", "{", "]", ",", ":",
        "'", "/*",
    ];
    let wide = ["\u{e9}", "\\u00e9", "\u{2028}", "\u{1f600}", "\\ud83d\\ude00"];
    let count = if max <= limits::FIELD_LEN && random.below(8) == 0 {
        max
    } else {
        (min + random.below(9)).min(max)
    };
    let mut text: String = (0..count).map(|_| pieces[random.below(pieces.len())]).collect();
    if count + 4 <= max {
        text.push_str(wide[random.below(wide.len())]);
    }
    format!("\"{text}\"")
}
