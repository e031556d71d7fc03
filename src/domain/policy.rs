//! Choices that an operator makes and that several modules act on.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// What is revoked when a refresh token is used again (REF-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnReuse {
    /// Every session and every access token of the user.
    User,
    /// The session alone.
    Session,
}

/// How access tokens are signed (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// HMAC with SHA-256. Whoever can verify a token can also sign one.
    HS256,
    /// Ed25519. RFC 9864 calls it `Ed25519`, which few verifiers know yet.
    EdDSA,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 and a modulus of 2048 bits.
    RS256,
}

impl Algorithm {
    /// All of them, the default first.
    pub const ALL: [Self; 4] = [Self::HS256, Self::EdDSA, Self::ES256, Self::RS256];

    /// The `alg` of a token's header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::EdDSA => "EdDSA",
            Self::ES256 => "ES256",
            Self::RS256 => "RS256",
        }
    }

    /// Whether a public key verifies what a private key has signed, so that the former can be published.
    #[must_use]
    pub const fn is_asymmetric(self) -> bool {
        !matches!(self, Self::HS256)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(name));
        known.ok_or_else(|| format!("found {name:?}, allowed: {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}
