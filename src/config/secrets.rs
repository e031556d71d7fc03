//! Secrets that an operator may provide. They come from environment variables or from files that these
//! name, never from the settings file or the command line.

use super::Environment;
use crate::{
    domain::{Algorithm, Email, Password},
    failure::Failure,
};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use std::os::unix::ffi::OsStrExt;
use zeroize::Zeroizing;

/// Minimum length of a key, in bytes: the output length of HMAC-SHA-256 (RFC 7518 §3.2, OPS-5).
const MIN_KEY_LENGTH: usize = 32;
/// Words of placeholder secrets, as in examples. A secret that consists of these and of fillers is refused.
const PLACEHOLDERS: [&str; 18] = [
    "secret",
    "changeme",
    "change",
    "please",
    "your",
    "access",
    "refresh",
    "token",
    "jwt",
    "key",
    "password",
    "super",
    "example",
    "default",
    "placeholder",
    "production",
    "minimum",
    "characters",
];
const FILLERS: [&str; 22] = [
    "me", "this", "that", "in", "to", "a", "an", "the", "and", "my", "very", "long", "random", "string", "here", "at", "least", "min",
    "chars", "must", "be", "with",
];

/// Secrets from the environment.
#[derive(Debug, Default)]
pub struct OperatorSecrets {
    /// `DOORWARD_ACCESS_SECRET`
    pub access: Option<SecretSlice<u8>>,
    /// `DOORWARD_REFRESH_SECRET`
    pub refresh: Option<SecretSlice<u8>>,
    /// `DOORWARD_ADMIN_EMAIL` and `DOORWARD_ADMIN_PASSWORD`
    pub first_admin: Option<FirstAdmin>,
    /// Warnings about secrets that look wrong, one sentence each; they name the variable, never its value.
    pub warnings: Vec<String>,
}

/// The admin to create if the database is empty (AUT-11).
#[derive(Debug)]
pub struct FirstAdmin {
    /// E-mail address.
    pub email: Email,
    /// Password.
    pub password: Password,
}

impl OperatorSecrets {
    /// Reads and checks the secrets, for access tokens that are signed with this algorithm.
    ///
    /// # Errors
    /// A secret is weak, equal to the other or contradicts the settings. The message names the variable and never shows the
    /// value; exit 78.
    pub fn read(environment: &Environment, algorithm: Algorithm) -> Result<Self, Failure> {
        let mut reader = Reader { environment, warnings: Vec::new() };
        let access = reader.key("DOORWARD_ACCESS_SECRET")?;
        let refresh = reader.key("DOORWARD_REFRESH_SECRET")?;
        if let (Some(access), Some(refresh)) = (&access, &refresh)
            && access.expose_secret() == refresh.expose_secret()
        {
            return Err(Failure::config(
                "DOORWARD_ACCESS_SECRET and DOORWARD_REFRESH_SECRET are the same: found one value twice, allowed: two different ones",
            ));
        }
        if access.is_some() && algorithm.is_asymmetric() {
            return Err(Failure::config(format!(
                "DOORWARD_ACCESS_SECRET: found one, and tokens.algorithm = \"{algorithm}\", which signs with a key pair from the keyring: \
                 unset it, or set tokens.algorithm = \"HS256\""
            )));
        }
        let first_admin = reader.first_admin()?;
        Ok(Self { access, refresh, first_admin, warnings: reader.warnings })
    }
}

/// Removes what editors, `echo` and env files add to a secret: a byte-order mark at the beginning and line ends at the
/// end. Also returns what looks wrong with the rest, such as quotes around it.
///
/// Bytes that are not UTF-8 are a binary key and stay as they are.
#[must_use]
pub fn trim_secret(bytes: &[u8]) -> (Zeroizing<Vec<u8>>, Option<&'static str>) {
    let Ok(text) = str::from_utf8(bytes) else { return (bytes.to_vec().into(), None) };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_end_matches(['\r', '\n']);
    let is_quoted = |quote: char| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
    let oddity = if is_quoted('"') || is_quoted('\'') {
        Some("has quotes around it, which are part of it")
    } else if text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        Some("has a blank at an end, which is part of it")
    } else {
        None
    };
    (text.as_bytes().to_vec().into(), oddity)
}

