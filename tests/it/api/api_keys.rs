//! API keys and service accounts.

use crate::support::{Actor, Answer, PASSWORD, Server, claims, send};
use serde_json::{Value, json};
use std::time::Duration;

const DAY: u64 = 24 * 3600;

/// Makes a key for the caller, and a client that has it.
async fn keyed(actor: &Actor, server: &Server, permissions: &[&str]) -> Actor {
    let answer = actor.post("/api/keys", &json!({ "name": "script", "permissions": permissions })).await.expect(201);
    with_secret(server, &answer)
}

fn with_secret(server: &Server, answer: &Answer) -> Actor {
    let key = answer.body["key"]["id"].as_str().expect("an id").to_owned();
    let mut actor = Actor::bearing(server, answer.text_of("secret"));
    actor.id = key;
    actor
}

async fn verify(actor: &Actor, query: &str) -> Answer {
    actor.get(&format!("/api/auth/verify{query}")).await
}

#[tokio::test]
async fn key_1_a_secret_is_shown_once_and_is_nowhere_afterwards() {
    let server = Server::start();
    let ada = Actor::with_role(&server, "ada@example.org", "editor").await;
    let made = ada.post("/api/keys", &json!({ "name": " backup ", "permissions": ["articles:read"] })).await.expect(201);
    let secret = made.text_of("secret");
    assert!(secret.starts_with("dwk_") && secret.len() == 53, "{secret}");
    let key = &made.body["key"];
    assert_eq!((&key["name"], &key["permissions"], &key["lastUsedAt"]), (&json!("backup"), &json!(["articles:read"]), &Value::Null));
    assert_eq!(key["start"], secret[..8]);
    let listed = ada.get("/api/keys").await.expect(200);
    assert_eq!(&listed.body["keys"][0], key);
    assert!(!listed.text.contains(&secret));
    with_secret(&server, &made).me().await.expect(200);
    let mut files = vec![server.dir.path().to_owned()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()));
        } else if path.is_file() {
            let bytes = std::fs::read(&path).expect("readable");
            // The start of the secret is shown in lists, so all of it but that is searched for.
            let found = bytes.windows(secret.len() - 8).any(|window| window == &secret.as_bytes()[8..]);
            assert!(!found, "in {}", path.display());
        }
    }
}

#[tokio::test]
async fn key_3_a_key_may_what_it_lists_of_what_its_owner_may_now() {
    let server = Server::start();
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let ada = Actor::with_role(&server, "ada@example.org", "editor").await;
    let key = keyed(&ada, &server, &["articles:read", "articles:write"]).await;
    let answer = verify(&key, "?permission=articles:write").await.expect(200);
    assert_eq!(answer.body["permissions"], json!(["articles:read", "articles:write"]));
    assert_eq!(
        (answer.body["sub"].as_str(), answer.body["key"].as_str(), &answer.body["role"]),
        (Some(&*ada.id), Some("script"), &Value::Null)
    );
    assert_eq!((answer.header("x-auth-user"), answer.header("x-auth-role")), (Some(&*ada.id), Some("")));
    assert_eq!(answer.header("x-auth-permissions"), Some("articles:read,articles:write"));
    admin.set_role(&ada.id, "viewer").await.expect(200);
    assert_eq!(verify(&key, "?permission=articles:write").await.outcome(), (403, "FORBIDDEN"));
    assert_eq!(verify(&key, "").await.expect(200).body["permissions"], json!(["articles:read"]));
    assert_eq!(key.me().await.expect(200).body["permissions"], json!(["articles:read"]));
    // Not even an admin's key passes a question for a role, nor does it have what it does not list.
    let admins = keyed(&admin, &server, &["articles:read"]).await;
    for role in ["admin", "viewer", "admin,editor,viewer"] {
        assert_eq!(verify(&admins, &format!("?role={role}")).await.outcome(), (403, "FORBIDDEN"), "{role}");
    }
    assert_eq!(verify(&admins, "?permission=users:read").await.outcome(), (403, "FORBIDDEN"));
    assert_eq!(admins.get("/api/users").await.outcome(), (403, "FORBIDDEN"));
    let all = keyed(&admin, &server, &["*"]).await;
    all.get("/api/users").await.expect(200);
    assert_eq!(verify(&all, "?role=admin").await.outcome(), (403, "FORBIDDEN"));
}

