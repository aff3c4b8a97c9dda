//! Formatting for the terminal: aligned columns, ages, short ids, colours. Returns text, prints
//! nothing.
//!
//! Text from devices and messages is cleaned of terminal control characters before it is shown.

pub use crate::client::clean;
use crate::gate::ids::WallMs;
use crate::wire::json::{Items, Value};

/// Returns the named string unchanged; empty if it is absent.
pub fn text(value: &Value<'_>, key: &str) -> String {
    value.get(key).and_then(|text| text.as_str()).unwrap_or_default().into_owned()
}

/// Returns the named string without terminal control characters; empty if it is absent.
pub fn shown_text(value: &Value<'_>, key: &str) -> String {
    clean(&text(value, key))
}

/// Returns whether the named member is `true`.
pub fn truth(value: &Value<'_>, key: &str) -> bool {
    value.get(key).and_then(|truth| truth.as_bool()) == Some(true)
}

/// Returns the named number; 0 if it is absent.
pub fn number(value: &Value<'_>, key: &str) -> u64 {
    value.get(key).and_then(|number| number.as_u64()).unwrap_or(0)
}

/// Returns the items of the named list; none if it is absent.
pub fn items<'a>(value: &Value<'a>, key: &str) -> Items<'a> {
    value.at(key).items()
}

/// Returns the strings of the named list.
pub fn texts(value: &Value<'_>, key: &str) -> Vec<String> {
    items(value, key).filter_map(|item| item.as_str().map(|text| text.into_owned())).collect()
}

/// Returns the name of a device: set by the owner, else its own, else that of its client.
pub fn name(value: &Value<'_>) -> String {
    let names = ["label", "displayName", "clientId"];
    let found =
        names.iter().find_map(|key| value.get(key)?.as_str().filter(|name| !name.is_empty()));
    found.unwrap_or_default().into_owned()
}

/// Returns the warning that the name of a pending request looks like that of another device; empty
/// if it does not.
pub fn resembled(value: &Value<'_>) -> String {
    value.get("resembles").map_or(String::new(), |other| {
        let (name, id) = (text(&other, "name"), text(&other, "deviceId"));
        format!(" (looks like the name of another device: {name}, {})", short(&id))
    })
}

/// Replaces an empty text by a dash.
pub fn or_dash(text: String) -> String {
    if text.is_empty() {
        "-".to_string()
    } else {
        text
    }
}

/// Table with aligned columns and a title row.
pub struct Grid {
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// Creates a table with these column titles.
    pub fn new(titles: &[&str]) -> Grid {
        Grid { rows: vec![titles.iter().map(|title| title.to_string()).collect()] }
    }

    /// Returns whether there are no rows below the titles.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| clean(cell)).collect());
    }

    /// Formats the table: columns are separated by two spaces, titles are dim.
    pub fn text(&self, style: Style) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |at: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(at))
                .map(|cell| columns_of(cell))
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.push_str(&" ".repeat(width + 2 - columns_of(cell)));
            }
            let line = line.trim_end();
            out.push_str(&if number == 0 { style.dim(line) } else { line.to_string() });
            out.push('\n');
        }
        out
    }
}

/// Enables or disables colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Style {
    pub colour: bool,
}

impl Style {
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub fn warn(self, text: &str) -> String {
        self.paint("33", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }
}

/// Formats the age of a time: `3 min ago`. Returns `-` for an implausible time: before September
/// 2001 (also 0, never), or after `now`.
pub fn ago(then: u64, now: WallMs) -> String {
    if then < SANE_SINCE || now.0 < then {
        return "-".to_string();
    }
    let seconds = (now.0 - then) / 1000;
    let (count, unit) = match seconds {
        0..60 => return "just now".to_string(),
        60..3600 => (seconds / 60, "min"),
        3600..86_400 => (seconds / 3600, "h"),
        86_400..172_800 => (1, "day"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{count} {unit} ago")
}

/// September 2001, in milliseconds since 1970; 13 digits from here on.
const SANE_SINCE: u64 = 1_000_000_000_000;

/// Formats a duration: `2 h 5 min`.
pub fn span(ms: u64) -> String {
    let minutes = ms / 60_000;
    match minutes {
        0 => format!("{} s", ms / 1000),
        1..60 => format!("{minutes} min"),
        60..1440 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{} d {} h", minutes / 1440, minutes / 60 % 24),
    }
}

/// Returns the first 12 characters of an id.
pub fn short(id: &str) -> &str {
    crate::gate::text::cut(id, 12)
}

/// Returns the approximate width in terminal columns; East Asian wide characters and pictograms
/// count as two.
fn columns_of(text: &str) -> usize {
    let is_wide = |char| {
        matches!(char,
            '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}'
            | '\u{1f300}'..='\u{1faff}' | '\u{20000}'..='\u{3fffd}')
    };
    text.chars().map(|char| if is_wide(char) { 2 } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style { colour: false };

    #[test]
    fn columns_are_aligned_without_trailing_blanks() {
        let mut grid = Grid::new(&["ID", "NAME", "X"]);
        grid.row(vec!["1234".into(), "a".into(), String::new()]);
        grid.row(vec!["1".into(), "\u{e9}\u{6771}".into(), "y".into()]);
        assert_eq!(grid.text(PLAIN), "ID    NAME  X\n1234  a\n1     \u{e9}\u{6771}   y\n");
    }

    #[test]
    fn control_characters_in_names_are_replaced() {
        let mut grid = Grid::new(&["N"]);
        grid.row(vec!["\x1b[31mred\n\u{202e}".into()]);
        assert_eq!(grid.text(PLAIN), "N\n\u{fffd}[31mred\u{fffd}\u{fffd}\n");
    }

    #[test]
    fn implausible_times_show_a_dash() {
        let now = WallMs(1_700_000_000_000);
        for (then, shown) in [
            (0, "-"),
            (1_000, "-"),
            (now.0 + 1, "-"),
            (u64::MAX, "-"),
            (now.0, "just now"),
            (now.0 - 59_999, "just now"),
            (now.0 - 180_000, "3 min ago"),
            (now.0 - 7_200_000, "2 h ago"),
            (now.0 - 86_400_000, "1 day ago"),
            (now.0 - 12 * 86_400_000, "12 days ago"),
        ] {
            assert_eq!(ago(then, now), shown, "{then}");
        }
        assert_eq!(ago(1_700_000_000_000, WallMs(0)), "-", "a machine that believes in 1970");
    }

    #[test]
    fn durations_are_human_readable() {
        for (ms, shown) in
            [(900, "0 s"), (61_000, "1 min"), (7_500_000, "2 h 5 min"), (90_000_000, "1 d 1 h")]
        {
            assert_eq!(span(ms), shown);
        }
    }

    #[test]
    fn colour_is_used_only_if_enabled() {
        assert_eq!(PLAIN.bad("x"), "x");
        assert_eq!(Style { colour: true }.bad("x"), "\x1b[31mx\x1b[0m");
    }
}
