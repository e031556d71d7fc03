//! `/health`: whether this server can do its work; nothing about which server it is (HTTP-13).

use super::{Answer, guard::Call, json};
use serde_json::json as value;
use warp::http::StatusCode;

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
