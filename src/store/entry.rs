//! Entering an app behind the gate: the session that a pass follows from is looked up.

use super::{
    Error, Store,
    rows::note_issued,
    schema::{SESSIONS, USERS},
};
use crate::domain::{Event, Session, SessionId, Timestamp, UserId};
use std::time::Duration;

/// A user who enters an app in one of their sessions.
#[derive(Clone)]
pub struct Entry {
    /// The session.
    pub session: SessionId,
    /// Its user.
    pub user: UserId,
    /// The user's token version, as it was authenticated.
    pub version: u32,
    /// When the pass is issued.
    pub now: Timestamp,
    /// The longest that a pass can be accepted.
    pub lifetime: Duration,
    /// The event to log.
    pub event: Event,
}

impl Store {
    /// The session that a user enters an app in, if it goes on. What ends it after this was looked up ends the pass that
    /// follows as well: the pass is dated before the look-up.
    ///
    /// # Errors
    /// The engine's own, and [`Error::Corrupt`].
    pub async fn enter(&self, entry: Entry) -> Result<Option<Session>, Error> {
        self.transact(move |t| {
            let session = SESSIONS.get(t.reads(), &entry.session)?;
            let session = session.filter(|session| session.user == entry.user && entry.now < session.expires_at);
            let user = USERS.get(t.reads(), &entry.user)?;
            let is_current = user.is_some_and(|user| user.token_version == entry.version && !user.disabled);
            if session.is_some() && is_current {
                note_issued(t, entry.now, entry.lifetime)?;
                t.record(entry.event.clone())?;
                return Ok(session);
            }
            Ok(None)
        })
        .await
    }
}
