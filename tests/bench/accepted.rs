//! The counts of instructions that were accepted (`instructions.txt`): what needs noticeably more is a failure, and `UPDATE=1`
//! accepts what was counted. Each build has its own: the shipped one is made by another compiler, for size.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::client::Failed;

/// What may be counted for each that was accepted: other machines have other routines for copying memory.
const MARGIN: f64 = 1.05;

const HEAD: &str = "# Instructions of one operation, by build; see tests/bench/accepted.rs. UPDATE=1 tests/bench/run.sh rewrites it.\n";

/// The counts, by build and operation.
pub struct Accepted {
    file: PathBuf,
    build: String,
    counts: BTreeMap<(String, String), f64>,
    counted: Vec<(String, f64)>,
}

impl Accepted {
    /// Those for that binary, whose directory is named after what it was built for.
    pub fn read(binary: &Path) -> Result<Accepted, Failed> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/instructions.txt");
        let build = fs::canonicalize(binary)?;
        let build = build.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        let mut counts = BTreeMap::new();
        for line in fs::read_to_string(&file).unwrap_or_default().lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [build, operation, count] = words[..] else { return Err(format!("no three words: {line}").into()) };
            counts.insert((build.to_string(), operation.to_string()), count.parse()?);
        }
        Ok(Accepted { file, build: build.unwrap_or_default(), counts, counted: Vec::new() })
    }

    /// The most that this operation may need, if that was ever said.
    pub fn most(&self, operation: &str) -> Option<f64> {
        self.counts.get(&(self.build.clone(), operation.to_string())).map(|count| count * MARGIN)
    }

    /// Notes what was counted.
    pub fn put(&mut self, operation: &str, count: f64) {
        self.counted.push((operation.to_string(), count));
    }

    /// Writes down what was counted, if that is wanted.
    pub fn update(&mut self) -> Result<bool, Failed> {
        if env::var_os("UPDATE").is_none() {
            return Ok(false);
        }
        for (operation, count) in self.counted.drain(..) {
            self.counts.insert((self.build.clone(), operation), count);
        }
        let lines = self.counts.iter().map(|((build, operation), count)| format!("{build} {operation} {count:.0}\n"));
        fs::write(&self.file, std::iter::once(HEAD.to_string()).chain(lines).collect::<String>())?;
        Ok(true)
    }
}
