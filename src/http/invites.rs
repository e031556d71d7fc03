//! Invitations to register.

use super::{
    error::{ApiError, HandlerResult},
    guard::Request,
    reply::{empty, json},
};
use crate::{
    domain::{Email, Invite, InviteId, Role, Timestamp, UserId},
    service::sessions::Principal,
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::json as value;
use std::time::Duration;
use warp::http::StatusCode;

/// How long an invitation is good unless `expiresIn` says otherwise, and at most.
const DEFAULT_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const LONGEST_LIFE: Duration = Duration::from_secs(90 * 24 * 60 * 60);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InviteView<'a> {
    id: InviteId,
    role: &'a Role,
    email: Option<&'a Email>,
    created_by: UserId,
    created_at: Timestamp,
    expires_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
}

impl<'a> InviteView<'a> {
    const fn new(invite: &'a Invite, code: Option<&'a str>) -> Self {
        Self {
            id: invite.id,
            role: &invite.role,
            email: invite.email.as_ref(),
            created_by: invite.created_by,
            created_at: invite.created_at,
            expires_at: invite.expires_at,
            code,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewInvite {
    role: Option<String>,
    /// The only address that may use it.
    email: Option<String>,
    /// Such as `7d`.
    expires_in: Option<String>,
}

/// Makes an invitation and shows its code, this once.
pub async fn create(req: Request, principal: Principal, body: Option<NewInvite>) -> HandlerResult {
    let body = body.unwrap_or_default();
    let role = body.role.map(|role| req.app().accounts().role(&role)).transpose()?;
    let email = body.email.map(|email| email.parse()).transpose().map_err(|error| ApiError::field("email", error))?;
    let life = match body.expires_in.as_deref().map(humantime::parse_duration) {
        None => DEFAULT_LIFE,
        Some(Ok(life)) if life >= Duration::from_secs(60) && life <= LONGEST_LIFE => life,
        Some(_) => return Err(ApiError::field("expiresIn", "must be a duration of 1m to 90d, such as 7d")),
    };
    let (invite, code) = req.app().accounts().invite(principal.user(), req.context.from(), role, email, life).await?;
    let mut response = json(&InviteView::new(&invite, Some(code.expose_secret())));
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// The invitations that can still be used, without their codes.
pub async fn list(req: Request, _: Principal) -> HandlerResult {
    let invites = req.app().accounts().invites().await?;
    let views: Vec<_> = invites.iter().map(|invite| InviteView::new(invite, None)).collect();
    Ok(json(&value!({ "invites": views })))
}

/// Withdraws an invitation.
pub async fn withdraw(id: InviteId, req: Request, principal: Principal) -> HandlerResult {
    req.app().accounts().withdraw_invite(req.actor(&principal), id).await?;
    Ok(empty())
}
