//! `/api/auth/verify`: who the caller is and whether they may, for a proxy to ask before it lets a request
//! through.

use super::{
    error::{ApiError, HandlerResult},
    guard::{Request, checked, permits, query_param},
    reply::json,
    state::AppState,
};
use crate::{
    domain::{By, Event, Kind, Permission, Role, SessionId, UserId},
    service::{events, sessions::Principal},
};
use serde::Serialize;
use std::sync::Arc;
use warp::{
    Filter, Rejection,
    http::{HeaderName, HeaderValue},
};

/// Permissions that our own routes ask for: they may be asked about though no role names them.
const OWN_PERMISSIONS: [&str; 2] = ["users:read", "users:write"];

const AUTH_USER: HeaderName = HeaderName::from_static("x-auth-user");
const AUTH_EMAIL: HeaderName = HeaderName::from_static("x-auth-email");
const AUTH_ROLE: HeaderName = HeaderName::from_static("x-auth-role");
const AUTH_PERMISSIONS: HeaderName = HeaderName::from_static("x-auth-permissions");

#[derive(Serialize)]
struct Verified<'a> {
    sub: UserId,
    role: &'a Role,
    permissions: &'a [Permission],
    sid: SessionId,
    exp: u64,
}

/// Who the caller is, for a proxy to ask before it lets a request through.
pub async fn verify(req: Request, principal: Principal) -> HandlerResult {
    let user = principal.user();
    let permissions = req.app().accounts().permissions(&user.role);
    let mut response = json(&Verified {
        sub: user.id,
        role: &user.role,
        permissions: &permissions,
        sid: principal.session,
        exp: principal.expires_at.secs(),
    });
    let mut listed = String::with_capacity(64);
    for permission in &*permissions {
        if !listed.is_empty() {
            listed.push(',');
        }
        listed.push_str(permission.as_str());
    }
    // Whoever registers an address first is not thereby its owner. Empty, not left out: what a client sends
    // under this name must be overwritten.
    let email = if user.email_verified { user.email.as_str() } else { "" };
    for (name, value) in [
        (AUTH_USER, HeaderValue::try_from(user.id.to_string())),
        (AUTH_EMAIL, HeaderValue::from_str(email)),
        (AUTH_ROLE, HeaderValue::from_str(user.role.as_str())),
        (AUTH_PERMISSIONS, HeaderValue::try_from(listed)),
    ] {
        response.headers_mut().insert(name, value.expect("ids, addresses and names are ASCII"));
    }
    Ok(response)
}

/// Who has a valid access token, one of the roles in `?role=a,b` and the permission in
/// `?permission=x`, as far as they are asked for. `admin` passes every question for a role.
pub fn with_queried_role_or_permission(
    web: Arc<AppState>,
) -> impl Filter<Extract = (Request, Principal), Error = Rejection> + Clone + use<> {
    checked(web, |req, principal| {
        let configured = req.app().accounts().roles();
        if let Some(unknown) = req.context.query_names().find(|name| name != "role" && name != "permission") {
            let name = if is_plain(&unknown) { unknown.as_str() } else { "?" };
            return Err(mistaken(req, name, "is not a parameter: ask for role, permission or nothing"));
        }
        if let Some(roles) = question(req, "role")? {
            let malformed = |_| mistaken(req, "role", "must be role names with commas between them");
            let roles: Vec<Role> = roles.split(',').map(str::parse).collect::<Result<_, _>>().map_err(malformed)?;
            if roles.iter().any(|role| !configured.contains(role)) {
                return Err(mistaken(req, "role", "names a role that is not in [roles]"));
            }
            if !principal.user().role.is_admin() && !roles.contains(&principal.user().role) {
                let names: Vec<_> = roles.iter().map(Role::as_str).collect();
                return Err(ApiError::required_roles(&names));
            }
        }
        if let Some(permission) = question(req, "permission")? {
            let permission =
                Permission::exact(&permission).map_err(|_| mistaken(req, "permission", "must be one permission, such as articles:read"))?;
            if !OWN_PERMISSIONS.contains(&permission.as_str()) && !configured.names_permission(permission.as_str()) {
                return Err(mistaken(req, "permission", "is one that no role in [roles] names"));
            }
            permits(req, principal, permission.as_str())?;
        }
        Ok(())
    })
}

fn question(req: &Request, name: &'static str) -> Result<Option<String>, ApiError> {
    query_param(req, name).map_err(|_| mistaken(req, name, "is there twice"))
}

/// A question that nobody can have meant: whoever wrote it into a proxy's configuration must be told, and let
/// nobody in until it is mended.
fn mistaken(req: &Request, parameter: &str, what: &'static str) -> ApiError {
    if req.app().refusals().is_first(Kind::QuestionMistaken, req.context.from()) {
        let asked = format!("{}?{parameter}", req.context.path());
        let event = Event::new(Kind::QuestionMistaken, By::Anyone).why(what).from(req.context.from());
        events::write(&event.refused(req.context.request_id(), asked));
    }
    ApiError::field(parameter, what)
}

fn is_plain(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
