//! Our cookies: the refresh token and the device token, which no script reads, and the CSRF token,
//! which ours does.

use super::{
    error::{ApiError, Code},
    exchange::Exchange,
    site::Site,
};
use crate::service::{devices, sessions::Grant};
use cookie::{Cookie, CookieBuilder, SameSite, time::Duration};
use secrecy::{ExposeSecret, SecretString};
use warp::http::{HeaderValue, header};

/// The path the refresh token is sent to.
const REFRESH_PATH: &str = "/api/auth";

impl Site {
    /// The name of the refresh token's cookie. `__Host-` would forbid its path (ADR 5).
    const fn refresh_cookie(&self) -> &'static str {
        if self.secure { "__Secure-refreshToken" } else { "refreshToken" }
    }

    /// The name of the CSRF token's cookie.
    const fn csrf_cookie(&self) -> &'static str {
        if self.secure { "__Host-csrfToken" } else { "csrfToken" }
    }

    /// The name of the device token's cookie (LIM-3).
    const fn device_cookie(&self) -> &'static str {
        if self.secure { "__Host-device" } else { "device" }
    }

    fn cookie(&self, name: &'static str, value: String, seconds: u64) -> CookieBuilder<'static> {
        Cookie::build((name, value))
            .secure(self.secure)
            .same_site(SameSite::Strict)
            .max_age(Duration::seconds(i64::try_from(seconds).unwrap_or(i64::MAX)))
    }

    fn refresh(&self, value: String, seconds: u64) -> HeaderValue {
        rendered(self.cookie(self.refresh_cookie(), value, seconds).path(REFRESH_PATH).http_only(true))
    }

    fn csrf(&self, value: String, seconds: u64) -> HeaderValue {
        rendered(self.cookie(self.csrf_cookie(), value, seconds).path("/"))
    }

    /// `Set-Cookie` values for what was granted.
    pub fn cookies(&self, grant: &Grant) -> [HeaderValue; 2] {
        let seconds = grant.refresh_expires_in;
        [self.refresh(grant.refresh_token.expose_secret().to_owned(), seconds), self.csrf(grant.csrf_token.clone(), seconds)]
    }

    /// The `Set-Cookie` value of a CSRF token alone.
    pub fn csrf_token(&self, token: &str, seconds: u64) -> HeaderValue {
        self.csrf(token.to_owned(), seconds)
    }

    /// The `Set-Cookie` value of a device token.
    pub fn device(&self, token: &SecretString) -> HeaderValue {
        let cookie = self.cookie(self.device_cookie(), token.expose_secret().to_owned(), devices::LIFE.as_secs());
        rendered(cookie.path("/").http_only(true))
    }

    /// The device token a request's cookie carries.
    ///
    /// # Errors
    /// As [`Site::refresh_token`].
    pub fn device_token(&self, exchange: &Exchange) -> Result<Option<String>, ApiError> {
        read(exchange, self.device_cookie())
    }

    /// `Set-Cookie` values that end a session: the device stays known.
    pub fn cleared(&self) -> [HeaderValue; 2] {
        [self.refresh(String::new(), 0), self.csrf(String::new(), 0)]
    }

    /// The refresh token a request's cookie carries.
    ///
    /// # Errors
    /// 400 `INVALID_REQUEST` when it is there twice: one of them was planted (COK-4).
    pub fn refresh_token(&self, exchange: &Exchange) -> Result<Option<String>, ApiError> {
        read(exchange, self.refresh_cookie())
    }

    /// The CSRF token a request's cookie carries.
    ///
    /// # Errors
    /// As [`Site::refresh_token`].
    pub fn csrf_from_cookie(&self, exchange: &Exchange) -> Result<Option<String>, ApiError> {
        read(exchange, self.csrf_cookie())
    }
}

fn rendered(cookie: CookieBuilder<'static>) -> HeaderValue {
    HeaderValue::from_str(&cookie.build().to_string()).expect("our names and base64url values are ASCII")
}

