//! The deny list: access tokens that are void although they have not expired. It is kept in memory, so that
//! checking a request needs no disk read (REV-8, ADR 15).
//!
//! It holds only recent revocations. A token that no entry matches is accepted, so four things must hold, and
//! each has a test:
//! * The list is loaded before anything listens (REV-3), and each revocation is in it before it is answered.
//! * An entry stays until the last token it could match has expired. A token expires `access_ttl` after its
//!   `iat`, which is read from the clock *before* the transaction that the token follows from is submitted. A
//!   revocation that this transaction did not see was made later, so its entry outlives the token.
//! * An entry is dropped only when both the wall clock and the monotonic clock say so, for either may be wrong
//!   (REV-5).
//! * A full list forgets nothing: it is emptied by voiding every token issued so far (REV-6).

use super::feed::{Change, Feed, Revocation};
use crate::{
    domain::{SessionId, Timestamp, TokenId, TokenIds, UserId},
    store::{CommitEvent, DenyListRows, Error, ExpiredEntries, Observer, Store},
};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// The most entries there may be. They take some 15 MB.
const MAX_ENTRIES: usize = 200_000;

/// How far apart the events of two transactions may be and still arrive in the wrong order. An entry is replaced by
/// a voiding of all tokens only if it expires at least this much earlier, so that it was surely made before.
const MAX_REORDERING: Duration = Duration::from_secs(60);

/// The longest that an entry is kept on account of the monotonic clock: no token lives longer, and no pass to an app.
/// Without this bound a wall clock that was wrong when an entry was made could keep it for years.
const MAX_MONOTONIC_AGE: Duration = Duration::from_secs(8 * 24 * 3600);

/// The access tokens that are void. Locks are held for a look-up, never across an await.
#[derive(Debug, Default)]
pub struct DenyList {
    /// Per user the least token version that is accepted.
    users: Entries<UserId, u32>,
    sessions: Entries<SessionId, ()>,
    tokens: Entries<TokenId, ()>,
    /// Tokens issued before this moment are void, in milliseconds since 1970; 0 voids none.
    not_before: AtomicU64,
    /// Until when `not_before` is kept.
    not_before_until: Mutex<Option<Until>>,
    /// Entries that a voiding of all tokens has replaced, whose rows are still in the database.
    superseded: Mutex<ExpiredEntries>,
    /// What was added lately, for those who keep such a list of their own.
    feed: Arc<Feed>,
}

/// Whether an access token is in force (RFC 7662 §2.2 calls it active).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenStatus {
    /// It is in force.
    Active,
    /// It was revoked.
    Revoked,
}

impl DenyList {
    /// Adds the entries that the database has. Each is kept for the whole lifetime of a token from now on, whatever the
    /// wall clock says: it may be wrong at a start, and be set right later (REV-5).
    pub fn load(&self, denied: DenyListRows, lifetime: Duration) {
        let loaded = |until| Until::new(until).at_least(lifetime);
        denied.users.into_iter().for_each(|(id, least, until)| self.users.add(id, least, loaded(until)));
        denied.sessions.into_iter().for_each(|(id, until)| self.sessions.add(id, (), loaded(until)));
        denied.tokens.into_iter().for_each(|(id, until)| self.tokens.add(id, (), loaded(until)));
        if let Some((moment, until)) = denied.not_before {
            self.void_all_before(moment, loaded(until));
        }
    }

    /// Whether a token, which the caller has verified and which has not expired, is in force.
    #[must_use]
    pub fn check(&self, ids: &TokenIds) -> TokenStatus {
        let is_void = ids.issued_at.millis() < self.not_before.load(Relaxed)
            || self.users.get(&ids.user).is_some_and(|least| ids.version < least)
            || self.sessions.get(&ids.session).is_some()
            || self.tokens.get(&ids.token).is_some();
        if is_void { TokenStatus::Revoked } else { TokenStatus::Active }
    }

