//! The deny list: access tokens that are void although they have not expired, in memory, so that every
//! request is judged without a disk read (REV-8).
//!
//! It holds only what was taken away lately. A token on no list is accepted, so four things must hold, and
//! each has a test:
//! * The list is loaded before anything listens (REV-3), and each revocation is in it before it is answered.
//! * An entry stays until the last token it could match has expired. A token expires `access_ttl` after its
//!   `iat`, and its `iat` is the moment given to the verb it came from *before* that was submitted: so whatever
//!   was revoked later was not seen by that verb, and is remembered for longer than the token lives.
//! * Both clocks must say that an entry is over, for either may be wrong (REV-5).
//! * What has no room is refused, not forgotten: a full list is emptied by voiding every token issued so far
//!   (REV-6).

use crate::{
    domain::{SessionId, Timestamp, TokenId, UserId},
    store::{CommitEvent, DenyListRows, Error, ExpiredEntries, Observer, Store},
};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::HashMap,
    hash::Hash,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// How many entries there may be: some 15 MB of them.
const MAX_ENTRIES: usize = 200_000;

/// By how much an entry must be older than a voiding of everything for that to stand in its place: verbs
/// that were submitted a moment apart may be committed, and told, in the other order.
const REORDERING: Duration = Duration::from_secs(60);

/// The longest that memory of its own accord keeps an entry by the monotonic clock: no token lives longer. The
/// wall clock, which may have been wrong when an entry was made, could say years.
const LONGEST: Duration = Duration::from_secs(3 * 3600);

/// Access tokens that are void. Locks are held for a look-up, never across an await.
#[derive(Debug, Default)]
pub struct DenyList {
    /// The least token version of a user that is good.
    users: Entries<UserId, u32>,
    sessions: Entries<SessionId, ()>,
    tokens: Entries<TokenId, ()>,
    /// Tokens issued before this are void, in milliseconds since the epoch; 0: none are for that.
    not_before: AtomicU64,
    /// How long that is remembered.
    not_before_until: Mutex<Option<Until>>,
    /// Entries in whose place a voiding of everything stands; their rows are still there.
    superseded: Mutex<ExpiredEntries>,
}

/// What an access token says of itself that may be on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenIds {
    /// `sub`
    pub user: UserId,
    /// `ver`
    pub version: u32,
    /// `sid`
    pub session: SessionId,
    /// `jti`
    pub token: TokenId,
    /// `iat`
    pub issued_at: Timestamp,
}

/// Whether an access token is in force (RFC 7662 §2.2 calls it active).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenStatus {
    /// It is.
    Active,
    /// It was revoked.
    Revoked,
}

impl DenyList {
    /// Takes over what the database knows.
    pub fn load(&self, denied: DenyListRows) {
        denied.users.into_iter().for_each(|(id, least, until)| self.users.add(id, least, until));
        denied.sessions.into_iter().for_each(|(id, until)| self.sessions.add(id, (), until));
        denied.tokens.into_iter().for_each(|(id, until)| self.tokens.add(id, (), until));
        if let Some((moment, until)) = denied.not_before {
            self.void_all_before(moment, until);
        }
    }

    /// Whether a token that is genuine and in time is in force.
    #[must_use]
    pub fn check(&self, ids: &TokenIds) -> TokenStatus {
        let is_void = ids.issued_at.millis() < self.not_before.load(Relaxed)
            || self.users.get(&ids.user).is_some_and(|least| ids.version < least)
            || self.sessions.get(&ids.session).is_some()
            || self.tokens.get(&ids.token).is_some();
        if is_void { TokenStatus::Revoked } else { TokenStatus::Active }
    }

