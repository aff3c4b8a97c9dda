//! Short text of bounded size, kept inside the value that owns it.

/// At most `N` bytes of UTF-8.
pub type Text<const N: usize> = heapless::String<N>;

/// The longest beginning of `text` that fits, cut between characters; control characters become spaces, so that what
/// a stranger calls itself cannot move a cursor or start a new log line.
pub fn clip<const N: usize>(text: &str) -> Text<N> {
    let mut clipped = Text::new();
    for char in text.trim().chars() {
        let shown = if char.is_control() { ' ' } else { char };
        if clipped.push(shown).is_err() {
            break;
        }
    }
    clipped
}

/// The longest beginning of `text` of at most `max` bytes, cut between characters.
pub fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
