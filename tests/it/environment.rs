//! The environment at the start: variables that are not settings, secrets with quotes and line ends that editors add,
//! settings that contradict each other.

use crate::support::{Actor, PASSWORD, Server, launch, run};
use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    process::{Command, Output},
};

fn check(dir: &std::path::Path, settings: &[&str], change: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    command.current_dir(dir).env_clear().args(["config", "check"]);
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    change(&mut command);
    run(&mut command, "")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[test]
fn log_1_bytes_that_are_no_text_end_nothing_and_are_not_shown() {
    let dir = tempfile::tempdir().expect("a directory");
    let raw = |text: &[u8]| OsString::from_vec(text.to_vec());
    let of_others = check(dir.path(), &[], |command| _ = command.env("SOMEBODY_ELSES", raw(b"\xfe\xff")));
    assert!(of_others.status.success(), "{}", said(&of_others));
    for name in ["DOORWARD_LOG_LEVEL", "DOORWARD_ADMIN_PASSWORD", "DOORWARD_TOKENS_ACESS_TTL"] {
        let refused = check(dir.path(), &[], |command| {
            command.env(name, raw(b"\xfeMy-actual-secret")).env("DOORWARD_ADMIN_EMAIL", "a@example.org");
        });
        assert_eq!(refused.status.code(), Some(78), "{}", said(&refused));
        assert!(said(&refused).contains(name) && !said(&refused).contains("actual"), "{}", said(&refused));
    }
    let binary = check(dir.path(), &[], |command| _ = command.env("DOORWARD_ACCESS_SECRET", raw(&(0x80..0xc0).collect::<Vec<u8>>())));
    assert!(binary.status.success(), "a key may be any bytes: {}", said(&binary));
}

#[tokio::test]
async fn a_service_of_our_name_in_kubernetes_stops_no_start() {
    let link = [
        ("DOORWARD_PORT", "tcp://10.0.0.9:3000"),
        ("DOORWARD_SERVICE_HOST", "10.0.0.9"),
        ("DOORWARD_SERVICE_PORT", "3000"),
        ("DOORWARD_PORT_3000_TCP", "tcp://10.0.0.9:3000"),
        ("DOORWARD_PORT_3000_TCP_PROTO", "tcp"),
        ("DOORWARD_PORT_3000_TCP_PORT", "3000"),
        ("DOORWARD_PORT_3000_TCP_ADDR", "10.0.0.9"),
    ];
    let server = Server::with_environment(&[], &link);
    let lines: Vec<_> = server.log().lines().filter(|line| line.contains("passed over")).map(str::to_owned).collect();
    assert!(lines.len() == 1 && lines[0].contains("DOORWARD_PORT") && lines[0].contains("INFO"), "{lines:?}");
    let dir = tempfile::tempdir().expect("a directory");
    let refused = check(dir.path(), &[], |command| _ = command.env("DOORWARD_PORT", "3000"));
    assert_eq!(refused.status.code(), Some(78), "a setting that was meant: {}", said(&refused));
}

/// Line ends that `echo`, editors and env files add to a password are removed, whichever way it is given.
#[tokio::test]
async fn a_password_is_what_was_meant_by_variable_file_and_stdin() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("\u{feff}{PASSWORD}\r\n")).expect("written");
    let path = file.path().to_str().expect("a path");
    let by_variable = format!("{PASSWORD}\n");
    for secret in [("DOORWARD_ADMIN_PASSWORD", by_variable.as_str()), ("DOORWARD_ADMIN_PASSWORD_FILE", path)] {
        let server = Server::with_environment(&[], &[("DOORWARD_ADMIN_EMAIL", "admin@example.org"), secret]);
        Actor::at(&server).login("admin@example.org", PASSWORD, "body").await.expect(200);
        server.json(&["user", "add", "ada@example.org"], &format!("\u{feff}{PASSWORD}\r\n"));
        Actor::at(&server).login("ada@example.org", PASSWORD, "body").await.expect(200);
        let odd = server.command(&["user", "add", "bob@example.org"], &format!("\"{PASSWORD}\"\n"));
        let warning = String::from_utf8_lossy(&odd.stderr).into_owned();
        assert!(odd.status.success() && warning.contains("quotes") && !warning.contains(PASSWORD), "{warning}");
    }
    let quoted = format!("'{PASSWORD}'");
    let server = Server::with_environment(&[], &[("DOORWARD_ADMIN_EMAIL", "admin@example.org"), ("DOORWARD_ADMIN_PASSWORD", &quoted)]);
    let log = server.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("DOORWARD_ADMIN_PASSWORD has quotes")).collect();
    assert!(warnings.len() == 1 && !log.contains(PASSWORD), "{warnings:?}");
}

