//! The writer thread: takes works from a queue, commits them as one batch, syncs once, and answers them all.
//!
//! sled's `flush` is `sync_file_range` on Linux, which does not empty the disk's cache. So the order is: batch,
//! flush, `fdatasync` of sled's file, and only then the answers (STO-1).

use super::{
    super::{
        Committed, Priority, Watch, Work,
        overlay::{self, Staged},
    },
    marker::Marker,
    snapshot::Snapshots,
};
use crate::store::Error;
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, VecDeque},
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::runtime::Handle;

/// The most works in one batch. Bounds the memory of a batch and the wait of its first work.
const MAX_GROUP: usize = 256;

/// How often the free disk space is checked.
const FREE_SPACE_INTERVAL: Duration = Duration::from_secs(1);

/// The queue to the writer thread. When it is dropped, the thread finishes what is queued and ends.
pub struct Writer {
    queue: Option<mpsc::Sender<Queued>>,
    thread: Option<JoinHandle<()>>,
    state: Arc<State>,
    rolled_back: Arc<AtomicBool>,
}

/// A work, and the runtime on which its caller waits, if there is one.
type Queued = (Box<dyn Work>, Option<Handle>);

/// A work that was run, and its result.
type Outcome = (Box<dyn Work>, Result<(), Error>);

/// The state of the disk and of the queue, shared with all handles.
#[derive(Default)]
struct State {
    /// Whether a write failed. If so, nothing is written until a restart has read back what reached the disk.
    failed: AtomicBool,
    /// Whether less than `min_free` bytes are free.
    full: AtomicBool,
    /// How many works wait.
    queued: AtomicUsize,
    watch: OnceLock<Watch>,
}

impl Writer {
    /// Starts the thread that makes all writes to `tree`, whose bytes are in `file`. With less than `min_free` bytes
    /// free on the disk, it only writes revocations.
    pub fn start(
        db: sled::Db,
        tree: sled::Tree,
        file: File,
        min_free: u64,
        marker: Marker,
        snapshots: Arc<Snapshots>,
    ) -> Result<Self, Error> {
        let (queue, works) = mpsc::channel();
        let state = Arc::<State>::default();
        let rolled_back = Arc::clone(&marker.rolled_back);
        let mut disk = Disk {
            db,
            tree,
            file,
            min_free,
            marker,
            snapshots,
            free_space_checked: None,
            outcomes: Arc::default(),
            state: Arc::clone(&state),
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || disk.run(&works))
            .map_err(|error| Error::Storage(format!("no thread for the writer: {error}").into()))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), state, rolled_back })
    }

    pub fn submit(&self, work: Box<dyn Work>) {
        let refused = match &self.queue {
            Some(queue) => {
                self.state.queued.fetch_add(1, Ordering::Relaxed);
                queue.send((work, Handle::try_current().ok())).err().map(|unsent| unsent.0.0)
            }
            None => Some(work),
        };
        if let Some(work) = refused {
            work.finish(Err(Error::ReadOnly));
        }
    }

    pub fn is_writable(&self) -> bool {
        !self.state.failed.load(Ordering::Relaxed) && !self.state.full.load(Ordering::Relaxed)
    }

    pub fn watch(&self, watch: Watch) {
        // The first one stays.
        let _ = self.state.watch.set(watch);
    }

    pub fn queued(&self) -> usize {
        self.state.queued.load(Ordering::Relaxed)
    }

    pub fn was_rolled_back(&self) -> bool {
        self.rolled_back.load(Ordering::Relaxed)
    }

    pub fn accept_rollback(&self) {
        self.rolled_back.store(false, Ordering::Relaxed);
    }
}

impl State {
    fn tell(&self, committed: Committed) {
        if let Some(watch) = self.watch.get() {
            watch(committed);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic has already been reported where it happened.
            let _ = thread.join();
        }
    }
}

/// Collects a group for one sync: this work, what is queued, and what other threads queue while the writer yields
/// to them. Without yielding, one sync would serve only a few of the works that are about to be queued.
fn collect_group(first: Queued, works: &mpsc::Receiver<Queued>) -> Vec<Queued> {
    let mut group = vec![first];
    loop {
        std::thread::yield_now();
        let before = group.len();
        group.extend(works.try_iter().take(MAX_GROUP - before));
        if group.len() == before || group.len() == MAX_GROUP {
            return group;
        }
    }
}

/// The state of the writer thread. Only this thread changes the tree.
struct Disk {
    db: sled::Db,
    tree: sled::Tree,
    file: File,
    min_free: u64,
    marker: Marker,
    snapshots: Arc<Snapshots>,
    /// When the free space was last checked.
    free_space_checked: Option<Instant>,
    /// Works to finish, in the order of their commits.
    outcomes: Arc<Mutex<VecDeque<Outcome>>>,
    state: Arc<State>,
}

