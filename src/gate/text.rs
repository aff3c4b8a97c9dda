//! Short text of bounded size, stored inline.

/// At most `N` bytes of UTF-8.
pub type Text<const N: usize> = heapless::String<N>;

/// Cleans `text` and truncates it to `N` bytes at a character boundary, so that text of an
/// unauthenticated client cannot move the cursor, start a new log line, reorder what is beside it,
/// or look like another text. Invisible characters are removed. Control characters and all kinds of
/// spaces become spaces, of which there is one between words.
pub fn clip<const N: usize>(text: &str) -> Text<N> {
    let mut clipped = Text::new();
    let mut space = false;
    for char in text.chars().filter(|char| !is_invisible(*char)) {
        if is_blank(char) {
            space = !clipped.is_empty();
            continue;
        }
        let len = char.len_utf8() + usize::from(space);
        if clipped.len() + len > N {
            break;
        }
        let _ = if space { clipped.push(' ') } else { Ok(()) };
        let _ = clipped.push(char);
        space = false;
    }
    clipped
}

/// Returns whether a character is shown as empty space, or not at all as a control character.
fn is_blank(char: char) -> bool {
    // the fillers of Hangul and an empty Braille cell
    char.is_control()
        || char.is_whitespace()
        || matches!(char, '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}')
}

/// Returns whether a character is not shown, or changes how others are shown: those of the category
/// Format, and those that Unicode calls ignorable by default. The fillers of Hangul are blank.
pub fn is_invisible(char: char) -> bool {
    !char.is_ascii()
        && matches!(char,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
        | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}'
        | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Returns the longest prefix of `text` of at most `max` bytes that ends at a character boundary.
pub fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_and_truncated() {
        for (name, cleaned) in [
            (" Anna's \t phone\n", "Anna's phone"),
            ("Kit\u{ad}chen\u{200b}\u{61c}\u{202e}", "Kitchen"),
            ("Kitchen\u{3164}\u{2800}\u{e0041}", "Kitchen"),
            ("\u{3164}\u{200d}\u{feff}", ""),
            ("a\u{a0}\u{2003}b", "a b"),
            ("K\u{fc}che \u{53a8}\u{623f} \u{1f4f1}", "K\u{fc}che \u{53a8}\u{623f} \u{1f4f1}"),
        ] {
            assert_eq!(clip::<32>(name), cleaned, "{name:?}");
        }
        assert_eq!(
            (&*clip::<4>("abc def"), &*clip::<3>("ab\u{fc}"), &*clip::<2>("ab c")),
            ("abc", "ab", "ab")
        );
    }
}
