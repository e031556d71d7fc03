//! Why a use case failed: a refusal that a client can act on, or a failure of ours.

use super::{hashing::Overloaded, passwords::Weakness, throttle::Limited};
use crate::{
    domain::{Permission, Role, gate::AppName},
    store,
};
use std::sync::Arc;

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such user, wrong password, disabled: one answer for all (AUT-1).
    #[error("e-mail or password is wrong")]
    InvalidCredentials,
    /// The password may not be used.
    #[error("the password {0}")]
    WeakPassword(Weakness),
    /// An account has that e-mail address already.
    #[error("the address is taken")]
    EmailTaken,
    /// Registration is closed, or the invitation is not valid.
    #[error("registration is closed")]
    RegistrationClosed,
    /// The set-up link is unknown, used or expired, or there is an admin already.
    #[error("the set-up token is not good")]
    InvalidSetupToken,
    /// A forged, garbled or unknown refresh token. No session is revoked for it (REF-8).
    #[error("the refresh token is not good")]
    InvalidRefreshToken,
    /// The request needs a refresh token and has none.
    #[error("there is no refresh token")]
    MissingRefreshToken,
    /// A refresh token in a cookie and one in the body.
    #[error("there is a refresh token in a cookie and one in the body")]
    AmbiguousRefreshToken,
    /// Two refresh-token cookies: a site on a neighbouring domain has planted one.
    #[error("there are two refresh-token cookies")]
    TwoRefreshCookies,
    /// The `Idempotency-Key` does not have the required form.
    #[error("the idempotency key is malformed")]
    MalformedRetryKey,
    /// The request does not prove that it comes from an allowed page.
    #[error("the CSRF token is missing or wrong")]
    CsrfFailed,
    /// A refresh token that we issued and that has expired.
    #[error("the refresh token has expired")]
    RefreshTokenExpired,
    /// A refresh token that we issued, of a session that has ended.
    #[error("the session has ended")]
    SessionEnded,
    /// A refresh token that we issued and that was used before.
    #[error("the refresh token was used before")]
    RefreshTokenReused,
    /// Another refresh with the same token came first, which is no sign of theft.
    #[error("another refresh came first")]
    RefreshConflict,
    /// No such user, session or invitation.
    #[error("not found")]
    NotFound,
    /// The change would leave no admin.
    #[error("the last admin must stay")]
    LastAdmin,
    /// The role is not configured.
    #[error("no such role")]
    InvalidRole {
        /// The configured roles.
        allowed: Vec<Role>,
    },
    /// The acting user may not grant that role (AZ-4).
    #[error("the role grants more than its giver has")]
    RoleBeyondReach,
    /// An API key may not list this permission: its owner's role does not grant it.
    #[error("the role {role} does not grant {permission}; it grants {}", listed(.granted))]
    NotGranted {
        /// The permission.
        permission: Permission,
        /// The owner's role.
        role: Role,
        /// What that role grants.
        granted: Arc<[Permission]>,
    },
    /// An API key may not list this permission: nothing asks for it, so it is a typing error.
    #[error("no role in [roles] names {0}, and Doorward does not ask for it: is it misspelt?")]
    UnknownPermission(Permission),
    /// There is no such app behind the gate, or API keys do not open it.
    #[error("there is no app {app} that API keys open; there are: {}", .known.iter().map(AppName::as_str).collect::<Vec<_>>().join(", "))]
    UnknownApp {
        /// The name that was given.
        app: AppName,
        /// Those that keys open.
        known: Arc<[AppName]>,
    },
    /// An API key must expire, unless `keys.allow_endless` is set.
    #[error("a key must expire, unless keys.allow_endless = true")]
    EndlessKey,
    /// The owner has as many API keys as anybody may have.
    #[error("there are as many API keys as a user may have: revoke one first")]
    TooManyKeys,
    /// A service account has no password.
    #[error("that is a service account, which has no password; `doorward api-key add` makes it a key")]
    NotAPerson,
    /// The address is one of those that service accounts have.
    #[error("the address is reserved for service accounts")]
    ReservedAddress,
    /// Too many tries.
    #[error("too many tries")]
    Limited(Limited),
    /// Too many passwords wait to be hashed.
    #[error("overloaded")]
    Overloaded,
    /// The store failed.
    #[error(transparent)]
    Store(store::Error),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::AuthorityEnded => Self::SessionEnded,
            error => Self::Store(error),
        }
    }
}

impl From<Overloaded> for Error {
    fn from(Overloaded: Overloaded) -> Self {
        Self::Overloaded
    }
}

impl From<Limited> for Error {
    fn from(limited: Limited) -> Self {
        Self::Limited(limited)
    }
}

fn listed(permissions: &[Permission]) -> String {
    let names: Vec<_> = permissions.iter().map(Permission::as_str).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
