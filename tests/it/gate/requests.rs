//! What the gate is asked, and what visitors are told when it refuses.

use super::{
    Kind,
    real::Real,
    stand_in::{Question, StandIn},
    through_all,
    wire::decoded,
    with_each,
};

const NAVIGATION: &str = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Site: none\r\nAccept: text/html\r\n";

#[test]
fn gate_1_a_navigation_signed_out_is_sent_to_sign_in_and_would_come_back_to_the_same_place() {
    through_all(&Real::start(false).gate, |front| {
        for path in
            ["/", "/page?a=1&b=2", "/page?x=%2F%26%25&y=+", "/p%C3%A4ge?q=%E2%82%AC", "/page?to=https://evil.example/&c=a", "/a,b@c:d!"]
        {
            for (method, statuses) in [("GET", [302, 303]), ("HEAD", [302, 303])] {
                let mut connection = front.connect();
                let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{NAVIGATION}Connection: close\r\n\r\n", front.gate.host);
                connection.send(head.as_bytes());
                // The answer to HEAD has no body, whatever its length says.
                let answer = connection.head().unwrap_or_else(|| panic!("{:?} {path}: no answer", front.kind));
                assert!(statuses.contains(&answer.status), "{:?} {method} {path}: {answer:?}", front.kind);
                let location = answer.header("location").unwrap_or_else(|| panic!("{:?} {path}: no Location", front.kind));
                let to = location.strip_prefix(&format!("https://{}/.doorward/enter?to=", front.gate.host));
                let to = decoded(to.unwrap_or_else(|| panic!("{:?} {path}: {location}", front.kind)));
                assert_eq!(to, path, "{:?}", front.kind);
                assert_eq!(answer.header("cache-control"), Some("no-store"), "{:?} {path}", front.kind);
                front.closed(path);
            }
        }
    });
}

#[test]
fn gate_2_whatever_is_no_navigation_gets_401_and_no_redirect() {
    through_all(&Real::start(false).gate, |front| {
        for lines in
            ["", "Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nAccept: */*\r\n", "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n"]
        {
            for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"] {
                let answer = front.ask(method, "/page", &format!("Content-Length: 0\r\n{lines}"));
                assert_eq!((answer.status, answer.header("location")), (401, None), "{:?} {method} {lines:?}", front.kind);
                front.closed(lines);
            }
        }
    });
}

#[test]
fn gate_13_who_may_not_gets_403_and_the_apps_own_refusals_are_its_own() {
    through_all(&Real::start(false).gate, |front| {
        let pass = front.gate.pass_line();
        assert_eq!(front.get("/admin", &pass).status, 403, "{:?}", front.kind);
        front.closed("403");
        let answer = front.get("/401", &pass);
        assert_eq!((answer.status, &*answer.body), (401, &b"the app's own"[..]), "{:?}: {answer:?}", front.kind);
        front.reached("the app's 401");
    });
}

/// What the gate is told of a request to `/page?q=1`, and not by the client.
#[track_caller]
fn assert_told(kind: Kind, question: &Question, method: &str, host: &str, what: &str) {
    let what = format!("{kind:?} {what}: {question:#?}");
    assert_eq!(question.one("x-forwarded-method"), Some(method), "{what}");
    assert!(question.one("x-forwarded-host").is_some_and(|told| told.eq_ignore_ascii_case(host)), "{what}");
    assert_eq!(question.one("x-forwarded-uri"), Some("/page?q=1"), "{what}");
    // A gate that is promised a body would wait for it.
    let promised = (question.one("content-length").unwrap_or("0"), question.one("transfer-encoding"));
    assert_eq!(promised, ("0", None), "{what}");
    // Envoy and Traefik append the address of who connects to what was there, and the gate reads it from its end.
    let addresses = question.one("x-forwarded-for").unwrap_or_default();
    assert_eq!(addresses.rsplit(',').next().map(str::trim), Some("127.0.0.1"), "{what}");
}

