//! Every table with its key and its record.
//!
//! | table | key | record |
//! |---|---|---|
//! | `instance` | – | which installation this is, and the schema |
//! | `setup` | – | the open set-up link |
//! | `users` | user id | the account |
//! | `users_by_email` | e-mail | user id |
//! | `active_admins` | user id | – |
//! | `sessions` | session id | the refresh-token family |
//! | `sessions_by_user` | user id, session id | – |
//! | `sessions_by_sweep` | time, session id | – |
//! | `revoked_users` | user id | the lowest token version that is valid, and until when to keep the row |
//! | `revoked_sessions` | session id | until when to keep the row: the session was revoked |
//! | `revoked_tokens` | token id (`jti`) | until when to keep the row: the token was revoked |
//! | `not_before` | – | tokens issued before this are void, and until when to keep the row |
//! | `issued` | – | the date of the latest access token, and how long such tokens live |
//! | `invites` | invite id | the invitation |
//! | `api_keys` | user id, API key id | the API key |
//! | `events` | event id | what happened, for the audit trail |
//! | `events_by_user` | user id, event id | – |

mod events;
mod records;

use super::table::Table;
use crate::domain::{ApiKey, ApiKeyId, Email, Event, EventId, Invite, InviteId, Session, SessionId, Timestamp, TokenId, User, UserId};
use std::time::Duration;

/// The schema this release writes, and the newest it reads. Schema 1 had no table `revoked_users`.
pub const VERSION: u32 = 2;

pub const INSTANCE: Table<(), Instance> = Table::new(b'#', "instance");
pub const SETUP: Table<(), Setup> = Table::new(b'!', "setup");
pub const USERS: Table<UserId, User> = Table::new(b'u', "users");
pub const USERS_BY_EMAIL: Table<Email, UserId> = Table::new(b'e', "users_by_email");
pub const ACTIVE_ADMINS: Table<UserId, ()> = Table::new(b'a', "active_admins");
pub const SESSIONS: Table<SessionId, Session> = Table::new(b's', "sessions");
pub const SESSIONS_BY_USER: Table<(UserId, SessionId), ()> = Table::new(b'o', "sessions_by_user");
pub const SESSIONS_BY_SWEEP: Table<(Timestamp, SessionId), ()> = Table::new(b'x', "sessions_by_sweep");
pub const REVOKED_USERS: Table<UserId, VoidTokens> = Table::new(b'd', "revoked_users");
pub const REVOKED_SESSIONS: Table<SessionId, Timestamp> = Table::new(b'r', "revoked_sessions");
pub const REVOKED_TOKENS: Table<TokenId, Timestamp> = Table::new(b'j', "revoked_tokens");
pub const NOT_BEFORE: Table<(), NotBefore> = Table::new(b'n', "not_before");
pub const ISSUED: Table<(), Issued> = Table::new(b'l', "issued");
pub const INVITES: Table<InviteId, Invite> = Table::new(b'i', "invites");
pub const API_KEYS: Table<(UserId, ApiKeyId), ApiKey> = Table::new(b'k', "api_keys");
pub const EVENTS: Table<EventId, (Timestamp, Event)> = Table::new(b't', "events");
pub const EVENTS_BY_USER: Table<(UserId, EventId), ()> = Table::new(b'w', "events_by_user");

/// Which installation a database belongs to, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance {
    pub schema: u32,
    pub id: [u8; 16],
    pub created_at: Timestamp,
}

/// Which access tokens of a user are void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoidTokens {
    /// Tokens of a lower token version are void.
    pub least_version: u32,
    /// When the row may be dropped: by then the last of those tokens has expired.
    pub until: Timestamp,
}

/// Which access tokens are void, whoever holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotBefore {
    /// Tokens issued before this are void.
    pub moment: Timestamp,
    /// When the row may be dropped: by then the last of those tokens has expired.
    pub until: Timestamp,
}

/// Which access tokens there may be. At a start, the clock and the settings may be other ones than when they were issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Issued {
    /// The latest `iat` of a token, to within half a minute.
    pub latest: Timestamp,
    /// The longest that a token can be accepted after its `iat`.
    pub lifetime: Duration,
}

/// The open set-up link. There is at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Keyed hash of the link's token.
    pub token_hash: [u8; 32],
    /// When it expires.
    pub expires_at: Timestamp,
}

#[cfg(test)]
mod tests;
