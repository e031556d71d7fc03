//! sled as the engine: one tree for all tables, one writer thread for all writes (ADR 2).
//!
//! Architecture invariant: nothing outside this folder names sled (I1), and no sled transaction is
//! ever opened: the writer is alone, so a batch of what its works staged is the transaction, and
//! the closure that deadlocks when it reads the tree does not exist.

mod writer;

use super::{Engine, Reads, Visit, Work};
use crate::store::Error;
use std::{fs::File, ops::Bound, path::Path};
use writer::Writer;

/// Pages sled may keep in memory, in bytes (STO-16). What is not among them is in
/// the page cache of the system, a few microseconds away.
const CACHE_CAPACITY: u64 = 24 * 1024 * 1024;
const TREE: &[u8] = b"doorward";

/// A sled database in a directory of its own.
pub struct Sled {
    tree: sled::Tree,
    writer: Writer,
}

impl Sled {
    /// Opens the database in `directory`, which sled creates when it is missing. Below `min_free`
    /// bytes of room it takes only what is urgent.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Storage`], [`Error::Corrupt`].
    pub fn open(directory: &Path, min_free: u64) -> Result<Self, Error> {
        let db = sled::Config::new()
            .path(directory)
            .cache_capacity(CACHE_CAPACITY)
            // The writer flushes; sled's own flusher would die on the first error without a word.
            .flush_every_ms(None)
            .open()
            .map_err(|error| match error {
                sled::Error::Io(io) if io.to_string().contains("could not acquire lock") => Error::InUse(directory.to_owned()),
                other => Error::from(other),
            })?;
        let tree = db.open_tree(TREE)?;
        let file = File::open(directory.join("db")).map_err(|error| Error::Storage(format!("db: {error}").into()))?;
        let writer = Writer::start(db, tree.clone(), file, min_free)?;
        Ok(Self { tree, writer })
    }
}

/// [`Sled::open`], as any engine is opened.
///
/// # Errors
/// The same.
pub fn open(directory: &Path, min_free: u64) -> Result<Box<dyn Engine>, Error> {
    Ok(Box::new(Sled::open(directory, min_free)?))
}

impl Engine for Sled {
    fn reads(&self) -> &dyn Reads {
        &self.tree
    }

    fn submit(&self, work: Box<dyn Work>) {
        self.writer.submit(work);
    }

    fn is_writable(&self) -> bool {
        self.writer.is_writable()
    }
}

impl Reads for sled::Tree {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(Self::get(self, key)?.map(|value| value.to_vec()))
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), Error> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        for row in self.range::<&[u8], _>((from, Bound::Unbounded)) {
            let (key, value) = row?;
            if !key.starts_with(prefix) || visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl From<sled::Error> for Error {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Corruption { .. } => Self::Corrupt(error.to_string().into()),
            other => Self::Storage(other.to_string().into()),
        }
    }
}
