//! `[gate]`: the apps behind the gate, checked as a whole.

use super::{
    RegistrationMode, Settings,
    check::{DAYS, OutOfBounds, SECOND, ensure, is_loopback, is_origin, span},
    duration, networks,
};
use crate::domain::{
    Permission, Role,
    gate::{self, App, AppName, AppOrigin, InvalidAppName, PathRule, Public, Rule},
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use url::Url;

/// Who may ask the gate, and the apps behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gate {
    /// How long a browser's pass to an app is good.
    #[serde(with = "duration")]
    pub pass_ttl: Duration,
    /// Proxies that may ask, besides those on this machine and `server.trusted_proxies`.
    #[serde(deserialize_with = "networks")]
    pub peers: Vec<IpNet>,
    /// Allows apps that let in whoever has just registered.
    pub open_registration: bool,
    /// The apps. They are given in a file alone, so a table of settings has the key only if there are some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub app: Vec<GateApp>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { pass_ttl: Duration::from_secs(12 * 3600), peers: Vec::new(), open_registration: false, app: Vec::new() }
    }
}

/// `[[gate.app]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateApp {
    /// What keys, logs and commands call it.
    pub name: String,
    /// Where browsers find it: scheme, host and port.
    pub origin: String,
    /// Who may enter; `*` is everybody who can sign in.
    #[serde(default)]
    pub roles: Vec<String>,
    /// The permission that it takes beside a role; empty for none.
    #[serde(default)]
    pub permission: String,
    /// What is open to everybody.
    #[serde(default)]
    pub public: Vec<String>,
    /// Whether API keys open it.
    #[serde(default = "yes")]
    pub keys: bool,
    /// Whether an API key may be the password of HTTP Basic authentication.
    #[serde(default)]
    pub basic: bool,
    /// Whether users enter whose address nobody vouched for.
    #[serde(default)]
    pub unverified: bool,
    /// Other origins whose pages may write to it.
    #[serde(default)]
    pub trusted_origins: Vec<String>,
    /// Parts with rules of their own.
    #[serde(default)]
    pub path: Vec<GatePath>,
}

/// `[[gate.app.path]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatePath {
    /// What the paths of the part begin with.
    pub prefix: String,
    /// Who of those that may enter the app may enter the part.
    #[serde(default)]
    pub roles: Vec<String>,
    /// The permission that it takes beside a role; empty for none.
    #[serde(default)]
    pub permission: String,
}

const fn yes() -> bool {
    true
}

impl Settings {
    /// The apps behind the gate.
    ///
    /// # Errors
    /// The first setting of `[gate]` that cannot be meant.
    pub fn apps(&self) -> Result<Vec<App>, OutOfBounds> {
        let (least, most) = (SECOND * 300, (DAYS * 7).min(self.tokens.refresh_ttl));
        let least = if self.insecure_dev { SECOND } else { least };
        if !self.gate.app.is_empty() {
            span("gate.pass_ttl", self.gate.pass_ttl, least, most)?;
        }
        if let Some(net) = self.gate.peers.iter().find(|net| is_far_too_wide(net)) {
            ensure(false, "gate.peers", net.to_string(), "the addresses your proxies connect from; this is nearly everybody".into())?;
        }
        let mut apps: Vec<App> = Vec::with_capacity(self.gate.app.len());
        for settings in &self.gate.app {
            let app = self.app(settings)?;
            let is_same = |other: &&App| other.name == app.name || other.origin.authority() == app.origin.authority();
            if let Some(other) = apps.iter().find(is_same) {
                let has_its_name = other.name == app.name;
                let (key, value) =
                    if has_its_name { ("gate.app.name", app.name.as_str()) } else { ("gate.app.origin", app.origin.as_str()) };
                ensure(false, key, format!("{value:?} twice"), "each app once, with a name and an origin of its own".into())?;
            }
            self.check_host(&app, &apps)?;
            apps.push(app);
        }
        Ok(apps)
    }

