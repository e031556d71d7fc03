//! What is known of a request before any route is tried, and what its guard finds out.

use crate::domain::{AddressPrefix, Client, UserId};
use data_encoding::HEXLOWER;
use ipnet::IpNet;
use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, LazyLock, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use warp::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

/// The longest `User-Agent` that is kept, in bytes.
const MAX_USER_AGENT: usize = 256;

/// The connection of a request, as far as the body is concerned: a client that announces a body and does not send
/// it occupies a place that others need (HTTP-1).
pub trait Connection: fmt::Debug + Send + Sync {
    /// Notes that the body of this client's request is awaited from now on. Returns false if too many bodies of this
    /// client are awaited already.
    #[must_use]
    fn await_body(&self, client: AddressPrefix) -> bool;

    /// How long a body may take to arrive, as things are now.
    fn body_timeout(&self) -> Duration;

    /// Notes that the body is awaited no longer.
    fn body_done(&self);

    /// Notes that the client has read what was answered so far, and that the answer goes on.
    fn answer_goes_on(&self);
}

/// A body that is awaited. Dropping this ends the wait.
#[derive(Debug)]
pub struct AwaitedBody<'a>(Option<&'a dyn Connection>);

impl AwaitedBody<'_> {
    /// How long the body may take to arrive, as things are now.
    pub fn body_timeout(&self) -> Duration {
        self.0.map_or(Duration::MAX, Connection::body_timeout)
    }
}

impl Drop for AwaitedBody<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.0 {
            connection.body_done();
        }
    }
}

/// One request and its answer. Filters get at it as a request extension; clones share it.
#[derive(Clone)]
pub struct RequestContext(Arc<Inner>);

/// Prints which request it is and nothing of its headers: tokens and cookies are among them (I5).
impl fmt::Debug for RequestContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestContext").field("request_id", &self.0.request_id).field("headers", &"[REDACTED]").finish_non_exhaustive()
    }
}

struct Inner {
    request_id: String,
    /// The request id that the client sent.
    client_request_id: Option<String>,
    peer: IpAddr,
    client: IpAddr,
    headers: HeaderMap,
    uri: Uri,
    connection: Option<Arc<dyn Connection>>,
    principal: OnceLock<(UserId, Option<u64>)>,
}

impl RequestContext {
    /// Takes over a request's headers: filters read them here, without copies. The request id that a trusted
    /// proxy sent is used; one that a client sent is only noted beside a new one (HDR-5).
    #[must_use]
    pub fn over(connection: Arc<dyn Connection>, is_proxied: bool, (peer, client): (IpAddr, IpAddr), headers: HeaderMap, uri: Uri) -> Self {
        Self::with(Some(connection), is_proxied, (peer, client), headers, uri)
    }

    /// A request without a connection.
    #[cfg(test)]
    pub fn new(client: IpAddr, headers: HeaderMap, uri: Uri) -> Self {
        Self::with(None, false, (client, client), headers, uri)
    }

    fn with(
        connection: Option<Arc<dyn Connection>>,
        is_proxied: bool,
        (peer, client): (IpAddr, IpAddr),
        headers: HeaderMap,
        uri: Uri,
    ) -> Self {
        let sent = valid_request_id(&headers);
        let (given, client_request_id) = if is_proxied { (sent, None) } else { (None, sent) };
        let request_id = given.unwrap_or_else(generate_request_id);
        Self(Arc::new(Inner { request_id, client_request_id, peer, client, headers, uri, connection, principal: OnceLock::new() }))
    }

