//! Settings: every key with its default, checked once, then trusted.
//!
//! The file at the top of the repository, `config.toml`, documents each; a test holds it to the
//! defaults here.

mod check;
mod environment;
mod layers;
mod secrets;

pub use check::{MAX_SCRYPT_MEMORY, OutOfBounds, is_loopback, is_origin, origin};
pub use environment::Environment;
pub use layers::{Flags, Loaded, load};
pub use secrets::{FirstAdmin, OperatorSecrets, unpacked};

use crate::domain::{Algorithm, OnReuse, Role, Roles};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

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
    /// `[page]`
    pub page: Page,
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
        #[serde(deserialize_with = "networks")]
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

/// Addresses and networks; an address by itself is a network of one.
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
        /// Who may register; see [`Settings::registration_mode`].
        mode: RegistrationSetting = RegistrationSetting::Auto,
        /// What they become.
        default_role: Role = "viewer".parse().expect("viewer is a role's name"),
    }
);

/// What is said of who may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistrationSetting {
    /// Anyone on one's own machine, who holds an invitation beyond it.
    Auto,
    /// Anyone.
    Open,
    /// Who holds an invitation.
    Invite,
    /// Nobody.
    Closed,
}

/// Who may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    Page {
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
