//! Refresh tokens and other secrets that are shown once: how they are made and verified.
//!
//! A refresh token holds its session, its generation and its expiry, authenticated by a tag: `dwr1.` and the
//! base64url of sid (16 bytes), generation (4), expiry in seconds (8), tag (32). The tag proves that we issued the
//! token, so no generation has to be stored, and a token that is sent again is computed again (ADR 3).
//! The database keeps only a hash of the current token, under another key. So somebody who can write the database
//! cannot plant a session, and somebody who can read it cannot use one.

use super::mac::{MacKey, MacRing, MacRings};
use crate::domain::{InviteId, Session, SessionId, Timestamp};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use subtle::ConstantTimeEq;

const REFRESH_PREFIX: &str = "dwr1.";
const SETUP_PREFIX: &str = "dws1.";
const INVITE_PREFIX: &str = "dwi1.";
const BODY_LEN: usize = 16 + 4 + 8;
const TOKEN_LEN: usize = BODY_LEN + 32;

/// Makes and verifies refresh tokens.
pub struct RefreshTokens {
    tag_keys: MacRing,
    hash_keys: MacRing,
}

/// A refresh token whose tag is genuine: we issued it.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedRefreshToken {
    /// Its session.
    pub session: SessionId,
    /// Its generation.
    pub generation: u32,
    /// When it expires, or has expired.
    pub expires_at: Timestamp,
    bytes: [u8; TOKEN_LEN],
}

/// Prints what the token says and not the token (I5).
impl fmt::Debug for VerifiedRefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = f.debug_struct("VerifiedRefreshToken");
        printed.field("session", &self.session).field("generation", &self.generation).field("bytes", &"[REDACTED]").finish_non_exhaustive()
    }
}

/// A keyed hash and the key it is under.
pub struct TokenHash {
    /// The key's id.
    pub key: String,
    /// The hash.
    pub hash: [u8; 32],
}

impl RefreshTokens {
    /// Sets up the keys.
    #[must_use]
    pub fn new(rings: &MacRings) -> Self {
        Self { tag_keys: rings.refresh.clone(), hash_keys: rings.hash.clone() }
    }

    /// The id of the key that tags the tokens of new sessions.
    #[must_use]
    pub fn current_key(&self) -> String {
        self.tag_keys.with_current(|key| key.id.clone())
    }

    /// The current token of a session; `None` when its key is no longer in the ring.
    #[must_use]
    pub fn token(&self, session: &Session) -> Option<SecretString> {
        let bytes = self.bytes(&session.token_key, session.id, session.generation, session.expires_at)?;
        Some(format!("{REFRESH_PREFIX}{}", BASE64URL_NOPAD.encode(&bytes)).into())
    }

    /// The hash of a token that the database keeps; `None` when the tag key is no longer in the ring.
    #[must_use]
    pub fn hash(&self, token_key: &str, session: SessionId, generation: u32, expires_at: Timestamp) -> Option<TokenHash> {
        let bytes = self.bytes(token_key, session, generation, expires_at)?;
        Some(self.hash_keys.with_current(|key| TokenHash { key: key.id.clone(), hash: hash(key, &bytes) }))
    }

    /// The hash, kept in the session, of the `Idempotency-Key` that a refresh of this generation came with; `None`
    /// when the tag key is no longer in the ring. It is made with the session's own tag key, which stays the same
    /// when the ring gets a new current key.
    #[must_use]
    pub fn retry_hash(&self, session: &Session, generation: u32, key: &str) -> Option<[u8; 32]> {
        let retry = [b"retry\0", &session.id.as_bytes()[..], &generation.to_be_bytes(), key.as_bytes()];
        self.tag_keys.with_key(&session.token_key, |key| key.tag(&retry))
    }

    /// Verifies by its tag that we issued a token. Says nothing of whether it is current or its session goes on.
    #[must_use]
    pub fn verify(&self, token: &str) -> Option<VerifiedRefreshToken> {
        let text = token.strip_prefix(REFRESH_PREFIX)?.as_bytes();
        let mut bytes = [0; TOKEN_LEN];
        // The length must be exact, so that each token has exactly one text.
        if BASE64URL_NOPAD.decode_len(text.len()) != Ok(TOKEN_LEN) {
            return None;
        }
        BASE64URL_NOPAD.decode_mut(text, &mut bytes).ok()?;
        let (body, tag) = bytes.split_at(BODY_LEN);
        self.tag_keys.keys().iter().find(|key| key.verify(&[b"rt1", body], tag))?;
        let (session, rest) = body.split_first_chunk()?;
        let (generation, expires) = rest.split_first_chunk()?;
        Some(VerifiedRefreshToken {
            session: SessionId::from_bytes(*session),
            generation: u32::from_be_bytes(*generation),
            expires_at: Timestamp::from_secs(u64::from_be_bytes(expires.try_into().ok()?)),
            bytes,
        })
    }

    /// Whether a token is the current one of its session's row. In a row that was not written with our key no
    /// token is.
    #[must_use]
    pub fn is_current(&self, token: &VerifiedRefreshToken, session: &Session) -> bool {
        self.hash_keys.with_key(&session.hash_key, |key| hash(key, &token.bytes)).is_some_and(|hash| hash.ct_eq(&session.token_hash).into())
    }

    fn bytes(&self, key: &str, session: SessionId, generation: u32, expires_at: Timestamp) -> Option<[u8; TOKEN_LEN]> {
        let mut bytes = [0; TOKEN_LEN];
        bytes[..16].copy_from_slice(session.as_bytes());
        bytes[16..20].copy_from_slice(&generation.to_be_bytes());
        bytes[20..BODY_LEN].copy_from_slice(&expires_at.secs().to_be_bytes());
        let tag = self.tag_keys.with_key(key, |key| key.tag(&[b"rt1", &bytes[..BODY_LEN]]))?;
        bytes[BODY_LEN..].copy_from_slice(&tag);
        Some(bytes)
    }
}

