//! The rotation of refresh tokens: exactly one request wins; this decides what the others get.

use super::{
    CommitEvent, Error, Store, Transaction,
    api_keys::end_made_in,
    engine::Priority,
    in_flight::Race,
    rows::{Deny, end_everything, end_session, note_issued},
    schema::{SESSIONS, USERS},
};
use crate::domain::{ApiKeyId, By, Client, Event, Kind, OnReuse, Session, SessionId, Timestamp, Transport, User, UserId};
use std::{
    cmp::Ordering,
    time::{Duration, Instant},
};
use subtle::ConstantTimeEq;

/// How often one refresh may be repeated within the grace window (REF-4).
const MAX_REPLAYS: u8 = 3;

/// A refresh token with a valid tag, presented to be rotated.
#[derive(Debug, Clone)]
pub struct Rotate {
    /// The token's session.
    pub session: SessionId,
    /// The session's user.
    pub user: UserId,
    /// The token's generation.
    pub generation: u32,
    /// When the request arrived.
    pub arrived: Instant,
    /// Whether the token was the current one when the session was read, after the request arrived.
    pub was_current: bool,
    /// How the token was sent.
    pub transport: Transport,
    /// When the child expires, if one is issued.
    pub child_expires_at: Timestamp,
    /// Keyed hash of the child.
    pub child_hash: [u8; 32],
    /// The id of the key of that hash.
    pub hash_key: String,
    /// Where the request came from.
    pub client: Client,
    /// The present moment.
    pub now: Timestamp,
    /// How long after its replacement a token counts as having lost a race and not as reuse.
    pub conflict_window: Duration,
    /// How long the predecessor is given the same child again.
    pub grace: Duration,
    /// Keyed hash of the request's `Idempotency-Key`. A predecessor that comes with the same key as the refresh
    /// that replaced it is given the same child again.
    pub retry_key: Option<[u8; 32]>,
    /// What reuse revokes.
    pub on_reuse: OnReuse,
    /// How what is revoked enters the deny list.
    pub deny: Deny,
}

impl Rotate {
    /// An event that this token caused. Its actor is unknown, because the token may be stolen.
    fn event(&self, kind: Kind, user: UserId) -> Event {
        Event::new(kind, By::Anyone).target(user).session(self.session).from(self.client.ip.into())
    }
}

/// The outcome of [`Store::rotate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotated {
    /// The token was the current one; now its child is.
    Rotated(Session, User),
    /// The token was the predecessor of the current one, sent again by the same client, which is given the current
    /// one again.
    Replayed(Session, User),
    /// The token lost a race against another refresh; nothing happened.
    Conflict,
    /// The token had been replaced before: its session, or everything of its user, was revoked (REF-1).
    Reused,
    /// The token's generation is later than the session's: the database was rolled back. The session ended (REF-15).
    Ahead,
    /// The session has expired.
    Expired,
    /// The session does not exist any more.
    Revoked,
    /// The session uses the other transport (REF-12); nothing happened.
    OtherTransport,
}

impl Store {
    /// Rotates a refresh token. Of all requests that present it, exactly one gets a child (REF-3).
    ///
    /// # Errors
    /// The engine's own.
    pub fn rotate(&self, rotate: Rotate) -> impl Future<Output = Result<Rotated, Error>> {
        let race = self.rotations.race(rotate.session, rotate.generation, rotate.arrived);
        let rotation = rotate.was_current.then(|| self.rotations.begin(rotate.session, rotate.generation));
        // Presenting a replaced token can only lead to a revocation, which is refused last.
        let priority = if rotate.was_current { Priority::Normal } else { Priority::Revocation };
        let (session, user) = (rotate.session, rotate.user);
        let hints = move || vec![SESSIONS.key(&session), USERS.key(&user)];
        self.run(priority, hints, move |t: &mut Transaction<'_>| {
            // The closure owns the guard: the rotation counts as in flight until the observers know of its commit.
            let _ = &rotation;
            decide_rotation(t, &rotate, race)
        })
    }

    /// Whether a token whose session is gone has lost a race: a password change replaced the session while the
    /// token was on its way, or less than `window` ago.
    #[must_use]
    pub fn was_just_replaced(&self, session: SessionId, generation: u32, arrived: Instant, window: Duration, now: Timestamp) -> bool {
        let race = self.rotations.race(session, generation, arrived);
        race.is_lost || race.replaced.is_some_and(|replaced| replaced.is_within(window, now))
    }
}

/// Why keys end with the session that they were made in.
pub const MADE_BY_A_THIEF: &str = "made in a session that was stolen";

fn decide_rotation(t: &mut Transaction<'_>, rotate: &Rotate, race: Race) -> Result<Rotated, Error> {
    let Some(mut session) = SESSIONS.get(t.reads(), &rotate.session)? else {
        return Ok(Rotated::Revoked);
    };
    let Some(user) = USERS.get(t.reads(), &session.user)?.filter(|user| !user.disabled) else {
        end_session(t, &session, rotate.deny)?;
        return Ok(Rotated::Revoked);
    };
    if rotate.now >= session.expires_at {
        // Not removed here: the sweep does that, by a clock that does not follow short steps of the wall clock.
        return Ok(Rotated::Expired);
    }
    match rotate.generation.cmp(&session.generation) {
        Ordering::Equal if rotate.transport != session.transport => Ok(Rotated::OtherTransport),
        Ordering::Equal => {
            advance(t, &mut session, rotate)?;
            note_issued(t, rotate.now, rotate.deny.lifetime)?;
            Ok(Rotated::Rotated(session, user))
        }
        Ordering::Greater => {
            end_session(t, &session, rotate.deny)?;
            t.record(rotate.event(Kind::StateRollback, user.id))?;
            Ok(Rotated::Ahead)
        }
        Ordering::Less => decide_replaced(t, session, user, rotate, race),
    }
}

/// Decides what a replaced token is: the last refresh sent again, a lost race, or reuse.
fn decide_replaced(t: &mut Transaction<'_>, mut session: Session, user: User, rotate: &Rotate, race: Race) -> Result<Rotated, Error> {
    // Measured from the moment the winning rotation became durable, by the monotonic clock. After a restart
    // that moment is unknown: fall back to the wall-clock times in the row.
    let within = |window: Duration| match race.replaced {
        Some(replaced) => replaced.is_within(window, rotate.now),
        None => session.replaced(rotate.generation).is_some_and(|at| rotate.now.since(at) < window),
    };
    let is_unused_childs_parent = rotate.generation + 1 == session.generation && rotate.transport == session.transport;
    if is_unused_childs_parent && is_retry(rotate, &session) {
        note_issued(t, rotate.now, rotate.deny.lifetime)?;
        return Ok(Rotated::Replayed(session, user));
    }
    if is_unused_childs_parent && within(rotate.grace) && session.replays <= MAX_REPLAYS {
        // Repeated too often: refused, but not taken for reuse.
        if session.replays == MAX_REPLAYS {
            return Ok(Rotated::Conflict);
        }
        session.replays += 1;
        note_issued(t, rotate.now, rotate.deny.lifetime)?;
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
    t.record(rotate.event(Kind::RefreshReuse, user.id))?;
    let revoked = |owner, id: ApiKeyId| rotate.event(Kind::ApiKeyRevoked, owner).key(id.to_string()).why(MADE_BY_A_THIEF);
    end_made_in(t, session.id, rotate.deny, revoked)?;
    Ok(Rotated::Reused)
}

/// Whether this is the refresh that issued the current token, sent again.
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
