//! The copy that is made before a migration.

use super::{lines, set_schema};
use crate::support::Server;
use std::{fs, os::unix::fs::PermissionsExt};

#[test]
fn before_a_migration_the_database_is_copied_and_without_the_copy_nothing_is_migrated() {
    let mut server = Server::start();
    assert!(server.stop().success());
    set_schema(&server.data_dir(), 1);
    // Something else is in the place of the directory.
    let backups = server.data_dir().join("backups");
    fs::write(&backups, "").expect("written");
    let refused = server.command(&["check"], "");
    let why = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(74), "{why}");
    assert!(why.contains("backups") && why.contains("nothing was changed"), "{why}");
    fs::remove_file(&backups).expect("removed");

    server.start_again();
    let copies: Vec<_> = fs::read_dir(&backups).expect("made").map(|entry| entry.expect("an entry").path()).collect();
    let [copy] = &copies[..] else { panic!("{copies:?}") };
    assert_eq!(fs::metadata(copy).expect("there").permissions().mode() & 0o777, 0o600);
    let lines = lines(copy);
    assert_eq!(lines[0]["doorward"]["schema"], 1);
    assert!(lines[1]["keyring"].as_str().expect("the keyring").contains("\"instance\""));
    assert!(lines.iter().any(|line| !line["row"].is_null()));
    assert_eq!(lines.last().expect("an end")["end"]["counts"]["#"], 1);
    assert!(server.log().contains("the database as it was is kept in"));
    // Once migrated, no start makes another.
    server.crash();
    assert_eq!(fs::read_dir(&backups).expect("there").count(), 1);
}
