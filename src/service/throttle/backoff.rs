//! A delay that grows with each failure of a key, such as an account tried from one address. governor has no such limit.

use super::limited::{Limited, MAX_KEYS, whole_seconds};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    hash::Hash,
    sync::Arc,
    time::{Duration, Instant},
};

/// The longest wait after a failure.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// Failures per key: the first few are free, then each must be waited for twice as long as the one before, up to a minute.
pub struct Backoff<K> {
    policy: &'static str,
    free: u32,
    window: Duration,
    max_keys: usize,
    entries: Mutex<HashMap<K, Entry>>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    failures: u32,
    pending: u32,
    /// No try is allowed before this.
    next: Instant,
    /// When the key last failed.
    last: Instant,
}

/// A try that is under way: its outcome is not known yet.
pub struct Pending<K: Hash + Eq + Clone> {
    backoff: Arc<Backoff<K>>,
    key: K,
    settled: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Succeeded,
    Failed,
    Unknown,
}

impl<K: Hash + Eq + Clone> Backoff<K> {
    /// `free` failures are free. A failure counts until the key has not failed for `window`.
    pub fn new(policy: &'static str, free: u32, window: Duration) -> Self {
        Self { policy, free, window, max_keys: MAX_KEYS, entries: Mutex::default() }
    }

    pub fn attempt(self: &Arc<Self>, key: K) -> Result<Pending<K>, Limited> {
        let now = Instant::now();
        let mut entries = self.entries.lock();
        if entries.len() >= self.max_keys && !entries.contains_key(&key) {
            make_room(&mut entries);
        }
        let entry = entries.entry(key.clone()).or_insert(Entry { failures: 0, pending: 0, next: now, last: now });
        if entry.pending == 0 && now.duration_since(entry.last) >= self.window {
            entry.failures = 0;
            entry.next = now;
        }
        if now < entry.next {
            return Err(self.limited(entry.next - now));
        }
        // Tries under way may still fail: once they could use up the free failures, only one is allowed at a time.
        if entry.pending > 0 && entry.failures + entry.pending >= self.free {
            return Err(self.limited(Duration::from_secs(1)));
        }
        entry.pending += 1;
        Ok(Pending { backoff: Arc::clone(self), key, settled: false })
    }

    /// Whether a key has failed within the window.
    pub fn has_failed(&self, key: &K) -> bool {
        let entries = self.entries.lock();
        entries.get(key).is_some_and(|entry| entry.failures > 0 && entry.last.elapsed() < self.window)
    }

    fn settle(&self, key: &K, outcome: Outcome) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(key) else { return };
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
            entries.remove(key);
        }
    }

    fn limited(&self, wait: Duration) -> Limited {
        Limited { policy: self.policy, quota: self.free, window: self.window, retry_after: whole_seconds(wait) }
    }

    /// Forgets the failures of these keys.
    pub fn forget(&self, is_forgotten: impl Fn(&K) -> bool) {
        self.entries.lock().retain(|key, entry| {
            if is_forgotten(key) {
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

/// Drops a sixteenth of all entries, those with the fewest and oldest failures. So a full table limits nobody
/// (LIM-8) and keeps the keys that fail often, and only one in thousands of tries has to look at all entries.
fn make_room<K: Hash + Eq + Clone>(entries: &mut HashMap<K, Entry>) {
    let idle = entries.iter().filter(|(_, entry)| entry.pending == 0);
    let mut ranked: Vec<_> = idle.map(|(key, entry)| (entry.failures, entry.last, key.clone())).collect();
    let count = (entries.len() / 16).max(1);
    if ranked.len() > count {
        ranked.select_nth_unstable_by_key(count, |(failures, last, _)| (*failures, *last));
        ranked.truncate(count);
    }
    for (_, _, key) in ranked {
        entries.remove(&key);
    }
}

impl<K: Hash + Eq + Clone> Pending<K> {
    pub fn settle(&mut self, outcome: Outcome) {
        self.settled = true;
        self.backoff.settle(&self.key, outcome);
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
        let key = "ada, from there";
        let mut waits = Vec::new();
        for n in 0..13 {
            let pending = backoff.attempt(key);
            if n >= 5 {
                waits.push(pending.err().expect("must wait").retry_after.as_secs());
                backoff.entries.lock().get_mut(key).expect("known").next = Instant::now();
                backoff.attempt(key).unwrap_or_else(|_| panic!("waited")).settle(Outcome::Failed);
            } else {
                pending.unwrap_or_else(|_| panic!("free")).settle(Outcome::Failed);
            }
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.entries.lock().get_mut(key).expect("known").next = Instant::now();
        backoff.attempt(key).unwrap_or_else(|_| panic!("waited")).settle(Outcome::Succeeded);
        assert!(backoff.entries.lock().is_empty());
    }

    #[test]
    fn lim_8_a_full_table_forgets_who_failed_least_and_refuses_nobody() {
        let backoff = Arc::new(Backoff { max_keys: 160, ..Backoff::new("login", 5, WINDOW) });
        let fail = |key: u32| backoff.attempt(key).map(|mut pending| pending.settle(Outcome::Failed));
        for _ in 0..5 {
            fail(0).expect("free");
        }
        let open = backoff.attempt(1).expect("free");
        for key in 2..10_000 {
            assert_eq!(fail(key), Ok(()), "{key}");
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
        backoff.forget(|key| *key == 1);
        assert!(backoff.attempt(1).is_ok());
    }
}
