//! Bodies and their parts arrive whole, and the gate never waits for one.

use super::{Front, echo, real::Real, through_all, through_all_alone};

/// A body without pattern, so that parts in another order are noticed.
fn body(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut body: Vec<u8> = std::iter::repeat_with(&mut next).take(length / 8 + 1).flatten().collect();
    body.truncate(length);
    body
}

/// Sends a body with these header lines, in chunks if they say so.
fn upload(front: &Front, lines: &str, body: &[u8]) -> Option<u16> {
    let mut connection = front.connect();
    let chunked = lines.contains("chunked");
    let head = format!("PUT /upload HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", front.gate.host);
    if !connection.send(head.as_bytes()) {
        return None;
    }
    if lines.contains("100-continue") {
        match connection.answer()?.status {
            100 => {}
            status => return Some(status),
        }
    }
    if chunked {
        for piece in body.chunks(100_000) {
            connection.send(format!("{:x}\r\n", piece.len()).as_bytes());
            connection.send(piece);
            if !connection.send(b"\r\n") {
                break;
            }
        }
        connection.send(b"0\r\n\r\n");
    } else {
        connection.send(body);
    }
    connection.final_answer().map(|answer| answer.status)
}

#[test]
fn gate_29_an_upload_of_50_mb_arrives_whole_or_not_at_all() {
    let body = body(50_000_000);
    let hash = echo::hash(&body);
    through_all_alone(&Real::start(false).gate, |front| {
        let (pass, length) = (front.gate.pass_line(), format!("Content-Length: {}\r\n", body.len()));
        for lines in [length.clone(), "Transfer-Encoding: chunked\r\n".into(), format!("{length}Expect: 100-continue\r\n")] {
            assert_eq!(upload(&front, &format!("{lines}{pass}"), &body), Some(200), "{:?} {lines:?}", front.kind);
            let seen = front.reached(&lines);
            assert_eq!(seen.body, Some((body.len() as u64, hash.clone())), "{:?} {lines:?}", front.kind);
            front.assert_is(&seen, &front.gate.identity, &lines);
            // Signed out, a proxy may end the connection before it has read all of it.
            let status = upload(&front, &lines, &body);
            assert!(status.is_none_or(|status| status == 401), "{:?} {lines:?}: {status:?}", front.kind);
            front.closed(&lines);
        }
    });
}

#[test]
fn gate_29_parts_and_conditions_pass() {
    let content = echo::content();
    through_all(&Real::start(false).gate, |front| {
        let pass = front.gate.pass_line();
        let answer = front.get("/range", &pass);
        assert_eq!((answer.status, echo::hash(&answer.body)), (200, echo::hash(&content)), "{:?}", front.kind);
        let answer = front.get("/range", &format!("Range: bytes=1000-200999\r\nIf-Range: \"x\"\r\n{pass}"));
        assert_eq!((answer.status, &*answer.body), (206, &content[1000..=200_999]), "{:?}", front.kind);
        assert_eq!(answer.header("content-range"), Some("bytes 1000-200999/300000"), "{:?}", front.kind);
        let seen = front.app.take();
        assert_eq!(seen.iter().map(|seen| seen.all("if-range").concat()).collect::<String>(), "\"x\"", "{:?}", front.kind);
        let mut connection = front.connect();
        connection.send(format!("HEAD /range HTTP/1.1\r\nHost: {}\r\n{pass}\r\n", front.gate.host).as_bytes());
        let head = connection.head().unwrap_or_else(|| panic!("{:?}: no answer", front.kind));
        assert_eq!((head.status, front.reached("HEAD").method.as_str()), (200, "HEAD"), "{:?}", front.kind);
        assert_eq!(front.get("/range", "Range: bytes=0-1\r\n").status, 401, "{:?}", front.kind);
        front.closed("signed out");
    });
}

#[test]
fn gate_29_every_method_passes_as_it_is_and_one_connection_serves_several() {
    through_all(&Real::start(false).gate, |front| {
        let mut connection = front.connect();
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "GET"] {
            let lines = format!("Content-Length: 3\r\n{}", front.gate.pass_line());
            connection.send(format!("{method} /page HTTP/1.1\r\nHost: {}\r\n{lines}\r\nabc", front.gate.host).as_bytes());
            let answer = connection.final_answer().unwrap_or_else(|| panic!("{:?} {method}: no answer", front.kind));
            assert_eq!(answer.status, 200, "{:?} {method}", front.kind);
            let seen = front.reached(method);
            assert_eq!((&*seen.method, seen.body), (method, Some((3, echo::hash(b"abc")))), "{:?}", front.kind);
        }
    });
}
