//! Answers to proxies' questions, in the two styles that proxies understand.

use super::{
    entry,
    headers::{add_identity, redirect},
    page,
    question::{FORWARDED_METHOD, FORWARDED_URI, Intent, Question, is_proxys},
    verdict::{Verdict, decide},
};
use crate::{
    domain::gate::App,
    http::{
        apps::refusal,
        context::RequestContext,
        error::{ApiError, Code},
        state::AppState,
    },
    service::gate::enter_address,
};
use std::sync::Arc;
use warp::{
    http::{HeaderValue, header},
    reply::Response,
};

/// How a proxy takes answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// It hands on whatever is not a yes.
    Forward,
    /// nginx's `auth_request`: anything but 2xx, 401 and 403 is an error of its own, and bodies are dropped.
    Nginx,
}

impl Style {
    /// The style of a path that is asked; `None` for any other path.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        match path {
            "/gate/forward" => Some(Self::Forward),
            "/gate/nginx" => Some(Self::Nginx),
            _ => None,
        }
    }
}

/// The longest address that a visitor is sent to, so that it fits with the rest of the head into 4 kB.
const MAX_LOCATION: usize = 2048;

/// Whether a request is a proxy's question that lands beside the gate, where a 2xx would let everybody in. `verify` is asked
/// by proxies, too, and answers for itself.
pub fn is_lost_question(context: &RequestContext) -> bool {
    let is_question = [FORWARDED_METHOD, FORWARDED_URI].iter().all(|name| context.headers(name).next().is_some());
    is_question && Style::of(context.path()).is_none() && context.path() != "/api/auth/verify"
}

/// The app that a proxy's question is about.
pub fn app_asked_about<'a>(state: &'a AppState, context: &RequestContext) -> Option<&'a App> {
    Style::of(context.path())?;
    state.app.gate().gate().at_host(Question::read(context)?.host).map(AsRef::as_ref)
}

/// Answers a proxy's question. Its body is not read.
pub async fn answer(state: Arc<AppState>, context: RequestContext, style: Style) -> Response {
    if !is_proxys(&state.site, &context) {
        return forbidden("Only the proxy in front of an app may ask here: see the log").into_response();
    }
    let Some(question) = Question::read(&context) else {
        let message = "A question has X-Forwarded-Method, X-Forwarded-Host and X-Forwarded-Uri, each once";
        return forbidden(message).into_response();
    };
    let Some(app) = state.app.gate().gate().at_host(question.host).map(Arc::clone) else {
        return forbidden("There is no app at this host: [[gate.app]] has none with this origin").into_response();
    };
    if question.path().starts_with("/.doorward/") {
        return match style {
            Style::Forward => entry::in_band(&state, &app, &question, &context).await,
            // nginx sends these here by a route of its own.
            Style::Nginx => forbidden("This path is Doorward's own").into_response(),
        };
    }
    match decide(&state.app, &app, &question, &context).await {
        Verdict::Yes(visitor) => {
            let mut response = Response::default();
            add_identity(response.headers_mut(), visitor.as_ref().map(super::verdict::Visitor::identity).as_ref());
            response
        }
        Verdict::Nobody => sign_in(&state, &app, &question, &context, style),
        Verdict::Missing(missing) => denied(&state, &app, &question, &context, style, &missing),
        Verdict::Refused(error) => refused(error, style).into_response(),
    }
}

fn forbidden(message: &'static str) -> ApiError {
    ApiError::from(Code::Forbidden).message(message)
}

/// nginx makes a 500 of anything but 401 and 403.
fn refused(error: ApiError, style: Style) -> ApiError {
    if style == Style::Forward || matches!(error.code.status(), 401 | 403) { error } else { error.as_refusal() }
}

/// The answer for nobody: the way to the sign-in page for who can follow it, 401 for anything else.
fn sign_in(state: &AppState, app: &App, question: &Question<'_>, context: &RequestContext, style: Style) -> Response {
    match (question.intent(context), style) {
        (Intent::Navigation, style) => {
            // Only a GET can be repeated after the sign-in.
            let target = if question.is_repeatable() { question.target } else { "/" };
            let address = Some(enter_address(app, target)).filter(|address| address.len() <= MAX_LOCATION && entry::is_target(target));
            let address = address.unwrap_or_else(|| enter_address(app, "/"));
            match style {
                Style::Forward => redirect(question.is_repeatable(), &address),
                Style::Nginx => with_location(Code::SignInRequired, &address),
            }
        }
        (Intent::Frame, Style::Forward) => page::leave_frame(state, context, &enter_address(app, "/")),
        _ => {
            let error = ApiError::from(Code::SignInRequired);
            let offers_basic = app.takes_basic && !Question::is_browsers(context);
            if offers_basic { error.offering_basic() } else { error }.into_response()
        }
    }
}

/// The answer for who is known and may not.
fn denied(
    state: &AppState,
    app: &App,
    question: &Question<'_>,
    context: &RequestContext,
    style: Style,
    missing: &crate::domain::gate::Missing,
) -> Response {
    if question.intent(context) != Intent::Navigation {
        return refusal(missing).into_response();
    }
    let target = if question.is_repeatable() && entry::is_target(question.target) { question.target } else { "/" };
    let request = state.app.gate().request(app, target.to_owned(), None);
    let address = format!("{}/gate/denied?request={request}", state.site.url);
    match style {
        Style::Forward => page::denied(state, context, app, &address),
        Style::Nginx => with_location(Code::Forbidden, &address),
    }
}

/// nginx follows no address of ours, so it is told one beside the status that it knows.
fn with_location(code: Code, address: &str) -> Response {
    let mut response = code.on(Response::default());
    if let Ok(address) = HeaderValue::from_str(address) {
        response.headers_mut().insert(header::LOCATION, address);
    }
    response
}
