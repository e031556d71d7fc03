//! What a request presents to say who makes it: a bearer token, or an API key in one of its three forms.

use super::{
    context::RequestContext,
    error::{ApiError, Code},
};
use data_encoding::BASE64;
use memchr::memchr3;
use secrecy::SecretString;
use std::borrow::Cow;
use warp::http::{HeaderName, header};
use zeroize::Zeroizing;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What every API key begins with. Other programs have an `X-API-Key` too; theirs is none of our business.
pub const API_KEY_PREFIX: &str = "dwk_";

/// A credential, as it was presented. It is wiped when dropped if it is a copy.
pub enum Credential<'a> {
    /// In a header of its own, or behind `Bearer`.
    Bearer(&'a str),
    /// The password of HTTP Basic authentication (RFC 7617).
    Basic(Zeroizing<String>),
}

impl Credential<'_> {
    /// The token or the key.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Bearer(text) => text,
            Self::Basic(text) => text,
        }
    }
}

/// The bearer token, or the API key in its place.
///
/// # Errors
/// 401, or 400 for two `Authorization` headers (TOK-7, TOK-8).
pub fn bearer(context: &RequestContext) -> Result<&str, ApiError> {
    let (scheme, token) = authorization(context)?;
    if scheme.eq_ignore_ascii_case("Bearer") { Ok(token) } else { Err(Code::InvalidFormat.into()) }
}

/// The credential that a proxy hands on: the bearer token; or an API key as `Bearer`, as `X-API-Key`, or, with
/// `takes_basic`, as the password of HTTP Basic authentication. There may be only one.
///
/// # Errors
/// 401, or 400 for two credentials.
pub fn handed_on(context: &RequestContext, takes_basic: bool) -> Result<Credential<'_>, ApiError> {
    let name = X_API_KEY;
    let mut keys = context.headers(&name).filter_map(|line| line.to_str().ok()).filter(|key| key.starts_with(API_KEY_PREFIX));
    let authorization = match (keys.next(), keys.next(), authorization(context)) {
        (Some(key), None, Err(error)) if error.code == Code::MissingToken => return Ok(Credential::Bearer(key)),
        (None, _, authorization) => authorization,
        (Some(_), ..) => return Err(ApiError::from(Code::InvalidRequest).message("There are two credentials: send one of them")),
    };
    match authorization {
        Ok((scheme, token)) if scheme.eq_ignore_ascii_case("Bearer") => Ok(Credential::Bearer(token)),
        Ok((scheme, encoded)) if takes_basic && scheme.eq_ignore_ascii_case("Basic") => Ok(Credential::Basic(password(encoded)?)),
        Ok(_) => Err(Code::InvalidFormat.into()),
        Err(error) if takes_basic => Err(error.offering_basic()),
        Err(error) => Err(error),
    }
}

/// The API key of a client of the OAuth endpoints, as `Bearer` or as the password of HTTP Basic authentication. A client
/// that follows RFC 6749 §2.3.1 encodes the password; keys have no character that this would change.
///
/// # Errors
/// 401, or 400 for two `Authorization` headers.
pub fn client(context: &RequestContext) -> Result<Credential<'_>, ApiError> {
    match authorization(context)? {
        (scheme, token) if scheme.eq_ignore_ascii_case("Bearer") => Ok(Credential::Bearer(token)),
        (scheme, encoded) if scheme.eq_ignore_ascii_case("Basic") => Ok(Credential::Basic(password(encoded)?)),
        _ => Err(Code::InvalidFormat.into()),
    }
}

/// The password of HTTP Basic authentication, if a request has one.
///
/// # Errors
/// 400 for two `Authorization` headers.
pub fn basic(context: &RequestContext) -> Result<Option<SecretString>, ApiError> {
    match authorization(context) {
        Ok((scheme, encoded)) if scheme.eq_ignore_ascii_case("Basic") => Ok(Some(password(encoded)?.as_str().into())),
        Err(error) if error.code == Code::InvalidRequest => Err(error),
        _ => Ok(None),
    }
}

