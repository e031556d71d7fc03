//! The HTTP layer: bodies, methods, paths, headers.

use crate::support::{Actor, PASSWORD, Server, send};
use doorward::http::routes::ROUTES;
use serde_json::json;
use std::collections::BTreeMap;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Sends bytes as they are and reads until the server closes the connection.
async fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(&server.address).await.expect("connected");
    // The server may close the connection before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status in {answer:?}"))
}

/// A path of the route table with an id for each parameter.
fn concrete(path: &str) -> String {
    path.replace("ApiKeyId", &"0".repeat(32))
        .replace("UserId", &"0".repeat(32))
        .replace("SessionId", &"0".repeat(32))
        .replace("InviteId", &"0".repeat(32))
}

#[tokio::test]
async fn http_2_a_body_has_ten_kibibytes_at_most_however_it_is_sent() {
    let server = Server::start();
    let post = |headers: &str| {
        format!(
            "POST /api/auth/login HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n{headers}\r\n",
            server.address
        )
    };
    let login = json!({ "email": "nobody@example.org", "password": PASSWORD }).to_string();
    for (len, expected) in [(10 * 1024, 401), (10 * 1024 + 1, 413)] {
        let body = format!("{login}{}", " ".repeat(len - login.len()));
        let answer = raw(&server, format!("{}{body}", post(&format!("Content-Length: {len}\r\n"))).as_bytes()).await;
        assert_eq!(status(&answer), expected, "{len}: {answer}");
        let chunks = body.as_bytes().chunks(1000).map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)));
        let chunks = chunks.collect::<Vec<_>>().concat();
        let answer = raw(&server, format!("{}{chunks}0\r\n\r\n", post("Transfer-Encoding: chunked\r\n")).as_bytes()).await;
        assert_eq!(status(&answer), expected, "{len} in chunks: {answer}");
    }
    let answer = raw(&server, post("Content-Length: 99999999999\r\n").as_bytes()).await;
    assert_eq!(status(&answer), 413, "refused before it is sent");
    assert!(answer.contains("PAYLOAD_TOO_LARGE"), "{answer}");
}

#[tokio::test]
async fn http_4_a_body_is_json_by_exactly_one_content_type() {
    let server = Server::start();
    let alice = Actor::registered(&server, "alice@example.org").await;
    let body = json!({ "email": "alice@example.org", "password": PASSWORD }).to_string();
    let post = |types: &[&str]| {
        let request = alice.request("POST", "/api/auth/login").body(body.clone());
        types.iter().fold(request, |request, kind| request.header("content-type", *kind))
    };
    for good in ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"] {
        send(post(&[good])).await.expect(200);
    }
    for bad in [
        &[][..],
        &["text/plain"],
        &["application/x-www-form-urlencoded"],
        &["multipart/form-data; boundary=x"],
        &["application/json; charset=latin1"],
        &["application/jsonp"],
        &["application/json", "application/json"],
        &["text/plain", "application/json"],
    ] {
        assert_eq!(send(post(bad)).await.outcome(), (415, "UNSUPPORTED_MEDIA_TYPE"), "{bad:?}");
    }
    let change = alice.bearer("POST", "/api/auth/password").body("{}");
    assert_eq!(send(change).await.status, 415);
    let refresh = alice.with_cookies("POST", "/api/auth/refresh").header("content-type", "text/plain").body("x");
    assert_eq!(send(refresh).await.status, 415);
}

#[tokio::test]
async fn http_6_unknown_paths_are_404_and_known_ones_name_their_methods() {
    let server = Server::start();
    let nobody = Actor::at(&server);
    for path in
        ["/api", "/api/auth", "/api/nothing", "/api/auth/login/x", "/nothing", "/api/users/me/x", "/healthz", "/.env", "/index.html"]
    {
        for method in ["GET", "POST", "DELETE", "OPTIONS"] {
            assert_eq!(send(nobody.request(method, path)).await.outcome(), (404, "NOT_FOUND"), "{method} {path}");
        }
    }
    let mut methods: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    // Those below `/.doorward/` are there at the hosts of apps alone.
    for route in ROUTES.iter().filter(|route| !route.path.starts_with("/.doorward/")) {
        methods.entry(concrete(route.path.trim_end_matches('/'))).or_default().push(route.method);
    }
    methods.insert("/health".into(), vec!["GET", "OPTIONS"]);
    methods.insert("/".into(), vec!["GET"]);
    for (path, known) in &methods {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
            let answer = send(nobody.request(method, path)).await;
            if known.contains(&method) || (method == "HEAD" && known.contains(&"GET")) {
                assert!(!matches!(answer.status, 404 | 405), "{method} {path}: {}", answer.status);
                continue;
            }
            assert_eq!(answer.status, 405, "{method} {path}");
            let mut allowed: Vec<_> = answer.header("allow").expect("Allow").split(", ").collect();
            allowed.retain(|method| *method != "HEAD");
            allowed.sort_unstable();
            let mut expected = known.clone();
            expected.sort_unstable();
            assert_eq!(allowed, expected, "{method} {path}");
        }
    }
    let host = &server.address;
    for line in ["TRACE /api/users/me", "CONNECT /", "TRACE /"] {
        let answer = raw(
            &server,
            format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAuthorization: Bearer secret\r\n\r\n").as_bytes(),
        )
        .await;
        assert!(matches!(status(&answer), 400 | 405) && !answer.contains("secret"), "{line}: {answer}");
    }
}

