//! Settings: every key with its default, checked once, then trusted.
//!
//! The file at the top of the repository, `config.toml`, documents each; a test holds it to the
//! defaults here.

mod layers;
mod secrets;

pub use layers::{Flags, Loaded, load};
pub use secrets::{FirstAdmin, OperatorSecrets};

use crate::{
    domain::{Role, Roles, Session},
    keyring::Algorithm,
    store::OnReuse,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use url::Url;

/// All settings. Holds no secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Allows cheap hashing and a movable clock.
    pub insecure_dev: bool,
    /// `[server]`
    pub server: Server,
    /// `[tokens]`
    pub tokens: Tokens,
    /// `[sessions]`
    pub sessions: Sessions,
    /// `[csrf]`
    pub csrf: Csrf,
    /// `[cors]`
    pub cors: Cors,
    /// `[registration]`
    pub registration: Registration,
    /// `[passwords]`
    pub passwords: Passwords,
    /// `[roles]`
    pub roles: Roles,
    /// `[limits]`
    pub limits: Limits,
    /// `[demo]`
    pub demo: Demo,
    /// `[log]`
    pub log: Log,
}

/// Makes a section: a struct whose every field has its default beside it.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    };
}

section!(
    /// Where and how to serve.
    Server {
        /// The address to listen on.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 3000)),
        /// The address people type; empty for the one listened on.
        public_url: String = String::new(),
        /// Where everything is kept.
        data_dir: PathBuf = "data".into(),
        /// Allows http beyond loopback.
        insecure_http: bool = false,
        /// Room on the disk, in MiB, that only revocations may use (STO-5).
        min_free_mib: u64 = 64,
        /// Proxies whose `X-Forwarded-For` is believed (LIM-6).
        trusted_proxies: Vec<IpNet> = Vec::new(),
    }
);

section!(
    /// Access and refresh tokens.
    Tokens {
        /// How access tokens are signed.
        algorithm: Algorithm = Algorithm::HS256,
        /// `iss`.
        issuer: String = "doorward".into(),
        /// `aud`.
        audience: String = "doorward".into(),
        /// Life of an access token.
        #[serde(with = "humantime_serde")]
        access_ttl: Duration = Duration::from_secs(15 * 60),
        /// Idle life of a refresh token.
        #[serde(with = "humantime_serde")]
        refresh_ttl: Duration = Duration::from_secs(7 * DAY),
        /// Absolute life of a session.
        #[serde(with = "humantime_serde")]
        session_max_age: Duration = Duration::from_secs(30 * DAY),
        /// Leeway on time claims.
        #[serde(with = "humantime_serde")]
        clock_tolerance: Duration = Duration::ZERO,
    }
);

const DAY: u64 = 24 * 60 * 60;

section!(
    /// Sessions and what a reused refresh token costs.
    Sessions {
        /// Sessions per user (REF-14).
        max_per_user: usize = 20,
        /// What reuse revokes.
        on_reuse: OnReuse = OnReuse::User,
        /// How long a lost race is no theft.
        #[serde(with = "humantime_serde")]
        conflict_window: Duration = Duration::from_secs(2),
        /// How long a refresh may be repeated (REF-4).
        #[serde(with = "humantime_serde")]
        refresh_grace: Duration = Duration::ZERO,
    }
);

section!(
    /// Cross-site request forgery.
    Csrf {
        /// Who must prove it.
        mode: CsrfMode = CsrfMode::Browser,
    }
);

/// Who must send `X-CSRF-Token` with a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CsrfMode {
    /// Requests that a browser made: they carry `Origin` or `Sec-Fetch-Site`.
    Browser,
    /// Every request.
    Always,
}

section!(
    /// Cross-origin resource sharing.
    Cors {
        /// Origins that may use the API with credentials.
        allowed_origins: Vec<String> = Vec::new(),
    }
);

section!(
    /// Registration.
    Registration {
        /// Who may register.
        mode: RegistrationMode = RegistrationMode::Open,
        /// What they become.
        default_role: Role = "viewer".parse().expect("viewer is a role's name"),
    }
);

