//! Configuration file over the wire: `config.get`, `config.set`, `config.patch`, `config.apply`,
//! `gatelet.config`.
//!
//! A handler reads the request only. The disk thread reads and writes the file
//! (`server/config_file.rs`), all of one [`FileRequest`] without interruption, and [`answer`]
//! writes the result. The hash detects changes that others made in between. No answer ever contains
//! a secret.

use super::params::{ConfigApply, ConfigPatch, ConfigSet, Nothing};
use super::{Call, Failure, Reply};
use crate::config::{Problem, Setting, Shown};
use crate::gate::facts::Protocol;
use crate::gate::limits;
use crate::gate::scopes::Scope;
use crate::wire::json::{self, Value, Writer};

/// Operation on the configuration file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileOperation {
    Get,
    /// Reads the file and lists every setting with its source.
    Explain,
    /// Replaces the text of the file.
    Set,
    /// Applies a merge patch to the file.
    Patch,
}

impl FileOperation {
    /// Returns whether the operation may change the file.
    pub fn writes(self) -> bool {
        matches!(self, FileOperation::Set | FileOperation::Patch)
    }
}

/// Request of a client to the configuration file.
pub struct FileRequest {
    pub operation: FileOperation,
    pub protocol: Protocol,
    /// New text, or the patch.
    pub raw: String,
    /// Hash of the text that the client last read.
    pub base: Option<String>,
    /// Paths of lists from which a patch may remove entries.
    pub replace: Vec<String>,
    /// Whether the client may see the file as written, including comments.
    pub sees_raw: bool,
}

/// Prints the operation and the length only, because the text may contain a secret.
impl std::fmt::Debug for FileRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} of {} bytes", self.operation, self.raw.len())
    }
}

/// State of the file after a call.
#[derive(Default)]
pub struct FileState {
    pub exists: bool,
    pub shown: Shown,
    pub hash: String,
    pub errors: Vec<Problem>,
    pub warnings: Vec<Problem>,
    /// Paths that a patch changed.
    pub paths: Vec<String>,
    /// Settings of [`FileOperation::Explain`].
    pub settings: Vec<Setting>,
    /// Settings of the running gateway, which differ if the file was edited.
    pub in_force: Vec<Setting>,
    pub not_used: Vec<String>,
}

/// Values that the gateway state adds to an answer.
pub struct FileContext<'a> {
    pub path: &'a str,
    /// Hash of the text that the running gateway uses.
    pub applied: &'a str,
    /// Settings in the file that take effect only after a restart.
    pub restart: &'a [&'static str],
}

/// Handles `config.get {}`.
pub fn get(call: &mut Call<'_>, _: Nothing) -> Result<Reply, Failure> {
    Ok(Reply::from_file(request(call, FileOperation::Get)))
}

/// Handles `gatelet.config {}`: returns the content of `config.get` and of `gatelet config print`.
pub fn explain(call: &mut Call<'_>, _: Nothing) -> Result<Reply, Failure> {
    Ok(Reply::from_file(request(call, FileOperation::Explain)))
}

/// Handles `config.set {raw, baseHash?}`.
pub fn set(call: &mut Call<'_>, params: ConfigSet<'_>) -> Result<Reply, Failure> {
    let (raw, base) = (text(params.raw), base_hash(params.base_hash));
    Ok(Reply::from_file(FileRequest { raw, base, ..request(call, FileOperation::Set) }))
}

/// Handles `config.apply {raw, baseHash?, sessionKey?, note?, restartDelayMs?, deliveryContext?}`
/// like `config.set`, which also applies the text.
pub fn apply(call: &mut Call<'_>, params: ConfigApply<'_>) -> Result<Reply, Failure> {
    let (raw, base) = (text(params.raw), base_hash(params.base_hash));
    Ok(Reply::from_file(FileRequest { raw, base, ..request(call, FileOperation::Set) }))
}

/// Handles `config.patch {raw, baseHash?, replacePaths?, ...}`, with the further parameters of
/// `config.apply`.
pub fn patch(call: &mut Call<'_>, params: ConfigPatch<'_>) -> Result<Reply, Failure> {
    let (raw, base) = (text(params.raw), base_hash(params.base_hash));
    let paths = params.replace_paths.unwrap_or_default();
    let paths = paths.items().take(limits::CONFIG_PATHS);
    let replace = paths.filter_map(|path| Some(path.as_str()?.into_owned())).collect();
    Ok(Reply::from_file(FileRequest { raw, base, replace, ..request(call, FileOperation::Patch) }))
}

/// Creates a request without text.
fn request(call: &Call<'_>, operation: FileOperation) -> FileRequest {
    FileRequest {
        operation,
        protocol: call.caller.protocol(),
        raw: String::new(),
        base: None,
        replace: Vec::new(),
        sees_raw: call.caller.may(Scope::Admin),
    }
}

fn text(raw: Option<Value<'_>>) -> String {
    raw.and_then(|raw| raw.as_str()).unwrap_or_default().into_owned()
}

fn base_hash(hash: Option<String>) -> Option<String> {
    hash.map(|hash| hash.trim().to_string()).filter(|hash| !hash.is_empty())
}

