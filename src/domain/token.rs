//! What identifies an access token.

use super::{SessionId, Timestamp, TokenId, UserId};

/// The claims of an access token by which it can be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenIds {
    /// `sub`
    pub user: UserId,
    /// `ver`
    pub version: u32,
    /// `sid`
    pub session: SessionId,
    /// `jti`
    pub token: TokenId,
    /// `iat`
    pub issued_at: Timestamp,
}
