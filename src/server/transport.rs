//! What lies between a connection and HTTP: nothing, or TLS.

use super::stream::Stream;
#[cfg(feature = "tls")]
use super::tls;
use crate::{config::Settings, failure::Failure};
use tokio::net::TcpStream;

/// What clients have to speak before they speak HTTP.
#[derive(Clone)]
pub enum Transport {
    /// Nothing.
    Plain,
    /// TLS.
    #[cfg(feature = "tls")]
    Tls(tokio_rustls::TlsAcceptor),
}

impl Transport {
    /// What these settings say. A certificate is read now, and again whenever its files change.
    ///
    /// # Errors
    /// The certificate or its key cannot be used; exit 78.
    pub fn of(settings: &Settings) -> Result<Self, Failure> {
        #[cfg(feature = "tls")]
        if settings.server.tls.is_on() {
            let certificate = tls::Certificate::load(&settings.server.tls)?;
            tokio::spawn(tls::keep_current(std::sync::Arc::clone(&certificate), settings.public_url()));
            return Ok(Self::Tls(certificate.acceptor()));
        }
        // Without the feature, a certificate is no valid setting.
        let _ = settings;
        Ok(Self::Plain)
    }

    /// The scheme of its URLs.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        match self {
            Self::Plain => "http",
            #[cfg(feature = "tls")]
            Self::Tls(_) => "https",
        }
    }

    /// Makes a connection ready for HTTP. `None` if its client cannot be talked with.
    #[cfg_attr(not(feature = "tls"), allow(clippy::unused_async, reason = "TLS is what takes time"))]
    pub(super) async fn accept(self, stream: TcpStream) -> Option<Stream> {
        match self {
            Self::Plain => Some(Stream::Plain(stream)),
            #[cfg(feature = "tls")]
            Self::Tls(acceptor) => tls::accept(&acceptor, stream).await,
        }
    }
}

/// Reads the files that these settings name for the server, as a start does, and returns warnings.
///
/// # Errors
/// As for [`Transport::of`].
pub fn check_files(settings: &Settings) -> Result<Vec<String>, Failure> {
    #[cfg(feature = "tls")]
    if settings.server.tls.is_on() {
        let certificate = tls::Certificate::load(&settings.server.tls)?;
        return Ok(certificate.warnings(&settings.public_url(), crate::domain::Clock::default().now()));
    }
    let _ = settings;
    Ok(Vec::new())
}
