//! Users and invitations as the services see them.

use super::{Email, InviteId, Role, Timestamp, UserId};
use serde::Serialize;
use std::fmt;

/// Who has an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UserKind {
    /// A person, who logs in with a password.
    Person,
    /// A program, which has API keys and nothing else: it cannot log in.
    Service,
}

/// A person or a program with an account.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Whether this is a person.
    pub kind: UserKind,
    /// Never changes and is never given to another user.
    pub id: UserId,
    /// The address they log in with; unique.
    pub email: Email,
    /// PHC string of the password (AUT-13); empty for a service.
    pub password_hash: String,
    /// Decides what they may do.
    pub role: Role,
    /// Disabled users cannot log in, refresh or use a token.
    pub disabled: bool,
    /// Whether somebody vouched for the address: an operator, an admin, or an invitation bound to it.
    pub email_verified: bool,
    /// An access token carries the token version it was issued for, and is void when the user has another (REV-4).
    pub token_version: u32,
    /// Counts how often everything of theirs was revoked: by a new password, by a logout everywhere, by reuse, by
    /// disabling. Invitations and device tokens carry the epoch they were made in and are void in a later one.
    pub epoch: u32,
    /// When the account was made.
    pub created_at: Timestamp,
}

/// Prints neither the password's hash nor the address (I5).
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = f.debug_struct("User");
        printed.field("id", &self.id).field("role", &self.role).field("disabled", &self.disabled);
        printed.field("token_version", &self.token_version).field("epoch", &self.epoch).field("password_hash", &"[REDACTED]");
        printed.finish_non_exhaustive()
    }
}

impl User {
    /// Whether this is an enabled admin (AZ-3). A service is none: it cannot log in, so nobody could administer.
    #[must_use]
    pub fn is_active_admin(&self) -> bool {
        self.role.is_admin() && !self.disabled && self.is_person()
    }

    /// Whether this is a person.
    #[must_use]
    pub fn is_person(&self) -> bool {
        self.kind == UserKind::Person
    }

    /// A user for tests that need only some of the fields.
    #[cfg(test)]
    pub(crate) fn example() -> Self {
        Self {
            kind: UserKind::Person,
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
    /// The id, which is not a secret.
    pub id: InviteId,
    /// Keyed hash of the code that was shown once.
    pub code_hash: [u8; 32],
    /// The role of the account that is made with it.
    pub role: Role,
    /// The only address that may use it, if it is bound to one. That address then counts as verified.
    pub email: Option<Email>,
    /// The user who made it.
    pub created_by: UserId,
    /// The maker's [`User::epoch`] when it was made. In a later one the invitation is void.
    pub maker_epoch: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
}
