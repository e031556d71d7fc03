//! TLS of the server's own: what is spoken, whose certificate is shown, and that every limit of the plain listener holds.

use crate::{
    adversarial::wire::{self, SECOND},
    support::{PASSWORD, Server},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;

/// Certificates in a directory of their own, each under its name, with its key.
struct Certificates(TempDir);

impl Certificates {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn cert(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.pem"))
    }

    fn key(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.key"))
    }

    /// Makes a certificate that signs itself, for `localhost` and 127.0.0.1.
    fn make(&self, name: &str, days: &str) -> &Self {
        self.make_for(name, days, "subjectAltName=DNS:localhost,IP:127.0.0.1")
    }

    fn make_for(&self, name: &str, days: &str, names: &str) -> &Self {
        let (cert, key, subject) = (self.cert(name), self.key(name), format!("/CN={name}"));
        openssl(
            &["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", days, "-subj", &subject],
            |c| {
                c.args(["-addext", "basicConstraints=critical,CA:FALSE", "-addext", names]).arg("-keyout").arg(&key).arg("-out").arg(&cert);
            },
        );
        self
    }

    /// Puts the certificate and the key of `new` in the place of another's, as a program that renews does: written beside, and
    /// renamed.
    fn replace(&self, name: &str, new: &str) {
        for (from, to) in [(self.cert(new), self.cert(name)), (self.key(new), self.key(name))] {
            let beside = to.with_extension("new");
            std::fs::copy(from, &beside).expect("copied");
            std::fs::rename(beside, to).expect("renamed");
        }
    }

    fn settings(&self, name: &str) -> [String; 2] {
        [format!("server.tls.cert={}", self.cert(name).display()), format!("server.tls.key={}", self.key(name).display())]
    }
}

fn openssl(arguments: &[&str], more: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new("openssl");
    more(command.args(arguments));
    let output = command.output().expect("openssl");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A server that serves https with a certificate of its own.
fn server(more: &[&str]) -> (Server, Certificates) {
    let certificates = Certificates::new();
    certificates.make("own", "90");
    let settings = certificates.settings("own");
    let settings: Vec<_> = settings.iter().map(String::as_str).chain(more.iter().copied()).collect();
    (Server::with(&settings), certificates)
}

/// What curl says of a request to the server, by the name in its certificate.
fn curl(server: &Server, trusted: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--include", "--max-time", "20", "--cacert"]).arg(trusted);
    command.args(arguments).current_dir(server.dir.path()).output().expect("curl")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn url(server: &Server, path: &str) -> String {
    let address: SocketAddr = server.address.parse().expect("an address");
    format!("https://localhost:{}{path}", address.port())
}

/// Listens on a port of its own, and takes each connection to the server through TLS: what speaks plain HTTP can be sent there.
fn tunnel(to: &str, trusted: &Path) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).expect("a certificate")).expect("a root");
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = builder.with_safe_default_protocol_versions().expect("versions").with_root_certificates(roots).with_no_client_auth();
    let (connector, to) = (TlsConnector::from(Arc::new(config)), to.to_owned());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
    listener.set_nonblocking(true).expect("set");
    let address = listener.local_addr().expect("an address").to_string();
    let serve = async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("listens");
        loop {
            let (mut plain, _) = listener.accept().await.expect("accepted");
            let (connector, to) = (connector.clone(), to.clone());
            tokio::spawn(async move {
                let Ok(stream) = tokio::net::TcpStream::connect(to).await else { return };
                let Ok(mut secret) = connector.connect(ServerName::try_from("localhost").expect("a name"), stream).await else { return };
                // Either end may be closed with something unread.
                let _ = tokio::io::copy_bidirectional(&mut plain, &mut secret).await;
            });
        }
    };
    // Ends with the tests.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(serve)
    });
    address
}

/// A server with TLS, at the address of a tunnel to it.
fn tunnelled() -> (Server, Certificates) {
    let (mut server, certificates) = server(&[]);
    server.address = tunnel(&server.address, &certificates.cert("own"));
    (server, certificates)
}

