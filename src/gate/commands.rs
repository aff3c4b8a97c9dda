//! Command policy of a node: which of its commands are offered, which may be invoked, and which
//! scopes an approval takes.
//!
//! A command may be invoked if the node declared it, its platform or the owner's allow list permits
//! it, the owner's deny list does not contain it, and the owner approved it. All four conditions
//! are checked for every invoke, so a configuration change takes effect at once. The rules are
//! those of the node's protocol version; special cases of protocol 4 are documented at the items
//! below. Not checked here: the scopes of the caller (see `rpc`) and whether the node is connected.
//!
//! Invariants: a denied command is neither offered nor invoked, whatever other rules say; no
//! command is invoked that is not declared, offered and approved.

use core::fmt;

use super::commands_known::{find, Platform};
use super::protocol::Protocol;
use super::scopes::{Scope, Scopes};

/// Error message of a rejected invoke. Protocol 4 appends `: ` and the [`Denial`].
pub const NOT_ALLOWED: &str = "node command not allowed";

/// A node as described in its connect request.
#[derive(Clone, Copy, Debug)]
pub struct NodeDescription<'a, D> {
    pub protocol: Protocol,
    /// Platform as sent.
    pub platform: &'a str,
    /// Device family as sent; empty if absent.
    pub family: &'a str,
    /// Whether the client is a node host (client id `node-host`, mode `node`).
    pub is_host: bool,
    /// Whether the node has the capability `talk`.
    ///
    /// Where capabilities need approval, set this for an invoke only if the capability is approved.
    pub talk: bool,
    /// All declared commands, as sent and unfiltered; this module filters them.
    pub declared: &'a [D],
}

/// Command lists of the configuration (`gateway.nodes.commands`).
#[derive(Clone, Copy, Debug)]
pub struct Lists<'a, S> {
    pub allow: &'a [S],
    pub deny: &'a [S],
}

/// Command rules for one node. Cheap to construct; make one for each check.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a, D, S> {
    node: NodeDescription<'a, D>,
    lists: Lists<'a, S>,
    platform: Platform,
}

