//! The accept loop: whom we listen to, for how long, and how we stop.
//!
//! `warp::serve` has no time-outs and an endless drain, so connections are ours: HTTP/1.1 alone,
//! with a limit on everything a client could hold on to (HTTP-1, ADR 7).

mod heads;
mod limits;
mod watchdog;

use crate::http::{self, AppState};
use heads::{MAX_HEAD, MAX_HEADERS};
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

/// How long what is in flight may take once we stop (OPS-6).
const DRAIN: Duration = Duration::from_secs(10);
/// How long to wait after an accept failed for want of something (OPS-8).
const BACK_OFF: Duration = Duration::from_millis(50);

/// Connections that the system may hold until they are accepted: what comes at once in a rush, so
/// that none must knock again a second later.
const BACKLOG: u32 = 4096;

/// Listens on an address.
///
/// # Errors
/// The system's: it is taken, above all.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for connections of the last run to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop` is done, then finishes what is in flight.
pub async fn run(listener: TcpListener, web: Arc<AppState>, stop: impl Future<Output = ()>) {
    let service = http::service(Arc::clone(&web));
    let connections = GracefulShutdown::new();
    let (limits, mut refused) = (ConnectionLimits::new(), Refused::default());
    let is_exempt = |ip: IpAddr| ip.is_loopback() || web.site.trusted_proxies.iter().any(|net| net.contains(&ip));
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
            Err(error) => {
                refused.note(&error);
                recover(&limits, &error).await;
                continue;
            }
        };
        let watchdog = Watchdog::new();
        if let Some(slot) = limits.take((!is_exempt(peer)).then(|| peer.into()), Arc::clone(&watchdog)) {
            serve(stream, peer, watchdog, Arc::new(slot), service.clone(), &connections);
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, connections.shutdown()).await.is_err() {
        tracing::warn!("some requests were still in flight after {}s", DRAIN.as_secs());
    }
}

/// Waits until another accept makes sense.
async fn recover(limits: &ConnectionLimits, error: &io::Error) {
    if matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE)) {
        // Whoever takes its place is answered at once; where none can be made, it takes a while.
        let _ = tokio::time::timeout(BACK_OFF, limits.make_room()).await;
    } else {
        tokio::time::sleep(BACK_OFF).await;
    }
}

/// Serves one connection, on a task of its own, until it ends, takes too long, or another needs its place.
fn serve<S, F>(stream: TcpStream, peer: IpAddr, watchdog: Arc<Watchdog>, slot: Arc<Slot>, service: S, connections: &GracefulShutdown)
where
    S: Fn(IpAddr, Arc<dyn http::Connection>, Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = http::Response> + Send + 'static,
{
    // Answers are small: waiting to fill a segment helps nobody. A socket that refuses is gone already.
    let _ = stream.set_nodelay(true);
    let answering = {
        let (watchdog, slot) = (Arc::clone(&watchdog), Arc::clone(&slot));
        move |request| answer(peer, &watchdog, &slot, &service, request)
    };
    let mut http = http1::Builder::new();
    // The watchdog keeps the time: hyper's own timer would count an idle connection as a slow head.
    // Answers are small: copied behind its head, a body costs less than a second piece to write does.
    http.header_read_timeout(None).writev(false).max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD);
    let connection = http.serve_connection(TokioIo::new(Watched::new(stream, Arc::clone(&watchdog))), service_fn(answering));
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        tokio::select! {
            ended = connection => {
                if let Err(error) = ended {
                    tracing::trace!(%error, "a connection ended early");
                }
            }
            () = watchdog.overdue() => {}
            () = slot.evicted() => {}
        }
    });
}

/// Answers one request of a connection.
fn answer<S, F>(
    peer: IpAddr,
    watchdog: &Arc<Watchdog>,
    slot: &Arc<Slot>,
    service: &S,
    mut request: Request<Incoming>,
) -> impl Future<Output = Result<http::Response, Infallible>> + use<S, F>
where
    S: Fn(IpAddr, Arc<dyn http::Connection>, Request<Incoming>) -> F,
    F: Future<Output = http::Response>,
{
    let (watchdog, head) = (Arc::clone(watchdog), watchdog.begin());
    if head.has_fragment {
        request.extensions_mut().insert(http::Fragment);
    }
    if head.is_ambiguous {
        request.extensions_mut().insert(http::TwoLengths);
    }
    let answer = service(peer, Arc::clone(slot) as _, request);
    async move {
        let mut answer = answer.await;
        if head.is_last {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        watchdog.end();
        Ok(answer)
    }
}

/// What could not be accepted, summed: whoever is out of descriptors is so a thousand times a second.
#[derive(Default)]
struct Refused {
    count: u64,
    told: Option<Instant>,
}

impl Refused {
    /// Says so, once a minute at most, with how many times it was so since.
    fn note(&mut self, error: &io::Error) {
        self.count += 1;
        if self.told.is_none_or(|told| told.elapsed() >= Duration::from_secs(60)) {
            let count = std::mem::take(&mut self.count);
            self.told = Some(Instant::now());
            tracing::warn!(%error, count, "connections could not be accepted: is the limit of open files (ulimit -n, LimitNOFILE) too low?");
        }
    }
}
