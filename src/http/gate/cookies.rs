//! The gate's two cookies at an app's host: the pass, and the nonce of a browser that is on its way to one.

use crate::{
    domain::gate::AppOrigin,
    http::context::RequestContext,
    service::gate::{Nonce, REQUEST_TTL},
};
use cookie::{Cookie, SameSite, time::Duration};
use secrecy::{ExposeSecret, SecretString};
use warp::http::{HeaderValue, header};

/// A cookie as a request brought it.
#[derive(Debug)]
pub enum Presented {
    /// It is not there, or is not readable as one.
    None,
    /// It is there once.
    Once(SecretString),
    /// It is there more than once, so one of them was planted.
    Twice,
}

/// The name of a cookie. `__Host-` keeps neighbours from planting it. All programs of a host share one jar, whatever their
/// port, so without that prefix the name has the port.
fn name(of: &str, origin: &AppOrigin) -> String {
    if origin.is_secure() { format!("__Host-doorward-{of}") } else { format!("doorward-{of}-{}", origin.port()) }
}

/// The pass to the app of this origin.
pub fn pass(context: &RequestContext, origin: &AppOrigin) -> Presented {
    find(context, &name("pass", origin))
}

/// The nonce of this browser at the app of this origin.
pub fn nonce(context: &RequestContext, origin: &AppOrigin) -> Option<Nonce> {
    match find(context, &name("enter", origin)) {
        Presented::Once(text) => Nonce::parse(text.expose_secret()),
        Presented::None | Presented::Twice => None,
    }
}

/// The `Set-Cookie` value of a pass.
pub fn set_pass(origin: &AppOrigin, pass: &SecretString, seconds: u64) -> HeaderValue {
    set(name("pass", origin), pass.expose_secret(), origin, seconds)
}

/// The `Set-Cookie` value of a nonce.
pub fn set_nonce(origin: &AppOrigin, nonce: &Nonce) -> HeaderValue {
    set(name("enter", origin), nonce.as_str(), origin, REQUEST_TTL.as_secs())
}

/// Lax: a link to the app from elsewhere brings the pass along. What such a link could do is the origin rule's to refuse.
fn set(name: String, value: &str, origin: &AppOrigin, seconds: u64) -> HeaderValue {
    let cookie = Cookie::build((name, value.to_owned()))
        .path("/")
        .secure(origin.is_secure())
        .http_only(true)
        .same_site(SameSite::Lax)
        .max_age(Duration::seconds(i64::try_from(seconds).unwrap_or(i64::MAX)));
    HeaderValue::from_str(&cookie.build().to_string()).expect("our names and base64url values are ASCII")
}

/// Some proxies join the lines of a header by commas: what stands behind one counts as there, but is not read.
fn find(context: &RequestContext, name: &str) -> Presented {
    let mut found = Presented::None;
    let mut count = 0;
    for line in context.headers(&header::COOKIE) {
        for pair in line.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii) {
            let is_ours = |piece: &[u8]| {
                piece.trim_ascii().strip_prefix(name.as_bytes()).is_some_and(|rest| rest.trim_ascii_start().starts_with(b"="))
            };
            count += pair.split(|byte| *byte == b',').filter(|piece| is_ours(piece)).count();
            let value = pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
            if let Some(value) = value.and_then(|value| str::from_utf8(value).ok()).filter(|value| !value.is_empty()) {
                found = Presented::Once(value.into());
            }
        }
    }
    if count > 1 { Presented::Twice } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::{HeaderMap, Uri};

    fn found(lines: &[&str]) -> Result<Option<String>, ()> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_str(line).expect("a value"));
        }
        let origin = AppOrigin::new("https://app.example.org").expect("an origin");
        match pass(&RequestContext::new([127, 0, 0, 1].into(), headers, Uri::default()), &origin) {
            Presented::None => Ok(None),
            Presented::Once(text) => Ok(Some(text.expose_secret().to_owned())),
            Presented::Twice => Err(()),
        }
    }

    #[test]
    fn gate_8_a_pass_counts_if_it_is_there_once() {
        let once = Ok(Some("x".to_owned()));
        for lines in [&["__Host-doorward-pass=x"][..], &["a=b; __Host-doorward-pass=x; c=d"], &["a=b", "__Host-doorward-pass=x"]] {
            assert_eq!(found(lines), once, "{lines:?}");
        }
        for lines in [
            &["__Host-doorward-pass=x; __Host-doorward-pass=x"][..],
            &["__Host-doorward-pass=x", "__Host-doorward-pass=y"],
            &["__Host-doorward-pass=x, __Host-doorward-pass=y"],
            &["__Host-doorward-pass=x,__Host-doorward-pass=y; a=b"],
            &["__Host-doorward-pass =x; __Host-doorward-pass=y"],
        ] {
            assert_eq!(found(lines), Err(()), "{lines:?}");
        }
        for lines in
            [&[][..], &["doorward-pass-443=x"], &["__Host-doorward-pass="], &["__host-doorward-pass=x"], &["x__Host-doorward-pass=x"]]
        {
            assert_eq!(found(lines), Ok(None), "{lines:?}");
        }
    }

    #[test]
    fn cookies_are_for_one_host_and_no_script() {
        let origin = |text| AppOrigin::new(text).expect("an origin");
        let set = set_pass(&origin("https://app.example.org"), &SecretString::from("x"), 60);
        assert_eq!(set, "__Host-doorward-pass=x; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=60");
        let set = set_pass(&origin("http://localhost:8080"), &SecretString::from("x"), 60);
        assert_eq!(set, "doorward-pass-8080=x; HttpOnly; SameSite=Lax; Path=/; Max-Age=60");
    }
}
