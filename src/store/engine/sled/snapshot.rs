//! Snapshots: the tree as it was at one moment. sled has none, so while one is open the writer keeps, before it applies a
//! group, what each key of the group had; a snapshot reads that in place of the tree's row.

use super::super::{Reads, Visit, overlay::Staged};
use crate::store::Error;
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
    sync::Arc,
};

/// The most bytes that are kept for one snapshot. What is more is changed within hours, not within a backup.
const MAX_KEPT: usize = 64 * 1024 * 1024;

/// What a kept row takes beside its own bytes, about.
const ROW_OVERHEAD: usize = 64;

/// How many rows are read from the tree at a time.
const CHUNK: usize = 256;

/// The snapshots that are open, by number.
#[derive(Default)]
pub struct Snapshots(Mutex<BTreeMap<u64, Former>>);

/// What the keys that were written since a snapshot was opened had then.
#[derive(Default)]
struct Former {
    rows: Staged,
    bytes: usize,
    is_lost: bool,
}

impl Snapshots {
    /// Opens a snapshot of the tree as it is now.
    pub fn open(self: &Arc<Self>, tree: sled::Tree) -> Snapshot {
        let mut open = self.0.lock();
        let id = open.last_key_value().map_or(0, |(id, _)| id + 1);
        open.insert(id, Former::default());
        Snapshot { tree, id, snapshots: Arc::clone(self) }
    }

    /// Keeps what these keys have for each open snapshot. The caller holds the guard until it has written all of them, so
    /// that no snapshot begins between two of its rows.
    pub fn keep(&self, tree: &sled::Tree, keys: &[Vec<u8>]) -> Result<impl Drop + use<'_>, Error> {
        let mut open: MutexGuard<'_, _> = self.0.lock();
        if !open.is_empty() {
            for key in keys {
                let value = tree.get(key)?.map(|value| value.to_vec());
                open.values_mut().for_each(|former: &mut Former| former.keep(key, value.as_ref()));
            }
        }
        Ok(open)
    }
}

impl Former {
    fn keep(&mut self, key: &[u8], value: Option<&Vec<u8>>) {
        if self.is_lost || self.rows.contains_key(key) {
            return;
        }
        self.bytes += key.len() + value.map_or(0, Vec::len) + ROW_OVERHEAD;
        self.is_lost = self.bytes > MAX_KEPT;
        if self.is_lost {
            self.rows.clear();
        } else {
            self.rows.insert(key.to_vec(), value.cloned());
        }
    }
}

/// The tree as it was when this was opened.
pub struct Snapshot {
    tree: sled::Tree,
    id: u64,
    snapshots: Arc<Snapshots>,
}

impl Snapshot {
    /// Looks at what is kept. It must be looked at after the tree was read: a row that was changed before is kept by then.
    fn former<T>(&self, look: impl FnOnce(&Staged) -> T) -> Result<T, Error> {
        match self.snapshots.0.lock().get(&self.id) {
            Some(former) if !former.is_lost => Ok(look(&former.rows)),
            _ => Err(Error::SnapshotLost),
        }
    }
}

/// The next rows of a scan, as they are now.
fn chunk(scan: impl FnOnce(&mut Visit<'_>) -> Result<(), Error>) -> Result<Staged, Error> {
    let mut rows = Staged::new();
    scan(&mut |key, value| {
        rows.insert(key.to_vec(), Some(value.to_vec()));
        if rows.len() == CHUNK { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(rows)
}

impl Reads for Snapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let now = Reads::get(&self.tree, key)?;
        Ok(self.former(|rows| rows.get(key).cloned())?.unwrap_or(now))
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), Error> {
        let mut after = after.filter(|after| *after >= prefix).map(<[u8]>::to_vec);
        loop {
            let mut rows = chunk(|visit| self.tree.scan(prefix, after.as_deref(), visit))?;
            let last = if rows.len() == CHUNK { rows.last_key_value().map(|(key, _)| key.clone()) } else { None };
            let from = after.as_deref().map_or(Bound::Included(prefix), Bound::Excluded);
            let to = last.as_deref().map_or(Bound::Unbounded, Bound::Included);
            self.former(|former| {
                let here = former.range::<[u8], _>((from, to)).take_while(|(key, _)| key.starts_with(prefix));
                rows.extend(here.map(|(key, value)| (key.clone(), value.clone())));
            })?;
            let visited =
                rows.iter().try_for_each(|(key, value)| value.as_ref().map_or(ControlFlow::Continue(()), |value| visit(key, value)));
            match last.filter(|_| visited.is_continue()) {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.snapshots.0.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::engine::{Engine, conformance::put, sled::Sled};

    type Rows = Vec<(Vec<u8>, Vec<u8>)>;

    fn rows(reads: &dyn Reads) -> Rows {
        let mut rows = Rows::new();
        let mut visit = |key: &[u8], value: &[u8]| {
            rows.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        reads.scan(b"", None, &mut visit).expect("read");
        rows
    }

    #[test]
    fn what_it_costs_is_bounded_and_too_much_is_an_error() {
        let dir = tempfile::tempdir().expect("a directory");
        let sled = Sled::open(dir.path(), 0, &dir.path().join("marker")).expect("opens");
        let value = vec![7; 1024 * 1024];
        for key in 0..=64u8 {
            put(&sled, &[key], &value);
        }
        let snapshot = sled.snapshot().expect("opened");
        for key in 0..60u8 {
            put(&sled, &[key], b"new");
        }
        assert_eq!(snapshot.get(&[0]).expect("kept"), Some(value));
        for key in 60..=64u8 {
            put(&sled, &[key], b"new");
        }
        assert!(matches!(snapshot.get(&[0]), Err(Error::SnapshotLost)));
        drop(snapshot);
        assert_eq!(rows(&*sled.snapshot().expect("opened")).len(), 65, "another one is not concerned");
        assert_eq!(sled.snapshots.0.lock().len(), 0);
    }
}
