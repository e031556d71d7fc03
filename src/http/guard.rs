//! Guards: filters that let a request through to its handler, with the caller they found out, or reject it,
//! always with an [`ApiError`].

use super::{
    AppState,
    context::RequestContext,
    error::{ApiError, Code},
};
use crate::{
    app::App,
    service::{access_tokens::VerifiedToken, events::Actor, sessions::Principal},
};
use memchr::memchr3;
use std::{convert::Infallible, sync::Arc};
use warp::{Filter, Rejection, http::header};

/// A request that a guard has let through.
#[derive(Clone)]
pub struct Request {
    state: Arc<AppState>,
    /// The request.
    pub context: RequestContext,
}

impl Request {
    /// The services.
    pub fn app(&self) -> &App {
        &self.state.app
    }

    /// The public origin.
    pub fn site(&self) -> &super::origin::PublicOrigin {
        &self.state.site
    }

    /// The principal of the bearer token, which is required.
    ///
    /// # Errors
    /// 401, or 400 for two `Authorization` headers (TOK-7, TOK-8).
    pub async fn authenticate(&self) -> Result<Principal, ApiError> {
        let token = self.bearer()?;
        let principal = self.app().sessions().authenticate(token).await?;
        self.context.authenticated(principal.user().id, principal.expires_in);
        Ok(principal)
    }

    /// What the bearer token says, even if it has expired or was revoked. `None` if there is none that we issued.
    ///
    /// # Errors
    /// 400 for two `Authorization` headers.
    pub fn verify_bearer_origin(&self) -> Result<Option<VerifiedToken>, ApiError> {
        match self.bearer() {
            Ok(token) => Ok(self.app().sessions().verify_ignoring_expiry(token)),
            Err(error) if error.code == Code::InvalidRequest => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// The caller as an actor, whose rights the services check and whom they log.
    pub fn actor<'a>(&self, principal: &'a Principal) -> Actor<'a> {
        principal.actor(self.context.from())
    }

    fn bearer(&self) -> Result<&str, ApiError> {
        let mut lines = self.context.headers(&header::AUTHORIZATION);
        // An empty header counts as none: a proxy may add one.
        let line = lines.next().filter(|line| !line.is_empty()).ok_or(Code::MissingToken)?;
        if lines.next().is_some() {
            return Err(ApiError::from(Code::InvalidRequest).message("There are two Authorization headers"));
        }
        // `is_ascii` and `memchr3` read many bytes at once: reading the token byte by byte would take as long as
        // verifying its signature.
        let (scheme, token) = str::from_utf8(line.as_bytes())
            .ok()
            .filter(|line| line.is_ascii())
            .and_then(|line| line.split_once(' '))
            .ok_or(Code::InvalidFormat)?;
        // RFC 9110 §11.4: one blank or more.
        let token = token.trim_start_matches(' ');
        if !scheme.eq_ignore_ascii_case("Bearer") || token.is_empty() || memchr3(b' ', b'\t', b',', token.as_bytes()).is_some() {
            return Err(Code::InvalidFormat.into());
        }
        Ok(token)
    }
}

/// Lets every request through.
pub fn anyone(state: Arc<AppState>) -> impl Filter<Extract = (Request,), Error = Rejection> + Clone + use<> {
    warp::ext::get::<RequestContext>().map(move |context| Request { state: Arc::clone(&state), context })
}

/// Requires a valid access token.
pub fn authenticated(state: Arc<AppState>) -> impl Filter<Extract = (Request, Principal), Error = Rejection> + Clone + use<> {
    authenticated_with(state, |_, _| Ok(()))
}

/// Requires a valid access token and a role with this permission. A permission over other users also requires that
/// the session exists: a token that was forged with a stolen signing key can name any session.
pub fn with_permission(
    state: Arc<AppState>,
    permission: &'static str,
) -> impl Filter<Extract = (Request, Principal), Error = Rejection> + Clone + use<> {
    authenticated_with(state, move |req, principal| require_permission(req, principal, permission))
        .and_then(move |req: Request, principal: Principal| async move {
            if permission.starts_with("users:") && !req.app().sessions().is_live(&principal).await.map_err(ApiError::from)? {
                return Err(Rejection::from(ApiError::from(Code::TokenRevoked)));
            }
            Ok((req, principal))
        })
        .untuple_one()
}

/// Requires a valid access token and that `check` passes.
pub fn authenticated_with(
    state: Arc<AppState>,
    check: impl Fn(&Request, &Principal) -> Result<(), ApiError> + Clone + Send + Sync + 'static,
) -> impl Filter<Extract = (Request, Principal), Error = Rejection> + Clone {
    anyone(state)
        .and_then(move |req: Request| {
            let check = check.clone();
            async move {
                let principal = req.authenticate().await?;
                check(&req, &principal)?;
                Ok::<_, Rejection>((req, principal))
            }
        })
        .untuple_one()
}

/// Requires that a principal has this permission.
///
/// # Errors
/// 403.
pub fn require_permission(req: &Request, principal: &Principal, permission: &str) -> Result<(), ApiError> {
    if principal.may(req.app().accounts().roles(), permission) { Ok(()) } else { Err(ApiError::required_permission(permission)) }
}

/// The value of a query parameter that may be there once.
pub fn query_param(req: &Request, name: &'static str) -> Result<Option<String>, ApiError> {
    let mut values = req.context.query(name);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(ApiError::field(name, "is there twice")),
    }
}

/// The answer to a rejection: the error of a guard, or 405 if the path does not take the method, or 404 if there is
/// no such path. Every rejection has an answer, so the finished API rejects nothing.
pub async fn handle_rejection(rejection: Rejection) -> Result<warp::reply::Response, Infallible> {
    let error = match rejection.find::<ApiError>() {
        Some(error) => error.clone(),
        None => match super::verb::allowed(&rejection) {
            // Any other rejection comes from a filter of warp's own that should not be in use: it is a bug of ours.
            allowed if allowed.is_empty() && !rejection.is_not_found() => Code::Internal.into(),
            allowed if allowed.is_empty() => Code::NotFound.into(),
            allowed => ApiError::from(Code::MethodNotAllowed).header(header::ALLOW, allowed.join(", ")),
        },
    };
    Ok(error.into_response())
}
