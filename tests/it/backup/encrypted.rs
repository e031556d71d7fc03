//! Backups that a program encrypts: Debian's age.

use super::{refused, text};
use crate::support::{Actor, PASSWORD, Server};
use std::{
    fs,
    process::{Command, Stdio},
};

/// The output of age's programs.
fn age(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().expect("age is installed (tests/run does)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[tokio::test]
async fn bak_7_a_backup_that_age_encrypts_is_restored_by_piping_it_back() {
    let server = Server::start();
    Actor::registered_with_tokens(&server, "ada@example.org").await;
    let (key, file) = (text(&server.dir.path().join("key")), text(&server.dir.path().join("backup.age")));
    age("age-keygen", &["-o", &key]);
    let recipient = String::from_utf8(age("age-keygen", &["-y", &key])).expect("text");
    server.json(&["--set", &format!("backup.pipe=age,-r,{}", recipient.trim()), "backup", &file], "");
    let encrypted = fs::read(&file).expect("a backup");
    assert!(encrypted.starts_with(b"age-encryption.org/v1"));
    let (code, why) = refused(&server, &["backup", "verify", &file], "");
    assert!(code == 65 && why.contains("decrypt it first"), "{code}: {why}");
    let plain = String::from_utf8(age("age", &["-d", "-i", &key, &file])).expect("text");
    assert_eq!(server.json(&["backup", "verify", "-"], &plain)["counts"]["users"], 1);
    let mut blank = Server::start();
    assert!(blank.stop().success());
    assert_eq!(blank.json(&["restore", "--replace", "-"], &plain)["counts"]["users"], 1);
    blank.start_again();
    Actor::at(&blank).login("ada@example.org", PASSWORD, "body").await.expect(200);
}
