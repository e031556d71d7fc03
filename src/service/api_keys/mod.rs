//! API keys: making, listing, replacing and revoking them, and service accounts, which have nothing else.

pub(super) mod index;
mod new;
pub(super) mod secret;

pub use index::ApiKeyIndex;
pub use new::{InvalidKey, NewApiKey};

use super::{
    Error,
    access_tokens::{AccessToken, AccessTokens, NewToken, TokenFor},
    events::Actor,
    mac::MacRing,
    principal::{Principal, Subject},
    sessions::Sessions,
};
use crate::{
    config,
    domain::{ApiKey, ApiKeyId, Clock, Event, Kind, Permission, RolePolicy, Roles, SteadyClock, User, UserId, gate::AppName},
    store::{Authority, Authorize, Ended, KeyCreated, KeyRequest, Store},
};
use secrecy::{ExposeSecret, SecretString};
use std::{sync::Arc, time::Duration};

/// The use cases of API keys.
pub struct ApiKeys {
    pub(super) store: Arc<Store>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) access: Arc<AccessTokens>,
    pub(super) index: Arc<ApiKeyIndex>,
    pub(super) hash_keys: MacRing,
    pub(super) settings: config::Keys,
    pub(super) roles: Roles,
    /// The apps that keys can open.
    pub(super) apps: Arc<[AppName]>,
    pub(super) policy: RolePolicy,
    pub(super) clock: Clock,
    pub(super) steady: Arc<SteadyClock>,
}

impl ApiKeys {
    /// Whether `verify` takes a key as the password of HTTP Basic authentication.
    #[must_use]
    pub const fn takes_basic(&self) -> bool {
        self.settings.basic
    }

    /// Makes an API key, for oneself or for a service account that one may manage. Returns its secret, which cannot be shown
    /// again.
    ///
    /// # Errors
    /// [`Error::NotGranted`], [`Error::EndlessKey`], [`Error::TooManyKeys`], [`Error::NotFound`], [`Error::RoleBeyondReach`],
    /// the store's.
    pub async fn create(&self, actor: Actor<'_>, owner: UserId, new: NewApiKey) -> Result<(ApiKey, SecretString), Error> {
        if new.expires_in.is_none() && !self.settings.allow_endless {
            return Err(Error::EndlessKey);
        }
        let user = self.store.user(owner).await?.ok_or(Error::NotFound)?;
        self.require_granted(&user, &new.permissions)?;
        if let Some(unknown) = new.apps.iter().find(|app| !self.apps.contains(app)) {
            return Err(Error::UnknownApp { app: unknown.clone(), known: Arc::clone(&self.apps) });
        }
        self.charge(actor)?;
        let (secret, now) = (secret::generate(), self.clock.now());
        let key = ApiKey {
            id: ApiKeyId::random(),
            owner,
            name: new.name,
            start: secret::start(secret.expose_secret()),
            permissions: new.permissions.into(),
            apps: new.apps.into(),
            hash: self.hash(&secret),
            replaced: None,
            // The store knows.
            made_in: None,
            created_at: now,
            expires_at: new.expires_in.map(|span| now.plus(span)),
            last_used_at: None,
            revision: 1,
        };
        let event = actor.event(Kind::ApiKeyCreated).target(owner).key(key.id.to_string());
        match self.store.create_api_key(key.clone(), self.authorize(actor, owner), actor.authority(), event).await? {
            KeyCreated::Done => Ok((key, secret)),
            KeyCreated::TooMany => Err(Error::TooManyKeys),
            KeyCreated::NotPermitted => Err(Error::RoleBeyondReach),
        }
    }

    /// Gives a key another secret. The one it has stays good for `overlap`, so that whoever uses it can change over. Whoever
    /// could make such a key may: its owner, whoever may manage a service account, and an operator.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::RoleBeyondReach`], and the store's.
    pub async fn rotate(&self, actor: Actor<'_>, owner: UserId, id: ApiKeyId, overlap: Duration) -> Result<(ApiKey, SecretString), Error> {
        let user = self.store.user(owner).await?.ok_or(Error::NotFound)?;
        if !self.authorize(actor, owner)(&user) {
            return Err(Error::RoleBeyondReach);
        }
        self.charge(actor)?;
        let secret = secret::generate();
        let until = self.clock.now().plus(overlap.min(ApiKey::MAX_OVERLAP));
        let request = self.request(actor, owner, id, Kind::ApiKeyRotated)?;
        let start = secret::start(secret.expose_secret());
        let key = self.store.replace_api_key(request, self.hash(&secret), start, until).await?.ok_or(Error::NotFound)?;
        Ok((key, secret))
    }

