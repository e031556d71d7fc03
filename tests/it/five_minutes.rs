//! The README's way from nothing to a guarded app, as printed, with real proxies. Only the ports are other ones.

use crate::support::PASSWORD;
use serde_json::{Value, json};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const README: &str = include_str!("../../README.md");

/// A block of this language in the README, the nth of the section.
fn block(language: &str, n: usize) -> &'static str {
    let (_, rest) = README.split_once("\n## One sign-in in front of your apps\n").expect("the section");
    let (section, _) = rest.split_once("\n## ").expect("a section after it");
    let opening = format!("```{language}\n");
    let mut blocks = section.split(&*opening).skip(1).map(|rest| rest.split("```").next().expect("its end"));
    blocks.nth(n).unwrap_or_else(|| panic!("no block {n} of {language}"))
}

/// A shell and everything that it started in the background.
struct Shell(Child);

impl Drop for Shell {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

/// Ports that nobody listens at: of Doorward, of the proxy, of the app.
fn ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}

fn run(dir: &Path, proxy: &str, [doorward, outside, app]: [u16; 3]) -> Shell {
    let other = |text: &str| text.replace("8000", &outside.to_string()).replace("8080", &app.to_string());
    std::fs::write(dir.join("config.toml"), other(block("toml", 0))).expect("written");
    // The app listens at that port whatever the configuration takes for granted.
    let script = format!(
        "{}\n{}\nwait",
        other(block("sh", 0)),
        other(proxy).replace(" wiki >", &format!(" wiki --upstream http://127.0.0.1:{app} >"))
    );
    let binary = Path::new(env!("CARGO_BIN_EXE_doorward")).parent().expect("a directory");
    let path = std::env::var("PATH").expect("a PATH");
    let log = std::fs::File::create(dir.join("shell.log")).expect("a log");
    let mut command = Command::new("bash");
    command.args(["-eu", "-o", "pipefail", "-c", &script]).current_dir(dir).env_clear();
    command.env("PATH", format!("{}:{path}:/usr/sbin", binary.display())).env("HOME", dir);
    command.env("DOORWARD_SERVER_LISTEN", format!("127.0.0.1:{doorward}"));
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
    Shell(command.process_group(0).spawn().expect("bash"))
}

/// A browser of a kind: it finds the app's host on this machine and follows nothing by itself.
fn browser(proxy: SocketAddr) -> reqwest::Client {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(Duration::from_secs(20));
    client.resolve("wiki.localhost", proxy).build().expect("a client")
}

fn header(response: &reqwest::Response, name: &str) -> String {
    response.headers().get(name).unwrap_or_else(|| panic!("no {name}: {response:?}")).to_str().expect("ASCII").to_owned()
}

async fn get(browser: &reqwest::Client, url: &str, cookie: &str) -> Result<reqwest::Response, reqwest::Error> {
    browser.get(url).header("accept", "text/html").header("cookie", cookie).send().await
}

async fn reach(proxy: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let ports = ports();
    let _shell = run(dir.path(), proxy, ports);
    let [doorward, outside, _] = ports;
    let (browser, app) = (browser((Ipv4Addr::LOCALHOST, outside).into()), format!("http://wiki.localhost:{outside}"));
    let begun = Instant::now();
    let log = || std::fs::read_to_string(dir.path().join("shell.log")).unwrap_or_default();
    let asked = loop {
        match get(&browser, &format!("{app}/index.html?x=1"), "").await {
            Ok(answer) if answer.status().is_redirection() => break answer,
            answer => assert!(begun.elapsed() < Duration::from_secs(60), "{answer:?}: {}", log()),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let entered = get(&browser, &header(&asked, "location"), "").await.expect("an answer");
    let nonce = header(&entered, "set-cookie").split(';').next().expect("a cookie").to_owned();
    let page = header(&entered, "location");
    let (sign_in, request) = page.split_once("?request=").expect("a request");
    assert_eq!(sign_in, format!("http://127.0.0.1:{doorward}/gate/sign-in"));
    let form = json!({ "email": "you@example.org", "password": PASSWORD, "tokenTransport": "body" });
    let login = browser.post(format!("http://127.0.0.1:{doorward}/api/auth/login")).json(&form).send().await.expect("an answer");
    let login: Value = login.json().await.expect("JSON");
    let enter =
        browser.post(format!("http://127.0.0.1:{doorward}/api/gate/enter")).bearer_auth(login["accessToken"].as_str().expect("a token"));
    let go: Value = enter.json(&json!({ "request": request })).send().await.expect("an answer").json().await.expect("JSON");
    let done = get(&browser, go["location"].as_str().expect("an address"), &nonce).await.expect("an answer");
    let pass = header(&done, "set-cookie").split(';').next().expect("a cookie").to_owned();
    assert_eq!(header(&done, "location"), format!("{app}/index.html?x=1"));
    let shown = get(&browser, &header(&done, "location"), &pass).await.expect("an answer");
    assert_eq!(shown.status(), 200);
    assert!(shown.text().await.expect("a body").contains("The wiki"), "the app's own page");
    let without = get(&browser, &format!("{app}/index.html"), "").await.expect("an answer");
    assert!(without.status().is_redirection());
}

#[tokio::test]
async fn with_caddy_an_app_is_guarded_in_five_minutes() {
    reach(block("sh", 1)).await;
}

#[tokio::test]
async fn with_nginx_an_app_is_guarded_in_five_minutes() {
    reach(block("sh", 2)).await;
}