/// Who may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistrationMode {
    /// Anyone.
    Open,
    /// Who holds an invitation.
    Invite,
    /// Nobody.
    Closed,
}

section!(
    /// Passwords and their hashing.
    Passwords {
        /// Shortest password, in code points (AUT-6).
        min_length: usize = 8,
        /// log2 of scrypt's N.
        scrypt_log_n: u8 = 15,
        /// scrypt's r.
        scrypt_r: u32 = 8,
        /// scrypt's p.
        scrypt_p: u32 = 3,
        /// Hashing threads; 0 for one per core, two at most.
        hash_threads: usize = 0,
        /// Requests that may wait for one.
        hash_queue: usize = 64,
        /// And for how long.
        #[serde(with = "humantime_serde")]
        hash_wait: Duration = Duration::from_secs(10),
    }
);

section!(
    /// Throttling.
    Limits {
        /// Failed sign-ins per account and address.
        login_failures: u32 = 5,
        /// Failed sign-ins per address.
        login_failures_per_address: u32 = 50,
        /// Failed sign-ins per account from devices it is not known by (LIM-3).
        login_failures_per_account: u32 = 100,
        /// In which time they count.
        #[serde(with = "humantime_serde")]
        login_window: Duration = Duration::from_secs(15 * 60),
        /// Hashes per address and minute, and at once.
        hashes_per_minute: u32 = 30,
        /// How many times what an address has a /24 or a /48 has (LIM-5).
        wide_prefix_factor: u32 = 8,
        /// Registrations per address at once.
        register_burst: u32 = 20,
        /// Refreshes per session and minute.
        refresh_per_minute: u32 = 30,
    }
);

section!(
    /// The embedded page.
    Demo {
        /// Whether `/` serves it.
        enabled: bool = true,
    }
);

section!(
    /// Logs.
    Log {
        /// How lines are written.
        format: LogFormat = LogFormat::Text,
        /// The least severe level that is written.
        level: LogLevel = LogLevel::Info,
    }
);

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The least severe level that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// A setting that is out of bounds: key, what was found, what is allowed.
#[derive(Debug, PartialEq, Eq)]
pub struct OutOfBounds {
    /// The dotted key.
    pub key: &'static str,
    /// The value, as text.
    pub found: String,
    /// The bounds.
    pub allowed: String,
}

/// The most memory one hash may take: 256 MiB (AUT-13).
pub const MAX_SCRYPT_MEMORY: u64 = 256 * 1024 * 1024;

