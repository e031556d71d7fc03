//! A token, divided into its three parts.

use super::{
    super::keys::{SigningKey, is_object},
    claims::PresentedClaims,
};
use data_encoding::BASE64URL_NOPAD;

/// The longest token that is verified, in bytes (TOK-6).
const MAX_TOKEN_LEN: usize = 4096;

/// The parts of a token, as they were sent.
pub(super) struct Parts<'a> {
    pub header: &'a str,
    claims: &'a str,
    /// What is signed: the two, with a dot between them.
    message: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    /// Divides a token, unless it is too long or has not three parts (TOK-6).
    pub fn of(token: &'a str) -> Option<Self> {
        let (message, signature) = token.rsplit_once('.').filter(|_| token.len() <= MAX_TOKEN_LEN)?;
        let (header, claims) = message.split_once('.').filter(|(_, claims)| !claims.contains('.'))?;
        Some(Self { header, claims, message, signature })
    }

    /// The claims, if this key has signed them. Those of a token with another signature are never decoded (TOK-6). The
    /// decoder of each part accepts only base64url without padding.
    pub fn decode_signed(&self, key: &SigningKey) -> Option<PresentedClaims> {
        let claims = key.has_signed(self.message, self.signature).then(|| BASE64URL_NOPAD.decode(self.claims.as_bytes()).ok())??;
        is_object(&claims).then(|| serde_json::from_slice(&claims).ok())?
    }
}

/// Decodes a token's header and claims for a person to read. Verifies nothing.
///
/// # Errors
/// When it is not made of two base64url parts of JSON and a signature.
pub fn inspect(token: &str) -> Result<(serde_json::Value, serde_json::Value), &'static str> {
    let parts: Vec<_> = token.trim().split('.').collect();
    let [header, claims, _signature] = parts[..] else { return Err("a JWT has three parts with dots between them") };
    let decode = |part: &str| {
        let bytes = BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| "a part is not base64url")?;
        serde_json::from_slice(&bytes).map_err(|_| "a part is not JSON")
    };
    Ok((decode(header)?, decode(claims)?))
}
