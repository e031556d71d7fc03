//! The audit trail: what admins, users and operators see of it.

use crate::support::{Actor, PASSWORD, Server, doorward};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

/// The events that a query finds, once those are there that are written a moment after their answer.
async fn find(actor: &Actor, query: &str, expected: usize) -> Vec<Value> {
    loop {
        let page = actor.get(&format!("/api/audit?{query}")).await.expect(200);
        let events = page.body["events"].as_array().expect("events").clone();
        if events.len() >= expected {
            return events;
        }
        tokio::task::yield_now().await;
    }
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn aud_1_whoever_may_read_the_trail_finds_events_by_what_they_are_about() {
    let server = Server::start();
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let mut ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let id = ada.id.clone();
    ada.login("ada@example.org", "not this one", "body").await.expect(401);
    ada.login("ada@example.org", PASSWORD, "body").await.expect(200);
    admin.set_role(&id, "editor").await.expect(200);
    let events = find(&admin, &format!("user={id}"), 4).await;
    let mut sorted = names(&events);
    sorted.sort_unstable();
    assert_eq!(sorted, ["login_failed", "login_ok", "register", "role_changed"]);
    let changed = events.iter().find(|event| event["event"] == "role_changed").expect("it");
    assert_eq!((&changed["actor"], &changed["target"], &changed["role"]), (&json!(admin.id), &json!(id), &json!("editor")));
    assert_eq!((&changed["from"], &changed["outcome"]), (&json!("127.0.0.1"), &json!("done")));
    let failed = &find(&admin, "event=login_failed&address=127.0.0.1&since=1h", 1).await[0];
    assert_eq!((&failed["actor"], &failed["outcome"]), (&json!("anyone"), &json!("failed")));
    assert!(failed["account"].is_string(), "a hash of the name: {failed}");
    let session = find(&admin, &format!("event=login_ok&user={id}"), 1).await[0]["session"].as_str().expect("an id").to_owned();
    assert_eq!(names(&find(&admin, &format!("session={session}"), 1).await), ["login_ok"]);
    assert_eq!(names(&find(&admin, &format!("actor={}&user={id}", admin.id), 1).await), ["role_changed"]);
    assert_eq!(find(&admin, "until=1h", 0).await, Vec::<Value>::new(), "nothing is so old");
    for wrong in ["event=login", "user=ada", "since=yesterday", "limit=0", "limit=201", "cursor=x", "actr=server", "user=1&user=2"] {
        assert_eq!(admin.get(&format!("/api/audit?{wrong}")).await.outcome(), (400, "VALIDATION_FAILED"), "{wrong}");
    }
    let all = admin.get("/api/audit?limit=200").await.expect(200);
    assert_eq!(all.body["users"][&id], "ada@example.org", "who reads users is told the addresses");
    assert!(!all.body["events"].to_string().contains("example.org"), "and no event has one: {}", all.text);
}

#[tokio::test]
async fn aud_1_pages_go_on_where_the_last_one_ended() {
    let server = Server::start();
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    Actor::registered_with_tokens(&server, "ada@example.org").await;
    for role in ["editor", "viewer", "editor", "viewer", "editor"] {
        server.json(&["user", "role", "ada@example.org", role], "");
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("/api/audit?event=role_changed&actor=operator&limit=2{cursor}")).await.expect(200);
        let events = page.body["events"].as_array().expect("events").clone();
        assert!(events.len() <= 2);
        seen.extend(events);
        match page.body["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let roles: Vec<_> = seen.iter().map(|event| event["role"].as_str().expect("a role")).collect();
    assert!(roles.starts_with(&["editor", "viewer", "editor", "viewer", "editor"]), "{roles:?}");
    let ids: std::collections::BTreeSet<_> = seen.iter().map(|event| event["id"].as_str().expect("an id")).collect();
    assert_eq!(ids.len(), seen.len(), "each once");
}

#[tokio::test]
async fn aud_3_nobody_reads_of_others_and_who_is_demoted_reads_no_further_page() {
    let server = Server::start();
    let first = Actor::with_role(&server, "first@example.org", "admin").await;
    let mut admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    assert_eq!(ada.get("/api/audit").await.outcome(), (403, "FORBIDDEN"));
    assert_eq!(ada.get(&format!("/api/audit?user={}", ada.id)).await.outcome(), (403, "FORBIDDEN"));
    assert_eq!(ada.get(&format!("/api/users/me/events?user={}", admin.id)).await.outcome(), (400, "VALIDATION_FAILED"));
    assert_eq!(names(&find(&first, "event=forbidden", 1).await), ["forbidden"], "a refusal is an event");
    let page = admin.get("/api/audit?limit=1").await.expect(200);
    let next = page.body["nextCursor"].as_str().expect("more").to_owned();
    first.set_role(&admin.id, "viewer").await.expect(200);
    assert_eq!(admin.get(&format!("/api/audit?limit=1&cursor={next}")).await.outcome(), (401, "TOKEN_REVOKED"));
    admin.refresh().await.expect(200);
    assert_eq!(admin.get(&format!("/api/audit?limit=1&cursor={next}")).await.outcome(), (403, "FORBIDDEN"));
}

#[tokio::test]
async fn aud_3_users_see_what_happened_to_their_account_and_nothing_else() {
    let server = Server::start();
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let mut ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    Actor::registered_with_tokens(&server, "ben@example.org").await;
    let id = ada.id.clone();
    ada.login("ada@example.org", "not this one", "body").await.expect(401);
    admin.patch(&format!("/api/users/{id}"), &json!({ "emailVerified": true })).await.expect(200);
    find(&admin, &format!("user={id}"), 3).await;
    let own = ada.get("/api/users/me/events").await.expect(200);
    let events = own.body["events"].as_array().expect("events");
    let mut seen = names(events);
    seen.sort_unstable();
    assert_eq!(seen, ["email_verified", "login_failed", "register"]);
    assert!(events.iter().all(|event| event["target"] == id), "{}", own.text);
    let by_admin = events.iter().find(|event| event["event"] == "email_verified").expect("it");
    assert_eq!((&by_admin["actor"], &by_admin["from"]), (&json!("administrator"), &Value::Null));
    assert!(!own.text.contains(&admin.id), "who manages them is not theirs to know: {}", own.text);
    let page = ada.get("/api/users/me/events?limit=2").await.expect(200);
    let next = page.body["nextCursor"].as_str().expect("more");
    let rest = ada.get(&format!("/api/users/me/events?limit=2&cursor={next}")).await.expect(200);
    assert_eq!(rest.body["events"].as_array().expect("events").len(), 1);
}

#[tokio::test]
async fn aud_1_the_trail_outlives_a_kill_and_the_user() {
    let mut server = Server::start();
    let ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let id = ada.id.clone();
    server.json(&["user", "role", "ada@example.org", "editor"], "");
    server.crash();
    let lines = |server: &Server, arguments: &[&str]| -> Vec<Value> {
        let output = server.command(&[&["audit", "--json"], arguments].concat(), "");
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    assert_eq!(names(&lines(&server, &["--user", "ada@example.org"])), ["register", "role_changed"], "the latest last");
    server.json(&["user", "delete", "ada@example.org", "--yes"], "");
    server.stop();
    let events = lines(&server, &["--user", &id]);
    assert_eq!(names(&events), ["register", "role_changed", "user_deleted"], "of a stopped server, by id");
    // What is no change is written a moment later: the kill came before the first start was.
    assert!(names(&lines(&server, &["--event", "started,stopped"])).ends_with(&["started", "stopped"]));
    assert_eq!(names(&lines(&server, &["-n", "1"])), ["stopped"]);
    let text = server.command(&["audit", "--event", "user_deleted"], "");
    let text = String::from_utf8(text.stdout).expect("UTF-8");
    assert!(text.contains("user_deleted") && text.contains("operator") && text.contains(&id), "{text}");
    let refused = server.command(&["audit", "--event", "nothing"], "");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--event: must be names of events"), "{refused:?}");
}

#[tokio::test]
async fn a_command_that_follows_prints_each_event_once_until_the_server_stops() {
    let mut server = Server::start();
    Actor::registered_with_tokens(&server, "ada@example.org").await;
    let mut follow = doorward(server.data_dir().parent().expect("the server's own"), &[], &[]);
    let mut follow = follow.args(["audit", "--follow", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(follow.stdout.take().expect("a pipe")).lines();
    let mut next = move || serde_json::from_str::<Value>(&lines.next()?.expect("UTF-8")).ok();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|event| event != "register") {
        seen.push(next().expect("what there was")["event"].clone());
    }
    for role in ["editor", "viewer"] {
        server.json(&["user", "role", "ada@example.org", role], "");
        let event = std::iter::from_fn(&mut next).find(|event| event["event"] == "role_changed").expect("it is told");
        assert_eq!(event["role"], role);
    }
    server.stop();
    assert!(std::iter::from_fn(next).all(|event| event["event"] != "role_changed"), "each once");
    let output = follow.wait_with_output().expect("it ends");
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("does the server run?"), "{output:?}");
}

#[tokio::test]
async fn aud_4_old_events_are_removed_when_their_time_is_over() {
    let server = Server::with(&["audit.keep=1d"]);
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    assert_eq!(find(&admin, "event=user_added,register", 1).await.len(), 1);
    assert!(server.command(&["clock", "--slept", "172800"], "").status.success());
    let admin = Actor::with_role(&server, "later@example.org", "admin").await;
    while !find(&admin, "until=25h", 0).await.is_empty() {
        tokio::task::yield_now().await;
    }
}
