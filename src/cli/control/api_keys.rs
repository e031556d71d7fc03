//! Executes `doorward api-key …` and `doorward service …`.

use super::protocol::{CommandError, role_named};
use crate::{
    app::App,
    domain::{ApiKey, ApiKeyId, User, UserId, gate::AppName},
    service::{
        api_keys::{InvalidKey, NewApiKey},
        events::Actor,
    },
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::sync::Arc;

/// Makes a service account.
pub async fn add_service(app: &App, name: &str, role: Option<&str>) -> Result<User, CommandError> {
    let name = name.parse().map_err(|error| CommandError(format!("{name:?} {error}")))?;
    let role = role.map(role_named).transpose()?;
    Ok(app.accounts().add_service(Actor::Operator, &name, role).await?)
}

/// Makes an API key. Its secret is in this answer alone.
pub async fn add(
    app: &App,
    owner: UserId,
    name: &str,
    permissions: Vec<String>,
    apps: &[String],
    expires_in: Option<&str>,
) -> Result<Value, CommandError> {
    // The message names the field of a request; here it is an option.
    let option = |field| match field {
        "permissions" => "--permission",
        "apps" => "--app",
        "expiresIn" => "--expires",
        _ => "--name",
    };
    let new = NewApiKey::new(name, permissions, apps, expires_in)
        .map_err(|InvalidKey { field, message }| CommandError(format!("{}: {message}", option(field))))?;
    let (key, secret) = app.api_keys().create(Actor::Operator, owner, new).await?;
    made(app, &key, &secret).await
}

/// Gives a key another secret. The one it has stays good for a while.
pub async fn rotate(app: &App, key: &str, overlap: &str) -> Result<Value, CommandError> {
    let span = humantime::parse_duration(overlap).ok().filter(|span| *span <= ApiKey::MAX_OVERLAP);
    let span = span.ok_or_else(|| CommandError("--overlap: must be a duration of at most 24h, such as 1h".into()))?;
    let key = find(app, key)?;
    let (key, secret) = app.api_keys().rotate(Actor::Operator, key.owner, key.id, span).await?;
    made(app, &key, &secret).await
}

async fn made(app: &App, key: &ApiKey, secret: &SecretString) -> Result<Value, CommandError> {
    let owner = app.accounts().user(key.owner).await?;
    Ok(json!({ "key": view(key, Some(owner.email.as_str())), "secret": secret.expose_secret() }))
}

fn find(app: &App, key: &str) -> Result<Arc<ApiKey>, CommandError> {
    let unknown = || CommandError(format!("there is no API key {key:?}; `doorward api-key list` has their ids"));
    key.parse::<ApiKeyId>().ok().and_then(|id| app.api_keys().get(id).ok()).ok_or_else(unknown)
}

/// The keys of a user, or of everybody, each with its owner's address.
pub async fn list(app: &App, owner: Option<UserId>) -> Result<Value, CommandError> {
    let mut views = Vec::new();
    for key in app.api_keys().list(owner) {
        let owner = app.accounts().user(key.owner).await.ok();
        views.push(view(&key, owner.as_ref().map(|owner| owner.email.as_str())));
    }
    Ok(views.into())
}

/// Revokes a key.
pub async fn revoke(app: &App, key: &str) -> Result<Value, CommandError> {
    let key = find(app, key)?;
    app.api_keys().revoke(Actor::Operator, key.owner, key.id).await?;
    Ok(json!({ "revoked": key.id }))
}

fn view(key: &ApiKey, owner: Option<&str>) -> Value {
    json!({
        "id": key.id,
        "owner": owner,
        "user": key.owner,
        "name": key.name,
        "start": key.start,
        "permissions": key.permissions,
        "apps": key.apps.iter().map(AppName::as_str).collect::<Vec<_>>(),
        "createdAt": key.created_at,
        "expiresAt": key.expires_at,
        "lastUsedAt": key.last_used_at,
    })
}
