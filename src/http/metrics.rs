//! `/metrics`: who may read it on the main listener, and what it says.

use super::{
    context::RequestContext,
    error::{ApiError, Code, HandlerResult, into_response},
    guard::{Request, anyone, require_permission},
    origin::{MetricsFor, PublicOrigin},
    state::AppState,
    verb,
};
use crate::{app::App, config};
use std::sync::Arc;
use url::Url;
use warp::{
    Filter,
    filters::BoxedFilter,
    http::{HeaderName, HeaderValue, header},
    reply::Response,
};

const PERMISSION: &str = "metrics:read";
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The headers of a scraper that speaks for itself. Any other may be a proxy's, which speaks for somebody.
const OWN_HEADERS: [HeaderName; 6] = [
    header::HOST,
    header::USER_AGENT,
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    HeaderName::from_static("x-prometheus-scrape-timeout-seconds"),
];

/// The route on the main listener, which is outside the API.
pub fn route(state: &Arc<AppState>) -> BoxedFilter<(Response,)> {
    warp::path!("metrics").and(verb::get()).and(anyone(Arc::clone(state))).then(metrics).map(into_response).boxed()
}

/// For programs on this machine, and for who has the permission.
async fn metrics(req: Request) -> HandlerResult {
    if req.site().metrics == MetricsFor::Nobody {
        return Err(Code::NotFound.into());
    }
    if !is_from_this_machine(req.site(), &req.context) {
        let principal = req.authenticate().await.map_err(|error| match error.code {
            Code::MissingToken => error.message("Metrics are for programs on this machine, and for who has the permission metrics:read"),
            _ => error,
        })?;
        require_permission(&req, &principal, PERMISSION)?;
    }
    scrape(Arc::clone(&req.state().app)).await
}

/// Whether a request is that of a program on this machine and of nobody behind it. A proxy on this machine connects from it
/// too, and not every proxy says for whom. So whatever could be one is taken for one (MET-1).
fn is_from_this_machine(site: &PublicOrigin, context: &RequestContext) -> bool {
    let peer = context.peer();
    let mut proxies = site.trusted_proxies.iter().chain(&site.gate_peers);
    site.metrics == MetricsFor::PermittedOrHere
        && peer.is_loopback()
        && !proxies.any(|net| net.contains(&peer))
        && context.header_names().all(|name| OWN_HEADERS.contains(name))
        && context.header(&header::HOST).is_some_and(names_this_machine)
}

/// Whether a `Host` is a loopback address or `localhost`: a page of another name that a browser here was led to has that name.
fn names_this_machine(host: &str) -> bool {
    let bare = config::origin(&format!("http://{host}"));
    bare.is_some_and(|origin| Url::parse(&origin).is_ok_and(|url| config::is_loopback(&url)))
}

/// The metrics, for whoever was let in.
pub async fn scrape(app: Arc<App>) -> HandlerResult {
    // It asks the disk how full it is, which may take long.
    let text =
        tokio::task::spawn_blocking(move || app.scrape()).await.map_err(|error| ApiError::from(Code::Internal).with_source(error))?;
    let mut response = Response::new(text.ok_or(Code::NotFound)?.into());
    response.headers_mut().insert(header::CONTENT_TYPE, TEXT);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use std::net::IpAddr;
    use warp::http::{HeaderMap, Uri};

    const DIRECT: [(&str, &str); 4] =
        [("host", "127.0.0.1:3000"), ("user-agent", "Prometheus/2.42.0"), ("accept", "text/plain"), ("accept-encoding", "gzip")];

    fn is_let_in(public_url: &str, proxies: &[&str], peer: &str, lines: &[(&'static str, &str)]) -> bool {
        let mut settings = Settings::default();
        settings.metrics.enabled = true;
        settings.server.public_url = public_url.into();
        settings.server.trusted_proxies = proxies.iter().map(|net| net.parse().expect("a network")).collect();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        let peer: IpAddr = peer.parse().expect("an address");
        is_from_this_machine(&PublicOrigin::new(&settings), &RequestContext::new(peer, headers, Uri::default()))
    }

    #[test]
    fn met_1_a_program_on_this_machine_that_asks_directly_needs_no_permission() {
        assert!(is_let_in("", &[], "127.0.0.1", &DIRECT));
        assert!(is_let_in("", &[], "::1", &[("host", "localhost:3000")]));
        assert!(is_let_in("http://localhost:3000", &[], "127.0.0.1", &[("host", "[::1]:3000")]));
        assert!(is_let_in("https://login.example.org", &["10.0.0.5/32"], "127.0.0.1", &DIRECT), "the proxy is another machine");
    }

    #[test]
    fn met_1_whatever_could_be_a_proxy_is_taken_for_one() {
        for peer in ["192.168.1.7", "10.0.0.5", "::ffff:10.0.0.5", "2001:db8::1"] {
            assert!(!is_let_in("", &[], peer, &DIRECT), "{peer}");
        }
        let public = "https://login.example.org";
        assert!(!is_let_in(public, &[], "127.0.0.1", &DIRECT), "there is a proxy that the settings do not name");
        assert!(!is_let_in("http://box.lan", &[], "127.0.0.1", &DIRECT), "the same");
        assert!(!is_let_in(public, &["127.0.0.1/32"], "127.0.0.1", &DIRECT), "it is the proxy, which says nothing of its client");
        assert!(!is_let_in("", &["127.0.0.0/8"], "127.0.0.1", &DIRECT));
        for sign in [
            ("x-forwarded-for", "203.0.113.5"),
            ("x-forwarded-for", ""),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=203.0.113.5"),
            ("x-real-ip", "127.0.0.1"),
            ("via", "1.1 proxy"),
            ("cf-connecting-ip", "203.0.113.5"),
            ("x-of-a-proxy-nobody-knows", "1"),
            ("origin", "https://evil.example"),
            ("cookie", "a=b"),
            ("authorization", "Bearer x"),
        ] {
            let lines: Vec<_> = DIRECT.into_iter().chain([sign]).collect();
            assert!(!is_let_in("", &[], "127.0.0.1", &lines), "{sign:?}");
        }
        for host in [&[][..], &["login.example.org"], &["127.0.0.1.evil.example"], &["127.0.0.1:3000", "127.0.0.1:3000"], &["x@127.0.0.1/"]]
        {
            let lines: Vec<_> = DIRECT[1..].iter().copied().chain(host.iter().map(|host| ("host", *host))).collect();
            assert!(!is_let_in("", &[], "127.0.0.1", &lines), "{host:?}");
        }
    }
}
