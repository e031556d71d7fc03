//! Logging out, with any of the credentials of a session.

use crate::support::{Actor, Answer, PASSWORD, Server, send};
use serde_json::json;
use std::time::Duration;

#[track_caller]
fn assert_logged_out(answer: Answer) {
    let answer = answer.expect(200);
    assert_eq!(answer.body, json!({ "message": "Logged out successfully" }));
    // `Clear-Site-Data` would delete data of other apps on the origin, and end a service worker that handles this answer.
    assert_eq!(answer.header("clear-site-data"), None, "HDR-6");
    let cookies = answer.set_cookies();
    let is_cleared = |cookie: &str, kind: &str, path: &str| {
        cookie.starts_with(&format!("doorward-{kind}-")) && cookie.contains("=;") && cookie.contains(path) && cookie.contains("Max-Age=0")
    };
    assert!(is_cleared(cookies[0], "refresh", "Path=/api/auth;") && is_cleared(cookies[1], "csrf", "Path=/;"), "REV-1: {cookies:?}");
}

async fn is_over(actor: &Actor) {
    assert_eq!(actor.me().await.outcome(), (401, "TOKEN_REVOKED"));
    assert_eq!(actor.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"));
}

#[tokio::test]
async fn rev_1_either_token_ends_the_session_and_both_are_dead() {
    let server = Server::start();
    Actor::registered_with_tokens(&server, "alice@example.org").await;
    let path = "/api/auth/logout";
    for by in ["refresh token", "access token", "both"] {
        let mut alice = Actor::at(&server);
        alice.login("alice@example.org", PASSWORD, "body").await.expect(200);
        let body = json!({ "refreshToken": alice.refresh_token() });
        let request = match by {
            "refresh token" => alice.request("POST", path).json(&body),
            "access token" => alice.bearer("POST", path),
            _ => alice.bearer("POST", path).json(&body),
        };
        assert_logged_out(send(request).await);
        is_over(&alice).await;
        assert_logged_out(alice.logout().await);
    }
    let mut browser = Actor::at(&server);
    browser.login("alice@example.org", PASSWORD, "cookie").await.expect(200);
    let held = browser.clone();
    assert_logged_out(send(browser.with_cookies("POST", path)).await);
    is_over(&held).await;
    browser.login("alice@example.org", PASSWORD, "cookie").await.expect(200);
    assert_logged_out(browser.logout().await);
    assert_eq!(browser.cookies.keys().collect::<Vec<_>>(), [&browser.cookie_name("device")], "the device stays known");
}

#[tokio::test]
async fn signing_out_says_the_same_to_anyone() {
    let server = Server::start();
    let alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let nobody = Actor::at(&server);
    assert_logged_out(send(nobody.request("POST", "/api/auth/logout")).await);
    assert_logged_out(send(nobody.request("POST", "/api/auth/logout").json(&json!({ "refreshToken": "garbage" }))).await);
    assert_logged_out(send(nobody.request("POST", "/api/auth/logout").bearer_auth("garbage")).await);
    assert_logged_out(
        send(nobody.request("POST", "/api/auth/logout").header("cookie", format!("{}=garbage", nobody.cookie_name("refresh")))).await,
    );
    alice.me().await.expect(200);
}

#[tokio::test]
async fn ref_1_a_spent_token_is_evidence_at_sign_out_and_at_sign_in_too() {
    let server = Server::start();
    for at in ["logout", "login"] {
        let email = format!("{at}@example.org");
        let mut alice = Actor::registered(&server, &email).await;
        let mut phone = Actor::at(&server);
        phone.login(&email, PASSWORD, "body").await.expect(200);
        let mut thief = alice.clone();
        alice.refresh().await.expect(200);
        // After the conflict window, in which it could be a parallel tab.
        server.advance(Duration::from_secs(5));
        match at {
            "logout" => assert_logged_out(send(thief.with_cookies("POST", "/api/auth/logout")).await),
            _ => drop(thief.login(&email, PASSWORD, "cookie").await.expect(200)),
        }
        is_over(&alice).await;
        is_over(&phone).await;
        let line = server.log().lines().rfind(|line| line.contains("refresh_reuse")).expect("an event").to_owned();
        assert!(line.contains(&format!("target={}", alice.id)), "{line}");
        if at == "login" {
            thief.refresh().await.expect(200);
        }
    }
}

#[tokio::test]
async fn rev_1_a_bearer_that_is_over_or_comes_with_any_body_ends_its_session() {
    let server = Server::start();
    let path = "/api/auth/logout";
    Actor::registered(&server, "alice@example.org").await;
    for body in ["", "{}", "null", "[]", "garbage", r#"{"refreshToken":null}"#, r#"{"refreshToken":"garbage"}"#, r#"{"more":1}"#] {
        let mut alice = Actor::at(&server);
        alice.login("alice@example.org", PASSWORD, "body").await.expect(200);
        server.advance(Duration::from_secs(901));
        assert_eq!(alice.me().await.outcome(), (401, "TOKEN_EXPIRED"));
        assert_logged_out(send(alice.bearer("POST", path).header("content-type", "application/json").body(body)).await);
        assert_eq!(alice.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"), "{body}");
    }
    // An access token that was voided for another reason still proves which session to end.
    let mut bob = Actor::registered_with_tokens(&server, "bob@example.org").await;
    server.json(&["user", "role", "bob@example.org", "editor"], "");
    assert_eq!(bob.me().await.outcome(), (401, "TOKEN_REVOKED"));
    assert_logged_out(send(bob.bearer("POST", path)).await);
    assert_eq!(bob.refresh().await.outcome(), (401, "TOKEN_REVOKED"));
    // A request with two access tokens is refused.
    let mut carol = Actor::registered_with_tokens(&server, "carol@example.org").await;
    let twice = send(carol.bearer("POST", path).header("authorization", "Bearer x")).await;
    assert_eq!(twice.outcome(), (400, "INVALID_REQUEST"), "TOK-7");
    carol.refresh().await.expect(200);
}

#[tokio::test]
async fn cok_4_planted_cookies_stop_nobody_from_signing_out() {
    let server = Server::start();
    let mallory = Actor::registered(&server, "mallory@example.org").await;
    let mut alice = Actor::registered(&server, "alice@example.org").await.as_browser();
    let names = [alice.cookie_name("refresh"), alice.cookie_name("csrf")];
    let planted = format!("{}={}; {}=x", names[0], mallory.refresh_token(), names[1]);
    let own = format!("{}={}; {}={}", names[0], alice.refresh_token(), names[1], alice.token("csrf"));
    let post = |csrf: &str| alice.bearer("POST", "/api/auth/logout").header("x-csrf-token", csrf.to_owned());
    let request = post("x").header("cookie", format!("{planted}; {own}"));
    assert_logged_out(send(request).await);
    is_over(&alice.clone()).await;
    mallory.try_refresh().await.expect(200);
    // Without an access token, only the cookie names the session, and it needs a CSRF token.
    alice.login("alice@example.org", PASSWORD, "cookie").await.expect(200);
    let answer = send(alice.with_cookies("POST", "/api/auth/logout").header("x-csrf-token", "x")).await;
    assert_eq!(answer.outcome(), (403, "CSRF_FAILED"));
}

#[tokio::test]
async fn signing_out_ends_one_session_and_signing_out_everywhere_ends_all() {
    let server = Server::start();
    let mut here = Actor::registered(&server, "alice@example.org").await;
    let bob = Actor::registered_with_tokens(&server, "bob@example.org").await;
    let mut there = Actor::at(&server);
    there.login("alice@example.org", PASSWORD, "body").await.expect(200);
    let held = here.clone();
    assert_logged_out(here.logout().await);
    is_over(&held).await;
    there.refresh().await.expect(200);
    there.me().await.expect(200);
    here.login("alice@example.org", PASSWORD, "cookie").await.expect(200);
    let all = here.post("/api/auth/logout-all", &json!({})).await.expect(200);
    assert_eq!(all.body, json!({ "message": "All sessions terminated" }));
    is_over(&here).await;
    is_over(&there).await;
    bob.me().await.expect(200);
    assert_eq!(here.post("/api/auth/logout-all", &json!({})).await.outcome(), (401, "TOKEN_REVOKED"));
    here.login("alice@example.org", PASSWORD, "cookie").await.expect(200);
    here.me().await.expect(200);
}
