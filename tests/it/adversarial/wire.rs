//! The HTTP connection itself: heads and bodies that are slow, repeated, too long or broken, and connections
//! that never end. The same is asked of a server with TLS (`tls.rs`). The limit per address prefix is tested in `server/limits.rs`, because loopback is exempt here.

use crate::support::{Actor, PASSWORD, Server, send};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

pub const SECOND: Duration = Duration::from_secs(1);

pub async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(&server.address).await.expect("connected")
}

/// Reads until the server closes the connection, which it must do within this time.
pub async fn rest(stream: &mut TcpStream, within: Duration) -> String {
    let mut bytes = Vec::new();
    // A reset counts as closing, like an orderly end.
    let _ = timeout(within, stream.read_to_end(&mut bytes)).await.unwrap_or_else(|_| panic!("still open after {within:?}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends bytes as they are and reads until the server closes the connection.
pub async fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = connect(server).await;
    // The server may close the connection before it has read everything.
    let _ = stream.write_all(bytes).await;
    rest(&mut stream, 10 * SECOND).await
}

/// Reads one answer on a connection that stays open.
pub async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let whole = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().expect("a length"));
        (body.len() >= length).then(|| text.clone().into_owned())
    };
    loop {
        if let Some(answer) = whole(&bytes) {
            return answer;
        }
        let read = timeout(10 * SECOND, stream.read_buf(&mut bytes)).await.expect("in time").expect("read");
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
    }
}

pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status in {answer:?}"))
}

pub fn get_health(server: &Server) -> Vec<u8> {
    format!("GET /health HTTP/1.1\r\nHost: {}\r\n\r\n", server.address).into_bytes()
}

/// The head of a login request, with these additional header lines.
pub fn post(server: &Server, lines: &str) -> String {
    format!("POST /api/auth/login HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n{lines}\r\n", server.address)
}

