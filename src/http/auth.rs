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
    service::{
        self,
        accounts::Arrival,
        refresh_tokens::Presented,
        sessions::{Grant, Principal, RefreshRequest},
    },
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

/// Makes an account and signs its owner in.
pub async fn register(call: Call, body: Register) -> Answer {
    let arrival = arrival(&call, body.token_transport.unwrap_or_default(), body.device_token).await?;
    let (email, password) = credentials(&body.email, &body.password)?;
    let devices = arrival.devices.clone();
    // An empty field of a form is none.
    let invite = body.invite.as_ref().filter(|code| !code.expose_secret().is_empty());
    let grant = call.app().accounts.register(email, password, invite, arrival).await?;
    Ok(signed_in(&call, StatusCode::CREATED, &grant, &devices))
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

/// Makes the first admin.
pub async fn setup(call: Call, body: Setup) -> Answer {
    let arrival = arrival(&call, body.token_transport.unwrap_or_default(), body.device_token).await?;
    let (email, password) = credentials(&body.email, &body.password)?;
    let devices = arrival.devices.clone();
    let grant = call.app().accounts.set_up(&body.token, email, password, arrival).await?;
    Ok(signed_in(&call, StatusCode::CREATED, &grant, &devices))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Login {
    email: String,
    password: SecretString,
    device_token: Option<SecretString>,
    token_transport: Option<Transport>,
}

/// Signs somebody in. Always a new session; one that was presented ends (REF-13).
pub async fn login(call: Call, body: Login) -> Answer {
    let arrival = arrival(&call, body.token_transport.unwrap_or_default(), body.device_token).await?;
    let devices = arrival.devices.clone();
    let grant = call.app().accounts.sign_in(&body.email, &body.password, arrival).await?;
    Ok(signed_in(&call, StatusCode::OK, &grant, &devices))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RefreshToken {
    refresh_token: Option<SecretString>,
}

/// Rotates a refresh token.
pub async fn refresh(call: Call, body: Option<RefreshToken>) -> Answer {
    let is_browser = call.site().check_origin(&call.exchange)?;
    let (token, transport) = match presented_text(&call, body.as_ref()) {
        Ok(sent) => sent.ok_or(Code::MissingRefreshToken)?,
        Err(error) => {
            examine_all(&call, body.as_ref(), is_browser).await?;
            return Err(error);
        }
    };
    let presented = call.app().sessions.recognise(token.expose_secret()).ok_or(Code::InvalidRefreshToken)?;
    let csrf_verified = match transport {
        Transport::Cookie => check_csrf(&call, &presented, is_browser)?,
        Transport::Body => false,
    };
    // A key that is none excuses nothing, and only a token that is good is told so.
    if call.app().sessions.is_current(&presented) {
        retry_key(&call)?;
    }
    let request = presentation(&call, &presented, transport, csrf_verified);
    match call.app().sessions.refresh(request).await {
        Ok(grant) => Ok(granted(call.site(), StatusCode::OK, &grant, None, WithUser::No)),
        Err(error) => {
            // Never on a lost race: the winner's cookie is already in the jar.
            let is_over =
                matches!(error, service::Error::RefreshTokenExpired | service::Error::SessionEnded | service::Error::RefreshTokenReused);
            let error = ApiError::from(error);
            Err(if is_over && transport == Transport::Cookie { clearing(error, call.site()) } else { error })
        }
    }
}

/// Signs out whatever the caller can prove: by a bearer of ours, even one that is over, by a refresh token
/// in the body, or by the cookie of a page that is allowed. What cannot be proved beside that stops nothing.
/// Says the same however often it is asked (REV-1).
pub async fn logout(call: Call, body: Result<Option<RefreshToken>, ApiError>) -> Answer {
    let is_browser = call.site().check_origin(&call.exchange)?;
    let bearer = call.bearers_origin()?;
    let recognise = |token: &str| call.app().sessions.recognise(token);
    let sent = body.as_ref().ok().and_then(Option::as_ref).and_then(|body| body.refresh_token.as_ref());
    let in_body = sent.and_then(|token| recognise(token.expose_secret()));
    let mut proven: Vec<_> = in_body.map(|presented| (presented, Transport::Body, false)).into_iter().collect();
    for presented in call.site().refresh_tokens(&call.exchange).iter().filter_map(|token| recognise(token)) {
        let is_known = bearer.as_ref().is_some_and(|bearer| bearer.session == presented.session);
        match check_csrf(&call, &presented, is_browser) {
            Err(_) if is_known => {}
            Err(error) if bearer.is_none() && proven.is_empty() => return Err(error),
            Err(_) => continue,
            Ok(_) => {}
        }
        proven.push((presented, Transport::Cookie, is_browser));
    }
    if bearer.is_none() && proven.is_empty() {
        body?;
    }
    let mut sessions = Vec::new();
    for (presented, transport, is_browser) in &proven {
        let session = call.app().sessions.examine(presentation(&call, presented, *transport, *is_browser)).await?;
        sessions.extend(session.map(|session| session.id));
    }
    call.app().sessions.sign_out(sessions, bearer.as_ref(), call.exchange.from()).await?;
    let mut response = json(&value!({ "message": "Logged out successfully" }));
    for cookie in call.site().cleared() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Ends every session of the caller.
pub async fn logout_all(call: Call, principal: Principal) -> Answer {
    call.app().sessions.end_all(call.actor(&principal), principal.user.id).await?;
    Ok(json(&value!({ "message": "All sessions terminated" })))
}

/// A CSRF token for the session of the cookie, for a page that lost its own or cannot read it. A browser
/// that never signed that user in has been given the cookie by somebody else, and gets none (COK-7).
pub async fn csrf(call: Call) -> Answer {
    let is_browser = call.site().check_origin(&call.exchange)?;
    let token = call.site().refresh_token(&call.exchange)?.ok_or(Code::MissingRefreshToken)?;
    let presented = call.app().sessions.recognise(&token).ok_or(Code::InvalidRefreshToken)?;
    let devices = call.site().device_tokens(&call.exchange);
    let is_device_of = |user| call.app().accounts.is_device_of(user, &devices);
    // Some browsers say of a page's own GET not that they are one; a device of the user's is no thief either.
    let is_honest = is_browser || call.app().sessions.owner_of(&presented)?.is_some_and(is_device_of);
    let (token, session) = call.app().sessions.csrf_token(presentation(&call, &presented, Transport::Cookie, is_honest)).await?;
    if !is_device_of(session.user) {
        return Err(Code::CsrfFailed.into());
    }
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

/// Replaces the caller's password; all their sessions end, and a new one begins here (REF-11).
pub async fn password(call: Call, principal: Principal, body: PasswordChange) -> Answer {
    let new = Password::new(&body.new_password).map_err(|error| ApiError::field("newPassword", error))?;
    let accounts = &call.app().accounts;
    let grant =
        accounts.change_password(&principal, &body.current_password, new, call.exchange.client()).await.map_err(|error| match error {
            service::Error::WeakPassword(weakness) => ApiError::from(error).with_field("newPassword", weakness),
            service::Error::InvalidCredentials => ApiError::from(error).message("The current password is wrong"),
            other => other.into(),
        })?;
    // What this browser was known by is void like everything else of theirs.
    let devices = call.site().device_tokens(&call.exchange);
    Ok(signed_in_again(&call, &grant, &devices))
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
    let user = &principal.user;
    let permissions = call.app().settings.roles.permissions(&user.role);
    let mut response = json(&Verified {
        sub: user.id,
        role: &user.role,
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
    // Whoever registers an address first is not thereby its owner. Empty, not left out: what a client sends
    // under this name must be overwritten.
    let email = if user.email_verified { user.email.as_str() } else { "" };
    for (name, value) in [
        (AUTH_USER, HeaderValue::try_from(user.id.to_string())),
        (AUTH_EMAIL, HeaderValue::from_str(email)),
        (AUTH_ROLE, HeaderValue::from_str(user.role.as_str())),
        (AUTH_PERMISSIONS, HeaderValue::try_from(listed)),
    ] {
        response.headers_mut().insert(name, value.expect("ids, addresses and names are ASCII"));
    }
    Ok(response)
}

/// Where a sign-in comes from: an allowed page or no browser at all (COK-9). Cookies that somebody planted do
/// not stop it.
async fn arrival(call: &Call, transport: Transport, device: Option<SecretString>) -> Result<Arrival, ApiError> {
    let is_browser = call.site().check_origin(&call.exchange)?;
    let mut replaces = None;
    for held in call.site().refresh_tokens(&call.exchange) {
        if let Some(presented) = call.app().sessions.recognise(&held) {
            let session = call.app().sessions.examine(presentation(call, &presented, Transport::Cookie, is_browser)).await?;
            replaces = replaces.or(session.map(|session| session.id));
        }
    }
    let devices = call.site().device_tokens(&call.exchange).into_iter().chain(device).collect();
    Ok(Arrival { client: call.exchange.client(), transport, replaces, devices })
}

/// A refresh token as this request presents it: whatever the request is for, a token whose answer was lost is told
/// from a stolen one by the key that comes with it. A key that is none excuses nothing.
fn presentation<'a>(call: &'a Call, presented: &'a Presented, transport: Transport, csrf_verified: bool) -> RefreshRequest<'a> {
    let retry_key = retry_key(call).unwrap_or_default();
    RefreshRequest { presented, transport, client: call.exchange.client(), csrf_verified, retry_key }
}

/// Looks at every refresh token of a request that will be refused: each may be evidence (REF-1).
async fn examine_all(call: &Call, body: Option<&RefreshToken>, is_browser: bool) -> Result<(), ApiError> {
    let in_cookies = call.site().refresh_tokens(&call.exchange).into_iter().map(|token| (token.into(), Transport::Cookie));
    let in_body = body.and_then(|body| body.refresh_token.clone()).map(|token| (token, Transport::Body));
    for (token, transport) in in_cookies.chain(in_body) {
        if let Some(presented) = call.app().sessions.recognise(token.expose_secret()) {
            let csrf_verified = transport == Transport::Cookie && check_csrf(call, &presented, is_browser).unwrap_or(false);
            call.app().sessions.examine(presentation(call, &presented, transport, csrf_verified)).await?;
        }
    }
    Ok(())
}

/// The `Idempotency-Key` of a request (draft-ietf-httpapi-idempotency-key-header-07), whatever its form: it
/// is compared, not parsed.
fn retry_key(call: &Call) -> Result<Option<&str>, ApiError> {
    if call.exchange.headers(&IDEMPOTENCY_KEY).next().is_none() {
        return Ok(None);
    }
    let key =
        call.exchange.header(&IDEMPOTENCY_KEY).filter(|key| (8..=128).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()));
    let refuse = || ApiError::from(Code::InvalidRequest).message("Idempotency-Key must be there once, of 8 to 128 visible characters");
    key.map(Some).ok_or_else(refuse)
}

fn credentials(email: &str, password: &SecretString) -> Result<(Email, Password), ApiError> {
    let email = email.parse().map_err(|error| ApiError::field("email", error))?;
    let password = Password::new(password).map_err(|error| ApiError::field("password", error))?;
    Ok((email, password))
}

/// The refresh token that was presented, and how it came.
fn presented_text(call: &Call, body: Option<&RefreshToken>) -> Result<Option<(SecretString, Transport)>, ApiError> {
    match (call.site().refresh_token(&call.exchange)?, body.and_then(|body| body.refresh_token.clone())) {
        (Some(_), Some(_)) => Err(Code::AmbiguousCredentials.into()),
        (Some(token), None) => Ok(Some((token.into(), Transport::Cookie))),
        (None, Some(token)) => Ok(Some((token, Transport::Body))),
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
    if !call.site().has_csrf_cookie(&call.exchange, sent) || !call.app().sessions.is_bound(sent, presented) {
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
    Body {
        refresh_token: &'a str,
        refresh_expires_in: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        device_token: Option<&'a str>,
    },
}

/// The answer to a sign-in: from now on the device is known to the account.
fn signed_in(call: &Call, status: StatusCode, grant: &Grant, devices: &[SecretString]) -> Response {
    known(call, status, grant, devices, WithUser::Yes)
}

/// The answer to who has proved again who they are.
fn signed_in_again(call: &Call, grant: &Grant, devices: &[SecretString]) -> Response {
    known(call, StatusCode::OK, grant, devices, WithUser::No)
}

fn known(call: &Call, status: StatusCode, grant: &Grant, devices: &[SecretString], with_user: WithUser) -> Response {
    let (token, seconds) = call.app().accounts.device_token(&grant.user, devices, grant.session.transport);
    let mut response = granted(call.site(), status, grant, Some(&token), with_user);
    if grant.session.transport == Transport::Cookie {
        response.headers_mut().append(header::SET_COOKIE, call.site().device(&token, seconds));
    }
    response
}

fn granted(site: &Site, status: StatusCode, grant: &Grant, device: Option<&SecretString>, with_user: WithUser) -> Response {
    let transport = match grant.session.transport {
        Transport::Cookie => ByTransport::Cookie { csrf_token: &grant.csrf_token },
        Transport::Body => ByTransport::Body {
            refresh_token: grant.refresh_token.expose_secret(),
            refresh_expires_in: grant.refresh_expires_in,
            device_token: device.map(ExposeSecret::expose_secret),
        },
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
