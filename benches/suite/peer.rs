//! The contenders that `benches/peers/*/peer.toml` describes: how each is started and which requests it gets.

use crate::{
    generator::{Answer, Script},
    process::{OWN_CORE, Server, free_port, pinned},
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The password of all accounts.
pub const PASSWORD: &str = "correct horse battery 1";
/// How long a start may take. Installing is done before.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A program that Doorward is compared with.
#[derive(Debug, Deserialize)]
pub struct Peer {
    /// The ways to start it.
    variants: BTreeMap<String, Variant>,
    #[serde(default)]
    tokens: BTreeMap<String, String>,
    #[serde(flatten)]
    operations: BTreeMap<String, toml::Value>,
    #[serde(skip)]
    folder: PathBuf,
    /// The measured build of Doorward; every contender has it here.
    #[serde(skip)]
    doorward: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
struct Variant {
    /// Whether logins are measured. False if another variant hashes in the same way.
    #[serde(default)]
    hashes: bool,
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Environment for cheap hashing, used to create sessions quickly if the measured operation does not hash.
    #[serde(default)]
    cheap: BTreeMap<String, String>,
}

/// One way to start a peer.
#[derive(Clone)]
pub struct Contender {
    /// Its name: `express-pg`.
    pub name: String,
    peer: std::sync::Arc<Peer>,
    variant: Variant,
}

/// A request with `{placeholders}` and its expected status.
#[derive(Debug, Clone, Deserialize)]
pub struct Operation {
    request: String,
    #[serde(default)]
    headers: Vec<String>,
    json: Option<String>,
    status: u16,
}

/// A client with its account and tokens.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// E-mail address.
    pub email: String,
    /// Access token.
    pub access: String,
    /// Refresh token or session id.
    pub refresh: String,
    /// The cursor of a page of users.
    pub cursor: String,
}

/// Finds all contenders, sorted by name.
pub fn all(folder: &Path, doorward: &Path) -> io::Result<Vec<Contender>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let folder = entry?.path();
        let Ok(text) = fs::read_to_string(folder.join("peer.toml")) else { continue };
        let mut peer: Peer = toml::from_str(&text).map_err(|error| io::Error::other(format!("{}: {error}", folder.display())))?;
        peer.folder = folder;
        doorward.clone_into(&mut peer.doorward);
        let peer = std::sync::Arc::new(peer);
        for (name, variant) in &peer.variants {
            found.push(Contender { name: name.clone(), peer: peer.clone(), variant: variant.clone() });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// A running contender.
pub struct Running {
    /// The contender.
    pub contender: Contender,
    /// Its processes.
    pub server: Server,
    registered: u64,
}

/// How passwords are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashing {
    /// With the default parameters of the contender.
    Default,
    /// As cheaply as the contender can be configured to.
    Cheap,
}

impl Contender {
    /// The same with a variable in the environment of its `start`.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut other = self.clone();
        other.variant.env.insert(name.to_owned(), value.to_owned());
        other
    }

    /// Installs what it needs.
    pub fn install(&self) -> io::Result<()> {
        let status = self.command(Path::new("/nonexistent"), 0, Hashing::Default).arg("--install").status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("{}: could not be installed", self.name))) }
    }

    /// Starts it with `data` as its directory.
    pub fn start(&self, data: &Path, hashing: Hashing) -> io::Result<Running> {
        fs::create_dir_all(data)?;
        let port = free_port()?;
        let mut ask = Vec::new();
        self.operation("health").ok_or_else(|| io::Error::other("no health"))?.write(&Client::default(), &mut ask);
        let log = data.with_extension("log");
        let server = Server::start(self.command(data, port, hashing), port, &ask, &log, START_TIMEOUT)
            .map_err(|error| io::Error::other(format!("{}: {error}", self.name)))?;
        Ok(Running { contender: self.clone(), server, registered: 0 })
    }

    fn command(&self, data: &Path, port: u16, hashing: Hashing) -> std::process::Command {
        let mut command = pinned(self.peer.folder.join("start"));
        command.env("PORT", port.to_string()).env("DATA", data).env("SUITE", env::current_exe().unwrap_or_default());
        command.env("DOORWARD", &self.peer.doorward);
        command.env("CACHE", crate::top().join("target/bench-peers").join(self.peer.folder.file_name().unwrap_or_default()));
        command.envs(&self.variant.env);
        if hashing == Hashing::Cheap {
            command.envs(&self.variant.cheap);
        }
        command
    }

    /// Whether it can be configured to hash cheaply.
    pub fn is_cheap(&self) -> bool {
        !self.variant.cheap.is_empty()
    }

    /// Whether its logins are measured: it hashes passwords, and no other variant does so in the same way.
    pub fn has_hash(&self) -> bool {
        self.variant.hashes
    }

    /// An operation it offers.
    pub fn operation(&self, name: &str) -> Option<Operation> {
        self.peer.operations.get(name).and_then(|value| value.clone().try_into().ok())
    }

    /// Reads a token from an answer, from where `peer.toml` says: `json PATH`, `cookie NAME` or `header NAME`.
    fn token(&self, name: &str, answer: &Answer<'_>) -> Option<String> {
        let (place, key) = self.peer.tokens.get(name)?.split_once(' ')?;
        match place {
            "cookie" => answer.headers("set-cookie").find_map(|line| {
                let (found, rest) = line.split_once('=')?;
                (found == key).then(|| rest.split(';').next().unwrap_or_default().to_owned()).filter(|value| !value.is_empty())
            }),
            "header" => answer.headers(key).next().map(str::to_owned),
            _ => {
                let body: serde_json::Value = serde_json::from_slice(answer.body).ok()?;
                body.pointer(&format!("/{}", key.replace('.', "/")))?.as_str().map(str::to_owned)
            }
        }
    }
}

