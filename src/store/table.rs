//! A typed table: a name, a one-byte prefix in the one tree, and what its keys and values are.

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
    /// A table; `prefix` must be unique in the schema and is for ever.
    pub const fn new(prefix: u8, name: &'static str) -> Self {
        Self { name, prefix, types: PhantomData }
    }

    /// The record at `key`.
    pub fn get(&self, reads: &dyn Reads, key: &K) -> Result<Option<R>, Error> {
        let key = self.key(key);
        reads.get(&key)?.map(|bytes| self.open(&key, &bytes)).transpose()
    }

    /// Writes the record at `key`.
    pub fn put(&self, tx: &mut dyn Tx, key: &K, record: &R) -> Result<(), Error> {
        let key = self.key(key);
        let bytes = record::seal(&key, record)?;
        tx.put(key, bytes);
        Ok(())
    }

    /// Removes the record at `key`, if there is one.
    pub fn delete(&self, tx: &mut dyn Tx, key: &K) {
        tx.delete(self.key(key));
    }

    /// Visits, in key order, the records whose key begins with `prefix` and comes after `after`.
    pub fn scan(
        &self,
        reads: &dyn Reads,
        prefix: &[u8],
        after: Option<&K>,
        mut visit: impl FnMut(K, R) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let start = [&[self.prefix], prefix].concat();
        let after = after.map(|key| self.key(key));
        let mut fault = None;
        reads.scan(&start, after.as_deref(), &mut |key, bytes| {
            let row = self.open(key, bytes).and_then(|record| {
                let key = K::read(&key[1..]).ok_or_else(|| Error::corrupt(format_args!("a key of {} is not one", self.name)))?;
                Ok((key, record))
            });
            match row {
                Ok((key, record)) => visit(key, record),
                Err(error) => {
                    fault = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        fault.map_or(Ok(()), Err)
    }

    fn key(&self, key: &K) -> Vec<u8> {
        let mut bytes = vec![self.prefix];
        key.write(&mut bytes);
        bytes
    }

    fn open(&self, key: &[u8], bytes: &[u8]) -> Result<R, Error> {
        record::open(key, bytes).map_err(|error| match error {
            Error::Corrupt(why) => Error::corrupt(format_args!("{}: {why}", self.name)),
            other => other,
        })
    }
}
