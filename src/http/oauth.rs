//! OAuth endpoints: introspection (RFC 7662) and revocation (RFC 7009), for services that hold an API key.

use super::{
    credentials,
    error::{ApiError, Code, HandlerResult},
    form::Form,
    guard::Request,
    reply::{empty_ok, json},
};
use crate::{
    domain::{Permission, Session, Transport, User},
    service::{
        self,
        access_tokens::VerifiedToken,
        principal::Principal,
        sessions::{CsrfProof, RequestTokens, RetryKey},
    },
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json as value};
use std::time::Instant;

/// Says whether a token is in force, and whose it is. A token that is not is answered like a text that never was one
/// (TOK-14). `token_type_hint` says nothing that the token does not say itself.
pub async fn introspect(req: Request, client: Principal, form: Form) -> HandlerResult {
    req.app().bearers().charge(&client)?;
    let token = form.required("token")?;
    if let Some((token, principal)) = req.app().bearers().introspect(token.expose_secret()).await? {
        return Ok(json(&active_access_token(&req, &token, &principal)));
    }
    let active = req.app().sessions().introspect(token).await?.map(|(session, user)| active_refresh_token(&req, &session, &user));
    Ok(json(&active.unwrap_or_else(|| value!({ "active": false }))))
}

fn active_access_token(req: &Request, token: &VerifiedToken, principal: &Principal) -> Value {
    let (issuer, audience) = req.app().bearers().issuer_and_audience(token);
    let (user, permissions) = (principal.user(), principal.permissions(req.app().accounts().roles()));
    let scope: Vec<_> = permissions.iter().map(Permission::as_str).collect();
    let mut active = value!({
        "active": true,
        "token_type": "Bearer",
        "iss": issuer,
        "aud": audience,
        "sub": user.id,
        "scope": scope.join(" "),
        "iat": token.ids.issued_at.secs(),
        "exp": token.expires_at.secs(),
        "jti": token.ids.token,
        "sid": token.ids.session,
    });
    name(&mut active, user);
    // An API key has no role.
    match principal.api_key() {
        Some(_) => active["amr"] = value!(["key"]),
        None => active["role"] = value!(user.role),
    }
    active
}

fn active_refresh_token(req: &Request, session: &Session, user: &User) -> Value {
    let mut active = value!({
        "active": true,
        "token_type": "refresh_token",
        "iss": req.site().url,
        "sub": user.id,
        "iat": session.refreshed_at.secs(),
        "exp": session.expires_at.secs(),
        "sid": session.id,
    });
    name(&mut active, user);
    active
}

/// Adds the user's address, if somebody has vouched for it.
fn name(active: &mut Value, user: &User) {
    if user.email_verified {
        active["username"] = value!(user.email);
    }
}

/// Revokes an access token; or the session of a refresh token, which may be one that was replaced and so show a theft. The
/// answer is the same for what is no token of ours or is over (RFC 7009 §2.2), and comes when the revocation is durable.
pub async fn revoke(req: Request, principal: Principal, form: Form) -> HandlerResult {
    let (token, sessions, actor) = (form.required("token")?, req.app().sessions(), req.actor(&principal));
    if token.expose_secret().starts_with(credentials::API_KEY_PREFIX) {
        return Err(ApiError::from(Code::InvalidRequest).message("API keys are not revoked here, but by their owner or an admin"));
    }
    if let Some((token, _)) = req.app().bearers().introspect(token.expose_secret()).await? {
        sessions.revoke_token(actor, token.ids).await?;
    } else if let Some(verified) = sessions.verify_refresh_token(token) {
        let session = sessions.detect_reuse(&presented(&req, token), &verified, Transport::Body, false).await?;
        if let Some(session) = session {
            match sessions.revoke(actor, session.id, None).await {
                Ok(()) | Err(service::Error::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(empty_ok())
}

/// A request that presents a refresh token in a way of its own.
fn presented(req: &Request, token: &SecretString) -> RequestTokens<'static> {
    RequestTokens {
        cookies: Vec::new(),
        body: Some(token.clone()),
        is_browser: false,
        csrf: CsrfProof::NotRequired,
        retry_key: RetryKey::Absent,
        client: req.context.client(),
        arrived: Instant::now(),
    }
}
