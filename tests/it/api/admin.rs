//! Administration of other users.

use crate::support::{Actor, PASSWORD, Server, claims, send};
use serde_json::{Value, json};

async fn server_and_admin() -> (Server, Actor) {
    let server = Server::start();
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    (server, admin)
}

fn emails(page: &Value) -> Vec<String> {
    page["users"].as_array().expect("a list").iter().map(|user| user["email"].as_str().expect("an address").to_owned()).collect()
}

#[tokio::test]
async fn az_7_users_come_in_pages_that_together_are_all_of_them() {
    let server = Server::lifting(&[("limits.register_burst", "a list of several pages needs many users")], &[]);
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let mut expected = vec!["admin@example.org".to_owned()];
    for i in 0..25 {
        expected.push(Actor::registered(&server, &format!("user{i:02}@example.org")).await.email);
    }
    expected.sort();
    for limit in [1, 7, 26, 100] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = admin.get(&format!("/api/users?limit={limit}{cursor}")).await.expect(200).body;
            let found = emails(&page);
            assert!(found.len() <= limit, "{} on a page of {limit}", found.len());
            seen.extend(found);
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen, expected, "limit {limit}");
    }
    let first = admin.get("/api/users?limit=2").await.expect(200).body;
    let names: Vec<_> = first["users"][0].as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(names, ["createdAt", "disabled", "email", "emailVerified", "id", "kind", "role"]);
    assert_eq!(emails(&admin.get("/api/users").await.expect(200).body).len(), 26);
}

#[tokio::test]
async fn users_are_found_by_how_their_address_begins() {
    let (server, admin) = server_and_admin().await;
    for email in ["ann@example.org", "anna@example.org", "bob@example.org"] {
        Actor::registered(&server, email).await;
    }
    for (query, found) in [
        ("ann", &["ann@example.org", "anna@example.org"][..]),
        ("ANNA", &["anna@example.org"]),
        ("%20bob%20", &["bob@example.org"]),
        ("example", &[]),
        ("ann%40", &["ann@example.org"]),
        ("zzz", &[]),
    ] {
        assert_eq!(emails(&admin.get(&format!("/api/users?query={query}")).await.expect(200).body), found, "{query}");
    }
    let page = admin.get("/api/users?query=ann&limit=1").await.expect(200).body;
    let next = page["nextCursor"].as_str().expect("more");
    let page = admin.get(&format!("/api/users?query=ann&limit=1&cursor={next}")).await.expect(200).body;
    assert_eq!((emails(&page), &page["nextCursor"]), (vec!["anna@example.org".to_owned()], &Value::Null));
}

#[tokio::test]
async fn az_7_limits_and_cursors_that_are_none_are_refused() {
    let (_server, admin) = server_and_admin().await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=101", "limit"),
        ("limit=1000000000", "limit"),
        ("limit=99999999999999999999999", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=", "cursor"),
        ("cursor=%00", "cursor"),
    ] {
        let answer = admin.get(&format!("/api/users?{query}")).await;
        assert_eq!(answer.outcome(), (400, "VALIDATION_FAILED"), "{query}");
        assert_eq!(answer.body["fields"][0]["field"], field, "{query}");
    }
}

#[tokio::test]
async fn a_user_is_shown_and_given_another_role() {
    let (server, admin) = server_and_admin().await;
    let alice = Actor::registered(&server, "alice@example.org").await;
    let path = format!("/api/users/{}", alice.id);
    let shown = admin.get(&path).await.expect(200).body;
    assert_eq!(
        (&shown["user"]["email"], &shown["user"]["role"], &shown["user"]["disabled"]),
        (&json!("alice@example.org"), &json!("viewer"), &json!(false))
    );
    let changed = admin.set_role(&alice.id, "editor").await.expect(200).body;
    assert_eq!((&changed["user"]["id"], &changed["user"]["role"]), (&json!(alice.id), &json!("editor")));
    for wrong in ["ghost", "Editor", "", "admin "] {
        let answer = admin.set_role(&alice.id, wrong).await;
        assert_eq!(answer.outcome(), (400, "INVALID_ROLE"), "{wrong}");
        assert_eq!(answer.body["fields"][0]["field"], "role");
    }
    for body in [json!({}), json!({ "role": ["editor"] }), json!({ "role": "editor", "permissions": ["*"] })] {
        assert_eq!(admin.patch(&format!("{path}/role"), &body).await.outcome(), (400, "VALIDATION_FAILED"), "{body}");
    }
    for body in [json!({}), json!({ "disabled": "yes" }), json!({ "disabled": true, "role": "admin" }), json!({ "email": "a@b.org" })] {
        assert_eq!(admin.patch(&path, &body).await.outcome(), (400, "VALIDATION_FAILED"), "{body}");
    }
    assert_eq!(admin.get(&path).await.expect(200).body, changed);
}

