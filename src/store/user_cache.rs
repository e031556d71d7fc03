//! A cache of users: most requests come from a few of them.

use super::CommitEvent;
use crate::domain::{User, UserId};
use parking_lot::RwLock;
use std::{collections::HashMap, sync::Arc};

/// The most users kept, which take about 5 MB.
const MAX_USERS: usize = 10_000;

/// How many changes to users there had been before a user was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeCount(u64);

/// Users as they are in the database. A changed user is removed before the caller of the change is answered.
#[derive(Debug, Default)]
pub struct UserCache(RwLock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    users: HashMap<UserId, Arc<User>>,
    /// Grows with every change, so that a user read before a change is not cached after it.
    changes: u64,
}

impl UserCache {
    /// The user with this id.
    ///
    /// # Errors
    /// When the user is not cached: the number of changes so far, to be passed to [`UserCache::remember`] once the
    /// user has been read.
    pub fn get(&self, id: UserId) -> Result<Arc<User>, ChangeCount> {
        let inner = self.0.read();
        inner.users.get(&id).map(Arc::clone).ok_or(ChangeCount(inner.changes))
    }

    /// Caches a user who was read, unless any user has changed since `unchanged`: the copy may be out of date.
    pub fn remember(&self, user: User, unchanged: ChangeCount) -> Arc<User> {
        let user = Arc::new(user);
        let mut inner = self.0.write();
        if inner.changes == unchanged.0 {
            // Drop all at once: that needs no bookkeeping per look-up, and each user is back after one read.
            if inner.users.len() >= MAX_USERS {
                inner.users.clear();
            }
            inner.users.insert(user.id, Arc::clone(&user));
        }
        user
    }

    /// Removes the user that a change concerns.
    pub fn committed(&self, event: &CommitEvent) {
        if let CommitEvent::UserChanged(id) = event {
            let mut inner = self.0.write();
            inner.changes += 1;
            inner.users.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: UserId = UserId::from_bytes([1; 16]);

    fn user(token_version: u32) -> User {
        User { id: ID, token_version, ..User::example() }
    }

    /// The token version of the user, from the cache or read.
    fn version(cache: &UserCache, read: impl FnOnce() -> User) -> u32 {
        match cache.get(ID) {
            Ok(user) => user.token_version,
            Err(unchanged) => cache.remember(read(), unchanged).token_version,
        }
    }

    #[test]
    fn a_user_is_read_once_and_again_after_each_change() {
        let cache = UserCache::default();
        assert_eq!(version(&cache, || user(1)), 1);
        assert_eq!(version(&cache, || unreachable!("it is remembered")), 1);
        cache.committed(&CommitEvent::UserChanged(ID));
        assert_eq!(version(&cache, || user(2)), 2);
        cache.committed(&CommitEvent::UserChanged(ID));
        assert!(cache.get(ID).is_err());
    }

    #[test]
    fn what_was_read_before_a_change_is_not_remembered_after_it() {
        let cache = UserCache::default();
        let read_before = version(&cache, || {
            cache.committed(&CommitEvent::UserChanged(ID));
            user(1)
        });
        assert_eq!(read_before, 1, "the change was not answered yet when this was asked");
        assert_eq!(version(&cache, || user(2)), 2);
    }

    #[test]
    fn no_more_than_so_many_are_kept() {
        let cache = UserCache::default();
        for n in 0..=u32::try_from(MAX_USERS).expect("small") {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&n.to_le_bytes());
            let id = UserId::from_bytes(id);
            let unchanged = cache.get(id).expect_err("new");
            let _ = cache.remember(User { id, ..User::example() }, unchanged);
        }
        assert_eq!(cache.0.read().users.len(), 1);
    }
}
