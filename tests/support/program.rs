//! A long-running command of the binary whose output is read while it runs.

use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::gateway::collect;
use crate::runner::patience;

/// Running command; killed when dropped.
pub struct Program {
    child: Child,
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
}

impl Program {
    pub fn start(mut command: Command) -> Program {
        let mut child = command.spawn().expect("spawn the command");
        let (out, err) = (Arc::default(), Arc::default());
        collect(child.stdout.take().unwrap(), &out);
        collect(child.stderr.take().unwrap(), &err);
        Program { child, out, err }
    }

    /// Starts a command of which only the first line of output is read.
    pub fn start_for_one_line(mut command: Command) -> Program {
        use std::io::{BufRead, BufReader};
        let mut child = command.spawn().expect("spawn the command");
        let (out, err) = (Arc::<Mutex<String>>::default(), Arc::default());
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut out.lock().unwrap()).unwrap();
        collect(child.stderr.take().unwrap(), &err);
        Program { child, out, err }
    }

    /// Returns the output so far.
    pub fn output(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    /// Waits for a line of its output that contains all these parts.
    pub fn printed(&mut self, parts: &[&str]) -> String {
        self.wait_for(self.out.clone(), parts)
    }

    /// Waits for such a line on its standard error.
    pub fn complained(&mut self, parts: &[&str]) -> String {
        self.wait_for(self.err.clone(), parts)
    }

    fn wait_for(&mut self, said: Arc<Mutex<String>>, parts: &[&str]) -> String {
        let begun = Instant::now();
        loop {
            let text = said.lock().unwrap().clone();
            if let Some(line) =
                text.lines().find(|line| parts.iter().all(|part| line.contains(part)))
            {
                return line.to_string();
            }
            let told = || format!("{text}\n---\n{}", self.err.lock().unwrap());
            assert!(begun.elapsed() < patience(), "no line with {parts:?} in:\n{}", told());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for its exit; returns the exit code, negative after a signal.
    pub fn ended(&mut self) -> i32 {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(begun.elapsed() < patience(), "it does not end:\n{}", self.output());
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