#[test]
fn gate_19_the_gate_is_told_of_a_request_by_the_proxy_and_not_by_the_client() {
    with_each(|front, stand_in| {
        let kind = front.kind;
        let (pass, host) = (front.gate.pass_line(), front.gate.host.clone());
        for names in [
            ["X-Forwarded-Method", "X-Forwarded-Host", "X-Forwarded-Uri", "X-Forwarded-For"],
            ["X_Forwarded_Method", "X_Forwarded_Host", "X_Forwarded_Uri", "X_Forwarded_For"],
        ] {
            let [method, other, uri, address] = names;
            for lines in [
                String::new(),
                format!("{method}: HEAD\r\n{other}: evil.example\r\n{uri}: /public/\r\n{address}: 10.0.0.1\r\n"),
                format!("{uri}: /public/\r\n{uri}: /public/\r\n{other}: a\r\n{other}: b\r\n"),
                "X-Original-URL: /public/\r\nX-Original-URI: /public/\r\nX-Original-Method: HEAD\r\nX-Rewrite-URL: /public/\r\n".into(),
                "Forwarded: for=10.0.0.1;host=evil.example;proto=http\r\nX-Forwarded-Prefix: /public\r\nX-Forwarded-Proto: http\r\n".into(),
            ] {
                stand_in.take();
                for method in ["GET", "POST"] {
                    let length = if method == "POST" { "Content-Length: 3\r\n" } else { "" };
                    let body = &"abc"[..length.len().min(3)];
                    let request = format!("{method} /page?q=1 HTTP/1.1\r\nHost: {host}\r\n{lines}{pass}{length}\r\n{body}");
                    assert_eq!(front.send(&request).map(|answer| answer.status), Some(200), "{kind:?} {lines:?}");
                    let [question] = &stand_in.take()[..] else { panic!("{kind:?}: not one question") };
                    assert_told(kind, question, method, &host, &lines);
                    let seen = front.reached(&lines);
                    assert_eq!((&*seen.method, &*seen.target), (method, "/page?q=1"), "{kind:?}");
                    // The app is told the same, whatever the client says.
                    assert_eq!(seen.all("x-forwarded-host"), [&*host], "{kind:?} {lines:?}: {seen:#?}");
                    assert_eq!(seen.all("x-forwarded-proto"), ["https"], "{kind:?} {lines:?}: {seen:#?}");
                    assert_eq!(seen.all("host"), [&*host], "{kind:?} {lines:?}");
                }
                assert_eq!(front.get("/page?q=1", &lines).status, 401, "{kind:?} {lines:?}");
                front.closed(&lines);
            }
        }
    });
}

/// These two have one listener for all hosts. With the others the login host is a site of its own.
#[test]
fn gate_5_the_login_host_leads_to_doorward_and_never_to_the_app() {
    for kind in [Kind::Haproxy, Kind::Envoy] {
        let stand_in = StandIn::start();
        let front = super::Front::start(kind, &stand_in.gate, false);
        let (login, host) = (&front.gate.login_host, &front.gate.host);
        stand_in.take();
        front.send(&format!("GET /gate/sign-in HTTP/1.1\r\nHost: {login}\r\nX-Forwarded-For: 10.0.0.1\r\nConnection: close\r\n\r\n"));
        let [question] = &stand_in.take()[..] else { panic!("{kind:?}: not one question") };
        assert_eq!((&*question.target, question.one("host")), ("/gate/sign-in", Some(&**login)), "{kind:?}");
        assert_eq!(question.one("x-forwarded-for"), Some("127.0.0.1"), "{kind:?}");
        front.closed("the login host");
        // A request for both is for one of them at most, and asked about if it is for the app.
        for hosts in [[login, host], [host, login]] {
            front.send(&format!("GET /page HTTP/1.1\r\nHost: {}\r\nHost: {}\r\nConnection: close\r\n\r\n", hosts[0], hosts[1]));
            front.closed("both hosts");
        }
    }
}

