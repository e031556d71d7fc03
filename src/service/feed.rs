//! The latest changes of what makes access tokens void, numbered.

use crate::{
    domain::{SessionId, Timestamp, TokenId, UserId, random},
    store::CommitEvent,
};
use parking_lot::Mutex;
use std::{collections::VecDeque, fmt};
use tokio::sync::watch;

/// How many changes are kept for readers that lag behind. They take some 200 KB.
pub const MAX_CHANGES: usize = 4096;

/// Access tokens that are void, although their signature is good and they have not expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// Those of a user below a token version.
    User {
        /// The user, the token's `sub`.
        user: UserId,
        /// The lowest version (`ver`) that is not void.
        least_version: u32,
        /// By when the last of them has expired.
        until: Timestamp,
    },
    /// Those of a session (`sid`), and by when the last of them has expired.
    Session(SessionId, Timestamp),
    /// One (`jti`), and by when it has expired.
    Token(TokenId, Timestamp),
    /// Those issued (`iat`) before a moment, and by when the last of them has expired.
    AllBefore(Timestamp, Timestamp),
}

impl Revocation {
    /// What a durable change voids.
    #[must_use]
    pub const fn of(event: &CommitEvent) -> Option<Self> {
        match *event {
            CommitEvent::TokensVoided { user, least_version, until } => Some(Self::User { user, least_version, until }),
            CommitEvent::SessionRevoked(session, until) => Some(Self::Session(session, until)),
            CommitEvent::TokenRevoked(token, until) => Some(Self::Token(token, until)),
            CommitEvent::AllVoidedBefore { moment, until } => Some(Self::AllBefore(moment, until)),
            CommitEvent::UserChanged(_) | CommitEvent::Rotated { .. } | CommitEvent::ApiKeyChanged(_) | CommitEvent::ApiKeyRevoked(_) => {
                None
            }
        }
    }
}

/// What a reader of the feed is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Tokens are void.
    Revoked(Revocation),
    /// The keys that verify tokens were replaced.
    Keys,
}

/// What a reader has read: everything up to a number of a run of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    run: u64,
    number: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.run, self.number)
    }
}

impl Cursor {
    /// Reads a cursor that a reader sent.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (run, number) = text.split_once('-')?;
        Some(Self { run: u64::from_str_radix(run, 16).ok()?, number: number.parse().ok()? })
    }
}

/// The latest changes.
#[derive(Debug)]
pub struct Feed {
    /// A random number of this run of the server.
    run: u64,
    changes: Mutex<Changes>,
    latest: watch::Sender<Latest>,
}

#[derive(Debug)]
struct Changes {
    /// The number of the first change that is kept.
    first: u64,
    kept: VecDeque<Change>,
}

/// The latest there is.
#[derive(Debug, Clone, Copy)]
pub struct Latest {
    number: u64,
    /// Whether it is the last.
    pub is_closed: bool,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            run: u64::from_be_bytes(random::bytes()),
            changes: Mutex::new(Changes { first: 1, kept: VecDeque::new() }),
            latest: watch::Sender::new(Latest { number: 0, is_closed: false }),
        }
    }
}

impl Feed {
    /// Tells all readers of a change.
    pub fn push(&self, change: Change) {
        let mut changes = self.changes.lock();
        changes.kept.push_back(change);
        if changes.kept.len() > MAX_CHANGES {
            changes.kept.pop_front();
            changes.first += 1;
        }
        let number = changes.first + changes.kept.len() as u64 - 1;
        self.latest.send_modify(|latest| latest.number = number);
    }

    /// Tells all readers that there will be no more.
    pub fn close(&self) {
        self.latest.send_modify(|latest| latest.is_closed = true);
    }

    /// Wakes a reader at each change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Latest> {
        self.latest.subscribe()
    }

    /// Everything up to now.
    #[must_use]
    pub fn latest(&self) -> Cursor {
        Cursor { run: self.run, number: self.latest.borrow().number }
    }

    /// The changes after a cursor. `None` if it is of another run, or if not all of them are kept any more.
    #[must_use]
    pub fn since(&self, cursor: Cursor) -> Option<(Cursor, Vec<Change>)> {
        let changes = self.changes.lock();
        let read = cursor.number.checked_add(1)?.checked_sub(changes.first).and_then(|read| usize::try_from(read).ok())?;
        let is_known = cursor.run == self.run && read <= changes.kept.len();
        is_known.then(|| (self.latest(), changes.kept.iter().skip(read).copied().collect()))
    }
}
