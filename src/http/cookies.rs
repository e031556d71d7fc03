//! Doorward's cookies: the refresh token and the device token, which no script can read, and the CSRF token,
//! which the page's script reads.

use super::{
    context::RequestContext,
    error::{ApiError, Code},
    origin::PublicOrigin,
};
use crate::service::sessions::TokenSet;
use cookie::{Cookie, CookieBuilder, SameSite, time::Duration};
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};
use warp::http::{HeaderValue, header};

/// The path the refresh token is sent to.
const REFRESH_PATH: &str = "/api/auth";
/// Paths for which a neighbouring site can set a refresh-token cookie that reaches an endpoint which reads one
/// (RFC 6265 §5.1.4).
const PLANTABLE_PATHS: [&str; 7] = ["/", "/api", "/api/", REFRESH_PATH, "/api/auth/", "/api/auth/refresh", "/api/auth/csrf"];

impl PublicOrigin {
    fn cookie(&self, name: &str, value: String, seconds: u64) -> CookieBuilder<'static> {
        Cookie::build((name.to_owned(), value))
            .secure(self.secure)
            .same_site(SameSite::Strict)
            .max_age(Duration::seconds(i64::try_from(seconds).unwrap_or(i64::MAX)))
    }

    fn refresh_cookie(&self, value: String, seconds: u64) -> HeaderValue {
        header_value(self.cookie(&self.names.refresh, value, seconds).path(REFRESH_PATH).http_only(true))
    }

    fn csrf_cookie_raw(&self, value: String, seconds: u64) -> HeaderValue {
        header_value(self.cookie(&self.names.csrf, value, seconds).path("/"))
    }

    /// The `Set-Cookie` values for a session's tokens.
    pub fn token_cookies(&self, tokens: &TokenSet) -> [HeaderValue; 2] {
        let seconds = tokens.refresh_expires_in;
        [
            self.refresh_cookie(tokens.refresh_token.expose_secret().to_owned(), seconds),
            self.csrf_cookie_raw(tokens.csrf_token.expose_secret().to_owned(), seconds),
        ]
    }

    /// The `Set-Cookie` value of a CSRF token alone.
    pub fn csrf_cookie(&self, token: &SecretString, seconds: u64) -> HeaderValue {
        self.csrf_cookie_raw(token.expose_secret().to_owned(), seconds)
    }

    /// The `Set-Cookie` value of a browser's device tokens, to be kept for this many seconds.
    pub fn device_cookie(&self, tokens: &SecretString, seconds: u64) -> HeaderValue {
        header_value(self.cookie(&self.names.device, tokens.expose_secret().to_owned(), seconds).path("/").http_only(true))
    }

    /// The device tokens in a request's cookies. A planted one does no harm, because a device token logs nobody in.
    pub fn device_tokens(&self, context: &RequestContext) -> Vec<SecretString> {
        cookie_values(context, &self.names.device).into_iter().map(SecretString::from).collect()
    }

    /// `Set-Cookie` values that delete a session's tokens. The device token stays.
    pub fn cleared_cookies(&self) -> [HeaderValue; 2] {
        [self.refresh_cookie(String::new(), 0), self.csrf_cookie_raw(String::new(), 0)]
    }

    /// The error for a request with two refresh-token cookies, of which one was planted (COK-4). It deletes the
    /// cookies of other domains and paths, which only a neighbouring site can have set.
    pub fn two_refresh_cookies(&self) -> ApiError {
        let error = ApiError::from(Code::InvalidRequest).message(format!("The cookie {} is there twice", self.names.refresh));
        self.planted_cookie_deletions().into_iter().fold(error, |error, cookie| error.header(header::SET_COOKIE, cookie))
    }

    /// Every refresh token in a request's cookies.
    pub fn refresh_tokens(&self, context: &RequestContext) -> Vec<SecretString> {
        cookie_values(context, &self.names.refresh).into_iter().map(SecretString::from).collect()
    }

    /// Whether a request's cookies carry this CSRF token.
    pub fn has_csrf_cookie(&self, context: &RequestContext, token: &str) -> bool {
        cookie_values(context, &self.names.csrf).iter().any(|kept| kept == token)
    }

    /// `Set-Cookie` values that delete a refresh token which was set for a whole domain, or for another path that
    /// reaches us. Our own is set for one host and one path.
    fn planted_cookie_deletions(&self) -> Vec<HeaderValue> {
        // An IP address has no parent domain: there, a program on another port can only plant for the host.
        let host = match Url::parse(&self.url).ok().and_then(|url| url.host().map(|host| host.to_owned())) {
            Some(Host::Domain(host)) => host,
            _ => String::new(),
        };
        let dots = std::iter::once(0).chain(host.match_indices('.').map(|(at, _)| at + 1));
        let domains = dots.map(|at| &host[at..]).filter(|domain| domain.contains('.'));
        let deleted = |path| self.cookie(&self.names.refresh, String::new(), 0).path(path).http_only(true);
        let everywhere = domains.flat_map(|domain| PLANTABLE_PATHS.map(|path| deleted(path).domain(domain.to_owned())));
        // Our own cookie has this host and our path, so it is left out.
        let here = PLANTABLE_PATHS.into_iter().filter(|path| *path != REFRESH_PATH).map(deleted);
        everywhere.chain(here).map(header_value).collect()
    }
}

fn header_value(cookie: CookieBuilder<'static>) -> HeaderValue {
    HeaderValue::from_str(&cookie.build().to_string()).expect("our names and base64url values are ASCII")
}

