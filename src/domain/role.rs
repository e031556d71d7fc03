//! Roles, the permissions they grant, and how a permission is checked (AZ-5).

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

/// The text is not a valid name of a role or a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Not a role's name.
    #[error("a role is a lower-case letter followed by up to 31 lower-case letters, digits, - or _")]
    Role,
    /// Not a permission's name.
    #[error("a permission is written resource:action in lower case, such as articles:write")]
    Permission,
}

/// The name of a role, such as `editor`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Role(Arc<str>);

impl Role {
    /// The role that passes every role check, and that at least one enabled user always has (AZ-3).
    pub const ADMIN: &str = "admin";

    /// The [`Role::ADMIN`] role.
    #[must_use]
    pub fn admin() -> Self {
        Self(Self::ADMIN.into())
    }

    /// Whether this is [`Role::ADMIN`].
    #[must_use]
    pub fn is_admin(&self) -> bool {
        &*self.0 == Self::ADMIN
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Role {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let valid = text.len() <= 32
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if valid { Ok(Self(text.into())) } else { Err(InvalidName::Role) }
    }
}

impl TryFrom<String> for Role {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A permission, `resource:action`. *Granted* in the configuration, it may be `*` or `resource:*`; *requested*, it is
/// exact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Permission(Arc<str>);

impl Permission {
    /// The permissions that our own routes require. They may be asked for even if no role names them.
    pub const OWN: [&str; 5] = ["users:read", "users:write", "tokens:introspect", "metrics:read", "audit:read"];

    /// The text, as configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `*` or `resource:*`.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.0.ends_with('*')
    }

    /// Whether holding `self` allows `requested`.
    #[must_use]
    pub fn grants(&self, requested: &str) -> bool {
        match self.0.strip_suffix('*') {
            // "*" leaves "", "articles:*" leaves "articles:".
            Some(prefix) => requested.starts_with(prefix),
            None => &*self.0 == requested,
        }
    }

