//! Sessions: the tokens a sign-in is given, their rotation, and the end of them.

use super::{
    Error,
    access_tokens::{AccessTokens, Issued, Principal},
    csrf::Csrf,
    refresh_tokens::{Presented, RefreshTokens},
    revocation::Revocation,
    throttle::Throttle,
};
use crate::{
    config,
    domain::{AddressPrefix, Client, Clock, Permission, Roles, Session, SessionId, Timestamp, Transport, User, UserId},
    store::{Ended, Remember, Rotate, Rotated, Store},
};
use secrecy::SecretString;
use std::{sync::Arc, time::Duration};

/// What a sign-in or a refresh is given.
#[derive(Debug)]
pub struct Grant {
    /// Who.
    pub user: User,
    /// What their role permits.
    pub permissions: Arc<[Permission]>,
    /// The session, as it now is.
    pub session: Session,
    /// The access token.
    pub access: Issued,
    /// The refresh token.
    pub refresh_token: SecretString,
    /// Whole seconds left of it.
    pub refresh_expires_in: u64,
    /// A CSRF token for the session.
    pub csrf_token: String,
}

/// The use cases of sessions.
pub struct Sessions {
    store: Arc<Store>,
    access: Arc<AccessTokens>,
    refresh: RefreshTokens,
    csrf: Csrf,
    revocation: Arc<Revocation>,
    throttle: Arc<Throttle>,
    roles: Roles,
    tokens: config::Tokens,
    policy: config::Sessions,
    clock: Clock,
}

/// What sessions are made of.
pub struct Parts {
    /// The store.
    pub store: Arc<Store>,
    /// Access tokens.
    pub access: Arc<AccessTokens>,
    /// Refresh tokens.
    pub refresh: RefreshTokens,
    /// CSRF tokens.
    pub csrf: Csrf,
    /// What is revoked.
    pub revocation: Arc<Revocation>,
    /// The limits.
    pub throttle: Arc<Throttle>,
    /// `[roles]`
    pub roles: Roles,
    /// `[tokens]`
    pub tokens: config::Tokens,
    /// `[sessions]`
    pub policy: config::Sessions,
    /// The clock.
    pub clock: Clock,
}

