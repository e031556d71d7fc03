//! The headers that every answer carries (HDR-1..7).

use super::{context::RequestContext, cors, origin::PublicOrigin, reply::CROSS_ORIGIN_RESOURCE_POLICY};
use warp::{
    http::{HeaderName, HeaderValue, header},
    reply::Response,
};

/// Adds them to a response.
pub fn add_security_headers(site: &PublicOrigin, context: &RequestContext, path: &str, response: &mut Response) {
    const DEFAULTS: [(HeaderName, HeaderValue); 6] = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        (CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
    ];
    const VARY: HeaderValue = HeaderValue::from_static("Origin, Sec-Fetch-Site");
    const TRANSPORT_SECURITY: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");
    const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    const TOKEN_EXPIRES_IN: HeaderName = HeaderName::from_static("x-token-expires-in");
    cors::add_cors_headers(site, context, response);
    let headers = response.headers_mut();
    for (name, value) in DEFAULTS {
        // A header that an asset has set itself stays.
        headers.entry(name).or_insert(value);
    }
    if path.starts_with("/api/") {
        headers.append(header::VARY, VARY);
    }
    if site.secure {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, TRANSPORT_SECURITY);
    }
    if let Ok(id) = HeaderValue::from_str(context.request_id()) {
        headers.insert(REQUEST_ID, id);
    }
    if let Some(seconds) = context.expires_in() {
        headers.insert(TOKEN_EXPIRES_IN, HeaderValue::from(seconds));
    }
}
