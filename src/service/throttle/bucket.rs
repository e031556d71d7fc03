//! Token buckets: per key a number of tries, refilled at an even pace. The only file that names governor (I1).

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

type Limiter<K> = RateLimiter<K, BucketStore<K>, DefaultClock, NoOpMiddleware<<DefaultClock as governor::clock::Clock>::Instant>>;

/// A bucket of tries per key, kept by governor.
pub struct Buckets<K: Hash + Eq + Clone> {
    policy: &'static str,
    quota: u32,
    /// How long it takes until one try comes back.
    period: Duration,
    limiter: Limiter<K>,
    store: BucketStore<K>,
}

/// Tries that were taken from a bucket. Dropping it gives them back; [`Charge::keep`] does not.
pub struct Charge(Option<Box<dyn FnOnce() + Send>>);

impl Charge {
    /// Consumes the charge without giving its tries back.
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
        let store = BucketStore(Arc::default());
        let limiter = RateLimiter::new(governor, BucketStore(Arc::clone(&store.0)), DefaultClock::default());
        Self { policy, quota: burst.get(), period, limiter, store }
    }

    /// Takes a try.
    pub fn charge(&self, key: &K) -> Result<Charge, Limited> {
        self.take(key, 1)?;
        Ok(self.charged(key, 1))
    }

    /// Takes several tries at once.
    pub fn charge_many(&self, key: &K, tries: u32) -> Result<Charge, Limited> {
        let tries = tries.clamp(1, self.quota);
        self.take(key, tries)?;
        Ok(self.charged(key, tries))
    }

    /// Takes a try, unless it is the last one in the bucket.
    pub fn charge_but_the_last(&self, key: &K) -> Result<Charge, Limited> {
        if self.quota == 1 {
            return self.charge(key);
        }
        self.take(key, 2)?;
        self.store.refund(key, self.period);
        Ok(self.charged(key, 1))
    }

    /// Takes a try if there is one. Never limits the caller.
    pub fn take_if_any(&self, key: &K) {
        // Nothing is taken from an empty bucket.
        let _ = self.take(key, 1);
    }

    /// Fills a key's bucket.
    pub fn forget(&self, key: &K) {
        self.store.0.lock().arrivals.remove(key);
    }

    /// Fills the buckets of these keys.
    pub fn forget_all(&self, is_forgotten: impl Fn(&K) -> bool) {
        self.store.0.lock().arrivals.retain(|key, _| !is_forgotten(key));
    }

    /// Forgets the keys whose bucket is full again, which governor never does by itself.
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
        let (store, key, time) = (BucketStore(Arc::clone(&self.store.0)), key.clone(), self.period.saturating_mul(tries));
        Charge(Some(Box::new(move || store.refund(&key, time))))
    }
}

/// governor's state per key: the theoretical arrival time of its next try. We need a store of our own because
/// governor's cannot give a try back and do not limit the number of keys (ADR 9).
struct BucketStore<K>(Arc<Mutex<BucketState<K>>>);

struct BucketState<K> {
    arrivals: HashMap<K, Nanos>,
    /// The one state that all keys share for which there is no room.
    overflow: Option<Nanos>,
}

impl<K> Default for BucketState<K> {
    fn default() -> Self {
        Self { arrivals: HashMap::new(), overflow: None }
    }
}

impl<K: Hash + Eq + Clone> BucketStore<K> {
    fn refund(&self, key: &K, time: Duration) {
        if let Some(arrival) = self.0.lock().arrivals.get_mut(key) {
            *arrival = Nanos::from(arrival.as_u64().saturating_sub(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)));
        }
    }
}

impl<K: Hash + Eq + Clone> StateStore for BucketStore<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut state = self.0.lock();
        if state.arrivals.len() >= MAX_KEYS && !state.arrivals.contains_key(key) {
            let (outcome, arrival) = f(state.overflow)?;
            state.overflow = Some(arrival);
            return Ok(outcome);
        }
        let (outcome, arrival) = f(state.arrivals.get(key).copied())?;
        state.arrivals.insert(key.clone(), arrival);
        Ok(outcome)
    }
}

impl<K: Hash + Eq + Clone> ShrinkableKeyedStateStore<K> for BucketStore<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        self.0.lock().arrivals.retain(|_, arrival| *arrival > drop_below);
    }

    fn shrink_to_fit(&self) {
        let mut state = self.0.lock();
        if state.arrivals.len() * 4 < state.arrivals.capacity() {
            state.arrivals.shrink_to_fit();
        }
    }

    fn len(&self) -> usize {
        self.0.lock().arrivals.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