impl<'a, D: AsRef<str>, S: AsRef<str>> Rules<'a, D, S> {
    pub fn new(node: NodeDescription<'a, D>, lists: Lists<'a, S>) -> Rules<'a, D, S> {
        let platform = match host_platform(&node) {
            Some(found) => found,
            None => platform(node.protocol, node.platform, node.family),
        };
        Rules { node, lists, platform }
    }

    /// Returns the declared commands that are offered to operators and submitted to the owner for
    /// approval, in the order of the node and without duplicates.
    pub fn offered(&self) -> impl Iterator<Item = &'a str> + '_ {
        let declared = self.node.declared;
        let names = declared.iter().map(|name| name.as_ref().trim()).enumerate();
        let first = names
            .filter(|(at, name)| !declared[..*at].iter().any(|one| one.as_ref().trim() == *name));
        first.map(|(_, name)| name).filter(|name| self.offers(name))
    }

    /// Checks whether `command` may be invoked.
    ///
    /// `approved` returns whether the owner approved a command of this node; it returns `true` for
    /// every command where no approval is required. Fails with the first reason that applies, in
    /// the order of [`InvokeRejection`].
    ///
    /// Protocol 4: a command with host access
    /// ([`KnownCommand::is_host`](super::commands_known::KnownCommand::is_host)) on a desktop
    /// platform counts as not allowlisted until it is approved.
    pub fn invoke<'c>(
        &self,
        command: &'c str,
        approved: &dyn Fn(&str) -> bool,
    ) -> Result<(), Denial<'c>>
    where
        'a: 'c,
    {
        let command = command.trim();
        let reason = if command.is_empty() {
            InvokeRejection::Required
        } else if !self.allowlists(command, approved) {
            InvokeRejection::NotAllowlisted
        } else if self.is_declared(command) && approved(command) {
            return Ok(());
        } else if self.counted(approved).next().is_some() {
            InvokeRejection::NotDeclared
        } else {
            InvokeRejection::NothingDeclared
        };
        let why = self.why(reason, command, approved);
        Err(Denial { reason, why, command, platform: self.node.platform })
    }

    /// Returns whether the node offers a command that the owner has not approved.
    ///
    /// If so, approval is requested again and existing approvals stay in force. Only commands are
    /// compared; new capabilities and permissions extend a surface too.
    pub fn widens(&self, approved: &dyn Fn(&str) -> bool) -> bool {
        self.offered().any(|name| !approved(name))
    }

    /// Returns whether the command is permitted by platform or allow list and not denied, given
    /// that it is declared and approved. `command` must be trimmed.
    fn offers(&self, command: &str) -> bool {
        if command.is_empty() || self.is_private(command) || listed(self.lists.deny, command) {
            return false;
        }
        listed(self.lists.allow, command)
            || find(command).is_some_and(|(_, known)| match self.node.protocol {
                Protocol::V3 => known.open_v3(self.platform),
                Protocol::V4 => {
                    known.open_v4(self.platform)
                        && (!known.needs_iphone() || is(self.node.family.trim(), "iphone"))
                }
            })
    }

    /// Returns whether any command, declared or not, is allowlisted.
    ///
    /// Unlike [`Rules::offers`], returns `false` for a command that requires an approval, or the
    /// `talk` capability, while the node lacks it.
    fn allowlists(&self, command: &str, approved: &dyn Fn(&str) -> bool) -> bool {
        if !self.offers(command) {
            return false;
        }
        if self.node.protocol == Protocol::V3 || listed(self.lists.allow, command) {
            return true;
        }
        let known = find(command).map(|(_, known)| known);
        let waits = self.platform.is_desktop() && known.is_some_and(|known| known.is_host());
        let talks = known.is_some_and(|known| known.needs_talk());
        (!waits || (self.is_declared(command) && approved(command)))
            && (!talks || self.talks(approved))
    }

    /// Returns whether the node has the capability `talk` or a command of the `talk.` family that
    /// may be invoked.
    fn talks(&self, approved: &dyn Fn(&str) -> bool) -> bool {
        self.node.talk || self.counted(approved).any(|name| begins(name, "talk."))
    }

    /// Returns whether the command is reserved for a gateway and its own workers; no list enables
    /// it.
    fn is_private(&self, command: &str) -> bool {
        self.node.protocol == Protocol::V4 && command.starts_with("worker.")
    }

    fn is_declared(&self, command: &str) -> bool {
        self.node.declared.iter().any(|name| name.as_ref().trim() == command)
    }

    /// Returns the declared commands that are approved and offered.
    fn counted<'b>(
        &'b self,
        approved: &'b dyn Fn(&str) -> bool,
    ) -> impl Iterator<Item = &'a str> + 'b {
        let declared = self.node.declared.iter().map(|name| name.as_ref().trim());
        declared.filter(move |name| approved(name) && self.offers(name))
    }

    fn why(
        &self,
        reason: InvokeRejection,
        command: &str,
        approved: &dyn Fn(&str) -> bool,
    ) -> CommandRejection {
        if reason == InvokeRejection::Required {
            return CommandRejection::Required;
        }
        if self.is_declared(command) && self.offers(command) && !approved(command) {
            return CommandRejection::Waiting;
        }
        match reason {
            InvokeRejection::NotDeclared => CommandRejection::Unsupported,
            InvokeRejection::NothingDeclared => CommandRejection::NothingDeclared,
            _ if command.starts_with("talk.") => CommandRejection::NoTalk,
            _ if listed(self.lists.deny, command) => CommandRejection::Denied,
            _ if self.offers(command) => CommandRejection::Unsupported,
            _ if find(command).is_some_and(|(_, known)| known.is_dangerous()) => {
                CommandRejection::OptIn
            }
            _ => CommandRejection::Platform,
        }
    }
}

/// Returns the scopes that an approval of these commands takes: pairing; with any command also
/// write; with a command that only an admin may approve, pairing and admin.
///
/// Independent of the protocol version, so that a caller cannot choose the weaker one.
pub fn approval_scopes<'c>(commands: impl IntoIterator<Item = &'c str>) -> Scopes {
    let pairing = Scopes::of(Scope::Pairing);
    let mut needed = pairing;
    for command in commands {
        if find(command).is_some_and(|(_, known)| known.is_admin_approved()) {
            return pairing.with(Scopes::of(Scope::Admin));
        }
        needed = needed.with(Scopes::of(Scope::Write));
    }
    needed
}

