//! The cookies and their exact attributes.

use crate::support::{Actor, PASSWORD, Server, launch, send};
use serde_json::json;

const HTTPS: &str = "server.public_url=https://login.example.org";
/// With a public address, registration would otherwise need an invitation.
const OPEN: &str = "registration.mode=open";

/// The attributes in the `Set-Cookie` of this name: what follows `name=value; `.
fn attributes(cookies: &[&str], name: &str) -> String {
    let ours: Vec<_> = cookies.iter().filter(|cookie| cookie.starts_with(&format!("{name}="))).collect();
    assert_eq!(ours.len(), 1, "{name} in {cookies:?}");
    let (pair, attributes) = ours[0].split_once("; ").expect("attributes");
    assert!(ours[0].len() < 4096 && pair.bytes().all(|b| b.is_ascii_graphic() && !b"\",;\\".contains(&b)), "{pair}");
    attributes.to_owned()
}

#[tokio::test]
async fn cok_1_on_loopback_the_attributes_are_exact() {
    let server = Server::start();
    let mut alice = Actor::at(&server);
    let registered = alice.register("alice@example.org", "cookie").await.expect(201);
    let logged_in = alice.clone().login("alice@example.org", PASSWORD, "cookie").await.expect(200);
    alice.take(&logged_in);
    let refreshed = alice.refresh().await.expect(200);
    for (answer, count) in [(&registered, 3), (&logged_in, 3), (&refreshed, 2)] {
        let cookies = answer.set_cookies();
        assert_eq!(cookies.len(), count, "{cookies:?}");
        if count == 3 {
            assert_eq!(attributes(&cookies, &alice.cookie_name("device")), "HttpOnly; SameSite=Strict; Path=/; Max-Age=7776000");
        }
        assert_eq!(attributes(&cookies, &alice.cookie_name("refresh")), "HttpOnly; SameSite=Strict; Path=/api/auth; Max-Age=604800");
        assert_eq!(attributes(&cookies, &alice.cookie_name("csrf")), "SameSite=Strict; Path=/; Max-Age=604800");
        assert!(cookies.iter().any(|cookie| cookie.starts_with(&format!(
            "{}={};",
            alice.cookie_name("csrf"),
            answer.text_of("csrfToken")
        ))));
    }
}

#[tokio::test]
async fn cok_1_behind_https_they_are_secure_and_prefixed() {
    let server = Server::with(&[HTTPS, OPEN]);
    let mut alice = Actor::at(&server);
    let answer = alice.register("alice@example.org", "cookie").await.expect(201);
    let cookies = answer.set_cookies();
    assert_eq!(attributes(&cookies, "__Secure-doorward-refresh"), "HttpOnly; SameSite=Strict; Secure; Path=/api/auth; Max-Age=604800");
    assert_eq!(attributes(&cookies, "__Host-doorward-csrf"), "SameSite=Strict; Secure; Path=/; Max-Age=604800");
    assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000; includeSubDomains"), "HDR-4");
    alice.refresh().await.expect(200);

    // A browser on the server's own page, behind a proxy that terminates TLS.
    let browser = |csrf: Option<&String>| {
        let request = alice.with_cookies("POST", "/api/auth/refresh").header("origin", "https://login.example.org");
        let request = request.header("sec-fetch-site", "same-origin");
        match csrf {
            Some(token) => request.header("x-csrf-token", token),
            None => request,
        }
    };
    assert_eq!(send(browser(None)).await.outcome(), (403, "CSRF_FAILED"));
    let answer = send(browser(Some(&alice.token("csrf")))).await.expect(200);
    alice.take(&answer);
    let answer = send(alice.with_cookies("POST", "/api/auth/logout")).await.expect(200);
    let cookies = answer.set_cookies();
    assert_eq!(attributes(&cookies, "__Secure-doorward-refresh"), "HttpOnly; SameSite=Strict; Secure; Path=/api/auth; Max-Age=0");
    assert_eq!(attributes(&cookies, "__Host-doorward-csrf"), "SameSite=Strict; Secure; Path=/; Max-Age=0");
}

