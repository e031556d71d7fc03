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

#[test]
fn bak_7_the_program_is_given_none_of_our_secrets() {
    let secret = "an operator's own secret, of 32 bytes or more";
    let server = Server::with_environment(&[], &[("DOORWARD_ACCESS_SECRET", secret), ("PATH", "/usr/bin:/bin")]);
    let file = server.dir.path().join("given");
    server.json(&["--set", "backup.pipe=sh,-c,cat >/dev/null; env; cat /proc/self/environ", "backup", &text(&file)], "");
    let given = fs::read_to_string(&file).expect("written");
    assert!(given.contains("PATH=/usr/bin:/bin") && !given.contains("DOORWARD") && !given.contains(secret), "{given}");
}

/// The commands at the top of the page, as they are printed.
#[test]
fn the_page_of_backups_runs_as_printed() {
    let mut server = Server::start();
    let page = include_str!("../../../docs/backup.md");
    let (block, _) = page.split_once("```sh\n").expect("a block").1.split_once("\n```").expect("its end");
    let commands: Vec<_> = block.lines().map(|line| line.split_once('#').map_or(line, |(command, _)| command).trim()).collect();
    assert_eq!(commands.len(), 3, "{commands:?}");
    for command in commands {
        let arguments: Vec<_> = command.split_whitespace().collect();
        if arguments[1] == "restore" {
            assert!(server.stop().success());
            fs::remove_dir_all(server.data_dir()).expect("blank");
        }
        let output = server.command(&arguments[1..], "");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    server.start_again();
}
