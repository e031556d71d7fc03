//! sled as the engine: one tree for all tables, one writer thread for all writes (ADR 2). Everything particular to
//! sled is in this folder: its files and their names, the lock it releases late, the damage on which it hangs or
//! panics, the end of the file that it may lose, the free disk space it needs.
//!
//! Architecture invariant: nothing outside this folder names sled (I1), and no sled transaction is ever opened.
//! Only one thread writes, so one batch of what its works staged is already a transaction; sled's own would
//! deadlock when their closure reads the tree.

mod marker;
mod snapshot;
mod storage;
mod writer;

pub use storage::{FILES, OPENING_THREAD, SledStorage};

use super::{Engine, Load, ReadFn, Reads, Visit, Watch, Work};
use crate::store::Error;
use futures_util::{
    FutureExt,
    future::{BoxFuture, ready},
};
use marker::Marker;
use snapshot::Snapshots;
use std::{
    fs::{self, File},
    ops::Bound,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use writer::Writer;

/// How many bytes of pages sled may keep in memory (STO-16). The others are in the system's page cache, which
/// takes a few microseconds to read.
const CACHE_CAPACITY: u64 = 24 * 1024 * 1024;
const TREE: &[u8] = b"doorward";

/// A sled database in a directory of its own.
pub struct Sled {
    tree: sled::Tree,
    writer: Writer,
    directory: PathBuf,
    snapshots: Arc<Snapshots>,
}

impl Sled {
    /// Opens the database in `directory`, which sled creates when it is missing. With less than `min_free` bytes
    /// free on the disk, only revocations are written. `marker` is the file beside the database by which a rollback
    /// is noticed.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Storage`], [`Error::Corrupt`].
    pub fn open(directory: &Path, min_free: u64, marker: &Path) -> Result<Self, Error> {
        let db = sled::Config::new()
            .path(directory)
            .cache_capacity(CACHE_CAPACITY)
            // The writer thread flushes. sled's own flusher would end silently on the first error.
            .flush_every_ms(None)
            .open()
            .map_err(|error| match error {
                sled::Error::Io(io) if io.to_string().contains("could not acquire lock") => Error::InUse(directory.to_owned()),
                other => Error::from(other),
            })?;
        let tree = db.open_tree(TREE)?;
        let file = File::open(directory.join("db")).map_err(|error| Error::Storage(format!("db: {error}").into()))?;
        let marker = Marker::open(&db, marker)?;
        let snapshots = Arc::<Snapshots>::default();
        let writer = Writer::start(db, tree.clone(), file, min_free, marker, Arc::clone(&snapshots))?;
        Ok(Self { tree, writer, directory: directory.to_owned(), snapshots })
    }
}

impl Engine for Sled {
    fn view<'a>(&'a self, read: &'a mut ReadFn<'a>) -> BoxFuture<'a, Result<(), Error>> {
        ready(read(&self.tree)).boxed()
    }

    fn snapshot(&self) -> Result<Box<dyn Reads + Send>, Error> {
        Ok(Box::new(self.snapshots.open(self.tree.clone())))
    }

    fn submit(&self, work: Box<dyn Work>) {
        self.writer.submit(work);
    }

    fn is_writable(&self) -> bool {
        self.writer.is_writable()
    }

    fn watch(&self, watch: Watch) {
        self.writer.watch(watch);
    }

    fn load(&self) -> Load {
        let free_bytes = rustix::fs::statvfs(&self.directory).ok().map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        Load { queued: self.writer.queued(), disk_bytes: disk_bytes(&self.directory), free_bytes }
    }

    fn was_rolled_back(&self) -> bool {
        self.writer.was_rolled_back()
    }

    fn accept_rollback(&self) {
        self.writer.accept_rollback();
    }
}

/// The space that a directory's files take, as `du` counts it.
fn disk_bytes(directory: &Path) -> Option<u64> {
    let entries = fs::read_dir(directory).ok()?.flatten();
    let space = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => disk_bytes(&entry.path()),
        Ok(found) => Some(found.blocks() * 512),
        // It is gone since it was listed.
        Err(_) => None,
    };
    Some(entries.filter_map(space).sum())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::engine::conformance;

    #[test]
    fn sled_keeps_what_every_engine_promises() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut number = 0;
        conformance::run(|| {
            number += 1;
            let place = dir.path().join(number.to_string());
            Box::new(Sled::open(&place, 0, &place.join("marker")).expect("opens"))
        });
    }

    #[test]
    fn sto_14_a_database_put_back_to_an_older_state_is_noticed_until_that_is_accepted() {
        let dir = tempfile::tempdir().expect("a directory");
        let (place, marker) = (dir.path().join("db"), dir.path().join("marker"));
        let open = || Sled::open(&place, 0, &marker).expect("opens");
        let write = |sled: &Sled, value: u8| conformance::put(sled, b"k", &[value]);
        let sled = open();
        assert!(!sled.was_rolled_back(), "a new one");
        write(&sled, 1);
        // Closing the database writes the marker.
        drop(sled);
        let copy = dir.path().join("copy");
        copy_all(&place, &copy);
        let sled = open();
        assert!(!sled.was_rolled_back());
        write(&sled, 2);
        drop(sled);
        std::fs::remove_dir_all(&place).expect("removed");
        copy_all(&copy, &place);
        for _ in 0..2 {
            let sled = open();
            assert!(sled.was_rolled_back(), "an older copy");
            write(&sled, 3);
        }
        let sled = open();
        sled.accept_rollback();
        write(&sled, 4);
        drop(sled);
        assert!(!open().was_rolled_back());
    }

    fn copy_all(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("made");
        for entry in std::fs::read_dir(from).expect("a directory") {
            let entry = entry.expect("an entry");
            if entry.path().is_file() {
                std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
            }
        }
    }
}
