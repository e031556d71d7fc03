//! Flipped bits and truncated files: the start fails with a clear message or the server works correctly (STO-6..9).

use super::age::duplicate;
use crate::support::{Actor, PASSWORD, Server, doorward, run, send};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const USERS: usize = 60;

/// An undamaged data directory of a server that was used and stopped. Each test damages a copy of it.
struct Fixture {
    server: Server,
    emails: BTreeSet<String>,
}

impl Fixture {
    async fn new() -> Self {
        let mut server = Server::lifting(
            &[("limits.register_burst", "sixty users to lose"), ("limits.hashes_per_minute", "sixty users to lose")],
            &["log.level=warn"],
        );
        let mut emails = BTreeSet::new();
        for i in 0..USERS {
            let email = format!("user{i}@example.org");
            let mut actor = Actor::registered_with_tokens(&server, &email).await;
            emails.insert(email);
            for _ in 0..i % 4 {
                actor.refresh().await.expect(200);
            }
            if i % 5 == 0 {
                actor.logout().await.expect(200);
            }
            // Restarts once, so that some changes are in sled's snapshot and some only in its log.
            if i == USERS / 2 {
                assert!(server.stop().success());
                server.start_again();
            }
        }
        // The rollback marker is written within a second. From then on, a loss of the end of the log is detected.
        let noted = || std::fs::read_to_string(server.data_dir().join("marker")).unwrap_or_default();
        let before = noted();
        Actor::at(&server).login("user1@example.org", PASSWORD, "body").await.expect(200);
        let begun = Instant::now();
        while noted() == before {
            assert!(begun.elapsed() < Duration::from_secs(10), "the marker is not noted");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.kill();
        Self { server, emails }
    }

    fn copy(&self) -> TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        duplicate(&self.server.data_dir(), &dir.path().join("data"));
        dir
    }

    /// All files that can be damaged, as paths below the data directory.
    fn files(&self) -> Vec<PathBuf> {
        let data = self.server.data_dir();
        let below = |path: &str| std::fs::read_dir(data.join(path)).expect("a directory").map(|e| e.expect("an entry").path());
        let mut files: Vec<_> = below("").chain(below("db")).filter(|path| path.is_file()).collect();
        files.iter_mut().for_each(|path| *path = path.strip_prefix(&data).expect("below").to_owned());
        files.sort();
        assert!(files.iter().any(|path| path.to_string_lossy().starts_with("db/snap.")), "{files:?}");
        files
    }
}

/// The outcome of a start on a damaged directory.
enum Start {
    Serves(Child, String),
    Ended { code: Option<i32>, log: String },
}

fn settings() -> Vec<String> {
    [
        "insecure_dev=true",
        "passwords.scrypt_log_n=4",
        "passwords.scrypt_p=1",
        "limits.login_failures=100",
        "limits.login_failures_per_address=100000",
        // Sixty users log in after every start.
        "limits.hashes_per_minute=100000",
        "log.level=info",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Starts a server, which must listen or end within 35 s.
fn start(dir: &Path) -> Start {
    let log = File::create(dir.join("log")).expect("a log");
    let mut command = doorward(dir, &settings(), &[]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().expect("spawned");
    let (send, line) = mpsc::channel();
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = stdout.read_line(&mut line);
        let _ = send.send(line);
    });
    let line = line.recv_timeout(Duration::from_secs(35)).unwrap_or_else(|_| {
        let _ = child.kill();
        panic!("neither up nor down after 35 s: {}", logged(dir))
    });
    match line.trim().strip_prefix("listening on http://") {
        Some(address) => Start::Serves(child, address.to_owned()),
        None => {
            let begun = Instant::now();
            while child.try_wait().expect("waited").is_none() {
                assert!(begun.elapsed() < Duration::from_secs(5), "it closed stdout and went on: {}", logged(dir));
                std::thread::sleep(Duration::from_millis(5));
            }
            Start::Ended { code: child.wait().expect("ended").code(), log: logged(dir) }
        }
    }
}

fn logged(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("log")).expect("a log")
}