/// Writes the answer to a call that succeeded.
pub fn answer(request: &FileRequest, state: &FileState, context: &FileContext<'_>) -> Vec<u8> {
    let v4 = request.protocol == Protocol::V4;
    let tree = state.shown.json.as_deref().unwrap_or("{}").as_bytes();
    json::object(|o| {
        if !request.operation.writes() {
            return write_file(o, request, state, context);
        }
        o.bool("ok", true);
        o.str("path", context.path);
        if request.operation == FileOperation::Patch && v4 {
            if state.paths.is_empty() {
                o.bool("noop", true);
            }
            o.strings("changedPaths", &state.paths);
        }
        o.str("hash", &state.hash);
        o.raw("config", tree);
        o.strs("restartRequired", context.restart.iter().copied());
    })
}

/// Writes the answer to a call that only reads.
fn write_file(
    o: &mut Writer<'_>,
    request: &FileRequest,
    state: &FileState,
    context: &FileContext<'_>,
) {
    let tree = state.shown.json.as_deref().unwrap_or("{}").as_bytes();
    o.str("path", context.path);
    o.bool("exists", state.exists);
    match state.shown.raw.as_deref().filter(|_| request.sees_raw) {
        Some(raw) => o.str("raw", raw),
        None => o.null("raw"),
    }
    o.raw("parsed", tree);
    o.bool("valid", state.errors.is_empty());
    o.raw("config", tree);
    o.str("hash", &state.hash);
    if request.protocol == Protocol::V4 {
        o.raw("sourceConfig", tree);
        o.str("configRevisionHash", &state.hash);
        o.str("appliedConfigHash", context.applied);
        o.fields(
            r#""includedPaths":[],"includeProvenance":[],"agentRosterIncludeOwned":false,"bindingsIncludeOwned":false"#,
        );
    }
    issues(o, "issues", &state.errors);
    issues(o, "warnings", &state.warnings);
    o.fields(r#""legacyIssues":[]"#);
    o.strs("restartRequired", context.restart.iter().copied());
    if request.operation == FileOperation::Explain {
        settings(o, "settings", &state.settings);
        settings(o, "inForce", &state.in_force);
        o.strings("acceptedNotUsed", &state.not_used);
    }
}

/// Writes every setting with its value and its source, as a field of an open object. Secrets are
/// already replaced by fingerprints.
pub fn settings(o: &mut Writer<'_>, name: &str, settings: &[Setting]) {
    o.arr(name, |list| {
        for setting in settings {
            list.item_obj(|o| {
                o.str("key", &setting.path);
                o.str("value", &setting.value);
                if !setting.list.is_empty() {
                    o.strings("list", &setting.list);
                }
                o.shown("source", &setting.source);
            });
        }
    });
}

fn issues(o: &mut Writer<'_>, key: &str, problems: &[Problem]) {
    o.arr(key, |list| {
        for problem in problems {
            list.item_obj(|o| {
                o.str("path", &problem.path);
                o.shown("message", problem);
            });
        }
    });
}

/// Creates the error for a text with which the gateway would not start.
pub fn invalid(request: &FileRequest, problems: &[Problem]) -> Failure {
    let mut message = "invalid config".to_string();
    if request.protocol == Protocol::V4 {
        for (at, problem) in problems.iter().take(LISTED_PROBLEMS).enumerate() {
            message.push_str(if at == 0 { ": " } else { "; " });
            message.push_str(&problem.to_string());
        }
        if problems.len() > LISTED_PROBLEMS {
            message.push_str(&format!(" (+{} more issues)", problems.len() - LISTED_PROBLEMS));
        }
    }
    let details = json::object(|o| issues(o, "issues", problems));
    Failure::invalid(message).detailed(details)
}

/// Number of problems that the message itself lists (protocol 4).
const LISTED_PROBLEMS: usize = 3;

/// Checks that the client knows the current text of the file. Without a hash only a patch of
/// protocol 4 is allowed; [`check_patch`] limits it to the display settings of pages.
pub fn check_base(request: &FileRequest, hash: &str) -> Result<(), Failure> {
    match request.base.as_deref() {
        Some(base) if base == hash => Ok(()),
        Some(_) => Err(Failure::invalid(CHANGED)),
        None if request.operation == FileOperation::Patch && request.protocol == Protocol::V4 => {
            Ok(())
        }
        None => Err(Failure::invalid(NO_BASE)),
    }
}

/// Checks that a patch may change these paths, and may remove entries from these lists.
pub fn check_patch(
    request: &FileRequest,
    exists: bool,
    paths: &[String],
    lost: &[String],
) -> Result<(), Failure> {
    if request.operation != FileOperation::Patch || request.protocol != Protocol::V4 {
        return Ok(());
    }
    let is_display = |path: &String| path == "ui.prefs" || path.starts_with("ui.prefs.");
    if exists && request.base.is_none() && !paths.iter().all(is_display) {
        return Err(Failure::invalid(NO_BASE));
    }
    let lost: Vec<&str> =
        lost.iter().filter(|path| !request.replace.contains(path)).map(String::as_str).collect();
    if lost.is_empty() {
        return Ok(());
    }
    let paths = lost.join(", ");
    Err(Failure::invalid(format!(
        "config.patch would remove entries from array path(s): {paths}. Pass replacePaths with the \
         exact path(s) when this is intentional, or use config.apply for full-config replacement."
    )))
}

/// Error message if the client knows an older text.
pub const CHANGED: &str = "config changed since last load; re-run config.get and retry";
const NO_BASE: &str = "config base hash required; re-run config.get and retry";
