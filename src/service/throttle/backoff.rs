//! Failures of one account at one place, each dearer than the one before. governor knows no growing delay.

use super::limited::{Limited, MAX_KEYS, whole_seconds};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    hash::Hash,
    sync::Arc,
    time::{Duration, Instant},
};

/// The longest wait after yet another failure.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// Failures per suspect: some are free, then each costs twice the wait of the one before, up to a minute.
pub struct Backoff<K> {
    policy: &'static str,
    free: u32,
    window: Duration,
    most: usize,
    entries: Mutex<HashMap<K, Entry>>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    failures: u32,
    pending: u32,
    /// No try before this.
    next: Instant,
    /// When the last failure was.
    last: Instant,
}

/// A charged try whose outcome is open.
pub struct Pending<K: Hash + Eq + Clone> {
    backoff: Arc<Backoff<K>>,
    suspect: K,
    settled: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Succeeded,
    Failed,
    Unknown,
}

impl<K: Hash + Eq + Clone> Backoff<K> {
    /// So many failures are free, and count for so long.
    pub fn new(policy: &'static str, free: u32, window: Duration) -> Self {
        Self { policy, free, window, most: MAX_KEYS, entries: Mutex::default() }
    }

    pub fn attempt(self: &Arc<Self>, suspect: K) -> Result<Pending<K>, Limited> {
        let now = Instant::now();
        let mut entries = self.entries.lock();
        if entries.len() >= self.most && !entries.contains_key(&suspect) {
            make_room(&mut entries);
        }
        let entry = entries.entry(suspect.clone()).or_insert(Entry { failures: 0, pending: 0, next: now, last: now });
        if entry.pending == 0 && now.duration_since(entry.last) >= self.window {
            entry.failures = 0;
            entry.next = now;
        }
        if now < entry.next {
            return Err(self.limited(entry.next - now));
        }
        // Open tries may fail yet: beyond the free ones there is one at a time.
        if entry.pending > 0 && entry.failures + entry.pending >= self.free {
            return Err(self.limited(Duration::from_secs(1)));
        }
        entry.pending += 1;
        Ok(Pending { backoff: Arc::clone(self), suspect, settled: false })
    }

    /// Whether a suspect has failed lately.
    pub fn has_failed(&self, suspect: &K) -> bool {
        let entries = self.entries.lock();
        entries.get(suspect).is_some_and(|entry| entry.failures > 0 && entry.last.elapsed() < self.window)
    }

    fn settle(&self, suspect: &K, outcome: Outcome) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(suspect) else { return };
        entry.pending = entry.pending.saturating_sub(1);
        match outcome {
            Outcome::Succeeded => entry.failures = 0,
            Outcome::Failed => {
                entry.failures += 1;
                entry.last = Instant::now();
                if let Some(beyond) = entry.failures.checked_sub(self.free) {
                    entry.next = entry.last + Duration::from_secs(1 << beyond.min(16)).min(MAX_DELAY);
                }
            }
            Outcome::Unknown => {}
        }
        if entry.failures == 0 && entry.pending == 0 {
            entries.remove(suspect);
        }
    }

    fn limited(&self, wait: Duration) -> Limited {
        Limited { policy: self.policy, quota: self.free, window: self.window, retry_after: whole_seconds(wait) }
    }

    /// Forgets the failures of these suspects.
    pub fn forget(&self, of: impl Fn(&K) -> bool) {
        self.entries.lock().retain(|suspect, entry| {
            if of(suspect) {
                (entry.failures, entry.next) = (0, entry.last);
            }
            entry.failures > 0 || entry.pending > 0
        });
    }

    pub fn sweep(&self) {
        let now = Instant::now();
        let mut entries = self.entries.lock();
        entries.retain(|_, entry| entry.pending > 0 || now.duration_since(entry.last) < self.window);
        if entries.len() * 4 < entries.capacity() {
            entries.shrink_to_fit();
        }
    }
}

/// Drops a sixteenth of all entries, those with the fewest and oldest failures: a full table holds nobody up
/// (LIM-8), whoever fails often stays, and what it costs to look at all is spread over many.
fn make_room<K: Hash + Eq + Clone>(entries: &mut HashMap<K, Entry>) {
    let idle = entries.iter().filter(|(_, entry)| entry.pending == 0);
    let mut ranked: Vec<_> = idle.map(|(suspect, entry)| (entry.failures, entry.last, suspect.clone())).collect();
    let few = (entries.len() / 16).max(1);
    if ranked.len() > few {
        ranked.select_nth_unstable_by_key(few, |(failures, last, _)| (*failures, *last));
        ranked.truncate(few);
    }
    for (_, _, suspect) in ranked {
        entries.remove(&suspect);
    }
}

impl<K: Hash + Eq + Clone> Pending<K> {
    pub fn settle(&mut self, outcome: Outcome) {
        self.settled = true;
        self.backoff.settle(&self.suspect, outcome);
    }
}

impl<K: Hash + Eq + Clone> Drop for Pending<K> {
    fn drop(&mut self) {
        if !self.settled {
            self.settle(Outcome::Unknown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(900);

    #[test]
    fn delays_double_up_to_a_minute_and_a_success_ends_them() {
        let backoff = Arc::new(Backoff::new("login", 5, WINDOW));
        let suspect = "ada, from there";
        let mut waits = Vec::new();
        for n in 0..13 {
            let pending = backoff.attempt(suspect);
            if n >= 5 {
                waits.push(pending.err().expect("must wait").retry_after.as_secs());
                backoff.entries.lock().get_mut(suspect).expect("known").next = Instant::now();
                backoff.attempt(suspect).unwrap_or_else(|_| panic!("waited")).settle(Outcome::Failed);
            } else {
                pending.unwrap_or_else(|_| panic!("free")).settle(Outcome::Failed);
            }
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.entries.lock().get_mut(suspect).expect("known").next = Instant::now();
        backoff.attempt(suspect).unwrap_or_else(|_| panic!("waited")).settle(Outcome::Succeeded);
        assert!(backoff.entries.lock().is_empty());
    }

    #[test]
    fn lim_8_a_full_table_forgets_who_failed_least_and_refuses_nobody() {
        let backoff = Arc::new(Backoff { most: 160, ..Backoff::new("login", 5, WINDOW) });
        let fail = |suspect: u32| backoff.attempt(suspect).map(|mut pending| pending.settle(Outcome::Failed));
        for _ in 0..5 {
            fail(0).expect("free");
        }
        let open = backoff.attempt(1).expect("free");
        for suspect in 2..10_000 {
            assert_eq!(fail(suspect), Ok(()), "{suspect}");
        }
        assert!(backoff.entries.lock().len() <= 160);
        assert!(fail(0).is_err(), "who failed most is remembered");
        assert!(backoff.has_failed(&9_999) && !backoff.has_failed(&2), "the oldest went first");
        assert!(backoff.entries.lock().contains_key(&1), "what is being tried is remembered");
        drop(open);
    }

    #[test]
    fn what_is_forgotten_counts_no_more_even_while_it_is_tried() {
        let backoff = Arc::new(Backoff::new("login", 1, WINDOW));
        let mut pending = backoff.attempt(1).expect("free");
        pending.settle(Outcome::Failed);
        assert!(backoff.attempt(1).is_err());
        backoff.forget(|suspect| *suspect == 1);
        assert!(backoff.attempt(1).is_ok());
    }
}