    /// Begins to wait for the request's body. `None` if too many bodies of its client are awaited already.
    pub fn await_body(&self) -> Option<AwaitedBody<'_>> {
        let connection = self.0.connection.as_deref();
        connection.is_none_or(|connection| connection.await_body(self.from())).then_some(AwaitedBody(connection))
    }

    /// Notes that the client has read what was answered so far, and that the answer goes on.
    pub fn answer_goes_on(&self) {
        if let Some(connection) = &self.0.connection {
            connection.answer_goes_on();
        }
    }

    /// The request's id (HDR-5).
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// The request id that the client sent, for logs.
    #[must_use]
    pub fn client_request_id(&self) -> Option<&str> {
        self.0.client_request_id.as_deref()
    }

    /// The other end of the connection, which may be a proxy.
    #[must_use]
    pub fn peer(&self) -> IpAddr {
        self.0.peer
    }

    /// The request's path.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.uri.path()
    }

    /// The client, as a session remembers it.
    #[must_use]
    pub fn client(&self) -> Client {
        let user_agent = self.header(&header::USER_AGENT).unwrap_or_default();
        // `header` gives visible ASCII alone, so the cut is always between characters.
        let user_agent = user_agent.get(..MAX_USER_AGENT).unwrap_or(user_agent).to_owned();
        Client { ip: self.0.client, user_agent }
    }

    /// The client's address prefix, for logs.
    #[must_use]
    pub fn from(&self) -> AddressPrefix {
        self.0.client.into()
    }

    /// The value of a header that is there once and is visible ASCII.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        let mut values = self.0.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    }

    /// All values of a header.
    pub fn headers(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.0.headers.get_all(name).iter()
    }

    /// The name of every header there is.
    #[cfg(feature = "metrics")]
    pub fn header_names(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.headers.keys()
    }

    /// The values of a query parameter, percent-decoded.
    pub fn query<'a>(&'a self, name: &'a str) -> impl Iterator<Item = String> + 'a {
        let query = self.0.uri.query().unwrap_or_default();
        url::form_urlencoded::parse(query.as_bytes()).filter(move |(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// The names of the query's parameters, percent-decoded.
    pub fn query_names(&self) -> impl Iterator<Item = String> + '_ {
        let query = self.0.uri.query().unwrap_or_default();
        url::form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name.into_owned())
    }

    /// Notes that a valid access token or API key was presented.
    pub fn authenticated(&self, user: UserId, expires_in: Option<u64>) {
        // It is set once: a request is authenticated by one guard.
        let _ = self.0.principal.set((user, expires_in));
    }

    /// Whole seconds left of the access token or API key, if a valid one was presented (TOK-12) that expires.
    #[must_use]
    pub fn expires_in(&self) -> Option<u64> {
        self.0.principal.get().and_then(|(_, expires_in)| *expires_in)
    }

    /// The user who was authenticated, for logs.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        self.0.principal.get().map(|(user, _)| *user)
    }
}

/// The request id that was sent, if it is one that a log can show.
fn valid_request_id(headers: &HeaderMap) -> Option<String> {
    let is_valid = |id: &&str| (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let mut sent = headers.get_all("x-request-id").iter();
    // If there are two, at least one was not sent by the proxy.
    let only = sent.next().filter(|_| sent.next().is_none());
    only.and_then(|id| id.to_str().ok()).filter(is_valid).map(ToOwned::to_owned)
}

/// A request id that no other request has: a keyed hash of a counter, so that it does not tell how many requests
/// there were. Nothing depends on its secrecy, so no system call for random bytes is needed.
fn generate_request_id() -> String {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let half = |which: u8| KEY.hash_one((count, which)).to_be_bytes();
    HEXLOWER.encode([half(0), half(1)].as_flattened())
}

/// The client's address. It is the socket's peer unless that is a trusted proxy; then it is the first hop in
/// `X-Forwarded-For`, read from the right, that is not a trusted proxy (LIM-6).
///
/// # Errors
/// The address of a trusted proxy, if the hop before it is missing or is not an address.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Result<IpAddr, IpAddr> {
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
    let mut client = peer.to_canonical();
    let lines: Vec<_> = headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes).collect();
    // Each hop is read by itself, so that what a client wrote on the left cannot spoil those behind it. Empty
    // elements are allowed in a list and skipped (RFC 9110 §5.6.1).
    let hops = lines.iter().flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii).filter(|hop| !hop.is_empty());
    let mut hops = hops.map(|hop| str::from_utf8(hop).unwrap_or("?")).rev();
    while is_trusted(&client) {
        client = hops.next().and_then(address_of_hop).ok_or(client)?.to_canonical();
    }
    Ok(client)
}

