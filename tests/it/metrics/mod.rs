//! Metrics, as Prometheus reads them and as strangers try to.

#![allow(clippy::float_cmp, reason = "what is counted is whole")]

mod access;
mod files;
mod scrape;

use crate::support::{Actor, PASSWORD, Server, send};
use doorward::http::routes::ROUTES;
use scrape::{Scrape, address, measured, promtool};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

#[tokio::test]
async fn nothing_is_measured_unless_the_settings_say_so() {
    let server = Server::start();
    let answer = Actor::at(&server).get("/metrics").await;
    assert_eq!(answer.outcome(), (404, "NOT_FOUND"));
    assert!(!server.log().contains("metrics are at"));
}

#[tokio::test]
async fn promtool_finds_nothing_to_say_of_a_scrape() {
    let (server, at) = measured(&[]);
    let mut ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    ada.refresh().await.expect(200);
    let (good, said) = promtool(&["check", "metrics"], &Scrape::of(&at).await.text);
    assert!(good && said.trim().is_empty(), "{said}");
    // It does say something of what is wrong.
    let (good, said) = promtool(&["check", "metrics"], "# TYPE doorward_x_total counter\ndoorward_x_total 1\n");
    assert!(!good || !said.trim().is_empty(), "{said}");
}

#[tokio::test]
async fn requests_are_counted_by_route_and_class_of_status() {
    let (server, at) = measured(&[]);
    let ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    for _ in 0..3 {
        ada.get("/api/auth/verify").await.expect(200);
    }
    Actor::at(&server).get("/api/auth/verify").await.expect(401);
    ada.get(&format!("/api/users/{}", ada.id)).await.expect(403);
    ada.delete("/api/auth/sessions/0190a1b2c3d4e5f60718293a4b5c6d7e").await.expect(404);
    ada.get("/api/none").await.expect(404);
    ada.delete("/api/auth/verify").await.expect(405);
    let scrape = Scrape::of(&at).await;
    let requests = |method: &str, route: &str, status: &str| {
        scrape.value(&format!("doorward_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}"))
    };
    assert_eq!(requests("GET", "/api/auth/verify", "2xx"), 3.0);
    assert_eq!(requests("GET", "/api/auth/verify", "4xx"), 1.0);
    assert_eq!(requests("GET", "/api/auth/verify", "5xx"), 0.0, "a series that is there before its first error shows the error");
    assert_eq!(requests("GET", "/api/users/:id", "4xx"), 1.0);
    assert_eq!(requests("DELETE", "/api/auth/sessions/:id", "4xx"), 1.0);
    assert_eq!(requests("POST", "/api/auth/register", "2xx"), 1.0);
    assert_eq!(requests("any", "other", "4xx"), 2.0);
    let times = "{method=\"GET\",route=\"/api/auth/verify\"}";
    assert_eq!(scrape.value(&format!("doorward_http_request_duration_seconds_count{times}")), 4.0);
    let sum = scrape.value(&format!("doorward_http_request_duration_seconds_sum{times}"));
    assert!(sum > 0.0 && sum < 60.0, "in seconds: {sum}");
    assert!(!scrape.text.contains("duration_seconds_count{method=\"POST\",route=\"/api/auth/setup\"}"), "nobody asked for that");
}

