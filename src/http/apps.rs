//! The apps behind the gate: who may enter which, and entering one from the sign-in page.

use super::{
    error::{ApiError, Code, HandlerResult},
    guard::{Request, query_param},
    reply::json,
};
use crate::{
    config::RegistrationMode,
    domain::{
        Permission, Role, User, UserId,
        gate::{App, AppName, Missing, Standing},
    },
    service::{gate::Entered, principal::Principal},
};
use serde::{Deserialize, Serialize};
use serde_json::json as value;
use warp::reply::Response;

/// An app, and whether somebody may enter it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AppView<'a> {
    name: &'a AppName,
    origin: &'a str,
    /// Whether the user may enter.
    may_enter: bool,
    /// What they lack, if they may not: `role`, `permission` or `verifiedAddress`.
    missing: Option<&'static str>,
    /// Who may: holders of one of these roles, everybody if there are none.
    roles: Option<&'a [Role]>,
    /// And of this permission.
    permission: Option<&'a Permission>,
    /// Whether API keys open it.
    takes_keys: bool,
}

fn views(req: &Request, user: &User) -> Response {
    let gatekeeper = req.app().gate();
    let view = |app| AppView::new(app, app.admit(Standing::of(user), gatekeeper.roles()).err());
    json(&value!({ "apps": gatekeeper.gate().apps().iter().map(|app| view(app)).collect::<Vec<_>>() }))
}

impl<'a> AppView<'a> {
    fn new(app: &'a App, missing: Option<Missing>) -> Self {
        let missing = missing.map(|missing| match missing {
            Missing::Role(_) => "role",
            Missing::Permission(_) => "permission",
            Missing::VerifiedAddress => "verifiedAddress",
        });
        Self {
            name: &app.name,
            origin: app.origin.as_str(),
            may_enter: missing.is_none(),
            missing,
            roles: app.rule.roles.as_deref(),
            permission: app.rule.permission.as_ref(),
            takes_keys: app.takes_keys,
        }
    }
}

/// The error for a user who may not enter an app.
pub fn refusal(missing: &Missing) -> ApiError {
    match missing {
        Missing::Role(roles) => ApiError::required_roles(&roles.iter().map(Role::as_str).collect::<Vec<_>>()),
        Missing::Permission(permission) => ApiError::required_permission(permission.as_str()),
        Missing::VerifiedAddress => {
            let error = ApiError::from(Code::Forbidden).message("Somebody has to vouch for your address first");
            error.detail("requiresVerifiedAddress", value!(true))
        }
    }
}

/// The apps, and which of them the caller may enter.
pub async fn list(req: Request, principal: Principal) -> HandlerResult {
    Ok(views(&req, principal.user()))
}

/// The apps, and which of them a user may enter.
pub async fn list_of_user(user: UserId, req: Request, _: Principal) -> HandlerResult {
    let user = req.app().accounts().user(user).await?;
    Ok(views(&req, &user))
}

/// What a request to enter is for, before anybody has signed in, and who may make an account on the way: `open`, `invite` or
/// `closed`.
pub async fn request(req: Request) -> HandlerResult {
    let request = query_param(&req, "request")?.ok_or_else(|| ApiError::field("request", "is missing"))?;
    let (app, _) = req.app().gate().open_request(&request).ok_or(Code::EntryExpired)?;
    let registration = match req.app().accounts().registration_mode() {
        RegistrationMode::Open => "open",
        RegistrationMode::Invite => "invite",
        RegistrationMode::Closed => "closed",
    };
    Ok(json(&value!({ "app": { "name": app.name, "origin": app.origin.as_str() }, "registration": registration })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The sealed request that the browser was sent to the sign-in page with.
    request: String,
}

/// Lets the caller enter the app that their browser came from: the answer says where to go.
pub async fn enter(req: Request, principal: Principal, body: Entry) -> HandlerResult {
    match req.app().gate().enter(req.actor(&principal), &principal, &body.request).await? {
        Entered::Go(location) => Ok(json(&value!({ "location": location }))),
        Entered::Missing(missing, app) => {
            let app = value!({ "name": app.name, "origin": app.origin.as_str() });
            Err(refusal(&missing).detail("app", app))
        }
        Entered::BadRequest => Err(Code::EntryExpired.into()),
        Entered::SessionEnded => Err(Code::TokenRevoked.into()),
    }
}
