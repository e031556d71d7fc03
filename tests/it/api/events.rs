//! The events in the log: who did what, and to whom (LOG-3).

use crate::support::{Actor, Gate, PASSWORD, Server, send};
use doorward::{
    domain::Kind,
    http::routes::{Access, ROUTES},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// An app, so that somebody can enter it.
const APP: &str = "[gate]\nopen_registration = true\n[[gate.app]]\nname = \"wiki\"\norigin = \"http://localhost:7001\"\nroles = [\"*\"]\n";
const JSON: &str = "log.format=json";

/// The events logged so far, in order.
fn events(server: &Server) -> Vec<Value> {
    let lines = server.log();
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["event"].is_string()).collect()
}

/// The event that a request must leave in the log, with its actor and target.
struct ExpectedEvent<'a> {
    route: (&'a str, &'a str),
    event: &'a str,
    actor: &'a str,
    target: Option<&'a str>,
}

/// Lets a new service revoke a token. Returns the service's id.
async fn revoke_as_a_service(server: &Server, token: &str) -> String {
    let owner = server.json(&["service", "add", "gateway", "--role", "admin"], "")["id"].as_str().expect("an id").to_owned();
    let gateway = Actor::with_api_key(server, "gateway", &["tokens:introspect"]);
    let request = gateway.bearer("POST", "/oauth2/revoke").header("content-type", "application/x-www-form-urlencoded");
    send(request.body(format!("token={token}"))).await.expect(200);
    owner
}

