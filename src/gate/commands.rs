//! What a node may do: which of its commands are offered, which may be invoked, and what an approval of them takes.
//!
//! Four things decide about a command: the node declared it, its platform or the owner's list allows it, the owner's
//! other list does not deny it, and the owner approved it. All four are asked again for each invoke, so a change of the
//! configuration counts at once. The rules are those of the node's own dialect; where protocol 4 has a corner of its own,
//! that is said below. Never here: who asks (scopes of a call are `rpc`'s), whether the node is connected.
//!
//! Invariants: what is denied is neither offered nor invoked, whatever else says so; nothing is invoked that is not
//! declared, offered and approved.

use core::fmt;

use super::commands_known::{find, Platform};
use super::dialect::Dialect;
use super::scopes::{Scope, Scopes};

/// The message for a refused invoke; protocol 4 adds `: ` and the [`Denial`].
pub const NOT_ALLOWED: &str = "node command not allowed";

/// A node as it described itself at connect.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a, D> {
    pub dialect: Dialect,
    /// As sent.
    pub platform: &'a str,
    /// As sent; empty if it sent none.
    pub family: &'a str,
    /// It has the capability `talk`; where capabilities are approved, only an approved one counts in an invoke.
    pub talk: bool,
    /// Every command it declared, as sent. Not what is left of them: that is decided here.
    pub declared: &'a [D],
}

/// `gateway.nodes.commands` of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Lists<'a, S> {
    pub allow: &'a [S],
    pub deny: &'a [S],
}

/// The rules for one node. Cheap to make: make it when a question comes.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a, D, S> {
    node: Node<'a, D>,
    lists: Lists<'a, S>,
    platform: Platform,
}

impl<'a, D: AsRef<str>, S: AsRef<str>> Rules<'a, D, S> {
    pub fn new(node: Node<'a, D>, lists: Lists<'a, S>) -> Rules<'a, D, S> {
        let platform = platform(node.dialect, node.platform, node.family);
        Rules { node, lists, platform }
    }

    /// The declared commands that are offered to operators and asked of the owner, in the node's order, each once.
    pub fn offered(&self) -> impl Iterator<Item = &'a str> + '_ {
        let declared = self.node.declared;
        let names = declared.iter().map(|name| name.as_ref().trim()).enumerate();
        let first = names.filter(|(at, name)| !declared[..*at].iter().any(|one| one.as_ref().trim() == *name));
        first.map(|(_, name)| name).filter(|name| self.offers(name))
    }

    /// May `command` be invoked? `approved` says whether the owner approved a command of this node; where nobody is
    /// asked, it says yes. The first reason that holds is given, in the order of [`Reason`].
    ///
    /// Protocol 4: a command that reaches into a computer is not allowlisted before it is approved.
    pub fn invoke<'c>(&self, command: &'c str, approved: &dyn Fn(&str) -> bool) -> Result<(), Denial<'c>>
    where
        'a: 'c,
    {
        let command = command.trim();
        let reason = if command.is_empty() {
            Reason::Required
        } else if !self.allowlists(command, approved) {
            Reason::NotAllowlisted
        } else if self.is_declared(command) && approved(command) {
            return Ok(());
        } else if self.counted(approved).next().is_some() {
            Reason::NotDeclared
        } else {
            Reason::NothingDeclared
        };
        let why = self.why(reason, command, approved);
        Err(Denial { reason, why, command, platform: self.node.platform })
    }

    /// Does the node offer more than the owner approved? Then approval is asked again, and what was approved stays.
    ///
    /// Looks at commands only; new capabilities and permissions widen a surface too.
    pub fn widens(&self, approved: &dyn Fn(&str) -> bool) -> bool {
        self.offered().any(|name| !approved(name))
    }

    /// Allowed by the platform or the owner, if it is declared and approved. `command` is trimmed.
    fn offers(&self, command: &str) -> bool {
        if command.is_empty() || self.is_private(command) || listed(self.lists.deny, command) {
            return false;
        }
        listed(self.lists.allow, command)
            || find(command).is_some_and(|(_, known)| match self.node.dialect {
                Dialect::V3 => known.open_v3(self.platform),
                Dialect::V4 => {
                    known.open_v4(self.platform) && (!known.needs_iphone() || is(self.node.family.trim(), "iphone"))
                }
            })
    }

    /// The same for any command: what only an approval or a sign of `talk` opens is closed without it.
    fn allowlists(&self, command: &str, approved: &dyn Fn(&str) -> bool) -> bool {
        if !self.offers(command) {
            return false;
        }
        if self.node.dialect == Dialect::V3 || listed(self.lists.allow, command) {
            return true;
        }
        let known = find(command).map(|(_, known)| known);
        let waits = self.platform.is_desktop() && known.is_some_and(|known| known.is_host());
        let talks = known.is_some_and(|known| known.needs_talk());
        (!waits || (self.is_declared(command) && approved(command))) && (!talks || self.talks(approved))
    }

    /// Has it the capability `talk`, or a command of that family that may be invoked?
    fn talks(&self, approved: &dyn Fn(&str) -> bool) -> bool {
        self.node.talk || self.counted(approved).any(|name| begins(name, "talk."))
    }

    /// Commands that a gateway and its own workers speak among themselves; no list opens them.
    fn is_private(&self, command: &str) -> bool {
        self.node.dialect == Dialect::V4 && command.starts_with("worker.")
    }

    fn is_declared(&self, command: &str) -> bool {
        self.node.declared.iter().any(|name| name.as_ref().trim() == command)
    }

    /// What may be invoked.
    fn counted<'b>(&'b self, approved: &'b dyn Fn(&str) -> bool) -> impl Iterator<Item = &'a str> + 'b {
        let declared = self.node.declared.iter().map(|name| name.as_ref().trim());
        declared.filter(move |name| approved(name) && self.offers(name))
    }

    fn why(&self, reason: Reason, command: &str, approved: &dyn Fn(&str) -> bool) -> Why {
        if reason == Reason::Required {
            return Why::Required;
        }
        if self.is_declared(command) && self.offers(command) && !approved(command) {
            return Why::Waiting;
        }
        match reason {
            Reason::NotDeclared => Why::Unsupported,
            Reason::NothingDeclared => Why::NothingDeclared,
            _ if command.starts_with("talk.") => Why::NoTalk,
            _ if listed(self.lists.deny, command) => Why::Denied,
            _ if find(command).is_some_and(|(_, known)| known.is_dangerous()) => Why::OptIn,
            _ => Why::Platform,
        }
    }
}

