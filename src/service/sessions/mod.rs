//! Sessions: issuing the tokens of a login, authenticating the bearer of a token, and revoking sessions. The refresh
//! is in `refresh.rs`.

mod refresh;

pub use refresh::{CsrfProof, RequestTokens, RetryKey};

use super::{
    Error,
    access_tokens::{AccessToken, AccessTokens, NewToken, VerifiedToken, VerifyError},
    csrf::Csrf,
    denylist::DenyList,
    events::{self, Actor, Refusals},
    refresh_tokens::{RefreshTokens, VerifiedRefreshToken},
    throttle::Throttle,
};
use crate::{
    config,
    domain::{
        AddressPrefix, AuthMethod, By, Client, Clock, Event, Kind, Permission, Roles, Session, SessionId, SteadyClock, Timestamp, TokenIds,
        Transport, User, UserId,
    },
    store::{self, Deny, Ended, Store},
};
use secrecy::SecretString;
use std::sync::Arc;

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

/// The party on whose behalf a request is made.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A user, as their record is now and not as the token says.
    User(Arc<User>),
}

/// Which of its subject's permissions a principal has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scopes {
    /// All of them, as a user's own session has.
    All,
    /// Only these.
    Only(Arc<[Permission]>),
}

/// The maker of a request: the bearer of a token that we issued and that is neither expired nor revoked. When and how
/// they authenticated is in the session's record.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The party on whose behalf the request is made.
    pub subject: Subject,
    /// The session that the token belongs to.
    pub session: SessionId,
    /// Which of the subject's permissions it has.
    pub scopes: Scopes,
    /// When the token expires.
    pub expires_at: Timestamp,
    /// The whole seconds until the token expires.
    pub expires_in: u64,
}

impl Principal {
    /// The user on whose behalf the request is made.
    #[must_use]
    pub const fn user(&self) -> &Arc<User> {
        match &self.subject {
            Subject::User(user) => user,
        }
    }

    /// The user as an actor, whose rights the services check and whom they log.
    #[must_use]
    pub fn actor(&self, from: AddressPrefix) -> Actor<'_> {
        match &self.subject {
            Subject::User(user) => Actor::User(user, self.session, from),
        }
    }

    /// Whether the user's role and these scopes both grant a permission.
    #[must_use]
    pub fn may(&self, roles: &Roles, permission: &str) -> bool {
        let is_in_scope = match &self.scopes {
            Scopes::All => true,
            Scopes::Only(scopes) => scopes.iter().any(|scope| scope.grants(permission)),
        };
        is_in_scope && roles.allows(&self.user().role, permission)
    }
}

/// Why a bearer could not be authenticated.
#[derive(Debug)]
pub enum Unauthenticated {
    /// The token was not accepted.
    Token(VerifyError),
    /// The user's record could not be read.
    Store(store::Error),
}

/// The use cases of sessions.
pub struct Sessions {
    pub(super) store: Arc<Store>,
    pub(super) access: Arc<AccessTokens>,
    pub(super) refresh_tokens: RefreshTokens,
    pub(super) csrf: Csrf,
    pub(super) denylist: Arc<DenyList>,
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
        let access = self.access.issue(&NewToken { user: &user, permissions: &permissions, session: &session, issued_at });
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

    /// Authenticates the bearer of an access token. The token's claims are compared with the user's record: a role that
    /// is only in the token is not granted (AZ-2).
    ///
    /// # Errors
    /// [`Unauthenticated`].
    pub async fn authenticate(&self, token: &str) -> Result<Principal, Unauthenticated> {
        let token = self.access.verify(token).map_err(Unauthenticated::Token)?;
        let user = self.store.user(token.ids.user).await.map_err(Unauthenticated::Store)?;
        let VerifiedToken { ids: TokenIds { session, version, .. }, role, expires_at, expires_in } = token;
        match user {
            Some(user) if user.token_version == version && !user.disabled && user.role == role => {
                Ok(Principal { subject: Subject::User(user), session, scopes: Scopes::All, expires_at, expires_in })
            }
            // The signature is valid, but we have issued no token with so high a version, or none with that role under
            // this version: somebody else signs with our key.
            Some(user) if user.token_version <= version => {
                events::write(&Event::new(Kind::ForgedToken, By::Anyone).target(user.id).session(session));
                Err(Unauthenticated::Token(VerifyError::Invalid))
            }
            // The user was deleted or changed after the deny list was checked.
            _ => Err(Unauthenticated::Token(VerifyError::Revoked)),
        }
    }

    /// Whether the session of a principal exists and has not expired. A token with a valid signature does not prove
    /// that: whoever has the key can sign for a session that never was.
    ///
    /// # Errors
    /// The store's.
    pub async fn is_live(&self, principal: &Principal) -> Result<bool, Error> {
        let now = self.clock.now();
        let session = self.store.session(principal.session).await?;
        Ok(session.is_some_and(|session| session.user == principal.user().id && now < session.expires_at))
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
