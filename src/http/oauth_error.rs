//! The errors of OAuth endpoints. Their clients know one shape for them, whatever went wrong (RFC 6749 §5.2).

use super::{error::ApiError, reply};
use serde::Serialize;
use warp::reply::Response;

/// The paths of OAuth endpoints.
const PATHS: &str = "/oauth2/";

/// The JSON body of an error.
#[derive(Serialize)]
struct Envelope<'a> {
    error: &'static str,
    error_description: &'a str,
}

/// Renders the answer for a path, in the shape that its clients know.
#[must_use]
pub fn render(error: ApiError, path: &str, request_id: &str) -> Response {
    if !path.starts_with(PATHS) {
        return error.render(request_id);
    }
    let status = error.code.status();
    let body = reply::json(&Envelope { error: oauth_code(status), error_description: error.description() }).into_body();
    let mut response = error.offering_basic().render(request_id);
    *response.body_mut() = body;
    response
}

/// The `error` of RFC 6749 §5.2, or of RFC 6750 §3.1 for a permission. What fails here and not there is told by its status,
/// and by `temporarily_unavailable` or `server_error` (RFC 6749 §4.1.2.1).
const fn oauth_code(status: u16) -> &'static str {
    match status {
        401 => "invalid_client",
        403 => "insufficient_scope",
        429 | 503 => "temporarily_unavailable",
        500.. => "server_error",
        _ => "invalid_request",
    }
}
