//! JSON: the reader of the package `gatelet-json`, whose limits are those of the gate, and the
//! writer.

pub use gatelet_json::{
    parse, parse_counted, plain, string_len, write_string, Checked, Items, Kind, Malformed,
    Members, Place, Unescaped, Value,
};

pub use super::json_write::{arr, escaped_len, held, obj, object, pretty, Writer};
use crate::gate::limits;

const _: () = assert!(
    gatelet_json::DEPTH == limits::JSON_DEPTH
        && gatelet_json::KEYS == limits::JSON_KEYS
        && gatelet_json::KEYS_OPEN == limits::JSON_KEYS_OPEN
        && gatelet_json::CLASHES == limits::JSON_CLASHES,
    "the package that reads JSON has the limits of the gate"
);

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::collections::HashMap;

    use super::*;
    use crate::gate::limits;
    use crate::wire::testing::Random;

    #[test]
    fn plain_agrees_with_a_bytewise_search() {
        let mut random = Random::new(5);
        for _ in 0..20_000 {
            let text = random.damaged(b"0123456789 abcdefgh\x7f\x80\xff!#[]ijklmnop");
            let odd = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
            assert_eq!(plain(&text), text.iter().position(odd).unwrap_or(text.len()), "{text:?}");
        }
        for byte in 0..=255 {
            for at in 0..17 {
                let mut text = [b'a'; 17];
                text[at] = byte;
                let odd = matches!(byte, b'"' | b'\\' | 0..=0x1f);
                assert_eq!(plain(&text), if odd { at } else { 17 }, "{byte} at {at}");
            }
        }
    }

    fn read(text: &str) -> Result<Value<'_>, Malformed> {
        parse(text.as_bytes(), limits::JSON_DEPTH)
    }

    fn value(text: &str) -> Value<'_> {
        read(text).expect(text)
    }

    #[test]
    fn valid_texts_are_accepted() {
        let sound = [
            "null",
            "true",
            "false",
            "0",
            "-0",
            "10",
            "-1.5e+10",
            "1E5",
            "1e-5",
            "0.0",
            r#""""#,
            r#""a""#,
            "[]",
            "{}",
            " [ ] ",
            "\t{\n}\r",
            "[1,2]",
            "[ 1 , [ ] , { } ]",
            r#"{"a":1}"#,
            r#"{ "a" : { "b" : [ null ] } , "c" : "" }"#,
            r#""\"\\\/\b\f\n\r\t\u00e9""#,
            r#""\ud83d\uDE00""#,
            "\"\u{7f}\u{2028}\u{10ffff}\"",
            r#"{"":0}"#,
            r#"{"a":{"a":1},"b":{"a":1}}"#,
            "[{},{},[[]]]",
            "1e400",
        ];
        for text in sound {
            assert_eq!(value(text).raw(), text.trim(), "{text}");
        }
    }

    #[test]
    fn invalid_texts_are_rejected_at_the_first_error() {
        let hostile: [(&str, usize); 62] = [
            ("", 0),
            (" ", 1),
            ("nul", 0),
            ("nulll", 4),
            ("True", 0),
            ("+1", 0),
            ("-", 0),
            ("--1", 0),
            ("01", 0),
            ("-01", 0),
            ("1.", 0),
            (".5", 0),
            ("1e", 0),
            ("1e+", 0),
            ("1.e1", 0),
            ("0x10", 1),
            ("NaN", 0),
            ("Infinity", 0),
            ("1 2", 2),
            ("[1 2]", 3),
            ("[", 1),
            ("[1", 2),
            ("[1,", 3),
            ("[1,]", 3),
            ("[,1]", 1),
            ("[,]", 1),
            ("]", 0),
            ("[}", 1),
            ("[1}", 2),
            ("{]", 1),
            ("{", 1),
            ("{,}", 1),
            ("{\"a\"", 4),
            ("{\"a\"}", 4),
            ("{\"a\":", 5),
            ("{\"a\":}", 5),
            ("{\"a\":,", 5),
            ("{\"a\"::1}", 5),
            ("{\"a\":]}", 5),
            ("{\"a\":1,}", 7),
            ("{\"a\":1 \"b\":2}", 7),
            ("{\"a\":[", 6),
            ("{\"a\":{\"b\":1", 11),
            ("{\"a\":[}}", 6),
            ("{a:1}", 1),
            ("{'a':1}", 1),
            ("{1:1}", 1),
            ("{}{}", 2),
            ("{}]]]", 2),
            ("[] x", 3),
            ("\"a", 2),
            ("\"a\\", 2),
            ("\"\\x\"", 1),
            ("\"\\u12\"", 1),
            ("\"\\u123g\"", 1),
            ("\"\n\"", 1),
            ("\"\0\"", 1),
            ("// no\n1", 0),
            ("/**/1", 0),
            ("\u{feff}1", 0),
            ("\u{a0}1", 0),
            ("null\0", 4),
        ];
        for (text, at) in hostile {
            assert_eq!(read(text).map(|_| ()).map_err(|bad| bad.at), Err(at), "{text:?}");
        }
    }

    #[test]
    fn lone_surrogates_and_invalid_utf8_are_rejected() {
        for text in [
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\ud800\ud800""#,
            r#""\ud800x""#,
            r#""\ud800\n""#,
            r#""\ud800\u0041""#,
            r#""\udc00\ud800""#,
        ] {
            assert_eq!(
                read(text).map(|_| ()).map_err(|bad| bad.what),
                Err("half a surrogate pair"),
                "{text}"
            );
        }
        for text in [
            &b"\"\xff\""[..],
            b"\"\xc0\x80\"",
            b"\"\xed\xa0\x80\"",
            b"\xef\xbb",
            b"\"\xf4\x90\x80\x80\"",
        ] {
            assert_eq!(
                parse(text, 8).map(|_| ()).map_err(|bad| bad.what),
                Err("not UTF-8"),
                "{text:?}"
            );
        }
    }

    #[test]
    fn depth_is_bounded_without_recursion() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(read(&nested(limits::JSON_DEPTH)).is_ok());
        for depth in [limits::JSON_DEPTH + 1, 1_000_000] {
            assert_eq!(
                read(&nested(depth)).unwrap_err(),
                Malformed { at: limits::JSON_DEPTH, what: "nested too deep" }
            );
        }
        assert!(
            parse(b"[[]]", 2).is_ok()
                && parse(b"[[[]]]", 2).is_err()
                && parse(b"1", 0).is_ok()
                && parse(b"[]", 0).is_err()
        );
        assert!(
            parse(nested(99).as_bytes(), usize::MAX).is_err(),
            "the limit holds whatever the caller asks"
        );
    }

    #[test]
    fn duplicate_keys_are_rejected_in_any_spelling() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":{},"\u0061":1}"#,
            r#"[{"x":{"a":1,"c":{"a":1},"a":2}}]"#,
            r#"{"\n":1,"\u000a":1}"#,
        ] {
            assert_eq!(
                read(text).map(|_| ()).map_err(|bad| bad.what),
                Err("a key given twice"),
                "{text}"
            );
        }
        assert_eq!(read(r#"{"a":{"b":1},"b":{"a":1}}"#).map(|_| ()), Ok(()));
    }

    #[test]
    fn duplicates_beyond_the_limit_give_the_first_value() {
        let many =
            |count: usize| (0..count).map(|at| format!("\"k{at}\":{at},")).collect::<String>();
        let within = format!("{{{}\"k0\":9}}", many(limits::JSON_KEYS));
        assert_eq!(read(&within).unwrap_err().what, "a key given twice");
        let last_watched = limits::JSON_KEYS - 1;
        let edge = format!("{{{}\"k{last_watched}\":9}}", many(limits::JSON_KEYS));
        assert_eq!(read(&edge).unwrap_err().what, "a key given twice");
        let last = limits::JSON_KEYS;
        let beyond = format!("{{{}\"k{last}\":9}}", many(limits::JSON_KEYS + 1));
        assert_eq!(
            value(&beyond).get(&format!("k{last}")).and_then(|first| first.as_u64()),
            Some(last as u64)
        );
    }

    #[test]
    fn fields_and_items_are_found_in_their_order() {
        let text = r#" { "a" : [ 1 , "," , { "x" : "]}" } , [ ] , -2.5e3 ] , "\u0062" : "}" , "c":null,"d":{"a":0} } "#;
        let found = value(text);
        let raws: Vec<_> =
            found.fields().map(|(name, value)| (name.into_owned(), value.raw())).collect();
        assert_eq!(
            raws[1..],
            [("b".into(), "\"}\""), ("c".into(), "null"), ("d".into(), "{\"a\":0}")]
        );
        let items: Vec<_> = found.get("a").unwrap().items().map(|item| item.raw()).collect();
        assert_eq!(items, ["1", "\",\"", r#"{ "x" : "]}" }"#, "[ ]", "-2.5e3"]);
        assert_eq!(found.get("b").unwrap().as_str().as_deref(), Some("}"));
        assert!(found.get("x").is_none() && found.get("c").unwrap().is_null());
        assert_eq!((value("[1]").fields().count(), value("{\"a\":1}").items().count()), (0, 0));
        assert_eq!(
            (
                value("\"[1]\"").items().count(),
                value("{}").fields().count(),
                value("[ ]").items().count()
            ),
            (0, 0, 0)
        );
    }

    #[test]
    fn strings_are_borrowed_unless_they_hold_escapes() {
        assert!(matches!(value("\"caf\u{e9}\"").as_str(), Some(Cow::Borrowed("caf\u{e9}"))));
        assert_eq!(
            value(r#""\"\\\/\b\f\n\r\t\u0041\ud83d\ude00x""#).as_str().as_deref(),
            Some("\"\\/\u{8}\u{c}\n\r\tA\u{1f600}x")
        );
        assert!(
            !value(r#""\n""#).is_str("\\n")
                && value(r#""\\n""#).is_str("\\n")
                && value("\"\"").is_str("")
        );
        assert!(
            value(r#""a\u0062c""#).is_str("abc")
                && !value(r#""abc""#).is_str("ab")
                && !value("1").is_str("1")
        );
        assert_eq!((value("1").as_str(), value("[\"a\"]").as_str()), (None, None));
    }

    #[test]
    fn whole_numbers_are_exact_or_nothing() {
        assert_eq!(value("18446744073709551615").as_u64(), Some(u64::MAX));
        assert_eq!(value("18446744073709551616").as_u64(), None, "nothing wraps");
        assert_eq!(value("1700000000000.0").as_u64(), Some(1_700_000_000_000));
        assert_eq!(
            (value("-9223372036854775808").as_i64(), value("9223372036854775808").as_i64()),
            (Some(i64::MIN), None)
        );
        for text in ["-1", "1.5", "1e3", "1.0e5", "\"1\"", "true", "null", "[1]", "0.10"] {
            assert_eq!(value(text).as_u64(), None, "{text}");
        }
        assert_eq!(
            (value("true").as_bool(), value("false").as_bool(), value("0").as_bool()),
            (Some(true), Some(false), None)
        );
    }

    #[test]
    fn checked_text_has_the_same_values_at_their_places() {
        let text = r#" {"a":[1,{"b":null}],"c":"x"} "#;
        let checked = Checked::parse(text, 8).unwrap();
        let root = checked.value();
        assert_eq!((root.raw(), checked.values()), (text.trim(), 6));
        assert_eq!(parse_counted(text.as_bytes(), 8).unwrap().1, 6);
        let list = root.at("a");
        let inner = list.items().nth(1).unwrap();
        assert_eq!(root.at_place(root.place_of(&inner)).raw(), r#"{"b":null}"#);
        assert_eq!(list.at_place(list.place_of(&inner)).raw(), r#"{"b":null}"#);
        assert_eq!(inner.at_place(root.place_of(&inner)).raw(), "{}", "a place outside of it");
        assert!(Checked::parse("[1,]", 8).is_err() && Checked::parse("[[]]", 1).is_err());
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", value("\"s3cret\"")), "String of 8 bytes");
    }

    #[test]
    fn parsing_never_panics() {
        let mut random = Random::new(7);
        for _ in 0..20_000 {
            let text =
                random.bytes_of(b"{}[]\":,\\ \n0123456789eE+-.truefalsn\"ud8c\xc3\xa9\xff\0", 40);
            if let Ok(value) = parse(&text, 5) {
                let _ = (
                    value.kind(),
                    value.as_str(),
                    value.as_u64(),
                    value.as_i64(),
                    value.as_bool(),
                    pretty(&value),
                );
                value.fields().for_each(|(name, field)| {
                    assert!(value.get(&name).is_some() && !field.raw().is_empty())
                });
                value.items().for_each(|item| assert!(parse(item.raw().as_bytes(), 5).is_ok()));
            }
        }
    }

    #[test]
    fn hash_collisions_are_bounded() {
        let mut seen = HashMap::new();
        let hash_of = |key: &str| hash(key);
        let pair = (0..).find_map(|number: u32| {
            let key = number.to_string();
            seen.insert(hash_of(&key), key.clone()).map(|other| (key, other))
        });
        let (one, two) = pair.unwrap();
        assert!(one != two && hash_of(&one) == hash_of(&two));
        let object = format!(r#"{{"{one}":1,"{two}":2}}"#);
        let many =
            |count: u32| ["[", &vec![object.as_str(); count as usize].join(","), "]"].concat();
        assert!(parse(many(limits::JSON_CLASHES).as_bytes(), 8).is_ok(), "some may be chance");
        let malformed = parse(many(limits::JSON_CLASHES + 1).as_bytes(), 8).unwrap_err();
        assert_eq!(malformed.what, "keys that were made to look alike");
    }

    #[test]
    fn collisions_with_a_long_key_stay_cheap() {
        let long = "\\\\".repeat(2 * 1024 * 1024);
        let wanted = hash(&"\\".repeat(2 * 1024 * 1024));
        // The last character can cancel out everything before it. If it would have to be a
        // character that is not allowed here, another prefix is tried.
        let alike = (0..).filter_map(|number: u32| {
            let front = format!("{number}-");
            let last = hash(&front) ^ wanted.wrapping_mul(INVERSE);
            let last = char::from_u32(last)
                .filter(|char| !char.is_control() && !"\"\\".contains(*char))?;
            Some(format!("\"{front}{last}\":1"))
        });
        let alike: Vec<String> = alike.take(limits::JSON_CLASHES as usize).collect();
        let object = |keys: &[String]| format!("{{\"{long}\":1,{}}}", keys.join(","));
        let time = |text: &str| {
            let begun = std::time::Instant::now();
            assert!(parse(text.as_bytes(), 8).is_ok());
            begun.elapsed()
        };
        let filling: Vec<String> =
            (0..limits::JSON_KEYS - 1).map(|number| format!("\"f{number}\":1")).collect();
        let (plain, made) =
            (object(&filling), object(&[filling.as_slice(), alike.as_slice()].concat()));
        let [plain, made] = [plain, made].map(|text| (0..5).map(|_| time(&text)).min().unwrap());
        assert!(made < 3 * plain, "{made:?} for what takes {plain:?} without them");
    }

    /// Hash function of the check: FNV-1a over the characters of a key.
    fn hash(key: &str) -> u32 {
        key.chars()
            .fold(0x811c_9dc5, |hash, char| (hash ^ u32::from(char)).wrapping_mul(0x0100_0193))
    }

    /// Multiplicative inverse, modulo 2^32, of the FNV prime.
    const INVERSE: u32 = 0x359c_449b;
}
