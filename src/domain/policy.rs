//! Choices that an operator makes and that several modules act on.

use serde::{Deserialize, Serialize};

/// What is revoked when a refresh token is used again (REF-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnReuse {
    /// Every session and every access token of the user.
    User,
    /// The session alone.
    Session,
}

/// How access tokens are signed (RFC 7518 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// HMAC with SHA-256. Whoever can verify a token can also sign one.
    HS256,
}

impl Algorithm {
    /// The `alg` of a token's header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
        }
    }
}
