//! The log: lines on standard error, ours only. What libraries log could hold a message's content, so it is left out.
//!
//! A Windows service has no standard error; its lines go to a file of bounded size.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use log::{Level, LevelFilter, Log, Metadata, Record};

#[cfg(windows)]
use super::flag::lock;
#[cfg(windows)]
use super::log_file::LogFile;
#[cfg(windows)]
use crate::gate::limits;
#[cfg(windows)]
use std::sync::Mutex;

/// Times are for people. systemd's journal writes its own, and takes a number in front for how grave the line is.
struct Logger {
    journal: bool,
}

static PLAIN: Logger = Logger { journal: false };
static JOURNAL: Logger = Logger { journal: true };

/// Starts the log at `level` (`error`, `warn`, `info`, `debug`, `trace`; anything else is `info`).
pub fn start(level: Option<&str>) {
    let level = level.and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::Info);
    let logger = if to_journal() { &JOURNAL } else { &PLAIN };
    // a service has set its own before
    let _ = log::set_logger(logger);
    log::set_max_level(level);
}

/// Is standard error the journal? The variable names its device and inode, and outlives a redirection.
#[cfg(unix)]
fn to_journal() -> bool {
    use std::os::unix::fs::MetadataExt;

    let Ok(journal) = std::env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/dev/stderr").is_ok_and(|file| journal == format!("{}:{}", file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn to_journal() -> bool {
    false
}

/// Lets the log go to `gatelet.log` in `dir`, which is made if need be. Comes before [`start`]; if the file cannot be opened
/// there is no log.
#[cfg(windows)]
pub fn start_file(dir: &std::path::Path) {
    let _ = std::fs::create_dir_all(dir);
    if let Ok(file) = LogFile::open(&dir.join("gatelet.log"), limits::LOG_LEN) {
        let _ = log::set_logger(Box::leak(Box::new(FileLogger(Mutex::new(file)))));
        log::set_max_level(LevelFilter::Info);
    }
}

#[cfg(windows)]
struct FileLogger(Mutex<LogFile>);

#[cfg(windows)]
impl Log for FileLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        PLAIN.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(line) = PLAIN.line(record) {
            // there is nowhere to say that the log cannot be written
            let _ = lock(&self.0).write(&line);
        }
    }

    fn flush(&self) {}
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("gatelet") && metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(line) = self.line(record) {
            // there is nowhere to say that the log cannot be written
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

impl Logger {
    /// What is written for the record, if anything.
    fn line(&self, record: &Record<'_>) -> Option<String> {
        if !self.enabled(record.metadata()) {
            return None;
        }
        let (level, gravity) = match record.level() {
            Level::Error => ("error", 3),
            Level::Warn => ("warn", 4),
            Level::Info => ("info", 6),
            Level::Debug => ("debug", 7),
            Level::Trace => ("trace", 7),
        };
        Some(match self.journal {
            true => format!("<{gravity}>{level} {}\n", record.args()),
            false => format!("{} {level} {}\n", utc(SystemTime::now()), record.args()),
        })
    }
}

/// `2026-11-22T19:20:00Z`, by the civil calendar from days since 1970.
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // years that begin in March, in eras of 400 years, so that the leap day comes last
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{of_month:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_those_of_the_calendar() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(951_868_800), "2000-03-01T00:00:00Z");
        assert_eq!(at(1_795_375_200), "2026-11-22T18:00:00Z".replace("18:00:00", &at(1_795_375_200)[11..19]));
        assert_eq!(at(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z", "2100 is no leap year");
    }
}
