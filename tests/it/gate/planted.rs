//! `gate check` finds what was planted in a proxy's configuration, and nothing in what is printed.

use super::{
    Kind,
    echo::App,
    proxies::{self, Proxy},
    real::Real,
};
use serde_json::Value;
use std::{fs, net::SocketAddr, path::Path};

const HOST: &str = "app.localhost";

/// What is changed in the printed file: this, into that.
type Changes = &'static [(&'static str, &'static str)];

/// What it means, the changes, and a part of what must be found.
const PLANTED: [(&str, Changes, &str); 14] = [
    ("the gate is not asked", &[("auth_request /_doorward;", "")], "/ lets in whoever asks"),
    ("nginx asks as others do", &[("/gate/nginx", "/gate/forward")], "a navigation is answered 500"),
    ("it asks another path", &[("/gate/nginx", "/health")], "a navigation is answered 403 and is not sent to sign in"),
    ("the way in leads nowhere", &[("location ^~ /.doorward/", "location ^~ /.other/")], "/.doorward/enter is answered"),
    (
        "the way in leads to the app",
        &[("location ^~ /.doorward/ {", "location ^~ /.doorward/ { proxy_pass http://UPSTREAM; } location ^~ /.other/ {")],
        "/.doorward/nothing reaches the app",
    ),
    (
        "the way in loses its cookie",
        &[("location ^~ /.doorward/ {", "location ^~ /.doorward/ { proxy_hide_header Set-Cookie;")],
        "/.doorward/enter sets no cookie",
    ),
    ("every method is a GET", &[("$request_method", "GET")], "open for GET is open for DELETE"),
    (
        "the client says its path",
        &[("X-Forwarded-Uri $request_uri", "X-Forwarded-Uri $http_x_forwarded_uri")],
        "X-Forwarded-Uri of the client opens what is closed",
    ),
    (
        "the client says its path, where nothing is open",
        &[("X-Forwarded-Uri $request_uri", "X-Forwarded-Uri $http_x_forwarded_uri")],
        "the gate is asked about the path that the client claims",
    ),
    (
        "another server's header says the path",
        &[("X-Forwarded-Uri $request_uri", "X-Forwarded-Uri $http_x_original_url")],
        "X-Original-URL of the client opens what is closed",
    ),
    (
        "the way to sign in is lost",
        &[("auth_request_set $doorward_location $upstream_http_location;", "set $doorward_location \"\";")],
        "is not sent to sign in",
    ),
    (
        "refusals may be cached",
        &[("add_header Cache-Control no-store always;", ""), ("add_header Cache-Control no-store always;", "")],
        "may be cached",
    ),
    (
        "preflights pass",
        &[("location / {", "location / { set $preflight $request_method; if ($preflight = OPTIONS) { return 204; }")],
        "a preflight reaches the app",
    ),
    (
        "another name leads to the app",
        &[("server {\n", "server { listen ADDRESS default_server; location / { proxy_pass http://UPSTREAM; } }\nserver {\n")],
        "the app answers to any host",
    ),
];

fn check(real: &Real, at: SocketAddr) -> (bool, Vec<String>) {
    let login = format!("server.public_url=http://{}", real.gate.login_host);
    let output = real.server.command(&["--set", &login, "gate", "check", "app", "--connect-to", &at.to_string(), "--json"], "");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)));
    let findings = answer["findings"].as_array().expect("findings").iter();
    (output.status.success(), findings.map(|finding| finding["what"].as_str().expect("text").to_owned()).collect())
}

/// nginx before the app, with these changes of what is printed.
fn nginx(real: &Real, app: &App, changes: &[(&str, &str)]) -> Proxy {
    let alter = |dir: &Path| {
        let path = dir.join("nginx.conf");
        let mut text = fs::read_to_string(&path).expect("printed");
        let listen = text.lines().find_map(|line| line.trim().strip_prefix("listen ")?.strip_suffix(';')).expect("an address").to_owned();
        for (from, to) in changes {
            assert!(text.contains(from), "{from} is not in {text}");
            text = text.replacen(from, &to.replace("UPSTREAM", &app.address).replace("ADDRESS", &listen), 1);
        }
        fs::write(path, text).expect("written");
    };
    Proxy::altered(Kind::Nginx, &real.gate, false, &proxies::behind_tls(&real.gate, &app.address), &alter)
}

#[test]
fn gate_40_planted_mistakes_are_found_and_none_in_what_is_printed() {
    let (real, app) = (Real::start_plain(HOST), App::start());
    let printed = nginx(&real, &app, &[]);
    assert_eq!(check(&real, printed.address), (true, vec![]), "what is printed");
    for (what, changes, expected) in PLANTED {
        let planted = nginx(&real, &app, changes);
        let (is_good, found) = check(&real, planted.address);
        assert!(!is_good && found.iter().any(|found| found.contains(expected)), "{what}: {found:?}");
    }
}
