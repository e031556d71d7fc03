//! Which refreshes are under way, so that one that lost a race is told from one that came late.
//!
//! A refresh token that was current when its request arrived is no stolen one, however long the
//! winner's commit took. No clock can say that (a commit may take a second on a busy disk), so the
//! commits say it: each tells the requests that are waiting which generation it replaced.

use crate::domain::{Session, SessionId};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// The refreshes under way and the commits of the last half minute, by session. Locked for a few
/// instructions, never across an await.
#[derive(Debug, Default)]
pub struct Races(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    runners: HashMap<SessionId, Vec<Arc<AtomicU32>>>,
    commits: HashMap<(SessionId, u32), Record>,
    /// The commits in their order, for forgetting them.
    order: VecDeque<(SessionId, u32)>,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    arrived: Instant,
    durable: Option<Instant>,
}

/// A winner's commit.
#[derive(Debug, Clone, Copy)]
pub struct Commit {
    /// How long ago it was durable.
    pub age: Duration,
    /// How long it took from the winner's arrival.
    pub took: Duration,
}

/// One refresh under way; dropping it ends its part.
#[derive(Debug)]
pub struct Runner {
    races: Arc<Races>,
    session: SessionId,
    arrived: Instant,
    lowest_replaced: Arc<AtomicU32>,
}

impl Races {
    /// A refresh of this session has arrived.
    pub fn enter(self: &Arc<Self>, session: SessionId) -> Runner {
        let lowest_replaced = Arc::new(AtomicU32::new(u32::MAX));
        self.0.lock().runners.entry(session).or_default().push(Arc::clone(&lowest_replaced));
        Runner { races: Arc::clone(self), session, arrived: Instant::now(), lowest_replaced }
    }

    /// The replacement of a generation is durable: those that arrived meanwhile must know, too.
    pub fn committed(&self, session: SessionId, generation: u32) {
        let mut inner = self.0.lock();
        if let Some(record) = inner.commits.get_mut(&(session, generation)) {
            record.durable = Some(Instant::now());
        }
        inner.tell(session, generation);
    }
}

impl Inner {
    fn tell(&self, session: SessionId, generation: u32) {
        for runner in self.runners.get(&session).into_iter().flatten() {
            runner.fetch_min(generation, Relaxed);
        }
    }

    fn forget_old(&mut self) {
        while let Some(oldest) = self.order.front() {
            if self.commits.get(oldest).is_some_and(|record| record.arrived.elapsed() < 2 * Session::MEMORY) {
                break;
            }
            self.commits.remove(oldest);
            self.order.pop_front();
        }
    }
}

impl Runner {
    /// Whether this generation was still current when the refresh arrived.
    pub fn was_current(&self, generation: u32) -> bool {
        self.lowest_replaced.load(Relaxed) <= generation
    }

    /// The commit that replaced a generation, if it was a moment ago.
    pub fn commit_of(&self, generation: u32) -> Option<Commit> {
        let record = self.races.0.lock().commits.get(&(self.session, generation)).copied()?;
        let durable = record.durable?;
        Some(Commit { age: durable.elapsed(), took: durable - record.arrived })
    }

    /// Tells every refresh of this session that is under way, those that share the commit with it.
    pub fn won(&self, replaced: u32) {
        let mut inner = self.races.0.lock();
        inner.forget_old();
        let key = (self.session, replaced);
        if inner.commits.insert(key, Record { arrived: self.arrived, durable: None }).is_none() {
            inner.order.push_back(key);
        }
        inner.tell(self.session, replaced);
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let mut inner = self.races.0.lock();
        if let Some(runners) = inner.runners.get_mut(&self.session) {
            runners.retain(|runner| !Arc::ptr_eq(runner, &self.lowest_replaced));
            if runners.is_empty() {
                inner.runners.remove(&self.session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_replaced_while_it_was_under_way_excuses_a_runner() {
        let races = Arc::new(Races::default());
        let session = SessionId::from_bytes([1; 16]);
        races.committed(session, 4);
        let runner = races.enter(session);
        let elsewhere = races.enter(SessionId::from_bytes([2; 16]));
        assert!(!runner.was_current(4), "replaced before it arrived");
        races.committed(session, 5);
        assert!(runner.was_current(5));
        assert!(!runner.was_current(4), "an older token is no racer");
        assert!(!elsewhere.was_current(5));
        let late = races.enter(session);
        assert!(!late.was_current(5), "it came after the commit");
        drop((runner, elsewhere, late));
        assert!(races.0.lock().runners.is_empty());
    }
}
