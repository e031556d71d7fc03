//! The README's section on proxies, run as printed except for addresses: real nginx and real Caddy between
//! hostile clients and a service that records its requests. The service must receive only the identity that Doorward gave.

mod front;

use crate::support::{Actor, PASSWORD, Server, send};
use front::{BOTH, DOORWARD, Echo, Kind, Proxy};
use serde_json::{Value, json};
use std::net::IpAddr;

const README: &str = include_str!("../../../README.md");

/// The code block in this language from the README's section on proxies.
fn printed(language: &str) -> &'static str {
    let (_, rest) = README.split_once("\n## Behind a proxy\n").expect("the section");
    let (section, _) = rest.split_once("\n## ").expect("a section after it");
    let (_, block) = section.split_once(&format!("\n```{language}\n")).unwrap_or_else(|| panic!("no {language} block"));
    block.split_once("\n```").expect("the end of a block").0
}

/// The identity that Doorward returns for an access token: user, email, role, permissions.
type Identity = [String; 4];

const NAMES: [&str; 4] = ["x-auth-user", "x-auth-email", "x-auth-role", "x-auth-permissions"];

async fn identity(actor: &Actor) -> Identity {
    let answer = send(actor.bearer("GET", "/api/auth/verify?permission=articles:read")).await.expect(200);
    NAMES.map(|name| answer.header(name).unwrap_or_else(|| panic!("no {name}")).to_owned())
}

/// Checks that a request which the service received carries exactly the identity that Doorward gave.
#[track_caller]
fn assert_is_from(identity: &Identity, request: &str, what: &str) {
    let (head, body) = request.split_once("\r\n\r\n").expect("a head");
    let mut seen = [const { None }; 4];
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{what}: {line:?}"));
        let (name, value) = (name.to_ascii_lowercase(), value.trim());
        if let Some(at) = NAMES.iter().position(|known| *known == name) {
            assert_eq!(seen[at].replace(value), None, "{what}: {name} twice in\n{head}");
        } else {
            // A service might treat other separators like `-`: X_Auth_Role, X.Auth.Role.
            assert!(!name.contains("auth"), "{what}: {line:?} reached the service");
        }
        let obeyed = matches!(&*name, "connection" | "upgrade") && value != "close";
        assert!(!obeyed, "{what}: {line:?} reached the service");
    }
    assert_eq!(seen.map(Option::unwrap_or_default), *identity, "{what}: \n{head}");
    assert!(!body.to_ascii_lowercase().contains("auth"), "{what}: in a trailer: {body:?}");
}

/// Header lines by which a client claims another identity.
const HOSTILE: [&str; 12] = [
    "X-Auth-User: evil\r\nX-Auth-Email: boss@example.org\r\nX-Auth-Role: admin\r\nX-Auth-Permissions: *\r\n",
    "x-auth-user: evil\r\nx-auth-email: boss@example.org\r\nx-auth-role: admin\r\nx-auth-permissions: *\r\n",
    "X-AUTH-USER: evil\r\nX-AUTH-EMAIL: boss@example.org\r\nX-AUTH-ROLE: admin\r\nX-AUTH-PERMISSIONS: *\r\n",
    "X_Auth_User: evil\r\nX_Auth_Email: boss@example.org\r\nX_AUTH_ROLE: admin\r\nx_auth_permissions: *\r\n",
    "X-Auth_Role: admin\r\nX_Auth-Role: admin\r\nX.Auth.Role: admin\r\nX~Auth+Role: admin\r\nX-Auth.Email: boss@example.org\r\n",
    "X-Auth-Role: admin\r\nX-Auth-Role: editor\r\nx-auth-role:admin\r\nX-Auth-Email: a\r\nX-Auth-Email: b\r\n",
    "X-Auth-Role:\r\nX-Auth-User: \r\nX-Auth-Email:\tboss@example.org\t\r\n",
    "Connection: X-Auth-Role\r\nConnection: X-Auth-User, x-auth-email, X-AUTH-PERMISSIONS\r\nX-Auth-Role: admin\r\n",
    "Connection: keep-alive, X_Auth_Role, X-Auth-Role\r\nKeep-Alive: X-Auth-Role\r\nProxy-Connection: X-Auth-Role\r\n",
    "Connection: Authorization\r\nConnection: close, authorization\r\n",
    "Connection: Upgrade, HTTP2-Settings, X-Auth-Role\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
];

/// Malformed ones, which a proxy may refuse or pass on in a harmless form.
const MALFORMED: [&str; 6] = [
    "X-Folded: a\r\n X-Auth-Role: admin\r\n",
    "X-Folded: a\r\n\tb\r\nX-Auth-Role: admin\r\n",
    "X-Auth-Role : admin\r\n",
    "X-Auth-Role\t: admin\r\n",
    " X-Auth-Role: admin\r\n",
    "X-Other: a\nX-Auth-Role: admin\r\n",
];