    /// Refuses an app whose host is another's or Doorward's own: cookies know no ports (RFC 6265 §8.5), so the one would be sent
    /// what the other's visitors have. On this machine, where developers have nothing but ports, it is allowed.
    fn check_host(&self, app: &App, others: &[App]) -> Result<(), OutOfBounds> {
        let is_local = Url::parse(app.origin.as_str()).is_ok_and(|url| is_loopback(&url));
        let own = Url::parse(&self.public_url()).ok().and_then(|url| url.host_str().map(str::to_owned));
        let is_taken = own.as_deref() == Some(app.origin.host()) || others.iter().any(|other| other.origin.host() == app.origin.host());
        let allowed = "a host of its own for each app, and not that of server.public_url: cookies know no ports, so one would get \
                       what visitors of the other have";
        ensure(is_local || !is_taken, "gate.app.origin", of(&app.name, app.origin.as_str()), allowed.into())
    }

    fn app(&self, settings: &GateApp) -> Result<App, OutOfBounds> {
        let name: AppName = settings.name.parse().map_err(|error: InvalidAppName| OutOfBounds {
            key: "gate.app.name",
            found: format!("{:?}", settings.name),
            allowed: error.to_string(),
        })?;
        let rule = self.rule(&name, "gate.app.roles", "gate.app.permission", &settings.roles, &settings.permission)?;
        let app = App {
            origin: self.app_origin(&name, &settings.origin)?,
            paths: settings.path.iter().map(|part| self.path_rule(&name, part)).collect::<Result<_, _>>()?,
            public: public_entries(&name, &settings.public)?,
            rule,
            takes_keys: settings.keys,
            takes_basic: settings.basic,
            takes_unverified: settings.unverified,
            trusted_origins: settings.trusted_origins.clone(),
            name,
        };
        check_public(&app)?;
        if let Some(wrong) = app.trusted_origins.iter().find(|origin| self.is_plain_and_remote(origin)) {
            let allowed = "https origins: whoever is on the way of a plain one could write to the app as its visitors".into();
            ensure(false, "gate.app.trusted_origins", of(&app.name, wrong), allowed)?;
        }
        if let Some(wrong) = app.trusted_origins.iter().find(|origin| !is_origin(origin)) {
            let allowed = "origins as browsers send them, such as https://dashboard.example.org".into();
            ensure(false, "gate.app.trusted_origins", of(&app.name, wrong), allowed)?;
        }
        ensure(
            !app.takes_basic || app.takes_keys,
            "gate.app.basic",
            of(&app.name, "basic = true, keys = false"),
            "keys = true as well".into(),
        )?;
        self.check_newcomers(&app)?;
        Ok(app)
    }

    fn app_origin(&self, name: &AppName, text: &str) -> Result<AppOrigin, OutOfBounds> {
        const KEY: &str = "gate.app.origin";
        let allowed =
            "an origin as browsers write it, with a host of its own, no path and no slash at its end, such as https://grafana.example.org";
        let refused = |allowed: &str| OutOfBounds { key: KEY, found: of(name, text), allowed: allowed.to_owned() };
        let origin = AppOrigin::new(text).ok_or_else(|| refused(allowed))?;
        if super::origin(&self.public_url()).as_deref() == Some(text) {
            return Err(refused("an origin of the app's own: this is where Doorward itself is (server.public_url)"));
        }
        if self.is_plain_and_remote(text) {
            Err(refused("an https origin, a loopback one, or server.insecure_http = true"))
        } else {
            Ok(origin)
        }
    }

    fn is_plain_and_remote(&self, origin: &str) -> bool {
        let is_local = Url::parse(origin).is_ok_and(|url| is_loopback(&url));
        origin.starts_with("http:") && !is_local && !self.server.insecure_http
    }

    fn rule(
        &self,
        app: &AppName,
        roles_key: &'static str,
        permission_key: &'static str,
        roles: &[String],
        permission: &str,
    ) -> Result<Rule, OutOfBounds> {
        let known = || self.roles.names().map(Role::as_str).collect::<Vec<_>>().join(", ");
        let allowed = || format!("[\"*\"] for everybody who can sign in, or some of: {}", known());
        let listed = match roles {
            [] => return Err(OutOfBounds { key: roles_key, found: format!("no roles for app {app}"), allowed: allowed() }),
            [all] if all == "*" => None,
            roles => Some(roles.iter().map(|name| name.parse().ok().filter(|role| self.roles.contains(role)).ok_or(name))),
        };
        let listed = listed.map(Iterator::collect::<Result<Vec<Role>, _>>).transpose();
        let roles = listed.map_err(|name| OutOfBounds { key: roles_key, found: of(app, name), allowed: allowed() })?;
        let asked =
            (!permission.is_empty()).then(|| Permission::exact(permission).ok().filter(|p| self.roles.names_permission(p.as_str())));
        let permission = match asked {
            Some(None) => {
                let allowed = "a permission that some role in [roles] names, such as articles:read".to_owned();
                return Err(OutOfBounds { key: permission_key, found: of(app, permission), allowed });
            }
            asked => asked.flatten(),
        };
        Ok(Rule { roles, permission })
    }

