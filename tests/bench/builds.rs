//! The build under test, the older build that it is compared with, and the recorded counts of both.
//!
//! `instructions.txt` holds the accepted instruction count per operation of the current build; a
//! noticeably higher count is a failure. `baseline.txt` holds the counts of the commit that ratios
//! refer to; they are used if no older build is given. `UPDATE=1` writes the first file,
//! `UPDATE=baseline` the second.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::client::Failed;

/// Counts by build and name.
type Counts = BTreeMap<(String, String), f64>;

const ACCEPTED: &str = "instructions.txt";
const BASELINE: &str = "baseline.txt";

/// Selects one of the two builds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Age {
    New,
    Old,
}

/// Both builds and their recorded counts.
pub struct Builds {
    pub new: PathBuf,
    /// Build to compare with, if one was given.
    pub old: Option<PathBuf>,
    accepted: Counts,
    baseline: Counts,
    /// Measured values: instructions of the new build, counts of the old build.
    measured: [Vec<(String, f64)>; 2],
}

impl Builds {
    /// Reads the paths of the builds from `GATELET_BIN` and `GATELET_OLD`.
    pub fn from_env() -> Result<Builds, Failed> {
        let path = |name| {
            env::var_os(name).filter(|value| !value.is_empty()).map(fs::canonicalize).transpose()
        };
        let new = path("GATELET_BIN")?.ok_or("GATELET_BIN names the binary to measure")?;
        Ok(Builds {
            new,
            old: path("GATELET_OLD")?,
            accepted: read(ACCEPTED)?,
            baseline: read(BASELINE)?,
            measured: Default::default(),
        })
    }

    /// Returns the builds that can be run, the new one first.
    pub fn all(&self) -> impl Iterator<Item = (Age, &Path)> {
        [(Age::New, Some(&self.new)), (Age::Old, self.old.as_ref())]
            .into_iter()
            .filter_map(|(age, binary)| Some((age, binary?.as_path())))
    }

    /// Measures the new build, and then the old one if there is one.
    pub fn each<T>(
        &self,
        mut measure: impl FnMut(Age, &Path) -> Result<T, Failed>,
    ) -> Result<(T, Option<T>), Failed> {
        let new = measure(Age::New, &self.new)?;
        Ok((new, self.old.as_deref().map(|old| measure(Age::Old, old)).transpose()?))
    }

    /// Returns whether the new build is one that is shipped: its directory is named after its
    /// target.
    pub fn is_shipped(&self) -> bool {
        kind(&self.new).contains("-musl")
    }

    /// Returns the count of the old build: the measured one, else the one of the baseline for this
    /// kind of build.
    pub fn old_count(&mut self, name: &str, measured: Option<f64>) -> Option<f64> {
        if let Some(count) = measured {
            self.measured[Age::Old as usize].push((name.to_string(), count));
        }
        measured.or_else(|| self.baseline.get(&(kind(&self.new), name.to_string())).copied())
    }

    /// Records the instruction count of an operation of the new build.
    pub fn note(&mut self, operation: &str, counted: f64) {
        self.measured[Age::New as usize].push((operation.to_string(), counted));
    }

    /// Returns the accepted instruction count of an operation of the new build.
    pub fn accepted(&self, operation: &str) -> Option<f64> {
        self.accepted.get(&(kind(&self.new), operation.to_string())).copied()
    }

    /// Writes the measured counts to a file if `UPDATE` is set. Returns the name of the file.
    pub fn update(&mut self) -> Result<Option<&'static str>, Failed> {
        let (name, counts, build, age) = match (env::var("UPDATE"), &self.old) {
            (Err(_), _) => return Ok(None),
            (Ok(word), Some(old)) if word == "baseline" => {
                (BASELINE, &mut self.baseline, kind(old), Age::Old)
            }
            (Ok(word), None) if word == "baseline" => {
                return Err("UPDATE=baseline needs the build to compare with: --against".into())
            }
            (Ok(_), _) => (ACCEPTED, &mut self.accepted, kind(&self.new), Age::New),
        };
        for (what, count) in self.measured[age as usize].drain(..) {
            counts.insert((build.clone(), what), count);
        }
        let head = text(name)?
            .lines()
            .take_while(|line| line.starts_with('#'))
            .map(|line| format!("{line}\n"))
            .collect();
        let lines =
            counts.iter().map(|((build, what), count)| format!("{build} {what} {count:.0}\n"));
        fs::write(file(name), std::iter::once(head).chain(lines).collect::<String>())?;
        Ok(Some(name))
    }
}

/// Returns the kind of a build, which is the name of its directory: `release` or a target.
fn kind(binary: &Path) -> String {
    binary
        .parent()
        .and_then(Path::file_name)
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench").join(name)
}

fn text(name: &str) -> Result<String, Failed> {
    fs::read_to_string(file(name)).map_err(|error| format!("{name}: {error}").into())
}

/// Reads lines of the form `BUILD NAME COUNT`.
fn read(name: &str) -> Result<Counts, Failed> {
    let mut counts = Counts::new();
    for line in text(name)?.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [build, what, count] = words[..] else {
            return Err(format!("{name}: a line is BUILD NAME COUNT, not {line:?}").into());
        };
        counts.insert((build.to_string(), what.to_string()), count.parse()?);
    }
    Ok(counts)
}