#[tokio::test]
async fn cok_3_no_request_header_changes_the_mode() {
    let claims_https: &[(&str, &str)] = &[
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "login.example.org"),
        ("forwarded", "proto=https"),
        ("x-forwarded-ssl", "on"),
    ];
    let claims_http: &[(&str, &str)] = &[("x-forwarded-proto", "http"), ("x-forwarded-host", "127.0.0.1"), ("forwarded", "proto=http")];
    for (settings, claims, name, secure) in
        [(&[][..], claims_https, "doorward-refresh-", false), (&[HTTPS, OPEN][..], claims_http, "__Secure-doorward-refresh", true)]
    {
        let server = Server::with(settings);
        let mut alice = Actor::at(&server);
        alice.headers = claims.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let answer = alice.register("alice@example.org", "cookie").await.expect(201);
        assert!(alice.cookie_name("refresh").starts_with(name));
        let cookie = attributes(&answer.set_cookies(), &alice.cookie_name("refresh"));
        assert_eq!(cookie.contains("Secure"), secure, "{cookie}");
        assert_eq!(answer.header("strict-transport-security").is_some(), secure, "HDR-4");
    }
}

#[test]
fn cok_2_plain_http_beyond_this_machine_is_refused_by_the_name_of_the_option() {
    let dir = tempfile::tempdir().expect("a directory");
    let refused = launch(dir.path(), &["server.public_url=http://login.example.org".into()], &[]).expect_err("it started");
    for word in ["78", "server.public_url", "server.insecure_http"] {
        assert!(refused.contains(word), "{word} is not in: {refused}");
    }
    assert!(!dir.path().join("data").exists(), "refused before anything is made");
}

#[tokio::test]
async fn cok_4_a_cookie_that_is_there_twice_is_refused_and_nothing_is_rotated() {
    let server = Server::start();
    let mut alice = Actor::registered(&server, "alice@example.org").await;
    let mallory = Actor::registered(&server, "mallory@example.org").await;
    let (own, planted) = (alice.refresh_token(), mallory.refresh_token());
    let name = alice.cookie_name("refresh");
    for lines in [
        vec![format!("{name}={own}; {name}={planted}")],
        vec![format!("{name}={planted}; a=b; {name}={own}")],
        vec![format!("{name}={own}"), format!("{name}={planted}")],
        vec![format!("{name}={planted}"), format!("{name}={own}")],
    ] {
        let mut request = alice.request("POST", "/api/auth/refresh");
        for line in &lines {
            request = request.header("cookie", line);
        }
        let answer = send(request).await;
        assert_eq!(answer.outcome(), (400, "INVALID_REQUEST"), "{lines:?}");
        // Other hosts cannot plant a cookie here, but a program on another port can, with another path.
        let deleted = answer.set_cookies();
        assert!(!deleted.is_empty() && deleted.iter().all(|cookie| cookie.contains("Max-Age=0") && !cookie.contains("Domain=")));
        assert!(!deleted.iter().any(|cookie| cookie.contains("Path=/api/auth;")), "ours stays: {deleted:?}");
    }
    alice.refresh().await.expect(200);
    mallory.try_refresh().await.expect(200);
}

