//! Tokens whose signature was verified lately.
//!
//! To verify the signature of a key pair costs twenty times an HMAC or more, and a service asks about the same token again
//! and again. What is kept is what the token says, and only of tokens that were in force when they were first seen. It saves
//! the signature and nothing else: at each use the token is held against the clock and the deny list. It belongs to a set of
//! keys and goes with it.

use super::claims::IssuedToken;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

/// The most tokens that are kept: one in use by each of so many sessions. They take some 2 MB.
pub(super) const MAX_TOKENS: usize = 8192;

/// The SHA-256 of a token. Nobody can make two tokens with the same.
type TokenDigest = [u8; 32];

/// Verified tokens, by their digest.
pub(super) struct VerifiedTokens(Cache<TokenDigest, IssuedToken>);

impl VerifiedTokens {
    pub(super) fn new() -> Self {
        Self(Cache::new(MAX_TOKENS))
    }

    pub(super) fn digest(token: &str) -> TokenDigest {
        Sha256::digest(token).into()
    }

    pub(super) fn get(&self, digest: &TokenDigest) -> Option<IssuedToken> {
        self.0.get(digest)
    }

    /// Keeps a token that is in force.
    pub(super) fn insert(&self, digest: TokenDigest, token: IssuedToken) {
        self.0.insert(digest, token);
    }

    /// Forgets the tokens that expired before a moment, in seconds since 1970.
    pub(super) fn forget_expired(&self, moment: u64) {
        self.0.retain(|_, token| token.exp > moment);
    }
}
