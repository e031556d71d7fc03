//! An engine in memory that can hold its commits back and fail on purpose.

use crate::store::{
    Error,
    engine::{
        Engine, Reads, Visit, Work,
        overlay::{self, Staged},
    },
};
use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard},
};

/// Clones share the rows.
#[derive(Clone, Default)]
pub struct Memory(Arc<Inner>);

#[derive(Default)]
struct Inner {
    rows: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Works that wait for [`Memory::release`], if it holds.
    held: Mutex<Option<Vec<Box<dyn Work>>>>,
    faults: Mutex<Faults>,
}

#[derive(Default)]
struct Faults {
    /// Operations that still succeed; `None`: all do.
    left: Option<usize>,
    commit_failed: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("a test that panicked is over")
}

impl Memory {
    /// Everything there is.
    pub fn rows(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        locked(&self.0.rows).clone()
    }

    /// Flips a bit of every value whose key begins with `prefix`.
    pub fn damage(&self, prefix: u8) {
        for (_, value) in locked(&self.0.rows).iter_mut().filter(|(key, _)| key.first() == Some(&prefix)) {
            value[1] ^= 1;
        }
    }

    /// Collects works instead of carrying them out.
    pub fn hold(&self) {
        *locked(&self.0.held) = Some(Vec::new());
    }

    /// Carries out what was collected, as one group.
    pub fn release(&self) {
        let works = locked(&self.0.held).take();
        self.commit(works.unwrap_or_default());
    }

    /// Lets `n` more operations succeed, then one fail, then all succeed again.
    pub fn fail_after(&self, n: usize) {
        locked(&self.0.faults).left = Some(n);
    }

    /// No faults for now.
    pub fn pause(&self) -> Option<usize> {
        locked(&self.0.faults).left.take()
    }

    pub fn resume(&self, left: Option<usize>) {
        locked(&self.0.faults).left = left;
    }

    pub fn commit_failed(&self) -> bool {
        locked(&self.0.faults).commit_failed
    }

    fn operation(&self) -> Result<(), Error> {
        let mut faults = locked(&self.0.faults);
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
            locked(&self.0.faults).commit_failed = true;
            return Err(error);
        }
        let mut rows = locked(&self.0.rows);
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
    fn reads(&self) -> &dyn Reads {
        self
    }

    fn submit(&self, work: Box<dyn Work>) {
        if let Some(held) = &mut *locked(&self.0.held) {
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
        Ok(locked(&self.0.rows).get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), Error> {
        self.operation()?;
        // A copy: a visit may read.
        let rows = self.rows();
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        for (key, value) in rows.range::<[u8], _>((from, Bound::Unbounded)) {
            if !key.starts_with(prefix) || visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}
