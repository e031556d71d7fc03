//! Starting and stopping: what a first start makes, what a start refuses, how a stop ends.

use crate::support::{self, Actor, PASSWORD, Server, TURN, doorward};
use hmac::{Hmac, KeyInit, Mac};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use sha2::Sha256;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

const GOOD: &str = "q3vYp0mXz7Rk1tW9sB5nH2dL8fJ4gC6aE0uT";
const OTHER: &str = "M4xT8wQe2Zr6Yu1Io5Pa9Sd3Fg7Hj0KlVbNm";

fn start(dir: &Path, settings: &[&str], environment: &[(&str, &str)]) -> Command {
    let settings: Vec<_> = settings.iter().map(|s| (*s).to_owned()).collect();
    let environment: Vec<_> = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let mut command = doorward(dir, &settings, &environment);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a start that must fail. If the server comes up all the same, it is killed.
fn refused(command: &mut Command) -> (i32, String) {
    let mut child = command.spawn().expect("spawned");
    let begun = Instant::now();
    while child.try_wait().expect("waited").is_none() {
        if begun.elapsed() > Duration::from_secs(20) {
            child.kill().expect("killed");
            panic!("it came up: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let Output { status, stdout, stderr } = child.wait_with_output().expect("ended");
    assert!(stdout.is_empty(), "{}", String::from_utf8_lossy(&stdout));
    let stderr = String::from_utf8(stderr).expect("text");
    assert!(!stderr.contains("panicked"), "{stderr}");
    (status.code().expect("no signal"), stderr)
}

#[track_caller]
fn refuses(command: &mut Command, code: i32, words: &[&str]) {
    let (found, stderr) = refused(command);
    assert_eq!(found, code, "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
    }
    assert_eq!(stderr.lines().filter(|line| line.starts_with("doorward: ")).count(), 1, "one message: {stderr}");
}

fn terminate(child: &Child) {
    kill_process(Pid::from_child(child), Signal::TERM).expect("signalled");
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("there").permissions().mode() & 0o777
}

/// A directory and everything below it, each with its mode.
fn everything(path: &Path) -> Vec<(String, bool, u32)> {
    let mut found = vec![(path.display().to_string(), path.is_dir(), mode(path))];
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory") {
            found.extend(everything(&entry.expect("an entry").path()));
        }
    }
    found
}

#[test]
fn sto_11_a_first_start_makes_everything_for_its_owner_alone_and_says_one_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut child = start(dir.path(), &[], &[]).spawn().expect("spawned");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    let address = line.strip_prefix("listening on http://127.0.0.1:").expect("the line").trim_end();
    assert_ne!(address, "0", "the port that was taken");
    // The server answers as soon as it has printed that line.
    let mut stream = TcpStream::connect(format!("127.0.0.1:{address}")).expect("listens");
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let data = dir.path().join("data");
    for (name, is_dir, mode) in everything(&data) {
        assert_eq!(mode, if is_dir { 0o700 } else { 0o600 }, "{name}: {mode:o}");
    }
    for name in ["keyring", "db", "control.sock"] {
        assert!(data.join(name).exists(), "{name}");
    }
    assert!(!data.join("keyring.new").exists());
    terminate(&child);
    let (mut rest, mut log) = (String::new(), String::new());
    stdout.read_to_string(&mut rest).expect("text");
    child.stderr.take().expect("piped").read_to_string(&mut log).expect("text");
    assert_eq!(rest, "", "one line and no more");
    assert!(child.wait().expect("ended").success());
    assert!(log.contains(&format!("http://127.0.0.1:{address}/#setup=")), "{log}");
    assert!(!data.join("control.sock").exists());
}

#[test]
fn sto_8_a_keyring_without_its_database_is_no_new_installation() {
    for lose in [|data: &Path| fs::remove_dir_all(data.join("db")), |data: &Path| fs::write(data.join("db/db"), b"")] {
        let mut server = Server::start();
        assert!(server.stop().success());
        lose(&server.data_dir()).expect("lost");
        refuses(&mut start(server.dir.path(), &[], &[]), 65, &["database is missing or empty", "backup"]);
    }
}

#[test]
fn ops_2_a_database_without_its_keyring_is_never_given_another() {
    let mut server = Server::start();
    assert!(server.stop().success());
    let (keyring, aside) = (server.data_dir().join("keyring"), server.dir.path().join("aside"));
    fs::rename(&keyring, &aside).expect("moved");
    refuses(&mut start(server.dir.path(), &[], &[]), 65, &["no keyring", "backup"]);
    assert!(!keyring.exists(), "nothing was made in its place");
    // The keyring of another installation is refused too.
    let mut other = Server::start();
    assert!(other.stop().success());
    fs::copy(other.data_dir().join("keyring"), &keyring).expect("copied");
    refuses(&mut start(server.dir.path(), &[], &[]), 65, &["does not belong to this keyring"]);
    fs::write(&keyring, "{}").expect("written");
    refuses(&mut start(server.dir.path(), &[], &[]), 65, &["keyring", "is no keyring"]);
    fs::rename(&aside, &keyring).expect("moved back");
    server.start_again();
}

#[test]
fn a_wrong_setting_stops_the_start_by_file_key_found_and_allowed() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("config.toml");
    for (text, words) in [
        ("[tokens]\naccess_ttl = \"1s\"", vec!["config.toml", "tokens.access_ttl", "1s", "10s to 1h"]),
        ("[tokens]\nacess_ttl = \"5m\"", vec!["config.toml", "acess_ttl", "access_ttl"]),
        ("[registration]\nmode = \"all\"", vec!["config.toml", "registration.mode", "all", "open", "invite", "closed"]),
        ("[server]\ntrusted_proxies = [\"everyone\"]", vec!["config.toml", "server.trusted_proxies", "everyone"]),
        ("[server\n", vec!["config.toml", "line 1"]),
        ("[passwords]\nmin_length = 6", vec!["config.toml", "passwords.min_length", "6", "8"]),
        ("[passwords]\nscrypt_log_n = 4", vec!["config.toml", "passwords.scrypt", "insecure_dev"]),
    ] {
        fs::write(&file, text).expect("written");
        refuses(&mut start(dir.path(), &[], &[]), 78, &words);
        assert!(!dir.path().join("data").exists(), "a start that is refused makes nothing");
    }
    fs::remove_file(&file).expect("removed");
    let variable = [("DOORWARD_TOKENS_ACCESS_TTL", "never")];
    refuses(&mut start(dir.path(), &[], &variable), 78, &["DOORWARD_TOKENS_ACCESS_TTL", "tokens.access_ttl", "never"]);
    refuses(&mut start(dir.path(), &["tokens.algorithm=none"], &[]), 78, &["--set", "tokens.algorithm", "none", "HS256"]);
    refuses(&mut start(dir.path(), &["page.language=tlh"], &[]), 78, &["--set", "page.language", "tlh", "auto, en, de, fr, es, pt, ar"]);
}

