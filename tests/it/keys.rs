//! The keys that sign tokens: their algorithms, what is published of them, and how they are replaced.

use crate::support::{Actor, PASSWORD, Server, claims, send};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const HOUR: u64 = 3600;
/// Issuer and cookies stay the same when a restart takes another port.
const SITE: &str = "server.public_url=http://localhost:3000";

fn server(algorithm: &str) -> Server {
    Server::with(&[SITE, &format!("tokens.algorithm={algorithm}")])
}

async fn published(server: &Server) -> Vec<Value> {
    let answer = Actor::at(server).get("/.well-known/jwks.json").await.expect(200);
    answer.body["keys"].as_array().expect("a list").clone()
}

async fn key_ids(server: &Server) -> Vec<String> {
    published(server).await.iter().map(|key| key["kid"].as_str().expect("an id").to_owned()).collect()
}

/// The header of the access token that an actor has.
fn header(actor: &Actor) -> Value {
    let token = actor.access.as_deref().expect("a token");
    let part = token.split('.').next().expect("a header");
    serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url")).expect("JSON")
}

/// Lets so much time pass, and waits until the server has done what is then due.
async fn pass(server: &Server, hours: u64, is_done: impl AsyncFn() -> bool) {
    let output = server.command(&["clock", &(hours * HOUR).to_string(), "--slept"], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let begun = Instant::now();
    while !is_done().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "not done");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn keyring(server: &Server) -> String {
    std::fs::read_to_string(server.data_dir().join("keyring")).expect("a keyring")
}

/// The private parts and secrets in a keyring's file.
fn secrets(server: &Server) -> Vec<String> {
    let file: Value = serde_json::from_str(&keyring(server)).expect("JSON");
    let rings = ["access", "oidc", "refresh", "hash", "csrf"].into_iter();
    let keys = rings.flat_map(|ring| file[ring].as_array().expect("a ring").clone());
    keys.flat_map(|key| ["secret", "private"].map(|part| key[part].as_str().map(str::to_owned))).flatten().collect()
}

#[tokio::test]
async fn ops_3_a_switch_of_the_algorithm_signs_nobody_out() {
    let mut server = Server::with(&[SITE]);
    let mut app = Actor::registered_with_tokens(&server, "ada@example.org").await;
    assert_eq!(
        (header(&app)["alg"].as_str(), claims(app.access.as_deref().expect("a token"))["iss"].as_str()),
        (Some("HS256"), Some("doorward"))
    );
    assert_eq!(published(&server).await, Vec::<Value>::new(), "there is nothing to publish of a secret");
    let mut tokens = vec![app.access.clone()];
    for (algorithm, type_) in [("EdDSA", "OKP"), ("RS256", "RSA"), ("ES256", "EC"), ("HS256", "")] {
        server.stop();
        server.set("tokens.algorithm", algorithm);
        server.start_again();
        app = app.moved_to(&server);
        app.refresh().await.expect(200);
        assert_eq!(header(&app)["alg"], algorithm);
        let issuer = if algorithm == "HS256" { "doorward" } else { "http://localhost:3000" };
        assert_eq!(claims(app.access.as_deref().expect("a token"))["iss"], issuer);
        let keys = published(&server).await;
        assert!(type_.is_empty() || keys.iter().any(|key| key["kty"] == type_ && key["kid"] == header(&app)["kid"]), "{keys:?}");
        tokens.push(app.access.clone());
        for token in &tokens {
            app.access.clone_from(token);
            app.me().await.expect(200);
        }
    }
    let kinds: Vec<_> = published(&server).await.iter().map(|key| key["kty"].as_str().expect("a kind").to_owned()).collect();
    assert_eq!(kinds, ["EC", "RSA", "OKP"], "each until its tokens are over");
}

/// RFC 7517, RFC 7518 §6, RFC 8037 §2: the members of each kind, and not one that is private.
#[tokio::test]
async fn the_published_keys_are_public_and_can_be_cached() {
    for (algorithm, members) in [
        ("EdDSA", &["alg", "crv", "kid", "kty", "use", "x"][..]),
        ("ES256", &["alg", "crv", "kid", "kty", "use", "x", "y"]),
        ("RS256", &["alg", "e", "kid", "kty", "n", "use"]),
    ] {
        let server = Server::with(&[&format!("tokens.algorithm={algorithm}"), "cors.allowed_origins=[\"https://app.example.org\"]"]);
        let visitor = Actor::at(&server);
        let answer = visitor.get("/.well-known/jwks.json").await.expect(200);
        let [key] = &answer.body["keys"].as_array().expect("a list")[..] else { panic!("one key: {}", answer.text) };
        assert_eq!(key.as_object().expect("a key").keys().collect::<Vec<_>>(), members);
        assert_eq!((&key["alg"], &key["use"]), (&algorithm.into(), &"sig".into()));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=900"));
        let tag = answer.header("etag").expect("a tag").to_owned();
        let again = send(visitor.request("GET", "/.well-known/jwks.json").header("if-none-match", &tag)).await.expect(304);
        assert_eq!((again.header("etag"), again.text.as_str()), (Some(tag.as_str()), ""));
        for origin in ["https://app.example.org", "https://anywhere.example.org"] {
            let answer = send(visitor.request("GET", "/.well-known/jwks.json").header("origin", origin)).await.expect(200);
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
            assert_eq!(answer.header("access-control-allow-credentials"), None);
            assert_eq!(answer.header("cross-origin-resource-policy"), Some("cross-origin"));
        }
    }
}

#[tokio::test]
async fn ops_3_a_key_is_published_two_days_before_it_signs_and_until_its_tokens_are_over() {
    let server = server("EdDSA");
    let mut app = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let first = header(&app)["kid"].as_str().expect("an id").to_owned();
    let rotated = server.json(&["key", "rotate"], "");
    assert_eq!(rotated["changes"][0]["change"], "published");
    let second = rotated["changes"][0]["key"].as_str().expect("an id").to_owned();
    assert_eq!(key_ids(&server).await, [second.clone(), first.clone()]);
    let refused = server.command(&["key", "rotate"], "");
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("published already"), "{refused:?}");
    app.refresh().await.expect(200);
    assert_eq!(header(&app)["kid"], *first, "it signs nothing yet");
    let kept = secrets(&server);

    pass(&server, 48, async || server.json(&["key", "list"], "")[0]["state"] == "current").await;
    app.refresh().await.expect(200);
    assert_eq!(header(&app)["kid"], *second);
    assert_eq!(key_ids(&server).await, [second.clone(), first.clone()]);
    let left = secrets(&server);
    assert_eq!(kept.iter().filter(|secret| !left.contains(secret)).count(), 1, "the private part of the first is gone");
    assert_eq!(left.len(), kept.len() - 1);
    assert!(keyring(&server).contains(&first), "its public part is not");

    pass(&server, 49, async || key_ids(&server).await.len() == 1).await;
    assert_eq!(key_ids(&server).await, [second]);
    assert!(!keyring(&server).contains(&first));
    app.refresh().await.expect(200);
    app.me().await.expect(200);
    for event in ["key_published", "key_in_use", "key_removed"] {
        assert!(server.log().contains(event), "no {event} in the log");
    }
}

