//! Backups of what the application holds, and what a restored one forgets.

use super::App;
use crate::{
    data::Summary,
    domain::{By, Event, Kind, Timestamp},
    failure::Failure,
    service::access_tokens::AccessTokens,
    store,
};
use std::{io::Write, time::Duration};

impl App {
    /// Writes a backup of this moment: users, sessions, keys, all of it. It blocks, and holds nobody up.
    ///
    /// # Errors
    /// The database cannot be read, or `out` cannot be written.
    pub fn write_backup(&self, out: &mut dyn Write) -> Result<Summary, Failure> {
        let keyring = self.keys().to_file().map_err(|error| Failure::new(error.to_string()))?;
        let summary = self.store.write_backup(out, keyring, self.now())?;
        self.backups.succeeded(self.now());
        Ok(summary)
    }

    /// Makes a backup by the clock, if one is due. It blocks.
    pub fn back_up_if_due(&self) {
        match self.backups.make_if_due(self.now(), |out| self.write_backup(out)) {
            Ok(None) => {}
            Ok(Some((target, summary))) => tracing::info!(rows = summary.rows(), "a backup was made: {}", target.display()),
            Err(failure) => tracing::error!("no backup: {failure}: it is tried again in a quarter of an hour"),
        }
    }

    /// When the last good backup was made, and how often one is made by the clock.
    #[must_use]
    pub fn backups_made(&self) -> (Option<Timestamp>, Option<Duration>) {
        (self.backups.last(), self.backups.every())
    }

    /// Ends every session and API key, and voids every token, invitation and known device: what was revoked after a backup was
    /// made must not live again with it.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn end_everything(&self, why: String) -> Result<(), store::Error> {
        let noted = self.store.issued().await?;
        let issued = AccessTokens::issued_by(self.now(), &self.settings, noted);
        self.store.note(Event::new(Kind::StateRollback, By::Operator).why(why));
        self.store.end_everything(issued.latest.next_second(), issued.latest.plus(issued.lifetime)).await?;
        self.store.write_noted().await
    }
}
