//! The keyring's file: JSON, with a checksum over all of it. This version writes [`V2`] and reads [`V1`] too.

use super::{
    Key, Keyring, PrivateKey, PublicKey, Ring,
    jwk::Jwk,
    ring::KEY_LEN,
    token_ring::{Material, Stage, TokenKey, TokenRing},
};
use crate::domain::{Algorithm, Timestamp};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

impl Keyring {
    /// The file's text.
    ///
    /// # Errors
    /// When serialisation fails, which only a bug can cause.
    pub fn to_file(&self) -> Result<SecretString, serde_json::Error> {
        let tokens = |ring: &TokenRing| ring.iter().map(TokenKeyFile::of).collect();
        let secrets = |ring: &Ring| ring.iter().map(KeyFile::of).collect();
        let mut file = V2 {
            version: 2,
            checksum: String::new(),
            instance: HEXLOWER.encode(&self.instance),
            access: tokens(&self.access),
            oidc: self.oidc.as_ref().map(tokens).unwrap_or_default(),
            refresh: secrets(&self.refresh),
            hash: secrets(&self.hash),
            csrf: secrets(&self.csrf),
            gate: self.gate.as_ref().map(secrets).unwrap_or_default(),
        };
        file.checksum = file.digest()?;
        serde_json::to_string_pretty(&file).map(SecretString::from)
    }

    /// The keys in a file's text.
    ///
    /// # Errors
    /// What is wrong with the file, without quoting it.
    pub fn from_file(text: &SecretString) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let text = text.expose_secret();
        match parse::<Version>(text)?.version {
            1 => parse::<V1>(text)?.upgraded()?.into_keyring(),
            2 => {
                let file: V2 = parse(text)?;
                require_intact(&file.checksum, file.digest())?;
                file.into_keyring()
            }
            version => Err(format!("has version {version}, this release knows versions 1 and 2")),
        }
    }
}

/// Parses JSON. serde's own message would quote the file.
fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("is no keyring (line {}, column {})", error.line(), error.column()))
}

/// The present version.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct V2 {
    version: u32,
    /// The checksum of all the rest. Without it, a flipped bit in a key would silently end every session under it.
    checksum: String,
    instance: String,
    access: Vec<TokenKeyFile>,
    oidc: Vec<TokenKeyFile>,
    refresh: Vec<KeyFile>,
    hash: Vec<KeyFile>,
    csrf: Vec<KeyFile>,
    gate: Vec<KeyFile>,
}

impl V2 {
    /// The checksum of all other fields.
    fn digest(&self) -> Result<String, serde_json::Error> {
        digest(&(self.version, &self.instance, &self.access, &self.oidc, &self.refresh, &self.hash, &self.csrf, &self.gate))
    }

    fn into_keyring(self) -> Result<Keyring, String> {
        let mut instance = [0; 16];
        if self.instance.len() != 32 || HEXLOWER.decode_mut(self.instance.as_bytes(), &mut instance).is_err() {
            return Err("names no instance".into());
        }
        Ok(Keyring {
            instance,
            access: token_ring(self.access, "access")?,
            oidc: if self.oidc.is_empty() { None } else { Some(token_ring(self.oidc, "oidc")?) },
            refresh: ring(self.refresh, "refresh")?,
            hash: ring(self.hash, "hash")?,
            csrf: ring(self.csrf, "csrf")?,
            gate: if self.gate.is_empty() { None } else { Some(ring(self.gate, "gate")?) },
        })
    }
}

/// The version without asymmetric keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct V1 {
    version: u32,
    checksum: String,
    instance: String,
    access: Vec<AccessKeyV1>,
    refresh: Vec<KeyFile>,
    hash: Vec<KeyFile>,
    csrf: Vec<KeyFile>,
}

#[derive(Serialize, Deserialize)]
struct AccessKeyV1 {
    algorithm: Algorithm,
    #[serde(flatten)]
    key: KeyFile,
}

