//! Bringing a database that an earlier release wrote up to this one's schema.

use super::{
    Error, Store, rows,
    schema::{self, INSTANCE, Instance},
};
use crate::domain::Timestamp;

/// The row in which releases of schema 1 counted how far the database had come. The engine does now.
const PROGRESS: &[u8] = b"b";

impl Store {
    /// Brings the database up to this release's schema. May be cut short at any point and is then done again.
    /// On a disk that is nearly full too: it must start (STO-5).
    ///
    /// Schema 1 did not say which users' tokens were void, so every access token issued before `now` is,
    /// and clients refresh once.
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
            t.tx.delete(PROGRESS.to_vec());
            INSTANCE.put(t.tx, &(), &Instance { schema: schema::VERSION, ..found })
        })
        .await
    }
}
