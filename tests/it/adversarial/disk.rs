//! Disks that run full, and data directories that another process has locked.

use crate::support::{Actor, Gate, PASSWORD, Server, launch};
use serde_json::Value;
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A file system of 8 MiB in memory.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    pub fn mounted() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs"]).arg(dir.path()).output().expect("mount");
        let why = String::from_utf8_lossy(&mounted.stderr).into_owned();
        assert!(mounted.status.success(), "this test mounts a small tmpfs, which takes root: {why}");
        Self(dir)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The setting that puts a server's data here.
    pub fn setting(&self) -> String {
        format!("server.data_dir={}", self.path().join("data").display())
    }

    fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.path()).expect("a file system");
        stat.f_bavail * stat.f_frsize
    }

    /// Fills the disk with a file until only `left` bytes are free. Removing the file frees the space again.
    pub fn fill(&self, left: u64) -> PathBuf {
        let path = self.path().join("ballast");
        let mut file = File::options().create(true).append(true).open(&path).expect("a file");
        while self.free() > left {
            let chunk = (self.free() - left).min(64 * 1024);
            // Writing the last pages may fail: then the disk is full.
            if file.write_all(&vec![1; usize::try_from(chunk).expect("small")]).is_err() {
                break;
            }
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

async fn health(anyone: &Actor) -> (u16, Value) {
    let answer = anyone.request("GET", "/health").send().await.expect("an answer");
    (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON")["status"].clone())
}

#[tokio::test]
async fn sto_4_on_a_full_disk_nothing_acknowledged_is_lost_and_bearers_are_still_known() {
    let disk = SmallDisk::mounted();
    let data_dir = disk.setting();
    let crowd = ("limits.register_burst", "only thousands of users fill a disk");
    let hashes = ("limits.hashes_per_minute", "only thousands of users fill a disk");
    let mut server = Server::lifting(&[crowd, hashes], &[data_dir.as_str(), "server.min_free_mib=0"]);
    let mut kept = vec![Actor::registered_with_tokens(&server, "first@example.org").await];
    let ballast = disk.fill(256 * 1024);
    let mut refused = None;
    for i in 0..5000 {
        let mut actor = Actor::at(&server);
        let email = format!("user{i}@example.org");
        let answer = actor.register(&email, "body").await;
        if answer.status == 201 {
            kept.push(actor);
        } else {
            assert_eq!(answer.outcome(), (503, "STORAGE_UNAVAILABLE"), "{}", answer.text);
            assert!(answer.header("retry-after").is_some());
            refused = Some(email);
            break;
        }
    }
    let refused = refused.expect("the disk ran full");
    println!("{} acknowledged before the disk was full", kept.len());
    // Read-only: access tokens still work, nothing can be changed, and the operator can see it in `/health`.
    assert_eq!(kept[0].me().await.expect(200).text_of("email"), "first@example.org");
    assert_eq!(kept[0].clone().refresh().await.outcome(), (503, "STORAGE_UNAVAILABLE"));
    assert_eq!(Actor::at(&server).login("first@example.org", PASSWORD, "body").await.outcome(), (503, "STORAGE_UNAVAILABLE"));
    assert_eq!(health(&kept[0]).await, (503, "degraded".into()));
    // Free space alone does not make it writable again: what reached the disk is unknown until a restart reads it.
    std::fs::remove_file(&ballast).expect("removed");
    assert_eq!(Actor::at(&server).register("later@example.org", "body").await.outcome(), (503, "STORAGE_UNAVAILABLE"));
    let log = server.log();
    assert_eq!(log.matches("storage failed; read-only until a restart").count(), 1, "logged once");
    assert!(!log.contains("a bug"), "{log}");

    server.crash();
    assert_eq!(health(&Actor::at(&server)).await, (200, "ok".into()));
    let mut lost = Vec::new();
    for actor in kept {
        let mut actor = actor.moved_to(&server);
        if actor.me().await.status != 200 || actor.refresh().await.status != 200 {
            lost.push(actor.email);
        }
    }
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let report = server.json(&["check"], "");
    assert_eq!(report["violations"], serde_json::json!([]));
    // A registration that was refused may have been stored as a whole or not at all.
    let again = Actor::at(&server).register(&refused, "body").await;
    assert!([(201, ""), (409, "EMAIL_TAKEN")].contains(&again.outcome()), "{}", again.text);
}

#[tokio::test]
async fn gate_30_on_a_full_disk_passes_are_judged_as_ever() {
    let disk = SmallDisk::mounted();
    let gate = Gate::with("", &[disk.setting().as_str(), "server.min_free_mib=0"]);
    let mut ada = Actor::with_role(&gate.server, "ada@example.org", "editor").await;
    let pass = gate.enter(&ada, 7001, "/").await;
    disk.fill(0);
    assert_eq!(gate.status(7001, "GET", "/x", &pass).await, 200);
    assert_eq!(gate.status(7001, "GET", "/admin", &pass).await, 403);
    assert_eq!(gate.status(7002, "GET", "/x", &pass).await, 401);
    // Whatever becomes of a sign-out there, an answer that it is done is true.
    if ada.logout().await.status == 200 {
        assert_eq!(gate.status(7001, "GET", "/x", &pass).await, 401);
    }
}

#[tokio::test]
async fn sto_4_a_start_on_a_full_disk_ends_soon_or_serves_and_a_later_one_has_everything() {
    let disk = SmallDisk::mounted();
    let data_dir = disk.setting();
    let mut server = Server::with(&[data_dir.as_str(), "server.min_free_mib=0"]);
    let ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    server.kill();
    let ballast = disk.fill(0);
    let begun = Instant::now();
    let settings = ["insecure_dev=true", data_dir.as_str(), "server.min_free_mib=0"].map(str::to_owned);
    match launch(server.dir.path(), &settings, &[]) {
        Ok((mut child, address)) => {
            println!("it serves at {address}");
            child.kill().expect("killed");
            child.wait().expect("ended");
        }
        Err(log) => assert!(log.starts_with("exit status: 74"), "{log}"),
    }
    assert!(begun.elapsed() < Duration::from_secs(35));
    let log = server.log();
    assert!(!log.contains("panicked at") && !log.contains("a bug"), "{log}");
    std::fs::remove_file(&ballast).expect("removed");
    server.start_again();
    let mut ada = ada.moved_to(&server);
    ada.me().await.expect(200);
    ada.refresh().await.expect(200);
}

#[tokio::test]
async fn sto_5_below_the_low_water_mark_only_revocations_are_written_and_room_brings_it_back() {
    let disk = SmallDisk::mounted();
    let data_dir = disk.setting();
    let mut server = Server::with(&[data_dir.as_str(), "server.min_free_mib=4"]);
    let mut leaving = Actor::registered_with_tokens(&server, "leaving@example.org").await;
    let staying = Actor::registered_with_tokens(&server, "staying@example.org").await;
    let ballast = disk.fill(3 * 1024 * 1024);
    let anyone = Actor::at(&server);
    until("it is seen that the disk is full", async || health(&anyone).await == (503, "degraded".into())).await;
    assert_eq!(Actor::at(&server).register("new@example.org", "body").await.outcome(), (503, "STORAGE_UNAVAILABLE"));
    assert_eq!(staying.try_refresh().await.outcome(), (503, "STORAGE_UNAVAILABLE"));
    staying.me().await.expect(200);
    leaving.logout().await.expect(200);
    assert_eq!(leaving.me().await.outcome(), (401, "TOKEN_REVOKED"));
    server.crash();
    let (leaving, mut staying, anyone) = (leaving.moved_to(&server), staying.moved_to(&server), anyone.moved_to(&server));
    assert_eq!(leaving.me().await.outcome(), (401, "TOKEN_REVOKED"), "the logout was durable");
    std::fs::remove_file(ballast).expect("removed");
    until("room is seen again", async || health(&anyone).await == (200, "ok".into())).await;
    staying.refresh().await.expect(200);
    Actor::registered_with_tokens(&server, "new@example.org").await;
    assert!(server.log().contains("there is room on the disk again"));
}

#[tokio::test]
async fn sto_10_a_second_process_is_told_within_a_second_and_the_first_goes_on() {
    let server = Server::start();
    let ada = Actor::registered(&server, "ada@example.org").await;
    let begun = Instant::now();
    let refused = launch(server.dir.path(), &["insecure_dev=true".into()], &[]).expect_err("in use");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(refused.starts_with("exit status: 75"), "{refused}");
    assert!(refused.contains("data directory in use"), "{refused}");
    ada.me().await.expect(200);
    assert_eq!(server.json(&["check"], "")["violations"], serde_json::json!([]));
}

/// Waits until a condition holds.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(45), "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
