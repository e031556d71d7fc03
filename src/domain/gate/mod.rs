//! The apps behind the gate, and who may enter them. Rules that open match byte for byte; rules that close match after
//! decoding and folding, so that no other spelling of a path gets around them.

mod origin;
mod path;
mod public;

pub use origin::AppOrigin;
pub use public::{InvalidPublic, Public};

use super::{Permission, Role, Roles, User};
use path::Folded;
use serde::Serialize;
use std::{collections::HashMap, fmt, str::FromStr, sync::Arc};

/// The name of an app, such as `grafana`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct AppName(Arc<str>);

/// The text is not a valid name of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an app's name is 1 to 32 lower-case letters, digits and -")]
pub struct InvalidAppName;

impl AppName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AppName {
    type Err = InvalidAppName;

    fn from_str(text: &str) -> Result<Self, InvalidAppName> {
        let is_plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if (1..=32).contains(&text.len()) && is_plain { Ok(Self(text.into())) } else { Err(InvalidAppName) }
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who may enter: whoever has one of the roles and, if one is asked for, the permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// One of these; `None` lets every role in. `admin` is always let in.
    pub roles: Option<Vec<Role>>,
    /// And this.
    pub permission: Option<Permission>,
}

impl Rule {
    fn check(&self, role: &Role, roles: &Roles) -> Result<(), Missing> {
        if let Some(listed) = self.roles.as_ref().filter(|listed| !role.is_admin() && !listed.contains(role)) {
            return Err(Missing::Role(listed.clone()));
        }
        match &self.permission {
            Some(permission) if !roles.allows(role, permission.as_str()) => Err(Missing::Permission(permission.clone())),
            _ => Ok(()),
        }
    }

    /// Whether holders of this role are let in.
    #[must_use]
    pub fn admits(&self, role: &Role, roles: &Roles) -> bool {
        self.check(role, roles).is_ok()
    }
}

/// A part of an app with a rule of its own, which is asked beside the app's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRule {
    /// What folded paths of that part begin with.
    pub prefix: String,
    /// Who may enter it.
    pub rule: Rule,
}

/// An app behind the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its name.
    pub name: AppName,
    /// Where browsers find it.
    pub origin: AppOrigin,
    /// Who may enter.
    pub rule: Rule,
    /// Parts with rules of their own.
    pub paths: Vec<PathRule>,
    /// What is open to everybody.
    pub public: Vec<Public>,
    /// Whether API keys open it.
    pub takes_keys: bool,
    /// Whether an API key may come as the password of HTTP Basic authentication.
    pub takes_basic: bool,
    /// Whether users enter whose address nobody vouched for.
    pub takes_unverified: bool,
    /// Other origins whose pages may write and open websockets.
    pub trusted_origins: Vec<String>,
}

/// What of a user counts for who may enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing<'a> {
    /// Their role.
    pub role: &'a Role,
    /// Whether somebody vouched for their address. A service has none that could be somebody else's.
    pub is_vouched_for: bool,
}

impl<'a> Standing<'a> {
    /// That of a user.
    #[must_use]
    pub fn of(user: &'a User) -> Self {
        Self { role: &user.role, is_vouched_for: user.email_verified || !user.is_person() }
    }
}

/// What somebody lacks who may not enter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// Somebody must vouch for their address.
    VerifiedAddress,
    /// One of these roles.
    Role(Vec<Role>),
    /// This permission.
    Permission(Permission),
}

/// A refusal, and the rule that makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused<'a> {
    /// What is missing.
    pub missing: Missing,
    /// The prefix of the path rule; `None` if it is the app's own rule.
    pub prefix: Option<&'a str>,
}

impl App {
    /// The entry of `public` that opens this path to everybody, if there is one. The path is as the client sent it, without
    /// its query.
    #[must_use]
    pub fn public_entry(&self, method: &str, path: &str) -> Option<&Public> {
        let mut matching = self.public.iter().filter(|entry| entry.opens(method, path));
        matching.next().filter(|_| path::is_plain(path))
    }

    /// Whether somebody may enter at all.
    ///
    /// # Errors
    /// What is missing.
    pub fn admit(&self, standing: Standing<'_>, roles: &Roles) -> Result<(), Missing> {
        if !standing.is_vouched_for && !self.takes_unverified {
            return Err(Missing::VerifiedAddress);
        }
        self.rule.check(standing.role, roles)
    }

    /// Whether somebody may enter by this path, which is as the client sent it, without its query. What cannot be read in
    /// one way alone must satisfy every rule of the app.
    ///
    /// # Errors
    /// What is missing, and by which rule.
    pub fn admit_to<'a>(&'a self, path: &str, standing: Standing<'_>, roles: &Roles) -> Result<(), Refused<'a>> {
        self.admit(standing, roles).map_err(|missing| Refused { missing, prefix: None })?;
        if self.paths.is_empty() {
            return Ok(());
        }
        let folded = Folded::new(path);
        for part in self.paths.iter().filter(|part| folded.may_be_below(&part.prefix)) {
            part.rule.check(standing.role, roles).map_err(|missing| Refused { missing, prefix: Some(&part.prefix) })?;
        }
        Ok(())
    }

    /// Whether a page of this origin may write to the app and open websockets to it.
    #[must_use]
    pub fn trusts(&self, origin: &str) -> bool {
        self.origin.as_str() == origin || self.trusted_origins.iter().any(|trusted| trusted == origin)
    }
}

/// The prefix of a path rule in its folded form; `None` if it has other spellings, or a `*`, or does not begin with `/`.
#[must_use]
pub fn folded_prefix(text: &str) -> Option<String> {
    (path::is_plain(text) && text != "/" && !text.contains('*')).then(|| text.trim_end_matches('/').to_ascii_lowercase())
}

/// All apps.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    apps: Vec<Arc<App>>,
    by_host: HashMap<String, usize>,
}

impl Gate {
    /// A gate to these apps, which have different hosts.
    #[must_use]
    pub fn new(apps: Vec<App>) -> Self {
        let apps: Vec<_> = apps.into_iter().map(Arc::new).collect();
        let by_host = apps.iter().enumerate().map(|(index, app)| (app.origin.authority().to_owned(), index)).collect();
        Self { apps, by_host }
    }

    /// All apps, in the order they are configured in.
    #[must_use]
    pub fn apps(&self) -> &[Arc<App>] {
        &self.apps
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.apps.is_empty()
    }

    /// The app with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<App>> {
        self.apps.iter().find(|app| app.name.as_str() == name)
    }

    /// The app at a host, as `Host` spells it: in any case, with a dot at its end, with the port that its scheme implies.
    #[must_use]
    pub fn at_host(&self, host: &str) -> Option<&Arc<App>> {
        let (name, port) = origin::split_host(host)?;
        let at = |authority: &str| self.by_host.get(authority).and_then(|index| self.apps.get(*index));
        match port {
            None => at(&name),
            Some(port) => at(&format!("{name}:{port}")).or_else(|| at(&name).filter(|app| app.origin.implied_port() == port)),
        }
    }
}

#[cfg(test)]
mod tests;