impl Settings {
    /// Checks what types alone cannot.
    ///
    /// # Errors
    /// The first setting that is out of bounds or contradicts another.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        let show = |d: Duration| humantime::format_duration(d).to_string();
        let span = |key, found: Duration, least: Duration, most: Duration| {
            ensure(found >= least && found <= most, key, show(found), format!("{} to {}", show(least), show(most)))
        };
        let secs = Duration::from_secs;
        let t = &self.tokens;
        span("tokens.access_ttl", t.access_ttl, if self.insecure_dev { secs(1) } else { secs(10) }, secs(3600))?;
        span("tokens.refresh_ttl", t.refresh_ttl, t.access_ttl, secs(365 * DAY))?;
        span("tokens.session_max_age", t.session_max_age, t.refresh_ttl, secs(10 * 365 * DAY))?;
        span("tokens.clock_tolerance", t.clock_tolerance, Duration::ZERO, secs(120))?;
        span("sessions.conflict_window", self.sessions.conflict_window, Duration::ZERO, Session::MEMORY)?;
        span("sessions.refresh_grace", self.sessions.refresh_grace, Duration::ZERO, Session::MEMORY)?;
        span("passwords.hash_wait", self.passwords.hash_wait, secs(1), secs(60))?;
        span("limits.login_window", self.limits.login_window, secs(1), secs(DAY))?;
        let count = |key, found: usize, least: usize, most: usize| {
            ensure((least..=most).contains(&found), key, found.to_string(), format!("{least} to {most}"))
        };
        count("sessions.max_per_user", self.sessions.max_per_user, 1, 1000)?;
        count("passwords.min_length", self.passwords.min_length, 8, 128)?;
        count("passwords.hash_threads", self.passwords.hash_threads, 0, 64)?;
        count("passwords.hash_queue", self.passwords.hash_queue, 1, 100_000)?;
        count("limits.login_failures", self.limits.login_failures as usize, 1, 100)?;
        count("limits.login_failures_per_address", self.limits.login_failures_per_address as usize, 1, 100_000)?;
        count("limits.login_failures_per_account", self.limits.login_failures_per_account as usize, 1, 100_000)?;
        // Changing a password takes two.
        count("limits.hashes_per_minute", self.limits.hashes_per_minute as usize, 2, 1_000_000)?;
        count("limits.wide_prefix_factor", self.limits.wide_prefix_factor as usize, 1, 1000)?;
        count("limits.register_burst", self.limits.register_burst as usize, 1, 1_000_000)?;
        count("limits.refresh_per_minute", self.limits.refresh_per_minute as usize, 1, 1_000_000)?;
        for (key, name) in [("tokens.issuer", &t.issuer), ("tokens.audience", &t.audience)] {
            let plain = !name.is_empty() && name.len() <= 256 && name.chars().all(|c| c.is_ascii_graphic());
            ensure(plain, key, format!("{name:?}"), "1 to 256 printable ASCII characters".into())?;
        }
        self.check_hashing()?;
        self.check_roles()?;
        self.check_addresses()
    }

    fn check_hashing(&self) -> Result<(), OutOfBounds> {
        let p = &self.passwords;
        let found = format!("scrypt_log_n = {}, scrypt_r = {}, scrypt_p = {}", p.scrypt_log_n, p.scrypt_r, p.scrypt_p);
        let memory = (128 * u64::from(p.scrypt_r)) << p.scrypt_log_n.min(40);
        let allowed = format!("128 * r * 2^log_n at most {MAX_SCRYPT_MEMORY} bytes, r 1 to 32, p 1 to 16");
        let affordable = memory <= MAX_SCRYPT_MEMORY && (1..=32).contains(&p.scrypt_r) && (1..=16).contains(&p.scrypt_p);
        ensure(affordable, "passwords.scrypt_log_n", found.clone(), allowed)?;
        // OWASP's weakest set is N = 2^13, r = 8, p = 10: as much work, counted in N * r * p.
        let work = (u64::from(p.scrypt_r) * u64::from(p.scrypt_p)) << p.scrypt_log_n;
        let allowed = "N * r * p of 2^13 * 8 * 10 at least and N of 2^13 at least, or insecure_dev = true on a developer's machine".into();
        let strong = work >= (8 * 10) << 13 && p.scrypt_log_n >= 13;
        ensure(strong || self.insecure_dev, "passwords.scrypt_log_n", found, allowed)
    }

    fn check_roles(&self) -> Result<(), OutOfBounds> {
        let admin = Role::admin();
        let names = || self.roles.names().map(Role::as_str).collect::<Vec<_>>().join(", ");
        ensure(self.roles.allows(&admin, "*"), "roles.admin", names(), "a role admin = [\"*\"]".into())?;
        let default = &self.registration.default_role;
        let harmless = self.roles.contains(default) && !self.roles.allows(default, "users:write") && !default.is_admin();
        let allowed = format!("a configured role that may not administer; configured: {}", names());
        ensure(harmless, "registration.default_role", format!("{:?}", default.as_str()), allowed)
    }

    fn check_addresses(&self) -> Result<(), OutOfBounds> {
        let url = &self.server.public_url;
        let allowed = "empty, or scheme, host and port alone, such as https://login.example.org";
        ensure(url.is_empty() || origin(url).is_some(), "server.public_url", format!("{url:?}"), allowed.into())?;
        for listed in &self.cors.allowed_origins {
            let exact = origin(listed).is_some_and(|origin| origin == *listed);
            let allowed = "origins as browsers send them: lower case, no path, such as https://app.example.org".into();
            ensure(exact, "cors.allowed_origins", format!("{listed:?}"), allowed)?;
        }
        let plain_and_remote = match Url::parse(url) {
            Ok(url) => url.scheme() == "http" && !is_loopback(&url),
            Err(_) => !self.server.listen.ip().is_loopback(),
        };
        let found = if url.is_empty() { format!("none, and listen = {}", self.server.listen) } else { format!("{url:?}") };
        let allowed = "an https address (a proxy in front speaks TLS), a loopback one, or server.insecure_http = true".into();
        ensure(!plain_and_remote || self.server.insecure_http, "server.public_url", found, allowed)
    }
}

