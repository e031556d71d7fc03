//! The rotation of refresh tokens: exactly one winner, and what becomes of the others.

use super::{
    Error, Store, Transaction,
    engine::Need,
    race::Runner,
    schema::{SESSIONS, USERS},
    sessions::{Remember, end, end_everything},
};
use crate::domain::{Client, Session, SessionId, Timestamp, Transport, User, UserId};
use crate::store::Change;
use serde::{Deserialize, Serialize};
use std::{cmp::Ordering, time::Duration};
use subtle::ConstantTimeEq;

/// How often one refresh may be repeated within its grace (REF-4).
const MAX_REPLAYS: u8 = 3;

/// What a reused refresh token costs (REF-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnReuse {
    /// Every session and every access token of the user.
    User,
    /// The session alone.
    Session,
}

/// A genuine refresh token, presented to be rotated.
#[derive(Debug, Clone)]
pub struct Rotate {
    /// Its session.
    pub session: SessionId,
    /// Its generation.
    pub generation: u32,
    /// Whether it was the current one when it was looked at, after it had arrived.
    pub was_current: bool,
    /// How it came.
    pub transport: Transport,
    /// When the child expires, if there is one.
    pub child_expires_at: Timestamp,
    /// Keyed hash of the child.
    pub child_hash: [u8; 32],
    /// Which key that hash is under.
    pub hash_key: String,
    /// Where it came from.
    pub client: Client,
    /// The present moment.
    pub now: Timestamp,
    /// For how long after its replacement a token is a lost race and no theft.
    pub conflict_window: Duration,
    /// For how long the predecessor gets the same child again.
    pub grace: Duration,
    /// Keyed hash of the request's `Idempotency-Key`: the predecessor that comes with the one it was
    /// replaced with gets the same child again.
    pub retry_key: Option<[u8; 32]>,
    /// What reuse costs.
    pub on_reuse: OnReuse,
    /// Until when an ended session is remembered.
    pub remember: Remember,
}

/// What became of a [`Rotate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotated {
    /// It was the current one: the child is.
    Rotated(Session, User),
    /// It was the predecessor, repeated by who had sent it: the current one is to be given again.
    Replayed(Session, User),
    /// It lost a race against another refresh; nothing happened.
    Conflict,
    /// It had been replaced before: what it could reach was revoked (REF-1).
    Reused(UserId),
    /// It is of a later generation than the database: the database was rolled back. The session ended (REF-15).
    Ahead(UserId),
    /// The session was over.
    Expired,
    /// There is no such session any more.
    Revoked,
    /// The session's tokens travel the other way (REF-12); nothing happened.
    OtherTransport,
}

impl Store {
    /// Rotates a refresh token; of all that present it, exactly one gets a child (REF-3). It is under way
    /// from the call on.
    ///
    /// # Errors
    /// The engine's own.
    pub fn rotate(&self, rotate: Rotate) -> impl Future<Output = Result<Rotated, Error>> {
        let runner = self.races.enter(rotate.session);
        // What was replaced already can only end in a revocation, which is refused last.
        let need = if rotate.was_current { Need::Ordinary } else { Need::Urgent };
        self.run(need, move |t: &mut Transaction<'_>| decide_rotation(t, &rotate, &runner))
    }

    /// Whether a session that is gone, or this generation of it, was replaced less than `window` ago: then
    /// who comes with its token has lost a race.
    #[must_use]
    pub fn was_just_replaced(&self, session: SessionId, generation: u32, window: Duration) -> bool {
        self.races.enter(session).commit_of(generation).is_some_and(|commit| commit.age < window)
    }
}

fn decide_rotation(t: &mut Transaction<'_>, rotate: &Rotate, runner: &Runner) -> Result<Rotated, Error> {
    let Some(mut session) = SESSIONS.get(t.reads(), &rotate.session)? else {
        // A password change puts a new session in the place of this one: who raced with it has lost a race.
        return Ok(if runner.was_current(rotate.generation) { Rotated::Conflict } else { Rotated::Revoked });
    };
    let Some(user) = USERS.get(t.reads(), &session.user)?.filter(|user| !user.disabled) else {
        end(t, &session, rotate.remember)?;
        return Ok(Rotated::Revoked);
    };
    if rotate.now >= session.expires_at {
        // The sweep removes it, by a clock that is not wrong for a moment.
        return Ok(Rotated::Expired);
    }
    match rotate.generation.cmp(&session.generation) {
        Ordering::Equal if rotate.transport != session.transport => Ok(Rotated::OtherTransport),
        Ordering::Equal => {
            advance(t, &mut session, rotate, runner)?;
            Ok(Rotated::Rotated(session, user))
        }
        Ordering::Greater => {
            end(t, &session, rotate.remember)?;
            Ok(Rotated::Ahead(user.id))
        }
        Ordering::Less => {
            // The commit tells it best, counted from when the winner could be answered, by a clock that
            // nobody sets. The row is for what was before the last start.
            let within = |window: Duration| match runner.commit_of(rotate.generation) {
                Some(commit) => commit.age < window && rotate.now.since(commit.at) < window + commit.took,
                None => session.replaced(rotate.generation).is_some_and(|at| rotate.now.since(at) < window),
            };
            let is_unused_childs_parent = rotate.generation + 1 == session.generation && rotate.transport == session.transport;
            if is_unused_childs_parent && is_retry(rotate, &session) {
                return Ok(Rotated::Replayed(session, user));
            }
            if is_unused_childs_parent && within(rotate.grace) && session.replays <= MAX_REPLAYS {
                // Repeated too often it is no theft either.
                if session.replays == MAX_REPLAYS {
                    return Ok(Rotated::Conflict);
                }
                session.replays += 1;
                SESSIONS.put(t.tx, &session.id, &session)?;
                return Ok(Rotated::Replayed(session, user));
            }
            if rotate.was_current || runner.was_current(rotate.generation) || within(rotate.conflict_window) {
                return Ok(Rotated::Conflict);
            }
            match rotate.on_reuse {
                OnReuse::Session => end(t, &session, rotate.remember)?,
                OnReuse::User => end_everything(t, user.id, 1)?,
            }
            Ok(Rotated::Reused(user.id))
        }
    }
}

/// Whether this is the refresh that made the current token, sent again.
fn is_retry(rotate: &Rotate, session: &Session) -> bool {
    match (&rotate.retry_key, &session.retry_key) {
        (Some(sent), Some(kept)) => sent.ct_eq(kept).into(),
        _ => false,
    }
}

/// Moves a session to its next generation.
fn advance(t: &mut Transaction<'_>, session: &mut Session, rotate: &Rotate, runner: &Runner) -> Result<(), Error> {
    let replaced = session.generation;
    session.rotate(rotate.now, rotate.child_expires_at, rotate.child_hash, rotate.retry_key);
    session.hash_key.clone_from(&rotate.hash_key);
    session.client = rotate.client.clone();
    SESSIONS.put(t.tx, &session.id, session)?;
    runner.won(replaced, rotate.now);
    t.announce(Change::Rotated(session.id, replaced));
    Ok(())
}
