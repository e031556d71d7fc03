//! Real proxies on the configuration that is printed for them.

mod apache;
mod caddy;
mod envoy;
mod haproxy;
mod nginx;
mod traefik;

use super::{Gate, wire::Connection};
use crate::support::{doorward, run};
use doorward::cli::proxy_config::Options;
use std::{
    collections::HashSet,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{LazyLock, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A proxy as it is installed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    /// Debian's.
    Caddy,
    /// The one that is released now.
    CaddyToday,
    Traefik,
    Haproxy,
    Apache,
    Envoy,
}

impl Kind {
    pub const ALL: [Self; 7] = [Self::Nginx, Self::Caddy, Self::CaddyToday, Self::Traefik, Self::Haproxy, Self::Apache, Self::Envoy];

    /// The name by which its configuration is printed.
    pub fn name(self) -> String {
        if self == Self::CaddyToday { "caddy".into() } else { format!("{self:?}").to_lowercase() }
    }

    /// The program. Panics if it is not there: no test here is skipped.
    fn program(self) -> PathBuf {
        match self {
            Self::Nginx => of_debian("nginx"),
            Self::Caddy => of_debian("caddy"),
            Self::Haproxy => of_debian("haproxy"),
            Self::Apache => of_debian("apache2"),
            Self::CaddyToday => of_python("caddy"),
            Self::Traefik => of_python("traefik"),
            Self::Envoy => of_python("envoy"),
        }
    }

    /// Writes what the printed files do not have, and returns the arguments that run them.
    fn arguments(self, dir: &Path, listen: SocketAddr) -> Vec<String> {
        match self {
            Self::Nginx => nginx::arguments(dir),
            Self::Caddy | Self::CaddyToday => caddy::arguments(dir),
            Self::Traefik => traefik::arguments(dir, listen),
            Self::Haproxy => haproxy::arguments(dir),
            Self::Apache => apache::arguments(dir, listen),
            Self::Envoy => envoy::arguments(dir),
        }
    }

    /// The arguments with which the proxy only reads its files. Traefik cannot.
    pub fn check(self, dir: &Path, listen: SocketAddr) -> Option<Command> {
        let check = match self {
            Self::Nginx => nginx::check,
            Self::Caddy | Self::CaddyToday => caddy::check,
            Self::Haproxy => haproxy::check,
            Self::Apache => apache::check,
            Self::Envoy => envoy::check,
            Self::Traefik => return None,
        };
        Some(self.command(dir, &check(self.arguments(dir, listen))))
    }

    fn command(self, dir: &Path, arguments: &[String]) -> Command {
        let log = fs::File::create(dir.join("log")).expect("a log");
        let mut command = Command::new(self.program());
        command.args(arguments).current_dir(dir).env_clear().env("HOME", dir).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        command
    }
}

fn of_debian(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/bin")]);
    let found = places.map(|place| place.join(name)).find(|program| program.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: tests/run installs it on Debian, as root"))
}

/// A program out of a package that `requirements.txt` names. They are fetched unless they are there.
fn of_python(name: &str) -> PathBuf {
    const WANTED: &str = include_str!("../requirements.txt");
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("proxies");
    let complete = home.join("complete");
    if fs::read_to_string(&complete).is_ok_and(|installed| installed == WANTED) {
        return home.join("bin").join(name);
    }
    let must = |command: &mut Command| {
        let status = command.stdout(Stdio::null()).status();
        assert!(status.unwrap_or_else(|error| panic!("{command:?}: {error}")).success(), "{command:?} failed");
    };
    must(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home));
    let wanted = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/gate/requirements.txt");
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"];
    must(Command::new(home.join("bin/python3")).args(pip).arg(wanted));
    fs::write(&complete, WANTED).expect("written");
    home.join("bin").join(name)
}

/// A free port that no other test was given.
fn free_port() -> SocketAddr {
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    loop {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(address.port()) {
            return address;
        }
    }
}

/// Whether a process listens on a port. Another program may have got it, and would answer too.
fn listens(process: u32, port: u16) -> bool {
    let sockets = fs::read_to_string(format!("/proc/{process}/net/tcp")).unwrap_or_default();
    let ours = |line: &str| {
        let mut fields = line.split_whitespace();
        let (local, state, inode) = (fields.nth(1)?, fields.nth(1)?, fields.nth(5)?);
        let is_it = local.ends_with(&format!(":{port:04X}")) && state == "0A";
        is_it.then(|| PathBuf::from(format!("socket:[{inode}]")))
    };
    let wanted: Vec<_> = sockets.lines().filter_map(ours).collect();
    let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    files.filter_map(|file| fs::read_link(file.path()).ok()).any(|target| wanted.contains(&target))
}

/// The app's name in the settings.
const APP: &str = "the-app";

/// Settings with the app, and its login host.
fn settings(gate: &Gate, takes_basic: bool) -> String {
    let Gate { scheme, host, login_host: login, .. } = gate;
    format!(
        "[server]\npublic_url = \"{scheme}://{login}\"\n[registration]\nmode = \"invite\"\n\
         [[gate.app]]\nname = \"{APP}\"\norigin = \"{scheme}://{host}\"\nroles = [\"editor\"]\nbasic = {takes_basic}\n"
    )
}

/// Options for a proxy between a gate and an app, behind something that does TLS.
pub fn behind_tls(gate: &Gate, app: &str) -> Options {
    Options { no_tls: true, upstream: Some(format!("http://{app}")), doorward: Some(gate.address.clone()), ..Options::default() }
}

/// The arguments that print this proxy's files into a directory.
pub fn command_line(kind: Kind, app: &str, options: &Options, dir: &Path) -> Vec<String> {
    let mut arguments = vec!["proxy-config".to_owned(), kind.name(), app.to_owned(), "--out".to_owned(), dir.display().to_string()];
    let bind = options.bind.map(|bind| bind.to_string());
    for (name, value) in [
        ("--upstream", &options.upstream),
        ("--doorward", &options.doorward),
        ("--bind", &bind),
        ("--tls-cert", &options.tls_cert),
        ("--tls-key", &options.tls_key),
    ] {
        arguments.extend(value.iter().flat_map(|value| [name.to_owned(), value.clone()]));
    }
    arguments.extend(options.no_tls.then(|| "--no-tls".to_owned()));
    arguments
}

/// A directory with the files that the binary prints for this proxy.
pub fn printed(kind: Kind, gate: &Gate, takes_basic: bool, options: &Options) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    // Apache reads its script as another user.
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions");
    let own = tempfile::tempdir().expect("a directory");
    fs::write(own.path().join("config.toml"), settings(gate, takes_basic)).expect("written");
    let options = Options { doorward: options.doorward.clone().or_else(|| Some(gate.address.clone())), ..options.clone() };
    let output = run(doorward(own.path(), &[], &[]).args(command_line(kind, APP, &options, dir.path())), "");
    assert!(output.status.success(), "{kind:?}: {}", String::from_utf8_lossy(&output.stderr));
    dir
}

