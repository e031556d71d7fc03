//! The keys of an installation: generated once and kept in one file. Every purpose has keys of its own.

mod file;
mod jwk;
mod pair;
mod ring;
mod token_ring;

pub use jwk::Jwk;
pub use pair::{PrivateKey, PublicKey};
pub use ring::{Change, Key, Ring};
pub use token_ring::{Material, PUBLISHED_AHEAD, RotationPolicy, Stage, TokenKey, TokenRing};

use crate::domain::{Algorithm, Timestamp};
use secrecy::SecretSlice;

/// The keys of an installation.
#[derive(Debug, Clone)]
pub struct Keyring {
    /// The id of the installation, which the database carries too.
    pub instance: [u8; 16],
    /// The keys that sign access tokens.
    pub access: TokenRing,
    /// The keys that sign what other services' clients are given (OpenID Connect); none as long as there is no client.
    /// They are never those of access tokens, so that neither kind of token can be taken for the other.
    pub oidc: Option<TokenRing>,
    /// The keys that tag refresh tokens.
    pub refresh: Ring,
    /// The keys that hash what the database keeps of refresh tokens, invitations and set-up links. Without them,
    /// nobody can use what a copy of the database contains, or add valid rows to a database.
    pub hash: Ring,
    /// The keys that bind CSRF tokens to sessions.
    pub csrf: Ring,
    /// The keys that tag what browsers carry between the sign-in page and the apps behind the gate; none as long as there is
    /// no app.
    pub gate: Option<Ring>,
}

impl Keyring {
    /// A new installation's keys; access tokens are signed with `algorithm`.
    ///
    /// # Panics
    /// When the operating system provides no randomness.
    #[must_use]
    pub fn generate(algorithm: Algorithm, now: Timestamp) -> Self {
        let mut instance = [0; 16];
        getrandom::fill(&mut instance).expect("the operating system provides randomness");
        let ring = || Ring::generate(now);
        Self { instance, access: TokenRing::generate(algorithm, now), oidc: None, refresh: ring(), hash: ring(), csrf: ring(), gate: None }
    }

    /// Makes the keys of the gate, unless they are there.
    pub fn begin_gate(&mut self, now: Timestamp) -> Vec<Change> {
        match self.gate {
            Some(_) => Vec::new(),
            None => vec![Change::InUse(self.gate.insert(Ring::generate(now)).current().id.clone())],
        }
    }

    /// These keys, but an operator's own in place of generated ones.
    #[must_use]
    pub fn with_operator_keys(mut self, keys: &OperatorKeys) -> Self {
        if let Some(key) = &keys.access {
            self.access = TokenRing::of_secret(key.clone());
        }
        if let Some(key) = &keys.refresh {
            self.refresh = Ring::of(key.clone());
        }
        self
    }
}

/// Keys that an operator has provided. They are never written into the keyring's file.
#[derive(Debug, Clone, Default)]
pub struct OperatorKeys {
    /// Signs access tokens.
    pub access: Option<Key>,
    /// Tags refresh tokens.
    pub refresh: Option<Key>,
}

impl OperatorKeys {
    /// The keys of these secrets.
    #[must_use]
    pub fn new(access: Option<&SecretSlice<u8>>, refresh: Option<&SecretSlice<u8>>) -> Self {
        Self { access: access.map(Key::from_operator_secret), refresh: refresh.map(Key::from_operator_secret) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn operator_secrets_are_the_keys_byte_for_byte() {
        let secret = SecretSlice::from(b"an operator's own secret, 32 bytes \xff or more".to_vec());
        let made = Keyring::generate(Algorithm::HS256, Timestamp::default());
        let keyring = made.with_operator_keys(&OperatorKeys::new(Some(&secret), Some(&secret)));
        assert_eq!(keyring.access.iter().count(), 1);
        let Material::Secret(access) = &keyring.access.current().material else { panic!("a secret") };
        assert_eq!(access.expose_secret(), secret.expose_secret());
        assert_eq!(keyring.refresh.current().secret.expose_secret(), secret.expose_secret());
    }
}
