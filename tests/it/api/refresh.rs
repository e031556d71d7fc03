//! Rotation and reuse: every refresh token works once, and a second use reveals a theft.

use crate::support::{Actor, PASSWORD, Server, send};
use serde_json::json;

/// Alice after two rotations, with her two used refresh tokens and another session of hers.
async fn alice_after_two_rotations(server: &Server) -> (Actor, [String; 2], Actor) {
    let mut alice = Actor::registered_with_tokens(server, "alice@example.org").await;
    let mut elsewhere = Actor::at(server);
    elsewhere.login("alice@example.org", PASSWORD, "cookie").await.expect(200);
    let first = alice.refresh_token();
    alice.refresh().await.expect(200);
    let second = alice.refresh_token();
    alice.refresh().await.expect(200);
    assert_ne!(first, second);
    assert_ne!(second, alice.refresh_token());
    (alice, [first, second], elsewhere)
}

async fn is_dead(actor: &Actor) {
    assert_eq!(actor.me().await.outcome(), (401, "TOKEN_REVOKED"), "access token");
    assert_eq!(actor.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"), "refresh token");
}

#[tokio::test]
async fn ref_1_any_older_token_revokes_everything_of_its_user() {
    for reused in [0, 1] {
        let server = Server::start();
        let bystander = Actor::registered_with_tokens(&server, "bob@example.org").await;
        let (alice, old, elsewhere) = alice_after_two_rotations(&server).await;
        assert_eq!(alice.refresh_with(&old[reused]).await.outcome(), (401, "TOKEN_REUSE_DETECTED"));
        is_dead(&alice).await;
        is_dead(&elsewhere).await;
        for token in &old {
            assert_eq!(alice.refresh_with(token).await.status, 401, "no older one comes back to life");
        }
        bystander.me().await.expect(200);
        bystander.try_refresh().await.expect(200);
        // The owner can log in again.
        Actor::at(&server).login("alice@example.org", PASSWORD, "body").await.expect(200);
    }
}

#[tokio::test]
async fn ref_1_by_configuration_reuse_revokes_the_family_alone() {
    let server = Server::with(&["sessions.on_reuse=session"]);
    let (alice, old, elsewhere) = alice_after_two_rotations(&server).await;
    assert_eq!(alice.refresh_with(&old[0]).await.outcome(), (401, "TOKEN_REUSE_DETECTED"));
    is_dead(&alice).await;
    elsewhere.me().await.expect(200);
    elsewhere.try_refresh().await.expect(200);
}

#[tokio::test]
async fn ref_1_reuse_of_a_cookie_clears_it() {
    let server = Server::start();
    let mut alice = Actor::registered(&server, "alice@example.org").await;
    let thief = alice.clone();
    alice.refresh().await.expect(200);
    let caught = thief.try_refresh().await;
    assert_eq!(caught.outcome(), (401, "TOKEN_REUSE_DETECTED"));
    let cleared = caught.set_cookies();
    assert_eq!(cleared.len(), 2, "{cleared:?}");
    assert!(cleared.iter().all(|cookie| cookie.contains("=;") && cookie.contains("Max-Age=0")), "{cleared:?}");
    is_dead(&alice).await;
}

#[tokio::test]
async fn ref_2_revocation_on_reuse_outlives_a_crash() {
    let mut server = Server::start();
    let (alice, old, elsewhere) = alice_after_two_rotations(&server).await;
    assert_eq!(alice.refresh_with(&old[1]).await.outcome(), (401, "TOKEN_REUSE_DETECTED"));
    server.crash();
    is_dead(&alice.moved_to(&server)).await;
    is_dead(&elsewhere.moved_to(&server)).await;
}

#[tokio::test]
async fn ref_6_reuse_is_told_after_a_restart_too() {
    let mut server = Server::start();
    let (alice, old, _) = alice_after_two_rotations(&server).await;
    server.crash();
    let alice = alice.moved_to(&server);
    alice.me().await.expect(200);
    assert_eq!(alice.refresh_with(&old[0]).await.outcome(), (401, "TOKEN_REUSE_DETECTED"));
    is_dead(&alice).await;
}

#[tokio::test]
async fn ref_5_tokens_of_one_second_are_told_apart() {
    let server = Server::start();
    for generation in [0, 7, 18, 19] {
        let mut alice = Actor::at(&server);
        match generation {
            0 => alice.register("alice@example.org", "body").await.expect(201),
            _ => alice.login("alice@example.org", PASSWORD, "body").await.expect(200),
        };
        let mut old = Vec::new();
        for _ in 0..20 {
            old.push(alice.refresh_token());
            alice.refresh().await.expect(200);
        }
        assert_eq!(old.iter().collect::<std::collections::HashSet<_>>().len(), 20, "one value twice");
        assert_eq!(alice.refresh_with(&old[generation]).await.outcome(), (401, "TOKEN_REUSE_DETECTED"), "generation {generation}");
        is_dead(&alice).await;
    }
}

#[tokio::test]
async fn ref_8_forged_tokens_revoke_nobody() {
    let (server, other_installation) = (Server::start(), Server::start());
    let mut alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let foreign = Actor::registered_with_tokens(&other_installation, "alice@example.org").await.refresh_token();
    let old = alice.refresh_token();
    alice.refresh().await.expect(200);
    let current = alice.refresh_token();
    let mut forged: Vec<String> = ["", " ", "x", "dwr1.", "null", "undefined", "../../etc/passwd"].map(str::to_owned).to_vec();
    forged.extend([foreign, "A".repeat(9000), format!("{current}A"), format!(" {current}"), current[..current.len() - 1].to_owned()]);
    forged.extend([current.replacen("dwr1.", "dwr2.", 1), current.replacen("dwr1.", "", 1), format!("{current}=")]);
    for token in [&old, &current] {
        for at in 5..token.len() {
            let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
            forged.push(format!("{}{other}{}", &token[..at], &token[at + 1..]));
        }
    }
    for token in &forged {
        assert_eq!(alice.refresh_with(token).await.outcome(), (401, "INVALID_REFRESH_TOKEN"), "{token:.100}");
        let mut planted = Actor::at(&server);
        planted.plant("refresh", token.trim());
        let answer = planted.try_refresh().await;
        assert!(matches!(answer.error(), "INVALID_REFRESH_TOKEN" | "MISSING_REFRESH_TOKEN"), "{token:.100}: {answer:?}");
        assert_eq!(answer.set_cookies().len(), 0, "garbage is no proof that a session ended");
    }
    alice.me().await.expect(200);
    alice.refresh().await.expect(200);
}

#[tokio::test]
async fn ref_10_a_refresh_reads_the_user_again() {
    let server = Server::start();
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let mut alice = Actor::registered(&server, "alice@example.org").await;
    admin.set_role(&alice.id, "editor").await.expect(200);
    assert_eq!(alice.me().await.outcome(), (401, "TOKEN_REVOKED"));
    alice.refresh().await.expect(200);
    assert_eq!(alice.me().await.expect(200).text_of("role"), "editor");
    admin.set_role(&alice.id, "viewer").await.expect(200);
    alice.refresh().await.expect(200);
    let claims = crate::support::claims(alice.access.as_deref().expect("a token"));
    assert_eq!((&claims["role"], &claims["permissions"]), (&json!("viewer"), &json!(["articles:read"])));

    let path = format!("/api/users/{}", alice.id);
    admin.patch(&path, &json!({ "disabled": true })).await.expect(200);
    assert_eq!(alice.me().await.outcome(), (401, "TOKEN_REVOKED"));
    let refused = alice.try_refresh().await;
    assert_eq!(refused.outcome(), (401, "TOKEN_REVOKED"));
    assert_eq!(refused.set_cookies().len(), 2, "cleared: the session is over");
    admin.patch(&path, &json!({ "disabled": false })).await.expect(200);
    is_dead(&alice).await;
}

#[tokio::test]
async fn ref_11_a_new_password_ends_every_other_session() {
    let server = Server::start();
    for transport in ["cookie", "body"] {
        let email = format!("{transport}@example.org");
        let mut here = Actor::at(&server);
        here.register(&email, transport).await.expect(201);
        let (mut there, before) = (Actor::at(&server), here.clone());
        there.login(&email, PASSWORD, "body").await.expect(200);
        let changed = here.change_password(PASSWORD, "another long one").await.expect(200);
        here.take(&changed);
        is_dead(&there).await;
        assert_eq!(before.me().await.outcome(), (401, "TOKEN_REVOKED"), "this session's earlier token");
        assert_ne!(here.refresh_token(), before.refresh_token());
        here.me().await.expect(200);
        here.refresh().await.expect(200);
        assert_eq!(Actor::at(&server).login(&email, PASSWORD, "body").await.outcome(), (401, "INVALID_CREDENTIALS"));
        Actor::at(&server).login(&email, "another long one", "body").await.expect(200);
    }
}

#[tokio::test]
async fn ref_12_a_token_travels_one_way() {
    let server = Server::start();
    let mut browser = Actor::at(&server);
    let answer = browser.register("alice@example.org", "cookie").await.expect(201);
    assert!(answer.body.get("refreshToken").is_none() && answer.body["csrfToken"].is_string(), "{}", answer.text);
    assert_eq!(answer.set_cookies().len(), 3);
    assert!(!answer.text.contains(&browser.refresh_token()));
    let answer = browser.refresh().await.expect(200);
    assert!(answer.body.get("refreshToken").is_none() && !answer.text.contains(&browser.refresh_token()), "{}", answer.text);

    let mut app = Actor::at(&server);
    let answer = app.login("alice@example.org", PASSWORD, "body").await.expect(200);
    assert_eq!(answer.set_cookies().len(), 0);
    assert_eq!(answer.body["refreshExpiresIn"], 7 * 24 * 3600);
    assert!(answer.body.get("csrfToken").is_none());
    assert_eq!(app.refresh().await.expect(200).set_cookies().len(), 0);

    // A token sent by the wrong transport is refused, and nothing is revoked.
    assert_eq!(app.refresh_with(&browser.refresh_token()).await.outcome(), (401, "INVALID_REFRESH_TOKEN"));
    let mut swapped = Actor::at(&server);
    swapped.plant("refresh", &app.refresh_token());
    let refused = swapped.try_refresh().await;
    assert_eq!(refused.outcome(), (401, "INVALID_REFRESH_TOKEN"));
    assert_eq!(refused.set_cookies().len(), 0);

    let body = json!({ "refreshToken": app.refresh_token() });
    let both = send(browser.with_cookies("POST", "/api/auth/refresh").json(&body)).await;
    assert_eq!(both.outcome(), (400, "AMBIGUOUS_CREDENTIALS"));
    browser.refresh().await.expect(200);
    app.refresh().await.expect(200);
}

#[tokio::test]
async fn ref_13_signing_in_never_adopts_a_session() {
    let server = Server::start();
    let planted = Actor::registered(&server, "mallory@example.org").await;
    Actor::registered(&server, "alice@example.org").await;
    let mut alice = Actor::at(&server);
    alice.cookies = planted.cookies.clone();
    alice.login("alice@example.org", PASSWORD, "cookie").await.expect(200);
    assert_ne!(alice.refresh_token(), planted.refresh_token());
    let sid = |actor: &Actor| crate::support::claims(actor.access.as_deref().expect("a token"))["sid"].clone();
    assert_ne!(sid(&alice), sid(&planted));
    is_dead(&planted).await;
    alice.refresh().await.expect(200);
    assert_eq!(alice.me().await.expect(200).text_of("email"), "alice@example.org");
}

#[tokio::test]
async fn ref_14_the_session_used_longest_ago_makes_room_for_the_twenty_first() {
    let server = Server::start();
    let mut sessions = vec![Actor::registered_with_tokens(&server, "alice@example.org").await];
    for _ in 1..20 {
        let mut actor = Actor::at(&server);
        actor.login("alice@example.org", PASSWORD, "body").await.expect(200);
        sessions.push(actor);
    }
    // The oldest session is in use and must stay: a script that logs in each time must not end the session of a person.
    sessions[0].refresh().await.expect(200);
    for session in &sessions {
        session.me().await.expect(200);
    }
    let mut last = Actor::at(&server);
    last.login("alice@example.org", PASSWORD, "body").await.expect(200);
    is_dead(&sessions[1]).await;
    for session in sessions[..1].iter().chain(&sessions[2..]).chain([&last]) {
        session.me().await.expect(200);
    }
    let listed = last.get("/api/auth/sessions").await.expect(200);
    assert_eq!(listed.body["sessions"].as_array().map(Vec::len), Some(20));
}

/// The files of a directory and their contents, to restore them later.
fn files(dir: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry"));
    let mut found = Vec::new();
    for entry in entries {
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => found.extend(files(&entry.path())),
            kind if kind.is_file() => found.push((entry.path(), std::fs::read(entry.path()).expect("read"))),
            _ => {}
        }
    }
    found
}

