//! A typed table: a name, a one-byte key prefix in the one tree, and the types of its keys and values.

use super::{
    Error,
    engine::{Reads, Tx},
    key::Key,
    record::{self, Record},
};
use std::{marker::PhantomData, ops::ControlFlow};

/// A table of records `R` under keys `K`.
pub struct Table<K, R> {
    name: &'static str,
    prefix: u8,
    types: PhantomData<fn() -> (K, R)>,
}

impl<K: Key, R: Record> Table<K, R> {
    /// A table. `prefix` must be unique in the schema and never changes.
    pub const fn new(prefix: u8, name: &'static str) -> Self {
        Self { name, prefix, types: PhantomData }
    }

    /// The record at `key`.
    pub fn get(&self, reads: &dyn Reads, key: &K) -> Result<Option<R>, Error> {
        let key = self.key(key);
        reads.get(&key)?.map(|bytes| self.decode_row(&key, &bytes)).transpose()
    }

    /// Does the work of [`Table::get`] on a decoy's bytes where there is no row, so that a missing row takes as
    /// long as an existing one.
    pub fn get_decoy(&self, reads: &dyn Reads, key: &K, bytes: &[u8]) -> Result<(), Error> {
        let key = self.key(key);
        std::hint::black_box((reads.get(&key)?, self.decode_row(&key, bytes).is_ok()));
        Ok(())
    }

    /// Writes the record at `key`.
    pub fn put(&self, tx: &mut dyn Tx, key: &K, record: &R) -> Result<(), Error> {
        let key = self.key(key);
        let bytes = record::encode_row(&key, record)?;
        tx.put(key, bytes);
        Ok(())
    }

    /// The bytes of a record at `key`.
    pub fn encode_row(&self, key: &K, record: &R) -> Result<Vec<u8>, Error> {
        record::encode_row(&self.key(key), record)
    }

    /// Removes the record at `key`, if there is one.
    pub fn delete(&self, tx: &mut dyn Tx, key: &K) {
        tx.delete(self.key(key));
    }

    /// Visits, in key order, the records whose key begins with `prefix` and comes after `after`.
    /// Damaged rows are logged and skipped (STO-9).
    pub fn scan(
        &self,
        reads: &dyn Reads,
        prefix: &[u8],
        after: Option<&K>,
        mut visit: impl FnMut(K, R) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let start = [&[self.prefix], prefix].concat();
        let after = after.map(|key| self.key(key));
        reads.scan(&start, after.as_deref(), &mut |key, bytes| self.visit_readable(key, bytes, &mut visit))
    }

    fn visit_readable(&self, key: &[u8], bytes: &[u8], visit: &mut dyn FnMut(K, R) -> ControlFlow<()>) -> ControlFlow<()> {
        match (K::read(&key[1..]), self.decode_row(key, bytes)) {
            (Some(key), Ok(record)) => visit(key, record),
            (key, record) => {
                // One damaged row must not hide the others: skip it.
                let why = record.err().map_or_else(|| format!("{}: a key is not one", self.name), |error| error.to_string());
                tracing::error!(readable_key = key.is_some(), "{why}; `doorward check` lists every damaged row");
                ControlFlow::Continue(())
            }
        }
    }

    /// The first key that begins with `prefix`, read from the keys alone: a damaged value hides none.
    pub fn first_key(&self, reads: &dyn Reads, prefix: &[u8]) -> Result<Option<K>, Error> {
        let mut first = None;
        reads.scan(&[&[self.prefix], prefix].concat(), None, &mut |key, _| {
            first = K::read(&key[1..]);
            if first.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(first)
    }

    /// Visits all rows whose key begins with `prefix`, damaged ones too: those with the error instead of the
    /// record, and with `None` when the key cannot be read.
    pub fn scan_with_damage(
        &self,
        reads: &dyn Reads,
        prefix: &[u8],
        mut visit: impl FnMut(Option<K>, Result<R, Error>),
    ) -> Result<(), Error> {
        reads.scan(&[&[self.prefix], prefix].concat(), None, &mut |key, bytes| {
            visit(K::read(&key[1..]), self.decode_row(key, bytes));
            ControlFlow::Continue(())
        })
    }

    /// The table's name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The byte its keys begin with.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The bytes of a key in the one tree.
    pub fn key(&self, key: &K) -> Vec<u8> {
        // Most keys are at most two ids long.
        let mut bytes = Vec::with_capacity(1 + 2 * 16);
        bytes.push(self.prefix);
        key.write(&mut bytes);
        bytes
    }

    fn decode_row(&self, key: &[u8], bytes: &[u8]) -> Result<R, Error> {
        record::decode_row(key, bytes).map_err(|error| match error {
            Error::Corrupt(why) => Error::corrupt(format_args!("{}: {why}", self.name)),
            other => other,
        })
    }
}
