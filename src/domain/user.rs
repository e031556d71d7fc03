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
    /// The token version: an access token carries the one it was issued for, and with another one it is
    /// void (REV-4).
    pub token_version: u32,
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

    /// Somebody, for tests that care for a field or two.
    #[cfg(test)]
    pub(crate) fn example() -> Self {
        Self {
            id: UserId::from_bytes([1; 16]),
            email: "ada@example.org".parse().expect("an address"),
            password_hash: "$scrypt$".into(),
            role: Role::admin(),
            disabled: false,
            email_verified: false,
            token_version: 1,
            epoch: 0,
            created_at: Timestamp::from_secs(1_700_000_000),
        }
    }
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
    /// The user who made it.
    pub created_by: UserId,
    /// Their [`User::epoch`] then: in a later one the invitation is void.
    pub maker_epoch: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is void.
    pub expires_at: Timestamp,
}