fn ask(dir: &Path, arguments: &[&str]) -> Value {
    let output = run(doorward(dir, &settings(), &[]).args(arguments).arg("--json"), "");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!stderr.contains("panicked at"), "{arguments:?}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {:?}: {stderr}", output.status))
}

/// Starts on a damaged directory and checks that the outcome is allowed. Returns what kind of outcome it was.
async fn check_start(fixture: &Fixture, dir: &Path, what: &str) -> String {
    let (mut child, address) = match start(dir) {
        Start::Serves(child, address) => (child, address),
        Start::Ended { code, log } => {
            assert!(matches!(code, Some(65 | 74 | 78)), "{what}: {code:?}: {log}");
            assert!(!log.contains("panicked at"), "{what}: {log}");
            let reasons = log.lines().filter(|line| line.starts_with("doorward: ") || line.contains("error: ")).count();
            assert_eq!(reasons, 1, "{what}: one line says why: {log}");
            return format!("exit {}", code.expect("a code"));
        }
    };
    let anyone = Actor::at_address(&address);
    assert_eq!(send(anyone.request("GET", "/health")).await.status, 200, "{what}");
    let check = ask(dir, &["check"]);
    let violations = check["violations"].as_array().expect("a list").clone();
    let users = ask(dir, &["user", "list"]);
    let listed: BTreeSet<_> =
        users.as_array().expect("a list").iter().map(|user| user["email"].as_str().expect("an address").to_owned()).collect();
    assert!(listed.is_subset(&fixture.emails), "{what}: strangers among {listed:?}");
    let mut shut_out = Vec::new();
    for email in &fixture.emails {
        let status = anyone.clone().login(email, PASSWORD, "body").await.status;
        assert!(status == 200 || violations.iter().any(|_| true) || !listed.contains(email), "{what}: {email}: {status}");
        if status != 200 {
            shut_out.push(email.clone());
        }
    }
    let log = logged(dir);
    assert!(!log.contains("panicked at"), "{what}: {log}");
    child.kill().expect("killed");
    child.wait().expect("ended");
    match (shut_out.len(), violations.len()) {
        (0, 0) => "serves, everything there".into(),
        (0, _) => "serves, everybody there, check reports damage".into(),
        (n, 0) => {
            assert!(n < fixture.emails.len(), "{what}: an empty database was served");
            assert!(log.contains("state_rollback"), "{what}: {n} users are gone and nobody noticed");
            "serves an older state and says so".into()
        }
        _ => "serves, somebody fails closed, check reports it".into(),
    }
}

