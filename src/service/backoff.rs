//! Failed sign-ins of one account from one place, each dearer than the one before. governor knows no
//! growing delay.

use super::throttle::{Limited, MAX_KEYS, whole_seconds};
use crate::domain::AddressPrefix;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// The longest wait after yet another failed sign-in.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// An account as the throttle knows it: a hash of the name that was typed, whether it exists or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AccountKey([u8; 16]);

impl AccountKey {
    /// The key of a name in the form it is looked up in (LIM-7).
    ///
    /// # Panics
    /// Never: a digest is longer than a key.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let digest = Sha256::digest(name.trim().to_lowercase());
        Self(*digest.first_chunk().expect("a digest has 32 bytes"))
    }
}

pub type Suspect = (AccountKey, Origin);

/// Where a try comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    Address(AddressPrefix),
    Device([u8; 16]),
}

/// Failed sign-ins of one account from one address: some are free, then each costs twice the wait of
/// the one before, up to a minute. governor knows no growing delay.
pub struct Backoff {
    free: u32,
    window: Duration,
    entries: Mutex<HashMap<Suspect, Entry>>,
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
pub struct Pending {
    backoff: Arc<Backoff>,
    suspect: Suspect,
    settled: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Succeeded,
    Failed,
    Unknown,
}

impl Backoff {
    /// So many failures are free, and count for so long.
    pub fn new(free: u32, window: Duration) -> Self {
        Self { free, window, entries: Mutex::default() }
    }

    pub fn attempt(self: &Arc<Self>, suspect: Suspect) -> Result<Pending, Limited> {
        let now = Instant::now();
        let mut entries = self.entries.lock();
        if entries.len() >= MAX_KEYS && !entries.contains_key(&suspect) {
            return Err(self.limited(MAX_DELAY));
        }
        let entry = entries.entry(suspect).or_insert(Entry { failures: 0, pending: 0, next: now, last: now });
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

    fn settle(&self, suspect: &Suspect, outcome: Outcome) {
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
        Limited { policy: "login", quota: self.free, window: self.window, retry_after: whole_seconds(wait) }
    }

    /// Forgets the failures of an account, wherever they came from.
    pub fn forget(&self, account: AccountKey) {
        self.entries.lock().retain(|(of, _), entry| *of != account || entry.pending > 0);
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

impl Pending {
    pub fn settle(&mut self, outcome: Outcome) {
        self.settled = true;
        self.backoff.settle(&self.suspect, outcome);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.settled {
            self.settle(Outcome::Unknown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_minute_and_a_success_ends_them() {
        let backoff = Arc::new(Backoff::new(5, Duration::from_secs(900)));
        let suspect = (AccountKey::of("ada"), Origin::Device([0; 16]));
        let mut waits = Vec::new();
        for n in 0..13 {
            let pending = backoff.attempt(suspect);
            if n >= 5 {
                waits.push(pending.err().expect("must wait").retry_after.as_secs());
                backoff.entries.lock().get_mut(&suspect).expect("known").next = Instant::now();
                backoff.attempt(suspect).unwrap_or_else(|_| panic!("waited")).settle(Outcome::Failed);
            } else {
                pending.unwrap_or_else(|_| panic!("free")).settle(Outcome::Failed);
            }
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.entries.lock().get_mut(&suspect).expect("known").next = Instant::now();
        backoff.attempt(suspect).unwrap_or_else(|_| panic!("waited")).settle(Outcome::Succeeded);
        assert!(backoff.entries.lock().is_empty());
    }
}
