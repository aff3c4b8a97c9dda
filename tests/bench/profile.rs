//! Profiles of callgrind: instructions by function and by source file. Inlined code counts for the
//! file that contains it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use crate::client::Failed;

/// Maximum number of lines printed per list.
const LINES: usize = 60;

/// Instruction counts.
#[derive(Default)]
pub struct Profile {
    /// Instructions by function and source file; the object file where the source is not known.
    own: BTreeMap<(String, String), f64>,
    /// Instructions of the functions that a function calls; counted repeatedly for recursive
    /// functions.
    called: BTreeMap<String, f64>,
}

impl Profile {
    /// Reads the file that callgrind wrote.
    pub fn read(file: &Path) -> Result<Profile, Failed> {
        let text = fs::read_to_string(file)?;
        let mut reader = Reader::default();
        text.lines().for_each(|line| reader.line(line));
        if reader.profile.own.is_empty() {
            return Err(format!("{}: nothing was counted", file.display()).into());
        }
        Ok(reader.profile)
    }

    /// Subtracts `other` and divides by `among`.
    pub fn less(mut self, other: &Profile, among: f64) -> Profile {
        other
            .own
            .iter()
            .for_each(|(place, cost)| *self.own.entry(place.clone()).or_default() -= cost);
        other
            .called
            .iter()
            .for_each(|(name, cost)| *self.called.entry(name.clone()).or_default() -= cost);
        self.own.values_mut().chain(self.called.values_mut()).for_each(|cost| *cost /= among);
        self
    }

    pub fn total(&self) -> f64 {
        self.own.values().sum()
    }

    /// Prints the instructions by module and package, by source file, and by function.
    pub fn print(&self, name: &str) {
        println!("\n{name}: {:.0} instructions", self.total());
        println!("by room or package in which the code stands:");
        self.lines(self.by(|(_, file)| room(file)));
        println!("by source file:");
        self.lines(self.by(|(_, file)| short(file)));
        println!("by function, with what is inlined into it:");
        self.lines(self.by(|(function, _)| function.clone()));
        println!("by function, with all that it calls:");
        let mut whole = self.called.clone();
        self.own
            .iter()
            .for_each(|((function, _), cost)| *whole.entry(function.clone()).or_default() += cost);
        self.lines(sorted(whole));
    }

    fn lines(&self, sums: Vec<(String, f64)>) {
        for (name, cost) in sums.iter().take(LINES).filter(|(_, cost)| *cost >= 1.0) {
            println!("  {cost:>10.0} {:>5.1} %  {name}", 100.0 * cost / self.total());
        }
    }

    fn by(&self, key: impl Fn(&(String, String)) -> String) -> Vec<(String, f64)> {
        let mut sums = BTreeMap::new();
        self.own.iter().for_each(|(place, cost)| *sums.entry(key(place)).or_insert(0.0) += cost);
        sorted(sums)
    }
}

/// Sorts in descending order.
fn sorted(sums: BTreeMap<String, f64>) -> Vec<(String, f64)> {
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    sums
}

/// Returns the module of gatelet, the package, `std`, or the object file of a path.
fn room(file: &str) -> String {
    if let Some((_, package)) = file.split_once("/registry/src/") {
        return package.split('/').nth(1).unwrap_or(package).to_string();
    }
    if file.contains("/library/") {
        return "std".to_string();
    }
    match file.rsplit_once("src/") {
        Some((_, ours)) if ours.ends_with(".rs") => {
            format!("src/{}", ours.split('/').next().unwrap_or(ours))
        }
        _ => format!("[{}]", file.rsplit('/').next().unwrap_or(file)),
    }
}

/// Removes the part of a path before the package.
fn short(file: &str) -> String {
    let file = file
        .split_once("/registry/src/")
        .and_then(|(_, file)| file.split_once('/'))
        .map_or(file, |(_, file)| file);
    file.split_once("/library/").map_or(file, |(_, file)| file).to_string()
}

/// Reads the file line by line. A name is written once with a number, and afterwards as the number
/// alone.
#[derive(Default)]
struct Reader {
    functions: Names,
    files: Names,
    objects: Names,
    function: String,
    file: String,
    object: String,
    /// Whether the next line is the cost of a call, not of the function itself.
    called: bool,
    profile: Profile,
}

impl Reader {
    fn line(&mut self, line: &str) {
        match line.split_once('=') {
            Some(("fn", name)) => self.function = self.functions.read(name),
            Some(("cfn", name)) => drop(self.functions.read(name)),
            Some(("fl" | "fi" | "fe", name)) => self.file = self.files.read(name),
            Some(("cfi" | "cfl", name)) => drop(self.files.read(name)),
            Some(("ob", name)) => self.object = self.objects.read(name),
            Some(("cob", name)) => drop(self.objects.read(name)),
            Some(("calls", _)) => self.called = true,
            _ if line
                .starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) =>
            {
                self.cost(line)
            }
            _ => {}
        }
    }

    fn cost(&mut self, line: &str) {
        let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<f64>().ok()).unwrap_or(0.0);
        if std::mem::take(&mut self.called) {
            *self.profile.called.entry(self.function.clone()).or_default() += cost;
            return;
        }
        let file = if self.file == "???" { &self.object } else { &self.file };
        *self.profile.own.entry((self.function.clone(), file.clone())).or_default() += cost;
    }
}

#[derive(Default)]
struct Names(HashMap<String, String>);

impl Names {
    /// Reads `(12) name` or, later, `(12)`; returns the name.
    fn read(&mut self, text: &str) -> String {
        let (number, name) = text.split_once(' ').unwrap_or((text, ""));
        if !name.is_empty() {
            self.0.insert(number.to_string(), name.to_string());
        }
        self.0.get(number).cloned().unwrap_or_else(|| text.to_string())
    }
}
