//! The real gate's rules through real proxies: what a proxy changes of a request on its way must open nothing.

use super::{Front, real::Real, through_all};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

const NAVIGATION: &str = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nAccept: text/html\r\n";

/// Other spellings of `/admin`.
const SPELLINGS: [&str; 20] = [
    "/admin",
    "/admin/",
    "//admin",
    "/./admin",
    "/x/../admin",
    "/%61dmin",
    "/%2561dmin",
    "/x/..%2fadmin",
    "/x%2f..%2fadmin",
    "/x%5c..%5cadmin",
    "/x\\..\\admin",
    "/ADMIN",
    "/Admin/users",
    "/admin;x=1",
    "/;x/admin",
    "/%2e/admin",
    "/%2E%2E/admin",
    "/admin%00",
    "/admin?x",
    "/public/../admin",
];

#[test]
fn gate_14_every_spelling_of_a_closed_path_is_closed_behind_every_proxy() {
    through_all(&Real::start(false).gate, |front| {
        let pass = front.gate.pass_line();
        for path in SPELLINGS {
            // Some proxies refuse a spelling themselves, or send its visitor to a cleaner one; none asks the app.
            let status = front.send(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{pass}\r\n", front.gate.host)).map(|answer| answer.status);
            assert!(status.is_none_or(|status| status >= 300), "{:?} {path}: {status:?}", front.kind);
            front.closed(path);
        }
        assert_eq!(front.get("/Users/a%20b", &pass).status, 200, "{:?}", front.kind);
        front.reached("an unusual path");
    });
}

#[test]
fn gate_15_no_spelling_of_an_open_path_opens_another() {
    through_all(&Real::start(false).gate, |front| {
        for (method, path) in [
            ("GET", "/public"),
            ("GET", "/Public/x"),
            ("GET", "//public/x"),
            ("GET", "/public/../page"),
            ("GET", "/public/..%2fpage"),
            ("GET", "/public/%2e%2e/page"),
            ("GET", "/public/x;y"),
            ("GET", "/public/x\\..\\..\\page"),
            ("PUT", "/public/x"),
            ("DELETE", "/public/x"),
        ] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", front.gate.host);
            let status = front.send(&request).map(|answer| answer.status);
            // A proxy that resolves a path itself asks about the one that it serves.
            let seen = front.app.take();
            let is_open = |target: &str| {
                method == "GET" && target.starts_with("/public/") && !target.contains("..") && !target.contains(['%', ';', '\\'])
            };
            assert!(seen.iter().all(|seen| is_open(&seen.target)), "{:?} {method} {path}: {status:?} {seen:?}", front.kind);
        }
        assert_eq!(front.ask("POST", "/public/x", "Content-Length: 0\r\n").status, 200, "{:?}", front.kind);
        front.reached("an open path");
    });
}

/// A target with a host and a name before it is read in more than one way (RFC 9110 §4.2.4).
#[test]
fn gate_15_a_target_with_a_host_in_it_opens_no_other_path() {
    through_all(&Real::start(false).gate, |front| {
        let host = &front.gate.host;
        for scheme in ["http", "https"] {
            for target in [
                format!("{scheme}://{host}?x=1@{host}/public/x"),
                format!("{scheme}://?x=1@{host}/public/x"),
                format!("{scheme}://{host}\\page@{host}/public/x"),
                format!("{scheme}://{host}#@{host}/public/x"),
                format!("{scheme}://other@{host}/page"),
            ] {
                let status = front.send(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).map(|answer| answer.status);
                let seen = front.app.take();
                let is_open = |target: &str| target.starts_with("/public/");
                assert!(seen.iter().all(|seen| is_open(&seen.target)), "{:?} {target}: {status:?} {seen:?}", front.kind);
            }
        }
    });
}

