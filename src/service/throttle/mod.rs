//! Throttling: limits what an attacker may try, without locking owners out of their accounts (ADR 9).
//!
//! Every try is charged before its work is done, so that parallel tries cannot pass together (LIM-10). Limits
//! that count failures give the charge back when the password was right. Limits that count hashes give it back
//! only when no hash was begun: one that was begun has used the processor, whatever its outcome.

mod backoff;
mod bucket;
mod limited;
#[cfg(test)]
mod tests;

pub use super::caller::{AccountKey, LoginSource};
pub use limited::Limited;

use super::caller::{Caller, Trust};
use crate::{
    config,
    domain::{AddressPrefix, ApiKeyId, SessionId, UserId},
};
use backoff::{Backoff, Outcome, Pending};
use bucket::{Buckets, Charge};
use std::{hash::Hash, sync::Arc, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);

/// How many API keys a user may make at once; then it is 20 a minute.
const NEW_KEYS: u32 = 60;
/// How often a user may enter an app in a minute, and at once: a browser that opens again has its tabs at the same time.
const ENTRIES: u32 = 60;

/// What a known client is told by: its device's id, or its address prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ClientKey {
    Device(u8),
    Prefix(AddressPrefix),
}

/// All limits.
pub struct Throttle {
    /// Failures of an account from one address prefix that it does not know.
    strangers: Arc<Backoff<(AccountKey, AddressPrefix)>>,
    /// The same from one wider prefix. Limits nobody: it only remembers from where tries have failed before.
    strangers_wide: Arc<Backoff<(AccountKey, AddressPrefix)>>,
    /// Failures of an account from one known client: in a table of its own, which strangers cannot fill.
    known: Arc<Backoff<(AccountKey, ClientKey)>>,
    /// Wrong current passwords in a user's requests to change their password.
    password_changes: Arc<Backoff<UserId>>,
    /// Failures from one address prefix, over all accounts (LIM-2).
    by_address: ByAddress,
    /// Failures of an account, from all addresses (LIM-3).
    by_account: Buckets<AccountKey>,
    /// Hashes for clients that the account does not know, and for registrations.
    stranger_hashes: ByAddress,
    /// Hashes for clients that the account knows.
    known_hashes: Buckets<(AccountKey, ClientKey)>,
    /// Hashes for password changes.
    password_change_hashes: Buckets<UserId>,
    registrations: ByAddress,
    refreshes: Buckets<SessionId>,
    /// Requests with an API key.
    api_keys: Buckets<ApiKeyId>,
    /// New secrets of API keys that a user asks for.
    new_keys: Buckets<UserId>,
    /// Entries of a user into apps.
    entries: Buckets<UserId>,
}

impl Throttle {
    /// Sets up the limits.
    #[must_use]
    pub fn new(settings: &config::Limits) -> Self {
        let &config::Limits { login_failures, login_window, hashes_per_minute, wide_prefix_factor: factor, .. } = settings;
        let by_address = settings.login_failures_per_address;
        Self {
            strangers: Arc::new(Backoff::new("login", login_failures, login_window)),
            strangers_wide: Arc::new(Backoff::new("login", u32::MAX, login_window)),
            known: Arc::new(Backoff::new("login", login_failures, login_window)),
            password_changes: Arc::new(Backoff::new("password", login_failures, login_window)),
            by_address: ByAddress::new("login-address", by_address, login_window / by_address, factor),
            by_account: Buckets::new("login-account", settings.login_failures_per_account, MINUTE),
            stranger_hashes: ByAddress::new("hash", hashes_per_minute, MINUTE / hashes_per_minute, factor),
            known_hashes: Buckets::new("hash", hashes_per_minute, MINUTE / hashes_per_minute),
            password_change_hashes: Buckets::new("hash", hashes_per_minute, MINUTE / hashes_per_minute),
            registrations: ByAddress::new("register", settings.register_burst, MINUTE, factor),
            refreshes: Buckets::new("refresh", settings.refresh_per_minute, MINUTE / settings.refresh_per_minute),
            api_keys: Buckets::new("api-key", settings.api_key_per_minute, MINUTE / settings.api_key_per_minute),
            new_keys: Buckets::new("new-api-key", NEW_KEYS, MINUTE / 20),
            entries: Buckets::new("entry", ENTRIES, MINUTE / ENTRIES),
        }
    }

