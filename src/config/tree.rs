//! Parses JSON5 text into a tree, using the scanner of `jsonc-parser`. Independent of the schema.
//!
//! The depth is limited to [`limits::JSON_DEPTH`], and parsing stops at the first error. The
//! library's own tree is not used because it stores comments and has no depth limit.

use std::borrow::Cow;
use std::ops::Range;

use jsonc_parser::tokens::Token;
use jsonc_parser::{Scanner, ScannerOptions};

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
pub(super) struct Mistake {
    pub at: usize,
    pub what: String,
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
pub(super) fn read(text: &str) -> Result<Option<Member<'_>>, Mistake> {
    read_up_to(text, usize::MAX)
}

/// Like [`read`], with at most [`limits::CONFIG_MEMBERS`] values in a list or object, which bounds
/// the time to compare two trees.
pub(super) fn read_narrow(text: &str) -> Result<Option<Member<'_>>, Mistake> {
    read_up_to(text, limits::CONFIG_MEMBERS)
}

fn read_up_to(text: &str, widest: usize) -> Result<Option<Member<'_>>, Mistake> {
    let scanner = Scanner::new(text, &ScannerOptions::default());
    let mut tokens = Tokens { text, scanner, open: Vec::new(), widest };
    let Some(first) = tokens.next()? else { return Ok(None) };
    let at = tokens.scanner.token_start();
    let root = tokens.member(at, Cow::Borrowed(""), first)?;
    match tokens.next()? {
        None => Ok(Some(root)),
        Some(_) => Err(tokens.mistake("something stands behind its end")),
    }
}

struct Tokens<'a> {
    text: &'a str,
    scanner: Scanner<'a>,
    /// Byte offsets at which the open lists and objects begin.
    open: Vec<usize>,
    /// Maximum number of values in a list or object.
    widest: usize,
}

impl<'a> Tokens<'a> {
    /// Returns the next token, skipping comments.
    fn next(&mut self) -> Result<Option<Token<'a>>, Mistake> {
        loop {
            match self.scanner.scan() {
                Ok(Some(Token::CommentLine(_) | Token::CommentBlock(_))) => {}
                Ok(token) => return Ok(token),
                Err(error) => {
                    return Err(Mistake {
                        at: error.range().start,
                        what: error.kind().to_string().to_ascii_lowercase(),
                    });
                }
            }
        }
    }

    fn expect(&mut self) -> Result<Token<'a>, Mistake> {
        let open = self.open.last().copied().unwrap_or_default();
        self.next()?.ok_or_else(|| Mistake {
            at: open,
            what: "what opens here is never closed".to_string(),
        })
    }

    fn member(
        &mut self,
        at: usize,
        name: Cow<'a, str>,
        first: Token<'a>,
    ) -> Result<Member<'a>, Mistake> {
        let from = self.scanner.token_start();
        let value = self.value(first)?;
        Ok(Member { at, name, value, span: from..self.scanner.token_end(), comma: None })
    }

    fn value(&mut self, first: Token<'a>) -> Result<JsonValue<'a>, Mistake> {
        match first {
            Token::Null => Ok(JsonValue::Null),
            Token::Boolean(flag) => Ok(JsonValue::Flag(flag)),
            Token::Number(number) => Ok(JsonValue::Number(number)),
            Token::String(text) => Ok(JsonValue::Text(text)),
            Token::OpenBracket => self.inside(Tokens::list),
            Token::OpenBrace => self.inside(Tokens::object),
            Token::Word(_) => Err(self.mistake("a text needs quotes")),
            _ => Err(self.mistake("a value is missing")),
        }
    }

    fn inside(
        &mut self,
        read: fn(&mut Tokens<'a>) -> Result<JsonValue<'a>, Mistake>,
    ) -> Result<JsonValue<'a>, Mistake> {
        self.open.push(self.scanner.token_start());
        if self.open.len() > limits::JSON_DEPTH {
            let what = format!("it is nested deeper than {} levels", limits::JSON_DEPTH);
            return Err(Mistake { at: self.scanner.token_start(), what });
        }
        let value = read(self);
        self.open.pop();
        value
    }

    fn list(&mut self) -> Result<JsonValue<'a>, Mistake> {
        let mut items = Vec::new();
        loop {
            match self.expect()? {
                Token::CloseBracket => return Ok(JsonValue::List(items)),
                first => {
                    let at = self.scanner.token_start();
                    let item = self.member(at, Cow::Borrowed(""), first)?;
                    self.keep(&mut items, item)?;
                }
            }
            if self.ends(&mut items, |token| matches!(token, Token::CloseBracket))? {
                return Ok(JsonValue::List(items));
            }
        }
    }

    fn object(&mut self) -> Result<JsonValue<'a>, Mistake> {
        let mut properties = Vec::new();
        loop {
            let token = self.expect()?;
            let at = self.scanner.token_start();
            let name = match token {
                Token::CloseBrace => return Ok(JsonValue::Object(properties)),
                Token::String(name) => name,
                Token::Word(_) | Token::Number(_) | Token::Boolean(_) | Token::Null => {
                    Cow::Borrowed(&self.text[at..self.scanner.token_end()])
                }
                _ => return Err(self.mistake("a key is missing")),
            };
            if !matches!(self.expect()?, Token::Colon) {
                return Err(self.mistake("a colon is missing"));
            }
            let first = self.expect()?;
            let property = self.member(at, name, first)?;
            self.keep(&mut properties, property)?;
            if self.ends(&mut properties, |token| matches!(token, Token::CloseBrace))? {
                return Ok(JsonValue::Object(properties));
            }
        }
    }

    fn keep(&self, members: &mut Vec<Member<'a>>, member: Member<'a>) -> Result<(), Mistake> {
        if members.len() >= self.widest {
            let what = format!("more than {} values stand side by side", self.widest);
            return Err(Mistake { at: member.at, what });
        }
        members.push(member);
        Ok(())
    }

    /// Reads the token after a member. Returns true if it closes the list or object, false if it is
    /// a comma.
    fn ends(
        &mut self,
        members: &mut [Member<'a>],
        closes: fn(&Token<'a>) -> bool,
    ) -> Result<bool, Mistake> {
        let at = self.scanner.token_start();
        match self.expect()? {
            Token::Comma => {
                if let Some(member) = members.last_mut() {
                    member.comma = Some(self.scanner.token_start());
                }
                Ok(false)
            }
            token if closes(&token) => Ok(true),
            // Report the end of the value, not the unexpected token, which may be lines below.
            _ => Err(Mistake { at, what: "a comma is missing".to_string() }),
        }
    }

    /// Returns an error at the last token read.
    fn mistake(&self, what: &str) -> Mistake {
        Mistake { at: self.scanner.token_start(), what: what.to_string() }
    }
}