#[test]
fn cok_2_http_beyond_loopback_needs_to_be_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    refuses(&mut start(dir.path(), &["server.public_url=http://login.example.org"], &[]), 78, &["server.public_url", "insecure_http"]);
    let _allowed = Server::with(&["server.public_url=http://login.example.org", "server.insecure_http=true"]);
}

#[test]
fn ops_5_weak_equal_and_placeholder_secrets_refuse_to_start_and_are_not_shown() {
    let dir = tempfile::tempdir().expect("a directory");
    let weak = dir.path().join("weak");
    fs::write(&weak, "short-and-from-a-file\n").expect("written");
    let weak = weak.display().to_string();
    for (environment, name) in [
        (vec![("DOORWARD_ACCESS_SECRET", "31-bytes-of-q3vYp0mXz7Rk1tW9sB5")], "DOORWARD_ACCESS_SECRET"),
        (vec![("DOORWARD_REFRESH_SECRET", "changeme")], "DOORWARD_REFRESH_SECRET"),
        (vec![("DOORWARD_ACCESS_SECRET", "your-access-token-secret-change-this-in-production")], "DOORWARD_ACCESS_SECRET"),
        (vec![("DOORWARD_ACCESS_SECRET", GOOD), ("DOORWARD_REFRESH_SECRET", GOOD)], "DOORWARD_REFRESH_SECRET"),
        (vec![("DOORWARD_REFRESH_SECRET_FILE", weak.as_str())], "DOORWARD_REFRESH_SECRET"),
    ] {
        let (code, stderr) = refused(&mut start(dir.path(), &[], &environment));
        assert_eq!(code, 78, "{stderr}");
        assert!(stderr.contains(name), "{stderr}");
        for (_, secret) in environment.iter().filter(|(variable, _)| !variable.ends_with("_FILE")) {
            assert!(!stderr.contains(secret), "{stderr}");
        }
        assert!(!stderr.contains("short-and-from-a-file"), "{stderr}");
        assert!(!dir.path().join("data").exists());
    }
}

