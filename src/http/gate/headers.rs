//! The headers of what is relayed to an app's host, and the identity that an app is told.

use crate::{domain::User, http::error::ApiError};
use warp::{
    http::{HeaderMap, HeaderName, HeaderValue, header},
    reply::Response,
};

const REMOTE: [HeaderName; 3] =
    [HeaderName::from_static("remote-user"), HeaderName::from_static("remote-email"), HeaderName::from_static("remote-name")];
const REMOTE_GROUPS: HeaderName = HeaderName::from_static("remote-groups");
const AUTH_USER: HeaderName = HeaderName::from_static("x-auth-user");
const AUTH_EMAIL: HeaderName = HeaderName::from_static("x-auth-email");
const AUTH_ROLE: HeaderName = HeaderName::from_static("x-auth-role");
const AUTH_PERMISSIONS: HeaderName = HeaderName::from_static("x-auth-permissions");

/// Whether answers to this path go to an app's host, which is not ours to set policies for: no HSTS, no COOP, no CSP.
pub fn is_relayed(path: &str) -> bool {
    matches!(path, "/gate/forward" | "/gate/nginx") || path.starts_with("/.doorward/")
}

/// Who an app is told that a visitor is.
#[derive(Debug)]
pub struct Identity<'a> {
    /// The user.
    pub user: &'a User,
    /// What they may do, with commas between.
    pub permissions: String,
}

/// Adds the eight headers of identity, all of them: one that is not sent would be the client's own. They are empty for
/// nobody. An address that is not verified may be somebody else's, so it is not told.
pub fn add_identity(headers: &mut HeaderMap, identity: Option<&Identity<'_>>) {
    let (id, email, role, permissions) = identity.map_or_else(Default::default, |Identity { user, permissions }| {
        let email = if user.email_verified { user.email.as_str() } else { "" };
        (user.id.to_string(), email, user.role.as_str(), permissions.as_str())
    });
    let mut set = |name: &HeaderName, text: &str| {
        headers.insert(name, HeaderValue::from_str(text).expect("ids, addresses and names are ASCII"));
    };
    for name in REMOTE {
        set(&name, email);
    }
    for (name, text) in [(REMOTE_GROUPS, role), (AUTH_USER, &id), (AUTH_EMAIL, email), (AUTH_ROLE, role), (AUTH_PERMISSIONS, permissions)] {
        set(&name, text);
    }
}

/// A redirection by script-free means. `GET` and `HEAD` are repeated there; anything else becomes a `GET`.
pub fn redirect(is_repeated: bool, location: &str) -> Response {
    use warp::http::StatusCode;
    let mut response = Response::default();
    *response.status_mut() = if is_repeated { StatusCode::FOUND } else { StatusCode::SEE_OTHER };
    match HeaderValue::from_str(location) {
        Ok(location) => {
            response.headers_mut().insert(header::LOCATION, location);
            response
        }
        // What goes into addresses is checked where it comes in.
        Err(_) => ApiError::from(crate::http::error::Code::Forbidden).into_response(),
    }
}
