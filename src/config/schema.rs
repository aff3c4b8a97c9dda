//! Schema of the `gateway` section: types and defaults of all keys, and the known keys that have no
//! effect here.
//!
//! This table is used for parsing, defaults, suggestions ("did you mean") and `gatelet config
//! print`. Paths are relative to `gateway`. The known keys are gatelet's own and those of the last
//! OpenClaw version of each month from 2026.1 to 2026.9 (`tests/openclaw-keys.py` lists them).

use crate::gate::limits;

/// A key of the configuration.
pub struct Key {
    /// Path below `gateway`.
    pub path: &'static str,
    pub kind: Kind,
}

/// Type of a key, with its default.
#[derive(Clone, Copy)]
pub enum Kind {
    /// An object whose keys are in the table.
    Section,
    /// A boolean with its default.
    Flag(bool),
    /// A whole number from `min` to `max`.
    Number { min: u32, max: u32, default: u32 },
    /// A string.
    Text,
    /// One of several strings. The first is the default, unless the code that reads the key
    /// differs.
    Word(&'static [&'static str]),
    /// A string that is never displayed, or a reference to an environment variable.
    Secret,
    /// A list of strings.
    List,
    /// A key of OpenClaw that has no effect here; its value is not checked.
    NotUsed,
}

/// Returns the key with that path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Returns the known key nearest to an unknown path: the key whose last segment is nearest, and
/// among several of these the key whose whole path is nearest.
pub(super) fn nearest_key(path: &str) -> Option<&'static str> {
    let path = path.to_ascii_lowercase();
    let name = last(&path);
    KEYS.iter()
        .filter_map(|key| {
            let known = key.path.to_ascii_lowercase();
            let distance = name_distance(name, last(&known))?;
            Some(((distance, strsim::osa_distance(&path, &known)), key.path))
        })
        .min_by_key(|(score, _)| *score)
        .map(|(_, path)| path)
}