fn hash(key: &MacKey, bytes: &[u8]) -> [u8; 32] {
    key.tag(&[b"refresh\0", bytes])
}

/// Makes and verifies set-up tokens and invitation codes.
pub struct OneTimeCodes {
    hash_keys: MacRing,
}

impl OneTimeCodes {
    /// Sets up the keys.
    #[must_use]
    pub fn new(rings: &MacRings) -> Self {
        Self { hash_keys: rings.hash.clone() }
    }

    fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.hash_keys.with_current(|key| key.tag(parts))
    }

    /// A new set-up token, and its hash.
    #[must_use]
    pub fn setup(&self) -> (SecretString, [u8; 32]) {
        let secret = random::<32>();
        (format!("{SETUP_PREFIX}{}", BASE64URL_NOPAD.encode(&secret)).into(), self.hash(&[b"setup\0", &secret]))
    }

    /// The hash of a set-up token.
    #[must_use]
    pub fn setup_hash(&self, token: &SecretString) -> Option<[u8; 32]> {
        let secret = decode::<32>(token.expose_secret().strip_prefix(SETUP_PREFIX)?)?;
        Some(self.hash(&[b"setup\0", &secret]))
    }

    /// The hash of a typed name by which the log shows the account of a failed login.
    #[must_use]
    pub fn name_hash(&self, name: &str) -> String {
        HEXLOWER.encode(&self.hash(&[b"name\0", name.trim().to_lowercase().as_bytes()])[..8])
    }

    /// A new code for an invitation, and its hash.
    #[must_use]
    pub fn invite(&self, id: InviteId) -> (SecretString, [u8; 32]) {
        let mut code = [0; 40];
        code[..16].copy_from_slice(id.as_bytes());
        code[16..].copy_from_slice(&random::<24>());
        (format!("{INVITE_PREFIX}{}", BASE64URL_NOPAD.encode(&code)).into(), self.hash(&[b"invite\0", &code]))
    }

    /// The invitation that a code belongs to, and the code's hash.
    #[must_use]
    pub fn invite_hash(&self, code: &SecretString) -> Option<(InviteId, [u8; 32])> {
        let code = decode::<40>(code.expose_secret().strip_prefix(INVITE_PREFIX)?)?;
        Some((InviteId::from_bytes(*code.first_chunk()?), self.hash(&[b"invite\0", &code])))
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system provides randomness");
    bytes
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn session(tokens: &RefreshTokens, generation: u32) -> Session {
        let (id, expires_at) = (SessionId::from_bytes([7; 16]), Timestamp::from_secs(2_000_000_000));
        let hash = tokens.hash(&tokens.current_key(), id, generation, expires_at).expect("the key is there");
        Session {
            id,
            generation,
            token_hash: hash.hash,
            hash_key: hash.key,
            token_key: tokens.current_key(),
            expires_at,
            ends_at: expires_at,
            sweep_at: expires_at,
            ..Session::example()
        }
    }

    #[test]
    fn a_token_is_verified_and_known_to_its_row() {
        let tokens = RefreshTokens::new(&MacRings::example());
        let session = session(&tokens, 5);
        let token = tokens.token(&session).expect("the key is there");
        let verified = tokens.verify(token.expose_secret()).expect("genuine");
        assert_eq!((verified.session, verified.generation, verified.expires_at), (session.id, 5, session.expires_at));
        assert!(tokens.is_current(&verified, &session));
        assert_eq!(token.expose_secret().len(), 5 + 80);
        // In a row that was planted without our key no token is current.
        let planted = Session { token_hash: [0; 32], ..session };
        assert!(!tokens.is_current(&verified, &planted));
    }

    #[test]
    fn ref_8_a_token_has_one_text_and_nobody_else_can_make_one() {
        let tokens = RefreshTokens::new(&MacRings::example());
        let token = tokens.token(&session(&tokens, 1)).expect("the key is there");
        let token = token.expose_secret();
        for i in 0..token.len() {
            for c in ['A', 'B', '-', '=', ' ', '.'] {
                let mut forged: Vec<char> = token.chars().collect();
                if forged[i] != c {
                    forged[i] = c;
                    assert_eq!(tokens.verify(&forged.into_iter().collect::<String>()), None);
                }
            }
        }
        assert_eq!(RefreshTokens::new(&MacRings::example()).verify(token), None, "another installation's");
        assert_eq!(tokens.verify(&format!("{token}=")), None);
    }

    #[test]
    fn codes_of_one_kind_are_not_of_another() {
        let rings = MacRings::example();
        let codes = OneTimeCodes::new(&rings);
        let (setup, setup_hash) = codes.setup();
        let (invite, invite_hash) = codes.invite(InviteId::from_bytes([3; 16]));
        assert_eq!(codes.setup_hash(&setup), Some(setup_hash));
        assert_eq!(codes.invite_hash(&invite), Some((InviteId::from_bytes([3; 16]), invite_hash)));
        assert_eq!(codes.setup_hash(&invite), None);
        assert!(codes.invite_hash(&setup).is_none());
        assert_eq!(RefreshTokens::new(&rings).verify(setup.expose_secret()), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_verifying_panic(text in "(dwr1\\.|dws1\\.|dwi1\\.)?\\PC{0,120}") {
            let rings = MacRings::example();
            prop_assert_eq!(RefreshTokens::new(&rings).verify(&text), None);
            let _ = OneTimeCodes::new(&rings).setup_hash(&text.clone().into());
            let _ = OneTimeCodes::new(&rings).invite_hash(&text.into());
        }
    }
}
