//! API keys: one's own, those of others, and service accounts.

use super::{
    error::{ApiError, Code, HandlerResult},
    guard::Request,
    reply::{empty, json},
    users::user_response,
};
use crate::{
    domain::{ApiKey, ApiKeyId, Permission, Timestamp, UserId, gate::AppName},
    service::{
        api_keys::{InvalidKey, NewApiKey},
        principal::Principal,
    },
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::json as value;
use std::time::Duration;
use warp::{http::StatusCode, reply::Response};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyView<'a> {
    id: ApiKeyId,
    name: &'a str,
    start: &'a str,
    permissions: &'a [Permission],
    apps: &'a [AppName],
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
}

impl<'a> From<&'a ApiKey> for KeyView<'a> {
    fn from(key: &'a ApiKey) -> Self {
        Self {
            id: key.id,
            name: &key.name,
            start: &key.start,
            permissions: &key.permissions,
            apps: &key.apps,
            created_at: key.created_at,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
        }
    }
}

fn views(keys: &[ApiKey]) -> Response {
    json(&value!({ "keys": keys.iter().map(KeyView::from).collect::<Vec<_>>() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewKey {
    name: String,
    #[serde(default)]
    permissions: Vec<String>,
    /// The apps behind the gate that it is to open.
    #[serde(default)]
    apps: Vec<String>,
    /// How long it is good, such as `90d`, or `never`.
    expires_in: Option<String>,
    /// The service account whose key it is to be.
    user: Option<UserId>,
}

/// Makes an API key. Its secret is shown in this answer and never again.
pub async fn create(req: Request, principal: Principal, body: NewKey) -> HandlerResult {
    let owner = body.user.unwrap_or(principal.user().id);
    // Over the keys of others stands the same permission as over their accounts.
    if owner != principal.user().id && !principal.may(req.app().accounts().roles(), "users:write") {
        return Err(ApiError::required_permission("users:write"));
    }
    let new = NewApiKey::new(&body.name, body.permissions, &body.apps, body.expires_in.as_deref());
    let new = new.map_err(|InvalidKey { field, message }| ApiError::field(field, message))?;
    let (key, secret) = req.app().api_keys().create(req.actor(&principal), owner, new).await?;
    let mut response = json(&value!({ "key": KeyView::from(&key), "secret": secret.expose_secret() }));
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// The caller's keys, without their secrets.
pub async fn list(req: Request, principal: Principal) -> HandlerResult {
    Ok(views(&req.app().api_keys().list(Some(principal.user().id))))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// How long the present secret stays good, such as `1h`.
    overlap: Option<String>,
}

/// Gives one of the caller's keys another secret, which is shown in this answer and never again.
pub async fn rotate(id: ApiKeyId, req: Request, principal: Principal, body: Option<Rotation>) -> HandlerResult {
    let owner = principal.user().id;
    rotate_of(owner, id, &req, &principal, body).await
}

/// Gives a key of a service account another secret.
pub async fn rotate_of_user(user: UserId, key: ApiKeyId, req: Request, principal: Principal, body: Option<Rotation>) -> HandlerResult {
    rotate_of(user, key, &req, &principal, body).await
}

async fn rotate_of(owner: UserId, id: ApiKeyId, req: &Request, principal: &Principal, body: Option<Rotation>) -> HandlerResult {
    let overlap = match body.and_then(|body| body.overlap).as_deref().map(humantime::parse_duration) {
        None => Duration::ZERO,
        Some(Ok(span)) if span <= ApiKey::MAX_OVERLAP => span,
        Some(_) => return Err(ApiError::field("overlap", "must be a duration of at most 24h, such as 1h")),
    };
    let keys = req.app().api_keys();
    let (key, secret) = keys.rotate(req.actor(principal), owner, id, overlap).await?;
    Ok(json(&value!({ "key": KeyView::from(&key), "secret": secret.expose_secret() })))
}

/// Revokes one of the caller's keys.
pub async fn revoke(id: ApiKeyId, req: Request, principal: Principal) -> HandlerResult {
    req.app().api_keys().revoke(req.actor(&principal), principal.user().id, id).await?;
    Ok(empty())
}

/// The keys of a user.
pub async fn list_of_user(user: UserId, req: Request, principal: Principal) -> HandlerResult {
    req.app().accounts().may_manage(req.actor(&principal), user).await?;
    Ok(views(&req.app().api_keys().list(Some(user))))
}

/// Revokes all keys of a user.
pub async fn revoke_all_of_user(user: UserId, req: Request, principal: Principal) -> HandlerResult {
    req.app().accounts().may_manage(req.actor(&principal), user).await?;
    req.app().api_keys().revoke_all(req.actor(&principal), user).await?;
    Ok(empty())
}

/// Revokes one key of a user.
pub async fn revoke_of_user(user: UserId, key: ApiKeyId, req: Request, principal: Principal) -> HandlerResult {
    req.app().accounts().may_manage(req.actor(&principal), user).await?;
    req.app().api_keys().revoke(req.actor(&principal), user, key).await?;
    Ok(empty())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewService {
    name: String,
    role: Option<String>,
}

/// Makes a service account.
pub async fn add_service(req: Request, principal: Principal, body: NewService) -> HandlerResult {
    let name = body.name.parse().map_err(|error| ApiError::field("name", error))?;
    let role = body.role.map(|role| req.app().accounts().role(&role)).transpose()?;
    let user = req.app().accounts().add_service(req.actor(&principal), &name, role).await.map_err(|error| match ApiError::from(error) {
        taken if taken.code == Code::EmailTaken => taken.message("There is a service account of this name"),
        other => other,
    })?;
    let mut response = user_response(&user);
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// Trades an API key for an access token, for services that verify tokens by themselves.
pub async fn issue_token(req: Request, principal: Principal) -> HandlerResult {
    let token = req.app().api_keys().issue_token(&principal)?;
    Ok(json(&value!({ "accessToken": token.token.expose_secret(), "tokenType": "Bearer", "expiresIn": token.expires_in })))
}