/// Returns the name nearest to `given`, or `None` if no name is similar enough to be meant.
pub fn nearest<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_ascii_lowercase();
    names
        .filter_map(|name| Some((name_distance(&given, name)?, name)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Returns the edit distance of two names, or `None` if they are too different to be a typing
/// error. A name of at least four letters is also near to every name that it begins.
fn name_distance(given: &str, known: &str) -> Option<usize> {
    if given.len() > limits::WORD_LEN {
        return None;
    }
    let distance = strsim::osa_distance(given, known);
    let greatest = (known.len() / 3).max(1);
    let is_prefix = |short: &str, long: &str| short.len() >= 4 && long.starts_with(short);
    if distance <= greatest {
        Some(distance)
    } else {
        (is_prefix(given, known) || is_prefix(known, given)).then_some(greatest)
    }
}

pub(super) const AUTH_MODES: &[&str] = &["none", "token", "password", "trusted-proxy"];
pub(super) const BINDS: &[&str] = &["loopback", "lan", "tailnet", "auto", "custom"];

const fn key(path: &'static str, kind: Kind) -> Key {
    Key { path, kind }
}

const fn number(path: &'static str, min: u32, max: u32, default: u32) -> Key {
    Key { path, kind: Kind::Number { min, max, default } }
}

use Kind::{Flag, List, NotUsed, Secret, Section, Text, Word};

const DAY_MS: u32 = 24 * 60 * 60 * 1000;

/// All keys, in the order of `gatelet config print`.
pub const KEYS: &[Key] = &[
    number("port", 1, 65535, 18789),
    key("mode", Word(&["local", "remote"])),
    key("bind", Text),
    key("customBindHost", Text),
    key("publicOrigin", Text),
    key("trustedProxies", List),
    key("allowRealIpFallback", Flag(false)),
    key("auth", Section),
    key("auth.mode", Word(AUTH_MODES)),
    key("auth.token", Secret),
    key("auth.password", Secret),
    key("auth.allowTailscale", Flag(false)),
    key("auth.skipPairingForTokenAuth", Flag(true)),
    key("auth.strictClock", Flag(false)),
    key("auth.trustedProxy", Section),
    key("auth.trustedProxy.userHeader", Text),
    key("auth.trustedProxy.requiredHeaders", List),
    key("auth.trustedProxy.allowUsers", List),
    key("auth.trustedProxy.allowLoopback", Flag(false)),
    key("auth.rateLimit", Section),
    number("auth.rateLimit.maxAttempts", 1, 1000, limits::RATE_LIMIT_TRIES),
    number("auth.rateLimit.windowMs", 1000, DAY_MS, limits::RATE_LIMIT_WINDOW_MS as u32),
    number("auth.rateLimit.lockoutMs", 1000, DAY_MS, limits::RATE_LIMIT_LOCK_MS as u32),
    key("pairing", Section),
    key("pairing.mode", Word(&["token", "strict"])),
    key("pairing.authorizedKeys", List),
    number("pairing.capacity", 1, limits::CAPACITY_MAX as u32, limits::CAPACITY_DEFAULT as u32),
    key("controlUi", Section),
    key("controlUi.enabled", Flag(true)),
    key("controlUi.basePath", Text),
    key("controlUi.root", Text),
    key("controlUi.allowedOrigins", List),
    key("controlUi.allowInsecureAuth", Flag(false)),
    key("controlUi.dangerouslyDisableDeviceAuth", Flag(false)),
    key("controlUi.dangerouslyAllowHostHeaderOriginFallback", Flag(false)),
    key("nodes", Section),
    key("nodes.pairing", Section),
    key("nodes.pairing.autoApproveLocal", Flag(false)),
    key("nodes.pairing.autoApproveCidrs", List),
    key("nodes.commands", Section),
    key("nodes.commands.allow", List),
    key("nodes.commands.deny", List),
    key("nodes.allowCommands", List),
    key("nodes.denyCommands", List),
    key("tailscale", Section),
    key("tailscale.mode", Word(&["off", "serve", "funnel"])),
    key("tailscale.resetOnExit", Flag(false)),
    key("upstream", Section),
    key("upstream.url", Text),
    key("upstream.token", Secret),
    key("upstream.tokenFile", Text),
    key("tls", Section),
    key("tls.enabled", Flag(false)),
    key("tls.autoGenerate", NotUsed),
    key("tls.certPath", NotUsed),
    key("tls.keyPath", NotUsed),
    key("tls.caPath", NotUsed),
    key("remote", NotUsed),
    key("portals", NotUsed),
    key("roles", NotUsed),
    key("tools", NotUsed),
    key("reload", NotUsed),
    key("http", NotUsed),
    key("push", NotUsed),
    key("terminal", NotUsed),
    key("cliAgents", NotUsed),
    key("webchat", NotUsed),
    key("handshakeTimeoutMs", NotUsed),
    key("channelHealthCheckMinutes", NotUsed),
    key("channelStaleEventThresholdMinutes", NotUsed),
    key("channelMaxRestartsPerHour", NotUsed),
    key("auth.identityScopes", NotUsed),
    key("auth.rateLimit.exemptLoopback", NotUsed),
    key("auth.trustedProxy.cloudflareAccessOidc", NotUsed),
    key("auth.trustedProxy.deviceAutoApprove", NotUsed),
    key("controlUi.embedSandbox", NotUsed),
    key("controlUi.allowExternalEmbedUrls", NotUsed),
    key("controlUi.automaticallyFetchFavicons", NotUsed),
    key("controlUi.communityInvite", NotUsed),
    key("controlUi.sessionObserver", NotUsed),
    key("controlUi.environment", NotUsed),
    key("controlUi.github", NotUsed),
    key("controlUi.experimental", NotUsed),
    key("controlUi.chatMessageMaxWidth", NotUsed),
    key("controlUi.toolTitles", NotUsed),
    key("nodes.browser", NotUsed),
    key("nodes.pairing.sshVerify", NotUsed),
    key("nodes.pluginTools", NotUsed),
    key("nodes.allowSkills", NotUsed),
    key("tailscale.preserveFunnel", NotUsed),
    key("tailscale.serviceName", NotUsed),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_listed_once_under_a_known_section() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(
                KEYS[..at].iter().all(|other| other.path != key.path),
                "{} is listed twice",
                key.path
            );
            assert!(key.path.len() <= limits::WORD_LEN);
            if let Some((section, _)) = key.path.rsplit_once('.') {
                assert!(find(section).is_some_and(|key| matches!(key.kind, Section)), "{section}");
            }
        }
    }

    #[test]
    fn nearest_key_is_found_by_last_segment_or_typo() {
        for (given, meant) in [
            ("auth.allowInsecureAuth", "controlUi.allowInsecureAuth"),
            ("auth.trustedProxies", "trustedProxies"),
            ("auth.tokn", "auth.token"),
            ("token", "auth.token"),
            ("auth.mod", "auth.mode"),
            ("pairing.mod", "pairing.mode"),
            ("controlUI", "controlUi"),
            ("controlUi.allowedorigins", "controlUi.allowedOrigins"),
            ("trustedProxy", "auth.trustedProxy"),
            ("trustedproxie", "trustedProxies"),
            ("skipPairing", "auth.skipPairingForTokenAuth"),
            ("authorizedKeys", "pairing.authorizedKeys"),
            ("nodes.autoApproveCIDRs", "nodes.pairing.autoApproveCidrs"),
            ("prot", "port"),
        ] {
            assert_eq!(nearest_key(given), Some(meant), "{given}");
        }
    }

    #[test]
    fn nearest_name_is_similar_or_begins_alike() {
        let names = ["port", "state-dir", "token", "devices"];
        for (given, expected) in [
            ("prot", Some("port")),
            ("pot", Some("port")),
            ("state", Some("state-dir")),
            ("devi", Some("devices")),
            ("DEVICE", Some("devices")),
            ("tokens", Some("token")),
            ("to", None),
            ("", None),
            ("zzzz", None),
        ] {
            assert_eq!(nearest(given, names.into_iter()), expected, "{given}");
        }
    }

    #[test]
    fn dissimilar_names_have_no_nearest_key() {
        for given in ["banana", "x", "", &"a".repeat(65), &"token".repeat(40)] {
            assert_eq!(nearest_key(given), None, "{given}");
        }
    }

    #[test]
    fn defaults_are_within_their_bounds() {
        for key in KEYS {
            if let Kind::Number { min, max, default } = key.kind {
                assert!((min..=max).contains(&default), "{}", key.path);
            }
        }
        assert_eq!(u64::from(limits::RATE_LIMIT_WINDOW_MS as u32), limits::RATE_LIMIT_WINDOW_MS);
        assert_eq!(u64::from(limits::RATE_LIMIT_LOCK_MS as u32), limits::RATE_LIMIT_LOCK_MS);
    }
}
