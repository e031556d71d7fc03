//! `doorward gate check`: an app's public address, asked as a stranger would ask it. What lets one in, or leads nowhere, is a
//! finding, with what to change.

use super::{
    apps::{gate_of, no_app},
    probe::{Answer, Probe},
};
use crate::{
    cli::output::print,
    config::Settings,
    domain::gate::{App, Public},
    failure::Failure,
};
use serde::Serialize;
use serde_json::json;

/// What the command is given.
#[derive(clap::Args)]
pub struct Args {
    /// The app, by its name in the settings
    app: String,
    /// The app's own address, which must not answer from here
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Another path of the app to ask for
    #[arg(long, value_name = "PATH", default_value = "/")]
    path: String,
    /// Connect there in place of what the app's name resolves to
    #[arg(long, value_name = "HOST:PORT")]
    connect_to: Option<String>,
    /// Trust this certificate
    #[arg(long, value_name = "FILE")]
    cacert: Option<String>,
}

/// Something that was found.
#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    fix: &'static str,
}

/// Asks, and says what was found.
///
/// # Errors
/// There is no such app or no curl; or something was found.
pub fn run(args: &Args, settings: &Settings, json: bool) -> Result<(), Failure> {
    let gate = gate_of(settings);
    let app = gate.named(&args.app).ok_or_else(|| no_app(&gate, &format!("{}: there is no app of this name", args.app)))?;
    let visit = Visit { app, login: settings.public_url(), path: &args.path, curl: curl_options(args, app) };
    let (findings, asked) = visit.findings(args.upstream.as_deref())?;
    let count = findings.len();
    print(json, &json!({ "app": app.name, "origin": app.origin.as_str(), "asked": asked, "findings": findings }), |_| {
        let lines: Vec<_> = findings.iter().map(|finding| format!("found: {}\n  fix: {}\n", finding.what, finding.fix)).collect();
        let lines = lines.concat();
        let sum = if count == 0 { "nothing found, signed out".to_owned() } else { format!("{count} found") };
        format!("{lines}{}: {sum}, in {asked} requests", app.origin.as_str())
    })?;
    if count == 0 { Ok(()) } else { Err(Failure::new(format!("{}: {count} found: see above", app.name))) }
}

fn curl_options(args: &Args, app: &App) -> Vec<String> {
    let place = |at: &String| format!("{}:{}:{at}", app.origin.host(), app.origin.port());
    let connect = args.connect_to.iter().flat_map(|at| ["--connect-to".to_owned(), place(at)]);
    connect.chain(args.cacert.iter().flat_map(|file| ["--cacert".to_owned(), file.clone()])).collect()
}

/// A round of requests to an app.
struct Visit<'a> {
    app: &'a App,
    login: String,
    path: &'a str,
    curl: Vec<String>,
}

/// A request that must not be answered with a yes, what it would mean, and what to change.
type Closed = (Probe, &'static str, &'static str);

const NOT_ASKED: &str = "let the proxy ask the gate before every request: doorward proxy-config prints how";
const FORGEABLE: &str = "let the proxy set X-Forwarded-Method, X-Forwarded-Host and X-Forwarded-Uri itself, over what the client sent";

const ALIASES: &str = "delete X-Auth-*, Remote-* and their spellings with _ and . first";

