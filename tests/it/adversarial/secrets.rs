//! Secrets must not appear in logs, errors, process lists, command output or data files.

use crate::support::{Actor, Answer, PASSWORD, Server, doorward, run, send};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::Stdio,
};

const ACCESS_SECRET: &str = "canary-access-secret-0123456789abcdef";
const REFRESH_SECRET: &str = "canary-refresh-secret-0123456789abcdef";

/// Every secret that was used or issued, by name.
#[derive(Default)]
struct Secrets(BTreeMap<String, String>);

impl Secrets {
    fn add(&mut self, name: &str, secret: &str) {
        assert!(secret.len() >= 8, "{name}: {secret:?} is found everywhere");
        self.0.insert(format!("{name} {}", self.0.len()), secret.to_owned());
    }

    /// Adds the secrets that an answer issues, and checks that an error shows none.
    fn collect(&mut self, answer: Answer) -> Answer {
        if answer.status >= 400 {
            self.absent_from("an error", answer.text.as_bytes());
        }
        for member in ["accessToken", "refreshToken", "csrfToken", "code"] {
            if let Some(secret) = answer.body[member].as_str() {
                self.add(member, secret);
            }
        }
        for cookie in answer.set_cookies() {
            let (name, value) = cookie.split(';').next().and_then(|pair| pair.split_once('=')).expect("a pair");
            if !value.is_empty() {
                self.add(&format!("cookie {name}"), value);
            }
        }
        answer
    }

    #[track_caller]
    fn absent_from(&self, place: &str, bytes: &[u8]) {
        for (name, secret) in &self.0 {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{place} shows the {name}");
        }
    }
}

/// All files below a directory.
fn files(path: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).filter(|path| path.is_file()).collect()
}

/// Uses every route, with valid and with invalid requests.
async fn walk(server: &Server, secrets: &mut Secrets) {
    let new_password = "canary-new-password-77";
    let wrong_password = "canary-wrong-password-78";
    let admin_password = "canary-admin-password-79";
    for password in [PASSWORD, new_password, wrong_password, admin_password] {
        secrets.add("password", password);
    }
    let setup = json!({ "token": server.setup_token(), "email": "root@example.org", "password": admin_password, "tokenTransport": "body" });
    let mut admin = Actor::at(server);
    let answer = secrets.collect(send(admin.request("POST", "/api/auth/setup").json(&setup)).await.expect(201));
    admin.take(&answer);
    secrets.collect(send(admin.request("POST", "/api/auth/setup").json(&setup)).await.expect(401));
    let mut ada = Actor::at(server).as_browser();
    secrets.collect(ada.register("ada@example.org", "cookie").await.expect(201));
    secrets.collect(ada.register("ada@example.org", "cookie").await.expect(409));
    let old = ada.clone();
    secrets.collect(ada.refresh().await.expect(200));
    secrets.collect(send(ada.with_cookies("GET", "/api/auth/csrf")).await);
    secrets.collect(send(ada.with_cookies("POST", "/api/auth/refresh")).await.expect(403));
    let mut bob = Actor::at(server);
    secrets.collect(bob.register("bob@example.org", "body").await.expect(201));
    secrets.collect(bob.login("bob@example.org", wrong_password, "body").await.expect(401));
    secrets.collect(bob.change_password(wrong_password, new_password).await.expect(401));
    let changed = secrets.collect(bob.change_password(PASSWORD, new_password).await.expect(200));
    bob.take(&changed);
    secrets.collect(admin.set_role(&bob.id, "editor").await.expect(200));
    let invite = secrets.collect(admin.post("/api/invites", &json!({})).await.expect(201));
    let invited = json!({ "email": "eve@example.org", "password": PASSWORD, "invite": invite.body["code"], "tokenTransport": "body" });
    secrets.collect(send(bob.request("POST", "/api/auth/register").json(&invited)).await);
    for path in ["/api/auth/sessions", "/api/auth/verify", "/api/users/me", "/api/users"] {
        secrets.collect(bob.get(path).await);
        secrets.collect(admin.get(path).await);
    }
    // Secrets in parts of a request where they do not belong.
    let token = admin.access.clone().expect("a token");
    for path in [format!("/api/users/me?access_token={token}"), format!("/api/users/{token}"), format!("/{token}")] {
        secrets.collect(send(bob.request("GET", &path)).await);
    }
    let bodies = [
        format!("{{\"email\":\"{new_password}\",\"password\":\"{wrong_password}\""),
        format!("{{\"email\":\"{new_password}\",\"password\":\"{wrong_password}\",\"extra\":\"{admin_password}\"}}"),
        format!("{{\"email\":[\"{new_password}\"],\"password\":\"{wrong_password}\"}}"),
        format!("{{\"refreshToken\":\"{token}\"}}"),
    ];
    for body in bodies {
        for path in ["/api/auth/login", "/api/auth/register", "/api/auth/refresh"] {
            let request = bob.request("POST", path).header("content-type", "application/json").body(body.clone());
            secrets.collect(send(request).await);
        }
    }
    for bearer in [format!("{token}x"), format!("Bearer {token}"), secrets.0.values().next().expect("one").clone()] {
        secrets.collect(send(bob.request("GET", "/api/users/me").header("authorization", format!("Bearer {bearer}"))).await);
    }
    // A reused refresh token, which revokes the sessions of its user.
    let mut thief = old;
    server.advance(std::time::Duration::from_secs(10));
    secrets.collect(thief.refresh().await.expect(401));
    secrets.collect(ada.refresh().await);
    secrets.collect(bob.logout().await.expect(200));
    secrets.collect(admin.delete(&format!("/api/users/{}", bob.id)).await.expect(204));
    secrets.collect(admin.post("/api/auth/logout-all", &json!({})).await);
}

