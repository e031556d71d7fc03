//! The load generator: one spinning thread, so that its own wake-ups do not distort the figures.
//!
//! wrk and oha cannot send the cookie of an answer with the next request of the same connection, send at a
//! fixed rate beside a flood, or stop without leaving answers unread. Both also sleep between answers, so on a
//! busy virtual machine the server pays for waking its client.

use hdrhistogram::Histogram;
use rustix::event::{Timespec, epoll};
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

/// How long the last answers may take once no more requests are sent.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// The requests of a load and the check of their answers.
pub trait Script {
    /// Writes the next request of a connection. Returns false if there is none left.
    fn ask(&mut self, connection: usize, out: &mut Vec<u8>) -> bool;
    /// Checks the answer. Returns false if it is not the expected one.
    fn hear(&mut self, connection: usize, answer: &Answer<'_>) -> bool;
}

/// An answer of the server.
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    headers: &'a [httparse::Header<'a>],
    /// The whole body.
    pub body: &'a [u8],
}

impl Answer<'_> {
    /// The values of a header.
    pub fn headers<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'b str> + 'b {
        self.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).filter_map(|h| std::str::from_utf8(h.value).ok())
    }
}

/// When a request is sent.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// As soon as the previous request of the connection is answered.
    Closed,
    /// At a fixed rate per second over all connections, whether the server keeps up or not. Latency counts from the
    /// moment when a request was due.
    Open(f64),
}

/// Connections that run one script at one pace.
pub struct Load<'a> {
    script: &'a mut dyn Script,
    pace: Pace,
    connections: Vec<Connection>,
    /// The measurements.
    pub tally: Tally,
    sent: u64,
    /// The connection that sends next.
    next: usize,
    is_dry: bool,
}

/// The measurements of a load.
pub struct Tally {
    /// Number of expected answers within the window.
    pub good: u64,
    /// Number of other answers.
    pub bad: u64,
    /// When the last answer was counted. The rate is taken up to this moment, because a slow answer seldom ends with the window.
    pub last: Option<Instant>,
    /// The first unexpected answer, for the message.
    pub first_bad: Option<String>,
    /// Latency in microseconds.
    pub latency: Histogram<u64>,
}

struct Connection {
    stream: TcpStream,
    due: Option<Instant>,
    received: Vec<u8>,
}

impl<'a> Load<'a> {
    /// Opens the connections.
    pub fn new(address: SocketAddr, connections: usize, pace: Pace, script: &'a mut dyn Script) -> io::Result<Self> {
        let connect = |_| {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            Ok(Connection { stream, due: None, received: Vec::with_capacity(8192) })
        };
        let connections = (0..connections).map(connect).collect::<io::Result<_>>()?;
        let latency = Histogram::new_with_bounds(1, 600_000_000, 3).expect("bounds that fit");
        Ok(Self {
            script,
            pace,
            connections,
            tally: Tally { good: 0, bad: 0, last: None, first_bad: None, latency },
            sent: 0,
            next: 0,
            is_dry: false,
        })
    }

    fn send(&mut self, at: usize, due: Instant, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        if !self.script.ask(at, buffer) {
            self.is_dry = true;
            return Ok(());
        }
        let connection = &mut self.connections[at];
        connection.due = Some(due);
        self.sent += 1;
        // A request is far smaller than the buffer of a socket, so it is written at once.
        connection.stream.write_all(buffer)
    }

    /// Sends the requests that are due.
    fn keep_pace(&mut self, begun: Instant, now: Instant, buffer: &mut Vec<u8>) -> io::Result<()> {
        let Pace::Open(rate) = self.pace else { return Ok(()) };
        loop {
            #[allow(clippy::cast_precision_loss)]
            let due = begun + Duration::from_secs_f64(self.sent as f64 / rate);
            if now < due {
                return Ok(());
            }
            // Connections take turns, because the server closes idle ones.
            let count = self.connections.len();
            let turns = (0..count).map(|turn| (self.next + turn) % count);
            let Some(free) = turns.into_iter().find(|at| self.connections[*at].due.is_none()) else { return Ok(()) };
            self.next = free + 1;
            self.send(free, due, buffer)?;
            if self.is_dry {
                return Ok(());
            }
        }
    }

