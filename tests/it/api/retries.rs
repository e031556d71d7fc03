//! A retry after a lost answer is not reuse: its `Idempotency-Key` distinguishes it from a theft.

use crate::support::{Actor, Answer, PASSWORD, Server, send};
use serde_json::json;
use std::time::Duration;

const KEY: &str = "8e03978e-40d5-43dd-bc93-6894a57f9324";

/// Refreshes with the actor's token and this key; the actor does not keep the new tokens.
async fn refresh(actor: &Actor, key: &str) -> Answer {
    let request = match &actor.refresh {
        Some(token) => actor.request("POST", "/api/auth/refresh").json(&json!({ "refreshToken": token })),
        None => actor.with_cookies("POST", "/api/auth/refresh"),
    };
    send(request.header("idempotency-key", key)).await
}

#[tokio::test]
async fn ref_4_a_retry_with_its_key_gets_the_same_child_for_as_long_as_that_is_unused() {
    let mut server = Server::start();
    for transport in ["cookie", "body"] {
        let mut alice = Actor::at(&server);
        alice.register(&format!("{transport}@example.org"), transport).await.expect(201);
        // The answer is lost. Much later, and after a crash, the client retries several times.
        refresh(&alice, KEY).await.expect(200);
        server.advance(Duration::from_secs(3 * 24 * 3600));
        server.crash();
        alice = alice.moved_to(&server);
        let mut children = std::collections::HashSet::new();
        for _ in 0..5 {
            let mut again = alice.clone();
            let answer = refresh(&again, KEY).await.expect(200);
            again.take(&answer);
            again.me().await.expect(200);
            children.insert(again.refresh_token());
        }
        assert_eq!(children.len(), 1, "{transport}: never a second child");
        let answer = refresh(&alice, KEY).await.expect(200);
        alice.take(&answer);
        refresh(&alice, "another-key").await.expect(200);
    }
}

#[tokio::test]
async fn ref_1_a_thief_without_the_key_is_caught_at_once() {
    let server = Server::start();
    for key in [None, Some("not-the-key-it-was"), Some("8e03978e-40d5-43dd-bc93-6894a57f9325")] {
        let email = format!("{}@example.org", key.unwrap_or("none"));
        let mut alice = Actor::registered_with_tokens(&server, &email).await;
        let thief = alice.clone();
        let answer = refresh(&alice, KEY).await.expect(200);
        alice.take(&answer);
        let stolen = match key {
            Some(key) => refresh(&thief, key).await,
            None => thief.try_refresh().await,
        };
        assert_eq!(stolen.outcome(), (401, "TOKEN_REUSE_DETECTED"), "{key:?}");
        assert_eq!(alice.me().await.outcome(), (401, "TOKEN_REVOKED"));
    }
    // A refresh that was sent without a key cannot be retried with one.
    let mut bob = Actor::registered_with_tokens(&server, "bob@example.org").await;
    let thief = bob.clone();
    bob.refresh().await.expect(200);
    assert_eq!(refresh(&thief, KEY).await.outcome(), (401, "TOKEN_REUSE_DETECTED"));
}

#[tokio::test]
async fn ref_1_a_thief_with_the_key_is_caught_at_the_next_rotation() {
    let server = Server::start();
    let mut alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let mut thief = alice.clone();
    let answer = refresh(&alice, KEY).await.expect(200);
    alice.take(&answer);
    let answer = refresh(&thief, KEY).await.expect(200);
    thief.take(&answer);
    assert_eq!(thief.refresh_token(), alice.refresh_token(), "one child, whoever asks");
    // Alice and the thief hold the same token now: the second to use it reveals the theft.
    let answer = refresh(&alice, "the-next-key").await.expect(200);
    alice.take(&answer);
    assert_eq!(refresh(&thief, KEY).await.outcome(), (401, "TOKEN_REUSE_DETECTED"));
    assert_eq!(alice.me().await.outcome(), (401, "TOKEN_REVOKED"));
}

