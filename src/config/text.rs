//! Helpers for configuration text: line numbers, whole numbers, `${VAR}` expansion.

/// Parses a whole number of JSON5: decimal or hexadecimal, with an optional plus sign.
pub(super) fn whole_number(digits: &str) -> Option<u32> {
    let digits = digits.strip_prefix('+').unwrap_or(digits);
    match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    }
}

/// Replaces `${NAME}` by the variable's value, and `$${NAME}` by the literal text `${NAME}`.
///
/// A name consists of upper case letters, digits and `_`, and does not begin with a digit; all
/// other text is unchanged. The error is the name of a variable for which `var` has no value.
pub(super) fn expand(
    raw: &str,
    var: &mut dyn FnMut(&str) -> Option<String>,
) -> Result<String, String> {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find("${") {
        let (before, inside) = (&rest[..at], &rest[at + 2..]);
        match variable_len(inside).filter(|&len| inside[len..].starts_with('}')) {
            None => {
                text.push_str(&rest[..at + 2]);
                rest = inside;
            }
            Some(len) => {
                let reference = &rest[at..at + 2 + len + 1];
                match before.strip_suffix('$') {
                    Some(before) => {
                        text.push_str(before);
                        text.push_str(reference);
                    }
                    None => {
                        let name = &inside[..len];
                        text.push_str(before);
                        text.push_str(&var(name).ok_or(name)?);
                    }
                }
                rest = &inside[len + 1..];
            }
        }
    }
    text.push_str(rest);
    Ok(text)
}

/// Returns the length of the variable name at the beginning of `text`.
pub(super) fn variable_len(text: &str) -> Option<usize> {
    let is_name_byte =
        |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    let len = text.bytes().take_while(is_name_byte).count();
    (len > 0 && !text.as_bytes()[0].is_ascii_digit()).then_some(len)
}

/// Maps byte offsets to line numbers.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub fn of(text: &str) -> Lines {
        Lines(
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect(),
        )
    }

    /// Returns the line that contains the byte, from 1.
    pub fn at(&self, byte: usize) -> u32 {
        let before = self.0.partition_point(|end| *end < byte);
        u32::try_from(before).unwrap_or(u32::MAX - 1) + 1
    }
}
