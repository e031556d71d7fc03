//! Which refreshes are under way, so that one that lost a race is told from one that came late.
//!
//! A refresh token that was current when its request arrived is no stolen one, however long the
//! winner's commit took. No clock can say that (a commit may take a second on a busy disk), so the
//! commits say it: each tells the requests that are waiting which generation it replaced.

use crate::domain::{Session, SessionId, Timestamp};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// How many commits of a session are remembered: more refreshes than `limits.refresh_per_minute` lets
/// it do at once by default, and few enough to stay small however high that is set.
const MOST: usize = 32;

/// For how long: no window is longer, and a winner may have taken as long again.
const MEMORY: Duration = Session::MEMORY.saturating_mul(2);

/// The refreshes under way and the latest commits, by session. Locked for a few
/// instructions, never across an await.
#[derive(Debug, Default)]
pub struct Races(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<SessionId, Race>,
    /// The sessions with commits, each once, and since when: for forgetting them.
    order: VecDeque<(Instant, SessionId)>,
}

/// What is known of one session.
#[derive(Debug, Default)]
struct Race {
    /// The refreshes under way: the lowest generation replaced since each arrived.
    runners: Vec<Arc<AtomicU32>>,
    /// The latest commits, in their order.
    commits: VecDeque<Record>,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    generation: u32,
    at: Timestamp,
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
    /// When the session's row says it was.
    pub at: Timestamp,
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
        self.0.lock().sessions.entry(session).or_default().runners.push(Arc::clone(&lowest_replaced));
        Runner { races: Arc::clone(self), session, arrived: Instant::now(), lowest_replaced }
    }

    /// The replacement of a generation is durable: those that arrived meanwhile must know, too.
    pub fn committed(&self, session: SessionId, generation: u32) {
        if let Some(race) = self.0.lock().sessions.get_mut(&session) {
            if let Some(record) = race.commits.iter_mut().rfind(|record| record.generation == generation) {
                record.durable = Some(Instant::now());
            }
            race.tell(generation);
        }
    }
}

impl Inner {
    /// Forgets commits of sessions that have not been refreshed for a while.
    fn forget_old(&mut self, now: Instant) {
        while let Some(&(since, session)) = self.order.front()
            && now - since >= MEMORY
        {
            self.order.pop_front();
            let Some(race) = self.sessions.get_mut(&session) else { continue };
            if race.commits.back().is_some_and(|last| now - last.arrived < MEMORY) {
                self.order.push_back((now, session));
                continue;
            }
            race.commits.clear();
            self.drop_idle(session);
        }
    }

    fn drop_idle(&mut self, session: SessionId) {
        if self.sessions.get(&session).is_some_and(|race| race.runners.is_empty() && race.commits.is_empty()) {
            self.sessions.remove(&session);
        }
    }
}

impl Race {
    fn tell(&self, generation: u32) {
        for runner in &self.runners {
            runner.fetch_min(generation, Relaxed);
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
        let inner = self.races.0.lock();
        let record = inner.sessions.get(&self.session)?.commits.iter().rfind(|record| record.generation == generation)?;
        let durable = record.durable?;
        Some(Commit { age: durable.elapsed(), took: durable - record.arrived, at: record.at })
    }

    /// Tells every refresh of this session that is under way, those that share the commit with it.
    pub fn won(&self, replaced: u32, at: Timestamp) {
        let now = Instant::now();
        let mut inner = self.races.0.lock();
        inner.forget_old(now);
        let race = inner.sessions.entry(self.session).or_default();
        let is_first = race.commits.is_empty();
        // An earlier try of the same, whose commit failed.
        if race.commits.back().is_some_and(|last| last.generation == replaced) {
            race.commits.pop_back();
        }
        if race.commits.len() == MOST {
            race.commits.pop_front();
        }
        race.commits.push_back(Record { generation: replaced, at, arrived: self.arrived, durable: None });
        race.tell(replaced);
        if is_first {
            inner.order.push_back((now, self.session));
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let mut inner = self.races.0.lock();
        if let Some(race) = inner.sessions.get_mut(&self.session) {
            race.runners.retain(|runner| !Arc::ptr_eq(runner, &self.lowest_replaced));
            inner.drop_idle(self.session);
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
        assert!(races.0.lock().sessions.is_empty());
    }

    #[test]
    fn commits_are_known_for_a_while_and_no_more_of_them_than_a_few() {
        let races = Arc::new(Races::default());
        let [busy, quiet] = [1, 2].map(|id| SessionId::from_bytes([id; 16]));
        let commit = |session, generation| {
            let runner = races.enter(session);
            runner.won(generation, Timestamp::from_secs(u64::from(generation)));
            assert!(runner.commit_of(generation).is_none(), "not durable yet");
            races.committed(session, generation);
        };
        commit(quiet, 1);
        (1..=1000).for_each(|generation| commit(busy, generation));
        let runner = races.enter(busy);
        assert_eq!(runner.commit_of(1000).map(|commit| commit.at), Some(Timestamp::from_secs(1000)));
        assert!(runner.commit_of(1000 - 31).is_some());
        assert!(runner.commit_of(1000 - 32).is_none());
        // What failed and was tried again is there once.
        runner.won(1001, Timestamp::from_secs(1));
        runner.won(1001, Timestamp::from_secs(2));
        assert_eq!(races.0.lock().sessions[&busy].commits.iter().filter(|record| record.generation == 1001).count(), 1);
        drop(runner);
        let mut inner = races.0.lock();
        assert_eq!((inner.sessions.len(), inner.order.len()), (2, 2), "each session once");
        let later = Instant::now() + MEMORY;
        inner.sessions.get_mut(&busy).expect("there").commits.back_mut().expect("a commit").arrived = later;
        inner.forget_old(later);
        assert_eq!(inner.sessions.keys().collect::<Vec<_>>(), [&busy], "it has been refreshed since");
        inner.forget_old(later + MEMORY);
        assert!(inner.sessions.is_empty() && inner.order.is_empty());
    }
}