/// A running proxy. Dropping it kills it; its log is shown if the test fails.
pub struct Proxy {
    pub kind: Kind,
    pub address: SocketAddr,
    child: Child,
    dir: TempDir,
}

impl Proxy {
    /// Starts a proxy between clients, a gate and an app, and waits until it asks the one about the other. What does TLS
    /// would stand in front of it.
    pub fn start(kind: Kind, gate: &Gate, takes_basic: bool, app: &str) -> Self {
        Self::on(kind, gate, takes_basic, &behind_tls(gate, app))
    }

    /// Starts a proxy with these options but for the port, which is a free one.
    pub fn on(kind: Kind, gate: &Gate, takes_basic: bool, options: &Options) -> Self {
        Self::altered(kind, gate, takes_basic, options, &|_| {})
    }

    /// The same after something was done to its files.
    pub fn altered(kind: Kind, gate: &Gate, takes_basic: bool, options: &Options, alter: &dyn Fn(&Path)) -> Self {
        let mut last = String::new();
        // Another program may take the free port meanwhile. The proxy then ends, and the next port is tried.
        for _ in 0..5 {
            let address = free_port();
            let dir = printed(kind, gate, takes_basic, &Options { bind: Some(address), ..options.clone() });
            alter(dir.path());
            let arguments = kind.arguments(dir.path(), address);
            let child = kind.command(dir.path(), &arguments).spawn().unwrap_or_else(|error| panic!("{kind:?}: {error}"));
            let mut proxy = Self { kind, address, child, dir };
            if proxy.came_up(&gate.host, options.no_tls) {
                return proxy;
            }
            last = proxy.log();
        }
        panic!("{kind:?} does not start: {last}");
    }

    /// Waits until the proxy answers for the app, and not only at all.
    fn came_up(&mut self, host: &str, is_plain: bool) -> bool {
        let (begun, question) = (Instant::now(), format!("GET /up HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        while self.child.try_wait().expect("waited").is_none() && begun.elapsed() < Duration::from_secs(30) {
            if listens(self.child.id(), self.address.port())
                && let Some(mut connection) = Connection::open(self.address)
            {
                if !is_plain {
                    return true;
                }
                connection.send(question.as_bytes());
                if connection.answer().is_some_and(|answer| answer.status != 404) {
                    return true;
                }
            }
            thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// What the proxy has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).expect("a log")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{:?} logged:\n{}", self.kind, self.log());
        }
    }
}
