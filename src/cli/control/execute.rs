//! Executes commands, in the server or in the command's own process.

use super::{
    api_keys, audit, keys,
    protocol::{CommandError, PlainPassword, Request, parse_email, role_named},
};
use crate::{
    app::App,
    domain::{Email, ServiceName, Session, SessionId, User, UserId},
    http::PublicOrigin,
    service::{self, audit::QueryWords, events::Actor},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::sync::Arc;

/// How many users a list fetches at a time.
const PAGE_SIZE: usize = 500;

/// Executes a command.
pub async fn execute(app: &App, site: &PublicOrigin, request: Request) -> Result<Value, CommandError> {
    let accounts = app.accounts();
    let id = async |user: String| Ok::<_, CommandError>(find(app, &user).await?.id);
    let user = match request {
        Request::UserAdd { email, role, password } => add(app, &email, role.as_deref(), &password).await?,
        Request::UserShow { user } => User::clone(&*find(app, &user).await?),
        Request::UserRole { user, role } => accounts.set_role(Actor::Operator, id(user).await?, role_named(&role)?).await?,
        Request::UserPassword { user, password } => accounts.reset_password(id(user).await?, password.password()?).await?,
        Request::UserDisabled { user, disabled } => accounts.set_disabled(Actor::Operator, id(user).await?, disabled).await?,
        Request::UserVerified { user, verified } => accounts.set_email_verified(Actor::Operator, id(user).await?, verified).await?,
        Request::UserUnlock { user } => accounts.unlock(&find(app, &user).await?.email).await?,
        Request::UserDelete { user } => accounts.delete(Actor::Operator, id(user).await?).await?,
        Request::UserList { query } => return list(app, &query).await,
        Request::SessionList { user } => return Ok(app.sessions().list(id(user).await?).await?.iter().map(session_view).collect()),
        Request::SessionRevoke { session, user } => return revoke(app, session, user).await,
        Request::ServiceAdd { name, role } => api_keys::add_service(app, &name, role.as_deref()).await?,
        Request::ApiKeyAdd { user, name, permissions, apps, expires } => {
            let owner = id(user).await?;
            return api_keys::add(app, owner, &name, permissions, &apps, expires.as_deref()).await;
        }
        Request::ApiKeyList { user: None } => return api_keys::list(app, None).await,
        Request::ApiKeyList { user: Some(user) } => return api_keys::list(app, Some(id(user).await?)).await,
        Request::ApiKeyRotate { key, overlap } => return api_keys::rotate(app, &key, &overlap).await,
        Request::ApiKeyRevoke { key } => return api_keys::revoke(app, &key).await,
        Request::Audit { words, before, after, limit } => return audit::page(app, by_id(app, words).await?, before, after, limit).await,
        Request::KeyList => return keys::list(app),
        Request::KeyRotate { algorithm } => return keys::rotate(app, algorithm).await,
        Request::KeyReplace { all } => return keys::replace(app, all).await,
        Request::Check => {
            let report = app.check().await.map_err(|error| CommandError(error.to_string()))?;
            return serde_json::to_value(report).map_err(|error| CommandError(error.to_string()));
        }
        Request::Backup => return Err(CommandError("a backup is streamed".into())),
        Request::SetupLink => return open_setup(app, site).await,
        Request::Clock { seconds, slept } if app.move_clock(seconds, slept) => return Ok(Value::Null),
        Request::Clock { .. } => return Err(CommandError("the clock moves only with insecure_dev = true".into())),
    };
    Ok(user_view(&user))
}

async fn add(app: &App, email: &str, role: Option<&str>, password: &PlainPassword) -> Result<User, CommandError> {
    let role = role.map(role_named).transpose()?;
    Ok(app.accounts().add(parse_email(email)?, password.password()?, role).await?)
}

/// Revokes one session, or all sessions of a user.
async fn revoke(app: &App, session: Option<String>, user: Option<String>) -> Result<Value, CommandError> {
    if let Some(id) = session {
        let id: SessionId = id.parse().map_err(|error| CommandError(format!("the session's id: {error}")))?;
        app.sessions().revoke(Actor::Operator, id, None).await.map_err(|error| not_found(error, &format!("session {id}")))?;
        return Ok(json!({ "revoked": id }));
    }
    let user = find(app, &user.unwrap_or_default()).await?;
    app.sessions().revoke_all(Actor::Operator, user.id).await?;
    Ok(json!({ "revoked": user.id }))
}

/// The words of a query with the id of the user who is named. One who was deleted is known by id alone.
async fn by_id(app: &App, words: QueryWords) -> Result<QueryWords, CommandError> {
    match &words.user {
        Some(user) if user.parse::<UserId>().is_err() => {
            let user = Some(find(app, user).await?.id.to_string());
            Ok(QueryWords { user, ..words })
        }
        _ => Ok(words),
    }
}

async fn open_setup(app: &App, site: &PublicOrigin) -> Result<Value, CommandError> {
    match app.accounts().open_setup().await? {
        Some((token, expires_at)) => Ok(json!({ "link": setup_link(site, &token), "expiresAt": expires_at })),
        None => Err(CommandError("there is an admin already; `doorward user password` lets one in who forgot".into())),
    }
}

/// The link that creates the first admin. The token is in the fragment (`#`), which browsers do not send to servers.
pub fn setup_link(site: &PublicOrigin, token: &SecretString) -> String {
    format!("{}/#setup={}", site.url, token.expose_secret())
}

async fn list(app: &App, query: &str) -> Result<Value, CommandError> {
    let prefix = query.trim().to_lowercase();
    let (mut all, mut after): (Vec<Value>, Option<Email>) = (Vec::new(), None);
    loop {
        let (users, more) = app.accounts().users(&prefix, after.as_ref(), PAGE_SIZE).await?;
        all.extend(users.iter().map(user_view));
        after = users.last().map(|user| user.email.clone());
        if !more {
            return Ok(all.into());
        }
    }
}

async fn find(app: &App, name: &str) -> Result<Arc<User>, CommandError> {
    if let Ok(id) = name.parse::<UserId>() {
        return app.accounts().user(id).await.map_err(|error| not_found(error, &format!("user {id}")));
    }
    let email = name.parse().or_else(|_| name.parse::<ServiceName>().map(|name| name.address()));
    let email: Email = email.map_err(|_| CommandError(format!("{name:?} is neither an e-mail address nor an id nor a service's name")))?;
    Ok(app.accounts().user_by_email(&email).await.map_err(|error| not_found(error, &format!("user {}", email.as_str())))?.into())
}

/// Says what was not found by name.
fn not_found(error: service::Error, what: &str) -> CommandError {
    match error {
        service::Error::NotFound => CommandError(format!("there is no {what}")),
        other => other.into(),
    }
}

fn user_view(user: &User) -> Value {
    json!({
        "id": user.id,
        "email": user.email,
        "emailVerified": user.email_verified,
        "role": user.role,
        "disabled": user.disabled,
        "kind": user.kind,
        "createdAt": user.created_at,
    })
}

fn session_view(session: &Session) -> Value {
    json!({
        "id": session.id,
        "createdAt": session.created_at,
        "lastSeenAt": session.refreshed_at,
        "expiresAt": session.expires_at,
        "ip": session.client.ip,
        "userAgent": session.client.user_agent,
    })
}
