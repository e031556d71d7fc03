//! JSON bodies: one content type, limits on size and time, no field that is unknown or there twice (HTTP-2, HTTP-4).

use super::{
    context::{AwaitedBody, RequestContext},
    error::{ApiError, Code},
};
use bytes::Buf;
use futures_util::{Stream, StreamExt};
use serde::de::{DeserializeOwned, IgnoredAny};
use std::{
    pin::pin,
    time::{Duration, Instant},
};
use warp::{
    Filter, Rejection,
    http::{HeaderValue, header},
};
use zeroize::Zeroizing;

/// The largest body, in bytes.
const MAX_BODY_SIZE: usize = 10 * 1024;
/// How often to check whether a body has taken too long. Its timeout changes while it is awaited: the more
/// connections there are, the shorter it is.
const TIMEOUT_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// A body that is required.
pub fn json<T: DeserializeOwned + Send>() -> impl Filter<Extract = (T,), Error = Rejection> + Clone + use<T> {
    warp::ext::get::<RequestContext>().and(body_bytes()).and_then(|context: RequestContext, body: BodyBytes| async move {
        let missing = || if is_of_type(&context, JSON) { not_an_object() } else { Code::UnsupportedMediaType.into() };
        let bytes = body?.ok_or_else(missing)?;
        Ok::<_, Rejection>(parse(&bytes)?.ok_or_else(not_an_object)?)
    })
}

/// A body that may be left out. No body, `null` and `{}` mean the same (the last because all fields of such a body
/// may be left out).
pub fn optional_json<T: DeserializeOwned + Send>() -> impl Filter<Extract = (Option<T>,), Error = Rejection> + Clone + use<T> {
    lenient_json().and_then(|body: Result<Option<T>, ApiError>| async move { Ok::<_, Rejection>(body?) })
}

/// A body that may be left out. Its handler is given the error if there is one, because it may not need the body.
pub fn lenient_json<T: DeserializeOwned + Send>()
-> impl Filter<Extract = (Result<Option<T>, ApiError>,), Error = Rejection> + Clone + use<T> {
    body_bytes().map(|body: BodyBytes| match body? {
        Some(bytes) => parse(&bytes),
        None => Ok(None),
    })
}

/// No body is expected. One that is sent is not read.
pub fn none() -> impl Filter<Extract = (), Error = std::convert::Infallible> + Copy {
    warp::any()
}

const JSON: &str = "application/json";

/// The bytes of a body, if there are any. They are wiped when dropped, because there are passwords in them.
pub type BodyBytes = Result<Option<Bytes>, ApiError>;
pub type Bytes = Zeroizing<Vec<u8>>;

fn body_bytes() -> impl Filter<Extract = (BodyBytes,), Error = Rejection> + Clone + use<> {
    bytes_of(JSON)
}

/// The bytes of a body of this media type, if there are any.
pub fn bytes_of(media_type: &'static str) -> impl Filter<Extract = (BodyBytes,), Error = Rejection> + Clone + use<> {
    warp::ext::get::<RequestContext>()
        .and(warp::body::stream())
        .then(move |context: RequestContext, body| async move { read(&context, media_type, body).await })
}

