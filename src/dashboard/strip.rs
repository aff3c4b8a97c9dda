//! Removes comments from the dashboard's files. Used by `build.rs` and by the dashboard's tests.

/// Removes comments that have their own lines, indentation and empty lines.
///
/// String literals are not recognised: a multi-line literal must not contain a line that begins
/// like a comment, or significant leading or trailing white space.
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
