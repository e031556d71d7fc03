//! The steps before and after the routes: the client's address, the checks that need no route, the log, the headers
//! of the answer.

use super::{
    assets,
    context::{Connection, RequestContext, client_address},
    cors,
    error::{ApiError, Code},
    gate, guard, head,
    headers::add_security_headers,
    health, measured, oauth_error,
    origin::{PublicOrigin, stated_origin},
    routes::api,
    state::AppState,
};
use crate::{
    domain::{By, Event, Foreign, Kind},
    service::events::OncePerMinute,
};
use futures_util::{FutureExt, future::BoxFuture};
use hyper::{body::Incoming, service::Service as _};
use std::{convert::Infallible, net::IpAddr, panic::AssertUnwindSafe, sync::Arc, time::Instant};
use tracing::{Instrument, Level, Span};
use warp::{
    Filter,
    http::{HeaderMap, Method, Request, request::Parts},
    reply::Response,
};

/// All routes, with an answer to every rejection.
fn routes(state: &Arc<AppState>) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + use<> {
    let routes = api(state).or(health::route(state)).unify();
    #[cfg(feature = "metrics")]
    let routes = routes.or(super::metrics::route(state)).unify();
    // Assets come last: they match every path that the API does not.
    routes.or(assets::assets(state)).unify().recover(guard::handle_rejection).unify()
}

/// Answers requests of connections from a peer. The moment is when a request was begun: to look at the clock again would cost
/// more than to count.
pub type Service = Arc<dyn Fn(IpAddr, Arc<dyn Connection>, Request<Incoming>, Instant) -> BoxFuture<'static, Response> + Send + Sync>;

/// Answers requests of the main listener.
pub fn service(web: Arc<AppState>) -> Service {
    let service = hyper_util::service::TowerToHyperService::new(warp::service(routes(&web)));
    if let Some(metrics) = web.app.metrics() {
        metrics.count_requests(&measured::labels());
    }
    Arc::new(move |peer, connection, request, begun| {
        let (mut parts, body) = request.into_parts();
        let headers = std::mem::take(&mut parts.headers);
        let (client, is_proxied) = client_of(&web.site, peer, &parts.method, &headers);
        let context = RequestContext::over(connection, is_proxied, (peer, client), headers, parts.uri.clone());
        let method = parts.method.clone();
        let span = span_of(&context, method.is_safe() && !tracing::enabled!(Level::DEBUG));
        let routed = match (gate::Style::of(context.path()), before_routing(&web.site, &context, &parts)) {
            // A proxy's question comes with the method, the query and the body of the request that it is about.
            (Some(style), _) => Routed::Question(style),
            (None, Some(response)) => Routed::Answered(response),
            (None, None) => {
                parts.extensions.insert(context.clone());
                Routed::Route(service.call(Request::from_parts(parts, body)))
            }
        };
        let web = Arc::clone(&web);
        let answer = async move {
            let response = match routed {
                Routed::Question(style) => {
                    let answered = gate::answer(Arc::clone(&web), context.clone(), style);
                    catch_panic(answered.map(Ok)).await
                }
                Routed::Route(answer) => catch_panic(answer).await,
                Routed::Answered(response) => response,
            };
            finish(&web, &context, &method, begun, response)
        };
        answer.instrument(span).boxed()
    })
}

/// The span of a request's lines in the log. What changes something is logged with its request. What reads is not logged at
/// all, but for errors, which name it: a span would cost it a tenth of its time.
fn span_of(context: &RequestContext, is_silent: bool) -> Span {
    if is_silent {
        Span::none()
    } else {
        tracing::info_span!("request", id = context.request_id(), client_id = context.client_request_id())
    }
}

/// Where a request goes.
enum Routed<A> {
    /// To the gate.
    Question(gate::Style),
    /// To a route, or to none.
    Route(A),
    /// It has its answer already.
    Answered(Response),
}

/// The address of the client of a request from `peer`, and whether `peer` is a proxy that speaks for it.
fn client_of(site: &PublicOrigin, peer: IpAddr, method: &Method, headers: &HeaderMap) -> (IpAddr, bool) {
    let trusted = &site.trusted_proxies;
    let is_proxied = trusted.iter().any(|net| net.contains(&peer));
    if !is_proxied && headers.contains_key("x-forwarded-for") {
        warn_of_untrusted_proxy(peer);
    }
    let client = client_address(peer, headers, trusted).unwrap_or_else(|proxy| {
        // What reads is not limited, and whoever is on the proxy's machine may ask for `/health`.
        if !method.is_safe() {
            warn_of_silent_proxy(proxy);
        }
        proxy
    });
    (client, is_proxied)
}

