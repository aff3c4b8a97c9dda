//! `config.get`, `config.set`, `config.patch`, `config.apply`, `gatelet.config`: the configuration file over the wire.
//!
//! A handler reads what is asked; the file is read and written on the disk thread (`server/config_file.rs`), all of one [`Ask`] in
//! one go, and [`answer`] says how it went. The hash guards what others changed in between. No secret is ever in an answer.

use super::params::{ConfigApply, ConfigPatch, ConfigSet, Nothing};
use super::{Call, Failure, Reply};
use crate::config::{Problem, Setting, Shown};
use crate::gate::facts::Dialect;
use crate::gate::limits;
use crate::gate::scopes::Scope;
use crate::wire::json::{self, Value, Writer};

/// What is done with the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    Get,
    /// It is read, and every setting told with where it comes from.
    Explain,
    /// It becomes another text.
    Set,
    /// A merge patch goes into it.
    Patch,
}

impl How {
    /// May the file be another afterwards?
    pub fn writes(self) -> bool {
        matches!(self, How::Set | How::Patch)
    }
}

/// What a client asks of the configuration file.
pub struct Ask {
    pub how: How,
    pub dialect: Dialect,
    /// The new text, or the patch.
    pub raw: String,
    /// The hash of the text that the client knows.
    pub base: Option<String>,
    /// Paths of lists that a patch may take entries from.
    pub replace: Vec<String>,
    /// The client may see the file as it is written, comments and all.
    pub sees_raw: bool,
}

/// Tells nothing of what is in it: that may be a secret.
impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} of {} bytes", self.how, self.raw.len())
    }
}

/// The file as it stands after a call.
#[derive(Default)]
pub struct Seen {
    pub exists: bool,
    pub shown: Shown,
    pub hash: String,
    pub errors: Vec<Problem>,
    pub warnings: Vec<Problem>,
    /// What a patch changed.
    pub paths: Vec<String>,
    /// What was explained.
    pub settings: Vec<Setting>,
    pub not_used: Vec<String>,
}

/// What the gateway itself adds to an answer.
pub struct Around<'a> {
    pub path: &'a str,
    /// The hash of the text by which the gateway runs.
    pub applied: &'a str,
    /// What the file says and a running gateway cannot change.
    pub restart: &'a [&'static str],
}

/// `config.get {}`
pub fn get(call: &mut Call<'_>, _: Nothing) -> Result<Reply, Failure> {
    Ok(asking(call, How::Get, None, None, Vec::new()))
}

/// `gatelet.config {}`: what `config.get` says, and what `gatelet config print` does.
pub fn explain(call: &mut Call<'_>, _: Nothing) -> Result<Reply, Failure> {
    Ok(asking(call, How::Explain, None, None, Vec::new()))
}

/// `config.set {raw, baseHash?}`
pub fn set(call: &mut Call<'_>, params: ConfigSet<'_>) -> Result<Reply, Failure> {
    Ok(asking(call, How::Set, params.raw, params.base_hash, Vec::new()))
}

/// `config.apply {raw, baseHash?, sessionKey?, note?, restartDelayMs?, deliveryContext?}`: as `config.set`, which applies too.
pub fn apply(call: &mut Call<'_>, params: ConfigApply<'_>) -> Result<Reply, Failure> {
    Ok(asking(call, How::Set, params.raw, params.base_hash, Vec::new()))
}

/// `config.patch {raw, baseHash?, replacePaths?, ...}` with what `config.apply` takes.
pub fn patch(call: &mut Call<'_>, params: ConfigPatch<'_>) -> Result<Reply, Failure> {
    let paths = params.replace_paths.unwrap_or_default();
    let paths = paths.items().take(limits::CONFIG_PATHS);
    let replace = paths.filter_map(|path| Some(path.as_str()?.into_owned())).collect();
    Ok(asking(call, How::Patch, params.raw, params.base_hash, replace))
}

fn asking(call: &Call<'_>, how: How, raw: Option<Value<'_>>, base: Option<String>, replace: Vec<String>) -> Reply {
    let raw = raw.and_then(|raw| raw.as_str()).map(|raw| raw.into_owned()).unwrap_or_default();
    let base = base.map(|base| base.trim().to_string()).filter(|base| !base.is_empty());
    let sees_raw = call.caller.may(Scope::Admin);
    let ask = Ask { how, dialect: call.caller.dialect(), raw, base, replace, sees_raw };
    Reply { file: Some(Box::new(ask)), ..Reply::of(Vec::new()) }
}

/// The answer to a call that went well.
pub fn answer(ask: &Ask, seen: &Seen, around: &Around<'_>) -> Vec<u8> {
    let v4 = ask.dialect == Dialect::V4;
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

fn got(o: &mut Writer<'_>, ask: &Ask, seen: &Seen, around: &Around<'_>) {
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
    if ask.dialect == Dialect::V4 {
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

/// Every setting with its value and where it comes from, as a field of an open object. Secrets are fingerprints already.
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

/// A text that the gateway would not start with.
pub fn invalid(ask: &Ask, problems: &[Problem]) -> Failure {
    let mut message = "invalid config".to_string();
    if ask.dialect == Dialect::V4 {
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

/// Problems that the message itself names (protocol 4).
const SAID: usize = 3;

/// Is the client's knowledge of the file what the file is? Only what protocol 4's pages keep for their looks may be patched blindly.
pub fn check_base(ask: &Ask, hash: &str) -> Result<(), Failure> {
    match ask.base.as_deref() {
        Some(base) if base == hash => Ok(()),
        Some(_) => Err(Failure::invalid(CHANGED)),
        None if ask.how == How::Patch && ask.dialect == Dialect::V4 => Ok(()),
        None => Err(Failure::invalid(NO_BASE)),
    }
}

/// May a patch change these paths, and take entries from these lists?
pub fn check_patch(ask: &Ask, exists: bool, paths: &[String], lost: &[String]) -> Result<(), Failure> {
    if ask.how != How::Patch || ask.dialect != Dialect::V4 {
        return Ok(());
    }
    let looks = |path: &String| path == "ui.prefs" || path.starts_with("ui.prefs.");
    if exists && ask.base.is_none() && !paths.iter().all(looks) {
        return Err(Failure::invalid(NO_BASE));
    }
    let lost: Vec<&str> = lost.iter().filter(|path| !ask.replace.contains(path)).map(String::as_str).collect();
    if lost.is_empty() {
        return Ok(());
    }
    let paths = lost.join(", ");
    let what = ["config.patch would remove entries from array path(s): ", &paths, LOSS].concat();
    Err(Failure::invalid(what))
}

/// The client knows an older text.
pub const CHANGED: &str = "config changed since last load; re-run config.get and retry";
const NO_BASE: &str = "config base hash required; re-run config.get and retry";
const LOSS: &str = ". Pass replacePaths with the exact path(s) when this is intentional, or use config.apply for full-config replacement.";
