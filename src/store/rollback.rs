//! What to do when the engine finds that the database was rolled back to an older state (STO-14).

use super::{Error, Store, rows, rows::Deny, schema::USERS};
use crate::domain::Timestamp;
use std::{ops::ControlFlow, time::Duration};

impl Store {
    /// Whether commits that were acknowledged are missing from the database.
    #[must_use]
    pub fn was_rolled_back(&self) -> bool {
        self.engine.was_rolled_back()
    }

    /// Ends every session and voids every access token, invitation and device token, because revocations in the
    /// lost part are unknown. If it is interrupted, the next start does it again.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the database has lost all its users too, and the engine's own.
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
        // Damage near the file's beginning makes sled drop everything after it. Never start an empty server (STO-8).
        if users.is_empty() {
            return Err(Error::Corrupt("it is older than when it was last seen and has no users".into()));
        }
        // A token issued in the lost part may carry a token version that is now given out again, so void all
        // tokens by their time of issue.
        let deny = Deny { until, lifetime: Duration::ZERO, not_before: Some(now) };
        for user in users {
            self.revoke(move |t| rows::end_everything(t, user, deny)).await?;
        }
        self.engine.accept_rollback();
        // The engine notes that before this transaction. Otherwise a kill within the next second would look like another
        // rollback, and everybody who has logged in again would be logged out.
        self.transact(|_| Ok(())).await
    }
}
