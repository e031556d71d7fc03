//! Making backups, and noticing what is wrong with one.

use super::{backed_up, lines, names, refused, text};
use crate::support::{Actor, Server, doorward};
use doorward::data::copy_backup;
use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{MetadataExt, symlink},
    process::Stdio,
};

#[tokio::test]
async fn bak_1_a_backup_is_the_same_beside_a_server_and_without_one() {
    let mut server = Server::start();
    for n in 0..5 {
        Actor::registered_with_tokens(&server, &format!("user{n}@example.org")).await;
    }
    let file = backed_up(&server);
    let metadata = fs::metadata(&file).expect("there");
    assert_eq!(metadata.mode() & 0o777, 0o600);
    let online = lines(&file);
    assert!(server.stop().success());
    let answer = server.json(&["backup", &text(&file)], "");
    assert_eq!((answer["users"].as_u64(), answer["sessions"].as_u64()), (Some(5), Some(5)));
    let offline = lines(&file);
    let rows = |lines: &[serde_json::Value], table: &str| {
        let prefix = |line: &&serde_json::Value| {
            line["row"][0]
                .as_str()
                .is_some_and(|key| data_encoding::BASE64.decode(key.as_bytes()).expect("base64").starts_with(table.as_bytes()))
        };
        lines.iter().filter(prefix).cloned().collect::<Vec<_>>()
    };
    for table in ["u", "e", "s", "o", "x", "#"] {
        assert!(!rows(&online, table).is_empty() && rows(&online, table) == rows(&offline, table), "{table}");
    }
    assert_eq!(online[1], offline[1], "the keyring");
    let end = &offline.last().expect("an end")["end"];
    assert_eq!((&end["counts"]["u"], &end["sha256"]), (&5.into(), &answer["sha256"]));
    let verified = server.json(&["backup", "verify", &text(&file)], "");
    assert_eq!((verified["counts"]["users"].as_u64(), verified["violations"].as_array().map(Vec::len)), (Some(5), Some(0)));
}

#[tokio::test]
async fn bak_2_whatever_is_flipped_cut_off_or_added_is_noticed() {
    let server = Server::start();
    Actor::registered_with_tokens(&server, "ada@example.org").await;
    let file = backed_up(&server);
    let good = fs::read(&file).expect("a backup");
    let is_good = |bytes: &[u8]| copy_backup(bytes, &mut io::sink()).is_ok();
    assert!(is_good(&good));
    for at in 0..good.len() {
        let mut bad = good.clone();
        for mask in [1, 0x20, 0x80] {
            bad[at] = good[at] ^ mask;
            assert!(!is_good(&bad), "byte {at} of {} ^ {mask}", good.len());
        }
        assert!(!is_good(&good[..at]), "cut off at {at}");
    }
    assert!(!is_good(&[&good[..], b"\n"].concat()) && !is_good(&[&good[..], &good[..]].concat()));
    // The lines of a row exchanged, one left out, and one twice.
    let rows: Vec<_> = good.split_inclusive(|byte| *byte == b'\n').collect();
    let exchanged = [&rows[..2], &[rows[3], rows[2]], &rows[4..]].concat().concat();
    let missing = [&rows[..2], &rows[3..]].concat().concat();
    let twice = [&rows[..3], &rows[2..]].concat().concat();
    for bad in [exchanged, missing, twice] {
        assert!(bad != good && !is_good(&bad));
    }
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    fs::write(&file, bad).expect("written");
    for command in [&["backup", "verify"][..], &["restore", "--replace"]] {
        let (code, why) = refused(&server, &[command, &[&text(&file)]].concat(), "");
        // A server runs on what would be replaced.
        assert_eq!(code, if command[0] == "backup" { 65 } else { 75 }, "{why}");
    }
    let blank = Server::start();
    let data = text(&blank.dir.path().join("blank"));
    let (code, why) = refused(&blank, &["--data-dir", &data, "restore", &text(&file)], "");
    assert!(code == 65 && why.contains("nothing was changed"), "{code}: {why}");
    assert!(!blank.dir.path().join("blank/keyring").exists());
}

