//! Sessions: issuing the tokens of a login, authenticating the bearer of a token, and revoking sessions. The refresh
//! is in `refresh.rs`.

mod refresh;

pub use refresh::{CsrfProof, RequestTokens, RetryKey};

use super::{
    Error,
    access_tokens::{AccessToken, AccessTokens, NewToken, TokenFor, VerifiedToken},
    api_keys::index::ApiKeyIndex,
    csrf::Csrf,
    denylist::DenyList,
    events::{Actor, Refusals},
    principal::Principal,
    refresh_tokens::{RefreshTokens, VerifiedRefreshToken},
    throttle::Throttle,
};
use crate::{
    config,
    domain::{
        AddressPrefix, AuthMethod, Client, Clock, Kind, Permission, Roles, Session, SessionId, SteadyClock, Timestamp, TokenIds, Transport,
        User, UserId,
    },
    store::{Deny, Ended, Store},
};
use secrecy::SecretString;
use std::{sync::Arc, time::Duration};

/// The tokens that a login or a refresh is answered with.
#[derive(Debug)]
pub struct TokenSet {
    /// The user they are for.
    pub user: User,
    /// The permissions of the user's role.
    pub permissions: Arc<[Permission]>,
    /// The session as it is after the login or the refresh.
    pub session: Session,
    /// The access token.
    pub access: AccessToken,
    /// The refresh token.
    pub refresh_token: SecretString,
    /// The whole seconds until the refresh token expires.
    pub refresh_expires_in: u64,
    /// A CSRF token for the session.
    pub csrf_token: SecretString,
}

/// How long after a login its session may make what outlives it, such as an API key (RFC 9470).
pub const STEP_UP_MAX_AGE: Duration = Duration::from_secs(5 * 60);

/// How far ahead of the clock a login may be dated: by the same clock, before it was set back.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// The use cases of sessions.
pub struct Sessions {
    pub(super) store: Arc<Store>,
    pub(super) access: Arc<AccessTokens>,
    pub(super) refresh_tokens: RefreshTokens,
    pub(super) csrf: Csrf,
    pub(super) denylist: Arc<DenyList>,
    pub(super) keys: Arc<ApiKeyIndex>,
    pub(super) throttle: Arc<Throttle>,
    pub(super) roles: Roles,
    pub(super) tokens: config::Tokens,
    pub(super) policy: config::Sessions,
    pub(super) refusals: Arc<Refusals>,
    pub(super) clock: Clock,
    /// The clock for sweeping: what is swept by a wrong clock is lost.
    pub(super) steady: Arc<SteadyClock>,
}

