//! The claims of access tokens, as they are written and as they are read.

use crate::domain::{Algorithm, Permission, Role, SessionId, Timestamp, TokenId, TokenIds, UserId};
use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};

/// Whom a verified token was issued for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenHolder {
    /// A user in a session, with this `role`. It is only compared with the role in the user's record, which is the one that
    /// counts.
    Session(Role),
    /// An API key, which has no role.
    ApiKey,
}

/// What a token says that we issued, at any time.
#[derive(Debug, Clone)]
pub struct IssuedToken {
    pub ids: TokenIds,
    pub holder: TokenHolder,
    /// What it is signed with.
    pub algorithm: Algorithm,
    /// `nbf`, in seconds; 0 if there is none.
    pub nbf: u64,
    /// `exp`, in seconds.
    pub exp: u64,
}

/// How the bearer of an API key authenticated, in `amr` (RFC 8176 has no name for it).
pub const API_KEY_METHOD: &str = "key";

/// The claims of a new token.
#[derive(Serialize)]
pub struct Claims<'a> {
    pub iss: &'a str,
    pub aud: &'a str,
    pub sub: UserId,
    pub iat: u64,
    pub exp: u64,
    pub jti: TokenId,
    pub sid: SessionId,
    pub ver: u32,
    /// Of a session alone: whoever asks for a role must not take an API key for its owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'a Role>,
    pub permissions: &'a [Permission],
    /// Of an API key alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amr: Option<[&'a str; 1]>,
}

/// The claims of a presented token. All are required but `nbf`, and one of `role` and `amr`; each must have its type, and
/// none may occur twice (TOK-4).
#[derive(Deserialize)]
pub struct PresentedClaims {
    pub iss: String,
    pub aud: String,
    pub sub: UserId,
    pub iat: u64,
    pub exp: u64,
    #[serde(default)]
    pub nbf: u64,
    pub jti: TokenId,
    pub sid: SessionId,
    pub ver: u32,
    #[serde(default, deserialize_with = "present")]
    pub role: Option<Role>,
    #[serde(default, deserialize_with = "present")]
    pub amr: Option<[String; 1]>,
    /// Must be there but is not used: the role's permissions are looked up, since the configuration may have changed.
    #[serde(rename = "permissions")]
    _permissions: IgnoredAny,
}

impl PresentedClaims {
    /// What identifies the token.
    pub const fn ids(&self) -> TokenIds {
        TokenIds { user: self.sub, version: self.ver, session: self.sid, token: self.jti, issued_at: Timestamp::from_secs(self.iat) }
    }

    /// Whom the token was issued for, if it says one of the two that we write.
    pub fn holder(&self) -> Option<TokenHolder> {
        match (&self.role, &self.amr) {
            (Some(role), None) => Some(TokenHolder::Session(role.clone())),
            (None, Some([method])) if method == API_KEY_METHOD => Some(TokenHolder::ApiKey),
            _ => None,
        }
    }
}

/// A claim that may be missing, but not null.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}
