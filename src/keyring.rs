//! The keys of an installation: generated once and kept in one file. There may be several of a kind, told apart by
//! their ids.
//!
//! The first key of a kind is the current one; the others only verify what was issued under them. So a key rotation
//! adds a key at the front and removes one at the end, and nothing else changes.

use crate::domain::{Algorithm, Timestamp};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A secret, with an id that is not secret.
#[derive(Debug, Clone)]
pub struct Key {
    /// The `kid`.
    pub id: String,
    /// The bytes.
    pub secret: SecretSlice<u8>,
}

/// All keys of one kind, the current one first.
#[derive(Debug, Clone)]
pub struct Ring(Vec<Key>);

impl Ring {
    /// A ring of one given key.
    #[cfg(test)]
    pub(crate) fn of(id: &str, secret: Vec<u8>) -> Self {
        Self(vec![Key { id: id.to_owned(), secret: secret.into() }])
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

/// The keys of an installation. Every purpose has keys of its own.
#[derive(Debug, Clone)]
pub struct Keyring {
    /// The id of the installation, which the database carries too.
    pub instance: [u8; 16],
    /// The keys that sign access tokens.
    pub access: Ring,
    /// The keys that tag refresh tokens.
    pub refresh: Ring,
    /// The keys that hash what the database keeps of refresh tokens, invitations and set-up links. Without them,
    /// nobody can use what a copy of the database contains, or add valid rows to a database.
    pub hash: Ring,
    /// The keys that bind CSRF tokens to sessions.
    pub csrf: Ring,
}

/// The length of generated keys, in bytes: that of HMAC-SHA-256's output (RFC 7518 §3.2).
const KEY_LEN: usize = 32;

impl Keyring {
    /// A new installation's keys.
    ///
    /// # Panics
    /// When the operating system provides no randomness.
    #[must_use]
    pub fn generate() -> Self {
        let mut instance = [0; 16];
        getrandom::fill(&mut instance).expect("the operating system provides randomness");
        let ring = || Ring(vec![Key::generate()]);
        Self { instance, access: ring(), refresh: ring(), hash: ring(), csrf: ring() }
    }

    /// Replaces generated keys with the operator's own secrets.
    #[must_use]
    pub fn with_operator_secrets(mut self, access: Option<&SecretSlice<u8>>, refresh: Option<&SecretSlice<u8>>) -> Self {
        if let Some(secret) = access {
            self.access = Ring(vec![Key::from_operator_secret(secret)]);
        }
        if let Some(secret) = refresh {
            self.refresh = Ring(vec![Key::from_operator_secret(secret)]);
        }
        self
    }

    /// The file's text.
    ///
    /// # Errors
    /// When serialisation fails, which only a bug can cause.
    pub fn to_file(&self, now: Timestamp) -> Result<SecretString, serde_json::Error> {
        let keys = |ring: &Ring| ring.iter().map(|key| KeyFile::of(key, now)).collect();
        let access = self.access.iter().map(|key| AccessKeyFile { algorithm: Algorithm::HS256, key: KeyFile::of(key, now) }).collect();
        let mut file = KeyringFile {
            version: 1,
            checksum: String::new(),
            instance: HEXLOWER.encode(&self.instance),
            access,
            refresh: keys(&self.refresh),
            hash: keys(&self.hash),
            csrf: keys(&self.csrf),
        };
        file.checksum = file.digest()?;
        serde_json::to_string_pretty(&file).map(SecretString::from)
    }

    /// The keys in a file's text.
    ///
    /// # Errors
    /// What is wrong with the file, without quoting it.
    pub fn from_file(text: &SecretString) -> Result<Self, String> {
        // serde's own message would quote the file.
        let file: KeyringFile = serde_json::from_str(text.expose_secret())
            .map_err(|error| format!("is no keyring (line {}, column {})", error.line(), error.column()))?;
        if file.version != 1 {
            return Err(format!("has version {}, this release knows version 1", file.version));
        }
        if file.digest().ok().as_ref() != Some(&file.checksum) {
            return Err("is damaged: its checksum is wrong".into());
        }
        let mut instance = [0; 16];
        if file.instance.len() != 32 || HEXLOWER.decode_mut(file.instance.as_bytes(), &mut instance).is_err() {
            return Err("names no instance".into());
        }
        Ok(Self {
            instance,
            access: ring(file.access.into_iter().map(|key| key.key).collect(), "access")?,
            refresh: ring(file.refresh, "refresh")?,
            hash: ring(file.hash, "hash")?,
            csrf: ring(file.csrf, "csrf")?,
        })
    }
}

impl Key {
    fn generate() -> Self {
        let (mut secret, mut id) = (vec![0; KEY_LEN], [0; 6]);
        getrandom::fill(&mut secret).expect("the operating system provides randomness");
        getrandom::fill(&mut id).expect("the operating system provides randomness");
        Self { id: HEXLOWER.encode(&id), secret: secret.into() }
    }

    /// An operator's secret, byte for byte, with an id derived from it, so that it is the same at every start.
    fn from_operator_secret(secret: &SecretSlice<u8>) -> Self {
        let secret = secret.expose_secret();
        let digest = Sha256::new().chain_update(b"doorward kid\0").chain_update(secret).finalize();
        Self { id: format!("op-{}", HEXLOWER.encode(&digest[..4])), secret: secret.to_vec().into() }
    }
}

fn ring(keys: Vec<KeyFile>, kind: &str) -> Result<Ring, String> {
    let mut ring = Vec::with_capacity(keys.len());
    for key in keys {
        let secret = BASE64URL_NOPAD
            .decode(key.secret.expose_secret().as_bytes())
            .ok()
            .filter(|secret| secret.len() >= KEY_LEN)
            .ok_or_else(|| format!("has a damaged {kind} key {:?}", key.id))?;
        ring.push(Key { id: key.id, secret: secret.into() });
    }
    if ring.is_empty() { Err(format!("has no {kind} key")) } else { Ok(Ring(ring)) }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyringFile {
    version: u32,
    /// The checksum of all the rest. Without it, a flipped bit in a key would silently end every session under it.
    checksum: String,
    instance: String,
    access: Vec<AccessKeyFile>,
    refresh: Vec<KeyFile>,
    hash: Vec<KeyFile>,
    csrf: Vec<KeyFile>,
}

impl KeyringFile {
    /// The checksum of all other fields.
    fn digest(&self) -> Result<String, serde_json::Error> {
        let rest = (self.version, &self.instance, &self.access, &self.refresh, &self.hash, &self.csrf);
        let rest = SecretString::from(serde_json::to_string(&rest)?);
        Ok(HEXLOWER.encode(&Sha256::digest(rest.expose_secret())[..8]))
    }
}

#[derive(Serialize, Deserialize)]
struct AccessKeyFile {
    algorithm: Algorithm,
    #[serde(flatten)]
    key: KeyFile,
}

#[derive(Serialize, Deserialize)]
struct KeyFile {
    id: String,
    #[serde(serialize_with = "expose")]
    secret: SecretString,
    created_at: Timestamp,
}

impl KeyFile {
    fn of(key: &Key, now: Timestamp) -> Self {
        Self { id: key.id.clone(), secret: BASE64URL_NOPAD.encode(key.secret.expose_secret()).into(), created_at: now }
    }
}

/// Writes a secret into the keyring's file. Secrets are serialised nowhere else.
fn expose<S: serde::Serializer>(secret: &SecretString, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(secret.expose_secret())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyring_comes_back_from_its_file() {
        let made = Keyring::generate();
        let file = made.to_file(Timestamp::from_secs(1)).expect("a file");
        let read = Keyring::from_file(&file).expect("a keyring");
        assert_eq!(read.instance, made.instance);
        for (a, b) in [(&made.access, &read.access), (&made.refresh, &read.refresh), (&made.hash, &read.hash), (&made.csrf, &read.csrf)] {
            assert_eq!(a.current().id, b.current().id);
            assert_eq!(a.current().secret.expose_secret(), b.current().secret.expose_secret());
        }
    }

    #[test]
    fn every_purpose_has_its_own_key_and_none_shows() {
        let made = Keyring::generate();
        let rings = [&made.access, &made.refresh, &made.hash, &made.csrf];
        for (i, a) in rings.iter().enumerate() {
            for b in &rings[i + 1..] {
                assert_ne!(a.current().secret.expose_secret(), b.current().secret.expose_secret());
            }
        }
        let shown = format!("{made:?}");
        let file = made.to_file(Timestamp::from_secs(1)).expect("a file");
        let secret = BASE64URL_NOPAD.encode(made.access.current().secret.expose_secret());
        assert!(file.expose_secret().contains(&secret));
        assert!(!shown.contains(&secret) && shown.contains("REDACTED"));
    }

    #[test]
    fn a_damaged_file_is_refused_without_being_quoted() {
        let file = Keyring::generate().to_file(Timestamp::from_secs(1)).expect("a file");
        let text = file.expose_secret();
        for damaged in [
            String::new(),
            text[..text.len() / 2].to_owned(),
            text.replace("\"version\": 1", "\"version\": 2"),
            text.replace("\"secret\": \"", "\"secret\": \"*"),
            text.replace("\"refresh\": [", "\"refresh\": [], \"more\": ["),
        ] {
            let why = Keyring::from_file(&damaged.clone().into()).expect_err("damaged");
            assert!(!text.lines().filter(|l| l.contains("secret")).any(|l| why.contains(l.trim())), "{why}");
        }
    }

    #[test]
    fn operator_secrets_are_the_keys_byte_for_byte() {
        let secret = SecretSlice::from(b"an operator's own secret, 32 bytes \xff or more".to_vec());
        let keyring = Keyring::generate().with_operator_secrets(Some(&secret), None);
        assert_eq!(keyring.access.current().secret.expose_secret(), secret.expose_secret());
        assert_eq!(keyring.access.iter().count(), 1);
    }
}
