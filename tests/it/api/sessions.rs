//! A user's own sessions.

use crate::support::{Actor, PASSWORD, Server, claims, send};
use serde_json::Value;

fn sid(actor: &Actor) -> String {
    claims(actor.access.as_deref().expect("a token"))["sid"].as_str().expect("sid").to_owned()
}

#[tokio::test]
async fn a_user_sees_their_sessions_and_which_is_this_one() {
    let server = Server::start();
    let mut laptop = Actor::at(&server);
    laptop.headers = vec![("user-agent".into(), "Laptop/1.0".into())];
    laptop.register("alice@example.org", "cookie").await.expect(201);
    let mut phone = Actor::at(&server);
    phone.headers = vec![("user-agent".into(), "Phone/2.0".into())];
    phone.login("alice@example.org", PASSWORD, "body").await.expect(200);
    Actor::registered(&server, "bob@example.org").await;

    let listed = phone.get("/api/auth/sessions").await.expect(200);
    let sessions = listed.body["sessions"].as_array().expect("a list");
    assert_eq!(sessions.len(), 2);
    for session in sessions {
        let names: Vec<_> = session.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(names, ["createdAt", "current", "expiresAt", "id", "ip", "lastSeenAt", "userAgent"]);
        assert_eq!(session["ip"], "127.0.0.1");
    }
    let of = |id: String| sessions.iter().find(|session| session["id"] == *id).expect("listed").clone();
    assert_eq!((&of(sid(&phone))["current"], &of(sid(&phone))["userAgent"]), (&Value::Bool(true), &Value::from("Phone/2.0")));
    assert_eq!((&of(sid(&laptop))["current"], &of(sid(&laptop))["userAgent"]), (&Value::Bool(false), &Value::from("Laptop/1.0")));
    for secret in [phone.refresh_token(), laptop.refresh_token()] {
        assert!(!listed.text.contains(&secret));
    }
}

#[tokio::test]
async fn a_session_is_ended_from_another_at_once() {
    let server = Server::start();
    let phone = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let mut laptop = Actor::at(&server);
    laptop.login("alice@example.org", PASSWORD, "cookie").await.expect(200);
    let path = format!("/api/auth/sessions/{}", sid(&phone));
    assert_eq!(laptop.delete(&path).await.status, 204);
    assert_eq!(phone.me().await.outcome(), (401, "TOKEN_REVOKED"));
    assert_eq!(phone.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"));
    assert_eq!(laptop.delete(&path).await.outcome(), (404, "NOT_FOUND"));
    laptop.me().await.expect(200);
    laptop.refresh().await.expect(200);
}

#[tokio::test]
async fn az_6_somebody_elses_session_is_as_unknown_as_none() {
    let server = Server::start();
    let alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let mallory = Actor::registered_with_tokens(&server, "mallory@example.org").await;
    let answers = [sid(&alice), "0".repeat(32), "no-id".into(), sid(&alice).to_uppercase()];
    let mut shapes = Vec::new();
    for id in answers {
        let answer = send(mallory.bearer("DELETE", &format!("/api/auth/sessions/{id}"))).await;
        shapes.push((answer.status, answer.text_without_id()));
    }
    assert_eq!(shapes[0].0, 404);
    assert_eq!(shapes[0], shapes[1]);
    assert_eq!(shapes[0], shapes[2]);
    assert_eq!(shapes[0], shapes[3]);
    alice.me().await.expect(200);
    alice.try_refresh().await.expect(200);
}