#[tokio::test]
async fn key_3_nobody_gives_a_key_more_than_its_owner_has() {
    let server = Server::with(&["roles.files=[\"files:*\", \"users:write\"]"]);
    let ada = Actor::with_role(&server, "ada@example.org", "files").await;
    let ask = async |body: Value| ada.post("/api/keys", &body).await;
    for permission in ["articles:write", "users:read", "misspelt:read", "*", "users:*", "articles:*", "files", "FILES:READ"] {
        let refused = ask(json!({ "name": "a", "permissions": ["files:read", permission] })).await;
        assert_eq!(refused.outcome(), (400, "VALIDATION_FAILED"), "{permission}");
        assert_eq!(refused.body["fields"][0]["field"], "permissions");
    }
    ask(json!({ "name": "a", "permissions": ["files:read"] })).await.expect(201);
    ask(json!({ "name": "a", "permissions": ["files:*"] })).await.expect(201);
    for wrong in [
        json!({ "name": "", "permissions": ["files:read"] }),
        json!({ "name": "a", "permissions": [] }),
        json!({ "name": "a", "permissions": ["files:read"], "expiresIn": "366d" }),
        json!({ "name": "a", "permissions": ["files:read"], "expiresIn": "never" }),
        json!({ "name": "a", "permissions": ["files:read"], "asRole": true }),
    ] {
        assert_eq!(ask(wrong.clone()).await.outcome(), (400, "VALIDATION_FAILED"), "{wrong}");
    }
    // A key of somebody else is nobody's to make, but for service accounts that one may manage.
    let bob = Actor::with_role(&server, "bob@example.org", "viewer").await;
    for owner in [&bob.id, &"0".repeat(32)] {
        let answer = ask(json!({ "name": "a", "permissions": ["files:read"], "user": owner })).await;
        assert!(answer.status >= 400, "{}", answer.text);
    }
    let root = server.json(&["service", "add", "root", "--role", "admin"], "")["id"].clone();
    let beyond = ask(json!({ "name": "a", "permissions": ["articles:read"], "user": root })).await;
    assert_eq!(beyond.outcome(), (403, "FORBIDDEN"), "its role grants more than the maker's");
    let beyond = ada.post("/api/services", &json!({ "name": "sync", "role": "admin" })).await;
    assert_eq!(beyond.outcome(), (403, "FORBIDDEN"));
    let own = ada.post("/api/services", &json!({ "name": "sync", "role": "files" })).await.expect(201);
    assert_eq!((&own.body["user"]["kind"], &own.body["user"]["email"]), (&json!("service"), &json!("sync@service.invalid")));
    let id = &own.body["user"]["id"];
    let made = ask(json!({ "name": "a", "permissions": ["files:read"], "user": id })).await.expect(201);
    assert_eq!(verify(&with_secret(&server, &made), "").await.expect(200).body["sub"], *id);
}

#[tokio::test]
async fn a_service_account_cannot_sign_in_and_is_no_admin_who_is_left() {
    let server = Server::start();
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    server.json(&["service", "add", "root", "--role", "admin"], "");
    let mut stranger = Actor::at(&server);
    for password in ["", PASSWORD] {
        assert!(stranger.login("root@service.invalid", password, "body").await.status >= 400);
    }
    assert_eq!(stranger.register("other@service.invalid", "body").await.outcome(), (400, "VALIDATION_FAILED"));
    let refused = server.command(&["user", "password", "root@service.invalid"], "another horse battery");
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("service account"), "{refused:?}");
    let last = admin.patch(&format!("/api/users/{}", admin.id), &json!({ "disabled": true })).await;
    assert_eq!(last.outcome(), (409, "LAST_ADMIN"), "nobody could administer");
    let taken = admin.post("/api/services", &json!({ "name": "root" })).await;
    assert_eq!(taken.outcome(), (409, "EMAIL_TAKEN"));
    for wrong in ["", "Root", "a b", "-a", "ä"] {
        assert_eq!(admin.post("/api/services", &json!({ "name": wrong })).await.outcome(), (400, "VALIDATION_FAILED"), "{wrong}");
    }
}

