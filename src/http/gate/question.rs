//! What a proxy asks: three headers that it must have set itself, each once, and some of the visitor's own. Nothing else of
//! the question counts: not its method, path or query, nor any other header by which something could be forwarded.

use crate::{
    http::{
        context::RequestContext,
        origin::{PublicOrigin, SEC_FETCH_SITE},
    },
    service::events::OncePerMinute,
};
use std::net::IpAddr;
use url::Url;
use warp::http::{HeaderName, header};

pub const FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
pub const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// A visitor's request, as the proxy tells it.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The request's method.
    pub method: &'a str,
    /// Its host, as the client spelt it.
    pub host: &'a str,
    /// Its path and query.
    pub target: &'a str,
}

/// How a request was made, as far as the browser says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// Somebody follows a link or types an address: they can be sent elsewhere.
    Navigation,
    /// A page is shown inside another: its visitor must leave the frame to sign in.
    Frame,
    /// A script, an image, a program: it is told no.
    Other,
}

impl<'a> Question<'a> {
    /// Reads a question. `None` if it is not clear.
    pub fn read(context: &'a RequestContext) -> Option<Self> {
        let method = context.header(&FORWARDED_METHOD)?;
        let is_method = (1..=32).contains(&method.len()) && method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
        let target = context.header(&FORWARDED_URI)?;
        // An absolute form, which some proxies pass on, would be read in two ways.
        let is_target = target.starts_with('/') && target.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        (is_method && is_target).then_some(Self { method, host: context.header(&FORWARDED_HOST)?, target })
    }

    /// The path, without the query.
    pub fn path(&self) -> &'a str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The query.
    pub fn query(&self) -> &'a str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Whether a redirection repeats it as it is.
    pub fn is_repeatable(&self) -> bool {
        matches!(self.method, "GET" | "HEAD")
    }

    /// How the request was made. The `User-Agent` says nothing of it.
    pub fn intent(&self, context: &RequestContext) -> Intent {
        let has = |name: &HeaderName| context.headers(name).next().is_some();
        if !matches!(self.method, "GET" | "HEAD" | "POST") || has(&header::SEC_WEBSOCKET_KEY) || has(&REQUESTED_WITH) {
            return Intent::Other;
        }
        match (has(&SEC_FETCH_MODE), context.header(&SEC_FETCH_MODE), context.header(&SEC_FETCH_DEST)) {
            (_, Some("navigate"), Some("document")) => Intent::Navigation,
            (_, Some("navigate"), Some("iframe" | "frame" | "object" | "embed")) => Intent::Frame,
            (false, ..) if names_html(context) => Intent::Navigation,
            _ => Intent::Other,
        }
    }

    /// Whether a browser made the request by a script or for a page, and not a program.
    pub fn is_browsers(context: &RequestContext) -> bool {
        let has = |name: &HeaderName| context.headers(name).next().is_some();
        has(&SEC_FETCH_MODE) || has(&SEC_FETCH_SITE) || has(&SEC_FETCH_DEST) || has(&REQUESTED_WITH)
    }

    /// Whether the request may change something, or opens a websocket. Then it must come from the app's own pages.
    pub fn is_unsafe(&self, context: &RequestContext) -> bool {
        !matches!(self.method, "GET" | "HEAD" | "OPTIONS") || context.headers(&header::SEC_WEBSOCKET_KEY).next().is_some()
    }
}

/// Whether a request says that it wants HTML, and not merely anything.
fn names_html(context: &RequestContext) -> bool {
    let mut accepted = context.headers(&header::ACCEPT).filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    accepted.any(|range| range.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("text/html")))
}

/// Whether a peer may ask: it is on this machine, or is listed as a proxy.
pub fn may_ask(site: &PublicOrigin, peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    peer.is_loopback() || site.trusted_proxies.iter().chain(&site.gate_peers).any(|net| net.contains(&peer))
}

/// Whether a question may be answered: its peer may ask, and it did not come by the public address of the sign-in page,
/// where anybody could ask. Says in the log, once a minute, what to set.
pub fn is_proxys(site: &PublicOrigin, context: &RequestContext) -> bool {
    static WARNING: OncePerMinute = OncePerMinute::new();
    let peer = context.peer();
    let why = if !may_ask(site, peer) {
        "a question to the gate from a peer that is not listed is refused: if it is your proxy, list it in gate.peers, which also lets \
         it have more than 64 connections"
    } else if is_public_host(site, context) {
        "a question to the gate that came by the public address of the sign-in page is refused: let the proxy ask at the address that \
         Doorward listens on"
    } else {
        return true;
    };
    if WARNING.is_due() {
        tracing::warn!(%peer, "{why}");
    }
    false
}

