//! Invitations to register.

use crate::support::{Actor, Answer, PASSWORD, Server};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Barrier, task::JoinSet};

const BY_INVITATION: &str = "registration.mode=invite";

async fn accept(server: &Server, code: &str, email: &str) -> Answer {
    let body = json!({ "email": email, "password": PASSWORD, "invite": code });
    Actor::at(server).post("/api/auth/register", &body).await
}

async fn server_and_admin() -> (Server, Actor) {
    let server = Server::with(&[BY_INVITATION]);
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    (server, admin)
}

#[tokio::test]
async fn an_invitation_lets_one_in_with_its_role() {
    let (server, admin) = server_and_admin().await;
    assert_eq!(Actor::at(&server).register("alice@example.org", "body").await.outcome(), (403, "REGISTRATION_CLOSED"));
    let invite = admin.post("/api/invites", &json!({ "role": "editor", "expiresIn": "2d" })).await.expect(201);
    let code = invite.text_of("code");
    let listed = admin.get("/api/invites").await.expect(200);
    let invites = listed.body["invites"].as_array().expect("a list");
    assert_eq!((invites.len(), &invites[0]["id"], &invites[0]["role"]), (1, &invite.body["id"], &json!("editor")));
    assert_eq!(invites[0].get("code"), None, "shown once");
    assert!(!listed.text.contains(&code));

    let accepted = accept(&server, &code, "alice@example.org").await.expect(201);
    assert_eq!(accepted.body["user"]["role"], "editor");
    assert_eq!(accept(&server, &code, "bob@example.org").await.outcome(), (403, "REGISTRATION_CLOSED"), "used");
    assert_eq!(admin.get("/api/invites").await.expect(200).body, json!({ "invites": [] }));
}

#[tokio::test]
async fn what_is_wrong_with_the_account_leaves_the_invitation_good() {
    let (server, admin) = server_and_admin().await;
    let code = admin.post("/api/invites", &json!({})).await.expect(201).text_of("code");
    assert_eq!(accept(&server, &code, "admin@example.org").await.outcome(), (409, "EMAIL_TAKEN"));
    assert_eq!(accept(&server, &code, "no address").await.outcome(), (400, "VALIDATION_FAILED"));
    for wrong in ["", "x", "dwi1.", &code[..code.len() - 1], &format!("{code}A"), &code.replace("dwi1", "dws1")] {
        assert_eq!(accept(&server, wrong, "alice@example.org").await.outcome(), (403, "REGISTRATION_CLOSED"), "{wrong}");
    }
    let accepted = accept(&server, &code, "alice@example.org").await.expect(201);
    assert_eq!(accepted.body["user"]["role"], "viewer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_twenty_with_one_invitation_one_gets_in() {
    let server = Server::with(&[BY_INVITATION, "server.trusted_proxies=127.0.0.1"]);
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    for round in 0..5 {
        let code = admin.post("/api/invites", &json!({})).await.expect(201).text_of("code");
        let (barrier, mut tasks) = (Arc::new(Barrier::new(20)), JoinSet::new());
        for i in 0..20 {
            let (actor, barrier) = (Actor::at(&server).from_address(i), Arc::clone(&barrier));
            let body = json!({ "email": format!("user{round}-{i}@example.org"), "password": PASSWORD, "invite": code });
            tasks.spawn(async move {
                barrier.wait().await;
                actor.post("/api/auth/register", &body).await
            });
        }
        let answers = tasks.join_all().await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1, "round {round}");
        assert!(answers.iter().all(|answer| matches!(answer.outcome(), (201, "") | (403, "REGISTRATION_CLOSED"))));
    }
}

#[tokio::test]
async fn an_invitation_ends_withdrawn_or_expired() {
    let (server, admin) = server_and_admin().await;
    let invite = admin.post("/api/invites", &json!({})).await.expect(201);
    let path = format!("/api/invites/{}", invite.text_of("id"));
    assert_eq!(admin.delete(&path).await.status, 204);
    assert_eq!(admin.delete(&path).await.outcome(), (404, "NOT_FOUND"));
    assert_eq!(accept(&server, &invite.text_of("code"), "alice@example.org").await.outcome(), (403, "REGISTRATION_CLOSED"));

    let short = admin.post("/api/invites", &json!({ "expiresIn": "10m" })).await.expect(201);
    server.advance(Duration::from_secs(601));
    assert_eq!(accept(&server, &short.text_of("code"), "alice@example.org").await.outcome(), (403, "REGISTRATION_CLOSED"));
    assert_eq!(admin.get("/api/invites").await.expect(200).body, json!({ "invites": [] }));
}

