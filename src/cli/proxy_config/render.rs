//! From the facts of an app to the text of the files.

use super::template::fill;
use std::net::SocketAddr;

/// Where an app is taken to be if nobody says.
pub const DEFAULT_UPSTREAM: &str = "http://127.0.0.1:8080";

/// A proxy that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Proxy {
    /// nginx, by `auth_request`
    Nginx,
    /// Caddy, by `forward_auth`
    Caddy,
    /// Traefik, by `forwardAuth`
    Traefik,
    /// `HAProxy`, by a script in Lua
    Haproxy,
    /// Apache, by a script in Lua
    Apache,
    /// Envoy, by `ext_authz`
    Envoy,
}

impl Proxy {
    /// The files of this proxy with their templates. The first is the one that the proxy is started with.
    const fn templates(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Nginx => &[("nginx.conf", include_str!("nginx.conf"))],
            Self::Caddy => &[("Caddyfile", include_str!("Caddyfile"))],
            Self::Traefik => &[("traefik.yml", include_str!("traefik.yml"))],
            Self::Haproxy => &[("haproxy.cfg", include_str!("haproxy.cfg")), ("haproxy.lua", include_str!("haproxy.lua"))],
            Self::Apache => &[("apache.conf", include_str!("apache.conf")), ("apache.lua", include_str!("apache.lua"))],
            Self::Envoy => &[("envoy.yaml", include_str!("envoy.yaml"))],
        }
    }
}

/// A web origin, in the form in which browsers send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `https` or `http`.
    pub scheme: String,
    /// The host name, in lower case, or an address.
    pub host: String,
    /// The port, also if it is the scheme's own.
    pub port: u16,
}

impl Origin {
    /// Host and port as they stand in a `Host` header.
    pub fn authority(&self) -> String {
        match (&*self.scheme, self.port) {
            ("https", 443) | ("http", 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }
}

/// What the settings say of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name: `[a-z0-9-]`.
    pub app_name: String,
    /// Where browsers find it.
    pub origin: Origin,
    /// Where people sign in.
    pub login_origin: String,
    /// The same as it stands in a `Host` header.
    pub login_host: String,
    /// Whether the app's visitors may give a key as a password: then `Authorization` is Doorward's.
    pub takes_basic: bool,
    /// Where the proxy finds Doorward: host and port.
    pub doorward_address: String,
    /// Where the proxy finds the app: [`DEFAULT_UPSTREAM`] unless somebody says.
    pub upstream: String,
}

/// What the settings do not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// Where the proxy finds the app [default: `http://127.0.0.1:8080`]
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,
    /// Where the proxy finds Doorward [default: server.listen]
    #[arg(long, value_name = "HOST:PORT")]
    pub doorward: Option<String>,
    /// Where the proxy listens [default: every address, at the port of the app's origin]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub bind: Option<SocketAddr>,
    /// The certificate; Caddy and Traefik get one themselves
    #[arg(long, value_name = "FILE", conflicts_with = "no_tls")]
    pub tls_cert: Option<String>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<String>,
    /// Something in front of this proxy does TLS
    #[arg(long)]
    pub no_tls: bool,
}

/// A file of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrintedFile {
    /// Its name in the directory of the configuration.
    pub name: &'static str,
    /// What stands in it.
    pub text: String,
}

/// Writes the configuration of a proxy for an app. `directory` is where its files will be.
///
/// # Errors
/// A value is not what it has to be, or cannot be written into such a file.
pub fn render(proxy: Proxy, target: &Target, options: &Options, directory: Option<&str>) -> Result<Vec<PrintedFile>, String> {
    let mut values = names(target);
    values.extend(addresses(target, options)?);
    values.extend(certificate(proxy, target, options)?);
    values.push(("directory", directory.map_or_else(|| format!("/etc/doorward/{}", target.app_name), str::to_owned)));
    let holds = conditions(target, options)?;
    let filled = |&(name, template)| Ok(PrintedFile { name, text: fill(template, &values, &holds)? });
    proxy.templates().iter().map(filled).collect()
}

fn is_tls(target: &Target, options: &Options) -> bool {
    target.origin.scheme == "https" && !options.no_tls
}

/// The words that hold after `@when`.
fn conditions(target: &Target, options: &Options) -> Result<Vec<&'static str>, String> {
    let mut holds = vec![
        if is_tls(target, options) { "tls" } else { "plain" },
        if options.bind.is_some() { "listen" } else { "everywhere" },
        if target.takes_basic { "basic" } else { "no_basic" },
    ];
    if options.tls_cert.is_some() {
        holds.push("certificate");
    }
    if has_login_beside_it(target)? {
        holds.push("login");
    }
    Ok(holds)
}

