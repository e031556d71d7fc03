//! Cross-origin resource sharing, for listed origins alone (COK-12).

use super::{context::RequestContext, origin::PublicOrigin};
use warp::{
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    reply::{Reply, Response},
};

const METHODS: &str = "GET, POST, PATCH, DELETE";
/// What our own client sends. Whatever else a listed origin asks for, such as the headers of its tracing, it may
/// send as well: it is trusted with credentials already.
const REQUEST_HEADERS: &str = "Authorization, Content-Type, Idempotency-Key, X-CSRF-Token, X-Request-Id";
const EXPOSED: &str = "X-Token-Expires-In, X-Request-Id, Retry-After";
/// How long a browser may remember a preflight, in seconds: as long as the shortest of them does.
const MAX_AGE: &str = "600";

/// The answer to a listed origin's preflight.
pub fn preflight(site: &PublicOrigin, context: &RequestContext, method: &Method) -> Option<Response> {
    allowed(site, context)?;
    let asks = *method == Method::OPTIONS && context.header(&header::ACCESS_CONTROL_REQUEST_METHOD).is_some();
    asks.then(|| {
        let mut response = StatusCode::NO_CONTENT.into_response();
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked_for(context).unwrap_or(HeaderValue::from_static(REQUEST_HEADERS)));
        headers.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
        response
    })
}

/// The header names that a preflight asks for, if they are some.
fn asked_for(context: &RequestContext) -> Option<HeaderValue> {
    let asked = context.header(&header::ACCESS_CONTROL_REQUEST_HEADERS)?;
    let are_names = asked.len() <= 1024 && asked.split(',').all(|name| HeaderName::try_from(name.trim()).is_ok());
    are_names.then(|| HeaderValue::from_str(asked).ok())?
}

/// Lets a listed origin read an answer.
pub fn share(site: &PublicOrigin, context: &RequestContext, response: &mut Response) {
    if let Some(origin) = allowed(site, context) {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin"));
    }
}

fn allowed(site: &PublicOrigin, context: &RequestContext) -> Option<HeaderValue> {
    let origin = context.header(&header::ORIGIN).filter(|origin| site.allows(origin))?;
    HeaderValue::from_str(origin).ok()
}