#[test]
fn tls_1_people_sign_in_refresh_and_sign_out_over_https_and_their_cookies_are_for_https_alone() {
    let (server, certificates) = server(&[]);
    let trusted = certificates.cert("own");
    let origin = url(&server, "");
    let post = |path: &str, body: &str| {
        let (origin, url) = (format!("Origin: {origin}"), url(&server, path));
        let json = "Content-Type: application/json";
        text(&curl(&server, &trusted, &["-b", "jar", "-c", "jar", "-H", json, "-H", &origin, "--data", body, &url]))
    };
    let credentials = format!("{{\"email\":\"ada@example.org\",\"password\":\"{PASSWORD}\"}}");
    let registered = post("/api/auth/register", &credentials);
    assert!(registered.starts_with("HTTP/1.1 201"), "{registered}");
    assert!(registered.contains("set-cookie: __Secure-doorward-refresh="), "{registered}");
    let cookies: Vec<_> = registered.lines().filter(|line| line.starts_with("set-cookie:")).collect();
    assert!(cookies.len() == 3 && cookies.iter().all(|cookie| cookie.contains("; Secure")), "{cookies:?}");
    assert!(registered.contains("strict-transport-security:"), "{registered}");
    // A refresh replaces it.
    let csrf = || {
        let jar = std::fs::read_to_string(server.dir.path().join("jar")).expect("a jar");
        jar.lines().find(|line| line.contains("-csrf")).and_then(|line| line.split('\t').next_back()).expect("a CSRF token").to_owned()
    };
    let refresh = |path: &str| {
        let (origin, csrf, url) = (format!("Origin: {origin}"), format!("X-CSRF-Token: {}", csrf()), url(&server, path));
        text(&curl(&server, &trusted, &["-b", "jar", "-c", "jar", "-X", "POST", "-H", &origin, "-H", &csrf, &url]))
    };
    assert!(refresh("/api/auth/refresh").starts_with("HTTP/1.1 200"));
    let out = refresh("/api/auth/logout");
    assert!(out.starts_with("HTTP/1.1 20"), "{out}");
    assert!(post("/api/auth/login", &credentials).starts_with("HTTP/1.1 200"));
}

#[test]
fn tls_2_only_http_1_over_tls_1_2_and_1_3_is_spoken_and_plain_http_is_told_so() {
    let (server, certificates) = server(&[]);
    let (trusted, health) = (certificates.cert("own"), url(&server, "/health"));
    for version in [&["--tlsv1.2", "--tls-max", "1.2"][..], &["--tlsv1.3"], &["--http2"]] {
        let answer = text(&curl(&server, &trusted, &[version, &[&health]].concat()));
        assert!(answer.starts_with("HTTP/1.1 200"), "{version:?}: {answer}");
    }
    let old = curl(&server, &trusted, &["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", &health]);
    assert!(!old.status.success(), "{}", String::from_utf8_lossy(&old.stdout));
    // Whoever does not know the certificate does not take it.
    assert!(!curl(&server, Path::new("/dev/null"), &[&health]).status.success());
    let plain = text(&curl(&server, &trusted, &[&server.url("/health")]));
    assert!(plain.starts_with("HTTP/1.1 400") && plain.contains("use https://"), "{plain}");
    let posted = text(&curl(&server, &trusted, &["--data", &"x".repeat(100_000), &server.url("/api/auth/login")]));
    assert!(posted.starts_with("HTTP/1.1 400"), "{posted}");
    assert_eq!(server.command(&["healthcheck", "--at", &server.address], "").status.code(), Some(0));
}

