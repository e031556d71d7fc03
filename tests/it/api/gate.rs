//! The gate, asked as a proxy asks it. The numbers in names are those of the rules GATE-1 … in docs/security.md.

use crate::support::{Actor, Gate, IDENTITY, PASSWORD, send};
use serde_json::{Value, json};
use std::time::Duration;

const WIKI: u16 = 7001;
const GRAFANA: u16 = 7002;
const OPEN: u16 = 7003;
const BROWSER: [(&str, &str); 2] = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];

fn with(mut request: reqwest::RequestBuilder, headers: &[(&str, &str)]) -> reqwest::RequestBuilder {
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
}

#[tokio::test]
async fn gate_1_somebody_signed_out_is_sent_to_sign_in_and_back_to_the_byte() {
    let gate = Gate::start();
    for uri in ["/", "/d/x?orgId=1&from=now-6h", "/a%2Fb?q=%26%2B+c", "//evil.example/x", "/%C3%BC?to=/y"] {
        let answer = send(with(gate.ask(WIKI, "GET", uri), &BROWSER)).await.expect(302);
        let encoded: String = url::form_urlencoded::byte_serialize(uri.as_bytes()).collect();
        let expected = format!("http://localhost:7001/.doorward/enter?to={encoded}");
        assert_eq!(answer.header("location"), Some(&*expected));
        assert!(answer.set_cookies().is_empty(), "only a navigation to the way itself sets one");
    }
    let long = format!("/{}", "a".repeat(4000));
    let answer = send(with(gate.ask(WIKI, "GET", &long), &BROWSER)).await.expect(302);
    assert_eq!(answer.header("location"), Some("http://localhost:7001/.doorward/enter?to=%2F"));
    let posted = send(with(gate.ask(WIKI, "POST", "/save"), &BROWSER)).await.expect(303);
    assert_eq!(posted.header("location"), Some("http://localhost:7001/.doorward/enter?to=%2F"));
    // nginx takes it with a 401.
    let nginx = with(gate.ask_at("/gate/nginx", "localhost:7001", "GET", "/x"), &BROWSER);
    let answer = send(nginx).await.expect(401);
    assert_eq!(answer.header("location"), Some("http://localhost:7001/.doorward/enter?to=%2Fx"));
}

