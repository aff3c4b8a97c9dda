//! Finds tokens and passwords, and rejects unusable ones.
//!
//! Order of the sources: flag, `GATELET_*`, `OPENCLAW_GATEWAY_*` (each as a variable, or as a file
//! named by the variable with the suffix `_FILE`, not both), configuration. The first source that
//! is set is used. If it is unreadable or invalid, that is an error and later sources are not
//! tried; a blank value or file is not set, with a warning. The token file in the state directory
//! is no setting: if it is blank, it is damaged. Messages never contain a secret.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::parse::FileValues;
use super::print::HIDDEN;
use super::values::trimmed;
use super::{paths, Env, Problems, Source, Sourced};
use crate::gate::ids::Hex;
use crate::gate::limits;

/// A secret text. Its `Debug` output is `...`. It has no `==`: secrets are compared in constant
/// time.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the first 8 hexadecimal digits of the secret's SHA-256, which identify it in
    /// messages. Returns `hidden` for a short secret, which could be found from the digits by
    /// trial.
    pub fn fingerprint(&self) -> String {
        if !self.has_fingerprint() {
            return NO_FINGERPRINT.to_string();
        }
        Hex(&Sha256::digest(&self.0)[..4]).to_string()
    }

    /// Returns whether the secret is long enough to show a fingerprint: [`limits::FINGERPRINTED`]
    /// bytes.
    pub fn has_fingerprint(&self) -> bool {
        self.0.len() >= limits::FINGERPRINTED
    }
}

/// Shown instead of the fingerprint of a short secret.
pub(super) const NO_FINGERPRINT: &str = "hidden";

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

/// Sources of one secret.
pub(super) struct SecretSources {
    flag: &'static str,
    /// Variables, each with the variable that names a file instead.
    vars: [(&'static str, &'static str); 2],
    /// Key below `gateway`.
    pub key: &'static str,
}

pub(super) const TOKEN: SecretSources = SecretSources {
    flag: "--token",
    vars: [
        ("GATELET_TOKEN", "GATELET_TOKEN_FILE"),
        ("OPENCLAW_GATEWAY_TOKEN", "OPENCLAW_GATEWAY_TOKEN_FILE"),
    ],
    key: "auth.token",
};

pub(super) const PASSWORD: SecretSources = SecretSources {
    flag: "--password",
    vars: [
        ("GATELET_PASSWORD", "GATELET_PASSWORD_FILE"),
        ("OPENCLAW_GATEWAY_PASSWORD", "OPENCLAW_GATEWAY_PASSWORD_FILE"),
    ],
    key: "auth.password",
};

/// Texts that are not secrets: examples from OpenClaw's documentation and the placeholder for
/// redacted values (both protocol 4), and results of unset variables in scripts.
const PLACEHOLDERS: [&str; 6] = [
    "change-me-to-a-long-random-token",
    "change-me-now",
    "change-me-to-a-strong-password",
    HIDDEN,
    "undefined",
    "null",
];

/// Search for one secret.
pub(super) struct SecretSearch<'a> {
    pub env: &'a dyn Env,
    pub file_values: &'a FileValues,
    pub problems: &'a mut Problems,
    /// Other machines can connect. A short token then causes a warning.
    pub exposed: bool,
}

