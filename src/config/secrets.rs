//! Finds tokens and passwords, and rejects unusable ones.
//!
//! Order of the sources: flag, `GATELET_*`, `OPENCLAW_GATEWAY_*` (each as a variable, or as a file
//! named by the variable with the suffix `_FILE`, not both), configuration. The first source that
//! is set is used. If it is unreadable or invalid, that is an error and later sources are not
//! tried; a blank value is reported and skipped. Messages never contain a secret.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::parse::FileValues;
use super::print::HIDDEN;
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
    /// `token` or `password`.
    noun: &'static str,
    flag: &'static str,
    /// Variables, each with the variable that names a file instead.
    vars: [(&'static str, &'static str); 2],
    /// Key below `gateway`.
    pub key: &'static str,
}

pub(super) const TOKEN: SecretSources = SecretSources {
    noun: "token",
    flag: "--token",
    vars: [
        ("GATELET_TOKEN", "GATELET_TOKEN_FILE"),
        ("OPENCLAW_GATEWAY_TOKEN", "OPENCLAW_GATEWAY_TOKEN_FILE"),
    ],
    key: "auth.token",
};

pub(super) const PASSWORD: SecretSources = SecretSources {
    noun: "password",
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
    /// Other machines can connect. An empty secret is then an error, and a short token causes a
    /// warning.
    pub exposed: bool,
}

impl SecretSearch<'_> {
    /// Returns the secret in force and its source.
    pub fn find(
        &mut self,
        sources: &SecretSources,
        flag: Option<&Secret>,
    ) -> Option<Sourced<Secret>> {
        if let Some(secret) = flag {
            if !self.check_blank(sources, 0, sources.flag, secret.expose()) {
                return self.accept(
                    sources,
                    Source::Flag(sources.flag),
                    secret.expose().to_string(),
                );
            }
        }
        for (var, file_var) in sources.vars {
            let text = self.env.var(var);
            let file = paths::non_empty_var(self.env, file_var);
            match (text.filter(|text| !(text.trim().is_empty() && file.is_some())), file) {
                (Some(_), Some(_)) => {
                    let message = format!("{var} and {file_var} are both set");
                    self.problems.error(0, var, message, "unset one of them");
                    return None;
                }
                (None, Some(file)) => {
                    return self.read_variable_file(sources, file_var, PathBuf::from(file))
                }
                (Some(text), None) if !self.check_blank(sources, 0, var, &text) => {
                    return self.accept(sources, Source::Env(var), text);
                }
                _ => {}
            }
        }
        let (text, line) = self.file_values.text(sources.key)?;
        let text = text.to_string();
        if self.check_blank(sources, line, &format!("gateway.{}", sources.key), &text) {
            return None;
        }
        self.accept(sources, Source::Config(line), text)
    }

    /// Reads the token that an earlier start created; `None` if there is none.
    pub fn read_state_file(&mut self, path: PathBuf) -> Option<Sourced<Secret>> {
        if !self.env.exists(&path) {
            return None;
        }
        let shown = path.display().to_string();
        let text = self.read(&format!("the token file {shown}"), &path, "")?;
        self.accept(&TOKEN, Source::StateFile(path), text)
    }

    /// Reads the secret from the file that the configuration key `key` names.
    pub fn read_config_file(&mut self, key: &str, line: u32, path: &Path) -> Option<Secret> {
        let text = self.read(&format!("{key} {}", path.display()), path, "")?;
        validate(key, &text)
            .map_err(|(message, hint)| self.problems.error(line, key, message, hint))
            .ok()?;
        Some(Secret(text))
    }

    fn read_variable_file(
        &mut self,
        sources: &SecretSources,
        var: &'static str,
        path: PathBuf,
    ) -> Option<Sourced<Secret>> {
        let text = self.read(&format!("{var} {}", path.display()), &path, var)?;
        self.accept(sources, Source::EnvFile(var, path), text)
    }

    fn read(&mut self, shown: &str, path: &Path, about: &str) -> Option<String> {
        let bytes = match self.env.read(path, limits::SECRET_FILE_LEN) {
            Ok(bytes) => bytes,
            Err(error) => {
                let hint = "make the file readable for this user, or use another source";
                self.problems.error(0, about, format!("cannot read {shown}: {error}"), hint);
                return None;
            }
        };
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r']);
        if text.trim().is_empty() {
            let hint = "write the secret into it, or remove it";
            self.problems.error(0, about, format!("{shown} is empty"), hint);
            return None;
        }
        self.check_mode(shown, path, about);
        Some(text.to_string())
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

    /// Returns whether the text is blank, and reports that it is: as an error if other machines can
    /// connect, else as a warning.
    fn check_blank(&mut self, sources: &SecretSources, line: u32, name: &str, text: &str) -> bool {
        let is_blank = text.trim().is_empty();
        if is_blank && self.exposed {
            let message = format!("{name} is empty, and other machines can reach this gateway");
            let hint = format!("set a {}, or remove it", sources.noun);
            self.problems.error(line, name, message, hint);
        } else if is_blank {
            self.problems.warning(line, name, format!("{name} is empty and treated as unset"), "");
        }
        is_blank
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
        if let Err((message, hint)) = validate(&name, &text) {
            self.problems.error(line, &name, message, hint);
            return None;
        }
        if self.exposed && sources.noun == TOKEN.noun && text.chars().count() < limits::TOKEN_SHORT
        {
            let message = format!("{name} is short, and other machines can reach this gateway");
            let hint = format!("use {} characters or more", limits::TOKEN_SHORT);
            self.problems.warning(line, &name, message, hint);
        }
        Some(Sourced { value: Secret(text), source })
    }
}

/// Checks that the text can be used as a secret. The error is a message and a hint.
fn validate(name: &str, text: &str) -> Result<(), (String, String)> {
    let generate = "use a long random text, for example from openssl rand -hex 32";
    if PLACEHOLDERS.iter().any(|placeholder| text.trim().eq_ignore_ascii_case(placeholder)) {
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
