//! The tables of results: what was measured, what it is held against, what was to hold, and whether it holds.

/// Which side of its target a figure has to be on.
#[derive(Clone, Copy)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// At most that, and more is a failure: a count, which the rest of the machine does not move.
    Never(f64),
    /// For comparison only.
    None,
}

/// Where a row stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Anywhere,
    Here,
    Beside,
}

const SECTIONS: [(Section, &str, &str); 3] = [
    (
        Section::Anywhere,
        "Ratios and counts: about the same on any machine",
        "| what | measured | beside it | ratio | target | verdict | note |\n|---|--:|--:|--:|--:|---|---|",
    ),
    (
        Section::Here,
        "Times and rates of this machine",
        "| what | measured | beside it | ratio | target | verdict | note |\n|---|--:|--:|--:|--:|---|---|",
    ),
    (
        Section::Beside,
        "Beside OpenClaw, in the same run; ratio: how many times better gatelet is",
        "| what | gatelet | 2026.1.29 | ratio | 2026.9.6 | ratio | target | verdict |\n|---|--:|--:|--:|--:|--:|--:|---|",
    ),
];

struct Row {
    section: Section,
    cells: Vec<String>,
    missed: bool,
    broken: bool,
}

/// All rows so far.
#[derive(Default)]
pub struct Table(Vec<Row>);

/// Writes a number with its unit.
pub type Show = fn(f64) -> String;

impl Table {
    /// A figure and its target; `show` writes a number with its unit.
    pub fn row(&mut self, section: Section, what: &str, goal: Goal, figure: f64, show: Show, note: &str) {
        let (target, verdict, missed) = verdict(goal, figure, show);
        let cells = [what, &show(figure), "", "", &target, &verdict, note];
        self.add(section, cells.map(String::from).to_vec(), goal, missed);
    }

    /// A figure and what it is held against; the target is that of the ratio.
    pub fn ratio(&mut self, section: Section, what: &str, goal: Goal, [own, beside]: [f64; 2], show: Show, note: &str) {
        let ratio = own / beside;
        let (target, verdict, missed) = verdict(goal, ratio, times);
        let cells = [what, &show(own), &show(beside), &times(ratio), &target, &verdict, note];
        self.add(section, cells.map(String::from).to_vec(), goal, missed);
    }

    /// A figure of ours and of both versions of OpenClaw, as far as there is one; the target is that of the ratio to the first.
    pub fn beside(&mut self, what: &str, goal: Goal, better: Better, own: f64, theirs: [Option<f64>; 2], show: Show) {
        let ratio = |their: f64| if better == Better::Less { their / own } else { own / their };
        let (target, verdict, missed) = match theirs[0] {
            Some(first) => verdict(goal, ratio(first), times),
            None => Default::default(),
        };
        let mut cells = vec![what.to_string(), show(own)];
        for their in theirs {
            cells.push(their.map_or("-".to_string(), show));
            cells.push(their.map_or(String::new(), |their| times(ratio(their))));
        }
        cells.extend([target, verdict]);
        self.add(Section::Beside, cells, goal, missed);
    }

    /// What could not be measured, and why.
    pub fn absent(&mut self, section: Section, what: &str, why: &str) {
        self.add(section, [what, "-", "", "", "", "", why].map(String::from).to_vec(), Goal::None, false);
    }

    fn add(&mut self, section: Section, cells: Vec<String>, goal: Goal, missed: bool) {
        eprintln!("  {}", cells.iter().filter(|cell| !cell.is_empty()).cloned().collect::<Vec<_>>().join("; "));
        let broken = missed && matches!(goal, Goal::Never(_));
        self.0.push(Row { section, cells, missed, broken });
    }

    /// How many targets are missed.
    pub fn missed(&self) -> usize {
        self.0.iter().filter(|row| row.missed).count()
    }

    /// How many of these may never be.
    pub fn broken(&self) -> usize {
        self.0.iter().filter(|row| row.broken).count()
    }

    /// All of it as Markdown, that can be read as it is.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (section, title, head) in SECTIONS {
            let rows: Vec<&Row> = self.0.iter().filter(|row| row.section == section).collect();
            if !rows.is_empty() {
                text += &format!("\n## {title}\n\n");
                text += &aligned(head, &rows);
            }
        }
        text
    }
}

/// Which of two figures is the better one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Better {
    Less,
    More,
}

/// The target, the verdict with how much of the target is used, and whether it is missed.
fn verdict(goal: Goal, figure: f64, show: Show) -> (String, String, bool) {
    let (target, limit, holds) = match goal {
        Goal::AtMost(most) | Goal::Never(most) => (format!("<= {}", show(most)), most, figure <= most),
        Goal::AtLeast(least) => (format!(">= {}", show(least)), least, figure >= least),
        Goal::None => return Default::default(),
    };
    let word = if holds { "hold" } else { "MISS" };
    let share = if limit == 0.0 { String::new() } else { format!(" ({:.2} of it)", figure / limit) };
    (target, [word, &share].concat(), !holds)
}

/// The rows below their head, each column as wide as its widest cell.
fn aligned(head: &str, rows: &[&Row]) -> String {
    let mut lines: Vec<Vec<String>> = Vec::new();
    for line in head.lines() {
        lines.push(line.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect());
    }
    lines.extend(rows.iter().map(|row| row.cells.clone()));
    let right: Vec<bool> = lines[1].iter().map(|cell| cell.ends_with(':')).collect();
    let widths: Vec<usize> =
        (0..right.len()).map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (at, cell) in line.iter().enumerate() {
            let width = widths[at];
            text += &match (number, right[at]) {
                (1, true) => format!("|{}:", "-".repeat(width + 1)),
                (1, false) => format!("|{}", "-".repeat(width + 2)),
                (_, true) => format!("| {cell:>width$} "),
                (_, false) => format!("| {cell:<width$} "),
            };
        }
        text += "|\n";
    }
    text
}

/// `1.2 MiB`, `640.0 KiB`, `12 B`
pub fn bytes(number: f64) -> String {
    match number.abs() {
        big if big >= 1024.0 * 1024.0 => format!("{:.2} MiB", number / 1024.0 / 1024.0),
        some if some >= 1024.0 => format!("{:.1} KiB", number / 1024.0),
        _ => format!("{number:.0} B"),
    }
}

/// `1.2 ms`, `35 us`, `7 ns`
pub fn ns(number: f64) -> String {
    match number {
        long if long >= 1e9 => format!("{:.2} s", number / 1e9),
        some if some >= 1e6 => format!("{:.2} ms", number / 1e6),
        short if short >= 1e3 => format!("{:.1} us", number / 1e3),
        _ => format!("{number:.0} ns"),
    }
}

/// `1234/s`
pub fn rate(number: f64) -> String {
    format!("{number:.0}/s")
}

/// `1.34 x`
pub fn times(number: f64) -> String {
    format!("{number:.2} x")
}

/// `3`
pub fn count(number: f64) -> String {
    format!("{number:.0}")
}

/// The middle one.
pub fn median(figures: &mut [f64]) -> f64 {
    quantile(figures, 0.5)
}

/// The one below which that share of the others lies; no number of none.
pub fn quantile(figures: &mut [f64], share: f64) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    let at = (figures.len().saturating_sub(1)) as f64 * share;
    figures.get(at.round() as usize).copied().unwrap_or(f64::NAN)
}
