//! Accounts: one file for each use case.
//!
//! | file | |
//! |---|---|
//! | `registration.rs` | making an account: by oneself, with an invitation, as the first admin, by an operator |
//! | `login.rs` | logging in |
//! | `password_change.rs` | replacing one's own password |
//! | `users.rs` | what operators and admins do to users |
//! | `invites.rs` | invitations and the set-up link |

mod invites;
mod login;
mod password_change;
mod registration;
mod users;

pub use login::{LoginContext, LoginOutcome};

use super::{
    Error, devices::Devices, events::Actor, passwords::Passwords, refresh_tokens::OneTimeCodes, sessions::Sessions, throttle::Throttle,
};
use crate::{
    config::{self, RegistrationMode},
    domain::{AddressPrefix, By, Clock, Event, Kind, Permission, Role, RolePolicy, Roles},
    store::Store,
};
use std::sync::Arc;

/// The use cases of accounts.
pub struct Accounts {
    pub(super) store: Arc<Store>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) passwords: Passwords,
    pub(super) codes: OneTimeCodes,
    pub(super) devices: Devices,
    pub(super) throttle: Arc<Throttle>,
    pub(super) roles: Roles,
    /// Which role may grant which.
    pub(super) policy: RolePolicy,
    pub(super) mode: RegistrationMode,
    pub(super) registration: config::Registration,
    pub(super) clock: Clock,
}

impl Accounts {
    /// Where passwords are hashed.
    #[must_use]
    pub const fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// The permissions of a role.
    #[must_use]
    pub fn permissions(&self, role: &Role) -> Arc<[Permission]> {
        self.roles.permissions(role)
    }

    /// The configured roles and their permissions.
    #[must_use]
    pub const fn roles(&self) -> &Roles {
        &self.roles
    }

    /// The configured role of this name.
    ///
    /// # Errors
    /// [`Error::InvalidRole`].
    pub fn role(&self, name: &str) -> Result<Role, Error> {
        let role = name.parse().ok().filter(|role| self.roles.contains(role));
        role.ok_or_else(|| Error::InvalidRole { allowed: self.roles.names().cloned().collect() })
    }

    /// Who may make an account.
    #[must_use]
    pub const fn registration_mode(&self) -> RegistrationMode {
        self.mode
    }

    fn note_refusal(&self, kind: Kind, why: &'static str, from: AddressPrefix) {
        self.store.note(Event::new(kind, By::Anyone).why(why).from(from));
    }

    fn check_role_exists(&self, role: &Role) -> Result<(), Error> {
        self.role(role.as_str()).map(drop)
    }

    /// Checks that an actor may grant a role to a user or manage a user who has it: nobody may, if the role has
    /// permissions that they do not have themselves (AZ-4).
    fn check_may_grant(&self, actor: Actor<'_>, role: &Role) -> Result<(), Error> {
        let is_beyond = actor.user().is_some_and(|by| !self.policy.may_grant(&by.role, role));
        if is_beyond { Err(Error::RoleBeyondReach) } else { Ok(()) }
    }
}
