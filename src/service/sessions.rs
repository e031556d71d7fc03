//! Sessions: the tokens a sign-in is given, their rotation, and the end of them.

use super::{
    Error,
    access_tokens::{AccessTokens, Issued, Rejected, VerifiedToken},
    csrf::Csrf,
    events::{Actor, By, Event, Kind, Refusals},
    refresh_tokens::{Presented, RefreshTokens},
    revocation::Revocation,
    throttle::Throttle,
};
use crate::{
    config,
    domain::{AddressPrefix, Client, Clock, Permission, Roles, Session, SessionId, SteadyClock, Timestamp, Transport, User, UserId},
    store,
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

/// Who a request comes from: the bearer of a token that is ours, in time and not revoked.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The user as they are now, not as the token says.
    pub user: Arc<User>,
    /// Their session.
    pub session: SessionId,
    /// When the token expires.
    pub expires_at: Timestamp,
    /// Whole seconds left of it.
    pub expires_in: u64,
}

/// Why a bearer is nobody.
#[derive(Debug)]
pub enum Unauthenticated {
    /// For their token.
    Rejected(Rejected),
    /// Their record could not be read.
    Store(store::Error),
}

/// A refresh token and what came with it.
#[derive(Debug)]
pub struct RefreshRequest<'a> {
    /// The token.
    pub presented: &'a Presented,
    /// How it came.
    pub transport: Transport,
    /// Where from.
    pub client: Client,
    /// Whether a browser proved with its CSRF token that it is no forger: its parallel tabs lose races,
    /// they steal nothing.
    pub csrf_verified: bool,
    /// Its `Idempotency-Key`.
    pub retry_key: Option<&'a str>,
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
    refusals: Arc<Refusals>,
    clock: Clock,
    /// For sweeping, which cannot be undone.
    steady: SteadyClock,
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
    /// What is summed for the log.
    pub refusals: Arc<Refusals>,
    /// The clock.
    pub clock: Clock,
}

impl Sessions {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { store, access, refresh, csrf, revocation, throttle, roles, tokens, policy, refusals, clock } = parts;
        let steady = SteadyClock::new(clock.clone());
        Self { store, access, refresh, csrf, revocation, throttle, roles, tokens, policy, refusals, clock, steady }
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
            retry_key: None,
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

    /// Who the bearer of an access token is. What the token says of them is held against their record:
    /// a role they do not have is not their token's to give (AZ-2).
    ///
    /// # Errors
    /// [`Unauthenticated`].
    pub fn authenticate(&self, token: &str) -> Result<Principal, Unauthenticated> {
        let token = self.access.verify(token).map_err(Unauthenticated::Rejected)?;
        let user = self.store.user(token.user).map_err(Unauthenticated::Store)?;
        let VerifiedToken { session, version, role, expires_at, expires_in, .. } = token;
        match user {
            Some(user) if user.version == version && user.role == role => Ok(Principal { user, session, expires_at, expires_in }),
            Some(user) if user.version == version => {
                Event::new(Kind::ForgedToken, By::Anyone).target(user.id).session(session).write();
                Err(Unauthenticated::Rejected(Rejected::Invalid))
            }
            // Deleted or changed since the token was judged.
            _ => Err(Unauthenticated::Rejected(Rejected::Revoked)),
        }
    }

    /// Whether the session of a principal goes on: that a token is genuine does not say that its session
    /// ever was.
    ///
    /// # Errors
    /// The store's.
    pub fn is_live(&self, principal: &Principal) -> Result<bool, Error> {
        let now = self.clock.now();
        Ok(self.store.session(principal.session)?.is_some_and(|session| session.user == principal.user.id && now < session.expires_at))
    }

