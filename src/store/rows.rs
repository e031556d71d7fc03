//! Writes that several operations share: a user or a session with its indexes, and what ending one revokes.

use super::{
    CommitEvent, Error, Transaction,
    engine::Reads,
    schema::{
        ACTIVE_ADMINS, ISSUED, Issued, NOT_BEFORE, NotBefore, REVOKED_SESSIONS, REVOKED_TOKENS, REVOKED_USERS, SESSIONS, SESSIONS_BY_SWEEP,
        SESSIONS_BY_USER, USERS, VoidTokens,
    },
};
use crate::domain::{Session, SessionId, Timestamp, TokenId, TokenIds, User, UserId};
use std::time::Duration;

/// How an operation enters what it revokes in the deny list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deny {
    /// When the entry may be dropped: by then every access token it could match has expired.
    pub until: Timestamp,
    /// The longest that an access token can be accepted after it was issued.
    pub lifetime: Duration,
    /// Set when the deny list is full. Then no entry is added; instead every access token issued before this
    /// moment is void, so that no revocation is lost for want of room (REV-6).
    pub not_before: Option<Timestamp>,
}

/// How far apart the access tokens are whose dates are noted ([`Issued::latest`]).
pub const NOTING_INTERVAL: Duration = Duration::from_secs(30);

/// Notes that an access token of this date may be issued, unless one of almost that date is noted. The transaction that the
/// token follows from does this, so the next start knows of every token, whatever its own clock and settings.
pub fn note_issued(t: &mut Transaction<'_>, at: Timestamp, lifetime: Duration) -> Result<(), Error> {
    let noted = readable(ISSUED.get(t.reads(), &()))?;
    if noted.is_some_and(|noted| at < noted.latest.plus(NOTING_INTERVAL) && noted.lifetime == lifetime) {
        return Ok(());
    }
    let latest = noted.map_or(at, |noted| noted.latest.max(at));
    ISSUED.put(t.tx, &(), &Issued { latest, lifetime })
}

/// Writes a user and the index of active admins.
pub fn put_user(t: &mut Transaction<'_>, user: &User) -> Result<(), Error> {
    USERS.put(t.tx, &user.id, user)?;
    if user.is_active_admin() {
        ACTIVE_ADMINS.put(t.tx, &user.id, &())?;
    } else {
        ACTIVE_ADMINS.delete(t.tx, &user.id);
    }
    t.emit(CommitEvent::UserChanged(user.id));
    Ok(())
}

/// Writes a new session and ends the one it replaces.
pub fn begin_session(t: &mut Transaction<'_>, session: &Session, replaces: Option<SessionId>, deny: Deny) -> Result<(), Error> {
    if let Some(replaced) = replaces
        && let Some(replaced) = SESSIONS.get(t.reads(), &replaced)?
    {
        end_session(t, &replaced, deny)?;
    }
    note_issued(t, session.refreshed_at, deny.lifetime)?;
    SESSIONS.put(t.tx, &session.id, session)?;
    SESSIONS_BY_USER.put(t.tx, &(session.user, session.id), &())?;
    SESSIONS_BY_SWEEP.put(t.tx, &(session.sweep_at, session.id), &())
}

/// Ends a session and voids its access tokens.
pub fn end_session(t: &mut Transaction<'_>, session: &Session, deny: Deny) -> Result<(), Error> {
    remove_session(t, session);
    end_session_tokens(t, session.id, deny)
}

/// Voids the access tokens that carry this id as their session's.
pub fn end_session_tokens(t: &mut Transaction<'_>, session: SessionId, deny: Deny) -> Result<(), Error> {
    if let Some(moment) = deny.not_before {
        return void_all_before(t, moment, deny.until);
    }
    REVOKED_SESSIONS.put(t.tx, &session, &deny.until)?;
    t.emit(CommitEvent::SessionRevoked(session, deny.until));
    Ok(())
}

/// Whether the deny list voids an access token already.
pub fn is_void(reads: &dyn Reads, ids: &TokenIds) -> Result<bool, Error> {
    let before = readable(NOT_BEFORE.get(reads, &()))?.is_some_and(|row| ids.issued_at < row.moment);
    let by_user = || Ok::<_, Error>(readable(REVOKED_USERS.get(reads, &ids.user))?.is_some_and(|row| ids.version < row.least_version));
    Ok(before || readable(REVOKED_SESSIONS.get(reads, &ids.session))?.is_some() || by_user()?)
}

