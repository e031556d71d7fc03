//! E-mail addresses in one canonical form (AUT-4).

use serde::Serialize;
use std::{fmt, str::FromStr};

/// An address in canonical form: lower-cased, ASCII local part, domain in punycode.
///
/// Two spellings of one mailbox's address give one value; nothing is stripped from the local part,
/// because only the mailbox's own server knows what dots and plus signs mean there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Email(Box<str>);

/// Why an address is refused. The message is for the person who typed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEmail {
    /// No `@`, nothing before or after it, or characters that cannot stand there.
    #[error("must be an e-mail address such as name@example.com")]
    Malformed,
    /// The local part has characters outside ASCII.
    #[error("must have only ASCII letters, digits and . _ + - and the like before the @")]
    LocalPart,
    /// Longer than mail systems accept (RFC 5321 §4.5.3.1).
    #[error("must be at most 254 characters, with at most 64 before the @")]
    TooLong,
}

/// RFC 5321 §4.5.3.1 allows 256 octets with the angle brackets.
const MAX_LEN: usize = 254;
const MAX_LOCAL: usize = 64;

impl Email {
    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address in a text that was canonical when it was stored; parses nothing.
    #[must_use]
    pub fn from_canonical(text: String) -> Self {
        Self(text.into())
    }

    /// The part before the `@`.
    #[must_use]
    pub fn local_part(&self) -> &str {
        self.0.split_once('@').map_or("", |(local, _)| local)
    }
}

/// The domain of service accounts. It cannot exist (RFC 2606 §2), so no mail ever goes there.
const SERVICE_DOMAIN: &str = "service.invalid";

impl Email {
    /// Whether this is the address of a service account, or could be.
    #[must_use]
    pub fn is_of_a_service(&self) -> bool {
        self.0.rsplit_once('@').is_some_and(|(_, domain)| domain == SERVICE_DOMAIN)
    }
}

/// The name of a service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceName(String);

/// The text is no name of a service account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 lower-case letters, digits, - and _, with a letter or digit first")]
pub struct InvalidServiceName;

impl ServiceName {
    /// The address that stands for it, since every account has one.
    #[must_use]
    pub fn address(&self) -> Email {
        Email::from_canonical(format!("{}@{SERVICE_DOMAIN}", self.0))
    }
}

impl FromStr for ServiceName {
    type Err = InvalidServiceName;

    fn from_str(text: &str) -> Result<Self, InvalidServiceName> {
        let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let is_name = text.len() <= MAX_LOCAL
            && text.bytes().next().is_some_and(is_word)
            && text.bytes().all(|b| is_word(b) || matches!(b, b'-' | b'_'));
        if is_name { Ok(Self(text.to_owned())) } else { Err(InvalidServiceName) }
    }
}

impl FromStr for Email {
    type Err = InvalidEmail;

    fn from_str(text: &str) -> Result<Self, InvalidEmail> {
        let text = text.trim();
        // Bounds the work below. The canonical form is not much shorter than the text, so four times the limit is
        // certainly too long.
        if text.len() > 4 * MAX_LEN {
            return Err(InvalidEmail::TooLong);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(InvalidEmail::Malformed)?;
        if !local.is_ascii() {
            return Err(InvalidEmail::LocalPart);
        }
        let atom = |part: &str| !part.is_empty() && part.bytes().all(is_atext);
        if !local.split('.').all(atom) {
            return Err(InvalidEmail::Malformed);
        }
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| InvalidEmail::Malformed)?;
        let top_level = domain.rsplit_once('.').ok_or(InvalidEmail::Malformed)?.1;
        if top_level.is_empty() || top_level.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidEmail::Malformed);
        }
        let canonical = format!("{}@{domain}", local.to_ascii_lowercase());
        if canonical.len() > MAX_LEN || local.len() > MAX_LOCAL {
            return Err(InvalidEmail::TooLong);
        }
        Ok(Self(canonical.into()))
    }
}

/// Whether RFC 5322 §3.2.3 allows the byte in an atom.
const fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'/' | b'=' | b'?' | b'^'..=b'`' | b'{'..=b'~')
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> Result<String, InvalidEmail> {
        text.parse::<Email>().map(|email| email.to_string())
    }

    #[test]
    fn spellings_of_one_address_meet() {
        for same in ["mike@x.org", "MIKE@X.org", "  Mike@x.ORG\t"] {
            assert_eq!(canonical(same).as_deref(), Ok("mike@x.org"));
        }
        assert_eq!(canonical("a@bücher.example").as_deref(), Ok("a@xn--bcher-kva.example"));
        assert_eq!(canonical("a@BÜCHER.example").as_deref(), Ok("a@xn--bcher-kva.example"));
        // Dots and plus signs belong to the mailbox's own server.
        assert_ne!(canonical("m.ike+x@x.org"), canonical("mike@x.org"));
    }

    #[test]
    fn look_alikes_do_not_meet() {
        // Dotless i, fullwidth m, Kelvin sign: none may fold into somebody's ASCII address.
        for forged in ["mıke@x.org", "ｍike@x.org", "mi\u{212a}e@x.org"] {
            assert_eq!(canonical(forged), Err(InvalidEmail::LocalPart), "{forged}");
        }
        assert_ne!(canonical("me@gmaıl.com"), canonical("me@gmail.com"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long_local = format!("{}@x.org", "a".repeat(65));
        let long = format!("a@{}x.org", "b".repeat(62).replace("bb", "b.") + &".b".repeat(130));
        for wrong in [
            "",
            "@",
            "a@",
            "@x.org",
            "a.x.org",
            "a@x",
            "a@@x.org",
            "a b@x.org",
            "a@x .org",
            ".a@x.org",
            "a.@x.org",
            "a..b@x.org",
            "\"a b\"@x.org",
            "a@[127.0.0.1]",
            "a@127.0.0.1",
            "a@-x.org",
            "a@x-.org",
            "a@x..org",
            "a@.x.org",
            "a@x.org.",
            "a\r\nb@x.org",
            "a@x.org\r\nbcc:b@x.org",
            "a\0@x.org",
            "Mike <mike@x.org>",
            "a@x.org,b@x.org",
            &long_local,
            &long,
        ] {
            assert!(canonical(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_its_own(text in "\\PC{0,40}@\\PC{1,20}\\.[a-zA-Zäßıø]{2,6}") {
            if let Ok(once) = canonical(&text) {
                prop_assert_eq!(canonical(&once), Ok(once.clone()));
                prop_assert!(once.is_ascii());
            }
        }
    }
}