#[tokio::test]
async fn an_operators_secret_signs_tokens_byte_for_byte() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("refresh");
    fs::write(&file, format!("{OTHER}\n")).expect("written");
    let file = file.display().to_string();
    let environment = [("DOORWARD_ACCESS_SECRET", GOOD), ("DOORWARD_REFRESH_SECRET_FILE", file.as_str())];
    let mut server = Server::with_environment(&[], &environment);
    let mut ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let token = ada.access.clone().expect("a token");
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let mut mac = Hmac::<Sha256>::new_from_slice(GOOD.as_bytes()).expect("any length");
    mac.update(signed.as_bytes());
    let expected = data_encoding::BASE64URL_NOPAD.encode(&mac.finalize().into_bytes());
    assert_eq!(signature, expected);
    // Every start uses the same keys.
    assert!(server.stop().success());
    server.start_again();
    ada = ada.moved_to(&server);
    ada.me().await.expect(200);
    ada.refresh().await.expect(200);
}

#[tokio::test]
async fn aut_11_the_environment_names_the_first_admin_of_an_empty_database_alone() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), format!("{PASSWORD}\n")).expect("written");
    let path = file.path().display().to_string();
    for password in [("DOORWARD_ADMIN_PASSWORD", PASSWORD), ("DOORWARD_ADMIN_PASSWORD_FILE", path.as_str())] {
        let mut server = Server::with_environment(&[], &[("DOORWARD_ADMIN_EMAIL", "root@example.org"), password]);
        let mut root = Actor::at(&server);
        root.login("root@example.org", PASSWORD, "body").await.expect(200);
        assert_eq!(root.me().await.expect(200).text_of("role"), "admin");
        assert!(!server.log().contains("#setup="), "no set-up link when there is an admin");
        assert!(!server.log().contains(PASSWORD));
        // Later starts do not change the account.
        let answer = root.change_password(PASSWORD, "another horse entirely").await.expect(200);
        assert!(answer.body["accessToken"].is_string());
        assert!(server.stop().success());
        server.start_again();
        let mut root = Actor::at(&server);
        assert_eq!(root.login("root@example.org", PASSWORD, "body").await.status, 401);
        root.login("root@example.org", "another horse entirely", "body").await.expect(200);
    }
    // If the database already has users, the variables create no admin.
    let mut server = Server::start();
    Actor::registered(&server, "ada@example.org").await;
    assert!(server.stop().success());
    let environment =
        [("DOORWARD_ADMIN_EMAIL", "root@example.org"), ("DOORWARD_ADMIN_PASSWORD", PASSWORD)].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let (mut child, _) = support::launch(server.dir.path(), &[], &environment).expect("starts");
    terminate(&child);
    child.wait().expect("ended");
    assert!(server.log().contains("DOORWARD_ADMIN_EMAIL is for an empty database"));
    server.start_again();
    assert_eq!(server.json(&["user", "list"], "").as_array().map(Vec::len), Some(1));
}

#[test]
fn aut_11_half_a_first_admin_or_a_weak_one_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    refuses(&mut start(dir.path(), &[], &[("DOORWARD_ADMIN_EMAIL", "root@example.org")]), 78, &["DOORWARD_ADMIN_PASSWORD"]);
    refuses(&mut start(dir.path(), &[], &[("DOORWARD_ADMIN_PASSWORD", PASSWORD)]), 78, &["DOORWARD_ADMIN_EMAIL"]);
    let weak = [("DOORWARD_ADMIN_EMAIL", "root@example.org"), ("DOORWARD_ADMIN_PASSWORD", "short")];
    refuses(&mut start(dir.path(), &[], &weak), 78, &["DOORWARD_ADMIN_PASSWORD", "at least"]);
}

#[test]
fn ops_6_a_stop_finishes_what_is_in_flight_and_takes_nothing_new() {
    let mut server = Server::start();
    let body = json!({ "email": "ada@example.org", "password": PASSWORD, "tokenTransport": "body" }).to_string();
    let mut stream = TcpStream::connect(&server.address).expect("listens");
    let head = format!(
        "POST /api/auth/register HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        server.address,
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = BufReader::new(stream.try_clone().expect("cloned"));
    let mut line = String::new();
    answer.read_line(&mut line).expect("a line");
    // The server has begun to read the body, so the request is in flight.
    assert!(line.starts_with("HTTP/1.1 100"), "{line}");
    kill_process(Pid::from_raw(i32::try_from(server.pid()).expect("a pid")).expect("a pid"), Signal::TERM).expect("signalled");
    let begun = Instant::now();
    while TcpStream::connect(&server.address).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(10), "it still accepts");
    }
    stream.write_all(body.as_bytes()).expect("sent");
    let mut rest = String::new();
    answer.read_to_string(&mut rest).expect("an answer");
    assert!(rest.contains("HTTP/1.1 201"), "{rest}");
    assert!(server.wait(Duration::from_secs(10)).success());
    server.start_again();
    assert_eq!(server.json(&["user", "show", "ada@example.org"], "")["email"], "ada@example.org");
}

