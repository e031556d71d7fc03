//! What the store tells the rest of the program once it is durable.

use crate::domain::{Event, SessionId, Timestamp, TokenId, UserId};

/// Something that became durable and that memory must know. Each says all that follows from it, and more of
/// the same kind only adds to that: they mean the same in whatever order they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitEvent {
    /// A user is new, changed or deleted: copies of their record are out of date.
    UserChanged(UserId),
    /// Access tokens of this user below a token version are void.
    TokensVoided {
        /// Whose.
        user: UserId,
        /// The least version that is good.
        least_version: u32,
        /// Until when to remember it: by then the last of them has expired.
        until: Timestamp,
    },
    /// A session ended: its access tokens are void, to be remembered until the last has expired.
    SessionRevoked(SessionId, Timestamp),
    /// An access token was revoked, to be remembered until it has expired.
    TokenRevoked(TokenId, Timestamp),
    /// Every access token issued before a moment is void.
    AllVoidedBefore {
        /// The moment.
        moment: Timestamp,
        /// Until when to remember it: by then the last of them has expired.
        until: Timestamp,
    },
    /// A refresh token of this session was replaced.
    Rotated {
        /// The session.
        session: SessionId,
        /// The generation of the token.
        replaced: u32,
        /// When, as the session's row says.
        at: Timestamp,
    },
}

/// Who is told of each [`CommitEvent`] before its verb is answered: it must be quick and must not wait. Events
/// of different verbs may come in any order.
pub trait Observer: Send + Sync {
    /// `event` is durable; its verb has not been answered yet.
    fn committed(&self, event: CommitEvent);

    /// `event` was recorded by a verb that is durable; it has not been answered yet.
    fn recorded(&self, _event: &Event) {}
}