/// The serial number of the certificate that is shown.
fn shown(server: &Server) -> String {
    let output = openssl(&["s_client", "-connect", &server.address, "-servername", "localhost"], |command| {
        command.stdin(std::process::Stdio::null());
    });
    let mut parse = Command::new("openssl");
    let output = crate::support::run(parse.args(["x509", "-noout", "-subject"]), &String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Waits for a line in the log.
fn logged(server: &Server, words: &str) -> String {
    let begun = Instant::now();
    loop {
        if let Some(line) = server.log().lines().rfind(|line| line.contains(words)) {
            return line.to_owned();
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "no {words:?} in {}", server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn tls_3_a_renewed_certificate_is_shown_without_a_drop_and_a_bad_one_is_not() {
    let (server, certificates) = server(&[]);
    certificates.make("renewed", "90").make("other", "90");
    assert!(shown(&server).contains("own"), "{}", shown(&server));
    // A connection from before goes on being served.
    let kept = tunnel(&server.address, &certificates.cert("own"));
    let mut kept = TcpStream::connect(kept).expect("connected");
    let mut ask = || {
        kept.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
        let mut bytes = [0; 4096];
        let read = kept.read(&mut bytes).expect("read");
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    };
    assert!(ask().starts_with("HTTP/1.1 200"));
    std::fs::copy(certificates.key("other"), certificates.key("own")).expect("copied");
    logged(&server, "is not the key of");
    assert!(shown(&server).contains("own"), "the certificate from before is shown until its successor can be");
    certificates.replace("own", "renewed");
    logged(&server, "is shown from now on");
    assert!(shown(&server).contains("renewed"));
    assert!(ask().starts_with("HTTP/1.1 200"), "a connection from before");
    std::fs::remove_file(certificates.cert("own")).expect("removed");
    logged(&server, "cannot be read");
    assert!(shown(&server).contains("renewed"));
    assert_eq!(server.log().matches("cannot be read").count(), 1, "told once");
}

#[test]
fn tls_4_what_cannot_be_served_is_refused_before_anything_is_made_and_what_will_expire_is_told() {
    let (server, certificates) = server(&[]);
    certificates.make("other", "90").make("old", "5").make_for("elsewhere", "90", "subjectAltName=DNS:elsewhere.example");
    std::fs::write(certificates.cert("empty"), "nothing\n").expect("written");
    openssl(&["genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:x"], |c| {
        c.arg("-out").arg(certificates.key("locked"));
    });
    let check = |cert: PathBuf, key: PathBuf| {
        let (cert, key) = (format!("server.tls.cert={}", cert.display()), format!("server.tls.key={}", key.display()));
        let output = server.command(&["config", "check", "--set", &cert, "--set", &key], "");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    let own = || (certificates.cert("own"), certificates.key("own"));
    for (cert, key, words) in [
        (own().0, certificates.key("other"), &["other.key", "is not the key of", "own.pem"][..]),
        (certificates.cert("none"), own().1, &["none.pem", "cannot be read"]),
        (certificates.cert("empty"), own().1, &["empty.pem", "BEGIN CERTIFICATE"]),
        (own().0, certificates.cert("empty"), &["empty.pem", "BEGIN PRIVATE KEY"]),
        (own().0, certificates.key("locked"), &["locked.key", "has a password"]),
    ] {
        let (code, said) = check(cert, key);
        assert!(code == Some(78) && words.iter().all(|word| said.contains(word)), "{words:?}: {code:?} {said}");
    }
    assert_eq!(check(own().0, own().1), (Some(0), "all settings are good\n".to_owned()));
    assert!(check(certificates.cert("old"), certificates.key("old")).1.contains("expires at"));
    assert!(check(certificates.cert("elsewhere"), certificates.key("elsewhere")).1.contains("is not for 127.0.0.1"));
}

#[test]
fn tls_5_a_handshake_has_the_time_of_a_head_and_takes_a_place_like_one() {
    let (server, certificates) = server(&[]);
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let crowd: Vec<_> = (0..1500)
        .filter_map(|n| {
            let mut stream = TcpStream::connect(&server.address).ok()?;
            // Half of them say nothing, half begin and do not go on. Those that were evicted cannot be written to.
            let _ = (n % 2 == 0).then(|| stream.write_all(hello));
            Some(stream)
        })
        .collect();
    let begun = Instant::now();
    assert!(text(&curl(&server, &certificates.cert("own"), &[&url(&server, "/health")])).starts_with("HTTP/1.1 200"), "a place is made");
    println!("{} connections without a handshake: /health after {:?}", crowd.len(), begun.elapsed());
    for mut stream in crowd {
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        let mut rest = Vec::new();
        // A reset counts as closing.
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_1_slow_clients_have_their_time_over_tls_too() {
    let (server, _certificates) = tunnelled();
    wire::slow_clients_have_their_time(server).await;
}

#[tokio::test]
async fn http_1_heads_are_limited_over_tls_too() {
    let (server, _certificates) = tunnelled();
    wire::heads_are_limited(server).await;
}

#[tokio::test]
async fn http_2_chunks_without_end_are_refused_over_tls_too() {
    let (server, _certificates) = tunnelled();
    wire::chunks_without_end_are_refused(server).await;
}

#[tokio::test]
async fn http_3_unclear_lengths_are_refused_over_tls_too() {
    let (server, _certificates) = tunnelled();
    wire::unclear_lengths_are_refused(server).await;
}

#[tokio::test]
async fn http_10_bodies_are_asked_for_over_tls_too() {
    let (server, _certificates) = tunnelled();
    wire::bodies_are_asked_for(server).await;
}

#[test]
fn ops_6_a_stop_closes_connections_over_tls_in_an_orderly_way() {
    let (mut server, certificates) = server(&[]);
    let address = tunnel(&server.address, &certificates.cert("own"));
    let mut idle = TcpStream::connect(address).expect("connected");
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    assert!(idle.read(&mut [0; 4096]).expect("read") > 0);
    // A client that has not begun TLS holds nothing up either.
    let _silent = TcpStream::connect(&server.address).expect("connected");
    let begun = Instant::now();
    assert!(server.stop().success());
    assert!(begun.elapsed() < 9 * SECOND, "{:?}", begun.elapsed());
    assert_eq!(idle.read(&mut [0; 1]).expect("an end, with a close_notify"), 0);
}