#[tokio::test]
async fn key_4_a_key_is_dead_with_its_owner_its_end_or_its_revocation_also_after_a_kill() {
    let mut server = Server::start();
    let mut admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let endings = ["key revoked", "all revoked", "disabled", "deleted", "password reset", "by the operator"];
    for ending in endings {
        admin.login("admin@example.org", PASSWORD, "body").await.expect(200);
        let email = format!("{}@example.org", ending.replace(' ', "-"));
        let user = Actor::with_role(&server, &email, "editor").await;
        let mut key = keyed(&user, &server, &["articles:read"]).await;
        key.me().await.expect(200);
        let token = key.post("/api/auth/token", &json!({})).await.expect(200).text_of("accessToken");
        let mut traded = Actor::bearing(&server, token);
        traded.me().await.expect(200);
        let path = format!("/api/users/{}", user.id);
        match ending {
            "key revoked" => drop(user.delete(&format!("/api/keys/{}", key.id)).await.expect(204)),
            "all revoked" => drop(admin.delete(&format!("{path}/keys")).await.expect(204)),
            "disabled" => drop(admin.patch(&path, &json!({ "disabled": true })).await.expect(200)),
            "deleted" => drop(admin.delete(&path).await.expect(204)),
            "password reset" => drop(server.json(&["user", "password", &email], "another horse battery")),
            _ => drop(server.json(&["api-key", "revoke", &key.id], "")),
        }
        for round in 0..2 {
            assert_eq!(key.me().await.status, 401, "{ending}, round {round}");
            assert_eq!(key.post("/api/auth/token", &json!({})).await.status, 401, "{ending}, round {round}");
            assert_eq!(traded.me().await.status, 401, "{ending}, round {round}: the token it was traded for");
            server.crash();
            (key, traded, admin) = (key.moved_to(&server), traded.moved_to(&server), admin.moved_to(&server));
        }
        assert_eq!(server.json(&["check"], "")["violations"], json!([]), "{ending}");
    }
}

#[tokio::test]
async fn key_4_a_key_ends_when_it_was_said_to() {
    let server = Server::with(&["keys.allow_endless=true"]);
    let ada = Actor::with_role(&server, "ada@example.org", "editor").await;
    let ask = async |expires: &str| {
        let body = json!({ "name": "a", "permissions": ["articles:read"], "expiresIn": expires });
        with_secret(&server, &ada.post("/api/keys", &body).await.expect(201))
    };
    let (short, endless) = (ask("1h").await, ask("never").await);
    let usual = keyed(&ada, &server, &["articles:read"]).await;
    assert!(short.me().await.expect(200).header("x-token-expires-in").is_some_and(|left| left == "3600" || left == "3599"));
    assert_eq!(endless.me().await.expect(200).header("x-token-expires-in"), None);
    server.advance(Duration::from_secs(3550));
    let token = short.post("/api/auth/token", &json!({})).await.expect(200);
    assert!(token.body["expiresIn"].as_u64().expect("seconds") <= 50, "no longer than the key");
    server.advance(Duration::from_secs(50));
    let expired = short.me().await;
    assert_eq!(expired.outcome(), (401, "TOKEN_EXPIRED"));
    server.advance(Duration::from_secs(89 * DAY));
    usual.me().await.expect(200);
    server.advance(Duration::from_secs(DAY));
    assert_eq!(usual.me().await.outcome(), (401, "TOKEN_EXPIRED"));
    endless.me().await.expect(200);
}

#[tokio::test]
async fn key_5_a_traded_token_is_no_more_than_its_key() {
    let server = Server::with(&["tokens.algorithm=EdDSA"]);
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let key = keyed(&admin, &server, &["articles:read", "users:read"]).await;
    let token = key.post("/api/auth/token", &json!({})).await.expect(200).text_of("accessToken");
    let said = claims(&token);
    assert_eq!((&said["sub"], &said["sid"], &said["amr"]), (&json!(admin.id), &json!(key.id), &json!(["key"])));
    assert_eq!((&said["role"], &said["permissions"]), (&Value::Null, &json!(["articles:read", "users:read"])));
    let traded = Actor::bearing(&server, token);
    traded.get("/api/users").await.expect(200);
    assert_eq!(verify(&traded, "?role=admin").await.outcome(), (403, "FORBIDDEN"));
    assert_eq!(verify(&traded, "?permission=users:write").await.outcome(), (403, "FORBIDDEN"));
    assert_eq!(traded.get("/api/keys").await.outcome(), (403, "SESSION_REQUIRED"));
    assert_eq!(traded.post("/api/auth/token", &json!({})).await.outcome(), (401, "INVALID_TOKEN"), "it is not traded on");
    // Signing out is for sessions: this token has none that it could end.
    traded.post("/api/auth/logout", &json!({})).await.expect(200);
    traded.me().await.expect(200);
    admin.set_role(&admin.id, "admin").await.expect(200);
    let second = Actor::with_role(&server, "second@example.org", "admin").await;
    second.set_role(&admin.id, "viewer").await.expect(200);
    assert_eq!(traded.me().await.outcome(), (401, "TOKEN_REVOKED"), "its permissions are others now");
    assert_eq!(verify(&key, "").await.expect(200).body["permissions"], json!(["articles:read"]));
}