fn bearer(actor: &Actor) -> String {
    format!("Authorization: Bearer {}\r\n", actor.access.as_deref().expect("a token"))
}

#[tokio::test]
async fn the_service_receives_doorwards_word_and_nothing_a_client_says_of_itself() {
    let server = Server::start();
    let people = [
        Actor::registered_with_tokens(&server, "ada@example.org").await,
        Actor::with_role(&server, "bob@example.org", "editor").await,
        Actor::with_role(&server, "admin@example.org", "admin").await,
    ];
    for kind in BOTH {
        let service = Echo::service();
        let proxy = Proxy::between(kind, &server.address, &service);
        for person in &people {
            let (identity, token) = (identity(person).await, bearer(person));
            for lines in HOSTILE {
                for lines in [format!("{lines}{token}"), format!("{token}{lines}")] {
                    let what = format!("{kind:?} {lines:?}");
                    assert_eq!(proxy.get(&lines), 200, "{what}");
                    let [request] = &service.take_requests()[..] else { panic!("{what}: not once") };
                    assert_is_from(&identity, request, &what);
                    // The same in HTTP/1.0, without `Host`.
                    assert_eq!(proxy.ask(&format!("GET /articles/1 HTTP/1.0\r\n{lines}\r\n")), 200, "{what}");
                    let [request] = &service.take_requests()[..] else { panic!("{what}: not once") };
                    assert_is_from(&identity, request, &what);
                }
            }
            for lines in MALFORMED {
                let (what, status) = (format!("{kind:?} {lines:?}"), proxy.get(&format!("{token}{lines}")));
                match &service.take_requests()[..] {
                    [] => assert!(matches!(status, 400 | 401), "{what}: {status}"),
                    [request] => assert_is_from(&identity, request, &what),
                    more => panic!("{what}: {more:?}"),
                }
            }
        }
    }
}

/// An API key is good for months: the service behind must not have it.
#[tokio::test]
async fn key_3_an_api_key_opens_the_service_and_does_not_reach_it() {
    let server = Server::start();
    server.json(&["service", "add", "backup", "--role", "viewer"], "");
    let key = Actor::with_api_key(&server, "backup", &["articles:read"]).access.expect("a key");
    let other = Actor::with_api_key(&server, "backup", &["articles:read"]);
    server.json(&["api-key", "revoke", &other.id], "");
    let revoked = other.access.expect("a key");
    for kind in BOTH {
        let service = Echo::service();
        let proxy = Proxy::between(kind, &server.address, &service);
        for lines in [format!("X-API-Key: {key}\r\n"), format!("x-api-key: {key}\r\n"), format!("Authorization: Bearer {key}\r\n")] {
            assert_eq!(proxy.get(&lines), 200, "{kind:?} {lines}");
            let [request] = &service.take_requests()[..] else { panic!("{kind:?}: not once") };
            assert!(!request.contains("dwk_"), "{kind:?}: {request}");
        }
        assert_eq!(proxy.get(&format!("X-API-Key: {revoked}\r\n")), 401, "{kind:?}");
        assert!(service.take_requests().is_empty());
    }
}

#[tokio::test]
async fn bodies_and_queries_pass_and_are_no_part_of_the_question() {
    let server = Server::start();
    let ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let (identity, token) = (identity(&ada).await, bearer(&ada));
    for kind in BOTH {
        let service = Echo::service();
        let proxy = Proxy::between(kind, &server.address, &service);
        for (method, lines, body) in [
            ("POST", "Content-Length: 3\r\n", "abc"),
            ("PUT", "Transfer-Encoding: chunked\r\nTrailer: X-Auth-Role\r\n", "3\r\nabc\r\n0\r\nX-Auth-Role: admin\r\n\r\n"),
            ("HEAD", "Range: bytes=0-1\r\nIf-None-Match: \"x\"\r\nIf-Modified-Since: Wed, 25 Nov 2026 00:00:00 GMT\r\n", ""),
            ("OPTIONS", "", ""),
        ] {
            let target = "/articles/1?permission=users:write&role=admin";
            let request = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{token}{lines}Connection: close\r\n\r\n{body}");
            assert_eq!(proxy.ask(&request), 200, "{kind:?} {method}");
            let [request] = &service.take_requests()[..] else { panic!("{kind:?} {method}: not once") };
            assert!(request.starts_with(&format!("{method} {target} HTTP/1.")), "{request}");
            assert_eq!(request.contains("abc"), !body.is_empty(), "{request}");
            assert_is_from(&identity, request, method);
        }
    }
}

