//! Answers without an error in them.

use serde::Serialize;
use warp::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    reply::{Reply, Response},
};

/// A 200 with a JSON body.
///
/// # Panics
/// Never: what we answer with are structs with text for keys, which serialise.
pub fn json(body: &impl Serialize) -> Response {
    // In room that most answers fit into: grown byte by byte, a body would be moved four times.
    let mut bytes = Vec::with_capacity(1000);
    serde_json::to_writer(&mut bytes, body).expect("our own views serialise");
    let mut response = Response::new(bytes.into());
    // With room for the headers that every answer carries.
    *response.headers_mut() = HeaderMap::with_capacity(14);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A 204.
pub fn empty() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
