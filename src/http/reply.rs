//! Answers that are no errors.

use super::context::RequestContext;
use data_encoding::HEXLOWER;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::time::Duration;
use warp::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    reply::{Reply, Response},
};

/// Fetch standard: which pages may embed an answer.
pub const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// A 200 with a JSON body.
///
/// # Panics
/// Never: all answers are structs with text for keys, which serialise.
pub fn json(body: &impl Serialize) -> Response {
    // Most answers fit into 1000 bytes. A buffer that grows from nothing would be moved four times.
    let mut bytes = Vec::with_capacity(1000);
    serde_json::to_writer(&mut bytes, body).expect("our own views serialise");
    let mut response = Response::new(bytes.into());
    // Room for the headers that every answer carries.
    *response.headers_mut() = HeaderMap::with_capacity(14);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A public document: pages of every origin may read it, and anybody may cache it.
///
/// # Panics
/// Never: all documents serialise.
pub fn document(body: &impl Serialize, max_age: Duration, context: &RequestContext) -> Response {
    let bytes = serde_json::to_vec(body).expect("our own documents serialise");
    let tag = format!("\"{}\"", HEXLOWER.encode(&Sha256::digest(&bytes)[..16]));
    let mut response = if is_known(context, &tag) { StatusCode::NOT_MODIFIED.into_response() } else { bytes.into_response() };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ETAG, HeaderValue::try_from(tag).expect("a tag is ASCII"));
    let caching = format!("public, max-age={}", max_age.as_secs());
    headers.insert(header::CACHE_CONTROL, HeaderValue::try_from(caching).expect("a number is ASCII"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
    response
}

/// Whether the client has what this tag is of (RFC 9110 §13.1.2).
pub fn is_known(context: &RequestContext, tag: &str) -> bool {
    context
        .header(&header::IF_NONE_MATCH)
        .is_some_and(|tags| tags.split(',').map(str::trim).any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag))
}

/// A 200 without a body.
pub fn empty_ok() -> Response {
    StatusCode::OK.into_response()
}

/// A 204.
pub fn empty() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
