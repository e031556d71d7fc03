//! Access tokens as clients receive and send them.

use crate::support::{Actor, Answer, PASSWORD, Server, claims, send};
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

const SECRET: &str = "Zq7-vWm2.kT9_xLb4!rNc8+dHs3=gPf6";

/// A token with this header and these claims, signed with this secret.
fn forge(header: &Value, claims: &Value, secret: &str) -> String {
    let input =
        format!("{}.{}", BASE64URL_NOPAD.encode(header.to_string().as_bytes()), BASE64URL_NOPAD.encode(claims.to_string().as_bytes()));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
    mac.update(input.as_bytes());
    format!("{input}.{}", BASE64URL_NOPAD.encode(&mac.finalize().into_bytes()))
}

fn header(token: &str) -> Value {
    let part = token.split('.').next().expect("a part");
    serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url")).expect("JSON")
}

async fn me_with(actor: &Actor, token: &str) -> Answer {
    send(actor.request("GET", "/api/users/me").bearer_auth(token)).await
}

#[tokio::test]
async fn a_token_says_what_the_contract_lists() {
    let server = Server::with(&["tokens.issuer=https://login.example.org", "tokens.audience=shop"]);
    let alice = Actor::registered(&server, "alice@example.org").await;
    let token = alice.access.as_deref().expect("a token");
    let (header, claims) = (header(token), claims(token));
    let names = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&header), ["alg", "kid", "typ"]);
    assert_eq!((&header["alg"], &header["typ"]), (&json!("HS256"), &json!("at+jwt")));
    assert_eq!(names(&claims), ["aud", "exp", "iat", "iss", "jti", "permissions", "role", "sid", "sub", "ver"]);
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!("https://login.example.org"), &json!("shop")));
    assert_eq!((&claims["sub"], &claims["role"]), (&json!(alice.id), &json!("viewer")));
    assert_eq!(claims["exp"].as_u64().expect("exp") - claims["iat"].as_u64().expect("iat"), 900);
    assert!(!claims.to_string().contains("alice"), "nothing personal");
}

