//! Settings: every key with its default. They are checked once, at the start.
//!
//! `config.toml` at the top of the repository documents every key; a test compares it with the
//! defaults here.

mod check;
mod duration;
mod environment;
mod gate;
mod keys;
mod language;
mod layers;
mod metrics;
mod refusal;
mod secrets;
mod tls;

pub use check::{MAX_SCRYPT_MEMORY, OutOfBounds, is_loopback, is_origin, origin};
pub use environment::Environment;
pub use gate::{Gate, GateApp, GatePath};
pub use keys::keys;
pub use layers::{Flags, Loaded, load};
pub use metrics::Metrics;
pub use secrets::{FirstAdmin, OperatorSecrets, trim_secret};

use crate::domain::{Algorithm, Language, OnReuse, Role, Roles};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// All settings; none of them is a secret.
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
    /// `[keys]`
    pub keys: Keys,
    /// `[gate]`
    pub gate: Gate,
    /// `[audit]`
    pub audit: Audit,
    /// `[backup]`
    pub backup: Backup,
    /// `[page]`
    pub page: Page,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[log]`
    pub log: Log,
}

/// Defines a section: a struct with the default of each field next to it.
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
        /// The address that people type in their browsers; empty means the one listened on.
        public_url: String = String::new(),
        /// The directory of the database and the keys.
        data_dir: PathBuf = "data".into(),
        /// Allows plain http on addresses other than loopback.
        insecure_http: bool = false,
        /// Disk space, in MiB, reserved for revocations (STO-5).
        min_free_mib: u64 = 64,
        /// Proxies whose `X-Forwarded-For` is believed (LIM-6).
        #[serde(deserialize_with = "networks")]
        trusted_proxies: Vec<IpNet> = Vec::new(),
        /// The files of a certificate, to serve https without a proxy.
        tls: Tls = Tls::default(),
    }
);

section!(
    /// `server.tls`: where the certificate and its key are. Both are empty for plain http.
    Tls {
        /// The certificate and those that signed it, in PEM.
        cert: PathBuf = PathBuf::new(),
        /// Its private key, in PEM.
        key: PathBuf = PathBuf::new(),
    }
);

section!(
    /// Access and refresh tokens.
    Tokens {
        /// How access tokens are signed.
        algorithm: Algorithm = Algorithm::HS256,
        /// The claim `iss`; see [`Settings::issuer`] for what it is when this is empty.
        issuer: String = String::new(),
        /// How long a key pair signs before the next one replaces it; `None` is forever.
        #[serde(serialize_with = "duration::serialize_or_never", deserialize_with = "duration::deserialize_or_never")]
        rotate_every: Option<Duration> = Some(Duration::from_secs(180 * DAY)),
        /// The claim `aud`.
        audience: String = "doorward".into(),
        /// Lifetime of an access token.
        #[serde(with = "duration")]
        access_ttl: Duration = Duration::from_secs(15 * 60),
        /// Lifetime of a refresh token that is not used.
        #[serde(with = "duration")]
        refresh_ttl: Duration = Duration::from_secs(7 * DAY),
        /// Absolute lifetime of a session, however often it is refreshed.
        #[serde(with = "duration")]
        session_max_age: Duration = Duration::from_secs(30 * DAY),
        /// Leeway on time claims.
        #[serde(with = "duration")]
        clock_tolerance: Duration = Duration::ZERO,
    }
);

/// Parses a list of addresses and networks; a single address is a network of one.
fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    let parse = |text: String| {
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map_err(|_| {
            serde::de::Error::custom(format!("found {text:?}, allowed: addresses and networks, such as 127.0.0.1 or 10.0.0.0/8"))
        })
    };
    Vec::<String>::deserialize(from)?.into_iter().map(parse).collect()
}

const DAY: u64 = 24 * 60 * 60;

section!(
    /// Sessions, and how a reused refresh token is treated.
    Sessions {
        /// The most sessions a user may have (REF-14).
        max_per_user: usize = 20,
        /// Which sessions the reuse of a refresh token revokes.
        on_reuse: OnReuse = OnReuse::User,
        /// How long after a rotation a browser may present the previous token and get 409 instead of a revocation.
        #[serde(with = "duration")]
        conflict_window: Duration = Duration::from_secs(2),
        /// How long after a rotation the previous token still gets the same new one (REF-4).
        #[serde(with = "duration")]
        refresh_grace: Duration = Duration::ZERO,
    }
);

section!(
    /// Cross-site request forgery.
    Csrf {
        /// Which requests must carry a CSRF token.
        mode: CsrfMode = CsrfMode::Browser,
    }
);

/// Which requests with a refresh cookie must carry `X-CSRF-Token`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CsrfMode {
    /// Requests from browsers, which are those with `Origin` or `Sec-Fetch-Site`.
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
        /// Who may register; see [`Settings::registration_mode`].
        mode: RegistrationSetting = RegistrationSetting::Auto,
        /// The role of a newly registered user.
        default_role: Role = "viewer".parse().expect("viewer is a role's name"),
    }
);

/// The setting `registration.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistrationSetting {
    /// [`Self::Open`] while only this machine can reach the server, otherwise [`Self::Invite`].
    Auto,
    /// Anyone may register.
    Open,
    /// Only people with an invitation may register.
    Invite,
    /// Nobody may register.
    Closed,
}

