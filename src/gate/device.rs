//! A paired device as stored in the pairing table.

use core::net::IpAddr;

use super::ids::{DeviceId, PublicKey, Role, Roles, TableAge, WallMs};
use super::limits;
use super::pairing_requests::About;
use super::scopes::Scopes;
use super::surface::{DoesNotFit, Surface};
use super::text::Text;

listed_enum! {
    /// Method by which a device was added to the table. The numbers are stored in the file and
    /// never change meaning.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
    pub enum Provenance {
        /// Pending request approved by the owner.
        Owner = 1,
        /// Shared token or password (mode `token`).
        Token = 2,
        /// Setup code.
        Code = 3,
        /// Key listed in `gateway.pairing.authorizedKeys`.
        Config = 4,
        /// Node with the shared secret from `gateway.nodes.pairing.autoApproveCidrs` (mode
        /// `strict`).
        Cidr = 5,
        /// Local client with the shared secret and `gateway.nodes.pairing.autoApproveLocal` (mode
        /// `strict`).
        Local = 6,
        /// User identity asserted by a trusted proxy or Tailscale.
        Identity = 7,
        /// Imported from OpenClaw's files by `gatelet table import`.
        Import = 8,
    }
}

impl Provenance {
    /// Returns the name shown to users.
    pub const fn name(self) -> &'static str {
        match self {
            Provenance::Owner => "owner",
            Provenance::Token => "token",
            Provenance::Code => "code",
            Provenance::Config => "config",
            Provenance::Cidr => "cidr",
            Provenance::Local => "local",
            Provenance::Identity => "identity",
            Provenance::Import => "import",
        }
    }

    /// Returns the provenance with this number, if any.
    pub fn from_number(number: u8) -> Option<Provenance> {
        Provenance::ALL.into_iter().find(|one| *one as u8 == number)
    }

    /// Returns whether the pairing was made without a decision of the owner, so that it is
    /// evictable when the table is full.
    pub const fn is_silent(self) -> bool {
        matches!(self, Provenance::Token | Provenance::Cidr)
    }
}

/// Range of valid device token generations of one role: `floor..=current`. Both are zero if no
/// token was ever issued.
///
/// Tokens are derived from their generation and never stored. Rotation increments `current`;
/// `floor` follows when the new token is first used, so the old token works until then (make before
/// break).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TokenWindow {
    /// Oldest valid generation.
    pub floor: u32,
    /// Generation of the token that is issued.
    pub current: u32,
}

impl TokenWindow {
    /// Token window of a newly approved role.
    pub const FIRST: TokenWindow = TokenWindow { floor: 1, current: 1 };

    /// Starts a new generation. Older generations stay valid until the new token is first used, at
    /// most [`limits::TOKEN_GENERATIONS`] at a time.
    pub fn rotate(&mut self) {
        self.current = self.current.saturating_add(1);
        let oldest = self.current.saturating_sub(limits::TOKEN_GENERATIONS - 1).max(1);
        self.floor = self.floor.max(oldest);
    }

    /// Invalidates all tokens issued so far.
    pub fn revoke(&mut self) {
        self.rotate();
        self.floor = self.current;
    }

    /// Records the use of the token of `generation`: if it is the current one, older tokens become
    /// invalid. Returns whether the window changed.
    pub fn record_use(&mut self, generation: u32) -> bool {
        let moved = generation == self.current && self.floor != self.current;
        if moved {
            self.floor = self.current;
        }
        moved
    }
}

/// Stored state of one device, at most [`limits::RECORD_LEN`] bytes in the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    pub id: DeviceId,
    pub key: PublicKey,
    /// Roles the device may connect as.
    pub roles: Roles,
    /// Roles revoked by the owner; only the owner can restore them.
    pub revoked: Roles,
    /// Approved operator scopes.
    pub scopes: Scopes,
    pub provenance: Provenance,
    /// Device token window of each role, indexed by role.
    pub tokens: [TokenWindow; Role::ALL.len()],
    /// Display name sent by the client.
    pub name: Text<{ limits::NAME_LEN }>,
    /// Label given by the owner; empty if none.
    pub label: Text<{ limits::NAME_LEN }>,
    pub platform: Text<{ limits::PLATFORM_LEN }>,
    pub family: Text<{ limits::PLATFORM_LEN }>,
    pub client_id: Text<{ limits::CLIENT_ID_LEN }>,
    pub client_mode: Text<{ limits::CLIENT_MODE_LEN }>,
    /// Remote address when the device was paired; `None` if it was local.
    pub remote: Option<IpAddr>,
    pub created: WallMs,
    pub approved: WallMs,
    /// Wall-clock time of the last connection, for display only; decisions use `seen_age`.
    pub seen: WallMs,
    /// Table age at the last connection, in hours.
    pub seen_age: TableAge,
    /// Node commands, capabilities and permissions approved by the owner.
    pub surface: Surface,
    /// Time of the owner's last approval of `surface`; 0 if never.
    pub surface_approved: WallMs,
}