#[tokio::test]
async fn a_key_is_replaced_while_both_secrets_are_good() {
    let mut server = Server::start();
    let ada = Actor::with_role(&server, "ada@example.org", "editor").await;
    let mut first = keyed(&ada, &server, &["articles:read"]).await;
    let path = format!("/api/keys/{}/rotate", first.id);
    let mut second = with_secret(&server, &ada.post(&path, &json!({ "overlap": "1h" })).await.expect(200));
    for _ in 0..2 {
        first.me().await.expect(200);
        second.me().await.expect(200);
        server.crash();
        (first, second) = (first.moved_to(&server), second.moved_to(&server));
    }
    server.advance(Duration::from_secs(3600));
    assert_eq!(first.me().await.outcome(), (401, "INVALID_TOKEN"));
    second.me().await.expect(200);
    let mut ada = ada.moved_to(&server);
    assert_eq!(ada.post(&path, &json!({})).await.outcome(), (401, "TOKEN_EXPIRED"));
    ada.login("ada@example.org", PASSWORD, "body").await.expect(200);
    let third = with_secret(&server, &ada.post(&path, &json!({})).await.expect(200));
    assert_eq!(second.me().await.outcome(), (401, "INVALID_TOKEN"), "without an overlap at once");
    third.me().await.expect(200);
    for overlap in ["25h", "x", ""] {
        assert_eq!(ada.post(&path, &json!({ "overlap": overlap })).await.outcome(), (400, "VALIDATION_FAILED"), "{overlap}");
    }
    let bob = Actor::with_role(&server, "bob@example.org", "admin").await;
    assert_eq!(bob.post(&path, &json!({})).await.outcome(), (404, "NOT_FOUND"), "somebody else's");
    assert_eq!(bob.delete(&format!("/api/keys/{}", third.id)).await.outcome(), (404, "NOT_FOUND"));

    // A service account has nobody who could sign in for it: an admin does it, or an operator.
    let service = server.json(&["service", "add", "backup", "--role", "viewer"], "")["id"].as_str().expect("an id").to_owned();
    let key = Actor::with_api_key(&server, "backup", &["articles:read"]);
    let path = |owner: &str, key: &str| format!("/api/users/{owner}/keys/{key}/rotate");
    let next = with_secret(&server, &bob.post(&path(&service, &key.id), &json!({ "overlap": "1h" })).await.expect(200));
    assert_eq!(bob.post(&path(&ada.id, &third.id), &json!({})).await.outcome(), (403, "FORBIDDEN"), "a person's is theirs");
    assert_eq!(bob.post(&path(&service, &third.id), &json!({})).await.outcome(), (404, "NOT_FOUND"), "not the service's");
    let last = server.json(&["api-key", "rotate", &key.id, "--overlap", "2h"], "");
    assert_eq!(last["key"]["owner"], "backup@service.invalid");
    let last = Actor::bearing(&server, last["secret"].as_str().expect("a secret").to_owned());
    assert_eq!(key.me().await.outcome(), (401, "INVALID_TOKEN"), "two are good, and no third");
    next.me().await.expect(200);
    last.me().await.expect(200);
    let refused = server.command(&["api-key", "rotate", &key.id, "--overlap", "25h"], "");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--overlap: must be"), "{refused:?}");
}

#[tokio::test]
async fn key_7_each_key_has_a_limit_of_its_own() {
    let server = Server::with(&["limits.api_key_per_minute=20"]);
    let ada = Actor::with_role(&server, "ada@example.org", "editor").await;
    let (busy, idle) = (keyed(&ada, &server, &["articles:read"]).await, keyed(&ada, &server, &["articles:read"]).await);
    for _ in 0..20 {
        busy.me().await.expect(200);
    }
    let limited = busy.me().await;
    assert_eq!(limited.outcome(), (429, "RATE_LIMITED"));
    assert!(limited.header("retry-after").is_some() && limited.header("ratelimit-policy").is_some_and(|p| p.contains("api-key")));
    idle.me().await.expect(200);
    ada.me().await.expect(200);
}