fn is_public_host(site: &PublicOrigin, context: &RequestContext) -> bool {
    let Ok(own) = Url::parse(&site.url) else { return false };
    if crate::config::is_loopback(&own) || own.host().is_none_or(|host| !matches!(host, url::Host::Domain(_))) {
        return false;
    }
    if context.headers(&header::HOST).next().is_none() {
        return false;
    }
    // A host that cannot be read may be that one as well.
    let asked = context.header(&header::HOST).and_then(|host| Url::parse(&format!("{}://{host}", own.scheme())).ok());
    let bare = |url: &Url| url.host_str().map(|host| host.trim_end_matches('.').to_owned());
    asked.is_none_or(|asked| bare(&asked) == bare(&own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::{HeaderMap, HeaderValue, Uri};

    fn context(lines: &[(&'static str, &str)]) -> RequestContext {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        RequestContext::new([127, 0, 0, 1].into(), headers, Uri::default())
    }

    const PLAIN: [(&str, &str); 3] = [("x-forwarded-method", "GET"), ("x-forwarded-host", "a"), ("x-forwarded-uri", "/x?y=/z")];

    #[test]
    fn gate_19_a_question_has_each_of_three_headers_once() {
        let asked = context(&PLAIN);
        let question = Question::read(&asked).expect("clear");
        assert_eq!((question.method, question.host, question.path(), question.query()), ("GET", "a", "/x", "y=/z"));
        for line in PLAIN {
            let lines: Vec<_> = PLAIN.into_iter().filter(|other| *other != line).collect();
            assert!(Question::read(&context(&lines)).is_none(), "missing");
            let mut lines = PLAIN.to_vec();
            lines.push(line);
            assert!(Question::read(&context(&lines)).is_none(), "twice");
        }
        for (name, wrong) in [
            ("x-forwarded-method", "get"),
            ("x-forwarded-method", "GET, POST"),
            ("x-forwarded-method", ""),
            ("x-forwarded-uri", "x"),
            ("x-forwarded-uri", ""),
            ("x-forwarded-uri", "/a#b"),
            ("x-forwarded-uri", "/a b"),
            ("x-forwarded-uri", "http://a/x"),
        ] {
            let lines: Vec<_> = PLAIN.iter().map(|(n, v)| if *n == name { (*n, wrong) } else { (*n, *v) }).collect();
            assert!(Question::read(&context(&lines)).is_none(), "{name}: {wrong}");
        }
    }

    #[test]
    fn gate_2_only_a_navigation_is_sent_elsewhere() {
        let intent = |method, lines: &[(&'static str, &str)]| Question { method, host: "a", target: "/" }.intent(&context(lines));
        let (mode, dest) = ("sec-fetch-mode", "sec-fetch-dest");
        for (method, lines) in [
            ("GET", &[(mode, "navigate"), (dest, "document")][..]),
            ("POST", &[(mode, "navigate"), (dest, "document")]),
            ("HEAD", &[("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")]),
            ("GET", &[("accept", "*/*, Text/HTML;q=0.1")]),
        ] {
            assert_eq!(intent(method, lines), Intent::Navigation, "{method} {lines:?}");
        }
        assert_eq!(intent("GET", &[(mode, "navigate"), (dest, "iframe")]), Intent::Frame);
        for (method, lines) in [
            ("GET", &[][..]),
            ("GET", &[("accept", "*/*")]),
            ("GET", &[("accept", "application/json")]),
            ("GET", &[(mode, "cors"), (dest, "empty"), ("accept", "text/html")]),
            ("GET", &[(mode, "no-cors"), (dest, "image")]),
            ("GET", &[(mode, "navigate"), (dest, "document"), ("x-requested-with", "XMLHttpRequest")]),
            ("GET", &[("accept", "text/html"), ("sec-websocket-key", "x")]),
            ("PUT", &[("accept", "text/html")]),
            ("GET", &[(mode, "same-origin"), (dest, "manifest")]),
        ] {
            assert_eq!(intent(method, lines), Intent::Other, "{method} {lines:?}");
        }
    }
}