/// Whether people sign in at another host of the same port, which a proxy with one listener must know as well.
fn has_login_beside_it(target: &Target) -> Result<bool, String> {
    let login = match target.login_origin.split_once("://") {
        Some(("https", rest)) => host_and_port(rest, Some(443)),
        Some(("http", rest)) => host_and_port(rest, Some(80)),
        _ => None,
    };
    let (host, port) = login.ok_or_else(|| format!("{:?} is no origin", target.login_origin))?;
    Ok(host != target.origin.host && port == target.origin.port)
}

type Values = Vec<(&'static str, String)>;

fn names(target: &Target) -> Values {
    vec![
        ("app", target.app_name.clone()),
        // A variable of nginx has no hyphen.
        ("name", target.app_name.replace('-', "_")),
        ("scheme", target.origin.scheme.clone()),
        ("host", target.origin.host.clone()),
        ("port", target.origin.port.to_string()),
        ("authority", target.origin.authority()),
        ("login_origin", target.login_origin.clone()),
        ("login_host", target.login_host.clone()),
    ]
}

fn addresses(target: &Target, options: &Options) -> Result<Values, String> {
    let doorward = options.doorward.as_ref().unwrap_or(&target.doorward_address);
    let doorward = host_and_port(doorward, None).ok_or_else(|| format!("--doorward: {doorward:?} is no host with a port"))?;
    let upstream = options.upstream.as_ref().unwrap_or(&target.upstream);
    let app = upstream.strip_prefix("http://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    let app = app.and_then(|app| host_and_port(app, Some(80)));
    let app = app.ok_or_else(|| format!("--upstream: {upstream:?} is not http:// with a host, perhaps a port, and no path"))?;
    let tls = is_tls(target, options);
    let port = match options.bind {
        Some(listen) => listen.port(),
        None if options.no_tls && target.origin.scheme == "https" => 80,
        None => target.origin.port,
    };
    let here = Origin { scheme: if tls { "https" } else { "http" }.into(), host: target.origin.host.clone(), port };
    Ok(vec![
        ("doorward", format!("{}:{}", doorward.0, doorward.1)),
        ("doorward_address", unbracketed(&doorward.0)),
        ("doorward_port", doorward.1.to_string()),
        ("upstream", format!("{}:{}", app.0, app.1)),
        ("upstream_address", unbracketed(&app.0)),
        ("upstream_port", app.1.to_string()),
        ("listen", options.bind.map(|bind| bind.to_string()).unwrap_or_default()),
        ("listen_port", port.to_string()),
        ("address", options.bind.map_or_else(|| "0.0.0.0".to_owned(), |bind| bind.ip().to_string())),
        ("entry", options.bind.map_or_else(|| format!(":{port}"), |bind| bind.to_string())),
        ("entry_point", if tls { "websecure" } else { "web" }.to_owned()),
        ("site", format!("{}://{}", here.scheme, here.authority())),
    ])
}

/// Splits an address into host and port. An IPv6 address stands in brackets and keeps them.
fn host_and_port(text: &str, default: Option<u16>) -> Option<(String, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port != 0)?),
        _ => (text, default?),
    };
    let is_v6 = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
    let is_name = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    (is_v6 || is_name).then(|| (host.to_owned(), port))
}

fn unbracketed(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

/// The files of the certificate and its key: those that are named, or where they usually are.
fn certificate(proxy: Proxy, target: &Target, options: &Options) -> Result<Values, String> {
    let host = &target.origin.host;
    let (cert, key) = match (&options.tls_cert, &options.tls_key) {
        (None, _) if proxy == Proxy::Haproxy => (format!("/etc/haproxy/{host}.pem"), format!("/etc/haproxy/{host}.pem.key")),
        (None, _) => (format!("/etc/letsencrypt/live/{host}/fullchain.pem"), format!("/etc/letsencrypt/live/{host}/privkey.pem")),
        // HAProxy finds the key by itself.
        (Some(cert), key) if proxy == Proxy::Haproxy => {
            let beside = format!("{cert}.key");
            if key.as_ref().is_some_and(|key| *key != beside && key != cert) {
                return Err(format!("--tls-key: HAProxy looks for the key in the file of the certificate and in {beside}"));
            }
            (cert.clone(), beside)
        }
        (Some(cert), Some(key)) => (cert.clone(), key.clone()),
        (Some(_), None) => return Err("--tls-cert: --tls-key must say where its key is".into()),
    };
    for path in [&cert, &key] {
        if !path.starts_with('/') {
            return Err(format!("{path:?}: a proxy may run in another directory: say the whole path"));
        }
    }
    Ok(vec![("cert", cert), ("key", key)])
}