    /// Rotates a refresh token. No limit stands before the verdict on one that is not current: it is
    /// evidence, and ends what it is about (REF-1).
    ///
    /// # Errors
    /// One for each thing a refresh token can be other than current.
    pub async fn refresh(&self, request: RefreshRequest<'_>) -> Result<Grant, Error> {
        let presented = request.presented;
        let window = if request.csrf_verified { self.policy.conflict_window } else { Duration::ZERO };
        let from = AddressPrefix::from(request.client.ip);
        let session = match self.live(presented) {
            Err(Error::SessionEnded) if self.store.was_just_replaced(presented.session, presented.generation, window) => {
                self.note_conflict(presented.session, from);
                return Err(Error::RefreshConflict);
            }
            session => session?,
        };
        if session.generation == presented.generation {
            self.throttle.refresh(session.id)?;
        }
        let mut rotate = self.rotation(&session, presented, request.transport, request.client)?;
        rotate.conflict_window = window;
        rotate.grace = self.policy.refresh_grace;
        rotate.retry_key = request.retry_key.and_then(|key| self.refresh.retry_hash(&session, presented.generation, key));
        let outcome = self.store.rotate(rotate).await?;
        self.note_rotation(&outcome, presented.session, from);
        match outcome {
            Rotated::Rotated(session, user) | Rotated::Replayed(session, user) => self.grant(user, session),
            Rotated::Conflict => Err(Error::RefreshConflict),
            Rotated::Reused(_) => Err(Error::RefreshTokenReused),
            Rotated::Expired => Err(Error::RefreshTokenExpired),
            Rotated::Ahead(_) | Rotated::Revoked => Err(Error::SessionEnded),
            Rotated::OtherTransport => Err(Error::InvalidRefreshToken),
        }
    }

    /// Whose the session of a refresh token is, current or not.
    ///
    /// # Errors
    /// The store's.
    pub fn owner_of(&self, presented: &Presented) -> Result<Option<UserId>, Error> {
        Ok(self.store.session(presented.session)?.map(|session| session.user))
    }

    /// Whether this is the token that its session would be refreshed by.
    #[must_use]
    pub fn is_current(&self, presented: &Presented) -> bool {
        self.live(presented).is_ok_and(|session| self.refresh.is_current(presented, &session))
    }

    /// Looks at a refresh token that came along with something else than a refresh. One that was replaced
    /// is evidence wherever it turns up: what it can reach is revoked as if it had been used (REF-1), unless
    /// it is of a race or of a lost answer. Answers with its session, if that goes on.
    ///
    /// # Errors
    /// The store's.
    pub async fn examine(&self, request: RefreshRequest<'_>) -> Result<Option<Session>, Error> {
        let presented = request.presented;
        let from = AddressPrefix::from(request.client.ip);
        let Some(session) = self.store.session(presented.session)? else { return Ok(None) };
        if session.generation == presented.generation {
            return Ok(Some(session).filter(|session| self.refresh.is_current(presented, session)));
        }
        let mut rotate = self.rotation(&session, presented, request.transport, request.client)?;
        // One tab may still hold the cookie that another has just replaced.
        rotate.conflict_window = if request.csrf_verified { self.policy.conflict_window } else { Duration::ZERO };
        rotate.retry_key = request.retry_key.and_then(|key| self.refresh.retry_hash(&session, presented.generation, key));
        let outcome = self.store.rotate(rotate).await?;
        self.note_rotation(&outcome, session.id, from);
        match outcome {
            Rotated::Replayed(session, _) => Ok(Some(session)),
            Rotated::Conflict => Ok(self.store.session(presented.session)?),
            _ => Ok(None),
        }
    }

    fn note_rotation(&self, outcome: &Rotated, session: SessionId, from: AddressPrefix) {
        match outcome {
            Rotated::Conflict => self.note_conflict(session, from),
            Rotated::Reused(user) => note(Kind::RefreshReuse, Some(*user), session, from),
            Rotated::Ahead(user) => note(Kind::StateRollback, Some(*user), session, from),
            Rotated::Rotated(..) | Rotated::Replayed(..) | Rotated::Expired | Rotated::Revoked | Rotated::OtherTransport => {}
        }
    }

    /// Whoever holds a token that was replaced just now can lose races without end.
    fn note_conflict(&self, session: SessionId, from: AddressPrefix) {
        if self.refusals.is_news(Kind::RefreshConflict, from) {
            note(Kind::RefreshConflict, None, session, from);
        }
    }

