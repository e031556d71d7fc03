//! Verbs on sessions: sign-in, rotation, revocation, and the sweep of what has expired.

use super::{
    Change, Error, Store, Transaction,
    accounts::put_user,
    engine::Need,
    race::Runner,
    schema::{REVOKED_SESSIONS, REVOKED_TOKENS, SESSIONS, SESSIONS_BY_SWEEP, SESSIONS_BY_USER, USERS},
};
use crate::domain::{Client, Session, SessionId, Timestamp, TokenId, Transport, User, UserId};
use serde::{Deserialize, Serialize};
use std::{cmp::Ordering, ops::ControlFlow, time::Duration};

/// How often one refresh may be repeated within its grace (REF-4).
const MAX_REPLAYS: u8 = 3;
/// The most rows one sweep touches, so that it never holds up a commit for long (STO-15).
const SWEEP_STEP: usize = 1000;

/// Until when an ended session is remembered: when its last access token has expired. `None` when
/// memory is full: then the user's version speaks for it (REV-6).
pub type Remember = Option<Timestamp>;

/// A sign-in whose password was verified.
#[derive(Debug, Clone)]
pub struct SignIn {
    /// The hash the password was verified against: if it has changed since, the sign-in is void.
    pub verified_hash: String,
    /// A hash with today's parameters to keep instead.
    pub rehashed: Option<String>,
    /// The session to begin.
    pub session: Session,
    /// A session that this browser held before; it ends (REF-13).
    pub replaces: Option<SessionId>,
    /// How many sessions a user may have; the oldest goes first (REF-14).
    pub max_sessions: usize,
    /// Until when an ended session is remembered.
    pub remember: Remember,
}

/// What became of a [`SignIn`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedIn {
    /// The session has begun.
    User(User),
    /// Since the password was verified the user was deleted or disabled, or has another password (AUT-14).
    Refused,
}

/// What a reused refresh token costs (SPEC §4).
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
    /// It was the predecessor, within its grace: the current one is to be given again.
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

/// What ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It, or all of them.
    Done,
    /// There was none.
    NotFound,
}

impl Store {
    /// The session with this id.
    ///
    /// # Errors
    /// The engine's own, and [`Error::Corrupt`].
    pub fn session(&self, id: SessionId) -> Result<Option<Session>, Error> {
        SESSIONS.get(self.reads(), &id)
    }

    /// A user's sessions that have not expired.
    ///
    /// # Errors
    /// The engine's own, and [`Error::Corrupt`].
    pub fn sessions_of(&self, user: UserId, now: Timestamp) -> Result<Vec<Session>, Error> {
        let ids = session_ids(self.reads(), user)?;
        let sessions = ids.into_iter().filter_map(|id| self.session(id).transpose());
        sessions.filter(|session| session.as_ref().map_or(true, |s| now < s.expires_at)).collect()
    }

