//! Failures of the store. That an address is taken or a token is stale is an outcome of an operation, not an error.

use std::{path::PathBuf, sync::Arc};

/// A failure of the store. Cheap to clone: one failed sync is the answer to many transactions.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The disk or the database reported an error.
    #[error("storage failed: {0}")]
    Storage(Arc<str>),
    /// A row or a file has changed since it was written.
    #[error("the database is damaged: {0}")]
    Corrupt(Arc<str>),
    /// A later release wrote the database.
    #[error("the database has schema {found}, this release knows up to {known}: use a release at least as new as the one that wrote it")]
    TooNew {
        /// The database's schema.
        found: u32,
        /// The newest schema this release reads.
        known: u32,
    },
    /// The database does not belong to the keyring beside it.
    #[error("the database does not belong to this keyring")]
    NotOurs,
    /// Another process has the database open.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// A write failed earlier, so all later ones are refused.
    #[error("storage is read-only since an earlier failure: free the disk or mend it, then restart")]
    ReadOnly,
    /// The disk is nearly full: only revocations are written.
    #[error("the disk is nearly full: free some space; nothing is lost and it goes on by itself")]
    Full,
    /// A commit took too long; it may still happen.
    #[error("storage did not answer in time")]
    TimedOut,
    /// The session or the user on whose authority a change was asked for has ended or changed; nothing was written.
    #[error("the session on whose authority this was asked for has ended")]
    AuthorityEnded,
    /// So much was written while a snapshot was read that what it replaced is no longer kept.
    #[error("too much was written meanwhile: it was read too slowly; write to a faster place")]
    SnapshotLost,
    /// A transaction panicked; nothing of it was written.
    #[error("a transaction panicked; nothing of it was written")]
    Panicked,
}

impl Error {
    /// The error for a damaged row.
    pub(super) fn corrupt(what: impl std::fmt::Display) -> Self {
        Self::Corrupt(what.to_string().into())
    }
}
