//! Authenticating whoever presents an access token or an API key.

use super::{
    access_tokens::{AccessTokens, TokenHolder, VerifiedToken, VerifyError},
    api_keys::{ApiKeyIndex, secret},
    mac::MacRing,
    principal::{Principal, Scopes, Subject},
    throttle::{Limited, Throttle},
};
use crate::{
    domain::{ApiKey, ApiKeyId, By, Clock, Event, Kind, Roles, SessionId, TokenIds, User},
    store::{self, Store},
};
use std::sync::Arc;

/// Why a bearer could not be authenticated.
#[derive(Debug)]
pub enum Unauthenticated {
    /// The token or the key was not accepted.
    Token(VerifyError),
    /// The key was used too often.
    Limited(Limited),
    /// The user's record could not be read.
    Store(store::Error),
}

/// Authenticates bearers.
pub struct Bearers {
    pub(super) store: Arc<Store>,
    pub(super) access: Arc<AccessTokens>,
    pub(super) api_keys: Arc<ApiKeyIndex>,
    pub(super) hash_keys: MacRing,
    pub(super) throttle: Arc<Throttle>,
    pub(super) roles: Roles,
    pub(super) clock: Clock,
}

impl Bearers {
    /// Authenticates the bearer of an access token or an API key.
    ///
    /// # Errors
    /// [`Unauthenticated`].
    pub async fn authenticate(&self, presented: &str) -> Result<Principal, Unauthenticated> {
        if presented.starts_with(secret::PREFIX) {
            self.authenticate_key(presented).await
        } else {
            self.authenticate_token(presented).await
        }
    }

    /// Authenticates the bearer anew, of a request whose answer goes on. It is no further use of an API key.
    ///
    /// # Errors
    /// [`Unauthenticated`].
    pub async fn authenticate_again(&self, presented: &str) -> Result<Principal, Unauthenticated> {
        if presented.starts_with(secret::PREFIX) {
            self.authenticate_key_uncharged(presented).await
        } else {
            self.authenticate_token(presented).await
        }
    }

    /// Authenticates the bearer of an access token.
    ///
    /// # Errors
    /// [`Unauthenticated`].
    pub async fn authenticate_token(&self, token: &str) -> Result<Principal, Unauthenticated> {
        let token = self.access.verify(token).map_err(Unauthenticated::Token)?;
        self.holder_of(token).await
    }

    /// What an access token says that is in force, and whose it is; `None` for any other text.
    ///
    /// # Errors
    /// The store's.
    pub async fn introspect(&self, token: &str) -> Result<Option<(VerifiedToken, Principal)>, store::Error> {
        let Ok(verified) = self.access.verify(token) else { return Ok(None) };
        match self.holder_of(verified.clone()).await {
            Ok(principal) => Ok(Some((verified, principal))),
            Err(Unauthenticated::Store(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Whose an access token is that is in force. Its claims are compared with the user's record: a role that is only in the
    /// token is not granted (AZ-2).
    async fn holder_of(&self, token: VerifiedToken) -> Result<Principal, Unauthenticated> {
        let user = self.store.user(token.ids.user).await.map_err(Unauthenticated::Store)?;
        let VerifiedToken { ids: TokenIds { session, version, .. }, holder, expires_at, expires_in, .. } = token;
        let (expires_at, expires_in) = (Some(expires_at), Some(expires_in));
        match (user, holder) {
            (Some(user), TokenHolder::Session(role)) if is_current(&user, version) && user.role == role => {
                Ok(Principal { subject: Subject::User(user), session, scopes: Scopes::All, expires_at, expires_in })
            }
            (Some(user), TokenHolder::ApiKey) if is_current(&user, version) => {
                // The token says what the key might do when it was issued. What the key may do now is looked up.
                let key = self.api_keys.get(ApiKeyId::from_bytes(*session.as_bytes())).filter(|key| key.owner == user.id);
                let key = key.filter(|key| !key.has_expired(self.clock.now())).ok_or(Unauthenticated::Token(VerifyError::Revoked))?;
                Ok(Principal { expires_at, expires_in, ..self.principal(user, key) })
            }
            // The signature is valid, but we have issued no token with so high a version, or none with that role under
            // this version: somebody else signs with our key.
            (Some(user), _) if user.token_version <= version => {
                self.store.note(Event::new(Kind::ForgedToken, By::Anyone).target(user.id).session(session));
                Err(Unauthenticated::Token(VerifyError::Invalid))
            }
            // The user was deleted or changed after the deny list was checked.
            _ => Err(Unauthenticated::Token(VerifyError::Revoked)),
        }
    }

    /// The issuer and the audience that this token was verified to have.
    #[must_use]
    pub fn issuer_and_audience(&self, token: &VerifiedToken) -> (&str, &str) {
        self.access.issuer_and_audience(token.algorithm)
    }

    /// Authenticates whoever presents an API key.
    ///
    /// # Errors
    /// [`Unauthenticated`].
    pub async fn authenticate_key(&self, text: &str) -> Result<Principal, Unauthenticated> {
        let key = self.find_key(text)?;
        self.throttle.charge_api_key(key.id).map_err(Unauthenticated::Limited)?;
        self.holder_of_key(key).await
    }

    /// Authenticates whoever presents an API key, for a request that no limit may hold up.
    ///
    /// # Errors
    /// [`Unauthenticated`].
    pub async fn authenticate_key_uncharged(&self, text: &str) -> Result<Principal, Unauthenticated> {
        self.holder_of_key(self.find_key(text)?).await
    }

    /// Charges a request that was authenticated without.
    ///
    /// # Errors
    /// [`Limited`].
    pub fn charge(&self, principal: &Principal) -> Result<(), Limited> {
        principal.api_key().map_or(Ok(()), |key| self.throttle.charge_api_key(key.id))
    }

    /// The key with this text. What is no key is refused by its checksum, before any look-up (KEY-2).
    fn find_key(&self, text: &str) -> Result<Arc<ApiKey>, Unauthenticated> {
        let invalid = Unauthenticated::Token(VerifyError::Invalid);
        if !secret::is_well_formed(text) {
            return Err(invalid);
        }
        let now = self.clock.now();
        let hashes = self.hash_keys.keys();
        hashes.iter().find_map(|hash_key| self.api_keys.find(&secret::hash(hash_key, text), now)).ok_or(invalid)
    }

    async fn holder_of_key(&self, key: Arc<ApiKey>) -> Result<Principal, Unauthenticated> {
        let now = self.clock.now();
        if let Some(expired) = key.expires_at.filter(|at| *at <= now) {
            return Err(Unauthenticated::Token(VerifyError::Expired(expired)));
        }
        let owner = self.store.user(key.owner).await.map_err(Unauthenticated::Store)?;
        let owner = owner.filter(|owner| !owner.disabled).ok_or(Unauthenticated::Token(VerifyError::Revoked))?;
        Ok(self.principal(owner, key))
    }

    fn principal(&self, owner: Arc<User>, key: Arc<ApiKey>) -> Principal {
        Principal {
            session: SessionId::from_bytes(*key.id.as_bytes()),
            scopes: Scopes::Only(key.effective(&owner, &self.roles)),
            expires_at: key.expires_at,
            expires_in: key.expires_at.map(|at| at.secs().saturating_sub(self.clock.now().secs())),
            subject: Subject::ApiKey(owner, key),
        }
    }
}

fn is_current(user: &User, version: u32) -> bool {
    user.token_version == version && !user.disabled
}