#[tokio::test]
async fn without_a_good_token_and_the_permission_nothing_reaches_the_service() {
    let mut server = Server::with(&["roles.guest=[\"comments:read\"]"]);
    let ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let guest = bearer(&Actor::with_role(&server, "guest@example.org", "guest").await);
    let mut gone = Actor::with_role(&server, "gone@example.org", "editor").await;
    gone.logout().await.expect(200);
    let (good, gone) = (bearer(&ada), bearer(&gone));
    let bare = good.trim_start_matches("Authorization: Bearer ");
    let proxies = BOTH.map(|kind| {
        let service = Echo::service();
        (Proxy::between(kind, &server.address, &service), service)
    });
    let hostile = HOSTILE[0];
    for (proxy, service) in &proxies {
        for (lines, statuses) in [
            (String::new(), &[401][..]),
            (hostile.to_owned(), &[401]),
            ("Authorization:\r\n".to_owned(), &[401]),
            ("Authorization: Bearer {env.HOME}\r\n".to_owned(), &[401]),
            ("Authorization: Bearer a.b.c\r\n".to_owned(), &[401]),
            (format!("Authorization: Basic {bare}"), &[401]),
            (good.replace('.', "_"), &[401]),
            (format!("X-{good}"), &[401]),
            (format!("Cookie: accessToken={bare}"), &[401]),
            (gone.clone(), &[401]),
            (format!("{gone}{hostile}"), &[401]),
            (guest.clone(), &[403]),
            (format!("{guest}{hostile}"), &[403]),
            (format!("{good}{good}"), &[400, 401]),
            (format!("{good}Authorization: Bearer a.b.c\r\n"), &[400, 401]),
        ] {
            let what = format!("{:?} {lines:?}", proxy.kind);
            let status = proxy.get(&lines);
            assert!(statuses.contains(&status), "{what}: {status}");
            let status = proxy.ask(&format!("GET /articles/1 HTTP/1.0\r\n{lines}\r\n"));
            assert!(statuses.contains(&status), "{what}: {status}");
            assert_eq!(proxy.ask(&format!("OPTIONS /articles/1 HTTP/1.0\r\n{lines}\r\n")), status, "{what}");
            assert_eq!(service.take_requests(), Vec::<String>::new(), "{what}");
        }
        assert_eq!(proxy.get(&good), 200);
        assert_eq!(service.take_requests().len(), 1);
    }
    server.kill();
    for (proxy, service) in &proxies {
        let status = proxy.get(&good);
        assert!((500..600).contains(&status), "{:?}: {status}", proxy.kind);
        assert_eq!(service.take_requests(), Vec::<String>::new(), "{:?}", proxy.kind);
    }
}

#[test]
fn whatever_else_doorward_answers_lets_nobody_in_and_what_it_leaves_empty_stays_so() {
    let token = "Authorization: Bearer t\r\n";
    for kind in BOTH {
        for status in [302, 304, 400, 404, 408, 413, 429, 500, 503] {
            let (doorward, service) =
                (Echo::answering(&format!("HTTP/1.1 {status} No\r\nX-Auth-User: u\r\nX-Auth-Role: admin")), Echo::service());
            let answered = Proxy::between(kind, &doorward.address, &service).get(token);
            assert!(answered >= 300, "{kind:?} {status}: {answered}");
            assert_eq!((doorward.take_requests().len(), service.take_requests().len()), (1, 0), "{kind:?} {status}");
        }
        // A user whose address is not verified: the header is empty.
        let said = "HTTP/1.1 200 OK\r\nX-Auth-User: u\r\nX-Auth-Email:\r\nX-Auth-Role: viewer\r\nX-Auth-Permissions: articles:read";
        let (doorward, service) = (Echo::answering(said), Echo::service());
        let proxy = Proxy::between(kind, &doorward.address, &service);
        assert_eq!(proxy.get(&format!("{}{token}", HOSTILE[0])), 200, "{kind:?}");
        let [question] = &doorward.take_requests()[..] else { panic!("{kind:?}: not one question") };
        assert!(question.starts_with("GET /api/auth/verify?permission=articles:read HTTP/1."), "{question}");
        let [request] = &service.take_requests()[..] else { panic!("{kind:?}: not once") };
        assert_is_from(&["u", "", "viewer", "articles:read"].map(str::to_owned), request, &format!("{kind:?}"));
    }
}

