//! The table of results: what was to hold, what was measured, and whether it holds.

/// Which side of its target a figure has to be on.
#[derive(Clone, Copy)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// For comparison only.
    None,
}

struct Row {
    what: String,
    target: String,
    measured: String,
    ratio: Option<f64>,
    holds: Option<bool>,
}

/// All rows so far.
#[derive(Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// Adds a row; `show` writes a number with its unit.
    pub fn row(&mut self, what: &str, goal: Goal, figure: f64, show: impl Fn(f64) -> String, note: &str) {
        let (target, ratio, holds) = match goal {
            Goal::AtMost(most) => {
                let ratio = (most != 0.0).then_some(figure / most);
                (format!("<= {}", show(most)), ratio, Some(figure <= most))
            }
            Goal::AtLeast(least) => (format!(">= {}", show(least)), Some(figure / least), Some(figure >= least)),
            Goal::None => (String::new(), None, None),
        };
        let measured = if note.is_empty() { show(figure) } else { format!("{}; {note}", show(figure)) };
        let row = Row { what: what.to_string(), target, measured, ratio, holds };
        eprintln!("  {}: {}", row.what, row.measured);
        self.0.push(row);
    }

    /// Adds a row without a figure: what could not be measured, and why.
    pub fn absent(&mut self, what: &str, why: &str) {
        self.0.push(Row {
            what: what.to_string(),
            target: String::new(),
            measured: why.to_string(),
            ratio: None,
            holds: None,
        });
    }

    /// Prints it; says how many targets are missed.
    pub fn print(&self) -> usize {
        println!("| what | target | measured | ratio | verdict |\n|---|---|---|---|---|");
        for row in &self.0 {
            let ratio = row.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
            let verdict = match row.holds {
                Some(true) => "hold",
                Some(false) => "MISS",
                None => "",
            };
            println!("| {} | {} | {} | {ratio} | {verdict} |", row.what, row.target, row.measured);
        }
        self.0.iter().filter(|row| row.holds == Some(false)).count()
    }
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
