//! The rotations that are in flight or committed a moment ago. They tell a refresh that lost a race from one that
//! came late and is reuse (ADR 4).
//!
//! A refresh token that was current when its request arrived is not stolen, however long the winner's commit
//! took. A fixed time window cannot decide that, because a commit may take a second on a busy disk. The commits
//! decide it: a token that is no longer current has lost a race if the rotation that replaced it was not yet
//! durable when the token arrived.
//!
//! A transaction never reads this state (I4). The caller asks [`InFlightRotations::race`] before it submits the
//! transaction and passes the answer in; [`InFlightRotations::committed`] records the rotation once it is durable.

use crate::domain::{Session, SessionId, Timestamp};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

/// How many rotations of a session are kept: more than `limits.refresh_per_minute` allows at once by default, and
/// bounded however high that is set.
const MAX_COMMITS: usize = 32;

/// How long rotations are kept. No window is longer than half of it; the winner's commit may take the other half.
const RETENTION: Duration = Session::ROTATION_RETENTION.saturating_mul(2);

/// Stands for every generation: that of a rotation that replaces a whole session.
const ANY_GENERATION: u32 = u32::MAX;

/// The rotations in flight and the latest durable ones, by session. The lock is held for a few instructions and
/// never across an await.
#[derive(Debug, Default)]
pub struct InFlightRotations(Mutex<HashMap<SessionId, Rotations>>);

#[derive(Debug, Default)]
struct Rotations {
    /// Rotations in flight: the generation each replaces, and when it began.
    in_flight: Vec<(u32, Instant)>,
    /// Durable rotations, in the order of their commits.
    done: VecDeque<Commit>,
}

/// A durable rotation.
#[derive(Debug, Clone, Copy)]
struct Commit {
    /// The generation it replaced.
    replaced: u32,
    /// When it happened, as the session's row has it.
    at: Timestamp,
    durable: Instant,
    /// How long it took to become durable.
    took: Duration,
}

/// A guard for a rotation in flight; dropping it ends that.
#[derive(Debug)]
pub struct Rotation {
    rotations: Arc<InFlightRotations>,
    session: SessionId,
    generation: u32,
    since: Instant,
}

/// What is known of the rotation that replaced the generation of a presented token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Race {
    /// The rotation was not durable yet when the token arrived: the token lost a race.
    pub is_lost: bool,
    /// How long ago the rotation was, if that is still known.
    pub replaced: Option<Replaced>,
}

/// How long ago a generation was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaced {
    /// How long the rotation has been durable, by the monotonic clock.
    ago: Duration,
    /// When it happened, as the session's row has it.
    at: Timestamp,
    /// How long its commit took.
    took: Duration,
}

impl Replaced {
    /// Whether that is less than `window` ago by both clocks. The monotonic one alone is not enough: it stands
    /// still while the machine is suspended.
    #[must_use]
    pub fn is_within(&self, window: Duration, now: Timestamp) -> bool {
        self.ago < window && now.since(self.at) < window + self.took
    }
}

impl InFlightRotations {
    /// Marks the rotation of a current token as in flight.
    pub fn begin(self: &Arc<Self>, session: SessionId, generation: u32) -> Rotation {
        let since = Instant::now();
        self.0.lock().entry(session).or_default().in_flight.push((generation, since));
        Rotation { rotations: Arc::clone(self), session, generation, since }
    }

    /// Marks the replacement of a whole session as in flight.
    pub fn begin_replacing(self: &Arc<Self>, session: SessionId) -> Rotation {
        self.begin(session, ANY_GENERATION)
    }

    /// Records that a generation was replaced and that this is durable. Commits may be reported in any order.
    pub fn committed(&self, session: SessionId, replaced: u32, at: Timestamp) {
        let durable = Instant::now();
        let mut sessions = self.0.lock();
        let rotations = sessions.entry(session).or_default();
        let since =
            rotations.in_flight.iter().filter(|(generation, _)| matches_generation(*generation, replaced)).map(|(_, since)| *since).min();
        let took = since.map_or(Duration::ZERO, |since| durable - since);
        if rotations.done.len() == MAX_COMMITS {
            rotations.done.pop_front();
        }
        rotations.done.push_back(Commit { replaced, at, durable, took });
    }

    /// What is known of the rotation that replaced this generation, for a token that arrived at `arrived`. Ask this
    /// after reading the session's row: a rotation whose row was read is in flight or durable by then.
    pub fn race(&self, session: SessionId, generation: u32, arrived: Instant) -> Race {
        let sessions = self.0.lock();
        let Some(rotations) = sessions.get(&session) else { return Race::default() };
        let commit = rotations.done.iter().rfind(|commit| commit.replaced == generation);
        let is_in_flight = rotations.in_flight.iter().any(|(replaces, _)| matches_generation(*replaces, generation));
        Race {
            is_lost: is_in_flight || commit.is_some_and(|commit| commit.durable >= arrived),
            replaced: commit.map(|commit| Replaced { ago: commit.durable.elapsed(), at: commit.at, took: commit.took }),
        }
    }

