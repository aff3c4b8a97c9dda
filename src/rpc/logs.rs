//! Last lines of the log, which the gateway keeps in memory: `logs.tail`.
//!
//! Every line of a run has a number, and a cursor is the number of the next line. The numbers start
//! at a value that other runs are unlikely to use, so that a cursor from before a restart is
//! recognized. At most [`limits::LOG_LINES`] lines and [`limits::LOG_BYTES`] bytes are kept.
//! Nothing here reads a file.

use std::sync::{Arc, OnceLock};

use nanoserde::SerJson;

use super::params::LogsTail;
use super::{answers, Call, Failure, Reply};
use crate::gate::limits;
use crate::gate::text::cut;

/// Last lines of the log. A copy shares the lines.
#[derive(Clone)]
pub struct Log {
    /// The oldest line is first.
    lines: Vec<Arc<Line>>,
    bytes: usize,
    /// Number of the first line of this run.
    first: u64,
    /// Number of the next line.
    next: u64,
    /// Path of the file that has every line; empty if there is none.
    pub place: String,
}

struct Line {
    /// Line as in `2026-11-22T19:20:00Z info listening`.
    text: Box<str>,
    /// Item of an answer. Made once, until [`Log::forget_shown`].
    shown: OnceLock<Box<str>>,
}

impl Line {
    fn shown(&self) -> &str {
        self.shown.get_or_init(|| shown(&self.text).serialize_json().into())
    }
}

impl Log {
    /// Log without lines.
    pub const EMPTY: Log =
        Log { lines: Vec::new(), bytes: 0, first: 0, next: 0, place: String::new() };

    /// Sets the number of the first line.
    pub fn begin(&mut self, first: u64) {
        self.first = first;
        self.next = first + self.lines.len() as u64;
    }

    /// Adds a line, `time level message`, and removes the oldest lines above the limits.
    pub fn push(&mut self, line: &str) {
        let line = cut(line, limits::LOG_LINE_LEN);
        self.bytes += line.len();
        self.lines.push(Arc::new(Line { text: line.into(), shown: OnceLock::new() }));
        self.next += 1;
        let mut old = 0;
        while self.bytes > limits::LOG_BYTES || self.lines.len() - old > limits::LOG_LINES {
            self.bytes -= self.lines[old].text.len();
            old += 1;
        }
        self.lines.drain(..old);
    }

    /// Forgets the form in which the lines were shown; it takes twice as much memory as they do.
    pub fn forget_shown(&mut self) {
        for line in self.lines.iter_mut().filter_map(Arc::get_mut) {
            line.shown.take();
        }
    }

    /// Returns the number of the oldest line that is kept.
    fn oldest(&self) -> u64 {
        self.next - self.lines.len() as u64
    }

    /// Returns the last lines, at most `lines` of them and at most `bytes` bytes. One line is
    /// returned even if it is longer.
    fn last(&self, lines: u64, mut bytes: u64) -> &[Arc<Line>] {
        let mut from = self.lines.len();
        while from > 0 && ((self.lines.len() - from) as u64) < lines {
            let len = self.lines[from - 1].text.len() as u64;
            if len > bytes && from < self.lines.len() {
                break;
            }
            bytes = bytes.saturating_sub(len);
            from -= 1;
        }
        &self.lines[from..]
    }
}

/// Handles `logs.tail {cursor?, limit?, maxBytes?}`.
pub fn tail(call: &mut Call<'_>, params: LogsTail) -> Result<Reply, Failure> {
    let cursor = params.cursor;
    let (limit, max_bytes) = (params.limit.unwrap_or(500), params.max_bytes.unwrap_or(250_000));
    let log = call.log;
    let known = cursor.filter(|cursor| (log.oldest()..=log.next).contains(cursor));
    let new = log.next - known.unwrap_or(log.oldest());
    let lines = log.last(limit.min(new), max_bytes);
    let left_out = log.next - lines.len() as u64 > known.unwrap_or(log.first);
    Ok(Reply::object(|o| {
        o.str("file", if log.place.is_empty() { "the gateway's memory" } else { &log.place });
        o.u64("cursor", log.next);
        o.u64("size", log.bytes as u64);
        o.arr("lines", |list| lines.iter().for_each(|line| list.item_raw(line.shown().as_bytes())));
        o.bool("truncated", left_out);
        o.bool("reset", cursor.is_some() && known.is_none());
    }))
}

