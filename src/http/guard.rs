//! Guards: filters that let a request through to its handler, with the caller they found out, or reject it,
//! always with an [`ApiError`].

use super::{
    AppState,
    context::RequestContext,
    credentials::{self, Credential},
    error::{ApiError, Code},
};
use crate::{
    app::App,
    service::{access_tokens::VerifiedToken, events::Actor, principal::Principal, sessions::STEP_UP_MAX_AGE},
};
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
    /// The state that all routes share.
    pub fn state(&self) -> &AppState {
        &self.state
    }

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
        let presented = credentials::bearer(&self.context)?;
        Ok(self.noted(self.app().bearers().authenticate(presented).await?))
    }

    /// Checks that the bearer still may what a permission allows, of a request whose answer goes on.
    ///
    /// # Errors
    /// 401 and 403.
    pub async fn authenticate_again(&self, permission: &str) -> Result<(), ApiError> {
        let principal = self.app().bearers().authenticate_again(credentials::bearer(&self.context)?).await?;
        require_permission(self, &principal, permission)
    }

    /// The principal of the credential that a proxy hands on.
    ///
    /// # Errors
    /// 401, or 400 for two credentials.
    pub async fn authenticate_handed_on(&self) -> Result<Principal, ApiError> {
        let credential = credentials::handed_on(&self.context, self.app().api_keys().takes_basic())?;
        let bearers = self.app().bearers();
        Ok(self.noted(match &credential {
            Credential::Bearer(presented) => bearers.authenticate(presented).await?,
            // A password is never an access token, which would not get into a log as one.
            Credential::Basic(key) => bearers.authenticate_key(key).await.map_err(|error| ApiError::from(error).offering_basic())?,
        }))
    }

    /// The principal of the API key that is the bearer; an access token that was issued for it will not do.
    ///
    /// # Errors
    /// 401, or 400 for two `Authorization` headers.
    pub async fn authenticate_api_key(&self) -> Result<Principal, ApiError> {
        let presented = credentials::bearer(&self.context)?;
        Ok(self.noted(self.app().bearers().authenticate_key(presented).await?))
    }

    /// The principal of the API key of a client of the OAuth endpoints. Its handler charges the key's limit, once it knows
    /// that the request is no evidence of a theft and no revocation (REF-1).
    ///
    /// # Errors
    /// 401, or 400 for two `Authorization` headers.
    pub async fn authenticate_client(&self) -> Result<Principal, ApiError> {
        let credential = credentials::client(&self.context)?;
        Ok(self.noted(self.app().bearers().authenticate_key_uncharged(credential.as_str()).await?))
    }

    fn noted(&self, principal: Principal) -> Principal {
        self.context.authenticated(principal.user().id, principal.expires_in);
        principal
    }

    /// What the bearer token says, even if it has expired or was revoked. `None` if there is none that we issued.
    ///
    /// # Errors
    /// 400 for two `Authorization` headers.
    pub fn verify_bearer_origin(&self) -> Result<Option<VerifiedToken>, ApiError> {
        match credentials::bearer(&self.context) {
            Ok(token) => Ok(self.app().sessions().verify_ignoring_expiry(token)),
            Err(error) if error.code == Code::InvalidRequest => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// The caller as an actor, whose rights the services check and whom they log.
    pub fn actor<'a>(&self, principal: &'a Principal) -> Actor<'a> {
        principal.actor(self.context.from())
    }
}

/// Lets every request through.
pub fn anyone(state: Arc<AppState>) -> impl Filter<Extract = (Request,), Error = Rejection> + Clone + use<> {
    warp::ext::get::<RequestContext>().map(move |context| Request { state: Arc::clone(&state), context })
}

/// Requires a valid access token or API key.
pub fn authenticated(state: Arc<AppState>) -> impl Filter<Extract = (Request, Principal), Error = Rejection> + Clone + use<> {
    authenticated_with(state, |_, _| Ok(()))
}

