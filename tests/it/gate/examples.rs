//! The set-ups in `examples/gate` are what is printed, and the proxies find no fault in them.

use super::{Kind, printed::certificate};
use crate::support::run;
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

fn directory(kind: Kind) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/gate").join(kind.name())
}

/// The printed files of a proxy, each with what chooses it.
fn files(kind: Kind) -> &'static [(&'static str, &'static str)] {
    match kind {
        Kind::Nginx => &[("nginx.conf", "main")],
        Kind::Caddy | Kind::CaddyToday => &[("Caddyfile", "main")],
        Kind::Traefik => &[("traefik.yml", "main")],
        Kind::Haproxy => &[("haproxy.cfg", "main"), ("haproxy.lua", "lua")],
        Kind::Apache => &[("apache.conf", "main"), ("apache.lua", "lua")],
        Kind::Envoy => &[("envoy.yaml", "main")],
    }
}

#[test]
fn gate_37_the_set_ups_in_examples_are_what_is_printed() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/gate/config.toml");
    for kind in Kind::ALL {
        for (name, part) in files(kind) {
            let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
            command.env_clear().arg("--config").arg(&config).args(["proxy-config", &kind.name(), "wiki", "--file", part]);
            let output = run(&mut command, "");
            assert!(output.status.success(), "{kind:?}: {}", String::from_utf8_lossy(&output.stderr));
            let stored = fs::read(directory(kind).join(name)).unwrap_or_default();
            assert!(output.stdout == stored, "print {name} again: {command:?}");
        }
    }
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