/// Each key that is revoked is remembered for as long as tokens live, by us and by whoever reads the feed.
#[tokio::test]
async fn key_7_so_many_keys_are_made_in_a_minute() {
    let server = Server::start();
    let ada = Actor::with_role(&server, "ada@example.org", "editor").await;
    let mut made = 0;
    let limited = loop {
        let answer = ada.post("/api/keys", &json!({ "name": "a", "permissions": ["articles:read"] })).await;
        if answer.status != 201 {
            break answer;
        }
        made += 1;
        ada.delete(&format!("/api/keys/{}", answer.body["key"]["id"].as_str().expect("an id"))).await.expect(204);
    };
    assert_eq!(limited.outcome(), (429, "RATE_LIMITED"));
    assert!((60..70).contains(&made), "{made}");
    let bob = Actor::with_role(&server, "bob@example.org", "editor").await;
    keyed(&bob, &server, &["articles:read"]).await.me().await.expect(200);
}

#[tokio::test]
async fn there_are_so_many_keys_and_no_more() {
    let server = Server::start();
    let ada = Actor::with_role(&server, "ada@example.org", "editor").await;
    for _ in 0..50 {
        keyed(&ada, &server, &["articles:read"]).await;
    }
    let body = json!({ "name": "a", "permissions": ["articles:read"] });
    assert_eq!(ada.post("/api/keys", &body).await.outcome(), (409, "TOO_MANY_KEYS"));
    let one = ada.get("/api/keys").await.expect(200).body["keys"][0]["id"].as_str().expect("an id").to_owned();
    ada.delete(&format!("/api/keys/{one}")).await.expect(204);
    ada.post("/api/keys", &body).await.expect(201);
}

/// A proxy hands on what it was sent: in one of three forms, and one at a time.
#[tokio::test]
async fn key_3_at_verify_all_three_forms_are_one() {
    for basic in [false, true] {
        let server = Server::with(&[&format!("keys.basic={basic}")]);
        let ada = Actor::with_role(&server, "ada@example.org", "editor").await;
        let key = keyed(&ada, &server, &["articles:read"]).await.access.expect("a secret");
        let encoded = data_encoding::BASE64.encode(format!("git:{key}").as_bytes());
        let visitor = Actor::at(&server);
        let ask = |headers: &[&(&str, String)], query: &str| {
            let request = visitor.request("GET", &format!("/api/auth/verify{query}"));
            send(headers.iter().fold(request, |request, (name, value)| request.header(*name, value)))
        };
        let (x_api_key, in_basic) = (("x-api-key", key.clone()), ("authorization", format!("Basic {encoded}")));
        let bearer = ("authorization", format!("Bearer {key}"));
        let mut forms = vec![bearer.clone(), x_api_key.clone()];
        if basic {
            forms.push(in_basic.clone());
        } else {
            assert_eq!(ask(&[&in_basic], "").await.outcome(), (401, "INVALID_FORMAT"));
        }
        for form in forms {
            ask(&[&form], "?permission=articles:read").await.expect(200);
            for query in ["?permission=articles:write", "?role=editor"] {
                assert_eq!(ask(&[&form], query).await.outcome(), (403, "FORBIDDEN"), "{form:?} {query}");
            }
        }
        for pair in [[&x_api_key, &bearer], [&x_api_key, &in_basic], [&x_api_key, &x_api_key]] {
            assert_eq!(ask(&pair, "").await.outcome(), (400, "INVALID_REQUEST"), "{pair:?}");
        }
        let challenges = ask(&[], "").await;
        // It comes first: nginx hands on no more than one challenge.
        assert_eq!(challenges.header("www-authenticate").is_some_and(|first| first.starts_with("Basic ")), basic);
        if basic {
            let wrong = data_encoding::BASE64.encode(format!("git:{key}x").as_bytes());
            let again = ask(&[&("authorization", format!("Basic {wrong}"))], "").await;
            assert!(again.header("www-authenticate").is_some_and(|first| first.starts_with("Basic ")), "{:?}", again.headers);
        }
        // Nowhere else.
        for header in [x_api_key, in_basic] {
            let answer = send(visitor.request("GET", "/api/users/me").header(header.0, &header.1)).await;
            assert_eq!(answer.status, 401, "{}", answer.text);
        }
        // A password in Basic is never an access token.
        let token = data_encoding::BASE64.encode(format!("x:{}", ada.access.as_deref().expect("a token")).as_bytes());
        assert_eq!(ask(&[&("authorization", format!("Basic {token}"))], "").await.status, 401);
    }
}