    /// Whether there is no room for another entry.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.users.len() + self.sessions.len() + self.tokens.len() >= MAX_ENTRIES
    }

    /// The moment before which every token was voided, if that still matters: a token issued now must not be
    /// dated before it.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        Timestamp::from_millis(self.not_before.load(Relaxed))
    }

    /// Forgets what can no longer matter, in memory and then in the database (REV-5).
    ///
    /// # Errors
    /// The store's own; what it still has is loaded and swept again at the next start.
    pub async fn sweep(&self, store: &Store, now: Timestamp) -> Result<(), Error> {
        store.forget(self.remove_over(now)).await
    }

    fn remove_over(&self, now: Timestamp) -> ExpiredEntries {
        let mut over = std::mem::take(&mut *self.superseded.lock());
        over.users.extend(self.users.sweep(now));
        over.sessions.extend(self.sessions.sweep(now));
        over.tokens.extend(self.tokens.sweep(now));
        let mut not_before = self.not_before_until.lock();
        if not_before.is_some_and(|until| until.is_over(now, Instant::now())) {
            self.not_before.store(0, Relaxed);
            over.not_before = not_before.take().map(|until| until.wall);
        }
        over
    }

    fn void_all_before(&self, moment: Timestamp, until: Timestamp) {
        {
            let mut kept = self.not_before_until.lock();
            *kept = Some(kept.map_or_else(|| Until::new(until), |kept| kept.max(Until::new(until))));
            self.not_before.fetch_max(moment.millis(), Relaxed);
        }
        let made_by = Timestamp::from_millis(until.millis().saturating_sub(u64::try_from(REORDERING.as_millis()).unwrap_or(u64::MAX)));
        let mut superseded = self.superseded.lock();
        superseded.users.extend(self.users.remove_until(made_by));
        superseded.sessions.extend(self.sessions.remove_until(made_by));
        superseded.tokens.extend(self.tokens.remove_until(made_by));
    }
}

impl Observer for DenyList {
    fn committed(&self, event: CommitEvent) {
        match event {
            CommitEvent::TokensVoided { user, least_version, until } => self.users.add(user, least_version, until),
            CommitEvent::SessionRevoked(session, until) => self.sessions.add(session, (), until),
            CommitEvent::TokenRevoked(token, until) => self.tokens.add(token, (), until),
            CommitEvent::AllVoidedBefore { moment, until } => self.void_all_before(moment, until),
            CommitEvent::UserChanged(_) | CommitEvent::Rotated { .. } => {}
        }
    }
}

/// Ids with what is void of each, and until when to remember it.
#[derive(Debug)]
struct Entries<K, V>(RwLock<HashMap<K, (V, Until)>>);

impl<K, V> Default for Entries<K, V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Copy + Eq + Hash, V: Copy + Ord> Entries<K, V> {
    /// Adds to what is void of an id: the greater value counts, and the later moment, whichever came first.
    fn add(&self, id: K, value: V, until: Timestamp) {
        let until = Until::new(until);
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

    /// Removes what is over, and answers what that was.
    fn sweep(&self, now: Timestamp) -> Vec<(K, Timestamp)> {
        let uptime = Instant::now();
        self.remove(|until| until.is_over(now, uptime))
    }

    /// Removes what is to be remembered until `moment` or less.
    fn remove_until(&self, moment: Timestamp) -> Vec<(K, Timestamp)> {
        self.remove(|until| until.wall <= moment)
    }

    fn remove(&self, is_over: impl Fn(&Until) -> bool) -> Vec<(K, Timestamp)> {
        let mut entries = self.0.write();
        let over: Vec<_> = entries.extract_if(|_, (_, until)| is_over(until)).map(|(id, (_, until))| (id, until.wall)).collect();
        if entries.len() * 4 < entries.capacity() {
            entries.shrink_to_fit();
        }
        over
    }
}

/// A moment by the wall clock, and the same by the clock that nobody can set.
#[derive(Debug, Clone, Copy)]
struct Until {
    wall: Timestamp,
    monotonic: Instant,
}

impl Until {
    fn new(wall: Timestamp) -> Self {
        let left = wall.since(std::time::SystemTime::now().into()).min(LONGEST);
        Self { wall, monotonic: Instant::now() + left }
    }

    fn max(self, other: Self) -> Self {
        Self { wall: self.wall.max(other.wall), monotonic: self.monotonic.max(other.monotonic) }
    }