    /// Charges a login, before its password is compared. A client that the account knows has tries of its own,
    /// which no stranger can use up.
    ///
    /// # Errors
    /// [`Limited`], before any work is done (LIM-1, LIM-2, LIM-3).
    pub fn charge_login(&self, account: AccountKey, source: LoginSource) -> Result<Attempt<'_>, Limited> {
        let client = match source {
            LoginSource::Stranger(prefix) => return self.charge_stranger(account, prefix),
            LoginSource::KnownDevice(device, _) => ClientKey::Device(device.id),
            LoginSource::KnownPrefix(prefix) => ClientKey::Prefix(prefix),
        };
        let mut attempt = Attempt::new(Caller::new(account, source.prefix(), Trust::Known));
        attempt.pending.push(settle_fn(self.known.attempt((account, client))?));
        attempt.work.push(self.known_hashes.charge(&(account, client))?);
        // A known client is not limited by the account's failures, but adds to them: a stolen device token must not
        // allow guesses that are not counted.
        attempt.on_failure = Some(Box::new(move || self.by_account.take_if_any(&account)));
        Ok(attempt)
    }

    fn charge_stranger(&self, account: AccountKey, prefix: AddressPrefix) -> Result<Attempt<'_>, Limited> {
        let wider = prefix.wider();
        let is_new = !self.strangers.has_failed(&(account, prefix)) && !self.strangers_wide.has_failed(&(account, wider));
        let mut attempt = Attempt::new(Caller::new(account, prefix, Trust::Stranger));
        // When a later limit refuses, dropping the attempt gives back what the earlier ones have charged.
        attempt.pending.push(settle_fn(self.strangers.attempt((account, prefix))?));
        attempt.pending.push(settle_fn(self.strangers_wide.attempt((account, wider))?));
        attempt.failures.extend(self.by_address.charge(prefix)?);
        // The last try of an account is reserved for clients that have not failed yet. Once the others are spent, that
        // is the one try a minute that comes back: without this it would go to whoever asks most often.
        let charge = if is_new { self.by_account.charge(&account) } else { self.by_account.charge_but_the_last(&account) };
        attempt.failures.push(charge?);
        attempt.work.extend(self.stranger_hashes.charge(prefix)?);
        Ok(attempt)
    }

    /// Charges a password change: two hashes, one to compare the current password and one to make the new. It has
    /// limits of its own for each user, so that nobody else can spend its tries (LIM-4).
    ///
    /// # Errors
    /// [`Limited`].
    pub fn charge_password_change(&self, user: UserId, from: AddressPrefix) -> Result<Attempt<'_>, Limited> {
        let mut attempt = Attempt::new(Caller::new(AccountKey::of_user(user), from, Trust::LoggedIn));
        attempt.pending.push(settle_fn(self.password_changes.attempt(user)?));
        attempt.work.push(self.password_change_hashes.charge_many(&user, 2)?);
        Ok(attempt)
    }

    /// Charges a registration (LIM-4).
    ///
    /// # Errors
    /// [`Limited`].
    pub fn charge_registration(&self, account: AccountKey, from: AddressPrefix) -> Result<Attempt<'_>, Limited> {
        let mut attempt = Attempt::new(Caller::new(account, from, Trust::Stranger));
        attempt.work.extend(self.registrations.charge(from)?);
        attempt.work.extend(self.stranger_hashes.charge(from)?);
        Ok(attempt)
    }

    /// Charges a refresh of a session (LIM-4).
    ///
    /// # Errors
    /// [`Limited`].
    pub fn charge_refresh(&self, session: SessionId) -> Result<(), Limited> {
        self.refreshes.charge(&session).map(Charge::keep)
    }

    /// Charges a request with an API key (KEY-7).
    ///
    /// # Errors
    /// [`Limited`].
    pub fn charge_api_key(&self, key: ApiKeyId) -> Result<(), Limited> {
        self.api_keys.charge(&key).map(Charge::keep)
    }

    /// Charges a new secret of an API key. Each that is revoked is remembered as long as its tokens live.
    ///
    /// # Errors
    /// [`Limited`].
    pub fn charge_new_key(&self, user: UserId) -> Result<(), Limited> {
        self.new_keys.charge(&user).map(Charge::keep)
    }

    /// Charges an entry of a user into an app.
    ///
    /// # Errors
    /// [`Limited`].
    pub fn charge_entry(&self, user: UserId) -> Result<(), Limited> {
        self.entries.charge(&user).map(Charge::keep)
    }

    /// Forgets the failures that were counted against an account and its user.
    pub fn unlock(&self, account: AccountKey, user: UserId) {
        self.strangers.forget(|(of, _)| *of == account);
        self.strangers_wide.forget(|(of, _)| *of == account);
        self.known.forget(|(of, _)| *of == account);
        self.password_changes.forget(|of| *of == user);
        self.by_account.forget(&account);
        self.known_hashes.forget_all(|(of, _)| *of == account);
        self.password_change_hashes.forget(&user);
    }

    /// Forgets the counts that no longer limit anybody.
    pub fn sweep(&self) {
        self.strangers.sweep();
        self.strangers_wide.sweep();
        self.known.sweep();
        self.password_changes.sweep();
        self.by_address.sweep();
        self.by_account.sweep();
        self.stranger_hashes.sweep();
        self.known_hashes.sweep();
        self.password_change_hashes.sweep();
        self.entries.sweep();
        self.registrations.sweep();
        self.refreshes.sweep();
        self.api_keys.sweep();
        self.new_keys.sweep();
    }
}

