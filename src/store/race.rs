//! Which refreshes are under way, so that one that lost a race is told from one that came late.
//!
//! A refresh token that was current when its request arrived is no stolen one, however long the
//! winner's commit took. No clock can say that (a commit may take a second on a busy disk), so the
//! commits say it: each tells the requests that are waiting which generation it replaced.

use crate::domain::SessionId;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// The refreshes under way, by session. Locked for a few instructions, never across an await.
#[derive(Debug, Default)]
pub struct Races(Mutex<HashMap<SessionId, Vec<Arc<AtomicU32>>>>);

/// One refresh under way; dropping it ends its part.
#[derive(Debug)]
pub struct Runner {
    races: Arc<Races>,
    session: SessionId,
    lowest_replaced: Arc<AtomicU32>,
}

impl Races {
    /// A refresh of this session has arrived.
    pub fn enter(self: &Arc<Self>, session: SessionId) -> Runner {
        let lowest_replaced = Arc::new(AtomicU32::new(u32::MAX));
        self.0.lock().entry(session).or_default().push(Arc::clone(&lowest_replaced));
        Runner { races: Arc::clone(self), session, lowest_replaced }
    }

    /// A generation was replaced: told when the winner's work has run, for those that share its
    /// commit, and again when that is durable, for those that arrived meanwhile.
    pub fn replaced(&self, session: SessionId, generation: u32) {
        for runner in self.0.lock().get(&session).into_iter().flatten() {
            runner.fetch_min(generation, Relaxed);
        }
    }
}

impl Runner {
    /// Whether this generation was still current when the refresh arrived.
    pub fn was_current(&self, generation: u32) -> bool {
        self.lowest_replaced.load(Relaxed) <= generation
    }

    /// Tells every refresh of this session that is under way.
    pub fn won(&self, replaced: u32) {
        self.races.replaced(self.session, replaced);
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let mut races = self.races.0.lock();
        if let Some(runners) = races.get_mut(&self.session) {
            runners.retain(|runner| !Arc::ptr_eq(runner, &self.lowest_replaced));
            if runners.is_empty() {
                races.remove(&self.session);
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
        races.replaced(session, 4);
        let runner = races.enter(session);
        let elsewhere = races.enter(SessionId::from_bytes([2; 16]));
        assert!(!runner.was_current(4), "replaced before it arrived");
        races.replaced(session, 5);
        assert!(runner.was_current(5));
        assert!(!runner.was_current(4), "an older token is no racer");
        assert!(!elsewhere.was_current(5));
        let late = races.enter(session);
        assert!(!late.was_current(5), "it came after the commit");
        drop((runner, elsewhere, late));
        assert!(races.0.lock().is_empty());
    }
}
