//! Executes `doorward key …`.

use super::protocol::CommandError;
use crate::{app::App, domain::Algorithm, service::key_rotation::KeyError};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// All keys, without their secret parts.
pub fn list(app: &App) -> Result<Value, CommandError> {
    serde_json::to_value(app.keys().list()).map_err(|error| CommandError(error.to_string()))
}

/// Starts a rotation.
pub async fn rotate(app: &App, algorithm: Option<Algorithm>) -> Result<Value, CommandError> {
    let keys = Arc::clone(app.keys());
    let rotated = tokio::task::spawn_blocking(move || keys.rotate(algorithm)).await;
    done(app, rotated.map_err(|error| CommandError(error.to_string()))?)
}

/// Replaces the keys of access tokens, or all, in an emergency.
pub async fn replace(app: &App, all: bool) -> Result<Value, CommandError> {
    let keys = Arc::clone(app.keys());
    done(app, if all { keys.replace_all_keys().await } else { keys.replace_access_keys().await })
}

fn done(app: &App, changes: Result<impl Serialize, KeyError>) -> Result<Value, CommandError> {
    let changes = changes.map_err(|error| CommandError(error.to_string()))?;
    Ok(json!({ "changes": changes, "keys": list(app)? }))
}