#[tokio::test]
async fn log_1_no_secret_is_seen_anywhere_but_by_its_owner() {
    for format in ["log.format=text", "log.format=json"] {
        let environment = [("DOORWARD_ACCESS_SECRET", ACCESS_SECRET), ("DOORWARD_REFRESH_SECRET", REFRESH_SECRET)];
        let mut server = Server::with_environment(&["log.level=trace", format], &environment);
        let mut secrets = Secrets::default();
        secrets.add("access secret", ACCESS_SECRET);
        secrets.add("refresh secret", REFRESH_SECRET);
        let keyring: Value =
            serde_json::from_str(&std::fs::read_to_string(server.data_dir().join("keyring")).expect("a keyring")).expect("JSON");
        for ring in ["access", "refresh", "hash", "csrf"] {
            secrets.add(ring, keyring[ring][0]["secret"].as_str().expect("a secret"));
        }
        walk(&server, &mut secrets).await;
        let command_line = std::fs::read(format!("/proc/{}/cmdline", server.pid())).expect("a command line");
        secrets.absent_from("the command line", &command_line);
        for arguments in [
            &["user", "list"][..],
            &["user", "show", "ada@example.org"],
            &["session", "list", "ada@example.org"],
            &["check"],
            &["config", "show"],
        ] {
            for json in [&[][..], &["--json"]] {
                let output = server.command(&[arguments, json].concat(), "");
                secrets.absent_from(&format!("{arguments:?}"), &[output.stdout, output.stderr].concat());
            }
        }
        let added = server.command(&["user", "add", "cli@example.org"], PASSWORD);
        secrets.absent_from("user add", &[added.stdout, added.stderr].concat());
        // The set-up link is the only secret that is logged. That is on purpose, and this one has been used.
        let log = server.log();
        assert!(log.contains("#setup=") && log.lines().count() > 20, "the log is there to be searched");
        secrets.absent_from("the log", log.as_bytes());
        assert!(server.stop().success());
        for file in files(&server.data_dir()) {
            let bytes = std::fs::read(&file).expect("a file");
            if file.file_name().is_some_and(|name| name == "keyring") {
                continue;
            }
            secrets.absent_from(&file.display().to_string(), &bytes);
        }
    }
}

