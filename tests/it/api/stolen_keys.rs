//! API keys and a stolen session: what its thief could reach is revoked (REF-1).

use crate::support::{Actor, Answer, PASSWORD, Server};
use serde_json::json;
use std::time::Duration;

/// A client with the key that this answer shows.
fn with_secret(server: &Server, answer: &Answer) -> Actor {
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let mut actor = Actor::bearing(server, text(&answer.body["secret"]));
    actor.id = text(&answer.body["key"]["id"]);
    actor
}

async fn keyed(actor: &Actor, server: &Server) -> Actor {
    let answer = actor.post("/api/keys", &json!({ "name": "a", "permissions": ["articles:read"] })).await.expect(201);
    with_secret(server, &answer)
}

/// A victim and the thief who has copied their refresh token and used it once.
async fn robbed(server: &Server, email: &str, role: &str) -> (Actor, Actor) {
    let victim = Actor::with_role(server, email, role).await;
    let mut thief = victim.clone();
    thief.refresh().await.expect(200);
    (victim, thief)
}

#[tokio::test]
async fn ref_1_the_keys_that_a_thief_made_end_with_the_theft() {
    let server = Server::start();
    let mut ada = Actor::with_role(&server, "ada@example.org", "admin").await;
    let (before, rotated) = (keyed(&ada, &server).await, keyed(&ada, &server).await);
    let mut victim = Actor::at(&server);
    victim.login("ada@example.org", PASSWORD, "body").await.expect(200);
    let mut thief = victim.clone();
    thief.refresh().await.expect(200);
    let planted = keyed(&thief, &server).await;
    let rotate = thief.post(&format!("/api/keys/{}/rotate", rotated.id), &json!({ "overlap": "24h" })).await.expect(200);
    let service = thief.post("/api/services", &json!({ "name": "backup", "role": "admin" })).await.expect(201).body["user"]["id"].clone();
    let body = json!({ "name": "a", "permissions": ["*"], "expiresIn": "365d", "user": service });
    let of_service = with_secret(&server, &thief.post("/api/keys", &body).await.expect(201));
    let planted = [planted, with_secret(&server, &rotate), of_service];
    for key in &planted {
        key.me().await.expect(200);
    }
    server.advance(Duration::from_secs(60));
    assert_eq!(victim.try_refresh().await.outcome(), (401, "TOKEN_REUSE_DETECTED"));
    for key in &planted {
        assert_eq!(key.me().await.outcome(), (401, "INVALID_TOKEN"));
    }
    before.me().await.expect(200);
    assert_eq!(server.log().matches("made in a session that was stolen").count(), planted.len());
    ada.login("ada@example.org", PASSWORD, "body").await.expect(200);
    assert_eq!(ada.get("/api/keys").await.expect(200).body["keys"].as_array().expect("a list").len(), 1);
}

/// Who signs out before the theft is noticed has ended the session whose tokens would show it.
#[tokio::test]
async fn ref_1_signing_out_hides_no_key_of_a_thief() {
    for restart in [false, true] {
        let mut server = Server::start();
        let (mut victim, mut thief) = robbed(&server, "ada@example.org", "editor").await;
        let mut planted = keyed(&thief, &server).await;
        thief.logout().await.expect(200);
        planted.me().await.expect(200);
        if restart {
            server.crash();
            (victim, planted) = (victim.moved_to(&server), planted.moved_to(&server));
        }
        assert_eq!(victim.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"));
        assert_eq!(planted.me().await.outcome(), (401, "INVALID_TOKEN"), "restart: {restart}");
    }
    // Whoever made a key and signed out is no thief, whatever is presented of the session then: its last token.
    let server = Server::start();
    let honest = Actor::with_role(&server, "ada@example.org", "editor").await;
    let own = keyed(&honest, &server).await;
    honest.clone().logout().await.expect(200);
    assert_eq!(honest.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"));
    own.me().await.expect(200);
}
