//! Backups: one file that has everything, whatever engine it came from and whichever it goes to (STO-13).
//!
//! A backup is lines of JSON: what it is, a line for each row, and at last how many there were of each kind, with the
//! SHA-256 of all bytes before. It is read from a snapshot, so it shows one moment, and is never held in memory.
//!
//! There are two kinds. A *logical* backup has users, sessions and so on as the domain knows them: every later release
//! reads it. A *raw* one has the rows as they are stored, and is made before a migration: it is what an earlier release
//! goes back to.

mod export;
mod format;

pub use format::{Contents, Header, Line, Reader, Summary, Writer};

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
    /// A later release wrote it.
    #[error("was made by a later release, {0}: use that one, or a later one")]
    TooNew(String),
}
