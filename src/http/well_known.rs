//! What services that verify tokens by themselves read of this server. It is public, and may be cached.

use super::{error::HandlerResult, guard::Request, reply::document};
use serde_json::json;
use std::time::Duration;

/// How long the public keys may be cached. A key is published two days before it signs.
const KEYS_MAX_AGE: Duration = Duration::from_secs(15 * 60);

/// How long the metadata may be cached.
const METADATA_MAX_AGE: Duration = Duration::from_secs(60 * 60);

/// What there is of OAuth here (RFC 8414): no more than this, and nothing that is not there.
pub async fn metadata(req: Request) -> HandlerResult {
    let at = |path: &str| format!("{}{path}", req.site().url);
    let methods = ["client_secret_basic", "Bearer"];
    let mut metadata = json!({
        "issuer": req.site().url,
        "introspection_endpoint": at("/oauth2/introspect"),
        "introspection_endpoint_auth_methods_supported": methods,
        "revocation_endpoint": at("/oauth2/revoke"),
        "revocation_endpoint_auth_methods_supported": methods,
    });
    if !req.app().keys().public_keys().is_empty() {
        metadata["jwks_uri"] = at("/.well-known/jwks.json").into();
    }
    Ok(document(&metadata, METADATA_MAX_AGE, &req.context))
}

/// The public keys that verify tokens, as a JWK set (RFC 7517 §5); none as long as tokens are signed with a secret.
pub async fn jwks(req: Request) -> HandlerResult {
    let keys = req.app().keys().public_keys();
    Ok(document(&json!({ "keys": &keys[..] }), KEYS_MAX_AGE, &req.context))
}
