//! Registration and login.

use crate::support::{Actor, Answer, PASSWORD, Server, send};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{sync::Barrier, task::JoinSet};

/// The status, body and headers of an answer, without those that differ in every answer.
fn shape(answer: &Answer) -> (u16, String, BTreeMap<String, String>) {
    let headers = answer.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().expect("ASCII").to_owned()));
    (answer.status, answer.text_without_id(), headers.filter(|(name, _)| !matches!(name.as_str(), "date" | "x-request-id")).collect())
}

async fn login(actor: &Actor, email: &str, password: &str) -> Answer {
    let body = json!({ "email": email, "password": password });
    send(actor.request("POST", "/api/auth/login").json(&body)).await
}

#[tokio::test]
async fn aut_1_whatever_is_wrong_the_answer_is_the_same() {
    let server = Server::start();
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let alice = Actor::registered(&server, "alice@example.org").await;
    let disabled = Actor::registered(&server, "disabled@example.org").await;
    admin.patch(&format!("/api/users/{}", disabled.id), &json!({ "disabled": true })).await.expect(200);
    let wrong = login(&alice, "alice@example.org", "not this one").await;
    assert_eq!(wrong.outcome(), (401, "INVALID_CREDENTIALS"));
    let long = "x".repeat(1025);
    let long_email = format!("{}@example.org", "a".repeat(400));
    for (email, password) in [
        ("nobody@example.org", PASSWORD),
        ("disabled@example.org", PASSWORD),
        ("disabled@example.org", "not this one"),
        ("no address", PASSWORD),
        ("", ""),
        ("alice@example.org", ""),
        ("alice@example.org", &long),
        (&long_email, PASSWORD),
    ] {
        assert_eq!(shape(&login(&alice, email, password).await), shape(&wrong), "{email:.30} {password:.30}");
    }
    login(&alice, "alice@example.org", PASSWORD).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aut_3_of_parallel_registrations_of_one_address_exactly_one_counts() {
    let server = Server::with(&["passwords.hash_queue=200", "server.trusted_proxies=127.0.0.1"]);
    for round in 0..3 {
        let (barrier, mut tasks) = (Arc::new(Barrier::new(50)), JoinSet::new());
        for i in 0..50 {
            let (mut actor, barrier) = (Actor::at(&server).from_address(5 * i), Arc::clone(&barrier));
            let email = if i % 2 == 0 { format!("alice{round}@example.org") } else { format!(" ALICE{round}@Example.ORG ") };
            tasks.spawn(async move {
                barrier.wait().await;
                actor.register(&email, "body").await
            });
        }
        let answers = tasks.join_all().await;
        let made = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(made, 1);
        // Only a few requests may wait for one account; the others get 503.
        assert!(answers.iter().all(|answer| matches!(answer.outcome(), (201, "") | (409, "EMAIL_TAKEN") | (503, "OVERLOADED"))));
        assert!(answers.iter().any(|answer| answer.status == 409), "some were too late");
    }
    let admin = Actor::with_role(&server, "root@example.org", "admin").await;
    let listed = admin.get("/api/users?query=alice").await.expect(200);
    assert_eq!(listed.body["users"].as_array().map(Vec::len), Some(3), "{}", listed.text);
}

#[tokio::test]
async fn aut_4_spellings_of_an_address_are_one_account_and_look_alikes_none() {
    let server = Server::start();
    let alice = Actor::registered(&server, "  Mike@X.org ").await;
    assert_eq!(alice.email, "mike@x.org");
    for same in ["mike@x.org", "MIKE@X.ORG", "\tmike@x.org"] {
        assert_eq!(Actor::at(&server).register(same, "body").await.outcome(), (409, "EMAIL_TAKEN"), "{same}");
        Actor::at(&server).login(same, PASSWORD, "body").await.expect(200);
    }
    for other in ["m.ike@x.org", "mike+a@x.org"] {
        Actor::at(&server).register(other, "body").await.expect(201);
    }
    let idn = Actor::registered(&server, "a@BÜCHER.example").await;
    assert_eq!(idn.email, "a@xn--bcher-kva.example");
    Actor::at(&server).login("a@bücher.example", PASSWORD, "body").await.expect(200);
    let long = format!("a@{}.org", ["b".repeat(60), "c".repeat(60), "d".repeat(60), "e".repeat(60), "f".repeat(10)].join("."));
    for wrong in
        ["mıke@x.org", "ｍike@x.org", "mi\u{212a}e@x.org", "", "x", "@x.org", "a@x", "a b@x.org", "a@x.org\r\nb", "a@127.0.0.1", &long]
    {
        let answer = Actor::at(&server).register(wrong, "body").await;
        assert_eq!(answer.outcome(), (400, "VALIDATION_FAILED"), "{wrong:?}");
        assert_eq!(answer.body["fields"][0]["field"], "email");
    }
    assert_eq!(Actor::at(&server).login("mıke@x.org", PASSWORD, "body").await.outcome(), (401, "INVALID_CREDENTIALS"));
}

#[tokio::test]
async fn aut_5_10_a_body_has_its_fields_once_as_strings_and_no_others() {
    let server = Server::start();
    let nobody = Actor::at(&server);
    let mut bodies: Vec<String> = [
        json!({ "email": ["a@x.org", "b@x.org"], "password": PASSWORD }),
        json!({ "email": { "$ne": null }, "password": PASSWORD }),
        json!({ "email": 1, "password": PASSWORD }),
        json!({ "email": null, "password": PASSWORD }),
        json!({ "email": "a@x.org", "password": [PASSWORD] }),
        json!({ "email": "a@x.org", "password": 12_345_678 }),
        json!({ "email": "a@x.org", "password": true }),
        json!({ "email": "a@x.org" }),
        json!({ "password": PASSWORD }),
        json!({}),
        json!({ "email": "a@x.org", "password": PASSWORD, "tokenTransport": "url" }),
    ]
    .map(|body| body.to_string())
    .to_vec();
    bodies.push(format!(r#"{{"email":"a@x.org","email":"b@x.org","password":"{PASSWORD}"}}"#));
    bodies.push(format!(r#"{{"email":"a@x.org","password":"{PASSWORD}","password":"other one here"}}"#));
    let extra = [
        ("role", json!("admin")),
        ("permissions", json!(["*"])),
        ("id", json!("0")),
        ("tokenVersion", json!(9)),
        ("verified", json!(true)),
        ("Email", json!("b@x.org")),
    ];
    for (name, value) in extra {
        let mut body = json!({ "email": "a@x.org", "password": PASSWORD });
        body[name] = value;
        bodies.push(body.to_string());
    }
    for body in &bodies {
        for path in ["/api/auth/register", "/api/auth/login"] {
            let answer = send(nobody.request("POST", path).header("content-type", "application/json").body(body.clone())).await;
            assert_eq!(answer.outcome(), (400, "VALIDATION_FAILED"), "{path} {body}");
            assert!(answer.body["fields"][0]["message"].is_string(), "{}", answer.text);
            assert!(!answer.text.contains("12345678"), "AUT-15");
        }
    }
    assert!(!server.json(&["user", "list"], "").to_string().contains("x.org"), "something was created");
}

#[tokio::test]
async fn aut_11_nobody_becomes_admin_by_coming_first() {
    let server = Server::start();
    let first = Actor::registered(&server, "first@example.org").await;
    assert_eq!(first.me().await.expect(200).text_of("role"), "viewer");
    assert_eq!(first.get("/api/users").await.outcome(), (403, "FORBIDDEN"));
}

async fn set_up(actor: &Actor, token: &str, email: &str) -> Answer {
    actor.post("/api/auth/setup", &json!({ "token": token, "email": email, "password": PASSWORD, "tokenTransport": "body" })).await
}

#[tokio::test]
async fn aut_11_the_set_up_link_makes_one_admin_once() {
    let server = Server::start();
    let token = server.setup_token();
    let nobody = Actor::at(&server);
    for wrong in ["", "x", "dws1.", &token[..token.len() - 1], &format!("{token}A")] {
        assert_eq!(set_up(&nobody, wrong, "root@example.org").await.outcome(), (401, "INVALID_SETUP_TOKEN"), "{wrong}");
    }
    // A refused registration does not use up the link.
    assert_eq!(set_up(&nobody, &token, "no address").await.outcome(), (400, "VALIDATION_FAILED"));
    Actor::registered(&server, "taken@example.org").await;
    assert_eq!(set_up(&nobody, &token, "taken@example.org").await.outcome(), (409, "EMAIL_TAKEN"));

    let made = set_up(&nobody, &token, "root@example.org").await.expect(201);
    assert_eq!(made.body["user"]["role"], "admin");
    let mut root = Actor::at(&server);
    root.take(&made);
    root.get("/api/users").await.expect(200);
    assert_eq!(set_up(&nobody, &token, "second@example.org").await.outcome(), (401, "INVALID_SETUP_TOKEN"));
}

#[tokio::test]
async fn aut_11_the_set_up_link_is_void_after_an_hour_or_once_there_is_an_admin() {
    let server = Server::start();
    let token = server.setup_token();
    server.advance(Duration::from_secs(3601));
    assert_eq!(set_up(&Actor::at(&server), &token, "root@example.org").await.outcome(), (401, "INVALID_SETUP_TOKEN"));

    let server = Server::start();
    let token = server.setup_token();
    server.json(&["user", "add", "admin@example.org", "--role", "admin"], PASSWORD);
    assert_eq!(set_up(&Actor::at(&server), &token, "root@example.org").await.outcome(), (401, "INVALID_SETUP_TOKEN"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aut_11_of_two_at_the_set_up_link_one_gets_in() {
    let server = Server::with(&["server.trusted_proxies=127.0.0.1"]);
    let token = server.setup_token();
    let (barrier, mut tasks) = (Arc::new(Barrier::new(20)), JoinSet::new());
    for i in 0..20 {
        let (actor, barrier, token) = (Actor::at(&server).from_address(i), Arc::clone(&barrier), token.clone());
        tasks.spawn(async move {
            barrier.wait().await;
            set_up(&actor, &token, &format!("root{i}@example.org")).await
        });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert!(answers.iter().all(|answer| matches!(answer.outcome(), (201, "") | (401, "INVALID_SETUP_TOKEN"))));
}

#[tokio::test]
async fn aut_14_a_disabled_user_is_issued_nothing_anywhere() {
    let server = Server::start();
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let path = format!("/api/users/{}", alice.id);
    admin.patch(&path, &json!({ "disabled": true })).await.expect(200);
    assert_eq!(alice.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"));
    assert_eq!(alice.change_password(PASSWORD, "another long one").await.outcome(), (401, "TOKEN_REVOKED"));
    assert_eq!(Actor::at(&server).login("alice@example.org", PASSWORD, "body").await.outcome(), (401, "INVALID_CREDENTIALS"));
    assert_eq!(Actor::at(&server).register("alice@example.org", "body").await.outcome(), (409, "EMAIL_TAKEN"));
    admin.patch(&path, &json!({ "disabled": false })).await.expect(200);
    Actor::at(&server).login("alice@example.org", PASSWORD, "body").await.expect(200);
}

#[tokio::test]
async fn aut_15_no_refusal_repeats_the_address_or_the_password() {
    let server = Server::start();
    let alice = Actor::registered(&server, "alice@example.org").await;
    for answer in [
        Actor::at(&server).register("alice@example.org", "body").await,
        login(&alice, "alice@example.org", "hunter2hunter2").await,
        login(&alice, "nobody.alice@example.org", "hunter2hunter2").await,
        alice.change_password("hunter2hunter2", "another long one").await,
        alice.change_password(PASSWORD, "short").await,
        alice.post("/api/auth/register", &json!({ "email": "alice bad@example.org", "password": "hunter2hunter2" })).await,
        alice.post("/api/auth/register", &json!({ "email": "new@example.org", "password": "hunter2hunter2", "x": 1 })).await,
    ] {
        assert!((400..500).contains(&answer.status));
        for secret in ["alice", "hunter2", "another", "short\""] {
            assert!(!answer.text.contains(secret), "{}", answer.text);
        }
    }
    let log = server.log();
    assert!(!log.contains("hunter2") && !log.contains(PASSWORD), "LOG-1");
}

#[tokio::test]
async fn registration_can_be_closed() {
    let server = Server::with(&["registration.mode=closed"]);
    assert_eq!(Actor::at(&server).register("alice@example.org", "body").await.outcome(), (403, "REGISTRATION_CLOSED"));
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let code = admin.post("/api/invites", &json!({})).await.expect(201).text_of("code");
    let body = json!({ "email": "alice@example.org", "password": PASSWORD, "invite": code });
    assert_eq!(admin.post("/api/auth/register", &body).await.outcome(), (403, "REGISTRATION_CLOSED"));
}

#[tokio::test]
async fn new_users_get_the_configured_role() {
    let server = Server::with(&["registration.default_role=editor"]);
    let alice = Actor::registered(&server, "alice@example.org").await;
    let me = alice.me().await.expect(200);
    assert_eq!((me.text_of("role"), &me.body["permissions"]), ("editor".into(), &json!(["articles:read", "articles:write"])));
    let names: Vec<_> = me.body.as_object().expect("an object").keys().collect();
    assert_eq!(names, ["createdAt", "email", "emailVerified", "id", "permissions", "role"]);
}

#[tokio::test]
async fn tokens_and_user_have_the_shape_of_the_contract() {
    let server = Server::start();
    let answer = Actor::at(&server).register("alice@example.org", "body").await.expect(201);
    let names = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&answer.body), ["accessToken", "deviceToken", "expiresIn", "refreshExpiresIn", "refreshToken", "tokenType", "user"]);
    assert_eq!(names(&answer.body["user"]), ["createdAt", "email", "emailVerified", "id", "permissions", "role"]);
    assert_eq!((&answer.body["tokenType"], &answer.body["expiresIn"]), (&json!("Bearer"), &json!(900)));
    let answer = Actor::at(&server).login("alice@example.org", PASSWORD, "cookie").await.expect(200);
    assert_eq!(names(&answer.body), ["accessToken", "csrfToken", "expiresIn", "tokenType", "user"]);
    let mut alice = Actor::at(&server);
    alice.take(&answer);
    assert_eq!(names(&alice.refresh().await.expect(200).body), ["accessToken", "csrfToken", "expiresIn", "tokenType"]);
}
