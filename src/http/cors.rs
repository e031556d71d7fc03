//! Cross-origin resource sharing, for listed origins alone (COK-12).

use super::{context::RequestContext, origin::PublicOrigin, reply::CROSS_ORIGIN_RESOURCE_POLICY};
use warp::{
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    reply::{Reply, Response},
};

const ALLOWED_METHODS: &str = "GET, POST, PATCH, DELETE";
/// The headers that our own client sends. A listed origin may send any others that its preflight asks for, such as
/// those of its tracing: it is trusted with credentials already.
const DEFAULT_ALLOWED_HEADERS: &str = "Authorization, Content-Type, Idempotency-Key, X-CSRF-Token, X-Request-Id";
const EXPOSED_HEADERS: &str = "X-Token-Expires-In, X-Request-Id, Retry-After";
/// How long a browser may remember a preflight, in seconds. It is the lowest limit that a browser sets itself.
const PREFLIGHT_MAX_AGE: &str = "600";

/// The answer to a listed origin's preflight. `None` for any other request.
pub fn preflight(site: &PublicOrigin, context: &RequestContext, method: &Method) -> Option<Response> {
    allowed_origin(site, context)?;
    let is_preflight = *method == Method::OPTIONS && context.header(&header::ACCESS_CONTROL_REQUEST_METHOD).is_some();
    is_preflight.then(|| {
        let mut response = StatusCode::NO_CONTENT.into_response();
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(ALLOWED_METHODS));
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            requested_headers(context).unwrap_or(HeaderValue::from_static(DEFAULT_ALLOWED_HEADERS)),
        );
        headers.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_MAX_AGE));
        response
    })
}

/// The header names that a preflight asks for, if all of them are valid.
fn requested_headers(context: &RequestContext) -> Option<HeaderValue> {
    let requested = context.header(&header::ACCESS_CONTROL_REQUEST_HEADERS)?;
    let are_names = requested.len() <= 1024 && requested.split(',').all(|name| HeaderName::try_from(name.trim()).is_ok());
    are_names.then(|| HeaderValue::from_str(requested).ok())?
}

/// Adds the headers by which a listed origin may read the answer. What every origin may read stays so, without credentials.
pub fn add_cors_headers(site: &PublicOrigin, context: &RequestContext, response: &mut Response) {
    if response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        return;
    }
    if let Some(origin) = allowed_origin(site, context) {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
        headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
    }
}

fn allowed_origin(site: &PublicOrigin, context: &RequestContext) -> Option<HeaderValue> {
    let origin = context.header(&header::ORIGIN).filter(|origin| site.allows(origin))?;
    HeaderValue::from_str(origin).ok()
}
