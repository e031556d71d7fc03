//! More logins at once than there are hashing threads (LIM-9), with the default scrypt parameters.

use crate::support::{Actor, PASSWORD, Server, TURN, send};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Barrier,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

const THREADS: u64 = 2;
/// The memory of one hash while it is computed: 128 * r * N bytes, in KiB.
const HASH_MEMORY: u64 = 128 * 8 * (1 << 15) / 1024;
const MARGIN: u64 = 64 * 1024;
const CLIENTS: usize = 200;

/// The value of a line of `/proc/PID/status`, in KiB.
fn memory(server: &Server, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("a process");
    let found = status.lines().find_map(|text| text.strip_prefix(line)).expect("its memory");
    found.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("a number")
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lim_9_two_hundred_sign_ins_at_once_are_served_or_refused_and_others_notice_nothing() {
    let _turn = TURN.lock().await;
    let proxied = "server.trusted_proxies=127.0.0.1";
    let server =
        Server::with(&["passwords.scrypt_log_n=15", "passwords.scrypt_p=3", "passwords.hash_threads=2", "log.level=info", proxied]);
    let base = memory(&server, "VmRSS");
    let alice = Actor::registered(&server, "alice@example.org").await;
    let is_over = Arc::new(AtomicBool::new(false));
    // A hundred requests a second that hash nothing, sent without waiting for the answer to the one before.
    let bystander = tokio::spawn({
        let (alice, is_over) = (alice.clone(), Arc::clone(&is_over));
        async move {
            let (mut ticks, mut tasks) = (interval(Duration::from_millis(10)), JoinSet::new());
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            while !is_over.load(Relaxed) {
                ticks.tick().await;
                let alice = alice.clone();
                tasks.spawn(async move {
                    let begun = Instant::now();
                    alice.me().await.expect(200);
                    begun.elapsed()
                });
            }
            tasks.join_all().await
        }
    });
    let (barrier, mut tasks) = (Arc::new(Barrier::new(CLIENTS)), JoinSet::new());
    for n in 0..CLIENTS {
        let (client, barrier) = (Actor::at(&server).from_address(n), Arc::clone(&barrier));
        let body = json!({ "email": format!("user{n}@example.org"), "password": PASSWORD });
        tasks.spawn(async move {
            barrier.wait().await;
            let begun = Instant::now();
            (send(client.request("POST", "/api/auth/login").json(&body)).await, begun.elapsed())
        });
    }
    let answers = tasks.join_all().await;
    is_over.store(true, Relaxed);
    let mut bystander = bystander.await.expect("answered");
    let peak = memory(&server, "VmHWM");

    let (tried, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|(answer, _)| answer.status == 401);
    for (answer, _) in &refused {
        assert_eq!(answer.outcome(), (503, "OVERLOADED"));
        assert!(answer.header("retry-after").and_then(|wait| wait.parse::<u64>().ok()).is_some_and(|wait| wait >= 1));
    }
    // A request that finds the queue full is refused at once; one that waits in vain is refused after `hash_wait`.
    let (mut at_once, in_vain): (Vec<_>, Vec<_>) = refused.iter().map(|(_, took)| *took).partition(|took| *took < Duration::from_secs(9));
    let (p50, p99) = (percentile(&mut bystander, 50), percentile(&mut bystander, 99));
    println!("base {base} KiB, peak {peak} KiB, allowed {} KiB", base + THREADS * HASH_MEMORY + MARGIN);
    println!("{} tried, {} refused at once, {} after waiting", tried.len(), at_once.len(), in_vain.len());
    println!("refused after {:?} (p50), {:?} (most)", percentile(&mut at_once, 50), percentile(&mut at_once, 100));
    println!("{} requests of a bystander: p50 {p50:?}, p99 {p99:?}", bystander.len());
    assert!(peak < base + THREADS * HASH_MEMORY + MARGIN, "peak {peak} KiB over a base of {base} KiB");
    assert!(tried.len() >= 2, "nobody was served");
    assert!(at_once.len() >= CLIENTS / 2, "{} refused at once", at_once.len());
    // If the network drops a SYN, the kernel sends it again after a second.
    assert!(percentile(&mut at_once, 100) < Duration::from_secs(3), "the slowest refusal took {:?}", percentile(&mut at_once, 100));
    assert!(in_vain.iter().all(|took| *took < Duration::from_secs(12)), "{in_vain:?}");
    // An idle machine takes 50 ms; the bound leaves room for a shared one, and the figure is printed.
    assert!(bystander.len() >= 100 && p99 < Duration::from_millis(250), "p99 {p99:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_up_while_waiting_to_be_hashed_for_gives_the_place_back() {
    let _turn = TURN.lock().await;
    // One thread that takes a second or more for each hash, so a queue of twenty takes at least twenty seconds.
    let settings = [
        "passwords.scrypt_log_n=16",
        "passwords.scrypt_p=8",
        "passwords.hash_threads=1",
        "passwords.hash_queue=20",
        "passwords.hash_wait=60s",
        "server.trusted_proxies=127.0.0.1",
    ];
    let server = Server::with(&settings);
    let body = json!({ "email": "nobody@example.org", "password": PASSWORD });
    let begun = Instant::now();
    assert_eq!(send(Actor::at(&server).request("POST", "/api/auth/login").json(&body)).await.status, 401);
    let one_hash = begun.elapsed();
    // Each request is for another account and comes from another address.
    let request = |n: usize| {
        let text = json!({ "email": format!("nobody{n}@example.org"), "password": PASSWORD }).to_string();
        format!(
            "POST /api/auth/login HTTP/1.1\r\nHost: {}\r\nX-Forwarded-For: 198.18.0.{n}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{text}",
            server.address,
            text.len()
        )
    };
    // One is on the thread and fifteen are in the queue, whose last five places are kept for known devices and networks:
    // fourteen of thirty are refused, and the rest wait.
    let mut crowd = JoinSet::new();
    for n in 0..30 {
        let mut stream = TcpStream::connect(&server.address).await.expect("connected");
        stream.write_all(request(n).as_bytes()).await.expect("sent");
        crowd.spawn(async move {
            let mut line = [0; 12];
            stream.read_exact(&mut line).await.expect("an answer");
            line
        });
    }
    let begun = Instant::now();
    for n in 0..14 {
        let line = crowd.join_next().await.expect("one of thirty").expect("read");
        assert_eq!(&line, b"HTTP/1.1 503", "refused {n}");
    }
    println!("a hash takes {one_hash:?}; fourteen were refused after {:?}", begun.elapsed());
    // All others close their connections.
    crowd.shutdown().await;
    let begun = Instant::now();
    let answer = loop {
        let answer = send(Actor::at(&server).request("POST", "/api/auth/login").json(&body)).await;
        if answer.status != 503 {
            break answer;
        }
        assert!(begun.elapsed() < one_hash * 5, "still full {:?} after all hung up", begun.elapsed());
    };
    println!("served {:?} after all hung up", begun.elapsed());
    assert_eq!(answer.status, 401);
    assert!(begun.elapsed() < one_hash * 8, "{:?}: somebody was hashed for who had gone", begun.elapsed());
}
