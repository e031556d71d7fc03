//! The verdict on a question, in the order of its rules: what is open to everybody, who asks, where the request comes from,
//! what they may.

use super::{
    cookies::{self, Presented},
    headers::Identity,
    question::Question,
};
use crate::{
    app::App as Services,
    domain::{
        Permission, User,
        gate::{App, Missing, Standing},
    },
    http::{
        context::RequestContext,
        credentials,
        error::{ApiError, Code},
        origin::SEC_FETCH_SITE,
    },
};
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use warp::http::{HeaderName, header};

const DOORWARD_KEY: HeaderName = HeaderName::from_static("x-doorward-key");

/// What is decided of a question.
pub enum Verdict {
    /// Let it through, with this visitor's identity or with nobody's.
    Yes(Option<Visitor>),
    /// Nobody who is known asks.
    Nobody,
    /// They are known, and lack this.
    Missing(Missing),
    /// Let nobody through, and say why.
    Refused(ApiError),
}

/// Whoever asks.
pub struct Visitor {
    user: Arc<User>,
    permissions: Arc<[Permission]>,
    /// Whether a browser sends the credential along by itself, whatever page makes it.
    is_ambient: bool,
}

impl Visitor {
    /// Whether they may enter an app by this path.
    pub fn may_enter(&self, services: &Services, app: &App, path: &str) -> bool {
        app.admit_to(path, Standing::of(&self.user), services.gate().roles()).is_ok()
    }

    /// What an app is told of them.
    pub fn identity(&self) -> Identity<'_> {
        let listed: Vec<_> = self.permissions.iter().map(Permission::as_str).collect();
        Identity { user: &self.user, permissions: listed.join(",") }
    }
}

/// Decides a question about an app.
pub async fn decide(services: &Services, app: &App, question: &Question<'_>, context: &RequestContext) -> Verdict {
    let path = question.path();
    if app.public_entry(question.method, path).is_some() {
        return match holder_of_pass(services, app, context).await {
            Ok(visitor) => Verdict::Yes(visitor),
            Err(error) => Verdict::Refused(error),
        };
    }
    let visitor = match identify(services, app, context).await {
        Ok(Some(visitor)) => visitor,
        Ok(None) => return Verdict::Nobody,
        Err(error) => return Verdict::Refused(error),
    };
    if visitor.is_ambient && question.is_unsafe(context) && !comes_from(app, context) {
        return Verdict::Refused(Code::CsrfFailed.into());
    }
    match app.admit_to(path, Standing::of(&visitor.user), services.gate().roles()) {
        Ok(()) => Verdict::Yes(Some(visitor)),
        Err(refused) => Verdict::Missing(refused.missing),
    }
}

/// Whoever asks: by an API key, or else by a pass.
async fn identify(services: &Services, app: &App, context: &RequestContext) -> Result<Option<Visitor>, ApiError> {
    match presented_key(app, context)? {
        Some((key, is_ambient)) => holder_of_key(services, app, &key, is_ambient).await.map(Some),
        None => holder_of_pass(services, app, context).await,
    }
}

/// Who has the pass that a browser brings, if there is one that is in force.
///
/// # Errors
/// 403 for two of them: one was planted. The store's.
pub async fn holder_of_pass(services: &Services, app: &App, context: &RequestContext) -> Result<Option<Visitor>, ApiError> {
    let pass = match cookies::pass(context, &app.origin) {
        Presented::None => return Ok(None),
        Presented::Once(pass) => pass,
        Presented::Twice => return Err(ApiError::from(Code::Forbidden).message("The pass is there twice: delete the cookies of this site")),
    };
    let holder = services.gate().holder_of(app, pass.expose_secret()).await?;
    let permissions = |user: &User| services.gate().roles().permissions(&user.role);
    Ok(holder.map(|holder| Visitor { permissions: permissions(&holder.user), user: holder.user, is_ambient: true }))
}

/// The API key of a request, and whether a browser would send it by itself.
fn presented_key(app: &App, context: &RequestContext) -> Result<Option<(SecretString, bool)>, ApiError> {
    if !app.takes_keys {
        return Ok(None);
    }
    let name = DOORWARD_KEY;
    let mut keys = context.headers(&name).filter(|line| !line.is_empty());
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) => Some(key.to_str().map_err(|_| Code::InvalidToken)?),
        (None, _) => None,
        (Some(_), Some(_)) => return Err(two_keys()),
    };
    let basic = if app.takes_basic { credentials::basic(context)? } else { None };
    match (key, basic) {
        (Some(key), None) => Ok(Some((key.into(), false))),
        (None, basic) => Ok(basic.map(|key| (key, true))),
        (Some(_), Some(_)) => Err(two_keys()),
    }
}

fn two_keys() -> ApiError {
    ApiError::from(Code::InvalidToken).unchallenged().message("There are two keys: send one of them")
}

async fn holder_of_key(services: &Services, app: &App, key: &SecretString, is_ambient: bool) -> Result<Visitor, ApiError> {
    let refused = |error: ApiError| if is_ambient { error.unchallenged().offering_basic() } else { error.unchallenged() };
    let principal = services.bearers().authenticate_key(key.expose_secret()).await.map_err(|error| refused(error.into()))?;
    let opens = principal.api_key().is_some_and(|key| key.opens(&app.name));
    let permissions = principal.permissions(services.gate().roles());
    if opens {
        Ok(Visitor { user: Arc::clone(principal.user()), permissions, is_ambient })
    } else {
        Err(refused(Code::InvalidToken.into()))
    }
}

/// Whether a request comes from the app's own pages, or from others that it trusts (Fetch standard, `Sec-Fetch-Site`).
/// Browsers say where from with whatever changes something; a program says nothing.
fn comes_from(app: &App, context: &RequestContext) -> bool {
    let mut origins = context.headers(&header::ORIGIN).peekable();
    if origins.peek().is_some() {
        return context.header(&header::ORIGIN).is_some_and(|origin| app.trusts(origin));
    }
    match context.headers(&SEC_FETCH_SITE).next() {
        None => true,
        Some(_) => matches!(context.header(&SEC_FETCH_SITE), Some("none" | "same-origin")),
    }
}
