//! Keys that sign JWTs. The only place that names jsonwebtoken (I1).
//!
//! The crate signs. A signature is verified by a key that was set up once, which the crate has no way to keep:
//! its `decode` would set the key up for each token, read its header three times and its claims twice
//! (ADR 12).

use super::mac::MacKey;
use crate::{
    domain::Algorithm,
    keyring::{Key, Ring},
};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{EncodingKey, Header};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

/// Longest encoded header: ours have some 80 bytes.
const MAX_HEADER_LEN: usize = 256;

/// The keys of a ring, the one that signs first.
pub struct SigningKeys(Vec<SigningKey>);

/// One key, one algorithm (RFC 8725 §3.1): the key says how it signs, never the token (TOK-1).
pub struct SigningKey {
    algorithm: Algorithm,
    header: Header,
    /// The header as it stands in every token.
    encoded_header: String,
    encoding: EncodingKey,
    verifying: VerifyingKey,
}

/// What a signature is verified with.
enum VerifyingKey {
    Hs256(MacKey),
}

/// A header with nothing in it that we do not write: no `crit`, `b64`, `jku`, `jwk`, `x5u` … (TOK-3).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PresentedHeader {
    alg: String,
    typ: String,
    kid: String,
}

impl SigningKeys {
    /// Sets up the keys of a ring for tokens of a media type (`typ`).
    #[must_use]
    pub fn new(ring: &Ring, typ: &str) -> Self {
        Self(ring.iter().map(|key| SigningKey::new(key, typ)).collect())
    }

    /// The key that signs.
    pub(super) fn current(&self) -> &SigningKey {
        self.0.first().expect("a ring has at least one key")
    }

    /// The key that an encoded header names, if the header says no more than ours do.
    pub(super) fn of_header(&self, header: &str) -> Option<&SigningKey> {
        // Those we write are known by sight.
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
    fn new(key: &Key, typ: &str) -> Self {
        let mut header = Header::new(jsonwebtoken::Algorithm::HS256);
        header.typ = Some(typ.into());
        header.kid = Some(key.id.clone());
        let json = serde_json::to_vec(&header).expect("a header of text is JSON");
        Self {
            algorithm: Algorithm::HS256,
            encoded_header: BASE64URL_NOPAD.encode(&json),
            header,
            encoding: EncodingKey::from_secret(key.secret.expose_secret()),
            verifying: VerifyingKey::Hs256(MacKey::new(key)),
        }
    }

    /// A token with these claims.
    ///
    /// # Panics
    /// Never: an HMAC key signs any claims.
    pub(super) fn sign(&self, claims: &impl Serialize) -> String {
        jsonwebtoken::encode(&self.header, claims, &self.encoding).expect("an HMAC key signs any claims")
    }

    /// Whether this is our signature, in base64url, of a message.
    pub(super) fn has_signed(&self, message: &str, signature: &str) -> bool {
        let Ok(signature) = BASE64URL_NOPAD.decode(signature.as_bytes()) else { return false };
        match &self.verifying {
            VerifyingKey::Hs256(key) => key.verify(&[message.as_bytes()], &signature),
        }
    }

    /// Whether a header names this key and agrees with it. Media types have no case, and may leave out
    /// `application/` (RFC 7515 §4.1.9).
    fn has_header(&self, header: &PresentedHeader) -> bool {
        let media_type = header.typ.to_ascii_lowercase();
        let typ = media_type.strip_prefix("application/").unwrap_or(&media_type);
        self.header.typ.as_deref() == Some(typ) && self.header.kid.as_ref() == Some(&header.kid) && header.alg == self.algorithm.as_str()
    }
}

/// Whether JSON is an object: serde takes an array of the right length for a struct too.
pub(super) fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().starts_with(b"{")
}
