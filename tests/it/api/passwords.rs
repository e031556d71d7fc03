//! Rules for passwords, and how a password is changed.

use crate::support::{Actor, Answer, PASSWORD, Server};
use serde_json::json;
use std::time::{Duration, Instant};

async fn register(server: &Server, email: &str, password: &str) -> Answer {
    Actor::at(server).post("/api/auth/register", &json!({ "email": email, "password": password })).await
}

#[tokio::test]
async fn aut_6_a_password_has_eight_code_points_and_at_most_1024_bytes() {
    let server = Server::start();
    let email = |i: usize| format!("user{i}@example.org");
    for (i, weak) in ["", "1234567", "sieben7", "\u{1f511}\u{1f511}\u{1f511}\u{1f511}\u{1f511}\u{1f511}\u{1f511}"].into_iter().enumerate() {
        let answer = register(&server, &email(i), weak).await;
        assert_eq!(answer.outcome(), (400, "WEAK_PASSWORD"), "{weak:?}");
        assert_eq!(answer.body["fields"][0]["field"], "password");
        assert!(answer.body["fields"][0]["message"].as_str().is_some_and(|why| why.contains('8')), "{}", answer.text);
    }
    register(&server, &email(10), "\u{1f511}\u{1f512}\u{1f511}\u{1f512}\u{1f511}\u{1f512}\u{1f511}\u{1f512}").await.expect(201);
    register(&server, &email(11), &"ab".repeat(512)).await.expect(201);
    let long = "ab".repeat(512) + "c";
    assert_eq!(register(&server, &email(12), &long).await.outcome(), (400, "VALIDATION_FAILED"));
    assert_eq!(Actor::at(&server).login(&email(11), &long, "body").await.outcome(), (401, "INVALID_CREDENTIALS"));
    Actor::at(&server).login(&email(11), &"ab".repeat(512), "body").await.expect(200);
    let begun = Instant::now();
    assert_eq!(register(&server, &email(13), &"x".repeat(1 << 20)).await.outcome(), (413, "PAYLOAD_TOO_LARGE"));
    assert!(begun.elapsed() < Duration::from_secs(1), "a megabyte was looked at for {:?}", begun.elapsed());

    let longer = Server::with(&["passwords.min_length=15"]);
    assert_eq!(register(&longer, &email(0), "fourteen chars").await.outcome(), (400, "WEAK_PASSWORD"));
    register(&longer, &email(0), "fifteen chars!!").await.expect(201);
}

#[tokio::test]
async fn aut_7_every_character_counts() {
    let server = Server::start();
    let long = "x1".repeat(50);
    for (i, (password, near)) in [
        (format!("{long}a"), format!("{long}b")),
        ("before\0after".into(), "before".into()),
        ("before\0after".into(), "before\0other".into()),
        (" spaces around ".into(), "spaces around".into()),
        ("CaseMatters".into(), "casematters".into()),
        ("\u{fb01}sh and chips".into(), "fish and chips".into()),
    ]
    .into_iter()
    .enumerate()
    {
        let email = format!("user{i}@example.org");
        register(&server, &email, &password).await.expect(201);
        assert_eq!(Actor::at(&server).login(&email, &near, "body").await.outcome(), (401, "INVALID_CREDENTIALS"), "{near:?}");
        Actor::at(&server).login(&email, &password, "body").await.expect(200);
    }
    register(&server, "nfc@example.org", "caf\u{e9} au lait").await.expect(201);
    Actor::at(&server).login("nfc@example.org", "cafe\u{301} au lait", "body").await.expect(200);
    // No rules about which kinds of characters a password must have.
    for (i, plain) in ["onlylowercase", "        \t       ", "73915028463"].into_iter().enumerate() {
        register(&server, &format!("plain{i}@example.org"), plain).await.expect(201);
    }
}

#[tokio::test]
async fn aut_8_what_everybody_tries_first_is_refused_everywhere() {
    let server = Server::start();
    let alice = Actor::registered(&server, "alice.smith@example.org").await;
    for guessable in ["password1", "PassWord1", "qwertyuiop", "1234567890", "Doorward", "bob.smith", "BOB.smith@example.org"] {
        assert_eq!(register(&server, "bob.smith@example.org", guessable).await.outcome(), (400, "WEAK_PASSWORD"), "{guessable}");
        let own = guessable.replace("bob", "alice").replace("BOB", "ALICE");
        let changed = alice.change_password(PASSWORD, &own).await;
        assert_eq!(changed.outcome(), (400, "WEAK_PASSWORD"), "{own}");
        assert_eq!(changed.body["fields"][0]["field"], "newPassword");
    }
    let added = server.command(&["user", "add", "bob@example.org"], "password1");
    assert!(!added.status.success());
    alice.me().await.expect(200);
}

#[tokio::test]
async fn aut_9_a_change_needs_the_current_password_and_guessing_it_is_limited() {
    let server = Server::with(&["limits.login_failures=5"]);
    let alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let mut limited = 0;
    for attempt in 0..30 {
        let answer = alice.change_password("not this one", "another long one").await;
        match answer.outcome() {
            (401, "INVALID_CREDENTIALS") => assert!(attempt < 5, "attempt {attempt} was not counted"),
            (429, "RATE_LIMITED") => {
                limited += 1;
                let seconds = answer.header("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
                assert_eq!(seconds, answer.body["retryAfter"].as_u64());
                assert!(seconds.is_some_and(|seconds| seconds >= 1), "{}", answer.text);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(limited, 25);
    alice.me().await.expect(200);
    Actor::registered(&server, "bob@example.org").await.change_password(PASSWORD, "another long one").await.expect(200);
}

#[tokio::test]
async fn with_the_parameters_of_production_signing_in_works() {
    let server = Server::with(&["passwords.scrypt_log_n=15", "passwords.scrypt_p=3"]);
    let alice = Actor::registered(&server, "alice@example.org").await;
    Actor::at(&server).login("alice@example.org", PASSWORD, "body").await.expect(200);
    assert_eq!(Actor::at(&server).login("alice@example.org", "not this one", "body").await.outcome(), (401, "INVALID_CREDENTIALS"));
    alice.me().await.expect(200);
}
