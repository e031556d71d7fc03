//! The commands have the same effect and output on a running and on a stopped server, as text and as JSON.

use crate::support::{Actor, PASSWORD, Server, doorward, run, send};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::Output,
    time::{Duration, Instant},
};

const CHANGED: &str = "another horse entirely";

/// The output and exit code of a command, with ids and times masked.
#[derive(Debug, PartialEq, Eq)]
struct Printed {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Printed {
    fn of(output: &Output) -> Self {
        let plain = |bytes: &[u8]| masked(std::str::from_utf8(bytes).expect("UTF-8"));
        Self { code: output.status.code(), stdout: plain(&output.stdout), stderr: plain(&output.stderr) }
    }
}

/// Replaces ids, times, ports and set-up tokens by the names of their kinds.
fn masked(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.' | '_' | '#' | '=' | '/');
    let (mut out, mut word) = (String::new(), String::new());
    let kind = |word: &str| {
        if word.len() == 32 && word.bytes().all(|b| b.is_ascii_hexdigit()) {
            "<id>".to_owned()
        } else if word.len() == 24 && word.ends_with('Z') && word.contains('T') {
            "<time>".to_owned()
        } else if let Some((before, token)) = word.split_once("#setup=") {
            assert!(token.len() > 40, "{token}");
            format!("{}#setup=<token>", before.rsplit_once(':').map_or(before, |(host, _)| host))
        } else {
            word.to_owned()
        }
    };
    for c in text.chars() {
        if is_part(c) {
            word.push(c);
        } else {
            out.push_str(&kind(&word));
            word.clear();
            out.push(c);
        }
    }
    out + &kind(&word)
}

/// A server with a user who has two sessions, and without an admin.
async fn server_with_sessions() -> (Server, Vec<String>) {
    let server = Server::start();
    let mut ada = Actor::registered(&server, "ada@example.org").await;
    let id = ada.id.clone();
    ada = Actor::at(&server);
    ada.login("ada@example.org", PASSWORD, "body").await.expect(200);
    let sessions = ada.get("/api/auth/sessions").await.expect(200);
    let mut ids = vec![id];
    ids.extend(sessions.body["sessions"].as_array().expect("a list").iter().map(|s| s["id"].as_str().expect("an id").to_owned()));
    (server, ids)
}

/// Commands with their input and exit codes, in an order in which each changes something or is refused for a reason.
/// `{0}` is the user's id, `{1}` one of their sessions.
const SCRIPT: [(&[&str], &str, i32); 38] = [
    (&["setup-link"], "", 0),
    (&["user", "list"], "", 0),
    (&["session", "list", "ada@example.org"], "", 0),
    (&["session", "list", "{0}"], "", 0),
    (&["session", "revoke", "{1}"], "", 0),
    (&["session", "revoke", "{1}"], "", 1),
    (&["session", "revoke", "not-an-id"], "", 1),
    (&["session", "list", "ada@example.org"], "", 0),
    (&["session", "revoke", "--user", "ada@example.org"], "", 0),
    (&["session", "list", "ada@example.org"], "", 0),
    (&["user", "add", "ben@example.org"], PASSWORD, 0),
    (&["user", "add", "BEN@example.org"], PASSWORD, 1),
    (&["user", "add", "no address"], PASSWORD, 1),
    (&["user", "add", "weak@example.org"], "12345678", 1),
    (&["user", "add", "root@example.org", "--role", "admin"], PASSWORD, 0),
    (&["user", "add", "lord@example.org", "--role", "lord"], PASSWORD, 1),
    (&["setup-link"], "", 1),
    (&["user", "list"], "", 0),
    (&["user", "list", "--query", "be"], "", 0),
    (&["user", "show", "ada@example.org"], "", 0),
    (&["user", "show", "{0}"], "", 0),
    (&["user", "show", "nobody@example.org"], "", 1),
    (&["user", "show", "nobody"], "", 1),
    (&["user", "role", "ben@example.org", "editor"], "", 0),
    (&["user", "role", "ben@example.org", "lord"], "", 1),
    (&["user", "role", "root@example.org", "viewer"], "", 1),
    (&["user", "password", "ada@example.org"], CHANGED, 0),
    (&["user", "verify", "ada@example.org"], "", 0),
    (&["user", "show", "ada@example.org"], "", 0),
    (&["user", "verify", "ada@example.org", "--no"], "", 0),
    (&["user", "unlock", "ada@example.org"], "", 0),
    (&["user", "unlock", "nobody@example.org"], "", 1),
    (&["user", "disable", "ben@example.org"], "", 0),
    (&["user", "enable", "ben@example.org"], "", 0),
    (&["user", "disable", "root@example.org"], "", 1),
    (&["user", "delete", "ben@example.org"], "", 1),
    (&["user", "delete", "ben@example.org", "--yes"], "", 0),
    (&["user", "list"], "", 0),
];

async fn same_on_both(more: &[&str]) {
    let (running, running_ids) = server_with_sessions().await;
    let (mut stopped, stopped_ids) = server_with_sessions().await;
    assert!(stopped.stop().success());
    for (command, stdin, code) in SCRIPT {
        let on = |server: &Server, ids: &[String]| {
            let command: Vec<_> = command.iter().map(|word| word.replace("{0}", &ids[0]).replace("{1}", &ids[1])).collect();
            let command: Vec<_> = command.iter().map(String::as_str).chain(more.iter().copied()).collect();
            // The input ends with a line end, as if it was typed.
            let output = server.command(&command, &format!("{stdin}\n"));
            for bytes in [&output.stdout, &output.stderr] {
                let text = String::from_utf8_lossy(bytes);
                for secret in [PASSWORD, CHANGED, "$scrypt$"] {
                    assert!(!text.contains(secret), "{command:?} shows a secret: {text}");
                }
            }
            Printed::of(&output)
        };
        let (live, direct) = (on(&running, &running_ids), on(&stopped, &stopped_ids));
        assert_eq!(live, direct, "{command:?}");
        assert_eq!(live.code, Some(code), "{command:?}: {live:?}");
        if code == 0 {
            assert!(live.stderr.is_empty(), "{command:?}: {live:?}");
            assert!(more.is_empty() || serde_json::from_str::<Value>(&live.stdout).is_ok(), "{command:?}: {live:?}");
        } else {
            // One readable line on stderr, and nothing on stdout for a program that reads it.
            assert!(live.stdout.is_empty(), "{command:?}: {live:?}");
            assert!(live.stderr.starts_with("doorward: ") && live.stderr.trim_end().lines().count() == 1, "{command:?}: {live:?}");
        }
    }
    stopped.start_again();
    for server in [&running, &stopped] {
        let mut ada = Actor::at(server);
        assert_eq!(ada.login("ada@example.org", PASSWORD, "body").await.status, 401);
        ada.login("ada@example.org", CHANGED, "body").await.expect(200);
        assert_eq!(Actor::at(server).login("ben@example.org", PASSWORD, "body").await.status, 401);
        let mut root = Actor::at(server);
        root.login("root@example.org", PASSWORD, "body").await.expect(200);
        root.get("/api/users").await.expect(200);
    }
}

#[tokio::test]
async fn every_command_says_the_same_on_a_running_and_on_a_stopped_server() {
    same_on_both(&[]).await;
}

#[tokio::test]
async fn every_command_says_the_same_in_json() {
    same_on_both(&["--json"]).await;
}

#[tokio::test]
async fn what_a_command_does_to_a_running_server_is_felt_at_once() {
    let server = Server::start();
    let mut ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    ada.me().await.expect(200);
    server.json(&["user", "role", "ada@example.org", "editor"], "");
    assert_eq!(ada.me().await.outcome(), (401, "TOKEN_REVOKED"), "AZ-2");
    ada.refresh().await.expect(200);
    assert_eq!(ada.me().await.expect(200).text_of("role"), "editor");
    server.json(&["session", "revoke", "--user", "ada@example.org"], "");
    assert_eq!(ada.me().await.outcome(), (401, "TOKEN_REVOKED"));
    assert_eq!(ada.try_refresh().await.outcome(), (401, "TOKEN_REVOKED"));
    ada.login("ada@example.org", PASSWORD, "body").await.expect(200);
    server.json(&["user", "disable", "ada@example.org"], "");
    assert_eq!(ada.me().await.outcome(), (401, "TOKEN_REVOKED"), "REF-10");
    assert_eq!(ada.login("ada@example.org", PASSWORD, "body").await.outcome(), (401, "INVALID_CREDENTIALS"), "AUT-1");
}

#[tokio::test]
async fn the_set_up_link_of_a_command_makes_the_first_admin_once() {
    let server = Server::start();
    let logged = server.setup_token();
    let link = server.json(&["setup-link"], "")["link"].as_str().expect("a link").to_owned();
    let (page, token) = link.split_once("#setup=").expect("a token");
    assert_eq!(page, server.url("/"));
    let set_up = |token: &str| {
        let body = serde_json::json!({ "token": token, "email": "root@example.org", "password": PASSWORD, "tokenTransport": "body" });
        send(Actor::at(&server).request("POST", "/api/auth/setup").json(&body))
    };
    assert_eq!(set_up(&logged).await.outcome(), (401, "INVALID_SETUP_TOKEN"), "a new link takes the place of the old");
    assert_eq!(set_up(token).await.expect(201).body["user"]["role"], "admin");
    assert_eq!(set_up(token).await.outcome(), (401, "INVALID_SETUP_TOKEN"));
}

#[tokio::test]
async fn a_token_is_inspected_without_a_server_and_without_being_believed() {
    let server = Server::start();
    let ada = Actor::registered(&server, "ada@example.org").await;
    let token = ada.access.clone().expect("a token");
    let shown = server.json(&["token", "inspect"], &token);
    assert_eq!((&shown["header"]["typ"], &shown["header"]["alg"]), (&Value::from("at+jwt"), &Value::from("HS256")));
    assert_eq!(shown["claims"]["sub"], ada.id);
    assert!(shown["warning"].as_str().is_some_and(|warning| warning.contains("NOT verified")));
    let dir = tempfile::tempdir().expect("a directory");
    let inspect = |stdin: &str| run(doorward(dir.path(), &[], &[]).args(["token", "inspect"]), stdin);
    let output = inspect(&token);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("NOT verified"));
    for wrong in ["", "a.b.c", "not a token"] {
        let output = inspect(wrong);
        assert_eq!(output.status.code(), Some(1), "{wrong}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("this is no access token"), "{wrong}");
    }
    assert!(!dir.path().join("data").exists());
}

#[test]
fn settings_are_checked_and_shown_with_their_origins_and_without_secrets() {
    const SECRET: &str = "q3vYp0mXz7Rk1tW9sB5nH2dL8fJ4gC6aE0uT";
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("config.toml"), "[tokens]\nissuer = \"from-the-file\"\n").expect("written");
    let environment =
        [("DOORWARD_ACCESS_SECRET", SECRET), ("DOORWARD_TOKENS_AUDIENCE", "everyone")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let config = |arguments: &[&str]| {
        let output = run(doorward(dir.path(), &[], &environment).args(arguments), "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(!text.contains(SECRET), "{text}");
        text
    };
    assert_eq!(config(&["config", "check"]), "all settings are good\n");
    let json = |arguments: &[&str]| serde_json::from_str::<Value>(&config(arguments)).expect("JSON");
    assert_eq!(json(&["config", "check", "--json"]), serde_json::json!({ "ok": true, "warnings": [] }));
    // `config check` shows the warnings that a server would log.
    let public = ["config", "check", "--set", "server.public_url=https://login.example.org"];
    assert!(config(&public).starts_with("warning: server.public_url is https"));
    let warned = json(&[&public[..], &["--json"]].concat());
    assert!(warned["warnings"][0].as_str().is_some_and(|warning| warning.contains("server.trusted_proxies")));
    let dev = config(&["config", "check", "--set", "insecure_dev=true"]);
    assert!(dev.starts_with("warning: insecure_dev = true"), "{dev}");
    let text = config(&["config", "show"]);
    let origin =
        |key: &str| text.lines().find(|line| line.starts_with(key)).and_then(|line| line.split_once(" # ")).map(|(_, origin)| origin);
    assert_eq!(origin("tokens.issuer").or_else(|| origin("issuer")), Some("config.toml"), "{text}");
    assert!(text.contains("environment variable DOORWARD_TOKENS_AUDIENCE") && text.contains("flag --listen") && text.contains("default"));
    assert!(text.contains("DOORWARD_ACCESS_SECRET = ***"), "{text}");
    let shown: Value = serde_json::from_str(&config(&["config", "show", "--json"])).expect("JSON");
    assert_eq!(shown["settings"]["tokens"]["issuer"], "from-the-file");
    assert_eq!(shown["settings"]["tokens"]["refresh_ttl"], "7d");
    assert_eq!((&shown["sources"]["tokens.issuer"], &shown["sources"]["tokens.refresh_ttl"]), (&"config.toml".into(), &"default".into()));
    assert_eq!(shown["secrets"]["DOORWARD_ACCESS_SECRET"], "***");
    assert!(!dir.path().join("data").exists(), "neither makes anything");
}

#[test]
fn a_healthcheck_says_by_its_exit_code_whether_a_server_answers() {
    let mut server = Server::start();
    let address = server.address.clone();
    let check = ["healthcheck", "--at", address.as_str()];
    assert_eq!(server.json(&check, "")["status"], "ok");
    assert_eq!(server.command(&check, "").stdout, b"ok\n");
    assert!(server.stop().success());
    let output = server.command(&check, "");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&address));
}

