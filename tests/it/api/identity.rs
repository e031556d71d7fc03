//! Which claims of an access token are believed, and when an address counts as verified.

use crate::support::{Actor, Server, claims, send};
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

const SECRET: &str = "q3vYp0mXz7Rk1tW9sB5nH2dL8fJ4gC6aE0uT";

/// A token with changed claims, signed by somebody who knows the secret because they verify tokens with it.
fn forged(token: &str, change: impl Fn(&mut Value)) -> String {
    let header = token.split('.').next().expect("a header");
    let mut claims = claims(token);
    change(&mut claims);
    let input = format!("{header}.{}", BASE64URL_NOPAD.encode(claims.to_string().as_bytes()));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key");
    mac.update(input.as_bytes());
    format!("{input}.{}", BASE64URL_NOPAD.encode(&mac.finalize().into_bytes()))
}

#[tokio::test]
async fn az_2_a_role_is_what_the_record_says_and_a_session_is_one_that_lives() {
    let server = Server::with_environment(&[], &[("DOORWARD_ACCESS_SECRET", SECRET)]);
    let viewer = Actor::registered(&server, "viewer@example.org").await;
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let ask = |token: String, path: &'static str| send(viewer.request("GET", path).bearer_auth(token));
    let own = viewer.access.clone().expect("a token");
    for path in ["/api/users", "/api/auth/verify?role=admin", "/api/users/me"] {
        let token = forged(&own, |claims| claims["role"] = "admin".into());
        assert_eq!(ask(token, path).await.outcome(), (401, "INVALID_TOKEN"), "{path}: a role they do not have");
    }
    assert!(server.log().contains("event=\"forged_token\""));
    let token = forged(&own, |claims| claims["permissions"] = json!(["*"]));
    assert_eq!(ask(token, "/api/users").await.outcome(), (403, "FORBIDDEN"), "permissions are the record's too");
    let administers = admin.access.clone().expect("a token");
    for path in ["/api/users", "/api/invites"] {
        let token = forged(&administers, |claims| claims["sid"] = "00112233445566778899aabbccddeeff".into());
        assert_eq!(ask(token, path).await.outcome(), (401, "TOKEN_REVOKED"), "{path}: a session that never was");
        let token = forged(&administers, |claims| claims["sid"] = crate::support::claims(&own)["sid"].clone());
        assert_eq!(ask(token, path).await.outcome(), (401, "TOKEN_REVOKED"), "{path}: somebody else's session");
        ask(administers.clone(), path).await.expect(200);
    }
}

#[tokio::test]
async fn an_address_leaves_for_who_was_vouched_for_alone() {
    let server = Server::start();
    let alone = Actor::registered(&server, "ceo@bigcorp.example").await;
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let email = |answer: crate::support::Answer| answer.expect(200).header("x-auth-email").expect("always set").to_owned();
    let verify = "/api/auth/verify";
    assert_eq!(email(alone.get(verify).await), "", "who registered alone owns no address");
    assert_eq!(alone.me().await.expect(200).body["emailVerified"], false);
    assert_eq!(email(admin.get(verify).await), "admin@example.org", "an operator made the account");
    let path = format!("/api/users/{}", alone.id);
    let shown = admin.patch(&path, &json!({ "emailVerified": true })).await.expect(200);
    assert_eq!(shown.body["user"]["emailVerified"], true);
    assert_eq!(email(alone.get(verify).await), "ceo@bigcorp.example", "at once, and no token is void for it");
    admin.patch(&path, &json!({ "emailVerified": false })).await.expect(200);
    assert_eq!(email(alone.get(verify).await), "");
    for body in [json!({}), json!({ "emailVerified": "yes" }), json!({ "email": "x@example.org" })] {
        assert_eq!(admin.patch(&path, &body).await.outcome(), (400, "VALIDATION_FAILED"), "{body}");
    }
    assert_eq!(alone.patch(&path, &json!({ "emailVerified": true })).await.outcome(), (403, "FORBIDDEN"));
    // An operator gives out the set-up link, so the address of the first admin counts as verified.
    let server = Server::start();
    let body = json!({ "token": server.setup_token(), "email": "first@example.org", "password": crate::support::PASSWORD });
    let first = Actor::at(&server).post("/api/auth/setup", &body).await.expect(201);
    assert_eq!(first.body["user"]["emailVerified"], true);
}
