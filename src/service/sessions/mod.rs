//! Sessions: the tokens a login is given, who a bearer is, and the end of a session. The refresh is in
//! `refresh.rs`.

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
        AddressPrefix, AuthMethod, By, Client, Clock, Event, Kind, Permission, Roles, Session, SessionId, SteadyClock, Timestamp,
        Transport, User, UserId,
    },
    store::{self, Deny, Ended, Store},
};
use secrecy::SecretString;
use std::sync::Arc;

/// What a login or a refresh is given.
#[derive(Debug)]
pub struct TokenSet {
    /// Whose it is.
    pub user: User,
    /// What their role permits.
    pub permissions: Arc<[Permission]>,
    /// The session, as it now is.
    pub session: Session,
    /// The access token.
    pub access: AccessToken,
    /// The refresh token.
    pub refresh_token: SecretString,
    /// Whole seconds left of it.
    pub refresh_expires_in: u64,
    /// A CSRF token for the session.
    pub csrf_token: SecretString,
}

/// On whose behalf a request is made.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A user, as they are now and not as the token says.
    User(Arc<User>),
}

/// What a principal may do of what its subject may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scopes {
    /// All of it: a session speaks for its user.
    All,
    /// These permissions alone.
    Only(Arc<[Permission]>),
}

/// Who makes a request: the bearer of a token that is ours, in time and not revoked. When and by what they
/// authenticated is the session's to say.
#[derive(Debug, Clone)]
pub struct Principal {
    /// On whose behalf.
    pub subject: Subject,
    /// The session.
    pub session: SessionId,
    /// What it may do.
    pub scopes: Scopes,
    /// When the token expires.
    pub expires_at: Timestamp,
    /// Whole seconds left of it.
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

    /// Whether a role and these scopes permit something.
    #[must_use]
    pub fn may(&self, roles: &Roles, permission: &str) -> bool {
        let is_in_scope = match &self.scopes {
            Scopes::All => true,
            Scopes::Only(scopes) => scopes.iter().any(|scope| scope.grants(permission)),
        };
        is_in_scope && roles.allows(&self.user().role, permission)
    }
}

/// Why a bearer is nobody.
#[derive(Debug)]
pub enum Unauthenticated {
    /// For their token.
    Token(VerifyError),
    /// Their record could not be read.
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
    /// For sweeping, which cannot be undone.
    pub(super) steady: SteadyClock,
}