#[test]
fn ops_4_a_password_cannot_be_given_as_an_argument() {
    let server = Server::start();
    for command in [
        vec!["user", "add", "ada@example.org", "--password", PASSWORD],
        vec!["user", "add", "ada@example.org", PASSWORD],
        vec!["user", "password", "ada@example.org", PASSWORD],
        vec!["token", "inspect", "a.b.c"],
    ] {
        let output = server.command(&command, PASSWORD);
        assert_eq!(output.status.code(), Some(2), "{command:?}");
    }
    assert_eq!(server.json(&["user", "list"], "").as_array().map(Vec::len), Some(0));
}

#[test]
fn sto_11_the_control_socket_is_for_its_owner_alone() {
    let server = Server::start();
    server.json(&["user", "add", "ada@example.org"], PASSWORD);
    let mode = |path: &std::path::Path| fs::symlink_metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&server.data_dir()), 0o700);
    assert_eq!(mode(&server.data_dir().join("control.sock")), 0o600);
    assert_eq!(mode(&server.data_dir().join("keyring")), 0o600);
}

#[test]
fn a_command_finds_a_server_that_was_killed_to_be_stopped() {
    let mut server = Server::start();
    server.json(&["user", "add", "ada@example.org"], PASSWORD);
    server.kill();
    assert!(server.data_dir().join("control.sock").exists(), "a killed server leaves it");
    assert_eq!(server.json(&["user", "show", "ada@example.org"], "")["email"], "ada@example.org");
    server.start_again();
    assert_eq!(server.json(&["user", "show", "ada@example.org"], "")["email"], "ada@example.org");
}

