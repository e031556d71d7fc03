//! TLS of our own, by rustls: the certificate that is shown, which is read again when its files change.
//!
//! TLS 1.2 and 1.3 as rustls has them by default, with the cryptography that signs tokens too (aws-lc-rs), and HTTP/1.1
//! alone. There is no ACME: whoever needs certificates made has a program that makes them, and this reads its files.

mod client;

pub use client::connect;

use super::stream::Stream;
use crate::{
    config,
    domain::{Clock, Timestamp},
    failure::Failure,
};
use parking_lot::{Mutex, RwLock};
use rustls::{
    ServerConfig,
    client::verify_server_name,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};
use sha2::{Digest, Sha256};
use std::{
    fmt, fs, io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;
use url::Url;
use x509_cert::der::Decode;
use zeroize::Zeroizing;

/// How often the files are looked at.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// How often what is wrong with the certificate is repeated.
const WARN_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
/// How long before a certificate expires its operator is warned: programs that renew do so a month ahead.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// The largest file that is read. A chain has some kilobytes.
const MAX_FILE: u64 = 1024 * 1024;

/// In place of the hash of files that cannot be read.
const UNREADABLE: [u8; 32] = [0; 32];

/// The certificate that the server shows.
pub struct Certificate {
    files: config::Tls,
    shown: RwLock<Arc<CertifiedKey>>,
    /// What the files contained when they were looked at last, under a hash.
    seen: Mutex<[u8; 32]>,
}

/// Prints where it is from, and nothing of its key (I5).
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown.read()))
    }
}

impl Certificate {
    /// Reads the certificate and its key.
    ///
    /// # Errors
    /// A file cannot be read, is no PEM, or the key is not the certificate's; the message names the file. Exit 78.
    pub fn load(files: &config::Tls) -> Result<Arc<Self>, Failure> {
        let contents = Contents::read(files)?;
        let shown = contents.parse(files)?;
        Ok(Arc::new(Self { files: files.clone(), shown: RwLock::new(shown), seen: Mutex::new(contents.hash()) }))
    }

    /// Reads the files again if they have changed, and returns whether they had. A certificate that cannot be used does not
    /// replace the one that is shown.
    ///
    /// # Errors
    /// As for [`Self::load`], once for each change.
    pub fn reload(&self) -> Result<bool, Failure> {
        let contents = Contents::read(&self.files);
        let hash = contents.as_ref().map_or(UNREADABLE, Contents::hash);
        if std::mem::replace(&mut *self.seen.lock(), hash) == hash {
            return Ok(false);
        }
        *self.shown.write() = contents?.parse(&self.files)?;
        Ok(true)
    }

    /// What is wrong with the certificate that is shown, although it can be: one sentence each.
    #[must_use]
    pub fn warnings(&self, public_url: &str, now: Timestamp) -> Vec<String> {
        let shown = Arc::clone(&self.shown.read());
        let Some(leaf) = shown.cert.first() else { return Vec::new() };
        let mut warnings = Vec::new();
        let host = Url::parse(public_url).ok().and_then(|url| url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned()));
        if let Some(name) = host.and_then(|host| ServerName::try_from(host).ok())
            && !ParsedCertificate::try_from(leaf).is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
        {
            warnings.push(format!("server.tls: {} is not for {}: browsers will warn of it", self.files.cert.display(), name.to_str()));
        }
        match expiry(leaf) {
            Some(expiry) if expiry <= now => warnings.push(format!("server.tls: {} has expired: renew it", self.files.cert.display())),
            Some(expiry) if expiry < now.plus(EXPIRES_SOON) => {
                warnings.push(format!("server.tls: {} expires at {expiry} and was not renewed", self.files.cert.display()));
            }
            _ => {}
        }
        warnings
    }

    /// What begins TLS on a connection.
    ///
    /// # Panics
    /// Never: the protocol versions are those that rustls has.
    #[must_use]
    pub fn acceptor(self: Arc<Self>) -> TlsAcceptor {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("the provider has cipher suites for them");
        let mut config = builder.with_no_client_auth().with_cert_resolver(self);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Shows a certificate's successor when its files have changed, and warns of what is wrong with it; never returns.
pub async fn keep_current(certificate: Arc<Certificate>, public_url: String) {
    let warn = || certificate.warnings(&public_url, Clock::default().now()).iter().for_each(|warning| tracing::warn!("{warning}"));
    let (mut ticks, mut warned_at) = (tokio::time::interval(CHECK_INTERVAL), Instant::now());
    warn();
    loop {
        ticks.tick().await;
        let reloading = Arc::clone(&certificate);
        match tokio::task::spawn_blocking(move || reloading.reload()).await {
            Ok(Ok(true)) => tracing::info!("server.tls: {} is shown from now on", certificate.files.cert.display()),
            Ok(Ok(false)) if warned_at.elapsed() < WARN_INTERVAL => continue,
            Ok(Ok(false)) | Err(_) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the certificate from before is shown until its successor can be");
                continue;
            }
        }
        warned_at = Instant::now();
        warn();
    }
}

