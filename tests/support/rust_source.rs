//! The parts of a Rust file that are not code: comments and strings.

use std::ops::Range;

/// Part of a Rust file that is not code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Token {
    /// A comment, with its marks.
    Comment,
    /// The inside of a string.
    Text,
}

/// Returns the comments and the insides of the strings of a Rust file, in their order.
pub fn tokens(text: &str) -> Vec<(Token, Range<usize>)> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        at += match first {
            '/' if rest.starts_with("//") || rest.starts_with("/*") => {
                let length = comment(rest);
                found.push((Token::Comment, at..at + length));
                length
            }
            '"' => {
                let length = literal(rest, '"');
                found.push((Token::Text, at + 1..at + length - 1));
                length
            }
            '\'' if rest[1..].starts_with('\\') || rest[1..].chars().nth(1) == Some('\'') => {
                literal(rest, '\'')
            }
            first if is_word(first) => {
                let word = rest.find(|char| !is_word(char)).unwrap_or(rest.len());
                let is_prefix = ["r", "br", "cr"].contains(&&rest[..word]);
                match raw(&rest[word..]).filter(|_| is_prefix) {
                    Some((inside, length)) => {
                        let start = at + word;
                        found.push((Token::Text, start + inside.start..start + inside.end));
                        word + length
                    }
                    None => word,
                }
            }
            _ => first.len_utf8(),
        };
    }
    found
}

/// Returns whether the character can be part of a name.
pub fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// Returns the number of times that the code of a file has this keyword: not in comments, strings
/// and longer names, and not as the raw name `r#keyword`.
pub fn count_keyword(text: &str, keyword: &str) -> usize {
    let skipped = tokens(text);
    let starts = [0].into_iter().chain(skipped.iter().map(|(_, range)| range.end));
    let ends = skipped.iter().map(|(_, range)| range.start).chain([text.len()]);
    let code = starts.zip(ends).map(|(start, end)| &text[start..end]);
    code.map(|code| {
        let is_keyword = |(at, _): &(usize, &str)| {
            let (before, after) = (&code[..*at], &code[at + keyword.len()..]);
            !before.ends_with(is_word) && !before.ends_with("r#") && !after.starts_with(is_word)
        };
        code.match_indices(keyword).filter(is_keyword).count()
    })
    .sum()
}

/// Returns the length of the comment at the start of `text`. A block comment may be nested.
fn comment(text: &str) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    let (mut at, mut depth) = (0, 0);
    while at < text.len() {
        let (length, change) = match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (2, 1),
            [b'*', b'/', ..] => (2, -1),
            _ => (1, 0),
        };
        (at, depth) = (at + length, depth + change);
        if depth == 0 {
            break;
        }
    }
    at
}

/// Returns the inside and the length of a raw string, of which `text` starts after the prefix.
fn raw(text: &str) -> Option<(Range<usize>, usize)> {
    let marks = text.bytes().take_while(|byte| *byte == b'#').count();
    text[marks..].starts_with('"').then_some(())?;
    let close = format!("\"{}", "#".repeat(marks));
    let start = marks + 1;
    let end = start + text[start..].find(&close)?;
    Some((start..end, end + close.len()))
}

/// Returns the length of a literal that begins and ends with the mark.
fn literal(text: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, char) in text.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if char == mark => return at + 1,
            _ => {}
        }
    }
    text.len()
}
