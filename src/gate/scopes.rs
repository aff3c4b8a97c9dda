//! What an operator may do, as a set of bits with implication.
//!
//! Names and implication are those of protocol 4 (OpenClaw 2026.9.6); protocol 3 knows the first five.
//! A scope this gateway does not know is never granted, and never an error.

/// One operator scope; the number is its bit in the table file and never changes meaning.
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

impl Scope {
    /// Every scope, in the order of its bit.
    pub const ALL: [Scope; 10] = [
        Scope::Admin,
        Scope::Read,
        Scope::Write,
        Scope::Approvals,
        Scope::Pairing,
        Scope::Questions,
        Scope::Talk,
        Scope::TalkSecrets,
        Scope::SessionsRead,
        Scope::SessionsWrite,
    ];

    /// The protocol's word for the scope.
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

    /// The scope of that name, if this gateway knows it.
    pub fn parse(name: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.name() == name)
    }

    /// What holding this scope gives: itself and all it implies (protocol 4).
    pub const fn implied(self) -> Scopes {
        match self {
            Scope::Admin => Scopes::ALL,
            Scope::Write => Scopes::of(Scope::Write)
                .with(Scopes::of(Scope::Read))
                .with(Scopes::of(Scope::Talk))
                .with(Scopes::of(Scope::SessionsRead))
                .with(Scopes::of(Scope::SessionsWrite)),
            Scope::Read => Scopes::of(Scope::Read).with(Scopes::of(Scope::SessionsRead)),
            Scope::SessionsWrite => Scopes::of(Scope::SessionsWrite).with(Scopes::of(Scope::SessionsRead)),
            one => Scopes::of(one),
        }
    }
}

/// The scopes that imply others.
const IMPLYING: [Scope; 4] = [Scope::Admin, Scope::Write, Scope::Read, Scope::SessionsWrite];

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash, Debug)]
pub struct Scopes(u16);

impl Scopes {
    /// No scope.
    pub const NONE: Scopes = Scopes(0);
    /// Every scope this gateway knows.
    pub const ALL: Scopes = Scopes((1 << Scope::ALL.len()) - 1);

    /// The set with this scope only, without what it implies.
    pub const fn of(scope: Scope) -> Scopes {
        Scopes(1 << scope as u16)
    }

    /// The set of these bits; `None` if a bit has no scope.
    pub const fn from_bits(bits: u16) -> Option<Scopes> {
        if bits & !Scopes::ALL.0 == 0 {
            Some(Scopes(bits))
        } else {
            None
        }
    }

    /// One bit a scope, see [`Scope`].
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Both sets together.
    pub const fn with(self, other: Scopes) -> Scopes {
        Scopes(self.0 | other.0)
    }

    /// This set less the other.
    pub const fn without(self, other: Scopes) -> Scopes {
        Scopes(self.0 & !other.0)
    }

    /// What stands in both sets.
    pub const fn and(self, other: Scopes) -> Scopes {
        Scopes(self.0 & other.0)
    }

    /// Is nothing in the set?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scope itself, not by implication.
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & Scopes::of(scope).0 != 0
    }

    /// The set and all it implies.
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

    /// Does this set, by implication, give the scope?
    pub fn allows(self, scope: Scope) -> bool {
        self.closure().contains(scope)
    }

    /// Does this set, by implication, give everything in the other?
    pub fn covers(self, other: Scopes) -> bool {
        other.without(self.closure()).is_empty()
    }

    /// The scopes of the set in the order of their bits.
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
        for unknown in ["", "admin", "operator", "operator.", "OPERATOR.ADMIN", "operator.admin ", "operator.*"] {
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
            assert_eq!(set.covers(Scopes::ALL), set.contains(Scope::Admin), "only admin is everything");
            for scope in Scope::ALL {
                assert_eq!(set.allows(scope), set.iter().any(|one| one.implied().contains(scope)));
            }
        }
    }
}