/// What an approval of these commands takes: pairing, with any command also write, with one that opens the computer
/// admin. Does not depend on a dialect: otherwise a caller would choose the easier one.
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

/// What a direct `node.invoke` of the command takes, in both dialects for the same reason.
pub fn invoke_scope(command: &str) -> Scope {
    match find(command.trim()) {
        Some((_, known)) if known.is_admin_invoked() => Scope::Admin,
        _ => Scope::Write,
    }
}

/// Why an invoke is refused, in the order in which it is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    Required,
    NotAllowlisted,
    NotDeclared,
    NothingDeclared,
}

impl Reason {
    /// The word of both protocols, for `details.reason`.
    pub const fn word(self) -> &'static str {
        match self {
            Reason::Required => "command required",
            Reason::NotAllowlisted => "command not allowlisted",
            Reason::NotDeclared => "command not declared by node",
            Reason::NothingDeclared => "node did not declare commands",
        }
    }
}

/// A refused invoke. Printed, it is what protocol 4 says after [`NOT_ALLOWED`].
///
/// Unlike OpenClaw's, the text says that a command waits for approval whenever that is all that is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Denial<'c> {
    pub reason: Reason,
    why: Why,
    command: &'c str,
    platform: &'c str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Why {
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
        let (before, after) = match self.why {
            Why::Required => return f.write_str(self.reason.word()),
            Why::NothingDeclared => return f.write_str("the node did not declare any supported commands"),
            Why::Unsupported => {
                for part in ["the node (platform: ", self.platform, ") does not support \"", self.command, "\""] {
                    f.write_str(part)?;
                }
                return Ok(());
            }
            Why::Waiting => {
                ("", "\" waits for approval; run `gatelet nodes pending`, then `gatelet nodes approve <requestId>`")
            }
            Why::NoTalk => ("", "\" requires a trusted Talk-capable node"),
            Why::Denied => ("", "\" is blocked by gateway.nodes.commands.deny"),
            Why::OptIn => ("", "\" requires explicit gateway.nodes.commands.allow opt-in"),
            Why::Platform => (self.platform, "\" is not in the allowlist for platform \""),
        };
        for part in ["\"", self.command, after, before] {
            f.write_str(part)?;
        }
        f.write_str(if self.why == Why::Platform { "\"" } else { "" })
    }
}

/// The platform that the rules of `dialect` see in what a node calls its platform and device family.
///
/// Protocol 3 guesses by beginnings; protocol 4 takes only what fits together and trusts the family alone only where no
/// platform was sent. Letters that are not ASCII match nothing (protocol 4 would strip accents).
pub fn platform(dialect: Dialect, platform: &str, family: &str) -> Platform {
    match dialect {
        Dialect::V3 => platform_v3(platform.trim(), family),
        Dialect::V4 => platform_v4(platform.trim(), family.trim()),
    }
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
    begun.map_or_else(|| by_family(Dialect::V3, family), |(_, found)| found)
}

fn platform_v4(platform: &str, family: &str) -> Platform {
    if platform.is_empty() {
        return by_family(Dialect::V4, family);
    }
    let (system, version) = match platform.split_once(' ') {
        Some((system, version)) => (system, Some(version)),
        None => (platform, None),
    };
    let one_of = |families: &[&str]| families.iter().any(|one| is(family, one));
    let (found, fits, labelled) = match () {
        _ if is(system, "ios") => (Platform::Ios, one_of(&["iphone", "ipad", "ios"]), true),
        // Never without its version.
        _ if is(system, "ipados") && version.is_some() => (Platform::Ios, one_of(&["iphone", "ipad", "ios"]), true),
        _ if is(system, "watchos") => (Platform::Watchos, one_of(&["apple watch", "watchos"]), true),
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

fn by_family(dialect: Dialect, family: &str) -> Platform {
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
    let known = |found| dialect == Dialect::V4 || found != Platform::Watchos;
    WORDS
        .into_iter()
        .find(|(word, found)| known(*found) && holds(family, word))
        .map_or(Platform::Unknown, |(_, found)| found)
}

/// One to three numbers with dots between.
fn is_version(text: &str) -> bool {
    text.split('.').count() <= 3 && text.split('.').all(is_number)
}

/// A number, perhaps with the number of its SDK.
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
    text.as_bytes().get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
}

fn holds(text: &str, word: &str) -> bool {
    text.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}
