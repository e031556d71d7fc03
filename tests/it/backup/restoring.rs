//! Restoring: on a blank box, over what is there, and when it is cut short.

use super::{backed_up, names, refused, set_schema, text};
use crate::{
    adversarial::disk::SmallDisk,
    support::{Actor, PASSWORD, Server, doorward},
};
use std::{fs, io::Write, process::Stdio};

#[tokio::test]
async fn bak_5_a_blank_box_has_everybody_and_nothing_that_was_handed_out_lives() {
    let server = Server::start();
    let mut ada = Actor::with_role(&server, "ada@example.org", "admin").await;
    let key = Actor::with_api_key(&server, "ada@example.org", &["users:read"]);
    key.get("/api/users").await.expect(200);
    let file = backed_up(&server);
    let mut blank = Server::start();
    assert!(blank.stop().success());
    fs::remove_dir_all(blank.data_dir()).expect("blank");
    let said = blank.json(&["restore", &text(&file)], "");
    assert_eq!((&said["counts"]["users"], &said["counts"]["sessions"], &said["counts"]["api_keys"]), (&1.into(), &0.into(), &0.into()));
    assert!(said["lost"].is_null() && said["replaced"].is_null(), "{said}");
    blank.start_again();
    ada = ada.moved_to(&blank);
    assert_eq!(ada.me().await.error(), "TOKEN_REVOKED");
    assert_eq!(ada.try_refresh().await.status, 401);
    key.moved_to(&blank).get("/api/users").await.expect(401);
    let mut again = Actor::at(&blank);
    again.login("ada@example.org", PASSWORD, "body").await.expect(200);
    again.get("/api/users").await.expect(200);
    let check = blank.json(&["check"], "");
    assert_eq!(check["violations"].as_array().map(Vec::len), Some(0), "{check}");
    assert!(!blank.log().contains("older than when it was last seen"));
}

#[tokio::test]
async fn bak_5_what_is_there_is_replaced_only_if_that_is_said_and_what_it_has_more_is_told() {
    let mut server = Server::start();
    Actor::registered_with_tokens(&server, "ada@example.org").await;
    let file = text(&backed_up(&server));
    Actor::registered_with_tokens(&server, "bob@example.org").await;
    let (code, why) = refused(&server, &["restore", "--replace", &file], "");
    assert!(code == 75 && why.contains("stop that one first"), "{code}: {why}");
    assert!(server.stop().success());
    let before = names(&server.data_dir());
    let (code, why) = refused(&server, &["restore", &file], "");
    assert!(code == 1 && why.contains("--replace") && why.contains("nothing was changed"), "{code}: {why}");
    assert_eq!(names(&server.data_dir()), before);
    let said = server.json(&["restore", "--replace", &file], "");
    assert_eq!(said["lost"]["users"], 1, "{said}");
    // She registered, and the server stopped.
    assert_eq!(said["lost"]["events"], 2, "{said}");
    assert!(said["lost"]["latest"].as_str() > said["createdAt"].as_str(), "{said}");
    let replaced = said["replaced"].as_str().expect("kept").to_owned();
    server.start_again();
    Actor::at(&server).login("ada@example.org", PASSWORD, "body").await.expect(200);
    Actor::at(&server).login("bob@example.org", PASSWORD, "body").await.expect(401);
    // What was there is a data directory, as it was.
    let users = server.json(&["--data-dir", &replaced, "user", "list"], "");
    assert_eq!(users.as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn bak_4_killed_while_it_reads_a_restore_has_changed_nothing() {
    let mut server = Server::start();
    Actor::registered_with_tokens(&server, "ada@example.org").await;
    let file = backed_up(&server);
    Actor::registered_with_tokens(&server, "bob@example.org").await;
    assert!(server.stop().success());
    let backup = fs::read(&file).expect("a backup");
    let part = server.data_dir().join("restore.part");
    let mut command = doorward(server.dir.path(), &[], &[]);
    let mut child = command.args(["restore", "--replace", "-"]).stdin(Stdio::piped()).spawn().expect("spawned");
    // All but the last line, and it waits for that.
    child.stdin.as_mut().expect("piped").write_all(&backup[..backup.len() - 10]).expect("written");
    while !part.join("db").exists() {
        std::thread::yield_now();
    }
    child.kill().expect("killed");
    child.wait().expect("waited");
    server.start_again();
    assert!(!part.exists());
    for user in ["ada@example.org", "bob@example.org"] {
        Actor::at(&server).login(user, PASSWORD, "body").await.expect(200);
    }
    assert!(server.stop().success());
    server.json(&["restore", "--replace", &text(&file)], "");
    server.start_again();
    Actor::at(&server).login("bob@example.org", PASSWORD, "body").await.expect(401);
}

#[tokio::test]
async fn bak_8_a_release_that_does_not_know_the_schema_says_how_to_go_back() {
    let mut server = Server::start();
    Actor::registered_with_tokens(&server, "ada@example.org").await;
    assert!(server.stop().success());
    // An upgrade makes a copy; then a later release has written the database.
    set_schema(&server.data_dir(), 1);
    server.start_again();
    assert!(server.stop().success());
    set_schema(&server.data_dir(), 200);
    let (code, why) = refused(&server, &["check"], "");
    assert_eq!(code, 65, "{why}");
    let (_, way) = why.split_once("doorward restore --replace ").unwrap_or_else(|| panic!("{why}"));
    let copy = way.split_whitespace().next().expect("a path").to_owned();
    let said = server.json(&["restore", "--replace", &copy], "");
    assert!(said["said"].to_string().contains("cannot be read"), "{said}");
    server.start_again();
    Actor::at(&server).login("ada@example.org", PASSWORD, "body").await.expect(200);
}

#[tokio::test]
async fn bak_4_on_a_full_disk_a_restore_changes_nothing_and_leaves_nothing() {
    let disk = SmallDisk::mounted();
    let mut server = Server::with(&[disk.setting().as_str(), "server.min_free_mib=0"]);
    Actor::registered_with_tokens(&server, "ada@example.org").await;
    let file = text(&backed_up(&server));
    Actor::registered_with_tokens(&server, "bob@example.org").await;
    assert!(server.stop().success());
    let data = disk.path().join("data");
    let before = names(&data);
    for left in [0, 64 * 1024, 512 * 1024] {
        let ballast = disk.fill(left);
        let (code, why) = refused(&server, &["restore", "--replace", &file], "");
        assert!(code == 74 && !why.contains("panicked"), "{left}: {code}: {why}");
        assert_eq!(names(&data), before, "{left}");
        fs::remove_file(ballast).expect("removed");
    }
    server.start_again();
    for user in ["ada@example.org", "bob@example.org"] {
        Actor::at(&server).login(user, PASSWORD, "body").await.expect(200);
    }
    // And so does a backup.
    let ballast = disk.fill(0);
    let small = disk.path().join("backup.jsonl");
    let (code, why) = refused(&server, &["backup", &text(&small)], "");
    assert!(code == 74 && why.contains("nothing was changed"), "{code}: {why}");
    fs::remove_file(ballast).expect("removed");
    assert_eq!(names(disk.path()), ["data"]);
}
