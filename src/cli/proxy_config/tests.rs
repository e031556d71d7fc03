use super::*;
use clap::ValueEnum;

fn target() -> Target {
    Target {
        app_name: "my-app".into(),
        origin: Origin { scheme: "https".into(), host: "app.example.org".into(), port: 443 },
        login_origin: "https://login.example.org".into(),
        login_host: "login.example.org".into(),
        takes_basic: false,
        doorward_address: "127.0.0.1:3000".into(),
        upstream: DEFAULT_UPSTREAM.into(),
    }
}

/// All files of a proxy, one after the other, with blanks and quotes the same everywhere.
fn text(proxy: Proxy, target: &Target, options: &Options) -> String {
    let files = render(proxy, target, options, None).unwrap_or_else(|why| panic!("{proxy:?}: {why}"));
    let text: String = files.iter().map(|file| file.text.as_str()).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('"', "")
}

#[track_caller]
fn assert_has(proxy: Proxy, text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.contains(line), "{proxy:?} has no {line}:\n{text}");
    }
}

const IDENTITY: [&str; 8] =
    ["remote-user", "remote-email", "remote-name", "remote-groups", "x-auth-user", "x-auth-email", "x-auth-role", "x-auth-permissions"];

#[test]
fn every_proxy_names_the_gate_the_host_and_the_app() {
    for &proxy in Proxy::value_variants() {
        let text = text(proxy, &target(), &Options::default());
        let addresses: &[&str] = match proxy {
            Proxy::Nginx => &["server 127.0.0.1:3000;", "/gate/nginx;", "proxy_pass http://127.0.0.1:8080;", "listen 443 ssl;"],
            Proxy::Caddy => &["https://app.example.org {", "forward_auth 127.0.0.1:3000", "uri /gate/forward", "http://127.0.0.1:8080"],
            Proxy::Traefik => &["http://127.0.0.1:3000/gate/forward", "url: http://127.0.0.1:8080", "[websecure]", "tls: {}"],
            Proxy::Haproxy => &["http://127.0.0.1:3000/gate/forward", "server app 127.0.0.1:8080", "bind *:443 ssl crt /etc/haproxy/"],
            Proxy::Apache => &["http://127.0.0.1:3000/gate/forward", "http://127.0.0.1:8080/", "<VirtualHost *:443>", "SSLEngine On"],
            Proxy::Envoy => {
                &["address: 127.0.0.1, port_value: 3000", "address: 127.0.0.1, port_value: 8080", "path_prefix: /gate/forward?p="]
            }
        };
        assert_has(proxy, &text, addresses);
        let host = match proxy {
            Proxy::Nginx => "X-Forwarded-Host app.example.org;",
            Proxy::Caddy => "header_up X-Forwarded-Host app.example.org",
            // Traefik sends the host of the request, of which there is one.
            Proxy::Traefik => "rule: Host(`app.example.org`) &&",
            Proxy::Haproxy => "/gate/forward app.example.org",
            Proxy::Apache => "AUTHORITY = app.example.org",
            Proxy::Envoy => "{ key: x-forwarded-host, value: app.example.org }",
        };
        assert_has(proxy, &text, &[host, "sign in at https://login.example.org.", "Tested with"]);
    }
}

#[test]
fn every_proxy_gives_the_app_all_of_the_identity_and_none_of_the_clients() {
    for &proxy in Proxy::value_variants() {
        let text = text(proxy, &target(), &Options::default()).to_lowercase();
        let by_pattern = matches!(proxy, Proxy::Traefik | Proxy::Envoy);
        if !by_pattern {
            assert_has(proxy, &text, &IDENTITY);
        }
        let deleted: &[&str] = match proxy {
            Proxy::Nginx => &["underscores_in_headers off", "ignore_invalid_headers on"],
            Proxy::Caddy => &["request_header -remote*", "-x-auth*", "-x_auth*", "-x.auth*"],
            Proxy::Traefik => &["^(remote|x.auth|x.doorward)[^a-z0-9]"],
            Proxy::Haproxy => &["del-header ^(remote|x.auth)[^a-z0-9]"],
            Proxy::Apache => &["^remote%w", "^x%wauth%w"],
            Proxy::Envoy => &["(remote|x.auth)[^a-z0-9].*", "prefix: remote-", "prefix: x-auth-"],
        };
        assert_has(proxy, &text, deleted);
    }
}

#[test]
fn keys_stay_with_the_proxy_and_authorization_where_it_is_doorwards() {
    let basic = Target { takes_basic: true, ..target() };
    for &proxy in Proxy::value_variants() {
        let [without, with] = [&target(), &basic].map(|target| text(proxy, target, &Options::default()));
        let (key, authorization) = match proxy {
            Proxy::Nginx => ("proxy_set_header X-Doorward-Key ;", "proxy_set_header Authorization ;"),
            Proxy::Caddy => ("request_header -X-Doorward-Key", "request_header -Authorization"),
            Proxy::Traefik => ("x.doorward", "|authorization$)"),
            Proxy::Haproxy => ("del-header x-doorward-key", "del-header authorization"),
            Proxy::Apache => ("low == x-doorward-key", "RequestHeader unset Authorization"),
            Proxy::Envoy => ("request_headers_to_remove: [x-doorward-key", "[x-doorward-key, authorization]"),
        };
        assert!(without.contains(key) && with.contains(key), "{proxy:?}");
        assert!(!without.contains(authorization) && with.contains(authorization), "{proxy:?}");
    }
}