#[tokio::test]
async fn an_invitation_outlives_a_crash_and_so_does_its_use() {
    let (mut server, admin) = server_and_admin().await;
    let code = admin.post("/api/invites", &json!({})).await.expect(201).text_of("code");
    server.crash();
    accept(&server, &code, "alice@example.org").await.expect(201);
    server.crash();
    assert_eq!(accept(&server, &code, "bob@example.org").await.outcome(), (403, "REGISTRATION_CLOSED"));
}

#[tokio::test]
async fn only_good_invitations_are_made() {
    let (server, admin) = server_and_admin().await;
    for (body, code, field) in [
        (json!({ "role": "ghost" }), "INVALID_ROLE", "role"),
        (json!({ "role": "ADMIN" }), "INVALID_ROLE", "role"),
        (json!({ "expiresIn": "soon" }), "VALIDATION_FAILED", "expiresIn"),
        (json!({ "expiresIn": "1s" }), "VALIDATION_FAILED", "expiresIn"),
        (json!({ "expiresIn": "10y" }), "VALIDATION_FAILED", "expiresIn"),
        (json!({ "code": "mine" }), "VALIDATION_FAILED", "code"),
    ] {
        let answer = admin.post("/api/invites", &body).await;
        assert_eq!(answer.outcome(), (400, code), "{body}");
        assert_eq!(answer.body["fields"][0]["field"], field, "{body}");
    }
    let editor = Actor::with_role(&server, "editor@example.org", "editor").await;
    let answer = editor.post("/api/invites", &json!({})).await;
    assert_eq!((answer.outcome(), &answer.body["requiredPermission"]), ((403, "FORBIDDEN"), &Value::from("users:write")));
}

#[tokio::test]
async fn az_4_nobody_invites_somebody_above_themselves() {
    let server = Server::with(&[BY_INVITATION, "roles.helper=[\"users:read\", \"users:write\", \"articles:read\"]"]);
    let helper = Actor::with_role(&server, "helper@example.org", "helper").await;
    for beyond in ["admin", "editor"] {
        assert_eq!(helper.post("/api/invites", &json!({ "role": beyond })).await.outcome(), (403, "FORBIDDEN"), "{beyond}");
    }
    for within in ["viewer", "helper"] {
        helper.post("/api/invites", &json!({ "role": within })).await.expect(201);
    }
}

/// An invitation is valid only while its maker still has the authority to give it.
#[tokio::test]
async fn az_4_an_invitation_dies_with_the_authority_of_its_maker() {
    let (server, _) = server_and_admin().await;
    for fate in [
        "demoted",
        "demoted for a while",
        "disabled",
        "deleted",
        "signed out everywhere",
        "new password",
        "password reset",
        "reuse",
        "enabled again",
    ] {
        let email = format!("{}@example.org", fate.replace(' ', "-"));
        let mut maker = Actor::with_role(&server, &email, "admin").await;
        let mut thief = maker.clone();
        let id = maker.me().await.expect(200).text_of("id");
        let invite = maker.post("/api/invites", &json!({ "role": "admin", "expiresIn": "90d" })).await.expect(201);
        match fate {
            "demoted" => drop(server.json(&["user", "role", &email, "editor"], "")),
            "demoted for a while" => drop(["editor", "admin"].map(|role| server.json(&["user", "role", &email, role], ""))),
            "disabled" => drop(server.json(&["user", "disable", &email], "")),
            "enabled again" => drop((server.json(&["user", "disable", &email], ""), server.json(&["user", "enable", &email], ""))),
            "deleted" => drop(server.json(&["user", "delete", &email, "--yes"], "")),
            "signed out everywhere" => drop(maker.post("/api/auth/logout-all", &json!({})).await.expect(200)),
            "new password" => drop(maker.change_password(PASSWORD, "another horse battery").await.expect(200)),
            "password reset" => drop(server.json(&["user", "password", &id], "another horse battery")),
            _ => {
                maker.refresh().await.expect(200);
                assert_eq!(thief.refresh().await.outcome(), (401, "TOKEN_REUSE_DETECTED"));
            }
        }
        let answer = accept(&server, &invite.text_of("code"), "mallory@example.org").await;
        assert_eq!(answer.outcome(), (403, "REGISTRATION_CLOSED"), "{fate}");
    }
    let admin = Actor::with_role(&server, "last@example.org", "admin").await;
    assert_eq!(admin.get("/api/invites").await.expect(200).body, json!({ "invites": [] }), "nor are they listed");
}

