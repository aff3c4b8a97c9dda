//! Table of the commands that nodes of OpenClaw 2026.1.29 and 2026.9.6 are known to have, each with
//! a number.
//!
//! The table holds the default platforms of each command, before any configuration; `commands`
//! decides with it. It matches the defaults of both versions with their default plugins; the one
//! exception is documented at its rows. Rows are never moved, renamed or removed, and new rows are
//! appended: **the index of a row is the number stored in the pairing file and never changes
//! meaning**. The other columns may change.

listed_enum! {
    /// Platform of a device, as classified by the command rules.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Platform {
        Ios = 1 << 0,
        Watchos = 1 << 1,
        Android = 1 << 2,
        Macos = 1 << 3,
        Linux = 1 << 4,
        Windows = 1 << 5,
        Unknown = 1 << 6,
    }
}

impl Platform {
    /// Returns whether this is a computer with a shell. On these, commands with host access
    /// ([`KnownCommand::is_host`]) require approval before they count as allowlisted.
    pub const fn is_desktop(self) -> bool {
        DESKTOP & self as u8 != 0
    }
}

/// A known command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KnownCommand {
    /// Name of the command in the protocol.
    pub name: &'static str,
    /// Platforms that permit the command by default in protocol 3, one bit each.
    v3: u8,
    /// Platforms that permit the command by default in protocol 4, one bit each.
    v4: u8,
    traits: u8,
}

impl KnownCommand {
    /// Returns whether protocol 3 permits the command on this platform by default.
    pub const fn open_v3(&self, platform: Platform) -> bool {
        self.v3 & platform as u8 != 0
    }

    /// Returns whether protocol 4 permits the command on this platform by default, provided that
    /// [`KnownCommand::needs_talk`] and [`KnownCommand::needs_iphone`] are met.
    pub const fn open_v4(&self, platform: Platform) -> bool {
        self.v4 & platform as u8 != 0
    }

    /// Returns whether the command records, sends or changes private data. Protocol 4 requires such
    /// a command to be listed in `gateway.nodes.commands.allow`.
    pub const fn is_dangerous(&self) -> bool {
        self.traits & DANGEROUS != 0
    }

    /// Returns whether the command has access to the host; see [`Platform::is_desktop`].
    pub const fn is_host(&self) -> bool {
        self.traits & HOST != 0
    }

    /// Returns whether only an admin may approve the command.
    pub const fn is_admin_approved(&self) -> bool {
        self.traits & (APPROVED_BY_ADMIN | INVOKED_BY_ADMIN) != 0
    }

    /// Returns whether only an admin may invoke the command directly.
    pub const fn is_admin_invoked(&self) -> bool {
        self.traits & INVOKED_BY_ADMIN != 0
    }

    /// Returns whether the command requires the capability `talk` or another command of the `talk.`
    /// family.
    pub const fn needs_talk(&self) -> bool {
        self.traits & TALK != 0
    }

    /// Returns whether the command is forwarded to a watch, which only an iPhone does.
    pub const fn needs_iphone(&self) -> bool {
        self.traits & IPHONE != 0
    }
}

/// Returns the number and the row of the command with exactly this name.
pub fn find(name: &str) -> Option<(u8, &'static KnownCommand)> {
    (0..).zip(&KNOWN).find(|(_, known)| known.name == name)
}

/// A set of known commands, one bit per command number.
///
/// Bits without a row, from a file written by a newer gatelet, are kept but name no command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CommandSet([u8; CommandSet::LEN]);

impl CommandSet {
    /// Size of a set in bytes, in memory and in the file: enough for 256 commands.
    pub const LEN: usize = 32;

    /// The empty set.
    pub const NONE: CommandSet = CommandSet([0; CommandSet::LEN]);

    /// Makes a set from its bytes: command number `n` is bit `n % 8` of byte `n / 8`.
    pub const fn from_bytes(bytes: [u8; CommandSet::LEN]) -> CommandSet {
        CommandSet(bytes)
    }

    /// Returns the bytes, in the layout of [`CommandSet::from_bytes`].
    pub const fn bytes(&self) -> &[u8; CommandSet::LEN] {
        &self.0
    }

    /// Adds a command. Returns `false` if the name has no number; the caller must store it by name
    /// then.
    #[must_use]
    pub fn insert(&mut self, name: &str) -> bool {
        let found = find(name);
        if let Some((number, _)) = found {
            self.0[usize::from(number / 8)] |= 1 << (number % 8);
        }
        found.is_some()
    }

