//! Table of results: figure, figure to compare with, bound, and whether the bound holds.

/// Bound of a figure, or of its ratio to the other figure.
#[derive(Clone, Copy)]
pub struct Goal {
    limit: Limit,
    /// Whether a missed bound fails the bench; set for counts, which do not depend on the load of
    /// the machine.
    fails: bool,
}

#[derive(Clone, Copy)]
enum Limit {
    None,
    Figure(f64),
    Ratio(f64),
    RatioAtLeast(f64),
}

impl Goal {
    /// No bound: the figure is only printed.
    pub const NONE: Goal = Goal { limit: Limit::None, fails: false };

    /// A count of at most `most`.
    pub const fn count(most: f64) -> Goal {
        Goal { limit: Limit::Figure(most), fails: true }
    }

    /// A count of at most `most` times the other figure.
    pub const fn count_ratio(most: f64) -> Goal {
        Goal { limit: Limit::Ratio(most), fails: true }
    }

    /// A time of at most `most` nanoseconds.
    pub const fn time(most: f64) -> Goal {
        Goal { limit: Limit::Figure(most), fails: false }
    }

    /// A time of at most `most` times the other figure.
    pub const fn time_ratio(most: f64) -> Goal {
        Goal { limit: Limit::Ratio(most), fails: false }
    }

    /// A rate of at least `least` times the other figure.
    pub const fn rate_ratio(least: f64) -> Goal {
        Goal { limit: Limit::RatioAtLeast(least), fails: false }
    }

    /// Returns the largest count within the bound, given the other figure.
    pub fn most(self, other: Option<f64>) -> f64 {
        match (self.limit, other) {
            (Limit::Figure(most), _) => most,
            (Limit::Ratio(most), Some(other)) => most * other,
            _ => f64::INFINITY,
        }
    }
}

/// Section of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Build under test compared with the old build.
    Builds,
    /// Counts of the build under test.
    Counts,
    /// Ratios of times.
    Ratios,
    /// Times and rates.
    Times,
    /// Build under test compared with OpenClaw.
    OpenClaw,
}

const SECTIONS: [(Section, &str); 5] = [
    (Section::Builds, "new build to old build"),
    (Section::Counts, "counts, which the load of a machine does not move"),
    (Section::Ratios, "ratios of times: about the same on any machine"),
    (Section::Times, "times and rates of this machine"),
    (Section::OpenClaw, "gatelet to OpenClaw, measured in turns"),
];

const HEAD: [&str; COLUMNS] =
    ["what", "measured", "compared with", "ratio", "bound", "verdict", "note"];
const COLUMNS: usize = 7;
/// Numeric columns, which are right-aligned.
const NUMBERS: std::ops::Range<usize> = 1..5;

struct Row {
    section: Section,
    cells: [String; COLUMNS],
    missed: bool,
    failed: bool,
}

/// Rows in the order in which they were added.
#[derive(Default)]
pub struct Table(Vec<Row>);

/// Formats a number with its unit.
pub type Show = fn(f64) -> String;

impl Table {
    /// Adds a figure.
    pub fn row(
        &mut self,
        section: Section,
        what: &str,
        goal: Goal,
        figure: f64,
        show: Show,
        note: &str,
    ) {
        self.pair(section, what, goal, (figure, None), show, note);
    }

    /// Adds a figure and the one that it is compared with, if there is one.
    pub fn pair(
        &mut self,
        section: Section,
        what: &str,
        goal: Goal,
        (figure, other): (f64, Option<f64>),
        show: Show,
        note: &str,
    ) {
        let ratio = other.filter(|other| *other != 0.0).map(|other| figure / other);
        let (bound, verdict, missed) = match (goal.limit, ratio) {
            (Limit::None, _) => Default::default(),
            (Limit::Figure(most), _) => verdict("<=", most, figure, show),
            (Limit::Ratio(most), Some(ratio)) => verdict("<=", most, ratio, times),
            (Limit::RatioAtLeast(least), Some(ratio)) => verdict(">=", least, ratio, times),
            (Limit::Ratio(most), None) => {
                (format!("<= {}", times(most)), "nothing to compare with".into(), false)
            }
            (Limit::RatioAtLeast(least), None) => {
                (format!(">= {}", times(least)), "nothing to compare with".into(), false)
            }
        };
        let cells = [
            what.to_string(),
            show(figure),
            other.map(show).unwrap_or_default(),
            ratio.map(times).unwrap_or_default(),
            bound,
            verdict,
            note.to_string(),
        ];
        self.add(Row { section, cells, missed, failed: missed && goal.fails });
    }

