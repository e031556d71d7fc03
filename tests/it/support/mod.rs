//! The real binary on a free port, with its data in a temporary directory, and its clients.

mod actor;
mod gate;

pub use actor::Actor;
pub use gate::{Gate, IDENTITY, cookie};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::Once,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::sync::Mutex;

/// Held by tests that use the whole machine or compare times, so that only one of them runs at a time.
pub static TURN: Mutex<()> = Mutex::const_new(());

pub const PASSWORD: &str = "correct horse battery";

/// Settings of all tests: cheap hashing and a movable clock. Limits have their defaults; a test that needs
/// higher ones names them and says why ([`Server::lifting`]).
const DEV: [&str; 4] = ["insecure_dev=true", "passwords.scrypt_log_n=4", "passwords.scrypt_p=1", "log.level=debug"];

/// A running server. Dropping it kills it.
pub struct Server {
    child: Child,
    pub address: String,
    pub dir: TempDir,
    settings: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Server {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts with these settings (`section.key=value`) on top of those of all tests.
    pub fn with(settings: &[&str]) -> Self {
        Self::with_environment(settings, &[])
    }

    /// Starts with these limits raised; each comes with the reason why the test needs it.
    pub fn lifting(limits: &[(&str, &str)], settings: &[&str]) -> Self {
        let lifted: Vec<_> = limits
            .iter()
            .map(|(limit, why)| {
                assert!(limit.starts_with("limits.") && why.len() > 10, "{limit}: {why}");
                // The highest value that the setting allows.
                format!("{limit}={}", if *limit == "limits.login_failures" { 100 } else { 100_000 })
            })
            .collect();
        Self::with(&lifted.iter().map(String::as_str).chain(settings.iter().copied()).collect::<Vec<_>>())
    }

    /// Starts with this settings file, and these settings on top of it.
    pub fn with_file(file: &str, settings: &[&str]) -> Self {
        Self::launched(Some(file), settings, &[])
    }

    pub fn with_environment(settings: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::launched(None, settings, environment)
    }

    fn launched(file: Option<&str>, settings: &[&str], environment: &[(&str, &str)]) -> Self {
        let settings: Vec<_> = DEV.iter().chain(settings).map(|s| (*s).to_owned()).collect();
        let environment: Vec<_> = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let dir = tempfile::tempdir().expect("a directory");
        if let Some(file) = file {
            std::fs::write(dir.path().join("config.toml"), file).expect("written");
        }
        let (child, address) = launch(dir.path(), &settings, &environment).unwrap_or_else(|log| panic!("no start: {log}"));
        Self { child, address, dir, settings, environment }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything the server has logged, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).expect("a log")
    }

    /// The token of the set-up link that was logged last.
    pub fn setup_token(&self) -> String {
        let log = self.log();
        let (_, rest) = log.rsplit_once("#setup=").expect("a set-up link in the log");
        rest.split_whitespace().next().expect("a token").to_owned()
    }

    /// Kills the server with SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited");
    }

    /// Stops the server with SIGTERM. Returns its exit status.
    pub fn stop(&mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
        self.wait(Duration::from_secs(20))
    }

    /// Waits until the server has ended by itself.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("waited") {
                return status;
            }
            assert!(begun.elapsed() < within, "it did not end in {within:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Starts again on the same data, after `kill` or `stop`, on another port.
    pub fn start_again(&mut self) {
        (self.child, self.address) =
            launch(self.dir.path(), &self.settings, &self.environment).unwrap_or_else(|log| panic!("no start: {log}"));
    }

    /// Changes a setting, for the next start.
    pub fn set(&mut self, setting: &str, value: &str) {
        self.unset(setting);
        self.settings.push(format!("{setting}={value}"));
    }

    /// Removes a setting, for the next start.
    pub fn unset(&mut self, setting: &str) {
        self.settings.retain(|assignment| !assignment.starts_with(&format!("{setting}=")));
    }

    /// Kills the server with SIGKILL and starts it again.
    pub fn crash(&mut self) {
        self.kill();
        self.start_again();
    }

    /// Runs a command on its data directory, with this text on stdin.
    pub fn command(&self, arguments: &[&str], stdin: &str) -> Output {
        let mut command = doorward(self.dir.path(), &self.settings, &self.environment);
        run(command.args(arguments), stdin)
    }

    /// Runs a command that must succeed, and returns its JSON output.
    pub fn json(&self, arguments: &[&str], stdin: &str) -> Value {
        let output = self.command(&[arguments, &["--json"]].concat(), stdin);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Moves the clock of the server forwards.
    pub fn advance(&self, span: Duration) {
        let output = self.command(&["clock", &span.as_secs().to_string()], "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command on the data below `dir`, with no other environment variables than these.
pub fn doorward(dir: &Path, settings: &[String], environment: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    command.current_dir(dir).arg("--listen").arg("127.0.0.1:0").env_clear().envs(environment.iter().cloned());
    for setting in settings {
        command.arg("--set").arg(setting);
    }
    command
}

/// Runs a command to its end, with this text on stdin.
pub fn run(command: &mut Command, stdin: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawned");
    // Fails if the command ended before it read stdin.
    let _ = child.stdin.take().expect("piped").write_all(stdin.as_bytes());
    child.wait_with_output().expect("ended")
}

/// Raises the limit on open files of this process once, because some tests open thousands of connections. Servers inherit
/// the limit, which changes nothing: they raise it themselves.
fn raise_fd_limit() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("up to what is allowed");
    });
}

/// Starts a server below `dir` and waits until it prints that it listens. The error is its log.
pub fn launch(dir: &Path, settings: &[String], environment: &[(String, String)]) -> Result<(Child, String), String> {
    raise_fd_limit();
    let log = File::options().create(true).append(true).open(dir.join("log")).expect("a log file");
    let mut child = doorward(dir, settings, environment).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().expect("spawned");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    if let Some((_, address)) = line.trim().strip_prefix("listening on ").and_then(|url| url.split_once("://")) {
        Ok((child, address.to_owned()))
    } else {
        let status = child.wait().expect("ended");
        Err(format!("{status}: {}", std::fs::read_to_string(dir.join("log")).expect("a log")))
    }
}

/// An answer that has passed the checks for all answers.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
    pub body: Value,
}

