//! `/api/audit`: what happened; and what happened to the caller's own account.

use super::{
    error::{ApiError, HandlerResult},
    guard::{Request, query_param},
    reply::json,
};
use crate::{
    domain::{EventId, EventQuery, UserId},
    service::{
        audit::{EventView, InvalidWord, QueryWords},
        principal::Principal,
    },
    store::EventPage,
};
use serde_json::{Map, Value, json as value};

/// How many events a page has unless `?limit` says otherwise.
const DEFAULT_PAGE_SIZE: usize = 50;
/// How many events a page may have.
const MAX_PAGE_SIZE: usize = 200;

/// What a page of events is asked for by, whoever's it is.
const PAGING: [&str; 2] = ["limit", "cursor"];
const WORDS: [&str; 7] = ["event", "user", "actor", "session", "address", "since", "until"];

/// Events, the latest first. With `users:read`, also the addresses of the users they name, as far as there are any.
pub async fn list(req: Request, principal: Principal) -> HandlerResult {
    refuse_unknown(&req, |name| WORDS.contains(&name) || PAGING.contains(&name))?;
    let query = words(&req)?.parse(req.app().now()).map_err(|InvalidWord { field, message }| ApiError::field(field, message))?;
    let page = page(&req, &query).await?;
    let views: Vec<_> = page.events.iter().map(EventView::new).collect();
    let mut users = Map::new();
    if principal.may(req.app().accounts().roles(), "users:read") {
        for id in views.iter().flat_map(EventView::users) {
            if let Ok(user) = req.app().accounts().user(id).await {
                users.insert(id.to_string(), user.email.as_str().into());
            }
        }
    }
    Ok(json(&value!({ "events": views, "nextCursor": page.next, "users": users })))
}

/// What happened to the caller's own account, the latest first.
pub async fn list_own(req: Request, principal: Principal) -> HandlerResult {
    refuse_unknown(&req, |name| PAGING.contains(&name))?;
    let user: UserId = principal.user().id;
    let page = page(&req, &EventQuery { user: Some(user), is_own: true, ..EventQuery::default() }).await?;
    let views: Vec<Value> = page.events.iter().map(|recorded| value!(EventView::own(recorded, user))).collect();
    Ok(json(&value!({ "events": views, "nextCursor": page.next })))
}

async fn page(req: &Request, query: &EventQuery) -> Result<EventPage, ApiError> {
    let limit = match query_param(req, "limit")? {
        Some(limit) => limit.parse().ok().filter(|limit| (1..=MAX_PAGE_SIZE).contains(limit)),
        None => Some(DEFAULT_PAGE_SIZE),
    };
    let limit = limit.ok_or_else(|| ApiError::field("limit", "must be 1 to 200"))?;
    let cursor = query_param(req, "cursor")?.map(|cursor| cursor.parse::<EventId>()).transpose();
    let cursor = cursor.map_err(|_| ApiError::field("cursor", "must be the nextCursor of a page before"))?;
    Ok(req.app().audit().before(query, cursor, limit).await?)
}

fn words(req: &Request) -> Result<QueryWords, ApiError> {
    Ok(QueryWords {
        event: query_param(req, "event")?,
        user: query_param(req, "user")?,
        actor: query_param(req, "actor")?,
        session: query_param(req, "session")?,
        address: query_param(req, "address")?,
        since: query_param(req, "since")?,
        until: query_param(req, "until")?,
    })
}

/// A misspelt condition would show everything.
fn refuse_unknown(req: &Request, is_known: impl Fn(&str) -> bool) -> Result<(), ApiError> {
    match req.context.query_names().find(|name| !is_known(name)) {
        Some(_) => Err(ApiError::field("query", "has a parameter that there is not")),
        None => Ok(()),
    }
}
