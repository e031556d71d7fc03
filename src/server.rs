//! The accept loop: whom we listen to, for how long, and how we stop.
//!
//! `warp::serve` has no time-outs and an endless drain, so connections are ours: HTTP/1.1 alone,
//! with a limit on everything a client could hold on to (HTTP-1).

use crate::http::{self, Web};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore};

/// How long a request's head may take, and a connection may idle before one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest head, in bytes, and most header lines.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// Connections at once.
const MAX_CONNECTIONS: usize = 1024;
/// How long what is in flight may take once we stop (OPS-6).
const DRAIN: Duration = Duration::from_secs(10);
/// How long to wait after an accept failed for want of something.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Serves until `stop` is done, then finishes what is in flight.
pub async fn run(listener: TcpListener, web: Arc<Web>, stop: impl Future<Output = ()>) {
    let service = http::service(web);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD);
    let connections = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = async {
            // Room first: who finds none waits in the system's queue.
            let place = Arc::clone(&room).acquire_owned().await;
            listener.accept().await.map(|accepted| (accepted, place))
        };
        let ((stream, peer), place) = tokio::select! {
            () = &mut stop => break,
            accepted = accepted => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(BACK_OFF).await;
                    continue;
                }
            },
        };
        // Answers are small: waiting to fill a segment helps nobody. A socket that refuses is gone already.
        let _ = stream.set_nodelay(true);
        let service = service.clone();
        let connection = http.serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| {
                let answer = service(peer.ip(), request);
                async { Ok::<_, Infallible>(answer.await) }
            }),
        );
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(%error, "a connection ended early");
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, connections.shutdown()).await.is_err() {
        tracing::warn!("some requests were still in flight after {}s", DRAIN.as_secs());
    }
}
