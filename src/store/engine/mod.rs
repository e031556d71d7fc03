//! The boundary beneath the store: ordered bytes, atomic work, durable before it is answered.
//!
//! An engine is a handful of methods, so that another one (on a network, or one that fails on
//! purpose) can take sled's place without a line changing above.

pub mod overlay;
pub mod sled;

use super::Error;
use std::{ops::ControlFlow, path::Path};

/// Called for each row of a scan, in key order; `Break` ends it.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

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

/// How badly a piece of work must be done when there is hardly any room left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Refused while there is still room for what is urgent.
    Ordinary,
    /// Takes something away from somebody: refused last.
    Urgent,
}

/// A piece of work: runs as one transaction and is told when that is durable.
pub trait Work: Send {
    /// Reads and writes. May be run more than once, so it has no effect but on `tx` and itself (I4).
    ///
    /// # Errors
    /// Whatever it returns undoes all it wrote.
    fn run(&mut self, tx: &mut dyn Tx) -> Result<(), Error>;

    /// How badly it must be done.
    fn need(&self) -> Need;

    /// The work is durable, or failed and is undone. Works are finished in the order of their commits.
    fn finish(self: Box<Self>, result: Result<(), Error>);
}

/// A database engine.
pub trait Engine: Send + Sync {
    /// Reads of what is committed, durable or not yet. Never to be used inside a [`Work`].
    fn reads(&self) -> &dyn Reads;

    /// Queues a piece of work; [`Work::finish`] tells the rest.
    fn submit(&self, work: Box<dyn Work>);

    /// Whether writes are accepted.
    fn is_writable(&self) -> bool;
}

/// Opens an engine on the database in a directory. Below so many bytes of room it takes only what is
/// urgent.
pub type Open = fn(&Path, u64) -> Result<Box<dyn Engine>, Error>;
