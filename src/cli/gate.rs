//! `doorward gate …`, and what `doorward proxy-config` needs of the settings.

use super::{
    control::Request,
    output::{print, text},
    process::reachable,
    proxy_config::{DEFAULT_UPSTREAM, Origin, Target},
};
use crate::{
    config::Settings,
    domain::{
        Role,
        gate::{App, Gate, Missing, Refused, Standing},
    },
    failure::Failure,
};
use clap::Subcommand;
use serde_json::{Value, json};
use std::sync::Arc;
use url::Url;

#[derive(Subcommand)]
pub enum Command {
    /// Say who passes to an address, and which rule decides
    Explain {
        /// The address, as a browser has it
        url: String,
        /// Who asks: e-mail address or id; nobody if left out
        #[arg(long)]
        user: Option<String>,
        /// The request's method
        #[arg(long, default_value = "GET")]
        method: String,
    },
}

pub fn run(command: Command, settings: &Settings, json: bool, send: impl Fn(Request) -> Result<Value, Failure>) -> Result<(), Failure> {
    match command {
        Command::Explain { url, user, method } => {
            let user = user.map(|user| send(Request::UserShow { user })).transpose()?;
            print(json, &explain(settings, &url, &method, user.as_ref())?, shown)
        }
    }
}

/// The facts of an app for the configuration of a proxy.
///
/// # Errors
/// There is no such app.
pub fn target(settings: &Settings, name: &str) -> Result<Target, Failure> {
    let gate = gate(settings);
    let app = gate.named(name).ok_or_else(|| no_app(&gate, &format!("{name}: there is no app of this name")))?;
    let (login, listen) = (settings.public_url(), reachable(settings.server.listen));
    let scheme = if app.origin.is_secure() { "https" } else { "http" };
    Ok(Target {
        app_name: name.to_owned(),
        origin: Origin { scheme: scheme.into(), host: app.origin.host().into(), port: app.origin.port() },
        login_host: login.split_once("://").map_or_else(String::new, |(_, host)| host.to_owned()),
        login_origin: login,
        takes_basic: app.takes_basic,
        doorward_address: listen.to_string(),
        upstream: DEFAULT_UPSTREAM.into(),
    })
}

fn gate(settings: &Settings) -> Gate {
    // The settings were checked when they were loaded.
    Gate::new(settings.apps().unwrap_or_default())
}

fn no_app(gate: &Gate, what: &str) -> Failure {
    let names: Vec<_> = gate.apps().iter().map(|app| app.name.as_str()).collect();
    let known = if names.is_empty() { "[[gate.app]] has none".to_owned() } else { format!("there are: {}", names.join(", ")) };
    Failure::config(format!("{what}; {known}"))
}

/// What decides about a request, and how.
fn explain(settings: &Settings, url: &str, method: &str, user: Option<&Value>) -> Result<Value, Failure> {
    let gate = gate(settings);
    let parsed = Url::parse(url).map_err(|error| Failure::new(format!("{url}: no address: {error}")))?;
    let origin = parsed.origin().ascii_serialization();
    let app = gate.apps().iter().find(|app| app.origin.as_str() == origin);
    let app = app.ok_or_else(|| no_app(&gate, &format!("{origin}: no app is at this address")))?;
    // What stands behind the host, as a browser sends it: the parser would resolve what the gate must see.
    let target = url.splitn(4, '/').nth(3).map_or_else(|| "/".to_owned(), |rest| format!("/{rest}"));
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let (verdict, rule, missing) = decide(settings, app, method, path, user)?;
    let hint = hint(app, path, verdict);
    Ok(json!({
        "app": app.name, "method": method, "path": path, "user": user.map(|user| text(user, "email")),
        "verdict": verdict, "rule": rule, "missing": missing, "hint": hint,
    }))
}

/// Verdict, the rule that decides, and what is missing.
fn decide(
    settings: &Settings,
    app: &Arc<App>,
    method: &str,
    path: &str,
    user: Option<&Value>,
) -> Result<(&'static str, String, Option<String>), Failure> {
    if let Some(entry) = app.public_entry(method, path) {
        return Ok(("public", format!("public has {:?}", entry.to_string()), None));
    }
    let Some(user) = user else { return Ok(("sign-in", format!("public of {} has no entry for it", app.name), None)) };
    if user["disabled"] == true {
        return Ok(("refused", "the user is disabled".into(), None));
    }
    let role: Role = text(user, "role").parse().map_err(|_| Failure::new("the user has no role"))?;
    let is_vouched_for = user["emailVerified"] == true || user["kind"] == "service";
    Ok(match app.admit_to(path, Standing { role: &role, is_vouched_for }, &settings.roles) {
        Ok(()) => ("allowed", format!("the rule of {} and of each part that the path may be in", app.name), None),
        Err(Refused { missing, prefix }) => {
            let at =
                prefix.map_or_else(|| format!("[[gate.app]] {}", app.name), |prefix| format!("[[gate.app.path]] {prefix} of {}", app.name));
            ("refused", at, Some(missing_text(&missing)))
        }
    })
}

fn missing_text(missing: &Missing) -> String {
    match missing {
        Missing::VerifiedAddress => "nobody vouched for the address: `doorward user verify`, or unverified = true".into(),
        Missing::Role(roles) => format!("one of the roles: {}", roles.iter().map(Role::as_str).collect::<Vec<_>>().join(", ")),
        Missing::Permission(permission) => format!("the permission {permission}"),
    }
}

/// What is seldom meant.
fn hint(app: &App, path: &str, verdict: &str) -> Option<&'static str> {
    if verdict == "sign-in" && app.public_entry("GET", path).is_some() {
        return Some("public opens this path for GET and HEAD alone: an entry may begin with another method");
    }
    let is_manifest = path.ends_with("manifest.json") || path.ends_with(".webmanifest");
    (verdict != "public" && is_manifest).then_some("browsers fetch the manifest of a web app without cookies: let public have this path")
}

fn shown(answer: &Value) -> String {
    let who = match text(answer, "user") {
        user if user.is_empty() => "nobody".into(),
        user => user,
    };
    let outcome = match &*text(answer, "verdict") {
        "public" => "passes: this is open to everybody",
        "allowed" => "passes",
        "sign-in" => "is sent to sign in (401 if it is no navigation)",
        _ => "is refused (403)",
    };
    let mut lines = vec![format!("{} {} at {}: {who} {outcome}", text(answer, "method"), text(answer, "path"), text(answer, "app"))];
    lines.push(format!("because: {}", text(answer, "rule")));
    for (member, label) in [("missing", "missing"), ("hint", "hint")] {
        if !answer[member].is_null() {
            lines.push(format!("{label}: {}", text(answer, member)));
        }
    }
    lines.join("\n")
}