impl V1 {
    fn upgraded(self) -> Result<V2, String> {
        let own = digest(&(self.version, &self.instance, &self.access, &self.refresh, &self.hash, &self.csrf));
        require_intact(&self.checksum, own)?;
        let [AccessKeyV1 { algorithm: Algorithm::HS256, key }] =
            <[_; 1]>::try_from(self.access).map_err(|_| "has no access key".to_owned())?
        else {
            return Err("has an access key that is no secret".into());
        };
        let access = TokenKeyFile {
            id: key.id,
            algorithm: Algorithm::HS256,
            stage: StageFile::Current { since: key.created_at },
            created_at: key.created_at,
            secret: Some(key.secret),
            private: None,
            public: None,
        };
        let (instance, checksum) = (self.instance, self.checksum);
        Ok(V2 {
            version: 2,
            checksum,
            instance,
            access: vec![access],
            oidc: vec![],
            refresh: self.refresh,
            hash: self.hash,
            csrf: self.csrf,
            gate: vec![],
        })
    }
}

/// A checksum of what a file contains.
fn digest(rest: &impl Serialize) -> Result<String, serde_json::Error> {
    let rest = SecretString::from(serde_json::to_string(rest)?);
    Ok(HEXLOWER.encode(&Sha256::digest(rest.expose_secret())[..8]))
}

fn require_intact(checksum: &str, own: Result<String, serde_json::Error>) -> Result<(), String> {
    if own.is_ok_and(|own| own == checksum) { Ok(()) } else { Err("is damaged: its checksum is wrong".into()) }
}

/// A key that signs tokens: a secret, or a pair.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenKeyFile {
    id: String,
    algorithm: Algorithm,
    stage: StageFile,
    created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "expose_some")]
    secret: Option<SecretString>,
    /// PKCS#8; erased when the key no longer signs.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "expose_some")]
    private: Option<SecretString>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StageFile {
    Next { from: Timestamp },
    Current { since: Timestamp },
    Retired { until: Timestamp },
}

impl TokenKeyFile {
    fn of(key: &TokenKey) -> Self {
        let (secret, private, public) = match &key.material {
            Material::Secret(secret) => (Some(encode(secret)), None, None),
            Material::Pair { private, public } => (None, private.as_ref().map(encode), Some(BASE64URL_NOPAD.encode(public))),
        };
        let stage = match key.stage {
            Stage::Next { from } => StageFile::Next { from },
            Stage::Current { since } => StageFile::Current { since },
            Stage::Retired { until } => StageFile::Retired { until },
        };
        Self { id: key.id.clone(), algorithm: key.algorithm, stage, created_at: key.created_at, secret, private, public }
    }

    /// The key, if its parts are there and belong together.
    fn into_key(self) -> Option<TokenKey> {
        let stage = match self.stage {
            StageFile::Next { from } => Stage::Next { from },
            StageFile::Current { since } => Stage::Current { since },
            StageFile::Retired { until } => Stage::Retired { until },
        };
        let material = match (self.secret, self.private, self.public) {
            (Some(secret), None, None) if !self.algorithm.is_asymmetric() => Material::Secret(secret_bytes(&secret)?),
            (None, private, Some(public)) => {
                let public = BASE64URL_NOPAD.decode(public.as_bytes()).ok()?;
                PublicKey::new(self.algorithm, &public)?;
                let is_own_id = Jwk::new(self.algorithm, &public)?.kid == self.id;
                let private: Option<SecretSlice<u8>> = match private {
                    Some(private) => Some(BASE64URL_NOPAD.decode(private.expose_secret().as_bytes()).ok()?.into()),
                    None => None,
                };
                let belongs = match &private {
                    Some(private) => PrivateKey::new(self.algorithm, private.expose_secret(), &public).is_some(),
                    None => matches!(stage, Stage::Retired { .. }),
                };
                (is_own_id && belongs).then_some(Material::Pair { private, public })?
            }
            _ => return None,
        };
        Some(TokenKey { id: self.id, algorithm: self.algorithm, material, created_at: self.created_at, stage })
    }
}

#[derive(Serialize, Deserialize)]
struct KeyFile {
    id: String,
    #[serde(serialize_with = "expose")]
    secret: SecretString,
    created_at: Timestamp,
}

