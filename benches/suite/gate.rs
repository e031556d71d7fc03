//! What the gate costs: a proxy's question beside `verify`, and what the questions add to requests through nginx.

use crate::{
    generator::{Answer, Load, Pace, Script, run},
    measure::{Results, Window, measure_all},
    peer::{Client, Hashing, Running, Same},
    process::{Server, free_port, pinned},
    sections::{Plan, megabytes},
};
use std::{
    env,
    fmt::Write,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// The numbers of apps that servers are told of.
pub const APPS: [u16; 3] = [1, 100, 1000];
/// Connections of a closed loop.
const CONNECTIONS: usize = 32;
/// Requests a second that leave the core idle for most of the time.
const RATE: f64 = 500.0;
/// What visitors ask for at the app.
const PAGE: &str = "/page?q=1";

/// Questions beside `verify`; the same through nginx, with the gate and without; and the latency that it adds.
pub fn gate(plan: &Plan, results: &mut Results) -> io::Result<()> {
    // One at a time: what several share would count for each in part.
    for apps in APPS.repeat(plan.rounds) {
        let (running, _) = start(plan, apps)?;
        std::thread::sleep(Duration::from_secs(1));
        results.figure(format!("doorward with {}/idle/MB", title(apps)), megabytes(running.server.memory()));
    }
    let mut all = APPS.iter().map(|apps| Gate::start(plan, *apps)).collect::<io::Result<Vec<_>>>()?;
    for round in 0..plan.rounds {
        for gate in &mut all {
            // In each round again, because access tokens live only for minutes.
            gate.sign_in()?;
            let name = &gate.name;
            for (asked, requests) in [("verify", gate.verifications()), ("gate", gate.questions())] {
                let ask = || gate.measure(gate.running.server.address, &requests, Pace::Closed, plan.window);
                if round == 0 {
                    ask()?;
                }
                results.window(format!("doorward with {name}/{asked}/{CONNECTIONS}"), ask()?);
            }
            let closed = gate.both(|address, requests| gate.measure(address, requests, Pace::Closed, plan.window))?;
            record(results, name, &format!("{CONNECTIONS}"), closed);
        }
        let gate = &all[0];
        let paced = gate.both(|address, requests| gate.measure(address, requests, Pace::Open(RATE), plan.window * 3))?;
        record(results, &gate.name, &format!("{RATE} a second"), paced);
    }
    Ok(())
}

/// Records two turns through nginx, without the gate and with it, and what it added.
fn record(results: &mut Results, name: &str, load: &str, [open, asked]: [Window; 2]) {
    #[allow(clippy::cast_precision_loss)]
    let added = [
        ("us of cpu", asked.cpu - open.cpu),
        ("ms, p50", (asked.p50 as f64 - open.p50 as f64) / 1e3),
        ("ms, p99", (asked.p99 as f64 - open.p99 as f64) / 1e3),
    ];
    results.window(format!("nginx with {name}/no gate/{load}"), open);
    results.window(format!("nginx with {name}/gate/{load}"), asked);
    for (what, figure) in added {
        results.figure(format!("nginx with {name}/added by the gate/{load}/{what}"), figure);
    }
}

/// A server with apps, and nginx in front of the last of them.
struct Gate {
    /// `100 apps`.
    name: String,
    running: Running,
    /// It listens for those who are not asked about; so does the app itself.
    nginx: Server,
    /// Where it asks the gate.
    guarded: SocketAddr,
    app: u16,
    clients: Vec<Client>,
    /// The pass of each client, as a `Cookie` line.
    passes: Vec<String>,
}

impl Gate {
    fn start(plan: &Plan, apps: u16) -> io::Result<Self> {
        let (mut running, directory) = start(plan, apps)?;
        let clients = running.clients(8, 1)?;
        let (nginx, guarded) = nginx(&plan.doorward, &directory, apps, running.server.address)?;
        let gate = Self { name: title(apps), running, nginx, guarded, app: apps, clients, passes: Vec::new() };
        // Whatever is measured below would be cheap if nginx let everybody in.
        gate.expect(401, guarded, page(""))?;
        Ok(gate)
    }

    /// Signs all clients in, and takes them into the app.
    fn sign_in(&mut self) -> io::Result<()> {
        for client in &mut self.clients {
            self.running.once("login", client)?;
        }
        self.passes = self.clients.iter().map(|client| self.enter(client)).collect::<io::Result<_>>()?;
        Ok(())
    }

    /// Goes the whole way of a browser into the app: from a question to a pass.
    fn enter(&self, client: &Client) -> io::Result<String> {
        let (doorward, app) = (self.running.server.address, authority(self.app));
        let at_app = |location: &str| location.strip_prefix(&format!("http://{app}")).map(str::to_owned).ok_or_else(|| lost(location));
        let ask = |uri: &str, more: &str| question("/gate/forward", self.app, uri, more);
        let asked = self.expect(302, doorward, ask(PAGE, "Accept: text/html\r\n"))?;
        let entered = self.expect(303, doorward, ask(&at_app(&asked.location)?, ""))?;
        let (_, sealed) = entered.location.split_once("?request=").ok_or_else(|| lost(&entered.location))?;
        let body = serde_json::json!({ "request": sealed }).to_string();
        let head = "POST /api/gate/enter HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
        let enter = format!("{head}Authorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}", client.access, body.len());
        let answer: serde_json::Value = serde_json::from_slice(&self.expect(200, doorward, enter)?.body)?;
        let location = answer["location"].as_str().unwrap_or_default();
        let done = self.expect(303, doorward, ask(&at_app(location)?, &format!("Cookie: {}\r\n", entered.cookie)));
        Ok(format!("Cookie: {}\r\n", done?.cookie))
    }

    fn verifications(&self) -> Vec<Vec<u8>> {
        let verify = self.running.contender.operation("verify").expect("doorward offers it");
        let request = |client| {
            let mut bytes = Vec::new();
            verify.write(client, &mut bytes);
            bytes
        };
        self.clients.iter().map(request).collect()
    }

    /// As nginx asks.
    fn questions(&self) -> Vec<Vec<u8>> {
        self.passes.iter().map(|pass| question("/gate/nginx", self.app, PAGE, pass).into_bytes()).collect()
    }

    /// Measures the visitors' requests through nginx, first where nobody asks the gate and then where it is asked.
    fn both(&self, measure: impl Fn(SocketAddr, &[Vec<u8>]) -> io::Result<Window>) -> io::Result<[Window; 2]> {
        let requests: Vec<_> = self.passes.iter().map(|pass| page(pass).into_bytes()).collect();
        Ok([measure(self.nginx.address, &requests)?, measure(self.guarded, &requests)?])
    }

    /// Measures requests that are answered 200. The processor time is that of Doorward, nginx and the app.
    fn measure(&self, address: SocketAddr, requests: &[Vec<u8>], pace: Pace, window: Duration) -> io::Result<Window> {
        let mut script = Same::of(requests.to_vec(), 200);
        let mut loads = [Load::new(address, CONNECTIONS, pace, &mut script)?];
        Ok(measure_all(&[&self.running.server, &self.nginx], &mut loads, window)?.remove(0))
    }

    /// Asks once.
    fn expect(&self, status: u16, address: SocketAddr, request: String) -> io::Result<Heard> {
        let mut script = Once { request: Some(request), heard: Heard::default() };
        run(&mut [Load::new(address, 1, Pace::Closed, &mut script)?], Duration::from_secs(60), |_| {})?;
        let heard = script.heard;
        let said = || io::Error::other(format!("{}: {}, not {status}: {}", self.name, heard.status, String::from_utf8_lossy(&heard.body)));
        if heard.status == status { Ok(heard) } else { Err(said()) }
    }
}

/// Starts a server with so many apps. Returns it and a directory with its settings.
fn start(plan: &Plan, apps: u16) -> io::Result<(Running, PathBuf)> {
    let directory = plan.fresh("gate", &title(apps).replace(' ', "-"))?;
    let config = directory.join("config.toml");
    fs::write(&config, settings(apps))?;
    let contender = plan.contender()?.with("CONFIG", &config.to_string_lossy());
    Ok((contender.start(&directory.join("doorward"), Hashing::Cheap)?, directory))
}

/// `100 apps`.
pub fn title(apps: u16) -> String {
    if apps == 1 { "1 app".to_owned() } else { format!("{apps} apps") }
}

/// A file of settings with so many apps.
fn settings(apps: u16) -> String {
    let mut text = "[server]\npublic_url = \"http://localhost\"\n\n[gate]\nopen_registration = true\n".to_owned();
    for app in 1..=apps {
        let origin = authority(app);
        // Nobody vouches for addresses here.
        let _ = write!(text, "\n[[gate.app]]\nname = \"app-{app}\"\norigin = \"http://{origin}\"\nroles = [\"*\"]\nunverified = true\n");
    }
    text
}

/// The host of an app. Nobody listens there: nginx has the port that was free, and names this one.
fn authority(app: u16) -> String {
    format!("localhost:{}", 7000 + app)
}

/// A proxy's question about a request for the app, with more of the visitor's own headers.
fn question(path: &str, app: u16, uri: &str, more: &str) -> String {
    let host = authority(app);
    let forwarded =
        format!("X-Forwarded-Method: GET\r\nX-Forwarded-Host: {host}\r\nX-Forwarded-Uri: {uri}\r\nX-Forwarded-For: 127.0.0.1\r\n");
    format!("GET {path} HTTP/1.1\r\nHost: doorward_app_{app}\r\n{forwarded}{more}\r\n")
}

/// A visitor's request.
fn page(pass: &str) -> String {
    format!("GET {PAGE} HTTP/1.1\r\nHost: localhost\r\n{pass}\r\n")
}

fn lost(location: &str) -> io::Error {
    io::Error::other(format!("the way into the app leads to {location:?}"))
}

/// Starts nginx with three servers: the app, which says nothing but 200; what `doorward proxy-config` prints for it; and the
/// same without the one line that asks the gate. Returns it and the address of the second.
fn nginx(doorward: &Path, directory: &Path, app: u16, server: SocketAddr) -> io::Result<(Server, SocketAddr)> {
    const ASKS: &str = "        auth_request /_doorward;\n";
    let [upstream, guarded, open] = [free_port()?, free_port()?, free_port()?];
    let print = |port: u16| -> io::Result<String> {
        let mut command = Command::new(doorward);
        command.args(["proxy-config", "nginx", &format!("app-{app}"), "--config"]).arg(directory.join("config.toml"));
        command.args(["--upstream", &format!("http://127.0.0.1:{upstream}"), "--doorward", &server.to_string()]);
        let output = command.args(["--bind", &format!("127.0.0.1:{port}")]).output()?;
        let said = if output.status.success() { output.stdout } else { output.stderr };
        let said = String::from_utf8_lossy(&said).into_owned();
        if said.contains(ASKS) { Ok(said) } else { Err(io::Error::other(format!("doorward proxy-config: {said}"))) }
    };
    fs::write(directory.join("guarded.conf"), print(guarded)?)?;
    // Another name, because both are in one http block.
    let unasked = print(open)?.replace(ASKS, "").replace(&format!("doorward_app_{app}"), "doorward_nobody");
    fs::write(directory.join("open.conf"), unasked)?;
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {kind}; ")).concat();
    let main = format!(
        "daemon off; worker_processes 1; pid nginx.pid; error_log stderr warn;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n\
         access_log off; {temporary}\n\
         # As many as a turn has.\n\
         keepalive_requests 1000000000;\n\
         # What is printed has a connection to the app for each request. If nginx were the one to close it, its ports would run out.\n\
         server {{ listen 127.0.0.1:{upstream}; keepalive_timeout 0; location / {{ return 200 'here\\n'; }} }}\n\
         include {0}/guarded.conf;\ninclude {0}/open.conf;\n\
         }}\n",
        directory.display()
    );
    let file = directory.join("nginx.conf");
    fs::write(&file, main)?;
    let mut command = pinned("nginx");
    // Whoever is not root may not have it on the path.
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(env::split_paths(&path).chain([PathBuf::from("/usr/sbin")])).map_err(io::Error::other)?;
    command.env("PATH", path).arg("-p").arg(directory).arg("-c").arg(&file);
    let server = Server::start(command, open, page("").as_bytes(), &directory.join("nginx.log"), Duration::from_secs(10))?;
    Ok((server, ([127, 0, 0, 1], guarded).into()))
}

/// What came back to one request.
#[derive(Default)]
struct Heard {
    status: u16,
    location: String,
    /// The first cookie, as a browser sends it back.
    cookie: String,
    body: Vec<u8>,
}

/// A script with one request.
struct Once {
    request: Option<String>,
    heard: Heard,
}

impl Script for Once {
    fn ask(&mut self, _: usize, out: &mut Vec<u8>) -> bool {
        let Some(request) = self.request.take() else { return false };
        out.extend_from_slice(request.as_bytes());
        true
    }

    fn hear(&mut self, _: usize, answer: &Answer<'_>) -> bool {
        let first = |name| answer.headers(name).next().unwrap_or_default();
        let cookie = first("set-cookie").split(';').next().unwrap_or_default();
        self.heard =
            Heard { status: answer.status, location: first("location").to_owned(), cookie: cookie.to_owned(), body: answer.body.to_vec() };
        true
    }
}
