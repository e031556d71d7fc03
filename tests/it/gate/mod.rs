//! The gate through six real proxies, each on the configuration that `doorward proxy-config` prints, before an app that
//! notes what reaches it.

mod bodies;
mod closed;
mod echo;
mod examples;
mod identity;
mod planted;
mod printed;
mod proxies;
mod real;
mod requests;
mod rules;
mod stand_in;
mod websockets;
mod wire;

use echo::{App, Seen};
use proxies::{Kind, Proxy};
use stand_in::StandIn;
use std::thread;
use wire::{Answer, Connection};

/// The headers that tell an app who somebody is, in the order of [`Gate::identity`].
const HEADERS: [&str; 8] =
    ["remote-user", "remote-email", "remote-name", "remote-groups", "x-auth-user", "x-auth-email", "x-auth-role", "x-auth-permissions"];

/// A gate, and what gets a visitor through it.
#[derive(Debug, Clone)]
struct Gate {
    /// Where it is asked.
    address: String,
    /// `https`, or `http` for a host of this machine.
    scheme: &'static str,
    /// The host of the app.
    host: String,
    /// The host where people sign in.
    login_host: String,
    /// A cookie that lets its owner in, with its name.
    pass: String,
    /// A key that does.
    key: String,
    /// What both say of their owner.
    identity: [String; 8],
}

impl Gate {
    /// The header line that lets in.
    fn pass_line(&self) -> String {
        format!("Cookie: {}\r\n", self.pass)
    }
}

/// A proxy with the gate beside it and an app behind it.
struct Front {
    kind: Kind,
    proxy: Proxy,
    app: App,
    gate: Gate,
}

impl Front {
    fn start(kind: Kind, gate: &Gate, takes_basic: bool) -> Self {
        let app = App::start();
        let proxy = Proxy::start(kind, gate, takes_basic, &app.address);
        Self { kind, proxy, app, gate: gate.clone() }
    }

    fn connect(&self) -> Connection {
        Connection::open(self.proxy.address).unwrap_or_else(|| panic!("{:?}: no connection", self.kind))
    }

    /// Sends a request and reads the answer, if there is one.
    fn send(&self, request: &str) -> Option<Answer> {
        let mut connection = self.connect();
        connection.send(request.as_bytes());
        connection.final_answer()
    }

    /// Sends a request for a path with these header lines.
    fn ask(&self, method: &str, path: &str, lines: &str) -> Answer {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", self.gate.host);
        self.send(&request).unwrap_or_else(|| panic!("{:?}: no answer to {request}", self.kind))
    }

    fn get(&self, path: &str, lines: &str) -> Answer {
        self.ask("GET", path, lines)
    }

    /// The one request that reached the app since the last look.
    #[track_caller]
    fn reached(&self, what: &str) -> Seen {
        let [seen] = &self.app.take()[..] else { panic!("{:?} {what}: not once", self.kind) };
        seen.clone()
    }

    /// Nothing reached the app since the last look.
    #[track_caller]
    fn closed(&self, what: &str) {
        assert_eq!(self.app.take(), [], "{:?} {what}: reached the app", self.kind);
    }

    /// The request carries this identity, each header once, and nothing that could be taken for another.
    #[track_caller]
    fn assert_is(&self, seen: &Seen, identity: &[String; 8], what: &str) {
        let what = format!("{:?} {what}: {:#?}", self.kind, seen.headers);
        for (name, value) in HEADERS.iter().zip(identity) {
            // Some drop a header that is empty.
            let values = seen.all(name);
            assert!(values == [value.as_str()] || value.is_empty() && values.is_empty(), "{name}, {what}");
        }
        for (name, value) in &seen.headers {
            let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
            let like = plain.starts_with("remote-") || plain.starts_with("x-auth-");
            // nginx knows no patterns; it drops what is no hyphen, and an app must not know more names than these eight.
            let known = HEADERS.contains(&name.as_str()) || self.kind == Kind::Nginx && *name == plain;
            assert!(!like || known, "{name}: {value}, {what}");
        }
    }
}

/// Does the same with each proxy, at the same time.
fn through_all(gate: &Gate, test: impl Fn(Front) + Sync) {
    through(gate, false, test);
}

fn through(gate: &Gate, takes_basic: bool, test: impl Fn(Front) + Sync) {
    at_once(|kind| test(Front::start(kind, gate, takes_basic)));
}

/// The same, each with a stand-in of its own, so that its questions are known from others.
fn with_each(test: impl Fn(Front, &StandIn) + Sync) {
    at_once(|kind| {
        let stand_in = StandIn::start();
        let front = Front::start(kind, &stand_in.gate, false);
        stand_in.take();
        test(front, &stand_in);
    });
}

/// Held alone by what keeps the whole machine busy: the others would wait longer for the gate than proxies do.
static MACHINE: std::sync::RwLock<()> = std::sync::RwLock::new(());

/// The same as [`through_all`], while no other test goes through a proxy.
fn through_all_alone(gate: &Gate, test: impl Fn(Front) + Sync) {
    let _alone = MACHINE.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    each(|kind| test(Front::start(kind, gate, false)));
}

fn at_once(test: impl Fn(Kind) + Sync) {
    let _beside_others = MACHINE.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    each(test);
}

fn each(test: impl Fn(Kind) + Sync) {
    let test = &test;
    thread::scope(|scope| {
        let running = Kind::ALL.map(|kind| (kind, scope.spawn(move || test(kind))));
        let failed: Vec<_> = running.into_iter().filter_map(|(kind, thread)| thread.join().is_err().then_some(kind)).collect();
        assert!(failed.is_empty(), "not through {failed:?}: see above");
    });
}