fn ensure(holds: bool, key: &'static str, found: String, allowed: String) -> Result<(), OutOfBounds> {
    if holds { Ok(()) } else { Err(OutOfBounds { key, found, allowed }) }
}

/// The origin (RFC 6454) a URL stands for, if it says nothing but scheme, host and port.
#[must_use]
pub fn origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let bare = matches!(url.scheme(), "http" | "https")
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    bare.then(|| url.origin().ascii_serialization())
}

/// Whether a URL's host can only be this machine.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_is_the_defaults() {
        let text = include_str!("../../config.toml");
        let shipped: Settings = toml::from_str(text).expect("the shipped file parses");
        assert_eq!(shipped, Settings::default());
        assert_eq!(shipped.check(), Ok(()));
        // And it names every key there is.
        let defaults = toml::Table::try_from(Settings::default()).expect("settings are TOML");
        let written: toml::Table = text.parse().expect("the shipped file parses");
        assert_eq!(layers::keys(&written), layers::keys(&defaults));
    }

    #[test]
    fn what_contradicts_safety_is_refused_by_key() {
        let refused = |change: &dyn Fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.check().expect_err("refused").key
        };
        let url = |s: &mut Settings, url: &str| s.server.public_url = url.into();
        assert_eq!(refused(&|s| url(s, "http://login.example.org")), "server.public_url", "COK-2");
        assert_eq!(refused(&|s| s.server.listen = ([0, 0, 0, 0], 3000).into()), "server.public_url", "COK-2");
        assert_eq!(refused(&|s| url(s, "https://example.org/login")), "server.public_url");
        assert_eq!(refused(&|s| url(s, "example.org")), "server.public_url");
        assert_eq!(refused(&|s| s.cors.allowed_origins = vec!["https://App.example.org".into()]), "cors.allowed_origins");
        assert_eq!(refused(&|s| s.cors.allowed_origins = vec!["*".into()]), "cors.allowed_origins", "COK-12");
        assert_eq!(refused(&|s| s.passwords.min_length = 7), "passwords.min_length");
        assert_eq!(refused(&|s| s.passwords.scrypt_log_n = 4), "passwords.scrypt_log_n");
        assert_eq!(refused(&|s| s.passwords.scrypt_log_n = 30), "passwords.scrypt_log_n");
        assert_eq!(refused(&|s| s.registration.default_role = Role::admin()), "registration.default_role");
        assert_eq!(refused(&|s| s.registration.default_role = "ghost".parse().expect("a name")), "registration.default_role");
        assert_eq!(refused(&|s| s.tokens.access_ttl = Duration::from_secs(2)), "tokens.access_ttl");
        assert_eq!(refused(&|s| s.tokens.session_max_age = Duration::from_secs(60)), "tokens.session_max_age");
        assert_eq!(refused(&|s| s.sessions.refresh_grace = Duration::from_secs(31)), "sessions.refresh_grace");
    }

    #[test]
    fn what_is_safe_is_taken() {
        let taken = |change: &dyn Fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            assert_eq!(settings.check(), Ok(()));
        };
        taken(&|s| s.server.public_url = "https://login.example.org".into());
        taken(&|s| s.server.public_url = "http://localhost:8080".into());
        taken(&|s| {
            s.server.public_url = "http://box.lan".into();
            s.server.insecure_http = true;
        });
        taken(&|s| s.cors.allowed_origins = vec!["https://app.example.org".into(), "http://localhost:5173".into()]);
        for (n, p) in [(17, 1), (16, 2), (15, 3), (14, 5), (13, 10)] {
            taken(&|s| (s.passwords.scrypt_log_n, s.passwords.scrypt_p) = (n, p));
        }
    }
}
