//! Who makes a request, and what they may do.

use super::events::Actor;
use crate::domain::{AddressPrefix, ApiKey, Permission, Roles, SessionId, Timestamp, User};
use std::sync::Arc;

/// The party on whose behalf a request is made.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A user, as their record is now and not as the token says.
    User(Arc<User>),
    /// An API key, which acts for its owner.
    ApiKey(Arc<User>, Arc<ApiKey>),
}

/// Which of its subject's permissions a principal has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scopes {
    /// All of them, as a user's own session has.
    All,
    /// Only these.
    Only(Arc<[Permission]>),
}

/// The maker of a request: the bearer of a token or an API key that is good now. When and how they authenticated is in the
/// session's record.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The party on whose behalf the request is made.
    pub subject: Subject,
    /// The session that the token belongs to; of an API key, its id.
    pub session: SessionId,
    /// Which of the subject's permissions it has.
    pub scopes: Scopes,
    /// When the token or the key expires, if it does.
    pub expires_at: Option<Timestamp>,
    /// The whole seconds until then.
    pub expires_in: Option<u64>,
}

impl Principal {
    /// The user on whose behalf the request is made.
    #[must_use]
    pub const fn user(&self) -> &Arc<User> {
        match &self.subject {
            Subject::User(user) | Subject::ApiKey(user, _) => user,
        }
    }

    /// The API key, if it is one.
    #[must_use]
    pub const fn api_key(&self) -> Option<&Arc<ApiKey>> {
        match &self.subject {
            Subject::User(_) => None,
            Subject::ApiKey(_, key) => Some(key),
        }
    }

    /// The subject as an actor, whose rights the services check and whom they log.
    #[must_use]
    pub fn actor(&self, from: AddressPrefix) -> Actor<'_> {
        match &self.subject {
            Subject::User(user) => Actor::User(user, self.session, from),
            Subject::ApiKey(owner, key) => Actor::ApiKey(owner, key, from),
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

    /// The permissions it has now.
    #[must_use]
    pub fn permissions(&self, roles: &Roles) -> Arc<[Permission]> {
        match &self.scopes {
            Scopes::All => roles.permissions(&self.user().role),
            Scopes::Only(scopes) => Arc::clone(scopes),
        }
    }

    /// Whether its user's role is this one, or is admin, which passes every question for a role. An API key has no role: it
    /// would have all that the role means elsewhere, and not only what it lists (KEY-3).
    #[must_use]
    pub fn has_role(&self, is_asked: impl Fn(&str) -> bool) -> bool {
        let role = &self.user().role;
        self.api_key().is_none() && (role.is_admin() || is_asked(role.as_str()))
    }
}