#[tokio::test]
async fn http_7_a_path_has_one_spelling() {
    let server = Server::start();
    let alice = Actor::registered(&server, "alice@example.org").await;
    alice.get("/api/users/me").await.expect(200);
    for path in [
        "/api/users/me/",
        "//api/users/me",
        "/api//users/me",
        "/api/users/%6de",
        "/api/users/m%65",
        "/api/./users/me",
        "/api/x/../users/me",
        "/api/users/me;x=1",
        "/API/users/me",
        "/api/Users/me",
        "/api/users/ME",
        "/api/users/me%00",
        "/api%2fusers/me",
        "/api/users/me%20",
        "/health/",
        "/api/users/me#",
        "/api/users/me#x",
        "/api/users/me?x#y",
    ] {
        // HTTP clients normalise paths, so the request is written to a socket.
        let token = alice.access.as_deref().expect("a token");
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n", server.address);
        let answer = raw(&server, request.as_bytes()).await;
        assert_eq!(status(&answer), 404, "{path}: {answer}");
        assert!(answer.contains("NOT_FOUND"), "{answer}");
    }
}

#[tokio::test]
async fn http_8_9_what_is_no_json_object_is_malformed() {
    let server = Server::start();
    let nobody = Actor::at(&server);
    let deep = format!("{{\"email\":{}", "[".repeat(9000));
    let bodies: Vec<Vec<u8>> = vec![
        b"{".to_vec(),
        b"{\"email\":\"a@x.org\",\"password\":\"correct horse battery\"}x".to_vec(),
        b"{\"email\":\"a@x.org\",\"password\":\"correct horse battery\"}{}".to_vec(),
        b"{'email':'a@x.org'}".to_vec(),
        b"{\"email\":\"a@x.org\",}".to_vec(),
        b"\xef\xbb\xbf{\"email\":\"a@x.org\",\"password\":\"correct horse battery\"}".to_vec(),
        b"{\"email\":\"\xff@x.org\",\"password\":\"correct horse battery\"}".to_vec(),
        "[".repeat(10_000).into_bytes(),
    ];
    for body in bodies {
        let answer = send(nobody.request("POST", "/api/auth/login").header("content-type", "application/json").body(body.clone())).await;
        assert_eq!(answer.outcome(), (400, "MALFORMED_JSON"), "{:.80}", String::from_utf8_lossy(&body));
    }
    // Valid JSON, but not an object.
    for body in ["", "[]", "null", "\"x\"", "5"] {
        let answer = send(nobody.request("POST", "/api/auth/login").header("content-type", "application/json").body(body)).await;
        assert_eq!(
            (answer.outcome(), &*answer.text_of("message")),
            ((400, "VALIDATION_FAILED"), "The body must be a JSON object"),
            "{body}"
        );
    }
    let answer = send(nobody.request("POST", "/api/auth/login").header("content-type", "application/json").body(deep)).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    // Valid JSON by its grammar, but the string is not valid Unicode (RFC 8259 §8.2).
    let lone = r#"{"email":"a@x.org","password":"\ud800 lone"}"#;
    let answer = send(nobody.request("POST", "/api/auth/login").header("content-type", "application/json").body(lone)).await;
    assert_eq!((answer.outcome(), &answer.body["fields"][0]["field"]), ((400, "VALIDATION_FAILED"), &json!("password")));
    let twice = r#"{"email":"a@x.org","password":"correct horse battery","email":"b@x.org"}"#;
    let answer = send(nobody.request("POST", "/api/auth/login").header("content-type", "application/json").body(twice)).await;
    assert_eq!(answer.outcome(), (400, "VALIDATION_FAILED"));
}

