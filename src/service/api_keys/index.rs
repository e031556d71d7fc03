//! All API keys, in memory: whoever presents one costs no disk read (REV-8).

use crate::{
    domain::{ApiKey, ApiKeyId, SessionId, Timestamp, UserId},
    store::{CommitEvent, Observer},
};
use parking_lot::RwLock;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// How long a revoked key is remembered: its last change may be told after its end.
const MAX_REORDERING: Duration = Duration::from_secs(60);

const HOUR: u64 = 3600;

/// The API keys by the hashes of their secrets.
#[derive(Debug, Default)]
pub struct ApiKeyIndex(RwLock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    by_hash: HashMap<[u8; 32], ApiKeyId>,
    keys: HashMap<ApiKeyId, Entry>,
}

#[derive(Debug)]
enum Entry {
    Live {
        key: Arc<ApiKey>,
        /// When it was used last, in hours since 1970; and what the database says of that.
        used: AtomicU64,
        noted: AtomicU64,
    },
    Revoked(Instant),
}

impl ApiKeyIndex {
    /// Adds the keys that the database has.
    pub fn load(&self, keys: Vec<ApiKey>) {
        let mut inner = self.0.write();
        keys.into_iter().for_each(|key| inner.put(Arc::new(key)));
    }

    /// The key that has this hash of its secret now, and a note that it was used.
    pub fn find(&self, hash: &[u8; 32], now: Timestamp) -> Option<Arc<ApiKey>> {
        let inner = self.0.read();
        let Some(Entry::Live { key, used, .. }) = inner.keys.get(inner.by_hash.get(hash)?) else { return None };
        let is_good = key.hash == *hash || key.replaced.is_some_and(|replaced| replaced.hash == *hash && now < replaced.until);
        if !is_good {
            return None;
        }
        used.fetch_max(now.secs() / HOUR, Relaxed);
        Some(Arc::clone(key))
    }

    /// The key with this id.
    pub fn get(&self, id: ApiKeyId) -> Option<Arc<ApiKey>> {
        self.0.read().live(id)
    }

    /// The keys of a user, or all, with when each was used last; the oldest first.
    pub fn list(&self, owner: Option<UserId>) -> Vec<ApiKey> {
        let inner = self.0.read();
        let live = inner.keys.values().filter_map(|entry| match entry {
            Entry::Live { key, used, .. } if owner.is_none_or(|owner| key.owner == owner) => Some((key, used.load(Relaxed))),
            _ => None,
        });
        let mut keys: Vec<_> = live.map(|(key, used)| ApiKey { last_used_at: moment(used), ..ApiKey::clone(key) }).collect();
        keys.sort_by_key(|key| (key.created_at, key.id));
        keys
    }

    /// The keys whose secret was made in a session, when it was in a later generation than this.
    pub fn made_after(&self, session: SessionId, generation: u32) -> Vec<Arc<ApiKey>> {
        let inner = self.0.read();
        let live = inner.keys.values().filter_map(|entry| match entry {
            Entry::Live { key, .. } => Some(key),
            Entry::Revoked(_) => None,
        });
        let is_made_after = |key: &&Arc<ApiKey>| key.made_in.is_some_and(|made| made.session == session && made.generation > generation);
        live.filter(is_made_after).cloned().collect()
    }

    /// The uses that the database does not know of yet. The caller writes them.
    pub fn take_uses(&self) -> Vec<(UserId, ApiKeyId, Timestamp)> {
        let inner = self.0.read();
        let entries = inner.keys.values().filter_map(|entry| match entry {
            Entry::Live { key, used, noted } => {
                let used = used.load(Relaxed);
                (noted.swap(used, Relaxed) < used).then(|| Some((key.owner, key.id, moment(used)?)))?
            }
            Entry::Revoked(_) => None,
        });
        entries.collect()
    }

    /// The keys that have expired so long ago that they need not be listed any more.
    pub fn long_expired(&self, now: Timestamp) -> Vec<Arc<ApiKey>> {
        let is_over = |key: &ApiKey| key.expires_at.is_some_and(|at| at.plus(ApiKey::KEPT_AFTER_EXPIRY) <= now);
        let inner = self.0.read();
        let live = inner.keys.values().filter_map(|entry| match entry {
            Entry::Live { key, .. } if is_over(key) => Some(Arc::clone(key)),
            _ => None,
        });
        live.collect()
    }

    /// Forgets keys that were revoked a while ago.
    pub fn forget_revoked(&self) {
        self.0.write().keys.retain(|_, entry| !matches!(entry, Entry::Revoked(at) if at.elapsed() > MAX_REORDERING));
    }
}

/// The beginning of an hour; none for 1970.
fn moment(hours: u64) -> Option<Timestamp> {
    (hours > 0).then(|| Timestamp::from_secs(hours * HOUR))
}

