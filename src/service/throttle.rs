//! Throttling: what an attacker may try, without locking owners out. The only place that names
//! governor (I1).
//!
//! Every try is charged before its work is done, so that parallel tries cannot pass together
//! (LIM-10), and given back when it turns out honest: successful sign-ins are not counted (SPEC §8).

pub use super::backoff::AccountKey;
use super::{
    backoff::{Backoff, Origin, Outcome, Pending},
    devices::Device,
};
use crate::{
    config,
    domain::{AddressPrefix, SessionId, UserId},
};
use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{StateStore, keyed::ShrinkableKeyedStateStore},
};
use parking_lot::Mutex;
use std::{collections::HashMap, hash::Hash, num::NonZeroU32, sync::Arc, time::Duration};

/// The most keys one limit remembers; all beyond share one (LIM-8).
pub(super) const MAX_KEYS: usize = 100_000;

/// A try that is one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// The name of the limit.
    pub policy: &'static str,
    /// How many tries it allows …
    pub quota: u32,
    /// … in this time.
    pub window: Duration,
    /// When to try again; at least a second.
    pub retry_after: Duration,
}

/// All limits.
pub struct Throttle {
    by_account: Arc<Backoff>,
    by_address: Arc<Limit<AddressPrefix>>,
    /// Failures of an account from everywhere (LIM-3).
    everywhere: Arc<Limit<AccountKey>>,
    registrations: Limit<AddressPrefix>,
    refreshes: Limit<SessionId>,
}

impl Throttle {
    /// Sets up the limits.
    #[must_use]
    pub fn new(settings: &config::Limits) -> Self {
        let minute = Duration::from_secs(60);
        Self {
            by_account: Arc::new(Backoff::new(settings.login_failures, settings.login_window)),
            by_address: Arc::new(Limit::new(
                "login-address",
                settings.login_failures_per_address,
                settings.login_window,
                settings.login_window / settings.login_failures_per_address,
            )),
            everywhere: Arc::new(Limit::new(
                "login-account",
                settings.login_failures_per_account,
                minute * settings.login_failures_per_account,
                minute,
            )),
            registrations: Limit::new("register", settings.register_burst, minute * settings.register_burst, minute),
            refreshes: Limit::new("refresh", settings.refresh_per_minute, minute, minute / settings.refresh_per_minute),
        }
    }

    /// A password is about to be tried. A device the account is known by has tries of its own, so
    /// that no stranger can use them up.
    ///
    /// # Errors
    /// [`Limited`], before any work is done (LIM-1, LIM-2, LIM-3).
    pub fn sign_in(&self, account: AccountKey, from: AddressPrefix, device: Option<&Device>) -> Result<Attempt, Limited> {
        if let Some(device) = device {
            return Ok(Attempt { by_account: self.by_account.attempt((account, Origin::Device(device.id)))?, refunds: Vec::new() });
        }
        let mut attempt = Attempt { by_account: self.by_account.attempt((account, Origin::Address(from)))?, refunds: Vec::new() };
        // What was charged is given back when a later limit says no.
        self.by_address.charge(&from)?;
        attempt.refunds.push(Box::new({
            let limit = Arc::clone(&self.by_address);
            move || limit.refund(&from)
        }));
        self.everywhere.charge(&account)?;
        attempt.refunds.push(Box::new({
            let limit = Arc::clone(&self.everywhere);
            move || limit.refund(&account)
        }));
        Ok(attempt)
    }

    /// Somebody is about to register (LIM-4).
    ///
    /// # Errors
    /// [`Limited`].
    pub fn register(&self, from: AddressPrefix) -> Result<(), Limited> {
        self.registrations.charge(&from)
    }

    /// A session is about to be refreshed (LIM-4).
    ///
    /// # Errors
    /// [`Limited`].
    pub fn refresh(&self, session: SessionId) -> Result<(), Limited> {
        self.refreshes.charge(&session)
    }

