//! Who the app is told a visitor is: what the gate said, and nothing the visitor says.

use super::{Front, Gate, HEADERS, real::Real, through, through_all};

/// The eight names with another character for each hyphen, in small and capital letters, with a value that would please
/// whoever sends it.
fn forged(hyphen: char) -> Vec<String> {
    let spell = |name: &str| name.replace('-', &hyphen.to_string());
    let lines = |upper: bool| {
        let case = |name: String| if upper { name.to_ascii_uppercase() } else { name };
        HEADERS.map(|name| format!("{}: admin\r\n", case(spell(name)))).concat()
    };
    vec![lines(false), lines(true), lines(false) + &lines(true)]
}

/// Spellings that mix two characters, and names that are none of the eight.
const MIXED: &str = "X-Auth_Role: admin\r\nX_Auth-Role: admin\r\nX.Auth-Role: admin\r\nX-Auth.Role: admin\r\nRemote_User: admin\r\n\
    Remote.User: admin\r\nX_Auth.Role: admin\r\nX.Auth_Role: admin\r\n";

fn all_forged() -> Vec<String> {
    ['-', '_', '.'].into_iter().flat_map(forged).chain([MIXED.to_owned(), String::new()]).collect()
}

#[test]
fn gate_17_forged_identity_never_reaches_the_app() {
    through_all(&Real::start(false).gate, |front| {
        let pass = front.gate.pass_line();
        for lines in all_forged() {
            for lines in [format!("{lines}{pass}"), format!("{pass}{lines}")] {
                assert_eq!(front.get("/page", &lines).status, 200, "{:?} {lines:?}", front.kind);
                front.assert_is(&front.reached(&lines), &front.gate.identity, &lines);
            }
            assert_eq!(front.get("/page", &lines).status, 401, "{:?} {lines:?}", front.kind);
            front.closed(&lines);
        }
    });
}

#[test]
fn gate_16_on_a_public_path_nobody_is_somebody_unless_they_are() {
    through_all(&Real::start(false).gate, |front| {
        for lines in all_forged() {
            assert_eq!(front.get("/public/page", &lines).status, 200, "{:?} {lines:?}", front.kind);
            front.assert_is(&front.reached(&lines), &<[String; 8]>::default(), &lines);
            let lines = lines + &front.gate.pass_line();
            assert_eq!(front.get("/public/page", &lines).status, 200, "{:?} {lines:?}", front.kind);
            front.assert_is(&front.reached(&lines), &front.gate.identity, &lines);
        }
    });
}

/// Closed, or with all of the identity: then the app cannot take a visitor for nobody, or for one without a role.
#[track_caller]
fn closed_or_whole(front: &Front, lines: &str) {
    let answer = front.get("/page", lines);
    match &front.app.take()[..] {
        [] => assert!(answer.status >= 400, "{:?} {lines:?}: {}", front.kind, answer.status),
        [seen] => front.assert_is(seen, &front.gate.identity, lines),
        more => panic!("{:?} {lines:?}: {more:?}", front.kind),
    }
}

#[test]
fn gate_18_connection_takes_no_identity_away() {
    through_all(&Real::start(false).gate, |front| {
        let pass = front.gate.pass_line();
        for name in HEADERS.iter().chain(&["X_Auth_Role", "X-Doorward-Key", "Cookie", "X-Forwarded-Host", "X-Forwarded-Uri"]) {
            for connection in [format!("close, {name}"), name.to_uppercase(), format!("keep-alive\r\nConnection: {name}")] {
                closed_or_whole(&front, &format!("Connection: {connection}\r\n{pass}"));
                closed_or_whole(&front, &format!("{pass}{name}: admin\r\nConnection: {connection}\r\n"));
            }
        }
        // What browsers and programs send passes.
        for connection in ["close", "keep-alive", "Keep-Alive, TE"] {
            assert_eq!(front.get("/page", &format!("Connection: {connection}\r\n{pass}")).status, 200, "{:?}", front.kind);
            front.assert_is(&front.reached(connection), &front.gate.identity, connection);
        }
    });
}

#[test]
fn gate_17_a_trailer_is_no_header() {
    through_all(&Real::start(false).gate, |front| {
        let body = "Transfer-Encoding: chunked\r\nTrailer: X-Auth-Role\r\n\r\n3\r\nabc\r\n0\r\nX-Auth-Role: admin\r\n\r\n";
        let request = format!("POST /page HTTP/1.1\r\nHost: {}\r\n{}{body}", front.gate.host, front.gate.pass_line());
        let status = front.send(&request).map_or(400, |answer| answer.status);
        match &front.app.take()[..] {
            [] => assert!(status >= 400, "{:?}: {status}", front.kind),
            [seen] => front.assert_is(seen, &front.gate.identity, "with a trailer"),
            more => panic!("{:?}: {more:?}", front.kind),
        }
    });
}

#[test]
fn gate_28_a_key_opens_and_does_not_reach_the_app() {
    through_all(&Real::start(false).gate, |front| {
        let key = &front.gate.key;
        for lines in [format!("X-Doorward-Key: {key}\r\n"), format!("x-doorward-key: {key}\r\nAuthorization: Bearer the-apps-own\r\n")] {
            assert_eq!(front.get("/page", &lines).status, 200, "{:?} {lines:?}", front.kind);
            let seen = front.reached(&lines);
            front.assert_is(&seen, &front.gate.identity, &lines);
            assert!(!format!("{seen:?}").contains(key), "{:?}: {seen:?}", front.kind);
            // The app's own way of signing in goes on.
            let own = if lines.contains("Bearer") { &["Bearer the-apps-own"][..] } else { &[] };
            assert_eq!(seen.all("authorization"), own, "{:?}", front.kind);
        }
        let with_pass = front.gate.pass_line() + &format!("X-Doorward-Key: {key}\r\n");
        front.get("/public/page", &with_pass);
        assert!(!format!("{:?}", front.reached("public")).contains(key), "{:?}", front.kind);
        assert_eq!(front.get("/page", "X-Doorward-Key: wrong\r\n").status, 401, "{:?}", front.kind);
        front.closed("a wrong key");
    });
}

#[test]
fn gate_28_basic_is_doorwards_where_the_app_says_so() {
    let real = Real::start(true);
    let gate: Gate = real.gate.clone();
    through(&gate, true, |front| {
        let pair = data_encoding::BASE64.encode(format!("ada:{}", front.gate.key).as_bytes());
        let basic = format!("Authorization: Basic {pair}\r\n");
        assert_eq!(front.get("/page", &basic).status, 200, "{:?}", front.kind);
        let seen = front.reached("basic");
        front.assert_is(&seen, &front.gate.identity, "basic");
        assert_eq!(seen.all("authorization"), [""; 0], "{:?}", front.kind);
        let answer = front.get("/page", "Authorization: Basic eDp5\r\n");
        assert_eq!((answer.status, answer.all("www-authenticate").len()), (401, 1), "{:?}: {answer:?}", front.kind);
        front.closed("wrong");
        front.get("/public/page", "Authorization: Basic eDp5\r\n");
        assert_eq!(front.reached("public").all("authorization"), [""; 0], "{:?}", front.kind);
    });
}
