//! Answers that carry tokens: in cookies or in the body, never both (REF-12).

use super::{error::ApiError, guard::Request, origin::PublicOrigin, reply::json, users::UserView};
use crate::{domain::Transport, service::sessions::TokenSet};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use warp::{
    http::{StatusCode, header},
    reply::Response,
};

/// Adds cookies to an error that delete the session's tokens.
pub fn with_cleared_cookies(error: ApiError, site: &PublicOrigin) -> ApiError {
    site.cleared_cookies().into_iter().fold(error, |error, cookie| error.header(header::SET_COOKIE, cookie))
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum WithUser {
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
    transport: TransportTokens<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserView<'a>>,
}

/// The tokens in the body beside the access token. A token that is set as a cookie is not among them (REF-12).
#[derive(Serialize)]
#[serde(untagged)]
enum TransportTokens<'a> {
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

/// The answer to a login. It makes the device known to the account.
pub fn login_response(req: &Request, status: StatusCode, tokens: &TokenSet, devices: &[SecretString]) -> Response {
    token_response_with_device(req, status, tokens, devices, WithUser::Yes)
}

/// The answer to a user who has proved their identity again, by a change of password.
pub fn reauthentication_response(req: &Request, tokens: &TokenSet, devices: &[SecretString]) -> Response {
    token_response_with_device(req, StatusCode::OK, tokens, devices, WithUser::No)
}

fn token_response_with_device(
    req: &Request,
    status: StatusCode,
    tokens: &TokenSet,
    devices: &[SecretString],
    with_user: WithUser,
) -> Response {
    let (token, seconds) = req.app().accounts().device_token(&tokens.user, devices, tokens.session.transport);
    let mut response = token_response(req.site(), status, tokens, Some(&token), with_user);
    if tokens.session.transport == Transport::Cookie {
        response.headers_mut().append(header::SET_COOKIE, req.site().device_cookie(&token, seconds));
    }
    response
}

pub fn token_response(
    site: &PublicOrigin,
    status: StatusCode,
    tokens: &TokenSet,
    device: Option<&SecretString>,
    with_user: WithUser,
) -> Response {
    let transport = match tokens.session.transport {
        Transport::Cookie => TransportTokens::Cookie { csrf_token: tokens.csrf_token.expose_secret() },
        Transport::Body => TransportTokens::Body {
            refresh_token: tokens.refresh_token.expose_secret(),
            refresh_expires_in: tokens.refresh_expires_in,
            device_token: device.map(ExposeSecret::expose_secret),
        },
    };
    let mut response = json(&Tokens {
        access_token: tokens.access.token.expose_secret(),
        token_type: "Bearer",
        expires_in: tokens.access.expires_in,
        transport,
        user: (with_user == WithUser::Yes).then(|| UserView::new(&tokens.user, &tokens.permissions)),
    });
    *response.status_mut() = status;
    if tokens.session.transport == Transport::Cookie {
        for cookie in site.token_cookies(tokens) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    response
}