impl KeyFile {
    fn of(key: &Key) -> Self {
        Self { id: key.id.clone(), secret: encode(&key.secret), created_at: key.created_at }
    }
}

fn token_ring(keys: Vec<TokenKeyFile>, kind: &str) -> Result<TokenRing, String> {
    let mut ring = Vec::with_capacity(keys.len());
    for key in keys {
        let id = key.id.clone();
        ring.push(key.into_key().ok_or_else(|| format!("has a damaged {kind} key {id:?}"))?);
    }
    TokenRing::new(ring).ok_or_else(|| format!("has not exactly one {kind} key that signs"))
}

fn ring(keys: Vec<KeyFile>, kind: &str) -> Result<Ring, String> {
    let mut ring = Vec::with_capacity(keys.len());
    for KeyFile { id, secret, created_at } in keys {
        let secret = secret_bytes(&secret).ok_or_else(|| format!("has a damaged {kind} key {id:?}"))?;
        ring.push(Key { id, secret, created_at });
    }
    Ring::new(ring).ok_or_else(|| format!("has no {kind} key"))
}

fn secret_bytes(text: &SecretString) -> Option<SecretSlice<u8>> {
    let bytes = BASE64URL_NOPAD.decode(text.expose_secret().as_bytes()).ok()?;
    (bytes.len() >= KEY_LEN).then(|| bytes.into())
}

fn encode(secret: &SecretSlice<u8>) -> SecretString {
    BASE64URL_NOPAD.encode(secret.expose_secret()).into()
}

/// Writes a secret into the keyring's file. Secrets are serialised nowhere else.
fn expose<S: serde::Serializer>(secret: &SecretString, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(secret.expose_secret())
}

