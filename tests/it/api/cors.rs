//! Cross-origin requests from pages of other origins (COK-12).

use crate::support::{Actor, Answer, Server, send};
use serde_json::json;

const APP: &str = "https://app.example.org";

async fn preflight(server: &Server, path: &str, origin: &str) -> Answer {
    let request = Actor::at(server).request("OPTIONS", path).header("origin", origin);
    send(request.header("access-control-request-method", "POST").header("access-control-request-headers", "content-type,x-csrf-token"))
        .await
}

fn shared(answer: &Answer) -> Vec<&str> {
    answer.headers.keys().map(reqwest::header::HeaderName::as_str).filter(|name| name.starts_with("access-control-")).collect()
}

#[tokio::test]
async fn cok_12_by_default_no_other_origin_reads_anything() {
    let server = Server::start();
    for origin in [APP, "null", "https://evil.example"] {
        let answer = preflight(&server, "/api/auth/refresh", origin).await;
        assert_eq!((answer.status, shared(&answer)), (405, vec![]), "{origin}");
        let answer = send(Actor::at(&server).request("GET", "/api/users/me").header("origin", origin)).await;
        assert_eq!(shared(&answer), Vec::<&str>::new(), "{origin}");
    }
}

#[tokio::test]
async fn cok_12_a_listed_origin_is_let_in_and_no_look_alike() {
    let server = Server::with(&[&format!("cors.allowed_origins=[\"{APP}\"]")]);
    let answer = preflight(&server, "/api/auth/refresh", APP).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    let allowed = answer.header("access-control-allow-headers").expect("headers").to_ascii_lowercase();
    for name in ["content-type", "x-csrf-token"] {
        assert!(allowed.contains(name), "{allowed}");
    }
    assert!(answer.header("access-control-allow-methods").is_some_and(|methods| methods.contains("POST") && !methods.contains('*')));

    let answer = send(Actor::at(&server).request("GET", "/api/users/me").header("origin", APP)).await;
    assert_eq!(answer.outcome(), (401, "MISSING_TOKEN"));
    assert_eq!(answer.header("access-control-allow-origin"), Some(APP), "errors are read too");
    assert!(answer.header("access-control-expose-headers").is_some_and(|names| names.contains("X-Token-Expires-In")));
    assert!(answer.header("vary").is_some_and(|names| names.contains("Origin")), "HDR-7");

    // Headers that instrumentation adds are allowed too: a listed page is already trusted with more than that.
    let asked = "authorization,baggage,sentry-trace,x-requested-with";
    let request = Actor::at(&server).request("OPTIONS", "/api/auth/refresh").header("origin", APP);
    let request = request.header("access-control-request-method", "POST").header("access-control-request-headers", asked);
    assert_eq!(send(request).await.header("access-control-allow-headers"), Some(asked));

    for near in [
        "https://evil.example",
        "null",
        "https://app.example.org.evil.example",
        "https://app.example.org:8443",
        "http://app.example.org",
        "https://APP.example.org",
        "https://evil.example/https://app.example.org",
    ] {
        let answer = preflight(&server, "/api/auth/refresh", near).await;
        assert_eq!((answer.status, shared(&answer)), (405, vec![]), "{near}");
        let answer = send(Actor::at(&server).request("GET", "/api/users/me").header("origin", near)).await;
        assert_eq!(shared(&answer), Vec::<&str>::new(), "{near}");
    }
    let twice = Actor::at(&server).request("GET", "/api/users/me").header("origin", APP).header("origin", "https://evil.example");
    assert_eq!(shared(&send(twice).await), Vec::<&str>::new());
}

#[tokio::test]
async fn cok_6_a_listed_page_signs_in_and_refreshes_with_its_csrf_token() {
    let server = Server::with(&[&format!("cors.allowed_origins=[\"{APP}\"]")]);
    let mut alice = Actor::at(&server);
    alice.headers = vec![("origin".into(), APP.into()), ("sec-fetch-site".into(), "same-site".into())];
    alice.register("alice@example.org", "cookie").await.expect(201);
    assert_eq!(send(alice.with_cookies("POST", "/api/auth/refresh")).await.outcome(), (403, "CSRF_FAILED"));
    let answer = alice.refresh().await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
    let answer = alice.me().await.expect(200);
    assert!(answer.header("x-token-expires-in").is_some());
    assert_eq!(alice.post("/api/auth/logout-all", &json!({})).await.status, 200);
}

#[tokio::test]
async fn cok_6_an_app_with_a_scheme_of_its_own_signs_in_with_tokens_in_bodies_once_it_is_listed() {
    const CAPACITOR: &str = "capacitor://localhost";
    let as_app = |server: &Server| {
        let mut app = Actor::at(server);
        app.headers = vec![("origin".into(), CAPACITOR.into()), ("sec-fetch-site".into(), "cross-site".into())];
        app
    };
    let listed = Server::with(&[&format!("cors.allowed_origins=[\"{CAPACITOR}\"]")]);
    let mut app = as_app(&listed);
    assert_eq!(app.register("alice@example.org", "body").await.expect(201).header("access-control-allow-origin"), Some(CAPACITOR));
    app.refresh().await.expect(200);
    let unlisted = Server::start();
    assert_eq!(as_app(&unlisted).register("alice@example.org", "body").await.outcome(), (403, "CSRF_FAILED"));
    // The log tells the operator which setting to change, and to what.
    let log = unlisted.log();
    let line = log.lines().find(|line| line.contains("csrf_failed")).expect("an event");
    for word in [CAPACITOR, &format!("http://{}", unlisted.address), "server.public_url", "cors.allowed_origins"] {
        assert!(line.contains(word), "{word} is not in: {line}");
    }
}
