//! The copy that is made before a migration, for whoever must go back to the release before.

use super::{DataDir, backup_file::write_backup};
use crate::{
    domain::Timestamp,
    failure::Failure,
    keyring::Keyring,
    store::{Store, backup::Reader},
};
use std::{
    fs::{self, File},
    io::BufReader,
    path::PathBuf,
};

/// How the names of these copies begin.
const PREFIX: &str = "before-migration-";

impl DataDir {
    /// Writes a backup of a database that is about to be migrated, reads it again, and returns where it is. To be called
    /// before the first step, and not again when a migration that was cut short goes on.
    ///
    /// # Errors
    /// It cannot be written; then nothing may be migrated.
    pub fn back_up_before_migration(&self, store: &Store, keyring: &Keyring, now: Timestamp) -> Result<PathBuf, Failure> {
        let target = self.backups().join(format!("{PREFIX}{}.jsonl", stamp(now)));
        let refused = |why: String| {
            let why = why.trim_end_matches(": nothing was changed");
            Failure::io(format!(
                "{why}: the database is of an earlier release and is not brought up before it is copied; nothing was changed"
            ))
        };
        let keys = keyring.to_file().map_err(|error| refused(error.to_string()))?;
        write_backup(&target, &[], |out| Ok(store.write_backup(out, keys, now)?)).map_err(|failure| refused(failure.to_string()))?;
        tracing::info!("the database as it was is kept in {}", target.display());
        Ok(target)
    }

    /// How to go back from a database of a later release, if there is a copy that this one reads.
    pub(super) fn way_back(&self) -> Option<String> {
        let copies = fs::read_dir(self.backups()).ok()?.flatten().map(|entry| entry.path());
        let is_copy = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        let mut copies: Vec<_> = copies.filter(is_copy).collect();
        copies.sort();
        let readable = |path: &PathBuf| Some(Reader::begin(BufReader::new(File::open(path).ok()?)).ok()?.0);
        let (copy, header) = copies.into_iter().rev().find_map(|path| readable(&path).map(|header| (path, header)))?;
        Some(format!("doorward restore --replace {} (what happened since {} is lost)", copy.display(), header.created_at))
    }

    /// The directory for backups in this data directory.
    #[must_use]
    pub fn backups(&self) -> PathBuf {
        self.path().join("backups")
    }
}

/// A moment, as it stands in the names of files.
pub(super) fn stamp(now: Timestamp) -> String {
    let stamp = now.to_string().replace([':', '-'], "");
    format!("{}Z", stamp.split(['.', 'Z']).next().unwrap_or_default())
}