    /// A CSRF token for the session of a refresh token, if that goes on.
    ///
    /// # Errors
    /// [`Error::SessionEnded`], [`Error::RefreshTokenExpired`], [`Error::InvalidRefreshToken`], the store's.
    pub async fn csrf_token(&self, request: RefreshRequest<'_>) -> Result<(String, Session), Error> {
        let presented = request.presented;
        if self.clock.now() >= self.live(presented)?.expires_at {
            return Err(Error::RefreshTokenExpired);
        }
        match self.examine(request).await? {
            Some(session) => Ok((self.csrf.issue(session.id), session)),
            None => self.live(presented).and(Err(Error::InvalidRefreshToken)),
        }
    }

    /// What an access token of ours says, whether it is over, revoked or good.
    #[must_use]
    pub fn verify_origin(&self, token: &str) -> Option<VerifiedToken> {
        self.access.verify_origin(token)
    }

    /// Ends these sessions and that of an access token, and revokes the latter.
    ///
    /// # Errors
    /// The store's.
    pub async fn sign_out(&self, mut sessions: Vec<SessionId>, bearer: Option<&VerifiedToken>, from: AddressPrefix) -> Result<(), Error> {
        sessions.extend(bearer.map(|bearer| bearer.session));
        if sessions.is_empty() {
            return Ok(());
        }
        let remember = self.remember();
        let token = bearer.filter(|bearer| remember.is_some() && bearer.expires_in > 0).map(|b| (b.token, self.access.last_expiry()));
        for (session, user) in self.store.sign_out(sessions, token, remember).await? {
            Event::new(Kind::LoggedOut, By::User(user)).target(user).session(session).from(from).write();
        }
        Ok(())
    }

    /// Ends every session of a user, and voids whatever they handed out.
    ///
    /// # Errors
    /// [`Error::NotFound`], and the store's.
    pub async fn end_all(&self, actor: Actor<'_>, user: UserId) -> Result<(), Error> {
        found(self.store.end_all(user).await?)?;
        actor.did(Kind::SessionsRevoked).target(user).write();
        Ok(())
    }

    /// Ends one session, of `owner` if one is named: somebody else's is as unknown as none (AZ-6).
    ///
    /// # Errors
    /// [`Error::NotFound`], and the store's.
    pub async fn end(&self, actor: Actor<'_>, session: SessionId, owner: Option<UserId>) -> Result<(), Error> {
        let owner = self.store.end_session(session, owner, self.remember()).await?.ok_or(Error::NotFound)?;
        actor.did(Kind::SessionRevoked).target(owner).session(session).write();
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
        let now = self.steady.now();
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

    /// The rotation that a genuine token of this session asks for, with nothing forgiven.
    fn rotation(&self, session: &Session, presented: &Presented, transport: Transport, client: Client) -> Result<Rotate, Error> {
        if session.generation == presented.generation && !self.refresh.is_current(presented, session) {
            note(Kind::PlantedSession, None, session.id, client.ip.into());
            return Err(Error::InvalidRefreshToken);
        }
        let now = self.clock.now();
        let child_expires_at = self.child_expiry(now, session.ends_at);
        // For a token that is not current the child is never written.
        let next = presented.generation.checked_add(1).ok_or(Error::SessionEnded)?;
        let child = self.refresh.hash(&session.token_key, session.id, next, child_expires_at).ok_or(Error::SessionEnded)?;
        Ok(Rotate {
            session: session.id,
            generation: presented.generation,
            was_current: presented.generation == session.generation,
            transport,
            child_expires_at,
            child_hash: child.hash,
            hash_key: child.key,
            client,
            now,
            conflict_window: Duration::ZERO,
            grace: Duration::ZERO,
            retry_key: None,
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

fn note(kind: Kind, user: Option<UserId>, session: SessionId, from: AddressPrefix) {
    Event::new(kind, By::Anyone).maybe_target(user).session(session).from(from).write();
}
