//! What can go wrong beneath the store. "Taken" or "stale" are outcomes of verbs, not errors.

use std::{path::PathBuf, sync::Arc};

/// A failure of the store. Cheap to clone: one failed sync is the answer to many verbs.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The disk or the database said no.
    #[error("storage failed: {0}")]
    Storage(Arc<str>),
    /// A row or a file is not what was written.
    #[error("the database is damaged: {0}")]
    Corrupt(Arc<str>),
    /// A later release wrote this.
    #[error("the database has schema {found}, this release knows up to {known}: use a release at least as new as the one that wrote it")]
    TooNew {
        /// The schema found.
        found: u32,
        /// The newest this release reads.
        known: u32,
    },
    /// The database does not belong to the keyring beside it.
    #[error("the database does not belong to this keyring")]
    NotOurs,
    /// Another process has it open.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Writes were refused since the disk failed.
    #[error("storage is read-only since an earlier failure: free the disk or mend it, then restart")]
    ReadOnly,
    /// There is hardly any room left on the disk: what is urgent is still done.
    #[error("the disk is nearly full: free some space; nothing is lost and it goes on by itself")]
    Full,
    /// A commit took too long; whether it happened is not known.
    #[error("storage did not answer in time")]
    TimedOut,
    /// A verb broke an invariant of its own; nothing of it was written.
    #[error("a transaction panicked; nothing of it was written")]
    Panicked,
}

impl Error {
    /// A row that is not what was written.
    pub(super) fn corrupt(what: impl std::fmt::Display) -> Self {
        Self::Corrupt(what.to_string().into())
    }
}
