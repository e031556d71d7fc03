//! `/api/auth`: registering, signing in, refreshing, signing out, and who am I for other services.

use super::{
    Answer,
    error::{ApiError, Code},
    guard::Call,
    json,
    site::Site,
    users::UserView,
};
use crate::{
    config::CsrfMode,
    domain::{Email, Password, Permission, Role, SessionId, Transport, UserId},
    service::{self, access_tokens::Principal, accounts::Arrival, devices::Device, refresh_tokens::Presented, sessions::Grant},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json as value;
use warp::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    reply::Response,
};

const X_CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");
const AUTH_USER: HeaderName = HeaderName::from_static("x-auth-user");
const AUTH_EMAIL: HeaderName = HeaderName::from_static("x-auth-email");
const AUTH_ROLE: HeaderName = HeaderName::from_static("x-auth-role");
const AUTH_PERMISSIONS: HeaderName = HeaderName::from_static("x-auth-permissions");
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Register {
    email: String,
    password: SecretString,
    invite: Option<SecretString>,
    #[serde(default)]
    token_transport: Transport,
}

/// Makes an account and signs its owner in.
pub async fn register(call: Call, body: Register) -> Answer {
    let arrival = arrival(&call, body.token_transport)?;
    let (email, password) = credentials(&body.email, &body.password)?;
    let device = arrival.device;
    let grant = call.app().accounts.register(email, password, body.invite.as_ref(), arrival).await?;
    Ok(signed_in(&call, StatusCode::CREATED, &grant, device))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Setup {
    token: SecretString,
    email: String,
    password: SecretString,
    #[serde(default)]
    token_transport: Transport,
}

/// Makes the first admin.
pub async fn setup(call: Call, body: Setup) -> Answer {
    let arrival = arrival(&call, body.token_transport)?;
    let (email, password) = credentials(&body.email, &body.password)?;
    let device = arrival.device;
    let grant = call.app().accounts.set_up(&body.token, email, password, arrival).await?;
    Ok(signed_in(&call, StatusCode::CREATED, &grant, device))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Login {
    email: String,
    password: SecretString,
    #[serde(default)]
    token_transport: Transport,
}

/// Signs somebody in. Always a new session; one that was presented ends (REF-13).
pub async fn login(call: Call, body: Login) -> Answer {
    let arrival = arrival(&call, body.token_transport)?;
    let device = arrival.device;
    let grant = call.app().accounts.sign_in(&body.email, &body.password, arrival).await?;
    Ok(signed_in(&call, StatusCode::OK, &grant, device))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RefreshToken {
    refresh_token: SecretString,
}

/// Rotates a refresh token.
pub async fn refresh(call: Call, body: Option<RefreshToken>) -> Answer {
    let is_browser = call.site().check_origin(&call.exchange)?;
    let (token, transport) = presented_text(&call, body.as_ref())?.ok_or(Code::MissingRefreshToken)?;
    let presented = call.app().sessions.recognise(token.expose_secret()).ok_or(Code::InvalidRefreshToken)?;
    let patient = match transport {
        Transport::Cookie => check_csrf(&call, &presented, is_browser)?,
        Transport::Body => false,
    };
    match call.app().sessions.refresh(&presented, transport, call.exchange.client(), patient).await {
        Ok(grant) => Ok(granted(call.site(), StatusCode::OK, &grant, WithUser::No)),
        Err(error) => {
            // Never on a lost race: the winner's cookie is already in the jar.
            let is_over =
                matches!(error, service::Error::RefreshTokenExpired | service::Error::SessionEnded | service::Error::RefreshTokenReused);
            let error = ApiError::from(error);
            Err(if is_over && transport == Transport::Cookie { clearing(error, call.site()) } else { error })
        }
    }
}

/// Signs out whatever was presented. Says the same however often it is asked (REV-1).
pub async fn logout(call: Call, body: Option<RefreshToken>) -> Answer {
    let is_browser = call.site().check_origin(&call.exchange)?;
    let token = presented_text(&call, body.as_ref())?;
    let presented = match &token {
        Some((token, transport)) => {
            let presented = call.app().sessions.recognise(token.expose_secret());
            if let (Some(presented), Transport::Cookie) = (&presented, transport) {
                check_csrf(&call, presented, is_browser)?;
            }
            presented
        }
        None => None,
    };
    // A bearer that is over or none has nothing left to revoke.
    let principal = call.authenticate().ok();
    call.app().sessions.sign_out(presented.as_ref(), principal.as_ref()).await?;
    let mut response = json(&value!({ "message": "Logged out successfully" }));
    for cookie in call.site().cleared() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response.headers_mut().insert(CLEAR_SITE_DATA, HeaderValue::from_static("\"cache\", \"storage\""));
    Ok(response)
}

/// Ends every session of the caller.
pub async fn logout_all(call: Call, principal: Principal) -> Answer {
    call.app().sessions.end_all(principal.user).await?;
    Ok(json(&value!({ "message": "All sessions terminated" })))
}

/// A CSRF token for the session of the cookie, for a page that lost its own.
pub async fn csrf(call: Call) -> Answer {
    call.site().check_origin(&call.exchange)?;
    let token = call.site().refresh_token(&call.exchange)?.ok_or(Code::MissingRefreshToken)?;
    let presented = call.app().sessions.recognise(&token).ok_or(Code::InvalidRefreshToken)?;
    let (token, session) = call.app().sessions.csrf_token(&presented)?;
    let seconds = session.expires_at.since(call.app().clock.now()).as_secs();
    let mut response = json(&value!({ "csrfToken": token }));
    response.headers_mut().append(header::SET_COOKIE, call.site().csrf_token(&token, seconds));
    Ok(response)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PasswordChange {
    current_password: SecretString,
    new_password: SecretString,
}

/// Replaces the caller's password; this session goes on, all others die (REF-11).
pub async fn password(call: Call, principal: Principal, body: PasswordChange) -> Answer {
    let new = Password::new(&body.new_password).map_err(|error| ApiError::field("newPassword", error))?;
    let accounts = &call.app().accounts;
    let grant =
        accounts.change_password(&principal, &body.current_password, new, call.exchange.client()).await.map_err(|error| match error {
            service::Error::WeakPassword(weakness) => ApiError::from(error).with_field("newPassword", weakness),
            other => other.into(),
        })?;
    Ok(granted(call.site(), StatusCode::OK, &grant, WithUser::No))
}

#[derive(Serialize)]
struct Verified<'a> {
    sub: UserId,
    role: &'a Role,
    permissions: &'a [Permission],
    sid: SessionId,
    exp: u64,
}

/// Who the caller is, for a proxy to ask before it lets a request through.
pub async fn verify(call: Call, principal: Principal) -> Answer {
    let permissions = call.app().settings.roles.permissions(&principal.role);
    let user = call.app().accounts.user(principal.user).map_err(|error| match error {
        // Deleted since the token was judged.
        service::Error::NotFound => Code::TokenRevoked.into(),
        other => ApiError::from(other),
    })?;
    let mut response = json(&Verified {
        sub: principal.user,
        role: &principal.role,
        permissions: &permissions,
        sid: principal.session,
        exp: principal.expires_at.secs(),
    });
    let mut listed = String::with_capacity(64);
    for permission in &*permissions {
        if !listed.is_empty() {
            listed.push(',');
        }
        listed.push_str(permission.as_str());
    }
    for (name, value) in [
        (AUTH_USER, HeaderValue::try_from(principal.user.to_string())),
        (AUTH_EMAIL, HeaderValue::from_str(user.email.as_str())),
        (AUTH_ROLE, HeaderValue::from_str(principal.role.as_str())),
        (AUTH_PERMISSIONS, HeaderValue::try_from(listed)),
    ] {
        response.headers_mut().insert(name, value.expect("ids, addresses and names are ASCII"));
    }
    Ok(response)
}

/// Where a sign-in comes from: an allowed page or no browser at all (COK-9).
fn arrival(call: &Call, transport: Transport) -> Result<Arrival, ApiError> {
    call.site().check_origin(&call.exchange)?;
    let held = call.site().refresh_token(&call.exchange)?;
    let replaces = held.and_then(|token| call.app().sessions.recognise(&token)).map(|presented| presented.session);
    let device = call.site().device_token(&call.exchange)?.and_then(|token| call.app().accounts.device(&token));
    Ok(Arrival { client: call.exchange.client(), transport, replaces, device })
}

fn credentials(email: &str, password: &SecretString) -> Result<(Email, Password), ApiError> {
    let email = email.parse().map_err(|error| ApiError::field("email", error))?;
    let password = Password::new(password).map_err(|error| ApiError::field("password", error))?;
    Ok((email, password))
}

/// The refresh token that was presented, and how it came.
fn presented_text(call: &Call, body: Option<&RefreshToken>) -> Result<Option<(SecretString, Transport)>, ApiError> {
    match (call.site().refresh_token(&call.exchange)?, body) {
        (Some(_), Some(_)) => Err(Code::AmbiguousCredentials.into()),
        (Some(token), None) => Ok(Some((token.into(), Transport::Cookie))),
        (None, Some(body)) => Ok(Some((body.refresh_token.clone(), Transport::Body))),
        (None, None) => Ok(None),
    }
}

/// The token half of the CSRF check (COK-7): header and cookie agree, and the token is bound to the
/// session. Asked of browsers, or of everyone. Says whether a browser passed it.
fn check_csrf(call: &Call, presented: &Presented, is_browser: bool) -> Result<bool, ApiError> {
    if !is_browser && call.site().csrf == CsrfMode::Browser {
        return Ok(false);
    }
    let sent = call.exchange.header(&X_CSRF_TOKEN).ok_or(Code::CsrfFailed)?;
    let kept = call.site().csrf_from_cookie(&call.exchange)?.ok_or(Code::CsrfFailed)?;
    if sent != kept || !call.app().sessions.is_bound(sent, presented) {
        return Err(Code::CsrfFailed.into());
    }
    Ok(is_browser)
}

fn clearing(error: ApiError, site: &Site) -> ApiError {
    site.cleared().into_iter().fold(error, |error, cookie| error.header(header::SET_COOKIE, cookie))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WithUser {
    Yes,
    No,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tokens<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    #[serde(flatten)]
    transport: ByTransport<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserView<'a>>,
}

/// What goes into the body beside the access token: never what goes into a cookie (REF-12).
#[derive(Serialize)]
#[serde(untagged)]
enum ByTransport<'a> {
    #[serde(rename_all = "camelCase")]
    Cookie { csrf_token: &'a str },
    #[serde(rename_all = "camelCase")]
    Body { refresh_token: &'a str, refresh_expires_in: u64 },
}

/// The answer to a sign-in: from now on the browser's device is known to the account.
fn signed_in(call: &Call, status: StatusCode, grant: &Grant, device: Option<Device>) -> Response {
    let mut response = granted(call.site(), status, grant, WithUser::Yes);
    if grant.session.transport == Transport::Cookie {
        let token = call.app().accounts.device_token(grant.user.id, device);
        response.headers_mut().append(header::SET_COOKIE, call.site().device(&token));
    }
    response
}

fn granted(site: &Site, status: StatusCode, grant: &Grant, with_user: WithUser) -> Response {
    let transport = match grant.session.transport {
        Transport::Cookie => ByTransport::Cookie { csrf_token: &grant.csrf_token },
        Transport::Body => {
            ByTransport::Body { refresh_token: grant.refresh_token.expose_secret(), refresh_expires_in: grant.refresh_expires_in }
        }
    };
    let mut response = json(&Tokens {
        access_token: &grant.access.token,
        token_type: "Bearer",
        expires_in: grant.access.expires_in,
        transport,
        user: (with_user == WithUser::Yes).then(|| UserView::new(&grant.user, &grant.permissions)),
    });
    *response.status_mut() = status;
    if grant.session.transport == Transport::Cookie {
        for cookie in site.cookies(grant) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    response
}
