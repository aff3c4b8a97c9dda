//! What a file of the page is without the parts that only people read. Used by `build.rs`, and by the tests of the page.

/// The file without comments that have lines of their own, without indentation and empty lines.
///
/// It knows no strings: a text over several lines must not have a line that begins like a comment, or with spaces that count.
pub fn strip(file: &str) -> String {
    let mut out = String::new();
    let mut comment = false;
    for line in file.lines().map(str::trim) {
        let begins = line.starts_with("/*");
        let whole = line.starts_with("//") || line.is_empty();
        if !comment && !begins && !whole {
            out.push_str(line);
            out.push('\n');
        }
        comment = (comment || begins) && !line.ends_with("*/");
    }
    out
}
