//! The set-ups in `examples/gate` are what is printed, and the proxies find no fault in them.

use super::{Kind, printed::certificate};
use doorward::cli::proxy_config::{DEFAULT_UPSTREAM, Options, Origin, Target, render};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// What `examples/gate/config.toml` says of its app.
fn wiki() -> Target {
    Target {
        app_name: "wiki".into(),
        origin: Origin { scheme: "https".into(), host: "wiki.example.org".into(), port: 443 },
        login_origin: "https://login.example.org".into(),
        login_host: "login.example.org".into(),
        takes_basic: false,
        doorward_address: "127.0.0.1:3000".into(),
        upstream: DEFAULT_UPSTREAM.into(),
    }
}

fn directory(kind: Kind) -> PathBuf {
    let name = format!("{:?}", kind.printed()).to_lowercase();
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/gate").join(name)
}

#[test]
fn gate_37_the_set_ups_in_examples_are_what_is_printed() {
    let mut stale = Vec::new();
    for kind in Kind::ALL {
        for file in render(kind.printed(), &wiki(), &Options::default(), None).unwrap_or_else(|why| panic!("{kind:?}: {why}")) {
            let path = directory(kind).join(file.name);
            if fs::read_to_string(&path).unwrap_or_default() != file.text {
                stale.push(format!("doorward --config examples/gate/config.toml proxy-config … wiki > {}", path.display()));
            }
        }
    }
    assert!(stale.is_empty(), "print these again:\n{}", stale.join("\n"));
}

/// Printed and written files together, with certificates that are there.
#[test]
fn gate_37_the_proxies_find_no_fault_in_the_set_ups() {
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 443));
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().expect("a directory");
        let (cert, key) = certificate(dir.path(), "wiki.example.org");
        let real = |text: String| {
            ["wiki", "login"].into_iter().fold(text, |text, name| {
                let live = format!("/etc/letsencrypt/live/{name}.example.org");
                text.replace(&format!("{live}/fullchain.pem"), &cert).replace(&format!("{live}/privkey.pem"), &key)
            })
        };
        let real = |text: String| {
            let text = real(text).replace("/etc/haproxy/wiki.example.org.pem", &cert);
            text.replace("/etc/doorward/wiki", dir.path().to_str().expect("UTF-8"))
        };
        let mut login = String::new();
        for entry in fs::read_dir(directory(kind)).expect("an example") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            let text = real(fs::read_to_string(&path).expect("text"));
            if name.starts_with("login.") {
                login = text;
            } else {
                fs::write(dir.path().join(name), text).expect("written");
            }
        }
        // The login host stands beside the app, as `cat` or one more file would put it.
        let main = match kind {
            Kind::Nginx => "nginx.conf",
            Kind::Caddy | Kind::CaddyToday => "Caddyfile",
            Kind::Apache => "apache.conf",
            Kind::Traefik | Kind::Haproxy | Kind::Envoy => "",
        };
        if !main.is_empty() {
            let app = fs::read_to_string(dir.path().join(main)).expect("text");
            fs::write(dir.path().join(main), format!("{app}\n{login}")).expect("written");
        }
        let Some(mut check) = kind.check(dir.path(), everywhere) else { continue };
        let status = check.status().expect("run");
        let said = fs::read_to_string(dir.path().join("log")).expect("a log");
        assert!(status.success(), "{kind:?}: {said}");
    }
}
