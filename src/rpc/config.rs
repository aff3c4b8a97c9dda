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
pub enum How {
    Get,
    /// Reads the file and lists every setting with its source.
    Explain,
    /// Replaces the text of the file.
    Set,
    /// Applies a merge patch to the file.
    Patch,
}

impl How {
    /// Returns whether the operation may change the file.
    pub fn writes(self) -> bool {
        matches!(self, How::Set | How::Patch)
    }
}

/// Request of a client to the configuration file.
pub struct FileRequest {
    pub how: How,
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
        write!(f, "{:?} of {} bytes", self.how, self.raw.len())
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
    /// Settings of [`How::Explain`].
    pub settings: Vec<Setting>,
    pub not_used: Vec<String>,
}

/// Values that the gateway state adds to an answer.
pub struct Around<'a> {
    pub path: &'a str,
    /// Hash of the text that the running gateway uses.
    pub applied: &'a str,
    /// Settings in the file that take effect only after a restart.
    pub restart: &'a [&'static str],
}

/// Handles `config.get {}`.
pub fn get(call: &mut Call<'_>, _: Nothing) -> Result<Reply, Failure> {
    Ok(asking(call, How::Get, None, None, Vec::new()))
}

/// Handles `gatelet.config {}`: returns the content of `config.get` and of `gatelet config print`.
pub fn explain(call: &mut Call<'_>, _: Nothing) -> Result<Reply, Failure> {
    Ok(asking(call, How::Explain, None, None, Vec::new()))
}

/// Handles `config.set {raw, baseHash?}`.
pub fn set(call: &mut Call<'_>, params: ConfigSet<'_>) -> Result<Reply, Failure> {
    Ok(asking(call, How::Set, params.raw, params.base_hash, Vec::new()))
}

/// Handles `config.apply {raw, baseHash?, sessionKey?, note?, restartDelayMs?, deliveryContext?}`
/// like `config.set`, which also applies the text.
pub fn apply(call: &mut Call<'_>, params: ConfigApply<'_>) -> Result<Reply, Failure> {
    Ok(asking(call, How::Set, params.raw, params.base_hash, Vec::new()))
}

/// Handles `config.patch {raw, baseHash?, replacePaths?, ...}`, with the further parameters of
/// `config.apply`.
pub fn patch(call: &mut Call<'_>, params: ConfigPatch<'_>) -> Result<Reply, Failure> {
    let paths = params.replace_paths.unwrap_or_default();
    let paths = paths.items().take(limits::CONFIG_PATHS);
    let replace = paths.filter_map(|path| Some(path.as_str()?.into_owned())).collect();
    Ok(asking(call, How::Patch, params.raw, params.base_hash, replace))
}

fn asking(
    call: &Call<'_>,
    how: How,
    raw: Option<Value<'_>>,
    base: Option<String>,
    replace: Vec<String>,
) -> Reply {
    let raw = raw.and_then(|raw| raw.as_str()).map(|raw| raw.into_owned()).unwrap_or_default();
    let base = base.map(|base| base.trim().to_string()).filter(|base| !base.is_empty());
    let sees_raw = call.caller.may(Scope::Admin);
    let ask = FileRequest { how, protocol: call.caller.protocol(), raw, base, replace, sees_raw };
    Reply { file: Some(Box::new(ask)), ..Reply::of(Vec::new()) }
}

/// Writes the answer to a call that succeeded.
pub fn answer(ask: &FileRequest, seen: &FileState, around: &Around<'_>) -> Vec<u8> {
    let v4 = ask.protocol == Protocol::V4;
    let tree = seen.shown.json.as_deref().unwrap_or("{}").as_bytes();
    json::object(|o| {
        if !ask.how.writes() {
            return got(o, ask, seen, around);
        }
        o.bool("ok", true);
        o.str("path", around.path);
        if ask.how == How::Patch && v4 {
            if seen.paths.is_empty() {
                o.bool("noop", true);
            }
            o.strings("changedPaths", &seen.paths);
        }
        o.str("hash", &seen.hash);
        o.raw("config", tree);
        o.strs("restartRequired", around.restart.iter().copied());
    })
}

