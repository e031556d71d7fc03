//! Checks that types alone cannot express: bounds, contradictions, and warnings about settings that are rarely meant.

use super::{DAY, RegistrationMode, RegistrationSetting, Settings, duration};
use crate::domain::{Algorithm, Role, Session};
use ipnet::IpNet;
use std::time::Duration;
use url::Url;

/// A setting that is out of bounds or contradicts another.
#[derive(Debug, PartialEq, Eq)]
pub struct OutOfBounds {
    /// The dotted key.
    pub key: &'static str,
    /// The value that was found, as text.
    pub found: String,
    /// What is allowed.
    pub allowed: String,
}

impl OutOfBounds {
    /// The same, with a word that is allowed too.
    fn or(mut self, word: &str) -> Self {
        self.allowed = format!("{}, or {word}", self.allowed);
        self
    }
}

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const DAYS: Duration = Duration::from_secs(DAY);

/// The most memory one hash may take: 256 MiB (AUT-13).
pub const MAX_SCRYPT_MEMORY: u64 = 256 * 1024 * 1024;

impl Settings {
    /// Checks bounds and contradictions.
    ///
    /// # Errors
    /// The first setting that is out of bounds or contradicts another.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        self.check_tokens()?;
        let rotation = Session::ROTATION_RETENTION;
        span("sessions.conflict_window", self.sessions.conflict_window, Duration::ZERO, rotation)?;
        span("sessions.refresh_grace", self.sessions.refresh_grace, Duration::ZERO, rotation)?;
        span("passwords.hash_wait", self.passwords.hash_wait, SECOND, SECOND * 60)?;
        span("limits.login_window", self.limits.login_window, SECOND, DAYS)?;
        count("sessions.max_per_user", self.sessions.max_per_user, 1, 1000)?;
        count("passwords.min_length", self.passwords.min_length, 8, 128)?;
        count("passwords.hash_threads", self.passwords.hash_threads, 0, 64)?;
        count("passwords.hash_queue", self.passwords.hash_queue, 1, 100_000)?;
        count("limits.login_failures", self.limits.login_failures as usize, 1, 100)?;
        count("limits.login_failures_per_address", self.limits.login_failures_per_address as usize, 1, 100_000)?;
        count("limits.login_failures_per_account", self.limits.login_failures_per_account as usize, 1, 100_000)?;
        // Changing a password takes two hashes.
        count("limits.hashes_per_minute", self.limits.hashes_per_minute as usize, 2, 1_000_000)?;
        count("limits.wide_prefix_factor", self.limits.wide_prefix_factor as usize, 1, 1000)?;
        count("limits.register_burst", self.limits.register_burst as usize, 1, 1_000_000)?;
        count("limits.api_key_per_minute", self.limits.api_key_per_minute as usize, 1, 1_000_000)?;
        count("limits.refresh_per_minute", self.limits.refresh_per_minute as usize, 1, 1_000_000)?;
        span("audit.keep", self.audit.keep, DAYS, DAYS * 3650)?;
        count("audit.max", self.audit.max, 1000, 10_000_000)?;
        if let Some(every) = self.backup.every {
            span("backup.every", every, SECOND * 3600, DAYS * 365).map_err(|error| error.or("never"))?;
        }
        count("backup.keep", self.backup.keep, 1, 10_000)?;
        self.check_hashing()?;
        self.check_roles()?;
        self.check_addresses()?;
        self.check_metrics()?;
        self.check_tls()?;
        self.apps().map(drop)
    }

    fn check_tokens(&self) -> Result<(), OutOfBounds> {
        let t = &self.tokens;
        span("tokens.access_ttl", t.access_ttl, if self.insecure_dev { SECOND } else { SECOND * 10 }, SECOND * 3600)?;
        span("tokens.refresh_ttl", t.refresh_ttl, t.access_ttl, DAYS * 365)?;
        span("tokens.session_max_age", t.session_max_age, t.refresh_ttl, DAYS * 3650)?;
        span("tokens.clock_tolerance", t.clock_tolerance, Duration::ZERO, SECOND * 120)?;
        if let Some(every) = t.rotate_every {
            span("tokens.rotate_every", every, DAYS * 7, DAYS * 3650).map_err(|error| error.or("never"))?;
        }
        for (key, name) in [("tokens.issuer", &self.issuer(t.algorithm)), ("tokens.audience", &t.audience)] {
            let plain = !name.is_empty() && name.len() <= 256 && name.chars().all(|c| c.is_ascii_graphic());
            ensure(plain, key, format!("{name:?}"), "1 to 256 printable ASCII characters".into())?;
        }
        Ok(())
    }

    /// The address that people type in their browsers, without a slash at the end.
    #[must_use]
    pub fn public_url(&self) -> String {
        let scheme = if self.server.tls.is_on() { "https" } else { "http" };
        origin(&self.server.public_url).unwrap_or_else(|| format!("{scheme}://{}", self.server.listen))
    }

    /// The issuer of tokens that this algorithm signs. Whoever fetches public keys expects the address that they are
    /// fetched from (RFC 8414 §2).
    #[must_use]
    pub fn issuer(&self, algorithm: Algorithm) -> String {
        match (self.tokens.issuer.as_str(), algorithm.is_asymmetric()) {
            ("", true) => self.public_url(),
            ("", false) => "doorward".to_owned(),
            (issuer, _) => issuer.to_owned(),
        }
    }

    /// Resolves `registration.mode`. `auto` is open while only this machine can reach the server, and needs an
    /// invitation once `server.public_url` or `server.listen` lets others reach it.
    #[must_use]
    pub fn registration_mode(&self) -> RegistrationMode {
        match self.registration.mode {
            RegistrationSetting::Open => RegistrationMode::Open,
            RegistrationSetting::Closed => RegistrationMode::Closed,
            RegistrationSetting::Auto if self.is_for_this_machine() => RegistrationMode::Open,
            RegistrationSetting::Invite | RegistrationSetting::Auto => RegistrationMode::Invite,
        }
    }

    /// Whether only this machine can reach the server, as far as the settings say.
    #[must_use]
    pub fn is_for_this_machine(&self) -> bool {
        match Url::parse(&self.server.public_url) {
            Ok(url) => is_loopback(&url),
            Err(_) => self.server.listen.ip().is_loopback(),
        }
    }

    /// Warnings about settings that are valid but rarely meant, one sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let is_https = self.public_url().starts_with("https:");
        let mut warnings = Vec::new();
        if is_https && !self.server.tls.is_on() && self.server.trusted_proxies.is_empty() {
            warnings.push(
                "server.public_url is https, so there is a proxy in front, but server.trusted_proxies is empty: all clients share the \
                 proxy's address and its limits"
                    .to_owned(),
            );
        }
        let is_plain = |origin: &&String| origin.starts_with("http:") && !Url::parse(origin).is_ok_and(|url| is_loopback(&url));
        for origin in self.cors.allowed_origins.iter().filter(|_| is_https).filter(is_plain) {
            warnings.push(format!("cors.allowed_origins: {origin} is plain http: whoever is on its way can act for who is signed in here"));
        }
        if !is_https && !self.server.listen.ip().is_loopback() {
            warnings.push(
                "serving plain http beyond this machine: whoever is on the way can take over accounts (server.insecure_http)".to_owned(),
            );
        }
        let issuer = &self.tokens.issuer;
        if self.tokens.algorithm.is_asymmetric() && !issuer.is_empty() && *issuer != self.public_url() {
            warnings.push(format!(
                "tokens.issuer is {issuer}, and the public keys are at {}: verifiers that look for keys at the issuer do not find them",
                self.public_url()
            ));
        }
        warnings.extend(self.metrics_warning());
        if self.insecure_dev {
            warnings.push("insecure_dev = true: for a developer's own machine alone".to_owned());
        }
        warnings
    }

    fn check_hashing(&self) -> Result<(), OutOfBounds> {
        let p = &self.passwords;
        let found = format!("scrypt_log_n = {}, scrypt_r = {}, scrypt_p = {}", p.scrypt_log_n, p.scrypt_r, p.scrypt_p);
        let memory = (128 * u64::from(p.scrypt_r)) << p.scrypt_log_n.min(40);
        let allowed = format!("128 * r * 2^log_n at most {MAX_SCRYPT_MEMORY} bytes, r 1 to 32, p 1 to 16");
        let affordable = memory <= MAX_SCRYPT_MEMORY && (1..=32).contains(&p.scrypt_r) && (1..=16).contains(&p.scrypt_p);
        ensure(affordable, "passwords.scrypt_log_n", found.clone(), allowed)?;
        // OWASP's weakest parameters are N = 2^13, r = 8, p = 10. Ours must cost at least as much work, N * r * p.
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
        let is_harmless = |role: &Role| !self.roles.allows(role, "users:write") && !role.is_admin();
        let harmless: Vec<_> = self.roles.names().filter(|role| is_harmless(role)).map(Role::as_str).collect();
        let allowed = format!("a role of [roles] that may not administer: {}", harmless.join(", "));
        ensure(harmless.contains(&default.as_str()), "registration.default_role", format!("{:?}", default.as_str()), allowed)
    }

    fn check_addresses(&self) -> Result<(), OutOfBounds> {
        let url = &self.server.public_url;
        let allowed = "empty, or scheme, host and port alone, such as https://login.example.org";
        ensure(url.is_empty() || origin(url).is_some(), "server.public_url", format!("{url:?}"), allowed.into())?;
        for listed in &self.cors.allowed_origins {
            let exact = is_origin(listed);
            let allowed = "origins as browsers send them, each in full: lower case, no path, no *, such as https://app.example.org or \
                           capacitor://localhost"
                .into();
            ensure(exact, "cors.allowed_origins", format!("{listed:?}"), allowed)?;
        }
        let is_everybody = |net: &&IpNet| net.prefix_len() == 0;
        if let Some(net) = self.server.trusted_proxies.iter().find(is_everybody) {
            let allowed = "the addresses your proxies connect from; this is everybody, who could then say any address".into();
            ensure(false, "server.trusted_proxies", format!("{net}"), allowed)?;
        }
        let is_nowhere = url.is_empty() && self.server.listen.ip().is_unspecified();
        let allowed = "the address people type, such as http://192.168.1.10:3000 with server.insecure_http = true, or https://… behind a \
                       proxy: a listener on every address cannot tell which one that is";
        ensure(!is_nowhere, "server.public_url", format!("none, and listen = {}", self.server.listen), allowed.into())?;
        let plain_and_remote = match Url::parse(url) {
            Ok(url) => url.scheme() == "http" && !is_loopback(&url),
            Err(_) => !self.server.listen.ip().is_loopback() && !self.server.tls.is_on(),
        };
        let found = if url.is_empty() { format!("none, and listen = {}", self.server.listen) } else { format!("{url:?}") };
        let allowed =
            "an https address (a proxy in front speaks TLS, or server.tls), a loopback one, or server.insecure_http = true".into();
        ensure(!plain_and_remote || self.server.insecure_http, "server.public_url", found, allowed)
    }
}