/// An address as proxies write it: bare, with a port, in brackets, in quotes (RFC 7239 §6).
fn address_of_hop(hop: &str) -> Option<IpAddr> {
    let hop = hop.strip_prefix('"').and_then(|hop| hop.strip_suffix('"')).unwrap_or(hop);
    let bare = || hop.parse::<IpAddr>().ok();
    let bracketed = || hop.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    bare().or_else(bracketed).or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    #[test]
    fn i5_a_request_is_printed_without_its_headers() {
        let lines = [("authorization", "Bearer secret-1"), ("cookie", "doorward-refresh-3000=secret-2"), ("x-csrf-token", "secret-3")];
        let context = RequestContext::new([127, 0, 0, 1].into(), headers(&lines), Uri::default());
        let printed = format!("{context:?}");
        assert!(!printed.contains("secret") && printed.contains("[REDACTED]"), "{printed}");
        assert!(printed.contains(context.request_id()));
    }

    #[test]
    fn lim_6_forwarded_addresses_count_from_trusted_proxies_alone_and_from_the_right() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().expect("a net")];
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let client =
            |peer: &str, lines: &[(&'static str, &str)]| client_address(ip(peer), &headers(lines), &trusted).unwrap_or_else(|proxy| proxy);
        let xff = "x-forwarded-for";
        assert_eq!(client("192.0.2.9", &[(xff, "1.1.1.1")]), ip("192.0.2.9"), "an untrusted peer is not believed");
        assert_eq!(client("10.0.0.1", &[(xff, "1.1.1.1")]), ip("1.1.1.1"));
        assert_eq!(client("10.0.0.1", &[(xff, "6.6.6.6, 1.1.1.1")]), ip("1.1.1.1"), "what a client wrote itself is on the left");
        assert_eq!(client("10.0.0.1", &[(xff, "6.6.6.6"), (xff, "1.1.1.1, 10.0.0.2")]), ip("1.1.1.1"), "lines are one list");
        assert_eq!(client("10.0.0.1", &[(xff, "garbage")]), ip("10.0.0.1"));
        assert_eq!(client("10.0.0.1", &[(xff, "1.1.1.1, garbage, 10.0.0.2")]), ip("10.0.0.2"));
        assert_eq!(client("10.0.0.1", &[]), ip("10.0.0.1"));
        assert_eq!(client("::ffff:10.0.0.1", &[(xff, "::ffff:1.1.1.1")]), ip("1.1.1.1"));
    }

    #[test]
    fn lim_6_a_forwarded_address_is_read_however_proxies_spell_it() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().expect("a net")];
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let client = |hop: &str| client_address(ip("10.0.0.1"), &headers(&[("x-forwarded-for", hop)]), &trusted);
        for (spelt, meant) in [
            ("203.0.113.5:4711", "203.0.113.5"),
            ("\"203.0.113.5\"", "203.0.113.5"),
            ("\"203.0.113.5:4711\"", "203.0.113.5"),
            ("203.0.113.5,", "203.0.113.5"),
            ("203.0.113.5, ,", "203.0.113.5"),
            ("6.6.6.6, 203.0.113.5:4711, 10.0.0.2:80", "203.0.113.5"),
            ("2001:db8::5", "2001:db8::5"),
            ("[2001:db8::5]", "2001:db8::5"),
            ("[2001:db8::5]:4711", "2001:db8::5"),
            ("\"[2001:db8::5]:4711\"", "2001:db8::5"),
            ("[::ffff:203.0.113.5]:4711", "203.0.113.5"),
        ] {
            assert_eq!(client(spelt), Ok(ip(meant)), "{spelt}");
        }
        for unread in ["", ",", "unknown", "_hidden", "203.0.113.5:", "203.0.113.5:99999", "[203.0.113.5]", "[2001:db8::5", "\"203.0.113.5"]
        {
            assert_eq!(client(unread), Err(ip("10.0.0.1")), "{unread}");
        }
        let mut raw = HeaderMap::new();
        raw.insert("x-forwarded-for", HeaderValue::from_bytes(b"\xe9, 203.0.113.5").expect("a value"));
        assert_eq!(client_address(ip("10.0.0.1"), &raw, &trusted), Ok(ip("203.0.113.5")), "what a client wrote itself");
        assert_eq!(client("6.6.6.6, unknown, 10.0.0.2"), Err(ip("10.0.0.2")), "the proxy that hides its client");
    }

    #[test]
    fn hdr_5_a_proxys_decent_id_is_the_requests_and_a_clients_is_noted() {
        let context = |is_proxied, id| {
            let here = [127, 0, 0, 1].into();
            RequestContext::with(None, is_proxied, (here, here), headers(&[("x-request-id", id)]), Uri::default())
        };
        let (proxied, sent) = (context(true, "abc-123"), context(false, "abc-123"));
        assert_eq!((proxied.request_id(), proxied.client_request_id()), ("abc-123", None));
        assert_ne!(sent.request_id(), "abc-123");
        assert_eq!(sent.client_request_id(), Some("abc-123"));
        for bad in ["", "a b", &"x".repeat(65), "a;b", "<x>"] {
            assert_ne!(context(true, bad).request_id(), bad);
            assert_eq!(context(false, bad).client_request_id(), None);
        }
    }

    #[test]
    fn ids_of_requests_differ_and_tell_nothing_of_each_other() {
        let ids: std::collections::HashSet<_> = (0..10_000).map(|_| generate_request_id()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 32));
        let beginnings: std::collections::HashSet<_> = ids.iter().map(|id| &id[..8]).collect();
        assert!(beginnings.len() > 9_900, "a count would show");
    }

    #[test]
    fn a_user_agent_is_cut_where_a_character_ends() {
        let context = |agent: &str| RequestContext::new([127, 0, 0, 1].into(), headers(&[("user-agent", agent)]), Uri::default());
        assert_eq!(context("curl/8").client().user_agent, "curl/8");
        assert_eq!(context(&"x".repeat(1000)).client().user_agent.len(), 256);
    }
}
