//! The rotation of refresh tokens: exactly one winner, and what becomes of the others.

use super::{
    CommitEvent, Error, Store, Transaction,
    engine::Priority,
    in_flight::Race,
    rows::{Deny, end_everything, end_session},
    schema::{SESSIONS, USERS},
};
use crate::domain::{By, Client, Event, Kind, OnReuse, Session, SessionId, Timestamp, Transport, User, UserId};
use std::{
    cmp::Ordering,
    time::{Duration, Instant},
};
use subtle::ConstantTimeEq;

/// How often one refresh may be repeated within its grace (REF-4).
const MAX_REPLAYS: u8 = 3;

/// A genuine refresh token, presented to be rotated.
#[derive(Debug, Clone)]
pub struct Rotate {
    /// Its session.
    pub session: SessionId,
    /// Whose that is.
    pub user: UserId,
    /// Its generation.
    pub generation: u32,
    /// When its request arrived.
    pub arrived: Instant,
    /// Whether it was the current one when its session was read, after that.
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
    /// How what is revoked is remembered.
    pub deny: Deny,
}

impl Rotate {
    /// An event that a token of this session caused. Who presented it is not known: it may be stolen.
    fn event(&self, kind: Kind, user: UserId) -> Event {
        Event::new(kind, By::Anyone).target(user).session(self.session).from(self.client.ip.into())
    }
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
    Reused,
    /// It is of a later generation than the database: the database was rolled back. The session ended (REF-15).
    Ahead,
    /// The session was over.
    Expired,
    /// There is no such session any more.
    Revoked,
    /// The session's tokens travel the other way (REF-12); nothing happened.
    OtherTransport,
}

impl Store {
    /// Rotates a refresh token; of all that present it, exactly one gets a child (REF-3).
    ///
    /// # Errors
    /// The engine's own.
    pub fn rotate(&self, rotate: Rotate) -> impl Future<Output = Result<Rotated, Error>> {
        let race = self.rotations.race(rotate.session, rotate.generation, rotate.arrived);
        let rotation = rotate.was_current.then(|| self.rotations.begin(rotate.session, rotate.generation));
        // A token that was replaced already can only end in a revocation, which is refused last.
        let priority = if rotate.was_current { Priority::Normal } else { Priority::Revocation };
        let (session, user) = (rotate.session, rotate.user);
        let hints = move || vec![SESSIONS.key(&session), USERS.key(&user)];
        self.run(priority, hints, move |t: &mut Transaction<'_>| {
            // Under way until this closure is dropped, which is after memory was told of its commit.
            let _ = &rotation;
            decide_rotation(t, &rotate, race)
        })
    }

    /// Whether a token of a session that is gone has lost a race: another session was put in the place of its
    /// own while it was on its way, or less than `window` ago.
    #[must_use]
    pub fn was_just_replaced(&self, session: SessionId, generation: u32, arrived: Instant, window: Duration, now: Timestamp) -> bool {
        let race = self.rotations.race(session, generation, arrived);
        race.is_lost || race.replaced.is_some_and(|replaced| replaced.is_within(window, now))
    }
}

fn decide_rotation(t: &mut Transaction<'_>, rotate: &Rotate, race: Race) -> Result<Rotated, Error> {
    let Some(mut session) = SESSIONS.get(t.reads(), &rotate.session)? else {
        return Ok(Rotated::Revoked);
    };
    let Some(user) = USERS.get(t.reads(), &session.user)?.filter(|user| !user.disabled) else {
        end_session(t, &session, rotate.deny)?;
        return Ok(Rotated::Revoked);
    };
    if rotate.now >= session.expires_at {
        // The sweep removes it, by a clock that is not wrong for a moment.
        return Ok(Rotated::Expired);
    }
    match rotate.generation.cmp(&session.generation) {
        Ordering::Equal if rotate.transport != session.transport => Ok(Rotated::OtherTransport),
        Ordering::Equal => {
            advance(t, &mut session, rotate)?;
            Ok(Rotated::Rotated(session, user))
        }
        Ordering::Greater => {
            end_session(t, &session, rotate.deny)?;
            t.record(rotate.event(Kind::StateRollback, user.id));
            Ok(Rotated::Ahead)
        }
        Ordering::Less => decide_replaced(t, session, user, rotate, race),
    }
}

/// What becomes of a token that was replaced: its refresh sent again, a lost race, or reuse.
fn decide_replaced(t: &mut Transaction<'_>, mut session: Session, user: User, rotate: &Rotate, race: Race) -> Result<Rotated, Error> {
    // Measured from the moment the winning rotation became durable, by the monotonic clock. After a restart
    // that moment is unknown: fall back to the wall-clock times in the row.
    let within = |window: Duration| match race.replaced {
        Some(replaced) => replaced.is_within(window, rotate.now),
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
    if rotate.was_current || race.is_lost || within(rotate.conflict_window) {
        return Ok(Rotated::Conflict);
    }
    match rotate.on_reuse {
        OnReuse::Session => end_session(t, &session, rotate.deny)?,
        OnReuse::User => end_everything(t, user.id, rotate.deny)?,
    }
    t.record(rotate.event(Kind::RefreshReuse, user.id));
    Ok(Rotated::Reused)
}

/// Whether this is the refresh that made the current token, sent again.
fn is_retry(rotate: &Rotate, session: &Session) -> bool {
    match (&rotate.retry_key, &session.retry_key) {
        (Some(sent), Some(kept)) => sent.ct_eq(kept).into(),
        _ => false,
    }
}

/// Moves a session to its next generation.
fn advance(t: &mut Transaction<'_>, session: &mut Session, rotate: &Rotate) -> Result<(), Error> {
    let replaced = session.generation;
    session.rotate(rotate.now, rotate.child_expires_at, rotate.child_hash, rotate.retry_key);
    session.hash_key.clone_from(&rotate.hash_key);
    session.client = rotate.client.clone();
    SESSIONS.put(t.tx, &session.id, session)?;
    t.emit(CommitEvent::Rotated { session: session.id, replaced, at: rotate.now });
    Ok(())
}