/// A limit per address prefix, and a multiple of it per wider prefix: one subscriber may have many prefixes, all
/// in one wider prefix (LIM-5).
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

type SettleFn = Box<dyn FnOnce(Outcome) + Send>;

fn settle_fn<K: Hash + Eq + Clone + Send + 'static>(mut pending: Pending<K>) -> SettleFn {
    Box::new(move |outcome| pending.settle(outcome))
}

/// A password that is being compared or hashed, with what was charged for it. An attempt that is dropped without
/// an outcome, because its client hung up or the store failed, counts as a failure if a hash was begun for it, and
/// otherwise not at all.
pub struct Attempt<'a> {
    caller: Caller,
    /// Each tells one [`Backoff`] of the outcome.
    pending: Vec<SettleFn>,
    /// Charges that are kept only if the attempt fails.
    failures: Vec<Charge>,
    /// Charges that are kept if a hash was begun.
    work: Vec<Charge>,
    on_failure: Option<Box<dyn FnOnce() + Send + 'a>>,
}

impl Attempt<'_> {
    fn new(caller: Caller) -> Self {
        Self { caller, pending: Vec::new(), failures: Vec::new(), work: Vec::new(), on_failure: None }
    }

    /// The caller for whom the password is hashed.
    #[must_use]
    pub fn caller(&self) -> Caller {
        self.caller.clone()
    }

    /// Counts a failure: the password was wrong.
    pub fn count_failure(mut self) {
        self.settle(Outcome::Failed);
    }

    /// Gives back what counts failures: the password was right.
    pub fn refund(mut self) {
        self.settle(Outcome::Succeeded);
    }

    fn settle(&mut self, outcome: Outcome) {
        self.pending.drain(..).for_each(|settle| settle(outcome));
        if outcome == Outcome::Failed {
            self.failures.drain(..).for_each(Charge::keep);
            if let Some(on_failure) = self.on_failure.take() {
                on_failure();
            }
        }
        if self.caller.has_begun() {
            self.work.drain(..).for_each(Charge::keep);
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        // `pending` is empty when the outcome was reported already, and for a registration, which has nothing to fail at.
        let outcome = if self.caller.has_begun() && !self.pending.is_empty() { Outcome::Failed } else { Outcome::Unknown };
        self.settle(outcome);
    }
}