#[tokio::test]
async fn a_pair_is_replaced_by_itself_every_half_year_and_a_secret_never() {
    let (pairs, secret) = (server("ES256"), Server::with(&[SITE]));
    let first = key_ids(&pairs).await;
    pass(&pairs, 24 * 178 + 1, async || key_ids(&pairs).await.len() == 2).await;
    pass(&pairs, 48, async || pairs.json(&["key", "list"], "")[0]["state"] == "current").await;
    pass(&pairs, 49, async || key_ids(&pairs).await.len() == 1).await;
    assert_ne!(key_ids(&pairs).await, first);
    let before = keyring(&secret);
    let swept = secret.log().matches("swept").count();
    pass(&secret, 24 * 1000, async || secret.log().matches("swept").count() > swept).await;
    assert_eq!(keyring(&secret), before);
}

#[tokio::test]
async fn a_stopped_servers_keys_are_replaced_by_their_own_kind() {
    let mut server = server("EdDSA");
    assert!(server.stop().success());
    // A command that does not know the server's settings.
    server.unset("tokens.algorithm");
    let listed = server.json(&["key", "rotate"], "");
    assert_eq!(listed["keys"][0]["algorithm"], "EdDSA", "{listed}");
    assert_eq!((&listed["keys"][0]["state"], &listed["keys"][1]["state"]), (&json!("next"), &json!("current")), "{listed}");
    let replaced = server.json(&["key", "rotate", "--emergency", "--yes"], "");
    assert_eq!((&replaced["keys"][0]["algorithm"], &replaced["keys"][0]["state"]), (&json!("EdDSA"), &json!("current")), "{replaced}");
}

