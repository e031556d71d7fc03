//! What follows when the engine finds that the database is older than it was last seen (STO-14).

use super::{Error, Store, rows, rows::Deny, schema::USERS};
use crate::domain::Timestamp;
use std::ops::ControlFlow;

impl Store {
    /// Whether commits that were acknowledged are missing from the database.
    #[must_use]
    pub fn was_rolled_back(&self) -> bool {
        self.engine.was_rolled_back()
    }

    /// Ends every session, voids every access token and whatever anybody handed out: what was revoked in the
    /// part that is lost is unknown. May be cut short at any point and is then done again.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the database has forgotten every user as well, and the engine's own.
    pub async fn revoke_all(&self, now: Timestamp, until: Timestamp) -> Result<(), Error> {
        let users = self
            .view(|reads| {
                let mut users = Vec::new();
                USERS.scan(reads, &[], None, |id, _| {
                    users.push(id);
                    ControlFlow::Continue(())
                })?;
                Ok(users)
            })
            .await?;
        // Damage near its beginning makes sled forget all the rest: never an empty server (STO-8).
        if users.is_empty() {
            return Err(Error::Corrupt("it is older than when it was last seen and has no users".into()));
        }
        // A token of the part that is lost may have a version that is given out again: it was issued before.
        let deny = Deny { until, not_before: Some(now) };
        for user in users {
            self.revoke(move |t| rows::end_everything(t, user, deny)).await?;
        }
        self.engine.accept_rollback();
        Ok(())
    }
}