#[tokio::test]
async fn who_is_not_there_is_not_found() {
    let (_server, admin) = server_and_admin().await;
    for id in ["0".repeat(32), "me2".into(), "0".repeat(31), "A".repeat(32)] {
        let path = format!("/api/users/{id}");
        for answer in [
            admin.get(&path).await,
            admin.set_role(&id, "viewer").await,
            admin.patch(&path, &json!({ "disabled": true })).await,
            admin.delete(&path).await,
            admin.get(&format!("{path}/sessions")).await,
            admin.delete(&format!("{path}/sessions")).await,
            admin.delete(&format!("{path}/sessions/{}", "0".repeat(32))).await,
        ] {
            assert_eq!(answer.outcome(), (404, "NOT_FOUND"), "{id}");
        }
    }
}

#[tokio::test]
async fn ref_14_an_admin_sees_and_ends_sessions_of_others() {
    let (server, admin) = server_and_admin().await;
    let phone = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let mut laptop = Actor::at(&server);
    laptop.login("alice@example.org", PASSWORD, "cookie").await.expect(200);
    let path = format!("/api/users/{}/sessions", phone.id);
    let listed = admin.get(&path).await.expect(200).body;
    let sessions = listed["sessions"].as_array().expect("a list");
    assert_eq!(sessions.len(), 2);
    assert!(sessions.iter().all(|session| session["current"] == false), "none is the admin's own");

    let sid = claims(phone.access.as_deref().expect("a token"))["sid"].as_str().expect("sid").to_owned();
    let others = format!("/api/users/{}/sessions/{sid}", admin.id);
    assert_eq!(admin.delete(&others).await.outcome(), (404, "NOT_FOUND"), "not a session of that user");
    phone.me().await.expect(200);
    assert_eq!(admin.delete(&format!("{path}/{sid}")).await.status, 204);
    assert_eq!(phone.me().await.outcome(), (401, "TOKEN_REVOKED"));
    laptop.me().await.expect(200);
    assert_eq!(admin.delete(&path).await.status, 204);
    assert_eq!(laptop.me().await.outcome(), (401, "TOKEN_REVOKED"));
    assert_eq!(laptop.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"));
    assert_eq!(admin.get(&path).await.expect(200).body, json!({ "sessions": [] }));
}

#[tokio::test]
async fn az_6_without_the_permission_users_that_exist_look_like_those_that_do_not() {
    let (server, admin) = server_and_admin().await;
    let alice = Actor::registered(&server, "alice@example.org").await;
    let unknown = "0".repeat(32);
    for (method, tail) in [("GET", ""), ("DELETE", ""), ("GET", "/sessions"), ("DELETE", "/sessions")] {
        let mut answers = Vec::new();
        for id in [&admin.id, &unknown] {
            let answer = send(alice.bearer(method, &format!("/api/users/{id}{tail}"))).await;
            assert_eq!(answer.outcome(), (403, "FORBIDDEN"), "{method} {tail}");
            answers.push(answer.text_without_id());
        }
        assert_eq!(answers[0], answers[1]);
    }
}

#[tokio::test]
async fn a_deleted_user_is_gone_and_changes_by_an_operator_show_at_once() {
    let (server, admin) = server_and_admin().await;
    let alice = Actor::registered(&server, "alice@example.org").await;
    let path = format!("/api/users/{}", alice.id);
    server.json(&["user", "role", "alice@example.org", "editor"], "");
    assert_eq!(alice.me().await.outcome(), (401, "TOKEN_REVOKED"));
    assert_eq!(admin.get(&path).await.expect(200).body["user"]["role"], "editor");
    server.json(&["user", "disable", "alice@example.org"], "");
    assert_eq!(admin.get(&path).await.expect(200).body["user"]["disabled"], true);
    assert_eq!(admin.delete(&path).await.status, 204);
    assert_eq!(admin.delete(&path).await.outcome(), (404, "NOT_FOUND"));
    assert_eq!(emails(&admin.get("/api/users").await.expect(200).body), ["admin@example.org"]);
}
