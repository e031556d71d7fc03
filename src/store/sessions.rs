//! Operations on sessions: login, password change, revocation, and the sweep of expired sessions.

use super::{
    Authority, CommitEvent, Error, Store, Transaction,
    engine::Reads,
    rows::{
        Deny, begin_session, end_all_sessions, end_everything, end_session, is_void, put_user, readable, remove_session, revoke_token,
        session_ids, void_tokens,
    },
    schema::{SESSIONS, SESSIONS_BY_SWEEP, USERS},
};
use crate::domain::{AddressPrefix, AuthMethod, By, Client, Event, Kind, Session, SessionId, Timestamp, TokenIds, Transport, User, UserId};
use std::{ops::ControlFlow, sync::LazyLock};

/// The most sessions one sweep handles, so that it never holds up other commits for long (STO-15).
const MAX_SWEPT_ROWS: usize = 1000;

/// A session's row that is not stored anywhere: decoding it takes as long as decoding a real one.
static DECOY_SESSION: LazyLock<(SessionId, Vec<u8>)> = LazyLock::new(|| {
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
        auth_time: never,
        methods: vec![AuthMethod::Password],
        client: Client { ip: [127, 0, 0, 1].into(), user_agent: "x".repeat(80) },
    };
    let row = SESSIONS.encode_row(&session.id, &session).expect("a row within its limit");
    (session.id, row)
});

/// A login whose password was verified.
#[derive(Clone)]
pub struct Login {
    /// The hash the password was verified against. If the user's hash has changed since, the login is refused.
    pub verified_hash: String,
    /// A hash of the same password with the current parameters, to store instead.
    pub rehashed: Option<String>,
    /// The session to begin.
    pub session: Session,
    /// The session this browser held before; it ends (REF-13).
    pub replaces: Option<SessionId>,
    /// How many sessions a user may have. Beyond that, the one used longest ago ends (REF-14).
    pub max_sessions: usize,
    /// How the end of a session enters the deny list.
    pub deny: Deny,
    /// The event to log when the session has begun.
    pub event: Event,
}

/// The outcome of [`Store::login`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoggedIn {
    /// The session has begun.
    User(User),
    /// Since the password was verified, the user was deleted or disabled or has got another password (AUT-14).
    Refused,
}

/// A request of a user to replace their own password.
#[derive(Clone)]
pub struct PasswordChange {
    /// The session the request came in.
    pub session: SessionId,
    /// The hash the present password was verified against. If it has changed since, nothing happens.
    pub verified_hash: String,
    /// The hash of the new password.
    pub new_hash: String,
    /// The session that replaces `session`.
    pub successor: Session,
    /// How the end of the user's sessions enters the deny list.
    pub deny: Deny,
    /// The event to log when the password is changed.
    pub event: Event,
}

/// The outcome of ending something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It ended.
    Done,
    /// There is no such thing.
    NotFound,
}

impl Store {
    /// The session with this id.
    ///
    /// # Errors
    /// The engine's own, and [`Error::Corrupt`].
    pub async fn session(&self, id: SessionId) -> Result<Option<Session>, Error> {
        self.view(move |reads| SESSIONS.get(reads, &id)).await
    }

    /// A user's sessions that have not expired.
    ///
    /// # Errors
    /// The engine's own, and [`Error::Corrupt`].
    pub async fn sessions_of(&self, user: UserId, now: Timestamp) -> Result<Vec<Session>, Error> {
        self.view(move |reads| sessions_of(reads, user, now)).await
    }