#[tokio::test]
async fn the_commands_say_the_same_of_a_stopped_server() {
    let mut server = server("EdDSA");
    let live = server.json(&["key", "list"], "");
    assert_eq!(
        live.as_array().expect("a list").iter().map(|key| key["purpose"].as_str().expect("text")).collect::<Vec<_>>(),
        ["access", "refresh", "hash", "csrf"]
    );
    server.stop();
    assert_eq!(server.json(&["key", "list"], ""), live);
    let rotated = server.json(&["key", "rotate", "--algorithm", "ES256"], "");
    assert_eq!(rotated["changes"][0]["change"], "published");
    let listed = String::from_utf8(server.command(&["key", "list"], "").stdout).expect("text");
    assert!(listed.contains("in use once tokens.algorithm = \"ES256\""), "{listed}");
    assert!(secrets(&server).iter().all(|secret| !listed.contains(secret)));
    server.set("tokens.algorithm", "ES256");
    server.start_again();
    assert_eq!(server.json(&["key", "list"], "")[0]["id"], rotated["changes"][0]["key"], "the key that was published is taken");
    let refused = server.command(&["key", "rotate", "--algorithm", "ES512"], "");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("HS256, EdDSA, ES256, RS256"), "{refused:?}");
}

#[tokio::test]
async fn in_an_emergency_the_key_is_gone_at_once_and_sign_ins_go_on() {
    for algorithm in ["HS256", "EdDSA"] {
        let mut server = server(algorithm);
        let mut app = Actor::registered_with_tokens(&server, "ada@example.org").await;
        let (before, stolen) = (header(&app)["kid"].clone(), secrets(&server));
        let unasked = server.command(&["key", "rotate", "--emergency"], "");
        assert!(!unasked.status.success() && String::from_utf8_lossy(&unasked.stderr).contains("--yes"), "{unasked:?}");
        app.me().await.expect(200);
        server.json(&["key", "rotate", "--emergency", "--yes"], "");
        assert!(!key_ids(&server).await.iter().any(|id| before == **id), "no longer published");
        assert_eq!(app.me().await.outcome(), (401, "INVALID_TOKEN"));
        assert_eq!(secrets(&server).iter().filter(|secret| !stolen.contains(secret)).count(), 1, "one is new");
        assert_eq!(secrets(&server).len(), stolen.len(), "and the former one is gone");
        let old = app.access.clone();
        app.refresh().await.expect(200);
        app.me().await.expect(200);
        server.crash();
        app = app.moved_to(&server);
        app.me().await.expect(200);
        app.access = old;
        assert_eq!(app.me().await.outcome(), (401, "INVALID_TOKEN"));
    }
}