#[tokio::test]
async fn ref_15_a_token_from_the_future_of_a_rolled_back_database_ends_its_session() {
    let mut server = Server::start();
    let mut alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let first = alice.refresh_token();
    assert!(server.stop().success());
    let copy = files(&server.data_dir());
    server.start_again();
    alice = alice.moved_to(&server);
    alice.refresh().await.expect(200);
    assert!(server.stop().success());
    let is_old = |path: &std::path::Path| copy.iter().any(|(old, _)| old == path);
    for (path, _) in files(&server.data_dir()).iter().filter(|(path, _)| !is_old(path)) {
        std::fs::remove_file(path).expect("removed");
    }
    for (path, bytes) in &copy {
        std::fs::write(path, bytes).expect("put back");
    }
    server.start_again();
    let alice = alice.moved_to(&server);
    assert_eq!(alice.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"));
    assert_eq!(alice.refresh_with(&first).await.outcome(), (401, "TOKEN_REVOKED"));
    assert!(server.log().contains("state_rollback"));
}

#[tokio::test]
async fn a_refresh_without_a_token_says_so() {
    let server = Server::start();
    let nobody = Actor::at(&server);
    assert_eq!(nobody.try_refresh().await.outcome(), (401, "MISSING_REFRESH_TOKEN"));
    let query = send(nobody.request("POST", "/api/auth/refresh?refreshToken=x")).await;
    assert_eq!(query.outcome(), (401, "MISSING_REFRESH_TOKEN"), "nothing is read from a query");
    let empty = send(nobody.request("POST", "/api/auth/refresh").json(&json!({}))).await;
    assert_eq!(empty.outcome(), (401, "MISSING_REFRESH_TOKEN"));
}
