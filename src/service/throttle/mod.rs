//! Throttling: what an attacker may try, without locking owners out.
//!
//! Every try is charged before its work is done, so that parallel tries cannot pass together (LIM-10). What
//! counts failures is given back when the try turns out honest; what counts hashes is given back only when
//! none was begun, whatever came of it: work that was done was done.

mod backoff;
mod bucket;
mod limited;
#[cfg(test)]
mod tests;

pub use super::caller::{AccountKey, Origin};
pub use limited::Limited;

use super::caller::{Caller, Standing};
use crate::{
    config,
    domain::{AddressPrefix, SessionId, UserId},
};
use backoff::{Backoff, Outcome, Pending};
use bucket::{Buckets, Charge};
use std::{hash::Hash, sync::Arc, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);

/// What an account is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    Device(u8),
    Prefix(AddressPrefix),
}

/// All limits.
pub struct Throttle {
    /// Failures of an account from one prefix.
    strangers: Arc<Backoff<(AccountKey, AddressPrefix)>>,
    /// The same from the wider prefix: it holds nobody up, it tells who has failed before.
    neighbours: Arc<Backoff<(AccountKey, AddressPrefix)>>,
    /// Failures of an account from where it is known: in a table that strangers cannot fill.
    known: Arc<Backoff<(AccountKey, Place)>>,
    /// Wrong current passwords of somebody signed in.
    own: Arc<Backoff<UserId>>,
    by_address: ByAddress,
    /// Failures of an account from everywhere (LIM-3).
    everywhere: Buckets<AccountKey>,
    /// Hashes for strangers.
    hashes: ByAddress,
    /// Hashes for those an account is known by.
    known_hashes: Buckets<(AccountKey, Place)>,
    /// Hashes for those signed in.
    own_hashes: Buckets<UserId>,
    registrations: ByAddress,
    refreshes: Buckets<SessionId>,
}

impl Throttle {
    /// Sets up the limits.
    #[must_use]
    pub fn new(settings: &config::Limits) -> Self {
        let &config::Limits { login_failures, login_window, hashes_per_minute, wide_prefix_factor: factor, .. } = settings;
        let by_address = settings.login_failures_per_address;
        Self {
            strangers: Arc::new(Backoff::new("login", login_failures, login_window)),
            neighbours: Arc::new(Backoff::new("login", u32::MAX, login_window)),
            known: Arc::new(Backoff::new("login", login_failures, login_window)),
            own: Arc::new(Backoff::new("password", login_failures, login_window)),
            by_address: ByAddress::new("login-address", by_address, login_window / by_address, factor),
            everywhere: Buckets::new("login-account", settings.login_failures_per_account, MINUTE),
            hashes: ByAddress::new("hash", hashes_per_minute, MINUTE / hashes_per_minute, factor),
            known_hashes: Buckets::new("hash", hashes_per_minute, MINUTE / hashes_per_minute),
            own_hashes: Buckets::new("hash", hashes_per_minute, MINUTE / hashes_per_minute),
            registrations: ByAddress::new("register", settings.register_burst, MINUTE, factor),
            refreshes: Buckets::new("refresh", settings.refresh_per_minute, MINUTE / settings.refresh_per_minute),
        }
    }

