//! The accept loop: which connections are served, for how long, and how the server stops.
//!
//! `warp::serve` has no timeouts and drains without end, so connections are accepted and served here:
//! HTTP/1.1 alone, with a limit on everything a client could hold on to (HTTP-1, ADR 7).

mod heads;
mod limits;
mod stream;
#[cfg(feature = "tls")]
pub mod tls;
mod transport;
mod watchdog;

pub use transport::{Transport, check_files};

use crate::{
    http::{self, AppState},
    telemetry::Metrics,
};
use heads::{MAX_HEAD_SIZE, MAX_HEADERS};
use hyper::{
    Request,
    body::Incoming,
    header::{CONNECTION, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use limits::{ConnectionLimits, Slot};
use rustix::io::Errno;
use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use watchdog::{Watchdog, Watched};

/// How long requests in flight may take once the server stops (OPS-6).
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait after an accept that failed for lack of a resource (OPS-8).
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// How many connections the system may queue until they are accepted. In a rush, a client that does not fit
/// into the queue would try again only a second later.
const BACKLOG: u32 = 4096;

/// Listens on an address.
///
/// # Errors
/// Those of the system, such as that the address is in use.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Without this a restart would fail until the system has forgotten the connections of the last run.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop` resolves, then finishes the requests in flight.
pub async fn run(listener: TcpListener, transport: Transport, state: Arc<AppState>, stop: impl Future<Output = ()>) {
    let (service, metrics) = (http::service(Arc::clone(&state)), state.app.metrics().cloned());
    let front = Front { transport, service, limits: ConnectionLimits::new(), connections: GracefulShutdown::new(), metrics };
    let proxies = || state.site.trusted_proxies.iter().chain(&state.site.gate_peers);
    let is_exempt = |ip: IpAddr| ip.is_loopback() || proxies().any(|net| net.contains(&ip));
    front.accept(listener, is_exempt, stop).await;
    state.app.revocations().close();
    if tokio::time::timeout(DRAIN_TIMEOUT, front.connections.shutdown()).await.is_err() {
        tracing::warn!("some requests were still in flight after {}s", DRAIN_TIMEOUT.as_secs());
    }
}

/// Serves metrics and nothing else, for as long as this is polled.
#[cfg(feature = "metrics")]
pub async fn run_metrics(listener: TcpListener, app: Arc<crate::app::App>) {
    let (service, limits) = (http::metrics_service(app), ConnectionLimits::least());
    let front = Front { transport: Transport::Plain, service, limits, connections: GracefulShutdown::new(), metrics: None };
    front.accept(listener, |_| true, std::future::pending()).await;
}

/// A build without metrics has none to serve.
#[cfg(not(feature = "metrics"))]
pub fn run_metrics(_: TcpListener, _: Arc<crate::app::App>) -> impl Future<Output = ()> {
    std::future::ready(())
}

/// What the connections of a listener share.
struct Front {
    transport: Transport,
    service: http::Service,
    limits: Arc<ConnectionLimits>,
    connections: GracefulShutdown,
    /// Where they are counted.
    metrics: Option<Arc<Metrics>>,
}

impl Front {
    /// Serves the connections of a listener until `stop` resolves.
    async fn accept(&self, listener: TcpListener, is_exempt: impl Fn(IpAddr) -> bool, stop: impl Future<Output = ()>) {
        let mut accept_errors = AcceptErrors::default();
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
                Err(error) => {
                    accept_errors.record(&error);
                    wait_after(&self.limits, &error).await;
                    continue;
                }
            };
            let watchdog = Watchdog::new();
            if let Some(slot) = self.limits.take((!is_exempt(peer)).then(|| peer.into()), Arc::clone(&watchdog)) {
                self.serve(stream, peer, watchdog, Arc::new(slot));
            }
        }
    }

    /// Serves one connection, on a task of its own, until it ends, takes too long or is evicted. The time of its first head
    /// begins here: a client's part of the transport is within it.
    fn serve(&self, stream: TcpStream, peer: IpAddr, watchdog: Arc<Watchdog>, slot: Arc<Slot>) {
        // Answers are small: waiting to fill a segment would only delay them. Fails only on a socket that is closed.
        let _ = stream.set_nodelay(true);
        let (transport, watcher) = (self.transport.clone(), self.connections.watcher());
        let connection = {
            let (watchdog, slot, service) = (Arc::clone(&watchdog), Arc::clone(&slot), Arc::clone(&self.service));
            async move {
                let Some(stream) = transport.accept(stream).await else { return };
                let io = TokioIo::new(Watched::new(stream, Arc::clone(&watchdog)));
                let answering = service_fn(move |request| answer(peer, &watchdog, &slot, &service, request));
                let mut http = http1::Builder::new();
                // The watchdog keeps the time: hyper's own timer would count an idle connection as a slow head.
                // Answers are small: copying a body behind its head costs less than a vectored write of both.
                http.header_read_timeout(None).writev(false).max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD_SIZE);
                if let Err(error) = watcher.watch(http.serve_connection(io, answering)).await {
                    tracing::trace!(%error, "a connection ended early");
                }
            }
        };
        let counted = self.metrics.as_ref().map(Metrics::connected);
        tokio::spawn(async move {
            let _counted = counted;
            tokio::select! {
                () = connection => {}
                () = watchdog.overdue() => {}
                () = slot.evicted() => {}
            }
        });
    }
}

/// Waits after a failed accept until another one makes sense.
async fn wait_after(limits: &ConnectionLimits, error: &io::Error) {
    if matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE)) {
        // The next client is accepted as soon as a connection has ended. If none can be evicted, wait.
        let _ = tokio::time::timeout(ACCEPT_BACKOFF, limits.make_room()).await;
    } else {
        tokio::time::sleep(ACCEPT_BACKOFF).await;
    }
}

/// Answers one request of a connection.
fn answer(
    peer: IpAddr,
    watchdog: &Arc<Watchdog>,
    slot: &Arc<Slot>,
    service: &http::Service,
    mut request: Request<Incoming>,
) -> impl Future<Output = Result<http::Response, Infallible>> + use<> {
    let (watchdog, (head, begun)) = (Arc::clone(watchdog), watchdog.begin());
    if head.has_fragment {
        request.extensions_mut().insert(http::Fragment);
    }
    if head.is_ambiguous {
        request.extensions_mut().insert(http::AmbiguousLength);
    }
    let answer = service(peer, Arc::clone(slot) as _, request, begun);
    async move {
        let mut answer = answer.await;
        if head.is_last {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        watchdog.end();
        Ok(answer)
    }
}

/// Counts failed accepts for the log: a process that is out of descriptors fails a thousand times a second.
#[derive(Default)]
struct AcceptErrors {
    count: u64,
    logged_at: Option<Instant>,
}

impl AcceptErrors {
    /// Counts an error, and at most once a minute logs it with the count since the last time.
    fn record(&mut self, error: &io::Error) {
        self.count += 1;
        if self.logged_at.is_none_or(|logged_at| logged_at.elapsed() >= Duration::from_secs(60)) {
            let count = std::mem::take(&mut self.count);
            self.logged_at = Some(Instant::now());
            tracing::warn!(%error, count, "connections could not be accepted: is the limit of open files (ulimit -n, LimitNOFILE) too low?");
        }
    }
}