#[test]
fn a_command_without_a_data_directory_makes_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let refused = |arguments: &[&str], stdin: &str, why: &str| {
        let output = run(doorward(dir.path(), &[], &[]).args(arguments), stdin);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert!(stderr.contains(why), "{arguments:?}: {stderr}");
        assert!(!dir.path().join("data").exists(), "{arguments:?} left something");
    };
    refused(&["user", "list"], "", "no data directory");
    refused(&["setup-link"], "", "no data directory");
    // Adding a user makes an installation, but only if they can be added.
    refused(&["user", "add", "no address"], PASSWORD, "the address");
    refused(&["user", "add", "ada@example.org"], "12345678", "the password");
    refused(&["user", "add", "ada@example.org"], "", "no password");
    refused(&["user", "add", "ada@example.org", "--role", "lord"], PASSWORD, "no such role; configured are: admin");
    let output = run(doorward(dir.path(), &[], &[]).args(["user", "add", "ada@example.org"]), PASSWORD);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.starts_with("doorward: a new installation"), "{stderr}");
    fs::write(dir.path().join("file"), "").expect("written");
    for arguments in [&["--data-dir", "file"][..], &["--data-dir", "file", "user", "list"]] {
        let output = run(doorward(dir.path(), &[], &[]).args(arguments), "");
        assert!(String::from_utf8_lossy(&output.stderr).contains("that is no directory"), "{arguments:?}");
    }
}

