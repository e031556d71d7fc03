//! Real nginx and real Caddy with a block of the README, and servers that record what they receive.

use std::{
    ffi::OsStr,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The addresses of Doorward and of the service in the blocks of the README.
pub const DOORWARD: &str = "127.0.0.1:3000";
const SERVICE: &str = "127.0.0.1:8080";

/// Reads one message, head and body, as it was sent.
fn receive(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
    let mut text = String::new();
    let mut piece = [0; 4096];
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().expect("a length"));
            let chunked = head.contains("\ntransfer-encoding: chunked");
            let ended = body.starts_with("0\r\n") || body.contains("\r\n0\r\n");
            if if chunked { ended && body.ends_with("\r\n\r\n") } else { body.len() >= length } {
                return text;
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return text,
            Ok(n) => text.push_str(&String::from_utf8_lossy(&piece[..n])),
        }
    }
}

/// A server that records each request and gives each the same answer.
pub struct Echo {
    pub address: String,
    noted: Arc<Mutex<Vec<String>>>,
}

impl Echo {
    pub fn answering(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let noted = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&noted), format!("{answer}\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, answer) = (Arc::clone(&log), answer.clone());
                thread::spawn(move || {
                    let mut stream = stream.expect("a connection");
                    let request = receive(&mut stream);
                    // A proxy may open a connection and not use it.
                    if !request.is_empty() {
                        log.lock().expect("a lock").push(request);
                        let _ = stream.write_all(answer.as_bytes());
                    }
                });
            }
        });
        Self { address, noted }
    }

    pub fn service() -> Self {
        Self::answering("HTTP/1.1 200 OK")
    }

    /// The requests received since the last call.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.noted.lock().expect("a lock"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Nginx,
    Caddy,
}

pub const BOTH: [Kind; 2] = [Kind::Nginx, Kind::Caddy];

impl Kind {
    /// The block for this proxy from the README.
    pub fn block(self) -> &'static str {
        super::printed(if self == Self::Nginx { "nginx" } else { "caddy" })
    }

    /// The path of the program. Panics if it is not installed: no test here is skipped.
    fn program(self) -> PathBuf {
        let name = if self == Self::Nginx { "nginx" } else { "caddy" };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/bin")]);
        let found = places.map(|place| place.join(name)).find(|program| program.is_file());
        found.unwrap_or_else(|| panic!("{name} is missing: tests/run installs it on Debian, as root"))
    }

    /// The command that runs the proxy on this port with this block; all its files are below `dir`.
    fn command(self, dir: &Path, port: u16, block: &str) -> Command {
        let mut command = Command::new(self.program());
        let at = dir.display();
        let (file, up) = (dir.join("configuration"), up(dir));
        if self == Self::Nginx {
            let own: String =
                ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|what| format!("{what}_temp_path {at}/{what};\n")).concat();
            let site = format!("listen 127.0.0.1:{port};\nlocation = {up} {{ return 204 \"\"; }}\n{block}\n");
            let text = format!(
                "daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{own}server {{\n{site}}}\n}}\n"
            );
            fs::write(&file, text).expect("written");
            command.arg("-c").arg(&file).arg("-p").arg(dir);
        } else {
            let text = format!(
                "{{\n\tadmin off\n\tauto_https off\n}}\nhttp://:{port} {{\nbind 127.0.0.1\nhandle {up} {{\nrespond 204\n}}\n{block}\n}}\n"
            );
            fs::write(&file, text).expect("written");
            command.args(["run", "--adapter", "caddyfile", "--config"].map(OsStr::new)).arg(&file);
        }
        let log = fs::File::create(dir.join("log")).expect("a log");
        command.current_dir(dir).env_clear().env("HOME", dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command
    }
}

/// A path that only this proxy answers itself. It tells whether another program got the port.
fn up(dir: &Path) -> String {
    format!("/up/{}", dir.file_name().expect("a name").display())
}

/// A running proxy. Dropping it kills it.
pub struct Proxy {
    pub kind: Kind,
    child: Child,
    pub address: SocketAddr,
    dir: TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    /// Starts a proxy with the README's block between Doorward and a service.
    pub fn between(kind: Kind, doorward: &str, service: &Echo) -> Self {
        Self::with(kind, kind.block(), doorward, service)
    }

    pub fn with(kind: Kind, block: &str, doorward: &str, service: &Echo) -> Self {
        assert!(block.contains(DOORWARD), "{block}");
        let block = block.replace(DOORWARD, doorward).replace(SERVICE, &service.address);
        let mut last = String::new();
        // Another program may take the free port meanwhile. The proxy then ends, and the next port is tried.
        for _ in 0..5 {
            let dir = tempfile::tempdir().expect("a directory");
            let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
            let child = kind.command(dir.path(), address.port(), &block).spawn().expect("spawned");
            let mut proxy = Self { kind, child, address, dir };
            match proxy.came_up() {
                Ok(()) => return proxy,
                Err(log) => last = log,
            }
        }
        panic!("{kind:?} does not start: {last}");
    }

    /// Waits until the proxy answers. The error is its log.
    fn came_up(&mut self) -> Result<(), String> {
        let (begun, dir) = (Instant::now(), self.dir.path());
        let question = format!("GET {} HTTP/1.1\r\nHost: up\r\nConnection: close\r\n\r\n", up(dir));
        while self.child.try_wait().expect("waited").is_none() && begun.elapsed() < Duration::from_secs(20) {
            if self.exchange(&question).starts_with("HTTP/1.1 204 ") {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Err(fs::read_to_string(dir.join("log")).expect("a log"))
    }

    /// Sends these bytes and reads the answer; empty if nobody listens.
    fn exchange(&self, request: &str) -> String {
        let Ok(mut stream) = TcpStream::connect(self.address) else { return String::new() };
        // A proxy that refuses a request may close the connection before all of it was written.
        let _ = stream.write_all(request.as_bytes());
        receive(&mut stream)
    }

    /// Sends these bytes and returns the status of the answer.
    pub fn ask(&self, request: &str) -> u16 {
        let answer = self.exchange(request);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("{:?} to {request}: {answer:?}", self.kind))
    }

    /// Sends a `GET` with these header lines, each ending in `\r\n`.
    pub fn get(&self, lines: &str) -> u16 {
        self.ask(&format!("GET /articles/1 HTTP/1.1\r\nHost: articles\r\n{lines}Connection: close\r\n\r\n"))
    }
}
