//! What a connection is doing and for how long it may: the stream sees bytes, the service sees
//! requests, the watchdog sees neither and ends what takes too long.

use memchr::{memchr, memmem};
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
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use zeroize::{Zeroize, Zeroizing};

/// How long a request's head may take, and a new connection may wait with its first (HTTP-1).
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection may idle between requests, or leave an answer unread.
const IDLE: Duration = Duration::from_secs(60);
/// How long a request may be worked on: longer than a body and every queue may take together.
const BUSY: Duration = Duration::from_secs(60);
/// The most that is kept of what arrived: hyper holds at most a head's 16 KiB and one read of as
/// many, so the head it parses is always among these.
const RECENT: usize = 32 * 1024;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The state of one connection.
pub struct Pulse {
    /// Milliseconds since [`START`] in the upper bits, the phase in the lower two.
    state: AtomicU64,
    /// The bytes behind the head of the last request: its body, and what was sent ahead. There are
    /// passwords in bodies: what is taken out is wiped.
    recent: Mutex<Zeroizing<Vec<u8>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
enum Phase {
    Idle = 0,
    Head = 1,
    Busy = 2,
    Body = 3,
}

impl Pulse {
    /// A connection that was just accepted and must now say something.
    pub fn new() -> Arc<Self> {
        let pulse = Self { state: AtomicU64::new(0), recent: Mutex::default() };
        pulse.enter(Phase::Head);
        Arc::new(pulse)
    }

    /// A request was taken up. For a chunked one, whose first line begins as `line` says, answers
    /// whether its head gave its body two lengths; when its head is not found, it counts as such. A
    /// body may look like a head: any that is ambiguous counts.
    pub fn begin(&self, is_chunked: bool, line: impl FnOnce() -> String) -> bool {
        self.enter(Phase::Busy);
        let mut recent = self.recent.lock();
        if !is_chunked {
            // What was sent ahead stays: it may be the head of a chunked one.
            let end = memmem::find(&recent, b"\r\n\r\n").map_or(recent.len(), |at| at + 4);
            wipe(&mut recent, end);
            return false;
        }
        let line = line();
        let mut heads = memmem::find_iter(&recent, &line).peekable();
        let Some(first) = heads.peek().copied() else {
            let end = recent.len();
            wipe(&mut recent, end);
            return true;
        };
        let ambiguous = heads.any(|at| is_ambiguous(&recent[at..]));
        let end = memmem::find(&recent[first..], b"\r\n\r\n").map_or(recent.len(), |at| first + at + 4);
        wipe(&mut recent, end);
        ambiguous
    }

    /// Whether the target of the request that is about to begin has a fragment, which hyper drops: whatever
    /// looks like its first line counts.
    pub fn has_fragment(&self, method: &str) -> bool {
        let recent = self.recent.lock();
        if memchr(b'#', &recent).is_none() {
            return false;
        }
        let start = format!("{method} ");
        memmem::find_iter(&recent, &start).any(|at| {
            let line = &recent[at + start.len()..];
            let target = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
            target.contains(&b'#') && line[target.len()..].starts_with(b" HTTP/1.")
        })
    }

    /// Its answer is ready to be sent.
    pub fn end(&self) {
        self.enter(Phase::Idle);
    }

    /// The request's body is waited for.
    pub fn await_body(&self) {
        self.enter(Phase::Body);
    }

    /// It is there: the request is worked on.
    pub fn body_done(&self) {
        self.enter(Phase::Busy);
    }

    /// Since when we wait for the client; none while a request is worked on.
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
                    Phase::Idle => IDLE,
                    Phase::Head => HEAD,
                    Phase::Busy | Phase::Body => BUSY,
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
        let mut recent = self.recent.lock();
        if recent.capacity() - recent.len() < bytes.len() {
            // Grown by hand: what moves by itself leaves a copy behind.
            let mut roomier = Zeroizing::new(Vec::with_capacity((recent.len() + bytes.len()).next_power_of_two()));
            roomier.extend_from_slice(&recent);
            *recent = roomier;
        }
        recent.extend_from_slice(bytes);
        if let Some(excess) = recent.len().checked_sub(RECENT) {
            wipe(&mut recent, excess);
        }
    }

