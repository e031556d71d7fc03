//! The apps of the settings, as commands need them.

use crate::{
    cli::{
        process::reachable,
        proxy_config::{DEFAULT_UPSTREAM, Origin, Target},
    },
    config::Settings,
    domain::gate::Gate,
    failure::Failure,
};

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

/// The gate of the settings.
pub fn gate_of(settings: &Settings) -> Gate {
    // The settings were checked when they were loaded.
    Gate::new(settings.apps().unwrap_or_default())
}

/// The failure of who names an app that is not there.
pub fn no_app(gate: &Gate, what: &str) -> Failure {
    let names: Vec<_> = gate.apps().iter().map(|app| app.name.as_str()).collect();
    let known = if names.is_empty() { "[[gate.app]] has none".to_owned() } else { format!("there are: {}", names.join(", ")) };
    Failure::config(format!("{what}; {known}"))
}
