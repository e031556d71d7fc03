//! What follows from the configured public address: the cookies' names and attributes, our own origins and which
//! others are let in. No request header changes any of it (COK-3).

use super::{
    context::RequestContext,
    error::{ApiError, Code},
};
use crate::{
    config::{self, CsrfMode, Settings},
    domain::{Foreign, Language},
};
use ipnet::IpNet;
use url::Url;
use warp::http::{HeaderName, header};

pub const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The names of our cookies. All programs on a host share one cookie jar, whatever their port, so the names must be
/// unique to Doorward. Where no prefix keeps other programs from setting them, they contain the port (ADR 5).
#[derive(Debug, Clone)]
pub struct CookieNames {
    /// The refresh token's. `__Host-` would forbid its path.
    pub(super) refresh: String,
    /// The CSRF token's.
    pub(super) csrf: String,
    /// The device token's (LIM-3).
    pub(super) device: String,
}

impl CookieNames {
    /// The names for a site at this address.
    #[must_use]
    pub fn of(url: &str) -> Self {
        let parsed = Url::parse(url).ok();
        let port = parsed.as_ref().and_then(Url::port_or_known_default).unwrap_or_default();
        let name = |prefix: &str, of: &str| {
            if url.starts_with("https:") { format!("{prefix}doorward-{of}") } else { format!("doorward-{of}-{port}") }
        };
        Self { refresh: name("__Secure-", "refresh"), csrf: name("__Host-", "csrf"), device: name("__Host-", "device") }
    }
}

/// Who may read metrics on the main listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsFor {
    /// Nobody: it has none.
    Nobody,
    /// Who has the permission.
    Permitted,
    /// And programs on this machine that ask directly, since the settings say which peers are proxies.
    PermittedOrHere,
}

impl MetricsFor {
    fn those_of(settings: &Settings) -> Self {
        let are_proxies_known = settings.is_for_this_machine() || !settings.server.trusted_proxies.is_empty();
        match (settings.metrics.enabled, are_proxies_known) {
            (false, _) => Self::Nobody,
            (true, false) => Self::Permitted,
            (true, true) => Self::PermittedOrHere,
        }
    }
}

/// The site as browsers see it.
#[derive(Debug, Clone)]
pub struct PublicOrigin {
    /// The address people type, without a slash at the end.
    pub url: String,
    /// Whether cookies are for https alone.
    pub secure: bool,
    /// Which clients must send a CSRF token.
    pub csrf: CsrfMode,
    /// The names of its cookies.
    pub names: CookieNames,
    /// The proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Proxies that may ask the gate, besides those.
    pub gate_peers: Vec<IpNet>,
    /// Whether `/` is the account page.
    pub has_page: bool,
    /// Who may read metrics on the main listener.
    pub metrics: MetricsFor,
    /// The language of its pages, if it is not for the visitor's browser to say.
    pub language: Option<Language>,
    own: Vec<String>,
    allowed: Vec<String>,
}

