//! Verbs on sessions: sign-in, revocation, and the sweep of what has expired.

use super::{
    CommitEvent, Error, Store, Transaction,
    engine::Reads,
    rows::{
        Deny, begin_session, end_all_sessions, end_everything, end_session, put_user, remove_session, revoke_token, session_ids,
        void_tokens,
    },
    schema::{SESSIONS, SESSIONS_BY_SWEEP, USERS},
};
use crate::domain::{AddressPrefix, AuthMethod, By, Client, Event, Kind, Session, SessionId, Timestamp, TokenId, Transport, User, UserId};
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
        auth_time: never,
        methods: vec![AuthMethod::Password],
        client: Client { ip: [127, 0, 0, 1].into(), user_agent: "x".repeat(80) },
    };
    let row = SESSIONS.encode_row(&session.id, &session).expect("a row within its limit");
    (session.id, row)
});

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
    /// How the end of a session is remembered.
    pub deny: Deny,
    /// What is recorded when the session has begun.
    pub event: Event,
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
    /// How the end of the others is remembered.
    pub deny: Deny,
    /// What is recorded when it is done.
    pub event: Event,
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

    /// Whether a user has a session that was last used from there, and has not expired.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn is_used_from(&self, user: UserId, from: AddressPrefix, now: Timestamp) -> Result<bool, Error> {
        self.view(move |reads| {
            let sessions = sessions_of(reads, user, now)?;
            if sessions.is_empty() {
                // Looking at what nobody has takes as long as looking at a session (AUT-2).
                let (id, row) = &*NOBODYS;
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
    pub async fn sign_in(&self, sign_in: SignIn) -> Result<SignedIn, Error> {
        self.transact(move |t| {
            let SignIn { verified_hash, rehashed, session, replaces, max_sessions, deny, event } = &sign_in;
            let Some(mut user) = USERS.get(t.reads(), &session.user)? else { return Ok(SignedIn::Refused) };
            if user.disabled || user.password_hash != *verified_hash {
                return Ok(SignedIn::Refused);
            }
            if let Some(hash) = rehashed {
                user.password_hash.clone_from(hash);
                put_user(t, &user)?;
            }
            begin_session(t, session, *replaces, *deny)?;
            evict(t, session, *max_sessions, *deny)?;
            t.record(event.clone());
            Ok(SignedIn::User(user))
        })
        .await
    }

    /// Replaces a password as its owner does: every session ends, and one begins in the place of the one
    /// it was done in (REF-11). `None` when the password, the user or that session has changed since.
    ///
    /// # Errors
    /// The engine's own.
    pub fn change_password(&self, change: PasswordChange) -> impl Future<Output = Result<Option<(Session, User)>, Error>> {
        let replacing = self.rotations.begin_replacing(change.session);
        self.revoke(move |t| {
            // Under way until this closure is dropped.
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
            // A tab that refreshes the old session meanwhile lost a race and must try the new cookie.
            t.emit(CommitEvent::Rotated { session: old.id, replaced: old.generation, at: successor.created_at });
            t.record(event.clone());
            Ok(Some((successor.clone(), user)))
        })
    }

    /// Ends one session, of `owner` if one is named. Answers whose it was, if it was there. The event is
    /// completed with that.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn end_session(&self, id: SessionId, owner: Option<UserId>, deny: Deny, event: Event) -> Result<Option<UserId>, Error> {
        self.revoke(move |t| match SESSIONS.get(t.reads(), &id)? {
            Some(session) if owner.is_none_or(|owner| owner == session.user) => {
                end_session(t, &session, deny)?;
                t.record(event.clone().target(session.user).session(id));
                Ok(Some(session.user))
            }
            _ => Ok(None),
        })
        .await
    }

    /// Ends the sessions of a logout and revokes its access token, together (REV-1).
    ///
    /// # Errors
    /// The engine's own.
    pub async fn logout(&self, sessions: Vec<SessionId>, token: Option<TokenId>, from: AddressPrefix, deny: Deny) -> Result<(), Error> {
        self.revoke(move |t| {
            for id in &sessions {
                if let Some(session) = SESSIONS.get(t.reads(), id)? {
                    end_session(t, &session, deny)?;
                    t.record(Event::new(Kind::LoggedOut, By::User(session.user)).target(session.user).session(*id).from(from));
                }
            }
            token.map_or(Ok(()), |token| revoke_token(t, token, deny))
        })
        .await
    }

    /// Ends everything a user has at once: sessions, access tokens, and what they handed out.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn end_all(&self, user: UserId, deny: Deny, event: Event) -> Result<Ended, Error> {
        self.revoke(move |t| {
            if USERS.get(t.reads(), &user)?.is_none() {
                return Ok(Ended::NotFound);
            }
            end_everything(t, user, deny)?;
            t.record(event.clone());
            Ok(Ended::Done)
        })
        .await
    }

    /// Removes up to a thousand expired sessions; answers whether there may be more (STO-15).
    ///
    /// # Errors
    /// The engine's own.
    pub async fn sweep_sessions(&self, now: Timestamp) -> Result<bool, Error> {
        let due = self.view(move |reads| due_for_sweep(reads, now)).await?;
        if due.is_empty() {
            return Ok(false);
        }
        let more = due.len() == SWEEP_STEP;
        self.revoke(move |t| {
            for (at, id) in &due {
                match SESSIONS.get(t.reads(), id) {
                    Ok(Some(session)) if session.expires_at <= now => remove_session(t, &session),
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
}

/// Ends the sessions of a user that were used longest ago until at most `max` are left. `newest` stays, whatever the
/// clock says: two may begin in one millisecond, and a clock may be set back (REF-14).
fn evict(t: &mut Transaction<'_>, newest: &Session, max: usize, deny: Deny) -> Result<(), Error> {
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
        end_session(t, unused, deny)?;
    }
    Ok(())
}

fn sessions_of(reads: &dyn Reads, user: UserId, now: Timestamp) -> Result<Vec<Session>, Error> {
    let sessions = session_ids(reads, user)?.into_iter().filter_map(|id| SESSIONS.get(reads, &id).transpose());
    sessions.filter(|session| session.as_ref().map_or(true, |session| now < session.expires_at)).collect()
}

/// The sessions to look at in one sweep, with the moment that each stands under in the index.
fn due_for_sweep(reads: &dyn Reads, now: Timestamp) -> Result<Vec<(Timestamp, SessionId)>, Error> {
    let mut due = Vec::new();
    SESSIONS_BY_SWEEP.scan(reads, &[], None, |(at, id), ()| {
        if at > now || due.len() == SWEEP_STEP {
            return ControlFlow::Break(());
        }
        due.push((at, id));
        ControlFlow::Continue(())
    })?;
    Ok(due)
}