#[test]
fn aut_8_a_weak_first_password_is_refused_by_its_variable_before_anything_is_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let weak = [("DOORWARD_ADMIN_EMAIL", "admin@example.org"), ("DOORWARD_ADMIN_PASSWORD", "12345678")];
    let refused = launch(dir.path(), &[], &weak.map(|(name, value)| (name.to_owned(), value.to_owned()))).expect_err("it started");
    assert!(refused.contains("78") && refused.contains("DOORWARD_ADMIN_PASSWORD") && !refused.contains("12345678"), "{refused}");
    assert!(!dir.path().join("data").exists());
}

#[test]
fn whoever_listens_on_every_address_must_say_which_one_people_type() {
    let dir = tempfile::tempdir().expect("a directory");
    for listen in ["server.listen=0.0.0.0:0", "server.listen=[::]:0"] {
        let refused = check(dir.path(), &[listen, "server.insecure_http=true"], |_| {});
        assert_eq!(refused.status.code(), Some(78), "{}", said(&refused));
        assert!(said(&refused).contains("server.public_url") && said(&refused).contains("such as"), "{}", said(&refused));
        let good = check(dir.path(), &[listen, "server.insecure_http=true", "server.public_url=http://192.168.1.10:3000"], |_| {});
        assert!(good.status.success(), "{}", said(&good));
    }
    assert!(!dir.path().join("data").exists());
}

#[tokio::test]
async fn registration_needs_an_invitation_once_others_can_reach_it() {
    let beyond = Server::with(&["server.public_url=https://login.example.org"]);
    assert_eq!(Actor::at(&beyond).register("ada@example.org", "body").await.outcome(), (403, "REGISTRATION_CLOSED"));
    assert!(beyond.log().contains("server.trusted_proxies is empty"));
    let shown = beyond.command(&["config", "show"], "");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("mode = \"auto\""));
    let here = Server::with(&["server.public_url=http://localhost:5173"]);
    Actor::at(&here).register("ada@example.org", "body").await.expect(201);
}

#[test]
fn a_proxy_is_named_by_its_address_and_never_by_everybodys() {
    let dir = tempfile::tempdir().expect("a directory");
    for good in ["127.0.0.1", "::1", "10.0.0.0/8", "127.0.0.1, fd00::/8"] {
        let output = check(dir.path(), &[&format!("server.trusted_proxies={good}")], |_| {});
        assert!(output.status.success(), "{good}: {}", said(&output));
    }
    for wrong in ["10.0.0", "localhost", "0.0.0.0/0", "::/0", "10.0.0.0/33"] {
        let output = check(dir.path(), &[&format!("server.trusted_proxies={wrong}")], |_| {});
        assert_eq!(output.status.code(), Some(78), "{wrong}");
        for word in ["server.trusted_proxies", wrong, "allowed"] {
            assert!(said(&output).contains(word), "{word} is not in: {}", said(&output));
        }
    }
    // The server refuses the setting with the same message.
    let refused = launch(dir.path(), &["server.trusted_proxies=localhost".into()], &[]).expect_err("it started");
    assert!(refused.contains("server.trusted_proxies"), "{refused}");
}