impl Sessions {
    /// A session that has not begun yet: the caller stores it.
    pub(super) fn prepare(&self, user: UserId, transport: Transport, client: Client) -> Session {
        let (id, now) = (SessionId::random(), self.access.now());
        let ends_at = whole(now.plus(self.tokens.session_max_age));
        let expires_at = self.child_expiry(now, ends_at);
        let token_key = self.refresh_tokens.current_key().to_owned();
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

    /// The tokens of a session that has begun or gone on in a verb that was given this moment.
    pub(super) fn issue_tokens(&self, user: User, session: Session, given: Timestamp) -> Result<TokenSet, Error> {
        let permissions = self.roles.permissions(&user.role);
        let access = self.access.issue(&NewToken { user: &user, permissions: &permissions, session: &session, issued_at: given });
        // A key that was dropped from the ring ends the sessions under it.
        let refresh_token = self.refresh_tokens.token(&session).ok_or(Error::SessionEnded)?;
        let refresh_expires_in = session.expires_at.secs().saturating_sub(self.clock.now().secs());
        let csrf_token = self.csrf.issue(session.id).into();
        Ok(TokenSet { user, permissions, session, access, refresh_token, refresh_expires_in, csrf_token })
    }

    /// The same for a session that begins.
    pub(super) fn issue_first_tokens(&self, user: User, session: Session) -> Result<TokenSet, Error> {
        let given = session.refreshed_at;
        self.issue_tokens(user, session, given)
    }

    /// Who the bearer of an access token is. What the token says of them is held against their record:
    /// a role they do not have is not their token's to give (AZ-2).
    ///
    /// # Errors
    /// [`Unauthenticated`].
    pub async fn authenticate(&self, token: &str) -> Result<Principal, Unauthenticated> {
        let token = self.access.verify(token).map_err(Unauthenticated::Token)?;
        let user = self.store.user(token.user).await.map_err(Unauthenticated::Store)?;
        let VerifiedToken { session, version, role, expires_at, expires_in, .. } = token;
        match user {
            Some(user) if user.token_version == version && !user.disabled && user.role == role => {
                Ok(Principal { subject: Subject::User(user), session, scopes: Scopes::All, expires_at, expires_in })
            }
            // The tag is ours and no version was given out that high, or the role is one that this version never
            // had: somebody else signs with our key.
            Some(user) if user.token_version <= version => {
                events::write(&Event::new(Kind::ForgedToken, By::Anyone).target(user.id).session(session));
                Err(Unauthenticated::Token(VerifyError::Invalid))
            }
            // Deleted or changed since the deny list was asked.
            _ => Err(Unauthenticated::Token(VerifyError::Revoked)),
        }
    }

    /// Whether the session of a principal goes on: that a token is genuine does not say that its session
    /// ever was.
    ///
    /// # Errors
    /// The store's.
    pub async fn is_live(&self, principal: &Principal) -> Result<bool, Error> {
        let now = self.clock.now();
        let session = self.store.session(principal.session).await?;
        Ok(session.is_some_and(|session| session.user == principal.user().id && now < session.expires_at))
    }

    /// What an access token of ours says, whether it is over, revoked or good.
    #[must_use]
    pub fn verify_ignoring_expiry(&self, token: &str) -> Option<VerifiedToken> {
        self.access.verify_ignoring_expiry(token)
    }

    /// Ends these sessions and that of an access token, and revokes the latter.
    ///
    /// # Errors
    /// The store's.
    pub async fn logout(&self, mut sessions: Vec<SessionId>, bearer: Option<&VerifiedToken>, from: AddressPrefix) -> Result<(), Error> {
        sessions.extend(bearer.map(|bearer| bearer.session));
        if sessions.is_empty() {
            return Ok(());
        }
        let token = bearer.filter(|bearer| bearer.expires_in > 0).map(|bearer| bearer.token);
        Ok(self.store.logout(sessions, token, from, self.deny()).await?)
    }

    /// Ends every session of a user, and voids whatever they handed out.
    ///
    /// # Errors
    /// [`Error::NotFound`], and the store's.
    pub async fn end_all(&self, actor: Actor<'_>, user: UserId) -> Result<(), Error> {
        match self.store.end_all(user, self.deny(), actor.event(Kind::SessionsRevoked).target(user)).await? {
            Ended::Done => Ok(()),
            Ended::NotFound => Err(Error::NotFound),
        }
    }

    /// Revokes one session, of `owner` if one is named: somebody else's is as unknown as none (AZ-6).
    ///
    /// # Errors
    /// [`Error::NotFound`], and the store's.
    pub async fn revoke(&self, actor: Actor<'_>, session: SessionId, owner: Option<UserId>) -> Result<(), Error> {
        let event = actor.event(Kind::SessionRevoked);
        self.store.end_session(session, owner, self.deny(), event).await?.map(drop).ok_or(Error::NotFound)
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

    /// Removes what has expired (STO-15).
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

    /// How what is revoked now is to be remembered.
    pub(super) fn deny(&self) -> Deny {
        self.access.deny()
    }

    /// How many sessions a user may have.
    pub(super) const fn max_per_user(&self) -> usize {
        self.policy.max_per_user
    }

    /// The session of a genuine token. A token with a valid tag was issued by us, so a missing row means that
    /// the session expired or was revoked.
    async fn live(&self, token: &VerifiedRefreshToken) -> Result<Session, Error> {
        match self.store.session(token.session).await? {
            Some(session) => Ok(session),
            None if self.clock.now() >= token.expires_at => Err(Error::RefreshTokenExpired),
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
