//! Invitations to register.

use super::{
    error::{ApiError, HandlerResult},
    guard::Request,
    reply::{empty, json},
};
use crate::{
    domain::{Email, Invite, InviteId, Role, Timestamp, UserId},
    service::principal::Principal,
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::json as value;
use std::time::Duration;
use warp::http::StatusCode;

/// How long an invitation is valid unless `expiresIn` says otherwise.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long an invitation may be valid.
const MAX_LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);

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
    /// The only address that may register with it.
    email: Option<String>,
    /// How long it is valid, such as `7d`.
    expires_in: Option<String>,
}

/// Creates an invitation. Its code is shown in this answer and never again.
pub async fn create(req: Request, principal: Principal, body: Option<NewInvite>) -> HandlerResult {
    let body = body.unwrap_or_default();
    let role = body.role.map(|role| req.app().accounts().role(&role)).transpose()?;
    let email = body.email.map(|email| email.parse()).transpose().map_err(|error| ApiError::field("email", error))?;
    let lifetime = match body.expires_in.as_deref().map(humantime::parse_duration) {
        None => DEFAULT_LIFETIME,
        Some(Ok(lifetime)) if lifetime >= Duration::from_secs(60) && lifetime <= MAX_LIFETIME => lifetime,
        Some(_) => return Err(ApiError::field("expiresIn", "must be a duration of 1m to 90d, such as 7d")),
    };
    let (invite, code) = req.app().accounts().invite(&principal, req.context.from(), role, email, lifetime).await?;
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