impl PublicOrigin {
    /// The site of these settings.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let url = settings.public_url();
        let parsed = Url::parse(&url).ok();
        let secure = url.starts_with("https:");
        let mut own = vec![url.clone()];
        // Loopback has three names, and a user may type another one than the one that we printed.
        if let Some(parsed) = parsed.filter(config::is_loopback) {
            let (scheme, port) = (parsed.scheme(), parsed.port().map_or_else(String::new, |port| format!(":{port}")));
            own.extend(["localhost", "127.0.0.1", "[::1]"].map(|host| format!("{scheme}://{host}{port}")));
        }
        let names = CookieNames::of(&url);
        Self {
            url,
            secure,
            csrf: settings.csrf.mode,
            names,
            trusted_proxies: settings.server.trusted_proxies.clone(),
            gate_peers: settings.gate.peers.clone(),
            has_page: settings.page.enabled,
            metrics: MetricsFor::those_of(settings),
            language: settings.page.language,
            own,
            allowed: settings.cors.allowed_origins.clone(),
        }
    }

    /// Whether this origin of another site is listed, exactly as it is, so that its pages are let in (COK-12).
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed == origin)
    }

    /// The origin half of the CSRF check (COK-6): if a browser says where a request comes from, it must be this site
    /// or a listed one. Returns whether a browser made the request.
    ///
    /// # Errors
    /// 403 `CSRF_FAILED`.
    pub fn check_origin(&self, context: &RequestContext) -> Result<bool, ApiError> {
        let stated = |name: &HeaderName| context.headers(name).next().map(|_| context.header(name).unwrap_or_default());
        let (origin, fetch_site) = (stated(&header::ORIGIN), stated(&SEC_FETCH_SITE));
        let listed = origin.is_some_and(|origin| self.allows(origin));
        let origin_fits = origin.is_none_or(|origin| listed || self.own.iter().any(|own| own == origin));
        let site_fits = fetch_site.is_none_or(|site| site == "same-origin" || listed);
        if origin_fits && site_fits { Ok(origin.or(fetch_site).is_some()) } else { Err(Code::CsrfFailed.into()) }
    }

    /// The origin for which a request was refused, for the log. `None` if its origin is allowed.
    #[must_use]
    pub fn foreign_origin(&self, context: &RequestContext) -> Option<Foreign> {
        self.check_origin(context).err()?;
        Some(Foreign { seen: stated_origin(context), own: self.url.clone(), see: "server.public_url, cors.allowed_origins".into() })
    }
}

/// Where a browser says that a request comes from, for the log.
pub fn stated_origin(context: &RequestContext) -> String {
    const MAX_LENGTH: usize = 100;
    let seen = context.header(&header::ORIGIN).or_else(|| context.header(&SEC_FETCH_SITE)).unwrap_or("?");
    seen.get(..MAX_LENGTH).unwrap_or(seen).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::{HeaderMap, HeaderValue};

    fn site(url: &str) -> PublicOrigin {
        let mut settings = Settings::default();
        settings.server.public_url = url.into();
        settings.cors.allowed_origins = vec!["https://app.example.org".into()];
        PublicOrigin::new(&settings)
    }

    fn check(site: &PublicOrigin, lines: &[(&'static str, &str)]) -> Result<bool, Code> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        site.check_origin(&RequestContext::new([127, 0, 0, 1].into(), headers, warp::http::Uri::default())).map_err(|error| error.code)
    }

    #[test]
    fn cok_6_only_this_site_and_listed_ones_pass() {
        let site = site("https://login.example.org");
        assert_eq!(check(&site, &[]), Ok(false), "no browser");
        assert_eq!(check(&site, &[("origin", "https://login.example.org"), ("sec-fetch-site", "same-origin")]), Ok(true));
        assert_eq!(check(&site, &[("sec-fetch-site", "same-origin")]), Ok(true));
        assert_eq!(check(&site, &[("origin", "https://app.example.org"), ("sec-fetch-site", "same-site")]), Ok(true), "listed");
        for refused in [
            &[("origin", "https://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "http://login.example.org")],
            &[("origin", "https://login.example.org:8443")],
            &[("origin", "https://login.example.org.evil.example")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("origin", "https://login.example.org"), ("sec-fetch-site", "cross-site")],
            &[("origin", "https://login.example.org"), ("origin", "https://evil.example")],
        ] {
            assert_eq!(check(&site, refused), Err(Code::CsrfFailed), "{refused:?}");
        }
    }

    #[test]
    fn on_loopback_its_three_names_are_one_site() {
        let site = site("");
        assert_eq!(site.url, "http://127.0.0.1:3000");
        for name in ["http://127.0.0.1:3000", "http://localhost:3000", "http://[::1]:3000"] {
            assert_eq!(check(&site, &[("origin", name)]), Ok(true), "{name}");
        }
        for other in ["http://localhost:3001", "https://localhost:3000", "http://localhost"] {
            assert_eq!(check(&site, &[("origin", other)]), Err(Code::CsrfFailed), "{other}");
        }
        assert!(!site.secure);
    }
}
