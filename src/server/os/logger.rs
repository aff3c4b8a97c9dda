//! Log of this program on standard error. Messages of libraries could contain the content of a
//! message, so they are left out.
//!
//! The last lines are also kept in memory for `logs.tail`. All lines also go to a file of bounded
//! size if one is configured (`--log-file`). A Windows service has no standard error and always has
//! the file.

#![expect(clippy::disallowed_methods, reason = "log lines carry the time of day")]

use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::{Level, LevelFilter, Metadata, Record};

use super::clock::{Entropy, SystemEntropy};
use super::line_limit::LineLimit;
use super::log_file::LogFile;
use crate::gate::limits;
use crate::rpc::Log;
use crate::server::runtime::lock;

/// Log writer. Lines start with the time, except in systemd's journal, which adds its own time and
/// reads the priority from a number at the start.
struct Logger {
    journal: bool,
}

static PLAIN: Logger = Logger { journal: false };
static JOURNAL: Logger = Logger { journal: true };

static KEPT: Mutex<Log> = Mutex::new(Log::EMPTY);
static FILE: Mutex<Option<LogFile>> = Mutex::new(None);
/// Limits of lines below a warning, and of warnings and errors.
static LIMITS: Mutex<[LineLimit; 2]> = Mutex::new([LineLimit::NEW; 2]);

/// Starts the log at `level` (`error`, `warn`, `info`, `debug`, `trace`; anything else means
/// `info`), and in `file` if given. A file that cannot be written does not prevent the start.
pub fn start(level: Option<&str>, file: Option<&Path>) {
    let level = level.filter(|level| !level.is_empty());
    let known = level.and_then(|level| level.parse().ok());
    let logger = if to_journal() { &JOURNAL } else { &PLAIN };
    lock(&KEPT).begin(run());
    // fails in a service, which has set a logger before
    let _ = log::set_logger(logger);
    log::set_max_level(known.unwrap_or(LevelFilter::Info));
    if let Some(path) = file {
        to_file(path);
    }
    if let (Some(level), None) = (level, known) {
        log::warn!("GATELET_LOG cannot be {level:?}: use error, warn, info or debug");
    }
}

/// Returns the number at which the lines of this run begin: 32 random bits above 20 bits for a
/// million lines. All numbers are exact in JavaScript.
fn run() -> u64 {
    u64::from(u32::from_le_bytes((&mut SystemEntropy as &mut dyn Entropy).bytes())) << 20
}

/// Returns a copy of the last lines.
pub fn kept() -> Log {
    lock(&KEPT).clone()
}

/// Gives back the memory that answers about the log took.
pub fn forget_shown() {
    lock(&KEPT).forget_shown();
}

/// Logs to this file as well.
fn to_file(path: &Path) {
    match LogFile::open(path, limits::LOG_LEN) {
        Ok(file) => {
            lock(&KEPT).place = path.display().to_string();
            *lock(&FILE) = Some(file);
        }
        Err(error) => log::warn!("cannot write the log to {}: {error}", path.display()),
    }
}

/// Returns whether standard error is the systemd journal. `JOURNAL_STREAM` contains the device and
/// inode of the journal and stays set when the output is redirected, so they are compared.
#[cfg(unix)]
fn to_journal() -> bool {
    use std::os::unix::fs::MetadataExt;

    let Ok(journal) = std::env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/dev/stderr")
        .is_ok_and(|file| journal == format!("{}:{}", file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn to_journal() -> bool {
    false
}

/// Logs to `gatelet.log` in `dir`, which is created if needed. Must be called before [`start`].
#[cfg(windows)]
pub fn start_file(dir: &Path) {
    let _ = std::fs::create_dir_all(dir);
    let _ = log::set_logger(&PLAIN);
    log::set_max_level(LevelFilter::Info);
    to_file(&dir.join("gatelet.log"));
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("gatelet") && metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = record.args().to_string();
        let left_out = end_minute();
        if left_out > 0 {
            let line = format!("{left_out} lines of the last minute were not logged: too many");
            self.write(Level::Warn, &line);
        }
        if is_within_limit(record.level(), line.len()) {
            self.write(record.level(), &line);
        }
    }

    fn flush(&self) {}
}

impl Logger {
    fn write(&self, level: Level, line: &str) {
        let (level, priority) = match level {
            Level::Error => ("error", "<3>"),
            Level::Warn => ("warn", "<4>"),
            Level::Info => ("info", "<6>"),
            Level::Debug => ("debug", "<7>"),
            Level::Trace => ("trace", "<7>"),
        };
        let text = format!("{level} {line}\n");
        let line = format!("{} {text}", timestamp());
        let shown = if self.journal { format!("{priority}{text}") } else { line.clone() };
        // if the log cannot be written, there is no place to report it
        let _ = std::io::stderr().lock().write_all(shown.as_bytes());
        if let Some(file) = &mut *lock(&FILE) {
            let _ = file.write(&line);
        }
        lock(&KEPT).push(line.trim_end());
    }
}

/// Starts the next minute of the limits if the current one is over. Returns the number of lines
/// that were left out in it.
fn end_minute() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let minute = since.as_secs() / 60;
    lock(&LIMITS).iter_mut().map(|limit| limit.end_minute(minute)).sum()
}

/// Returns whether a line is to be written.
fn is_within_limit(level: Level, len: usize) -> bool {
    let is_warning = level <= Level::Warn;
    log::max_level() >= LevelFilter::Debug || lock(&LIMITS)[usize::from(is_warning)].add(len)
}

/// Returns the current time in the format of the log.
pub fn timestamp() -> String {
    utc(SystemTime::now())
}

/// Formats a time as `2026-11-22T19:20:00Z`. Times that the format cannot express become the
/// nearest one: a clock before 1970 or after 9999 must not end the program.
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND));
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Seconds from 1970 to the end of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_agree_with_the_calendar() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(951_868_800), "2000-03-01T00:00:00Z");
        assert_eq!(at(1_795_375_200), "2026-11-22T19:20:00Z");
        assert_eq!(at(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z", "2100 is no leap year");
        assert_eq!(at(LAST_SECOND), "9999-12-31T23:59:59Z");
        assert_eq!(at(LAST_SECOND + 1), "9999-12-31T23:59:59Z");
        assert_eq!(utc(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00Z");
    }
}
