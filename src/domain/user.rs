//! Users and invitations as the services see them.

use super::{Email, InviteId, Role, Timestamp, UserId};

/// A person with an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// For ever theirs.
    pub id: UserId,
    /// What they sign in with; unique.
    pub email: Email,
    /// PHC string of the password (AUT-13).
    pub password_hash: String,
    /// What they may do.
    pub role: Role,
    /// Disabled users cannot sign in, refresh or use a token.
    pub disabled: bool,
    /// Whether somebody vouched for the address: an operator, an admin, or an invitation bound to it.
    pub email_verified: bool,
    /// The token version: an access token with another one is revoked (REV-4).
    pub version: u32,
    /// Counts how often everything of theirs was ended at once: by a new password, by signing out
    /// everywhere, by reuse, by disabling. What they handed out before (invitations, device tokens)
    /// carries the epoch it was made in and is void in a later one.
    pub epoch: u32,
    /// When the account was made.
    pub created_at: Timestamp,
}

impl User {
    /// Whether this account alone can administer: an enabled admin (AZ-3).
    #[must_use]
    pub fn is_active_admin(&self) -> bool {
        self.role.is_admin() && !self.disabled
    }

    /// What an access token is held against, without a disk read.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        Standing { version: self.version, disabled: self.disabled }
    }
}

/// What must be known of a user to judge an access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// See [`User::version`].
    pub version: u32,
    /// See [`User::disabled`].
    pub disabled: bool,
}

/// A single-use invitation to register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// Names the invitation; not a secret.
    pub id: InviteId,
    /// Keyed hash of the code that was shown once.
    pub code_hash: [u8; 32],
    /// The role its user gets.
    pub role: Role,
    /// The only address that may use it, if it is bound to one: that address then counts as verified.
    pub email: Option<Email>,
    /// Who made it.
    pub created_by: UserId,
    /// Their [`User::epoch`] then: in a later one the invitation is void.
    pub maker_epoch: u32,
    /// When.
    pub created_at: Timestamp,
    /// From when on it is void.
    pub expires_at: Timestamp,
}