/// Reads secrets and collects warnings.
struct Reader<'a> {
    environment: &'a Environment,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn first_admin(&mut self) -> Result<Option<FirstAdmin>, Failure> {
        let email = self.environment.text("DOORWARD_ADMIN_EMAIL")?.map(str::trim);
        let password = self.secret("DOORWARD_ADMIN_PASSWORD")?;
        match (email, password) {
            (None, None) => Ok(None),
            (Some(email), Some(password)) => {
                let email = email.parse().map_err(|error| Failure::config(format!("DOORWARD_ADMIN_EMAIL: found {email:?}, {error}")))?;
                let text = str::from_utf8(&password).map_err(|_| {
                    Failure::config("DOORWARD_ADMIN_PASSWORD: found bytes that are no UTF-8, allowed: text, as one types it")
                })?;
                let password = Password::new(&SecretString::from(text))
                    .map_err(|error| Failure::config(format!("DOORWARD_ADMIN_PASSWORD: {error}")))?;
                Ok(Some(FirstAdmin { email, password }))
            }
            (Some(_), None) => {
                Err(Failure::config("DOORWARD_ADMIN_EMAIL is set without DOORWARD_ADMIN_PASSWORD or …_FILE: set both or neither"))
            }
            (None, Some(_)) => Err(Failure::config("DOORWARD_ADMIN_PASSWORD is set without DOORWARD_ADMIN_EMAIL: set both or neither")),
        }
    }

    /// Reads a secret from its variable, or from the file that the variable `…_FILE` names.
    fn secret(&mut self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        let file = format!("{name}_FILE");
        let bytes = match (self.environment.get(name), self.environment.get(&file)) {
            (Some(_), Some(_)) => return Err(Failure::config(format!("{name} and {file} are both set: set one"))),
            (Some(value), None) => Zeroizing::new(value.as_bytes().to_vec()),
            (None, Some(path)) => {
                let cannot = |error| Failure::config(format!("{file}: {} cannot be read: {error}", path.display()));
                Zeroizing::new(std::fs::read(path).map_err(cannot)?)
            }
            (None, None) => return Ok(None),
        };
        let (secret, oddity) = trim_secret(&bytes);
        self.warnings.extend(oddity.map(|oddity| format!("{name} {oddity}: is that meant?")));
        Ok(Some(secret))
    }

    fn key(&mut self, name: &str) -> Result<Option<SecretSlice<u8>>, Failure> {
        let Some(secret) = self.secret(name)? else { return Ok(None) };
        let refuse = |found: String| {
            Err(Failure::config(format!(
                "{name}: found {found}, allowed: at least {MIN_KEY_LENGTH} random bytes, such as from `openssl rand -base64 48`"
            )))
        };
        if str::from_utf8(&secret).is_ok_and(is_placeholder) {
            return refuse("a placeholder".into());
        }
        if secret.len() < MIN_KEY_LENGTH {
            return refuse(format!("{} bytes", secret.len()));
        }
        let distinct = (0..=u8::MAX).filter(|byte| secret.contains(byte)).count();
        if distinct < 8 {
            return refuse(format!("only {distinct} different characters"));
        }
        Ok(Some(secret.to_vec().into()))
    }
}