impl Running {
    /// Creates accounts until `count` clients are logged in, `per_account` to each account.
    pub fn clients(&mut self, count: usize, per_account: usize) -> io::Result<Vec<Client>> {
        let mut clients: Vec<Client> = Vec::new();
        while clients.len() < count {
            self.registered += 1;
            let mut client = Client { email: format!("u{}-{}@bench.example", std::process::id(), self.registered), ..Client::default() };
            self.once("register", &mut client)?;
            for _ in 0..per_account.min(count - clients.len()) {
                self.once("login", &mut client)?;
                clients.push(client.clone());
            }
        }
        Ok(clients)
    }

    /// Runs one operation and keeps its tokens.
    pub fn once(&self, name: &str, client: &mut Client) -> io::Result<()> {
        let operation = self.contender.operation(name).ok_or_else(|| io::Error::other(format!("no {name}")))?;
        let mut script = Once { operation, contender: &self.contender, client, is_asked: false, failure: None };
        let mut loads = [crate::generator::Load::new(self.server.address, 1, crate::generator::Pace::Closed, &mut script)?];
        crate::generator::run(&mut loads, Duration::from_secs(60), |_| {})?;
        match script.failure {
            None => Ok(()),
            Some(failure) => Err(io::Error::other(format!("{}: {name}: {failure}", self.contender.name))),
        }
    }
}

/// Measures an operation that changes nothing with wrk, in requests per second.
pub fn by_wrk(running: &Running, operation: &Operation, client: &Client, connections: usize, window: Duration) -> io::Result<f64> {
    let path = operation.request.split(' ').nth(1).unwrap_or("/");
    let mut command = std::process::Command::new("taskset");
    command.args(["-c", &OWN_CORE.to_string(), "wrk", "-t1", &format!("-c{connections}"), &format!("-d{}", window.as_secs().max(1))]);
    for header in &operation.headers {
        command.arg("-H").arg(fill(header, client));
    }
    let output = command.arg(format!("http://{}{path}", running.server.address)).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let rate = said.lines().find_map(|line| line.strip_prefix("Requests/sec:")).and_then(|rate| rate.trim().parse().ok());
    rate.filter(|_| !said.contains("Non-2xx")).ok_or_else(|| io::Error::other(format!("wrk: {said}")))
}

struct Once<'a> {
    operation: Operation,
    contender: &'a Contender,
    client: &'a mut Client,
    is_asked: bool,
    failure: Option<String>,
}

impl Script for Once<'_> {
    fn ask(&mut self, _: usize, out: &mut Vec<u8>) -> bool {
        if std::mem::replace(&mut self.is_asked, true) {
            return false;
        }
        self.operation.write(self.client, out);
        true
    }

    fn hear(&mut self, _: usize, answer: &Answer<'_>) -> bool {
        if answer.status != self.operation.status {
            self.failure = Some(format!("{} {}", answer.status, String::from_utf8_lossy(answer.body)));
        }
        for (name, token) in [("access", &mut self.client.access), ("refresh", &mut self.client.refresh)] {
            if let Some(found) = self.contender.token(name, answer) {
                *token = found;
            }
        }
        true
    }
}