/// A cookie planted by a sibling domain or by another program on this host must lock nobody out.
#[tokio::test]
async fn cok_4_planted_cookies_stop_neither_registering_nor_signing_in() {
    for settings in [&[][..], &[HTTPS, OPEN]] {
        let server = Server::with(settings);
        let mallory = Actor::registered(&server, "mallory@example.org").await;
        let planted: Vec<_> =
            ["refresh", "csrf", "device"].map(|kind| format!("{}={}", mallory.cookie_name(kind), mallory.token(kind))).into();
        let twice = [planted.clone(), planted].concat().join("; ");
        let nobody = Actor::at(&server);
        let credentials = json!({ "email": "alice@example.org", "password": PASSWORD });
        for (path, status) in [("register", 201), ("login", 200)] {
            let request = nobody.request("POST", &format!("/api/auth/{path}")).header("cookie", &twice).json(&credentials);
            assert_eq!(send(request).await.expect(status).body["user"]["email"], "alice@example.org");
        }
        let answer = send(nobody.request("POST", "/api/auth/refresh").header("cookie", &twice)).await;
        assert_eq!(answer.outcome(), (400, "INVALID_REQUEST"));
        let deleted = answer.set_cookies().iter().filter(|cookie| cookie.contains("Domain=example.org")).count();
        // One deletion for each path from which the cookie would be sent with a refresh.
        assert_eq!(deleted, if settings.is_empty() { 0 } else { 7 }, "a neighbour's is deleted: {:?}", answer.set_cookies());
    }
}

#[tokio::test]
async fn cok_5_behind_https_a_cookie_without_its_prefix_is_nobodys() {
    let server = Server::with(&[HTTPS, OPEN]);
    let mut alice = Actor::at(&server);
    alice.register("alice@example.org", "cookie").await.expect(201);
    let token = alice.token("refresh").clone();
    let tossed = send(alice.request("POST", "/api/auth/refresh").header("cookie", format!("doorward-refresh={token}"))).await;
    assert_eq!(tossed.outcome(), (401, "MISSING_REFRESH_TOKEN"));
    let beside = format!("doorward-refresh=tossed; __Secure-doorward-refresh={token}");
    send(alice.request("POST", "/api/auth/refresh").header("cookie", beside)).await.expect(200);
}

#[tokio::test]
async fn no_bytes_in_a_cookie_line_let_anybody_in() {
    let server = Server::start();
    let alice = Actor::registered(&server, "alice@example.org").await;
    let token = alice.refresh_token();
    let name = alice.cookie_name("refresh");
    let harmless = ["", ";", "=", "NAME", "NAME=;", "\"", "NAME=\"\"", "a=\u{1f36a}; NAME=x", "NAME=%00", "NAME =x"];
    for line in harmless.map(|line| line.replace("NAME", &name)) {
        let answer = send(alice.request("POST", "/api/auth/refresh").header("cookie", &line)).await;
        assert!(matches!(answer.outcome(), (401, "MISSING_REFRESH_TOKEN" | "INVALID_REFRESH_TOKEN")), "{line:?}: {}", answer.text);
    }
    for line in [
        format!("x{name}={token}"),
        format!("{}={token}", name.to_uppercase()),
        format!("{name}:{token}"),
        format!("refreshToken={token}"),
        format!("a=\"; {name}={token}x\""),
    ] {
        assert_eq!(send(alice.request("POST", "/api/auth/refresh").header("cookie", &line)).await.status, 401, "{line}");
    }
    alice.try_refresh().await.expect(200);
}

#[tokio::test]
async fn aut_16_signing_in_over_somebody_elses_cookie_switches_cleanly() {
    let server = Server::start();
    Actor::registered(&server, "bob@example.org").await;
    let alice = Actor::registered(&server, "alice@example.org").await;
    let mut shared = alice.clone();
    shared.login("bob@example.org", PASSWORD, "cookie").await.expect(200);
    for _ in 0..2 {
        assert_eq!(shared.me().await.expect(200).text_of("email"), "bob@example.org");
        shared.refresh().await.expect(200);
    }
    assert_eq!(alice.me().await.outcome(), (401, "TOKEN_REVOKED"), "the replaced session is over");
    let body = json!({ "email": "bob@example.org", "password": "not this one" });
    let mut bob = shared.clone();
    let refused = send(shared.with_cookies("POST", "/api/auth/login").json(&body)).await;
    assert_eq!((refused.status, refused.set_cookies().len()), (401, 0), "a failed login ends nothing");
    bob.refresh().await.expect(200);
}