/// Warns, at most once a minute, that the `X-Forwarded-For` of a peer is ignored. If the peer is a proxy, all its
/// clients share the limits of one.
fn warn_of_untrusted_proxy(peer: IpAddr) {
    static WARNING: OncePerMinute = OncePerMinute::new();
    if WARNING.is_due() {
        tracing::warn!(%peer, "X-Forwarded-For from a peer that is not trusted is ignored: if it is your proxy, list it in server.trusted_proxies");
    }
}

/// Warns, at most once a minute, that a trusted proxy does not name its clients, so that all of them share the limits
/// of one.
fn warn_of_silent_proxy(proxy: IpAddr) {
    static WARNING: OncePerMinute = OncePerMinute::new();
    if WARNING.is_due() {
        tracing::warn!(%proxy, "a trusted proxy sent no X-Forwarded-For with an address that can be read, so its clients share its limits: let it send one");
    }
}

/// The answer to a request that no route sees: an error or the answer to a preflight.
fn before_routing(site: &PublicOrigin, context: &RequestContext, parts: &Parts) -> Option<Response> {
    match head::check_request_line(parts, context) {
        Err(error) => Some(error.into_response()),
        Ok(()) if gate::is_lost_question(context) => {
            let message =
                "This is a proxy's question, and only /gate/forward and /gate/nginx answer those: correct the proxy's configuration";
            Some(ApiError::from(Code::Forbidden).message(message).into_response())
        }
        Ok(()) => cors::preflight(site, context, &parts.method),
    }
}

/// Completes a response: renders and logs its error, adds the headers, logs the answer.
fn finish(state: &AppState, context: &RequestContext, method: &Method, begun: Instant, mut response: Response) -> Response {
    let path = context.path();
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        // Errors that may be signs of an attack are logged as events (LOG-3). The services log their own.
        let kind = match error.code {
            Code::RateLimited => Some(Kind::RateLimited),
            Code::CsrfFailed => Some(Kind::CsrfFailed),
            Code::Forbidden => Some(Kind::Forbidden),
            _ => None,
        };
        if let Some(kind) = kind.filter(|kind| state.app.refusals().is_first(*kind, context.from())) {
            let actor = context.user().map_or(By::Anyone, By::User);
            let mut event = Event::new(kind, actor).refused(context.request_id(), redact_path(path)).from(context.from());
            if kind == Kind::CsrfFailed {
                event = with_origin(state, context, event);
            }
            state.app.audit().note(event);
        }
        response = oauth_error::render(error, path, context.request_id());
    }
    add_security_headers(&state.site, context, path, &mut response);
    let status = response.status().as_u16();
    if let Some(metrics) = state.app.metrics() {
        metrics.answered(measured::row_of(method, path), status, begun.elapsed());
    }
    if tracing::enabled!(Level::DEBUG) {
        let user = context.user().map(tracing::field::display);
        let path = redact_path(path);
        tracing::debug!(%method, path, status, user, from = %context.from(), micros = begun.elapsed().as_micros(), "answered");
    }
    response
}

/// Adds to the log where a request came from, and which setting would let it in: an app has its own.
fn with_origin(state: &AppState, context: &RequestContext, event: Event) -> Event {
    if let Some(app) = gate::app_asked_about(state, context) {
        let (seen, own) = (stated_origin(context), app.origin.as_str().to_owned());
        return event.app(app.name.as_str()).foreign(Foreign { seen, own, see: "gate.app.trusted_origins".into() });
    }
    match state.site.foreign_origin(context) {
        Some(foreign) => event.foreign(foreign),
        None => event,
    }
}

/// Turns a handler's panic into a 500 for this request alone (HTTP-14).
pub(super) async fn catch_panic(answer: impl Future<Output = Result<Response, Infallible>>) -> Response {
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => ApiError::from(Code::Internal).into_response(),
    }
}

/// A path as the log may show it. Segments longer than an id, which none of our own paths has, are replaced: a client
/// may have put a token there (LOG-1).
fn redact_path(path: &str) -> String {
    let segments: Vec<_> = path.split('/').map(|segment| if segment.len() > 32 { "…" } else { segment }).collect();
    segments.join("/")
}
