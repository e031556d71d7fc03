//! A password change, or the disabling of a user, in a race with the user's refreshes and logins; and requests whose maker
//! loses the right to them while their bodies are on the way.

use super::wire::{answer, connect, status};
use crate::support::{Actor, PASSWORD, Server};
use serde_json::json;
use std::sync::Arc;
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::Barrier};

const ROUNDS: usize = 20;

/// REF-11, REF-7: whichever request comes first, after the change only the session that made it is valid.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ref_11_no_refresh_and_no_sign_in_slips_past_a_password_change() {
    let server = Server::lifting(&[("limits.hashes_per_minute", "four hashes for every round")], &[]);
    let mut owner = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let (mut old, mut new) = (PASSWORD.to_owned(), "another battery horse".to_owned());
    for round in 0..ROUNDS {
        let mut thief = Actor::at(&server);
        thief.login("alice@example.org", &old, "body").await.expect(200);
        let mut newcomer = Actor::at(&server);
        let barrier = Arc::new(Barrier::new(3));
        let refreshed = tokio::spawn({
            let (thief, barrier) = (thief.clone(), Arc::clone(&barrier));
            async move {
                barrier.wait().await;
                thief.try_refresh().await
            }
        });
        let login = tokio::spawn({
            let (mut newcomer, barrier, old) = (newcomer.clone(), Arc::clone(&barrier), old.clone());
            async move {
                barrier.wait().await;
                newcomer.login("alice@example.org", &old, "body").await
            }
        });
        barrier.wait().await;
        let changed = owner.change_password(&old, &new).await.expect(200);
        owner.take(&changed);
        let (refreshed, login) = (refreshed.await.expect("answered"), login.await.expect("answered"));
        assert!(matches!(refreshed.outcome(), (200, _) | (401, "TOKEN_REVOKED")), "round {round}: {}", refreshed.text);
        assert!(matches!(login.outcome(), (200, _) | (401, "INVALID_CREDENTIALS")), "round {round}: {}", login.text);
        thief.take(&refreshed);
        assert_eq!(thief.me().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
        assert_eq!(thief.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
        if login.status == 200 {
            newcomer.take(&login);
            assert_eq!(newcomer.me().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
            assert_eq!(newcomer.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
        }
        owner.me().await.expect(200);
        owner.refresh().await.expect(200);
        std::mem::swap(&mut old, &mut new);
    }
}

/// A login that races with the disabling of its user leaves no valid session (AUT-14).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aut_14_no_sign_in_slips_past_being_disabled() {
    let failures = ("limits.login_failures", "a login of a disabled user counts as a failure");
    let server = Server::lifting(&[failures, ("limits.hashes_per_minute", "a login for every round")], &[]);
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let user = Actor::registered_with_tokens(&server, "bob@example.org").await;
    let path = format!("/api/users/{}", user.id);
    for round in 0..ROUNDS {
        let barrier = Arc::new(Barrier::new(2));
        let mut bob = Actor::at(&server);
        let login = tokio::spawn({
            let (mut bob, barrier) = (bob.clone(), Arc::clone(&barrier));
            async move {
                barrier.wait().await;
                bob.login("bob@example.org", PASSWORD, "body").await
            }
        });
        barrier.wait().await;
        admin.patch(&path, &serde_json::json!({ "disabled": true })).await.expect(200);
        let login = login.await.expect("answered");
        assert!(matches!(login.outcome(), (200, _) | (401, "INVALID_CREDENTIALS")), "round {round}: {}", login.text);
        if login.status == 200 {
            bob.take(&login);
            assert_eq!(bob.me().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
            assert_eq!(bob.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
        }
        admin.patch(&path, &serde_json::json!({ "disabled": false })).await.expect(200);
        if login.status == 200 {
            assert_eq!(bob.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}: enabling brings nothing back");
        }
    }
}

/// A request of which all is sent but the last byte of its body.
struct Unfinished {
    stream: TcpStream,
    last: u8,
}

impl Unfinished {
    async fn begin(server: &Server, actor: &Actor, method: &str, path: &str, body: &str) -> Self {
        let mut stream = connect(server).await;
        let token = actor.access.as_deref().expect("signed in");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            server.address,
            body.len()
        );
        let (rest, last) = body.split_at(body.len() - 1);
        stream.write_all(head.as_bytes()).await.expect("sent");
        // The server asks for the body once the guard has let the request through (RFC 9110 §10.1.1).
        assert_eq!(status(&answer(&mut stream).await), 100);
        stream.write_all(rest.as_bytes()).await.expect("sent");
        Self { stream, last: last.as_bytes()[0] }
    }

    async fn finish(mut self) -> (u16, String) {
        self.stream.write_all(&[self.last]).await.expect("sent");
        let answer = answer(&mut self.stream).await;
        (status(&answer), answer)
    }
}

/// AZ-2, REV-1: a request is authenticated before its body arrives. Its maker's authority must go on until the change
/// is made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rev_1_az_2_who_is_revoked_while_the_body_is_on_its_way_changes_nothing() {
    let server = Server::start();
    let root = Actor::with_role(&server, "root@example.org", "admin").await;
    let victim = Actor::registered_with_tokens(&server, "victim@example.org").await;
    for fate in ["demoted", "disabled", "deleted", "signed out everywhere", "signed out", "session revoked"] {
        let mut maker = Actor::with_role(&server, &format!("{}@example.org", fate.replace(' ', "-")), "admin").await;
        let (role, user) = (format!("/api/users/{}/role", victim.id), format!("/api/users/{}", victim.id));
        let mut requests = Vec::new();
        for (method, path, body) in [
            ("PATCH", role.as_str(), json!({ "role": "admin" })),
            ("PATCH", user.as_str(), json!({ "disabled": true })),
            ("PATCH", user.as_str(), json!({ "emailVerified": true })),
            ("POST", "/api/invites", json!({ "role": "admin" })),
        ] {
            requests.push(Unfinished::begin(&server, &maker, method, path, &body.to_string()).await);
        }
        match fate {
            "demoted" => drop(root.set_role(&maker.id, "viewer").await.expect(200)),
            "disabled" => drop(root.patch(&format!("/api/users/{}", maker.id), &json!({ "disabled": true })).await.expect(200)),
            "deleted" => drop(root.delete(&format!("/api/users/{}", maker.id)).await.expect(204)),
            "signed out everywhere" => drop(maker.post("/api/auth/logout-all", &json!({})).await.expect(200)),
            "signed out" => drop(maker.logout().await.expect(200)),
            _ => drop(root.delete(&format!("/api/users/{}/sessions", maker.id)).await.expect(204)),
        }
        for request in requests {
            let (status, said) = request.finish().await;
            assert!(status == 401 && said.contains("TOKEN_REVOKED"), "{fate}: {said}");
        }
    }
    let unchanged = root.get(&format!("/api/users/{}", victim.id)).await.expect(200).body;
    assert_eq!((&unchanged["user"]["role"], &unchanged["user"]["disabled"]), (&json!("viewer"), &json!(false)));
    assert_eq!(unchanged["user"]["emailVerified"], json!(false));
    assert_eq!(root.get("/api/invites").await.expect(200).body, json!({ "invites": [] }));
}