#[tokio::test]
async fn ref_4_a_key_excuses_its_own_refresh_alone_and_by_the_same_transport() {
    let server = Server::start();
    let mut alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let grandparent = alice.clone();
    for _ in 0..2 {
        let answer = refresh(&alice, KEY).await.expect(200);
        alice.take(&answer);
    }
    assert_eq!(refresh(&grandparent, KEY).await.outcome(), (401, "TOKEN_REUSE_DETECTED"), "the same key twice is two refreshes");

    let app = Actor::registered_with_tokens(&server, "bob@example.org").await;
    refresh(&app, KEY).await.expect(200);
    let mut swapped = Actor::at(&server);
    swapped.plant("refresh", &app.refresh_token());
    assert_eq!(refresh(&swapped, KEY).await.outcome(), (401, "TOKEN_REUSE_DETECTED"));
}

/// A client that lost an answer may log out, log in or ask for a CSRF token next. With the key, that is no reuse either.
#[tokio::test]
async fn ref_4_a_lost_answer_is_no_theft_whatever_its_client_asks_for_next() {
    let server = Server::start();
    for next in ["logout", "login", "csrf"] {
        let email = format!("{next}@example.org");
        let mut alice = Actor::registered(&server, &email).await;
        let mut phone = Actor::at(&server);
        phone.login(&email, PASSWORD, "body").await.expect(200);
        refresh(&alice, KEY).await.expect(200);
        server.advance(Duration::from_secs(60));
        let method = if next == "csrf" { "GET" } else { "POST" };
        let request = alice.with_cookies(method, &format!("/api/auth/{next}")).header("idempotency-key", KEY);
        let request = if next == "login" { request.json(&json!({ "email": email, "password": PASSWORD })) } else { request };
        let answer = send(request).await.expect(200);
        phone.refresh().await.expect(200);
        match next {
            "csrf" => drop(refresh(&alice, KEY).await.expect(200)),
            "login" => {
                assert_eq!(refresh(&alice, KEY).await.outcome(), (401, "TOKEN_REVOKED"), "REF-13: replaced");
                alice.take(&answer);
                alice.refresh().await.expect(200);
            }
            _ => assert_eq!(refresh(&alice, KEY).await.outcome(), (401, "TOKEN_REVOKED")),
        }
    }
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_and_costs_nothing() {
    let server = Server::start();
    let mut alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let body = json!({ "refreshToken": alice.refresh_token() });
    for key in ["", "short", "with a blank", &"x".repeat(129)] {
        let answer = refresh(&alice, key).await;
        assert_eq!(answer.outcome(), (400, "INVALID_REQUEST"), "{key}");
    }
    let twice = alice.request("POST", "/api/auth/refresh").header("idempotency-key", KEY).header("idempotency-key", KEY);
    assert_eq!(send(twice.json(&body)).await.outcome(), (400, "INVALID_REQUEST"));
    alice.refresh().await.expect(200);
}

/// Reuse is detected even if the request is invalid for another reason.
#[tokio::test]
async fn ref_1_a_malformed_request_is_no_excuse() {
    for wrong in ["a key that is none", "a token in the cookie and one in the body"] {
        let server = Server::start();
        let mut alice = Actor::registered(&server, "alice@example.org").await;
        let spent = alice.clone();
        alice.refresh().await.expect(200);
        server.advance(Duration::from_secs(60));
        let request = spent.with_cookies("POST", "/api/auth/refresh");
        let (request, outcome) = if wrong.contains("key") {
            (request.header("idempotency-key", "short"), (401, "TOKEN_REUSE_DETECTED"))
        } else {
            (request.json(&json!({ "refreshToken": "dwr1.x" })), (400, "AMBIGUOUS_CREDENTIALS"))
        };
        assert_eq!(send(request).await.outcome(), outcome, "{wrong}");
        assert_eq!(alice.me().await.outcome(), (401, "TOKEN_REVOKED"), "{wrong}");
        assert!(server.log().contains("refresh_reuse"), "{wrong}");
    }
}

/// Some browsers send neither `Origin` nor `Sec-Fetch-Site` with a page's own GET; the device cookie shows that it is no
/// thief.
#[tokio::test]
async fn ref_3_a_tab_that_asks_for_a_proof_while_another_refreshes_is_no_thief() {
    for thief in [false, true] {
        let server = Server::start();
        let mut alice = Actor::registered(&server, "alice@example.org").await;
        let mut tab = alice.clone();
        if thief {
            tab.plant("device", "none");
        }
        alice.refresh().await.expect(200);
        let asked = send(tab.with_cookies("GET", "/api/auth/csrf")).await;
        assert_eq!(asked.status, if thief { 401 } else { 200 }, "{}", asked.text);
        assert_eq!(alice.me().await.status, if thief { 401 } else { 200 });
        assert_eq!(server.log().contains("refresh_reuse"), thief);
    }
}

/// A lost race stays a lost race if another program has planted a cookie in the browser.
#[tokio::test]
async fn ref_3_a_tab_that_loses_a_race_with_a_planted_cookie_beside_is_no_thief() {
    let server = Server::start();
    let mut alice = Actor::registered(&server, "alice@example.org").await.as_browser();
    let tab = alice.clone();
    alice.refresh().await.expect(200);
    let (name, token) = tab.csrf_header().expect("a token");
    let planted = format!("{}=planted", tab.cookie_name("refresh"));
    let request = tab.with_cookies("POST", "/api/auth/refresh").header("cookie", planted).header(name, token);
    assert_eq!(send(request).await.outcome(), (400, "INVALID_REQUEST"));
    alice.refresh().await.expect(200);
    assert!(!server.log().contains("refresh_reuse"), "{}", server.log());
}

/// The conflict window is for browsers, whose tabs share cookies. A token that travels in bodies has one holder.
#[tokio::test]
async fn ref_1_a_token_that_was_just_spent_is_evidence_at_a_sign_out_too() {
    let server = Server::start();
    let mut alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let spent = alice.refresh_token();
    alice.refresh().await.expect(200);
    alice.clone().post("/api/auth/logout", &json!({ "refreshToken": spent })).await.expect(200);
    assert!(server.log().contains("refresh_reuse"), "{}", server.log());
    assert_eq!(alice.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"));
}

/// Runs at the default limits: reuse is detected even if a thief keeps the rate limit of the session used up.
#[tokio::test]
async fn ref_1_no_limit_stands_before_evidence() {
    let server = Server::start();
    let alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let mut thief = alice.clone();
    for _ in 0..30 {
        thief.refresh().await.expect(200);
    }
    assert_eq!(thief.refresh().await.outcome(), (429, "RATE_LIMITED"), "LIM-4");
    assert_eq!(alice.try_refresh().await.outcome(), (401, "TOKEN_REUSE_DETECTED"));
    assert_eq!(thief.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"), "and what is over is not limited either");
    assert_eq!(thief.me().await.outcome(), (401, "TOKEN_REVOKED"));
    assert!(server.log().contains("refresh_reuse"));
}

/// Each repeat is answered with an access token of its own, so repeats count like refreshes; a thief is still caught.
#[tokio::test]
async fn ref_4_retries_have_the_limit_of_refreshes_and_reuse_has_none() {
    let server = Server::start();
    let alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let mut answers = Vec::new();
    for _ in 0..40 {
        answers.push(refresh(&alice, KEY).await);
    }
    let answered = answers.iter().filter(|answer| answer.status == 200).count();
    assert!((30..=32).contains(&answered), "{answered}");
    let refused = answers.last().expect("forty");
    assert_eq!(refused.outcome(), (429, "RATE_LIMITED"));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refresh(&alice, "not-the-key-it-was").await.outcome(), (401, "TOKEN_REUSE_DETECTED"));
}