/// Scheme and token of the one `Authorization` header.
fn authorization(context: &RequestContext) -> Result<(&str, &str), ApiError> {
    let mut lines = context.headers(&header::AUTHORIZATION);
    // An empty header counts as none: a proxy may add one.
    let line = lines.next().filter(|line| !line.is_empty()).ok_or(Code::MissingToken)?;
    if lines.next().is_some() {
        return Err(ApiError::from(Code::InvalidRequest).message("There are two Authorization headers"));
    }
    // `is_ascii` and `memchr3` read many bytes at once: reading the token byte by byte would take as long as
    // verifying its signature.
    let (scheme, token) = str::from_utf8(line.as_bytes())
        .ok()
        .filter(|line| line.is_ascii())
        .and_then(|line| line.split_once(' '))
        .ok_or(Code::InvalidFormat)?;
    // RFC 9110 §11.4: one blank or more.
    let token = token.trim_start_matches(' ');
    if token.is_empty() || memchr3(b' ', b'\t', b',', token.as_bytes()).is_some() {
        return Err(Code::InvalidFormat.into());
    }
    Ok((scheme, token))
}

/// The password in the credentials of HTTP Basic authentication.
fn password(encoded: &str) -> Result<Zeroizing<String>, ApiError> {
    let decoded = BASE64.decode(encoded.as_bytes()).map(Zeroizing::new).map_err(|_| Code::InvalidFormat)?;
    let (_, password) = str::from_utf8(&decoded).ok().and_then(|text| text.split_once(':')).ok_or(Code::InvalidFormat)?;
    Ok(Zeroizing::new(Cow::Borrowed(password).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::{HeaderMap, HeaderValue, Uri};

    const KEY: &str = "dwk_key";

    fn context(lines: &[(&'static str, &str)]) -> RequestContext {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        RequestContext::new([127, 0, 0, 1].into(), headers, Uri::default())
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", BASE64.encode(pair.as_bytes()))
    }

    #[test]
    fn a_key_is_taken_in_three_forms_and_only_one_at_a_time() {
        let found = |lines: &[(&'static str, &str)], takes_basic| {
            handed_on(&context(lines), takes_basic).map(|credential| credential.as_str().to_owned()).map_err(|error| error.code)
        };
        let encoded = basic("git:dwk_key");
        for takes_basic in [false, true] {
            assert_eq!(found(&[("authorization", "Bearer dwk_key")], takes_basic).as_deref(), Ok(KEY));
            assert_eq!(found(&[("x-api-key", KEY)], takes_basic).as_deref(), Ok(KEY));
            assert_eq!(found(&[], takes_basic), Err(Code::MissingToken));
            let basic = found(&[("authorization", &encoded)], takes_basic);
            assert_eq!(basic.as_deref(), if takes_basic { Ok(KEY) } else { Err(&Code::InvalidFormat) });
            for second in [&("authorization", "Bearer dwk_key"), &("x-api-key", KEY), &("authorization", encoded.as_str())] {
                assert_eq!(found(&[("x-api-key", KEY), *second], takes_basic), Err(Code::InvalidRequest), "{second:?}");
            }
        }
        // The app behind has keys of its own.
        assert_eq!(found(&[("x-api-key", "theirs"), ("authorization", "Bearer t")], false).as_deref(), Ok("t"));
        assert_eq!(found(&[("x-api-key", "theirs")], false), Err(Code::MissingToken));
    }

    #[test]
    fn the_password_is_all_behind_the_first_colon() {
        for (pair, expected) in [(":dwk_key", Some(KEY)), ("any:a:b", Some("a:b")), ("none", None)] {
            let encoded = basic(pair);
            let found = password(encoded.strip_prefix("Basic ").expect("ours")).ok();
            assert_eq!(found.as_ref().map(|found| found.as_str()), expected);
        }
        assert!(password("!").is_err() && password("").is_err());
    }
}
