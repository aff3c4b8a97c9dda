//! A node's surface: its commands, capabilities and permissions that the owner approved, or that
//! wait for approval.
//!
//! Numbered commands are stored as bits; all other names as text in a fixed-size buffer. Names are
//! never truncated: a name that does not fit is rejected. Each value has exactly one encoding
//! (entries sorted and unique, unused bytes zero), so equal bytes mean equal surfaces. Names are
//! compared exactly, and their form has no meaning here.

use core::fmt;

use super::commands_known::CommandSet;
use super::limits;

/// Buffer for the names without a number.
pub type SurfaceText = [u8; limits::SURFACE_TEXT_LEN];

/// A set of commands, capabilities and permissions.
#[derive(Clone, PartialEq, Eq)]
pub struct Surface {
    /// Numbered commands.
    known: CommandSet,
    /// Entries of kind, length and name, followed by zeros.
    text: SurfaceText,
}

/// Error: the name is invalid or too long, or the surface has no space left for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DoesNotFit;

// Entry kinds in the file. A number never changes meaning; zero ends the entries.
const COMMAND: u8 = 1;
const CAP: u8 = 2;
const PERMISSION: u8 = 3;

const _: () = assert!(limits::SURFACE_NAME_LEN <= u8::MAX as usize);

impl Surface {
    /// The empty surface.
    pub const NONE: Surface =
        Surface { known: CommandSet::NONE, text: [0; limits::SURFACE_TEXT_LEN] };

    /// Decodes a surface. Returns `None` unless the bytes are its unique encoding; see
    /// [`Surface::known`] and [`Surface::text`].
    pub fn from_parts(known: CommandSet, text: &SurfaceText) -> Option<Surface> {
        let surface = Surface { known, text: *text };
        let mut last = None;
        let mut end = 0;
        for entry in surface.entries() {
            let here = (entry.kind, entry.name);
            let sound = (COMMAND..=PERMISSION).contains(&entry.kind)
                && is_name(entry.name)
                && last < Some(here);
            if !sound {
                return None;
            }
            last = Some(here);
            end = entry.end;
        }
        text[end..].iter().all(|byte| *byte == 0).then_some(surface)
    }

    /// Returns the numbered commands, including those that only a newer gatelet knows.
    pub const fn known(&self) -> &CommandSet {
        &self.known
    }

    /// Returns the encoded names without a number.
    pub const fn text(&self) -> &SurfaceText {
        &self.text
    }

    /// Returns whether the surface is empty.
    pub fn is_empty(&self) -> bool {
        *self == Surface::NONE
    }

    /// Adds a command. Adding one that is present does nothing.
    pub fn add_command(&mut self, name: &str) -> Result<(), DoesNotFit> {
        // A file may store by name a command that has a number now.
        if self.has_command(name) || self.known.insert(name) {
            return Ok(());
        }
        self.add(COMMAND, name)
    }

    /// Adds a capability. Adding one that is present does nothing.
    pub fn add_cap(&mut self, name: &str) -> Result<(), DoesNotFit> {
        self.add(CAP, name)
    }

    /// Adds a granted permission. Adding one that is present does nothing.
    pub fn add_permission(&mut self, name: &str) -> Result<(), DoesNotFit> {
        self.add(PERMISSION, name)
    }

    /// Returns whether the surface contains the command.
    pub fn has_command(&self, name: &str) -> bool {
        self.known.contains(name) || self.has(COMMAND, name)
    }

    /// Returns whether the surface contains the capability.
    pub fn has_cap(&self, name: &str) -> bool {
        self.has(CAP, name)
    }

    /// Returns whether the surface contains the permission.
    pub fn has_permission(&self, name: &str) -> bool {
        self.has(PERMISSION, name)
    }