#[tokio::test]
async fn http_11_requests_on_one_connection_know_nothing_of_each_other() {
    let server = Server::start();
    let alice = Actor::registered(&server, "alice@example.org").await;
    let bob = Actor::registered(&server, "bob@example.org").await;
    let get = |token: Option<&str>, connection: &str| {
        let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        format!("GET /api/users/me HTTP/1.1\r\nHost: {}\r\nConnection: {connection}\r\n{bearer}\r\n", server.address)
    };
    let (first, second) = (alice.access.as_deref(), bob.access.as_deref());
    // All requests are sent at once, before any is answered.
    let pipelined = [get(first, "keep-alive"), get(None, "keep-alive"), get(second, "keep-alive"), get(None, "close")].concat();
    let answers = raw(&server, pipelined.as_bytes()).await;
    let answers: Vec<_> = answers.split("HTTP/1.1 ").skip(1).collect();
    assert_eq!(answers.len(), 4, "{answers:?}");
    assert!(answers[0].starts_with("200") && answers[0].contains("alice@example.org"));
    assert!(answers[1].starts_with("401") && answers[1].contains("MISSING_TOKEN") && !answers[1].contains("x-token-expires-in"));
    assert!(answers[2].starts_with("200") && answers[2].contains("bob@example.org") && !answers[2].contains("alice"));
    assert!(answers[3].starts_with("401") && !answers[3].contains("bob"));
}

#[tokio::test]
async fn http_12_head_is_get_without_a_body() {
    let server = Server::start();
    let alice = Actor::registered(&server, "alice@example.org").await;
    for path in ["/api/users/me", "/api/auth/verify", "/api/auth/sessions", "/health", "/", "/api/users"] {
        let (get, head) = (alice.get(path).await, send(alice.bearer("HEAD", path)).await);
        assert_eq!((head.status, head.text.as_str()), (get.status, ""), "{path}");
        for (name, value) in &get.headers {
            if !matches!(name.as_str(), "date" | "x-request-id" | "x-token-expires-in" | "content-length") {
                assert_eq!(head.headers.get(name), Some(value), "{path} {name}");
            }
        }
    }
}

#[tokio::test]
async fn http_12_health_answers_a_balancer_that_asks_for_options() {
    let answer = send(Actor::at(&Server::start()).request("OPTIONS", "/health")).await.expect(204);
    assert_eq!((answer.header("allow"), answer.text.as_str()), (Some("GET, HEAD, OPTIONS"), ""));
}

#[tokio::test]
async fn http_13_health_says_that_it_works_and_nothing_else() {
    let server = Server::start();
    let answer = send(Actor::at(&server).request("GET", "/health")).await.expect(200);
    let names: Vec<_> = answer.body.as_object().expect("an object").keys().collect();
    assert_eq!(names, ["status", "timestamp"]);
    assert_eq!(answer.body["status"], "ok");
    assert!(answer.text_of("timestamp").ends_with('Z'), "{}", answer.text);
    assert!(!answer.text.contains(env!("CARGO_PKG_VERSION")), "{}", answer.text);
}

#[tokio::test]
async fn http_5_a_request_names_its_host_once() {
    let server = Server::start();
    let host = &server.address;
    for (head, expected) in [
        (format!("GET /health HTTP/1.1\r\nHost: {host}\r\n"), 200),
        (format!("GET /health HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n"), 400),
        ("GET /health HTTP/1.1\r\n".to_owned(), 400),
        (format!("GET http://{host}/health HTTP/1.1\r\nHost: evil.example\r\n"), 400),
        (format!("GET http://{host}/health HTTP/1.1\r\nHost: {host}\r\n"), 200),
        // Health checkers send an empty `Host`, which counts as none; a value that is no host is refused.
        ("GET /health HTTP/1.1\r\nHost:\r\n".to_owned(), 200),
        (format!("GET http://{host}/health HTTP/1.1\r\nHost:\r\n"), 400),
        ("GET /health HTTP/1.1\r\nHost: a b\r\n".to_owned(), 400),
        ("GET /health HTTP/1.1\r\nHost: x@y\r\n".to_owned(), 400),
        ("GET /health HTTP/1.1\r\nHost: x:y\r\n".to_owned(), 400),
    ] {
        let answer = raw(&server, format!("{head}Connection: close\r\n\r\n").as_bytes()).await;
        assert_eq!(status(&answer), expected, "{head}: {answer}");
    }
}

