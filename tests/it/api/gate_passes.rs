//! Passes: how one comes about, and what ends it.

use crate::support::{Actor, Answer, Gate, PASSWORD, send};
use serde_json::json;
use std::time::Duration;

const WIKI: u16 = 7001;
const GRAFANA: u16 = 7002;

/// The one cookie of an answer, as a browser sends it back.
pub fn cookie_of(answer: &Answer) -> String {
    crate::support::cookie(answer)
}

/// The address that a user is sent to, and the nonce of the browser that began.
async fn way(gate: &Gate, actor: &Actor, port: u16) -> (String, String) {
    let (nonce, request) = gate.begin(port, "/x").await;
    let answer = actor.post("/api/gate/enter", &json!({ "request": request })).await.expect(200);
    (answer.text_of("location"), nonce)
}

#[tokio::test]
async fn gate_22_a_code_becomes_one_pass_in_the_browser_that_began_within_a_minute() {
    let gate = Gate::start();
    let mut ada = Actor::with_role(&gate.server, "ada@example.org", "editor").await;
    let (location, nonce) = way(&gate, &ada, WIKI).await;
    let no_pass = |answer: &Answer, why: &str| assert!(answer.status >= 300 && answer.set_cookies().is_empty(), "{why}: {answer:?}");
    let elsewhere = gate.done(WIKI, &location, "").await.expect(400);
    no_pass(&elsewhere, "a browser that did not begin");
    assert!(elsewhere.text.contains("<!doctype html>"));
    no_pass(&gate.done(WIKI, &location, "doorward-enter-7001=AAAAAAAAAAAAAAAAAAAAAA").await.expect(303), "another browser that began");
    let uri = location.strip_prefix("http://localhost:7001").expect("at the app");
    for at in [3, uri.len() / 2, uri.len() - 2] {
        let at = at.max("/.doorward/done?code=".len());
        let changed = format!("{}{}{}", &uri[..at], if &uri[at..=at] == "A" { "B" } else { "A" }, &uri[at + 1..]);
        no_pass(&send(gate.ask(WIKI, "GET", &changed).header("cookie", &nonce)).await, "changed");
    }
    no_pass(&gate.done(WIKI, &location, &nonce).await, "whoever began may be another than who signed in, so it is for neither now");
    let (location, nonce) = way(&gate, &ada, WIKI).await;
    let uri = location.strip_prefix("http://localhost:7001").expect("at the app");
    for (name, value) in [("sec-fetch-dest", "image"), ("sec-fetch-dest", "iframe")] {
        let embedded = gate.ask(WIKI, "GET", uri).header("cookie", &nonce).header(name, value);
        no_pass(&send(embedded).await, "no page follows an address for its own purposes");
    }
    no_pass(&send(gate.ask(WIKI, "POST", uri).header("cookie", &nonce)).await, "a form");
    no_pass(&send(gate.ask(GRAFANA, "GET", uri).header("cookie", &nonce)).await, "another app");
    let done = gate.done(WIKI, &location, &nonce).await.expect(303);
    let pass = cookie_of(&done);
    assert_eq!(gate.status(WIKI, "GET", "/x", &pass).await, 200);
    no_pass(&gate.done(WIKI, &location, &nonce).await, "twice");
    let again = gate.done(WIKI, &location, &format!("{nonce}; {pass}")).await.expect(303);
    no_pass(&again, "twice");
    assert_eq!(again.header("location"), Some("http://localhost:7001/"), "somebody went back in the history");

    let (late, nonce) = way(&gate, &ada, WIKI).await;
    gate.server.advance(Duration::from_secs(61));
    no_pass(&gate.done(WIKI, &late, &nonce).await, "late");
    let (location, nonce) = way(&gate, &ada, WIKI).await;
    ada.logout().await.expect(200);
    no_pass(&gate.done(WIKI, &location, &nonce).await, "the session has ended meanwhile");
}