    /// Forgets what was counted against an account's sign-ins.
    pub fn unlock(&self, account: AccountKey, _user: UserId) {
        self.by_account.forget(account);
        self.everywhere.forget(&account);
    }

    /// Forgets what no longer limits anybody: governor never does by itself.
    pub fn sweep(&self) {
        self.by_account.sweep();
        self.by_address.sweep();
        self.everywhere.sweep();
        self.registrations.sweep();
        self.refreshes.sweep();
    }
}

/// A password being tried. Dropped without a word it counts for nothing.
pub struct Attempt {
    by_account: Pending,
    /// What gives back each charge.
    refunds: Vec<Box<dyn FnOnce() + Send>>,
}

impl Attempt {
    /// The password was wrong.
    pub fn failed(mut self) {
        self.refunds.clear();
        self.by_account.settle(Outcome::Failed);
    }

    /// The password was right.
    pub fn succeeded(mut self) {
        self.by_account.settle(Outcome::Succeeded);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.refunds.drain(..).for_each(|refund| refund());
    }
}

type Limiter<K> = RateLimiter<K, Ledger<K>, DefaultClock, NoOpMiddleware<<DefaultClock as governor::clock::Clock>::Instant>>;

/// A governor limit per key.
struct Limit<K: Hash + Eq + Clone> {
    policy: &'static str,
    quota: u32,
    window: Duration,
    /// The time that gives one try back.
    period: Duration,
    limiter: Limiter<K>,
    ledger: Ledger<K>,
}

impl<K: Hash + Eq + Clone> Limit<K> {
    fn new(policy: &'static str, quota: u32, window: Duration, period: Duration) -> Self {
        let burst = NonZeroU32::new(quota).unwrap_or(NonZeroU32::MIN);
        let period = period.max(Duration::from_nanos(1));
        let governor = Quota::with_period(period).expect("the period is not zero").allow_burst(burst);
        let ledger = Ledger(Arc::default());
        Self {
            policy,
            quota,
            window,
            period,
            limiter: RateLimiter::new(governor, Ledger(Arc::clone(&ledger.0)), DefaultClock::default()),
            ledger,
        }
    }

    fn charge(&self, key: &K) -> Result<(), Limited> {
        self.limiter.check_key(key).map_err(|not_until| Limited {
            policy: self.policy,
            quota: self.quota,
            window: self.window,
            retry_after: whole_seconds(not_until.wait_time_from(DefaultClock::default().now())),
        })
    }

    fn refund(&self, key: &K) {
        self.ledger.refund(key, self.period);
    }

    fn forget(&self, key: &K) {
        self.ledger.0.lock().arrivals.remove(key);
    }

