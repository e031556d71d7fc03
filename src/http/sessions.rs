//! Sessions, one's own and, for admins, those of others.

use super::{Answer, empty, guard::Call, json};
use crate::{
    domain::{Session, SessionId, Timestamp, UserId},
    service::sessions::Principal,
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
pub async fn list(call: Call, principal: Principal) -> Answer {
    Ok(views(&call.app().sessions.list(principal.user.id)?, principal.session))
}

/// Ends one of the caller's sessions.
pub async fn end(id: SessionId, call: Call, principal: Principal) -> Answer {
    call.app().sessions.end(call.actor(&principal), id, Some(principal.user.id)).await?;
    Ok(empty())
}

/// A user's sessions.
pub async fn list_of(user: UserId, call: Call, principal: Principal) -> Answer {
    call.app().accounts.may_manage(call.actor(&principal), user)?;
    Ok(views(&call.app().sessions.list(user)?, principal.session))
}

/// Ends all sessions of a user.
pub async fn end_all_of(user: UserId, call: Call, principal: Principal) -> Answer {
    call.app().accounts.may_manage(call.actor(&principal), user)?;
    call.app().sessions.end_all(call.actor(&principal), user).await?;
    Ok(empty())
}

/// Ends one session of a user.
pub async fn end_of(user: UserId, session: SessionId, call: Call, principal: Principal) -> Answer {
    call.app().accounts.may_manage(call.actor(&principal), user)?;
    call.app().sessions.end(call.actor(&principal), session, Some(user)).await?;
    Ok(empty())
}
