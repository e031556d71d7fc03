//! On whose authority a change is made.
//!
//! A request is authenticated before its body arrives, and its body may take seconds. What its maker may do can end
//! meanwhile. So each change that somebody else answers for checks in its own transaction that their authority goes on:
//! a change that is committed after the revocation is never made.

use super::{
    Error, Transaction,
    schema::{SESSIONS, USERS},
};
use crate::domain::{SessionId, UserId};

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
}

impl Authority {
    /// Checks that the authority goes on.
    ///
    /// # Errors
    /// [`Error::AuthorityEnded`], and the engine's own.
    pub(super) fn check(&self, t: &Transaction<'_>) -> Result<(), Error> {
        let Self::Session { user, version, session } = self else { return Ok(()) };
        let user = USERS.get(t.reads(), user)?.filter(|user| !user.disabled && user.token_version == *version);
        let session = SESSIONS.get(t.reads(), session)?;
        match (user, session) {
            (Some(user), Some(session)) if session.user == user.id => Ok(()),
            _ => Err(Error::AuthorityEnded),
        }
    }
}