#[tokio::test]
async fn gate_6_two_tabs_of_a_browser_both_arrive() {
    let gate = Gate::start();
    let ada = Actor::with_role(&gate.server, "ada@example.org", "editor").await;
    let ((first, one), (second, two)) = (way(&gate, &ada, WIKI).await, way(&gate, &ada, WIKI).await);
    assert_ne!(one, two, "both began before the browser had a cookie; the second replaces the first");
    // The first tab is sent to begin again, with the nonce that the browser has.
    let begun = gate.done(WIKI, &first, &two).await.expect(303);
    assert_eq!(begun.header("location"), Some("http://localhost:7001/.doorward/enter?to=%2Fx"));
    let entered = send(gate.ask(WIKI, "GET", "/.doorward/enter?to=%2Fx").header("cookie", &two)).await.expect(303);
    assert_eq!(cookie_of(&entered), two, "one nonce for a browser and host");
    let pass = cookie_of(&gate.done(WIKI, &second, &two).await);
    // And who has a pass goes on.
    let on = send(gate.ask(WIKI, "GET", "/.doorward/enter?to=%2Fx").header("cookie", &pass)).await.expect(303);
    assert_eq!((on.header("location"), on.set_cookies().len()), (Some("http://localhost:7001/x"), 0));
    // Unless it opens nothing there: who was refused may come back as another.
    let refused = send(gate.ask(WIKI, "GET", "/.doorward/enter?to=%2Fadmin").header("cookie", &pass)).await.expect(303);
    assert!(refused.header("location").expect("a page").contains("/gate/sign-in?request="));
    let late = gate.done(WIKI, &first, &format!("{two}; {pass}")).await.expect(303);
    assert_eq!(late.header("location"), Some("http://localhost:7001/x"));
}

#[tokio::test]
async fn gate_34_a_browser_that_keeps_no_pass_is_told_so_after_five_rounds() {
    let gate = Gate::start();
    let ada = Actor::with_role(&gate.server, "ada@example.org", "editor").await;
    let (_, nonce) = way(&gate, &ada, WIKI).await;
    for round in 0..6 {
        let entered = send(gate.ask(WIKI, "GET", "/.doorward/enter?to=/").header("cookie", &nonce).header("accept-language", "fr")).await;
        if round == 5 {
            assert_eq!(entered.status, 403);
            assert!(entered.text.contains("lang=\"fr\"") && entered.text.contains("<!doctype html>"), "{}", entered.text);
            break;
        }
        let request = entered.header("location").expect("a page").split_once("request=").expect("a request").1.to_owned();
        let answer = ada.post("/api/gate/enter", &json!({ "request": request })).await.expect(200);
        cookie_of(&gate.done(WIKI, &answer.text_of("location"), &nonce).await.expect(303));
    }
}

#[tokio::test]
async fn gate_9_gate_10_whatever_ends_a_session_ends_its_passes_everywhere_with_the_next_request() {
    let mut gate = Gate::start();
    let admin = Actor::with_role(&gate.server, "admin@example.org", "admin").await;
    let mut ended = Vec::new();
    for what in ["logout", "logout-all", "disable", "delete", "role", "password", "session", "reuse", "user"] {
        let email = format!("{what}@example.org");
        let mut user = Actor::with_role(&gate.server, &email, "editor").await;
        let passes = [(WIKI, gate.enter(&user, WIKI, "/").await), (GRAFANA, gate.enter(&user, GRAFANA, "/").await)];
        for (port, pass) in &passes {
            assert_eq!(gate.status(*port, "GET", "/", pass).await, 200, "{what}");
        }
        match what {
            "logout" => drop(user.logout().await.expect(200)),
            "logout-all" => drop(user.post("/api/auth/logout-all", &json!({})).await.expect(200)),
            "disable" => drop(gate.server.json(&["user", "disable", &email], "")),
            "delete" => drop(gate.server.json(&["user", "delete", &email, "--yes"], "")),
            "role" => drop(admin.set_role(&user.id, "viewer").await.expect(200)),
            "password" => drop(user.change_password(PASSWORD, "another staple battery").await.expect(200)),
            "session" => drop(gate.server.json(&["session", "revoke", "--user", &email], "")),
            "reuse" => {
                let spent = user.refresh_token();
                user.refresh().await.expect(200);
                user.refresh().await.expect(200);
                assert_eq!(user.refresh_with(&spent).await.error(), "TOKEN_REUSE_DETECTED");
            }
            _ => drop(admin.delete(&format!("/api/users/{}/sessions", user.id)).await),
        }
        for (port, pass) in passes {
            assert_eq!(gate.status(port, "GET", "/", &pass).await, 401, "{what}");
            ended.push((port, pass, what));
        }
    }
    // Also long after the last access token, after a kill, and after both.
    gate.server.advance(Duration::from_secs(16 * 60));
    for (port, pass, what) in &ended {
        assert_eq!(gate.status(*port, "GET", "/", pass).await, 401, "{what}");
    }
    gate.server.crash();
    for (port, pass, what) in &ended {
        assert_eq!(gate.status(*port, "GET", "/", pass).await, 401, "{what}, after a kill");
    }
}

