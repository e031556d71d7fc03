//! Migrating a database that an earlier release wrote to this release's schema.

use super::{
    Error, Store, rows,
    schema::{self, INSTANCE, Instance},
};
use crate::domain::Timestamp;

/// The row in which releases with schema 1 kept the rollback marker. The engine keeps it now.
const OLD_MARKER: &[u8] = b"b";

impl Store {
    /// Migrates the database to this release's schema. If it is interrupted, the next start does it again. It
    /// runs even when the disk is nearly full, because the server must start (STO-5).
    ///
    /// Schema 1 did not store which users' tokens were void, so every access token issued before `now` becomes
    /// void and every client refreshes once.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn migrate(&self, now: Timestamp, until: Timestamp) -> Result<(), Error> {
        if self.schema == schema::VERSION {
            return Ok(());
        }
        tracing::info!(from = self.schema, to = schema::VERSION, "bringing the database up to this release");
        self.revoke(move |t| {
            let found = INSTANCE.get(t.reads(), &())?.ok_or(Error::NotOurs)?;
            rows::void_all_before(t, now, until)?;
            t.tx.delete(OLD_MARKER.to_vec());
            INSTANCE.put(t.tx, &(), &Instance { schema: schema::VERSION, ..found })
        })
        .await
    }
}
