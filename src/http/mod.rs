//! The API over HTTP: what a request is before any route sees it, the routes, and what every answer
//! carries. The only place besides `server.rs` that knows warp.

mod assets;
mod auth;
mod body;
mod cookie;
mod cors;
pub mod error;
mod exchange;
mod guard;
mod head;
mod health;
mod invites;
pub mod routes;
mod sessions;
mod site;
#[cfg(test)]
mod tests;
mod users;
mod verb;

pub use exchange::Connection;
pub use head::{Fragment, TwoLengths};
pub use site::Site;

use crate::{
    app::App,
    service::events::{By, Event, Kind},
};
use error::{ApiError, Code};
use exchange::{Exchange, client_address};
use futures_util::{
    FutureExt,
    future::{Either, ready},
};
use hyper::{body::Incoming, service::Service};
use parking_lot::Mutex;
use serde::Serialize;
use std::{
    convert::Infallible,
    net::IpAddr,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::{Instrument, Level, Span};
use warp::{
    Filter,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header, request::Parts},
    reply::{Reply, Response},
};

/// The services and the site they are served as.
pub struct Web {
    /// The services.
    pub app: Arc<App>,
    /// The site.
    pub site: Site,
}

/// What a handler gives: an answer or a refusal.
type Answer = Result<Response, ApiError>;

/// A 200 with a JSON body. In room that most answers fit into: grown byte by byte, it would be moved
/// four times.
fn json(body: &impl Serialize) -> Response {
    let mut bytes = Vec::with_capacity(1000);
    if let Err(error) = serde_json::to_writer(&mut bytes, body) {
        return ApiError::from(Code::Internal).because(error).carry();
    }
    let mut response = Response::new(bytes.into());
    // With room for what `dress` adds.
    *response.headers_mut() = HeaderMap::with_capacity(14);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A 204.
fn empty() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// A refusal travels on as a response and is rendered where the request's id is known.
fn reply(answer: Answer) -> Response {
    answer.unwrap_or_else(ApiError::carry)
}

/// All routes; nothing is left to reject.
fn everything(web: &Arc<Web>) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + use<> {
    let routes = routes::api(web).or(routes::health(web)).unify();
    // Assets last: everything that is not the API's.
    routes.or(assets::assets(web)).unify().recover(guard::answer).unify()
}

/// Answers requests of connections from `peer`.
pub fn service(
    web: Arc<Web>,
) -> impl Fn(IpAddr, Arc<dyn Connection>, Request<Incoming>) -> futures_util::future::BoxFuture<'static, Response> + Clone {
    let routes = hyper_util::service::TowerToHyperService::new(warp::service(everything(&web)));
    move |peer, connection, request| {
        let begun = tracing::enabled!(Level::DEBUG).then(Instant::now);
        let (mut parts, body) = request.into_parts();
        let headers = std::mem::take(&mut parts.headers);
        let trusted = &web.app.settings.server.trusted_proxies;
        let is_proxied = trusted.iter().any(|net| net.contains(&peer));
        let client = client_address(peer, &headers, trusted).unwrap_or_else(|proxy| {
            // What reads is not limited, and whoever is on the proxy's machine may ask for `/health`.
            if !parts.method.is_safe() {
                warn_of_silent_proxy(proxy);
            }
            proxy
        });
        if headers.contains_key("x-forwarded-for") && !is_proxied {
            warn_of_untrusted_proxy(peer);
        }
        let (exchange, method) = (Exchange::over(connection, is_proxied, client, headers, parts.uri.clone()), parts.method.clone());
        // What changes something is logged with its request. What reads is not logged at all, but for
        // errors, which name it: a span would cost it a tenth of its time.
        let span = if method.is_safe() && begun.is_none() {
            Span::none()
        } else {
            tracing::info_span!("request", id = exchange.request_id(), client_id = exchange.client_request_id())
        };
        let response = match unrouted(&web.site, &exchange, &parts) {
            Some(response) => Either::Left(ready(response)),
            None => {
                parts.extensions.insert(exchange.clone());
                Either::Right(contained(routes.call(Request::from_parts(parts, body))))
            }
        };
        let web = Arc::clone(&web);
        // Combined, not awaited: an async block would keep two copies of what it awaits, and move both.
        Box::pin(response.map(move |response| finished(&web, &exchange, &method, begun, response)).instrument(span))
    }
}

