//! What the store reports to the rest of the program once a transaction is durable.

use crate::domain::{ApiKey, ApiKeyId, Event, SessionId, Timestamp, TokenId, UserId};
use std::sync::Arc;

/// A durable change that state in memory must follow. Each event is complete in itself, and events of one kind
/// only add to each other, so they may arrive in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitEvent {
    /// A user is new, changed or deleted: copies of their record are out of date.
    UserChanged(UserId),
    /// Access tokens of this user below a token version are void.
    TokensVoided {
        /// The user.
        user: UserId,
        /// The lowest version that is valid.
        least_version: u32,
        /// When this may be forgotten: by then the last of those tokens has expired.
        until: Timestamp,
    },
    /// A session ended, which voids its access tokens; at this moment the last of them has expired.
    SessionRevoked(SessionId, Timestamp),
    /// An access token was revoked; at this moment it has expired.
    TokenRevoked(TokenId, Timestamp),
    /// Every access token issued before a moment is void.
    AllVoidedBefore {
        /// The moment.
        moment: Timestamp,
        /// When this may be forgotten: by then the last of those tokens has expired.
        until: Timestamp,
    },
    /// An API key is new or changed. Of two of these, the one with the greater revision counts.
    ApiKeyChanged(Arc<ApiKey>),
    /// An API key was revoked, and never comes back.
    ApiKeyRevoked(ApiKeyId),
    /// A refresh token of this session was replaced.
    Rotated {
        /// The session.
        session: SessionId,
        /// The generation of the replaced token.
        replaced: u32,
        /// When it was replaced, as the session's row has it.
        at: Timestamp,
    },
}

/// Receives each [`CommitEvent`] before the caller of its transaction is answered. It must be quick and must not
/// block. Events of different transactions may arrive in any order.
pub trait Observer: Send + Sync {
    /// `event` is durable; its caller has not been answered yet.
    fn committed(&self, event: CommitEvent);

    /// A durable transaction recorded `event` for the log; its caller has not been answered yet.
    fn recorded(&self, _event: &Event) {}
}
