//! The users that were read last, in memory: most requests come from a few of them.

use super::CommitEvent;
use crate::domain::{User, UserId};
use parking_lot::RwLock;
use std::{collections::HashMap, sync::Arc};

/// The most users kept: some 5 MB of them.
const MAX_USERS: usize = 10_000;

/// How many changes there had been when a user was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changes(u64);

/// Users as they are in the database, each forgotten before its change is answered.
#[derive(Debug, Default)]
pub struct Recent(RwLock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    users: HashMap<UserId, Arc<User>>,
    /// Grows with every change: what was read before one may be from before it.
    changes: u64,
}

impl Recent {
    /// The user with this id, if remembered; else what [`Recent::remember`] has to be given with them once they
    /// have been read.
    ///
    /// # Errors
    /// When they are not remembered: how many changes there were until now.
    pub fn get(&self, id: UserId) -> Result<Arc<User>, Changes> {
        let inner = self.0.read();
        inner.users.get(&id).map(Arc::clone).ok_or(Changes(inner.changes))
    }

    /// Remembers a user who was read, unless anybody was changed since: they may be as they were before that.
    pub fn remember(&self, user: User, unchanged: Changes) -> Arc<User> {
        let user = Arc::new(user);
        let mut inner = self.0.write();
        if inner.changes == unchanged.0 {
            // All at once: no order to keep on every look-up, and each is back after one read.
            if inner.users.len() >= MAX_USERS {
                inner.users.clear();
            }
            inner.users.insert(user.id, Arc::clone(&user));
        }
        user
    }

    /// Forgets whom a change is about.
    pub fn committed(&self, event: CommitEvent) {
        if let CommitEvent::UserChanged(id) = event {
            let mut inner = self.0.write();
            inner.changes += 1;
            inner.users.remove(&id);
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

    /// The version of the user, remembered or read.
    fn version(recent: &Recent, read: impl FnOnce() -> User) -> u32 {
        match recent.get(ID) {
            Ok(user) => user.token_version,
            Err(unchanged) => recent.remember(read(), unchanged).token_version,
        }
    }

    #[test]
    fn a_user_is_read_once_and_again_after_each_change() {
        let recent = Recent::default();
        assert_eq!(version(&recent, || user(1)), 1);
        assert_eq!(version(&recent, || unreachable!("it is remembered")), 1);
        recent.committed(CommitEvent::UserChanged(ID));
        assert_eq!(version(&recent, || user(2)), 2);
        recent.committed(CommitEvent::UserChanged(ID));
        assert!(recent.get(ID).is_err());
    }

    #[test]
    fn what_was_read_before_a_change_is_not_remembered_after_it() {
        let recent = Recent::default();
        let read_before = version(&recent, || {
            recent.committed(CommitEvent::UserChanged(ID));
            user(1)
        });
        assert_eq!(read_before, 1, "the change was not answered yet when this was asked");
        assert_eq!(version(&recent, || user(2)), 2);
    }

    #[test]
    fn no_more_than_so_many_are_kept() {
        let recent = Recent::default();
        for n in 0..=u32::try_from(MAX_USERS).expect("small") {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&n.to_le_bytes());
            let id = UserId::from_bytes(id);
            let unchanged = recent.get(id).expect_err("new");
            let _ = recent.remember(User { id, ..User::example() }, unchanged);
        }
        assert_eq!(recent.0.read().users.len(), 1);
    }
}
