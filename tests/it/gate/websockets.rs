//! Websockets pass for those who may, and nothing else that upgrades passes.

use super::{Front, echo::accept, real::Real, through_all, wire::Connection};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn open(front: &Front, lines: &str) -> (u16, Connection) {
    let mut connection = front.connect();
    let upgrade = format!("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n");
    connection.send(format!("GET /socket HTTP/1.1\r\nHost: {}\r\n{upgrade}{lines}\r\n", front.gate.host).as_bytes());
    let answer = connection.final_answer().unwrap_or_else(|| panic!("{:?}: no answer", front.kind));
    if answer.status == 101 {
        assert_eq!(answer.header("sec-websocket-accept"), Some(&*accept(KEY)), "{:?}", front.kind);
    }
    (answer.status, connection)
}

#[test]
fn gate_25_a_websocket_opens_for_whom_the_gate_knows() {
    through_all(&Real::start(false).gate, |front| {
        let (status, mut connection) = open(&front, &front.gate.pass_line());
        assert_eq!(status, 101, "{:?}", front.kind);
        front.assert_is(&front.reached("a websocket"), &front.gate.identity, "a websocket");
        for text in ["one", "two", ""] {
            let length = u8::try_from(text.len()).expect("short");
            let masked: Vec<u8> = text.bytes().zip([1, 2, 3, 4].into_iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            connection.send(&[&[0x81, 0x80 | length, 1, 2, 3, 4], &masked[..]].concat());
            let frame = connection.exactly(2 + text.len());
            assert_eq!(frame, Some([&[0x81, length], text.as_bytes()].concat()), "{:?}", front.kind);
        }
        for lines in ["", "Cookie: __Host-doorward-pass=bad\r\n"] {
            assert_eq!(open(&front, lines).0, 401, "{:?}", front.kind);
            front.closed("signed out");
        }
    });
}

#[test]
fn gate_25_nothing_but_a_websocket_upgrades() {
    through_all(&Real::start(false).gate, |front| {
        let pass = front.gate.pass_line();
        for lines in [
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            "Connection: upgrade\r\nUpgrade: H2C\r\n",
            "Connection: upgrade\r\nUpgrade: h2c, websocket\r\n",
            "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n",
            "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
            "Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
        ] {
            let status = front.get("/page", &format!("{lines}{pass}")).status;
            for seen in front.app.take() {
                let upgrades: Vec<_> = seen.all("upgrade").iter().map(|value| value.to_ascii_lowercase()).collect();
                assert!(upgrades.iter().all(|value| value == "websocket"), "{:?} {lines:?}: {status} {seen:#?}", front.kind);
                front.assert_is(&seen, &front.gate.identity, lines);
            }
        }
    });
}
