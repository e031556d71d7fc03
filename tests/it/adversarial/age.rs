//! A database in long use: many rotations, expiry, older copies put back, clocks that jump.

use super::disk::until;
use crate::support::{Actor, PASSWORD, Server, TURN};
use std::{path::Path, process::Command, time::Duration};

/// The size in bytes of all files below a directory.
fn size(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry"));
    entries.map(|entry| if entry.path().is_dir() { size(&entry.path()) } else { entry.metadata().expect("a file").len() }).sum()
}

#[tokio::test]
async fn sto_12_rotations_do_not_make_the_database_grow() {
    const SESSIONS: usize = 50;
    let _turn = TURN.lock().await;
    let rotations: usize = std::env::var("DOORWARD_TEST_ROTATIONS").map_or(3000, |n| n.parse().expect("a number"));
    let limits = [
        ("limits.register_burst", "fifty sessions of fifty users"),
        ("limits.refresh_per_minute", "thousands of rotations"),
        ("limits.hashes_per_minute", "fifty users"),
    ];
    let server = Server::lifting(&limits, &["log.level=warn"]);
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..SESSIONS {
        let mut actor = Actor::registered_with_tokens(&server, &format!("user{i}@example.org")).await;
        tasks.spawn(async move {
            for _ in 0..rotations.div_ceil(SESSIONS) {
                actor.refresh().await.expect(200);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("every rotation succeeds");
    }
    let bytes = size(&server.data_dir().join("db"));
    println!("{rotations} rotations over {SESSIONS} sessions: {bytes} bytes");
    assert!(bytes <= 16 * 1024 * 1024, "{bytes} bytes after {rotations} rotations");
    let blobs = server.data_dir().join("db/blobs");
    assert!(!blobs.exists() || size(&blobs) == 0, "no row is so long that sled gives it a file");
}

#[tokio::test]
async fn sto_14_an_older_copy_of_the_database_revives_nothing() {
    let mut server = Server::start();
    let mut ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let logged_out = ada.clone();
    assert!(server.stop().success());
    let (live, copy) = (server.data_dir().join("db"), server.dir.path().join("copy"));
    duplicate(&live, &copy);
    server.start_again();
    ada = ada.moved_to(&server);
    ada.logout().await.expect(200);
    let mut later = Actor::at(&server);
    later.login("ada@example.org", PASSWORD, "body").await.expect(200);
    assert!(server.stop().success());
    std::fs::remove_dir_all(&live).expect("removed");
    duplicate(&copy, &live);
    server.start_again();
    assert!(server.log().contains("state_rollback"));
    let check = server.command(&["check"], "");
    assert_eq!(check.status.code(), Some(65), "it is not as it was written");
    assert!(String::from_utf8_lossy(&check.stdout).contains("older than when it was last seen"), "{check:?}");
    for old in [logged_out, ada, later] {
        let mut old = old.moved_to(&server);
        assert_eq!(old.me().await.outcome(), (401, "TOKEN_REVOKED"));
        assert_eq!(old.refresh().await.status, 401);
    }
    // Whoever has signed in again stays signed in, however soon the server is killed.
    let mut again = Actor::at(&server);
    again.login("ada@example.org", PASSWORD, "body").await.expect(200);
    server.crash();
    again = again.moved_to(&server);
    again.me().await.expect(200);
    again.refresh().await.expect(200);
    assert_eq!(server.log().matches("state_rollback").count(), 1);
    // The rollback was reported once; the database as it is now is consistent.
    assert!(server.stop().success());
    assert_eq!(server.json(&["check"], "")["violations"], serde_json::json!([]));
}

/// Copies a directory tree as it is.
pub fn duplicate(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(copied.success());
}

#[tokio::test]
async fn sto_15_sessions_and_invitations_that_expired_are_swept() {
    let server = Server::start();
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let mut leaving = Actor::registered_with_tokens(&server, "leaving@example.org").await;
    // Deny-list entries are not counted here: they also expire by the monotonic clock, which this test does not advance.
    let expiring = |server: &Server| {
        let counts = server.json(&["check"], "")["counts"].clone();
        ["sessions", "sessions_by_user", "sessions_by_sweep", "invites"].map(|table| counts[table].as_u64().expect(table))
    };
    for _ in 0..10 {
        Actor::at(&server).login("admin@example.org", PASSWORD, "body").await.expect(200);
    }
    admin.post("/api/invites", &serde_json::json!({ "expiresIn": "1h" })).await.expect(201);
    leaving.logout().await.expect(200);
    assert_eq!(expiring(&server), [11, 11, 11, 1]);
    // A clock that is a month ahead for a moment must not delete anything.
    let staying = Actor::registered_with_tokens(&server, "staying@example.org").await;
    server.advance(Duration::from_secs(31 * 86_400));
    assert_eq!(staying.try_refresh().await.outcome(), (401, "REFRESH_TOKEN_EXPIRED"));
    until("a sweep has come by", async || server.log().matches("swept").count() >= 2).await;
    assert_eq!(expiring(&server), [12, 12, 12, 1]);
    assert!(server.command(&["clock", "-2678400"], "").status.success());
    staying.try_refresh().await.expect(200);
    assert!(server.command(&["clock", "2678400", "--slept"], "").status.success());
    until("the sweep leaves what there was", async || expiring(&server) == [0; 4]).await;
}

#[tokio::test]
async fn ops_7_a_clock_that_jumps_stops_nobody() {
    let server = Server::start();
    let mut ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    for jump in ["-3600", "86400", "-86400", "3600", "-315360000", "315360000", "86400"] {
        assert!(server.command(&["clock", jump], "").status.success(), "{jump}");
        ada.login("ada@example.org", PASSWORD, "body").await.expect(200);
        ada.me().await.expect(200);
        ada.refresh().await.expect(200);
        ada.me().await.expect(200);
        assert_eq!(server.json(&["check"], "")["violations"], serde_json::json!([]));
    }
    ada.logout().await.expect(200);
    let log = server.log();
    assert!(log.contains("the clock was set back"), "said");
    assert!(!log.contains("panic"), "{log}");
}
