//! An engine in memory, for tests and for measuring what the disk costs. Its rows are gone when the process ends.
//! Tests can make it delay its commits and fail on purpose.

use super::{
    Engine, ReadFn, Reads, StartupReads, Storage, Visit, Work,
    overlay::{self, Staged},
};
use crate::store::Error;
use futures_util::{
    FutureExt,
    future::{BoxFuture, ready},
};
use parking_lot::{Mutex, RwLock};
use std::{collections::BTreeMap, fmt, ops::Bound, sync::Arc};

/// An engine in memory. Clones share the rows.
#[derive(Clone, Default)]
pub struct Memory(Arc<Inner>);

#[derive(Default)]
struct Inner {
    rows: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Held during a commit, so that there is one at a time.
    commit_lock: Mutex<()>,
    /// Works that wait for [`Memory::release`]; `None` when works are run at once.
    held: Mutex<Option<Vec<Box<dyn Work>>>>,
    faults: Mutex<Faults>,
}

#[derive(Default)]
struct Faults {
    /// How many operations still succeed before one fails; `None` when none will fail.
    left: Option<usize>,
    commit_failed: bool,
}

impl Memory {
    /// A copy of all rows.
    #[must_use]
    pub fn rows(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.0.rows.read().clone()
    }

    /// Flips a bit of every value whose key begins with `prefix`.
    pub fn damage(&self, prefix: u8) {
        for (_, value) in self.0.rows.write().iter_mut().filter(|(key, _)| key.first() == Some(&prefix)) {
            value[1] ^= 1;
        }
    }

    /// Collects works from now on instead of running them.
    pub fn hold(&self) {
        *self.0.held.lock() = Some(Vec::new());
    }

    /// Runs the collected works as one group.
    pub fn release(&self) {
        let works = self.0.held.lock().take();
        self.commit(works.unwrap_or_default());
    }

    /// Lets `n` more operations succeed, then one fail, then all succeed again.
    pub fn fail_after(&self, n: usize) {
        self.0.faults.lock().left = Some(n);
    }

    /// Suspends [`Memory::fail_after`]. Returns its remaining count for [`Memory::resume`].
    #[must_use]
    pub fn pause(&self) -> Option<usize> {
        self.0.faults.lock().left.take()
    }

    /// Resumes [`Memory::fail_after`] after [`Memory::pause`].
    pub fn resume(&self, left: Option<usize>) {
        self.0.faults.lock().left = left;
    }

    /// Whether a commit has failed.
    #[must_use]
    pub fn commit_failed(&self) -> bool {
        self.0.faults.lock().commit_failed
    }

    fn operation(&self) -> Result<(), Error> {
        let mut faults = self.0.faults.lock();
        match faults.left {
            Some(0) => {
                faults.left = None;
                Err(Error::Storage("on purpose".into()))
            }
            Some(n) => {
                faults.left = Some(n - 1);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn commit(&self, mut group: Vec<Box<dyn Work>>) {
        let _lock = self.0.commit_lock.lock();
        let mut staged = Staged::new();
        let results: Vec<_> = group.iter_mut().map(|work| overlay::run(self, &staged, &mut **work).map(|own| staged.extend(own))).collect();
        let durable = if staged.is_empty() { Ok(()) } else { self.write(staged) };
        for (work, result) in group.into_iter().zip(results) {
            work.finish(result.and_then(|()| durable.clone()));
        }
    }

    fn write(&self, staged: Staged) -> Result<(), Error> {
        if !self.is_writable() {
            return Err(Error::ReadOnly);
        }
        if let Err(error) = self.operation() {
            self.0.faults.lock().commit_failed = true;
            return Err(error);
        }
        let mut rows = self.0.rows.write();
        for (key, value) in staged {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }
}

impl Engine for Memory {
    fn view<'a>(&'a self, read: &'a mut ReadFn<'a>) -> BoxFuture<'a, Result<(), Error>> {
        ready(read(self)).boxed()
    }

    fn snapshot(&self) -> Result<Box<dyn Reads + Send>, Error> {
        Ok(Box::new(Self(Arc::new(Inner { rows: RwLock::new(self.rows()), ..Inner::default() }))))
    }

    fn submit(&self, work: Box<dyn Work>) {
        if let Some(held) = &mut *self.0.held.lock() {
            held.push(work);
            return;
        }
        self.commit(vec![work]);
    }

    fn is_writable(&self) -> bool {
        !self.commit_failed()
    }
}

impl Reads for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.operation()?;
        Ok(self.0.rows.read_recursive().get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), Error> {
        self.operation()?;
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        // `read_recursive`, because a visit may read.
        for (key, value) in self.0.rows.read_recursive().range::<[u8], _>((from, Bound::Unbounded)) {
            if !key.starts_with(prefix) || visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Opening it again gives the same database.
impl Storage for Memory {
    fn is_begun(&self) -> bool {
        self.is_there()
    }

    fn is_there(&self) -> bool {
        !self.0.rows.read().is_empty()
    }

    fn open(&self, read: StartupReads) -> Result<Box<dyn Engine>, Error> {
        read(self)?;
        Ok(Box::new(self.clone()))
    }

    fn set_aside(&self) -> Result<(), Error> {
        self.0.rows.write().clear();
        Ok(())
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the database in memory")
    }
}