#[test]
fn gate_24_a_sibling_page_writes_nothing_and_opens_no_websocket() {
    through_all(&Real::start(false).gate, |front| {
        let pass = front.gate.pass_line();
        let own = format!("https://{}", front.gate.host);
        for (line, passes) in [
            (format!("Origin: {own}\r\n"), true),
            (String::new(), true),
            ("Origin: https://sibling.example.org\r\n".into(), false),
            ("Origin: null\r\n".into(), false),
            (format!("Origin: {own}.evil.example\r\n"), false),
            ("Sec-Fetch-Site: same-site\r\n".into(), false),
        ] {
            for method in ["POST", "PUT", "DELETE"] {
                let status = front.ask(method, "/page", &format!("{line}{pass}Content-Length: 0\r\n")).status;
                assert_eq!(status, if passes { 200 } else { 403 }, "{:?} {method} {line:?}", front.kind);
                if passes { drop(front.reached(&line)) } else { front.closed(&line) }
            }
            let upgrade =
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
            let status = front.get("/socket", &format!("{upgrade}{line}{pass}")).status;
            assert_eq!(status, if passes { 101 } else { 403 }, "{:?} {line:?}", front.kind);
            front.app.take();
        }
    });
}

#[test]
fn gate_7_gate_8_a_pass_is_whole_and_there_once_or_is_none() {
    through_all(&Real::start(false).gate, |front| {
        let pass = &front.gate.pass;
        for (lines, statuses) in [
            (format!("Cookie: {}x\r\n", &pass[..pass.len() - 1]), &[401][..]),
            (format!("Cookie: a=b; {pass}; c=d\r\n"), &[200]),
            (format!("Cookie: {pass}; {pass}\r\n"), &[403]),
            (format!("Cookie: {pass}\r\nCookie: __Host-doorward-pass=x\r\n"), &[400, 403]),
            (format!("Cookie: __Host-doorward-pass=x, {pass}\r\n"), &[403]),
        ] {
            let answer = front.get("/page", &lines);
            assert!(statuses.contains(&answer.status), "{:?} {lines:?}: {answer:?}", front.kind);
            assert_eq!(front.app.take().len(), usize::from(answer.status == 200), "{:?} {lines:?}", front.kind);
        }
    });
}

#[test]
fn gate_9_what_is_signed_out_at_the_sign_in_page_is_out_at_every_proxy_with_the_next_request() {
    let mut real = Real::start(false);
    let mut user = real.user.clone();
    let fronts: Vec<_> = super::Kind::ALL.map(|kind| Front::start(kind, &real.gate, false)).into();
    for front in &fronts {
        assert_eq!(front.get("/page", &front.gate.pass_line()).status, 200, "{:?}", front.kind);
        front.reached("signed in");
    }
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async { user.logout().await.expect(200) });
    for front in &fronts {
        let answer = front.get("/page", &format!("{NAVIGATION}{}", front.gate.pass_line()));
        assert!(matches!(answer.status, 302 | 303) && answer.header("location").is_some(), "{:?}: {answer:?}", front.kind);
        front.closed("signed out");
    }
    assert_eq!(json!(real.server.stop().code()), json!(0));
}

#[test]
fn gate_30_a_gate_that_is_stopped_in_its_tracks_lets_nobody_in() {
    let real = Real::start(false);
    let pid = Pid::from_raw(i32::try_from(real.server.pid()).expect("a pid")).expect("a pid");
    let fronts: Vec<_> = super::Kind::ALL.map(|kind| Front::start(kind, &real.gate, false)).into();
    kill_process(pid, Signal::STOP).expect("stopped");
    // The signal stops one thread after the other.
    while !every_thread_is_stopped(real.server.pid()) {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    std::thread::scope(|scope| {
        for front in &fronts {
            scope.spawn(move || {
                let request = format!("GET /page HTTP/1.1\r\nHost: {}\r\n{}\r\n", front.gate.host, front.gate.pass_line());
                let status = front.send(&request).map(|answer| answer.status);
                assert!(status.is_none_or(|status| status >= 400), "{:?}: {status:?}", front.kind);
                front.closed("stopped");
            });
        }
    });
    kill_process(pid, Signal::CONT).expect("continued");
    for front in &fronts {
        assert_eq!(front.get("/page", &front.gate.pass_line()).status, 200, "{:?}: and is well again", front.kind);
    }
}

fn every_thread_is_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
    threads.flatten().all(|thread| std::fs::read_to_string(thread.path().join("status")).is_ok_and(|status| status.contains("State:\tT")))
}
