//! The one writer: drains a queue of works, commits them as one batch, syncs once, answers them all.
//!
//! sled's `flush` is `sync_file_range` on Linux, which empties no disk cache; so the order is batch,
//! flush, `fdatasync` of sled's file, and only then an answer (STO-1).

use super::{
    super::{
        Priority, Work,
        overlay::{self, Staged},
    },
    marker::Marker,
};
use crate::store::Error;
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, VecDeque},
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::runtime::Handle;

/// The most works one sync answers for; bounds the memory of a batch and the wait of its first work.
const GROUP: usize = 256;

/// How often the free space is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The queue to the writer thread. Dropping it lets the thread finish what is queued, then end.
pub struct Writer {
    queue: Option<mpsc::Sender<Queued>>,
    thread: Option<JoinHandle<()>>,
    state: Arc<State>,
    rolled_back: Arc<AtomicBool>,
}

/// A work, and the runtime that waits for it, if it is one that does.
type Queued = (Box<dyn Work>, Option<Handle>);

/// A work that was tried, and what came of it.
type Tried = (Box<dyn Work>, Result<(), Error>);

/// What all handles know of the disk.
struct State {
    /// A write failed: nothing more is written until a restart has read back what reached the disk.
    failed: AtomicBool,
    /// There is less room than the low-water mark.
    full: AtomicBool,
}

