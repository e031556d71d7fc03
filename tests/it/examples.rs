//! The programs in `examples/` work as they say: those that ask Doorward, and those that verify tokens by themselves, with
//! `PyJWKClient` of `PyJWT` and jose's remote key set.

use crate::support::{Actor, Server, claims};
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// An interpreter that finds what `requirements.txt` or `package-lock.json` names. It is fetched unless it is there.
fn interpreter(file: &str) -> PathBuf {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let run = |command: &mut Command| {
        let status = command.current_dir(directory()).stdout(Stdio::null()).status();
        assert!(status.unwrap_or_else(|error| panic!("{command:?}: {error}")).success(), "{command:?} failed");
    };
    let (_, language) = file.split_once('.').expect("an extension");
    if language == "mjs" {
        if !directory().join("node_modules/jose").exists() {
            run(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]));
        }
        return "node".into();
    }
    let python = directory().join(".venv/bin/python3");
    if !python.exists() || !Command::new(&python).args(["-c", "import jwt, cryptography"]).status().is_ok_and(|status| status.success()) {
        run(Command::new("python3").args(["-m", "venv", ".venv"]));
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"]));
    }
    python
}

/// A running example. Dropping it kills it.
struct Example {
    child: Child,
    base: String,
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What an example answers: status, `error`, challenge and reader.
type Answer = (u16, String, String, String);

fn refusal(status: u16, error: &str, challenge: &str) -> Answer {
    (status, error.to_owned(), challenge.to_owned(), String::new())
}

impl Example {
    /// Starts an example with the Doorward at this address, and this permission to ask for.
    fn start(file: &str, doorward: &str, environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(interpreter(file))
            .arg(directory().join(file))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("a PATH"))
            .envs([("DOORWARD_URL", doorward), ("PORT", "0")])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let base = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{file} said {line:?}")).to_owned();
        Self { child, base }
    }

    /// Sends this access token.
    async fn articles(&self, token: Option<&str>) -> Answer {
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

    async fn status(&self, token: &str) -> u16 {
        self.articles(Some(token)).await.0
    }

    /// Waits until a token is answered with this status. Nothing tells when an example has heard of something.
    async fn answers(&self, token: &str, status: u16, within: Duration) {
        let begun = Instant::now();
        while self.status(token).await != status {
            assert!(begun.elapsed() < within, "not yet {status} after {within:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
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

/// An address that leads to a server, also after the server was started again on another port.
struct Relay {
    url: String,
    target: Arc<Mutex<String>>,
}

impl Relay {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let target = Arc::new(Mutex::new(String::new()));
        let leads_to = Arc::clone(&target);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let target = leads_to.lock().expect("a lock").clone();
                // Without a server the connection ends at once.
                let Ok(server) = TcpStream::connect(target) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().expect("a descriptor"), to.try_clone().expect("a descriptor"));
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                    });
                }
            }
        });
        Self { url, target }
    }

    fn lead_to(&self, server: &Server) {
        self.target.lock().expect("a lock").clone_from(&server.address);
    }
}

#[test]
fn those_that_ask_let_in_who_may_and_nobody_else() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for file in ["ask.py", "ask.mjs"] {
        runtime.block_on(asks(file));
    }
}

async fn asks(file: &str) {
    let mut server = Server::start();
    let mut ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let token = ada.access.clone().expect("a token");
    let token = Some(token.as_str());
    let [reads, writes, mistyped] = ["articles:read", "articles:write", "articles:reed"]
        .map(|permission| Example::start(file, &server.url(""), &[("PERMISSION", permission)]));

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
    let deceived = Example::start(file, &yes_to_everything(), &[]);
    assert_eq!(deceived.articles(token).await, closed, "{file}");

    ada.logout().await.expect(200);
    let revoked = "Bearer error=\"invalid_token\", error_description=\"revoked\"";
    assert_eq!(reads.articles(token).await, refusal(401, "TOKEN_REVOKED", revoked), "{file}");

    server.stop();
    assert_eq!(reads.articles(token).await, closed, "{file}");
    assert_eq!(reads.articles(None).await, closed, "{file}");
}