/// Returns the scope that a direct `node.invoke` of this command takes. Independent of the protocol
/// version for the same reason as [`approval_scopes`].
pub fn invoke_scope(command: &str) -> Scope {
    match find(command.trim()) {
        Some((_, known)) if known.is_admin_invoked() => Scope::Admin,
        _ => Scope::Write,
    }
}

/// Reason for rejecting an invoke, in the order of the checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InvokeRejection {
    Required,
    NotAllowlisted,
    NotDeclared,
    NothingDeclared,
}

impl InvokeRejection {
    /// Returns the value of `details.reason` in protocol 3 and 4.
    pub const fn word(self) -> &'static str {
        match self {
            InvokeRejection::Required => "command required",
            InvokeRejection::NotAllowlisted => "command not allowlisted",
            InvokeRejection::NotDeclared => "command not declared by node",
            InvokeRejection::NothingDeclared => "node did not declare commands",
        }
    }
}

/// A rejected invoke. `Display` writes the text that protocol 4 sends after [`NOT_ALLOWED`].
///
/// Unlike OpenClaw's text, it says that a command waits for approval whenever approval is the only
/// condition not met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Denial<'c> {
    pub reason: InvokeRejection,
    why: CommandRejection,
    command: &'c str,
    platform: &'c str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum CommandRejection {
    Required,
    Waiting,
    NoTalk,
    Denied,
    OptIn,
    Platform,
    Unsupported,
    NothingDeclared,
}

impl fmt::Display for Denial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Denial { command, platform, .. } = self;
        match self.why {
            CommandRejection::Required => f.write_str(self.reason.word()),
            CommandRejection::NothingDeclared => {
                f.write_str("the node did not declare any supported commands")
            }
            CommandRejection::Unsupported => {
                write!(f, "the node (platform: {platform}) does not support \"{command}\"")
            }
            CommandRejection::Waiting => write!(
                f,
                "\"{command}\" waits for approval; run `gatelet nodes pending`, then \
                 `gatelet nodes approve <requestId>`"
            ),
            CommandRejection::NoTalk => {
                write!(f, "\"{command}\" requires a trusted Talk-capable node")
            }
            CommandRejection::Denied => {
                write!(f, "\"{command}\" is blocked by gateway.nodes.commands.deny")
            }
            CommandRejection::OptIn => {
                write!(f, "\"{command}\" requires explicit gateway.nodes.commands.allow opt-in")
            }
            CommandRejection::Platform => {
                write!(f, "\"{command}\" is not in the allowlist for platform \"{platform}\"")
            }
        }
    }
}

/// Returns the platform that the rules of `protocol` derive from the platform and device family of
/// a node.
///
/// Protocol 3 matches prefixes. Protocol 4 requires platform and family to agree, and uses the
/// family alone only if no platform was sent. Non-ASCII letters match nothing (protocol 4 would
/// strip accents).
pub fn platform(protocol: Protocol, platform: &str, family: &str) -> Platform {
    match protocol {
        Protocol::V3 => platform_v3(platform.trim(), family),
        Protocol::V4 => platform_v4(platform.trim(), family.trim()),
    }
}

/// Returns the platform of a node host of protocol 4 that names its system as Node, Python or Rust
/// do, with the family of that system or none. OpenClaw 2026.9.6 reads them so for node hosts only.
fn host_platform<D>(node: &NodeDescription<'_, D>) -> Option<Platform> {
    const SYSTEMS: [(&str, &str, Platform); 5] = [
        ("linux", "linux", Platform::Linux),
        ("darwin", "mac", Platform::Macos),
        ("macos", "mac", Platform::Macos),
        ("win32", "windows", Platform::Windows),
        ("windows", "windows", Platform::Windows),
    ];
    let (system, family) = (node.platform.trim(), node.family.trim());
    let applies = node.is_host && node.protocol == Protocol::V4;
    let fits = |plain| family.is_empty() || is(family, plain);
    let found =
        SYSTEMS.into_iter().find(|(name, plain, _)| applies && is(system, name) && fits(plain));
    found.map(|(_, _, found)| found)
}

