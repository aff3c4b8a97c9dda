//! Parses JSON5 text into a tree with byte positions, using `jsonc-parser`. Independent of the
//! schema.
//!
//! The nesting depth is checked before the library's parser, which is recursive, sees the text. The
//! library's tree is converted, because it does not contain the positions of commas.
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
    let converter = Converter { commas: scan(text)?, max_members };
    let options = ParseOptions { allow_missing_commas: false, ..ParseOptions::default() };
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options)?;
    parsed.value.map(|root| converter.item(root, 0)).transpose()
}

/// Returns the byte offsets of all commas. Error if lists and objects are nested deeper than
/// [`limits::JSON_DEPTH`]. Stops at a syntax error without a report: the parser finds it again, or
/// an earlier one.
fn scan(text: &str) -> Result<Vec<usize>, SyntaxError> {
    let mut scanner = Scanner::new(text, &ScannerOptions::default());
    let (mut depth, mut commas) = (0_usize, Vec::new());
    while let Ok(Some(token)) = scanner.scan() {
        match token {
            Token::OpenBracket | Token::OpenBrace if depth == limits::JSON_DEPTH => {
                let message = format!("nested deeper than {} levels", limits::JSON_DEPTH);
                return Err(SyntaxError { at: scanner.token_start(), message });
            }
            Token::OpenBracket | Token::OpenBrace => depth += 1,
            Token::CloseBracket | Token::CloseBrace => depth = depth.saturating_sub(1),
            Token::Comma => commas.push(scanner.token_start()),
            _ => {}
        }
    }
    Ok(commas)
}

/// Converts the library's tree.
struct Converter {
    /// Byte offsets of all commas, ascending.
    commas: Vec<usize>,
    /// Maximum number of values in a list or object.
    max_members: usize,
}

impl Converter {
    /// Converts the root or an element of a list that ends at `holder_end`.
    fn item<'a>(&self, value: Value<'a>, holder_end: usize) -> Result<Member<'a>, SyntaxError> {
        self.member(value.start(), Cow::Borrowed(""), value, holder_end)
    }

    fn member<'a>(
        &self,
        at: usize,
        name: Cow<'a, str>,
        value: Value<'a>,
        holder_end: usize,
    ) -> Result<Member<'a>, SyntaxError> {
        let span = value.start()..value.end();
        let next = self.commas.partition_point(|comma| *comma < span.end);
        let comma = self.commas.get(next).copied().filter(|comma| *comma < holder_end);
        Ok(Member { at, name, value: self.value(value)?, span, comma })
    }

    fn value<'a>(&self, value: Value<'a>) -> Result<JsonValue<'a>, SyntaxError> {
        let end = value.end();
        Ok(match value {
            Value::NullKeyword(_) => JsonValue::Null,
            Value::BooleanLit(flag) => JsonValue::Flag(flag.value),
            Value::NumberLit(number) => JsonValue::Number(number.value),
            Value::StringLit(text) => JsonValue::Text(text.value),
            Value::Array(array) => {
                self.check_width(&array.elements)?;
                let items = array.elements.into_iter().map(|element| self.item(element, end));
                JsonValue::List(items.collect::<Result<_, _>>()?)
            }
            Value::Object(object) => {
                self.check_width(&object.properties)?;
                let members = object.properties.into_iter().map(|property| {
                    let at = property.start();
                    self.member(at, name(property.name), property.value, end)
                });
                JsonValue::Object(members.collect::<Result<_, _>>()?)
            }
        })
    }

    fn check_width(&self, members: &[impl Ranged]) -> Result<(), SyntaxError> {
        members.get(self.max_members).map_or(Ok(()), |first| {
            let message = format!("a list or object has more than {} entries", self.max_members);
            Err(SyntaxError { at: first.start(), message })
        })
    }
}

fn name(name: ObjectPropName<'_>) -> Cow<'_, str> {
    match name {
        ObjectPropName::String(name) => name.value,
        ObjectPropName::Word(name) => Cow::Borrowed(name.value),
    }
}