    /// What was added lately.
    pub const fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// All entries.
    #[must_use]
    pub fn revocations(&self) -> Vec<Revocation> {
        let users = self.users.to_vec().into_iter().map(|(user, least_version, until)| Revocation::User { user, least_version, until });
        let sessions = self.sessions.to_vec().into_iter().map(|(session, (), until)| Revocation::Session(session, until));
        let tokens = self.tokens.to_vec().into_iter().map(|(token, (), until)| Revocation::Token(token, until));
        let all = self.not_before_until.lock().map(|until| Revocation::AllBefore(self.not_before(), until.wall));
        users.chain(sessions).chain(tokens).chain(all).collect()
    }

    /// Whether there is no room for another entry.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() >= MAX_ENTRIES
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len() + self.sessions.len() + self.tokens.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The moment before which all tokens are void, or 1970 if there is none. A token issued now must not be dated
    /// before it.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        Timestamp::from_millis(self.not_before.load(Relaxed))
    }

    /// Drops the entries that can match no token any more, from memory and then from the database (REV-5).
    ///
    /// # Errors
    /// The store's. Rows that it could not remove are loaded at the next start and swept again.
    pub async fn sweep(&self, store: &Store, now: Timestamp) -> Result<(), Error> {
        store.forget(self.remove_expired(now)).await
    }

    fn remove_expired(&self, now: Timestamp) -> ExpiredEntries {
        let mut expired = std::mem::take(&mut *self.superseded.lock());
        expired.users.extend(self.users.sweep(now));
        expired.sessions.extend(self.sessions.sweep(now));
        expired.tokens.extend(self.tokens.sweep(now));
        let mut not_before = self.not_before_until.lock();
        if not_before.is_some_and(|until| until.has_passed(now, Instant::now())) {
            self.not_before.store(0, Relaxed);
            expired.not_before = not_before.take().map(|until| until.wall);
        }
        expired
    }

    fn void_all_before(&self, moment: Timestamp, until: Until) {
        {
            let mut kept = self.not_before_until.lock();
            *kept = Some(kept.map_or(until, |kept| kept.max(until)));
            self.not_before.fetch_max(moment.millis(), Relaxed);
        }
        let cutoff =
            Timestamp::from_millis(until.wall.millis().saturating_sub(u64::try_from(MAX_REORDERING.as_millis()).unwrap_or(u64::MAX)));
        let mut superseded = self.superseded.lock();
        superseded.users.extend(self.users.remove_until(cutoff));
        superseded.sessions.extend(self.sessions.remove_until(cutoff));
        superseded.tokens.extend(self.tokens.remove_until(cutoff));
    }
}

impl Observer for DenyList {
    fn committed(&self, event: CommitEvent) {
        let Some(revocation) = Revocation::of(&event) else { return };
        match revocation {
            Revocation::User { user, least_version, until } => self.users.add(user, least_version, Until::new(until)),
            Revocation::Session(session, until) => self.sessions.add(session, (), Until::new(until)),
            Revocation::Token(token, until) => self.tokens.add(token, (), Until::new(until)),
            Revocation::AllBefore(moment, until) => self.void_all_before(moment, Until::new(until)),
        }
        // After it was added: whoever has read the feed up to here may take the entries for all that there is.
        self.feed.push(Change::Revoked(revocation));
    }
}

/// Entries of one kind: per id what is void of it, and until when the entry is kept.
#[derive(Debug)]
struct Entries<K, V>(RwLock<HashMap<K, (V, Until)>>);

impl<K, V> Default for Entries<K, V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Copy + Eq + Hash, V: Copy + Ord> Entries<K, V> {
    /// Adds an entry. If the id has one already, the greater value and the later moment count, in whatever order they
    /// were added.
    fn add(&self, id: K, value: V, until: Until) {
        let mut entries = self.0.write();
        let (kept, kept_until) = entries.entry(id).or_insert((value, until));
        *kept = (*kept).max(value);
        *kept_until = kept_until.max(until);
    }

    fn get(&self, id: &K) -> Option<V> {
        self.0.read().get(id).map(|(value, _)| *value)
    }