impl Operation {
    /// Writes the request of a client.
    pub fn write(&self, client: &Client, out: &mut Vec<u8>) {
        let fill = |text: &str| fill(text, client);
        out.extend_from_slice(fill(&self.request).as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\nHost: localhost\r\n");
        for header in &self.headers {
            out.extend_from_slice(fill(header).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        let body = self.json.as_deref().map(fill);
        if let Some(body) = &body {
            out.extend_from_slice(format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()).as_bytes());
        } else if !self.request.starts_with("GET ") {
            out.extend_from_slice(b"Content-Length: 0\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body.unwrap_or_default().as_bytes());
    }
}

/// Replaces the placeholders of a text by the values of a client.
fn fill(text: &str, client: &Client) -> String {
    let bad = client.access.get(..client.access.len().saturating_sub(10)).unwrap_or_default().to_owned() + "AAAAAAAAAA";
    text.replace("{email}", &client.email)
        .replace("{password}", PASSWORD)
        .replace("{access}", &client.access)
        .replace("{refresh}", &client.refresh)
        .replace("{bad}", &bad)
        .replace("{cursor}", &client.cursor)
}

/// A script in which every connection is one client that repeats the same request.
pub struct Same {
    requests: Vec<Vec<u8>>,
    status: u16,
    or: Option<u16>,
    /// The number of answers with the status `or`.
    pub others: u64,
}

impl Same {
    /// A script with one request per client.
    pub fn new(operation: &Operation, clients: &[Client]) -> Self {
        let request = |client| {
            let mut bytes = Vec::new();
            operation.write(client, &mut bytes);
            bytes
        };
        Self::of(clients.iter().map(request).collect(), operation.status)
    }

    /// A script with these requests, which are all answered with the same status.
    pub fn of(requests: Vec<Vec<u8>>, status: u16) -> Self {
        Self { requests, status, or: None, others: 0 }
    }

    /// Accepts another status too, such as that of a full queue.
    pub fn or(mut self, status: u16) -> Self {
        self.or = Some(status);
        self
    }
}

impl Script for Same {
    fn ask(&mut self, connection: usize, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(&self.requests[connection % self.requests.len()]);
        true
    }

    fn hear(&mut self, _: usize, answer: &Answer<'_>) -> bool {
        let is_other = Some(answer.status) == self.or;
        self.others += u64::from(is_other);
        is_other || answer.status == self.status
    }
}

/// A script in which every connection is one client and each request carries the token of the answer before.
pub struct Chain<'a> {
    contender: Contender,
    operation: Operation,
    /// Whether each answer must bring a new token: true if the request carries the refresh token.
    rotates: bool,
    clients: &'a mut [Client],
}

impl<'a> Chain<'a> {
    /// A chain for these clients, which keep their last tokens.
    pub fn new(contender: &Contender, operation: Operation, clients: &'a mut [Client]) -> Self {
        let asks_with = |text: &String| text.contains("{refresh}");
        let rotates = operation.headers.iter().chain(&operation.json).any(asks_with);
        Self { contender: contender.clone(), operation, rotates, clients }
    }
}

impl Script for Chain<'_> {
    fn ask(&mut self, connection: usize, out: &mut Vec<u8>) -> bool {
        self.operation.write(&self.clients[connection], out);
        true
    }

    fn hear(&mut self, connection: usize, answer: &Answer<'_>) -> bool {
        if answer.status != self.operation.status {
            return false;
        }
        match self.contender.token("refresh", answer) {
            Some(token) => std::mem::replace(&mut self.clients[connection].refresh, token.clone()) != token || !self.rotates,
            None => !self.rotates,
        }
    }
}

/// A script in which each client sends one request.
pub struct Each {
    operation: Operation,
    clients: Box<dyn Iterator<Item = Client>>,
}

impl Each {
    /// One request of each of these clients, one after the other.
    pub fn of(operation: Operation, clients: Vec<Client>) -> Self {
        Self { operation, clients: Box::new(clients.into_iter()) }
    }

    /// Requests of new clients without end, each with another address.
    pub fn newcomers(operation: Operation, series: u64) -> Self {
        let email = move |number: u64| format!("n{}-{series}-{number}@bench.example", std::process::id());
        Self { operation, clients: Box::new((0..).map(move |number| Client { email: email(number), ..Client::default() })) }
    }
}

impl Script for Each {
    fn ask(&mut self, _: usize, out: &mut Vec<u8>) -> bool {
        let Some(client) = self.clients.next() else { return false };
        self.operation.write(&client, out);
        true
    }

    fn hear(&mut self, _: usize, answer: &Answer<'_>) -> bool {
        answer.status == self.operation.status
    }
}
