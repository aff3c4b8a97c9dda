//! A long-running command of the binary whose output is read while it runs.

use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::gateway::{collect, line_with};
use crate::runner::{patience, until, wait_for};

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

    /// Returns its output so far.
    pub fn output(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    /// Returns its output so far, followed by its standard error.
    pub fn said(&self) -> String {
        format!("{}\n{}", self.out.lock().unwrap(), self.err.lock().unwrap())
    }

    /// Waits until its output or standard error contains this text.
    pub fn says(&self, text: &str) {
        let why = || format!("it does not say {text:?}:\n{}", self.said());
        until(|| self.said().contains(text), why);
    }

    /// Waits for a line of its output that contains all these parts.
    pub fn printed(&self, parts: &[&str]) -> String {
        self.line_of(&self.out, parts)
    }

    /// Waits for such a line on its standard error.
    pub fn complained(&self, parts: &[&str]) -> String {
        self.line_of(&self.err, parts)
    }

    fn line_of(&self, stream: &Mutex<String>, parts: &[&str]) -> String {
        let why = || format!("no line with {parts:?} in:\n{}", self.said());
        wait_for(patience(), || line_with(&stream.lock().unwrap(), parts), why)
    }

    /// Waits for its exit; returns the exit code, negative after a signal.
    pub fn ended(&mut self) -> i32 {
        let (out, err) = (self.out.clone(), self.err.clone());
        let why = || format!("it does not end:\n{}\n{}", out.lock().unwrap(), err.lock().unwrap());
        wait_for(patience(), || self.child.try_wait().unwrap(), why).code().unwrap_or(-1)
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.ended();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- output of the program\n{}---", self.said());
        }
    }
}
