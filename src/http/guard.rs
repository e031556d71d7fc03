//! Guards: filters that let a request through to its handler, with what they found out about it,
//! or reject it with an [`ApiError`] and nothing else.

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

/// A request that may go on.
#[derive(Clone)]
pub struct Request {
    web: Arc<AppState>,
    /// The request.
    pub context: RequestContext,
}

impl Request {
    /// The services.
    pub fn app(&self) -> &App {
        &self.web.app
    }

    /// The site.
    pub fn site(&self) -> &super::origin::PublicOrigin {
        &self.web.site
    }

    /// The principal of the bearer token, which must be there.
    ///
    /// # Errors
    /// 401, or 400 for two `Authorization` headers (TOK-7, TOK-8).
    pub async fn authenticate(&self) -> Result<Principal, ApiError> {
        let token = self.bearer()?;
        let principal = self.app().sessions().authenticate(token).await?;
        self.context.authenticated(principal.user().id, principal.expires_in);
        Ok(principal)
    }

    /// What the bearer token proves even if it is over or revoked; nothing without one of ours.
    ///
    /// # Errors
    /// 400 for two `Authorization` headers.
    pub fn bearers_origin(&self) -> Result<Option<VerifiedToken>, ApiError> {
        match self.bearer() {
            Ok(token) => Ok(self.app().sessions().verify_ignoring_expiry(token)),
            Err(error) if error.code == Code::InvalidRequest => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Who acts, for the services to judge and to note.
    pub fn actor<'a>(&self, principal: &'a Principal) -> Actor<'a> {
        Actor::User(principal.user(), self.context.from())
    }

    fn bearer(&self) -> Result<&str, ApiError> {
        let mut lines = self.context.headers(&header::AUTHORIZATION);
        // A proxy may pass on an empty line where there was none.
        let line = lines.next().filter(|line| !line.is_empty()).ok_or(Code::MissingToken)?;
        if lines.next().is_some() {
            return Err(ApiError::from(Code::InvalidRequest).message("There are two Authorization headers"));
        }
        // Byte by byte, a look at the token would take as long as its signature does.
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

/// Anyone.
pub fn anyone(web: Arc<AppState>) -> impl Filter<Extract = (Request,), Error = Rejection> + Clone + use<> {
    warp::ext::get::<RequestContext>().map(move |context| Request { web: Arc::clone(&web), context })
}

/// Who has a valid access token.
pub fn authenticated(web: Arc<AppState>) -> impl Filter<Extract = (Request, Principal), Error = Rejection> + Clone + use<> {
    checked(web, |_, _| Ok(()))
}

/// Who has a valid access token and a role that permits this. For what gives power over others, the
/// session must go on, too: who holds the signing key can name any.
pub fn with_permission(
    web: Arc<AppState>,
    permission: &'static str,
) -> impl Filter<Extract = (Request, Principal), Error = Rejection> + Clone + use<> {
    checked(web, move |req, principal| permits(req, principal, permission))
        .and_then(move |req: Request, principal: Principal| async move {
            if permission.starts_with("users:") && !req.app().sessions().is_live(&principal).await.map_err(ApiError::from)? {
                return Err(Rejection::from(ApiError::from(Code::TokenRevoked)));
            }
            Ok((req, principal))
        })
        .untuple_one()
}

/// Who has a valid access token and passes a check.
pub fn checked(
    web: Arc<AppState>,
    check: impl Fn(&Request, &Principal) -> Result<(), ApiError> + Clone + Send + Sync + 'static,
) -> impl Filter<Extract = (Request, Principal), Error = Rejection> + Clone {
    anyone(web)
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

/// Whether a principal's role permits this.
///
/// # Errors
/// 403.
pub fn permits(req: &Request, principal: &Principal, permission: &str) -> Result<(), ApiError> {
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

/// The answer to a rejection: what a guard said, or that the path does not take the method, or that
/// there is no such path. Total: the finished API has nothing left to reject.
pub async fn answer(rejection: Rejection) -> Result<warp::reply::Response, Infallible> {
    let error = match rejection.find::<ApiError>() {
        Some(error) => error.clone(),
        None => match super::verb::allowed(&rejection) {
            // A filter of warp's own that rejects with something else would be a bug of ours.
            allowed if allowed.is_empty() && !rejection.is_not_found() => Code::Internal.into(),
            allowed if allowed.is_empty() => Code::NotFound.into(),
            allowed => ApiError::from(Code::MethodNotAllowed).header(header::ALLOW, allowed.join(", ")),
        },
    };
    Ok(error.into_response())
}