async fn read(context: &RequestContext, media_type: &str, body: impl Stream<Item = Result<impl Buf, warp::Error>>) -> BodyBytes {
    let content_length = context.header(&header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if content_length.is_some_and(|length| length > MAX_BODY_SIZE as u64) {
        return Err(Code::PayloadTooLarge.into());
    }
    // The type does not matter if there is no body: many clients name one all the same.
    let wrong_type = || ApiError::from(Code::UnsupportedMediaType).message(format!("The body must be sent as Content-Type: {media_type}"));
    if content_length.is_some_and(|length| length > 0) && !is_of_type(context, media_type) {
        return Err(wrong_type());
    }
    // A request with neither header has no body to wait for (RFC 9112 §6.3).
    if content_length.is_none_or(|length| length == 0) && context.headers(&header::TRANSFER_ENCODING).next().is_none() {
        return Ok(None);
    }
    let awaited = context.await_body().ok_or_else(too_many_bodies)?;
    let bytes = with_timeout(&awaited, collect(body, content_length)).await?;
    if !bytes.is_empty() && !is_of_type(context, media_type) {
        return Err(wrong_type());
    }
    Ok((!bytes.is_empty()).then_some(bytes))
}

/// The error for a client that keeps us waiting for too many bodies. What it sends of this one is not read, so the
/// connection must close.
fn too_many_bodies() -> ApiError {
    let error = ApiError::from(Code::Overloaded).message("Too many requests from your address have not sent their bodies");
    error.header(header::CONNECTION, HeaderValue::from_static("close"))
}

async fn with_timeout(awaited: &AwaitedBody<'_>, collected: impl Future<Output = Result<Bytes, ApiError>>) -> Result<Bytes, ApiError> {
    let (started, mut collected) = (Instant::now(), pin!(collected));
    loop {
        match tokio::time::timeout(TIMEOUT_CHECK_INTERVAL, &mut collected).await {
            Ok(bytes) => return bytes,
            Err(_) if started.elapsed() >= awaited.body_timeout() => return Err(Code::RequestTimeout.into()),
            Err(_) => {}
        }
    }
}

async fn collect(body: impl Stream<Item = Result<impl Buf, warp::Error>>, content_length: Option<u64>) -> Result<Bytes, ApiError> {
    // Room for the whole body: a `Vec` that grows leaves copies of it in freed memory.
    let room = content_length.and_then(|length| usize::try_from(length).ok()).map_or(MAX_BODY_SIZE, |length| length.min(MAX_BODY_SIZE));
    let (mut body, mut bytes) = (pin!(body), Zeroizing::new(Vec::with_capacity(room)));
    while let Some(chunk) = body.next().await {
        let mut chunk = chunk.map_err(|_| ApiError::from(Code::InvalidRequest).message("The body broke off"))?;
        // The bytes are counted, whatever Content-Length says and even if there is none.
        if bytes.len() + chunk.remaining() > MAX_BODY_SIZE {
            return Err(Code::PayloadTooLarge.into());
        }
        while chunk.has_remaining() {
            let part = chunk.chunk();
            bytes.extend_from_slice(part);
            let len = part.len();
            chunk.advance(len);
        }
    }
    Ok(bytes)
}

/// Whether there is exactly one `Content-Type` and it is this one, in UTF-8 or ASCII if it names a charset. Neither JSON (RFC
/// 8259 §11) nor forms define parameters, so all others are ignored.
fn is_of_type(context: &RequestContext, media_type: &str) -> bool {
    let Some(content_type) = context.header(&header::CONTENT_TYPE) else { return false };
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case(media_type));
    let is_readable = |charset: &str| ["utf-8", "utf8", "us-ascii", "ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known));
    essence
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => is_readable(value.trim().trim_matches('"')),
            Some(_) => true,
            None => !parameter.contains(','),
        })
}

/// Parses a body; `null` is `None`. Errors never quote a value, because it may be a password (AUT-15).
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<T>, ApiError> {
    // Only an object may go on: serde accepts an array of the right length for a struct.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return match serde_json::from_slice::<Option<IgnoredAny>>(bytes) {
            Ok(None) => Ok(None),
            Ok(Some(_)) => Err(not_an_object()),
            Err(_) => Err(Code::MalformedJson.into()),
        };
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.inner();
        // serde calls some values of a wrong type syntax errors, so check whether the body is JSON at all.
        let is_json = inner.is_data() || str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        if is_json { field_error(&path, &inner.to_string()) } else { Code::MalformedJson.into() }
    })?;
    json.end().map_err(|_| ApiError::from(Code::MalformedJson))?;
    Ok(Some(value))
}

fn not_an_object() -> ApiError {
    ApiError::from(Code::ValidationFailed).message("The body must be a JSON object")
}

