//! Guards: filters that let a request through to its handler, with what they found out about it,
//! or reject it with an [`ApiError`] and nothing else.

use super::{
    Web,
    error::{ApiError, Code},
    exchange::Exchange,
    routes::{Access, ROUTES},
};
use crate::{
    app::App,
    domain::{Permission, Role},
    service::{
        access_tokens::VerifiedToken,
        accounts::Actor,
        events::{By, Event, Kind},
        sessions::Principal,
    },
};
use memchr::memchr3;
use std::{convert::Infallible, sync::Arc};
use warp::{Filter, Rejection, http::header};

/// A request that may go on.
#[derive(Clone)]
pub struct Call {
    web: Arc<Web>,
    /// The request.
    pub exchange: Exchange,
}

impl Call {
    /// The services.
    pub fn app(&self) -> &App {
        &self.web.app
    }

    /// The site.
    pub fn site(&self) -> &super::site::Site {
        &self.web.site
    }

    /// The principal of the bearer token, which must be there.
    ///
    /// # Errors
    /// 401, or 400 for two `Authorization` headers (TOK-7, TOK-8).
    pub fn authenticate(&self) -> Result<Principal, ApiError> {
        let token = self.bearer()?;
        let principal = self.app().sessions.authenticate(token)?;
        self.exchange.authenticated(principal.user.id, principal.expires_in);
        Ok(principal)
    }

    /// What the bearer token proves even if it is over or revoked; nothing without one of ours.
    ///
    /// # Errors
    /// 400 for two `Authorization` headers.
    pub fn bearers_origin(&self) -> Result<Option<VerifiedToken>, ApiError> {
        match self.bearer() {
            Ok(token) => Ok(self.app().sessions.verify_origin(token)),
            Err(error) if error.code == Code::InvalidRequest => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Who acts, for the services to judge and to note.
    pub fn actor<'a>(&self, principal: &'a Principal) -> Actor<'a> {
        Actor::User(&principal.user, self.exchange.from())
    }

    fn bearer(&self) -> Result<&str, ApiError> {
        let mut lines = self.exchange.headers(&header::AUTHORIZATION);
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
pub fn anyone(web: Arc<Web>) -> impl Filter<Extract = (Call,), Error = Rejection> + Clone + use<> {
    warp::ext::get::<Exchange>().map(move |exchange| Call { web: Arc::clone(&web), exchange })
}

/// Who has a valid access token.
pub fn authenticated(web: Arc<Web>) -> impl Filter<Extract = (Call, Principal), Error = Rejection> + Clone + use<> {
    checked(web, |_, _| Ok(()))
}

/// Who has a valid access token and a role that permits this. For what gives power over others, the
/// session must go on, too: who holds the signing key can name any.
pub fn with_permission(
    web: Arc<Web>,
    permission: &'static str,
) -> impl Filter<Extract = (Call, Principal), Error = Rejection> + Clone + use<> {
    checked(web, move |call, principal| {
        permits(call, principal, permission)?;
        if permission.starts_with("users:") && !call.app().sessions.is_live(principal)? {
            return Err(Code::TokenRevoked.into());
        }
        Ok(())
    })
}

/// Who has a valid access token, one of the roles in `?role=a,b` and the permission in
/// `?permission=x`, as far as they are asked for. `admin` passes every question for a role.
pub fn as_asked(web: Arc<Web>) -> impl Filter<Extract = (Call, Principal), Error = Rejection> + Clone + use<> {
    checked(web, |call, principal| {
        let configured = &call.app().settings.roles;
        if let Some(unknown) = call.exchange.query_names().find(|name| name != "role" && name != "permission") {
            let name = if is_plain(&unknown) { unknown.as_str() } else { "?" };
            return Err(mistaken(call, name, "is not a parameter: ask for role, permission or nothing"));
        }
        if let Some(roles) = question(call, "role")? {
            let malformed = |_| mistaken(call, "role", "must be role names with commas between them");
            let roles: Vec<Role> = roles.split(',').map(str::parse).collect::<Result<_, _>>().map_err(malformed)?;
            if roles.iter().any(|role| !configured.contains(role)) {
                return Err(mistaken(call, "role", "names a role that is not in [roles]"));
            }
            if !principal.user.role.is_admin() && !roles.contains(&principal.user.role) {
                let names: Vec<_> = roles.iter().map(Role::as_str).collect();
                return Err(ApiError::required_roles(&names));
            }
        }
        if let Some(permission) = question(call, "permission")? {
            let permission = Permission::exact(&permission)
                .map_err(|_| mistaken(call, "permission", "must be one permission, such as articles:read"))?;
            let is_ours = ROUTES.iter().any(|route| matches!(route.access, Access::Permission(known) if known == permission.as_str()));
            if !is_ours && !configured.know(permission.as_str()) {
                return Err(mistaken(call, "permission", "is one that no role in [roles] names"));
            }
            permits(call, principal, permission.as_str())?;
        }
        Ok(())
    })
}

fn question(call: &Call, name: &'static str) -> Result<Option<String>, ApiError> {
    asked(call, name).map_err(|_| mistaken(call, name, "is there twice"))
}

/// A question that nobody can have meant: whoever wrote it into a proxy's configuration must be told, and let
/// nobody in until it is mended.
fn mistaken(call: &Call, parameter: &str, what: &'static str) -> ApiError {
    if call.app().refusals.is_news(Kind::QuestionMistaken, call.exchange.from()) {
        let asked = format!("{}?{parameter}", call.exchange.path());
        let event = Event::new(Kind::QuestionMistaken, By::Anyone).why(what).from(call.exchange.from());
        event.refused(call.exchange.request_id(), asked).write();
    }
    ApiError::field(parameter, what)
}

fn is_plain(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn checked(
    web: Arc<Web>,
    check: impl Fn(&Call, &Principal) -> Result<(), ApiError> + Clone + Send + Sync + 'static,
) -> impl Filter<Extract = (Call, Principal), Error = Rejection> + Clone {
    anyone(web)
        .and_then(move |call: Call| {
            let verdict = call.authenticate().and_then(|principal| check(&call, &principal).map(|()| principal));
            async move { verdict.map(|principal| (call, principal)).map_err(Rejection::from) }
        })
        .untuple_one()
}

fn permits(call: &Call, principal: &Principal, permission: &str) -> Result<(), ApiError> {
    if call.app().settings.roles.allows(&principal.user.role, permission) { Ok(()) } else { Err(ApiError::required_permission(permission)) }
}

/// The value of a query parameter that may be there once.
pub fn asked(call: &Call, name: &'static str) -> Result<Option<String>, ApiError> {
    let mut values = call.exchange.query(name);
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
    Ok(error.carry())
}
