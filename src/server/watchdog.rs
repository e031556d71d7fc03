//! Ends connections that take too long. The stream reports bytes to the watchdog and the service reports
//! requests, so it knows what a connection is doing and since when.

use super::{
    heads::{Head, Heads},
    stream::Stream,
};
use parking_lot::Mutex;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long a request's head may take. For the first one the time starts when the connection is accepted (HTTP-1).
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may idle between requests, or leave an answer unread.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a request may be worked on: longer than its body and every queue may take together.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The state of one connection.
pub struct Watchdog {
    /// Milliseconds since [`START`] in the upper bits, the phase in the lower two.
    state: AtomicU64,
    heads: Mutex<Heads>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
enum Phase {
    Idle = 0,
    Head = 1,
    Busy = 2,
    Body = 3,
}

impl Watchdog {
    /// The watchdog of a connection that was just accepted and must now send a head.
    pub fn new() -> Arc<Self> {
        let watchdog = Self { state: AtomicU64::new(0), heads: Mutex::default() };
        watchdog.enter(Phase::Head);
        Arc::new(watchdog)
    }

    /// Notes that the service has begun a request. Returns what is known of its head, and the present moment.
    pub fn begin(&self) -> (Head, Instant) {
        let now = self.enter(Phase::Busy);
        (self.heads.lock().take(), now)
    }

    /// Notes that the answer is ready to be sent.
    pub fn end(&self) {
        self.enter(Phase::Idle);
    }

    /// Notes that the request's body is awaited.
    pub fn await_body(&self) {
        self.enter(Phase::Body);
    }

    /// Notes that the request is worked on: its body is awaited no longer, or its answer goes on.
    pub fn body_done(&self) {
        self.enter(Phase::Busy);
    }

    /// Since when the connection has been waiting for its client. `None` while a request is worked on.
    pub fn waiting_since(&self) -> Option<Instant> {
        let (phase, since) = self.read();
        (phase != Phase::Busy).then_some(since)
    }

    /// Waits until the connection has taken too long with what it is doing.
    pub async fn overdue(&self) {
        loop {
            let (phase, since) = self.read();
            let deadline = since
                + match phase {
                    Phase::Idle => IDLE_TIMEOUT,
                    Phase::Head => HEAD_TIMEOUT,
                    Phase::Busy | Phase::Body => BUSY_TIMEOUT,
                };
            if Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep_until(deadline.into()).await;
        }
    }

    fn received(&self, bytes: &[u8]) {
        if self.read().0 == Phase::Idle {
            self.enter(Phase::Head);
        }
        self.heads.lock().received(bytes);
    }

    fn enter(&self, phase: Phase) -> Instant {
        let (start, now) = (*START, Instant::now());
        let millis = u64::try_from(now.duration_since(start).as_millis()).unwrap_or(u64::MAX >> 2);
        self.state.store((millis << 2) | phase as u64, Relaxed);
        now
    }

    fn read(&self) -> (Phase, Instant) {
        let state = self.state.load(Relaxed);
        let phase = match state & 3 {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Busy,
            _ => Phase::Body,
        };
        (phase, *START + Duration::from_millis(state >> 2))
    }
}

/// A stream that reports to its [`Watchdog`] what arrives.
pub struct Watched {
    stream: Stream,
    watchdog: Arc<Watchdog>,
}

impl Watched {
    /// Watches a stream.
    pub const fn new(stream: Stream, watchdog: Arc<Watchdog>) -> Self {
        Self { stream, watchdog }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let received = &buf.filled()[before..];
        if !received.is_empty() {
            self.watchdog.received(received);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_follows_bytes_and_requests() {
        let watchdog = Watchdog::new();
        assert!(watchdog.waiting_since().is_some());
        watchdog.received(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(watchdog.begin().0, Head::default());
        assert!(watchdog.waiting_since().is_none(), "worked on");
        watchdog.await_body();
        watchdog.received(b"{");
        assert_eq!(watchdog.read().0, Phase::Body, "a byte is not a body");
        watchdog.body_done();
        assert!(watchdog.waiting_since().is_none(), "worked on");
        watchdog.end();
        assert_eq!(watchdog.read().0, Phase::Idle);
        watchdog.received(b"x");
        assert_eq!(watchdog.read().0, Phase::Head, "the first byte of the next request starts its clock");
    }
}