#[test]
fn a_start_whose_port_is_taken_makes_no_installation() {
    let dir = tempfile::tempdir().expect("a directory");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").to_string();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_doorward"));
    let output = run(command.current_dir(dir.path()).env_clear().args(["--listen", &port]), "");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("is another server running?"), "{stderr}");
    assert!(!dir.path().join("data").exists());
}

#[tokio::test]
async fn sto_10_a_second_server_on_the_same_data_leaves_at_once_and_the_first_stays() {
    let server = Server::start();
    let ada = Actor::registered(&server, "ada@example.org").await;
    let begun = Instant::now();
    let output = server.command(&[], "");
    let took = begun.elapsed();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{stderr}");
    assert!(stderr.contains("data directory in use"), "{stderr}");
    assert!(output.stdout.is_empty());
    assert!(took < Duration::from_secs(1), "{took:?}");
    ada.me().await.expect(200);
    server.json(&["user", "role", "ada@example.org", "editor"], "");
}

#[test]
fn a_command_whose_output_is_not_taken_ends_with_a_message_or_quietly() {
    let server = Server::start();
    server.json(&["user", "add", "ada@example.org"], PASSWORD);
    let settings = ["insecure_dev=true", "passwords.scrypt_log_n=4", "passwords.scrypt_p=1"].map(str::to_owned);
    for arguments in [&["user", "list"][..], &["user", "list", "--json"], &["check"], &["config", "show"], &["setup-link"]] {
        let ended = |stdout: std::process::Stdio| {
            let mut command = doorward(server.dir.path(), &settings, &[]);
            command.args(arguments).stdout(stdout).stderr(std::process::Stdio::piped());
            let output = command.spawn().expect("spawned").wait_with_output().expect("ended");
            (output.status.code(), String::from_utf8(output.stderr).expect("text"))
        };
        // The reader of the pipe has ended.
        assert_eq!(ended(std::io::pipe().expect("a pipe").1.into()), (Some(0), String::new()), "{arguments:?}");
        let (code, stderr) = ended(fs::File::options().write(true).open("/dev/full").expect("there").into());
        assert_eq!((code, stderr.lines().count()), (Some(74), 1), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("doorward: stdout: "), "{stderr}");
    }
}
