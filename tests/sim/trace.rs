//! Record of a run: one hash that is the same for the same seed, and lines for debugging.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::{Arguments, Write};

use log::{Log, Metadata, Record};

/// Lines kept while a seed is debugged.
const LINES: usize = 400;

pub struct Trace {
    hash: u64,
    kept: Option<VecDeque<String>>,
    shown: bool,
}

impl Trace {
    /// `keep`: lines are kept for a failure; `shown`: they are printed.
    pub fn new(keep: bool, shown: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, kept: keep.then(VecDeque::new), shown }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn line(&mut self, text: Arguments<'_>) {
        let _ = self.write_fmt(text);
        if self.shown {
            println!("{text}");
        }
        if let Some(kept) = &mut self.kept {
            if kept.len() == LINES {
                kept.pop_front();
            }
            kept.push_back(text.to_string());
        }
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

impl Write for Trace {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

impl Drop for Trace {
    /// Prints the kept lines if the run panics.
    fn drop(&mut self) {
        if let (true, Some(kept)) = (std::thread::panicking(), &self.kept) {
            kept.iter().for_each(|line| eprintln!("  {line}"));
        }
    }
}

thread_local! {
    static SAID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Logger that collects the gateway's lines per thread.
struct Listener;

impl Log for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if record.target().starts_with("gatelet") {
            SAID.with(|said| said.borrow_mut().push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// Starts to collect the gateway's log for [`logged`].
pub fn listen() {
    if log::set_logger(&Listener).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}

/// Returns the lines logged since the previous call.
pub fn logged() -> Vec<String> {
    SAID.with(|said| std::mem::take(&mut *said.borrow_mut()))
}