#[test]
fn ops_6_an_idle_connection_does_not_hold_up_a_stop() {
    let mut server = Server::start();
    let _idle = TcpStream::connect(&server.address).expect("listens");
    let begun = Instant::now();
    assert!(server.stop().success());
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
}

#[test]
fn a_newer_schema_refuses_to_start() {
    let mut server = Server::start();
    assert!(server.stop().success());
    {
        let db = sled::open(server.data_dir().join("db")).expect("opens");
        let tree = db.open_tree("doorward").expect("opens");
        let key = b"#";
        let row = tree.get(key).expect("readable").expect("the instance");
        // The row: record version 1, the schema as a varint, and a checksum over key and both.
        let mut bytes = row[..row.len() - 4].to_vec();
        assert_eq!(bytes[..2], [1, 2]);
        bytes[1] = 3;
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(key);
        checksum.update(&bytes);
        bytes.extend(checksum.finalize().to_le_bytes());
        tree.insert(key, bytes).expect("written");
        db.flush().expect("flushed");
    }
    refuses(&mut start(server.dir.path(), &[], &[]), 65, &["schema 3", "knows up to 2", "release"]);
}

/// OPS-1: a first start may be killed at any moment, and the next start continues from there.
#[test]
fn ops_1_kill_9_during_the_first_start_leaves_a_start_that_works() {
    let crashes: u64 = std::env::var("DOORWARD_TEST_CRASHES").ok().map_or(25, |n| n.parse().expect("a number"));
    let _turn = TURN.blocking_lock();
    // Measures how long a first start takes, to spread the moments of the kills over it.
    let begun = Instant::now();
    drop(Server::start());
    let whole = begun.elapsed();
    let mut unfinished = 0;
    for crash in 0..crashes {
        let dir = tempfile::tempdir().expect("a directory");
        for attempt in 0..3 {
            let mut child = start(dir.path(), &[], &[]).spawn().expect("spawned");
            let mut random = [0; 4];
            getrandom::fill(&mut random).expect("randomness");
            std::thread::sleep(whole.mul_f64(f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX)));
            child.kill().expect("killed");
            let output = child.wait_with_output().expect("ended");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(!stderr.contains("doorward: "), "crash {crash}.{attempt}: it refused: {stderr}");
            let keyring = dir.path().join("data/keyring");
            if keyring.exists() {
                let text = fs::read_to_string(&keyring).expect("readable");
                assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "half a keyring");
                assert_eq!(mode(&keyring), 0o600);
            } else {
                unfinished += 1;
            }
        }
        let (mut child, _) = support::launch(dir.path(), &[], &[]).unwrap_or_else(|log| panic!("crash {crash}: no start: {log}"));
        terminate(&child);
        assert!(child.wait().expect("ended").success());
    }
    println!("{crashes} first starts killed three times each, {unfinished} before the keyring was in place");
    assert!(unfinished > 0, "no kill came early enough to prove anything");
}

#[test]
fn ops_6_a_server_needs_nobody_to_read_its_line() {
    let full = || fs::File::options().write(true).open("/dev/full").expect("there").into();
    let gone = || std::io::pipe().expect("a pipe").1.into();
    for stdout in [&full as &dyn Fn() -> Stdio, &gone] {
        let dir = tempfile::tempdir().expect("a directory");
        let mut child = start(dir.path(), &[], &[]).stdout(stdout()).spawn().expect("spawned");
        let mut log = BufReader::new(child.stderr.take().expect("piped")).lines().map(|line| line.expect("text"));
        let line = log.find(|line| line.contains("listening on http://")).expect("it is in the log then");
        let address = line.split_once("http://").expect("an address").1.split(',').next().expect("an address");
        let mut stream = TcpStream::connect(address).expect("listens");
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        terminate(&child);
        assert!(child.wait().expect("ended").success());
        assert!(!log.any(|line| line.contains("panic")));
    }
}

#[test]
fn ops_6_signals_of_other_tools_are_noted_and_change_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut child = start(dir.path(), &[], &[]).spawn().expect("spawned");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let mut log = BufReader::new(child.stderr.take().expect("piped")).lines().map(|line| line.expect("text"));
    for (name, signal) in [("SIGHUP", Signal::HUP), ("SIGUSR1", Signal::USR1), ("SIGUSR2", Signal::USR2)] {
        kill_process(Pid::from_child(&child), signal).expect("signalled");
        assert!(log.any(|line| line.contains(name)), "{name} ended it");
    }
    TcpStream::connect(line.trim().strip_prefix("listening on http://").expect("the line")).expect("still listens");
    terminate(&child);
    assert!(child.wait().expect("ended").success());
}