fn platform_v3(platform: &str, family: &str) -> Platform {
    const BEGINNINGS: [(&str, Platform); 6] = [
        ("ios", Platform::Ios),
        ("android", Platform::Android),
        ("mac", Platform::Macos),
        ("darwin", Platform::Macos),
        ("win", Platform::Windows),
        ("linux", Platform::Linux),
    ];
    let begun = BEGINNINGS.into_iter().find(|(word, _)| begins(platform, word));
    begun.map_or_else(|| by_family(Protocol::V3, family), |(_, found)| found)
}

fn platform_v4(platform: &str, family: &str) -> Platform {
    if platform.is_empty() {
        return by_family(Protocol::V4, family);
    }
    let (system, version) = match platform.split_once(' ') {
        Some((system, version)) => (system, Some(version)),
        None => (platform, None),
    };
    let one_of = |families: &[&str]| families.iter().any(|one| is(family, one));
    let (found, fits, labelled) = match () {
        _ if is(system, "ios") => (Platform::Ios, one_of(&["iphone", "ipad", "ios"]), true),
        // Accepted only with a version.
        _ if is(system, "ipados") && version.is_some() => {
            (Platform::Ios, one_of(&["iphone", "ipad", "ios"]), true)
        }
        _ if is(system, "watchos") => {
            (Platform::Watchos, one_of(&["apple watch", "watchos"]), true)
        }
        _ if is(system, "android") => (Platform::Android, one_of(&["android"]), true),
        _ if is(system, "macos") => (Platform::Macos, one_of(&["mac"]), true),
        _ if is(system, "windows") => (Platform::Windows, one_of(&["windows"]), false),
        _ if is(system, "linux") => (Platform::Linux, one_of(&["linux"]), false),
        _ => return Platform::Unknown,
    };
    let good = match version {
        None => fits || (family.is_empty() && matches!(found, Platform::Ios | Platform::Android)),
        Some(version) if found == Platform::Android => fits && is_android_version(version),
        Some(version) => fits && labelled && is_version(version),
    };
    if good {
        found
    } else {
        Platform::Unknown
    }
}

fn by_family(protocol: Protocol, family: &str) -> Platform {
    const WORDS: [(&str, Platform); 9] = [
        ("iphone", Platform::Ios),
        ("ipad", Platform::Ios),
        ("ios", Platform::Ios),
        ("apple watch", Platform::Watchos),
        ("watchos", Platform::Watchos),
        ("android", Platform::Android),
        ("mac", Platform::Macos),
        ("windows", Platform::Windows),
        ("linux", Platform::Linux),
    ];
    let known = |found| protocol == Protocol::V4 || found != Platform::Watchos;
    WORDS
        .into_iter()
        .find(|(word, found)| known(*found) && holds(family, word))
        .map_or(Platform::Unknown, |(_, found)| found)
}

/// Returns whether the text is one to three numbers separated by dots.
fn is_version(text: &str) -> bool {
    text.split('.').count() <= 3 && text.split('.').all(is_number)
}

/// Returns whether the text is a number, optionally followed by ` (SDK <number>)`.
fn is_android_version(text: &str) -> bool {
    match text.split_once(' ') {
        None => is_number(text),
        Some((version, sdk)) => {
            let inner = sdk.strip_suffix(')').filter(|sdk| begins(sdk, "(sdk "));
            is_number(version) && inner.is_some_and(|sdk| is_number(&sdk["(sdk ".len()..]))
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn listed<S: AsRef<str>>(list: &[S], command: &str) -> bool {
    list.iter().any(|one| one.as_ref().trim() == command)
}

fn is(text: &str, word: &str) -> bool {
    text.eq_ignore_ascii_case(word)
}

fn begins(text: &str, word: &str) -> bool {
    text.as_bytes()
        .get(..word.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
}

fn holds(text: &str, word: &str) -> bool {
    text.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}
