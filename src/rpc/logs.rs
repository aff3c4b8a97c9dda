//! Last lines of the log, which the gateway keeps in memory: `logs.tail`.
//!
//! Every line of a run has a number, and a cursor is the number of the next line. The numbers start
//! at a value that other runs are unlikely to use, so that a cursor from before a restart is
//! recognized. At most [`limits::LOG_LINES`] lines and [`limits::LOG_BYTES`] bytes are kept, a part
//! of them for warnings and errors alone. Nothing here reads a file.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use nanoserde::SerJson;

use super::params::LogsTail;
use super::{answers, Call, Failure, Reply};
use crate::gate::limits;
use crate::gate::text::cut;

/// Last lines of the log, warnings and errors apart from the others. A copy shares the lines.
#[derive(Clone)]
pub struct Log {
    warnings: Lines,
    others: Lines,
    /// Number of the first line of this run.
    first: u64,
    /// Number of the next line.
    next: u64,
    /// Path of the file that has every line; empty if there is none.
    pub place: String,
}

impl Log {
    /// Log without lines.
    pub const EMPTY: Log = Log {
        warnings: Lines::EMPTY,
        others: Lines::EMPTY,
        first: 0,
        next: 0,
        place: String::new(),
    };

    /// Sets the number of the first line.
    pub fn begin(&mut self, first: u64) {
        let shift = first.wrapping_sub(self.first);
        (self.first, self.next) = (first, self.next.wrapping_add(shift));
        for lines in [&mut self.warnings, &mut self.others] {
            lines.complete_from = lines.complete_from.wrapping_add(shift);
            lines.lines.iter_mut().for_each(|line| line.0 = line.0.wrapping_add(shift));
        }
    }

    /// Adds a line, `time level message`, and removes the oldest lines above the limits.
    pub fn push(&mut self, line: &str) {
        let line = cut(line, limits::LOG_LINE_LEN);
        let level = line.split(' ').nth(1).unwrap_or_default();
        let (lines, bytes) = (limits::LOG_WARNINGS, limits::LOG_WARNING_BYTES);
        if matches!(level, "warn" | "error") {
            self.warnings.push(self.next, line, lines, bytes);
        } else {
            let (lines, bytes) = (limits::LOG_LINES - lines, limits::LOG_BYTES - bytes);
            self.others.push(self.next, line, lines, bytes);
        }
        self.next += 1;
    }

    /// Forgets the form in which the lines were shown; it takes twice as much memory as they do.
    pub fn forget_shown(&mut self) {
        let kept = self.warnings.lines.iter_mut().chain(&mut self.others.lines);
        for line in kept.filter_map(|(_, line)| Arc::get_mut(line)) {
            line.shown.take();
        }
    }

    /// Returns the number from which all lines are kept.
    fn complete_from(&self) -> u64 {
        self.first.max(self.warnings.complete_from).max(self.others.complete_from)
    }

    /// Returns the last lines with at least this number, at most `lines` of them and at most
    /// `bytes` bytes. One line is returned even if it is longer.
    fn last(&self, from: u64, lines: u64, mut bytes: u64) -> Vec<&Line> {
        let kept = self.warnings.lines.iter().chain(&self.others.lines);
        let mut kept: Vec<_> = kept.filter(|(number, _)| *number >= from).collect();
        kept.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
        let mut last = Vec::new();
        for (_, line) in kept.into_iter().take(usize::try_from(lines).unwrap_or(usize::MAX)) {
            let len = line.text.len() as u64;
            if len > bytes && !last.is_empty() {
                break;
            }
            bytes = bytes.saturating_sub(len);
            last.push(&**line);
        }
        last.reverse();
        last
    }
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

/// Lines with their numbers, the oldest first.
#[derive(Clone)]
struct Lines {
    lines: VecDeque<(u64, Arc<Line>)>,
    bytes: usize,
    /// Number after the last line that was removed.
    complete_from: u64,
}

impl Lines {
    const EMPTY: Lines = Lines { lines: VecDeque::new(), bytes: 0, complete_from: 0 };