    /// Returns the union of both sets.
    #[must_use]
    pub fn with(&self, other: &CommandSet) -> CommandSet {
        CommandSet(core::array::from_fn(|at| self.0[at] | other.0[at]))
    }

    /// Returns whether the set contains the command; always `false` for a name without a number.
    pub fn contains(&self, name: &str) -> bool {
        find(name).is_some_and(|(number, _)| self.has(number))
    }

    /// Returns the names of the commands in the set, in the order of their numbers.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        (0..).zip(&KNOWN).filter(|(number, _)| self.has(*number)).map(|(_, known)| known.name)
    }

    fn has(&self, number: u8) -> bool {
        self.0[usize::from(number / 8)] & 1 << (number % 8) != 0
    }
}

const NOWHERE: u8 = 0;
const IOS: u8 = Platform::Ios as u8;
const ANDROID: u8 = Platform::Android as u8;
const MACOS: u8 = Platform::Macos as u8;
const LINUX: u8 = Platform::Linux as u8;
const DESKTOP: u8 = MACOS | LINUX | Platform::Windows as u8;
const UNKNOWN: u8 = Platform::Unknown as u8;
const EVERYWHERE: u8 = IOS | Platform::Watchos as u8 | ANDROID | DESKTOP | UNKNOWN;
/// Protocol 3: platforms with a screen and a camera, and unknown platforms.
const SCREENS: u8 = IOS | ANDROID | MACOS | UNKNOWN;
/// Protocol 3: platforms with a shell, and unknown platforms.
const SHELLS: u8 = DESKTOP | UNKNOWN;
/// Protocol 4: platforms with personal data such as contacts and calendars.
const PERSONAL: u8 = IOS | ANDROID | MACOS;
/// Protocol 4: platforms that report information about the device.
const DEVICES: u8 = PERSONAL | Platform::Watchos as u8 | Platform::Windows as u8;
const NO_WATCH: u8 = EVERYWHERE & !(Platform::Watchos as u8);

const PLAIN: u8 = 0;
const DANGEROUS: u8 = 1 << 0;
const HOST: u8 = 1 << 1;
const APPROVED_BY_ADMIN: u8 = 1 << 2;
const INVOKED_BY_ADMIN: u8 = 1 << 3;
const TALK: u8 = 1 << 4;
const IPHONE: u8 = 1 << 5;

const fn row(name: &'static str, v3: u8, v4: u8, traits: u8) -> KnownCommand {
    KnownCommand { name, v3, v4, traits }
}

const _: () = assert!(KNOWN.len() <= 8 * CommandSet::LEN);

