//! Verbs on sessions: sign-in, revocation, and the sweep of what has expired.

use super::{
    Change, Error, Store, Transaction,
    accounts::put_user,
    schema::{REVOKED_SESSIONS, REVOKED_TOKENS, SESSIONS, SESSIONS_BY_SWEEP, SESSIONS_BY_USER, USERS},
};
use crate::domain::{AddressPrefix, Client, Session, SessionId, Timestamp, TokenId, Transport, User, UserId};
use std::{ops::ControlFlow, sync::LazyLock};

/// The most rows one sweep touches, so that it never holds up a commit for long (STO-15).
const SWEEP_STEP: usize = 1000;

/// A row like any other, which is nobody's and nowhere stored.
static NOBODYS: LazyLock<(SessionId, Vec<u8>)> = LazyLock::new(|| {
    let never = Timestamp::from_secs(0);
    let session = Session {
        id: SessionId::from_bytes([0; 16]),
        user: UserId::from_bytes([0; 16]),
        transport: Transport::Body,
        generation: 1,
        token_hash: [0; 32],
        hash_key: "x".repeat(12),
        token_key: "x".repeat(12),
        created_at: never,
        refreshed_at: never,
        expires_at: never,
        ends_at: never,
        sweep_at: never,
        replaced_at: Vec::new(),
        replays: 0,
        retry_key: None,
        client: Client { ip: [127, 0, 0, 1].into(), user_agent: "x".repeat(80) },
    };
    let sealed = SESSIONS.seal(&session.id, &session).expect("a row within its limit");
    (session.id, sealed)
});

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
    /// How many sessions a user may have; the one used longest ago goes first (REF-14).
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

/// A password that its owner replaces.
#[derive(Debug, Clone)]
pub struct PasswordChange {
    /// The session it is done in.
    pub session: SessionId,
    /// The hash the present password was verified against: if it has changed since, nothing happens.
    pub verified_hash: String,
    /// The hash of the new one.
    pub new_hash: String,
    /// The session that begins.
    pub successor: Session,
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

    /// Whether a user has a session that was last used from there, and has not expired.
    ///
    /// # Errors
    /// The engine's own.
    pub fn is_used_from(&self, user: UserId, from: AddressPrefix, now: Timestamp) -> Result<bool, Error> {
        let sessions = self.sessions_of(user, now)?;
        if sessions.is_empty() {
            // Looking at what nobody has takes as long as looking at a session (AUT-2).
            let (id, sealed) = &*NOBODYS;
            SESSIONS.rehearse(self.reads(), id, sealed)?;
        }
        Ok(sessions.iter().any(|session| AddressPrefix::from(session.client.ip) == from))
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

    /// Replaces a password as its owner does: every session ends, and one begins in the place of the one
    /// it was done in (REF-11). `None` when the password, the user or that session has changed since.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn change_password(&self, change: PasswordChange) -> Result<Option<(Session, User)>, Error> {
        let runner = self.races.enter(change.session);
        self.revoke(move |t| {
            let PasswordChange { session, verified_hash, new_hash, successor } = &change;
            let Some(old) = SESSIONS.get(t.reads(), session)? else { return Ok(None) };
            let Some(mut user) = USERS.get(t.reads(), &old.user)? else { return Ok(None) };
            if user.disabled || user.password_hash != *verified_hash {
                return Ok(None);
            }
            user.password_hash.clone_from(new_hash);
            user.version += 1;
            user.epoch += 1;
            put_user(t, &user)?;
            end_all_of(t, user.id)?;
            begin_session(t, successor, None, None)?;
            // A tab that refreshes the old session meanwhile lost a race and must try the new cookie.
            runner.won(old.generation, successor.created_at);
            t.announce(Change::Rotated(old.id, old.generation));
            Ok(Some((successor.clone(), user)))
        })
        .await
    }

    /// Ends one session, of `owner` if one is named. Answers whose it was, if it was there.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn end_session(&self, id: SessionId, owner: Option<UserId>, remember: Remember) -> Result<Option<UserId>, Error> {
        self.revoke(move |t| match SESSIONS.get(t.reads(), &id)? {
            Some(session) if owner.is_none_or(|owner| owner == session.user) => {
                end(t, &session, remember)?;
                Ok(Some(session.user))
            }
            _ => Ok(None),
        })
        .await
    }

    /// Ends the sessions of a sign-out and revokes its access token, together (REV-1). Answers which
    /// sessions went on until then, and whose they were.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn sign_out(
        &self,
        sessions: Vec<SessionId>,
        token: Option<(TokenId, Timestamp)>,
        remember: Remember,
    ) -> Result<Vec<(SessionId, UserId)>, Error> {
        self.revoke(move |t| {
            let mut ended = Vec::with_capacity(sessions.len());
            for id in &sessions {
                if let Some(session) = SESSIONS.get(t.reads(), id)? {
                    end(t, &session, remember)?;
                    ended.push((*id, session.user));
                }
            }
            if let Some((token, until)) = token {
                REVOKED_TOKENS.put(t.tx, &token, &until)?;
                t.announce(Change::TokenRevoked(token, until));
            }
            Ok(ended)
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
            end_everything(t, user, step)?;
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

/// Ends the sessions of a user that were used longest ago until at most `max` are left. `newest` stays, whatever the
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
    sessions.sort_by_key(|session| (session.id == newest.id, session.refreshed_at));
    for unused in sessions.iter().take(sessions.len().saturating_sub(max)) {
        end(t, unused, remember)?;
    }
    Ok(())
}

/// Ends a session and voids its access tokens.
pub(super) fn end(t: &mut Transaction<'_>, session: &Session, remember: Remember) -> Result<(), Error> {
    remove(t, session);
    let Some(until) = remember else { return void_tokens(t, session.user) };
    REVOKED_SESSIONS.put(t.tx, &session.id, &until)?;
    t.announce(Change::SessionEnded(session.id, until));
    Ok(())
}

/// Ends everything a user has at once: sessions, access tokens, and what they handed out.
pub(super) fn end_everything(t: &mut Transaction<'_>, user: UserId, step: u32) -> Result<(), Error> {
    end_all_of(t, user)?;
    if let Some(mut user) = USERS.get(t.reads(), &user)? {
        user.version += step;
        user.epoch += 1;
        put_user(t, &user)?;
    }
    Ok(())
}

/// Ends all sessions of a user. Their access tokens die by the user's version, which the caller raises.
pub(super) fn end_all_of(t: &mut Transaction<'_>, user: UserId) -> Result<(), Error> {
    for id in session_ids(t.reads(), user)? {
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
fn void_tokens(t: &mut Transaction<'_>, user: UserId) -> Result<(), Error> {
    if let Some(mut user) = USERS.get(t.reads(), &user)? {
        user.version += 1;
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
