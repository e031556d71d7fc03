//! The boundary beneath the store: ordered bytes, and atomic pieces of work that are durable before they are
//! answered.
//!
//! An engine has a handful of methods. Nothing above it knows where the bytes are kept, and nothing in it knows
//! what they mean, so another engine can replace sled without a change above.

#[cfg(test)]
pub(super) mod conformance;
pub mod memory;
pub mod overlay;
pub mod sled;

pub use self::sled::SledStorage;

use super::Error;
use futures_util::future::BoxFuture;
use std::{fmt, ops::ControlFlow, time::Duration};

/// Called for each row of a scan, in key order; `Break` ends it.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A closure that reads. An engine may call it more than once, so it must start from the beginning each time.
pub type ReadFn<'a> = dyn FnMut(&dyn Reads) -> Result<(), Error> + Send + 'a;

/// Read access to the database.
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

/// Write access to the database within one piece of work.
pub trait Tx {
    /// Reads what the work sees: the database with what the work has written so far.
    fn reads(&self) -> &dyn Reads;
    /// Writes a value.
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>);
    /// Removes a value.
    fn delete(&mut self, key: Vec<u8>);
}

/// Which work is still done when the disk is nearly full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Refused when the disk is nearly full, to leave room for revocations.
    Normal,
    /// Revokes or removes something: refused last.
    Revocation,
}

/// A piece of work: the engine runs it as one transaction and tells it when that is durable.
pub trait Work: Send {
    /// Reads and writes. An engine may run it more than once, so it changes nothing but `tx` and itself, and reads
    /// neither a clock nor shared memory (I4).
    ///
    /// # Errors
    /// Any error undoes all it wrote.
    fn run(&mut self, tx: &mut dyn Tx) -> Result<(), Error>;

    /// Whether it is still done when the disk is nearly full.
    fn priority(&self) -> Priority;

    /// Keys it will read first, which an engine on a network can fetch all at once. Only a hint.
    fn hints(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// Called when the work is durable, or has failed and is undone. An engine that commits several works at once
    /// finishes them in any order.
    fn finish(self: Box<Self>, result: Result<(), Error>);
}

/// A group of works that were made durable together.
#[derive(Debug, Clone, Copy)]
pub struct Committed {
    /// How many.
    pub works: usize,
    /// How long that took, from the first work's run to the end of the sync.
    pub took: Duration,
    /// How much of it was the sync.
    pub sync: Duration,
}

/// Is told of each group. It must be quick, as the next one waits.
pub type Watch = Box<dyn Fn(Committed) + Send + Sync>;

/// How an engine is doing, as far as it knows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    /// Works that wait to be run.
    pub queued: usize,
    /// Bytes that the database takes where it is kept.
    pub disk_bytes: Option<u64>,
    /// Bytes that are free there.
    pub free_bytes: Option<u64>,
}

/// A database engine.
pub trait Engine: Send + Sync {
    /// Reads committed rows. Not to be used inside a [`Work`], which has its own reads.
    fn view<'a>(&'a self, read: &'a mut ReadFn<'a>) -> BoxFuture<'a, Result<(), Error>>;

    /// The committed rows as they are now, to be read at leisure: nothing that is committed later changes what it reads, and
    /// it holds up no writer. Its reads may block.
    ///
    /// # Errors
    /// [`Error::Storage`].
    fn snapshot(&self) -> Result<Box<dyn Reads + Send>, Error>;

    /// Queues a piece of work. The engine reports the result to [`Work::finish`].
    fn submit(&self, work: Box<dyn Work>);

    /// Whether writes are accepted.
    fn is_writable(&self) -> bool;

    /// Has each group from now on told to `watch`, the first that it is given. An engine without groups tells of none.
    fn watch(&self, _watch: Watch) {}

    /// How it is doing.
    fn load(&self) -> Load {
        Load::default()
    }

    /// Whether the database was rolled back: acknowledged commits are missing. This stays true, across restarts
    /// too, until [`Engine::accept_rollback`].
    fn was_rolled_back(&self) -> bool {
        false
    }

    /// Ends the rollback: the caller has made its consequences durable, so the present state counts from here on.
    fn accept_rollback(&self) {}
}

/// The first reads of a start. An engine that may hang or crash on damage runs them on a thread it can watch.
pub type StartupReads = fn(&dyn Reads) -> Result<(), Error>;

/// Where a database is kept, and how it is opened. `Display` names the place in messages.
pub trait Storage: fmt::Display + Send + Sync {
    /// Whether a start has begun to create a database here.
    fn is_begun(&self) -> bool;

    /// Whether there is a database. A keyring without one is never taken for a new installation.
    fn is_there(&self) -> bool;

    /// Opens the database; creates it if there is none.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Storage`], [`Error::Corrupt`].
    fn open(&self, read: StartupReads) -> Result<Box<dyn Engine>, Error>;

    /// Moves a database that a start did not finish creating out of the way.
    ///
    /// # Errors
    /// [`Error::Storage`].
    fn set_aside(&self) -> Result<(), Error>;
}
