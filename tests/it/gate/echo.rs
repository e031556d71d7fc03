//! The app behind the proxies. It notes every request that reaches it, so "closed" means that it noted none.

use super::wire::values;
use aws_lc_rs::digest;
use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, header::HeaderMap, service::service_fn, upgrade};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    runtime::{Builder, Runtime},
};

/// A request that reached the app, with names of headers in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    /// Path and query, as they came.
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// Length and SHA-256 of the body, once all of it was there.
    pub body: Option<(u64, String)>,
    pub trailers: Vec<String>,
}

impl Seen {
    /// The values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        values(&self.headers, name)
    }
}

type Log = Arc<Mutex<Vec<Seen>>>;

/// The app. It ends when dropped.
pub struct App {
    pub address: String,
    log: Log,
    _runtime: Runtime,
}

/// What `/range` has.
pub fn content() -> Vec<u8> {
    (0..=u8::MAX).cycle().take(300_000).collect()
}

/// A body's hash.
pub fn hash(body: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(body))
}

impl App {
    pub fn start() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let log = Log::default();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let noted = Arc::clone(&log);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let log = Arc::clone(&noted);
                let answers = service_fn(move |request| answer(Arc::clone(&log), request));
                let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answers);
                tokio::spawn(connection.with_upgrades());
            }
        });
        Self { address, log, _runtime: runtime }
    }

    /// The requests since the last call.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.log.lock().expect("a lock"))
    }
}

fn named(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect()
}

async fn answer(log: Log, mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let target = request.uri().path_and_query().map_or_else(|| request.uri().to_string(), ToString::to_string);
    let headers = named(request.headers());
    let seen = Seen { method: request.method().to_string(), target, headers, body: None, trailers: Vec::new() };
    let at = {
        let mut log = log.lock().expect("a lock");
        log.push(seen.clone());
        log.len() - 1
    };
    if let [key] = seen.all("sec-websocket-key")[..] {
        let answer = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
        let answer = answer.header("sec-websocket-accept", accept(key)).body(Full::default());
        tokio::spawn(echo(upgrade::on(&mut request)));
        return Ok(answer.expect("an answer"));
    }
    let (mut hash, mut length, mut trailers) = (Sha256::new(), 0, Vec::new());
    while let Some(frame) = request.body_mut().frame().await {
        // A body that breaks off is not noted.
        let Ok(frame) = frame else { return Ok(Response::new(Full::from("broken off"))) };
        if let Some(piece) = frame.data_ref() {
            hash.update(piece);
            length += piece.len() as u64;
        } else if let Some(more) = frame.trailers_ref() {
            trailers.extend(more.keys().map(ToString::to_string));
        }
    }
    if let Some(seen) = log.lock().expect("a lock").get_mut(at) {
        (seen.body, seen.trailers) = (Some((length, HEXLOWER.encode(&hash.finalize()))), trailers);
    }
    Ok(page(&seen))
}

/// `/range` is content of which parts may be asked for; any other path says that this is the app.
fn page(seen: &Seen) -> Response<Full<Bytes>> {
    let answer = Response::builder().header("x-app", "reached").header("cache-control", "no-store");
    let range = seen.all("range").first().and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let answer = match (seen.target.as_str(), range) {
        ("/range", Some((from, to))) => {
            let (from, to): (usize, usize) = (from.parse().expect("a number"), to.parse().expect("a number"));
            let part = content()[from..=to].to_vec();
            answer.status(206).header("content-range", format!("bytes {from}-{to}/300000")).body(Full::from(part))
        }
        ("/range", None) => answer.body(Full::from(content())),
        ("/401", _) => answer.status(401).body(Full::from("the app's own")),
        _ => answer.body(Full::from("the app")),
    };
    answer.expect("an answer")
}

/// The answer to a websocket's key (RFC 6455, 4.2.2).
pub fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref())
}

/// Sends back each frame, which has less than 126 bytes.
async fn echo(upgrade: upgrade::OnUpgrade) {
    let Ok(upgraded) = upgrade.await else { return };
    let mut stream = TokioIo::new(upgraded);
    let mut head = [0; 6];
    while stream.read_exact(&mut head).await.is_ok() {
        let [kind, length, mask @ ..] = head;
        let mut payload = vec![0; usize::from(length & 0x7f)];
        if stream.read_exact(&mut payload).await.is_err() {
            return;
        }
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        let frame = [&[kind, length & 0x7f], &payload[..]].concat();
        if stream.write_all(&frame).await.is_err() {
            return;
        }
    }
}
