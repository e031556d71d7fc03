//! A gate that is away, silent or odd lets nobody in.

use super::{
    Front, HEADERS, Kind,
    echo::App,
    proxies::{self, Proxy},
    stand_in::{Does, StandIn, answer, identity_lines},
    with_each,
};
use std::{
    fs,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, Instant},
};

#[test]
fn gate_30_a_gate_that_answers_oddly_lets_nobody_in() {
    with_each(|front, stand_in| {
        let (pass, identity) = (front.gate.pass_line(), identity_lines(&front.gate.identity));
        let statuses = [300, 301, 302, 304, 307, 400, 401, 402, 403, 404, 407, 413, 418, 421, 429, 500, 501, 502, 503, 504, 599];
        let said = statuses.map(|status| answer(status, &format!("{identity}Connection: close\r\n")));
        let garbage =
            ["", "\r\n", "200 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 200", "HTTP/1.1 abc\r\n\r\n", "SSH-2.0-x\r\n", "\0\0\0\0"];
        let cut = format!("HTTP/1.1 200 OK\r\n{identity}");
        for said in said.into_iter().chain(garbage.map(str::to_owned)).chain([cut]) {
            stand_in.now(Does::Say(said.clone()));
            let request = format!("GET /page HTTP/1.1\r\nHost: {}\r\n{pass}\r\n", front.gate.host);
            // Envoy hands on a status that no client understands.
            if let Some(answer) = front.send(&request) {
                assert!(answer.status >= 300, "{:?} {said:?}: {}", front.kind, answer.status);
            }
            front.closed(&said);
        }
        // It is well again, and so are they.
        stand_in.now(Does::Judge);
        assert_eq!(front.get("/page", &pass).status, 200, "{:?}", front.kind);
        front.assert_is(&front.reached("again"), &front.gate.identity, "again");
    });
}

#[test]
fn gate_30_a_gate_that_is_silent_or_away_lets_nobody_in() {
    with_each(|front, stand_in| {
        let pass = front.gate.pass_line();
        stand_in.now(Does::Wait);
        let begun = Instant::now();
        assert!(front.get("/page", &pass).status >= 400, "{:?}", front.kind);
        front.closed("silence");
        assert!(begun.elapsed() < Duration::from_secs(7) || front.kind == Kind::Traefik, "{:?}: {:?}", front.kind, begun.elapsed());
    });
    // Nobody listens at this address; it is held, so that no other test comes to listen there.
    let held = held_address();
    let mut gone = StandIn::start().gate;
    gone.address =
        rustix::net::getsockname(&held).ok().and_then(|address| SocketAddr::try_from(address).ok()).expect("an address").to_string();
    super::through_all(&gone, |front| {
        let pass = front.gate.pass_line();
        for path in ["/page", "/public/page", "/.doorward/enter"] {
            let status = front.get(path, &pass).status;
            assert!(status == 403 || (500..600).contains(&status), "{:?} {path}: {status}", front.kind);
            front.closed(path);
        }
    });
}

/// A socket with an address that refuses connections.
fn held_address() -> OwnedFd {
    use rustix::net::{AddressFamily, SocketType, bind, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("bound");
    socket
}

/// An error in a script stops no request by itself: `HAProxy` would go on with it.
#[test]
fn gate_30_a_script_that_fails_lets_nobody_in() {
    let stand_in = StandIn::start();
    for (kind, file, line) in
        [(Kind::Haproxy, "haproxy.lua", "    local asked, answer"), (Kind::Apache, "apache.lua", "    local asked, status")]
    {
        let app = App::start();
        let fail = |dir: &Path| {
            let text = fs::read_to_string(dir.join(file)).expect("a script");
            assert!(text.contains(line), "{text}");
            fs::write(dir.join(file), text.replace(line, &format!("    error('planted')\n{line}"))).expect("written");
        };
        let proxy = Proxy::altered(kind, &stand_in.gate, false, &proxies::behind_tls(&stand_in.gate, &app.address), &fail);
        let front = Front { kind, proxy, app, gate: stand_in.gate.clone() };
        let status = front.get("/page", &front.gate.pass_line()).status;
        assert!(status >= 500, "{kind:?}: {status}");
        front.closed("a script that fails");
        assert!(front.proxy.log().contains("planted"), "{kind:?}: {}", front.proxy.log());
    }
}

/// Some take any 2xx for a yes. Doorward sends 200 alone; even so nobody becomes somebody else.
#[test]
fn gate_17_another_2xx_makes_nobody_somebody() {
    with_each(|front, stand_in| {
        for status in [201, 202, 204, 206, 226] {
            stand_in.now(Does::Say(answer(status, "Connection: close\r\n")));
            let forged = HEADERS.map(|name| format!("{name}: admin\r\n")).concat();
            front.get("/page", &forged);
            let takes_any = matches!(front.kind, Kind::Nginx | Kind::Caddy | Kind::CaddyToday | Kind::Traefik);
            for seen in front.app.take() {
                assert!(takes_any, "{:?} {status}: reached the app", front.kind);
                let of: Vec<_> = HEADERS.iter().flat_map(|name| seen.all(name)).collect();
                assert!(of.iter().all(|value| *value != "admin"), "{:?} {status}: {seen:#?}", front.kind);
            }
        }
    });
}

/// What the gate leaves out stays empty, and what it says besides stays with the proxy.
#[test]
fn gate_17_the_identity_is_the_gates_also_when_it_says_less() {
    with_each(|front, stand_in| {
        stand_in.now(Does::Say(answer(200, "Remote-User: ada\r\nX-Auth-Role: viewer\r\nX-Other: x\r\nConnection: close\r\n")));
        let forged = HEADERS.map(|name| format!("{name}: admin\r\n")).concat();
        assert_eq!(front.get("/page", &forged).status, 200, "{:?}", front.kind);
        let seen = front.reached("less");
        for name in HEADERS {
            let said = match name {
                "remote-user" => "ada",
                "x-auth-role" => "viewer",
                _ => "",
            };
            // Debian's Caddy writes the name of what it does not find. Doorward always says all eight.
            let value = seen.all(name).concat();
            let is_caddys = front.kind == Kind::Caddy && value.starts_with("{http.reverse_proxy.header.");
            assert!(value == said || is_caddys, "{:?} {name}: {value:?}", front.kind);
        }
        assert_eq!(seen.all("x-other"), [""; 0], "{:?}", front.kind);
    });
}
