//! On whose authority a change is made.
//!
//! A request is authenticated before its body arrives, and its body may take seconds. What its maker may do can end
//! meanwhile. So each change that somebody else answers for checks in its own transaction that their authority goes on:
//! a change that is committed after the revocation is never made.

use super::{
    Error, Transaction,
    engine::Reads,
    schema::{API_KEYS, SESSIONS, USERS},
};
use crate::domain::{ApiKeyId, SessionId, User, UserId};

/// Whether the actor may change this user, or something of theirs.
pub type Authorize = Box<dyn Fn(&User) -> bool + Send>;

/// On whose authority a change is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// An operator's, who owns the machine.
    Operator,
    /// That of a user, in one of their sessions.
    Session {
        /// The user.
        user: UserId,
        /// The version of their token. It grows when their role changes, so with the version the role is the same.
        version: u32,
        /// The session.
        session: SessionId,
    },
    /// That of an API key, which acts for its owner.
    ApiKey {
        /// The owner.
        owner: UserId,
        /// The version of the owner's tokens when the key was presented.
        version: u32,
        /// The key.
        key: ApiKeyId,
    },
}

impl Authority {
    /// Checks that the authority goes on.
    ///
    /// # Errors
    /// [`Error::AuthorityEnded`], and the engine's own.
    pub(super) fn check(&self, t: &Transaction<'_>) -> Result<(), Error> {
        self.check_with(t.reads())
    }

    /// Like [`Authority::check`], in what a transaction reads.
    pub(super) fn check_with(&self, reads: &dyn Reads) -> Result<(), Error> {
        let goes_on = match self {
            Self::Operator => true,
            Self::Session { user, version, session } => {
                is_in_force(reads, user, *version)? && SESSIONS.get(reads, session)?.is_some_and(|session| session.user == *user)
            }
            Self::ApiKey { owner, version, key } => is_in_force(reads, owner, *version)? && API_KEYS.get(reads, &(*owner, *key))?.is_some(),
        };
        if goes_on { Ok(()) } else { Err(Error::AuthorityEnded) }
    }
}

/// Whether a user is enabled and their role is the one they had at this token version.
fn is_in_force(reads: &dyn Reads, user: &UserId, version: u32) -> Result<bool, Error> {
    Ok(USERS.get(reads, user)?.is_some_and(|user| !user.disabled && user.token_version == version))
}
