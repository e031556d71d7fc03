//! What somebody asks of a new API key, checked for its form.

use crate::domain::{Permission, gate::AppName};
use std::{fmt, time::Duration};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The lifetimes that a key with an end may have.
const LIFETIMES: std::ops::RangeInclusive<Duration> = HOUR..=DAY.saturating_mul(365);
/// How long a key is good if nobody says.
const DEFAULT_LIFETIME: Duration = DAY.saturating_mul(90);
/// The most permissions, and the most apps, that a key may list.
const MAX_LISTED: usize = 32;
/// The longest name of a key, in characters.
const MAX_NAME: usize = 64;

/// What a new API key is to be.
#[derive(Debug)]
pub struct NewApiKey {
    /// What its maker calls it.
    pub name: String,
    /// The most that it may do.
    pub permissions: Vec<Permission>,
    /// The apps behind the gate that it opens.
    pub apps: Vec<AppName>,
    /// How long it is good; `None` is for ever.
    pub expires_in: Option<Duration>,
}

/// What is wrong with a request for a key.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidKey {
    /// The field of the request.
    pub field: &'static str,
    /// What it must be.
    pub message: String,
}

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl NewApiKey {
    /// Checks a request. `expires_in` is a duration such as `90d`, or `never`.
    ///
    /// # Errors
    /// [`InvalidKey`].
    pub fn new(name: &str, permissions: Vec<String>, apps: &[String], expires_in: Option<&str>) -> Result<Self, InvalidKey> {
        let invalid = |field, message: &str| InvalidKey { field, message: message.to_owned() };
        let name = name.trim();
        if !(1..=MAX_NAME).contains(&name.chars().count()) || name.chars().any(char::is_control) {
            return Err(invalid("name", "must be 1 to 64 characters in one line"));
        }
        if permissions.len() > MAX_LISTED || (permissions.is_empty() && apps.is_empty()) {
            return Err(invalid("permissions", "must be 1 to 32 permissions, or none if there are apps"));
        }
        if apps.len() > MAX_LISTED {
            return Err(invalid("apps", "must be at most 32 apps"));
        }
        let apps = apps.iter().map(|name| name.parse::<AppName>()).collect::<Result<Vec<_>, _>>();
        let apps = apps.map_err(|error| invalid("apps", &error.to_string()))?;
        let permissions: Result<Vec<_>, _> = permissions.into_iter().map(Permission::try_from).collect();
        let permissions = permissions.map_err(|error| invalid("permissions", &error.to_string()))?;
        let expires_in = match expires_in.map(|text| (text, humantime::parse_duration(text))) {
            None => Some(DEFAULT_LIFETIME),
            Some(("never", _)) => None,
            Some((_, Ok(span))) if LIFETIMES.contains(&span) => Some(span),
            Some(_) => return Err(invalid("expiresIn", "must be a duration of 1h to 365d, such as 90d")),
        };
        Ok(Self { name: name.to_owned(), permissions, apps, expires_in })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_name_permissions_and_an_end() {
        let new = |name: &str, permissions: &[&str], expires_in| {
            NewApiKey::new(name, permissions.iter().map(|p| (*p).to_owned()).collect(), &[], expires_in).map_err(|error| error.field)
        };
        let good = new(" backup ", &["articles:read"], None).expect("good");
        assert_eq!((good.name.as_str(), good.expires_in), ("backup", Some(DAY * 90)));
        assert_eq!(new("a", &["*"], Some("never")).expect("good").expires_in, None);
        assert_eq!(new("a", &["files:*"], Some("1h")).expect("good").expires_in, Some(HOUR));
        for (name, permissions, expires_in, field) in [
            ("", &["a:b"][..], None, "name"),
            ("a\nb", &["a:b"], None, "name"),
            ("a", &[], None, "permissions"),
            ("a", &["articles"], None, "permissions"),
            ("a", &["a:b"; 33], None, "permissions"),
            ("a", &["a:b"], Some("59m"), "expiresIn"),
            ("a", &["a:b"], Some("366d"), "expiresIn"),
            ("a", &["a:b"], Some("soon"), "expiresIn"),
        ] {
            assert_eq!(new(name, permissions, expires_in).expect_err("refused"), field);
        }
        let of_apps = |apps: &[&str]| NewApiKey::new("a", vec![], &apps.iter().map(|app| (*app).to_owned()).collect::<Vec<_>>(), None);
        assert_eq!(of_apps(&["wiki"]).expect("good").apps.len(), 1);
        assert_eq!(of_apps(&["Wiki"]).expect_err("refused").field, "apps");
        assert!(new(&"ä".repeat(64), &["a:b"], None).is_ok() && new(&"ä".repeat(65), &["a:b"], None).is_err());
    }
}