    fn enter(&self, phase: Phase) {
        let millis = u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX >> 2);
        self.state.store((millis << 2) | phase as u64, Relaxed);
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

/// Takes the first bytes out and leaves nothing of them behind.
fn wipe(recent: &mut Vec<u8>, end: usize) {
    recent.copy_within(end.., 0);
    let kept = recent.len() - end;
    recent[kept..].zeroize();
    recent.truncate(kept);
}

/// Whether a head has both `Transfer-Encoding` and `Content-Length`, which hyper hides: it drops the
/// length. A proxy in front may have believed the other one (RFC 9112 §6.1, HTTP-3).
fn is_ambiguous(head: &[u8]) -> bool {
    let mut lengths = [false; 2];
    for line in head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).take_while(|line| !line.is_empty()) {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        lengths[0] |= name.eq_ignore_ascii_case(b"transfer-encoding");
        lengths[1] |= name.eq_ignore_ascii_case(b"content-length");
    }
    lengths == [true, true]
}

/// A stream that tells its [`Pulse`] what arrives.
pub struct Watched {
    stream: TcpStream,
    pulse: Arc<Pulse>,
}

impl Watched {
    /// Watches a stream.
    pub const fn new(stream: TcpStream, pulse: Arc<Pulse>) -> Self {
        Self { stream, pulse }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let received = &buf.filled()[before..];
        if !received.is_empty() {
            self.pulse.received(received);
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

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_3_a_head_with_two_lengths_is_seen_in_any_order_and_its_body_is_not() {
        let head = |lines: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{lines}\r\nContent-Length: 9\r\nTransfer-Encoding: no header\r\n");
        assert!(is_ambiguous(head("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n").as_bytes()));
        assert!(is_ambiguous(head("content-length: 5\r\nTRANSFER-ENCODING: chunked\r\n").as_bytes()));
        assert!(!is_ambiguous(head("Transfer-Encoding: chunked\r\n").as_bytes()));
        assert!(!is_ambiguous(head("Content-Length: 5\r\n").as_bytes()));
    }

    #[test]
    fn a_pulse_follows_bytes_and_requests() {
        let pulse = Pulse::new();
        assert!(pulse.waiting_since().is_some());
        pulse.received(b"GET / HTTP/1.1\r\n\r\n");
        assert!(!pulse.begin(false, String::new));
        assert!(pulse.waiting_since().is_none(), "worked on");
        pulse.await_body();
        pulse.received(b"{");
        assert_eq!(pulse.read().0, Phase::Body, "a byte is not a body");
        pulse.body_done();
        assert!(pulse.waiting_since().is_none(), "worked on");
        pulse.end();
        assert_eq!(pulse.read().0, Phase::Idle);
        pulse.received(b"x");
        assert_eq!(pulse.read().0, Phase::Head, "the first byte of the next request starts its clock");
    }

    #[test]
    fn http_7_a_fragment_is_seen_in_the_target_alone() {
        let has_fragment = |sent: &[u8]| {
            let pulse = Pulse::new();
            pulse.received(sent);
            pulse.has_fragment("GET")
        };
        assert!(has_fragment(b"GET /x#y HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(has_fragment(b"GET http://x#y HTTP/1.1\r\n\r\n"));
        assert!(has_fragment(b"{\"a\":1}GET /x?y# HTTP/1.1\r\n\r\n"), "behind a body");
        assert!(!has_fragment(b"GET /x HTTP/1.1\r\nX-Colour: #fff\r\n\r\n"));
        assert!(!has_fragment(b"{\"password\":\"GET a#b\"}GET /x HTTP/1.1\r\n\r\n"));
    }

    #[test]
    fn http_3_two_lengths_are_seen_behind_other_requests_and_bodies() {
        let good = "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let bad = "POST /x HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n";
        let get = "GET /y HTTP/1.1\r\n\r\n";
        let second = |sent: &[&str]| {
            let pulse = Pulse::new();
            sent.iter().for_each(|bytes| pulse.received(bytes.as_bytes()));
            assert!(!pulse.begin(false, String::new));
            pulse.begin(true, || "POST /x".into())
        };
        assert!(!second(&[get, good]));
        assert!(!second(&[&format!("{get}{good}")]), "sent ahead");
        assert!(second(&[&format!("{get}{bad}")]));
        assert!(second(&[get, "a body\n\r\n\n", bad]));
        assert!(second(&[get, good, bad]), "what is in the body is not told from a head");
        assert!(second(&[get]), "not found is not fine");
        assert!(second(&[get, &"x".repeat(RECENT), &bad[..20], &bad[20..]]), "behind more than is kept");
        let pulse = Pulse::new();
        (0..100).for_each(|_| pulse.received(&[b'x'; 16 * 1024]));
        assert_eq!(pulse.recent.lock().len(), RECENT, "no more is kept");
    }
}