impl Writer {
    /// Starts the thread that owns all writes to `tree`, whose bytes end up in `file`.
    /// With less than `min_free` bytes of room, revocations alone are written.
    pub fn start(db: sled::Db, tree: sled::Tree, file: File, min_free: u64, marker: Marker) -> Result<Self, Error> {
        let (queue, works) = mpsc::channel();
        let state = Arc::new(State { failed: AtomicBool::new(false), full: AtomicBool::new(false) });
        let rolled_back = Arc::clone(&marker.rolled_back);
        let mut disk = Disk { db, tree, file, min_free, marker, looked: None, tried: Arc::default(), state: Arc::clone(&state) };
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || disk.run(&works))
            .map_err(|error| Error::Storage(format!("no thread for the writer: {error}").into()))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), state, rolled_back })
    }

    pub fn submit(&self, work: Box<dyn Work>) {
        let refused = match &self.queue {
            Some(queue) => queue.send((work, Handle::try_current().ok())).err().map(|unsent| unsent.0.0),
            None => Some(work),
        };
        if let Some(work) = refused {
            work.finish(Err(Error::ReadOnly));
        }
    }

    pub fn is_writable(&self) -> bool {
        !self.state.failed.load(Ordering::Relaxed) && !self.state.full.load(Ordering::Relaxed)
    }

    pub fn was_rolled_back(&self) -> bool {
        self.rolled_back.load(Ordering::Relaxed)
    }

    pub fn accept_rollback(&self) {
        self.rolled_back.store(false, Ordering::Relaxed);
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

/// A group for one sync: this work, what is queued, and what the threads that are ready to run would
/// queue next. Without letting those run first, the writer syncs for a few where it could for all.
fn gather(first: Queued, works: &mpsc::Receiver<Queued>) -> Vec<Queued> {
    let mut group = vec![first];
    loop {
        std::thread::yield_now();
        let before = group.len();
        group.extend(works.try_iter().take(GROUP - before));
        if group.len() == before || group.len() == GROUP {
            return group;
        }
    }
}

/// The writer's end: the only handle that changes the tree.
struct Disk {
    db: sled::Db,
    tree: sled::Tree,
    file: File,
    min_free: u64,
    marker: Marker,
    /// When the free space was last looked at.
    looked: Option<Instant>,
    /// Works to be finished, in the order of their commits.
    tried: Arc<Mutex<VecDeque<Tried>>>,
    state: Arc<State>,
}

impl Disk {
    fn run(&mut self, works: &mpsc::Receiver<Queued>) {
        loop {
            // Looked at while idle too: what was full may have been freed (STO-5).
            let first = match works.recv_timeout(LOOK_EVERY) {
                Ok(first) => Some(first),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    // Whatever a runtime that is gone left unfinished.
                    finish_all(&self.tried);
                    self.mark(self.marker.is_due_at_the_end());
                    return;
                }
            };
            self.look();
            self.mark(self.marker.is_due());
            let Some(first) = first else { continue };
            let (mut group, runtimes): (Vec<_>, Vec<_>) = gather(first, works).into_iter().unzip();
            if self.state.full.load(Ordering::Relaxed) {
                let (revocations, refused): (Vec<_>, Vec<_>) = group.into_iter().partition(|work| work.priority() == Priority::Revocation);
                refused.into_iter().for_each(|work| work.finish(Err(Error::Full)));
                group = revocations;
            }
            let tried = self.commit(group);
            self.finish(tried, runtimes.into_iter().flatten().next());
        }
    }

    /// Sends all replies from one task on the callers' runtime. Replying from this thread would wake the
    /// runtime once per caller, which on a single core means one context switch per commit.
    fn finish(&self, tried: Vec<Tried>, runtime: Option<Handle>) {
        self.tried.lock().extend(tried);
        let tried = Arc::clone(&self.tried);
        match runtime {
            Some(runtime) => drop(runtime.spawn(async move { finish_all(&tried) })),
            None => finish_all(&tried),
        }
    }

    /// Compares the free space with the low-water mark.
    fn look(&mut self) {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        // A file system that does not tell its room is not full.
        let free = rustix::fs::fstatvfs(&self.file).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        let is_full = free < self.min_free;
        if self.state.full.swap(is_full, Ordering::Relaxed) != is_full {
            if is_full {
                tracing::error!(
                    free,
                    min_free = self.min_free,
                    "the disk is nearly full: only revocations are written (server.min_free_mib)"
                );
            } else {
                tracing::info!(free, "there is room on the disk again");
            }
        }
    }

    /// Notes how far the database has come. Its failure is the next write's to report.
    fn mark(&mut self, is_due: bool) {
        if !is_due || self.state.failed.load(Ordering::Relaxed) {
            return;
        }
        let durable = catch_unwind(AssertUnwindSafe(|| self.marker.advance().and_then(|()| self.sync()))).unwrap_or(Err(Error::Panicked));
        match durable {
            Ok(()) => self.marker.note(),
            Err(error) => {
                self.state.failed.store(true, Ordering::Relaxed);
                tracing::error!(%error, "storage failed; read-only until a restart");
            }
        }
    }

    fn commit(&mut self, mut group: Vec<Box<dyn Work>>) -> Vec<Tried> {
        let mut writes = Writes::default();
        let results: Vec<_> =
            group.iter_mut().map(|work| overlay::run(&self.tree, &writes.rows, &mut **work).map(|own| writes.stage(own))).collect();
        let durable = if writes.rows.is_empty() { Ok(()) } else { self.write(writes) };
        group.into_iter().zip(results).map(|(work, result)| (work, result.and_then(|()| durable.clone()))).collect()
    }

    /// Writes a group's rows and makes them durable. After a failure nothing is known of what reached the
    /// disk, so no further write is tried until a restart has read it back (STO-4).
    fn write(&mut self, writes: Writes) -> Result<(), Error> {
        if self.state.failed.load(Ordering::Relaxed) {
            return Err(Error::ReadOnly);
        }
        // sled panics on some damage: that is a failed write, not the end of this thread.
        let durable = catch_unwind(AssertUnwindSafe(|| self.write_through(writes))).unwrap_or(Err(Error::Panicked));
        if let Err(error) = &durable {
            self.state.failed.store(true, Ordering::Relaxed);
            tracing::error!(%error, "storage failed; read-only until a restart");
        } else {
            self.marker.committed();
        }
        durable
    }

    fn write_through(&self, Writes { rows, together }: Writes) -> Result<(), Error> {
        let mut batch = sled::Batch::default();
        let keys: Vec<_> = rows.keys().cloned().collect();
        for (key, value) in rows {
            match (together.contains(&key), value) {
                (true, Some(value)) => batch.insert(key, value),
                (true, None) => batch.remove(key),
                (false, Some(value)) => drop(self.tree.insert(key, value)?),
                (false, None) => drop(self.tree.remove(key)?),
            }
        }
        if !together.is_empty() {
            self.tree.apply_batch(batch)?;
        }
        // sled splits a page when it is next read, which takes a write: were it to be read first when
        // the disk has failed, that would fail for ever (STO-4). So each is read now.
        for key in keys {
            self.tree.get(key)?;
        }
        self.sync()
    }

    fn sync(&self) -> Result<(), Error> {
        self.db.flush()?;
        self.file.sync_data().map_err(|error| Error::Storage(format!("fdatasync: {error}").into()))
    }
}

/// Finishes what was tried, in order. Locked until the last is finished: those of the next group come
/// after them.
fn finish_all(tried: &Mutex<VecDeque<Tried>>) {
    let mut tried = tried.lock();
    while let Some((work, result)) = tried.pop_front() {
        // One work's bug must not leave the others without an answer.
        let _ = catch_unwind(AssertUnwindSafe(|| work.finish(result)));
    }
}

/// What a group writes.
#[derive(Default)]
struct Writes {
    rows: Staged,
    /// The keys of works that wrote several rows: they reach the disk together or not at all. Of the
    /// others, which is most refreshes, each is whole by itself, and sled writes twice for a batch.
    together: BTreeSet<Vec<u8>>,
}

impl Writes {
    /// Adds what one work wrote.
    fn stage(&mut self, own: Staged) {
        if own.len() > 1 {
            self.together.extend(own.keys().cloned());
        }
        self.rows.extend(own);
    }
}
