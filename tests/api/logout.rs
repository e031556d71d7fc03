//! Signing out, by whatever is at hand.

use crate::support::{Actor, Answer, PASSWORD, Server, send};
use serde_json::json;

#[track_caller]
fn signed_out(answer: Answer) {
    let answer = answer.expect(200);
    assert_eq!(answer.body, json!({ "message": "Logged out successfully" }));
    assert_eq!(answer.header("clear-site-data"), Some("\"cache\", \"storage\""), "HDR-6");
    let cookies = answer.set_cookies();
    assert!(cookies[0].starts_with("refreshToken=;") && cookies[0].contains("Path=/api/auth") && cookies[0].contains("Max-Age=0"), "REV-1");
    assert!(cookies[1].starts_with("csrfToken=;") && cookies[1].contains("Path=/;") && cookies[1].contains("Max-Age=0"));
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
        signed_out(send(request).await);
        is_over(&alice).await;
        signed_out(alice.logout().await);
    }
    let mut browser = Actor::at(&server);
    browser.login("alice@example.org", PASSWORD, "cookie").await.expect(200);
    let held = browser.clone();
    signed_out(send(browser.with_cookies("POST", path)).await);
    is_over(&held).await;
    browser.login("alice@example.org", PASSWORD, "cookie").await.expect(200);
    signed_out(browser.logout().await);
    assert_eq!(browser.cookies.keys().collect::<Vec<_>>(), ["device"], "the device stays known");
}

#[tokio::test]
async fn signing_out_says_the_same_to_anyone() {
    let server = Server::start();
    let alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let nobody = Actor::at(&server);
    signed_out(send(nobody.request("POST", "/api/auth/logout")).await);
    signed_out(send(nobody.request("POST", "/api/auth/logout").json(&json!({ "refreshToken": "garbage" }))).await);
    signed_out(send(nobody.request("POST", "/api/auth/logout").bearer_auth("garbage")).await);
    signed_out(send(nobody.request("POST", "/api/auth/logout").header("cookie", "refreshToken=garbage")).await);
    alice.me().await.expect(200);
}

#[tokio::test]
async fn an_older_refresh_token_signs_its_session_out_too() {
    let server = Server::start();
    let mut alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let old = alice.refresh_token();
    alice.refresh().await.expect(200);
    signed_out(send(alice.request("POST", "/api/auth/logout").json(&json!({ "refreshToken": old }))).await);
    is_over(&alice).await;
}

#[tokio::test]
async fn signing_out_ends_one_session_and_signing_out_everywhere_ends_all() {
    let server = Server::start();
    let mut here = Actor::registered(&server, "alice@example.org").await;
    let bob = Actor::registered_with_tokens(&server, "bob@example.org").await;
    let mut there = Actor::at(&server);
    there.login("alice@example.org", PASSWORD, "body").await.expect(200);
    let held = here.clone();
    signed_out(here.logout().await);
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