/// Whether a secret contains a placeholder word and has fewer than 6 letters left once such words and fillers are removed.
fn is_placeholder(secret: &str) -> bool {
    let secret = secret.to_lowercase();
    let mut rest: String = secret.chars().filter(|c| c.is_alphabetic()).collect();
    let mut words: Vec<_> = PLACEHOLDERS.iter().chain(&FILLERS).collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    for word in words {
        rest = rest.replace(*word, " ");
    }
    PLACEHOLDERS.iter().any(|word| secret.contains(word)) && rest.chars().filter(|c| *c != ' ').count() < 6
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "q3vYp0mXz7Rk1tW9sB5nH2dL8fJ4gC6aE0uT";
    const OTHER: &str = "M4xT8wQe2Zr6Yu1Io5Pa9Sd3Fg7Hj0KlVbNm";

    fn read(variables: &[(&str, &str)]) -> Result<OperatorSecrets, Failure> {
        OperatorSecrets::read(&Environment::with(variables), Algorithm::HS256)
    }

    #[test]
    fn ops_5_weak_secrets_are_refused_by_name_and_not_by_value() {
        for weak in [
            "secret",
            "changeme",
            "short-but-random-q3vYp0",
            "your-access-token-secret-change-this-in-production",
            "your-super-secret-jwt-key-min-32-characters",
            "secretsecretsecretsecretsecretsecret",
            "change-me-change-me-change-me-change-me-1234567890",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            let failure = read(&[("DOORWARD_ACCESS_SECRET", weak)]).expect_err(weak);
            assert_eq!(failure.code(), 78);
            assert!(failure.to_string().contains("DOORWARD_ACCESS_SECRET"), "{failure}");
            assert!(!failure.to_string().contains(weak), "{failure}");
        }
    }

    #[test]
    fn a_secret_is_no_key_pair() {
        let environment = Environment::with(&[("DOORWARD_ACCESS_SECRET", GOOD)]);
        for algorithm in Algorithm::ALL {
            assert_eq!(OperatorSecrets::read(&environment, algorithm).is_err(), algorithm.is_asymmetric(), "{algorithm}");
        }
    }

    #[test]
    fn the_two_secrets_must_differ() {
        let failure = read(&[("DOORWARD_ACCESS_SECRET", GOOD), ("DOORWARD_REFRESH_SECRET", GOOD)]).expect_err("equal");
        assert!(!failure.to_string().contains(GOOD));
        assert!(read(&[("DOORWARD_ACCESS_SECRET", GOOD), ("DOORWARD_REFRESH_SECRET", OTHER)]).is_ok());
    }

    #[test]
    fn a_secret_may_come_from_a_file_but_not_from_two_places() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), format!("{GOOD}\n")).expect("written");
        let path = file.path().to_str().expect("a path");
        let secrets = read(&[("DOORWARD_REFRESH_SECRET_FILE", path)]).expect("read");
        assert_eq!(secrets.refresh.expect("there").expose_secret(), GOOD.as_bytes());
        assert!(read(&[("DOORWARD_REFRESH_SECRET_FILE", path), ("DOORWARD_REFRESH_SECRET", OTHER)]).is_err());
        assert!(read(&[("DOORWARD_REFRESH_SECRET_FILE", "/nowhere")]).is_err());
    }

    #[test]
    fn what_editors_and_env_files_add_is_no_part_of_a_secret_wherever_it_comes_from() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().to_str().expect("a path");
        for packed in [GOOD.to_owned(), format!("{GOOD}\n"), format!("{GOOD}\r\n\n"), format!("\u{feff}{GOOD}\n")] {
            std::fs::write(file.path(), &packed).expect("written");
            for variable in [("DOORWARD_ACCESS_SECRET", packed.as_str()), ("DOORWARD_ACCESS_SECRET_FILE", path)] {
                let secrets = read(&[variable]).expect("read");
                assert_eq!(secrets.access.expect("there").expose_secret(), GOOD.as_bytes(), "{variable:?}");
                assert_eq!(secrets.warnings, Vec::<String>::new());
            }
        }
        for odd in [format!("\"{GOOD}\""), format!("'{GOOD}'"), format!("{GOOD} "), format!(" {GOOD}")] {
            let secrets = read(&[("DOORWARD_ACCESS_SECRET", &odd)]).expect("read");
            assert_eq!(secrets.access.expect("there").expose_secret(), odd.as_bytes(), "as it is");
            assert!(secrets.warnings[0].contains("DOORWARD_ACCESS_SECRET") && !secrets.warnings[0].contains(GOOD));
        }
        // A binary key is used byte for byte, a line end and all.
        let binary: Vec<u8> = (0x80..0xb0).chain([b'\n']).collect();
        std::fs::write(file.path(), &binary).expect("written");
        let secrets = read(&[("DOORWARD_ACCESS_SECRET_FILE", path)]).expect("read");
        assert_eq!(secrets.access.expect("there").expose_secret(), binary);
        let refused = read(&[("DOORWARD_ADMIN_EMAIL", "a@example.org"), ("DOORWARD_ADMIN_PASSWORD_FILE", path)]).expect_err("no text");
        assert!(refused.to_string().contains("DOORWARD_ADMIN_PASSWORD"), "{refused}");
    }

    #[test]
    fn the_first_admin_needs_address_and_password() {
        assert!(read(&[("DOORWARD_ADMIN_EMAIL", "a@example.org")]).is_err());
        assert!(read(&[("DOORWARD_ADMIN_PASSWORD", "correct horse")]).is_err());
        assert!(read(&[("DOORWARD_ADMIN_EMAIL", "a"), ("DOORWARD_ADMIN_PASSWORD", "correct horse")]).is_err());
        let admin = read(&[("DOORWARD_ADMIN_EMAIL", "A@Example.org"), ("DOORWARD_ADMIN_PASSWORD", "correct horse")]).expect("both");
        assert_eq!(admin.first_admin.expect("there").email.as_str(), "a@example.org");
    }
}
