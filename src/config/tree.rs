//! JSON5 text to a tree, from the tokens that `jsonc-parser` finds in it. Knows nothing of keys and their meaning.
//!
//! Never nests deeper than [`limits::JSON_DEPTH`], and stops at the first mistake. The library's own tree is left alone: it keeps
//! the comments too, and has no limit to its depth.

use std::borrow::Cow;
use std::ops::Range;

use jsonc_parser::tokens::Token;
use jsonc_parser::{Scanner, ScannerOptions};

use crate::gate::limits;

/// What a value can be.
pub(super) enum Value<'a> {
    Null,
    Flag(bool),
    /// As it was written: `0x1F`, `+3`, `.5`, `NaN`.
    Number(&'a str),
    Text(Cow<'a, str>),
    List(Vec<Member<'a>>),
    Object(Vec<Member<'a>>),
}

/// One value with its place: of a list, of an object, or the whole.
pub(super) struct Member<'a> {
    /// The byte where its key begins, or the value where there is none.
    pub at: usize,
    /// Empty where there is none.
    pub name: Cow<'a, str>,
    pub value: Value<'a>,
    /// The bytes of the value.
    pub span: Range<usize>,
    /// The byte of the comma behind it, if there is one.
    pub comma: Option<usize>,
}

/// Why a text is no tree: the byte, and what is wrong there.
pub(super) struct Mistake {
    pub at: usize,
    pub what: String,
}

impl<'a> Value<'a> {
    /// The text of that property; `None` from anything else.
    pub fn text(&self, name: &str) -> Option<&str> {
        match &self.member(name)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The property of that name, the last one; `None` from anything else.
    pub fn member(&self, name: &str) -> Option<&Member<'a>> {
        let Value::Object(properties) = self else { return None };
        properties.iter().rfind(|property| property.name == name)
    }
}

/// The one value of a text; `None` if there is nothing but space and comments.
pub(super) fn read(text: &str) -> Result<Option<Member<'_>>, Mistake> {
    read_up_to(text, usize::MAX)
}

/// As [`read`], with at most [`limits::CONFIG_MEMBERS`] values side by side: such trees are quick to compare.
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
    /// Where the lists and objects begin that the next token stands in.
    open: Vec<usize>,
    /// How many values may stand side by side.
    widest: usize,
}

impl<'a> Tokens<'a> {
    /// The next token that is no comment.
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
        self.next()?.ok_or_else(|| Mistake { at: open, what: "what opens here is never closed".to_string() })
    }

    fn member(&mut self, at: usize, name: Cow<'a, str>, first: Token<'a>) -> Result<Member<'a>, Mistake> {
        let from = self.scanner.token_start();
        let value = self.value(first)?;
        Ok(Member { at, name, value, span: from..self.scanner.token_end(), comma: None })
    }

    fn value(&mut self, first: Token<'a>) -> Result<Value<'a>, Mistake> {
        match first {
            Token::Null => Ok(Value::Null),
            Token::Boolean(flag) => Ok(Value::Flag(flag)),
            Token::Number(number) => Ok(Value::Number(number)),
            Token::String(text) => Ok(Value::Text(text)),
            Token::OpenBracket => self.inside(Tokens::list),
            Token::OpenBrace => self.inside(Tokens::object),
            Token::Word(_) => Err(self.mistake("a text needs quotes")),
            _ => Err(self.mistake("a value is missing")),
        }
    }

    fn inside(&mut self, read: fn(&mut Tokens<'a>) -> Result<Value<'a>, Mistake>) -> Result<Value<'a>, Mistake> {
        self.open.push(self.scanner.token_start());
        if self.open.len() > limits::JSON_DEPTH {
            let what = format!("it is nested deeper than {} levels", limits::JSON_DEPTH);
            return Err(Mistake { at: self.scanner.token_start(), what });
        }
        let value = read(self);
        self.open.pop();
        value
    }

    fn list(&mut self) -> Result<Value<'a>, Mistake> {
        let mut items = Vec::new();
        loop {
            match self.expect()? {
                Token::CloseBracket => return Ok(Value::List(items)),
                first => {
                    let at = self.scanner.token_start();
                    let item = self.member(at, Cow::Borrowed(""), first)?;
                    self.keep(&mut items, item)?;
                }
            }
            if self.ends(&mut items, |token| matches!(token, Token::CloseBracket))? {
                return Ok(Value::List(items));
            }
        }
    }

    fn object(&mut self) -> Result<Value<'a>, Mistake> {
        let mut properties = Vec::new();
        loop {
            let token = self.expect()?;
            let at = self.scanner.token_start();
            let name = match token {
                Token::CloseBrace => return Ok(Value::Object(properties)),
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
                return Ok(Value::Object(properties));
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

    /// After a member: its list or object is closed, or a comma says that it goes on.
    fn ends(&mut self, members: &mut [Member<'a>], closes: fn(&Token<'a>) -> bool) -> Result<bool, Mistake> {
        let at = self.scanner.token_start();
        match self.expect()? {
            Token::Comma => {
                if let Some(member) = members.last_mut() {
                    member.comma = Some(self.scanner.token_start());
                }
                Ok(false)
            }
            token if closes(&token) => Ok(true),
            // it belongs where the item ended, maybe lines before what was found instead
            _ => Err(Mistake { at, what: "a comma is missing".to_string() }),
        }
    }

    /// At the token that was read last.
    fn mistake(&self, what: &str) -> Mistake {
        Mistake { at: self.scanner.token_start(), what: what.to_string() }
    }
}