    /// Adds a row for a figure that could not be measured, with the reason.
    pub fn absent(&mut self, section: Section, what: &str, why: &str) {
        let cells = [what, "absent", "", "", "", "", why].map(String::from);
        self.add(Row { section, cells, missed: false, failed: false });
    }

    fn add(&mut self, row: Row) {
        eprintln!(
            "  {}",
            row.cells
                .iter()
                .filter(|cell| !cell.is_empty())
                .cloned()
                .collect::<Vec<_>>()
                .join("; ")
        );
        self.0.push(row);
    }

    /// Returns the number of figures beyond their bounds.
    pub fn missed(&self) -> usize {
        self.0.iter().filter(|row| row.missed).count()
    }

    /// Returns the names of the counts beyond their bounds.
    pub fn failed(&self) -> Vec<&str> {
        self.0.iter().filter(|row| row.failed).map(|row| row.cells[0].as_str()).collect()
    }

    /// Returns the table as Markdown with aligned columns.
    pub fn text(&self) -> String {
        let mut lines = vec![HEAD.map(String::from)];
        for (section, title) in SECTIONS {
            let rows: Vec<&Row> = self.0.iter().filter(|row| row.section == section).collect();
            if !rows.is_empty() {
                let mut cells = <[String; COLUMNS]>::default();
                cells[0] = format!("**{title}**");
                lines.push(cells);
                lines.extend(rows.iter().map(|row| row.cells.clone()));
            }
        }
        aligned(&lines)
    }
}

/// Returns the bound, the verdict with the used share of the bound, and whether the bound is
/// missed.
fn verdict(sign: &str, limit: f64, figure: f64, show: Show) -> (String, String, bool) {
    let holds = if sign == "<=" { figure <= limit } else { figure >= limit };
    let word = if holds { "holds" } else { "MISSED" };
    let share =
        if limit == 0.0 { String::new() } else { format!(" ({:.2} of it)", figure / limit) };
    (format!("{sign} {}", show(limit)), format!("{word}{share}"), !holds)
}

/// Formats the rows with each column as wide as its widest cell; the first row is the head.
fn aligned(lines: &[[String; COLUMNS]]) -> String {
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (at, cell) in line.iter().enumerate() {
            let width = width(at);
            text += &if NUMBERS.contains(&at) {
                format!("| {cell:>width$} ")
            } else {
                format!("| {cell:<width$} ")
            };
        }
        text += "|\n";
        if number == 0 {
            for at in 0..COLUMNS {
                let line = "-".repeat(width(at) + 1);
                text +=
                    &if NUMBERS.contains(&at) { format!("|{line}:") } else { format!("|{line}-") };
            }
            text += "|\n";
        }
    }
    text
}

/// Formats bytes: `1.2 MiB`, `640.0 KiB`, `12 B`.
pub fn bytes(number: f64) -> String {
    match number.abs() {
        big if big >= 1024.0 * 1024.0 => format!("{:.2} MiB", number / 1024.0 / 1024.0),
        some if some >= 1024.0 => format!("{:.1} KiB", number / 1024.0),
        _ => format!("{number:.0} B"),
    }
}

/// Formats nanoseconds: `1.2 ms`, `35 us`, `7 ns`.
pub fn ns(number: f64) -> String {
    match number {
        long if long >= 1e9 => format!("{:.2} s", number / 1e9),
        some if some >= 1e6 => format!("{:.2} ms", number / 1e6),
        short if short >= 1e3 => format!("{:.1} us", number / 1e3),
        _ => format!("{number:.0} ns"),
    }
}

/// Formats a rate: `1234/s`.
pub fn rate(number: f64) -> String {
    format!("{number:.0}/s")
}

/// Formats a ratio: `1.34 x`.
pub fn times(number: f64) -> String {
    format!("{number:.2} x")
}

/// Formats a count: `3`.
pub fn count(number: f64) -> String {
    format!("{number:.0}")
}

/// Formats a number with one decimal place: `2.1`.
pub fn tenths(number: f64) -> String {
    format!("{number:.1}")
}

/// Returns the median.
pub fn median(figures: &mut [f64]) -> f64 {
    quantile(figures, 0.5)
}

/// Returns the quantile at `share` (0 to 1); NaN if there are no figures.
pub fn quantile(figures: &mut [f64], share: f64) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    let at = (figures.len().saturating_sub(1)) as f64 * share;
    figures.get(at.round() as usize).copied().unwrap_or(f64::NAN)
}
