//! How long tokens and sessions last.

use crate::support::{Actor, Answer, PASSWORD, Server};
use std::time::Duration;

const DAY: u64 = 24 * 60 * 60;

/// `Max-Age` of the refresh token's cookie.
fn max_age(answer: &Answer) -> u64 {
    let cookies = answer.set_cookies();
    let cookie = cookies.iter().find(|cookie| cookie.starts_with("doorward-refresh-")).expect("the cookie");
    let (_, age) = cookie.split_once("Max-Age=").expect("an age");
    age.split(';').next().and_then(|age| age.parse().ok()).expect("seconds")
}

#[tokio::test]
async fn ref_9_a_refresh_token_lives_seven_idle_days() {
    let server = Server::start();
    let mut alice = Actor::registered(&server, "alice@example.org").await;
    let mut app = Actor::at(&server);
    app.login("alice@example.org", PASSWORD, "body").await.expect(200);
    server.advance(Duration::from_secs(7 * DAY - 60));
    assert_eq!(max_age(&alice.refresh().await.expect(200)), 7 * DAY, "the idle life slides");
    server.advance(Duration::from_secs(61));
    let expired = app.try_refresh().await;
    assert_eq!(expired.outcome(), (401, "REFRESH_TOKEN_EXPIRED"));
    assert_eq!(expired.set_cookies().len(), 0, "body transport has no cookie");
    server.advance(Duration::from_secs(7 * DAY));
    let expired = alice.try_refresh().await;
    assert_eq!(expired.outcome(), (401, "REFRESH_TOKEN_EXPIRED"));
    assert_eq!(expired.set_cookies().len(), 2, "proven expiry clears the cookies");
}

#[tokio::test]
async fn ref_9_no_rotation_carries_a_session_past_thirty_days() {
    let server = Server::start();
    let mut alice = Actor::registered(&server, "alice@example.org").await;
    for _ in 0..4 {
        server.advance(Duration::from_secs(6 * DAY));
        alice.refresh().await.expect(200);
    }
    server.advance(Duration::from_secs(DAY));
    let shrunk = max_age(&alice.refresh().await.expect(200));
    assert!(shrunk <= 5 * DAY && shrunk > 5 * DAY - 600, "day 25 of 30 leaves {shrunk} s");
    server.advance(Duration::from_secs(5 * DAY - DAY / 10));
    let last = alice.refresh().await.expect(200);
    assert!(max_age(&last) <= DAY / 10, "{}", max_age(&last));
    server.advance(Duration::from_secs(DAY / 5));
    assert_eq!(alice.try_refresh().await.outcome(), (401, "REFRESH_TOKEN_EXPIRED"));
    assert_eq!(alice.get("/api/auth/sessions").await.error(), "TOKEN_EXPIRED");
}

#[tokio::test]
async fn no_access_token_outlives_its_session() {
    let server = Server::with(&["tokens.session_max_age=1h", "tokens.refresh_ttl=1h", "tokens.access_ttl=15m"]);
    let mut alice = Actor::registered(&server, "alice@example.org").await;
    server.advance(Duration::from_secs(3600 - 60));
    let answer = alice.refresh().await.expect(200);
    assert!(answer.body["expiresIn"].as_u64().is_some_and(|left| left <= 60), "{}", answer.text);
    server.advance(Duration::from_secs(61));
    assert_eq!(alice.me().await.outcome(), (401, "TOKEN_EXPIRED"));
}

#[tokio::test]
async fn tok_12_the_time_left_counts_down_and_then_the_token_says_when_it_expired() {
    let server = Server::start();
    let alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let left = |answer: &Answer| answer.header("x-token-expires-in").map(|seconds| seconds.parse::<u64>().expect("whole seconds"));
    let at_first = left(&alice.me().await.expect(200)).expect("a header");
    assert!(at_first <= 900 && at_first > 840, "{at_first}");
    server.advance(Duration::from_secs(600));
    let later = left(&alice.me().await.expect(200)).expect("a header");
    assert!(later <= at_first - 600, "{later}");
    server.advance(Duration::from_secs(300));
    let expired = alice.me().await;
    assert_eq!(expired.outcome(), (401, "TOKEN_EXPIRED"));
    assert_eq!(left(&expired), None);
    assert_eq!(expired.header("www-authenticate"), Some("Bearer error=\"invalid_token\", error_description=\"expired\""));
    let at = expired.text_of("expiredAt");
    assert!(at.starts_with("20") && at.ends_with('Z') && at.contains('T'), "{at} is no moment");
}