pub(super) fn span(key: &'static str, found: Duration, least: Duration, most: Duration) -> Result<(), OutOfBounds> {
    let show = duration::text;
    ensure(found >= least && found <= most, key, show(found), format!("{} to {}", show(least), show(most)))
}

fn count(key: &'static str, found: usize, least: usize, most: usize) -> Result<(), OutOfBounds> {
    ensure((least..=most).contains(&found), key, found.to_string(), format!("{least} to {most}"))
}

pub(super) fn ensure(holds: bool, key: &'static str, found: String, allowed: String) -> Result<(), OutOfBounds> {
    if holds { Ok(()) } else { Err(OutOfBounds { key, found, allowed }) }
}

/// The origin (RFC 6454) of a URL, if the URL has nothing but scheme, host and port.
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

/// Whether a text is an origin as browsers serialise it (RFC 6454 §6.2): of a web page, or of an app or extension,
/// which have schemes of their own. `null` is refused: any page can get that origin.
#[must_use]
pub fn is_origin(text: &str) -> bool {
    if let Some(of_a_page) = origin(text) {
        return of_a_page == text && !text.contains('*');
    }
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let (host, port) = rest.rsplit_once(':').unwrap_or((rest, "1"));
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.'));
    let is_host = !host.is_empty() && host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_'));
    is_scheme && !matches!(scheme, "http" | "https" | "file") && is_host && port.parse::<u16>().is_ok()
}