/// Somebody has a copy of the data directory, and with it every key.
#[tokio::test]
async fn when_everything_was_stolen_everything_is_replaced() {
    let mut server = server("RS256");
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let mut app = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let invite = admin.post("/api/invites", &serde_json::json!({})).await.expect(201).text_of("code");
    let stolen = secrets(&server);
    let text = String::from_utf8(server.command(&["key", "rotate", "--emergency", "--all", "--yes"], "").stdout).expect("text");
    assert!(text.contains("refresh") && text.contains("hash") && text.contains("csrf"), "{text}");
    assert!(secrets(&server).iter().all(|secret| !stolen.contains(secret)), "all are new");
    for round in 0..2 {
        assert_eq!(app.me().await.outcome(), (401, "INVALID_TOKEN"));
        assert_eq!(app.try_refresh().await.outcome(), (401, "INVALID_REFRESH_TOKEN"));
        let mut guest = Actor::at(&server);
        let body = serde_json::json!({ "email": "eve@example.org", "password": PASSWORD, "inviteCode": invite });
        assert!(guest.post("/api/auth/register", &body).await.status >= 400, "the invitation is void");
        guest.login("ada@example.org", PASSWORD, "body").await.expect(200);
        guest.refresh().await.expect(200);
        assert_eq!(guest.get("/api/auth/sessions").await.body["sessions"].as_array().expect("a list").len(), round + 1);
        server.crash();
        app = app.moved_to(&server);
    }
    let report = server.json(&["check"], "");
    assert_eq!(report["violations"], serde_json::json!([]));
}

#[tokio::test]
async fn an_operators_own_secret_is_not_rotated_here_and_is_no_pair() {
    let secret = [("DOORWARD_ACCESS_SECRET", "q3vYp0mXz7Rk1tW9sB5nH2dL8fJ4gC6aE0uT")];
    let mut server = Server::with_environment(&[], &secret);
    for arguments in [&["key", "rotate"][..], &["key", "rotate", "--emergency", "--yes"]] {
        let refused = server.command(arguments, "");
        assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("DOORWARD_ACCESS_SECRET"), "{refused:?}");
    }
    assert_eq!(server.json(&["key", "list"], "")[0]["state"], "operator");
    server.stop();
    server.set("tokens.algorithm", "EdDSA");
    let refused = server.command(&["config", "check"], "");
    assert_eq!(refused.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("DOORWARD_ACCESS_SECRET"), "{refused:?}");
}

#[tokio::test]
async fn a_keyring_that_cannot_be_written_stays_what_it_was() {
    let server = server("EdDSA");
    let app = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let before = keyring(&server);
    // A directory in place of the file: it can be neither removed nor written.
    std::fs::create_dir(server.data_dir().join("keyring.next")).expect("made");
    for arguments in [&["key", "rotate"][..], &["key", "rotate", "--emergency", "--yes"]] {
        let failed = server.command(arguments, "");
        assert!(!failed.status.success() && String::from_utf8_lossy(&failed.stderr).contains("nothing was changed"), "{failed:?}");
    }
    assert_eq!(keyring(&server), before);
    app.me().await.expect(200);
}

/// OPS-1: whatever moment a kill comes at, the next start has the former keys or the new ones, and signs with them.
#[tokio::test]
async fn ops_1_a_kill_during_a_rotation_leaves_keys_that_work() {
    const KILLS: u64 = 20;
    let mut server = server("EdDSA");
    let mut app = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let mut replaced = 0;
    for kill in 0..KILLS {
        let before = keyring(&server);
        std::thread::scope(|scope| {
            let rotation = scope.spawn(|| server.command(&["key", "rotate", "--emergency", "--yes"], ""));
            // From before the command has begun until after it is done.
            std::thread::sleep(Duration::from_millis(kill));
            rustix::process::kill_process(
                rustix::process::Pid::from_raw(server.pid().try_into().expect("a pid")).expect("a pid"),
                rustix::process::Signal::KILL,
            )
            .expect("killed");
            drop(rotation.join());
        });
        server.crash();
        replaced += u64::from(keyring(&server) != before);
        app = app.moved_to(&server);
        app.refresh().await.expect(200);
        app.me().await.expect(200);
        assert!(key_ids(&server).await.contains(&header(&app)["kid"].as_str().expect("an id").to_owned()));
    }
    assert!(replaced > 0, "no kill came late enough");
    println!("{KILLS} kills during a rotation, {replaced} after the keys were replaced");
}