impl SecretSearch<'_> {
    /// Returns the secret in force and its source.
    pub fn find(
        &mut self,
        sources: &SecretSources,
        flag: Option<&Secret>,
    ) -> Option<Sourced<Secret>> {
        if let Some(raw) = flag {
            if let Some(text) = self.value(0, sources.flag, raw.expose()) {
                return self.accept(sources, Source::Flag(sources.flag), text);
            }
        }
        for (var, file_var) in sources.vars {
            let raw = self.env.var(var);
            let file =
                self.env.var(file_var).and_then(|raw| self.problems.value(0, file_var, &raw));
            match (raw.filter(|raw| file.is_none() || !trimmed(raw).is_empty()), file) {
                (Some(_), Some(_)) => {
                    let message = format!("{var} and {file_var} are both set");
                    self.problems.error(0, var, message, "unset one of them");
                    return None;
                }
                (None, Some(file)) => {
                    let path = paths::home_path(&file, self.env);
                    let raw =
                        self.read(&format!("{file_var} {}", path.display()), &path, file_var)?;
                    let source = Source::EnvFile(file_var, path);
                    if let Some(text) = self.value(0, &source.to_string(), &raw) {
                        return self.accept(sources, source, text);
                    }
                }
                (Some(raw), None) => {
                    if let Some(text) = self.value(0, var, &raw) {
                        return self.accept(sources, Source::Env(var), text);
                    }
                }
                (None, None) => {}
            }
        }
        let (text, line) = self.file_values.text(sources.key)?;
        self.accept(sources, Source::Config(line), text.to_string())
    }

    /// Reads the token that an earlier start created; `None` if there is none.
    pub fn read_state_file(&mut self, path: PathBuf) -> Option<Sourced<Secret>> {
        if !self.env.exists(&path) {
            return None;
        }
        let shown = format!("the token file {}", path.display());
        let raw = self.read(&shown, &path, "")?;
        let Some(text) = self.problems.value(0, &shown, &raw) else {
            let hint = "write the secret into it, or remove it";
            self.problems.error(0, "", format!("{shown} is empty"), hint);
            return None;
        };
        self.accept(&TOKEN, Source::StateFile(path), text)
    }

    /// Reads the secret from the file that the configuration key `key` names.
    pub fn read_config_file(&mut self, key: &str, line: u32, path: &Path) -> Option<Secret> {
        let shown = format!("{key} {}", path.display());
        let raw = self.read(&shown, path, "")?;
        let text = self.value(line, &shown, &raw)?;
        self.check(key, line, text)
    }

    /// Returns the secret, or `None` after reporting an error if it is invalid.
    pub fn check(&mut self, name: &str, line: u32, text: String) -> Option<Secret> {
        validate(name, &text)
            .map_err(|(message, hint)| self.problems.error(line, name, message, hint))
            .ok()?;
        Some(Secret(text))
    }

    /// Reads a file as text, without the line end that ends most files.
    fn read(&mut self, shown: &str, path: &Path, about: &str) -> Option<String> {
        let text = match self.env.read(path, limits::SECRET_FILE_LEN) {
            Ok(bytes) => paths::utf8(bytes),
            Err(error) => {
                let hint = "make the file readable for this user, or use another source";
                self.problems.error(0, about, format!("cannot read {shown}: {error}"), hint);
                return None;
            }
        };
        match text {
            Ok(text) => {
                self.check_mode(shown, path, about);
                Some(text.trim_end_matches(['\n', '\r']).to_string())
            }
            Err((_, what)) => {
                self.problems.error(0, about, format!("{shown} {what}"), "save it as UTF-8");
                None
            }
        }
    }

    /// Returns the value, trimmed; a blank value is reported and not set.
    fn value(&mut self, line: u32, name: &str, raw: &str) -> Option<String> {
        let text = self.problems.value(line, name, raw);
        if text.is_none() {
            self.problems.blank(line, name);
        }
        text
    }

    /// Warns if other users can read the file. Files below /run/secrets are exempt: container
    /// engines mount secrets there readable for all users, and the container has no other users.
    fn check_mode(&mut self, shown: &str, path: &Path, about: &str) {
        let open = self.env.mode(path).is_some_and(|mode| mode & 0o004 != 0);
        if open && !path.starts_with("/run/secrets") {
            let hint = format!("run chmod 600 {}", path.display());
            let message = format!("any user of this machine can read {shown}");
            self.problems.warning(0, about, message, hint);
        }
    }

    /// Returns the secret, or `None` after reporting an error if it is invalid.
    fn accept(
        &mut self,
        sources: &SecretSources,
        source: Source,
        text: String,
    ) -> Option<Sourced<Secret>> {
        let (name, line) = match &source {
            Source::Config(line) => (format!("gateway.{}", sources.key), *line),
            other => (other.to_string(), 0),
        };
        let is_short = text.chars().count() < limits::TOKEN_SHORT;
        let value = self.check(&name, line, text)?;
        if self.exposed && sources.key == TOKEN.key && is_short {
            let message = format!("{name} is short, and other machines can reach this gateway");
            let hint = format!("use {} characters or more", limits::TOKEN_SHORT);
            self.problems.warning(line, &name, message, hint);
        }
        Some(Sourced { value, source })
    }
}

/// Checks that the text can be used as a secret. The error is a message and a hint.
fn validate(name: &str, text: &str) -> Result<(), (String, String)> {
    let generate = "use a long random text, for example from openssl rand -hex 32";
    if PLACEHOLDERS.iter().any(|placeholder| text.eq_ignore_ascii_case(placeholder)) {
        return Err((format!("{name} is a placeholder, not a secret"), generate.to_string()));
    }
    if text.len() > limits::SECRET_LEN {
        let message = format!("{name} is longer than {} bytes", limits::SECRET_LEN);
        return Err((message, generate.to_string()));
    }
    if text.contains(|char: char| char.is_control() || char == '\u{fffd}') {
        let hint = "it must be one line of UTF-8 text".to_string();
        return Err((format!("{name} contains characters that no client can send"), hint));
    }
    Ok(())
}
