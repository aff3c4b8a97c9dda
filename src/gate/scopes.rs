//! Operator scopes as a bit set with implication.
//!
//! Names and implication are those of protocol 4 (OpenClaw 2026.9.6); protocol 3 has the first
//! five. Unknown scopes are never granted and are not an error.

listed_enum! {
    /// One operator scope. The number is its bit in the table file and never changes meaning.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Scope {
        Admin = 0,
        Read = 1,
        Write = 2,
        Approvals = 3,
        Pairing = 4,
        Questions = 5,
        Talk = 6,
        TalkSecrets = 7,
        SessionsRead = 8,
        SessionsWrite = 9,
    }
}

impl Scope {
    /// Returns the name of the scope in the protocol.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Admin => "operator.admin",
            Scope::Read => "operator.read",
            Scope::Write => "operator.write",
            Scope::Approvals => "operator.approvals",
            Scope::Pairing => "operator.pairing",
            Scope::Questions => "operator.questions",
            Scope::Talk => "operator.talk",
            Scope::TalkSecrets => "operator.talk.secrets",
            Scope::SessionsRead => "operator.sessions.read",
            Scope::SessionsWrite => "operator.sessions.write",
        }
    }

    /// Returns the scope with this name, if it is known.
    pub fn parse(name: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.name() == name)
    }

    /// Returns the scope and all scopes it implies (protocol 4).
    pub const fn implied(self) -> Scopes {
        match self {
            Scope::Admin => Scopes::ALL,
            Scope::Write => Scopes::of(Scope::Write)
                .with(Scopes::of(Scope::Read))
                .with(Scopes::of(Scope::Talk))
                .with(Scopes::of(Scope::SessionsRead))
                .with(Scopes::of(Scope::SessionsWrite)),
            Scope::Read => Scopes::of(Scope::Read).with(Scopes::of(Scope::SessionsRead)),
            Scope::SessionsWrite => {
                Scopes::of(Scope::SessionsWrite).with(Scopes::of(Scope::SessionsRead))
            }
            one => Scopes::of(one),
        }
    }
}

/// Scopes that imply others.
const IMPLYING: [Scope; 4] = [Scope::Admin, Scope::Write, Scope::Read, Scope::SessionsWrite];

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash, Debug)]
pub struct Scopes(u16);

impl Scopes {
    /// The empty set.
    pub const NONE: Scopes = Scopes(0);
    /// All known scopes.
    pub const ALL: Scopes = Scopes((1 << Scope::ALL.len()) - 1);

    /// Returns the set that contains only this scope, without implied ones.
    pub const fn of(scope: Scope) -> Scopes {
        Scopes(1 << scope as u16)
    }

    /// Makes a set from its bits. Returns `None` if a bit has no scope.
    pub fn from_bits(bits: u16) -> Option<Scopes> {
        (bits & !Scopes::ALL.0 == 0).then_some(Scopes(bits))
    }

    /// Returns the bits of the set, one per scope; see [`Scope`].
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Returns the union of both sets.
    pub const fn with(self, other: Scopes) -> Scopes {
        Scopes(self.0 | other.0)
    }

    /// Returns the scopes of this set that are not in `other`.
    pub const fn without(self, other: Scopes) -> Scopes {
        Scopes(self.0 & !other.0)
    }

    /// Returns the intersection of both sets.
    pub const fn and(self, other: Scopes) -> Scopes {
        Scopes(self.0 & other.0)
    }

    /// Returns whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns whether the set contains the scope itself; implication is ignored.
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & Scopes::of(scope).0 != 0
    }

    /// Returns the set with all implied scopes added.
    pub const fn closure(self) -> Scopes {
        let mut all = self;
        let mut at = 0;
        while at < IMPLYING.len() {
            if self.contains(IMPLYING[at]) {
                all = all.with(IMPLYING[at].implied());
            }
            at += 1;
        }
        all
    }

    /// Returns whether the set contains or implies the scope.
    pub fn allows(self, scope: Scope) -> bool {
        self.closure().contains(scope)
    }

    /// Returns whether the set contains or implies every scope of `other`.
    pub fn covers(self, other: Scopes) -> bool {
        other.without(self.closure()).is_empty()
    }

    /// Returns the scopes of the set, ordered by bit.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Scopes {
        scopes.into_iter().fold(Scopes::NONE, |set, scope| set.with(Scopes::of(scope)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn set(scopes: &[Scope]) -> Scopes {
        let (mut all, mut at) = (Scopes::NONE, 0);
        while at < scopes.len() {
            all = all.with(Scopes::of(scopes[at]));
            at += 1;
        }
        all
    }

    #[test]
    fn scope_implication_matches_protocol_4() {
        use Scope::*;
        for (scope, gives) in [
            (Admin, Scopes::ALL),
            (Read, set(&[Read, SessionsRead])),
            (Write, set(&[Write, Read, Talk, SessionsRead, SessionsWrite])),
            (Approvals, set(&[Approvals])),
            (Pairing, set(&[Pairing])),
            (Questions, set(&[Questions])),
            (Talk, set(&[Talk])),
            (TalkSecrets, set(&[TalkSecrets])),
            (SessionsRead, set(&[SessionsRead])),
            (SessionsWrite, set(&[SessionsWrite, SessionsRead])),
        ] {
            assert_eq!(scope.implied(), gives, "{}", scope.name());
        }
    }

    #[test]
    fn scope_bits_and_names_are_stable() {
        let names =
            "operator.admin operator.read operator.write operator.approvals operator.pairing operator.questions \
                     operator.talk operator.talk.secrets operator.sessions.read operator.sessions.write";
        for (bit, (scope, name)) in Scope::ALL.into_iter().zip(names.split(' ')).enumerate() {
            assert_eq!((Scopes::of(scope).bits(), scope.name()), (1 << bit, name));
            assert_eq!(Scope::parse(name), Some(scope));
        }
        assert_eq!(names.split(' ').count(), Scope::ALL.len());
        for unknown in [
            "",
            "admin",
            "operator",
            "operator.",
            "OPERATOR.ADMIN",
            "operator.admin ",
            "operator.*",
        ] {
            assert_eq!(Scope::parse(unknown), None, "{unknown}");
        }
        assert_eq!(Scopes::from_bits(Scopes::ALL.bits()), Some(Scopes::ALL));
        assert_eq!(Scopes::from_bits(Scopes::ALL.bits() + 1), None);
    }

    #[test]
    fn scope_set_operations_and_closure_are_correct() {
        for bits in 0..=Scopes::ALL.bits() {
            let set = Scopes::from_bits(bits).unwrap();
            let closure = set.closure();
            assert_eq!(closure.closure(), closure, "one step is all of it");
            assert_eq!(set.without(closure), Scopes::NONE);
            assert!(set.covers(closure) && set.covers(Scopes::NONE));
            assert_eq!(set.iter().collect::<Scopes>(), set);
            assert_eq!((set.with(closure), set.and(closure)), (closure, set));
            assert_eq!(
                set.covers(Scopes::ALL),
                set.contains(Scope::Admin),
                "only admin is everything"
            );
            for scope in Scope::ALL {
                assert_eq!(set.allows(scope), set.iter().any(|one| one.implied().contains(scope)));
            }
        }
    }
}
