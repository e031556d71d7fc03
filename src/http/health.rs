//! `/health`: whether this server can do its work. It says nothing else about the server (HTTP-13).

use super::{
    error::{HandlerResult, into_response},
    guard::{Request, anyone},
    reply::{empty, json},
    state::AppState,
    verb,
};
use serde_json::json as value;
use std::sync::Arc;
use warp::{
    Filter,
    filters::BoxedFilter,
    http::{HeaderValue, StatusCode, header},
    reply::Response,
};

/// 200 while the database can be written, 503 once it cannot.
async fn health(req: Request) -> HandlerResult {
    let writable = req.app().is_writable();
    let status = if writable { "ok" } else { "degraded" };
    let mut response = json(&value!({ "status": status, "timestamp": req.app().now() }));
    if !writable {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

/// Answers the OPTIONS by which some load balancers, such as `HAProxy` by default, check whether a server is up.
fn options() -> Response {
    let mut response = empty();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    response
}

/// The route, which is outside the API.
pub fn route(state: &Arc<AppState>) -> BoxedFilter<(Response,)> {
    let path = || warp::path!("health");
    let get = path().and(verb::get()).and(anyone(Arc::clone(state))).then(health).map(into_response);
    get.or(path().and(verb::options()).map(options)).unify().boxed()
}