/// Whether the host of a URL always means this machine.
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
    use crate::config::keys::keys;

    #[test]
    fn the_shipped_file_is_the_defaults() {
        let text = include_str!("../../config.toml");
        let shipped: Settings = toml::from_str(text).expect("the shipped file parses");
        assert_eq!(shipped, Settings::default());
        assert_eq!(shipped.check(), Ok(()));
        // The file names every key there is.
        let defaults = toml::Table::try_from(Settings::default()).expect("settings are TOML");
        let written: toml::Table = text.parse().expect("the shipped file parses");
        assert_eq!(keys(&written), keys(&defaults));
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
        let everywhere = |s: &mut Settings| (s.server.listen, s.server.insecure_http) = (([0, 0, 0, 0], 3000).into(), true);
        assert_eq!(refused(&everywhere), "server.public_url", "nobody could log in");
        assert_eq!(refused(&|s| url(s, "https://example.org/login")), "server.public_url");
        assert_eq!(refused(&|s| url(s, "example.org")), "server.public_url");
        assert_eq!(refused(&|s| s.cors.allowed_origins = vec!["https://App.example.org".into()]), "cors.allowed_origins");
        for wrong in [
            "*",
            "null",
            "https://*.example.org",
            "capacitor://",
            "capacitor://localhost/",
            "capacitor://*",
            "file://",
            "app.example.org",
            "Capacitor://x",
        ] {
            assert_eq!(refused(&|s| s.cors.allowed_origins = vec![wrong.into()]), "cors.allowed_origins", "COK-12: {wrong}");
        }
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
    fn registration_is_open_on_this_machine_and_by_invitation_beyond_it_unless_it_is_said() {
        let mode = |change: &dyn Fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.registration_mode()
        };
        let url = |s: &mut Settings, url: &str| s.server.public_url = url.into();
        assert_eq!(mode(&|_| {}), RegistrationMode::Open);
        assert_eq!(mode(&|s| url(s, "http://localhost:5173")), RegistrationMode::Open);
        assert_eq!(mode(&|s| url(s, "https://login.example.org")), RegistrationMode::Invite);
        assert_eq!(mode(&|s| s.server.listen = ([192, 168, 1, 10], 3000).into()), RegistrationMode::Invite);
        let open = |s: &mut Settings| s.registration.mode = RegistrationSetting::Open;
        assert_eq!(mode(&|s| (open(s), url(s, "https://login.example.org")).0), RegistrationMode::Open);
    }

    #[test]
    fn what_is_seldom_meant_is_told() {
        let mut settings = Settings::default();
        assert_eq!(settings.warnings(), Vec::<String>::new());
        settings.server.public_url = "https://login.example.org".into();
        settings.cors.allowed_origins =
            vec!["http://app.example.org".into(), "http://localhost:5173".into(), "https://app.example.org".into()];
        let warnings = settings.warnings();
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].contains("trusted_proxies") && warnings[1].contains("http://app.example.org"), "{warnings:?}");
        let mut settings = Settings { insecure_dev: true, ..Settings::default() };
        settings.server.listen = ([192, 168, 1, 10], 3000).into();
        let warnings = settings.warnings();
        assert!(warnings[0].starts_with("serving plain http") && warnings[1].starts_with("insecure_dev"), "{warnings:?}");
        let issued_by = |algorithm, issuer: &str| {
            let mut settings = Settings::default();
            (settings.tokens.algorithm, settings.tokens.issuer) = (algorithm, issuer.into());
            settings.warnings()
        };
        assert!(issued_by(Algorithm::EdDSA, "https://other.example")[0].starts_with("tokens.issuer is https://other.example"));
        for (algorithm, issuer) in [(Algorithm::EdDSA, ""), (Algorithm::EdDSA, "http://127.0.0.1:3000"), (Algorithm::HS256, "other")] {
            assert_eq!(issued_by(algorithm, issuer), Vec::<String>::new());
        }
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
        let extension = "chrome-extension://aohghmighlieiainnegkcijnfilokake";
        for origin in
            ["https://app.example.org", "http://localhost:5173", "capacitor://localhost", "tauri://localhost", "ionic://app:1", extension]
        {
            taken(&|s| s.cors.allowed_origins = vec![origin.into()]);
        }
        for (n, p) in [(17, 1), (16, 2), (15, 3), (14, 5), (13, 10)] {
            taken(&|s| (s.passwords.scrypt_log_n, s.passwords.scrypt_p) = (n, p));
        }
    }
}