#[tokio::test]
async fn gate_11_a_restart_ends_no_pass_and_an_older_database_ends_all() {
    let mut gate = Gate::start();
    let ada = Actor::with_role(&gate.server, "ada@example.org", "editor").await;
    let pass = gate.enter(&ada, WIKI, "/").await;
    gate.server.stop();
    let copy = gate.server.dir.path().join("copy");
    copy_dir(&gate.server.data_dir(), &copy);
    gate.server.start_again();
    assert_eq!(gate.status(WIKI, "GET", "/", &pass).await, 200);
    Actor::with_role(&gate.server, "eve@example.org", "editor").await;
    gate.server.stop();
    let marker = gate.server.data_dir().join("marker");
    std::fs::copy(&marker, copy.join("marker")).expect("the newer marker");
    std::fs::remove_dir_all(gate.server.data_dir()).expect("removed");
    std::fs::rename(&copy, gate.server.data_dir()).expect("put back");
    gate.server.start_again();
    assert_eq!(gate.status(WIKI, "GET", "/", &pass).await, 401, "an older database");
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(status.success());
}

#[tokio::test]
async fn gate_12_a_pass_ends_to_the_second_whatever_the_clock_does() {
    let gate = Gate::with("[gate]\npass_ttl = \"1h\"\n", &[]);
    let ada = Actor::with_role(&gate.server, "ada@example.org", "editor").await;
    let pass = gate.enter(&ada, WIKI, "/").await;
    let age = |cookie: &str| cookie.split("Max-Age=").nth(1).and_then(|rest| rest.split(';').next()?.parse::<u64>().ok());
    let (location, nonce) = way(&gate, &ada, WIKI).await;
    let done = gate.done(WIKI, &location, &nonce).await;
    assert!(age(done.set_cookies()[0]).is_some_and(|age| (3595..=3600).contains(&age)), "{:?}", done.set_cookies());
    gate.server.advance(Duration::from_secs(3590));
    assert_eq!(gate.status(WIKI, "GET", "/", &pass).await, 200);
    gate.server.advance(Duration::from_secs(11));
    assert_eq!(gate.status(WIKI, "GET", "/", &pass).await, 401);
    // Nor does a clock that is put back revive it: two minutes before it was issued, it is dated ahead.
    assert!(gate.server.command(&["clock", "--", "-3800"], "").status.success());
    assert_eq!(gate.status(WIKI, "GET", "/", &pass).await, 401);
}

#[tokio::test]
async fn gate_12_a_shorter_life_of_passes_counts_for_those_from_before() {
    let mut gate = Gate::start();
    let ada = Actor::with_role(&gate.server, "ada@example.org", "editor").await;
    let pass = gate.enter(&ada, WIKI, "/").await;
    gate.server.stop();
    gate.server.set("gate.pass_ttl", "5m");
    gate.server.start_again();
    assert_eq!(gate.status(WIKI, "GET", "/", &pass).await, 401);
    gate.server.stop();
    gate.server.unset("gate.pass_ttl");
    gate.server.start_again();
    assert_eq!(gate.status(WIKI, "GET", "/", &pass).await, 200, "nothing else has ended it");
}

