//! The parameters of a method, read field by field, with the protocol's words for what is wrong.
//!
//! Ask for every field first, then [`Params::finish`]: it refuses what nobody asked for, and tells all problems at once.
//! Until it said yes, what was read means nothing.

use std::borrow::Cow;

use super::json::Value;
use super::schema::{members, Members, Object, Problems};
use crate::gate::limits;

/// The closed object of parameters of one call.
pub struct Params<'a> {
    method: &'static str,
    value: Value<'a>,
    members: Members<'a>,
    problems: Problems,
    asked: heapless::Vec<&'static str, { limits::PARAMS }>,
}

impl<'a> Params<'a> {
    /// The parameters of a call of `method`; none are an empty object.
    pub fn new(method: &'static str, params: Option<Value<'a>>) -> Params<'a> {
        let value = params.filter(|value| !value.is_null()).unwrap_or(Value::EMPTY);
        let mut problems = Problems::default();
        let members = members(&value, "", &mut problems);
        Params { method, value, members, problems, asked: heapless::Vec::new() }
    }

    /// A string of 1 to [`limits::FIELD_LEN`] bytes that must be there.
    pub fn str(&mut self, name: &'static str) -> Cow<'a, str> {
        self.ask(name).required_str(name, limits::FIELD_LEN)
    }

    /// A string of 1 to [`limits::FIELD_LEN`] bytes that may be there.
    pub fn opt_str(&mut self, name: &'static str) -> Option<Cow<'a, str>> {
        self.ask(name).opt_str(name, limits::FIELD_LEN)
    }

    /// A string of up to `max` bytes that may be there, and may be empty.
    pub fn opt_text(&mut self, name: &'static str, max: usize) -> Option<Cow<'a, str>> {
        self.ask(name).opt_text(name, max)
    }

    /// `true` or `false` that must be there.
    pub fn bool(&mut self, name: &'static str) -> bool {
        self.ask(name).required_bool(name)
    }

    /// A whole number that may be there.
    pub fn opt_u64(&mut self, name: &'static str) -> Option<u64> {
        self.ask(name).opt_u64(name)
    }

    /// `true` or `false` that may be there.
    pub fn opt_bool(&mut self, name: &'static str) -> Option<bool> {
        self.ask(name).opt_bool(name)
    }

    /// A list of up to `most` strings of 1 to [`limits::WORD_LEN`] bytes that may be there.
    pub fn opt_list(&mut self, name: &'static str, most: usize) -> Option<Value<'a>> {
        self.ask(name).opt_list(name, most, limits::WORD_LEN)
    }

    /// Any JSON that may be there, `null` included.
    pub fn opt_value(&mut self, name: &'static str) -> Option<Value<'a>> {
        self.ask(name).get(name)
    }

    /// Any JSON that may be there.
    pub fn opt_any(&mut self, name: &'static str) -> Option<Value<'a>> {
        self.ask(name).any(name)
    }

    /// Notes that what stands under that name is wrong for a reason of the caller.
    pub fn wrong(&mut self, name: &'static str, what: &str) {
        self.ask(name).wrong(name, what);
    }

    /// All is well, or the text `invalid <method> params: ...` of an INVALID_REQUEST (protocol 3 and 4).
    pub fn finish(mut self) -> Result<(), String> {
        // A key given twice comes after `limits::JSON_KEYS` others, and some of those were not asked for.
        for (name, _) in &self.members {
            if !self.asked.iter().any(|asked| name.is_str(asked)) {
                self.problems.unexpected("", &name.as_str().unwrap_or_default());
            }
        }
        match self.problems.text() {
            None => Ok(()),
            Some(text) => Err(["invalid ", self.method, " params: ", text].concat()),
        }
    }

    fn ask(&mut self, name: &'static str) -> Object<'a, '_> {
        if !self.asked.contains(&name) {
            let fits = self.asked.push(name).is_ok();
            debug_assert!(fits, "{} asks for more than limits::PARAMS fields", self.method);
        }
        Object::read(self.value, &self.members, &mut self.problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::parse;
    use crate::wire::testing::Random;

    fn value(text: &str) -> Option<Value<'_>> {
        Some(parse(text.as_bytes(), limits::JSON_DEPTH).expect(text))
    }

    fn label(text: &str) -> Result<(String, Option<String>), String> {
        let mut params = Params::new("device.pair.rename", value(text));
        let read = (params.str("deviceId").into_owned(), params.opt_text("label", 5).map(Cow::into_owned));
        params.finish().map(|()| read)
    }

    #[test]
    fn the_fields_of_a_method_are_read() {
        assert_eq!(label(r#"{"deviceId":"d","label":""}"#), Ok(("d".into(), Some(String::new()))));
        assert_eq!(label(r#"{"deviceId":"d","label":null}"#), Ok(("d".into(), None)));
        let text = r#"{"n":5,"b":true,"l":["x"],"any":{"k":1}}"#;
        let mut params = Params::new("m", value(text));
        assert_eq!((params.opt_u64("n"), params.opt_bool("b"), params.opt_str("none")), (Some(5), Some(true), None));
        assert_eq!(
            (params.opt_list("l", 3).unwrap().raw(), params.opt_any("any").unwrap().raw()),
            ("[\"x\"]", "{\"k\":1}")
        );
        assert_eq!(params.finish(), Ok(()));
        assert!(Params::new("m", None).finish().is_ok() && Params::new("m", value("null")).finish().is_ok());
    }

    #[test]
    fn problems_are_told_in_the_words_of_the_protocol_all_at_once() {
        let bad = |text: &str| {
            label(text).unwrap_err().strip_prefix("invalid device.pair.rename params: ").unwrap().to_owned()
        };
        assert_eq!(bad("{}"), "must have required property 'deviceId'");
        assert_eq!(bad("[1]"), "must be object");
        assert_eq!(
            bad(r#"{"deviceId":"","label":"123456"}"#),
            "at /deviceId: must NOT have fewer than 1 characters; at /label: must NOT have more than 5 characters"
        );
        assert_eq!(bad(r#"{"deviceId":null,"x":1}"#), "at /deviceId: must be string; at root: unexpected property 'x'");
        let long = format!(r#"{{"deviceId":"d","{}":1}}"#, "x".repeat(9999));
        assert_eq!(bad(&long), format!("at root: unexpected property '{}'", "x".repeat(limits::WORD_LEN)));
    }

    #[test]
    fn a_field_cannot_be_given_twice_behind_filling() {
        let filling: String = (0..limits::JSON_KEYS).map(|at| format!("\"f{at}\":0,")).collect();
        assert!(label(&format!(r#"{{{filling}"deviceId":"a","deviceId":"b"}}"#)).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut random = Random::new(29);
        for _ in 0..10_000 {
            let text = random.damaged(br#"{"deviceId":"d","label":"\u00e9","n":1,"b":true,"l":["x",2]}"#);
            let Ok(value) = parse(&text, limits::JSON_DEPTH) else { continue };
            let mut params = Params::new("m", Some(value));
            let _ = (params.str("deviceId"), params.opt_u64("n"), params.opt_bool("b"), params.opt_list("l", 2));
            assert!(params.finish().err().is_none_or(|text| text.len() <= limits::PROBLEMS_LEN + 32));
        }
    }
}
