//! Backups: one file that has everything, whatever engine it came from and whichever it goes to (STO-13).
//!
//! A backup is lines of JSON: what it is, the keyring, a line for each row, and at last how many there were of each table, with
//! the SHA-256 of all bytes before. It is read from a snapshot, so it shows one moment, and is never held in memory.
//!
//! Rows are as they are stored: bytes that every engine keeps alike. A later release reads them and migrates them as it would
//! the database; an earlier one refuses them by their schema.

mod export;
mod format;
mod import;
mod news;

pub use format::{Header, Part, Reader, Summary, Writer};
pub use news::{Extent, News};

use super::Error;
use std::io;

/// Why a backup cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The database's own failure.
    #[error(transparent)]
    Store(#[from] Error),
    /// The backup cannot be written.
    #[error("cannot be written: {0}")]
    Write(io::Error),
    /// The backup cannot be read.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// It is not what was written.
    #[error("is damaged or not a backup, at line {line}: {why}: nothing was changed; take another")]
    Damaged {
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// Whoever made it could not go on, and said why.
    #[error("was not finished: {0}: nothing was changed; take another")]
    Unfinished(String),
    /// A later release wrote it.
    #[error("was made by a later release, {0}: use that one, or a later one")]
    TooNew(String),
}