/// Every route that changes something logs an event with actor and target. If a route without one is added, this
/// test fails.
#[tokio::test]
#[allow(clippy::too_many_lines, reason = "one request after the other, as the log has them")]
async fn log_3_whatever_changes_something_says_who_did_it_and_to_whom() {
    let gate = Gate::on(Server::with_file(APP, &[JSON]));
    let server = &gate.server;
    let mut logged: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut seen = 0;
    let mut check = |expected: ExpectedEvent<'_>| {
        let all = events(server);
        let line = all[seen..].iter().rfind(|line| line["event"] == expected.event);
        let line = line.unwrap_or_else(|| panic!("{:?}: no {} among {:?}", expected.route, expected.event, &all[seen..]));
        assert_eq!(line["actor"], expected.actor, "{line}");
        assert_eq!(line["target"].as_str(), expected.target, "{line}");
        let span = &line["span"]["id"];
        assert!(span.is_string(), "the request is named: {line}");
        seen = all.len();
        let route = ROUTES.iter().find(|route| (route.method, route.path) == expected.route).expect("a route of the table");
        logged.insert((route.method, route.path));
    };

    let setup = json!({ "token": server.setup_token(), "email": "first@example.org", "password": PASSWORD, "tokenTransport": "body" });
    let mut first = Actor::at(server);
    let answer = send(first.request("POST", "/api/auth/setup").json(&setup)).await.expect(201);
    first.take(&answer);
    let admin = first.id.clone();
    check(ExpectedEvent { route: ("POST", "/api/auth/setup"), event: "setup", actor: &admin, target: Some(&admin) });

    let mut ada = Actor::registered_with_tokens(server, "ada@example.org").await;
    let id = ada.id.clone();
    check(ExpectedEvent { route: ("POST", "/api/auth/register"), event: "register", actor: &id, target: Some(&id) });
    ada.login("ada@example.org", PASSWORD, "body").await.expect(200);
    check(ExpectedEvent { route: ("POST", "/api/auth/login"), event: "login_ok", actor: &id, target: Some(&id) });
    let spent = ada.clone();
    ada.refresh().await.expect(200);
    // Successful refreshes are too many to log; reuse is logged.
    assert_eq!(spent.try_refresh().await.status, 401);
    check(ExpectedEvent { route: ("POST", "/api/auth/refresh"), event: "refresh_reuse", actor: "anyone", target: Some(&id) });
    ada.login("ada@example.org", PASSWORD, "body").await.expect(200);
    ada.logout().await.expect(200);
    check(ExpectedEvent { route: ("POST", "/api/auth/logout"), event: "logout", actor: &id, target: Some(&id) });
    ada.login("ada@example.org", PASSWORD, "body").await.expect(200);
    ada.post("/api/auth/logout-all", &json!({})).await.expect(200);
    check(ExpectedEvent { route: ("POST", "/api/auth/logout-all"), event: "sessions_revoked", actor: &id, target: Some(&id) });
    ada.login("ada@example.org", PASSWORD, "body").await.expect(200);
    let answer = ada.change_password(PASSWORD, "another horse battery").await.expect(200);
    ada.take(&answer);
    check(ExpectedEvent { route: ("POST", "/api/auth/password"), event: "password_changed", actor: &id, target: Some(&id) });
    let session = ada.get("/api/auth/sessions").await.expect(200).body["sessions"][0]["id"].as_str().expect("an id").to_owned();
    ada.delete(&format!("/api/auth/sessions/{session}")).await.expect(204);
    check(ExpectedEvent { route: ("DELETE", "/api/auth/sessions/SessionId"), event: "session_revoked", actor: &id, target: Some(&id) });

    let user = format!("/api/users/{id}");
    for (change, event) in [
        (json!({ "disabled": true }), "user_disabled"),
        (json!({ "disabled": false }), "user_enabled"),
        (json!({ "emailVerified": true }), "email_verified"),
        (json!({ "emailVerified": false }), "email_unverified"),
    ] {
        first.patch(&user, &change).await.expect(200);
        check(ExpectedEvent { route: ("PATCH", "/api/users/UserId"), event, actor: &admin, target: Some(&id) });
    }
    first.set_role(&id, "editor").await.expect(200);
    check(ExpectedEvent { route: ("PATCH", "/api/users/UserId/role"), event: "role_changed", actor: &admin, target: Some(&id) });
    let before = server.log().matches("role_changed").count();
    first.set_role(&id, "editor").await.expect(200);
    assert_eq!(server.log().matches("role_changed").count(), before, "nothing was changed");
    ada.login("ada@example.org", "another horse battery", "body").await.expect(200);
    let session = first.get(&format!("{user}/sessions")).await.expect(200).body["sessions"][0]["id"].as_str().expect("an id").to_owned();
    first.delete(&format!("{user}/sessions/{session}")).await.expect(204);
    check(ExpectedEvent {
        route: ("DELETE", "/api/users/UserId/sessions/SessionId"),
        event: "session_revoked",
        actor: &admin,
        target: Some(&id),
    });
    first.delete(&format!("{user}/sessions")).await.expect(204);
    check(ExpectedEvent { route: ("DELETE", "/api/users/UserId/sessions"), event: "sessions_revoked", actor: &admin, target: Some(&id) });
    first.delete(&user).await.expect(204);
    check(ExpectedEvent { route: ("DELETE", "/api/users/UserId"), event: "user_deleted", actor: &admin, target: Some(&id) });

    let key = first.post("/api/keys", &json!({ "name": "a", "permissions": ["articles:read"] })).await.expect(201);
    let key = key.body["key"]["id"].as_str().expect("an id").to_owned();
    check(ExpectedEvent { route: ("POST", "/api/keys"), event: "api_key_created", actor: &admin, target: Some(&admin) });
    first.post(&format!("/api/keys/{key}/rotate"), &json!({})).await.expect(200);
    check(ExpectedEvent { route: ("POST", "/api/keys/ApiKeyId/rotate"), event: "api_key_rotated", actor: &admin, target: Some(&admin) });
    first.delete(&format!("/api/keys/{key}")).await.expect(204);
    check(ExpectedEvent { route: ("DELETE", "/api/keys/ApiKeyId"), event: "api_key_revoked", actor: &admin, target: Some(&admin) });
    let service = first.post("/api/services", &json!({ "name": "backup" })).await.expect(201).body["user"]["id"].clone();
    let service = service.as_str().expect("an id");
    check(ExpectedEvent { route: ("POST", "/api/services"), event: "service_added", actor: &admin, target: Some(service) });
    for all in [false, true] {
        let body = json!({ "name": "a", "permissions": ["articles:read"], "user": service });
        let key = first.post("/api/keys", &body).await.expect(201).body["key"]["id"].as_str().expect("an id").to_owned();
        if !all {
            first.post(&format!("/api/users/{service}/keys/{key}/rotate"), &json!({})).await.expect(200);
            let route = ("POST", "/api/users/UserId/keys/ApiKeyId/rotate");
            check(ExpectedEvent { route, event: "api_key_rotated", actor: &admin, target: Some(service) });
        }
        let route = if all { "/api/users/UserId/keys" } else { "/api/users/UserId/keys/ApiKeyId" };
        let path = route.replace("UserId", service).replace("ApiKeyId", &key);
        first.delete(&path).await.expect(204);
        check(ExpectedEvent { route: ("DELETE", route), event: "api_key_revoked", actor: &admin, target: Some(service) });
    }

    let (_, request) = gate.begin(7001, "/").await;
    first.post("/api/gate/enter", &json!({ "request": request })).await.expect(200);
    check(ExpectedEvent { route: ("POST", "/api/gate/enter"), event: "app_entered", actor: &admin, target: Some(&admin) });

    let invite = first.post("/api/invites", &json!({})).await.expect(201).text_of("id");
    check(ExpectedEvent { route: ("POST", "/api/invites"), event: "invite_created", actor: &admin, target: None });
    first.delete(&format!("/api/invites/{invite}")).await.expect(204);
    check(ExpectedEvent { route: ("DELETE", "/api/invites/InviteId"), event: "invite_withdrawn", actor: &admin, target: None });

    let owner = revoke_as_a_service(server, first.access.as_deref().expect("a token")).await;
    check(ExpectedEvent { route: ("POST", "/oauth2/revoke"), event: "token_revoked", actor: &owner, target: Some(&admin) });

    // A key that is traded for a token changes nothing, as a refresh that goes well; nor does a question.
    let exempt = ["/api/auth/token", "/oauth2/introspect"];
    let changing = ROUTES.iter().filter(|route| route.method != "GET" && !exempt.contains(&route.path));
    let changing: BTreeSet<_> = changing.map(|route| (route.method, route.path)).collect();
    assert_eq!(logged, changing, "a route that changes something and logs no event");
    assert!(ROUTES.iter().any(|route| route.access == Access::Anyone));
}

