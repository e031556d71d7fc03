//! Answers that are no errors.

use serde::Serialize;
use warp::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    reply::{Reply, Response},
};

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

/// A 204.
pub fn empty() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