    /// Forgets the rotations of sessions that have not been refreshed within the last minute.
    pub fn forget_old(&self) {
        self.forget_before(Instant::now().checked_sub(RETENTION));
    }

    fn forget_before(&self, moment: Option<Instant>) {
        let Some(moment) = moment else { return };
        let mut sessions = self.0.lock();
        sessions.retain(|_, rotations| {
            if rotations.done.back().is_some_and(|last| last.durable < moment) {
                rotations.done.clear();
            }
            !rotations.is_idle()
        });
        if sessions.len() * 4 < sessions.capacity() {
            sessions.shrink_to_fit();
        }
    }
}

/// Whether a rotation in flight that replaces `in_flight` replaces `generation`.
const fn matches_generation(in_flight: u32, generation: u32) -> bool {
    in_flight == generation || in_flight == ANY_GENERATION
}

impl Rotations {
    fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.done.is_empty()
    }
}

impl Drop for Rotation {
    fn drop(&mut self) {
        let mut sessions = self.rotations.0.lock();
        let Some(rotations) = sessions.get_mut(&self.session) else { return };
        if let Some(at) = rotations.in_flight.iter().position(|in_flight| *in_flight == (self.generation, self.since)) {
            rotations.in_flight.swap_remove(at);
        }
        if rotations.is_idle() {
            sessions.remove(&self.session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId::from_bytes([1; 16]);
    const AT: Timestamp = Timestamp::from_secs(7);

    fn is_lost(rotations: &InFlightRotations, generation: u32, arrived: Instant) -> bool {
        rotations.race(SESSION, generation, arrived).is_lost
    }

    #[test]
    fn ref_3_only_a_rotation_that_was_not_durable_on_arrival_excuses() {
        let rotations = Arc::new(InFlightRotations::default());
        let early = Instant::now();
        assert!(!is_lost(&rotations, 5, early), "nothing is under way");
        let rotation = rotations.begin(SESSION, 5);
        assert!(is_lost(&rotations, 5, early));
        assert!(is_lost(&rotations, 5, Instant::now()), "it came before the answer");
        assert!(!is_lost(&rotations, 4, early), "an older token is no racer");
        assert!(!rotations.race(SessionId::from_bytes([2; 16]), 5, early).is_lost, "another session");
        rotations.committed(SESSION, 5, AT);
        drop(rotation);
        assert!(is_lost(&rotations, 5, early), "it arrived before the commit");
        let late = Instant::now();
        assert!(!is_lost(&rotations, 5, late), "it arrived after the commit");
        let failed = rotations.begin(SESSION, 6);
        drop(failed);
        assert!(!is_lost(&rotations, 6, early), "what was never made replaced nothing");
    }

    #[test]
    fn ref_3_a_session_that_is_replaced_excuses_whatever_its_generation() {
        let rotations = Arc::new(InFlightRotations::default());
        let arrived = Instant::now();
        let replacing = rotations.begin_replacing(SESSION);
        assert!(is_lost(&rotations, 9, arrived));
        rotations.committed(SESSION, 9, AT);
        drop(replacing);
        assert!(is_lost(&rotations, 9, arrived));
        assert!(!is_lost(&rotations, 8, arrived));
    }

    #[test]
    fn commits_are_known_for_a_while_and_no_more_of_them_than_a_few() {
        let rotations = Arc::new(InFlightRotations::default());
        for generation in 1..=1000 {
            let _rotation = rotations.begin(SESSION, generation);
            rotations.committed(SESSION, generation, AT);
        }
        let knows = |generation| rotations.race(SESSION, generation, Instant::now()).replaced.is_some();
        assert!(knows(1000) && knows(1000 - 31) && !knows(1000 - 32));
        rotations.forget_before(Some(Instant::now()));
        assert!(rotations.0.lock().is_empty());
    }

    #[test]
    fn ref_3_a_window_is_counted_from_when_the_winner_was_durable_by_both_clocks() {
        let seconds = Duration::from_secs;
        let replaced = Replaced { ago: seconds(1), at: AT, took: seconds(5) };
        assert!(replaced.is_within(seconds(2), AT.plus(seconds(6))), "its commit took five seconds of these six");
        assert!(!replaced.is_within(seconds(1), AT.plus(seconds(6))));
        assert!(!replaced.is_within(seconds(2), AT.plus(seconds(7))), "the machine slept");
    }
}
