//! `/api/auth`: registering, logging in, refreshing, logging out.

use super::{
    error::{ApiError, Code, HandlerResult},
    guard::Request,
    reply::json,
    tokens::{WithUser, login_response, reauthentication_response, token_response, with_cleared_cookies},
};
use crate::{
    config::CsrfMode,
    domain::{Email, Password, Transport},
    service::{
        self,
        accounts::{LoginContext, LoginOutcome},
        principal::Principal,
        sessions::{CsrfProof, RequestTokens, RetryKey},
    },
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json as value;
use std::time::Instant;
use warp::http::{HeaderName, StatusCode, header};

const X_CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Register {
    email: String,
    password: SecretString,
    invite: Option<SecretString>,
    device_token: Option<SecretString>,
    token_transport: Option<Transport>,
}

/// Creates an account and logs its owner in.
pub async fn register(req: Request, body: Register) -> HandlerResult {
    let context = login_context(&req, body.token_transport.unwrap_or_default(), body.device_token).await?;
    let (email, password) = credentials(&body.email, &body.password)?;
    let devices = context.devices.clone();
    // A form sends an empty field where there is no invitation.
    let invite = body.invite.as_ref().filter(|code| !code.expose_secret().is_empty());
    let tokens = req.app().accounts().register(email, password, invite, context).await?;
    Ok(login_response(&req, StatusCode::CREATED, &tokens, &devices))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Setup {
    token: SecretString,
    email: String,
    password: SecretString,
    device_token: Option<SecretString>,
    token_transport: Option<Transport>,
}

/// Creates the first admin.
pub async fn setup(req: Request, body: Setup) -> HandlerResult {
    let context = login_context(&req, body.token_transport.unwrap_or_default(), body.device_token).await?;
    let (email, password) = credentials(&body.email, &body.password)?;
    let devices = context.devices.clone();
    let tokens = req.app().accounts().set_up(&body.token, email, password, context).await?;
    Ok(login_response(&req, StatusCode::CREATED, &tokens, &devices))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Login {
    email: String,
    password: SecretString,
    device_token: Option<SecretString>,
    token_transport: Option<Transport>,
}

/// Logs a user in. This always begins a new session and ends the one that the request presented (REF-13).
pub async fn login(req: Request, body: Login) -> HandlerResult {
    let context = login_context(&req, body.token_transport.unwrap_or_default(), body.device_token).await?;
    let devices = context.devices.clone();
    let outcome = req.app().accounts().login(&body.email, &body.password, context).await;
    if let Some(metrics) = req.app().metrics() {
        metrics.signed_in(&outcome);
    }
    let LoginOutcome::Tokens(tokens) = outcome?;
    Ok(login_response(&req, StatusCode::OK, &tokens, &devices))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RefreshToken {
    refresh_token: Option<SecretString>,
}

/// Rotates a refresh token.
pub async fn refresh(req: Request, body: Option<RefreshToken>) -> HandlerResult {
    let request = request_tokens(&req, body.and_then(|body| body.refresh_token))?;
    let is_cookie = request.body.is_none();
    let refreshed = req.app().sessions().refresh(&request).await;
    if let Some(metrics) = req.app().metrics() {
        metrics.refreshed(&refreshed);
    }
    match refreshed {
        Ok(tokens) => Ok(token_response(req.site(), StatusCode::OK, &tokens, None, WithUser::No)),
        Err(service::Error::TwoRefreshCookies) => Err(req.site().two_refresh_cookies()),
        Err(error) => {
            // A lost race (409) clears no cookie: the browser already has the winner's.
            let is_over =
                matches!(error, service::Error::RefreshTokenExpired | service::Error::SessionEnded | service::Error::RefreshTokenReused);
            let error = ApiError::from(error);
            Err(if is_over && is_cookie { with_cleared_cookies(error, req.site()) } else { error })
        }
    }
}

/// Ends every session that the caller can prove to hold: by an access token of ours, even one that has expired
/// or was revoked, by a refresh token in the body, or by the cookie of an allowed page. If one of these proves a
/// session, others that prove nothing are ignored. A repeated logout is answered like the first (REV-1).
pub async fn logout(req: Request, body: Result<Option<RefreshToken>, ApiError>) -> HandlerResult {
    let sent = body.as_ref().ok().and_then(Option::as_ref).and_then(|body| body.refresh_token.clone());
    let request = request_tokens(&req, sent)?;
    let bearer = req.verify_bearer_origin()?;
    let sessions = req.app().sessions();
    let in_body = request.body.as_ref().and_then(|token| sessions.verify_refresh_token(token));
    let mut proven: Vec<_> = in_body.map(|token| (token, Transport::Body, false)).into_iter().collect();
    for token in request.cookies.iter().filter_map(|token| sessions.verify_refresh_token(token)) {
        let is_bearers_session = bearer.as_ref().is_some_and(|bearer| bearer.ids.session == token.session);
        match sessions.check_csrf(&request, &token) {
            Err(_) if is_bearers_session => {}
            Err(error) if bearer.is_none() && proven.is_empty() => return Err(error.into()),
            Err(_) => continue,
            Ok(_) => {}
        }
        proven.push((token, Transport::Cookie, request.is_browser));
    }
    if bearer.is_none() && proven.is_empty() {
        body?;
    }
    let mut ended = Vec::new();
    for (token, transport, may_have_lost_race) in &proven {
        let session = sessions.detect_reuse(&request, token, *transport, *may_have_lost_race).await?;
        ended.extend(session.map(|session| session.id));
    }
    sessions.logout(ended, bearer.as_ref(), req.context.from()).await?;
    let mut response = json(&value!({ "message": "Logged out successfully" }));
    for cookie in req.site().cleared_cookies() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Ends every session of the caller.
pub async fn logout_all(req: Request, principal: Principal) -> HandlerResult {
    req.app().sessions().revoke_all(req.actor(&principal), principal.user().id).await?;
    Ok(json(&value!({ "message": "All sessions terminated" })))
}

/// Issues a CSRF token for the session of the cookie, to a page that lost its own or cannot read it. A browser
/// from which that user has never logged in gets none: somebody else has planted the cookie there (COK-7).
pub async fn csrf(req: Request) -> HandlerResult {
    let request = request_tokens(&req, None)?;
    let (app, sessions) = (req.app(), req.app().sessions());
    let token = match request.cookies.as_slice() {
        [] => return Err(Code::MissingRefreshToken.into()),
        [token] => sessions.verify_refresh_token(token).ok_or(Code::InvalidRefreshToken)?,
        _ => return Err(req.site().two_refresh_cookies()),
    };
    let devices = req.site().device_tokens(&req.context);
    let is_device_of = |user| app.accounts().is_device_of(user, &devices);
    // Some browsers send neither `Origin` nor `Sec-Fetch-Site` with a page's own GET. A device token of the user
    // shows as well that the refresh token may be old because it lost a race, and was not stolen.
    let may_have_lost_race = request.is_browser || sessions.owner_of(&token).await?.is_some_and(is_device_of);
    let (token, session, seconds) = sessions.csrf_token(&request, &token, may_have_lost_race).await?;
    if !is_device_of(session.user) {
        return Err(Code::CsrfFailed.into());
    }
    let mut response = json(&value!({ "csrfToken": token.expose_secret() }));
    response.headers_mut().append(header::SET_COOKIE, req.site().csrf_cookie(&token, seconds));
    Ok(response)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PasswordChange {
    current_password: SecretString,
    new_password: SecretString,
}

/// Replaces the caller's password. All their sessions end and a new one begins (REF-11).
pub async fn change_password(req: Request, principal: Principal, body: PasswordChange) -> HandlerResult {
    let new = Password::new(&body.new_password).map_err(|error| ApiError::field("newPassword", error))?;
    let accounts = req.app().accounts();
    let tokens =
        accounts.change_password(&principal, &body.current_password, new, req.context.client()).await.map_err(|error| match error {
            service::Error::WeakPassword(weakness) => ApiError::from(error).with_field("newPassword", weakness),
            service::Error::InvalidCredentials => ApiError::from(error).message("The current password is wrong"),
            other => other.into(),
        })?;
    // The change has voided this browser's device token as well, so the answer carries a new one.
    let devices = req.site().device_tokens(&req.context);
    Ok(reauthentication_response(&req, &tokens, &devices))
}

/// The context of a login, which must come from an allowed page or from no browser at all (COK-9). Planted
/// cookies do not prevent it.
async fn login_context(req: &Request, transport: Transport, device: Option<SecretString>) -> Result<LoginContext, ApiError> {
    let request = request_tokens(req, None)?;
    let replaces = req.app().sessions().replaced_by_login(&request).await?;
    let devices = req.site().device_tokens(&req.context).into_iter().chain(device).collect();
    Ok(LoginContext { client: request.client, transport, replaces, devices })
}

/// The refresh tokens of a request, which must come from an allowed page or from no browser at all (COK-6).
fn request_tokens(req: &Request, body: Option<SecretString>) -> Result<RequestTokens<'_>, ApiError> {
    let is_browser = req.site().check_origin(&req.context)?;
    Ok(RequestTokens {
        cookies: req.site().refresh_tokens(&req.context),
        body,
        is_browser,
        csrf: csrf_proof(req, is_browser),
        retry_key: retry_key(req),
        client: req.context.client(),
        arrived: Instant::now(),
    })
}

/// The token half of the CSRF check (COK-7): header and cookie must carry the same token. The settings ask it of
/// browsers or of every client.
fn csrf_proof(req: &Request, is_browser: bool) -> CsrfProof<'_> {
    if !is_browser && req.site().csrf == CsrfMode::Browser {
        return CsrfProof::NotRequired;
    }
    match req.context.header(&X_CSRF_TOKEN) {
        Some(text) if req.site().has_csrf_cookie(&req.context, text) => CsrfProof::Token { text, is_browser },
        _ => CsrfProof::Missing,
    }
}

/// The `Idempotency-Key` of a request (draft-ietf-httpapi-idempotency-key-header-07). The key is compared and
/// not parsed, so any 8 to 128 visible characters will do.
fn retry_key(req: &Request) -> RetryKey<'_> {
    if req.context.headers(&IDEMPOTENCY_KEY).next().is_none() {
        return RetryKey::Absent;
    }
    let is_good = |key: &&str| (8..=128).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    req.context.header(&IDEMPOTENCY_KEY).filter(is_good).map_or(RetryKey::Malformed, RetryKey::Key)
}

fn credentials(email: &str, password: &SecretString) -> Result<(Email, Password), ApiError> {
    let email = email.parse().map_err(|error| ApiError::field("email", error))?;
    let password = Password::new(password).map_err(|error| ApiError::field("password", error))?;
    Ok((email, password))
}