    /// By both clocks: a wall clock that jumps ahead and back must not bring a revoked token back to life.
    fn is_over(&self, now: Timestamp, uptime: Instant) -> bool {
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
    /// Far away, by any clock.
    const LATE: Timestamp = Timestamp::from_secs(4_000_000_000);

    fn voided(least_version: u32) -> CommitEvent {
        CommitEvent::TokensVoided { user: IDS.user, least_version, until: LATE }
    }

    fn told(events: &[CommitEvent]) -> DenyList {
        let list = DenyList::default();
        events.iter().for_each(|event| list.committed(*event));
        list
    }

    #[test]
    fn rev_1_2_10_each_revocation_counts_and_nothing_else_does() {
        let list = DenyList::default();
        assert_eq!(list.check(&IDS), TokenStatus::Active, "on no list");
        for event in [
            voided(4),
            voided(u32::MAX),
            CommitEvent::SessionRevoked(IDS.session, LATE),
            CommitEvent::TokenRevoked(IDS.token, LATE),
            CommitEvent::AllVoidedBefore { moment: IDS.issued_at.next_second(), until: LATE },
        ] {
            assert_eq!(told(&[event]).check(&IDS), TokenStatus::Revoked, "{event:?}");
        }
        for event in [
            voided(3),
            CommitEvent::UserChanged(IDS.user),
            CommitEvent::SessionRevoked(SessionId::from_bytes([9; 16]), LATE),
            CommitEvent::TokenRevoked(TokenId::from_bytes([9; 16]), LATE),
            CommitEvent::AllVoidedBefore { moment: IDS.issued_at, until: LATE },
        ] {
            assert_eq!(told(&[event]).check(&IDS), TokenStatus::Active, "{event:?}");
        }
    }

    #[test]
    fn rev_9_events_mean_the_same_in_any_order() {
        let (earlier, later) = (voided(4), voided(7));
        for events in [[earlier, later], [later, earlier]] {
            assert_eq!(told(&events).check(&TokenIds { version: 6, ..IDS }), TokenStatus::Revoked);
        }
        // A revocation that was made after everything was voided, and is told before it, stays.
        let everything = CommitEvent::AllVoidedBefore { moment: IDS.issued_at, until: LATE };
        for events in [[everything, later], [later, everything]] {
            assert_eq!(told(&events).check(&IDS), TokenStatus::Revoked);
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
        // What the store does then: everything issued until now is void.
        let moment = IDS.issued_at.next_second();
        list.committed(CommitEvent::AllVoidedBefore { moment, until: LATE.plus(REORDERING) });
        assert!(!list.is_full(), "there is room again");
        assert_eq!(list.not_before(), moment);
        assert_eq!(list.check(&listed), TokenStatus::Revoked);
        assert_eq!(list.check(&IDS), TokenStatus::Revoked, "somebody honest, too");
        assert_eq!(list.check(&TokenIds { issued_at: moment, ..IDS }), TokenStatus::Active, "and is issued another");
        assert_eq!(list.remove_over(Timestamp::default()).sessions.len(), MAX_ENTRIES, "their rows go, too");
    }

    #[test]
    fn rev_5_a_clock_that_jumps_ahead_forgets_nothing() {
        let list = DenyList::default();
        let now = Timestamp::from(std::time::SystemTime::now());
        let until = now.plus(Duration::from_secs(900));
        list.committed(CommitEvent::SessionRevoked(IDS.session, until));
        list.committed(CommitEvent::TokensVoided { user: IDS.user, least_version: 9, until });
        list.committed(CommitEvent::AllVoidedBefore { moment: now, until });
        assert_eq!(list.remove_over(now.plus(Duration::from_secs(3600))), ExpiredEntries::default());
        // Over by both clocks.
        let list = told(&[CommitEvent::SessionRevoked(IDS.session, now), CommitEvent::AllVoidedBefore { moment: now, until: now }]);
        let over = list.remove_over(now.plus(Duration::from_secs(1)));
        assert_eq!(over, ExpiredEntries { sessions: vec![(IDS.session, now)], not_before: Some(now), ..ExpiredEntries::default() });
        assert_eq!(list.check(&IDS), TokenStatus::Active);
        assert_eq!(list.not_before(), Timestamp::default());
    }
}