#[tokio::test]
async fn sign_ins_and_refreshes_are_counted_by_how_they_went() {
    let (server, at) = measured(&["limits.login_failures=2"]);
    let mut ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    ada.login("ada@example.org", PASSWORD, "body").await.expect(200);
    let stranger = Actor::at(&server);
    for status in [401, 401, 429] {
        stranger.clone().login("bob@example.org", "a wrong password", "body").await.expect(status);
    }
    let spent = ada.refresh_token();
    ada.refresh().await.expect(200);
    ada.refresh().await.expect(200);
    assert_eq!(ada.refresh_with("garbage").await.error(), "INVALID_REFRESH_TOKEN");
    assert_eq!(ada.refresh_with(&spent).await.error(), "TOKEN_REUSE_DETECTED");
    assert_eq!(ada.try_refresh().await.error(), "TOKEN_REVOKED");
    let scrape = Scrape::of(&at).await;
    let counted = |of: &str, outcome: &str| scrape.value(&format!("doorward_{of}_total{{outcome=\"{outcome}\"}}"));
    let sign_ins = ["ok", "wrong", "limited", "overloaded", "failed"].map(|outcome| counted("sign_ins", outcome));
    assert_eq!(sign_ins, [1.0, 2.0, 1.0, 0.0, 0.0]);
    let outcomes = ["ok", "conflict", "reuse", "expired", "ended", "limited", "invalid", "failed"];
    assert_eq!(outcomes.map(|outcome| counted("refreshes", outcome)), [2.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
    let events = ["register", "login_ok", "login_failed", "refresh_reuse", "forged_token"];
    let events = events.map(|event| scrape.value(&format!("doorward_events_total{{event=\"{event}\"}}")));
    assert_eq!(events, [1.0, 1.0, 2.0, 1.0, 0.0]);
    assert!(scrape.value("doorward_deny_list_entries") >= 1.0, "everything of hers was revoked");
}

#[tokio::test]
async fn hashing_and_the_store_are_measured_as_they_work() {
    let (server, at) = measured(&[]);
    let before = Scrape::of(&at).await;
    let mut ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    ada.refresh().await.expect(200);
    let after = Scrape::of(&at).await;
    let more = |series: &str| after.value(series) - before.value(series);
    assert_eq!((more("doorward_hash_duration_seconds_count"), more("doorward_hash_wait_seconds_count")), (1.0, 1.0));
    for series in ["doorward_store_group_size_count", "doorward_store_commit_seconds_count", "doorward_store_sync_seconds_count"] {
        assert!(more(series) >= 2.0, "{series}: {}", more(series));
    }
    assert!(more("doorward_store_group_size_sum") >= more("doorward_store_group_size_count"));
    let (commit, sync) = (more("doorward_store_commit_seconds_sum"), more("doorward_store_sync_seconds_sum"));
    assert!(commit >= sync && sync > 0.0, "a sync is part of a commit: {commit}, {sync}");
    assert_eq!((after.value("doorward_hash_queue"), after.value("doorward_store_queue")), (0.0, 0.0));
    assert_eq!((after.value("doorward_store_writable"), after.value("doorward_store_min_free_bytes")), (1.0, 64.0 * 1024.0 * 1024.0));
    assert!(after.value("doorward_store_disk_bytes") > 4096.0 && after.value("doorward_store_free_bytes") > 0.0);
    assert!(after.value("process_open_fds") < after.value("process_max_fds"));
    assert_eq!(
        after.value(&format!(
            "doorward_build_info{{arch=\"{}\",os=\"linux\",version=\"{}\"}}",
            std::env::consts::ARCH,
            env!("CARGO_PKG_VERSION")
        )),
        1.0
    );
}

#[tokio::test]
async fn connections_are_counted_while_they_are_open() {
    let (server, at) = measured(&[]);
    let open = || std::net::TcpStream::connect(&server.address).expect("connected");
    let all = [open(), open(), open()];
    is_soon(&at, "doorward_http_connections", 3.0).await;
    drop(all);
    is_soon(&at, "doorward_http_connections", 0.0).await;
}

#[tokio::test]
async fn users_and_sessions_are_counted_at_a_start() {
    let (mut server, _) = measured(&[]);
    for name in ["ada", "bob"] {
        let mut actor = Actor::registered_with_tokens(&server, &format!("{name}@example.org")).await;
        actor.login(&actor.email.clone(), PASSWORD, "body").await.expect(200);
    }
    server.json(&["service", "add", "backup"], "");
    server.crash();
    let at = address(&server);
    is_soon(&at, "doorward_users", 3.0).await;
    assert_eq!(Scrape::of(&at).await.value("doorward_sessions"), 4.0);
}

/// Waits until a series has a value.
async fn is_soon(at: &str, series: &str, wanted: f64) {
    let begun = Instant::now();
    loop {
        let scrape = Scrape::of(at).await;
        let is_there = scrape.names().contains(series);
        if is_there && (scrape.value(series) - wanted).abs() < f64::EPSILON {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{series} is never {wanted}:\n{}", scrape.text);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn met_2_no_label_is_a_clients_word() {
    let (server, at) = measured(&["metrics.enabled=true"]);
    let ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let others = Actor::with_role(&server, "bob@example.org", "admin").await;
    for path in ["/api/users/ada@example.org", "/evil", "/api/auth/evil", &format!("/api/users/{}/sessions", ada.id), "/metrics/evil"] {
        others.get(path).await;
    }
    send(ada.request("EVIL", "/api/auth/verify")).await;
    ada.get("/api/auth/verify?role=evil").await.expect(400);
    others.set_role(&ada.id, "editor").await.expect(200);
    let scrape = Scrape::of(&at).await;
    for word in ["evil", "EVIL", "ada", "bob", "example.org", "127.0.0.1", "editor", "admin", &ada.id, &ada.refresh_token()] {
        assert!(!scrape.text.contains(word), "{word}:\n{}", scrape.text);
    }
    let names: BTreeSet<_> = scrape.labels().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["arch", "event", "le", "method", "os", "outcome", "route", "status", "version"].into());
    let routes: BTreeSet<_> = scrape.labels().into_iter().filter(|(name, _)| *name == "route").map(|(_, route)| route).collect();
    let of_table: BTreeSet<_> = ROUTES.iter().map(|route| route.path).collect();
    assert_eq!(routes.len(), of_table.len() + 5, "health, metrics, the gate's two, and one for all others: {routes:?}");
    // Each label is there from the start: asking for more makes no more series.
    let count = |scrape: &Scrape| scrape.text.lines().filter(|line| line.starts_with("doorward_http_requests_total")).count();
    let before = count(&scrape);
    ada.get("/more").await.expect(404);
    assert_eq!(count(&Scrape::of(&at).await), before);
}
