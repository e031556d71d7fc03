//! The commands for API keys, and what is kept of their use.

use crate::support::{Actor, PASSWORD, Server};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn the_commands_make_list_and_revoke_keys_also_of_a_stopped_server() {
    let mut server = Server::start();
    server.json(&["user", "add", "ada@example.org", "--role", "editor"], PASSWORD);
    server.json(&["service", "add", "backup", "--role", "viewer"], "");
    let add = ["api-key", "add", "backup", "--name", "nightly", "--permission", "articles:read"];
    let text = String::from_utf8(server.command(&add, "").stdout).expect("text");
    assert!(text.starts_with("dwk_") && text.contains("shown this once"), "{text}");
    let key = Actor::bearing(&server, text.lines().next().expect("a line").to_owned());
    key.me().await.expect(200);
    for (name, permission, expires, told) in [
        ("a", "articles:write", "1h", "the role viewer does not grant articles:write; it grants articles:read"),
        ("a", "articles:*", "1h", "the role viewer does not grant articles:*; it grants articles:read"),
        ("a", "articles:reed", "1h", "no role in [roles] names articles:reed"),
        ("a", "articles:read", "30", "--expires: must be a duration of 1h to 365d"),
        ("a\nb", "articles:read", "1h", "--name: must be 1 to 64 characters in one line"),
    ] {
        let refused = server.command(&["api-key", "add", "backup", "--name", name, "--permission", permission, "--expires", expires], "");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(told), "{refused:?}");
    }
    let live = server.json(&["api-key", "list"], "");
    server.stop();
    let stopped = server.json(&["api-key", "list", "backup"], "");
    assert_eq!((&stopped[0]["owner"], &stopped[0]["id"]), (&json!("backup@service.invalid"), &live[0]["id"]));
    let id = live[0]["id"].as_str().expect("an id").to_owned();
    server.json(&["api-key", "revoke", &id], "");
    server.start_again();
    assert_eq!(key.moved_to(&server).me().await.outcome(), (401, "INVALID_TOKEN"));
    assert_eq!(server.json(&["api-key", "list"], ""), json!([]));
    let unknown = server.command(&["api-key", "revoke", &id], "");
    assert!(!unknown.status.success() && String::from_utf8_lossy(&unknown.stderr).contains("no API key"), "{unknown:?}");
}

#[tokio::test]
async fn key_6_when_a_key_was_used_is_written_by_the_sweep() {
    let mut server = Server::start();
    server.json(&["user", "add", "ada@example.org", "--role", "editor"], PASSWORD);
    let key = Actor::with_api_key(&server, "ada@example.org", &["articles:read"]);
    assert_eq!(server.json(&["api-key", "list"], "")[0]["lastUsedAt"], Value::Null);
    key.me().await.expect(200);
    assert!(server.json(&["api-key", "list"], "")[0]["lastUsedAt"].is_string());
    let swept = server.log().matches("swept").count();
    assert!(server.command(&["clock", "1", "--slept"], "").status.success());
    while server.log().matches("swept").count() == swept {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.crash();
    assert!(server.json(&["api-key", "list"], "")[0]["lastUsedAt"].is_string(), "it was written");
    // And at the end.
    let second = Actor::with_api_key(&server, "ada@example.org", &["articles:read"]);
    second.me().await.expect(200);
    assert!(server.stop().success());
    let keys = server.json(&["api-key", "list"], "");
    assert!(keys.as_array().expect("keys").iter().all(|key| key["lastUsedAt"].is_string()), "{keys}");
}
