//! What of an app is open to everybody.

use std::{fmt, str::FromStr};

/// An entry of `public`: a path or all paths below one, for one method. Without a method it is for GET and HEAD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    method: Option<String>,
    /// The path, or with `is_prefix` what the path begins with.
    path: String,
    is_prefix: bool,
}

/// Why an entry cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPublic {
    /// Not of the form that entries have.
    #[error("a path such as /manifest.json, all below one such as /share/*, or either behind a method such as POST /hooks/*")]
    Form,
    /// It would open everything.
    #[error("single paths and all below one: this opens the whole app")]
    Everything,
}

impl FromStr for Public {
    type Err = InvalidPublic;

    fn from_str(text: &str) -> Result<Self, InvalidPublic> {
        let (method, path) = match text.split_once(' ') {
            Some((method, path)) if is_method(method) => (Some(method.to_owned()), path),
            Some(_) => return Err(InvalidPublic::Form),
            None => (None, text),
        };
        let (path, is_prefix) = match path.strip_suffix('*') {
            Some(prefix) if prefix.ends_with('/') => (prefix, true),
            Some(_) => return Err(InvalidPublic::Form),
            None => (path, false),
        };
        if !super::path::is_plain(path) || path.contains('*') {
            return Err(InvalidPublic::Form);
        }
        if is_prefix && path == "/" && method.as_deref() != Some("OPTIONS") {
            return Err(InvalidPublic::Everything);
        }
        Ok(Self { method, path: path.to_owned(), is_prefix })
    }
}

impl Public {
    /// Whether it opens this path to everybody: byte for byte, and for this method alone.
    pub(super) fn opens(&self, method: &str, path: &str) -> bool {
        let fits = match &self.method {
            Some(own) => own == method,
            None => matches!(method, "GET" | "HEAD"),
        };
        fits && if self.is_prefix { path.starts_with(&self.path) } else { path == self.path }
    }

    /// Whether it is for GET.
    #[must_use]
    pub fn opens_get(&self) -> bool {
        self.method.as_deref().is_none_or(|method| method == "GET")
    }

    /// A path that it opens.
    #[must_use]
    pub fn example(&self) -> String {
        format!("{}{}", self.path, if self.is_prefix { "x" } else { "" })
    }

    /// Whether it opens something at or below a path that a rule closes. Preflights for all paths are harmless: they carry
    /// neither cookie nor body.
    #[must_use]
    pub fn reaches_into(&self, closed: &str) -> bool {
        let own = self.path.to_ascii_lowercase();
        own.starts_with(closed) || (self.is_prefix && closed.starts_with(&own) && self.method.as_deref() != Some("OPTIONS"))
    }
}

impl fmt::Display for Public {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(method) = &self.method {
            write!(f, "{method} ")?;
        }
        write!(f, "{}{}", self.path, if self.is_prefix { "*" } else { "" })
    }
}

/// Whether this is a method as proxies hand it on: upper-case letters and `-`.
fn is_method(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
}