/// Requires a valid access token or API key with this permission. A permission over other users also requires that the
/// session exists: a token that was forged with a stolen signing key can name any session.
pub fn with_permission(
    state: Arc<AppState>,
    permission: &'static str,
) -> impl Filter<Extract = (Request, Principal), Error = Rejection> + Clone + use<> {
    require_live(authenticated_with(state, move |req, principal| require_permission(req, principal, permission)), permission)
}

/// Requires a valid access token. An API key will not do (KEY-5).
pub fn session(state: Arc<AppState>) -> impl Filter<Extract = (Request, Principal), Error = Rejection> + Clone + use<> {
    authenticated_with(state, |_, principal| require_session(principal))
}

/// Requires a valid access token with this permission. An API key will not do.
pub fn session_with_permission(
    state: Arc<AppState>,
    permission: &'static str,
) -> impl Filter<Extract = (Request, Principal), Error = Rejection> + Clone + use<> {
    let check = move |req: &Request, principal: &Principal| {
        require_session(principal)?;
        require_permission(req, principal, permission)
    };
    require_live(authenticated_with(state, check), permission)
}

/// Requires a valid access token of a session that began minutes ago: what is done here outlives the session.
pub fn fresh(state: Arc<AppState>) -> impl Filter<Extract = (Request, Principal), Error = Rejection> + Clone + use<> {
    require_fresh(session(state))
}

/// Requires the same, and this permission.
pub fn fresh_with_permission(
    state: Arc<AppState>,
    permission: &'static str,
) -> impl Filter<Extract = (Request, Principal), Error = Rejection> + Clone + use<> {
    require_fresh(session_with_permission(state, permission))
}

/// Requires an API key.
pub fn api_key(state: Arc<AppState>) -> impl Filter<Extract = (Request, Principal), Error = Rejection> + Clone + use<> {
    let authenticate = async |req: Request| {
        let principal = req.authenticate_api_key().await?;
        Ok::<_, Rejection>((req, principal))
    };
    anyone(state).and_then(authenticate).untuple_one()
}

/// Requires an API key with this permission, in a form that clients of OAuth endpoints send.
pub fn client_with_permission(
    state: Arc<AppState>,
    permission: &'static str,
) -> impl Filter<Extract = (Request, Principal), Error = Rejection> + Clone + use<> {
    let authenticate = move |req: Request| async move {
        let principal = req.authenticate_client().await?;
        require_permission(&req, &principal, permission)?;
        Ok::<_, Rejection>((req, principal))
    };
    anyone(state).and_then(authenticate).untuple_one()
}

/// Requires a valid access token or API key, and that `check` passes.
fn authenticated_with(
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

/// Requires that a principal with a permission over other users, or over what is known of them, has a session that goes on.
fn require_live(
    guard: impl Filter<Extract = (Request, Principal), Error = Rejection> + Clone,
    permission: &'static str,
) -> impl Filter<Extract = (Request, Principal), Error = Rejection> + Clone {
    let live = move |req: Request, principal: Principal| async move {
        let is_over_others = permission.starts_with("users:") || permission.starts_with("audit:");
        if is_over_others && !req.app().sessions().is_live(&principal).await.map_err(ApiError::from)? {
            return Err(Rejection::from(ApiError::from(Code::TokenRevoked)));
        }
        Ok((req, principal))
    };
    guard.and_then(live).untuple_one()
}

fn require_fresh(
    guard: impl Filter<Extract = (Request, Principal), Error = Rejection> + Clone,
) -> impl Filter<Extract = (Request, Principal), Error = Rejection> + Clone {
    let fresh = async |req: Request, principal: Principal| {
        if !req.app().sessions().is_fresh(&principal).await.map_err(ApiError::from)? {
            return Err(Rejection::from(ApiError::step_up_required(STEP_UP_MAX_AGE)));
        }
        Ok((req, principal))
    };
    guard.and_then(fresh).untuple_one()
}

fn require_session(principal: &Principal) -> Result<(), ApiError> {
    if principal.api_key().is_some() { Err(Code::SessionRequired.into()) } else { Ok(()) }
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
