//! `/api/auth/verify`, which a proxy asks before it lets a request through: who the caller is, and whether they have
//! a role or a permission.

use super::{
    error::{ApiError, HandlerResult},
    guard::{Request, anyone, query_param, require_permission},
    reply::json,
    state::AppState,
};
use crate::{
    domain::{By, Event, Kind, Permission, Role, SessionId, Timestamp, UserId},
    service::principal::Principal,
};
use serde::Serialize;
use std::sync::Arc;
use warp::{
    Filter, Rejection,
    http::{HeaderName, HeaderValue},
};

const AUTH_USER: HeaderName = HeaderName::from_static("x-auth-user");
const AUTH_EMAIL: HeaderName = HeaderName::from_static("x-auth-email");
const AUTH_ROLE: HeaderName = HeaderName::from_static("x-auth-role");
const AUTH_PERMISSIONS: HeaderName = HeaderName::from_static("x-auth-permissions");

#[derive(Serialize)]
struct Verified<'a> {
    sub: UserId,
    /// Of a user's own session alone: an API key has no role.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a Role>,
    permissions: &'a [Permission],
    sid: SessionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
    /// The name of the API key, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
}

/// Tells a proxy who the caller is.
pub async fn verify(req: Request, principal: Principal) -> HandlerResult {
    let user = principal.user();
    let permissions = principal.permissions(req.app().accounts().roles());
    let key = principal.api_key();
    let role = key.is_none().then_some(&user.role);
    let mut response = json(&Verified {
        sub: user.id,
        role,
        permissions: &permissions,
        sid: principal.session,
        exp: principal.expires_at.map(Timestamp::secs),
        key: key.map(|key| key.name.as_str()),
    });
    let mut listed = String::with_capacity(64);
    for permission in &*permissions {
        if !listed.is_empty() {
            listed.push(',');
        }
        listed.push_str(permission.as_str());
    }
    // An address that is not verified may be somebody else's, and an API key has no role. Their headers are sent empty and
    // not left out, so that the proxy overwrites those that the client sent.
    let email = if user.email_verified { user.email.as_str() } else { "" };
    for (name, value) in [
        (AUTH_USER, HeaderValue::try_from(user.id.to_string())),
        (AUTH_EMAIL, HeaderValue::from_str(email)),
        (AUTH_ROLE, HeaderValue::from_str(role.map_or("", Role::as_str))),
        (AUTH_PERMISSIONS, HeaderValue::try_from(listed)),
    ] {
        response.headers_mut().insert(name, value.expect("ids, addresses and names are ASCII"));
    }
    Ok(response)
}

/// Requires a valid access token or API key, one of the roles in `?role=a,b` and the permission in `?permission=x`; a
/// parameter that is left out requires nothing. `admin` passes every question for a role, an API key none.
pub fn with_queried_role_or_permission(
    state: Arc<AppState>,
) -> impl Filter<Extract = (Request, Principal), Error = Rejection> + Clone + use<> {
    let guard = async |req: Request| {
        let principal = req.authenticate_handed_on().await?;
        answer_question(&req, &principal)?;
        Ok::<_, Rejection>((req, principal))
    };
    anyone(state).and_then(guard).untuple_one()
}

fn answer_question(req: &Request, principal: &Principal) -> Result<(), ApiError> {
    let configured = req.app().accounts().roles();
    if let Some(unknown) = req.context.query_names().find(|name| name != "role" && name != "permission") {
        let name = if is_loggable_name(&unknown) { unknown.as_str() } else { "?" };
        return Err(invalid_question(req, name, "is not a parameter: ask for role, permission or nothing"));
    }
    if let Some(roles) = verify_param(req, "role")? {
        let malformed = |_| invalid_question(req, "role", "must be role names with commas between them");
        let roles: Vec<Role> = roles.split(',').map(str::parse).collect::<Result<_, _>>().map_err(malformed)?;
        if roles.iter().any(|role| !configured.contains(role)) {
            return Err(invalid_question(req, "role", "names a role that is not in [roles]"));
        }
        if !principal.has_role(|own| roles.iter().any(|role| role.as_str() == own)) {
            let names: Vec<_> = roles.iter().map(Role::as_str).collect();
            return Err(ApiError::required_roles(&names));
        }
    }
    if let Some(permission) = verify_param(req, "permission")? {
        let permission = Permission::exact(&permission)
            .map_err(|_| invalid_question(req, "permission", "must be one permission, such as articles:read"))?;
        if !configured.names_permission(permission.as_str()) {
            return Err(invalid_question(req, "permission", "is one that no role in [roles] names"));
        }
        require_permission(req, principal, permission.as_str())?;
    }
    Ok(())
}

fn verify_param(req: &Request, name: &'static str) -> Result<Option<String>, ApiError> {
    query_param(req, name).map_err(|_| invalid_question(req, name, "is there twice"))
}

/// The error for a question that nobody can have meant. It is logged, because somebody has to correct the proxy's
/// configuration. Until then nobody is let in.
fn invalid_question(req: &Request, parameter: &str, what: &'static str) -> ApiError {
    if req.app().refusals().is_first(Kind::VerifyMistaken, req.context.from()) {
        let asked = format!("{}?{parameter}", req.context.path());
        let event = Event::new(Kind::VerifyMistaken, By::Anyone).why(what).from(req.context.from());
        req.app().audit().note(event.refused(req.context.request_id(), asked));
    }
    ApiError::field(parameter, what)
}

fn is_loggable_name(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