/// xorshift64: the same seed gives the same damage.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Damages a file and returns a description of the damage.
fn damage(path: &Path, rng: &mut Rng) -> String {
    let mut bytes = std::fs::read(path).expect("a file");
    let len = bytes.len() as u64;
    let how = if len == 0 || rng.below(4) == 0 {
        let left = rng.below(len + 1);
        bytes.truncate(usize::try_from(left).expect("small"));
        format!("cut to {left} of {len} bytes")
    } else {
        // sled's file ends with unused space; damage there would change nothing.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(len, |last| last as u64 + 1);
        let (at, bit) = (rng.below(used), rng.below(8));
        bytes[usize::try_from(at).expect("small")] ^= 1 << bit;
        format!("bit {bit} of byte {at} of {len} flipped")
    };
    std::fs::write(path, bytes).expect("written");
    how
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sto_6_damaged_files_end_a_start_clearly_or_are_served_correctly() {
    let count: u64 = std::env::var("DOORWARD_TEST_DAMAGES").map_or(40, |n| n.parse().expect("a number"));
    let seed: u64 = std::env::var("DOORWARD_TEST_SEED").map_or(0x9e37_79b9_7f4a_7c15, |n| n.parse().expect("a number"));
    let fixture = std::sync::Arc::new(Fixture::new().await);
    let files = fixture.files();
    let mut outcomes: BTreeMap<(String, String), u32> = BTreeMap::new();
    let mut tasks = tokio::task::JoinSet::new();
    let mut rng = Rng(seed);
    for i in 0..count {
        // Every second damage is to the database file itself.
        let file = if i % 2 == 0 { PathBuf::from("db/db") } else { files[usize::try_from(i / 2).expect("small") % files.len()].clone() };
        let dir = fixture.copy();
        let how = damage(&dir.path().join("data").join(&file), &mut rng);
        let kind = file.to_string_lossy().split_once("snap.").map_or_else(|| file.display().to_string(), |_| "db/snap".into());
        let fixture = fixture.clone();
        tasks.spawn(async move {
            let what = format!("damage {i}: {}: {how}", file.display());
            (kind, check_start(&fixture, dir.path(), &what).await)
        });
        if tasks.len() >= 3 {
            *outcomes.entry(tasks.join_next().await.expect("one").expect("checked")).or_default() += 1;
        }
    }
    while let Some(outcome) = tasks.join_next().await {
        *outcomes.entry(outcome.expect("checked")).or_default() += 1;
    }
    for ((file, outcome), n) in outcomes {
        println!("{file:<12}{outcome:<50}{n}");
    }
}

#[tokio::test]
async fn sto_7_a_cut_snapshot_is_rebuilt_and_nobody_is_missing() {
    let fixture = Fixture::new().await;
    let dir = fixture.copy();
    let snapshot = fixture.files().into_iter().find(|path| path.to_string_lossy().contains("snap.")).expect("a snapshot");
    let path = dir.path().join("data").join(snapshot);
    let bytes = std::fs::read(&path).expect("a file");
    std::fs::write(&path, &bytes[..5]).expect("cut");
    assert_eq!(check_start(&fixture, dir.path(), "a cut snapshot").await, "serves, everything there");
}

/// A kind of damage to a data directory: its description and the function that does it.
type Damage = (&'static str, fn(&Path));

#[tokio::test]
async fn sto_8_a_database_that_is_gone_is_missed() {
    let fixture = Fixture::new().await;
    let damages: [Damage; 4] = [
        ("its file deleted", |data| std::fs::remove_file(data.join("db/db")).expect("removed")),
        ("its file emptied", |data| drop(File::create(data.join("db/db")).expect("emptied"))),
        ("its directory deleted", |data| std::fs::remove_dir_all(data.join("db")).expect("removed")),
        ("the keyring deleted", |data| std::fs::remove_file(data.join("keyring")).expect("removed")),
    ];
    for (what, inflict) in damages {
        let dir = fixture.copy();
        inflict(&dir.path().join("data"));
        assert_eq!(check_start(&fixture, dir.path(), what).await, "exit 65", "{what}");
    }
}

#[tokio::test]
async fn check_says_the_same_of_a_live_and_of_a_stopped_database() {
    let mut server = Server::start();
    let admin = Actor::with_role(&server, "admin@example.org", "admin").await;
    let mut ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    let bob = Actor::registered(&server, "bob@example.org").await;
    ada.refresh().await.expect(200);
    admin.set_role(&ada.id, "editor").await.expect(200);
    admin.delete(&format!("/api/users/{}", bob.id)).await.expect(204);
    admin.post("/api/invites", &serde_json::json!({})).await.expect(201);
    ada.logout().await.expect(200);
    let both = |server: &Server| [&["check"][..], &["check", "--json"]].map(|arguments| server.command(arguments, ""));
    let live = both(&server);
    // Killed: an orderly stop is an event, and so a row more.
    server.kill();
    for (live, stopped) in live.into_iter().zip(both(&server)) {
        assert_eq!((live.status.code(), stopped.status.code()), (Some(0), Some(0)));
        assert_eq!(String::from_utf8_lossy(&live.stdout), String::from_utf8_lossy(&stopped.stdout));
    }
}