#[tokio::test]
async fn az_4_an_invitation_outlives_what_does_not_touch_its_makers_authority() {
    let (server, admin) = server_and_admin().await;
    let mut maker = Actor::with_role(&server, "maker@example.org", "admin").await;
    let code = maker.post("/api/invites", &json!({ "role": "editor" })).await.expect(201).text_of("code");
    maker.refresh().await.expect(200);
    maker.logout().await.expect(200);
    admin.patch(&format!("/api/users/{}", maker.id), &json!({ "emailVerified": false })).await.expect(200);
    accept(&server, &code, "alice@example.org").await.expect(201);
}

#[tokio::test]
async fn an_invitation_bound_to_an_address_is_for_it_alone_and_verifies_it() {
    let (server, admin) = server_and_admin().await;
    let body = json!({ "role": "editor", "email": " Alice@Example.org " });
    let invite = admin.post("/api/invites", &body).await.expect(201);
    assert_eq!(invite.text_of("email"), "alice@example.org");
    let code = invite.text_of("code");
    assert_eq!(accept(&server, &code, "mallory@example.org").await.outcome(), (403, "REGISTRATION_CLOSED"));
    let alice = accept(&server, &code, "alice@example.org").await.expect(201);
    assert_eq!((&alice.body["user"]["emailVerified"], &alice.body["user"]["role"]), (&json!(true), &json!("editor")));
    let open = admin.post("/api/invites", &json!({})).await.expect(201);
    assert_eq!(open.body["email"], Value::Null);
    let bob = accept(&server, &open.text_of("code"), "bob@example.org").await.expect(201);
    assert_eq!(bob.body["user"]["emailVerified"], false);
    let answer = admin.post("/api/invites", &json!({ "email": "no address" })).await;
    assert_eq!((answer.outcome(), &answer.body["fields"][0]["field"]), ((400, "VALIDATION_FAILED"), &json!("email")));
}

#[tokio::test]
async fn az_4_who_may_not_give_a_role_neither_withdraws_its_invitations_nor_gives_one_without_permissions() {
    let server = Server::with(&[BY_INVITATION, "roles.helper=[\"users:read\", \"users:write\", \"articles:read\"]", "roles.vip=[]"]);
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let helper = Actor::with_role(&server, "helper@example.org", "helper").await;
    let invite = admin.post("/api/invites", &json!({ "role": "admin" })).await.expect(201);
    assert_eq!(helper.delete(&format!("/api/invites/{}", invite.text_of("id"))).await.outcome(), (403, "FORBIDDEN"));
    accept(&server, &invite.text_of("code"), "boss@example.org").await.expect(201);
    assert_eq!(helper.post("/api/invites", &json!({ "role": "vip" })).await.outcome(), (403, "FORBIDDEN"));
    let friend = accept(&server, &helper.post("/api/invites", &json!({})).await.expect(201).text_of("code"), "friend@example.org").await;
    let id = friend.expect(201).body["user"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(helper.set_role(&id, "vip").await.outcome(), (403, "FORBIDDEN"));
    assert_eq!(helper.set_role(&helper.me().await.text_of("id"), "vip").await.outcome(), (403, "FORBIDDEN"), "not to itself either");
    admin.set_role(&id, "vip").await.expect(200);
    let sessions = format!("/api/users/{}/sessions", admin.me().await.text_of("id"));
    assert_eq!(helper.get(&sessions).await.outcome(), (403, "FORBIDDEN"), "an admin's sessions are not a helper's to see");
}