#[tokio::test]
async fn tok_1_to_5_only_what_we_sign_as_we_sign_it_is_taken() {
    let server = Server::with_environment(&[], &[("DOORWARD_ACCESS_SECRET", SECRET)]);
    let alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let token = alice.access.clone().expect("a token");
    let (head, body) = (header(&token), claims(&token));
    // An identical token is accepted, so those below are refused because of what they change.
    me_with(&alice, &forge(&head, &body, SECRET)).await.expect(200);

    let changed = |value: &Value, name: &str, to: Value| {
        let mut value = value.clone();
        value[name] = to;
        value
    };
    let without = |value: &Value, name: &str| {
        let mut value = value.clone();
        value.as_object_mut().expect("an object").remove(name);
        value
    };
    let now = body["iat"].as_u64().expect("iat");
    let mut forged = vec![forge(&head, &body, "another secret of thirty-two and more")];
    for (name, to) in [
        ("alg", json!("none")),
        ("alg", json!("HS512")),
        ("alg", json!("RS256")),
        ("typ", json!("JWT")),
        ("typ", json!("refresh+jwt")),
        ("kid", json!("../../dev/null")),
        ("kid", json!(1)),
        ("crit", json!(["x"])),
        ("jku", json!("http://127.0.0.1:1/keys")),
        ("jwk", json!({ "kty": "oct", "k": "AAAA" })),
    ] {
        forged.push(forge(&changed(&head, name, to), &body, SECRET));
    }
    for (name, to) in [
        ("iss", json!("doorward2")),
        ("aud", json!(["doorward"])),
        ("aud", json!("doorward ")),
        ("sub", json!(1)),
        ("exp", json!(now + 10 * 365 * 24 * 3600)),
        ("exp", json!("9999999999")),
        ("exp", json!(-1)),
        ("iat", json!(now + 3600)),
        ("sid", json!("")),
        ("ver", json!("1")),
        ("role", json!(["admin"])),
    ] {
        forged.push(forge(&head, &changed(&body, name, to), SECRET));
    }
    for name in ["alg", "typ", "kid"] {
        forged.push(forge(&without(&head, name), &body, SECRET));
    }
    for name in ["iss", "aud", "sub", "iat", "exp", "jti", "sid", "ver", "role"] {
        forged.push(forge(&head, &without(&body, name), SECRET));
    }
    let unsigned = token.rsplit_once('.').expect("a signature").0;
    forged.extend([format!("{unsigned}."), unsigned.to_owned(), format!("{token}."), format!("{token}.x"), "a.b.c".into(), "...".into()]);
    forged.extend(["x".repeat(4097), ".".repeat(12_000)]);
    for token in forged {
        let answer = me_with(&alice, &token).await;
        assert_eq!(answer.outcome(), (401, "INVALID_TOKEN"), "{token:.300}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
        assert_eq!(answer.header("x-token-expires-in"), None);
    }
    // REV-4: the token version must be equal to that of the user, neither lower nor higher.
    for (name, to, code) in
        [("ver", json!(0), "TOKEN_REVOKED"), ("ver", json!(2), "INVALID_TOKEN"), ("sub", json!("f".repeat(32)), "TOKEN_REVOKED")]
    {
        let answer = me_with(&alice, &forge(&head, &changed(&body, name, to), SECRET)).await;
        assert_eq!(answer.outcome(), (401, code), "{name}");
    }
    let expired = changed(&changed(&body, "exp", json!(now)), "iat", json!(now - 900));
    let answer = me_with(&alice, &forge(&head, &expired, SECRET)).await;
    assert_eq!(answer.outcome(), (401, "TOKEN_EXPIRED"), "TOK-5: at `exp` it is over");
    assert!(answer.body["expiredAt"].is_string(), "{}", answer.text);
}

#[tokio::test]
async fn tok_7_a_bearer_comes_in_one_header_and_nowhere_else() {
    let server = Server::start();
    let alice = Actor::registered(&server, "alice@example.org").await;
    let token = alice.access.clone().expect("a token");
    let with = |value: String| alice.request("GET", "/api/users/me").header("authorization", value);
    for scheme in ["Bearer", "bearer", "BEARER", "Bearer ", "Bearer   "] {
        send(with(format!("{scheme} {token}"))).await.expect(200);
    }
    for (first, second) in [(token.as_str(), "x"), ("x", token.as_str()), (token.as_str(), token.as_str())] {
        let twice = send(with(format!("Bearer {first}")).header("authorization", format!("Bearer {second}"))).await;
        assert_eq!(twice.outcome(), (400, "INVALID_REQUEST"));
    }
    for malformed in [
        token.clone(),
        "Bearer".into(),
        "Bearer ".into(),
        format!("Basic {token}"),
        format!("Token {token}"),
        format!("Bearer {token} x"),
        format!("Bearer {token}, Bearer {token}"),
    ] {
        let answer = send(with(malformed.clone())).await;
        assert_eq!(answer.outcome(), (401, "INVALID_FORMAT"), "{malformed}");
        assert!(answer.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Bearer ")));
    }
    assert_eq!(send(with(String::new())).await.outcome(), (401, "MISSING_TOKEN"), "an empty line says nothing");
    for elsewhere in [
        alice.request("GET", &format!("/api/users/me?access_token={token}")),
        alice
            .request("GET", "/api/users/me")
            .header("cookie", format!("accessToken={token}; access_token={token}; Authorization=Bearer {token}")),
        alice.request("GET", "/api/users/me").header("x-access-token", &token),
    ] {
        let answer = send(elsewhere).await;
        assert_eq!(answer.outcome(), (401, "MISSING_TOKEN"));
    }
    let body = send(alice.request("POST", "/api/auth/logout-all").json(&json!({ "accessToken": token }))).await;
    assert_eq!(body.outcome(), (401, "MISSING_TOKEN"));
}

#[tokio::test]
async fn tok_8_without_credentials_the_challenge_is_bare() {
    let server = Server::start();
    let answer = Actor::at(&server).me().await;
    assert_eq!(answer.outcome(), (401, "MISSING_TOKEN"));
    assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"doorward\""));
}

#[tokio::test]
async fn tok_9_a_missing_permission_is_named() {
    let server = Server::start();
    let alice = Actor::registered(&server, "alice@example.org").await;
    for (path, permission) in
        [("/api/users", "users:read"), ("/api/invites", "users:write"), ("/api/auth/verify?permission=articles:write", "articles:write")]
    {
        let answer = alice.get(path).await;
        assert_eq!(answer.outcome(), (403, "FORBIDDEN"), "{path}");
        assert_eq!(answer.body["requiredPermission"], permission);
        let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{permission}\"");
        assert_eq!(answer.header("www-authenticate"), Some(challenge.as_str()));
    }
}