/// Says, once a minute at most, that a proxy is not believed: behind one, all clients would share
/// its limits.
fn warn_of_untrusted_proxy(peer: IpAddr) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    if is_due(&LAST) {
        tracing::warn!(%peer, "X-Forwarded-For from a peer that is not trusted is ignored: if it is your proxy, list it in server.trusted_proxies");
    }
}

/// Says, once a minute at most, that a trusted proxy does not tell whom it speaks for: all its clients
/// share the limits of one.
fn warn_of_silent_proxy(proxy: IpAddr) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    if is_due(&LAST) {
        tracing::warn!(%proxy, "a trusted proxy sent no X-Forwarded-For with an address that can be read, so its clients share its limits: let it send one");
    }
}

/// Whether a minute has gone by since this was due last.
fn is_due(last: &Mutex<Option<Instant>>) -> bool {
    let mut last = last.lock();
    let is_due = last.is_none_or(|last| last.elapsed() >= Duration::from_secs(60));
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}

/// The answer to what no route sees.
fn unrouted(site: &Site, exchange: &Exchange, parts: &Parts) -> Option<Response> {
    match head::acceptable(parts, exchange) {
        Err(error) => Some(error.carry()),
        Ok(()) => cors::preflight(site, exchange, &parts.method),
    }
}

/// A response as it is sent, and logged.
fn finished(web: &Web, exchange: &Exchange, method: &Method, begun: Option<Instant>, mut response: Response) -> Response {
    let path = exchange.path();
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        // What an attack looks like from here (LOG-3); the services report what they decide themselves.
        let kind = match error.code {
            Code::RateLimited => Some(Kind::RateLimited),
            Code::CsrfFailed => Some(Kind::CsrfFailed),
            _ => None,
        };
        if let Some(kind) = kind.filter(|kind| web.app.refusals.is_news(*kind, exchange.from())) {
            let actor = exchange.user().map_or(By::Anyone, By::User);
            let mut event = Event::new(kind, actor).refused(exchange.request_id(), loggable(path)).from(exchange.from());
            if let Some((seen, own)) = web.site.foreign_origin(exchange).filter(|_| kind == Kind::CsrfFailed) {
                event = event.foreign(seen, own);
            }
            event.write();
        }
        response = error.render(exchange.request_id());
    }
    dress(&web.site, exchange, path, &mut response);
    if let Some(begun) = begun {
        let status = response.status().as_u16();
        let user = exchange.user().map(tracing::field::display);
        let path = loggable(path);
        tracing::debug!(%method, path, status, user, from = %exchange.from(), micros = begun.elapsed().as_micros(), "answered");
    }
    response
}

/// One handler's bug is one request's 500 (HTTP-14).
fn contained(answer: impl Future<Output = Result<Response, Infallible>>) -> impl Future<Output = Response> {
    AssertUnwindSafe(answer).catch_unwind().map(|caught| match caught {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => ApiError::from(Code::Internal).carry(),
    })
}

/// A path as the log may show it: whoever puts a token into one has not thereby written it there
/// (LOG-1). No segment of our own paths is longer than an id.
fn loggable(path: &str) -> String {
    let segments: Vec<_> = path.split('/').map(|segment| if segment.len() > 32 { "…" } else { segment }).collect();
    segments.join("/")
}

/// Adds what every answer carries (HDR-1..7).
fn dress(site: &Site, exchange: &Exchange, path: &str, response: &mut Response) {
    const FOR_ALL: [(HeaderName, HeaderValue); 6] = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    ];
    const VARY: HeaderValue = HeaderValue::from_static("Origin, Sec-Fetch-Site");
    const TRANSPORT_SECURITY: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");
    const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    const TOKEN_EXPIRES_IN: HeaderName = HeaderName::from_static("x-token-expires-in");
    cors::share(site, exchange, response);
    let headers = response.headers_mut();
    for (name, value) in FOR_ALL {
        // What an asset said of itself stays.
        headers.entry(name).or_insert(value);
    }
    if path.starts_with("/api/") {
        headers.append(header::VARY, VARY);
    }
    if site.secure {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, TRANSPORT_SECURITY);
    }
    if let Ok(id) = HeaderValue::from_str(exchange.request_id()) {
        headers.insert(REQUEST_ID, id);
    }
    if let Some(seconds) = exchange.expires_in() {
        headers.insert(TOKEN_EXPIRES_IN, HeaderValue::from(seconds));
    }
}
