//! Writes values of a configuration as text: as strict JSON on one line, or indented for a file.
//!
//! [`shown`] is the form for clients; it replaces secrets by [`HIDDEN`].

use super::tree::{JsonValue, Member};
use super::values::trimmed;

/// Placeholder for a redacted secret (protocol 4).
pub(super) const HIDDEN: &str = "__OPENCLAW_REDACTED__";

/// Treatment of null members of objects.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Nulls {
    Keep,
    /// Leave them out: in a merge patch they remove keys.
    Omit,
}

/// Treatment of secrets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrets {
    Show,
    /// Replace them by [`HIDDEN`].
    Hide,
}

/// Returns the value as strict JSON on one line. Equal values give equal text.
pub(super) fn compact(value: &JsonValue<'_>) -> String {
    print(value, None, Secrets::Show, Nulls::Keep)
}

/// Like [`compact`], with secrets replaced by [`HIDDEN`].
pub(super) fn shown(value: &JsonValue<'_>) -> String {
    print(value, None, Secrets::Hide, Nulls::Keep)
}

/// Returns the value formatted for a file, for a line that is indented by `indent`.
pub(super) fn indented(value: &JsonValue<'_>, indent: &str, nulls: Nulls) -> String {
    print(value, Some(indent), Secrets::Show, nulls)
}

fn print(value: &JsonValue<'_>, indent: Option<&str>, secrets: Secrets, nulls: Nulls) -> String {
    let mut printer = Printer { out: String::new(), indent, secrets, nulls };
    printer.value(value, 0, false);
    printer.out
}

/// Returns the text as a JSON string with quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    quote(&mut out, text);
    out
}

/// Returns whether the name of a key marks its value as a secret (names of protocol 4).
pub(super) fn is_secret_key(key: &str) -> bool {
    let key: String = key
        .chars()
        .filter(|char| !matches!(char, '-' | '_'))
        .collect::<String>()
        .to_ascii_lowercase();
    let named = ["password", "secret", "apikey", "encryptkey", "privatekey"]
        .iter()
        .any(|word| key.contains(word));
    key.ends_with("token")
        || key.ends_with("serviceaccount")
        || named && !key.ends_with("passwordfile")
}

/// Returns whether the value must be redacted; `below_secret` means that it is under a secret key.
/// The name of a variable (`${NAME}`) is not a secret.
pub(super) fn is_secret(value: &JsonValue<'_>, below_secret: bool) -> bool {
    match value {
        JsonValue::Text(text) => below_secret && !is_variable(text) || has_login(text),
        JsonValue::Number(_) => below_secret,
        _ => false,
    }
}

/// Returns whether the values inside `value` count as below a secret key. Those of a secret
/// reference do not: it only names the location of the secret.
pub(super) fn secret_inside(value: &JsonValue<'_>, below_secret: bool) -> bool {
    below_secret && !(value.text("source").is_some() && value.text("id").is_some())
}

/// Returns whether the text is blank, or one variable (`${NAME}`) and nothing else.
pub(super) fn is_variable(text: &str) -> bool {
    let text = trimmed(text);
    let inner = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    text.is_empty() || inner.is_some_and(|name| !name.contains('}'))
}

/// Returns whether the text is a URL with credentials, `scheme://user:password@host`.
fn has_login(text: &str) -> bool {
    let host =
        text.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(rest));
    host.is_some_and(|host| host.contains('@'))
}

/// Returns the text for display, or [`HIDDEN`] if it is a URL with credentials.
pub(super) fn without_login(text: &str) -> &str {
    if has_login(text) {
        HIDDEN
    } else {
        text
    }
}

struct Printer<'i> {
    out: String,
    indent: Option<&'i str>,
    secrets: Secrets,
    nulls: Nulls,
}