    /// Returns the commands without duplicates: numbered ones first, then the others in sorted
    /// order.
    pub fn commands(&self) -> impl Iterator<Item = &str> + '_ {
        self.known
            .names()
            .map(|name| -> &str { name })
            .chain(self.names(COMMAND).filter(|name| !self.known.contains(name)))
    }

    /// Returns the capabilities in sorted order.
    pub fn caps(&self) -> impl Iterator<Item = &str> + '_ {
        self.names(CAP)
    }

    /// Returns the permissions in sorted order.
    pub fn permissions(&self) -> impl Iterator<Item = &str> + '_ {
        self.names(PERMISSION)
    }

    /// Adds everything in `other`. Changes nothing if the union does not fit.
    pub fn merge(&mut self, other: &Surface) -> Result<(), DoesNotFit> {
        let mut both = Surface { known: self.known.with(&other.known), text: self.text };
        for entry in other.entries() {
            let there = entry.kind == COMMAND && both.has_command(entry.name);
            if !there {
                both.add(entry.kind, entry.name)?;
            }
        }
        *self = both;
        Ok(())
    }

    /// Returns whether the surface contains everything in `other`.
    pub fn covers(&self, other: &Surface) -> bool {
        let named = |entry: NameEntry<'_>| match entry.kind {
            COMMAND => self.has_command(entry.name),
            kind => self.has(kind, entry.name),
        };
        other.known.names().all(|name| self.has_command(name)) && other.entries().all(named)
    }

    fn add(&mut self, kind: u8, name: &str) -> Result<(), DoesNotFit> {
        if self.has(kind, name) {
            return Ok(());
        }
        let used = self.entries().last().map_or(0, |entry| entry.end);
        let len = 2 + name.len();
        if !is_name(name) || len > self.text.len() - used {
            return Err(DoesNotFit);
        }
        let before =
            self.entries().take_while(|entry| (entry.kind, entry.name) < (kind, name)).last();
        let at = before.map_or(0, |entry| entry.end);
        self.text.copy_within(at..used, at + len);
        self.text[at] = kind;
        self.text[at + 1] = name.len() as u8;
        self.text[at + 2..at + len].copy_from_slice(name.as_bytes());
        Ok(())
    }

    fn has(&self, kind: u8, name: &str) -> bool {
        self.names(kind).any(|one| one == name)
    }

    fn names(&self, kind: u8) -> impl Iterator<Item = &str> + '_ {
        self.entries().filter(move |entry| entry.kind == kind).map(|entry| entry.name)
    }

    /// Iterates over the entries of the text, ending at the first invalid one.
    fn entries(&self) -> Entries<'_> {
        Entries { text: &self.text, at: 0 }
    }
}

/// A name without a number.
#[derive(Clone, Copy)]
struct NameEntry<'a> {
    kind: u8,
    name: &'a str,
    /// Offset of the next entry.
    end: usize,
}

struct Entries<'a> {
    text: &'a SurfaceText,
    at: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = NameEntry<'a>;

    fn next(&mut self) -> Option<NameEntry<'a>> {
        let [kind @ 1..=u8::MAX, len, rest @ ..] = self.text.get(self.at..)? else { return None };
        let name = core::str::from_utf8(rest.get(..usize::from(*len))?).ok()?;
        self.at += 2 + name.len();
        Some(NameEntry { kind: *kind, name, end: self.at })
    }
}

/// Returns whether the text is a valid name: not empty, not too long, and without control
/// characters, which could move the cursor or start a new log line.
fn is_name(name: &str) -> bool {
    (1..=limits::SURFACE_NAME_LEN).contains(&name.len()) && !name.chars().any(char::is_control)
}

impl Default for Surface {
    fn default() -> Surface {
        Surface::NONE
    }
}

