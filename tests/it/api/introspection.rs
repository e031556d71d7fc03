//! Introspection (RFC 7662), revocation (RFC 7009) and the metadata that names them (RFC 8414).

use crate::support::{Actor, Answer, PASSWORD, Server, claims, send};
use serde_json::{Value, json};
use std::time::Duration;

/// A service that may introspect, and its users' administrator.
async fn service(server: &Server) -> (Actor, Actor) {
    let admin = Actor::with_role(server, "admin@example.org", "admin").await;
    server.json(&["service", "add", "gateway", "--role", "admin"], "");
    (Actor::with_api_key(server, "gateway", &["tokens:introspect"]), admin)
}

async fn post(actor: &Actor, path: &str, form: &[(&str, &str)]) -> Answer {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    send(actor.bearer("POST", path).header("content-type", "application/x-www-form-urlencoded").body(body)).await
}

async fn introspect(actor: &Actor, token: &str) -> Value {
    post(actor, "/oauth2/introspect", &[("token", token)]).await.expect(200).body
}

async fn revoke(actor: &Actor, token: &str) {
    let answer = post(actor, "/oauth2/revoke", &[("token", token)]).await.expect(200);
    assert_eq!(answer.text, "");
}

fn token(actor: &Actor) -> String {
    actor.access.clone().expect("a token")
}

#[tokio::test]
async fn an_active_token_is_described() {
    for algorithm in ["HS256", "EdDSA"] {
        let server = Server::with(&[&format!("tokens.algorithm={algorithm}")]);
        let (service, _) = service(&server).await;
        let ada = Actor::with_role(&server, "ada@example.org", "editor").await;
        let eve = Actor::registered_with_tokens(&server, "eve@example.org").await;
        for unvouched in [token(&eve), eve.refresh_token()] {
            assert_eq!(introspect(&service, &unvouched).await["username"], Value::Null, "nobody vouched for the address");
        }
        let (said, described) = (claims(&token(&ada)), introspect(&service, &token(&ada)).await);
        for member in ["iss", "aud", "sub", "iat", "exp", "jti", "sid", "role"] {
            assert_eq!(described[member], said[member], "{member}");
        }
        assert_eq!((&described["active"], &described["token_type"]), (&json!(true), &json!("Bearer")));
        assert_eq!((&described["username"], &described["scope"]), (&json!("ada@example.org"), &json!("articles:read articles:write")));
        let refresh = introspect(&service, &ada.refresh_token()).await;
        assert_eq!((&refresh["active"], &refresh["token_type"]), (&json!(true), &json!("refresh_token")));
        assert_eq!((&refresh["sub"], &refresh["sid"]), (&said["sub"], &said["sid"]));
        assert!(refresh["exp"].as_u64().expect("seconds") > said["exp"].as_u64().expect("seconds"));
        // A hint is no more than that (RFC 7662 §2.1), and what nobody asks for is ignored.
        for hint in ["refresh_token", "access_token", "nonsense"] {
            let form = [("token", &*token(&ada)), ("token_type_hint", hint), ("other", "1")];
            assert_eq!(post(&service, "/oauth2/introspect", &form).await.expect(200).body, described);
        }
    }
}