    fn path_rule(&self, app: &AppName, part: &GatePath) -> Result<PathRule, OutOfBounds> {
        let prefix = gate::folded_prefix(&part.prefix).ok_or_else(|| OutOfBounds {
            key: "gate.app.path.prefix",
            found: of(app, &part.prefix),
            allowed: "a path in its plain spelling and without *, such as /admin: it covers all that begins with it".to_owned(),
        })?;
        let rule = self.rule(app, "gate.app.path.roles", "gate.app.path.permission", &part.roles, &part.permission)?;
        Ok(PathRule { prefix, rule })
    }

    /// Refuses apps that anybody could walk into by registering.
    fn check_newcomers(&self, app: &App) -> Result<(), OutOfBounds> {
        let is_open = self.registration_mode() == RegistrationMode::Open && !self.gate.open_registration;
        let default = &self.registration.default_role;
        let lets_in = app.rule.admits(default, &self.roles);
        let found = format!("{default} in app {}, which anybody can become by registering", app.name);
        let allowed = "registration.mode = \"invite\" or \"closed\", other roles, or gate.open_registration = true".to_owned();
        ensure(!(is_open && lets_in), "gate.app.roles", found, allowed)
    }
}

/// Whether a network is no operator's: it holds more than a small part of all addresses, or all of IPv4 as IPv6 writes it.
fn is_far_too_wide(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.prefix_len() < 8,
        IpNet::V6(net) => net.prefix_len() < 16 || (net.addr().to_ipv4_mapped().is_some() && net.prefix_len() < 104),
    }
}

fn public_entries(app: &AppName, entries: &[String]) -> Result<Vec<Public>, OutOfBounds> {
    let refused =
        |text: &str, error: gate::InvalidPublic| OutOfBounds { key: "gate.app.public", found: of(app, text), allowed: error.to_string() };
    entries.iter().map(|text| text.parse().map_err(|error| refused(text, error))).collect()
}

fn check_public(app: &App) -> Result<(), OutOfBounds> {
    if let Some(entry) = app.public.iter().find(|entry| entry.reaches_into("/.doorward")) {
        ensure(false, "gate.app.public", of(&app.name, &entry.to_string()), "paths of the app: /.doorward/ is Doorward's".into())?;
    }
    for part in &app.paths {
        if let Some(entry) = app.public.iter().find(|entry| entry.reaches_into(&part.prefix)) {
            let allowed = format!("what is not below {}, which has a rule of its own in [[gate.app.path]]", part.prefix);
            ensure(false, "gate.app.public", of(&app.name, &entry.to_string()), allowed)?;
        }
    }
    Ok(())
}

