//! Parses JSON5 text into a tree with byte positions, using `jsonc-parser`. Independent of the
//! schema.
//!
//! The depth and width are checked before the library's parser, which is recursive, sees the text.
//! The library's tree is converted, because it does not contain the positions of commas.
//!
//! Its `cst` feature, which edits a text, is not used: removing a member would also remove the
//! comments on its line, adding one would spread an object in one line over several, and each edit
//! takes time in proportion to the object.

use std::borrow::Cow;
use std::ops::Range;

use jsonc_parser::ast::{ObjectPropName, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::errors::{ParseError, ParseErrorKind};
use jsonc_parser::tokens::Token;
use jsonc_parser::{parse_to_ast, CollectOptions, ParseOptions, Scanner, ScannerOptions};

use crate::gate::limits;

/// A JSON5 value.
pub(super) enum JsonValue<'a> {
    Null,
    Flag(bool),
    /// The number as written, such as `0x1F`, `+3`, `.5` or `NaN`.
    Number(&'a str),
    Text(Cow<'a, str>),
    List(Vec<Member<'a>>),
    Object(Vec<Member<'a>>),
}

/// A value with its position: the root, an element of a list or a member of an object.
pub(super) struct Member<'a> {
    /// Byte offset of the key, or of the value if there is no key.
    pub at: usize,
    /// Name of the key; empty for list elements and the root.
    pub name: Cow<'a, str>,
    pub value: JsonValue<'a>,
    /// Byte range of the value.
    pub span: Range<usize>,
    /// Byte offset of the comma after the value, if there is one.
    pub comma: Option<usize>,
}

/// Syntax error: byte offset and description.
pub(super) struct SyntaxError {
    pub at: usize,
    pub message: String,
}

impl From<ParseError> for SyntaxError {
    fn from(error: ParseError) -> Self {
        let message = match error.kind() {
            ParseErrorKind::UnexpectedWord => "a string needs quotes".to_string(),
            kind => kind.to_string().to_ascii_lowercase(),
        };
        SyntaxError { at: error.range().start, message }
    }
}

impl<'a> JsonValue<'a> {
    /// Returns the string value of the named property; `None` if there is none.
    pub fn text(&self, name: &str) -> Option<&str> {
        match &self.member(name)?.value {
            JsonValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the last property with that name; `None` if there is none.
    pub fn member(&self, name: &str) -> Option<&Member<'a>> {
        let JsonValue::Object(properties) = self else { return None };
        properties.iter().rfind(|property| property.name == name)
    }
}

/// Parses a text. Returns `None` if it holds only white space and comments.
pub(super) fn read(text: &str) -> Result<Option<Member<'_>>, SyntaxError> {
    read_up_to(text, usize::MAX)
}

/// Like [`read`], with at most [`limits::CONFIG_MEMBERS`] values in a list or object, which bounds
/// the time to compare two trees.
pub(super) fn read_narrow(text: &str) -> Result<Option<Member<'_>>, SyntaxError> {
    read_up_to(text, limits::CONFIG_MEMBERS)
}

fn read_up_to(text: &str, max_members: usize) -> Result<Option<Member<'_>>, SyntaxError> {
    let converter = Converter { commas: scan(text, max_members)? };
    let options = ParseOptions { allow_missing_commas: false, ..ParseOptions::default() };
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options)?;
    Ok(parsed.value.map(|root| converter.item(root, 0)))
}

/// Returns the byte offsets of all commas. Error if lists and objects are nested deeper than
/// [`limits::JSON_DEPTH`], or one of them has more than `max_members` values. Stops at a syntax
/// error without a report: the parser finds it again, or an earlier one.
fn scan(text: &str, max_members: usize) -> Result<Vec<usize>, SyntaxError> {
    let mut scanner = Scanner::new(text, &ScannerOptions::default());
    let mut commas = Vec::new();
    // Number of complete values in each open list and object.
    let mut open: Vec<usize> = Vec::new();
    // The last token can end a value.
    let mut ends_value = false;
    while let Ok(Some(token)) = scanner.scan() {
        let at = scanner.token_start();
        let closes = matches!(token, Token::CloseBracket | Token::CloseBrace);
        match token {
            Token::CommentLine(_) | Token::CommentBlock(_) => continue,
            Token::OpenBracket | Token::OpenBrace => open.push(0),
            Token::Comma => commas.push(at),
            _ => {}
        }
        if let Some(values) = open.last_mut().filter(|_| ends_value) {
            *values += usize::from(closes || token == Token::Comma);
            if *values > max_members {
                let message = format!("a list or object has more than {max_members} entries");
                return Err(SyntaxError { at, message });
            }
        }
        if open.len() > limits::JSON_DEPTH {
            let message = format!("nested deeper than {} levels", limits::JSON_DEPTH);
            return Err(SyntaxError { at, message });
        }
        if closes {
            open.pop();
        }
        ends_value = !matches!(token, Token::Comma | Token::OpenBracket | Token::OpenBrace);
    }
    Ok(commas)
}

/// Converts the library's tree.
struct Converter {
    /// Byte offsets of all commas, ascending.
    commas: Vec<usize>,
}

impl Converter {
    /// Converts the root or an element of a list that ends at `container_end`.
    fn item<'a>(&self, value: Value<'a>, container_end: usize) -> Member<'a> {
        self.member(value.start(), Cow::Borrowed(""), value, container_end)
    }

    fn member<'a>(
        &self,
        at: usize,
        name: Cow<'a, str>,
        value: Value<'a>,
        container_end: usize,
    ) -> Member<'a> {
        let span = value.start()..value.end();
        let next = self.commas.partition_point(|comma| *comma < span.end);
        let comma = self.commas.get(next).copied().filter(|comma| *comma < container_end);
        Member { at, name, value: self.value(value), span, comma }
    }

    fn value<'a>(&self, value: Value<'a>) -> JsonValue<'a> {
        let end = value.end();
        match value {
            Value::NullKeyword(_) => JsonValue::Null,
            Value::BooleanLit(flag) => JsonValue::Flag(flag.value),
            Value::NumberLit(number) => JsonValue::Number(number.value),
            Value::StringLit(text) => JsonValue::Text(text.value),
            Value::Array(array) => {
                let items = array.elements.into_iter().map(|element| self.item(element, end));
                JsonValue::List(items.collect())
            }
            Value::Object(object) => {
                let members = object.properties.into_iter().map(|property| {
                    self.member(property.start(), name(property.name), property.value, end)
                });
                JsonValue::Object(members.collect())
            }
        }
    }
}

fn name(name: ObjectPropName<'_>) -> Cow<'_, str> {
    match name {
        ObjectPropName::String(name) => name.value,
        ObjectPropName::Word(name) => Cow::Borrowed(name.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn width_is_limited_exactly() {
        for (text, accepted) in [
            ("[1, 2, 3]", true),
            ("[1, {a: 1, b: [1, 2, 3], c: 3,}, [],] // , ,", true),
            ("{a: [1, 2, 3, 4]}", false),
            ("[[], {}, 'a', null,]", false),
            ("{a: 1, b: 2, c: 3, d: 4}", false),
        ] {
            assert_eq!(read_up_to(text, 3).is_ok(), accepted, "{text}");
            assert!(read(text).is_ok(), "{text}");
        }
    }
}