/// The same for the path that is asked for: method and headers.
const HERE: [(&str, &[&str], &str, &str); 7] = [
    ("POST", &[], "POST lets in whoever asks", NOT_ASKED),
    (
        "OPTIONS",
        &["Access-Control-Request-Method: POST", "Origin: https://other.example"],
        "a preflight reaches the app",
        "list it in public, as OPTIONS, if that is meant",
    ),
    ("GET", &["Remote-User: admin", "X-Auth-User: admin", "X-Auth-Role: admin"], "identity headers of the client let it in", ALIASES),
    ("GET", &["X_Auth_Role: admin", "X.Auth.Role: admin", "Remote_User: admin"], "identity headers of the client let it in", ALIASES),
    (
        "GET",
        &["Connection: close, X-Forwarded-Host, X-Forwarded-Uri"],
        "Connection takes the question apart",
        "refuse a Connection that names headers: doorward proxy-config prints how",
    ),
    ("GET", &["Cookie: __Host-doorward-pass=x", "Authorization: Bearer x", "X-Doorward-Key: x"], "a wrong credential lets in", NOT_ASKED),
    (
        "GET",
        &["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
        "a websocket opens for whoever asks",
        NOT_ASKED,
    ),
];

impl Visit<'_> {
    fn origin(&self) -> &str {
        self.app.origin.as_str()
    }

    fn navigation(&self) -> Probe {
        Probe::navigation(self.origin(), self.path)
    }

    fn send(&self, probe: &Probe) -> Result<Result<Answer, String>, Failure> {
        probe.send(&self.curl)
    }

    /// All that is found, and how many requests it took.
    fn findings(&self, upstream: Option<&str>) -> Result<(Vec<Finding>, usize), Failure> {
        let mut findings = Vec::new();
        match self.send(&self.navigation())? {
            Err(why) => {
                let what = format!("{} does not answer: {why}", self.origin());
                return Ok((
                    vec![Finding {
                        what,
                        fix: "start the proxy, and let the app's name lead to it; --cacert trusts a certificate of your own",
                    }],
                    1,
                ));
            }
            Ok(answer) => findings.extend(self.way_in(&answer)),
        }
        let closed = self.closed();
        let asked = closed.len() + 9;
        for (probe, what, fix) in closed {
            if self.send(&probe)?.is_ok_and(|answer| answer.is_yes()) {
                findings.push(Finding { what: what.to_owned(), fix });
            }
        }
        findings.extend(self.told_by_the_client()?);
        findings.extend(self.any_host()?);
        findings.extend(self.doorwards_own()?);
        findings.extend(self.login_host()?);
        if let Some(upstream) = upstream
            && self.send(&Probe::navigation(upstream, "/"))?.is_ok()
        {
            let what = format!("the app answers at {upstream}, past the proxy");
            findings.push(Finding { what, fix: "bind the app to 127.0.0.1 or to a network that only the proxy is in; if this is its loopback address, ask from elsewhere" });
        }
        Ok((findings, asked))
    }

    /// What a navigation signed out is answered with.
    fn way_in(&self, answer: &Answer) -> Option<Finding> {
        let leads_in = |at: &str| at.starts_with(&format!("{}/.doorward/enter?to=", self.origin()));
        let location = answer.header("location");
        let is_open = self.app.public_entry("GET", self.path).is_some();
        let (what, fix) = match answer.status {
            _ if is_open => return None,
            200..=299 => (format!("{} lets in whoever asks", self.path), NOT_ASKED),
            500..=599 => (
                format!("a navigation is answered {}", answer.status),
                "let nginx ask /gate/nginx, and any other proxy /gate/forward; see whether Doorward runs where the proxy asks",
            ),
            _ if location.is_some_and(leads_in) => return Self::uncached(answer),
            302 | 303 => (
                format!("a navigation is sent to {}", location.unwrap_or_default()),
                "let the gate's own Location through; the origin of the app is [[gate.app]] origin",
            ),
            status => (
                format!("a navigation is answered {status} and is not sent to sign in"),
                "ask /gate/forward, or /gate/nginx with nginx, and hand on the Location of its 401",
            ),
        };
        Some(Finding { what, fix })
    }

    fn uncached(answer: &Answer) -> Option<Finding> {
        let is_kept = !answer.header("cache-control").is_some_and(|value| value.contains("no-store"));
        let fix = "hand on the gate's Cache-Control, and let no cache stand before it";
        is_kept.then(|| Finding { what: "the way to sign in may be cached".into(), fix })
    }

    /// Requests that must not be answered with a yes.
    fn closed(&self) -> Vec<Closed> {
        let mut closed: Vec<Closed> = HERE
            .iter()
            .map(|(method, lines, what, fix)| {
                (lines.iter().fold(self.navigation().method(method), |probe, line| probe.header(*line)), *what, *fix)
            })
            .collect();
        let at = |path: &str| Probe::navigation(self.origin(), path);
        closed.push((
            at("/.doorward/..%2f"),
            "/.doorward/..%2f reaches the app",
            "route exactly /.doorward/ to Doorward, without decoding",
        ));
        closed.push((at("/.doorward/../"), "/.doorward/../ reaches the app", "guard what a path resolves to as well"));
        closed.extend(self.app.public.iter().filter(|entry| entry.opens_get()).flat_map(|entry| self.beside_open(&entry.example())));
        for part in &self.app.paths {
            for path in [format!("/x/..{}", part.prefix), format!("/{}", part.prefix), part.prefix.to_uppercase()] {
                closed.push((at(&path), "a part with a rule of its own lets in whoever asks", NOT_ASKED));
            }
        }
        if let Some(plain) = self.origin().strip_prefix("https://").filter(|_| self.app.origin.port() == 443) {
            let probe = Probe::navigation(&format!("http://{plain}"), self.path);
            closed.push((probe, "plain http lets in whoever asks", "redirect http to https, and serve nothing else there"));
        }
        closed
    }

    /// What is open, claimed for what is not.
    fn beside_open(&self, open: &str) -> [Closed; 5] {
        let here = || self.navigation();
        let original = here().header(format!("X-Original-URL: {open}")).header(format!("X-Original-URI: {open}"));
        let deleted = Probe::navigation(self.origin(), open).method("DELETE");
        let posted = here().method("POST").header("X-Forwarded-Method: GET").header(format!("X-Forwarded-Uri: {open}"));
        [
            (here().header(format!("X-Forwarded-Uri: {open}")), "X-Forwarded-Uri of the client opens what is closed", FORGEABLE),
            (original.header(format!("X-Rewrite-URL: {open}")), "X-Original-URL of the client opens what is closed", FORGEABLE),
            (
                deleted,
                "a path that is open for GET is open for DELETE",
                "let the proxy send the request's own method in X-Forwarded-Method",
            ),
            (
                here().target(format!("{}?gate-check@{}{open}", self.origin().replace("https:", "http:"), self.app.origin.authority())),
                "a target with a host in it reaches the app by another path than the gate is asked about",
                "let the proxy pass on the path alone: doorward proxy-config prints how",
            ),
            (posted, "X-Forwarded-Method of the client opens what is closed", FORGEABLE),
        ]
    }

    /// What the gate is asked about must not be what the client says: its own word would come back as where to go.
    fn told_by_the_client(&self) -> Result<Option<Finding>, Failure> {
        let claimed = "/claimed-by-gate-check";
        let probe = self.navigation().header(format!("X-Forwarded-Uri: {claimed}")).header(format!("X-Original-URL: {claimed}"));
        let answer = self.send(&probe.header("X-Forwarded-Method: HEAD"))?;
        let is_told = answer.is_ok_and(|answer| answer.header("location").is_some_and(|at| at.contains("claimed-by-gate-check")));
        Ok(is_told.then(|| Finding { what: "the gate is asked about the path that the client claims".into(), fix: FORGEABLE }))
    }

    /// A name that is not the app's must not lead to it. Another site may answer there, so it is compared with what is open.
    fn any_host(&self) -> Result<Option<Finding>, Failure> {
        let Some(open) = self.app.public.iter().find(|entry| entry.opens_get()).map(Public::example) else { return Ok(None) };
        let (own, other) = (Probe::navigation(self.origin(), &open), Probe::navigation(self.origin(), &open).header("Host: other.example"));
        let is_same = match (self.send(&own)?, self.send(&other)?) {
            (Ok(own), Ok(other)) => own.is_yes() && other.is_yes() && own.size == other.size,
            _ => false,
        };
        let fix = "let the proxy serve the app for its own name alone";
        Ok(is_same.then(|| Finding { what: "the app answers to any host".into(), fix }))
    }

    /// What is below `/.doorward/` must be Doorward's.
    fn doorwards_own(&self) -> Result<Vec<Finding>, Failure> {
        let mut findings = Vec::new();
        let fix = "with nginx and Apache, route /.doorward/ to Doorward with X-Forwarded-Host; with others, let the gate answer it";
        let sign_in = format!("{}/gate/sign-in?request=", self.login);
        match self.send(&Probe::navigation(self.origin(), "/.doorward/enter?to=/"))? {
            Ok(answer) if !answer.header("location").is_some_and(|at| at.starts_with(&sign_in)) => {
                findings.push(Finding {
                    what: format!("/.doorward/enter is answered {} and does not lead to {}", answer.status, self.login),
                    fix,
                });
            }
            Ok(answer) if answer.header("set-cookie").is_none() => {
                let fix = "hand on Set-Cookie of the gate's redirections";
                findings.push(Finding { what: "/.doorward/enter sets no cookie, so nobody gets in".into(), fix });
            }
            _ => {}
        }
        if self.send(&Probe::navigation(self.origin(), "/.doorward/nothing"))?.is_ok_and(|answer| answer.is_yes()) {
            findings.push(Finding { what: "/.doorward/nothing reaches the app".into(), fix });
        }
        Ok(findings)
    }

    /// The sign-in page must be there, and the gate not be asked by its address.
    fn login_host(&self) -> Result<Vec<Finding>, Failure> {
        let mut findings = Vec::new();
        match self.send(&Probe::navigation(&self.login, "/gate/sign-in"))? {
            Ok(answer) if answer.status == 200 => {}
            answer => {
                let said = answer.map_or_else(|why| why, |answer| answer.status.to_string());
                let fix = "let the proxy pass the sign-in host to Doorward, all of it; it is server.public_url";
                findings.push(Finding { what: format!("the sign-in page at {} is not there: {said}", self.login), fix });
            }
        }
        let question = Probe::navigation(&self.login, "/gate/forward").header("X-Forwarded-Method: GET");
        let question = question.header(format!("X-Forwarded-Host: {}", self.app.origin.authority())).header("X-Forwarded-Uri: /");
        if self.send(&question)?.is_ok_and(|answer| answer.is_yes() || answer.header("location").is_some())
            && !self.login.contains("127.0.0.1")
        {
            let fix = "let the proxy keep Host for the sign-in host, so that Doorward knows by which name it was asked";
            findings.push(Finding { what: "the gate answers at the public address of the sign-in page".into(), fix });
        }
        Ok(findings)
    }
}
