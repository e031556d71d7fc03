//! The programs in `examples/` work as they say.

use crate::support::{Actor, Server};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::{Child, Command, Stdio},
};

/// A running example verifier. Dropping it kills it.
struct Verifier {
    child: Child,
    base: String,
}

impl Drop for Verifier {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Verifier {
    /// Starts a verifier that asks this server for this permission.
    fn start(program: &str, file: &str, doorward: &str, permission: &str) -> Self {
        let mut child = Command::new(program)
            .arg(format!("{}/examples/{file}", env!("CARGO_MANIFEST_DIR")))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("a PATH"))
            .envs([("DOORWARD_URL", doorward), ("PERMISSION", permission), ("PORT", "0")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let base = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{file} said {line:?}")).to_owned();
        Self { child, base }
    }

    /// Sends this access token. Returns status, `error`, challenge and reader of the answer.
    async fn articles(&self, token: Option<&str>) -> (u16, String, String, String) {
        let mut request = reqwest::Client::new().get(format!("{}/articles", self.base));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let challenge = answer.headers().get("www-authenticate").map(|value| value.to_str().expect("ASCII").to_owned());
        let body: Value = serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
        let text = |member: &str| body[member].as_str().unwrap_or_default().to_owned();
        (status, text("error"), challenge.unwrap_or_default(), text("reader"))
    }
}

/// A server that is not Doorward and answers 200 to one request, whatever it is.
fn yes_to_everything() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut head = [0; 4096];
        let read = stream.read(&mut head).expect("a request");
        assert!(head[..read].starts_with(b"GET /api/auth/verify?"), "{:?}", String::from_utf8_lossy(&head[..read]));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}").expect("answered");
    });
    url
}

#[test]
fn the_verifiers_of_the_examples_let_in_who_may_and_nobody_else() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for (program, file) in [("python3", "verifier.py"), ("node", "verifier.mjs")] {
        runtime.block_on(holds(program, file));
    }
}

async fn holds(program: &str, file: &str) {
    let mut server = Server::start();
    let mut ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let token = ada.access.clone().expect("a token");
    let token = Some(token.as_str());
    let [reads, writes, mistyped] =
        ["articles:read", "articles:write", "articles:reed"].map(|permission| Verifier::start(program, file, &server.url(""), permission));
    let refusal = |status, error: &str, challenge: &str| (status, error.to_owned(), challenge.to_owned(), String::new());

    assert_eq!(reads.articles(token).await, (200, String::new(), String::new(), ada.id.clone()), "{file}");
    let bare = "Bearer realm=\"doorward\"";
    assert_eq!(reads.articles(None).await, refusal(401, "MISSING_TOKEN", bare), "{file}");
    let invalid = "Bearer error=\"invalid_token\"";
    assert_eq!(reads.articles(Some("x")).await, refusal(401, "INVALID_TOKEN", invalid), "{file}");
    let scope = "Bearer error=\"insufficient_scope\", scope=\"articles:write\"";
    assert_eq!(writes.articles(token).await, refusal(403, "FORBIDDEN", scope), "{file}");

    // Any other answer denies access: to a query with a typo, a 200 of another server, no answer at all.
    let closed = refusal(503, "UNAVAILABLE", "");
    assert_eq!(mistyped.articles(token).await, closed, "{file}");
    let deceived = Verifier::start(program, file, &yes_to_everything(), "articles:read");
    assert_eq!(deceived.articles(token).await, closed, "{file}");

    ada.logout().await.expect(200);
    let revoked = "Bearer error=\"invalid_token\", error_description=\"revoked\"";
    assert_eq!(reads.articles(token).await, refusal(401, "TOKEN_REVOKED", revoked), "{file}");

    server.stop();
    assert_eq!(reads.articles(token).await, closed, "{file}");
    assert_eq!(reads.articles(None).await, closed, "{file}");
}
