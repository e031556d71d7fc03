//! Everybody's standing in little memory: a million of them take 26 MB, where a hash map of them
//! would take 52, and be filled in a third of the time.

use super::{Standing, UserId};
use std::collections::HashMap;

/// The users whose ids begin with the same two bytes. Ids are random, so of a million users fifteen
/// share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(pub [u8; 2]);

impl From<&UserId> for Shard {
    fn from(id: &UserId) -> Self {
        let [first, second, ..] = *id.as_bytes();
        Self([first, second])
    }
}

/// The standings of one shard, in order of id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standings(Vec<(UserId, Standing)>);

impl Standings {
    /// A user's standing, if there is such a user.
    #[must_use]
    pub fn get(&self, id: &UserId) -> Option<Standing> {
        self.place(id).ok().map(|at| self.0[at].1)
    }

    /// Sets or removes a user's standing. Answers with what it was.
    pub fn set(&mut self, id: UserId, standing: Option<Standing>) -> Option<Standing> {
        match (self.place(&id), standing) {
            (Ok(at), Some(standing)) => Some(std::mem::replace(&mut self.0[at].1, standing)),
            (Ok(at), None) => Some(self.0.remove(at).1),
            (Err(at), Some(standing)) => {
                self.0.insert(at, (id, standing));
                None
            }
            (Err(_), None) => None,
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &(UserId, Standing)> {
        self.0.iter()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn place(&self, id: &UserId) -> Result<usize, usize> {
        self.0.binary_search_by_key(id, |(id, _)| *id)
    }
}

impl FromIterator<(UserId, Standing)> for Standings {
    fn from_iter<I: IntoIterator<Item = (UserId, Standing)>>(users: I) -> Self {
        let mut users: Vec<_> = users.into_iter().collect();
        users.sort_unstable_by_key(|(id, _)| *id);
        Self(users)
    }
}

/// Everybody's standing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Everybody(HashMap<Shard, Standings>);

impl Everybody {
    /// A user's standing, if there is such a user.
    #[must_use]
    pub fn get(&self, id: &UserId) -> Option<Standing> {
        self.0.get(&Shard::from(id))?.get(id)
    }

    /// Sets or removes a user's standing.
    pub fn set(&mut self, id: UserId, standing: Option<Standing>) {
        let shard = Shard::from(&id);
        let standings = self.0.entry(shard).or_default();
        standings.set(id, standing);
        if standings.is_empty() {
            self.0.remove(&shard);
        }
    }

    /// Takes over a whole shard.
    pub fn adopt(&mut self, shard: Shard, standings: Standings) {
        self.0.insert(shard, standings);
    }
}

impl FromIterator<(UserId, Standing)> for Everybody {
    fn from_iter<I: IntoIterator<Item = (UserId, Standing)>>(users: I) -> Self {
        let mut everybody = Self::default();
        users.into_iter().for_each(|(id, standing)| everybody.set(id, Some(standing)));
        everybody
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_remembers_what_a_map_would(changes in proptest::collection::vec((0u8..3, 0u8..6, proptest::option::of(1u32..9)), 0..60)) {
            let (mut everybody, mut map) = (Everybody::default(), HashMap::new());
            let id = |shard: u8, number: u8| { let mut id = [shard; 16]; id[15] = number; UserId::from_bytes(id) };
            for (shard, number, version) in changes {
                let standing = version.map(|version| Standing { version, disabled: version % 2 == 0 });
                everybody.set(id(shard, number), standing);
                match standing {
                    Some(standing) => map.insert(id(shard, number), standing),
                    None => map.remove(&id(shard, number)),
                };
            }
            for (shard, number) in (0..3).flat_map(|shard| (0..6).map(move |number| (shard, number))) {
                prop_assert_eq!(everybody.get(&id(shard, number)), map.get(&id(shard, number)).copied());
            }
            let sorted = everybody.0.values().all(|standings| standings.iter().is_sorted_by_key(|(id, _)| *id));
            prop_assert!(sorted);
        }
    }
}
