//! The users that were read last, in memory: most requests come from a few of them.

use super::Change;
use crate::domain::{User, UserId};
use parking_lot::RwLock;
use std::{collections::HashMap, sync::Arc};

/// The most users kept: some 5 MB of them.
const MOST: usize = 10_000;

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
    /// The user with this id, remembered or as `read` finds them.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn get<E>(&self, id: UserId, read: impl FnOnce() -> Result<Option<User>, E>) -> Result<Option<Arc<User>>, E> {
        let changes = {
            let inner = self.0.read();
            if let Some(user) = inner.users.get(&id) {
                return Ok(Some(Arc::clone(user)));
            }
            inner.changes
        };
        let Some(user) = read()?.map(Arc::new) else { return Ok(None) };
        let mut inner = self.0.write();
        if inner.changes == changes {
            // All at once: no order to keep on every look-up, and each is back after one read.
            if inner.users.len() >= MOST {
                inner.users.clear();
            }
            inner.users.insert(id, Arc::clone(&user));
        }
        Ok(Some(user))
    }

    /// Forgets whom a change is about.
    pub fn committed(&self, change: Change) {
        if let Change::Standing(id, _) | Change::Deleted(id) = change {
            let mut inner = self.0.write();
            inner.changes += 1;
            inner.users.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Role, Timestamp};
    use std::convert::Infallible;

    const ID: UserId = UserId::from_bytes([1; 16]);

    fn user(version: u32) -> User {
        User {
            id: ID,
            email: "ada@example.org".parse().expect("an address"),
            password_hash: String::new(),
            role: Role::admin(),
            email_verified: false,
            epoch: 0,
            disabled: false,
            version,
            created_at: Timestamp::from_secs(0),
        }
    }

    fn version(recent: &Recent, read: impl FnOnce() -> Option<User>) -> Option<u32> {
        let Ok(found) = recent.get(ID, || Ok::<_, Infallible>(read()));
        found.map(|user| user.version)
    }

    #[test]
    fn a_user_is_read_once_and_again_after_each_change() {
        let recent = Recent::default();
        assert_eq!(version(&recent, || None), None, "nobody is not remembered");
        assert_eq!(version(&recent, || Some(user(1))), Some(1));
        assert_eq!(version(&recent, || unreachable!("it is remembered")), Some(1));
        recent.committed(Change::Standing(ID, user(2).standing()));
        assert_eq!(version(&recent, || Some(user(2))), Some(2));
        recent.committed(Change::Deleted(ID));
        assert_eq!(version(&recent, || None), None);
    }

    #[test]
    fn what_was_read_before_a_change_is_not_remembered_after_it() {
        let recent = Recent::default();
        let read_before = version(&recent, || {
            let before = user(1);
            recent.committed(Change::Standing(ID, user(2).standing()));
            Some(before)
        });
        assert_eq!(read_before, Some(1), "the change was not answered yet when this was asked");
        assert_eq!(version(&recent, || Some(user(2))), Some(2));
    }

    #[test]
    fn no_more_than_so_many_are_kept() {
        let recent = Recent::default();
        for n in 0..=u32::try_from(MOST).expect("small") {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&n.to_le_bytes());
            let Ok(_) = recent.get(UserId::from_bytes(id), || Ok::<_, Infallible>(Some(user(1))));
        }
        assert_eq!(recent.0.read().users.len(), 1);
    }
}