/// The values of the cookies with exactly this name, without empty ones.
fn cookie_values(context: &RequestContext, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in context.headers(&header::COOKIE) {
        // Each pair is decoded by itself: another site's cookie that is not UTF-8 must not hide ours on the same line.
        let pairs = line.as_bytes().split(|byte| *byte == b';').filter_map(|pair| std::str::from_utf8(pair).ok());
        let ours = pairs.filter_map(|pair| Cookie::parse(pair.trim()).ok()).filter(|cookie| cookie.name() == name);
        found.extend(ours.map(|cookie| cookie.value().to_owned()).filter(|value| !value.is_empty()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use proptest::prelude::*;
    use warp::http::HeaderMap;

    fn site(url: &str) -> PublicOrigin {
        let mut settings = Settings::default();
        settings.server.public_url = url.into();
        PublicOrigin::new(&settings)
    }

    fn context(lines: &[&[u8]]) -> RequestContext {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_bytes(line).expect("a value"));
        }
        RequestContext::new([127, 0, 0, 1].into(), headers, warp::http::Uri::default())
    }

    #[test]
    fn cok_1_the_attributes_are_exact() {
        let plain = site("");
        assert_eq!(plain.refresh_cookie("v".into(), 60), "doorward-refresh-3000=v; HttpOnly; SameSite=Strict; Path=/api/auth; Max-Age=60");
        assert_eq!(plain.csrf_cookie_raw("v".into(), 60), "doorward-csrf-3000=v; SameSite=Strict; Path=/; Max-Age=60");
        assert_eq!(plain.device_cookie(&"v".into(), 60), "doorward-device-3000=v; HttpOnly; SameSite=Strict; Path=/; Max-Age=60");
        let https = site("https://login.example.org");
        assert_eq!(
            https.refresh_cookie("v".into(), 60),
            "__Secure-doorward-refresh=v; HttpOnly; SameSite=Strict; Secure; Path=/api/auth; Max-Age=60"
        );
        assert_eq!(https.csrf_cookie_raw("v".into(), 60), "__Host-doorward-csrf=v; SameSite=Strict; Secure; Path=/; Max-Age=60");
        assert_eq!(https.device_cookie(&"v".into(), 60), "__Host-doorward-device=v; HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=60");
        assert_eq!(plain.cleared_cookies()[0], "doorward-refresh-3000=; HttpOnly; SameSite=Strict; Path=/api/auth; Max-Age=0");
        assert_eq!(site("http://localhost").names.csrf, "doorward-csrf-80");
    }

    #[test]
    fn cok_4_5_a_cookie_counts_under_its_own_name_alone() {
        const NONE: [&str; 0] = [];
        let (plain, https) = (site(""), site("https://login.example.org"));
        let read = |site: &PublicOrigin, lines: &[&[u8]]| {
            site.refresh_tokens(&context(lines)).iter().map(|token| token.expose_secret().to_owned()).collect::<Vec<_>>()
        };
        let ours = |rest: &str| format!("doorward-refresh-3000={rest}").into_bytes();
        assert_eq!(read(&plain, &[b"a=1; doorward-refresh-3000=t; b=2"]), ["t"]);
        assert_eq!(read(&plain, &[b"doorward-refresh-3000=t; doorward-refresh-3000=u"]), ["t", "u"]);
        assert_eq!(read(&plain, &[&ours("t"), &ours("t")]), ["t", "t"]);
        assert_eq!(read(&plain, &[&ours("")]), NONE);
        assert_eq!(read(&plain, &[b"xdoorward-refresh-3000=t; Doorward-refresh-3000=t; doorward-refresh-3001=t; refreshToken=t"]), NONE);
        assert_eq!(read(&https, &[b"doorward-refresh=t"]), NONE, "tossed over http");
        assert_eq!(read(&https, &[b"__Secure-doorward-refresh=t"]), ["t"]);
        assert_eq!(read(&plain, &[b"doorward-refresh-3000=\xff\xfe"]), NONE);
        assert_eq!(read(&plain, &[b"name=J\xc3\xbcrgen; doorward-refresh-3000=t; x=\xff"]), ["t"], "beside what is not ASCII");
        assert_eq!(read(&plain, &[&ours("t"), b"x=\xff; doorward-refresh-3000=u"]), ["t", "u"]);
    }

    #[test]
    fn cok_4_a_token_set_for_a_domain_is_deleted_from_every_domain_that_reaches_us() {
        let deleted = |url: &str| {
            site(url).planted_cookie_deletions().iter().map(|cookie| cookie.to_str().expect("ASCII").to_owned()).collect::<Vec<_>>()
        };
        let both = deleted("https://login.example.org");
        assert_eq!(both.len(), 20);
        assert!(both[0].contains("Domain=login.example.org") && both[7].contains("Domain=example.org"), "{both:?}");
        assert!(both.iter().all(|cookie| cookie.contains("Max-Age=0")));
        for path in PLANTABLE_PATHS {
            let of_path = both.iter().filter(|cookie| cookie.split("; ").any(|attribute| attribute == format!("Path={path}"))).count();
            assert_eq!(of_path, if path == "/api/auth" { 2 } else { 3 }, "{path}: ours stays");
        }
        let here = deleted("http://127.0.0.1:3000");
        assert_eq!(here.len(), 6);
        assert!(here.iter().all(|cookie| !cookie.contains("Domain=")), "{here:?}");
    }

    proptest! {
        #[test]
        fn no_cookie_header_makes_reading_panic(line in "[\\x20-\\x7e]{0,200}") {
            let _ = site("").refresh_tokens(&context(&[line.as_bytes()]));
        }
    }
}