impl Sessions {
    /// A new session, which the caller must store.
    pub(super) fn new_session(&self, user: UserId, transport: Transport, client: Client) -> Session {
        let (id, now) = (SessionId::random(), self.access.now());
        let ends_at = whole_seconds(now.plus(self.tokens.session_max_age));
        let expires_at = self.child_expiry(now, ends_at);
        let token_key = self.refresh_tokens.current_key();
        let hash = self.refresh_tokens.hash(&token_key, id, 1, expires_at).expect("the current key is in its ring");
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
            auth_time: now,
            methods: vec![AuthMethod::Password],
            client,
        }
    }

    /// Issues the tokens of a session that was begun or rotated. `issued_at` is when its transaction was prepared
    /// (see [`super::denylist`]).
    pub(super) fn issue_tokens(&self, user: User, session: Session, issued_at: Timestamp) -> Result<TokenSet, Error> {
        let permissions = self.roles.permissions(&user.role);
        let access = self.access.issue(&NewToken { user: &user, permissions: &permissions, of: TokenFor::Session(&session), issued_at });
        // A session ends when the key that tags its tokens is dropped from the ring.
        let refresh_token = self.refresh_tokens.token(&session).ok_or(Error::SessionEnded)?;
        let refresh_expires_in = session.expires_at.secs().saturating_sub(self.clock.now().secs());
        let csrf_token = self.csrf.issue(session.id).into();
        Ok(TokenSet { user, permissions, session, access, refresh_token, refresh_expires_in, csrf_token })
    }

    /// Issues the first tokens of a new session.
    pub(super) fn issue_first_tokens(&self, user: User, session: Session) -> Result<TokenSet, Error> {
        let issued_at = session.refreshed_at;
        self.issue_tokens(user, session, issued_at)
    }

    /// The session of a principal, if it exists and has not expired. A token with a valid signature does not prove that:
    /// whoever has the key can sign for a session that never was. An API key has none.
    ///
    /// # Errors
    /// The store's.
    pub async fn live_session(&self, principal: &Principal) -> Result<Option<Session>, Error> {
        let now = self.clock.now();
        let session = self.store.session(principal.session).await?;
        Ok(session.filter(|session| session.user == principal.user().id && now < session.expires_at))
    }

    /// Whether a principal may act for others: its session goes on, or its API key, which was just looked up.
    ///
    /// # Errors
    /// The store's.
    pub async fn is_live(&self, principal: &Principal) -> Result<bool, Error> {
        Ok(principal.api_key().is_some() || self.live_session(principal).await?.is_some())
    }

    /// Whether a principal has authenticated so recently that they may change how they do so.
    ///
    /// # Errors
    /// The store's.
    pub async fn is_fresh(&self, principal: &Principal) -> Result<bool, Error> {
        let now = self.clock.now();
        Ok(self
            .live_session(principal)
            .await?
            .is_some_and(|session| session.auth_time <= now.plus(CLOCK_SKEW) && now.since(session.auth_time) <= STEP_UP_MAX_AGE))
    }

    /// Verifies that we issued an access token, even if it has expired or was revoked.
    #[must_use]
    pub fn verify_ignoring_expiry(&self, token: &str) -> Option<VerifiedToken> {
        self.access.verify_ignoring_expiry(token)
    }

    /// Revokes these sessions, an access token and its session.
    ///
    /// # Errors
    /// The store's.
    pub async fn logout(&self, mut sessions: Vec<SessionId>, bearer: Option<&VerifiedToken>, from: AddressPrefix) -> Result<(), Error> {
        sessions.extend(bearer.map(|bearer| bearer.ids.session));
        if sessions.is_empty() {
            return Ok(());
        }
        let token = bearer.filter(|bearer| bearer.expires_in > 0).map(|bearer| bearer.ids);
        Ok(self.store.logout(sessions, token, from, self.deny()).await?)
    }

    /// Revokes every session of a user, and voids their access tokens, device tokens and invitations.
    ///
    /// # Errors
    /// [`Error::NotFound`], and the store's.
    pub async fn revoke_all(&self, actor: Actor<'_>, user: UserId) -> Result<(), Error> {
        match self.store.end_all(user, actor.authority(), self.deny(), actor.event(Kind::SessionsRevoked).target(user)).await? {
            Ended::Done => Ok(()),
            Ended::NotFound => Err(Error::NotFound),
        }
    }

    /// Revokes one access token.
    ///
    /// # Errors
    /// The store's.
    pub async fn revoke_token(&self, actor: Actor<'_>, token: TokenIds) -> Result<(), Error> {
        let event = actor.event(Kind::TokenRevoked).target(token.user).session(token.session);
        Ok(self.store.revoke_token(token, actor.authority(), self.deny(), event).await?)
    }

    /// Revokes one session. If `owner` is given, a session of another user is answered like an unknown one (AZ-6).
    ///
    /// # Errors
    /// [`Error::NotFound`], and the store's.
    pub async fn revoke(&self, actor: Actor<'_>, session: SessionId, owner: Option<UserId>) -> Result<(), Error> {
        let event = actor.event(Kind::SessionRevoked);
        self.store.end_session(session, owner, actor.authority(), self.deny(), event).await?.map(drop).ok_or(Error::NotFound)
    }

    /// A user's sessions, the latest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self, user: UserId) -> Result<Vec<Session>, Error> {
        let mut sessions = self.store.sessions_of(user, self.clock.now()).await?;
        sessions.sort_by_key(|session| std::cmp::Reverse(session.refreshed_at));
        Ok(sessions)
    }

    /// Removes expired sessions, invitations and deny-list entries (STO-15).
    ///
    /// # Errors
    /// The store's.
    pub async fn sweep(&self) -> Result<(), Error> {
        let now = self.steady.now();
        self.store.forget_old_rotations();
        while self.store.sweep_sessions(now).await? {}
        self.store.sweep_invites(now).await?;
        Ok(self.denylist.sweep(&self.store, now).await?)
    }

    /// How long the deny list must keep an entry made now.
    pub(super) fn deny(&self) -> Deny {
        self.access.deny()
    }

    /// How many sessions a user may have.
    pub(super) const fn max_per_user(&self) -> usize {
        self.policy.max_per_user
    }

    /// Loads the session of a refresh token. A token with a valid tag was issued by us, so a missing row means that
    /// the session expired or was revoked.
    async fn load(&self, token: &VerifiedRefreshToken) -> Result<Session, Error> {
        match self.store.session(token.session).await? {
            Some(session) => Ok(session),
            None if self.clock.now() >= token.expires_at => Err(Error::RefreshTokenExpired),
            None => Err(Error::SessionEnded),
        }
    }

    fn child_expiry(&self, now: Timestamp, ends_at: Timestamp) -> Timestamp {
        whole_seconds(now.plus(self.tokens.refresh_ttl)).min(ends_at)
    }
}

/// Cuts a moment to whole seconds, which is how tokens carry it.
const fn whole_seconds(moment: Timestamp) -> Timestamp {
    Timestamp::from_secs(moment.secs())
}
