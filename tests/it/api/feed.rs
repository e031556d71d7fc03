//! The feed of revocations, for services that verify tokens by themselves.

use crate::support::{Actor, Server, claims, send};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A service that may read the feed, and an administrator.
async fn reader(server: &Server) -> (Actor, Actor) {
    let admin = Actor::with_role(server, "admin@example.org", "admin").await;
    server.json(&["service", "add", "gateway", "--role", "admin"], "");
    (Actor::with_api_key(server, "gateway", &["tokens:introspect"]), admin)
}

async fn page(reader: &Actor, query: &str) -> Value {
    reader.get(&format!("/api/revocations{query}")).await.expect(200).body
}

/// A page of all that there is, and its cursor.
async fn start(reader: &Actor) -> (Value, String) {
    let page = page(reader, "").await;
    assert_eq!(page["startsAnew"], true);
    let cursor = page["cursor"].as_str().expect("a cursor").to_owned();
    (page, cursor)
}

/// The change of this type whose member has this value.
fn change<'a>(page: &'a Value, kind: &str, member: &str, value: &Value) -> &'a Value {
    let found = page["changes"].as_array().expect("changes").iter().find(|change| change["type"] == kind && change[member] == *value);
    found.unwrap_or_else(|| panic!("no {kind} with {member} {value}: {page}"))
}

fn token(actor: &Actor) -> Value {
    claims(actor.access.as_deref().expect("a token"))
}

#[tokio::test]
async fn rev_10_a_reader_is_told_of_every_revocation_and_until_when_it_matters() {
    let mut server = Server::with(&["tokens.algorithm=EdDSA"]);
    let (reader, admin) = reader(&server).await;
    let (mut ada, mut bob) =
        (Actor::registered_with_tokens(&server, "ada@example.org").await, Actor::registered_with_tokens(&server, "bob@example.org").await);
    let cleo = Actor::registered_with_tokens(&server, "cleo@example.org").await;
    let (empty, cursor) = start(&reader).await;
    assert_eq!(empty["changes"], json!([]));
    let (adas, bobs, cleos) = (token(&ada), token(&bob), token(&cleo));

    admin.set_role(&ada.id, "editor").await.expect(200);
    bob.logout().await.expect(200);
    let form = format!("token={}", cleo.access.as_deref().expect("a token"));
    let revoke = reader.bearer("POST", "/oauth2/revoke").header("content-type", "application/x-www-form-urlencoded");
    send(revoke.body(form)).await.expect(200);
    server.json(&["key", "rotate", "--emergency", "--yes"], "");

    let told = page(&reader, &format!("?since={cursor}")).await;
    let (whole, _) = start(&reader).await;
    assert_eq!(told["startsAnew"], false);
    for page in [&told, &whole] {
        let voided = change(page, "user", "sub", &adas["sub"]);
        assert!(voided["leastVersion"].as_u64() > adas["ver"].as_u64(), "{voided}");
        let ended = change(page, "session", "sid", &bobs["sid"]);
        let revoked = change(page, "token", "jti", &cleos["jti"]);
        let all = page["changes"].as_array().expect("changes").iter().find(|change| change["type"] == "notBefore").expect("one");
        assert!(all["iat"].as_u64() > cleos["iat"].as_u64(), "{all}");
        for (change, token) in [(voided, &adas), (ended, &bobs), (revoked, &cleos), (all, &cleos)] {
            assert!(change["until"].as_u64() >= token["exp"].as_u64(), "{change}: {token}");
        }
    }
    change(&told, "keys", "until", &Value::Null);

    // After a crash, what was revoked is told to whoever comes with a cursor from before.
    ada.refresh().await.expect(200);
    server.crash();
    let reader = reader.moved_to(&server);
    let cursor = told["cursor"].as_str().expect("a cursor");
    let anew = page(&reader, &format!("?since={cursor}&wait=30s")).await;
    assert_eq!(anew["startsAnew"], true);
    change(&anew, "session", "sid", &bobs["sid"]);
    // By then, the last token that this could be about is over.
    server.advance(Duration::from_secs(3600));
    let (empty, _) = start(&reader).await;
    assert_eq!(empty["startsAnew"], true);
}