/// All known commands. Append new rows at the end only.
pub const KNOWN: [KnownCommand; 75] = [
    row("canvas.present", SCREENS, MACOS, PLAIN),
    row("canvas.hide", SCREENS, MACOS, PLAIN),
    row("canvas.navigate", SCREENS, MACOS, PLAIN),
    row("canvas.eval", SCREENS, NOWHERE, PLAIN),
    row("canvas.snapshot", SCREENS, NOWHERE, PLAIN),
    row("canvas.a2ui.push", SCREENS, NOWHERE, PLAIN),
    row("canvas.a2ui.pushJSONL", SCREENS, NOWHERE, PLAIN),
    row("canvas.a2ui.reset", SCREENS, NOWHERE, PLAIN),
    row("camera.list", SCREENS, NO_WATCH, PLAIN),
    row("camera.snap", SCREENS, NOWHERE, DANGEROUS),
    row("camera.clip", SCREENS, NOWHERE, DANGEROUS),
    row("screen.record", SCREENS, NOWHERE, DANGEROUS),
    row("location.get", SCREENS, NO_WATCH, PLAIN),
    row("sms.send", ANDROID | UNKNOWN, NOWHERE, DANGEROUS),
    row("system.run", SHELLS, DESKTOP, HOST | APPROVED_BY_ADMIN),
    row("system.which", SHELLS, DESKTOP, HOST | APPROVED_BY_ADMIN),
    row("system.notify", SHELLS, EVERYWHERE, PLAIN),
    row("system.execApprovals.get", SHELLS, DESKTOP, HOST | APPROVED_BY_ADMIN),
    row("system.execApprovals.set", SHELLS, DESKTOP, HOST | APPROVED_BY_ADMIN),
    row("browser.proxy", SHELLS, DESKTOP, HOST | INVOKED_BY_ADMIN),
    // The rows below exist in protocol 4 only.
    row("system.run.prepare", NOWHERE, DESKTOP, HOST | APPROVED_BY_ADMIN),
    row("fs.listDir", NOWHERE, DESKTOP, HOST | INVOKED_BY_ADMIN),
    row("terminal.upload", NOWHERE, DESKTOP, HOST | INVOKED_BY_ADMIN),
    row("browser.proxy.upload.v1", NOWHERE, DESKTOP, HOST | INVOKED_BY_ADMIN),
    row("mcp.tools.call.v1", NOWHERE, DESKTOP, HOST),
    row("agent.cli.claude.run.v1", NOWHERE, DESKTOP, HOST),
    row("screen.snapshot", NOWHERE, DESKTOP, HOST),
    row("desktop.stream", NOWHERE, DESKTOP, HOST),
    row("computer.act", NOWHERE, DESKTOP, PLAIN),
    row("camera.ptz.status", NOWHERE, MACOS, PLAIN),
    row("camera.ptz.control", NOWHERE, NOWHERE, DANGEROUS),
    // OpenClaw does not permit these on Linux, because its own node lacks them there. They only
    // read harmless data, so they are permitted here for gatelet's node.
    row("device.info", NOWHERE, DEVICES | LINUX, PLAIN),
    row("device.status", NOWHERE, DEVICES | LINUX, PLAIN),
    row("device.apps", NOWHERE, ANDROID | MACOS, PLAIN),
    row("device.permissions", NOWHERE, ANDROID, PLAIN),
    row("device.health", NOWHERE, ANDROID, PLAIN),
    row("contacts.search", NOWHERE, PERSONAL, PLAIN),
    row("contacts.add", NOWHERE, NOWHERE, DANGEROUS),
    row("calendar.events", NOWHERE, PERSONAL, PLAIN),
    row("calendar.add", NOWHERE, NOWHERE, DANGEROUS),
    row("reminders.list", NOWHERE, PERSONAL, PLAIN),
    row("reminders.add", NOWHERE, NOWHERE, DANGEROUS),
    row("photos.latest", NOWHERE, PERSONAL, PLAIN),
    row("motion.activity", NOWHERE, PERSONAL, PLAIN),
    row("motion.pedometer", NOWHERE, PERSONAL, PLAIN),
    row("callLog.search", NOWHERE, ANDROID, PLAIN),
    row("notifications.list", NOWHERE, ANDROID, PLAIN),
    row("notifications.actions", NOWHERE, ANDROID, PLAIN),
    row("mobile.ui.observe", NOWHERE, ANDROID, PLAIN),
    row("mobile.ui.act", NOWHERE, ANDROID, PLAIN),
    row("sms.search", NOWHERE, NOWHERE, DANGEROUS),
    row("health.summary", NOWHERE, NOWHERE, DANGEROUS),
    row("talk.ptt.start", NOWHERE, EVERYWHERE, TALK),
    row("talk.ptt.stop", NOWHERE, EVERYWHERE, TALK),
    row("talk.ptt.cancel", NOWHERE, EVERYWHERE, TALK),
    row("talk.ptt.once", NOWHERE, EVERYWHERE, TALK),
    row("watch.status", NOWHERE, IOS, IPHONE),
    row("watch.notify", NOWHERE, IOS, IPHONE),
    row("ollama.models", NOWHERE, DESKTOP, PLAIN),
    row("ollama.chat", NOWHERE, DESKTOP, PLAIN),
    row("anthropic.claude.sessions.list.v1", NOWHERE, DESKTOP, PLAIN),
    row("anthropic.claude.sessions.read.v1", NOWHERE, DESKTOP, PLAIN),
    // OpenClaw checks the parameters of these itself and never relays them unchanged; this gateway
    // has no such check.
    row("anthropic.claude.terminal.resume.v1", NOWHERE, NOWHERE, PLAIN),
    row("anthropic.claude.terminal.start.v1", NOWHERE, NOWHERE, PLAIN),
    row("file.fetch", NOWHERE, NOWHERE, PLAIN),
    row("file.stat", NOWHERE, NOWHERE, PLAIN),
    row("file.write", NOWHERE, NOWHERE, PLAIN),
    row("file.create", NOWHERE, NOWHERE, PLAIN),
    row("dir.list", NOWHERE, NOWHERE, PLAIN),
    row("dir.fetch", NOWHERE, NOWHERE, PLAIN),
    row("workspace.memory", NOWHERE, NOWHERE, PLAIN),
    row("workspace.skills", NOWHERE, NOWHERE, PLAIN),
    row("openclaw.sessions.list.v1", NOWHERE, NOWHERE, PLAIN),
    row("openclaw.sessions.read.v1", NOWHERE, NOWHERE, PLAIN),
    row("logbook.snapshot", NOWHERE, NOWHERE, PLAIN),
];