/// Nothing in place of a damaged row.
pub fn readable<T>(row: Result<Option<T>, Error>) -> Result<Option<T>, Error> {
    match row {
        Err(Error::Corrupt(_)) => Ok(None),
        row => row,
    }
}

/// Voids one access token.
pub fn revoke_token(t: &mut Transaction<'_>, token: TokenId, deny: Deny) -> Result<(), Error> {
    if let Some(moment) = deny.not_before {
        return void_all_before(t, moment, deny.until);
    }
    REVOKED_TOKENS.put(t.tx, &token, &deny.until)?;
    t.emit(CommitEvent::TokenRevoked(token, deny.until));
    Ok(())
}

/// Voids every access token of a user that is below `least_version`, the version the caller gives the user.
pub fn void_tokens(t: &mut Transaction<'_>, user: UserId, least_version: u32, deny: Deny) -> Result<(), Error> {
    if let Some(moment) = deny.not_before {
        return void_all_before(t, moment, deny.until);
    }
    // A damaged row must not prevent a revocation (STO-9).
    let until = readable(REVOKED_USERS.get(t.reads(), &user))?.map_or(deny.until, |kept| kept.until.max(deny.until));
    REVOKED_USERS.put(t.tx, &user, &VoidTokens { least_version, until })?;
    t.emit(CommitEvent::TokensVoided { user, least_version, until });
    Ok(())
}

/// Voids every access token of every user that was issued before a moment.
pub fn void_all_before(t: &mut Transaction<'_>, moment: Timestamp, until: Timestamp) -> Result<(), Error> {
    let kept = readable(NOT_BEFORE.get(t.reads(), &()))?;
    let until = kept.map_or(until, |kept| kept.until.max(until));
    let moment = kept.map_or(moment, |kept| kept.moment.max(moment));
    NOT_BEFORE.put(t.tx, &(), &NotBefore { moment, until })?;
    t.emit(CommitEvent::AllVoidedBefore { moment, until });
    Ok(())
}

/// Revokes everything of a user: sessions, access tokens, and the invitations and device tokens they made.
pub fn end_everything(t: &mut Transaction<'_>, user: UserId, deny: Deny) -> Result<(), Error> {
    end_all_sessions(t, user)?;
    if let Some(mut user) = USERS.get(t.reads(), &user)? {
        user.token_version += 1;
        user.epoch += 1;
        put_user(t, &user)?;
        void_tokens(t, user.id, user.token_version, deny)?;
    }
    Ok(())
}

/// Ends all sessions of a user. The caller raises the user's token version, which voids the access tokens.
pub fn end_all_sessions(t: &mut Transaction<'_>, user: UserId) -> Result<(), Error> {
    for id in session_ids(t.reads(), user)? {
        match SESSIONS.get(t.reads(), &id) {
            Ok(Some(session)) => remove_session(t, &session),
            // A damaged row must not prevent a revocation. The sweep removes its other index row (STO-9).
            Ok(None) | Err(Error::Corrupt(_)) => {
                SESSIONS.delete(t.tx, &id);
                SESSIONS_BY_USER.delete(t.tx, &(user, id));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Removes a session's rows. A token's tag still proves that this server issued it.
pub fn remove_session(t: &mut Transaction<'_>, session: &Session) {
    SESSIONS.delete(t.tx, &session.id);
    SESSIONS_BY_USER.delete(t.tx, &(session.user, session.id));
    SESSIONS_BY_SWEEP.delete(t.tx, &(session.sweep_at, session.id));
}

/// The ids of a user's sessions, read from the keys alone: a damaged value hides no session.
pub fn session_ids(reads: &dyn Reads, user: UserId) -> Result<Vec<SessionId>, Error> {
    let mut ids = Vec::new();
    SESSIONS_BY_USER.scan_with_damage(reads, user.as_bytes(), |key, _| ids.extend(key.map(|(_, id)| id)))?;
    Ok(ids)
}