/// The README's commented lines about preflights, enabled.
#[tokio::test]
async fn preflights_pass_once_the_owner_wants_it_and_are_nobodys() {
    let server = Server::start();
    let token = bearer(&Actor::registered_with_tokens(&server, "ada@example.org").await);
    for kind in BOTH {
        let block = ["if ($request_method", "@preflight method", "reverse_proxy @preflight"]
            .into_iter()
            .fold(kind.block().to_owned(), |block, line| block.replace(&format!("# {line}"), line));
        assert_ne!(block, kind.block());
        let service = Echo::service();
        let proxy = Proxy::with(kind, &block, &server.address, &service);
        for lines in ["", HOSTILE[0], HOSTILE[4], HOSTILE[7], &token] {
            let preflight =
                format!("OPTIONS /articles/1 HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\n{lines}Connection: close\r\n\r\n");
            assert_eq!(proxy.ask(&preflight), 200, "{kind:?} {lines:?}");
            let [request] = &service.take_requests()[..] else { panic!("{kind:?} {lines:?}: not once") };
            assert_is_from(&Identity::default(), request, &format!("{kind:?} {lines:?}"));
            assert_eq!(proxy.get(lines), if lines == token { 200 } else { 401 }, "{kind:?} {lines:?}");
            service.take_requests();
        }
    }
}

/// The settings in the nth `[server]` block of the section, as arguments.
fn settings(nth: usize) -> Vec<String> {
    let (_, rest) = README.split_once("\n## Behind a proxy\n").expect("the section");
    let block = rest.split("\n```toml\n[server]\n").nth(nth).and_then(|rest| rest.split_once("\n```")).expect("a block of settings").0;
    block.lines().map(|line| format!("server.{}", line.replacen(" = ", "=", 1).replace("=\"", "=").trim_end_matches('"'))).collect()
}

#[tokio::test]
async fn behind_the_tls_proxy_its_address_is_the_site_and_clients_keep_their_own() {
    let settings = settings(1);
    let [public, trusted] = &settings[..] else { panic!("two settings: {settings:?}") };
    let server = Server::with(&[public, trusted]);
    server.json(&["user", "add", "ada@example.org", "--role", "viewer"], PASSWORD);
    // The proxy runs without TLS here, with the one line that the README names.
    let front = "proxy_set_header X-Forwarded-For $remote_addr;";
    assert!(README.contains(front));
    for kind in BOTH {
        let block = match kind {
            Kind::Nginx => format!("location / {{\nproxy_pass http://{DOORWARD};\n{front}\n}}"),
            Kind::Caddy => format!("reverse_proxy {DOORWARD}"),
        };
        let proxy = Proxy::with(kind, &block, &server.address, &Echo::service());
        // The client's address is not that of a trusted proxy.
        let client = reqwest::Client::builder().local_address(IpAddr::from([127, 0, 0, 2])).build().expect("a client");
        let url = |path: &str| format!("http://{}{path}", proxy.address);
        let mut token = String::new();
        for (origin, status) in [("http://login.example.org", 403), ("http://127.0.0.1:3000", 403), ("https://login.example.org", 200)] {
            let body = json!({ "email": "ada@example.org", "password": PASSWORD, "tokenTransport": "body" });
            let request = client.post(url("/api/auth/login")).header("origin", origin).header("x-forwarded-for", "203.0.113.9");
            let answer = request.json(&body).send().await.expect("an answer");
            assert_eq!(answer.status(), status, "{kind:?} {origin}");
            token = answer.json::<Value>().await.expect("JSON")["accessToken"].as_str().unwrap_or_default().to_owned();
        }
        let answer = client.get(url("/api/auth/sessions")).bearer_auth(token).send().await.expect("an answer");
        let sessions: Value = answer.json().await.expect("JSON");
        let from: Vec<_> = sessions["sessions"].as_array().expect("sessions").iter().map(|session| &session["ip"]).collect();
        assert!(!from.is_empty() && from.iter().all(|ip| *ip == "127.0.0.2"), "{kind:?}: {sessions}");
    }
}

#[tokio::test]
async fn a_page_of_the_dev_server_signs_in_once_its_address_is_public_url() {
    let settings = settings(2);
    let [public] = &settings[..] else { panic!("one setting: {settings:?}") };
    for (settings, status) in [(&[][..], 403), (&[public.as_str()], 200)] {
        let server = Server::with(settings);
        server.json(&["user", "add", "ada@example.org", "--role", "viewer"], PASSWORD);
        let mut page = Actor::at(&server);
        page.headers = vec![("origin".into(), "http://localhost:5173".into()), ("sec-fetch-site".into(), "same-origin".into())];
        assert_eq!(page.login("ada@example.org", PASSWORD, "cookie").await.status, status, "{settings:?}");
    }
}
