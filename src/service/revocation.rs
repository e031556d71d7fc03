//! Who and what is revoked, in memory: judged on every request without a disk read (REV-8).
//!
//! Written through: the store tells each change once it is durable, in the order of commits, and
//! before the caller is answered. Loaded before listening (REV-3).

use crate::{
    domain::{Everybody, SessionId, Standing, Timestamp, TokenId, UserId},
    store::{Change, Observer, Revocations, Store},
};
use parking_lot::RwLock;
use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// How many ended sessions are remembered one by one; beyond it a user's version speaks (REV-6).
const CROWDED: usize = 200_000;

/// The revocations in force. Locks are held for a look-up, never across an await.
#[derive(Debug, Default)]
pub struct Revocation {
    users: RwLock<Everybody>,
    sessions: Blacklist<SessionId>,
    tokens: Blacklist<TokenId>,
}

/// What an access token says of itself, to be held against what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// `sub`
    pub user: UserId,
    /// `ver`
    pub version: u32,
    /// `sid`
    pub session: SessionId,
    /// `jti`
    pub token: TokenId,
}

/// How an access token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// In force.
    Good,
    /// Revoked.
    Revoked,
    /// Of a version we never issued (REV-4).
    Unheard,
}

impl Revocation {
    /// Takes over what the database knows.
    pub fn load(&self, revocations: Revocations) {
        *self.users.write() = revocations.users;
        revocations.sessions.into_iter().for_each(|(id, until)| self.sessions.add(id, until));
        revocations.tokens.into_iter().for_each(|(id, until)| self.tokens.add(id, until));
    }

    /// Judges a token: equal version, known and enabled user, neither session nor token revoked.
    #[must_use]
    pub fn judge(&self, claim: &Claim) -> Verdict {
        let standing = self.users.read().get(&claim.user);
        match standing {
            Some(standing) if claim.version > standing.version => Verdict::Unheard,
            Some(Standing { version, disabled: false })
                if claim.version == version && !self.sessions.has(&claim.session) && !self.tokens.has(&claim.token) =>
            {
                Verdict::Good
            }
            _ => Verdict::Revoked,
        }
    }

    /// Whether there is no more room to remember sessions one by one.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.sessions.0.read().len() + self.tokens.0.read().len() >= CROWDED
    }

    /// Forgets what can no longer matter, in memory and then in the database (REV-5).
    ///
    /// # Errors
    /// The store's own; what it still has is loaded and swept again at the next start.
    pub async fn sweep(&self, store: &Store, now: Timestamp) -> Result<(), crate::store::Error> {
        let (sessions, tokens) = (self.sessions.sweep(now), self.tokens.sweep(now));
        store.forget(&sessions, &tokens).await
    }
}

impl Observer for Revocation {
    fn committed(&self, change: Change) {
        match change {
            Change::Standing(user, standing) => {
                self.users.write().set(user, Some(standing));
            }
            Change::Deleted(user) => {
                self.users.write().set(user, None);
            }
            Change::SessionEnded(session, until) => self.sessions.add(session, until),
            Change::TokenRevoked(token, until) => self.tokens.add(token, until),
            Change::Rotated(..) => {}
        }
    }
}

/// Ids and until when each is barred.
#[derive(Debug)]
struct Blacklist<K>(RwLock<HashMap<K, Barred>>);

#[derive(Debug, Clone, Copy)]
struct Barred {
    until: Timestamp,
    /// The same moment by the clock that nobody can set.
    until_by_uptime: Instant,
}

impl<K> Default for Blacklist<K> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Copy + Eq + Hash> Blacklist<K> {
    fn add(&self, id: K, until: Timestamp) {
        let left = until.since(std::time::SystemTime::now().into()).min(Duration::from_secs(3 * 3600));
        self.0.write().insert(id, Barred { until, until_by_uptime: Instant::now() + left });
    }

    fn has(&self, id: &K) -> bool {
        self.0.read().contains_key(id)
    }

    /// Removes and returns what is over by both clocks: a wall clock that jumps ahead and back must
    /// not bring a revoked token back to life.
    fn sweep(&self, now: Timestamp) -> Vec<K> {
        let uptime = Instant::now();
        let mut over = Vec::new();
        let mut barred = self.0.write();
        barred.retain(|id, barred| {
            let keep = now < barred.until || uptime < barred.until_by_uptime;
            if !keep {
                over.push(*id);
            }
            keep
        });
        if barred.len() * 4 < barred.capacity() {
            barred.shrink_to_fit();
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIM: Claim = Claim {
        user: UserId::from_bytes([1; 16]),
        version: 3,
        session: SessionId::from_bytes([2; 16]),
        token: TokenId::from_bytes([3; 16]),
    };

    fn known() -> Revocation {
        let revocation = Revocation::default();
        revocation.committed(Change::Standing(CLAIM.user, Standing { version: 3, disabled: false }));
        revocation
    }

    #[test]
    fn rev_4_the_version_must_be_equal() {
        let revocation = known();
        assert_eq!(revocation.judge(&CLAIM), Verdict::Good);
        assert_eq!(revocation.judge(&Claim { version: 2, ..CLAIM }), Verdict::Revoked);
        assert_eq!(revocation.judge(&Claim { version: 4, ..CLAIM }), Verdict::Unheard);
    }

    #[test]
    fn each_change_takes_effect() {
        let until = Timestamp::from_secs(4_000_000_000);
        for change in [
            Change::Standing(CLAIM.user, Standing { version: 4, disabled: false }),
            Change::Standing(CLAIM.user, Standing { version: 3, disabled: true }),
            Change::Deleted(CLAIM.user),
            Change::SessionEnded(CLAIM.session, until),
            Change::TokenRevoked(CLAIM.token, until),
        ] {
            let revocation = known();
            revocation.committed(change);
            assert_eq!(revocation.judge(&CLAIM), Verdict::Revoked, "{change:?}");
        }
    }

    #[test]
    fn rev_6_there_is_room_for_so_many_and_then_it_is_crowded() {
        let (revocation, until) = (known(), Timestamp::from_secs(4_000_000_000));
        for n in 0..CROWDED as u128 {
            assert!(!revocation.is_crowded());
            revocation.committed(Change::SessionEnded(SessionId::from_bytes(n.to_be_bytes()), until));
        }
        assert!(revocation.is_crowded());
    }

    #[test]
    fn rev_5_a_clock_that_jumps_ahead_forgets_nothing() {
        let blacklist = Blacklist::default();
        let now = Timestamp::from(std::time::SystemTime::now());
        blacklist.add(1, now.plus(Duration::from_secs(900)));
        assert_eq!(blacklist.sweep(now.plus(Duration::from_secs(3600))), Vec::<i32>::new());
        assert!(blacklist.has(&1));
        // Over by both clocks.
        blacklist.add(2, now);
        assert_eq!(blacklist.sweep(now.plus(Duration::from_secs(1))), vec![2]);
        assert!(!blacklist.has(&2));
    }
}