/// The value of the one cookie with exactly this name; an empty one is none.
fn read(exchange: &Exchange, name: &str) -> Result<Option<String>, ApiError> {
    let mut found = None;
    for line in exchange.headers(&header::COOKIE) {
        // Each by itself: another site's cookie that is not ASCII must not hide ours on the same line.
        let pairs = line.as_bytes().split(|byte| *byte == b';').filter_map(|pair| std::str::from_utf8(pair).ok());
        for cookie in pairs.filter_map(|pair| Cookie::parse(pair.trim()).ok()).filter(|cookie| cookie.name() == name) {
            if found.replace(cookie.value().to_owned()).is_some() {
                return Err(ApiError::from(Code::InvalidRequest).message(format!("The cookie {name} is there twice")));
            }
        }
    }
    Ok(found.filter(|value| !value.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use proptest::prelude::*;
    use warp::http::HeaderMap;

    fn site(url: &str) -> Site {
        let mut settings = Settings::default();
        settings.server.public_url = url.into();
        Site::new(&settings, ([127, 0, 0, 1], 3000).into())
    }

    fn exchange(lines: &[&[u8]]) -> Exchange {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_bytes(line).expect("a value"));
        }
        Exchange::new([127, 0, 0, 1].into(), headers, warp::http::Uri::default())
    }

    #[test]
    fn cok_1_the_attributes_are_exact() {
        let plain = site("");
        assert_eq!(plain.refresh("v".into(), 60), "refreshToken=v; HttpOnly; SameSite=Strict; Path=/api/auth; Max-Age=60");
        assert_eq!(plain.csrf("v".into(), 60), "csrfToken=v; SameSite=Strict; Path=/; Max-Age=60");
        let https = site("https://login.example.org");
        assert_eq!(https.refresh("v".into(), 60), "__Secure-refreshToken=v; HttpOnly; SameSite=Strict; Secure; Path=/api/auth; Max-Age=60");
        assert_eq!(https.csrf("v".into(), 60), "__Host-csrfToken=v; SameSite=Strict; Secure; Path=/; Max-Age=60");
        assert_eq!(plain.cleared()[0], "refreshToken=; HttpOnly; SameSite=Strict; Path=/api/auth; Max-Age=0");
    }

    #[test]
    fn cok_4_5_a_cookie_counts_once_and_under_its_own_name_alone() {
        let (plain, https) = (site(""), site("https://login.example.org"));
        let read = |site: &Site, lines: &[&[u8]]| site.refresh_token(&exchange(lines)).map_err(|error| error.code);
        assert_eq!(read(&plain, &[b"a=1; refreshToken=t; b=2"]), Ok(Some("t".into())));
        assert_eq!(read(&plain, &[b"refreshToken=t; refreshToken=u"]), Err(Code::InvalidRequest));
        assert_eq!(read(&plain, &[b"refreshToken=t", b"refreshToken=t"]), Err(Code::InvalidRequest));
        assert_eq!(read(&plain, &[b"refreshToken="]), Ok(None));
        assert_eq!(read(&plain, &[b"xrefreshToken=t; refreshtoken=t"]), Ok(None));
        assert_eq!(read(&https, &[b"refreshToken=t"]), Ok(None), "tossed over http");
        assert_eq!(read(&https, &[b"__Secure-refreshToken=t"]), Ok(Some("t".into())));
        assert_eq!(read(&plain, &[b"refreshToken=\xff\xfe"]), Ok(None));
        assert_eq!(read(&plain, &[b"name=J\xc3\xbcrgen; refreshToken=t; x=\xff"]), Ok(Some("t".into())), "beside what is not ASCII");
        assert_eq!(read(&plain, &[b"refreshToken=t", b"x=\xff; refreshToken=u"]), Err(Code::InvalidRequest));
    }

    proptest! {
        #[test]
        fn no_cookie_header_makes_reading_panic(line in "[\\x20-\\x7e]{0,200}") {
            let _ = site("").refresh_token(&exchange(&[line.as_bytes()]));
        }
    }
}