#[tokio::test]
async fn tok_14_what_is_not_active_is_all_the_same() {
    let server = Server::start();
    let (service, admin) = service(&server).await;
    let inactive = async |what: &str, token: &str| {
        let answer = post(&service, "/oauth2/introspect", &[("token", token)]).await.expect(200);
        assert_eq!(answer.text, r#"{"active":false}"#, "{what}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    };
    let mut ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let (access, refresh) = (token(&ada), ada.refresh_token());
    for text in ["x", "a.b.c", "dwr1.x", &format!("{access}x"), &format!("{refresh}x"), &"x".repeat(9000)] {
        inactive("no token", text).await;
    }
    inactive("an API key", &token(&service)).await;
    ada.refresh().await.expect(200);
    inactive("a replaced refresh token", &refresh).await;
    ada.refresh().await.expect(200);
    let (access, refresh) = (token(&ada), ada.refresh_token());
    admin.set_role(&ada.id, "editor").await.expect(200);
    inactive("a token of another role", &access).await;
    ada.refresh().await.expect(200);
    inactive("a replaced refresh token", &refresh).await;
    let (access, refresh) = (token(&ada), ada.refresh_token());
    admin.patch(&format!("/api/users/{}", ada.id), &json!({ "disabled": true })).await.expect(200);
    inactive("a disabled user's", &access).await;
    inactive("a disabled user's", &refresh).await;
    admin.patch(&format!("/api/users/{}", ada.id), &json!({ "disabled": false })).await.expect(200);
    ada.login("ada@example.org", PASSWORD, "body").await.expect(200);
    let (access, refresh) = (token(&ada), ada.refresh_token());
    ada.clone().logout().await.expect(200);
    inactive("a signed-out session's", &access).await;
    inactive("a signed-out session's", &refresh).await;
    ada.login("ada@example.org", PASSWORD, "body").await.expect(200);
    server.advance(Duration::from_secs(901));
    inactive("an expired one", &token(&ada)).await;
    assert_eq!(introspect(&service, &ada.refresh_token()).await["active"], true);
    server.advance(Duration::from_secs(7 * 86_400));
    inactive("an expired one", &ada.refresh_token()).await;
}

#[tokio::test]
async fn a_token_that_was_traded_for_a_key_is_described_without_a_role() {
    let server = Server::start();
    let (service, _) = service(&server).await;
    server.json(&["user", "add", "ada@example.org", "--role", "editor"], PASSWORD);
    let key = Actor::with_api_key(&server, "ada@example.org", &["articles:read"]);
    let traded = key.post("/api/auth/token", &json!({})).await.expect(200).text_of("accessToken");
    let described = introspect(&service, &traded).await;
    assert_eq!((&described["scope"], &described["role"], &described["amr"]), (&json!("articles:read"), &Value::Null, &json!(["key"])));
    server.json(&["api-key", "revoke", &key.id], "");
    assert_eq!(introspect(&service, &traded).await, json!({ "active": false }));
}

#[tokio::test]
async fn a_revocation_is_durable_when_it_is_answered() {
    let mut server = Server::start();
    let (mut service, _) = service(&server).await;
    let mut ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let mut bob = Actor::registered_with_tokens(&server, "bob@example.org").await;
    revoke(&service, &token(&ada)).await;
    revoke(&service, &bob.refresh_token()).await;
    for round in 0..2 {
        assert_eq!(ada.me().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
        assert_eq!(bob.me().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}: with its session");
        assert_eq!(bob.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"), "round {round}");
        // Again, and of what never was: the same answer.
        for text in [token(&ada), bob.refresh_token(), token(&bob), "nonsense".into()] {
            revoke(&service, &text).await;
        }
        server.crash();
        (service, ada, bob) = (service.moved_to(&server), ada.moved_to(&server), bob.moved_to(&server));
    }
    ada.refresh().await.expect(200);
    ada.me().await.expect(200);
    let log = server.log();
    assert!(log.contains("token_revoked") && log.contains("session_revoked"), "who revoked it is told");
}

/// A refresh token that was replaced shows a theft wherever it is presented (REF-1).
#[tokio::test]
async fn ref_1_revoking_a_replaced_refresh_token_is_reuse() {
    let server = Server::start();
    let (service, _) = service(&server).await;
    let mut thief = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let victim = thief.clone();
    thief.refresh().await.expect(200);
    server.advance(Duration::from_secs(60));
    revoke(&service, &victim.refresh_token()).await;
    assert_eq!(thief.me().await.outcome(), (401, "TOKEN_REVOKED"));
    assert!(server.log().contains("refresh_reuse"));
}

#[tokio::test]
async fn whatever_goes_wrong_has_the_shape_of_oauth() {
    let server = Server::start();
    let (service, admin) = service(&server).await;
    let form = "application/x-www-form-urlencoded";
    for path in ["/oauth2/introspect", "/oauth2/revoke"] {
        let with =
            |content_type: &str, body: &str| send(service.bearer("POST", path).header("content-type", content_type).body(body.to_owned()));
        for body in ["", "token=", "tok=a", "token=a&token=b"] {
            let answer = with(form, body).await;
            assert_eq!(answer.outcome(), (400, "invalid_request"), "{body}");
        }
        assert_eq!(with("application/json", "{\"token\":\"a\"}").await.outcome(), (415, "invalid_request"));
        assert_eq!(with(form, &format!("token={}", "a".repeat(11_000))).await.outcome(), (413, "invalid_request"));
        // Nothing is read from where it would be logged.
        assert_eq!(send(service.bearer("POST", &format!("{path}?token=a"))).await.outcome(), (400, "invalid_request"));
        let get = send(service.bearer("GET", path)).await;
        assert_eq!((get.outcome(), get.header("allow")), ((405, "invalid_request"), Some("POST")));
        let visitor = Actor::at(&server);
        let dead = Actor::bearing(&server, format!("dwk_{}", "0".repeat(49)));
        for outsider in [&visitor, &admin, &dead] {
            let answer = send(outsider.bearer("POST", path).header("content-type", form).body("token=a")).await;
            assert_eq!(answer.outcome(), (401, "invalid_client"), "{}", answer.text);
            let challenges: Vec<_> =
                answer.headers.get_all("www-authenticate").iter().map(|value| value.to_str().expect("ASCII")).collect();
            assert!(challenges.iter().any(|challenge| challenge.starts_with("Basic ")), "{challenges:?}");
        }
        let narrow = Actor::with_api_key(&server, "gateway", &["users:read"]);
        let answer = send(narrow.bearer("POST", path).header("content-type", form).body("token=a")).await;
        assert_eq!(answer.outcome(), (403, "insufficient_scope"));
        // As a client of OAuth sends it.
        let pair = data_encoding::BASE64.encode(format!("gateway:{}", token(&service)).as_bytes());
        let request = visitor.request("POST", path).header("authorization", format!("Basic {pair}")).header("content-type", form);
        send(request.body("token=a")).await.expect(200);
    }
    assert_eq!(send(service.bearer("POST", "/oauth2/token")).await.outcome(), (404, "invalid_request"));
}

#[tokio::test]
async fn the_metadata_lists_what_there_is() {
    for (algorithm, has_keys) in [("HS256", false), ("ES256", true)] {
        let server = Server::with(&[&format!("tokens.algorithm={algorithm}"), "server.public_url=http://localhost:3000"]);
        let visitor = Actor::at(&server);
        let answer = visitor.get("/.well-known/oauth-authorization-server").await.expect(200);
        assert_eq!(answer.body["issuer"], "http://localhost:3000");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=3600"));
        assert_eq!(answer.body["jwks_uri"].is_string(), has_keys);
        for (member, value) in answer.body.as_object().expect("an object") {
            assert!(!value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()), "{member} says nothing (RFC 8414 §3.2)");
            if let Some(path) = value.as_str().and_then(|url| url.strip_prefix("http://localhost:3000")).filter(|path| !path.is_empty()) {
                assert_ne!(visitor.get(path).await.status, 404, "{member}");
            }
        }
    }
}

#[tokio::test]
async fn key_7_ref_1_no_limit_stands_before_a_revocation() {
    let server = Server::with(&["limits.api_key_per_minute=20"]);
    let (service, _) = service(&server).await;
    let ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let mut thief = Actor::registered_with_tokens(&server, "bob@example.org").await;
    let victim = thief.clone();
    thief.refresh().await.expect(200);
    server.advance(Duration::from_secs(60));
    while post(&service, "/oauth2/introspect", &[("token", "x")]).await.status == 200 {}
    let limited = post(&service, "/oauth2/introspect", &[("token", "x")]).await;
    assert_eq!((limited.status, limited.error()), (429, "temporarily_unavailable"));
    revoke(&service, &token(&ada)).await;
    assert_eq!(ada.me().await.outcome(), (401, "TOKEN_REVOKED"));
    revoke(&service, &victim.refresh_token()).await;
    assert_eq!(thief.me().await.outcome(), (401, "TOKEN_REVOKED"), "the theft was noticed");
    // What is no token is told so.
    let key = post(&service, "/oauth2/revoke", &[("token", &token(&service))]).await;
    assert_eq!((key.status, key.error()), (400, "invalid_request"));
}