impl fmt::Debug for Surface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.commands())
            .entries(self.caps())
            .entries(self.permissions())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surface(commands: &[&str], caps: &[&str], permissions: &[&str]) -> Surface {
        let mut surface = Surface::NONE;
        commands.iter().try_for_each(|name| surface.add_command(name)).unwrap();
        caps.iter().try_for_each(|name| surface.add_cap(name)).unwrap();
        permissions.iter().try_for_each(|name| surface.add_permission(name)).unwrap();
        surface
    }

    /// Makes a surface whose text has `free` unused bytes.
    fn full_but(free: usize) -> Surface {
        let mut surface = Surface::NONE;
        let names = limits::SURFACE_TEXT_LEN / 16 - 1;
        (0..names).for_each(|n| surface.add_cap(&format!("{n:014}")).unwrap());
        surface.add_command(&"c".repeat(14 - free)).unwrap();
        surface
    }

    fn bytes(surface: &Surface) -> Vec<u8> {
        [surface.known().bytes().as_slice(), surface.text()].concat()
    }

    #[test]
    fn surface_contains_exactly_the_added_names() {
        let some = surface(
            &["system.run", "robot.walk", "camera.snap", "robot.walk", "system.run"],
            &["voice", "canvas", "voice"],
            &["microphone", "canvas"],
        );
        assert!(some.commands().eq(["camera.snap", "system.run", "robot.walk"]));
        assert!(
            some.caps().eq(["canvas", "voice"]) && some.permissions().eq(["canvas", "microphone"])
        );
        assert!(
            some.has_command("system.run")
                && some.has_command("robot.walk")
                && !some.has_command("canvas")
        );
        assert!(
            some.has_cap("canvas") && !some.has_cap("microphone") && !some.has_cap("robot.walk")
        );
        assert!(some.has_permission("microphone") && !some.has_permission("voice"));
        for near in ["", "robot", "robot.walk ", "Robot.walk", "system.ru", "camera.list"] {
            assert!(!some.has_command(near), "{near}");
        }
        assert!(!some.is_empty() && Surface::default().is_empty());
    }

    #[test]
    fn encoding_does_not_depend_on_insertion_order() {
        let names = ["b", "a", "aa", "c.long.name", "\u{e9}", "Z"];
        let mut backwards = names;
        backwards.reverse();
        let one = surface(&names, &names, &names);
        let other = surface(&backwards, &backwards, &backwards);
        assert_eq!(bytes(&one), bytes(&other));
        assert_eq!(Surface::from_parts(*one.known(), one.text()), Some(one));
    }

    #[test]
    fn names_that_do_not_fit_are_rejected_without_a_change() {
        let longest = "n".repeat(limits::SURFACE_NAME_LEN);
        assert!(surface(&[&longest], &[&longest], &[]).has_cap(&longest));
        let mut some = surface(&["robot.walk"], &[], &["microphone"]);
        let before = some.clone();
        for bad in ["", "a\nb", "\u{7f}", "\u{9b}2J", &[&longest, "n"].concat()] {
            assert_eq!(some.add_command(bad), Err(DoesNotFit), "{bad:?}");
            assert_eq!(some.add_cap(bad), Err(DoesNotFit), "{bad:?}");
            assert_eq!(some.add_permission(bad), Err(DoesNotFit), "{bad:?}");
        }
        assert_eq!(some, before);
        let mut full = full_but(2);
        assert_eq!(full.add_cap("z"), Err(DoesNotFit), "three bytes into two");
        let mut full = full_but(3);
        assert_eq!(
            (full.add_cap("zz"), full.add_cap("z"), full.add_cap("z")),
            (Err(DoesNotFit), Ok(()), Ok(()))
        );
        assert_eq!(
            (full.add_permission("z"), full.add_command("system.run")),
            (Err(DoesNotFit), Ok(()))
        );
        assert_eq!(full.text().last(), Some(&b'z'), "to the last byte");
        assert_eq!(Surface::from_parts(*full.known(), full.text()), Some(full));
    }

    #[test]
    fn merge_covers_both_or_changes_nothing() {
        let one = surface(&["system.run", "robot.walk"], &["voice"], &[]);
        let two = surface(&["camera.snap", "robot.walk", "robot.sit"], &[], &["microphone"]);
        let mut both = one.clone();
        assert_eq!(both.merge(&two), Ok(()));
        assert!(
            both.covers(&one)
                && both.covers(&two)
                && both.covers(&both)
                && both.covers(&Surface::NONE)
        );
        assert!(
            !one.covers(&two)
                && !two.covers(&one)
                && !Surface::NONE.covers(&one)
                && !one.covers(&both)
        );
        let less = [
            surface(&["robot.sit"], &[], &[]),
            surface(&[], &["v"], &[]),
            surface(&[], &[], &["voice"]),
        ];
        assert!(
            less.iter().all(|other| !one.covers(other)),
            "names of one kind are not those of another"
        );
        let mut again = both.clone();
        assert_eq!((again.merge(&one), again == both), (Ok(()), true));

        let mut full = full_but(2);
        let before = full.clone();
        assert_eq!((full.merge(&one), full == before), (Err(DoesNotFit), true));
        assert_eq!(
            full.merge(&surface(&["system.run"], &[], &[])),
            Ok(()),
            "a number takes no room"
        );
    }

    #[test]
    fn invalid_encodings_are_rejected() {
        let text = |entries: &[u8]| {
            let mut text = Surface::NONE.text;
            text[..entries.len()].copy_from_slice(entries);
            text
        };
        let read = |entries: &[u8]| Surface::from_parts(CommandSet::NONE, &text(entries));
        assert!(read(b"\x01\x01a\x01\x01b\x02\x01a\x03\x01a").is_some());
        for (bad, what) in [
            (b"\x01\x01b\x01\x01a".as_slice(), "unsorted"),
            (b"\x02\x01a\x01\x01b", "unsorted kinds"),
            (b"\x01\x01a\x01\x01a", "twice the same"),
            (b"\x04\x01a", "an unknown kind"),
            (b"\xff\x01a", "an unknown kind"),
            (b"\x01\x00", "an empty name"),
            (b"\x01\x02\xc3\x28", "no UTF-8"),
            (b"\x01\x01\n", "a control character"),
            (b"\x01\x02a\0", "a control character"),
            (b"\x01\x01a\0\x01", "something behind the end"),
            (b"\0\x01a", "something behind the end"),
        ] {
            assert_eq!(read(bad), None, "{what}");
        }
        let mut long = text(&[CAP, limits::SURFACE_NAME_LEN as u8 + 1]);
        long[2..limits::SURFACE_NAME_LEN + 3].fill(b'n');
        assert_eq!(Surface::from_parts(CommandSet::NONE, &long), None, "too long a name");
        let mut beyond = full_but(2).text;
        beyond[limits::SURFACE_TEXT_LEN - 2..].copy_from_slice(&[PERMISSION, 1]);
        assert_eq!(Surface::from_parts(CommandSet::NONE, &beyond), None, "a length beyond the end");
        beyond[limits::SURFACE_TEXT_LEN - 2..].copy_from_slice(&[0, PERMISSION]);
        assert_eq!(Surface::from_parts(CommandSet::NONE, &beyond), None, "a kind without a length");
    }

    #[test]
    fn command_numbered_later_is_listed_once() {
        let mut text = Surface::NONE.text;
        text[..12].copy_from_slice(b"\x01\x0asystem.run");
        let old = Surface::from_parts(CommandSet::NONE, &text).unwrap();
        let mut new = surface(&["system.run"], &[], &[]);
        assert!(old.has_command("system.run") && old.covers(&new) && new.covers(&old));
        assert_eq!(new.merge(&old), Ok(()));
        assert_eq!(new.text(), Surface::NONE.text(), "the name is not kept beside the number");
        let mut both = old.clone();
        assert_eq!(both.add_command("system.run"), Ok(()));
        assert_eq!(both, old);
        assert_eq!(both.merge(&new), Ok(()));
        assert!(both.commands().eq(["system.run"]));
    }

    #[test]
    fn unknown_command_numbers_are_kept_but_not_listed() {
        let newer =
            Surface::from_parts(CommandSet::from_bytes([0xff; 32]), Surface::NONE.text()).unwrap();
        let mut some = surface(&["robot.walk"], &[], &[]);
        assert_eq!(some.merge(&newer), Ok(()));
        assert_eq!(some.known().bytes(), &[0xff; 32]);
        assert_eq!(some.commands().count(), super::super::commands_known::KNOWN.len() + 1);
    }
}
