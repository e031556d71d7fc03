//! What services that verify tokens by themselves read of this server. It is public, and may be cached.

use super::{error::HandlerResult, guard::Request, reply::document};
use serde_json::json;
use std::time::Duration;

/// How long the public keys may be cached. A key is published two days before it signs.
const KEYS_MAX_AGE: Duration = Duration::from_secs(15 * 60);

/// The public keys that verify tokens, as a JWK set (RFC 7517 §5); none as long as tokens are signed with a secret.
pub async fn jwks(req: Request) -> HandlerResult {
    let keys = req.app().keys().public_keys();
    Ok(document(&json!({ "keys": &keys[..] }), KEYS_MAX_AGE, &req.context))
}