    fn len(&self) -> usize {
        self.0.read().len()
    }

    fn to_vec(&self) -> Vec<(K, V, Timestamp)> {
        self.0.read().iter().map(|(id, (value, until))| (*id, *value, until.wall)).collect()
    }

    /// Removes the entries whose time has passed and returns them.
    fn sweep(&self, now: Timestamp) -> Vec<(K, Timestamp)> {
        let uptime = Instant::now();
        self.remove(|until| until.has_passed(now, uptime))
    }

    /// Removes the entries that are kept until `moment` or less, and returns them.
    fn remove_until(&self, moment: Timestamp) -> Vec<(K, Timestamp)> {
        self.remove(|until| until.wall <= moment)
    }

    fn remove(&self, is_removed: impl Fn(&Until) -> bool) -> Vec<(K, Timestamp)> {
        let mut entries = self.0.write();
        let removed: Vec<_> = entries.extract_if(|_, (_, until)| is_removed(until)).map(|(id, (_, until))| (id, until.wall)).collect();
        if entries.len() * 4 < entries.capacity() {
            entries.shrink_to_fit();
        }
        removed
    }
}

/// A moment by the wall clock, and the same by the monotonic clock, which nobody can set.
#[derive(Debug, Clone, Copy)]
struct Until {
    wall: Timestamp,
    monotonic: Instant,
}

impl Until {
    fn new(wall: Timestamp) -> Self {
        let left = wall.since(std::time::SystemTime::now().into()).min(MAX_MONOTONIC_AGE);
        Self { wall, monotonic: Instant::now() + left }
    }

    /// The same, or `span` from now by the monotonic clock if that is later.
    fn at_least(self, span: Duration) -> Self {
        Self { monotonic: self.monotonic.max(Instant::now() + span), ..self }
    }

    fn max(self, other: Self) -> Self {
        Self { wall: self.wall.max(other.wall), monotonic: self.monotonic.max(other.monotonic) }
    }

