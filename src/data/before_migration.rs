//! The copy that is made before a migration, for whoever must go back to the release before.

use super::{DataDir, NewFile};
use crate::{
    domain::Timestamp,
    failure::Failure,
    keyring::Keyring,
    store::{
        Store,
        backup::{Fault, Reader},
    },
};
use std::{
    fs::DirBuilder,
    io::{self, BufReader, BufWriter},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

impl DataDir {
    /// Writes a raw backup of a database that is about to be migrated, reads it again, and returns where it is. To be called
    /// before the first step, and not again when a migration that was cut short goes on.
    ///
    /// # Errors
    /// It cannot be written; then nothing may be migrated.
    pub fn back_up_before_migration(&self, store: &Store, keyring: &Keyring, now: Timestamp) -> Result<PathBuf, Failure> {
        let directory = self.backups();
        let stamp = now.to_string().replace([':', '-'], "");
        let stamp = stamp.split('.').next().unwrap_or_default();
        let target = directory.join(format!("before-migration-{stamp}Z.jsonl"));
        let failed = |fault: Fault| {
            Failure::io(format!(
                "{}: {fault}: the database is of an earlier release and is not brought up before it is copied; nothing was changed",
                target.display()
            ))
        };
        let io = |error: io::Error| failed(Fault::Write(error));
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(io)?;
        let new = NewFile::begin(&target).map_err(io)?;
        let keys = keyring.to_file().map_err(|error| io(error.into()))?;
        store.write_raw_backup(BufWriter::new(new.file()), keys, now).map_err(failed)?;
        read_through(BufReader::new(new.read_back().map_err(io)?)).map_err(failed)?;
        new.place().map_err(io)?;
        tracing::info!("the database as it was is kept in {}", target.display());
        Ok(target)
    }

    /// The directory for backups in this data directory.
    #[must_use]
    pub fn backups(&self) -> PathBuf {
        Self::backups_in(self.path())
    }

    /// The directory for backups in a data directory.
    #[must_use]
    pub fn backups_in(path: &Path) -> PathBuf {
        path.join("backups")
    }
}

/// Reads a backup to its end.
fn read_through(input: impl io::BufRead) -> Result<(), Fault> {
    let (_, mut reader) = Reader::begin(input)?;
    while reader.next()?.is_some() {}
    Ok(())
}