#[tokio::test]
async fn rev_10_a_waiting_reader_is_told_within_a_second() {
    let server = Server::start();
    let (reader, admin) = reader(&server).await;
    let mut ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let (_, cursor) = start(&reader).await;
    let revoke = async {
        ada.logout().await.expect(200);
        Instant::now()
    };
    let wait = async {
        let page = page(&reader, &format!("?since={cursor}&wait=30s")).await;
        (page, Instant::now())
    };
    let ((page, told), revoked) = tokio::join!(wait, revoke);
    assert!(told.saturating_duration_since(revoked) < Duration::from_secs(1));
    change(&page, "session", "sid", &token(&ada)["sid"]);

    // Nothing new is an empty page, and the cursor stays good.
    let cursor = page["cursor"].as_str().expect("a cursor");
    let nothing = self::page(&reader, &format!("?since={cursor}&wait=100ms")).await;
    assert_eq!(nothing, json!({ "cursor": cursor, "startsAnew": false, "changes": [] }));

    // Whoever loses the key while waiting is told no more.
    let path = format!("/api/revocations?since={cursor}&wait=30s");
    let (answer, _) = tokio::join!(reader.get(&path), async { server.json(&["api-key", "revoke", &reader.id], "") });
    assert_eq!(answer.status, 401, "{}", answer.text);
    // A person with the permission may read it, too.
    start(&admin).await;
}

#[tokio::test]
async fn a_wait_is_a_duration_of_less_than_a_minute() {
    let server = Server::start();
    let (reader, _) = reader(&server).await;
    for query in ["cursor=x", "wait=1s&sinc=x"] {
        assert_eq!(reader.get(&format!("/api/revocations?{query}")).await.outcome(), (400, "VALIDATION_FAILED"), "{query}");
    }
    for wait in ["46s", "1h", "30", "x", "", "-1s", "5s&wait=5s"] {
        let answer = reader.get(&format!("/api/revocations?wait={wait}")).await;
        assert_eq!(answer.outcome(), (400, "VALIDATION_FAILED"), "{wait}: {}", answer.text);
    }
    // What is no cursor of ours starts anew.
    for cursor in ["", "x", "0123456789abcdef-1", "%00", &"9".repeat(500)] {
        assert_eq!(page(&reader, &format!("?since={cursor}&wait=45s")).await["startsAnew"], true, "{cursor}");
    }
}

/// An open stream of events.
struct Stream {
    answer: reqwest::Response,
    text: String,
}

impl Stream {
    async fn open(reader: &Actor, last: Option<&str>) -> Self {
        let mut request = reader.bearer("GET", "/api/revocations").header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        for (name, value) in [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")] {
            assert_eq!(answer.headers()[name], value);
        }
        Self { answer, text: String::new() }
    }

    /// The next event that is not a mere sign of life: its id and its data.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                if let (Some(id), Some(data)) = (field("id:"), field("data:")) {
                    assert_eq!(field("event:").as_deref(), Some("revocations"));
                    return Some((id, serde_json::from_str(&data).expect("JSON")));
                }
            }
            let chunk = self.answer.chunk().await.ok().flatten()?;
            self.text.push_str(str::from_utf8(&chunk).expect("text"));
        }
    }
}

#[tokio::test]
async fn rev_10_a_stream_goes_on_until_the_server_stops_and_resumes_at_the_last_event() {
    let mut server = Server::start();
    let (reader, _) = reader(&server).await;
    let mut ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let mut bob = Actor::registered_with_tokens(&server, "bob@example.org").await;
    let mut stream = Stream::open(&reader, None).await;
    let (id, all) = stream.next().await.expect("a page");
    assert_eq!((&all["startsAnew"], &all["cursor"]), (&json!(true), &json!(id)));
    ada.logout().await.expect(200);
    let (_, page) = stream.next().await.expect("a page");
    change(&page, "session", "sid", &token(&ada)["sid"]);
    drop(stream);
    bob.logout().await.expect(200);
    let mut stream = Stream::open(&reader, Some(&id)).await;
    let (_, page) = stream.next().await.expect("a page");
    assert_eq!(page["startsAnew"], false);
    for actor in [&ada, &bob] {
        change(&page, "session", "sid", &token(actor)["sid"]);
    }
    let begun = Instant::now();
    let (ended, status) = tokio::join!(stream.next(), tokio::task::spawn_blocking(move || server.stop()));
    assert_eq!(ended, None);
    assert!(status.expect("stopped").success());
    assert!(begun.elapsed() < Duration::from_secs(9), "nobody waits for readers to leave");
}

#[tokio::test]
async fn key_4_a_stream_ends_with_the_key_that_opened_it() {
    let server = Server::start();
    let (_, admin) = reader(&server).await;
    for revoke in [
        |server: &Server, id: &str| drop(server.json(&["api-key", "revoke", id], "")),
        |server: &Server, _: &str| drop(server.json(&["user", "role", "gateway@service.invalid", "viewer"], "")),
    ] {
        let reader = Actor::with_api_key(&server, "gateway", &["tokens:introspect"]);
        let mut stream = Stream::open(&reader, None).await;
        stream.next().await.expect("a page");
        revoke(&server, &reader.id);
        assert_eq!(stream.next().await, None);
    }
    // Another's goes on.
    Stream::open(&admin, None).await.next().await.expect("a page");
}
