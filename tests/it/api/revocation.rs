//! Revocation takes effect on every route, at once and permanently.

use crate::support::{Actor, PASSWORD, Server, send};
use doorward::http::routes::{Access, ROUTES};

/// A path of the route table with an id for each parameter.
fn concrete(path: &str) -> String {
    path.replace("ApiKeyId", &"0".repeat(32))
        .replace("UserId", &"0".repeat(32))
        .replace("SessionId", &"0".repeat(32))
        .replace("InviteId", &"0".repeat(32))
}

#[tokio::test]
async fn rev_2_every_protected_route_refuses_a_revoked_bearer() {
    let server = Server::start();
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let mut revoked = Actor::at(&server);
    revoked.login("admin@example.org", PASSWORD, "body").await.expect(200);
    revoked.clone().logout().await.expect(200);
    let mut protected = 0;
    // An access token is no API key, revoked or not.
    for route in ROUTES.iter().filter(|route| !matches!(route.access, Access::Anyone | Access::ApiKey | Access::Client(_))) {
        protected += 1;
        let path = concrete(route.path);
        let answer = send(revoked.bearer(route.method, &path)).await;
        assert_eq!(answer.outcome(), (401, "TOKEN_REVOKED"), "{} {path}", route.method);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"invalid_token\", error_description=\"revoked\""));
        let answer = send(revoked.request(route.method, &path)).await;
        assert_eq!(answer.outcome(), (401, "MISSING_TOKEN"), "{} {path}", route.method);
        // The route accepts a valid token of the same user, so it was the revocation that refused.
        if route.method == "GET" {
            assert_ne!(send(admin.bearer(route.method, &path)).await.status, 401, "{} {path}", route.method);
        }
    }
    assert!(protected > 10, "{protected} routes are not the table");
}

#[tokio::test]
async fn rev_3_what_a_sign_out_promised_outlives_a_crash() {
    let mut server = Server::start();
    let mut alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let mut dead = Vec::new();
    for round in 0..20 {
        alice.me().await.expect(200);
        let answer = match round % 3 {
            0 => alice.logout().await,
            1 => alice.post("/api/auth/logout-all", &serde_json::json!({})).await,
            _ => {
                let sid = crate::support::claims(alice.access.as_deref().expect("a token"))["sid"].as_str().expect("sid").to_owned();
                alice.delete(&format!("/api/auth/sessions/{sid}")).await
            }
        };
        server.kill();
        assert!(matches!(answer.status, 200 | 204), "{}", answer.text);
        server.start_again();
        alice = alice.moved_to(&server);
        dead.push(alice.clone());
        for actor in &dead {
            let actor = actor.clone().moved_to(&server);
            assert_eq!(actor.me().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
        }
        assert_eq!(alice.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
        alice.login("alice@example.org", PASSWORD, "body").await.expect(200);
    }
}

#[tokio::test]
async fn rev_7_a_deleted_user_stays_deleted() {
    let mut server = Server::start();
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let ghost = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let path = format!("/api/users/{}", ghost.id);
    assert_eq!(admin.delete(&path).await.status, 204);
    assert_eq!(ghost.me().await.outcome(), (401, "TOKEN_REVOKED"));
    assert_eq!(ghost.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"));
    assert_eq!(admin.get(&path).await.outcome(), (404, "NOT_FOUND"));
    assert_eq!(Actor::at(&server).login("alice@example.org", PASSWORD, "body").await.outcome(), (401, "INVALID_CREDENTIALS"));
    let successor = Actor::registered_with_tokens(&server, "alice@example.org").await;
    assert_ne!(successor.id, ghost.id);
    assert_eq!(
        successor.get("/api/auth/sessions").await.expect(200).body["sessions"].as_array().map(Vec::len),
        Some(1),
        "nothing is inherited"
    );
    assert_eq!(ghost.me().await.status, 401);
    server.crash();
    let ghost = ghost.moved_to(&server);
    assert_eq!(ghost.me().await.status, 401);
    assert_eq!(ghost.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"));
    assert_eq!(successor.moved_to(&server).me().await.expect(200).text_of("id"), successor_id(&server));
}

/// The id of the user with this address, as the operator sees it.
fn successor_id(server: &Server) -> String {
    let shown = server.json(&["user", "show", "alice@example.org"], "");
    shown["id"].as_str().or_else(|| shown["user"]["id"].as_str()).expect("an id").to_owned()
}

#[tokio::test]
async fn an_operator_revokes_on_the_running_server() {
    let server = Server::start();
    let alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let sid = crate::support::claims(alice.access.as_deref().expect("a token"))["sid"].as_str().expect("sid").to_owned();
    server.json(&["session", "revoke", &sid], "");
    assert_eq!(alice.me().await.outcome(), (401, "TOKEN_REVOKED"));
    assert_eq!(alice.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"));
}
