//! Where an app is, and how hosts are spelt.

use url::Url;

/// The origin of an app, as browsers write it (RFC 6454 §6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppOrigin {
    text: String,
    authority: String,
    is_secure: bool,
    port: u16,
}

impl AppOrigin {
    /// Reads an origin: scheme, host and perhaps a port, exactly as browsers write it.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let is_web = matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.ends_with('.'));
        if !is_web || url.origin().ascii_serialization() != text || text.contains('*') {
            return None;
        }
        let (_, authority) = text.split_once("://")?;
        Some(Self {
            text: text.to_owned(),
            authority: authority.to_owned(),
            is_secure: url.scheme() == "https",
            port: url.port_or_known_default()?,
        })
    }

    /// The origin.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Host and port, the latter only if the scheme does not imply it.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The host without a port.
    #[must_use]
    pub fn host(&self) -> &str {
        split_port(&self.authority).0
    }

    /// Whether browsers reach it by TLS.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The port that the scheme implies.
    pub(super) const fn implied_port(&self) -> u16 {
        if self.is_secure { 443 } else { 80 }
    }
}

/// The host in a header in one spelling, and its port. `None` for what is no host.
pub(super) fn split_host(host: &str) -> Option<(String, Option<u16>)> {
    let (name, port) = split_port(host);
    let port = match port {
        None => None,
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => Some(port.parse().ok()?),
        Some(_) => return None,
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_' | b':' | b'[' | b']');
    (!name.is_empty() && name.bytes().all(is_name)).then_some((name, port))
}

/// Splits a port off. The colons of an IPv6 address are in brackets.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    }
}