/// Formats the line for the programs of both protocols: level, name and time as in their own log.
fn shown(line: &str) -> String {
    let mut words = line.splitn(3, ' ');
    let mut word = || words.next().unwrap_or_default();
    let (time, level, message) = (word(), word(), word());
    let meta = answers::LogMeta {
        name: r#"{"subsystem":"gateway"}"#.to_string(),
        level: level.to_ascii_uppercase(),
    };
    answers::LogLine { message, meta, time }.serialize_json()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(count: u64) -> Log {
        let mut log = Log::EMPTY;
        log.begin(1000);
        (0..count).for_each(|number| log.push(&format!("t info line {number}")));
        log
    }

    fn texts(lines: &[Arc<Line>]) -> Vec<&str> {
        lines.iter().map(|line| &*line.text).collect()
    }

    #[test]
    fn lines_are_made_for_answers_once_until_forgotten() {
        let mut log = some(3);
        let copy = log.clone();
        let made = copy.last(2, 1000).iter().map(|line| line.shown().as_ptr()).collect::<Vec<_>>();
        assert_eq!(
            made,
            log.lines[1..].iter().map(|line| line.shown().as_ptr()).collect::<Vec<_>>()
        );
        assert!(log.lines[0].shown.get().is_none(), "only what was asked for");
        drop(copy);
        log.forget_shown();
        assert!(log.lines.iter().all(|line| line.shown.get().is_none()));
        assert_eq!(
            log.lines[0].shown(),
            r#""{\"1\":\"line 0\",\"_meta\":{\"name\":\"{\\\"subsystem\\\":\\\"gateway\\\"}\",\"logLevelName\":\"INFO\"},\"time\":\"t\"}""#
        );
    }

    #[test]
    fn log_is_bounded_by_lines_and_bytes() {
        let log = some(limits::LOG_LINES as u64 + 3);
        assert_eq!((log.lines.len(), texts(&log.lines)[0]), (limits::LOG_LINES, "t info line 3"));
        assert_eq!(log.bytes, texts(&log.lines).concat().len());
        let mut log = Log::EMPTY;
        (0..2 * limits::LOG_LINES).for_each(|_| log.push(&"x".repeat(2 * limits::LOG_LINE_LEN)));
        assert_eq!(log.lines[0].text.len(), limits::LOG_LINE_LEN);
        assert_eq!(
            (log.bytes, log.lines.len()),
            (limits::LOG_BYTES, limits::LOG_BYTES / limits::LOG_LINE_LEN)
        );
        assert_eq!(log.next, 2 * limits::LOG_LINES as u64);
    }

    #[test]
    fn last_returns_the_newest_lines_and_at_least_one() {
        let log = some(5);
        assert_eq!(texts(log.last(2, 1000)), ["t info line 3", "t info line 4"]);
        assert_eq!(texts(log.last(100, 30)), ["t info line 3", "t info line 4"]);
        assert_eq!(texts(log.last(100, 1)), ["t info line 4"]);
        assert!(log.last(0, 1000).is_empty() && some(0).last(9, 1000).is_empty());
    }

    #[test]
    fn shown_line_has_the_format_of_openclaw_logs() {
        assert_eq!(
            shown("2026-11-22T19:20:00Z warn two \"words\""),
            r#"{"1":"two \"words\"","_meta":{"name":"{\"subsystem\":\"gateway\"}","logLevelName":"WARN"},"time":"2026-11-22T19:20:00Z"}"#
        );
    }
}