impl Device {
    /// Makes a device with its id, key and provenance; all other fields are empty.
    pub fn new(id: DeviceId, key: PublicKey, provenance: Provenance) -> Device {
        Device {
            id,
            key,
            roles: Roles::NONE,
            revoked: Roles::NONE,
            scopes: Scopes::NONE,
            provenance,
            tokens: [TokenWindow::default(); Role::ALL.len()],
            name: Text::new(),
            label: Text::new(),
            platform: Text::new(),
            family: Text::new(),
            client_id: Text::new(),
            client_mode: Text::new(),
            remote: None,
            created: WallMs(0),
            approved: WallMs(0),
            seen: WallMs(0),
            seen_age: TableAge(0),
            surface: Surface::NONE,
            surface_approved: WallMs(0),
        }
    }

    /// Approves `role`, adding `scopes` if it is the operator role, and ends a revocation of that
    /// role.
    pub fn approve(&mut self, role: Role, scopes: Scopes, now: WallMs) {
        self.roles = self.roles.with(Roles::of(role));
        self.revoked = self.revoked.without(Roles::of(role));
        if role == Role::Operator {
            self.scopes = self.scopes.with(scopes);
        }
        let window = &mut self.tokens[role as usize];
        if window.current == 0 {
            *window = TokenWindow::FIRST;
        }
        self.approved = now;
    }

    /// Adds `surface` to the approved surface. Changes nothing if the union does not fit.
    pub fn approve_surface(&mut self, surface: &Surface, now: WallMs) -> Result<(), DoesNotFit> {
        self.surface.merge(surface)?;
        self.surface_approved = now;
        Ok(())
    }

    /// Revokes `role` and invalidates its tokens until the owner restores the role. Scopes and
    /// surface are kept for that case.
    pub fn revoke(&mut self, role: Role) {
        self.roles = self.roles.without(Roles::of(role));
        self.revoked = self.revoked.with(Roles::of(role));
        self.tokens[role as usize].revoke();
    }

    /// Removes the node role and its approved surface, without leaving a revocation of it.
    ///
    /// Returns whether the device still has any role or revocation, so that its record must be
    /// kept.
    pub fn remove_node(&mut self) -> bool {
        self.revoke(Role::Node);
        self.revoked = self.revoked.without(Roles::of(Role::Node));
        (self.surface, self.surface_approved) = (Surface::NONE, WallMs(0));
        !self.roles.is_empty() || !self.revoked.is_empty()
    }

    /// Copies the client's description of itself.
    pub fn describe(&mut self, about: &About) {
        self.name = about.name.clone();
        self.platform = about.platform.clone();
        self.family = about.family.clone();
        self.client_id = about.client_id.clone();
        self.client_mode = about.client_mode.clone();
        self.remote = about.remote;
    }