    fn sweep(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
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
    fn refund(&self, key: &K, period: Duration) {
        if let Some(arrival) = self.0.lock().arrivals.get_mut(key) {
            *arrival = Nanos::from(arrival.as_u64().saturating_sub(u64::try_from(period.as_nanos()).unwrap_or(u64::MAX)));
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

/// Rounded up, and at least one: what `Retry-After` can say.
pub(super) fn whole_seconds(wait: Duration) -> Duration {
    Duration::from_secs((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: AddressPrefix = AddressPrefix::V4(std::net::Ipv4Addr::LOCALHOST);

    fn throttle() -> Throttle {
        Throttle::new(&config::Limits::default())
    }

    #[test]
    fn lim_1_after_five_failures_the_account_must_wait_from_there_and_nowhere_else() {
        let throttle = throttle();
        let ada = AccountKey::of("ada@example.org");
        for _ in 0..5 {
            throttle.sign_in(ada, HERE, None).expect("free").failed();
        }
        let limited = throttle.sign_in(ada, HERE, None).err().expect("limited");
        assert_eq!((limited.policy, limited.quota, limited.retry_after), ("login", 5, Duration::from_secs(1)));
        assert!(throttle.sign_in(ada, AddressPrefix::V6(1), None).is_ok());
        assert!(throttle.sign_in(AccountKey::of("eve@example.org"), HERE, None).is_ok());
        // LIM-7: another spelling is the same account.
        assert!(throttle.sign_in(AccountKey::of(" ADA@Example.org "), HERE, None).is_err());
    }

    #[test]
    fn lim_10_parallel_tries_cannot_pass_together() {
        let throttle = throttle();
        let ada = AccountKey::of("ada@example.org");
        let tries: Vec<_> = (0..50).map(|_| throttle.sign_in(ada, HERE, None)).collect();
        assert_eq!(tries.iter().filter(|t| t.is_ok()).count(), 5);
    }

    #[test]
    fn lim_2_failures_of_an_address_count_over_all_accounts_and_successes_do_not() {
        let throttle = throttle();
        for n in 0..200 {
            throttle.sign_in(AccountKey::of(&format!("good{n}")), HERE, None).expect("successes cost nothing").succeeded();
        }
        for n in 0..50 {
            throttle.sign_in(AccountKey::of(&format!("bad{n}")), HERE, None).expect("free").failed();
        }
        let limited = throttle.sign_in(AccountKey::of("bad50"), HERE, None).err().expect("limited");
        assert_eq!((limited.policy, limited.quota), ("login-address", 50));
        assert!(limited.retry_after <= Duration::from_secs(18));
        assert!(throttle.sign_in(AccountKey::of("bad50"), AddressPrefix::V6(7), None).is_ok());
    }

    #[test]
    fn lim_3_strangers_from_everywhere_do_not_hold_up_a_known_device() {
        let throttle = throttle();
        let ada = AccountKey::of("ada@example.org");
        let device = Device { user: crate::domain::UserId::from_bytes([1; 16]), id: [2; 16] };
        for n in 0..100 {
            throttle.sign_in(ada, AddressPrefix::V6(n), None).expect("free").failed();
        }
        let limited = throttle.sign_in(ada, AddressPrefix::V6(100), None).err().expect("limited");
        assert_eq!(limited.policy, "login-account");
        assert!(limited.retry_after <= Duration::from_secs(60));
        throttle.sign_in(ada, AddressPrefix::V6(101), Some(&device)).expect("known").succeeded();
        // Its own tries are counted too.
        for _ in 0..5 {
            throttle.sign_in(ada, HERE, Some(&device)).expect("free").failed();
        }
        assert!(throttle.sign_in(ada, HERE, Some(&device)).is_err());
    }

    #[test]
    fn a_try_that_came_to_nothing_counts_for_nothing() {
        let throttle = throttle();
        for _ in 0..200 {
            drop(throttle.sign_in(AccountKey::of("ada"), HERE, None).expect("free"));
        }
    }

    #[test]
    fn lim_4_registrations_and_refreshes_have_their_own_limits() {
        let throttle = throttle();
        assert_eq!((0..100).filter(|_| throttle.register(HERE).is_ok()).count(), 20);
        let session = SessionId::from_bytes([1; 16]);
        assert_eq!((0..100).filter(|_| throttle.refresh(session).is_ok()).count(), 30);
        assert!(throttle.refresh(SessionId::from_bytes([2; 16])).is_ok());
    }

    #[test]
    fn lim_8_keys_beyond_the_cap_share_one_limit_and_never_pass_freely() {
        let throttle = throttle();
        for n in 0..MAX_KEYS as u64 {
            throttle.register(AddressPrefix::V6(n)).expect("room");
        }
        let passed = (0..1000).filter(|n| throttle.register(AddressPrefix::V6(u64::MAX - n)).is_ok()).count();
        assert_eq!(passed, 20);
        assert_eq!(throttle.registrations.ledger.len(), MAX_KEYS);
        throttle.sweep();
        assert_eq!(throttle.registrations.ledger.len(), MAX_KEYS, "all are recent");
    }
}