impl Disk {
    fn run(&mut self, works: &mpsc::Receiver<Queued>) {
        loop {
            // Wake up while idle too, to notice when space was freed (STO-5).
            let first = match works.recv_timeout(FREE_SPACE_INTERVAL) {
                Ok(first) => Some(first),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    // Finish the works whose runtime has gone.
                    finish_all(&self.outcomes);
                    self.advance_marker(self.marker.is_due_at_the_end());
                    return;
                }
            };
            self.check_free_space();
            self.advance_marker(self.marker.is_due());
            let Some(first) = first else { continue };
            let (mut group, runtimes): (Vec<_>, Vec<_>) = collect_group(first, works).into_iter().unzip();
            self.state.queued.fetch_sub(group.len(), Ordering::Relaxed);
            if self.state.full.load(Ordering::Relaxed) {
                let (revocations, refused): (Vec<_>, Vec<_>) = group.into_iter().partition(|work| work.priority() == Priority::Revocation);
                refused.into_iter().for_each(|work| work.finish(Err(Error::Full)));
                group = revocations;
            }
            let outcomes = self.commit(group);
            self.finish(outcomes, runtimes.into_iter().flatten().next());
        }
    }

    /// Sends all replies from one task on the callers' runtime. Replying from this thread would wake the
    /// runtime once per caller, which on a single core means one context switch per commit.
    fn finish(&self, outcomes: Vec<Outcome>, runtime: Option<Handle>) {
        self.outcomes.lock().extend(outcomes);
        let outcomes = Arc::clone(&self.outcomes);
        match runtime {
            Some(runtime) => drop(runtime.spawn(async move { finish_all(&outcomes) })),
            None => finish_all(&outcomes),
        }
    }

    /// Compares the free space with `min_free`.
    fn check_free_space(&mut self) {
        if self.free_space_checked.is_some_and(|checked| checked.elapsed() < FREE_SPACE_INTERVAL) {
            return;
        }
        self.free_space_checked = Some(Instant::now());
        // A file system that does not report its free space counts as not full.
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

    /// Writes the rollback marker, if it is due. After a failure, the next write reports it.
    fn advance_marker(&mut self, is_due: bool) {
        if !is_due || self.state.failed.load(Ordering::Relaxed) {
            return;
        }
        let durable = catch_unwind(AssertUnwindSafe(|| self.marker.advance().and_then(|()| self.sync()))).unwrap_or(Err(Error::Panicked));
        match durable {
            Ok(()) => self.marker.write_file(),
            Err(error) => {
                self.state.failed.store(true, Ordering::Relaxed);
                tracing::error!(%error, "storage failed; read-only until a restart");
            }
        }
    }

    fn commit(&mut self, mut group: Vec<Box<dyn Work>>) -> Vec<Outcome> {
        let (begun, works, mut writes) = (Instant::now(), group.len(), Writes::default());
        let results: Vec<_> =
            group.iter_mut().map(|work| overlay::run(&self.tree, &writes.rows, &mut **work).map(|own| writes.stage(own))).collect();
        let durable = if writes.rows.is_empty() {
            Ok(())
        } else {
            self.write(writes).map(|sync| self.state.tell(Committed { works, took: begun.elapsed(), sync }))
        };
        group.into_iter().zip(results).map(|(work, result)| (work, result.and_then(|()| durable.clone()))).collect()
    }

    /// Writes a group's rows and makes them durable. After a failure it is unknown what reached the disk, so nothing
    /// more is written until a restart has read it back (STO-4).
    /// Returns how long the sync took.
    fn write(&mut self, writes: Writes) -> Result<Duration, Error> {
        if self.state.failed.load(Ordering::Relaxed) {
            return Err(Error::ReadOnly);
        }
        // sled panics on some damage: treat that as a failed write.
        let durable = catch_unwind(AssertUnwindSafe(|| self.write_through(writes))).unwrap_or(Err(Error::Panicked));
        if let Err(error) = &durable {
            self.state.failed.store(true, Ordering::Relaxed);
            tracing::error!(%error, "storage failed; read-only until a restart");
        } else {
            self.marker.committed();
        }
        durable
    }

    fn write_through(&self, Writes { rows, atomic_keys }: Writes) -> Result<Duration, Error> {
        let mut batch = sled::Batch::default();
        let keys: Vec<_> = rows.keys().cloned().collect();
        // No snapshot is opened between two rows of a group.
        let kept = self.snapshots.keep(&self.tree, &keys)?;
        for (key, value) in rows {
            match (atomic_keys.contains(&key), value) {
                (true, Some(value)) => batch.insert(key, value),
                (true, None) => batch.remove(key),
                (false, Some(value)) => drop(self.tree.insert(key, value)?),
                (false, None) => drop(self.tree.remove(key)?),
            }
        }
        if !atomic_keys.is_empty() {
            self.tree.apply_batch(batch)?;
        }
        drop(kept);
        // sled splits a page on the next read, and the split writes. If the disk failed before that read, every
        // read of the page would fail (STO-4). So read each key now.
        for key in keys {
            self.tree.get(key)?;
        }
        let begun = Instant::now();
        self.sync().map(|()| begun.elapsed())
    }

    fn sync(&self) -> Result<(), Error> {
        self.db.flush()?;
        self.file.sync_data().map_err(|error| Error::Storage(format!("fdatasync: {error}").into()))
    }
}

/// Finishes the works in order. The lock is held until the last is finished, so that those of the next group come
/// after them.
fn finish_all(outcomes: &Mutex<VecDeque<Outcome>>) {
    let mut outcomes = outcomes.lock();
    while let Some((work, result)) = outcomes.pop_front() {
        // A panic in one work must not leave the others without an answer.
        let _ = catch_unwind(AssertUnwindSafe(|| work.finish(result)));
    }
}

/// What a group of works writes.
#[derive(Default)]
struct Writes {
    rows: Staged,
    /// The keys of works that wrote several rows, which must reach the disk together. They go into a batch, for which
    /// sled writes twice. A work of one row, such as most refreshes, needs no batch.
    atomic_keys: BTreeSet<Vec<u8>>,
}

impl Writes {
    /// Adds what one work wrote.
    fn stage(&mut self, own: Staged) {
        if own.len() > 1 {
            self.atomic_keys.extend(own.keys().cloned());
        }
        self.rows.extend(own);
    }
}
