//! Keys that sign JWTs. The only file that names jsonwebtoken (I1).
//!
//! jsonwebtoken makes headers and signs with HMAC. It does not verify: its `decode` would set up the key for each token and
//! read the header three times and the claims twice. Nor does it sign with pairs: it would set up the pair for each token,
//! which costs more than an RSA signature. Keys are set up once here (ADR 12).

use super::mac::MacKey;
use crate::{
    domain::Algorithm,
    keyring::{Material, PrivateKey, PublicKey, TokenKey, TokenRing},
};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{EncodingKey, Header};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

/// The longest encoded header that is decoded. Ours have some 80 bytes.
const MAX_HEADER_LEN: usize = 256;

/// The keys of a ring. The first one signs.
pub struct SigningKeys(Vec<SigningKey>);

/// A key and its one algorithm (RFC 8725 §3.1): the algorithm is the key's, whatever the token says (TOK-1).
pub struct SigningKey {
    /// The algorithm.
    pub algorithm: Algorithm,
    header: Header,
    /// The header as it stands in every token.
    encoded_header: String,
    signer: Signer,
    verifier: Verifier,
}

/// What signs, in the form the algorithm needs.
enum Signer {
    Hs256(EncodingKey),
    Pair(PrivateKey),
    /// The key's private part is no longer there.
    None,
}

/// What verifies signatures, in the form the algorithm needs.
enum Verifier {
    Hs256(MacKey),
    Pair(PublicKey),
}

/// The header of a presented token. It may have no field but those that we write: no `crit`, `b64`, `jku`, `jwk`,
/// `x5u` … (TOK-3).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PresentedHeader {
    alg: String,
    typ: String,
    kid: String,
}

impl SigningKeys {
    /// Sets up the keys of a ring for tokens of one media type (`typ`).
    #[must_use]
    pub fn new(ring: &TokenRing, typ: &str) -> Self {
        let current = std::iter::once(ring.current());
        let others = ring.iter().filter(|key| key.id != ring.current().id);
        Self(current.chain(others).map(|key| SigningKey::new(key, typ)).collect())
    }

    /// The key that signs.
    pub(super) fn current(&self) -> &SigningKey {
        self.0.first().expect("a ring has at least one key")
    }

    /// The key that an encoded header names, if the header has only the fields that ours have.
    pub(super) fn for_header(&self, header: &str) -> Option<&SigningKey> {
        // A header that we wrote is recognised by its text, without decoding it.
        if let Some(key) = self.0.iter().find(|key| key.encoded_header == header) {
            return Some(key);
        }
        let short = (header.len() <= MAX_HEADER_LEN).then_some(header)?;
        let json = BASE64URL_NOPAD.decode(short.as_bytes()).ok().filter(|json| is_object(json))?;
        let header: PresentedHeader = serde_json::from_slice(&json).ok()?;
        self.0.iter().find(|key| key.has_header(&header))
    }
}

impl SigningKey {
    /// Sets a key up.
    ///
    /// # Panics
    /// Never: the keyring has read its keys, and a ring's current key can sign.
    fn new(key: &TokenKey, typ: &str) -> Self {
        const READ: &str = "the keyring has read this key";
        let mut header = Header::new(match key.algorithm {
            Algorithm::HS256 => jsonwebtoken::Algorithm::HS256,
            Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
            Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
        });
        header.typ = Some(typ.into());
        header.kid = Some(key.id.clone());
        let json = serde_json::to_vec(&header).expect("a header of text is JSON");
        let (signer, verifier) = match &key.material {
            Material::Secret(secret) => {
                (Signer::Hs256(EncodingKey::from_secret(secret.expose_secret())), Verifier::Hs256(MacKey::of(&key.id, secret)))
            }
            Material::Pair { private, public } => {
                let private = private.as_ref().map(|private| PrivateKey::new(key.algorithm, private.expose_secret(), public).expect(READ));
                (private.map_or(Signer::None, Signer::Pair), Verifier::Pair(PublicKey::new(key.algorithm, public).expect(READ)))
            }
        };
        Self { algorithm: key.algorithm, encoded_header: BASE64URL_NOPAD.encode(&json), header, signer, verifier }
    }

    /// A token with these claims.
    ///
    /// # Panics
    /// Never for the current key of a ring.
    pub(super) fn sign(&self, claims: &impl Serialize) -> String {
        match &self.signer {
            Signer::Hs256(key) => jsonwebtoken::encode(&self.header, claims, key).expect("an HMAC key signs any claims"),
            Signer::Pair(key) => {
                let claims = serde_json::to_vec(claims).expect("our own claims serialise");
                let message = format!("{}.{}", self.encoded_header, BASE64URL_NOPAD.encode(&claims));
                let signature = BASE64URL_NOPAD.encode(&key.sign(message.as_bytes()));
                format!("{message}.{signature}")
            }
            Signer::None => unreachable!("a key that has no private part is not the current one"),
        }
    }

    /// Whether this is our signature, in base64url, of a message.
    pub(super) fn has_signed(&self, message: &str, signature: &str) -> bool {
        let Ok(signature) = BASE64URL_NOPAD.decode(signature.as_bytes()) else { return false };
        match &self.verifier {
            Verifier::Hs256(key) => key.verify(&[message.as_bytes()], &signature),
            Verifier::Pair(key) => key.verify(message.as_bytes(), &signature),
        }
    }

    /// Whether a header names this key, its algorithm and its media type. A media type may be in any case and with or
    /// without `application/` (RFC 7515 §4.1.9).
    fn has_header(&self, header: &PresentedHeader) -> bool {
        let media_type = header.typ.to_ascii_lowercase();
        let typ = media_type.strip_prefix("application/").unwrap_or(&media_type);
        self.header.typ.as_deref() == Some(typ) && self.header.kid.as_ref() == Some(&header.kid) && header.alg == self.algorithm.as_str()
    }
}

/// Whether JSON is an object. Must be checked because serde also decodes an array of the right length into a struct.
pub(super) fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().starts_with(b"{")
}
