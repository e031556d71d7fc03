//! Why a use case refuses. Each is an answer a client can act on, or an inability of ours.

use super::{hashing::Overloaded, passwords::Weakness, throttle::Limited};
use crate::{domain::Role, store};

/// A refusal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such user, wrong password, disabled: one answer for all (AUT-1).
    #[error("e-mail or password is wrong")]
    InvalidCredentials,
    /// The password may not be used.
    #[error("the password {0}")]
    WeakPassword(Weakness),
    /// Somebody has that address.
    #[error("the address is taken")]
    EmailTaken,
    /// Registration is closed, or the invitation is not good.
    #[error("registration is closed")]
    RegistrationClosed,
    /// The set-up link is unknown, used or expired, or there is an admin already.
    #[error("the set-up token is not good")]
    InvalidSetupToken,
    /// A forged, garbled or unknown refresh token: nobody is revoked for it (REF-8).
    #[error("the refresh token is not good")]
    InvalidRefreshToken,
    /// A request without a refresh token that needs one.
    #[error("there is no refresh token")]
    MissingRefreshToken,
    /// A refresh token in a cookie and one in the body.
    #[error("there is a refresh token in a cookie and one in the body")]
    AmbiguousRefreshToken,
    /// Two refresh-token cookies: a neighbour has planted one.
    #[error("there are two refresh-token cookies")]
    TwoRefreshCookies,
    /// The `Idempotency-Key` is none.
    #[error("the idempotency key is malformed")]
    MalformedRetryKey,
    /// The request does not prove that it comes from an allowed page.
    #[error("the CSRF token is missing or wrong")]
    CsrfFailed,
    /// A genuine refresh token whose time is over.
    #[error("the refresh token has expired")]
    RefreshTokenExpired,
    /// A genuine refresh token of a session that has ended.
    #[error("the session has ended")]
    SessionEnded,
    /// A genuine refresh token that was used before.
    #[error("the refresh token was used before")]
    RefreshTokenReused,
    /// A refresh that lost a race.
    #[error("another refresh came first")]
    RefreshConflict,
    /// No such user, session or invitation.
    #[error("not found")]
    NotFound,
    /// Nobody would be left to administer.
    #[error("the last admin must stay")]
    LastAdmin,
    /// No such role is configured.
    #[error("no such role")]
    InvalidRole {
        /// The roles there are.
        allowed: Vec<Role>,
    },
    /// The acting user may not hand out that role (AZ-4).
    #[error("the role grants more than its giver has")]
    RoleBeyondReach,
    /// Too many tries.
    #[error("too many tries")]
    Limited(Limited),
    /// Too many passwords to hash.
    #[error("overloaded")]
    Overloaded,
    /// The store could not.
    #[error(transparent)]
    Store(#[from] store::Error),
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