impl Sessions {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { store, access, refresh, csrf, revocation, throttle, roles, tokens, policy, clock } = parts;
        Self { store, access, refresh, csrf, revocation, throttle, roles, tokens, policy, clock }
    }

    /// A session that has not begun yet: the caller stores it.
    pub(super) fn prepare(&self, user: UserId, transport: Transport, client: Client) -> Session {
        let (id, now) = (SessionId::random(), self.clock.now());
        let ends_at = whole(now.plus(self.tokens.session_max_age));
        let expires_at = self.child_expiry(now, ends_at);
        let token_key = self.refresh.current_key().to_owned();
        let hash = self.refresh.hash(&token_key, id, 1, expires_at).expect("the current key is in its ring");
        Session {
            id,
            user,
            transport,
            generation: 1,
            token_hash: hash.hash,
            hash_key: hash.key,
            token_key,
            created_at: now,
            refreshed_at: now,
            expires_at,
            ends_at,
            sweep_at: expires_at,
            replaced_at: Vec::new(),
            replays: 0,
            client,
        }
    }

    /// The tokens of a session that has begun or gone on.
    pub(super) fn grant(&self, user: User, session: Session) -> Result<Grant, Error> {
        let permissions = self.roles.permissions(&user.role);
        let access = self.access.issue(&user, &permissions, &session);
        // A key that was dropped from the ring ends the sessions under it.
        let refresh_token = self.refresh.token(&session).ok_or(Error::SessionEnded)?;
        let refresh_expires_in = session.expires_at.secs().saturating_sub(self.clock.now().secs());
        let csrf_token = self.csrf.issue(session.id);
        Ok(Grant { user, permissions, session, access, refresh_token, refresh_expires_in, csrf_token })
    }

    /// Recognises a refresh token we issued, whatever has become of its session.
    #[must_use]
    pub fn recognise(&self, token: &str) -> Option<Presented> {
        self.refresh.recognise(token)
    }

    /// Whether a CSRF token was issued for the session of a refresh token (COK-7).
    #[must_use]
    pub fn is_bound(&self, csrf_token: &str, presented: &Presented) -> bool {
        self.csrf.verify(presented.session, csrf_token)
    }

    /// Rotates a refresh token (SPEC §4). `patient` is a browser that proved it is no forger: its
    /// parallel tabs lose races, they steal nothing.
    ///
    /// # Errors
    /// One for each thing a refresh token can be other than current.
    pub async fn refresh(&self, presented: &Presented, transport: Transport, client: Client, patient: bool) -> Result<Grant, Error> {
        self.throttle.refresh(presented.session)?;
        let from = AddressPrefix::from(client.ip);
        let mut rotate = self.rotation(presented, transport, client)?;
        rotate.conflict_window = if patient { self.policy.conflict_window } else { Duration::ZERO };
        let session = presented.session;
        match self.store.rotate(rotate).await? {
            Rotated::Rotated(session, user) | Rotated::Replayed(session, user) => self.grant(user, session),
            Rotated::Conflict => {
                tracing::info!(event = "refresh_conflict", %session, %from);
                Err(Error::RefreshConflict)
            }
            Rotated::Reused(user) => {
                tracing::warn!(event = "refresh_reuse", %user, %session, %from, "a refresh token was used twice: revoked");
                Err(Error::RefreshTokenReused)
            }
            Rotated::Ahead(user) => {
                tracing::warn!(event = "state_rollback", %user, %session, %from, "the database is older than a token: was it restored?");
                Err(Error::SessionEnded)
            }
            Rotated::Expired => Err(Error::RefreshTokenExpired),
            Rotated::Revoked => Err(Error::SessionEnded),
            Rotated::OtherTransport => Err(Error::InvalidRefreshToken),
        }
    }

    /// A CSRF token for the session of a refresh token, if that goes on.
    ///
    /// # Errors
    /// [`Error::SessionEnded`], [`Error::RefreshTokenExpired`], [`Error::InvalidRefreshToken`].
    pub fn csrf_token(&self, presented: &Presented) -> Result<(String, Session), Error> {
        let session = self.live(presented)?;
        if self.clock.now() >= session.expires_at {
            return Err(Error::RefreshTokenExpired);
        }
        if !self.refresh.is_current(presented, &session) {
            return Err(Error::InvalidRefreshToken);
        }
        Ok((self.csrf.issue(session.id), session))
    }

    /// Ends the sessions of a refresh token and of an access token, and revokes the latter.
    ///
    /// # Errors
    /// The store's.
    pub async fn sign_out(&self, presented: Option<&Presented>, principal: Option<&Principal>) -> Result<(), Error> {
        let sessions: Vec<_> = presented.map(|p| p.session).into_iter().chain(principal.map(|p| p.session)).collect();
        if sessions.is_empty() {
            return Ok(());
        }
        let remember = self.remember();
        let token = principal.filter(|_| remember.is_some()).map(|p| (p.token, self.access.last_expiry()));
        self.store.sign_out(sessions, token, remember).await?;
        tracing::info!(event = "logout", user = principal.map(|p| tracing::field::display(p.user)));
        Ok(())
    }

    /// Ends every session of a user.
    ///
    /// # Errors
    /// [`Error::NotFound`], and the store's.
    pub async fn end_all(&self, user: UserId) -> Result<(), Error> {
        found(self.store.end_all(user).await?)?;
        tracing::info!(event = "sessions_revoked", %user);
        Ok(())
    }

    /// Ends one session, of `owner` if one is named: somebody else's is as unknown as none (AZ-6).
    ///
    /// # Errors
    /// [`Error::NotFound`], and the store's.
    pub async fn end(&self, session: SessionId, owner: Option<UserId>) -> Result<(), Error> {
        found(self.store.end_session(session, owner, self.remember()).await?)?;
        tracing::info!(event = "session_revoked", %session);
        Ok(())
    }

    /// A user's sessions, the latest first.
    ///
    /// # Errors
    /// The store's.
    pub fn list(&self, user: UserId) -> Result<Vec<Session>, Error> {
        let mut sessions = self.store.sessions_of(user, self.clock.now())?;
        sessions.sort_by_key(|session| std::cmp::Reverse(session.refreshed_at));
        Ok(sessions)
    }

    /// Removes what has expired (STO-15).
    ///
    /// # Errors
    /// The store's.
    pub async fn sweep(&self) -> Result<(), Error> {
        let now = self.clock.now();
        while self.store.sweep_sessions(now).await? {}
        self.store.sweep_invites(now).await?;
        Ok(self.revocation.sweep(&self.store, now).await?)
    }

    /// Until when a session that ends now is remembered.
    pub(super) fn remember(&self) -> Remember {
        (!self.revocation.is_crowded()).then(|| self.access.last_expiry())
    }

    /// How many sessions a user may have.
    pub(super) const fn max_per_user(&self) -> usize {
        self.policy.max_per_user
    }

    /// The rotation that a genuine token of a live session asks for.
    pub(super) fn rotation(&self, presented: &Presented, transport: Transport, client: Client) -> Result<Rotate, Error> {
        let session = self.live(presented)?;
        if session.generation == presented.generation && !self.refresh.is_current(presented, &session) {
            tracing::error!(event = "planted_session", session = %session.id, "a session's row was not written by this server");
            return Err(Error::InvalidRefreshToken);
        }
        self.next_generation(&session, presented.generation, transport, client)
    }

    /// The rotation of a session from one of its generations.
    pub(super) fn next_generation(
        &self,
        session: &Session,
        generation: u32,
        transport: Transport,
        client: Client,
    ) -> Result<Rotate, Error> {
        let now = self.clock.now();
        let child_expires_at = self.child_expiry(now, session.ends_at);
        // For a token that is not current the child is never written.
        let next = generation.checked_add(1).ok_or(Error::SessionEnded)?;
        let child = self.refresh.hash(&session.token_key, session.id, next, child_expires_at).ok_or(Error::SessionEnded)?;
        Ok(Rotate {
            session: session.id,
            generation,
            was_current: generation == session.generation,
            transport,
            child_expires_at,
            child_hash: child.hash,
            hash_key: child.key,
            client,
            now,
            conflict_window: Duration::ZERO,
            grace: self.policy.refresh_grace,
            on_reuse: self.policy.on_reuse,
            remember: self.remember(),
        })
    }

    /// The session of a genuine token, if it goes on. That the tag is genuine and the row gone
    /// proves that it ended.
    fn live(&self, presented: &Presented) -> Result<Session, Error> {
        match self.store.session(presented.session)? {
            Some(session) => Ok(session),
            None if self.clock.now() >= presented.expires_at => Err(Error::RefreshTokenExpired),
            None => Err(Error::SessionEnded),
        }
    }

    fn child_expiry(&self, now: Timestamp, ends_at: Timestamp) -> Timestamp {
        whole(now.plus(self.tokens.refresh_ttl)).min(ends_at)
    }
}

/// Whole seconds: what a token can carry.
const fn whole(moment: Timestamp) -> Timestamp {
    Timestamp::from_secs(moment.secs())
}

const fn found(ended: Ended) -> Result<(), Error> {
    match ended {
        Ended::Done => Ok(()),
        Ended::NotFound => Err(Error::NotFound),
    }
}
