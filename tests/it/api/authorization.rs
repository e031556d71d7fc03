//! Roles and permissions, and how fast changes take effect.

use crate::support::{Actor, Server};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
};
use tokio::sync::Barrier;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn az_2_after_a_demotion_is_answered_not_one_request_succeeds() {
    let server = Server::start();
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    for (round, change) in ["role", "disable", "sessions", "delete"].into_iter().enumerate() {
        let other = Actor::with_role(&server, &format!("other{round}@example.org"), "admin").await;
        let id = other.get("/api/users/me").await.expect(200).text_of("id");
        let (answered, successes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let pollers: Vec<_> = (0..4)
            .map(|_| {
                let (other, answered, successes) = (other.clone(), Arc::clone(&answered), Arc::clone(&successes));
                tokio::spawn(async move {
                    let mut after = 0;
                    while after < 20 {
                        let is_after = answered.load(SeqCst);
                        let answer = other.get("/api/users").await;
                        if is_after {
                            assert_eq!(answer.outcome(), (401, "TOKEN_REVOKED"));
                            after += 1;
                        } else if answer.status == 200 {
                            successes.fetch_add(1, SeqCst);
                        }
                    }
                })
            })
            .collect();
        while successes.load(SeqCst) < 20 {
            tokio::task::yield_now().await;
        }
        let path = format!("/api/users/{id}");
        let answer = match change {
            "role" => admin.set_role(&id, "viewer").await,
            "disable" => admin.patch(&path, &json!({ "disabled": true })).await,
            "sessions" => admin.delete(&format!("{path}/sessions")).await,
            _ => admin.delete(&path).await,
        };
        answered.store(true, SeqCst);
        assert!(matches!(answer.status, 200 | 204), "{}", answer.text);
        for poller in pollers {
            poller.await.expect("refused");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn az_3_two_admins_who_demote_each_other_leave_one() {
    let server = Server::lifting(&[("limits.hashes_per_minute", "a login for each of a hundred rounds")], &[]);
    let mut one = Actor::with_role(&server, "one@example.org", "admin").await;
    let mut two = Actor::with_role(&server, "two@example.org", "admin").await;
    let remove = |round: usize, by: Actor, whom: String, barrier: Arc<Barrier>| async move {
        barrier.wait().await;
        match round % 3 {
            0 | 1 => by.set_role(&whom, "viewer").await,
            _ => by.patch(&format!("/api/users/{whom}"), &json!({ "disabled": true })).await,
        }
    };
    for round in 0..100 {
        let barrier = Arc::new(Barrier::new(2));
        let first = tokio::spawn(remove(round, one.clone(), two.id.clone(), Arc::clone(&barrier)));
        let second = tokio::spawn(remove(round, two.clone(), one.id.clone(), barrier));
        let (first, second) = (first.await.expect("answered"), second.await.expect("answered"));
        let won = [&first, &second].map(|answer| answer.status == 200);
        assert!(won[0] != won[1], "round {round}: {} {}", first.text, second.text);
        let lost = if won[0] { &second } else { &first };
        assert!(matches!(lost.outcome(), (409, "LAST_ADMIN") | (401, "TOKEN_REVOKED") | (403, "FORBIDDEN")), "{}", lost.text);
        let (winner, loser) = if won[0] { (&one, &mut two) } else { (&two, &mut one) };
        winner.set_role(&loser.id, "admin").await.expect(200);
        winner.patch(&format!("/api/users/{}", loser.id), &json!({ "disabled": false })).await.expect(200);
        let email = loser.email.clone();
        loser.login(&email, crate::support::PASSWORD, "body").await.expect(200);
    }
}

#[tokio::test]
async fn az_3_the_last_admin_stays_whoever_asks() {
    let server = Server::start();
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    // A disabled admin does not count.
    let spare = Actor::with_role(&server, "spare@example.org", "admin").await;
    admin.patch(&format!("/api/users/{}", spare.id), &json!({ "disabled": true })).await.expect(200);
    let path = format!("/api/users/{}", admin.id);
    for answer in
        [admin.set_role(&admin.id, "viewer").await, admin.patch(&path, &json!({ "disabled": true })).await, admin.delete(&path).await]
    {
        assert_eq!(answer.outcome(), (409, "LAST_ADMIN"));
    }
    for command in [
        &["user", "role", "admin@example.org", "viewer"][..],
        &["user", "disable", "admin@example.org"],
        &["user", "delete", "admin@example.org"],
    ] {
        assert!(!server.command(command, "").status.success(), "{command:?}");
    }
    admin.get("/api/users").await.expect(200);
    admin.patch(&format!("/api/users/{}", spare.id), &json!({ "disabled": false })).await.expect(200);
    assert_eq!(admin.delete(&path).await.status, 204, "now there is another");
}

#[tokio::test]
async fn az_4_who_manages_users_does_not_reach_what_they_have_not_themselves() {
    let server = Server::with(&["roles.helper=[\"users:read\", \"users:write\", \"articles:read\"]"]);
    let helper = Actor::with_role(&server, "helper@example.org", "helper").await;
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let editor = Actor::with_role(&server, "editor@example.org", "editor").await;
    let viewer = Actor::registered(&server, "viewer@example.org").await;
    for (id, role) in [
        (&viewer.id, "admin"),
        (&viewer.id, "editor"),
        (&helper.id, "admin"),
        (&helper.id, "editor"),
        (&editor.id, "viewer"),
        (&admin.id, "viewer"),
    ] {
        assert_eq!(helper.set_role(id, role).await.outcome(), (403, "FORBIDDEN"), "{role}");
    }
    for above in [&admin, &editor] {
        let path = format!("/api/users/{}", above.id);
        for answer in [
            helper.patch(&path, &json!({ "disabled": true })).await,
            helper.delete(&path).await,
            helper.delete(&format!("{path}/sessions")).await,
        ] {
            assert_eq!(answer.outcome(), (403, "FORBIDDEN"));
        }
        above.me().await.expect(200);
    }
    helper.set_role(&viewer.id, "helper").await.expect(200);
    helper.set_role(&viewer.id, "viewer").await.expect(200);
    assert_eq!(helper.delete(&format!("/api/users/{}", viewer.id)).await.status, 204);
}

#[tokio::test]
async fn verify_answers_for_a_proxy() {
    let server = Server::start();
    let editor = Actor::with_role(&server, "editor@example.org", "editor").await;
    let answer = editor.get("/api/auth/verify").await.expect(200);
    let names: Vec<_> = answer.body.as_object().expect("an object").keys().collect();
    assert_eq!(names, ["exp", "permissions", "role", "sid", "sub"]);
    let claims = crate::support::claims(editor.access.as_deref().expect("a token"));
    for name in ["sub", "role", "permissions", "sid", "exp"] {
        assert_eq!(answer.body[name], claims[name], "{name}");
    }
    assert_eq!(answer.header("x-auth-user"), Some(editor.id.as_str()));
    assert_eq!(answer.header("x-auth-email"), Some("editor@example.org"));
    assert_eq!(answer.header("x-auth-role"), Some("editor"));
    assert_eq!(answer.header("x-auth-permissions"), Some("articles:read,articles:write"));
    assert_eq!(Actor::at(&server).get("/api/auth/verify").await.outcome(), (401, "MISSING_TOKEN"));
}

#[tokio::test]
async fn verify_asks_for_any_of_several_roles_and_for_a_permission() {
    let server = Server::start();
    let viewer = Actor::with_role(&server, "viewer@example.org", "viewer").await;
    let editor = Actor::with_role(&server, "editor@example.org", "editor").await;
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    for (query, passes) in [
        ("role=viewer", [true, false, true]),
        ("role=editor", [false, true, true]),
        ("role=viewer,editor", [true, true, true]),
        ("role=admin", [false, false, true]),
        ("permission=articles:read", [true, true, true]),
        ("permission=articles:write", [false, true, true]),
        ("permission=users:write", [false, false, true]),
        ("role=viewer&permission=articles:write", [false, false, true]),
        ("role=editor&permission=articles:write", [false, true, true]),
    ] {
        for (actor, passes) in [&viewer, &editor, &admin].into_iter().zip(passes) {
            let answer = actor.get(&format!("/api/auth/verify?{query}")).await;
            assert_eq!(answer.outcome(), if passes { (200, "") } else { (403, "FORBIDDEN") }, "{} {query}", actor.email);
            assert_eq!(answer.header("x-auth-user").is_some(), passes);
        }
    }
    let refused = viewer.get("/api/auth/verify?role=editor,admin").await;
    assert_eq!(refused.body["requiredRoles"], json!(["editor", "admin"]));
    let refused = viewer.get("/api/auth/verify?permission=articles:write").await;
    assert_eq!(refused.body["requiredPermission"], "articles:write");
    for (query, field) in [
        ("permission=*", "permission"),
        ("permission=articles:*", "permission"),
        ("permission=articles:writeX", "permission"),
        ("permission=ARTICLES:WRITE", "permission"),
        ("permission=articles", "permission"),
        ("permission=", "permission"),
        ("permission=articles:read&permission=articles:write", "permission"),
        ("role=", "role"),
        ("role=Editor", "role"),
        ("role=viewer&role=editor", "role"),
        ("role=viewer,,editor", "role"),
    ] {
        let answer = editor.get(&format!("/api/auth/verify?{query}")).await;
        assert_eq!(answer.outcome(), (400, "VALIDATION_FAILED"), "AZ-5: {query}");
        assert_eq!(answer.body["fields"][0]["field"], field, "{query}");
    }
}

#[tokio::test]
async fn a_granted_wildcard_allows_its_resource_and_no_neighbour() {
    let server = Server::with(&["roles.editor=[\"articles:*\"]"]);
    let editor = Actor::with_role(&server, "editor@example.org", "editor").await;
    for (permission, status) in [("articles:write", 200), ("articles:any-thing", 200), ("articlesx:write", 400), ("users:read", 403)] {
        assert_eq!(editor.get(&format!("/api/auth/verify?permission={permission}")).await.status, status, "AZ-5: {permission}");
    }
    assert_eq!(editor.me().await.expect(200).body["permissions"], json!(["articles:*"]));
}

#[tokio::test]
async fn roles_changed_by_configuration_hold_for_tokens_in_circulation() {
    let mut server = Server::start();
    let alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let mut asked = Vec::new();
    let question = "/api/auth/verify?permission=articles:write";
    asked.push(alice.get(question).await.status);
    server.kill();
    let roles = "[roles]\nviewer = [\"articles:write\"]\neditor = []\nadmin = [\"*\"]\n";
    std::fs::write(server.dir.path().join("config.toml"), roles).expect("written");
    server.start_again();
    let alice = alice.moved_to(&server);
    let answer = alice.get(question).await.expect(200);
    assert_eq!(answer.body["permissions"], json!(["articles:write"]));
    assert_eq!(answer.header("x-auth-permissions"), Some("articles:write"));
    assert_eq!(alice.get("/api/auth/verify?permission=users:read").await.status, 403);
    assert_eq!(asked, [403]);
    // A role that is no longer configured has no permissions.
    server.kill();
    std::fs::write(
        server.dir.path().join("config.toml"),
        "[roles]\nreader = []\nadmin = [\"*\"]\n[registration]\ndefault_role = \"reader\"\n",
    )
    .expect("written");
    server.start_again();
    let alice = alice.moved_to(&server);
    assert_eq!(alice.get(question).await.status, 400, "nothing grants it any more");
    assert_eq!(alice.me().await.expect(200).body["permissions"], Value::Array(vec![]));
}

/// A query with a typo must not let everybody in.
#[tokio::test]
async fn az_5_a_question_that_is_not_understood_lets_nobody_in_and_is_told_to_the_operator() {
    let server = Server::with(&["roles.author=[\"news:*\"]"]);
    let viewer = Actor::registered(&server, "viewer@example.org").await;
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    for (query, field) in [
        ("roles=admin", "roles"),
        ("permissions=secret:read", "permissions"),
        ("Role=admin", "Role"),
        ("role=viewer&x", "x"),
        ("a%20b=1", "?"),
        ("role=ghost", "role"),
        ("role=viewer,ghost", "role"),
        ("permission=secret:read", "permission"),
        ("permission=articles", "permission"),
        ("permission=articles:read,articles:write", "permission"),
        ("role=", "role"),
        ("role=viewer&role=editor", "role"),
    ] {
        for actor in [&viewer, &admin] {
            let answer = actor.get(&format!("/api/auth/verify?{query}")).await;
            assert_eq!(answer.outcome(), (400, "VALIDATION_FAILED"), "{query}");
            assert_eq!(answer.body["fields"][0]["field"], field, "{query}");
            assert_eq!(answer.header("x-auth-user"), None);
        }
    }
    for (query, status) in [("permission=news:write", 403), ("permission=users:read", 403), ("permission=articles:read", 200), ("", 200)] {
        assert_eq!(viewer.get(&format!("/api/auth/verify?{query}")).await.status, status, "{query}");
    }
    let log = server.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("verify_mistaken")).collect();
    assert_eq!(lines.len(), 1, "once a minute: {lines:?}");
    assert!(lines[0].contains("/api/auth/verify?roles") && lines[0].contains("WARN"), "{}", lines[0]);
}

/// Each of these mistakes, which are easily made in a proxy's configuration, is logged.
#[tokio::test]
async fn az_5_every_mistaken_question_is_told() {
    for query in ["role=Admin", "role=", "permission=articles", "permission=Articles:read", "role=viewer&role=editor"] {
        let server = Server::start();
        let alice = Actor::registered(&server, "alice@example.org").await;
        assert_eq!(alice.get(&format!("/api/auth/verify?{query}")).await.status, 400, "{query}");
        assert!(server.log().contains("verify_mistaken"), "{query}");
    }
}

/// A role that was removed from the configuration no longer passes a check, even for users who have it.
#[tokio::test]
async fn az_5_a_role_that_is_no_longer_configured_passes_no_question() {
    let mut server = Server::with(&["roles.vip=[\"club:enter\"]"]);
    let mut alice = Actor::with_role(&server, "alice@example.org", "vip").await;
    assert_eq!(alice.get("/api/auth/verify?role=vip").await.status, 200);
    assert!(server.stop().success());
    server.unset("roles.vip");
    server.start_again();
    alice = alice.moved_to(&server);
    alice.login("alice@example.org", crate::support::PASSWORD, "body").await.expect(200);
    assert_eq!(alice.get("/api/auth/verify?role=vip").await.status, 400);
    assert_eq!(alice.get("/api/auth/verify?permission=club:enter").await.status, 400);
    assert_eq!(alice.get("/api/auth/verify?role=viewer").await.status, 403);
}