#[tokio::test]
async fn log_3_what_an_operator_does_is_told_as_theirs() {
    let server = Server::with(&[JSON]);
    let id = server.json(&["user", "add", "ada@example.org"], PASSWORD)["id"].as_str().expect("an id").to_owned();
    for (command, stdin, event) in [
        (&["user", "role", "ada@example.org", "editor"][..], "", "role_changed"),
        (&["user", "password", "ada@example.org"], "another horse battery", "password_reset"),
        (&["user", "disable", "ada@example.org"], "", "user_disabled"),
        (&["user", "enable", "ada@example.org"], "", "user_enabled"),
        (&["session", "revoke", "--user", "ada@example.org"], "", "sessions_revoked"),
        (&["user", "delete", "ada@example.org", "--yes"], "", "user_deleted"),
    ] {
        server.json(command, stdin);
        let all = events(&server);
        let line = all.last().expect("an event");
        assert_eq!((&line["event"], &line["actor"], &line["target"]), (&json!(event), &json!("operator"), &json!(id)), "{line}");
    }
    server.json(&["setup-link"], "");
    assert_eq!(events(&server).last().expect("an event")["event"], "setup_link_made");
}

#[tokio::test]
async fn log_3_a_failed_sign_in_tells_which_account_was_tried_without_naming_it() {
    let server = Server::with(&[JSON]);
    let mut ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let id = ada.id.clone();
    for name in ["ada@example.org", " ADA@Example.org", "nobody@example.org", "nobody@example.org", "not an address"] {
        assert_eq!(ada.login(name, "not this one", "body").await.status, 401);
    }
    let failed: Vec<_> = events(&server).into_iter().filter(|line| line["event"] == "login_failed").collect();
    let account = |n: usize| failed[n]["account"].as_str().expect("a hash").to_owned();
    assert_eq!((account(0), account(2)), (account(1), account(3)), "one account has one hash");
    assert!(account(0) != account(2) && account(2) != account(4));
    assert_eq!((failed[0]["target"].as_str(), failed[2]["target"].as_str()), (Some(&*id), None));
    assert!(failed.iter().all(|line| line["from"] == "127.0.0.1" && !line.to_string().contains("example.org")), "{failed:?}");
    for _ in 0..3 {
        assert_eq!(ada.change_password("not this one", "another horse battery").await.status, 401);
    }
    let guessed = events(&server).iter().filter(|line| line["event"] == "password_change_failed" && line["actor"] == id).count();
    assert_eq!(guessed, 3, "password guesses with a stolen access token are logged");
    Actor::at(&server).register("ada@example.org", "body").await.expect(409);
    assert_eq!(events(&server).last().expect("an event")["event"], "register_refused");
}

#[tokio::test]
async fn log_3_five_thousand_refusals_are_a_few_lines() {
    let server = Server::start();
    let evil = Actor::at(&server)
        .request("POST", "/api/auth/login")
        .header("origin", "https://evil.example")
        .json(&json!({ "email": "a@example.org", "password": PASSWORD }));
    for _ in 0..5000 {
        let answer = evil.try_clone().expect("a body in memory").send().await.expect("an answer");
        assert_eq!(answer.status(), 403);
    }
    let lines = server.log().lines().filter(|line| line.contains("csrf_failed")).count();
    assert!((1..=2).contains(&lines), "{lines} lines");
}

#[tokio::test]
async fn log_3_races_without_end_are_a_few_lines() {
    let server = Server::start();
    let mut alice = Actor::registered(&server, "alice@example.org").await.as_browser();
    let loser = alice.clone();
    alice.refresh().await.expect(200);
    for _ in 0..100 {
        assert_eq!(loser.try_refresh().await.outcome(), (409, "REFRESH_CONFLICT"));
    }
    let lines = server.log().lines().filter(|line| line.contains("refresh_conflict")).count();
    assert!((1..=2).contains(&lines), "{lines} lines");
}

/// The page says of every event what happened, and of no other.
#[test]
fn every_event_has_its_words_on_the_page() {
    let catalogue: serde_json::Map<String, Value> = serde_json::from_str(include_str!("../../../assets/web/lang/en.json")).expect("JSON");
    let named: BTreeSet<_> = catalogue.keys().filter_map(|key| key.strip_prefix("event.")).collect();
    assert_eq!(named, Kind::ALL.iter().map(|kind| kind.as_str()).collect());
}

/// `docs/events.md` lists every event that exists, and no other.
#[test]
fn log_3_the_page_of_events_is_complete() {
    let page = include_str!("../../../docs/events.md");
    let (_, list) = page.split_once("| event | what happened |").expect("the list");
    let rows = list.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let listed: BTreeSet<_> = rows.collect();
    let known: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(listed, known);
}