impl Answer {
    /// The `error` member; empty for a success.
    pub fn error(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }

    /// Status and `error` together.
    pub fn outcome(&self) -> (u16, &str) {
        (self.status, self.error())
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII"))
    }

    pub fn set_cookies(&self) -> Vec<&str> {
        self.headers.get_all("set-cookie").iter().map(|value| value.to_str().expect("ASCII")).collect()
    }

    /// The answer, if it has this status; otherwise panics and shows it.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// The body without the request id, which differs in every answer.
    pub fn text_without_id(&self) -> String {
        self.text.replace(self.header("x-request-id").expect("an id"), "")
    }

    /// A string member of the body.
    #[track_caller]
    pub fn text_of(&self, member: &str) -> String {
        self.body[member].as_str().unwrap_or_else(|| panic!("no {member} in {}", self.text)).to_owned()
    }
}

/// The headers that an answer may have. Any other is a leak, or is missing in this list.
const HEADERS: [&str; 33] = [
    "content-type",
    "content-language",
    "content-length",
    "content-security-policy",
    "x-content-type-options",
    "referrer-policy",
    "cache-control",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "vary",
    "x-request-id",
    "date",
    "set-cookie",
    "allow",
    "www-authenticate",
    "x-token-expires-in",
    "retry-after",
    "ratelimit",
    "ratelimit-policy",
    "clear-site-data",
    "etag",
    "x-auth-user",
    "x-auth-email",
    "x-auth-role",
    "x-auth-permissions",
    "strict-transport-security",
    "connection",
    "access-control-allow-origin",
    "location",
    "remote-user",
    "remote-email",
    "remote-name",
    "remote-groups",
];

/// Sends a request and checks the rules for all answers (HDR-1, HDR-3, HDR-5).
pub async fn send(request: reqwest::RequestBuilder) -> Answer {
    let (client, request) = request.build_split();
    let request = request.expect("a request");
    let (path, is_head) = (request.url().path().to_owned(), request.method() == "HEAD");
    let response = client.execute(request).await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("a body");
    for name in headers.keys() {
        let known = HEADERS.contains(&name.as_str()) || name.as_str().starts_with("access-control-");
        assert!(known, "{path}: unexpected header {name}");
    }
    let one = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let value = values.next().unwrap_or_else(|| panic!("{path}: no {name}")).to_str().expect("ASCII");
        assert!(values.next().is_none(), "{path}: {name} twice");
        value
    };
    let request_id = one("x-request-id").to_owned();
    assert_eq!(one("x-content-type-options"), "nosniff");
    assert_eq!(one("referrer-policy"), "no-referrer");
    let is_relayed = matches!(&*path, "/gate/forward" | "/gate/nginx") || path.starts_with("/.doorward/");
    if is_relayed {
        assert!(headers.get_all("set-cookie").iter().count() <= 1, "{path}: some proxies hand on one cookie alone");
        assert_eq!(one("cache-control"), "no-store", "{path}");
        for foreign in ["strict-transport-security", "cross-origin-opener-policy", "content-security-policy", "clear-site-data"] {
            assert!(!headers.contains_key(foreign), "{path}: {foreign} is the app's to set");
        }
    } else {
        assert_eq!(one("cross-origin-opener-policy"), "same-origin");
        one("content-security-policy");
    }
    let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    // A page for people, or the way to one.
    let is_page = is_relayed && (headers.contains_key("location") || text.starts_with("<!doctype html>"));
    if path.starts_with("/api/") || (status >= 400 && !is_page) {
        assert_eq!(one("cache-control"), "no-store", "{path}");
        if !is_head && status != 204 {
            assert_eq!(one("content-type"), "application/json", "{path}");
            assert!(body.is_object(), "{path}: {text}");
        }
    }
    if path.starts_with("/oauth2/") {
        assert_eq!(one("cache-control"), "no-store", "{path}");
        if status >= 400 && !is_head {
            assert_eq!(body.as_object().expect("an object").keys().collect::<Vec<_>>(), ["error", "error_description"], "{path}: {text}");
        }
    } else if status >= 400 && !is_head && !is_page {
        assert_eq!(body["requestId"], request_id, "{path}: {text}");
        assert!(body["error"].as_str().is_some_and(|code| code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')), "{text}");
        assert!(body["message"].is_string(), "{text}");
        assert!(!text.contains(PASSWORD), "an error echoes a password");
    }
    Answer { status, headers, text, body }
}

/// The claims of an access token, without verification.
pub fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url")).expect("JSON")
}
