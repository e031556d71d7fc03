//! More clients than the server has connections for: idle ones, slow ones, and more than it has file descriptors.

use super::wire::{SECOND, connect, get_health, is_well, post, rest, status};
use crate::support::{Actor, PASSWORD, Server, TURN, send};
use rustix::process::{Pid, Resource, Rlimit};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

/// How long one of 1100 clients may wait, on two cores that other tests use too. Who were kept out would wait for as long as
/// the attack lasts.
const PATIENCE: Duration = Duration::from_secs(10);

/// Checks that this process may have so many files open.
fn require_files(count: u64) {
    let allowed = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    assert!(allowed >= count, "this machine allows {allowed} open files");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_1_two_thousand_idle_or_slow_clients_keep_nobody_out() {
    let _turn = TURN.lock().await;
    require_files(4096);
    let server = Server::start();
    for (kind, said) in
        [("silent", &b""[..]), ("slow", b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nX-Slow: "), ("idle", &get_health(&server))]
    {
        let mut swarm = Vec::new();
        for _ in 0..2000 {
            let mut stream = connect(&server).await;
            // Fails if the server has already closed this connection to make room.
            let _ = stream.write_all(said).await;
            swarm.push(stream);
        }
        is_well(&server, 2 * SECOND).await;
        is_well(&server, 2 * SECOND).await;
        // The server closes connections that do not finish a head in time.
        if kind != "idle" {
            for stream in &mut swarm {
                rest(stream, 10 * SECOND).await;
            }
        }
    }
    is_well(&server, 2 * SECOND).await;
}

/// A client that begins a body through a proxy and never ends it, and begins again whenever it is disconnected.
async fn send_endless_bodies(address: String, client: &'static str) {
    let head = format!(
        "POST /api/auth/login HTTP/1.1\r\nHost: {address}\r\nX-Forwarded-For: {client}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"ema\r\n"
    );
    loop {
        let Ok(mut stream) = TcpStream::connect(&address).await else { continue };
        if stream.write_all(head.as_bytes()).await.is_ok() {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        // Without a pause, clients that are disconnected at once would reconnect faster than two cores can answer.
        tokio::time::sleep(SECOND / 2).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_1_bodies_that_never_come_keep_nobody_out() {
    let _turn = TURN.lock().await;
    require_files(4096);
    let server = Server::with(&["server.trusted_proxies=127.0.0.1/32"]);
    let mut alice = Actor::registered(&server, "alice@example.org").await.without_idle_connections();
    alice.headers.push(("x-forwarded-for".into(), "203.0.113.7".into()));
    let mut attackers = JoinSet::new();
    (0..1100).for_each(|_| drop(attackers.spawn(send_endless_bodies(server.address.clone(), "198.51.100.1"))));
    let begun = Instant::now();
    // Longer than the time-out of a body, so that every client begins again.
    while begun.elapsed() < 2 * PATIENCE {
        is_well(&server, PATIENCE).await;
        let answered = timeout(PATIENCE, send(alice.bearer("GET", "/api/auth/verify"))).await;
        answered.expect("verify answers in time").expect(200);
        let body = serde_json::json!({ "email": alice.email, "password": PASSWORD });
        let login = timeout(PATIENCE, send(alice.request("POST", "/api/auth/login").json(&body))).await;
        login.expect("a login in time").expect(200);
        // Logs in less often than a user may have sessions.
        tokio::time::sleep(SECOND).await;
    }
    // The client with the most unfinished bodies is refused another.
    let mut stream = connect(&server).await;
    let slow = post(&server, "X-Forwarded-For: 198.51.100.1\r\nContent-Length: 60\r\n");
    stream.write_all(slow.as_bytes()).await.expect("sent");
    let refused = rest(&mut stream, PATIENCE).await;
    assert_eq!(status(&refused), 503, "{refused}");
    assert!(refused.contains("OVERLOADED") && refused.contains("\nretry-after: ") && refused.contains("\nconnection: close"), "{refused}");
    // A request without a body is not affected.
    let bodiless = alice.request("POST", "/api/auth/refresh").header("x-forwarded-for", "198.51.100.1").header("content-length", "0");
    assert_eq!(send(bodiless).await.outcome(), (401, "MISSING_REFRESH_TOKEN"));
    attackers.shutdown().await;
    is_well(&server, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ops_8_out_of_files_it_backs_off_and_recovers() {
    let mut server = Server::start();
    // The limit on connections was derived from the limit on files at the start, before it is lowered here.
    is_well(&server, 3 * SECOND).await;
    let pid = i32::try_from(server.pid()).ok().and_then(Pid::from_raw);
    rustix::process::prlimit(pid, Resource::Nofile, Rlimit { current: Some(64), maximum: Some(64) }).expect("limited");
    let mut crowd = Vec::new();
    for _ in 0..200 {
        let mut stream = connect(&server).await;
        let _ = stream.write_all(b"GET /health HTTP/1.1\r\nX-Slow: ").await;
        crowd.push(stream);
    }
    // The server answers before the time-out for a head closes any of these connections.
    is_well(&server, 3 * SECOND).await;
    drop(crowd);
    is_well(&server, 15 * SECOND).await;
    Actor::registered(&server, "alice@example.org").await.me().await.expect(200);
    let log = server.log();
    let lines = log.matches("could not be accepted").count();
    assert_eq!(lines, 1, "one line a minute: {log}");
    assert!(server.stop().success());
}
