//! Who may read metrics.

use super::{Scrape, measured};
use crate::support::{Actor, Answer, Server, send};
use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const ENABLED: &str = "metrics.enabled=true";

/// Asks for `/metrics` as Prometheus does, with more lines of head.
fn ask(address: &str, lines: &str) -> u16 {
    let mut stream = TcpStream::connect(address).expect("connected");
    let head =
        "User-Agent: Prometheus/2.42.0\r\nAccept: text/plain\r\nAccept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n";
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\n{head}{lines}Connection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

async fn get(actor: &Actor) -> Answer {
    send(actor.bearer("GET", "/metrics")).await
}

#[tokio::test]
async fn met_1_on_the_main_listener_metrics_are_for_this_machine_and_for_a_permission() {
    let server = Server::with(&[ENABLED]);
    assert_eq!(ask(&server.address, ""), 200, "Prometheus on this machine");
    let answer = get(&Actor::at(&server)).await.expect(200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    for line in ["X-Forwarded-For: 203.0.113.5\r\n", "X-Real-IP: 203.0.113.5\r\n", "Via: 1.1 x\r\n", "X-Unknown: 1\r\n", "Cookie: a=b\r\n"]
    {
        assert_eq!(ask(&server.address, line), 401, "{line}");
    }
}

#[tokio::test]
async fn met_1_behind_a_proxy_on_this_machine_nobody_is_taken_for_local() {
    let proxied = |settings: &[&str]| Server::with(&[&[ENABLED, "server.public_url=https://login.example.org"], settings].concat());
    let unnamed = proxied(&[]);
    assert_eq!(ask(&unnamed.address, ""), 401, "a proxy that says nothing, and that the settings do not name");
    let named = proxied(&["server.trusted_proxies=127.0.0.1/32"]);
    assert_eq!(ask(&named.address, ""), 401, "a proxy that says nothing");
    for line in ["X-Forwarded-For: 127.0.0.1\r\n", "X-Forwarded-For: 203.0.113.5\r\n", "Forwarded: for=127.0.0.1\r\n"] {
        assert_eq!(ask(&named.address, line), 401, "{line}");
        assert_eq!(ask(&unnamed.address, line), 401, "{line}");
    }
    let elsewhere = proxied(&["server.trusted_proxies=10.0.0.5"]);
    assert_eq!(ask(&elsewhere.address, ""), 200, "the proxy is on another machine");
    assert_eq!(ask(&elsewhere.address, "X-Forwarded-For: 127.0.0.1\r\n"), 401, "and yet somebody forwards");
}

#[tokio::test]
async fn met_1_with_the_permission_it_does_not_matter_from_where() {
    let server = Server::with(&[ENABLED, "server.trusted_proxies=127.0.0.1"]);
    let stranger = Actor::at(&server);
    let refused = get(&stranger).await.expect(401);
    assert!(refused.text_of("message").contains("metrics:read"), "{}", refused.text);
    server.json(&["service", "add", "prometheus", "--role", "admin"], "");
    let key = Actor::with_api_key(&server, "prometheus", &["metrics:read"]);
    let scrape = Scrape::read(get(&key).await.expect(200).text);
    assert_eq!(scrape.value("doorward_store_writable"), 1.0);
    let other = Actor::with_api_key(&server, "prometheus", &["users:read"]);
    let refused = get(&other).await.expect(403);
    assert_eq!(refused.body["requiredPermission"], "metrics:read");
    let viewer = Actor::registered_with_tokens(&server, "ada@example.org").await;
    assert_eq!(get(&viewer).await.outcome(), (403, "FORBIDDEN"));
    let admin = Actor::with_role(&server, "bob@example.org", "admin").await;
    get(&admin).await.expect(200);
    admin.post("/metrics", &serde_json::json!({})).await.expect(405);
    let garbage = Actor::bearing(&server, "garbage".into());
    assert_eq!(get(&garbage).await.outcome(), (401, "INVALID_TOKEN"));
}

#[tokio::test]
async fn met_1_a_wrong_credential_is_not_overlooked_on_this_machine() {
    let server = Server::with(&[ENABLED]);
    assert_eq!(ask(&server.address, "Authorization: Bearer garbage\r\n"), 401);
}

/// An nginx that hands on everything and says nothing of it, as `proxy_pass` alone does.
struct Silent {
    child: Child,
    address: String,
    _dir: tempfile::TempDir,
}

impl Silent {
    fn before(upstream: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (at, address) = (dir.path().display(), free_address());
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|of| format!("{of}_temp_path {at}/{of};")).concat();
        let site = format!("server {{ listen {address}; location / {{ proxy_pass http://{upstream}; }} }}");
        let text = format!(
            "daemon off; master_process off; pid {at}/pid; error_log stderr; events {{}} http {{ access_log off; {paths} {site} }}"
        );
        let file = dir.path().join("configuration");
        std::fs::write(&file, text).expect("written");
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("nginx");
        command.env("PATH", path).arg("-c").arg(&file).arg("-p").arg(dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("nginx, which tests/run installs on Debian, as root");
        let begun = Instant::now();
        while TcpStream::connect(&address).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "nginx does not listen");
            std::thread::yield_now();
        }
        Self { child, address, _dir: dir }
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").to_string()
}

#[tokio::test]
async fn met_1_a_silent_nginx_lets_nobody_read_them() {
    for proxies in ["server.trusted_proxies=", "server.trusted_proxies=127.0.0.1"] {
        let server = Server::with(&[ENABLED, "server.public_url=https://login.example.org", proxies]);
        let nginx = Silent::before(&server.address);
        assert_eq!(ask(&nginx.address, ""), 401, "{proxies}");
    }
}

#[tokio::test]
async fn met_3_a_listener_of_its_own_has_nothing_else() {
    let (server, at) = measured(&[]);
    assert_eq!(Actor::at(&server).get("/metrics").await.status, 404, "the main listener has none unless that is set");
    let alone = Actor::at_address(&at);
    for path in ["/", "/health", "/api/auth/verify", "/metrics/", "/metrics/x", "/doorward.js"] {
        assert_eq!(alone.get(path).await.outcome(), (404, "NOT_FOUND"), "{path}");
    }
    let refused = alone.post("/metrics", &serde_json::json!({})).await.expect(405);
    assert_eq!(refused.header("allow"), Some("GET, HEAD"));
    send(alone.request("HEAD", "/metrics")).await.expect(200);
    assert_eq!(ask(&at, "X-Forwarded-For: 203.0.113.5\r\n"), 200, "who reaches it may read");
}

/// One that has taken every place and says nothing makes room.
#[tokio::test]
async fn met_3_idle_connections_do_not_keep_prometheus_out() {
    let (_server, at) = measured(&[]);
    let idle: Vec<_> = (0..64).map(|_| TcpStream::connect(&at).expect("connected")).collect();
    assert_eq!(ask(&at, ""), 200);
    drop(idle);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let dir = tempfile::tempdir().expect("a directory");
    let listen = format!("metrics.listen={}", taken.local_addr().expect("an address"));
    let refused = crate::support::launch(dir.path(), &[listen], &[]).expect_err("it is taken");
    assert!(refused.contains("doorward: metrics.listen: 127.0.0.1:") && refused.contains("take another address"), "{refused}");
    assert!(!dir.path().join("data").exists(), "nothing was made");
}