/// How long whoever spoke HTTP may take to read that it has to be https.
const FAREWELL: Duration = Duration::from_secs(1);

/// Takes the client's part of the handshake. `None` if it failed; whoever speaks plain HTTP is told so.
pub async fn accept(acceptor: &TlsAcceptor, stream: TcpStream) -> Option<Stream> {
    let mut first = [0];
    // The first byte of TLS says that it is a handshake (RFC 8446 §5.1), which no method of HTTP begins with.
    if stream.peek(&mut first).await.is_ok_and(|read| read == 1) && first[0].is_ascii_alphabetic() {
        let _ = tokio::time::timeout(FAREWELL, say_https(stream)).await;
        return None;
    }
    match acceptor.accept(stream).await {
        Ok(stream) => Some(Stream::Tls(Box::new(stream))),
        Err(error) => {
            tracing::debug!(%error, "no TLS with a client");
            None
        }
    }
}

/// Tells who spoke plain HTTP what to do, and reads what they have sent: a connection that is closed before that is reset,
/// and its answer lost.
async fn say_https(mut stream: TcpStream) -> io::Result<()> {
    const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 49\r\n\
        Connection: close\r\n\r\nThis is an https server: use https:// in the URL\n";
    stream.write_all(ANSWER).await?;
    stream.shutdown().await?;
    let mut unread = [0; 1024];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

/// What the two files contain.
struct Contents {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Contents {
    fn read(files: &config::Tls) -> Result<Self, Failure> {
        Ok(Self { cert: read(&files.cert)?, key: read(&files.key)?.into() })
    }

    fn hash(&self) -> [u8; 32] {
        Sha256::new().chain_update(Sha256::digest(&self.cert)).chain_update(&*self.key).finalize().into()
    }

    fn parse(&self, files: &config::Tls) -> Result<Arc<CertifiedKey>, Failure> {
        let refused = |file: &Path, why: String| Failure::config(format!("server.tls: {}: {why}", file.display()));
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<_, _>>()
            .map_err(|error| refused(&files.cert, format!("is no PEM: {error}")))?;
        if chain.is_empty() {
            return Err(refused(&files.cert, "has no certificate in PEM (-----BEGIN CERTIFICATE-----)".into()));
        }
        let is_encrypted = String::from_utf8_lossy(&self.key).contains("ENCRYPTED");
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| {
            let locked = "the key has a password: write it without one, with mode 0600 (openssl pkey -in … -out …)";
            refused(&files.key, if is_encrypted { locked } else { "has no private key in PEM (-----BEGIN PRIVATE KEY-----)" }.into())
        })?;
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        certified.map(Arc::new).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => refused(&files.key, format!("is not the key of {}", files.cert.display())),
            error => refused(&files.cert, error.to_string()),
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = || {
        if fs::metadata(path)?.len() > MAX_FILE {
            return Err(io::Error::other("it is too large for a certificate or a key"));
        }
        fs::read(path)
    };
    read().map_err(|error| Failure::config(format!("server.tls: {}: cannot be read: {error}", path.display())))
}

/// When a certificate expires.
fn expiry(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    let since_epoch = parsed.tbs_certificate.validity.not_after.to_unix_duration();
    Some(Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).ok()?))
}
