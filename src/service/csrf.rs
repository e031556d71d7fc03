//! CSRF tokens: signed double submit, bound to the session (COK-7).

use super::mac::{MacRing, MacRings};
use crate::domain::{SessionId, random};
use data_encoding::BASE64URL_NOPAD;

const NONCE_LEN: usize = 16;

/// Makes and checks CSRF tokens.
pub struct Csrf {
    keys: MacRing,
}

impl Csrf {
    /// Sets up the keys.
    #[must_use]
    pub fn new(rings: &MacRings) -> Self {
        Self { keys: rings.csrf.clone() }
    }

    /// A new token for a session.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    #[must_use]
    pub fn issue(&self, session: SessionId) -> String {
        let mut bytes = [0; NONCE_LEN + 32];
        bytes[..NONCE_LEN].copy_from_slice(&random::bytes::<NONCE_LEN>());
        let tag = self.keys.with_current(|key| key.tag(&[b"csrf\0", session.as_bytes(), &bytes[..NONCE_LEN]]));
        bytes[NONCE_LEN..].copy_from_slice(&tag);
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// Whether a token was issued for this session.
    #[must_use]
    pub fn verify(&self, session: SessionId, token: &str) -> bool {
        let Ok(bytes) = BASE64URL_NOPAD.decode(token.as_bytes()) else { return false };
        let Some((nonce, tag)) = bytes.split_at_checked(NONCE_LEN) else { return false };
        self.keys.keys().iter().any(|key| key.verify(&[b"csrf\0", session.as_bytes(), nonce], tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cok_7_a_token_is_good_for_its_session_alone() {
        let csrf = Csrf::new(&MacRings::example());
        let (mine, other) = (SessionId::from_bytes([1; 16]), SessionId::from_bytes([2; 16]));
        let token = csrf.issue(mine);
        assert!(csrf.verify(mine, &token));
        assert!(!csrf.verify(other, &token));
        assert!(!Csrf::new(&MacRings::example()).verify(mine, &token));
        for wrong in ["", "x", &token[..40], &format!("{token}="), &token.to_lowercase()] {
            assert!(!csrf.verify(mine, wrong), "{wrong}");
        }
    }
}