    /// A password is about to be tried. Where the account is known it has tries of its own, so that no
    /// stranger can use them up.
    ///
    /// # Errors
    /// [`Limited`], before any work is done (LIM-1, LIM-2, LIM-3).
    pub fn charge_login(&self, account: AccountKey, origin: Origin) -> Result<Attempt<'_>, Limited> {
        let place = match origin {
            Origin::Stranger(prefix) => return self.stranger(account, prefix),
            Origin::KnownDevice(device, _) => Place::Device(device.id),
            Origin::KnownPrefix(prefix) => Place::Prefix(prefix),
        };
        let mut attempt = Attempt::new(Caller::new(account, origin.prefix(), Standing::Known));
        attempt.settling.push(settling(self.known.attempt((account, place))?));
        attempt.work.push(self.known_hashes.charge(&(account, place))?);
        // Not asked, so never held up by it; but whoever got hold of what is known must not guess unseen.
        attempt.on_failure = Some(Box::new(move || self.everywhere.add(&account)));
        Ok(attempt)
    }

    fn stranger(&self, account: AccountKey, prefix: AddressPrefix) -> Result<Attempt<'_>, Limited> {
        let wider = prefix.wider();
        let is_new = !self.strangers.has_failed(&(account, prefix)) && !self.neighbours.has_failed(&(account, wider));
        let mut attempt = Attempt::new(Caller::new(account, prefix, Standing::Stranger));
        // What was charged is given back when a later limit says no.
        attempt.settling.push(settling(self.strangers.attempt((account, prefix))?));
        attempt.settling.push(settling(self.neighbours.attempt((account, wider))?));
        attempt.failures.extend(self.by_address.charge(prefix)?);
        // The last try of an account, and so each minute's once the others are spent, is for who has not failed
        // yet: otherwise it goes to whoever asks most often.
        let charge = if is_new { self.everywhere.charge(&account) } else { self.everywhere.charge_but_the_last(&account) };
        attempt.failures.push(charge?);
        attempt.work.extend(self.hashes.charge(prefix)?);
        Ok(attempt)
    }

    /// Somebody signed in is about to prove their password and to replace it: two hashes. Charged to nothing
    /// that anybody else can spend (LIM-4).
    ///
    /// # Errors
    /// [`Limited`].
    pub fn charge_password_change(&self, user: UserId, from: AddressPrefix) -> Result<Attempt<'_>, Limited> {
        let mut attempt = Attempt::new(Caller::new(AccountKey::of_user(user), from, Standing::SignedIn));
        attempt.settling.push(settling(self.own.attempt(user)?));
        attempt.work.push(self.own_hashes.charge_many(&user, 2)?);
        Ok(attempt)
    }

    /// Somebody is about to register (LIM-4).
    ///
    /// # Errors
    /// [`Limited`].
    pub fn register(&self, account: AccountKey, from: AddressPrefix) -> Result<Attempt<'_>, Limited> {
        let mut attempt = Attempt::new(Caller::new(account, from, Standing::Stranger));
        attempt.work.extend(self.registrations.charge(from)?);
        attempt.work.extend(self.hashes.charge(from)?);
        Ok(attempt)
    }

    /// A session is about to be refreshed (LIM-4).
    ///
    /// # Errors
    /// [`Limited`].
    pub fn refresh(&self, session: SessionId) -> Result<(), Limited> {
        self.refreshes.charge(&session).map(Charge::keep)
    }

    /// Forgets what was counted against an account and its user.
    pub fn unlock(&self, account: AccountKey, user: UserId) {
        self.strangers.forget(|(of, _)| *of == account);
        self.neighbours.forget(|(of, _)| *of == account);
        self.known.forget(|(of, _)| *of == account);
        self.own.forget(|of| *of == user);
        self.everywhere.forget(&account);
        self.known_hashes.forget_all(|(of, _)| *of == account);
        self.own_hashes.forget(&user);
    }

    /// Forgets what no longer limits anybody.
    pub fn sweep(&self) {
        self.strangers.sweep();
        self.neighbours.sweep();
        self.known.sweep();
        self.own.sweep();
        self.by_address.sweep();
        self.everywhere.sweep();
        self.hashes.sweep();
        self.known_hashes.sweep();
        self.own_hashes.sweep();
        self.registrations.sweep();
        self.refreshes.sweep();
    }
}

/// A limit per prefix, and a multiple of it per wider prefix: one subscriber may have many of the former
/// (LIM-5).
struct ByAddress {
    narrow: Buckets<AddressPrefix>,
    wide: Buckets<AddressPrefix>,
}

impl ByAddress {
    fn new(policy: &'static str, quota: u32, period: Duration, factor: u32) -> Self {
        Self { narrow: Buckets::new(policy, quota, period), wide: Buckets::new(policy, quota.saturating_mul(factor), period / factor) }
    }

    fn charge(&self, prefix: AddressPrefix) -> Result<[Charge; 2], Limited> {
        Ok([self.narrow.charge(&prefix)?, self.wide.charge(&prefix.wider())?])
    }

    fn sweep(&self) {
        self.narrow.sweep();
        self.wide.sweep();
    }
}

type Settling = Box<dyn FnOnce(Outcome) + Send>;

fn settling<K: Hash + Eq + Clone + Send + 'static>(mut pending: Pending<K>) -> Settling {
    Box::new(move |outcome| pending.settle(outcome))
}

/// A password being tried, or made. Dropped without a word it has failed if a hash was begun for it (its
/// caller hung up, or the store gave out), and else counts for nothing.
pub struct Attempt<'a> {
    caller: Caller,
    /// What counts failures of the account, each in its way.
    settling: Vec<Settling>,
    /// What only failures are charged to.
    failures: Vec<Charge>,
    /// What work is charged to.
    work: Vec<Charge>,
    on_failure: Option<Box<dyn FnOnce() + Send + 'a>>,
}

impl Attempt<'_> {
    fn new(caller: Caller) -> Self {
        Self { caller, settling: Vec::new(), failures: Vec::new(), work: Vec::new(), on_failure: None }
    }

    /// For whom the hash is.
    #[must_use]
    pub fn caller(&self) -> Caller {
        self.caller.clone()
    }

    /// The password was wrong.
    pub fn count_failure(mut self) {
        self.settle(Outcome::Failed);
    }

    /// The password was right.
    pub fn refund(mut self) {
        self.settle(Outcome::Succeeded);
    }

    fn settle(&mut self, outcome: Outcome) {
        self.settling.drain(..).for_each(|settle| settle(outcome));
        if outcome == Outcome::Failed {
            self.failures.drain(..).for_each(Charge::keep);
            if let Some(tell) = self.on_failure.take() {
                tell();
            }
        }
        if self.caller.has_begun() {
            self.work.drain(..).for_each(Charge::keep);
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        // Nothing is left to settle when it was said how it ended.
        let outcome = if self.caller.has_begun() && !self.settling.is_empty() { Outcome::Failed } else { Outcome::Unknown };
        self.settle(outcome);
    }
}
