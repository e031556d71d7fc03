//! Secrets that tag, hash and bind. Each purpose has a ring of them.

use crate::domain::Timestamp;
use data_encoding::HEXLOWER;
use secrecy::{ExposeSecret, SecretSlice};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// The least length of a secret, in bytes: that of HMAC-SHA-256's output (RFC 7518 §3.2).
pub const KEY_LEN: usize = 32;

/// A secret, with an id that is not secret.
#[derive(Debug, Clone)]
pub struct Key {
    /// The `kid`.
    pub id: String,
    /// The bytes.
    pub secret: SecretSlice<u8>,
    /// When it was made; 1970 for an operator's own.
    pub created_at: Timestamp,
}

impl Key {
    /// Makes a new key.
    ///
    /// # Panics
    /// When the operating system provides no randomness.
    #[must_use]
    pub fn generate(created_at: Timestamp) -> Self {
        let (mut secret, mut id) = (vec![0; KEY_LEN], [0; 6]);
        getrandom::fill(&mut secret).expect("the operating system provides randomness");
        getrandom::fill(&mut id).expect("the operating system provides randomness");
        Self { id: HEXLOWER.encode(&id), secret: secret.into(), created_at }
    }

    /// An operator's secret, byte for byte, with an id derived from it, so that it is the same at every start.
    #[must_use]
    pub fn from_operator_secret(secret: &SecretSlice<u8>) -> Self {
        let secret = secret.expose_secret();
        let digest = Sha256::new().chain_update(b"doorward kid\0").chain_update(secret).finalize();
        let id = format!("op-{}", HEXLOWER.encode(&digest[..4]));
        Self { id, secret: secret.to_vec().into(), created_at: Timestamp::default() }
    }
}

/// What happened to a key, with its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", content = "key", rename_all = "camelCase")]
pub enum Change {
    /// It was made and published; it is to sign later.
    Published(String),
    /// New tokens are made with it from now on.
    InUse(String),
    /// It is forgotten: every token that it signed is over, or void.
    Removed(String),
}

/// All keys of one kind, the current one first; the others only verify what was issued under them.
#[derive(Debug, Clone)]
pub struct Ring(Vec<Key>);

impl Ring {
    /// A ring of one new key.
    #[must_use]
    pub fn generate(now: Timestamp) -> Self {
        Self(vec![Key::generate(now)])
    }

    /// A ring of these keys, if there are any.
    #[must_use]
    pub fn new(keys: Vec<Key>) -> Option<Self> {
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// A ring of one key.
    #[must_use]
    pub fn of(key: Key) -> Self {
        Self(vec![key])
    }

    /// Replaces all keys by a new one. Whatever they have tagged or hashed is void at once.
    pub fn replace(&mut self, now: Timestamp) -> Vec<Change> {
        let mut changes: Vec<_> = self.0.drain(..).map(|key| Change::Removed(key.id)).collect();
        *self = Self::generate(now);
        changes.push(Change::InUse(self.current().id.clone()));
        changes
    }

    /// The key for new tokens, tags and hashes.
    ///
    /// # Panics
    /// Never: a ring is made with a key and cannot lose it.
    #[must_use]
    pub fn current(&self) -> &Key {
        self.0.first().expect("a ring has at least one key")
    }

    /// All keys.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }
}