    /// Begins a session.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn sign_in(&self, sign_in: SignIn) -> Result<SignedIn, Error> {
        self.transact(move |t| {
            let SignIn { verified_hash, rehashed, session, replaces, max_sessions, remember } = &sign_in;
            let Some(mut user) = USERS.get(t.reads(), &session.user)? else { return Ok(SignedIn::Refused) };
            if user.disabled || user.password_hash != *verified_hash {
                return Ok(SignedIn::Refused);
            }
            if let Some(hash) = rehashed {
                user.password_hash.clone_from(hash);
                put_user(t, &user)?;
            }
            begin_session(t, session, *replaces, *remember)?;
            evict(t, session, *max_sessions, *remember)?;
            // Ending a session may have raised the version.
            Ok(USERS.get(t.reads(), &user.id)?.map_or(SignedIn::Refused, SignedIn::User))
        })
        .await
    }

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

    /// Replaces a password as its owner does: all other sessions end, this one goes on with the
    /// next generation (REF-11). `None` when the password, the user or the session has changed since.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn change_password(&self, verified_hash: String, new_hash: String, rotate: Rotate) -> Result<Option<(Session, User)>, Error> {
        let runner = self.races.enter(rotate.session);
        self.revoke(move |t| {
            let Some(mut session) = SESSIONS.get(t.reads(), &rotate.session)? else { return Ok(None) };
            let Some(mut user) = USERS.get(t.reads(), &session.user)? else { return Ok(None) };
            if user.disabled || user.password_hash != verified_hash || session.generation != rotate.generation {
                return Ok(None);
            }
            user.password_hash.clone_from(&new_hash);
            user.version += 1;
            put_user(t, &user)?;
            end_all_of(t, user.id, Some(session.id))?;
            // Whoever holds the token from before is given nothing again (REF-4).
            advance(t, &mut session, &rotate, &runner, MAX_REPLAYS)?;
            Ok(Some((session, user)))
        })
        .await
    }

    /// Ends one session, of `owner` if one is named.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn end_session(&self, id: SessionId, owner: Option<UserId>, remember: Remember) -> Result<Ended, Error> {
        self.revoke(move |t| match SESSIONS.get(t.reads(), &id)? {
            Some(session) if owner.is_none_or(|owner| owner == session.user) => {
                end(t, &session, remember)?;
                Ok(Ended::Done)
            }
            _ => Ok(Ended::NotFound),
        })
        .await
    }

    /// Ends the sessions of a sign-out and revokes its access token, together (REV-1).
    ///
    /// # Errors
    /// The engine's own.
    pub async fn sign_out(&self, sessions: Vec<SessionId>, token: Option<(TokenId, Timestamp)>, remember: Remember) -> Result<(), Error> {
        self.revoke(move |t| {
            for id in &sessions {
                if let Some(session) = SESSIONS.get(t.reads(), id)? {
                    end(t, &session, remember)?;
                }
            }
            if let Some((token, until)) = token {
                REVOKED_TOKENS.put(t.tx, &token, &until)?;
                t.announce(Change::TokenRevoked(token, until));
            }
            Ok(())
        })
        .await
    }

    /// Ends every session of a user and voids every access token.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn end_all(&self, user: UserId) -> Result<Ended, Error> {
        self.end_all_by(user, 1).await
    }

    /// The same, raising the version by more than one.
    pub(super) async fn end_all_by(&self, user: UserId, step: u32) -> Result<Ended, Error> {
        self.revoke(move |t| {
            if USERS.get(t.reads(), &user)?.is_none() {
                return Ok(Ended::NotFound);
            }
            end_all_of(t, user, None)?;
            void_tokens(t, user, step)?;
            Ok(Ended::Done)
        })
        .await
    }

    /// Removes up to a thousand expired sessions; answers whether there may be more (STO-15).
    ///
    /// # Errors
    /// The engine's own.
    pub async fn sweep_sessions(&self, now: Timestamp) -> Result<bool, Error> {
        let mut due = Vec::new();
        SESSIONS_BY_SWEEP.scan(self.reads(), &[], None, |(at, id), ()| {
            if at > now || due.len() == SWEEP_STEP {
                return ControlFlow::Break(());
            }
            due.push((at, id));
            ControlFlow::Continue(())
        })?;
        if due.is_empty() {
            return Ok(false);
        }
        let more = due.len() == SWEEP_STEP;
        self.revoke(move |t| {
            for (at, id) in &due {
                match SESSIONS.get(t.reads(), id) {
                    Ok(Some(session)) if session.expires_at <= now => remove(t, &session),
                    // It was refreshed since: look again when it expires now. A rotation need not
                    // touch this index that way.
                    Ok(Some(mut session)) => {
                        SESSIONS_BY_SWEEP.delete(t.tx, &(*at, *id));
                        session.sweep_at = session.expires_at;
                        SESSIONS_BY_SWEEP.put(t.tx, &(session.sweep_at, *id), &())?;
                        SESSIONS.put(t.tx, id, &session)?;
                    }
                    // A damaged one is of no use to anybody either (STO-9).
                    Ok(None) | Err(Error::Corrupt(_)) => {
                        SESSIONS_BY_SWEEP.delete(t.tx, &(*at, *id));
                        SESSIONS.delete(t.tx, id);
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
        .await?;
        Ok(more)
    }

    /// Forgets revocations whose tokens have expired, a thousand a transaction.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn forget(&self, sessions: &[SessionId], tokens: &[TokenId]) -> Result<(), Error> {
        for step in sessions.chunks(SWEEP_STEP) {
            let step = step.to_vec();
            self.revoke(move |t| {
                step.iter().for_each(|id| REVOKED_SESSIONS.delete(t.tx, id));
                Ok(())
            })
            .await?;
        }
        for step in tokens.chunks(SWEEP_STEP) {
            let step = step.to_vec();
            self.revoke(move |t| {
                step.iter().for_each(|id| REVOKED_TOKENS.delete(t.tx, id));
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

fn decide_rotation(t: &mut Transaction<'_>, rotate: &Rotate, runner: &Runner) -> Result<Rotated, Error> {
    let Some(mut session) = SESSIONS.get(t.reads(), &rotate.session)? else { return Ok(Rotated::Revoked) };
    let Some(user) = USERS.get(t.reads(), &session.user)?.filter(|user| !user.disabled) else {
        end(t, &session, rotate.remember)?;
        return Ok(Rotated::Revoked);
    };
    if rotate.now >= session.expires_at {
        remove(t, &session);
        return Ok(Rotated::Expired);
    }
    match rotate.generation.cmp(&session.generation) {
        Ordering::Equal if rotate.transport != session.transport => Ok(Rotated::OtherTransport),
        Ordering::Equal => {
            advance(t, &mut session, rotate, runner, 0)?;
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
            let is_predecessor = rotate.generation + 1 == session.generation;
            if is_predecessor && within(rotate.grace) && rotate.transport == session.transport && session.replays < MAX_REPLAYS {
                session.replays += 1;
                SESSIONS.put(t.tx, &session.id, &session)?;
                return Ok(Rotated::Replayed(session, user));
            }
            if rotate.was_current || runner.was_current(rotate.generation) || within(rotate.conflict_window) {
                return Ok(Rotated::Conflict);
            }
            match rotate.on_reuse {
                OnReuse::Session => end(t, &session, rotate.remember)?,
                OnReuse::User => {
                    end_all_of(t, user.id, None)?;
                    void_tokens(t, user.id, 1)?;
                }
            }
            Ok(Rotated::Reused(user.id))
        }
    }
}

/// Moves a session to its next generation.
fn advance(t: &mut Transaction<'_>, session: &mut Session, rotate: &Rotate, runner: &Runner, replays: u8) -> Result<(), Error> {
    let replaced = session.generation;
    session.rotate(rotate.now, rotate.child_expires_at, rotate.child_hash);
    session.hash_key.clone_from(&rotate.hash_key);
    session.client = rotate.client.clone();
    session.replays = replays;
    SESSIONS.put(t.tx, &session.id, session)?;
    runner.won(replaced, rotate.now);
    t.announce(Change::Rotated(session.id, replaced));
    Ok(())
}

/// Writes a new session and ends the one it replaces.
pub(super) fn begin_session(
    t: &mut Transaction<'_>,
    session: &Session,
    replaces: Option<SessionId>,
    remember: Remember,
) -> Result<(), Error> {
    if let Some(replaced) = replaces
        && let Some(replaced) = SESSIONS.get(t.reads(), &replaced)?
    {
        end(t, &replaced, remember)?;
    }
    SESSIONS.put(t.tx, &session.id, session)?;
    SESSIONS_BY_USER.put(t.tx, &(session.user, session.id), &())?;
    SESSIONS_BY_SWEEP.put(t.tx, &(session.sweep_at, session.id), &())
}

/// Ends the oldest sessions of a user until at most `max` are left. `newest` stays, whatever the
/// clock says: two may begin in one millisecond, and a clock may be set back (REF-14).
fn evict(t: &mut Transaction<'_>, newest: &Session, max: usize, remember: Remember) -> Result<(), Error> {
    let ids = session_ids(t.reads(), newest.user)?;
    if ids.len() <= max {
        return Ok(());
    }
    let mut sessions = Vec::with_capacity(ids.len());
    for id in &ids {
        sessions.extend(SESSIONS.get(t.reads(), id)?);
    }
    sessions.sort_by_key(|session| (session.id == newest.id, session.created_at));
    for oldest in sessions.iter().take(sessions.len().saturating_sub(max)) {
        end(t, oldest, remember)?;
    }
    Ok(())
}

/// Ends a session and voids its access tokens.
fn end(t: &mut Transaction<'_>, session: &Session, remember: Remember) -> Result<(), Error> {
    remove(t, session);
    let Some(until) = remember else { return void_tokens(t, session.user, 1) };
    REVOKED_SESSIONS.put(t.tx, &session.id, &until)?;
    t.announce(Change::SessionEnded(session.id, until));
    Ok(())
}

/// Ends all sessions of a user but one. Their access tokens die by the user's version, which the
/// caller raises.
pub(super) fn end_all_of(t: &mut Transaction<'_>, user: UserId, but: Option<SessionId>) -> Result<(), Error> {
    for id in session_ids(t.reads(), user)?.into_iter().filter(|id| Some(*id) != but) {
        match SESSIONS.get(t.reads(), &id) {
            Ok(Some(session)) => remove(t, &session),
            // Damage must not keep anybody from revoking: the sweep finds the rest (STO-9).
            Ok(None) | Err(Error::Corrupt(_)) => {
                SESSIONS.delete(t.tx, &id);
                SESSIONS_BY_USER.delete(t.tx, &(user, id));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Raises a user's version: every access token issued so far is void.
fn void_tokens(t: &mut Transaction<'_>, user: UserId, step: u32) -> Result<(), Error> {
    if let Some(mut user) = USERS.get(t.reads(), &user)? {
        user.version += step;
        put_user(t, &user)?;
    }
    Ok(())
}

/// Removes a session's rows. That it was genuine stays provable by its tokens alone.
fn remove(t: &mut Transaction<'_>, session: &Session) {
    SESSIONS.delete(t.tx, &session.id);
    SESSIONS_BY_USER.delete(t.tx, &(session.user, session.id));
    SESSIONS_BY_SWEEP.delete(t.tx, &(session.sweep_at, session.id));
}

/// The key alone says it: a damaged value hides no session.
fn session_ids(reads: &dyn super::engine::Reads, user: UserId) -> Result<Vec<SessionId>, Error> {
    let mut ids = Vec::new();
    SESSIONS_BY_USER.inspect(reads, user.as_bytes(), |key, _| ids.extend(key.map(|(_, id)| id)))?;
    Ok(ids)
}
