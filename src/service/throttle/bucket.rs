//! A bucket of tries per key, filled at an even pace. The only place that names governor (I1).

use super::limited::{Limited, MAX_KEYS, whole_seconds};
use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{StateStore, keyed::ShrinkableKeyedStateStore},
};
use parking_lot::Mutex;
use std::{collections::HashMap, hash::Hash, num::NonZeroU32, sync::Arc, time::Duration};

type Limiter<K> = RateLimiter<K, Ledger<K>, DefaultClock, NoOpMiddleware<<DefaultClock as governor::clock::Clock>::Instant>>;

/// A governor limit per key.
pub struct Buckets<K: Hash + Eq + Clone> {
    policy: &'static str,
    quota: u32,
    /// The time that gives one try back.
    period: Duration,
    limiter: Limiter<K>,
    ledger: Ledger<K>,
}

/// Tries that were taken. Dropped without a word they are given back.
pub struct Charge(Option<Box<dyn FnOnce() + Send>>);

impl Charge {
    /// They stay taken.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(refund) = self.0.take() {
            refund();
        }
    }
}

impl<K: Hash + Eq + Clone + Send + 'static> Buckets<K> {
    /// Buckets of `quota` tries, one of which comes back each `period`.
    pub fn new(policy: &'static str, quota: u32, period: Duration) -> Self {
        let burst = NonZeroU32::new(quota).unwrap_or(NonZeroU32::MIN);
        let period = period.max(Duration::from_nanos(1));
        let governor = Quota::with_period(period).expect("the period is not zero").allow_burst(burst);
        let ledger = Ledger(Arc::default());
        let limiter = RateLimiter::new(governor, Ledger(Arc::clone(&ledger.0)), DefaultClock::default());
        Self { policy, quota: burst.get(), period, limiter, ledger }
    }

    /// Takes a try.
    pub fn charge(&self, key: &K) -> Result<Charge, Limited> {
        self.take(key, 1)?;
        Ok(self.charged(key, 1))
    }

    /// Takes so many tries at once.
    pub fn charge_many(&self, key: &K, tries: u32) -> Result<Charge, Limited> {
        let tries = tries.clamp(1, self.quota);
        self.take(key, tries)?;
        Ok(self.charged(key, tries))
    }

    /// Takes a try, unless it is the last one there is.
    pub fn charge_but_the_last(&self, key: &K) -> Result<Charge, Limited> {
        if self.quota == 1 {
            return self.charge(key);
        }
        self.take(key, 2)?;
        self.ledger.refund(key, self.period);
        Ok(self.charged(key, 1))
    }

    /// Takes a try if there is one, and holds nobody up.
    pub fn add(&self, key: &K) {
        // An empty bucket is as empty as it gets.
        let _ = self.take(key, 1);
    }

    /// Fills a key's bucket.
    pub fn forget(&self, key: &K) {
        self.ledger.0.lock().arrivals.remove(key);
    }

    /// Fills the buckets of these keys.
    pub fn forget_all(&self, of: impl Fn(&K) -> bool) {
        self.ledger.0.lock().arrivals.retain(|key, _| !of(key));
    }

    /// Forgets whose bucket is full: governor never does by itself.
    pub fn sweep(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.limiter.len()
    }

    fn take(&self, key: &K, tries: u32) -> Result<(), Limited> {
        let limited = |wait| Limited {
            policy: self.policy,
            quota: self.quota,
            window: self.period.saturating_mul(self.quota),
            retry_after: whole_seconds(wait),
        };
        let tries = NonZeroU32::new(tries).unwrap_or(NonZeroU32::MIN);
        match self.limiter.check_key_n(key, tries) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(limited(not_until.wait_time_from(DefaultClock::default().now()))),
            Err(_) => Err(limited(self.period.saturating_mul(self.quota))),
        }
    }

    fn charged(&self, key: &K, tries: u32) -> Charge {
        let (ledger, key, time) = (Ledger(Arc::clone(&self.ledger.0)), key.clone(), self.period.saturating_mul(tries));
        Charge(Some(Box::new(move || ledger.refund(&key, time))))
    }
}

/// governor's state per key: the theoretical arrival time of its next try. A state store of our own,
/// because a try must be given back sometimes, and because the number of keys has a limit.
struct Ledger<K>(Arc<Mutex<Book<K>>>);

struct Book<K> {
    arrivals: HashMap<K, Nanos>,
    /// Shared by all keys that no longer find room.
    overflow: Option<Nanos>,
}

impl<K> Default for Book<K> {
    fn default() -> Self {
        Self { arrivals: HashMap::new(), overflow: None }
    }
}

impl<K: Hash + Eq + Clone> Ledger<K> {
    fn refund(&self, key: &K, time: Duration) {
        if let Some(arrival) = self.0.lock().arrivals.get_mut(key) {
            *arrival = Nanos::from(arrival.as_u64().saturating_sub(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)));
        }
    }
}

impl<K: Hash + Eq + Clone> StateStore for Ledger<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut book = self.0.lock();
        if book.arrivals.len() >= MAX_KEYS && !book.arrivals.contains_key(key) {
            let (outcome, arrival) = f(book.overflow)?;
            book.overflow = Some(arrival);
            return Ok(outcome);
        }
        let (outcome, arrival) = f(book.arrivals.get(key).copied())?;
        book.arrivals.insert(key.clone(), arrival);
        Ok(outcome)
    }
}

impl<K: Hash + Eq + Clone> ShrinkableKeyedStateStore<K> for Ledger<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        self.0.lock().arrivals.retain(|_, arrival| *arrival > drop_below);
    }

    fn shrink_to_fit(&self) {
        let mut book = self.0.lock();
        if book.arrivals.len() * 4 < book.arrivals.capacity() {
            book.arrivals.shrink_to_fit();
        }
    }

    fn len(&self) -> usize {
        self.0.lock().arrivals.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
