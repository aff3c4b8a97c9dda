//! Short text of bounded size, stored inline.

/// At most `N` bytes of UTF-8.
pub type Text<const N: usize> = heapless::String<N>;

/// Trims `text` and truncates it to `N` bytes at a character boundary. Control characters become
/// spaces, so that text of an unauthenticated client cannot move the cursor or start a new log
/// line.
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

/// Returns the longest prefix of `text` of at most `max` bytes that ends at a character boundary.
pub fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