#[test]
fn bak_3_what_cannot_be_written_leaves_what_was_there() {
    let server = Server::start();
    let file = backed_up(&server);
    let good = fs::read(&file).expect("a backup");
    // A program that fails, one that takes nothing, one that writes nothing, and none.
    for pipe in ["false", "true", "sh,-c,cat >/dev/null; exit 3", "sh,-c,cat >/dev/full", "/nonexistent/program"] {
        let (code, why) = refused(&server, &["--set", &format!("backup.pipe={pipe}"), "backup", &text(&file)], "");
        assert!(code == 74 && why.contains("nothing was changed"), "{pipe}: {code}: {why}");
    }
    assert_eq!(fs::read(&file).expect("there"), good);
    assert_eq!(names(server.dir.path()), ["backup.jsonl", "data", "log"]);
    // A full disk.
    let mut command = doorward(server.dir.path(), &[], &[]);
    let full = command.args(["backup", "-"]).stdout(File::options().write(true).open("/dev/full").expect("there")).stderr(Stdio::piped());
    let output = full.spawn().expect("spawned").wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(74), "{}", String::from_utf8_lossy(&output.stderr));
    // Links, and directories.
    let (link, other) = (server.dir.path().join("link"), server.dir.path().join("other"));
    fs::write(&other, "mine").expect("written");
    symlink(&other, &link).expect("linked");
    assert_eq!(refused(&server, &["backup", &text(&link)], "").0, 74);
    symlink(&other, server.dir.path().join(".new.part")).expect("linked");
    assert_eq!(refused(&server, &["backup", &text(&server.dir.path().join("new"))], "").0, 74);
    assert_eq!(fs::read(&other).expect("there"), b"mine");
    assert_eq!(refused(&server, &["backup", &text(server.dir.path())], "").0, 74);
}

#[test]
fn bak_3_killed_while_it_is_made_there_is_no_backup_and_the_next_one_is_whole() {
    let server = Server::start();
    let file = server.dir.path().join("backup.jsonl");
    let mut command = doorward(server.dir.path(), &["backup.pipe=sh,-c,echo begun >&2; exec tail --pid=$PPID -f /dev/null".into()], &[]);
    let mut child = command.arg("backup").arg(&file).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("spawned");
    let mut begun = [0; 6];
    child.stderr.as_mut().expect("piped").read_exact(&mut begun).expect("begun");
    child.kill().expect("killed");
    child.wait().expect("waited");
    assert!(!file.exists());
    // The program still has the file open, and ends with the command.
    let mut output = server.command(&["backup", &text(&file)], "");
    while output.status.code() == Some(75) {
        assert!(String::from_utf8_lossy(&output.stderr).contains("somebody else writes it"));
        output = server.command(&["backup", &text(&file)], "");
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(server.json(&["backup", "verify", &text(&file)], "")["violations"].as_array().map(Vec::len), Some(0));
}

#[test]
fn bak_6_backups_by_the_clock_are_made_and_the_oldest_go() {
    let server = Server::with(&["backup.every=1h", "backup.keep=2"]);
    let backups = server.data_dir().join("backups");
    for made in 1..=4 {
        while server.log().matches("a backup was made: ").count() < made {
            std::thread::yield_now();
        }
        assert!(server.command(&["clock", "3601", "--slept"], "").status.success());
    }
    while server.log().matches("a backup was made: ").count() < 5 {
        std::thread::yield_now();
    }
    let names = names(&backups);
    assert_eq!(names.len(), 2, "{names:?}");
    for name in names {
        assert!(server.json(&["backup", "verify", &text(&backups.join(name))], "")["counts"]["instance"] == 1);
    }
}
