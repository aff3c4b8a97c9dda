//! The commands that nodes of OpenClaw 2026.1.29 and 2026.9.6 are known to have, each with a number.
//!
//! The table says what is open on which platform before the owner says anything; `commands` decides with it. It holds
//! what both versions have when nobody configured anything, with the plugins that are on by default; the one exception is
//! said at its rows. A row is never moved, renamed or removed and a new one goes to the end: **its place is the number that
//! a file holds and never changes meaning**. The other columns may change.

/// What a device runs, as the rules sort it.
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

impl Platform {
    /// Every platform.
    pub const ALL: [Platform; 7] = [
        Platform::Ios,
        Platform::Watchos,
        Platform::Android,
        Platform::Macos,
        Platform::Linux,
        Platform::Windows,
        Platform::Unknown,
    ];

    /// A computer with a shell: what reaches that counts only when the owner approved it.
    pub const fn is_desktop(self) -> bool {
        DESKTOP & self as u8 != 0
    }
}

/// One known command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// The protocol's word for it.
    pub name: &'static str,
    /// Platforms on which a node of protocol 3 may have it.
    v3: u8,
    /// The same for protocol 4.
    v4: u8,
    traits: u8,
}

impl Known {
    /// May a node of protocol 3 on that platform have it, unless the owner says otherwise?
    pub const fn open_v3(&self, platform: Platform) -> bool {
        self.v3 & platform as u8 != 0
    }

    /// The same for protocol 4, if it meets [`Known::needs_talk`] and [`Known::needs_iphone`].
    pub const fn open_v4(&self, platform: Platform) -> bool {
        self.v4 & platform as u8 != 0
    }

    /// It records, sends or changes something private: protocol 4 wants it in `gateway.nodes.commands.allow`.
    pub const fn is_dangerous(&self) -> bool {
        self.traits & DANGEROUS != 0
    }

    /// It reaches into the computer; see [`Platform::is_desktop`].
    pub const fn is_host(&self) -> bool {
        self.traits & HOST != 0
    }

    /// Only an admin may approve it.
    pub const fn is_admin_approved(&self) -> bool {
        self.traits & (APPROVED_BY_ADMIN | INVOKED_BY_ADMIN) != 0
    }

    /// Only an admin may invoke it directly.
    pub const fn is_admin_invoked(&self) -> bool {
        self.traits & INVOKED_BY_ADMIN != 0
    }

    /// Open to nodes with the capability `talk` or another command of that family.
    pub const fn needs_talk(&self) -> bool {
        self.traits & TALK != 0
    }

    /// Passed on to a watch, which only an iPhone does.
    pub const fn needs_iphone(&self) -> bool {
        self.traits & IPHONE != 0
    }
}

/// The number of that command and what is known of it; the name is exact.
pub fn find(name: &str) -> Option<(u8, &'static Known)> {
    (0..).zip(&KNOWN).find(|(_, known)| known.name == name)
}

/// A set of known commands, one bit a number.
///
/// A bit beyond the table, from a file that a newer gatelet wrote, is kept and names nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CommandSet([u8; CommandSet::LEN]);

impl CommandSet {
    /// Bytes of a set, in memory and in a file: room for 256 commands.
    pub const LEN: usize = 32;

    /// No command.
    pub const NONE: CommandSet = CommandSet([0; CommandSet::LEN]);

    /// The set of these bytes: number `n` is bit `n % 8` of byte `n / 8`.
    pub const fn from_bytes(bytes: [u8; CommandSet::LEN]) -> CommandSet {
        CommandSet(bytes)
    }

    /// As [`CommandSet::from_bytes`] takes them.
    pub const fn bytes(&self) -> &[u8; CommandSet::LEN] {
        &self.0
    }

    /// Puts a command in. False if no number is known for it: then it must be kept by name, elsewhere.
    #[must_use]
    pub fn insert(&mut self, name: &str) -> bool {
        let found = find(name);
        if let Some((number, _)) = found {
            self.0[usize::from(number / 8)] |= 1 << (number % 8);
        }
        found.is_some()
    }

    /// Both sets together.
    #[must_use]
    pub fn with(&self, other: &CommandSet) -> CommandSet {
        CommandSet(core::array::from_fn(|at| self.0[at] | other.0[at]))
    }

    /// Is the command in it? Never one without a number.
    pub fn contains(&self, name: &str) -> bool {
        find(name).is_some_and(|(number, _)| self.has(number))
    }

    /// The names in it, by number.
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
/// Protocol 3: what has a screen and a camera, and whatever cannot be told.
const SCREENS: u8 = IOS | ANDROID | MACOS | UNKNOWN;
/// Protocol 3: what has a shell, and whatever cannot be told.
const SHELLS: u8 = DESKTOP | UNKNOWN;
/// Protocol 4: what a person carries, or works at with an Apple account.
const PERSONAL: u8 = IOS | ANDROID | MACOS;
/// Protocol 4: what tells of itself as a device.
const DEVICES: u8 = PERSONAL | Platform::Watchos as u8 | Platform::Windows as u8;
const NO_WATCH: u8 = EVERYWHERE & !(Platform::Watchos as u8);

const PLAIN: u8 = 0;
const DANGEROUS: u8 = 1 << 0;
const HOST: u8 = 1 << 1;
const APPROVED_BY_ADMIN: u8 = 1 << 2;
const INVOKED_BY_ADMIN: u8 = 1 << 3;
const TALK: u8 = 1 << 4;
const IPHONE: u8 = 1 << 5;

const fn row(name: &'static str, v3: u8, v4: u8, traits: u8) -> Known {
    Known { name, v3, v4, traits }
}

const _: () = assert!(KNOWN.len() <= 8 * CommandSet::LEN);

/// The table. Add at the end only.
pub const KNOWN: [Known; 75] = [
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
    // From here on only protocol 4 has them.
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
    // Not on Linux in OpenClaw, whose own node does not have them; readings that harm nobody, so that ours can answer.
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
    // OpenClaw checks these itself and never relays them as they are; we have no such check.
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