/// The error for serde's message, without the values that it quotes.
fn field_error(path: &str, message: &str) -> ApiError {
    let quoted = message.split('`').nth(1).unwrap_or_default();
    let field = if quoted.len() <= 64 { quoted } else { "?" };
    if message.starts_with("missing field") {
        ApiError::field(field, "is required")
    } else if message.starts_with("unknown field") {
        ApiError::field(field, "is not a field of this request")
    } else if message.starts_with("duplicate field") {
        ApiError::field(field, "is there twice")
    } else if message.starts_with("unknown variant") {
        let allowed: Vec<_> = message.split('`').skip(3).step_by(2).collect();
        ApiError::field(path, format!("must be one of: {}", allowed.join(", ")))
    } else {
        ApiError::field(path, "has the wrong type or form")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use http_body_util::BodyExt;
    use proptest::prelude::*;
    use serde::Deserialize;
    use warp::http::{HeaderMap, HeaderValue};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Login {
        email: String,
        #[allow(dead_code, reason = "parsed, never read")]
        password: String,
        token_transport: Option<crate::domain::Transport>,
    }

    fn refusal(body: &str) -> String {
        let error = parse::<Login>(body.as_bytes()).and_then(|parsed| parsed.ok_or_else(not_an_object)).expect_err(body);
        let body = error.render("").into_body().collect().now_or_never().expect("a body in memory");
        String::from_utf8(body.expect("a body in memory").to_bytes().to_vec()).expect("text")
    }

    #[test]
    fn aut_5_a_body_has_its_fields_once_of_their_types_and_no_others() {
        assert!(
            parse::<Login>(br#"{"email":"a","password":"b","tokenTransport":"body"}"#)
                .is_ok_and(|l| l.is_some_and(|l| l.email == "a" && l.token_transport.is_some()))
        );
        for (body, words) in [
            (r#"{"email":"a"}"#, ["VALIDATION_FAILED", "password", "required"]),
            (r#"{"email":["a"],"password":"b"}"#, ["VALIDATION_FAILED", "email", "wrong type"]),
            (r#"{"email":"a","password":"b","role":"admin"}"#, ["VALIDATION_FAILED", "role", "not a field"]),
            (r#"{"email":"a","email":"c","password":"b"}"#, ["VALIDATION_FAILED", "email", "twice"]),
            (r#"{"email":"a","password":"b","tokenTransport":"url"}"#, ["tokenTransport", "cookie", "body"]),
            (r#"{"email":"a","password":"b","tokenTransport":5}"#, ["VALIDATION_FAILED", "tokenTransport", "wrong type"]),
            (r#"{"email":"a","password":null}"#, ["VALIDATION_FAILED", "password", "wrong type"]),
            ("null", ["VALIDATION_FAILED", "must be", "object"]),
            ("[]", ["VALIDATION_FAILED", "must be", "object"]),
            ("\"a\"", ["VALIDATION_FAILED", "must be", "object"]),
        ] {
            for word in words {
                assert!(refusal(body).contains(word), "{body}: {word} not in {}", refusal(body));
            }
        }
    }

    #[test]
    fn http_8_9_what_is_no_json_is_malformed() {
        let deep = "[".repeat(100_000);
        for body in ["", "{", "x", "[]x", "\u{feff}{}", r#"{"email":"a","tokenTransport":}"#, r#"{"email":"a","password":"b"}x"#, &deep] {
            assert!(refusal(body).contains("MALFORMED_JSON"), "{:.20}: {}", body, refusal(body));
        }
        assert!(parse::<Login>(b"{\"email\":\"\xff\",\"password\":\"b\"}").is_err());
    }

    #[test]
    fn nothing_null_and_left_out_are_the_same() {
        assert!(parse::<Login>(b" null ").is_ok_and(|parsed| parsed.is_none()));
        let null = parse::<Login>(br#"{"email":"a","password":"b","tokenTransport":null}"#);
        assert!(null.is_ok_and(|l| l.is_some_and(|l| l.token_transport.is_none())));
    }

    #[test]
    fn aut_15_a_refusal_quotes_no_value() {
        for body in [
            r#"{"email":"a","password":123456789}"#,
            r#"{"email":"a","password":{"hunter2hunter2":1}}"#,
            r#"{"email":"a","password":"b","tokenTransport":"hunter2hunter2"}"#,
        ] {
            assert!(!refusal(body).contains("123456789") && !refusal(body).contains("hunter2"), "{}", refusal(body));
        }
    }

    #[test]
    fn http_4_the_content_type_is_json_once() {
        let typed = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_TYPE, HeaderValue::from_str(value).expect("a value"));
            }
            is_of_type(&RequestContext::new([127, 0, 0, 1].into(), headers, warp::http::Uri::default()), "application/json")
        };
        for good in ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\"", "application/json;"]
            .into_iter()
            .chain([
                "application/json; charset=utf8",
                "application/json; charset=us-ascii",
                "application/json; profile=\"x\"; odata=verbose",
                "application/json;version=1",
            ])
        {
            assert!(typed(&[good]), "{good}");
        }
        for bad in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonx",
            "application/json; charset=latin1",
            "application/json, text/plain",
        ] {
            assert!(!typed(&[bad]), "{bad}");
        }
        assert!(!typed(&[]));
        assert!(!typed(&["application/json", "application/json"]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_parsing_panic(bytes: Vec<u8>) {
            let _ = parse::<Login>(&bytes);
        }
    }
}
