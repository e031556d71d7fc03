//! Cross-site request forgery: requests that another site makes a browser send.

use crate::support::{Actor, Answer, PASSWORD, Server, send};
use serde_json::json;

/// Refreshes by cookie with these headers.
async fn refresh_with(actor: &Actor, lines: &[(&str, &str)]) -> Answer {
    let mut request = actor.with_cookies("POST", "/api/auth/refresh");
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    send(request).await
}

/// Headers that browsers send with requests from pages of other origins.
fn foreign(own: &str) -> Vec<Vec<(&'static str, String)>> {
    let port_up = own.replace("http://", "https://");
    vec![
        vec![("origin", "https://evil.example".into())],
        vec![("origin", "null".into())],
        vec![("origin", port_up)],
        vec![("origin", "http://127.0.0.1:1".into())],
        vec![("origin", format!("{own}.evil.example"))],
        vec![("origin", format!("{own}/"))],
        vec![("origin", own.to_owned()), ("sec-fetch-site", "cross-site".into())],
        vec![("origin", own.to_owned()), ("sec-fetch-site", "same-site".into())],
        vec![("origin", own.to_owned()), ("origin", "https://evil.example".into())],
        vec![("sec-fetch-site", "cross-site".into())],
        vec![("sec-fetch-site", "none".into())],
        vec![("sec-fetch-site", "SAME-ORIGIN".into())],
    ]
}

#[tokio::test]
async fn cok_6_a_foreign_page_neither_refreshes_nor_signs_out_even_with_the_token() {
    let server = Server::start();
    let mut alice = Actor::registered(&server, "alice@example.org").await;
    let own = server.url("");
    for path in ["/api/auth/refresh", "/api/auth/logout"] {
        for lines in foreign(&own) {
            let mut request = alice.with_cookies("POST", path).header("x-csrf-token", &alice.token("csrf"));
            for (name, value) in &lines {
                request = request.header(*name, value);
            }
            let answer = send(request).await;
            assert_eq!(answer.outcome(), (403, "CSRF_FAILED"), "{path} {lines:?}");
            assert_eq!(answer.set_cookies().len(), 0);
        }
    }
    alice.me().await.expect(200);
    alice.refresh().await.expect(200);
}

#[tokio::test]
async fn cok_7_a_browser_needs_the_token_of_this_very_session() {
    let server = Server::start();
    let alice = Actor::registered(&server, "alice@example.org").await.as_browser();
    let mallory = Actor::registered(&server, "mallory@example.org").await;
    let mut again = Actor::at(&server);
    again.login("alice@example.org", PASSWORD, "cookie").await.expect(200);
    let own = alice.token("csrf").clone();
    // The header is missing, its cookie is missing, or the two differ.
    for path in ["/api/auth/refresh", "/api/auth/logout"] {
        let answer = send(alice.with_cookies("POST", path)).await;
        assert_eq!(answer.outcome(), (403, "CSRF_FAILED"), "{path} without");
        let mut bare = alice.clone();
        bare.cookies.remove(&bare.cookie_name("csrf"));
        let answer = send(bare.with_cookies("POST", path).header("x-csrf-token", &own)).await;
        assert_eq!(answer.outcome(), (403, "CSRF_FAILED"), "{path} without its cookie");
        let answer = send(alice.with_cookies("POST", path).header("x-csrf-token", &mallory.token("csrf"))).await;
        assert_eq!(answer.outcome(), (403, "CSRF_FAILED"), "{path} other than the cookie");
    }
    // Header and cookie agree, but the token is not this session's: of another user or session, made up, or cut.
    let cut = &own[..own.len() - 1];
    for token in [&mallory.token("csrf"), &again.token("csrf"), "x", "", cut] {
        let mut forger = alice.clone();
        forger.plant("csrf", token);
        let answer = send(forger.with_cookies("POST", "/api/auth/refresh").header("x-csrf-token", token)).await;
        assert_eq!(answer.outcome(), (403, "CSRF_FAILED"), "{token:?}");
    }
    alice.try_refresh().await.expect(200);
}

#[tokio::test]
async fn cok_8_each_refresh_brings_a_token_and_earlier_ones_stay_good_for_their_session_alone() {
    let server = Server::start();
    let mut alice = Actor::registered(&server, "alice@example.org").await.as_browser();
    let first = alice.token("csrf").clone();
    alice.refresh().await.expect(200);
    assert_ne!(alice.token("csrf"), first);
    alice.plant("csrf", &first.clone());
    alice.refresh().await.expect(200);
    alice.login("alice@example.org", PASSWORD, "cookie").await.expect(200);
    alice.plant("csrf", &first);
    assert_eq!(alice.try_refresh().await.outcome(), (403, "CSRF_FAILED"), "of the session before");
}