#[tokio::test]
async fn hdr_1_to_5_every_answer_carries_what_it_must() {
    let server = Server::start();
    let alice = Actor::registered(&server, "alice@example.org").await;
    for (method, path) in [
        ("GET", "/api/users/me"),
        ("GET", "/api/nothing"),
        ("PUT", "/api/users"),
        ("POST", "/api/auth/login"),
        ("GET", "/health"),
        ("GET", "/nothing"),
    ] {
        let answer = send(alice.bearer(method, path)).await;
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"), "HDR-3 {path}");
        assert_eq!(answer.header("content-security-policy"), Some("default-src 'none'; frame-ancestors 'none'"), "HDR-2 {path}");
        assert_eq!(answer.header("strict-transport-security"), None, "HDR-4 {path}");
        assert_eq!(answer.header("server"), None, "HDR-5");
        if path.starts_with("/api/") {
            assert_eq!(answer.header("vary"), Some("Origin, Sec-Fetch-Site"), "HDR-7");
        }
    }
    let page = send(alice.request("GET", "/")).await.expect(200);
    let policy = page.header("content-security-policy").expect("a policy");
    for directive in [
        "default-src 'none'",
        "script-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "object-src 'none'",
        "frame-ancestors 'none'",
        "form-action 'self'",
    ] {
        assert!(policy.contains(directive), "HDR-2: {directive} not in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
}

#[tokio::test]
async fn hdr_5_a_request_has_an_id_of_ours_or_of_a_trusted_proxy_and_what_a_client_calls_it_is_noted() {
    let server = Server::start();
    let nobody = Actor::at(&server);
    let with = |id: &str| nobody.request("GET", "/api/users/me").header("x-request-id", id);
    let mut seen = std::collections::HashSet::new();
    for sent in ["abc-123", "abc-123", "", "a b", "<script>", "a;b", "../x", &"x".repeat(65)] {
        let answer = send(with(sent)).await;
        let id = answer.header("x-request-id").expect("an id").to_owned();
        assert_eq!(id, answer.text_of("requestId"));
        assert!(seen.insert(id), "an id twice");
    }
    let wrong = json!({ "email": "nobody@example.org", "password": "wrong wrong wrong" });
    let answer = send(nobody.request("POST", "/api/auth/login").header("x-request-id", "abc-123").json(&wrong)).await.expect(401);
    let (log, ids) = (server.log(), format!("id=\"{}\" client_id=\"abc-123\"", answer.text_of("requestId")));
    assert!(log.lines().any(|line| line.contains("login_failed") && line.contains(&ids)), "{ids} not in {log}");

    let server = Server::with(&["server.trusted_proxies=127.0.0.1"]);
    let proxied =
        Actor::at(&server).request("GET", "/api/users/me").header("x-request-id", "abc-123").header("x-forwarded-for", "192.0.2.1");
    let answer = send(proxied).await;
    assert_eq!((answer.header("x-request-id"), answer.text_of("requestId")), (Some("abc-123"), "abc-123".into()));
}

/// Clients send an empty body in many forms; all are treated the same.
#[tokio::test]
async fn a_body_that_says_nothing_is_none_whatever_it_looks_like() {
    let server = Server::start();
    let mut alice = Actor::registered(&server, "alice@example.org").await;
    let json = "application/json";
    let form = "application/x-www-form-urlencoded";
    for (content_type, body) in
        [(None, ""), (Some(json), ""), (Some(form), ""), (Some(json), "{}"), (Some(json), "null"), (Some(json), r#"{"refreshToken":null}"#)]
    {
        let mut request = alice.with_cookies("POST", "/api/auth/refresh").body(body);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let answer = send(request).await.expect(200);
        alice.take(&answer);
    }
    let nulls = r#"{"email":"bob@example.org","password":"correct horse battery","invite":null,"tokenTransport":null,"deviceToken":null}"#;
    send(alice.request("POST", "/api/auth/register").header("content-type", json).body(nulls)).await.expect(201);
    let empty = r#"{"email":"carol@example.org","password":"correct horse battery","invite":""}"#;
    send(alice.request("POST", "/api/auth/register").header("content-type", json).body(empty)).await.expect(201);
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    for body in ["", "null", "{}", r#"{"role":null,"expiresIn":null,"email":null}"#] {
        let request = admin.bearer("POST", "/api/invites").header("content-type", json).body(body);
        assert_eq!(send(request).await.expect(201).body["role"], "viewer", "{body}");
    }
    // A body with content still needs the right type and valid fields.
    for (content_type, body, outcome) in [
        (form, "a=b", (415, "UNSUPPORTED_MEDIA_TYPE")),
        ("application/json; charset=latin1", "{}", (415, "UNSUPPORTED_MEDIA_TYPE")),
        (json, r#"{"refreshToken":5}"#, (400, "VALIDATION_FAILED")),
        (json, r#"{"more":1}"#, (400, "VALIDATION_FAILED")),
        (json, "[]", (400, "VALIDATION_FAILED")),
        (json, "{", (400, "MALFORMED_JSON")),
    ] {
        let answer = send(alice.with_cookies("POST", "/api/auth/refresh").header("content-type", content_type).body(body)).await;
        assert_eq!(answer.outcome(), outcome, "{body}");
    }
    let login = r#"{"email":"bob@example.org","password":"correct horse battery"}"#;
    for parameters in ["; charset=utf8", "; charset=us-ascii", "; profile=\"x\"", "; odata=verbose"] {
        let request = alice.request("POST", "/api/auth/login").header("content-type", format!("{json}{parameters}"));
        send(request.body(login)).await.expect(200);
    }
}