#[test]
fn ports_addresses_and_certificates_are_those_that_are_named() {
    let files = Options { tls_cert: Some("/c.pem".into()), tls_key: Some("/c.pem.key".into()), ..Options::default() };
    let listen = Options { bind: Some(([10, 0, 0, 1], 8443).into()), doorward: Some("doorward:3001".into()), ..files };
    let options = Options { upstream: Some("http://[::1]:81/".into()), ..listen };
    let target = Target { origin: Origin { port: 8443, ..target().origin }, ..target() };
    for &proxy in Proxy::value_variants() {
        let text = text(proxy, &target, &options);
        let lines: &[&str] = match proxy {
            Proxy::Nginx => {
                &["listen 10.0.0.1:8443 ssl;", "ssl_certificate /c.pem;", "server doorward:3001;", "Host app.example.org:8443;"]
            }
            Proxy::Caddy => &["https://app.example.org:8443 {", "bind 10.0.0.1", "tls /c.pem /c.pem.key", "forward_auth doorward:3001"],
            Proxy::Traefik => &["address: 10.0.0.1:8443", "certFile: /c.pem keyFile: /c.pem.key", "http://doorward:3001/"],
            Proxy::Haproxy => &["bind 10.0.0.1:8443 ssl crt /c.pem", "app.example.org app.example.org:8443"],
            Proxy::Apache => &["<VirtualHost 10.0.0.1:8443>", "SSLCertificateKeyFile /c.pem.key", "AUTHORITY = app.example.org:8443"],
            Proxy::Envoy => &["address: 10.0.0.1, port_value: 8443", "filename: /c.pem }", "address: doorward, port_value: 3001"],
        };
        assert_has(proxy, &text, lines);
        assert!(text.contains("[::1]:81") || text.contains("address: ::1, port_value: 81"), "{proxy:?}: {text}");
    }
}

#[test]
fn a_proxy_with_one_listener_knows_the_login_host_if_it_is_there_too() {
    let elsewhere = Target { login_origin: "https://login.example.org:8443".into(), ..target() };
    for (proxy, line) in [(Proxy::Haproxy, "use_backend doorward if login"), (Proxy::Envoy, "domains: [login.example.org]")] {
        assert!(text(proxy, &target(), &Options::default()).contains(line), "{proxy:?}");
        assert!(!text(proxy, &elsewhere, &Options::default()).contains(line), "{proxy:?}");
    }
    let nowhere = Target { login_origin: "login.example.org".into(), ..target() };
    assert!(render(Proxy::Envoy, &nowhere, &Options::default(), None).is_err());
}

#[test]
fn without_tls_there_is_none_and_the_app_is_told_the_scheme_of_its_origin() {
    let http = Target { origin: Origin { scheme: "http".into(), port: 80, ..target().origin }, ..target() };
    let behind = Options { no_tls: true, ..Options::default() };
    for &proxy in Proxy::value_variants() {
        for (target, options, scheme) in [(&http, Options::default(), "http"), (&target(), behind.clone(), "https")] {
            let text = text(proxy, target, &options).to_lowercase();
            let tls = [" ssl", "sslengine", "tls: {}", "tls_cert", "https://app.example.org {", "websecure"];
            assert!(tls.iter().all(|word| !text.contains(word) || *word == " ssl" && proxy == Proxy::Apache), "{proxy:?}: {text}");
            let said = text.replace(['"', ':', ',', '}'], "").replace("value ", "").replace("key ", "");
            assert!(said.contains(&format!("x-forwarded-proto {scheme}")), "{proxy:?}: {text}");
        }
    }
}

#[test]
fn what_cannot_be_written_safely_is_refused() {
    let named = |host: &str| Target { origin: Origin { host: host.into(), ..target().origin }, ..target() };
    let default = Options::default();
    for &proxy in Proxy::value_variants() {
        for host in ["a;b", "a b", "a`) || Host(`b", "a\"b", "a\nb", ""] {
            assert!(render(proxy, &named(host), &default, None).is_err(), "{proxy:?} {host:?}");
        }
        for upstream in
            ["https://app", "http://app/path", "http://user@app", "http://app:0", "http://", "http://a:b:1", "app:80", "http://[::1"]
        {
            let options = Options { upstream: Some(upstream.into()), ..default.clone() };
            assert!(render(proxy, &target(), &options, None).is_err(), "{proxy:?} {upstream:?}");
        }
        for doorward in ["doorward", "http://doorward:3000", "doorward:x", ":3000", "door ward:3000"] {
            let options = Options { doorward: Some(doorward.into()), ..default.clone() };
            assert!(render(proxy, &target(), &options, None).is_err(), "{proxy:?} {doorward:?}");
        }
        let relative = Options { tls_cert: Some("c.pem".into()), tls_key: Some("c.pem.key".into()), ..default.clone() };
        assert!(render(proxy, &target(), &relative, None).is_err(), "{proxy:?}");
        let directory = render(proxy, &target(), &default, Some("/a b"));
        assert_eq!(directory.is_err(), matches!(proxy, Proxy::Haproxy | Proxy::Apache), "{proxy:?}");
    }
    let elsewhere = Options { tls_cert: Some("/c.pem".into()), tls_key: Some("/k.pem".into()), ..default };
    assert!(render(Proxy::Haproxy, &target(), &elsewhere, None).is_err_and(|why| why.contains("/c.pem.key")));
}
