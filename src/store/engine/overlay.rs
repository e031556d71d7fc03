//! Reads through writes that are not in the database yet, so that a group of works becomes one batch.

use super::{Reads, Tx, Visit, Work};
use crate::store::Error;
use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
    panic::{AssertUnwindSafe, catch_unwind},
};

/// A value, or its removal.
pub type Staged = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Reads staged writes first, then what is below.
struct Layer<'a> {
    below: &'a dyn Reads,
    staged: &'a Staged,
}

impl Reads for Layer<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match self.staged.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.below.get(key),
        }
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), Error> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut staged = self.staged.range::<[u8], _>((from, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(prefix)).peekable();
        let mut stopped = false;
        self.below.scan(prefix, after, &mut |key, value| {
            // Visit the staged rows that sort before this one first; one with the same key replaces it.
            while let Some((staged_key, staged_value)) = staged.next_if(|(k, _)| k.as_slice() <= key) {
                if let Some(value) = staged_value
                    && visit(staged_key, value).is_break()
                {
                    stopped = true;
                    return ControlFlow::Break(());
                }
                if staged_key == key {
                    return ControlFlow::Continue(());
                }
            }
            let flow = visit(key, value);
            stopped = flow.is_break();
            flow
        })?;
        for (key, value) in staged {
            if stopped {
                break;
            }
            if let Some(value) = value {
                stopped = visit(key, value).is_break();
            }
        }
        Ok(())
    }
}

/// One work's transaction: its own writes, over the group's, over the database.
struct Scratch<'a> {
    group: Layer<'a>,
    own: Staged,
}

impl Reads for Scratch<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Layer { below: &self.group, staged: &self.own }.get(key)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), Error> {
        Layer { below: &self.group, staged: &self.own }.scan(prefix, after, visit)
    }
}

impl Tx for Scratch<'_> {
    fn reads(&self) -> &dyn Reads {
        self
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.own.insert(key, Some(value));
    }

    fn delete(&mut self, key: Vec<u8>) {
        self.own.insert(key, None);
    }
}

/// Runs one work over what its group has staged so far. Returns what it wrote, to be staged too.
///
/// # Errors
/// The work's own, or [`Error::Panicked`]; then it wrote nothing.
pub fn run(below: &dyn Reads, group: &Staged, work: &mut dyn Work) -> Result<Staged, Error> {
    let mut scratch = Scratch { group: Layer { below, staged: group }, own: Staged::new() };
    // A panic in one work must not end the writer thread (HTTP-14).
    catch_unwind(AssertUnwindSafe(|| work.run(&mut scratch))).unwrap_or(Err(Error::Panicked))?;
    Ok(scratch.own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Reads for Staged {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
            Ok(BTreeMap::get(self, key).cloned().flatten())
        }

        fn scan(&self, prefix: &[u8], after: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), Error> {
            for (key, value) in self {
                if key.starts_with(prefix)
                    && after.is_none_or(|after| key.as_slice() > after)
                    && let Some(value) = value
                    && visit(key, value).is_break()
                {
                    break;
                }
            }
            Ok(())
        }
    }

    fn rows(reads: &dyn Reads, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut rows = Vec::new();
        reads
            .scan(prefix, after, &mut |key, value| {
                rows.push((key.to_vec(), value.to_vec()));
                if rows.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .expect("memory does not fail");
        rows
    }

    fn small_key() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(0u8..3, 0..4)
    }

    fn writes() -> impl Strategy<Value = Staged> {
        proptest::collection::btree_map(small_key(), proptest::option::of(proptest::collection::vec(any::<u8>(), 0..3)), 0..12)
    }

    proptest! {
        /// Reading through two layers gives the same as reading the merged map.
        #[test]
        fn layers_read_as_if_merged(
            base in writes(), group in writes(), own in writes(),
            prefix in small_key(), after in proptest::option::of(small_key()), limit in 1usize..6, key in small_key(),
        ) {
            let mut merged = base.clone();
            merged.extend(group.clone());
            merged.extend(own.clone());
            let scratch = Scratch { group: Layer { below: &base, staged: &group }, own };
            prop_assert_eq!(
                rows(&scratch, &prefix, after.as_deref(), limit),
                rows(&merged, &prefix, after.as_deref(), limit)
            );
            prop_assert_eq!(scratch.get(&key).expect("get"), Reads::get(&merged, &key).expect("get"));
        }
    }
}