    /// Revokes a key of this user, and the access tokens that were issued for it.
    ///
    /// # Errors
    /// [`Error::NotFound`], and the store's.
    pub async fn revoke(&self, actor: Actor<'_>, owner: UserId, id: ApiKeyId) -> Result<(), Error> {
        match self.store.revoke_api_key(self.request(actor, owner, id, Kind::ApiKeyRevoked)?, self.sessions.deny()).await? {
            Ended::Done => Ok(()),
            Ended::NotFound => Err(Error::NotFound),
        }
    }

    /// Revokes all keys of a user. Returns how many there were.
    ///
    /// # Errors
    /// The store's.
    pub async fn revoke_all(&self, actor: Actor<'_>, owner: UserId) -> Result<usize, Error> {
        let event = actor.event(Kind::ApiKeyRevoked).target(owner);
        Ok(self.store.revoke_api_keys_of(owner, actor.authority(), self.sessions.deny(), event).await?)
    }

    /// The keys of a user, or of everybody, the oldest first.
    #[must_use]
    pub fn list(&self, owner: Option<UserId>) -> Vec<ApiKey> {
        self.index.list(owner)
    }

    /// The key with this id.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get(&self, id: ApiKeyId) -> Result<Arc<ApiKey>, Error> {
        self.index.get(id).ok_or(Error::NotFound)
    }

    /// Issues an access token for an API key, for services that verify tokens by themselves. It has the permissions that the
    /// key has now and names no role.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a principal that is no API key.
    pub fn issue_token(&self, principal: &Principal) -> Result<AccessToken, Error> {
        let Subject::ApiKey(user, key) = &principal.subject else { return Err(Error::NotFound) };
        let permissions = principal.permissions(&self.roles);
        let issued_at = self.access.now();
        Ok(self.access.issue(&NewToken { user, permissions: &permissions, of: TokenFor::ApiKey(key), issued_at }))
    }

    /// Writes when keys were used, and removes those that have long expired.
    ///
    /// # Errors
    /// The store's.
    pub async fn sweep(&self) -> Result<(), Error> {
        self.index.forget_revoked();
        let uses = self.index.take_uses();
        if !uses.is_empty() {
            self.store.note_api_key_uses(uses).await?;
        }
        for key in self.index.long_expired(self.steady.now()) {
            let event = Event::new(Kind::ApiKeyRevoked, crate::domain::By::Server).target(key.owner).key(key.id.to_string());
            let request = KeyRequest { owner: key.owner, key: key.id, authority: Authority::Operator, event: event.why("expired") };
            self.store.revoke_api_key(request, self.sessions.deny()).await?;
        }
        Ok(())
    }

    /// Checks that a user's role grants these permissions. A wildcard is granted only by the same one: what a role may have
    /// later is not the key's (KEY-3).
    fn require_granted(&self, user: &User, permissions: &[Permission]) -> Result<(), Error> {
        let granted = self.roles.permissions(&user.role);
        let is_granted = |permission: &Permission| {
            if permission.is_wildcard() { granted.contains(permission) } else { self.roles.allows(&user.role, permission.as_str()) }
        };
        let is_known = |permission: &Permission| permission.is_wildcard() || self.roles.names_permission(permission.as_str());
        if let Some(unknown) = permissions.iter().find(|permission| !is_known(permission)) {
            return Err(Error::UnknownPermission(unknown.clone()));
        }
        match permissions.iter().find(|permission| !is_granted(permission)) {
            Some(permission) => Err(Error::NotGranted { permission: permission.clone(), role: user.role.clone(), granted }),
            None => Ok(()),
        }
    }

    /// Who may make keys of an owner: the owner, whoever may manage a service account, and an operator.
    fn authorize(&self, actor: Actor<'_>, owner: UserId) -> Authorize {
        match actor.user() {
            None => Box::new(|_| true),
            Some(by) if by.id == owner => Box::new(|_| true),
            Some(by) => {
                let (own, policy) = (by.role.clone(), self.policy.clone());
                Box::new(move |owner| !owner.is_person() && policy.may_grant(&own, &owner.role))
            }
        }
    }

    fn charge(&self, actor: Actor<'_>) -> Result<(), Error> {
        Ok(actor.user().map_or(Ok(()), |by| self.sessions.throttle.charge_new_key(by.id))?)
    }

    fn request(&self, actor: Actor<'_>, owner: UserId, id: ApiKeyId, kind: Kind) -> Result<KeyRequest, Error> {
        self.index.get(id).filter(|key| key.owner == owner).ok_or(Error::NotFound)?;
        let event = actor.event(kind).target(owner).key(id.to_string());
        Ok(KeyRequest { owner, key: id, authority: actor.authority(), event })
    }

    fn hash(&self, secret: &SecretString) -> [u8; 32] {
        self.hash_keys.with_current(|key| secret::hash(key, secret.expose_secret()))
    }
}
