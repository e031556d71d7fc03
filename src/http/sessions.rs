//! `/api/auth/sessions`: the caller's own sessions; and, for admins, the sessions of other users.

use super::{
    error::HandlerResult,
    guard::Request,
    reply::{empty, json},
};
use crate::{
    domain::{Session, SessionId, Timestamp, UserId},
    service::principal::Principal,
};
use serde::Serialize;
use serde_json::json as value;
use std::net::IpAddr;
use warp::reply::Response;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionView<'a> {
    id: SessionId,
    current: bool,
    created_at: Timestamp,
    last_seen_at: Timestamp,
    expires_at: Timestamp,
    ip: IpAddr,
    user_agent: &'a str,
}

fn views(sessions: &[Session], current: SessionId) -> Response {
    let view = |session: &Session| {
        value!(SessionView {
            id: session.id,
            current: session.id == current,
            created_at: session.created_at,
            last_seen_at: session.refreshed_at,
            expires_at: session.expires_at,
            ip: session.client.ip,
            user_agent: &session.client.user_agent,
        })
    };
    json(&value!({ "sessions": sessions.iter().map(view).collect::<Vec<_>>() }))
}

/// The caller's sessions.
pub async fn list(req: Request, principal: Principal) -> HandlerResult {
    Ok(views(&req.app().sessions().list(principal.user().id).await?, principal.session))
}

/// Revokes one of the caller's sessions.
pub async fn revoke(id: SessionId, req: Request, principal: Principal) -> HandlerResult {
    req.app().sessions().revoke(req.actor(&principal), id, Some(principal.user().id)).await?;
    Ok(empty())
}

/// The sessions of a user.
pub async fn list_of_user(user: UserId, req: Request, principal: Principal) -> HandlerResult {
    req.app().accounts().may_manage(req.actor(&principal), user).await?;
    Ok(views(&req.app().sessions().list(user).await?, principal.session))
}

/// Revokes all sessions of a user.
pub async fn revoke_all_of_user(user: UserId, req: Request, principal: Principal) -> HandlerResult {
    req.app().accounts().may_manage(req.actor(&principal), user).await?;
    req.app().sessions().revoke_all(req.actor(&principal), user).await?;
    Ok(empty())
}

/// Revokes one session of a user.
pub async fn revoke_of_user(user: UserId, session: SessionId, req: Request, principal: Principal) -> HandlerResult {
    req.app().accounts().may_manage(req.actor(&principal), user).await?;
    req.app().sessions().revoke(req.actor(&principal), session, Some(user)).await?;
    Ok(empty())
}
