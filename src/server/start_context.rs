//! Start context of this gateway: the values that, together with a configuration, give its
//! runtime configuration and status, at the start and after each change of the configuration.

use super::addresses::Addresses;
use super::error::StartError;
use super::os::clock::{Entropy, SystemEntropy};
use super::runtime_config::{RuntimeConfig, SecretDigest};
use crate::config::{
    self, AuthMode, Bind, Config, Overrides, Paths, Secret, Setting, Source, Sourced,
};
use crate::rpc::Status;
use crate::store;
use crate::store::tokens::{self, TableKey};

/// Values that do not change while the gateway runs.
pub struct StartContext {
    pub args: Overrides,
    pub paths: Paths,
    pub listening: Vec<String>,
    pub bind: Bind,
    pub port: u16,
    pub key: TableKey,
    /// Random id, different in each run.
    pub boot_id: String,
    pub machine: String,
    pub command: String,
    /// See [`RuntimeConfig::program`].
    pub program: String,
    /// Warnings in addition to those of the configuration.
    pub warnings: Vec<String>,
}

impl StartContext {
    /// Builds the runtime configuration for this configuration.
    pub fn runtime_config(
        &self,
        config: &Config,
        secret: Option<&Sourced<Secret>>,
    ) -> RuntimeConfig {
        RuntimeConfig {
            secret: secret.map(|secret| SecretDigest::of(secret.value.expose())),
            control: SecretDigest::of(tokens::control_token(&self.key).as_str()),
            key: self.key.clone(),
            config_path: self.paths.config.value.display().to_string(),
            state_dir: self.paths.state_dir.value.display().to_string(),
            boot_id: self.boot_id.clone(),
            gateway_id: tokens::gateway_id(&self.key),
            program: self.program.clone(),
            ..RuntimeConfig::of(config, self.machine.clone(), self.command.clone())
        }
    }

    /// Returns the settings in force, for a configuration with the settings `new`. Those that only
    /// a start changes are kept from `old`, which is empty at the start.
    pub fn in_force(
        &self,
        new: &[Setting],
        old: &[Setting],
        secret: Option<&Sourced<Secret>>,
    ) -> Vec<Setting> {
        let mut settings = new.to_vec();
        let created = secret.filter(|secret| matches!(secret.source, Source::StateFile(_)));
        for setting in &mut settings {
            let kept = old.iter().find(|old| old.path == setting.path);
            match (setting.path.as_str(), kept, created) {
                ("gateway.port" | "gateway.bind", Some(kept), _) => setting.clone_from(kept),
                ("gateway.port", None, _) => setting.value = self.port.to_string(),
                ("gateway.auth.token", _, Some(created)) => {
                    setting.value = config::shown_secret(&created.value);
                    setting.source = created.source.clone();
                }
                _ => {}
            }
        }
        settings
    }

    /// Builds the status for this configuration.
    pub fn status(
        &self,
        config: &Config,
        secret: Option<&Sourced<Secret>>,
        mut warnings: Vec<String>,
    ) -> Status {
        warnings.extend_from_slice(&self.warnings);
        let addresses = Addresses::of(config, (self.bind, self.port), &self.paths, &self.machine);
        let url = match &config.public_origin {
            Some(_) => addresses.far[0].clone(),
            None => addresses.near.clone(),
        };
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            host: self.machine.clone(),
            listening: self.listening.clone(),
            pages: addresses.pages(config),
            url,
            urls: addresses.far,
            near_url: addresses.near,
            page: config.control_ui.enabled.then_some(match config.control_ui.root {
                Some(_) => "/gatelet/",
                None => "/",
            }),
            auth_mode: config.auth.mode.name(),
            pairing_mode: config.pairing.mode.name(),
            secret_source: secret.map(|secret| secret.source.to_string()).unwrap_or_default(),
            secret_fingerprint: secret.map(|secret| secret.value.fingerprint()).unwrap_or_default(),
            warnings,
            ..Status::default()
        }
    }
}

/// Returns the configured secret, or the token in the state directory, which is created at the
/// first start and never again.
pub fn shared_secret(
    config: &Config,
    paths: &Paths,
) -> Result<Option<Sourced<Secret>>, StartError> {
    if config.auth.secret.is_some() || config.auth.mode != AuthMode::Token {
        return Ok(config.auth.secret.clone());
    }
    Ok(Some(make_token(paths)?))
}

fn make_token(paths: &Paths) -> Result<Sourced<Secret>, StartError> {
    let path = paths.token_file();
    let token =
        crate::wire::base64::encode_url(&(&mut SystemEntropy as &mut dyn Entropy).bytes::<32>());
    store::write_private(&path, token.as_bytes())
        .map_err(|error| format!("cannot write the token to {}: {error}", path.display()))?;
    Ok(Sourced { value: Secret::new(token), source: Source::StateFile(path) })
}