/// Who may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationMode {
    /// Anyone may register.
    Open,
    /// Only people with an invitation may register.
    Invite,
    /// Nobody may register.
    Closed,
}

section!(
    /// Passwords and their hashing.
    Passwords {
        /// Minimum length of a password, in code points (AUT-6).
        min_length: usize = 8,
        /// log2 of scrypt's N.
        scrypt_log_n: u8 = 15,
        /// scrypt's r.
        scrypt_r: u32 = 8,
        /// scrypt's p.
        scrypt_p: u32 = 3,
        /// Number of hashing threads; 0 means one per core, at most two.
        hash_threads: usize = 0,
        /// How many requests may wait for a hashing thread.
        hash_queue: usize = 64,
        /// How long a request may wait for a hashing thread.
        #[serde(with = "duration")]
        hash_wait: Duration = Duration::from_secs(10),
    }
);

section!(
    /// Throttling.
    Limits {
        /// Failed logins per account and address.
        login_failures: u32 = 5,
        /// Failed logins per address.
        login_failures_per_address: u32 = 50,
        /// Failed logins per account from devices that the account does not know (LIM-3).
        login_failures_per_account: u32 = 100,
        /// The window in which failed logins are counted.
        #[serde(with = "duration")]
        login_window: Duration = Duration::from_secs(15 * 60),
        /// Password hashes per address and minute; also the burst.
        hashes_per_minute: u32 = 30,
        /// The limits of a /24 or /48 network, as a multiple of those of one address (LIM-5).
        wide_prefix_factor: u32 = 8,
        /// Burst of registrations per address.
        register_burst: u32 = 20,
        /// Refreshes per session and minute.
        refresh_per_minute: u32 = 30,
        /// Requests per API key and minute (KEY-7).
        api_key_per_minute: u32 = 600,
    }
);

section!(
    /// API keys.
    Keys {
        /// Whether `verify` takes an API key as the password of HTTP Basic authentication.
        basic: bool = false,
        /// Whether a key may be made that never expires.
        allow_endless: bool = false,
    }
);

section!(
    /// The audit trail.
    Audit {
        /// How long events are kept.
        #[serde(with = "duration")]
        keep: Duration = Duration::from_secs(90 * DAY),
        /// The most events that are kept.
        max: usize = 100_000,
    }
);

section!(
    /// Backups by the clock.
    Backup {
        /// How often; `None` is never.
        #[serde(serialize_with = "duration::serialize_or_never", deserialize_with = "duration::deserialize_or_never")]
        every: Option<Duration> = None,
        /// How many are kept.
        keep: usize = 7,
        /// Their directory; empty is `backups` in the data directory.
        dir: PathBuf = PathBuf::new(),
        /// The program, with its arguments, that each backup goes through on its way into a file; empty is none.
        pipe: Vec<String> = Vec::new(),
    }
);

section!(
    /// The embedded page.
    Page {
        /// Whether the page is served at `/`.
        enabled: bool = true,
        /// The language of pages for visitors who have not chosen one; `None` is what their browser asks for.
        #[serde(with = "language")]
        language: Option<Language> = None,
    }
);

section!(
    /// Logs.
    Log {
        /// The format of log lines.
        format: LogFormat = LogFormat::Text,
        /// The least severe level that is written.
        level: LogLevel = LogLevel::Info,
    }
);

/// The format of log lines.
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
