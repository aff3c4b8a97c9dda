//! Reads, changes and writes the configuration file of a running gateway, on the disk thread. Each
//! call is one job.
//!
//! Invariants: text that is written was parsed by the code that a start uses, and has no errors;
//! the file is replaced as a whole or not at all; an edit by another program since the client read
//! it is not overwritten (compared immediately before the file is replaced).

use std::cell::RefCell;

use super::runtime_config::RuntimeConfig;
use super::start_context::{shared_secret, StartContext};
use crate::config::{self, ChangeKind, Env, Loaded, Problem, Setting, Severity, SystemEnv};
use crate::gate::limits;
use crate::rpc::config::{
    check_base, check_patch, invalid, FileOperation, FileRequest, FileState, CHANGED,
};
use crate::rpc::{Failure, Status};
use crate::store::{self, tokens};
use crate::wire::json;

/// Access to the configuration file, with the start context for building a new runtime
/// configuration.
pub struct ConfigFile {
    /// Values that do not change while the gateway runs.
    pub start: StartContext,
    /// Settings of the running gateway, which an edit by another program does not change.
    in_force: RefCell<Vec<Setting>>,
}

/// A call about the configuration file, and its result.
pub struct FileWork {
    pub request: FileRequest,
    /// Result; `None` until the call has run.
    pub result: Option<Result<FileResult, Failure>>,
}

/// Leaves out the content of the file, which may contain secrets.
impl std::fmt::Debug for FileWork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.request.fmt(f)
    }
}

/// Result of a successful call.
pub struct FileResult {
    pub state: FileState,
    /// New runtime configuration and status, if the configuration changed.
    pub new: Option<Box<(RuntimeConfig, Status)>>,
    /// Length of the file.
    pub len: usize,
    /// Number of bytes written.
    pub written: usize,
}

impl FileWork {
    /// Returns the number of bytes that a completed call has written.
    pub fn written(&self) -> usize {
        self.result.iter().flatten().map(|result| result.written).sum()
    }
}

impl ConfigFile {
    /// Returns the access for a gateway that started with these settings.
    pub fn new(start: StartContext, in_force: Vec<Setting>) -> ConfigFile {
        ConfigFile { start, in_force: RefCell::new(in_force) }
    }

    /// Runs the call and stores its result.
    pub fn run(&self, work: &mut FileWork) {
        work.result = Some(self.answer(&work.request));
    }

    /// Returns the hash that identifies this text as a revision of the file.
    pub fn hash(&self, text: &str) -> String {
        tokens::revision(&self.start.key, text.as_bytes()).as_str().to_string()
    }

    fn answer(&self, request: &FileRequest) -> Result<FileResult, Failure> {
        let old = self.read()?;
        if !request.operation.writes() {
            let loaded = self.load(old.as_deref());
            let state = self.state(old.as_deref(), &loaded);
            let state = FileState {
                settings: loaded.settings,
                in_force: self.in_force.borrow().clone(),
                not_used: loaded.accepted_not_used,
                ..state
            };
            let len = old.map_or(0, |text| text.len());
            return Ok(FileResult { state, new: None, len, written: 0 });
        }
        self.write(request, old)
    }

    fn write(&self, request: &FileRequest, old: Option<String>) -> Result<FileResult, Failure> {
        let text = old.as_deref().unwrap_or_default();
        let patch = request.operation == FileOperation::Patch;
        if old.is_some() {
            check_base(request, &self.hash(text))?;
            if patch && self.load(Some(text)).config.is_none() {
                return Err(Failure::invalid("invalid config; fix before patching"));
            }
        }
        let kind = match json::parse(request.raw.as_bytes(), limits::JSON_DEPTH) {
            _ if patch => ChangeKind::Patch,
            Ok(_) => ChangeKind::Value,
            Err(_) => ChangeKind::Text,
        };
        let changed = config::change(text, &request.raw, kind).map_err(Failure::invalid)?;
        check_patch(request, old.is_some(), &changed.paths, &changed.lost)?;
        if changed.text.len() as u64 > limits::CONFIG_LEN {
            return Err(Failure::invalid("the configuration would be larger than 1 MiB"));
        }
        let loaded = self.load(Some(&changed.text));
        let mut state = self.state(Some(&changed.text), &loaded);
        let Some(config) = &loaded.config else { return Err(invalid(request, &state.errors)) };
        if patch && changed.paths.is_empty() {
            return Ok(FileResult { state, new: None, len: text.len(), written: 0 });
        }
        let secret = shared_secret(config, &self.start.paths)
            .map_err(|error| Failure::unavailable(error.to_string()))?;
        let len = changed.text.len();
        let mut written = 0;
        if old.as_ref() != Some(&changed.text) {
            self.store(old.as_deref(), &changed.text)?;
            written = len.max(limits::CHANGE_LEN);
        }
        let warnings = state.warnings.iter().map(|problem| problem.to_string()).collect();
        state.paths = changed.paths;
        let in_force =
            self.start.in_force(&loaded.settings, &self.in_force.borrow(), secret.as_ref());
        self.in_force.replace(in_force);
        let new = (
            self.start.runtime_config(config, secret.as_ref()),
            self.start.status(config, secret.as_ref(), warnings),
        );
        Ok(FileResult { state, new: Some(Box::new(new)), len, written })
    }

    /// Reads the file. Returns `None` if it does not exist.
    fn read(&self) -> Result<Option<String>, Failure> {
        let path = &self.start.paths.config.value;
        let failed =
            |what: &str| Failure::unavailable(format!("cannot read {}: {what}", path.display()));
        match SystemEnv.read(path, limits::CONFIG_LEN) {
            Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(|_| failed("it is not UTF-8")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&error.to_string())),
        }
    }

    /// Replaces the file. Error if its content is no longer `old`.
    fn store(&self, old: Option<&str>, new: &str) -> Result<(), Failure> {
        let path = &self.start.paths.config.value;
        if self.read()?.as_deref() != old {
            return Err(Failure::invalid(CHANGED));
        }
        store::replace(path, new.as_bytes()).map_err(|error| {
            let path = path.display();
            log::error!("cannot write the configuration {path}: {error}; it was not changed");
            Failure::unavailable(format!("cannot write {path}: {error}; it was not changed"))
        })
    }

    fn load(&self, text: Option<&str>) -> Loaded {
        config::load_text(&self.start.args, &SystemEnv, text)
    }

    fn state(&self, text: Option<&str>, loaded: &Loaded) -> FileState {
        let of = |severity| -> Vec<Problem> {
            loaded.problems.iter().filter(|problem| problem.severity == severity).cloned().collect()
        };
        FileState {
            exists: text.is_some(),
            shown: text.map(config::shown).unwrap_or_default(),
            hash: self.hash(text.unwrap_or_default()),
            errors: of(Severity::Error),
            warnings: of(Severity::Warning),
            ..FileState::default()
        }
    }
}