    /// Whether a user has an unexpired session that was last used from the prefix `from`.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn is_used_from(&self, user: UserId, from: AddressPrefix, now: Timestamp) -> Result<bool, Error> {
        self.view(move |reads| {
            let sessions = sessions_of(reads, user, now)?;
            if sessions.is_empty() {
                // A user without sessions takes as long as one with a session (AUT-2).
                let (id, row) = &*DECOY_SESSION;
                SESSIONS.get_decoy(reads, id, row)?;
            }
            Ok(sessions.iter().any(|session| AddressPrefix::from(session.client.ip) == from))
        })
        .await
    }

    /// Begins a session.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn login(&self, login: Login) -> Result<LoggedIn, Error> {
        self.transact(move |t| {
            let Login { verified_hash, rehashed, session, replaces, max_sessions, deny, event } = &login;
            let Some(mut user) = USERS.get(t.reads(), &session.user)? else { return Ok(LoggedIn::Refused) };
            if user.disabled || user.password_hash != *verified_hash {
                return Ok(LoggedIn::Refused);
            }
            if let Some(hash) = rehashed {
                user.password_hash.clone_from(hash);
                put_user(t, &user)?;
            }
            begin_session(t, session, *replaces, *deny)?;
            evict(t, session, *max_sessions, *deny)?;
            t.record(event.clone())?;
            Ok(LoggedIn::User(user))
        })
        .await
    }

    /// Replaces a user's own password: every session ends, and a new one begins in place of the one the request
    /// came in (REF-11). `None` when the password, the user or that session has changed meanwhile.
    ///
    /// # Errors
    /// The engine's own.
    pub fn change_password(&self, change: PasswordChange) -> impl Future<Output = Result<Option<(Session, User)>, Error>> {
        let replacing = self.rotations.begin_replacing(change.session);
        self.revoke(move |t| {
            // The closure owns the guard: the rotation counts as in flight until the closure is dropped.
            let _ = &replacing;
            let PasswordChange { session, verified_hash, new_hash, successor, deny, event } = &change;
            let Some(old) = SESSIONS.get(t.reads(), session)? else { return Ok(None) };
            let Some(mut user) = USERS.get(t.reads(), &old.user)? else { return Ok(None) };
            if user.disabled || user.password_hash != *verified_hash {
                return Ok(None);
            }
            user.password_hash.clone_from(new_hash);
            user.token_version += 1;
            user.epoch += 1;
            put_user(t, &user)?;
            void_tokens(t, user.id, user.token_version, *deny)?;
            end_all_sessions(t, user.id)?;
            begin_session(t, successor, None, *deny)?;
            // A tab that refreshes the old session meanwhile has lost a race: it must retry with the new cookie.
            t.emit(CommitEvent::Rotated { session: old.id, replaced: old.generation, at: successor.created_at });
            t.record(event.clone())?;
            Ok(Some((successor.clone(), user)))
        })
    }

    /// Ends one session, if it exists and belongs to `owner`, or to anybody if `owner` is `None`. Returns the user
    /// it belonged to, and adds user and session to the event.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn end_session(
        &self,
        id: SessionId,
        owner: Option<UserId>,
        authority: Authority,
        deny: Deny,
        event: Event,
    ) -> Result<Option<UserId>, Error> {
        self.revoke(move |t| {
            authority.check(t)?;
            match SESSIONS.get(t.reads(), &id)? {
                Some(session) if owner.is_none_or(|owner| owner == session.user) => {
                    end_session(t, &session, deny)?;
                    t.record(event.clone().target(session.user).session(id))?;
                    Ok(Some(session.user))
                }
                _ => Ok(None),
            }
        })
        .await
    }

    /// Ends the sessions of a logout and revokes its access token, together (REV-1).
    ///
    /// A token that is void already is not revoked again. Otherwise whoever has collected many tokens of one session
    /// could fill the deny list with them (REV-6).
    ///
    /// # Errors
    /// The engine's own.
    pub async fn logout(&self, sessions: Vec<SessionId>, token: Option<TokenIds>, from: AddressPrefix, deny: Deny) -> Result<(), Error> {
        self.revoke(move |t| {
            for id in &sessions {
                if let Some(session) = SESSIONS.get(t.reads(), id)? {
                    end_session(t, &session, deny)?;
                    t.record(Event::new(Kind::LoggedOut, By::User(session.user)).target(session.user).session(*id).from(from))?;
                }
            }
            match &token {
                Some(ids) if !is_void(t.reads(), ids)? => revoke_token(t, ids.token, deny),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Revokes one access token, unless it is void already.
    ///
    /// # Errors
    /// [`Error::AuthorityEnded`], and the engine's own.
    pub async fn revoke_token(&self, token: TokenIds, authority: Authority, deny: Deny, event: Event) -> Result<(), Error> {
        self.revoke(move |t| {
            authority.check(t)?;
            if is_void(t.reads(), &token)? {
                return Ok(());
            }
            t.record(event.clone())?;
            revoke_token(t, token.token, deny)
        })
        .await
    }

    /// Revokes everything of a user: sessions, access tokens, and the invitations and device tokens they made.
    ///
    /// # Errors
    /// [`Error::AuthorityEnded`], and the engine's own.
    pub async fn end_all(&self, user: UserId, authority: Authority, deny: Deny, event: Event) -> Result<Ended, Error> {
        self.revoke(move |t| {
            authority.check(t)?;
            if USERS.get(t.reads(), &user)?.is_none() {
                return Ok(Ended::NotFound);
            }
            end_everything(t, user, deny)?;
            t.record(event.clone())?;
            Ok(Ended::Done)
        })
        .await
    }

    /// Removes up to a thousand expired sessions. Returns whether there may be more (STO-15).
    ///
    /// # Errors
    /// The engine's own.
    pub async fn sweep_sessions(&self, now: Timestamp) -> Result<bool, Error> {
        let due = self.view(move |reads| due_for_sweep(reads, now)).await?;
        if due.is_empty() {
            return Ok(false);
        }
        let more = due.len() == MAX_SWEPT_ROWS;
        self.revoke(move |t| {
            for (at, id) in &due {
                match SESSIONS.get(t.reads(), id) {
                    Ok(Some(session)) if session.expires_at <= now => remove_session(t, &session),
                    // It was refreshed since: file it under its new expiry. Doing that here keeps rotations
                    // from writing this index.
                    Ok(Some(mut session)) => {
                        SESSIONS_BY_SWEEP.delete(t.tx, &(*at, *id));
                        session.sweep_at = session.expires_at;
                        SESSIONS_BY_SWEEP.put(t.tx, &(session.sweep_at, *id), &())?;
                        SESSIONS.put(t.tx, id, &session)?;
                    }
                    // A damaged session cannot be used, so it is removed too (STO-9).
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
}

/// Ends the sessions of a user that were used longest ago until at most `max` are left. `newest` always stays:
/// another may have begun in the same millisecond, or the clock may have been set back (REF-14).
fn evict(t: &mut Transaction<'_>, newest: &Session, max: usize, deny: Deny) -> Result<(), Error> {
    let ids = session_ids(t.reads(), newest.user)?;
    if ids.len() <= max {
        return Ok(());
    }
    let mut sessions = Vec::with_capacity(ids.len());
    for id in &ids {
        sessions.extend(readable(SESSIONS.get(t.reads(), id))?);
    }
    sessions.sort_by_key(|session| (session.id == newest.id, session.refreshed_at));
    for unused in sessions.iter().take(sessions.len().saturating_sub(max)) {
        end_session(t, unused, deny)?;
    }
    Ok(())
}

fn sessions_of(reads: &dyn Reads, user: UserId, now: Timestamp) -> Result<Vec<Session>, Error> {
    let mut sessions = Vec::new();
    for id in session_ids(reads, user)? {
        // A damaged row must not keep its user from logging in. The sweep removes it (STO-9).
        sessions.extend(readable(SESSIONS.get(reads, &id))?.filter(|session| now < session.expires_at));
    }
    Ok(sessions)
}

/// The sessions to check in one sweep, each with the moment it is filed under in the index.
fn due_for_sweep(reads: &dyn Reads, now: Timestamp) -> Result<Vec<(Timestamp, SessionId)>, Error> {
    let mut due = Vec::new();
    SESSIONS_BY_SWEEP.scan(reads, &[], None, |(at, id), ()| {
        if at > now || due.len() == MAX_SWEPT_ROWS {
            return ControlFlow::Break(());
        }
        due.push((at, id));
        ControlFlow::Continue(())
    })?;
    Ok(due)
}