#[tokio::test]
async fn cok_9_a_foreign_page_signs_nobody_in() {
    let server = Server::start();
    Actor::registered(&server, "mallory@example.org").await;
    let own = server.url("");
    let nobody = Actor::at(&server);
    for (path, email) in [("/api/auth/login", "mallory@example.org"), ("/api/auth/register", "new@example.org")] {
        let body = json!({ "email": email, "password": PASSWORD });
        for lines in foreign(&own) {
            let mut request = nobody.request("POST", path).json(&body);
            for (name, value) in &lines {
                request = request.header(*name, value);
            }
            let answer = send(request).await;
            assert_eq!(answer.outcome(), (403, "CSRF_FAILED"), "{path} {lines:?}");
            assert_eq!(answer.set_cookies().len(), 0);
        }
        for form in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
            let answer = send(nobody.request("POST", path).header("content-type", form).body(body.to_string())).await;
            assert_eq!(answer.outcome(), (415, "UNSUPPORTED_MEDIA_TYPE"), "{path} {form}");
        }
    }
    let users = server.json(&["user", "list"], "").to_string();
    assert!(!users.contains("new@example.org"), "{users}");
    let mut page = Actor::at(&server).as_browser();
    page.login("mallory@example.org", PASSWORD, "cookie").await.expect(200);
}

#[tokio::test]
async fn cok_10_a_token_in_a_body_needs_no_csrf_token() {
    let server = Server::start();
    let mut app = Actor::registered_with_tokens(&server, "alice@example.org").await;
    app.refresh().await.expect(200);
    let mut page = app.clone().as_browser();
    page.refresh().await.expect(200);
    page.logout().await.expect(200);
}

#[tokio::test]
async fn by_default_curl_with_a_cookie_jar_needs_none_and_by_configuration_everyone_does() {
    let lax = Server::start();
    let mut jar = Actor::registered(&lax, "alice@example.org").await;
    jar.refresh().await.expect(200);

    let strict = Server::with(&["csrf.mode=always"]);
    let jar = Actor::registered(&strict, "alice@example.org").await;
    assert_eq!(refresh_with(&jar, &[]).await.outcome(), (403, "CSRF_FAILED"));
    assert_eq!(send(jar.with_cookies("POST", "/api/auth/logout")).await.outcome(), (403, "CSRF_FAILED"));
    let mut app = Actor::at(&strict);
    app.login("alice@example.org", PASSWORD, "body").await.expect(200);
    app.refresh().await.expect(200);
    let token = jar.token("csrf").clone();
    refresh_with(&jar, &[("x-csrf-token", &token)]).await.expect(200);
}

#[tokio::test]
async fn a_page_that_lost_its_token_asks_for_another() {
    let server = Server::start();
    let mut alice = Actor::registered(&server, "alice@example.org").await.as_browser();
    alice.cookies.remove(&alice.cookie_name("csrf"));
    let answer = send(alice.with_cookies("GET", "/api/auth/csrf")).await.expect(200);
    alice.take(&answer);
    assert_eq!(alice.token("csrf"), answer.text_of("csrfToken"));
    assert_eq!(answer.set_cookies().len(), 1, "the refresh token is not touched");
    alice.refresh().await.expect(200);

    let ask = |actor: &Actor| send(actor.with_cookies("GET", "/api/auth/csrf"));
    // COK-7: a browser with a planted session has no device token of its user, who never logged in here.
    let mallory = Actor::registered(&server, "mallory@example.org").await;
    let mut victim = Actor::at(&server).as_browser();
    victim.plant("refresh", &mallory.refresh_token());
    assert_eq!(ask(&victim).await.outcome(), (403, "CSRF_FAILED"), "no device token at all");
    victim.plant("device", &alice.token("device"));
    assert_eq!(ask(&victim).await.outcome(), (403, "CSRF_FAILED"), "one of another user");
    victim.plant("device", &mallory.token("device"));
    ask(&victim).await.expect(200);
    assert_eq!(ask(&Actor::at(&server)).await.outcome(), (401, "MISSING_REFRESH_TOKEN"));
    let mut garbage = Actor::at(&server);
    garbage.plant("refresh", "garbage");
    assert_eq!(ask(&garbage).await.outcome(), (401, "INVALID_REFRESH_TOKEN"));
    let mut foreign = alice.clone();
    foreign.headers = vec![("origin".into(), "https://evil.example".into()), ("sec-fetch-site".into(), "cross-site".into())];
    assert_eq!(ask(&foreign).await.outcome(), (403, "CSRF_FAILED"));
    let held = alice.clone();
    alice.logout().await.expect(200);
    assert_eq!(ask(&held).await.outcome(), (401, "TOKEN_REVOKED"));
}

#[tokio::test]
async fn cok_11_nothing_that_changes_state_can_be_had_by_another_method() {
    let server = Server::start();
    let mut alice = Actor::registered(&server, "alice@example.org").await;
    for path in ["/api/auth/refresh", "/api/auth/logout", "/api/auth/logout-all", "/api/auth/login", "/api/auth/register"] {
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"] {
            let request = alice.with_cookies(method, path).bearer_auth(alice.access.as_deref().expect("a token"));
            let request = request.header("x-http-method-override", "POST").header("x-method-override", "POST");
            let answer = send(request).await;
            assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method} {path}");
        }
        let answer = send(alice.with_cookies("GET", &format!("{path}?_method=POST"))).await;
        assert_eq!(answer.status, 405, "{path}");
    }
    alice.me().await.expect(200);
    alice.refresh().await.expect(200);
}
