//! HMAC-SHA-256 with the key set up once.

use crate::keyring::{Key, Ring};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::ExposeSecret;
use sha2::Sha256;

/// A named key, ready to authenticate.
#[derive(Clone)]
pub struct MacKey {
    /// The key's id.
    pub id: String,
    keyed: Hmac<Sha256>,
}

impl MacKey {
    /// Sets a key up.
    pub fn new(key: &Key) -> Self {
        let keyed = Hmac::new_from_slice(key.secret.expose_secret()).expect("HMAC takes keys of any length");
        Self { id: key.id.clone(), keyed }
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

/// The keys of a ring, the current one first.
#[derive(Clone)]
pub struct MacRing(Vec<MacKey>);

impl MacRing {
    /// Sets a ring up.
    pub fn new(ring: &Ring) -> Self {
        Self(ring.iter().map(MacKey::new).collect())
    }

    /// The key that new tags are made with.
    pub fn current(&self) -> &MacKey {
        self.0.first().expect("a ring has at least one key")
    }

    /// The key with this id.
    pub fn find(&self, id: &str) -> Option<&MacKey> {
        self.0.iter().find(|key| key.id == id)
    }

    /// All keys.
    pub fn iter(&self) -> impl Iterator<Item = &MacKey> {
        self.0.iter()
    }
}
