//! The setting `server.tls`.

use super::{OutOfBounds, Settings, Tls, check::ensure};

impl Tls {
    /// Whether https is served.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.cert.as_os_str().is_empty()
    }
}

impl Settings {
    /// A certificate comes with its key, and then nothing is served over http.
    pub(super) fn check_tls(&self) -> Result<(), OutOfBounds> {
        let tls = &self.server.tls;
        let is_whole = tls.is_on() != tls.key.as_os_str().is_empty();
        let found = |is_there: bool| if is_there { "one" } else { "none" };
        let found = format!("cert: {}, key: {}", found(tls.is_on()), found(!tls.key.as_os_str().is_empty()));
        ensure(is_whole, "server.tls", found, "the files of both, or of neither".into())?;
        let is_able = cfg!(feature = "tls") || !tls.is_on();
        ensure(is_able, "server.tls", "a certificate".into(), "none: this build has no TLS, whose feature is called tls".into())?;
        let url = &self.server.public_url;
        let allowed = "an https address, or none: with server.tls, nothing is served over http".into();
        ensure(!tls.is_on() || !url.starts_with("http:"), "server.public_url", format!("{url:?}"), allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_needs_its_key_and_serves_nothing_over_http() {
        let with = |cert: &str, key: &str, url: &str| {
            let mut settings = Settings::default();
            settings.server.tls = Tls { cert: cert.into(), key: key.into() };
            settings.server.public_url = url.into();
            settings.server.listen = ([192, 168, 1, 10], 3000).into();
            settings
        };
        let refused = |settings: Settings| settings.check().expect_err("refused").key;
        assert_eq!(refused(with("cert.pem", "", "")), "server.tls");
        assert_eq!(refused(with("", "key.pem", "https://x.example")), "server.tls");
        if cfg!(feature = "tls") {
            assert_eq!(refused(with("cert.pem", "key.pem", "http://localhost")), "server.public_url");
            let settings = with("cert.pem", "key.pem", "");
            assert_eq!((settings.check(), settings.warnings()), (Ok(()), Vec::new()));
            assert_eq!(settings.public_url(), "https://192.168.1.10:3000");
        } else {
            assert_eq!(refused(with("cert.pem", "key.pem", "")), "server.tls");
        }
    }
}
