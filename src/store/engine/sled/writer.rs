//! The one writer: drains a queue of works, commits them as one batch, syncs once, answers them all.
//!
//! sled's `flush` is `sync_file_range` on Linux, which empties no disk cache; so the order is batch,
//! flush, `fdatasync` of sled's file, and only then an answer (STO-1).

use super::super::{
    Work,
    overlay::{self, Staged},
};
use crate::store::Error;
use std::{
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

/// The most works one sync answers for; bounds the memory of a batch and the wait of its first work.
const GROUP: usize = 256;

/// The queue to the writer thread. Dropping it lets the thread finish what is queued, then end.
pub struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Work>>>,
    thread: Option<JoinHandle<()>>,
    writable: Arc<AtomicBool>,
}

impl Writer {
    /// Starts the thread that owns all writes to `tree`, whose bytes end up in `file`.
    pub fn start(db: sled::Db, tree: sled::Tree, file: File) -> Result<Self, Error> {
        let (queue, works) = mpsc::channel();
        let writable = Arc::new(AtomicBool::new(true));
        let disk = Disk { db, tree, file, writable: Arc::clone(&writable) };
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || disk.run(&works))
            .map_err(|error| Error::Storage(format!("no thread for the writer: {error}").into()))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), writable })
    }

    pub fn submit(&self, work: Box<dyn Work>) {
        let refused = match &self.queue {
            Some(queue) => queue.send(work).err().map(|unsent| unsent.0),
            None => Some(work),
        };
        if let Some(work) = refused {
            work.finish(Err(Error::ReadOnly));
        }
    }

    pub fn is_writable(&self) -> bool {
        self.writable.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic was reported where it happened; there is no one left to tell here.
            let _ = thread.join();
        }
    }
}

/// The writer's end: the only handle that changes the tree.
struct Disk {
    db: sled::Db,
    tree: sled::Tree,
    file: File,
    writable: Arc<AtomicBool>,
}

impl Disk {
    fn run(&self, works: &mpsc::Receiver<Box<dyn Work>>) {
        while let Ok(first) = works.recv() {
            let mut group = vec![first];
            group.extend(works.try_iter().take(GROUP - 1));
            self.commit(group);
        }
    }

    fn commit(&self, mut group: Vec<Box<dyn Work>>) {
        let mut staged = Staged::new();
        let results: Vec<_> = group.iter_mut().map(|work| overlay::run(&self.tree, &mut staged, &mut **work)).collect();
        let durable = if staged.is_empty() { Ok(()) } else { self.write(staged) };
        for (work, result) in group.into_iter().zip(results) {
            work.finish(result.and_then(|()| durable.clone()));
        }
    }

    /// Writes a batch and makes it durable. After a failure nothing is known of what reached the
    /// disk, so no further write is tried until a restart has read it back (STO-4).
    fn write(&self, staged: Staged) -> Result<(), Error> {
        if !self.writable.load(Ordering::Relaxed) {
            return Err(Error::ReadOnly);
        }
        let durable = self.write_through(staged);
        if let Err(error) = &durable {
            self.writable.store(false, Ordering::Relaxed);
            tracing::error!(%error, "storage failed; read-only until a restart");
        }
        durable
    }

    fn write_through(&self, staged: Staged) -> Result<(), Error> {
        let mut batch = sled::Batch::default();
        for (key, value) in staged {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.tree.apply_batch(batch)?;
        self.db.flush()?;
        self.file.sync_data().map_err(|error| Error::Storage(format!("fdatasync: {error}").into()))
    }
}