#[tokio::test]
async fn log_2_no_client_writes_a_line_of_its_own() {
    for format in ["text", "json"] {
        let setting = format!("log.format={format}");
        let server = Server::with(&["log.level=trace", setting.as_str()]);
        let anyone = Actor::at(&server);
        for evil in
            ["a\r\nFORGED line", "a\nFORGED line", "\u{1b}[2J\u{1b}[31mFORGED", "a\u{2028}FORGED", "a\u{85}FORGED", "\"}\\\",FORGED"]
        {
            let body = json!({ "email": format!("{evil}@example.org"), "password": PASSWORD, "tokenTransport": "body" });
            for path in ["/api/auth/register", "/api/auth/login"] {
                send(anyone.request("POST", path).json(&body)).await;
            }
            // The bytes that HTTP allows in a header; below, those that it allows in a path.
            let header: Vec<u8> = evil.bytes().filter(|b| !matches!(b, b'\r' | b'\n' | 0x1b)).collect();
            for name in ["user-agent", "x-request-id", "x-forwarded-for", "referer"] {
                send(anyone.request("GET", "/api/users/me").header(name, &header[..])).await;
            }
            let login = json!({ "email": "ada@example.org", "password": PASSWORD });
            send(anyone.request("POST", "/api/auth/login").header("user-agent", &header[..]).json(&login)).await;
            send(anyone.request("GET", "/%0d%0aFORGED%1b[31m")).await;
        }
        let log = server.log();
        assert!(log.lines().count() > 10, "{log}");
        for line in log.lines() {
            assert!(!line.contains('\u{1b}') && !line.starts_with("FORGED"), "{line:?}");
            assert!(!line.contains('\u{2028}') && !line.contains('\u{85}'), "{line:?}");
            if format == "json" {
                serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            } else {
                assert!(line.starts_with("20"), "a line begins with its time: {line:?}");
            }
        }
    }
}

#[tokio::test]
async fn log_4_a_log_that_cannot_be_written_stops_nobody() {
    let (reader, closed) = std::io::pipe().expect("a pipe");
    drop(reader);
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    for stderr in [Stdio::from(full), Stdio::from(closed)] {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = ["insecure_dev=true", "passwords.scrypt_log_n=4", "log.level=trace"].map(str::to_owned);
        let mut child =
            doorward(dir.path(), &settings, &[]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().expect("spawned");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on http://").expect("it listens");
        let mut ada = Actor::at_address(address);
        ada.register("ada@example.org", "body").await.expect(201);
        for _ in 0..20 {
            ada.refresh().await.expect(200);
            ada.me().await.expect(200);
        }
        assert_eq!(child.try_wait().expect("waited"), None, "it goes on");
        child.kill().expect("killed");
        child.wait().expect("ended");
    }
}

#[tokio::test]
async fn ops_4_nothing_of_its_memory_reaches_a_core_file() {
    // Raises the limit on core files, whatever it was, for this server and for everything that other tests start from now
    // on. That is harmless: servers lower it again, and no other process ends by a signal that leaves a core file.
    let unlimited = rustix::process::Rlimit { current: None, maximum: None };
    rustix::process::setrlimit(rustix::process::Resource::Core, unlimited).expect("core files may be offered: this test needs root");
    let mut server = Server::start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    let pid = rustix::process::Pid::from_raw(i32::try_from(server.pid()).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::ABORT).expect("signalled");
    let status = server.wait(std::time::Duration::from_secs(10));
    assert_eq!(status.signal(), Some(6));
    assert!(!status.core_dumped());
    let cores: Vec<_> = files(server.dir.path()).into_iter().filter(|path| path.to_string_lossy().contains("core")).collect();
    assert!(cores.is_empty(), "{cores:?}");
}

#[test]
fn ops_4_other_processes_of_its_user_may_not_look_into_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let trace = dir.path().join("trace");
    let command = doorward(dir.path(), &[], &[]);
    let mut traced = std::process::Command::new("strace");
    traced.args(["-f", "-e", "trace=prctl", "-o"]).arg(&trace).arg(command.get_program()).args(["config", "check"]).current_dir(dir.path());
    let output = run(&mut traced, "");
    assert!(output.status.success(), "this test needs strace: {}", String::from_utf8_lossy(&output.stderr));
    let calls = std::fs::read_to_string(trace).expect("a trace");
    assert!(calls.contains("prctl(PR_SET_DUMPABLE, SUID_DUMP_DISABLE) = 0"), "{calls}");
}
