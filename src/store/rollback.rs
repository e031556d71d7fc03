//! What to do when the engine finds that the database was rolled back to an older state (STO-14).

use super::{Error, Store, api_keys, rows, rows::Deny, schema::USERS};
use crate::domain::{ApiKeyId, By, Event, Kind, Timestamp};
use std::{ops::ControlFlow, time::Duration};

impl Store {
    /// Whether commits that were acknowledged are missing from the database.
    #[must_use]
    pub fn was_rolled_back(&self) -> bool {
        self.engine.was_rolled_back()
    }

    /// Ends every session and API key and voids every access token, invitation and device token, because revocations in the
    /// lost part are unknown. If it is interrupted, the next start does it again.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the database has lost all its users too, and the engine's own.
    pub async fn revoke_all(&self, now: Timestamp, until: Timestamp) -> Result<(), Error> {
        // Damage near the file's beginning makes sled drop everything after it. Never start an empty server (STO-8).
        if self.end_everything(now, until).await? == 0 {
            return Err(Error::Corrupt("it is older than when it was last seen and has no users".into()));
        }
        self.engine.accept_rollback();
        // The engine notes that before this transaction. Otherwise a kill within the next second would look like another
        // rollback, and everybody who has logged in again would be logged out.
        self.transact(|_| Ok(())).await
    }

    /// Ends every session and API key, and voids every access token issued before `now`, every invitation and every device
    /// token.
    /// Returns how many users there are.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn end_everything(&self, now: Timestamp, until: Timestamp) -> Result<usize, Error> {
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
        // A token issued in the lost part may carry a token version that is now given out again, so void all
        // tokens by their time of issue.
        let deny = Deny { until, lifetime: Duration::ZERO, not_before: Some(now) };
        for user in &users {
            let user = *user;
            self.revoke(move |t| {
                rows::end_everything(t, user, deny)?;
                let event = |key: ApiKeyId| Event::new(Kind::ApiKeyRevoked, By::Server).target(user).key(key.to_string());
                api_keys::end_all(t, user, deny, event).map(drop)
            })
            .await?;
        }
        Ok(users.len())
    }

    /// Voids every access token issued before `moment`; an entry says so until `until`.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn void_all_before(&self, moment: Timestamp, until: Timestamp) -> Result<(), Error> {
        self.revoke(move |t| rows::void_all_before(t, moment, until)).await
    }
}
