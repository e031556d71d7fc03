//! The headers that every answer carries (HDR-1..7).

use super::{context::RequestContext, cors, gate, origin::PublicOrigin, reply::CROSS_ORIGIN_RESOURCE_POLICY};
use warp::{
    http::{HeaderMap, HeaderName, HeaderValue, header},
    reply::Response,
};

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");

/// Adds them to a response.
pub fn add_security_headers(site: &PublicOrigin, context: &RequestContext, path: &str, response: &mut Response) {
    const VARY: HeaderValue = HeaderValue::from_static("Origin, Sec-Fetch-Site");
    const TRANSPORT_SECURITY: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");
    const TOKEN_EXPIRES_IN: HeaderName = HeaderName::from_static("x-token-expires-in");
    if gate::is_relayed(path) {
        return add_relayed_headers(context, response.headers_mut());
    }
    cors::add_cors_headers(site, context, response);
    let headers = response.headers_mut();
    add_default_headers(context, headers);
    if path.starts_with("/api/") {
        headers.append(header::VARY, VARY);
    }
    if site.secure {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, TRANSPORT_SECURITY);
    }
    if let Some(seconds) = context.expires_in() {
        headers.insert(TOKEN_EXPIRES_IN, HeaderValue::from(seconds));
    }
}

/// Adds what does not depend on the site or the path.
pub fn add_default_headers(context: &RequestContext, headers: &mut HeaderMap) {
    const DEFAULTS: [(HeaderName, HeaderValue); 6] = [
        (header::CACHE_CONTROL, NO_STORE),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
        (header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF),
        (header::REFERRER_POLICY, NO_REFERRER),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        (CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
    ];
    for (name, value) in DEFAULTS {
        // A header that an asset has set itself stays.
        headers.entry(name).or_insert(value);
    }
    add_request_id(headers, context);
}

/// Adds what an answer that goes to an app's host may carry. Policies for that host are the app's to set.
fn add_relayed_headers(context: &RequestContext, headers: &mut HeaderMap) {
    for (name, value) in
        [(header::CACHE_CONTROL, NO_STORE), (header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF), (header::REFERRER_POLICY, NO_REFERRER)]
    {
        headers.entry(name).or_insert(value);
    }
    add_request_id(headers, context);
}

fn add_request_id(headers: &mut HeaderMap, context: &RequestContext) {
    const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    if let Ok(id) = HeaderValue::from_str(context.request_id()) {
        headers.insert(REQUEST_ID, id);
    }
}
