//! The accept loop: whom we listen to, for how long, and how we stop.
//!
//! `warp::serve` has no time-outs and an endless drain, so connections are ours: HTTP/1.1 alone,
//! with a limit on everything a client could hold on to (HTTP-1, ADR 7).

mod heads;
mod pulse;
mod slots;

use crate::http::{self, AppState};
use hyper::{
    header::{CONNECTION, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use pulse::{Pulse, Watched};
use rustix::io::Errno;
use slots::Slots;
use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::{TcpListener, TcpSocket};

/// Largest head, in bytes, and most header lines.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
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
    let mut http = http1::Builder::new();
    // The watchdog keeps the time: hyper's own timer would count an idle connection as a slow head.
    // Answers are small: copied behind its head, a body costs less than a second piece to write does.
    http.header_read_timeout(None).writev(false).max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD);
    let connections = GracefulShutdown::new();
    let (slots, mut refused) = (Slots::new(), Refused::default());
    let is_exempt = |ip: IpAddr| ip.is_loopback() || web.site.trusted_proxies.iter().any(|net| net.contains(&ip));
    let mut stop = std::pin::pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    refused.note(&error);
                    if matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)) {
                        // Whoever takes its place is answered at once; where none can be made, it takes a while.
                        let _ = tokio::time::timeout(BACK_OFF, slots.make_room()).await;
                    } else {
                        tokio::time::sleep(BACK_OFF).await;
                    }
                    continue;
                }
            },
        };
        let (peer, pulse) = (peer.ip().to_canonical(), Pulse::new());
        let Some(slot) = slots.take((!is_exempt(peer)).then(|| peer.into()), Arc::clone(&pulse)) else { continue };
        let slot = Arc::new(slot);
        // Answers are small: waiting to fill a segment helps nobody. A socket that refuses is gone already.
        let _ = stream.set_nodelay(true);
        let service = service.clone();
        let connection = http.serve_connection(
            TokioIo::new(Watched::new(stream, Arc::clone(&pulse))),
            service_fn({
                let (pulse, slot) = (Arc::clone(&pulse), Arc::clone(&slot));
                move |mut request| {
                    let pulse = Arc::clone(&pulse);
                    let head = pulse.begin();
                    if head.has_fragment {
                        request.extensions_mut().insert(http::Fragment);
                    }
                    if head.is_ambiguous {
                        request.extensions_mut().insert(http::TwoLengths);
                    }
                    let answer = service(peer, Arc::clone(&slot) as _, request);
                    async move {
                        let mut answer = answer.await;
                        if head.is_last {
                            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                        }
                        pulse.end();
                        Ok::<_, Infallible>(answer)
                    }
                }
            }),
        );
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::trace!(%error, "a connection ended early");
                    }
                }
                () = pulse.overdue() => {}
                () = slot.evicted() => {}
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, connections.shutdown()).await.is_err() {
        tracing::warn!("some requests were still in flight after {}s", DRAIN.as_secs());
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
