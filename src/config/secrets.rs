//! The secrets an operator may bring along. They come from the environment or from files it names,
//! never from the settings file or the command line.

use crate::{
    domain::{Email, Password},
    failure::Failure,
};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;

/// Shortest key: as long as the output of HMAC-SHA-256 (RFC 7518 §3.2, OPS-5).
const SHORTEST: usize = 32;
/// What people write before they think: a secret made of such words and fillers is none.
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
    pub access: Option<SecretString>,
    /// `DOORWARD_REFRESH_SECRET`
    pub refresh: Option<SecretString>,
    /// `DOORWARD_ADMIN_EMAIL` and `DOORWARD_ADMIN_PASSWORD`
    pub first_admin: Option<FirstAdmin>,
}

/// The admin to make when the database is empty (SPEC §1).
#[derive(Debug)]
pub struct FirstAdmin {
    /// Their address.
    pub email: Email,
    /// Their password.
    pub password: Password,
}

impl OperatorSecrets {
    /// Reads and checks them. `environment` is the process's own, or a test's.
    ///
    /// # Errors
    /// Weak, equal or contradictory ones, by the variable's name and never by value; exit 78.
    pub fn read(environment: impl Iterator<Item = (String, String)>) -> Result<Self, Failure> {
        let environment: BTreeMap<_, _> = environment.filter(|(name, _)| name.starts_with("DOORWARD_")).collect();
        let access = key(&environment, "DOORWARD_ACCESS_SECRET")?;
        let refresh = key(&environment, "DOORWARD_REFRESH_SECRET")?;
        if let (Some(access), Some(refresh)) = (&access, &refresh)
            && access.expose_secret() == refresh.expose_secret()
        {
            return Err(Failure::config(
                "DOORWARD_ACCESS_SECRET and DOORWARD_REFRESH_SECRET are the same: found one value twice, allowed: two different ones",
            ));
        }
        Ok(Self { access, refresh, first_admin: first_admin(&environment)? })
    }
}

fn first_admin(environment: &BTreeMap<String, String>) -> Result<Option<FirstAdmin>, Failure> {
    let (email, password) = (environment.get("DOORWARD_ADMIN_EMAIL"), secret(environment, "DOORWARD_ADMIN_PASSWORD")?);
    match (email, password) {
        (None, None) => Ok(None),
        (Some(email), Some(password)) => {
            let email = email.parse().map_err(|error| Failure::config(format!("DOORWARD_ADMIN_EMAIL: found {email:?}, {error}")))?;
            let password = Password::new(&password).map_err(|error| Failure::config(format!("DOORWARD_ADMIN_PASSWORD: {error}")))?;
            Ok(Some(FirstAdmin { email, password }))
        }
        (Some(_), None) => {
            Err(Failure::config("DOORWARD_ADMIN_EMAIL is set without DOORWARD_ADMIN_PASSWORD or …_FILE: set both or neither"))
        }
        (None, Some(_)) => Err(Failure::config("DOORWARD_ADMIN_PASSWORD is set without DOORWARD_ADMIN_EMAIL: set both or neither")),
    }
}

/// A secret, from its variable or the file its `…_FILE` names (less one line end, which editors add).
fn secret(environment: &BTreeMap<String, String>, name: &str) -> Result<Option<SecretString>, Failure> {
    let file = format!("{name}_FILE");
    match (environment.get(name), environment.get(&file)) {
        (Some(_), Some(_)) => Err(Failure::config(format!("{name} and {file} are both set: set one"))),
        (Some(value), None) => Ok(Some(value.clone().into())),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| Failure::config(format!("{file}: {path} cannot be read: {error}")))?;
            let text = text.strip_suffix('\n').unwrap_or(&text);
            Ok(Some(text.strip_suffix('\r').unwrap_or(text).into()))
        }
        (None, None) => Ok(None),
    }
}

fn key(environment: &BTreeMap<String, String>, name: &str) -> Result<Option<SecretString>, Failure> {
    let Some(secret) = secret(environment, name)? else { return Ok(None) };
    let refuse = |found: String| {
        Err(Failure::config(format!(
            "{name}: found {found}, allowed: at least {SHORTEST} random bytes, such as from `openssl rand -base64 48`"
        )))
    };
    let bytes = secret.expose_secret().as_bytes();
    if is_placeholder(secret.expose_secret()) {
        return refuse("a placeholder".into());
    }
    if bytes.len() < SHORTEST {
        return refuse(format!("{} bytes", bytes.len()));
    }
    let distinct = (0..=u8::MAX).filter(|byte| bytes.contains(byte)).count();
    if distinct < 8 {
        return refuse(format!("only {distinct} different characters"));
    }
    Ok(Some(secret))
}

/// Whether nothing is left of a secret once placeholder words, fillers and digits are taken out.
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
        OperatorSecrets::read(variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
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
        assert_eq!(secrets.refresh.expect("there").expose_secret(), GOOD);
        assert!(read(&[("DOORWARD_REFRESH_SECRET_FILE", path), ("DOORWARD_REFRESH_SECRET", OTHER)]).is_err());
        assert!(read(&[("DOORWARD_REFRESH_SECRET_FILE", "/nowhere")]).is_err());
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
