//! Tokens and passwords: where they come from, in which order, and what is no secret at all.
//!
//! Flag, `GATELET_*`, `OPENCLAW_GATEWAY_*` (each variable or the file named by its `_FILE` twin), configuration. The first that
//! says something is it; if it cannot be read that is an error, and the next is not tried. No message shows a secret.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::parse::Found;
use super::print::HIDDEN;
use super::{paths, Env, Problems, Source, Sourced};
use crate::gate::ids::Hex;
use crate::gate::limits;

/// A secret text. It prints as `...`; comparing it is up to code that does so in constant time.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes the text as it is.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The first 8 hexadecimal digits of its SHA-256, for people to tell secrets apart; `hidden` where they would be enough to
    /// find it by trying.
    pub fn fingerprint(&self) -> String {
        if !self.has_fingerprint() {
            return NO_FINGERPRINT.to_string();
        }
        Hex(&Sha256::digest(&self.0)[..4]).to_string()
    }

    /// Is it long enough for that?
    pub fn has_fingerprint(&self) -> bool {
        self.0.len() >= limits::FINGERPRINTED
    }
}

/// What is shown of a secret that somebody may have thought of.
pub(super) const NO_FINGERPRINT: &str = "hidden";

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

/// The places of one secret.
pub(super) struct Places {
    /// `token` or `password`.
    pub what: &'static str,
    flag: &'static str,
    /// Variable and its twin for a file.
    vars: [(&'static str, &'static str); 2],
    /// Key below `gateway`.
    pub key: &'static str,
}

pub(super) const TOKEN: Places = Places {
    what: "token",
    flag: "--token",
    vars: [("GATELET_TOKEN", "GATELET_TOKEN_FILE"), ("OPENCLAW_GATEWAY_TOKEN", "OPENCLAW_GATEWAY_TOKEN_FILE")],
    key: "auth.token",
};

pub(super) const PASSWORD: Places = Places {
    what: "password",
    flag: "--password",
    vars: [
        ("GATELET_PASSWORD", "GATELET_PASSWORD_FILE"),
        ("OPENCLAW_GATEWAY_PASSWORD", "OPENCLAW_GATEWAY_PASSWORD_FILE"),
    ],
    key: "auth.password",
};

/// Texts from examples and scripts that people forgot to replace, what stands for a secret that is not shown (both protocol 4), and
/// what empty variables become.
const PLACEHOLDERS: [&str; 6] = [
    "change-me-to-a-long-random-token",
    "change-me-now",
    "change-me-to-a-strong-password",
    HIDDEN,
    "undefined",
    "null",
];

/// Looks for one secret.
pub(super) struct Search<'a> {
    pub env: &'a dyn Env,
    pub found: &'a Found,
    pub problems: &'a mut Problems,
    /// Can others than this machine connect? Then an empty secret is an error, and a short token a warning.
    pub exposed: bool,
}

