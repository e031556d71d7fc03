//! `/api/users`: the caller's own record, and how admins manage users.

use super::{
    error::{ApiError, Code, HandlerResult},
    guard::{Request, query_param},
    reply::{empty, json},
};
use crate::{
    domain::{Email, Permission, Role, Timestamp, User, UserId, UserKind},
    service::principal::Principal,
};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use serde_json::json as value;
use warp::reply::Response;

/// How many users a page has unless `?limit` says otherwise (AZ-7).
const DEFAULT_PAGE_SIZE: usize = 50;
/// How many users a page may have (AZ-7).
const MAX_PAGE_SIZE: usize = 100;

/// A user as they see themselves.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserView<'a> {
    id: UserId,
    email: &'a Email,
    email_verified: bool,
    role: &'a Role,
    permissions: &'a [Permission],
    created_at: Timestamp,
}

impl<'a> UserView<'a> {
    /// The view of a user whose role has these permissions.
    pub const fn new(user: &'a User, permissions: &'a [Permission]) -> Self {
        Self {
            id: user.id,
            email: &user.email,
            email_verified: user.email_verified,
            role: &user.role,
            permissions,
            created_at: user.created_at,
        }
    }
}

/// A user as admins see them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AdminView<'a> {
    id: UserId,
    email: &'a Email,
    email_verified: bool,
    role: &'a Role,
    disabled: bool,
    kind: UserKind,
    created_at: Timestamp,
}

impl<'a> From<&'a User> for AdminView<'a> {
    fn from(user: &'a User) -> Self {
        Self {
            id: user.id,
            email: &user.email,
            email_verified: user.email_verified,
            role: &user.role,
            disabled: user.disabled,
            kind: user.kind,
            created_at: user.created_at,
        }
    }
}

/// The caller's record.
pub async fn me(req: Request, principal: Principal) -> HandlerResult {
    let permissions = principal.permissions(req.app().accounts().roles());
    Ok(json(&UserView::new(principal.user(), &permissions)))
}

/// A page of users in order of their e-mail addresses.
pub async fn list(req: Request, _: Principal) -> HandlerResult {
    let limit = match query_param(&req, "limit")? {
        Some(limit) => limit
            .parse()
            .ok()
            .filter(|limit| (1..=MAX_PAGE_SIZE).contains(limit))
            .ok_or_else(|| ApiError::field("limit", "must be 1 to 100"))?,
        None => DEFAULT_PAGE_SIZE,
    };
    let cursor = query_param(&req, "cursor")?.map(|cursor| decode_cursor(&cursor)).transpose()?;
    let prefix = query_param(&req, "query")?.unwrap_or_default().trim().to_lowercase();
    let (users, more) = req.app().accounts().users(&prefix, cursor.as_ref(), limit).await?;
    let next = users.last().filter(|_| more).map(|last| BASE64URL_NOPAD.encode(last.email.as_str().as_bytes()));
    let users: Vec<_> = users.iter().map(AdminView::from).collect();
    Ok(json(&value!({ "users": users, "nextCursor": next })))
}

/// The e-mail address in a cursor.
fn decode_cursor(cursor: &str) -> Result<Email, ApiError> {
    let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok();
    let email = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|text| text.parse().ok());
    email.ok_or_else(|| ApiError::field("cursor", "must be the nextCursor of a page before"))
}

/// One user.
pub async fn show(id: UserId, req: Request, _: Principal) -> HandlerResult {
    let user = req.app().accounts().user(id).await?;
    Ok(user_response(&user))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRole {
    role: String,
}

/// Gives a user another role.
pub async fn set_role(id: UserId, req: Request, principal: Principal, body: NewRole) -> HandlerResult {
    let role = req.app().accounts().role(&body.role)?;
    Ok(user_response(&req.app().accounts().set_role(req.actor(&principal), id, role).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UserPatch {
    disabled: Option<bool>,
    email_verified: Option<bool>,
}

/// Disables or enables a user, or sets whether their e-mail address is verified, or both.
pub async fn change(id: UserId, req: Request, principal: Principal, body: UserPatch) -> HandlerResult {
    let (accounts, actor) = (req.app().accounts(), req.actor(&principal));
    let mut user = None;
    // Disabling may be refused, so it comes first.
    if let Some(disabled) = body.disabled {
        user = Some(accounts.set_disabled(actor, id, disabled).await?);
    }
    if let Some(verified) = body.email_verified {
        user = Some(accounts.set_email_verified(actor, id, verified).await?);
    }
    let user = user.ok_or_else(|| ApiError::from(Code::ValidationFailed).message("Say what to change: disabled or emailVerified"))?;
    Ok(user_response(&user))
}

/// Deletes a user.
pub async fn delete(id: UserId, req: Request, principal: Principal) -> HandlerResult {
    req.app().accounts().delete(req.actor(&principal), id).await?;
    Ok(empty())
}

pub fn user_response(user: &User) -> Response {
    json(&value!({ "user": AdminView::from(user) }))
}