#[tokio::test]
async fn tok_12_whatever_the_answer_a_valid_bearer_learns_how_long_it_lasts() {
    let server = Server::start();
    let alice = Actor::registered(&server, "alice@example.org").await;
    let id = "0".repeat(32);
    let unknown = format!("/api/auth/sessions/{id}");
    for (answer, status) in [
        (alice.me().await, 200),
        (send(alice.bearer("HEAD", "/api/users/me")).await, 200),
        (alice.get("/api/users").await, 403),
        (alice.delete(&unknown).await, 404),
        (alice.post("/api/auth/password", &json!({})).await, 400),
        (alice.post("/api/auth/password", &json!({ "currentPassword": "not this one", "newPassword": "long enough it is" })).await, 401),
        (send(alice.bearer("POST", "/api/auth/password").body("x")).await, 415),
        (alice.get("/api/auth/verify?role=editor").await, 403),
    ] {
        let left = answer.clone().expect(status).header("x-token-expires-in").and_then(|left| left.parse::<u64>().ok());
        assert!(left.is_some_and(|left| left <= 900), "{status}: {left:?}");
    }
    let nobody = Actor::at(&server);
    for answer in [nobody.me().await, me_with(&nobody, "x").await, send(nobody.request("GET", "/health")).await] {
        assert_eq!(answer.header("x-token-expires-in"), None);
    }
}

#[tokio::test]
async fn tok_13_no_kind_of_token_passes_for_another() {
    let server = Server::with(&["registration.mode=invite"]);
    let setup_token = server.setup_token();
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let mut browser = Actor::at(&server);
    browser.login("admin@example.org", PASSWORD, "cookie").await.expect(200);
    let code = admin.post("/api/invites", &json!({})).await.expect(201).text_of("code");
    let kinds = [
        ("access", admin.access.clone().expect("a token")),
        ("refresh", admin.refresh_token()),
        ("refresh of a cookie", browser.refresh_token()),
        ("csrf", browser.token("csrf").clone()),
        ("set-up", setup_token),
        ("invite", code),
    ];
    let nobody = Actor::at(&server);
    for (kind, token) in &kinds {
        if *kind != "access" {
            let answer = me_with(&nobody, token).await;
            assert_eq!(answer.outcome(), (401, "INVALID_TOKEN"), "{kind} as access token");
        }
        if *kind != "refresh" {
            assert_eq!(nobody.refresh_with(token).await.outcome(), (401, "INVALID_REFRESH_TOKEN"), "{kind} as refresh token");
        }
        if *kind != "refresh of a cookie" {
            let cookie =
                send(nobody.request("POST", "/api/auth/refresh").header("cookie", format!("{}={token}", nobody.cookie_name("refresh"))))
                    .await;
            assert_eq!(cookie.outcome(), (401, "INVALID_REFRESH_TOKEN"), "{kind} in the cookie");
        }
        if *kind != "csrf" {
            let mut forger = browser.clone().as_browser();
            forger.plant("csrf", &token.clone());
            assert_eq!(forger.try_refresh().await.outcome(), (403, "CSRF_FAILED"), "{kind} as CSRF token");
        }
        if *kind != "invite" {
            let body = json!({ "email": "new@example.org", "password": PASSWORD, "invite": token });
            assert_eq!(nobody.post("/api/auth/register", &body).await.outcome(), (403, "REGISTRATION_CLOSED"), "{kind} as invite");
        }
        // Even the real set-up token is void: there is an admin already.
        let body = json!({ "token": token, "email": "new@example.org", "password": PASSWORD });
        assert_eq!(nobody.post("/api/auth/setup", &body).await.outcome(), (401, "INVALID_SETUP_TOKEN"), "{kind} as set-up token");
    }
    admin.me().await.expect(200);
    admin.try_refresh().await.expect(200);
}

#[tokio::test]
async fn tok_11_two_tokens_of_one_second_differ() {
    let server = Server::lifting(&[("limits.refresh_per_minute", "fifty tokens within a second")], &[]);
    let mut alice = Actor::registered_with_tokens(&server, "alice@example.org").await;
    let mut seen = std::collections::HashSet::new();
    for _ in 0..50 {
        alice.refresh().await.expect(200);
        assert!(seen.insert(claims(alice.access.as_deref().expect("a token"))["jti"].to_string()));
    }
}

#[tokio::test]
async fn an_operators_secret_is_the_key_byte_for_byte() {
    let server = Server::with_environment(&[], &[("DOORWARD_ACCESS_SECRET", SECRET)]);
    let alice = Actor::registered(&server, "alice@example.org").await;
    let token = alice.access.as_deref().expect("a token");
    let (input, signature) = token.rsplit_once('.').expect("a signature");
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key");
    mac.update(input.as_bytes());
    assert_eq!(signature, BASE64URL_NOPAD.encode(&mac.finalize().into_bytes()));
}
