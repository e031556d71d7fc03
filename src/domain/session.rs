//! A session: one login on one device, and the generation of its refresh token.

use super::{SessionId, Timestamp, UserId};
use serde::{Deserialize, Deserializer};
use std::{net::IpAddr, time::Duration};

/// How a session's refresh token travels (REF-12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// In an httpOnly cookie: browsers.
    #[default]
    Cookie,
    /// In JSON bodies: mobile apps and scripts.
    Body,
}

impl<'de> Deserialize<'de> for Transport {
    /// Reads `cookie` or `body`. Not derived, because that would report any other type as malformed JSON.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match &*String::deserialize(from)? {
            "cookie" => Ok(Self::Cookie),
            "body" => Ok(Self::Body),
            other => Err(serde::de::Error::unknown_variant(other, &["cookie", "body"])),
        }
    }
}

/// A way to prove who one is (RFC 8176 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// `pwd`
    Password,
}

/// Where a session was last used from, for its owner to recognise it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The client's address.
    pub ip: IpAddr,
    /// `User-Agent`, at most 256 bytes of it.
    pub user_agent: String,
}

/// One refresh-token family. There is one row for it, however often it rotates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The `sid` of its tokens.
    pub id: SessionId,
    /// The user it belongs to.
    pub user: UserId,
    /// How the refresh token travels.
    pub transport: Transport,
    /// Counts rotations: the refresh token of this generation is the current one (REF-5).
    pub generation: u32,
    /// Keyed hash of the current refresh token.
    pub token_hash: [u8; 32],
    /// The id of the key of that hash.
    pub hash_key: String,
    /// The id of the key that tags the tokens of this family.
    pub token_key: String,
    /// When the user logged in.
    pub created_at: Timestamp,
    /// When the current refresh token was issued.
    pub refreshed_at: Timestamp,
    /// When the current refresh token expires: after the idle limit, but not later than `ends_at`.
    pub expires_at: Timestamp,
    /// When the session ends, however often it is refreshed (REF-9).
    pub ends_at: Timestamp,
    /// When the sweep next checks whether it has expired: never later than `expires_at`.
    pub sweep_at: Timestamp,
    /// When recent generations were replaced, newest first: entry `k` is for generation `generation - 1 - k`. Entries
    /// older than [`Session::ROTATION_RETENTION`] are dropped, and all but the first [`Session::MAX_REPLACED`].
    pub replaced_at: Vec<Timestamp>,
    /// How often a repeated refresh was given the current token again (REF-4).
    pub replays: u8,
    /// Keyed hash of the `Idempotency-Key` of the last refresh, if it had one. A repetition of that refresh with the
    /// same key is given the current token again.
    pub retry_key: Option<[u8; 32]>,
    /// When the user last proved who they are.
    pub auth_time: Timestamp,
    /// How they proved it.
    pub methods: Vec<AuthMethod>,
    /// The client that last used it.
    pub client: Client,
}

impl Session {
    /// How long the moment of a rotation is kept. No conflict window or grace may be longer.
    pub const ROTATION_RETENTION: Duration = Duration::from_secs(30);

    /// How many rotations the row keeps, for tokens that come late after a restart. A running server keeps more of
    /// them in memory; the row must stay small however fast the session is refreshed.
    pub const MAX_REPLACED: usize = 8;

    /// When a past generation was replaced, if that was within [`Session::ROTATION_RETENTION`] of the last rotation.
    #[must_use]
    pub fn replaced(&self, generation: u32) -> Option<Timestamp> {
        let back = self.generation.checked_sub(generation)?.checked_sub(1)?;
        self.replaced_at.get(usize::try_from(back).ok()?).copied()
    }

    /// Moves to the next generation.
    pub fn rotate(&mut self, now: Timestamp, expires_at: Timestamp, token_hash: [u8; 32], retry_key: Option<[u8; 32]>) {
        self.generation += 1;
        self.replaced_at.insert(0, now);
        self.replaced_at.truncate(Self::MAX_REPLACED);
        self.replaced_at.retain(|&moment| now.since(moment) <= Self::ROTATION_RETENTION);
        self.refreshed_at = now;
        self.expires_at = expires_at;
        self.token_hash = token_hash;
        self.replays = 0;
        self.retry_key = retry_key;
    }

    /// A session of [`User::example`](super::User::example), for tests that need only some of the fields.
    #[cfg(test)]
    pub(crate) fn example() -> Self {
        let begun = Timestamp::from_secs(1_700_000_000);
        Self {
            id: SessionId::from_bytes([2; 16]),
            user: UserId::from_bytes([1; 16]),
            transport: Transport::Cookie,
            generation: 1,
            token_hash: [3; 32],
            hash_key: "h".into(),
            token_key: "t".into(),
            created_at: begun,
            refreshed_at: begun,
            expires_at: begun.plus(Duration::from_secs(3600)),
            ends_at: begun.plus(Duration::from_secs(7200)),
            sweep_at: begun.plus(Duration::from_secs(3600)),
            replaced_at: Vec::new(),
            replays: 0,
            retry_key: None,
            auth_time: begun,
            methods: vec![AuthMethod::Password],
            client: Client { ip: [127, 0, 0, 1].into(), user_agent: String::new() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_remembers_when_recent_generations_were_replaced() {
        let at = |s: u64| Timestamp::from_secs(1000 + s);
        let mut session = Session::example();
        for s in [1_u64, 2, 40] {
            session.rotate(at(s), at(s + 100), [1; 32], None);
        }
        assert_eq!(session.generation, 4);
        assert_eq!(session.replaced(3), Some(at(40)));
        assert_eq!(session.replaced(2), None, "38 s before the last rotation is forgotten");
        assert_eq!(session.replaced(4), None, "the current one was not replaced");
        assert_eq!(session.replaced(9), None);
        // However fast it is refreshed, its row stays small.
        (0..10_000).for_each(|_| session.rotate(at(41), at(141), [1; 32], None));
        assert_eq!(session.replaced_at.len(), Session::MAX_REPLACED);
        assert_eq!(session.replaced(session.generation - 8), Some(at(41)));
        assert_eq!(session.replaced(session.generation - 9), None);
    }
}