impl Inner {
    fn live(&self, id: ApiKeyId) -> Option<Arc<ApiKey>> {
        match self.keys.get(&id)? {
            Entry::Live { key, .. } => Some(Arc::clone(key)),
            Entry::Revoked(_) => None,
        }
    }

    /// Adds a key, unless a later state of it is known.
    fn put(&mut self, key: Arc<ApiKey>) {
        let hours = key.last_used_at.map_or(0, |at| at.secs() / HOUR);
        let (mut used, mut noted) = (hours, hours);
        match self.keys.get(&key.id) {
            Some(Entry::Revoked(_)) => return,
            Some(Entry::Live { key: known, .. }) if known.revision >= key.revision => return,
            Some(Entry::Live { used: known_use, noted: known_note, .. }) => {
                (used, noted) = (hours.max(known_use.load(Relaxed)), known_note.load(Relaxed));
            }
            None => {}
        }
        self.remove_hashes(key.id);
        self.by_hash.insert(key.hash, key.id);
        self.by_hash.extend(key.replaced.map(|replaced| (replaced.hash, key.id)));
        self.keys.insert(key.id, Entry::Live { key, used: used.into(), noted: noted.into() });
    }

    fn revoke(&mut self, id: ApiKeyId) {
        self.remove_hashes(id);
        self.keys.insert(id, Entry::Revoked(Instant::now()));
    }

    fn remove_hashes(&mut self, id: ApiKeyId) {
        if let Some(key) = self.live(id) {
            self.by_hash.remove(&key.hash);
            key.replaced.map(|replaced| self.by_hash.remove(&replaced.hash));
        }
    }
}

impl Observer for ApiKeyIndex {
    fn committed(&self, event: CommitEvent) {
        match event {
            CommitEvent::ApiKeyChanged(key) => self.0.write().put(key),
            CommitEvent::ApiKeyRevoked(id) => self.0.write().revoke(id),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ReplacedSecret;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn key(revision: u32) -> ApiKey {
        ApiKey {
            id: ApiKeyId::from_bytes([1; 16]),
            owner: UserId::from_bytes([2; 16]),
            name: "backup".into(),
            start: "dwk_Ab3d".into(),
            permissions: [].into(),
            hash: [u8::try_from(revision).expect("small"); 32],
            replaced: None,
            made_in: None,
            apps: Arc::from([]),
            created_at: NOW,
            expires_at: None,
            last_used_at: None,
            revision,
        }
    }

    fn changed(key: ApiKey) -> CommitEvent {
        CommitEvent::ApiKeyChanged(Arc::new(key))
    }

    #[test]
    fn rev_9_the_last_state_counts_in_whatever_order_it_is_told() {
        let revoked = CommitEvent::ApiKeyRevoked(key(1).id);
        for events in [[changed(key(1)), changed(key(2))], [changed(key(2)), changed(key(1))]] {
            let index = ApiKeyIndex::default();
            events.into_iter().for_each(|event| index.committed(event));
            assert!(index.find(&[2; 32], NOW).is_some() && index.find(&[1; 32], NOW).is_none());
        }
        for events in [[changed(key(1)), revoked.clone()], [revoked.clone(), changed(key(1))]] {
            let index = ApiKeyIndex::default();
            events.into_iter().for_each(|event| index.committed(event));
            assert!(index.find(&[1; 32], NOW).is_none() && index.get(key(1).id).is_none() && index.list(None).is_empty());
        }
    }

    #[test]
    fn a_secret_that_was_replaced_is_good_for_its_overlap() {
        let index = ApiKeyIndex::default();
        let until = NOW.plus(Duration::from_secs(60));
        index.load(vec![key(1)]);
        index.committed(changed(ApiKey { replaced: Some(ReplacedSecret { hash: [1; 32], until }), ..key(2) }));
        assert!(index.find(&[1; 32], NOW).is_some() && index.find(&[2; 32], NOW).is_some());
        assert!(index.find(&[1; 32], until).is_none() && index.find(&[2; 32], until).is_some());
        index.committed(changed(key(3)));
        assert!(index.find(&[1; 32], NOW).is_none() && index.find(&[2; 32], NOW).is_none());
    }

    #[test]
    fn key_6_a_use_is_told_once_an_hour() {
        let index = ApiKeyIndex::default();
        index.load(vec![key(1)]);
        assert_eq!(index.take_uses(), []);
        for _ in 0..3 {
            index.find(&[1; 32], NOW);
        }
        assert_eq!(index.take_uses(), [(key(1).owner, key(1).id, NOW)]);
        index.find(&[1; 32], NOW.plus(Duration::from_secs(60)));
        assert_eq!(index.take_uses(), []);
        index.find(&[1; 32], NOW.plus(Duration::from_secs(3600)));
        // A change of the key does not lose it.
        index.committed(changed(key(2)));
        assert_eq!(index.list(Some(key(1).owner))[0].last_used_at, Some(NOW.plus(Duration::from_secs(3600))));
        assert_eq!(index.take_uses().len(), 1);
    }
}