fn got(o: &mut Writer<'_>, ask: &FileRequest, seen: &FileState, around: &Around<'_>) {
    let tree = seen.shown.json.as_deref().unwrap_or("{}").as_bytes();
    o.str("path", around.path);
    o.bool("exists", seen.exists);
    match seen.shown.raw.as_deref().filter(|_| ask.sees_raw) {
        Some(raw) => o.str("raw", raw),
        None => o.null("raw"),
    }
    o.raw("parsed", tree);
    o.bool("valid", seen.errors.is_empty());
    o.raw("config", tree);
    o.str("hash", &seen.hash);
    if ask.protocol == Protocol::V4 {
        o.raw("sourceConfig", tree);
        o.str("configRevisionHash", &seen.hash);
        o.str("appliedConfigHash", around.applied);
        o.fields(
            r#""includedPaths":[],"includeProvenance":[],"agentRosterIncludeOwned":false,"bindingsIncludeOwned":false"#,
        );
    }
    issues(o, "issues", &seen.errors);
    issues(o, "warnings", &seen.warnings);
    o.fields(r#""legacyIssues":[]"#);
    o.strs("restartRequired", around.restart.iter().copied());
    if ask.how == How::Explain {
        settings(o, &seen.settings);
        o.strings("acceptedNotUsed", &seen.not_used);
    }
}

/// Writes every setting with its value and its source, as a field of an open object. Secrets are
/// already replaced by fingerprints.
pub fn settings(o: &mut Writer<'_>, settings: &[Setting]) {
    o.arr("settings", |list| {
        for setting in settings {
            list.item_obj(|o| {
                o.str("key", &setting.path);
                o.str("value", &setting.value);
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
pub fn invalid(ask: &FileRequest, problems: &[Problem]) -> Failure {
    let mut message = "invalid config".to_string();
    if ask.protocol == Protocol::V4 {
        for (at, problem) in problems.iter().take(SAID).enumerate() {
            message.push_str(if at == 0 { ": " } else { "; " });
            message.push_str(&problem.to_string());
        }
        if problems.len() > SAID {
            message.push_str(&format!(" (+{} more issues)", problems.len() - SAID));
        }
    }
    let details = json::object(|o| issues(o, "issues", problems));
    Failure::invalid(message).detailed(details)
}

/// Number of problems that the message itself lists (protocol 4).
const SAID: usize = 3;

/// Checks that the client knows the current text of the file. Without a hash only a patch of
/// protocol 4 is allowed; [`check_patch`] limits it to the display settings of pages.
pub fn check_base(ask: &FileRequest, hash: &str) -> Result<(), Failure> {
    match ask.base.as_deref() {
        Some(base) if base == hash => Ok(()),
        Some(_) => Err(Failure::invalid(CHANGED)),
        None if ask.how == How::Patch && ask.protocol == Protocol::V4 => Ok(()),
        None => Err(Failure::invalid(NO_BASE)),
    }
}

/// Checks that a patch may change these paths, and may remove entries from these lists.
pub fn check_patch(
    ask: &FileRequest,
    exists: bool,
    paths: &[String],
    lost: &[String],
) -> Result<(), Failure> {
    if ask.how != How::Patch || ask.protocol != Protocol::V4 {
        return Ok(());
    }
    let looks = |path: &String| path == "ui.prefs" || path.starts_with("ui.prefs.");
    if exists && ask.base.is_none() && !paths.iter().all(looks) {
        return Err(Failure::invalid(NO_BASE));
    }
    let lost: Vec<&str> =
        lost.iter().filter(|path| !ask.replace.contains(path)).map(String::as_str).collect();
    if lost.is_empty() {
        return Ok(());
    }
    let paths = lost.join(", ");
    let what = ["config.patch would remove entries from array path(s): ", &paths, LOSS].concat();
    Err(Failure::invalid(what))
}

/// Error message if the client knows an older text.
pub const CHANGED: &str = "config changed since last load; re-run config.get and retry";
const NO_BASE: &str = "config base hash required; re-run config.get and retry";
const LOSS: &str = ". Pass replacePaths with the exact path(s) when this is intentional, or use config.apply for full-config replacement.";