/// What was found, and in which app.
fn of(app: &AppName, found: &str) -> String {
    format!("{found:?} in app {app}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = r#"
        [[app]]
        name = "grafana"
        origin = "https://grafana.example.org"
        roles = ["editor"]
    "#;

    fn settings(gate: &str) -> Settings {
        let mut settings = Settings { gate: toml::from_str(gate).expect("a gate"), ..Settings::default() };
        settings.server.public_url = "https://login.example.org".into();
        settings
    }

    fn refused(gate: &str) -> (&'static str, String) {
        let error = settings(gate).check().expect_err(gate);
        (error.key, error.allowed)
    }

    #[test]
    fn an_app_takes_a_name_an_origin_and_roles() {
        let apps = settings(APP).apps().expect("good");
        assert_eq!((apps[0].name.as_str(), apps[0].origin.as_str()), ("grafana", "https://grafana.example.org"));
        assert!(apps[0].takes_keys && !apps[0].takes_basic && !apps[0].takes_unverified);
        let all = settings(&APP.replace("[\"editor\"]", "[\"*\"]")).apps().expect("good");
        assert_eq!(all[0].rule.roles, None);
    }

    #[test]
    fn gate_36_what_cannot_be_meant_stops_the_start_by_its_key() {
        let with = |more: &str| format!("{APP}{more}\n");
        let part =
            |prefix: &str, roles: &str| with(&format!("public = [\"/share/*\"]\n[[app.path]]\nprefix = {prefix:?}\nroles = [{roles}]"));
        for (gate, key) in [
            (APP.replace("roles = [\"editor\"]", ""), "gate.app.roles"),
            (APP.replace("\"editor\"", "\"ghost\""), "gate.app.roles"),
            (APP.replace("\"editor\"", "\"editor\", \"*\""), "gate.app.roles"),
            (APP.replace("grafana\"\n", "Grafana\"\n"), "gate.app.name"),
            (format!("{APP}{}", APP.replace("\"grafana\"", "\"other\"")), "gate.app.origin"),
            (format!("{APP}{}", APP.replace("https://grafana", "https://other")), "gate.app.name"),
            (APP.replace("grafana.example", "login.example"), "gate.app.origin"),
            (APP.replace("https:", "http:"), "gate.app.origin"),
            (APP.replace(".org\"", ".org/\""), "gate.app.origin"),
            (APP.replace("grafana.example", "*.example"), "gate.app.origin"),
            (with("permission = \"no:where\""), "gate.app.permission"),
            (with("public = [\"/*\"]"), "gate.app.public"),
            (with("public = [\"share\"]"), "gate.app.public"),
            (with("trusted_origins = [\"https://x.example/\"]"), "gate.app.trusted_origins"),
            (with("keys = false\nbasic = true"), "gate.app.basic"),
            (part("admin", "\"admin\""), "gate.app.path.prefix"),
            (part("/", "\"admin\""), "gate.app.path.prefix"),
            (part("/admin/*", "\"admin\""), "gate.app.path.prefix"),
            (part("/admin", ""), "gate.app.path.roles"),
            (part("/admin", "\"ghost\""), "gate.app.path.roles"),
            (part("/share", "\"admin\""), "gate.app.public"),
            (part("/share/", "\"admin\""), "gate.app.public"),
            (part("/share/private", "\"admin\""), "gate.app.public"),
            (format!("pass_ttl = \"4m\"\n{APP}"), "gate.pass_ttl"),
            (format!("pass_ttl = \"8d\"\n{APP}"), "gate.pass_ttl"),
            (format!("peers = [\"0.0.0.0/0\"]\n{APP}"), "gate.peers"),
            (format!("peers = [\"128.0.0.0/1\"]\n{APP}"), "gate.peers"),
            (format!("peers = [\"::ffff:0:0/96\"]\n{APP}"), "gate.peers"),
            (with("trusted_origins = [\"http://x.example\"]"), "gate.app.trusted_origins"),
            (with("public = [\"/.doorward/x\"]"), "gate.app.public"),
            (APP.replace("grafana.example.org", "login.example.org:8443"), "gate.app.origin"),
            (format!("{APP}{}", APP.replace("\"grafana\"", "\"other\"").replace(".org\"", ".org:8443\"")), "gate.app.origin"),
        ] {
            assert_eq!(refused(&gate).0, key, "{gate}");
        }
        let mut short = settings(&format!("pass_ttl = \"2d\"\n{APP}"));
        short.tokens.refresh_ttl = DAYS;
        assert_eq!(short.check().expect_err("longer than a session").key, "gate.pass_ttl");
    }

    #[test]
    fn gate_36_an_app_that_anybody_could_walk_into_by_registering_stops_the_start() {
        let open = |gate: &str| {
            let mut settings = settings(gate);
            settings.registration.mode = crate::config::RegistrationSetting::Open;
            settings.check().map_err(|error| error.key)
        };
        assert_eq!(open(APP), Ok(()), "registering makes nobody an editor");
        let everybody = APP.replace("[\"editor\"]", "[\"*\"]");
        assert_eq!(open(&everybody), Err("gate.app.roles"));
        assert_eq!(open(&APP.replace("editor", "viewer")), Err("gate.app.roles"));
        assert_eq!(open(&format!("open_registration = true\n{everybody}")), Ok(()));
        assert_eq!(settings(&everybody).check(), Ok(()), "by invitation");
    }
}