    /// Whether the moment has passed by both clocks: a wall clock that jumps ahead and back must not make a revoked
    /// token valid again.
    fn has_passed(&self, now: Timestamp, uptime: Instant) -> bool {
        now >= self.wall && uptime >= self.monotonic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: TokenIds = TokenIds {
        user: UserId::from_bytes([1; 16]),
        version: 3,
        session: SessionId::from_bytes([2; 16]),
        token: TokenId::from_bytes([3; 16]),
        issued_at: Timestamp::from_secs(1_800_000_000),
    };
    /// Far in the future by any clock.
    const LATE: Timestamp = Timestamp::from_secs(4_000_000_000);

    fn voided(least_version: u32) -> CommitEvent {
        CommitEvent::TokensVoided { user: IDS.user, least_version, until: LATE }
    }

    fn list_after(events: &[CommitEvent]) -> DenyList {
        let list = DenyList::default();
        events.iter().for_each(|event| list.committed(event.clone()));
        list
    }

    #[test]
    fn rev_1_2_4_each_revocation_counts_and_nothing_else_does() {
        let list = DenyList::default();
        assert_eq!(list.check(&IDS), TokenStatus::Active, "on no list");
        for event in [
            voided(4),
            voided(u32::MAX),
            CommitEvent::SessionRevoked(IDS.session, LATE),
            CommitEvent::TokenRevoked(IDS.token, LATE),
            CommitEvent::AllVoidedBefore { moment: IDS.issued_at.next_second(), until: LATE },
        ] {
            assert_eq!(list_after(std::slice::from_ref(&event)).check(&IDS), TokenStatus::Revoked, "{event:?}");
        }
        for event in [
            voided(3),
            CommitEvent::UserChanged(IDS.user),
            CommitEvent::SessionRevoked(SessionId::from_bytes([9; 16]), LATE),
            CommitEvent::TokenRevoked(TokenId::from_bytes([9; 16]), LATE),
            CommitEvent::AllVoidedBefore { moment: IDS.issued_at, until: LATE },
        ] {
            assert_eq!(list_after(std::slice::from_ref(&event)).check(&IDS), TokenStatus::Active, "{event:?}");
        }
    }

    #[test]
    fn rev_9_events_mean_the_same_in_any_order() {
        let (earlier, later) = (voided(4), voided(7));
        for events in [[&earlier, &later], [&later, &earlier]] {
            assert_eq!(list_after(&events.map(Clone::clone)).check(&TokenIds { version: 6, ..IDS }), TokenStatus::Revoked);
        }
        // A revocation made after all tokens were voided stays, even if its event arrives first.
        let everything = CommitEvent::AllVoidedBefore { moment: IDS.issued_at, until: LATE };
        for events in [[&everything, &later], [&later, &everything]] {
            assert_eq!(list_after(&events.map(Clone::clone)).check(&IDS), TokenStatus::Revoked);
        }
    }

    #[test]
    fn rev_6_what_has_no_room_is_refused_and_not_forgotten() {
        let list = DenyList::default();
        for n in 0..MAX_ENTRIES as u128 {
            assert!(!list.is_full());
            list.committed(CommitEvent::SessionRevoked(SessionId::from_bytes(n.to_be_bytes()), LATE));
        }
        assert!(list.is_full());
        let listed = TokenIds { session: SessionId::from_bytes([0; 16]), ..IDS };
        // The store then voids all tokens issued until now.
        let moment = IDS.issued_at.next_second();
        list.committed(CommitEvent::AllVoidedBefore { moment, until: LATE.plus(MAX_REORDERING) });
        assert!(!list.is_full(), "there is room again");
        assert_eq!(list.not_before(), moment);
        assert_eq!(list.check(&listed), TokenStatus::Revoked);
        assert_eq!(list.check(&IDS), TokenStatus::Revoked, "somebody honest, too");
        assert_eq!(list.check(&TokenIds { issued_at: moment, ..IDS }), TokenStatus::Active, "and is issued another");
        assert_eq!(list.remove_expired(Timestamp::default()).sessions.len(), MAX_ENTRIES, "their rows go, too");
    }

    /// The wall clock may be ahead at a start and be set right a minute later.
    #[test]
    fn rev_5_a_start_forgets_nothing_that_looks_expired() {
        let list = DenyList::default();
        let now = Timestamp::from(std::time::SystemTime::now());
        let passed = Timestamp::from_millis(now.millis() - 3_600_000);
        let rows = DenyListRows {
            users: vec![(IDS.user, 9, passed)],
            sessions: vec![(IDS.session, passed)],
            tokens: vec![(IDS.token, passed)],
            not_before: Some((passed, passed)),
        };
        list.load(rows, Duration::from_secs(900));
        assert_eq!(list.remove_expired(now), ExpiredEntries::default());
        assert_eq!(list.check(&IDS), TokenStatus::Revoked);
    }

    #[test]
    fn rev_5_a_clock_that_jumps_ahead_forgets_nothing() {
        let list = DenyList::default();
        let now = Timestamp::from(std::time::SystemTime::now());
        let until = now.plus(Duration::from_secs(900));
        list.committed(CommitEvent::SessionRevoked(IDS.session, until));
        list.committed(CommitEvent::TokensVoided { user: IDS.user, least_version: 9, until });
        list.committed(CommitEvent::AllVoidedBefore { moment: now, until });
        assert_eq!(list.remove_expired(now.plus(Duration::from_secs(3600))), ExpiredEntries::default());
        // Both clocks have passed this moment.
        let list = list_after(&[CommitEvent::SessionRevoked(IDS.session, now), CommitEvent::AllVoidedBefore { moment: now, until: now }]);
        let expired = list.remove_expired(now.plus(Duration::from_secs(1)));
        assert_eq!(expired, ExpiredEntries { sessions: vec![(IDS.session, now)], not_before: Some(now), ..ExpiredEntries::default() });
        assert_eq!(list.check(&IDS), TokenStatus::Active);
        assert_eq!(list.not_before(), Timestamp::default());
    }
}
