//! A password as a person typed it, in the one form that is hashed (AUT-7).

use icu_normalizer::ComposingNormalizerBorrowed;
use secrecy::{ExposeSecret, SecretString};

/// A password in NFC (NIST SP 800-63B-4 §3.1.1.2), at most [`Password::MAX_BYTES`] long.
///
/// Every character counts, spaces and NUL included; nothing is cut off. Printed as `[REDACTED]`
/// and wiped when dropped.
#[derive(Debug, Clone)]
pub struct Password(SecretString);

/// The password has more than [`Password::MAX_BYTES`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be at most 1024 bytes long")]
pub struct PasswordTooLong;

impl Password {
    /// The longest password accepted, in bytes of UTF-8 (AUT-6).
    pub const MAX_BYTES: usize = 1024;

    /// Normalises a password as it was typed.
    ///
    /// # Errors
    /// [`PasswordTooLong`], decided before anything is computed.
    pub fn new(typed: &SecretString) -> Result<Self, PasswordTooLong> {
        if typed.expose_secret().len() > Self::MAX_BYTES {
            return Err(PasswordTooLong);
        }
        let nfc = ComposingNormalizerBorrowed::new_nfc().normalize(typed.expose_secret()).into_owned();
        Ok(Self(SecretString::from(nfc)))
    }

    /// The text to hash or to check. Never to be logged or echoed.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(&SecretString::from(text)).expect("short enough")
    }

    #[test]
    fn composed_and_decomposed_letters_are_one_password() {
        assert_eq!(password("caf\u{e9}").expose(), password("cafe\u{301}").expose());
        // NFKC would make these one; NIST wants NFC.
        assert_ne!(password("\u{fb01}sh").expose(), password("fish").expose());
    }

    #[test]
    fn every_character_counts() {
        assert_ne!(password(" a").expose(), password("a").expose());
        assert_ne!(password("a\0b").expose(), password("a").expose());
    }

    #[test]
    fn length_is_bounded_and_the_value_never_shows() {
        assert!(Password::new(&SecretString::from("x".repeat(1024))).is_ok());
        assert!(Password::new(&SecretString::from("x".repeat(1025))).is_err());
        assert!(!format!("{:?}", password("hunter2hunter2")).contains("hunter2"));
    }
}