/// Otherwise the gate would judge one path, and the app would serve another.
#[test]
fn gate_14_the_app_gets_the_path_that_the_gate_was_asked_about() {
    with_each(|front, stand_in| {
        let kind = front.kind;
        let pass = front.gate.pass_line();
        for path in PATHS {
            stand_in.take();
            let mut connection = front.connect();
            connection.send(format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{pass}Connection: close\r\n\r\n", front.gate.host).as_bytes());
            let status = connection.final_answer().map_or(0, |answer| answer.status);
            // Apache makes one slash of those at the beginning. To the gate a path with two is never plain.
            let shown = |path: &str| if kind == Kind::Apache { format!("/{}", path.trim_start_matches('/')) } else { path.to_owned() };
            let judged: Vec<_> =
                stand_in.take().iter().map(|question| shown(question.one("x-forwarded-uri").unwrap_or_default())).collect();
            let served: Vec<_> = front.app.take().iter().map(|seen| shown(&seen.target)).collect();
            assert!(served.is_empty() || judged == served, "{kind:?} {path}: {status}, judged {judged:?}, served {served:?}");
        }
    });
}

/// Ways to write a path that somebody could take for another.
const PATHS: [&str; 22] = [
    "/page",
    "//page",
    "/./page",
    "/a/../page",
    "/a/%2e%2e/page",
    "/a/..%2fpage",
    "/a%2f..%2fpage",
    "/%70age",
    "/%2570age",
    "/page;x=1",
    "/a;/../page",
    "/a\\..\\page",
    "/PAGE",
    "/page/",
    "/page%00",
    "/page%20x",
    "/page#x",
    "/page?a=/../b",
    "/page??",
    "/page?a=%2F;b",
    "/../page",
    "/p\u{e4}ge",
];

#[test]
fn gate_20_no_other_host_is_taken_for_the_apps() {
    through_all(&Real::start(false).gate, |front| {
        let (pass, host) = (front.gate.pass_line(), front.gate.host.clone());
        for line in ["Host: evil.example\r\n", "Host: other.example.org\r\n", "Host: \r\n", "", "Host: app.example.org.evil.example\r\n"] {
            let request = format!("GET /page HTTP/1.1\r\n{line}{pass}Connection: close\r\n\r\n");
            front.send(&request);
            front.closed(line);
        }
        for second in ["evil.example", &host] {
            for lines in [format!("Host: {host}\r\nHost: {second}\r\n"), format!("Host: {second}\r\nHost: {host}\r\n")] {
                front.send(&format!("GET /page HTTP/1.1\r\n{lines}{pass}Connection: close\r\n\r\n"));
                for seen in front.app.take() {
                    assert_eq!(seen.all("host"), [&*host], "{:?} {lines:?}", front.kind);
                    front.assert_is(&seen, &front.gate.identity, &lines);
                }
            }
        }
        for (spelling, line) in [("upper", host.to_uppercase()), ("port", format!("{host}:443")), ("dot", format!("{host}."))] {
            let answer = front.send(&format!("GET /page HTTP/1.1\r\nHost: {line}\r\nConnection: close\r\n\r\n"));
            assert!(answer.is_none_or(|answer| answer.status != 200 || answer.header("x-app").is_none()), "{:?} {spelling}", front.kind);
            front.closed(spelling);
        }
        let absolute = front.send(&format!("GET http://evil.example/page HTTP/1.1\r\nHost: {host}\r\n{pass}Connection: close\r\n\r\n"));
        for seen in front.app.take() {
            assert!(seen.all("host") == [&*host], "{:?} absolute form: {absolute:?} {seen:?}", front.kind);
        }
    });
}

#[test]
fn gate_8_what_is_below_doorwards_own_path_is_answered_by_doorward() {
    through_all(&Real::start(false).gate, |front| {
        let forged = "X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /public/\r\nX-Forwarded-Host: evil.example\r\n";
        let answer = front.get("/.doorward/enter?to=%2Fpage", &format!("{NAVIGATION}{forged}"));
        let location = answer.header("location").unwrap_or_default();
        assert_eq!(answer.status, 303, "{:?}: {answer:?}", front.kind);
        assert!(location.starts_with(&format!("https://{}/gate/sign-in?request=", front.gate.login_host)), "{:?}: {location}", front.kind);
        assert_eq!(answer.all("set-cookie").len(), 1, "{:?}: {answer:?}", front.kind);
        front.closed("enter");
        for path in
            ["/.doorward/nothing", "/.doorward/../page", "/.doorward/enter/..%2fpage", "/.doorward/%2e%2e/page", "/x/../.doorward/enter"]
        {
            let status = front.get(path, "").status;
            assert!(status >= 300, "{:?} {path}: {status}", front.kind);
            front.closed(path);
        }
    });
}
