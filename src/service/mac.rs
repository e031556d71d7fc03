//! HMAC-SHA-256 with the keys set up once.

use crate::keyring::{Key, Keyring, Ring};
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::RwLock;
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;
use std::sync::Arc;

/// A named key, ready to authenticate.
pub struct MacKey {
    /// The key's id.
    pub id: String,
    keyed: Hmac<Sha256>,
}

impl MacKey {
    /// Sets a key up.
    pub fn new(key: &Key) -> Self {
        Self::of(&key.id, &key.secret)
    }

    /// Sets a secret up.
    pub fn of(id: &str, secret: &SecretSlice<u8>) -> Self {
        let keyed = Hmac::new_from_slice(secret.expose_secret()).expect("HMAC takes keys of any length");
        Self { id: id.to_owned(), keyed }
    }

    /// The tag over the concatenation of `parts`.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.mac_of(parts).finalize().into_bytes().into()
    }

    /// Whether `tag` is the tag over the concatenation of `parts`, in constant time.
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        self.mac_of(parts).verify_slice(tag).is_ok()
    }

    fn mac_of(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac
    }
}

/// The keys of a ring, the current one first. Clones share them, so that all of them see a replacement.
#[derive(Clone)]
pub struct MacRing(Arc<RwLock<Arc<[MacKey]>>>);

impl MacRing {
    /// Sets a ring up.
    pub fn new(ring: &Ring) -> Self {
        Self(Arc::new(RwLock::new(set_up(ring))))
    }

    /// All keys, the current one first.
    pub fn keys(&self) -> Arc<[MacKey]> {
        Arc::clone(&self.0.read())
    }

    /// What `make` makes with the current key, which new tags are made with.
    pub fn with_current<T>(&self, make: impl FnOnce(&MacKey) -> T) -> T {
        make(self.keys().first().expect("a ring has at least one key"))
    }

    /// What `make` makes with the key of this id, if there is one.
    pub fn with_key<T>(&self, id: &str, make: impl FnOnce(&MacKey) -> T) -> Option<T> {
        self.keys().iter().find(|key| key.id == id).map(make)
    }

    fn replace(&self, ring: &Ring) {
        *self.0.write() = set_up(ring);
    }
}

fn set_up(ring: &Ring) -> Arc<[MacKey]> {
    ring.iter().map(MacKey::new).collect()
}

/// The rings of a keyring that authenticate with secrets.
#[derive(Clone)]
pub struct MacRings {
    /// Tags refresh tokens.
    pub refresh: MacRing,
    /// Hashes what the database keeps of secrets.
    pub hash: MacRing,
    /// Binds CSRF tokens to sessions.
    pub csrf: MacRing,
    /// Tags passes, and what leads to them. As long as the keyring has no keys for it, nothing is tagged.
    pub gate: MacRing,
}

impl MacRings {
    /// Sets them up.
    #[must_use]
    pub fn new(keyring: &Keyring) -> Self {
        let [refresh, hash, csrf] = [&keyring.refresh, &keyring.hash, &keyring.csrf].map(MacRing::new);
        Self { refresh, hash, csrf, gate: MacRing(Arc::new(RwLock::new(keyring.gate.as_ref().map_or_else(|| Arc::from([]), set_up)))) }
    }

    /// Those of a new installation.
    #[cfg(test)]
    pub(crate) fn example() -> Self {
        Self::new(&Keyring::generate(crate::domain::Algorithm::HS256, crate::domain::Timestamp::default()))
    }

    /// Replaces their keys by those that the keyring has now.
    pub fn replace(&self, keyring: &Keyring) {
        self.refresh.replace(&keyring.refresh);
        self.hash.replace(&keyring.hash);
        self.csrf.replace(&keyring.csrf);
        if let Some(gate) = &keyring.gate {
            self.gate.replace(gate);
        }
    }
}