    /// Returns the owner's label, or the client's display name if there is none; may be empty.
    pub fn shown_name(&self) -> &str {
        if self.label.is_empty() {
            &self.name
        } else {
            &self.label
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scopes::Scope;
    use super::*;

    fn good(window: TokenWindow) -> core::ops::RangeInclusive<u32> {
        window.floor..=window.current
    }

    #[test]
    fn a_rotated_token_works_until_the_new_one_is_used() {
        let mut window = TokenWindow::FIRST;
        window.rotate();
        assert_eq!(good(window), 1..=2);
        assert!(!window.record_use(1), "the old one ends nothing");
        assert_eq!(good(window), 1..=2);
        assert!(window.record_use(2));
        assert_eq!(good(window), 2..=2);
        assert!(!window.record_use(2), "a second use writes nothing");
    }

    #[test]
    fn number_of_valid_tokens_is_limited() {
        let mut window = TokenWindow::FIRST;
        for rotations in 1..20 {
            window.rotate();
            assert_eq!(window.current, rotations + 1);
            assert!(good(window).count() as u32 <= limits::TOKEN_GENERATIONS);
        }
        assert_eq!(good(window).count() as u32, limits::TOKEN_GENERATIONS);
        let mut last = TokenWindow { floor: u32::MAX, current: u32::MAX };
        last.rotate();
        assert_eq!(good(last), u32::MAX..=u32::MAX);
    }

    #[test]
    fn restored_role_gets_new_tokens() {
        let mut device = Device::new(DeviceId([1; 32]), PublicKey([2; 32]), Provenance::Token);
        let (operator, node) = (Roles::of(Role::Operator), Roles::of(Role::Node));
        device.approve(Role::Operator, Scopes::of(Scope::Read), WallMs(5));
        device.approve(Role::Node, Scopes::of(Scope::Admin), WallMs(6));
        assert_eq!(
            (device.roles, device.revoked, device.approved),
            (operator.with(node), Roles::NONE, WallMs(6))
        );
        assert_eq!(device.scopes, Scopes::of(Scope::Read), "a node has no scopes");
        assert_eq!(device.tokens, [TokenWindow::FIRST; 2]);

        let given_out = device.tokens[Role::Operator as usize].current;
        device.revoke(Role::Operator);
        assert_eq!((device.roles, device.revoked), (node, operator));
        assert!(!good(device.tokens[Role::Operator as usize]).contains(&given_out));
        assert_eq!(
            device.tokens[Role::Node as usize],
            TokenWindow::FIRST,
            "the other role keeps its own"
        );

        device.approve(Role::Operator, Scopes::of(Scope::Write), WallMs(7));
        assert_eq!((device.roles, device.revoked), (operator.with(node), Roles::NONE));
        assert!(device.scopes.contains(Scope::Read) && device.scopes.contains(Scope::Write));
        assert!(
            !good(device.tokens[Role::Operator as usize]).contains(&given_out),
            "the old token stays dead"
        );
    }

    #[test]
    fn approved_commands_survive_revocation_and_reapproval() {
        let mut device = Device::new(DeviceId([1; 32]), PublicKey([2; 32]), Provenance::Token);
        let mut surface = Surface::NONE;
        assert_eq!(surface.add_command("system.run"), Ok(()));
        device.approve(Role::Node, Scopes::NONE, WallMs(5));
        assert_eq!(
            (device.surface.is_empty(), device.surface_approved),
            (true, WallMs(0)),
            "a role is no surface"
        );
        assert_eq!(device.approve_surface(&surface, WallMs(6)), Ok(()));
        device.revoke(Role::Node);
        device.approve(Role::Node, Scopes::NONE, WallMs(7));
        assert_eq!((&device.surface, device.surface_approved), (&surface, WallMs(6)));

        (0..limits::SURFACE_TEXT_LEN / 16)
            .for_each(|n| surface.add_cap(&format!("{n:014}")).unwrap());
        assert_eq!(device.surface.add_cap("voice"), Ok(()));
        let before = device.clone();
        assert_eq!(device.approve_surface(&surface, WallMs(8)), Err(DoesNotFit));
        assert_eq!(device, before);
    }

    #[test]
    fn reapproval_keeps_tokens() {
        let mut device = Device::new(DeviceId([1; 32]), PublicKey([2; 32]), Provenance::Owner);
        device.approve(Role::Operator, Scopes::NONE, WallMs(0));
        device.tokens[0].rotate();
        let before = device.tokens;
        device.approve(Role::Operator, Scopes::ALL, WallMs(1));
        assert_eq!(device.tokens, before);
    }

    #[test]
    fn provenance_numbers_are_stable_and_only_two_are_evictable() {
        for (number, one) in (1..).zip(Provenance::ALL) {
            assert_eq!((one as u8, Provenance::from_number(number)), (number, Some(one)));
            assert_eq!(one.is_silent(), matches!(one.name(), "token" | "cidr"));
        }
        assert_eq!((Provenance::from_number(0), Provenance::from_number(9)), (None, None));
    }
}