#[tokio::test]
async fn gate_21_no_input_leads_to_another_host() {
    let gate = Gate::start();
    let ada = Actor::with_role(&gate.server, "ada@example.org", "admin").await;
    let pass = gate.enter(&ada, WIKI, "/").await;
    let pieces = [
        "/",
        "//",
        "\\",
        "evil.example",
        "@",
        ":",
        "%2f",
        "%5c",
        "http:",
        "https://",
        " ",
        "\t",
        "%0d%0a",
        "#",
        "?",
        ".",
        "..",
        ";",
        "&",
        "ü",
        "%00",
    ];
    // A small generator that repeats itself: each failure can be looked at again.
    let mut seed = 7_u32;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) as usize % below
    };
    for _ in 0..2000 {
        let to: String = (0..=next(6)).map(|_| pieces[next(pieces.len())]).collect();
        let encoded: String = url::form_urlencoded::byte_serialize(to.as_bytes()).collect();
        let raw = next(2) == 0 && to.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        let uri = format!("/.doorward/enter?to={}", if raw { &to } else { &encoded });
        let answer = send(gate.ask(WIKI, "GET", &uri).header("cookie", &pass)).await;
        let location = answer.header("location").unwrap_or_else(|| panic!("{uri}: {answer:?}"));
        assert!(location.starts_with("http://localhost:7001/"), "{uri}: {location}");
    }
    // Sealed requests are taken as they were made, and while they are good.
    let (_, request) = gate.begin(WIKI, "/x").await;
    for at in 0..request.len() {
        let changed = format!("{}{}{}", &request[..at], if &request[at..=at] == "A" { "B" } else { "A" }, &request[at + 1..]);
        assert_eq!(ada.post("/api/gate/enter", &json!({ "request": changed })).await.error(), "ENTRY_EXPIRED", "{at}");
    }
    let shown = ada.get(&format!("/api/gate/request?request={request}")).await.expect(200).body;
    assert_eq!(shown["app"], json!({ "name": "wiki", "origin": "http://localhost:7001" }));
    gate.server.advance(Duration::from_secs(601));
    let mut ada = ada;
    ada.refresh().await.expect(200);
    assert_eq!(ada.post("/api/gate/enter", &json!({ "request": request })).await.outcome(), (400, "ENTRY_EXPIRED"));
}

#[tokio::test]
async fn gate_26_signing_out_is_asked_by_a_page_and_no_address_does_it() {
    let gate = Gate::start();
    let ada = Actor::with_role(&gate.server, "ada@example.org", "editor").await;
    let pass = gate.enter(&ada, WIKI, "/").await;
    let answer = send(gate.ask(WIKI, "GET", "/.doorward/sign-out").header("cookie", &pass)).await.expect(303);
    assert_eq!(answer.header("location"), Some(&*gate.server.url("/gate/sign-out")));
    assert_eq!(gate.status(WIKI, "POST", "/.doorward/sign-out", &pass).await, 404);
    assert_eq!(gate.status(WIKI, "GET", "/", &pass).await, 200, "still signed in");
    for uri in ["/.doorward/../x", "/.doorward/enter/..%2fx", "/.doorward/nothing", "/.doorward/", "/.doorward/Enter"] {
        assert_eq!(gate.status(WIKI, "GET", uri, &pass).await, 404, "{uri}");
    }
    // Proxies that send these paths here by a route say whose they are.
    let routed = |path: &str| gate.request("GET", path).header("x-forwarded-host", "localhost:7001").header("cookie", &pass);
    let entered = send(routed("/.doorward/enter?to=%2Fx")).await.expect(303);
    assert_eq!(entered.header("location"), Some("http://localhost:7001/x"));
    assert_eq!(send(gate.request("GET", "/.doorward/enter?to=%2Fx")).await.status, 404, "at a host that is no app's");
}

#[tokio::test]
async fn a_user_enters_as_often_as_tabs_do_and_no_oftener() {
    let gate = Gate::start();
    let ada = Actor::with_role(&gate.server, "ada@example.org", "editor").await;
    let (_, request) = gate.begin(WIKI, "/").await;
    let mut outcomes = Vec::new();
    for _ in 0..65 {
        outcomes.push(ada.post("/api/gate/enter", &json!({ "request": request })).await.status);
    }
    assert!(outcomes[..60].iter().all(|status| *status == 200) && outcomes.contains(&429), "{outcomes:?}");
}
