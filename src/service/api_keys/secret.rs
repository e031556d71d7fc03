//! The secret of an API key: `dwk_`, 43 random characters and a checksum of 6, all of base62. A scanner finds it by this
//! form in code that was published, and a text that was mistyped or made up is refused before anything is looked up.

use crate::service::mac::MacKey;
use getrandom::fill;
use secrecy::SecretString;

/// What every API key begins with.
pub const PREFIX: &str = "dwk_";

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 is more than 2^256.
const RANDOM_LEN: usize = 43;
/// 62^6 is more than 2^32.
const CHECKSUM_LEN: usize = 6;
const BODY_LEN: usize = PREFIX.len() + RANDOM_LEN;

/// How much of a secret is shown in lists.
const START_LEN: usize = 8;

/// A new secret.
///
/// # Panics
/// When the operating system provides no randomness.
pub fn generate() -> SecretString {
    let mut text = String::with_capacity(BODY_LEN + CHECKSUM_LEN);
    text.push_str(PREFIX);
    while text.len() < BODY_LEN {
        let mut bytes = [0; 64];
        fill(&mut bytes).expect("the operating system provides randomness");
        // 248 is the greatest multiple of 62 in a byte: with the rest, some characters would be likelier than others.
        let fair = bytes.iter().filter(|byte| **byte < 248).map(|byte| char::from(ALPHABET[usize::from(byte % 62)]));
        text.extend(fair.take(BODY_LEN - text.len()));
    }
    let checksum = checksum(text.as_bytes());
    text.extend(checksum.map(char::from));
    text.into()
}

/// Whether a text has the form of a secret, and the right checksum.
pub fn is_well_formed(text: &str) -> bool {
    let Some((body, found)) = text.as_bytes().split_at_checked(BODY_LEN) else { return false };
    text.starts_with(PREFIX) && body[PREFIX.len()..].iter().all(u8::is_ascii_alphanumeric) && found == checksum(body)
}

/// The keyed hash of a secret, which is what is kept of it.
pub fn hash(key: &MacKey, text: &str) -> [u8; 32] {
    key.tag(&[b"apikey\0", text.as_bytes()])
}

/// The part of a secret by which people recognise it.
pub fn start(text: &str) -> String {
    text.chars().take(START_LEN).collect()
}

/// The CRC-32 of a text in base62, the most significant digit first.
fn checksum(text: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut rest = crc32fast::hash(text);
    let mut digits = [0; CHECKSUM_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use std::collections::HashSet;

    #[test]
    fn key_2_a_secret_has_one_form_and_any_change_of_it_is_noticed() {
        let secrets: HashSet<_> = (0..1000).map(|_| generate().expose_secret().to_owned()).collect();
        assert_eq!(secrets.len(), 1000);
        for secret in &secrets {
            assert!(is_well_formed(secret) && secret.len() == 53, "{secret}");
        }
        let secret = secrets.iter().next().expect("one");
        for i in 0..secret.len() {
            for c in "aZ09_-= ".chars().filter(|c| !secret[i..].starts_with(*c)) {
                let mut changed: Vec<char> = secret.chars().collect();
                changed[i] = c;
                assert!(!is_well_formed(&changed.into_iter().collect::<String>()), "{i} {c}");
            }
        }
        for wrong in ["", "dwk_", &secret[..52], &format!("{secret}0"), &secret.replace("dwk_", "DWK_"), &format!(" {secret}")] {
            assert!(!is_well_formed(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn every_character_is_as_likely_as_any_other() {
        let mut counts = [0_u32; 128];
        for _ in 0..2000 {
            let secret = generate();
            secret.expose_secret()[PREFIX.len()..BODY_LEN].bytes().for_each(|byte| counts[usize::from(byte)] += 1);
        }
        // 86,000 characters of 62 kinds: 1387 of each, give or take 37.
        for c in ALPHABET {
            let count = counts[usize::from(*c)];
            assert!((1387 - 260..1387 + 260).contains(&count), "{}: {count}", char::from(*c));
        }
    }

    #[test]
    fn the_checksum_is_the_crc_32_of_all_before_it() {
        // CRC-32 of "123456789" is cbf43926, the check value of this checksum: 3421780262 in decimal.
        let value = checksum(b"123456789")
            .iter()
            .fold(0_u64, |value, digit| value * 62 + ALPHABET.iter().position(|c| c == digit).expect("a digit") as u64);
        assert_eq!(value, 3_421_780_262);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_checking_panic(text in "(dwk_)?\\PC{0,60}") {
            assert!(!is_well_formed(&text));
        }
    }
}