    /// Reads what has arrived. Returns true if an answer is complete.
    fn receive(&mut self, at: usize, window: Instant) -> io::Result<bool> {
        let connection = &mut self.connections[at];
        let mut chunk = [0; 16 * 1024];
        loop {
            match connection.stream.read(&mut chunk) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up")),
                Ok(n) => {
                    connection.received.extend_from_slice(&chunk[..n]);
                    if n < chunk.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let Some(due) = connection.due else { return Err(io::Error::other("an answer nobody asked for")) };
        let received = std::mem::take(&mut connection.received);
        let (script, first_bad) = (&mut self.script, &mut self.tally.first_bad);
        let whole = parse(&received, |answer| {
            let is_good = script.hear(at, answer);
            if !is_good {
                first_bad.get_or_insert_with(|| format!("{} {}", answer.status, String::from_utf8_lossy(answer.body)));
            }
            is_good
        })?;
        let connection = &mut self.connections[at];
        connection.received = received;
        let Some(is_good) = whole else { return Ok(false) };
        connection.received.clear();
        connection.due = None;
        let now = Instant::now();
        // At a fixed rate, answers after the end of the window count: they are the tail of the latency. In a closed loop
        // they do not.
        if now <= window || matches!(self.pace, Pace::Open(_)) {
            if is_good {
                self.tally.good += 1;
            } else {
                self.tally.bad += 1;
            }
            self.tally.last = Some(now);
            let micros = u64::try_from((now - due).as_micros()).unwrap_or(u64::MAX);
            self.tally.latency.saturating_record(micros);
        }
        Ok(true)
    }

    fn waits(&self) -> bool {
        self.connections.iter().any(|connection| connection.due.is_some())
    }
}

/// Runs loads side by side for `window`, then waits for the answers in flight. `at_end` is called the moment the
/// window closes. The run ends early when all scripts have no more requests.
pub fn run(loads: &mut [Load<'_>], window: Duration, at_end: impl FnOnce(Duration)) -> io::Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    watch(&poll, loads)?;
    let (mut buffer, begun) = (Vec::with_capacity(4096), Instant::now());
    let end = begun + window;
    let mut at_end = Some(at_end);
    for load in &mut *loads {
        if let Pace::Closed = load.pace {
            for at in 0..load.connections.len() {
                load.send(at, begun, &mut buffer)?;
            }
        }
    }
    let mut events = Vec::with_capacity(256);
    loop {
        let now = Instant::now();
        let is_over = now >= end || loads.iter().all(|load| load.is_dry && !load.waits());
        if is_over {
            if let Some(at_end) = at_end.take() {
                at_end(begun.elapsed());
            }
            if loads.iter().all(|load| !load.waits()) {
                return Ok(());
            }
            if now >= end + DRAIN_TIMEOUT {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the last answers did not come"));
            }
        } else {
            for load in &mut *loads {
                load.keep_pace(begun, now, &mut buffer)?;
            }
        }
        // A time-out of zero: the thread spins and never sleeps.
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        for event in &events {
            let token = usize::try_from(event.data.u64()).expect("an index");
            let (which, at) = (token >> 32, token & 0xffff_ffff);
            let load = &mut loads[which];
            if load.receive(at, end)? && !is_over && !load.is_dry && matches!(load.pace, Pace::Closed) {
                load.send(at, Instant::now(), &mut buffer)?;
            }
        }
    }
}

fn watch(poll: &OwnedFd, loads: &[Load<'_>]) -> io::Result<()> {
    for (which, load) in loads.iter().enumerate() {
        for (at, connection) in load.connections.iter().enumerate() {
            let token = epoll::EventData::new_u64(((which as u64) << 32) | at as u64);
            epoll::add(poll, &connection.stream, token, epoll::EventFlags::IN)?;
        }
    }
    Ok(())
}

/// Parses an answer, if it is complete, and passes it to `hear`.
fn parse(bytes: &[u8], hear: impl FnOnce(&Answer<'_>) -> bool) -> io::Result<Option<bool>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = parsed.parse(bytes).map_err(io::Error::other)? else { return Ok(None) };
    let status = parsed.code.unwrap_or(0);
    let value = |name: &str| parsed.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    let rest = &bytes[length..];
    if let Some(size) = value("content-length") {
        let size: usize =
            std::str::from_utf8(size).ok().and_then(|text| text.trim().parse().ok()).ok_or_else(|| io::Error::other("length"))?;
        let Some(body) = rest.get(..size) else { return Ok(None) };
        return Ok(Some(hear(&Answer { status, headers: parsed.headers, body })));
    }
    if value("transfer-encoding").is_none() {
        return Ok(Some(hear(&Answer { status, headers: parsed.headers, body: &[] })));
    }
    let (mut body, mut rest) = (Vec::new(), rest);
    loop {
        let httparse::Status::Complete((skip, size)) =
            httparse::parse_chunk_size(rest).map_err(|_| io::Error::other("a chunk without a size"))?
        else {
            return Ok(None);
        };
        let size = usize::try_from(size).map_err(io::Error::other)?;
        let Some(chunk) = rest.get(skip..skip + size + 2) else { return Ok(None) };
        if size == 0 {
            return Ok(Some(hear(&Answer { status, headers: parsed.headers, body: &body })));
        }
        body.extend_from_slice(&chunk[..size]);
        rest = &rest[skip + size + 2..];
    }
}
