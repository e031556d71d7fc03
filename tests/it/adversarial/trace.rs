//! The server's system calls, traced by strace: the order of writing, syncing and answering.

use crate::support::{Actor, Gate, Server};
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

/// strace, attached to a running server.
struct Trace {
    strace: Child,
    file: std::path::PathBuf,
}

impl Trace {
    /// Attaches to every thread of the server, and returns once it is attached.
    fn of(server: &Server, calls: &str) -> Self {
        let file = server.dir.path().join("trace");
        let mut strace = Command::new("strace")
            .args(["-f", "-y", "-s", "16", "-e", calls, "-o"])
            .arg(&file)
            .args(["-p", &server.pid().to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this test needs strace: apt-get install strace");
        let mut said = String::new();
        let mut stderr = BufReader::new(strace.stderr.take().expect("piped"));
        stderr.read_line(&mut said).expect("a line");
        assert!(said.contains("attached"), "strace may not trace here: {said}");
        // It says a line for each thread that begins later, and would end if nobody read it.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        let begun = std::time::Instant::now();
        while !every_thread_is_traced(server.pid()) {
            assert!(begun.elapsed() < std::time::Duration::from_secs(10), "strace did not attach to every thread");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Self { strace, file }
    }

    /// Detaches and returns every line of the trace.
    fn end(mut self) -> Vec<String> {
        let pid = rustix::process::Pid::from_child(&self.strace);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("signalled");
        self.strace.wait().expect("ended");
        std::fs::read_to_string(&self.file).expect("a trace").lines().map(str::to_owned).collect()
    }
}

fn every_thread_is_traced(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
    threads
        .flatten()
        .all(|thread| std::fs::read_to_string(thread.path().join("status")).is_ok_and(|status| !status.contains("TracerPid:\t0\n")))
}

/// A system call that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Write,
    /// `fdatasync` of the database has returned.
    Synced,
    /// The server begins to send a success to the client.
    Answer,
}

/// The events of a trace in order. If other calls run during a call, strace splits it into a line at its
/// beginning, which names the file, and a line of the same thread at its end.
fn events(lines: &[String]) -> Vec<Event> {
    let mut syncing = std::collections::BTreeSet::new();
    let mut events = Vec::new();
    for line in lines {
        let thread = line.split_whitespace().next().expect("a thread").to_owned();
        let of_database = line.contains("/db/db>");
        if line.contains("pwrite64(") && of_database {
            events.push(Event::Write);
        } else if line.contains("fdatasync(") && of_database {
            if line.contains("unfinished") {
                syncing.insert(thread);
            } else if line.ends_with("= 0") {
                events.push(Event::Synced);
            }
        } else if line.contains("fdatasync resumed") && line.ends_with("= 0") && syncing.remove(&thread) {
            events.push(Event::Synced);
        } else if line.contains("HTTP/1.1 2") {
            events.push(Event::Answer);
        }
    }
    events
}

/// The number of answers, or the index of the first one that was sent before its change was durable.
fn durable_answers(events: &[Event]) -> Result<usize, usize> {
    let answers = events.split(|event| *event == Event::Answer);
    let count = events.iter().filter(|event| **event == Event::Answer).count();
    for (i, before) in answers.take(count).enumerate() {
        let last_write = before.iter().rposition(|event| *event == Event::Write).ok_or(i)?;
        if !before[last_write..].contains(&Event::Synced) {
            return Err(i);
        }
    }
    Ok(count)
}

#[tokio::test]
async fn sto_1_and_2_the_database_is_synced_between_its_last_write_and_the_answer() {
    let server = Server::start();
    let mut actors = Vec::new();
    let trace = Trace::of(&server, "trace=pwrite64,pwritev,write,fdatasync,fsync,sync_file_range,sendto,sendmsg,writev");
    for i in 0..10 {
        actors.push(Actor::registered_with_tokens(&server, &format!("user{i}@example.org")).await);
    }
    for actor in &mut actors {
        actor.refresh().await.expect(200);
    }
    for actor in &mut actors {
        actor.logout().await.expect(200);
    }
    let lines = trace.end();
    let events = events(&lines);
    assert_eq!(durable_answers(&events), Ok(30), "{}", lines.join("\n"));
}

#[test]
fn a_trace_with_an_answer_before_its_sync_is_told_from_a_good_one() {
    let of = |text: &str| durable_answers(&events(&text.lines().map(str::to_owned).collect::<Vec<_>>()));
    let (write, answer) = ("7 pwrite64(12</d/db/db>, \"..\", 9, 0) = 9\n", "8 writev(20<socket:[1]>, [\"HTTP/1.1 200 OK\"], 2) = 9\n");
    let sync = "7 fdatasync(11</d/db/db>) = 0\n";
    assert_eq!(of(&[write, sync, answer].concat()), Ok(1));
    assert_eq!(of(&[write, answer, sync].concat()), Err(0));
    assert_eq!(of(&[sync, write, answer].concat()), Err(0));
    assert_eq!(of(&[write, sync, answer, answer].concat()), Err(1), "nothing was written for the second");
    let (begins, ends) = ("7 fdatasync(11</d/db/db> <unfinished ...>\n", "7 <... fdatasync resumed>) = 0\n");
    assert_eq!(of(&[write, begins, ends, answer].concat()), Ok(1));
    assert_eq!(of(&[write, begins, answer, ends].concat()), Err(0));
}

/// After so long without a change nothing is written any more.
const QUIET: std::time::Duration = std::time::Duration::from_millis(2500);

/// Waits until the server has nothing left to write: within two seconds of a change, the database writes beside it that
/// there was one.
async fn be_quiet(server: &Server) {
    let marker = server.data_dir().join("marker");
    let age = || std::fs::metadata(&marker).and_then(|found| found.modified()).expect("a marker").elapsed().unwrap_or_default();
    let begun = std::time::Instant::now();
    while begun.elapsed() < QUIET || age() < QUIET {
        assert!(begun.elapsed() < 10 * QUIET, "the marker is written again and again");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

const READS_AND_WRITES: &str = "trace=read,pread64,preadv,write,pwrite64,pwritev,writev,sendto,fdatasync,fsync,sync_file_range";

/// The trace saw this many answers, and no file of the database.
fn assert_untouched(lines: &[String], answers: usize) {
    assert_eq!(lines.iter().filter(|line| line.contains("HTTP/1.1 ")).count(), answers, "the trace saw every answer");
    let touched: Vec<_> = lines.iter().filter(|line| line.contains("/data/")).collect();
    assert!(touched.is_empty(), "{touched:?}");
}

#[tokio::test]
async fn rev_8_a_thousand_authenticated_requests_touch_no_database() {
    let server = Server::start();
    let ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    be_quiet(&server).await;
    let trace = Trace::of(&server, READS_AND_WRITES);
    for _ in 0..1000 {
        ada.me().await.expect(200);
    }
    assert_untouched(&trace.end(), 1000);
}

#[tokio::test]
async fn gate_7_a_thousand_questions_touch_no_database() {
    let gate = Gate::start();
    let ada = Actor::with_role(&gate.server, "ada@example.org", "editor").await;
    let pass = gate.enter(&ada, 7001, "/").await;
    be_quiet(&gate.server).await;
    let trace = Trace::of(&gate.server, READS_AND_WRITES);
    for _ in 0..500 {
        assert_eq!(gate.status(7001, "GET", "/x", &pass).await, 200);
        assert_eq!(gate.status(7002, "GET", "/x", &format!("{pass}x")).await, 401);
    }
    assert_untouched(&trace.end(), 1000);
}