impl Printer<'_> {
    fn value(&mut self, value: &JsonValue<'_>, depth: usize, below_secret: bool) {
        if self.secrets == Secrets::Hide && is_secret(value, below_secret) {
            return quote(&mut self.out, HIDDEN);
        }
        match value {
            JsonValue::Null => self.out.push_str("null"),
            JsonValue::Flag(flag) => self.out.push_str(if *flag { "true" } else { "false" }),
            JsonValue::Number(number) if self.indent.is_some() => self.out.push_str(number),
            JsonValue::Number(number) => self.out.push_str(&strict_number(number)),
            JsonValue::Text(text) => quote(&mut self.out, text),
            JsonValue::List(items) => {
                // Inside a list, null is a value: a merge patch does not look into lists.
                let nulls = std::mem::replace(&mut self.nulls, Nulls::Keep);
                self.members(['[', ']'], items, depth, secret_inside(value, below_secret));
                self.nulls = nulls;
            }
            JsonValue::Object(members) => {
                self.members(['{', '}'], members, depth, secret_inside(value, below_secret))
            }
        }
    }

    fn members(
        &mut self,
        brackets: [char; 2],
        members: &[Member<'_>],
        depth: usize,
        below_secret: bool,
    ) {
        self.out.push(brackets[0]);
        let is_object = brackets[0] == '{';
        let mut empty = true;
        for (index, member) in members.iter().enumerate() {
            let is_overridden =
                is_object && members[index + 1..].iter().any(|later| later.name == member.name);
            let is_omitted = self.nulls == Nulls::Omit && matches!(member.value, JsonValue::Null);
            if is_overridden || is_omitted {
                continue;
            }
            if !std::mem::take(&mut empty) {
                self.out.push(',');
            }
            self.new_line(depth + 1);
            if is_object {
                quote(&mut self.out, &member.name);
                self.out.push_str(if self.indent.is_some() { ": " } else { ":" });
            }
            let below_secret = below_secret || is_secret_key(&member.name);
            self.value(&member.value, depth + 1, below_secret);
        }
        if !empty {
            self.new_line(depth);
        }
        self.out.push(brackets[1]);
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.out.push('\n');
            self.out.push_str(indent);
            self.out.push_str(&INDENT.repeat(depth));
        }
    }
}

/// Indentation of one level.
pub(super) const INDENT: &str = "  ";

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '\n' => out.push_str("\\n"),
            '\0'..='\u{1f}' | '\u{7f}' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", char as u32));
            }
            char => out.push(char),
        }
    }
    out.push('"');
}

/// Converts a JSON5 number to JSON. Numbers that JSON does not have, such as NaN, become null.
fn strict_number(number: &str) -> String {
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", number.strip_prefix('+').unwrap_or(number)),
    };
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16)
            .map_or("null".to_string(), |value| format!("{sign}{value}"));
    }
    if !digits.starts_with(|char: char| char.is_ascii_digit() || char == '.') {
        return "null".to_string();
    }
    let (mantissa, exponent) = digits.split_at(digits.find(['e', 'E']).unwrap_or(digits.len()));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let integer = if integer.is_empty() { "0" } else { integer };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{integer}{point}{fraction}{exponent}")
}

#[cfg(test)]
mod tests {
    use super::super::tree::read;
    use super::*;

    fn of(text: &str) -> String {
        compact(&read(text).ok().flatten().unwrap().value)
    }

    #[test]
    fn json5_values_are_converted_to_json() {
        let text = "{a: +1, 'b': .5, c: 5., d: 0x1F, e: -0xf, f: NaN, g: -Infinity, h: 1e5, i: -.5E-3, // no\n j: 'x\\'\"\\n\\u0001', k: [null, true,],}";
        let json = r#"{"a":1,"b":0.5,"c":5,"d":31,"e":-15,"f":null,"g":null,"h":1e5,"i":-0.5E-3,"j":"x'\"\n\u0001","k":[null,true]}"#;
        assert_eq!(of(text), json);
        assert!(crate::wire::json::parse(json.as_bytes(), 9).is_ok());
    }

    #[test]
    fn last_of_duplicate_keys_wins() {
        assert_eq!(of("{a: 1, b: 2, a: 3}"), r#"{"b":2,"a":3}"#);
    }

    #[test]
    fn secrets_are_recognized_by_key_and_redacted() {
        let text = r#"{gateway: {auth: {token: "s1", password: 1234, mode: "token"}, upstream: {tokenFile: "f"}},
            env: {OPENAI_API_KEY: "s2", X: "${S3}"}, channels: {secrets: [{a: "s4"}]}, t: {token: "${VAR}"},
            r: {token: {source: "env", id: "NAME"}}, u: "https://me:s5@host/x", maxTokens: 5, v: "http://host/a@b"}"#;
        let json = shown(&read(text).ok().flatten().unwrap().value);
        for secret in ["s1", "1234", "s2", "s4", "s5"] {
            assert!(!json.contains(secret), "{json}");
        }
        for kept in [
            "\"f\"",
            "${S3}",
            "${VAR}",
            "NAME",
            "maxTokens\":5",
            "http://host/a@b",
            "\"mode\":\"token\"",
        ] {
            assert!(json.contains(kept), "{kept}: {json}");
        }
    }

    #[test]
    fn values_are_indented_and_patch_nulls_omitted() {
        let text = "{a: {b: [1, {x: null}], c: null}, d: {}, n: null}";
        let value = read(text).ok().flatten().unwrap().value;
        let lines = "{\n    \"a\": {\n      \"b\": [\n        1,\n        {\n          \"x\": null\n        }\n      ]\n    },\n    \"d\": {}\n  }";
        assert_eq!(indented(&value, "  ", Nulls::Omit), lines);
    }
}