/// Sends a byte every half second until the server closes the connection. Returns what the server sent, and after what time.
pub async fn drip(server: &Server, first: &str) -> (String, Duration) {
    let mut stream = connect(server).await;
    stream.write_all(first.as_bytes()).await.expect("sent");
    let begun = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let mut said = Vec::new();
    let dripping = async {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(SECOND / 2).await;
        }
    };
    // Both end when the server closes the connection: reading at once, writing with the same or the next byte.
    let reading = timeout(30 * SECOND, reader.read_to_end(&mut said));
    tokio::pin!(dripping, reading);
    tokio::select! {
        read = &mut reading => { let _ = read.expect("closed"); }
        () = &mut dripping => { let _ = reading.await.expect("closed"); }
    }
    (String::from_utf8_lossy(&said).into_owned(), begun.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_1_slow_heads_bodies_and_silence_have_their_time_and_no_more() {
    slow_clients_have_their_time(Server::start()).await;
}

pub async fn slow_clients_have_their_time(server: Server) {
    let slow_head = drip(&server, "GET /health HTTP/1.1\r\nX-Slow: ");
    let slow_body = post(&server, "Content-Length: 5000\r\n");
    let slow_body = drip(&server, &slow_body);
    let slow_chunk = format!("{}1000\r\n", post(&server, "Transfer-Encoding: chunked\r\n"));
    let slow_chunk = drip(&server, &slow_chunk);
    let silent = async {
        let begun = Instant::now();
        let said = rest(&mut connect(&server).await, 30 * SECOND).await;
        (said, begun.elapsed())
    };
    let idle = async {
        let mut stream = connect(&server).await;
        let mut heads = Vec::new();
        for pause in [Duration::ZERO, 8 * SECOND] {
            tokio::time::sleep(pause).await;
            stream.write_all(&get_health(&server)).await.expect("sent");
            heads.push(status(&answer(&mut stream).await));
        }
        let begun = Instant::now();
        let said = rest(&mut stream, 70 * SECOND).await;
        (heads, said, begun.elapsed())
    };
    let ((head, head_took), (body, body_took), (chunk, chunk_took), (silent, silent_took), (heads, said, idled)) =
        tokio::join!(slow_head, slow_body, slow_chunk, silent, idle);
    println!("head {head_took:?}, body {body_took:?}, chunk {chunk_took:?}, silent {silent_took:?}, idle {idled:?}");
    assert!(!head.contains(" 200 ") && head_took > 4 * SECOND && head_took <= 6 * SECOND, "{head_took:?}: {head}");
    for (said, took) in [(body, body_took), (chunk, chunk_took)] {
        assert_eq!(status(&said), 408, "{said}");
        assert!(said.contains("REQUEST_TIMEOUT") && took > 9 * SECOND && took <= 11 * SECOND, "{took:?}: {said}");
    }
    assert!(silent.is_empty() && silent_took <= 6 * SECOND, "{silent_took:?}: {silent}");
    assert_eq!(heads, [200, 200], "a connection may idle between requests");
    assert!(said.is_empty() && idled > 50 * SECOND && idled <= 65 * SECOND, "{idled:?}: {said}");
}

#[tokio::test]
async fn http_1_a_head_is_of_limited_size_and_of_http_1() {
    heads_are_limited(Server::start()).await;
}

pub async fn heads_are_limited(server: Server) {
    let head = |lines: &str| format!("GET /health HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{lines}\r\n", server.address);
    for (lines, expected) in [
        (format!("X-Long: {}\r\n", "x".repeat(20 * 1024)), 431),
        ("X-Many: x\r\n".repeat(65), 431),
        ("X-Many: x\r\n".repeat(60), 200),
        (format!("X-Long: {}\r\n", "x".repeat(10 * 1024)), 200),
    ] {
        let answer = raw(&server, head(&lines).as_bytes()).await;
        assert_eq!(status(&answer), expected, "{answer:.200}");
    }
    // HTTP/2 with prior knowledge (RFC 9113 §3.3), and a first line that never ends.
    let preface = raw(&server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(preface.is_empty() || status(&preface) == 400, "{preface}");
    let endless = raw(&server, format!("GET /{}", "x".repeat(64 * 1024)).as_bytes()).await;
    assert!(endless.is_empty() || matches!(status(&endless), 400 | 414 | 431), "{endless}");
    let upgrade = raw(&server, head("Upgrade: h2c\r\nHTTP2-Settings: AAAA\r\n").as_bytes()).await;
    assert_eq!(status(&upgrade), 200, "an upgrade is ignored: {upgrade}");
}

/// Checks that a new client gets an answer from `/health` within this time.
pub async fn is_well(server: &Server, within: Duration) {
    let begun = Instant::now();
    let health = timeout(within, send(Actor::at(server).request("GET", "/health"))).await.expect("an answer in time");
    assert_eq!(health.status, 200);
    println!("/health after {:?}", begun.elapsed());
}

/// The resident memory of the server, in KiB.
fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn http_2_chunks_without_end_are_refused_and_take_no_memory() {
    chunks_without_end_are_refused(Server::start()).await;
}

pub async fn chunks_without_end_are_refused(server: Server) {
    is_well(&server, 10 * SECOND).await;
    let before = resident(&server);
    for _ in 0..20 {
        let mut stream = connect(&server).await;
        stream.write_all(post(&server, "Transfer-Encoding: chunked\r\n").as_bytes()).await.expect("sent");
        let chunk = [b"10000\r\n", &vec![b' '; 0x1_0000][..], b"\r\n"].concat();
        let (mut reader, mut writer) = stream.split();
        let mut said = Vec::new();
        let sending = async {
            let mut sent = 0;
            while sent < 64 << 20 && writer.write_all(&chunk).await.is_ok() {
                sent += chunk.len();
            }
            sent
        };
        let (sent, _) = timeout(20 * SECOND, async { tokio::join!(sending, reader.read_to_end(&mut said)) }).await.expect("closed");
        assert!(sent < 16 << 20, "{sent} bytes were taken");
        // The reset that ends the flood may arrive before the answer, which is then lost.
        let said = String::from_utf8_lossy(&said);
        assert!(said.is_empty() || (status(&said) == 413 && said.contains("PAYLOAD_TOO_LARGE")), "{said}");
    }
    let after = resident(&server);
    println!("resident before {before} KiB, after {after} KiB");
    assert!(after < before + 16 * 1024, "from {before} to {after} KiB");
    // Without a flood behind it, the answer arrives.
    let mut stream = connect(&server).await;
    let head = post(&server, "Transfer-Encoding: chunked\r\n");
    stream.write_all(format!("{head}2801\r\n{}\r\n", " ".repeat(0x2801)).as_bytes()).await.expect("sent");
    assert_eq!(status(&rest(&mut stream, 10 * SECOND).await), 413);
}

#[tokio::test]
async fn http_3_a_body_of_unclear_length_is_refused_and_nothing_behind_it_is_read() {
    unclear_lengths_are_refused(Server::start()).await;
}

pub async fn unclear_lengths_are_refused(server: Server) {
    let smuggled = format!("GET /api/users/me HTTP/1.1\r\nHost: {}\r\nX-Request-Id: smuggled\r\n\r\n", server.address);
    let chunked = "2\r\n{}\r\n0\r\n\r\n";
    let first = String::from_utf8(get_health(&server)).expect("ASCII");
    for (lines, body) in [
        ("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", chunked),
        ("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", chunked),
        ("content-length:2\r\ntransfer-encoding:chunked\r\n", chunked),
        ("Content-Length: 2\r\nContent-Length: 3\r\n", "{}"),
        ("Content-Length: 2, 3\r\n", "{}"),
        ("Content-Length: +2\r\n", "{}"),
        ("Content-Length: 0x2\r\n", "{}"),
        ("Content-Length: -2\r\n", "{}"),
        ("X-Folded: a\r\n b\r\nContent-Length: 2\r\n", "{}"),
        ("Content-Length : 2\r\n", "{}"),
        (" Content-Length: 2\r\n", "{}"),
        ("X-Nul: a\0b\r\nContent-Length: 2\r\n", "{}"),
        ("Transfer-Encoding: gzip\r\n", chunked),
        ("Transfer-Encoding: chunked, identity\r\n", chunked),
        ("Transfer-Encoding: xchunked\r\n", chunked),
        ("Transfer-Encoding: gzip, chunked\r\n", chunked),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", chunked),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunked),
        ("Transfer-Encoding\x0b: chunked\r\n", chunked),
    ] {
        let request = format!("{}{body}{smuggled}", post(&server, lines));
        let answers = raw(&server, request.as_bytes()).await;
        assert_eq!((status(&answers), answers.matches("HTTP/1.1 ").count()), (400, 1), "{lines:?}: {answers}");
        assert!(!answers.contains("VALIDATION_FAILED"), "{lines:?}: its body was read: {answers}");
        // The same behind another request in the same packet, and behind a body that arrives in a packet of its own.
        let answers = raw(&server, format!("{first}{request}").as_bytes()).await;
        let (_, second) = answers.split_once("}HTTP/1.1 ").unwrap_or_else(|| panic!("{lines:?}: {answers}"));
        assert!(second.starts_with("400 ") && !second.contains("HTTP/1.1 "), "{lines:?} behind another: {answers}");
        assert!(!second.contains("VALIDATION_FAILED"), "{lines:?} behind another: its body was read: {answers}");
        let mut stream = connect(&server).await;
        stream.write_all(post(&server, "Content-Length: 6\r\n").as_bytes()).await.expect("sent");
        tokio::task::yield_now().await;
        stream.write_all(b"{}\n\r\n\n").await.expect("sent");
        assert_eq!(status(&answer(&mut stream).await), 400);
        stream.write_all(request.as_bytes()).await.expect("sent");
        let answers = rest(&mut stream, 10 * SECOND).await;
        assert_eq!((status(&answers), answers.matches("HTTP/1.1 ").count()), (400, 1), "{lines:?} behind a body: {answers}");
        assert!(!answers.contains("VALIDATION_FAILED"), "{lines:?} behind a body: its body was read: {answers}");
    }
    // A request with one clear length is accepted anywhere on the connection. After a chunked body the server closes it.
    let counted = post(&server, "Content-Length: 2\r\n");
    let answers =
        raw(&server, format!("{first}{counted}{{}}{}{chunked}{smuggled}", post(&server, "Transfer-Encoding: chunked\r\n")).as_bytes())
            .await;
    assert_eq!((answers.matches("VALIDATION_FAILED").count(), answers.matches("HTTP/1.1 ").count()), (2, 3), "{answers}");
    assert!(answers.to_lowercase().contains("\r\nconnection: close\r\n"), "{answers}");
    assert!(!server.log().contains("smuggled"), "{}", server.log());
}

#[tokio::test]
async fn http_5_6_hosts_and_methods_that_are_no_business_of_ours() {
    let server = Server::start();
    let host = &server.address;
    for (request, expected) in [
        ("GET /health HTTP/1.1\r\n".to_owned(), 400),
        (format!("GET /health HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\n"), 400),
        (format!("GET http://evil.example/health HTTP/1.1\r\nHost: {host}\r\n"), 400),
        (format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n"), 405),
        ("CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n".to_owned(), 405),
        (format!("TRACE /health HTTP/1.1\r\nHost: {host}\r\nX-Secret: canary\r\n"), 405),
        (format!("OPTIONS * HTTP/1.1\r\nHost: {host}\r\n"), 404),
    ] {
        let answer = raw(&server, format!("{request}Connection: close\r\n\r\n").as_bytes()).await;
        assert_eq!(status(&answer), expected, "{request}: {answer}");
        assert!(!answer.contains("canary") && answer.contains("x-request-id"), "{request}: {answer}");
        assert_eq!(expected == 405, answer.contains("\nallow: "), "{request}: {answer}");
    }
}

#[tokio::test]
async fn lim_6_a_proxy_that_hides_its_clients_is_told_of_once_a_minute() {
    let server = Server::with(&["server.trusted_proxies=127.0.0.1/32"]);
    let login = |hop: &str| post(&server, &format!("{hop}Connection: close\r\nContent-Length: 2\r\n")) + "{}";
    let warnings = || server.log().matches("share its limits").count();
    for hop in ["203.0.113.5:4711", "[2001:db8::5]:4711", "\"[2001:db8::5]\"", "203.0.113.5,"] {
        raw(&server, login(&format!("X-Forwarded-For: {hop}\r\n")).as_bytes()).await;
        let line = server.log().lines().rfind(|line| line.contains("answered")).expect("logged").to_owned();
        assert!(line.contains("203.0.113.5") || line.contains("2001:db8::/64"), "{hop}: {line}");
    }
    is_well(&server, 2 * SECOND).await;
    assert_eq!(warnings(), 0, "{}", server.log());
    for line in ["X-Forwarded-For: unknown\r\n", "", "X-Forwarded-For: ,\r\n"] {
        raw(&server, login(line).as_bytes()).await;
    }
    assert_eq!(warnings(), 1, "{}", server.log());
}

#[tokio::test]
async fn http_10_a_body_is_asked_for_only_when_it_will_be_read() {
    bodies_are_asked_for(Server::start()).await;
}

pub async fn bodies_are_asked_for(server: Server) {
    let body = format!("{{\"email\":\"nobody@example.org\",\"password\":\"{PASSWORD}\"}}");
    let head = |lines: &str| post(&server, &format!("Connection: close\r\nExpect: 100-continue\r\n{lines}"));
    let refused = raw(&server, head("Content-Length: 99999\r\n").as_bytes()).await;
    assert_eq!(status(&refused), 413, "{refused}");
    let refused = raw(&server, head("Content-Length: 10\r\nContent-Type: text/plain\r\n").as_bytes()).await;
    assert_eq!(status(&refused), 415, "{refused}");
    let mut stream = connect(&server).await;
    stream.write_all(head(&format!("Content-Length: {}\r\n", body.len())).as_bytes()).await.expect("sent");
    assert_eq!(status(&answer(&mut stream).await), 100);
    stream.write_all(body.as_bytes()).await.expect("sent");
    assert_eq!(status(&rest(&mut stream, 10 * SECOND).await), 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_11_nobodys_request_is_answered_as_somebody_elses() {
    let server = Server::start();
    let mut actors = Vec::new();
    for name in ["alice", "bob", "carol"] {
        actors.push(Actor::registered(&server, &format!("{name}@example.org")).await);
    }
    let mut tasks = JoinSet::new();
    for n in 0..10 {
        let (mut stream, actors, address) = (connect(&server).await, actors.clone(), server.address.clone());
        tasks.spawn(async move {
            for round in 0..50 {
                let who = actors.get((round * (n + 1)) % 4);
                let bearer = who.and_then(|actor| actor.access.as_ref()).map(|token| format!("Authorization: Bearer {token}\r\n"));
                let request = format!("GET /api/users/me HTTP/1.1\r\nHost: {address}\r\n{}\r\n", bearer.unwrap_or_default());
                stream.write_all(request.as_bytes()).await.expect("sent");
                let answer = answer(&mut stream).await;
                match who {
                    Some(actor) => assert!(status(&answer) == 200 && answer.contains(&actor.email), "{answer}"),
                    None => assert!(status(&answer) == 401 && answer.contains("MISSING_TOKEN"), "{answer}"),
                }
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test]
async fn http_11_nothing_in_a_body_is_held_against_the_requests_behind_it() {
    let server = Server::start();
    let (health, heads) = (String::from_utf8(get_health(&server)).expect("ASCII"), "GET /#x HTTP/1.1 POST /#x HTTP/1.1");
    let login = "POST /api/auth/login HTTP/1.1\nContent-Length: 1\nTransfer-Encoding: chunked\n\n";
    for body in [format!("{}{heads}", "\r\n\r\n".repeat(2400)), format!("{{\"email\":\"{heads}\",\"password\":\"x\"}}"), login.repeat(50)] {
        let mut stream = connect(&server).await;
        let head = post(&server, &format!("Content-Length: {}\r\n", body.len()));
        stream.write_all(format!("{head}{body}").as_bytes()).await.expect("sent");
        assert!(matches!(status(&answer(&mut stream).await), 400 | 401), "{body:.80}");
        for _ in 0..3 {
            stream.write_all(health.as_bytes()).await.expect("sent");
            assert_eq!(status(&answer(&mut stream).await), 200, "{body:.80}");
        }
        stream
            .write_all(format!("{}2\r\n{{}}\r\n0\r\n\r\n", post(&server, "Transfer-Encoding: chunked\r\n")).as_bytes())
            .await
            .expect("sent");
        assert!(answer(&mut stream).await.contains("VALIDATION_FAILED"), "{body:.80}");
    }
}