    /// Parses a requested permission: no wildcard.
    ///
    /// # Errors
    /// [`InvalidName::Permission`].
    pub fn exact(text: &str) -> Result<Self, InvalidName> {
        let word =
            |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'));
        match text.split_once(':') {
            Some((resource, action)) if text.len() <= 64 && word(resource) && word(action) => Ok(Self(text.into())),
            _ => Err(InvalidName::Permission),
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Permission {
    type Error = InvalidName;

    /// Parses a granted permission: wildcards allowed.
    fn try_from(text: String) -> Result<Self, InvalidName> {
        match text.strip_suffix('*') {
            Some("") => Ok(Self(text.into())),
            Some(prefix) => Self::exact(&format!("{prefix}any")).map(|_| Self(text.as_str().into())),
            None => Self::exact(&text),
        }
    }
}

/// The configured roles and what each grants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Roles(BTreeMap<Role, Arc<[Permission]>>);

impl Roles {
    /// Whether a role of this name is configured.
    #[must_use]
    pub fn contains(&self, role: &Role) -> bool {
        self.0.contains_key(role)
    }

    /// The permissions a role grants; none if the role is no longer configured.
    #[must_use]
    pub fn permissions(&self, role: &Role) -> Arc<[Permission]> {
        self.0.get(role).cloned().unwrap_or_else(|| Arc::from([]))
    }

    /// Whether a role allows a permission.
    #[must_use]
    pub fn allows(&self, role: &Role, requested: &str) -> bool {
        self.0.get(role).is_some_and(|granted| granted.iter().any(|p| p.grants(requested)))
    }

    /// Whether holders of `role` may grant `other`: `role` must allow all that `other` grants (AZ-4). A role without
    /// permissions still means something by its name, so only its holders and those with `*` may grant it.
    #[must_use]
    pub fn includes(&self, role: &Role, other: &Role) -> bool {
        let granted = self.permissions(other);
        // `grants` also compares wildcards: only one at least as wide grants a wildcard.
        role == other || self.allows(role, "*") || (!granted.is_empty() && granted.iter().all(|p| self.allows(role, p.as_str())))
    }

    /// Whether there is such a permission: our own routes require it, or some role names it, exactly or as `resource:*`. A
    /// role with `*` does not count: it would make every name a permission.
    #[must_use]
    pub fn names_permission(&self, permission: &str) -> bool {
        Permission::OWN.contains(&permission)
            || self.0.values().flat_map(|granted| granted.iter()).any(|p| p.as_str() != "*" && p.grants(permission))
    }

    /// The policy for granting roles, with this role as the default.
    #[must_use]
    pub fn policy(&self, default_role: &Role) -> RolePolicy {
        RolePolicy { roles: self.clone(), default_role: default_role.clone() }
    }

    /// The names of the roles, sorted.
    pub fn names(&self) -> impl Iterator<Item = &Role> {
        self.0.keys()
    }
}

/// Who may grant a role to a user or take it from them (AZ-4).
#[derive(Debug, Clone)]
pub struct RolePolicy {
    roles: Roles,
    /// The role of every new user, so anybody may grant it.
    default_role: Role,
}

impl RolePolicy {
    /// Whether a user with role `own` may grant or take the role `given`.
    #[must_use]
    pub fn may_grant(&self, own: &Role, given: &Role) -> bool {
        *given == self.default_role || self.roles.includes(own, given)
    }
}

impl Default for Roles {
    fn default() -> Self {
        let grant = |role: &str, permissions: &[&str]| (Role(role.into()), permissions.iter().map(|p| Permission((*p).into())).collect());
        Self(BTreeMap::from([
            grant("viewer", &["articles:read"]),
            grant("editor", &["articles:read", "articles:write"]),
            grant(Role::ADMIN, &["*"]),
        ]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str) -> Role {
        name.parse().expect("a role")
    }

    #[test]
    fn az_5_permissions_match_exactly_and_wildcards_only_where_granted() {
        let roles = Roles::default();
        assert!(roles.allows(&role("editor"), "articles:write"));
        for near in ["articles:writeX", "ARTICLES:WRITE", "articles:", "articles", "articles:writ", ""] {
            assert!(!roles.allows(&role("editor"), near), "{near}");
        }
        assert!(roles.allows(&Role::admin(), "anything:at-all"));
        assert!(!roles.allows(&role("nobody"), "articles:read"));
        assert!(Permission::exact("articles:*").is_err());
        assert!(Permission::exact("*").is_err());
    }

    #[test]
    fn a_granted_wildcard_covers_its_resource_alone() {
        let all_articles = Permission::try_from("articles:*".to_owned()).expect("a grant");
        assert!(all_articles.grants("articles:write"));
        assert!(!all_articles.grants("articlesx:write"));
        assert!(!all_articles.grants("users:write"));
        for wrong in ["articles*", ":*", "**", "a:b:*", "Articles:*", "art*cles:read"] {
            assert!(Permission::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn az_4_a_role_covers_only_what_it_grants_itself() {
        let roles = Roles::default();
        assert!(roles.includes(&Role::admin(), &role("editor")));
        assert!(roles.includes(&role("editor"), &role("viewer")));
        assert!(!roles.includes(&role("viewer"), &role("editor")));
        assert!(!roles.includes(&role("editor"), &Role::admin()));
        assert!(!roles.includes(&role("editor"), &role("vip")), "one that grants nothing is not everybody's to give");
        assert!(roles.includes(&role("vip"), &role("vip")) && roles.includes(&Role::admin(), &role("vip")));
        assert!(roles.policy(&role("vip")).may_grant(&role("editor"), &role("vip")), "the default role is");
        assert!(!roles.policy(&role("viewer")).may_grant(&role("editor"), &Role::admin()));
    }

    #[test]
    fn role_names_are_plain_words() {
        for wrong in ["", "Admin", "a b", "1a", &"a".repeat(33), "ä"] {
            assert_eq!(wrong.parse::<Role>(), Err(InvalidName::Role), "{wrong}");
        }
    }
}