#[tokio::test]
async fn gate_2_what_is_no_navigation_is_told_no() {
    let gate = Gate::start();
    for headers in [
        &[][..],
        &[("accept", "*/*")],
        &[("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")],
        &[("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image"), ("accept", "text/html")],
        &[("accept", "text/html"), ("x-requested-with", "XMLHttpRequest")],
        &[("upgrade", "websocket"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")],
    ] {
        for style in ["/gate/forward", "/gate/nginx"] {
            let answer = send(with(gate.ask_at(style, "localhost:7001", "GET", "/x"), headers)).await;
            assert_eq!(answer.outcome(), (401, "SIGN_IN_REQUIRED"), "{headers:?}");
            assert_eq!((answer.header("location"), answer.header("www-authenticate")), (None, None));
        }
    }
    // A frame says what to do, in the visitor's language, and leads out of itself.
    let frame = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe"), ("accept-language", "de")];
    let page = send(with(gate.ask(WIKI, "GET", "/x"), &frame)).await.expect(401);
    assert!(page.text.contains("lang=\"de\"") && page.text.contains("target=\"_top\""), "{}", page.text);
    // Basic is offered to programs alone, and only by an app that takes it.
    let basic = send(gate.ask(GRAFANA, "GET", "/")).await.expect(401);
    assert!(basic.header("www-authenticate").expect("a challenge").starts_with("Basic "));
    let browser = send(with(gate.ask(GRAFANA, "GET", "/"), &[("sec-fetch-mode", "cors")])).await.expect(401);
    assert_eq!(browser.header("www-authenticate"), None);
}

#[tokio::test]
async fn gate_5_a_pass_lets_in_with_eight_headers_and_a_stranger_has_none() {
    let gate = Gate::start();
    let ada = Actor::with_role(&gate.server, "ada@example.org", "editor").await;
    let pass = gate.enter(&ada, WIKI, "/d/x?a=1&b=%2F").await;
    assert!(pass.starts_with("doorward-pass-7001="));
    let answer = send(gate.ask(WIKI, "GET", "/x").header("cookie", &pass)).await.expect(200);
    let told: Vec<_> = IDENTITY.map(|name| answer.header(name).unwrap_or("missing").to_owned()).into();
    let (email, id, permissions) = ("ada@example.org", &*ada.id, "articles:read,articles:write");
    assert_eq!(told, [email, email, email, "editor", id, email, "editor", permissions]);
    assert!(answer.text.is_empty() && answer.set_cookies().is_empty());
    // Open paths are open to nobody as well, whose eight headers are empty.
    for (method, uri) in [("GET", "/manifest.json"), ("HEAD", "/share/a"), ("POST", "/hooks/x"), ("OPTIONS", "/api/x")] {
        let answer = send(gate.ask(WIKI, method, uri)).await.expect(200);
        assert!(IDENTITY.iter().all(|name| answer.header(name) == Some("")), "{uri}");
        let known = send(gate.ask(WIKI, method, uri).header("cookie", &pass)).await.expect(200);
        assert_eq!(known.header("x-auth-user"), Some(id));
    }
    for (method, uri) in
        [("POST", "/manifest.json"), ("GET", "/share/../x"), ("GET", "/share/%2e%2e/x"), ("OPTIONS", "/x"), ("GET", "/hooks/x")]
    {
        assert_eq!(gate.status(WIKI, method, uri, "").await, 401, "{method} {uri}");
    }
}

#[tokio::test]
async fn gate_7_a_pass_is_good_for_its_app_as_it_was_issued_and_once_in_a_request() {
    let gate = Gate::start();
    let ada = Actor::with_role(&gate.server, "ada@example.org", "admin").await;
    let (wiki, grafana) = (gate.enter(&ada, WIKI, "/").await, gate.enter(&ada, GRAFANA, "/").await);
    let value = |cookie: &str| cookie.split_once('=').expect("a value").1.to_owned();
    assert_eq!(gate.status(GRAFANA, "GET", "/", &format!("doorward-pass-7002={}", value(&wiki))).await, 401, "another app's");
    assert_eq!(gate.status(GRAFANA, "GET", "/", &grafana).await, 200);
    let text = value(&wiki);
    for at in 0..text.len() {
        let mut flipped = text.clone().into_bytes();
        flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
        let flipped = String::from_utf8(flipped).expect("ASCII");
        // The last digit has bits that mean nothing: only its one spelling is read.
        assert_eq!(gate.status(WIKI, "GET", "/", &format!("doorward-pass-7001={flipped}")).await, 401, "{at}");
    }
    for wrong in ["", "x", &text[..text.len() - 1], &format!("{text}A"), &"A".repeat(8192)] {
        assert_eq!(gate.status(WIKI, "GET", "/", &format!("doorward-pass-7001={wrong}")).await, 401);
    }
    let twice = format!("{wiki}; doorward-pass-7001=x");
    let answer = send(with(gate.ask(WIKI, "GET", "/"), &BROWSER).header("cookie", twice)).await;
    assert_eq!(answer.outcome(), (403, "FORBIDDEN"), "and is sent nowhere");
}

#[tokio::test]
async fn gate_13_who_lacks_a_role_is_told_which_and_is_not_sent_around() {
    let gate = Gate::start();
    let eve = Actor::with_role(&gate.server, "eve@example.org", "viewer").await;
    let (_, request) = gate.begin(GRAFANA, "/").await;
    let refused = eve.post("/api/gate/enter", &json!({ "request": request })).await;
    assert_eq!(refused.outcome(), (403, "FORBIDDEN"));
    assert_eq!((&refused.body["requiredRoles"], &refused.body["app"]["name"]), (&json!(["editor"]), &json!("grafana")));
    // A part of an app that she may not enter, by any spelling of it.
    let pass = gate.enter(&eve, WIKI, "/").await;
    for uri in ["/admin", "/admin/x?y", "//admin", "/ADMIN", "/%61dmin", "/x/..%2fadmin", "/admin;x"] {
        assert_eq!(gate.status(WIKI, "GET", uri, &pass).await, 403, "{uri}");
        let page = send(with(gate.ask(WIKI, "GET", uri), &BROWSER).header("cookie", &pass)).await.expect(403);
        assert!(page.text.contains("/gate/denied?request=") && page.header("location").is_none(), "{}", page.text);
    }
    assert_eq!(gate.status(WIKI, "GET", "/Users/a%20b", &pass).await, 200);
    let nginx = with(gate.ask_at("/gate/nginx", "localhost:7001", "GET", "/admin"), &BROWSER).header("cookie", &pass);
    let answer = send(nginx).await.expect(403);
    let request = answer.header("location").expect("a page").split_once("/gate/denied?request=").expect("the page").1.to_owned();
    // What is missing is what that part asks for, although the rest of the app is open to her.
    let refused = eve.post("/api/gate/enter", &json!({ "request": request })).await;
    assert_eq!((refused.outcome(), &refused.body["requiredRoles"]), ((403, "FORBIDDEN"), &json!(["admin"])));
    // Once she may, the way begins at the app again.
    let admin = Actor::with_role(&gate.server, "admin@example.org", "admin").await;
    let answer = admin.post("/api/gate/enter", &json!({ "request": request })).await.expect(200);
    assert_eq!(answer.text_of("location"), "http://localhost:7001/.doorward/enter?to=%2Fadmin");
}

#[tokio::test]
async fn gate_24_what_changes_something_must_come_from_the_apps_own_pages() {
    let gate = Gate::start();
    let ada = Actor::with_role(&gate.server, "ada@example.org", "editor").await;
    let pass = gate.enter(&ada, WIKI, "/").await;
    let websocket = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    for (headers, passes) in [
        (&[][..], true),
        (&[("origin", "http://localhost:7001")], true),
        (&[("origin", "http://localhost:7009")], true),
        (&[("sec-fetch-site", "same-origin")], true),
        (&[("sec-fetch-site", "none")], true),
        (&[("origin", "http://localhost:7002")], false),
        (&[("origin", "http://localhost:7001.evil.example")], false),
        (&[("origin", "null")], false),
        (&[("origin", "")], false),
        (&[("origin", "http://localhost:7001"), ("origin", "http://evil.example")], false),
        (&[("sec-fetch-site", "same-site")], false),
        (&[("sec-fetch-site", "cross-site")], false),
    ] {
        for method in ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"] {
            let answer = send(with(gate.ask(WIKI, method, "/x"), headers).header("cookie", &pass)).await;
            assert_eq!(answer.outcome(), if passes { (200, "") } else { (403, "CSRF_FAILED") }, "{method} {headers:?}");
        }
        let socket = with(with(gate.ask(WIKI, "GET", "/ws"), headers), &[websocket]).header("cookie", &pass);
        assert_eq!(send(socket).await.status, if passes { 200 } else { 403 }, "{headers:?}");
        // Reading is no change: after our own redirection a navigation is cross-site.
        assert_eq!(send(with(gate.ask(WIKI, "GET", "/x"), headers).header("cookie", &pass)).await.status, 200, "{headers:?}");
    }
    // The log tells the operator which setting of which app it is, and not one that would open Doorward itself.
    let log = gate.server.log();
    let line = log.lines().find(|line| line.contains("csrf_failed")).expect("an event");
    for word in ["app=\"wiki\"", "origin=\"http://localhost:7002\"", "site=\"http://localhost:7001\"", "see=\"gate.app.trusted_origins\""] {
        assert!(line.contains(word), "{word} is not in: {line}");
    }
}

#[tokio::test]
async fn gate_28_a_key_opens_the_apps_it_names_where_its_owner_may_enter() {
    let gate = Gate::start();
    let admin = Actor::with_role(&gate.server, "admin@example.org", "admin").await;
    Actor::with_role(&gate.server, "ada@example.org", "editor").await;
    let add = |apps: &str| gate.server.json(&["api-key", "add", "ada@example.org", "--name", "backup", "--app", apps], "");
    let (key, id) = (add("wiki,grafana")["secret"].as_str().expect("a key").to_owned(), add("wiki")["key"]["id"].clone());
    assert!(id.is_string());
    let by_key = |port, key: &str| gate.ask(port, "POST", "/x").header("x-doorward-key", key).header("origin", "http://other.example");
    let answer = send(by_key(WIKI, &key)).await.expect(200);
    let told = ["remote-email", "x-auth-role", "x-auth-permissions"].map(|name| answer.header(name));
    assert_eq!(told, [Some("ada@example.org"), Some("editor"), Some("")], "it lists no permission, so it has none");
    send(by_key(GRAFANA, &key)).await.expect(200);
    assert_eq!(send(by_key(OPEN, &key)).await.status, 401, "an app that takes no keys");
    assert_eq!(gate.ask(WIKI, "GET", "/admin").header("x-doorward-key", &key).send().await.expect("an answer").status(), 403);
    let other = add("wiki")["secret"].as_str().expect("a key").to_owned();
    assert_eq!(send(by_key(GRAFANA, &other)).await.outcome(), (401, "INVALID_TOKEN"), "it names another app");
    let pass = gate.enter(&admin, WIKI, "/").await;
    for (request, why) in [
        (by_key(WIKI, "dwk_wrong"), "no key"),
        (by_key(WIKI, "dwk_wrong").header("cookie", &pass), "a key counts before a pass"),
        (by_key(WIKI, &key).header("x-doorward-key", &key), "twice"),
    ] {
        assert_eq!(send(request).await.status, 401, "{why}");
    }
    // As a password, if the app says so; then the browser's own habit of sending it counts as a pass does.
    let basic = |port, method| gate.ask(port, method, "/x").basic_auth("any", Some(&key));
    send(basic(GRAFANA, "GET")).await.expect(200);
    assert_eq!(send(basic(WIKI, "GET")).await.status, 401, "Authorization is the app's own");
    let foreign = basic(GRAFANA, "POST").header("origin", "http://other.example");
    assert_eq!(send(foreign).await.outcome(), (403, "CSRF_FAILED"));
    // It goes with its owner's rights.
    admin.set_role(&ada_id(&admin).await, "viewer").await.expect(200);
    assert_eq!(send(by_key(GRAFANA, &key)).await.status, 403);
    assert_eq!(send(by_key(WIKI, &key)).await.status, 200);
    gate.server.json(&["user", "disable", "ada@example.org"], "");
    assert_eq!(send(by_key(WIKI, &key)).await.status, 401);
    let unknown = gate.server.command(&["api-key", "add", "admin@example.org", "--name", "x", "--app", "jellyfin"], "");
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(!unknown.status.success() && said.contains("there is no app jellyfin that API keys open; there are: wiki, grafana"), "{said}");
}

async fn ada_id(admin: &Actor) -> String {
    let users = admin.get("/api/users?query=ada").await.expect(200);
    users.body["users"][0]["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn gate_31_a_question_that_lands_beside_the_gate_is_never_answered_with_a_yes() {
    let gate = Gate::start();
    let ada = Actor::with_role(&gate.server, "ada@example.org", "admin").await;
    let pass = gate.enter(&ada, WIKI, "/").await;
    for path in [
        "/",
        "/health",
        "/gate",
        "/gate/",
        "/gate/sign-in",
        "/gate/typo",
        "/gate/forward/",
        "/doorward.js",
        "/api/auth/verify",
        "/lang/en.json",
    ] {
        let asked = gate.ask_at(path, "localhost:7001", "GET", "/").header("cookie", &pass);
        let status = asked.send().await.expect("an answer").status().as_u16();
        assert!(status >= 400, "{path}: {status}");
    }
    for host in ["localhost:7004", "evil.example", "localhost", "", "localhost:7001, localhost:7002", "localhost:7001.evil.example"] {
        assert_eq!(
            send(gate.ask_at("/gate/forward", host, "GET", "/").header("cookie", &pass)).await.outcome(),
            (403, "FORBIDDEN"),
            "{host}"
        );
    }
    // Its method, query and body are not the gate's business, nor are other headers that forward something.
    for method in ["GET", "POST", "OPTIONS", "PROPFIND", "DELETE", "TRACE"] {
        let asked = with(
            gate.request(method, "/gate/forward?to=/manifest.json&X-Forwarded-Uri=/share/x"),
            &[
                ("x-forwarded-host", "localhost:7001"),
                ("x-forwarded-method", "GET"),
                ("x-forwarded-uri", "/x"),
                ("x-original-url", "http://localhost:7001/manifest.json"),
                ("x-original-uri", "/manifest.json"),
                ("forwarded", "host=localhost:7003"),
                ("x-forwarded-prefix", "/share"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-for", "127.0.0.1"),
                ("x_forwarded_uri", "/manifest.json"),
            ],
        );
        assert_eq!(send(asked.try_clone().expect("no body")).await.status, 401, "{method}");
        assert_eq!(send(asked.header("cookie", &pass)).await.status, 200, "{method}");
    }
}

#[tokio::test]
async fn gate_40_the_apps_and_who_may_enter_them_are_listed() {
    let gate = Gate::start();
    let (admin, eve) = (
        Actor::with_role(&gate.server, "admin@example.org", "admin").await,
        Actor::with_role(&gate.server, "eve@example.org", "viewer").await,
    );
    let listed = |body: &Value| -> Vec<(String, bool, Value)> {
        let apps = body["apps"].as_array().expect("apps").iter();
        apps.map(|app| (app["name"].as_str().expect("a name").to_owned(), app["mayEnter"] == true, app["missing"].clone())).collect()
    };
    let expected =
        [("wiki", true, Value::Null), ("grafana", false, json!("role")), ("open", true, Value::Null)].map(|(n, m, w)| (n.to_owned(), m, w));
    let own = eve.get("/api/apps").await.expect(200).body;
    assert_eq!(listed(&own), expected);
    assert_eq!((&own["apps"][1]["roles"], &own["apps"][1]["origin"]), (&json!(["editor"]), &json!("http://localhost:7002")));
    let path = format!("/api/users/{}/apps", eve.id);
    assert_eq!(listed(&admin.get(&path).await.expect(200).body), expected);
    assert_eq!(eve.get(&path).await.status, 403);
    admin.patch(&format!("/api/users/{}", eve.id), &json!({ "emailVerified": false })).await.expect(200);
    assert_eq!(listed(&eve.get("/api/apps").await.expect(200).body)[0], ("wiki".to_owned(), false, json!("verifiedAddress")));
}

#[tokio::test]
async fn gate_9_an_unverified_address_opens_what_asks_for_none_and_is_told_to_nobody() {
    let gate = Gate::start();
    let eve = Actor::with_role(&gate.server, "eve@example.org", "viewer").await;
    let (wiki, open) = (gate.enter(&eve, WIKI, "/").await, gate.enter(&eve, OPEN, "/").await);
    gate.server.json(&["user", "verify", "eve@example.org", "--no"], "");
    assert_eq!(gate.status(WIKI, "GET", "/", &wiki).await, 403);
    let answer = send(gate.ask(OPEN, "GET", "/").header("cookie", &open)).await.expect(200);
    let told = IDENTITY.map(|name| answer.header(name).expect("sent").to_owned());
    assert_eq!(told, ["", "", "", "viewer", &eve.id, "", "viewer", "articles:read"]);
}

#[tokio::test]
async fn gate_38_no_secret_of_the_way_is_in_the_log() {
    let gate = Gate::start();
    let ada = Actor::with_role(&gate.server, "ada@example.org", "editor").await;
    let (nonce, request) = gate.begin(WIKI, "/secret-path?secret=query").await;
    let answer = ada.post("/api/gate/enter", &json!({ "request": request })).await.expect(200);
    let location = answer.text_of("location");
    let pass = super::gate_passes::cookie_of(&gate.done(WIKI, &location, &nonce).await);
    assert_eq!(gate.status(WIKI, "GET", "/secret-path?secret=query", &pass).await, 200);
    gate.server.advance(Duration::from_secs(1));
    let log = gate.server.log();
    let value = |cookie: &str| cookie.split_once('=').expect("a value").1.to_owned();
    let code = location.split_once("code=").expect("a code").1.to_owned();
    for secret in [value(&pass), value(&nonce), request, code, "secret-path".into(), "secret=query".into(), PASSWORD.into()] {
        assert!(!log.contains(&secret), "{secret}");
    }
    assert!(log.contains("app_entered") && log.contains("wiki"), "{log}");
}

#[tokio::test]
async fn gate_explain_names_the_rule_that_decides() {
    let gate = Gate::start();
    Actor::with_role(&gate.server, "eve@example.org", "viewer").await;
    let explain = |arguments: &[&str]| gate.server.json(&[&["gate", "explain"], arguments].concat(), "");
    let url = "http://localhost:7001/x/..%2fadmin?y";
    let told = explain(&["--user", "eve@example.org", url]);
    assert_eq!((&told["verdict"], &told["path"]), (&json!("refused"), &json!("/x/..%2fadmin")));
    assert_eq!((&told["rule"], &told["missing"]), (&json!("[[gate.app.path]] /admin of wiki"), &json!("one of the roles: admin")));
    assert_eq!(explain(&["--user", "eve@example.org", "http://localhost:7001/x"])["verdict"], "allowed");
    assert_eq!(explain(&["http://localhost:7001/share/x"])["rule"], "public has \"/share/*\"");
    assert_eq!(explain(&["http://localhost:7001/x"])["verdict"], "sign-in");
    let manifest = explain(&["http://localhost:7002/site.webmanifest"]);
    assert!(manifest["hint"].as_str().expect("a hint").contains("without cookies"), "{manifest}");
    let text = gate.server.command(&["gate", "explain", "--method", "POST", "http://localhost:7001/manifest.json"], "");
    let text = String::from_utf8(text.stdout).expect("text");
    assert!(
        text.starts_with("POST /manifest.json at wiki: somebody who is not signed in is sent to sign in")
            && text.contains("GET and HEAD alone"),
        "{text}"
    );
    let unknown = gate.server.command(&["gate", "explain", "https://other.example/"], "");
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(!unknown.status.success() && said.contains("there are: wiki, grafana, open"), "{said}");
    let printed = gate.server.command(
        &["--set", "server.public_url=http://localhost:3000", "proxy-config", "nginx", "wiki", "--doorward", "127.0.0.1:3000"],
        "",
    );
    let printed = String::from_utf8(printed.stdout).expect("text");
    assert!(printed.contains("X-Forwarded-Host localhost:7001;"), "{printed}");
}
