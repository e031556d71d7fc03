//! `doorward gate …`, and what `doorward proxy-config` needs of the settings.

mod check;
mod explain;
mod probe;

use super::{
    control::Request,
    output::print,
    process::reachable,
    proxy_config::{DEFAULT_UPSTREAM, Origin, Target},
};
use crate::{config::Settings, domain::gate::Gate, failure::Failure};
use clap::Subcommand;
use serde_json::Value;

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
    /// Ask an app's public address from outside, signed out, and say what lets in whom it should not. It needs curl
    Check(check::Args),
}

pub fn run(command: Command, settings: &Settings, json: bool, send: impl Fn(Request) -> Result<Value, Failure>) -> Result<(), Failure> {
    match command {
        Command::Explain { url, user, method } => {
            let user = user.map(|user| send(Request::UserShow { user })).transpose()?;
            print(json, &explain::explain(settings, &url, &method, user.as_ref())?, explain::shown)
        }
        Command::Check(args) => check::run(&args, settings, json),
    }
}

/// The facts of an app for the configuration of a proxy.
///
/// # Errors
/// There is no such app.
pub fn target(settings: &Settings, name: &str) -> Result<Target, Failure> {
    let gate = gate_of(settings);
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

fn gate_of(settings: &Settings) -> Gate {
    // The settings were checked when they were loaded.
    Gate::new(settings.apps().unwrap_or_default())
}

fn no_app(gate: &Gate, what: &str) -> Failure {
    let names: Vec<_> = gate.apps().iter().map(|app| app.name.as_str()).collect();
    let known = if names.is_empty() { "[[gate.app]] has none".to_owned() } else { format!("there are: {}", names.join(", ")) };
    Failure::config(format!("{what}; {known}"))
}