#[allow(clippy::ref_option, reason = "the form in which serde calls it")]
fn expose_some<S: serde::Serializer>(secret: &Option<SecretString>, to: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => expose(secret, to),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::{RotationPolicy, token_ring::PUBLISHED_AHEAD};
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn keyring() -> Keyring {
        Keyring::generate(Algorithm::HS256, NOW)
    }

    /// A keyring with a key of every algorithm, in every stage.
    fn mixed() -> Keyring {
        let policy = |algorithm| RotationPolicy { algorithm, every: None, token_lifetime: Duration::from_secs(900) };
        let mut keyring = keyring();
        for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
            keyring.access.settle(NOW, &policy(algorithm));
        }
        keyring.access.rotate(Algorithm::EdDSA, NOW, &policy(Algorithm::EdDSA)).expect("published");
        keyring.oidc = Some(TokenRing::generate(Algorithm::ES256, NOW));
        keyring.gate = Some(Ring::generate(NOW));
        keyring
    }

    #[test]
    fn a_keyring_comes_back_from_its_file() {
        let made = mixed();
        let read = Keyring::from_file(&made.to_file().expect("a file")).expect("a keyring");
        assert_eq!(read.instance, made.instance);
        let all = |keyring: &Keyring| {
            let tokens = keyring.access.iter().chain(keyring.oidc.iter().flat_map(TokenRing::iter));
            let tokens: Vec<_> = tokens.map(|key| serde_json::to_string(&TokenKeyFile::of(key)).expect("JSON")).collect();
            let rings = [&keyring.refresh, &keyring.hash, &keyring.csrf].into_iter().chain(&keyring.gate);
            let secrets: Vec<_> = rings.flat_map(Ring::iter).map(|key| serde_json::to_string(&KeyFile::of(key)).expect("JSON")).collect();
            (tokens, secrets)
        };
        assert_eq!(all(&read), all(&made));
        assert_eq!(read.access.iter().count(), 5);
        assert_eq!(read.access.iter().filter(|key| key.stage == Stage::Next { from: NOW.plus(PUBLISHED_AHEAD) }).count(), 1);
    }

    /// A file of a release that knew HS256 alone.
    const VERSION_1: &str = r#"{"version":1,"checksum":"CHECKSUM","instance":"000102030405060708090a0b0c0d0e0f",
        "access":[{"algorithm":"HS256","id":"a1","secret":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","created_at":"1970-01-01T00:00:01.000Z"}],
        "refresh":[{"id":"a2","secret":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE","created_at":"1970-01-01T00:00:01.000Z"}],
        "hash":[{"id":"a3","secret":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI","created_at":"1970-01-01T00:00:01.000Z"}],
        "csrf":[{"id":"a4","secret":"AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM","created_at":"1970-01-01T00:00:01.000Z"}]}"#;

    #[test]
    fn a_file_of_version_1_is_read() {
        let file = |checksum: &str| SecretString::from(VERSION_1.replace("CHECKSUM", checksum));
        let read = Keyring::from_file(&file("6330dd8fcdd00c5f")).expect("a keyring");
        assert_eq!((&*read.access.current().id, read.access.current().algorithm), ("a1", Algorithm::HS256));
        assert_eq!(read.csrf.current().secret.expose_secret(), [3; 32]);
        assert!(Keyring::from_file(&file("0000000000000000")).is_err_and(|why| why.contains("damaged")));
    }

    #[test]
    fn every_purpose_has_its_own_key_and_none_shows() {
        let made = mixed();
        let mut secrets = Vec::new();
        for key in made.access.iter().chain(made.oidc.iter().flat_map(TokenRing::iter)) {
            match &key.material {
                Material::Secret(secret) => secrets.push(encode(secret)),
                Material::Pair { private, .. } => secrets.extend(private.as_ref().map(encode)),
            }
        }
        secrets.extend([&made.refresh, &made.hash, &made.csrf].into_iter().chain(&made.gate).map(|ring| encode(&ring.current().secret)));
        assert_eq!(secrets.len(), 8, "of retired pairs there is none");
        let (shown, file) = (format!("{made:?}"), made.to_file().expect("a file"));
        assert!(shown.contains("REDACTED"));
        for (i, secret) in secrets.iter().enumerate() {
            let secret = secret.expose_secret();
            assert!(secrets[..i].iter().all(|other| other.expose_secret() != secret));
            assert!(file.expose_secret().contains(secret) && !shown.contains(secret));
        }
    }

    #[test]
    fn a_damaged_file_is_refused_without_being_quoted() {
        let file = keyring().to_file().expect("a file");
        let text = file.expose_secret();
        for damaged in [
            String::new(),
            text[..text.len() / 2].to_owned(),
            text.replace("\"version\": 2", "\"version\": 3"),
            text.replace("\"secret\": \"", "\"secret\": \"*"),
            text.replace("\"refresh\": [", "\"refresh\": [], \"more\": ["),
        ] {
            let why = Keyring::from_file(&damaged.clone().into()).expect_err("damaged");
            assert!(!text.lines().filter(|l| l.contains("secret")).any(|l| why.contains(l.trim())), "{why}");
        }
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        let key = |algorithm| TokenKeyFile::of(&TokenKey::generate(algorithm, NOW, Stage::Current { since: NOW }));
        for algorithm in [Algorithm::EdDSA, Algorithm::ES256] {
            let other = key(algorithm);
            assert!(key(algorithm).into_key().is_some());
            assert!(TokenKeyFile { id: "another".into(), ..key(algorithm) }.into_key().is_none(), "another key's id");
            assert!(TokenKeyFile { private: other.private, ..key(algorithm) }.into_key().is_none(), "another key's private part");
            assert!(TokenKeyFile { private: None, ..key(algorithm) }.into_key().is_none(), "it cannot sign");
            assert!(TokenKeyFile { algorithm: Algorithm::HS256, ..key(algorithm) }.into_key().is_none(), "a public key is no secret");
        }
        assert!(TokenKeyFile { algorithm: Algorithm::EdDSA, ..key(Algorithm::HS256) }.into_key().is_none());
        let (a, b) = (key(Algorithm::HS256), key(Algorithm::HS256));
        assert!(token_ring(vec![a, b], "access").is_err_and(|why| why.contains("one access key that signs")));
    }
}