#[test]
fn rev_10_those_that_verify_follow_rotations_and_revocations_in_every_algorithm() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for file in ["verifier.py", "verifier.mjs"] {
        for (algorithm, next) in [("EdDSA", "ES256"), ("ES256", "RS256"), ("RS256", "EdDSA")] {
            runtime.block_on(verifies(file, algorithm, next));
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// How long an example may take to connect again.
const RECONNECTED: Duration = Duration::from_secs(5);
/// How long a key is published before it signs.
const PUBLISHED: &str = "172800";

fn token_of(actor: &Actor) -> String {
    actor.access.clone().expect("a token")
}

fn header(token: &str) -> Value {
    let header = token.split('.').next().expect("a header");
    serde_json::from_slice(&BASE64URL_NOPAD.decode(header.as_bytes()).expect("base64url")).expect("JSON")
}

/// Moves Doorward's clock.
fn clock(server: &Server, arguments: &[&str]) {
    let output = server.command(&[&["clock"], arguments].concat(), "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The id of the key that signs access tokens.
fn current_key(server: &Server) -> Value {
    let keys = server.json(&["key", "list"], "");
    keys.as_array().expect("a list").iter().find(|key| key["purpose"] == "access" && key["state"] == "current").expect("a key signs")["id"]
        .clone()
}

async fn verifies(file: &str, algorithm: &str, next: &str) {
    let relay = Relay::start();
    let (public, alg) = (format!("server.public_url={}", relay.url), format!("tokens.algorithm={algorithm}"));
    let mut server = Server::with(&[&public, &alg]);
    relay.lead_to(&server);
    // The example's clock stays: Doorward's begins two days ago.
    clock(&server, &[&format!("-{PUBLISHED}")]);
    server.json(&["service", "add", "gateway", "--role", "admin"], "");
    let key = Actor::with_api_key(&server, "gateway", &["tokens:introspect"]);
    let example = Example::start(file, &relay.url, &[("DOORWARD_KEY", &token_of(&key))]);
    let mut ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let first = token_of(&ada);

    // The next key is published two days before it signs, so a cache that was filled in the meantime has it.
    server.json(&["key", "rotate"], "");
    assert_eq!(example.status(&first).await, 401, "over, by the example's clock");
    clock(&server, &[PUBLISHED, "--slept"]);
    let begun = Instant::now();
    while current_key(&server) == header(&first)["kid"] {
        assert!(begun.elapsed() < RECONNECTED, "the next key signs");
    }
    ada.refresh().await.expect(200);
    assert_eq!(header(&token_of(&ada))["alg"], algorithm);
    assert_ne!(header(&token_of(&ada))["kid"], header(&first)["kid"]);
    let welcome = (200, String::new(), String::new(), ada.id.clone());
    assert_eq!(example.articles(Some(&token_of(&ada))).await, welcome, "{file} {algorithm}: at the first try");

    bad_tokens_are_refused(&example, &ada).await;
    revocations_are_heard(&server, &example, &mut ada).await;

    // A restart with another algorithm: tokens from before stay good, beside new ones. The key set has both kinds.
    let before = token_of(&ada);
    assert!(server.stop().success());
    assert_eq!(example.status(&before).await, 200, "Doorward is down, and no token is void for that");
    server.set("tokens.algorithm", next);
    server.start_again();
    relay.lead_to(&server);
    ada = ada.moved_to(&server);
    ada.refresh().await.expect(200);
    assert_eq!(header(&token_of(&ada))["alg"], next);
    example.answers(&token_of(&ada), 200, RECONNECTED).await;
    assert_eq!(example.status(&before).await, 200);

    // Revoked while Doorward is down.
    assert!(server.stop().success());
    server.json(&["session", "revoke", "--user", "ada@example.org"], "");
    server.start_again();
    relay.lead_to(&server);
    for token in [&before, &token_of(&ada)] {
        example.answers(token, 401, RECONNECTED).await;
    }
}

async fn bad_tokens_are_refused(example: &Example, ada: &Actor) {
    let token = token_of(ada);
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let none = format!("{}.{}.", BASE64URL_NOPAD.encode(br#"{"alg":"none","typ":"at+jwt"}"#), signed.split_once('.').expect("claims").1);
    let other = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    for bad in ["x", &none, &other, &format!("{signed}."), signed] {
        let invalid = refusal(401, "INVALID_TOKEN", "Bearer error=\"invalid_token\"");
        assert_eq!(example.articles(Some(bad)).await, invalid, "{bad}");
    }
    assert_eq!(example.articles(None).await.0, 401);
}

async fn revocations_are_heard(server: &Server, example: &Example, ada: &mut Actor) {
    let admin = Actor::with_role(server, "admin@example.org", "admin").await;
    let bob = Actor::registered_with_tokens(server, "bob@example.org").await;
    // Another role is another version: what was issued before is void.
    let before = token_of(ada);
    admin.set_role(&ada.id, "editor").await.expect(200);
    example.answers(&before, 401, SECOND).await;
    ada.refresh().await.expect(200);
    assert_eq!(example.status(&token_of(ada)).await, 200);
    bob.clone().logout().await.expect(200);
    example.answers(&token_of(&bob), 401, SECOND).await;

    let before = token_of(ada);
    server.json(&["key", "rotate", "--emergency", "--yes"], "");
    example.answers(&before, 401, SECOND).await;
    ada.refresh().await.expect(200);
    assert_ne!(header(&before)["kid"], header(&token_of(ada))["kid"]);
    example.answers(&token_of(ada), 200, SECOND).await;
    assert!(claims(&token_of(ada))["permissions"].is_array());
}

/// Nothing is published of a secret: who has only public keys lets nobody in, and who has the secret verifies with it.
#[test]
fn tokens_that_a_secret_signs_are_verified_with_the_secret_alone() {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = Server::with_environment(&[], &[("DOORWARD_ACCESS_SECRET", SECRET)]);
    let ada = runtime.block_on(Actor::registered_with_tokens(&server, "ada@example.org"));
    server.json(&["service", "add", "gateway", "--role", "admin"], "");
    let key = token_of(&Actor::with_api_key(&server, "gateway", &["tokens:introspect"]));
    let python = "import jwt, sys; print(jwt.decode(sys.argv[1], sys.argv[2], algorithms=['HS256'], audience='doorward')['sub'])";
    let node = "import { jwtVerify } from 'jose'; const [token, secret] = process.argv.slice(1); \
        const { payload } = await jwtVerify(token, new TextEncoder().encode(secret), { algorithms: ['HS256'] }); console.log(payload.sub)";
    for (file, flags, program) in [("verifier.py", &["-c"][..], python), ("verifier.mjs", &["--input-type=module", "-e"], node)] {
        let example = Example::start(file, &server.url(""), &[("DOORWARD_KEY", &key)]);
        assert!(matches!(runtime.block_on(example.status(&token_of(&ada))), 401 | 503), "{file}");
        let verify = |secret: &str| {
            let mut command = Command::new(interpreter(file));
            command.current_dir(directory()).args(flags).arg(program).args([&token_of(&ada), secret]).output().expect("it runs")
        };
        assert_eq!(String::from_utf8_lossy(&verify(SECRET).stdout).trim(), ada.id, "{file}");
        assert!(!verify(&SECRET.replace('0', "1")).status.success(), "{file}");
    }
}
