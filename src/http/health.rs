//! `/health`: whether this server can do its work; nothing about which server it is (HTTP-13).

use super::{Answer, empty, guard::Call, json};
use serde_json::json as value;
use warp::{
    http::{HeaderValue, StatusCode, header},
    reply::Response,
};

/// 200 while everything can be saved, 503 once it cannot.
pub async fn health(call: Call) -> Answer {
    let writable = call.app().store.is_writable();
    let status = if writable { "ok" } else { "degraded" };
    let mut response = json(&value!({ "status": status, "timestamp": call.app().clock.now() }));
    if !writable {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

/// What some balancers ask, such as `HAProxy` unless told otherwise: whether anybody is there.
pub fn options() -> Response {
    let mut response = empty();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    response
}