impl Search<'_> {
    /// The secret in force and its source.
    pub fn find(&mut self, places: &Places, flag: Option<&Secret>) -> Option<Sourced<Secret>> {
        if let Some(secret) = flag {
            if !self.is_empty(places, 0, places.flag, secret.expose()) {
                return self.take(places, Source::Flag(places.flag), secret.expose().to_string());
            }
        }
        for (var, file_var) in places.vars {
            let text = self.env.var(var);
            let file = paths::said(self.env, file_var);
            match (text.filter(|text| !(text.trim().is_empty() && file.is_some())), file) {
                (Some(_), Some(_)) => {
                    let message = format!("{var} and {file_var} are both set");
                    self.problems.error(0, var, message, "unset one of them");
                    return None;
                }
                (None, Some(file)) => return self.file(places, file_var, PathBuf::from(file)),
                (Some(text), None) if !self.is_empty(places, 0, var, &text) => {
                    return self.take(places, Source::Env(var), text);
                }
                _ => {}
            }
        }
        let (text, line) = self.found.text(places.key)?;
        let text = text.to_string();
        if self.is_empty(places, line, &format!("gateway.{}", places.key), &text) {
            return None;
        }
        self.take(places, Source::Config(line), text)
    }

    /// The token that an earlier start made; `None` if there is none yet.
    pub fn state_file(&mut self, path: PathBuf) -> Option<Sourced<Secret>> {
        if !self.env.exists(&path) {
            return None;
        }
        let shown = path.display().to_string();
        let text = self.read(&format!("the token file {shown}"), &path, "")?;
        self.take(&TOKEN, Source::StateFile(path), text)
    }

    /// The secret in the file that a key of the configuration names.
    pub fn config_file(&mut self, key: &str, line: u32, path: &Path) -> Option<Secret> {
        let text = self.read(&format!("{key} {}", path.display()), path, "")?;
        check(key, &text).map_err(|(message, hint)| self.problems.error(line, key, message, hint)).ok()?;
        Some(Secret(text))
    }

    fn file(&mut self, places: &Places, var: &'static str, path: PathBuf) -> Option<Sourced<Secret>> {
        let text = self.read(&format!("{var} {}", path.display()), &path, var)?;
        self.take(places, Source::EnvFile(var, path), text)
    }

    fn read(&mut self, shown: &str, path: &Path, about: &str) -> Option<String> {
        let bytes = match self.env.read(path, limits::SECRET_FILE_LEN) {
            Ok(bytes) => bytes,
            Err(error) => {
                let hint = "make the file readable for this user, or name another source";
                self.problems.error(0, about, format!("cannot read {shown}: {error}"), hint);
                return None;
            }
        };
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r']);
        if text.trim().is_empty() {
            self.problems.error(0, about, format!("{shown} is empty"), "write the secret into it, or remove it");
            return None;
        }
        self.check_mode(shown, path, about);
        Some(text.to_string())
    }

    /// Container engines mount secrets readable for all below /run/secrets, where nobody else is.
    fn check_mode(&mut self, shown: &str, path: &Path, about: &str) {
        let open = self.env.mode(path).is_some_and(|mode| mode & 0o004 != 0);
        if open && !path.starts_with("/run/secrets") {
            let hint = format!("run chmod 600 {}", path.display());
            self.problems.warning(0, about, format!("everybody on this machine can read {shown}"), hint);
        }
    }

    fn is_empty(&mut self, places: &Places, line: u32, name: &str, text: &str) -> bool {
        let empty = text.trim().is_empty();
        if empty && self.exposed {
            let hint = format!("give it a {}, or leave it out", places.what);
            self.problems.error(line, name, format!("{name} is empty, and others can reach this gateway"), hint);
        } else if empty {
            self.problems.warning(line, name, format!("{name} is empty and counts as not set"), "");
        }
        empty
    }

    fn take(&mut self, places: &Places, source: Source, text: String) -> Option<Sourced<Secret>> {
        let (name, line) = match &source {
            Source::Config(line) => (format!("gateway.{}", places.key), *line),
            other => (other.to_string(), 0),
        };
        if let Err((message, hint)) = check(&name, &text) {
            self.problems.error(line, &name, message, hint);
            return None;
        }
        if self.exposed && places.what == TOKEN.what && text.chars().count() < limits::TOKEN_SHORT {
            let message = format!("{name} is short, and others can reach this gateway");
            self.problems.warning(line, &name, message, format!("use {} characters or more", limits::TOKEN_SHORT));
        }
        Some(Sourced { value: Secret(text), source })
    }
}

/// What is wrong with the secret, and what to do.
fn check(name: &str, text: &str) -> Result<(), (String, String)> {
    let generate = "use a long random text, for example from openssl rand -hex 32";
    if PLACEHOLDERS.iter().any(|placeholder| text.trim().eq_ignore_ascii_case(placeholder)) {
        return Err((format!("{name} is a placeholder, not a secret"), generate.to_string()));
    }
    if text.len() > limits::SECRET_LEN {
        return Err((format!("{name} is longer than {} bytes", limits::SECRET_LEN), generate.to_string()));
    }
    if text.contains(|char: char| char.is_control() || char == '\u{fffd}') {
        let hint = "it must be one line of UTF-8 text".to_string();
        return Err((format!("{name} holds characters that no client can send"), hint));
    }
    Ok(())
}