    /// Adds a line, and removes the oldest ones above the limits.
    fn push(&mut self, number: u64, line: &str, max_lines: usize, max_bytes: usize) {
        self.bytes += line.len();
        let line = Line { text: line.into(), shown: OnceLock::new() };
        self.lines.push_back((number, Arc::new(line)));
        while self.bytes > max_bytes || self.lines.len() > max_lines {
            let Some((number, line)) = self.lines.pop_front() else { return };
            self.bytes -= line.text.len();
            self.complete_from = number + 1;
        }
    }
}

/// Handles `logs.tail {cursor?, limit?, maxBytes?}`.
pub fn tail(call: &mut Call<'_>, params: LogsTail) -> Result<Reply, Failure> {
    let cursor = params.cursor;
    let (limit, max_bytes) = (params.limit.unwrap_or(500), params.max_bytes.unwrap_or(250_000));
    let log = call.log;
    let known = cursor.filter(|cursor| (log.complete_from()..=log.next).contains(cursor));
    let lines = log.last(known.unwrap_or(log.first), limit, max_bytes);
    let left_out = log.next - lines.len() as u64 > known.unwrap_or(log.first);
    Ok(Reply::object(|o| {
        o.str("file", if log.place.is_empty() { "the gateway's memory" } else { &log.place });
        o.u64("cursor", log.next);
        o.u64("size", (log.warnings.bytes + log.others.bytes) as u64);
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

    fn texts(lines: &[&Line]) -> Vec<String> {
        lines.iter().map(|line| line.text.to_string()).collect()
    }

    #[test]
    fn lines_are_made_for_answers_once_until_forgotten() {
        let mut log = some(3);
        let copy = log.clone();
        let places = |log: &Log, from: u64| -> Vec<*const u8> {
            log.last(from, 9, 1000).iter().map(|line| line.shown().as_ptr()).collect()
        };
        assert_eq!(places(&copy, 1001), places(&log, 1001));
        let is_made = |(_, line): &(u64, Arc<Line>)| line.shown.get().is_some();
        let made: Vec<bool> = log.others.lines.iter().map(is_made).collect();
        assert_eq!(made, [false, true, true], "only what was asked for");
        drop(copy);
        log.forget_shown();
        assert!(!log.others.lines.iter().any(is_made));
        assert_eq!(
            log.last(1000, 9, 1000)[0].shown(),
            r#""{\"1\":\"line 0\",\"_meta\":{\"name\":\"{\\\"subsystem\\\":\\\"gateway\\\"}\",\"logLevelName\":\"INFO\"},\"time\":\"t\"}""#
        );
    }

    const OTHERS: usize = limits::LOG_LINES - limits::LOG_WARNINGS;

    #[test]
    fn log_is_bounded_by_lines_and_bytes() {
        let log = some(OTHERS as u64 + 3);
        let lines = &log.others.lines;
        assert_eq!((lines.len(), &*lines[0].1.text), (OTHERS, "t info line 3"));
        assert_eq!(log.others.bytes, lines.iter().map(|(_, line)| line.text.len()).sum::<usize>());
        assert_eq!(log.complete_from(), 1003);
        let mut log = Log::EMPTY;
        let long = "x".repeat(2 * limits::LOG_LINE_LEN);
        for level in ["info", "warn"] {
            (0..2 * limits::LOG_LINES).for_each(|_| log.push(&format!("t {level} {long}")));
        }
        assert_eq!(log.others.lines[0].1.text.len(), limits::LOG_LINE_LEN);
        let (warnings, others) = (log.warnings.lines.len(), log.others.lines.len());
        assert_eq!(log.warnings.bytes + log.others.bytes, limits::LOG_BYTES);
        assert_eq!(warnings + others, limits::LOG_BYTES / limits::LOG_LINE_LEN);
        assert_eq!(log.next, 4 * limits::LOG_LINES as u64);
    }

    #[test]
    fn other_lines_do_not_displace_warnings() {
        let mut log = some(5);
        log.push("t warn refuse");
        (0..10_000).for_each(|number| log.push(&format!("t info line {number}")));
        log.push("t error disk");
        let all = texts(&log.last(log.first, 5000, 1_000_000));
        assert_eq!(all.len(), OTHERS + 2);
        assert_eq!(
            (&*all[0], &*all[1], &*all[OTHERS + 1]),
            ("t warn refuse", "t info line 9616", "t error disk")
        );
        // a cursor is known only if no line after it is missing
        assert_eq!(log.complete_from(), log.next - 1 - OTHERS as u64);
        assert_eq!(
            texts(&log.last(log.next - 2, 5000, 1_000_000)),
            ["t info line 9999", "t error disk"]
        );
    }

    #[test]
    fn lines_before_the_begin_of_a_run_are_numbered_with_it() {
        let mut log = Log::EMPTY;
        log.push("t info early");
        log.begin(1000);
        log.push("t info late");
        assert_eq!((log.first, log.next, log.complete_from()), (1000, 1002, 1000));
        assert_eq!(texts(&log.last(1001, 9, 1000)), ["t info late"]);
    }

    #[test]
    fn last_returns_the_newest_lines_and_at_least_one() {
        let log = some(5);
        assert_eq!(texts(&log.last(0, 2, 1000)), ["t info line 3", "t info line 4"]);
        assert_eq!(texts(&log.last(0, 100, 30)), ["t info line 3", "t info line 4"]);
        assert_eq!(texts(&log.last(0, 100, 1)), ["t info line 4"]);
        assert!(log.last(0, 0, 1000).is_empty() && some(0).last(0, 9, 1000).is_empty());
    }

    #[test]
    fn shown_line_has_the_format_of_openclaw_logs() {
        assert_eq!(
            shown("2026-11-22T19:20:00Z warn two \"words\""),
            r#"{"1":"two \"words\"","_meta":{"name":"{\"subsystem\":\"gateway\"}","logLevelName":"WARN"},"time":"2026-11-22T19:20:00Z"}"#
        );
    }
}
