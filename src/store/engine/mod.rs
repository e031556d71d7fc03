//! The boundary beneath the store: ordered bytes, atomic work, durable before it is answered.
//!
//! An engine is a handful of methods. Nothing above it knows where the bytes lie, and nothing in it knows
//! what they mean, so another engine can take sled's place without a line changing above.

#[cfg(test)]
pub(super) mod conformance;
pub mod memory;
pub mod overlay;
pub mod sled;

pub use self::sled::SledStorage;

use super::Error;
use futures_util::future::BoxFuture;
use std::{fmt, ops::ControlFlow};

/// Called for each row of a scan, in key order; `Break` ends it.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Reads something. An engine may call it more than once: it must begin anew each time.
pub type Look<'a> = dyn FnMut(&dyn Reads) -> Result<(), Error> + Send + 'a;

/// Reading.
pub trait Reads {
    /// The value at `key`.
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Corrupt`].
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// Visits rows whose key begins with `prefix` and is greater than `after`.
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Corrupt`].
    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), Error>;
}

/// Writing, within one piece of work.
pub trait Tx {
    /// What the work sees: the database and what the work itself has written.
    fn reads(&self) -> &dyn Reads;
    /// Writes a value.
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>);
    /// Removes a value.
    fn delete(&mut self, key: Vec<u8>);
}

/// Which work is still done when there is hardly any room left on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Refused while there is still room for revocations.
    Normal,
    /// Takes something away from somebody: refused last.
    Revocation,
}

/// A piece of work: runs as one transaction and is told when that is durable.
pub trait Work: Send {
    /// Reads and writes. May be run more than once, so it changes nothing but `tx` and itself, and reads
    /// no clock and no memory that others write (I4).
    ///
    /// # Errors
    /// Whatever it returns undoes all it wrote.
    fn run(&mut self, tx: &mut dyn Tx) -> Result<(), Error>;

    /// What is done with it when the disk is nearly full.
    fn priority(&self) -> Priority;

    /// Keys it will want first: an engine on a network fetches them all at once. A hint, nothing more.
    fn hints(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// The work is durable, or failed and is undone. An engine that commits several at once finishes them
    /// in any order.
    fn finish(self: Box<Self>, result: Result<(), Error>);
}

/// A database engine.
pub trait Engine: Send + Sync {
    /// Reads what is committed. Never to be used inside a [`Work`], which has its own reads.
    fn view<'a>(&'a self, look: &'a mut Look<'a>) -> BoxFuture<'a, Result<(), Error>>;

    /// Queues a piece of work; [`Work::finish`] tells the rest.
    fn submit(&self, work: Box<dyn Work>);

    /// Whether writes are accepted.
    fn is_writable(&self) -> bool;

    /// Whether the database was found older than it was last seen: commits that were acknowledged are
    /// missing. It stays so, over restarts too, until [`Engine::accept_rollback`].
    fn was_rolled_back(&self) -> bool {
        false
    }

    /// What follows from the rollback is durable: from here on the database as it is counts.
    fn accept_rollback(&self) {}
}

/// Reads that a start does before anything else. An engine that may hang or crash on damage does them
/// where it can be watched.
pub type FirstLook = fn(&dyn Reads) -> Result<(), Error>;

/// Where a database is kept, and how it is opened. Displayed, it names the place for a person.
pub trait Storage: fmt::Display + Send + Sync {
    /// Whether a start has begun to make a database here.
    fn is_begun(&self) -> bool;

    /// Whether there is a database: a keyring without one is never taken for a new installation.
    fn is_there(&self) -> bool;

    /// Opens the database, making it if there is none.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Storage`], [`Error::Corrupt`].
    fn open(&self, look: FirstLook) -> Result<Box<dyn Engine>, Error>;

    /// Moves away what a start that never finished has left, for a new one to be made.
    ///
    /// # Errors
    /// [`Error::Storage`].
    fn set_aside(&self) -> Result<(), Error>;
}
